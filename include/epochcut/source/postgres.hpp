// What does a PostgreSQL ledger show, together with its token, in one snapshot?
// Layer: source, leaf: needs libpq. Not thread-safe: one thread per Postgres object. It only reads, and tells the server so.
// Source: RFC live-checks, "The shared mechanism"; docs/adapters.md "PostgreSQL"; behaviour of libpq as measured on PostgreSQL 15.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/token.hpp>
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/copy_binary.hpp>
#include <epochcut/source/postgres_connection.hpp>
#include <epochcut/source/postgres_sql.hpp>

namespace epochcut {

/// Where the ledger's writer commits its token, and how its stream numbers events. Shape: table(stream text, authority text, generation bigint,
/// sequence bigint, latest_execution_ns bigint), digests(stream, authority, relation text, row_count, sum_low, sum_high numeric(20, 0),
/// acked_sequence bigint, acked_by text). Table names may be `schema.table`.
struct TokenTable {
  std::string table = "resume_tokens";
  std::string digests = "resume_token_digests";  ///< empty: the token carries none, and only the weaker witnesses can prove a follower complete
  std::string stream{};                          ///< empty: an anchor without a token
  std::string authority = "production";
  std::string sequence = "sequence";  ///< empty: there is none, and `unique_ns` must be declared
  std::string execution_ns = "latest_execution_ns";
  bool unique_ns = false;  ///< no two events share a nanosecond and it rises: then it is the sequence, and the event id, with no leg bits
  std::string event_id = "event_id";
  int leg_bits = 8;
  bool acknowledged = false;
  std::string generation = "generation";  ///< empty: the table has none
};

/// A PostgreSQL server as anchor (`snapshot`) and as follower (`open`). Connects at first use; after an error the next call connects again.
class Postgres {
 public:
  static constexpr std::size_t block_rows = 16'384;  ///< of a cursor's blocks

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
    Snapshot result{.token = transaction.token, .relations = {}, .proofs = {}, .server = transaction.server};
    postgres::Bound bound{.event_id = token_.event_id, .last_event_id = {}};
    if (result.token) bound.last_event_id = last_event_id(result.token->stream, result.token->epoch);
    postgres::Parameters parameters;
    std::vector<postgres::Rendered> queries;
    for (std::size_t i = 0; i < plans.size(); ++i) queries.push_back(postgres::render(plans[i], tables[i], bound, parameters));
    transaction.bind(parameters, control);
    std::uint64_t rows = 0, bytes = 0;
    for (const postgres::Rendered& query : queries) {
      CopyBinaryDecoder decoder(query.columns);
      Proof proof = transaction.begin_copy(query, control);
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
    postgres::Parameters parameters;
    const postgres::Rendered query = postgres::render(plan, tables[0], bound, parameters);
    transaction->bind(parameters, control);
    Proof proof = transaction->begin_copy(query, control);
    return AnyCursor(new CopyCursor(std::move(transaction), query.columns, std::move(proof), control));
  }

  /// Cost: counts the relation's rows: an index on the event id makes it cheap.
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    const std::string id = postgres::identifier(as_of.stream.id.empty() ? token_.event_id : as_of.stream.event_id);
    const std::string last = std::to_string(as_of.last_event_id) + (as_of.last_event_id > std::uint64_t{INT64_MAX} ? "::numeric" : "::bigint");
    const std::string wanted = as_of.at_rest ? std::string("count(*)") : "count(*) FILTER (WHERE " + id + " >= 0 AND " + id + " <= " + last + ")";
    const postgres::Result row = session()->read(
        "SELECT " + std::string(server_columns) + ", " + wanted + ", coalesce(max(" + id + "), 0) FROM " + postgres::quoted_relation(relation), {}, control);
    return {number<std::uint64_t>(row, 0, server_columns_count, "a count"), number<std::uint64_t>(row, 0, server_columns_count + 1, "an event id"),
            server_of(row)};
  }

