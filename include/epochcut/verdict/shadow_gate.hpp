// Has the shadow been proved equal to production for long enough to hand over?
// Layer: verdict. A FOLD over outcomes: it reads nothing, and needs no clock of its own. Not synchronised.
// Only cuts at which EVERY check passed count, only at new epochs, and only while a negative control shows that the comparison can see.
// Consecutive means: no difference between the first and the last, and never more than a few cuts in a row without an answer. An error or a skip
// counts for nothing; it does not break the run, since the next pass compares what it left open, but a run of them begins the whole anew.
// Source: RFC no-downtime-upgrades §3C.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/verdict/explain.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

enum class Decision : std::uint8_t {
  not_yet,  ///< nothing speaks against it; not enough has been shown
  go,       ///< every threshold is met by passing cuts
  no_go,    ///< a check failed: final for this gate, a new candidate needs a new one
  voided,   ///< the negative control failed, so no pass of this gate means anything: final too
};

constexpr std::string_view to_string(Decision decision) {
  constexpr std::string_view names[] = {"not_yet", "go", "no_go", "void"};
  return names[static_cast<std::size_t>(decision)];
}

/// What must have been shown by one run of equal cuts.
struct GateThresholds {
  int cuts_min = 60;                   ///< all-pass cuts at distinct, rising epochs
  Millis duration_min{1'800'000};      ///< between the first and the last of them
  std::uint64_t events_min = 100'000;  ///< sequence numbers between the first and the last of them
  std::vector<std::string> kinds{};    ///< of event that must have been compared
  std::vector<std::string> tables{};   ///< of which rows of the run itself must have been compared
  int keys_percent_min = 0;            ///< of all keys must have been exercised
  int control_every = 10;              ///< of so many counted cuts one at least comes with a negative control that holds
  int unanswered_max = 3;              ///< cuts in a row without an answer; one more, and the run begins anew
};

/// What happened in the run so far, as it was compared; from its first cut on.
struct Exercised {
  std::vector<std::string> kinds{}, tables{};
  std::uint64_t keys = 0, keys_total = 0;
};

inline constexpr std::chrono::days allowance_days_max{31};  ///< from today: what is allowed for longer is no exception but a rule of the check

/// A known difference that somebody answers for, until a day. Changed values only: a row that one side lacks can't be allowed.
struct Allowance {
  std::string name;                  ///< of the decision, and who took it
  std::string check;                 ///< Outcome::id
  std::string key;                   ///< as an outcome shows it: `account=Acct_1001, currency=EUR`
  std::vector<std::string> columns;  ///< that may differ
  std::chrono::sys_days until;       ///< the last day on which it holds
};

class ShadowGate {
 public:
  explicit ShadowGate(GateThresholds thresholds = {}, std::vector<Allowance> allowances = {})
      : thresholds_(std::move(thresholds)), allowances_(std::move(allowances)) {}

  /// Folds in the outcomes of ONE cut, taken at `now`, with what the run has exercised. Outcomes of no cut, of different cuts, or read at rest count
  /// for nothing. `today`: without it no allowance holds.
  Decision add(std::span<const Outcome> outcomes, Millis now, const Exercised& exercised = {}, std::optional<std::chrono::sys_days> today = std::nullopt) {
    if (final()) return decision_;
    std::vector<Status> statuses;
    bool one_cut = !outcomes.empty();
    for (const Outcome& o : outcomes) {
      one_cut = one_cut && o.epoch && o.epoch == outcomes.front().epoch && same_pipeline(o, outcomes.front()) && !o.unsynchronised && same_window(o);
      const bool fails = o.status == Status::fail && !o.unsynchronised;
      const bool allowed = fails && allow(o, today);
      if (fails && !allowed) rejected_.push_back(o);
      statuses.push_back(allowed ? Status::pass : o.status);
    }
    if (!rejected_.empty()) return decision_ = Decision::no_go;
    if (!one_cut || all_of(statuses) != Status::pass || (first_ && ids_of(outcomes) != checks_)) {
      ++not_counted_;
      if (++unanswered_ > thresholds_.unanswered_max) begin_anew();
      return decision_ = Decision::not_yet;
    }
    unanswered_ = 0;
    const Epoch epoch = *outcomes.front().epoch;
    if (last_ && epoch <= *last_) return decision_ = decide();  // a quiet window shows nothing new
    if (!first_) {
      first_ = epoch, first_at_ = now;
      pipeline_ = outcomes.front(), checks_ = ids_of(outcomes);
    }
    last_ = epoch, last_at_ = now;
    ++cuts_, ++cuts_since_control_;
    for (const std::string& kind : exercised.kinds) note(exercised_.kinds, kind);
    for (const std::string& table : exercised.tables) note(exercised_.tables, table);
    exercised_.keys = exercised.keys, exercised_.keys_total = exercised.keys_total;
    return decision_ = decide();
  }
  Decision add(const Outcome& outcome, Millis now, const Exercised& exercised = {}, std::optional<std::chrono::sys_days> today = std::nullopt) {
    return add(std::span<const Outcome>(&outcome, 1), now, exercised, today);
  }

