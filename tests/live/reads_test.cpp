// Do several readers of one snapshot show what one reader shows, and what happens when one of them can't?
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"
#include "faults/proxy.hpp"
#include "support/catch.hpp"

using namespace epochcut;

namespace {

struct Schema {
  explicit Schema(const std::string& test) : name("reads_" + test + "_" + std::to_string(getpid())), pg(std::getenv("EPOCHCUT_POSTGRES")) {
    pg.execute("set client_min_messages = warning; drop schema if exists " + name + " cascade; create schema " + name + "; set search_path = " + name);
  }
  ~Schema() { exchange::PostgresWriter(std::getenv("EPOCHCUT_POSTGRES")).execute("set client_min_messages = warning; drop schema " + name + " cascade"); }

  Postgres source(int readers) const {
    PostgresOptions options;
    options.readers = readers;
    TokenTable token;
    token.stream = has_token ? "test" : "", token.leg_bits = 0;
    return Postgres(dsn(), token, options);
  }
  std::string dsn() const { return std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + name + "' application_name=" + name; }
  /// Sessions that are at work or in a transaction, after those that were told to end had time for it.
  int sessions_left() {
    int left = sessions();
    for (int i = 0; i < 100 && left != 0; ++i, left = sessions()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return left;
  }
  int sessions() {
    return std::stoi(std::string(pg.execute("select count(*) from pg_stat_activity where application_name = '" + name + "' and state <> 'idle'")(0, 0)));
  }

  std::string name;
  exchange::PostgresWriter pg;
  bool has_token = false;
};

/// A standby of this test's own (live/standby.sh), which goes with it.
class Standby {
 public:
  Standby() : name_("standby-" + std::to_string(getpid())) {
    const int status = run("start"), code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    made_ = code == 0;
    if (!made_) run("stop");
    REQUIRE((made_ || code == no_basebackup));
  }
  Standby(const Standby&) = delete;
  Standby& operator=(const Standby&) = delete;
  ~Standby() { run("stop"); }

  bool made() const { return made_; }
  std::string dsn() const { return "host='" + variable("EPOCHCUT_SERVERS_DIR") + "/postgres/" + name_ + "' user=epochcut dbname=exchange"; }

 private:
  static std::string variable(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
  }
  int run(const std::string& command) const {
    const std::string servers = variable("EPOCHCUT_SERVERS_SH"), examples = servers.substr(0, servers.rfind('/'));
    return std::system(("sh '" + examples + "/../tests/live/standby.sh' " + command + " '" + variable("EPOCHCUT_SERVERS_DIR") + "' " + name_).c_str());
  }

  static constexpr int no_basebackup = 3;

  std::string name_;
  bool made_ = false;
};

/// A thread that is told to stop and waited for, also when the test fails.
class Joined {
 public:
  template <class Body>
  Joined(std::atomic<bool>& stop, Body body) : stop_(stop), thread_(body) {}
  Joined(const Joined&) = delete;
  Joined& operator=(const Joined&) = delete;
  ~Joined() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool>& stop_;
  std::thread thread_;
};

std::pair<Relation, Proof> take(Postgres& source, const Query& query, const Control& control = {}) {
  const QueryPlan plan = query.plan();
  Snapshot snapshot = source.snapshot(std::span(&plan, 1), control);
  return {std::move(snapshot.relations[0]), std::move(snapshot.proofs[0])};
}

/// The first row in which two relations part; the number of rows if they are the same.
std::size_t first_difference(const Relation& a, const Relation& b) {
  REQUIRE(a.same_shape(b));
  for (std::size_t row = 0; row < a.rows() && row < b.rows(); ++row)
    for (std::size_t i = 0; i < a.fields.size(); ++i)
      if (compare(a.fields[i].column[row], b.fields[i].column[row]) != 0) return row;
  return a.rows() == b.rows() ? a.rows() : std::min(a.rows(), b.rows());
}

Reason reason_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Failure& failure) {
    UNSCOPED_INFO(failure.message);
    return failure.kind;
  }
  return Reason::none;
}

