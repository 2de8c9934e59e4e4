#include <cstdio>
#include <cstdlib>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <ostream>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include "cutover/commands.hpp"
#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"

namespace cutover {

using namespace epochcut;

namespace {

constexpr const char *authority = "rehearsal", *first = "rehearsal_a", *second = "rehearsal_b";
constexpr Millis end_max{20'000};  ///< a deposed engine ends by itself within this
constexpr int attempts_max = 3;    ///< a splice that took itself back may be tried again, while the go is fresh
constexpr int deposed = 3;         ///< its exit code then: a supervisor does not start it again

/// A program of the exchange, ended with this object. Credentials go by its environment, so that no list of processes shows them.
class Program {
 public:
  Program(const std::vector<std::string>& words, const std::vector<std::string>& settings, const std::string& log) {
    std::vector<char*> argv, envp;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    for (const std::string& setting : settings) envp.push_back(const_cast<char*>(setting.c_str()));
    for (char** e = environ; *e != nullptr; ++e)
      if (!std::string_view(*e).starts_with("EPOCHCUT_")) envp.push_back(*e);
    envp.push_back(nullptr);
    const int file = ::open(log.empty() ? "/dev/null" : log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0) throw Failure(Reason::configuration, log + " can't be written");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(file, 1), ::dup2(file, 2);
      ::execvpe(argv[0], argv.data(), envp.data());
      ::_exit(127);
    }
    ::close(file);
    if (pid_ < 0) throw Failure(Reason::unknown, "no process could be started");
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { end(); }

  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    if (!wait(end_max)) {
      ::kill(pid_, SIGKILL);
      wait(end_max);
    }
  }
  /// Its exit code, once it has ended; 128 and more: a signal.
  std::optional<int> wait(Millis at_most) {
    for (const Millis until = SystemClock::instance().now() + at_most; pid_ > 0;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        break;
      }
      if (SystemClock::instance().now() >= until) return std::nullopt;
      SystemClock::instance().sleep(Millis{20});
    }
    return code_;
  }

 private:
  pid_t pid_ = -1;
  int code_ = -1;
};

class Rehearsal {
 public:
  Rehearsal(const Arguments& a, const Terminal& t, const Control& control) : a_(a), t_(t), control_(control), began_(control.clock->now()) {
    settings_ = {"EPOCHCUT_POSTGRES=" + a.owner_postgres, "EPOCHCUT_CLICKHOUSE=" + a.owner_clickhouse};
    for (const char* role : {"PRODUCTION", "SHADOW"}) {
      settings_.push_back("EPOCHCUT_POSTGRES_" + std::string(role) + "=" + a.owner_postgres);
      settings_.push_back("EPOCHCUT_CLICKHOUSE_" + std::string(role) + "=" + a.owner_clickhouse);
    }
  }

  int run() {
    drop();
    exchange::PostgresWriter ledger(a_.owner_postgres);
    exchange::ClickhouseWriter analytics(a_.owner_clickhouse);
    exchange::create_tables(ledger, exchange::layout_of(authority), first, exchange::Kind::production);
    exchange::create_tables(analytics, exchange::layout_of(authority));
    for (const char* engine : {first, second}) {
      exchange::create_tables(ledger, exchange::layout_of(engine), engine, exchange::Kind::shadow);
      exchange::create_tables(analytics, exchange::layout_of(engine));
    }
    say("made a copy: schema and authority " + std::string(authority) + ", owned by " + first);
    Program owner(command("run", first), settings_, log_of(first));
    int code = 0;
    {
      Program candidate(command("shadow", second), settings_, log_of(second));
      code = hand_over(owner, first, second);
      if (code == exit_done) {
        // The way back is the same way, rehearsed before it is needed.
        Program back(command("shadow", first), settings_, log_of(first));
        code = hand_over(candidate, second, first);
      }
    }
    owner.end();
    if (code == exit_done) {
      const Facts facts = read_facts(place(first));
      const bool sound = facts.row.generation == 3 && facts.row.owner == first && facts.seams.size() == 2 && !facts.row.marker;
      say(sound ? "rehearsed: there and back, two handovers, generation 3, owner " + facts.row.owner
                : "it does not stand where it must: owner " + facts.row.owner + ", generation " + std::to_string(facts.row.generation));
      if (!sound) code = exit_refused;
    }
    drop();
    say("the copy is gone");
    return code;
  }

