// How fast is a store read and decoded, beside its client library reading the same query into nothing?
// Takes the servers from EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE (examples/servers.sh), makes its tables there once, and measures limit and ours
// alternating: medians of wall time, since what is measured is a client and a server working at the same time.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <curl/curl.h>
#include <libpq-fe.h>

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "live.hpp"

using namespace epochcut;
using live::ask, live::clickhouse_url, live::cpu_s, live::fail, live::Libpq, live::post, live::postgres_dsn, live::throw_away, live::wall_s;

namespace {

constexpr int repetitions = 5;
constexpr const char* usage =
    "usage: read_bench [--rows N] [--only TEXT] [--json]\n"
    "  --rows N     rows of the narrow tables (5000000); the wide ones have two fifths of them\n"
    "  --only TEXT  only what has TEXT in its name\n"
    "  --json       one JSON object per line instead of a table\n"
    "Servers: EPOCHCUT_POSTGRES, EPOCHCUT_CLICKHOUSE, as examples/servers.sh prints them.\n";

struct Options {
  std::uint64_t rows = 5'000'000;
  std::string only;
  bool json = false;
};

struct Amount {
  std::uint64_t rows = 0, bytes = 0;
};

struct Timed {
  std::vector<double> wall, cpu;
  Amount amount;
  void run(const std::function<Amount()>& body) {
    const double wall_before = wall_s(), cpu_before = cpu_s();
    amount = body();
    wall.push_back(wall_s() - wall_before), cpu.push_back(cpu_s() - cpu_before);
  }
};

class Report {
 public:
  explicit Report(Options options) : options_(std::move(options)) {
    if (!options_.json) std::printf("%-44s %12s %12s %7s %6s  %s\n", "", "ours rows/s", "limit rows/s", "ratio", "aim", "client's CPU s, bytes");
  }

  bool wants(const std::string& name) const { return name.find(options_.only) != std::string::npos; }

  /// Both read `rows` rows, in turns; `limit` may not know how many.
  void measure(const std::string& name, std::uint64_t rows, double aim, const std::string& what, const std::function<Amount()>& limit,
               const std::function<Amount()>& ours) {
    if (!wants(name)) return;
    Timed a, b;
    a.run(limit), b.run(ours);  // once for warm caches
    a.wall.clear(), a.cpu.clear(), b.wall.clear(), b.cpu.clear();
    for (int i = 0; i < repetitions; ++i) a.run(limit), b.run(ours);
    if (b.amount.rows != rows) fail(name + ": " + std::to_string(b.amount.rows) + " rows came instead of " + std::to_string(rows));
    const double n = static_cast<double>(rows), limit_s = live::median(a.wall), ours_s = live::median(b.wall);
    if (options_.json) {
      std::printf(
          "{\"name\": \"%s\", \"ours\": %.0f, \"limit\": %.0f, \"ratio\": %.3f, \"aim\": %.2f, \"lower_is_better\": false, \"unit\": \"rows/s\", \"rows\": %llu, "
          "\"note\": \"%s; %.0f MB/s; client CPU %.3f s against %.3f s\"}\n",
          name.c_str(), n / ours_s, n / limit_s, limit_s / ours_s, aim, static_cast<unsigned long long>(rows), what.c_str(),
          static_cast<double>(a.amount.bytes) / ours_s / 1e6, live::median(b.cpu), live::median(a.cpu));
    } else {
      std::printf("%-44s %12.0f %12.0f %7.3f %6.2f  %.3f / %.3f, %llu\n", name.c_str(), n / ours_s, n / limit_s, limit_s / ours_s, aim, live::median(b.cpu),
                  live::median(a.cpu), static_cast<unsigned long long>(b.amount.bytes));
    }
    std::fflush(stdout);
  }

