#include "recon_engine/checks.hpp"

#include <epochcut/verdict/report.hpp>

#include "simulated.hpp"
#include "support/catch.hpp"

using namespace recon_engine;
using epochcut::Outcome;
using epochcut::Reason;
using epochcut::Relation;
using epochcut::Status;
using simulated::World;

namespace {

/// Short waits: in memory a store is late by seconds or for ever.
epochcut::CheckOptions options() { return {.horizon = {.budget = epochcut::Millis(10'000), .max_visibility_lag = epochcut::Millis(3'000)}, .values_max = 16}; }

/// A hundred events, forty cycles' worth of positions, and everything settled.
struct Settled : World {
  Settled() {
    for (int i = 0; i < 50; ++i) step();
    settle();
    for (const CheckInfo& info : all_checks) ask(info.id, options());  // what is late comes to stand in its table when it is read
  }
  Outcome live(const std::string& invariant) { return ask(invariant + "-live", options()); }
  Outcome windowed(const std::string& invariant) { return ask(invariant, options()); }
  void be_quiet() {
    rest();
    clock.sleep(epochcut::Millis(120'000));
  }
};

std::size_t newest(const Relation& rows) { return rows.rows() - 1; }
std::size_t oldest(const Relation&) { return 0; }

const std::string invariants[] = {"transactions-balance", "position-realized-pnls-balance", "pnl-is-zero-sum", "omnibus-balances-square"};

}  // namespace

TEST_CASE("all four invariants hold, at a cut and at rest, and what was compared is kept") {
  Settled world;
  for (const std::string& invariant : invariants) {
    const Outcome o = world.live(invariant);
    INFO(epochcut::to_text(o));
    CHECK(o.status == Status::pass);
    CHECK_FALSE(o.unsynchronised);
    CHECK(o.id == invariant + "-live");
    REQUIRE(o.epoch);
    CHECK(o.epoch->sequence == (invariant == "pnl-is-zero-sum" ? 5 : 100));
    CHECK(o.stream == (invariant == "pnl-is-zero-sum" ? "mark_cycles" : "trade_engine"));
    CHECK(o.counts.equal > 0);
    CHECK_FALSE(o.left.values.empty());
  }
  world.be_quiet();
  for (const std::string& invariant : invariants) {
    const Outcome o = world.windowed(invariant);
    INFO(epochcut::to_text(o));
    CHECK(o.status == Status::pass);
    CHECK(o.unsynchronised);
    CHECK(o.id == invariant);
  }
}

TEST_CASE("twins ask the same question, and different invariants different ones") {
  Settled world;
  world.be_quiet();
  std::set<std::string> hashes;
  for (const std::string& invariant : invariants) {
    const Run live = run_of(world.live(invariant)), windowed = run_of(world.windowed(invariant));
    CHECK(live.query_hash == windowed.query_hash);
    hashes.insert(live.query_hash);
  }
  CHECK(hashes.size() == 4);
}

TEST_CASE("while rows are late, and while trading goes on, nothing fails") {
  World world;
  world.trade_every(epochcut::Millis(1'000));
  world.clock.sleep(epochcut::Millis(30'000));
  int passed = 0;
  for (int i = 0; i < 40; ++i) {
    world.clock.sleep(epochcut::Millis(3'700));
    for (const std::string& invariant : invariants) {
      const Outcome o = world.ask(invariant + "-live", options());
      INFO(epochcut::to_text(o));
      CHECK((o.status == Status::pass || (o.status == Status::skipped && o.reason == Reason::precondition && invariant == "omnibus-balances-square")));
      passed += o.status == Status::pass;
    }
  }
  CHECK(passed >= 120);
}

TEST_CASE("a break fails in the check whose invariant it breaks, read in either way") {
  Settled world;
  const auto expect = [&](const std::string& broken, Reason reason) {
    for (const bool quiet : {false, true}) {
      if (quiet) world.be_quiet();
      const Outcome o = quiet ? world.windowed(broken) : world.live(broken);
      INFO(epochcut::to_text(o));
      CHECK(o.status == Status::fail);
      CHECK(o.reason == reason);
      CHECK_FALSE(o.differences.empty());
    }
  };
  SECTION("a changed transaction") {
    simulated::change(world.analytics, "transactions", "amount", 1, newest);
    expect("transactions-balance", Reason::differs);
  }
  SECTION("a changed position") {
    // The last row of a position is the one that counts.
    simulated::change(world.analytics, "positions", "realized_pnl", 1, newest);
    expect("position-realized-pnls-balance", Reason::differs);
  }
  SECTION("a marked position of the newest cycle") {
    simulated::change(world.marked, "mark_pnl", "total_pnl", -1, newest);
    expect("pnl-is-zero-sum", Reason::differs);
  }
  SECTION("a marked position of an old cycle") {
    simulated::change(world.marked, "mark_pnl", "total_pnl", 1, oldest);
    expect("pnl-is-zero-sum", Reason::differs);
    CHECK(world.live("pnl-is-zero-sum").message.starts_with("all cycles: "));
  }
  SECTION("two marked positions that make up for each other over the cycles") {
    const auto currency_at = [&](std::size_t row) {
      std::string name;
      world.marked.alter("mark_pnl", [&](Relation& rows) { name = rows.column("currency")[row].text; });
      return name;
    };
    std::size_t last = 0;
    world.marked.alter("mark_pnl", [&](Relation& rows) { last = rows.rows() - 1; });
    std::size_t first = 0;
    while (currency_at(first) != currency_at(last)) ++first;
    simulated::change(world.marked, "mark_pnl", "total_pnl", 5, [&](const Relation&) { return first; });
    simulated::change(world.marked, "mark_pnl", "total_pnl", -5, [&](const Relation&) { return last; });
    expect("pnl-is-zero-sum", Reason::differs);
    CHECK(world.live("pnl-is-zero-sum").message.starts_with("newest cycle: "));
  }
  SECTION("the custodian holds a little less") {
    world.custodian.held.begin()->second.unscaled -= 1;
    expect("omnibus-balances-square", Reason::differs);
  }
  SECTION("the custodian holds a currency that nobody is owed") {
    world.custodian.held["XAU"] = {1, 8};
    expect("omnibus-balances-square", Reason::differs);
  }
}

TEST_CASE("the rows of a replayed batch count once, in either reading, unless they differ") {
  Settled world;
  for (const auto& [store, relation] :
       {std::pair{&world.analytics, "transactions"}, std::pair{&world.analytics, "positions"}, std::pair{&world.marked, "mark_pnl"}})
    store->alter(relation, [](Relation& rows) {
      const Relation copy = rows;
      for (std::size_t row = copy.rows() / 2; row < copy.rows(); ++row) rows.append_row(copy, row);
    });
  for (const bool quiet : {false, true}) {
    if (quiet) world.be_quiet();
    for (const std::string& invariant : invariants) {
      const Outcome o = quiet ? world.windowed(invariant) : world.live(invariant);
      INFO(epochcut::to_text(o));
      CHECK(o.status == Status::pass);
    }
  }
  simulated::change(world.analytics, "transactions", "amount", 1, newest);
  CHECK(world.live("transactions-balance").reason == Reason::conflicting_rows);
  CHECK(world.windowed("transactions-balance").reason == Reason::conflicting_rows);
}

TEST_CASE("what is truncated or empty never passes") {
  SECTION("an exchange that has not begun") {
    World world;
    for (const std::string& invariant : invariants) CHECK(world.ask(invariant + "-live", options()).status == Status::skipped);
    world.rest();
    world.clock.sleep(epochcut::Millis(120'000));
    for (const std::string& invariant : invariants) {
      const Outcome o = world.ask(invariant, options());
      CHECK(o.status == Status::skipped);
      CHECK((o.reason == Reason::empty || o.reason == Reason::nothing_selected));
    }
  }
  SECTION("mark_pnl is gone") {
    Settled world;
    world.marked.alter("mark_pnl", [](Relation& rows) { rows = rows.empty_copy(); });
    const Outcome o = world.live("pnl-is-zero-sum");
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::horizon_not_proven);
    world.marks.acknowledge("production", "mark_pnl", {1'000, "marked"});
  }
  SECTION("a whole cycle is gone: what is left adds up to nothing") {
    Settled world;
    world.marked.alter("mark_pnl", [](Relation& rows) {
      Relation kept = rows.empty_copy();
      for (std::size_t row = 0; row < rows.rows(); ++row)
        if (epochcut::evaluation::event_id(rows.column("event_id"), row) >> exchange::mark_leg_bits != 3) kept.append_row(rows, row);
      rows = std::move(kept);
    });
    CHECK(world.live("pnl-is-zero-sum").status == Status::error);
  }
  SECTION("all that the analytics store has is gone") {
    Settled world;
    for (const char* relation : {"transactions", "positions"}) world.analytics.alter(relation, [](Relation& rows) { rows = rows.empty_copy(); });
    for (const std::string& invariant : {invariants[0], invariants[1], invariants[3]}) CHECK(world.live(invariant).status == Status::error);
    world.be_quiet();
    CHECK(world.windowed("transactions-balance").status == Status::fail);
  }
}

TEST_CASE("a store that is down is an error, never a fail and never a skip") {
  Settled world;
  for (bool* down : {&world.ledger_down, &world.analytics_down}) {
    *down = true;
    for (const CheckInfo& info : all_checks) {
      if (!info.live && down == &world.analytics_down) continue;  // not in a quiet window: not even read
      const Outcome o = world.ask(info.id, options());
      INFO(epochcut::to_text(o));
      CHECK(o.status == Status::error);
      CHECK(o.reason == Reason::connection);
      CHECK(o.retryable);
    }
    *down = false;
  }
  world.custodian.down = true;
  CHECK(world.live("omnibus-balances-square").status == Status::error);
  CHECK(world.live("transactions-balance").status == Status::pass);
}

TEST_CASE("the omnibus check asserts nothing while a transfer is on its way") {
  Settled world;
  SECTION("one is open, and even a difference says nothing") {
    world.custodian.open.insert(7);
    world.custodian.held.begin()->second.unscaled += 1;
    const Outcome o = world.live("omnibus-balances-square");
    CHECK(o.status == Status::skipped);
    CHECK(o.reason == Reason::precondition);
  }
  SECTION("one begins and ends during the reads") {
    world.analytics_store.on_open = [&] {
      ++world.custodian.counter;
      world.custodian.held.begin()->second.unscaled += 1;
    };
    CHECK(world.live("omnibus-balances-square").status == Status::skipped);
  }
  SECTION("no custodian is configured") {
    auto stores = world.stores();
    stores.custodian = nullptr;
    const Outcome o = ask(*find_check("omnibus-balances-square-live"), stores, options());
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::configuration);
  }
}

TEST_CASE("at rest nothing is asserted outside a drained quiet window") {
  Settled world;
  const auto precondition = [&](const std::string& invariant) {
    const Outcome o = world.windowed(invariant);
    INFO(epochcut::to_text(o));
    CHECK(o.status == Status::skipped);
    CHECK(o.reason == Reason::precondition);
    CHECK(o.left.values.empty());
    CHECK(o.differences.empty());
  };
  SECTION("none has begun") {
    for (const std::string& invariant : invariants) precondition(invariant);
  }
  SECTION("it is not drained yet, or has ended") {
    world.rest();
    for (const std::string& invariant : invariants) precondition(invariant);
    world.clock.sleep(epochcut::Millis(120'000));
    CHECK(world.windowed(invariants[0]).status == Status::pass);
    world.wake();
    for (const std::string& invariant : invariants) precondition(invariant);
  }
  SECTION("it ends during the reads, and what was found then is no fail") {
    world.be_quiet();
    simulated::change(world.analytics, "transactions", "amount", 1, newest);
    world.analytics_store.on_open = [&] { world.wake(); };
    precondition("transactions-balance");
  }
  SECTION("another one begins during the reads") {
    world.be_quiet();
    world.analytics_store.on_open = [&] {
      world.wake();
      world.be_quiet();
    };
    precondition("transactions-balance");
  }
}

TEST_CASE("a custodian's answer is what it documents, or it is an error") {
  const auto holdings = parse_holdings(R"({"holdings":[{"currency":"CHF","amount":"12.00000000"},{"currency":"EUR","amount":"-0.00000001"}]})");
  REQUIRE(holdings.size() == 2);
  CHECK(holdings[0].currency == "CHF");
  CHECK(holdings[0].amount == epochcut::Decimal{12, 0});
  CHECK(holdings[1].amount == epochcut::Decimal{-1, 8});
  CHECK(parse_holdings(R"({"holdings":[]})").empty());
  for (const char* bad : {"", "[]", "{}", "{\"holdings\":{}}", "{\"holdings\":[{\"currency\":\"CHF\"}]}",
                          "{\"holdings\":[{\"currency\":\"CHF\",\"amount\":12}]}", "{\"holdings\":[{\"currency\":\"CHF\",\"amount\":\"1e3\"}]}",
                          "{\"holdings\":[{\"currency\":\"\",\"amount\":\"1\"}]}", "{\"holdings\":[{\"currency\":\"CHF\",\"amount\":\"\"}]}",
                          "{\"holdings\":[1]}", "{\"holdings\":[{\"currency\":\"CHF\",\"amount\":\"1\"},{\"currency\":\"CHF\",\"amount\":\"1\"}]}",
                          "{\"holdings\":[],\"holdings\":[]}", "{\"holdings\":[]", "{\"holdings\":[]} ."}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_holdings(bad), epochcut::Failure);
  }
  const epochcut::InFlight flight = parse_transfers(R"({"open":["a","b"],"counter":17})");
  CHECK(flight.open == 2);
  CHECK(flight.counter == 17);
  for (const char* bad : {"{\"open\":[]}", "{\"counter\":1}", "{\"open\":0,\"counter\":1}", "{\"open\":[],\"counter\":-1}", "{\"open\":[],\"counter\":\"1\"}",
                          "{\"open\":[],\"counter\":1.5}", "null"}) {
    INFO(bad);
    CHECK_THROWS_AS(parse_transfers(bad), epochcut::Failure);
  }
}
