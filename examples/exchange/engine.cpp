#include "exchange/engine.hpp"

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <utility>

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;
using std::chrono::milliseconds;

namespace {

std::uint64_t number(std::string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 10); }

const std::string stream_name(stream_id);

}  // namespace

void create_tables(const EngineOptions& options) {
  PostgresWriter ledger(options.postgres);
  create_tables(ledger, options.layout);
  ClickhouseWriter analytics(options.clickhouse);
  create_tables(analytics, options.layout);
}

std::uint64_t depose(const EngineOptions& options) {
  options.layout.validate();
  PostgresWriter ledger(options.postgres);
  const auto raised = ledger.execute(
      "UPDATE " + options.layout.schema + ".resume_tokens SET generation = generation + 1 " + "WHERE stream = $1 AND authority = $2 RETURNING generation",
      {stream_name, options.layout.authority});
  if (raised.rows() != 1) throw Failure(Reason::missing_token, "there is no token of authority " + options.layout.authority + "; create the tables first");
  return number(raised(0, 0));
}

Engine::Engine(EngineOptions options) : options_((options.layout.validate(), std::move(options))), ledger_(options_.postgres), analytics_(options_.clickhouse) {
  if (options_.batch == 0) throw Failure(Reason::configuration, "a batch must be of at least one execution");
  resume();
  if (options_.write_path == WritePath::issued)
    pool_.emplace(options_.clickhouse, options_.layout.database, options_.inserts,
                  [this](const std::string& relation, std::uint64_t sequence, const std::string& server) {
                    try {
                      if (!acknowledgements_) acknowledgements_.emplace(options_.postgres);
                      store_acknowledged(*acknowledgements_, relation, sequence, server);
                    } catch (const Failure&) {
                      acknowledgements_.reset();  // the next call connects again
                      throw;
                    }
                  });
  alive_ = true;
}

Engine::~Engine() {
  if (!alive_ && pool_) pool_->abandon();
}

void Engine::resume() {
  const auto token = ledger_.execute("SELECT t.generation, t.sequence, d.relation, d.row_count, d.sum_low, d.sum_high, d.acked_sequence FROM " +
                                         table("resume_tokens") + " t JOIN " + table("resume_token_digests") +
                                         " d USING (stream, authority) WHERE t.stream = $1 AND t.authority = $2 ORDER BY d.relation",
                                     {stream_name, options_.layout.authority});
  if (token.rows() != 2)
    throw Failure(Reason::missing_token,
                  "there is no token of authority " + options_.layout.authority + " in " + options_.layout.schema + "; create the tables first");
  generation_ = number(token(0, 0));
  if (options_.generation != 0 && options_.generation != generation_)
    throw Fenced("the token is of generation " + std::to_string(generation_) + ", this engine is of " + std::to_string(options_.generation), true);

  const std::uint64_t sequence = number(token(0, 1));
  const std::uint64_t acknowledged[] = {number(token(0, 6)), number(token(1, 6))};
  constexpr std::uint64_t batch = 5'000;
  while (books().sequence < sequence) {
    rows_.clear();
    for (std::uint64_t i = 0; i < batch && books().sequence < sequence; ++i) {
      const std::size_t positions = rows_.positions.size(), transactions = rows_.transactions.size();
      fold_.apply(options_.stream.at(books().sequence + 1), rows_);
      if (books().sequence <= acknowledged[0]) rows_.positions.resize(positions);
      if (books().sequence <= acknowledged[1]) rows_.transactions.resize(transactions);
    }
    // A token may have committed while its rows were still on their way, and those died with their engine. A row that did arrive
    // stands there twice now, under one event id and with one content.
    analytics_.insert(options_.layout.database + ".transactions", to_text(rows_.transactions, generation_));
    analytics_.insert(options_.layout.database + ".positions", to_text(rows_.positions, generation_));
  }
  const Digest* folded[] = {&books().positions, &books().transactions};
  for (int r = 0; r < 2; ++r) {
    const Digest committed{number(token(r, 3)), number(token(r, 4)), number(token(r, 5))};
    if (committed != *folded[r])
      throw Failure(Reason::configuration, "the ledger at sequence " + std::to_string(sequence) +
                                               " was not written from this stream; give the seed and the ties that it was started with");
    if (acknowledged[r] < sequence) store_acknowledged(ledger_, std::string(token(r, 2)), sequence, analytics_.server_name());
  }
}

std::uint64_t Engine::step(std::uint64_t limit) {
  assert(alive_);
  const std::uint64_t previous = books().sequence;
  if (previous >= limit) return previous;
  const std::uint64_t executions = std::min(options_.batch, limit - previous);
  pace(executions);
  alive_ = false;  // until the batch has committed: the fold is ahead of the ledger
  rows_.clear();
  for (std::uint64_t i = 0; i < executions; ++i) fold_.apply(options_.stream.at(books().sequence + 1), rows_);
  const std::string transactions = to_text(rows_.transactions, generation_);
  write_analytics("transactions", transactions);
  crash_if(CrashPoint::after_transactions);
  write_analytics("positions", to_text(rows_.positions, generation_));
  crash_if(CrashPoint::after_positions);
  commit_ledger(previous, transactions);
  alive_ = true;
  return books().sequence;
}

void Engine::pace(std::uint64_t executions) {
  if (options_.rate <= 0) return;
  const Clock::time_point now = Clock::now();
  if (next_batch_ < now - std::chrono::seconds(1)) next_batch_ = now;  // after a stall: go on, don't catch up
  std::this_thread::sleep_until(next_batch_);
  next_batch_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(executions) / options_.rate));
}

