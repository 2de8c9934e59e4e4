// What did one run of one check leave behind?
// A Run is one row of invariants_log, and all that the page, the metrics, the pager and the soak know of a run: a plain value, whether it has just
// ended or was read back from the log. Times are UTC; texts are as they are shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <epochcut/operate/instant.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace recon_engine {

using epochcut::Instant;
using epochcut::Millis;

/// One key with the values of both sides, each as `column=value` pairs; empty where a side lacks the key.
struct ShownDifference {
  std::string kind;  ///< changed, only_left, only_right
  std::string key, left, right;
  friend bool operator==(const ShownDifference&, const ShownDifference&) = default;
};

struct Run {
  std::string check_id;
  std::string run_id;     ///< deterministic: `check_id@scheduled`, or `check_id@event_key`; the log refuses a second row of one
  std::string trigger;    ///< cron, event, manual or canary
  std::string event_key;  ///< of an event: the mark cycle's number
  Instant scheduled{}, started{}, finished{};
  bool paging = false;  ///< as it was configured when the run began

  epochcut::Status status = epochcut::Status::error;
  epochcut::Reason reason = epochcut::Reason::unknown;
  std::string message;
  bool unsynchronised = false, confirmed = false, retryable = false;

  std::string stream, authority;
  std::uint64_t generation = 0;
  std::optional<epochcut::Epoch> epoch;
  std::string left_witness, right_witness;
  std::string left, right;  ///< what was compared, as JSON: an array of objects column → text; empty if nothing was

  std::uint64_t equal = 0, changed = 0, only_left = 0, only_right = 0;
  std::vector<ShownDifference> differences;  ///< the first of them

  std::uint64_t rows = 0, bytes = 0;  ///< of both sides, as they crossed the wire in the last read; rows: as scanned where the source says so
  Millis horizon_wait{0}, left_took{0}, right_took{0}, took{0};
  int attempts = 0, full_reads = 0;
  std::string version;     ///< of the program
  std::string query_hash;  ///< of both queries: two runs with one hash asked the same question
};

/// Fills in everything but ids, trigger, times and paging.
Run run_of(const epochcut::Outcome& outcome);

/// Takes every finished run, in order. Implementations say from which thread; none may throw.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void add(const Run& run) = 0;
};

}  // namespace recon_engine
