// A scripted world of faults around a ledger and an analytics store in memory: a writer that is late, replays, crashes, and rows that are
// changed, lost or foreign. It remembers its true history, so that an oracle can judge every verdict. Time is the only thing that moves it.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include <epochcut/testing/conformance.hpp>

#include "testing/small_exchange.hpp"

namespace simulated {

using namespace small_exchange;
using epochcut::testing::Random;

enum Fault : std::size_t {
  late,
  very_late,
  replayed,
  crashed,
  corrupted,
  lost,
  foreign,
  foreign_balanced,
  unacknowledged,
  acknowledged_elsewhere,
  outage,
  faults
};

class World final : public Clock {
 public:
  static constexpr Millis budget{5'000}, lag{500};  ///< what the checks are given; the writer declares the lag
  static constexpr std::size_t events_max = 300;    ///< then the market is quiet

  World(std::uint64_t seed, std::array<int, faults>& counted) : random_(seed), counted_(&counted) {
    for (bool& fault : enabled_) fault = random_.one_in(4);
    for (Fault f : {unacknowledged, acknowledged_elsewhere}) (*counted_)[f] += enabled_[f];
    token_.stream.id = "trade_engine";
    token_.stream.acknowledged = true;
    token_.relations = {{"transactions", {}}};
    analytics.create("transactions", transactions({}));
    store();
  }

  Millis now() const override { return now_; }
  /// Everything that is due happens on the way.
  void sleep(Millis d) override {
    const Millis end = now_ + d;
    while (next_ <= end) {
      now_ = std::max(now_, next_);
      next_ = now_ + Millis{1 + static_cast<std::int64_t>(random_.below(150))};
      step();
    }
    now_ = end;
  }
  Random& random() { return random_; }
  void end_outages() { enabled_[outage] = false; }

  /// Called before each call to a store: time passes, and the server may be gone.
  void before_call() {
    sleep(Millis{static_cast<std::int64_t>(random_.below(20))});
    if (!enabled_[outage] || !random_.one_in(30)) return;
    ++(*counted_)[outage];
    throw Failure(Reason::connection, "the server went away").poison();
  }

  /// A row is changed, lost, or put there by somebody else.
  void disturb() {
    analytics.visible("transactions", {}, {.clock = this});  // what is due becomes visible
    const std::size_t row = random_.below(rows_.size() + 1);
    const bool there = row < rows_.size() && !rows_[row].gone && rows_[row].visible_from <= now_;
    if (enabled_[corrupted] && there && random_.one_in(3)) {
      const Event before = rows_[row].event;
      rows_[row].event.cents += 1 + static_cast<std::int64_t>(random_.below(5));
      replace(before, &rows_[row].event), ++(*counted_)[corrupted];
    } else if (enabled_[lost] && there && random_.one_in(3)) {
      rows_[row].gone = true;
      replace(rows_[row].event, nullptr), ++(*counted_)[lost];
    }
    if (token_.epoch.sequence == 0) return;
    const std::uint64_t sequence = 1 + random_.below(token_.epoch.sequence);
    if (enabled_[foreign] && random_.one_in(5)) publish({{sequence, "EUR", 7, 100 + random_.below(50)}}, Millis{0}), ++(*counted_)[foreign];
    if (enabled_[foreign_balanced] && random_.one_in(5))
      publish({{sequence, "EUR", 7, 150}, {sequence, "EUR", -7, 151}}, Millis{0}), ++(*counted_)[foreign_balanced];
  }

  /// What is true at this moment of the rows up to a sequence.
  struct Truth {
    bool complete = true;      ///< each committed event has a visible row
    bool lost = false;         ///< ... or never will have one
    bool extra = false;        ///< a visible row is of no committed event
    bool conflicting = false;  ///< two visible rows of one event differ
    bool sums_differ = false;  ///< the visible rows, one per event, don't add up to the ledger's balances
    bool clean() const { return complete && !extra && !conflicting && !sums_differ; }
  };
  Truth truth(std::uint64_t sequence) const {
    std::map<std::uint64_t, std::set<std::pair<std::string, std::int64_t>>> visible;
    std::set<std::uint64_t> ever;
    for (const Row& row : rows_) {
      if (row.gone || row.event.sequence > sequence) continue;
      ever.insert(row.event.id());
      if (row.visible_from <= now_) visible[row.event.id()].insert({row.event.currency, row.event.cents});
    }
    Truth t;
    std::map<std::string, std::int64_t> balance;
    for (const auto& [id, contents] : visible) {
      t.extra |= !committed_.count(id);
      t.conflicting |= contents.size() > 1;
      balance[contents.begin()->first] += contents.begin()->second;
    }
    for (const auto& [id, event] : committed_) {
      if (event.sequence > sequence) continue;
      t.complete &= visible.count(id) != 0;
      t.lost |= !ever.count(id);
      balance[event.currency] -= event.cents;
    }
    for (const auto& [currency, left] : balance) t.sums_differ |= left != 0;
    return t;
  }

  Memory ledger{"ledger", *this}, analytics{"analytics", *this};

 private:
  struct Row {
    Event event;
    Millis visible_from;
    bool gone = false;
  };

  /// One step of the writer: rows out first, then state and token in one commit; between the two it may crash and replay, differently cut.
  void step() {
    if (!issued_.empty()) {
      const Events batch = std::exchange(issued_, {});
      if (enabled_[crashed] && random_.one_in(5))
        replay_ = batch, ++(*counted_)[crashed];
      else
        commit(batch);
    } else if (!replay_.empty()) {
      Events one;  // one execution, with all of its legs
      while (!replay_.empty() && (one.empty() || replay_.front().sequence == one.front().sequence)) {
        one.push_back(replay_.front());
        replay_.erase(replay_.begin());
      }
      publish(one, delay());
      commit(one);
    } else if (committed_.size() < events_max) {
      Events batch;
      for (std::uint64_t n = 1 + random_.below(3); n > 0; --n) {
        ++sequence_;
        for (std::uint64_t leg = 0; leg <= random_.below(3); ++leg) {
          static constexpr const char* currencies[] = {"EUR", "USD", "CHF"};
          batch.push_back({sequence_, currencies[random_.below(3)], static_cast<std::int64_t>(random_.below(2'001)) - 1'000, leg,
                           static_cast<std::int64_t>(sequence_ / 4)});
        }
      }
      publish(batch, delay());
      if (enabled_[replayed] && random_.one_in(5)) publish(batch, Millis{static_cast<std::int64_t>(random_.below(3'000))}), ++(*counted_)[replayed];
      random_.one_in(2) ? commit(batch) : void(issued_ = batch);
    }
    acknowledge();
  }

  Millis delay() {
    if (enabled_[very_late] && random_.one_in(25)) return ++(*counted_)[very_late], Millis{6'000 + static_cast<std::int64_t>(random_.below(20'000))};
    if (enabled_[late] && random_.one_in(3)) return ++(*counted_)[late], Millis{1 + static_cast<std::int64_t>(random_.below(2'000))};
    return Millis{0};
  }
  void publish(const Events& events, Millis delay) {
    analytics.insert("transactions", transactions(events), delay);
    for (const Event& e : events) rows_.push_back({e, now_ + delay});
  }
  void commit(const Events& events) {
    for (const Event& e : events) {
      committed_.emplace(e.id(), e);
      cents_[e.currency] += e.cents;
      token_.epoch = {e.sequence, e.ns};
      token_.relations[0].ids += digest_of_event_id(e.id());
    }
    store();
  }
  void store() {
    Relation state = table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}});
    for (const auto& [currency, amount] : cents_)
      state.append(table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{std::string_view(currency), money(amount)}}));
    ledger.commit(token_, {{"balances", state}});
  }

  /// An honest acknowledgement: what it covers is visible, or will be within the declared lag.
  void acknowledge() {
    if (enabled_[unacknowledged]) return;
    std::map<std::uint64_t, Millis> first;
    for (const Row& row : rows_) {
      const auto [it, fresh] = first.emplace(row.event.id(), row.visible_from);
      if (!fresh) it->second = std::min(it->second, row.visible_from);
    }
    std::uint64_t acked = token_.epoch.sequence;
    for (const auto& [id, from] : first)
      if (from >= now_ + lag) acked = std::min(acked, (id >> 8) - 1);
    ledger.acknowledge("production", "transactions", {acked, enabled_[acknowledged_elsewhere] ? "other" : "analytics"});
  }

  /// Puts another row in the place of one row, or none.
  void replace(const Event& from, const Event* to) {
    analytics.alter("transactions", [&](Relation& all) {
      Relation changed = all.empty_copy();
      bool found = false;
      for (std::size_t row = 0; row < all.rows(); ++row) {
        const bool it = !found && all.fields[0].column.words()[row] == from.id() && to_string(all.fields[1].column[row]) == from.currency &&
                        compare(all.fields[2].column[row], money(from.cents)) == 0;
        found |= it;
        if (!it)
          changed.append_row(all, row);
        else if (to != nullptr)
          changed.append(transactions({*to}));
      }
      REQUIRE(found);
      all = std::move(changed);
    });
  }

  Random random_;
  std::array<int, faults>* counted_;
  bool enabled_[faults] = {};
  Millis now_{0}, next_{100};
  Token token_;
  std::uint64_t sequence_ = 0;
  Events issued_, replay_;
  std::map<std::string, std::int64_t> cents_;
  std::map<std::uint64_t, Event> committed_;
  std::vector<Row> rows_;
};

}  // namespace simulated
