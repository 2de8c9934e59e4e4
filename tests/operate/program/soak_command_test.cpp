// The soak's commands and its SQL on a real PostgreSQL, over a record that the test writes: what they say must be what the library says of the same runs.
#include "support/catch.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/engine.hpp"
#include "exchange/postgres_writer.hpp"
#include "operate/soak_month.hpp"
#include "recon_engine/log.hpp"
#include "recon_engine/promote.hpp"
#include "recon_engine/servers.hpp"
#include "recon_engine/soak_command.hpp"

using namespace recon_engine;
using namespace soak_test;
using exchange::PostgresWriter;

namespace {

std::string log_dsn() { return std::getenv("EPOCHCUT_POSTGRES_LOG"); }

Config configured() {
  const std::string text =
      "[stores]\npostgres_env = \"TEST_LEDGER\"\nlog_env = \"EPOCHCUT_POSTGRES_LOG\"\nclickhouse = \"http://127.0.0.1:1/\"\ncustodian = \"http://127.0.0.1:1\"\n"
      "[program]\nspool = \"/tmp/none\"\n[checks.\"transactions-balance-live\"]\npaging = false\n[checks.\"pnl-is-zero-sum-live\"]\npaging = false\n";
  return parse_config(text, "watch.toml", [](const std::string& name) -> std::optional<std::string> {
    // mark cycles of its own: the servers' own ledger belongs to other tests
    if (name == "TEST_LEDGER") return std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=t_soak_command'";
    return std::getenv(name.c_str());
  });
}

/// An empty record, whatever ran on these servers before.
void fresh() {
  migrate(log_dsn());
  PostgresWriter log(log_dsn());
  log.execute(
      "SET client_min_messages = warning; TRUNCATE recon_engine.invariants_log, recon_engine.adjudications, recon_engine.outages, recon_engine.planted_breaks,"
      " recon_engine.sign_offs, recon_engine.accumulators");
}

void write(const std::vector<SoakRun>& runs, const std::string& old_id, const std::string& live_id) {
  std::string rows;
  const auto time = [](Instant at) { return to_text(at); };
  for (const SoakRun& r : runs) {
    const std::string id = r.check_id == "balance" ? old_id : live_id;
    const std::string epoch = r.epoch ? std::to_string(*r.epoch) : "\\N";
    rows += id + "@" + time(r.scheduled) + "\t" + id + "\t" + r.trigger + "\t" + r.event_key + "\t" + time(r.scheduled) + "\t" + time(r.started) + "\t" +
            time(r.finished) + "\tf\t" + std::string(to_string(r.status)) + "\t" + std::string(to_string(r.reason)) + "\t\tf\tf\tf\t" + r.stream +
            "\tproduction\t1\t" + epoch + "\t" + (r.epoch ? "1" : "\\N") + "\t\t\t" + r.left + "\t" + r.right +
            "\t0\t0\t0\t0\t[{\"kind\":\"changed\",\"key\":\"k\",\"left\":\"amount=10\",\"right\":\"amount=7.5\"}]\t0\t0\t0\t0\t0\t0\t1\t2\t1\t" + r.question +
            "\n";
  }
  PostgresWriter log(log_dsn());
  log.execute("BEGIN");
  log.copy(
      "COPY recon_engine.invariants_log (run_id, check_id, trigger, event_key, scheduled, started, finished, paging, status, reason, message, unsynchronised, confirmed, retryable,"
      " stream, authority, generation, epoch_sequence, epoch_ns, left_witness, right_witness, left_values, right_values, equal_keys, changed_keys, only_left_keys, only_right_keys,"
      " differences, rows_read, bytes_read, horizon_wait_ms, left_took_ms, right_took_ms, took_ms, attempts, full_reads, version, query_hash) FROM STDIN",
      rows);
  log.commit();
}

/// soak.sql with psql's variables filled in.
std::string scan_sql(const std::map<std::string, std::string>& values) {
  std::ifstream file(SOAK_SQL);
  std::ostringstream text;
  text << file.rdbuf();
  std::string sql = text.str();
  for (const auto& [name, value] : values)
    for (std::size_t at; (at = sql.find(":'" + name + "'")) != std::string::npos;) sql.replace(at, name.size() + 3, "'" + value + "'");
  REQUIRE(sql.find(":'") == std::string::npos);
  return sql;
}

std::vector<std::string> sql_pairs(const std::string& old_id, const std::string& live_id, const std::string& cycles, Instant until = begin + days(28)) {
  PostgresWriter log(log_dsn());
  const auto found = log.execute(
      "SELECT (extract(epoch FROM fire) * 1000)::bigint, class, coalesce(live_run, ''), coalesce(asserting_run, ''), values_compare, coalesce(old_run, '') FROM (" +
          [&] {
            std::string sql = scan_sql({{"old", old_id},
                                        {"live", live_id},
                                        {"from", to_text(begin).substr(0, 23)},
                                        {"until", to_text(until).substr(0, 23)},
                                        {"zone", "US/Eastern"},
                                        {"times", "{16:05,16:20}"},
                                        {"cycles", cycles}});
            return sql.substr(0, sql.rfind(';'));
          }() +
          ") AS scan ORDER BY fire",
      {});
  std::vector<std::string> rows;
  for (int i = 0; i < found.rows(); ++i) {
    std::string row;
    for (int c = 0; c < 6; ++c) row += std::string(found(i, c)) + " ";
    rows.push_back(row);
  }
  return rows;
}

std::vector<std::string> library_pairs(const SoakInput& in) {
  const SoakScan s = scan(in);
  std::vector<std::string> rows;
  const auto id = [&](const std::optional<std::size_t>& run) { return run ? s.runs[*run].check_id + "@" + to_text(s.runs[*run].scheduled) : std::string(); };
  for (const SoakPair& p : s.pairs)
    rows.push_back(std::to_string(p.fire.time_since_epoch().count()) + " " + std::string(to_string(p.kind)) + " " + id(p.live) + " " + id(p.asserting) + " " +
                   std::string(to_string(p.values)) + " " + id(p.old) + " ");
  return rows;
}

int soak(const std::vector<std::string>& arguments, std::string& output) {
  std::ostringstream out, err;
  const int code = soak_command(configured(), arguments, out, err);
  output = out.str() + err.str();
  return code;
}

const std::string old_id = "transactions-balance", live_id = "transactions-balance-live";
const std::string from = "2026-02-16", until = "2026-03-16";

}  // namespace

