// Where does everything live that a cutover talks of?
// Production and the candidate's shadow by name, and the sessions of the tool's own role: it reads everywhere, and writes the marker, holds and verdicts.
// No password leaves a Place: sentences name servers only. Errors: epochcut::Failure. One thread at a time.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/source/postgres_authority.hpp>

#include "exchange/schema.hpp"

namespace cutover {

using epochcut::Failure;
using epochcut::Millis;
using epochcut::Reason;

struct Place {
  std::string authority = "production";
  std::string candidate;             ///< an engine's name; also of its shadow's schema
  std::string postgres, clickhouse;  ///< of the tool's role

  exchange::Layout production() const { return exchange::layout_of(authority); }
  exchange::Layout shadow() const { return exchange::layout_of(candidate); }
  epochcut::postgres::AuthorityTables tables() const;
  std::string postgres_in(const std::string& schema) const;  ///< with that schema as search_path
  std::string clickhouse_in(const std::string& database) const;
};

/// Production's row, and the one of the candidate's shadow.
epochcut::PostgresAuthority production_authority(const Place& place, const epochcut::Control& control = {});
epochcut::PostgresAuthority shadow_authority(const Place& place, const epochcut::Control& control = {});

/// Production's ledger, with its seams.
epochcut::Postgres production_ledger(const Place& place);

/// Small questions, each in a transaction of its own. A NULL is nothing.
class Asker {
 public:
  using Row = std::vector<std::optional<std::string>>;
  explicit Asker(const std::string& dsn);
  std::vector<Row> ask(const std::string& sql, std::initializer_list<std::string> parameters = {});

 private:
  epochcut::postgres::Connection session_;
};

/// Random, as a uuid's text.
std::string new_uuid();

}  // namespace cutover
