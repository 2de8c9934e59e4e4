// How does PostgreSQL count and hash the rows of each range of keys, inside one open snapshot?
// Layer: source, with libpq. For `bisect` (diff/bisect.hpp); it lives within a Transaction or a held cut, and no longer. One thread.
// A row's hash is the md5 of its text, as ClickHouse also writes it; between two PostgreSQL servers it is hashtextextended of the same text, which costs less.
// Source: docs/bisection.md; PostgreSQL manual, "Binary String Functions"; hash_bytes_extended (PostgreSQL); measured on PostgreSQL 15.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/held_cut.hpp>
#include <epochcut/diff/digest_form.hpp>
#include <epochcut/source/copy_binary.hpp>
#include <epochcut/source/postgres_snapshot.hpp>
#include <epochcut/source/postgres_sql.hpp>

namespace epochcut {

namespace postgres {

/// Hashing is what costs, which the planner does not know: a row handed over by a worker is cheap beside it. Compiling costs more than it spares, above all
/// for the many conditions of a few rows.
inline constexpr std::string_view digest_settings = "SET LOCAL parallel_tuple_cost = 0.01; SET LOCAL jit = off";
inline constexpr std::string_view digest_settings_undone = "SET LOCAL parallel_tuple_cost TO DEFAULT; SET LOCAL jit TO DEFAULT";
inline constexpr std::uint64_t digest_version_min = 14;  ///< extract(epoch from …) is a numeric
/// Of hashtextextended: digits of pi. A seed other than zero is mixed into the whole state before the first byte, so these two begin in states that have
/// nothing to do with each other.
inline constexpr std::string_view digest_seed_high = "2611923443488327891", digest_seed_low = "1376283091369227076";

/// The digits after the point that a numeric declares; nothing if it holds any number of them.
inline std::optional<int> numeric_scale(std::int32_t modifier) {
  if (modifier < 4) return std::nullopt;
  return std::max(0, (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400);  // since 15 it is signed
}

inline DigestColumn digest_column(const TableColumn& c, std::string name, Role role) {
  using namespace copy_binary;
  DigestColumn column{.name = std::move(name), .role = role, .type = c.logical(), .native_type = c.type_name};
  if (column.type == Type::decimal) {
    const std::optional<int> scale = numeric_scale(c.modifier);
    column.any_scale = !scale;
    column.scale = std::min(scale.value_or(0), decimal_scale_max);
    if (scale.value_or(0) > decimal_scale_max) column.why_refused = "with more than 38 digits after the point";
  }
  if (column.type == Type::text && c.type == oid::bytea) column.scale = text_bytes;
  if (column.type == Type::timestamp_ns) column.scale = seconds_scale_default;
  return column;
}

/// One cell as agreed, NULL for a NULL. `x`: the cell, of the column's read type.
inline std::string canonical_cell(const std::string& x, const TableColumn& c, const AgreedCell& cell) {
  using namespace copy_binary;
  const std::string scale = std::to_string(cell.scale);
  switch (cell.form) {
    case CellForm::number: {
      if (c.type != oid::numeric) {
        const std::string zeros = zeros_after_point(cell.scale);
        return x + "::text || '" + zeros + ",'";
      }
      const std::optional<int> declared = numeric_scale(c.modifier);
      if (cell.scale == scale_shortest) return "trim_scale(" + x + ")::text || ','";
      if (declared && *declared == cell.scale) return x + "::text || ','";
      if (declared) return "round(" + x + ", " + scale + ")::text || ','";
      // Never rounded: what has more digits stays as it is, and is another text than any that the other side can write.
      return "(CASE WHEN scale(trim_scale(" + x + ")) <= " + scale + " THEN round(" + x + ", " + scale + ") ELSE " + x + " END)::text || ','";
    }
    case CellForm::bits:
      return "CASE WHEN " + x + " = 'NaN' THEN 'nan' ELSE ('x' || encode(float8send(" + x + "::float8 + 0), 'hex'))::bit(64)::bigint::text END || ','";
    case CellForm::text: return "octet_length(" + x + ")::text || ':' || " + x;
    case CellForm::hex: return (c.type == oid::bytea ? "encode(" + x + ", 'hex')" : "encode(convert_to(" + x + ", 'UTF8'), 'hex')") + " || ','";
    case CellForm::boolean:
    case CellForm::uuid: return x + "::text || ','";
    case CellForm::days: return "CASE WHEN isfinite(" + x + ") THEN (" + x + " - date '1970-01-01')::text ELSE " + x + "::text END || ','";
    case CellForm::seconds: break;
  }
  return "extract(epoch FROM " + x + ")::text || '" + std::string(static_cast<std::size_t>(cell.scale - seconds_scale_default), '0') + ",'";
}

}  // namespace postgres

/// One relation of an open snapshot, as a side of `bisect`. Holds a reference to the transaction. Each call ends in time for the snapshot's budget.
class PostgresDigest final : public DigestSide {
  /// Does `act` with a deadline no later than the snapshot's own, and says which of the two it was that passed.
  template <class Act>
  auto within(const Control& control, Act act) {
    Control bounded = control;
    const bool ours = until_ && (!control.deadline || *until_ < *control.deadline);
    if (ours) bounded.deadline = until_;
    try {
      bounded.check();
      return act(bounded);
    } catch (Failure& failure) {
      if (ours && failure.kind == Reason::timeout && bounded.clock->now() >= *until_)
        failure.message = name() + ": its snapshot was to be open for " + std::to_string(budget_->count()) +
                          " ms at most and is given up, since the ledger can't clean up behind it; give it more, or compare fewer rows at a time";
      throw;
    }
  }

