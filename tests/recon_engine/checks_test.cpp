#include "recon_engine/checks.hpp"

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <epochcut/verdict/report.hpp>

#include "scripted_http.hpp"
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
  SECTION("a marked position too many: of the two questions the one speaks that can name the currency") {
    // A copy of a row under an id that the ledger never committed: the newest row of its key says what it said before, and the sum over the cycles is off.
    std::string currency;
    world.marked.alter("mark_pnl", [&](Relation& rows) {
      const Relation all = rows;
      std::size_t copied = 0;
      while (all.column("total_pnl")[copied].wide == 0) ++copied;
      currency = all.column("currency")[copied].text;
      rows.append_row(all, copied);
      Relation moved = rows.empty_copy();
      for (std::size_t row = 0; row < rows.rows(); ++row)
        for (auto& field : moved.fields) {
          const epochcut::Value cell = rows.column(field.name)[row];
          if (field.name == "event_id" && row + 1 == rows.rows())
            field.column.append(epochcut::evaluation::event_id(rows.column("event_id"), row) | ((std::uint64_t{1} << exchange::mark_leg_bits) - 1));
          else
            field.column.append(cell);
        }
      rows = std::move(moved);
    });
    const Outcome o = world.live("pnl-is-zero-sum");
    CHECK(o.status == Status::fail);
    CHECK(o.reason == Reason::extra_rows);
    CHECK(o.message.starts_with("all cycles: "));
    CHECK_THAT(o.message, Catch::Matchers::EndsWith("; newest cycle is fail: extra_rows"));
    REQUIRE(o.differences.size() == 1);
    CHECK(to_text(o.differences.front()).find(currency) != std::string::npos);
    world.be_quiet();
    CHECK(world.windowed("pnl-is-zero-sum").reason == Reason::differs);  // at rest nothing counts the rows
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

// --- the custodian over HTTP -----------------------------------------------------------------------------------------

namespace {

/// A custodian that tells the truth of a world, but for one request of each check: the first sample, the holdings, or the second sample.
struct Broken {
  Settled world;
  enum Place { nowhere, first_sample, holdings, second_sample };
  std::atomic<Place> place = nowhere;
  /// Set between two requests, and asked on the server's thread: one that was given up may still be at it.
  class Instead {
   public:
    template <class Answering>
    void operator=(Answering answering) {
      const std::lock_guard lock(mutex_);
      answering_ = std::move(answering);
    }
    scripted::Answer operator()(const std::string& truth) {
      const std::lock_guard lock(mutex_);
      return answering_(truth);
    }

   private:
    std::mutex mutex_;
    std::function<scripted::Answer(const std::string& truth)> answering_;
  } instead;
  std::atomic<int> samples = 0, broken = 0;
  std::string truth_of_transfers = "{\"open\":[],\"counter\":" + std::to_string(world.custodian.counter) + "}\n";
  std::string truth_of_holdings = [this] {
    std::string all;
    for (const auto& [currency, amount] : world.custodian.held)
      all += (all.empty() ? "" : ",") + std::string("{\"currency\":\"") + currency + "\",\"amount\":\"" + to_string(amount) + "\"}";
    return "{\"holdings\":[" + all + "]}\n";
  }();
  scripted::Http server{[this](const std::string& path) {
    const bool sample = path == "/transfers";
    const std::string& truth = sample ? truth_of_transfers : truth_of_holdings;
    const Place here = !sample ? holdings : ++samples == 1 ? first_sample : second_sample;
    if (here != place) return scripted::ok(truth);
    ++broken;
    return instead(truth);
  }};
  HttpCustodian custodian{server.url() + "/"};

  Outcome ask(HttpCustodian& asked, epochcut::CheckOptions how = options()) {
    samples = 0;
    auto stores = world.stores();
    stores.custodian = &asked;
    how.control.clock = &world.clock;
    return recon_engine::ask(*find_check("omnibus-balances-square-live"), stores, how);
  }
};

/// One sentence, and nothing that anybody could take for holdings or a verdict.
void is_clear_error(const Outcome& o, Reason reason) {
  INFO(epochcut::to_text(o));
  CHECK(o.status == Status::error);
  CHECK(to_string(o.reason) == to_string(reason));
  CHECK(o.message.find("custodian") != std::string::npos);
  CHECK(o.message.find('\n') == std::string::npos);
  CHECK(o.counts.equal == 0);
  CHECK(o.differences.empty());
}

std::string chunk(const std::string& text) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", text.size());
  return size + text + "\r\n";
}

const std::string chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
const std::string until_closed = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";

scripted::Answer status(const std::string& line, const std::string& body) {
  return {"HTTP/1.1 " + line + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body};
}

}  // namespace

