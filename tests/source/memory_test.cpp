#include <epochcut/source/memory.hpp>

#include <thread>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
std::uint64_t visible(Exchange& x, std::uint64_t sequence = 1'000) {
  return x.analytics.visible("transactions", as_of(x.token.stream, {sequence, 0}), {.clock = &x.clock}).count;
}
}  // namespace

TEST_CASE("rows become visible at their scripted time, each batch whole") {
  Exchange x;
  x.publish({three[0]});
  x.publish({three[1], three[2]}, Millis{100});
  x.publish({{4, "EUR", 1}}, Millis{50});  // later issued, sooner visible
  CHECK(visible(x) == 1);
  x.clock.advance(Millis{50});
  CHECK(visible(x) == 2);
  x.clock.advance(Millis{49});
  CHECK(visible(x) == 2);
  x.clock.advance(Millis{1});
  CHECK(visible(x) == 4);
}

TEST_CASE("visible counts up to the epoch and names the newest of all") {
  Exchange x;
  x.publish(three);
  const Visible seen = x.analytics.visible("transactions", as_of(x.token.stream, {2, 0}), {.clock = &x.clock});
  CHECK(seen.count == 2);
  CHECK(seen.newest == three[2].id());
  CHECK(seen.server.name == "analytics");
}

TEST_CASE("state and token change in one step, and a snapshot reads them together") {
  Exchange x;
  std::atomic<bool> stop{false};
  std::atomic<int> snapshots{0};
  std::thread writer([&] {  // on a busy machine it would be done before the first snapshot
    for (std::uint64_t sequence = 1; sequence < 3'000 || (sequence < 1'000'000 && snapshots < 10); ++sequence) x.commit({{sequence, "EUR", 1}});
    stop = true;
  });
  const std::vector<QueryPlan> plans = {current("balances").sum("amount").plan(), current("balances").by("currency").sum("amount").plan()};
  int torn = 0;
  while (!stop) {
    const Snapshot s = x.ledger.snapshot(std::span<const QueryPlan>(plans), Control{});
    const std::string total = s.relations[0].rows() == 0 ? "0.00" : to_string(s.relations[0].fields[0].column[0]);
    torn += total != to_string(Value(money(static_cast<std::int64_t>(s.token->epoch.sequence))));  // a cent an event
    torn += s.relations[0].rows() != s.relations[1].rows();
    torn += s.proofs[0].snapshot != s.token->epoch;
    ++snapshots;
  }
  writer.join();
  CHECK(torn == 0);
  CHECK(snapshots >= 10);
}

TEST_CASE("a relation that is not there is named, with the store") {
  Exchange x;
  const auto ask = [&] { x.analytics.open(events("absent").values("v").plan(), {}, Form::plain, {}); };
  CHECK(refusal(ask) == Reason::not_found);
  CHECK(contains(sentence(ask), "\"absent\""));
  CHECK(contains(sentence(ask), "analytics"));
  CHECK(refusal([&] { x.analytics.insert("absent", transactions({})); }) == Reason::not_found);
  CHECK(refusal([&] { x.analytics.about("absent", {}); }) == Reason::not_found);
}

TEST_CASE("planted failures are thrown once each, in order") {
  Exchange x;
  x.run(three);
  x.analytics.fail_next(Failure(Reason::connection, "one"), 2);
  x.analytics.fail_next(Failure(Reason::timeout, "two"));
  const auto ask = [&] { return refusal([&] { visible(x); }); };
  CHECK(ask() == Reason::connection);
  CHECK(ask() == Reason::connection);
  CHECK(ask() == Reason::timeout);
  CHECK(ask() == Reason::none);
}

TEST_CASE("acknowledgements are kept per authority and relation, the newest replaces") {
  Exchange x;
  const auto acked = [&](const char* authority, const char* relation) { return x.ledger.acknowledged(x.token, authority, relation, {}); };
  CHECK_FALSE(acked("production", "transactions"));
  x.acknowledge(5);
  x.acknowledge(7, "other");
  x.ledger.acknowledge("shadow", "transactions", {1, "shadow"});
  CHECK(acked("production", "transactions")->sequence == 7);
  CHECK(acked("production", "transactions")->server == "other");
  CHECK(acked("shadow", "transactions")->sequence == 1);
  CHECK_FALSE(acked("production", "positions"));
}

TEST_CASE("creating a relation again empties it, pending rows and all") {
  Exchange x;
  x.publish(three);
  x.publish({{4, "EUR", 1}}, Millis{10});
  x.analytics.create("transactions", transactions({}));
  x.clock.advance(Millis{100});
  CHECK(visible(x) == 0);
}

TEST_CASE("a cancelled or timed out control is refused before anything is read") {
  Exchange x;
  Cancel cancel;
  cancel.request();
  const Control cancelled{.clock = &x.clock, .cancel = &cancel}, late{.clock = &x.clock, .deadline = Millis{0}};
  for (const auto& [control, reason] : {std::pair{cancelled, Reason::cancelled}, std::pair{late, Reason::timeout}}) {
    CHECK(refusal([&] { x.analytics.open(sums().plan(), {}, Form::plain, control); }) == reason);
    CHECK(refusal([&] { x.analytics.visible("transactions", {}, control); }) == reason);
    CHECK(refusal([&] { x.ledger.snapshot({}, control); }) == reason);
  }
}
