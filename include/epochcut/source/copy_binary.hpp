// What do the bytes of PostgreSQL's COPY … (FORMAT binary) say?
// Layer: source, pure: no libpq, no I/O. Not synchronised. Source: PostgreSQL manual, "COPY", Binary Format; send functions of each type.
// Input may be cut anywhere. Bytes are not trusted: every length is checked, and nothing is rounded to fit.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/decimal.hpp>
#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>

namespace epochcut {

namespace copy_binary {

inline constexpr std::string_view signature{"PGCOPY\n\377\r\n\0", 11};
inline constexpr std::uint32_t header_extension_bytes_max = 1 << 20;
inline constexpr std::uint32_t field_bytes_max = 256u << 20;  ///< PostgreSQL allows 1 GB; a comparison has no use for such a cell
inline constexpr std::size_t columns_max = 1664;              ///< PostgreSQL's MaxTupleAttributeNumber
inline constexpr std::size_t staged_rows_max = 64;            ///< rows of one width that are decoded together: they stay in a core's first cache
inline constexpr std::size_t staged_row_bytes_max = 1'024;    ///< wider rows have little to gain
inline constexpr std::int64_t days_1970_to_2000 = 10'957;
inline constexpr std::int64_t us_1970_to_2000 = days_1970_to_2000 * 86'400'000'000;

/// Built-in type OIDs: fixed for ever, see pg_type.dat.
namespace oid {
inline constexpr std::uint32_t boolean = 16, bytea = 17, character = 18, name = 19, int8 = 20, int2 = 21, int4 = 23, text = 25, float4 = 700, float8 = 701,
                               bpchar = 1042, varchar = 1043, date = 1082, timestamp = 1114, timestamptz = 1184, numeric = 1700, uuid = 2950;
}

/// The logical type of a PostgreSQL type, or nothing if there is none.
constexpr std::optional<Type> type_of(std::uint32_t type) {
  switch (type) {
    case oid::boolean: return Type::boolean;
    case oid::int2:
    case oid::int4:
    case oid::int8: return Type::int64;
    case oid::numeric: return Type::decimal;
    case oid::float4:
    case oid::float8: return Type::float64;
    case oid::text:
    case oid::varchar:
    case oid::bpchar:
    case oid::name:
    case oid::character:
    case oid::bytea: return Type::text;
    case oid::uuid: return Type::uuid;
    case oid::date: return Type::date;
    case oid::timestamp:
    case oid::timestamptz: return Type::timestamp_ns;
    default: return std::nullopt;
  }
}

/// Big endian, as everything is on PostgreSQL's wire. Precondition: sizeof(T) bytes at `p`.
template <class T>
T load(const char* p) {
  static_assert(std::endian::native == std::endian::little, "so is every machine this was tested on");
  T value;
  std::memcpy(&value, p, sizeof value);
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(static_cast<std::uint16_t>(value)));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(static_cast<std::uint32_t>(value)));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(static_cast<std::uint64_t>(value)));
  return value;
}

/// Precondition: sizeof(T) bytes at `p`.
template <class T>
void store(char* p, T value) {
  const T swapped = load<T>(reinterpret_cast<const char*>(&value));
  std::memcpy(p, &swapped, sizeof swapped);
}

