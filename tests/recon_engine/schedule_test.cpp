#include "recon_engine/schedule.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "support/catch.hpp"

using namespace recon_engine;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

Instant at(std::int64_t s) { return Instant(seconds(s)); }

/// Every ten seconds.
ScheduleOptions every_ten(Millis late_max = seconds(4), Millis jitter = Millis(0)) {
  return {.next = [](Instant after) { return at((std::chrono::floor<seconds>(after).time_since_epoch().count() / 10 + 1) * 10); },
          .jitter = jitter,
          .jitter_seed = 7,
          .late_max = late_max};
}

}  // namespace

TEST_CASE("a fire begins once, at its time") {
  Schedule s(every_ten(), at(3));
  CHECK(s.due() == at(10));
  CHECK_FALSE(s.begin(at(9)));
  const auto fire = s.begin(at(10));
  REQUIRE(fire);
  CHECK(*fire == Fire{at(10), "cron", ""});
  s.end();
  CHECK_FALSE(s.begin(at(10)));
  CHECK_FALSE(s.begin(at(19)));
  CHECK(s.begin(at(20))->scheduled == at(20));
  CHECK(s.missed() == 0);
}

TEST_CASE("a fire that has run is not run again by a program that starts between it and the next") {
  Schedule s(every_ten(), at(10));
  CHECK_FALSE(s.begin(at(12)));
  CHECK(s.due() == at(20));
}

TEST_CASE("a check does not overlap itself, and what passed meanwhile is counted") {
  Schedule s(every_ten(), at(0));
  REQUIRE(s.begin(at(10)));
  CHECK_FALSE(s.due());
  CHECK_FALSE(s.begin(at(20)));
  CHECK_FALSE(s.begin(at(40)));
  s.end();
  // 20, 30 and 40 have passed. 40 is three seconds old, which is not too late; the others are missed.
  const auto fire = s.begin(at(43));
  REQUIRE(fire);
  CHECK(fire->scheduled == at(40));
  CHECK(s.missed() == 2);
}

TEST_CASE("a fire that is too late is missed, not made up for") {
  Schedule s(every_ten(seconds(4)), at(0));
  SECTION("by a millisecond") {
    CHECK_FALSE(s.begin(at(14) + Millis(1)));
    CHECK(s.missed() == 1);
  }
  SECTION("not by less") {
    CHECK(s.begin(at(14)));
    CHECK(s.missed() == 0);
  }
  CHECK(s.next_fire() == at(20));
}

TEST_CASE("a program that was down for an hour counts all that it missed") {
  Schedule s(every_ten(), at(0));
  CHECK_FALSE(s.begin(at(3605) + seconds(4)));
  CHECK(s.missed() == 360);
}

TEST_CASE("jitter is bounded, the same for one fire, and no part of what a fire is called") {
  std::set<std::int64_t> delays;
  for (int i = 0; i < 200; ++i) {
    Schedule a(every_ten(seconds(4), seconds(3)), at(i * 10)), b(every_ten(seconds(4), seconds(3)), at(i * 10));
    REQUIRE(a.due() == b.due());
    const auto delay = *a.due() - at(i * 10 + 10);
    CHECK(delay >= Millis(0));
    CHECK(delay <= seconds(3));
    delays.insert(delay.count());
    CHECK_FALSE(a.begin(*a.due() - Millis(1)));
    CHECK(a.begin(*a.due())->scheduled == at(i * 10 + 10));
  }
  CHECK(delays.size() > 100);
}

TEST_CASE("an event runs a check at most once per key, and the newest stands in for the others") {
  Schedule s({.next = {}}, at(0));
  CHECK_FALSE(s.due());
  s.event(5, at(1));
  CHECK(s.coalesced() == 0);
  CHECK(s.due() == at(1));
  const auto fire = s.begin(at(2));
  REQUIRE(fire);
  CHECK(*fire == Fire{at(1), "event", "5"});
  SECTION("the same key again") {
    s.end();
    s.event(5, at(3));
    s.event(4, at(3));
    CHECK_FALSE(s.begin(at(4)));
    CHECK(s.coalesced() == 0);
  }
  SECTION("during a run they wait, and only the newest runs") {
    s.event(6, at(3));
    s.event(7, at(4));
    s.event(8, at(5));
    CHECK_FALSE(s.begin(at(6)));
    s.end();
    CHECK(s.begin(at(7))->event_key == "8");
    s.end();
    CHECK_FALSE(s.begin(at(8)));
    CHECK(s.coalesced() == 2);
  }
  SECTION("keys that nobody told of count too") {
    s.end();
    s.event(9, at(3));
    CHECK(s.begin(at(3))->event_key == "9");
    CHECK(s.coalesced() == 3);
  }
}

TEST_CASE("a program that starts again does not run the last event again") {
  Schedule s({.next = {}}, at(0), 9);
  s.event(9, at(1));
  CHECK_FALSE(s.begin(at(1)));
  s.event(11, at(2));
  CHECK(s.begin(at(2))->event_key == "11");
  CHECK(s.coalesced() == 1);
}

TEST_CASE("a program that can't know which event ran last runs none twice") {
  Schedule s({.next = {}}, at(0), std::nullopt);
  s.event(9, at(1));
  CHECK_FALSE(s.begin(at(1)));
  CHECK(s.missed() == 1);
  s.event(10, at(2));
  CHECK(s.begin(at(2))->event_key == "10");
}

TEST_CASE("whatever the runs take, each fire is run once or missed once") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    Schedule s(every_ten(seconds(4), Millis(static_cast<Millis::rep>(random() % 3'000))), at(0));
    std::set<Instant> ran;
    Instant now = at(0);
    while (now < at(2'000)) {
      now += Millis(static_cast<Millis::rep>(random() % 4'000));
      if (s.running() && random() % 3 == 0) s.end();
      if (const auto fire = s.begin(now)) {
        REQUIRE(ran.insert(fire->scheduled).second);
        REQUIRE(fire->scheduled <= now);
        REQUIRE(now - fire->scheduled <= seconds(7));
      }
    }
    s.end();
    while (const auto fire = s.begin(now)) ran.insert(fire->scheduled), s.end();
    // All fires up to the first that is still to come.
    const auto fires = static_cast<std::uint64_t>((*s.next_fire() - at(10)) / seconds(10));
    CHECK(ran.size() + s.missed() == fires);
  }
}
