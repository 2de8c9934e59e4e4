// The statements say what the memory store means, on a real server; and of many that try at once, exactly one wins.
#include <atomic>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <epochcut/operate/memory_authority.hpp>
#include <epochcut/source/postgres_authority.hpp>

#include "live/world.hpp"
#include "support/catch.hpp"

using namespace epochcut;

namespace {

const std::string id[] = {"00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003"};
const std::string engines[] = {"incumbent", "candidate"};

std::string uuid(int n) {
  char text[40];
  std::snprintf(text, sizeof text, "10000000-0000-4000-8000-%012d", n);
  return text;
}

/// A token row with all that a splice needs, in a schema of its own.
struct Row {
  live::World world;
  std::string dsn = std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + world.name + "'";

  explicit Row(const std::string& test) : world(test) {
    world.pg.execute("set client_min_messages = warning");
    for (int twice = 0; twice < 2; ++twice)  // it is there already the second time
      for (const std::string& sql : postgres::create_authority({}, "incumbent")) world.pg.execute(sql);
    world.pg.execute("insert into resume_tokens values ('s', 'production', 1, 0, 0)");
  }
  PostgresAuthority open() const { return PostgresAuthority(dsn, "s"); }
  void allow(int n = 0, const std::string& decision = "go", std::uint64_t sequence = 0) const {
    open().record_verdict(uuid(n), "candidate", "b1", sequence, decision, "as it is", "{}", "a test");
  }
};

ArmRequest request(std::uint64_t stop_at, const std::string& splice_id = id[0]) { return {splice_id, "candidate", "b1", 1, stop_at, 0, Millis{60'000}}; }

/// The engine's own compare-and-set, in a transaction of its own.
class Engine {
 public:
  Engine(const std::string& dsn, std::string name) : session_(dsn, {}), name_(std::move(name)) {}
  bool fence(std::uint64_t generation, std::uint64_t previous, std::uint64_t sequence, const Chain& chain = {}) {
    const std::string parameters[] = {std::to_string(sequence), "0",  to_text(chain), "s", "production", std::to_string(generation),
                                      std::to_string(previous), name_};
    const postgres::Result result = session_.write(postgres::fence({}), parameters, {});
    return PQntuples(result.get()) == 1;
  }
  bool record(const std::string& splice_id, std::uint64_t sequence, const Chain& chain, const std::string& build_id = "b1") {
    const std::string parameters[] = {"s", "production", splice_id, name_, std::to_string(sequence), to_text(chain), build_id};
    return std::string(PQcmdTuples(session_.write(postgres::record_chain({}), parameters, {}).get())) == "1";
  }

 private:
  postgres::Connection session_;
  std::string name_;
};

/// A session whose transaction stays open until it is told to end.
class Open {
 public:
  explicit Open(const Row& row) : writer_(std::getenv("EPOCHCUT_POSTGRES")) { writer_.execute("set search_path = " + row.world.name + "; begin"); }
  long fence(std::uint64_t previous, std::uint64_t sequence) {
    return writer_
        .execute(postgres::fence({}), {std::to_string(sequence), "0", to_text(Chain{}), "s", "production", "1", std::to_string(previous), "incumbent"})
        .rows();
  }
  void commit() { writer_.commit(); }

 private:
  exchange::PostgresWriter writer_;
};

/// Waits until somebody waits for the row.
void until_blocked(Row& row) {
  for (int i = 0; i < 500; ++i) {
    if (row.world.pg.execute("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'UPDATE \"resume_tokens\"%'").rows() > 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL("nobody waits for the row");
}

}  // namespace

TEST_CASE("what PostgreSQL says of an authority is what the memory store says, on random calls") {
  Row row("authority_random");
  MemoryAuthority memory("incumbent");
  PostgresAuthority store = row.open();
  Engine engine[] = {{row.dsn, engines[0]}, {row.dsn, engines[1]}};
  std::mt19937_64 random(20'261'121);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  int taken[8] = {}, refused[8] = {};
  std::uint64_t last_flip = 0;
  for (int i = 0; i < 800; ++i) {
    const AuthorityRow now = memory.read();
    // What fits, more often than not, or little would ever happen.
    constexpr int calls[] = {0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5, 6, 7, 7};
    const int call = calls[below(std::size(calls))];
    const std::size_t owner = now.owner == engines[0] ? 0 : 1, who = below(4) == 0 ? 1 - owner : owner;
    const std::string splice = now.marker && below(3) != 0 ? now.marker->splice_id : id[below(3)];
    const std::uint64_t generation = now.generation - (now.generation > 1 ? below(5) / 4 : 0);
    bool a = false, b = false;
    INFO("call " << i << " of kind " << call << " at sequence " << now.committed_seq << ", generation " << now.generation);
    switch (call) {
      case 0: {
        const std::uint64_t previous = now.committed_seq - (now.committed_seq > 0 ? below(6) / 5 : 0), next = previous + 1 + below(3);
        const Chain chain{next, below(2)};
        a = memory.fence(engines[who], generation, previous, next, chain);
        b = engine[who].fence(generation, previous, next, chain);
        break;
      }
      case 1: {
        const std::string candidate = engines[below(6) == 0 ? owner : 1 - owner];
        const ArmRequest r{splice,        candidate, below(4) == 0 ? "b2" : "b1", generation, now.committed_seq + below(4), below(3) * now.committed_seq / 2,
                           Millis{60'000}};
        a = memory.arm(r);
        b = store.arm(r);
        break;
      }
      case 2: a = memory.disarm(splice), b = store.disarm(splice); break;
      case 3: {
        const std::uint64_t sequence = now.committed_seq + below(4) / 3;
        const Chain chain = below(4) == 0 ? Chain{1, 1} : now.chain;
        const std::string build = below(8) == 0 ? "b2" : "b1";
        const std::size_t candidate = 1 - who;
        a = memory.record(splice, engines[candidate], sequence, chain, build);
        b = engine[candidate].record(splice, sequence, chain, build);
        break;
      }
      case 4: a = memory.flip(splice), b = store.flip(splice); break;
      case 5: {
        const std::string candidate = engines[below(2)];
        const bool go = below(4) != 0;
        memory.verdicts.push_back({candidate, "b1", go, now.committed_seq, SystemClock::instance().now()});
        store.record_verdict(uuid(i), candidate, "b1", now.committed_seq, go ? "go" : "no_go", "as it is", "{}", "a test");
        a = b = true;
        break;
      }
      case 6: {
        const std::uint64_t at = now.committed_seq + below(6) - (now.committed_seq > 0 ? 1 : 0);
        a = memory.hold(at, Millis{60'000}), b = store.hold(at, Millis{60'000});
        break;
      }
      default: memory.release(), store.release(), a = b = true;
    }
    REQUIRE(a == b);
    REQUIRE(memory.read() == store.read());
    for (const std::string& s : id) REQUIRE(memory.seam(s) == store.seam(s));
    ++(a ? taken : refused)[call];
    if (call == 4 && a) {
      // A splice's name is used once; the test goes on with fresh ones, in both stores.
      last_flip = now.committed_seq;
      memory.seams.clear(), memory.chains.clear();
      row.world.pg.execute("delete from epochcut_seam; delete from epochcut_chain");
    }
  }
  for (const int call : {0, 1, 2, 3, 4, 6}) {
    INFO("kind " << call << ": taken " << taken[call] << ", refused " << refused[call]);
    CHECK(taken[call] >= 3);
    CHECK(refused[call] >= 3);
  }
  CHECK(last_flip > 0);
}

TEST_CASE("of all who flip at once exactly one wins, and leaves one seam row") {
  Row row("authority_race");
  row.allow();
  PostgresAuthority store = row.open();
  REQUIRE(store.arm(request(2)));
  Engine incumbent(row.dsn, "incumbent"), candidate(row.dsn, "candidate");
  REQUIRE(incumbent.fence(1, 0, 1, {7, 7}));
  REQUIRE_FALSE(store.flip(id[0]));  // nobody has said that it stands there
  REQUIRE(candidate.record(id[0], 1, {7, 8}));
  REQUIRE_FALSE(store.flip(id[0]));                         // it stands there with other rows
  REQUIRE_FALSE(candidate.record(id[0], 1, {7, 7}, "b2"));  // in a build that nobody has let through
  REQUIRE(candidate.record(id[0], 1, {7, 7}));
  std::atomic<int> won{0}, lost{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        try {
          ++(row.open().flip(id[0]) ? won : lost);
        } catch (const Failure&) {  // neither: the sum below says so
        }
      });
  }
  CHECK(won == 1);
  CHECK(lost == 7);
  CHECK(row.world.pg.execute("select from epochcut_seam").rows() == 1);
  CHECK(store.read().generation == 2);
  CHECK(store.read().owner == "candidate");
  CHECK(store.seam(id[0]) == SeamRow{id[0], 1, 2, 2});
  // The old owner's commit, late, and the new one's.
  CHECK_FALSE(incumbent.fence(1, 1, 2));
  CHECK_FALSE(incumbent.fence(2, 1, 2));
  CHECK_FALSE(candidate.fence(1, 1, 2));
  CHECK(candidate.fence(2, 1, 2));
}

TEST_CASE("an arm that waits for a commit in progress looks again at what that commit left") {
  Row row("authority_wait");
  row.allow();
  const std::uint64_t stop_at = GENERATE(5u, 6u, 7u);
  Open engine(row);
  REQUIRE(engine.fence(0, 5) == 1);
  std::atomic<int> armed{-1};
  {
    std::jthread tool([&] {
      try {
        armed = row.open().arm(request(stop_at)) ? 1 : 0;
      } catch (const Failure&) {
        armed = 2;
      }
    });
    until_blocked(row);
    engine.commit();
  }
  CHECK(armed == (stop_at > 5 ? 1 : 0));  // the owner has passed 5 while the arm waited
  CHECK(row.open().read().committed_seq == 5);
}

TEST_CASE("a commit that waits for an arm in progress is refused where it would pass the marker") {
  Row row("authority_refused");
  row.allow();
  exchange::PostgresWriter tool(std::getenv("EPOCHCUT_POSTGRES"));
  tool.execute("set search_path = " + row.world.name + "; begin");
  const ArmRequest r = request(5);
  REQUIRE(tool.execute(postgres::arm({}), {"s", "production", "1", "5", "candidate", r.splice_id, "b1", "0", "60000", "-1"}).affected() == 1);
  std::atomic<int> committed{-1};
  {
    std::jthread owner([&] {
      try {
        committed = Engine(row.dsn, "incumbent").fence(1, 0, 5) ? 1 : 0;
      } catch (const Failure&) {
        committed = 2;
      }
    });
    until_blocked(row);
    tool.commit();
  }
  CHECK(committed == 0);
  CHECK(Engine(row.dsn, "incumbent").fence(1, 0, 4));
  // And whoever forgets to ask is stopped by the table itself.
  CHECK_THROWS_AS(row.world.pg.execute("update resume_tokens set sequence = 5"), Failure);
}

TEST_CASE("what an arm is refused for") {
  Row row("authority_arm");
  PostgresAuthority store = row.open();
  CHECK_FALSE(store.arm(request(5)));  // no verdict
  row.allow(1, "go", 100);
  ArmRequest wrong = request(5);
  wrong.build_id = "b2";
  CHECK_FALSE(store.arm(wrong));  // of another build
  wrong = request(5);
  wrong.verdict_seq_min = 101;
  CHECK_FALSE(store.arm(wrong));  // below the floor
  wrong = request(5);
  wrong.generation = 2;
  CHECK_FALSE(store.arm(wrong));  // of another generation
  row.world.pg.execute("update epochcut_verdict set at = at - interval '2 minutes'");
  CHECK_FALSE(store.arm(request(5)));  // too old
  row.allow(2);
  CHECK(store.arm(request(5)));
  CHECK_FALSE(store.arm(request(6, id[1])));  // armed already
  CHECK(store.disarm(id[0]));
  row.allow(3, "no_go");
  CHECK_FALSE(store.arm(request(5)));  // the newest verdict counts
  row.allow(4);
  // Whatever the role is set to, a splice is written for good.
  const std::string careless = std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + row.world.name + " -c synchronous_commit=off'";
  CHECK(PostgresAuthority(careless, "s").arm(request(5)));
}

TEST_CASE("a splice over PostgreSQL, by the owner's and the candidate's own steps") {
  Row row("authority_splice");
  row.allow();
  PostgresAuthority store = row.open();
  Engine incumbent(row.dsn, "incumbent"), candidate(row.dsn, "candidate");
  Splice<PostgresAuthority> splice(store, id[0], {.confirm_wait = Millis{0}});
  std::vector<SpliceState> seen;
  std::uint64_t shadow = 0;
  // The others move when the tool has told of a state: one thread, one interleaving.
  const SpliceReport report = splice.run(request(4), [&](SpliceState state) {
    seen.push_back(state);
    if (state == SpliceState::armed) {
      REQUIRE_FALSE(incumbent.fence(1, 0, 4));
      REQUIRE(incumbent.fence(1, 0, 3, {3, 3}));
    }
    if (state == SpliceState::at_seam) {
      AuthorityRow own = store.read();
      own.committed_seq = shadow = 3;
      CHECK(candidate_step(store.read(), own, "candidate", false, 10) == CandidateStep{CandidateStep::Action::record, 3});
      CHECK(candidate.record(id[0], 3, {3, 3}));
      CHECK(owner_step(store.read(), "incumbent", 1, Millis{0}) == OwnerStep{OwnerStep::Action::flip, 3});
    }
    if (state == SpliceState::flipped) {
      CHECK(owner_step(store.read(), "incumbent", 1, Millis{0}).action == OwnerStep::Action::leave);
      CHECK(candidate.fence(2, 3, 4));
    }
  });
  INFO(report.why);
  CHECK(seen == std::vector<SpliceState>{SpliceState::armed, SpliceState::at_seam, SpliceState::flipped});
  CHECK(report.state == SpliceState::flipped);  // with no wait at all for the first commit, which the next look finds
  CHECK(Splice<PostgresAuthority>(store, id[0]).resume([](SpliceState) {}).state == SpliceState::confirmed);
}
