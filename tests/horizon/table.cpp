// How often is each way of comparing wrong, per write path?
// The table of docs/horizon.md on live servers: one path after the other, the exchange as a process of its own at full speed, and at random
// phases a check by epochcut and by three naive checkers. A referee that refolds the stream judges. One thread beside the writer's supervisor.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <curl/curl.h>

#include <epochcut/testing/conformance.hpp>

#include "horizon/naive.hpp"
#include "horizon/paths.hpp"
#include "horizon/table_row.hpp"
#include "horizon/writer_process.hpp"

namespace {

using namespace horizon;
using Clock = std::chrono::steady_clock;

constexpr const char* usage_text =
    "usage: horizon_table [--seconds N | --quick] [--only LABEL]... [--seed N] [--json FILE]\n"
    "It needs EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE; sh tests/horizon/table.sh --help explains, and starts them.\n"
    "exit codes: 0 all holds, 1 something does not (it says what), 2 bad usage, 77 no servers\n";

constexpr std::uint64_t batch = 7;              ///< executions: about 20 rows
constexpr std::uint64_t tie_every = 2 * batch;  ///< ties at the end of half of the batches
/// Inserts on their way into several partitions: on a slow disk each takes half a second, and whoever waits for E waits for all of them.
constexpr std::size_t partitioned_inserts_max = 2;
/// Executions a second of the writers that crash; the others go as fast as they can. After a replay every read is DISTINCT, and on a slow
/// machine those must not slow down as fast as the tables grow.
constexpr double crashing_rate = 300;
constexpr std::uint64_t phase_us_max = 20'000;   ///< some batches long, so that a check begins anywhere in one
constexpr int quick_runs_min = 10;               ///< of each checker: enough for a test that is run every day
constexpr int planted_checks = 3;                ///< while an amount is wrong
constexpr int stretch_max = 6;                   ///< a path runs on until it has shown what it must, but no longer than so many times its time …
constexpr std::chrono::seconds stretch_min{90};  ///< … or this: a slow disk makes few batches

struct Options {
  int seconds = 0;
  bool quick = false;
  std::uint64_t seed = 0;
  std::string json;
  std::vector<std::string> only;
};

class PathRun {
 public:
  PathRun(const Path& path, std::uint64_t seed, std::chrono::seconds duration, int runs_min)
      : path_(path), seed_(seed), duration_(duration), random_(seed), options_(engine_options(path, "horizon", seed, batch, tie_every)), referee_(stream()) {
    const bool issued = path.write_path == exchange::WritePath::issued;
    const bool parts = path.writers > 1 || path.partitions > 1;  // rows of one batch, or of two, can become visible in any order
    row_.runs_min = runs_min;
    if (path.partitions > 1) options_.inserts.queue_max = partitioned_inserts_max;
    options_.rate = path.crashes ? crashing_rate : 0;
    row_.path = path.name, row_.label = path.label, row_.crashes = path.crashes;
    if (path.crashes) {
      for (NaiveCount& n : row_.naive) n.expected = FalseFails::some;  // a replayed row is summed twice, however one waits
    } else {
      if (path.ties || (issued && parts)) row_.naive[0].expected = FalseFails::some;
      if (issued && parts) row_.naive[1].expected = FalseFails::perhaps;
    }
  }

  Row run() {
    const Clock::time_point begin = Clock::now();
    try {
      exchange::create_tables(options_);
      WriterProcess writer(EPOCHCUT_EXCHANGE_CLI, options_, seed_, path_.crashes);
      Stores stores(options_);
      watch(stores, writer);
      plant(stores, writer);
      writer.stop();
      row_.kills = writer.kills();
      if (!writer.error().empty()) row_.broken.push_back(writer.error());
      settle(stores);
    } catch (const std::exception& e) {
      row_.broken.push_back(std::string("the harness failed: ") + e.what());
    }
    try {
      drop_tables(options_);
    } catch (const std::exception& e) {
      row_.broken.push_back(std::string("the stores could not be dropped: ") + e.what());
    }
    row_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    row_.runs = tally_.runs, row_.asserted = tally_.asserted;
    row_.pass = tally_.run_statuses[static_cast<int>(Status::pass)], row_.fail = tally_.run_statuses[static_cast<int>(Status::fail)];
    row_.error = tally_.run_statuses[static_cast<int>(Status::error)], row_.skipped = tally_.run_statuses[static_cast<int>(Status::skipped)];
    row_.false_verdicts = static_cast<int>(tally_.wrong.size() + planted_tally_.wrong.size());
    return std::move(row_);
  }

  /// In words, after run(): every wrong verdict, and the first errors.
  std::vector<std::string> remarks() const {
    std::vector<std::string> all = tally_.wrong;
    for (const auto* more : {&planted_tally_.wrong, &tally_.errors, &planted_tally_.errors}) all.insert(all.end(), more->begin(), more->end());
    return all;
  }

