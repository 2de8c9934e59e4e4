// How does ClickHouse count and hash the rows of each range of keys, as of an epoch?
// Layer: source; no I/O of its own: a ClickHouse or a Chdb runs its statements. For `bisect` (diff/bisect.hpp). One thread.
// A row's hash is the MD5 of its text, as PostgreSQL also writes it; between two ClickHouse servers sipHash128 of the same text. The event ids of each range
// are hashed beside its rows, so that all ranges together prove the follower complete. Source: docs/bisection.md; measured on 18.16 and 26.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/source.hpp>
#include <epochcut/diff/digest_form.hpp>
#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/native.hpp>

namespace epochcut {

namespace clickhouse {

inline constexpr int limb_digits = 19;  ///< of a UInt64 in any case

/// 1 and so many zeros, as text: it may be more than any number here holds. Precondition: digits >= 0.
inline std::string ten_to(int digits) { return "1" + std::string(static_cast<std::size_t>(digits), '0'); }

/// The last `digits` characters of zeros before `text`. 18.16 has no leftPad.
inline std::string padded(const std::string& text, int digits) {
  return "substring(concat('" + std::string(static_cast<std::size_t>(digits), '0') + "', " + text + "), length(" + text + ") + 1)";
}

/// A signed 64-bit number of 10^-scale, written with all of its digits.
inline std::string fixed_point(const std::string& units, int scale) {
  if (scale == 0) return "toString(" + units + ")";
  const std::string size = "abs(" + units + ")", one = ten_to(scale);
  return "concat(if(" + units + " < 0, '-', ''), toString(intDiv(" + size + ", " + one + ")), '.', " + padded("toString(" + size + " % " + one + ")", scale) +
         ")";
}

/// A Decimal128 likewise. Its own toString is not to be trusted on 18.16, so it is divided into limbs whose lowest 8 bytes say all; arithmetic modulo 2^64
/// gives the rest. Precondition: scale <= limb_digits.
inline std::string fixed_point_wide(const std::string& x, int scale) {
  const auto over = [](const std::string& y, int digits) { return digits == 0 ? y : "(" + y + " / toDecimal128('" + ten_to(digits) + "', 0))"; };
  const auto low = [](const std::string& y) { return "reinterpretAsUInt64(reinterpretAsString(" + y + "))"; };
  const std::string size = "abs(" + x + ")", whole = low(over(size, scale));
  std::string integer = "toString(" + whole + ")";
  if (scale + limb_digits < decimal_scale_max) {
    const std::string top = low(over(size, scale + limb_digits)), rest = "toString(toUInt64(" + whole + " - " + top + " * " + ten_to(limb_digits) + "))";
    integer = "if(" + top + " = 0, " + rest + ", concat(toString(" + top + "), " + padded(rest, limb_digits) + "))";
  }
  const std::string sign = "if(" + x + " < 0, '-', '')";
  if (scale == 0) return "concat(" + sign + ", " + integer + ")";
  const std::string fraction = "toString(toUInt64(" + low(size) + " - " + whole + " * " + ten_to(scale) + "))";
  return "concat(" + sign + ", " + integer + ", '.', " + padded(fraction, scale) + ")";
}

/// Why a type can't be written as PostgreSQL writes its counterpart; empty if it can.
inline std::string why_not_written(const NativeType& type) {
  using Wire = NativeType::Wire;
  if (type.wire == Wire::fixed_string) return "whose zero bytes at the end are padding";
  if (type.wire == Wire::decimal256) return "which has more digits than its text is made for";
  if (type.wire == Wire::decimal128 && type.scale > limb_digits) return "with more than 19 digits after the point";
  return "";
}

/// One cell as agreed, for a cell that is not NULL. `x`: the cell as the renderer gives it, enums and LowCardinality as what they say.
inline std::string canonical_cell(const std::string& x, const NativeType& type, const AgreedCell& cell) {
  using Wire = NativeType::Wire;
  const auto with_zeros = [&](const std::string& text, int scale) {
    const std::string all = zeros_after_point(cell.scale);
    const std::string zeros = cell.scale <= scale ? "" : scale == 0 ? all : all.substr(static_cast<std::size_t>(scale) + 1);
    return "concat(" + text + ", '" + zeros + ",')";
  };
  switch (cell.form) {
    case CellForm::number:
      if (type.wire == Wire::decimal32) return with_zeros(fixed_point("reinterpretAsInt32(reinterpretAsString(" + x + "))", type.scale), type.scale);
      if (type.wire == Wire::decimal64) return with_zeros(fixed_point("reinterpretAsInt64(reinterpretAsString(" + x + "))", type.scale), type.scale);
      if (type.wire == Wire::decimal128) return with_zeros(fixed_point_wide(x, type.scale), type.scale);
      return with_zeros("toString(" + x + ")", 0);
    case CellForm::bits: return "concat(if(isNaN(" + x + "), 'nan', toString(reinterpretAsInt64(reinterpretAsString(toFloat64(" + x + ") + 0)))), ',')";
    case CellForm::text: return "concat(toString(length(" + x + ")), ':', " + x + ")";
    case CellForm::hex: return "concat(lower(hex(" + x + ")), ',')";
    case CellForm::boolean: return "if(" + x + ", 'true,', 'false,')";
    case CellForm::uuid: return "concat(toString(" + x + "), ',')";
    case CellForm::days: return "concat(toString(toInt64(" + x + ")), ',')";
    case CellForm::seconds: break;
  }
  if (type.wire == Wire::datetime) return with_zeros("toString(toUInt32(" + x + "))", 0);
  return with_zeros(fixed_point("reinterpretAsInt64(" + x + ")", type.scale), type.scale);
}

/// What a column of whole numbers can hold.
struct KeyLimits {
  Int128 least, greatest;
};
inline std::optional<KeyLimits> key_limits(const NativeType& type) {
  if (type.wire > NativeType::Wire::int64) return std::nullopt;
  const int bits = static_cast<int>(type.width) * 8;
  if (type.type == Type::uint64) return KeyLimits{0, (Int128{1} << bits) - 1};
  if (type.type == Type::int64) return KeyLimits{-(Int128{1} << (bits - 1)), (Int128{1} << (bits - 1)) - 1};
  return std::nullopt;
}

}  // namespace clickhouse

/// One relation of a ClickHouse or a Chdb as a side of `bisect`. Holds a reference to the source.
template <class Source>
class ClickHouseDigest final : public DigestSide {
 public:
  /// `plan`: events() rows, keyed by one integer. `ids`: of all events up to `as_of`, as the token counts them; nothing: none are proved, for a store at rest.
  /// Errors: `configuration`, `schema`, `not_found`, `not_as_of`, `below_retention`; `configuration` for a follower that is read as of an epoch without `ids`.
  ClickHouseDigest(Source& source, QueryPlan plan, AsOf as_of, std::optional<Digest> ids, const Control& control = {})
      : source_(&source), plan_(std::move(plan)), as_of_(std::move(as_of)), ids_(ids) {
    plan_.validate();
    if (plan_.grouped() || plan_.history == History::latest)
      throw Failure(Reason::configuration, "query on \"" + plan_.relation + "\": only rows of events() can be bisected; stream groups and latest()");
    if (!ids_ && !as_of_.at_rest)
      throw Failure(Reason::configuration, "query on \"" + plan_.relation +
                                               "\": without the token's digest of event ids nothing proves this follower complete; "
                                               "stream it, or read it at rest");
    if (as_of_.at_rest) ids_.reset();
    table_ = source_->describe(plan_.relation, control);
    const std::vector<std::string> keys = plan_.keys(as_of_.stream);
    key_ = keys.front(), key_type_ = table_.type_of(key_);
    const std::optional<clickhouse::KeyLimits> limits = clickhouse::key_limits(key_type_);
    if (keys.size() != 1 || !limits)
      throw Failure(Reason::schema, "\"" + plan_.relation + "\" is bisected by one key that is a whole number; stream it, or name such a key with key()");
    limits_ = *limits;
    columns_.push_back(key_);
    for (const Measure& m : plan_.measures) columns_.push_back(m.column);
    shape_ = clickhouse::render(plan_, as_of_, Form::plain, table_).shape;
  }

