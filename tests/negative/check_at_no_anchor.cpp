// A check is made at a cut of an anchor: two followers have no epoch in common.
// expect: Anchor
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/check.hpp>

struct Folder {
  epochcut::Relation scan(const std::string&) { return {}; }
};

#ifdef WRONG
using Source = Folder;
#else
using Source = epochcut::Memory;
#endif

epochcut::Outcome run(Source& source, const epochcut::Invariant& invariant) { return epochcut::check(source, invariant); }