 public:
  /// `plan`: events() or current() rows, keyed by one integer. `snapshot_budget`: nothing, if who holds the snapshot bounds it.
  /// Errors: `configuration`, `schema`, `not_found`; `timeout` as every other call.
  PostgresDigest(postgres::Transaction& transaction, QueryPlan plan, const std::string& event_id, const Control& control = {},
                 std::optional<Millis> snapshot_budget = snapshot_budget_default)
      : transaction_(&transaction), plan_(std::move(plan)), budget_(snapshot_budget) {
    if (budget_) until_ = control.clock->now() + *budget_;
    within(control, [&](const Control& bounded) {
      plan_.validate();
      plan_.any_order = true;
      if (plan_.grouped() || plan_.history == History::latest)
        throw Failure(Reason::configuration,
                      "query on \"" + plan_.relation + "\": only rows of events() or current() can be bisected; stream groups and latest()");
      table_ = transaction_->describe(std::span(&plan_, 1), bounded).front();
      postgres::Bound bound{.event_id = event_id, .last_event_id = {}};
      if (const Token* token = transaction_->token_of(plan_.relation)) bound.last_event_id = last_event_id(token->stream, token->epoch);
      postgres::Parameters parameters;
      rendered_ = postgres::render(plan_, table_, bound, parameters);
      transaction_->bind(parameters, bounded);
      transaction_->set(std::string(postgres::digest_settings), bounded);
      const std::vector<std::string> keys = plan_.keys(Stream{.id = {}, .event_id = event_id});
      const Type key = table_.column(keys.front()).logical();
      whole_key_ = key == Type::int64;
      if (keys.size() != 1 || (!whole_key_ && key != Type::decimal))
        throw Failure(Reason::schema, "\"" + plan_.relation + "\" is bisected by one key that is a whole number; stream it, or name such a key with key()");
      source_.push_back(keys.front());
      for (const Measure& m : plan_.measures) source_.push_back(m.column);
    });
  }

  std::string_view engine() const override { return "postgres"; }
  Server server() const override { return transaction_->server; }
  std::string name() const override { return "PostgreSQL table \"" + plan_.relation + "\""; }
  std::optional<Digest> expected() const override { return std::nullopt; }  // the token is of this very snapshot
  std::uint64_t bytes() const override { return bytes_; }

  std::vector<DigestColumn> columns() const override {
    std::vector<DigestColumn> columns;
    for (std::size_t i = 0; i < source_.size(); ++i)
      columns.push_back(postgres::digest_column(table_.column(source_[i]), rendered_.columns[i].name, rendered_.columns[i].role));
    return columns;
  }

  void use(const DigestForm& form) override { form_ = form; }

  KeyBounds bounds(const Control& control) override {
    return within(control, [&](const Control& bounded) {
      look(bounded);
      const Relation row = collect("SELECT count(*), min(c0)::numeric, max(c0)::numeric FROM " + rows({}),
                                   {{"count", Role::value, copy_binary::oid::int8, -1, true},
                                    {"least", Role::value, copy_binary::oid::numeric},
                                    {"greatest", Role::value, copy_binary::oid::numeric}},
                                   bounded);
      KeyBounds bounds{.rows = row.fields[0].column.words()[0], .keyed = !row.fields[1].column.is_null(0)};
      if (!bounds.keyed) return bounds;
      const auto whole = [&](std::size_t field, bool up) {  // of a numeric key, which may have a fraction
        const Decimal d = row.fields[field].column[0].as_decimal();
        const Int128 unit = power_of_ten(d.scale), down = d.unscaled / unit - (d.unscaled % unit < 0);
        return down + (up && d.unscaled % unit != 0);
      };
      bounds.least = whole(1, false), bounds.greatest = whole(2, true);
      return bounds;
    });
  }

