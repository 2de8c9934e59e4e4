// Every write path at once on real servers, for 60 s: writers at full tilt, checks at random phases, faults planted and taken back.
// An oracle that refolds the stream judges every verdict: no wrong pass, no wrong fail, every planted fault named, 95 % of the cuts assert.
// EPOCHCUT_SEED repeats a run's stream, phases and choice of faults (threads and servers stay free); EPOCHCUT_SOAK_SECONDS lengthens it.
#include "support/catch.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <curl/curl.h>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/testing/conformance.hpp>

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "exchange/oracle.hpp"

using namespace epochcut;
using exchange::Fault;
using exchange::WritePath;

namespace {

struct Path {
  const char* name;
  const char* label;  ///< of its schema and database
  WritePath write_path;
  int writers, partitions, jitter_ms;
  bool ties;
};

constexpr Path paths[] = {{"acked, 1 partition", "acked_1", WritePath::acknowledged, 1, 1, 0, false},
                          {"acked, 8 partitions", "acked_8", WritePath::acknowledged, 1, 8, 0, false},
                          {"acked, ties at E", "ties", WritePath::acknowledged, 1, 1, 0, true},
                          {"issued, 1 writer, 1 partition", "issued_1_1", WritePath::issued, 1, 1, 0, false},
                          {"issued, 1 writer, 8 partitions", "issued_1_8", WritePath::issued, 1, 8, 0, false},
                          {"issued, 4 writers", "issued_4", WritePath::issued, 4, 1, 0, false},
                          {"issued, 4 writers, <= 30 ms jitter", "jitter", WritePath::issued, 4, 1, 30, false}};

struct Tally {
  int statuses[4] = {};
  int cuts = 0, asserted = 0, naive_alarms = 0, naive_runs = 0;
  int planted = 0, caught = 0, harmless = 0;
  std::uint64_t sequence = 0;
  std::vector<std::string> wrong;   ///< every wrong verdict, in words
  std::vector<std::string> errors;  ///< the first errors, for people
};

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// Does this outcome name what was broken?
bool names(const Outcome& o, const exchange::Corruption& c) {
  if (c.fault == Fault::conflicting_row) return o.reason == Reason::conflicting_rows && o.message.find(std::to_string(c.event_id)) != std::string::npos;
  for (const Difference& d : o.differences)
    if (to_string(d.key[0].value.value()) == c.currency && !d.left.empty() && !d.right.empty()) return true;
  return false;
}

class PathRun {
 public:
  PathRun(const Path& path, std::uint64_t seed, std::chrono::seconds duration) : path_(path), seed_(seed), duration_(duration), random_(seed) {
    engine_options_.postgres = std::getenv("EPOCHCUT_POSTGRES");
    engine_options_.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
    engine_options_.layout.schema = engine_options_.layout.database = "soak_" + std::string(path.label) + "_" + std::to_string(getpid());
    engine_options_.layout.partitions = path.partitions;
    engine_options_.stream = {.seed = seed, .tie_every = path.ties ? batch : 0};
    engine_options_.batch = batch;
    engine_options_.rate = 160;  // four batches a second: seven exchanges, their checks and the merges of many small parts share two cores
    engine_options_.write_path = path.write_path;
    engine_options_.inserts.writers = path.writers;
    engine_options_.inserts.queue_max = 8;  // what is on its way is bounded: a store that can't keep up slows its writer down, as in life
    engine_options_.inserts.jitter_ms_max = path.jitter_ms;
  }

  Tally run() {
    try {
      exchange::create_tables(engine_options_);
      exchange::RunningEngine engine(engine_options_);
      check_until(std::chrono::steady_clock::now() + duration_, engine);
      if (!engine.running()) tally_.wrong.push_back("the exchange stopped by itself: " + engine.error());
      tally_.sequence = engine.sequence();
      engine.stop();
      exchange::PostgresWriter(engine_options_.postgres)
          .execute("set client_min_messages = warning; drop schema " + engine_options_.layout.schema + " cascade");
      exchange::ClickhouseWriter(engine_options_.clickhouse).execute("DROP DATABASE " + engine_options_.layout.database);
    } catch (const std::exception& e) {
      tally_.wrong.push_back(std::string("the harness failed: ") + e.what());
    }
    return std::move(tally_);
  }

 private:
  static constexpr std::uint64_t batch = 40;

