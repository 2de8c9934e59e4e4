// Where do the rows live?
// The tables of one authority: a schema in PostgreSQL and a database in ClickHouse. A shadow has its own of both, so that nothing it
// writes can be taken for production's. Creating is idempotent, also over the tables of an earlier version.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"

namespace exchange {

struct Layout {
  std::string authority = "production";
  std::string schema = "public";      ///< PostgreSQL
  std::string database = "exchange";  ///< ClickHouse
  int partitions = 1;                 ///< of the ClickHouse tables; more than one: by account, so that one insert becomes visible part by part

  /// The names go into SQL as they are. Errors: configuration, unless each is [a-z][a-z0-9_]*.
  void validate() const;
};

/// Where an authority lives unless told otherwise: production in public and exchange, "shadow" in shadow and exchange_shadow.
inline Layout layout_of(const std::string& authority) {
  if (authority == "production") return {};
  return {.authority = authority, .schema = authority, .database = "exchange_" + authority};
}

/// Marks have a stream and a token of their own, in the same two tables. The token stands there from the first run with marks on.
inline constexpr std::string_view mark_stream_id = "mark_cycles";
/// In ClickHouse, beside epochcut_stream: who fills mark_pnl. A reader of that relation names it, `ClickHouseOptions{.stream_table = mark_stream_table}`,
/// since a one-row table can name one stream only.
inline constexpr const char* mark_stream_table = "mark_stream";

/// Who writes a layout's tables: production's owner of the moment, or the one engine whose shadow it is.
enum class Kind : std::uint8_t { production, shadow };
inline Kind kind_of(const Layout& layout) { return layout.authority == "production" ? Kind::production : Kind::shadow; }

/// Tables, the empty token, owned by `owner`, and the rights of the roles of examples/servers.sh, each where it exists: recon reads all, exchange_production
/// writes production, exchange_shadow writes shadows, cutover reads all and moves the authority.
void create_tables(PostgresWriter& ledger, const Layout& layout, const std::string& owner, Kind kind);
inline void create_tables(PostgresWriter& ledger, const Layout& layout, const std::string& owner = "incumbent") {
  create_tables(ledger, layout, owner, kind_of(layout));
}
void create_tables(ClickhouseWriter& analytics, const Layout& layout);

}  // namespace exchange
