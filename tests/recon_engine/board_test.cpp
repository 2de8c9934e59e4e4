// The board: what it keeps, what it forgets, and that a copy of it is whole.
#include "support/catch.hpp"

#include <algorithm>
#include <thread>

#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Reason;
using epochcut::Status;

namespace {
const std::string live = "transactions-balance-live";

CheckState state_of(const Board& board, const std::string& id) {
  for (const CheckState& check : board.snapshot().checks)
    if (check.config.id == id) return check;
  FAIL("no such check");
  return {};
}
}  // namespace

TEST_CASE("board: runs are kept up to a bound, the newest last, and asserted is not the same as ran") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  const int runs = static_cast<int>(runs_kept_max) + 40;
  for (int k = 0; k < runs; ++k) board.add(sample::run(live, sample::now + Millis{k * 1'000}));
  CheckState check = state_of(board, live);
  REQUIRE(check.runs.size() == runs_kept_max);
  CHECK(check.runs.back().scheduled == sample::now + Millis{(runs - 1) * 1'000});
  CHECK(check.ended[static_cast<std::size_t>(Status::pass)] == static_cast<std::uint64_t>(runs));
  CHECK(check.unasserted == 0);

  const Run pass = check.runs.back();
  board.add(sample::failed(live, sample::now + Millis{1'000'000}));
  check = state_of(board, live);
  CHECK(*check.last_passed == pass.finished);
  CHECK(*check.last_asserted == check.runs.back().finished);
  board.add(sample::run(live, sample::now + Millis{1'300'000}, Status::error, Reason::connection));
  board.add(sample::run(live, sample::now + Millis{1'600'000}, Status::skipped, Reason::empty));
  CHECK(state_of(board, live).unasserted == 2);
  CHECK(*state_of(board, live).last_asserted == *check.last_asserted);
}

TEST_CASE("board: a run that is restored is history, and one of an unknown check is ignored") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  board.restore({sample::run(live, sample::now)});
  CHECK(state_of(board, live).runs.size() == 1);
  CHECK(state_of(board, live).ended[static_cast<std::size_t>(Status::pass)] == 0);
  CHECK(board.snapshot().engine.reached.empty());  // that was another process
  board.add(sample::run("no-such-check", sample::now));
  CHECK(board.snapshot().checks.size() == 8);
}

TEST_CASE("board: missed and coalesced are counted on when a schedule is made anew") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  board.waiting(live, sample::now + Millis{1}, 0, 0);
  board.waiting(live, sample::now + Millis{2}, 3, 1);
  CHECK(state_of(board, live).missed == 3);
  CHECK(state_of(board, live).unasserted == 3);
  CHECK(state_of(board, live).missed_at == std::vector<Instant>{sample::now + Millis{1}});
  board.waiting(live, sample::now + Millis{3}, 3, 1);
  CHECK(state_of(board, live).missed == 3);
  board.waiting(live, sample::now + Millis{4}, 1, 0);  // a new schedule
  CHECK(state_of(board, live).missed == 4);
  CHECK(state_of(board, live).coalesced == 1);
  CHECK(*state_of(board, live).next_fire == sample::now + Millis{4});
}

TEST_CASE("board: a reload keeps the history of checks that stay, and forgets the others") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  board.add(sample::run(live, sample::now));
  board.config_problem("x");
  std::vector<CheckSummary> changed = sample::summaries();
  std::reverse(changed.begin(), changed.end());
  for (CheckSummary& check : changed) check.enabled = check.id != live;
  board.waiting(live, sample::now, 0, 0);
  board.configure(changed);
  CHECK(board.snapshot().checks.front().config.id == "omnibus-balances-square-live");
  CHECK(state_of(board, live).runs.size() == 1);
  CHECK_FALSE(state_of(board, live).next_fire);  // switched off
  CHECK(board.snapshot().engine.config_problem.empty());
  board.configure({});
  CHECK(board.snapshot().checks.empty());
  std::vector<CheckSummary> many(checks_shown_max + 10);
  board.configure(many);
  CHECK(board.snapshot().checks.size() == checks_shown_max);
}

TEST_CASE("board: a run ends what began, and shows which store has answered") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  board.began(live, sample::now);
  CHECK(*state_of(board, live).running_since == sample::now);
  board.add(sample::run(live, sample::now, Status::error, Reason::connection));
  CHECK_FALSE(state_of(board, live).running_since);
  CHECK(board.snapshot().engine.reached.empty());
  Run late = sample::run(live, sample::now, Status::error, Reason::horizon_not_proven);
  late.epoch = epochcut::Epoch{1, 1};
  board.add(late);
  CHECK(board.snapshot().engine.reached == std::set<std::string>{"postgres"});
  board.add(sample::run(live, sample::now));
  CHECK(board.snapshot().engine.reached == std::set<std::string>{"clickhouse", "postgres"});
  // The next one has begun before this one is recorded: it is running, and /livez counts from its beginning.
  const Run recorded_late = sample::run(live, sample::now);
  board.began(live, recorded_late.finished);
  board.add(recorded_late);
  REQUIRE(state_of(board, live).running_since);
  CHECK(*state_of(board, live).running_since == recorded_late.finished);
}

TEST_CASE("board: many threads at once") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int k = 0; k < 200; ++k) {
        board.began(live, sample::now);
        board.add(sample::run(live, sample::now));
        board.waiting(live, sample::now, static_cast<std::uint64_t>(k), 0);
        if (t == 0) board.configure(sample::summaries());
        static_cast<void>(board.snapshot());
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(state_of(board, live).ended[static_cast<std::size_t>(Status::pass)] == 800);
}
