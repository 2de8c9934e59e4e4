// May the candidate take over?
// Cut after cut against the gate, until it says go, no_go or void, or the time is up; and then a record that says what was compared, how, and who signs.
// One thread; whoever asks it to stop sets the control's cancel flag.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <epochcut/operate/instant.hpp>

#include "cutover/comparison.hpp"
#include "cutover/facts.hpp"

namespace cutover {

inline constexpr std::size_t cuts_kept_max = 5'000;  ///< in the record; a gate of a day at one cut in 20 s
inline constexpr std::size_t unequal_kept_max = 50;  ///< whole outcomes that are no pass
inline constexpr int unanswered_in_a_row_max = 30;   ///< then something is broken, and waiting does not mend it

struct VerifyOptions {
  epochcut::GateThresholds thresholds;
  std::vector<epochcut::Allowance> allowances{};
  ComparerOptions compare{};
  Millis every{2'000};    ///< between two cuts
  Millis at_most{0};      ///< then it is not_yet; 0: until the gate has decided
  int control_every = 5;  ///< cuts
  std::string signed_off_by;
  bool record = true;  ///< in epochcut_verdict
  bool blind = false;  ///< for tests: the control's difference is not planted
};

struct CheckLine {
  std::string id, status, reason;
  std::uint64_t equal = 0, differ = 0;
};

struct CutLine {
  epochcut::Instant at;
  std::uint64_t sequence = 0;
  std::string result;  ///< equal, differs, quiet or unanswered; `base` before it: a slice of what is old
  std::string why;     ///< of what is not equal, one sentence
  Millis took{0}, held{0};
  std::vector<CheckLine> checks;
};

struct ControlLine {
  epochcut::Instant at;
  std::uint64_t sequence = 0;
  std::string same, planted, plant;  ///< what each came to, and what was planted
};

struct DifferenceLine {
  std::string check, text, last_touched;
};

/// The verdict, as it is kept and shown.
struct VerdictRecord {
  std::string verdict_id, authority, candidate, build_id, candidate_started, owner, signed_off_by;
  std::uint64_t generation = 0, sequence = 0;
  std::string decision, why;
  epochcut::Instant began, ended;
  epochcut::GateThresholds thresholds;
  int cuts = 0, not_counted = 0, runs = 0, controls = 0;
  Millis duration{0};
  std::uint64_t events = 0, first = 0, last = 0, base = 0;  ///< base: rows up to here were compared before the run
  epochcut::Exercised exercised;
  std::vector<std::string> allowances_used;
  std::vector<CutLine> lines;
  std::vector<ControlLine> control_lines;
  std::vector<DifferenceLine> differences;
  std::vector<std::string> outcomes;  ///< JSON: each that was no pass, and all of the newest cut
};

/// `2026-06-01T12:00:00.000Z`; the fraction may be left out. Errors: `schema`.
epochcut::Instant instant_of(const std::string& text);

std::string to_json(const VerdictRecord& record);
/// Errors: `schema`.
VerdictRecord record_of(const std::string& json);

/// What a cut has left to do, for whoever watches.
struct Progress {
  const VerdictRecord* record;
  const CutLine* line;
  const epochcut::ShadowGate* gate;
  double events_per_second = 0;
  Millis left{0};  ///< at least, by what is missing and how fast it comes
};
std::string to_text(const Progress& progress);

struct VerifyResult {
  VerdictRecord record;
  int exit_code = 3;  ///< 0 go, 1 no_go, 2 not_yet, 3 void or no answer
};

/// Errors: Failure when nothing could be compared at all, or the record could not be written.
VerifyResult verify(const Place& place, const VerifyOptions& options, const std::function<void(const Progress&)>& tell, const epochcut::Control& control = {});

int exit_code(epochcut::Decision decision);

}  // namespace cutover
