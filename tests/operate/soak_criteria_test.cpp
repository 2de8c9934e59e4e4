#include "support/catch.hpp"

#include <cmath>
#include <functional>
#include <string>

#include "operate/soak_month.hpp"

using namespace soak_test;

namespace {

Instant on(int day, int hour, int minute) { return begin + days(day) + hours(hour) + minutes(minute); }

SoakReport after(const std::function<void(Month&)>& change) {
  Month month;
  change(month);
  return judge_soak(month.in);
}

void become(SoakRun& r, Status status, Reason reason = Reason::differs) { r.status = status, r.reason = reason; }

}  // namespace

TEST_CASE("A month without a blemish is promoted, and says what it proves") {
  const SoakReport r = after([](Month&) {});
  CHECK(wanting(r) == "");
  CHECK(r.decision == SoakDecision::promote);
  CHECK(r.pairs[static_cast<std::size_t>(PairClass::agree)] == 56);
  CHECK(r.counts.scheduled() == 8064);
  CHECK(r.bounds.compared == 56);
  CHECK(r.time_elapsed);
  // The document's own figures.
  CHECK(r.bounds.divergence_per_fire == Approx(0.052).margin(0.0005));
  CHECK(r.bounds.false_fails_per_day == Approx(0.107).margin(0.0005));
  CHECK(1 / r.bounds.false_fails_per_day == Approx(9.3).margin(0.06));
  CHECK(binomial_upper(59, 0) <= 0.05);
  CHECK(binomial_upper(58, 0) > 0.05);
  CHECK(poisson_upper(0) / 273 == Approx(1.0 / 91).margin(0.0002));  // one a quarter needs 273 days
}

TEST_CASE("The limits are the exact ones") {
  // No events: e^-x = 0.05 and (1 - p)^n = 0.05. One event: textbook values.
  CHECK(poisson_upper(0) == Approx(-std::log(0.05)));
  CHECK(poisson_upper(1) == Approx(4.7439).margin(1e-4));
  CHECK(poisson_upper(5) == Approx(10.5130).margin(1e-4));
  CHECK(binomial_upper(56, 0) == Approx(1 - std::pow(0.05, 1.0 / 56)));
  CHECK(binomial_upper(10, 1) == Approx(0.3942).margin(1e-4));
  CHECK(binomial_upper(10, 10) == 1);
  CHECK(binomial_upper(0, 0) == 1);
}

TEST_CASE("Each criterion breaks alone, and the decision follows") {
  struct Break {
    const char* what;
    const char* wanting;
    SoakDecision decision;
    std::function<void(Month&)> change;
  };
  const Break breaks[] = {
      {"a day is missing", "elapsed not_yet", SoakDecision::keep_soaking, [](Month& m) { m.in.until -= days(1); }},
      {"six old fires of 56 left no run", "compared not_met", SoakDecision::leave_the_old_one,
       [](Month& m) {
         for (std::size_t i = 0; i < 6; ++i) m.drop(m.in.old_id, m.in.old_fires[i * 9]);
       }},
      {"an old fail beside a live pass", "no_miss not_met", SoakDecision::restart, [](Month& m) { become(m.old(m.in.old_fires[20]), Status::fail); }},
      {"the same behind a live error", "no_miss not_met", SoakDecision::restart,
       [](Month& m) { become(m.old(m.in.old_fires[20]), Status::fail), become(m.live(m.in.old_fires[20]), Status::error); }},
      {"a live fail that nobody has looked at", "fails_resolved not_met", SoakDecision::keep_soaking,
       [](Month& m) { become(m.live(on(5, 9, 0)), Status::fail); }},
      {"a live fail that is called infra", "fails_resolved not_met", SoakDecision::keep_soaking,
       [](Month& m) { become(m.live(on(5, 9, 0)), Status::fail), m.say(m.in.live_id, on(5, 9, 0), Adjudicated::infra, on(6, 0, 0)); }},
      {"an unresolved fail beside an old pass, which is an unresolved fail too", "false_alarms not_met, fails_resolved not_met", SoakDecision::keep_soaking,
       [](Month& m) { become(m.live(m.in.old_fires[20]), Status::fail); }},
      {"other values at one epoch", "values_agree not_met", SoakDecision::keep_soaking, [](Month& m) { m.live(m.in.old_fires[20]).left = "[]"; }},
      {"41 errors in 8064 runs", "errors not_met", SoakDecision::leave_the_old_one,
       [](Month& m) {
         for (int i = 0; i < 41; ++i) become(m.live(on(i / 2, i % 2 == 0 ? 8 : 12, 0)), Status::error, Reason::connection);
       }},
      {"errors for 30 minutes and 900 ms", "errors not_met", SoakDecision::leave_the_old_one,
       [](Month& m) {
         for (int i = 0; i <= 6; ++i) become(m.live(on(5, 9, i * 5)), Status::error, Reason::connection);
       }},
      {"a day of skips", "asserts_daily not_met", SoakDecision::leave_the_old_one,
       [](Month& m) {
         for (int i = 0; i < 288; ++i) become(m.live(on(5, 0, i * 5)), Status::skipped, Reason::precondition);
       }},
      {"a fire without a run", "missed not_met", SoakDecision::leave_the_old_one, [](Month& m) { m.drop(m.in.live_id, on(5, 9, 0)); }},
      {"58 distinct breaks", "planted not_yet", SoakDecision::keep_soaking,
       [](Month& m) { m.in.planted.erase(m.in.planted.begin(), m.in.planted.begin() + 2); }},
      {"the same break twice", "planted not_yet", SoakDecision::keep_soaking,
       [](Month& m) { m.in.planted.erase(m.in.planted.begin()), m.in.planted[0].what = m.in.planted[1].what; }},
      {"a planted break that nobody saw", "planted not_met", SoakDecision::restart, [](Month& m) { m.in.planted[7].caught.reset(); }},
      {"a canary that needed three fires", "planted not_met", SoakDecision::restart, [](Month& m) { m.in.planted.back().fires = 3; }},
      {"a week without a canary", "planted not_met", SoakDecision::restart,
       [](Month& m) {
         become(m.live(on(23, 3, 5)), Status::pass, Reason::none);
         m.in.planted.pop_back();
         m.in.planted.push_back({m.in.live_id, "another", false, begin, begin, begin, 1});
       }},
      {"two in a hundred runs take a quarter of the interval", "cost not_met", SoakDecision::leave_the_old_one,
       [](Month& m) {
         for (int i = 0; i < 8064; i += 50) m.live(begin + minutes(5) * i).finished = m.live(begin + minutes(5) * i).started + seconds(75);
       }},
      {"nobody signed", "signed_off not_yet", SoakDecision::keep_soaking, [](Month& m) { m.in.signed_off.reset(); }},
      {"signed before it was over", "signed_off not_yet", SoakDecision::keep_soaking, [](Month& m) { m.in.signed_off->said -= Millis{1}; }},
  };
  for (const Break& b : breaks) {
    INFO(b.what);
    const SoakReport r = after(b.change);
    CHECK(wanting(r) == b.wanting);
    CHECK(std::string(to_string(r.decision)) == std::string(to_string(b.decision)));
  }
}

