// The decision table, exhaustively: what must hold of every combination of evidence, and each row of the specification as a literal row.
#include <epochcut/verdict/judge.hpp>

#include <array>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {

constexpr Completeness completenesses[] = {Completeness::proved, Completeness::proved_distinct, Completeness::surplus, Completeness::short_of,
                                           Completeness::unknown};
constexpr Acknowledgement acknowledgements[] = {Acknowledgement::unknown, Acknowledgement::here, Acknowledgement::elsewhere};

/// Every one-sided evidence: 5 completenesses, 3 acknowledgements, 4 flags.
constexpr std::array<SideEvidence, 240> all_sides() {
  std::array<SideEvidence, 240> sides{};
  std::size_t n = 0;
  for (Completeness c : completenesses)
    for (Acknowledgement a : acknowledgements)
      for (unsigned flags = 0; flags < 16; ++flags) sides[n++] = {c, a, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, (flags & 8) != 0};
  return sides;
}

template <class Law>
std::size_t exceptions(Law law) {  // not constexpr: a compiler that folds 460 000 judgements takes minutes
  static const std::array<SideEvidence, 240> sides = all_sides();
  std::size_t n = 0;
  for (const SideEvidence& left : sides)
    for (const SideEvidence& right : sides)
      for (unsigned flags = 0; flags < 8; ++flags) {
        const Evidence e{left, right, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
        n += law(e, judge(e)) ? 0 : 1;
      }
  return n;
}

constexpr bool fit(const SideEvidence& s) { return !s.conflicting && s.completeness != Completeness::short_of && s.completeness != Completeness::surplus; }
constexpr bool lacks(const SideEvidence& s) { return !s.conflicting && s.completeness == Completeness::short_of; }
constexpr bool any(const Evidence& e, bool (*of)(const SideEvidence&)) { return of(e.left) || of(e.right); }

}  // namespace

TEST_CASE("a pass needs two fit sides, no difference, and something that was compared") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          return j.status != Status::pass || (fit(e.left) && fit(e.right) && !e.differs && !(e.left.empty && e.right.empty) && j.reason == Reason::none);
        }) == 0);
}

TEST_CASE("a fail needs a difference between fit sides, or rows that are wrong in themselves") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          if (j.status != Status::fail) return true;
          switch (j.reason) {
            case Reason::differs: return fit(e.left) && fit(e.right) && e.differs;
            case Reason::conflicting_rows: return e.left.conflicting || e.right.conflicting;
            case Reason::extra_rows: return any(e, [](const SideEvidence& s) { return s.completeness == Completeness::surplus; });
            case Reason::missing_rows: return any(e, [](const SideEvidence& s) { return lacks(s) && s.acknowledgement == Acknowledgement::here; });
            default: return false;
          }
        }) == 0);
}

TEST_CASE("an unproven horizon is never a fail by itself, and never skipped") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          const auto unproven = [](const SideEvidence& s) { return lacks(s) && s.acknowledgement != Acknowledgement::here; };
          if (!any(e, unproven)) return true;
          return j.status == Status::error || (j.status == Status::fail && !(unproven(e.left) && unproven(e.right)));
        }) == 0);
}

TEST_CASE("errors have an error's reason, skips a skip's") {
  CHECK(exceptions([](const Evidence&, const Judgement& j) {
          const bool error = j.reason == Reason::horizon_not_proven || j.reason == Reason::replica_lag || j.reason == Reason::cut_violated;
          const bool skip = j.reason == Reason::empty || j.reason == Reason::nothing_selected;
          return (j.status == Status::error) == error && (j.status == Status::skipped) == skip;
        }) == 0);
}

TEST_CASE("only a fail is unconfirmed, and nothing is after a second pass") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) { return !j.unconfirmed || (j.status == Status::fail && !e.second_pass); }) == 0);
}

TEST_CASE("missing and extra rows are never told after one pass only") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          if (j.status != Status::fail || (j.reason != Reason::missing_rows && j.reason != Reason::extra_rows)) return true;
          return e.second_pass ? e.identical : j.unconfirmed;
        }) == 0);
}

