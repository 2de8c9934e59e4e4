// What does a soak look at?
// Layer: operate. Values only: runs as they stand in the record, what people have said of them, and what was planted on purpose.
// Source: RFC live-checks, "Soak"; docs/operations/soak.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/decimal.hpp>
#include <epochcut/core/failure.hpp>
#include <epochcut/core/status.hpp>
#include <epochcut/operate/instant.hpp>

namespace epochcut {

inline constexpr std::size_t soak_runs_max = 1'000'000;  ///< of one pair of checks: nine years of every five minutes, 500 MB
inline constexpr Millis pair_within{600'000};            ///< an old fire and a live run further apart than this saw different stores
inline constexpr Millis same_fire{500};                  ///< a run's scheduled time is its fire's own, give or take what a store rounds
inline constexpr int episode_gap_fires = 2;              ///< so many fires of another status don't end an episode
inline constexpr std::chrono::days soak_length{28};      ///< of one uninterrupted soak
inline constexpr double error_rate_max = 0.005;          ///< of the runs outside declared outages
inline constexpr Millis error_episode_max{30 * 60'000};  ///< outside declared outages
inline constexpr int planted_distinct_min = 59;          ///< caught without a miss they say: at most 5 % are missed, with 95 % confidence
inline constexpr int canary_fires_max = 2;               ///< a live canary is caught within so many fires
inline constexpr double cost_p99_max = 0.25;             ///< of the interval between two fires
inline constexpr double compared_min = 0.9;              ///< of the old fires; with fewer, "no divergence" would be a word about nothing

/// One run of one check, as the record has it.
struct SoakRun {
  std::string check_id;
  std::string trigger;    ///< cron, event, manual or canary: only the first two answer to a schedule
  std::string event_key;  ///< the mark cycle of an event
  Instant scheduled{}, started{}, finished{};
  Status status = Status::error;
  Reason reason = Reason::unknown;
  std::string message;
  std::string stream;
  std::optional<std::uint64_t> epoch;    ///< sequence number of the cut
  std::string left, right;               ///< what was compared, in one canonical text; empty: not kept
  std::optional<Decimal> largest_gap{};  ///< the largest |left − right| of one value
  std::string question;                  ///< hash of both queries
};

/// The verdict of a person on an episode (or on a pair, by its old fire).
enum class Adjudicated : std::uint8_t { open, real_break, check_bug, infra, expected_precondition };
constexpr std::string_view to_string(Adjudicated a) {
  constexpr std::string_view names[] = {"open", "real_break", "check_bug", "infra", "expected_precondition"};
  return names[static_cast<std::size_t>(a)];
}
constexpr std::optional<Adjudicated> adjudicated_of(std::string_view name) {
  for (const Adjudicated a : {Adjudicated::open, Adjudicated::real_break, Adjudicated::check_bug, Adjudicated::infra, Adjudicated::expected_precondition})
    if (to_string(a) == name) return a;
  return std::nullopt;
}

/// Of one check's episode, named by a moment within it: from its first run's scheduled time to its last's. A later one overrules an earlier one.
struct Adjudication {
  std::string check_id;
  Instant scheduled{};
  Adjudicated verdict = Adjudicated::open;
  std::string evidence, who;
  Instant said{};  ///< of a check_bug: when its fix was in; the clock starts anew here
};

/// A time in which the platform was down, declared by people. [began, ended).
struct Outage {
  Instant began{}, ended{};
  std::string what;
};

/// A break that was planted on purpose.
struct PlantedBreak {
  std::string check_id;  ///< of the check that must catch it
  std::string what;      ///< which break: distinct ones count
  bool live = false;     ///< on the running stores: a canary; else in a test
  Instant planted{}, removed{};
  std::optional<Instant> caught{};
  int fires = 0;  ///< fires until it was caught, the catching one included
};

/// A mark cycle that was committed.
struct MarkCycle {
  std::uint64_t cycle = 0;
  Instant committed{};
};

/// Somebody has read the report and answers for it. Not the same as time having passed.
struct SignOff {
  std::string who;
  Instant said{};
};

/// Everything about one pair of checks: the old one and the one that is to take its place.
struct SoakInput {
  std::string old_id, live_id;
  Instant from{}, until{};  ///< of the record that is looked at; the soak begins at `from`

  std::vector<Instant> old_fires;   ///< from the SCHEDULE and not from the record, so that missing rows show
  std::vector<Instant> live_fires;  ///< the same; empty for a check that mark cycles fire
  std::vector<MarkCycle> cycles;    ///< of such a check, in order
  bool by_cycle = false;            ///< pairs are joined on the mark cycle, not on time
  std::string accumulator;          ///< where the cheaper way of reading is filed, if it is: a cost beyond the bound is then accepted

  std::vector<SoakRun> runs;  ///< of both checks, in any order; others are passed over
  std::vector<Adjudication> adjudications;
  std::vector<Outage> outages;
  std::vector<PlantedBreak> planted;
  std::optional<SignOff> signed_off;
};

}  // namespace epochcut
