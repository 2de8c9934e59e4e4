// What does a whole comparison of PostgreSQL with ClickHouse cost, beside both raw streams; a check with its proof, beside the raw queries; and how much
// memory do long streams take? Takes the servers from EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE (examples/servers.sh) and makes its tables there once.
#include <fstream>
#include <thread>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/verdict/full_compare.hpp>

#include "live.hpp"

using namespace epochcut;

namespace {

constexpr int repetitions = 5;
constexpr const char* usage =
    "usage: compare_bench [--rows N] [--memory-rows N] [--only TEXT] [--json]\n"
    "       compare_bench --once [--rows N] [--readers N]\n"
    "  --rows N         rows of the compared tables (2000000)\n"
    "  --memory-rows N  rows of the stream whose memory is measured (10000000)\n"
    "  --only TEXT      only what has TEXT in its name\n"
    "  --json           one JSON object per line instead of a table\n"
    "  --once           compares the tables that such a run has left, once, and prints the seconds: for a peer, in turns with its own\n"
    "  --readers N      PostgreSQL sessions that read one snapshot (1)\n"
    "Servers: EPOCHCUT_POSTGRES, EPOCHCUT_CLICKHOUSE, as examples/servers.sh prints them.\n";

const std::string schema = "compare_bench", columns = "event_id, a, b, c, d";
constexpr std::uint64_t group_count = 1'000;

struct Options {
  std::uint64_t rows = 2'000'000, memory_rows = 10'000'000, readers = 1;
  std::string only;
  bool json = false, once = false;
};

void print(const Options& options, const std::string& name, double ours, double limit, double aim, const std::string& unit, std::uint64_t rows,
           const std::string& note) {
  std::printf(options.json ? "{\"name\": \"%s\", \"ours\": %.4f, \"limit\": %.4f, \"ratio\": %.3f, \"aim\": %.2f, \"lower_is_better\": true, \"unit\": \"%s\", "
                             "\"rows\": %llu, \"note\": \"%s\"}\n"
                           : "%-46s %10.4f %10.4f %7.3f %6.2f %-4s %llu  %s\n",
              name.c_str(), ours, limit, ours / limit, aim, unit.c_str(), static_cast<unsigned long long>(rows), note.c_str());
  std::fflush(stdout);
}

/// The same rows in both stores; in ClickHouse once more with some of them changed.
void make_tables(const Options& options, const std::string& table, std::uint64_t rows, const std::vector<std::uint64_t>& differences) {
  const std::string number = std::to_string(rows), ledger = schema + "." + table;
  live::Libpq pg;
  pg.execute("CREATE SCHEMA IF NOT EXISTS " + schema);
  if (pg.execute("SELECT to_regclass('" + ledger + "') IS NOT NULL") != "t" || pg.execute("SELECT count(*) FROM " + ledger) != number) {
    pg.execute("DROP TABLE IF EXISTS " + ledger);
    pg.execute("CREATE TABLE " + ledger + " (event_id bigint NOT NULL, a bigint NOT NULL, b bigint NOT NULL, c bigint NOT NULL, d bigint NOT NULL)");
    pg.execute("INSERT INTO " + ledger + " SELECT i, i * 7, i % " + std::to_string(group_count) + ", -i, i * 48271 % 1000000007 FROM generate_series(1, " +
               number + "::bigint) AS i");
    pg.execute("ALTER TABLE " + ledger + " ADD PRIMARY KEY (event_id)");
    pg.execute("VACUUM (ANALYZE, FREEZE) " + ledger);
  }
  live::ask("CREATE DATABASE IF NOT EXISTS " + schema);
  pg.execute("CREATE TABLE IF NOT EXISTS " + schema +
             ".resume_tokens (stream text COLLATE \"C\", authority text COLLATE \"C\", generation bigint, sequence bigint, latest_execution_ns bigint)");
  pg.execute("CREATE TABLE IF NOT EXISTS " + schema +
             ".resume_token_digests (stream text COLLATE \"C\", authority text COLLATE \"C\", relation text COLLATE \"C\", row_count numeric(20), sum_low "
             "numeric(20), sum_high numeric(20), acked_sequence bigint, acked_by text)");
  Digest ids;
  for (std::uint64_t id = 1; id <= rows; ++id) ids += digest_of_event_id(id);
  pg.execute("DELETE FROM " + schema + ".resume_tokens WHERE stream = '" + table + "'");
  pg.execute("DELETE FROM " + schema + ".resume_token_digests WHERE stream = '" + table + "'");
  pg.execute("INSERT INTO " + schema + ".resume_tokens VALUES ('" + table + "', 'production', 1, " + number + ", 0)");
  for (const std::uint64_t some : differences) {
    const std::string copy = schema + "." + table + "_" + std::to_string(some);
    pg.execute("INSERT INTO " + schema + ".resume_token_digests VALUES ('" + table + "', 'production', '" + copy + "', " + std::to_string(ids.count) + ", " +
               std::to_string(ids.sum_low) + ", " + std::to_string(ids.sum_high) + ", 0, '')");
    if (live::ask("EXISTS TABLE " + copy) == "1") {
      if (live::ask("SELECT count() FROM " + copy) == number) continue;
      live::ask("DROP TABLE " + copy);
    }
    live::ask("CREATE TABLE " + copy + " (event_id UInt64, a Int64, b Int64, c Int64, d Int64) ENGINE = MergeTree ORDER BY event_id");
    const std::string changed = some == 0 ? "0" : "number % " + std::to_string(rows / some) + " = 7";
    live::ask("INSERT INTO " + copy + " SELECT number + 1, toInt64(number + 1) * 7, toInt64((number + 1) % " + std::to_string(group_count) +
              "), -toInt64(number + 1), toInt64((number + 1) * 48271 % 1000000007) + (" + changed + ") FROM numbers(" + number + ")");
  }
  if (!options.json) std::fprintf(stderr, "tables of %s rows are there\n", number.c_str());
}

Postgres ledger_of(const std::string& table, std::uint64_t readers = 1) {
  TokenTable token{.table = schema + ".resume_tokens", .digests = schema + ".resume_token_digests", .stream = table};
  token.leg_bits = 0;
  PostgresOptions options;
  options.readers = static_cast<int>(readers);
  return Postgres(live::postgres_dsn(), token, options);
}

/// The most memory that this process held at once since `reset_peak`. Unit: KiB.
std::uint64_t peak_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10);
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

