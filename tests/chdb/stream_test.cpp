// An answer that streams out of the engine in this process: whole or an error, bounded in memory, stoppable, and nobody's settings shorten it.
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/catch.hpp"

#include <epochcut/testing/manual_clock.hpp>

#include "chdb/pair.hpp"

using namespace live;

namespace {

const Stream stream{.id = "test", .leg_bits = 0};
constexpr std::uint64_t everything = UINT64_MAX;

AsOf at(std::uint64_t id) { return as_of(stream, {id, 0}); }

template <class Call>
Failure failure_of(Call call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure;
  }
  return {Reason::none, "nothing was thrown"};
}

struct Pulled {
  std::uint64_t rows = 0, blocks = 0;
  Proof proof;
};

Pulled pull(AnyCursor cursor) {
  Pulled pulled;
  Relation block;
  for (; cursor->next(block); ++pulled.blocks) pulled.rows += block.rows();
  pulled.proof = cursor->proof();
  return pulled;
}

/// Statements of ours that the engine still runs.
std::string running(Engine& engine) {
  return engine.query("SELECT count() FROM system.processes WHERE query LIKE '%SETTINGS max_block_size%' AND query NOT LIKE '%system.processes%'");
}

/// KiB, of this process now.
std::uint64_t resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  return 0;
}

/// What a session with these settings answers to a statement that pins nothing.
std::string unpinned(const Engine& engine, const std::vector<std::string>& arguments, const std::string& sql) {
  const chdb::Connection connection(engine.path, {.database = "test", .arguments = arguments});
  const chdb::Result result(chdb_query_n(connection.get(), sql.data(), sql.size(), "TSV", 3));
  return result.error().empty() ? std::string(result.bytes()) : std::string(result.error());
}

}  // namespace