TEST_CASE("Each limit is met on its near side") {
  const auto met = [](const std::function<void(Month&)>& change) { return wanting(after(change)); };
  CHECK(met([](Month& m) {  // 40 errors in 8064 runs are 0.496 %
          for (int i = 0; i < 40; ++i) become(m.live(on(i / 2, i % 2 == 0 ? 8 : 12, 0)), Status::error, Reason::connection);
        }) == "");
  CHECK(met([](Month& m) {  // 25 minutes
          for (int i = 0; i <= 5; ++i) become(m.live(on(5, 9, i * 5)), Status::error, Reason::connection);
        }) == "");
  CHECK(met([](Month& m) {
          for (int i = 0; i < 287; ++i) become(m.live(on(5, 0, i * 5)), Status::skipped, Reason::precondition);
        }) == "");
  CHECK(met([](Month& m) {  // 1 % is beyond the 99th percentile
          for (int i = 0; i < 80; ++i) m.live(begin + minutes(500) * i).finished += seconds(200);
        }) == "");
  CHECK(met([](Month& m) {
          for (std::size_t i = 0; i < 5; ++i) m.drop(m.in.old_id, m.in.old_fires[i * 9]);
        }) == "");
  CHECK(met([](Month& m) { m.in.planted.back().fires = 2; }) == "");
}

TEST_CASE("A declared outage explains errors and missed fires, and nothing else") {
  const auto outage = [](Month& m) { m.in.outages = {{on(5, 9, 0), on(5, 12, 0), "the database host was moved"}}; };
  CHECK(wanting(after([&](Month& m) {
          outage(m);
          for (int i = 0; i < 18; ++i) become(m.live(on(5, 9, i * 5)), Status::error, Reason::connection);
          for (int i = 18; i < 36; ++i) m.drop(m.in.live_id, on(5, 9, i * 5));
        })) == "");
  CHECK(wanting(after([&](Month& m) {
          outage(m);
          become(m.live(on(5, 10, 0)), Status::fail);
        })) == "fails_resolved not_met");
}

TEST_CASE("A filed accumulator makes a dear check acceptable") {
  const auto dear = [](Month& m) {
    for (SoakRun& r : m.in.runs) r.finished = r.started + seconds(100);
  };
  CHECK(wanting(after(dear)) == "cost not_met");
  CHECK(wanting(after([&](Month& m) { dear(m), m.in.accumulator = "the mark sums are kept beside the token"; })) == "");
}

