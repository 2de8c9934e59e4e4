// Every write path at once on real servers, for 60 s: writers at full tilt, checks at random phases, faults planted and taken back.
// An oracle that refolds the stream judges every verdict: no wrong pass, no wrong fail, every planted fault named, 95 % of the cuts assert.
// EPOCHCUT_SEED repeats a run's stream, phases and choice of faults (threads and servers stay free); EPOCHCUT_SOAK_SECONDS lengthens it.
#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <curl/curl.h>

#include <epochcut/testing/conformance.hpp>

#include "horizon/paths.hpp"

using namespace epochcut;
using exchange::Fault;
using horizon::Path;

namespace {

/// The paths without crashes: a writer in this process can't be killed. The horizon's table has those.
constexpr std::span<const Path> paths(horizon::paths, 7);
static_assert(!paths.back().crashes && horizon::paths[paths.size()].crashes);

constexpr int cuts_min = 30;  // fewer prove little

struct Tally : horizon::Tally {
  int naive_alarms = 0, naive_runs = 0;
  int planted = 0, caught = 0, harmless = 0;
  std::uint64_t sequence = 0;
};

class PathRun {
 public:
  PathRun(const Path& path, std::uint64_t seed, std::chrono::seconds duration)
      : path_(path), seed_(seed), duration_(duration), random_(seed), engine_options_(horizon::engine_options(path, "soak", seed, batch, batch)) {
    engine_options_.rate = 160;  // four batches a second: seven exchanges, their checks and the merges of many small parts share two cores
  }

  Tally run() {
    try {
      exchange::create_tables(engine_options_);
      exchange::RunningEngine engine(engine_options_);
      check_for(duration_, engine);
      if (!engine.running()) tally_.wrong.push_back("the exchange stopped by itself: " + engine.error());
      tally_.sequence = engine.sequence();
      engine.stop();
    } catch (const std::exception& e) {
      tally_.wrong.push_back(std::string("the harness failed: ") + e.what());
    }
    return std::move(tally_);
  }

  /// Once every path is done: a server that still merges what seven of them wrote takes minutes for it, and is no wrong verdict.
  bool tidy() const {
    try {
      horizon::drop_tables(engine_options_);
      return true;
    } catch (const std::exception& e) {
      std::printf("  the tables of \"%s\" and of those after it stay: %s\n", path_.name, e.what());
      return false;
    }
  }

 private:
  static constexpr std::uint64_t batch = 40;

  /// At least that long; on a busy machine longer, until there were enough cuts and a fault among them.
  void check_for(std::chrono::seconds duration, const exchange::RunningEngine& engine) {
    const auto end = std::chrono::steady_clock::now() + duration, last_end = end + 3 * std::min(duration, std::chrono::seconds(60));
    const auto goes_on = [&] {
      const auto now = std::chrono::steady_clock::now();
      return engine.running() && (now < end || (now < last_end && (tally_.runs < cuts_min || tally_.caught == 0)));
    };
    horizon::Stores stores(engine_options_);
    const Invariant naive{"naive", {at_rest(stores.ledger), stores.balances()}, {at_rest(stores.analytics), stores.transactions()}};
    exchange::Corruptor corruptor(engine_options_.clickhouse, engine_options_.layout);
    horizon::Referee referee(engine_options_.stream);
    // A lost row is told from a late one when the budget ends; on one node nothing acknowledged is late.
    const CheckOptions options{.horizon = {.budget = Millis{6'000}, .jitter_seed = seed_, .max_visibility_lag = Millis{300}}};

    std::optional<exchange::Corruption> planted;
    while (engine.sequence() == 0 && engine.running()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    for (int round = 1; goes_on(); ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.below(80)));
      const std::vector<Outcome> outcomes = stores.check_live(options);
      tally_.add(path_, outcomes, planted, referee);
      if (planted && outcomes[0].status == Status::fail) {
        ++tally_.caught;
        corruptor.undo(*planted);
        planted.reset();
      } else if (planted && planted->fault == Fault::duplicate_row && outcomes[0].status == Status::pass) {
        ++tally_.harmless;
        corruptor.undo(*planted);
        planted.reset();
      }
      if (!planted && round % 2 == 0) {
        ++tally_.naive_runs;
        tally_.naive_alarms += check(stores.ledger, naive, options).status == Status::fail;
      }
      if (!planted && round % 12 == 0) {
        constexpr Fault faults[] = {Fault::change_amount, Fault::delete_row, Fault::extra_row, Fault::conflicting_row, Fault::duplicate_row};
        const std::uint64_t row = corruptor.pick("transactions", engine.sequence());
        planted = corruptor.plant(faults[random_.below(std::size(faults))], "transactions", row);
        tally_.planted += planted->fault != Fault::duplicate_row;
      }
    }
    if (planted && planted->fault != Fault::duplicate_row) --tally_.planted;  // the time was over before anyone could look
  }

  const Path path_;
  const std::uint64_t seed_;
  const std::chrono::seconds duration_;
  testing::Random random_;
  exchange::EngineOptions engine_options_;
  Tally tally_;
};

}  // namespace

TEST_CASE("no write path ever gets a wrong verdict") {
  curl_global_init(CURL_GLOBAL_DEFAULT);  // not thread-safe in older libcurls, so before any thread
  const std::uint64_t seed =
      horizon::number_from("EPOCHCUT_SEED", static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000);
  const std::chrono::seconds duration(horizon::number_from("EPOCHCUT_SOAK_SECONDS", horizon::full() ? 300 : 60));
  std::printf("seed %llu, %lld s\n", static_cast<unsigned long long>(seed), static_cast<long long>(duration.count()));
  std::vector<Tally> tallies(paths.size());
  std::deque<PathRun> runs;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      PathRun& run = runs.emplace_back(paths[i], seed + i, duration);
      threads.emplace_back([&, i] { tallies[i] = run.run(); });
    }
  }
  std::printf("%-36s %9s %5s %6s %6s %6s %8s %9s %9s %8s %7s\n", "write path", "events", "cuts", "pass", "fail", "error", "skipped", "asserted", "planted",
              "caught", "naive");
  int naive_alarms = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const Tally& t = tallies[i];
    std::printf("%-36s %9llu %5d %6d %6d %6d %8d %8.1f%% %9d %8d %4d/%d\n", paths[i].name, static_cast<unsigned long long>(t.sequence), t.runs, t.statuses[0],
                t.statuses[3], t.statuses[2], t.statuses[1], t.runs == 0 ? 0.0 : 100.0 * t.asserted / t.runs, t.planted, t.caught, t.naive_alarms,
                t.naive_runs);
    naive_alarms += t.naive_alarms;
  }
  for (const Tally& t : tallies)
    for (const std::string& e : t.errors) std::printf("  %s\n", e.c_str());
  std::fflush(stdout);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const Tally& t = tallies[i];
    INFO(paths[i].name << ", seed " << seed);
    for (const std::string& w : t.wrong) UNSCOPED_INFO(w);
    CHECK(t.wrong.empty());
    CHECK(t.runs >= cuts_min);
    CHECK(t.asserted * 100 >= t.runs * 95);
    CHECK(t.planted >= 1);
    CHECK(t.caught == t.planted);
  }
  CHECK(naive_alarms > 0);  // else the writers did not write while they were compared, and nothing was proved
  for (const PathRun& run : runs)
    if (!run.tidy()) break;
}
