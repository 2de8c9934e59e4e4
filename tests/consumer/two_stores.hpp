// A ledger and its follower in memory, one event each; with `lie` the follower's amount is another.
#pragma once

#include <epochcut/epochcut.hpp>
#include <epochcut/source/memory.hpp>

inline epochcut::Outcome two_stores(bool lie) {
  using namespace epochcut;
  const Decimal amount{lie ? 1251 : 1250, 2};
  // region: first_check
  Memory ledger{"ledger"}, analytics{"analytics"};

  // The analytics store holds one event of sequence 1: 12.50 EUR.
  Relation transactions;
  transactions.add("event_id", Role::value, Type::uint64).column.append(std::uint64_t{1 << 8});
  transactions.add("currency", Role::value, Type::text).column.append("EUR");
  transactions.add("amount", Role::value, Type::decimal, 2).column.append(amount);
  analytics.create("transactions", transactions);
  analytics.insert("transactions", transactions);

  // The ledger commits its state together with the token: the epoch, and the digest of every event id up to it.
  Relation balances;
  balances.add("currency", Role::value, Type::text).column.append("EUR");
  balances.add("amount", Role::value, Type::decimal, 2).column.append(Decimal{1250, 2});
  Token token{.stream = {.id = "trade_engine"}, .epoch = {.sequence = 1}, .relations = {{"transactions", digest_of_event_id(1 << 8)}}};
  ledger.commit(token, {{"balances", balances}});

  const Invariant invariant{.id = "transactions-balance-live",
                            .left = {ledger, current("balances").by("currency").sum("amount")},
                            .right = {analytics, events("transactions").by("currency").sum("amount")}};
  return check(ledger, invariant);  // pass
  // end
}