TEST_CASE("The SQL finds the pairs that the library finds, in records of pure chance") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    fresh();
    std::mt19937 random(seed);
    Month month;
    std::uniform_int_distribution<int> any(0, 3), percent(0, 99);
    for (SoakRun& r : month.in.runs) {
      if (percent(random) < 60) r.status = static_cast<Status>(any(random));
      if (percent(random) < 20) r.left = "other";
      if (percent(random) < 10) r.epoch.reset();
      if (percent(random) < 5) r.trigger = "manual";
    }
    std::erase_if(month.in.runs, [&](const SoakRun&) { return percent(random) < 55; });
    write(month.in.runs, old_id, live_id);
    const SoakInput in = soak_input(configured(), *find_check(live_id), instant_of(from), instant_of(until));
    CHECK(in.runs.size() == month.in.runs.size());
    const auto pairs = library_pairs(in);
    CHECK(pairs.size() == 56);
    CHECK(sql_pairs(old_id, live_id, "off") == pairs);
  }
}

TEST_CASE("The SQL joins on the mark cycle as the library does") {
  fresh();
  PostgresWriter ledger(std::getenv("EPOCHCUT_POSTGRES"));
  ledger.execute(
      "SET client_min_messages = warning; DROP SCHEMA IF EXISTS t_soak_command CASCADE; CREATE SCHEMA t_soak_command;"
      " CREATE TABLE t_soak_command.mark_cycles (cycle bigint primary key, committed_at timestamptz)");
  std::mt19937 random(7);
  std::uniform_int_distribution<int> percent(0, 99), back(0, 8);
  Month month;
  std::uint64_t cycle = 0;
  for (SoakRun& r : month.in.runs)
    if (r.check_id == "balance-live") r.trigger = "event", r.event_key = std::to_string(++cycle), r.stream = "mark_cycles", r.epoch = cycle;
  for (SoakRun& r : month.in.runs)
    if (r.check_id == "balance") {
      r.stream = "mark_cycles";
      r.epoch = static_cast<std::uint64_t>((r.scheduled - begin) / minutes(5) + 1 - back(random));
      if (percent(random) < 30) r.epoch.reset();
      if (percent(random) < 30) r.left.clear();
    } else if (percent(random) < 30) {
      r.status = Status::fail;
    }
  std::erase_if(month.in.runs, [&](const SoakRun&) { return percent(random) < 20; });
  write(month.in.runs, "pnl-is-zero-sum", "pnl-is-zero-sum-live");
  // Cycle k is committed when its run was scheduled; one in five has no run, and nothing ran meanwhile.
  ledger.execute("INSERT INTO t_soak_command.mark_cycles SELECT k, $1::timestamptz + (k - 1) * interval '5 minutes' FROM generate_series(1, 8064) AS k",
                 {to_text(begin)});
  const SoakInput in = soak_input(configured(), *find_check("pnl-is-zero-sum-live"), instant_of(from), instant_of(until));
  CHECK(in.by_cycle);
  CHECK(sql_pairs("pnl-is-zero-sum", "pnl-is-zero-sum-live", "on") == library_pairs(in));
  REQUIRE(in.cycles.size() == 8064);
  const auto runs =
      static_cast<std::size_t>(std::count_if(month.in.runs.begin(), month.in.runs.end(), [](const SoakRun& r) { return r.check_id == "balance-live"; }));
  const SoakScan s = scan(in);
  CHECK(static_cast<std::size_t>(std::count_if(s.missed.begin(), s.missed.end(), [](const MissedFire& m) { return m.check_id == "pnl-is-zero-sum-live"; })) ==
        8064 - runs);
  ledger.execute("SET client_min_messages = warning; DROP SCHEMA t_soak_command CASCADE");
}

