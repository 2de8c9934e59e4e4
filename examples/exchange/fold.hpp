// What follows from the stream?
// The pure fold of executions into rows and books. Each row is a function of the events up to its own and of nothing else, least of
// all of how events were batched; so a replay writes the same rows again. Exact: integers of 10^-8, 128 bits where they multiply.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/decimal.hpp>
#include <epochcut/core/digest.hpp>

#include "exchange/stream.hpp"

namespace exchange {

using epochcut::Digest;
using epochcut::Int128;

inline constexpr int leg_bits = 8;
constexpr std::uint64_t event_id_of(std::uint64_t sequence, std::uint64_t leg) { return sequence << leg_bits | leg; }
constexpr std::uint64_t sequence_of(std::uint64_t event_id) { return event_id >> leg_bits; }

enum class TransactionKind : std::uint8_t { realized_pnl, fee, deposit, adjustment };
inline constexpr std::array<std::string_view, 4> transaction_kind_names{"realized_pnl", "fee", "deposit", "adjustment"};

/// What every row knows of its event.
struct RowOrigin {
  std::uint64_t event_id = 0, sequence = 0;
  std::uint8_t leg = 0;
  std::int64_t execution_ns = 0;
  Uuid trade_id;
  friend bool operator==(const RowOrigin&, const RowOrigin&) = default;
};

struct TransactionRow : RowOrigin {
  int account = 0, instrument = -1;  ///< -1: of no instrument, written as ''
  TransactionKind kind = TransactionKind::fee;
  int currency = 0;
  std::int64_t amount = 0;
  std::optional<std::string_view> memo;
  friend bool operator==(const TransactionRow&, const TransactionRow&) = default;
};

/// The position of (account, instrument) right after the event. `cost` is what the open quantity was bought for.
struct PositionRow : RowOrigin {
  int account = 0, instrument = 0, currency = 0;
  std::int64_t quantity = 0;
  Int128 cost = 0, realized_pnl = 0;
  std::optional<std::string_view> last_note;
  friend bool operator==(const PositionRow&, const PositionRow&) = default;
};

struct Rows {
  std::vector<TransactionRow> transactions;
  std::vector<PositionRow> positions;
  void clear() { transactions.clear(), positions.clear(); }
};

/// The truth as of one sequence number: what any store must add up to.
struct Books {
  std::uint64_t sequence = 0;
  std::int64_t execution_ns = 0;
  Digest transactions, positions;  ///< of all event ids so far
  std::array<std::array<Int128, currency_count>, account_count> balances{};
  std::array<Int128, account_count> realized_pnl{};
  std::array<std::uint64_t, transaction_kind_names.size()> rows_of_kind{};

  Int128 sum_of_currency(int currency) const {
    Int128 sum = 0;
    for (const auto& account : balances) sum += account[static_cast<std::size_t>(currency)];
    return sum;
  }
  friend bool operator==(const Books&, const Books&) = default;
};

/// An open or closed position. Units: cost and realized_pnl in 10^-8 of the instrument's currency.
struct Position {
  std::int64_t quantity = 0;
  std::int64_t cost = 0;  ///< signed as the quantity is
  Int128 realized_pnl = 0;
  bool traded = false;  ///< else there never was one
};

/// What a program may be built with, to see whether a gate finds it.
enum class PlantedBug : std::uint8_t {
  none,
  rounding,  ///< of every 100 000 events one trade charges its buyer 10^-8 too much
};

class Fold {
 public:
  explicit Fold(PlantedBug bug = PlantedBug::none) : bug_(bug) {}

  /// Appends the rows of the next event to `rows`. Precondition: `e.sequence` follows the last one.
  void apply(const Execution& e, Rows& rows) {
    assert(e.sequence == books_.sequence + 1);
    books_.sequence = e.sequence;
    books_.execution_ns = e.execution_ns;
    std::uint8_t leg = 0;
    if (e.kind != EventKind::trade) {
      const bool deposit = e.kind == EventKind::deposit;
      book(e, leg, e.buyer, -1, deposit ? TransactionKind::deposit : TransactionKind::adjustment, e.amount, memo_of(e), rows);
      return;
    }
    const std::int64_t buyer_fee = e.buyer_fee + rounding_error(e);
    trade(e, leg, 0, e.buyer, e.quantity, buyer_fee, rows);
    trade(e, leg, 1, e.seller, -e.quantity, e.seller_fee, rows);
    if (buyer_fee + e.seller_fee != 0) book(e, leg, fee_account, e.instrument, TransactionKind::fee, buyer_fee + e.seller_fee, std::nullopt, rows);
  }

