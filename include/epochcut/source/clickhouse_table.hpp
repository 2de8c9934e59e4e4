// What does a ClickHouse server say of a table, of who fills it, and of how far it is?
// Layer: source. Stateless; asks through a session, whichever way that reaches the server. Everything is read anew for each query.
// Source: the vendor's manual, "system.columns", "system.tables".
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <utility>

#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_answer.hpp>
#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/clickhouse_server.hpp>
#include <epochcut/source/clickhouse_sql.hpp>

namespace epochcut::clickhouse {

/// Asks one server. `all` gives a small answer whole and says which server gave it; `server` makes a name of that and of the columns of `identity`.
template <class T>
concept Asking = requires(T& session, const std::string& sql, const Control& control, std::string& display_name, const Relation& row, std::size_t at) {
  { session.all(sql, control, display_name) } -> std::same_as<Relation>;
  { session.server(row, at, display_name) } -> std::same_as<Server>;
  { session.has_table(sql, sql, control) } -> std::same_as<bool>;  ///< may say yes for whatever `all` refuses as not found
  { session.where() } -> std::convertible_to<std::string>;         ///< for people
  { session.stream_table() } -> std::convertible_to<std::string>;  ///< who fills a relation stands there; empty: nowhere
  { T::kind } -> std::convertible_to<std::string_view>;            ///< what a relation's full name begins with
  { T::database_place } -> std::convertible_to<std::string_view>;  ///< where a user names the database
};

/// Asks which of `pinned_if_known` a server has. In one row: nothing is pinned yet, and a profile with limit = 1 would show one setting of many.
inline std::string settings_query() {
  std::string names;
  for (const auto& [name, value] : pinned_if_known) names += (names.empty() ? "" : ", ") + text_literal(name);
  return "SELECT arrayStringConcat(groupArray(name), ' ') FROM system.settings WHERE name IN (" + names + ")";
}

/// Errors: `configuration`, where a profile takes even that one row away.
inline Parameters settings_known(const Relation& answer, const std::string& where) {
  if (answer.rows() != 1 || answer.fields.size() != 1 || answer.fields[0].column.type() != Type::text)
    throw Failure(
        Reason::configuration,
        "ClickHouse at " + where + " does not show its settings, so they can't be pinned; take offset and additional_result_filter out of the user's profile")
        .at(where);
  const std::string names = " " + std::string(answer.fields[0].column.text(0)) + " ";
  Parameters known;
  for (const auto& [name, value] : pinned_if_known)
    if (names.find(" " + std::string(name) + " ") != std::string::npos) known.emplace_back(name, value);
  return known;
}

/// Two servers of one machine have one host name, but never one data folder. A subquery has a name here because 18.16 would number it, and the same
/// question would get a longer answer as the server grows older.
inline constexpr std::string_view identity =
    "hostName(), version(), (SELECT lower(hex(cityHash64(max(data_path)))) FROM system.databases WHERE name = 'system') AS epochcut_data_path";

inline std::pair<std::string, std::string> split(const std::string& relation) {
  const std::size_t dot = relation.find('.');
  if (dot == std::string::npos) return {"", relation};
  return {relation.substr(0, dot), relation.substr(dot + 1)};
}

template <Asking Session>
Failure missing(Session& session, const std::string& in, const std::string& table, const Control& control) {
  std::string display_name;
  const Relation row =
      session.all("SELECT " + in + ", (SELECT count() FROM system.databases WHERE name = " + in + ") AS epochcut_found", control, display_name);
  const std::string where(session.where()), place(Session::database_place);
  require_shape(row, {Type::text, Type::uint64}, 1, where);
  const std::string database(row.fields[0].column.text(0));
  const bool there = row.fields[1].column.words()[0] != 0;
  return Failure(Reason::not_found,
                 there ? "there is no table \"" + table + "\" in database \"" + database + "\" of ClickHouse at " + where +
                             "; create it, or name the right database in " + place
                       : "there is no database \"" + database + "\" on ClickHouse at " + where + "; create it, or name another one in " + place)
      .at(where);
}

/// Errors: `not_found`, naming table and database. Cost: some milliseconds.
template <Asking Session>
TableInfo describe(Session& session, const std::string& relation, const Control& control) {
  const auto [database, table] = split(relation);
  const std::string in = database.empty() ? "currentDatabase()" : text_literal(database), of = text_literal(table);
  const std::string from_tables = ") FROM system.tables WHERE database = " + in + " AND name = " + of + ")";
  TableInfo info;
  const Relation rows =
      session.all("SELECT name, type, " + in + ", (SELECT max(engine" + from_tables + " AS epochcut_engine, (SELECT max(sorting_key" + from_tables +
                      " AS epochcut_sorting_key, " + std::string(identity) + " FROM system.columns WHERE database = " + in + " AND table = " + of,
                  control, info.display_name);
  if (rows.rows() == 0) throw missing(session, in, table, control);
  require_shape(rows, {Type::text, Type::text, Type::text, Type::text, Type::text, Type::text, Type::text, Type::text}, 1, std::string(session.where()));
  const auto text = [&](std::size_t column, std::size_t row = 0) { return std::string(rows.fields[column].column.text(row)); };
  for (std::size_t row = 0; row < rows.rows(); ++row) info.columns.push_back({text(0, row), text(1, row)});
  info.database = text(2);
  info.table = table;
  info.engine = text(3);
  info.sorting_key = text(4);
  info.server = session.server(rows, 5, info.display_name);
  return info;
}

/// Cost: a scan of the event id column alone.
template <Asking Session>
Visible visible(Session& session, const std::string& relation, const AsOf& as_of, const Control& control) {
  const auto [database, table] = split(relation);
  const std::string id = "toUInt64(" + identifier(as_of.stream.event_id) + ")";
  const std::string last = id + " <= " + std::to_string(as_of.last_event_id), mine = owned(as_of, id);
  const std::string count = as_of.at_rest ? "count()" : "countIf(" + last + (mine.empty() ? "" : " AND " + mine) + ")";
  const std::string newest = mine.empty() ? "max(" + id + ")" : "maxIf(" + id + ", " + mine + ")";
  std::string display_name;
  const Relation row = session.all(
      "SELECT " + count + ", " + newest + ", " + std::string(identity) + " FROM " + (database.empty() ? "" : identifier(database) + ".") + identifier(table),
      control, display_name);
  if (row.rows() != 1 || row.fields.size() != 5 || row.fields[0].column.type() != Type::uint64 || row.fields[1].column.type() != Type::uint64)
    throw Failure(Reason::schema,
                  "the event id column \"" + as_of.stream.event_id + "\" of ClickHouse table " + relation + " must be a UInt64 that is not Nullable")
        .at(session.where());
  require_shape(row, {Type::uint64, Type::uint64, Type::text, Type::text, Type::text}, 1, std::string(session.where()));
  return {row.fields[0].column.words()[0], row.fields[1].column.words()[0], session.server(row, 2, display_name)};
}

/// Errors: `not_found`, naming table and database; `wrong_stream` if the stream table names two.
template <Asking Session>
FollowerInfo about(Session& session, const std::string& relation, const Control& control) {
  const TableInfo table = describe(session, relation, control);
  FollowerInfo info{std::string(Session::kind) + table.server.name + "/" + table.path(), {}, {}};
  const std::string named = session.stream_table();
  if (named.empty() || !session.has_table(table.database, named, control)) return info;
  const std::string stream_table = identifier(table.database) + "." + identifier(named);
  Relation rows;
  try {
    std::string display_name;
    rows = session.all("SELECT DISTINCT toString(stream), toString(authority) FROM " + stream_table + " LIMIT 2", control, display_name);
  } catch (const Failure& failure) {
    if (failure.engine_code == "60") return info;
    throw;
  }
  if (rows.rows() == 0) return info;
  require_shape(rows, {Type::text, Type::text}, 1, std::string(session.where()));
  if (rows.rows() > 1)
    throw Failure(Reason::wrong_stream,
                  "table " + stream_table + " on " + std::string(session.where()) + " names more than one stream or authority; leave one row in it")
        .at(session.where());
  info.stream = rows.fields[0].column.text(0);
  info.authority = rows.fields[1].column.text(0);
  return info;
}

}  // namespace epochcut::clickhouse
