// How is a left side compared that is too big to hold?
// Layer: cut. The RAII form of a cut: token and small reads as in an EpochCut, and the anchor's rows as cursors of the same snapshot, which stays open until
// `release` and for `snapshot_budget` at most: an open snapshot keeps the ledger from cleaning up behind it. One thread.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include <epochcut/cut/digest_side.hpp>
#include <epochcut/cut/epoch_cut.hpp>

namespace epochcut {

/// How long an anchor's snapshot may stay open. A minute streams some hundred million narrow rows; a vacuum that waits so long is no harm yet.
inline constexpr Millis snapshot_budget_default{60'000};

/// An open snapshot of an anchor. Its queries are read one at a time, each as often as wanted.
struct HeldSnapshot {
  virtual ~HeldSnapshot() = default;
  /// Token, timeline and server; no relations.
  virtual const Snapshot& head() const = 0;
  /// The rows of query `i` within the snapshot. A cursor must end, or be let go, before the next is opened. Errors: as a read.
  virtual AnyCursor open(std::size_t i, bool any_order, const Control& control) = 0;
  /// Query `i` as a side that hashes itself within the snapshot, and lives no longer; none if there is no such way. Errors: as a side's.
  virtual AnyDigest digest(std::size_t, const Control&) { return AnyDigest(); }
  /// Ends the snapshot. Not called: it is given up. Errors: as a read.
  virtual void release(const Control& control) = 0;
};

using AnyHeld = Owned<HeldSnapshot>;

/// An anchor whose snapshot can stay open.
template <class Source>
concept Holder = Anchor<Source> && requires(Source& source, std::span<const QueryPlan> plans, const Control& control) {
  { source.hold(plans, control) } -> std::same_as<AnyHeld>;
};

template <Holder Source>
class HeldCut {
 public:
  /// Locks the queries' tables and takes the snapshot, as an EpochCut; no row is read yet. Errors: as an EpochCut.
  HeldCut(Source& anchor, std::span<const Query> queries, Millis snapshot_budget = snapshot_budget_default, const Control& control = {})
      : control_(control), budget_(snapshot_budget), held_(take(anchor, queries)), cut_(EpochCut<Source>::of(anchor, held_->head(), control)) {}

  /// The cut, to follow others by. It holds no rows of the anchor.
  const EpochCut<Source>& cut() const { return cut_; }

  /// What the snapshot has of query `i`, with the control that bounds it. Errors: `timeout` once the budget is used up, and as a read.
  AnyCursor open(std::size_t i, bool any_order = false) {
    control_.check();
    return held_->open(i, any_order, control_);
  }
  /// Query `i` to be hashed instead of read, if the anchor can. Let it go before `release`. Errors: as `open`.
  AnyDigest digest(std::size_t i) {
    control_.check();
    return held_->digest(i, control_);
  }
  /// Ends when the snapshot has to.
  const Control& control() const { return control_; }
  /// Lets the ledger clean up again; the cut stays. Errors: as a read.
  void release() { held_->release(control_); }

 private:
  AnyHeld take(Source& anchor, std::span<const Query> queries) {
    std::vector<QueryPlan> plans;
    for (const Query& query : queries) {
      query.plan().validate();
      plans.push_back(query.plan());
    }
    AnyHeld held = anchor.hold(std::span<const QueryPlan>(plans), control_);
    const Millis end = control_.clock->now() + budget_;
    if (!control_.deadline || end < *control_.deadline) control_.deadline = end;
    return held;
  }

  Control control_;
  Millis budget_;
  AnyHeld held_;
  EpochCut<Source> cut_;
};

}  // namespace epochcut
