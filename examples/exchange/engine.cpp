#include "exchange/engine.hpp"

#include <algorithm>
#include <cassert>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace exchange {

using epochcut::AuthorityRow;
using epochcut::Failure;
using epochcut::OwnerStep;
using epochcut::Reason;
using std::chrono::milliseconds;

namespace {

std::uint64_t number(std::string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 10); }

const std::string stream_name(stream_id);

constexpr std::uint64_t refold_batch = 5'000;  ///< events; some 20 000 rows in hand at once
constexpr int refusals_max = 100;              ///< of one commit: whoever moves the marker so often does not mean it

/// The rows of the events up to `sequence`, which are taken out.
template <class Row>
std::vector<Row> take(std::vector<Row>& rows, std::uint64_t sequence) {
  const auto end = std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.sequence > sequence; });
  std::vector<Row> taken;
  if (end == rows.end()) {
    taken.swap(rows);
  } else {
    taken.assign(rows.begin(), end);
    rows.erase(rows.begin(), end);
  }
  return taken;
}

}  // namespace

void reach(const EngineOptions& options, CrashPoint point, std::uint64_t sequence) {
  if (sequence < options.crash_from) return;
  static std::atomic<bool> has_slept = false;
  if (options.pause_at == point && !has_slept.exchange(true)) std::raise(SIGSTOP);
  if (options.crash_at != point) return;
  if (options.crash != nullptr) options.crash();
  throw Crashed();
}

void create_tables(const EngineOptions& options) {
  PostgresWriter ledger(options.postgres);
  create_tables(ledger, options.layout, options.name);
  ClickhouseWriter analytics(options.clickhouse);
  create_tables(analytics, options.layout);
}

std::uint64_t depose(const EngineOptions& options) {
  options.layout.validate();
  const auto tables = authority_tables(options.layout);
  PostgresWriter ledger(options.postgres);
  const auto raised = ledger.execute(
      "WITH raised AS (UPDATE " + tables.token +
          " SET generation = generation + 1, stop_at = NULL, successor = NULL, splice_id = NULL, verdict_id = NULL WHERE stream = $1 AND authority = $2 "
          "RETURNING authority, owner, generation, sequence), said AS (INSERT INTO " +
          tables.verdicts +
          " (verdict_id, authority, candidate, build_id, sequence, decision, reason, proof, signed_off_by) SELECT gen_random_uuid(), authority, owner, '', "
          "sequence, 'override', 'deposed by hand', '{}', current_user FROM raised RETURNING verdict_id) INSERT INTO " +
          tables.seams +
          " (splice_id, authority, from_gen, to_gen, s, verdict_id) SELECT gen_random_uuid(), authority, generation - 1, generation, sequence + 1, verdict_id "
          "FROM raised, said RETURNING to_gen",
      {stream_name, options.layout.authority});
  if (raised.rows() != 1) throw Failure(Reason::missing_token, "there is no token of authority " + options.layout.authority + "; create the tables first");
  return number(raised(0, 0));
}

// --- from the token on -----------------------------------------------------------------------------------------------

Engine::Engine(EngineOptions options, HotStart* hot)
    : options_((options.layout.validate(), std::move(options))),
      tables_(authority_tables(options_.layout)),
      ledger_(options_.postgres),
      analytics_(options_.clickhouse),
      fold_(options_.bug) {
  if (options_.batch == 0) throw Failure(Reason::configuration, "a batch must be of at least one execution");
  // A token that the server may forget is none, and the fence looks at the row again only when each statement sees what has committed.
  ledger_.execute("SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'");
  resume(hot);
  if (options_.write_path == WritePath::issued) {
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
    pool_->committed(sequence());
  }
  alive_ = true;
}

Engine::~Engine() {
  if (!alive_ && pool_) pool_->abandon();
}

