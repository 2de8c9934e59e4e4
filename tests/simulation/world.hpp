// A ledger, two analytics replicas and a shadow, in memory; a writer that feeds them, and everything that can go wrong on the way.
// Virtual time is the only thing that moves it: whoever sleeps lets the others act. Not synchronised; the same seed is the same world.
#pragma once

#include <deque>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/source/memory.hpp>

#include "simulation/history.hpp"
#include "simulation/record.hpp"

namespace simulation {

using namespace epochcut;

inline constexpr std::array<const char*, currencies> currency_names = {"CHF", "EUR", "USD"};  // in the order of their bytes
inline constexpr std::array<const char*, accounts> account_names = {"a0", "a1", "a2", "a3"};
inline constexpr std::array<const char*, 2> owner_names = {"o0", "o1"};
inline constexpr std::array<const char*, 6> note_names = {"", "n1", "n2", "n3", "n4", "n5"};
inline constexpr std::array<const char*, tables> table_names = {"transactions", "positions"};
inline constexpr std::array<const char*, stores> store_names = {"A", "B", "shadow"};

class World final : public Clock {
 public:
  World(std::uint64_t seed, Stats& stats, bool loud) : trace(loud), random_(seed), stats_(&stats) {
    for (std::size_t f = 0; f < honest_faults; ++f) enabled_[f] = random_.one_in(3);
    const bool damaged = !random_.one_in(3);
    for (std::size_t f = honest_faults; f < faults; ++f) enabled_[f] = damaged && random_.one_in(3);
    static constexpr int bits[] = {0, 1, 2, 8};
    history.leg_bits = bits[random_.below(4)];
    history.generations = random_.one_in(3);
    digests = !random_.one_in(4);
    acknowledged_path = random_.one_in(2);
    small_amounts_ = random_.one_in(3);
    lag = Millis{200 + random_.upto(400)};
    lanes_.assign(1 + random_.below(4), Millis{0});
    pace_ms_ = 20 + random_.upto(380);
    executions_max_ = random_.one_in(16) ? 0 : 8 + random_.below(20);
    static constexpr Store ackers[] = {store_a, store_a, store_b, stores};  // stores: the ledger does not know
    acker_ = ackers[random_.below(4)];
    token_.stream.id = "trade_engine";
    token_.stream.leg_bits = history.leg_bits;
    token_.stream.acknowledged = acknowledged_path;
    if (history.generations) token_.stream.generation = "generation";
    token_.generation = cut_.generation;
    token_.relations = {{table_names[transactions], {}}, {table_names[positions], {}}};
    columns_[transactions].add("event_id", Role::key, Type::uint64);
    columns_[transactions].add("currency", Role::value, Type::text);
    columns_[transactions].add("amount", Role::value, Type::decimal, 2);
    columns_[transactions].add("generation", Role::value, Type::uint64);
    columns_[positions].add("event_id", Role::key, Type::uint64);
    columns_[positions].add("account", Role::value, Type::text);
    columns_[positions].add("owner", Role::value, Type::text);
    columns_[positions].add("quantity", Role::value, Type::int64);
    columns_[positions].add("note", Role::value, Type::text);
    columns_[positions].add("generation", Role::value, Type::uint64);
    for (Memory* memory : {&a_, &b_, &shadow_})
      for (std::size_t t = 0; t < tables; ++t) memory->create(table_names[t], columns_[t]);
    shadow_.declare(token_.stream.id, "shadow");
    journal_ = columns_[transactions];
    ledger.set_timeline(timeline_);
    store();
  }

  Millis now() const override { return now_; }
  /// Everything that is due happens on the way.
  void sleep(Millis d) override {
    const Millis end = now_ + d;
    while (next_ <= end) {
      now_ = std::max(now_, next_);
      next_ = now_ + Millis{1 + random_.upto(pace_ms_)};
      step();
    }
    now_ = std::max(now_, end);
  }

