// The traps that only a newer ClickHouse lays, each shown to be one before it is stepped into: PostgreSQL 15 beside ClickHouse 26 in process.
#include <atomic>
#include <thread>

#include "support/catch.hpp"

#include "chdb/pair.hpp"

using namespace live;

namespace {

Outcome checked(Pair& pair, const CheckOptions& options = quick()) {
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  return check_balances(ledger, analytics, options);
}

void require(const Outcome& o, Status status, Reason reason) {
  INFO(to_text(o));
  REQUIRE(o.status == status);
  REQUIRE(o.reason == reason);
}

}  // namespace

TEST_CASE("end to end: pass, fail with key and values, horizon not proven") {
  Pair pair("pair");
  pair.write({{1, 0, "EUR", "10.5"}, {2, 0, "USD", "5"}, {2, 1, "EUR", "-3"}});
  pair.issue({{3, 0, "EUR", "100"}});  // of the next batch
  const Outcome pass = checked(pair);
  require(pass, Status::pass, Reason::none);
  CHECK(pass.epoch->sequence == 2);
  CHECK(pass.counts.equal == 2);
  CHECK(pass.right.ids->count == 3);
  CHECK(pass.right.server.name.starts_with("chdb "));
  CHECK(pass.right.server.version.starts_with("26."));

  pair.commit({{3, 0, "EUR", "100.00000001"}});
  const Outcome fail = checked(pair);
  require(fail, Status::fail, Reason::differs);
  REQUIRE(fail.differences.size() == 1);
  CHECK(to_text(fail.differences[0]) == "changed currency=EUR: left amount=107.50000001, right amount=107.50000000");

  pair.commit({{4, 0, "EUR", "1"}}, false);
  require(checked(pair), Status::error, Reason::horizon_not_proven);
  pair.issue({{4, 0, "EUR", "1"}});
  require(checked(pair), Status::fail, Reason::differs);  // the old difference, and nothing else
}

TEST_CASE("both ends are one table: same_relation") {
  Pair pair("same");
  pair.write({{1}});
  auto ledger = pair.ledger();
  auto one = pair.engine.source(), other = pair.engine.source();
  const Outcome o = check(ledger, Invariant{"same", {one, transactions()}, {other, transactions()}}, quick());
  require(o, Status::error, Reason::same_relation);
}

TEST_CASE("NULL at the newest version wins, and one row wins all columns") {
  Pair pair("argmax");
  pair.engine.execute(
      "CREATE TABLE positions (event_id UInt64, account String, quantity Nullable(Int64), note LowCardinality(Nullable(String))) "
      "ENGINE = MergeTree ORDER BY event_id");
  const auto row = [](std::uint64_t s, const std::string& rest) { return std::to_string(Event{s}.id()) + "\t" + rest + "\n"; };
  pair.engine.insert("positions", row(4, "a\t\\N\tnew") + row(3, "b\t7\t\\N") + row(1, "a\t5\told") + row(2, "b\t6\told"));
  REQUIRE(pair.engine.query("SELECT account, argMax(quantity, event_id), argMax(note, event_id) FROM positions GROUP BY account ORDER BY account") ==
          "a\t5\tnew\nb\t7\told\n");  // the trap: two rows mixed into one that never was
  pair.commit({{1}, {2}, {3}, {4}});
  pair.declare("positions");
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  const EpochCut cut(ledger, std::span<const Query>());
  const Read read = cut.read(analytics, latest("positions").per("account").values("quantity", "note"));
  REQUIRE(read.completeness == Completeness::proved);
  REQUIRE(read.rows.rows() == 2);
  CHECK(read.rows.column("quantity")[0].null);
  CHECK(to_string(read.rows.column("note")[0]) == "new");
  CHECK(to_string(read.rows.column("quantity")[1]) == "7");
  CHECK(read.rows.column("note")[1].null);
}

