// On which ways do rows reach the follower, and who says whether a verdict on them is wrong?
// The write paths that the soak and the horizon's table run, their stores, the invariants that are checked on each, and a referee that
// refolds the stream and believes neither store. Tests only; one thread per object. Source: docs/horizon.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "exchange/oracle.hpp"

namespace horizon {

using namespace epochcut;

struct Path {
  const char* name;
  const char* label;  ///< of its schema and database
  exchange::WritePath write_path;
  int writers, partitions, jitter_ms_max;
  bool ties = false;     ///< the first event of a batch shares the nanosecond of the last one of the batch before
  bool crashes = false;  ///< the writer is killed at random and its batches are replayed, cut differently
};

inline constexpr Path paths[] = {{"acked, 1 partition", "acked_1", exchange::WritePath::acknowledged, 1, 1, 0},
                                 {"acked, 8 partitions", "acked_8", exchange::WritePath::acknowledged, 1, 8, 0},
                                 {"acked, ties at E", "ties", exchange::WritePath::acknowledged, 1, 1, 0, true},
                                 {"issued, 1 writer, 1 partition", "issued_1_1", exchange::WritePath::issued, 1, 1, 0},
                                 {"issued, 1 writer, 8 partitions", "issued_1_8", exchange::WritePath::issued, 1, 8, 0},
                                 {"issued, 4 writers", "issued_4", exchange::WritePath::issued, 4, 1, 0},
                                 {"issued, 4 writers, <= 30 ms jitter", "jitter", exchange::WritePath::issued, 4, 1, 30},
                                 {"acked, crashes", "acked_crash", exchange::WritePath::acknowledged, 1, 1, 0, false, true},
                                 {"issued, 4 writers, crashes", "issued_4_crash", exchange::WritePath::issued, 4, 1, 0, false, true},
                                 {"jitter, crashes", "jitter_crash", exchange::WritePath::issued, 4, 1, 30, false, true}};

/// Inserts on their way at once: bounded, so that a store that can't keep up slows its writer down, as in life.
inline constexpr std::size_t inserts_on_their_way_max = 8;

inline std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

inline bool full() { return number_from("EPOCHCUT_FULL", 0) == 1; }

/// How a path is written, into stores named after `test` and this process. `tie_every`: of a path with ties.
inline exchange::EngineOptions engine_options(const Path& path, const std::string& test, std::uint64_t seed, std::uint64_t batch, std::uint64_t tie_every) {
  exchange::EngineOptions options;
  options.postgres = std::getenv("EPOCHCUT_POSTGRES");
  options.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
  options.layout.schema = options.layout.database = test + "_" + path.label + "_" + std::to_string(getpid());
  options.layout.partitions = path.partitions;
  options.stream = {.seed = seed, .tie_every = path.ties ? tie_every : 0};
  options.batch = batch;
  options.write_path = path.write_path;
  options.inserts = {.writers = path.writers, .jitter_ms_max = path.jitter_ms_max, .queue_max = inserts_on_their_way_max};
  return options;
}

inline void drop_tables(const exchange::EngineOptions& options) {
  exchange::PostgresWriter(options.postgres).execute("set client_min_messages = warning; drop schema if exists " + options.layout.schema + " cascade");
  exchange::ClickhouseWriter(options.clickhouse).execute("DROP DATABASE IF EXISTS " + options.layout.database);
}

/// Both stores of one path and what must hold between them. The invariants refer to the sources: not to be moved.
struct Stores {
  explicit Stores(const exchange::EngineOptions& options)
      : ledger(options.postgres + " options='-c search_path=" + options.layout.schema + "'",
               {.stream = std::string(exchange::stream_id),
                .leg_bits = exchange::leg_bits,
                .acknowledged = options.write_path == exchange::WritePath::acknowledged}),
        analytics(options.clickhouse + "?database=" + options.layout.database) {}
  Stores(const Stores&) = delete;
  Stores& operator=(const Stores&) = delete;

  // By account too: a trade without profit moves nothing in the sum over all accounts, so that one hides late rows.
  static Query balances() { return current("balances").by("account", "currency").sum("amount"); }
  static Query transactions() { return events("transactions").by("account", "currency").sum("amount"); }

  std::vector<Outcome> check_live(const CheckOptions& options) { return check(ledger, std::span<const Invariant>(live), options); }

