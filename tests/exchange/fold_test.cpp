#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "exchange/mark_rows.hpp"
#include "exchange/oracle.hpp"
#include "exchange/row_chain.hpp"
#include "support/catch.hpp"

using namespace exchange;

namespace {

constexpr ExecutionStream stream{.seed = 42};

Rows fold_in_batches(std::uint64_t events, const std::function<std::uint64_t()>& batch) {
  Fold fold;
  Rows all;
  while (fold.books().sequence < events) {
    Rows rows;
    for (std::uint64_t n = std::min(batch(), events - fold.books().sequence); n > 0; --n) fold.apply(stream.at(fold.books().sequence + 1), rows);
    all.transactions.insert(all.transactions.end(), rows.transactions.begin(), rows.transactions.end());
    all.positions.insert(all.positions.end(), rows.positions.begin(), rows.positions.end());
  }
  return all;
}

}  // namespace

TEST_CASE("the stream is a function of seed and sequence") {
  const Execution e = stream.at(1000), again = stream.at(1000), other = ExecutionStream{.seed = 43}.at(1000);
  REQUIRE(e.trade_id == again.trade_id);
  REQUIRE(e.price == again.price);
  REQUIRE_FALSE(e.trade_id == other.trade_id);
}

TEST_CASE("nanoseconds tie and step back while the sequence rises") {
  int ties = 0, back = 0;
  std::int64_t previous = stream.at(1).execution_ns;
  for (std::uint64_t s = 2; s <= 10'000; ++s) {
    const std::int64_t ns = stream.at(s).execution_ns;
    ties += ns == previous, back += ns < previous;
    previous = ns;
  }
  REQUIRE(ties > 1'000);
  REQUIRE(back > 100);
}

TEST_CASE("ties can be had at every batch's end") {
  const ExecutionStream tied{.seed = 42, .tie_every = 7};
  for (std::uint64_t s = 7; s < 7'000; s += 7) REQUIRE(tied.at(s).execution_ns == tied.at(s + 1).execution_ns);
  REQUIRE(tied.at(8).trade_id == stream.at(8).trade_id);
}

TEST_CASE("the stream has everything that a comparison can trip over") {
  std::set<int> accounts, instruments;
  int wash = 0, deposits = 0, adjustments = 0, without_transactions = 0, without_positions = 0, notes = 0, rows_with_note = 0;
  std::set<std::string> memos;
  Fold fold;
  Rows rows;
  for (std::uint64_t s = 1; s <= 200'000; ++s) {
    const Execution e = stream.at(s);
    rows.clear();
    fold.apply(e, rows);
    accounts.insert(e.buyer), instruments.insert(e.instrument);
    wash += e.kind == EventKind::trade && e.buyer == e.seller;
    deposits += e.kind == EventKind::deposit, adjustments += e.kind == EventKind::adjustment;
    without_transactions += rows.transactions.empty(), without_positions += rows.positions.empty();
    for (const PositionRow& p : rows.positions) ++notes, rows_with_note += p.last_note.has_value();
    for (const TransactionRow& t : rows.transactions) memos.insert(t.memo ? std::string(*t.memo) : "NULL");
  }
  REQUIRE(accounts.size() == trader_count);
  REQUIRE(instruments.size() == instrument_count);
  REQUIRE(memos.size() == 8);
  REQUIRE(std::min({wash, deposits, adjustments, without_transactions, without_positions}) > 100);
  REQUIRE(rows_with_note > notes / 3);
  REQUIRE(rows_with_note < notes * 2 / 3);
}

TEST_CASE("rows do not depend on how events were batched") {
  std::mt19937 random(7);
  const Rows whole = fold_in_batches(20'000, [] { return 20'000; });
  const Rows single = fold_in_batches(20'000, [] { return 1; });
  const Rows ragged = fold_in_batches(20'000, [&] { return 1 + random() % 500; });
  REQUIRE(whole.transactions == single.transactions);
  REQUIRE(whole.positions == single.positions);
  REQUIRE(whole.transactions == ragged.transactions);
  REQUIRE(whole.positions == ragged.positions);
  REQUIRE(to_text(whole.positions, 1) == to_text(ragged.positions, 1));
}

TEST_CASE("an event id is unique per relation, rises, and carries its sequence") {
  const Rows rows = fold_in_batches(50'000, [] { return 1'000; });
  const auto rising = [](const auto& all) {
    return std::adjacent_find(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.event_id >= b.event_id; }) == all.end();
  };
  REQUIRE(rising(rows.transactions));
  REQUIRE(rising(rows.positions));
  for (const TransactionRow& t : rows.transactions) REQUIRE((sequence_of(t.event_id) == t.sequence && event_id_of(t.sequence, t.leg) == t.event_id));
}

TEST_CASE("the books hold at every sequence, by brute force over the rows") {
  std::map<std::pair<int, int>, Int128> balances, latest_pnl;
  std::map<int, Int128> pnl_by_transactions;
  std::map<std::pair<int, int>, std::int64_t> quantities;
  Digest transactions, positions;
  Fold fold;
  Oracle oracle(stream);
  Rows rows;
  for (std::uint64_t s = 1; s <= 5'000; ++s) {
    rows.clear();
    fold.apply(stream.at(s), rows);
    for (const TransactionRow& t : rows.transactions) {
      balances[{t.account, t.currency}] += t.amount;
      if (t.kind == TransactionKind::realized_pnl) pnl_by_transactions[t.account] += t.amount;
      transactions += epochcut::digest_of_event_id(t.event_id);
    }
    for (const PositionRow& p : rows.positions) {
      latest_pnl[{p.account, p.instrument}] = p.realized_pnl;
      quantities[{p.account, p.instrument}] = p.quantity;
      positions += epochcut::digest_of_event_id(p.event_id);
    }
    const Books& books = oracle.at(s);
    REQUIRE(books == fold.books());
    REQUIRE(books.transactions == transactions);
    REQUIRE(books.positions == positions);
    std::map<int, Int128> pnl_by_positions;
    for (const auto& [key, pnl] : latest_pnl) pnl_by_positions[key.first] += pnl;
    std::map<int, Int128> open_by_instrument;
    for (const auto& [key, quantity] : quantities) open_by_instrument[key.second] += quantity;
    bool equal = true;
    for (int account = 0; account < account_count; ++account) {
      const auto a = static_cast<std::size_t>(account);
      equal &= pnl_by_positions[account] == books.realized_pnl[a] && pnl_by_transactions[account] == books.realized_pnl[a];
      for (int c = 0; c < currency_count; ++c) equal &= balances[{account, c}] == books.balances[a][static_cast<std::size_t>(c)];
    }
    // Whatever one side buys the other sells.
    for (const auto& [instrument, open] : open_by_instrument) equal &= open == 0;
    REQUIRE(equal);
  }
}

TEST_CASE("a position that is closed leaves nothing in its cost") {
  const Rows rows = fold_in_batches(20'000, [] { return 100; });
  int flat = 0;
  for (const PositionRow& p : rows.positions)
    if (p.quantity == 0) {
      ++flat;
      REQUIRE(p.cost == 0);
    }
  REQUIRE(flat > 10);
}

TEST_CASE("the oracle answers in any order") {
  Oracle oracle(stream), forward(stream);
  const Books early = forward.at(1'000), late = forward.at(300'000);
  REQUIRE(oracle.at(300'000) == late);
  REQUIRE(oracle.at(1'000) == early);
  REQUIRE(oracle.at(0) == Books{});
  REQUIRE(oracle.at(300'000) == late);
  Rows rows = oracle.rows_of(1'001);
  REQUIRE_FALSE(rows.positions.empty());
  REQUIRE(rows.positions[0].sequence == 1'001);
  REQUIRE(oracle.at(1'000) == early);
}

TEST_CASE("rows are text that both stores read alike") {
  TransactionRow t;
  t.event_id = event_id_of(5, 2), t.sequence = 5, t.leg = 2, t.execution_ns = -1, t.trade_id = {0x0123456789abcdef, 0xfedcba9876543210};
  t.account = 1, t.kind = TransactionKind::adjustment, t.currency = 4, t.amount = -5, t.memo = "a\tb\nc\\N";
  std::string text;
  append(text, t, 3);
  REQUIRE(text == "1282\t5\t2\t-1\t01234567-89ab-cdef-fedc-ba9876543210\tAcct_1001\t\tadjustment\tUSD\t-0.00000005\ta\\tb\\nc\\\\N\t3\n");
}

TEST_CASE("deposits come where they are told to, and nowhere else") {
  constexpr ExecutionStream told{.seed = 42, .deposit_every = 250};
  int deposits = 0, adjustments = 0;
  for (std::uint64_t s = 1; s <= 50'000; ++s) {
    const Execution e = told.at(s);
    REQUIRE((e.kind != EventKind::trade) == (s % 250 == 0));
    if (e.kind == EventKind::trade) continue;
    REQUIRE(e.amount != 0);
    ++(e.kind == EventKind::deposit ? deposits : adjustments);
  }
  REQUIRE(std::min(deposits, adjustments) > 20);
  // Nothing else about an event depends on it.
  for (std::uint64_t s = 1; s <= 1'000; ++s) REQUIRE(told.at(s).trade_id == stream.at(s).trade_id);
}

TEST_CASE("what the custodian holds and what was earned is what the accounts have, at every sequence number") {
  const ExecutionStream custody{.seed = GENERATE(1u, 42u), .deposit_every = GENERATE(std::uint64_t{0}, std::uint64_t{40})};
  std::array<Int128, currency_count> holdings{}, earned{};
  int transfers = 0;
  Fold fold;
  Rows rows;
  for (std::uint64_t s = 1; s <= 20'000; ++s) {
    const Execution e = custody.at(s);
    rows.clear();
    fold.apply(e, rows);
    if (e.kind != EventKind::trade) ++transfers, holdings[e.currency] += e.amount;
    for (const TransactionRow& t : rows.transactions)
      if (t.kind == TransactionKind::realized_pnl) earned[static_cast<std::size_t>(t.currency)] += t.amount;
    bool square = true;
    for (std::size_t c = 0; c < currency_count; ++c) square &= holdings[c] + earned[c] == fold.books().sum_of_currency(static_cast<int>(c));
    REQUIRE(square);
  }
  REQUIRE(transfers > 50);
  REQUIRE(std::none_of(holdings.begin(), holdings.end(), [](Int128 h) { return h == 0; }));
  REQUIRE(std::none_of(earned.begin(), earned.end(), [](Int128 e) { return e == 0; }));
}

TEST_CASE("each mark cycle adds up to zero in every currency, and says what a position is worth") {
  constexpr std::uint64_t every = 700;
  std::map<std::pair<int, int>, Int128> paid;  // for all that an account ever bought, less what it sold for
  std::map<std::pair<int, int>, std::int64_t> quantity;
  Fold fold;
  Rows rows;
  Digest ids;
  int rows_of_worth = 0;
  for (std::uint64_t s = 1; s <= 30 * every; ++s) {
    const Execution e = stream.at(s);
    fold.apply(e, rows);
    if (e.kind == EventKind::trade) {
      paid[{e.buyer, e.instrument}] += Int128{e.price} * e.quantity, quantity[{e.buyer, e.instrument}] += e.quantity;
      paid[{e.seller, e.instrument}] -= Int128{e.price} * e.quantity, quantity[{e.seller, e.instrument}] -= e.quantity;
    }
    if (s % every != 0) continue;
    const std::vector<MarkRow> marks = mark_rows(s / every, fold);
    std::array<Int128, currency_count> sums{};
    REQUIRE(marks.size() == paid.size());  // one per account and instrument ever traded, a wash trade's and a closed one's too
    std::uint64_t previous = 0;
    for (const MarkRow& m : marks) {
      // However it was bought and sold: what it would bring at the mark, less what was paid for it.
      const std::pair key{m.account, m.instrument};
      REQUIRE(m.total_pnl == Int128{mark_price(s, m.instrument)} * quantity.at(key) - paid.at(key));
      REQUIRE((m.event_id > previous && m.event_id >> mark_leg_bits == s / every && m.cycle == s / every));
      previous = m.event_id;
      sums[static_cast<std::size_t>(m.currency)] += m.total_pnl;
      rows_of_worth += m.total_pnl != 0;
      ids += epochcut::digest_of_event_id(m.event_id);
    }
    REQUIRE(std::all_of(sums.begin(), sums.end(), [](Int128 sum) { return sum == 0; }));
    ids -= digest_of(marks);
  }
  REQUIRE(ids == Digest{});
  REQUIRE(rows_of_worth > 100'000);
}

TEST_CASE("a mark row is text in the order of its table") {
  std::string text;
  append(text, MarkRow{mark_event_id(3, 1, 4), 3, 1, 4, 4, -5}, 2);
  REQUIRE(text == "3145772\t3\tAcct_1001\tUSD-PERP-14\tUSD\t-0.00000005\t2\n");
}

TEST_CASE("the planted bug is one rounding error in 100 000 events, and each is an event of its own") {
  Fold right, wrong(PlantedBug::rounding);
  std::vector<std::uint64_t> hit;
  for (std::uint64_t s = 1; s <= 210'000; ++s) {
    Rows a, b;
    right.apply(stream.at(s), a), wrong.apply(stream.at(s), b);
    if (a.transactions == b.transactions) continue;
    hit.push_back(s);
    REQUIRE(a.positions == b.positions);
    REQUIRE(a.transactions.size() == b.transactions.size());
    Int128 off = 0;
    for (std::size_t i = 0; i < a.transactions.size(); ++i) off += b.transactions[i].amount - a.transactions[i].amount;
    REQUIRE(off == 0);  // the buyer's loss is the exchange's gain: no sum over an event shows it
  }
  REQUIRE(hit.size() == 3);
  for (std::size_t i = 0; i < hit.size(); ++i) REQUIRE((hit[i] >= i * 100'000 + 5'000 && hit[i] < i * 100'000 + 5'100));
}

TEST_CASE("the chain is the same however events are batched, and another after any change of any row") {
  Fold fold;
  Rows all;
  Chain whole;
  std::vector<Rows> events;
  for (std::uint64_t s = 1; s <= 300; ++s) {
    const std::size_t transactions = all.transactions.size(), positions = all.positions.size();
    fold.apply(stream.at(s), all);
    whole = extend(whole, s, all, transactions, positions);
    events.push_back({{all.transactions.begin() + static_cast<std::ptrdiff_t>(transactions), all.transactions.end()},
                      {all.positions.begin() + static_cast<std::ptrdiff_t>(positions), all.positions.end()}});
  }
  const auto chain_of = [&] {
    Chain chain;
    for (std::size_t i = 0; i < events.size(); ++i) chain = extend(chain, i + 1, events[i]);
    return chain;
  };
  REQUIRE(chain_of() == whole);
  const auto changed = [&](auto& field, auto value) {
    const auto before = field;
    field = value;
    const bool differs = chain_of() != whole;
    field = before;
    return differs;
  };
  for (std::size_t i = 0; i < events.size(); i += 50) {
    REQUIRE_FALSE(events[i].transactions.empty());
    REQUIRE_FALSE(events[i].positions.empty());
    TransactionRow& t = events[i].transactions.back();
    PositionRow& p = events[i].positions.front();
    REQUIRE(changed(t.amount, t.amount + 1));
    REQUIRE(changed(t.account, t.account + 1));
    REQUIRE(changed(t.currency, t.currency + 1));
    REQUIRE(changed(t.kind, TransactionKind::adjustment));
    REQUIRE(changed(t.memo, std::optional<std::string_view>("other")));
    REQUIRE(changed(t.execution_ns, t.execution_ns + 1));
    REQUIRE(changed(p.quantity, p.quantity + 1));
    REQUIRE(changed(p.cost, Int128{p.cost + 1}));
    REQUIRE(changed(p.realized_pnl, Int128{p.realized_pnl + (Int128{1} << 70)}));
    REQUIRE(changed(p.last_note, std::optional<std::string_view>("")));
    std::swap(events[i].transactions, events[i + 1].transactions);
    REQUIRE(chain_of() != whole);
    std::swap(events[i].transactions, events[i + 1].transactions);
  }
  REQUIRE(chain_of() == whole);
}
