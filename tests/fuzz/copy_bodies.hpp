// What bytes does PostgreSQL send in COPY … (FORMAT binary)? An encoder that shares nothing with the decoder but the library's values.
// Source: PostgreSQL manual, "COPY", Binary Format; numeric.c, "numeric_send".
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/value.hpp>
#include <epochcut/source/copy_binary.hpp>

#include "fuzz/input.hpp"

namespace fuzz {

using epochcut::Decimal;
using epochcut::Int128;
using epochcut::Type;
using epochcut::Uint128;
using epochcut::Value;

inline std::string big_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

/// A number as digits without zeros at either end, and where its point stands: 0.DIGITS times 10^point.
struct Digits {
  bool negative = false;
  std::string digits{};
  long point = 0;

  static Digits of(bool negative, std::string digits, long point) {
    const std::size_t zeros = std::min(digits.find_first_not_of('0'), digits.size());
    digits.erase(0, zeros);
    point -= static_cast<long>(zeros);
    while (digits.ends_with('0')) digits.pop_back();
    if (digits.empty()) return {};
    return {negative, std::move(digits), point};
  }
  friend bool operator==(const Digits&, const Digits&) = default;
};

inline Digits digits_of(const Decimal& value) {
  Uint128 left = value.unscaled < 0 ? Uint128{0} - static_cast<Uint128>(value.unscaled) : static_cast<Uint128>(value.unscaled);
  std::string digits;
  for (; left != 0; left /= 10) digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(left % 10)));
  const long point = static_cast<long>(digits.size()) - value.scale;
  return Digits::of(value.unscaled < 0, std::move(digits), point);
}

/// A numeric's cell: its number, or nothing for NaN and the infinities. Precondition: what the decoder has accepted is well formed.
inline std::optional<Digits> digits_of_numeric(std::string_view cell) {
  const auto part = [&](std::size_t i) { return static_cast<unsigned char>(cell[2 * i]) << 8 | static_cast<unsigned char>(cell[2 * i + 1]); };
  if (cell.size() < 8 || (part(2) != 0 && part(2) != 0x4000)) return std::nullopt;
  std::string digits;
  for (std::size_t i = 4; 2 * i < cell.size(); ++i) {
    const std::string group = std::to_string(part(i));
    digits += std::string(4 - std::min<std::size_t>(4, group.size()), '0') + group;
  }
  return Digits::of(part(2) == 0x4000, std::move(digits), 4L * (static_cast<std::int16_t>(part(1)) + 1));
}

inline std::string numeric_cell(const Decimal& value) {
  const Digits number = digits_of(value);
  long weight = number.point >= 0 ? (number.point + 3) / 4 - 1 : -((-number.point) / 4) - 1;  // the group that the first digit falls into
  std::string digits = std::string(static_cast<std::size_t>(4 * (weight + 1) - number.point), '0') + number.digits;
  digits += std::string((4 - digits.size() % 4) % 4, '0');
  if (number.digits.empty()) digits.clear(), weight = 0;
  std::string cell = big_endian(digits.size() / 4, 2) + big_endian(static_cast<std::uint64_t>(weight), 2) + big_endian(number.negative ? 0x4000 : 0, 2) +
                     big_endian(static_cast<std::uint64_t>(value.scale), 2);
  for (std::size_t i = 0; i < digits.size(); i += 4) cell += big_endian(std::stoul(digits.substr(i, 4)), 2);
  return cell;
}

/// The bytes of a cell that is not NULL; of a char(n) without its blanks, of a numeric in its canonical form.
inline std::string copy_cell(std::uint32_t type, const Value& value) {
  using namespace epochcut::copy_binary;
  const auto number = static_cast<std::int64_t>(value.word);
  switch (type) {
    case oid::boolean: return std::string(1, static_cast<char>(value.word));
    case oid::int2: return big_endian(value.word, 2);
    case oid::int4: return big_endian(value.word, 4);
    case oid::int8:
    case oid::float8: return big_endian(value.word, 8);
    case oid::float4: return big_endian(std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(value.word))), 4);
    case oid::numeric: return numeric_cell({value.wide, value.scale});
    case oid::uuid:
      return big_endian(static_cast<std::uint64_t>(static_cast<Uint128>(value.wide) >> 64), 8) + big_endian(static_cast<std::uint64_t>(value.wide), 8);
    case oid::date: return big_endian(static_cast<std::uint64_t>(number - 10'957), 4);  // days from 1970 to 2000
    case oid::timestamp:
    case oid::timestamptz: return big_endian(static_cast<std::uint64_t>(number / 1000 - 946'684'800'000'000), 8);
    default: return std::string(value.text);
  }
}

struct CopyCell {
  Value value;
  std::string text{};
};

