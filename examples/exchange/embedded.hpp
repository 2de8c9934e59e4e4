// What if the whole exchange ran inside one process?
// The same stream and fold, written into memory stores: ledger, analytics and a shadow of it, each late in its own way. For the demo
// without servers and for development; nothing is proved by it alone. Rows are issued before the token, and become visible up to 300 ms later.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <epochcut/source/memory.hpp>

#include "exchange/fold.hpp"

namespace exchange {

struct EmbeddedOptions {
  ExecutionStream stream{};
  std::uint64_t batch = 20;               ///< executions in one commit
  std::chrono::milliseconds period{40};   ///< between two commits
  std::uint64_t visibility_lag_ms = 300;  ///< the latest that a row becomes visible
};

class EmbeddedExchange {
 public:
  epochcut::Memory ledger{"ledger"}, analytics{"analytics"}, shadow{"shadow"};

  explicit EmbeddedExchange(EmbeddedOptions options) : options_(options) {
    for (epochcut::Memory* store : {&analytics, &shadow}) {
      store->create("transactions", transaction_columns());
      store->create("positions", position_columns());
    }
    analytics.declare(std::string(stream_id), "production");
    shadow.declare(std::string(stream_id), "shadow");
    step();
    thread_ = std::jthread([this](std::stop_token stop) {
      for (auto next = std::chrono::steady_clock::now(); !stop.stop_requested(); std::this_thread::sleep_until(next += options_.period)) step();
    });
  }

  /// Adds 1 to the amount of the newest visible transaction of analytics; returns its currency.
  std::string corrupt() {
    std::string currency;
    analytics.alter("transactions", [&](epochcut::Relation& rows) {
      if (rows.rows() == 0) throw std::runtime_error("there is no transaction to corrupt yet");
      const std::size_t last = rows.rows() - 1;
      epochcut::Relation changed = rows.empty_copy();
      for (std::size_t row = 0; row < rows.rows(); ++row)
        for (std::size_t i = 0; i < rows.fields.size(); ++i) {
          epochcut::Value cell = rows.fields[i].column[row];
          if (row == last && rows.fields[i].name == "amount") cell.wide += epochcut::power_of_ten(money_scale);
          changed.fields[i].column.append(cell);
        }
      currency = to_string(rows.column("currency")[last]);
      rows = std::move(changed);
    });
    return currency;
  }

 private:
  static epochcut::Relation transaction_columns() {
    using epochcut::Role, epochcut::Type;
    epochcut::Relation r;
    r.add("event_id", Role::key, Type::uint64), r.add("account", Role::value, Type::text), r.add("kind", Role::value, Type::text);
    r.add("currency", Role::value, Type::text), r.add("amount", Role::value, Type::decimal, money_scale);
    return r;
  }
  static epochcut::Relation position_columns() {
    using epochcut::Role, epochcut::Type;
    epochcut::Relation r;
    r.add("event_id", Role::key, Type::uint64), r.add("account", Role::value, Type::text), r.add("instrument", Role::value, Type::text);
    r.add("currency", Role::value, Type::text), r.add("quantity", Role::value, Type::int64);
    r.add("cost", Role::value, Type::decimal, money_scale), r.add("realized_pnl", Role::value, Type::decimal, money_scale);
    r.add("last_note", Role::value, Type::text);
    return r;
  }

  static epochcut::Decimal money(Int128 unscaled) { return {unscaled, money_scale}; }

  void step() {
    rows_.clear();
    for (std::uint64_t i = 0; i < options_.batch; ++i) fold_.apply(options_.stream.at(fold_.books().sequence + 1), rows_);
    epochcut::Relation transactions = transaction_columns(), positions = position_columns();
    for (const TransactionRow& row : rows_.transactions) {
      auto& f = transactions.fields;
      f[0].column.append(row.event_id), f[1].column.append(std::string_view(account_name(row.account)));
      f[2].column.append(transaction_kind_names[static_cast<std::size_t>(row.kind)]), f[3].column.append(currency_name(row.currency));
      f[4].column.append(money(row.amount));
    }
    for (const PositionRow& row : rows_.positions) {
      auto& f = positions.fields;
      f[0].column.append(row.event_id), f[1].column.append(std::string_view(account_name(row.account)));
      f[2].column.append(std::string_view(instrument_name(row.instrument))), f[3].column.append(currency_name(row.currency));
      f[4].column.append(row.quantity), f[5].column.append(money(row.cost)), f[6].column.append(money(row.realized_pnl));
      row.last_note ? f[7].column.append(*row.last_note) : f[7].column.append_null();
    }
    for (epochcut::Memory* store : {&analytics, &shadow}) {
      store->insert("transactions", transactions, late());
      store->insert("positions", positions, late());
    }
    commit();
  }

  void commit() {
    using epochcut::Role, epochcut::Type;
    const Books& books = fold_.books();
    epochcut::Relation balances;
    balances.add("account", Role::key, Type::text), balances.add("currency", Role::key, Type::text);
    balances.add("amount", Role::value, Type::decimal, money_scale);
    for (int a = 0; a < account_count; ++a)
      for (int c = 0; c < currency_count; ++c) {
        balances.fields[0].column.append(std::string_view(account_name(a)));
        balances.fields[1].column.append(currency_name(c));
        balances.fields[2].column.append(money(books.balances[static_cast<std::size_t>(a)][static_cast<std::size_t>(c)]));
      }
    epochcut::Token token{.stream = {.id = std::string(stream_id), .leg_bits = leg_bits},
                          .epoch = {books.sequence, books.execution_ns},
                          .relations = {{"transactions", books.transactions}, {"positions", books.positions}}};
    ledger.commit(std::move(token), {{"balances", std::move(balances)}});
  }

  epochcut::Millis late() { return epochcut::Millis(epochcut::mix(++draws_) % (options_.visibility_lag_ms + 1)); }

  EmbeddedOptions options_;
  Fold fold_;
  Rows rows_;
  std::uint64_t draws_ = 0;
  std::jthread thread_;  // last: it stops before what it uses goes
};

}  // namespace exchange
