// What does PostgreSQL mean by an error, and which servers are this machine?
// Layer: source; text only, no I/O. Stateless. Source: PostgreSQL manual, "PostgreSQL Error Codes"; docs/adapters.md "PostgreSQL".
#pragma once

#include <string_view>

#include <epochcut/core/failure.hpp>

namespace epochcut::postgres {

/// What an SQLSTATE means to a check. Whatever is not listed is `unknown`, never a difference.
constexpr Reason reason_of(std::string_view sqlstate) {
  const std::string_view family = sqlstate.substr(0, 2);
  if (sqlstate == "55P03") return Reason::lock_timeout;
  if (sqlstate == "57014" || sqlstate == "25P03") return Reason::timeout;
  if (sqlstate == "40001" || sqlstate == "40P01") return Reason::cancelled;  // a standby's conflict with recovery, a deadlock
  if (sqlstate == "42P01" || sqlstate == "3F000" || sqlstate == "3D000") return Reason::not_found;
  if (sqlstate == "42703") return Reason::schema;
  if (sqlstate == "42501" || family == "28") return Reason::authentication;
  if (sqlstate == "42601") return Reason::syntax;
  if (sqlstate == "42883" || sqlstate == "42804" || sqlstate == "42846" || sqlstate == "42809" || family == "22") {
    return sqlstate == "22003" || sqlstate == "22008" ? Reason::overflow : Reason::schema;
  }
  if (family == "08" || family == "53" || family == "57") return Reason::connection;
  return Reason::unknown;
}

/// What to do about it, after the server's own sentence.
constexpr std::string_view advice(std::string_view sqlstate) {
  if (sqlstate == "55P03") return "an ALTER, TRUNCATE or VACUUM FULL holds the table; run again when it is done";
  if (sqlstate == "57014") return "give it more time in PostgresOptions::statement_timeout, or a smaller query";
  if (sqlstate == "40001" || sqlstate == "40P01") return "run the check again";
  if (sqlstate == "42P01" || sqlstate == "3F000") return "create it, correct its name or the role's search_path, or grant the role usage on its schema";
  if (sqlstate == "42703") return "correct the column's name";
  if (sqlstate == "3D000") return "correct dbname";
  if (sqlstate == "42501") return "grant select on it to the checking role (connect, on a database), and BYPASSRLS where row-level security applies";
  if (sqlstate.substr(0, 2) == "28") return "correct the user, its password or pg_hba.conf";
  if (sqlstate == "42809") return "name a table or a view: nothing else can be locked against a rewrite";
  if (sqlstate == "22003" || sqlstate == "22008") return "a value does not fit the type it is computed in";
  if (sqlstate.substr(0, 2) == "53" || sqlstate.substr(0, 2) == "57" || sqlstate.substr(0, 2) == "08") return "run again when the server is well";
  return "see the statement";
}

/// Of a list, each: loopback addresses, and the folders of unix sockets.
constexpr bool this_machine(std::string_view hosts) {
  for (;;) {
    const std::string_view host = hosts.substr(0, hosts.find(','));
    const bool loopback = host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
    if (!loopback && !host.empty() && host[0] != '/' && host[0] != '@' && host != "localhost" && host != "::1") return false;
    if (host.size() == hosts.size()) return true;
    hosts.remove_prefix(host.size() + 1);
  }
}

}  // namespace epochcut::postgres
