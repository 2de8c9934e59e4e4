// A ledger and an analytics store of a few rows each, written by hand: what a live test needs to put one fault into an otherwise sound pair.
// Its own PostgreSQL schema and ClickHouse database, dropped at the end. `issue` writes ClickHouse, `commit` writes the ledger with its token.
#pragma once

#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"

namespace live {

using namespace epochcut;

/// One ledger event: `leg` of `sequence` moves `amount` (a decimal as text) of `currency`.
struct Event {
  std::uint64_t sequence = 0, leg = 0;
  std::string currency = "EUR", amount = "1";
  std::uint64_t id() const { return sequence << 8 | leg; }
};

class World {
 public:
  explicit World(const std::string& test, const std::string& amount_type = "Decimal(18, 8)")
      : name("t_" + test + "_" + std::to_string(getpid())), pg(std::getenv("EPOCHCUT_POSTGRES")), ch(std::getenv("EPOCHCUT_CLICKHOUSE")) {
    drop();
    pg.execute(
        "create schema " + name + "; set search_path = " + name +
        "; create table balances (currency text collate \"C\" primary key, amount numeric(38,8) not null)"
        "; create table resume_tokens (stream text, authority text, generation bigint, sequence bigint, latest_execution_ns bigint, primary key (stream, authority))"
        "; create table resume_token_digests (stream text, authority text, relation text, row_count numeric(20,0), sum_low numeric(20,0), sum_high numeric(20,0),"
        " acked_sequence bigint not null default 0, acked_by text not null default '', primary key (stream, authority, relation))");
    ch.execute("CREATE DATABASE " + name);
    ch.execute("CREATE TABLE " + name + ".transactions (event_id UInt64, currency String, amount " + amount_type +
               ", memo Nullable(String)) ENGINE = MergeTree ORDER BY event_id");
  }
  ~World() {
    try {
      drop();
    } catch (...) {  // a test that broke its server has failed already
    }
  }

  void issue(const Event& e, const std::string& amount = "") {
    ch.insert(name + ".transactions", std::to_string(e.id()) + "\t" + e.currency + "\t" + (amount.empty() ? e.amount : amount) + "\t\\N\n");
  }
  void issue(const std::vector<Event>& events) {
    for (const Event& e : events) issue(e);
  }

  /// The ledger's one transaction. `acked`: the ledger also knows that the follower acknowledged everything up to here.
  void commit(const std::vector<Event>& events, bool acked = true, std::int64_t ns = 1'000) {
    pg.execute("begin");
    std::uint64_t sequence = last_sequence;
    for (const Event& e : events) {
      pg.execute("insert into balances values ($1, $2::numeric) on conflict (currency) do update set amount = balances.amount + excluded.amount",
                 {e.currency, e.amount});
      ids += digest_of_event_id(e.id());
      sequence = e.sequence;
    }
    last_sequence = sequence;
    const std::string s = std::to_string(sequence);
    pg.execute(
        "insert into resume_tokens values ('test', 'production', 1, $1::bigint, $2::bigint) on conflict (stream, authority) do update set sequence = excluded.sequence,"
        " latest_execution_ns = excluded.latest_execution_ns",
        {s, std::to_string(ns)});
    pg.execute(
        "insert into resume_token_digests values ('test', 'production', 'transactions', $1::numeric, $2::numeric, $3::numeric, $4::bigint, $5) on conflict (stream, authority,"
        " relation) do update set row_count = excluded.row_count, sum_low = excluded.sum_low, sum_high = excluded.sum_high, acked_sequence = excluded.acked_sequence,"
        " acked_by = excluded.acked_by",
        {std::to_string(ids.count), std::to_string(ids.sum_low), std::to_string(ids.sum_high), acked ? s : "0", ch.server_name()});
    pg.commit();
  }

  /// Into both, as a sound writer does.
  void write(const std::vector<Event>& events, bool acked = true) {
    issue(events);
    commit(events, acked);
  }

  std::string dsn() const { return std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + name + "'"; }
  std::string url() const { return std::string(std::getenv("EPOCHCUT_CLICKHOUSE")) + "?database=" + name; }
  Postgres ledger() const { return Postgres{dsn(), {.stream = "test"}}; }
  ClickHouse analytics() const { return ClickHouse{url()}; }

  const std::string name;
  exchange::PostgresWriter pg;
  exchange::ClickhouseWriter ch;
  Digest ids;
  std::uint64_t last_sequence = 0;

 private:
  /// On connections of its own: a test may have taken its servers away and brought them back.
  void drop() {
    exchange::PostgresWriter(std::getenv("EPOCHCUT_POSTGRES")).execute("set client_min_messages = warning; drop schema if exists " + name + " cascade");
    exchange::ClickhouseWriter(std::getenv("EPOCHCUT_CLICKHOUSE")).execute("DROP DATABASE IF EXISTS " + name);
  }
};

inline Query balances() { return current("balances").by("currency").sum("amount"); }
inline Query transactions() { return events("transactions").by("currency").sum("amount"); }

/// Short waits: a test's store is late by milliseconds or for ever.
inline CheckOptions quick(Millis budget = Millis{400}) { return {.horizon = {.budget = budget, .first_delay = Millis{20}, .max_visibility_lag = Millis{50}}}; }

template <class Ledger, class Analytics>
Outcome check_balances(Ledger& ledger, Analytics& analytics, const CheckOptions& options = quick()) {
  return check(ledger, Invariant{.id = "balances", .left = {ledger, balances()}, .right = {analytics, transactions()}}, options);
}

}  // namespace live
