// How are two stores written, so that they can be compared while they are?
// The tandem commit: a batch's rows go to ClickHouse first, then ONE PostgreSQL transaction commits balances, transactions, the resume
// token and the digests of all event ids so far. So (state, token) read in one snapshot is a consistent cut, and every row at or below
// the token has been issued. One engine per authority: the token's compare-and-set stops a second one, and a stop marker in the same row ends this
// one's right at an agreed sequence number (operate/splice.hpp). One thread at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <epochcut/core/token.hpp>
#include <epochcut/operate/splice.hpp>

#include "exchange/authority.hpp"
#include "exchange/clickhouse_writer.hpp"
#include "exchange/fold.hpp"
#include "exchange/insert_pool.hpp"
#include "exchange/postgres_writer.hpp"
#include "exchange/row_chain.hpp"
#include "exchange/schema.hpp"

namespace exchange {

/// acknowledged: a token commits after ClickHouse acknowledged its rows. issued: the rows are only on their way, in any order.
enum class WritePath : std::uint8_t { acknowledged, issued };

/// Where to die, or to fall asleep: the states that a restart must recover from.
enum class CrashPoint : std::uint8_t {
  none,
  batch_folded,  ///< and nothing written
  after_transactions,
  after_positions,
  in_transaction,  ///< everything written, no COMMIT
  commit_sent,
  committed,         ///< and answered
  at_seam,           ///< the last event of its own is committed; before anybody flips
  flip_sent,         ///< the answer is not waited for
  flipped,           ///< by whomever: this one is deposed and does not know it
  chain_unrecorded,  ///< a candidate: it stands at the seam
  chain_recorded,
  taken_over,  ///< a candidate has read the flip back, and not committed yet
  after_marks,
  marks_commit_sent,
};

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
  std::string name = "incumbent";  ///< of this engine: it runs only where the authority's row names it as the owner
  std::string postgres;            ///< libpq connection string of a role that may write
  std::string clickhouse;          ///< http://[user:password@]host:port/
  Layout layout;
  ExecutionStream stream;
  std::uint64_t generation = 0;  ///< 0: the token's
  std::uint64_t batch = 200;     ///< executions
  double rate = 0;               ///< executions per second, 0: as fast as it goes
  WritePath write_path = WritePath::acknowledged;
  InsertOptions inserts;          ///< `writers` and `queue_max` only when issued
  epochcut::SpliceLimits splice;  ///< `seam_wait` and `seam_poll`
  std::size_t recent = 0;         ///< events whose rows and chain are kept for a hot start, at least
  PlantedBug bug = PlantedBug::none;
  std::string commit_log;  ///< a file that gets one line per commit that was answered: wall clock ns, sequence, generation, name
  CrashPoint crash_at = CrashPoint::none, pause_at = CrashPoint::none;  ///< pause: SIGSTOP to itself, once
  std::uint64_t crash_from = 1;                                         ///< in the first batch that reaches this sequence number
  void (*crash)() = nullptr;                                            ///< instead of throwing Crashed
};

/// Dies or falls asleep here, if it was told to.
void reach(const EngineOptions& options, CrashPoint point, std::uint64_t sequence);

/// Creates the tables in both stores, if they are not there. `name` owns the authority if it is new.
void create_tables(const EngineOptions& options);

/// Raises the token's generation, so that whoever writes with the old one is fenced out; disarms, and leaves a seam with the verdict `override`.
/// Returns the new generation.
std::uint64_t depose(const EngineOptions& options);

/// Where a fold stands after one event: what a commit says of it.
struct Folded {
  std::uint64_t sequence = 0;
  std::int64_t execution_ns = 0;
  Digest transactions, positions;
  Chain chain;
};

/// What a candidate has in hand when it takes over, so that nothing is folded again: the state, and the rows of the last events by batch.
struct HotStart {
  Fold fold;
  Chain chain;
  std::deque<std::pair<std::uint64_t, Rows>> recent;  ///< by the last event of each batch
  std::uint64_t recent_after = 0;                     ///< the rows of every later event are there
};

class Engine {
 public:
  /// Reads the token, folds the stream up to it unless `hot` stands there already, and sends again what was never acknowledged.
  /// Errors: Fenced, Failure; `configuration` when the ledger was written from another stream.
  explicit Engine(EngineOptions options, HotStart* hot = nullptr);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();  ///< when issued: after everything was sent, unless a step has failed

  /// One batch, at most up to `limit`; returns the committed sequence number. At a seam or a hold it may return without having committed: call it again.
  /// After an exception this engine is dead: make another. Errors: Failure; Fenced, deposed once the authority has changed hands.
  std::uint64_t step(std::uint64_t limit = no_limit);
  /// When issued: blocks until everything is acknowledged and the ledger says so; false if that takes longer.
  bool drain(std::chrono::milliseconds timeout = std::chrono::seconds(30));
  /// Refuses the splice that this engine knows of.
  void disarm();

  /// Of the fold: ahead of the ledger after a seam or a hold has cut a batch in two.
  const Books& books() const { return fold_.books(); }
  const Fold& fold() const { return fold_; }
  std::uint64_t sequence() const { return committed_.sequence; }
  std::uint64_t generation() const { return generation_; }
  /// The authority's row as this engine last read it.
  const epochcut::AuthorityRow& row() const { return row_; }
  /// What the fold's chain was at one of the `recent` events.
  std::optional<Chain> chain_at(std::uint64_t sequence) const;
  /// For another engine that goes on where this one stands. This one must not step any more.
  HotStart hot() &&;

 private:
  using Clock = std::chrono::steady_clock;

  void resume(HotStart* hot);
  void fold_again(std::uint64_t sequence, const std::uint64_t (&acknowledged)[2]);
  void send_again(const Rows& rows, const std::uint64_t (&acknowledged)[2]);
  void fold_next(Rows& rows);
  void keep(std::uint64_t last, Rows rows);
  std::uint64_t allowed(std::uint64_t limit) const;
  void stand_at_seam(epochcut::OwnerStep::Action action);
  epochcut::Millis waited() const;
  void look();
  Fenced fenced() const;
  void issue();
  void pace(std::uint64_t executions);
  void write_analytics(const std::string& relation, std::string rows);
  bool commit_ledger(std::uint64_t upto);
  void write_ledger(const Folded& at, const Rows& rows);
  void note_commit() const;
  void store_acknowledged(PostgresWriter& ledger, const std::string& relation, std::uint64_t sequence, const std::string& server);
  std::uint64_t generation_of(std::uint64_t sequence) const;
  std::string table(const std::string& name) const { return options_.layout.schema + "." + name; }

  const EngineOptions options_;
  const epochcut::postgres::AuthorityTables tables_;
  PostgresWriter ledger_;
  ClickhouseWriter analytics_;
  std::uint64_t generation_ = 0;
  epochcut::AuthorityRow row_;
  std::vector<epochcut::Seam> seams_;  ///< in rising order
  Fold fold_;
  Folded committed_;
  std::vector<Folded> ahead_;  ///< each event that is folded and not committed
  Rows rows_;                  ///< and their rows
  bool issued_ = false;        ///< which ClickHouse has been sent
  std::string at_seam_;        ///< the splice_id of the seam that it stands at
  Clock::time_point at_seam_since_{};
  std::deque<std::pair<std::uint64_t, Rows>> recent_rows_;
  std::deque<std::pair<std::uint64_t, Chain>> recent_chains_;
  std::uint64_t recent_after_ = 0;
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
