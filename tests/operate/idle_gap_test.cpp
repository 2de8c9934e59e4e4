#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <epochcut/operate/idle_gap.hpp>

using namespace epochcut;
using Catch::Matchers::Contains;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

Instant utc(int year, unsigned month, unsigned day, int hour = 0, int minute = 0, int second = 0) {
  return std::chrono::sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day)) + hours(hour) + minutes(minute) + seconds(second);
}

/// New York in 2026, by hand: forward on 8 March at 07:00 UTC, back on 1 November at 06:00 UTC.
struct NewYork {
  seconds offset(Instant at) const { return at >= utc(2026, 3, 8, 7) && at < utc(2026, 11, 1, 6) ? hours(-4) : hours(-5); }
};

ScheduledJob job(const std::string& id, const std::string& schedule, Millis run_max = minutes(10)) {
  return {.id = id, .next = next_fire(Cron::parse(schedule), FixedZone{}), .run_max = run_max};
}

ScheduledProgram daily(Millis deploy = minutes(5)) { return {.name = "settlement", .jobs = {job("fx", "0 0 21 * * *")}, .deploy = deploy}; }

/// The answer by brute force: second by second, with the fires of a table.
struct Brute {
  GapVerdict verdict = GapVerdict::never;
  Instant at{};
};
Brute brute(const std::vector<Instant>& fires, Millis busy, Millis needed, Instant now, Instant until) {
  const auto busy_at = [&](Instant t) { return std::any_of(fires.begin(), fires.end(), [&](Instant f) { return f <= t && t < f + busy; }); };
  for (Instant t = now; t <= until; t += seconds(1)) {
    bool free = !busy_at(t);
    for (Instant u = t; free && u < t + needed; u += seconds(1)) free = std::find(fires.begin(), fires.end(), u) == fires.end();
    if (free) return {t == now ? GapVerdict::safe_now : GapVerdict::wait, t};
  }
  return {};
}

}  // namespace

TEST_CASE("a swap that is over before the next fire may begin now") {
  const SwapPlan plan = plan_swap(daily(), utc(2026, 5, 4, 12));
  CHECK(plan.verdict == GapVerdict::safe_now);
  CHECK(plan.at == utc(2026, 5, 4, 12));
  CHECK(plan.needed == minutes(15));
  CHECK(plan.next == JobFire{"fx", utc(2026, 5, 4, 21)});
  CHECK(plan.gap == Gap{utc(2026, 5, 4, 12), utc(2026, 5, 4, 21)});
  CHECK(plan.verify == JobFire{"fx", utc(2026, 5, 4, 21)});
  CHECK(
      plan.why ==
      "settlement: safe now: fx fires at 2026-05-04T21:00:00.000Z, in 9 h; the gap is 9 h; a swap of 5 min needs 15 min; verify fx of 2026-05-04T21:00:00.000Z");
}

TEST_CASE("the margin decides at its very edge") {
  CHECK(plan_swap(daily(), utc(2026, 5, 4, 20, 45)).verdict == GapVerdict::safe_now);
  const SwapPlan late = plan_swap(daily(), utc(2026, 5, 4, 20, 45) + Millis(1));
  CHECK(late.verdict == GapVerdict::wait);
  CHECK(late.at == utc(2026, 5, 4, 21, 10));  // when the run must have ended
  CHECK(late.verify == JobFire{"fx", utc(2026, 5, 5, 21)});
  CHECK_THAT(late.why, Contains("settlement: wait until 2026-05-04T21:10:00.000Z"));
  ScheduledProgram bold = daily();
  bold.margin = 1;
  CHECK(plan_swap(bold, utc(2026, 5, 4, 20, 50)).verdict == GapVerdict::safe_now);
}

TEST_CASE("at the very moment of a fire it is not idle, though nothing runs yet") {
  CHECK(plan_swap(daily(), utc(2026, 5, 4, 21)).at == utc(2026, 5, 4, 21, 10));
  ScheduledProgram done = daily();
  done.jobs[0].last_fire = utc(2026, 5, 4, 21);
  CHECK(plan_swap(done, utc(2026, 5, 4, 21)).verdict == GapVerdict::safe_now);  // its run has ended already
}

