// Who may write the next event, and when does that change?
// Layer: operate. Values and pure steps; the stores are behind `AuthorityStore`. Source: RFC no-downtime-upgrades §3C; docs/splice/README.md.
// One row is the resume token, the fence and the durable stop marker. Fence, arm, disarm and flip are one statement each (splice_sql.hpp), so
// exactly one of those who try wins, and whatever is lost on the way, the row says where things stand. No leases, no clocks, no second system:
// time decides only how long somebody waits. Safe are: a COMMIT that outlives its client, two copies of a program, stale reads, crashes anywhere.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/cut/control.hpp>
#include <epochcut/operate/chain.hpp>

namespace epochcut {

/// From `staged` on back to `staged` by a disarm, at any time before `flipped`: the one step that can't be undone, only reversed by another splice.
enum class SpliceState : std::uint8_t {
  idle,       ///< nobody but the owner folds the stream
  staged,     ///< a candidate folds it into a shadow of its own
  verified,   ///< a gate has said `go` of that candidate, in that build, and it still counts
  armed,      ///< the row says where the owner stops and who goes on
  at_seam,    ///< the owner has committed the last event that is its own
  flipped,    ///< the candidate owns the authority
  confirmed,  ///< and has committed
};

constexpr std::string_view to_string(SpliceState state) {
  constexpr std::string_view names[] = {"idle", "staged", "verified", "armed", "at_seam", "flipped", "confirmed"};
  return names[static_cast<std::size_t>(state)];
}

/// The owner commits up to `stop_at` - 1, the successor from `stop_at` on.
struct StopMarker {
  std::uint64_t stop_at = 0;
  std::string successor;
  std::string splice_id;  ///< a UUID, never used twice
  friend bool operator==(const StopMarker&, const StopMarker&) = default;
};

/// The authority's row, as it was read. What follows from it may be stale: only the statements decide.
struct AuthorityRow {
  std::string authority = "production";
  std::uint64_t generation = 0;
  std::string owner;                ///< the name of the engine that may commit
  std::uint64_t committed_seq = 0;  ///< the token
  Chain chain;                      ///< at `committed_seq`
  std::optional<StopMarker> marker{};
  std::optional<std::uint64_t> hold_at{};  ///< a shadow stands there for a gate; nothing once that has run out
  std::uint64_t arms = 0;                  ///< how often it was armed, ever
  friend bool operator==(const AuthorityRow&, const AuthorityRow&) = default;
};

/// What a flip has left behind: from event `s` on the authority is generation `to_gen`'s.
struct SeamRow {
  std::string splice_id;
  std::uint64_t from_gen = 0, to_gen = 0, s = 0;
  friend bool operator==(const SeamRow&, const SeamRow&) = default;
};

/// What is asked of `arm`. It is refused unless the newest verdict on this candidate in this build is a `go`, young enough and at or past the floor.
struct ArmRequest {
  std::string splice_id;
  std::string successor;
  std::string build_id;               ///< of the candidate, as the gate recorded it
  std::uint64_t generation = 0;       ///< the owner's: a splice that came in between refuses this one
  std::uint64_t stop_at = 0;          ///< the first event that is the successor's
  std::uint64_t verdict_seq_min = 0;  ///< the gate's last cut must lie at or past this sequence number
  Millis verdict_age_max{3'600'000};  ///< on the store's clock
  /// As it was read before the first try, so that a statement that comes after its own disarm arms nothing. `Splice` fills it; none: not looked at.
  std::optional<std::uint64_t> arms{};
};

struct SpliceLimits {
  Millis seam_wait{250};       ///< that long the owner stands at the seam for a candidate that does not come; then it disarms and goes on
  Millis seam_poll{1};         ///< between two tries to flip
  Millis deadline{30'000};     ///< that long the tool waits from arming on; then it disarms
  Millis confirm_wait{5'000};  ///< that long for the new owner's first commit; then it is a stall, and says so
  Millis poll{5};              ///< between two looks of the tool
  Millis away_max{20'000};     ///< that long the tool asks a store that does not answer; then what it armed is left to the owner
};

/// Where an authority's row is kept. Each call is one statement, and atomic. Errors: Failure; whether the statement took effect is then unknown
/// unless it says so, and the same call may be made again: all of them are idempotent by splice_id.
template <class Store>
concept AuthorityStore = requires(Store& store, const ArmRequest& request, const std::string& splice_id) {
  { store.read() } -> std::same_as<AuthorityRow>;                     ///< errors: `missing_token`
  { store.arm(request) } -> std::same_as<bool>;                       ///< false: refused, nothing has changed
  { store.disarm(splice_id) } -> std::same_as<bool>;                  ///< false: that marker is not there
  { store.flip(splice_id) } -> std::same_as<bool>;                    ///< true for exactly one caller
  { store.seam(splice_id) } -> std::same_as<std::optional<SeamRow>>;  ///< what that splice has left behind
};

// --- the owner -------------------------------------------------------------------------------------------------------

/// What an owner does next.
struct OwnerStep {
  enum class Action : std::uint8_t {
    commit,  ///< the events up to `upto`, and no further
    flip,    ///< it stands at the seam: try, and if it was not this one's turn, look again after `seam_poll`
    disarm,  ///< nobody came: take the marker away and go on
    leave,   ///< it is deposed: end, and don't come back as the owner
  };
  Action action = Action::commit;
  std::uint64_t upto = 0;
  friend bool operator==(const OwnerStep&, const OwnerStep&) = default;
};

/// `me`, `generation`: the engine's name and the generation it was started in. `waited`: how long it has stood at this seam.
constexpr OwnerStep owner_step(const AuthorityRow& row, std::string_view me, std::uint64_t generation, Millis waited, const SpliceLimits& limits = {}) {
  using Action = OwnerStep::Action;
  if (row.generation != generation || row.owner != me) return {Action::leave, row.committed_seq};
  if (!row.marker) return {Action::commit, UINT64_MAX};
  const std::uint64_t last = row.marker->stop_at - 1;
  if (row.committed_seq < last) return {Action::commit, last};
  return {waited < limits.seam_wait ? Action::flip : Action::disarm, last};
}

// --- the candidate ---------------------------------------------------------------------------------------------------

/// What a candidate does next, by its own shadow and by production's row.
struct CandidateStep {
  enum class Action : std::uint8_t {
    follow,     ///< fold on into the shadow, at most up to `upto`
    record,     ///< it stands at `upto`, the last event before the seam: say so, with its chain, for this splice
    wait,       ///< recorded, or past the seam already: look again
    take_over,  ///< it owns the authority: open production's stores, and go on after `upto`
  };
  Action action = Action::follow;
  std::uint64_t upto = 0;
  friend bool operator==(const CandidateStep&, const CandidateStep&) = default;
};

/// `lag`: events that the shadow stays behind production on purpose, so that a gate finds it before its epoch; it ends when armed for `me`.
/// `recorded`: it has said so for this splice. A shadow never passes production's token, so no seam can ever lie behind it, and what it takes over is
/// what it has folded; the price is that at the seam it has the owner's last batch still to fold.
constexpr CandidateStep candidate_step(const AuthorityRow& production, const AuthorityRow& shadow, std::string_view me, bool recorded, std::uint64_t lag) {
  using Action = CandidateStep::Action;
  if (production.owner == me) {
    if (shadow.committed_seq < production.committed_seq) return {Action::follow, production.committed_seq};
    return {Action::take_over, production.committed_seq};
  }
  std::uint64_t upto = production.committed_seq > lag ? production.committed_seq - lag : 0;
  if (production.marker && production.marker->successor == me) {
    const std::uint64_t last = production.marker->stop_at - 1;
    if (shadow.committed_seq >= last) return {shadow.committed_seq == last && !recorded ? Action::record : Action::wait, last};
    upto = std::min(last, production.committed_seq);
  }
  if (shadow.hold_at) upto = std::min(upto, *shadow.hold_at);
  return {shadow.committed_seq < upto ? Action::follow : Action::wait, upto};
}

// --- the tool --------------------------------------------------------------------------------------------------------

/// Where a splice stands, from the facts alone. `go`: a verdict that `arm` would take. Typed by nobody, so it can't be wrong for long.
constexpr SpliceState splice_state(const AuthorityRow& row, const std::optional<SeamRow>& seam, bool staged, bool go) {
  if (seam) return row.generation > seam->to_gen || row.committed_seq >= seam->s ? SpliceState::confirmed : SpliceState::flipped;
  if (row.marker) return row.committed_seq + 1 == row.marker->stop_at ? SpliceState::at_seam : SpliceState::armed;
  return !staged ? SpliceState::idle : go ? SpliceState::verified : SpliceState::staged;
}

/// Far enough ahead that the owner does not pass it before the marker is there; an arm behind the owner is refused, and costs nothing.
/// Units: events, events a second.
constexpr std::uint64_t choose_stop_at(std::uint64_t committed_seq, double events_per_second, Millis ahead) {
  const double events = events_per_second * static_cast<double>(ahead.count()) / 1000;
  return committed_seq + 1 + (events > 0 ? static_cast<std::uint64_t>(events) : 0);
}

/// How a splice has ended, and when it came by: milliseconds on the control's clock, from arming on.
struct SpliceReport {
  SpliceState state = SpliceState::verified;
  std::optional<SeamRow> seam{};
  std::string why{};  ///< one sentence, if it is not confirmed
  Millis armed{0}, at_seam{0}, flipped{0}, confirmed{0};
  int lost_answers = 0;
};

/// Carries ONE splice from arming to its end, or back. Whoever runs it may die anywhere: another with the same splice_id goes on where it stood.
/// `tell(state)` is called at each new state. One thread.
template <AuthorityStore Store>
class Splice {
 public:
  Splice(Store& store, std::string splice_id, SpliceLimits limits = {}, Control control = {})
      : store_(&store), id_(std::move(splice_id)), limits_(limits), control_(control) {}

  /// Arms, sees the flip through, and waits for the new owner's first commit. Cancelled, it disarms first and says so in `why`. Errors: what the store
  /// throws when nothing can be known any more: what was armed is then left to the owner, who disarms at its own bound.
  template <class Tell>
  SpliceReport run(const ArmRequest& request, Tell tell) {
    start_ = control_.clock->now();
    if (!arm(request)) return report_;
    return resume(tell);
  }

  /// Goes on with a splice that was armed before, by whomever. Errors: as `run`.
  template <class Tell>
  SpliceReport resume(Tell tell) {
    if (start_ == Millis{-1}) start_ = control_.clock->now();
    const Millis deadline = start_ + limits_.deadline;
    std::optional<Millis> flipped_at;
    std::optional<SpliceState> told;
    for (;; control_.clock->sleep(limits_.poll)) {
      const bool stop = cancelled();
      const AuthorityRow row = known([&] { return store_->read(); });
      report_.seam = known([&] { return store_->seam(id_); });
      const bool mine = row.marker && row.marker->splice_id == id_;
      if (!report_.seam && !mine) return ended(SpliceState::staged, "the marker is gone: the owner waited at the seam in vain, or somebody disarmed");
      report_.state = splice_state(row, report_.seam, true, true);
      const Millis now = control_.clock->now();
      if (told != report_.state) {
        told = report_.state;
        note(now - start_);
        tell(report_.state);
      }
      if (report_.state == SpliceState::confirmed) return report_;
      if (report_.state == SpliceState::flipped) {
        if (!flipped_at) flipped_at = now;
        if (stop || now - *flipped_at >= limits_.confirm_wait)
          return ended(SpliceState::flipped, "generation " + std::to_string(report_.seam->to_gen) + " owns the authority from " +
                                                 std::to_string(report_.seam->s) + " on and has not committed yet: start its engine, or splice back");
        continue;
      }
      if (stop || now >= deadline) {
        // Whichever of the two statements comes first decides; the next look says which.
        if (known([&] { return store_->disarm(id_); }))
          return ended(SpliceState::staged, stop ? "cancelled, and disarmed" : "disarmed: the seam was not reached, or the candidate not there, in time");
        continue;
      }
      // The owner flips as well. This is for one that is dead.
      if (report_.state == SpliceState::at_seam) known([&] { return store_->flip(id_); });
    }
  }

 private:
  bool cancelled() const {
    try {
      control_.check();
      return false;
    } catch (const Failure&) {
      return true;
    }
  }

  bool arm(ArmRequest request) {
    for (bool first = true;; first = false) {
      const AuthorityRow row = known([&] { return store_->read(); });
      if (row.marker && row.marker->splice_id == id_) return true;  // an answer was lost, or another run of this tool did it
      if (known([&] { return store_->seam(id_); })) return true;
      if (first && !request.arms) request.arms = row.arms;
      if (row.marker) return refuse("a splice to " + row.marker->successor + " is armed already: resume it, or abort it");
      if (row.generation != request.generation)
        return refuse("the authority has changed hands: it is generation " + std::to_string(row.generation) + " now; look at its state again");
      if (row.owner == request.successor) return refuse(request.successor + " owns the authority already");
      if (row.arms != *request.arms) return refuse("it was armed and disarmed in the meantime, by this splice or another: begin anew, with a new id");
      if (cancelled()) return refuse("cancelled before it was armed");
      if (row.committed_seq >= request.stop_at) return refuse("the owner has passed " + std::to_string(request.stop_at) + " already: choose a later number");
      if (tried_)
        return refuse("the store refused to arm: there is no fresh go for " + request.successor + " in build " + request.build_id + " at or past sequence " +
                      std::to_string(request.verdict_seq_min) + ", or its replication is not synchronous");
      const int lost = report_.lost_answers;
      if (known([&] { return store_->arm(request); })) return true;
      tried_ = report_.lost_answers == lost;  // after a lost answer a refusal may be by our own marker
    }
  }

  bool refuse(std::string why) {
    report_.state = SpliceState::staged;
    report_.why = std::move(why);
    return false;
  }

  SpliceReport ended(SpliceState state, std::string why) {
    report_.state = state;
    report_.why = std::move(why);
    return report_;
  }

  void note(Millis at) {
    if (report_.state == SpliceState::armed) report_.armed = at;
    if (report_.state == SpliceState::at_seam) report_.at_seam = at;
    if (report_.state == SpliceState::flipped) report_.flipped = at;
    if (report_.state == SpliceState::confirmed) report_.confirmed = at;
  }

  /// Asks until there is an answer: all questions are idempotent. Errors: what can't be retried, or a store that stays away.
  template <class Question>
  auto known(Question question) {
    for (const Millis asked = control_.clock->now();;) {
      try {
        return question();
      } catch (const Failure& failure) {
        if (!failure.retryable || control_.clock->now() - asked >= limits_.away_max) throw;
        ++report_.lost_answers;
        control_.clock->sleep(limits_.poll);
      }
    }
  }

  Store* store_;
  const std::string id_;
  const SpliceLimits limits_;
  const Control control_;
  Millis start_{-1};
  bool tried_ = false;
  SpliceReport report_;
};

}  // namespace epochcut