TEST_CASE("a custodian whose answer breaks is an error, whichever of its answers it is, and the next run is clean") {
  Broken b;
  REQUIRE(b.ask(b.custodian).status == Status::pass);  // also of chunks, and of a body that ends with the connection
  b.place = Broken::holdings;
  b.instead = [](const std::string& truth) { return scripted::Answer{chunked + chunk(truth.substr(0, 9)) + chunk(truth.substr(9)) + "0\r\n\r\n"}; };
  REQUIRE(b.ask(b.custodian).status == Status::pass);
  b.instead = [](const std::string& truth) { return scripted::Answer{until_closed + truth}; };
  REQUIRE(b.ask(b.custodian).status == Status::pass);
  REQUIRE(b.broken == 2);

  using Text = const std::string&;
  struct Case {
    const char* what;
    Reason reason;
    std::function<scripted::Answer(Text)> instead;
  };
  const Case cases[] = {
      {"hangs up at once", Reason::connection, [](Text) { return scripted::Answer{}; }},
      {"breaks off in the headers", Reason::connection, [](Text) { return scripted::Answer{"HTTP/1.1 200 OK\r\nContent-Le"}; }},
      {"is no HTTP", Reason::connection, [](Text truth) { return scripted::Answer{truth}; }},
      {"breaks off in the body", Reason::connection,
       [](Text truth) { return scripted::Answer{scripted::ok(truth).bytes.substr(0, scripted::ok(truth).bytes.size() - 3)}; }},
      // All that can be read is the whole truth, and still it is not known to be.
      {"breaks off before the body's last byte, a line break", Reason::connection,
       [](Text truth) { return scripted::Answer{scripted::ok(truth).bytes.substr(0, scripted::ok(truth).bytes.size() - 1)}; }},
      {"breaks off within a chunk", Reason::connection, [](Text truth) { return scripted::Answer{chunked + chunk(truth).substr(0, 12)}; }},
      {"breaks off before the last chunk", Reason::connection, [](Text truth) { return scripted::Answer{chunked + chunk(truth)}; }},
      {"has a chunk of no size", Reason::connection, [](Text truth) { return scripted::Answer{chunked + "zz\r\n" + truth + "\r\n0\r\n\r\n"}; }},
      {"is cut off, and nothing says how long it was", Reason::schema,
       [](Text truth) { return scripted::Answer{until_closed + truth.substr(0, truth.size() - 3)}; }},
      {"says 500", Reason::connection, [](Text truth) { return status("500 Internal Server Error", truth); }},
      {"says 503", Reason::connection, [](Text truth) { return status("503 Service Unavailable", truth); }},
      {"says 404", Reason::connection, [](Text truth) { return status("404 Not Found", truth); }},
      {"says 204", Reason::connection, [](Text) { return status("204 No Content", ""); }},
      {"says 206", Reason::connection, [](Text truth) { return status("206 Partial Content", truth); }},
      {"leads elsewhere", Reason::connection, [](Text truth) { return status("302 Found\r\nLocation: http://127.0.0.1:1/", truth); }},
      {"is a page", Reason::schema,
       [](Text) { return status("200 OK", "<!doctype html><title>Sign in</title><p>{\"holdings\":[],\"open\":[],\"counter\":0}"); }},
      {"is empty", Reason::connection, [](Text) { return scripted::ok(""); }},
      {"is null", Reason::schema, [](Text) { return scripted::ok("null"); }},
      {"is of another form", Reason::schema, [](Text) { return scripted::ok("{}"); }},
      {"goes on after its end", Reason::schema, [](Text truth) { return scripted::ok(truth + truth); }},
      {"is too large", Reason::too_large, [](Text truth) { return scripted::ok(truth + std::string(custodian_bytes_max, ' ')); }},
      {"is too large, in chunks", Reason::too_large,
       [](Text truth) { return scripted::Answer{chunked + chunk(truth) + chunk(std::string(custodian_bytes_max, ' ')) + "0\r\n\r\n"}; }},
  };
  for (const Case& c : cases)
    for (const Broken::Place place : {Broken::first_sample, Broken::holdings, Broken::second_sample}) {
      INFO("the answer " << c.what << ", place " << place);
      b.instead = c.instead, b.place = place;
      const int before = b.broken;
      is_clear_error(b.ask(b.custodian), c.reason);
      CHECK(b.broken > before);
      b.place = Broken::nowhere;
      REQUIRE(b.ask(b.custodian).status == Status::pass);
    }
}

