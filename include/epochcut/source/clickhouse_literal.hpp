// How is a value written in a ClickHouse statement, and how does it compare there as it does here?
// Layer: source; text only. Stateless. One function per type; `compare` (core/value.hpp) is the oracle, on a live server.
// A literal that a column's type can't hold (2.5 beside an integer) is brought down to the type's next value first, so nothing is ever rounded.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/source/native.hpp>

namespace epochcut::clickhouse {

inline std::string identifier(std::string_view name) {
  std::string text = "`";
  for (const char c : name) {
    if (c == '`' || c == '\\') text += '\\';
    text += c;
  }
  return text + "`";
}

/// Everything but plain ASCII as \xHH, so that no byte of a value can mean anything to the parser.
inline std::string text_literal(std::string_view value) {
  std::string text = "'";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '\'' && c != '\\')
      text += c;
    else
      text += {'\\', 'x', "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]};
  }
  return text + "'";
}

inline std::string number_literal(Int128 value) { return to_string(Decimal{value, 0}); }

/// As text, since a literal with a point would be a double. Precondition: |unscaled| < 10^38.
inline std::string decimal_literal(const Decimal& value) { return "toDecimal128('" + to_string(value) + "', " + std::to_string(value.scale) + ")"; }

/// Through its bits: the server's own parser of doubles is off by one unit in the last place for some.
inline std::string float_literal(double value) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  std::string hex;
  for (int byte = 0; byte < 8; ++byte)
    for (const int shift : {4, 0}) hex += "0123456789ABCDEF"[bits >> (byte * 8 + shift) & 15];
  return "reinterpretAsFloat64(unhex('" + hex + "'))";
}

inline std::string uuid_literal(const Uuid& value) { return "toUUID('" + text_of::uuid(value) + "')"; }

/// A literal brought to a column's unit: the greatest value of that unit that is not above it, and whether it is the literal itself.
struct Floor {
  Int128 value = 0;
  bool exact = true;
};

inline Floor floor_divide(Int128 value, Int128 unit) {
  Floor floor{value / unit, value % unit == 0};
  if (!floor.exact && value < 0) --floor.value;
  return floor;
}

/// `floor` is the literal, or if not exact the value below it, next to which there is no other.
inline std::string relation(const std::string& x, Comparison comparison, const std::string& floor, bool exact) {
  switch (comparison) {
    case Comparison::equal: return exact ? x + " = " + floor : "0";
    case Comparison::not_equal: return exact ? x + " != " + floor : "1";
    case Comparison::less: return x + (exact ? " < " : " <= ") + floor;
    case Comparison::at_most: return x + " <= " + floor;
    case Comparison::greater: return x + " > " + floor;
    default: return x + (exact ? " >= " : " > ") + floor;
  }
}

/// NaN equals itself and comes after every number.
inline std::string compared_float(const std::string& x, Comparison comparison, double literal) {
  const std::string is_nan = "isNaN(" + x + ")";
  if (literal != literal) {
    switch (comparison) {
      case Comparison::equal:
      case Comparison::at_least: return is_nan + " = 1";
      case Comparison::not_equal:
      case Comparison::less: return is_nan + " = 0";
      case Comparison::at_most: return "1";
      default: return "0";
    }
  }
  const std::string sql = relation("toFloat64(" + x + ")", comparison, float_literal(literal == 0 ? 0 : literal), true);
  return comparison == Comparison::greater || comparison == Comparison::at_least ? "(" + sql + " OR " + is_nan + ")" : sql;
}

/// `x <comparison> literal` for a cell that is not NULL; it may be a constant. Precondition: one family, and the literal is not NULL.
inline std::string compared(const NativeType& type, const std::string& x, Comparison comparison, const Value& literal) {
  using Wire = NativeType::Wire;
  switch (family(type.type)) {
    case Family::boolean: return relation(x, comparison, literal.word ? "1" : "0", true);
    case Family::uuid:
      if (comparison == Comparison::equal || comparison == Comparison::not_equal)
        return relation(x, comparison, uuid_literal(to_uuid(static_cast<Uint128>(literal.wide))), true);
      return relation("toString(" + x + ")", comparison, text_literal(to_string(literal)), true);
    case Family::float64: return compared_float(x, comparison, literal.as_float64());
    case Family::text: {
      if (type.wire != Wire::fixed_string) return relation(x, comparison, text_literal(literal.text), true);
      // Cells are compared as they are stored, padded with zeros; a literal that could not be stored so lies between two that can.
      const std::string_view stored = literal.text.substr(0, static_cast<std::size_t>(type.width));
      std::string padded(stored);
      padded.resize(static_cast<std::size_t>(type.width));
      const bool exact = literal.text.size() <= type.width && !literal.text.ends_with('\0');
      return relation(x, comparison, "toFixedString(" + text_literal(padded) + ", " + std::to_string(type.width) + ")", exact);
    }
    case Family::date: return relation("toInt64(" + x + ")", comparison, number_literal(literal.as_int64()), true);
    case Family::timestamp: {  // a DateTime64 as its own ticks: as nanoseconds one of the year 2299 would stop the whole query
      const Floor floor = floor_divide(literal.as_int64(), power_of_ten(9 - type.scale));
      return relation((type.wire == Wire::datetime64 ? "reinterpretAsInt64(" : "toInt64(") + x + ")", comparison, number_literal(floor.value), floor.exact);
    }
    case Family::number: break;
  }
  const Decimal shortest = literal.as_decimal().shortest();
  if (type.is_wide()) {  // holds every literal
    const Floor floor =
        shortest.scale > type.scale ? floor_divide(shortest.unscaled, power_of_ten(shortest.scale - type.scale)) : Floor{shortest.unscaled, true};
    const std::string text = "'" + to_string(Decimal{floor.value, std::min(shortest.scale, type.scale)}) + "'";
    return relation(x, comparison, type.wire == Wire::decimal256 ? "toDecimal256(" + text + ", " + std::to_string(type.scale) + ")" : "toInt256(" + text + ")",
                    floor.exact);
  }
  const bool decimal = type.type == Type::decimal;
  const int scale = decimal ? type.scale : 0;
  Floor floor{shortest.unscaled, true};
  if (shortest.scale > scale) {
    floor = floor_divide(shortest.unscaled, power_of_ten(shortest.scale - scale));
  } else {
    const auto wide = shortest.at_scale(scale);
    floor.value = wide ? wide->unscaled : shortest.unscaled > 0 ? power_of_ten(38) : -power_of_ten(38);
  }
  const Int128 lowest = decimal ? 1 - power_of_ten(38) : Int128{INT64_MIN}, highest = decimal ? power_of_ten(38) - 1 : Int128{UINT64_MAX};
  const bool above = floor.value > highest, below = floor.value < lowest;  // of every cell
  if (above || below) {
    const bool holds = comparison == Comparison::not_equal || (above ? comparison == Comparison::less || comparison == Comparison::at_most
                                                                     : comparison == Comparison::greater || comparison == Comparison::at_least);
    return holds ? "1" : "0";
  }
  return relation(x, comparison, decimal ? decimal_literal({floor.value, scale}) : number_literal(floor.value), floor.exact);
}

}  // namespace epochcut::clickhouse
