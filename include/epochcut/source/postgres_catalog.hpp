// What does PostgreSQL's catalog say of the tables of a reading?
// Layer: source, with libpq. Asked inside the reading's transaction, after its tables were locked. The catalog that SQL sees is of the snapshot, the one that
// the server plans by is of now: between the two lie partitions and inheritors that are attached while we read, and names.
// Source: PostgreSQL manual, "Explicit Locking", "System Catalogs"; behaviour as measured on PostgreSQL 15.
#pragma once

#include <charconv>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/source/postgres_connection.hpp>
#include <epochcut/source/postgres_sql.hpp>

namespace epochcut::postgres {

/// Errors: `schema` when the ledger's own bookkeeping is not a whole number that fits.
template <class T>
T number(const Result& result, int row, int column, const std::string& what) {
  const std::string_view text = cell(result, row, column);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw Failure(Reason::schema, what + " is \"" + std::string(text) + "\", but must be a whole number that is not NULL and fits 64 bits; correct the writer");
  return value;
}

/// Of key and place in the table: below it, each range of keys would touch most of the table's pages.
inline constexpr std::string_view ordered_correlation = "0.9";

/// The tables, partitions, inheritors and views that a transaction has locked, by LOCK or by reading them, whether its snapshot knows them or not. The lock
/// table is no part of any snapshot.
inline constexpr std::string_view locked_tables =
    "SELECT l.relation, c.relkind FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation WHERE l.locktype = 'relation' AND l.pid = "
    "pg_backend_pid() AND l.relation >= 16384 AND coalesce(c.relkind IN ('r', 'p', 'v', 'm', 'f'), true)";  // below 16384: PostgreSQL's own

/// The tables of some plans, in their order.
struct Described {
  std::vector<Table> tables;
  std::string locked;  ///< what may be read: all of these, with their partitions, inheritors and what views are made of. An array of OIDs, as text
};

inline Failure moved(const Connection& session, const std::string& what) {
  return Failure(Reason::cut_violated,
                 what + " at " + session.where() + ": a partition was attached, an inheritor declared, or a name put before it in the search path; read again")
      .retry()
      .at(session.where());
}

/// Is it the table that the transaction has locked? One that was made since the snapshot has no columns in it, and a name by which it is found.
inline bool is_locked(Connection& session, const std::string& relation, const Control& control) {
  const std::string parameters[] = {quoted_relation(relation)};
  return cell(session.query("SELECT to_regclass($1)::oid IN (SELECT relation FROM (" + std::string(locked_tables) + ") AS locked)", parameters, control), 0,
              0) == "t";
}

/// The catalog's view of each plan's relation, read after the lock: it can't change any more, but for what `require_locked` looks for. Errors: `configuration`
/// for a foreign table among them, `authentication` for row-level security, `cut_violated` for a name that means another table by now.
inline Described describe(Connection& session, std::span<const QueryPlan> plans, const Control& control) {
  Described described;
  std::vector<Table>& tables = described.tables;
  if (plans.empty()) return described;
  std::string wanted;
  std::vector<std::string> parameters;
  for (const QueryPlan& plan : plans) {
    tables.push_back({plan.relation});
    parameters.push_back(quoted_relation(plan.relation));
    wanted += (wanted.empty() ? "(" : ", (") + std::to_string(tables.size()) + ", to_regclass($" + std::to_string(tables.size()) + ")::oid)";
  }
  const Result rows = session.query(
      "WITH RECURSIVE wanted(n, relation) AS (VALUES " + wanted + "), locked AS (" + std::string(locked_tables) +
          "), attribute AS ("
          // NOT NULL of an inheritance parent says nothing of its children, that of a domain nothing of a row that a join made, and from version 18 on it may
          // be declared of new rows only.
          "SELECT n, relation, attnum, attname, attnotnull AND (c.relkind = 'p' OR NOT c.relhassubclass) AND NOT EXISTS (SELECT FROM "
          "pg_catalog.pg_constraint k WHERE k.conrelid = relation AND k.contype = 'n' AND NOT k.convalidated AND attnum = ANY (k.conkey)) AS sure, "
          "atttypid AS type, atttypmod AS modifier, attcollation "
          "FROM wanted JOIN pg_catalog.pg_class c ON c.oid = relation JOIN pg_catalog.pg_attribute ON attrelid = relation WHERE attnum > 0 AND NOT attisdropped "
          "UNION ALL SELECT n, relation, attnum, attname, sure, typbasetype, typtypmod, attcollation "
          "FROM attribute JOIN pg_catalog.pg_type t ON t.oid = type WHERE typtype = 'd') "
          "SELECT n, attname, t.oid, modifier, sure, coalesce(collisdeterministic, true), typtype = 'e' OR typcategory = 'S' AND t.oid >= 16384, "
          "format_type(t.oid, NULL), row_security_active(relation), "
          "EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_am a ON a.oid = x.relam "
          "JOIN pg_catalog.pg_class c ON c.oid = i.indrelid WHERE i.indrelid = relation AND i.indkey[0] = attnum AND i.indisvalid AND i.indpred IS NULL AND "
          "a.amname = 'btree' AND (c.relkind = 'p' OR NOT c.relhassubclass)), relation IN (SELECT k.relation FROM locked k), (SELECT array_agg(k.relation) FROM "
          "locked k), (SELECT min(k.relation::regclass::text) FROM locked k WHERE relkind = 'f') FROM attribute JOIN pg_catalog.pg_type t ON t.oid = type AND typtype <> 'd' "
          "LEFT JOIN pg_catalog.pg_collation l ON l.oid = attcollation ORDER BY n, attnum",
      parameters, control);
  for (int row = 0; row < PQntuples(rows.get()); ++row) {
    const auto text = [&](int i) { return cell(rows, row, i); };
    Table& table = tables[number<std::size_t>(rows, row, 0, "a number") - 1];
    table.columns.push_back({std::string(text(1)), number<std::uint32_t>(rows, row, 2, "an OID"), number<std::int32_t>(rows, row, 3, "a modifier"),
                             text(4) == "t", text(5) == "t", text(6) == "t", std::string(text(7)), text(9) == "t"});
    table.row_security |= text(8) == "t";
    if (text(10) != "t") throw moved(session, "\"" + table.name + "\" means another table since it was locked");
    if (!PQgetisnull(rows.get(), row, 12))
      throw Failure(Reason::configuration, "foreign table " + std::string(text(12)) + " is among what \"" + table.name + "\" at " + session.where() +
                                               " is made of, and its rows are of another server and of no snapshot here; compare it where it is")
          .at(session.where());
    described.locked = text(11);
  }
  for (const Table& table : tables)
    if (table.columns.empty() && !is_locked(session, table.name, control))
      throw moved(session, "\"" + table.name + "\" means another table since it was locked");
  for (const Table& table : tables)
    if (table.row_security)
      throw Failure(Reason::authentication, "row-level security would hide rows of \"" + table.name + "\" at " + session.where() +
                                                " from the checking role, and hidden rows look like missing ones; give the role BYPASSRLS")
          .code("42501")
          .at(session.where());
  return described;
}

/// Has the transaction read anything but what was `locked` before its snapshot? A partition or an inheritor that is attached meanwhile brings rows along that
/// the token counts only later, for which tables a table is made of is no question of snapshots; and so does a new table of the same name in an earlier
/// schema of the search path. Errors: `cut_violated`, retryable.
inline void require_locked(Connection& session, const std::string& locked, const Control& control) {
  const std::string parameters[] = {locked};
  const Result row = session.query(
      "SELECT count(*) FILTER (WHERE relation = ANY ($1::oid[])), min(relation::regclass::text) FILTER (WHERE relation <> ALL ($1::oid[])) FROM (" +
          std::string(locked_tables) + ") AS held",
      parameters, control);
  if (!PQgetisnull(row.get(), 0, 1)) throw moved(session, "table " + std::string(cell(row, 0, 1)) + " came under the reading after its tables had been locked");
  if (number<std::uint64_t>(row, 0, 0, "a count") == 0)  // an answer without locks would prove nothing
    throw Failure(Reason::cut_violated, "PostgreSQL at " + session.where() + " no longer holds the locks that the reading began with; read again")
        .retry()
        .at(session.where());
}

/// How a key column is spread, as the planner knows it. Good for cutting it evenly, and for nothing else.
struct KeySpread {
  std::int64_t rows = -1;           ///< of the table; -1: never analyzed
  bool cheap = false;               ///< a range of it is read without looking at the rest
  std::vector<std::int64_t> marks;  ///< rising; about as many rows lie between any two neighbours
};

/// The whole numbers in `text`, as in {1,2,3}.
inline void append_numbers(std::vector<std::int64_t>& numbers, std::string_view text) {
  while (!text.empty()) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc{}) numbers.push_back(value);
    text.remove_prefix(error == std::errc{} ? static_cast<std::size_t>(end - text.data()) : 1);
  }
}