TEST_CASE("amounts that are none are an error, and amounts that are wrong are a fail") {
  Broken b;
  b.place = Broken::holdings;
  const auto with = [&](const std::string& list) {
    b.instead = [list](const std::string&) { return scripted::ok("{\"holdings\":" + list + "}"); };
    return b.ask(b.custodian);
  };
  for (const char* amount : {"12.5", "1e5", "null", "\"\"", "\"NaN\"", "\"1e5\"", "\"12,5\"", "\" 12\"", "\"0x10\"", "\"--1\"", "[\"1\"]",
                             "\"1234567890123456789012345678901234567890\""}) {
    INFO(amount);
    is_clear_error(with("[{\"currency\":\"CHF\",\"amount\":" + std::string(amount) + "}]"), Reason::schema);
  }
  is_clear_error(with("[{\"currency\":\"CHF\",\"amount\":\"1\"},{\"currency\":\"CHF\",\"amount\":\"1\"}]"), Reason::schema);
  is_clear_error(with("[{\"currency\":\"CHF\"}]"), Reason::schema);
  // Nothing held, though transfers have begun, is no answer; less held than is owed is one.
  is_clear_error(with("[]"), Reason::incomplete);
  const Outcome less = with("[{\"currency\":\"CHF\",\"amount\":\"0.00000001\"}]");
  CHECK(less.status == Status::fail);
  CHECK(less.reason == Reason::differs);
  CHECK_FALSE(less.differences.empty());
}

TEST_CASE("a custodian that does not answer in time, or is not there, is an error that may heal") {
  Broken b;
  const auto soon = [&] {
    epochcut::CheckOptions how = options();
    how.control.deadline = b.world.clock.now() + epochcut::Millis(200);  // by a clock that stands still: only the request itself takes time
    return how;
  };
  for (const Broken::Place place : {Broken::first_sample, Broken::holdings, Broken::second_sample}) {
    b.place = place;
    for (const scripted::Answer& answer : {scripted::Answer{"", true}, scripted::Answer{"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", true},
                                           scripted::Answer{scripted::ok(std::string(200, ' ')).bytes, false, 20}}) {
      b.instead = [&](const std::string&) { return answer; };
      const Outcome o = b.ask(b.custodian, soon());
      is_clear_error(o, Reason::connection);
      CHECK(o.retryable);
    }
  }
  // Somebody ends the check in the middle of a request.
  b.instead = [](const std::string&) { return scripted::Answer{"", true}; };
  epochcut::Cancel cancel;
  epochcut::CheckOptions how = options();
  how.control.cancel = &cancel;
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    cancel.request();
  });
  const Outcome cancelled = b.ask(b.custodian, how);
  ends.join();
  CHECK(cancelled.status == Status::error);
  CHECK(cancelled.reason == Reason::cancelled);

  b.place = Broken::nowhere;
  HttpCustodian nobody("http://127.0.0.1:1");
  const Outcome o = b.ask(nobody);
  is_clear_error(o, Reason::connection);
  CHECK(o.retryable);
  CHECK_THROWS_AS(HttpCustodian("file:///etc/passwd"), epochcut::Failure);
}