/// A sound stream: columns, cells row by row, bytes.
struct CopyBody {
  std::vector<epochcut::CopyColumn> columns{};
  std::vector<std::vector<CopyCell>> rows{};
  std::string bytes{};
};

inline const std::uint32_t copy_types[] = {epochcut::copy_binary::oid::boolean,   epochcut::copy_binary::oid::int2,        epochcut::copy_binary::oid::int4,
                                           epochcut::copy_binary::oid::int8,      epochcut::copy_binary::oid::float4,      epochcut::copy_binary::oid::float8,
                                           epochcut::copy_binary::oid::numeric,   epochcut::copy_binary::oid::uuid,        epochcut::copy_binary::oid::date,
                                           epochcut::copy_binary::oid::timestamp, epochcut::copy_binary::oid::timestamptz, epochcut::copy_binary::oid::text,
                                           epochcut::copy_binary::oid::bytea,     epochcut::copy_binary::oid::bpchar};

inline epochcut::CopyColumn any_column(Input& input) {
  epochcut::CopyColumn column{.name = "c"};
  const std::size_t which = input.byte();
  column.type = copy_types[which % std::size(copy_types)];
  if (column.type == epochcut::copy_binary::oid::numeric) column.modifier = static_cast<std::int32_t>(input.number(4));
  column.is_count = column.type == epochcut::copy_binary::oid::int8 && which >= 0x80;
  return column;
}

/// Any value of the type that every column of its kind can hold: a column of numerics has one scale for all.
inline CopyCell any_copy_cell(const epochcut::CopyColumn& column, Input& input) {
  using namespace epochcut::copy_binary;
  if (input.byte() % 4 == 0) return {Value::null_of(column.is_count ? Type::uint64 : *type_of(column.type))};
  switch (column.type) {
    case oid::boolean: return {Value((input.byte() & 1) != 0)};
    case oid::int2: return {Value(std::int64_t{static_cast<std::int16_t>(input.number(2))})};
    case oid::int4: return {Value(std::int64_t{static_cast<std::int32_t>(input.number(4))})};
    case oid::int8: {
      const std::uint64_t number = input.number(8);
      return {column.is_count ? Value(number >> 1) : Value(static_cast<std::int64_t>(number))};
    }
    case oid::float4: {
      const auto narrow = std::bit_cast<float>(static_cast<std::uint32_t>(input.number(4)));
      return {Value(narrow == narrow ? static_cast<double>(narrow) : 0.5)};
    }
    case oid::float8: return {Value(std::bit_cast<double>(input.number(8)))};
    case oid::numeric: {
      const int scale = static_cast<int>(input.below(19));
      return {Value(Decimal{static_cast<std::int64_t>(input.number(8)) >> input.below(60), scale})};
    }
    case oid::uuid: {
      const Uint128 high = input.number(8);
      return {Value(epochcut::to_uuid(high << 64 | input.number(8)))};
    }
    case oid::date: {
      const std::int64_t days = static_cast<std::int32_t>(input.number(4));
      Value value(epochcut::Date{0});
      value.word = static_cast<std::uint64_t>((days == INT32_MAX || days == INT32_MIN ? 0 : days) + 10'957);
      return {value};
    }
    case oid::timestamp:
    case oid::timestamptz: return {Value(epochcut::Timestamp{static_cast<std::int64_t>(input.number(8)) / 1000 * 1000})};
    default: {
      CopyCell cell{Value(std::string_view()), std::string(input.text())};
      if (column.type == oid::bpchar)
        while (cell.text.ends_with(' ')) cell.text.pop_back();
      return cell;
    }
  }
}

inline CopyBody any_copy(Input& input) {
  CopyBody body;
  const std::size_t columns = 1 + input.below(5), rows = input.below(9);
  for (std::size_t c = 0; c < columns; ++c) {
    body.columns.push_back(any_column(input));
    body.columns.back().modifier = -1;
  }
  body.bytes = std::string("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
  for (std::size_t r = 0; r < rows; ++r) {
    body.bytes += big_endian(columns, 2);
    std::vector<CopyCell>& row = body.rows.emplace_back();
    row.reserve(columns);  // a view of a cell's text must stay good
    for (const epochcut::CopyColumn& column : body.columns) {
      CopyCell& cell = row.emplace_back(any_copy_cell(column, input));
      if (!cell.value.null && cell.value.type == Type::text) cell.value.text = cell.text;
      std::string bytes = cell.value.null ? "" : copy_cell(column.type, cell.value);
      if (column.type == epochcut::copy_binary::oid::bpchar && !cell.value.null) bytes += "  ";
      body.bytes += big_endian(cell.value.null ? 0xFFFFFFFF : bytes.size(), 4) + bytes;
    }
  }
  body.bytes += "\377\377";
  return body;
}

}  // namespace fuzz
