// All of it for real, on servers of its own: an exchange with marks, quiet windows and a custodian, the program with all eight checks, and nobody is safe:
// the program is killed, either server goes away and comes back, the configuration is read again. Then each live check's canary is planted and caught, and a
// row is changed. Five minutes of faults; with EPOCHCUT_FULL=1 an hour. It mostly waits: other tests run beside it.
#include <algorithm>
#include <array>
#include <functional>
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

// A leak of 80 kB a run shows within the five minutes, one of 3 kB within the hour. What grows by right is far below: 96 runs of a check are kept.
constexpr long growth_max_kib = 6 * 1024;
constexpr long resident_max_kib = 120 * 1024;
constexpr Millis recovers_max = 120s, recovers_max_full = 300s;  // until the checks assert again; an hour runs beside whatever else the machine has to do
constexpr auto settles = 10s;        // after that, what was on its way when a server died still comes late

Instant now() { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

struct Trouble {
  std::string what;
  Instant begin, end;  ///< until the checks assert again
};

long rss_kib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}

struct Sample {
  Instant at;
  long kib;
};

/// What a process held, first and last: medians of the first and the last third, after a quarter of its life to warm up.
struct Growth {
  long first_kib = 0, last_kib = 0, most_kib = 0;
  std::size_t samples = 0;
  double minutes = 0;  ///< between the middles of the two thirds
};

Growth growth_of(std::vector<Sample> samples) {
  Growth growth;
  for (const Sample& sample : samples) growth.most_kib = std::max(growth.most_kib, sample.kib);
  samples.erase(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 4));
  const std::size_t third = samples.size() / 3;
  growth.samples = samples.size();
  if (third == 0) return growth;
  const auto median = [](std::vector<Sample> part) {
    std::sort(part.begin(), part.end(), [](const Sample& a, const Sample& b) { return a.kib < b.kib; });
    return part[part.size() / 2].kib;
  };
  growth.first_kib = median({samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(third)});
  growth.last_kib = median({samples.end() - static_cast<std::ptrdiff_t>(third), samples.end()});
  growth.minutes = std::chrono::duration<double, std::ratio<60>>(samples[samples.size() - 1 - third / 2].at - samples[third / 2].at).count();
  return growth;
}

std::uint64_t metric(const std::string& scrape, const std::string& name) {
  const std::size_t at = scrape.find("\n" + name + " ");
  return at == std::string::npos ? 0 : static_cast<std::uint64_t>(std::stod(scrape.substr(at + name.size() + 2)));
}

}  // namespace

