#include "support/catch.hpp"

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "operate/soak_month.hpp"

using namespace soak_test;

namespace {

SoakInput two_checks(std::vector<Instant> old_fires, std::vector<SoakRun> runs) {
  SoakInput in;
  in.old_id = "balance", in.live_id = "balance-live", in.from = begin, in.until = begin + days(1);
  in.old_fires = std::move(old_fires), in.runs = std::move(runs);
  return in;
}

Instant at(int hour, int minute, int second = 0, int ms = 0) { return begin + hours(hour) + minutes(minute) + seconds(second) + Millis{ms}; }

/// The class of one pair, from the two statuses alone: the table of the document, written out.
PairClass table(std::optional<Status> old, std::optional<Status> live) {
  if (!old) return PairClass::old_missed;
  if (!live) return PairClass::unpaired;
  if (*live == Status::error || *live == Status::skipped) return PairClass::live_no_assert;
  if (*old == Status::error || *old == Status::skipped) return PairClass::old_no_assert;
  if (*old == Status::pass) return *live == Status::pass ? PairClass::agree : PairClass::false_alarm;
  return *live == Status::pass ? PairClass::miss : PairClass::both_fail;
}

}  // namespace

TEST_CASE("An old fire pairs with the nearest live run, six hundred seconds away at most, and of two with the later") {
  const auto paired = [](std::vector<Instant> live) {
    std::vector<SoakRun> runs{run("balance", at(12, 0))};
    for (const Instant t : live) runs.push_back(run("balance-live", t));
    const SoakScan s = scan(two_checks({at(12, 0)}, runs));
    REQUIRE(s.pairs.size() == 1);
    return s.pairs[0].live ? to_text(s.runs[*s.pairs[0].live].scheduled).substr(11, 12) : std::string(to_string(s.pairs[0].kind));
  };
  CHECK(paired({at(12, 10)}) == "12:10:00.000");
  CHECK(paired({at(11, 50)}) == "11:50:00.000");
  CHECK(paired({at(12, 10, 0, 1)}) == "unpaired");
  CHECK(paired({at(11, 49, 59, 999)}) == "unpaired");
  CHECK(paired({at(11, 55), at(12, 5)}) == "12:05:00.000");
  CHECK(paired({at(11, 56), at(12, 5)}) == "11:56:00.000");
  CHECK(paired({}) == "unpaired");
}

TEST_CASE("Every five minutes gives five candidates, every fifteen gives two") {
  const auto candidates = [](int every) {
    std::vector<SoakRun> runs{run("balance", at(16, 5))};
    for (int m = 0; m < 24 * 60; m += every) runs.push_back(run("balance-live", at(0, m)));
    return scan(two_checks({at(16, 5)}, runs)).pairs.at(0).candidates;
  };
  CHECK(candidates(5) == 5);
  CHECK(candidates(15) == 2);
}

TEST_CASE("An error next door hides nothing") {
  const SoakScan s =
      scan(two_checks({at(12, 0)}, {run("balance", at(12, 0), Status::fail), run("balance-live", at(12, 0), Status::error), run("balance-live", at(12, 5))}));
  const SoakPair& p = s.pairs.at(0);
  CHECK(p.kind == PairClass::live_no_assert);
  REQUIRE(p.asserting);
  CHECK(s.runs[*p.asserting].scheduled == at(12, 5));
  CHECK(p.asserted == PairClass::miss);
}

TEST_CASE("Every pair of statuses has its class") {
  const std::vector<std::optional<Status>> all{std::nullopt, Status::pass, Status::skipped, Status::error, Status::fail};
  for (const auto& old : all)
    for (const auto& live : all) {
      std::vector<SoakRun> runs;
      if (old) runs.push_back(run("balance", at(12, 0), *old));
      if (live) runs.push_back(run("balance-live", at(12, 0), *live));
      CHECK(scan(two_checks({at(12, 0)}, runs)).pairs.at(0).kind == table(old, live));
    }
}

