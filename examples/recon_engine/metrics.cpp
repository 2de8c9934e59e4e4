#include "recon_engine/metrics.hpp"

#include <algorithm>
#include <mutex>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace recon_engine {

using epochcut::Status;

namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;

// Seconds. A check is quick (tens of milliseconds) or waits for a follower (the horizon's budget is 30 s, a run's two minutes).
const Histogram::BucketBoundaries duration_buckets{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300};
const Histogram::BucketBoundaries wait_buckets{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

double seconds(Millis ms) { return static_cast<double>(ms.count()) / 1000; }
double seconds(Instant at) { return seconds(at.time_since_epoch()); }

// One line a family; the pointers below are in this order.
const std::vector<MetricInfo> families_in_order{
    {"epochcut_check_runs_total", "counter", "Runs that ended, by verdict.", {"check", "status", "reason"}},
    {"epochcut_check_differences_total", "counter", "Keys that differed, over all runs.", {"check", "kind"}},
    {"epochcut_check_rows_total", "counter", "Rows that both sides sent or scanned.", {"check"}},
    {"epochcut_check_bytes_total", "counter", "Bytes that both sides sent.", {"check"}},
    {"epochcut_check_duration_seconds", "histogram", "How long a run took.", {"check"}},
    {"epochcut_horizon_wait_seconds", "histogram", "How long a run waited until its follower had proved itself complete.", {"check"}},
    {"epochcut_schedule_missed_total", "counter", "Fires that no run answered to.", {"check"}},
    {"epochcut_schedule_coalesced_total", "counter", "Events that a later one stood in for, since a run was going on.", {"check"}},
    {"epochcut_pages_total", "counter", "Posts to the pager: delivered, failed (tried again), withheld (paging switched off), abandoned.", {"result"}},
    {"epochcut_check_last_asserted_timestamp_seconds", "gauge", "When a run last ended in pass or fail; 0: never.", {"check"}},
    {"epochcut_check_unasserted_runs", "gauge", "Runs and missed fires since the last run that asserted.", {"check"}},
    {"epochcut_check_interval_seconds", "gauge", "The longest time between two fires; 0: events alone fire it.", {"check"}},
    {"epochcut_check_status", "gauge", "1 for the verdict of the last run, 0 for the others.", {"check", "status"}},
    {"epochcut_check_firing", "gauge", "1 while a signal fires, whether it pages or not.", {"check", "signal"}},
    {"epochcut_check_enabled", "gauge", "1 if the check runs.", {"check"}},
    {"epochcut_check_paging", "gauge", "1 if the check may page.", {"check"}},
    {"epochcut_check_running", "gauge", "1 while a run goes on.", {"check"}},
    {"epochcut_authority_generation", "gauge", "Generation of the authority that the last run with an epoch read.", {"check"}},
    {"epochcut_spool_runs", "gauge", "Runs that wait in the spool for the log.", {}},
    {"epochcut_outbox_pages", "gauge", "Pages that wait to be posted.", {}},
    {"epochcut_outbox_oldest_timestamp_seconds", "gauge", "When the page that waits longest was written; 0: none waits.", {}},
    {"epochcut_engine_started_timestamp_seconds", "gauge", "When the program started.", {}},
    {"epochcut_engine_draining", "gauge", "1 while the program is ending.", {}},
    {"epochcut_engine_config_refused", "gauge", "1 while the last reload was refused and an older configuration runs.", {}},
    {"epochcut_engine_info", "gauge", "1, with the version as a label.", {"version"}},
};

constexpr epochcut::DifferenceKind kinds[] = {epochcut::DifferenceKind::only_left, epochcut::DifferenceKind::only_right, epochcut::DifferenceKind::changed};
constexpr Signal signals[] = {Signal::invariant, Signal::infrastructure};

/// Every verdict that the library gives.
constexpr Status status_of(epochcut::Reason reason) {
  if (reason == epochcut::Reason::none) return Status::pass;
  if (reason <= epochcut::Reason::conflicting_rows) return Status::fail;
  return reason <= epochcut::Reason::precondition ? Status::skipped : Status::error;
}

/// A counter that is told its total.
void set_total(Counter& counter, std::uint64_t total) {
  const double more = static_cast<double>(total) - counter.Value();
  if (more > 0) counter.Increment(more);
}

}  // namespace

