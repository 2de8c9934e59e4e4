// What is the verdict, given everything that it may depend on?
// Layer: verdict. ONE decision table, constexpr, no I/O: evidence goes in, status and reason come out.
// Source: docs/concepts.md "The decision table"; RFC live-checks, "an Error (infra signal), not a Fail (invariant signal)".
#pragma once

#include <cstdint>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/status.hpp>
#include <epochcut/cut/epoch_cut.hpp>

namespace epochcut {

/// What is known of one side.
struct SideEvidence {
  Completeness completeness = Completeness::unknown;
  Acknowledgement acknowledgement = Acknowledgement::unknown;
  bool digest_proved = false;  ///< by a digest or the anchor's own snapshot: no re-read is needed before a fail
  bool conflicting = false;    ///< two different rows of one event id
  bool empty = true;           ///< the reading has no rows
  bool ledger_empty = true;    ///< the ledger counts no events for it
};

struct Evidence {
  SideEvidence left{}, right{};
  bool differs = false;      ///< the diff found at least one key
  bool second_pass = false;  ///< the sides were read again at the same epoch
  bool identical = false;    ///< ... and showed the same differences and the same event ids
};

/// A status with its reason. `unconfirmed`: a fail that holds only if a second pass at the same epoch shows the same.
struct Judgement {
  Status status = Status::error;
  Reason reason = Reason::unknown;
  bool unconfirmed = false;
  friend constexpr bool operator==(const Judgement&, const Judgement&) = default;
};

namespace judging {

/// Is this side fit to be compared? pass: yes.
constexpr Judgement completeness(const SideEvidence& side) {
  if (side.conflicting) return {Status::fail, Reason::conflicting_rows, side.completeness != Completeness::proved_distinct};
  switch (side.completeness) {
    case Completeness::proved:
    case Completeness::proved_distinct:
    case Completeness::unknown: return {Status::pass, Reason::none, false};
    case Completeness::surplus: return {Status::fail, Reason::extra_rows, true};
    case Completeness::short_of: break;
  }
  switch (side.acknowledgement) {
    case Acknowledgement::here: return {Status::fail, Reason::missing_rows, true};
    case Acknowledgement::elsewhere: return {Status::error, Reason::replica_lag, false};
    case Acknowledgement::unknown: break;
  }
  return {Status::error, Reason::horizon_not_proven, false};
}

constexpr Judgement contents(const Evidence& e) {
  if (e.left.empty && e.right.empty) return {Status::skipped, e.left.ledger_empty && e.right.ledger_empty ? Reason::empty : Reason::nothing_selected, false};
  if (!e.differs) return {Status::pass, Reason::none, false};
  const auto needs_second = [](const SideEvidence& s) { return s.completeness != Completeness::unknown && !s.digest_proved; };
  return {Status::fail, Reason::differs, needs_second(e.left) || needs_second(e.right)};
}

}  // namespace judging

constexpr Judgement judge(const Evidence& e) {
  if (e.second_pass && !e.identical) return {Status::error, Reason::cut_violated, false};  // a true cut cannot heal
  const Judgement left = judging::completeness(e.left), right = judging::completeness(e.right);
  const Status fit = all_of(left.status, right.status);
  // Of two sides that are equally bad, the one that needs no second pass speaks: it is known already.
  const bool left_speaks = left.status == fit && (right.status != fit || !left.unconfirmed);
  Judgement verdict = fit == Status::pass ? judging::contents(e) : left_speaks ? left : right;
  verdict.unconfirmed = verdict.unconfirmed && !e.second_pass;
  return verdict;
}

namespace laws {

constexpr SideEvidence complete() { return {.completeness = Completeness::proved, .digest_proved = true, .empty = false, .ledger_empty = false}; }
constexpr SideEvidence lacking(Acknowledgement a) {
  return {.completeness = Completeness::short_of, .acknowledgement = a, .empty = false, .ledger_empty = false};
}

static_assert(judge({complete(), complete()}) == Judgement{Status::pass, Reason::none, false});
static_assert(judge({complete(), complete(), true}) == Judgement{Status::fail, Reason::differs, false}, "proved by digest: fails at once");
static_assert(judge({complete(), lacking(Acknowledgement::unknown)}).status == Status::error, "equal because truncated is no pass");
static_assert(judge({complete(), lacking(Acknowledgement::here)}) == Judgement{Status::fail, Reason::missing_rows, true});
static_assert(judge({complete(), lacking(Acknowledgement::elsewhere)}).reason == Reason::replica_lag);
static_assert(judge({SideEvidence{.completeness = Completeness::proved}, SideEvidence{.completeness = Completeness::proved}}) ==
                  Judgement{Status::skipped, Reason::empty, false},
              "equal because empty is no pass");
static_assert(judge({}).status != Status::pass, "no evidence is no pass");

}  // namespace laws
}  // namespace epochcut
