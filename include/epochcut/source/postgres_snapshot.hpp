// What does ONE snapshot of a PostgreSQL ledger hold: token, tables, rows?
// Layer: source, with libpq. A transaction from BEGIN to COMMIT on one session, which it gives up when it is left before that.
// Its tables are locked before its first query, which takes the snapshot and reads the token with it.
// Source: RFC live-checks, "The shared mechanism"; behaviour of libpq as measured on PostgreSQL 15.
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

#include <epochcut/core/token.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/copy_binary.hpp>
#include <epochcut/source/postgres_catalog.hpp>
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
  std::string generation = "generation";       ///< empty: the table has none
  std::vector<std::string> further_streams{};  ///< of other writers to this ledger, with tokens in the same tables and ids numbered alike
  std::string seams{};                         ///< a table (authority text, s, from_gen, to_gen bigint), if the authority may change hands
  std::string row_generation{};                ///< the column that says which generation wrote a follower's row
};

namespace postgres {

using Session = std::shared_ptr<Connection>;

/// Who answered. A standby has its primary's system identifier, so the address is part of the name.
inline constexpr std::string_view server_columns =
    "(SELECT system_identifier FROM pg_catalog.pg_control_system()), coalesce(host(inet_server_addr()), 'socket'), current_setting('port'), current_setting('server_version')";
inline constexpr int server_columns_count = 4;

inline Server server_of(const Result& row) {
  const auto text = [&](int i) { return std::string(cell(row, 0, i)); };
  return {"postgres " + text(0) + "@" + text(1) + ":" + text(2), text(3)};
}

/// A snapshot that another session may take over while the one that exported it is open.
struct Exported {
  std::string id;
  std::string visible;  ///< pg_current_snapshot(): what makes it this one
  Server server;
  std::string tables;  ///< that it may read: locked before it was taken. An array of OIDs, as text
};

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
  /// Takes another session's snapshot over. Who exported it holds the lock already; if it can't be had at once, somebody who wants the table alone waits
  /// between, and to wait behind him would be for ever. Errors: `lock_timeout`, `replica_changed` where it is not that very snapshot.
  Transaction(Session session, const Exported& snapshot, const std::string& relation, const Control& control) : session_(std::move(session)) {
    try {
      session_->begin("ISOLATION LEVEL REPEATABLE READ ",
                      "SET TRANSACTION SNAPSHOT '" + snapshot.id + "'; LOCK TABLE " + quoted_relation(relation) + " IN ACCESS SHARE MODE NOWAIT", control);
      const Result row = session_->query("SELECT " + context() + ", pg_current_snapshot()", {}, control);
      require_snapshot(row);
      if (server != snapshot.server || cell(row, 0, context_count) != snapshot.visible)
        throw Failure(Reason::replica_changed, "one reader's session led to " + server.name + " and another's to " + snapshot.server.name +
                                                   ", or to another snapshot there; let the connection string name one server, or read with one reader")
            .retry()
            .at(session_->where());
      tables_ = snapshot.tables;
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
  std::vector<Token> further;  ///< of other streams, in the same snapshot
  std::uint64_t timeline = 0;
  Server server;

  /// The catalog's view of each plan's relation. Errors: as postgres::describe.
  std::vector<Table> describe(std::span<const QueryPlan> plans, const Control& control) {
    Described described = postgres::describe(*session_, plans, control);
    if (tables_.empty()) tables_ = std::move(described.locked);  // the first time nothing has been read yet
    return std::move(described.tables);
  }

  /// Notes in `bound` which of its ends no event id of the plan's history is beyond, where an index says so at once; then a reading need not compare each row
  /// with them, which costs a fifth of a sum by key. Errors: `schema` if there is no such column.
  void look_at_ids(const QueryPlan& plan, const Table& table, Bound& bound, const Control& control) {
    if (plan.history == History::current || !bound.last_event_id) return;
    const TableColumn& id = table.column(bound.event_id);
    if (!id.leads_index || id.logical() != Type::int64) return;
    const std::string name = identifier(bound.event_id);
    const Result row = session_->query("SELECT coalesce(min(" + name + ") >= 0, true), coalesce(max(" + name + ") <= " + std::to_string(*bound.last_event_id) +
                                           "::numeric, true) FROM " + quoted_relation(plan.relation),
                                       {}, control);
    bound.none_below = cell(row, 0, 0) == "t";
    bound.none_above = id.not_null && cell(row, 0, 1) == "t";  // a NULL is neither above nor at the epoch
  }

  /// `SET LOCAL …`
  void set(const std::string& statement, const Control& control) { session_->query(statement, {}, control); }

  void bind(const Parameters& parameters, const Control& control) {
    if (!parameters.values().empty()) session_->query(parameters.statement(), parameters.values(), control);
  }

  /// One relation, one stream: the token that declares the relation, else the main one; null without any.
  const Token* token_of(const std::string& relation) const {
    for (const Token& other : further)
      for (const RelationToken& r : other.relations)
        if (r.relation == relation) return &other;
    return token ? &*token : nullptr;
  }

  /// For sessions that read along. Errors: as a query; a server before version 10 can't on a standby.
  Exported export_snapshot(const Control& control) {
    const Result row = session_->query("SELECT pg_export_snapshot(), pg_current_snapshot()", {}, control);
    Exported exported{std::string(cell(row, 0, 0)), std::string(cell(row, 0, 1)), server, tables_};
    if (exported.id.find_first_not_of("0123456789ABCDEFabcdef-") != std::string::npos)
      throw Failure(Reason::schema, "PostgreSQL gave a snapshot a name that is none; read with one reader").at(session_->where());
    return exported;
  }

  KeySpread spread(const std::string& relation, const std::string& column, const Control& control) {
    return postgres::spread(*session_, relation, column, control);
  }

  /// Looks at the whole relation for what no reading may hold, and gives the proof of a reading that has not been read yet.
  Proof prove(const Rendered& query, const std::string& relation, const Control& control) {
    Proof proof;
    proof.server = server;
    if (const Token* own = token_of(relation)) proof.snapshot = own->epoch;
    if (!query.null_ids.empty() && PQntuples(session_->query(query.null_ids, {}, control).get()) != 0)
      throw Failure(Reason::schema, "an event id must be a 64-bit integer that is not NULL; declare the column NOT NULL")
          .statement(query.null_ids)
          .at(session_->where());
    if (!query.conflicts.empty()) {
      const Result row = session_->query(query.conflicts, {}, control);
      proof.conflicts = number<std::uint64_t>(row, 0, 0, "a count");
      if (proof.conflicts != 0) proof.conflicting_ids = std::string(cell(row, 0, 1));
    }
    return proof;
  }

  void begin_copy(const Rendered& query, const Control& control) { session_->copy("COPY (" + query.select + ") TO STDOUT (FORMAT binary)", control); }

  /// A COPY in two steps: the server works in between.
  void send_copy(const std::string& select, const Control& control) { session_->send_copy("COPY (" + select + ") TO STDOUT (FORMAT binary)", control); }
  void await_copy(const Control& control) { session_->await_copy(control); }

  Proof begin_copy(const Rendered& query, const std::string& relation, const Control& control) {
    Proof proof = prove(query, relation, control);
    begin_copy(query, control);
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

  /// Errors: as postgres::require_locked.
  void require_locked(const Control& control) {
    if (!tables_.empty()) postgres::require_locked(*session_, tables_, control);
  }

  void commit(const Control& control) {
    require_locked(control);
    session_->commit(control);
    committed_ = true;
  }

 private:
  static std::string locks(std::span<const QueryPlan> plans, const TokenTable* token_table) {
    std::vector<std::string> names;
    for (const QueryPlan& plan : plans) names.push_back(quoted_relation(plan.relation));
    if (token_table != nullptr) {
      names.push_back(quoted_relation(token_table->table));
      if (has_digests(*token_table)) names.push_back(quoted_relation(token_table->digests));
      if (!token_table->seams.empty()) names.push_back(quoted_relation(token_table->seams));
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names.empty() ? "" : "LOCK TABLE " + rendering::joined(names, "", ", ") + " IN ACCESS SHARE MODE";
  }

  /// The first query takes the snapshot: isolation, server and token come from it. Errors: `wrong_isolation`, `missing_token`, `schema`.
  void look(const TokenTable* t, const Control& control) {
    const Result rows = t != nullptr ? ask_token(*t, t->stream, control) : session_->query("SELECT " + context(), {}, control);
    require_snapshot(rows);
    timeline = number<std::uint64_t>(rows, 0, server_columns_count + 2, "a timeline");
    if (t == nullptr) return;
    token = read_token(*t, t->stream, rows);
    for (const std::string& stream : t->further_streams) further.push_back(read_token(*t, stream, ask_token(*t, stream, control)));
    if (!t->seams.empty()) read_seams(*t, control);
  }

  /// Errors: `wrong_isolation`.
  void require_snapshot(const Result& rows) {
    server = server_of(rows);
    const std::string_view isolation = cell(rows, 0, server_columns_count), read_only = cell(rows, 0, server_columns_count + 1);
    if (isolation != "repeatable read" || read_only != "on")
      throw Failure(Reason::wrong_isolation,
                    "PostgreSQL at " + session_->where() + " runs the reading as " + std::string(isolation) + (read_only == "on" ? "" : ", writable") +
                        " instead of repeatable read, read only, so token and state could be of two moments; take out the proxy that rewrites it")
          .at(session_->where());
  }

  /// What every first query asks besides the token. A server in recovery has no position to write at, but the control file knows its timeline.
  static std::string context() {
    return std::string(server_columns) +
           ", current_setting('transaction_isolation'), current_setting('transaction_read_only'), CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM "
           "pg_catalog.pg_control_checkpoint()) ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer END";
  }
  static constexpr int context_count = server_columns_count + 3;

  static bool has_digests(const TokenTable& t) { return !t.digests.empty(); }

  Result ask_token(const TokenTable& t, const std::string& stream, const Control& control) {
    std::string sql = "SELECT " + context() + ", t.stream IS NOT NULL, t." + identifier(t.sequence) + ", t." + identifier(t.execution_ns) + ", " +
                      (t.generation.empty() ? "0" : "t." + identifier(t.generation)) +
                      (has_digests(t) ? ", d.relation, d.row_count, d.sum_low, d.sum_high" : "") + " FROM (SELECT 1) AS one LEFT JOIN " +
                      quoted_relation(t.table) + " AS t ON t.stream = $1 AND t.authority = $2";
    if (has_digests(t)) sql += " LEFT JOIN " + quoted_relation(t.digests) + " AS d ON d.stream = t.stream AND d.authority = t.authority ORDER BY d.relation";
    const std::string parameters[] = {stream, t.authority};
    return session_->query(sql, parameters, control);
  }

  Token read_token(const TokenTable& t, const std::string& stream, const Result& rows) const {
    constexpr int first = context_count;
    const std::string whose = "stream \"" + stream + "\", authority \"" + t.authority + "\"";
    if (cell(rows, 0, first) != "t")
      throw Failure(Reason::missing_token, "table \"" + t.table + "\" at " + session_->where() + " has no token for " + whose +
                                               "; have the ledger's writer commit one with its state, or correct the names")
          .at(session_->where());
    Token read;
    read.stream = {stream, t.event_id, t.leg_bits, t.acknowledged, t.row_generation};
    read.authority = t.authority;
    read.epoch = {number<std::uint64_t>(rows, 0, first + 1, t.table + "." + t.sequence),
                  number<std::int64_t>(rows, 0, first + 2, t.table + "." + t.execution_ns)};
    read.generation = number<std::uint64_t>(rows, 0, first + 3, t.table + "." + t.generation);
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
      const bool declares = has_digests(t) && !PQgetisnull(rows.get(), row, first + 4);
      const std::string relation = declares ? std::string(cell(rows, row, first + 4)) : std::string();
      if (row > 0 && (!declares || relation == read.relations.back().relation))
        throw Failure(Reason::schema,
                      "there are two tokens for " + whose + " in \"" + t.table + "\" or \"" + t.digests + "\"; give both tables their primary keys")
            .at(session_->where());
      if (!declares) continue;
      const auto half = [&](int i, const char* name) { return number<std::uint64_t>(rows, row, first + 4 + i, t.digests + "." + name); };
      read.relations.push_back({relation, {half(1, "row_count"), half(2, "sum_low"), half(3, "sum_high")}});
    }
    return read;
  }

  /// In the token's own snapshot: a list read before a flip and an epoch read after it would count a deposed writer's rows.
  void read_seams(const TokenTable& t, const Control& control) {
    const std::string parameters[] = {t.authority};
    const Result rows =
        session_->query("SELECT s, from_gen, to_gen FROM " + quoted_relation(t.seams) + " WHERE authority = $1 ORDER BY to_gen", parameters, control);
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
      const auto column = [&](int i, const char* name) { return number<std::uint64_t>(rows, row, i, t.seams + "." + name); };
      token->seams.push_back({column(0, "s"), column(1, "from_gen"), column(2, "to_gen")});
    }
    for (Token& other : further) other.seams = token->seams;
  }

  Session session_;
  std::string tables_;  ///< what may be read: an array of OIDs, as text. Empty: nothing was described, and nothing but the token is read
  bool committed_ = false;
};

}  // namespace postgres
}  // namespace epochcut