const std::vector<MetricInfo>& all_metrics() { return families_in_order; }

struct Metrics::Families {
  std::mutex mutex;  // of a scrape: gauges are set, then written out
  prometheus::Registry registry;
  std::vector<std::string> known;  // checks that have their series

  template <class Builder>
  auto& family(Builder builder, std::string_view name) {
    const auto found = std::find_if(families_in_order.begin(), families_in_order.end(), [&](const MetricInfo& m) { return m.name == name; });
    return builder.Name(found->name).Help(found->help).Register(registry);
  }
  prometheus::Family<Counter>& counter(std::string_view name) { return family(prometheus::BuildCounter(), name); }
  prometheus::Family<Gauge>& gauge(std::string_view name) { return family(prometheus::BuildGauge(), name); }
  prometheus::Family<Histogram>& histogram(std::string_view name) { return family(prometheus::BuildHistogram(), name); }

  prometheus::Family<Counter>& runs = counter("epochcut_check_runs_total");
  prometheus::Family<Counter>& differences = counter("epochcut_check_differences_total");
  prometheus::Family<Counter>& rows = counter("epochcut_check_rows_total");
  prometheus::Family<Counter>& bytes = counter("epochcut_check_bytes_total");
  prometheus::Family<Histogram>& duration = histogram("epochcut_check_duration_seconds");
  prometheus::Family<Histogram>& wait = histogram("epochcut_horizon_wait_seconds");
  prometheus::Family<Counter>& missed = counter("epochcut_schedule_missed_total");
  prometheus::Family<Counter>& coalesced = counter("epochcut_schedule_coalesced_total");
  prometheus::Family<Counter>& pages = counter("epochcut_pages_total");
  prometheus::Family<Gauge>& last_asserted = gauge("epochcut_check_last_asserted_timestamp_seconds");
  prometheus::Family<Gauge>& unasserted = gauge("epochcut_check_unasserted_runs");
  prometheus::Family<Gauge>& interval = gauge("epochcut_check_interval_seconds");
  prometheus::Family<Gauge>& status = gauge("epochcut_check_status");
  prometheus::Family<Gauge>& firing = gauge("epochcut_check_firing");
  prometheus::Family<Gauge>& enabled = gauge("epochcut_check_enabled");
  prometheus::Family<Gauge>& paging = gauge("epochcut_check_paging");
  prometheus::Family<Gauge>& running = gauge("epochcut_check_running");
  prometheus::Family<Gauge>& generation = gauge("epochcut_authority_generation");
  prometheus::Family<Gauge>& spool = gauge("epochcut_spool_runs");
  prometheus::Family<Gauge>& outbox = gauge("epochcut_outbox_pages");
  prometheus::Family<Gauge>& outbox_oldest = gauge("epochcut_outbox_oldest_timestamp_seconds");
  prometheus::Family<Gauge>& started = gauge("epochcut_engine_started_timestamp_seconds");
  prometheus::Family<Gauge>& draining = gauge("epochcut_engine_draining");
  prometheus::Family<Gauge>& refused = gauge("epochcut_engine_config_refused");
  prometheus::Family<Gauge>& info = gauge("epochcut_engine_info");

  /// A rate needs a zero to rise from, or the first error of a kind goes unseen: a check's series are there before its first run.
  void begin(const std::string& check) {
    if (std::find(known.begin(), known.end(), check) != known.end()) return;
    known.push_back(check);
    for (int i = 0; i <= static_cast<int>(epochcut::Reason::unknown); ++i) {
      const auto reason = static_cast<epochcut::Reason>(i);
      runs.Add({{"check", check}, {"status", std::string(to_string(status_of(reason)))}, {"reason", std::string(to_string(reason))}});
    }
    for (const epochcut::DifferenceKind kind : kinds) differences.Add({{"check", check}, {"kind", std::string(to_string(kind))}});
    rows.Add({{"check", check}});
    bytes.Add({{"check", check}});
    duration.Add({{"check", check}}, duration_buckets);
    wait.Add({{"check", check}}, wait_buckets);
  }

