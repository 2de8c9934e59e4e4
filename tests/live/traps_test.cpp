// The traps of docs/traps.md on real servers: each planted fault gets the one verdict it must get.
#include "support/catch.hpp"

#include <chrono>
#include <thread>

#include "live/world.hpp"

using namespace live;

namespace {

template <class Ledger, class Analytics>
Outcome passes_first(World& world, Ledger& ledger, Analytics& analytics) {
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.claim == Claim::aggregate);
  CHECK(o.epoch->sequence == world.last_sequence);
  return o;
}

}  // namespace

TEST_CASE("ties: rows of the next batch share the epoch's nanosecond") {
  World world("ties");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}, {2, 1, "EUR", "-3"}});
  // The next batch, of the same nanosecond, is in ClickHouse already and not in the ledger.
  world.issue({{3, 0, "EUR", "100"}, {3, 1, "USD", "7"}});
  const Outcome o = passes_first(world, ledger, analytics);
  CHECK(o.counts.equal == 2);
  CHECK(o.right.ids->count == 3);
}

TEST_CASE("late rows: waits for them, and passes") {
  World world("late");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue(Event{1, 0, "EUR", "10"});
  world.issue(Event{3, 0, "EUR", "1"});  // max(event_id) is past the epoch long before all of it is visible
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}, {3, 0, "EUR", "1"}}, false);
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    exchange::ClickhouseWriter other(std::getenv("EPOCHCUT_CLICKHOUSE"));
    other.insert(world.name + ".transactions", std::to_string(Event{2, 0}.id()) + "\tEUR\t20\t\\N\n");
  });
  const Outcome o = check_balances(ledger, analytics, quick(Millis{10'000}));
  writer.join();
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.right.attempts > 1);
  CHECK(o.right.waited >= Millis{100});
}

TEST_CASE("late for ever: an error, never a fail, when nobody acknowledged the rows") {
  World world("never");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue(Event{1, 0, "EUR", "10"});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}}, false);
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::horizon_not_proven);
  CHECK(o.message.find("shows 1 events where the ledger counts 2") != std::string::npos);
}

TEST_CASE("a foreign row that balances a late one in number and amount is still no pass") {
  World world("foreign");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue({{1, 0, "EUR", "10"}, {1, 9, "EUR", "20"}});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}}, false);
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.counts.differences() == 0);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::horizon_not_proven);
}

TEST_CASE("replays: a batch written twice, cut differently, counts once") {
  World world("replay");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  world.issue({{2, 0, "USD", "5"}, {3, 0, "EUR", "1"}});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}, {3, 0, "EUR", "1"}});
  const Outcome o = passes_first(world, ledger, analytics);
  CHECK(o.right.completeness == Completeness::proved_distinct);
}

TEST_CASE("a duplicate that balances a late row: not complete, whatever the count says") {
  World world("balance");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue({{1, 0, "EUR", "10"}, {1, 0, "EUR", "10"}});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "10"}}, false);
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::horizon_not_proven);
}

TEST_CASE("one event id, two contents: whichever is picked is an accident") {
  World world("conflict");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  world.issue(Event{2, 0, "USD", "6"});
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::conflicting_rows);
  CHECK(o.message.find(std::to_string(Event{2, 0}.id())) != std::string::npos);
}

TEST_CASE("NULL at the newest version wins, and one row wins all columns") {
  World world("argmax");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.ch.execute("CREATE TABLE " + world.name +
                   ".positions (event_id UInt64, account String, quantity Nullable(Int64), note Nullable(String)) ENGINE = MergeTree ORDER BY event_id");
  world.ch.execute("CREATE TABLE " + world.name +
                   ".expected (event_id UInt64, account String, quantity Nullable(Int64), note Nullable(String)) ENGINE = MergeTree ORDER BY event_id");
  const auto rows = [](std::uint64_t s, const char* account, const char* quantity, const char* note) {
    return std::to_string(Event{s, 0}.id()) + "\t" + account + "\t" + quantity + "\t" + note + "\n";
  };
  // Inserted newest first: row order is nobody's business.
  world.ch.insert(world.name + ".positions", rows(4, "a", "\\N", "new") + rows(3, "b", "7", "\\N") + rows(1, "a", "5", "old") + rows(2, "b", "6", "old"));
  world.commit({{1}, {2}, {3}, {4}});
  world.pg.execute(
      "insert into resume_token_digests select stream, authority, 'positions', row_count, sum_low, sum_high, acked_sequence, acked_by from resume_token_digests");
  const Query latest_positions = latest("positions").per("account").values("quantity", "note");
  const std::vector<Query> none;
  const EpochCut cut(ledger, std::span<const Query>(none));
  const Read read = cut.read(analytics, latest_positions);
  REQUIRE(read.completeness == Completeness::proved);
  REQUIRE(read.rows.rows() == 2);
  CHECK(read.rows.column("quantity")[0].null);
  CHECK(to_string(read.rows.column("note")[0]) == "new");
  CHECK(to_string(read.rows.column("quantity")[1]) == "7");
  CHECK(read.rows.column("note")[1].null);
}

