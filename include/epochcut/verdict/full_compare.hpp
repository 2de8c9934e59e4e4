// Is every row of two big tables the same, at ONE cut, without holding either of them?
// Layer: verdict. Asks what `check` asks and answers with the same outcome; only how it reads is another: the follower is waited for first, then both sides
// are streamed side by side while the anchor's snapshot is held, and rows let each other go; or both hash their rows where they are, and only those of ranges
// that differ are sent (diff/bisect.hpp). Memory: SetLimits. Whatever that can't prove by itself
// (a follower that is short of rows or holds replays, a rule with a tolerance, a reading at rest) `check` decides, with its limits. Rows are compared as a
// multiset: of two ledger rows with one key, where `check` refuses, one is named as a row that the follower lacks.
#pragma once

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/cut/held_cut.hpp>
#include <epochcut/diff/bisect.hpp>
#include <epochcut/diff/set_diff.hpp>
#include <epochcut/verdict/check.hpp>

namespace epochcut {

/// So few events a full compare streams without asking what is cheaper: over loopback in 1.7 s, of which the question would take 6 %, and of fewer more.
inline constexpr std::uint64_t stream_rows_max_default = 4'000'000;

struct FullCompareOptions {
  CheckOptions check{};
  Millis snapshot_budget = snapshot_budget_default;  ///< how long the anchor's snapshot may stay open in one attempt
  SetLimits limits{};                                ///< beyond them both sides are read in key order, which their servers have to sort
  /// Stream every row, or let both stores hash their rows and send only what differs. `automatic`: what is cheaper, by a sample; smaller tables are streamed.
  /// `bisect`: what can't be hashed alike is `error: configuration` or `schema`.
  BisectOptions bisect{.stream_rows_max = stream_rows_max_default};
};

namespace checking {

/// Streams one invariant whose left side is the anchor.
template <Holder Source>
class Streamed {
 public:
  Streamed(Source& anchor, const Invariant& invariant, const FullCompareOptions& options) : anchor_(&anchor), invariant_(invariant), options_(options) {}

  /// Can both sides be taken as sets of rows, each with a key of its own, of which one is proved by the token's digest?
  static bool possible(const Source& anchor, const Invariant& invariant, const CheckOptions& options) {
    const QueryPlan &left = invariant.left.query.plan(), &right = invariant.right.query.plan();
    const auto listed = [](const QueryPlan& plan) {
      const bool own_key = plan.key.empty() || (plan.history == History::latest && std::all_of(plan.per.begin(), plan.per.end(), [&](const auto& column) {
                                                  return std::find(plan.key.begin(), plan.key.end(), column) != plan.key.end();
                                                }));
      return !plan.grouped() && (own_key || plan.history == History::current);
    };
    const bool exact =
        std::all_of(invariant.rules.begin(), invariant.rules.end(), [](const Rule& rule) { return rule.kind == Rule::Kind::exact && !rule.absent_is_zero; });
    return invariant.left.source.address() == static_cast<const void*>(&anchor) && invariant.right.source.address() != static_cast<const void*>(&anchor) &&
           !invariant.left.at_rest && !invariant.right.at_rest && listed(left) && listed(right) && right.history != History::current && exact &&
           options.horizon.witness == Witness::id_digest && options.values_max == 0 && !invariant.negative_control;
  }

  /// True if the outcome stands. False: `check` has to decide.
  bool execute(Outcome& outcome) {
    if (!wait(outcome)) return false;
    const Query queries[] = {invariant_.left.query};
    for (Attempt attempt;;) try {
        return stream(queries, attempt, outcome);
      } catch (const Failure& failure) {
        if (failure.kind == Reason::horizon_not_proven) return false;  // by its digests the follower does not show what the token counts
        // What can't be bisected is streamed, in a new snapshot: the one that was held may have ended with the statement that was refused.
        if (std::exchange(attempt.bisecting, false)) {
          if (options_.bisect.method != Method::automatic || !bisecting::never_heals(failure)) throw;
          attempt.why_streamed = "streamed: " + failure.message;
        } else {
          // Too far apart to be let go of as they pass: their servers have to sort them.
          if (failure.kind != Reason::too_large || !attempt.any_order) throw;
          attempt.any_order = false;
        }
      }
  }

 private:
  /// How both sides are looked at in one held snapshot.
  struct Attempt {
    bool any_order = true;
    bool bisecting = false;      ///< it is at work
    std::string why_streamed{};  ///< since it was bisected in vain
  };

