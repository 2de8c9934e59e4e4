#include <epochcut/core/epoch.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using tables::contains;
using tables::refusal;
using tables::sentence;

TEST_CASE("the sequence alone orders epochs") {
  CHECK(Epoch{7, 100} == Epoch{7, 999});  // ties of the label mean nothing
  CHECK(Epoch{7, 999} < Epoch{8, 100});   // and it may step back
  CHECK(Epoch{UINT64_MAX, 0} > Epoch{1, INT64_MAX});
}

TEST_CASE("the last event id of an epoch is its last leg") {
  CHECK(last_event_id({.id = "s", .leg_bits = 8}, {1, 0}) == 511);  // 1 * 256 + 255
  CHECK(last_event_id({.id = "s", .leg_bits = 2}, {10, 0}) == 43);  // 10 * 4 + 3
  CHECK(last_event_id({.id = "s", .leg_bits = 0}, {10, 0}) == 10);  // one row an event
  CHECK(last_event_id({.id = "s", .leg_bits = 8}, {0, 0}) == 255);
  CHECK(last_event_id({.id = "s", .leg_bits = 0}, {UINT64_MAX, 0}) == UINT64_MAX);
}

TEST_CASE("no leg of the next sequence is at or below an epoch, and every leg of its own is") {
  for (int bits : {0, 1, 8, 16, 32})
    for (std::uint64_t sequence : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{41}, std::uint64_t{0x7FFFFFFF}}) {
      const std::uint64_t last = last_event_id({.id = "s", .leg_bits = bits}, {sequence, 0}), legs = std::uint64_t{1} << bits;
      CHECK(sequence * legs + (legs - 1) == last);
      CHECK((sequence + 1) * legs == last + 1);
    }
}

TEST_CASE("a sequence that leaves no room for its legs is an overflow, never a wrapped id") {
  const Stream s{.id = "orders", .leg_bits = 8};
  const std::uint64_t last_that_fits = (std::uint64_t{1} << 56) - 1;
  CHECK(last_event_id(s, {last_that_fits, 0}) == UINT64_MAX);
  CHECK(refusal([&] { last_event_id(s, {last_that_fits + 1, 0}); }) == Reason::overflow);
  CHECK(contains(sentence([&] { last_event_id(s, {UINT64_MAX, 0}); }), "orders"));
  CHECK(refusal([] { last_event_id({.id = "s", .leg_bits = 33}, {1, 0}); }) == Reason::configuration);
  CHECK(refusal([] { last_event_id({.id = "s", .leg_bits = -1}, {1, 0}); }) == Reason::configuration);
}
