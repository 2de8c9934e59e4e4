#include "recon_engine/daemon.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <tuple>

#include <epochcut/verdict/retry.hpp>

namespace recon_engine {

using epochcut::Cancel;
using epochcut::CheckOptions;
using epochcut::Failure;
using epochcut::Outcome;

Instant Time::now() const { return wall ? wall() : std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

std::string run_id_of(std::string_view check, const Fire& fire) {
  const std::string id = std::string(check) + "@";
  if (fire.trigger == "event") return id + fire.event_key;
  return id + (fire.trigger == "cron" ? "" : fire.trigger + ":") + epochcut::to_text(fire.scheduled);
}

// --- one check ---------------------------------------------------------------------------------------------------------------------------------------

namespace {

std::uint64_t seed_of(std::string_view id) {
  std::uint64_t seed = 0;
  for (const char c : id) seed = epochcut::mix(seed ^ static_cast<unsigned char>(c));
  return seed;
}

std::optional<std::uint64_t> event_of(const std::optional<Run>& run, bool complete) {
  if (!run && !complete) return std::nullopt;
  std::uint64_t key = 0;
  if (run && run->trigger == "event") std::from_chars(run->event_key.data(), run->event_key.data() + run->event_key.size(), key);
  return key;
}

}  // namespace

Watch::Watch(const CheckInfo& info, CheckConfig config, Asker ask, Time time, const std::optional<Run>& last, bool complete)
    : info_(&info),
      config_(std::move(config)),
      ask_(std::move(ask)),
      time_(std::move(time)),
      schedule_(make_schedule(last ? last->scheduled : time_.now(), event_of(last, complete))) {
  // The timeline is not on record; the epoch alone says whether the ledger fell back while nobody looked.
  if (last && last->epoch) seen_.push_back({last->stream, *last->epoch, 0});
}

Schedule Watch::make_schedule(Instant after, std::optional<std::uint64_t> last_event) const {
  return Schedule({.next = clockwork(config_), .jitter = config_.jitter, .jitter_seed = seed_of(info_->id), .late_max = config_.late_max}, after, last_event);
}

void Watch::configure(CheckConfig config, Asker ask) {
  const bool same = config.schedule == config_.schedule && config.zone == config_.zone && config.jitter == config_.jitter &&
                    config.late_max == config_.late_max && config.enabled == config_.enabled;
  config_ = std::move(config);
  if (ask) ask_ = std::move(ask);
  if (!same) schedule_ = make_schedule(time_.now(), schedule_.last_event());
}

std::optional<Run> Watch::run_due(const Cancel* cancel, const std::function<void(const Fire&)>& began) {
  const std::optional<Fire> fire = schedule_.begin(time_.now());
  if (!fire) return std::nullopt;
  if (began) began(*fire);
  Run run = answer(*fire, cancel);
  schedule_.end();
  return run;
}

Run Watch::run_now(const std::string& trigger, const Cancel* cancel) { return answer({time_.now(), trigger, {}}, cancel); }

Run Watch::answer(const Fire& fire, const Cancel* cancel) {
  const Instant started = time_.now();
  CheckOptions options{.horizon = config_.horizon,
                       .control = {.clock = time_.clock, .cancel = cancel, .deadline = time_.clock->now() + config_.budget},
                       .values_max = values_shown_max,
                       .last_seen = seen_};
  options.horizon.jitter_seed = seed_of(info_->id) ^ static_cast<std::uint64_t>(fire.scheduled.time_since_epoch().count());
  const epochcut::Retried tried = epochcut::retry({.attempts_max = 1 + config_.retries}, options.control, [&] {
    Outcome outcome;
    epochcut::checking::guarded(std::span(&outcome, 1), [&] { outcome = ask_(options); });
    return outcome;
  });
  const Outcome& outcome = tried.outcome;
  for (const epochcut::SeenEpoch& now : outcome.seen) {
    const auto was = std::find_if(seen_.begin(), seen_.end(), [&](const auto& seen) { return seen.stream == now.stream; });
    if (was == seen_.end())
      seen_.push_back(now);
    else if (was->epoch <= now.epoch)
      *was = now;
  }

  Run run = run_of(outcome);
  run.check_id = info_->id;
  run.run_id = run_id_of(info_->id, fire);
  run.trigger = fire.trigger, run.event_key = fire.event_key;
  run.scheduled = fire.scheduled, run.started = started, run.finished = time_.now();
  run.paging = config_.paging;
  for (const epochcut::FailedAttempt& earlier : tried.earlier)
    run.message += " (an attempt before was error: " + std::string(to_string(earlier.reason)) + ": " + earlier.message + ")";
  return run;
}

// --- all of them -------------------------------------------------------------------------------------------------------------------------------------

struct Daemon::Lane {
  const CheckInfo* info;
  std::optional<Run> last;
  std::optional<Watch> watch;
  std::uint64_t revision = 0;
  std::string stores;
  std::optional<std::tuple<std::optional<Instant>, std::uint64_t, std::uint64_t>> told;
  std::thread thread;
};

namespace {

/// What a check's connections are made of; while it is the same they stay.
std::string stores_of(const Config& c) {
  std::string all;
  for (const std::string* part : {&c.postgres, &c.clickhouse, &c.clickhouse_user, &c.clickhouse_password, &c.clickhouse_database, &c.custodian, &c.authority})
    (all += *part) += '\0';
  return all;
}

}  // namespace

Daemon::Daemon(Config config, DaemonParts parts) : parts_(std::move(parts)), config_(std::move(config)) {
  for (const CheckInfo& info : all_checks) {
    Lane& lane = *lanes_.emplace_back(std::make_unique<Lane>());
    lane.info = &info;
    for (const Run& run : parts_.history)
      if (run.check_id == info.id && run.trigger != "manual" && run.trigger != "canary" && (!lane.last || run.scheduled >= lane.last->scheduled))
        lane.last = run;
  }
  recorder_ = std::thread([this] { record(); });
  for (const auto& lane : lanes_) lane->thread = std::thread([this, &lane = *lane] { run_lane(lane); });
  if (parts_.listener) listener_ = std::thread([this] { listen(); });
}

Daemon::~Daemon() { stop(); }

void Daemon::reload(Config config) {
  const std::lock_guard lock(mutex_);
  config_ = std::move(config);
  ++revision_;
  changed_.notify_all();
}

void Daemon::stop() {
  {
    std::unique_lock lock(mutex_);
    if (lanes_done_) return;
    stopping_ = true;
    changed_.notify_all();
    if (parts_.observer != nullptr) parts_.observer->draining();
    listening_.request();
    changed_.wait_for(lock, config_.drain, [&] { return running_ == 0; });
    cancel_.request();
  }
  for (const auto& lane : lanes_) lane->thread.join();
  {
    const std::lock_guard lock(mutex_);
    lanes_done_ = true;
    changed_.notify_all();
  }
  recorder_.join();
  if (listener_.joinable()) listener_.join();
}

/// The stores are made on the first run, on the check's own thread: what is wrong with them is that run's outcome.
Asker Daemon::lazily(const CheckInfo& info, const Config& config) const {
  return [make = parts_.asker, info = &info, config, asker = Asker()](const CheckOptions& options) mutable {
    if (!asker) asker = make(*info, config);
    return asker(options);
  };
}

void Daemon::report(Lane& lane) {
  if (parts_.observer == nullptr) return;
  const Schedule& schedule = lane.watch->schedule();
  const std::optional<Instant> next = lane.watch->config().enabled ? schedule.next_fire() : std::nullopt;
  const auto told = std::tuple(next, schedule.missed(), schedule.coalesced());
  if (told == lane.told) return;
  lane.told = told;
  parts_.observer->waiting(std::string(lane.info->id), next, schedule.missed(), schedule.coalesced());
}

void Daemon::run_lane(Lane& lane) {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (lane.revision != revision_) {
      lane.revision = revision_;
      const CheckConfig& check = config_.checks.at(std::string(lane.info->id));
      const std::string stores = stores_of(config_);
      Asker ask = stores == lane.stores ? Asker() : lazily(*lane.info, config_);
      lane.stores = stores;
      if (!lane.watch)
        lane.watch.emplace(*lane.info, check, std::move(ask), parts_.time, lane.last, parts_.history_complete);
      else
        lane.watch->configure(check, std::move(ask));
    }
    Watch& watch = *lane.watch;
    if (watch.config().enabled && watch.config().event() && cycle_) watch.event(*cycle_);
    report(lane);
    const Instant now = parts_.time.now();
    const std::optional<Instant> due = watch.config().enabled ? watch.due() : std::nullopt;
    if (!due || *due > now || full_) {
      changed_.wait_for(lock, due && *due > now ? std::min(look_max, *due - now) : look_max);
      continue;
    }
    ++running_;
    lock.unlock();
    std::optional<Run> run = watch.run_due(&cancel_, [&](const Fire&) {
      if (parts_.observer != nullptr) parts_.observer->began(std::string(lane.info->id), parts_.time.now());
    });
    lock.lock();
    --running_;
    if (run) finished_.push_back(std::move(*run));
    report(lane);
    changed_.notify_all();
  }
}

void Daemon::record() {
  Recorder recorder(*parts_.log, *parts_.spool, parts_.sinks, parts_.recorder);
  for (bool last = false; !last;) {
    std::deque<Run> runs;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, Millis{250}, [&] { return !finished_.empty() || lanes_done_; });
      last = lanes_done_;
      runs = std::exchange(finished_, {});
    }
    for (const Run& run : runs) recorder.add(run, parts_.time.now());
    recorder.replay(parts_.time.now());
    if (full_ != recorder.full())
      parts_.say(recorder.full() ? "the spool is full: no check runs until the log takes what is in it" : "the spool has room again: checks run");
    full_ = recorder.full();
    if (parts_.observer != nullptr) {
      parts_.observer->spooled(recorder.spooled());
      parts_.observer->heartbeat(parts_.time.now());
    }
  }
}

void Daemon::listen() {
  std::uint64_t last = 0, revision = 0;
  bool complained = false;
  Listener listener;
  while (!listening_.requested()) {
    try {
      Config config;
      {
        const std::lock_guard lock(mutex_);
        if (revision != revision_) listener = {}, revision = revision_, config = config_;
      }
      if (!listener) listener = parts_.listener(config);
      const std::optional<std::uint64_t> cycle = listener(last, listening_);
      if (std::exchange(complained, false)) parts_.say("mark cycles are heard again");
      if (!cycle) continue;
      last = *cycle;
      const std::lock_guard lock(mutex_);
      cycle_ = cycle;
      changed_.notify_all();
    } catch (const std::exception& e) {
      // What is missed meanwhile is caught up with: the listener asks for the newest cycle first.
      if (!std::exchange(complained, true)) parts_.say("mark cycles are not heard: " + std::string(e.what()));
      listener = {}, revision = 0;
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, look_max, [&] { return stopping_; });
    }
  }
}

}  // namespace recon_engine