  void show(const CheckState& check) {
    const Labels of{{"check", check.config.id}};
    begin(check.config.id);
    set_total(missed.Add(of), check.missed);
    set_total(coalesced.Add(of), check.coalesced);
    last_asserted.Add(of).Set(check.last_asserted ? seconds(*check.last_asserted) : 0);
    unasserted.Add(of).Set(check.config.enabled ? check.unasserted : 0);
    interval.Add(of).Set(seconds(check.config.interval));
    enabled.Add(of).Set(check.config.enabled);
    paging.Add(of).Set(check.config.enabled && check.config.paging);
    running.Add(of).Set(check.running_since.has_value());
    for (const Status s : epochcut::all_statuses)
      status.Add({{"check", check.config.id}, {"status", std::string(to_string(s))}}).Set(!check.runs.empty() && check.runs.back().status == s);
    for (const Signal s : signals) firing.Add({{"check", check.config.id}, {"signal", std::string(to_string(s))}}).Set(check.firing.contains(s));
    const auto with_epoch = std::find_if(check.runs.rbegin(), check.runs.rend(), [](const Run& r) { return r.epoch.has_value(); });
    if (with_epoch != check.runs.rend()) generation.Add(of).Set(static_cast<double>(with_epoch->generation));
  }

  void show(const EngineState& engine) {
    for (const auto& [result, total] : {std::pair{"delivered", engine.pages_delivered}, std::pair{"failed", engine.pages_failed},
                                        std::pair{"withheld", engine.pages_withheld}, std::pair{"abandoned", engine.pages_abandoned}})
      set_total(pages.Add({{"result", result}}), total);
    spool.Add({}).Set(static_cast<double>(engine.spool_runs));
    outbox.Add({}).Set(static_cast<double>(engine.outbox_pages));
    outbox_oldest.Add({}).Set(engine.outbox_oldest ? seconds(*engine.outbox_oldest) : 0);
    started.Add({}).Set(seconds(engine.started));
    draining.Add({}).Set(engine.draining);
    refused.Add({}).Set(!engine.config_problem.empty());
    info.Add({{"version", engine.version}}).Set(1);
  }
};

Metrics::Metrics(const Board& board) : board_(board), families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::add(const Run& run) {
  const BoardState state = board_.snapshot();
  const bool configured = std::any_of(state.checks.begin(), state.checks.end(), [&](const CheckState& c) { return c.config.id == run.check_id; });
  const std::string check = configured ? run.check_id : "other";
  const Labels of{{"check", check}};
  Families& f = *families_;
  const std::lock_guard lock(f.mutex);
  f.begin(check);
  f.runs.Add({{"check", check}, {"status", std::string(to_string(run.status))}, {"reason", std::string(to_string(run.reason))}}).Increment();
  for (const auto& [kind, count] : {std::pair{kinds[0], run.only_left}, std::pair{kinds[1], run.only_right}, std::pair{kinds[2], run.changed}})
    f.differences.Add({{"check", check}, {"kind", std::string(to_string(kind))}}).Increment(static_cast<double>(count));
  f.rows.Add(of).Increment(static_cast<double>(run.rows));
  f.bytes.Add(of).Increment(static_cast<double>(run.bytes));
  f.duration.Add(of, duration_buckets).Observe(seconds(run.took));
  f.wait.Add(of, wait_buckets).Observe(seconds(run.horizon_wait));
}

std::string Metrics::scrape() {
  const BoardState state = board_.snapshot();
  Families& f = *families_;
  const std::lock_guard lock(f.mutex);
  for (const CheckState& check : state.checks) f.show(check);
  f.show(state.engine);
  return prometheus::TextSerializer().Serialize(f.registry.Collect());
}

}  // namespace recon_engine
