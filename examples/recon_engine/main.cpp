#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include <epochcut/verdict/report.hpp>

#include "recon_engine/board.hpp"
#include "recon_engine/config.hpp"
#include "recon_engine/daemon.hpp"
#include "recon_engine/http.hpp"
#include "recon_engine/incident.hpp"
#include "recon_engine/metrics.hpp"
#include "recon_engine/promote.hpp"
#include "recon_engine/servers.hpp"
#include "recon_engine/soak_command.hpp"

namespace recon_engine {
namespace {

using epochcut::Failure;
using Arguments = std::vector<std::string>;

constexpr const char* usage = R"(usage: recon_engine COMMAND [--config FILE] [...]

  run             runs all checks by their schedules, until SIGTERM; SIGHUP reads the configuration again
  check ID        runs one check now, prints what it found, and logs nothing
  checks          lists the checks and when each fires next
  validate        reads the configuration and says whether it is one
  soak            says of each live check whether it has earned the pager; soak --help says what else it does
  canary          plants a break, expects the running program to find it, and takes it back
  promote         the dated plan of a promotion, and its revisions of the configuration
  migrate         makes or updates the tables of the schema recon_engine; the role needs the right to

  --config FILE   the configuration (default: $RECON_ENGINE_CONFIG, else watch.toml)
  --json          check: as one line of JSON

Exit codes: 0 all is well, or a pass; 1 a fail; 2 skipped; 3 an error; 64 bad usage or configuration.

examples:
  recon_engine validate --config watch.toml
  recon_engine check transactions-balance-live
  recon_engine run --config /etc/recon-engine/watch.toml
)";

constexpr int bad_usage = 64;
constexpr Millis history_wait{30'000};  // for a log that can't be read at start

void say(const std::string& text) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::cerr << epochcut::to_text(Time().now()) << " " << text << std::endl;
}

/// Takes `--name VALUE` out of the arguments.
std::optional<std::string> option(Arguments& arguments, const std::string& name) {
  const auto at = std::find(arguments.begin(), arguments.end(), name);
  if (at == arguments.end()) return std::nullopt;
  if (at + 1 == arguments.end()) throw Failure(epochcut::Reason::configuration, name + " takes a value");
  std::string value = at[1];
  arguments.erase(at, at + 2);
  return value;
}
bool flag(Arguments& arguments, const std::string& name) {
  const auto at = std::find(arguments.begin(), arguments.end(), name);
  if (at == arguments.end()) return false;
  arguments.erase(at);
  return true;
}

// --- run ---------------------------------------------------------------------------------------------------------------------------------------------

/// Every run as a line, for whoever reads the program's own log. A fail is as loud of a check that pages nobody.
class Lines final : public Sink {
 public:
  void add(const Run& run) override {
    std::string line = std::string(run.status == epochcut::Status::pass ? "info" : "warn") + " " + std::string(to_string(run.status)) + " " + run.run_id;
    if (run.epoch) line += " at epoch " + std::to_string(run.epoch->sequence);
    if (run.reason != epochcut::Reason::none) line += ": " + std::string(to_string(run.reason));
    say(line + ": " + run.message);
    for (const ShownDifference& d : run.differences) say("     " + d.kind + " " + d.key + ": left " + d.left + ", right " + d.right);
  }
};

class BoardObserver final : public Observer {
 public:
  explicit BoardObserver(Board& board) : board_(board) {}
  void began(const std::string& check, Instant at) override { board_.began(check, at); }
  void waiting(const std::string& check, std::optional<Instant> next_fire, std::uint64_t missed, std::uint64_t coalesced) override {
    board_.waiting(check, next_fire, missed, coalesced);
  }
  void heartbeat(Instant at) override { board_.heartbeat(at); }
  void spooled(std::uint64_t runs) override { board_.spooled(runs); }
  void draining() override { board_.draining(); }

 private:
  Board& board_;
};

/// A run that asserted has read both stores.
class ReachedStores final : public Sink {
 public:
  explicit ReachedStores(Board& board) : board_(board) {}
  void add(const Run& run) override {
    if (run.status != epochcut::Status::pass && run.status != epochcut::Status::fail) return;
    board_.reached("postgres"), board_.reached("clickhouse");
  }

