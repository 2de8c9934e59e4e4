// A duration says its unit.
// expect: could not convert|no viable conversion|no matching function
#include <epochcut/cut/horizon.hpp>

#ifdef WRONG
epochcut::HorizonPolicy patient{.budget = 60'000};
#else
epochcut::HorizonPolicy patient{.budget = epochcut::Millis{60'000}};
#endif
