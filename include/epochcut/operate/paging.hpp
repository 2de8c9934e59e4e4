// Whom does a run wake, and when may they sleep again?
// Layer: operate. A pure fold over the runs of ONE check, in order: the same log gives the same pages, so that a restart folds it again and a page that was
// sent before is recognised by its episode's start. Not thread-safe. Source: docs/concepts.md "The status algebra", confirm and clear.
// Two signals that must never be mixed: money does not add up (invariant), and nobody knows (infrastructure).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/status.hpp>
#include <epochcut/operate/instant.hpp>

namespace epochcut {

/// What the pager needs to know of a run.
struct PagedRun {
  Status status = Status::error;
  Reason reason = Reason::unknown;
  bool retryable = false;
  Instant at{};  ///< when it took its snapshot: its start
};

struct PagingPolicy {
  int confirm = 2;                               ///< fails that must be seen, with no pass between them, before anyone is woken
  int clear = 2;                                 ///< passes in a row that end an episode; anything else begins the count again
  Millis interval_min{60'000};                   ///< a fail sooner than this after the last counted one is the same observation
  Millis assert_within{std::chrono::hours{2}};   ///< no pass and no fail for this long: `unassertable`, and a pending fail has aged away
  int stuck_errors = 3;                          ///< errors in a row...
  Millis stuck_after{std::chrono::minutes{15}};  ///< ...that last this long: `stuck`. Errors that no retry heals don't need to last
};

enum class Transition : std::uint8_t { none, firing, resolved };
constexpr std::string_view to_string(Transition t) {
  constexpr std::string_view names[] = {"none", "firing", "resolved"};
  return names[static_cast<std::size_t>(t)];
}

enum class Signal : std::uint8_t {
  invariant,       ///< the stores disagree
  infrastructure,  ///< the check can't find out
};
constexpr std::string_view to_string(Signal s) { return s == Signal::invariant ? "invariant" : "infrastructure"; }

enum class Cause : std::uint8_t {
  broken,        ///< confirmed fails
  stuck,         ///< errors in a row
  unassertable,  ///< neither pass nor fail for too long, whatever came instead
};
constexpr std::string_view to_string(Cause c) {
  constexpr std::string_view names[] = {"broken", "stuck", "unassertable"};
  return names[static_cast<std::size_t>(c)];
}

/// A change that somebody must be told. Signal and `since` name the episode, in every fold of the same log: the deduplication key.
struct PageEvent {
  Signal signal = Signal::invariant;
  Transition transition = Transition::none;
  Cause cause = Cause::broken;
  Reason reason = Reason::none;  ///< of the run that made it; none where time alone did
  Instant since{};               ///< the episode's start: its first fail, its first error, or the end of the bound
  Instant at{};
  friend bool operator==(const PageEvent&, const PageEvent&) = default;
};

/// Begin the fold with the first run on record, or at least before the last time that nothing was firing or pending: an episode entered in its middle gets
/// another start, and so another key.
class Pager {
 public:
  explicit Pager(const PagingPolicy& policy) : policy_(policy) {}

  /// The next run, oldest first; one that says it is older than the last is taken as of the last. Several events in order: a silence that ended with
  /// this run has both begun and ended. Post them all, a second time too: the episode's key makes that harmless.
  std::vector<PageEvent> add(const PagedRun& run) {
    const Instant at = begun_ && run.at < last_ ? last_ : run.at;
    std::vector<PageEvent> out = tick(at);
    if (!begun_) begun_ = true, asserted_ = at;
    last_ = at;
    const bool asserts = run.status == Status::pass || run.status == Status::fail;
    if (asserts) asserted_ = at, silent_.reset();

    if (run.status == Status::fail) {
      passes_ = 0;
      if (fails_ == 0 || at - counted_ >= policy_.interval_min) {
        if (fails_++ == 0) first_fail_ = at;
        counted_ = at;
      }
      if (!broken_ && fails_ >= policy_.confirm) {
        broken_ = first_fail_;
        out.push_back({Signal::invariant, Transition::firing, Cause::broken, run.reason, *broken_, at});
      }
    } else if (run.status == Status::pass) {
      ++passes_;
      if (!broken_) {
        fails_ = 0;
      } else if (passes_ >= policy_.clear) {
        out.push_back({Signal::invariant, Transition::resolved, Cause::broken, Reason::none, *broken_, at});
        broken_.reset();
        fails_ = 0;
      }
    } else {
      passes_ = 0;
    }

    if (run.status == Status::error) {
      if (errors_++ == 0) first_error_ = at, permanent_ = true;
      permanent_ = permanent_ && !run.retryable;
      if (errors_ >= policy_.stuck_errors && (permanent_ || at - first_error_ >= policy_.stuck_after)) stuck_ = true;
      if (stuck_) raise(out, Cause::stuck, run.reason, first_error_, at);
    } else {
      errors_ = 0;
      stuck_ = false;
    }
    if (infrastructure_ && !stuck_ && !silent_) {
      out.push_back({Signal::infrastructure, Transition::resolved, cause_, Reason::none, *infrastructure_, at});
      infrastructure_.reset();
    }
    return out;
  }

  /// Time has passed and no run came: what `add` of a later run would say first. Call it now and then, so that silence is noticed while it lasts.
  std::vector<PageEvent> tick(Instant now) {
    std::vector<PageEvent> out;
    if (!begun_ || silent_ || now < asserted_ + policy_.assert_within) return out;
    silent_ = asserted_ + policy_.assert_within;
    if (!broken_) fails_ = 0;
    raise(out, Cause::unassertable, Reason::none, *silent_, now);
    return out;
  }

  /// Since when each signal fires.
  std::optional<Instant> broken() const { return broken_; }
  std::optional<Instant> infrastructure() const { return infrastructure_; }
  /// Fails seen and not yet confirmed: the record's `pending`.
  int pending() const { return broken_ ? 0 : fails_; }

 private:
  void raise(std::vector<PageEvent>& out, Cause cause, Reason reason, Instant since, Instant at) {
    if (infrastructure_) return;
    infrastructure_ = since;
    cause_ = cause;
    out.push_back({Signal::infrastructure, Transition::firing, cause, reason, since, at});
  }

  PagingPolicy policy_;
  bool begun_ = false, permanent_ = false, stuck_ = false;
  Instant last_{}, asserted_{}, first_fail_{}, counted_{}, first_error_{};
  int fails_ = 0, passes_ = 0, errors_ = 0;
  std::optional<Instant> broken_, infrastructure_, silent_;
  Cause cause_ = Cause::stuck;
};

}  // namespace epochcut