  std::string_view engine() const override { return "clickhouse"; }
  Server server() const override { return server_; }
  std::string name() const override { return "ClickHouse table " + table_.path(); }
  std::optional<Digest> expected() const override { return ids_; }
  std::uint64_t bytes() const override { return bytes_; }

  std::vector<DigestColumn> columns() const override {
    std::vector<DigestColumn> columns;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const NativeType type = table_.type_of(columns_[i]);
      DigestColumn column{.name = shape_.fields[i].name, .role = shape_.fields[i].role, .type = type.type, .scale = type.column_scale()};
      if (type.type == Type::timestamp_ns) column.scale = type.wire == NativeType::Wire::datetime64 ? type.scale : 0;
      for (const clickhouse::ColumnInfo& info : table_.columns)
        if (info.name == columns_[i]) column.native_type = info.type_name;
      column.why_refused = clickhouse::why_not_written(type);
      columns.push_back(std::move(column));
    }
    return columns;
  }

  void use(const DigestForm& form) override { form_ = form; }

  KeyBounds bounds(const Control& control) override {
    clickhouse::Statement s;
    s.shape.add("count", Role::value, Type::uint64);
    for (const char* name : {"least", "greatest"}) s.shape.add(name, Role::value, Type::text, text_plain);
    for (std::size_t i = 0; i < 3; ++i) s.outputs.push_back({clickhouse::Output::Use::field, i, s.shape.fields[i].name});
    const Inner inner = rows({});
    const std::string key = not_null(inner.field(0));
    const auto of = [&](const char* function) { return "toString(" + std::string(function) + "If(" + key + ", " + keyed(inner) + "))"; };
    s.sql = "SELECT " + aggregate("count", "", inner) + " AS count, if(countIf(" + keyed(inner) + ") = 0, '', " + of("min") + ") AS least, if(countIf(" +
            keyed(inner) + ") = 0, '', " + of("max") + ") AS greatest FROM (" + inner.sql + ")";
    bytes_ += s.sql.size();
    AnyCursor cursor = source_->run(s, table_, control);
    const Relation row = all(cursor);
    if (row.rows() != 1) throw Failure(Reason::incomplete, name() + " gave no count of its rows; ask again").retry();
    KeyBounds bounds{.rows = row.fields[0].column.words()[0], .keyed = !row.fields[1].column.text(0).empty()};
    if (!bounds.keyed) return bounds;
    const auto number = [&](std::size_t field) { return parse_decimal(row.fields[field].column.text(0)).value_or(Decimal{}).unscaled; };
    bounds.least = number(1), bounds.greatest = number(2);
    return bounds;
  }

