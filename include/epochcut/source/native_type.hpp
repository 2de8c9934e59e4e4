// Which logical type is a ClickHouse type, and how do its cells lie on the wire?
// Layer: source; no I/O, standard library only. Stateless. A type's name is not trusted: it comes with the bytes.
// Source: the vendor's manual, "Data types"; measured on 18.16 and 26.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/value.hpp>

namespace epochcut {

inline constexpr std::uint64_t native_cell_bytes_max = 64u << 20;  ///< one text: it is held whole
inline constexpr long long native_decimal_digits_max = 76;         ///< of a Decimal(P, S): more is no type of ClickHouse

/// One ClickHouse type, as it is laid out on the wire and as the library sees it.
struct NativeType {
  enum class Wire : std::uint8_t {
    uint8,
    uint16,
    uint32,
    uint64,
    int8,
    int16,
    int32,
    int64,
    float32,
    float64,
    decimal32,
    decimal64,
    decimal128,
    decimal256,
    int128,
    uint128,
    int256,
    uint256,
    string,
    fixed_string,
    uuid,
    date,
    date32,
    datetime,
    datetime64,
    enum8,
    enum16
  };
  Wire wire = Wire::uint8;
  Type type = Type::uint64;
  int scale = 0;            ///< of a decimal, or of a DateTime64's ticks; of text, what its trailing zero bytes are (core/value.hpp)
  std::uint64_t width = 1;  ///< bytes of a cell; 0 where each cell brings its own length
  bool nullable = false;
  bool low_cardinality = false;                               ///< the wire form of that is not decoded; a query casts it away
  std::vector<std::pair<std::int16_t, std::string>> names{};  ///< of an enum