/// Eight bytes, whatever they mean.
inline std::uint64_t load_as_is(const char* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

/// How a cell is decoded: what one needs to know of a column for each of its cells.
enum class Decode : std::uint8_t { boolean, int2, int4, int8, count, float4, float8, numeric, uuid, date, timestamp, blank_padded, text };

/// Precondition: type_of(type) has a value.
constexpr Decode decode_of(std::uint32_t type, bool is_count) {
  switch (type) {
    case oid::boolean: return Decode::boolean;
    case oid::int2: return Decode::int2;
    case oid::int4: return Decode::int4;
    case oid::int8: return is_count ? Decode::count : Decode::int8;
    case oid::float4: return Decode::float4;
    case oid::float8: return Decode::float8;
    case oid::numeric: return Decode::numeric;
    case oid::uuid: return Decode::uuid;
    case oid::date: return Decode::date;
    case oid::timestamp:
    case oid::timestamptz: return Decode::timestamp;
    case oid::bpchar: return Decode::blank_padded;
    default: return Decode::text;
  }
}

/// Bytes of each cell of a type all of whose bits are values; 0 where cells have lengths of their own, or can be wrong.
constexpr std::size_t plain_bytes(Decode decode) {
  switch (decode) {
    case Decode::int2: return 2;
    case Decode::int4:
    case Decode::float4: return 4;
    case Decode::int8:
    case Decode::float8: return 8;
    case Decode::uuid: return 16;
    default: return 0;
  }
}

/// The scale that a numeric's type modifier declares, if every such value fits 38 digits at it; else 0, and the column widens as needed.
constexpr int declared_scale(std::int32_t modifier) {
  if (modifier < 4) return 0;
  const int precision = (modifier - 4) >> 16 & 0xFFFF, scale = (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400;  // since 15 the scale is signed
  return precision <= decimal_scale_max && scale > 0 && scale <= precision ? scale : 0;
}

}  // namespace copy_binary

/// A column of the result, as the catalog describes it.
struct CopyColumn {
  std::string name;
  Role role = Role::value;
  std::uint32_t type = 0;      ///< OID
  std::int32_t modifier = -1;  ///< atttypmod; for numeric it saves widening
  bool is_count = false;       ///< an int8 that counts rows: becomes uint64
  std::string type_name{};     ///< for messages
};

/// Decodes a COPY BINARY stream into blocks. After a Failure it is of no further use.
class CopyBinaryDecoder {
 public:
  /// Errors: `schema`, naming the column and the type that has no logical type.
  explicit CopyBinaryDecoder(std::vector<CopyColumn> columns) : columns_(std::move(columns)) {
    if (columns_.size() > copy_binary::columns_max) throw Failure(Reason::schema, "a result of more than 1664 columns can't come from PostgreSQL; read fewer");
    for (const CopyColumn& c : columns_) {
      const std::optional<Type> type = copy_binary::type_of(c.type);
      if (!type) throw unsupported(c.name, c.type_name.empty() ? "of the type with OID " + std::to_string(c.type) : c.type_name);
      const int scale = c.type == copy_binary::oid::numeric ? copy_binary::declared_scale(c.modifier) : c.type == copy_binary::oid::bytea ? text_bytes : 0;
      block_.add(c.name, c.role, c.is_count ? Type::uint64 : *type, scale);
      decode_.push_back(copy_binary::decode_of(c.type, c.is_count));
    }
    empty_ = block_.empty_copy();
    lay_out();
  }

  static Failure unsupported(const std::string& column, const std::string& type) {
    return Failure(Reason::schema, "column \"" + column + "\" is " + type +
                                       ", which has no exact counterpart here; compare a view that casts it to text, numeric or another plain type");
  }

  /// Takes the next bytes, cut anywhere. Errors: `incomplete` on what PostgreSQL never sends, `overflow`, `too_large`.
  void feed(std::string_view bytes) {
    bytes_ += bytes.size();
    if (pending_.empty()) {
      if (const std::size_t used = decode(bytes); used != bytes.size()) pending_.assign(bytes.substr(used));
      return;
    }
    pending_.append(bytes);
    if (pending_.size() < needed_) return;  // a large field that comes in small pieces is scanned once, not once per piece
    pending_.erase(0, decode(pending_));
  }

  /// Errors: `incomplete` unless the trailer has come and nothing after it.
  void finish() const {
    if (!finished()) throw malformed("it ends before its trailer");
  }

  /// Hands out the rows decoded since the last call.
  Relation take() {
    Relation rows;
    take(rows);
    return rows;
  }
  /// The same; what `block` held is used for later rows: whoever hands back what was given saves its allocations.
  void take(Relation& block) {
    unstage();
    std::swap(block, block_);
    if (block_.fields.size() != empty_.fields.size()) block_ = empty_;
    for (std::size_t i = 0; i < empty_.fields.size(); ++i) {
      const Field& empty = empty_.fields[i];
      Field& field = block_.fields[i];
      if (field.name == empty.name && field.role == empty.role && field.column.type() == empty.column.type() && field.column.scale() == empty.column.scale())
        field.column.clear();
      else
        field = empty;
    }
  }
  /// What `take` would hand out. Cost: decodes what has been put aside; where the number of rows is all you want, ask for `block_rows`.
  const Relation& block() {
    unstage();
    return block_;
  }
  std::size_t block_rows() const { return block_.rows() + staged_; }

  std::uint64_t rows() const { return rows_; }
  std::uint64_t bytes() const { return bytes_; }
  bool finished() const { return state_ == State::finished; }

 private:
  enum class State : std::uint8_t { header, tuples, finished };

  static Failure malformed(const std::string& why) {
    return Failure(Reason::incomplete, "PostgreSQL's COPY data is cut off or damaged (" + why + "); nothing of it was used, read again").poison();
  }

  /// Decodes whole tuples and says how many bytes they were; `needed_` is then what the next one takes at least.
  std::size_t decode(std::string_view bytes) {
    std::size_t used = 0;
    if (state_ == State::header) {
      used = header(bytes);
      if (used == 0) return 0;
      state_ = State::tuples;
    }
    while (state_ == State::tuples) {
      if (stage(bytes.substr(used))) {
        used += row_bytes_;
        if (used == bytes.size()) return used;
        continue;
      }
      const std::size_t size = tuple(bytes.substr(used));
      if (size == 0) return used;
      used += size;
    }
    if (used != bytes.size()) throw malformed("bytes follow its trailer");
    return used;
  }

  /// The header's size, 0 if more bytes are needed.
  std::size_t header(std::string_view bytes) {
    using namespace copy_binary;
    constexpr std::size_t fixed = signature.size() + 8;
    if (bytes.substr(0, signature.size()) != signature.substr(0, bytes.size())) throw malformed("its signature is wrong");
    if (bytes.size() < (needed_ = fixed)) return 0;
    if (load<std::uint32_t>(bytes.data() + signature.size()) >> 16 != 0) throw malformed("its header has critical flags");
    const auto extension = load<std::uint32_t>(bytes.data() + signature.size() + 4);
    if (extension > header_extension_bytes_max) throw malformed("its header extension is too long");
    return bytes.size() < (needed_ = fixed + extension) ? 0 : needed_;
  }

  /// Where each cell stands in a row that has all of its columns and no NULL, if that is the same in every such row.
  void lay_out() {
    using namespace copy_binary;
    std::string says(2, '\0'), counts(2, '\xFF');  // such a row with zeros for cells, and ones where no cell stands
    store(says.data(), static_cast<std::int16_t>(columns_.size()));
    for (const Decode decode : decode_) {
      const std::size_t size = plain_bytes(decode);
      if (size == 0) return;
      says.append(4 + size, '\0'), counts.append(4, '\xFF').append(size, '\0');
      places_.push_back(says.size() - size);
      store(says.data() + places_.back() - 4, static_cast<std::int32_t>(size));
    }
    if (says.size() < 8 || says.size() > staged_row_bytes_max) return;
    for (std::size_t at = 0; at < says.size(); at += 8) {
      const std::size_t from = std::min(at, says.size() - 8);  // the last word overlaps the one before it
      frame_.push_back({from, load_as_is(says.data() + from), load_as_is(counts.data() + from)});
    }
    row_bytes_ = says.size();
    stage_.resize(staged_rows_max * row_bytes_);
  }

  /// Puts the tuple at the front aside, to be decoded with its neighbours, if it is a row of just that layout: its number of fields and the length of each
  /// are compared at once. False, and nothing decided, on anything else.
  bool stage(std::string_view bytes) {
    if (row_bytes_ == 0 || bytes.size() < row_bytes_) return false;
    char* const to = stage_.data() + staged_ * row_bytes_;
    std::uint64_t other = 0;
    for (const Word& word : frame_) {
      const std::uint64_t here = copy_binary::load_as_is(bytes.data() + word.at);
      std::memcpy(to + word.at, &here, sizeof here);
      other |= (here ^ word.says) & word.counts;
    }
    if (other != 0) return false;
    ++rows_;
    if (++staged_ == copy_binary::staged_rows_max) unstage();
    return true;
  }

  /// Decodes the rows put aside: there is nothing in them that could be refused.
  void unstage() {
    using namespace copy_binary;
    const std::size_t rows = std::exchange(staged_, 0), stride = row_bytes_;
    if (rows == 0) return;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      Column& cells = block_.fields[i].column;
      const char* const first = stage_.data() + places_[i];
      const auto words = [&]<class T>(T) {
        cells.append_words(rows, [&](std::size_t row) { return static_cast<std::uint64_t>(static_cast<std::int64_t>(load<T>(first + row * stride))); });
      };
      switch (decode_[i]) {
        case Decode::int2: words(std::int16_t{}); break;
        case Decode::int4: words(std::int32_t{}); break;
        case Decode::int8:
        case Decode::float8: words(std::int64_t{}); break;
        default:
          for (std::size_t row = 0; row < rows; ++row) append_cell(cells, i, {first + row * stride, plain_bytes(decode_[i])});
      }
    }
  }

  /// Appends the tuple at the front and says how many bytes it had; 0, and nothing appended, if more are needed. Recognises the trailer.
  std::size_t tuple(std::string_view bytes) {
    using namespace copy_binary;
    unstage();
    if (bytes.size() < (needed_ = 2)) return 0;
    const auto fields = load<std::int16_t>(bytes.data());
    if (fields == -1) return state_ = State::finished, 2;
    if (fields < 0 || static_cast<std::size_t>(fields) != columns_.size())
      throw malformed("a row has " + std::to_string(fields) + " fields instead of " + std::to_string(columns_.size()));
    const char *p = bytes.data() + 2, *const end = bytes.data() + bytes.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (end - p < 4) return give_back(i, static_cast<std::size_t>(p - bytes.data()) + 4);
      const auto length = load<std::int32_t>(p);
      p += 4;
      Column& cells = block_.fields[i].column;
      if (static_cast<std::uint32_t>(length) > field_bytes_max) {
        if (length < -1) throw malformed("a field's length is negative");
        if (length != -1)
          throw Failure(Reason::too_large, "a cell of column \"" + columns_[i].name + "\" is larger than 256 MiB; compare its md5 instead").poison();
        cells.append_null();
        continue;
      }
      if (end - p < length) return give_back(i, static_cast<std::size_t>(p - bytes.data()) + static_cast<std::size_t>(length));
      append_cell(cells, i, {p, static_cast<std::size_t>(length)});
      p += length;
    }
    ++rows_;
    return static_cast<std::size_t>(p - bytes.data());
  }

  /// Of a tuple that has not all come, `cells` stand in the block already.
  std::size_t give_back(std::size_t cells, std::size_t needed) {
    for (std::size_t i = 0; i < cells; ++i) block_.fields[i].column.drop_last();
    needed_ = needed;
    return 0;
  }

  static void require(const CopyColumn& column, bool well_formed) {
    if (!well_formed) throw malformed("a cell of column \"" + column.name + "\" is not of its type");
  }

  static Failure overflow(const CopyColumn& column, const std::string& what) {
    return Failure(Reason::overflow,
                   "column \"" + column.name + "\" holds " + what + ", which can't be compared exactly; correct the row, or leave it out with where()");
  }

  void append_cell(Column& cells, std::size_t i, std::string_view cell) {
    using namespace copy_binary;
    const CopyColumn& column = columns_[i];
    const auto number = [&]<class T>(T) {
      require(column, cell.size() == sizeof(T));
      return static_cast<std::int64_t>(load<T>(cell.data()));
    };
    std::int64_t word = 0;
    switch (decode_[i]) {
      case Decode::boolean:
        require(column, cell.size() == 1 && (cell[0] == 0 || cell[0] == 1));
        word = cell[0];
        break;
      case Decode::int2: word = number(std::int16_t{}); break;
      case Decode::int4: word = number(std::int32_t{}); break;
      case Decode::int8:
      case Decode::float8: word = number(std::int64_t{}); break;
      case Decode::count:
        word = number(std::int64_t{});
        require(column, word >= 0);
        break;
      case Decode::float4:
        word = std::bit_cast<std::int64_t>(static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(number(std::uint32_t{})))));
        break;
      case Decode::date:
        word = number(std::int32_t{});
        if (word == INT32_MAX || word == INT32_MIN) throw overflow(column, "an infinite date");
        word += days_1970_to_2000;
        break;
      case Decode::timestamp:
        word = number(std::int64_t{});
        if (word == INT64_MAX || word == INT64_MIN) throw overflow(column, "an infinite time");
        if (__builtin_add_overflow(word, us_1970_to_2000, &word) || __builtin_mul_overflow(word, std::int64_t{1000}, &word))
          throw overflow(column, "a time outside of 1677 to 2262");
        break;
      case Decode::uuid: {
        require(column, cell.size() == 16);
        const Uint128 high = load<std::uint64_t>(cell.data());
        return cells.append_wide(static_cast<Int128>(high << 64 | load<std::uint64_t>(cell.data() + 8)));
      }
      case Decode::numeric: {
        Int128 unscaled = 0;
        if (short_numeric(cell, cells.scale(), unscaled)) return cells.append_wide(unscaled);
        return cells.append_decimal(numeric(column, cell));
      }
      case Decode::blank_padded:  // char(n): its blanks are padding, and PostgreSQL's own comparison ignores them
        while (!cell.empty() && cell.back() == ' ') cell.remove_suffix(1);
        return cells.append_text(cell);
      case Decode::text: return cells.append_text(cell);
    }
    cells.append_word(static_cast<std::uint64_t>(word));
  }

  /// The common case of `numeric`: a value that is shown at just the column's scale and has eight groups of digits at most, so that nothing can
  /// overflow. False, and nothing decided, on anything else.
  static bool short_numeric(std::string_view cell, int scale, Int128& unscaled) {
    using copy_binary::load;
    constexpr int groups_max = 8, tens[] = {10'000, 1'000, 100, 10};
    if (cell.size() < 8) return false;
    const int digits = load<std::int16_t>(cell.data()), weight = load<std::int16_t>(cell.data() + 2);
    const auto sign = load<std::uint16_t>(cell.data() + 4);
    if (load<std::uint16_t>(cell.data() + 6) != scale || (sign & 0xBFFF) != 0 || digits < 0 || cell.size() != 8 + 2 * static_cast<std::size_t>(digits))
      return false;
    const int after = (scale + 3) / 4, beyond = 4 * after - scale;  // groups behind the point, and digits of the last that the scale leaves out
    const int groups = weight + 1 + after;
    if (digits == 0) return unscaled = 0, true;
    if (groups < digits || groups > groups_max) return false;
    std::uint64_t high = 0, low = 0;  // the first four groups, and the others
    std::uint64_t low_factor = 1;
    for (int i = 0; i < groups; ++i) {
      std::uint64_t group = i < digits ? load<std::uint16_t>(cell.data() + 8 + 2 * i) : 0, factor = 10'000;
      if (group >= 10'000) return false;
      if (i == groups - 1 && beyond != 0) {
        const auto cut = static_cast<std::uint64_t>(tens[4 - beyond]);
        if (group % cut != 0) return false;
        group /= cut, factor = static_cast<std::uint64_t>(tens[beyond]);
      }
      if (i < 4)
        high = high * factor + group;
      else
        low = low * factor + group, low_factor *= factor;
    }
    unscaled = static_cast<Int128>(high) * low_factor + low;
    if (sign != 0) unscaled = -unscaled;
    return true;
  }

  /// Exactly the value: int16 digits, weight; uint16 sign, display scale; then that many digits in base 10000, the first worth 10000^weight.
  static Decimal numeric(const CopyColumn& column, std::string_view cell) {
    using copy_binary::load;
    require(column, cell.size() >= 8);
    const int digits = load<std::int16_t>(cell.data()), weight = load<std::int16_t>(cell.data() + 2);
    const auto sign = load<std::uint16_t>(cell.data() + 4);
    const int shown = load<std::uint16_t>(cell.data() + 6);
    if (sign == 0xC000) throw overflow(column, "NaN");
    if (sign == 0xD000 || sign == 0xF000) throw overflow(column, "infinity");
    require(column, (sign == 0 || sign == 0x4000) && digits >= 0 && cell.size() == 8 + 2 * static_cast<std::size_t>(digits));
    const auto too_wide = [&] { return overflow(column, "a numeric of more than 38 digits"); };

    Int128 unscaled = 0;
    int scale = -4 * (weight + 1);  // of what has been read so far; negative while whole groups are still to come
    int zeros = 0;                  // decimal zeros seen since the last other digit: they only count once one follows
    for (int i = 0; i < digits; ++i) {
      const int group = load<std::int16_t>(cell.data() + 8 + 2 * i);
      require(column, group >= 0 && group < 10'000);
      if (group == 0) {
        zeros += 4;
        continue;
      }
      const int trailing = group % 10 != 0 ? 0 : group % 100 != 0 ? 1 : group % 1000 != 0 ? 2 : 3;
      const int shift = zeros + 4 - trailing;
      scale += shift;
      zeros = trailing;
      if (unscaled != 0 && shift > decimal_scale_max) throw too_wide();
      if (unscaled != 0 && __builtin_mul_overflow(unscaled, power_of_ten(shift), &unscaled)) throw too_wide();
      if (__builtin_add_overflow(unscaled, static_cast<Int128>(group / static_cast<int>(power_of_ten(trailing))), &unscaled)) throw too_wide();
    }
    if (unscaled == 0) scale = 0;
    if (scale < 0) {
      if (-scale > decimal_scale_max || __builtin_mul_overflow(unscaled, power_of_ten(-scale), &unscaled)) throw too_wide();
      scale = 0;
    }
    if (scale > decimal_scale_max || unscaled >= power_of_ten(decimal_scale_max)) throw too_wide();
    const Decimal value{sign == 0 ? unscaled : -unscaled, scale};
    return value.at_scale(std::max(scale, shown)).value_or(value);  // with the zeros that the ledger prints, as long as they fit
  }

  /// Eight bytes of a row of known layout: what they say, and which of their bits are no cell's.
  struct Word {
    std::size_t at;
    std::uint64_t says, counts;
  };

  std::vector<CopyColumn> columns_;
  std::vector<copy_binary::Decode> decode_;
  Relation block_, empty_;
  std::vector<Word> frame_;
  std::vector<std::size_t> places_;  // of each column's cell in such a row
  std::string stage_;                // rows of that layout that have not been decoded
  std::size_t row_bytes_ = 0;        // of one; 0: rows have no layout in common
  std::size_t staged_ = 0;
  std::string pending_;     // the beginning of a tuple whose rest has not come
  std::size_t needed_ = 0;  // bytes of it before another look can help
  std::uint64_t rows_ = 0, bytes_ = 0;
  State state_ = State::header;
};

}  // namespace epochcut
