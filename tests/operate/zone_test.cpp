#include "support/catch.hpp"

#include <set>
#include <stdexcept>
#include <string>

#include <epochcut/operate/zone.hpp>

using namespace epochcut;
using std::chrono::hours;
using std::chrono::sys_days;

TEST_CASE("A zone shows what its clocks show") {
  const NamedZone eastern("US/Eastern");
  CHECK(eastern.name() == "US/Eastern");
  using namespace std::chrono_literals;
  CHECK(eastern.offset(sys_days(2026y / 1 / 15)) == -hours(5));
  CHECK(eastern.offset(sys_days(2026y / 7 / 15)) == -hours(4));
  CHECK(eastern.offset(Instant(sys_days(2026y / 3 / 8)) + hours(7) - Millis(1)) == -hours(5));
  CHECK(eastern.offset(Instant(sys_days(2026y / 3 / 8)) + hours(7)) == -hours(4));
}

TEST_CASE("An unknown zone is refused and never taken for UTC") {
  for (const char* name : {"Mars/Base", "", "US/Eastren", "EST5EDT4ever", "../../etc/passwd"}) {
    INFO(name);
    try {
      const NamedZone zone(name);
      FAIL("accepted");
    } catch (const Failure& f) {
      CHECK(f.kind == Reason::configuration);
      CHECK(f.message.find('"' + std::string(name) + '"') != std::string::npos);
    }
  }
}

TEST_CASE("A name of old is found where the system no longer has it") {
  std::set<std::string> known{"America/New_York"};
  const auto locate = [&](std::string_view name) {
    if (!known.contains(std::string(name))) throw std::runtime_error("no such file");
    return std::string(name);
  };
  CHECK(find_zone("US/Eastern", locate) == "America/New_York");
  CHECK(find_zone("America/New_York", locate) == "America/New_York");
  CHECK_THROWS_AS(find_zone("US/Pacific", locate), Failure);  // its successor is missing too
  CHECK_THROWS_AS(find_zone("Europe/Zurich", locate), Failure);
  known.insert("US/Eastern");
  CHECK(find_zone("US/Eastern", locate) == "US/Eastern");  // what the system has goes first
}
