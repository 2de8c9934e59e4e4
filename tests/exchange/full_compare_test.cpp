// Every transaction of a live exchange, streamed from both stores or bisected in them while it trades: equal while they are, and the one row named when they
// are not. And what a bisection's statements can't do together or alone: be of one state while the follower is rewritten, or be of any length.
#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <unistd.h>

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "live/world.hpp"
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
      CHECK(o.claim == (method == Method::bisect ? epochcut::Claim::digest : epochcut::Claim::every_value));
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

namespace {

constexpr std::uint64_t plain_rows = 20'000;

/// A ledger's table and a follower's, of events 1 to plain_rows; those of the follower in `wrong` have another amount.
struct Plain : live::World {
  explicit Plain(const std::string& test) : World(test) { ch.execute("DROP TABLE " + table()); }

  /// `columns`: further ones of both, each with the row's number.
  void make(int columns = 0, bool decimal = true) {
    std::string left = "create table transactions (event_id bigint primary key, amount bigint not null", numbers, shape, right;
    for (int i = 0; i < columns; ++i) {
      const std::string column = ", amount_of_column_" + std::to_string(i);
      left += column + (decimal ? " numeric(38,10)" : " bigint"), numbers += ", n";
      shape += column + (decimal ? " Nullable(Decimal(38, 10))" : " Nullable(Int64)");
      right += decimal ? ", toDecimal128(number + 1, 10)" : ", toInt64(number + 1)";
      rows = rows.values(column.substr(2));
    }
    pg.execute(left + "); insert into transactions select n * 256, 1" + numbers + " from generate_series(1::bigint, " + std::to_string(plain_rows) + ") n");
    create(table(), "100", shape, right);
    for (std::uint64_t n = 1; n <= plain_rows; ++n) ids += epochcut::digest_of_event_id(n * 256);
    pg.execute("insert into resume_tokens values ('test', 'production', 1, " + std::to_string(plain_rows) + ", 1000)");
    pg.execute("insert into resume_token_digests values ('test', 'production', 'transactions', $1::numeric, $2::numeric, $3::numeric)",
               {std::to_string(ids.count), std::to_string(ids.sum_low), std::to_string(ids.sum_high)});
  }
  void create(const std::string& to, const std::string& wrong, const std::string& shape = "", const std::string& numbers = "") {
    ch.execute("CREATE TABLE " + to + " (event_id UInt64, amount Int64" + shape + ") ENGINE = MergeTree ORDER BY event_id");
    ch.execute("INSERT INTO " + to + " SELECT (number + 1) * 256, if(number + 1 = " + wrong + ", 999, 1)" + numbers + " FROM system.numbers LIMIT " +
               std::to_string(plain_rows));
  }
  std::string table() const { return name + ".transactions"; }

  template <class Follower>
  Outcome compare(Follower& follower, const epochcut::BisectOptions& how, const std::string& settings = "") {
    epochcut::Postgres ledger(std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + name + settings + "'", {.stream = "test"});
    return full_compare(ledger, {.id = "rows", .left = {ledger, rows}, .right = {follower, rows}}, {.check = live::quick(), .bisect = how});
  }