  /// Folds in a negative control: `same` compares two readings that must be equal, `planted` the same two with `plant` in one of them, at one cut.
  /// It holds if the first passes and the second finds exactly the plant. Void, for ever, if the first fails or the second finds anything else;
  /// without an answer it is none.
  Decision control(const Outcome& same, const Outcome& planted, const std::optional<Difference>& plant) {
    if (final()) return decision_;
    if (same.status == Status::fail) return give_up("two readings of one thing differ: " + same.id + ": " + same.message);
    if (same.status != Status::pass || !plant || !same.epoch || same.epoch != planted.epoch || same.unsynchronised || !same_pipeline(same, planted))
      return decision_;
    if (planted.status == Status::pass) return give_up("a planted difference was not found: " + planted.id + " passed, with " + epochcut::to_text(*plant));
    if (planted.status != Status::fail) return decision_;
    if (planted.reason != Reason::differs || planted.counts.differences() != 1 || planted.differences.size() != 1 || !equal(planted.differences[0], *plant))
      return give_up("something else was found than what was planted: " + planted.id + ": " + planted.message + "; planted was " + epochcut::to_text(*plant));
    ++controls_;
    cuts_since_control_ = 0;
    return decision_;
  }

  Decision decision() const { return decision_; }
  const GateThresholds& thresholds() const { return thresholds_; }
  int cuts() const { return cuts_; }                ///< counted, in the run
  int not_counted() const { return not_counted_; }  ///< in all
  int controls() const { return controls_; }        ///< that held, in the run
  int runs() const { return runs_; }                ///< begun: more than one says that earlier ones broke off
  Millis duration() const { return last_at_ - first_at_; }
  std::uint64_t events() const { return first_ ? last_->sequence - first_->sequence : 0; }
  const std::optional<Epoch>& first() const { return first_; }  ///< of the run
  const std::optional<Epoch>& last() const { return last_; }
  const Exercised& exercised() const { return exercised_; }
  const std::vector<Outcome>& rejected() const { return rejected_; }         ///< under no_go: the checks that failed, with keys and both values
  const std::vector<std::string>& allowances_used() const { return used_; }  ///< a go with any of these is a go with reservations

  /// What is missing, or what spoke against it, in one sentence.
  std::string why() const {
    if (decision_ == Decision::voided) return void_;
    if (decision_ == Decision::no_go) return rejected_[0].id + ": " + std::string(to_string(rejected_[0].reason)) + ": " + rejected_[0].message;
    std::string missing;
    const auto need = [&](bool met, const std::string& what) {
      if (!met) missing += (missing.empty() ? "still needed: " : ", ") + what;
    };
    need(cuts_ >= thresholds_.cuts_min && cuts_ > 0, std::to_string(std::max(thresholds_.cuts_min, 1) - cuts_) + " passing cuts");
    need(duration() >= thresholds_.duration_min, std::to_string((thresholds_.duration_min - duration()).count()) + " ms");
    need(events() >= thresholds_.events_min, std::to_string(thresholds_.events_min - events()) + " events");
    for (const std::string& kind : thresholds_.kinds) need(has(exercised_.kinds, kind), "an event of kind " + kind);
    for (const std::string& table : thresholds_.tables) need(has(exercised_.tables, table), "rows of " + table);
    need(enough_keys(), std::to_string(thresholds_.keys_percent_min) + " % of the keys (seen: " + std::to_string(exercised_.keys) + " of " +
                            std::to_string(exercised_.keys_total) + ")");
    need(controlled(), "a negative control that holds");
    if (missing.empty() && decision_ == Decision::not_yet) return "every threshold is met, but the last cut did not pass";
    if (!missing.empty()) return missing;
    std::string text = "equal at " + std::to_string(cuts_) + " cuts over " + std::to_string(events()) + " events";
    for (std::size_t i = 0; i < used_.size(); ++i) text += (i == 0 ? ", but for what is allowed: " : ", ") + used_[i];
    return text;
  }