TEST_CASE("Values compare only when no event lies between the two cuts") {
  const auto pair = [](auto change) {
    SoakRun old = run("balance", at(12, 0)), live = run("balance-live", at(12, 0));
    change(old, live);
    return scan(two_checks({at(12, 0)}, {old, live})).pairs.at(0);
  };
  CHECK(pair([](SoakRun&, SoakRun&) {}).values == ValuesCompare::same);
  const SoakPair differ = pair([](SoakRun&, SoakRun& live) { live.right = "[]"; });
  CHECK(differ.values == ValuesCompare::differ);
  CHECK(differ.kind == PairClass::agree_values_differ);
  for (const SoakPair& p : {pair([](SoakRun&, SoakRun&live) { live.right = "[]", ++*live.epoch; }), pair([](SoakRun&old, SoakRun&) { old.epoch.reset(); }),
                            pair([](SoakRun&, SoakRun&live) { live.stream = "other"; }), pair([](SoakRun&old, SoakRun&) { old.left.clear(); })}) {
    CHECK(p.values == ValuesCompare::not_comparable);
    CHECK(p.kind == PairClass::agree);
  }
}

TEST_CASE("The check of mark cycles is joined on the cycle, however far away it ran") {
  SoakRun old = run("balance", at(12, 0)), near = run("balance-live", at(12, 1), Status::pass), same = run("balance-live", at(11, 40), Status::fail);
  old.stream = "mark_cycles", old.epoch = 41;
  near.trigger = same.trigger = "event";
  near.event_key = "42", same.event_key = "41";
  SoakInput in = two_checks({at(12, 0)}, {old, near, same});
  in.by_cycle = true;
  CHECK(scan(in).pairs.at(0).kind == PairClass::false_alarm);
  in.by_cycle = false;
  CHECK(scan(in).pairs.at(0).kind == PairClass::agree);
  in.by_cycle = true;
  in.runs[0].epoch = 43;  // of that cycle there is no run, and another cycle's says nothing of it
  CHECK(scan(in).pairs.at(0).kind == PairClass::unpaired);
}

TEST_CASE("A mark cycle that comes during a run is coalesced, one that nothing answers to is missed") {
  const auto cycle_run = [](Instant when, const std::string& key, Millis took) {
    SoakRun r = run("balance-live", when);
    r.trigger = "event", r.event_key = key, r.started = when, r.finished = when + took;
    return r;
  };
  SoakInput in = two_checks({}, {cycle_run(at(1, 0), "1", minutes(7)), cycle_run(at(1, 10), "3", minutes(1)), cycle_run(at(1, 30), "6", minutes(1))});
  in.cycles = {{1, at(1, 0)}, {2, at(1, 5)}, {3, at(1, 10)}, {4, at(1, 15)}, {5, at(1, 20)}, {6, at(1, 30)}, {7, at(1, 30, 30)}};
  in.outages = {{at(1, 19), at(1, 21), "power"}};
  const SoakScan s = scan(in);
  CHECK(s.coalesced == 1);  // 2; 7 came during a run too, but nothing ran after it
  REQUIRE(s.missed.size() == 3);
  CHECK(s.missed[0].fire == at(1, 15));
  CHECK_FALSE(s.missed[0].explained);
  CHECK(s.missed[1].explained);
  CHECK(s.missed[2].fire == at(1, 30, 30));
}

TEST_CASE("An episode outlives two fires of another status and ends with the third") {
  const auto episodes = [](const std::string& states) {
    SoakInput in = two_checks({}, {});
    for (std::size_t i = 0; i < states.size(); ++i) {
      const Instant t = at(1, static_cast<int>(i) * 5);
      in.live_fires.push_back(t);
      if (states[i] == '.') continue;  // no row at all
      const Status status = states[i] == 'f' ? Status::fail : states[i] == 'e' ? Status::error : states[i] == 's' ? Status::skipped : Status::pass;
      in.runs.push_back(run("balance-live", t, status));
    }
    std::string text;
    for (const Episode& e : scan(in).episodes)
      text += std::string(to_string(e.status)).substr(0, 1) + std::to_string((e.first - at(1, 0)) / minutes(5)) + "-" +
              std::to_string((e.last - at(1, 0)) / minutes(5)) + "x" + std::to_string(e.n) + " ";
    return text;
  };
  CHECK(episodes("ppfpp") == "f2-2x1 ");
  CHECK(episodes("fppf") == "f0-3x2 ");
  CHECK(episodes("fpppf") == "f0-0x1 f4-4x1 ");
  CHECK(episodes("f..f") == "f0-3x2 ");
  CHECK(episodes("f...f") == "f0-0x1 f4-4x1 ");
  CHECK(episodes("fefefe") == "f0-4x3 e1-5x3 ");
  CHECK(episodes("ssss") == "s0-3x4 ");
}

