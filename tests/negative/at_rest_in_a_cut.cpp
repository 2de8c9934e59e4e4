// A cut reads as of its epoch: what is read as it stands can't be passed off as part of it.
// expect: Follower
#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/invariant.hpp>

epochcut::Read read(const epochcut::EpochCut<epochcut::Memory>& cut, epochcut::Memory& analytics) {
#ifdef WRONG
  auto follower = epochcut::at_rest(analytics);
#else
  auto& follower = analytics;
#endif
  return cut.read(follower, epochcut::events("transactions"));
}
