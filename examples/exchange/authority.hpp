// Who may write the next event, by the ledger's own row?
// The statements of source/authority_sql.hpp, sent over a writer's connection: an engine flips and disarms on the very session that it commits on.
// Errors: epochcut::Failure. One thread at a time.
#pragma once

#include <string>

#include <epochcut/operate/splice.hpp>
#include <epochcut/source/authority_sql.hpp>

#include "exchange/postgres_writer.hpp"
#include "exchange/schema.hpp"

namespace exchange {

/// Of a layout's authority: in its schema.
epochcut::postgres::AuthorityTables authority_tables(const Layout& layout);

/// The row of the engine's stream. Errors: `missing_token`, `schema`.
epochcut::AuthorityRow read_authority(PostgresWriter& ledger, const Layout& layout);
/// What a row of `read_authority` or of the fence's RETURNING says of the events to come: stop_at, successor, splice_id, hold_at, from column `first` on.
void read_limits(const PostgresResult& result, int first, epochcut::AuthorityRow& row);

}  // namespace exchange
