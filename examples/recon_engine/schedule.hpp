// When does a check run next, and what has it missed?
// A pure object: time goes in, fires come out. A fire runs at most once, a check never overlaps itself, and what did not run is counted: nothing is
// made up for later, since a window may be over by then. One per check; not synchronised.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <epochcut/operate/instant.hpp>

namespace recon_engine {

using epochcut::Instant;
using epochcut::Millis;

/// What a run answers to.
struct Fire {
  Instant scheduled{};
  std::string trigger;    ///< cron or event
  std::string event_key;  ///< of an event
  friend bool operator==(const Fire&, const Fire&) = default;
};

struct ScheduleOptions {
  std::function<Instant(Instant)> next;  ///< the first fire after an instant; none: events alone fire
  Millis jitter{0};                      ///< a fire begins up to so much later
  std::uint64_t jitter_seed = 0;
  Millis late_max{60'000};  ///< a fire that has not begun by then is missed
};

class Schedule {
 public:
  static constexpr std::uint64_t missed_max = 1'000'000;  ///< counted at once: more is a clock that was wrong

  /// Fires after `after`, and events above `last_event`. Without one nobody knows which have run, so the first that is heard of is taken as done, and
  /// counted as missed: a run twice under one id would be two answers to one question.
  explicit Schedule(ScheduleOptions options, Instant after, std::optional<std::uint64_t> last_event = 0);

  /// When to ask `begin` next; nothing while only an event could fire. While a run goes on: nothing.
  std::optional<Instant> due() const;
  /// Takes the fire that is due by `now`, if there is one and no run is going on. Of several the newest; the older ones are missed, and so is one that is
  /// later than `late_max`.
  std::optional<Fire> begin(Instant now);
  /// The run has ended.
  void end() { running_ = false; }
  bool running() const { return running_; }

  /// An event of this key has happened. Keys rise; one that is not above the last is known already. What finds another one waiting replaces it.
  void event(std::uint64_t key, Instant now);

  /// Fires that no run answered to, and events that another one stood in for. They only rise.
  std::uint64_t missed() const { return missed_; }
  std::uint64_t coalesced() const { return coalesced_; }
  std::optional<std::uint64_t> last_event() const { return last_event_; }
  /// The next fire of the clock, without jitter.
  std::optional<Instant> next_fire() const { return next_; }

 private:
  struct Event {
    std::uint64_t key;
    Instant at;
  };
  Instant with_jitter(Instant scheduled) const;

  ScheduleOptions options_;
  std::optional<Instant> next_;
  std::optional<Event> event_;
  std::optional<std::uint64_t> last_event_;
  std::uint64_t missed_ = 0, coalesced_ = 0;
  bool running_ = false;
};

}  // namespace recon_engine
