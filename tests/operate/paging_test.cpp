#include "support/catch.hpp"

#include <algorithm>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <epochcut/operate/paging.hpp>

using namespace epochcut;
using std::chrono::minutes;

namespace {

const PagingPolicy policy{.confirm = 2, .clear = 2, .interval_min = minutes(1), .assert_within = minutes(60), .stuck_errors = 3, .stuck_after = minutes(15)};

Instant minute(int m) { return Instant(std::chrono::sys_days(std::chrono::year(2026) / 5 / 1)) + minutes(m); }

PagedRun run(char state, Instant at) {
  switch (state) {
    case 'p': return {Status::pass, Reason::none, false, at};
    case 'f': return {Status::fail, Reason::differs, false, at};
    case 's': return {Status::skipped, Reason::precondition, false, at};
    case 'E': return {Status::error, Reason::configuration, false, at};
    default: return {Status::error, Reason::connection, true, at};
  }
}

/// "invariant firing broken 5-10": since when, and when it was said, in minutes.
std::string text(const std::vector<PageEvent>& events) {
  std::string out;
  for (const PageEvent& e : events)
    out += (out.empty() ? "" : ", ") + std::string(to_string(e.signal)) + " " + std::string(to_string(e.transition)) + " " + std::string(to_string(e.cause)) +
           " " + std::to_string((e.since - minute(0)) / minutes(1)) + "-" + std::to_string((e.at - minute(0)) / minutes(1));
  return out;
}

std::string fold(const std::string& states, int every_minutes = 5, const PagingPolicy& with = policy) {
  Pager pager(with);
  std::vector<PageEvent> all;
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (states[i] == '.') continue;
    const auto events = pager.add(run(states[i], minute(static_cast<int>(i) * every_minutes)));
    all.insert(all.end(), events.begin(), events.end());
  }
  return text(all);
}

}  // namespace

TEST_CASE("One fail wakes nobody, the second does, and a pass between them forgives") {
  CHECK(fold("pf") == "");
  CHECK(fold("pff") == "invariant firing broken 5-10");
  CHECK(fold("pfpf") == "");
  CHECK(fold("fpffff") == "invariant firing broken 10-15");
}

TEST_CASE("Errors and skips keep a pending fail") {
  CHECK(fold("fef") == "invariant firing broken 0-10");
  CHECK(fold("fsf") == "invariant firing broken 0-10");
}

TEST_CASE("An episode ends with passes in a row, and only with those") {
  CHECK(fold("ffp") == "invariant firing broken 0-5");
  CHECK(fold("ffpp") == "invariant firing broken 0-5, invariant resolved broken 0-15");
  for (const char* between : {"ffpfp", "ffpep", "ffpsp"}) CHECK(fold(between) == "invariant firing broken 0-5");
  CHECK(fold("ffppff") == "invariant firing broken 0-5, invariant resolved broken 0-15, invariant firing broken 20-25");
  CHECK(fold("ffeeee.").find("resolved") == std::string::npos);
}

