// Where do the old check and the new one disagree, and what went on when one of them was unhappy?
// Layer: operate. Pure functions over a record: pairs, episodes, missed fires. Memory: a few hundred bytes a run and pair, and soak_runs_max of them.
// Source: docs/operations/soak.md. examples/recon_engine/soak.sql says the pairs once more, in SQL.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <epochcut/operate/soak_record.hpp>

namespace epochcut {

enum class PairClass : std::uint8_t {
  agree,
  agree_values_differ,  ///< both pass at one epoch, and have read different values
  false_alarm,          ///< old pass, live fail: a break that the old one could not see, or a bug of the new one
  miss,                 ///< old fail, live pass: stop the line
  live_no_assert,
  old_no_assert,
  unpaired,    ///< no live run near the old fire
  old_missed,  ///< the old fire left no run
  both_fail,
};
inline constexpr std::array<PairClass, 9> all_pair_classes{PairClass::agree,    PairClass::agree_values_differ, PairClass::false_alarm,
                                                           PairClass::miss,     PairClass::live_no_assert,      PairClass::old_no_assert,
                                                           PairClass::unpaired, PairClass::old_missed,          PairClass::both_fail};
constexpr std::string_view to_string(PairClass c) {
  constexpr std::string_view names[] = {"agree",    "agree_values_differ", "false_alarm?", "miss?", "live_no_assert", "old_no_assert",
                                        "unpaired", "old_missed",          "both_fail"};
  return names[static_cast<std::size_t>(c)];
}

enum class ValuesCompare : std::uint8_t {
  not_comparable,  ///< events lie between the two cuts, or it is not known that none do
  same,
  differ,
};
constexpr std::string_view to_string(ValuesCompare v) {
  constexpr std::string_view names[] = {"values_not_comparable", "values_same", "values_differ"};
  return names[static_cast<std::size_t>(v)];
}

/// One old fire and what stood beside it. Indices are into `SoakScan::runs`.
struct SoakPair {
  Instant fire{};
  std::optional<std::size_t> old, live;  ///< live: the run nearest to the fire
  std::optional<std::size_t> asserting;  ///< the nearest live run that says pass or fail: an error next door hides nothing
  PairClass kind = PairClass::unpaired;
  PairClass asserted = PairClass::unpaired;  ///< the class with `asserting` in the place of `live`
  ValuesCompare values = ValuesCompare::not_comparable;
  Millis apart{0};     ///< |scheduled − scheduled|
  Millis skew{0};      ///< live started − old started
  int candidates = 0;  ///< live runs within pair_within
};

/// A maximal run of equal status of one check, in which at most episode_gap_fires fires in a row say otherwise.
struct Episode {
  std::string check_id;
  Status status = Status::error;
  Instant first{}, last{};     ///< scheduled
  Instant started{}, ended{};  ///< of the first run, of the last
  std::uint64_t n = 0;
  std::vector<std::pair<Reason, std::uint64_t>> reasons;
  std::optional<Decimal> largest_gap;
  std::optional<std::uint64_t> epoch_first, epoch_last;
  std::array<std::uint64_t, 4> other{};  ///< runs of the other check of the pair within it, by status
  Millis in_outage{0};                   ///< of its time
  Adjudicated verdict = Adjudicated::open;
  std::string evidence, who;
  Instant said{};