TEST_CASE("memory that grows is seen, and memory that only moves is not") {
  std::vector<Sample> steady, leaking, warming;
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    const long noise = static_cast<long>(random() % 2'000);
    steady.push_back({Instant(Millis(i * 1'000)), 20'000 + noise});
    leaking.push_back({Instant(Millis(i * 1'000)), 20'000 + noise + 90 * i});
    warming.push_back({Instant(Millis(i * 1'000)), 20'000 + noise + std::min(i, 45) * 400});
  }
  const auto grown = [](const std::vector<Sample>& samples) {
    const Growth growth = growth_of(samples);
    return growth.last_kib - growth.first_kib;
  };
  CHECK(grown(steady) < growth_max_kib / 2);
  CHECK(grown(warming) < growth_max_kib / 2);
  CHECK(grown(leaking) > growth_max_kib);  // 90 KiB a sample, a hundred samples apart
}

TEST_CASE("a day of a busy exchange, with everything that can go away going away") {
  const bool full = std::getenv("EPOCHCUT_FULL") != nullptr && std::string(std::getenv("EPOCHCUT_FULL")) == "1";
  const Millis length = full ? 3'600s : 300s, every = full ? 5s : 10s;  // between two fires of a check
  const std::string schedule = full ? "*/5 * * * * *" : "*/10 * * * * *";
  const std::uint64_t seed = std::getenv("EPOCHCUT_SEED") != nullptr ? std::stoull(std::getenv("EPOCHCUT_SEED")) : static_cast<std::uint64_t>(getpid());
  INFO("EPOCHCUT_SEED=" << seed);
  std::mt19937_64 random(seed);
  const auto between = [&](int low_ms, int high_ms) { return Millis(low_ms + static_cast<int>(random() % static_cast<std::uint64_t>(high_ms - low_ms))); };

  const recon_live::OwnServers servers;
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
  setenv("DAY_CLICKHOUSE", stores.clickhouse().c_str(), 1);
  const std::string config = folder / "watch.toml";
  const auto configure = [&](const std::string& windowed_schedule) {
    std::ofstream file(config);
    file << "[stores]\npostgres_env = \"DAY_POSTGRES\"\nlog_env = \"DAY_LOG\"\nclickhouse_env = \"DAY_CLICKHOUSE\"\nclickhouse_database = \"" << stores.name()
         << "\"\ncustodian = \"" << custodian.url() << "\"\n[program]\nport = 0\ndrain_ms = 20000\nspool = \"" << folder / "spool"
         << "\"\n";
    for (const CheckInfo& info : all_checks) {
      file << "[checks.\"" << info.id << "\"]\npaging = " << (info.live ? "false" : "true") << "\nlate_max_ms = 4000\njitter_ms = 1000\nbudget_ms = 120000\n"
           << "horizon_budget_ms = 20000\n";
      if (!info.schedule.starts_with("event:")) file << "schedule = \"" << (info.live ? schedule : windowed_schedule) << "\"\nzone = \"UTC\"\n";
    }
  };
  configure("*/5 * * * * *");

  const auto trade = [&](std::vector<std::string> words, const std::string& output) {
    words.insert(words.begin(),
                 {"run", "--seed", std::to_string(seed % 1'000), "--mark-every", "1500", "--deposit-every", "600", "--custodian", custodian.url()});
    return exchange(std::move(words), output);
  };
  // Until nearly every account has traded everything: from then on what a check reads does not grow, and memory that grows is the program's own doing.
  REQUIRE(trade({"--batch", "500", "--stop-at", "25000"}, "before.out").end() == 0);
  process::Child trading = trade({"--rate", "100", "--batch", "25", "--quiet-every", "40", "--quiet-for", "20", "--reopen"}, "exchange.out");
  // What is freed goes back to the system at once, so that what is resident is what is held; else one large reading more on another thread looks like a leak.
  setenv("MALLOC_ARENA_MAX", "1", 1);
  setenv("MALLOC_MMAP_THRESHOLD_", "65536", 1);
  setenv("MALLOC_TRIM_THRESHOLD_", "65536", 1);
  std::optional<process::Child> program;
  std::string url;
  int lives = 0;
  std::vector<std::string> outputs;
  const auto start = [&] {
    outputs.push_back(folder / ("program-" + std::to_string(lives++)));
    program.emplace(std::vector<std::string>{RECON_ENGINE_PROGRAM, "run", "--config", config}, outputs.back());
    const std::string line = program->line_with("recon_engine http://", 120s);
    url = line.substr(line.find("http://"));
    url = url.substr(0, url.find(' '));
  };
  start();

  // A life that nobody ends, in the middle of the day: the others are too short to show a leak.
  std::vector<Sample> samples;
  std::optional<std::pair<Instant, Instant>> calm;
  std::string scrape;
  const auto wait = [&](Millis duration) {
    for (const Instant until = now() + duration; now() < until; std::this_thread::sleep_for(250ms)) {
      if (!calm || calm->second != Instant{}) continue;
      if (samples.empty() || now() - samples.back().at >= 1s) samples.push_back({now(), rss_kib(program->pid())});
      // As Prometheus and somebody's browser would.
      if (samples.size() % 5 == 0) scrape = recon_live::get(url, "/metrics"), recon_live::get(url, "/"), recon_live::get(url, "/internal/health");
    }
  };
  const auto asserts_again = [&](Instant since, const std::string& ids) {
    const std::string sql = "SELECT count(DISTINCT check_id) FROM recon_engine.invariants_log WHERE status = 'pass' AND check_id IN (" + ids +
                            ") AND trigger IN ('cron', 'event') AND started > to_timestamp($1::double precision / 1000)";
    const auto wanted = std::to_string(std::count(ids.begin(), ids.end(), ',') + 1);
    for (const Instant until = now() + (full ? recovers_max_full : recovers_max); now() < until; wait(500ms)) try {
        if (exchange::PostgresWriter(stores.postgres()).execute(sql, {std::to_string(since.time_since_epoch().count())})(0, 0) == wanted) return true;
      } catch (const epochcut::Failure&) {  // just restarted
      }
    return false;
  };

  std::vector<Trouble> troubles;
  std::map<std::string, int> counts;
  const auto trouble = [&](const std::string& what, const std::function<void()>& act) {
    const Instant begin = now();
    act();
    ++counts[what];
    if (what != "SIGKILL") {
      INFO(what << " at " << epochcut::to_text(begin));
      CHECK(asserts_again(now(), "'transactions-balance-live', 'omnibus-balances-square-live'"));
    }
    troubles.push_back({what, begin, now()});
  };
  const std::array<std::function<void()>, 4> acts{
      [&] {
        trouble("SIGKILL", [&] {
          CHECK(program->end(SIGKILL) == -SIGKILL);
          wait(between(0, 2'000));
          start();
        });
      },
      [&] {
        trouble("ClickHouse", [&] {
          servers.command("kill-clickhouse");
          wait(between(0, 6'000));
          servers.command("restart-clickhouse");
        });
      },
      [&] { trouble("PostgreSQL", [&] { servers.command("restart-postgres"); }); },
      [&] {
        // A file that is none leaves what runs as it is; the next one that is right is taken.
        const std::string right = process::contents(config);
        const std::size_t said = program->output().size();
        std::ofstream(config) << right << "[checks]\npaging = perhaps\n";
        program->signal(SIGHUP);
        CHECK(program->line_with("stays, since the file is refused", 60s, said).find("watch.toml:") != std::string::npos);
        std::ofstream(config) << right << "# read again\n";
        program->signal(SIGHUP);
        program->line_with("running with revision", 60s, said);
        ++counts["SIGHUP"];
      }};
  // Until then each of the plan, whatever the dice say, and then what they say.
  const auto troubled = [&](Instant until, std::vector<std::size_t> plan, const std::vector<std::size_t>& dice) {
    while (now() < until || !plan.empty()) {
      wait(full ? between(10'000, 25'000) : between(8'000, 16'000));
      const std::size_t which = plan.empty() ? dice[random() % dice.size()] : plan.front();
      if (!plan.empty()) plan.erase(plan.begin());
      acts[which]();
      REQUIRE(trading.running());
      REQUIRE(program->running());
    }
  };
  const Instant begin = now();
  troubled(begin + length / 5, {0, 1}, {0, 0, 1, 2});
  acts[0]();
  calm.emplace(now(), Instant{});
  troubled(begin + length * 17 / 20, {2, 3, 1}, {1, 2, 3});
  wait(2s);
  scrape = recon_live::get(url, "/metrics");
  calm->second = now();
  troubled(begin + length, {0}, {0, 0, 1, 2});
  REQUIRE(asserts_again(now(), "'transactions-balance-live', 'position-realized-pnls-balance-live', 'pnl-is-zero-sum-live', 'omnibus-balances-square-live'"));

  // Who never fails has to show that it can. First each check's own break, which goes away again; nothing pages meanwhile, or a canary refuses.
  const Instant broken_at = now();
  const std::chrono::year_month_day today(std::chrono::floor<std::chrono::days>(now()));
  configure("0 0 0 1 " + std::to_string((static_cast<unsigned>(today.month()) + 5) % 12 + 1) + " *");
  std::size_t said = program->output().size();
  program->signal(SIGHUP);
  program->line_with("running with revision", 60s, said);
  // A run that began before then may still be reading, and would find what is planted.
  const auto windowed_run = [&] {
    const std::string page = recon_live::get(url, "/metrics");
    return std::any_of(std::begin(all_checks), std::end(all_checks), [&](const CheckInfo& info) {
      return !info.live && metric(page, "epochcut_check_running{check=\"" + std::string(info.id) + "\"}") != 0;
    });
  };
  for (const Instant until = now() + recovers_max; windowed_run() && now() < until;) wait(250ms);
  REQUIRE_FALSE(windowed_run());
  // A change of a row takes this ClickHouse ten seconds to begin, so the one of the marks, a table of its own, is planted beside the others.
  const auto canary = [&](const std::string& check) {
    return process::Child({RECON_ENGINE_PROGRAM, "canary", "--config", config, "--check", check, "--writer", stores.clickhouse(), "--wait", "180", "--fault",
                           full ? "change_amount" : "extra_row"},
                          folder / ("canary-" + check));
  };
  const auto caught = [&](process::Child planted) {
    const int code = planted.end();
    INFO(planted.output());
    CHECK(code == 0);
  };
  process::Child marks = canary("pnl-is-zero-sum-live");
  for (const CheckInfo& info : all_checks)
    if (info.live && info.invariant != "pnl-is-zero-sum") caught(canary(std::string(info.id)));
  caught(std::move(marks));
  exchange::PostgresWriter record(stores.postgres());
  CHECK(record.execute(
            "SELECT count(DISTINCT check_id) FROM recon_engine.planted_breaks WHERE live AND caught >= planted AND removed >= caught AND fires <= 2 AND"
            " never_planted IS NULL")(0, 0) == "4");
  CHECK(asserts_again(now(), "'transactions-balance-live', 'position-realized-pnls-balance-live', 'pnl-is-zero-sum-live', 'omnibus-balances-square-live'"));

  said = program->output().size();
  {
    process::Child corrupting = exchange({"corrupt", "--fault", "extra_row"}, "corrupt.out");
    const int code = corrupting.end();
    INFO(process::contents(folder / "corrupt.out"));
    REQUIRE(code == 0);
  }
  CHECK(program->line_with("fail transactions-balance-live@", 60s, said).find("extra_rows") != std::string::npos);
  const long rss = rss_kib(program->pid());
  CHECK(program->end(SIGTERM) == 0);
  trading.end(SIGTERM);

  PostgresLog log(stores.writer());
  const std::vector<Run> runs = log.recent(1'000'000);
  std::map<std::string, Status> logged;
  for (const Run& run : runs) logged[run.run_id] = run.status;
  CHECK(logged.size() == runs.size());

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

  // Every fire of the long life is a run in the log, or was counted as missed. The last minute's may still have been under way.
  std::uint64_t fires = 0, unanswered = 0;
  for (const CheckInfo& info : all_checks) {
    if (info.schedule.starts_with("event:")) continue;
    std::uint64_t absent = 0;
    for (Instant fire = std::chrono::ceil<std::chrono::seconds>(calm->first) + every; fire < calm->second - 60s; fire += 1s) {
      if (fire.time_since_epoch() % every != 0s) continue;
      ++fires;
      absent += !logged.contains(std::string(info.id) + "@" + epochcut::to_text(fire));
    }
    INFO(info.id);
    CHECK(absent <= metric(scrape, "epochcut_schedule_missed_total{check=\"" + std::string(info.id) + "\"}"));
    unanswered += absent;
  }
  CHECK(fires > 0);
  CHECK(unanswered < fires);

  std::map<std::string, std::map<Status, int>> by_status;
  std::map<std::string, int> passed;
  std::size_t outside = 0, asserted = 0;
  for (const Run& run : runs) {
    INFO(run.run_id << " " << to_string(run.status) << " " << to_string(run.reason) << ": " << run.message);
    if (run.started < broken_at) {
      CHECK(run.status != Status::fail);
      ++by_status[run.check_id][run.status];
      passed[run.check_id] += run.status == Status::pass;
    }
    // A server that has just come back is not yet what it was; the writer opens it again, and rows that were on their way come late.
    const bool near = std::any_of(troubles.begin(), troubles.end(),
                                  [&](const Trouble& t) { return t.what != "SIGKILL" && run.finished + 1s >= t.begin && run.started <= t.end + settles; });
    if (run.status == Status::error) CHECK(near);
    const CheckInfo& info = *find_check(run.check_id);
    if (near || !info.live || run.reason == epochcut::Reason::precondition || run.started >= broken_at) continue;
    ++outside;
    asserted += run.status == Status::pass;
  }
  for (const CheckInfo& info : all_checks) {
    INFO(info.id);
    CHECK(passed[std::string(info.id)] > 0);
  }
  CAPTURE(asserted, outside);
  CHECK(outside > 20);
  CHECK(asserted * 100 >= outside * 95);
  for (const char* what : {"SIGKILL", "ClickHouse", "PostgreSQL", "SIGHUP"}) CHECK(counts[what] > 0);

  const Growth growth = growth_of(samples);
  CAPTURE(growth.first_kib, growth.last_kib, growth.most_kib, growth.samples);
  CHECK(growth.samples > 60);
  CHECK(growth.first_kib > 0);
  CHECK(growth.last_kib - growth.first_kib < growth_max_kib);
  CHECK(growth.most_kib < resident_max_kib);
  CHECK(rss > 0);
  CHECK(rss < resident_max_kib);

  std::cout << "seed " << seed << ": " << runs.size() << " runs logged, " << heard.size() << " told, " << lives << " lives, " << counts["ClickHouse"]
            << " times without ClickHouse, " << counts["PostgreSQL"] << " without PostgreSQL, " << counts["SIGHUP"]
            << " reloads; live runs outside outages: " << asserted << " of " << outside << " asserted; of " << fires << " fires of the long life " << unanswered
            << " missed and counted\nmemory: " << growth.first_kib << " KiB, " << growth.minutes << " minutes later " << growth.last_kib
            << " KiB (medians of thirds of " << growth.samples << " samples), " << growth.most_kib << " KiB at most, " << rss << " KiB at the end\n";
  for (const CheckInfo& info : all_checks) {
    std::cout << "  " << info.id << ":";
    for (const Status status : epochcut::all_statuses) std::cout << " " << by_status[std::string(info.id)][status] << " " << to_string(status);
    std::cout << "\n";
  }
  std::cout.flush();
}