/// Precondition: `column` is an integer. Cost: a look into the statistics; without any, the least and the greatest key, which is a scan if no index has them.
inline KeySpread spread(Connection& session, const std::string& relation, const std::string& column, const Control& control) {
  const std::string parameters[] = {quoted_relation(relation), column};
  const Result row = session.query(
      "SELECT c.reltuples::bigint, EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid AND "
      "i.indpred IS NULL) AND abs(s.correlation) >= " +
          std::string(ordered_correlation) +
          ", s.histogram_bounds FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute a ON "
          "a.attrelid = c.oid AND a.attname = $2 LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = "
          "a.attname WHERE c.oid = to_regclass($1) ORDER BY s.inherited DESC NULLS LAST LIMIT 1",
      parameters, control);
  KeySpread spread;
  if (PQntuples(row.get()) == 0) return spread;
  spread.rows = number<std::int64_t>(row, 0, 0, "a number of rows");
  spread.cheap = cell(row, 0, 1) == "t";
  append_numbers(spread.marks, cell(row, 0, 2));
  if (spread.marks.empty()) {
    const std::string key = identifier(column);
    const Result ends = session.query("SELECT min(" + key + "), max(" + key + ") FROM " + quoted_relation(relation), {}, control);
    append_numbers(spread.marks, cell(ends, 0, 0));
    append_numbers(spread.marks, cell(ends, 0, 1));
  }
  return spread;
}

}  // namespace epochcut::postgres