  const Books& books() const { return books_; }
  const Position& position(int account, int instrument) const { return positions_[static_cast<std::size_t>(account * instrument_count + instrument)]; }

 private:
  void trade(const Execution& e, std::uint8_t& leg, std::uint8_t side, int account, std::int64_t quantity, std::int64_t fee, Rows& rows) {
    Position& p = positions_[static_cast<std::size_t>(account * instrument_count + e.instrument)];
    p.traded = true;
    const std::int64_t pnl = move(p, quantity, e.price);
    if (pnl != 0) {
      p.realized_pnl += pnl;
      books_.realized_pnl[static_cast<std::size_t>(account)] += pnl;
      book(e, leg, account, e.instrument, TransactionKind::realized_pnl, pnl, std::nullopt, rows);
    }
    if (fee != 0) book(e, leg, account, e.instrument, TransactionKind::fee, -fee, std::nullopt, rows);

    PositionRow row;
    static_cast<RowOrigin&>(row) = origin(e, side);
    row.account = account, row.instrument = e.instrument, row.currency = e.currency;
    row.quantity = p.quantity, row.cost = p.cost, row.realized_pnl = p.realized_pnl;
    // NULL at the newest version of half of the keys: an argMax that skips NULL returns a stale note.
    if (e.trade_id.low & 1) row.last_note = p.quantity == 0 ? "flat" : p.quantity > 0 ? "long" : "short";
    books_.positions += epochcut::digest_of_event_id(row.event_id);
    rows.positions.push_back(row);
  }

  void book(const Execution& e, std::uint8_t& leg, int account, int instrument, TransactionKind kind, std::int64_t amount, std::optional<std::string_view> memo,
            Rows& rows) {
    TransactionRow row;
    static_cast<RowOrigin&>(row) = origin(e, leg++);
    row.account = account, row.instrument = instrument, row.kind = kind, row.currency = e.currency, row.amount = amount, row.memo = memo;
    books_.balances[static_cast<std::size_t>(account)][e.currency] += amount;
    books_.transactions += epochcut::digest_of_event_id(row.event_id);
    ++books_.rows_of_kind[static_cast<std::size_t>(kind)];
    rows.transactions.push_back(row);
  }

  static RowOrigin origin(const Execution& e, std::uint8_t leg) { return {event_id_of(e.sequence, leg), e.sequence, leg, e.execution_ns, e.trade_id}; }

  /// Changes a position by a signed quantity and returns what the part that closes it has earned.
  static std::int64_t move(Position& p, std::int64_t quantity, std::int64_t price) {
    std::int64_t pnl = 0;
    if ((p.quantity < 0) != (quantity < 0) && p.quantity != 0) {
      const std::int64_t open = std::abs(p.quantity), closing = std::min(open, std::abs(quantity));
      const std::int64_t closed = p.quantity < 0 ? -closing : closing;
      // Truncated, and the remainder stays in the cost: closing all of it takes all of the cost, so nothing is lost.
      const auto closed_cost = static_cast<std::int64_t>(Int128{p.cost} * closing / open);
      pnl = price * closed - closed_cost;
      p.cost -= closed_cost;
      p.quantity -= closed;
      quantity += closed;
    }
    p.cost += price * quantity;
    p.quantity += quantity;
    return pnl;
  }

  /// Text that looks like something else: what a reader must take as data and as nothing but data.
  static std::optional<std::string_view> memo_of(const Execution& e) {
    constexpr std::array<std::string_view, 7> memos{"wire",
                                                    "",
                                                    "a\tb\nc",
                                                    "back\\slash \\N",
                                                    "Code: 159. DB::Exception: a memo, not an error",
                                                    "it's \"quoted\" | and ; more",
                                                    "na\xC3\xAFve \xE2\x9C\x93"};
    const std::uint64_t choice = e.trade_id.low % (memos.size() + 2);
    if (choice >= memos.size()) return std::nullopt;
    return memos[choice];
  }