TEST_CASE("text and uuid keys come in the order of their bytes from both servers") {
  World world("order");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  // By bytes: "B" < "_" < "a" < "ä"; a language sorts them otherwise. ClickHouse compares a UUID's second half first.
  world.pg.execute("create table keyed (k text primary key, u uuid, n bigint)");  // the database's default collation, on purpose
  world.ch.execute("CREATE TABLE " + world.name + ".keyed (event_id UInt64, k String, u UUID, n Int64) ENGINE = MergeTree ORDER BY event_id");
  const char* keys[] = {"a", "B", "\xC3\xA4", "_", "aa", "Zebra", "zebra"};
  const char* uuids[] = {"00000000-0000-0001-ffff-000000000000", "ffffffff-ffff-ffff-0000-000000000000", "00000000-0000-0002-0000-000000000001",
                         "80000000-0000-0000-0000-000000000000", "7fffffff-0000-0000-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000001",
                         "00000000-0000-0001-0000-000000000000"};
  std::vector<Event> all;
  for (std::size_t i = 0; i < std::size(keys); ++i) {
    world.pg.execute("insert into keyed values ($1, $2::uuid, $3::bigint)", {keys[i], uuids[i], std::to_string(i)});
    all.push_back({i + 1});
    world.ch.insert(world.name + ".keyed", std::to_string(all.back().id()) + "\t" + keys[i] + "\t" + uuids[i] + "\t" + std::to_string(i) + "\n");
  }
  world.commit(all);
  world.pg.execute(
      "insert into resume_token_digests select stream, authority, 'keyed', row_count, sum_low, sum_high, acked_sequence, acked_by from resume_token_digests");
  for (const char* key : {"k", "u"}) {
    const char* other = key[0] == 'k' ? "u" : "k";
    const Outcome o = check(
        ledger, Invariant{"keyed", {ledger, current("keyed").key(key).values(other, "n")}, {analytics, events("keyed").key(key).values(other, "n")}}, quick());
    INFO(to_text(o));
    CHECK(o.status == Status::pass);
    CHECK(o.claim == Claim::every_value);
    CHECK(o.counts.equal == std::size(keys));
  }
}

TEST_CASE("sum overflow: widened where it fits, an error where nothing holds it, never a wrapped number") {
  SECTION("maxima of a 64-bit decimal fit when widened") {
    World world("wide");
    auto ledger = world.ledger();
    auto analytics = world.analytics();
    std::vector<Event> events;  // twelve of the greatest that the column holds are past 2^63
    for (std::uint64_t s = 1; s <= 12; ++s) events.push_back({s, 0, "EUR", "9999999999.99999999"});
    world.write(events);
    passes_first(world, ledger, analytics);
  }
  SECTION("four times 9e37 does not fit 38 digits") {
    World world("wrap", "Decimal(38, 0)");
    auto ledger = world.ledger();
    auto analytics = world.analytics();
    const std::string big = "9" + std::string(37, '0');
    std::vector<Event> events;
    for (std::uint64_t s = 1; s <= 4; ++s) events.push_back({s, 0, "EUR", big});
    world.issue(events);
    for (Event& e : events) e.amount = "0";  // the ledger's side fits: it is the analytics sum that would wrap to +1.97e37
    world.commit(events);
    const Outcome o = check_balances(ledger, analytics);
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::overflow);
  }
}

TEST_CASE("empty sides") {
  World world("empty");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  SECTION("both, and the ledger counts nothing: skipped, never pass") {
    world.commit({});
    const Outcome o = check_balances(ledger, analytics);
    INFO(to_text(o));
    CHECK(o.status == Status::skipped);
    CHECK(o.reason == Reason::empty);
  }
  SECTION("a query that selects nothing of a complete table: skipped, never pass") {
    world.write({{1, 0, "EUR", "1"}});
    const Outcome o = check(ledger,
                            Invariant{"none",
                                      {ledger, current("balances").where("currency", "XXX").by("currency").sum("amount")},
                                      {analytics, events("transactions").where("currency", "XXX").by("currency").sum("amount")}},
                            quick());
    INFO(to_text(o));
    CHECK(o.status == Status::skipped);
    CHECK(o.reason == Reason::nothing_selected);
  }
  SECTION("the follower truncated, all of it acknowledged: fail, never skipped") {
    world.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "0"}});
    world.ch.execute("TRUNCATE TABLE " + world.name + ".transactions");
    const Outcome o = check_balances(ledger, analytics);
    INFO(to_text(o));
    CHECK(o.status == Status::fail);
    CHECK(o.reason == Reason::missing_rows);
    CHECK(o.confirmed);
    REQUIRE(o.differences.size() == 2);
    CHECK(o.differences[0].kind == DifferenceKind::only_left);
    CHECK(to_string(o.differences[0].key[0].value.value()) == "EUR");
  }
  SECTION("a lost row that moves no sum is a fail too") {
    world.write({{1, 0, "EUR", "10"}, {2, 0, "EUR", "0"}});
    world.ch.execute("ALTER TABLE " + world.name + ".transactions DELETE WHERE event_id = " + std::to_string(Event{2}.id()));
    for (int i = 0; i < 200 && world.ch.query("SELECT count() FROM " + world.name + ".transactions") != "1\n"; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const Outcome o = check_balances(ledger, analytics);
    INFO(to_text(o));
    CHECK(o.counts.differences() == 0);
    CHECK(o.status == Status::fail);
    CHECK(o.reason == Reason::missing_rows);
  }
}

