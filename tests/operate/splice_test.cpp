#include "support/catch.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <epochcut/operate/memory_authority.hpp>
#include <epochcut/operate/splice.hpp>
#include <epochcut/testing/manual_clock.hpp>

#include "operate/splice_store.hpp"

using namespace epochcut;
using namespace splice_tests;
using epochcut::testing::ManualClock;

namespace {

constexpr std::uint64_t none = 0;  // a marker's stop_at that is not there

AuthorityRow row_of(std::uint64_t generation, const std::string& owner, std::uint64_t committed, std::uint64_t stop_at = none, const std::string& to = "b") {
  AuthorityRow row;
  row.generation = generation, row.owner = owner, row.committed_seq = committed;
  if (stop_at != none) row.marker = StopMarker{stop_at, to, "id"};
  return row;
}

Chain chain_at(std::uint64_t n) {
  Fold fold;
  while (fold.sequence < n) fold.apply(0);
  return fold.chain;
}

}  // namespace

TEST_CASE("the owner commits what is its own, and nothing else: every small row") {
  using Action = OwnerStep::Action;
  int leaves = 0, commits = 0, flips = 0, disarms = 0;
  for (const std::string owner : {"a", "b"})
    for (const std::string me : {"a", "b"})
      for (std::uint64_t row_generation = 1; row_generation <= 3; ++row_generation)
        for (std::uint64_t mine = 1; mine <= 3; ++mine)
          for (std::uint64_t committed = 0; committed <= 4; ++committed)
            for (std::uint64_t stop_at = 0; stop_at <= 6; ++stop_at) {
              if (stop_at != none && stop_at <= committed) continue;  // the database refuses such a row
              for (const int waited : {0, 9, 10, 11}) {
                const OwnerStep step = owner_step(row_of(row_generation, owner, committed, stop_at), me, mine, Millis(waited), {.seam_wait = Millis(10)});
                INFO(owner << me << row_generation << mine << " at " << committed << " stop " << stop_at << " waited " << waited);
                // Said as sets of events: which numbers would this step commit, and which are this engine's?
                std::set<std::uint64_t> commits_now, its_own;
                if (step.action == Action::commit)
                  for (std::uint64_t n = committed + 1; n <= 8 && n <= step.upto; ++n) commits_now.insert(n);
                if (owner == me && row_generation == mine)
                  for (std::uint64_t n = committed + 1; n <= 8 && (stop_at == none || n < stop_at); ++n) its_own.insert(n);
                CHECK(commits_now == its_own);
                if (owner != me || row_generation != mine) CHECK((step.action == Action::leave));
                if (owner == me && row_generation == mine && its_own.empty()) CHECK((step.action == (waited < 10 ? Action::flip : Action::disarm)));
                leaves += step.action == Action::leave, commits += step.action == Action::commit;
                flips += step.action == Action::flip, disarms += step.action == Action::disarm;
              }
            }
  CHECK(std::min({leaves, commits, flips, disarms}) > 0);
}

