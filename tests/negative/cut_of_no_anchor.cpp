// A cut is taken from what hands out state and token in one snapshot. A source that only scans has no token.
// expect: Anchor
#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/source/memory.hpp>

struct Folder {
  epochcut::Relation scan(const std::string&) { return {}; }
};

#ifdef WRONG
using Source = Folder;
#else
using Source = epochcut::Memory;
#endif

epochcut::EpochCut<Source> take(Source& source) { return {source, {}}; }
