// Mark cycles on real servers: each adds up to zero at its own cut while the exchange runs, and a crash anywhere counts none of them twice.
#include <algorithm>
#include <csignal>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <libpq-fe.h>
#include <sys/wait.h>

#include "exchange/corruption.hpp"
#include "exchange/stores.hpp"

using namespace venue;
using namespace std::chrono_literals;
using exchange::Corruption;
using exchange::Corruptor;
using exchange::CrashPoint;
using exchange::Fault;
using exchange::Fenced;

namespace {

/// What the stream says that a cycle's rows are, as the table shows them in the order of their ids.
std::string expected_rows(const EngineOptions& options, std::uint64_t cycles, std::uint64_t every, std::uint64_t generation = 1) {
  exchange::Fold fold;
  exchange::Rows rows;
  std::string text;
  for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
    while (fold.books().sequence < cycle * every) fold.apply(options.stream.at(fold.books().sequence + 1), rows);
    for (const exchange::MarkRow& row : exchange::mark_rows(cycle, fold)) append(text, row, generation);
  }
  return text;
}

/// Rows, token and the cycles' own table say the same, and it is what the stream says.
void require_cycles(Stores& stores, std::uint64_t cycles, std::uint64_t every) {
  REQUIRE(stores.cycle() == cycles);
  // ClickHouse shows trailing zeros as they are stored: the text of a row is the text that was written.
  REQUIRE(stores.analytics.query("SELECT DISTINCT * FROM " + stores.name + ".mark_pnl ORDER BY event_id") ==
          expected_rows(stores.options.engine, cycles, every));
  REQUIRE(stores.ask_ledger("SELECT count(*) || ' ' || min(cycle) || ' ' || bool_and(epoch_sequence = cycle * " + std::to_string(every) +
                            ") FROM mark_cycles") == std::to_string(cycles) + " 1 true");
  // A cycle's sums are sums modulo 2^64, and so are the token's.
  REQUIRE(stores.ask_ledger(
              "SELECT (d.row_count, d.sum_low, d.sum_high) = (SELECT sum(row_count), mod(sum(sum_low), 2::numeric ^ 64), mod(sum(sum_high), 2::numeric ^ 64) "
              "FROM mark_cycles) FROM resume_token_digests d WHERE stream = 'mark_cycles'") == "t");
  REQUIRE(stores.ask_ledger(
              "SELECT t.latest_execution_ns = c.execution_ns FROM resume_tokens t JOIN mark_cycles c ON c.cycle = t.sequence WHERE stream = 'mark_cycles'") ==
          "t");
  const Outcome o = check_marks(stores);
  INFO(to_text(o));
  REQUIRE(o.status == Status::pass);
  REQUIRE(o.epoch->sequence == cycles);
  REQUIRE(o.stream == "mark_cycles");
}

/// Runs a venue in a process of its own until it kills itself.
void run_until_killed(VenueOptions options) {
  options.engine.crash = [] { static_cast<void>(::kill(::getpid(), SIGKILL)); };
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      Venue venue(options);
      advance(venue, exchange::no_limit);
    } catch (...) {
    }
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
}

/// As a supervisor does it: a COMMIT that was on its way may land after the token was read.
void recover(const VenueOptions& options, std::uint64_t sequence) {
  for (int attempt = 0;; ++attempt) try {
      Venue venue(options);
      advance(venue, sequence);
      return;
    } catch (const Fenced& fenced) {
      REQUIRE_FALSE(fenced.deposed);
      REQUIRE(attempt < 5);
    }
}

}  // namespace