TEST_CASE("a second pass that showed the same changes no status, and one that did not turns a fail into an error only") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          Evidence first = e;
          first.second_pass = first.identical = false;
          const Judgement before = judge(first);
          if (!e.second_pass) return true;
          if (e.identical) return j.status == before.status && j.reason == before.reason;
          return !before.unconfirmed || (j.status == Status::error && j.reason == Reason::cut_violated);
        }) == 0);
}

TEST_CASE("left and right are alike: swapped evidence has the same status") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          Evidence swapped = e;
          swapped.left = e.right, swapped.right = e.left;
          return judge(swapped).status == j.status;
        }) == 0);
}

TEST_CASE("the same evidence read with less proof is never a better verdict") {
  CHECK(exceptions([](const Evidence& e, const Judgement& j) {
          Evidence less = e;
          less.right.completeness = Completeness::short_of;
          less.right.acknowledgement = Acknowledgement::unknown;
          return judge(less).status != Status::pass && (j.status != Status::error || judge(less).status != Status::skipped);
        }) == 0);
}

TEST_CASE("the rows of the specification, at the deadline") {
  struct Row {
    Completeness completeness;
    bool conflicting;
    Acknowledgement acknowledgement;
    bool differs;
    Judgement first;   // what one pass says
    Status confirmed;  // what an identical second pass makes of it
  };
  using C = Completeness;
  using A = Acknowledgement;
  const Row rows[] = {// 1: the digest is equal: compare
                      {C::proved, false, A::unknown, false, {Status::pass, Reason::none, false}, Status::pass},
                      {C::proved, false, A::unknown, true, {Status::fail, Reason::differs, false}, Status::fail},
                      {C::proved, false, A::elsewhere, false, {Status::pass, Reason::none, false}, Status::pass},
                      // 2: equal over DISTINCT ids: compare over distinct rows; two rows of one id are conflicting
                      {C::proved_distinct, false, A::unknown, false, {Status::pass, Reason::none, false}, Status::pass},
                      {C::proved_distinct, false, A::unknown, true, {Status::fail, Reason::differs, false}, Status::fail},
                      {C::proved_distinct, true, A::unknown, false, {Status::fail, Reason::conflicting_rows, false}, Status::fail},
                      {C::proved_distinct, true, A::unknown, true, {Status::fail, Reason::conflicting_rows, false}, Status::fail},
                      // 3: more distinct ids than the ledger committed
                      {C::surplus, false, A::unknown, false, {Status::fail, Reason::extra_rows, true}, Status::fail},
                      {C::surplus, false, A::elsewhere, true, {Status::fail, Reason::extra_rows, true}, Status::fail},
                      // 4: short, and acknowledged by the server that was read
                      {C::short_of, false, A::here, false, {Status::fail, Reason::missing_rows, true}, Status::fail},
                      {C::short_of, false, A::here, true, {Status::fail, Reason::missing_rows, true}, Status::fail},
                      // 5: acknowledged by another
                      {C::short_of, false, A::elsewhere, false, {Status::error, Reason::replica_lag, false}, Status::error},
                      {C::short_of, false, A::elsewhere, true, {Status::error, Reason::replica_lag, false}, Status::error},
                      // 6: not known to be acknowledged
                      {C::short_of, false, A::unknown, false, {Status::error, Reason::horizon_not_proven, false}, Status::error},
                      {C::short_of, false, A::unknown, true, {Status::error, Reason::horizon_not_proven, false}, Status::error}};
  const SideEvidence ledger{.completeness = C::proved, .digest_proved = true, .empty = false, .ledger_empty = false};
  for (const Row& row : rows) {
    const bool proved = row.completeness == C::proved || row.completeness == C::proved_distinct;
    Evidence e{.left = ledger,
               .right = {.completeness = row.completeness,
                         .acknowledgement = row.acknowledgement,
                         .digest_proved = proved,
                         .conflicting = row.conflicting,
                         .empty = false,
                         .ledger_empty = false},
               .differs = row.differs};
    INFO(to_string(row.completeness) << ", differs " << row.differs);
    CHECK(judge(e) == row.first);
    std::swap(e.left, e.right);
    CHECK(judge(e) == row.first);
    e.second_pass = e.identical = true;
    CHECK(judge(e).status == row.confirmed);
    e.identical = false;
    if (row.first.unconfirmed) CHECK(judge(e) == Judgement{Status::error, Reason::cut_violated, false});
  }
}