Outcome compared(const std::string& table, std::uint64_t differences, std::uint64_t readers = 1) {
  Postgres ledger = ledger_of(table, readers);
  ClickHouse analytics(live::clickhouse_url());
  const Query rows = events(schema + "." + table).values("a", "b", "c", "d"),
              copy = events(schema + "." + table + "_" + std::to_string(differences)).values("a", "b", "c", "d");
  return full_compare(ledger, {.id = "all rows", .left = {ledger, rows}, .right = {analytics, copy}});
}

/// A comparison that found something else than what was planted is no figure.
void require(const Outcome& outcome, std::uint64_t rows, std::uint64_t differences) {
  if (outcome.status != (differences == 0 ? Status::pass : Status::fail) || outcome.counts.changed != differences || outcome.counts.equal != rows - differences)
    live::fail("the comparison says " + std::string(to_string(outcome.status)) + ": " + outcome.message);
}

void once(const Options& options) {
  const double before = live::wall_s();
  require(compared("narrow", 0, options.readers), options.rows, 0);
  std::printf("%.4f\n", live::wall_s() - before);
}

void full_compares(const Options& options) {
  const std::string table = "narrow", number = std::to_string(options.rows);
  const std::vector<std::uint64_t> planted{0, 10, 10'000};
  bool made = false;
  for (const std::uint64_t differences : planted) {
    const std::string name = "full compare, " + std::to_string(differences) + " differences";
    if (name.find(options.only) == std::string::npos) continue;
    if (!std::exchange(made, true)) make_tables(options, table, options.rows, planted);
    live::Libpq pg;
    std::uint64_t most = 0;
    const auto limit = [&] {
      std::thread other([&] { live::discard("SELECT " + columns + " FROM " + schema + "." + table + "_" + std::to_string(differences)); });
      pg.copy("SELECT " + columns + " FROM " + schema + "." + table);
      other.join();
    };
    const auto ours = [&] {
      reset_peak();
      require(compared(table, differences), options.rows, differences);
      most = std::max(most, peak_kib());
    };
    const live::Pair s = live::alternate(repetitions, limit, ours);
    // What both cores of a machine have to do in all, apart from the times: to look at every process takes some milliseconds.
    std::vector<double> limit_cores, our_cores;
    const auto count = [](std::vector<double>& cores, const std::function<void()>& body) {
      const double before = live::cpu_s() + live::servers_cpu_s();
      body();
      cores.push_back(live::cpu_s() + live::servers_cpu_s() - before);
    };
    for (int i = 0; i < 3; ++i) count(limit_cores, limit), count(our_cores, ours);
    char cores[96];
    std::snprintf(cores, sizeof cores, "; %.2f core seconds of client and servers against %.2f", live::median(our_cores), live::median(limit_cores));
    print(options, name, s.ours, s.limit, 1.15, "s", options.rows,
          "limit: both raw streams in parallel; peak memory of the whole process " + std::to_string(most / 1024) + " MiB" + cores);
  }
}

void end_to_end(const Options& options) {
  const std::string name = "one check, end to end, with its proof", table = "narrow";
  if (name.find(options.only) == std::string::npos) return;
  make_tables(options, table, options.rows, {0});
  Postgres ledger = ledger_of(table);
  ClickHouse analytics(live::clickhouse_url());
  live::Libpq pg;
  const std::string copy = schema + "." + table + "_0";
  const live::Pair s = live::alternate(
      repetitions,
      [&] {
        pg.copy("SELECT b, sum(d) FROM " + schema + "." + table + " GROUP BY b ORDER BY b");
        live::discard("SELECT b, sum(d) FROM " + copy + " GROUP BY b ORDER BY b");
      },
      [&] {
        const Outcome outcome =
            check(ledger, {.id = "sums", .left = {ledger, events(schema + "." + table).by("b").sum("d")}, .right = {analytics, events(copy).by("b").sum("d")}});
        if (outcome.status != Status::pass || outcome.counts.equal != group_count) live::fail(outcome.message);
      });
  print(options, name, s.ours, s.limit, 1.3, "s", options.rows, "limit: the two sums by key without token, cut and digest, one after the other");
}

void memory(const Options& options) {
  const std::string name = "memory, both sides streamed", table = "long";
  if (name.find(options.only) == std::string::npos) return;
  make_tables(options, table, options.memory_rows, {0});
  reset_peak();
  const double before = live::wall_s();
  require(compared(table, 0), options.memory_rows, 0);
  char note[160];
  std::snprintf(note, sizeof note, "peak of the whole process; %.1f s, %.1f million rows of each side a second", live::wall_s() - before,
                static_cast<double>(options.memory_rows) / 1e6 / (live::wall_s() - before));
  print(options, name, static_cast<double>(peak_kib()) / 1024, 256, 1.0, "MiB", options.memory_rows, note);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  live::read_arguments(argc, argv, usage,
                       {{"--rows", &options.rows},
                        {"--memory-rows", &options.memory_rows},
                        {"--only", &options.only},
                        {"--json", &options.json},
                        {"--once", &options.once},
                        {"--readers", &options.readers}});
  if (options.rows < 100'000) return std::fputs(usage, stderr), 2;
  try {
    if (options.once) return once(options), 0;
    full_compares(options);
    end_to_end(options);
    memory(options);
  } catch (const Failure& failure) {
    live::fail(failure.message);
  }
  return 0;
}
