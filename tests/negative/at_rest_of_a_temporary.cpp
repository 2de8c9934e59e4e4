// at_rest refers to its source, too.
// expect: give the source a name that outlives it
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/invariant.hpp>

epochcut::Reading reading(epochcut::Memory& analytics) {
#ifdef WRONG
  (void)analytics;
  return {epochcut::at_rest(epochcut::Memory{"analytics"}), epochcut::events("transactions")};
#else
  return {epochcut::at_rest(analytics), epochcut::events("transactions")};
#endif
}
