// An invariant has two sides: neither has a default that would compare with nothing.
// expect: could not convert|no matching constructor for initialization of .Reading
#include <epochcut/source/memory.hpp>
#include <epochcut/verdict/invariant.hpp>

using namespace epochcut;

Invariant balances(Memory& ledger, Memory& analytics) {
  Reading left{ledger, current("balances").by("currency").sum("amount")};
  Reading right{analytics, events("transactions").by("currency").sum("amount")};
#ifdef WRONG
  return {.id = "balances", .left = left};
#else
  return {.id = "balances", .left = left, .right = right};
#endif
}
