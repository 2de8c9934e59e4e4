// The diff takes cursors, which end in a proof. Rows without one can't be compared.
// expect: Cursor
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/diff/diff.hpp>

using namespace epochcut;

DiffCounts compare(Relation left_rows, Relation right_rows, const Proof& left_proof, const Proof& right_proof) {
  NullSink sink;
#ifdef WRONG
  (void)left_proof, (void)right_proof;
  Relation &left = left_rows, &right = right_rows;
#else
  RelationCursor left(std::move(left_rows), left_proof), right(std::move(right_rows), right_proof);
#endif
  return diff(left, right, {}, sink);
}
