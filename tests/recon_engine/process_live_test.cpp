// The program as a process, on real stores: whom it pages over HTTPS and whom not, what it closes when a check goes off paging, and in which order it ends.
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "certificates.hpp"
#include "custodian/process.hpp"
#include "live.hpp"
#include "recon_engine/catalogue.hpp"
#include "support/catch.hpp"

using namespace recon_engine;
using namespace std::chrono_literals;
using epochcut::Status;
using nlohmann::json;

namespace {

const std::string live = "transactions-balance-live", omnibus = "omnibus-balances-square-live";

Instant now() { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

bool comes(const std::function<bool()>& what, std::chrono::seconds timeout = 90s) {
  for (const auto until = std::chrono::steady_clock::now() + timeout; std::chrono::steady_clock::now() < until; std::this_thread::sleep_for(20ms))
    if (what()) return true;
  return false;
}

/// A pager behind a certificate.
class Pager {
 public:
  explicit Pager(const process::Folder& folder) : server_((folder / "good.crt").c_str(), (folder / "good.key").c_str()) {
    server_.Post("/hook", [this](const httplib::Request& request, httplib::Response&) {
      const std::lock_guard lock(mutex_);
      bodies_.push_back(json::parse(request.body));
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~Pager() {
    server_.stop();
    thread_.join();
  }
  std::string url() const { return "https://localhost:" + std::to_string(port_) + "/hook"; }
  std::vector<json> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

 private:
  httplib::SSLServer server_;
  std::mutex mutex_;
  std::vector<json> bodies_;
  int port_ = 0;
  std::thread thread_;
};

/// Both stores with an exchange that has traded and stands still, a custodian, and the program with one configuration after the other.
struct Site {
  recon_live::Stores stores{"process"};
  process::Folder folder;
  process::Custodian custodian{folder};
  std::string incident;           ///< the table [incident]
  bool live_pages = false;        ///< of transactions-balance-live
  std::set<std::string> running;  ///< checks that fire every second; the others, once a year
  std::optional<process::Child> program;
  std::string url;
  int lives = 0;

  Site() {
    exchange({"init"});
    exchange({"run", "--stop-at", "600", "--batch", "50", "--deposit-every", "200", "--custodian", custodian.url(), "--mark-every", "200"});
    migrate(stores.postgres());
    setenv("PROCESS_POSTGRES", stores.reader().c_str(), 1);
    setenv("PROCESS_LOG", stores.writer().c_str(), 1);
  }
  void exchange(std::vector<std::string> words) {
    words.insert(words.begin(), EXCHANGE_PROGRAM);
    words.insert(words.end(), {"--postgres", stores.postgres(), "--clickhouse", stores.clickhouse(), "--database", stores.name()});
    process::Child child(words, folder / "exchange.out");
    const int code = child.end();
    INFO(process::contents(folder / "exchange.out"));
    REQUIRE(code == 0);
  }
  std::string config() const { return folder / "watch.toml"; }
  void configure() const {
    const std::chrono::year_month_day today(std::chrono::floor<std::chrono::days>(now()));
    const std::string once_a_year = "0 0 0 1 " + std::to_string((static_cast<unsigned>(today.month()) + 5) % 12 + 1) + " *";
    std::ofstream file(config());
    file << "[stores]\npostgres_env = \"PROCESS_POSTGRES\"\nlog_env = \"PROCESS_LOG\"\nclickhouse = \"" << stores.clickhouse() << "\"\nclickhouse_database = \""
         << stores.name() << "\"\ncustodian = \"" << custodian.url() << "\"\n[program]\nport = 0\ndrain_ms = 60000\nspool = \"" << folder / "spool"
         << "\"\n"
         << incident;
    for (const CheckInfo& info : all_checks)
      file << "[checks.\"" << info.id << "\"]\npaging = " << (!info.live || (live_pages && info.id == live) ? "true" : "false")
           << "\nconfirm = 1\nclear = 1\napart_ms = 0\nretries = 0\nzone = \"UTC\"\nassert_within_ms = 3600000\nschedule = \""
           << (running.contains(std::string(info.id)) ? "* * * * * *" : once_a_year) << "\"\n";
  }
  void start() {
    configure();
    program.emplace(std::vector<std::string>{RECON_ENGINE_PROGRAM, "run", "--config", config()}, folder / ("program-" + std::to_string(lives++)));
    const std::string line = program->line_with("recon_engine http://");
    url = line.substr(line.find("http://"));
    url = url.substr(0, url.find(' '));
  }
  void reload() {
    configure();
    const std::size_t said = program->output().size();
    program->signal(SIGHUP);
    program->line_with("running with revision", 60s, said);
  }
  /// The status line's code; 0 if nobody answers.
  int status(const std::string& path) const {
    const std::string answer = recon_live::get(url, path);
    return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3));
  }
  json health() const {
    const std::string answer = recon_live::get(url, "/internal/health");
    const std::size_t body = answer.find("\r\n\r\n");
    return json::parse(body == std::string::npos ? "" : answer.substr(body + 4), nullptr, false);
  }
  std::string ask(const std::string& sql) const { return std::string(exchange::PostgresWriter(stores.postgres()).execute(sql)(0, 0)); }
};

json check_of(const json& health, const std::string& id) {
  if (health.is_object() && health.contains("checks"))
    for (const json& check : health["checks"])
      if (check["id"] == id) return check;
  return {};
}

}  // namespace

TEST_CASE("the process pages over HTTPS whom the configured authority has signed, and closes what a check leaves open that goes off paging") {
  Site site;
  certificates::make(site.folder / "");
  Pager pager(site.folder);
  const auto trusting = [&](const std::string& ca) { site.incident = "[incident]\nurl = \"" + pager.url() + "\"\nca_file = \"" + (site.folder / ca) + "\"\n"; };
  site.running = {live}, site.live_pages = true;
  trusting("stranger-ca.crt");
  site.start();
  REQUIRE(comes([&] { return site.status("/readyz") == 200; }));
  site.exchange({"corrupt", "--fault", "extra_row"});
  REQUIRE(comes([&] {
    const json health = site.health();
    return health.is_object() && health["outbox_pages"] == 1 && !health["outbox_problem"].get<std::string>().empty();
  }));
  const std::string problem = site.health()["outbox_problem"];
  INFO(problem);
  CHECK(problem.find("certificate is not trusted") != std::string::npos);
  CHECK(problem.find("stranger-ca.crt") != std::string::npos);
  CHECK(problem.find('\n') == std::string::npos);
  CHECK(pager.bodies().empty());
  CHECK(site.ask("SELECT count(*) FROM recon_engine.incident_outbox WHERE status = 'firing' AND delivered IS NULL AND attempts > 0") == "1");
  CHECK(site.program->end(SIGTERM) == 0);

  // What waited goes out as soon as the right authority is named.
  trusting("ca.crt");
  site.start();
  REQUIRE(comes([&] { return pager.bodies().size() == 1; }));
  const json firing = pager.bodies()[0];
  CHECK(firing["status"] == "firing");
  CHECK(firing["metadata"]["check"] == live);

  // Off paging while it is open, by a reload.
  site.live_pages = false;
  site.reload();
  REQUIRE(comes([&] { return pager.bodies().size() == 2; }));
  const json closed = pager.bodies()[1];
  CHECK(closed["status"] == "resolved");
  CHECK(closed["deduplication_key"] == firing["deduplication_key"]);
  CHECK(closed["metadata"]["note"].get<std::string>().find("off paging") != std::string::npos);
  CHECK(comes([&] { return site.ask("SELECT count(*) FROM recon_engine.incident_outbox WHERE delivered IS NOT NULL") == "2"; }));
  const auto some_runs = [&] {
    const std::string since = site.ask("SELECT count(*) FROM recon_engine.invariants_log");
    CHECK(comes([&] { return std::stoi(site.ask("SELECT count(*) FROM recon_engine.invariants_log")) >= std::stoi(since) + 2; }));
  };
  some_runs();
  CHECK(site.program->end(SIGKILL) == -SIGKILL);
  site.start();
  some_runs();
  CHECK(pager.bodies().size() == 2);

  // Back again, and still broken.
  site.live_pages = true;
  site.reload();
  REQUIRE(comes([&] { return pager.bodies().size() == 3; }));
  CHECK(pager.bodies()[2]["status"] == "firing");
  CHECK(pager.bodies()[2]["deduplication_key"] == firing["deduplication_key"].get<std::string>() + "/2");
  CHECK(site.program->end(SIGTERM) == 0);
}

TEST_CASE("told to end, the process is first of all not ready, stays alive, and lets the run that goes on finish") {
  Site site;
  site.custodian.stop();
  site.custodian.start({"--slow", "2000"});  // so that a run takes six seconds
  site.running = {live, omnibus};
  site.start();
  REQUIRE(comes([&] { return site.status("/readyz") == 200; }));
  // A run that has just begun.
  std::string before;
  REQUIRE(comes([&] {
    const json since = check_of(site.health(), omnibus)["running_since"];
    const std::string begun = since.is_string() ? since.get<std::string>() : "";
    if (begun.empty()) return false;
    const bool changed = !before.empty() && before != begun;
    before = begun;
    return changed;
  }));
  site.program->signal(SIGTERM);

  struct Seen {
    Instant at;
    int ready, alive;
    json health;
  };
  std::vector<Seen> seen;
  while (site.program->running() && seen.size() < 2'000) {
    Seen one{now(), site.status("/readyz"), site.status("/livez"), site.health()};
    if (one.ready != 0 && one.alive != 0 && one.health.is_object()) seen.push_back(std::move(one));
    std::this_thread::sleep_for(20ms);
  }
  CHECK(site.program->end() == 0);

  const auto draining = std::find_if(seen.begin(), seen.end(), [](const Seen& one) { return one.ready != 200; });
  REQUIRE(draining != seen.end());
  CHECK(draining->ready == 503);
  CHECK(draining->health["ready_problem"] == "it is ending");
  CHECK(draining->health["draining"] == true);
  CHECK(check_of(draining->health, omnibus)["running_since"] == before);  // not ready while it still runs
  for (auto one = seen.begin(); one != seen.end(); ++one) {
    CHECK(one->alive == 200);
    CHECK(one->ready == (one < draining ? 200 : 503));
  }
  // The run ended as a run ends, and none began after.
  exchange::PostgresWriter log(site.stores.postgres());
  CHECK(log.execute("SELECT string_agg(status, ' ') FROM recon_engine.invariants_log WHERE check_id = $1 AND started >= $2::timestamptz", {omnibus, before})(
            0, 0) == "pass");
  CHECK(log.execute("SELECT count(*) FROM recon_engine.invariants_log WHERE reason = 'cancelled'")(0, 0) == "0");
  CHECK(log.execute("SELECT count(*) FROM recon_engine.invariants_log WHERE started > $1::timestamptz", {epochcut::to_text(draining->at)})(0, 0) == "0");
  const std::string output = site.program->output();
  const std::size_t stopping = output.find(" stopping: "), told = output.find("pass " + omnibus, stopping), stopped = output.find(" stopped\n");
  CHECK(stopping != std::string::npos);
  CHECK(told != std::string::npos);
  CHECK(told < stopped);
}

TEST_CASE("a canary that could not be planted stands on record as that, and counts for nothing") {
  const Site site;
  site.configure();
  // Somebody who may read and not write.
  process::Child canary({RECON_ENGINE_PROGRAM, "canary", "--config", site.config(), "--check", live, "--writer", site.stores.clickhouse() + "?readonly=1",
                         "--direct", "yes", "--fault", "extra_row"},
                        site.folder / "canary");
  const int code = canary.end();
  INFO(canary.output());
  CHECK(code == 3);
  CHECK(canary.output().find("permission denied") == std::string::npos);  // the record's own role can write what it has to
  CHECK(site.ask("SELECT count(*) FROM recon_engine.planted_breaks WHERE never_planted <> '' AND caught IS NULL") == "1");
  CHECK(site.ask("SELECT count(*) FROM recon_engine.planted_breaks WHERE never_planted IS NULL") == "0");
}

TEST_CASE("a canary waits for the run of a check that pages, which would see the break") {
  const Site site;
  site.configure();
  // A daily check that pages, a few seconds ago, and nobody has logged its run.
  const Instant fired = std::chrono::floor<std::chrono::seconds>(now()) - 3s;
  const std::chrono::hh_mm_ss at(fired - std::chrono::floor<std::chrono::days>(fired));
  const std::string check = "transactions-balance", daily = std::to_string(at.seconds().count()) + " " + std::to_string(at.minutes().count()) + " " +
                                                            std::to_string(at.hours().count()) + " * * *";
  std::string file = process::contents(site.config());
  const std::size_t schedule = file.find("schedule = \"", file.find("[checks.\"" + check + "\"]")) + 12;
  file.replace(schedule, file.find('"', schedule) - schedule, daily);
  std::ofstream(site.config()) << file;
  const auto canary = [&] {
    process::Child child({RECON_ENGINE_PROGRAM, "canary", "--config", site.config(), "--check", live, "--writer", site.stores.clickhouse(), "--wait", "30",
                          "--direct", "yes", "--fault", "extra_row"},
                         site.folder / "canary");
    const int code = child.end();
    return std::pair(code, child.output());
  };
  const auto refused = canary();
  INFO(refused.second);
  CHECK(refused.first == 64);
  CHECK(refused.second.find(check + " pages and its run of " + epochcut::to_text(fired) + " is not logged") != std::string::npos);
  CHECK(site.ask("SELECT count(*) FROM recon_engine.planted_breaks") == "0");

  Run run;
  run.check_id = check, run.run_id = check + "@" + epochcut::to_text(fired), run.trigger = "cron";
  run.status = Status::skipped, run.reason = epochcut::Reason::precondition;
  run.scheduled = run.started = run.finished = fired;
  PostgresLog(site.stores.writer()).write(run);
  const auto let = canary();
  INFO(let.second);
  CHECK(let.first == 0);
}
