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
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = value << 8 | static_cast<unsigned char>(p[i]);
  return static_cast<T>(value);
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
    }
    empty_ = block_.empty_copy();
  }

  static Failure unsupported(const std::string& column, const std::string& type) {
    return Failure(Reason::schema, "column \"" + column + "\" is " + type +
                                       ", which has no exact counterpart here; compare a view that casts it to text, numeric or another plain type");
  }

  /// Takes the next bytes, cut anywhere. Errors: `incomplete` on what PostgreSQL never sends, `overflow`, `too_large`.
  void feed(std::string_view bytes) {
    bytes_ += bytes.size();
    if (pending_.empty()) {
      pending_.assign(bytes.substr(decode(bytes)));
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
  Relation take() { return std::exchange(block_, empty_); }
  const Relation& block() const { return block_; }

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
      const std::size_t size = tuple_size(bytes.substr(used));
      if (size == 0) return used;
      if (state_ == State::tuples) append(bytes.data() + used);
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

  /// The size of the tuple at the front, 0 if more bytes are needed. Recognises the trailer.
  std::size_t tuple_size(std::string_view bytes) {
    using namespace copy_binary;
    if (bytes.size() < (needed_ = 2)) return 0;
    const auto fields = load<std::int16_t>(bytes.data());
    if (fields == -1) return state_ = State::finished, 2;
    if (fields < 0 || static_cast<std::size_t>(fields) != columns_.size())
      throw malformed("a row has " + std::to_string(fields) + " fields instead of " + std::to_string(columns_.size()));
    std::size_t size = 2;
    for (const CopyColumn& column : columns_) {
      if (bytes.size() < (needed_ = size + 4)) return 0;
      const auto length = load<std::int32_t>(bytes.data() + size);
      size += 4;
      if (length < -1) throw malformed("a field's length is negative");
      if (length == -1) continue;
      if (static_cast<std::uint32_t>(length) > field_bytes_max)
        throw Failure(Reason::too_large, "a cell of column \"" + column.name + "\" is larger than 256 MiB; compare its md5 instead").poison();
      size += static_cast<std::size_t>(length);
      if (bytes.size() < (needed_ = size)) return 0;
    }
    return size;
  }

  /// Precondition: one whole tuple at `p`.
  void append(const char* p) {
    p += 2;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const auto length = copy_binary::load<std::int32_t>(p);
      p += 4;
      Column& cells = block_.fields[i].column;
      if (length == -1) {
        cells.append_null();
        continue;
      }
      append_cell(cells, columns_[i], {p, static_cast<std::size_t>(length)});
      p += length;
    }
    ++rows_;
  }

  static void require(const CopyColumn& column, bool well_formed) {
    if (!well_formed) throw malformed("a cell of column \"" + column.name + "\" is not of its type");
  }

  static Failure overflow(const CopyColumn& column, const std::string& what) {
    return Failure(Reason::overflow,
                   "column \"" + column.name + "\" holds " + what + ", which can't be compared exactly; correct the row, or leave it out with where()");
  }

  static void append_cell(Column& cells, const CopyColumn& column, std::string_view cell) {
    using namespace copy_binary;
    const auto word = [&]<class T>(T) {
      require(column, cell.size() == sizeof(T));
      return static_cast<std::int64_t>(load<T>(cell.data()));
    };
    switch (column.type) {
      case oid::boolean: require(column, cell.size() == 1 && (cell[0] == 0 || cell[0] == 1)); return cells.append_word(static_cast<std::uint64_t>(cell[0]));
      case oid::int2: return cells.append_word(static_cast<std::uint64_t>(word(std::int16_t{})));
      case oid::int4: return cells.append_word(static_cast<std::uint64_t>(word(std::int32_t{})));
      case oid::int8: {
        const std::int64_t value = word(std::int64_t{});
        require(column, !column.is_count || value >= 0);
        return cells.append_word(static_cast<std::uint64_t>(value));
      }
      case oid::float4:
        return cells.append_word(std::bit_cast<std::uint64_t>(static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(word(std::uint32_t{}))))));
      case oid::float8: return cells.append_word(static_cast<std::uint64_t>(word(std::int64_t{})));
      case oid::numeric: return cells.append_decimal(numeric(column, cell));
      case oid::uuid: {
        require(column, cell.size() == 16);
        const Uint128 high = load<std::uint64_t>(cell.data());
        return cells.append_wide(static_cast<Int128>(high << 64 | load<std::uint64_t>(cell.data() + 8)));
      }
      case oid::date: {
        const std::int64_t days = word(std::int32_t{});
        if (days == INT32_MAX || days == INT32_MIN) throw overflow(column, "an infinite date");
        return cells.append_word(static_cast<std::uint64_t>(days + days_1970_to_2000));
      }
      case oid::timestamp:
      case oid::timestamptz: {
        std::int64_t ns = word(std::int64_t{});
        if (ns == INT64_MAX || ns == INT64_MIN) throw overflow(column, "an infinite time");
        if (__builtin_add_overflow(ns, us_1970_to_2000, &ns) || __builtin_mul_overflow(ns, std::int64_t{1000}, &ns))
          throw overflow(column, "a time outside of 1677 to 2262");
        return cells.append_word(static_cast<std::uint64_t>(ns));
      }
      case oid::bpchar:  // char(n): its blanks are padding, and PostgreSQL's own comparison ignores them
        while (!cell.empty() && cell.back() == ' ') cell.remove_suffix(1);
        return cells.append_text(cell);
      default: return cells.append_text(cell);  // the constructor has let only texts come here
    }
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

  std::vector<CopyColumn> columns_;
  Relation block_, empty_;
  std::string pending_;     // the beginning of a tuple whose rest has not come
  std::size_t needed_ = 0;  // bytes of it before another look can help
  std::uint64_t rows_ = 0, bytes_ = 0;
  State state_ = State::header;
};

}  // namespace epochcut