  /// The first trade with a fee from event 5 000, 105 000, … on.
  std::int64_t rounding_error(const Execution& e) {
    if (bug_ == PlantedBug::none) return 0;
    if (e.sequence / bug_every_ >= bugs_ && e.sequence % bug_every_ >= bug_first_ && e.buyer_fee != 0) {
      bugs_ = e.sequence / bug_every_ + 1;
      return 1;
    }
    return 0;
  }
  static constexpr std::uint64_t bug_every_ = 100'000, bug_first_ = 5'000;

  PlantedBug bug_;
  std::uint64_t bugs_ = 0;
  Books books_;
  std::vector<Position> positions_ = std::vector<Position>(static_cast<std::size_t>(account_count) * instrument_count);
};

/// A closing balance change per (account, currency), as one batch makes it.
struct BalanceChange {
  int account = 0, currency = 0;
  Int128 amount = 0;
};

inline std::vector<BalanceChange> balance_changes(const std::vector<TransactionRow>& rows) {
  std::array<Int128, std::size_t{account_count} * currency_count> sums{};
  std::array<bool, std::size_t{account_count} * currency_count> touched{};
  for (const TransactionRow& row : rows) {
    const auto slot = static_cast<std::size_t>(row.account * currency_count + row.currency);
    sums[slot] += row.amount;
    touched[slot] = true;
  }
  std::vector<BalanceChange> changes;
  for (int slot = 0; slot < account_count * currency_count; ++slot)
    if (touched[static_cast<std::size_t>(slot)]) changes.push_back({slot / currency_count, slot % currency_count, sums[static_cast<std::size_t>(slot)]});
  return changes;
}

// Rows as tab-separated text: PostgreSQL's COPY and ClickHouse's TabSeparated agree on it, NULL and escapes included, so both stores
// are handed the very same bytes. Columns in the order of the tables in schema.hpp.
namespace text {

template <class Integer>
void append_integer(std::string& out, Integer value) {
  char digits[24];
  out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

inline void append_money(std::string& out, Int128 unscaled) { out += to_string(epochcut::Decimal{unscaled, money_scale}); }

inline void append_uuid(std::string& out, const Uuid& id) {
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) out += '-';
    out += "0123456789abcdef"[(digit < 16 ? id.high : id.low) >> (60 - digit % 16 * 4) & 15];
  }
}

inline void append_nullable(std::string& out, std::optional<std::string_view> value) {
  if (!value) {
    out += "\\N";
    return;
  }
  for (char c : *value) {
    if (c == '\\' || c == '\t' || c == '\n') out += '\\';
    out += c == '\t' ? 't' : c == '\n' ? 'n' : c;
  }
}

inline void append_origin(std::string& out, const RowOrigin& row) {
  append_integer(out, row.event_id), out += '\t';
  append_integer(out, row.sequence), out += '\t';
  append_integer(out, unsigned{row.leg}), out += '\t';
  append_integer(out, row.execution_ns), out += '\t';
  append_uuid(out, row.trade_id), out += '\t';
}

}  // namespace text

inline void append(std::string& out, const TransactionRow& row, std::uint64_t generation) {
  text::append_origin(out, row);
  (out += account_name(row.account)) += '\t';
  if (row.instrument >= 0) out += instrument_name(row.instrument);
  ((out += '\t') += transaction_kind_names[static_cast<std::size_t>(row.kind)]) += '\t';
  (out += currency_name(row.currency)) += '\t';
  text::append_money(out, row.amount), out += '\t';
  text::append_nullable(out, row.memo), out += '\t';
  text::append_integer(out, generation), out += '\n';
}

inline void append(std::string& out, const PositionRow& row, std::uint64_t generation) {
  text::append_origin(out, row);
  (out += account_name(row.account)) += '\t';
  ((out += instrument_name(row.instrument)) += '\t') += currency_name(row.currency);
  out += '\t', text::append_integer(out, row.quantity);
  out += '\t', text::append_money(out, row.cost);
  out += '\t', text::append_money(out, row.realized_pnl);
  out += '\t', text::append_nullable(out, row.last_note);
  out += '\t', text::append_integer(out, generation), out += '\n';
}

template <class Row>
std::string to_text(const std::vector<Row>& rows, std::uint64_t generation) {
  std::string out;
  out.reserve(rows.size() * 128);
  for (const Row& row : rows) append(out, row, generation);
  return out;
}

}  // namespace exchange
