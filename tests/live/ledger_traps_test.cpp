// The traps of docs/traps.md that lie in the ledger or in what its writer declares: several writers, a change of hands, transfers, a wrong declaration.
#include "support/catch.hpp"

#include <atomic>
#include <chrono>
#include <thread>

#include <epochcut/verdict/bracket.hpp>

#include "live/world.hpp"

using namespace live;

namespace {

void expect(const Outcome& o, Status status, Reason reason) {
  INFO(to_text(o));
  CHECK(o.status == status);
  CHECK(o.reason == reason);
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

CheckOptions believing(Witness witness, Millis budget = Millis{400}) {
  CheckOptions options = quick(budget);
  options.horizon.witness = witness;
  return options;
}

/// Commits a token of another stream, with the digest of its one relation, in the tables that the main stream's token is in.
void commit_token(World& world, const std::string& stream, const std::string& relation, std::uint64_t sequence, const Digest& ids) {
  world.pg.execute("delete from resume_tokens where stream = $1", {stream});
  world.pg.execute("delete from resume_token_digests where stream = $1", {stream});
  world.pg.execute("insert into resume_tokens values ($1, 'production', 1, $2::bigint, 0)", {stream, std::to_string(sequence)});
  world.pg.execute("insert into resume_token_digests values ($1, 'production', $2, $3::numeric, $4::numeric, $5::numeric)",
                   {stream, relation, std::to_string(ids.count), std::to_string(ids.sum_low), std::to_string(ids.sum_high)});
}

}  // namespace

TEST_CASE("a stream that wrongly declares its rows acknowledged: what heals between two reads at one epoch is no fail") {
  World world("misdeclared");
  Postgres ledger(world.dsn(), {.digests = "", .stream = "test", .acknowledged = true});
  auto analytics = world.analytics();
  world.issue({{1, 0, "EUR", "10"}, {3, 0, "EUR", "30"}});
  world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}, {3, 0, "EUR", "30"}});
  CheckOptions options = believing(Witness::max_version);
  options.horizon.max_visibility_lag = Millis{3'000};
  std::thread late([&] {
    exchange::ClickhouseWriter writer(std::getenv("EPOCHCUT_CLICKHOUSE"));
    sleep_ms(4'500);  // after the lag that was declared, before the second pass
    writer.insert(world.name + ".transactions", std::to_string(Event{2}.id()) + "\tEUR\t20\t\\N\n");
  });
  const Outcome o = check_balances(ledger, analytics, options);
  late.join();
  expect(o, Status::error, Reason::cut_violated);
  expect(check_balances(ledger, analytics, options), Status::pass, Reason::none);
}

TEST_CASE("the newest visible row proves nothing where no one declares that rows are acknowledged first") {
  World world("undeclared_ack");
  Postgres ledger(world.dsn(), {.digests = "", .stream = "test"});
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  expect(check_balances(ledger, analytics, believing(Witness::max_version)), Status::error, Reason::configuration);
}

TEST_CASE("a quiet market: no row at the epoch ever comes to this table; the digest proves it complete at once") {
  World world("quiet");
  world.write({{1, 0, "EUR", "10"}});
  world.commit({}, true);
  world.pg.execute("update resume_tokens set sequence = 9");  // the newest events wrote no row here
  auto analytics = world.analytics();
  Postgres without(world.dsn(), {.digests = "", .stream = "test", .acknowledged = true});
  const auto before = std::chrono::steady_clock::now();
  expect(check_balances(without, analytics, believing(Witness::max_version)), Status::error, Reason::horizon_not_proven);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(10));  // bounded
  auto ledger = world.ledger();
  const Outcome o = check_balances(ledger, analytics);
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.attempts == 1);
}

TEST_CASE("nanoseconds step back while the sequence rises: they never order") {
  World world("ns_back");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.issue({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}});
  world.commit({{1, 0, "EUR", "10"}}, true, 2'000);
  world.commit({{2, 0, "EUR", "20"}}, true, 1'000);
  const Outcome o = check_balances(ledger, analytics);
  expect(o, Status::pass, Reason::none);
  CHECK(o.epoch->execution_ns == 1'000);
}

TEST_CASE("a partition dropped: rows are gone, never skipped") {
  World world("partition");
  world.ch.execute("DROP TABLE " + world.name + ".transactions");
  world.ch.execute(
      "CREATE TABLE " + world.name +
      ".transactions (event_id UInt64, currency String, amount Decimal(18, 8), memo Nullable(String)) ENGINE = MergeTree PARTITION BY intDiv(event_id, "
      "512) ORDER BY event_id");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}, {3, 0, "USD", "0"}});
  expect(check_balances(ledger, analytics), Status::pass, Reason::none);
  world.ch.execute("ALTER TABLE " + world.name + ".transactions DROP PARTITION 1");
  const Outcome o = check_balances(ledger, analytics);
  expect(o, Status::fail, Reason::missing_rows);
  REQUIRE(o.differences.size() == 1);
  CHECK(o.differences[0].kind == DifferenceKind::only_left);
}

