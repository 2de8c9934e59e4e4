// Bisection on live servers: what `diff` over whole streams finds, with the rows where they are; proved as a plain read proves itself, or not "equal".
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <epochcut/diff/bisect.hpp>
#include <epochcut/source/clickhouse_digest.hpp>
#include <epochcut/source/postgres_digest.hpp>
#include <epochcut/testing/manual_clock.hpp>
#include <epochcut/verdict/report.hpp>

#include "diff/random_tables.hpp"
#include "live/world.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using namespace live;
using tables::contains;
using tables::refusal;

namespace {

constexpr std::uint64_t rows = 20'000;

/// Small enough for three rounds over `rows`.
const BisectOptions several_rounds{.method = Method::bisect, .rows_min = 8, .cells_first_max = 16, .cells_max = 64, .fetch_bytes_max = 0};

struct Told {
  Bisected result;
  std::vector<std::string> lines;
};

/// A ledger that keeps its events, and a follower that shows them: event n is leg 1 of sequence n. Every seventh memo is NULL, every eleventh empty.
class Scene {
 public:
  explicit Scene(const std::string& test) : world(test) {
    world.pg.execute(
        "create table transactions (event_id bigint primary key, currency text not null, amount numeric(38,8) not null, memo text, at timestamptz not null);"
        "insert into transactions select (n << 8) + 1, (array['EUR','USD','JPY'])[1 + n % 3], (n * 7919 - 60000000)::numeric / 1000, case when n % 7 = 0 then null when "
        "n % 11 = 0 then '' else 'm\xC3\xA4mo|' || n end, timestamptz '2020-01-01 00:00:00+00' + n * interval '1 second' from generate_series(1::bigint, " +
        std::to_string(rows) + ") n; analyze transactions");
    world.ch.execute("DROP TABLE " + world.name + ".transactions");
    make("transactions", "1");
    for (std::uint64_t n = 1; n <= rows; ++n) world.ids += digest_of_event_id((n << 8) + 1);
    commit();
  }

  /// A follower's table with those rows for which `kept` holds; row `n`'s amount has `off` added.
  void make(const std::string& table, const std::string& kept, const std::string& off = "0") {
    world.ch.execute("CREATE TABLE " + world.name + "." + table +
                     " (event_id UInt64, currency String, amount Decimal(38, 8), memo Nullable(String), at DateTime) ENGINE = MergeTree ORDER BY event_id");
    add(table, kept, off, 0, rows);
  }
  void add(const std::string& table, const std::string& kept, const std::string& off, std::uint64_t from, std::uint64_t count) {
    world.ch.execute(
        "INSERT INTO " + world.name + "." + table +
        " SELECT toUInt64(n * 256 + 1), arrayElement(['EUR','USD','JPY'], 1 + n % 3), toDecimal128(toInt64(n * 7919) - 60000000, 8) / toDecimal128('1000', 0) + "
        "toDecimal128(" +
        off +
        ", 8), if(n % 7 = 0, NULL, if(n % 11 = 0, '', concat('m\xC3\xA4mo|', toString(n)))), toDateTime(1577836800 + n) FROM (SELECT "
        "toUInt64(number + 1 + " +
        std::to_string(from) + ") AS n FROM system.numbers LIMIT " + std::to_string(count) + ") WHERE " + kept);
  }

  void commit() {
    world.pg.execute("delete from resume_tokens; delete from resume_token_digests");
    world.pg.execute("insert into resume_tokens values ('test', 'production', 1, " + std::to_string(rows) + ", 1000)");
    world.pg.execute("insert into resume_token_digests values ('test', 'production', 'transactions', $1::numeric, $2::numeric, $3::numeric)",
                     {std::to_string(world.ids.count), std::to_string(world.ids.sum_low), std::to_string(world.ids.sum_high)});
  }

  static Query query(const std::string& table = "transactions") { return events(table).values("currency", "amount", "memo", "at"); }

