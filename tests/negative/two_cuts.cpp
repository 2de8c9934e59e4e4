// Two cuts are two epochs. A comparison is of two sources at one cut, so a cut is no side of it.
// expect: not a Follower: a source has scan
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/check.hpp>

using namespace epochcut;

#ifdef WRONG
using Side = EpochCut<Memory>;
#else
using Side = Memory;
#endif

Invariant compare(Side& left, Side& right) {
  return {.id = "balances",
          .left = {left, current("balances").by("currency").sum("amount")},
          .right = {right, events("transactions").by("currency").sum("amount")}};
}