TEST_CASE("An episode tells what happened within it") {
  SoakInput in = two_checks({at(1, 5)}, {run("balance", at(1, 5), Status::fail)});
  for (int i = 0; i < 4; ++i) {
    SoakRun r = run("balance-live", at(1, i * 5), Status::fail, i == 2 ? Reason::missing_rows : Reason::differs);
    r.largest_gap = parse_decimal(i == 1 ? "12.5" : "3");
    in.runs.push_back(r);
  }
  in.outages = {{at(1, 4), at(1, 6), "a"}, {at(1, 5), at(1, 7), "b"}, {at(3, 0), at(4, 0), "c"}};
  in.adjudications = {{"balance-live", at(1, 10), Adjudicated::check_bug, "too early", "one", at(5, 0)},
                      {"balance-live", at(1, 0), Adjudicated::real_break, "seen in the ledger", "two", at(6, 0)},
                      {"balance", at(1, 5), Adjudicated::infra, "of another check", "three", at(7, 0)}};
  const SoakScan s = scan(in);
  REQUIRE(s.episodes.size() == 2);
  const Episode& e = s.episodes[0];
  CHECK(e.n == 4);
  CHECK(e.reasons == std::vector<std::pair<Reason, std::uint64_t>>{{Reason::differs, 3}, {Reason::missing_rows, 1}});
  CHECK(to_string(e.largest_gap->shortest()) == "12.5");
  CHECK(e.other == std::array<std::uint64_t, 4>{0, 0, 0, 1});
  CHECK(e.in_outage == minutes(3));  // the minute of both outages counts once
  CHECK(e.verdict == Adjudicated::real_break);
  CHECK(e.who == "two");
  CHECK(s.episodes[1].verdict == Adjudicated::infra);
}

TEST_CASE("Manual runs and canary runs answer to no fire") {
  SoakRun manual = run("balance-live", at(12, 0), Status::fail), planted = manual;
  manual.trigger = "manual", planted.trigger = "canary";
  SoakInput in = two_checks({at(12, 0)}, {run("balance", at(12, 0)), manual, planted});
  in.live_fires = {at(12, 0)};
  const SoakScan s = scan(in);
  CHECK(s.pairs.at(0).kind == PairClass::unpaired);
  CHECK(s.episodes.empty());
  CHECK(s.missed.size() == 1);
}

TEST_CASE("A window that ends before it begins, and a record that is too large, are refused") {
  SoakInput in = two_checks({}, {});
  in.until = in.from;
  CHECK_THROWS_AS(scan(in), Failure);
}