 private:
  Place place(const std::string& candidate) const {
    Place p = a_.place;
    p.authority = authority, p.candidate = candidate;
    return p;
  }
  std::vector<std::string> command(const char* what, const char* engine) const {
    std::vector<std::string> words{a_.exchange_program, what, "--engine", engine, "--authority", authority, "--rate", "400", "--batch", "50"};
    if (std::string(what) == "shadow") words.insert(words.end(), {"--lag", "300"});
    return words;
  }
  std::string log_of(const std::string& engine) const { return a_.keep.empty() ? "" : a_.keep + "/" + engine + ".log"; }

  void say(const std::string& what) {
    char at[32];
    std::snprintf(at, sizeof at, "[%5.1f s] ", static_cast<double>((control_.clock->now() - began_).count()) / 1000);
    std::istringstream lines(what);
    for (std::string line; std::getline(lines, line);) t_.out << at << line << "\n";
    t_.out.flush();
  }

  int hand_over(Program& owner, const std::string& from, const std::string& to) {
    VerifyOptions options = a_.verify;
    options.thresholds.cuts_min = 3, options.thresholds.duration_min = Millis{2'000}, options.thresholds.events_min = 1'000,
    options.thresholds.keys_percent_min = 1;
    options.thresholds.kinds = {"fee", "realized_pnl"};
    options.every = Millis{500};
    options.at_most = Millis{120'000};
    options.signed_off_by = "the rehearsal";
    // The candidate says which build it is when it starts.
    Asker asker(a_.place.postgres);
    for (int i = 0; i < 500 && !build_of(asker, to); ++i) control_.sleep(Millis{20});
    const VerifyResult result = verify(
        place(to), options, [&](const Progress& p) { say("  " + to_text(p)); }, control_);
    say("verify " + to + ": " + result.record.decision + ": " + result.record.why);
    if (result.exit_code != 0) return result.exit_code;
    Arguments splice = a_;
    splice.command = "splice", splice.place = place(to), splice.yes = true, splice.json = false, splice.at.reset(), splice.in = Millis{1'000};
    int code = exit_refused;
    for (int attempt = 0; attempt < attempts_max && code == exit_refused; ++attempt) {
      std::ostringstream out, err;
      const Terminal inner{.out = out, .err = err, .live = false, .ask = {}};
      code = splice_command(splice, inner, control_);
      say(out.str());
      say(err.str());
    }
    if (code != exit_done) return code;
    const std::optional<int> ended = owner.wait(end_max);
    say(from + (ended ? " ended with exit code " + std::to_string(*ended) : std::string(" did not end")));
    return ended == deposed ? exit_done : exit_refused;
  }

  void drop() {
    exchange::PostgresWriter ledger(a_.owner_postgres);
    exchange::ClickhouseWriter analytics(a_.owner_clickhouse);
    ledger.execute("SET client_min_messages = warning");
    for (const char* name : {authority, first, second}) {
      ledger.execute("DROP SCHEMA IF EXISTS " + exchange::layout_of(name).schema + " CASCADE");
      analytics.execute("DROP DATABASE IF EXISTS " + exchange::layout_of(name).database);
    }
  }

  const Arguments& a_;
  const Terminal& t_;
  const Control& control_;
  const Millis began_;
  std::vector<std::string> settings_;
};

}  // namespace

int rehearse_command(const Arguments& a, const Terminal& t, const Control& control) {
  if (a.owner_postgres.empty() || a.owner_clickhouse.empty())
    throw Failure(Reason::configuration, "the copy is made by who may create tables: give --owner-postgres and --owner-clickhouse");
  if (a.place.postgres.empty() || a.place.clickhouse.empty())
    throw Failure(Reason::configuration, "no stores: set EPOCHCUT_POSTGRES_CUTOVER and EPOCHCUT_CLICKHOUSE_CUTOVER");
  t.out << "a copy of its own is made and dropped again: schemas and databases " << authority << ", " << first << " and " << second
        << "; production is not touched\n";
  if (!a.yes && !(t.ask && t.ask("rehearse?"))) {
    t.err << "cutover: nothing was done\n";
    return exit_refused;
  }
  return Rehearsal(a, t, control).run();
}

}  // namespace cutover
