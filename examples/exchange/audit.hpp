// Is production what the stream says: each event once, by the generation that owned its number?
// The ledger, read in one snapshot, against a pure fold of the stream: balances, transactions row by row with the generation that wrote them, the
// token with its digests and its chain, and the seams. It shares nothing with the engines but the fold. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exchange/engine.hpp"

namespace exchange {

/// What one generation owned.
struct Owned {
  std::uint64_t generation = 0, first = 0, last = 0;  ///< sequence numbers; last < first: none yet
};

/// Around one seam: from the last commit of the old owner to the first one of the new. Needs the engines' commit logs.
struct SeamPause {
  std::uint64_t s = 0, to_generation = 0;
  double milliseconds = 0;
};

struct AuditReport {
  std::uint64_t sequence = 0, generation = 0;
  std::string owner;
  std::uint64_t transactions = 0, balances = 0;  ///< rows that were compared
  std::vector<Owned> owned;
  std::vector<SeamPause> pauses;
  double batch_milliseconds = 0;  ///< median between two commits of one owner; 0 without a commit log
  std::uint64_t broken_count = 0;
  std::vector<std::string> broken;  ///< what does not hold, the first `broken_max` of them

  static constexpr std::size_t broken_max = 20;
  bool sound() const { return broken_count == 0; }
};

/// Errors: Failure when the ledger can't be read. `commit_logs`: files that engines were told to write, or none.
AuditReport audit(const EngineOptions& options, const std::vector<std::string>& commit_logs = {});

/// For people: one line per generation and seam, then what is broken.
std::string to_text(const AuditReport& report);

}  // namespace exchange