TEST_CASE("sums: widened where they fit, an error where nothing holds them, never wrapped") {
  SECTION("Int64") {
    Pair pair("wrap64", "Int64");
    const std::string most = "9223372036854775807";
    pair.issue({{1, 0, "EUR", most}, {2, 0, "EUR", most}});
    REQUIRE(pair.engine.query("SELECT sum(amount) FROM transactions") == "-2\n");
    pair.commit({{1, 0, "EUR", most}, {2, 0, "EUR", most}});
    require(checked(pair), Status::pass, Reason::none);
  }
  SECTION("Int128, beyond 64 bits") {
    Pair pair("int128", "Int128");
    const std::string big = "123456789012345678901234567890";
    pair.write({{1, 0, "EUR", big}, {2, 0, "EUR", big}, {3, 0, "USD", "-" + big}});
    const Outcome o = checked(pair);
    require(o, Status::pass, Reason::none);
    CHECK(o.counts.equal == 2);
  }
  SECTION("Decimal of 38 digits") {
    Pair pair("wrap128", "Decimal(38, 0)");
    const std::string big = "9" + std::string(37, '0');
    std::vector<Event> events;
    for (std::uint64_t s = 1; s <= 4; ++s) events.push_back({s, 0, "EUR", big});
    pair.issue(events);
    REQUIRE(pair.engine.query("SELECT sum(amount) > 0 AND sum(amount) < toDecimal128(2, 0) * toDecimal128('10000000000000000000000000000000000000', 0) FROM "
                              "transactions SETTINGS decimal_check_overflow = 0") == "1\n");
    for (Event& e : events) e.amount = "0";
    pair.commit(events);
    require(checked(pair), Status::error, Reason::overflow);
  }
}

TEST_CASE("a decimal's text drops its zeros here, and nothing depends on it") {
  Pair pair("zeros");
  REQUIRE(pair.engine.query("SELECT toString(toDecimal64('1.50000000', 8))") == "1.5\n");
  pair.pg().execute("create table rates (rate numeric(38,8) primary key, label text)");
  pair.engine.execute("CREATE TABLE rates (event_id UInt64, rate Decimal(38, 8), label String) ENGINE = MergeTree ORDER BY event_id");
  const char* rates[] = {"1.50000000", "1.05000000", "10.00000000", "0.00000001", "-2.30000000"};
  std::vector<Event> events;
  for (const char* rate : rates) {
    events.push_back({events.size() + 1});
    pair.pg().execute("insert into rates values ($1::numeric, $2)", {rate, rate});
    const std::string line = std::to_string(events.back().id()) + "\t" + rate + "\t" + rate + "\n";
    pair.engine.insert("rates", line);
    pair.engine.insert("rates", line);  // a replay: one event, and no conflict, whatever the texts of its decimal are
  }
  pair.commit(events);
  pair.declare("rates");
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  const Invariant rates_agree{
      "rates", {ledger, current("rates").key("rate").values("label")}, {analytics, epochcut::events("rates").key("rate").values("label")}};
  const Outcome o = check(ledger, rates_agree, quick());
  require(o, Status::pass, Reason::none);
  CHECK(o.counts.equal == std::size(rates));
  CHECK(o.right.completeness == Completeness::proved_distinct);
}

TEST_CASE("superseded versions merged away: below_retention") {
  Pair pair("merged");
  pair.write({{1}, {2}});
  pair.engine.execute("CREATE TABLE positions (event_id UInt64, account String, quantity Int64) ENGINE = ReplacingMergeTree(event_id) ORDER BY account");
  for (const char* row : {"256\ta\t80\n", "512\ta\t90\n"}) pair.engine.insert("positions", row);
  pair.engine.execute("OPTIMIZE TABLE positions FINAL");
  REQUIRE(pair.engine.query("SELECT quantity FROM positions WHERE event_id <= 256") == "");  // the key as of 256 is gone
  pair.declare("positions");
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  const Invariant positions{"positions", {ledger, balances()}, {analytics, latest("positions").per("account").values("quantity")}};
  require(check(ledger, positions, quick()), Status::error, Reason::below_retention);
}

TEST_CASE("rows deleted from under the reader are never a pass") {
  Pair pair("deleted");
  pair.write({{1, 0, "EUR", "10"}, {2, 0, "EUR", "0"}, {3, 0, "USD", "5"}});
  require(checked(pair), Status::pass, Reason::none);
  const std::string id = std::to_string(Event{2}.id());
  SECTION("by a lightweight DELETE, which moves no sum") {
    pair.engine.execute("DELETE FROM transactions WHERE event_id = " + id + " SETTINGS lightweight_deletes_sync = 2");
  }
  SECTION("by a mutation") { pair.engine.execute("ALTER TABLE transactions DELETE WHERE event_id = " + id + " SETTINGS mutations_sync = 2"); }
  SECTION("with their partition") {
    pair.engine.execute("ALTER TABLE transactions DROP PARTITION tuple()");
    pair.issue({{1, 0, "EUR", "10"}, {3, 0, "USD", "5"}});
  }
  REQUIRE(pair.engine.query("SELECT count() FROM transactions") == "2\n");
  const Outcome o = checked(pair);
  require(o, Status::fail, Reason::missing_rows);
  CHECK(o.counts.differences() == 0);
  pair.pg().execute("update resume_token_digests set acked_sequence = 0");
  require(checked(pair), Status::error, Reason::horizon_not_proven);
}

