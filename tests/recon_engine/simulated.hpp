// An exchange on a clock that tests move: ledger, analytics store, mark cycles and a custodian in memory, written while a check waits. The same fold as the
// real one's, so that what must hold holds by construction; every row becomes visible late, a transfer takes its time, and any store can be down.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/operate/instant.hpp>
#include <epochcut/source/memory.hpp>

#include "exchange/fold.hpp"
#include "exchange/marks.hpp"
#include "recon_engine/checks.hpp"
#include "recon_engine/daemon.hpp"

namespace simulated {

using namespace epochcut;
using recon_engine::Holding;

/// Does what is due whenever somebody sleeps past it.
class TestClock final : public Clock {
 public:
  Millis now() const override { return now_; }
  void sleep(Millis duration) override { advance_to(now_ + duration); }
  void advance_to(Millis end) {
    while (!queue_.empty() && queue_.begin()->first <= end) {
      auto next = queue_.extract(queue_.begin());
      now_ = std::max(now_, next.key());
      next.mapped()();
    }
    now_ = std::max(now_, end);
  }
  void at(Millis when, std::function<void()> what) { queue_.emplace(when, std::move(what)); }

 private:
  Millis now_{0};
  std::multimap<Millis, std::function<void()>> queue_;
};

/// A store that can be down.
struct Flaky {
  Memory* store;
  const bool* down;
  std::function<void()> on_open = [] {};

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    on_open();
    return up().open(plan, as_of, form, control);
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return up().visible(relation, as_of, control); }
  FollowerInfo about(const std::string& relation, const Control& control) { return up().about(relation, control); }
  Snapshot snapshot(std::span<const QueryPlan> plans, const Control& control) { return up().snapshot(plans, control); }
  std::optional<Acknowledged> acknowledged(const Token& token, const std::string& authority, const std::string& relation, const Control& control) {
    return up().acknowledged(token, authority, relation, control);
  }

 private:
  Memory& up() {
    if (*down) throw Failure(Reason::connection, "the store is down").poison();
    return *store;
  }
};

struct FakeCustodian final : recon_engine::Custodian {
  bool down = false;
  std::set<std::uint64_t> open;
  std::uint64_t counter = 0;
  std::map<std::string, Decimal> held;

  InFlight sample(const Control&) override {
    check();
    return {open.size(), counter};
  }
  std::vector<Holding> holdings(const Control&) override {
    check();
    std::vector<Holding> all;
    for (const auto& [currency, amount] : held) all.push_back({currency, amount});
    return all;
  }
  void check() const {
    if (down) throw Failure(Reason::connection, "the custodian is down").retry();
  }
};

class World {
 public:
  static constexpr int accounts = 4, instruments = 6, batch = 2, steps_a_cycle = 10;

  explicit World(std::uint64_t seed = 1) : stream_{.seed = seed, .deposit_every = 5}, random_(seed) {
    analytics.create("transactions", exchange_transactions());
    analytics.create("positions", exchange_positions());
    marked.create("mark_pnl", exchange_marks());
    analytics.declare("trade_engine", "production");
    marked.declare("mark_cycles", "production");
    commit();
    commit_cycle({});
  }

  TestClock clock;
  Memory ledger{"ledger", clock}, analytics{"analytics", clock}, marks{"marks", clock}, marked{"marked", clock};
  FakeCustodian custodian;
  bool ledger_down = false, analytics_down = false;
  std::uint64_t cycle = 0;
  Flaky ledger_store{&ledger, &ledger_down}, marks_store{&marks, &ledger_down};
  Flaky analytics_store{&analytics, &analytics_down}, marked_store{&marked, &analytics_down};

  recon_engine::Stores<Flaky, Flaky> stores() { return {&ledger_store, &analytics_store, &marks_store, &marked_store, &custodian}; }
  Outcome ask(std::string_view id, CheckOptions options = {}) {
    options.control.clock = &clock;
    return recon_engine::ask(*recon_engine::find_check(id), stores(), options);
  }