TEST_CASE("A bug of the check starts its clock anew, and what was before counts no more") {
  const auto bug = [](Month& m) {
    become(m.live(on(10, 9, 0)), Status::fail);
    m.say(m.in.live_id, on(10, 9, 0), Adjudicated::check_bug, on(11, 12, 0));
  };
  const SoakReport r = after(bug);
  CHECK(r.clock == on(11, 12, 0));
  REQUIRE(r.restarts.size() == 1);
  CHECK_FALSE(r.time_elapsed);
  CHECK(r.decision == SoakDecision::keep_soaking);
  CHECK(wanting(r) == "elapsed not_yet, signed_off not_yet");

  const SoakReport longer = [&] {
    Month m(40);
    bug(m);
    m.canary(on(37, 3, 1 + 20));
    m.in.signed_off = SignOff{"an engineer", on(39, 12, 0)};
    return judge_soak(m.in);
  }();
  CHECK(wanting(longer) == "");
  CHECK(longer.decision == SoakDecision::promote);
}

TEST_CASE("A miss that was understood starts the clock anew; one that was the old check's own fault does not") {
  const auto miss = [](Month& m) { become(m.old(m.in.old_fires[20]), Status::fail); };
  const SoakReport fixed = after([&](Month& m) { miss(m), m.say(m.in.live_id, m.in.old_fires[20], Adjudicated::check_bug, on(12, 0, 0)); });
  CHECK(fixed.clock == on(12, 0, 0));
  CHECK(fixed.decision == SoakDecision::keep_soaking);
  const SoakReport old = after([&](Month& m) { miss(m), m.say(m.in.old_id, m.in.old_fires[20], Adjudicated::check_bug, on(12, 0, 0)); });
  CHECK(old.clock == begin);
  CHECK(wanting(old) == "");
  CHECK(old.pairs[static_cast<std::size_t>(PairClass::miss)] == 1);  // it stays in the count of pairs
}

TEST_CASE("A check that asks another question starts anew") {
  const SoakReport r = after([](Month& m) {
    for (SoakRun& run : m.in.runs)
      if (run.scheduled >= on(3, 0, 0)) run.question = "another";
  });
  CHECK(r.clock == on(3, 0, 0));
  const SoakReport same = after([](Month& m) {
    become(m.live(on(5, 9, 0)), Status::error, Reason::connection);
    m.live(on(5, 9, 0)).question = "half of it";
  });
  CHECK(same.clock == begin);
}

TEST_CASE("An open fail is no real break until somebody says so, and a planted one is from the start") {
  const auto fail = [](Month& m) { become(m.live(m.in.old_fires[20]), Status::fail); };
  const SoakReport real = after([&](Month& m) { fail(m), m.say(m.in.live_id, m.in.old_fires[20], Adjudicated::real_break, on(15, 0, 0)); });
  CHECK(wanting(real) == "");
  CHECK(real.pairs[static_cast<std::size_t>(PairClass::false_alarm)] == 1);
  const SoakReport overruled = after([&](Month& m) {
    fail(m);
    m.say(m.in.live_id, m.in.old_fires[20], Adjudicated::real_break, on(15, 0, 0));
    m.say(m.in.live_id, m.in.old_fires[20], Adjudicated::open, on(16, 0, 0));
  });
  CHECK(wanting(overruled) == "false_alarms not_met, fails_resolved not_met");
}

TEST_CASE("An empty record meets nothing") {
  Month m;
  m.in.runs.clear(), m.in.planted.clear(), m.in.signed_off.reset();
  const SoakReport r = judge_soak(m.in);
  CHECK(r.decision != SoakDecision::promote);
  for (const Criterion& c : r.criteria) {
    INFO(to_string(c.id));
    if (c.id != CriterionId::elapsed) CHECK(c.finding != Finding::met);
  }
  SoakInput nothing;
  nothing.old_id = "a", nothing.live_id = "b", nothing.from = begin, nothing.until = begin + days(28);
  for (const Criterion& c : judge_soak(nothing).criteria) {
    INFO(to_string(c.id));
    if (c.id != CriterionId::elapsed) CHECK(c.finding != Finding::met);
  }
}

TEST_CASE("A check that only ever skips is never promoted") {
  const SoakReport r = after([](Month& m) {
    for (SoakRun& run : m.in.runs)
      if (run.check_id == m.in.live_id) become(run, Status::skipped, Reason::empty);
  });
  CHECK(r.decision == SoakDecision::leave_the_old_one);
  CHECK(wanting(r).find("asserts_daily not_met") != std::string::npos);
  CHECK(wanting(r).find("compared not_met") != std::string::npos);
}

TEST_CASE("Evidence is bounded, and what was left out is counted") {
  const SoakReport r = after([](Month& m) {
    for (int i = 0; i < 50; ++i) m.drop(m.in.live_id, on(5, 0, i * 5));
  });
  const Criterion& c = criterion(r, CriterionId::missed);
  CHECK(c.evidence.size() == evidence_max);
  CHECK(c.more == 30);
  CHECK(r.counts.missed == 50);
  CHECK(r.counts.scheduled() == 8064);
}
