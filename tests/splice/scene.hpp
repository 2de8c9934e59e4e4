// What does a test of the splice stand on?
// Servers of its own, an exchange with its two engines as processes under a supervisor, and the audit: production against the stream, and ClickHouse against
// production. The supervisor restarts whoever dies, and whoever is deposed as a shadow; it has a thread, on which nothing is asserted.
#pragma once

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <epochcut/epochcut.hpp>
#include <epochcut/operate/splice.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/source/postgres_authority.hpp>

#include "custodian/process.hpp"
#include "exchange/audit.hpp"
#include "exchange/engine.hpp"
#include "support/catch.hpp"

namespace handover {

using namespace epochcut;
using namespace std::chrono_literals;
using exchange::PostgresWriter;

inline bool full() {
  const char* const wanted = std::getenv("EPOCHCUT_FULL");
  return wanted != nullptr && std::string_view(wanted) == "1";
}

/// Of this executable alone, inside the folder of the suite's, so that whoever stops those stops these.
class Servers {
 public:
  Servers() : dir_(std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/splice-" + std::to_string(::getpid())) {
    if (run("start") != 0) throw std::runtime_error("the servers do not start");
    std::ifstream file(dir_ + "/env");
    for (std::string line; std::getline(file, line);) {
      const std::size_t begin = line.find("EPOCHCUT_"), is = line.find("='");
      if (begin != std::string::npos && is != std::string::npos) settings_[line.substr(begin + 9, is - begin - 9)] = line.substr(is + 2, line.size() - is - 3);
    }
  }
  ~Servers() {
    run("stop");
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  const std::string& operator[](const std::string& name) const { return settings_.at(name); }
  const std::string& dir() const { return dir_; }
  int run(const std::string& command) const {
    return std::system(("sh '" + std::string(std::getenv("EPOCHCUT_SERVERS_SH")) + "' " + command + " '" + dir_ + "' >/dev/null 2>&1 </dev/null").c_str());
  }

 private:
  std::string dir_;
  std::map<std::string, std::string> settings_;
};

inline const Servers& servers() {
  static const Servers all;
  return all;
}

template <class Condition>
void wait_for(Condition condition, const std::string& what, std::chrono::seconds timeout = 90s) {
  for (const auto until = std::chrono::steady_clock::now() + timeout; !condition(); std::this_thread::sleep_for(5ms))
    if (std::chrono::steady_clock::now() > until) throw std::runtime_error("it never came true: " + what);
}

class Scene {
 public:
  static constexpr std::uint64_t batch = 40, rate = 400;  ///< events; events a second

