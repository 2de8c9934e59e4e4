// A small exchange in memory for unit tests: a ledger of balances with its token, and an analytics store of transactions.
// What is true is decided by the test that calls it; nothing here judges.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/source/memory.hpp>
#include <epochcut/testing/manual_clock.hpp>
#include <epochcut/verdict/check.hpp>

#include "testing/tables.hpp"

namespace small_exchange {

using namespace tables;
using epochcut::testing::ManualClock;

struct Event {
  std::uint64_t sequence;
  const char* currency;
  std::int64_t cents;
  std::uint64_t leg = 0;
  std::int64_t ns = 0;
  std::uint64_t id() const { return sequence << 8 | leg; }
};
using Events = std::vector<Event>;

inline Relation transactions(const Events& events) {
  Relation t = table({{"event_id", Role::key, Type::uint64},
                      {"currency", Role::value, Type::text},
                      {"amount", Role::value, Type::decimal, 2},
                      {"execution_ns", Role::value, Type::int64}});
  for (const Event& e : events) {
    t.fields[0].column.append(Value(e.id()));
    t.fields[1].column.append(Value(e.currency));
    t.fields[2].column.append(Value(money(e.cents)));
    t.fields[3].column.append(Value(e.ns));
  }
  return t;
}

inline Query balances() { return current("balances").by("currency").sum("amount"); }
inline Query sums() { return events("transactions").by("currency").sum("amount"); }

struct Exchange {
  ManualClock clock;
  Memory ledger{"ledger", clock}, analytics{"analytics", clock};
  std::map<std::string, std::int64_t> cents;  ///< per currency, as the ledger has folded them
  Token token = first_token();
  bool digests = true;  ///< false: a ledger that carries none, for the weaker witnesses

  Exchange() {
    analytics.create("transactions", transactions({}));
    commit({});
  }

  static Token first_token() {
    Token token;
    token.stream.id = "trade_engine";
    token.relations = {{"transactions", {}}};
    return token;
  }

  /// The writer's first half: rows go to the analytics store.
  void publish(const Events& events, Millis delay = Millis{0}) { analytics.insert("transactions", transactions(events), delay); }

  /// The second: balances and token in one transaction.
  void commit(const Events& events) {
    for (const Event& e : events) {
      cents[e.currency] += e.cents;
      token.epoch = {e.sequence, e.ns};
      token.relations[0].ids += digest_of_event_id(e.id());
    }
    store();
  }
  void store() {
    Relation rows = table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}});
    for (const auto& [currency, amount] : cents) {
      rows.fields[0].column.append(Value(std::string_view(currency)));
      rows.fields[1].column.append(Value(money(amount)));
    }
    Token stored = token;
    if (!digests) stored.relations.clear();
    ledger.commit(stored, {{"balances", rows}});
  }
  void run(const Events& events, Millis delay = Millis{0}) { publish(events, delay), commit(events); }

  void acknowledge(std::uint64_t sequence, const char* server = "analytics") { ledger.acknowledge("production", "transactions", {sequence, server}); }

  /// Removes every visible row that `which` is true of.
  template <class Which>
  void remove(Which which) {
    analytics.alter("transactions", [&](Relation& rows) {
      Relation kept = rows.empty_copy();
      for (std::size_t row = 0; row < rows.rows(); ++row)
        if (!which(rows.column("event_id").words()[row])) kept.append_row(rows, row);
      rows = kept;
    });
  }

  Invariant invariant() { return {.id = "balances", .left = {ledger, balances()}, .right = {analytics, sums()}}; }
  CheckOptions options() { return {.control = {.clock = &clock}}; }
  Outcome check() { return check(invariant()); }
  Outcome check(const Invariant& i) { return epochcut::check(ledger, i, options()); }
};

inline const Events three = {{1, "EUR", 1000}, {2, "USD", 500}, {3, "EUR", -250}};

/// A source around a Memory that tells of every call before it is made: to fail, to look, or to let the world move on.
struct Hooked {
  Memory* memory;
  std::function<void(std::string_view call)> before = [](std::string_view) {};
  std::function<void(Proof&, Relation&)> after = [](Proof&, Relation&) {};

  AnyCursor open(const QueryPlan& plan, const AsOf& at, Form form, const Control& control) {
    before("open");
    AnyCursor cursor = memory->open(plan, at, form, control);
    Relation rows;
    cursor->next(rows);
    Proof proof = cursor->proof();
    after(proof, rows);
    return AnyCursor(new RelationCursor(std::move(rows), std::move(proof)));
  }
  Visible visible(const std::string& relation, const AsOf& at, const Control& control) {
    before("visible");
    return memory->visible(relation, at, control);
  }
  FollowerInfo about(const std::string& relation, const Control& control) {
    before("about");
    return memory->about(relation, control);
  }
  Snapshot snapshot(std::span<const QueryPlan> plans, const Control& control) {
    before("snapshot");
    return memory->snapshot(plans, control);
  }
  AnyHeld hold(std::span<const QueryPlan> plans, const Control& control) {
    before("hold");
    return memory->hold(plans, control);
  }
  std::optional<Acknowledged> acknowledged(const Token& token, const std::string& authority, const std::string& relation, const Control& control) {
    before("acknowledged");
    return memory->acknowledged(token, authority, relation, control);
  }
};
static_assert(Readable<Hooked> && Holder<Hooked>);

}  // namespace small_exchange
