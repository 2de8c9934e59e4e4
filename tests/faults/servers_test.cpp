// Servers that fail in the middle of a check: killed, shut down, out of memory, disk or connections, out of time; and two ClickHouse servers behind one
// address. Alone, since it takes the servers away from everyone.
#include "support/catch.hpp"

#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include <signal.h>

#include "faults/scene.hpp"

using namespace faults;

namespace {

constexpr Millis patient{20'000};

int servers(const std::string& command, const std::string& more = {}) {
  const std::string line =
      "sh '" + std::string(std::getenv("EPOCHCUT_SERVERS_SH")) + "' " + command + " '" + std::getenv("EPOCHCUT_SERVERS_DIR") + "' " + more + " >/dev/null 2>&1";
  return std::system(line.c_str());
}

void require_error(const Outcome& o, Reason reason, bool retryable = true) {
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == reason);
  CHECK(o.retryable == retryable);
  CHECK(o.claim == Claim::nothing);
  CHECK(o.counts.equal + o.counts.differences() == 0);
}

void require_sound(Pair& pair) {
  const Outcome o = pair.check(within(patient));
  INFO(to_text(o));
  CHECK(sound(o));
}

/// Where the n-th last answer of ClickHouse, or a point of PostgreSQL's, begins in a sound run.
struct Recorded {
  std::vector<Span> pg;
  std::string pg_asked;
  explicit Recorded(Scene& scene) {
    scene.pg.heal(), scene.ch.heal();
    Pair pair(scene);
    require_sound(pair);
    pg_asked = scene.pg.seen(0, To::server);
    pg = postgres_points(pg_asked, scene.pg.seen(0, To::client));
  }
  std::uint64_t begin(const std::string& point) const {
    for (const Span& s : pg)
      if (s.point == point) return s.begin;
    throw std::logic_error(point);
  }
};

constexpr const char* spilling = "create view spill as select b.currency || g as currency, b.amount from balances b, generate_series(1, 5000) g";

/// 20 MB that nobody's buffers hold, so that the server is still at work when its first bytes arrive.
void make_wide(Scene& scene) {
  scene.world.ch.execute("CREATE TABLE " + scene.world.name + ".wide (event_id UInt64, memo String) ENGINE = MergeTree ORDER BY event_id");
  scene.world.ch.execute("INSERT INTO " + scene.world.name + ".wide SELECT number, concat(toString(number), '" + std::string(200, 'x') +
                         "') FROM system.numbers LIMIT 100000");
}

Outcome check_wide(Pair& pair) {
  return check(pair.ledger,
               Invariant{"wide",
                         {pair.ledger, current("balances").key("currency").values("amount")},
                         {at_rest(pair.analytics), epochcut::events("wide").key("event_id").values("memo")}},
               within(patient));
}

Outcome check_spill(Pair& pair) {
  return check(pair.ledger,
               Invariant{"spill",
                         {pair.ledger, current("spill").key("currency").values("amount")},
                         {pair.analytics, epochcut::events("transactions").key("currency").values("amount")}},
               within(patient));
}

std::string second_clickhouse() {
  REQUIRE(servers("start-second-clickhouse") == 0);
  std::stringstream env;
  env << std::ifstream(std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/env").rdbuf();
  const std::string name = "EPOCHCUT_CLICKHOUSE_2='";
  const std::size_t at = env.str().find(name);
  REQUIRE(at != std::string::npos);
  return env.str().substr(at + name.size(), env.str().find('\'', at + name.size()) - at - name.size());
}

/// Two ClickHouse servers behind one address. `whose` says who gets which request of a connection.
struct TwoServers {
  std::string second = second_clickhouse();
  std::vector<std::size_t> whose;
  Scene scene;
  exchange::ClickhouseWriter other{second};

  explicit TwoServers(const std::string& test)
      : scene(test, [this](std::size_t request, const std::string&) { return request < whose.size() ? whose[request] : whose.back(); },
              {number_after(std::getenv("EPOCHCUT_CLICKHOUSE"), "127.0.0.1:"), number_after(second, "127.0.0.1:")}) {
    other.execute("DROP DATABASE IF EXISTS " + scene.world.name);
    other.execute("CREATE DATABASE " + scene.world.name);
    other.execute("CREATE TABLE " + scene.world.name +
                  ".transactions (event_id UInt64, currency String, amount Decimal(18, 8), memo Nullable(String)) ENGINE = MergeTree ORDER BY event_id");
    other.execute("CREATE TABLE " + scene.world.name + ".epochcut_stream (stream String, authority String) ENGINE = Memory");
    other.insert(scene.world.name + ".epochcut_stream", "test\tproduction\n");
  }
  ~TwoServers() {
    try {
      other.execute("DROP DATABASE IF EXISTS " + scene.world.name);
    } catch (...) {  // a test that broke its server has failed already
    }
  }
  void fill(std::size_t count) {
    other.insert(scene.world.name + ".transactions", Scene::lines({scene.events.begin(), scene.events.begin() + static_cast<std::ptrdiff_t>(count)}));
  }
};

}  // namespace

TEST_CASE("ClickHouse is killed in the middle of an answer") {
  Scene scene("fv_kill");
  make_wide(scene);
  Pair pair(scene);
  require_sound(pair);
  scene.ch.arm({.harm = Harm::hook, .at = 1'000'000, .hook = [] { servers("kill-clickhouse"); }});
  Pair other(scene);
  require_error(check_wide(other), Reason::incomplete);
  CHECK(scene.ch.struck() == 1);
  scene.ch.heal();
  require_error(other.check(within(patient)), Reason::connection);  // it is still gone
  REQUIRE(servers("restart-clickhouse") == 0);
  require_sound(other);
  require_sound(pair);
}

TEST_CASE("PostgreSQL is shut down at once in the middle of a check, and comes back") {
  Scene scene("fv_quit");
  const Recorded recorded(scene);
  for (const char* point : {"token", "copy data"}) {
    scene.pg.arm({.harm = Harm::hook, .at = recorded.begin(point), .hook = [] {
                    pid_t pid = 0;
                    std::ifstream(std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/postgres/data/postmaster.pid") >> pid;
                    kill(pid, SIGQUIT);
                    for (int i = 0; i < 500 && kill(pid, 0) == 0; ++i) SystemClock::instance().sleep(Millis{10});
                  }});
    Pair pair(scene);
    require_error(pair.check(within(patient)), Reason::connection);
    CHECK(scene.pg.struck() == 1);
    scene.pg.heal();
    require_error(pair.check(within(patient)), Reason::connection);  // it is still gone
    REQUIRE(servers("restart-postgres") == 0);
    require_sound(pair);
  }
}

TEST_CASE("a session that idles in its transaction is ended by the server") {
  Scene scene("fv_idle");
  const Recorded recorded(scene);
  const std::uint64_t copy = recorded.pg_asked.find("COPY (") - 5;
  scene.pg.arm({.harm = Harm::delay, .to = To::server, .at = copy, .hold = Millis{800}});
  Pair pair(scene, {.idle_in_transaction_timeout = Millis{200}});
  require_error(pair.check(within(patient)), Reason::timeout);
  scene.pg.heal();
  require_sound(pair);
}

TEST_CASE("PostgreSQL runs out of connections, temporary files and disk") {
  Scene scene("fv_out");
  exchange::PostgresWriter admin(std::getenv("EPOCHCUT_POSTGRES"));
  const std::string role = "alter role " + scene.world.name;
  SECTION("connections") {
    Pair pair(scene);
    admin.execute(role + " connection limit 0");
    const Outcome o = pair.check(within(patient));
    admin.execute(role + " connection limit -1");
    require_error(o, Reason::connection);
    CHECK(o.message.find("too many connections") != std::string::npos);
    require_sound(pair);
  }
  SECTION("temporary files") {
    scene.world.pg.execute(spilling);
    admin.execute(role + " set temp_file_limit = 0; " + role + " set work_mem = '64kB'");
    Pair pair(scene);
    const Outcome o = check_spill(pair);
    admin.execute(role + " reset all");
    require_error(o, Reason::connection);
    CHECK(o.message.find("temp_file_limit") != std::string::npos);
    require_sound(pair);
  }
  SECTION("disk") {
    const std::string folder = std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/tiny";
    // Only root can make a disk that is full.
    if (std::system(("cd '" + folder + "/../postgres/data' && mkdir -p '" + folder + "' && mount -t tmpfs -o size=256k,mode=0700,uid=$(stat -c %u .) tiny '" +
                     folder + "' 2>/dev/null")
                        .c_str()) != 0) {
      WARN("no right to mount: the full disk was not made");
      return;
    }
    std::string why;
    try {
      admin.execute("create tablespace tiny location '" + folder + "'");
      admin.execute("grant create on tablespace tiny to " + scene.world.name + "; " + role + " set temp_tablespaces = 'tiny'; " + role +
                    " set work_mem = '64kB'");
      scene.world.pg.execute(spilling);
      Pair pair(scene);
      const Outcome o = check_spill(pair);
      require_error(o, Reason::connection);
      CHECK(o.message.find("No space left on device") != std::string::npos);
      require_sound(pair);
    } catch (const std::exception& e) {
      why = e.what();
    }
    admin.execute(role + " reset all");
    admin.execute("drop owned by " + scene.world.name);
    admin.execute("drop tablespace if exists tiny");
    admin.execute("checkpoint");  // or a crash of the server would redo its making, in a folder that is gone
    CHECK(std::system(("umount '" + folder + "' && rmdir '" + folder + "'").c_str()) == 0);
    CHECK(why == "");
  }
}

TEST_CASE("ClickHouse runs out of memory and of queries") {
  Scene scene("fv_memory");
  make_wide(scene);
  SECTION("memory") {
    Pair pair(scene, {}, {.settings = {{"max_memory_usage", "6000000"}}});
    const Outcome o = check_wide(pair);
    require_error(o, Reason::unknown);
    CHECK(o.message.find("no memory left") != std::string::npos);
    require_sound(pair);
  }
  SECTION("queries") {
    scene.world.ch.execute("CREATE VIEW " + scene.world.name + ".busy AS SELECT number AS event_id FROM system.numbers WHERE number < 4 LIMIT 20000000000");
    Pair holder(scene), pair(scene, {}, {.settings = {{"max_concurrent_queries_for_user", "1"}}});
    Cancel cancel;
    std::thread holding([&] {
      try {
        const Control control{.cancel = &cancel};
        collect(holder.analytics.open(epochcut::events("busy").values("event_id").as("e").plan(), {.at_rest = true}, Form::plain, control), control);
      } catch (const Failure&) {  // cancelled
      }
    });
    exchange::ClickhouseWriter admin(std::getenv("EPOCHCUT_CLICKHOUSE"));
    const std::string running =
        "SELECT count() FROM system.processes WHERE query LIKE '%" + scene.world.name + "%busy%' AND query NOT LIKE '%system.processes%'";
    for (int i = 0; i < 200 && admin.query(running) == "0\n"; ++i) SystemClock::instance().sleep(Millis{20});
    const Outcome o = pair.check(within(patient));
    cancel.request();
    holding.join();
    require_error(o, Reason::connection);
    CHECK(o.message.find("as many queries as it may") != std::string::npos);
    Outcome after = pair.check(within(patient));
    for (int i = 0; i < 50 && !sound(after); ++i)
      SystemClock::instance().sleep(Millis{100}), after = pair.check(within(patient));  // until the held one is gone
    INFO(to_text(after));
    CHECK(sound(after));
  }
}

TEST_CASE("a profile that forbids to pin settings is refused in a clear sentence") {
  Scene scene("fv_strict");
  const std::string folder = std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/clickhouse/users.d";
  REQUIRE(std::system(("mkdir -p '" + folder + "'").c_str()) == 0);
  {
    // Both users at once: the server sees a second change only if its time differs in seconds.
    std::ofstream file(folder + "/readonly.xml");
    std::string profiles, users;
    for (const std::string n : {"1", "2"}) {
      const std::string name = "readonly_" + n;
      profiles += "<" + name + "><readonly>" + n + "</readonly></" + name + ">";
      users +=
          "<" + name + "><password>x</password><networks><ip>127.0.0.1</ip></networks><profile>" + name + "</profile><quota>default</quota></" + name + ">";
    }
    file << "<yandex><profiles>" << profiles << "</profiles><users>" << users << "</users></yandex>\n";
  }
  const auto checked_as = [&](const char* user) {
    Pair pair(scene, {}, {.user = user, .password = "x"});
    Outcome o;
    for (int i = 0; i < 150; ++i) {  // the server looks at its files every two seconds
      o = pair.check(within(patient));
      if (o.reason != Reason::authentication) break;
      SystemClock::instance().sleep(Millis{100});
    }
    return o;
  };
  const Outcome forbidden = checked_as("readonly_1"), allowed = checked_as("readonly_2");
  std::remove((folder + "/readonly.xml").c_str());
  require_error(forbidden, Reason::configuration, /*retryable=*/false);
  CHECK(forbidden.message.find("readonly = 2 instead of 1") != std::string::npos);
  INFO(to_text(allowed));
  CHECK(sound(allowed));
}

TEST_CASE("one connection's requests are spread over two servers") {
  TwoServers two("fv_spread");
  two.fill(rows);
  // settings, describe, stream, describe, answer: every way to deal them out.
  int changed = 0, passed = 0;
  for (unsigned bits = 0; bits < 32; ++bits) {
    two.whose.clear();
    for (unsigned i = 0; i < 5; ++i) two.whose.push_back(bits >> i & 1);
    Pair pair(two.scene);
    const Outcome o = pair.check(within(patient));
    INFO("dealt out as " << bits << ": " << to_text(o));
    if (two.whose[3] != two.whose[4]) {
      require_error(o, Reason::replica_changed);
      ++changed;
    } else {
      // Whoever described the table also answered, and the answer proves itself.
      CHECK(sound(o));
      CHECK(o.right.server.name == (two.whose[4] == 0 ? two.scene.world.ch.server_name() : two.other.server_name()));
      ++passed;
    }
    two.whose = {0};
    require_sound(pair);
  }
  CHECK(changed == 16);
  CHECK(passed == 16);
}

TEST_CASE("the horizon is seen on one server and the rows are read from another") {
  TwoServers two("fv_horizon");
  two.fill(rows - 1);  // it lags
  const auto run = [&](std::vector<std::size_t> whose) {
    two.whose = std::move(whose);
    Postgres ledger(two.scene.dsn(two.scene.pg), {.digests = "", .stream = "test", .acknowledged = true});
    ClickHouse analytics(two.scene.url(two.scene.ch));
    CheckOptions options = within(patient);
    options.horizon.witness = Witness::max_version;
    return check(ledger,
                 Invariant{"values",
                           {ledger, current("balances").key("currency").values("amount")},
                           {analytics, epochcut::events("transactions").key("currency").values("amount")}},
                 options);
  };
  const Outcome one = run({0});
  INFO(to_text(one));
  REQUIRE(one.status == Status::pass);
  // settings, describe, stream, cheap look, describe, answer
  require_error(run({0, 0, 0, 0, 1, 1}), Reason::replica_changed);
  require_error(run({1, 1, 1, 0, 1, 1}), Reason::replica_changed);
}

TEST_CASE("acknowledged by one server, read from another that lags") {
  TwoServers two("fv_lag");
  two.fill(rows - 1);
  two.scene.world.pg.execute("update resume_token_digests set acked_sequence = $1::bigint, acked_by = $2",
                             {std::to_string(rows), two.scene.world.ch.server_name()});
  two.whose = {1};
  Pair pair(two.scene);
  require_error(pair.check(within(patient)), Reason::replica_lag);
  two.other.insert(two.scene.world.name + ".transactions", Scene::lines({two.scene.events.back()}));
  require_sound(pair);
}