/// The rows of `write_ten_together`: `t`, a hundred thousand of them.
void make_hundred_thousand(Schema& schema) {
  schema.pg.execute("create table t (id bigint primary key, v bigint not null); insert into t select i, 0 from generate_series(1, 100000) i; analyze t");
}

/// Ten rows, some in every reader's range, always change together, some hundred times a second.
void write_ten_together(const std::string& dsn, const std::atomic<bool>& stop) {
  exchange::PostgresWriter pg(dsn);
  while (!stop) pg.execute("update t set v = v + 1 where id in (9000, 19000, 29000, 39000, 49000, 59000, 69000, 79000, 89000, 99000)");
}

/// In how many of `reads` those ten had moved since the read before: if in none, nothing was written, and nothing is shown. No read may see some of them moved.
int moments_seen(Postgres& source, int reads) {
  int torn = 0, moments = 0;
  std::uint64_t last = 0;
  for (int i = 0; i < reads; ++i) {
    const auto [rows, proof] = take(source, current("t").key("id").values("v"));
    REQUIRE(rows.rows() == 100'000);
    const auto values = rows.column("v").words();
    for (std::size_t row = 8'999; row < 100'000; row += 10'000) torn += values[row] != values[8'999];
    moments += values[8'999] != last;
    last = values[8'999];
  }
  CHECK(torn == 0);
  return moments;
}

}  // namespace

TEST_CASE("several readers show the rows and the proof of one") {
  Schema schema("same");
  schema.pg.execute(
      "create table resume_tokens (stream text, authority text, generation bigint, sequence bigint, latest_execution_ns bigint);"
      "create table resume_token_digests (stream text, authority text, relation text, row_count numeric(20,0), sum_low numeric(20,0), sum_high numeric(20,0), "
      "acked_sequence bigint not null default 0, acked_by text not null default '');"
      "insert into resume_tokens values ('test', 'production', 1, 140000, 7);"
      "create table analyzed (event_id bigint primary key, part int not null, amount numeric(20,6), memo text);"
      "insert into analyzed select i, i % 700, case when i % 5 = 0 then null else i / 7.0 end, 'm' || i from generate_series(1, 150000) i;"
      "create table bare (like analyzed); insert into bare select * from analyzed;"
      "create table holes (id int, more int not null, memo text);"
      "insert into holes select case when i % 11 = 0 then null else (i * 7919) % 100003 - 50000 end, i, 'x' from generate_series(1, 60000) i;"
      "create table few (event_id bigint primary key, memo text); insert into few values (-5, 'a'), (9, 'b');"
      "create table nothing (event_id bigint primary key, memo text);"
      "create table far (event_id bigint primary key, memo text);"
      "insert into far select case i % 3 when 0 then -9223372036854775808 + i when 1 then 9223372036854775807 - i else i end, 'y' from generate_series(1, 50000) i;"
      "analyze analyzed; analyze holes; analyze few; analyze far");
  schema.has_token = GENERATE(false, true);
  const Query queries[] = {current("analyzed").key("event_id").values("amount", "memo"),
                           current("bare").key("event_id").values("amount", "memo"),
                           current("holes").key("id", "more").values("memo"),
                           current("few").key("event_id").values("memo"),
                           current("nothing").key("event_id").values("memo"),
                           current("far").key("event_id").values("memo"),
                           current("analyzed").by("part").sum("amount").count(),
                           current("analyzed").sum("amount"),
                           current("analyzed").key("memo").values("part"),  // a key that can't be cut
                           current("analyzed").where("part", Comparison::at_least, 650).key("part", "event_id").values("memo"),
                           events("analyzed").values("amount"),
                           latest("analyzed").per("part").values("amount", "memo")};
  Postgres one = schema.source(1);
  for (const int readers : {2, 5}) {
    Postgres many = schema.source(readers);
    for (const Query& query : queries) {
      INFO(query.plan().relation << " by " << readers << " readers, keyed by " << (query.plan().key.empty() ? "" : query.plan().key[0]));
      const auto [left, left_proof] = take(one, query);
      const auto [right, right_proof] = take(many, query);
      CHECK(first_difference(left, right) == left.rows());
      CHECK(left_proof.rows == right_proof.rows);
      CHECK(right_proof.rows == right.rows());
      CHECK(left_proof.snapshot == right_proof.snapshot);
      CHECK(left_proof.server == right_proof.server);
      CHECK(right_proof.bytes >= left_proof.bytes);
      const auto [streamed, streamed_proof] = collect(many.open(query.plan(), AsOf{.at_rest = true}, Form::plain, {}), {});
      const auto [expected, expected_proof] = collect(one.open(query.plan(), AsOf{.at_rest = true}, Form::plain, {}), {});
      CHECK(first_difference(expected, streamed) == expected.rows());
      CHECK(expected_proof.rows == streamed_proof.rows);
    }
  }
  const QueryPlan held_plans[] = {queries[0].plan(), queries[2].plan()};
  Postgres holder = schema.source(3);
  AnyHeld held = holder.hold(held_plans, {});
  for (int pass = 0; pass < 2; ++pass)
    for (std::size_t i = 0; i < 2; ++i) {
      const auto [rows, proof] = collect(held->open(i, false, {}), {});
      CHECK(first_difference(take(one, i == 0 ? queries[0] : queries[2]).first, rows) == rows.rows());
      CHECK(rows.rows() == (i == 0 ? 150'000 : 60'000));
    }
  held->release({});
  const QueryPlan both[] = {queries[0].plan(), queries[10].plan(), queries[2].plan()};
  const Snapshot left = one.snapshot(both, {}), right = schema.source(3).snapshot(both, {});
  for (std::size_t i = 0; i < 3; ++i) CHECK(first_difference(left.relations[i], right.relations[i]) == left.relations[i].rows());
  if (schema.has_token) CHECK(right.relations[1].rows() == 140'000);  // above the epoch there are 10 000 more
}

TEST_CASE("several readers see ONE moment, whatever is written between them") {
  Schema schema("moment");
  make_hundred_thousand(schema);
  std::atomic<bool> stop{false};
  const Joined writer(stop, [&] { write_ten_together(schema.dsn(), stop); });
  Postgres source = schema.source(4);
  CHECK(moments_seen(source, 30) > 20);
}

TEST_CASE("several readers see ONE moment of a standby too, while it follows its primary") {
  const Standby standby;
  Schema schema("standby");
  if (!standby.made()) {
    // The PostgreSQL 18 of the npm registry comes without pg_basebackup; every other server has it, and 15 is what this test is run on.
    REQUIRE(schema.pg.execute("select current_setting('server_version_num')::int >= 180000")(0, 0) == "t");
    WARN("no standby: this PostgreSQL has no pg_basebackup");
    return;
  }
  make_hundred_thousand(schema);
  const std::string dsn = standby.dsn() + " options='-c search_path=" + schema.name + "' application_name=" + schema.name;
  exchange::PostgresWriter look(dsn);
  REQUIRE(look.execute("select pg_is_in_recovery()")(0, 0) == "t");
  const std::string written(schema.pg.execute("select pg_current_wal_lsn()")(0, 0));
  const auto caught_up = [&] { return look.execute("select pg_last_wal_replay_lsn() >= '" + written + "'::pg_lsn")(0, 0) == "t"; };
  for (int i = 0; i < 600 && !caught_up(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  REQUIRE(caught_up());

  PostgresOptions options;
  options.readers = 4;
  Postgres source(dsn, {}, options), primary = schema.source(1);
  const Query query = current("t").key("id").values("v");
  const auto [here, here_proof] = take(source, query);
  const auto [there, there_proof] = take(primary, query);
  CHECK(first_difference(there, here) == 100'000);
  CHECK(here_proof.server != there_proof.server);
  const auto sessions = look.execute("select count(*) from pg_stat_activity where pid <> pg_backend_pid() and application_name = '" + schema.name + "'");
  CHECK(sessions(0, 0) == "4");  // each reader had one, and it is kept

  std::atomic<bool> stop{false};
  const Joined writer(stop, [&] { write_ten_together(schema.dsn(), stop); });
  CHECK(moments_seen(source, 15) > 8);
}

TEST_CASE("a reader that fails fails all, and leaves nobody behind") {
  Schema schema("fails");
  schema.pg.execute(
      "create table t (id bigint primary key, v numeric not null); insert into t select i, i from generate_series(1, 500000) i; analyze t;"
      "update t set v = 'NaN' where id = 499990");
  Postgres source = schema.source(2);
  const Query query = current("t").key("id").values("v");
  CHECK(reason_of([&] { take(source, query); }) == Reason::overflow);
  CHECK(schema.sessions_left() == 0);
  schema.pg.execute("update t set v = 1 where id = 499990");
  CHECK(take(source, query).first.rows() == 500'000);

  SECTION("a session that is ended from outside") {
    AnyCursor cursor = source.open(query.plan(), AsOf{.at_rest = true}, Form::plain, {});
    Relation block;
    REQUIRE(cursor->next(block));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // all are at work, and wait for room
    schema.pg.execute("select pg_terminate_backend(max(pid)) from pg_stat_activity where application_name = '" + schema.name + "'");
    CHECK(reason_of([&] {
            while (cursor->next(block)) {
            }
          }) == Reason::connection);
    CHECK(reason_of([&] { cursor->next(block); }) != Reason::none);
  }
  SECTION("a caller who cancels") {
    Cancel cancel;
    Control control;
    control.cancel = &cancel;
    AnyCursor cursor = source.open(query.plan(), AsOf{.at_rest = true}, Form::plain, control);
    Relation block;
    REQUIRE(cursor->next(block));
    cancel.request();
    CHECK(reason_of([&] {
            while (cursor->next(block)) {
            }
          }) == Reason::cancelled);
  }
  SECTION("a caller who goes away") {
    const auto begin = std::chrono::steady_clock::now();
    {
      AnyCursor cursor = source.open(query.plan(), AsOf{.at_rest = true}, Form::plain, {});
      Relation block;
      REQUIRE(cursor->next(block));
    }
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  }
  CHECK(schema.sessions_left() == 0);
}

TEST_CASE("a snapshot is taken over from this server, this moment, or not at all") {
  Schema schema("import");
  schema.pg.execute("create table t (id bigint primary key); insert into t values (1)");
  const Query query = current("t").key("id");
  const QueryPlan plan = query.plan();
  const auto session = [&] { return std::make_shared<postgres::Connection>(schema.dsn(), PostgresOptions{}); };
  postgres::Transaction anchor(session(), std::span(&plan, 1), nullptr, {});
  const postgres::Exported snapshot = anchor.export_snapshot({});
  CHECK(reason_of([&] { postgres::Transaction(session(), snapshot, "t", {}).commit({}); }) == Reason::none);
  postgres::Exported other = snapshot;
  other.visible += ",7";
  CHECK(reason_of([&] { postgres::Transaction(session(), other, "t", {}); }) == Reason::replica_changed);
  other = snapshot, other.server.name = "postgres 1@elsewhere:5432";
  CHECK(reason_of([&] { postgres::Transaction(session(), other, "t", {}); }) == Reason::replica_changed);
  other = snapshot, other.id = "00000009-00000009-9";
  CHECK(reason_of([&] { postgres::Transaction(session(), other, "t", {}); }) != Reason::none);

  // Who wants the table alone waits for the anchor, and a reader behind him would wait for ever.
  std::atomic<bool> unused{false};
  const Joined alter(unused, [&] { exchange::PostgresWriter(schema.dsn()).execute("alter table t add column more int"); });
  while (schema.pg.execute("select count(*) from pg_locks where not granted and relation = 't'::regclass")(0, 0) != "1")
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto begin = std::chrono::steady_clock::now();
  CHECK(reason_of([&] { postgres::Transaction(session(), snapshot, "t", {}); }) == Reason::lock_timeout);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2));
  anchor.commit({});
}

TEST_CASE("a key is cut at rising places, whatever the marks") {
  using postgres::cuts;
  CHECK(cuts({}, 4).empty());
  CHECK(cuts({1}, 4).empty());
  CHECK(cuts({5, 5}, 4) == std::vector<std::int64_t>{5});
  CHECK(cuts({0, 100}, 4) == std::vector<std::int64_t>{25, 50, 75});
  CHECK(cuts({0, 10, 1000}, 4) == std::vector<std::int64_t>{5, 10, 505});
  CHECK(cuts({INT64_MIN, INT64_MAX}, 2) == std::vector<std::int64_t>{-1});
  for (const std::uint64_t ranges : {2u, 3u, 100u, 4096u}) {
    const auto at = cuts({INT64_MIN, -3, -2, 0, 0, 17, INT64_MAX}, ranges);
    CHECK(std::is_sorted(at.begin(), at.end()));
    CHECK(std::adjacent_find(at.begin(), at.end()) == at.end());
    CHECK(at.size() < ranges);
  }
}

TEST_CASE("a compressed answer is the same answer, whole or an error, and its proof counts what crossed the wire") {
  exchange::ClickhouseWriter ch(std::getenv("EPOCHCUT_CLICKHOUSE"));
  const std::string name = "reads_compressed_" + std::to_string(getpid());
  ch.execute("DROP DATABASE IF EXISTS " + name);
  ch.execute("CREATE DATABASE " + name);
  ch.execute("CREATE TABLE " + name + ".t (event_id UInt64, memo String, note Nullable(String)) ENGINE = MergeTree ORDER BY event_id");
  ch.execute("INSERT INTO " + name + ".t SELECT number, concat('memo ', toString(intHash64(number))), if(number % 3 = 0, NULL, 'x') FROM numbers(100000)");
  const std::string server = std::getenv("EPOCHCUT_CLICKHOUSE");
  faults::Proxy proxy({static_cast<std::uint16_t>(std::stoi(server.substr(server.rfind(':') + 1)))});
  const auto source = [&](bool compress) {
    ClickHouseOptions options;
    options.transport.compress = compress;
    return ClickHouse("http://127.0.0.1:" + std::to_string(proxy.port()) + "/?database=" + name, options);
  };
  AsOf at = as_of(Stream{.id = "test", .event_id = "event_id"}, Epoch{});
  at.last_event_id = 1u << 30;
  const QueryPlan plan = events("t").values("memo", "note").plan();
  const auto read = [&](ClickHouse& from) { return collect(from.open(plan, at, Form::plain, {}), {}); };
  ClickHouse plain = source(false), compressed = source(true);
  const auto [left, left_proof] = read(plain);
  const auto [right, right_proof] = read(compressed);
  REQUIRE(left.rows() == 100'000);
  CHECK(first_difference(left, right) == left.rows());
  CHECK(left_proof.ids == right_proof.ids);
  CHECK(left_proof.rows == right_proof.rows);
  CHECK(right_proof.bytes < left_proof.bytes * 3 / 4);
  CHECK(right_proof.bytes > 100'000);

  // The first request on a connection asks for settings, the second describes the table; the third is read.
  proxy.arm({});
  {
    ClickHouse fresh = source(true);
    read(fresh);
  }
  const std::size_t whole = proxy.seen(0, faults::To::client).size();
  CHECK(whole > right_proof.bytes);
  CHECK(whole < right_proof.bytes + 20'000);  // heads, chunks' sizes, and the two small answers
  for (std::size_t cut = 3; cut < whole; cut += cut < 12 ? 3 : whole / 12) {
    INFO("cut " << cut << " bytes before the end of " << whole);
    proxy.arm({.harm = faults::Harm::truncate, .at = whole - cut});
    ClickHouse fresh = source(true);
    CHECK(reason_of([&] { read(fresh); }) != Reason::none);
    CHECK(proxy.struck() == 1);
  }
  proxy.heal();
  const Query late = events("t").where("memo", Comparison::not_equal, "").values("memo");
  ClickHouseOptions options;
  options.transport.compress = true;
  options.settings = {{"max_rows_to_read", "70000"}};  // an exception after rows were sent
  ClickHouse limited("http://127.0.0.1:" + std::to_string(proxy.port()) + "/?database=" + name, options);
  CHECK(reason_of([&] { collect(limited.open(late.plan(), at, Form::plain, {}), {}); }) == Reason::too_large);
  ch.execute("DROP DATABASE " + name);
}
