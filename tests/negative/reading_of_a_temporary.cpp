// A Reading refers to its source. A source without a name is gone before the check begins.
// expect: give the source a name that outlives it
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/invariant.hpp>

epochcut::Reading reading(epochcut::Memory& analytics) {
#ifdef WRONG
  (void)analytics;
  return {epochcut::Memory{"analytics"}, epochcut::events("transactions")};
#else
  return {analytics, epochcut::events("transactions")};
#endif
}
