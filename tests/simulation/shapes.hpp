// What the checks ask, and what the true answer is: each question once as a query for the library, and once in plain C++ over the history.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/diff/difference.hpp>
#include <epochcut/verdict/invariant.hpp>

#include "simulation/world.hpp"

namespace simulation {

enum Shape : std::size_t {
  sums,          ///< balances against the sum of transactions
  one_currency,  ///< the same for one currency
  no_currency,   ///< ... for one that does not exist: selects nothing
  latest_rows,   ///< positions against the newest row per account
  latest_sums,   ///< a sum of those
  listing,       ///< the ledger's journal against the transactions, row by row
  counts,        ///< rows per currency
  one_snapshot,  ///< two tables of the ledger
  shapes
};

inline constexpr std::uint32_t filtered_currency = 1;

inline Table table_of(Shape s) { return s == latest_rows || s == latest_sums ? positions : transactions; }

inline Query right_query(Shape s) {
  const Query t = events("transactions");
  switch (s) {
    case sums: return t.by("currency").sum("amount");
    case one_currency: return t.where("currency", Value(currency_names[filtered_currency])).by("currency").sum("amount");
    case no_currency: return t.where("currency", Value("XXX")).by("currency").sum("amount");
    case latest_rows: return latest("positions").per("account").values("quantity", "note");
    case latest_sums: return latest("positions").per("account").by("owner").sum("quantity");
    case listing: return t.values("currency", "amount");
    case counts: return t.by("currency").count();
    default: return current("parts").by("currency").sum("amount");
  }
}

inline Query left_query(Shape s) {
  const Query balances = current("balances");
  switch (s) {
    case one_currency: return balances.where("currency", Value(currency_names[filtered_currency])).by("currency").sum("amount");
    case no_currency: return balances.where("currency", Value("XXX")).by("currency").sum("amount");
    case latest_rows: return current("positions").key("account").values("quantity", "note");
    case latest_sums: return current("positions").by("owner").sum("quantity");
    case listing: return events("journal").values("currency", "amount");
    case counts: return events("journal").by("currency").count();
    default: return balances.by("currency").sum("amount");
  }
}

/// What of a row a question looks at. Two rows of one event that agree in it are one row to it.
inline Content projected(Shape s, Content c) {
  c.generation = 0;
  if (s == latest_sums || table_of(s) == transactions) c.note = 0;
  if (s == counts) c.amount = 0;
  return c;
}

using Cell = std::optional<std::int64_t>;  // money in cents, other numbers in hundredths, names by their place in the list
/// One line of an answer.
struct Line {
  std::uint64_t key = 0;
  std::array<Cell, 2> cells{};
  friend bool operator==(const Line&, const Line&) = default;
};
using Answer = std::vector<Line>;  // keys rising

inline std::vector<std::string> value_names(Shape s) {
  switch (s) {
    case latest_rows: return {"quantity", "note"};
    case latest_sums: return {"quantity"};
    case listing: return {"currency", "amount"};
    case counts: return {"count"};
    default: return {"amount"};
  }
}

inline Line line_of_position(const Content& c, std::uint64_t key) {
  return {key, {c.null ? Cell{} : Cell{c.amount * 100}, c.note == 0 ? Cell{} : Cell{c.note}}};
}

inline Answer in_order(const std::map<std::uint64_t, Line>& lines) {
  Answer answer;
  for (const auto& [key, line] : lines) answer.push_back(line);
  return answer;
}

inline Answer sum_of_positions(const std::map<std::uint32_t, Content>& newest) {
  std::map<std::uint64_t, Line> by_owner;
  for (const auto& [account, content] : newest) {
    Line& line = by_owner[account % 2];
    line.key = account % 2;
    if (!content.null) line.cells[0] = line.cells[0].value_or(0) + content.amount * 100;
  }
  return in_order(by_owner);
}

/// The true answer over rows of distinct events, ids rising.
inline Answer answer(Shape s, const std::vector<Fact>& facts) {
  if (table_of(s) == positions) {
    std::map<std::uint32_t, Content> newest;
    for (const Fact& f : facts) newest[f.content.key] = f.content;
    if (s == latest_sums) return sum_of_positions(newest);
    Answer rows;
    for (const auto& [account, content] : newest) rows.push_back(line_of_position(content, account));
    return rows;
  }
  if (s == listing) {
    Answer rows;
    for (const Fact& f : facts) rows.push_back({f.id, {Cell{f.content.key}, Cell{f.content.amount}}});
    return rows;
  }
  std::map<std::uint64_t, Line> groups;
  for (const Fact& f : facts) {
    if (s == no_currency || (s == one_currency && f.content.key != filtered_currency)) continue;
    Line& line = groups[f.content.key];
    line.key = f.content.key;
    line.cells[0] = line.cells[0].value_or(0) + (s == counts ? 100 : f.content.amount);
  }
  return in_order(groups);
}

/// The true answer of the ledger itself.
inline Answer ledger_answer(Shape s, const History& history, const Cut& cut, bool right) {
  if (s == listing || s == counts) return answer(s, history.committed(transactions, cut));
  if (s == latest_rows || s == latest_sums) {
    std::map<std::uint32_t, Content> held;
    for (std::uint32_t p = 0; p < accounts; ++p)
      if (cut.state.positions[p]) held[p] = *cut.state.positions[p];
    if (s == latest_sums) return sum_of_positions(held);
    Answer rows;
    for (const auto& [account, content] : held) rows.push_back(line_of_position(content, account));
    return rows;
  }
  Answer rows;
  const auto& of = right ? cut.state.parts : cut.state.cents;
  for (std::uint32_t c = 0; c < currencies; ++c)
    if (of[c] && s != no_currency && (s != one_currency || c == filtered_currency)) rows.push_back({c, {of[c], {}}});
  return rows;
}

/// What a diff of two answers must say.
struct Expected {
  struct One {
    DifferenceKind kind;
    std::uint64_t key;
    std::vector<std::pair<std::string, Cell>> left, right;
    friend bool operator==(const One&, const One&) = default;
  };
  std::vector<One> differences;
  std::uint64_t equal = 0, left = 0, right = 0;
};

inline Expected compare_answers(Shape s, const Answer& left, const Answer& right, bool absent_is_zero) {
  const std::vector<std::string> names = value_names(s);
  Expected e;
  e.left = left.size(), e.right = right.size();
  const auto cells = [&](const Line& line) {
    std::vector<std::pair<std::string, Cell>> out;
    for (std::size_t i = 0; i < names.size(); ++i) out.emplace_back(names[i], line.cells[i]);
    return out;
  };
  std::size_t l = 0, r = 0;
  while (l < left.size() || r < right.size()) {
    if (r == right.size() || (l < left.size() && left[l].key < right[r].key)) {
      absent_is_zero&& left[l].cells[0] == 0 ? void(++e.equal) : e.differences.push_back({DifferenceKind::only_left, left[l].key, cells(left[l]), {}});
      ++l;
    } else if (l == left.size() || right[r].key < left[l].key) {
      absent_is_zero&& right[r].cells[0] == 0 ? void(++e.equal) : e.differences.push_back({DifferenceKind::only_right, right[r].key, {}, cells(right[r])});
      ++r;
    } else {
      Expected::One one{DifferenceKind::changed, left[l].key, {}, {}};
      for (std::size_t i = 0; i < names.size(); ++i)
        if (left[l].cells[i] != right[r].cells[i]) one.left.emplace_back(names[i], left[l].cells[i]), one.right.emplace_back(names[i], right[r].cells[i]);
      one.left.empty() ? void(++e.equal) : e.differences.push_back(std::move(one));
      ++l, ++r;
    }
  }
  return e;
}

/// A cell of an outcome in the oracle's words.
inline Cell cell_of(const Value& v) {
  if (v.null) return {};
  if (v.type == Type::text) {
    const auto among = [&](const auto& names) -> Cell {
      for (std::size_t i = 0; i < names.size(); ++i)
        if (v.text == names[i]) return static_cast<std::int64_t>(i);
      return {};
    };
    for (const Cell c : {among(currency_names), among(account_names), among(owner_names), among(note_names)})
      if (c) return c;
    return -1;
  }
  const auto scaled = v.as_decimal().at_scale(2);
  return scaled ? static_cast<std::int64_t>(scaled->unscaled) : Cell{};
}

inline std::uint64_t key_of(const Difference& d) {
  const Value v = d.key.at(0).value.value();
  return v.type == Type::text ? static_cast<std::uint64_t>(*cell_of(v)) : v.word;
}

}  // namespace simulation
