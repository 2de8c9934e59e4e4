#include "support/catch.hpp"

#include <functional>
#include <set>
#include <string>
#include <vector>

#include <epochcut/operate/cron.hpp>
#include <epochcut/operate/zone.hpp>

namespace {

using namespace epochcut;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

Instant utc(int year, unsigned month, unsigned day, int hour = 0, int minute = 0, int second = 0) {
  return std::chrono::sys_days(std::chrono::year_month_day(std::chrono::year(year), std::chrono::month(month), std::chrono::day(day))) + hours(hour) +
         minutes(minute) + seconds(second);
}

struct Face {  // of a clock on the wall
  int hour, minute, day, month, weekday;
};

Face face(std::chrono::sys_seconds local) {
  const auto day = std::chrono::floor<std::chrono::days>(local);
  const std::chrono::year_month_day date(day);
  const int minute = static_cast<int>((local - day).count() / 60);
  return {minute / 60, minute % 60, static_cast<int>(static_cast<unsigned>(date.day())), static_cast<int>(static_cast<unsigned>(date.month())),
          static_cast<int>(std::chrono::weekday(day).c_encoding())};
}

struct Case {
  std::string text;
  bool fixed;
  std::function<bool(const Face&)> wanted;  // said by hand, not by parsing
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"0 5,20 16 * * *", true, [](const Face& f) { return f.hour == 16 && (f.minute == 5 || f.minute == 20); }},
      {"0 30 2 * * *", true, [](const Face& f) { return f.hour == 2 && f.minute == 30; }},
      {"0 0,15,45 1-3 * * *", true, [](const Face& f) { return f.hour >= 1 && f.hour <= 3 && (f.minute == 0 || f.minute == 15 || f.minute == 45); }},
      {"0 0 3 * * *", true, [](const Face& f) { return f.hour == 3 && f.minute == 0; }},
      {"0 30 0,1,23 * * SUN", true, [](const Face& f) { return f.minute == 30 && (f.hour < 2 || f.hour == 23) && f.weekday == 0; }},
      {"0 */5 * * * *", false, [](const Face& f) { return f.minute % 5 == 0; }},
      {"0 */15 1-2 * * *", false, [](const Face& f) { return f.minute % 15 == 0 && f.hour >= 1 && f.hour <= 2; }},
      {"0 17 * * * *", false, [](const Face& f) { return f.minute == 17; }},
      {"0 30 */2 * * *", false, [](const Face& f) { return f.minute == 30 && f.hour % 2 == 0; }},
      {"0 10-50/20 2 * * 0", false, [](const Face& f) { return f.hour == 2 && (f.minute == 10 || f.minute == 30 || f.minute == 50) && f.weekday == 0; }},
      {"0 0 12 8 * MON", true, [](const Face& f) { return f.hour == 12 && f.minute == 0 && (f.day == 8 || f.weekday == 1); }},
      {"0 0 12 */2 * 1-5", true, [](const Face& f) { return f.hour == 12 && f.minute == 0 && f.day % 2 == 1 && f.weekday >= 1 && f.weekday <= 5; }},
      {"0 45 23 1-31 mar,Nov 5-7", true,
       [](const Face& f) { return f.hour == 23 && f.minute == 45 && (f.month == 3 || f.month == 11); }},  // 1-31 is no star: every day is one of them
  };
  return all;
}

/// What the rule says, minute by minute: nothing of the code under test but its zones.
template <class Z>
std::vector<Instant> walk(const Case& c, const Z& zone, Instant from, Instant until) {
  std::vector<Instant> out;
  const auto begin = std::chrono::floor<seconds>(from) - hours(48);
  auto shown = begin + zone.offset(begin);  // the latest that the clock has shown
  for (auto at = begin + minutes(1); at < until; at += minutes(1)) {
    const auto now = at + zone.offset(at);
    bool fire = false;
    if (c.fixed) {
      for (auto skipped = shown + minutes(1); skipped <= now; skipped += minutes(1)) fire |= c.wanted(face(skipped));
      shown = std::max(shown, now);
    } else {
      fire = c.wanted(face(now));
    }
    if (fire && at >= from) out.push_back(at);
  }
  return out;
}

std::string listed(const std::vector<Instant>& fires) {
  std::string text;
  for (const Instant at : fires) text += to_text(at) + "\n";
  return text;
}

}  // namespace