TEST_CASE("a fire that may still begin, late by its jitter, is waited for") {
  ScheduledProgram program = daily();
  program.jobs[0].late_max = minutes(2);
  const SwapPlan plan = plan_swap(program, utc(2026, 5, 4, 21, 1));
  CHECK(plan.verdict == GapVerdict::wait);
  CHECK(plan.at == utc(2026, 5, 4, 21, 12));
  CHECK(plan_swap(program, utc(2026, 5, 4, 21, 2, 1)).verdict == GapVerdict::safe_now);  // too late to begin
  program.jobs[0].last_fire = utc(2026, 5, 4, 21);
  CHECK(plan_swap(program, utc(2026, 5, 4, 21, 1)).verdict == GapVerdict::safe_now);
  program.jobs[0].last_fire = utc(2026, 5, 3, 21);
  CHECK(plan_swap(program, utc(2026, 5, 4, 21, 1)).verdict == GapVerdict::wait);
}

TEST_CASE("a run in progress is never interrupted") {
  ScheduledProgram program = daily();
  program.jobs[0].running_since = utc(2026, 5, 4, 21, 0, 3);
  const SwapPlan plan = plan_swap(program, utc(2026, 5, 4, 21, 4));
  CHECK(plan.verdict == GapVerdict::wait);
  CHECK(plan.at == utc(2026, 5, 4, 21, 10, 3));
  CHECK(plan.running == std::vector<std::string>{"fx"});
  CHECK_THAT(plan.why, Contains("fx runs, and a run is never interrupted"));
  SECTION("longer than it may: nobody knows until when") {
    const SwapPlan overrun = plan_swap(program, utc(2026, 5, 4, 21, 10, 3));
    CHECK(overrun.verdict == GapVerdict::wait);
    CHECK_FALSE(overrun.at);
    CHECK_FALSE(overrun.verify);
    CHECK_THAT(overrun.why, Contains("ask again when it has ended"));
    CHECK_THROWS_AS(verify_swap(overrun, program, "2", {}, utc(2026, 5, 4, 22)), Failure);
  }
  SECTION("of an event, or skippable: all the same") {
    program.jobs.push_back({.id = "cycle", .skippable = true, .running_since = utc(2026, 5, 4, 20)});
    CHECK_FALSE(plan_swap(program, utc(2026, 5, 4, 21, 4)).at);
  }
}

TEST_CASE("where no gap is long enough it says so, and how long the longest is") {
  ScheduledProgram program{.name = "index", .jobs = {job("tick", "0 */5 * * * *", minutes(1))}, .deploy = minutes(2)};
  const SwapPlan plan = plan_swap(program, utc(2026, 5, 4, 12, 2));
  CHECK(plan.verdict == GapVerdict::never);
  CHECK_FALSE(plan.at);
  CHECK(plan.gap == Gap{utc(2026, 5, 4, 12, 6), utc(2026, 5, 4, 12, 10)});
  CHECK_THAT(plan.why, Contains("index: never") && Contains("the longest gap is 4 min, from 2026-05-04T12:06:00.000Z") && Contains("needs 6 min"));
  SECTION("a run that takes longer than its period is never over") {
    program.jobs[0].run_max = minutes(6);
    const SwapPlan busy = plan_swap(program, utc(2026, 5, 4, 12));
    CHECK(busy.verdict == GapVerdict::never);
    CHECK_FALSE(busy.gap);
    CHECK_THAT(busy.why, Contains("it is never idle"));
  }
  SECTION("unless its fires can be made good later") {
    program.jobs[0].skippable = true;
    const SwapPlan skipping = plan_swap(program, utc(2026, 5, 4, 12, 2));
    CHECK(skipping.verdict == GapVerdict::safe_now);
    CHECK(skipping.skipped == 1);  // 12:05; the swap is over at 12:08
    CHECK(skipping.verify == JobFire{"tick", utc(2026, 5, 4, 12, 10)});
    CHECK_THAT(skipping.why, Contains("no fire that must not be missed ends the gap") && Contains("skips 1 fire that can be made good"));
  }
}