  /// Errors: `not_found` for a relation that the role's search_path does not show.
  FollowerInfo about(const std::string& relation, const Control& control) {
    const Session connection = session();
    const std::string parameters[] = {postgres::quoted_relation(relation)};
    const postgres::Result row = connection->read(
        "SELECT " + std::string(server_columns) +
            ", current_database(), n.nspname, c.relname, pg_is_in_recovery() FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass($1)",
        parameters, control);
    if (PQntuples(row.get()) == 0)
      throw Failure(Reason::not_found,
                    "PostgreSQL at " + connection->where() + " shows no table \"" + relation + "\"; create it, or correct its name and the role's search_path")
          .code("42P01")
          .at(connection->where());
    const auto text = [&](int i) { return std::string(postgres::cell(row, 0, server_columns_count + i)); };
    // A standby holds the same database once more: comparing it with its primary compares two copies.
    return {
        "postgres " + (text(3) == "t" ? server_of(row).name.substr(9) : std::string(postgres::cell(row, 0, 0))) + "/" + text(0) + "/" + text(1) + "." + text(2),
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
    return Acknowledged{number<std::uint64_t>(row, 0, 0, "acked_sequence"), std::string(postgres::cell(row, 0, 1))};
  }

 private:
  using Session = std::shared_ptr<postgres::Connection>;

  /// Who answered. A standby has its primary's system identifier, so the address is part of the name.
  static constexpr std::string_view server_columns =
      "(SELECT system_identifier FROM pg_catalog.pg_control_system()), coalesce(host(inet_server_addr()), 'socket'), current_setting('port'), current_setting('server_version')";
  static constexpr int server_columns_count = 4;

  static Server server_of(const postgres::Result& row) {
    const auto text = [&](int i) { return std::string(postgres::cell(row, 0, i)); };
    return {"postgres " + text(0) + "@" + text(1) + ":" + text(2), text(3)};
  }

  /// Errors: `schema` when the ledger's own bookkeeping is not a whole number that fits.
  template <class T>
  static T number(const postgres::Result& result, int row, int column, const std::string& what) {
    const std::string_view text = postgres::cell(result, row, column);
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      throw Failure(Reason::schema,
                    what + " is \"" + std::string(text) + "\", but must be a whole number that is not NULL and fits 64 bits; correct the writer");
    return value;
  }

  /// One snapshot from BEGIN to COMMIT. Left before that, it gives its session up.
  class Transaction {
   public:
    Transaction(Session session, std::span<const QueryPlan> plans, const TokenTable* token_table, const Control& control) : session_(std::move(session)) {
      try {
        session_->begin("ISOLATION LEVEL REPEATABLE READ ", locks(plans, token_table), control);
        look(token_table, control);
      } catch (...) {
        session_->close();
        throw;
      }
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction() {
      if (!committed_) session_->close();
    }

    std::optional<Token> token;
    Server server;

    /// The catalog's view of each plan's relation, read after the lock: it can't change any more.
    std::vector<postgres::Table> describe(std::span<const QueryPlan> plans, const Control& control) {
      std::vector<postgres::Table> tables;
      if (plans.empty()) return tables;
      std::string wanted;
      std::vector<std::string> parameters;
      for (const QueryPlan& plan : plans) {
        tables.push_back({plan.relation});
        parameters.push_back(postgres::quoted_relation(plan.relation));
        wanted += (wanted.empty() ? "(" : ", (") + std::to_string(tables.size()) + ", to_regclass($" + std::to_string(tables.size()) + ")::oid)";
      }
      const postgres::Result rows = session_->query(
          "WITH RECURSIVE wanted(n, relation) AS (VALUES " + wanted +
              "), attribute AS ("
              "SELECT n, relation, attnum, attname, attnotnull, atttypid AS type, atttypmod AS modifier, attcollation "
              "FROM wanted JOIN pg_catalog.pg_attribute ON attrelid = relation WHERE attnum > 0 AND NOT attisdropped "
              "UNION ALL SELECT n, relation, attnum, attname, attnotnull OR typnotnull, typbasetype, typtypmod, attcollation "
              "FROM attribute JOIN pg_catalog.pg_type t ON t.oid = type WHERE typtype = 'd') "
              "SELECT n, attname, t.oid, modifier, attnotnull, coalesce(collisdeterministic, true), typtype = 'e' OR typcategory = 'S' AND t.oid >= 16384, "
              "format_type(t.oid, NULL), row_security_active(relation) FROM attribute JOIN pg_catalog.pg_type t ON t.oid = type AND typtype <> 'd' "
              "LEFT JOIN pg_catalog.pg_collation l ON l.oid = attcollation ORDER BY n, attnum",
          parameters, control);
      for (int row = 0; row < PQntuples(rows.get()); ++row) {
        const auto text = [&](int i) { return postgres::cell(rows, row, i); };
        postgres::Table& table = tables[number<std::size_t>(rows, row, 0, "a number") - 1];
        table.columns.push_back({std::string(text(1)), number<std::uint32_t>(rows, row, 2, "an OID"), number<std::int32_t>(rows, row, 3, "a modifier"),
                                 text(4) == "t", text(5) == "t", text(6) == "t", std::string(text(7))});
        table.row_security |= text(8) == "t";
      }
      for (const postgres::Table& table : tables)
        if (table.row_security)
          throw Failure(Reason::authentication, "row-level security would hide rows of \"" + table.name + "\" at " + session_->where() +
                                                    " from the checking role, and hidden rows look like missing ones; give the role BYPASSRLS")
              .code("42501")
              .at(session_->where());
      return tables;
    }

    void bind(const postgres::Parameters& parameters, const Control& control) {
      if (!parameters.values().empty()) session_->query(parameters.statement(), parameters.values(), control);
    }

    Proof begin_copy(const postgres::Rendered& query, const Control& control) {
      Proof proof;
      proof.server = server;
      if (token) proof.snapshot = token->epoch;
      if (!query.null_ids.empty() && PQntuples(session_->query(query.null_ids, {}, control).get()) != 0)
        throw Failure(Reason::schema, "an event id must be a 64-bit integer that is not NULL; declare the column NOT NULL")
            .statement(query.null_ids)
            .at(session_->where());
      if (!query.conflicts.empty()) {
        const postgres::Result row = session_->query(query.conflicts, {}, control);
        proof.conflicts = number<std::uint64_t>(row, 0, 0, "a count");
        if (proof.conflicts != 0) proof.conflicting_ids = std::string(postgres::cell(row, 0, 1));
      }
      session_->copy("COPY (" + query.select + ") TO STDOUT (FORMAT binary)", control);
      return proof;
    }

    bool copy(CopyBinaryDecoder& decoder, const Control& control) {
      return session_->copy_next(control, [&](std::string_view bytes) { decoder.feed(bytes); });
    }

    /// Errors: `incomplete` unless the server counted exactly what was decoded.
    void end_copy(const CopyBinaryDecoder& decoder, Proof& proof, const Control& control) {
      const std::uint64_t counted = session_->copy_tag(control);
      decoder.finish();
      if (counted != decoder.rows())
        throw Failure(Reason::incomplete, "PostgreSQL counted " + std::to_string(counted) + " rows and sent " + std::to_string(decoder.rows()) + "; read again")
            .poison()
            .at(session_->where());
      proof.rows = decoder.rows(), proof.bytes = decoder.bytes();
    }

    void commit(const Control& control) {
      session_->commit(control);
      committed_ = true;
    }

   private:
    static std::string locks(std::span<const QueryPlan> plans, const TokenTable* token_table) {
      std::vector<std::string> names;
      for (const QueryPlan& plan : plans) names.push_back(postgres::quoted_relation(plan.relation));
      if (token_table != nullptr) {
        names.push_back(postgres::quoted_relation(token_table->table));
        if (!token_table->digests.empty()) names.push_back(postgres::quoted_relation(token_table->digests));
      }
      std::sort(names.begin(), names.end());
      names.erase(std::unique(names.begin(), names.end()), names.end());
      return names.empty() ? "" : "LOCK TABLE " + postgres::rendering::joined(names, "", ", ") + " IN ACCESS SHARE MODE";
    }

    /// The first query takes the snapshot: isolation, server and token come from it. Errors: `wrong_isolation`, `missing_token`, `schema`.
    void look(const TokenTable* t, const Control& control) {
      std::string sql = "SELECT " + std::string(server_columns) + ", current_setting('transaction_isolation'), current_setting('transaction_read_only')";
      std::vector<std::string> parameters;
      const bool digests = t != nullptr && !t->digests.empty();
      if (t != nullptr) {
        using postgres::identifier;
        sql += ", t.stream IS NOT NULL, t." + identifier(t->sequence) + ", t." + identifier(t->execution_ns) + ", " +
               (t->generation.empty() ? "0" : "t." + identifier(t->generation)) + (digests ? ", d.relation, d.row_count, d.sum_low, d.sum_high" : "") +
               " FROM (SELECT 1) AS one LEFT JOIN " + postgres::quoted_relation(t->table) + " AS t ON t.stream = $1 AND t.authority = $2";
        if (digests)
          sql += " LEFT JOIN " + postgres::quoted_relation(t->digests) + " AS d ON d.stream = t.stream AND d.authority = t.authority ORDER BY d.relation";
        parameters = {t->stream, t->authority};
      }
      const postgres::Result rows = session_->query(sql, parameters, control);
      server = server_of(rows);
      const std::string_view isolation = postgres::cell(rows, 0, server_columns_count), read_only = postgres::cell(rows, 0, server_columns_count + 1);
      if (isolation != "repeatable read" || read_only != "on")
        throw Failure(Reason::wrong_isolation,
                      "PostgreSQL at " + session_->where() + " runs the reading as " + std::string(isolation) + (read_only == "on" ? "" : ", writable") +
                          " instead of repeatable read, read only, so token and state could be of two moments; take out the proxy that rewrites it")
            .at(session_->where());
      if (t != nullptr) read_token(*t, digests, rows);
    }

    void read_token(const TokenTable& t, bool digests, const postgres::Result& rows) {
      constexpr int first = server_columns_count + 2;
      const std::string whose = "stream \"" + t.stream + "\", authority \"" + t.authority + "\"";
      if (postgres::cell(rows, 0, first) != "t")
        throw Failure(Reason::missing_token, "table \"" + t.table + "\" at " + session_->where() + " has no token for " + whose +
                                                 "; have the ledger's writer commit one with its state, or correct the names")
            .at(session_->where());
      Token& read = token.emplace();
      read.stream = {t.stream, t.event_id, t.leg_bits, t.acknowledged};
      read.authority = t.authority;
      read.epoch = {number<std::uint64_t>(rows, 0, first + 1, t.table + "." + t.sequence),
                    number<std::int64_t>(rows, 0, first + 2, t.table + "." + t.execution_ns)};
      read.generation = number<std::uint64_t>(rows, 0, first + 3, t.table + "." + t.generation);
      for (int row = 0; row < PQntuples(rows.get()); ++row) {
        const bool declares = digests && !PQgetisnull(rows.get(), row, first + 4);
        const std::string relation = declares ? std::string(postgres::cell(rows, row, first + 4)) : std::string();
        if (row > 0 && (!declares || relation == read.relations.back().relation))
          throw Failure(Reason::schema,
                        "there are two tokens for " + whose + " in \"" + t.table + "\" or \"" + t.digests + "\"; give both tables their primary keys")
              .at(session_->where());
        if (!declares) continue;
        const auto half = [&](int i, const char* name) { return number<std::uint64_t>(rows, row, first + 4 + i, t.digests + "." + name); };
        read.relations.push_back({relation, {half(1, "row_count"), half(2, "sum_low"), half(3, "sum_high")}});
      }
    }

    Session session_;
    bool committed_ = false;
  };

  /// Streams a COPY; its transaction ends with its last row, or with the cursor.
  class CopyCursor final : public Cursor {
   public:
    CopyCursor(std::unique_ptr<Transaction> transaction, std::vector<CopyColumn> columns, Proof proof, const Control& control)
        : transaction_(std::move(transaction)), decoder_(std::move(columns)), proof_(std::move(proof)), control_(control) {}

    bool next(Relation& block) override {
      const bool first = std::exchange(first_, false);
      while (transaction_ && decoder_.block().rows() < block_rows) {
        if (transaction_->copy(decoder_, control_)) continue;
        transaction_->end_copy(decoder_, proof_, control_);
        transaction_->commit(control_);
        transaction_.reset();
      }
      block = decoder_.take();
      return first || block.rows() != 0;
    }
    Proof proof() const override { return proof_; }

   private:
    std::unique_ptr<Transaction> transaction_;
    CopyBinaryDecoder decoder_;
    Proof proof_;
    Control control_;
    bool first_ = true;
  };

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

static_assert(Anchor<Postgres> && Readable<Postgres>);

}  // namespace epochcut