TEST_CASE("a column that changes or goes while the check waits: schema, whatever arrives then") {
  for (const std::string change : {"MODIFY COLUMN amount String", "DROP COLUMN amount"}) {
    World world("altered");
    auto ledger = world.ledger();
    auto analytics = world.analytics();
    world.issue(Event{1, 0, "EUR", "10"});
    world.commit({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}}, false);
    std::thread alter([&] {
      exchange::ClickhouseWriter writer(std::getenv("EPOCHCUT_CLICKHOUSE"));
      sleep_ms(300);
      writer.execute("ALTER TABLE " + world.name + ".transactions " + change);
      writer.execute("INSERT INTO " + world.name + ".transactions (event_id, currency) VALUES (" + std::to_string(Event{2}.id()) + ", 'EUR')");
    });
    const Outcome o = check_balances(ledger, analytics, quick(Millis{8'000}));
    alter.join();
    INFO(change);
    expect(o, Status::error, Reason::schema);
  }
}

TEST_CASE("a rewriting ALTER of the ledger's table can't slip between token and data") {
  World world("rewrite");
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  world.pg.execute("begin; alter table balances alter column amount type numeric(30,8)");
  PostgresOptions impatient;
  impatient.lock_timeout = Millis{200};
  Postgres ledger(world.dsn(), {.stream = "test"}, impatient);
  const Outcome o = check_balances(ledger, analytics);
  world.pg.execute("rollback");
  expect(o, Status::error, Reason::lock_timeout);
  expect(check_balances(ledger, analytics), Status::pass, Reason::none);
}

TEST_CASE("two writers to one ledger: a token each, read in one snapshot, each relation as of its own stream's epoch") {
  World world("writers");
  world.pg.execute("create table deposited (currency text collate \"C\" primary key, amount numeric(38,8) not null); insert into deposited values ('EUR', 70)");
  world.ch.execute("CREATE TABLE " + world.name + ".deposits AS " + world.name + ".transactions");
  Digest ids = digest_of_event_id(Event{1}.id());
  commit_token(world, "treasury", "deposits", 1, ids);
  world.ch.insert(world.name + ".deposits", std::to_string(Event{1}.id()) + "\tEUR\t70\t\\N\n" + std::to_string(Event{2}.id()) + "\tEUR\t5\t\\N\n");
  world.write({{1, 0, "EUR", "10"}, {2, 0, "EUR", "20"}});
  Postgres ledger(world.dsn(), {.stream = "test", .further_streams = {"treasury"}});
  auto analytics = world.analytics();
  const Invariant invariants[] = {{.id = "trades", .left = {ledger, balances()}, .right = {analytics, transactions()}},
                                  {.id = "deposits",
                                   .left = {ledger, current("deposited").by("currency").sum("amount")},
                                   .right = {analytics, events("deposits").by("currency").sum("amount")}}};
  CheckOptions options = quick();
  const std::vector<Outcome> both = check(ledger, invariants, options);
  expect(both[0], Status::pass, Reason::none);
  expect(both[1], Status::pass, Reason::none);  // at the treasury's sequence 1, though its 2 is visible and the engine stands at 2
  CHECK(both[1].right.stream == "treasury");
  CHECK(both[1].right.epoch->sequence == 1);
  REQUIRE(both[0].seen.size() == 2);
  CHECK(both[0].seen[0].timeline >= 1);

  SECTION("either stream may not go back") {
    options.last_seen = both[1].seen;
    commit_token(world, "treasury", "deposits", 0, {});
    const Outcome o = check(ledger, invariants, options)[0];
    expect(o, Status::error, Reason::epoch_regressed);
    CHECK(o.message.find("treasury") != std::string::npos);
  }
  SECTION("a stream that has no token is missing, not empty") {
    world.pg.execute("delete from resume_tokens where stream = 'treasury'");
    const Outcome o = check(ledger, invariants, options)[0];
    expect(o, Status::error, Reason::missing_token);
    CHECK(o.message.find("treasury") != std::string::npos);
  }
  SECTION("an undeclared writer's relation is refused") {
    auto engine_only = world.ledger();
    const Outcome o = check(
        engine_only,
        Invariant{"deposits", {engine_only, current("deposited").by("currency").sum("amount")}, {analytics, events("deposits").by("currency").sum("amount")}},
        options);
    expect(o, Status::error, Reason::undeclared_relation);
  }
  SECTION("its money in the engine's own balances is told, with currency and amounts") {
    world.pg.execute("update balances set amount = amount + 70 where currency = 'EUR'");
    const Outcome o = check(ledger, invariants, options)[0];
    expect(o, Status::fail, Reason::differs);
    REQUIRE(o.differences.size() == 1);
    CHECK(to_text(o.differences[0]) == "changed currency=EUR: left amount=100.00000000, right amount=30.00000000");
  }
}

namespace {

/// A ledger whose authority may change hands, and a follower whose rows say which generation wrote them.
struct Handover {
  explicit Handover(const std::string& name) : world(name) {
    world.pg.execute("create table epochcut_seam (authority text, s bigint, from_gen bigint, to_gen bigint)");
    world.ch.execute("DROP TABLE " + world.name + ".transactions");
    world.ch.execute("CREATE TABLE " + world.name +
                     ".transactions (event_id UInt64, currency String, amount Decimal(18, 8), generation UInt32) ENGINE = MergeTree ORDER BY event_id");
  }
  void issue(const std::vector<Event>& events, int generation) {
    std::string rows;
    for (const Event& e : events) rows += std::to_string(e.id()) + "\t" + e.currency + "\t" + e.amount + "\t" + std::to_string(generation) + "\n";
    world.ch.insert(world.name + ".transactions", rows);
  }
  /// Generation and seam in one transaction, as a flip commits them.
  void flip(std::uint64_t s, int to) {
    world.pg.execute("begin");
    world.pg.execute("insert into epochcut_seam values ('production', $1::bigint, $2::bigint, $3::bigint)",
                     {std::to_string(s), std::to_string(to - 1), std::to_string(to)});
    world.pg.execute("update resume_tokens set generation = $1::bigint", {std::to_string(to)});
    world.pg.commit();
  }
  Postgres ledger() const { return Postgres{world.dsn(), {.stream = "test", .seams = "epochcut_seam", .row_generation = "generation"}}; }
  World world;
};

}  // namespace

TEST_CASE("a deposed writer's late rows don't count: each generation's do up to its seam") {
  Handover h("seam");
  auto ledger = h.ledger();
  auto analytics = h.world.analytics();
  h.issue({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}}, 1);
  h.world.commit({{1, 0, "EUR", "10"}, {2, 0, "USD", "5"}});
  expect(check_balances(ledger, analytics), Status::pass, Reason::none);
  h.flip(3, 2);
  h.issue({{3, 0, "EUR", "-2"}}, 2);
  h.world.commit({{3, 0, "EUR", "-2"}});
  h.issue({{3, 0, "EUR", "99"}, {3, 1, "USD", "1"}}, 1);  // paused over the flip, and it wakes
  const Outcome o = check_balances(ledger, analytics);
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.completeness == Completeness::proved);
  CHECK(o.generation == 2);
  h.flip(4, 3);
  h.issue({{4, 0, "EUR", "1"}}, 3);
  h.world.commit({{4, 0, "EUR", "1"}});
  expect(check_balances(ledger, analytics), Status::pass, Reason::none);
  // What is really lost, changed or foreign is told as ever.
  h.issue({{4, 5, "EUR", "7"}}, 3);
  expect(check_balances(ledger, analytics), Status::fail, Reason::extra_rows);
}

