// What bytes does ClickHouse send for these values? An encoder of the Native format that shares nothing with the decoder but the library's values.
// Source: the vendor's manual, "Native"; "Data types".
#pragma once

#include <bit>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/value.hpp>

#include "fuzz/input.hpp"

namespace fuzz {

using epochcut::Decimal;
using epochcut::Int128;
using epochcut::Type;
using epochcut::Uint128;
using epochcut::Value;

/// A ClickHouse type, read by rules of this file's own.
struct Wire {
  enum Kind {
    natural,
    integer,
    boolean,
    floating,
    decimal,
    big_natural,
    big_integer,
    string,
    fixed_string,
    uuid,
    days,
    signed_days,
    seconds,
    ticks,
    enumeration
  };
  Kind kind = natural;
  std::size_t bytes = 1;  ///< of a cell; 0: each brings its own length
  int scale = 0;          ///< of a decimal or of ticks
  bool nullable = false, low_cardinality = false;
  std::vector<std::pair<int, std::string>> names{};

  Type type() const {
    constexpr Type types[] = {Type::uint64, Type::int64, Type::boolean, Type::float64, Type::decimal,      Type::decimal,      Type::decimal, Type::text,
                              Type::text,   Type::uuid,  Type::date,    Type::date,    Type::timestamp_ns, Type::timestamp_ns, Type::text};
    return types[kind];
  }
};

/// `'name' = number, …)`, names with backslash escapes.
inline bool read_names(std::string_view text, Wire& wire) {
  std::size_t at = 0;
  const auto blanks = [&] {
    while (at < text.size() && text[at] == ' ') ++at;
  };
  for (;;) {
    blanks();
    if (at >= text.size() || text[at++] != '\'') return false;
    std::string name;
    for (; at < text.size() && text[at] != '\''; ++at) {
      if (text[at] != '\\') {
        name += text[at];
        continue;
      }
      if (++at == text.size()) return false;
      switch (text[at]) {
        case 'b': name += '\b'; break;
        case 'f': name += '\f'; break;
        case 'n': name += '\n'; break;
        case 'r': name += '\r'; break;
        case 't': name += '\t'; break;
        case '0': name += '\0'; break;
        default: name += text[at];
      }
    }
    if (at++ >= text.size()) return false;
    blanks();
    if (at >= text.size() || text[at++] != '=') return false;
    blanks();
    bool negative = at < text.size() && text[at] == '-';
    at += negative;
    long number = 0;
    std::size_t digits = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && number < 1'000'000; ++at, ++digits) number = number * 10 + (text[at] - '0');
    const long limit = wire.bytes == 1 ? 128 : 32768;
    if (digits == 0 || number > limit - !negative) return false;
    wire.names.emplace_back(static_cast<int>(negative ? -number : number), name);
    blanks();
    if (at >= text.size()) return false;
    if (text[at] == ')') return at + 1 == text.size();
    if (text[at++] != ',') return false;
  }
}