  void ask(const KeyGrid& grid, std::span<const KeyRange> ranges, const Control& control) override {
    within(control, [&](const Control& bounded) {
      look(bounded);
      const auto seeded = [](std::string_view seed) { return "sum(hashtextextended(t, " + std::string(seed) + "))"; };
      // A column of two collations has none, and a hash of a text needs one: "C", by bytes.
      const std::string sums = form_.same_engine ? seeded(postgres::digest_seed_low) + ", " + seeded(postgres::digest_seed_high)
                                                 : "sum((b << 64)::bit(64)::bigint), sum(b::bit(64)::bigint)",
                        made = form_.same_engine ? "(" + text() + ") COLLATE \"C\" AS t" : "('x' || md5(" + text() + "))::bit(128) AS b";
      // OFFSET 0 keeps the planner from writing each row down once for every use of it; parallel workers it does not keep away.
      begin("SELECT n, count(*), " + sums + " FROM (SELECT " + cell(grid) + " AS n, " + made + " FROM " + rows(ranges) + " OFFSET 0) AS h GROUP BY n",
            {{"n", Role::value, copy_binary::oid::int8},
             {"count", Role::value, copy_binary::oid::int8, -1, true},
             {"low", Role::value, copy_binary::oid::numeric},
             {"high", Role::value, copy_binary::oid::numeric}},
            bounded);
    });
  }

  std::vector<CellDigest> answer(const Control& control) override {
    return within(control, [&](const Control& bounded) {
      const Relation all = finish(bounded);
      transaction_->require_locked(bounded);  // whoever holds the transaction may never commit it
      std::vector<CellDigest> cells;
      for (std::size_t row = 0; row < all.rows(); ++row) {
        const auto sum = [&](std::size_t field) { return static_cast<std::uint64_t>(all.fields[field].column[row].as_decimal().unscaled); };  // modulo 2^64
        cells.push_back({all.fields[0].column.words()[row], {all.fields[1].column.words()[row], sum(2), sum(3)}, {}});
      }
      std::sort(cells.begin(), cells.end(), [](const CellDigest& a, const CellDigest& b) { return a.cell < b.cell; });
      return cells;
    });
  }

  AnyCursor fetch(std::span<const KeyRange> ranges, const Control& control) override {
    return within(control, [&](const Control& bounded) {
      begin("SELECT * FROM " + rows(ranges) + " ORDER BY c0", rendered_.columns, bounded);
      return AnyCursor(new Rows(*this, std::move(*copy_), std::move(proof_), control));
    });
  }

 private:
  static constexpr std::size_t block_rows = 16'384;  ///< of a cursor's blocks

  /// Streams a COPY within the transaction. Must end, or the transaction ends with it.
  class Rows final : public Cursor {
   public:
    Rows(PostgresDigest& side, CopyBinaryDecoder decoder, Proof proof, const Control& control)
        : side_(&side), decoder_(std::move(decoder)), proof_(std::move(proof)), control_(control) {}
    bool next(Relation& block) override {
      return side_->within(control_, [&](const Control& bounded) {
        const bool first = std::exchange(first_, false);
        while (!ended_ && decoder_.block_rows() < block_rows) {
          if (side_->more(decoder_, bounded)) continue;
          side_->transaction_->end_copy(decoder_, proof_, bounded);
          side_->transaction_->require_locked(bounded);
          ended_ = true;
        }
        block = decoder_.take();
        return first || block.rows() != 0;
      });
    }
    Proof proof() const override { return proof_; }

   private:
    PostgresDigest* side_;
    CopyBinaryDecoder decoder_;
    Proof proof_;
    Control control_;
    bool first_ = true, ended_ = false;
  };

  /// The rows of the query as q(c0, c1 …), the key first, of any of `ranges`.
  std::string rows(std::span<const KeyRange> ranges) const {
    std::string names, where;
    for (std::size_t i = 0; i < source_.size(); ++i) names += (i == 0 ? "c" : ", c") + std::to_string(i);
    for (const KeyRange& range : ranges) where += (where.empty() ? " WHERE " : " OR ") + condition(range);
    return "(" + rendered_.select + ") AS q(" + names + ")" + where;
  }

  /// Bounds that a bigint does not hold are left out or hold for none, so that its index can serve.
  std::string condition(const KeyRange& range) const {
    if (range.null) return "c0 IS NULL";
    std::string text = "(c0 IS NOT NULL";
    const auto bound = [&](const char* comparison, Int128 value, bool from) {
      if (whole_key_ && value > INT64_MAX) return from ? std::string(" AND false") : std::string();
      if (whole_key_ && value < INT64_MIN) return from ? std::string() : std::string(" AND false");
      return comparison + to_string(Decimal{value, 0}) + (whole_key_ ? "'::bigint" : "'::numeric");
    };
    if (range.from) text += bound(" AND c0 >= '", *range.from, true);
    if (range.below) text += bound(" AND c0 < '", *range.below, false);
    return text + ")";
  }