  bool is_enum() const { return wire == Wire::enum8 || wire == Wire::enum16; }
  /// The scale of the column that holds it.
  int column_scale() const { return type == Type::decimal || type == Type::text ? scale : 0; }
  /// Integers and decimals that the library's own 38 digits may not hold.
  bool is_wide() const { return wire >= Wire::decimal256 && wire <= Wire::uint256; }
};

namespace native {

inline bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

inline bool take_number(std::string_view& text, long long& number) {
  while (take(text, " ")) {
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  while (take(text, " ")) {
  }
  return true;
}

/// A quoted name as ClickHouse prints it inside a type.
inline bool take_quoted(std::string_view& text, std::string& name) {
  while (take(text, " ")) {
  }
  if (!take(text, "'")) return false;
  for (name.clear(); !text.empty(); text.remove_prefix(1)) {
    if (take(text, "'")) return true;
    if (text[0] == '\\') {
      text.remove_prefix(1);
      if (text.empty()) return false;
      constexpr std::string_view letters = "bfnrt0", meant{"\b\f\n\r\t\0", 6};
      const auto at = letters.find(text[0]);
      name += at == std::string_view::npos ? text[0] : meant[at];
    } else {
      name += text[0];
    }
  }
  return false;
}

inline bool parse_enum(std::string_view text, NativeType& type) {
  const long long limit = type.wire == NativeType::Wire::enum8 ? 128 : 32768;
  for (std::string name;;) {
    long long number = 0;
    if (!take_quoted(text, name)) return false;
    while (take(text, " ")) {
    }
    if (!take(text, "=") || !take_number(text, number) || number < -limit || number >= limit) return false;
    type.names.emplace_back(static_cast<std::int16_t>(number), name);
    if (take(text, ")")) return text.empty();
    if (!take(text, ",")) return false;
  }
}

inline bool parse_type(std::string_view text, NativeType& type) {
  using Wire = NativeType::Wire;
  const auto inner = [&](bool NativeType::*flag) {
    if (!text.ends_with(")") || type.*flag) return false;
    type.*flag = true;
    text.remove_suffix(1);
    return parse_type(text, type);
  };
  if (take(text, "Nullable(")) return inner(&NativeType::nullable);
  if (take(text, "LowCardinality(")) return !type.nullable && inner(&NativeType::low_cardinality);

  struct Plain {
    std::string_view name;
    Wire wire;
    Type type;
    std::uint64_t width;
  };
  static constexpr Plain plain[] = {{"UInt8", Wire::uint8, Type::uint64, 1},      {"UInt16", Wire::uint16, Type::uint64, 2},
                                    {"UInt32", Wire::uint32, Type::uint64, 4},    {"UInt64", Wire::uint64, Type::uint64, 8},
                                    {"Int8", Wire::int8, Type::int64, 1},         {"Int16", Wire::int16, Type::int64, 2},
                                    {"Int32", Wire::int32, Type::int64, 4},       {"Int64", Wire::int64, Type::int64, 8},
                                    {"Float32", Wire::float32, Type::float64, 4}, {"Float64", Wire::float64, Type::float64, 8},
                                    {"Bool", Wire::uint8, Type::boolean, 1},      {"String", Wire::string, Type::text, 0},
                                    {"UUID", Wire::uuid, Type::uuid, 16},         {"Date", Wire::date, Type::date, 2},
                                    {"Date32", Wire::date32, Type::date, 4},      {"DateTime", Wire::datetime, Type::timestamp_ns, 4},
                                    {"Int128", Wire::int128, Type::decimal, 16},  {"UInt128", Wire::uint128, Type::decimal, 16},
                                    {"Int256", Wire::int256, Type::decimal, 32},  {"UInt256", Wire::uint256, Type::decimal, 32}};
  for (const Plain& p : plain)
    if (text == p.name) {
      type.wire = p.wire, type.type = p.type, type.width = p.width;
      return true;
    }

  long long number = 0, scale = 0;
  if (take(text, "Decimal(")) {
    if (!take_number(text, number) || !take(text, ",") || !take_number(text, scale) || text != ")") return false;
    if (number < 1 || number > native_decimal_digits_max || scale < 0 || scale > number || scale > decimal_scale_max) return false;
    type.type = Type::decimal;
    type.scale = static_cast<int>(scale);
    type.wire = number <= 9 ? Wire::decimal32 : number <= 18 ? Wire::decimal64 : number <= 38 ? Wire::decimal128 : Wire::decimal256;
    type.width = number <= 9 ? 4 : number <= 18 ? 8 : number <= 38 ? 16 : 32;
    return true;
  }
  if (take(text, "FixedString(")) {
    if (!take_number(text, number) || text != ")" || number < 1 || static_cast<std::uint64_t>(number) > native_cell_bytes_max) return false;
    type.wire = Wire::fixed_string, type.type = Type::text, type.width = static_cast<std::uint64_t>(number), type.scale = text_padded;
    return true;
  }
  if (take(text, "DateTime64(")) {
    std::string zone;
    if (!take_number(text, scale) || scale < 0 || scale > 9) return false;
    if (take(text, ",") && !take_quoted(text, zone)) return false;
    type.wire = Wire::datetime64, type.type = Type::timestamp_ns, type.width = 8, type.scale = static_cast<int>(scale);
    return text == ")";
  }
  if (take(text, "DateTime(")) {  // a time zone is how it prints, not what it is
    std::string zone;
    type.wire = Wire::datetime, type.type = Type::timestamp_ns, type.width = 4;
    return take_quoted(text, zone) && text == ")";
  }
  const bool small = take(text, "Enum8(");
  if (!small && !take(text, "Enum16(")) return false;
  type.wire = small ? Wire::enum8 : Wire::enum16, type.type = Type::text, type.width = small ? 1 : 2;
  return parse_enum(text, type);
}

}  // namespace native

/// Errors: `schema`, naming the column and its type, when the library has no type for it.
inline NativeType parse_native_type(std::string_view column, std::string_view name) {
  NativeType type;
  if (!native::parse_type(name, type))
    throw Failure(Reason::schema, "column \"" + std::string(column.substr(0, 200)) + "\" has the ClickHouse type " + std::string(name.substr(0, 200)) +
                                      ", which can't be compared; leave it out of the query or cast it in a view");
  return type;
}

}  // namespace epochcut