 private:
  exchange::ExecutionStream& stream() {
    options_.stream.rising_ns = true;  // the one favour that is done to whoever orders by time; a real exchange's nanoseconds tie and step back
    return options_.stream;
  }

  void watch(Stores& stores, const WriterProcess& writer) {
    NaiveChecker naive(options_);
    while (committed() == 0 && writer.running()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const Clock::time_point begin = Clock::now();
    const Clock::duration longest = std::max<Clock::duration>(duration_ * stretch_max, stretch_min);
    Clock::time_point told = begin;
    enum { epochcut_too = std::size(naives) };
    while (writer.running()) {
      const Clock::duration passed = Clock::now() - begin;
      row_.kills = writer.kills(), row_.runs = tally_.runs;
      if (passed > longest || (passed > duration_ && row_.seen_enough())) break;
      std::size_t order[] = {0, 1, 2, epochcut_too};
      for (std::size_t i = std::size(order) - 1; i > 0; --i) std::swap(order[i], order[random_.below(i + 1)]);
      for (const std::size_t who : order) {
        // When the time is over, only those go on that have not shown what they must.
        if (passed > duration_ && (who == epochcut_too ? row_.runs >= row_.runs_min : row_.naive[who].seen_enough(row_.runs_min))) continue;
        std::this_thread::sleep_for(std::chrono::microseconds(random_.below(phase_us_max)));
        if (who == epochcut_too)
          check_cut(stores);
        else
          check_naive(naive, naives[who], row_.naive[who]);
      }
      if (Clock::now() - told > std::chrono::seconds(10)) {
        told = Clock::now();
        std::fprintf(stderr, "  %s: %lld of %lld s, %d runs\n", path_.name,
                     static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(passed).count()), static_cast<long long>(duration_.count()),
                     tally_.runs);
      }
    }
  }

  void check_cut(Stores& stores) {
    const std::vector<Outcome> outcomes = stores.check_live(check_options());
    tally_.add(path_, outcomes, std::nullopt, referee_);
    std::int64_t waited_ms = 0;
    for (const Outcome& o : outcomes)
      for (const SideReport* side : {&o.left, &o.right}) {
        if (side->witness == Witness::snapshot || side->full_reads == 0) continue;  // the ledger itself, or nothing was read
        if (side->attempts > 1) waited_ms = std::max<std::int64_t>(waited_ms, side->waited.count());
        ++row_.readings;
        row_.whole_reads += side->full_reads;
      }
    row_.waits_ms.push_back(waited_ms);
    row_.took_ms.push_back(outcomes.back().took.count());
  }

  void check_naive(NaiveChecker& naive, Naive kind, NaiveCount& count) {
    const NaiveAnswer answer = naive.check(kind);
    // Nothing was planted, and what the ledger said is what the stream says: so whatever differs is the comparison's own doing.
    if (answer.ledger != NaiveChecker::truth(referee_.oracle().at(answer.sequence)))
      row_.broken.push_back("the ledger is not what its stream adds up to at " + std::to_string(answer.sequence));
    if (!answer.there)
      ++count.gave_up;
    else
      ++count.runs, count.false_fails += !answer.equal;
  }

  /// One amount is wrong for a while, and the writer goes on: a checker that only ever passes is no checker.
  void plant(Stores& stores, const WriterProcess& writer) {
    if (!writer.running()) return;
    exchange::Corruptor corruptor(options_.clickhouse, options_.layout);
    const std::uint64_t until = committed() / 2;  // long acknowledged: no replay can bring the true row back beside it
    const exchange::Corruption planted = corruptor.plant(exchange::Fault::change_amount, "transactions",
                                                         corruptor.pick("transactions", until / 2 + random_.below(until / 2 + 1) + 1), "0.00000001");
    for (int i = 0; i < planted_checks; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(random_.below(phase_us_max)));
      const std::vector<Outcome> outcomes = stores.check_live(check_options());
      planted_tally_.add(path_, outcomes, planted, referee_);
      ++row_.planted;
      row_.caught += outcomes[0].status == Status::fail && names(outcomes[0], planted);
    }
    corruptor.undo(planted);
  }

  /// After the last writer has gone, everything must be there: what was called a false fail was one.
  void settle(Stores& stores) {
    exchange::ClickhouseWriter analytics(options_.clickhouse);
    const std::string table = options_.layout.database + ".transactions";
    row_.rows = std::stoull(analytics.query("SELECT count() FROM " + table));
    row_.replayed = row_.rows - std::stoull(analytics.query("SELECT uniqExact(event_id) FROM " + table));
    row_.sequence = committed();
    for (const Outcome& o : stores.check_live(check_options())) {
      const std::string why = referee_.wrong(o, std::nullopt);
      if (o.status != Status::pass || !why.empty()) row_.broken.push_back("after the writer has gone: " + why + " " + to_text(o));
      if (o.epoch && o.epoch->sequence != row_.sequence) row_.broken.push_back("after the writer has gone, the cut is not at the token");
    }
  }

