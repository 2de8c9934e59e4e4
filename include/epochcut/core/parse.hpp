// Which value does this text stand for?
// Layer: core. Pure. The inverse of `to_string(Value)` for each type: what a source of your own needs that reads text files.
// Nothing is guessed and nothing is rounded: text that is not exactly a value of the type is refused.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/core/column.hpp>

namespace epochcut {

namespace parsing {

/// Unsigned digits, all of the text.
inline std::optional<std::int64_t> digits(std::string_view text) {
  std::int64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (text.empty() || text[0] == '-' || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return v;
}

/// `[-]YYYY-MM-DD`, with more digits of the year where it has them, as days since 1970 (Howard Hinnant's algorithm, public domain). Refused if
/// the calendar has no such day or its year can't be counted in 32 bits of days. The year 0 is 1 BC, as in ISO 8601.
inline std::optional<std::int64_t> date(std::string_view text) {
  const bool before_christ = text.starts_with('-');
  if (before_christ) text.remove_prefix(1);
  const std::size_t wide = text.find('-');  // digits of the year
  if (wide == std::string_view::npos || wide < 4 || wide > 7 || (wide > 4 && text[0] == '0')) return std::nullopt;
  if (text.size() != wide + 6 || text[wide + 3] != '-') return std::nullopt;
  const auto years = digits(text.substr(0, wide)), month = digits(text.substr(wide + 1, 2)), day = digits(text.substr(wide + 4, 2));
  if (!years || !month || !day || *month < 1 || *month > 12 || *day < 1 || *day > 31 || (before_christ && *years == 0)) return std::nullopt;
  const std::int64_t year = before_christ ? -*years : *years;
  const std::int64_t y = year - (*month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
  const std::int64_t of_year = (153 * (*month + (*month > 2 ? -3 : 9)) + 2) / 5 + *day - 1;
  const std::int64_t days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
  if (civil_from_days(days).day != *day || days < INT32_MIN || days > INT32_MAX) return std::nullopt;
  return days;
}

/// `YYYY-MM-DDThh:mm:ss[.fffffffff]Z` as nanoseconds since 1970.
inline std::optional<std::int64_t> timestamp(std::string_view text) {
  if (text.size() < 20 || text.back() != 'Z' || (text[10] != 'T' && text[10] != ' ') || text[13] != ':' || text[16] != ':') return std::nullopt;
  const auto days = date(text.substr(0, 10));
  const auto hours = digits(text.substr(11, 2)), minutes = digits(text.substr(14, 2)), seconds = digits(text.substr(17, 2));
  if (!days || !hours || !minutes || !seconds || *hours > 23 || *minutes > 59 || *seconds > 59) return std::nullopt;
  std::int64_t fraction = 0;
  if (text.size() > 20) {
    const std::string_view tail = text.substr(20, text.size() - 21);
    const auto parsed = digits(tail);
    if (text[19] != '.' || tail.size() > 9 || !parsed) return std::nullopt;
    fraction = *parsed;
    for (std::size_t i = tail.size(); i < 9; ++i) fraction *= 10;
  }
  const Int128 ns = Int128{*days * 86'400 + *hours * 3'600 + *minutes * 60 + *seconds} * 1'000'000'000 + fraction;
  if (ns < INT64_MIN || ns > INT64_MAX) return std::nullopt;
  return static_cast<std::int64_t>(ns);
}

inline std::optional<Uuid> uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid u;
  std::size_t nibble = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return std::nullopt;
      continue;
    }
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    u.bytes[nibble / 2] = static_cast<std::uint8_t>(u.bytes[nibble / 2] << 4 | digit);
    ++nibble;
  }
  return u;
}

}  // namespace parsing

/// The type that `to_string(Type)` names, or nothing.
inline std::optional<Type> parse_type(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(Type::date); ++i)
    if (to_string(static_cast<Type>(i)) == name) return static_cast<Type>(i);
  return std::nullopt;
}

/// Appends the value that `text` stands for. Errors: `schema` when it is none of the column's type, `overflow` when it does not fit.
inline void append_parsed(Column& column, std::string_view text) {
  const auto append = [&](const auto& parsed) {
    if (!parsed) throw Failure(Reason::schema, "\"" + std::string(text) + "\" is no value of type " + std::string(to_string(column.type())));
    column.append(Value(*parsed));
  };
  switch (column.type()) {
    case Type::boolean: return append(text == "true" ? std::optional(true) : text == "false" ? std::optional(false) : std::nullopt);
    case Type::int64:
    case Type::uint64:
    case Type::decimal: return append(parse_decimal(text));
    case Type::float64: {
      double v = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
      return append(!text.empty() && error == std::errc{} && end == text.data() + text.size() ? std::optional(v) : std::nullopt);
    }
    case Type::text: return append(std::optional(text));
    case Type::uuid: return append(parsing::uuid(text));
    case Type::timestamp_ns: {
      const auto ns = parsing::timestamp(text);
      return append(ns ? std::optional(Timestamp{*ns}) : std::nullopt);
    }
    case Type::date: break;
  }
  const auto days = parsing::date(text);
  append(days ? std::optional(Date{static_cast<std::int32_t>(*days)}) : std::nullopt);
}

}  // namespace epochcut