void Engine::resume(HotStart* hot) {
  // One snapshot: a COMMIT of this engine's predecessor may land between two statements.
  ledger_.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  row_ = read_authority(ledger_, options_.layout);
  const auto digests = ledger_.execute("SELECT relation, row_count, sum_low, sum_high, acked_sequence FROM " + table("resume_token_digests") +
                                           " WHERE stream = $1 AND authority = $2 ORDER BY relation",
                                       {stream_name, options_.layout.authority});
  const auto seams = ledger_.execute("SELECT s, from_gen, to_gen FROM " + tables_.seams + " WHERE authority = $1 ORDER BY to_gen", {options_.layout.authority});
  ledger_.commit();
  if (digests.rows() != 2)
    throw Failure(Reason::missing_token,
                  "there is no token of authority " + options_.layout.authority + " in " + options_.layout.schema + "; create the tables first");
  for (int r = 0; r < seams.rows(); ++r) seams_.push_back({number(seams(r, 0)), number(seams(r, 1)), number(seams(r, 2))});
  generation_ = row_.generation;
  if (options_.generation != 0 && options_.generation != generation_)
    throw Fenced("the token is of generation " + std::to_string(generation_) + ", this engine is of " + std::to_string(options_.generation), true);
  if (row_.owner != options_.name)
    throw Fenced("authority " + options_.layout.authority + " is owned by " + row_.owner + ", this engine is " + options_.name, true);

  const std::uint64_t sequence = row_.committed_seq;
  const std::uint64_t acknowledged[] = {number(digests(0, 4)), number(digests(1, 4))};
  if (hot != nullptr && hot->fold.books().sequence == sequence && hot->recent_after <= std::min(acknowledged[0], acknowledged[1])) {
    fold_ = std::move(hot->fold);
    committed_.chain = hot->chain;
    for (const auto& batch : hot->recent) send_again(batch.second, acknowledged);
  } else {
    fold_again(sequence, acknowledged);
  }
  committed_ = {sequence, books().execution_ns, books().transactions, books().positions, committed_.chain};
  const Digest* folded[] = {&books().positions, &books().transactions};
  bool same = row_.chain == committed_.chain || row_.chain == Chain{};  // a ledger of an earlier version has no chain yet
  for (int r = 0; r < 2; ++r) same &= Digest{number(digests(r, 1)), number(digests(r, 2)), number(digests(r, 3))} == *folded[r];
  if (!same)
    throw Failure(Reason::configuration, "the ledger at sequence " + std::to_string(sequence) +
                                             " was not written from this stream; give the seed and the ties that it was started with");
  for (int r = 0; r < 2; ++r)
    if (acknowledged[r] < sequence) store_acknowledged(ledger_, std::string(digests(r, 0)), sequence, analytics_.server_name());
}

void Engine::fold_again(std::uint64_t sequence, const std::uint64_t (&acknowledged)[2]) {
  while (books().sequence < sequence) {
    Rows rows;
    for (std::uint64_t i = 0; i < refold_batch && books().sequence < sequence; ++i) fold_next(rows);
    committed_.chain = ahead_.back().chain;
    send_again(rows, acknowledged);
    if (books().sequence + options_.recent > sequence)
      keep(books().sequence, std::move(rows));
    else
      recent_after_ = books().sequence;
    ahead_.clear();
  }
}

/// A token may have committed while its rows were still on their way, and those died with their engine. A row that did arrive stands there twice now,
/// under one event id and with one content; and each is sent as the generation that owned its number, or readers would not count it.
void Engine::send_again(const Rows& rows, const std::uint64_t (&acknowledged)[2]) {
  const auto text = [&](const auto& all, std::uint64_t known) {
    std::string lines;
    for (const auto& row : all)
      if (row.sequence > known) append(lines, row, generation_of(row.sequence));
    return lines;
  };
  analytics_.insert(options_.layout.database + ".transactions", text(rows.transactions, acknowledged[1]));
  analytics_.insert(options_.layout.database + ".positions", text(rows.positions, acknowledged[0]));
}

std::uint64_t Engine::generation_of(std::uint64_t sequence) const {
  for (const epochcut::Seam& seam : seams_)
    if (sequence < seam.sequence) return seam.from;
  return generation_;
}

void Engine::fold_next(Rows& rows) {
  const std::size_t transactions = rows.transactions.size(), positions = rows.positions.size();
  const Chain before = ahead_.empty() ? committed_.chain : ahead_.back().chain;
  fold_.apply(options_.stream.at(books().sequence + 1), rows);
  ahead_.push_back(
      {books().sequence, books().execution_ns, books().transactions, books().positions, extend(before, books().sequence, rows, transactions, positions)});
}

/// The rows and chains of what `ahead_` begins with, up to `last`.
void Engine::keep(std::uint64_t last, Rows rows) {
  if (options_.recent == 0) return;
  recent_rows_.emplace_back(last, std::move(rows));
  for (const Folded& at : ahead_)
    if (at.sequence <= last) recent_chains_.emplace_back(at.sequence, at.chain);
  while (recent_rows_.front().first + options_.recent < last) {
    recent_after_ = recent_rows_.front().first;
    recent_rows_.pop_front();
    while (recent_chains_.front().first <= recent_after_) recent_chains_.pop_front();
  }
}

std::optional<Chain> Engine::chain_at(std::uint64_t sequence) const {
  if (sequence == committed_.sequence) return committed_.chain;
  if (recent_chains_.empty() || sequence < recent_chains_.front().first || sequence > recent_chains_.back().first) return std::nullopt;
  return recent_chains_[sequence - recent_chains_.front().first].second;
}

HotStart Engine::hot() && {
  alive_ = false;
  return {std::move(fold_), committed_.chain, std::move(recent_rows_), recent_after_};
}

