// Custody on real servers: whenever no transfer is open, what the custodian holds and what was earned is what the ledger says, at a cut, while
// exchange and custodian are killed at any moment and come back.
#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "custodian/process.hpp"
#include "exchange/custodian_client.hpp"
#include "exchange/stores.hpp"

using namespace venue;
using namespace std::chrono_literals;
using exchange::CustodianClient;
using process::Child;
using process::Custodian;
using process::Folder;

namespace {

constexpr std::uint64_t deposit_every = 150;
constexpr std::uint64_t deposit_seldom = 600;  // a check on a busy machine has to fit between two

std::map<std::string, Decimal> holdings_at(const std::string& url) {
  httplib::Client http(url);
  const auto answer = http.Get("/holdings");
  if (!answer || answer->status != 200) throw Failure(Reason::connection, "no holdings").retry();
  std::map<std::string, Decimal> all;
  const nlohmann::json document = nlohmann::json::parse(answer->body);
  for (const auto& held : document["holdings"]) all[held["currency"]] = *parse_decimal(held["amount"].get<std::string>());
  return all;
}

struct Verdict {
  bool asserted = false;
  std::string wrong{};  ///< the first currency that does not add up, and how
};

/// omnibus-balances-square: two samples of what is on its way around one cut.
Verdict omnibus(const Stores& stores, const std::string& url) {
  CustodianClient client(url);
  const exchange::Transfers before = client.transfers();
  if (!before.open.empty()) return {};
  Postgres ledger = stores.engine_anchor();
  ClickHouse analytics = stores.follower();
  const Query balances = current("balances").by("currency").sum("amount");
  const EpochCut<Postgres> cut(ledger, std::span(&balances, 1));
  const Read pnl = cut.read(analytics, events("transactions").where("kind", "realized_pnl").by("currency").sum("amount"), {.budget = Millis{5'000}});
  if (pnl.completeness != Completeness::proved && pnl.completeness != Completeness::proved_distinct) return {};
  std::map<std::string, Decimal> holdings = holdings_at(url);
  const exchange::Transfers after = client.transfers();
  if (!after.open.empty() || after.counter != before.counter) return {};
  Verdict verdict{true, {}};
  std::map<std::string, Decimal> left = holdings;
  for (std::size_t row = 0; row < pnl.rows.rows(); ++row) {
    Decimal& sum = left.try_emplace(to_string(pnl.rows.fields[0].column[row]), Decimal{0, exchange::money_scale}).first->second;
    sum = *add(sum, pnl.rows.fields[1].column[row].as_decimal());
  }
  const Relation& right = cut[0].rows;
  if (right.rows() < left.size()) verdict.wrong = "a currency that the ledger does not have";
  for (std::size_t row = 0; row < right.rows(); ++row) {
    const std::string currency = to_string(right.fields[0].column[row]);
    const Decimal amount = right.fields[1].column[row].as_decimal();
    // A currency in which nothing has come in and nothing was earned has no row on this side.
    const Decimal explained = left.contains(currency) ? left[currency] : Decimal{0, exchange::money_scale};
    if (explained != amount)
      verdict.wrong = currency + " at " + std::to_string(cut.token()->epoch.sequence) + ": " + to_string(explained) + " and " + to_string(amount);
  }
  return verdict;
}

/// What the custodian must hold and count once everything up to here has arrived there.
void require_arrived(const Stores& stores, const std::string& url, std::uint64_t sequence) {
  std::map<std::string, Decimal> expected;
  std::uint64_t transfers = 0;
  for (std::uint64_t s = 1; s <= sequence; ++s) {
    const exchange::Execution e = stores.options.engine.stream.at(s);
    if (e.kind == exchange::EventKind::trade) continue;
    ++transfers;
    Decimal& sum = expected.try_emplace(std::string(exchange::currency_name(e.currency)), Decimal{0, exchange::money_scale}).first->second;
    sum = *add(sum, Decimal{e.amount, exchange::money_scale});
  }
  const exchange::Transfers known = CustodianClient(url).transfers();
  CHECK(known.open.empty());
  CHECK(known.counter == transfers);
  CHECK(holdings_at(url) == expected);
}

/// Stops the exchange as an operator would, so that nothing is on its way.
void require_stops(Child& exchange) {
  const int code = exchange.end(SIGTERM);
  INFO(exchange.output());
  REQUIRE(code == 0);
}

std::vector<std::string> custody_options(const Custodian& custodian) {
  return {"--deposit-every", std::to_string(deposit_seldom), "--custodian", custodian.url(), "--settle-ms", "20", "--batch", "50", "--rate", "500"};
}

}  // namespace

TEST_CASE("with no transfer open, holdings and earnings are the balances, whoever is killed") {
  Stores stores;
  stores.options.engine.stream.deposit_every = deposit_seldom;
  const Folder folder;
  Custodian custodian(folder);
  const auto command = stores.command(EXCHANGE_PROGRAM, custody_options(custodian));
  std::optional<Child> exchange;
  exchange.emplace(command, folder / "out");
  std::mt19937 random(11);
  const int kills_wanted = full() ? 60 : 10, asserted_wanted = full() ? 400 : 30;
  int asserted = 0, skipped = 0, kills = 0;
  std::vector<std::string> wrong;
  const auto until = std::chrono::steady_clock::now() + (full() ? 600s : 120s);
  // The token that it was killed over may move once more after its successor has read it; that one leaves, and is started again.
  int left = 0;
  const auto supervise = [&] {
    if (exchange->running()) return;
    ++left;
    exchange.reset();
    exchange.emplace(command, folder / "out");
  };
  auto next_kill = std::chrono::steady_clock::now() + 1s;
  while ((asserted < asserted_wanted || kills < kills_wanted) && std::chrono::steady_clock::now() < until) {
    try {
      const Verdict verdict = omnibus(stores, custodian.url());
      ++(verdict.asserted ? asserted : skipped);
      if (!verdict.wrong.empty()) wrong.push_back(verdict.wrong);
    } catch (const Failure& failure) {
      INFO(failure.message);
      REQUIRE((failure.retryable || failure.kind == Reason::connection));
    }
    supervise();
    std::this_thread::sleep_for(5ms);
    if (std::chrono::steady_clock::now() < next_kill) continue;
    next_kill = std::chrono::steady_clock::now() + std::chrono::milliseconds(200 + random() % 1'000);
    ++kills;
    if (random() % 2 == 0) {
      custodian.kill();
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 300));
      custodian.start(random() % 2 == 0 ? std::vector<std::string>{"--fail-next", "3"} : std::vector<std::string>{});
    } else {
      exchange->end(SIGKILL);
      exchange.reset();
      exchange.emplace(command, folder / "out");
    }
    // Left alone until it trades again, or a run of kills is all it ever sees.
    const std::uint64_t sequence = stores.token();
    const auto patience = std::chrono::steady_clock::now() + 20s;
    while (stores.token() == sequence && std::chrono::steady_clock::now() < patience) {
      supervise();
      std::this_thread::sleep_for(10ms);
    }
  }
  for (const std::string& each : wrong) UNSCOPED_INFO(each);
  CHECK(wrong.empty());
  CAPTURE(asserted, skipped, kills, left);
  CHECK(asserted >= asserted_wanted);
  CHECK(kills >= kills_wanted);
  CHECK(skipped > 0);  // it is seen that money is on its way
  require_stops(*exchange);
  const std::uint64_t sequence = stores.token();
  REQUIRE(sequence > deposit_seldom);
  require_arrived(stores, custodian.url(), sequence);
  const Verdict last = omnibus(stores, custodian.url());
  CHECK(last.asserted);
  CHECK(last.wrong.empty());

  // Money that nobody's events explain is seen, so the above means something.
  CustodianClient client(custodian.url());
  client.begin("stray-1", "CHF", "0.00000001");
  CHECK_FALSE(omnibus(stores, custodian.url()).asserted);
  client.complete("stray-1");
  CHECK(omnibus(stores, custodian.url()).wrong.substr(0, 3) == "CHF");
}

TEST_CASE("a custodian that comes late, or has lost its state, is told everything") {
  Stores stores;
  stores.options.engine.stream.deposit_every = deposit_every;
  const Folder folder;
  Custodian custodian(folder);
  {
    Venue venue(stores.options);  // without a custodian
    advance(venue, 1'000);
  }
  stores.options.custody = {.url = custodian.url(), .settle = 0ms};
  {
    Venue venue(stores.options);
    require_arrived(stores, custodian.url(), 1'000);
    advance(venue, 1'200);
    REQUIRE(venue.drain());
  }
  require_arrived(stores, custodian.url(), 1'200);
  custodian.kill();
  REQUIRE(::truncate(custodian.state().c_str(), 0) == 0);
  custodian.start();
  const Venue again(stores.options);
  require_arrived(stores, custodian.url(), 1'200);
}

TEST_CASE("a transfer begins before its batch may commit, and stays open until it has") {
  Stores stores;
  stores.options.engine.stream.deposit_every = deposit_every;
  const Folder folder;
  Custodian custodian(folder);
  stores.options.custody = {.url = custodian.url(), .settle = 0ms, .patience = 500ms};
  stores.options.engine.batch = 350;  // two transfers
  stores.options.engine.crash_at = exchange::CrashPoint::after_positions, stores.options.engine.crash_from = 1;
  {
    Venue venue(stores.options);
    REQUIRE_THROWS_AS(advance(venue, 1'000), exchange::Crashed);
  }
  CHECK(stores.token() == 0);
  CustodianClient client(custodian.url());
  CHECK(client.transfers().open == std::vector<std::string>{"transfer-150", "transfer-300"});
  stores.options.engine.crash_at = exchange::CrashPoint::none;
  {
    // What its predecessor left behind commits first: a venue never rests while money is on its way to a batch that has not.
    Venue venue(stores.options);
    venue.rest(10s);
    CHECK(venue.quiet());
    venue.wake();
  }
  CHECK(client.transfers().open.empty());
  require_arrived(stores, custodian.url(), 350);
  // Without its custodian the exchange does not take money on its word.
  custodian.kill();
  const auto held_up = [&] {
    try {
      Venue venue(stores.options);
      advance(venue, 1'000);
    } catch (const Failure& failure) {
      return failure.retryable;
    }
    return false;
  };
  CHECK(held_up());
  CHECK(stores.token() == 350);
}

TEST_CASE("with a transfer open at a custodian that is away, nobody says that the exchange is drained") {
  Stores stores;
  stores.options.engine.stream.deposit_every = deposit_every;
  stores.options.engine.batch = 50;
  const Folder folder;
  Custodian custodian(folder);
  stores.options.custody = {.url = custodian.url(), .settle = 500ms, .patience = 500ms};
  Venue venue(stores.options);
  advance(venue, deposit_every);
  custodian.kill();
  const std::string vault = process::contents(custodian.state());
  REQUIRE(vault.find("begin transfer-150") != std::string::npos);
  REQUIRE(vault.find("complete") == std::string::npos);

  // Asked again and again, past the moment at which the transfer was due.
  for (const auto until = std::chrono::steady_clock::now() + 2s; std::chrono::steady_clock::now() < until;) {
    venue.rest(50ms);
    REQUIRE_FALSE(venue.quiet());
    REQUIRE(stores.ask_ledger("SELECT count(*) FROM quiet_windows WHERE drained IS NOT NULL") == "0");
  }
  REQUIRE(stores.ask_ledger("SELECT count(*) FROM quiet_windows WHERE ended IS NULL") == "1");  // it has been asked, and stands still
  CHECK(stores.token() == deposit_every);
  CHECK_FALSE(venue.drain(50ms));

  custodian.start();
  for (const auto until = std::chrono::steady_clock::now() + 60s; !venue.quiet() && std::chrono::steady_clock::now() < until;) venue.rest(1s);
  REQUIRE(venue.quiet());
  CHECK(stores.ask_ledger("SELECT count(*) FROM quiet_windows WHERE drained IS NOT NULL AND ended IS NULL") == "1");
  require_arrived(stores, custodian.url(), deposit_every);
  venue.wake();
}
