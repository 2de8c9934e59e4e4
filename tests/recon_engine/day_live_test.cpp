// All of it for real: an exchange with marks, quiet windows and a custodian, the program with all eight checks, and nobody is safe: the program is killed,
// either server goes away and comes back, the configuration is read again. At the end a row is changed. A minute; with EPOCHCUT_FULL=1 an hour.
#include <algorithm>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>

#include "custodian/process.hpp"
#include "live.hpp"
#include "recon_engine/catalogue.hpp"
#include "support/catch.hpp"

using namespace recon_engine;
using namespace std::chrono_literals;
using epochcut::Status;

namespace {

Instant now() { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

void servers(const std::string& command) {
  const std::string line = "sh '" + recon_live::Stores::variable("EPOCHCUT_SERVERS_SH") + "' " + command + " '" +
                           recon_live::Stores::variable("EPOCHCUT_SERVERS_DIR") + "' >/dev/null 2>&1";
  INFO(line);
  REQUIRE(std::system(line.c_str()) == 0);
}

struct Trouble {
  std::string what;
  Instant begin, end;
};

long rss_kib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}

}  // namespace

TEST_CASE("a day of a busy exchange, with everything that can go away going away") {
  const bool full = std::getenv("EPOCHCUT_FULL") != nullptr && std::string(std::getenv("EPOCHCUT_FULL")) == "1";
  const auto length = full ? 3'600s : 55s;
  const std::uint64_t seed = std::getenv("EPOCHCUT_SEED") != nullptr ? std::stoull(std::getenv("EPOCHCUT_SEED")) : static_cast<std::uint64_t>(getpid());
  INFO("EPOCHCUT_SEED=" << seed);
  std::mt19937_64 random(seed);
  const auto pause = [&](int low_ms, int high_ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(low_ms + static_cast<int>(random() % static_cast<std::uint64_t>(high_ms - low_ms))));
  };

  recon_live::Stores stores("day");
  process::Folder folder;
  process::Custodian custodian(folder);
  const std::vector<std::string> where{"--postgres", stores.postgres(), "--clickhouse", stores.clickhouse(), "--database", stores.name()};
  const auto exchange = [&](std::vector<std::string> words, const std::string& output) {
    words.insert(words.begin(), EXCHANGE_PROGRAM);
    words.insert(words.end(), where.begin(), where.end());
    return process::Child(words, folder / output);
  };
  REQUIRE(exchange({"init"}, "init.out").end() == 0);
  migrate(stores.postgres());

  setenv("DAY_POSTGRES", stores.reader().c_str(), 1);
  setenv("DAY_LOG", stores.writer().c_str(), 1);
  setenv("DAY_CLICKHOUSE", (stores.clickhouse() + "?database=" + stores.name()).c_str(), 1);
  const std::string config = folder / "watch.toml";
  {
    std::ofstream file(config);
    file << "[stores]\npostgres_env = \"DAY_POSTGRES\"\nlog_env = \"DAY_LOG\"\nclickhouse_env = \"DAY_CLICKHOUSE\"\ncustodian = \"" << custodian.url()
         << "\"\n[program]\nport = 0\ndrain_ms = 20000\nspool = \"" << folder / "spool"
         << "\"\n";
    for (const CheckInfo& info : all_checks) {
      file << "[checks.\"" << info.id << "\"]\npaging = " << (info.live ? "false" : "true") << "\nlate_max_ms = 1500\njitter_ms = 300\nbudget_ms = 20000\n"
           << "horizon_budget_ms = 8000\n";
      if (!info.schedule.starts_with("event:")) file << "schedule = \"*/2 * * * * *\"\nzone = \"UTC\"\n";
    }
  }

  process::Child trading = exchange({"run", "--rate", "400", "--batch", "50", "--seed", std::to_string(seed % 1'000), "--mark-every", "1000", "--deposit-every",
                                     "1500", "--custodian", custodian.url(), "--quiet-every", "10", "--quiet-for", "6", "--reopen"},
                                    "exchange.out");
  std::optional<process::Child> program;
  int lives = 0;
  std::vector<std::string> outputs;
  const auto start = [&] {
    outputs.push_back(folder / ("program-" + std::to_string(lives++)));
    program.emplace(std::vector<std::string>{RECON_ENGINE_PROGRAM, "run", "--config", config}, outputs.back());
  };
  start();
  program->line_with("running with revision");

  std::vector<Trouble> troubles;
  const Instant end = now() + length;
  std::map<std::string, int> counts;
  const auto trouble = [&](const std::string& what, const std::function<void()>& act) {
    const Instant begin = now();
    act();
    troubles.push_back({what, begin, now()});
    ++counts[what];
  };
  // Each at least once, whatever the dice say; the program first of all in the middle of a run.
  std::vector<int> plan{0, 1, 0, 2, 0, 3};
  while (now() < end) {
    pause(2'500, 6'000);
    const int die = plan.empty() ? static_cast<int>(random() % 4) : plan.front();
    if (!plan.empty()) plan.erase(plan.begin());
    if (die == 0)
      trouble("SIGKILL", [&] {
        CHECK(program->end(SIGKILL) == -SIGKILL);
        pause(0, 2'000);
        start();
      });
    if (die == 1)
      trouble("ClickHouse", [&] {
        servers("kill-clickhouse");
        pause(0, 3'000);
        servers("restart-clickhouse");
      });
    if (die == 2) trouble("PostgreSQL", [&] { servers("restart-postgres"); });
    if (die == 3) {
      // A file that is none leaves what runs as it is; the next one that is right is taken.
      const std::string right = process::contents(config);
      std::ofstream(config) << right << "[checks]\npaging = perhaps\n";
      program->signal(SIGHUP);
      CHECK(program->line_with("stays, since the file is refused").find("watch.toml:") != std::string::npos);
      std::ofstream(config) << right << "# read again\n";
      program->signal(SIGHUP);
      ++counts["SIGHUP"];
    }
    REQUIRE(trading.running());
    REQUIRE(program->running());
  }
  std::this_thread::sleep_for(10s);  // the exchange opens its stores again, and all are well

  // A break at the end: whoever never fails has to show that it can.
  const Instant broken_at = now();
  {
    process::Child corrupting = exchange({"corrupt", "--fault", "change_amount"}, "corrupt.out");
    const int code = corrupting.end();
    INFO(process::contents(folder / "corrupt.out"));
    REQUIRE(code == 0);
  }
  CHECK(program->line_with("fail transactions-balance-live@").find("differs") != std::string::npos);
  std::this_thread::sleep_for(3s);
  const pid_t pid = static_cast<pid_t>(std::stol([&] {
    std::ifstream children("/proc/self/task/" + std::to_string(getpid()) + "/children");
    std::string all, last;
    while (children >> last) {
      std::string name;
      std::getline(std::ifstream("/proc/" + last + "/comm"), name);
      if (name == "recon_engine") all = last;
    }
    return all.empty() ? std::string("0") : all;
  }()));
  const long rss = pid > 0 ? rss_kib(pid) : 0;
  CHECK(program->end(SIGTERM) == 0);
  trading.end(SIGTERM);

  PostgresLog log(stores.writer());
  const std::vector<Run> runs = log.recent(1'000'000);
  std::map<std::string, Status> logged;
  for (const Run& run : runs) logged[run.run_id] = run.status;

  // What any of its lives said of a run stands in the log, once, as it was said.
  std::set<std::string> heard;
  std::string everything;
  for (const std::string& output : outputs) {
    std::istringstream lines(process::contents(output));
    everything += lines.str();
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string at, level, status, id;
      words >> at >> level >> status >> id;
      if ((level != "info" && level != "warn") || id.find('@') == std::string::npos) continue;
      while (!id.empty() && id.back() == ':') id.pop_back();
      INFO(line);
      CHECK(heard.insert(id).second);
      REQUIRE(logged.contains(id));
      CHECK(to_string(logged.at(id)) == status);
    }
  }
  CHECK(everything.find("has another run of the id") == std::string::npos);
  CHECK(everything.find("neither log nor spool") == std::string::npos);
  CHECK(everything.find("will never take") == std::string::npos);
  CHECK(std::filesystem::file_size((folder / "spool") + "/runs.spool") == 0);

  std::map<std::string, int> passed, errors;
  std::size_t outside = 0, asserted = 0;
  for (const Run& run : runs) {
    INFO(run.run_id << " " << to_string(run.status) << " " << to_string(run.reason) << ": " << run.message);
    if (run.started < broken_at) CHECK(run.status != Status::fail);
    passed[run.check_id] += run.status == Status::pass;
    // A server that has just come back is not yet what it was; the writer opens it again, and rows that were on their way come late.
    const bool near = std::any_of(troubles.begin(), troubles.end(),
                                  [&](const Trouble& t) { return t.what != "SIGKILL" && run.finished + 1s >= t.begin && run.started <= t.end + 10s; });
    if (run.status == Status::error) CHECK(near);
    errors[run.check_id] += run.status == Status::error;
    const CheckInfo& info = *find_check(run.check_id);
    if (near || !info.live || run.reason == epochcut::Reason::precondition || run.started >= broken_at) continue;
    ++outside;
    asserted += run.status == Status::pass;
  }
  for (const CheckInfo& info : all_checks) {
    INFO(info.id);
    CHECK(passed[std::string(info.id)] > 0);
  }
  INFO(asserted << " of " << outside);
  CHECK(outside > 5);
  CHECK(asserted * 100 >= outside * 95);
  CHECK(rss > 0);
  CHECK(rss < 120 * 1024);

  std::cout << "seed " << seed << ": " << runs.size() << " runs logged, " << heard.size() << " told, " << lives << " lives, " << counts["ClickHouse"]
            << " times without "
            << "ClickHouse, " << counts["PostgreSQL"] << " without PostgreSQL; live runs outside outages: " << asserted << " of " << outside << " asserted; "
            << rss << " KiB resident\n";
  for (const CheckInfo& info : all_checks)
    std::cout << "  " << info.id << ": " << passed[std::string(info.id)] << " passed, " << errors[std::string(info.id)] << " errors\n";
}
