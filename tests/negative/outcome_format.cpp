// A wrong format of an outcome is found by the compiler, not by the night shift.
// expect: an Outcome is formatted as
#include <epochcut/format.hpp>

#ifdef WRONG
std::string line(const epochcut::Outcome& outcome) { return fmt::format("{:x}", outcome); }
#else
std::string line(const epochcut::Outcome& outcome) { return fmt::format("{:j}", outcome); }
#endif