TEST_CASE("the seams are read in the epoch's own snapshot: flips during checks never show half") {
  Handover h("flips");
  h.issue({{1, 0, "EUR", "1"}}, 1);
  h.world.commit({{1, 0, "EUR", "1"}});
  std::atomic<bool> done{false};
  std::atomic<int> checks{0};
  std::uint64_t generations = 21;
  std::thread writer([&] {
    // Until some checks have met a flip, however busy the machine is.
    for (int generation = 2; generation < 22 || (checks <= 2 && generation < 500); ++generation) {
      const auto s = static_cast<std::uint64_t>(generation);
      generations = s;
      h.issue({{s, 0, "EUR", "99"}}, generation - 1);  // of the one about to be deposed, past its seam
      h.issue({{s, 0, "EUR", "1"}}, generation);
      h.flip(s, generation);
      h.world.commit({{s, 0, "EUR", "1"}});
    }
    done = true;
  });
  auto ledger = h.ledger();
  auto analytics = h.world.analytics();
  do {
    expect(check_balances(ledger, analytics, quick(Millis{10'000})), Status::pass, Reason::none);
    ++checks;
  } while (!done);
  writer.join();
  const Outcome last = check_balances(ledger, analytics, quick(Millis{10'000}));
  expect(last, Status::pass, Reason::none);
  CHECK(last.generation == generations);
  CHECK(checks > 2);
}

TEST_CASE("a seam list that can't be the token's, rows that don't say who wrote them") {
  Handover h("unsound_seam");
  auto analytics = h.world.analytics();
  h.issue({{1, 0, "EUR", "1"}}, 1);
  h.world.commit({{1, 0, "EUR", "1"}});
  auto ledger = h.ledger();
  SECTION("it leads to another generation") {
    h.world.pg.execute("insert into epochcut_seam values ('production', 1, 1, 2)");
    expect(check_balances(ledger, analytics), Status::error, Reason::schema);
  }
  SECTION("no generation column is named") {
    h.flip(2, 2);
    Postgres unnamed{h.world.dsn(), {.stream = "test", .seams = "epochcut_seam"}};
    expect(check_balances(unnamed, analytics), Status::error, Reason::configuration);
  }
  SECTION("the follower has no such column") {
    Postgres wrong{h.world.dsn(), {.stream = "test", .seams = "epochcut_seam", .row_generation = "gen"}};
    expect(check_balances(wrong, analytics), Status::error, Reason::schema);
  }
  SECTION("another authority's seams are not this one's") {
    h.world.pg.execute("insert into epochcut_seam values ('shadow', 1, 1, 2)");
    expect(check_balances(ledger, analytics), Status::pass, Reason::none);
  }
}

TEST_CASE("a mark cycle is cut at its own pair: its token counts the partitions that must be there") {
  World world("marks");
  world.pg.execute("create table mark_totals (cycle bigint primary key, marks numeric(20,0)); insert into mark_totals values (7, 3)");
  world.ch.execute("CREATE TABLE " + world.name + ".marks (event_id UInt64, cycle UInt64, price Decimal(18, 8)) ENGINE = MergeTree ORDER BY event_id");
  Digest ids;
  const auto id = [](std::uint64_t cycle, std::uint64_t leg) { return cycle << 16 | leg; };
  const auto row = [&](std::uint64_t leg) { return std::to_string(id(7, leg)) + "\t7\t1.5\n"; };
  for (std::uint64_t leg = 0; leg < 3; ++leg) ids += digest_of_event_id(id(7, leg));
  commit_token(world, "marks", "marks", 7, ids);
  Postgres ledger(world.dsn(), {.stream = "marks", .leg_bits = 16});
  auto analytics = world.analytics();
  const Invariant invariant{"marks", {ledger, current("mark_totals").by("cycle").sum("marks")}, {analytics, events("marks").by("cycle").count().as("marks")}};
  world.ch.insert(world.name + ".marks", row(0) + row(1));
  expect(check(ledger, invariant, quick()), Status::error, Reason::horizon_not_proven);
  std::thread late([&] {
    exchange::ClickhouseWriter writer(std::getenv("EPOCHCUT_CLICKHOUSE"));
    sleep_ms(300);
    writer.insert(world.name + ".marks", row(2));
  });
  const Outcome o = check(ledger, invariant, quick(Millis{10'000}));
  late.join();
  expect(o, Status::pass, Reason::none);
  CHECK(o.epoch->sequence == 7);
  world.ch.insert(world.name + ".marks", std::to_string(id(8, 0)) + "\t8\t1.5\n");  // the next cycle has begun
  expect(check(ledger, invariant, quick()), Status::pass, Reason::none);
}

TEST_CASE("custody transfers: in flight before, during or after the reads") {
  World world("custody");
  world.pg.execute("create table transfers (id bigserial primary key, settled boolean not null)");
  world.write({{1, 0, "EUR", "10"}});
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  const auto sample = [&](bool counted) {
    const auto row = world.pg.execute("select count(*) filter (where not settled), coalesce(max(id), 0) from transfers");
    InFlight in_flight{std::stoull(std::string(row(0, 0))), {}};
    if (counted) in_flight.counter = std::stoull(std::string(row(0, 1)));
    return in_flight;
  };
  const auto move_money = [&] { world.pg.execute("update balances set amount = amount + 3"); };  // the custodian's half is there, the other is not
  const auto bracket = [&](bool counted, auto during) {
    return bracketed(
        "omnibus", [&] { return sample(counted); },
        [&] {
          during();
          return check_balances(ledger, analytics);
        });
  };
  expect(bracket(true, [] {}), Status::pass, Reason::none);
  const auto start_and_settle = [&] {
    world.pg.execute("insert into transfers (settled) values (false)");
    move_money();
    world.pg.execute("update transfers set settled = true");
  };
  expect(bracket(true, start_and_settle), Status::skipped, Reason::precondition);
  expect(bracket(false, start_and_settle), Status::error, Reason::unbracketed);
  expect(bracket(true, [] {}), Status::fail, Reason::differs);  // nothing moves, and it still differs
  expect(bracket(true, [&] { world.pg.execute("insert into transfers (settled) values (false)"); }), Status::skipped, Reason::precondition);
  bool ran = false;
  expect(bracket(true, [&] { ran = true; }), Status::skipped, Reason::precondition);  // still open before the reads
  CHECK_FALSE(ran);
}
