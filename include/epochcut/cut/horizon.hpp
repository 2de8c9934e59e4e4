// Has the follower shown everything up to the epoch, and if not: wait, or give up?
// Layer: cut. `step` is pure and constexpr: time, attempts and what was observed go in, a decision comes out.
// Source: RFC live-checks, "Visibility horizon"; docs/concepts.md "The horizon". A budget used up is an error, never a fail.
#pragma once

#include <cstdint>
#include <string_view>

#include <epochcut/core/digest.hpp>
#include <epochcut/cut/control.hpp>

namespace epochcut {

/// What proves that a side is complete at the epoch.
enum class Witness : std::uint8_t {
  snapshot,     ///< the anchor itself: state and token in one snapshot
  id_digest,    ///< the read's own digest of event ids equals the token's
  acked,        ///< the ledger knows an acknowledgement of everything up to the epoch, from the server that is read
  max_version,  ///< the newest visible event id is at or past the epoch: sound only for acknowledged writers
  at_rest,      ///< nothing: an unsynchronised read
};

constexpr std::string_view to_string(Witness witness) {
  constexpr std::string_view names[] = {"snapshot", "id_digest", "acked", "max_version", "at_rest"};
  return names[static_cast<std::size_t>(witness)];
}

/// How long to wait for a follower, and by what to believe it.
struct HorizonPolicy {
  Witness witness = Witness::id_digest;  ///< acked or max_version: believed for relations of which the token carries no digest
  Millis budget{30'000};                 ///< from the cut to giving up; a follower further behind is broken, not late
  Millis first_delay{50};                ///< a healthy follower is there within one or two of these
  Millis delay_max{2'000};               ///< delays double up to here, so that an outage costs the server little
  int attempts_max = 1'000;              ///< looks at the follower in one read
  int full_reads_max = 16;               ///< whole reads while waiting, the rest are cheap looks; the last read comes on top
  int jitter_percent = 20;               ///< of each delay, so that many checkers don't look at once
  std::uint64_t jitter_seed = 0;
  Millis max_visibility_lag{2'000};  ///< what the writer declares: nothing acknowledged stays invisible for longer
};

/// What one look has shown. refuted: no waiting can make it complete.
enum class Reached : std::uint8_t { no, yes, refuted };

struct Step {
  enum class Action : std::uint8_t { proceed, wait, give_up };
  Action action = Action::give_up;
  Millis delay{0};
  friend constexpr bool operator==(const Step&, const Step&) = default;
};

/// What to do after look number `attempt` (from 0), `waited` after the cut. The last delay ends exactly at the budget.
constexpr Step step(const HorizonPolicy& policy, Reached reached, Millis waited, int attempt) {
  if (reached == Reached::yes) return {Step::Action::proceed, Millis{0}};
  if (reached == Reached::refuted || waited >= policy.budget || attempt + 1 >= policy.attempts_max) return {Step::Action::give_up, Millis{0}};
  std::int64_t delay = policy.first_delay.count() < 1 ? 1 : policy.first_delay.count();
  for (int i = 0; i < attempt && delay < policy.delay_max.count(); ++i) delay *= 2;
  if (delay > policy.delay_max.count()) delay = policy.delay_max.count() < 1 ? 1 : policy.delay_max.count();
  const std::int64_t spread = delay * policy.jitter_percent / 100;
  if (spread > 0) {
    const std::uint64_t noise = mix(policy.jitter_seed + static_cast<std::uint64_t>(attempt) * event_id_high_salt);
    delay += static_cast<std::int64_t>(noise % static_cast<std::uint64_t>(2 * spread + 1)) - spread;
  }
  const std::int64_t left = (policy.budget - waited).count();
  return {Step::Action::wait, Millis{delay < 1 ? 1 : delay < left ? delay : left}};
}

static_assert(step({}, Reached::yes, Millis{0}, 0).action == Step::Action::proceed);
static_assert(step({}, Reached::yes, Millis{99'999}, 9'999).action == Step::Action::proceed, "proved late is proved");
static_assert(step({}, Reached::refuted, Millis{0}, 0).action == Step::Action::give_up);
static_assert(step({}, Reached::no, Millis{30'000}, 1).action == Step::Action::give_up);
static_assert(step({}, Reached::no, Millis{29'999}, 20) == Step{Step::Action::wait, Millis{1}}, "never sleeps past the budget");

}  // namespace epochcut
