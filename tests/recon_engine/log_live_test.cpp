// invariants_log in a real PostgreSQL.
#include <thread>

#include <epochcut/core/failure.hpp>

#include "live.hpp"
#include "support/catch.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;

namespace {

Run run_at(const std::string& check, int second) {
  Run run;
  run.check_id = check, run.trigger = "cron";
  run.scheduled = run.started = run.finished = Instant(Millis(1'780'000'000'000 + 1'000 * second + 7));
  run.run_id = check + "@" + epochcut::to_text(run.scheduled);
  run.status = epochcut::Status::pass, run.reason = Reason::none, run.message = "fine";
  return run;
}

Run hostile_run() {
  Run run = run_at("transactions-balance", 5);
  run.trigger = "event", run.event_key = "7", run.paging = run.unsynchronised = run.confirmed = run.retryable = true;
  run.status = epochcut::Status::fail, run.reason = Reason::differs;
  run.message = "a quote ' and \" and \\ and\ta zero byte ";
  run.message += '\0';
  run.message += " and no UTF-8 \xFF\xC3 and '); DROP TABLE x; -- ä";
  run.stream = "s", run.authority = "a", run.generation = ~std::uint64_t{0}, run.epoch = epochcut::Epoch{~std::uint64_t{0}, -9};
  run.left_witness = "snapshot", run.right_witness = "id_digest", run.left = R"([{"amount":"1.00"}])", run.right = R"([{"amount":"2.00"}])";
  run.equal = 1, run.changed = 2, run.only_left = 3, run.only_right = 4;
  run.differences = {{"changed", std::string("k\0=\xFE", 4), "v=\"1\"", "v={2}"}, {"only_right", "ä", "", "NULL"}};
  run.rows = 5, run.bytes = std::uint64_t{1} << 40, run.horizon_wait = Millis(7), run.left_took = Millis(8), run.right_took = Millis(9), run.took = Millis(10);
  run.attempts = 11, run.full_reads = 12, run.version = "1.2.3", run.query_hash = "abc";
  return run;
}

}  // namespace

TEST_CASE("migrations are applied once, whoever comes first, and never change") {
  recon_live::Stores stores("migrate");
  std::vector<std::string> applied[2];
  {
    std::thread other([&] { applied[1] = migrate(stores.postgres()); });
    applied[0] = migrate(stores.postgres());
    other.join();
  }
  CHECK(applied[0].size() + applied[1].size() >= 2);
  CHECK(migrate(stores.postgres()).empty());
  exchange::PostgresWriter owner(stores.postgres());
  CHECK(owner.execute("SELECT FROM recon_engine.migrations").rows() == static_cast<int>(applied[0].size() + applied[1].size()));
  owner.execute("UPDATE recon_engine.migrations SET checksum = 'other' WHERE name = '001_record.sql'");
  CHECK_THROWS_WITH(migrate(stores.postgres()), Catch::Matchers::Contains("001_record.sql was applied with another text"));
}

TEST_CASE("a run is written once, a replay changes nothing, and another run of its id is refused") {
  recon_live::Stores stores("log");
  migrate(stores.postgres());
  PostgresLog log(stores.writer());
  const Run run = hostile_run();
  CHECK(log.write(run) == Written::inserted);
  CHECK(log.write(run) == Written::already);
  // What the spool made of it is the same run.
  CHECK(log.write(run_of_json(to_json(run))) == Written::already);
  Run other = run;
  SECTION("another time") { other.finished += Millis(1); }
  SECTION("another value") { other.left = "[]"; }
  SECTION("without an epoch") { other.epoch.reset(); }
  SECTION("another difference") { other.differences[0].right = "v=3"; }
  SECTION("another status") { other.status = epochcut::Status::error; }
  CHECK(log.write(other) == Written::conflicting);

  const auto back = log.recent(9);
  REQUIRE(back.size() == 1);
  CHECK(log.write(back[0]) == Written::already);
  CHECK(back[0].generation == run.generation);
  REQUIRE(back[0].epoch);
  CHECK(back[0].epoch->sequence == run.epoch->sequence);
  CHECK(back[0].epoch->execution_ns == -9);
  CHECK(back[0].finished == run.finished);
  CHECK(back[0].bytes == run.bytes);
  CHECK(back[0].differences.size() == 2);
  CHECK(back[0].differences[1] == run.differences[1]);
  CHECK(back[0].message.find("DROP TABLE x") != std::string::npos);
  CHECK(back[0].paging);
}

TEST_CASE("the newest runs of each check come back, the oldest first") {
  recon_live::Stores stores("recent");
  migrate(stores.postgres());
  PostgresLog log(stores.writer());
  for (int i = 0; i < 6; ++i)
    for (const char* check : {"a", "b"}) CHECK(log.write(run_at(check, i)) == Written::inserted);
  const auto runs = log.recent(2);
  REQUIRE(runs.size() == 4);
  CHECK(runs[0].scheduled == run_at("a", 4).scheduled);
  CHECK(runs[3].scheduled == run_at("a", 5).scheduled);
}

TEST_CASE("the log's role adds to the record, and changes or takes nothing") {
  recon_live::Stores stores("rights");
  migrate(stores.postgres());
  PostgresLog log(stores.writer());
  CHECK(log.write(run_at("a", 1)) == Written::inserted);
  exchange::PostgresWriter owner(stores.postgres());
  owner.execute("CREATE TABLE balances (amount numeric)");
  exchange::PostgresWriter role(stores.writer());
  for (const char* sql : {"DELETE FROM recon_engine.invariants_log", "UPDATE recon_engine.invariants_log SET status = 'pass'",
                          "TRUNCATE recon_engine.invariants_log", "DROP TABLE recon_engine.invariants_log", "SELECT * FROM public.balances",
                          "INSERT INTO public.balances VALUES (1)", "UPDATE recon_engine.adjudications SET verdict = 'infra'"}) {
    INFO(sql);
    CHECK_THROWS_AS(role.execute(sql), Failure);
  }
  exchange::PostgresWriter reader(stores.reader());
  CHECK_THROWS_AS(reader.execute("INSERT INTO recon_engine.outages (began, ended, what, who) VALUES (now(), now(), 'x', 'y')"), Failure);
}

TEST_CASE("a log that is away, or has no table yet, may take the run later; one that the row itself offends never will") {
  recon_live::Stores stores("away");
  PostgresLog log(stores.writer());
  const auto retryable = [&](const Run& run) -> std::optional<bool> {
    try {
      log.write(run);
    } catch (const Failure& failure) {
      CHECK(failure.message.find("secret") == std::string::npos);
      return failure.retryable;
    }
    return std::nullopt;
  };
  CHECK(retryable(run_at("a", 1)) == true);
  migrate(stores.postgres());
  CHECK_FALSE(retryable(run_at("a", 1)));
  Run wrong = run_at("a", 2);
  wrong.trigger = "whim";
  CHECK(retryable(wrong) == false);
  exchange::PostgresWriter owner(stores.postgres());
  owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'recon_engine' AND datname = current_database()");
  CHECK(retryable(run_at("a", 3)).value_or(true));
  CHECK_FALSE(retryable(run_at("a", 3)));
  PostgresLog nowhere("host=127.0.0.1 port=1 user=u password=secret dbname=d");
  try {
    nowhere.write(run_at("a", 1));
    FAIL("there is nobody");
  } catch (const Failure& failure) {
    CHECK(failure.retryable);
    CHECK(failure.message.find("secret") == std::string::npos);
  }
}
