// What do the bytes of ClickHouse's Native format say?
// Layer: source; no I/O, standard library only. Not synchronised. Fed in pieces of any size, gives whole blocks, holds one block and one cell.
// Every size is checked against a limit and no memory is taken before its bytes are there, so that any input is safe to decode.
// Source: the vendor's manual, "Native"; measured on 18.16: no block info over HTTP, an empty result is an empty body.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/source/native_type.hpp>

namespace epochcut {

inline constexpr std::uint64_t native_columns_max = 10'000;           ///< a block of more is no answer to any query of ours
inline constexpr std::uint64_t native_rows_max = 1u << 26;            ///< in one block; the server cuts blocks at 65536 rows, aggregation at some millions
inline constexpr std::uint64_t native_name_max = 1u << 21;            ///< bytes; an Enum16 spells out up to 65536 names in its type
inline constexpr std::uint64_t native_names_max = 1u << 26;           ///< bytes of all names and types of one block: each is kept beside its column
inline constexpr std::uint64_t native_block_bytes_max = 1u << 30;     ///< one block: it is held whole; max_block_size bounds it in rows only
inline constexpr std::size_t native_exception_bytes_max = 64u << 10;  ///< of an exception's text; the rest is for no one

namespace native {

template <class T>
T load(const char* from) {
  static_assert(std::endian::native == std::endian::little, "the wire is little endian, and so is every machine this was tested on");
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace native

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

  /// Takes the next bytes, cut anywhere. Precondition: `next` has said that it needs them.
  void feed(std::string_view bytes) {
    make_room(bytes);
    buffer_.append(stage_ == Stage::exception ? bytes.substr(0, exception_room()) : bytes);
  }

  /// The same without a copy: the bytes stay where they are until `next` has said false.
  void lend(std::string_view bytes) {
    if (stage_ == Stage::exception) return feed(bytes);
    make_room(bytes);
    lent_ = bytes, bridged_ = 0, carried_ = buffer_.size();
    direct_ = buffer_.empty();
  }

  std::uint64_t bytes() const { return fed_; }

  /// Gives the next whole block; false when more bytes are needed, or when an exception's text has begun. What `block` held is used for later ones:
  /// whoever hands back what was given saves its allocations. Errors: `schema` for a type the library does not have, `too_large` beyond a limit,
  /// `incomplete` for bytes that are no Native block.
  bool next(NativeBlock& block) {
    do {
      if (decode(block)) return true;
    } while (more());
    return false;
  }

  /// The text of an exception that stands where a block should begin, empty if there is none. 18.16 ends a 200 body so.
  std::string_view exception() const { return stage_ == Stage::exception ? std::string_view(buffer_).substr(at_) : std::string_view(); }

  /// To be called once the body has ended. Errors: `incomplete` unless it ended exactly after a block.
  void finish() const {
    if (stage_ != Stage::block || unread() != 0) throw malformed("the answer ends in the middle of a block");
  }

 private:
  enum class Stage : std::uint8_t { block, column, nulls, cells, complete, exception };

  /// What is copied at a time of a piece into which the rest of the one before reaches, until that rest is decoded.
  static constexpr std::size_t bridge_bytes = 4096;

  static Failure malformed(const std::string& what) {
    return Failure(Reason::incomplete, "ClickHouse's answer is not complete: " + what + "; ask again").poison();
  }
  static Failure too_large(const std::string& what) { return Failure(Reason::too_large, "ClickHouse's answer has " + what + "; read less, or aggregate it"); }

  /// What is decoded now: the piece that was lent, or what was copied.
  std::string_view input() const { return direct_ ? lent_ : std::string_view(buffer_); }
  std::size_t unread() const { return input().size() - at_; }
  std::size_t exception_room() const { return native_exception_bytes_max - std::min(native_exception_bytes_max, unread()); }

  void make_room(std::string_view bytes) {
    fed_ += bytes.size();
    if (at_ == buffer_.size())
      buffer_.clear(), at_ = 0;
    else if (at_ > buffer_.size() / 2)
      buffer_.erase(0, at_), at_ = 0;
  }

  /// Whether there is more to look at; if not, what is left is kept here, for the lender takes his piece back.
  bool more() {
    if (direct_) {
      buffer_.assign(lent_.substr(at_, stage_ == Stage::exception ? native_exception_bytes_max : std::string_view::npos));
      at_ = 0, direct_ = false, lent_ = {}, bridged_ = 0;
      return false;
    }
    if (stage_ != Stage::exception && bridged_ != 0 && at_ >= carried_) {
      at_ -= carried_, direct_ = true;
      return true;
    }
    const std::size_t rest = lent_.size() - bridged_;
    const std::size_t taken = stage_ == Stage::exception ? std::min(rest, exception_room()) : std::min(rest, std::max(bridge_bytes, bridged_));
    buffer_.append(lent_.substr(bridged_, taken));
    bridged_ += taken;
    if (stage_ != Stage::exception && taken != 0) return true;
    lent_ = {}, bridged_ = 0;
    return false;
  }

  bool decode(NativeBlock& block) {
    for (;;) switch (stage_) {
        case Stage::block:
          if (!begin_block()) return false;
          break;
        case Stage::column:
          if (!begin_column()) return false;
          break;
        case Stage::nulls: {
          const std::size_t wanted = static_cast<std::size_t>(rows_) - nulls_.size(), here = std::min(wanted, unread());
          nulls_.append(input(), at_, here);
          at_ += here;
          if (here < wanted) return false;
          stage_ = Stage::cells;
          break;
        }
        case Stage::cells: {
          const std::size_t from = at_;
          decode_cells(block_.columns[begun_ - 1].column);
          if ((block_bytes_ += at_ - from) > native_block_bytes_max)
            throw too_large("a block of more than " + std::to_string(native_block_bytes_max) + " bytes");
          if (row_ < rows_) return false;
          stage_ = begun_ < columns_ ? Stage::column : Stage::complete;
          break;
        }
        case Stage::complete:
          stage_ = Stage::block;
          block_.rows = rows_;
          block_.columns.resize(begun_);
          std::swap(block, block_);
          return true;
        case Stage::exception: return false;
      }
  }

  /// Moves `at` behind the number; false when it is not all there yet.
  static bool read_varint(std::string_view in, std::size_t& at, std::uint64_t& number) {
    number = 0;
    for (int shift = 0; at < in.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(in[at++]);
      if (shift == 63 && byte > 1) throw malformed("a length has more than 64 bits");
      number |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  static bool read_name(std::string_view in, std::size_t& at, std::string& name) {
    std::uint64_t length = 0;
    if (!read_varint(in, at, length)) return false;
    if (length > native_name_max) throw malformed("a column's name or type has " + std::to_string(length) + " bytes");
    if (in.size() - at < length) return false;
    name.assign(in, at, static_cast<std::size_t>(length));
    at += static_cast<std::size_t>(length);
    return true;
  }

  /// An exception's text can stand only where a block would begin; a value that says the same is inside of one and is only data.
  /// As a block, "Code: 1" would be 67 columns of 111 rows, the first with a name of 100 bytes that begins with "e: 1".
  bool begin_block() {
    const std::string_view rest = input().substr(at_);
    if (rest.empty()) return false;
    for (const std::string_view sign : {std::string_view("Code: "), std::string_view("__exception__")}) {
      if (rest.starts_with(sign)) {
        stage_ = Stage::exception;
        return true;
      }
      if (sign.starts_with(rest)) return false;
    }
    std::size_t at = 0;
    std::uint64_t columns = 0;
    if (!read_varint(rest, at, columns) || !read_varint(rest, at, rows_)) return false;
    if (columns > native_columns_max) throw malformed("a block claims " + std::to_string(columns) + " columns");
    if (rows_ > native_rows_max) throw too_large("a block of " + std::to_string(rows_) + " rows");
    if (columns == 0 && rows_ != 0) throw malformed("a block has rows but no columns");
    at_ += at;
    columns_ = static_cast<std::size_t>(columns);
    block_bytes_ = names_bytes_ = 0, begun_ = 0;
    stage_ = columns == 0 ? Stage::block : Stage::column;
    return true;
  }

  bool begin_column() {
    const std::string_view rest = input().substr(at_);
    std::size_t at = 0;
    if (!read_name(rest, at, column_name_) || !read_name(rest, at, column_type_)) return false;
    if ((names_bytes_ += at) > native_names_max)
      throw too_large("a block whose columns have names and types of more than " + std::to_string(native_names_max) + " bytes");
    if (column_type_.empty() || column_type_ != type_name_) {
      type_ = parse_native_type(name_of(column_name_, begun_), column_type_);
      type_name_ = column_type_;
    }
    if (type_.low_cardinality)
      throw Failure(Reason::schema, "column \"" + name_of(column_name_, begun_) + "\" came as " + column_type_ + "; cast it in the query");
    if (begun_ == block_.columns.size()) block_.columns.emplace_back();
    NativeColumn& column = block_.columns[begun_++];
    std::swap(column.name, column_name_), std::swap(column.type_name, column_type_);
    if (column.column.type() == type_.type && column.column.scale() == type_.column_scale())
      column.column.clear();
    else
      column.column = Column(type_.type, type_.column_scale());
    at_ += at;
    row_ = 0;
    nulls_.clear();
    stage_ = rows_ != 0 ? (type_.nullable ? Stage::nulls : Stage::cells) : begun_ < columns_ ? Stage::column : Stage::complete;
    return true;
  }

  /// Every whole cell that is there, the type looked at once for all of them.
  void decode_cells(Column& out) {
    using Wire = NativeType::Wire;
    switch (type_.wire) {
      case Wire::uint8:
        if (type_.type == Type::boolean) return words<std::uint8_t>(out, [](std::uint8_t cell) { return std::uint64_t{cell != 0}; });
        return integers<std::uint8_t>(out);
      case Wire::uint16:
      case Wire::date: return integers<std::uint16_t>(out);
      case Wire::uint32: return integers<std::uint32_t>(out);
      case Wire::uint64:
      case Wire::int64:
      case Wire::float64: return integers<std::uint64_t>(out);
      case Wire::int8: return integers<std::int8_t>(out);
      case Wire::int16: return integers<std::int16_t>(out);
      case Wire::int32:
      case Wire::date32: return integers<std::int32_t>(out);
      case Wire::float32: return words<float>(out, [](float cell) { return std::bit_cast<std::uint64_t>(static_cast<double>(cell)); });
      case Wire::decimal32: return wides<std::int32_t>(out, [](std::int32_t cell) { return Int128{cell}; });
      case Wire::decimal64: return wides<std::int64_t>(out, [](std::int64_t cell) { return Int128{cell}; });
      case Wire::decimal128: return wides<Int128>(out, [](Int128 cell) { return cell; });
      case Wire::int128: return wides<Int128>(out, [this](Int128 cell) { return number(cell, true); });
      case Wire::uint128: return wides<Int128>(out, [this](Int128 cell) { return number(cell, cell >= 0); });
      case Wire::decimal256:
      case Wire::int256: return wides<Wide>(out, [this](const Wide& cell) { return number(cell.low, cell.high == (cell.low < 0 ? -1 : 0)); });
      case Wire::uint256: return wides<Wide>(out, [this](const Wide& cell) { return number(cell.low, cell.low >= 0 && cell.high == 0); });
      case Wire::uuid:  // two little-endian halves, the first one first
        return wides<Uint128>(out, [](Uint128 cell) { return static_cast<Int128>(cell << 64 | cell >> 64); });
      case Wire::datetime: return words<std::uint32_t>(out, [](std::uint32_t cell) { return cell * std::uint64_t{1'000'000'000}; });
      case Wire::datetime64:
        return words<std::int64_t>(out, [this, unit = static_cast<std::int64_t>(power_of_ten(9 - type_.scale))](std::int64_t cell) {
          std::int64_t ns = 0;
          if (__builtin_mul_overflow(cell, unit, &ns)) throw overflow("a time outside of 1677 to 2262");
          return static_cast<std::uint64_t>(ns);
        });
      case Wire::fixed_string:
        return texts(out, whole_cells(static_cast<std::size_t>(type_.width)), [width = static_cast<std::size_t>(type_.width)](const char* cell) {
          std::size_t length = width;
          while (length > 0 && cell[length - 1] == '\0') --length;
          return std::string_view(cell, length);
        });
      case Wire::enum8: return texts(out, whole_cells(1), [this](const char* cell) { return enum_name(native::load<std::int8_t>(cell)); });
      case Wire::enum16: return texts(out, whole_cells(2), [this](const char* cell) { return enum_name(native::load<std::int16_t>(cell)); });
      case Wire::string: break;
    }
    decode_strings(out);
  }

  /// 256 bits, as they lie on the wire.
  struct Wide {
    Int128 low, high;
  };

  std::size_t whole_cells(std::size_t width) const { return std::min(static_cast<std::size_t>(rows_ - row_), unread() / width); }
  /// Which of the cells to come are NULL; nothing if none can be.
  const char* nulls() const { return type_.nullable ? nulls_.data() + row_ : nullptr; }

  template <class T, class Convert>
  void words(Column& out, Convert convert) {
    const std::size_t here = whole_cells(sizeof(T));
    out.append_words(
        here, [convert, from = input().data() + at_](std::size_t i) { return convert(native::load<T>(from + i * sizeof(T))); }, nulls());
    row_ += here, at_ += here * sizeof(T);
  }

  template <class T>
  void integers(Column& out) {
    using Word = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
    words<T>(out, [](T cell) { return static_cast<std::uint64_t>(static_cast<Word>(cell)); });
  }

  template <class T, class Convert>
  void wides(Column& out, Convert convert) {
    const std::size_t here = whole_cells(sizeof(T));
    out.append_wides(
        here, [convert, from = input().data() + at_](std::size_t i) { return convert(native::load<T>(from + i * sizeof(T))); }, nulls());
    row_ += here, at_ += here * sizeof(T);
  }

  /// Texts that stand for cells of a fixed width. Under a NULL stands whatever the server likes.
  template <class Convert>
  void texts(Column& out, std::size_t here, Convert convert) {
    const std::size_t width = static_cast<std::size_t>(type_.width);
    const char *const from = input().data() + at_, *const null = nulls();
    out.append_texts(
        here, [&](std::size_t i) { return null != nullptr && null[i] != 0 ? std::string_view("") : convert(from + i * width); }, null);
    row_ += here, at_ += here * width;
  }

  void decode_strings(Column& out) {
    const std::string_view in = input();
    std::size_t at = at_;
    const auto next = [&](std::size_t) -> std::string_view {
      std::uint64_t length = 0;
      std::size_t begin = at;
      if (begin < in.size() && static_cast<unsigned char>(in[begin]) < 0x80)
        length = static_cast<unsigned char>(in[begin++]);
      else if (!read_varint(in, begin, length))
        return {};
      if (length > native_cell_bytes_max) throw too_large("a text of " + std::to_string(length) + " bytes in column \"" + name() + "\"");
      if (in.size() - begin < length) return {};
      at = begin + static_cast<std::size_t>(length);
      return in.substr(begin, static_cast<std::size_t>(length));
    };
    row_ += out.append_texts(whole_cells(1), next, nulls());
    at_ = at;
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
  std::string name() const { return name_of(block_.columns[begun_ - 1].name, begun_ - 1); }

  Failure overflow(const std::string& what) const {
    return Failure(Reason::overflow,
                   "column \"" + name() + "\" holds " + what + ", which can't be compared exactly; correct the row, or compare toString() of it in a view");
  }

  /// `whole`: the cell has no more than these 128 bits.
  Int128 number(Int128 low, bool whole) const {
    constexpr Int128 limit = power_of_ten(decimal_scale_max);
    if (!whole || low >= limit || low <= -limit) throw overflow("a number of more than 38 digits");
    return low;
  }

  std::vector<std::string> names_;
  Stage stage_ = Stage::block;
  std::string buffer_;                     // what was copied
  std::string_view lent_;                  // the piece that was not, until `next` has said false
  std::size_t carried_ = 0, bridged_ = 0;  // bytes of `buffer_` from before it, and bytes of it that were copied behind them
  bool direct_ = false;                    // `at_` is in the piece
  std::size_t at_ = 0;
  std::uint64_t fed_ = 0;
  NativeBlock block_;
  std::size_t columns_ = 0, begun_ = 0;
  std::uint64_t rows_ = 0, row_ = 0, block_bytes_ = 0, names_bytes_ = 0;
  NativeType type_;
  std::string type_name_, column_name_, column_type_;
  std::string nulls_;
};

}  // namespace epochcut