  /// As of the ledger's token, with the follower's proof.
  Told proved(const BisectOptions& options = several_rounds, const Query& left = query(), const Query& right = query()) {
    FirstDifferences first(100'000);
    const TokenTable tokens{.stream = "test"};
    // region: bisect
    const QueryPlan plan = left.plan();
    postgres::Transaction transaction(session, std::span(&plan, 1), &tokens, {});  // locks the table, takes the snapshot, reads the token
    PostgresDigest ledger(transaction, plan, "event_id");
    ClickHouseDigest follower(analytics, right.plan(), as_of(*transaction.token), transaction.token->relation("transactions").ids);
    const Bisected found = bisect(ledger, follower, {}, first, options);
    transaction.commit({});
    // end
    return {found, random_tables::lines_of(found.counts, first.take())};
  }

  /// Whatever both hold.
  Told at_rest(const std::string& table, const BisectOptions& options = several_rounds) {
    const QueryPlan plan = query().plan();
    postgres::Transaction transaction(session, std::span(&plan, 1), nullptr, {});
    PostgresDigest l(transaction, plan, "event_id");
    ClickHouseDigest<ClickHouse> r(analytics, query(table).plan(), AsOf{.at_rest = true}, std::nullopt);
    return told(l, r, options, transaction);
  }

  template <class Left, class Right>
  Told told(Left& left, Right& right, const BisectOptions& options, postgres::Transaction& transaction) {
    FirstDifferences first(100'000);
    Told told{bisect(left, right, {}, first, options), {}};
    told.lines = random_tables::lines_of(told.result.counts, first.take());
    transaction.commit({});
    return told;
  }

  /// The same by whole streams and nothing else.
  std::vector<std::string> by_diff(const std::string& table) {
    Postgres ledger(world.dsn());
    AnyCursor l = ledger.open(query().plan(), AsOf{.at_rest = true}, Form::plain, {}),
              r = analytics.open(query(table).plan(), AsOf{.at_rest = true}, Form::plain, {});
    FirstDifferences first(100'000);
    const DiffCounts counts = plain_diff(*l, *r, {}, first);
    return random_tables::lines_of(counts, first.take());
  }

  World world;
  ClickHouse analytics = world.analytics();
  postgres::Session session = std::make_shared<postgres::Connection>(world.dsn() + " application_name=" + world.name, PostgresOptions{});
};

/// Two tables of PostgreSQL, each by a session of its own; `settings`: of the right one's. `native`: whether both hash as PostgreSQL alone can.
Told two_ledgers(Scene& scene, const QueryPlan& left, const QueryPlan& right, Method method, bool native, const std::string& settings = "") {
  std::string dsn = scene.world.dsn();  // it ends with the quote of its options
  dsn.insert(dsn.size() - 1, settings);
  const postgres::Session other = std::make_shared<postgres::Connection>(dsn, PostgresOptions{});
  postgres::Transaction one(scene.session, std::span(&left, 1), nullptr, {}), two(other, std::span(&right, 1), nullptr, {});
  PostgresDigest l(one, left, "event_id"), r(two, right, "event_id");
  CHECK(agree(l.columns(), r.columns(), true, {}).same_engine == native);
  BisectOptions options = several_rounds;
  options.method = method;
  Told told = scene.told(l, r, options, one);
  two.commit({});
  if (method == Method::bisect && told.result.counts.differences() == 0) CHECK(told.result.left_fetched == 0);  // by the digests alone
  return told;
}

QueryPlan values_by_k(const std::string& table, const std::vector<std::string>& columns) {
  QueryPlan plan = current(table).key("k").plan();
  for (const std::string& column : columns) plan.measures.push_back({Measure::Kind::value, column, column});
  return plan;
}

/// Whether the scene has as many sessions in a transaction, now or soon: a server needs a moment to end one.
bool open_transactions(World& world, std::string_view wanted) {
  for (int i = 0; i < 100; ++i) {
    const auto counted = world.pg.execute("select count(*) from pg_stat_activity where application_name = '" + world.name + "' and state <> 'idle'");
    if (counted(0, 0) == wanted) return true;
    SystemClock::instance().sleep(Millis{50});
  }
  return false;
}

}  // namespace

TEST_CASE("bisection: a proved follower, equal and with differences") {
  Scene scene("bisect");
  Told t = scene.proved();
  CHECK(t.result.used == Method::bisect);
  CHECK(t.result.counts.equal == rows);
  CHECK(t.result.counts.differences() == 0);
  CHECK(t.result.rounds == 1);
  CHECK(t.result.left_fetched + t.result.right_fetched == 0);

  scene.make("wrong", "1", "if(n IN (1, 777, 778, 19999, 20000), '0.00000001', '0')");
  t = scene.proved(several_rounds, Scene::query(), Scene::query("wrong"));
  CHECK(t.result.used == Method::bisect);
  CHECK(t.result.counts.changed == 5);
  CHECK(t.result.counts.equal == rows - 5);
  CHECK(t.result.rounds >= 3);
  CHECK(t.result.left_fetched < 5 * 16);
  CHECK(t.lines == scene.by_diff("wrong"));
  const Told streamed = scene.proved({.method = Method::stream}, Scene::query(), Scene::query("wrong"));
  CHECK(streamed.lines == t.lines);
  CHECK(t.result.left_bytes + t.result.right_bytes < (streamed.result.left_bytes + streamed.result.right_bytes) / 20);
  const Told chosen = scene.proved({.stream_rows_max = 0}, Scene::query(), Scene::query("wrong"));
  CHECK(chosen.lines == t.lines);
  CHECK(contains(chosen.result.why, "hashing all would take about"));
}

TEST_CASE("bisection: a follower that is late, or shows an event twice or another's, is never equal") {
  Scene scene("unproved");
  const auto unproved = [&](const std::string& table, Method method) {
    try {
      scene.proved({.method = method}, Scene::query(), Scene::query(table));
    } catch (const Failure& failure) {
      CHECK(failure.retryable == (failure.kind == Reason::horizon_not_proven));
      CHECK((failure.kind == Reason::unordered || contains(failure.message, table)));
      return failure.kind;
    }
    return Reason::none;
  };
  const auto both_say = [&](const std::string& table, Reason bisected, Reason streamed) {
    INFO(table);
    CHECK(unproved(table, Method::bisect) == bisected);
    CHECK(unproved(table, Method::stream) == streamed);
  };
  const Reason late = Reason::horizon_not_proven, none = Reason::none;
  scene.make("late", "n != 12345");
  both_say("late", late, late);
  scene.add("late", "1", "0", 12'344, 1);
  both_say("late", none, none);
  // The events after the epoch don't count, whatever they are.
  scene.add("late", "1", "0", rows, 500);
  both_say("late", none, none);
  scene.add("late", "1", "0", 99, 1);  // a replay
  both_say("late", late, Reason::unordered);

  // The ledger lacks the row too: both show the same, and less than the ledger once counted.
  scene.make("both", "n != 5");
  scene.world.pg.execute("delete from transactions where event_id = 5 * 256 + 1");
  both_say("both", late, late);
}

TEST_CASE("bisection: only the rows of the generation that owned them count") {
  Scene scene("generation");
  scene.make("written", "1");
  scene.world.ch.execute("CREATE TABLE " + scene.world.name +
                         ".fenced (event_id UInt64, currency String, amount Decimal(38, 8), memo Nullable(String), at DateTime, "
                         "generation UInt64) ENGINE = MergeTree ORDER BY event_id");
  const auto write = [&](const std::string& generation, const std::string& where) {
    scene.world.ch.execute("INSERT INTO " + scene.world.name + ".fenced SELECT *, " + generation + " FROM " + scene.world.name + ".written WHERE " + where);
  };
  write("if(event_id < 10000 * 256, 1, 2)", "1");
  const QueryPlan plan = Scene::query().plan();
  const auto run = [&] {
    postgres::Transaction transaction(scene.session, std::span(&plan, 1), nullptr, {});
    PostgresDigest l(transaction, plan, "event_id");
    AsOf at = as_of(Stream{.id = "test", .generation = "generation"}, {rows, 0});
    at.generation = 2, at.seams = {{10'000, 1, 2}};
    ClickHouseDigest<ClickHouse> r(scene.analytics, Scene::query("fenced").plan(), at, scene.world.ids);
    return scene.told(l, r, several_rounds, transaction);
  };
  CHECK(run().result.counts.equal == rows);
  write("1", "event_id >= 10000 * 256 AND event_id < 10100 * 256");  // a deposed writer's late rows
  CHECK(run().result.counts.equal == rows);
  write("2", "event_id >= 10000 * 256 AND event_id < 10001 * 256");
  CHECK(refusal(run) == Reason::horizon_not_proven);
}

TEST_CASE("bisection: filters say which rows are compared, and all events are proved") {
  Scene scene("filter");
  scene.make("wrong", "1", "if(n IN (3, 1000), '1', '0')");  // 3: EUR; 1000: USD
  const auto of = [&](const std::string& currency) {
    return scene.proved(several_rounds, Scene::query().where("currency", currency), Scene::query("wrong").where("currency", currency)).result.counts;
  };
  CHECK(of("EUR").changed == 1);
  CHECK(of("USD").changed == 1);
  CHECK(of("JPY").changed == 0);
  CHECK(of("EUR").left + of("USD").left + of("JPY").left == rows);
  CHECK(of("CHF").left == 0);
}

TEST_CASE("bisection: rows that one side lacks, and whatever else two stores at rest may hold") {
  Scene scene("at_rest");
  struct Fault {
    const char *table, *kept, *off;
  };
  for (const Fault& f :
       {Fault{"missing", "n NOT IN (1, 2, 9999, 20000)", "0"}, Fault{"runs", "n < 5000 OR n > 5100", "if(n > 15000 AND n < 15200, '1', '0')"},
        Fault{"half", "n % 2 = 0", "0"}, Fault{"scattered", "intHash64(n) % 300 != 0", "if(intHash64(n + 1) % 300 = 0, '1', '0')"}, Fault{"none", "0", "0"}}) {
    INFO(f.table);
    scene.make(f.table, f.kept, f.off);
    if (std::string_view(f.table) == "missing") scene.add(f.table, "1", "0", rows + 4'000, 3);  // only the right has them, far above
    const std::vector<std::string> expected = scene.by_diff(f.table);
    for (const BisectOptions& options : {several_rounds, BisectOptions{.method = Method::bisect}, BisectOptions{}, BisectOptions{.stream_rows_max = 0}}) {
      const Told t = scene.at_rest(f.table, options);
      CHECK(t.lines == expected);
      if (std::string_view(f.table) == "scattered" && options.method == Method::bisect && options.rows_min == 64) CHECK(t.result.used == Method::stream);
    }
  }
}

TEST_CASE("bisection: any integer key, with NULLs, below zero and at both ends of its type; and keys that stand twice") {
  Scene scene("keys");
  World& world = scene.world;
  world.pg.execute(
      "create table keyed (k bigint, v text); insert into keyed select n - 500, 'v' || n from generate_series(1, 1000) n; insert into keyed values (null, "
      "'no key'), (4611686018427387904, 'far')");
  const std::string table = world.name + ".keyed";
  world.ch.execute("CREATE TABLE " + table + " (event_id UInt64, k Nullable(Int64), v String) ENGINE = MergeTree ORDER BY event_id");
  world.ch.execute("INSERT INTO " + table + " SELECT number, toInt64(number) - 499, concat('v', toString(number + 1)) FROM system.numbers LIMIT 1000");
  world.ch.execute("INSERT INTO " + table + " VALUES (5000, NULL, 'no key'), (5001, 4611686018427387904, 'far')");
  const QueryPlan left = current("keyed").key("k").values("v").plan(), right = events("keyed").key("k").values("v").plan();
  const BisectOptions tiny{.method = Method::bisect, .rows_min = 2, .cells_first_max = 4, .fetch_bytes_max = 0};
  const auto run = [&] {
    postgres::Transaction transaction(scene.session, std::span(&left, 1), nullptr, {});
    PostgresDigest l(transaction, left, "event_id");
    ClickHouseDigest<ClickHouse> r(scene.analytics, right, AsOf{.at_rest = true}, std::nullopt);
    return scene.told(l, r, tiny, transaction).result.counts;
  };
  CHECK(run().equal == 1'002);
  world.pg.execute("update keyed set v = 'x' where k is null or k = -499 or k = 4611686018427387904 or k = 17");
  DiffCounts c = run();
  CHECK(c.changed == 4);
  CHECK(c.equal == 998);
  // Two rows twice, of keys next to each other: as many on both sides, and an XOR of hashes would be zero on both.
  world.pg.execute("insert into keyed values (600, 'a'), (600, 'a')");
  world.ch.execute("INSERT INTO " + table + " VALUES (6000, 601, 'b'), (6001, 601, 'b')");
  CHECK(refusal(run) == Reason::unordered);

  // Over the whole of 64 bits: numeric(20) beside UInt64, from zero to the last.
  world.pg.execute("create table high (k numeric(20,0), v bigint); insert into high select 18446744073709551615 - n * 1000, n from generate_series(0, 2000) n");
  world.ch.execute("CREATE TABLE " + world.name + ".high (k UInt64, v Int64) ENGINE = MergeTree ORDER BY k");
  world.ch.execute("INSERT INTO " + world.name +
                   ".high SELECT 18446744073709551615 - number * 1000, if(number IN (0, 1000, 2000), -1, toInt64(number)) FROM "
                   "system.numbers LIMIT 2001");
  const QueryPlan high_left = current("high").key("k").values("v").plan(), high_right = events("high").key("k").values("v").plan();
  postgres::Transaction transaction(scene.session, std::span(&high_left, 1), nullptr, {});
  PostgresDigest l(transaction, high_left, "event_id");
  ClickHouseDigest<ClickHouse> r(scene.analytics, high_right, AsOf{.at_rest = true}, std::nullopt);
  c = scene.told(l, r, tiny, transaction).result.counts;
  CHECK(c.changed == 3);
  CHECK(c.equal == 1'998);
}

TEST_CASE("bisection: no two rows are written alike") {
  Scene scene("joined");
  World& world = scene.world;
  // Each pair of rows would be one text, if cells were joined without care. The last pair is equal.
  const char* pairs[][2] = {
      {"'ab', 'c', 1", "'a', 'bc', 1"},        {"'1:a', '', 1", "'', '1:a', 1"}, {"'N', 'x', 1", "NULL, 'x', 1"}, {"NULL, '', 1", "'', NULL, 1"},
      {"'a,', 'b', 1", "'a', ',b', 1"},        {"'', 'N', 1", "'', NULL, 1"},    {"'', '1', 2", "'', '', 12"},    {"'', '1,', 2", "'1,', '', 2"},
      {"'1:a1', 'b', 1", "'1:a', '1b', 1"},    {"'x', '3', 21", "'x', '32', 1"}, {"'', '', NULL", "'', '', 0"},   {"NULL, NULL, 5", "'N', 'N', 5"},
      {"NULL, NULL, NULL", "NULL, NULL, NULL"}};
  world.pg.execute("create table joined (k bigint not null, a text, b text, n bigint)");
  world.ch.execute("CREATE TABLE " + world.name +
                   ".joined (k UInt64, a Nullable(String), b Nullable(String), n Nullable(Int64)) ENGINE = MergeTree ORDER BY k");
  for (std::size_t i = 0; i < std::size(pairs); ++i) {
    world.pg.execute("insert into joined values (" + std::to_string(i) + ", " + pairs[i][0] + ")");
    world.ch.execute("INSERT INTO " + world.name + ".joined SELECT " + std::to_string(i) + ", " + pairs[i][1]);
  }
  const QueryPlan left = current("joined").key("k").values("a", "b", "n").plan(), right = events("joined").key("k").values("a", "b", "n").plan();
  postgres::Transaction transaction(scene.session, std::span(&left, 1), nullptr, {});
  PostgresDigest l(transaction, left, "event_id");
  ClickHouseDigest<ClickHouse> r(scene.analytics, right, AsOf{.at_rest = true}, std::nullopt);
  const DigestForm form = agree(l.columns(), r.columns(), false, {});
  l.use(form), r.use(form);
  const KeyGrid each{.base = 0, .shift = 0, .cells = std::size(pairs)};
  l.ask(each, {}, {}), r.ask(each, {}, {});
  const std::vector<CellDigest> a = l.answer({}), b = r.answer({});
  transaction.commit({});
  REQUIRE(a.size() == std::size(pairs));
  REQUIRE(b.size() == std::size(pairs));
  for (std::size_t i = 0; i < std::size(pairs); ++i) {
    INFO(pairs[i][0] << " beside " << pairs[i][1]);
    CHECK((a[i].rows == b[i].rows) == (i + 1 == std::size(pairs)));
  }
}

TEST_CASE("bisection: two PostgreSQL servers, and two ClickHouse servers, with hashes of their own") {
  Scene scene("same_engine");
  World& world = scene.world;
  world.pg.execute(
      "create collation nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
      "create table a (k bigint not null, t text collate nocase, x numeric, f float8, b bytea, d date, z timestamp, u uuid, o boolean, r real);"
      "insert into a select n, 'word' || n, n + 0.10, case when n % 5 = 0 then 'NaN' else n::float8 / 3 end, decode(lpad(to_hex(n), 8, '0'), 'hex'), date '2000-01-01' + n,"
      " timestamp '2000-01-01' + n * interval '1 hour', md5(n::text)::uuid, n % 2 = 0, -0.0 from generate_series(1, 3000) n;"
      "create table b as select * from a; update b set x = x + 0.00000, r = 0.0; create table c (like b); alter table c alter k type integer; insert into c select * from b");
  const auto run = [&](const std::string& right_table) {
    const std::vector<std::string> columns{"t", "x", "f", "b", "d", "z", "u", "o", "r"};
    const Told t = two_ledgers(scene, values_by_k("a", columns), values_by_k(right_table, columns), Method::bisect, right_table == "b");
    CHECK(t.result.used == Method::bisect);
    return t.result.counts;
  };
  CHECK(run("b").equal == 3'000);
  CHECK(run("c").equal == 3'000);  // another type: by text
  for (const char* change :
       {"t = upper(t)", "x = x + 0.0000000000001", "f = 7", "b = b || '\\x00'", "d = d + 1", "z = z + interval '1 us'", "o = not o", "t = null", "x = null"}) {
    INFO(change);
    for (const std::string table : {"b", "c"}) {
      world.pg.execute("create table keep as select * from " + table + " where k in (1, 1500); update " + table + " set " + change + " where k in (1, 1500)");
      CHECK(run(table).changed == 2);
      world.pg.execute("delete from " + table + " where k in (1, 1500); insert into " + table + " select * from keep; drop table keep");
    }
  }
  CHECK(run("b").equal == 3'000);

  scene.make("second", "1", "if(n IN (1, 500, 20000), '1', '0')");
  ClickHouseDigest<ClickHouse> l(scene.analytics, Scene::query().plan(), AsOf{.at_rest = true}, std::nullopt);
  ClickHouseDigest<ClickHouse> r(scene.analytics, Scene::query("second").plan(), AsOf{.at_rest = true}, std::nullopt);
  NullSink sink;
  const Bisected b = bisect(l, r, {}, sink, several_rounds);
  CHECK(b.used == Method::bisect);
  CHECK(b.counts.changed == 3);
  CHECK(b.counts.equal == rows - 3);
}

TEST_CASE("bisection: between two PostgreSQL servers no change of values escapes the digests that a stream finds") {
  Scene scene("swapped");
  World& world = scene.world;
  // Changes that a hash of the row which adds the hashes of its cells, or folds 64 bits to 32, does not see. Of 3000 rows `changed` differ.
  struct Case {
    const char *name, *columns, *fill, *change;
    std::uint64_t changed;
  };
  const char* swap = "x = (select x from a where a.k = 15 - r.k) where k in (7, 8)";
  const Case cases[] = {
      {"numeric, swapped between two rows", "x numeric(20,2) not null, y text", "n + 0.25, 'y'", swap, 2},
      {"numeric of any scale, swapped", "x numeric, y text", "n + 0.25, 'y'", swap, 2},
      {"text, swapped", "x text not null, y text", "'owner ' || n, 'y'", swap, 2},
      {"bigint, swapped", "x bigint not null, y text", "n, 'y'", swap, 2},
      {"uuid, swapped", "x uuid not null, y text", "md5(n::text)::uuid, 'y'", swap, 2},
      {"bytes, swapped", "x bytea not null, y text", "decode(lpad(to_hex(n), 8, '0'), 'hex'), 'y'", swap, 2},
      {"the second of two columns, swapped", "y text, x text not null", "'y', 'owner ' || n", swap, 2},
      {"NULL and an empty text, swapped", "x text, y text", "case n when 7 then null when 8 then '' else 'x' end, 'y'", swap, 2},
      {"every value is the next row's", "x bigint not null, y text", "n, 'y'", "x = 1 + r.k % 3000", 3'000},
      {"one sign", "x numeric(20,2) not null, y text", "n + 0.25, 'y'", "x = -x where k = 7", 1},
      {"one sign of a bigint", "x bigint not null, y text", "n, 'y'", "x = -x where k = 7", 1},
      {"two signs", "x numeric(20,2) not null, y text", "n + 0.25, 'y'", "x = -x where k in (7, 1500)", 2},
      {"all signs", "x numeric(20,2) not null, y text", "n + 0.25, 'y'", "x = -x", 3'000},
      {"all signs of any scale", "x numeric, y text", "n + 0.25, 'y'", "x = -x", 3'000},
      {"all signs of a double", "x float8, y text", "n + 0.25, 'y'", "x = -x", 3'000},
      {"1 to 2^32", "x bigint not null, y text", "1, 'y'", "x = 4294967296 where k = 7", 1},
      {"-1 to 2^32 - 1", "x bigint not null, y text", "-1, 'y'", "x = 4294967295 where k = 7", 1},
      {"2^32 microseconds later", "x timestamptz not null, y text", "timestamptz '2000-01-01 00:00:00.000001+00', 'y'",
       "x = x - interval '1 us' + interval '4294967296 us' where k = 7", 1},
      {"NULL to an empty text", "x text, y text", "null, 'y'", "x = '' where k = 7", 1},
      {"an empty text to NULL", "x text, y text", "'', 'y'", "x = null where k = 7", 1},
      {"NULL to the letter N", "x text, y text", "null, 'y'", "x = 'N' where k = 7", 1},
      {"NULL to zero", "x numeric, y text", "null, 'y'", "x = 0 where k = 7", 1},
      {"moved to the next column", "x text, y text", "'12', ''", "x = '', y = '12' where k = 7", 1},
      {"moved to the next column, NULL behind it", "x bigint, y bigint", "5, null", "x = null, y = 5 where k = 7", 1},
      {"a digit moved to the next column", "x bigint, y bigint", "12, 3", "x = 1, y = 23 where k = 7", 1},
      {"two columns swapped", "x numeric, y numeric", "n + 0.25, -n", "x = y, y = x where k = 7", 1},
  };
  for (const Case& c : cases)
    for (const bool native : {true, false}) {
      INFO(c.name << (native ? ", by PostgreSQL's own hash" : ", by md5"));
      // Keys of another type, and PostgreSQL no longer hashes as only it can.
      world.pg.execute("set client_min_messages = warning; drop table if exists a, r; create table a (k bigint not null, " + std::string(c.columns) +
                       "); insert into a select n, " + c.fill + " from generate_series(1, 3000) n; create table r (like a); alter table r alter k type " +
                       (native ? "bigint" : "integer") + "; insert into r select * from a");
      const QueryPlan left = values_by_k("a", {"x", "y"}), right = values_by_k("r", {"x", "y"});
      CHECK(two_ledgers(scene, left, right, Method::bisect, native).result.counts.equal == 3'000);
      world.pg.execute("update r set " + std::string(c.change));
      const Told bisected = two_ledgers(scene, left, right, Method::bisect, native), streamed = two_ledgers(scene, left, right, Method::stream, native);
      CHECK(bisected.result.counts.changed == c.changed);
      CHECK(bisected.result.counts.equal == 3'000 - c.changed);
      CHECK(bisected.lines == streamed.lines);
    }
}

TEST_CASE("bisection: two PostgreSQL servers write a row alike under all settings") {
  Scene scene("settings");
  World& world = scene.world;
  world.pg.execute(
      "create table a (k bigint not null, t text collate \"POSIX\", e text, x numeric, f float8, r real, b bytea, d date, z timestamp, zz timestamptz, u uuid, o boolean);"
      "insert into a select n, 't' || n, 'e' || n, n / 7.0, n::float8 / 3, n::real / 3, decode(lpad(to_hex(n), 8, '0'), 'hex'), date '2000-01-01' + n, timestamp "
      "'2000-01-01 00:00:00.5' + n * interval '1 hour', timestamptz '2000-01-01 12:34:56.789+03' + n * interval '1 day', md5(n::text)::uuid, n % 2 = 0 from "
      "generate_series(1, 3000) n; insert into a values (0, '', '', 'NaN', 'NaN', '-Infinity', '', 'infinity', 'infinity', '-infinity', null, null);"
      "create table b as select * from a; create table c (like a); alter table c alter k type integer; insert into c select * from a");
  const std::vector<std::string> columns{"t", "e", "x", "f", "r", "b", "d", "z", "zz", "u", "o"};
  const std::string other =
      " -c datestyle=German -c timezone=Asia/Tokyo -c extra_float_digits=-15 -c bytea_output=escape -c intervalstyle=sql_standard -c lc_monetary=C "
      "-c standard_conforming_strings=off";
  for (const std::string table : {"b", "c"}) {
    INFO(table);
    const Told t = two_ledgers(scene, values_by_k("a", columns), values_by_k(table, columns), Method::bisect, table == "b", other);
    CHECK(t.result.used == Method::bisect);
    CHECK(t.result.counts.equal == 3'001);
    CHECK(t.result.counts.differences() == 0);
  }
}

TEST_CASE("bisection: a NULL counts where the catalog promises that there is none") {
  Scene scene("promised");
  World& world = scene.world;
  // A domain that is NOT NULL lets the NULL of a sub-query through; the constraint of a parent alone does not bind its inheritors.
  world.pg.execute(
      "create domain whole as bigint not null; create table a (k bigint not null, x whole, y bigint, v text not null);"
      "insert into a select n, n, n, 'a' from generate_series(1, 3000) n; insert into a select -5, (select x from a where false), 1, 'a';"
      "create table b (like a); create table c (like a); alter table c alter y type integer; insert into b select * from a; insert into c select * from a;"
      "update b set v = 'WRONG' where k = -5; update c set v = 'WRONG' where k = -5");
  for (const std::string table : {"b", "c"}) {
    INFO(table);
    const QueryPlan left = values_by_k("a", {"x", "y", "v"}), right = values_by_k(table, {"x", "y", "v"});
    const Told t = two_ledgers(scene, left, right, Method::bisect, table == "b");
    CHECK(t.result.counts.changed == 1);
    CHECK(t.lines == two_ledgers(scene, left, right, Method::stream, table == "b").lines);
  }
  // The same of the key: by the parent's own constraint, and by a domain.
  world.pg.execute(
      "create table parent (k bigint, v text); create table child () inherits (parent); alter table only parent alter k set not null; create table domains (k whole, v "
      "text); insert into child select n, 'a' from generate_series(1, 3000) n; insert into child values (null, 'a'); insert into domains select * from child where k "
      "is not null; insert into domains select (select k from domains where false), 'a'; create table d (k bigint, v text); create table e (k integer, v text); "
      "insert into d select * from parent; insert into e select * from parent");
  for (const std::string left : {"parent", "domains"})
    for (const std::string right : {"d", "e"}) {
      INFO(left << " beside " << right);
      const auto compare = [&](Method method) { return two_ledgers(scene, values_by_k(left, {"v"}), values_by_k(right, {"v"}), method, right == "d"); };
      CHECK(compare(Method::bisect).result.counts.equal == 3'001);
      world.pg.execute("update " + right + " set v = 'WRONG' where k is null");
      const Told t = compare(Method::bisect);
      CHECK(t.result.used == Method::bisect);
      CHECK(t.result.counts.changed == 1);
      CHECK(t.result.counts.equal == 3'000);
      CHECK(t.lines == compare(Method::stream).lines);
      world.pg.execute("update " + right + " set v = 'a' where k is null");
    }
}

TEST_CASE("bisection: a ledger of 64-bit keys beside a follower whose keys are all above them") {
  Scene scene("above");
  World& world = scene.world;
  world.pg.execute("create table low (k bigint, v bigint)");
  world.ch.execute("CREATE TABLE " + world.name + ".low (event_id UInt64, k UInt64, v Int64) ENGINE = MergeTree ORDER BY k");
  world.ch.execute("INSERT INTO " + world.name + ".low SELECT number, 18446744073709551615 - number * 1000, toInt64(number) FROM system.numbers LIMIT 2000");
  const QueryPlan left = current("low").key("k").values("v").plan(), right = events("low").key("k").values("v").plan();
  const auto run = [&](Method method) {
    postgres::Transaction transaction(scene.session, std::span(&left, 1), nullptr, {});
    PostgresDigest l(transaction, left, "event_id");
    ClickHouseDigest<ClickHouse> r(scene.analytics, right, AsOf{.at_rest = true}, std::nullopt);
    BisectOptions options = several_rounds;
    options.method = method;
    return scene.told(l, r, options, transaction);
  };
  // No key at all, or none but a NULL: then the grid begins at the follower's least key, which a bigint does not hold.
  for (const std::uint64_t nulls : {std::uint64_t{0}, std::uint64_t{1}}) {
    if (nulls != 0) world.pg.execute("insert into low values (null, 1)");
    const Told t = run(Method::bisect);
    CHECK(t.result.counts.only_left == nulls);
    CHECK(t.result.counts.only_right == 2'000);
    CHECK(t.lines == run(Method::stream).lines);
  }
  // Asked of such a grid directly: all keys are below its first cell, so in it.
  world.pg.execute("insert into low values (-9223372036854775807 - 1, 1), (9223372036854775807, 1)");
  postgres::Transaction transaction(scene.session, std::span(&left, 1), nullptr, {});
  PostgresDigest l(transaction, left, "event_id");
  l.use(agree(l.columns(), l.columns(), false, {}));
  l.ask({.base = Int128{INT64_MAX} + 1, .shift = 8, .cells = 7}, {}, {});
  const std::vector<CellDigest> cells = l.answer({});
  transaction.commit({});
  REQUIRE(cells.size() == 2);
  CHECK(cells[0].cell == 0);
  CHECK(cells[0].rows.count == 2);
  CHECK(cells[1].cell == 7);  // the NULL
  CHECK(cells[1].rows.count == 1);
}

TEST_CASE("bisection: what it does not do is said before anything is read") {
  Scene scene("refused");
  const QueryPlan plan = Scene::query().plan();
  postgres::Transaction transaction(scene.session, std::span(&plan, 1), nullptr, {});
  const auto left = [&](const Query& query) { return refusal([&] { PostgresDigest(transaction, query.plan(), "event_id"); }); };
  const auto right = [&](const Query& query, const AsOf& at = AsOf{.at_rest = true}) {
    return refusal([&] { ClickHouseDigest<ClickHouse>(scene.analytics, query.plan(), at, std::nullopt); });
  };
  CHECK(left(events("transactions").by("currency").sum("amount")) == Reason::configuration);
  CHECK(left(latest("transactions").per("currency").values("amount")) == Reason::configuration);
  CHECK(left(events("transactions").key("currency").values("amount")) == Reason::schema);
  CHECK(left(events("transactions").key("event_id", "currency").values("amount")) == Reason::schema);
  CHECK(left(Scene::query()) == Reason::none);
  CHECK(right(events("transactions").by("currency").sum("amount")) == Reason::configuration);
  CHECK(right(latest("transactions").per("currency").values("amount")) == Reason::configuration);
  CHECK(right(events("transactions").key("currency").values("amount")) == Reason::schema);
  CHECK(right(Scene::query(), as_of(Stream{.id = "test"}, {5, 0})) == Reason::configuration);
  CHECK(right(Scene::query()) == Reason::none);
}

TEST_CASE("bisection: a full compare says by it what it says by a stream, and which way it went") {
  Scene scene("full");
  scene.make("wrong", "1", "if(n IN (1, 777, 778, 19999, 20000), '0.00000001', '0')");
  scene.make("late", "n != 12345");
  for (const char* table : {"wrong", "late"})
    scene.world.pg.execute(std::string("insert into resume_token_digests select stream, authority, '") + table +
                           "', row_count, sum_low, sum_high from resume_token_digests where relation = 'transactions'");
  Postgres ledger(scene.world.dsn() + " application_name=" + scene.world.name, {.stream = "test"});
  const auto full = [&](const BisectOptions& how, const std::string& table, const Query& left = Scene::query(), Millis budget = snapshot_budget_default) {
    FullCompareOptions options{.check = quick(), .snapshot_budget = budget, .bisect = how};
    options.check.differences_max = 100;
    QueryPlan right = Scene::query().plan();
    right.where = left.plan().where, right.relation = table;
    return full_compare(ledger, {.id = "rows", .left = {ledger, left}, .right = {scene.analytics, Query(right)}}, options);
  };
  const BisectOptions streamed{.method = Method::stream}, chosen{.stream_rows_max = 0};
  for (const BisectOptions& how : {several_rounds, streamed, chosen, BisectOptions{}}) {
    Outcome o = full(how, "transactions");
    INFO(to_text(o));
    CHECK(o.status == Status::pass);
    const bool bisected = contains(o.how, "bisected");
    CHECK(o.claim == (bisected ? Claim::digest : Claim::every_value));
    if (how.method != Method::automatic) CHECK(bisected == (how.method == Method::bisect));
    CHECK(o.counts.equal == rows);
    CHECK(o.left.rows == rows);
    CHECK(o.right.rows == rows);
    CHECK(o.right.ids == scene.world.ids);
    CHECK_FALSE(o.left.server.name.empty());
    CHECK_FALSE(o.right.server.name.empty());
    if (how.method == Method::bisect) CHECK(o.left.wire_rows + o.right.wire_rows == 0);
    if (how.method == Method::automatic) CHECK(contains(o.how, how.stream_rows_max == 0 ? "hashing all would take about" : "20000 events are few"));
    o = full(how, "wrong");
    INFO(to_text(o));
    CHECK(o.reason == Reason::differs);
    CHECK(random_tables::lines_of(o.counts, o.differences) == scene.by_diff("wrong"));
    // A follower that lacks a row is not called equal, and nothing is called wrong by it: `check` says what it is.
    o = full(how, "late");
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::horizon_not_proven);
    CHECK(o.counts.equal == 0);
    CHECK(contains(o.how, "checked: "));
    // Some rows are compared, and all are proved.
    o = full(how, "wrong", Scene::query().where("currency", "EUR"));
    INFO(to_text(o));
    CHECK(o.counts.changed == 1);  // 777, since n is EUR where 3 divides it
    CHECK(o.counts.left == rows / 3);
  }
  // Keys that are texts: streamed, and that is said; refused to who insists.
  scene.world.pg.execute("create table newest as select distinct on (currency) currency, amount from transactions order by currency, event_id desc");
  const auto newest = [&](const BisectOptions& how) {
    return full_compare(ledger,
                        {.id = "newest",
                         .left = {ledger, current("newest").key("currency").values("amount")},
                         .right = {scene.analytics, latest("transactions").per("currency").values("amount")}},
                        {.check = quick(), .bisect = how});
  };
  Outcome o = newest(chosen);
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.counts.equal == 3);
  CHECK(contains(o.how, "streamed: "));
  CHECK(contains(o.how, "by one key that is a whole number"));
  o = newest(several_rounds);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::schema);
  CHECK(open_transactions(scene.world, "0"));

  // The budget ends in the middle of a statement: the ledger needs two seconds for any of its rows.
  scene.world.pg.execute("create view slow as select transactions.* from transactions, (select pg_sleep(2)) as s");
  const Millis from = SystemClock::instance().now();
  o = full(several_rounds, "transactions", Scene::query("slow"), Millis{300});
  INFO(to_text(o));
  CHECK((SystemClock::instance().now() - from).count() < 1'800);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::timeout);
  CHECK(o.retryable);
  CHECK(contains(o.message, "300 ms that the ledger's snapshot may stay open; raise snapshot_budget"));
  CHECK(o.counts.equal + o.counts.differences() == 0);
  CHECK(open_transactions(scene.world, "0"));
}

TEST_CASE("bisection: the snapshot is given up when its budget is used up, also in the middle of a statement") {
  Scene scene("budget");
  const QueryPlan plan = Scene::query().plan();
  const auto gives_up = [&](auto run) {
    Failure failure(Reason::none, "");
    try {
      run();
    } catch (const Failure& thrown) {
      failure = thrown;
    }
    INFO(failure.message);
    CHECK(failure.kind == Reason::timeout);
    CHECK(failure.retryable);
    CHECK(contains(failure.message, "its snapshot was to be open for"));
    CHECK(open_transactions(scene.world, "0"));
  };
  // Between two statements: a clock that jumps.
  testing::ManualClock clock;
  const Control control{.clock = &clock};
  gives_up([&] {
    postgres::Transaction transaction(scene.session, std::span(&plan, 1), nullptr, control);
    PostgresDigest l(transaction, plan, "event_id", control, Millis{1'000});
    l.bounds(control);
    CHECK(open_transactions(scene.world, "1"));
    clock.advance(Millis{1'001});
    l.bounds(control);
  });
  // Within one: a view that takes two seconds.
  scene.world.pg.execute("create view slow as select transactions.* from transactions, (select pg_sleep(2)) as s");
  const QueryPlan slow = Scene::query("slow").plan();
  const Millis from = SystemClock::instance().now();
  gives_up([&] {
    postgres::Transaction transaction(scene.session, std::span(&slow, 1), nullptr, {});
    PostgresDigest l(transaction, slow, "event_id", {}, Millis{300});
    ClickHouseDigest<ClickHouse> r(scene.analytics, Scene::query().plan(), as_of(Stream{.id = "test"}, {rows, 0}), scene.world.ids);
    NullSink sink;
    bisect(l, r, {}, sink, several_rounds);
  });
  CHECK((SystemClock::instance().now() - from).count() < 1'800);
  // The caller's own deadline is the caller's.
  try {
    postgres::Transaction transaction(scene.session, std::span(&slow, 1), nullptr, {});
    Control nearer;
    nearer.deadline = nearer.clock->now() + Millis{200};
    PostgresDigest l(transaction, slow, "event_id", nearer);
    l.bounds(nearer);
    FAIL("it took no time");
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::timeout);
    CHECK_FALSE(contains(failure.message, "snapshot"));
  }
  CHECK(open_transactions(scene.world, "0"));
}
