// What does a PostgreSQL ledger show, together with its token, in one snapshot?
// Layer: source, leaf: needs libpq. Not thread-safe: one thread per Postgres object. It only reads, and tells the server so.
// Source: RFC live-checks, "The shared mechanism"; docs/adapters.md "PostgreSQL"; behaviour of libpq as measured on PostgreSQL 15.
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

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/copy_binary.hpp>
#include <epochcut/source/postgres_held.hpp>
#include <epochcut/source/postgres_readers.hpp>
#include <epochcut/source/postgres_snapshot.hpp>

namespace epochcut {

/// A PostgreSQL server as anchor (`snapshot`) and as follower (`open`). Connects at first use; after an error the next call connects again.
class Postgres {
 public:
  static constexpr std::size_t block_rows = postgres::reader_block_rows;  ///< of a cursor's blocks

  /// Errors: `configuration`, one sentence; nothing is sent yet.
  explicit Postgres(std::string dsn, TokenTable token = {}, PostgresOptions options = {}) : dsn_(std::move(dsn)), token_(std::move(token)), options_(options) {
    if (token_.stream.empty()) return;
    if (token_.sequence.empty() && !token_.unique_ns)
      throw Failure(Reason::configuration,
                    "token table \"" + token_.table + "\" of stream " + token_.stream +
                        " has no sequence column, and nanoseconds tie: events that share one would be cut apart; name a sequence column, or set unique_ns "
                        "if the writer guarantees that no two events share a nanosecond");
    if (token_.unique_ns) token_.leg_bits = 0, token_.sequence = token_.execution_ns;
  }

  /// Token and all reads of ONE snapshot; its tables are locked in ACCESS SHARE mode before that snapshot is taken, since TRUNCATE and ALTER TYPE
  /// by another session show inside an open one (measured). Errors: `missing_token`, `not_found`, `lock_timeout`, `wrong_isolation`, and any of a read.
  Snapshot snapshot(std::span<const QueryPlan> plans, const Control& control) {
    for (const QueryPlan& plan : plans) plan.validate();
    Transaction transaction(session(), plans, has_token() ? &token_ : nullptr, control);
    const std::vector<postgres::Table> tables = transaction.describe(plans, control);
    Snapshot result;
    result.token = transaction.token, result.further = transaction.further;
    result.timeline = transaction.timeline, result.server = transaction.server;
    postgres::Parameters parameters;
    std::vector<postgres::Bound> bounds;
    std::vector<postgres::Rendered> queries;
    for (std::size_t i = 0; i < plans.size(); ++i) {
      postgres::Bound& bound = bounds.emplace_back(postgres::Bound{.event_id = token_.event_id, .last_event_id = {}});
      if (const Token* token = transaction.token_of(plans[i].relation)) bound.last_event_id = last_event_id(token->stream, token->epoch);
      transaction.look_at_ids(plans[i], tables[i], bound, control);
      queries.push_back(postgres::render(plans[i], tables[i], bound, parameters));
    }
    std::uint64_t rows = 0, bytes = 0;
    if (options_.readers < 2) transaction.bind(parameters, control);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      if (options_.readers > 1) {
        AnyCursor cursor = this->rows(transaction, plans[i], tables[i], bounds[i], control);
        Relation all, block;
        for (bool first = true; cursor->next(block); first = false) {
          if (first)
            std::swap(all, block);
          else
            all.append(block);
          control.check_size(rows + all.rows(), bytes + all.bytes());
        }
        result.relations.push_back(std::move(all));
        result.proofs.push_back(cursor->proof());
        rows += result.relations.back().rows(), bytes += result.relations.back().bytes();
        continue;
      }
      CopyBinaryDecoder decoder(queries[i].columns);
      Proof proof = transaction.begin_copy(queries[i], plans[i].relation, control);
      while (transaction.copy(decoder, control)) {
        if (decoder.rows() % block_rows == 0) control.check_size(rows + decoder.rows(), bytes + decoder.block().bytes());
      }
      transaction.end_copy(decoder, proof, control);
      result.relations.push_back(decoder.take());
      result.proofs.push_back(std::move(proof));
      rows += result.relations.back().rows(), bytes += result.relations.back().bytes();
      control.check_size(rows, bytes);
    }
    transaction.commit(control);
    return result;
  }