 private:
  Board& board_;
};

/// The longest time between two fires; 0 if events fire it.
Millis interval_of(const CheckConfig& check) {
  constexpr int fires = 400;  // of a check that fires twice a day: half a year, and a change of clocks with it
  const auto next = clockwork(check);
  Millis longest{0};
  if (!next) return longest;
  Instant at = next(Time().now());
  for (int i = 0; i < fires; ++i) {
    const Instant after = next(at);
    longest = std::max(longest, after - at);
    at = after;
  }
  return longest;
}

std::vector<CheckSummary> summaries(const Config& config) {
  std::vector<CheckSummary> all;
  for (const CheckInfo& info : all_checks) {
    const CheckConfig& check = config.checks.at(std::string(info.id));
    all.push_back({.id = std::string(info.id),
                   .enabled = check.enabled,
                   .paging = check.paging,
                   .schedule = check.schedule,
                   .zone = check.zone,
                   .interval = interval_of(check),
                   .late_max = check.late_max,
                   .budget = check.budget});
  }
  return all;
}

PagingConfig paging_of(const Config& config) {
  constexpr Millis event_silence{2 * 3'600'000};
  PagingConfig paging;
  for (const auto& [id, check] : config.checks) {
    const Millis interval = interval_of(check);
    const Millis age = check.assert_within.count() > 0 ? check.assert_within : interval.count() > 0 ? 3 * interval : event_silence;
    paging[id] = {.paging = check.enabled && check.paging,
                  .policy = {.confirm = check.confirm,
                             .clear = check.clear,
                             .interval_min = check.apart,
                             .assert_within = age,
                             .stuck_errors = check.stuck_errors,
                             .stuck_after = check.stuck_after}};
  }
  return paging;
}

int run(const Config& loaded) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  Config config = loaded;
  Spool spool(config.spool);
  if (spool.torn()) say("the spool's last line was torn, by a crash in the middle of it, and was cut off");
  PostgresLog log(config.log);
  std::vector<Run> history;
  bool complete = false;
  for (const Instant give_up = Time().now() + history_wait; !complete;) {
    try {
      history = log.recent(runs_kept_max);
      complete = true;
    } catch (const std::exception& e) {
      // Checks matter more than their history: it starts without, but not because of a server that is just restarting.
      if (Time().now() < give_up) {
        const timespec pause{1, 0};
        const int signal = sigtimedwait(&signals, nullptr, &pause);
        if (signal == SIGTERM || signal == SIGINT) return 0;
        continue;
      }
      say(std::string("starting without what was logged before: ") + e.what());
      break;
    }
  }
  for (Run& waiting : spool.front(spool.size())) history.push_back(std::move(waiting));
  std::sort(history.begin(), history.end(), [](const Run& a, const Run& b) { return std::tie(a.finished, a.run_id) < std::tie(b.finished, b.run_id); });

  Board board(Time().now(), run_of({}).version);
  board.configure(summaries(config));
  board.locked(true);  // the spool's lock
  board.restore(history);
  Metrics metrics(board);
  std::unique_ptr<Receiver> receiver;
  if (!config.incident_url.empty())
    receiver = std::make_unique<Webhook>(WebhookOptions{.url = config.incident_url, .secret = config.incident_secret, .ca_file = config.incident_ca_file});
  HttpFace http(board, metrics, {.address = config.host, .port = config.port, .now = {}});
  IncidentSink incidents(board, std::make_unique<PostgresOutbox>(config.log), std::move(receiver), {.page_url = http.url(), .now = {}});
  incidents.configure(paging_of(config));
  incidents.restore(history);
  incidents.start();

  Lines lines;
  ReachedStores reached(board);
  BoardObserver observer(board);
  Recorder::Options recorder;
  recorder.say = say;
  Daemon daemon(config, {.asker = server_asker,
                         .listener = mark_cycle_listener,
                         .log = &log,
                         .spool = &spool,
                         .sinks = {&lines, &board, &metrics, &incidents, &reached},
                         .observer = &observer,
                         .history = std::move(history),
                         .history_complete = complete,
                         .recorder = recorder,
                         .say = say});
  std::cout << "recon_engine " << http.url() << " revision " << config.revision << std::endl;
  say("running with revision " + config.revision + " of " + config.path);

  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal != SIGHUP) break;
    try {
      Config next = load_config(config.path);
      daemon.reload(next);
      board.configure(summaries(next));
      incidents.configure(paging_of(next));
      board.config_problem("");
      say("running with revision " + next.revision);
      for (const auto& [name, was, is] : {std::tuple{"[program] host", &config.host, &next.host},
                                          {"[program] spool", &config.spool, &next.spool},
                                          {"[stores] log", &config.log, &next.log},
                                          {"[incident] url", &config.incident_url, &next.incident_url},
                                          {"[incident] secret", &config.incident_secret, &next.incident_secret},
                                          {"[incident] ca_file", &config.incident_ca_file, &next.incident_ca_file}})
        if (*was != *is) say(std::string(name) + " is another one now, which takes a restart");
      if (config.port != next.port) say("[program] port is another one now, which takes a restart");
      config = std::move(next);
    } catch (const std::exception& e) {
      board.config_problem(e.what());
      say(std::string("revision ") + config.revision + " stays, since the file is refused: " + e.what());
    }
  }
  say("stopping: runs that go on have " + std::to_string(config.drain.count()) + " ms");
  daemon.stop();
  incidents.stop();
  say("stopped");
  return 0;
}

