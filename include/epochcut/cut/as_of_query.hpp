// What is to be read?
// Layer: cut. A plain value that says what, never how: a history, then where, then by, then values, sums and counts.
// `evaluate` (cut/evaluate.hpp) is its meaning; every SQL renderer is tested against that. Source: docs/concepts.md "Reading as of an epoch".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <epochcut/core/epoch.hpp>
#include <epochcut/core/failure.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/core/value.hpp>

namespace epochcut {

/// events: every row. latest: per key the ONE row of the greatest event id (argMax), NULLs kept. current: a table that holds state, not events.
enum class History : std::uint8_t { events, latest, current };

enum class Comparison : std::uint8_t { equal, not_equal, less, at_most, greater, at_least, is_null, is_not_null };

/// A value that owns its text, so that a query can be copied and stored.
struct Literal {
  Literal() = default;
  Literal(const Value& v) : text(v.text), value_(v) { value_.text = {}; }
  std::string text;
  Value value() const {
    Value v = value_;
    v.text = text;
    return v;
  }

 private:
  Value value_;
};

/// `column <comparison> literal`. As in SQL, a NULL cell satisfies none but is_null.
struct Filter {
  std::string column;
  Comparison comparison = Comparison::equal;
  Literal literal{};
};

/// One value column of the result. sum: exact, a decimal, NULL if there was nothing but NULLs; of floats: refused.
struct Measure {
  enum class Kind : std::uint8_t { value, sum, count };
  Kind kind = Kind::value;
  std::string column{};
  std::string name{};  ///< in the result; columns of two sides match by it
};

/// The plain data of a query, for those who render it.
struct QueryPlan {
  History history = History::events;
  std::string relation{};
  std::vector<std::string> per{};
  std::vector<Filter> where{};
  std::vector<std::string> by{};
  std::vector<std::string> key{};
  std::vector<Measure> measures{};
  bool any_order = false;  ///< for those who don't need key order: rows may come as the store has them, which spares its sort

  bool grouped() const {
    if (!by.empty()) return true;
    for (const Measure& m : measures)
      if (m.kind != Measure::Kind::value) return true;
    return false;
  }

  /// The key columns of the result, in order.
  std::vector<std::string> keys(const Stream& stream) const {
    if (grouped()) return by;
    if (!key.empty()) return key;
    if (history == History::latest) return per;
    return {stream.event_id};
  }

  /// Every column of the relation that this query looks at, the event id aside. Two rows of one event that agree in these are one row to it.
  std::vector<std::string> used_columns(const Stream& stream) const {
    std::vector<std::string> used;
    const auto use = [&](const std::string& column) {
      if (column.empty() || column == stream.event_id) return;
      for (const std::string& u : used)
        if (u == column) return;
      used.push_back(column);
    };
    for (const std::string& c : per) use(c);
    for (const Filter& f : where) use(f.column);
    for (const std::string& c : keys(stream)) use(c);
    for (const Measure& m : measures) use(m.column);
    return used;
  }

  /// Errors: `configuration`, one sentence that says what to change.
  void validate() const {
    const auto refuse = [&](const std::string& why) { throw Failure(Reason::configuration, "query on \"" + relation + "\": " + why); };
    if (relation.empty()) throw Failure(Reason::configuration, "a query must name a relation");
    if (history == History::latest && per.empty()) refuse("latest() needs .per(key): the columns of which one winner is read");
    if (history != History::latest && !per.empty()) refuse(".per() belongs to latest()");
    const auto require_name = [&](const std::string& column) {
      if (column.empty()) refuse("a column without a name is none");
    };
    for (const std::vector<std::string>* columns : {&per, &by, &key})
      for (const std::string& column : *columns) require_name(column);
    for (const Filter& filter : where) require_name(filter.column);
    for (const Measure& m : measures)
      if (m.kind != Measure::Kind::count) require_name(m.column);
    bool has_value = false;
    for (const Measure& m : measures) has_value |= m.kind == Measure::Kind::value;
    if (grouped() && has_value) refuse("a grouped query has sums and counts, not .values()");
    if (grouped() && !key.empty()) refuse("a grouped query is keyed by .by(), drop .key()");
    if (!grouped() && history == History::current && key.empty()) refuse("an ungrouped current() needs .key(): the columns that name a row");
    std::vector<std::string> names = grouped() ? by : !key.empty() ? key : per;
    for (const Measure& m : measures) names.push_back(m.name);
    for (std::size_t i = 0; i < names.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (names[i] == names[j]) refuse("two columns of the result are named \"" + names[i] + "\"; rename one with .as()");
    if (names.empty()) refuse("it reads no column; add .values(), .sum() or .count()");
  }
};

template <class Row = void>
class AsOfQuery;

/// The untyped query. Every step returns a new query, so that a common beginning can be shared.
template <>
class AsOfQuery<void> {
 public:
  AsOfQuery() = default;
  explicit AsOfQuery(QueryPlan plan) : plan_(std::move(plan)) {}

  const QueryPlan& plan() const { return plan_; }

  template <class... Columns>
  AsOfQuery per(Columns... columns) const {
    return with([&](QueryPlan& p) { (p.per.emplace_back(std::move(columns)), ...); });
  }
  AsOfQuery where(std::string column, const Value& equals) const { return where(std::move(column), Comparison::equal, equals); }
  AsOfQuery where(std::string column, Comparison comparison, const Value& literal = {}) const {
    return with([&](QueryPlan& p) { p.where.push_back({std::move(column), comparison, Literal(literal)}); });
  }
  /// Groups by these columns; they are the key of the result.
  template <class... Columns>
  AsOfQuery by(Columns... columns) const {
    return with([&](QueryPlan& p) { (p.by.emplace_back(std::move(columns)), ...); });
  }
  /// Names the key of an ungrouped query; without it `latest` is keyed by its per() and `events` by the event id.
  template <class... Columns>
  AsOfQuery key(Columns... columns) const {
    return with([&](QueryPlan& p) { (p.key.emplace_back(std::move(columns)), ...); });
  }
  template <class... Columns>
  AsOfQuery values(Columns... columns) const {
    return with([&](QueryPlan& p) { (add(p, Measure::Kind::value, columns), ...); });
  }
  AsOfQuery sum(std::string column) const {
    return with([&](QueryPlan& p) { add(p, Measure::Kind::sum, std::move(column)); });
  }
  AsOfQuery count(std::string name = "count") const {
    return with([&](QueryPlan& p) { p.measures.push_back({Measure::Kind::count, {}, std::move(name)}); });
  }
  /// Renames the value, sum or count just added. Errors: `configuration` if there is none.
  AsOfQuery as(std::string name) const {
    if (plan_.measures.empty()) throw Failure(Reason::configuration, ".as(\"" + name + "\") must follow .sum(), .count() or .values()");
    return with([&](QueryPlan& p) { p.measures.back().name = std::move(name); });
  }

 private:
  static void add(QueryPlan& plan, Measure::Kind kind, std::string column) { plan.measures.push_back({kind, column, column}); }
  template <class Change>
  AsOfQuery with(Change change) const {
    AsOfQuery next = *this;
    change(next.plan_);
    return next;
  }
  QueryPlan plan_;
};

using Query = AsOfQuery<>;

inline Query events(std::string relation) { return Query(QueryPlan{.history = History::events, .relation = std::move(relation)}); }
inline Query latest(std::string relation) { return Query(QueryPlan{.history = History::latest, .relation = std::move(relation)}); }
inline Query current(std::string relation) { return Query(QueryPlan{.history = History::current, .relation = std::move(relation)}); }

}  // namespace epochcut