  Millis length() const { return ended - started; }
};

struct MissedFire {
  std::string check_id;
  Instant fire{};
  bool explained = false;  ///< it lies in a declared outage
};

struct SoakScan {
  std::vector<SoakRun> runs;  ///< scheduled ones of both checks within the window, in order of their scheduled time
  std::vector<SoakPair> pairs;
  std::vector<Episode> episodes;  ///< of both checks, in order of time
  std::vector<MissedFire> missed;
  std::uint64_t coalesced = 0;  ///< mark cycles that came during a run: the next run answered for them
  std::uint64_t repeated = 0;   ///< rows of a fire that had one already
};

namespace soak_detail {

inline Millis distance(Instant a, Instant b) { return a < b ? b - a : a - b; }
inline bool asserts(Status s) { return s == Status::pass || s == Status::fail; }

inline Millis overlap(Instant began, Instant ended, const std::vector<Outage>& outages) {
  // Outages may overlap each other: count each moment once.
  std::vector<std::pair<Instant, Instant>> parts;
  for (const Outage& o : outages)
    if (o.began < ended && began < o.ended) parts.emplace_back(std::max(o.began, began), std::min(o.ended, ended));
  std::sort(parts.begin(), parts.end());
  Millis sum{0};
  Instant reached = began;
  for (const auto& [from, to] : parts)
    if (to > reached) sum += to - std::max(from, reached), reached = to;
  return sum;
}
inline bool touches(Instant began, Instant ended, const std::vector<Outage>& outages) {
  return std::any_of(outages.begin(), outages.end(), [&](const Outage& o) { return began < o.ended && o.began <= ended; });
}

inline PairClass class_of(const SoakRun* old, const SoakRun* live, ValuesCompare values) {
  if (old == nullptr) return PairClass::old_missed;
  if (live == nullptr) return PairClass::unpaired;
  if (!asserts(live->status)) return PairClass::live_no_assert;
  if (!asserts(old->status)) return PairClass::old_no_assert;
  if (old->status == live->status)
    return old->status == Status::fail ? PairClass::both_fail : values == ValuesCompare::differ ? PairClass::agree_values_differ : PairClass::agree;
  return old->status == Status::pass ? PairClass::false_alarm : PairClass::miss;
}

inline ValuesCompare compare_values(const SoakRun* old, const SoakRun* live) {
  if (old == nullptr || live == nullptr || !old->epoch || old->epoch != live->epoch || old->stream != live->stream || old->left.empty() || live->left.empty() ||
      old->right.empty() || live->right.empty())
    return ValuesCompare::not_comparable;
  return old->left == live->left && old->right == live->right ? ValuesCompare::same : ValuesCompare::differ;
}

inline std::optional<std::uint64_t> cycle_of(const SoakRun& run) {
  if (run.event_key.empty()) return run.stream == "mark_cycles" ? run.epoch : std::nullopt;
  std::uint64_t cycle = 0;
  for (const char c : run.event_key) {
    if (c < '0' || c > '9' || cycle > 1'000'000'000'000'000'000) return std::nullopt;
    cycle = cycle * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return cycle;
}

/// The nearest by scheduled time; of two equally near the later. `of` holds indices in order of time.
template <class Wanted>
std::optional<std::size_t> nearest(const std::vector<SoakRun>& runs, const std::vector<std::size_t>& of, Instant fire, Millis within, Wanted wanted) {
  std::optional<std::size_t> best;
  auto it = std::lower_bound(of.begin(), of.end(), fire - within, [&](std::size_t i, Instant at) { return runs[i].scheduled < at; });
  for (; it != of.end() && runs[*it].scheduled <= fire + within; ++it)
    if (wanted(runs[*it]) && (!best || distance(runs[*it].scheduled, fire) <= distance(runs[*best].scheduled, fire))) best = *it;
  return best;
}

}  // namespace soak_detail

/// The divergence scan: one pair per old fire, in order.
inline std::vector<SoakPair> scan_pairs(const SoakInput& in, const std::vector<SoakRun>& runs) {
  using namespace soak_detail;
  std::vector<std::size_t> old, live;
  for (std::size_t i = 0; i < runs.size(); ++i) (runs[i].check_id == in.old_id ? old : live).push_back(i);
  std::vector<std::pair<std::uint64_t, std::size_t>> cycles;  // of live runs, in order of the cycle
  if (in.by_cycle)
    for (const std::size_t i : live)
      if (const auto cycle = cycle_of(runs[i])) cycles.emplace_back(*cycle, i);
  std::sort(cycles.begin(), cycles.end());

  std::vector<SoakPair> pairs;
  for (const Instant fire : in.old_fires) {
    if (fire < in.from || fire >= in.until) continue;
    SoakPair pair;
    pair.fire = fire;
    const auto any = [](const SoakRun&) { return true; };
    const auto asserting = [](const SoakRun& r) { return asserts(r.status); };
    pair.old = nearest(runs, old, fire, same_fire, any);
    const std::optional<std::uint64_t> cycle = in.by_cycle && pair.old ? cycle_of(runs[*pair.old]) : std::nullopt;
    if (cycle) {
      // One cut, whenever it was read: the same cycle has the same rows.
      auto it = std::lower_bound(cycles.begin(), cycles.end(), *cycle, [](const auto& c, std::uint64_t wanted) { return c.first < wanted; });
      std::vector<std::size_t> of;
      for (; it != cycles.end() && it->first == *cycle; ++it) of.push_back(it->second);
      const Millis ever = std::chrono::days{146'097};
      pair.live = nearest(runs, of, fire, ever, any);
      pair.asserting = nearest(runs, of, fire, ever, asserting);
      pair.candidates = static_cast<int>(of.size());
    } else {
      pair.live = nearest(runs, live, fire, pair_within, any);
      pair.asserting = nearest(runs, live, fire, pair_within, asserting);
      for (const std::size_t i : live) pair.candidates += distance(runs[i].scheduled, fire) <= pair_within;
    }
    const auto run = [&](const std::optional<std::size_t>& i) { return i ? &runs[*i] : nullptr; };
    pair.values = compare_values(run(pair.old), run(pair.live));
    pair.kind = class_of(run(pair.old), run(pair.live), pair.values);
    pair.asserted = class_of(run(pair.old), run(pair.asserting), compare_values(run(pair.old), run(pair.asserting)));
    if (pair.live) pair.apart = distance(runs[*pair.live].scheduled, fire);
    if (pair.live && pair.old) pair.skew = runs[*pair.live].started - runs[*pair.old].started;
    pairs.push_back(pair);
  }
  return pairs;
}

/// All episodes of one check. `fires` are the times at which it had to run: what is missing counts as a fire that says otherwise.
inline std::vector<Episode> scan_episodes(const SoakInput& in, const std::vector<SoakRun>& runs, const std::string& check_id, std::vector<Instant> fires) {
  using namespace soak_detail;
  std::vector<std::size_t> of;
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (runs[i].check_id == check_id) of.push_back(i), fires.push_back(runs[i].scheduled);
  std::sort(fires.begin(), fires.end());
  // A run and its fire are one place in the order, though a run's own scheduled time may be a little off.
  std::vector<Instant> places;
  for (const Instant fire : fires)
    if (places.empty() || fire != places.back()) places.push_back(fire);
  const auto place = [&](Instant at) { return std::lower_bound(places.begin(), places.end(), at) - places.begin(); };

  std::vector<Episode> episodes;
  for (const Status status : {Status::fail, Status::error, Status::skipped}) {
    std::ptrdiff_t last_place = 0;
    bool open = false;
    for (const std::size_t i : of) {
      const SoakRun& run = runs[i];
      if (run.status != status) continue;
      const std::ptrdiff_t here = place(run.scheduled);
      if (!open || here - last_place - 1 > episode_gap_fires) {
        Episode& begun = episodes.emplace_back();
        begun.check_id = check_id, begun.status = status, begun.first = run.scheduled, begun.started = run.started, begun.ended = run.finished;
        open = true;
      }
      last_place = here;
      Episode& e = episodes.back();
      e.last = run.scheduled;
      e.ended = std::max(e.ended, run.finished);
      ++e.n;
      const auto known = std::find_if(e.reasons.begin(), e.reasons.end(), [&](const auto& r) { return r.first == run.reason; });
      if (known == e.reasons.end())
        e.reasons.emplace_back(run.reason, 1);
      else
        ++known->second;
      if (run.largest_gap && (!e.largest_gap || *run.largest_gap > *e.largest_gap)) e.largest_gap = run.largest_gap;
      if (run.epoch) {
        if (!e.epoch_first) e.epoch_first = run.epoch;
        e.epoch_last = run.epoch;
      }
    }
  }
  for (Episode& e : episodes) {
    for (const SoakRun& run : runs)
      if (run.check_id != check_id && run.scheduled >= e.first && run.scheduled <= e.last) ++e.other[static_cast<std::size_t>(run.status)];
    e.in_outage = overlap(e.started, e.ended, in.outages);
    // What was planted on purpose is a real break by construction; a person's word goes before it.
    if (e.status == Status::fail)
      for (const PlantedBreak& p : in.planted)
        if (p.live && p.planted <= e.started && e.ended <= p.removed + pair_within && e.first <= p.removed)
          e.verdict = Adjudicated::real_break, e.evidence = "planted: " + p.what, e.who = "canary", e.said = p.planted;
    const Adjudication* newest = nullptr;
    for (const Adjudication& a : in.adjudications)
      if (a.check_id == check_id && a.scheduled >= e.first && a.scheduled <= e.last && (newest == nullptr || a.said >= newest->said)) newest = &a;
    if (newest != nullptr) e.verdict = newest->verdict, e.evidence = newest->evidence, e.who = newest->who, e.said = newest->said;
  }
  std::sort(episodes.begin(), episodes.end(), [](const Episode& a, const Episode& b) { return std::pair(a.first, a.status) < std::pair(b.first, b.status); });
  return episodes;
}

/// Pairs, episodes of both checks, and the fires that nothing answered to. Errors: too_large beyond soak_runs_max; configuration if the
/// window is empty, since nothing found in nothing is no finding.
inline SoakScan scan(const SoakInput& in) {
  using namespace soak_detail;
  if (in.runs.size() > soak_runs_max)
    throw Failure(Reason::too_large, "the record has more than " + std::to_string(soak_runs_max) + " runs of " + in.live_id + "; look at a shorter time");
  if (in.from >= in.until) throw Failure(Reason::configuration, "the soak of " + in.live_id + " ends before it begins; --from must lie before --until");
  SoakScan out;
  for (const SoakRun& run : in.runs)
    if ((run.check_id == in.old_id || run.check_id == in.live_id) && (run.trigger == "cron" || run.trigger == "event") &&
        run.scheduled >= in.from - pair_within && run.scheduled < in.until + pair_within)
      out.runs.push_back(run);
  std::sort(out.runs.begin(), out.runs.end(),
            [](const SoakRun& a, const SoakRun& b) { return std::tie(a.scheduled, a.started) < std::tie(b.scheduled, b.started); });

  out.pairs = scan_pairs(in, out.runs);

  std::vector<Instant> live_fires = in.live_fires;
  for (const MarkCycle& cycle : in.cycles) live_fires.push_back(cycle.committed);
  const auto inside = [&](Instant at) { return at >= in.from && at < in.until; };
  std::erase_if(live_fires, [&](Instant at) { return !inside(at); });
  const std::vector<SoakRun> window = [&] {
    std::vector<SoakRun> runs;
    for (const SoakRun& run : out.runs)
      if (inside(run.scheduled)) runs.push_back(run);
    return runs;
  }();
  std::vector<Instant> old_fires = in.old_fires;
  std::erase_if(old_fires, [&](Instant at) { return !inside(at); });
  out.episodes = scan_episodes(in, window, in.old_id, old_fires);
  const std::vector<Episode> live = scan_episodes(in, window, in.live_id, in.cycles.empty() ? live_fires : std::vector<Instant>{});
  out.episodes.insert(out.episodes.end(), live.begin(), live.end());
  std::sort(out.episodes.begin(), out.episodes.end(),
            [](const Episode& a, const Episode& b) { return std::tie(a.first, a.check_id) < std::tie(b.first, b.check_id); });

  // Each run answers to one fire, each fire has one run.
  std::vector<const SoakRun*> old_runs, live_runs;
  for (const SoakRun& run : out.runs) (run.check_id == in.old_id ? old_runs : live_runs).push_back(&run);
  const auto answer = [&](const std::string& id, const std::vector<Instant>& fires, const std::vector<const SoakRun*>& runs) {
    std::size_t next = 0;
    for (const Instant fire : fires) {
      while (next < runs.size() && runs[next]->scheduled < fire - same_fire) ++next, ++out.repeated;
      if (next < runs.size() && runs[next]->scheduled <= fire + same_fire)
        ++next;
      else
        out.missed.push_back({id, fire, touches(fire, fire, in.outages)});
    }
  };
  answer(in.old_id, old_fires, old_runs);
  if (in.cycles.empty()) {
    answer(in.live_id, live_fires, live_runs);
  } else {
    std::vector<std::pair<std::uint64_t, const SoakRun*>> by_cycle;
    for (const SoakRun* run : live_runs)
      if (const auto cycle = cycle_of(*run)) by_cycle.emplace_back(*cycle, run);
    std::sort(by_cycle.begin(), by_cycle.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const SoakRun*> by_start = live_runs;
    std::sort(by_start.begin(), by_start.end(), [](const SoakRun* a, const SoakRun* b) { return a->started < b->started; });
    for (const MarkCycle& cycle : in.cycles) {
      if (!inside(cycle.committed)) continue;
      const auto it = std::lower_bound(by_cycle.begin(), by_cycle.end(), cycle.cycle, [](const auto& c, std::uint64_t wanted) { return c.first < wanted; });
      if (it != by_cycle.end() && it->first == cycle.cycle) continue;
      // It came while a run went on, so that a later one stands for it; but only if there is a later one.
      const auto after = std::upper_bound(by_start.begin(), by_start.end(), cycle.committed, [](Instant at, const SoakRun* run) { return at < run->started; });
      const bool during = after != by_start.begin() && (*std::prev(after))->finished >= cycle.committed;
      const bool answered = it != by_cycle.end();
      if (during && answered)
        ++out.coalesced;
      else
        out.missed.push_back({in.live_id, cycle.committed, touches(cycle.committed, cycle.committed, in.outages)});
    }
  }
  return out;
}

}  // namespace epochcut