  void ask(const KeyGrid& grid, std::span<const KeyRange> ranges, const Control& control) override {
    using Use = clickhouse::Output::Use;
    clickhouse::Statement s;
    for (const char* name : {"n", "count", "low", "high", "ids", "ids_low", "ids_high"}) {
      s.outputs.push_back({Use::field, s.shape.fields.size(), name});
      s.shape.add(name, Role::value, Type::uint64);
    }
    const Inner inner = rows(ranges);
    const std::string id = inner.event_id.empty() ? "0" : "toUInt64(" + inner.event_id + ")";  // the column itself, where it is among the rows
    const auto hash = [](const std::string& x) { return "intHash64(" + x + ")"; };
    const std::string ids = inner.event_id.empty() ? "toUInt64(0) AS ids, toUInt64(0) AS ids_low, toUInt64(0) AS ids_high"
                                                   : "count() AS ids, sum(" + hash("e") + ") AS ids_low, sum(" +
                                                         hash("bitXor(e, " + std::to_string(event_id_high_salt) + ")") + ") AS ids_high";
    // Reversed, so that its two halves are big endian, as PostgreSQL reads them.
    const std::string flag = inner.matched.empty() ? "" : ", " + inner.matched + " AS f";
    s.sql = "SELECT n, " + std::string(flag.empty() ? "count()" : "countIf(f)") + " AS count, " + sum("reinterpretAsUInt64(m)", flag) + " AS low, " +
            sum("reinterpretAsUInt64(substring(m, 9, 8))", flag) + " AS high, " + ids + " FROM (SELECT " + cell(grid, inner.field(0)) + " AS n, " + id +
            " AS e, reverse(" + (form_.same_engine ? "sipHash128(" : "MD5(") + text(inner) + ")) AS m" + flag + " FROM (" + inner.sql + ")) GROUP BY n";
    bytes_ += s.sql.size();
    asked_.emplace(source_->run(std::move(s), table_, control));
  }