TEST_CASE("a weekly gap among busy days is found") {
  ScheduledProgram program{
      .name = "reports", .jobs = {job("hourly", "0 0 * * * 1-6", minutes(50)), job("sunday", "0 0 12 * * 0", minutes(30))}, .deploy = hours(2)};
  const SwapPlan plan = plan_swap(program, utc(2026, 5, 4, 12, 30));  // a Monday
  CHECK(plan.verdict == GapVerdict::wait);
  CHECK(plan.at == utc(2026, 5, 9, 23, 50));
  CHECK(plan.gap == Gap{utc(2026, 5, 9, 23, 50), utc(2026, 5, 10, 12)});
  CHECK(plan.next == JobFire{"hourly", utc(2026, 5, 4, 13)});
  CHECK(plan.verify == JobFire{"sunday", utc(2026, 5, 10, 12)});
}

TEST_CASE("a short run within a long one ends nothing") {
  ScheduledProgram program{.name = "reports", .jobs = {job("long", "0 0 12 * * *", hours(2)), job("short", "0 0 13 * * *", minutes(10))}, .deploy = minutes(5)};
  CHECK(plan_swap(program, utc(2026, 5, 4, 11, 59)).at == utc(2026, 5, 4, 14));
  program.jobs[0].running_since = utc(2026, 5, 4, 12);
  CHECK(plan_swap(program, utc(2026, 5, 4, 12, 30)).at == utc(2026, 5, 4, 14));
}

TEST_CASE("what nobody knows is no gap") {
  const auto refused = [](ScheduledProgram program, const std::string& why) {
    try {
      plan_swap(program, utc(2026, 5, 4));
      FAIL("it was planned: " << why);
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::configuration);
      CHECK_THAT(failure.message, Contains(why));
    }
  };
  refused({.name = "x", .jobs = {}, .deploy = minutes(1)}, "no schedule is known");
  refused(daily(Millis(0)), "how long its swap takes");
  ScheduledProgram program = daily();
  program.jobs[0].run_max = Millis(0);
  refused(program, "how long a run of fx takes");
  program = daily();
  program.margin = 0;
  refused(program, "margin");
  program = daily();
  program.jobs.push_back({.id = "mark", .run_max = minutes(1)});
  refused(program, "mark fires on events");
  program.jobs.back().skippable = true;
  CHECK(plan_swap(program, utc(2026, 5, 4)).verdict == GapVerdict::safe_now);
}

TEST_CASE("clocks set forward: the night is an hour shorter than the wall says") {
  // Every day at 1:00 in New York, a run of half an hour. 7 March 1:30 to 8 March 1:00 is 23 h 30 min, and so is 8 to 9 March by the wall; it is 22 h 30 min.
  ScheduledProgram program{.name = "settlement",
                           .jobs = {{.id = "fx", .next = next_fire(Cron::parse("0 0 1 * * *"), NewYork{}), .run_max = minutes(30)}},
                           .deploy = hours(23),
                           .margin = 1};
  CHECK(plan_swap(program, utc(2026, 3, 7, 6, 30)).verdict == GapVerdict::safe_now);  // until 8 March, 6:00 UTC
  const SwapPlan plan = plan_swap(program, utc(2026, 3, 8, 6, 30));                   // and 1:00 of 9 March is 5:00 UTC
  CHECK(plan.verdict == GapVerdict::wait);
  CHECK(plan.at == utc(2026, 3, 9, 5, 30));
  SECTION("a fire within the hour that is left out comes at its end") {
    program.jobs[0].next = next_fire(Cron::parse("0 30 2 * * *"), NewYork{});
    CHECK(plan_swap(program, utc(2026, 3, 7, 8)).next == JobFire{"fx", utc(2026, 3, 8, 7)});
  }
}

TEST_CASE("clocks set back: the night is an hour longer, and a named time fires once") {
  ScheduledProgram program{.name = "settlement",
                           .jobs = {{.id = "fx", .next = next_fire(Cron::parse("0 30 1 * * *"), NewYork{}), .run_max = minutes(30)}},
                           .deploy = hours(24),
                           .margin = 1};
  // 1 November has 1:30 twice, at 5:30 and at 6:30 UTC. It fires at the first, and then on 2 November at 6:30 UTC: 25 hours later.
  const SwapPlan plan = plan_swap(program, utc(2026, 10, 29, 12));
  CHECK(plan.verdict == GapVerdict::wait);
  CHECK(plan.gap == Gap{utc(2026, 11, 1, 6), utc(2026, 11, 2, 6, 30)});
  SECTION("a rhythm follows real time through both hours") {
    program.jobs[0] = {.id = "tick", .next = next_fire(Cron::parse("0 30 * * * *"), NewYork{}), .run_max = minutes(10)};
    program.deploy = minutes(50);
    CHECK(plan_swap(program, utc(2026, 11, 1, 5, 40)).verdict == GapVerdict::safe_now);
    program.deploy = minutes(51);
    CHECK(plan_swap(program, utc(2026, 11, 1, 5, 40)).verdict == GapVerdict::never);
  }
}

