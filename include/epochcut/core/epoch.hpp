// Which point of the event sequence is meant?
// Layer: core. Values only, constexpr. Source: docs/concepts.md "Epoch"; RFC live-checks, "The shared mechanism".
// The sequence ALONE orders, filters and picks winners; execution_ns is a label: it ties and it steps back.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include <epochcut/core/failure.hpp>

namespace epochcut {

/// A point in the ledger's total order. Units: `execution_ns` is nanoseconds since 1970, UTC. A stream without a sequence declares
/// its ns unique and rising, and then the ns IS its sequence.
struct Epoch {
  std::uint64_t sequence = 0;
  std::int64_t execution_ns = 0;

  friend constexpr bool operator==(Epoch a, Epoch b) { return a.sequence == b.sequence; }
  friend constexpr std::strong_ordering operator<=>(Epoch a, Epoch b) { return a.sequence <=> b.sequence; }
};

/// How a stream numbers its events: `event_id = sequence << leg_bits | leg`, an unsigned 64-bit number, unique per row of a relation.
/// Two legs of one execution are two rows. Epochs of two streams never compare.
struct Stream {
  std::string id;
  std::string event_id = "event_id";  ///< the column that carries the event id, in every relation that is read as of an epoch
  int leg_bits = 8;                   ///< at most 2^leg_bits rows of one relation per sequence number
  bool acknowledged = false;          ///< the writer commits a token only after the follower acknowledged every row up to it
  std::string generation{};           ///< the column that says which generation wrote a follower's row; empty: rows don't say
};

/// The greatest event id at or below `epoch`: everything as of the epoch is `event_id <= last_event_id`.
/// Errors: `overflow` when the sequence does not leave room for the legs.
inline std::uint64_t last_event_id(const Stream& stream, Epoch epoch) {
  if (stream.leg_bits < 0 || stream.leg_bits > 32) throw Failure(Reason::configuration, "stream " + stream.id + ": leg_bits must be 0 to 32");
  if (stream.leg_bits > 0 && epoch.sequence >> (64 - stream.leg_bits) != 0)
    throw Failure(Reason::overflow, "stream " + stream.id + ": sequence " + std::to_string(epoch.sequence) + " does not fit an event id with " +
                                        std::to_string(stream.leg_bits) + " leg bits; use fewer leg bits");
  const std::uint64_t legs = (std::uint64_t{1} << stream.leg_bits) - 1;
  return epoch.sequence << stream.leg_bits | legs;
}

}  // namespace epochcut
