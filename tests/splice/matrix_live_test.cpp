// Every point at which somebody may die or fall asleep around the seam, on real servers, a process per engine; after each one production must be what the
// stream says. Then the controls: with a guard taken out of the statement, the same audit must find the damage, or it proves nothing.
#include "splice/scene.hpp"

#include <algorithm>
#include <random>

#include <epochcut/source/authority_sql.hpp>

using namespace handover;

namespace {

enum class Victim : std::uint8_t { owner, candidate };

struct Fault {
  const char* point;
  Victim victim;
  const char* how = "--crash-at";
  /// Before the seam itself: in the batch that the stop marker ends.
  bool in_batch = false;
};

constexpr Fault faults[] = {
    {"after-transactions", Victim::candidate},  // 0: while staging
    {"batch-folded", Victim::owner},            // 1: nothing written anywhere
    {"after-transactions", Victim::owner},      // 2: rows in ClickHouse alone
    {"after-positions", Victim::owner},         // 2
    {"in-transaction", Victim::owner},          // 3: everything written, no COMMIT
    {"commit-sent", Victim::owner},             // 3: the backend commits after the restart, or before, or never
    {"committed", Victim::owner},               // 8: at the seam, before it knows
    {"at-seam", Victim::owner},                 // 8
    {"flip-sent", Victim::owner},               // 10: the answer is lost
    {"flipped", Victim::owner},                 // 11: restarted after the flip
    {"chain-unrecorded", Victim::candidate},    // 9
    {"chain-recorded", Victim::candidate},      // 9
    {"taken-over", Victim::candidate},          // 12: it owns the authority, and nobody runs
    {"at-seam", Victim::owner, "--pause-at"},   // 13: paused over the flip
    {"after-positions", Victim::owner, "--pause-at"},
    {"taken-over", Victim::candidate, "--pause-at"},
};

std::string other(const std::string& engine) { return engine == "incumbent" ? "candidate" : "incumbent"; }

/// One splice with one fault in it, and on until the authority has had an owner that commits. Returns how many seams there are then.
std::uint64_t run_cell(Scene& scene, const Fault& cell) {
  const std::string owner = scene.row().owner, candidate = other(owner), victim = cell.victim == Victim::owner ? owner : candidate;
  scene.wait_staged(candidate);
  const std::uint64_t ahead = 12 * Scene::batch + 7, stop_at = scene.row().committed_seq + ahead;
  const std::size_t ended = scene.codes(victim).size();
  scene.restart(victim, cell.victim == Victim::owner ? "run" : "shadow", {cell.how, cell.point, "--crash-from", std::to_string(stop_at - 1)});
  const bool pauses = std::string_view(cell.how) == "--pause-at";
  std::jthread waker([&](std::stop_token stop) {
    // Longer than any wait at the seam is not needed: whoever flips, flips within milliseconds.
    if (!pauses) return;
    for (int i = 0; i < 300 && !stop.stop_requested(); ++i) std::this_thread::sleep_for(10ms);
    scene.signal(victim, SIGCONT);
  });
  PostgresAuthority store = Scene::authority();
  const std::string id = Scene::uuid();
  ArmRequest request = scene.request(candidate, ahead, id);
  request.stop_at = stop_at;
  Splice<PostgresAuthority> one(store, id, {.deadline = Millis{8'000}, .confirm_wait = Millis{30'000}});
  const SpliceReport report = one.run(request, [](SpliceState) {});
  // A paused one must have woken before anybody counts; the supervisor has restarted a dead one.
  waker.join();
  CAPTURE(cell.point, cell.how, victim, report.why, std::string(to_string(report.state)));
  if (!pauses) {
    wait_for([&] { return scene.codes(victim).size() > ended + 1; }, "the victim dies", 30s);
    CHECK(scene.died(victim, -SIGKILL));
  }
  const std::uint64_t from = scene.row().committed_seq;
  wait_for([&] { return scene.row().committed_seq >= std::max(from, stop_at) + 2 * Scene::batch; }, "somebody goes on after " + std::string(cell.point), 60s);
  const AuthorityRow row = scene.row();
  CHECK_FALSE(row.marker);
  const auto seams = scene.ledger.execute("SELECT count(*), count(DISTINCT splice_id) FROM epochcut_seam");
  CHECK(seams(0, 0) == seams(0, 1));
  CHECK(row.generation == std::stoull(std::string(seams(0, 0))) + 1);
  const exchange::AuditReport audit = scene.audit();
  INFO(to_text(audit));
  CHECK(audit.sound());
  return row.generation - 1;
}

}  // namespace