  /// Before the snapshot is taken, so that nobody's clean-up waits for a follower that is late. False if it stays so.
  bool wait(Outcome& outcome) {
    const Control& control = options_.check.control;
    const Millis start = control.clock->now();
    const EpochCut<Source> cut(*anchor_, {}, control);
    require_progress(cut, options_.check.last_seen);
    if (cut.token() == nullptr) return false;
    for (int attempt = 0;; ++attempt) {
      const bool there = cut.seems_complete(invariant_.right.source, invariant_.right.query, control);
      outcome.right.waited = control.clock->now() - start;
      const Step next = step(options_.check.horizon, there ? Reached::yes : Reached::no, outcome.right.waited, attempt);
      if (next.action == Step::Action::proceed) {
        seen_ = epochs(cut);
        return true;
      }
      if (next.action == Step::Action::give_up) return false;
      control.sleep(next.delay);
    }
  }

  /// One per stream.
  static std::vector<Epoch> epochs(const EpochCut<Source>& cut) {
    std::vector<Epoch> all;
    for (const Token& token : cut.tokens()) all.push_back(token.epoch);
    return all;
  }

  /// One attempt, in one held snapshot. Errors: `timeout` that names the budget which was used up, and as a read.
  bool stream(std::span<const Query> queries, Attempt& attempt, Outcome& outcome) const {
    Control control = options_.check.control;
    control.rows_max = control.bytes_max = std::numeric_limits<std::uint64_t>::max();  // nothing is collected
    HeldCut<Source> held(*anchor_, queries, options_.snapshot_budget, control);
    try {
      return compare(held, attempt, outcome);
    } catch (Failure& failure) {
      const auto deadline = options_.check.control.deadline;
      if (failure.kind == Reason::timeout && (!deadline || control.clock->now() < *deadline))
        failure.message = "the comparison did not end within the " + std::to_string(options_.snapshot_budget.count()) +
                          " ms that the ledger's snapshot may stay open; raise snapshot_budget, or compare less at once";
      throw;
    }
  }

  bool compare(HeldCut<Source>& held, Attempt& how, Outcome& outcome) const {
    const Control& control = held.control();
    const EpochCut<Source>& cut = held.cut();
    require_progress(cut, options_.check.last_seen);
    if (cut.token() == nullptr) return false;
    const Millis start = control.clock->now();
    QueryPlan plan = invariant_.right.query.plan();
    Read left, right;
    left.about = anchor_->about(invariant_.left.query.plan().relation, control);
    auto [expected, at] = cut.expect(invariant_.right.source, invariant_.right.query, control);
    if (left.about.relation == expected.about.relation) return false;  // `check` says what is wrong with that
    // The tail of the lag: what was committed since the wait. If nothing was, to look again would cost a scan, and proves no more than the first look did.
    HorizonPolicy tail = options_.check.horizon;
    tail.budget = std::min(tail.budget, options_.snapshot_budget / 2);
    for (int attempt = 0; epochs(cut) != seen_ && !cut.seems_complete(invariant_.right.source, invariant_.right.query, control); ++attempt) {
      const Step next = step(tail, Reached::no, control.clock->now() - start, attempt);
      if (next.action != Step::Action::wait) return false;
      control.sleep(next.delay);
    }
    plan.any_order = how.any_order;
    FirstDifferences first(options_.check.differences_max);
    DiffCounts counts;
    Claim claim = Claim::every_value;
    const auto stream = [&] {
      how.bisecting = false;
      AnyCursor rows = held.open(0, how.any_order);
      right = cut.read_through(invariant_.right.source, Query(plan), control, [&](Cursor& other) {
        counts = how.any_order ? set_diff(*rows, other, invariant_.rules, first, options_.limits) : diff(*rows, other, invariant_.rules, first);
      });
      left.proof = rows->proof();
      return counts;
    };
    if (how.any_order) {
      right = std::move(expected);
      outcome.how = how.why_streamed;
      counts = cheaper(held, at, stream, first, left, right, outcome.how, how.bisecting);
      if (std::exchange(how.bisecting, false)) claim = Claim::digest;
    } else {
      outcome.how = "streamed in key order: in no order their rows lie too far apart to be held until they meet";
      stream();
    }
    held.release();
    if (right.completeness != Completeness::proved) return false;
    left.stream = right.stream, left.epoch = right.epoch;
    finish(cut, left, right, counts, first.take(), control.clock->now() - start, claim, outcome);
    return true;
  }

  /// Both sides as ones that hash themselves; else `why` not. Errors: as a side's, if it was to be bisected in any case.
  std::pair<AnyDigest, AnyDigest> sides(HeldCut<Source>& held, const Read& right, const AsOf& at, std::string& why) const {
    const bool insisted = options_.bisect.method == Method::bisect;
    try {
      AnyDigest l = held.digest(0);
      AnyDigest r = l ? invariant_.right.source.digest(invariant_.right.query.plan(), at, *right.expected, held.control()) : AnyDigest();
      if (l && r) return {std::move(l), std::move(r)};
      throw Failure(Reason::configuration, (l ? right.about.relation : "the anchor") + " does not count and hash its rows where they are; stream them");
    } catch (const Failure& failure) {
      // Said by a server, it ended the snapshot.
      if (insisted || !failure.engine_code.empty() || (failure.kind != Reason::schema && failure.kind != Reason::configuration)) throw;
      why = "streamed: " + failure.message;
    }
    return std::pair<AnyDigest, AnyDigest>();
  }

