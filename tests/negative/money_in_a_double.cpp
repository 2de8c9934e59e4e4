// A decimal is exact: a double doesn't turn into one unasked.
// expect: narrow
#include <epochcut/core/decimal.hpp>

#ifdef WRONG
epochcut::Decimal amount() { return {12.5, 2}; }
#else
epochcut::Decimal amount() { return {1250, 2}; }
#endif