  /// The library's defaults, but for what this writer can declare: one node shows at once what it has acknowledged.
  CheckOptions check_options() const { return {.horizon = {.jitter_seed = seed_, .max_visibility_lag = Millis{300}}}; }

  std::uint64_t committed() {
    if (!ledger_) ledger_ = std::make_unique<exchange::PostgresWriter>(options_.postgres);
    return std::stoull(std::string(ledger_->execute("SELECT sequence FROM " + options_.layout.schema + ".resume_tokens")(0, 0)));
  }

  const Path& path_;
  const std::uint64_t seed_;
  const std::chrono::seconds duration_;
  testing::Random random_;
  exchange::EngineOptions options_;
  Referee referee_;
  Row row_;
  Tally tally_, planted_tally_;
  std::unique_ptr<exchange::PostgresWriter> ledger_;
};

/// 0, or the exit code of bad usage.
int parse(int argc, char** argv, Options& options) {
  const auto bad = [](const std::string& sentence) { return std::fprintf(stderr, "horizon_table: %s; see --help\n", sentence.c_str()), 2; };
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--quick") {
      options.quick = true;
      continue;
    }
    if (option != "--seconds" && option != "--seed" && option != "--json" && option != "--only") return bad("there is no option " + option);
    if (++i == argc || *argv[i] == 0) return bad(option + " takes a value");
    const std::string value = argv[i];
    if (option == "--json") options.json = value;
    if (option == "--only") {
      if (std::none_of(std::begin(paths), std::end(paths), [&](const Path& p) { return p.label == value; })) return bad("there is no path " + value);
      options.only.push_back(value);
    }
    if (option == "--seconds" || option == "--seed") {
      if (value.find_first_not_of("0123456789") != std::string::npos || value.size() > 9) return bad(option + " takes a whole number, not \"" + value + "\"");
      const std::uint64_t number = std::stoull(value);
      if (option == "--seed")
        options.seed = number;
      else if (number < 1 || number > 86'400)
        return bad("--seconds takes 1 to 86400");
      else
        options.seconds = static_cast<int>(number);
    }
  }
  if (options.seconds == 0) options.seconds = full() ? 60 : options.quick ? 4 : 20;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") return std::fputs(usage_text, stdout), 0;
  Options options;
  options.seed = number_from("EPOCHCUT_SEED", static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000);
  if (const int code = parse(argc, argv, options); code != 0) return code;
  for (const char* name : {"EPOCHCUT_POSTGRES", "EPOCHCUT_CLICKHOUSE"})
    if (std::getenv(name) == nullptr) return std::printf("skipped: %s is not set; sh tests/horizon/table.sh starts servers and sets it\n", name), 77;
  curl_global_init(CURL_GLOBAL_DEFAULT);  // not thread-safe in older libcurls, so before any thread

  std::FILE* table = options.json == "-" ? stderr : stdout;
  std::fprintf(table, "seed %llu, %d s a write path, %llu executions (about 20 rows) a batch\n%s", static_cast<unsigned long long>(options.seed),
               options.seconds, static_cast<unsigned long long>(batch), Row::head().c_str());
  std::vector<std::string> complaints, remarks;
  std::string json;
  for (std::size_t i = 0; i < std::size(paths); ++i) {
    if (!options.only.empty() && std::find(options.only.begin(), options.only.end(), paths[i].label) == options.only.end()) continue;
    PathRun path(paths[i], options.seed + i, std::chrono::seconds(options.seconds), options.quick && !full() ? quick_runs_min : Row::runs_min_default);
    const Row row = path.run();
    std::fputs(row.text().c_str(), table);
    std::fflush(table);
    for (const std::string& sentence : row.complaints()) complaints.push_back(sentence);
    for (const std::string& sentence : path.remarks()) remarks.push_back(sentence);
    json += (json.empty() ? "" : ",\n  ") + row.json();
  }
  for (const std::string& sentence : remarks) std::fprintf(table, "  %s\n", sentence.c_str());
  for (const std::string& sentence : complaints) std::fprintf(table, "DOES NOT HOLD: %s\n", sentence.c_str());
  std::fprintf(table, "%s\n===\n", complaints.empty() ? "all holds" : "not all holds");
  if (!options.json.empty()) {
    const std::string text = "{\"seed\":" + std::to_string(options.seed) + ",\"seconds\":" + std::to_string(options.seconds) +
                             ",\"cores\":" + std::to_string(std::thread::hardware_concurrency()) + ",\"holds\":" + (complaints.empty() ? "true" : "false") +
                             ",\"paths\":[\n  " + json + "]}\n";
    if (options.json == "-")
      std::fputs(text.c_str(), stdout);
    else if (!(std::ofstream(options.json) << text).flush())
      return std::fprintf(stderr, "horizon_table: can't write %s\n", options.json.c_str()), 1;
  }
  return complaints.empty() ? 0 : 1;
}