// --- a batch ---------------------------------------------------------------------------------------------------------

std::uint64_t Engine::step(std::uint64_t limit) {
  assert(alive_);
  if (sequence() >= limit) return sequence();
  alive_ = false;  // until it is known what the ledger has of this batch
  const OwnerStep next = owner_step(row_, options_.name, generation_, waited(), options_.splice);
  if (next.action == OwnerStep::Action::leave) throw fenced();
  if (next.action != OwnerStep::Action::commit) {
    stand_at_seam(next.action);
  } else if (allowed(limit) <= sequence()) {
    // Held. The hold ends without a word to us.
    std::this_thread::sleep_for(options_.splice.seam_poll);
    look();
  } else {
    if (ahead_.empty()) {
      const std::uint64_t executions = std::min(options_.batch, allowed(limit) - sequence());
      pace(executions);
      for (std::uint64_t i = 0; i < executions; ++i) fold_next(rows_);
      reach(options_, CrashPoint::batch_folded, books().sequence);
    }
    issue();
    // Refused while the row is still ours: a marker or a hold came since the last commit, and cuts the batch in two. What lies beyond stays folded and issued,
    // for the day that the marker goes again; if another engine owns it, our rows of it don't count.
    for (int refusals = 0; allowed(limit) > sequence() && !commit_ledger(std::min(allowed(limit), ahead_.back().sequence));)
      if (++refusals == refusals_max) throw fenced();
  }
  alive_ = true;
  return sequence();
}

std::uint64_t Engine::allowed(std::uint64_t limit) const {
  if (row_.marker) limit = std::min(limit, row_.marker->stop_at - 1);
  if (row_.hold_at) limit = std::min(limit, *row_.hold_at);
  return limit;
}

epochcut::Millis Engine::waited() const {
  if (!row_.marker || row_.marker->splice_id != at_seam_) return epochcut::Millis{0};
  return std::chrono::duration_cast<epochcut::Millis>(Clock::now() - at_seam_since_);
}

void Engine::stand_at_seam(OwnerStep::Action action) {
  const std::string id = row_.marker->splice_id;
  if (at_seam_ != id) {
    at_seam_ = id, at_seam_since_ = Clock::now();
    // What is still on its way the successor would have to send again. If it takes longer than we may wait here, that is what happens.
    if (pool_) pool_->drain(options_.splice.seam_wait);
    reach(options_, CrashPoint::at_seam, sequence());
  }
  const std::vector<std::string> which{stream_name, options_.layout.authority, id};
  if (action == OwnerStep::Action::disarm) {
    ledger_.prepared("disarm", epochcut::postgres::disarm(tables_), which);
  } else {
    const std::string flip = epochcut::postgres::flip(tables_);
    if (options_.crash_at == CrashPoint::flip_sent && sequence() >= options_.crash_from) ledger_.send(flip, which);
    reach(options_, CrashPoint::flip_sent, sequence());
    if (ledger_.prepared("flip", flip, which).rows() == 1)
      reach(options_, CrashPoint::flipped, sequence());
    else
      std::this_thread::sleep_for(options_.splice.seam_poll);
  }
  look();
}

void Engine::disarm() {
  if (!row_.marker) return;
  ledger_.prepared("disarm", epochcut::postgres::disarm(tables_), {stream_name, options_.layout.authority, row_.marker->splice_id});
  look();
}

void Engine::look() {
  row_ = read_authority(ledger_, options_.layout);
  if (row_.generation != generation_ || row_.owner != options_.name || row_.committed_seq != sequence()) throw fenced();
}

Fenced Engine::fenced() const {
  const bool deposed = row_.generation != generation_ || row_.owner != options_.name;
  return {"authority " + options_.layout.authority + " has another writer: " + row_.owner + " in generation " + std::to_string(row_.generation) +
              " at sequence " + std::to_string(row_.committed_seq) + ", where this one was " + options_.name + " in generation " + std::to_string(generation_) +
              " at sequence " + std::to_string(sequence()),
          deposed};
}

void Engine::pace(std::uint64_t executions) {
  if (options_.rate <= 0) return;
  const Clock::time_point now = Clock::now();
  if (next_batch_ < now - std::chrono::seconds(1)) next_batch_ = now;  // after a stall: go on, don't catch up
  std::this_thread::sleep_until(next_batch_);
  next_batch_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(executions) / options_.rate));
}