TEST_CASE("A schedule fires as a walk over every minute says, also when clocks change") {
  struct Window {
    const char* zone;
    Instant from, until;
  };
  const std::vector<Window> windows{
      {"US/Eastern", utc(2026, 3, 6), utc(2026, 3, 11)},           {"US/Eastern", utc(2026, 10, 30), utc(2026, 11, 4)},
      {"Europe/Zurich", utc(2026, 3, 27), utc(2026, 4, 1)},        {"Europe/Zurich", utc(2026, 10, 23), utc(2026, 10, 28)},
      {"Australia/Lord_Howe", utc(2026, 4, 3), utc(2026, 4, 7)},  // half an hour
      {"Australia/Lord_Howe", utc(2026, 10, 2), utc(2026, 10, 6)}, {"Africa/Casablanca", utc(2026, 2, 13), utc(2026, 2, 18)},
      {"Africa/Casablanca", utc(2026, 3, 20), utc(2026, 3, 24)},   {"America/Sao_Paulo", utc(2018, 11, 2), utc(2018, 11, 7)},  // at midnight
      {"America/Sao_Paulo", utc(2018, 2, 16), utc(2018, 2, 20)},   {"Pacific/Apia", utc(2011, 12, 28), utc(2012, 1, 2)},       // a whole day is missing
      {"Asia/Kathmandu", utc(2026, 3, 6), utc(2026, 3, 9)},
  };
  for (const Window& w : windows) {
    const NamedZone zone(w.zone);
    for (const Case& c : cases()) {
      INFO(w.zone << " " << c.text << " from " << to_text(w.from));
      const Cron cron = Cron::parse(c.text);
      CHECK(cron.fixed() == c.fixed);
      CHECK(listed(fires(cron, zone, w.from, w.until)) == listed(walk(c, zone, w.from, w.until)));
    }
  }
}

TEST_CASE("The next fire does not depend on where in between one asks") {
  const NamedZone zone("US/Eastern");
  for (const Case& c : cases()) {
    const Cron cron = Cron::parse(c.text);
    const std::vector<Instant> all = fires(cron, zone, utc(2026, 10, 30), utc(2026, 11, 10));
    for (Instant at = utc(2026, 10, 31, 0, 0, 30); at < utc(2026, 11, 3); at += minutes(7) + Millis(1)) {
      const auto expected = std::upper_bound(all.begin(), all.end(), at);
      if (expected == all.end()) break;
      INFO(c.text << " after " << to_text(at));
      CHECK(to_text(cron.next(at, zone)) == to_text(*expected));
    }
  }
}

TEST_CASE("The windowed checks fire 730 times in 2026, five and twenty past four in New York") {
  const NamedZone zone("US/Eastern");
  const std::vector<Instant> all = fires(Cron::parse("0 5,20 16 * * *"), zone, utc(2026, 1, 1, 5), utc(2027, 1, 1, 5));
  CHECK(all.size() == 730);
  const Instant summer = utc(2026, 3, 8, 7), winter = utc(2026, 11, 1, 6);
  for (const Instant at : all) {
    const auto time = at - std::chrono::floor<std::chrono::days>(at);
    const hours four = at >= summer && at < winter ? hours(20) : hours(21);
    CHECK((time == four + minutes(5) || time == four + minutes(20)));
  }
}

TEST_CASE("Every five minutes is 276 times on the short day and 300 times on the long one") {
  const NamedZone zone("US/Eastern");
  const Cron cron = Cron::parse("0 */5 * * * *");
  CHECK(fires(cron, zone, utc(2026, 3, 8, 5), utc(2026, 3, 9, 4)).size() == 276);
  CHECK(fires(cron, zone, utc(2026, 11, 1, 4), utc(2026, 11, 2, 5)).size() == 300);
  CHECK(fires(cron, zone, utc(2026, 7, 1, 4), utc(2026, 7, 2, 4)).size() == 288);
}

TEST_CASE("A fixed time in the gap fires once at its end, in the overlap once, the first time") {
  const NamedZone zone("US/Eastern");
  const auto all = [&](const char* text, Instant from, Instant until) { return fires(Cron::parse(text), zone, from, until); };
  CHECK(all("0 30 2 * * *", utc(2026, 3, 8), utc(2026, 3, 9)) == std::vector{utc(2026, 3, 8, 7)});
  CHECK(all("0 5,20 2 * * *", utc(2026, 3, 8), utc(2026, 3, 9)) == std::vector{utc(2026, 3, 8, 7)});
  CHECK(all("0 0 2,3 * * *", utc(2026, 3, 8), utc(2026, 3, 9)) == std::vector{utc(2026, 3, 8, 7)});
  CHECK(all("0 30 1 * * *", utc(2026, 11, 1), utc(2026, 11, 2)) == std::vector{utc(2026, 11, 1, 5, 30)});
  CHECK(all("0 30 * 1 NOV *", utc(2026, 11, 1, 5), utc(2026, 11, 1, 7)) == std::vector{utc(2026, 11, 1, 5, 30), utc(2026, 11, 1, 6, 30)});
}

