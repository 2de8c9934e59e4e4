// A PostgreSQL ledger beside a ClickHouse 26 in this process, a few rows each: tests/live/world.hpp with another follower.
#pragma once

#include <string>
#include <vector>

#include "chdb/engine.hpp"
#include "live/world.hpp"

namespace live {

class Pair {
 public:
  explicit Pair(const std::string& test, const std::string& amount_type = "Decimal(18, 8)", const std::string& settings = "") : world_("chdb_" + test) {
    engine.execute("CREATE TABLE transactions (event_id UInt64, currency String, amount " + amount_type +
                   ", memo Nullable(String)) ENGINE = MergeTree ORDER BY event_id" + settings);
  }

  static std::string row(const Event& e) { return std::to_string(e.id()) + "\t" + e.currency + "\t" + e.amount + "\t\\N\n"; }

  /// One insert each, so one part each.
  void issue(const std::vector<Event>& events) {
    for (const Event& e : events) engine.insert("transactions", row(e));
  }

  /// The ledger's one transaction; `acked`: by the engine in this process.
  void commit(const std::vector<Event>& events, bool acked = true) {
    world_.commit(events, acked);
    auto source = engine.source();
    pg().execute("update resume_token_digests set acked_by = $1", {source.visible("transactions", {.at_rest = true}, {}).server.name});
  }
  void write(const std::vector<Event>& events) {
    issue(events);
    commit(events);
  }

  /// Lets the token count another relation with the same event ids.
  void declare(const std::string& relation) {
    pg().execute(
        "insert into resume_token_digests select stream, authority, $1, row_count, sum_low, sum_high, acked_sequence, acked_by from resume_token_digests"
        " where relation = 'transactions'",
        {relation});
  }

  Postgres ledger() const { return world_.ledger(); }
  exchange::PostgresWriter& pg() { return world_.pg; }

 private:
  World world_;

 public:
  Engine engine;
};

}  // namespace live
