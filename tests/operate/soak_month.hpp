// A month of record without a blemish, for tests to put one into: four weeks of an old check twice a day in New York and of its twin every five minutes,
// over a change of clocks, with everything that a promotion asks for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <epochcut/operate/cron.hpp>
#include <epochcut/operate/soak_criteria.hpp>

namespace soak_test {

using namespace epochcut;
using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

/// New York in the spring of 2026, without a zone file.
struct Eastern {
  seconds offset(Instant at) const { return at < Instant(std::chrono::sys_days(std::chrono::year(2026) / 3 / 8)) + hours(7) ? -hours(5) : -hours(4); }
};

inline const Instant begin = Instant(std::chrono::sys_days(std::chrono::year(2026) / 2 / 16));

inline SoakRun run(const std::string& check_id, Instant at, Status status = Status::pass, Reason reason = Reason::none) {
  SoakRun r;
  r.check_id = check_id, r.trigger = "cron", r.scheduled = at, r.started = at + Millis{40}, r.finished = at + Millis{940};
  r.status = status, r.reason = reason, r.stream = "test", r.question = "q";
  r.epoch = static_cast<std::uint64_t>((at - begin).count() + 1'000'000'000'000);
  r.left = r.right = "[{\"amount\":\"" + std::to_string(*r.epoch) + "\"}]";
  return r;
}

struct Month {
  SoakInput in;

  explicit Month(int length_days = 28) {
    in.old_id = "balance", in.live_id = "balance-live";
    in.from = begin, in.until = begin + days(length_days);
    in.old_fires = fires(Cron::parse("0 5,20 16 * * *"), Eastern{}, in.from, in.until);
    in.live_fires = fires(Cron::parse("0 */5 * * * *"), FixedZone{}, in.from, in.until);
    for (const Instant at : in.old_fires) in.runs.push_back(run(in.old_id, at));
    for (const Instant at : in.live_fires) in.runs.push_back(run(in.live_id, at));
    for (int i = 0; i < planted_distinct_min; ++i)
      in.planted.push_back({in.live_id, "break " + std::to_string(i), false, begin - days(3), begin - days(3), begin - days(3), 1});
    for (int week = 0; week * 7 < length_days; ++week) canary(begin + days(7 * week + 2) + hours(3) + minutes(1));
    in.signed_off = SignOff{"an engineer", begin + days(28)};
  }

  SoakRun& live(Instant at) { return of(in.live_id, at); }
  SoakRun& old(Instant at) { return of(in.old_id, at); }

  void drop(const std::string& id, Instant at) {
    std::erase_if(in.runs, [&](const SoakRun& r) { return r.check_id == id && r.scheduled == at; });
  }

  void say(const std::string& id, Instant at, Adjudicated verdict, Instant said) {
    in.adjudications.push_back({id, at, verdict, "looked into", "an engineer", said});
  }

  /// Planted just after one fire, seen by the next, and taken back before the one after.
  void canary(Instant planted) {
    SoakRun& caught = live(planted + minutes(4));
    caught.status = Status::fail, caught.reason = Reason::differs;
    in.planted.push_back({in.live_id, "canary", true, planted, planted + minutes(5), caught.finished, 1});
  }

 private:
  SoakRun& of(const std::string& id, Instant at) {
    return *std::find_if(in.runs.begin(), in.runs.end(), [&](const SoakRun& r) { return r.check_id == id && r.scheduled == at; });
  }
};

inline const Criterion& criterion(const SoakReport& report, CriterionId id) {
  return *std::find_if(report.criteria.begin(), report.criteria.end(), [&](const Criterion& c) { return c.id == id; });
}

/// "errors not_met, cost not_yet": what is not met, in the report's order.
inline std::string wanting(const SoakReport& report) {
  std::string text;
  for (const Criterion& c : report.criteria)
    if (c.finding != Finding::met) text += (text.empty() ? "" : ", ") + std::string(to_string(c.id)) + " " + std::string(to_string(c.finding));
  return text;
}

}  // namespace soak_test
