// What is one cell, whichever engine it came from, and how do two cells compare?
// Layer: core. A view: text points into the column or literal that it came from. Thread-safe to read.
// Families compare within themselves: integers and decimals by value, everything else only with its own type.
#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <epochcut/core/decimal.hpp>

namespace epochcut {

/// The logical types. A source maps its own types onto these once, at its edge.
enum class Type : std::uint8_t { boolean, int64, uint64, decimal, float64, text, uuid, timestamp_ns, date };

constexpr std::string_view to_string(Type type) {
  constexpr std::string_view names[] = {"boolean", "int64", "uint64", "decimal", "float64", "text", "uuid", "timestamp_ns", "date"};
  return names[static_cast<std::size_t>(type)];
}

/// What a text column holds where a decimal column holds its scale: FixedString pads with zero bytes, which are stripped; bytea counts them.
/// Those two alone can't be compared, since no one knows which zeros are padding.
inline constexpr int text_plain = 0, text_bytes = 1, text_padded = 2;

/// Types that compare with each other by value.
enum class Family : std::uint8_t { boolean, number, float64, text, uuid, timestamp, date };

constexpr Family family(Type type) {
  switch (type) {
    case Type::boolean: return Family::boolean;
    case Type::int64:
    case Type::uint64:
    case Type::decimal: return Family::number;
    case Type::float64: return Family::float64;
    case Type::text: return Family::text;
    case Type::uuid: return Family::uuid;
    case Type::timestamp_ns: return Family::timestamp;
    case Type::date: break;
  }
  return Family::date;
}

/// 16 bytes in canonical order, as printed.
struct Uuid {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const Uuid&, const Uuid&) = default;
};

/// Nanoseconds since 1970-01-01T00:00:00Z: 1677 to 2262.
struct Timestamp {
  std::int64_t ns = 0;
};

/// Days since 1970-01-01.
struct Date {
  std::int32_t days = 0;
};

constexpr Uint128 to_wide(const Uuid& uuid) {
  Uint128 wide = 0;
  for (std::uint8_t byte : uuid.bytes) wide = wide << 8 | byte;
  return wide;
}

constexpr Uuid to_uuid(Uint128 wide) {
  Uuid uuid;
  for (int i = 15; i >= 0; --i, wide >>= 8) uuid.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(wide);
  return uuid;
}

/// One cell. `word` holds boolean, int64, uint64, float64 (its bits), timestamp_ns and date; `wide` holds decimal (unscaled) and uuid
/// (big endian, so that numeric order is byte order); `text` holds text.
struct Value {
  Type type = Type::text;
  bool null = true;
  std::uint8_t scale = 0;  ///< of a decimal; of a column's text, one of text_plain, text_bytes, text_padded
  std::uint64_t word = 0;
  Int128 wide = 0;
  std::string_view text{};

  constexpr Value() = default;
  constexpr Value(bool v) : type(Type::boolean), null(false), word(v) {}
  constexpr Value(int v) : Value(static_cast<std::int64_t>(v)) {}
  constexpr Value(long long v) : Value(static_cast<std::int64_t>(v)) {}
  constexpr Value(unsigned v) : Value(static_cast<std::uint64_t>(v)) {}
  constexpr Value(unsigned long long v) : Value(static_cast<std::uint64_t>(v)) {}
  constexpr Value(std::int64_t v) : type(Type::int64), null(false), word(static_cast<std::uint64_t>(v)) {}
  constexpr Value(std::uint64_t v) : type(Type::uint64), null(false), word(v) {}
  constexpr Value(double v) : type(Type::float64), null(false), word(std::bit_cast<std::uint64_t>(v)) {}
  constexpr Value(const Decimal& v) : type(Type::decimal), null(false), scale(static_cast<std::uint8_t>(v.scale)), wide(v.unscaled) {}
  constexpr Value(std::string_view v) : type(Type::text), null(false), text(v) {}
  constexpr Value(const char* v) : Value(std::string_view(v)) {}
  Value(const std::string& v) : Value(std::string_view(v)) {}
  constexpr Value(const Uuid& v) : type(Type::uuid), null(false), wide(static_cast<Int128>(to_wide(v))) {}
  constexpr Value(Timestamp v) : type(Type::timestamp_ns), null(false), word(static_cast<std::uint64_t>(v.ns)) {}
  constexpr Value(Date v) : type(Type::date), null(false), word(static_cast<std::uint64_t>(std::int64_t{v.days})) {}

  static constexpr Value null_of(Type type) {
    Value v;
    v.type = type;
    return v;
  }