  Postgres ledger;
  ClickHouse analytics;
  const std::vector<Invariant> live{{"transactions-balance-live", {ledger, balances()}, {analytics, transactions()}},
                                    {"position-realized-pnls-balance-live",
                                     {analytics, latest("positions").per("account", "instrument").by("account").sum("realized_pnl").as("pnl")},
                                     {analytics, events("transactions").where("kind", "realized_pnl").by("account").sum("amount").as("pnl")},
                                     {{.column = "pnl", .absent_is_zero = true}}}};
};

/// Does this outcome name what was broken?
inline bool names(const Outcome& o, const exchange::Corruption& c) {
  if (c.fault == exchange::Fault::conflicting_row)
    return o.reason == Reason::conflicting_rows && o.message.find(std::to_string(c.event_id)) != std::string::npos;
  for (const Difference& d : o.differences) {
    const bool both = d.kind != DifferenceKind::changed || (!d.left.empty() && !d.right.empty());
    if (to_string(d.key[0].value.value()) == c.account && to_string(d.key[1].value.value()) == c.currency && both) return true;
  }
  return false;
}

/// Judges verdicts by the refolded stream and by what was planted into transactions.
class Referee {
 public:
  explicit Referee(const exchange::ExecutionStream& stream) : oracle_(stream) {}

  /// Why this verdict is wrong; empty if it is right. An error and a skip assert nothing and are never wrong.
  std::string wrong(const Outcome& o, const std::optional<exchange::Corruption>& planted) {
    using exchange::Fault;
    if (o.status == Status::error || o.status == Status::skipped) return {};
    const bool broken = planted && planted->fault != Fault::duplicate_row;
    if (!broken && o.status == Status::fail) return "WRONG FAIL";
    // The first check must see every fault. The second must where its sums or its proof are touched.
    const bool must_see = broken && (o.id == "transactions-balance-live" || planted->fault == Fault::delete_row || planted->fault == Fault::extra_row ||
                                     (planted->fault == Fault::change_amount && planted->kind == "realized_pnl"));
    if (must_see && o.status == Status::pass) return "WRONG PASS";
    if (must_see && o.status == Status::fail && o.id == "transactions-balance-live" && !names(o, *planted)) return "NAMES NO KEY";
    if (o.status == Status::pass) {
      // What was compared was all that there was: the ids that the read itself proved are those of the refolded stream.
      const exchange::Books& books = oracle_.at(o.epoch->sequence);
      if (o.right.ids != books.transactions) return "PASSED INCOMPLETE";
      if (o.id == "position-realized-pnls-balance-live" && o.left.ids != books.positions) return "PASSED INCOMPLETE";
      if (o.counts.equal == 0) return "PASSED EMPTY";
    }
    return {};
  }

  exchange::Oracle& oracle() { return oracle_; }

 private:
  exchange::Oracle oracle_;
};

/// What came out of one path's checks.
struct Tally {
  static constexpr std::size_t errors_kept_max = 3;  ///< enough for people; all are counted

  int runs = 0, asserted = 0;       ///< cuts, and those of which every invariant came to pass or fail
  int statuses[4] = {};             ///< of outcomes, by Status
  int run_statuses[4] = {};         ///< of runs: the worst of their outcomes
  std::vector<std::string> wrong;   ///< every wrong verdict, in words
  std::vector<std::string> errors;  ///< the first errors, for people

  void add(const Path& path, std::span<const Outcome> outcomes, const std::optional<exchange::Corruption>& planted, Referee& referee) {
    Status worst = Status::pass;
    bool all = true;
    for (const Outcome& o : outcomes) {
      ++statuses[static_cast<int>(o.status)];
      worst = all_of(worst, o.status);
      const bool asserts = o.status == Status::pass || o.status == Status::fail;
      all = all && asserts;
      const std::string what = std::string(path.name) + ": " + to_text(o) + (planted ? "\n    planted: " + exchange::to_string(*planted) : "");
      if (const std::string why = referee.wrong(o, planted); !why.empty()) wrong.push_back(why + ": " + what);
      if (!asserts && errors.size() < errors_kept_max) errors.push_back(what);
    }
    ++runs;
    asserted += all;
    ++run_statuses[static_cast<int>(worst)];
  }
};

}  // namespace horizon