inline std::optional<Wire> wire_of(std::string name) {
  Wire wire;
  for (;;) {
    bool* const flag = name.rfind("Nullable(", 0) == 0 ? &wire.nullable : name.rfind("LowCardinality(", 0) == 0 ? &wire.low_cardinality : nullptr;
    if (flag == nullptr) break;
    if (*flag || (flag == &wire.low_cardinality && wire.nullable) || name.back() != ')') return std::nullopt;
    *flag = true;
    name = name.substr(name.find('(') + 1);
    name.pop_back();
  }
  const auto is = [&](Wire::Kind kind, std::size_t bytes) {
    wire.kind = kind, wire.bytes = bytes;
    return wire;
  };
  for (const std::size_t bits : {8u, 16u, 32u, 64u}) {
    if (name == "UInt" + std::to_string(bits)) return is(Wire::natural, bits / 8);
    if (name == "Int" + std::to_string(bits)) return is(Wire::integer, bits / 8);
  }
  for (const std::size_t bits : {128u, 256u}) {
    if (name == "UInt" + std::to_string(bits)) return is(Wire::big_natural, bits / 8);
    if (name == "Int" + std::to_string(bits)) return is(Wire::big_integer, bits / 8);
  }
  if (name == "Bool") return is(Wire::boolean, 1);
  if (name == "Float32") return is(Wire::floating, 4);
  if (name == "Float64") return is(Wire::floating, 8);
  if (name == "String") return is(Wire::string, 0);
  if (name == "UUID") return is(Wire::uuid, 16);
  if (name == "Date") return is(Wire::days, 2);
  if (name == "Date32") return is(Wire::signed_days, 4);
  if (name == "DateTime") return is(Wire::seconds, 4);
  const bool small = name.rfind("Enum8(", 0) == 0;
  if (small || name.rfind("Enum16(", 0) == 0) {
    wire.kind = Wire::enumeration, wire.bytes = small ? 1 : 2;
    return read_names(std::string_view(name).substr(small ? 6 : 7), wire) ? std::optional(wire) : std::nullopt;
  }
  // Arguments of the rest: numbers and one quoted zone, blanks anywhere between them.
  const std::size_t open = name.find('(');
  if (open == std::string::npos || name.back() != ')') return std::nullopt;
  const std::string head = name.substr(0, open), arguments = name.substr(open + 1, name.size() - open - 2);
  long a = -1, b = -1;
  int end = -1;
  const auto whole = [&] { return end == static_cast<int>(arguments.size()); };
  if (head == "Decimal") {
    if (std::sscanf(arguments.c_str(), "%ld ,%ld %n", &a, &b, &end) < 2 || !whole() || a < 1 || a > 76 || b < 0 || b > a || b > 38) return std::nullopt;
    wire.scale = static_cast<int>(b);
    return is(Wire::decimal, a <= 9 ? 4 : a <= 18 ? 8 : a <= 38 ? 16 : 32);
  }
  if (head == "FixedString") {
    if (std::sscanf(arguments.c_str(), "%ld %n", &a, &end) < 1 || !whole() || a < 1) return std::nullopt;
    return is(Wire::fixed_string, static_cast<std::size_t>(a));
  }
  const auto is_zone = [](std::string_view text) {
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
    if (text.size() < 2 || text[0] != '\'' || text.back() != '\'') return false;
    for (std::size_t i = 1; i + 1 < text.size(); ++i) {
      if (text[i] == '\'') return false;
      i += text[i] == '\\';
      if (i + 1 == text.size()) return false;
    }
    return true;
  };
  if (head == "DateTime") return is_zone(arguments) ? std::optional(is(Wire::seconds, 4)) : std::nullopt;
  if (head == "DateTime64") {
    const std::size_t comma = arguments.find(',');
    const std::string digits = arguments.substr(0, comma);
    if (std::sscanf(digits.c_str(), "%ld %n", &a, &end) < 1 || end != static_cast<int>(digits.size()) || a < 0 || a > 9) return std::nullopt;
    if (comma != std::string::npos && !is_zone(std::string_view(arguments).substr(comma + 1))) return std::nullopt;
    wire.scale = static_cast<int>(a);
    return is(Wire::ticks, 8);
  }
  return std::nullopt;
}

inline std::string little_endian(Uint128 value, std::size_t bytes) {
  std::string text;
  for (; bytes > 0; --bytes, value >>= 8) text += static_cast<char>(value & 0xFF);
  return text;
}

inline std::string varint(std::uint64_t value) {
  std::string text;
  for (; value >= 0x80; value >>= 7) text += static_cast<char>(value | 0x80);
  return text + static_cast<char>(value);
}

inline Int128 tens(int n) {
  Int128 ten = 1;
  while (n-- > 0) ten *= 10;
  return ten;
}

