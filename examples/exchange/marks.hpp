// How do the marks get into both stores?
// The marker values all positions at a batch border. A cycle is a pure function of its number: cycle k is cut at sequence k * every, so a cycle whose
// rows were written and whose commit died writes the same rows under the same ids again. Its rows are acknowledged before ONE transaction commits
// the cycle with its token. The engine stands still meanwhile. One thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/engine.hpp"
#include "exchange/fold.hpp"
#include "exchange/mark_rows.hpp"
#include "exchange/postgres_writer.hpp"

namespace exchange {

class Marker {
 public:
  /// Makes the stream's token if there is none, and makes up for the cycles up to `sequence` that are missing: one whose commit died, or all since
  /// marks were last on. Their rows may be there already, so none may be left out.
  /// Errors: Fenced, Failure; `configuration` when the cycles there were cut elsewhere than at multiples of `every`, or from another stream.
  Marker(const EngineOptions& options, std::uint64_t generation, std::uint64_t every, std::uint64_t sequence);

  /// The next sequence number to mark at, above `sequence`.
  std::uint64_t border(std::uint64_t sequence) const { return (sequence / every_ + 1) * every_; }
  /// Writes the next cycle. Precondition: the fold stands at its border, and the engine has committed that. After an exception this marker is dead.
  void mark(const Fold& fold);
  std::uint64_t cycle() const { return cycle_; }  ///< committed

 private:
  void make_up(std::uint64_t sequence, const Digest& committed);
  void commit(const Books& books, const Digest& rows);
  void crash_if(CrashPoint point, std::uint64_t sequence);
  std::string table(const std::string& name) const { return options_.layout.schema + "." + name; }

  const EngineOptions options_;
  const std::uint64_t generation_, every_;
  PostgresWriter ledger_;
  ClickhouseWriter analytics_;
  std::uint64_t cycle_ = 0;
  Digest digest_;  ///< of all event ids up to cycle_
};

}  // namespace exchange
