// One seed: a world, its checkers, and what they ask of each other's time. Every outcome goes through the oracle.
#pragma once

#include <cstdio>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "simulation/oracle.hpp"

namespace simulation {

class Simulation {
 public:
  static constexpr int depth_max = 3;

  Simulation(std::uint64_t seed, Stats& stats, bool loud) : seed_(seed), stats_(&stats), world_(seed, stats, loud), oracle_(world_) {
    Random& r = world_.random();
    for (std::uint64_t n = 2 + r.below(3); n > 0; --n) checkers_.push_back(make_checker());
  }

  void run() {
    Random& r = world_.random();
    world_.sleep(Millis{r.upto(600)});
    for (std::uint64_t n = 3 + r.below(4); n > 0; --n) {
      Checker& checker = checkers_[r.below(checkers_.size())];
      int tries = checker.retries ? 3 : 1;
      while (run_check(checker) && --tries > 0) ++stats_->path[retried];
      world_.sleep(Millis{r.upto(1'200)});
    }
    world_.drain();
    for (Checker& checker : checkers_) (void)run_check(checker);
  }

  /// Called in the middle of a call of `check`: time passes, and others act.
  void call_out(Check& check, Fault outage, bool& struck) {
    Random& r = world_.random();
    world_.sleep(Millis{r.one_in(3) ? r.upto(40) : 0});
    if (world_.enabled(nested) && depth_ < depth_max && r.one_in(16)) {
      Checker& other = checkers_[r.below(checkers_.size())];
      if (!other.busy) world_.hit(nested, static_cast<std::uint64_t>(depth_)), (void)run_check(other);
    }
    if (world_.enabled(cancelled) && r.one_in(50)) check.cancel.request(), world_.hit(cancelled);
    if (!world_.enabled(outage) || !r.one_in(outage == ledger_outage ? 12 : 40)) return;
    world_.hit(outage);
    struck = true;
    throw Failure(Reason::connection, "the server went away").poison();
  }

 private:
  Checker make_checker() {
    Random& r = world_.random();
    Checker c;
    static constexpr Witness witnesses[] = {Witness::id_digest, Witness::id_digest, Witness::acked, Witness::max_version};
    c.witness = witnesses[r.below(4)];
    if (!world_.digests && c.witness == Witness::id_digest && !r.one_in(16)) c.witness = Witness::acked;
    if (c.witness == Witness::max_version && !world_.acknowledged_path && !r.one_in(16)) c.witness = world_.digests ? Witness::id_digest : Witness::acked;
    c.budget = Millis{r.one_in(4) ? 300 + r.upto(700) : 1'000 + r.upto(2'500)};
    c.first_delay = Millis{r.one_in(2) ? 50 : 10};
    c.delay_max = Millis{r.one_in(2) ? 400 : 1'000};
    static constexpr std::size_t kept[] = {64, 64, 3, 1, 0};
    c.differences_max = kept[r.below(std::size(kept))];
    c.remembers = r.one_in(2);
    c.retries = r.one_in(3);
    for (std::uint64_t n = 1 + r.below(2); n > 0; --n) c.questions.push_back(make_question(c.witness));
    return c;
  }

  Question make_question(Witness witness) {
    Random& r = world_.random();
    static constexpr Shape wanted[] = {sums,        sums,        sums,    one_currency, no_currency, latest_rows,
                                       latest_rows, latest_sums, listing, listing,      counts,      one_snapshot};
    Question q;
    q.shape = wanted[r.below(std::size(wanted))];
    static constexpr Route routes[] = {Route::a, Route::a, Route::a, Route::b, Route::shadow, Route::proxy};
    q.right = routes[r.below(std::size(routes))];
    q.absent_is_zero = (q.shape == sums || q.shape == one_currency) && r.one_in(2);
    if (q.shape != one_snapshot && r.one_in(4)) q.left = q.right == Route::a ? (r.one_in(2) ? Route::b : Route::shadow) : Route::a;
    if (q.right == Route::proxy) q.left.reset();  // it could lead to the other side's server
    // The newest id is believed only of the server that acknowledges before the commit: that is what its stream declares.
    if (witness == Witness::max_version && !world_.digests) {
      q.right = world_.acker() == store_b ? Route::b : Route::a;
      q.left.reset();
    }
    return q;
  }

  /// True if it ended in an error that may be gone the next time.
  bool run_check(Checker& checker) {
    checker.busy = true;
    ++depth_, ++world_.checks_running;
    Check check(world_, checker, *this);
    Random& r = world_.random();
    CheckOptions options{.horizon = {.witness = checker.witness,
                                     .budget = checker.budget,
                                     .first_delay = checker.first_delay,
                                     .delay_max = checker.delay_max,
                                     .jitter_seed = seed_,
                                     .max_visibility_lag = world_.lag},
                         .control = {.clock = &check, .cancel = &check.cancel},
                         .differences_max = checker.differences_max};
    if (world_.enabled(deadline) && r.one_in(6)) options.control.deadline = check.deadline = world_.now() + Millis{r.upto(3'000)}, world_.hit(deadline);
    if (checker.remembers) options.last_seen = checker.last_seen;

    Endpoint anchor(check, std::nullopt);
    std::deque<Endpoint> endpoints;  // an invariant refers to its sources
    std::vector<Invariant> invariants;
    std::vector<Asked> asked;
    for (const Question& q : checker.questions) {
      Endpoint *left = nullptr, *right = nullptr;
      if (q.left) left = &endpoints.emplace_back(check, q.left);
      if (q.shape != one_snapshot) right = &endpoints.emplace_back(check, q.right);
      invariants.push_back({.id = "q" + std::to_string(invariants.size()),
                            .left = left ? Reading(*left, right_query(q.shape)) : Reading(anchor, left_query(q.shape)),
                            .right = right ? Reading(*right, right_query(q.shape)) : Reading(anchor, right_query(q.shape))});
      if (q.absent_is_zero) invariants.back().rules = {{.column = "amount", .absent_is_zero = true}};
      asked.push_back({&check, &q, left, right, nullptr});
      world_.trace(world_.now().count(), "ask", q.shape, static_cast<std::uint64_t>(q.right), static_cast<std::uint64_t>(checker.witness));
    }
    const std::vector<Outcome> outcomes = epochcut::check(anchor, std::span<const Invariant>(invariants), options);
    ++stats_->checks;
    bool again = false;
    if (outcomes.size() != asked.size()) wrong("not one outcome per invariant", outcomes.front());
    for (std::size_t i = 0; i < asked.size() && i < outcomes.size(); ++i) {
      const Outcome& o = outcomes[i];
      asked[i].outcome = &o;
      ++stats_->verdicts, ++stats_->status[static_cast<std::size_t>(o.status)], ++stats_->reason[static_cast<std::size_t>(o.reason)];
      world_.trace.text("   => " + std::string(to_string(o.status)) + " " + std::string(to_string(o.reason)) + " " + o.message);
      if (o.id != invariants[i].id) wrong("an outcome of another invariant", o);
      if (const std::string mistake = oracle_.judge(asked[i]); !mistake.empty()) wrong(mistake, o);
      if (world_.quiet()) judge_quiet(asked[i], o);
      again |= o.status == Status::error && o.retryable;
      if (checker.remembers && !o.seen.empty()) {
        checker.last_seen = o.seen;
        checker.newest_sequence = std::max(checker.newest_sequence, check.cut ? check.cut->sequence : 0);
      }
    }
    --depth_, --world_.checks_running;
    checker.busy = false;
    return again;
  }

  /// When all is quiet, complete and healthy, the verdict is definite, and it is the truth.
  void judge_quiet(const Asked& asked, const Outcome& o) {
    const Checker& checker = *asked.check->checker;
    if (o.reason == Reason::epoch_regressed && checker.remembers) return;
    const bool proves = world_.digests || (!asked.left && !asked.right);
    if (!proves || o.reason == Reason::configuration) return;
    if (o.reason == Reason::replica_changed && asked.question->right == Route::proxy) return;
    if (!world_.healthy()) return;  // the oracle has judged it; here it is about worlds that nothing happened to
    if (o.status == Status::pass || o.status == Status::skipped)
      ++stats_->path[quiet_definite];
    else
      wrong("nothing is wrong, and it does not say so", o);
  }

  void wrong(const std::string& what, const Outcome& o) {
    if (stats_->wrong++ == 0) {
      stats_->first_wrong = seed_;
      std::snprintf(stats_->what, sizeof stats_->what, "%s: %s %s: %s", what.c_str(), std::string(to_string(o.status)).c_str(),
                    std::string(to_string(o.reason)).c_str(), o.message.c_str());
    }
    world_.trace.text("   WRONG: " + what);
  }

 public:
  std::uint64_t hash() const { return world_.trace.hash(); }

 private:
  std::uint64_t seed_;
  Stats* stats_;
  World world_;
  Oracle oracle_;
  std::deque<Checker> checkers_;
  int depth_ = 0;
};

inline void Check::call_out(Fault outage, bool& struck) { simulation->call_out(*this, outage, struck); }

inline void run_seed(std::uint64_t seed, bool loud, Stats& stats) {
  Simulation simulation(seed, stats, loud);
  simulation.run();
  stats.seeds = 1;
  stats.hash = simulation.hash();
}

}  // namespace simulation