// --- the small ones ----------------------------------------------------------------------------------------------------------------------------------

int check(const Config& config, Arguments arguments) {
  const bool json = flag(arguments, "--json");
  if (arguments.size() != 1 || find_check(arguments[0]) == nullptr) {
    std::cerr << "recon_engine: check takes the id of one check; `recon_engine checks` lists them\n";
    return bad_usage;
  }
  const CheckInfo& info = *find_check(arguments[0]);
  epochcut::Outcome outcome;
  Asker asker;
  Watch watch(
      info, config.checks.at(arguments[0]),
      [&](const epochcut::CheckOptions& options) {
        if (!asker) asker = server_asker(info, config);
        return outcome = asker(options);
      },
      {}, std::nullopt);
  const Run run = watch.run_now("manual", nullptr);
  if (json)
    std::cout << to_json(run) << "\n";
  else {
    epochcut::Outcome shown = outcome;
    shown.id = run.check_id, shown.status = run.status, shown.reason = run.reason, shown.message = run.message;
    std::cout << epochcut::to_text(shown) << "\n  took " << run.took.count() << " ms, waited " << run.horizon_wait.count() << " ms, read " << run.rows
              << " rows, " << run.bytes << " bytes\n";
  }
  return epochcut::exit_code(run.status);
}

int checks(const Config& config) {
  for (const CheckInfo& info : all_checks) {
    const CheckConfig& check = config.checks.at(std::string(info.id));
    const auto next = clockwork(check);
    std::printf("%-36s %-8s %-9s %-20s %-16s %s\n", std::string(info.id).c_str(), check.enabled ? "enabled" : "off", check.paging ? "pages" : "silent",
                check.schedule.c_str(), next ? check.zone.c_str() : "", next ? epochcut::to_text(next(Time().now())).c_str() : "with each mark cycle");
  }
  return 0;
}

int dispatch(Arguments arguments) {
  const auto is_help = [](const std::string& a) { return a == "--help" || a == "-h"; };
  const bool has_help_of_its_own = !arguments.empty() && (arguments[0] == "soak" || arguments[0] == "canary" || arguments[0] == "promote");
  const bool help = std::any_of(arguments.begin(), arguments.end(), is_help);
  if (arguments.empty() || (help && !has_help_of_its_own)) {
    (arguments.empty() ? std::cerr : std::cout) << usage;
    return arguments.empty() ? bad_usage : 0;
  }
  const std::string command = arguments[0];
  arguments.erase(arguments.begin());
  const std::optional<std::string> named = option(arguments, "--config");
  const char* from_environment = std::getenv("RECON_ENGINE_CONFIG");
  const std::string path = named ? *named : from_environment != nullptr ? from_environment : "watch.toml";

  const std::map<std::string, std::function<int(const Config&)>> commands{
      {"run", run},
      {"check", [&](const Config& c) { return check(c, arguments); }},
      {"checks", checks},
      {"validate",
       [](const Config& c) {
         std::cout << c.path << " is valid: revision " << c.revision << "\n";
         return 0;
       }},
      {"soak", [&](const Config& c) { return soak_command(c, arguments, std::cout, std::cerr); }},
      {"canary", [&](const Config& c) { return canary_command(c, arguments, std::cout, std::cerr); }},
      {"promote", [&](const Config& c) { return promote_command(c.path, arguments, std::cout, std::cerr); }},
      {"migrate",
       [](const Config& c) {
         const auto applied = migrate(c.log);
         for (const std::string& name : applied) std::cout << "applied " << name << "\n";
         if (applied.empty()) std::cout << "nothing to do\n";
         return 0;
       }},
  };
  const auto found = commands.find(command);
  if (found == commands.end()) {
    std::cerr << "recon_engine: there is no command \"" << command << "\"; --help says which there are\n";
    return bad_usage;
  }
  if (help) return found->second(Config{});
  if (command != "check" && !has_help_of_its_own && !arguments.empty()) {
    std::cerr << "recon_engine: " << command << " does not take \"" << arguments[0] << "\"\n";
    return bad_usage;
  }
  return found->second(load_config(path));
}

}  // namespace
}  // namespace recon_engine

int main(int argc, char** argv) {
  try {
    return recon_engine::dispatch({argv + 1, argv + argc});
  } catch (const epochcut::Failure& failure) {
    std::cerr << "recon_engine: " << failure.message << "\n";
    return failure.kind == epochcut::Reason::configuration ? recon_engine::bad_usage : 3;
  } catch (const std::exception& e) {
    std::cerr << "recon_engine: " << e.what() << "\n";
    return 3;
  }
}
