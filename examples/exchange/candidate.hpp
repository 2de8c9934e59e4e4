// How does an engine earn the right to write production, and take it over?
// A candidate folds the stream into its own shadow, with a role that can't write production, and looks at production's row every few milliseconds: armed
// for it, it goes up to the seam, says there how its fold stands (the chain), and once it has read the flip back it hands out the fold for an engine with
// production's credentials to go on with. Steps: operate/splice.hpp. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "exchange/authority.hpp"
#include "exchange/engine.hpp"

namespace exchange {

struct CandidateOptions {
  EngineOptions shadow;   ///< its own layout, and the shadow's credentials
  Layout production;      ///< what it would take over; read with the shadow's credentials
  std::uint64_t lag = 0;  ///< events that it stays behind on purpose
  std::string build_id;   ///< empty: `build_id_of_this_program`
  std::chrono::milliseconds poll{4}, armed_poll{1};
};

/// A digest of the running executable, so that no two builds share one.
std::string build_id_of_this_program();

class Candidate {
 public:
  /// Records which build has started. Errors: as Engine; `configuration` if production has what can't be handed over.
  explicit Candidate(CandidateOptions options);

  /// One look at both rows, and what follows from it: a batch at most. True: the authority is its own, and `hot` is where to go on.
  bool step();
  HotStart hot() && { return std::move(engine_).hot(); }

  std::uint64_t sequence() const { return engine_.sequence(); }
  const epochcut::AuthorityRow& production() const { return production_; }

 private:
  void record(std::uint64_t last);

  const CandidateOptions options_;
  PostgresWriter ledger_;
  Engine engine_;
  epochcut::AuthorityRow production_;
  std::string build_;     ///< a chain counts only in the build that the verdict is about
  std::string recorded_;  ///< the splice_id for which the chain stands there
};

}  // namespace exchange
