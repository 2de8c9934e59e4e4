// What is read must scan, or answer a query with its proof. Rows alone prove nothing.
// expect: not a Follower: a source has scan
#include <vector>

#include <epochcut/verdict/invariant.hpp>

struct Rows {
#ifdef WRONG
  std::vector<int> scan(const std::string&) const { return {}; }
#else
  epochcut::Relation scan(const std::string&) const { return {}; }
#endif
};

epochcut::Reading reading(const Rows& rows) { return {rows, epochcut::events("transactions")}; }