TEST_CASE("A month on record is judged, adjudicated, signed and promoted by commands alone") {
  fresh();
  Month month;
  const Instant fail = begin + days(5) + hours(9);
  month.live(fail).status = Status::fail;
  for (int i = 0; i < 3; ++i) month.live(fail + hours(2) + minutes(5 * i)).status = Status::error;
  for (int i = 0; i < 60; ++i) month.live(fail + hours(3) + minutes(5 * i)).status = Status::error;
  write(month.in.runs, old_id, live_id);
  PostgresWriter log(log_dsn());
  for (const PlantedBreak& p : month.in.planted)
    log.execute(
        "INSERT INTO recon_engine.planted_breaks (check_id, what, live, planted, removed, caught, fires) VALUES ($1, $2, $3::boolean, $4::timestamptz, $5::timestamptz, $6::timestamptz, 1)",
        {live_id, p.what, p.live ? "t" : "f", to_text(p.planted), to_text(p.removed), to_text(*p.caught)});

  std::string said;
  const std::vector<std::string> look{"--check", live_id, "--from", from, "--until", until};
  CHECK(soak(look, said) == 1);
  CHECK(said.find("leave_the_old_one") == 0);
  CHECK(said.find("2.5") != std::string::npos);  // the largest difference of the fail
  CHECK(soak({"outage", "--from", "2026-02-21T11:00", "--until", "2026-02-21T17:00:00Z", "--what", "moved the host", "--who", "dana"}, said) == 0);
  CHECK(soak(look, said) == 2);
  CHECK(said.find("fails_resolved") != std::string::npos);
  CHECK(soak({"adjudicate", "--check", live_id, "--at", "2026-02-21T09:00", "--verdict", "real_break", "--evidence", "ledger corrected; \"quoted\" | 'it'",
              "--who", "dana"},
             said) == 0);
  CHECK(soak({"sign", "--check", live_id, "--who", "dana"}, said) == 0);
  CHECK(soak(look, said) == 0);
  CHECK(said.find("promote") == 0);

  for (const char* format : {"json", "markdown", "html"}) {
    std::vector<std::string> arguments = look;
    arguments.insert(arguments.end(), {"--format", format});
    CHECK(soak(arguments, said) == 0);
    if (std::string(format) == "json") CHECK(log.execute("SELECT $1::jsonb ->> 'decision'", {said})(0, 0) == "promote");
  }

  // A bug that is found later starts the clock anew, when it is said.
  CHECK(soak({"adjudicate", "--check", live_id, "--at", "2026-02-21T09:00", "--verdict", "check_bug", "--evidence", "wrong filter", "--who", "dana"}, said) ==
        0);
  log.execute("UPDATE recon_engine.adjudications SET said = '2026-03-01T12:00Z' WHERE verdict = 'check_bug'", {});
  log.execute("UPDATE recon_engine.adjudications SET said = '2026-02-28T12:00Z' WHERE verdict = 'real_break'", {});
  CHECK(soak(look, said) == 2);
  CHECK(said.find("clock restarted 2026-03-01T12:00:00.000Z") != std::string::npos);
}