  epochcut::Query rows = epochcut::events("transactions").values("amount");
};

/// A side that is hashed, and then something happens before its rows are fetched.
struct Late final : epochcut::DigestSide {
  Late(epochcut::AnyDigest side, std::function<void()> what) : in(std::move(side)), act(std::move(what)) {}
  std::string_view engine() const override { return in->engine(); }
  std::vector<epochcut::DigestColumn> columns() const override { return in->columns(); }
  void use(const epochcut::DigestForm& form) override { in->use(form); }
  epochcut::KeyBounds bounds(const epochcut::Control& c) override { return in->bounds(c); }
  void ask(const epochcut::KeyGrid& grid, std::span<const epochcut::KeyRange> r, const epochcut::Control& c) override { in->ask(grid, r, c); }
  std::vector<epochcut::CellDigest> answer(const epochcut::Control& c) override { return in->answer(c); }
  epochcut::AnyCursor fetch(std::span<const epochcut::KeyRange> r, const epochcut::Control& c) override {
    if (act) std::exchange(act, nullptr)();
    return in->fetch(r, c);
  }
  std::optional<epochcut::Digest> expected() const override { return in->expected(); }
  std::uint64_t bytes() const override { return in->bytes(); }
  std::string name() const override { return in->name(); }
  epochcut::Server server() const override { return in->server(); }
  epochcut::AnyDigest in;
  std::function<void()> act;
};
struct Moving : epochcut::ClickHouse {
  using ClickHouse::ClickHouse;
  std::function<void()> act;
  epochcut::AnyDigest digest(const epochcut::QueryPlan& plan, const epochcut::AsOf& at, const epochcut::Digest& ids, const epochcut::Control& c) {
    return epochcut::AnyDigest(new Late(ClickHouse::digest(plan, at, ids, c), act));
  }
};

}  // namespace

TEST_CASE("a follower that is rewritten between a digest and a fetch, and is wrong before and after, does not pass") {
  for (const bool swapped : {false, true}) {
    Plain scene(swapped ? "swap" : "heal");
    scene.make();
    Moving follower{scene.url()};
    follower.act = [&] {
      if (swapped) {
        scene.create(scene.name + ".rebuilt", "19000");
        scene.ch.execute("RENAME TABLE " + scene.table() + " TO " + scene.name + ".old, " + scene.name + ".rebuilt TO " + scene.table());
        return;
      }
      scene.ch.execute("ALTER TABLE " + scene.table() + " UPDATE amount = if(event_id = 100 * 256, 1, 777) WHERE event_id IN (100 * 256, 19000 * 256)");
      while (scene.ch.query("SELECT count() FROM system.mutations WHERE database = '" + scene.name + "' AND NOT is_done") != "0\n")
        std::this_thread::sleep_for(20ms);
    };
    const Outcome o = scene.compare(follower, {.method = Method::bisect});
    INFO(to_text(o));
    CHECK(o.status != Status::pass);
    if (o.status != Status::fail) {  // a source may also see that the table is another one
      CHECK(swapped);
      CHECK(o.retryable);
      continue;
    }
    CHECK(o.reason == Reason::differs);
    CHECK(o.counts.changed == 1);
    CHECK(o.counts.equal == plain_rows - 1);
    REQUIRE(o.differences.size() == 1);
    CHECK(to_text(o.differences[0]).find(std::to_string(19'000 * 256)) != std::string::npos);
    CHECK(o.how.find("then streamed, since 1 ranges differ by their digests and not by their values") != std::string::npos);
  }
}

TEST_CASE("rows that make a statement too long or too deep for a server are streamed, and refused to who insists") {
  epochcut::BisectOptions chosen{.stream_rows_max = 0};
  {
    Plain scene("long");
    scene.make(200);  // more than ClickHouse's max_query_size
    epochcut::ClickHouse follower = scene.analytics();
    Outcome o = scene.compare(follower, chosen);
    INFO(to_text(o));
    CHECK(o.reason == Reason::differs);
    CHECK(o.counts.changed == 1);
    CHECK(o.how.starts_with("streamed: "));
    o = scene.compare(follower, {.method = Method::bisect});
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::syntax);
  }
  Plain scene("deep");
  scene.make(300, false);
  epochcut::ClickHouse follower = scene.analytics();
  const std::string shallow = " -c max_stack_depth=100kB";  // for the ledger's digest, and not for its rows
  Outcome o = scene.compare(follower, chosen, shallow);
  INFO(to_text(o));
  CHECK(o.reason == Reason::differs);
  CHECK(o.counts.changed == 1);
  CHECK(o.how.starts_with("streamed: "));
  CHECK(o.how.find("stack depth") != std::string::npos);
  o = scene.compare(follower, {.method = Method::bisect}, shallow);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.message.find("stack depth") != std::string::npos);
  CHECK(scene.compare(follower, {.method = Method::bisect}).how == "bisected, as asked for");
}
