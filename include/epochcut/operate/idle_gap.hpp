// When may a scheduled program be swapped without disturbing a run, and which run shows that the new one works?
// Layer: operate. Pure: fires come from a function (cron.hpp and a zone), the present is handed in. Values, thread-safe.
// Source: RFC no-downtime-upgrades, Class B: find the gap, quiesce, swap, verify the next run.
// Gaps are measured between moments, never by the wall clock: where clocks are set forward a night is an hour shorter.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/cron.hpp>
#include <epochcut/operate/instant.hpp>

namespace epochcut {

inline constexpr int gap_margin = 3;                   ///< times the deploy: the swap, taking it back, and once more for what nobody foresaw
inline constexpr std::chrono::days gap_search{35};     ///< how far ahead: a schedule of the month has come round
inline constexpr std::size_t gap_fires_max = 200'000;  ///< fires looked at for one answer: every 15 s for 35 days

/// The first fire strictly after an instant.
using NextFire = std::function<Instant(Instant)>;

template <Zone Z>
NextFire next_fire(Cron cron, Z zone) {
  return [cron = std::move(cron), zone = std::move(zone)](Instant after) { return cron.next(after, zone); };
}

/// One schedule of a program, and what is known of its runs.
struct ScheduledJob {
  std::string id;
  NextFire next{};                         ///< none: it fires on events, at any time
  Millis run_max{0};                       ///< a run takes at most so long, as it was measured
  Millis late_max{0};                      ///< a run begins at most so long after its fire: jitter, a queue
  bool skippable = false;                  ///< a fire that is missed is made good later, so it ends no gap; a run in progress is waited for all the same
  std::optional<Instant> running_since{};  ///< a run is in progress
  std::optional<Instant> last_fire{};      ///< the newest fire whose run has ended
};

struct ScheduledProgram {
  std::string name;
  std::vector<ScheduledJob> jobs;
  Millis deploy{0};  ///< from the stop of the old one until the new one would take a fire
  int margin = gap_margin;
};

enum class GapVerdict : std::uint8_t {
  safe_now,
  wait,   ///< until `SwapPlan::at`; without one until what runs now has ended
  never,  ///< no gap is long enough, as far as was looked
};
constexpr std::string_view to_string(GapVerdict v) {
  constexpr std::string_view names[] = {"safe now", "wait", "never"};
  return names[static_cast<std::size_t>(v)];
}

/// From the end of a run, at the latest, to the next fire.
struct Gap {
  Instant from;
  std::optional<Instant> until{};  ///< none: nothing ends it
  friend bool operator==(const Gap&, const Gap&) = default;
};

struct JobFire {
  std::string job;
  Instant at;
  friend bool operator==(const JobFire&, const JobFire&) = default;
};

struct SwapPlan {
  std::string program;
  GapVerdict verdict = GapVerdict::never;
  std::optional<Instant> at{};         ///< when to begin: now, or later; before that, look once more whether anything runs
  Millis needed{0};                    ///< deploy × margin
  std::optional<JobFire> next{};       ///< the next fire that must not be missed
  std::optional<Gap> gap{};            ///< the one to use; under `never` the longest there is
  std::vector<std::string> running{};  ///< jobs in progress
  std::size_t skipped = 0;             ///< fires of skippable jobs that fall into the swap
  std::optional<JobFire> verify{};     ///< the first fire that the new one is sure to take; none: only events fire it
  std::string why{};                   ///< one sentence: who, what to do, next fire, gap
};

namespace idle_gap_detail {

/// `3 h 20 min`: the two largest units, rounded down, so that no gap is made longer than it is.
inline std::string span_text(Millis span) {
  struct Unit {
    std::int64_t ms;
    std::string_view name;
  };
  constexpr Unit units[] = {{86'400'000, " d"}, {3'600'000, " h"}, {60'000, " min"}, {1000, " s"}, {1, " ms"}};
  std::int64_t left = std::max<std::int64_t>(span.count(), 0);
  for (std::size_t i = 0; i < std::size(units); ++i) {
    if (left < units[i].ms && i + 1 < std::size(units)) continue;
    std::string text = std::to_string(left / units[i].ms) + std::string(units[i].name);
    left %= units[i].ms;
    if (i + 1 < std::size(units) && left >= units[i + 1].ms) text += " " + std::to_string(left / units[i + 1].ms) + std::string(units[i + 1].name);
    return text;
  }
  return {};
}

[[noreturn]] inline void refuse(const ScheduledProgram& program, const std::string& why) { throw Failure(Reason::configuration, program.name + ": " + why); }

/// What nothing is known of is no gap.
inline void validate(const ScheduledProgram& program) {
  if (program.deploy <= Millis(0)) refuse(program, "say how long its swap takes");
  if (program.margin < 1) refuse(program, "a margin below 1 plans for a swap that is not over in time");
  if (program.jobs.empty()) refuse(program, "no schedule is known of it, so nothing says when it is idle");
  for (const ScheduledJob& job : program.jobs) {
    if (job.late_max < Millis(0)) refuse(program, job.id + " can't begin before its fire: late_max is negative");
    if (!job.skippable && job.next && job.run_max <= Millis(0)) refuse(program, "say how long a run of " + job.id + " takes at most");
    if (!job.skippable && !job.next) refuse(program, job.id + " fires on events, at any time, and none may be missed: no gap can be promised");
  }
}

/// Fires that must not be missed, in order, from those on that may still begin.
class Walk {
 public:
  Walk(const ScheduledProgram& program, Instant now) : jobs_(program.jobs) {
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      const ScheduledJob& job = jobs_[i];
      if (job.skippable) continue;
      Instant at = job.next(now - job.late_max - Millis(1));
      while (at <= now && answered(job, at)) at = job.next(at);
      ahead_.push_back({at, i});
    }
  }

  bool done() const { return ahead_.empty(); }
  const ScheduledJob& job() const { return jobs_[first().job]; }
  Instant at() const { return first().at; }
  void advance() {
    const std::size_t i = static_cast<std::size_t>(&first() - ahead_.data());
    ahead_[i].at = jobs_[ahead_[i].job].next(ahead_[i].at);
  }

 private:
  struct Ahead {
    Instant at;
    std::size_t job;
  };
  static bool answered(const ScheduledJob& job, Instant fire) {
    return (job.last_fire && *job.last_fire >= fire) || (job.running_since && *job.running_since >= fire);
  }
  const Ahead& first() const {
    return *std::min_element(ahead_.begin(), ahead_.end(), [](const Ahead& a, const Ahead& b) { return a.at < b.at; });
  }

  const std::vector<ScheduledJob>& jobs_;
  std::vector<Ahead> ahead_;
};

inline std::string named(const std::vector<std::string>& ids) {
  std::string text;
  for (std::size_t i = 0; i < ids.size(); ++i) text += (i == 0 ? "" : i + 1 == ids.size() ? " and " : ", ") + ids[i];
  return text;
}

inline std::string gap_text(const SwapPlan& plan) {
  if (!plan.gap || !plan.gap->until) return "no fire that must not be missed ends the gap";
  return "the gap is " + span_text(*plan.gap->until - plan.gap->from);
}

inline std::string sentence(const SwapPlan& plan, const ScheduledProgram& program, Instant now, const std::string& overrun) {
  std::string text = plan.program + ": " + std::string(to_string(plan.verdict));
  if (plan.verdict == GapVerdict::wait && plan.at) text += " until " + to_text(*plan.at);
  text += ": ";
  if (!overrun.empty() && plan.verdict == GapVerdict::wait) return text + overrun + " runs, and nobody can say until when; ask again when it has ended";
  if (!plan.running.empty()) text += named(plan.running) + (plan.running.size() == 1 ? " runs" : " run") + ", and a run is never interrupted; ";
  if (plan.next) text += plan.next->job + " fires at " + to_text(plan.next->at) + (plan.next->at > now ? ", in " + span_text(plan.next->at - now) : "") + "; ";
  if (plan.verdict == GapVerdict::never)
    text += plan.gap ? "the longest gap is " + span_text(*plan.gap->until - plan.gap->from) + ", from " + to_text(plan.gap->from) : "it is never idle";
  else
    text += gap_text(plan);
  text += "; a swap of " + span_text(program.deploy) + " needs " + span_text(plan.needed);
  if (plan.skipped > 0) text += " and skips " + std::to_string(plan.skipped) + (plan.skipped == 1 ? " fire" : " fires") + " that can be made good";
  if (plan.verify) text += "; verify " + plan.verify->job + " of " + to_text(plan.verify->at);
  return text;
}

}  // namespace idle_gap_detail

/// When to swap the program, seen from `now`. The plan is as good as `run_max` and `late_max`: begin only while nothing runs.
/// Errors: configuration, where nothing can be promised: no schedule, no length of a run, an event that must not be missed.
inline SwapPlan plan_swap(const ScheduledProgram& program, Instant now) {
  using namespace idle_gap_detail;
  validate(program);
  SwapPlan plan{.program = program.name, .needed = program.deploy * program.margin};

  Instant idle_from = now;
  std::vector<std::string> overrun;  // running for longer than it may, or for nobody knows how long
  for (const ScheduledJob& job : program.jobs) {
    if (!job.running_since) continue;
    plan.running.push_back(job.id);
    const Instant end = *job.running_since + job.run_max;
    if (end <= now) overrun.push_back(job.id);
    idle_from = std::max(idle_from, end);
  }

  Walk walk(program, now);
  if (!walk.done()) plan.next = JobFire{walk.job().id, walk.at()};
  const auto longer = [&](const Gap& gap) { return !plan.gap || *gap.until - gap.from > *plan.gap->until - plan.gap->from; };
  bool found = false;
  for (std::size_t fires = 0; !found && fires <= gap_fires_max && idle_from <= now + gap_search; ++fires) {
    if (walk.done()) {
      plan.gap = Gap{idle_from};
      found = true;
    } else {
      const Gap gap{idle_from, walk.at()};
      found = *gap.until - gap.from >= plan.needed;
      if (found || (*gap.until > gap.from && longer(gap))) plan.gap = gap;
      idle_from = std::max(idle_from, walk.at() + walk.job().late_max + walk.job().run_max);
      walk.advance();
    }
  }
  plan.verdict = !found ? GapVerdict::never : plan.gap->from == now && plan.running.empty() ? GapVerdict::safe_now : GapVerdict::wait;

  if (found && overrun.empty()) {
    plan.at = plan.gap->from;
    const Instant over = *plan.at + plan.needed;
    for (const ScheduledJob& job : program.jobs) {
      if (!job.next) continue;
      Instant fire = job.next(*plan.at - Millis(1));
      for (; fire < over && plan.skipped < gap_fires_max; fire = job.next(fire)) plan.skipped += job.skippable;
      if (fire < over) fire = job.next(over - Millis(1));
      if (!plan.verify || fire < plan.verify->at) plan.verify = JobFire{job.id, fire};
    }
  }
  plan.why = sentence(plan, program, now, named(overrun));
  return plan;
}

/// A run that has ended, as the program's own log tells it.
struct FinishedRun {
  std::string job;
  Instant fire;       ///< the one it answered
  std::string build;  ///< which program ran it
  bool good = false;  ///< its output was checked, and holds
};

enum class Landed : std::uint8_t { waiting, yes, no };
constexpr std::string_view to_string(Landed l) {
  constexpr std::string_view names[] = {"waiting", "yes", "no"};
  return names[static_cast<std::size_t>(l)];
}
struct Landing {
  Landed landed = Landed::waiting;
  std::string why;  ///< one sentence
};

/// Has the swap that was planned landed: did the run to verify come, from the new build, and did its output hold? `runs`: those that have ended since.
/// Errors: configuration when the plan was never to be carried out.
inline Landing verify_swap(const SwapPlan& plan, const ScheduledProgram& program, std::string_view build, std::span<const FinishedRun> runs, Instant now) {
  if (!plan.at) throw Failure(Reason::configuration, plan.program + ": there was no time to swap it, so there is nothing to verify");
  const auto wanted = [&](const FinishedRun& run) {
    return plan.verify ? run.job == plan.verify->job && run.fire == plan.verify->at : run.fire >= *plan.at + plan.needed;
  };
  std::optional<FinishedRun> seen;
  for (const FinishedRun& run : runs) {
    const bool late_build = run.build != build && run.fire >= *plan.at + plan.needed;  // whichever job it is: the old one is still there
    if (!wanted(run) && !late_build) continue;
    const std::string who = plan.program + ": " + run.job + " of " + to_text(run.fire);
    if (run.build != build) return {Landed::no, who + " was run by " + run.build + ", not by " + std::string(build) + ": the swap did not take"};
    if (!run.good) return {Landed::no, who + " ran, and its output does not hold: take the swap back"};
    if (!seen) seen = run;
  }
  if (seen) return {Landed::yes, plan.program + ": " + seen->job + " of " + to_text(seen->fire) + " was run by " + std::string(build) + " and holds"};
  if (!plan.verify) return {Landed::waiting, plan.program + ": only events fire it, and none has since the swap"};
  Instant latest = plan.verify->at;
  for (const ScheduledJob& job : program.jobs)
    if (job.id == plan.verify->job) latest += job.late_max + job.run_max;
  const std::string who = plan.program + ": " + plan.verify->job + " of " + to_text(plan.verify->at);
  if (now > latest) return {Landed::no, who + " should have ended by " + to_text(latest) + ", and has not: take the swap back"};
  return {Landed::waiting, who + " has not ended yet"};
}

}  // namespace epochcut
