// How does every check stand right now?
// What the page, /internal/health and the gauges show: the configuration's summary per check, the last runs, when it fires next, whether its pager is
// firing, and the program's own state. A Sink like the log; fill it from the log at start with restore(). Thread-safe; snapshot() is a copy.
// Bounded: runs_kept_max runs a check.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/paging.hpp>

#include "recon_engine/run.hpp"

namespace recon_engine {

using epochcut::Signal;  // the only spelling of it: what the pager folds is what the page shows

inline constexpr std::size_t runs_kept_max = 96;     ///< of one check, runs; eight hours of a check that fires every five minutes
inline constexpr std::size_t missed_kept_max = 96;   ///< of one check, fires
inline constexpr std::size_t checks_shown_max = 64;  ///< checks; the labels of the metrics are bounded by it

/// What the configuration says of one check.
struct CheckSummary {
  std::string id;
  bool enabled = true, paging = true;
  std::string schedule;  ///< as written: a cron or `event:mark_cycle`
  std::string zone;
  Millis interval{0};                        ///< the longest time between two fires; 0: events alone fire it
  Millis late_max{60'000}, budget{120'000};  ///< how late a run may begin, how long it may take
};

/// Whether a run has asserted anything.
inline bool asserts(const Run& run) { return run.status == epochcut::Status::pass || run.status == epochcut::Status::fail; }

struct CheckState {
  CheckSummary config;
  std::vector<Run> runs;             ///< the last of them, oldest first
  std::vector<Instant> missed_at;    ///< fires that did not happen, oldest first
  std::optional<Instant> next_fire;  ///< absent: an event will say
  std::optional<Instant> running_since, last_asserted, last_passed;
  std::uint64_t missed = 0, coalesced = 0;  ///< since the program started
  std::array<std::uint64_t, 4> ended{};     ///< runs since the program started, by status
  int unasserted = 0;                       ///< runs and missed fires since the last run that asserted
  std::map<Signal, Instant> firing;         ///< since when
};

/// The program's own state. Depths count what waits to be written or posted.
struct EngineState {
  Instant started{};
  std::string version;
  bool configured = false, draining = false, locked = false;  ///< locked: this process is the one that runs the checks
  std::optional<Instant> heartbeat;                           ///< when the loop last went round
  std::set<std::string> reached;                              ///< stores that have answered at least once
  std::string config_problem;                                 ///< why the last reload was refused, one sentence; empty: it was not
  std::uint64_t spool_runs = 0, outbox_pages = 0;
  std::optional<Instant> outbox_oldest;  ///< when the page that waits longest was written
  std::uint64_t pages_delivered = 0, pages_failed = 0, pages_withheld = 0, pages_abandoned = 0;
  std::string outbox_problem;  ///< of the last post that failed, without secrets
};

struct BoardState {
  EngineState engine;
  std::vector<CheckState> checks;  ///< in the order of the configuration
};

class Board final : public Sink {
 public:
  Board(Instant started, std::string version);

  /// At start and at every reload: the history of checks that stay is kept.
  void configure(const std::vector<CheckSummary>& checks);
  /// Runs from the log, oldest first. They count for the page, not for `coalesced` and `missed`.
  void restore(const std::vector<Run>& runs);

  /// Ends what `began` began, unless that is a later run. A run of a check that is not configured is ignored.
  void add(const Run& run) override;
  void began(std::string_view check_id, Instant at);
  /// `next_fire` absent: an event will say. `missed` and `coalesced` are the schedule's own counts, which only rise until it is made anew.
  void waiting(std::string_view check_id, std::optional<Instant> next_fire, std::uint64_t missed, std::uint64_t coalesced);
  /// `since` absent: it has stopped firing.
  void firing(std::string_view check_id, Signal signal, std::optional<Instant> since);

  /// A loop that calls this once is expected to go on: /livez believes it for heartbeat_stale (http.hpp).
  void heartbeat(Instant at);
  void reached(std::string_view store);
  void draining();
  void locked(bool held);
  void config_problem(std::string sentence);
  void spooled(std::uint64_t runs);
  void outbox(std::uint64_t pages, std::optional<Instant> oldest);
  void page_delivered();
  void page_failed(std::string why);
  void page_withheld();
  void page_abandoned();

  BoardState snapshot() const;

 private:
  /// The schedule's counts when they were last told.
  struct Counted {
    std::uint64_t missed = 0, coalesced = 0;
  };
  CheckState* find(std::string_view check_id);

  mutable std::mutex mutex_;
  BoardState state_;
  std::map<std::string, Counted, std::less<>> counted_;
};

}  // namespace recon_engine
