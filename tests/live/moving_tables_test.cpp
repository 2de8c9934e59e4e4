// What a table is made of may change while it is read, and what the catalog promises of a column may not hold: neither may turn a verdict.
#include "support/catch.hpp"

#include <functional>

#include <epochcut/verdict/full_compare.hpp>

#include "live/world.hpp"

using namespace live;

namespace {

constexpr int half = 100;  ///< of the events: so many are in the table, and so many more in the one that comes under it

/// Each look at the time, which every wait and every step takes, is counted; at the `at`-th `strike` is called.
struct StrikingClock final : Clock {
  int at = 0;
  std::function<void()> strike{};
  mutable int looks = 0;
  Millis now() const override {
    if (looks++ == at) strike();
    return SystemClock::instance().now();
  }
  void sleep(Millis duration) override { SystemClock::instance().sleep(duration); }
};

/// Both stores hold `half` events of which the token tells; ClickHouse has as many more already, and the ledger has those in a table of their own, `more`.
class TwoHalves {
 public:
  explicit TwoHalves(World& w) : world(w) {
    world.ch.execute("DROP TABLE " + world.name + ".transactions");
    world.ch.execute("CREATE TABLE " + world.name + ".transactions (event_id UInt64, amount Int64) ENGINE = MergeTree ORDER BY event_id");
    world.ch.execute("INSERT INTO " + world.name + ".transactions SELECT (number + 1) * 256, 1 FROM system.numbers LIMIT " + std::to_string(2 * half));
    for (std::uint64_t n = 1; n <= 2 * half; ++n) (n <= half ? first : all) += digest_of_event_id(n * 256);
    all += first;
  }

  /// The token that the ledger's writer moves in the same transaction in which it lets the second half in.
  static std::string token(int sequence, const Digest& ids) {
    return "delete from resume_tokens; delete from resume_token_digests; insert into resume_tokens values ('test', 'production', 1, " +
           std::to_string(sequence) + ", 1000); insert into resume_token_digests values ('test', 'production', 'transactions', " + std::to_string(ids.count) +
           ", " + std::to_string(ids.sum_low) + ", " + std::to_string(ids.sum_high) + ")";
  }

  void begin_again(const std::string& tables) {
    world.pg.execute("set client_min_messages = warning; set lock_timeout = '200ms'; drop schema if exists " + world.name +
                     "_first cascade; drop table if exists transactions, more cascade; " + tables +
                     "; insert into transactions select n * 256, 1 from generate_series(1::bigint, " + std::to_string(half) +
                     ") n; insert into more select n * 256, 1 from generate_series(" + std::to_string(half + 1) + "::bigint, " + std::to_string(2 * half) +
                     ") n; " + token(half, first));
  }

  World& world;
  Digest first, all;
};

}  // namespace

