// Random worlds of faults, many checks at random moments, and an oracle that knows the true history: no verdict may be wrong.
#include <epochcut/verdict/check.hpp>

#include <cstdlib>

#include "testing/simulated_world.hpp"

using namespace simulated;

namespace {

struct Tally {
  std::array<int, faults> planted{};
  std::map<Status, int> status{};
  std::map<Reason, int> reason{};
  int waited_passes = 0, distinct_passes = 0, wrong = 0;
};

/// The verdict against what was true when the follower was last read.
std::string mistake(const Outcome& o, const World::Truth& t) {
  if (o.status == Status::pass && !t.clean()) return "a wrong pass";
  if (o.status != Status::fail) return "";
  switch (o.reason) {
    case Reason::extra_rows: return t.extra ? "" : "no row is extra";
    case Reason::conflicting_rows: return t.conflicting ? "" : "no rows conflict";
    case Reason::missing_rows: return t.lost ? "" : "no row is lost";
    case Reason::differs: return t.sums_differ && t.complete ? "" : "nothing differs, or a row is only late";
    default: return "a fail without a fail's reason";
  }
}

void run(std::uint64_t seed, Witness witness, Tally& tally) {
  World world(seed, tally.planted);
  World::Truth seen;
  Hooked ledger{&world.ledger, [&](std::string_view) { world.before_call(); }};
  Hooked analytics{&world.analytics, [&](std::string_view) { world.before_call(); }};
  std::uint64_t epoch = 0;
  const Invariant invariant{
      .id = "balances", .left = {ledger, balances()}, .right = {analytics, sums()}, .rules = {{.column = "amount", .absent_is_zero = true}}};
  CheckOptions options{.horizon = {.witness = witness, .budget = World::budget, .max_visibility_lag = World::lag}, .control = {.clock = &world}};
  options.horizon.jitter_seed = seed;
  // Truth is taken where the store is read: between the read and the verdict the world moves on.
  analytics.after = [&](Proof&, Relation&) { seen = world.truth(epoch); };
  const auto check_now = [&] {
    Hooked anchor = ledger;
    const Outcome o = [&] {
      Invariant i = invariant;
      i.left = {anchor, balances()};
      anchor.before = [&](std::string_view) {
        world.before_call();
        const Snapshot s = world.ledger.snapshot({}, {.clock = &world});
        if (epoch == 0) epoch = s.token->epoch.sequence;
      };
      epoch = 0;
      return check(anchor, i, options);
    }();
    ++tally.status[o.status], ++tally.reason[o.reason];
    tally.waited_passes += o.status == Status::pass && o.right.attempts > 1;
    tally.distinct_passes += o.status == Status::pass && o.right.completeness == Completeness::proved_distinct;
    if (const std::string wrong = mistake(o, seen); !wrong.empty()) {
      ++tally.wrong;
      FAIL_CHECK("seed " << seed << ", " << wrong << ": " << to_string(o.status) << " " << to_string(o.reason) << ": " << o.message);
    }
    return o;
  };
  for (int checks = 0; checks < 8; ++checks) {
    (void)check_now();
    world.sleep(Millis{static_cast<std::int64_t>(world.random().below(2'000))});
    world.disturb();
  }
  // When all is quiet, late rows have come and the servers are up, there is an answer, and it is the truth.
  world.end_outages();
  world.sleep(Millis{60'000});
  const Outcome last = check_now();
  INFO("seed " << seed << ": " << last.message);
  const World::Truth t = world.truth(last.epoch->sequence);
  if (t.clean())
    CHECK((last.status == Status::pass || last.reason == Reason::empty));
  else if (!t.lost)
    CHECK(last.status == Status::fail);
  else
    CHECK((last.status == Status::fail || last.status == Status::error));
}

Tally run_all(Witness witness, std::uint64_t seeds) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) run(seed, witness, tally);
  for (std::size_t f = 0; f < faults; ++f) {
    INFO("fault " << f);
    CHECK(tally.planted[f] > 0);
  }
  std::string text;
  for (const auto& [status, n] : tally.status) text += std::string(to_string(status)) + " " + std::to_string(n) + ", ";
  for (const auto& [reason, n] : tally.reason) text += std::string(to_string(reason)) + " " + std::to_string(n) + ", ";
  WARN(text << "waited " << tally.waited_passes << ", distinct " << tally.distinct_passes);
  CHECK(tally.wrong == 0);
  return tally;
}

}  // namespace

// Sanitizers look for undefined behaviour, which a third of the seeds reaches as well; verdicts are judged without them.
#ifdef __SANITIZE_ADDRESS__
constexpr int portion = 3;
#else
constexpr int portion = 1;
#endif

TEST_CASE("a simulation under the digest: no wrong pass, no wrong fail, and every verdict occurs") {
  Tally t = run_all(Witness::id_digest, 300 / portion);
  for (Status s : all_statuses) CHECK(t.status[s] > 0);
  for (Reason r : {Reason::differs, Reason::extra_rows, Reason::missing_rows, Reason::conflicting_rows, Reason::horizon_not_proven, Reason::replica_lag,
                   Reason::connection, Reason::empty}) {
    INFO(to_string(r));
    CHECK(t.reason[r] > 0);
  }
  CHECK(t.status[Status::pass] > 500 / portion);
  CHECK(t.waited_passes > 50 / portion);
  CHECK(t.distinct_passes > 50 / portion);
}

TEST_CASE("a simulation under acknowledgements: no wrong pass, no wrong fail") {
  Tally t = run_all(Witness::acked, 100 / portion);
  CHECK(t.status[Status::pass] > 50 / portion);
  CHECK(t.status[Status::error] > 50 / portion);
}
