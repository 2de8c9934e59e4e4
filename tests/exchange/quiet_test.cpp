// Quiet windows on real servers: inside one, between `drained` and `ended`, two plain queries agree; and no window outlives the writer that began it.
#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "custodian/process.hpp"
#include "exchange/stores.hpp"

using namespace venue;
using namespace std::chrono_literals;
using process::Child;
using process::Folder;

namespace {

/// transactions-balance, by two queries and no cut.
Outcome naive(const Stores& stores) {
  Postgres ledger = stores.engine_anchor();
  ClickHouse analytics = stores.follower();
  return check(ledger, Invariant{"naive",
                                 {at_rest(ledger), current("balances").by("currency").sum("amount")},
                                 {at_rest(analytics), events("transactions").by("currency").sum("amount")}});
}

void wait_for(const std::function<bool()>& condition, const std::string& what, std::chrono::seconds timeout = 60s) {
  for (const auto until = std::chrono::steady_clock::now() + timeout; !condition(); std::this_thread::sleep_for(10ms))
    if (std::chrono::steady_clock::now() > until) FAIL("it never came true: " + what);
}

std::string windows(Stores& stores, const std::string& where) { return stores.ask_ledger("SELECT count(*) FROM quiet_windows WHERE " + where); }

}  // namespace

TEST_CASE("in a quiet window both stores stand still and agree without a cut") {
  Stores stores(4);
  stores.options.engine.write_path = exchange::WritePath::issued;
  const Folder folder;
  Child exchange(stores.command(EXCHANGE_PROGRAM, {"--issued", "--jitter-ms", "150", "--batch", "20", "--rate", "2000"}), folder / "out");
  wait_for([&] { return stores.token() > 500; }, "the exchange runs");
  // Without the window the same two queries disagree, or the rest of this shows nothing.
  int disagreed = 0;
  wait_for([&] { return (disagreed += naive(stores).status == Status::fail) > 2; }, "two queries disagree while the exchange runs");
  for (int round = 0; round < 3; ++round) {
    const std::string id = std::to_string(round + 1);
    exchange.signal(SIGUSR1);
    wait_for([&] { return windows(stores, "id = " + id + " AND authority = 'production' AND drained >= began AND ended IS NULL") == "1"; }, "drained");
    const std::uint64_t sequence = stores.token();
    CHECK(stores.ask_ledger("SELECT min(acked_sequence) FROM resume_token_digests") == std::to_string(sequence));
    for (int i = 0; i < 4; ++i) {
      const Outcome o = naive(stores);
      INFO(to_text(o));
      CHECK(o.status == Status::pass);
    }
    CHECK(stores.token() == sequence);
    CHECK(windows(stores, "ended IS NULL") == "1");
    exchange.signal(SIGUSR2);
    wait_for([&] { return stores.token() > sequence; }, "it goes on");
    CHECK(windows(stores, "id = " + id + " AND ended >= drained") == "1");
  }
  CHECK(exchange.end(SIGTERM) == 0);
}

TEST_CASE("a quiet window ends with the writer that began it, before the next writes") {
  Stores stores;
  const Folder folder;
  const auto command = stores.command(EXCHANGE_PROGRAM, {"--rate", "1000"});
  {
    Child exchange(command, folder / "out");
    wait_for([&] { return stores.token() > 200; }, "the exchange runs");
    exchange.signal(SIGUSR1);
    wait_for([&] { return windows(stores, "drained IS NOT NULL AND ended IS NULL") == "1"; }, "drained");
    exchange.end(SIGKILL);
  }
  const std::uint64_t sequence = stores.token();
  CHECK(windows(stores, "ended IS NULL") == "1");  // nobody writes, and nobody can say otherwise
  Child exchange(command, folder / "out");
  // Wherever the token has moved, the window had ended.
  wait_for(
      [&] {
        const std::uint64_t now = stores.token();
        if (now == sequence) return false;
        CHECK(windows(stores, "ended IS NULL") == "0");
        return true;
      },
      "it writes again");
  // Told to stop inside a window, it ends that too.
  exchange.signal(SIGUSR1);
  wait_for([&] { return windows(stores, "drained IS NOT NULL AND ended IS NULL") == "1"; }, "drained");
  CHECK(exchange.end(SIGTERM) == 0);
  CHECK(windows(stores, "ended IS NULL") == "0");
}

TEST_CASE("quiet windows by the clock") {
  Stores stores;
  const Folder folder;
  Child exchange(stores.command(EXCHANGE_PROGRAM, {"--rate", "1000", "--quiet-every", "1.5", "--quiet-for", "0.5"}), folder / "out");
  wait_for([&] { return windows(stores, "ended > drained") >= "2"; }, "two windows");
  CHECK(exchange.end(SIGTERM) == 0);
  CHECK(windows(stores, "ended - began < interval '0.45 s' AND id < 3") == "0");
  Child refused(stores.command(EXCHANGE_PROGRAM, {"--quiet-every", "5", "--quiet-for", "5"}), folder / "out");
  CHECK(refused.end() == 2);
}

TEST_CASE("a writer that rests first of all commits what its predecessor left behind in ClickHouse") {
  Stores stores;
  const auto newest = [&] { return std::stoull(stores.ask_analytics("SELECT max(sequence) FROM " + stores.name + ".positions")); };
  {
    VenueOptions dying = stores.options;
    dying.engine.crash_at = exchange::CrashPoint::after_positions, dying.engine.crash_from = 500;
    Venue venue(dying);
    const auto run = [&] {
      while (true) venue.step();
    };
    CHECK_THROWS_AS(run(), exchange::Crashed);
  }
  REQUIRE(newest() > stores.token());
  Venue next(stores.options);
  wait_for(
      [&] {
        next.rest();
        return next.quiet();
      },
      "drained");
  CHECK(newest() <= stores.token());
}
