// What did a check find out, and by what right does it say so?
// Layer: verdict. A plain value: status, reason, the cut, both sides with their proof, the first differences and exact counts.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/status.hpp>
#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/diff/difference.hpp>

namespace epochcut {

/// What a `pass` has asserted to be equal.
enum class Claim : std::uint8_t {
  nothing,      ///< no verdict on content was reached
  every_value,  ///< every key and every value read
  digest,       ///< every key and every value, by the 128-bit digest of each range of keys
  aggregate,    ///< the declared sums and counts per key
};

constexpr std::string_view to_string(Claim claim) {
  constexpr std::string_view names[] = {"nothing", "every_value", "digest", "aggregate"};
  static_assert(std::size(names) == static_cast<std::size_t>(Claim::aggregate) + 1);
  return names[static_cast<std::size_t>(claim)];
}

/// Where a ledger stood: what the next check may not fall below.
struct SeenEpoch {
  std::string stream;
  Epoch epoch;
  std::uint64_t timeline = 0;  ///< of the ledger; it changes with a failover or a restore
};

/// One side of an outcome. Units: milliseconds; bytes and wire_rows as they crossed the wire in the last read.
struct SideReport {
  std::string relation{};
  Server server{};
  std::string stream{};  ///< as of whose epoch it was read; empty: at rest
  std::optional<Epoch> epoch{};
  Witness witness = Witness::snapshot;
  Completeness completeness = Completeness::unknown;
  std::optional<Digest> ids{}, expected{};
  std::uint64_t rows = 0, wire_rows = 0, bytes = 0;
  Millis waited{0};
  Millis took{0};  ///< of a follower: all of its reads, waiting included; an anchor is read once, for all checks of its cut
  int attempts = 0, full_reads = 0;
  std::vector<std::vector<Cell>> values{};  ///< the first rows as they were compared, up to CheckOptions::values_max
};

struct Outcome {
  std::string id;
  Digest question{};  ///< digest_of_question: two outcomes with one of these asked the same
  Status status = Status::error;
  Reason reason = Reason::unknown;
  std::string message;  ///< one sentence for people
  std::string how;      ///< of a full_compare: which way the rows were compared, and why
  std::string stream, authority;
  std::uint64_t generation = 0;
  std::optional<Epoch> epoch;   ///< of the main stream; a side of another stream has its own
  std::vector<SeenEpoch> seen;  ///< of every stream of the ledger, for CheckOptions::last_seen of the next check
  bool unsynchronised = false;  ///< a side was read at rest
  bool confirmed = false;       ///< a second pass at the same epoch was made
  bool retryable = false;       ///< of an error: the same check may succeed later with nothing changed
  Claim claim = Claim::nothing;
  SideReport left, right;
  DiffCounts counts;
  std::vector<Difference> differences;  ///< the first of them; `counts` are exact
  Millis took{0};

  int exit_code() const { return epochcut::exit_code(status); }
};

}  // namespace epochcut