/// The bytes of one cell that is not NULL, nothing if the type has no such value.
inline std::optional<std::string> native_cell(const Wire& wire, const Value& value) {
  if (value.null || value.type != wire.type()) return std::nullopt;
  const auto bits = static_cast<int>(8 * wire.bytes);
  const auto fits = [&](Int128 v, bool is_signed) -> std::optional<std::string> {
    if (bits < 128) {
      const Int128 low = is_signed ? -(Int128{1} << (bits - 1)) : 0, high = (Int128{1} << (is_signed ? bits - 1 : bits)) - 1;
      if (v < low || v > high) return std::nullopt;
    }
    return little_endian(static_cast<Uint128>(v), wire.bytes);
  };
  const auto number = static_cast<std::int64_t>(value.word);
  switch (wire.kind) {
    case Wire::natural: return fits(Int128{value.word}, false);
    case Wire::boolean: return value.word > 1 ? std::nullopt : fits(Int128{value.word}, false);
    case Wire::days: return fits(number, false);
    case Wire::integer:
    case Wire::signed_days: return fits(number, true);
    case Wire::floating: {
      if (wire.bytes == 8) return little_endian(value.word, 8);
      const double wide = std::bit_cast<double>(value.word);
      const auto narrow = static_cast<float>(wide);
      if (wide == wide && static_cast<double>(narrow) != wide) return std::nullopt;
      return little_endian(std::bit_cast<std::uint32_t>(narrow), 4);
    }
    case Wire::big_natural:
      if (value.wide < 0) return std::nullopt;
      [[fallthrough]];
    case Wire::big_integer:
    case Wire::decimal:
      if (value.scale != wire.scale) return std::nullopt;
      if (wire.bytes < 32) return fits(value.wide, true);
      return little_endian(static_cast<Uint128>(value.wide), 16) + std::string(16, value.wide < 0 ? '\377' : '\0');
    case Wire::string: return varint(value.text.size()) + std::string(value.text);
    case Wire::fixed_string: {
      if (value.text.size() > wire.bytes || value.text.ends_with('\0')) return std::nullopt;
      return std::string(value.text) + std::string(wire.bytes - value.text.size(), '\0');
    }
    case Wire::uuid: {
      const auto wide = static_cast<Uint128>(value.wide);
      return little_endian(wide >> 64, 8) + little_endian(wide, 8);
    }
    case Wire::seconds: return number % 1'000'000'000 == 0 ? fits(number / 1'000'000'000, false) : std::nullopt;
    case Wire::ticks: {
      const auto unit = static_cast<std::int64_t>(tens(9 - wire.scale));
      return number % unit == 0 ? fits(number / unit, true) : std::nullopt;
    }
    case Wire::enumeration: break;
  }
  for (const auto& [meant, name] : wire.names)
    if (name == value.text) return little_endian(static_cast<Uint128>(static_cast<Int128>(meant)), wire.bytes);
  return std::nullopt;
}

struct Cell {
  Value value;
  std::string text{};  ///< of value, which is only a view
};

struct BodyColumn {
  std::string name, type_name;
  std::vector<Cell> cells{};
};

/// A sound answer: the blocks' columns, and its bytes.
struct Body {
  std::vector<std::vector<BodyColumn>> blocks{};
  std::string bytes{};
};

inline std::string native_block(const std::vector<BodyColumn>& columns) {
  std::string text = varint(columns.size()) + varint(columns.empty() ? 0 : columns[0].cells.size());
  for (const BodyColumn& column : columns) {
    text += varint(column.name.size()) + column.name + varint(column.type_name.size()) + column.type_name;
    const Wire wire = wire_of(column.type_name).value();
    if (wire.nullable)
      for (const Cell& cell : column.cells) text += cell.value.null ? '\1' : '\0';
    for (const Cell& cell : column.cells)
      text += cell.value.null ? wire.kind == Wire::string ? std::string(1, '\0') : std::string(wire.bytes, '\0') : native_cell(wire, cell.value).value();
  }
  return text;
}

