#include "exchange/schema.hpp"

#include <utility>

#include "exchange/authority.hpp"
#include "exchange/stream.hpp"

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

void Layout::validate() const {
  for (const std::string* name : {&authority, &schema, &database})
    if (name->empty() || name->find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos || (*name)[0] < 'a')
      throw Failure(Reason::configuration, "\"" + *name + "\" can't be a name here; use lower-case letters, digits and _, a letter first");
  if (partitions < 1 || partitions > 64) throw Failure(Reason::configuration, "partitions must be 1 to 64");
}

namespace {

/// Rights are granted to the roles that exist: an exchange without them runs as its owner. Table by table, so that a new table is nobody's by default.
void grant_rights(PostgresWriter& ledger, const std::string& schema, Kind kind) {
  const auto exists = [&](const char* role) { return ledger.execute("SELECT FROM pg_roles WHERE rolname = $1", {role}).rows() == 1; };
  const auto grant = [&](const std::string& right, const std::string& what, const char* role) {
    ledger.execute("GRANT " + right + " ON " + what + " TO " + role);
  };
  const auto in = [&](const char* table) { return schema + "." + table; };
  for (const char* reader : {"recon", "cutover"})
    if (exists(reader)) {
      grant("USAGE", "SCHEMA " + schema, reader);
      grant("SELECT", "ALL TABLES IN SCHEMA " + schema, reader);
    }
  const char* writer = kind == Kind::production ? "exchange_production" : "exchange_shadow";
  if (exists(writer)) {
    grant("USAGE", "SCHEMA " + schema, writer);
    grant("SELECT", "ALL TABLES IN SCHEMA " + schema, writer);
    grant("INSERT", in("transactions") + ", " + in("mark_cycles") + ", " + in("epochcut_seam"), writer);
    grant("INSERT, UPDATE", in("balances") + ", " + in("resume_tokens") + ", " + in("resume_token_digests") + ", " + in("quiet_windows"), writer);
    grant("USAGE", "SEQUENCE " + in("quiet_windows_id_seq"), writer);
    if (kind == Kind::shadow) grant("INSERT", in("engine_build"), writer);
  }
  // What a candidate sees of production: the token that it follows, and the one table where it says where it stands.
  if (kind == Kind::production && exists("exchange_shadow")) {
    grant("USAGE", "SCHEMA " + schema, "exchange_shadow");
    grant("SELECT", in("resume_tokens") + ", " + in("epochcut_seam") + ", " + in("epochcut_verdict"), "exchange_shadow");
    grant("SELECT, INSERT, UPDATE", in("epochcut_chain"), "exchange_shadow");
  }
  if (exists("cutover")) {
    if (kind == Kind::production) {
      grant("UPDATE (generation, owner, stop_at, successor, splice_id, verdict_id, arms)", in("resume_tokens"), "cutover");
      grant("INSERT", in("epochcut_verdict") + ", " + in("epochcut_seam"), "cutover");
    } else {
      grant("UPDATE (hold_at, hold_until)", in("resume_tokens"), "cutover");
    }
  }
}

}  // namespace

