// How are two stores written, so that they can be compared while they are?
// The tandem commit: a batch's rows go to ClickHouse first, then ONE PostgreSQL transaction commits balances, transactions, the resume
// token and the digests of all event ids so far. So (state, token) read in one snapshot is a consistent cut, and every row at or below
// the token has been issued. One engine per authority: the token's compare-and-set stops a second one. One thread at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/fold.hpp"
#include "exchange/insert_pool.hpp"
#include "exchange/postgres_writer.hpp"
#include "exchange/schema.hpp"

namespace exchange {

/// acknowledged: a token commits after ClickHouse acknowledged its rows. issued: the rows are only on their way, in any order.
enum class WritePath : std::uint8_t { acknowledged, issued };

/// Where to die: the partial states that a restart must recover from.
enum class CrashPoint : std::uint8_t { none, after_transactions, after_positions, commit_sent, after_marks, marks_commit_sent };

inline constexpr std::uint64_t no_limit = std::numeric_limits<std::int64_t>::max();

/// Another writer holds the token. `deposed`: for good, its generation has moved on.
struct Fenced : std::runtime_error {
  Fenced(const std::string& what, bool deposed_) : std::runtime_error(what), deposed(deposed_) {}
  bool deposed;
};

struct Crashed : std::runtime_error {
  Crashed() : std::runtime_error("the engine crashed where it was told to") {}
};

struct EngineOptions {
  std::string postgres;    ///< libpq connection string of the owner
  std::string clickhouse;  ///< http://[user:password@]host:port/
  Layout layout;
  ExecutionStream stream;
  std::uint64_t generation = 0;  ///< 0: the token's
  std::uint64_t batch = 200;     ///< executions
  double rate = 0;               ///< executions per second, 0: as fast as it goes
  WritePath write_path = WritePath::acknowledged;
  InsertOptions inserts;  ///< `writers` and `queue_max` only when issued
  CrashPoint crash_at = CrashPoint::none;
  std::uint64_t crash_from = 1;  ///< in the first batch that reaches this sequence number
  void (*crash)() = nullptr;     ///< instead of throwing Crashed
};

/// Creates the tables in both stores, if they are not there.
void create_tables(const EngineOptions& options);

/// Raises the token's generation, so that whoever writes with the old one is fenced out. Returns the new one.
std::uint64_t depose(const EngineOptions& options);

class Engine {
 public:
  /// Reads the token, folds the stream up to it, and sends again what was never acknowledged.
  /// Errors: Fenced, Failure; `configuration` when the ledger was written from another stream.
  explicit Engine(EngineOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();  ///< when issued: after everything was sent, unless a step has failed

  /// One batch, at most up to `limit`; returns the committed sequence number. After an exception this engine is dead: make another.
  std::uint64_t step(std::uint64_t limit = no_limit);
  /// When issued: blocks until everything is acknowledged and the ledger says so; false if that takes longer.
  bool drain(std::chrono::milliseconds timeout = std::chrono::seconds(30));

  const Books& books() const { return fold_.books(); }
  const Fold& fold() const { return fold_; }
  std::uint64_t generation() const { return generation_; }

 private:
  using Clock = std::chrono::steady_clock;

  void resume();
  void pace(std::uint64_t executions);
  void write_analytics(const std::string& relation, std::string rows);
  void commit_ledger(std::uint64_t previous, const std::string& transactions);
  void store_acknowledged(PostgresWriter& ledger, const std::string& relation, std::uint64_t sequence, const std::string& server);
  void crash_if(CrashPoint point);
  std::string table(const std::string& name) const { return options_.layout.schema + "." + name; }

  const EngineOptions options_;
  PostgresWriter ledger_;
  ClickhouseWriter analytics_;
  std::uint64_t generation_ = 0;
  Fold fold_;
  Rows rows_;
  Clock::time_point next_batch_{};
  bool alive_ = false;
  std::optional<PostgresWriter> acknowledgements_;  ///< the pool's own connection; before the pool, which uses it to its end
  std::optional<InsertPool> pool_;
};

/// An engine on a thread of its own, which reopens it when a store goes away and comes back.
class RunningEngine {
 public:
  explicit RunningEngine(EngineOptions options, std::uint64_t limit = no_limit);
  ~RunningEngine() { stop(); }

  /// Finishes the batch and, when issued, everything that is on its way.
  void stop();
  bool running() const { return running_; }
  std::uint64_t sequence() const { return sequence_; }  ///< committed
  /// Why it ended by itself: empty while it runs, after stop() and at the limit. Call it when it does not run.
  const std::string& error() const { return error_; }

 private:
  void run(std::stop_token stop, const EngineOptions& options, std::uint64_t limit);

  std::atomic<std::uint64_t> sequence_ = 0;
  std::atomic<bool> running_ = true;
  std::string error_;
  std::jthread thread_;
};

}  // namespace exchange
