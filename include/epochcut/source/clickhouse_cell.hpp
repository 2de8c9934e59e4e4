// How is one cell written in SQL, so that ClickHouse says of it what it holds?
// Layer: source; text only, no I/O. Stateless. As it is read, as the winner of its key, as what a hash function takes, and as what is added up.
// Each knows what its type can't do: NULLs that argMax skips, Decimals that 18.16 does not hash, sums that wrap. Measured on 18.16 and 26.
#pragma once

#include <string>

#include <epochcut/core/digest.hpp>
#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/native_type.hpp>

namespace epochcut::clickhouse::rendering {

inline std::string enum_name(const NativeType& type) {
  std::string names;
  for (const auto& [number, name] : type.names) names += (names.empty() ? "" : ", ") + text_literal(name) + " = " + std::to_string(number);
  return (type.wire == NativeType::Wire::enum8 ? "Enum8(" : "Enum16(") + names + ")";
}

/// The type without LowCardinality.
inline std::string plain_name(const NativeType& type) {
  using Wire = NativeType::Wire;
  const auto name = [&]() -> std::string {
    switch (type.wire) {
      case Wire::uint8: return type.type == Type::boolean ? "Bool" : "UInt8";
      case Wire::uint16: return "UInt16";
      case Wire::uint32: return "UInt32";
      case Wire::uint64: return "UInt64";
      case Wire::int8: return "Int8";
      case Wire::int16: return "Int16";
      case Wire::int32: return "Int32";
      case Wire::int64: return "Int64";
      case Wire::int128: return "Int128";
      case Wire::uint128: return "UInt128";
      case Wire::int256: return "Int256";
      case Wire::uint256: return "UInt256";
      case Wire::float32: return "Float32";
      case Wire::float64: return "Float64";
      case Wire::fixed_string: return "FixedString(" + std::to_string(type.width) + ")";
      case Wire::uuid: return "UUID";
      case Wire::date: return "Date";
      case Wire::date32: return "Date32";
      case Wire::datetime: return "DateTime";
      default: return "String";
    }
  }();
  return type.nullable ? "Nullable(" + name + ")" : name;
}

/// A column as the levels above see it: no enum (it would sort by number), no LowCardinality (18.16 sends it undecoded whatever the settings say).
inline std::string cell(const std::string& name, const NativeType& type) {
  const std::string sql = identifier(name);
  if (type.is_enum()) {
    if (!type.nullable) return "toString(" + sql + ")";
    // Under a NULL stands 0, which toString refuses where the enum has no name for it.
    return "if(isNull(" + sql + "), NULL, toString(CAST(ifNull(toInt16(" + sql + "), " + std::to_string(type.names.front().first) + ") AS " + enum_name(type) +
           ")))";
  }
  return type.low_cardinality ? "CAST(" + sql + " AS " + plain_name(type) + ")" : sql;
}

/// The cell of the row whose `order` is greatest. argMax skips NULL and so would return a stale value; the flag and the cell under it
/// have no NULL, and every argMax of one SELECT takes the same row, since all see the same rows in the same order.
inline std::string winner(const std::string& cell, const std::string& order, const NativeType& type) {
  const auto of = [&](const std::string& what) { return "argMax(" + what + ", " + order + ")"; };
  return type.nullable ? "if(" + of("isNull(" + cell + ")") + ", NULL, " + of("assumeNotNull(" + cell + ")") + ")" : of(cell);
}

/// A cell as arguments of a hash function: those of 18.16 take no Decimal, and return NULL for a NULL. A clock's text repeats an hour in autumn.
/// A Decimal's bytes and not its text: toString of 3324924059554718003893.14661022 gives now that and now "3\x0024924059554718003893.14661022".
inline std::string hashable(std::string x, const NativeType& type) {
  using Wire = NativeType::Wire;
  const std::string null = type.nullable ? "isNull(" + x + "), " : "";
  if (type.type == Type::float64) x = "if(isNaN(" + x + "), nan, " + x + " + 0)";  // one zero, one NaN
  if (type.wire == Wire::datetime) x = "toUInt32(" + x + ")";
  if (type.wire == Wire::datetime64) x = "reinterpretAsInt64(" + x + ")";
  x = (type.type == Type::decimal ? "reinterpretAsString(" : "toString(") + x + ")";
  return null + (type.nullable ? "ifNull(" + x + ", '')" : x);
}

/// One of the two sums of a digest of event ids (core/digest.hpp). Precondition: `event` is a UInt64.
inline std::string hash_sum(const std::string& event, bool high) {
  return high ? "sum(intHash64(bitXor(" + event + ", " + std::to_string(event_id_high_salt) + ")))" : "sum(intHash64(" + event + "))";
}

/// A number, in a type in which it is added exactly or `may_wrap` says that it may not be.
inline std::string summand(const std::string& x, const NativeType& type) {
  if (type.wire == NativeType::Wire::decimal256) return x;
  return type.is_wide() ? "toInt256(" + x + ")" : "toDecimal128(" + x + ", " + std::to_string(type.column_scale()) + ")";
}

/// Narrower cells can't fill the sum's bits: that would take 2^63 rows.
inline bool may_wrap(const NativeType& type) {
  using Wire = NativeType::Wire;
  return type.wire == Wire::decimal128 || type.wire == Wire::decimal256 || type.wire == Wire::int256 || type.wire == Wire::uint256;
}

}  // namespace epochcut::clickhouse::rendering