 private:
  Options options_;
};

// ClickHouse.

void make_clickhouse_table(const std::string& table, const std::string& columns, const std::string& select, std::uint64_t rows) {
  ask("CREATE DATABASE IF NOT EXISTS read_bench");
  if (ask("EXISTS TABLE read_bench." + table) == "1") {
    if (ask("SELECT count() FROM read_bench." + table) == std::to_string(rows)) return;
    ask("DROP TABLE read_bench." + table);
  }
  ask("CREATE TABLE read_bench." + table + " (" + columns + ") ENGINE = MergeTree ORDER BY event_id");
  ask("INSERT INTO read_bench." + table + " SELECT " + select + " FROM numbers(" + std::to_string(rows) + ")");
}

AsOf everything() {
  AsOf at = as_of(Stream{.id = "bench", .event_id = "event_id"}, Epoch{});
  at.last_event_id = ~std::uint64_t{0} >> 1;
  return at;
}

Amount drain(AnyCursor cursor) {
  Relation block;
  std::uint64_t rows = 0;
  while (cursor->next(block)) rows += block.rows();
  const Proof proof = cursor->proof();
  return {rows, proof.bytes};
}

void clickhouse_read(Report& report, const std::string& name, QueryPlan plan, std::uint64_t rows, bool ordered, const std::string& what) {
  if (!report.wants(name)) return;
  plan.any_order = !ordered;
  ClickHouse source(clickhouse_url());
  const std::string sql = clickhouse::render(plan, everything(), Form::plain, source.describe(plan.relation, {})).sql;
  const Control control{.rows_max = ~std::uint64_t{0}, .bytes_max = ~std::uint64_t{0}};
  report.measure(
      name, rows, 0.9, what,
      [&] {
        std::uint64_t bytes = 0;
        post(sql + " FORMAT Native", &throw_away, &bytes);
        return Amount{0, bytes};
      },
      [&] { return drain(source.open(plan, everything(), Form::plain, control)); });
}

// PostgreSQL.

void make_postgres_table(const std::string& table, const std::string& columns, const std::string& select, std::uint64_t rows) {
  Libpq pg;
  pg.execute("CREATE SCHEMA IF NOT EXISTS read_bench");
  if (pg.execute("SELECT to_regclass('read_bench." + table + "') IS NOT NULL") == "t") {
    if (pg.execute("SELECT count(*) FROM read_bench." + table) == std::to_string(rows)) return;
    pg.execute("DROP TABLE read_bench." + table);
  }
  pg.execute("CREATE TABLE read_bench." + table + " (event_id bigint, " + columns + ")");
  pg.execute("INSERT INTO read_bench." + table + " SELECT i, " + select + " FROM generate_series(1, " + std::to_string(rows) + "::bigint) AS i");
  pg.execute("ALTER TABLE read_bench." + table + " ADD PRIMARY KEY (event_id)");
  pg.execute("VACUUM (ANALYZE, FREEZE) read_bench." + table);
}

/// The statement that the source would send for current(table).key("event_id").values(columns...), between two keys.
std::string select_of(const std::string& table, const std::string& columns, const std::string& where = "") {
  return "SELECT event_id, " + columns + " FROM (SELECT event_id, " + columns + " FROM read_bench." + table + ") AS e" + where + " ORDER BY event_id";
}

void postgres_read(Report& report, const std::string& name, const QueryPlan& plan, const std::string& table, const std::string& columns, std::uint64_t rows,
                   int readers, const std::string& what) {
  if (!report.wants(name)) return;
  const Control control{.rows_max = ~std::uint64_t{0}, .bytes_max = ~std::uint64_t{0}};
  std::vector<Libpq> raw(static_cast<std::size_t>(readers));
  PostgresOptions options;

  options.readers = readers;

  Postgres postgres(postgres_dsn(), {}, options);
  report.measure(
      name, rows, 0.95, what,
      [&] {
        std::vector<std::uint64_t> bytes(raw.size());
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < raw.size(); ++i)
          threads.emplace_back([&, i] {
            const auto bound = [&](std::size_t n) { return std::to_string(rows * n / raw.size()); };
            bytes[i] = raw[i].copy(select_of(table, columns, raw.size() == 1 ? "" : " WHERE event_id > " + bound(i) + " AND event_id <= " + bound(i + 1)));
          });
        Amount amount;
        for (std::size_t i = 0; i < raw.size(); ++i) threads[i].join(), amount.bytes += bytes[i];
        return amount;
      },
      [&] { return drain(postgres.open(plan, AsOf{.at_rest = true}, Form::plain, control)); });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  live::read_arguments(argc, argv, usage, {{"--rows", &options.rows}, {"--only", &options.only}, {"--json", &options.json}});
  if (options.rows < 100) return std::fputs(usage, stderr), 2;
  try {
    const std::uint64_t narrow = options.rows, wide = options.rows * 2 / 5;
    Report report(options);

    make_clickhouse_table("narrow", "event_id UInt64, a Int64, b Int64, c Int64, d Int64",
                          "number + 1, toInt64(number * 7), toInt64(number % 1000), -toInt64(number), toInt64(intHash64(number) % 1000000007)", narrow);
    make_clickhouse_table("wide", "event_id UInt64, amount Decimal(38, 8), memo String, id UUID, at DateTime, note Nullable(String)",
                          "number + 1, toDecimal128(toInt64(intHash64(number) % 1000000000000), 8), concat('memo of event ', toString(number)), "
                          "toUUID(concat('00000000-0000-4000-8000-', lower(hex(number + 1099511627776)))), "
                          "toDateTime(1600000000 + number), if(number % 3 = 0, NULL, toString(number % 1000))",
                          wide);
    const QueryPlan ch_narrow = events("read_bench.narrow").values("a", "b", "c", "d").plan();
    const QueryPlan ch_wide = events("read_bench.wide").values("amount", "memo", "id", "at", "note").plan();
    const std::string limit = "limit: libcurl reading the same query into nothing";
    clickhouse_read(report, "ClickHouse read, narrow", ch_narrow, narrow, false, "5 integers, as the table lies; " + limit);
    clickhouse_read(report, "ClickHouse read, narrow, ordered", ch_narrow, narrow, true, "5 integers, sorted by the server; " + limit);
    clickhouse_read(report, "ClickHouse read, wide", ch_wide, wide, false, "UInt64, Decimal(38, 8), String, UUID, DateTime, Nullable(String); " + limit);
    clickhouse_read(report, "ClickHouse read, wide, ordered", ch_wide, wide, true, "the same, sorted by the server; " + limit);

    make_postgres_table("narrow", "a bigint NOT NULL, b bigint NOT NULL, c bigint NOT NULL, d bigint NOT NULL", "i * 7, i % 1000, -i, i * 48271 % 1000000007",
                        narrow);
    make_postgres_table("wide", "amount numeric(38, 8), memo text, id uuid, at timestamptz, note text",
                        "(i * 48271 % 1000000000000)::numeric / 1000, 'memo of event ' || i, lpad(to_hex(i), 32, '0')::uuid, to_timestamp(1600000000 + i), "
                        "CASE WHEN i % 3 = 0 THEN NULL ELSE (i % 1000)::text END",
                        wide);
    const QueryPlan pg_narrow = current("read_bench.narrow").key("event_id").values("a", "b", "c", "d").plan();
    const QueryPlan pg_wide = current("read_bench.wide").key("event_id").values("amount", "memo", "id", "at", "note").plan();
    const std::string copy = "; limit: libpq reading the same COPY into nothing";
    const std::string wide_columns = "amount, memo, id, at, note";
    postgres_read(report, "PostgreSQL read, narrow", pg_narrow, "narrow", "a, b, c, d", narrow, 1, "5 bigint" + copy);
    postgres_read(report, "PostgreSQL read, wide", pg_wide, "wide", wide_columns, wide, 1, "bigint, numeric(38, 8), text, uuid, timestamptz, text" + copy);
    for (const int readers : {2, 4}) {
      const std::string n = std::to_string(readers);
      postgres_read(report, "PostgreSQL read, narrow, " + n + " connections", pg_narrow, "narrow", "a, b, c, d", narrow, readers,
                    "5 bigint, one exported snapshot; limit: " + n + " threads of libpq reading as many ranges into nothing");
    }
  } catch (const std::exception& failure) {
    fail(failure.what());
  }
  return 0;
}