TEST_CASE("a candidate goes as far as it may and no further: every small pair of rows") {
  using Action = CandidateStep::Action;
  int seen[4] = {0, 0, 0, 0};
  for (const std::string owner : {"a", "b"})
    for (std::uint64_t committed = 0; committed <= 4; ++committed)
      for (std::uint64_t stop_at = 0; stop_at <= 6; ++stop_at)
        for (const std::string to : {"b", "c"})
          for (std::uint64_t at = 0; at <= 6; ++at)
            for (int hold = -1; hold <= 4; ++hold)
              for (const bool recorded : {false, true})
                for (const std::uint64_t lag : {0u, 2u}) {
                  if (stop_at != none && (stop_at <= committed || owner == to)) continue;
                  AuthorityRow shadow = row_of(1, "b", at);
                  if (hold >= 0) shadow.hold_at = static_cast<std::uint64_t>(hold);
                  const CandidateStep step = candidate_step(row_of(1, owner, committed, stop_at, to), shadow, "b", recorded, lag);
                  INFO(owner << " at " << committed << " stop " << stop_at << " for " << to << "; shadow at " << at << " hold " << hold << " recorded "
                             << recorded << " lag " << lag << " -> " << static_cast<int>(step.action) << " " << step.upto);
                  ++seen[static_cast<int>(step.action)];
                  const bool owns = owner == "b", called = stop_at != none && to == "b";
                  // Nobody takes over by a marker.
                  CHECK((step.action == Action::take_over) == (owns && at >= committed));
                  // A chain is recorded at the last event before the seam, where the shadow stands, and nowhere else.
                  CHECK((step.action == Action::record) == (!owns && called && at == stop_at - 1 && !recorded));
                  // Which events may it fold next? The shadow's fence says so too, but for the seam and production's token.
                  std::uint64_t next_max = 99;
                  if (owns) {
                    next_max = committed;
                  } else {
                    next_max = called ? std::min(stop_at - 1, committed) : committed - std::min(committed, lag);
                    if (hold >= 0 && !(called && at >= stop_at - 1)) next_max = std::min(next_max, static_cast<std::uint64_t>(hold));
                  }
                  if (step.action == Action::follow) {
                    CHECK(step.upto == next_max);
                    CHECK(step.upto > at);
                  } else if (step.action == Action::wait) {
                    CHECK(next_max <= at);
                  }
                }
  for (const int count : seen) CHECK(count > 0);
}

TEST_CASE("a splice's state is what the facts say") {
  const SeamRow seam{"id", 1, 2, 5};
  // generation, committed, stop_at, seam there, staged, go, state
  using Fact = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, bool, bool, bool, SpliceState>;
  for (const auto& [generation, committed, stop_at, flipped, staged, go, state] :
       {Fact{1, 2, 0, false, false, false, SpliceState::idle}, Fact{1, 2, 0, false, false, true, SpliceState::idle},
        Fact{1, 2, 0, false, true, false, SpliceState::staged}, Fact{1, 2, 0, false, true, true, SpliceState::verified},
        Fact{1, 2, 5, false, true, true, SpliceState::armed}, Fact{1, 3, 5, false, true, true, SpliceState::armed},
        Fact{1, 4, 5, false, true, true, SpliceState::at_seam}, Fact{2, 4, 0, true, true, true, SpliceState::flipped},
        Fact{1, 4, 5, true, true, true, SpliceState::flipped},  // the row was read before the flip, the seam after it
        Fact{2, 5, 0, true, true, true, SpliceState::confirmed}, Fact{3, 5, 0, true, true, true, SpliceState::confirmed},
        Fact{2, 4, 9, true, true, true, SpliceState::flipped}})
    CHECK(splice_state(row_of(generation, "a", committed, stop_at), flipped ? std::optional(seam) : std::nullopt, staged, go) == state);
  CHECK(to_string(SpliceState::idle) == "idle");
  CHECK(to_string(SpliceState::at_seam) == "at_seam");
  CHECK(to_string(SpliceState::confirmed) == "confirmed");
}

TEST_CASE("a seam lies ahead of the owner, whatever rate is told") {
  for (const std::uint64_t committed : {0u, 1u, 1000u})
    for (const double rate : {0.0, -5.0, 0.5, 4000.0, 1e6})
      for (const int ahead : {0, 1, 2000}) {
        const std::uint64_t stop_at = choose_stop_at(committed, rate, Millis(ahead));
        CHECK(stop_at > committed);
        CHECK(static_cast<double>(stop_at - committed) <= 1 + std::max(0.0, rate * ahead / 1000));
      }
  CHECK(choose_stop_at(100, 4000, Millis(2000)) == 8101);
}

// --- the store -------------------------------------------------------------------------------------------------------

namespace {

/// Both stores, and everything that can be asked of them in a small world.
struct Pair {
  ManualClock* clock;
  MemoryAuthority memory;
  TableAuthority table;

  explicit Pair(ManualClock& c) : clock(&c), memory("a", c), table("a", c) {}