TEST_CASE("Over four weeks of seeded faults the scan finds what was planted, no more and no less") {
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u, 6u}) {
    std::mt19937 random(seed);
    Month month;
    month.in.planted.clear();
    for (SoakRun& r : month.in.runs) r.status = Status::pass, r.reason = Reason::none;

    // Divergences at old fires: the nearest live run is the one at the fire itself.
    std::map<Instant, PairClass> expected;
    for (const Instant fire : month.in.old_fires) expected[fire] = PairClass::agree;
    std::vector<Instant> chosen = month.in.old_fires;
    std::shuffle(chosen.begin(), chosen.end(), random);
    std::map<Instant, Status> live_faults, old_faults;
    const auto plant = [&](Instant fire, PairClass kind, Status old, Status live) {
      if (old != Status::pass) month.old(fire).status = old, old_faults[fire] = old;
      if (live != Status::pass) month.live(fire).status = live, live_faults[fire] = live;
      expected[fire] = kind;
    };
    for (int i = 0; i < 3; ++i) plant(chosen[static_cast<std::size_t>(i)], PairClass::miss, Status::fail, Status::pass);
    for (int i = 3; i < 6; ++i) plant(chosen[static_cast<std::size_t>(i)], PairClass::false_alarm, Status::pass, Status::fail);
    for (int i = 6; i < 9; ++i) plant(chosen[static_cast<std::size_t>(i)], PairClass::both_fail, Status::fail, Status::fail);
    plant(chosen[9], PairClass::live_no_assert, Status::fail, Status::error);
    plant(chosen[10], PairClass::old_no_assert, Status::skipped, Status::pass);
    month.drop("balance", chosen[11]);
    expected[chosen[11]] = PairClass::old_missed;
    for (int m = -10; m <= 10; m += 5) month.drop("balance-live", chosen[12] + minutes(m));
    expected[chosen[12]] = PairClass::unpaired;
    month.live(chosen[13]).left = "another";
    expected[chosen[13]] = PairClass::agree_values_differ;

    // Episodes of the live check elsewhere.
    std::uniform_int_distribution<int> when(0, 28 * 288 - 1), how_long(1, 9), what(1, 3);
    for (int i = 0; i < 12; ++i) {
      const Status status = static_cast<Status>(what(random));
      Instant t = begin + minutes(5) * when(random);
      for (int n = how_long(random); n > 0 && t < month.in.until; --n, t += minutes(5)) {
        bool near = false;
        for (const Instant fire : month.in.old_fires) near |= t >= fire - minutes(10) && t <= fire + minutes(10);
        if (near || live_faults.contains(t)) break;
        month.live(t).status = status;
        live_faults[t] = status;
      }
    }
    // A brute force of episodes over the list of all fires, position by position.
    std::set<std::string> episodes;
    const auto expect_episodes = [&](const std::string& id, const std::vector<Instant>& all, const std::map<Instant, Status>& faults) {
      for (const Status status : {Status::fail, Status::error, Status::skipped})
        for (std::size_t i = 0; i < all.size();) {
          const auto is = [&](std::size_t k) { return k < all.size() && faults.contains(all[k]) && faults.at(all[k]) == status; };
          if (!is(i)) {
            ++i;
            continue;
          }
          std::size_t last = i, n = 1;
          for (std::size_t k = i + 1; k <= last + 3; ++k)
            if (is(k)) last = k, ++n;
          episodes.insert(id + " " + std::string(to_string(status)) + " " + to_text(all[i]) + " " + to_text(all[last]) + " " + std::to_string(n));
          i = last + 1;
        }
    };
    expect_episodes("balance-live", month.in.live_fires, live_faults);
    expect_episodes("balance", month.in.old_fires, old_faults);

    std::shuffle(month.in.runs.begin(), month.in.runs.end(), random);  // a record has no order
    const SoakScan s = scan(month.in);
    INFO("seed " << seed);
    REQUIRE(s.pairs.size() == expected.size());
    for (const SoakPair& p : s.pairs) {
      INFO(to_text(p.fire));
      CHECK(std::string(to_string(p.kind)) == std::string(to_string(expected.at(p.fire))));
    }
    std::set<std::string> found;
    for (const Episode& e : s.episodes)
      found.insert(e.check_id + " " + std::string(to_string(e.status)) + " " + to_text(e.first) + " " + to_text(e.last) + " " + std::to_string(e.n));
    CHECK(found == episodes);
    CHECK(s.episodes.size() == episodes.size());
    std::set<Instant> missed;
    for (const MissedFire& m : s.missed) missed.insert(m.fire);
    CHECK(s.missed.size() == 6);
    CHECK(missed.contains(chosen[11]));
  }
}

TEST_CASE("In a record of pure chance every pair is what a look at every run says") {
  for (const unsigned seed : {11u, 12u, 13u}) {
    std::mt19937 random(seed);
    Month month;
    std::uniform_int_distribution<int> any(0, 3), percent(0, 99);
    for (SoakRun& r : month.in.runs) r.status = static_cast<Status>(any(random)), r.left.clear();
    std::erase_if(month.in.runs, [&](const SoakRun&) { return percent(random) < 50; });
    const SoakScan s = scan(month.in);
    std::size_t next = 0;
    for (const Instant fire : month.in.old_fires) {
      std::optional<Status> old;
      const SoakRun *live = nullptr, *asserting = nullptr;
      for (const SoakRun& r : month.in.runs) {
        if (r.check_id == "balance" && r.scheduled == fire) old = r.status;
        if (r.check_id != "balance-live" || std::abs((r.scheduled - fire).count()) > 600'000) continue;
        const auto closer = [&](const SoakRun* than) {
          if (than == nullptr) return true;
          const auto a = std::abs((r.scheduled - fire).count()), b = std::abs((than->scheduled - fire).count());
          return a < b || (a == b && r.scheduled > than->scheduled);
        };
        if (closer(live)) live = &r;
        if ((r.status == Status::pass || r.status == Status::fail) && closer(asserting)) asserting = &r;
      }
      const SoakPair& p = s.pairs.at(next++);
      CHECK(p.fire == fire);
      CHECK(p.kind == table(old, live == nullptr ? std::nullopt : std::optional(live->status)));
      CHECK(p.asserted == table(old, asserting == nullptr ? std::nullopt : std::optional(asserting->status)));
      CHECK(p.live.has_value() == (live != nullptr));
      if (live != nullptr) CHECK(s.runs[*p.live].scheduled == live->scheduled);
    }
  }
}
