// An epoch is ordered by its sequence alone, so a bare number of nanoseconds doesn't compare with one.
// expect: no match for .operator<.|invalid operands to binary expression
#include <epochcut/core/epoch.hpp>

using epochcut::Epoch;

bool earlier(Epoch a, Epoch b) {
#ifdef WRONG
  return a < b.execution_ns;
#else
  return a < b;
#endif
}