  /// Until the writer has nothing more to say, every row is where it should be, and nobody does any damage.
  void drain() {
    quiet_ = true;
    trace(now_.count(), "quiet");
    for (int i = 0; i < 100 && (busy() || i < 2); ++i) sleep(Millis{10'000});
  }

  void hit(Fault f, std::uint64_t a = 0, std::uint64_t b = 0) {
    ++stats_->fault[f];
    damaged_ |= f >= honest_faults && f != healed;
    broken_off_ |= f == restored;
    trace(now_.count(), fault_names[f], a, b);
  }
  bool enabled(Fault f) const { return enabled_[f] && !quiet_; }
  bool healthy() const { return !damaged_ && !broken_off_; }  ///< nothing was done to it that a check could find
  bool quiet() const { return quiet_; }

  Random& random() { return random_; }
  Stats& stats() { return *stats_; }
  Moment moment() const { return {now_, serial_}; }
  const Cut& cut() const { return cut_; }
  std::uint64_t shadow_sequence() const { return shadow_sequence_; }
  Memory& memory(Store s) { return s == store_a ? a_ : s == store_b ? b_ : shadow_; }
  Store acker() const { return acker_; }

  Trace trace;
  History history;
  bool digests = true;             ///< the token carries them
  bool acknowledged_path = false;  ///< the writer commits after the acknowledgement
  Millis lag{};                    ///< declared: nothing acknowledged stays invisible for longer
  int checks_running = 0;

 private:
  struct Execution {
    std::uint64_t sequence = 0;
    std::int64_t ns = 0;
    std::array<std::vector<Fact>, tables> facts;
  };
  using Batch = std::vector<Execution>;
  struct Backup {
    Token token;
    Cut cut;
    std::size_t executions;
  };
  struct Damage {
    Store store;
    Table table;
    std::vector<std::size_t> put;
    std::vector<Fact> taken;
  };

 public:
  Memory ledger{"ledger", *this};

 private:
  bool busy() const {
    if (!issued_.empty() || !replay_.empty() || !shadow_queue_.empty() || executions_ < executions_max_) return true;
    for (const auto& of_store : history.rows)
      for (const auto& rows : of_store)
        for (const Row& row : rows)
          if (row.late(moment())) return true;
    return false;
  }

  void step() {
    while (!shadow_queue_.empty() && shadow_queue_.front().first <= now_) apply_to_shadow();
    if (enabled(restored) && random_.one_in(25) && backups_.size() > 2 && restores_ < 2) restore();
    if (enabled(deposed) && history.generations && random_.one_in(12) && cut_.seams.size() < 2 && cut_.sequence > 0) hand_over();
    write();
    if (!quiet_ && cut_.sequence > 0 && random_.one_in(8)) damage();
    acknowledge();
  }

  /// Rows out first, then state and token in one commit; between the two it may crash and replay, cut differently.
  void write() {
    if (!issued_.empty()) {
      if (now_ < ready_) return;
      Batch batch = std::exchange(issued_, {});
      if (enabled(crashed) && replay_.empty() && random_.one_in(5)) {
        hit(crashed, batch.front().sequence, batch.size());
        replay_ = std::move(batch);
      } else {
        commit(batch);
      }
    } else if (!replay_.empty()) {
      Batch one = {std::move(replay_.front())};
      replay_.erase(replay_.begin());
      if (enabled(reexecuted) && random_.one_in(3)) {
        one[0].facts[transactions][0].content.amount += 1 + random_.upto(9);
        hit(reexecuted, one[0].sequence);
      }
      publish(one);
      issued_ = std::move(one);
    } else if (executions_ < executions_max_) {
      Batch batch;
      for (std::uint64_t n = 1 + random_.below(3); n > 0; --n) batch.push_back(execute());
      publish(batch);
      if (enabled(replayed) && random_.one_in(4)) hit(replayed, batch.front().sequence), publish(batch, Millis{random_.upto(4'000)});
      issued_ = std::move(batch);
      if (!acknowledged_path && random_.one_in(2)) commit(std::exchange(issued_, {}));
    }
  }

  Execution execute() {
    Execution x;
    x.sequence = ++sequence_;
    ++executions_;
    x.ns = static_cast<std::int64_t>(1'000'000 + sequence_);
    if (enabled_[tied_ns] && random_.one_in(2)) x.ns -= 1 + random_.upto(2), hit(tied_ns, sequence_);
    const std::uint64_t legs = 1 + random_.below(std::min<std::uint64_t>(3, std::uint64_t{1} << history.leg_bits));
    // The greatest leg is used too, so that the last id at or below an epoch has a row.
    const std::uint64_t first = random_.one_in(2) ? 0 : (std::uint64_t{1} << history.leg_bits) - legs;
    for (std::uint64_t leg = first; leg < first + legs; ++leg) {
      const std::uint64_t id = x.sequence << history.leg_bits | leg;
      x.facts[transactions].push_back({id, {static_cast<std::uint32_t>(random_.below(currencies)), false, amount(1'000), 1, cut_.generation}});
      if (random_.one_in(3)) continue;  // not every event moves a position
      Content p{static_cast<std::uint32_t>(random_.below(accounts)), random_.one_in(6), amount(100), random_.upto(5), cut_.generation};
      if (p.null) p.amount = 0;
      x.facts[positions].push_back({id, p});
    }
    return x;
  }

  /// In some worlds small, so that sums are zero and differences cancel out by chance.
  std::int64_t amount(std::int64_t most) { return small_amounts_ ? random_.upto(2) - 1 : random_.upto(2 * most) - most; }

  Millis delay() {
    if (enabled(very_late) && random_.one_in(40)) return hit(very_late), Millis{4'000 + random_.upto(12'000)};
    if (enabled(late) && random_.one_in(4)) return hit(late), Millis{1 + random_.upto(1'500)};
    return Millis{0};
  }

  /// Sends rows to both replicas over insert lanes, each in order of its own.
  void publish(const Batch& batch, Millis again = Millis{0}) {
    Millis behind{0}, newest{0}, last{0};
    if (enabled(replication_stall) && random_.one_in(6)) behind = Millis{500 + random_.upto(6'000)}, hit(replication_stall, batch.front().sequence);
    bool disordered = false;
    for (const Execution& x : batch)
      for (std::size_t t = 0; t < tables; ++t)
        for (const Fact& fact : x.facts[t]) {
          Millis& lane = lanes_[random_.below(lanes_.size())];
          lane = std::max(lane, now_) + delay();
          put(store_a, static_cast<Table>(t), fact, lane + again);
          put(store_b, static_cast<Table>(t), fact, lane + again + behind);
          disordered |= lane < newest;
          newest = std::max(newest, lane);
        }
    flush();
    last = newest + (acker_ == store_b ? behind : Millis{0});
    if (disordered) hit(out_of_order, batch.front().sequence);
    trace(now_.count(), "issue", batch.front().sequence, batch.size(), static_cast<std::uint64_t>(newest.count()));
    if (again > Millis{0}) return;
    // Acknowledged is what is visible within the lag.
    ready_ = acknowledged_path ? last - (random_.one_in(2) ? lag - Millis{1} : Millis{0}) : now_ + Millis{random_.upto(100)};
  }

  void put(Store store, Table table, const Fact& fact, Millis from) {
    history.rows[store][table].push_back({fact.id, fact.content, from, ++serial_});
    if (history.rows[store][table].size() > flushed_[store][table] + 1 && history.rows[store][table][flushed_[store][table]].from != from) {
      const Row row = history.rows[store][table].back();
      history.rows[store][table].pop_back();
      flush(store, table);
      history.rows[store][table].push_back(row);
    }
  }
  void flush() {
    for (std::size_t s = 0; s < stores; ++s)
      for (std::size_t t = 0; t < tables; ++t) flush(static_cast<Store>(s), static_cast<Table>(t));
  }
  /// Rows that become visible together go in together.
  void flush(Store store, Table table) {
    const std::vector<Row>& rows = history.rows[store][table];
    std::size_t& done = flushed_[store][table];
    if (done == rows.size()) return;
    Relation relation = columns_[table];
    const Millis from = rows[done].from;
    for (; done < rows.size(); ++done) append(relation, table, {rows[done].id, rows[done].content});
    memory(store).insert(table_names[table], relation, from - now_);
    stats_->rows += relation.rows();
  }

  static void append(Relation& relation, Table table, const Fact& f) {
    std::size_t i = 0;
    const auto next = [&]() -> Column& { return relation.fields[i++].column; };
    next().append_word(f.id);
    if (table == transactions) {
      next().append_text(currency_names[f.content.key]);
      next().append_wide(f.content.amount);
    } else {
      next().append_text(account_names[f.content.key]);
      next().append_text(owner_names[f.content.key % 2]);
      f.content.null ? next().append_null() : next().append_word(static_cast<std::uint64_t>(f.content.amount));
      f.content.note == 0 ? next().append_null() : next().append_text(note_names[static_cast<std::size_t>(f.content.note)]);
    }
    next().append_word(f.content.generation);
  }

  void commit(const Batch& batch) {
    for (const Execution& x : batch) {
      for (std::size_t t = 0; t < tables; ++t)
        for (const Fact& f : x.facts[t]) {
          history.lineages[cut_.lineage].facts[t].push_back(f);
          ++cut_.count[t];
          token_.relations[t].ids += digest_of_event_id(f.id);
        }
      for (const Fact& f : x.facts[transactions]) {
        append(journal_, transactions, f);
        for (auto* of : {&cut_.state.cents, &cut_.state.parts}) (*of)[f.content.key] = (*of)[f.content.key].value_or(0) + f.content.amount;
      }
      for (const Fact& f : x.facts[positions]) cut_.state.positions[f.content.key] = f.content;
      cut_.sequence = x.sequence;
      token_.epoch = {x.sequence, x.ns};
      shadow_free_ = std::max(shadow_free_, now_) + Millis{random_.one_in(4) ? random_.upto(2'500) : 0};
      shadow_queue_.emplace_back(shadow_free_, x);
    }
    trace(now_.count(), "commit", cut_.sequence, cut_.count[transactions], cut_.count[positions]);
    store();
    backups_.push_back({token_, cut_, executions_});
  }

  void store() {
    Relation balances, parts, held;
    balances.add("currency", Role::key, Type::text), balances.add("amount", Role::value, Type::decimal, 2);
    parts = balances.empty_copy();
    for (std::size_t c = 0; c < currencies; ++c) {
      if (const auto& cents = cut_.state.cents[c]) balances.fields[0].column.append_text(currency_names[c]), balances.fields[1].column.append_wide(*cents);
      if (const auto& cents = cut_.state.parts[c])
        for (const std::int64_t part : {std::int64_t{7}, *cents - 7})
          parts.fields[0].column.append_text(currency_names[c]), parts.fields[1].column.append_wide(part);
    }
    held = columns_[positions].empty_copy();
    for (std::size_t p = 0; p < accounts; ++p)
      if (const auto& content = cut_.state.positions[p]) append(held, positions, {0, *content});
    Token token = token_;
    if (!digests) token.relations.clear();
    ledger.commit(std::move(token), {{"balances", std::move(balances)}, {"parts", std::move(parts)}, {"positions", std::move(held)}, {"journal", journal_}});
  }

  /// The shadow has a token of its own: rows and token in one step.
  void apply_to_shadow() {
    Execution x = std::move(shadow_queue_.front().second);
    shadow_queue_.pop_front();
    if (enabled(shadow_wrong) && random_.one_in(10) && !x.facts[positions].empty())
      x.facts[positions][0].content.null = !x.facts[positions][0].content.null, x.facts[transactions][0].content.amount += 3, hit(shadow_wrong, x.sequence);
    for (std::size_t t = 0; t < tables; ++t)
      for (const Fact& f : x.facts[t]) put(store_shadow, static_cast<Table>(t), f, now_);
    flush();
    shadow_sequence_ = x.sequence;
  }

  /// The ledger is restored to an older commit, and lives on from there: the same sequence numbers mean other events now.
  void restore() {
    const std::size_t back = 1 + random_.below(std::min<std::size_t>(backups_.size() - 1, 5));
    backups_.resize(backups_.size() - back);
    const Backup& backup = backups_.back();
    const std::size_t old = cut_.lineage;
    token_ = backup.token, cut_ = backup.cut;
    Lineage next;
    for (std::size_t t = 0; t < tables; ++t) {
      const auto& facts = history.lineages[old].facts[t];
      next.facts[t].assign(facts.begin(), facts.begin() + static_cast<std::ptrdiff_t>(cut_.count[t]));
    }
    history.lineages.push_back(std::move(next));
    cut_.lineage = history.lineages.size() - 1;
    for (Backup& b : backups_) b.cut.lineage = cut_.lineage;
    sequence_ = cut_.sequence, executions_ = backup.executions;
    issued_.clear(), replay_.clear(), ++restores_;
    journal_ = columns_[transactions];
    for (const Fact& f : history.lineages[cut_.lineage].facts[transactions]) append(journal_, transactions, f);
    hit(restored, cut_.sequence);
    if (checks_running > 0) hit(restored_in_check, cut_.sequence);
    ledger.set_timeline(++timeline_);
    acked_ = {};
    store();
    forget_beyond(store_shadow);
    std::erase_if(shadow_queue_, [&](const auto& due) { return due.second.sequence > cut_.sequence; });
    shadow_sequence_ = std::min(shadow_sequence_, cut_.sequence);
    if (enabled_[cleaned]) hit(cleaned), forget_beyond(store_a), forget_beyond(store_b);
  }
  void forget_beyond(Store store) {
    for (std::size_t t = 0; t < tables; ++t) {
      for (Row& row : history.rows[store][t])
        if (row.gone == Row::never && history.sequence(row.id) > cut_.sequence) row.gone = ++serial_;
      rebuild(store, static_cast<Table>(t));
    }
  }

  /// Another generation takes over at the next sequence number; what the old one still had in flight no longer counts.
  void hand_over() {
    if (issued_.empty() && replay_.empty()) publish({execute()});  // of the deposed one: never committed
    hit(deposed, cut_.sequence + 1);
    issued_.clear(), replay_.clear();
    sequence_ = cut_.sequence;
    cut_.seams.push_back({sequence_ + 1, cut_.generation, cut_.generation + 1});
    token_.seams.push_back({sequence_ + 1, cut_.generation, cut_.generation + 1});
    token_.generation = ++cut_.generation;
    store();
  }

  /// An honest acknowledgement: what it covers is visible to who reads the acknowledging server, or will be within the lag.
  void acknowledge() {
    if (acker_ == stores) return;
    for (std::size_t t = 0; t < tables; ++t) {
      std::uint64_t upto = cut_.sequence;
      const auto& rows = history.rows[acker_][t];
      const auto in_time = [&](const Row& row) { return row.gone == Row::never && row.from < now_ + lag; };
      for (const Row& row : rows)
        if (row.gone == Row::never && !in_time(row) &&
            std::none_of(rows.begin(), rows.end(), [&](const Row& r) { return r.id == row.id && r.content == row.content && in_time(r); }))
          upto = std::min(upto, history.sequence(row.id) - 1);
      acked_[t] = std::max(acked_[t], upto);
      ledger.acknowledge("production", table_names[t], {std::min(acked_[t], cut_.sequence), store_names[acker_]});
    }
  }

  void damage() {
    static constexpr Fault kinds[] = {foreign, foreign_balanced, lost,    lost_last,        swapped,        doubled, corrupted,
                                      nulled,  conflicting,      emptied, ledger_corrupted, ledger_emptied, healed};
    const Fault kind = kinds[random_.below(std::size(kinds))];
    if (!enabled_[kind]) return;
    if (kind == healed) return heal();
    if (kind == ledger_corrupted) {
      auto& cents = cut_.state.cents[random_.below(currencies)];
      if (cents) *cents += 1, hit(kind), store();
      return;
    }
    if (kind == ledger_emptied) {
      if (!random_.one_in(8)) return;
      cut_.state.cents = {}, cut_.state.positions = {};
      hit(kind);
      return store();
    }
    if (kind == emptied && !random_.one_in(4)) return;
    Damage done{random_.one_in(3) ? store_b : store_a, kind == nulled || random_.one_in(3) ? positions : transactions, {}, {}};
    if (!hurt(kind, done)) return;
    for (const std::size_t row : done.put) history.rows[done.store][done.table][row].born = ++serial_;
    hit(kind, done.store, done.table);
    rebuild(done.store, done.table);
    damages_.push_back(std::move(done));
  }

  /// False if this world has nothing to hurt in that way at the moment.
  bool hurt(Fault kind, Damage& d) {
    auto& rows = history.rows[d.store][d.table];
    std::vector<std::size_t> there;
    for (std::size_t i = 0; i < rows.size(); ++i)
      if (rows[i].visible(moment()) && history.counts(rows[i].id, rows[i].content, cut_)) there.push_back(i);
    const auto put_row = [&](const Fact& f) { d.put.push_back(rows.size()), rows.push_back({f.id, f.content, now_, serial_}); };
    const auto take = [&](std::size_t i) { d.taken.push_back({rows[i].id, rows[i].content}), rows[i].gone = ++serial_; };
    if (kind == foreign || kind == foreign_balanced) {
      Fact f = invented(d.table);
      if (f.id == 0) return false;
      put_row(f);
      if (kind == foreign) return true;
      Fact g = f;
      g.id = 0;
      for (int i = 0; i < 8 && (g.id == 0 || g.id == f.id); ++i) g.id = invented(d.table).id;
      g.content.amount = -g.content.amount;
      if (g.id != 0 && g.id != f.id) return put_row(g), true;
      rows.pop_back(), d.put.pop_back();
      return false;
    }
    if (there.empty()) return false;
    std::size_t i = there[random_.below(there.size())];
    Fact changed{rows[i].id, rows[i].content};
    switch (kind) {
      case lost_last:
        for (const std::size_t j : there)
          if (rows[j].id > rows[i].id) i = j;
        return take(i), true;
      case lost: return take(i), true;
      case swapped: {
        changed.id = invented(d.table).id;
        if (changed.id == 0) return false;
        changed.content.generation = cut_.owner(history.sequence(changed.id));
        return take(i), put_row(changed), true;
      }
      case doubled: {
        const Row other = rows[there[random_.below(there.size())]];
        if (other.id == rows[i].id) return false;
        return take(i), put_row({other.id, other.content}), true;
      }
      case emptied:
        for (const std::size_t j : there) take(j);
        return true;
      case nulled: changed.content.null = !changed.content.null, changed.content.amount = changed.content.null ? 0 : 5; break;
      default: changed.content.amount += 1 + random_.upto(4), changed.content.null = false; break;
    }
    if (kind != conflicting) take(i);
    return put_row(changed), true;
  }

  /// An id at or below the epoch that the ledger did not commit; id 0 if there is no room for one.
  Fact invented(Table table) {
    const auto& facts = history.lineages[cut_.lineage].facts[table];
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t sequence = 1 + random_.below(cut_.sequence);
      const std::uint64_t id = sequence << history.leg_bits | random_.below(std::uint64_t{1} << history.leg_bits);
      bool known = false;
      for (const Fact& f : facts) known |= f.id == id;
      if (known) continue;
      return {id, {static_cast<std::uint32_t>(random_.below(currencies)), false, 1 + random_.upto(90), 1, cut_.owner(sequence)}};
    }
    return {};
  }

  /// Takes the last damage to a follower back.
  void heal() {
    if (damages_.empty()) return;
    const Damage d = std::move(damages_.back());
    damages_.pop_back();
    auto& rows = history.rows[d.store][d.table];
    for (const std::size_t i : d.put)
      if (rows[i].gone == Row::never) rows[i].gone = ++serial_;
    for (const Fact& f : d.taken) rows.push_back({f.id, f.content, now_, ++serial_});
    hit(healed, d.store, d.table);
    rebuild(d.store, d.table);
  }

  /// Makes a store's table what the history says it is.
  void rebuild(Store store, Table table) {
    memory(store).create(table_names[table], columns_[table]);
    Relation there = columns_[table];
    for (const Row& row : history.rows[store][table]) {
      if (row.gone != Row::never) continue;
      Relation one = columns_[table];
      Relation& into = row.from > now_ ? one : there;
      append(into, table, {row.id, row.content});
      if (row.from > now_) memory(store).insert(table_names[table], one, row.from - now_);
    }
    memory(store).insert(table_names[table], there);
    flushed_[store][table] = history.rows[store][table].size();
  }

  Random random_;
  Stats* stats_;
  std::array<bool, faults> enabled_{};
  bool quiet_ = false, damaged_ = false, broken_off_ = false, small_amounts_ = false;
  Millis now_{0}, next_{50}, ready_{0};
  std::int64_t pace_ms_ = 100;
  std::uint64_t serial_ = 0, sequence_ = 0, timeline_ = 1;
  std::size_t executions_ = 0, executions_max_ = 0;
  int restores_ = 0;
  Store acker_ = store_a;
  std::vector<Millis> lanes_;
  std::array<Relation, tables> columns_;
  Relation journal_;
  Token token_;
  Cut cut_;
  Batch issued_, replay_;
  std::vector<Backup> backups_;
  std::vector<Damage> damages_;
  std::array<std::uint64_t, tables> acked_{};
  std::array<std::array<std::size_t, tables>, stores> flushed_{};
  Memory a_{"A", *this}, b_{"B", *this}, shadow_{"shadow", *this};
  std::deque<std::pair<Millis, Execution>> shadow_queue_;
  Millis shadow_free_{0};
  std::uint64_t shadow_sequence_ = 0;
};

}  // namespace simulation
