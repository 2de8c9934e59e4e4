#include <epochcut/verdict/judge.hpp>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
SideEvidence side(Completeness c, Acknowledgement a = Acknowledgement::unknown) {
  return {.completeness = c,
          .acknowledgement = a,
          .digest_proved = c == Completeness::proved || c == Completeness::proved_distinct,
          .empty = false,
          .ledger_empty = false};
}
const SideEvidence good = side(Completeness::proved);
void expect(const Evidence& e, Status status, Reason reason, bool unconfirmed = false) {
  const Judgement j = judge(e);
  CHECK(j.status == status);
  CHECK(j.reason == reason);
  CHECK(j.unconfirmed == unconfirmed);
}
}  // namespace

TEST_CASE("nothing known is no pass") {
  CHECK(judge({}).status != Status::pass);
  CHECK(Judgement{}.status == Status::error);
}

TEST_CASE("proved and equal passes, proved and different fails at once") {
  expect({good, good}, Status::pass, Reason::none);
  expect({good, good, true}, Status::fail, Reason::differs);
}

TEST_CASE("without a digest a difference waits for the second pass") {
  SideEvidence weak = good;
  weak.digest_proved = false;
  expect({good, weak, true}, Status::fail, Reason::differs, true);
  expect({weak, good, true}, Status::fail, Reason::differs, true);
  expect({.left = good, .right = weak, .differs = true, .second_pass = true, .identical = true}, Status::fail, Reason::differs);
  expect({.left = good, .right = weak, .differs = true, .second_pass = true, .identical = false}, Status::error, Reason::cut_violated);
}

TEST_CASE("at rest a difference is told at once: there is no cut to violate") {
  SideEvidence rest = side(Completeness::unknown);
  expect({good, rest, true}, Status::fail, Reason::differs);
  expect({good, rest, false}, Status::pass, Reason::none);
}

TEST_CASE("a real fault of one side outranks that the other is not known") {
  expect({side(Completeness::short_of), side(Completeness::surplus)}, Status::fail, Reason::extra_rows, true);
  expect({side(Completeness::surplus), side(Completeness::short_of)}, Status::fail, Reason::extra_rows, true);
  expect({side(Completeness::short_of), good}, Status::error, Reason::horizon_not_proven);
}

TEST_CASE("conflicting rows are a fault even if everything balances; over a proved set of ids no second look is needed") {
  SideEvidence conflicting = side(Completeness::proved_distinct);
  conflicting.conflicting = true;
  expect({good, conflicting}, Status::fail, Reason::conflicting_rows);
  conflicting.completeness = Completeness::surplus;
  expect({good, conflicting}, Status::fail, Reason::conflicting_rows, true);
}

TEST_CASE("one side empty is compared, both sides empty assert nothing") {
  SideEvidence nothing = good;
  nothing.empty = true;
  expect({good, nothing, true}, Status::fail, Reason::differs);
  expect({nothing, nothing}, Status::skipped, Reason::nothing_selected);
  nothing.ledger_empty = true;
  expect({nothing, nothing}, Status::skipped, Reason::empty);
}
