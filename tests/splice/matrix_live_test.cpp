// Every point at which somebody may die or fall asleep around the seam, on real servers, a process per engine; after each one production must be what the
// stream says. Then the controls: with a guard taken out of the statement, the same audit must find the damage, or it proves nothing.
#include "splice/scene.hpp"

#include <algorithm>
#include <random>
#include <system_error>

#include <epochcut/source/authority_sql.hpp>

#include "faults/proxy.hpp"

using namespace handover;

namespace {

enum class Victim : std::uint8_t { owner, candidate };

struct Fault {
  const char* point;
  Victim victim;
  const char* how = "--crash-at";
  /// From the first event after the seam on: there the candidate writes production, and its shadow never comes.
  bool after_seam = false;
};

constexpr Fault cells[] = {
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
    // The partial writes once more, on the other side of the seam: the new owner's first batch.
    {"after-transactions", Victim::candidate, "--crash-at", true},
    {"after-positions", Victim::candidate, "--crash-at", true},
    {"in-transaction", Victim::candidate, "--crash-at", true},
    {"commit-sent", Victim::candidate, "--crash-at", true},
};

std::uint16_t port_of(const std::string& dsn) { return static_cast<std::uint16_t>(std::stoi(dsn.substr(dsn.find("port=") + 5))); }
std::string with_port(std::string dsn, std::uint16_t port) {
  const std::size_t at = dsn.find("port=") + 5;
  return dsn.replace(at, dsn.find(' ', at) - at, std::to_string(port));
}

/// Asks again while a server is away.
template <class Question>
auto patiently(Question question) {
  for (int tries = 0;; ++tries) {
    try {
      return question();
    } catch (const Failure& failure) {
      if (!failure.retryable || tries == 300) throw;
      std::this_thread::sleep_for(100ms);
    }
  }
}

std::string other(const std::string& engine) { return engine == "incumbent" ? "candidate" : "incumbent"; }

/// One splice with one fault in it, and on until the authority has an owner that commits. Returns how many seams there are then. `alone`: nothing else
/// happens meanwhile, so that the victim must die of it.
std::uint64_t run_cell(Scene& scene, const Fault& cell, bool alone = true) {
  const std::string owner = patiently([&] { return scene.row(); }).owner, candidate = other(owner), victim = cell.victim == Victim::owner ? owner : candidate;
  patiently([&] { return scene.wait_staged(candidate), true; });
  const std::uint64_t ahead = 8 * Scene::batch + 7, stop_at = patiently([&] { return scene.row(); }).committed_seq + ahead;
  const std::size_t ended = scene.codes(victim).size();
  scene.restart(victim, cell.victim == Victim::owner ? "run" : "shadow",
                {cell.how, cell.point, "--crash-from", std::to_string(cell.after_seam ? stop_at : stop_at - 1)});
  const bool pauses = std::string_view(cell.how) == "--pause-at";
  std::jthread waker([&](std::stop_token stop) {
    // Longer than any wait at the seam is not needed: whoever flips, flips within milliseconds.
    if (!pauses) return;
    for (int i = 0; i < 300 && !stop.stop_requested(); ++i) std::this_thread::sleep_for(10ms);
    scene.signal(victim, SIGCONT);
  });
  PostgresAuthority store = Scene::authority();
  const std::string id = Scene::uuid();
  ArmRequest request = patiently([&] { return scene.request(candidate, ahead, id); });
  request.stop_at = stop_at;
  Splice<PostgresAuthority> one(store, id, {.deadline = Millis{8'000}, .confirm_wait = Millis{30'000}});
  const SpliceReport report = one.run(request, [](SpliceState) {});
  // A paused one must have woken before anybody counts; the supervisor has restarted a dead one.
  waker.join();
  CAPTURE(cell.point, cell.how, victim, report.why, std::string(to_string(report.state)));
  if (!pauses && alone) {
    wait_for([&] { return scene.codes(victim).size() > ended + 1; }, "the victim dies", 30s);
    CHECK(scene.died(victim, -SIGKILL));
  }
  const std::uint64_t from = patiently([&] { return scene.row(); }).committed_seq;
  wait_for([&] { return patiently([&] { return scene.row(); }).committed_seq >= std::max(from, stop_at) + 2 * Scene::batch; },
           "somebody goes on after " + std::string(cell.point), 60s);
  const AuthorityRow row = patiently([&] { return scene.row(); });
  CHECK_FALSE(row.marker);
  PostgresWriter ledger(servers()["POSTGRES"]);
  const auto seams = ledger.execute("SELECT count(*), count(DISTINCT splice_id) FROM epochcut_seam");
  CHECK(seams(0, 0) == seams(0, 1));
  CHECK(row.generation == std::stoull(std::string(seams(0, 0))) + 1);
  const exchange::AuditReport audit = scene.audit();
  INFO(to_text(audit));
  CHECK(audit.sound());
  return row.generation - 1;
}

}  // namespace