TEST_CASE("a row changed by a lightweight UPDATE is the row that counts") {
  Pair pair("updated", "Decimal(18, 8)", " SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1");
  pair.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  pair.engine.execute("UPDATE transactions SET amount = 6 WHERE currency = 'USD' SETTINGS enable_lightweight_update = 1");
  REQUIRE(pair.engine.query("SELECT amount FROM transactions WHERE currency = 'USD' SETTINGS apply_patch_parts = 0") == "5\n");
  const Outcome o = checked(pair);
  require(o, Status::fail, Reason::differs);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "changed currency=USD: left amount=5.00000000, right amount=6.00000000");
}

TEST_CASE("a block that deduplication drops") {
  Pair pair("dedup", "Decimal(18, 8)", " SETTINGS non_replicated_deduplication_window = 100");
  const Event first{1, 0, "EUR", "10"}, second{2, 0, "EUR", "0"};
  SECTION("the same block twice is dropped: it was the same events") {
    pair.issue({first, first});
    REQUIRE(pair.engine.query("SELECT count() FROM transactions") == "1\n");
    pair.commit({first});
    require(checked(pair), Status::pass, Reason::none);
  }
  SECTION("another block under a used token is dropped too, and acknowledged: a loss") {
    for (const Event& e : {first, second})
      pair.engine.execute("INSERT INTO transactions SETTINGS insert_deduplication_token = 'batch' FORMAT TSV\n" + Pair::row(e));
    REQUIRE(pair.engine.query("SELECT count() FROM transactions") == "1\n");
    pair.commit({first, second});
    require(checked(pair), Status::fail, Reason::missing_rows);
  }
}

