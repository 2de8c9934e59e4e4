// When does a schedule fire next, in the zone where it is meant?
// Layer: operate. Values, thread-safe; the zone is injected (operate/zone.hpp knows the machine's).
// Fields and names are Vixie cron's (crontab(5)) with seconds before them, and so is the rule for clock changes: fixed times in a gap fire once, at its
// end; in an overlap once, the first time; a schedule with `*` or a step in second, minute or hour follows real time.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/instant.hpp>

namespace epochcut {

/// What wall clocks show beyond UTC, at a moment.
template <class T>
concept Zone = requires(const T& zone, Instant at) {
  { zone.offset(at) } -> std::convertible_to<std::chrono::seconds>;
};

/// A zone whose clocks never change. Default: UTC, said by name and never assumed.
struct FixedZone {
  std::chrono::seconds ahead{0};
  std::chrono::seconds offset(Instant) const { return ahead; }
};

inline constexpr std::size_t fires_max = 200'000;  ///< fires in one answer: two years of every five minutes

namespace cron_detail {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Local = std::chrono::local_seconds;

inline constexpr hours probe{6};                // no zone changes its clocks twice within this
inline constexpr hours overlap_max{26};         // Kwajalein lived one whole day twice
inline constexpr days calendar_cycle{146'097};  // after 400 years the calendar repeats

struct FieldRule {
  std::string_view name;
  int low, high;
  std::string_view names;  // three letters each, the first for `low`
};
inline constexpr std::array<FieldRule, 6> rules{{{"second", 0, 59, ""},
                                                 {"minute", 0, 59, ""},
                                                 {"hour", 0, 23, ""},
                                                 {"day of month", 1, 31, ""},
                                                 {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
                                                 {"day of week", 0, 7, "sunmontuewedthufrisat"}}};

struct Field {
  std::uint64_t bits = 0;
  bool starts_with_star = false;  // Vixie: a day field that begins so restricts nothing of the other
  bool repeats = false;           // `*` or a step somewhere
  bool has(unsigned value) const { return (bits >> value & 1) != 0; }
  friend bool operator==(const Field&, const Field&) = default;
};

inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string_view::npos ? end : end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

class Reader {
 public:
  Reader(std::string_view schedule, const FieldRule& rule) : schedule_(schedule), rule_(rule) {}

  Field field(std::string_view text) const {
    Field out{.starts_with_star = text.starts_with('*')};
    for (const std::string_view item : split(text, ',')) {
      const std::size_t slash = item.find('/');
      const std::string_view range = item.substr(0, slash);
      int low = rule_.low, high = rule_.high, step = 1;
      const bool star = range == "*";
      const std::size_t dash = range.find('-');
      if (!star) {
        low = value(range.substr(0, dash), item);
        high = dash == std::string_view::npos ? low : value(range.substr(dash + 1), item);
        if (high < low) fail(item, "runs backwards; write it as two ranges");
      } else if (rule_.high == 7) {
        high = 6;  // Sunday is 0 and 7, and `*/2` means it once
      }
      if (slash != std::string_view::npos) {
        if (!star && dash == std::string_view::npos)
          fail(item, "has a step without a range; write *" + std::string(item.substr(slash)) + " or first-last/step");
        step = number(item.substr(slash + 1), item);
        if (step == 0) fail(item, "has a step of 0");
      }
      out.repeats |= star || slash != std::string_view::npos;
      for (int v = low; v <= high; v += step) out.bits |= std::uint64_t{1} << (rule_.high == 7 ? v % 7 : v);
    }
    return out;
  }

 private:
  [[noreturn]] void fail(std::string_view item, const std::string& why) const {
    throw Failure(Reason::configuration,
                  "the schedule \"" + std::string(schedule_) + "\": " + std::string(rule_.name) + " \"" + std::string(item) + "\" " + why);
  }

  int number(std::string_view text, std::string_view item) const {
    if (text.empty() || text.size() > 4) fail(item, text.empty() ? "lacks a number" : "is not a number that fits");
    int out = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') fail(item, "is neither a number" + std::string(rule_.names.empty() ? "" : ", a three-letter name") + ", a range, a list nor *");
      out = out * 10 + (c - '0');
    }
    return out;
  }

  int value(std::string_view text, std::string_view item) const {
    if (text.size() == 3 && !rule_.names.empty())
      for (std::size_t i = 0; i < rule_.names.size(); i += 3) {
        bool same = true;
        for (std::size_t k = 0; k < 3; ++k) same &= (text[k] | 0x20) == rule_.names[i + k];
        if (same) return rule_.low + static_cast<int>(i / 3);
      }
    const int out = number(text, item);
    if (out < rule_.low || out > rule_.high) fail(item, "is not between " + std::to_string(rule_.low) + " and " + std::to_string(rule_.high));
    return out;
  }

  std::string_view schedule_;
  const FieldRule& rule_;
};

/// Clocks go from `before` to `after` at `at`.
struct ClockChange {
  std::chrono::sys_seconds at;
  seconds before, after;
};

inline Local local(std::chrono::sys_seconds at, seconds offset) { return Local(at.time_since_epoch() + offset); }
inline std::chrono::sys_seconds utc(Local at, seconds offset) { return std::chrono::sys_seconds(at.time_since_epoch() - offset); }

/// The first change after `from` and not after `to`.
template <Zone Z>
std::optional<ClockChange> next_change(const Z& zone, std::chrono::sys_seconds from, std::chrono::sys_seconds to) {
  const seconds before = zone.offset(from);
  while (from < to) {
    std::chrono::sys_seconds end = from + probe < to ? from + probe : to;
    const seconds after = zone.offset(end);
    if (after != before) {
      while (end - from > seconds(1)) {
        const auto middle = from + (end - from) / 2;
        (zone.offset(middle) == before ? from : end) = middle;
      }
      return ClockChange{end, before, zone.offset(end)};
    }
    from = end;
  }
  return std::nullopt;
}

}  // namespace cron_detail

/// A schedule of six fields: second minute hour day-of-month month day-of-week.
/// Shape: `*`, numbers, `a-b`, lists, `*/n` and `a-b/n`; months and weekdays also by three letters of their English name; Sunday is 0 and 7. If both day
/// fields are restricted a day needs to match one of them; if one begins with `*`, it needs to match both.
class Cron {
 public:
  /// Errors: configuration, in one sentence that names the field; also when the day never comes (31 February).
  static Cron parse(std::string_view text) {
    using namespace cron_detail;
    std::vector<std::string_view> parts;
    for (const std::string_view part : split(text, ' '))
      if (!part.empty()) parts.push_back(part);
    if (parts.size() != rules.size())
      throw Failure(Reason::configuration, "the schedule \"" + std::string(text) + "\" has " + std::to_string(parts.size()) +
                                               " fields and needs 6: second minute hour day-of-month month day-of-week");
    Cron cron;
    cron.text_ = std::string(text);
    for (std::size_t i = 0; i < rules.size(); ++i) cron.fields_[i] = Reader(text, rules[i]).field(parts[i]);
    if (!cron.next_local(Local{}))
      throw Failure(Reason::configuration, "the schedule \"" + std::string(text) + "\": day of month \"" + std::string(parts[3]) +
                                               "\" never comes in month \"" + std::string(parts[4]) + "\"");
    return cron;
  }

