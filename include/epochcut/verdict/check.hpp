// Do these invariants hold, at ONE cut?
// Layer: verdict. The only place where reading, comparing and judging meet. Errors never escape: they are outcomes.
// A forward pass per invariant; where the judge says unconfirmed, a second pass at the same cut. Source: RFC live-checks.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/diff/diff.hpp>
#include <epochcut/verdict/explain.hpp>
#include <epochcut/verdict/invariant.hpp>
#include <epochcut/verdict/judge.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

struct CheckOptions {
  HorizonPolicy horizon{};
  Control control{};
  std::size_t differences_max = 10;    ///< kept per outcome, so that a log row stays small; counts are exact
  std::size_t values_max = 0;          ///< rows of each reading kept per outcome, of a pass too: what was equal, not only what differed
  std::vector<SeenEpoch> last_seen{};  ///< Outcome::seen of an earlier check: below any of them is `error: epoch_regressed`
};

namespace checking {

inline SideReport report(const Read& read, Millis took, std::size_t values_max) {
  SideReport side{.relation = read.about.relation,
                  .server = read.proof.server,
                  .stream = read.stream,
                  .epoch = read.epoch,
                  .witness = read.witness,
                  .completeness = read.completeness,
                  .ids = read.proof.ids,
                  .expected = read.expected,
                  .rows = read.rows.rows(),
                  .wire_rows = read.proof.rows,
                  .bytes = read.proof.bytes,
                  .waited = read.waited,
                  .attempts = read.attempts,
                  .full_reads = read.full_reads};
  side.took = took;
  for (std::size_t row = 0; row < read.rows.rows() && row < values_max; ++row) {
    side.values.emplace_back();
    for (const Field& field : read.rows.fields) side.values.back().push_back({field.name, Literal(field.column[row])});
  }
  return side;
}

inline SideEvidence evidence(const Read& read) {
  const std::uint64_t ledger_count = read.expected ? read.expected->count : read.rows.rows();
  return {.completeness = read.completeness,
          .acknowledgement = read.acknowledgement,
          .digest_proved = read.witness == Witness::snapshot || read.witness == Witness::id_digest,
          .conflicting = read.proof.conflicts > 0,
          .empty = read.rows.rows() == 0,
          .ledger_empty = ledger_count == 0};
}

/// Whatever was read and compared on the way to an error was provisional.
inline void forget_content(Outcome& outcome) {
  outcome.counts = {};
  outcome.differences.clear();
  outcome.left.values.clear();
  outcome.right.values.clear();
}

inline void set_error(Outcome& outcome, const Failure& failure) {
  outcome.status = Status::error;
  outcome.reason = failure.kind;
  outcome.message = printable(failure.message) + (failure.where.empty() ? "" : " (" + failure.where + ")");
  outcome.retryable = failure.retryable;
  outcome.claim = Claim::nothing;
  forget_content(outcome);
}

/// A ledger that was restored or failed over may have lost what a follower has seen. Errors: `epoch_regressed`.
template <Anchor Source>
void require_progress(const EpochCut<Source>& cut, const std::vector<SeenEpoch>& last_seen) {
  for (const Token& token : cut.tokens())
    for (const SeenEpoch& seen : last_seen) {
      if (seen.stream != token.stream.id || seen.epoch <= token.epoch) continue;
      throw Failure(
          Reason::epoch_regressed,
          "the token of stream " + token.stream.id + " stands at sequence " + std::to_string(token.epoch.sequence) + ", below " +
              std::to_string(seen.epoch.sequence) + " of an earlier check: the ledger was restored or failed over" +
              (seen.timeline == cut.timeline() ? ""
                                               : " (its timeline was " + std::to_string(seen.timeline) + " and is " + std::to_string(cut.timeline()) + ")") +
              "; find out what was lost before its followers are trusted");
    }
}

/// One invariant at one cut.
template <Anchor Source>
class Run {
 public:
  Run(const EpochCut<Source>* cut, const Invariant& invariant, const CheckOptions& options, std::optional<std::size_t> left, std::optional<std::size_t> right)
      : cut_(cut), invariant_(invariant), options_(options), left_index_(left), right_index_(right) {}

  void execute(Outcome& outcome) {
    if (!invariant_.negative_control && invariant_.left.source.address() == invariant_.right.source.address() &&
        invariant_.left.query.plan().relation == invariant_.right.query.plan().relation)
      throw same_relation(invariant_.left.query.plan().relation);
    left_ = first_read(invariant_.left, left_index_, left_took_);
    right_ = first_read(invariant_.right, right_index_, right_took_);
    if (left_.about.relation == right_.about.relation && !invariant_.negative_control) throw same_relation(left_.about.relation);
    Evidence evidence = compare(outcome);
    Judgement verdict = judge(evidence);
    if (verdict.unconfirmed) {
      const DiffCounts before = outcome.counts;
      const auto left_ids = left_.proof.ids, right_ids = right_.proof.ids;
      options_.control.sleep(options_.horizon.max_visibility_lag);
      if (!left_index_) left_ = timed(left_took_, [&] { return cut_->read_again(invariant_.left.source, invariant_.left.query, left_, options_.control); });
      if (!right_index_)
        right_ = timed(right_took_, [&] { return cut_->read_again(invariant_.right.source, invariant_.right.query, right_, options_.control); });
      evidence = compare(outcome);
      evidence.second_pass = outcome.confirmed = true;
      evidence.identical = before.which == outcome.counts.which && left_ids == left_.proof.ids && right_ids == right_.proof.ids;
      verdict = judge(evidence);
    }
    if (verdict.status == Status::fail && cut_ != nullptr && (!left_index_ || !right_index_)) cut_->require_standing(options_.control);
    outcome.status = verdict.status;
    outcome.reason = verdict.reason;
    const bool grouped = invariant_.left.query.plan().grouped() || invariant_.right.query.plan().grouped();
    if (verdict.status == Status::pass) outcome.claim = grouped ? Claim::aggregate : Claim::every_value;
    const bool left_speaks = judging::completeness(evidence.left).reason == outcome.reason;
    outcome.message = explain(outcome, left_speaks ? outcome.left : outcome.right, (left_speaks ? left_ : right_).proof.conflicting_ids);
    outcome.retryable = verdict.status == Status::error;  // it was about time: rows, replicas or a writer that may be right the next time
    if (verdict.status == Status::error && verdict.reason != Reason::cut_violated) forget_content(outcome);  // an incomplete side's says nothing
  }

