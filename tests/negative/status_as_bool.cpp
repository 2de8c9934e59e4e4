// A status is not a truth value: four answers don't fit into two, and pass is not `true`.
// expect: could not convert .status|no viable conversion|is not contextually convertible
#include <epochcut/core/status.hpp>

int verdict(epochcut::Status status) {
#ifdef WRONG
  if (status) return 0;
#else
  if (status == epochcut::Status::pass) return 0;
#endif
  return 1;
}
