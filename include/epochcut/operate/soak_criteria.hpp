// Has the new check earned the pager?
// Layer: operate. Pure functions over a scan: every criterion with its finding and its evidence, the clock, what the record proves, and one decision.
// Source: RFC live-checks, "Promotion criteria"; docs/operations/soak.md. A criterion without evidence is never met: nothing looked at is nothing found.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/operate/soak_bounds.hpp>
#include <epochcut/operate/soak_scan.hpp>

namespace epochcut {

inline constexpr std::size_t evidence_max = 20;  ///< lines kept of each criterion; how many more there are is always said

enum class Finding : std::uint8_t {
  met,
  not_yet,  ///< only time or more evidence is wanting
  not_met,
};
constexpr std::string_view to_string(Finding f) {
  constexpr std::string_view names[] = {"met", "not_yet", "not_met"};
  return names[static_cast<std::size_t>(f)];
}

enum class CriterionId : std::uint8_t {
  elapsed,
  compared,
  no_miss,
  fails_resolved,
  false_alarms,
  values_agree,
  errors,
  asserts_daily,
  missed,
  planted,
  cost,
  signed_off
};
constexpr std::string_view to_string(CriterionId c) {
  constexpr std::string_view names[] = {"elapsed", "compared",      "no_miss", "fails_resolved", "false_alarms", "values_agree",
                                        "errors",  "asserts_daily", "missed",  "planted",        "cost",         "signed_off"};
  return names[static_cast<std::size_t>(c)];
}

struct Criterion {
  CriterionId id = CriterionId::elapsed;
  Finding finding = Finding::not_yet;
  std::string summary;                ///< one sentence with the figures
  std::vector<std::string> evidence;  ///< the first of what speaks against it
  std::uint64_t more = 0;             ///< of it, not kept
};

enum class SoakDecision : std::uint8_t {
  promote,
  keep_soaking,
  restart,            ///< something must be fixed, and its clock starts anew
  leave_the_old_one,  ///< the time is over, and this check can't replace the old one as it is
};
constexpr std::string_view to_string(SoakDecision d) {
  constexpr std::string_view names[] = {"promote", "keep_soaking", "restart", "leave_the_old_one"};
  return names[static_cast<std::size_t>(d)];
}

struct ClockRestart {
  Instant at{};
  std::string why;
};

/// Runs of the live check since the clock started. scheduled = pass + fail + error + skipped + missed; asserted = pass + fail.
struct SoakCounts {
  std::array<std::uint64_t, 4> by_status{};  ///< as Status counts
  std::uint64_t missed = 0, missed_explained = 0, coalesced = 0;
  std::uint64_t runs() const { return by_status[0] + by_status[1] + by_status[2] + by_status[3]; }
  std::uint64_t scheduled() const { return runs() + missed; }
  std::uint64_t asserted() const { return by_status[static_cast<std::size_t>(Status::pass)] + by_status[static_cast<std::size_t>(Status::fail)]; }
};

struct SoakReport {
  std::string old_id, live_id;
  Instant from{}, until{}, clock{};
  std::vector<ClockRestart> restarts;
  std::array<std::uint64_t, 9> pairs{};  ///< by PairClass, over the whole window
  SoakCounts counts;
  Millis cost_p99{0}, interval{0};
  SoakBounds bounds;
  std::vector<Criterion> criteria;
  SoakDecision decision = SoakDecision::keep_soaking;
  std::string sentence;
  bool time_elapsed = false;
  std::optional<SignOff> signed_off;
  SoakScan scan;
};

namespace soak_detail {

inline std::string number(double value, int digits) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}
inline std::string percent(double share, int digits = 1) { return number(share * 100, digits) + " %"; }
inline std::string plural(std::uint64_t n, std::string_view what) { return std::to_string(n) + " " + std::string(what) + (n == 1 ? "" : "s"); }
inline double in_days(Millis t) { return static_cast<double>(t.count()) / 86'400'000.0; }
inline std::string short_time(Millis t) {
  return t < Millis{10'000}    ? std::to_string(t.count()) + " ms"
         : t < Millis{600'000} ? number(static_cast<double>(t.count()) / 1000, 0) + " s"
                               : number(static_cast<double>(t.count()) / 60'000, 0) + " min";
}

class Verdicts {
 public:
  Verdicts(const SoakInput& in, SoakReport& report) : in_(in), out_(report) {}

  void clock() {
    out_.clock = in_.from;
    const auto restart = [&](Instant at, std::string why) {
      if (at > in_.from && at < in_.until) out_.restarts.push_back({at, std::move(why)});
    };
    for (const Episode& e : out_.scan.episodes)
      if (e.check_id == in_.live_id && e.verdict == Adjudicated::check_bug)
        restart(std::max(e.said, e.ended), "the " + std::string(to_string(e.status)) + " of " + to_text(e.first) + " was the check's own: " + e.evidence);
    for (const Adjudication& a : in_.adjudications) {
      // Of a run that is part of no episode: one that passed where it should not have.
      const bool of_episode = std::any_of(out_.scan.episodes.begin(), out_.scan.episodes.end(),
                                          [&](const Episode& e) { return e.check_id == a.check_id && a.scheduled >= e.first && a.scheduled <= e.last; });
      if (a.check_id == in_.live_id && !of_episode && word_on(a.scheduled) == Adjudicated::check_bug && a.verdict == Adjudicated::check_bug)
        restart(std::max(a.said, a.scheduled), "what it said at " + to_text(a.scheduled) + " was wrong: " + a.evidence);
    }
    std::string question;
    for (const SoakRun& run : out_.scan.runs) {
      if (run.check_id != in_.live_id || run.question.empty() || !asserts(run.status)) continue;  // an error may have been asked in part only
      if (!question.empty() && run.question != question)
        restart(run.scheduled, "it asks another question since then: what it said before is another check's record");
      question = run.question;
    }
    std::sort(out_.restarts.begin(), out_.restarts.end(), [](const ClockRestart& a, const ClockRestart& b) { return a.at < b.at; });
    if (!out_.restarts.empty()) out_.clock = out_.restarts.back().at;
  }

  void elapsed() {
    Criterion c{CriterionId::elapsed,
                Finding::not_yet,
                number(in_days(age()), 1) + " of " + std::to_string(soak_length.count()) + " days since " + to_text(out_.clock),
                {},
                0};
    out_.time_elapsed = age() >= soak_length;
    if (out_.time_elapsed) c.finding = Finding::met;
    keep(std::move(c));
  }

  void pairs() {
    Criterion compared{CriterionId::compared, Finding::not_yet, "", {}, 0}, miss{CriterionId::no_miss, Finding::met, "", {}, 0},
        alarm{CriterionId::false_alarms, Finding::met, "", {}, 0}, values{CriterionId::values_agree, Finding::met, "", {}, 0};
    std::uint64_t fires = 0, n = 0, misses = 0, misses_of_old = 0, alarms = 0, alarms_real = 0, differ = 0, comparable = 0;
    for (const SoakPair& p : out_.scan.pairs) {
      ++out_.pairs[static_cast<std::size_t>(p.kind)];
      if (p.fire < out_.clock) continue;
      const bool asserted = p.asserted == PairClass::agree || p.asserted == PairClass::agree_values_differ || p.asserted == PairClass::both_fail ||
                            p.asserted == PairClass::false_alarm || p.asserted == PairClass::miss;
      if (asserted || !touches(p.fire, p.fire, in_.outages)) {
        ++fires;
        n += asserted;
        if (!asserted) add(compared, to_text(p.fire) + ": " + std::string(to_string(p.kind)));
      }
      comparable += p.values != ValuesCompare::not_comparable;
      const auto is = [&](PairClass kind) { return p.kind == kind || p.asserted == kind; };
      if (is(PairClass::miss)) {
        const Episode* old = episode(in_.old_id, p.old);
        if (old != nullptr && (old->verdict == Adjudicated::check_bug || old->verdict == Adjudicated::infra)) {
          ++misses_of_old;
        } else {
          ++misses, ++out_.bounds.divergences;
          add(miss,
              to_text(p.fire) + ": " + in_.old_id + " failed (" + std::string(to_string(out_.scan.runs[*p.old].reason)) + ") and " + in_.live_id + " passed");
        }
      }
      if (is(PairClass::false_alarm)) {
        ++alarms;
        const Episode* live = episode(in_.live_id, p.kind == PairClass::false_alarm ? p.live : p.asserting);
        if (live != nullptr && live->verdict == Adjudicated::real_break) {
          ++alarms_real;
        } else {
          ++out_.bounds.divergences;
          add(alarm, to_text(p.fire) + ": " + in_.live_id + " failed alone, and that is " + (live == nullptr ? "open" : std::string(to_string(live->verdict))));
        }
      }
      if (is(PairClass::agree_values_differ) && (word_on(p.fire) == Adjudicated::open || word_on(p.fire) == Adjudicated::check_bug)) {
        ++differ;
        add(values, to_text(p.fire) + ": both passed at one epoch and have read different values");
      }
    }
    out_.bounds.compared = n;
    compared.summary = std::to_string(n) + " of " + plural(fires, "old fire") + " were compared; at least " + percent(compared_min, 0) + " is our number";
    if (fires > 0) compared.finding = static_cast<double>(n) >= compared_min * static_cast<double>(fires) ? Finding::met : Finding::not_met;
    const bool nothing = n == 0;
    miss.summary = misses == 0
                       ? "no live pass beside an old fail" + (misses_of_old == 0 ? std::string() : "; " + plural(misses_of_old, "old fail") + " was no break")
                       : plural(misses, "old fail") + " beside a live pass: stop the line";
    miss.finding = misses != 0 ? Finding::not_met : nothing ? Finding::not_yet : Finding::met;
    alarm.summary = std::to_string(alarms_real) + " of " + plural(alarms, "live fail") + " beside an old pass " + (alarms == 1 ? "is" : "are") +
                    " resolved as a real break";
    alarm.finding = alarms != alarms_real ? Finding::not_met : nothing ? Finding::not_yet : Finding::met;
    values.summary = differ == 0 ? "none of " + plural(comparable, "pair") + " at one epoch has read other values"
                                 : plural(differ, "pair") + " at one epoch has read other values";
    values.finding = differ != 0 ? Finding::not_met : nothing ? Finding::not_yet : Finding::met;
    for (Criterion* c : {&compared, &miss, &alarm, &values}) keep(std::move(*c));
  }

  void fails() {
    Criterion c{CriterionId::fails_resolved, Finding::met, "", {}, 0};
    std::uint64_t n = 0, real = 0;
    for (const Episode& e : out_.scan.episodes) {
      if (e.check_id != in_.live_id || e.status != Status::fail || e.ended <= out_.clock) continue;
      ++n;
      if (e.verdict == Adjudicated::real_break) {
        ++real;
        continue;
      }
      ++out_.bounds.false_fails;
      const bool other = e.verdict == Adjudicated::infra || e.verdict == Adjudicated::expected_precondition;
      add(c, to_text(e.first) + " to " + to_text(e.last) + ", " + plural(e.n, "run") + ": " + std::string(to_string(e.verdict)) +
                 (other ? ", which explains an error and no fail: a fail is a real break or the check's bug" : ""));
    }
    c.summary = std::to_string(real) + " of " + plural(n, "episode") + " of fail is a real break";
    c.finding = n != real ? Finding::not_met : counted() == 0 ? Finding::not_yet : Finding::met;
    keep(std::move(c));
  }

  void errors() {
    Criterion c{CriterionId::errors, Finding::not_yet, "", {}, 0};
    std::uint64_t runs = 0, errors = 0;
    for (const SoakRun* r : live_) {
      if (touches(r->started, r->finished, in_.outages)) continue;
      ++runs;
      errors += r->status == Status::error;
    }
    bool lasting = false;
    for (const Episode& e : out_.scan.episodes)
      if (e.check_id == in_.live_id && e.status == Status::error && e.ended > out_.clock && e.length() - e.in_outage > error_episode_max) {
        lasting = true;
        add(c, to_text(e.first) + ": errors for " + short_time(e.length()) + ", " + short_time(e.in_outage) + " of them in a declared outage");
      }
    const double rate = runs == 0 ? 0 : static_cast<double>(errors) / static_cast<double>(runs);
    c.summary = plural(errors, "error") + " in " + plural(runs, "run") + " outside declared outages" + (runs == 0 ? "" : ", " + percent(rate, 2)) +
                "; at most " + percent(error_rate_max) + ", and no episode over " + short_time(error_episode_max);
    if (runs > 0) c.finding = rate <= error_rate_max && !lasting ? Finding::met : Finding::not_met;
    keep(std::move(c));
  }

  void daily() {
    using std::chrono::days;
    Criterion c{CriterionId::asserts_daily, Finding::not_yet, "", {}, 0};
    std::uint64_t whole = 0, asserting = 0;
    std::vector<Instant> fires = in_.live_fires;
    for (const MarkCycle& cycle : in_.cycles) fires.push_back(cycle.committed);
    std::sort(fires.begin(), fires.end());
    auto run = live_.begin();
    for (auto day = std::chrono::ceil<days>(out_.clock); day + days(1) <= in_.until; day += days(1)) {
      const auto fire = std::lower_bound(fires.begin(), fires.end(), Instant(day));
      if (fire == fires.end() || *fire >= day + days(1)) continue;
      ++whole;
      bool any = false;
      while (run != live_.end() && (*run)->scheduled < day) ++run;
      for (; run != live_.end() && (*run)->scheduled < day + days(1); ++run) any |= asserts((*run)->status);
      asserting += any;
      if (!any) add(c, to_text(day).substr(0, 10) + ": neither pass nor fail");
    }
    const std::uint64_t skipped = out_.counts.by_status[static_cast<std::size_t>(Status::skipped)];
    c.summary = "asserts on " + std::to_string(asserting) + " of " + plural(whole, "whole day") + " (UTC)" +
                (counted() == 0 ? "" : "; " + percent(static_cast<double>(skipped) / static_cast<double>(counted())) + " of the runs skipped");
    if (whole > 0) c.finding = asserting == whole ? Finding::met : Finding::not_met;
    keep(std::move(c));
  }

  void missed() {
    Criterion c{CriterionId::missed, Finding::not_yet, "", {}, 0};
    for (const MissedFire& m : out_.scan.missed)
      if (m.check_id == in_.live_id && m.fire >= out_.clock && !m.explained) add(c, to_text(m.fire));
    const std::uint64_t unexplained = out_.counts.missed - out_.counts.missed_explained;
    c.summary = plural(unexplained, "fire") + " of " + std::to_string(out_.counts.scheduled()) + " missed without explanation; " +
                std::to_string(out_.counts.missed_explained) + " in declared outages, " + std::to_string(out_.counts.coalesced) + " coalesced";
    if (out_.counts.scheduled() > 0) c.finding = unexplained == 0 ? Finding::met : Finding::not_met;
    keep(std::move(c));
  }

  void planted() {
    Criterion c{CriterionId::planted, Finding::not_yet, "", {}, 0};
    std::vector<std::string> caught, lost;
    std::vector<bool> weeks(static_cast<std::size_t>(std::max<std::int64_t>(0, age() / std::chrono::weeks(1))));
    std::uint64_t canaries = 0;
    bool bad = false;
    for (const PlantedBreak& p : in_.planted) {
      if (p.check_id != in_.live_id || (p.live && (p.planted < out_.clock || p.planted >= in_.until))) continue;
      (p.caught ? caught : lost).push_back(p.what);
      if (!p.caught) add(c, to_text(p.planted) + ": " + p.what + " was not caught"), bad = true;
      if (!p.live) continue;
      ++canaries;
      const bool in_time = p.caught && p.fires <= canary_fires_max;
      if (p.caught && !in_time)
        add(c, to_text(p.planted) + ": " + p.what + " was caught after " + plural(static_cast<std::uint64_t>(p.fires), "fire")), bad = true;
      const auto week = static_cast<std::size_t>((p.planted - out_.clock) / std::chrono::weeks(1));
      if (in_time && week < weeks.size()) weeks[week] = true;
    }
    for (std::vector<std::string>* list : {&caught, &lost}) {
      std::sort(list->begin(), list->end());
      list->erase(std::unique(list->begin(), list->end()), list->end());
    }
    std::vector<std::string> all;
    std::set_union(caught.begin(), caught.end(), lost.begin(), lost.end(), std::back_inserter(all));
    out_.bounds.planted = all.size(), out_.bounds.planted_missed = lost.size();
    for (std::size_t i = 0; i < weeks.size(); ++i)
      if (!weeks[i]) add(c, "week " + std::to_string(i + 1) + ": no live canary was caught within " + std::to_string(canary_fires_max) + " fires"), bad = true;
    const auto distinct = all.size() - lost.size();
    c.summary = std::to_string(distinct) + " distinct breaks caught of " + std::to_string(all.size()) + " planted, " + std::to_string(planted_distinct_min) +
                " needed; " + plural(canaries, "live canary run") + " in " + plural(weeks.size(), "whole week");
    c.finding = bad ? Finding::not_met : distinct >= planted_distinct_min && canaries > 0 ? Finding::met : Finding::not_yet;
    lost_ = !lost.empty();
    keep(std::move(c));
  }

  void cost() {
    Criterion c{CriterionId::cost, Finding::not_yet, "", {}, 0};
    std::vector<Millis> took;
    for (const SoakRun* r : live_) took.push_back(r->finished - r->started);
    std::vector<Instant> fires = in_.live_fires;
    for (const MarkCycle& cycle : in_.cycles) fires.push_back(cycle.committed);
    std::sort(fires.begin(), fires.end());
    std::vector<Millis> gaps;
    for (std::size_t i = 1; i < fires.size(); ++i) gaps.push_back(fires[i] - fires[i - 1]);
    if (!gaps.empty())
      std::nth_element(gaps.begin(), gaps.begin() + static_cast<std::ptrdiff_t>(gaps.size() / 2), gaps.end()), out_.interval = gaps[gaps.size() / 2];
    if (!took.empty()) {
      std::sort(took.begin(), took.end());
      out_.cost_p99 = took[(took.size() * 99 + 99) / 100 - 1];
    }
    c.summary = "p99 " + short_time(out_.cost_p99) + " of an interval of " + short_time(out_.interval) + "; less than " + percent(cost_p99_max, 0);
    if (!took.empty() && out_.interval.count() > 0) {
      const bool cheap = static_cast<double>(out_.cost_p99.count()) < cost_p99_max * static_cast<double>(out_.interval.count());
      c.finding = cheap || !in_.accumulator.empty() ? Finding::met : Finding::not_met;
      if (!cheap) add(c, in_.accumulator.empty() ? "too dear, and no accumulator is filed" : "too dear; the accumulator is filed: " + in_.accumulator);
    }
    keep(std::move(c));
  }

  void signature() {
    Criterion c{CriterionId::signed_off, Finding::not_yet, "nobody has signed", {}, 0};
    out_.signed_off = in_.signed_off;
    if (in_.signed_off) {
      const bool late_enough = in_.signed_off->said >= out_.clock + soak_length;
      c.summary = in_.signed_off->who + " signed on " + to_text(in_.signed_off->said) + (late_enough ? "" : ", before this soak was over");
      if (late_enough && !in_.signed_off->who.empty()) c.finding = Finding::met;
    }
    keep(std::move(c));
  }

  void count() {
    for (const SoakRun& r : out_.scan.runs)
      if (r.check_id == in_.live_id && r.scheduled >= out_.clock && r.scheduled < in_.until)
        live_.push_back(&r), ++out_.counts.by_status[static_cast<std::size_t>(r.status)];
    for (const MissedFire& m : out_.scan.missed)
      if (m.check_id == in_.live_id && m.fire >= out_.clock) ++out_.counts.missed, out_.counts.missed_explained += m.explained;
    out_.counts.coalesced = out_.scan.coalesced;
  }

  void decide() {
    SoakBounds& b = out_.bounds;
    b.days = in_days(age());
    b.false_fails_per_day = b.days > 0 ? poisson_upper(b.false_fails) / b.days : 0;
    b.divergence_per_fire = binomial_upper(b.compared, b.divergences);
    b.missed_share = binomial_upper(b.planted, b.planted_missed);

    std::string open, wanting;
    for (const Criterion& c : out_.criteria) {
      std::string& list = c.finding == Finding::not_met ? open : wanting;
      if (c.finding != Finding::met) list += (list.empty() ? "" : ", ") + std::string(to_string(c.id));
    }
    const auto broken = [&](CriterionId id) { return at(id).finding == Finding::not_met; };
    if (broken(CriterionId::no_miss) || lost_ || (out_.time_elapsed && broken(CriterionId::planted))) {
      out_.decision = SoakDecision::restart;
      out_.sentence = lost_ || broken(CriterionId::no_miss)
                          ? "It passed where something was broken: stop the line, find out why, fix it, and start its clock anew."
                          : "The weekly canaries are not complete, so these weeks prove too little: start its clock anew.";
    } else if (open.empty() && wanting.empty()) {
      out_.decision = SoakDecision::promote;
      out_.sentence = "Every criterion is met and signed off: promote it.";
    } else if (out_.time_elapsed && (broken(CriterionId::errors) || broken(CriterionId::asserts_daily) || broken(CriterionId::cost) ||
                                     broken(CriterionId::missed) || broken(CriterionId::compared))) {
      out_.decision = SoakDecision::leave_the_old_one;
      out_.sentence =
          "The time is over and it is not extended by itself: " + open + " not met. Leave the old check in place, or fix the new one and start its clock anew.";
    } else {
      out_.decision = SoakDecision::keep_soaking;
      out_.sentence = open.empty() ? "Nothing speaks against it so far; wanting: " + wanting + "."
                                   : "Adjudicate or fix: " + open + "." + (wanting.empty() ? "" : " Wanting: " + wanting + ".");
    }
  }

 private:
  Millis age() const { return in_.until - out_.clock; }
  std::uint64_t counted() const { return out_.counts.runs(); }
  const Criterion& at(CriterionId id) const {
    return *std::find_if(out_.criteria.begin(), out_.criteria.end(), [&](const Criterion& c) { return c.id == id; });
  }
  void keep(Criterion c) { out_.criteria.push_back(std::move(c)); }
  static void add(Criterion& c, std::string line) {
    if (c.evidence.size() < evidence_max)
      c.evidence.push_back(std::move(line));
    else
      ++c.more;
  }
  const Episode* episode(const std::string& id, const std::optional<std::size_t>& run) const {
    if (!run) return nullptr;
    const SoakRun& r = out_.scan.runs[*run];
    for (const Episode& e : out_.scan.episodes)
      if (e.check_id == id && e.status == r.status && r.scheduled >= e.first && r.scheduled <= e.last) return &e;
    return nullptr;
  }
  /// What people have last said of the live check at that moment.
  Adjudicated word_on(Instant at) const {
    const Adjudication* newest = nullptr;
    for (const Adjudication& a : in_.adjudications)
      if (a.check_id == in_.live_id && a.scheduled == at && (newest == nullptr || a.said >= newest->said)) newest = &a;
    return newest == nullptr ? Adjudicated::open : newest->verdict;
  }

  const SoakInput& in_;
  SoakReport& out_;
  std::vector<const SoakRun*> live_;  // since the clock started, in order
  bool lost_ = false;                 // a planted break was not caught
};

}  // namespace soak_detail

/// The whole judgement of one pair of checks. Errors: as `scan`.
inline SoakReport judge_soak(const SoakInput& in) {
  SoakReport report;
  report.old_id = in.old_id, report.live_id = in.live_id, report.from = in.from, report.until = in.until;
  report.scan = scan(in);
  soak_detail::Verdicts verdicts(in, report);
  verdicts.clock();
  verdicts.count();
  verdicts.elapsed();
  verdicts.pairs();
  verdicts.fails();
  verdicts.errors();
  verdicts.daily();
  verdicts.missed();
  verdicts.planted();
  verdicts.cost();
  verdicts.signature();
  verdicts.decide();
  return report;
}

}  // namespace epochcut