  const std::string& text() const { return text_; }

  /// Its fires are named times of day, not a rhythm: what a clock change may neither drop nor double.
  bool fixed() const { return !fields_[0].repeats && !fields_[1].repeats && !fields_[2].repeats; }

  /// The first fire after `after`: strictly, so that feeding it back walks the schedule. Precondition: years 1 to 9000.
  template <Zone Z>
  Instant next(Instant after, const Z& zone) const {
    using namespace cron_detail;
    std::chrono::sys_seconds t = std::chrono::floor<seconds>(after) + seconds(1);
    std::optional<ClockChange> last = last_change(zone, t);
    for (;;) {
      // What the clock showed before it was set back has fired already.
      const seconds offset = zone.offset(t);
      Local from = local(t, offset);
      if (last && fixed()) {
        if (last->after < last->before && from < local(last->at, last->before)) from = local(last->at, last->before);
        if (last->after > last->before && last->at >= t) {
          const std::optional<Local> swallowed = next_local(local(last->at, last->before));
          if (swallowed && *swallowed < local(last->at, last->after)) return last->at;
        }
      }
      const std::chrono::sys_seconds candidate = utc(*next_local(from), offset);
      const std::optional<ClockChange> change = next_change(zone, t, candidate);
      if (!change) return candidate;
      last = change;
      t = change->at;
    }
  }

