// What do the tests of marks, custody and quiet windows stand on?
// A schema and a database of their own in both stores, gone afterwards, and the library's sources on them. One thread at a time.
#pragma once

#include <cstdlib>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "exchange/engine.hpp"
#include "exchange/marks.hpp"
#include "exchange/oracle.hpp"
#include "exchange/venue.hpp"
#include "support/catch.hpp"

namespace venue {

using namespace epochcut;
using exchange::EngineOptions;
using exchange::Venue;
using exchange::VenueOptions;

inline bool full() {
  const char* const wanted = std::getenv("EPOCHCUT_FULL");
  return wanted != nullptr && std::string_view(wanted) == "1";
}

/// Has no row: with absent_is_zero the other side of "this adds up to nothing". Then no row on the first side either is empty, not equal.
struct Zero {
  Relation scan(const std::string&) const {
    Relation rows;
    rows.add("currency", Role::key, Type::text), rows.add("total_pnl", Role::value, Type::decimal, exchange::money_scale);
    return rows;
  }
};

struct Stores {
  VenueOptions options;
  exchange::PostgresWriter ledger{std::getenv("EPOCHCUT_POSTGRES")};
  exchange::ClickhouseWriter analytics{std::getenv("EPOCHCUT_CLICKHOUSE")};

  explicit Stores(int partitions = 1) {
    static int count = 0;
    EngineOptions& e = options.engine;
    e.postgres = std::getenv("EPOCHCUT_POSTGRES"), e.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
    name = "venue_test_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
    e.layout = {.authority = "production", .schema = name, .database = name, .partitions = partitions};
    e.stream.seed = 7;
    exchange::create_tables(e);
  }
  ~Stores() {
    try {
      exchange::PostgresWriter(std::getenv("EPOCHCUT_POSTGRES")).execute("SET client_min_messages = warning; DROP SCHEMA " + name + " CASCADE");
      exchange::ClickhouseWriter(std::getenv("EPOCHCUT_CLICKHOUSE")).execute("DROP DATABASE " + name);
    } catch (const std::exception& e) {
      WARN(e.what());
    }
  }

  std::string ask_ledger(const std::string& sql) { return std::string(ledger.execute("SET search_path = " + name + "; " + sql)(0, 0)); }
  std::string ask_analytics(const std::string& sql) {
    std::string answer = analytics.query(sql);
    return answer.substr(0, answer.find_last_not_of('\n') + 1);
  }
  std::uint64_t token() { return std::stoull(ask_ledger("SELECT sequence FROM resume_tokens WHERE stream = 'trade_engine'")); }
  std::uint64_t cycle() { return std::stoull(ask_ledger("SELECT coalesce(max(sequence), 0) FROM resume_tokens WHERE stream = 'mark_cycles'")); }

  /// Of a program `exchange` that works on these stores.
  std::vector<std::string> command(const std::string& program, const std::vector<std::string>& more) const {
    std::vector<std::string> words{program,        "run",
                                   "--postgres",   options.engine.postgres,
                                   "--clickhouse", options.engine.clickhouse,
                                   "--schema",     name,
                                   "--database",   name,
                                   "--seed",       std::to_string(options.engine.stream.seed)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string dsn() const { return options.engine.postgres + " options='-c search_path=" + name + "'"; }
  std::string url() const { return options.engine.clickhouse + "?database=" + name; }
  Postgres engine_anchor() const {
    return Postgres{dsn(), {.stream = "trade_engine", .acknowledged = options.engine.write_path == exchange::WritePath::acknowledged}};
  }
  Postgres mark_anchor() const { return Postgres{dsn(), {.stream = "mark_cycles", .leg_bits = 20, .acknowledged = true}}; }
  ClickHouse mark_follower() const { return ClickHouse{url(), {.stream_table = exchange::mark_stream_table}}; }
  ClickHouse follower() const { return ClickHouse{url()}; }

  std::string name;
};

inline Query marks() { return events("mark_pnl").by("currency").sum("total_pnl"); }

/// pnl-is-zero-sum as of the newest mark cycle, over all cycles.
inline Outcome check_marks(const Stores& stores, Millis budget = Millis{2'000}) {
  Postgres anchor = stores.mark_anchor();
  ClickHouse follower = stores.mark_follower();
  Zero zero;
  return check(anchor,
               Invariant{"pnl-is-zero-sum",
                         {follower, marks()},
                         {at_rest(zero), current("zero").by("currency").sum("total_pnl")},
                         {{.column = "total_pnl", .absent_is_zero = true}}},
               {.horizon = {.budget = budget, .first_delay = Millis{20}, .max_visibility_lag = Millis{100}}});
}

inline void advance(Venue& venue, std::uint64_t sequence) {
  while (venue.sequence() < sequence) venue.step(sequence);
}

}  // namespace venue
