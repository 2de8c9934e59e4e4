// Has the shadow been proved equal to production for long enough to hand over?
// Layer: verdict. A FOLD over outcomes: it reads nothing, and needs no clock of its own. Not synchronised.
// Only cuts at which EVERY check passed count, and only at new epochs; a quiet or empty window proves nothing. Source: RFC no-downtime-upgrades §3C.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

enum class Decision : std::uint8_t {
  not_yet,  ///< nothing speaks against it; not enough has been shown
  go,       ///< every threshold is met by passing cuts
  no_go,    ///< a check failed: final for this gate, a new candidate needs a new one
};

constexpr std::string_view to_string(Decision decision) {
  constexpr std::string_view names[] = {"not_yet", "go", "no_go"};
  return names[static_cast<std::size_t>(decision)];
}

/// What must have been shown.
struct GateThresholds {
  int cuts_min = 60;                     ///< all-pass cuts at distinct, rising epochs
  Millis duration_min{1'800'000};        ///< between the first and the last of them
  std::uint64_t events_min = 100'000;    ///< sequence numbers between the first and the last of them
  std::vector<std::string> exercised{};  ///< kinds of event that must have been seen in the window, named to `add`
};

class ShadowGate {
 public:
  explicit ShadowGate(GateThresholds thresholds = {}) : thresholds_(std::move(thresholds)) {}

  /// Folds in the outcomes of ONE cut, taken at `now`, with the kinds of event that were seen since the last. Outcomes of no cut, of different
  /// cuts, or read at rest count for nothing.
  Decision add(std::span<const Outcome> outcomes, Millis now, std::span<const std::string> seen = {}) {
    if (decision_ == Decision::no_go) return decision_;
    std::vector<Status> statuses;
    bool one_cut = !outcomes.empty();
    for (const Outcome& o : outcomes) {
      statuses.push_back(o.status);
      one_cut = one_cut && o.epoch && o.epoch == outcomes.front().epoch && o.stream == outcomes.front().stream && o.generation == outcomes.front().generation &&
                !o.unsynchronised && same_window(o);
      if (o.status == Status::fail && !o.unsynchronised) return reject(o);
    }
    for (const std::string& kind : seen) note(kind);
    if (!one_cut || all_of(statuses) != Status::pass || (first_ && ids_of(outcomes) != checks_)) {
      ++not_counted_;
      return decision_ = Decision::not_yet;
    }
    const Epoch epoch = *outcomes.front().epoch;
    if (last_ && epoch <= *last_) return decision_ = decide();  // a quiet window shows nothing new
    if (!first_) {
      const Outcome& o = outcomes.front();
      first_ = epoch, first_at_ = now;
      stream_ = o.stream, authority_ = o.authority, generation_ = o.generation, checks_ = ids_of(outcomes);
    }
    last_ = epoch, last_at_ = now;
    ++cuts_;
    return decision_ = decide();
  }
  Decision add(const Outcome& outcome, Millis now, std::span<const std::string> seen = {}) { return add(std::span<const Outcome>(&outcome, 1), now, seen); }

  Decision decision() const { return decision_; }
  int cuts() const { return cuts_; }
  int not_counted() const { return not_counted_; }
  Millis duration() const { return last_at_ - first_at_; }
  std::uint64_t events() const { return first_ ? last_->sequence - first_->sequence : 0; }

  /// What is missing, or what spoke against it, in one sentence.
  std::string why() const {
    if (decision_ == Decision::no_go) return rejected_by_;
    std::string missing;
    const auto need = [&](bool met, const std::string& what) {
      if (!met) missing += (missing.empty() ? "still needed: " : ", ") + what;
    };
    need(cuts_ >= thresholds_.cuts_min, std::to_string(thresholds_.cuts_min - cuts_) + " passing cuts");
    need(duration() >= thresholds_.duration_min, std::to_string((thresholds_.duration_min - duration()).count()) + " ms");
    need(events() >= thresholds_.events_min, std::to_string(thresholds_.events_min - events()) + " events");
    for (const std::string& kind : thresholds_.exercised) need(noted(kind), "an event of kind " + kind);
    if (missing.empty() && decision_ == Decision::not_yet) return "every threshold is met, but the last cut did not pass";
    return missing.empty() ? "equal at " + std::to_string(cuts_) + " cuts over " + std::to_string(events()) + " events" : missing;
  }

 private:
  /// Passes of two streams, authorities or generations of production don't add up: what was proved of one says nothing of the other.
  bool same_window(const Outcome& o) const { return !first_ || (o.stream == stream_ && o.authority == authority_ && o.generation == generation_); }

  /// Nor do passes of different checks.
  static std::vector<std::string> ids_of(std::span<const Outcome> outcomes) {
    std::vector<std::string> ids;
    for (const Outcome& o : outcomes) ids.push_back(o.id);
    return ids;
  }

  Decision reject(const Outcome& o) {
    rejected_by_ = o.id + ": " + std::string(to_string(o.reason)) + ": " + o.message;
    return decision_ = Decision::no_go;
  }
  Decision decide() const {
    bool met = cuts_ >= thresholds_.cuts_min && cuts_ > 0 && duration() >= thresholds_.duration_min && events() >= thresholds_.events_min;
    for (const std::string& kind : thresholds_.exercised) met = met && noted(kind);
    return met ? Decision::go : Decision::not_yet;
  }
  bool noted(const std::string& kind) const {
    for (const std::string& s : seen_)
      if (s == kind) return true;
    return false;
  }
  void note(const std::string& kind) {
    if (!noted(kind)) seen_.push_back(kind);
  }

  GateThresholds thresholds_;
  Decision decision_ = Decision::not_yet;
  int cuts_ = 0, not_counted_ = 0;
  std::optional<Epoch> first_, last_;
  Millis first_at_{0}, last_at_{0};
  std::string stream_, authority_;
  std::uint64_t generation_ = 0;
  std::vector<std::string> checks_;
  std::vector<std::string> seen_;
  std::string rejected_by_;
};

}  // namespace epochcut