TEST_CASE("the mark cycles add up to zero at their own cuts while the exchange runs") {
  Stores stores(8);
  stores.options.mark_every = 250, stores.options.engine.batch = 90;
  std::string error;
  {
    Venue(stores.options).step();  // the token of marks is there, and no cycle yet
    const Outcome o = check_marks(stores);
    INFO(to_text(o));
    REQUIRE(o.status != Status::pass);
    REQUIRE(o.status != Status::fail);
  }
  std::jthread writer([&](std::stop_token stop) {
    try {
      Venue venue(stores.options);
      while (!stop.stop_requested()) venue.step();
    } catch (const std::exception& e) {
      error = e.what();
    }
  });
  std::set<std::uint64_t> cycles;
  std::vector<std::string> wrong;
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (cycles.size() < (full() ? 60 : 8) && std::chrono::steady_clock::now() < until) {
    const Outcome o = check_marks(stores);
    if (o.status == Status::pass && o.left.rows > 0)
      cycles.insert(o.epoch->sequence);
    else if (o.status != Status::skipped)
      wrong.push_back(to_text(o));
  }
  writer.request_stop();
  writer.join();
  REQUIRE(error.empty());
  CHECK(wrong.empty());
  for (const std::string& each : wrong) UNSCOPED_INFO(each);
  REQUIRE(cycles.size() >= 8);
  require_cycles(stores, stores.cycle(), 250);
}

TEST_CASE("a wrong row of a mark cycle is caught") {
  Stores stores;
  stores.options.mark_every = 200;
  {
    Venue venue(stores.options);
    advance(venue, 600);
  }
  require_cycles(stores, 3, 200);
  Corruptor corruptor(stores.options.engine.clickhouse, stores.options.engine.layout);
  const std::uint64_t id = corruptor.pick("mark_pnl", 3);
  REQUIRE(id >> 20 == 3);
  const auto caught = [&](Fault fault, Status status, Reason reason) {
    INFO(name_of(fault));
    const Corruption c = corruptor.plant(fault, "mark_pnl", id, "0.00000001");
    REQUIRE((fault == Fault::truncate || c.sequence == 3));
    const Outcome o = check_marks(stores, 400ms);
    INFO(to_text(o));
    CHECK(o.status == status);
    CHECK(o.reason == reason);
    if (fault == Fault::change_amount) {
      REQUIRE(o.differences.size() == 1);
      CHECK(to_text(o.differences[0]) == "only_left currency=" + c.currency + ": left total_pnl=0.00000001");
    }
    if (fault == Fault::truncate) return;
    corruptor.undo(c);
    require_cycles(stores, 3, 200);
  };
  caught(Fault::change_amount, Status::fail, Reason::differs);
  caught(Fault::delete_row, Status::fail, Reason::missing_rows);
  caught(Fault::extra_row, Status::fail, Reason::extra_rows);
  caught(Fault::conflicting_row, Status::fail, Reason::conflicting_rows);
  caught(Fault::duplicate_row, Status::pass, Reason::none);
  caught(Fault::truncate, Status::fail, Reason::missing_rows);
}

