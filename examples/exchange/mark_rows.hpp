// What is every position worth at a mark?
// The rows of one mark cycle as a pure function of the fold at its sequence number. Exact, as the fold is: the mark times the quantity is a whole number
// of 10^-8, so what one side of a trade wins the other loses to the last digit. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "exchange/fold.hpp"

namespace exchange {

inline constexpr int mark_leg_bits = 20;  ///< more than there are (account, instrument) pairs
static_assert(account_count * instrument_count < 1 << mark_leg_bits);
constexpr std::uint64_t mark_event_id(std::uint64_t cycle, int account, int instrument) {
  return cycle << mark_leg_bits | static_cast<std::uint64_t>(account * instrument_count + instrument);
}

/// What a position has earned and would earn if it were closed at the mark. Unit: 10^-8 of the currency.
struct MarkRow {
  std::uint64_t event_id = 0, cycle = 0;
  int account = 0, instrument = 0, currency = 0;
  Int128 total_pnl = 0;
  friend bool operator==(const MarkRow&, const MarkRow&) = default;
};

/// Unit: 10^-8 of the instrument's currency.
inline constexpr std::int64_t mark_price(std::uint64_t sequence, int instrument) { return price_at(sequence, instrument, 50); }

/// One row per (account, instrument) that was ever traded, as of the fold's sequence number. The rows of a currency add up to zero: each trade
/// has two sides at one price.
inline std::vector<MarkRow> mark_rows(std::uint64_t cycle, const Fold& fold) {
  std::vector<MarkRow> rows;
  for (int account = 0; account < account_count; ++account)
    for (int instrument = 0; instrument < instrument_count; ++instrument) {
      const Position& p = fold.position(account, instrument);
      if (!p.traded) continue;
      const Int128 value = Int128{mark_price(fold.books().sequence, instrument)} * p.quantity;
      rows.push_back({mark_event_id(cycle, account, instrument), cycle, account, instrument, currency_of(instrument), Int128{p.realized_pnl + value - p.cost}});
    }
  return rows;
}

inline Digest digest_of(const std::vector<MarkRow>& rows) {
  Digest digest;
  for (const MarkRow& row : rows) digest += epochcut::digest_of_event_id(row.event_id);
  return digest;
}

/// As tab-separated text, in the order of the table's columns.
inline void append(std::string& out, const MarkRow& row, std::uint64_t generation) {
  text::append_integer(out, row.event_id), out += '\t';
  text::append_integer(out, row.cycle), out += '\t';
  (out += account_name(row.account)) += '\t';
  ((out += instrument_name(row.instrument)) += '\t') += currency_name(row.currency);
  out += '\t', text::append_money(out, row.total_pnl);
  out += '\t', text::append_integer(out, generation), out += '\n';
}

}  // namespace exchange
