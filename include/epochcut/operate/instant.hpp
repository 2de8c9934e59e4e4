// When was it, by the wall clock?
// Layer: operate. Schedules, soaks and handoffs talk of calendar time; everything below measures monotonic time only (cut/control.hpp).
// Values only; the wall clock is injected where time passes.
#pragma once

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include <epochcut/cut/control.hpp>

namespace epochcut {

/// A moment in UTC.
using Instant = std::chrono::sys_time<Millis>;

/// `2026-03-08T07:00:00.000Z`: RFC 3339, as a log and a database take it. Precondition: a year from 0 to 9999.
inline std::string to_text(Instant at) {
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const auto ms = (at - day).count();
  std::array<char, 40> text{};
  const int size = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), static_cast<int>(ms / 3'600'000),
                                 static_cast<int>(ms / 60'000 % 60), static_cast<int>(ms / 1000 % 60), static_cast<int>(ms % 1000));
  return {text.data(), static_cast<std::size_t>(size)};
}

}  // namespace epochcut