TEST_CASE("a mark cycle that died before or in its commit is counted once") {
  const CrashPoint point = GENERATE(CrashPoint::after_marks, CrashPoint::marks_commit_sent, CrashPoint::after_positions);
  Stores stores;
  stores.options.mark_every = 300, stores.options.engine.batch = 70;
  stores.options.engine.crash_at = point, stores.options.engine.crash_from = 900;
  run_until_killed(stores.options);
  const bool written = point != CrashPoint::after_positions;
  // Its rows are there, and its token is not, or may not be.
  REQUIRE(stores.ask_analytics("SELECT max(sequence) FROM " + stores.name + ".mark_pnl") == (written ? "3" : "2"));
  if (point != CrashPoint::marks_commit_sent) REQUIRE(stores.cycle() == 2);
  stores.options.engine.crash_at = CrashPoint::none;
  SECTION("the next run finishes it") {
    stores.options.engine.batch = 41;  // batches are cut differently
    recover(stores.options, 1'500);
    require_cycles(stores, 5, 300);
  }
  SECTION("and so does a later one, after a run without marks") {
    stores.options.mark_every = 0;
    recover(stores.options, 1'300);
    stores.options.mark_every = 300;
    recover(stores.options, 1'500);
    require_cycles(stores, 5, 300);
  }
}

TEST_CASE("marks may begin late, and then make up for all cycles before") {
  Stores stores;
  recover(stores.options, 1'000);
  REQUIRE(stores.ask_ledger("SELECT count(*) FROM resume_tokens") == "1");
  stores.options.mark_every = 400;
  recover(stores.options, 1'000);
  require_cycles(stores, 2, 400);
  recover(stores.options, 1'200);
  require_cycles(stores, 3, 400);
}

TEST_CASE("marks at other distances, or of another stream, are refused before anything is written") {
  Stores stores;
  stores.options.mark_every = 300;
  recover(stores.options, 1'200);
  const std::string rows = stores.ask_analytics("SELECT count() FROM " + stores.name + ".mark_pnl");
  const auto refused = [&](const std::string& words) {
    try {
      Venue venue(stores.options);
      FAIL("it was taken: " + words);
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::configuration);
      CHECK(failure.message.find(words) != std::string::npos);
    }
    CHECK(stores.ask_analytics("SELECT count() FROM " + stores.name + ".mark_pnl") == rows);
  };
  stores.options.mark_every = 200;
  refused("cut at sequence 1200");
  stores.options.mark_every = 300;
  stores.ask_ledger("UPDATE resume_token_digests SET sum_low = sum_low + 1 WHERE stream = 'mark_cycles' RETURNING ''");
  refused("not written from this stream");
}

TEST_CASE("a deposed marker marks nothing") {
  Stores stores;
  stores.options.mark_every = 300;
  Venue venue(stores.options);
  advance(venue, 300);
  exchange::Marker late(stores.options.engine, 1, 300, 300);
  advance(venue, 600);
  exchange::Fold fold;
  exchange::Rows rows;
  while (fold.books().sequence < 600) fold.apply(stores.options.engine.stream.at(fold.books().sequence + 1), rows);
  try {
    late.mark(fold);  // another has done it
    FAIL("a cycle was committed twice");
  } catch (const Fenced& fenced) {
    CHECK_FALSE(fenced.deposed);
  }
  require_cycles(stores, 2, 300);
  while (fold.books().sequence < 900) fold.apply(stores.options.engine.stream.at(fold.books().sequence + 1), rows);
  exchange::Marker old(stores.options.engine, 1, 300, 600);
  REQUIRE(exchange::depose(stores.options.engine) == 2);
  try {
    old.mark(fold);
    FAIL("a deposed writer marked");
  } catch (const Fenced& fenced) {
    CHECK(fenced.deposed);
  }
  CHECK(stores.cycle() == 2);
  // The new generation writes the same cycle; the rows of the old one are the same rows.
  recover(stores.options, 900);
  const Outcome o = check_marks(stores);
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.generation == 2);
}

TEST_CASE("whoever listens hears of each cycle, and can read it then") {
  Stores stores;
  stores.options.mark_every = 200;
  PGconn* const listener = PQconnectdb(stores.dsn().c_str());
  const auto close = [](PGconn* connection) { PQfinish(connection); };
  const std::unique_ptr<PGconn, decltype(close)> owned(listener, close);
  PQclear(PQexec(listener, "LISTEN mark_cycles"));
  recover(stores.options, 650);
  std::vector<std::string> heard;
  const auto until = std::chrono::steady_clock::now() + 20s;
  while (heard.size() < 3 && std::chrono::steady_clock::now() < until) {
    PQconsumeInput(listener);
    while (PGnotify* notice = PQnotifies(listener)) {
      heard.emplace_back(notice->extra);
      PQfreemem(notice);
      PGresult* const row = PQexec(listener, ("SELECT FROM mark_cycles WHERE cycle = " + heard.back()).c_str());
      CHECK(PQntuples(row) == 1);
      PQclear(row);
    }
    std::this_thread::sleep_for(10ms);
  }
  CHECK(heard == std::vector<std::string>{"1", "2", "3"});
}

TEST_CASE("tables of an earlier version go on working, and init adds what is new") {
  Stores stores;
  stores.ask_ledger("DROP TABLE mark_cycles; DROP TABLE quiet_windows; SELECT ''");
  stores.analytics.execute("DROP TABLE " + stores.name + ".mark_pnl");
  stores.analytics.execute("DROP TABLE " + stores.name + ".mark_stream");
  recover(stores.options, 500);
  REQUIRE(stores.token() == 500);
  exchange::create_tables(stores.options.engine);
  stores.options.mark_every = 250;
  recover(stores.options, 750);
  require_cycles(stores, 3, 250);
}