TEST_CASE("whoever dies or sleeps around the seam, production stays what the stream says") {
  Scene scene(Millis{1'500});
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  std::uint64_t seams = 0;
  for (const Fault& cell : faults) seams = run_cell(scene, cell);
  CHECK(seams > 0);
  // Servers: a backend that is ended, PostgreSQL that goes and comes back, ClickHouse that is down over the seam.
  const auto server_cell = [&](const std::string& what, const std::function<void()>& fault) {
    INFO(what);
    const std::string candidate = other(scene.row().owner);
    scene.wait_staged(candidate);
    std::jthread breaker([&] {
      std::this_thread::sleep_for(100ms);
      fault();
    });
    const SpliceReport report = scene.splice_once(candidate, 8 * Scene::batch + 3);
    breaker.join();
    INFO(report.why);
    const std::uint64_t from = scene.row().committed_seq;
    wait_for([&] { return scene.row().committed_seq >= from + 4 * Scene::batch; }, "somebody goes on after: " + what);
    scene.ledger.execute("SELECT 1");
    const exchange::AuditReport audit = scene.audit();
    INFO(to_text(audit));
    CHECK(audit.sound());
  };
  server_cell("every backend of the engines is ended", [&] {
    PostgresWriter(servers()["POSTGRES"]).execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename LIKE 'exchange%'");
  });
  server_cell("ClickHouse is down over the seam", [&] {
    servers().run("kill-clickhouse");
    servers().run("restart-clickhouse");
  });
  scene.stop_all();
  scene.require_sound(scene.row().generation - 1);
}

namespace {

/// One commit by hand, with a fence of one's own: what a process does that was not stopped.
bool commit(PostgresWriter& ledger, const std::string& fence, std::uint64_t previous, std::uint64_t from, std::uint64_t to, std::uint64_t generation,
            const std::string& engine) {
  exchange::Fold fold;
  exchange::Rows before, rows;
  Chain chain;
  const exchange::ExecutionStream stream;
  for (std::uint64_t s = 1; s <= to; ++s) {
    exchange::Rows one;
    fold.apply(stream.at(s), one);
    chain = exchange::extend(chain, s, one);
    if (s >= from) rows.transactions.insert(rows.transactions.end(), one.transactions.begin(), one.transactions.end());
  }
  ledger.execute("BEGIN");
  const auto passed = ledger.execute(fence, {std::to_string(to), std::to_string(fold.books().execution_ns), to_text(chain), "trade_engine", "production",
                                             std::to_string(generation), std::to_string(previous), engine});
  if (passed.rows() != 1) {
    ledger.execute("ROLLBACK");
    return false;
  }
  for (const exchange::BalanceChange& change : exchange::balance_changes(rows.transactions)) {
    std::string amount;
    exchange::text::append_money(amount, change.amount);
    ledger.execute("INSERT INTO balances AS b VALUES ($1, $2, $3) ON CONFLICT (account, currency) DO UPDATE SET amount = b.amount + excluded.amount",
                   {exchange::account_name(change.account), std::string(exchange::currency_name(change.currency)), amount});
  }
  ledger.execute("CREATE TEMPORARY TABLE arrived (LIKE transactions) ON COMMIT DROP");
  ledger.copy("COPY arrived FROM STDIN", exchange::to_text(rows.transactions, generation));
  ledger.execute("INSERT INTO transactions SELECT * FROM arrived ON CONFLICT DO NOTHING");
  for (const auto& [relation, digest] : {std::pair{"positions", fold.books().positions}, std::pair{"transactions", fold.books().transactions}})
    ledger.execute("UPDATE resume_token_digests SET row_count = $1, sum_low = $2, sum_high = $3 WHERE relation = $4",
                   {std::to_string(digest.count), std::to_string(digest.sum_low), std::to_string(digest.sum_high), relation});
  ledger.commit();
  return true;
}

std::string without(std::string statement, const std::string& guard, const std::string& instead) {
  const std::size_t at = statement.find(guard);
  REQUIRE(at != std::string::npos);
  return statement.replace(at, guard.size(), instead);
}

}  // namespace

TEST_CASE("each guard of fence and flip is needed: without it the audit finds the damage") {
  Scene scene;
  const postgres::AuthorityTables tables;
  const std::string fence = postgres::fence(tables), flip = postgres::flip(tables);
  const std::string generation = "AND generation = $6", previous = "AND sequence = $7", owner = "AND owner = $8", stop = "(stop_at IS NULL OR $1 < stop_at)";
  PostgresWriter& ledger = scene.ledger;
  REQUIRE(commit(ledger, fence, 0, 1, 40, 1, "incumbent"));
  REQUIRE(scene.audit().sound());
  const auto arm = [&](std::uint64_t stop_at, const std::string& id) {
    PostgresAuthority store = Scene::authority();
    ArmRequest request = scene.request("candidate", 1, id);
    request.stop_at = stop_at;
    REQUIRE(store.arm(request));
  };
  const auto record = [&](const std::string& id, std::uint64_t at) {
    ledger.execute(postgres::record_chain(tables), {"trade_engine", "production", id, "candidate", std::to_string(at), to_text(Scene::row().chain), "test"});
  };
  SECTION("with all of them: a deposed owner, a second copy and an early flip are refused, and production is sound") {
    CHECK_FALSE(commit(ledger, fence, 0, 1, 40, 1, "incumbent"));
    const std::string id = Scene::uuid();
    arm(61, id);
    CHECK_FALSE(commit(ledger, fence, 40, 41, 80, 1, "incumbent"));
    record(id, 40);
    CHECK(ledger.execute(flip, {"trade_engine", "production", id}).rows() == 0);
    REQUIRE(commit(ledger, fence, 40, 41, 60, 1, "incumbent"));
    CHECK(ledger.execute(flip, {"trade_engine", "production", id}).rows() == 0);  // no chain for event 60 yet
    record(id, 60);
    CHECK(ledger.execute(flip, {"trade_engine", "production", id}).rows() == 1);
    CHECK(ledger.execute(flip, {"trade_engine", "production", id}).rows() == 0);
    CHECK_FALSE(commit(ledger, fence, 60, 61, 80, 1, "incumbent"));
    REQUIRE(commit(ledger, fence, 60, 61, 80, 2, "candidate"));
    CHECK(scene.audit().sound());
  }
  SECTION("without the previous number a COMMIT that was sent twice counts twice") {
    CHECK(commit(ledger, without(fence, previous, "AND $7::bigint IS NOT NULL"), 0, 1, 40, 1, "incumbent"));
    CHECK_FALSE(scene.audit().sound());
  }
  SECTION("without the generation a deposed owner goes on") {
    const std::string id = Scene::uuid();
    arm(41, id);
    record(id, 40);
    REQUIRE(ledger.execute(flip, {"trade_engine", "production", id}).rows() == 1);
    CHECK(commit(ledger, without(without(fence, generation, "AND $6::bigint IS NOT NULL"), owner, "AND $8::text IS NOT NULL"), 40, 41, 80, 1, "incumbent"));
    CHECK_FALSE(scene.audit().sound());
  }
  SECTION("without the seam's own condition a flip comes too early, and the owner's rest is lost to its successor") {
    const std::string id = Scene::uuid();
    arm(61, id);
    record(id, 40);
    // The successor goes on after the number that was agreed; what the owner did not commit is nobody's.
    REQUIRE(ledger.execute(without(flip, "t.sequence = t.stop_at - 1", "true"), {"trade_engine", "production", id}).rows() == 1);
    CHECK(commit(ledger, without(fence, previous, "AND $7::bigint IS NOT NULL"), 60, 61, 80, 2, "candidate"));
    CHECK_FALSE(scene.audit().sound());
  }
  SECTION("without the stop marker's condition the database itself refuses to pass it") {
    arm(61, Scene::uuid());
    CHECK_THROWS_AS(commit(ledger, without(fence, stop, "true"), 40, 41, 80, 1, "incumbent"), Failure);
    ledger.execute("ROLLBACK");
    CHECK(scene.audit().sound());
  }
}
