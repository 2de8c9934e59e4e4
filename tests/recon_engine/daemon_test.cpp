#include "recon_engine/daemon.hpp"

#include <chrono>
#include <filesystem>
#include <set>
#include <unistd.h>

#include <epochcut/core/failure.hpp>

#include "support/catch.hpp"

using namespace recon_engine;
using epochcut::Cancel;
using epochcut::CheckOptions;
using epochcut::Failure;
using epochcut::Outcome;
using epochcut::Reason;
using epochcut::Status;

namespace {

using Steady = std::chrono::steady_clock;

/// Waits for what must come; generous, since the machine may be busy.
bool comes(const std::function<bool()>& what) {
  for (const auto end = Steady::now() + std::chrono::seconds(20); Steady::now() < end; std::this_thread::sleep_for(Millis(5)))
    if (what()) return true;
  return false;
}

Outcome outcome_of(Status status, Reason reason = Reason::none) {
  Outcome o;
  o.status = status, o.reason = reason, o.message = "as told";
  return o;
}

struct MemoryLog final : LogStore {
  std::mutex mutex;
  std::vector<Run> rows;
  Written write(const Run& run) override {
    const std::lock_guard lock(mutex);
    for (const Run& row : rows)
      if (row.run_id == run.run_id) return to_json(row) == to_json(run) ? Written::already : Written::conflicting;
    rows.push_back(run);
    return Written::inserted;
  }
  std::vector<Run> recent(std::size_t) override { return rows; }
  std::vector<Run> of(const std::string& check) {
    const std::lock_guard lock(mutex);
    std::vector<Run> found;
    for (const Run& row : rows)
      if (row.check_id == check) found.push_back(row);
    return found;
  }
  std::size_t size() {
    const std::lock_guard lock(mutex);
    return rows.size();
  }
};

struct Heard final : Sink {
  std::mutex mutex;
  std::vector<std::string> ids;
  std::set<std::thread::id> threads;
  void add(const Run& run) override {
    const std::lock_guard lock(mutex);
    ids.push_back(run.run_id);
    threads.insert(std::this_thread::get_id());
  }
  std::size_t size() {
    const std::lock_guard lock(mutex);
    return ids.size();
  }
};

/// Every check off but those that a test switches on, each of them every second.
Config quiet_config() {
  Config c;
  c.drain = Millis(300);
  for (const CheckInfo& info : all_checks) c.checks[std::string(info.id)] = {.enabled = false, .schedule = "* * * * * *", .zone = "UTC", .retries = 0};
  c.checks["pnl-is-zero-sum-live"].schedule = "event:mark_cycle";
  return c;
}

struct Setup {
  std::string folder = std::filesystem::temp_directory_path() / ("recon_engine_daemon_" + std::to_string(getpid()));
  Setup() { std::filesystem::remove_all(folder), spool.emplace(folder); }
  ~Setup() { spool.reset(), std::filesystem::remove_all(folder); }
  std::optional<Spool> spool;
  MemoryLog log;
  Heard heard;
  std::function<Outcome(const CheckInfo&, const CheckOptions&)> answer = [](const CheckInfo&, const CheckOptions&) { return outcome_of(Status::pass); };

  DaemonParts parts() {
    DaemonParts p;
    p.asker = [this](const CheckInfo& info, const Config&) -> Asker { return [this, &info](const CheckOptions& o) { return answer(info, o); }; };
    p.log = &log, p.spool = &*spool, p.sinks = {&heard};
    return p;
  }
};

}  // namespace

TEST_CASE("a check runs by its schedule, is logged and told, in order and by one thread") {
  Setup setup;
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = config.checks["transactions-balance-live"].enabled = true;
  {
    Daemon daemon(config, setup.parts());
    CHECK(comes([&] { return setup.log.of("transactions-balance").size() >= 2 && setup.log.of("transactions-balance-live").size() >= 2; }));
  }
  CHECK(setup.heard.threads.size() == 1);
  REQUIRE(setup.heard.ids.size() == setup.log.size());
  for (std::size_t i = 0; i < setup.heard.ids.size(); ++i) CHECK(setup.heard.ids[i] == setup.log.rows[i].run_id);
  for (const Run& run : setup.log.rows) {
    CHECK(run.status == Status::pass);
    CHECK(run.trigger == "cron");
    CHECK(run.run_id == run.check_id + "@" + epochcut::to_text(run.scheduled));
    CHECK(run.started >= run.scheduled);
    CHECK(run.finished >= run.started);
    CHECK(run.paging);
  }
  CHECK(setup.log.of("omnibus-balances-square").empty());
}

