// What a user gets wrong first: each is one clear sentence that says what to do, on the real servers' errors.
#include "support/catch.hpp"

#include "live/world.hpp"

using namespace live;

namespace {

/// One sentence: no line break, no secret, and all the words that help.
void says(const Outcome& o, Reason reason, std::initializer_list<const char*> words) {
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == reason);
  CHECK(o.message.find('\n') == std::string::npos);
  CHECK(o.message.find("top-secret") == std::string::npos);
  for (const char* word : words) {
    INFO("it should say: " << word);
    CHECK(o.message.find(word) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("a bad DSN") {
  World world("dsn");
  auto analytics = world.analytics();
  Postgres nonsense("hots=127.0.0.1 password=top-secret", {.stream = "test"});
  says(check_balances(nonsense, analytics), Reason::configuration, {"hots", "connection string"});
  Postgres nobody("host=127.0.0.1 port=1 dbname=exchange password=top-secret", {.stream = "test"});
  says(check_balances(nobody, analytics), Reason::connection, {"127.0.0.1"});
  auto ledger = world.ledger();
  world.write({{1, 0, "EUR", "1"}});
  ClickHouse closed("http://someone:top-secret@127.0.0.1:1/?database=x");
  says(check_balances(ledger, closed), Reason::connection, {"127.0.0.1:1"});
}

TEST_CASE("a wrong table or column") {
  World world("names");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "1"}});
  const auto with = [&](const Query& left, const Query& right) { return check(ledger, Invariant{"names", {ledger, left}, {analytics, right}}, quick()); };
  says(with(current("balanecs").by("currency").sum("amount"), transactions()), Reason::not_found, {"balanecs"});
  says(with(current("balances").by("currency").sum("amuont"), transactions()), Reason::schema, {"amuont"});
  says(with(balances(), events("transactoins").by("currency").sum("amount")), Reason::undeclared_relation, {"transactoins", "declared: transactions"});
  says(with(balances(), events("transactions").by("curency").sum("amount")), Reason::schema, {"curency"});
  world.pg.execute(
      "insert into resume_token_digests select stream, authority, 'absent', row_count, sum_low, sum_high, acked_sequence, acked_by from resume_token_digests");
  says(with(balances(), events("absent").by("currency").sum("amount")), Reason::not_found, {"absent", world.name.c_str()});
}

TEST_CASE("types that don't compare") {
  World world("types");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "1"}});
  world.pg.execute("create table flags (currency text, amount boolean)");
  says(check(ledger,
             Invariant{
                 "types", {ledger, current("flags").key("currency").values("amount")}, {analytics, events("transactions").key("currency").values("amount")}},
             quick()),
       Reason::schema, {"amount"});
  world.pg.execute("insert into flags values ('EUR', true)");
  says(check(ledger,
             Invariant{
                 "types", {ledger, current("flags").key("currency").values("amount")}, {analytics, events("transactions").key("currency").values("amount")}},
             quick()),
       Reason::schema, {"amount", "boolean", "decimal"});
  says(check(ledger, Invariant{"names", {ledger, balances()}, {analytics, events("transactions").by("currency").sum("amount").as("total")}}, quick()),
       Reason::schema, {"amount", "total", ".as()"});
}

TEST_CASE("a missing token row, a missing token table") {
  World world("token");
  auto analytics = world.analytics();
  auto ledger = world.ledger();
  says(check_balances(ledger, analytics), Reason::missing_token, {"test", "production", "resume_tokens"});
  Postgres elsewhere(world.dsn(), {.table = "resume_tokns", .stream = "test"});
  says(check_balances(elsewhere, analytics), Reason::not_found, {"resume_tokns"});
}

TEST_CASE("a follower of another stream") {
  World world("stream");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "1"}});
  world.ch.execute("CREATE TABLE " + world.name + ".epochcut_stream (stream String, authority String) ENGINE = MergeTree ORDER BY stream");
  world.ch.insert(world.name + ".epochcut_stream", "test\tproduction\n");
  CHECK(check_balances(ledger, analytics).status == Status::pass);
  world.ch.execute("TRUNCATE TABLE " + world.name + ".epochcut_stream");
  world.ch.insert(world.name + ".epochcut_stream", "settlement_engine\tproduction\n");
  auto fresh = world.analytics();
  says(check_balances(ledger, fresh), Reason::wrong_stream, {"settlement_engine", "test"});
}

TEST_CASE("a check that compares a thing with itself") {
  World world("itself");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "1"}});
  auto same = world.analytics();  // another object, the same data
  says(check(ledger, Invariant{"itself", {analytics, transactions()}, {same, transactions()}}, quick()), Reason::same_relation, {"transactions"});
  CHECK(check(ledger, Invariant{.id = "control", .left = {analytics, transactions()}, .right = {same, transactions()}, .negative_control = true}, quick())
            .status == Status::pass);
}