TEST_CASE("Two fails of one moment are one observation") {
  Pager pager(policy);
  CHECK(pager.add(run('f', minute(0))).empty());
  CHECK(pager.add(run('f', minute(0) + Millis{59'999})).empty());
  CHECK(pager.pending() == 1);
  CHECK(text(pager.add(run('f', minute(1)))) == "invariant firing broken 0-1");
}

TEST_CASE("A fail that was never confirmed ages away when nothing is asserted, and that is told as what it is") {
  // One fail, then skips past the hour: nobody can say whether the stores agree.
  CHECK(fold("fssss", 15) == "infrastructure firing unassertable 60-60");
  // The fail after it begins to count anew.
  CHECK(fold("fssssf", 15) == "infrastructure firing unassertable 60-60, infrastructure resolved unassertable 60-75");
  CHECK(fold("fsssf", 15).find("invariant firing") == std::string::npos);  // sixty minutes later is too late
  CHECK(fold("fssf", 15) == "invariant firing broken 0-45");
}

TEST_CASE("A page that is out is not taken back by silence") {
  const std::string events = fold("ffssssssss", 15);
  CHECK(events.find("invariant firing broken 0-15") != std::string::npos);
  CHECK(events.find("invariant resolved") == std::string::npos);
  CHECK(events.find("infrastructure firing unassertable 75-75") != std::string::npos);
}

TEST_CASE("Errors in a row that last are stuck; fewer, shorter or broken ones are not") {
  CHECK(fold("peee") == "");  // ten minutes
  CHECK(fold("peeee") == "infrastructure firing stuck 5-20");
  CHECK(fold("peeeep") == "infrastructure firing stuck 5-20, infrastructure resolved stuck 5-25");
  CHECK(fold("peeseee") == "");
  CHECK(fold("pee", 10) == "");                               // too few
  CHECK(fold("pEEE") == "infrastructure firing stuck 5-15");  // waiting does not heal a wrong configuration
  CHECK(fold("pEeE") == "");
  CHECK(fold("eeee").find("invariant") == std::string::npos);
}

TEST_CASE("Errors that became silence are one episode, which ends when something is asserted") {
  std::string states = "p" + std::string(13, 'e');
  CHECK(fold(states) == "infrastructure firing stuck 5-20");
  CHECK(fold(states + "s") == "infrastructure firing stuck 5-20");
  CHECK(fold(states + "sp") == "infrastructure firing stuck 5-20, infrastructure resolved stuck 5-75");
}

TEST_CASE("Silence is noticed while it lasts, under the name that the record gives it later") {
  Pager watched(policy);
  watched.add(run('p', minute(0)));
  CHECK(watched.tick(minute(59)).empty());
  CHECK(text(watched.tick(minute(61))) == "infrastructure firing unassertable 60-61");
  CHECK(watched.tick(minute(62)).empty());
  CHECK(text(watched.add(run('p', minute(70)))) == "infrastructure resolved unassertable 60-70");

  Pager afterwards(policy);
  afterwards.add(run('p', minute(0)));
  CHECK(text(afterwards.add(run('p', minute(70)))) == "infrastructure firing unassertable 60-70, infrastructure resolved unassertable 60-70");
}

TEST_CASE("Before the first run there is nothing to say") {
  Pager pager(policy);
  CHECK(pager.tick(minute(10'000)).empty());
  CHECK(pager.add(run('p', minute(20'000))).empty());
}

TEST_CASE("A restart folds the record again and names the same episodes") {
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u}) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> gap(1, 40), state(0, 11), cut(0, 9);
    std::vector<PagedRun> record;
    int at = 0;
    for (int i = 0; i < 2'000; ++i) record.push_back(run("ppppppfffees"[state(random)], minute(at += gap(random))));

    using Name = std::tuple<Signal, Transition, Instant>;
    const auto name = [](const PageEvent& e) { return Name(e.signal, e.transition, e.since); };
    std::multiset<Name> once;
    Pager steady(policy);
    for (const PagedRun& r : record)
      for (const PageEvent& e : steady.add(r)) once.insert(name(e));

    // A process that ticks every minute, dies at random moments, and folds what was recorded: an outbox keeps each name once.
    std::set<Name> outbox;
    Pager pager(policy);
    Instant clock = minute(0);
    for (std::size_t i = 0; i < record.size(); ++i) {
      for (; clock < record[i].at; clock += minutes(1))
        for (const PageEvent& e : pager.tick(clock)) outbox.insert(name(e));
      if (cut(random) == 0) {
        pager = Pager(policy);
        for (std::size_t k = 0; k < i; ++k)
          for (const PageEvent& e : pager.add(record[k])) outbox.insert(name(e));
      }
      for (const PageEvent& e : pager.add(record[i])) outbox.insert(name(e));
    }
    CHECK(once.size() > 50);
    CHECK(std::multiset<Name>(outbox.begin(), outbox.end()) == once);
  }
}

TEST_CASE("Every resolved follows its own firing, and no signal fires twice at once") {
  std::mt19937 random(99);
  std::uniform_int_distribution<int> state(0, 3), gap(1, 30);
  Pager pager(policy);
  std::optional<Instant> firing[2];
  int at = 0;
  for (int i = 0; i < 20'000; ++i)
    for (const PageEvent& e : pager.add(run("pfes"[state(random)], minute(at += gap(random))))) {
      std::optional<Instant>& open = firing[static_cast<std::size_t>(e.signal)];
      if (e.transition == Transition::firing) {
        REQUIRE_FALSE(open.has_value());
        open = e.since;
      } else {
        REQUIRE(open == e.since);
        open.reset();
      }
      CHECK(e.since <= e.at);
    }
  CHECK(firing[0] == pager.broken());
  CHECK(firing[1] == pager.infrastructure());
}