 private:
  static Failure same_relation(const std::string& relation) {
    return {Reason::same_relation,
            "both ends of the check are " + relation + ", so it would compare a thing with itself; name two, or declare a negative_control"};
  }

  Read first_read(const Reading& reading, std::optional<std::size_t> index, Millis& took) const {
    if (index) return (*cut_)[*index];
    return timed(took, [&] {
      if (reading.at_rest) return read_at_rest(reading.source, reading.query, options_.control);
      return cut_->read(reading.source, reading.query, options_.horizon, options_.control);
    });
  }

  template <class Body>
  Read timed(Millis& took, Body body) const {
    const Millis start = options_.control.clock->now();
    Read read = body();
    took += options_.control.clock->now() - start;
    return read;
  }

  /// Diffs what was read, and says what is known of both sides.
  Evidence compare(Outcome& outcome) const {
    RelationCursor left(left_.rows, left_.proof), right(right_.rows, right_.proof);
    FirstDifferences first(options_.differences_max);
    outcome.counts = diff(left, right, invariant_.rules, first);
    outcome.differences = first.take();
    outcome.left = report(left_, left_took_, options_.values_max);
    outcome.right = report(right_, right_took_, options_.values_max);
    return {.left = evidence(left_), .right = evidence(right_), .differs = outcome.counts.differences() > 0};
  }

  const EpochCut<Source>* cut_;  // null only if both readings are at rest
  const Invariant& invariant_;
  const CheckOptions& options_;
  std::optional<std::size_t> left_index_, right_index_;
  Read left_, right_;
  Millis left_took_{0}, right_took_{0};
};

/// Runs `step` and turns what it throws into an error of every outcome given: nothing is ever turned into a pass by a catch.
template <class Step>
bool guarded(std::span<Outcome> outcomes, Step step) {
  try {
    step();
    return true;
  } catch (const Failure& failure) {
    for (Outcome& outcome : outcomes) set_error(outcome, failure);
  } catch (const std::exception& exception) {  // out of memory and the like
    for (Outcome& outcome : outcomes) set_error(outcome, Failure(Reason::unknown, exception.what()));
  }
  return false;
}

}  // namespace checking

/// Checks all invariants at ONE cut of `anchor`; one outcome each, in order. Never throws a Failure: an error is an outcome. The cut is one
/// transaction, so an anchor's query that can't be answered is an error of all; a follower's is an error of its own invariant.
/// Where every reading is at rest there is no cut, and the anchor is not asked.
template <Anchor Source>
std::vector<Outcome> check(Source& anchor, std::span<const Invariant> invariants, const CheckOptions& options = {}) {
  const Control& control = options.control;
  const Millis start = control.clock->now();
  std::vector<Outcome> outcomes(invariants.size());
  std::vector<Query> queries;
  std::vector<std::optional<std::size_t>> left(invariants.size()), right(invariants.size());
  bool synchronised = false;
  const auto in_cut = [&](const Reading& reading) -> std::optional<std::size_t> {
    synchronised |= !reading.at_rest;
    if (reading.at_rest || reading.source.address() != static_cast<const void*>(&anchor)) return std::nullopt;
    queries.push_back(reading.query);
    return queries.size() - 1;
  };
  for (std::size_t i = 0; i < invariants.size(); ++i) {
    outcomes[i].id = invariants[i].id;
    outcomes[i].question = digest_of_question(invariants[i]);
    outcomes[i].unsynchronised = invariants[i].left.at_rest || invariants[i].right.at_rest;
    left[i] = in_cut(invariants[i].left);
    right[i] = in_cut(invariants[i].right);
  }

  std::optional<EpochCut<Source>> cut;
  const bool taken = checking::guarded(outcomes, [&] {
    if (synchronised) cut.emplace(anchor, std::span<const Query>(queries), control);
    if (cut) checking::require_progress(*cut, options.last_seen);
  });
  for (std::size_t i = 0; i < invariants.size(); ++i) {
    Outcome& outcome = outcomes[i];
    if (taken && cut && cut->token()) {
      const Token& token = *cut->token();
      outcome.stream = token.stream.id;
      outcome.authority = token.authority;
      outcome.generation = token.generation;
      outcome.epoch = token.epoch;
      for (const Token& each : cut->tokens()) outcome.seen.push_back({each.stream.id, each.epoch, cut->timeline()});
    }
    if (taken)
      checking::guarded(std::span(&outcome, 1),
                        [&] { checking::Run<Source>(cut ? &*cut : nullptr, invariants[i], options, left[i], right[i]).execute(outcome); });
    outcome.took = control.clock->now() - start;
  }
  return outcomes;
}

template <Anchor Source>
Outcome check(Source& anchor, const Invariant& invariant, const CheckOptions& options = {}) {
  return check(anchor, std::span<const Invariant>(&invariant, 1), options).front();
}

}  // namespace epochcut