  std::string cell(const KeyGrid& grid) const {
    const std::string last = std::to_string(grid.cells - 1), base = "'" + to_string(Decimal{grid.base, 0}) + "'";
    const bool narrow = whole_key_ && grid.base >= INT64_MIN && grid.base <= INT64_MAX;
    // Below the base, which a key of this snapshot never is, a bigint's difference could overflow.
    const std::string number = narrow ? "((c0::bigint - " + base + "::bigint) >> " + std::to_string(grid.shift) + ")"
                                      : "div(floor(c0::numeric) - " + base + "::numeric, " + to_string(Decimal{Int128{1} << grid.shift, 0}) + ")";
    // Whatever the catalog says: a domain that is NOT NULL can hold one, and an inheritor's column may.
    return "CASE WHEN c0 IS NULL THEN " + std::to_string(grid.cells) + " ELSE least(greatest(" + number + ", 0), " + last + ")::bigint END";
  }

  /// Never NULL, whatever the catalog says of a column: a sum would leave such a row out.
  std::string text() const {
    std::string all;
    for (const AgreedCell& agreed : form_.cells) {
      const std::size_t i = index_of(agreed.name);
      const std::string written = postgres::canonical_cell("c" + std::to_string(i), table_.column(source_[i]), agreed);
      all += (all.empty() ? "coalesce(" : " || coalesce(") + written + ", '" + (agreed.form == CellForm::text ? "N" : "N,") + "')";
    }
    return all;
  }

  std::size_t index_of(const std::string& name) const {
    std::size_t i = 0;
    while (rendered_.columns[i].name != name) ++i;
    return i;
  }

  /// Once, before anything is hashed: at the server, and for NULLs among the event ids. Errors: `schema`.
  void look(const Control& control) {
    if (std::exchange(looked_, true)) return;
    const Relation row = collect("SELECT current_setting('server_encoding')", {{"encoding", Role::value, copy_binary::oid::text}}, control);
    rendered_.null_ids.clear();  // the snapshot does not change
    require_server(row.fields[0].column.text(0));
  }

  void require_server(std::string_view encoding) const {
    std::uint64_t version = 0;
    for (const char c : transaction_->server.version) {
      if (c < '0' || c > '9') break;
      version = version * 10 + static_cast<std::uint64_t>(c - '0');
    }
    if (version < postgres::digest_version_min)
      throw Failure(Reason::schema,
                    "PostgreSQL " + transaction_->server.version + " does not hash rows as later servers do; stream, or bisect on PostgreSQL 14 or newer");
    if (encoding != "UTF8" && encoding != "SQL_ASCII")
      throw Failure(Reason::schema, "the database holds its texts as " + std::string(encoding) + ", so hashes of them compare with none of UTF8; stream");
  }

  /// Sends the statement and does not wait: the server works while the other side is asked.
  void begin(const std::string& sql, std::vector<CopyColumn> columns, const Control& control) {
    proof_ = transaction_->prove({.select = {}, .columns = {}, .null_ids = rendered_.null_ids}, plan_.relation, control);
    transaction_->send_copy(sql, control);
    bytes_ += sql.size();
    copy_.emplace(std::move(columns));
    sent_ = true;
  }

  bool more(CopyBinaryDecoder& decoder, const Control& control) {
    if (std::exchange(sent_, false)) transaction_->await_copy(control);
    return transaction_->copy(decoder, control);
  }

  Relation finish(const Control& control) {
    while (more(*copy_, control)) {
    }
    transaction_->end_copy(*copy_, proof_, control);
    bytes_ += proof_.bytes;
    return copy_->take();
  }

  Relation collect(const std::string& sql, std::vector<CopyColumn> columns, const Control& control) {
    begin(sql, std::move(columns), control);
    return finish(control);
  }

  postgres::Transaction* transaction_;
  QueryPlan plan_;
  std::optional<Millis> budget_, until_;
  postgres::Table table_;
  postgres::Rendered rendered_;
  std::vector<std::string> source_;  ///< the table's columns behind c0, c1 …
  bool whole_key_ = true, looked_ = false;
  DigestForm form_;
  std::optional<CopyBinaryDecoder> copy_;
  Proof proof_;
  std::uint64_t bytes_ = 0;
  bool sent_ = false;  ///< and not yet seen to have begun
};

}  // namespace epochcut