TEST_CASE("a row at or below the epoch that the ledger never committed") {
  World world("extra");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  world.issue(Event{2, 7, "USD", "3"});
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::extra_rows);
  CHECK(o.confirmed);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "changed currency=USD: left amount=5.00000000, right amount=8.00000000");
}

TEST_CASE("rows acknowledged by another server: replica lag, not a loss") {
  World world("replica");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue(Event{1, 0, "EUR", "10"});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}});
  world.pg.execute("update resume_token_digests set acked_by = 'another server'");
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::replica_lag);
}

TEST_CASE("a superseded version may have been merged away: below retention, not a difference") {
  World world("merged");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  world.ch.execute("CREATE TABLE " + world.name +
                   ".positions (event_id UInt64, account String, quantity Int64) ENGINE = ReplacingMergeTree(event_id) ORDER BY account");
  world.pg.execute(
      "insert into resume_token_digests select stream, authority, 'positions', row_count, sum_low, sum_high, acked_sequence, acked_by from resume_token_digests");
  const Outcome o = check(
      ledger,
      Invariant{"positions", {analytics, latest("positions").per("account").values("quantity")}, {analytics, events("transactions").by("currency").count()}},
      quick());
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::below_retention);
}

TEST_CASE("a changed amount fails at once, with its key and both values") {
  World world("changed");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue(Event{1, 0, "EUR", "10"});
  world.issue(Event{2, 0, "USD", "5"}, "5.00000001");
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::differs);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "changed currency=USD: left amount=5.00000000, right amount=5.00000001");
}

TEST_CASE("TRUNCATE of the ledger's table can't slip between token and data") {
  World world("locks");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  world.pg.execute("begin; truncate balances");  // holds ACCESS EXCLUSIVE until it ends
  PostgresOptions impatient;
  impatient.lock_timeout = Millis{200};
  Postgres waiting(world.dsn(), {.stream = "test"}, impatient);
  const Outcome o = check_balances(waiting, analytics);
  world.pg.execute("rollback");
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::lock_timeout);
  passes_first(world, ledger, analytics);
}

TEST_CASE("cancelled in the middle of a wait: error, soon, and the next check is clean") {
  World world("cancel");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue(Event{1, 0, "EUR", "10"});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}}, false);
  Cancel cancel;
  CheckOptions options = quick(Millis{20'000});
  options.control.cancel = &cancel;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    cancel.request();
  });
  const auto before = std::chrono::steady_clock::now();
  const Outcome o = check_balances(ledger, analytics, options);
  canceller.join();
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::cancelled);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(3));
  world.issue(Event{2, 0, "EUR", "20"});
  passes_first(world, ledger, analytics);
}

TEST_CASE("a token that went back: the ledger was restored or failed over") {
  World world("regressed");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}, {2, 0, "EUR", "10"}});
  CheckOptions options = quick();
  options.last_seen = {{"test", Epoch{3, 0}}};
  const Outcome o = check_balances(ledger, analytics, options);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::epoch_regressed);
}

TEST_CASE("a shard that does not answer: the whole reading is an error, where a lax client would get half of it") {
  World world("shards");
  world.ch.execute("RENAME TABLE " + world.name + ".transactions TO " + world.name + ".part");
  const std::string here = "127.0.0.1:" + std::string(std::getenv("EPOCHCUT_CLICKHOUSE_TCP_PORT")), nowhere = "127.0.0.1:1";
  const auto spread_over = [&](const std::string& shards) {
    world.ch.execute("DROP TABLE IF EXISTS " + world.name + ".transactions");
    world.ch.execute("CREATE VIEW " + world.name + ".transactions AS SELECT * FROM remote('" + shards + "', " + world.name + ", part)");
  };
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.ch.insert(world.name + ".part", std::to_string(Event{1}.id()) + "\tEUR\t10\t\\N\n");
  world.commit({{1, 0, "EUR", "10"}});
  spread_over(here);
  passes_first(world, ledger, analytics);
  spread_over(here + "," + nowhere);
  exchange::ClickhouseWriter lax(world.url() + "&skip_unavailable_shards=1");
  CHECK(lax.query("SELECT count() FROM " + world.name + ".transactions") == "1\n");  // 200, well-formed, and half of it
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason != Reason::horizon_not_proven);
  CHECK(o.counts.differences() == 0);
}
