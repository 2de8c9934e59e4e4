// What does each command do, and what does it say before it does it?
// Everything of the tool but its main, so that tests drive it. Each step that changes something says what it will do and what can still be undone, and
// asks; `--yes` answers for scripts. Passwords are in no output. Exit codes: 0 done or go, 1 refused, taken back or no_go, 2 bad usage or not_yet,
// 3 no answer, or void.
#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "cutover/facts.hpp"
#include "cutover/verify.hpp"

namespace cutover {

inline constexpr int exit_done = 0, exit_refused = 1, exit_usage = 2, exit_no_answer = 3;

using Environment = std::function<std::optional<std::string>(const std::string&)>;

/// A command line, taken apart. Errors: Failure(configuration), one sentence that says what to do.
struct Arguments {
  std::string command;
  Place place;
  bool help = false, json = false, yes = false, watch = false;
  VerifyOptions verify;
  Millis age_max = verdict_age_max;
  std::optional<std::uint64_t> at{};  ///< of a splice
  Millis in{2'000};
  std::uint64_t lag = 0;  ///< of a stage; 0: half a second of events
  std::string owner_postgres, owner_clickhouse;
  std::string out, verdict_id;                                         ///< of a report
  std::string config = "watch.toml", program = "recon_engine", build;  ///< of a gap
  Millis deploy{60'000};
  std::optional<epochcut::Instant> since{};
  std::string exchange_program = "exchange", keep;
};
Arguments parse(const std::vector<std::string>& words, const Environment& environment);
std::string usage();
/// A list of allowances as JSON: [{"name", "check", "key", "columns": [], "until": "2026-07-01"}]. Errors: Failure(configuration).
std::vector<epochcut::Allowance> parse_allowances(const std::string& text);

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool live = false;                                     ///< one line may be written over
  std::function<bool(const std::string& question)> ask;  ///< the operator's answer
};

/// What a splice will do, in words, before anybody is asked.
std::string plan_text(const Facts& facts, const CandidateFact& candidate, const Place& place, std::uint64_t stop_at, double events_per_second);

/// When the owner's token moved, as it was seen from outside.
struct Commit {
  Millis at;
  std::uint64_t sequence = 0, generation = 0;
};
struct SeamPause {
  Millis pause{0};     ///< between the last commit seen before the seam and the first after it
  Millis ordinary{0};  ///< the median between two others
};
std::optional<SeamPause> pause_at(const std::vector<Commit>& commits, std::uint64_t s);

int run(const Arguments& arguments, const Terminal& terminal, const epochcut::Control& control = {});

int status_command(const Arguments& arguments, const Terminal& terminal);
int stage_command(const Arguments& arguments, const Terminal& terminal);
int verify_command(const Arguments& arguments, const Terminal& terminal, const epochcut::Control& control);
int splice_command(const Arguments& arguments, const Terminal& terminal, const epochcut::Control& control);
int resume_command(const Arguments& arguments, const Terminal& terminal, const epochcut::Control& control);
int abort_command(const Arguments& arguments, const Terminal& terminal);
int report_command(const Arguments& arguments, const Terminal& terminal);
int gap_command(const Arguments& arguments, const Terminal& terminal);
int rehearse_command(const Arguments& arguments, const Terminal& terminal, const epochcut::Control& control);

}  // namespace cutover