void Engine::write_analytics(const std::string& relation, std::string rows) {
  if (pool_) {
    // Bounded, so that an engine can still be stopped while ClickHouse is away.
    const milliseconds timeout(10'000 + options_.inserts.lag_ms + options_.inserts.jitter_ms_max);
    if (pool_->submit({relation, books().sequence, std::move(rows)}, timeout)) return;
    throw Failure(Reason::timeout, "the queue of inserts has been full for " + std::to_string(timeout.count()) + " ms; ClickHouse does not keep up").retry();
  }
  if (options_.inserts.lag_ms > 0) std::this_thread::sleep_for(milliseconds(options_.inserts.lag_ms));
  analytics_.insert(options_.layout.database + "." + relation, rows);
}

void Engine::commit_ledger(std::uint64_t previous, const std::string& transactions) {
  const std::string& authority = options_.layout.authority;
  ledger_.execute("BEGIN");
  // The fence. First, so that a second writer waits for this row and then leaves, before it has touched anything else.
  const auto fenced = ledger_.prepared(
      "fence",
      "UPDATE " + table("resume_tokens") + " SET sequence = $1, latest_execution_ns = $2 " +
          "WHERE stream = $3 AND authority = $4 AND generation = $5 AND sequence = $6",
      {std::to_string(books().sequence), std::to_string(books().execution_ns), stream_name, authority, std::to_string(generation_), std::to_string(previous)});
  if (fenced.affected() != 1) {
    ledger_.execute("ROLLBACK");
    const auto now = ledger_.execute("SELECT generation FROM " + table("resume_tokens") + " WHERE stream = $1 AND authority = $2", {stream_name, authority});
    const bool deposed = now.rows() != 1 || number(now(0, 0)) != generation_;
    throw Fenced("another writer holds the token of authority " + authority + ": this one expected generation " + std::to_string(generation_) +
                     " at sequence " + std::to_string(previous),
                 deposed);
  }
  ledger_.copy("COPY " + table("transactions") + " FROM STDIN", transactions);
  std::string accounts = "{", currencies = "{", amounts = "{";
  for (const BalanceChange& change : balance_changes(rows_.transactions)) {
    const char* comma = accounts.size() > 1 ? "," : "";
    (accounts += comma) += account_name(change.account);
    (currencies += comma) += currency_name(change.currency);
    amounts += comma, text::append_money(amounts, change.amount);
  }
  ledger_.prepared("balances",
                   "INSERT INTO " + table("balances") + " AS b SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[]) " +
                       "ON CONFLICT (account, currency) DO UPDATE SET amount = b.amount + excluded.amount",
                   {accounts + "}", currencies + "}", amounts + "}"});
  for (const auto& [relation, digest] : {std::pair{"positions", &books().positions}, std::pair{"transactions", &books().transactions}})
    ledger_.prepared("digest",
                     "UPDATE " + table("resume_token_digests") + " SET row_count = $1, sum_low = $2, sum_high = $3, " +
                         "acked_sequence = greatest(acked_sequence, $4), acked_by = CASE WHEN $4 = 0 THEN acked_by ELSE $5 END " +
                         "WHERE stream = $6 AND authority = $7 AND relation = $8",
                     {std::to_string(digest->count), std::to_string(digest->sum_low), std::to_string(digest->sum_high),
                      pool_ ? "0" : std::to_string(books().sequence), pool_ ? "" : analytics_.server_name(), stream_name, authority, relation});
  if (options_.crash_at == CrashPoint::commit_sent && books().sequence >= options_.crash_from) ledger_.send_commit();
  crash_if(CrashPoint::commit_sent);
  ledger_.commit();
}

void Engine::store_acknowledged(PostgresWriter& ledger, const std::string& relation, std::uint64_t sequence, const std::string& server) {
  // One row per statement: two rows locked here in the other order than commit_ledger does would be a deadlock.
  ledger.prepared("acknowledged",
                  "UPDATE " + table("resume_token_digests") + " SET acked_sequence = greatest(acked_sequence, $1), acked_by = $2 " +
                      "WHERE stream = $3 AND authority = $4 AND relation = $5",
                  {std::to_string(sequence), server, stream_name, options_.layout.authority, relation});
}

void Engine::crash_if(CrashPoint point) {
  if (options_.crash_at != point || books().sequence < options_.crash_from) return;
  if (options_.crash != nullptr) options_.crash();
  throw Crashed();
}

bool Engine::drain(milliseconds timeout) { return !pool_ || pool_->drain(timeout); }

RunningEngine::RunningEngine(EngineOptions options, std::uint64_t limit)
    : thread_([this, options = std::move(options), limit](std::stop_token stop) { run(stop, options, limit); }) {}

void RunningEngine::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void RunningEngine::run(std::stop_token stop, const EngineOptions& options, std::uint64_t limit) {
  // A COMMIT whose answer was lost may still take effect behind our back: then the fence stops us once, and we read the token again.
  bool reopened = false;
  while (true) {
    try {
      Engine engine(options);
      sequence_ = engine.books().sequence;
      while (!stop.stop_requested() && sequence_ < limit) {
        sequence_ = engine.step(limit);
        reopened = false;
      }
      engine.drain();
      break;
    } catch (const Failure& failure) {
      error_ = failure.what();
      if (!failure.retryable) break;
    } catch (const Fenced& fenced) {
      error_ = fenced.what();
      if (fenced.deposed || !reopened) break;
    } catch (const std::exception& other) {
      error_ = other.what();
      break;
    }
    reopened = true;
    if (stop.stop_requested()) break;
    std::this_thread::sleep_for(milliseconds(200));
    error_.clear();
  }
  running_ = false;
}

}  // namespace exchange
