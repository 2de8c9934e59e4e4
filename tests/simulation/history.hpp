// What really happened: every row that ever stood in a store, from when to when, and everything that the ledger ever committed.
// The oracle reads this and nothing else. It knows no digest and no proof; it is written a second time on purpose and shares no code with `evaluate`.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include <epochcut/cut/control.hpp>

namespace simulation {

using epochcut::Millis;

enum Store : std::size_t { store_a, store_b, store_shadow, stores };
enum Table : std::size_t { transactions, positions, tables };
inline constexpr std::size_t currencies = 3, accounts = 4;

/// A row's columns but its id. transactions: key is the currency, amount in cents. positions: key is the account, amount a quantity or NULL,
/// note 0 for NULL.
struct Content {
  std::uint32_t key = 0;
  bool null = false;
  std::int64_t amount = 0;
  std::int64_t note = 0;
  std::uint64_t generation = 1;  ///< which wrote it
  friend bool operator==(const Content&, const Content&) = default;
};

struct Fact {
  std::uint64_t id = 0;
  Content content;
};

/// A point in virtual time; `serial` orders what happens within one millisecond.
struct Moment {
  Millis time{0};
  std::uint64_t serial = 0;
};

/// A row of one store: issued at `born`, visible from `from`, taken away at `gone`.
struct Row {
  static constexpr std::uint64_t never = ~std::uint64_t{0};
  std::uint64_t id;
  Content content;
  Millis from;
  std::uint64_t born, gone = never;

  bool visible(Moment m) const { return born <= m.serial && m.serial < gone && from <= m.time; }
  bool late(Moment m) const { return born <= m.serial && m.serial < gone && from > m.time; }
};

/// What the ledger's state tables hold.
struct State {
  std::array<std::optional<std::int64_t>, currencies> cents{};  ///< balances
  std::array<std::optional<std::int64_t>, currencies> parts{};  ///< a second table of the same: never damaged
  std::array<std::optional<Content>, accounts> positions{};
};

/// Handed over at one sequence number; as epochcut::Seam.
struct Handover {
  std::uint64_t sequence, from, to;
};

/// One line of the ledger's life: a restore begins another, with a part of the old one.
struct Lineage {
  std::array<std::vector<Fact>, tables> facts;  ///< committed, ids rising
};

/// What one snapshot of the ledger holds.
struct Cut {
  std::size_t lineage = 0;
  std::array<std::size_t, tables> count{};
  std::uint64_t sequence = 0, generation = 1;
  std::vector<Handover> seams{};
  State state{};

  std::uint64_t owner(std::uint64_t of_sequence) const {
    for (const Handover& seam : seams)
      if (of_sequence < seam.sequence) return seam.from;
    return generation;
  }
};

struct History {
  std::array<std::array<std::vector<Row>, tables>, stores> rows;
  std::vector<Lineage> lineages{1};
  int leg_bits = 8;
  bool generations = false;  ///< rows of a generation that did not own their sequence number don't count

  std::uint64_t sequence(std::uint64_t id) const { return id >> leg_bits; }

  /// Rows of `store` that count as of a cut, by id and content.
  std::vector<Fact> seen(Store store, Table table, Moment m, const Cut& cut) const {
    std::vector<Fact> found;
    for (const Row& row : rows[store][table])
      if (row.visible(m) && counts(row.id, row.content, cut)) found.push_back({row.id, row.content});
    std::sort(found.begin(), found.end(), [](const Fact& x, const Fact& y) { return order(x) < order(y); });
    return found;
  }
  bool counts(std::uint64_t id, const Content& content, const Cut& cut) const {
    return sequence(id) <= cut.sequence && (!generations || content.generation == cut.owner(sequence(id)));
  }

  /// Is the first row of this event still on its way? Where one was taken away it is lost, whatever a replay may still bring.
  bool late(Store store, Table table, Moment m, std::uint64_t id) const {
    bool coming = false;
    for (const Row& row : rows[store][table]) {
      if (row.id != id || row.born > m.serial) continue;
      if (row.gone <= m.serial) return false;
      coming |= row.late(m);
    }
    return coming;
  }

  std::vector<Fact> committed(Table table, const Cut& cut) const {
    const auto& facts = lineages[cut.lineage].facts[table];
    return {facts.begin(), facts.begin() + static_cast<std::ptrdiff_t>(cut.count[table])};
  }

  static std::tuple<std::uint64_t, std::uint32_t, bool, std::int64_t, bool, std::int64_t> order(const Fact& f) {
    return {f.id, f.content.key, f.content.null, f.content.amount, f.content.note == 0, f.content.note};
  }
};

}  // namespace simulation