TEST_CASE("an exception at row 100000 is an error of the check") {
  Pair pair("thrown");
  pair.commit({{1'000}});
  pair.engine.execute("INSERT INTO transactions SELECT number, 'EUR', 1, NULL FROM numbers(200000)");  // all below sequence 1000
  pair.engine.execute("CREATE VIEW thrown AS SELECT event_id, currency, amount + throwIf(event_id = 100000) AS amount FROM transactions");
  pair.declare("thrown");
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source({.block_rows = 8'192});
  for (const Query& query : {events("thrown").by("currency").sum("amount"), latest("thrown").per("event_id").by("currency").sum("amount")}) {
    const Invariant thrown{"thrown", {ledger, balances()}, {analytics, query}};
    const Outcome o = check(ledger, thrown, quick());
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.message.find("throwIf") != std::string::npos);
  }
}

TEST_CASE("a statement that reads its table twice, while rows above the epoch arrive") {
  Pair pair("twice");
  std::vector<Event> events;
  std::string rows;
  for (std::uint64_t s = 1; s <= 2'000; ++s) {
    events.push_back({s, 0, s % 2 == 0 ? "EUR" : "USD", "1"});
    rows += Pair::row(events.back());
  }
  pair.engine.insert("transactions", rows);
  pair.engine.execute(
      "CREATE VIEW halves AS SELECT * FROM transactions WHERE intDiv(event_id, 256) % 2 = 0 UNION ALL SELECT * FROM transactions WHERE intDiv(event_id, 256) % 2 = 1");
  pair.commit(events);
  pair.declare("halves");
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    chdb::Connection connection(pair.engine.path, {.database = "test"});
    for (std::uint64_t s = 2'001; !stop && s < 100'000; s += 2) {
      const std::string insert = "INSERT INTO transactions FORMAT TSV\n" + Pair::row({s, 0, "EUR", "7"}) + Pair::row({s + 1, 0, "USD", "7"});
      const chdb::Result result(chdb_query_n(connection.get(), insert.data(), insert.size(), "TSV", 3));
      if (result.error().empty()) ++written;
    }
  });
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  const Invariant halves{"halves", {ledger, balances()}, {analytics, epochcut::events("halves").by("currency").sum("amount")}};
  int passed = 0;
  std::string other;
  for (int i = 0; i < 20 || (written < 20 && i < 1'000); ++i) {
    const Outcome o = check(ledger, halves, quick());
    o.status == Status::pass&& o.counts.equal == 2 && o.right.ids->count == 2'000 ? ++passed : (other = to_text(o), 0);
    if (!other.empty()) break;
  }
  stop = true;
  writer.join();
  CHECK(other == "");
  CHECK(passed >= 20);
  CHECK(written >= 20);
}

TEST_CASE("what newer types hold is compared by value") {
  Pair pair("types");
  pair.pg().execute(
      "set timezone = 'UTC'; create table typed (k text collate \"C\" primary key, at timestamptz, day date, flag boolean, n numeric(38,0), label text)");
  pair.engine.execute(
      "CREATE TABLE typed (event_id UInt64, k LowCardinality(String), at Nullable(DateTime64(6, 'Asia/Tokyo')), day Nullable(Date32), "
      "flag Nullable(Bool), n Nullable(Int128), label LowCardinality(Nullable(String))) ENGINE = MergeTree ORDER BY event_id");
  struct Row {
    const char *k, *at, *day, *flag, *n, *label;
  };
  const Row typed[] = {{"a", "2024-02-29 23:59:59.999999", "1900-01-01", "true", "170141183460469231731687303715884105", "one"},
                       {"b", "1969-12-31 23:59:59.000001", "2299-12-31", "false", "-99999999999999999999999999999999999999", ""},
                       {"c", "\\N", "\\N", "\\N", "\\N", "\\N"},
                       {"d", "1970-01-01 00:00:00.000000", "1970-01-01", "true", "0", "\xC3\xA4"}};
  std::vector<Event> events;
  for (const Row& r : typed) {
    events.push_back({events.size() + 1});
    const auto cell = [](const char* text) { return std::string(text) == "\\N" ? std::string("null") : "'" + std::string(text) + "'"; };
    pair.pg().execute("insert into typed values (" + cell(r.k) + ", " + cell(r.at) + ", " + cell(r.day) + ", " + cell(r.flag) + ", " + cell(r.n) + ", " +
                      cell(r.label) + ")");
    const auto sql = [&](const char* text, const std::string& function) { return std::string(text) == "\\N" ? "NULL" : function + cell(text) + ")"; };
    pair.engine.execute("INSERT INTO typed SELECT " + std::to_string(events.back().id()) + ", " + cell(r.k) + ", " +
                        (std::string(r.at) == "\\N" ? "NULL" : "toDateTime64(" + cell(r.at) + ", 6, 'UTC')") + ", " + sql(r.day, "toDate32(") + ", " +
                        cell(r.flag) + ", " + sql(r.n, "toInt128(") + ", " + cell(r.label));
  }
  pair.commit(events);
  pair.declare("typed");
  auto ledger = pair.ledger();
  auto analytics = pair.engine.source();
  const Invariant agree{"typed",
                        {ledger, current("typed").key("k").values("at", "day", "flag", "n", "label")},
                        {analytics, latest("typed").per("k").values("at", "day", "flag", "n", "label")}};
  const Outcome pass = check(ledger, agree, quick());
  require(pass, Status::pass, Reason::none);
  CHECK(pass.claim == Claim::every_value);
  CHECK(pass.counts.equal == std::size(typed));
  // Each type for itself can make it fail.
  const char* changes[] = {"at = addMicroseconds(at, 1)", "day = addDays(day, -1)", "flag = NOT flag", "n = n + 1", "label = concat(label, ' ')"};
  for (const char* change : changes) {
    const std::string column(change, std::string_view(change).find(' '));
    const std::string back = column + "_was";
    pair.engine.execute("CREATE OR REPLACE TABLE copy ENGINE = MergeTree ORDER BY event_id AS SELECT * FROM typed");
    pair.engine.execute("ALTER TABLE copy UPDATE " + std::string(change) + " WHERE k = 'b' SETTINGS mutations_sync = 2");
    pair.pg().execute("delete from resume_token_digests where relation = 'copy'");
    pair.declare("copy");
    const Invariant one{"typed", {ledger, current("typed").key("k").values(column)}, {analytics, latest("copy").per("k").values(column)}};
    const Outcome o = check(ledger, one, quick());
    INFO(change << ": " << to_text(o));
    CHECK(o.status == Status::fail);
    REQUIRE(o.differences.size() == 1);
    CHECK(to_text(o.differences[0]).starts_with("changed k=b: left " + column + "="));
  }
}