  auto key() const {
    const TableAuthority::Row& r = table.row;
    std::vector<std::tuple<std::string, std::uint64_t, std::uint64_t>> chains;
    for (const auto& [id, at] : table.recorded) chains.emplace_back(id, at.first, at.second.low);
    std::vector<std::string> ids;
    for (const SeamRow& s : table.seams) ids.push_back(s.splice_id + std::to_string(s.s));
    return std::make_tuple(r.generation, r.owner, r.token, r.chain.low, r.stop_at, r.successor, r.splice_id + table.armed_build, r.arms, r.holds, r.hold_at,
                           chains, ids, table.verdicts.size());
  }
};

using Call = std::function<bool(Pair&)>;  // true: both gave the same answer

std::vector<Call> all_calls() {
  std::vector<Call> calls;
  for (const char* me : {"a", "b"})
    for (std::uint64_t generation = 1; generation <= 2; ++generation)
      for (std::uint64_t previous = 0; previous <= 3; ++previous)
        for (std::uint64_t token = previous; token <= std::min<std::uint64_t>(previous + 2, 4); ++token)
          calls.push_back([=](Pair& p) {
            return p.memory.fence(me, generation, previous, token, chain_at(token)) == p.table.fence(me, generation, previous, token, chain_at(token));
          });
  for (std::uint64_t stop_at = 0; stop_at <= 4; ++stop_at)
    for (const char* to : {"a", "b"})
      for (const char* id : {"x", "y"})
        for (std::uint64_t generation = 1; generation <= 2; ++generation)
          for (const int arms : {-1, 0, 1, 2})  // 2: for build 2
            calls.push_back([=](Pair& p) {
              ArmRequest request{
                  .splice_id = id, .successor = to, .build_id = arms == 2 ? "2" : "1", .generation = generation, .stop_at = stop_at, .verdict_seq_min = 1};
              if (arms == 0 || arms == 1) request.arms = static_cast<std::uint64_t>(arms);
              return p.memory.arm(request) == p.table.arm(request);
            });
  for (const char* id : {"x", "y"}) {
    calls.push_back([=](Pair& p) { return p.memory.disarm(id) == p.table.disarm(id); });
    calls.push_back([=](Pair& p) { return p.memory.flip(id) == p.table.flip(id); });
    for (const char* who : {"a", "b"})
      for (std::uint64_t at = 0; at <= 2; ++at)
        for (const char* build : {"1", "2"})
          for (const bool right : {true, false})
            calls.push_back([=](Pair& p) {
              const Chain chain = right ? chain_at(at) : chain_at(at + 7);
              return p.memory.record(id, who, at, chain, build) == p.table.record(id, who, at, chain, build);
            });
  }
  for (std::uint64_t at = 0; at <= 2; ++at) calls.push_back([=](Pair& p) { return p.memory.hold(at, Millis(10)) == p.table.hold(at, Millis(10)); });
  calls.push_back([](Pair& p) { return p.memory.release(), p.table.release(), true; });
  return calls;
}

}  // namespace

