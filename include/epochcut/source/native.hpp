// What do the bytes of ClickHouse's Native format say?
// Layer: source; no I/O, standard library only. Not synchronised. Fed in pieces of any size, gives whole blocks, holds one block and one cell.
// Every size is checked against a limit and no memory is taken before its bytes are there, so that any input is safe to decode.
// Source: the vendor's manual, "Native"; measured on 18.16: no block info over HTTP, an empty result is an empty body.
#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>

namespace epochcut {

inline constexpr std::uint64_t native_columns_max = 10'000;           ///< a block of more is no answer to any query of ours
inline constexpr std::uint64_t native_rows_max = 1u << 26;            ///< in one block; the server cuts blocks at 65536 rows, aggregation at some millions
inline constexpr std::uint64_t native_name_max = 1u << 21;            ///< bytes; an Enum16 spells out up to 65536 names in its type
inline constexpr std::uint64_t native_cell_bytes_max = 64u << 20;     ///< one text: it is held whole
inline constexpr std::uint64_t native_block_bytes_max = 1u << 30;     ///< one block: it is held whole; max_block_size bounds it in rows only
inline constexpr long long native_decimal_digits_max = 76;            ///< of a Decimal(P, S): more is no type of ClickHouse
inline constexpr std::size_t native_exception_bytes_max = 64u << 10;  ///< of an exception's text; the rest is for no one

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

template <class T>
T load(const char* from) {
  static_assert(std::endian::native == std::endian::little, "the wire is little endian, and so is every machine this was tested on");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
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

struct NativeColumn {
  std::string name;
  std::string type_name;
  Column column;
};

struct NativeBlock {
  std::vector<NativeColumn> columns;
  std::uint64_t rows = 0;
};

/// Bytes in, blocks out. A result is complete only if the transport ended properly AND `finish` does not throw.
class NativeDecoder {
 public:
  /// `names`: what messages call the columns, by position, where the answer itself names them otherwise.
  explicit NativeDecoder(std::vector<std::string> names = {}) : names_(std::move(names)) {}

  void feed(std::string_view bytes) {
    fed_ += bytes.size();
    if (stage_ == Stage::exception) {
      buffer_.append(bytes.substr(0, native_exception_bytes_max - std::min(native_exception_bytes_max, unread())));
      return;
    }
    if (at_ == buffer_.size())
      buffer_.clear(), at_ = 0;
    else if (at_ > buffer_.size() / 2)
      buffer_.erase(0, at_), at_ = 0;
    buffer_.append(bytes);
  }

  std::uint64_t bytes() const { return fed_; }

  /// Moves the next whole block into `block`; false when more bytes are needed, or when an exception's text has begun.
  /// Errors: `schema` for a type the library does not have, `too_large` beyond a limit, `incomplete` for bytes that are no Native block.
  bool next(NativeBlock& block) {
    for (;;) switch (stage_) {
        case Stage::block:
          if (!begin_block()) return false;
          break;
        case Stage::column:
          if (!begin_column()) return false;
          break;
        case Stage::nulls: {
          const std::size_t wanted = static_cast<std::size_t>(rows_) - nulls_.size(), here = std::min(wanted, unread());
          nulls_.append(buffer_, at_, here);
          at_ += here;
          if (here < wanted) return false;
          stage_ = Stage::cells;
          break;
        }
        case Stage::cells: {
          const std::size_t from = at_;
          decode_cells();
          if ((block_bytes_ += at_ - from) > native_block_bytes_max)
            throw too_large("a block of more than " + std::to_string(native_block_bytes_max) + " bytes");
          if (row_ < rows_) return false;
          stage_ = block_.columns.size() < columns_ ? Stage::column : Stage::complete;
          break;
        }
        case Stage::complete:
          stage_ = Stage::block;
          block_.rows = rows_;
          block = std::exchange(block_, {});
          return true;
        case Stage::exception: return false;
      }
  }

  /// The text of an exception that stands where a block should begin, empty if there is none. 18.16 ends a 200 body so.
  std::string_view exception() const { return stage_ == Stage::exception ? std::string_view(buffer_).substr(at_) : std::string_view(); }

  /// To be called once the body has ended. Errors: `incomplete` unless it ended exactly after a block.
  void finish() const {
    if (stage_ != Stage::block || unread() != 0) throw malformed("the answer ends in the middle of a block");
  }

 private:
  enum class Stage : std::uint8_t { block, column, nulls, cells, complete, exception };

  static Failure malformed(const std::string& what) {
    return Failure(Reason::incomplete, "ClickHouse's answer is not complete: " + what + "; ask again").poison();
  }
  static Failure too_large(const std::string& what) { return Failure(Reason::too_large, "ClickHouse's answer has " + what + "; read less, or aggregate it"); }

  std::size_t unread() const { return buffer_.size() - at_; }

  /// Moves `at` behind the number; false when it is not all there yet.
  bool read_varint(std::size_t& at, std::uint64_t& number) const {
    number = 0;
    for (int shift = 0; at < buffer_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(buffer_[at++]);
      if (shift == 63 && byte > 1) throw malformed("a length has more than 64 bits");
      number |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool read_name(std::size_t& at, std::string& name) const {
    std::uint64_t length = 0;
    if (!read_varint(at, length)) return false;
    if (length > native_name_max) throw malformed("a column's name or type has " + std::to_string(length) + " bytes");
    if (buffer_.size() - at < length) return false;
    name.assign(buffer_, at, static_cast<std::size_t>(length));
    at += static_cast<std::size_t>(length);
    return true;
  }

  /// An exception's text can stand only where a block would begin; a value that says the same is inside of one and is only data.
  /// As a block, "Code: 1" would be 67 columns of 111 rows, the first with a name of 100 bytes that begins with "e: 1".
  bool begin_block() {
    const std::string_view rest = std::string_view(buffer_).substr(at_);
    if (rest.empty()) return false;
    for (const std::string_view sign : {std::string_view("Code: "), std::string_view("__exception__")}) {
      if (rest.starts_with(sign)) {
        stage_ = Stage::exception;
        return true;
      }
      if (sign.starts_with(rest)) return false;
    }
    std::size_t at = at_;
    std::uint64_t columns = 0;
    if (!read_varint(at, columns) || !read_varint(at, rows_)) return false;
    if (columns > native_columns_max) throw malformed("a block claims " + std::to_string(columns) + " columns");
    if (rows_ > native_rows_max) throw too_large("a block of " + std::to_string(rows_) + " rows");
    if (columns == 0 && rows_ != 0) throw malformed("a block has rows but no columns");
    at_ = at;
    columns_ = static_cast<std::size_t>(columns);
    block_bytes_ = 0;
    stage_ = columns == 0 ? Stage::block : Stage::column;
    return true;
  }

  bool begin_column() {
    std::size_t at = at_;
    NativeColumn column;
    if (!read_name(at, column.name) || !read_name(at, column.type_name)) return false;
    if (column.type_name.empty() || column.type_name != type_name_) {
      type_ = parse_native_type(name_of(column.name, block_.columns.size()), column.type_name);
      type_name_ = column.type_name;
    }
    if (type_.low_cardinality)
      throw Failure(Reason::schema, "column \"" + name_of(column.name, block_.columns.size()) + "\" came as " + column.type_name + "; cast it in the query");
    column.column = Column(type_.type, type_.column_scale());
    at_ = at;
    row_ = 0;
    nulls_.clear();
    block_.columns.push_back(std::move(column));
    stage_ = rows_ != 0 ? (type_.nullable ? Stage::nulls : Stage::cells) : block_.columns.size() < columns_ ? Stage::column : Stage::complete;
    return true;
  }

  void decode_cells() {
    using Wire = NativeType::Wire;
    Column& out = block_.columns.back().column;
    const auto word = [&](auto zero) {
      using Wide = std::conditional_t<std::is_signed_v<decltype(zero)>, std::int64_t, std::uint64_t>;
      each_cell([&](const char* cell) { out.append_word(static_cast<std::uint64_t>(static_cast<Wide>(native::load<decltype(zero)>(cell)))); });
    };
    switch (type_.wire) {
      case Wire::uint8:
        if (type_.type == Type::boolean) return each_cell([&](const char* cell) { out.append_word(*cell != 0); });
        return word(std::uint8_t{});
      case Wire::uint16:
      case Wire::date: return word(std::uint16_t{});
      case Wire::uint32: return word(std::uint32_t{});
      case Wire::uint64:
      case Wire::int64:
      case Wire::float64: return word(std::uint64_t{});
      case Wire::int8: return word(std::int8_t{});
      case Wire::int16: return word(std::int16_t{});
      case Wire::int32:
      case Wire::date32: return word(std::int32_t{});
      case Wire::float32:
        return each_cell([&](const char* cell) { out.append_word(std::bit_cast<std::uint64_t>(static_cast<double>(native::load<float>(cell)))); });
      case Wire::decimal32: return each_cell([&](const char* cell) { out.append_wide(native::load<std::int32_t>(cell)); });
      case Wire::decimal64: return each_cell([&](const char* cell) { out.append_wide(native::load<std::int64_t>(cell)); });
      case Wire::decimal128: return each_cell([&](const char* cell) { out.append_wide(native::load<Int128>(cell)); });
      case Wire::int128: return each_cell([&](const char* cell) { append_number(out, native::load<Int128>(cell), true); });
      case Wire::uint128:
        return each_cell([&](const char* cell) {
          const auto low = native::load<Int128>(cell);
          append_number(out, low, low >= 0);
        });
      case Wire::decimal256:
      case Wire::int256:
        return each_cell([&](const char* cell) {
          const auto low = native::load<Int128>(cell), high = native::load<Int128>(cell + 16);
          append_number(out, low, high == (low < 0 ? -1 : 0));
        });
      case Wire::uint256:
        return each_cell([&](const char* cell) {
          const auto low = native::load<Int128>(cell);
          append_number(out, low, low >= 0 && native::load<Int128>(cell + 16) == 0);
        });
      case Wire::uuid:  // two little-endian halves, the first one first
        return each_cell([&](const char* cell) {
          out.append_wide(static_cast<Int128>(Uint128{native::load<std::uint64_t>(cell)} << 64 | native::load<std::uint64_t>(cell + 8)));
        });
      case Wire::datetime: return each_cell([&](const char* cell) { out.append_word(native::load<std::uint32_t>(cell) * std::uint64_t{1'000'000'000}); });
      case Wire::datetime64: {
        const auto unit = static_cast<std::int64_t>(power_of_ten(9 - type_.scale));
        return each_cell([&](const char* cell) {
          std::int64_t ns = 0;
          if (__builtin_mul_overflow(native::load<std::int64_t>(cell), unit, &ns)) throw overflow("a time outside of 1677 to 2262");
          out.append_word(static_cast<std::uint64_t>(ns));
        });
      }
      case Wire::fixed_string:
        return each_cell([&](const char* cell) {
          std::size_t length = static_cast<std::size_t>(type_.width);
          while (length > 0 && cell[length - 1] == '\0') --length;
          out.append_text({cell, length});
        });
      case Wire::enum8: return each_cell([&](const char* cell) { out.append_text(enum_name(native::load<std::int8_t>(cell))); });
      case Wire::enum16: return each_cell([&](const char* cell) { out.append_text(enum_name(native::load<std::int16_t>(cell))); });
      case Wire::string: break;
    }
    decode_strings(out);
  }

  bool is_null() const { return type_.nullable && nulls_[static_cast<std::size_t>(row_)] != 0; }

  /// Every whole cell that is there.
  template <class Append>
  void each_cell(Append append) {
    const std::uint64_t here = std::min(rows_ - row_, unread() / type_.width);
    const char* cell = buffer_.data() + at_;
    if (!type_.nullable) {
      for (std::uint64_t i = 0; i < here; ++i, cell += type_.width) append(cell);
      row_ += here;
    } else {
      Column& out = block_.columns.back().column;
      for (std::uint64_t i = 0; i < here; ++i, ++row_, cell += type_.width) is_null() ? out.append_null() : append(cell);
    }
    at_ += static_cast<std::size_t>(here * type_.width);
  }

  void decode_strings(Column& out) {
    for (std::uint64_t length = 0; row_ < rows_; ++row_) {
      std::size_t at = at_;
      if (!read_varint(at, length)) return;
      if (length > native_cell_bytes_max) throw too_large("a text of " + std::to_string(length) + " bytes in column \"" + name() + "\"");
      if (buffer_.size() - at < length) return;
      is_null() ? out.append_null() : out.append_text({buffer_.data() + at, static_cast<std::size_t>(length)});
      at_ = at + static_cast<std::size_t>(length);
    }
  }

  /// A cell of one byte may stand for a name of two million.
  std::string_view enum_name(int number) {
    for (const auto& [value, name] : type_.names)
      if (value == number) {
        if ((block_bytes_ += name.size()) > native_block_bytes_max)
          throw too_large("a block of more than " + std::to_string(native_block_bytes_max) + " bytes, as names of an enum");
        return name;
      }
    throw malformed("column \"" + name() + "\" holds an enum value that its type does not name");
  }

  std::string name_of(const std::string& in_answer, std::size_t column) const { return column < names_.size() ? names_[column] : in_answer; }
  std::string name() const { return name_of(block_.columns.back().name, block_.columns.size() - 1); }

  Failure overflow(const std::string& what) const {
    return Failure(Reason::overflow,
                   "column \"" + name() + "\" holds " + what + ", which can't be compared exactly; correct the row, or compare toString() of it in a view");
  }

  /// `whole`: the cell has no more than these 128 bits.
  void append_number(Column& out, Int128 low, bool whole) const {
    if (!whole || low >= power_of_ten(decimal_scale_max) || low <= -power_of_ten(decimal_scale_max)) throw overflow("a number of more than 38 digits");
    out.append_wide(low);
  }

  std::vector<std::string> names_;
  Stage stage_ = Stage::block;
  std::string buffer_;
  std::size_t at_ = 0;
  std::uint64_t fed_ = 0;
  NativeBlock block_;
  std::size_t columns_ = 0;
  std::uint64_t rows_ = 0, row_ = 0, block_bytes_ = 0;
  NativeType type_;
  std::string type_name_;
  std::string nulls_;
};

}  // namespace epochcut