 private:
  bool final() const { return decision_ == Decision::no_go || decision_ == Decision::voided; }

  static bool same_pipeline(const Outcome& a, const Outcome& b) { return a.stream == b.stream && a.authority == b.authority && a.generation == b.generation; }
  /// Passes of two streams, authorities or generations of production don't add up: what was proved of one says nothing of the other.
  bool same_window(const Outcome& o) const { return !first_ || same_pipeline(o, pipeline_); }

  /// Nor do passes of different checks.
  static std::vector<std::string> ids_of(std::span<const Outcome> outcomes) {
    std::vector<std::string> ids;
    for (const Outcome& o : outcomes) ids.push_back(o.id);
    return ids;
  }

  /// All of its differences are known ones, and not one was left out of the list.
  bool allow(const Outcome& o, const std::optional<std::chrono::sys_days>& today) {
    if (!today || o.reason != Reason::differs || o.differences.empty() || o.counts.differences() != o.differences.size()) return false;
    std::vector<std::string> names;
    for (const Difference& d : o.differences) {
      const Allowance* found = nullptr;
      for (const Allowance& a : allowances_)
        if (covers(a, o, d, *today)) found = &a;
      if (found == nullptr) return false;
      names.push_back(found->name);
    }
    for (const std::string& name : names) note(used_, name);
    return true;
  }
  static bool covers(const Allowance& a, const Outcome& o, const Difference& d, std::chrono::sys_days today) {
    if (a.name.empty() || a.check != o.id || a.until < today || a.until > today + allowance_days_max) return false;
    if (d.kind != DifferenceKind::changed || a.key != cells_text(d.key) || d.left.empty()) return false;
    return std::all_of(d.left.begin(), d.left.end(), [&](const Cell& cell) { return has(a.columns, cell.name); });
  }

  static bool equal(const std::vector<Cell>& a, const std::vector<Cell>& b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (a[i].name != b[i].name || compare(a[i].value.value(), b[i].value.value()) != 0) return false;
    return true;
  }
  static bool equal(const Difference& a, const Difference& b) {
    return a.kind == b.kind && equal(a.key, b.key) && equal(a.left, b.left) && equal(a.right, b.right);
  }

  Decision give_up(std::string why) {
    void_ = std::move(why);
    return decision_ = Decision::voided;
  }

  void begin_anew() {
    if (!first_) return;
    first_.reset(), last_.reset();
    first_at_ = last_at_ = Millis{0};
    cuts_ = controls_ = cuts_since_control_ = 0;
    exercised_ = {};
    ++runs_;
  }

  bool controlled() const { return controls_ > 0 && cuts_since_control_ <= thresholds_.control_every; }
  bool enough_keys() const {
    if (thresholds_.keys_percent_min <= 0) return true;
    return exercised_.keys_total > 0 && exercised_.keys * 100 >= exercised_.keys_total * static_cast<std::uint64_t>(thresholds_.keys_percent_min);
  }
  Decision decide() const {
    bool met = cuts_ >= thresholds_.cuts_min && cuts_ > 0 && duration() >= thresholds_.duration_min && events() >= thresholds_.events_min && controlled() &&
               enough_keys();
    for (const std::string& kind : thresholds_.kinds) met = met && has(exercised_.kinds, kind);
    for (const std::string& table : thresholds_.tables) met = met && has(exercised_.tables, table);
    return met ? Decision::go : Decision::not_yet;
  }
  static bool has(const std::vector<std::string>& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); }
  static void note(std::vector<std::string>& names, const std::string& name) {
    if (!has(names, name)) names.push_back(name);
  }

  GateThresholds thresholds_;
  std::vector<Allowance> allowances_;
  Decision decision_ = Decision::not_yet;
  int cuts_ = 0, not_counted_ = 0, unanswered_ = 0, controls_ = 0, cuts_since_control_ = 0, runs_ = 1;
  std::optional<Epoch> first_, last_;
  Millis first_at_{0}, last_at_{0};
  Outcome pipeline_;  ///< whose stream, authority and generation the run is of
  std::vector<std::string> checks_;
  Exercised exercised_;
  std::vector<Outcome> rejected_;
  std::vector<std::string> used_;
  std::string void_;
};

}  // namespace epochcut