TEST_CASE("random schedules: the plan is what a walk second by second finds") {
  std::mt19937 random(7);
  int verdicts[3] = {0, 0, 0};
  for (int round = 0; round < 150; ++round) {
    const Instant now = utc(2026, 5, 4) + seconds(random() % 120);
    // One period of two minutes with a few fires, for ever: what does not fit into one does not fit into the next.
    std::vector<int> marks;
    for (std::size_t n = 1 + random() % 4; marks.size() < n;) marks.push_back(static_cast<int>(random() % 120));
    std::sort(marks.begin(), marks.end());
    std::vector<Instant> fires;
    for (int k = -2; k < 8; ++k)
      for (const int m : marks) fires.push_back(utc(2026, 5, 4) + seconds(k * 120 + m));
    const NextFire next = [marks](Instant after) {
      for (auto k = std::chrono::floor<minutes>(after - utc(2026, 5, 4)).count() / 2 - 1;; ++k)
        for (const int m : marks)
          if (const Instant f = utc(2026, 5, 4) + seconds(k * 120 + m); f > after) return f;
    };
    const Millis run = seconds(1 + random() % 20), needed = seconds(1 + random() % 100);
    ScheduledProgram program{.name = "p", .jobs = {{.id = "j", .next = next, .run_max = run}}, .deploy = needed, .margin = 1};
    const auto before = std::find_if(fires.rbegin(), fires.rend(), [&](Instant f) { return f < now; });
    // Runs that began before now are seen, or have ended.
    if (before != fires.rend() && *before + run > now) program.jobs[0].running_since = *before;
    const SwapPlan plan = plan_swap(program, now);
    const Brute expected = brute(fires, run, needed, now, now + minutes(5));
    INFO(round << ": " << plan.why);
    CHECK(plan.verdict == expected.verdict);
    if (expected.verdict != GapVerdict::never) CHECK(plan.at == expected.at);
    ++verdicts[static_cast<int>(plan.verdict)];
  }
  for (const int n : verdicts) CHECK(n > 5);
}

TEST_CASE("the swap has landed when the run to verify came from the new build and holds") {
  const ScheduledProgram program = daily();
  const SwapPlan plan = plan_swap(program, utc(2026, 5, 4, 12));
  const Instant fire = utc(2026, 5, 4, 21);
  const auto landed = [&](std::vector<FinishedRun> runs, Instant now) { return verify_swap(plan, program, "2", runs, now); };
  CHECK(landed({}, fire).landed == Landed::waiting);
  CHECK(landed({}, fire + minutes(10)).landed == Landed::waiting);
  CHECK(landed({}, fire + minutes(10) + Millis(1)).landed == Landed::no);  // it never came
  CHECK(landed({{"fx", fire, "2", true}}, fire + minutes(3)).landed == Landed::yes);
  CHECK(landed({{"fx", fire, "2", false}}, fire + minutes(3)).landed == Landed::no);
  CHECK(landed({{"fx", fire, "1", true}}, fire + minutes(3)).landed == Landed::no);
  CHECK(landed({{"fx", fire, "2", true}, {"fx", fire, "2", false}}, fire + minutes(3)).landed == Landed::no);  // one answer of two is no answer
  CHECK(landed({{"fx", fire - hours(24), "1", true}}, fire).landed == Landed::waiting);                        // before the swap
  CHECK(landed({{"other", fire, "2", true}}, fire).landed == Landed::waiting);
  CHECK_THAT(landed({{"other", fire, "1", true}}, fire).why, Contains("was run by 1, not by 2"));  // the old one is still there
}
