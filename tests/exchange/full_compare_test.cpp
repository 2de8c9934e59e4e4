// Every transaction of a live exchange, streamed from both stores or bisected in them while it trades: equal while they are, and the one row named when they
// are not.
#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <unistd.h>

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "support/catch.hpp"

using namespace exchange;
using namespace std::chrono_literals;
using epochcut::FullCompareOptions;
using epochcut::Method;
using epochcut::Millis;
using epochcut::Outcome;
using epochcut::Reason;
using epochcut::Status;

namespace {

struct Pair {
  EngineOptions options;
  PostgresWriter ledger{std::getenv("EPOCHCUT_POSTGRES")};
  ClickhouseWriter analytics{std::getenv("EPOCHCUT_CLICKHOUSE")};
  epochcut::TokenTable token;

  explicit Pair(int partitions = 1) {
    static int count = 0;
    options.postgres = std::getenv("EPOCHCUT_POSTGRES"), options.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
    const std::string name = "full_compare_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
    options.layout = {.authority = "production", .schema = name, .database = name, .partitions = partitions};
    options.stream.seed = 11;
    create_tables(options);
    token.table = name + ".resume_tokens", token.digests = name + ".resume_token_digests", token.stream = std::string(stream_id);
  }
  ~Pair() {
    try {
      ledger.execute("SET client_min_messages = warning; DROP SCHEMA " + options.layout.schema + " CASCADE");
      analytics.execute("DROP DATABASE " + options.layout.database);
    } catch (const std::exception& e) {
      WARN(e.what());
    }
  }
  void run_to(std::uint64_t sequence) {
    Engine engine(options);
    while (engine.sequence() < sequence) engine.step(sequence);
    engine.drain();
  }
  Outcome compare(const FullCompareOptions& how = {}) const {
    epochcut::Postgres left{options.postgres + std::string(" options='-c search_path=") + options.layout.schema + "'", token};
    epochcut::ClickHouse right{options.clickhouse + std::string("?database=") + options.layout.database};
    const epochcut::Query rows =
        epochcut::events("transactions").values("account", "instrument", "currency", "kind", "amount", "memo", "execution_ns", "trade_id");
    return full_compare(left, {.id = "transactions", .left = {left, rows}, .right = {right, rows}}, how);
  }
  std::uint64_t count(std::uint64_t sequence) {
    return std::stoull(analytics.query("SELECT uniqExact(event_id) FROM " + options.layout.database + ".transactions WHERE event_id < " +
                                       std::to_string(event_id_of(sequence + 1, 0))));
  }
};

}  // namespace