  void check_until(std::chrono::steady_clock::time_point end, const exchange::RunningEngine& engine) {
    const exchange::Layout& layout = engine_options_.layout;
    Postgres ledger(engine_options_.postgres + " options='-c search_path=" + layout.schema + "'",
                    {.stream = std::string(exchange::stream_id), .leg_bits = exchange::leg_bits, .acknowledged = path_.write_path == WritePath::acknowledged});
    ClickHouse analytics(engine_options_.clickhouse + "?database=" + layout.database);
    const Query balances = current("balances").by("currency").sum("amount"), transactions = events("transactions").by("currency").sum("amount");
    const std::vector<Invariant> live{{"transactions-balance-live", {ledger, balances}, {analytics, transactions}},
                                      {"position-realized-pnls-balance-live",
                                       {analytics, latest("positions").per("account", "instrument").by("account").sum("realized_pnl").as("pnl")},
                                       {analytics, events("transactions").where("kind", "realized_pnl").by("account").sum("amount").as("pnl")},
                                       {{.column = "pnl", .absent_is_zero = true}}}};
    const Invariant naive{"naive", {at_rest(ledger), balances}, {at_rest(analytics), transactions}};
    exchange::Corruptor corruptor(engine_options_.clickhouse, layout);
    exchange::Oracle oracle(engine_options_.stream);
    // A lost row is told from a late one when the budget ends; on one node nothing acknowledged is late.
    const CheckOptions options{.horizon = {.budget = Millis{2'500}, .jitter_seed = seed_, .max_visibility_lag = Millis{300}}};

    std::optional<exchange::Corruption> planted;
    while (engine.sequence() == 0 && engine.running()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    for (int round = 1; std::chrono::steady_clock::now() < end && engine.running(); ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.below(80)));
      const std::vector<Outcome> outcomes = check(ledger, std::span<const Invariant>(live), options);
      ++tally_.cuts;
      bool asserted = true;
      for (const Outcome& o : outcomes) {
        ++tally_.statuses[static_cast<int>(o.status)];
        asserted = asserted && (o.status == Status::pass || o.status == Status::fail);
        judge_verdict(o, planted, oracle);
      }
      tally_.asserted += asserted;
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
        tally_.naive_alarms += check(ledger, naive, options).status == Status::fail;
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

  void judge_verdict(const Outcome& o, const std::optional<exchange::Corruption>& planted, exchange::Oracle& oracle) {
    const std::string what = std::string(path_.name) + ": " + to_text(o) + (planted ? "\n    planted: " + exchange::to_string(*planted) : "");
    if (o.status == Status::error || o.status == Status::skipped) {
      if (tally_.errors.size() < 3) tally_.errors.push_back(what);
      return;
    }
    const bool broken = planted && planted->fault != Fault::duplicate_row;
    if (!broken && o.status == Status::fail) return tally_.wrong.push_back("WRONG FAIL: " + what);
    // The fault lies in transactions: the first check must see it. The second does where its sums or its proof are touched.
    const bool must_see = broken && (o.id == "transactions-balance-live" || planted->fault == Fault::delete_row || planted->fault == Fault::extra_row ||
                                     (planted->fault == Fault::change_amount && planted->kind == "realized_pnl"));
    if (must_see && o.status == Status::pass) return tally_.wrong.push_back("WRONG PASS: " + what);
    if (must_see && o.status == Status::fail && o.id == "transactions-balance-live" && !names(o, *planted))
      return tally_.wrong.push_back("NAMES NO KEY: " + what);
    if (o.status == Status::pass) {
      // What was compared was all that there was: the ids that the read itself proved are those of the refolded stream.
      const exchange::Books& books = oracle.at(o.epoch->sequence);
      if (o.right.ids != books.transactions) tally_.wrong.push_back("PASSED INCOMPLETE: " + what);
      if (o.id == "position-realized-pnls-balance-live" && o.left.ids != books.positions) tally_.wrong.push_back("PASSED INCOMPLETE: " + what);
      if (o.counts.equal == 0) tally_.wrong.push_back("PASSED EMPTY: " + what);
    }
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
  const std::uint64_t seed = number_from("EPOCHCUT_SEED", static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) % 1'000'000);
  const std::chrono::seconds duration(
      number_from("EPOCHCUT_SOAK_SECONDS", std::getenv("EPOCHCUT_FULL") != nullptr && *std::getenv("EPOCHCUT_FULL") == '1' ? 600 : 60));
  std::printf("seed %llu, %lld s\n", static_cast<unsigned long long>(seed), static_cast<long long>(duration.count()));
  std::vector<Tally> tallies(std::size(paths));
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::size(paths); ++i) threads.emplace_back([&, i] { tallies[i] = PathRun(paths[i], seed + i, duration).run(); });
  }
  std::printf("%-36s %9s %5s %6s %6s %6s %8s %9s %9s %8s %7s\n", "write path", "events", "cuts", "pass", "fail", "error", "skipped", "asserted", "planted",
              "caught", "naive");
  int naive_alarms = 0;
  for (std::size_t i = 0; i < std::size(paths); ++i) {
    const Tally& t = tallies[i];
    std::printf("%-36s %9llu %5d %6d %6d %6d %8d %8.1f%% %9d %8d %4d/%d\n", paths[i].name, static_cast<unsigned long long>(t.sequence), t.cuts, t.statuses[0],
                t.statuses[3], t.statuses[2], t.statuses[1], t.cuts == 0 ? 0.0 : 100.0 * t.asserted / t.cuts, t.planted, t.caught, t.naive_alarms,
                t.naive_runs);
    naive_alarms += t.naive_alarms;
  }
  for (const Tally& t : tallies)
    for (const std::string& e : t.errors) std::printf("  %s\n", e.c_str());
  std::fflush(stdout);
  for (std::size_t i = 0; i < std::size(paths); ++i) {
    const Tally& t = tallies[i];
    INFO(paths[i].name << ", seed " << seed);
    for (const std::string& w : t.wrong) UNSCOPED_INFO(w);
    CHECK(t.wrong.empty());
    CHECK(t.cuts >= 30);
    CHECK(t.asserted * 100 >= t.cuts * 95);
    CHECK(t.planted >= 1);
    CHECK(t.caught == t.planted);
  }
  CHECK(naive_alarms > 0);  // else the writers did not write while they were compared, and nothing was proved
}