TEST_CASE("A command that is wrong changes nothing and says what is wrong") {
  fresh();
  Month month;
  write(month.in.runs, old_id, live_id);
  std::string said;
  CHECK(soak({"adjudicate", "--check", live_id, "--at", "2026-02-21T09:00", "--verdict", "fine", "--evidence", "x", "--who", "y"}, said) == 64);
  CHECK(soak({"adjudicate", "--check", live_id, "--at", "2026-02-21T09:00", "--verdict", "infra", "--who", "y"}, said) == 64);
  CHECK(said.find("--evidence is missing") != std::string::npos);
  CHECK_THROWS_AS(soak({"adjudicate", "--check", live_id, "--at", "2026-02-21T09:00", "--verdict", "infra", "--evidence", "x", "--who", "y"}, said),
                  Failure);  // all passed then
  CHECK(soak({"outage", "--from", "2026-02-21", "--until", "2026-02-21", "--what", "x", "--who", "y"}, said) == 64);
  CHECK(soak({"--from", "yesterday"}, said) == 64);
  CHECK(soak({"--format", "pdf"}, said) == 64);
  CHECK(soak({"--check", old_id}, said) == 64);
  CHECK(soak({"dance"}, said) == 64);
  CHECK_THROWS_AS(soak({"--check", "omnibus-balances-square-live"}, said), Failure);  // it has no run
  PostgresWriter log(log_dsn());
  for (const char* table : {"adjudications", "outages", "sign_offs"})
    CHECK(log.execute(std::string("SELECT count(*) FROM recon_engine.") + table, {})(0, 0) == "0");
}

TEST_CASE("The pager does not move unless the record says so, or somebody says why") {
  fresh();
  Month month;  // of last spring: since then nothing ran
  write(month.in.runs, old_id, live_id);
  char folder[] = "/tmp/epochcut-promote-XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/watch.toml";
  std::string text =
      "[stores]\npostgres_env = \"EPOCHCUT_POSTGRES\"\nlog_env = \"EPOCHCUT_POSTGRES_LOG\"\nclickhouse = \"http://127.0.0.1:1/\"\ncustodian = \"http://127.0.0.1:1\"\n"
      "[program]\nspool = \"/tmp/none\"\n";
  for (const CheckInfo& info : all_checks)
    if (info.live) text += "[checks.\"" + std::string(info.id) + "\"]\npaging = false\n";
  std::ofstream(path) << text;
  const auto promote = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"apply", "--check", live_id, "--step", "promote"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::ostringstream out, err;
    return promote_command(path, arguments, out, err);
  };
  const std::string before = load_config(path).revision;
  CHECK(promote({}) == 1);
  CHECK(load_config(path).revision == before);
  CHECK(promote({"--unproved", "an exercise", "--dry-run"}) == 0);
  CHECK(load_config(path).revision == before);
  CHECK(promote({"--unproved", "an exercise"}) == 0);
  CHECK(load_config(path).checks.at(live_id).paging);
  CHECK_FALSE(load_config(path).checks.at(old_id).paging);
  std::filesystem::remove_all(folder);
}