TEST_CASE("all rows of a busy exchange, at one cut after the other") {
  for (const WritePath path : {WritePath::acknowledged, WritePath::issued}) {
    Pair pair;
    pair.run_to(2'000);
    pair.options.write_path = path, pair.options.rate = 1'500, pair.options.batch = 50;
    pair.options.inserts.jitter_ms_max = path == WritePath::issued ? 30 : 0;
    RunningEngine engine(pair.options);
    std::uint64_t before = 0;
    for (int i = 0; i < 8; ++i) {
      const Method method = i % 2 == 0 ? Method::stream : Method::bisect;
      const Outcome o = pair.compare({.bisect = {.method = method}});
      INFO(to_text(o));
      CHECK(o.how.starts_with(method == Method::bisect ? "bisected, as asked for" : "streamed, as asked for"));
      if (method == Method::bisect) CHECK(o.left.wire_rows + o.right.wire_rows == 0);  // by their digests alone
      REQUIRE(o.status == Status::pass);
      CHECK(o.claim == epochcut::Claim::every_value);
      CHECK(o.epoch->sequence >= 2'000);
      CHECK(o.epoch->sequence >= before);
      CHECK(o.counts.equal == pair.count(o.epoch->sequence));
      before = o.epoch->sequence;
      std::this_thread::sleep_for(150ms);
    }
    engine.stop();
    CHECK(before > 2'000);  // it did go on meanwhile
  }
}

TEST_CASE("one changed, lost or extra row among ten thousand is the one that is named") {
  for (const Fault fault : {Fault::change_amount, Fault::delete_row, Fault::extra_row, Fault::duplicate_row, Fault::conflicting_row}) {
    Pair pair;
    pair.run_to(3'000);
    const Corruption c = corrupt_newest(pair.options, fault, "transactions", "", "0.00000001");
    FullCompareOptions how;
    how.check.horizon = {.budget = Millis{300}, .max_visibility_lag = Millis{50}};
    for (const Method method : {Method::stream, Method::bisect, Method::automatic}) {
      how.bisect = {.method = method, .rows_min = 8, .stream_rows_max = 0, .cells_first_max = 16, .fetch_bytes_max = 0};
      const Outcome o = pair.compare(how);
      INFO(name_of(fault) << ": " << to_text(o));
      switch (fault) {
        case Fault::duplicate_row: CHECK(o.status == Status::pass); continue;
        case Fault::conflicting_row: CHECK(o.reason == Reason::conflicting_rows); break;
        case Fault::delete_row: CHECK(o.reason == Reason::missing_rows); break;
        case Fault::extra_row: CHECK(o.reason == Reason::extra_rows); break;
        default:
          CHECK(o.reason == Reason::differs);
          CHECK(o.how.starts_with("checked") == false);
          if (method == Method::bisect) CHECK(o.right.wire_rows < 100);  // several rounds, and then a range or two
      }
      CHECK(o.status == Status::fail);
      CHECK(o.message.find(std::to_string(c.event_id)) != std::string::npos);
      CHECK(o.counts.differences() <= 1);
    }
  }
}

TEST_CASE("two stores in orders that have nothing in common are sorted by their servers instead of held") {
  Pair pair(8);  // parts by account: one partition after the other
  pair.options.batch = 4'000;
  pair.run_to(12'000);
  FullCompareOptions how;
  how.limits.bytes_max = 1 << 20;
  {
    epochcut::Postgres left{pair.options.postgres + std::string(" options='-c search_path=") + pair.options.layout.schema + "'", pair.token};
    epochcut::ClickHouse right{pair.options.clickhouse + std::string("?database=") + pair.options.layout.database};
    const epochcut::Query rows[] = {epochcut::events("transactions").values("amount")};
    epochcut::HeldCut held(left, rows);
    epochcut::QueryPlan plan = rows[0].plan();
    plan.any_order = true;
    epochcut::NullSink sink;
    const auto together = [&](epochcut::Cursor& other) { set_diff(*held.open(0, true), other, {}, sink, how.limits); };
    try {
      held.cut().read_through(right, epochcut::Query(plan), {}, together);
      FAIL("they were not that far apart");
    } catch (const epochcut::Failure& failure) {
      CHECK(failure.kind == Reason::too_large);
    }
  }
  const Outcome sorted = pair.compare(how), held = pair.compare();
  INFO(sorted.message << "; " << held.message);
  CHECK(sorted.status == Status::pass);
  CHECK(held.status == Status::pass);
  CHECK(sorted.counts.equal == held.counts.equal);
  CHECK(sorted.counts.equal == pair.count(12'000));
}

TEST_CASE("a snapshot is let go of when its time is up, and nothing stays open behind it") {
  Pair pair;
  pair.run_to(3'000);
  FullCompareOptions how;
  how.snapshot_budget = Millis{1};
  for (const Method method : {Method::stream, Method::bisect}) {
    how.bisect.method = method;
    const Outcome o = pair.compare(how);
    INFO(o.message);
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::timeout);
    CHECK(o.message.find("snapshot_budget") != std::string::npos);
    std::string open = "?";
    for (int i = 0; i < 100 && open != "0"; ++i, std::this_thread::sleep_for(50ms))
      open = pair.ledger.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE '%transaction%' AND query LIKE '%" + pair.options.layout.schema +
                                 "%' AND pid <> pg_backend_pid()")(0, 0);
    CHECK(open == "0");
    CHECK(pair.compare({.bisect = {.method = method}}).status == Status::pass);
  }
}