TEST_CASE("whatever a check throws is its error, and it goes on") {
  Setup setup;
  std::atomic<int> asked = 0;
  setup.answer = [&](const CheckInfo&, const CheckOptions&) -> Outcome {
    if (++asked == 1) throw Failure(Reason::authentication, "wrong password");
    if (asked == 2) throw std::bad_alloc();
    return outcome_of(Status::pass);
  };
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  Daemon daemon(config, setup.parts());
  REQUIRE(comes([&] { return setup.log.size() >= 3; }));
  daemon.stop();
  CHECK(setup.log.rows[0].status == Status::error);
  CHECK(setup.log.rows[0].reason == Reason::authentication);
  CHECK(setup.log.rows[1].status == Status::error);
  CHECK(setup.log.rows[1].reason == Reason::unknown);
  CHECK(setup.log.rows[2].status == Status::pass);
}

TEST_CASE("a check whose stores can't be made is an error that is logged, and is asked again") {
  Setup setup;
  DaemonParts parts = setup.parts();
  std::atomic<int> made = 0;
  parts.asker = [&](const CheckInfo&, const Config&) -> Asker {
    if (++made == 1) throw Failure(Reason::configuration, "no such URL");
    return [](const CheckOptions&) { return outcome_of(Status::pass); };
  };
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  Daemon daemon(config, std::move(parts));
  REQUIRE(comes([&] { return setup.log.size() >= 3; }));
  daemon.stop();
  CHECK(setup.log.rows[0].reason == Reason::configuration);
  CHECK(setup.log.rows[1].status == Status::pass);
  CHECK(made == 2);
}

