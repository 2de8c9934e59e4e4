// A cancel, a deadline, and a server that ends the session, at EVERY step of a check: each gives its own error, soon, leaves nothing running on either
// server, and the next check on the same objects is clean.
#include "support/catch.hpp"

#include <functional>
#include <thread>

#include "faults/scene.hpp"

using namespace faults;

namespace {

constexpr Millis patient{20'000};
constexpr Millis soon{clickhouse::stop_timeout + Millis{2'000}};  ///< a server is told to stop, and the machine is busy

/// Counts each look at the time, which every wait and every step takes, and does something at the n-th.
struct StepClock final : Clock {
  std::function<void()> strike{};
  int at = -1;
  mutable int looks = 0;
  bool late = false;  ///< then the deadline has passed

  Millis now() const override {
    if (++looks == at && strike) strike();
    return SystemClock::instance().now() + (late ? Millis{1'000'000} : Millis{0});
  }
  void sleep(Millis duration) override { SystemClock::instance().sleep(duration); }
};

struct Busy {
  Scene& scene;
  std::string pg() const {
    return std::string(
        scene.world.pg.execute("select count(*) from pg_stat_activity where application_name = '" + scene.world.name + "' and state <> 'idle'")(0, 0));
  }
  std::string ch() const {
    return scene.world.ch.query("SELECT count() FROM system.processes WHERE query LIKE '%" + scene.world.name + "%' AND query NOT LIKE '%system.processes%'");
  }
  /// Nothing of ours runs any more, within seconds.
  void require_none() const {
    for (int i = 0; i < 100 && (pg() != "0" || ch() != "0\n"); ++i) SystemClock::instance().sleep(Millis{20});
    CHECK(pg() == "0");
    CHECK(ch() == "0\n");
  }
};

/// What ClickHouse has been asked so far; it is the one that is read last.
int requests(const Scene& scene) {
  int count = 0;
  for (int i = 0; i < scene.ch.accepted(); ++i) {
    const std::string asked = scene.ch.seen(i, To::server);
    for (std::size_t at = asked.find("POST /"); at != std::string::npos; at = asked.find("POST /", at + 1)) ++count;
  }
  return count;
}

/// What is run, and what it says when nothing is in its way.
struct Asked {
  std::function<Outcome(Pair&, const CheckOptions&)> run = [](Pair& pair, const CheckOptions& options) { return pair.check(options); };
  bool (*through)(const Outcome&) = sound;
};

/// A full compare. Streamed, all is equal; bisected, one row differs, so that there are rounds and then rows.
Asked full(Method method) {
  if (method == Method::stream) return {.run = [](Pair& pair, const CheckOptions& options) { return pair.full(options, Method::stream); }};
  return {.run = [](Pair& pair, const CheckOptions& options) { return pair.full(options, Method::bisect, "other_rows"); },
          .through = [](const Outcome& o) { return o.reason == Reason::differs && o.counts.changed == 1 && o.counts.equal == rows - 1; }};
}

/// Asks per step until one is through before its step comes. `reason`: what each must be that was struck in time.
void at_every_step(Scene& scene, Reason reason, const std::function<void(StepClock&, Cancel&)>& what, const Asked& asked = {}) {
  int struck = 0, passed_after = 0;
  for (int n = 1;; ++n) {
    REQUIRE(n < 2'000);
    Pair pair(scene);
    StepClock clock;
    Cancel cancel;
    CheckOptions options = live::quick();
    options.control.clock = &clock;
    options.control.cancel = &cancel;
    options.control.deadline = clock.now() + patient;
    clock.looks = 0, clock.at = n;
    Millis struck_at{0};
    int asked_before = 0;
    clock.strike = [&] {
      asked_before = requests(scene);
      struck_at = SystemClock::instance().now();
      what(clock, cancel);
    };
    const Outcome o = asked.run(pair, options);
    const Millis ended = SystemClock::instance().now();
    INFO("step " << n << ": " << to_text(o));
    if (struck_at.count() == 0) {
      CHECK(asked.through(o));
      break;
    }
    ++struck;
    CHECK(ended - struck_at < soon);
    if (o.status == Status::pass || o.status == Status::fail) {
      CHECK(asked.through(o));
      // Struck when everything had been asked, but for the one that was being written and one that the proxy had not passed on yet.
      CHECK(requests(scene) - asked_before <= 2);
      ++passed_after;
    } else {
      CHECK(o.status == Status::error);
      CHECK(o.reason == reason);
      CHECK(o.retryable);
      CHECK(o.claim == Claim::nothing);
      CHECK(o.counts.equal + o.counts.differences() == 0);
    }
    if (n % 10 == 0) Busy{scene}.require_none();
    const Outcome after = pair.check(within(patient));
    INFO("after: " << to_text(after));
    CHECK(sound(after));
  }
  Busy{scene}.require_none();
  CHECK(struck - passed_after >= 20);  // both conversations have more statements than that
  WARN(struck << " steps, " << passed_after << " of them after the last read");
}

}  // namespace

TEST_CASE("a cancel at every step") {
  Scene scene("fs_cancel");
  at_every_step(scene, Reason::cancelled, [](StepClock&, Cancel& cancel) { cancel.request(); });
}

TEST_CASE("a deadline at every step") {
  Scene scene("fs_deadline");
  at_every_step(scene, Reason::timeout, [](StepClock& clock, Cancel&) { clock.late = true; });
}

TEST_CASE("a cancel and a deadline at every step of a full compare, which holds a snapshot, streamed and bisected") {
  const Method method = GENERATE(Method::stream, Method::bisect);
  const bool by_deadline = GENERATE(false, true);
  Scene scene("fs_full");
  at_every_step(
      scene, by_deadline ? Reason::timeout : Reason::cancelled,
      [&](StepClock& clock, Cancel& cancel) { by_deadline ? void(clock.late = true) : cancel.request(); }, full(method));
}

TEST_CASE("a full compare whose connections end anywhere, while it streams or bisects, is an error, or was through") {
  const Method method = GENERATE(Method::stream, Method::bisect);
  const Asked asked = full(method);
  Scene scene("fs_ended");
  {
    Pair pair(scene);
    REQUIRE(asked.through(asked.run(pair, within(patient))));
  }
  int errors = 0, through = 0;
  for (Proxy* proxy : {&scene.pg, &scene.ch}) {
    const std::uint64_t bytes = proxy->seen(0, To::client).size();
    REQUIRE(bytes > 2'000);
    for (const Harm harm : {Harm::fin, Harm::rst, Harm::truncate})
      for (std::uint64_t at = 1; at < bytes + 200; at += 131) {
        proxy->arm({.harm = harm, .at = at, .always = true});
        Pair pair(scene);
        const Outcome o = asked.run(pair, within(patient));
        INFO("at byte " << at << " of " << bytes << ": " << to_text(o));
        if (o.status == Status::pass || o.status == Status::fail) {
          CHECK(asked.through(o));
          ++through;
        } else {
          CHECK(o.status == Status::error);
          CHECK(o.claim == Claim::nothing);
          CHECK(o.counts.equal + o.counts.differences() == 0);
          ++errors;
        }
        proxy->heal();
      }
  }
  Busy{scene}.require_none();
  CHECK(errors > 100);
  WARN((method == Method::bisect ? "bisected: " : "streamed: ") << errors << " errors, " << through << " through");
}

TEST_CASE("a cancel and a deadline while a server works: it is told to stop") {
  Scene scene("fs_slow");
  const std::string name = scene.world.name;
  const bool slow_ledger = GENERATE(true, false), by_deadline = GENERATE(true, false);
  // Minutes, if nobody stops it.
  if (slow_ledger) {
    scene.world.pg.execute(
        "alter table balances rename to fast; create view balances as select * from fast where (select count(*) from generate_series(1, 2000000000)) > 0");
  } else {
    scene.world.ch.execute("RENAME TABLE " + name + ".transactions TO " + name + ".fast");
    scene.world.ch.execute(
        "CREATE VIEW " + name +
        ".transactions AS SELECT number AS event_id, toString(number) AS currency, toDecimal64(1, 8) AS amount, CAST(NULL AS Nullable(String)) AS memo "
        "FROM system.numbers WHERE number < 4 LIMIT 20000000000");
  }
  Pair pair(scene);
  Cancel cancel;
  CheckOptions options = within(by_deadline ? Millis{400} : patient);
  options.control.cancel = &cancel;
  Millis struck_at = SystemClock::instance().now() + Millis{400};
  std::thread other([&] {
    SystemClock::instance().sleep(Millis{400});
    if (!by_deadline) cancel.request();
  });
  const Outcome o = pair.check(options);
  other.join();
  INFO((slow_ledger ? "ledger, " : "follower, ") << to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == (by_deadline ? Reason::timeout : Reason::cancelled));
  CHECK(SystemClock::instance().now() - struck_at < soon);
  Busy{scene}.require_none();
  if (slow_ledger)
    scene.world.pg.execute("drop view balances; alter table fast rename to balances");
  else
    scene.world.ch.execute("DROP TABLE " + name + ".transactions"), scene.world.ch.execute("RENAME TABLE " + name + ".fast TO " + name + ".transactions");
  const Outcome after = pair.check(within(patient));
  INFO(to_text(after));
  CHECK(sound(after));
}

TEST_CASE("the connection is cut while ClickHouse is at work: the statement does not go on for nobody") {
  Scene scene("fs_cut");
  const std::string name = scene.world.name;
  Pair pair(scene);
  CHECK(sound(pair.check(within(patient))));
  scene.world.ch.execute("RENAME TABLE " + name + ".transactions TO " + name + ".fast");
  scene.world.ch.execute(
      "CREATE VIEW " + name +
      ".transactions AS SELECT number AS event_id, toString(number) AS currency, toDecimal64(1, 8) AS amount, CAST(NULL AS Nullable(String)) AS memo "
      "FROM system.numbers WHERE number < 4 LIMIT 20000000000");
  std::thread other([&] {
    exchange::ClickhouseWriter admin(std::getenv("EPOCHCUT_CLICKHOUSE"));
    const std::string at_work = "SELECT count() FROM system.processes WHERE query LIKE '%" + name + "%' AND query NOT LIKE '%system.processes%'";
    for (int i = 0; i < 500 && admin.query(at_work) == "0\n"; ++i) SystemClock::instance().sleep(Millis{10});
    scene.ch.end_all();
  });
  const Outcome o = pair.check(within(patient));  // libcurl asks again by itself, and is told that the statement is still running
  other.join();
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::connection);
  CHECK(o.retryable);
  Busy{scene}.require_none();
  scene.world.ch.execute("DROP TABLE " + name + ".transactions");
  scene.world.ch.execute("RENAME TABLE " + name + ".fast TO " + name + ".transactions");
  CHECK(sound(pair.check(within(patient))));
}

TEST_CASE("PostgreSQL ends the session before each statement") {
  Scene scene("fs_terminate");
  scene.pg.heal();
  {
    Pair pair(scene);
    REQUIRE(sound(pair.check(within(patient))));
  }
  const std::string asked = scene.pg.seen(0, To::server);
  std::vector<std::uint64_t> statements;
  std::size_t start = big_endian(asked, 0) == 8 ? 8 : 0;
  start += big_endian(asked, start);
  for (const Message& m : messages(asked, start))
    if (m.type == 'Q' || m.type == 'P') statements.push_back(m.begin);
  REQUIRE(statements.size() >= 7);
  exchange::PostgresWriter admin(std::getenv("EPOCHCUT_POSTGRES"));
  const std::string ours = " from pg_stat_activity where application_name = '" + scene.world.name + "'";
  for (const std::uint64_t at : statements) {
    scene.pg.arm({.harm = Harm::hook, .to = To::server, .at = at, .hook = [&] {
                    admin.execute("select pg_terminate_backend(pid)" + ours);
                    for (int i = 0; i < 500 && admin.execute("select count(*)" + ours)(0, 0) != "0"; ++i) SystemClock::instance().sleep(Millis{2});
                  }});
    Pair pair(scene);
    const Outcome o = pair.check(within(patient));
    INFO("at byte " << at << ": " << to_text(o));
    CHECK(scene.pg.struck() == 1);
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::connection);
    CHECK(o.retryable);
    scene.pg.heal();
    CHECK(sound(pair.check(within(patient))));
  }
}