  explicit Scene(Millis seam_wait = Millis{3'000}) : ledger(servers()["POSTGRES"]), analytics(servers()["CLICKHOUSE"]), seam_wait_(seam_wait) {
    ledger.execute("SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA IF EXISTS incumbent, candidate CASCADE");
    for (const char* database : {"exchange", "exchange_incumbent", "exchange_candidate"}) analytics.execute(std::string("DROP DATABASE IF EXISTS ") + database);
    exchange::create_tables(ledger, {});
    exchange::create_tables(analytics, {});
    for (const char* engine : {"incumbent", "candidate"}) {
      exchange::create_tables(ledger, exchange::layout_of(engine), engine);
      exchange::create_tables(analytics, exchange::layout_of(engine));
    }
    supervisor_ = std::jthread([this](std::stop_token stop) {
      for (; !stop.stop_requested(); std::this_thread::sleep_for(5ms)) supervise();
    });
  }
  ~Scene() {
    supervisor_.request_stop();
    supervisor_.join();
  }

  // --- engines -------------------------------------------------------------------------------------------------------

  /// `once`: options of the first start alone, e.g. where to die.
  void start(const std::string& engine, const std::string& command, const std::vector<std::string>& once = {}) {
    const std::scoped_lock lock(mutex_);
    Process& p = processes_[engine];
    p.command = command, p.wanted = true;
    launch(engine, p, once);
  }
  void signal(const std::string& engine, int number) {
    const std::scoped_lock lock(mutex_);
    if (processes_[engine].child) processes_[engine].child->signal(number);
  }
  /// Ends it; it stays away until it is started again.
  void stop(const std::string& engine, int number = SIGTERM) {
    const std::scoped_lock lock(mutex_);
    Process& p = processes_[engine];
    p.wanted = false;
    if (p.child) p.codes.push_back(p.child->end(number)), p.child.reset();
  }
  void restart(const std::string& engine, const std::string& command, const std::vector<std::string>& once) {
    stop(engine);
    start(engine, command, once);
  }
  void stop_all() {
    for (const char* engine : {"incumbent", "candidate"}) stop(engine);
  }
  /// How its processes have ended so far: exit codes, or minus the signal.
  std::vector<int> codes(const std::string& engine) {
    const std::scoped_lock lock(mutex_);
    return processes_[engine].codes;
  }
  bool died(const std::string& engine, int code) {
    const std::vector<int> all = codes(engine);
    return std::find(all.begin(), all.end(), code) != all.end();
  }
  std::string output(const std::string& engine) const { return process::contents(folder / (engine + ".out")); }
  std::vector<std::string> command(const std::string& engine, const std::string& name) const {
    return {EXCHANGE_PROGRAM,
            name,
            "--engine",
            engine,
            "--rate",
            std::to_string(rate),
            "--batch",
            std::to_string(batch),
            "--seam-wait-ms",
            std::to_string(seam_wait_.count()),
            "--build-id",
            "test",
            "--commit-log",
            folder / "commits",
            "--postgres",
            servers()["POSTGRES_PRODUCTION"],
            "--clickhouse",
            servers()["CLICKHOUSE_PRODUCTION"],
            "--shadow-postgres",
            servers()["POSTGRES_SHADOW"],
            "--shadow-clickhouse",
            servers()["CLICKHOUSE_SHADOW"]};
  }

  // --- the authority -------------------------------------------------------------------------------------------------

  static PostgresAuthority authority() { return PostgresAuthority{servers()["POSTGRES_CUTOVER"], "trade_engine"}; }
  static AuthorityRow row() {
    PostgresAuthority store = authority();
    return store.read();
  }
  std::uint64_t shadow_of(const std::string& engine) {
    return std::stoull(std::string(PostgresWriter(servers()["POSTGRES"]).execute("SELECT sequence FROM " + engine + ".resume_tokens")(0, 0)));
  }
  static std::string uuid() {
    static int count = 0;
    char text[40];
    std::snprintf(text, sizeof text, "00000000-0000-4000-8000-%06x%06x", static_cast<unsigned>(::getpid()) & 0xffffff, static_cast<unsigned>(++count));
    return text;
  }
  void wait_staged(const std::string& candidate) {
    wait_for([&] { return shadow_of(candidate) + 2 * batch >= row().committed_seq; }, candidate + " is staged");
  }
  ArmRequest request(const std::string& candidate, std::uint64_t ahead, const std::string& id) {
    PostgresAuthority store = authority();
    const AuthorityRow now = store.read();
    store.record_verdict(uuid(), candidate, "test", now.committed_seq, "go", "a test says so", "{}", "test");
    return {.splice_id = id, .successor = candidate, .build_id = "test", .generation = now.generation, .stop_at = now.committed_seq + ahead};
  }
  SpliceReport splice_once(const std::string& candidate, std::uint64_t ahead = 3 * batch + 7) {
    PostgresAuthority store = authority();
    const std::string id = uuid();
    Splice<PostgresAuthority> one(store, id, {.deadline = Millis{20'000}, .confirm_wait = Millis{20'000}});
    return one.run(request(candidate, ahead, id), [](SpliceState) {});
  }
  /// A loaded machine may let the owner wait in vain; then it is tried again, as a person would.
  SpliceReport splice_to(const std::string& candidate) {
    SpliceReport report;
    for (int attempt = 0; attempt < 8; ++attempt) {
      wait_staged(candidate);
      report = splice_once(candidate);
      if (report.state == SpliceState::confirmed) return report;
      WARN("not confirmed: " << report.why);
    }
    throw std::runtime_error("no splice to " + candidate + " was confirmed: " + report.why);
  }

  // --- the audit -----------------------------------------------------------------------------------------------------

  exchange::AuditReport audit() {
    exchange::EngineOptions owner;
    owner.postgres = servers()["POSTGRES"];
    const std::string log = folder / "commits";
    return exchange::audit(owner, std::filesystem::exists(log) ? std::vector{log} : std::vector<std::string>{});
  }

  enum class Seams : std::uint8_t { declared, ignored };
  /// ClickHouse as of the ledger's epoch: sums of transactions against balances, positions against the profits that transactions book.
  std::vector<Outcome> check_follower(Seams seams = Seams::declared) {
    const bool declared = seams == Seams::declared;
    Postgres anchor{servers()["POSTGRES_RECON"],
                    {.stream = "trade_engine", .seams = declared ? "epochcut_seam" : "", .row_generation = declared ? "generation" : ""}};
    ClickHouse follower{servers()["CLICKHOUSE_RECON"] + "?database=exchange"};
    const CheckOptions options{.horizon = {.budget = Millis{20'000}, .first_delay = Millis{20}, .max_visibility_lag = Millis{200}}};
    return {
        epochcut::check(anchor,
                        Invariant{.id = "transactions-balance",
                                  .left = {anchor, current("balances").by("currency").sum("amount")},
                                  .right = {follower, events("transactions").by("currency").sum("amount")}},
                        options),
        epochcut::check(anchor,
                        Invariant{.id = "position-realized-pnls-balance",
                                  .left = {follower, latest("positions").per("account", "instrument").by("account", "currency").sum("realized_pnl").as("pnl")},
                                  .right = {follower, events("transactions").where("kind", "realized_pnl").by("account", "currency").sum("amount").as("pnl")},
                                  .rules = {{.column = "pnl", .absent_is_zero = true}}},
                        options)};
  }

  void require_sound(std::uint64_t seams) {
    const exchange::AuditReport report = audit();
    INFO(to_text(report));
    CHECK(report.sound());
    CHECK(report.transactions > 0);
    CHECK(report.owned.size() == seams + 1);
    for (const Outcome& outcome : check_follower()) {
      INFO(epochcut::to_text(outcome));
      CHECK(outcome.status == Status::pass);
    }
  }

  std::vector<std::string> options;  ///< of every engine that is started from now on
  process::Folder folder;
  PostgresWriter ledger;
  exchange::ClickhouseWriter analytics;

 private:
  struct Process {
    std::string command;
    bool wanted = false;
    std::optional<process::Child> child;
    std::vector<int> codes;
  };

  void launch(const std::string& engine, Process& p, const std::vector<std::string>& once) {
    std::vector<std::string> words = command(engine, p.command);
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), once.begin(), once.end());
    p.child.reset();
    p.child.emplace(words, folder / (engine + ".out"));
  }
  void supervise() {
    const std::scoped_lock lock(mutex_);
    for (auto& [engine, p] : processes_) {
      if (!p.wanted || !p.child || p.child->running()) continue;
      const int code = p.child->end();
      p.codes.push_back(code);
      if (code == 3) p.command = "shadow";  // deposed: it may come back, but not as the owner
      launch(engine, p, {});
    }
  }

  const Millis seam_wait_;
  std::mutex mutex_;
  std::map<std::string, Process> processes_;
  std::jthread supervisor_;
};

}  // namespace handover