TEST_CASE("Times and gaps are read exactly") {
  CHECK(instant_of("2026-02-16") == begin);
  CHECK(instant_of("2026-02-16T16:05:07.250Z") == begin + hours(16) + minutes(5) + seconds(7) + Millis{250});
  for (const char* bad : {"", "2026", "2026-02", "2026-02-30", "2026-2-16", "2026-02-16T16", "2026-02-16T24:00", "2026-02-16 16:05", "2026-02-16T16:05:07.25Z",
                          "2026-02-16Zx", "2026-02-16T+1:05"})
    CHECK_THROWS_AS(instant_of(bad), Failure);
  CHECK(to_string(*gap_of("amount=10, fee=1", "amount=7.5, fee=9")) == "8");
  CHECK(to_string(gap_of("amount=-0.1", "amount=0.2")->shortest()) == "0.3");
  CHECK_FALSE(gap_of("amount=10", ""));
  CHECK_FALSE(gap_of("memo=abc", "memo=abd"));
}

namespace {

/// A running exchange in tables of its own, and a configuration in which nothing pages for half a year.
struct Venue {
  exchange::EngineOptions options;
  std::optional<exchange::RunningEngine> engine;

  Venue() {
    options.postgres = std::getenv("EPOCHCUT_POSTGRES"), options.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
    options.layout.schema = options.layout.database = "t_canary";
    drop();
    exchange::create_tables(options);
    options.rate = 200;
    engine.emplace(options);
    while (engine->sequence() < 200 && engine->running()) std::this_thread::sleep_for(Millis{10});
    REQUIRE(engine->running());
  }
  ~Venue() {
    engine.reset();
    drop();
  }
  void drop() {
    PostgresWriter(options.postgres).execute("SET client_min_messages = warning; DROP SCHEMA IF EXISTS t_canary CASCADE");
    exchange::ClickhouseWriter(options.clickhouse).execute("DROP DATABASE IF EXISTS t_canary");
  }

  Config config(const std::string& more = "") const {
    const std::chrono::year_month_day today(std::chrono::floor<days>(Time().now()));
    const std::string never = "schedule = \"0 0 0 1 " + std::to_string((static_cast<unsigned>(today.month()) + 5) % 12 + 1) + " *\"\n";
    std::string text =
        "[stores]\npostgres_env = \"TEST_LEDGER\"\nlog_env = \"EPOCHCUT_POSTGRES_LOG\"\nclickhouse_env = \"EPOCHCUT_CLICKHOUSE\"\nclickhouse_database = \"t_canary\"\n"
        "custodian = \"http://127.0.0.1:1\"\n[program]\nspool = \"/tmp/none\"\n";
    for (const CheckInfo& info : all_checks)
      if (more.find(info.id) == std::string::npos || !info.live)
        text += "[checks.\"" + std::string(info.id) + "\"]\n" + (info.live ? "paging = false\n" : never);
    return parse_config(text + more, "watch.toml", [](const std::string& name) -> std::optional<std::string> {
      if (name == "TEST_LEDGER") return std::string(std::getenv("EPOCHCUT_POSTGRES_RECON")) + " options='-c search_path=t_canary'";
      return std::getenv(name.c_str());
    });
  }
};

int canary(const Config& config, const std::vector<std::string>& arguments, std::string& output) {
  std::ostringstream out, err;
  const int code = canary_command(config, arguments, out, err);
  output = out.str() + err.str();
  return code;
}

std::string checked(const Config& config, const std::string& id) {
  const CheckInfo& info = *find_check(id);
  Watch watch(info, config.checks.at(id), server_asker(info, config), {}, std::nullopt);
  const Run run = watch.run_now("manual", nullptr);
  return run.status == Status::error ? run.message : std::string(to_string(run.status));
}

}  // namespace