TEST_CASE("a table that becomes another one while it is read is an error that heals, and no verdict") {
  World world("moving");
  TwoHalves halves(world);
  constexpr const char* plain =
      "create table transactions (event_id bigint not null primary key, amount bigint not null); create table more (like transactions including all)";
  struct Move {
    const char* name;
    std::string tables, ddl;
    bool grows;  ///< by the second half, and the token with it
  };
  const std::string bound = std::to_string(half * 256 + 128);
  const Move moves[] = {
      {"a partition is attached",
       "create table transactions (event_id bigint not null primary key, amount bigint not null) partition by range (event_id); create table one partition of "
       "transactions for values from (0) to (" +
           bound + "); create table more (like transactions including all)",
       "alter table transactions attach partition more for values from (" + bound + ") to (100000000)", true},
      {"an inheritor is declared", plain, "alter table more inherit transactions", true},
      {"a table of that name is made in an earlier schema", plain,
       "create schema " + world.name + "_first; create table " + world.name + "_first.transactions (like transactions including all)", false}};
  const Move& move = moves[GENERATE(0, 1, 2)];
  const int way = GENERATE(0, 1, 2);  // check, stream, bisect
  int errors = 0, steps = 0;
  for (bool struck = true; struck; steps += way == 0 ? 1 : 3) {  // the windows of the others are wide
    REQUIRE(steps < 1'000);
    halves.begin_again(move.tables);
    struck = false;
    bool refused = false;
    StrikingClock clock;
    clock.at = steps;
    clock.strike = [&] {
      struck = true;
      try {
        world.pg.execute("begin; " + move.ddl + (move.grows ? "; " + TwoHalves::token(2 * half, halves.all) : std::string()) + "; commit");
      } catch (const Failure&) {  // we hold a lock that keeps it out
        world.pg.execute("rollback");
        refused = true;
      }
    };
    Postgres ledger(std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + world.name + "_first," + world.name + "'",
                    {.stream = "test"});
    ClickHouse analytics = world.analytics();
    const auto ask = [&](const CheckOptions& options) {
      const Invariant rows{
          .id = "rows", .left = {ledger, events("transactions").values("amount")}, .right = {analytics, events("transactions").values("amount")}};
      return way == 0 ? check(ledger, rows, options)
                      : full_compare(ledger, rows, {.check = options, .bisect = {.method = way == 1 ? Method::stream : Method::bisect}});
    };
    CheckOptions options = quick();
    options.control.clock = &clock;
    options.control.deadline = SystemClock::instance().now() + Millis{60'000};  // so that each step looks at the clock
    const Outcome o = ask(options);
    INFO(move.name << ", way " << way << ", step " << steps << ": " << to_text(o));
    if (o.status == Status::error) {
      CHECK(o.reason == Reason::cut_violated);
      CHECK(o.retryable);
      CHECK_FALSE(refused);
      ++errors;
    } else if (move.grows || refused) {
      CHECK(o.status == Status::pass);
      CHECK(o.counts.equal == o.epoch->sequence);  // one half or both, as its token says
    } else {
      // Before the name is looked up, it means the new table, which holds nothing of what the token counts.
      CHECK((o.status == Status::pass || o.counts.left == 0));
    }
    if (move.grows) {
      const Outcome after = ask(quick());
      INFO("after: " << to_text(after));
      CHECK(after.status == Status::pass);
    }
  }
  INFO(move.name << ", way " << way << ": " << steps << " steps, " << errors << " errors");
  CHECK(steps > 20);
  CHECK(errors > 0);  // else no step lay between the locks and the reading, and nothing is shown
}

TEST_CASE("a NOT NULL that does not hold for every row is not believed") {
  World world("sure");
  constexpr int rows = 40'000;  // enough to be cut into ranges
  world.ch.execute("DROP TABLE " + world.name + ".transactions");
  world.ch.execute("CREATE TABLE " + world.name + ".transactions (event_id UInt64, account Int64, amount Int64) ENGINE = MergeTree ORDER BY event_id");
  world.ch.execute("INSERT INTO " + world.name + ".transactions SELECT (number + 1) * 256, number + 1, 1 FROM system.numbers LIMIT " + std::to_string(rows));
  Digest ids;
  for (std::uint64_t n = 1; n <= rows; ++n) ids += digest_of_event_id(n * 256);
  world.pg.execute("set client_min_messages = warning; " + TwoHalves::token(rows, ids));
  const int readers = GENERATE(1, 3);
  PostgresOptions options;
  options.readers = readers;
  Postgres ledger(world.dsn(), {.stream = "test"}, options);
  ClickHouse analytics = world.analytics();
  const auto both = [&](const Query& left, const Query& right) {
    const Invariant invariant{.id = "rows", .left = {ledger, left}, .right = {analytics, right}};
    return std::vector{check(ledger, invariant, quick()), full_compare(ledger, invariant, {.check = quick(), .bisect = {.method = Method::stream}})};
  };
  SECTION("a child of an inheritance parent holds a row without a key") {
    world.pg.execute(
        "create table accounts (account bigint, amount bigint); create table old_accounts () inherits (accounts); alter table only accounts alter account set "
        "not null; insert into accounts select n, 1 from generate_series(1::bigint, " +
        std::to_string(rows) + ") n; insert into old_accounts values (null, 1000000); analyze accounts; analyze old_accounts");
    for (const Outcome& o : both(current("accounts").key("account").values("amount"), latest("transactions").per("account").values("amount"))) {
      INFO(readers << " readers: " << to_text(o));
      CHECK(o.status == Status::fail);
      CHECK(o.counts.only_left == 1);
      CHECK(o.counts.equal == rows);
    }
  }
  SECTION("a domain that is NOT NULL, and a row without an event id") {
    world.pg.execute(
        "create domain eid as bigint not null; create table transactions (event_id eid, account bigint not null, amount bigint not null); insert into "
        "transactions select n * 256, n, 1 from generate_series(1::bigint, " +
        std::to_string(rows) + ") n; insert into transactions select (select event_id from transactions where false), 1, 5; analyze transactions");
    if (GENERATE(false, true)) world.pg.execute("create index on transactions (event_id)");
    for (const Outcome& o : both(events("transactions").values("account", "amount"), events("transactions").values("account", "amount"))) {
      INFO(readers << " readers: " << to_text(o));
      CHECK(o.status == Status::error);
      CHECK(o.reason == Reason::schema);
    }
  }
}

TEST_CASE("a foreign table is of no snapshot, and refused") {
  World world("foreign");
  world.pg.execute("set client_min_messages = warning; create foreign data wrapper " + world.name + "; create server " + world.name + " foreign data wrapper " +
                   world.name);
  world.pg.execute(
      "create table accounts (account bigint not null, amount bigint not null) partition by range (account); create table near partition of accounts "
      "for values from (0) to (1000); create foreign table far partition of accounts for values from (1000) to (2000) server " +
      world.name + "; create view all_accounts as select * from accounts");
  world.commit({{1, 0, "EUR", "10"}});
  world.issue(Event{1, 0, "EUR", "10"});
  Postgres ledger = world.ledger();
  ClickHouse analytics = world.analytics();
  for (const char* relation : {"accounts", "all_accounts"}) {
    const Outcome o = check(ledger,
                            {.id = "rows",
                             .left = {ledger, current(relation).by("account").sum("amount")},
                             .right = {analytics, events("transactions").by("currency").sum("amount")}},
                            quick());
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::configuration);
    CHECK_FALSE(o.retryable);
    CHECK(o.message.find("foreign table") != std::string::npos);
    CHECK(o.message.find("far") != std::string::npos);
  }
  world.pg.execute("drop foreign data wrapper " + world.name + " cascade");
}
