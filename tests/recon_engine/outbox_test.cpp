// The outbox on a real PostgreSQL: what is saved is there after a restart, what must not page can't be, and a server that hangs holds up nobody for long.
#include "support/catch.hpp"

#include <chrono>
#include <cstdlib>
#include <unistd.h>

#include "exchange/postgres_writer.hpp"
#include "recon_engine/incident.hpp"
#include "recon_engine/log.hpp"
#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;

namespace {

/// A database of its own, since the schema's name is fixed.
struct Database {
  std::string name = "t_outbox_" + std::to_string(getpid());
  exchange::PostgresWriter owner{std::getenv("EPOCHCUT_POSTGRES")};
  std::string dsn;
  Database() {
    owner.execute("SET client_min_messages = warning");
    owner.execute("DROP DATABASE IF EXISTS " + name);
    owner.execute("CREATE DATABASE " + name);
    dsn = std::string(std::getenv("EPOCHCUT_POSTGRES")) + " dbname=" + name;
    migrate(dsn);
  }
  ~Database() {
    try {
      owner.execute("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)");
    } catch (...) {
    }
  }
};

Alert alert_of(const std::string& key, bool firing, Instant at) {
  Alert a;
  a.deduplication_key = key, a.check_id = "transactions-balance-live", a.signal = Signal::infrastructure, a.firing = firing, a.paging = true;
  a.episode = at, a.created = at + Millis{1}, a.next_attempt = at + Millis{2};
  a.title = "a 'title' \\ with \"quotes\"", a.metadata = R"({"key":"\u0000 ' \" \\ ","n":1})", a.problem = "the incident webhook answered 503", a.attempts = 3;
  return a;
}

}  // namespace

TEST_CASE("outbox: what is pending or still firing is there again after a restart") {
  const Database database;
  {
    PostgresOutbox outbox(database.dsn);
    CHECK(outbox.load().empty());
    outbox.save(alert_of("pending", true, sample::now));
    Alert done = alert_of("closed", true, sample::now + Millis{10});
    done.delivered = sample::now;
    outbox.save(done);
    done.firing = false;
    outbox.save(done);
    Alert open = alert_of("open", true, sample::now + Millis{20});
    open.delivered = sample::now + Millis{123};
    outbox.save(open);
    Alert withheld = alert_of("withheld", true, sample::now + Millis{30});
    withheld.withheld = sample::now;
    outbox.save(withheld);
    Alert abandoned = alert_of("abandoned", true, sample::now + Millis{40});
    abandoned.abandoned = sample::now;
    outbox.save(abandoned);
  }
  PostgresOutbox outbox(database.dsn);
  const std::vector<Alert> loaded = outbox.load();
  REQUIRE(loaded.size() == 2);
  const Alert expected = alert_of("pending", true, sample::now);
  CHECK(loaded[0].deduplication_key == expected.deduplication_key);
  CHECK(loaded[0].check_id == expected.check_id);
  CHECK(loaded[0].signal == expected.signal);
  CHECK(loaded[0].firing);
  CHECK(loaded[0].episode == expected.episode);
  CHECK(loaded[0].created == expected.created);
  CHECK(loaded[0].next_attempt == expected.next_attempt);
  CHECK(loaded[0].title == expected.title);
  CHECK(loaded[0].metadata == expected.metadata);
  CHECK(loaded[0].attempts == 3);
  CHECK(loaded[0].pending());
  CHECK(loaded[1].deduplication_key == "open");
  CHECK(*loaded[1].delivered == sample::now + Millis{123});
}

TEST_CASE("outbox: what was delivered stays delivered, and a check that must not page has no row") {
  Database database;
  PostgresOutbox outbox(database.dsn);
  Alert a = alert_of("k", true, sample::now);
  a.delivered = sample::now;
  outbox.save(a);
  a.delivered.reset();
  outbox.save(a);
  CHECK(outbox.load().at(0).delivered);
  a.deduplication_key = "silent", a.paging = false;
  CHECK_THROWS_AS(outbox.save(a), Failure);
  a.paging = true;
  CHECK_NOTHROW(outbox.save(a));  // it has connected again
}

TEST_CASE("outbox: backends that are killed, a table that is locked and a wrong address are failures, soon, without a password") {
  Database database;
  PostgresOutbox outbox(database.dsn);
  outbox.save(alert_of("a", true, sample::now));
  database.owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + database.name + "'");
  CHECK_THROWS_AS(outbox.save(alert_of("b", true, sample::now)), Failure);
  CHECK_NOTHROW(outbox.save(alert_of("b", true, sample::now)));

  exchange::PostgresWriter other(database.dsn);
  other.execute("BEGIN; LOCK TABLE recon_engine.incident_outbox IN ACCESS EXCLUSIVE MODE");
  const auto began = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(outbox.save(alert_of("c", true, sample::now)), Failure);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(60));
  other.execute("ROLLBACK");
  CHECK_NOTHROW(outbox.save(alert_of("c", true, sample::now)));

  for (const std::string& dsn : {std::string("host=127.0.0.1 port=1 user=x password=hunter2 dbname=x"), std::string("nonsense hunter2"),
                                 std::string("postgresql://x:hunter2@127.0.0.1:1/x")}) {
    PostgresOutbox wrong(dsn);
    try {
      wrong.load();
      FAIL("loaded");
    } catch (const Failure& failure) {
      CHECK(failure.message.find("hunter2") == std::string::npos);
      CHECK(failure.kind == Reason::connection);
    }
  }
}

TEST_CASE("outbox: a whole episode over it, with a new process in the middle") {
  const Database database;
  class Kept final : public Receiver {
   public:
    explicit Kept(std::vector<std::string>& said) : said_(said) {}
    void post(const Page& page) override { said_.push_back((page.alert().firing ? "firing " : "resolved ") + page.alert().deduplication_key); }

   private:
    std::vector<std::string>& said_;
  };
  std::vector<std::string> said;
  std::vector<Run> log;
  Instant now = sample::now;
  for (const epochcut::Status status :
       {epochcut::Status::fail, epochcut::Status::fail, epochcut::Status::pass, epochcut::Status::pass, epochcut::Status::pass}) {
    Board board(now, "0.1.0");
    IncidentSink sink(board, std::make_unique<PostgresOutbox>(database.dsn), std::make_unique<Kept>(said), {"", [&] { return now; }, 1});
    sink.configure({{"transactions-balance-live", {true, {}}}});
    sink.restore(log);
    Run run = status == epochcut::Status::fail ? sample::failed("transactions-balance-live", now) : sample::run("transactions-balance-live", now);
    run.paging = true;
    log.push_back(run);
    sink.add(run);
    sink.step();
    now += Millis{300'000};
  }
  const std::string key = "transactions-balance-live@" + epochcut::to_text(sample::now + Millis{40});
  CHECK(said == std::vector<std::string>{"firing " + key, "resolved " + key});
}