TEST_CASE("a stop lets a run finish within the drain, and cancels it after that") {
  Setup setup;
  std::atomic<bool> begun = false;
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  SECTION("it finishes") {
    config.drain = Millis(20'000);
    setup.answer = [&](const CheckInfo&, const CheckOptions& o) {
      begun = true;
      o.control.sleep(Millis(300));
      return outcome_of(Status::pass);
    };
    Daemon daemon(config, setup.parts());
    REQUIRE(comes([&] { return begun.load(); }));
    daemon.stop();
    REQUIRE(setup.log.size() >= 1);
    for (const Run& run : setup.log.rows) CHECK(run.status == Status::pass);
  }
  SECTION("it is cancelled, which is an error and is logged") {
    setup.answer = [&](const CheckInfo&, const CheckOptions& o) {
      begun = true;
      o.control.sleep(Millis(3'600'000));
      return outcome_of(Status::pass);
    };
    config.checks["transactions-balance"].budget = Millis(3'600'000);
    Daemon daemon(config, setup.parts());
    REQUIRE(comes([&] { return begun.load(); }));
    daemon.stop();
    REQUIRE(setup.log.size() == 1);
    CHECK(setup.log.rows[0].status == Status::error);
    CHECK(setup.log.rows[0].reason == Reason::cancelled);
    CHECK(setup.heard.ids.size() == 1);
  }
}

TEST_CASE("a run that uses up its budget is error: timeout") {
  Setup setup;
  setup.answer = [](const CheckInfo&, const CheckOptions& o) {
    o.control.sleep(Millis(3'600'000));
    return outcome_of(Status::pass);
  };
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  config.checks["transactions-balance"].budget = Millis(200);
  Daemon daemon(config, setup.parts());
  REQUIRE(comes([&] { return setup.log.size() >= 1; }));
  daemon.stop();
  CHECK(setup.log.rows[0].reason == Reason::timeout);
}

TEST_CASE("a new configuration counts from the next run on") {
  Setup setup;
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  Daemon daemon(config, setup.parts());
  REQUIRE(comes([&] { return setup.log.size() >= 1; }));
  config.checks["transactions-balance"].paging = false;
  config.checks["omnibus-balances-square-live"].enabled = true;
  daemon.reload(config);
  REQUIRE(comes([&] {
    const auto runs = setup.log.of("transactions-balance");
    return !runs.back().paging && !setup.log.of("omnibus-balances-square-live").empty();
  }));
  config.checks["transactions-balance"].enabled = false;
  daemon.reload(config);
  std::this_thread::sleep_for(Millis(200));
  const std::size_t before = setup.log.of("transactions-balance").size(), others = setup.log.size();
  REQUIRE(comes([&] { return setup.log.size() >= others + 3; }));
  CHECK(setup.log.of("transactions-balance").size() <= before + 1);  // one may have been on its way
}

TEST_CASE("mark cycles run their check once each, the newest of several, and one that failed to listen catches up") {
  Setup setup;
  std::atomic<std::uint64_t> newest = 0;
  std::atomic<int> failures = 2;
  DaemonParts parts = setup.parts();
  parts.listener = [&](const Config&) -> Listener {
    return [&](std::uint64_t last, const Cancel&) -> std::optional<std::uint64_t> {
      if (failures > 0) {
        --failures;
        throw Failure(Reason::connection, "down");
      }
      std::this_thread::sleep_for(Millis(5));
      if (newest <= last) return std::nullopt;
      return newest.load();
    };
  };
  std::atomic<bool> hold = true;
  setup.answer = [&](const CheckInfo&, const CheckOptions& o) {
    while (hold) o.control.sleep(Millis(5));
    return outcome_of(Status::pass);
  };
  Config config = quiet_config();
  config.checks["pnl-is-zero-sum-live"].enabled = true;
  newest = 7;
  Daemon daemon(config, std::move(parts));
  std::this_thread::sleep_for(Millis(2'500));  // two failures, a second apart, and a run that waits
  for (std::uint64_t cycle = 8; cycle <= 12; ++cycle) {
    newest = cycle;
    std::this_thread::sleep_for(Millis(30));
  }
  hold = false;
  REQUIRE(comes([&] { return setup.log.size() >= 2; }));
  std::this_thread::sleep_for(Millis(100));
  daemon.stop();
  REQUIRE(setup.log.size() == 2);
  CHECK(setup.log.rows[0].run_id == "pnl-is-zero-sum-live@7");
  CHECK(setup.log.rows[1].run_id == "pnl-is-zero-sum-live@12");
  CHECK(setup.log.rows[1].trigger == "event");
}

TEST_CASE("what has run is not run again by the next program, and an epoch below what it saw is an error") {
  const CheckInfo& info = *find_check("transactions-balance-live");
  Run last;
  last.check_id = info.id, last.trigger = "cron";
  last.scheduled = Instant(std::chrono::hours(24)), last.stream = "trade_engine", last.epoch = epochcut::Epoch{500, 1};
  Instant now = last.scheduled + Millis(400);
  std::vector<epochcut::SeenEpoch> seen;
  Watch watch(
      info, {.schedule = "*/5 * * * * *", .zone = "UTC"},
      [&](const CheckOptions& o) {
        seen = o.last_seen;
        return outcome_of(Status::pass);
      },
      {.wall = [&] { return now; }}, last);
  CHECK_FALSE(watch.run_due(nullptr));
  now += Millis(5'000);
  const auto run = watch.run_due(nullptr);
  REQUIRE(run);
  CHECK(run->scheduled == last.scheduled + Millis(5'000));
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].stream == "trade_engine");
  CHECK(seen[0].epoch.sequence == 500);
}

TEST_CASE("an error that may heal is asked again, and a run that was healed says so") {
  const CheckInfo& info = *find_check("transactions-balance-live");
  int asked = 0;
  Outcome error = outcome_of(Status::error, Reason::horizon_not_proven);
  error.retryable = true;
  Watch watch(
      info, {.schedule = "*/5 * * * * *", .zone = "UTC", .retries = 2}, [&](const CheckOptions&) { return ++asked < 3 ? error : outcome_of(Status::pass); }, {},
      std::nullopt);
  const Run run = watch.run_now("manual", nullptr);
  CHECK(asked == 3);
  CHECK(run.status == Status::pass);
  CHECK(run.message.find("horizon_not_proven") != std::string::npos);
  CHECK(run.run_id.starts_with("transactions-balance-live@manual:"));
}

TEST_CASE("while the spool is full no check runs, since its outcome could not be kept") {
  Setup setup;
  setup.spool.reset();
  setup.spool.emplace(setup.folder, Spool::line_bytes_max + 1);
  struct Down final : LogStore {
    Written write(const Run&) override { throw Failure(Reason::connection, "down").retry(); }
    std::vector<Run> recent(std::size_t) override { return {}; }
  } down;
  DaemonParts parts = setup.parts();
  parts.log = &down;
  Config config = quiet_config();
  config.checks["transactions-balance"].enabled = true;
  Daemon daemon(config, std::move(parts));
  REQUIRE(comes([&] { return setup.heard.size() >= 1; }));
  std::this_thread::sleep_for(Millis(3'500));
  daemon.stop();
  CHECK(setup.heard.ids.size() <= 2);
  CHECK(setup.spool->size() == setup.heard.ids.size());
}