  /// The same snapshot, kept open: its rows are cursors. Errors: as `snapshot`.
  AnyHeld hold(std::span<const QueryPlan> plans, const Control& control) {
    for (const QueryPlan& plan : plans) plan.validate();
    Session first = session();
    std::vector<Session> further;
    while (static_cast<int>(further.size()) + 1 < options_.readers) further.push_back(session());
    return AnyHeld(new postgres::Held(std::move(first), std::move(further), std::vector<QueryPlan>(plans.begin(), plans.end()), has_token() ? &token_ : nullptr,
                                      token_.event_id, control));
  }

  /// Reads as a follower, block by block, in a snapshot of its own that lasts until the cursor ends. With a token of its own it proves by it
  /// (Proof::snapshot); the caller judges. Errors: `wrong_stream`, `not_as_of` for current() at another epoch, and as `snapshot`.
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    plan.validate();
    const bool followed = has_token() && !as_of.at_rest;
    if (followed && token_.stream != as_of.stream.id)
      throw Failure(Reason::wrong_stream, "this PostgreSQL holds stream \"" + token_.stream + "\", but the epoch counts stream \"" + as_of.stream.id +
                                              "\"; epochs of two streams never compare, point the check at the right store");
    auto transaction = std::make_unique<Transaction>(session(), std::span(&plan, 1), followed ? &token_ : nullptr, control);
    if (plan.history == History::current && !as_of.at_rest && (!transaction->token || transaction->token->epoch != as_of.epoch))
      throw Failure(Reason::not_as_of,
                    "current(\"" + plan.relation + "\") stands at " +
                        (transaction->token ? "sequence " + std::to_string(transaction->token->epoch.sequence) : std::string("no known sequence")) +
                        " and is wanted as of sequence " + std::to_string(as_of.epoch.sequence) + "; read events() or latest(), or at_rest(source)")
          .retry()
          .at(transaction->server.name);
    const std::vector<postgres::Table> tables = transaction->describe(std::span(&plan, 1), control);
    postgres::Bound bound{.event_id = as_of.stream.id.empty() ? token_.event_id : as_of.stream.event_id, .last_event_id = {}, .form = form};
    if (!as_of.at_rest) bound.last_event_id = as_of.last_event_id;
    transaction->look_at_ids(plan, tables[0], bound, control);
    AnyCursor cursor = rows(*transaction, plan, tables[0], bound, control);
    return AnyCursor(new LastCursor(std::move(transaction), std::move(cursor), control));
  }

  /// Cost: counts the relation's rows: an index on the event id makes it cheap.
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    const std::string id = postgres::identifier(as_of.stream.id.empty() ? token_.event_id : as_of.stream.event_id);
    const std::string last = std::to_string(as_of.last_event_id) + (as_of.last_event_id > std::uint64_t{INT64_MAX} ? "::numeric" : "::bigint");
    const std::string wanted = as_of.at_rest ? std::string("count(*)") : "count(*) FILTER (WHERE " + id + " >= 0 AND " + id + " <= " + last + ")";
    const postgres::Result row = session()->read(
        "SELECT " + std::string(postgres::server_columns) + ", " + wanted + ", coalesce(max(" + id + "), 0) FROM " + postgres::quoted_relation(relation), {},
        control);
    return {postgres::number<std::uint64_t>(row, 0, postgres::server_columns_count, "a count"),
            postgres::number<std::uint64_t>(row, 0, postgres::server_columns_count + 1, "an event id"), postgres::server_of(row)};
  }

  /// Errors: `not_found` for a relation that the role's search_path does not show.
  FollowerInfo about(const std::string& relation, const Control& control) {
    const Session connection = session();
    const std::string parameters[] = {postgres::quoted_relation(relation)};
    const postgres::Result row = connection->read(
        "SELECT " + std::string(postgres::server_columns) +
            ", current_database(), n.nspname, c.relname, pg_is_in_recovery() FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass($1)",
        parameters, control);
    if (PQntuples(row.get()) == 0)
      throw Failure(Reason::not_found,
                    "PostgreSQL at " + connection->where() + " shows no table \"" + relation + "\"; create it, or correct its name and the role's search_path")
          .code("42P01")
          .at(connection->where());
    const auto text = [&](int i) { return std::string(postgres::cell(row, 0, postgres::server_columns_count + i)); };
    // A standby holds the same database once more: comparing it with its primary compares two copies.
    return {"postgres " + (text(3) == "t" ? postgres::server_of(row).name.substr(9) : std::string(postgres::cell(row, 0, 0))) + "/" + text(0) + "/" + text(1) +
                "." + text(2),
            token_.stream, has_token() ? token_.authority : std::string()};
  }

  /// A fresh look at what the writer knows to be acknowledged; nothing if the ledger does not keep it. Errors: as a read.
  std::optional<Acknowledged> acknowledged(const Token& token, const std::string& authority, const std::string& relation, const Control& control) {
    if (!has_token() || token_.digests.empty()) return std::nullopt;
    const Session connection = session();
    const std::string parameters[] = {token.stream.id, authority, relation};
    const postgres::Result row = connection->read("SELECT acked_sequence, acked_by FROM " + postgres::quoted_relation(token_.digests) +
                                                      " WHERE stream = $1 AND authority = $2 AND relation = $3 AND acked_by <> ''",
                                                  parameters, control);
    if (PQntuples(row.get()) == 0) return std::nullopt;
    return Acknowledged{postgres::number<std::uint64_t>(row, 0, 0, "acked_sequence"), std::string(postgres::cell(row, 0, 1))};
  }

 private:
  using Session = postgres::Session;
  using Transaction = postgres::Transaction;

  /// Streams the last reading of a transaction, which ends with it or with the cursor.
  class LastCursor final : public Cursor {
   public:
    LastCursor(std::unique_ptr<Transaction> transaction, AnyCursor rows, const Control& control)
        : transaction_(std::move(transaction)), rows_(std::move(rows)), control_(control) {}

    bool next(Relation& block) override {
      if (rows_->next(block)) return true;
      if (transaction_) transaction_->commit(control_);
      transaction_.reset();
      return false;
    }
    Proof proof() const override { return rows_->proof(); }

   private:
    std::unique_ptr<Transaction> transaction_;
    AnyCursor rows_;
    Control control_;
  };

  /// The rows of one plan in an open transaction: read by one session, or by several where there may be and where it pays.
  AnyCursor rows(Transaction& transaction, const QueryPlan& plan, const postgres::Table& table, const postgres::Bound& bound, const Control& control) {
    std::vector<QueryPlan> ranges = postgres::split(transaction, plan, table, bound.event_id, options_.readers, control);
    if (ranges.size() > 1) {
      std::vector<Session> further;
      while (further.size() + 1 < std::min(ranges.size(), static_cast<std::size_t>(options_.readers))) further.push_back(session());
      return AnyCursor(new postgres::ParallelCopy(transaction, std::move(further), std::move(ranges), table, bound, control));
    }
    postgres::Parameters parameters;
    const postgres::Rendered query = postgres::render(plan, table, bound, parameters);
    transaction.bind(parameters, control);
    Proof proof = transaction.begin_copy(query, plan.relation, control);
    return AnyCursor(new postgres::CopyCursor(transaction, query.columns, std::move(proof), control));
  }

  bool has_token() const { return !token_.stream.empty(); }

  /// A session that no cursor is using.
  Session session() {
    for (const Session& session : sessions_)
      if (session.use_count() == 1) return session;
    return sessions_.emplace_back(std::make_shared<postgres::Connection>(dsn_, options_));
  }

  std::string dsn_;
  TokenTable token_;
  PostgresOptions options_;
  std::vector<Session> sessions_;
};

static_assert(Anchor<Postgres> && Readable<Postgres> && Holder<Postgres>);

}  // namespace epochcut