namespace {

/// As a crash: no checkpoint, no goodbye; what it had promised is in its log.
void stop_postgres_at_once() {
  std::ifstream file(servers().dir() + "/postgres/data/postmaster.pid");
  pid_t postmaster = 0;
  file >> postmaster;
  if (postmaster <= 0) throw std::runtime_error("PostgreSQL's pid is not known");
  ::kill(postmaster, SIGQUIT);
  for (int i = 0; i < 1000 && ::kill(postmaster, 0) == 0; ++i) std::this_thread::sleep_for(10ms);
  if (servers().run("start") != 0) throw std::runtime_error("PostgreSQL does not come back");
}

}  // namespace

TEST_CASE("whoever dies or sleeps around the seam, production stays what the stream says") {
  Scene scene(Millis{1'500});
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  std::uint64_t seams = 0;
  for (const Fault& cell : cells) seams = run_cell(scene, cell);
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
  server_cell("PostgreSQL stops at once, in the middle of whatever it does, and comes back", [&] { stop_postgres_at_once(); });
  scene.stop_all();
  scene.require_sound(scene.row().generation - 1);
}

TEST_CASE("whoever hands over may die as well, lose its answers, or act on what it read long ago") {
  Scene scene(Millis{1'500});
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  PostgresAuthority store = Scene::authority();
  const auto goes_on = [&](const std::string& what) {
    const std::uint64_t from = scene.row().committed_seq;
    wait_for([&] { return scene.row().committed_seq >= from + 4 * Scene::batch; }, "the stream goes on after: " + what);
    const exchange::AuditReport audit = scene.audit();
    INFO(what << "\n" << to_text(audit));
    CHECK(audit.sound());
  };
  std::string from = scene.row().owner, to = other(from);
  scene.wait_staged(to);
  {
    INFO("dead before it armed: nothing has happened");
    const std::string id = Scene::uuid();
    const ArmRequest never = scene.request(to, 100, id);
    CHECK(Splice<PostgresAuthority>(store, id).resume([](SpliceState) {}).state == SpliceState::staged);
    CHECK(scene.row().generation == never.generation);
  }
  {
    INFO("dead after it armed: the owner flips, and whoever takes up the splice finds that it has");
    const std::string id = Scene::uuid();
    REQUIRE(store.arm(scene.request(to, 3 * Scene::batch, id)));
    wait_for([&] { return !scene.row().marker; }, "the marker is gone");
    const SpliceReport report = Splice<PostgresAuthority>(store, id, {.confirm_wait = Millis{20'000}}).resume([](SpliceState) {});
    INFO(report.why);
    CHECK((report.state == SpliceState::confirmed || report.state == SpliceState::staged));  // on a loaded machine the candidate may come too late
    goes_on("dead after it armed");
  }
  from = scene.row().owner, to = other(from);
  scene.wait_staged(to);
  {
    INFO("dead after it armed, and the candidate too: the owner waits its bound, disarms by itself, and goes on");
    scene.stop(to, SIGKILL);
    const std::string id = Scene::uuid();
    REQUIRE(store.arm(scene.request(to, 2 * Scene::batch, id)));
    const std::uint64_t generation = scene.row().generation;
    goes_on("nobody came to the seam");
    CHECK(scene.row().generation == generation);
    CHECK(Splice<PostgresAuthority>(store, id).resume([](SpliceState) {}).state == SpliceState::staged);
    scene.start(to, "shadow");
  }
  scene.wait_staged(to);
  {
    INFO("the answer to an arm is swallowed, and the connection dies: asked again, it finds its own marker");
    faults::Proxy proxy({port_of(servers()["POSTGRES_CUTOVER"])});
    const std::string through = with_port(servers()["POSTGRES_CUTOVER"], proxy.port());
    PostgresAuthority lossy(through, "trade_engine", "production", {}, {.statement_timeout = Millis{500}});
    const std::string id = Scene::uuid();
    const ArmRequest request = scene.request(to, 8 * Scene::batch, id);
    CHECK(lossy.read().generation == request.generation);
    CHECK_FALSE(lossy.seam(id));
    const std::size_t before_arm = proxy.seen(0, faults::To::client).size();
    ArmRequest refused = request;  // it only tells how long the answers are
    refused.generation += 100;
    CHECK_FALSE(lossy.arm(refused));
    const std::size_t answers = proxy.seen(0, faults::To::client).size() - before_arm;
    // A session of its own, whose answers end in the middle of what it is told about COMMIT.
    proxy.end_all();
    proxy.arm({.harm = faults::Harm::stall, .at = before_arm + answers - 8});
    Splice<PostgresAuthority> one(lossy, id, {.deadline = Millis{20'000}, .confirm_wait = Millis{20'000}});
    const SpliceReport report = one.run(request, [](SpliceState) {});
    INFO(report.why);
    CHECK(proxy.struck() == 1);
    CHECK(report.lost_answers >= 1);
    CHECK((report.state == SpliceState::confirmed || report.state == SpliceState::staged));
    goes_on("an answer was swallowed");
  }
  {
    INFO("an arm at a number that the owner has passed, or for a generation that is over, changes nothing");
    const AuthorityRow now = scene.row();
    const std::string id = Scene::uuid();
    ArmRequest late = scene.request(other(now.owner), 1, id);
    late.stop_at = now.committed_seq;
    CHECK_FALSE(store.arm(late));
    late.stop_at = now.committed_seq + 10'000'000, late.generation = now.generation - 1;
    CHECK_FALSE(store.arm(late));
    CHECK_FALSE(scene.row().marker);
  }
  {
    INFO("the owner's program is started twice: they take turns or one of them leaves, and nothing counts twice");
    const std::string owner = scene.row().owner;
    process::Child twin(scene.command(owner, "run"), scene.folder / "twin.out");
    goes_on("two copies of the owner");
    const SpliceReport report = scene.splice_to(other(owner));
    CHECK(report.state == SpliceState::confirmed);
    wait_for([&] { return !twin.running(); }, "the twin is deposed or has left", 30s);
    const int code = twin.end();
    CHECK((code == 3 || code == 4));  // deposed, or the token moved under it
    goes_on("the splice with two copies");
  }
  {
    INFO("the network between the owner and PostgreSQL is cut again and again: it connects anew, and loses and doubles nothing");
    const std::string owner = scene.row().owner;
    faults::Proxy proxy({port_of(servers()["POSTGRES_PRODUCTION"])});
    scene.restart(owner, "run", {"--postgres", with_port(servers()["POSTGRES_PRODUCTION"], proxy.port()), "--reopen"});
    const std::uint64_t begin = scene.row().committed_seq;
    wait_for([&] { return scene.row().committed_seq > begin; }, "the owner runs through the proxy");
    for (int cut = 0; cut < 5; ++cut) {
      std::this_thread::sleep_for(150ms);
      proxy.end_all(cut % 2 == 0 ? faults::Harm::rst : faults::Harm::fin);
    }
    goes_on("a network that is cut");
    scene.stop(owner);
    scene.start(owner, "run");
    goes_on("the proxy is gone");
  }
  scene.stop_all();
  scene.require_sound(scene.row().generation - 1);
}

TEST_CASE("random faults at random places, again and again", "[.full]") {
  const char* const wanted = std::getenv("EPOCHCUT_TRIALS");
  const int trials = wanted != nullptr ? std::atoi(wanted) : full() ? 1'000 : 0;
  const char* const given = std::getenv("EPOCHCUT_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::mt19937_64 random(seed);
  INFO("EPOCHCUT_SEED=" << seed);
  Scene scene(Millis{1'500});
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  std::uint64_t seams = 0;
  int backends = 0, crashes = 0;
  for (int trial = 0; trial < trials; ++trial) {
    INFO("trial " << trial);
    const std::uint64_t extra = random() % 8, delay_ms = random() % 800;
    std::jthread also([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
      if (extra == 0)
        ++backends,
            PostgresWriter(servers()["POSTGRES"]).execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename LIKE 'exchange%'");
      if (extra == 1) ++crashes, stop_postgres_at_once();
    });
    const Fault& cell = cells[random() % std::size(cells)];
    seams = patiently([&] { return run_cell(scene, cell, extra > 1); });
    also.join();
  }
  WARN(trials << " trials, " << seams << " seams, " << backends << " times every backend ended, " << crashes << " crashes of PostgreSQL; seed " << seed);
  scene.stop_all();
  if (trials > 0) scene.require_sound(seams);
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
  SECTION("a chain of other rows, behind a token whose number and digests are right") {
    ledger.execute("UPDATE resume_tokens SET chain = set_byte(chain, 15, get_byte(chain, 15) # 1)");
    const exchange::AuditReport audit = scene.audit();
    REQUIRE(audit.broken_count == 1);
    CHECK(audit.broken[0].find("the token's chain is ") == 0);
  }
  SECTION("without the stop marker's condition the database itself refuses to pass it") {
    arm(61, Scene::uuid());
    CHECK_THROWS_AS(commit(ledger, without(fence, stop, "true"), 40, 41, 80, 1, "incumbent"), Failure);
    ledger.execute("ROLLBACK");
    CHECK(scene.audit().sound());
  }
}