  friend bool operator==(const Cron& a, const Cron& b) { return a.fields_ == b.fields_; }

 private:
  template <Zone Z>
  static std::optional<cron_detail::ClockChange> last_change(const Z& zone, std::chrono::sys_seconds t) {
    std::optional<cron_detail::ClockChange> last;
    for (std::chrono::sys_seconds from = t - cron_detail::overlap_max;;) {
      const std::optional<cron_detail::ClockChange> change = cron_detail::next_change(zone, from, t);
      if (!change) return last;
      last = change;
      from = change->at;
    }
  }

  bool matches(std::chrono::local_days day) const {
    const std::chrono::year_month_day date(day);
    if (!fields_[4].has(static_cast<unsigned>(date.month()))) return false;
    const bool of_month = fields_[3].has(static_cast<unsigned>(date.day())), of_week = fields_[5].has(std::chrono::weekday(day).c_encoding());
    return fields_[3].starts_with_star || fields_[5].starts_with_star ? of_month && of_week : of_month || of_week;
  }

  /// The first matching wall clock time at or after `from`, as if clocks never changed; none if the calendar has no such day.
  std::optional<cron_detail::Local> next_local(cron_detail::Local from) const {
    using namespace cron_detail;
    const std::chrono::local_days first = std::chrono::floor<days>(from);
    for (std::chrono::local_days day = first; day <= first + calendar_cycle; day += days(1)) {
      if (!matches(day)) continue;
      const int start = day == first ? static_cast<int>((from - first).count()) : 0;
      for (int hour = start / 3600; hour < 24; ++hour) {
        if (!fields_[2].has(static_cast<unsigned>(hour))) continue;
        const int in_hour = start > hour * 3600 ? start - hour * 3600 : 0;
        for (int minute = in_hour / 60; minute < 60; ++minute) {
          if (!fields_[1].has(static_cast<unsigned>(minute))) continue;
          for (int second = in_hour > minute * 60 ? in_hour - minute * 60 : 0; second < 60; ++second)
            if (fields_[0].has(static_cast<unsigned>(second))) return day + hours(hour) + minutes(minute) + seconds(second);
        }
      }
    }
    return std::nullopt;
  }

  std::string text_;
  std::array<cron_detail::Field, 6> fields_{};
};

/// All fires in [from, until), in order. Errors: configuration when there are more than fires_max.
template <Zone Z>
std::vector<Instant> fires(const Cron& cron, const Z& zone, Instant from, Instant until) {
  std::vector<Instant> out;
  for (Instant at = cron.next(from - Millis(1), zone); at < until; at = cron.next(at, zone)) {
    if (out.size() == fires_max)
      throw Failure(Reason::configuration,
                    "the schedule \"" + cron.text() + "\" fires more than " + std::to_string(fires_max) + " times in the time asked for; ask for less");
    out.push_back(at);
  }
  return out;
}

}  // namespace epochcut
