#include <epochcut/core/digest.hpp>

#include <set>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
Digest of(const std::vector<std::uint64_t>& ids) {
  Digest d;
  for (std::uint64_t id : ids) d += digest_of_event_id(id);
  return d;
}
}  // namespace

TEST_CASE("mix is the published finalizer of MurmurHash3") {
  CHECK(mix(0) == 0);
  CHECK(mix(1) == 0xB456BCFC34C2CB2C);
}

TEST_CASE("the halves are those sums that the SQL in the comment asks for") {
  CHECK(event_id_high_salt == 11400714819323198485u);
  const Digest d = digest_of_event_id(12345);
  CHECK(d.count == 1);
  CHECK(d.sum_low == int_hash64(12345));
  CHECK(d.sum_high == int_hash64(12345 ^ 11400714819323198485u));
  CHECK(int_hash64(0x4CF2D2BAAE6DA887) == mix(0));
}

TEST_CASE("additive, free of order, and it can be taken apart again") {
  CHECK(of({1, 2, 3, 4}) == of({4, 2, 1, 3}));
  CHECK(of({1, 2}) + of({3, 4}) == of({1, 2, 3, 4}));
  CHECK(of({1, 2, 3, 4}) - of({2}) == of({1, 3, 4}));
  CHECK(of({}) == Digest{});
}

TEST_CASE("what others' checksums missed") {
  CHECK(of({5, 5}) != of({}));  // XOR loses a pair
  CHECK(of({5, 5}) != of({6, 6}));
  CHECK(of({1, 2, 3, 4}) != of({101, 102, 103, 104}));                // four rows shifted by the same amount
  CHECK(of({1, 4}) != of({2, 3}));                                    // equal sums of ids
  CHECK(of({10, 20}) + of({30, 40}) == of({10, 30}) + of({20, 40}));  // a whole is free of its ranges ...
  CHECK(of({10, 20}) != of({10, 30}));                                // ... but two rows swapped between ranges differ in each
  CHECK(of({30, 40}) != of({20, 40}));
  CHECK(of({1, 2, 2}) != of({1, 2}));  // an edge row counted in both ranges
  CHECK(of({0}) != of({}));            // an id of zero counts
}

TEST_CASE("a count that differs is a difference even if the sums agree") {
  Digest zero_hash = of({0x4CF2D2BAAE6DA887});  // its low half hashes to zero
  CHECK(zero_hash.sum_low == 0);
  zero_hash.sum_high = 0;
  CHECK(zero_hash != Digest{});
}

TEST_CASE("no two of many ids share either half") {
  std::set<std::uint64_t> low, high;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const Digest d = digest_of_event_id(i % 2 ? i : i << 40);
    low.insert(d.sum_low), high.insert(d.sum_high);
  }
  CHECK(low.size() == 20'000);
  CHECK(high.size() == 20'000);
}

TEST_CASE("a digest prints its count and 32 digits") { CHECK(to_string(Digest{3, 0xAB, 0x1}) == "3 rows, 000000000000000100000000000000ab"); }