TEST_CASE("an answer streams: what is held is a block, not the result") {
  Engine engine;
  engine.execute("CREATE TABLE ids (event_id UInt64) ENGINE = MergeTree ORDER BY event_id");
  engine.execute("INSERT INTO ids SELECT number FROM numbers(1000000)");
  engine.execute("CREATE VIEW wide AS SELECT event_id, repeat(toString(event_id % 10), 1000) AS s FROM ids");
  auto source = engine.source({.block_rows = 8'192});
  const Control unbounded{.rows_max = everything, .bytes_max = everything};
  const auto grown_kb = [&](std::uint64_t rows) {
    const std::uint64_t before_kb = resident_kb();
    std::uint64_t most_kb = before_kb, seen = 0;
    AnyCursor cursor = source.open(events("wide").values("s").plan(), at(rows - 1), Form::plain, unbounded);
    for (Relation block; cursor->next(block); most_kb = std::max(most_kb, resident_kb())) seen += block.rows();
    CHECK(seen == rows);
    CHECK(cursor->proof().bytes > rows * 1'000);
    return most_kb - before_kb;
  };
  grown_kb(100'000);  // what the engine keeps anyhow, it has now
  const std::uint64_t grown = grown_kb(1'000'000);
  INFO("for 1 GB it grew by " << grown << " KiB");
  CHECK(grown < 200u << 10);
}

TEST_CASE("an exception in the middle of an answer is an error, whatever came before it") {
  Engine engine;
  engine.execute("CREATE TABLE sound (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
  engine.execute("INSERT INTO sound SELECT number, number FROM numbers(200000)");
  engine.execute("CREATE VIEW broken AS SELECT event_id, v + throwIf(event_id = 100000) AS v FROM sound");
  auto source = engine.source({.block_rows = 8'192});
  AnyCursor cursor = source.open(events("broken").values("v").plan(), at(everything), Form::plain, {});
  Relation block;
  std::uint64_t rows = 0;
  const Failure failure = failure_of([&] {
    while (cursor->next(block)) rows += block.rows();
  });
  CHECK(failure.engine_code == "395");
  CHECK(failure.kind == Reason::unknown);
  CHECK(failure.sql.find("broken") != std::string::npos);
  CHECK(rows > 0);  // else it was not in the middle
  CHECK(rows <= 100'000);
  CHECK(failure_of([&] { cursor->next(block); }).kind == Reason::incomplete);
  CHECK(failure_of([&] { cursor->proof(); }).kind == Reason::incomplete);
  CHECK(failure_of([&] { pull(source.open(events("broken").sum("v").plan(), at(everything), Form::plain, {})); }).engine_code == "395");
  CHECK(pull(source.open(events("broken").values("v").plan(), at(99'999), Form::plain, {})).rows == 100'000);
}

TEST_CASE("stopped from outside, cancelled, late or given up: an error, and the engine stops too") {
  Engine engine;
  engine.execute("CREATE TABLE big (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
  engine.execute("INSERT INTO big SELECT number, number FROM numbers(3000000)");
  auto source = engine.source();
  const QueryPlan plan = events("big").values("v").plan();
  Relation block;
  SECTION("KILL QUERY") {
    AnyCursor cursor = source.open(plan, at(everything), Form::plain, {});
    REQUIRE(cursor->next(block));
    REQUIRE(running(engine) == "1\n");
    engine.execute("KILL QUERY WHERE query LIKE '%big%' AND query LIKE '%SETTINGS max_block_size%' ASYNC");
    const Failure failure = failure_of([&] {
      while (cursor->next(block)) {
      }
    });
    CHECK(failure.kind == Reason::cancelled);
    CHECK(failure.retryable);
  }
  SECTION("cancelled between two blocks") {
    Cancel cancel;
    AnyCursor cursor = source.open(plan, at(everything), Form::plain, {.cancel = &cancel});
    REQUIRE(cursor->next(block));
    cancel.request();
    CHECK(failure_of([&] { cursor->next(block); }).kind == Reason::cancelled);
    CHECK(failure_of([&] { cursor->proof(); }).kind == Reason::incomplete);
  }
  SECTION("past its deadline between two blocks") {
    testing::ManualClock clock;
    AnyCursor cursor = source.open(plan, at(everything), Form::plain, {.clock = &clock, .deadline = clock.now() + Millis(100'000)});
    REQUIRE(cursor->next(block));
    clock.sleep(Millis(100'000));
    CHECK(failure_of([&] { cursor->next(block); }).kind == Reason::timeout);
    const ChdbOptions impatient{.statement_timeout = Millis(50'000)};
    auto other = engine.source(impatient);
    AnyCursor late = other.open(plan, at(everything), Form::plain, {.clock = &clock});
    REQUIRE(late->next(block));
    clock.sleep(Millis(50'000));
    const Failure failure = failure_of([&] { late->next(block); });
    CHECK(failure.kind == Reason::timeout);
    CHECK(failure.message.find("statement_timeout") != std::string::npos);
  }
  SECTION("past its deadline inside of a block") {
    engine.execute("CREATE VIEW slow AS SELECT event_id, v + sleepEachRow(0.0001) AS v FROM big SETTINGS function_sleep_max_microseconds_per_block = 0");
    const Millis begin = SystemClock().now();
    CHECK(failure_of([&] { pull(source.open(events("slow").sum("v").plan(), at(everything), Form::plain, {.deadline = begin + Millis(1'000)})); }).kind ==
          Reason::timeout);
    CHECK(SystemClock().now() - begin < Millis(60'000));  // reading all of it takes 300 s
  }
  SECTION("more than the reader wants") {
    AnyCursor cursor = source.open(plan, at(everything), Form::plain, {.rows_max = 100'000});
    CHECK(failure_of([&] {
            while (cursor->next(block)) {
            }
          }).kind == Reason::too_large);
  }
  SECTION("its cursor destroyed") {
    {
      AnyCursor cursor = source.open(plan, at(everything), Form::plain, {});
      REQUIRE(cursor->next(block));
      REQUIRE(running(engine) == "1\n");
    }
  }
  CHECK(running(engine) == "0\n");
  CHECK(pull(source.open(plan, at(999'999), Form::plain, {})).rows == 1'000'000);
}

TEST_CASE("several cursors at once, on one thread and on several, and after their source") {
  Engine engine;
  engine.execute("CREATE TABLE big (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
  engine.execute("INSERT INTO big SELECT number, number FROM numbers(500000)");
  const QueryPlan plan = events("big").values("v").plan();
  Relation block;
  std::vector<AnyCursor> cursors;
  {
    auto source = engine.source();
    for (std::uint64_t i = 0; i < 3; ++i) cursors.push_back(source.open(plan, at(99'999 + 200'000 * i), Form::plain, {}));
  }
  std::uint64_t rows[3] = {};
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < 3; ++i)
      if (rows[i] < 100'000 + 200'000 * i && cursors[i]->next(block)) rows[i] += block.rows(), more = true;
  }
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK_FALSE(cursors[i]->next(block));
    CHECK(rows[i] == 100'000 + 200'000 * i);
    CHECK(cursors[i]->proof().ids->count == rows[i]);
  }
  auto shared = engine.source();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 3; ++i)
    threads.emplace_back([&, i] {
      try {
        right += pull(shared.open(plan, at(99'999 + 200'000 * i), Form::plain, {})).rows == 100'000 + 200'000 * i;
      } catch (const Failure&) {
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(right == 3);
}

TEST_CASE("no session's settings shorten an answer") {
  Engine engine;
  engine.execute("CREATE TABLE rows (event_id UInt64, k UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
  engine.execute("INSERT INTO rows SELECT number + 1, number % 5000, 1 FROM numbers(200000)");
  engine.execute("INSERT INTO rows VALUES (200001, 0, 1)");
  engine.execute("DELETE FROM rows WHERE event_id = 200001 SETTINGS lightweight_deletes_sync = 2");
  engine.execute("CREATE TABLE twice (event_id UInt64, v Int64) ENGINE = ReplacingMergeTree ORDER BY event_id");
  engine.execute("INSERT INTO twice VALUES (1, 5)");
  engine.execute("INSERT INTO twice VALUES (1, 6)");
  const std::string list = "SELECT count() FROM (SELECT event_id FROM rows)", listed = "200000\n", group = "SELECT k, count() FROM rows GROUP BY k ORDER BY k";
  struct Hostile {
    std::vector<std::string> arguments;
    std::string sql, harmless;  ///< what the statement answers without them; with them it must answer something else
    bool refused = false;       ///< a limit, which then stops a reading with an error instead of silently
  };
  const std::string groups = engine.query(group);
  const Hostile hostile[] = {
      {{"--max_result_rows=3", "--result_overflow_mode=break"},
       "SELECT event_id FROM rows ORDER BY event_id",
       engine.query("SELECT event_id FROM rows ORDER BY event_id")},
      {{"--max_rows_to_read=1000", "--read_overflow_mode=break"}, "SELECT count(), sum(v) FROM rows", "200000\t200000\n", true},
      {{"--max_rows_to_group_by=10", "--group_by_overflow_mode=any"}, "SELECT count() FROM (SELECT event_id FROM rows GROUP BY event_id)", "200000\n", true},
      {{"--limit=1"}, group, groups},
      {{"--offset=1"}, group, groups},
      {{"--additional_table_filters={'test.rows':'event_id > 100'}"}, list, listed},
      {{"--additional_result_filter=k > 100"}, group, groups},
      {{"--apply_deleted_mask=0"}, list, listed},
      {{"--final=1"}, "SELECT count() FROM twice", "2\n"},
      {{"--extremes=1"}, group, groups},
      {{"--aggregate_functions_null_for_empty=1"}, "SELECT sum(v) FROM rows WHERE v < 0", "0\n"},
      {{"--empty_result_for_aggregation_by_empty_set=1"}, "SELECT sum(v) FROM rows WHERE v < 0", "0\n"},
  };
  for (const Hostile& h : hostile) {
    INFO(h.arguments.front());
    const bool harmless = unpinned(engine, {}, h.sql) == h.harmless, harmful = unpinned(engine, h.arguments, h.sql) != h.harmless;
    REQUIRE(harmless);
    REQUIRE(harmful);  // else it proves nothing
    auto source = engine.source({.arguments = h.arguments});
    if (h.refused) {
      CHECK(failure_of([&] { pull(source.open(events("rows").by("k").sum("v").plan(), at(everything), Form::plain, {})); }).kind == Reason::too_large);
      continue;
    }
    const Pulled rows = pull(source.open(events("rows").values("v").plan(), at(everything), Form::plain, {}));
    CHECK(rows.rows == 200'000);
    CHECK(rows.proof.ids->count == 200'000);
    const Pulled grouped = pull(source.open(events("rows").by("k").sum("v").plan(), at(everything), Form::plain, {}));
    CHECK(grouped.rows == 5'000);
    CHECK(grouped.proof.ids->count == 200'000);
    CHECK(pull(source.open(events("twice").values("v").plan(), at(everything), Form::distinct, {})).proof.conflicts == 1);
    CHECK(source.visible("rows", at(everything), {}).count == 200'000);
  }
  SECTION("every pin reaches the statement") {
    // Each against a session that says otherwise. The query cache is one: here it has no room, so that it can't be caught in the act.
    std::vector<std::string> otherwise;
    std::string says;
    std::vector<std::string> wanted;
    const auto pin = [&](std::string_view name, std::string_view value) {
      const std::string other = value == "throw"                  ? "break"
                                : value == "none"                 ? "error"
                                : name == "max_parallel_replicas" ? "2"
                                : value == "1"                    ? "0"
                                : value == "0"                    ? "1"
                                                                  : "";
      if (other.empty() || engine.query("SELECT count() FROM system.settings WHERE name = '" + std::string(name) + "'") == "0\n") return;
      // What would stop the test itself, or what a session can't be given.
      if (name == "limit" || name == "offset" || name == "max_result_bytes" || name == "max_result_rows") return;
      otherwise.push_back("--" + std::string(name) + "=" + other);
      wanted.push_back(std::string(name) + "=" + std::string(value));
      says += (says.empty() ? "" : " UNION ALL ") + std::string("SELECT toUInt64(") + std::to_string(wanted.size()) + ") AS event_id, '" + std::string(name) +
              "=' || replaceOne(replaceOne(toString(getSetting('" + std::string(name) + "')), 'false', '0'), 'true', '1') AS v";
    };
    for (const auto& [name, value] : clickhouse::pinned_settings) pin(name, value);
    for (const auto& [name, value] : clickhouse::pinned_if_known) pin(name, value);
    for (const auto& [name, value] : chdb::pinned_settings) pin(name, value);
    REQUIRE(wanted.size() > 25);
    engine.execute("CREATE VIEW says AS " + says);
    std::vector<std::string> cache, others;  // the cache does not go with an overflow_mode that is not "throw"
    for (const std::string& o : otherwise) (o.starts_with("--use_query_cache") ? cache : others).push_back(o);
    REQUIRE(cache.size() == 1);
    for (const auto& arguments : {others, cache}) {
      auto source = engine.source({.arguments = arguments});
      AnyCursor cursor = source.open(events("says").values("v").plan(), at(everything), Form::plain, {});
      std::vector<std::string> said;
      for (Relation block; cursor->next(block);)
        for (std::size_t i = 0; i < block.rows(); ++i) said.emplace_back(block.column("v").text(i));
      CHECK(said == wanted);
    }
    for (std::size_t i = 0; i < otherwise.size(); ++i) {
      const std::string name = wanted[i].substr(0, wanted[i].find('='));
      const std::string session =
          unpinned(engine, {otherwise[i]}, "SELECT replaceOne(replaceOne(toString(getSetting('" + name + "')), 'false', '0'), 'true', '1')");
      CHECK(name + "=" + session != wanted[i] + "\n");  // else this pin was asked for nothing
    }
  }
  SECTION("what can't be pinned is refused") {
    auto source = engine.source({.arguments = {"--readonly=1"}});
    const Failure failure = failure_of([&] { pull(source.open(events("rows").sum("v").plan(), at(everything), Form::plain, {})); });
    CHECK(failure.kind == Reason::configuration);
    CHECK(failure.engine_code == "164");
    for (const char* pinned : {"readonly", "result_overflow_mode", "use_query_cache", "send_logs_level", "max_block_size"})
      CHECK(failure_of([&] { engine.source({.settings = {{pinned, "1"}}}); }).kind == Reason::configuration);
    CHECK(failure_of([&] { engine.source({.settings = {{"max_threads = 1, limit", "1"}}}); }).kind == Reason::configuration);
    auto unknown = engine.source({.settings = {{"no_such_setting", "1"}}});
    CHECK(failure_of([&] { unknown.visible("rows", at(1), {}); }).kind == Reason::configuration);
    auto fine = engine.source({.settings = {{"max_threads", "1"}}});
    CHECK(fine.visible("rows", at(1), {}).count == 1);
  }
  SECTION("it only reads, and it says so to the engine") {
    auto source = engine.source();
    engine.execute("CREATE VIEW says AS SELECT toUInt64(1) AS event_id, toUInt64(getSetting('readonly')) AS v");
    AnyCursor cursor = source.open(events("says").values("v").plan(), at(everything), Form::plain, {});
    Relation block;
    REQUIRE(cursor->next(block));
    CHECK(block.column("v").words()[0] == 2);
  }
}

TEST_CASE("who answers, and what is not there") {
  Engine engine;
  engine.execute("CREATE TABLE rows (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
  auto source = engine.source();
  const std::string folder = std::filesystem::canonical(engine.path).string();
  const Server server = source.visible("rows", at(1), {}).server;
  CHECK(server.name.starts_with("chdb "));
  CHECK(server.name.ends_with(":" + folder));
  CHECK(server.version.starts_with("26."));
  const FollowerInfo info = source.about("rows", {});
  CHECK(info.relation == server.name + "/test.rows");
  CHECK(info.stream == "");
  engine.execute("CREATE TABLE epochcut_stream (stream String, authority String) ENGINE = MergeTree ORDER BY stream");
  engine.insert("epochcut_stream", "trade_engine\tproduction\n");
  CHECK(source.about("rows", {}).stream == "trade_engine");
  CHECK(source.about("rows", {}).authority == "production");
  engine.insert("epochcut_stream", "trade_engine\tshadow\n");
  CHECK(failure_of([&] { source.about("rows", {}); }).kind == Reason::wrong_stream);

  const auto sentence = [&](Chdb from, const std::string& relation) { return failure_of([&] { from.about(relation, {}); }); };
  CHECK(sentence(source, "absent").kind == Reason::not_found);
  CHECK(sentence(source, "absent").message.find("\"absent\" in database \"test\"") != std::string::npos);
  CHECK(sentence(source, "nowhere.rows").message.find("no database \"nowhere\"") != std::string::npos);
  CHECK(sentence(Chdb(engine.path, {.database = "nowhere"}), "rows").kind == Reason::not_found);
  const Failure elsewhere = sentence(Chdb(engine.path + "-other"), "rows");
  CHECK(elsewhere.kind == Reason::configuration);
  CHECK(elsewhere.message.find("one folder") != std::string::npos);
}

TEST_CASE("what is in memory is this process's alone, and lives as long as its source") {
  auto writer = std::make_unique<chdb::Connection>(":memory:", ChdbOptions{});
  for (const char* sql : {"CREATE DATABASE test", "CREATE TABLE test.rows (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id",
                          "INSERT INTO test.rows VALUES (1, 5), (2, 6)"})
    REQUIRE(chdb::Result(chdb_query_n(writer->get(), sql, std::strlen(sql), "TSV", 3)).error() == "");
  Chdb source(":memory:");
  CHECK(source.about("test.rows", {}).relation.ends_with(":memory of process " + std::to_string(getpid()) + "/test.rows"));
  writer.reset();
  CHECK(source.visible("test.rows", at(1), {}).count == 1);
  CHECK_FALSE(std::filesystem::exists(":memory:"));
  CHECK(pull(source.open(events("test.rows").values("v").plan(), at(everything), Form::plain, {})).rows == 2);
  CHECK(failure_of([] { Chdb(""); }).kind == Reason::configuration);
}

TEST_CASE("a file that is named like a table is no table") {
  // Where the engine starts, it takes the files for tables of the database "default".
  const auto home = std::filesystem::current_path(), folder = std::filesystem::temp_directory_path() / ("epochcut-chdb-files-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  std::filesystem::current_path(folder);
  std::ofstream("epochcut_stream") << "{\"stream\": \"other\", \"authority\": \"other\"}\n";
  std::ofstream("rows") << "{\"event_id\": 1, \"v\": 1}\n";
  std::string trap;
  FollowerInfo info;
  Failure absent(Reason::none, "");
  {
    Engine engine;
    auto source = Chdb(engine.path);
    engine.execute("CREATE TABLE default.real (event_id UInt64, v Int64) ENGINE = MergeTree ORDER BY event_id");
    trap = engine.query("SELECT stream FROM default.epochcut_stream");
    info = source.about("real", {});
    absent = failure_of([&] { source.about("rows", {}); });
  }
  std::filesystem::current_path(home);
  std::filesystem::remove_all(folder);
  CHECK(trap == "other\n");
  CHECK(info.stream == "");
  CHECK(absent.kind == Reason::not_found);
}