  /// Bisects where that is asked for or cheaper, and calls `stream` where not. What is bisected is proved by the ids of all ranges together. `right`: as it
  /// is expected, and then as it was read. `how`: a stream, if it says why already. `bisecting`: true while it is bisected, and after that if it was to the end.
  template <class Stream>
  DiffCounts cheaper(HeldCut<Source>& held, const AsOf& at, Stream stream, FirstDifferences& first, Read& left, Read& right, std::string& how,
                     bool& bisecting) const {
    const BisectOptions& options = options_.bisect;
    if (!how.empty()) return stream();
    if (options.method == Method::stream)
      how = "streamed, as asked for";
    else if (options.method == Method::automatic && right.expected->count <= options.stream_rows_max)
      how = "streamed: " + std::to_string(right.expected->count) + " events are few";
    bisecting = how.empty();
    const auto [l, r] = bisecting ? sides(held, right, at, how) : std::pair<AnyDigest, AnyDigest>();
    if (!l) return stream();
    const Bisected found = bisect_or(stream, *l, *r, invariant_.rules, first, options, held.control());
    how = found.why;
    if (found.used == Method::stream) return found.counts;
    left.proof = {.ids = {}, .snapshot = right.epoch, .rows = found.left_fetched, .bytes = found.left_bytes, .server = l->server()};
    right.proof = {.ids = right.expected, .snapshot = {}, .rows = found.right_fetched, .bytes = found.right_bytes, .server = r->server()};
    right.completeness = Completeness::proved;
    return found.counts;
  }

  void finish(const EpochCut<Source>& cut, const Read& left, const Read& right, const DiffCounts& counts, std::vector<Difference> differences, Millis took,
              Claim claim, Outcome& outcome) const {
    const Millis waited = outcome.right.waited;
    outcome.left = report(left, took, 0), outcome.right = report(right, took, 0);
    outcome.left.rows = counts.left, outcome.right.rows = counts.right, outcome.right.waited = waited;
    outcome.counts = counts;
    outcome.differences = std::move(differences);
    Evidence found{.left = evidence(left), .right = evidence(right), .differs = counts.differences() > 0};
    found.left.empty = counts.left == 0, found.right.empty = counts.right == 0;
    found.left.ledger_empty = found.right.ledger_empty = right.expected->count == 0;
    const Judgement verdict = judge(found);
    if (verdict.status == Status::fail) cut.require_standing(options_.check.control);
    outcome.status = verdict.status, outcome.reason = verdict.reason;
    outcome.claim = verdict.status == Status::pass ? claim : Claim::nothing;
    outcome.message = explain(outcome, outcome.left, {});
    outcome.retryable = verdict.status == Status::error;
    const Token& token = *cut.token();
    outcome.stream = token.stream.id, outcome.authority = token.authority, outcome.generation = token.generation, outcome.epoch = token.epoch;
    for (const Token& each : cut.tokens()) outcome.seen.push_back({each.stream.id, each.epoch, cut.timeline()});
  }

  Source* anchor_;
  const Invariant& invariant_;
  const FullCompareOptions& options_;
  std::vector<Epoch> seen_;  ///< up to where the follower seemed complete when it was waited for
};

}  // namespace checking

/// Answers one invariant as `check` does, in bounded memory. Its left side is the anchor. Never throws a Failure: an error is an outcome.
template <Holder Source>
Outcome full_compare(Source& anchor, const Invariant& invariant, const FullCompareOptions& options = {}) {
  const Millis start = options.check.control.clock->now();
  Outcome outcome;
  outcome.id = invariant.id;
  outcome.question = digest_of_question(invariant);
  bool stands = false;
  const bool possible = checking::Streamed<Source>::possible(anchor, invariant, options.check);
  const bool asked = checking::guarded(std::span(&outcome, 1), [&] {
    if (possible) return void(stands = checking::Streamed<Source>(anchor, invariant, options).execute(outcome));
    if (options.bisect.method == Method::bisect)
      throw Failure(Reason::configuration, "only rows are bisected, compared exactly and proved by the digest of their event ids; let the method be chosen");
  });
  if (asked && !stands) {
    Outcome checked = check(anchor, invariant, options.check);
    checked.how = possible ? "checked: the follower did not show exactly the token's events when it was looked at" : "checked: this can't be streamed";
    return checked;
  }
  outcome.took = options.check.control.clock->now() - start;
  return outcome;
}

}  // namespace epochcut
