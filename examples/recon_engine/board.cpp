#include "recon_engine/board.hpp"

#include <algorithm>
#include <utility>

namespace recon_engine {

namespace {

template <class T>
void keep_last(std::vector<T>& all, std::size_t max) {
  if (all.size() > max) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(max));
}

void take(CheckState& check, const Run& run) {
  if (asserts(run)) {
    check.unasserted = 0;
    check.last_asserted = run.finished;
    if (run.status == epochcut::Status::pass) check.last_passed = run.finished;
  } else {
    ++check.unasserted;
  }
  check.runs.push_back(run);
  keep_last(check.runs, runs_kept_max);
}

/// What this run shows of the stores that were asked: an epoch comes from the ledger, a verdict from both.
void reach(std::set<std::string>& reached, const Run& run) {
  if (run.epoch) reached.insert("postgres");
  if (asserts(run)) reached.insert({"postgres", "clickhouse"});
}

}  // namespace

Board::Board(Instant started, std::string version) {
  state_.engine.started = started;
  state_.engine.version = std::move(version);
}

CheckState* Board::find(std::string_view check_id) {
  const auto found = std::find_if(state_.checks.begin(), state_.checks.end(), [&](const CheckState& c) { return c.config.id == check_id; });
  return found == state_.checks.end() ? nullptr : &*found;
}

void Board::configure(const std::vector<CheckSummary>& checks) {
  const std::lock_guard lock(mutex_);
  std::vector<CheckState> next;
  for (const CheckSummary& config : checks) {
    if (next.size() == checks_shown_max) break;
    CheckState* known = find(config.id);
    next.push_back(known != nullptr ? std::move(*known) : CheckState{});
    next.back().config = config;
    if (!config.enabled) next.back().next_fire.reset();
  }
  state_.checks = std::move(next);
  state_.engine.configured = true;
  state_.engine.config_problem.clear();
}

void Board::restore(const std::vector<Run>& runs) {
  const std::lock_guard lock(mutex_);
  for (const Run& run : runs)
    if (CheckState* check = find(run.check_id)) take(*check, run);
}

void Board::add(const Run& run) {
  const std::lock_guard lock(mutex_);
  reach(state_.engine.reached, run);
  CheckState* check = find(run.check_id);
  if (check == nullptr) return;
  // Runs are recorded by another thread than the one that runs them, so the next may have begun by now: it goes on.
  if (check->running_since && *check->running_since <= run.started) check->running_since.reset();
  ++check->ended[static_cast<std::size_t>(run.status)];
  take(*check, run);
}

void Board::began(std::string_view check_id, Instant at) {
  const std::lock_guard lock(mutex_);
  if (CheckState* check = find(check_id)) check->running_since = at;
}

void Board::waiting(std::string_view check_id, std::optional<Instant> next_fire, std::uint64_t missed, std::uint64_t coalesced) {
  const std::lock_guard lock(mutex_);
  CheckState* check = find(check_id);
  if (check == nullptr) return;
  Counted& before = counted_[check->config.id];
  // A schedule made anew counts from zero.
  const std::uint64_t newly_missed = missed >= before.missed ? missed - before.missed : missed;
  check->missed += newly_missed;
  check->coalesced += coalesced >= before.coalesced ? coalesced - before.coalesced : coalesced;
  check->unasserted += static_cast<int>(std::min<std::uint64_t>(newly_missed, 1'000));
  if (newly_missed != 0 && check->next_fire) {
    check->missed_at.push_back(*check->next_fire);
    keep_last(check->missed_at, missed_kept_max);
  }
  before = {missed, coalesced};
  check->next_fire = next_fire;
}

void Board::firing(std::string_view check_id, Signal signal, std::optional<Instant> since) {
  const std::lock_guard lock(mutex_);
  CheckState* check = find(check_id);
  if (check == nullptr) return;
  if (since)
    check->firing[signal] = *since;
  else
    check->firing.erase(signal);
}

void Board::heartbeat(Instant at) {
  const std::lock_guard lock(mutex_);
  state_.engine.heartbeat = at;
}

void Board::reached(std::string_view store) {
  const std::lock_guard lock(mutex_);
  state_.engine.reached.emplace(store);
}

void Board::draining() {
  const std::lock_guard lock(mutex_);
  state_.engine.draining = true;
}

void Board::locked(bool held) {
  const std::lock_guard lock(mutex_);
  state_.engine.locked = held;
}

void Board::config_problem(std::string sentence) {
  const std::lock_guard lock(mutex_);
  state_.engine.config_problem = std::move(sentence);
}

void Board::spooled(std::uint64_t runs) {
  const std::lock_guard lock(mutex_);
  state_.engine.spool_runs = runs;
}

void Board::outbox(std::uint64_t pages, std::optional<Instant> oldest) {
  const std::lock_guard lock(mutex_);
  state_.engine.outbox_pages = pages;
  state_.engine.outbox_oldest = oldest;
}

void Board::page_delivered() {
  const std::lock_guard lock(mutex_);
  ++state_.engine.pages_delivered;
  state_.engine.outbox_problem.clear();
}

void Board::page_failed(std::string why) {
  const std::lock_guard lock(mutex_);
  ++state_.engine.pages_failed;
  state_.engine.outbox_problem = std::move(why);
}

void Board::page_withheld() {
  const std::lock_guard lock(mutex_);
  ++state_.engine.pages_withheld;
}

void Board::page_abandoned() {
  const std::lock_guard lock(mutex_);
  ++state_.engine.pages_abandoned;
}

BoardState Board::snapshot() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

}  // namespace recon_engine