/// Any value that the type has. A text's view is set by the caller, once the cell has its place.
inline Cell any_cell(const Wire& wire, Input& input) {
  const auto word = [&](Type type, std::int64_t v) {
    Value value = Value::null_of(type);
    value.null = false, value.word = static_cast<std::uint64_t>(v);
    return Cell{value};
  };
  const auto wide = [&](Type type, Int128 v) {
    Value value = Value::null_of(type);
    value.null = false, value.wide = v, value.scale = static_cast<std::uint8_t>(type == Type::decimal ? wire.scale : 0);
    return Cell{value};
  };
  const auto extended = [&] { return static_cast<std::int64_t>(input.number(static_cast<int>(wire.bytes)) << (64 - 8 * wire.bytes)) >> (64 - 8 * wire.bytes); };
  if (wire.nullable && input.byte() % 4 == 0) return {Value::null_of(wire.type())};
  switch (wire.kind) {
    case Wire::natural:
    case Wire::days: return word(wire.type(), static_cast<std::int64_t>(input.number(static_cast<int>(wire.bytes))));
    case Wire::boolean: return word(Type::boolean, input.byte() & 1);
    case Wire::integer:
    case Wire::signed_days: return word(wire.type(), extended());
    case Wire::floating: {
      const std::uint64_t bits = input.number(static_cast<int>(wire.bytes));
      if (wire.bytes == 8) return word(Type::float64, static_cast<std::int64_t>(bits));
      const auto narrow = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      return word(Type::float64, std::bit_cast<std::int64_t>(narrow == narrow ? static_cast<double>(narrow) : 0.5));
    }
    case Wire::decimal:
    case Wire::big_natural:
    case Wire::big_integer: {
      if (wire.bytes < 16) return wide(Type::decimal, extended());
      const Uint128 high = input.number(8);
      const Int128 any = static_cast<Int128>(high << 64 | input.number(8)) % tens(38);  // the library's own limit
      return wide(Type::decimal, wire.kind == Wire::big_natural && any < 0 ? -any : any);
    }
    case Wire::uuid: {
      const Uint128 high = input.number(8);
      return wide(Type::uuid, static_cast<Int128>(high << 64 | input.number(8)));
    }
    case Wire::string:
    case Wire::fixed_string: {
      std::string text(wire.kind == Wire::string ? input.text() : input.take(wire.bytes));
      if (wire.kind == Wire::fixed_string)
        while (text.ends_with('\0')) text.pop_back();
      Cell cell{Value(std::string_view()), std::move(text)};
      return cell;
    }
    case Wire::seconds: return word(Type::timestamp_ns, static_cast<std::int64_t>(input.number(4)) * 1'000'000'000);
    case Wire::ticks: {
      const auto unit = static_cast<std::int64_t>(tens(9 - wire.scale));
      return word(Type::timestamp_ns, static_cast<std::int64_t>(input.number(8)) / unit * unit);
    }
    case Wire::enumeration: break;
  }
  return {Value(std::string_view()), wire.names[input.below(wire.names.size())].second};
}

inline const char* const native_types[] = {"UInt8",
                                           "UInt16",
                                           "UInt32",
                                           "UInt64",
                                           "Int8",
                                           "Int16",
                                           "Int32",
                                           "Int64",
                                           "Bool",
                                           "Float32",
                                           "Float64",
                                           "Decimal(9, 2)",
                                           "Decimal(18, 0)",
                                           "Decimal(38, 18)",
                                           "Decimal(76, 20)",
                                           "Int128",
                                           "UInt256",
                                           "String",
                                           "FixedString(3)",
                                           "UUID",
                                           "Date",
                                           "Date32",
                                           "DateTime",
                                           "DateTime('Europe/Berlin')",
                                           "DateTime64(3)",
                                           "DateTime64(9, 'UTC')",
                                           "Enum8('a' = 1, 'q\\'t' = -2)",
                                           "Enum16('x y' = -32768, '\\\\' = 500)"};

/// A sound answer that the input describes.
inline Body any_body(Input& input) {
  Body body;
  const std::size_t blocks = input.below(4), columns = 1 + input.below(4);
  std::vector<std::string> types;
  for (std::size_t c = 0; c < columns; ++c) {
    const std::size_t which = input.byte();
    const std::string type = native_types[which % std::size(native_types)];
    types.push_back(which & 0x80 ? "Nullable(" + type + ")" : type);
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    std::vector<BodyColumn> block;
    const std::size_t rows = input.below(9);
    for (std::size_t c = 0; c < columns; ++c) {
      BodyColumn column{"c" + std::to_string(c), types[c]};
      const Wire wire = wire_of(types[c]).value();
      for (std::size_t row = 0; row < rows; ++row) column.cells.push_back(any_cell(wire, input));
      for (Cell& cell : column.cells)
        if (!cell.value.null && cell.value.type == Type::text) cell.value.text = cell.text;
      block.push_back(std::move(column));
    }
    body.bytes += native_block(block);
    body.blocks.push_back(std::move(block));
  }
  return body;
}

}  // namespace fuzz