void create_tables(PostgresWriter& ledger, const Layout& layout, const std::string& owner, Kind kind) {
  layout.validate();
  const std::string s = layout.schema + ".";
  ledger.execute("SET client_min_messages = warning");
  ledger.execute("CREATE SCHEMA IF NOT EXISTS " + layout.schema);
  // Keys sort by bytes, as ClickHouse sorts them: an index in a language's order can't serve a comparison.
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(balances (
      account text COLLATE "C" NOT NULL,
      currency text COLLATE "C" NOT NULL,
      amount numeric(38, 8) NOT NULL,
      PRIMARY KEY (account, currency)) WITH (fillfactor = 50))");
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(transactions (
      event_id bigint PRIMARY KEY,
      sequence bigint NOT NULL,
      leg smallint NOT NULL,
      execution_ns bigint NOT NULL,
      trade_id uuid NOT NULL,
      account text COLLATE "C" NOT NULL,
      instrument text COLLATE "C" NOT NULL,
      kind text COLLATE "C" NOT NULL,
      currency text COLLATE "C" NOT NULL,
      amount numeric(38, 8) NOT NULL,
      memo text COLLATE "C",
      generation bigint NOT NULL))");
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(resume_tokens (
      stream text COLLATE "C" NOT NULL,
      authority text COLLATE "C" NOT NULL,
      generation bigint NOT NULL CHECK (generation > 0),
      sequence bigint NOT NULL,
      latest_execution_ns bigint NOT NULL,
      PRIMARY KEY (stream, authority)) WITH (fillfactor = 10))");
  // The sums are unsigned 64-bit numbers, which bigint can't hold.
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(resume_token_digests (
      stream text COLLATE "C" NOT NULL,
      authority text COLLATE "C" NOT NULL,
      relation text COLLATE "C" NOT NULL,
      row_count numeric(20, 0) NOT NULL,
      sum_low numeric(20, 0) NOT NULL,
      sum_high numeric(20, 0) NOT NULL,
      acked_sequence bigint NOT NULL DEFAULT 0,
      acked_by text NOT NULL DEFAULT '',
      PRIMARY KEY (stream, authority, relation)) WITH (fillfactor = 10))");
  // One row per mark cycle, committed with the cycle's token. epoch_sequence: the engine's, at which its books were marked.
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(mark_cycles (
      cycle bigint PRIMARY KEY,
      epoch_sequence bigint NOT NULL,
      execution_ns bigint NOT NULL,
      row_count bigint NOT NULL,
      sum_low numeric(20, 0) NOT NULL,
      sum_high numeric(20, 0) NOT NULL,
      committed_at timestamptz NOT NULL DEFAULT clock_timestamp()))");
  // drained: from then until `ended` nobody writes, and both stores have acknowledged everything.
  ledger.execute("CREATE TABLE IF NOT EXISTS " + s + R"(quiet_windows (
      id bigserial PRIMARY KEY,
      authority text COLLATE "C" NOT NULL,
      began timestamptz NOT NULL DEFAULT clock_timestamp(),
      drained timestamptz,
      ended timestamptz))");
  // An ALTER that has nothing to do would wait for every reader all the same, and every writer for it. `arms` is the newest of its columns.
  const bool has_authority =
      ledger.execute("SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'arms'", {s + "resume_tokens"}).rows() == 1;
  const std::vector<std::string> authority = epochcut::postgres::create_authority(authority_tables(layout), owner);
  for (const std::string& statement : authority)
    if (!has_authority || statement.starts_with("CREATE")) ledger.execute(statement);
  if (kind == Kind::shadow)
    ledger.execute("CREATE TABLE IF NOT EXISTS " + s +
                   "engine_build (engine text COLLATE \"C\" NOT NULL, build_id text COLLATE \"C\" NOT NULL, "
                   "started_at timestamptz NOT NULL DEFAULT clock_timestamp())");
  ledger.execute("INSERT INTO " + s +
                     "resume_tokens (stream, authority, generation, sequence, latest_execution_ns, owner) VALUES ($1, $2, 1, 0, 0, $3) ON CONFLICT DO NOTHING",
                 {std::string(stream_id), layout.authority, owner});
  ledger.execute("INSERT INTO " + s + "resume_token_digests SELECT $1, $2, r, 0, 0, 0 FROM unnest('{positions,transactions}'::text[]) r ON CONFLICT DO NOTHING",
                 {std::string(stream_id), layout.authority});
  grant_rights(ledger, layout.schema, kind);
}

void create_tables(ClickhouseWriter& analytics, const Layout& layout) {
  layout.validate();
  const std::string d = layout.database + ".";
  analytics.execute("CREATE DATABASE IF NOT EXISTS " + layout.database);
  const std::string engine = std::string(" ENGINE = MergeTree") +
                             (layout.partitions > 1 ? " PARTITION BY cityHash64(account) % " + std::to_string(layout.partitions) : "") +
                             // Many small inserts: slow them down late, and fail far later.
                             " ORDER BY event_id SETTINGS parts_to_delay_insert = 1000, parts_to_throw_insert = 5000";
  const std::string origin = "event_id UInt64, sequence UInt64, leg UInt8, execution_ns Int64, trade_id UUID, account String, instrument String, ";
  // Two widths of money on purpose: a sum of the first has to be widened, a sum of the second has to be guarded.
  analytics.execute("CREATE TABLE IF NOT EXISTS " + d + "transactions (" + origin +
                    "kind String, currency String, amount Decimal(18, 8), memo Nullable(String), generation UInt64)" + engine);
  analytics.execute("CREATE TABLE IF NOT EXISTS " + d + "positions (" + origin +
                    "currency String, quantity Int64, cost Decimal(38, 8), realized_pnl Decimal(38, 8), last_note Nullable(String), generation UInt64)" +
                    engine);
  analytics.execute("CREATE TABLE IF NOT EXISTS " + d +
                    "mark_pnl (event_id UInt64, sequence UInt64, account String, instrument String, currency String, total_pnl Decimal(38, 8), "
                    "generation UInt64)" +
                    engine);
  // Who fills this database: a reader that is pointed at the wrong one can say so.
  for (const auto& [table, stream] : {std::pair{"epochcut_stream", stream_id}, std::pair{mark_stream_table, mark_stream_id}}) {
    analytics.execute("CREATE TABLE IF NOT EXISTS " + d + table + " (stream String, authority String) ENGINE = MergeTree ORDER BY stream");
    if (analytics.query("SELECT count() FROM " + d + table) == "0\n") analytics.insert(d + table, std::string(stream) + "\t" + layout.authority + "\n");
  }
}

}  // namespace exchange
