// Have two engines derived the same rows from every event so far?
// What an event's rows add to the chain of operate/chain.hpp: every column that a table has but the generation, in which two engines differ by right.
// Transactions come before positions, each in the order of their legs; each row begins with its relation, each text with its length. No I/O.
#pragma once

#include <cstdint>

#include <epochcut/operate/chain.hpp>

#include "exchange/fold.hpp"

namespace exchange {

using epochcut::Chain;

inline void absorb(epochcut::RowHash& hash, Int128 value) {
  hash.absorb(static_cast<std::uint64_t>(value));
  hash.absorb(static_cast<std::uint64_t>(value >> 64));
}

inline void absorb(epochcut::RowHash& hash, std::optional<std::string_view> value) {
  hash.absorb(std::uint64_t{value ? 1u : 0u});
  if (value) hash.absorb(*value);
}

inline void absorb(epochcut::RowHash& hash, const RowOrigin& row, std::uint64_t relation) {
  for (const std::uint64_t word :
       {relation, row.event_id, row.sequence, std::uint64_t{row.leg}, static_cast<std::uint64_t>(row.execution_ns), row.trade_id.high, row.trade_id.low})
    hash.absorb(word);
}

/// The chain after event `sequence`, whose rows are those of `rows` from `transaction` and `position` on.
inline Chain extend(const Chain& before, std::uint64_t sequence, const Rows& rows, std::size_t transaction = 0, std::size_t position = 0) {
  epochcut::RowHash hash;
  for (; transaction < rows.transactions.size(); ++transaction) {
    const TransactionRow& row = rows.transactions[transaction];
    absorb(hash, row, 1);
    for (const int word : {row.account, row.instrument, static_cast<int>(row.kind), row.currency}) hash.absorb(static_cast<std::uint64_t>(word));
    absorb(hash, Int128{row.amount});
    absorb(hash, row.memo);
  }
  for (; position < rows.positions.size(); ++position) {
    const PositionRow& row = rows.positions[position];
    absorb(hash, row, 2);
    for (const int word : {row.account, row.instrument, row.currency}) hash.absorb(static_cast<std::uint64_t>(word));
    for (const Int128 value : {Int128{row.quantity}, row.cost, row.realized_pnl}) absorb(hash, value);
    absorb(hash, row.last_note);
  }
  return epochcut::extend(before, sequence, hash);
}

}  // namespace exchange