TEST_CASE("the memory store is what the statements say: every call in every small state") {
  ManualClock clock;
  clock.advance(Millis(1000));
  Pair start(clock);
  for (auto* verdicts : {&start.memory.verdicts, &start.table.verdicts})
    *verdicts = {{"a", "1", true, 1, Millis(1000)}, {"b", "1", true, 2, Millis(1000)}, {"b", "2", true, 3, Millis(1000)}};
  const std::vector<Call> calls = all_calls();
  std::set<decltype(start.key())> known{start.key()};
  std::vector<Pair> level{start};
  std::size_t asked = 0, flips = 0, answers_differ = 0, rows_differ = 0;
  const std::size_t depth_max = 6;  // fence, arm, fence, record, flip, and one more by anybody
  for (std::size_t depth = 0; depth < depth_max; ++depth) {
    std::vector<Pair> next;
    for (const Pair& from : level)
      for (const Call& call : calls) {
        Pair to = from;
        answers_differ += !call(to);
        ++asked;
        rows_differ += to.memory.read() != to.table.read() || to.memory.seams != to.table.seams || to.memory.seam("x") != to.table.seam("x");
        if (depth + 1 < depth_max && known.insert(to.key()).second) {
          flips += to.table.seams.size() > from.table.seams.size();
          next.push_back(std::move(to));
        }
      }
    level = std::move(next);
    if (known.size() > 4000) break;  // wide enough: what follows repeats it with other numbers
  }
  CHECK(answers_differ == 0);
  CHECK(rows_differ == 0);
  CHECK(flips > 0);
  CHECK(asked > 100'000);
}

TEST_CASE("arm wants the newest verdict on that candidate in that build, young and at or past the floor") {
  ManualClock clock;
  clock.advance(Millis(1000));
  const auto armed = [&](std::vector<RecordedVerdict> verdicts, std::uint64_t floor) {
    MemoryAuthority store("a", clock);
    store.verdicts = std::move(verdicts);
    return store.arm(
        {.splice_id = "x", .successor = "b", .build_id = "1", .generation = 1, .stop_at = 5, .verdict_seq_min = floor, .verdict_age_max = Millis(100)});
  };
  CHECK(armed({{"b", "1", true, 3, Millis(900)}}, 3));
  CHECK_FALSE(armed({}, 0));
  CHECK_FALSE(armed({{"b", "1", true, 3, Millis(899)}}, 3));                                     // too old
  CHECK_FALSE(armed({{"b", "1", true, 3, Millis(900)}}, 4));                                     // below the floor
  CHECK_FALSE(armed({{"b", "2", true, 3, Millis(900)}}, 3));                                     // another build
  CHECK_FALSE(armed({{"c", "1", true, 3, Millis(900)}}, 3));                                     // another candidate
  CHECK_FALSE(armed({{"b", "1", true, 3, Millis(900)}, {"b", "1", false, 4, Millis(950)}}, 3));  // taken back
  CHECK(armed({{"b", "1", false, 2, Millis(900)}, {"b", "1", true, 3, Millis(950)}, {"b", "2", false, 4, Millis(960)}}, 3));
}

TEST_CASE("a hold ends by itself, and stops nothing behind it") {
  ManualClock clock;
  MemoryAuthority store("b", clock);
  CHECK(store.hold(2, Millis(10)));
  CHECK(store.read().hold_at == 2);
  CHECK(store.fence("b", 1, 0, 2, chain_at(2)));
  CHECK_FALSE(store.fence("b", 1, 2, 3, chain_at(3)));
  CHECK_FALSE(store.hold(1, Millis(10)));  // it is past that
  clock.advance(Millis(10));
  CHECK_FALSE(store.read().hold_at);
  CHECK(store.fence("b", 1, 2, 3, chain_at(3)));
}

// --- the tool --------------------------------------------------------------------------------------------------------

namespace {

enum class Loss { none, before, after, late };  // the statement is lost, or its answer, or it is executed some calls later

/// A store whose `at`-th call goes wrong, and an owner and a candidate that do their part between two calls.
struct Lossy {
  TableAuthority* store;
  ManualClock* clock;
  int at = -1, calls = 0;
  Loss loss = Loss::none;
  bool owner_alive = true, candidate_alive = true;
  std::function<void()> late{};
  std::function<void()> meanwhile{};  // happens once, after the call that went wrong
  int late_in = 0;

  void world() {
    const AuthorityRow row = store->read();
    if (row.marker && candidate_alive && row.committed_seq + 1 == row.marker->stop_at)
      store->record(row.marker->splice_id, row.marker->successor, row.committed_seq, chain_at(row.committed_seq), "1");
    if (!owner_alive && row.owner == "a") return;
    if (!candidate_alive && row.owner == "b") return;
    const OwnerStep step = owner_step(row, row.owner, row.generation, Millis(0));
    if (step.action == OwnerStep::Action::commit)
      store->fence(row.owner, row.generation, row.committed_seq, row.committed_seq + 1, chain_at(row.committed_seq + 1));
  }
  template <class F>
  auto call(F f) {
    world();
    if (late && --late_in == 0) std::exchange(late, {})();
    if (meanwhile && calls == at + 1) std::exchange(meanwhile, {})();
    if (calls++ != at || loss == Loss::none) return f();
    if (loss == Loss::after) f();
    if (loss == Loss::late) late = [f] { f(); }, late_in = 5;
    throw Failure(Reason::connection, "the answer was lost").poison();
  }
  AuthorityRow read() {
    return call([this] { return store->read(); });
  }
  bool arm(const ArmRequest& r) {
    return call([this, r] { return store->arm(r); });
  }
  bool disarm(const std::string& id) {
    return call([this, id] { return store->disarm(id); });
  }
  bool flip(const std::string& id) {
    return call([this, id] { return store->flip(id); });
  }
  std::optional<SeamRow> seam(const std::string& id) {
    return call([this, id] { return store->seam(id); });
  }
};

struct Trial {
  ManualClock clock;
  TableAuthority store{"a", clock};
  Cancel cancel;
  bool cancels = false;  // as soon as it is armed
  Lossy lossy{&store, &clock};
  std::vector<SpliceState> told;
  SpliceReport report;

  explicit Trial(int at = -1, Loss loss = Loss::none) {
    lossy.at = at, lossy.loss = loss;
    store.verdicts = {{"b", "1", true, 0, Millis(0)}};
  }
  static ArmRequest request() { return {.splice_id = "x", .successor = "b", .build_id = "1", .generation = 1, .stop_at = 30}; }
  Splice<Lossy> tool() {
    return Splice<Lossy>(lossy, "x", {.deadline = Millis(500), .confirm_wait = Millis(50), .poll = Millis(5), .away_max = Millis(100)},
                         {.clock = &clock, .cancel = &cancel});
  }
  void run() {
    report = tool().run(request(), [this](SpliceState s) {
      told.push_back(s);
      if (cancels) cancel.request();
    });
    for (int i = 0; i < 20; ++i) lossy.world(), lossy.late && --lossy.late_in == 0 ? std::exchange(lossy.late, {})() : void();
  }
};

}  // namespace

TEST_CASE("the tool carries a splice through, and tells of each state once") {
  Trial t;
  t.run();
  CHECK(t.report.state == SpliceState::confirmed);
  CHECK(t.told.front() == SpliceState::armed);
  CHECK(t.told.back() == SpliceState::confirmed);
  CHECK(std::set<SpliceState>(t.told.begin(), t.told.end()).size() == t.told.size());
  CHECK(t.store.seams == std::vector<SeamRow>{{"x", 1, 2, 30}});
  CHECK(t.report.seam == t.store.seams.front());
  CHECK(t.report.lost_answers == 0);
}

TEST_CASE("whichever statement or answer of the tool is lost, it says what is true") {
  for (const Loss loss : {Loss::before, Loss::after, Loss::late})
    for (int at = 0; at < 200; ++at) {
      Trial t(at, loss);
      t.run();
      INFO("call " << at << " loss " << static_cast<int>(loss) << ": " << t.report.why);
      CHECK(t.report.state == SpliceState::confirmed);
      CHECK(t.store.seams == std::vector<SeamRow>{{"x", 1, 2, 30}});
      CHECK(t.report.lost_answers == (at < t.lossy.calls ? 1 : 0));
      if (at > t.lossy.calls) break;
    }
}

TEST_CASE("a splice that was called off stays off, whichever statement comes late") {
  int disarmed = 0;
  for (const Loss loss : {Loss::none, Loss::before, Loss::after, Loss::late})
    for (int at = 0; at < 40; ++at) {
      Trial t(at, loss);
      t.lossy.owner_alive = false;  // it never comes to the seam, so that nothing but the tool ends this
      t.cancels = true;
      t.run();
      INFO("call " << at << " loss " << static_cast<int>(loss) << ": " << t.report.why);
      CHECK(t.report.state == SpliceState::staged);
      CHECK_FALSE(t.store.read().marker);  // 20 rounds of the world after the report
      CHECK(t.store.seams.empty());
      disarmed += t.report.why.find("disarmed") != std::string::npos;
    }
  CHECK(disarmed > 0);
}

TEST_CASE("an arm whose answer was lost: what came of it meanwhile is found out") {
  Trial t(2, Loss::after);  // read, seam, arm
  const auto go_on_to_the_seam = [&t] {
    for (std::uint64_t n = t.store.row.token; n < 29; ++n) t.store.fence("a", 1, n, n + 1, chain_at(n + 1));
  };
  SECTION("the owner has given it up") {
    t.lossy.meanwhile = [&] { REQUIRE(t.store.disarm("x")); };
    t.run();
    CHECK(t.report.state == SpliceState::staged);
    CHECK_THAT(t.report.why, Catch::Matchers::Contains("armed and disarmed in the meantime"));
    CHECK(t.store.row.arms == 1);
    CHECK(t.store.seams.empty());
  }
  SECTION("the owner has flipped it") {
    t.lossy.meanwhile = [&] {
      go_on_to_the_seam();
      REQUIRE(t.store.record("x", "b", 29, chain_at(29), "1"));
      REQUIRE(t.store.flip("x"));
    };
    t.run();
    CHECK(t.report.state == SpliceState::confirmed);
    CHECK(t.store.seams.size() == 1);
  }
  CHECK(t.report.lost_answers == 1);
}

TEST_CASE("without a candidate the tool disarms at its deadline, with a dead owner it flips") {
  SECTION("no candidate") {
    Trial t;
    t.lossy.candidate_alive = false;
    t.run();
    CHECK(t.report.state == SpliceState::staged);
    CHECK(t.report.why.find("disarmed") == 0);
    CHECK(t.store.read().generation == 1);
    CHECK_FALSE(t.store.read().marker);
  }
  SECTION("a dead owner: armed at its next event") {
    Trial t;
    for (std::uint64_t n = 0; n < 29; ++n) t.store.fence("a", 1, n, n + 1, chain_at(n + 1));
    t.lossy.owner_alive = false;
    t.run();
    CHECK(t.report.state == SpliceState::confirmed);
  }
  SECTION("nobody runs the new owner: a stall is said") {
    Trial t;
    for (std::uint64_t n = 0; n < 29; ++n) t.store.fence("a", 1, n, n + 1, chain_at(n + 1));
    t.lossy.candidate_alive = false;
    ArmRequest request = Trial::request();
    request.arms = 0;
    REQUIRE(t.store.arm(request));
    REQUIRE(t.store.record("x", "b", 29, chain_at(29), "1"));
    t.run();
    CHECK(t.report.state == SpliceState::flipped);
    CHECK(t.report.why.find("has not committed yet") != std::string::npos);
  }
}

TEST_CASE("each refusal to arm says why") {
  const auto why = [](const std::function<void(Trial&)>& prepare) {
    Trial t;
    prepare(t);
    t.run();
    CHECK(t.report.state == SpliceState::staged);
    CHECK(t.store.seams.empty());
    return t.report.why;
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(why([](Trial& t) { t.store.verdicts.clear(); }), Contains("no fresh go for b in build 1"));
  CHECK_THAT(why([](Trial& t) {
               for (std::uint64_t n = 0; n < 30; ++n) t.store.fence("a", 1, n, n + 1, chain_at(n + 1));
             }),
             Contains("has passed 30 already"));
  CHECK_THAT(why([](Trial& t) {
               t.store.verdicts.push_back({"c", "1", true, 0, Millis(0)});
               ArmRequest other = Trial::request();
               other.splice_id = "y", other.successor = "c";
               t.store.arm(other);
             }),
             Contains("a splice to c is armed already"));
  CHECK_THAT(why([](Trial& t) { t.store.row.generation = 2; }), Contains("generation 2 now"));
  CHECK_THAT(why([](Trial& t) { t.store.row.owner = "b"; }), Contains("b owns the authority already"));
}