void Engine::issue() {
  if (issued_) return;
  write_analytics("transactions", to_text(rows_.transactions, generation_));
  reach(options_, CrashPoint::after_transactions, books().sequence);
  write_analytics("positions", to_text(rows_.positions, generation_));
  reach(options_, CrashPoint::after_positions, books().sequence);
  issued_ = true;
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

/// False: the row is still this engine's, and says now how far it may go. Errors: Fenced, Failure.
bool Engine::commit_ledger(std::uint64_t upto) {
  const Folded& at = ahead_[upto - sequence() - 1];
  ledger_.execute("BEGIN");
  // The fence. First, so that a second writer waits for this row and then leaves, before it has touched anything else; and what it returns holds until
  // this commits, since nobody else can change the row meanwhile.
  const auto passed = ledger_.prepared("fence", epochcut::postgres::fence(tables_),
                                       {std::to_string(at.sequence), std::to_string(at.execution_ns), to_text(at.chain), stream_name, options_.layout.authority,
                                        std::to_string(generation_), std::to_string(sequence()), options_.name});
  if (passed.rows() != 1) {
    ledger_.execute("ROLLBACK");
    look();
    return false;
  }
  AuthorityRow next = row_;
  next.committed_seq = at.sequence, next.chain = at.chain;
  read_limits(passed, 0, next);

  Rows rows{take(rows_.transactions, at.sequence), take(rows_.positions, at.sequence)};
  write_ledger(at, rows);
  reach(options_, CrashPoint::in_transaction, at.sequence);
  if (options_.crash_at == CrashPoint::commit_sent && at.sequence >= options_.crash_from) ledger_.send("COMMIT");
  reach(options_, CrashPoint::commit_sent, at.sequence);
  ledger_.commit();

  committed_ = at, row_ = std::move(next);
  keep(committed_.sequence, std::move(rows));
  ahead_.erase(ahead_.begin(), std::find_if(ahead_.begin(), ahead_.end(), [&](const Folded& f) { return f.sequence > committed_.sequence; }));
  if (ahead_.empty()) issued_ = false;
  if (pool_) pool_->committed(sequence());
  note_commit();
  reach(options_, CrashPoint::committed, sequence());
  return true;
}

void Engine::write_ledger(const Folded& at, const Rows& rows) {
  ledger_.copy("COPY " + table("transactions") + " FROM STDIN", to_text(rows.transactions, generation_));
  std::string accounts = "{", currencies = "{", amounts = "{";
  for (const BalanceChange& change : balance_changes(rows.transactions)) {
    const char* comma = accounts.size() > 1 ? "," : "";
    (accounts += comma) += account_name(change.account);
    (currencies += comma) += currency_name(change.currency);
    amounts += comma, text::append_money(amounts, change.amount);
  }
  ledger_.prepared("balances",
                   "INSERT INTO " + table("balances") + " AS b SELECT * FROM unnest($1::text[], $2::text[], $3::numeric[]) " +
                       "ON CONFLICT (account, currency) DO UPDATE SET amount = b.amount + excluded.amount",
                   {accounts + "}", currencies + "}", amounts + "}"});
  for (const auto& [relation, digest] : {std::pair{"positions", &at.positions}, std::pair{"transactions", &at.transactions}})
    ledger_.prepared("digest",
                     "UPDATE " + table("resume_token_digests") + " SET row_count = $1, sum_low = $2, sum_high = $3, " +
                         "acked_sequence = greatest(acked_sequence, $4), acked_by = CASE WHEN $4 = 0 THEN acked_by ELSE $5 END " +
                         "WHERE stream = $6 AND authority = $7 AND relation = $8",
                     {std::to_string(digest->count), std::to_string(digest->sum_low), std::to_string(digest->sum_high),
                      pool_ ? "0" : std::to_string(at.sequence), pool_ ? "" : analytics_.server_name(), stream_name, options_.layout.authority, relation});
}

/// One write, appended: engines may share the file, and whoever is killed leaves whole lines. What was committed and not answered is not in it.
void Engine::note_commit() const {
  if (options_.commit_log.empty()) return;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::string line = std::to_string(std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec) + " " + std::to_string(sequence()) + " " +
                           std::to_string(generation_) + " " + options_.name + "\n";
  const int file = ::open(options_.commit_log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  const bool written = file >= 0 && ::write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (file >= 0) ::close(file);
  if (!written) throw Failure(Reason::configuration, "can't write the commit log " + options_.commit_log);
}

void Engine::store_acknowledged(PostgresWriter& ledger, const std::string& relation, std::uint64_t sequence, const std::string& server) {
  // One row per statement: two rows locked here in the other order than commit_ledger does would be a deadlock.
  ledger.prepared("acknowledged",
                  "UPDATE " + table("resume_token_digests") + " SET acked_sequence = greatest(acked_sequence, $1), acked_by = $2 " +
                      "WHERE stream = $3 AND authority = $4 AND relation = $5",
                  {std::to_string(sequence), server, stream_name, options_.layout.authority, relation});
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
      sequence_ = engine.sequence();
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