TEST_CASE("A canary is planted while the exchange runs, caught, recorded and taken back") {
  fresh();
  const char* asked = std::getenv("EPOCHCUT_FULL");
  const bool full = asked != nullptr && std::string(asked) == "1";  // a mutation of this server takes it ten seconds to begin
  const Venue venue;
  const Config config = venue.config();
  const std::string writer = venue.options.clickhouse;
  PostgresWriter log(log_dsn());
  std::string said;
  REQUIRE(checked(config, live_id) == "pass");

  CHECK(canary(config, {"--check", live_id, "--writer", writer, "--direct", "yes", "--fault", full ? "change_amount" : "extra_row"}, said) == 0);
  INFO(said);
  CHECK(said.find("caught with fire 1") != std::string::npos);
  CHECK(log.execute("SELECT count(*) FROM recon_engine.planted_breaks WHERE live AND caught >= planted AND removed >= caught AND fires = 1", {})(0, 0) == "1");
  CHECK(log.execute("SELECT string_agg(trigger || ' ' || status, ', ') FROM recon_engine.invariants_log", {})(0, 0) == "canary fail");
  CHECK(checked(config, live_id) == "pass");

  // The running program, as this thread plays it, is what must find it.
  const CheckInfo& info = *find_check(live_id);
  std::jthread program([&](std::stop_token stop) {
    CheckConfig check = config.checks.at(live_id);
    check.schedule = "*/3 * * * * *";
    Watch watch(info, check, server_asker(info, config), {}, std::nullopt);
    PostgresLog runs(log_dsn());
    while (!stop.stop_requested()) {
      if (const auto run = watch.run_due(nullptr)) runs.write(*run);
      std::this_thread::sleep_for(Millis{20});
    }
  });
  CHECK(canary(config, {"--check", live_id, "--writer", writer, "--fault", full ? "delete_row" : "extra_row"}, said) == 0);
  CHECK(said.find("caught with fire ") != std::string::npos);
  program.request_stop();
  program.join();
  CHECK(log.execute("SELECT count(*) FROM recon_engine.planted_breaks WHERE caught IS NOT NULL", {})(0, 0) == "2");
  CHECK(checked(config, live_id) == "pass");

  if (!full) return;
  // Nobody runs the check: nothing is caught, and that stands on record.
  CHECK(canary(config, {"--check", live_id, "--writer", writer, "--wait", "2"}, said) == 1);
  CHECK(said.find("NOT caught") != std::string::npos);
  CHECK(log.execute("SELECT count(*) FROM recon_engine.planted_breaks WHERE caught IS NULL AND removed IS NOT NULL", {})(0, 0) == "1");
  CHECK(checked(config, live_id) == "pass");
}

TEST_CASE("A canary wakes nobody") {
  fresh();
  const Venue venue;
  std::string said;
  const std::vector<std::string> plant{"--check", live_id, "--writer", venue.options.clickhouse, "--direct", "yes"};
  CHECK(canary(venue.config("[checks.\"transactions-balance-live\"]\npaging = true\n"), plant, said) == 64);
  CHECK(said.find("transactions-balance-live pages") != std::string::npos);
  CHECK(canary(venue.config("[checks.\"omnibus-balances-square-live\"]\npaging = true\nschedule = \"*/10 * * * * *\"\n"), plant, said) == 64);
  CHECK(said.find("omnibus-balances-square-live pages and fires at") != std::string::npos);
  CHECK(canary(venue.config("[checks.\"pnl-is-zero-sum-live\"]\npaging = true\n"), plant, said) == 64);
  CHECK(said.find("may run at any moment") != std::string::npos);
  CHECK(canary(venue.config(), {"--check", old_id, "--writer", "x"}, said) == 64);
  CHECK(canary(venue.config(), {"--check", live_id}, said) == 64);
  CHECK(canary(venue.config(), {"--check", live_id, "--writer", venue.options.clickhouse, "--fault", "duplicate_row"}, said) == 64);
  CHECK(PostgresWriter(log_dsn()).execute("SELECT count(*) FROM recon_engine.planted_breaks", {})(0, 0) == "0");
  CHECK(checked(venue.config(), live_id) == "pass");
}