TEST_CASE("A clock that goes forward and soon back again is noticed") {
  struct AheadForHalfADay {
    seconds offset(Instant at) const { return at >= utc(2026, 6, 3, 6) && at < utc(2026, 6, 3, 18) ? hours(1) : hours(0); }
  };
  const Case noon{"0 0 12 * * *", true, [](const Face& f) { return f.hour == 12 && f.minute == 0; }};
  const auto all = fires(Cron::parse(noon.text), AheadForHalfADay{}, utc(2026, 5, 30), utc(2026, 6, 8));
  CHECK(listed(all) == listed(walk(noon, AheadForHalfADay{}, utc(2026, 5, 30), utc(2026, 6, 8))));
  CHECK(Cron::parse("0 0 12 3 6 *").next(utc(2026, 1, 1), AheadForHalfADay{}) == utc(2026, 6, 3, 11));
  CHECK(Cron::parse("0 30 18 3 6 *").next(utc(2026, 1, 1), AheadForHalfADay{}) == utc(2026, 6, 3, 17, 30));
}

TEST_CASE("Seconds count, and a fire is strictly after the time asked about") {
  const FixedZone utc_zone;
  const Cron cron = Cron::parse("7,37 * * * * *");
  CHECK(cron.next(utc(2026, 5, 1), utc_zone) == utc(2026, 5, 1, 0, 0, 7));
  CHECK(cron.next(utc(2026, 5, 1, 0, 0, 7), utc_zone) == utc(2026, 5, 1, 0, 0, 37));
  CHECK(cron.next(utc(2026, 5, 1, 0, 0, 7) - Millis(1), utc_zone) == utc(2026, 5, 1, 0, 0, 7));
  CHECK(cron.next(utc(2026, 5, 1, 0, 0, 37) + Millis(1), utc_zone) == utc(2026, 5, 1, 0, 1, 7));
  CHECK(cron.next(utc(2026, 12, 31, 23, 59, 40), utc_zone) == utc(2027, 1, 1, 0, 0, 7));
  CHECK(Cron::parse("0 0 0 29 2 *").next(utc(2096, 3, 1), utc_zone) == utc(2104, 2, 29));  // 2100 is no leap year
  CHECK(Cron::parse("0 0 0 * * 7") == Cron::parse("0 0 0 * * sun"));
  CHECK(Cron::parse("0 0 0 * * 5-7") == Cron::parse("0 0 0 * * FRI,SAT,SUN"));
  CHECK(Cron::parse("  0  0 0 * * 1 ") == Cron::parse("0 0 0 * * mon"));
}

TEST_CASE("A bad schedule is one sentence that names the field") {
  const auto refusal = [](const char* text) -> std::string {
    try {
      Cron::parse(text);
      return "accepted";
    } catch (const Failure& f) {
      CHECK(f.kind == Reason::configuration);
      return f.message;
    }
  };
  const auto names = [&](const char* text, const std::string& what) {
    const std::string message = refusal(text);
    INFO(text << " → " << message);
    CHECK(message.find(what) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  };
  names("*/5 * * * *", "has 5 fields and needs 6");
  names("0 0 0 * * * 2026", "has 7 fields and needs 6");
  names("", "has 0 fields");
  names("60 * * * * *", "second \"60\" is not between 0 and 59");
  names("0 60 * * * *", "minute \"60\"");
  names("0 0 24 * * *", "hour \"24\" is not between 0 and 23");
  names("0 0 0 0 * *", "day of month \"0\" is not between 1 and 31");
  names("0 0 0 * 13 *", "month \"13\"");
  names("0 0 0 * * 8", "day of week \"8\"");
  names("0 0 0 * * fri-mon", "runs backwards");
  names("0 5/10 * * * *", "minute \"5/10\" has a step without a range");
  names("0 */0 * * * *", "step of 0");
  names("0 1,,2 * * * *", "minute \"\" lacks a number");
  names("0 -5 * * * *", "minute \"-5\"");
  names("0 1-2-3 * * * *", "minute \"1-2-3\"");
  names("0 99999999999 * * * *", "minute \"99999999999\"");
  names("0 0 mon * * *", "hour \"mon\"");
  names("0 0 0 ? * *", "day of month \"?\"");
  names("0 0 0 31 2,4,6,9,11 *", "never comes");
  names("0 0 0 30 FEB *", "never comes");
}

TEST_CASE("More fires than anyone can use are refused") {
  CHECK_THROWS_AS(fires(Cron::parse("* * * * * *"), FixedZone{}, utc(2026, 1, 1), utc(2026, 1, 4)), Failure);
  CHECK(fires(Cron::parse("* * * * * *"), FixedZone{}, utc(2026, 1, 1), utc(2026, 1, 2)).size() == 86'400);
}