  std::vector<CellDigest> answer(const Control& control) override {
    control.check();
    AnyCursor cursor = std::move(*asked_);
    asked_.reset();
    const Relation rows = all(cursor);
    std::vector<CellDigest> cells;
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      const auto word = [&](std::size_t field) { return rows.fields[field].column.words()[row]; };
      cells.push_back({word(0), {word(1), word(2), word(3)}, ids_ ? Digest{word(4), word(5), word(6)} : Digest{}});
    }
    std::sort(cells.begin(), cells.end(), [](const CellDigest& a, const CellDigest& b) { return a.cell < b.cell; });
    return cells;
  }

  AnyCursor fetch(std::span<const KeyRange> ranges, const Control& control) override {
    clickhouse::Statement s = clickhouse::render(plan_, as_of_, Form::plain, table_, condition(ranges));
    bytes_ += s.sql.size();
    return source_->run(std::move(s), table_, control);
  }

 private:
  /// The rows of the query in no order, and what its columns are called.
  struct Inner {
    std::string sql, matched, event_id;
    std::vector<std::string> fields;
    const std::string& field(std::size_t i) const { return fields[i]; }
  };

  Inner rows(std::span<const KeyRange> ranges) const {
    QueryPlan plan = plan_;
    plan.any_order = true;
    clickhouse::Statement s = clickhouse::render(plan, as_of_, Form::plain, table_, condition(ranges));
    if (const std::size_t at = s.sql.rfind(" SETTINGS "); at != std::string::npos && s.sql.find('`', at) == std::string::npos) s.sql.resize(at);
    Inner inner{.sql = std::move(s.sql), .matched = {}, .event_id = {}, .fields = {}};
    for (const clickhouse::Output& o : s.outputs) {
      if (o.use == clickhouse::Output::Use::field) inner.fields.push_back(o.alias);
      if (o.use == clickhouse::Output::Use::matched) inner.matched = o.alias;
      if (o.use == clickhouse::Output::Use::event_id || o.also_ids) inner.event_id = o.alias;
    }
    return inner;
  }

  Relation all(AnyCursor& cursor) {
    Relation rows, block;
    while (cursor->next(block)) rows.fields.empty() ? void(rows = block) : rows.append(block);
    const Proof proof = cursor->proof();
    bytes_ += proof.bytes, server_ = proof.server;
    return rows;
  }

  std::string not_null(const std::string& key) const { return key_type_.nullable ? "assumeNotNull(" + key + ")" : key; }
  /// Whether a row of the query has a key.
  std::string keyed(const Inner& inner) const {
    const std::string has = key_type_.nullable ? "isNotNull(" + inner.field(0) + ")" : "1";
    return inner.matched.empty() ? has : inner.matched + " AND " + has;
  }
  static std::string aggregate(const std::string& function, const std::string& what, const Inner& inner) {
    if (inner.matched.empty()) return function + "(" + what + ")";
    return function + "If(" + what + (what.empty() ? "" : ", ") + inner.matched + ")";
  }
  static std::string sum(const std::string& what, const std::string& flag) { return flag.empty() ? "sum(" + what + ")" : "sumIf(" + what + ", f)"; }

  /// Empty for all. Bounds that the column can't hold are left out or hold for none: 18.16 does not compare every number with every type.
  std::string condition(std::span<const KeyRange> ranges) const {
    const std::string key = clickhouse::identifier(key_);
    std::string all;
    for (const KeyRange& range : ranges) {
      std::string one;
      const auto add = [&](const std::string& part) { one += (one.empty() ? "" : " AND ") + part; };
      if (range.null) {
        add(key_type_.nullable ? "isNull(" + key + ")" : "0");
      } else {
        if (range.from && *range.from > limits_.least) add(*range.from > limits_.greatest ? "0" : key + " >= " + clickhouse::number_literal(*range.from));
        if (range.below && *range.below <= limits_.greatest) add(*range.below <= limits_.least ? "0" : key + " < " + clickhouse::number_literal(*range.below));
        if (key_type_.nullable) add("isNotNull(" + key + ")");
      }
      all += (all.empty() ? "((" : " OR (") + (one.empty() ? "1" : one) + ")";
    }
    return all.empty() ? all : all + ")";
  }

  /// Modulo 2^64, in which every key of 64 bits is as far from the base as it is.
  std::string cell(const KeyGrid& grid, const std::string& alias) const {
    const std::string key = not_null(alias), base = std::to_string(static_cast<std::uint64_t>(grid.base)), last = std::to_string(grid.cells - 1);
    std::string n = "least(bitShiftRight(toUInt64(toUInt64(" + key + ") - " + base + "), " + std::to_string(grid.shift) + "), " + last + ")";
    if (grid.base > limits_.greatest)
      n = "0";
    else if (grid.base > limits_.least)
      n = "if(" + key + " < " + clickhouse::number_literal(grid.base) + ", 0, " + n + ")";
    if (key_type_.nullable) n = "if(isNull(" + alias + "), " + std::to_string(grid.cells) + ", " + n + ")";
    return "toUInt64(" + n + ")";
  }

  std::string text(const Inner& inner) const {
    std::string cells;
    for (const AgreedCell& agreed : form_.cells) {
      std::size_t i = 0;
      while (shape_.fields[i].name != agreed.name) ++i;
      const NativeType type = table_.type_of(columns_[i]);
      std::string cell = clickhouse::canonical_cell(type.nullable ? "assumeNotNull(" + inner.field(i) + ")" : inner.field(i), type, agreed);
      if (type.nullable) cell = "if(isNull(" + inner.field(i) + "), '" + (agreed.form == CellForm::text ? "N" : "N,") + "', " + cell + ")";
      cells += (cells.empty() ? "" : ", ") + cell;
    }
    return form_.cells.size() == 1 ? cells : "concat(" + cells + ")";
  }

  Source* source_;
  QueryPlan plan_;
  AsOf as_of_;
  std::optional<Digest> ids_;
  clickhouse::TableInfo table_;
  std::string key_;
  NativeType key_type_;
  clickhouse::KeyLimits limits_{0, 0};
  std::vector<std::string> columns_;  ///< the table's columns behind the query's fields
  Relation shape_;
  DigestForm form_;
  std::optional<AnyCursor> asked_;
  Server server_;
  std::uint64_t bytes_ = 0;
};

}  // namespace epochcut
