// Statuses combine by their algebra, not as numbers: a mean of a pass and a fail is nothing.
// expect: no match for .operator&.|invalid operands to binary expression
#include <epochcut/core/status.hpp>

using epochcut::Status;

#ifdef WRONG
constexpr Status both(Status a, Status b) { return a & b; }
#else
constexpr Status both(Status a, Status b) { return all_of(a, b); }
#endif
static_assert(both(Status::pass, Status::error) == Status::error);