  constexpr std::int64_t as_int64() const { return static_cast<std::int64_t>(word); }
  constexpr double as_float64() const { return std::bit_cast<double>(word); }
  /// Any number as a decimal. Precondition: family(type) is number and the value is not null.
  constexpr Decimal as_decimal() const {
    if (type == Type::int64) return {as_int64(), 0};
    if (type == Type::uint64) return {static_cast<Int128>(word), 0};
    return {wide, scale};
  }
};

/// -0.0 is 0.0 and every NaN is the same NaN: on compare AND in the hash.
constexpr std::uint64_t canonical_float(double v) {
  if (v != v) return 0x7FF8000000000000u;
  return v == 0 ? 0 : std::bit_cast<std::uint64_t>(v);
}

/// Key order: NULLs last, false before true, numbers by value, text by unsigned bytes, uuid by canonical bytes, NaN after every number.
/// Precondition: one family.
constexpr std::strong_ordering compare(const Value& a, const Value& b) {
  if (a.null || b.null) return a.null <=> b.null;
  switch (family(a.type)) {
    case Family::boolean: return a.word <=> b.word;
    case Family::number:
      if (a.type == b.type && a.type == Type::int64) return a.as_int64() <=> b.as_int64();
      if (a.type == b.type && a.type == Type::uint64) return a.word <=> b.word;
      return a.as_decimal() <=> b.as_decimal();
    case Family::float64: {
      const std::uint64_t x = canonical_float(a.as_float64()), y = canonical_float(b.as_float64());
      constexpr std::uint64_t sign = std::uint64_t{1} << 63;  // bits of an IEEE double, flipped so that unsigned order is numeric order
      return (x & sign ? ~x : x | sign) <=> (y & sign ? ~y : y | sign);
    }
    case Family::text: return a.text.compare(b.text) <=> 0;
    case Family::uuid: return static_cast<Uint128>(a.wide) <=> static_cast<Uint128>(b.wide);
    case Family::timestamp:
    case Family::date: break;
  }
  return a.as_int64() <=> b.as_int64();
}

/// Days since 1970 as a proleptic Gregorian date, and back (Howard Hinnant's algorithms, public domain).
struct CivilDate {
  std::int64_t year;
  int month, day;
};
constexpr CivilDate civil_from_days(std::int64_t days) {
  days += 719468;
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const std::int64_t day_of_era = days - era * 146097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
  const int month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  return {year_of_era + era * 400 + (month <= 2), month, static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1)};
}

namespace text_of {

inline std::string padded(std::int64_t v, int width) {
  std::string digits = std::to_string(v < 0 ? -v : v);
  while (static_cast<int>(digits.size()) < width) digits.insert(digits.begin(), '0');
  return v < 0 ? "-" + digits : digits;
}

inline std::string date(std::int64_t days) {
  const CivilDate d = civil_from_days(days);
  return padded(d.year, 4) + "-" + padded(d.month, 2) + "-" + padded(d.day, 2);
}

inline std::string timestamp(std::int64_t ns) {
  constexpr std::int64_t second = 1'000'000'000, day = 86'400;
  const std::int64_t seconds = ns / second - (ns % second < 0), rest = ns % second + (ns % second < 0 ? second : 0);
  const std::int64_t days = seconds / day - (seconds % day < 0), of_day = seconds - days * day;
  std::string text = date(days) + "T" + padded(of_day / 3600, 2) + ":" + padded(of_day / 60 % 60, 2) + ":" + padded(of_day % 60, 2);
  if (rest != 0) text += "." + padded(rest, 9);
  return text + "Z";
}

/// The shortest text that reads back as the same double, in every locale. A NaN is a NaN, whatever its sign and payload.
inline std::string float64(double v) {
  if (v != v) return "nan";
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, v).ptr};
}

inline std::string uuid(const Uuid& u) {
  std::string text;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += "0123456789abcdef"[u.bytes[i] >> 4];
    text += "0123456789abcdef"[u.bytes[i] & 15];
  }
  return text;
}

}  // namespace text_of

/// For people: NULL, true, 1.50, text as it is. Not an encoding: two different values may print alike ('' and no text).
inline std::string to_string(const Value& v) {
  if (v.null) return "NULL";
  switch (v.type) {
    case Type::boolean: return v.word ? "true" : "false";
    case Type::int64: return std::to_string(v.as_int64());
    case Type::uint64: return std::to_string(v.word);
    case Type::decimal: return to_string(Decimal{v.wide, v.scale});
    case Type::float64: return text_of::float64(v.as_float64());
    case Type::text: return std::string(v.text);
    case Type::uuid: return text_of::uuid(to_uuid(static_cast<Uint128>(v.wide)));
    case Type::timestamp_ns: return text_of::timestamp(v.as_int64());
    case Type::date: break;
  }
  return text_of::date(v.as_int64());
}

}  // namespace epochcut