  /// Trades from now on: a batch about once in `period`.
  void trade_every(Millis period) {
    clock.at(clock.now() + period / 2 + Millis(below(static_cast<std::uint64_t>(period.count()))), [this, period] {
      step();
      trade_every(period);
    });
  }
  /// One batch, all the way to the end.
  void step() {
    if (quiet_) return;
    exchange::Rows rows;
    std::vector<std::uint64_t> begun;
    for (int i = 0; i < batch; ++i) {
      exchange::Execution e = stream_.at(fold_.books().sequence + 1);
      e.buyer %= accounts, e.seller %= accounts, e.instrument %= instruments;
      e.currency = static_cast<std::uint8_t>(exchange::currency_of(e.instrument));
      if (e.kind != exchange::EventKind::trade) {
        // The custodian has the money before the ledger may say so.
        Decimal& held = custodian.held[std::string(exchange::currency_name(e.currency))];
        held = *add(held, {e.amount, exchange::money_scale});
        custodian.open.insert(e.sequence), ++custodian.counter;
        begun.push_back(e.sequence);
      }
      fold_.apply(e, rows);
    }
    insert(rows);
    commit();
    for (const std::uint64_t id : begun) clock.at(clock.now() + Millis(2'000 + below(60'000)), [this, id] { custodian.open.erase(id); });
    if (++steps_ % steps_a_cycle == 0) {
      ++cycle;
      const auto marked_rows = exchange::mark_rows(cycle, fold_);
      commit_cycle(marked_rows);
    }
  }
  void settle() { custodian.open.clear(), clock.sleep(Millis(10'000)); }

  /// A quiet window begins; it is drained when everything is visible and settled.
  void rest() {
    quiet_ = true, ++window_;
    clock.at(clock.now() + Millis(70'000), [this] {
      drained_ = quiet_;
      commit();
    });
  }
  void wake() {
    quiet_ = drained_ = false;
    commit();
  }
  const exchange::Fold& fold() const { return fold_; }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

 private:
  static Relation exchange_transactions() {
    Relation r;
    r.add("event_id", Role::key, Type::uint64), r.add("account", Role::value, Type::text), r.add("instrument", Role::value, Type::text);
    r.add("kind", Role::value, Type::text), r.add("currency", Role::value, Type::text), r.add("amount", Role::value, Type::decimal, exchange::money_scale);
    return r;
  }
  static Relation exchange_positions() {
    Relation r;
    r.add("event_id", Role::key, Type::uint64), r.add("account", Role::value, Type::text), r.add("instrument", Role::value, Type::text);
    r.add("realized_pnl", Role::value, Type::decimal, exchange::money_scale);
    return r;
  }
  static Relation exchange_marks() {
    Relation r;
    r.add("event_id", Role::key, Type::uint64), r.add("account", Role::value, Type::text), r.add("instrument", Role::value, Type::text);
    r.add("currency", Role::value, Type::text), r.add("total_pnl", Role::value, Type::decimal, exchange::money_scale);
    return r;
  }
  static Decimal money(Int128 unscaled) { return {unscaled, exchange::money_scale}; }
  Millis late() { return Millis(below(3'000)); }

  void insert(const exchange::Rows& rows) {
    Relation transactions = exchange_transactions(), positions = exchange_positions();
    for (const exchange::TransactionRow& row : rows.transactions) {
      auto& f = transactions.fields;
      f[0].column.append(row.event_id), f[1].column.append(std::string_view(exchange::account_name(row.account)));
      f[2].column.append(std::string_view(row.instrument < 0 ? "" : exchange::instrument_name(row.instrument)));
      f[3].column.append(exchange::transaction_kind_names[static_cast<std::size_t>(row.kind)]), f[4].column.append(exchange::currency_name(row.currency));
      f[5].column.append(money(row.amount));
    }
    for (const exchange::PositionRow& row : rows.positions) {
      auto& f = positions.fields;
      f[0].column.append(row.event_id), f[1].column.append(std::string_view(exchange::account_name(row.account)));
      f[2].column.append(std::string_view(exchange::instrument_name(row.instrument))), f[3].column.append(money(row.realized_pnl));
    }
    analytics.insert("transactions", transactions, late());
    analytics.insert("positions", positions, late());
  }

  void commit() {
    const exchange::Books& books = fold_.books();
    Relation balances;
    balances.add("account", Role::key, Type::text), balances.add("currency", Role::key, Type::text);
    balances.add("amount", Role::value, Type::decimal, exchange::money_scale);
    if (books.sequence > 0)
      for (int a = 0; a < exchange::account_count; ++a)
        for (int c = 0; c < exchange::currency_count; ++c) {
          const Int128 amount = books.balances[static_cast<std::size_t>(a)][static_cast<std::size_t>(c)];
          if (a >= accounts && amount == 0) continue;
          balances.fields[0].column.append(std::string_view(exchange::account_name(a)));
          balances.fields[1].column.append(exchange::currency_name(c));
          balances.fields[2].column.append(money(amount));
        }
    Relation windows;
    windows.add("id", Role::key, Type::int64), windows.add("authority", Role::value, Type::text);
    windows.add("drained", Role::value, Type::timestamp_ns), windows.add("ended", Role::value, Type::timestamp_ns);
    for (std::int64_t id = 1; id <= window_; ++id) {
      const bool open = id == window_ && quiet_;
      windows.fields[0].column.append(id), windows.fields[1].column.append("production");
      !open || drained_ ? windows.fields[2].column.append(Timestamp{1}) : windows.fields[2].column.append_null();
      open ? windows.fields[3].column.append_null() : windows.fields[3].column.append(Timestamp{2});
    }
    Token token{.stream = {.id = "trade_engine", .leg_bits = exchange::leg_bits},
                .epoch = {books.sequence, books.execution_ns},
                .relations = {{"transactions", books.transactions}, {"positions", books.positions}}};
    ledger.commit(std::move(token), {{"balances", std::move(balances)}, {"quiet_windows", std::move(windows)}});
  }

  void commit_cycle(const std::vector<exchange::MarkRow>& rows) {
    Relation relation = exchange_marks();
    for (const exchange::MarkRow& row : rows) {
      auto& f = relation.fields;
      f[0].column.append(row.event_id), f[1].column.append(std::string_view(exchange::account_name(row.account)));
      f[2].column.append(std::string_view(exchange::instrument_name(row.instrument))), f[3].column.append(exchange::currency_name(row.currency));
      f[4].column.append(money(row.total_pnl));
      mark_digest_ += digest_of_event_id(row.event_id);
    }
    marked.insert("mark_pnl", relation, late());
    Token token{.stream = {.id = "mark_cycles", .leg_bits = exchange::mark_leg_bits},
                .epoch = {cycle, fold_.books().execution_ns},
                .relations = {{"mark_pnl", mark_digest_}}};
    marks.commit(std::move(token), {});
  }

  exchange::ExecutionStream stream_;
  std::mt19937_64 random_;
  exchange::Fold fold_;
  Digest mark_digest_;
  std::uint64_t steps_ = 0;
  bool quiet_ = false, drained_ = false;
  std::int64_t window_ = 0;
};

/// Adds `delta` (10^-8) to `column` in the row that `which` picks.
inline void change(Memory& store, const std::string& relation, const std::string& column, Int128 delta,
                   const std::function<std::size_t(const Relation&)>& which) {
  store.alter(relation, [&](Relation& rows) {
    const std::size_t target = which(rows);
    Relation changed = rows.empty_copy();
    for (std::size_t row = 0; row < rows.rows(); ++row)
      for (std::size_t i = 0; i < rows.fields.size(); ++i) {
        Value cell = rows.fields[i].column[row];
        if (row == target && rows.fields[i].name == column) cell.wide += delta;
        changed.fields[i].column.append(cell);
      }
    rows = std::move(changed);
  });
}

}  // namespace simulated
