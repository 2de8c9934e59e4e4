// How do eight checks run beside each other, for months?
// A Watch is one check: its schedule, its stores, one run after the other; all time is injected, so that a day passes in a second. A Daemon is a thread
// per Watch, one thread that records, and one that listens for events. SIGTERM, SIGHUP and the command line are main.cpp's.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <epochcut/verdict/check.hpp>

#include "recon_engine/catalogue.hpp"
#include "recon_engine/config.hpp"
#include "recon_engine/log.hpp"
#include "recon_engine/run.hpp"
#include "recon_engine/schedule.hpp"

namespace recon_engine {

/// Asks one check's question once, on that check's own thread, of stores of its own.
using Asker = std::function<epochcut::Outcome(const epochcut::CheckOptions&)>;

/// Where time comes from.
struct Time {
  epochcut::Clock* clock = &epochcut::SystemClock::instance();
  std::function<Instant()> wall;  ///< none: the machine's
  Instant now() const;
};

/// Hears what happens beside finished runs. From any thread; must not block or throw.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void began(const std::string& /*check*/, Instant /*at*/) {}
  /// missed and coalesced: the schedule's own counts, which rise until it is made anew.
  virtual void waiting(const std::string& /*check*/, std::optional<Instant> /*next_fire*/, std::uint64_t /*missed*/, std::uint64_t /*coalesced*/) {}
  virtual void heartbeat(Instant /*at*/) {}
  virtual void spooled(std::uint64_t /*runs*/) {}
  virtual void draining() {}
};

inline constexpr std::size_t values_shown_max = 16;  ///< rows of each side in a run: enough for sums by currency, and a line stays small

/// One check. One thread at a time.
class Watch {
 public:
  /// Answers the fires after `last`, the newest run of this check that is known; after now if there is none. `complete`: then there was none.
  Watch(const CheckInfo& info, CheckConfig config, Asker ask, Time time, const std::optional<Run>& last, bool complete = true);

  /// From here on. A changed schedule begins now; a run's epoch is still held against what was seen before.
  void configure(CheckConfig config, Asker ask);
  std::optional<Instant> due() const { return schedule_.due(); }
  void event(std::uint64_t key) { schedule_.event(key, time_.now()); }
  /// Runs the check if it is due. `began` is called once that is certain.
  std::optional<Run> run_due(const epochcut::Cancel* cancel, const std::function<void(const Fire&)>& began = {});
  /// Runs it now, whatever the schedule says. trigger: manual or canary.
  Run run_now(const std::string& trigger, const epochcut::Cancel* cancel);

  Schedule& schedule() { return schedule_; }
  const CheckInfo& info() const { return *info_; }
  const CheckConfig& config() const { return config_; }

 private:
  Schedule make_schedule(Instant after, std::optional<std::uint64_t> last_event) const;
  Run answer(const Fire& fire, const epochcut::Cancel* cancel);

  const CheckInfo* info_;
  CheckConfig config_;
  Asker ask_;
  Time time_;
  Schedule schedule_;
  std::vector<epochcut::SeenEpoch> seen_;
};

/// The id under which a run is written, once: a fire that is answered again after a crash has the same.
std::string run_id_of(std::string_view check, const Fire& fire);

/// Blocks until there is a mark cycle above `last`, a second at most, and returns the newest one. Errors: Failure.
using Listener = std::function<std::optional<std::uint64_t>(std::uint64_t last, const epochcut::Cancel& cancel)>;

struct DaemonParts {
  /// Makes what asks: its stores are that check's own. Called on the check's own thread; a Failure is the outcome of the run.
  std::function<Asker(const CheckInfo&, const Config&)> asker;
  std::function<Listener(const Config&)> listener;  ///< none: no events
  LogStore* log = nullptr;
  Spool* spool = nullptr;
  std::vector<Sink*> sinks{};  ///< called in order, by the thread that records
  Observer* observer = nullptr;
  std::vector<Run> history{};    ///< from log and spool: what each check ran last
  bool history_complete = true;  ///< else the log could not be read
  Time time{};
  Recorder::Options recorder{};
  std::function<void(const std::string&)> say = [](const std::string&) {};
};

class Daemon {
 public:
  static constexpr Millis look_max{1'000};  ///< a thread that waits looks at the wall clock this often: it may be set

  Daemon(Config config, DaemonParts parts);
  ~Daemon();  ///< stops

  /// The new configuration, for every check from its next run on.
  void reload(Config config);
  /// No new run; those that go on have `drain` to finish, are cancelled then, and are logged as `error: cancelled`. Returns when all is recorded.
  void stop();

 private:
  struct Lane;
  void run_lane(Lane& lane);
  void report(Lane& lane);
  void record();
  void listen();
  Asker lazily(const CheckInfo& info, const Config& config) const;

  DaemonParts parts_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Config config_;
  std::uint64_t revision_ = 1;
  bool stopping_ = false, lanes_done_ = false;
  std::size_t running_ = 0;  ///< lanes that are in a run
  std::atomic<bool> full_{false};
  std::optional<std::uint64_t> cycle_;
  std::deque<Run> finished_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  epochcut::Cancel cancel_, listening_;
  std::thread recorder_, listener_;
};

}  // namespace recon_engine
