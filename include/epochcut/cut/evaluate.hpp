// What does an AsOfQuery mean?
// Layer: cut. The reference: plain, in memory, the oracle of every SQL renderer, and all that a source needs which can only scan.
// Source: docs/concepts.md "Reading as of an epoch". Cost: O(n log n) in the rows of the relation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/relation.hpp>
#include <epochcut/core/row_hash.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/evaluation.hpp>
#include <epochcut/cut/fold.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut {

namespace evaluation {

using Rows = std::vector<std::size_t>;

/// The rows at or below the epoch, their digest, and in distinct form one row per event id.
inline Rows visible_rows(const Relation& table, const QueryPlan& plan, const AsOf& as_of, Form form, Proof& proof) {
  Rows rows(table.rows());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  if (plan.history == History::current) return rows;
  const Column& ids = table.column(as_of.stream.event_id);
  if (!as_of.at_rest) std::erase_if(rows, [&](std::size_t row) { return event_id(ids, row) > as_of.last_event_id; });
  if (by_generation(as_of)) {
    const Column& generations = table.column(as_of.stream.generation);
    std::erase_if(rows, [&](std::size_t row) { return !written_by(generations, row, owner(as_of, event_id(ids, row))); });
  }
  if (form == Form::distinct) {
    const auto used = columns_of(table, plan.used_columns(as_of.stream));
    std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
      const std::uint64_t x = event_id(ids, a), y = event_id(ids, b);
      if (x != y) return x < y;
      const auto order = compare_rows(used, a, b);
      return order != 0 ? order < 0 : a < b;
    });
    Rows distinct;
    bool counted = false;  // this id's conflict, however many rows it has
    for (std::size_t row : rows) {
      if (distinct.empty() || event_id(ids, distinct.back()) != event_id(ids, row)) {
        distinct.push_back(row);
        counted = false;
      } else if (!counted && compare_rows(used, distinct.back(), row) != 0) {
        counted = true;
        if (proof.conflicts++ == 0) proof.conflicting_ids = std::to_string(event_id(ids, row));
      }
    }
    rows = std::move(distinct);
  }
  proof.ids = Digest{};
  for (std::size_t row : rows) *proof.ids += digest_of_event_id(event_id(ids, row));
  return rows;
}

/// ONE winner for all columns: the row of the greatest event id per key.
inline Rows winners(const Relation& table, const QueryPlan& plan, const AsOf& as_of, Rows rows) {
  const auto per = columns_of(table, plan.per);
  const Column& ids = table.column(as_of.stream.event_id);
  std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {  // a stable sort warns under clang with libstdc++ 12
    const auto order = compare_rows(per, a, b);
    if (order != 0) return order < 0;
    const std::uint64_t x = event_id(ids, a), y = event_id(ids, b);
    return x != y ? x > y : a < b;
  });
  rows.erase(std::unique(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return compare_rows(per, a, b) == 0; }), rows.end());
  return rows;
}

inline void append_measure(Column& out, const Measure& measure, const Column* in, const Rows& rows, std::size_t begin, std::size_t end) {
  if (measure.kind == Measure::Kind::count) return out.append_word(end - begin);
  Decimal sum{0, in->scale()};
  bool any = false;
  for (std::size_t i = begin; i < end; ++i) {
    const Value cell = (*in)[rows[i]];
    if (cell.null) continue;
    const auto next = add(sum, cell.as_decimal());
    if (!next) throw Failure(Reason::overflow, "sum(\"" + measure.column + "\") does not fit 38 digits");
    sum = *next;
    any = true;
  }
  any ? out.append_decimal(sum) : out.append_null();
}

inline void require_keys(const Relation& table, const std::vector<std::string>& keys) {
  for (const std::string& key : keys)
    if (table.column(key).type() == Type::float64)
      throw Failure(Reason::schema, "column \"" + key + "\" is a float, which can't be a key; choose an exact type");
}

inline void require_sums(const Relation& table, const QueryPlan& plan) {
  for (const Measure& m : plan.measures)
    if (m.kind == Measure::Kind::sum && family(table.column(m.column).type()) != Family::number)
      throw Failure(Reason::schema, "sum(\"" + m.column + "\"): the column is " + std::string(to_string(table.column(m.column).type())) +
                                        "; only integers and decimals are summed, since a sum of floats depends on its order");
}

inline void require_filters(const Relation& table, const QueryPlan& plan) {
  for (const Filter& filter : plan.where) {
    const Type type = table.column(filter.column).type();
    const Value literal = filter.literal.value();
    if (filter.comparison == Comparison::is_null || filter.comparison == Comparison::is_not_null || literal.null || family(type) == family(literal.type))
      continue;
    throw Failure(Reason::schema, "where(\"" + filter.column + "\"): a " + std::string(to_string(type)) + " column does not compare with a " +
                                      std::string(to_string(literal.type)) + " value");
  }
}

}  // namespace evaluation

/// Answers `plan` from the whole relation `table`. Errors: `schema`, `overflow`, `configuration`.
inline Evaluated evaluate(const QueryPlan& plan, const Relation& table, const AsOf& as_of, Form form = Form::plain) {
  using namespace evaluation;
  plan.validate();
  const std::vector<std::string> key_names = plan.keys(as_of.stream);
  require_keys(table, key_names);
  require_keys(table, plan.per);
  require_sums(table, plan);
  require_filters(table, plan);
  Evaluated result;
  Rows rows = visible_rows(table, plan, as_of, form, result.proof);
  if (plan.history == History::latest) rows = winners(table, plan, as_of, std::move(rows));
  for (const Filter& filter : plan.where) {
    const Column& column = table.column(filter.column);
    std::erase_if(rows, [&](std::size_t row) { return !satisfies(filter, column[row]); });
  }
  const auto keys = columns_of(table, key_names);
  std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
    const auto order = compare_rows(keys, a, b);
    return order != 0 ? order < 0 : a < b;
  });

  for (std::size_t k = 0; k < keys.size(); ++k) result.rows.add(key_names[k], Role::key, keys[k]->type(), keys[k]->scale());
  for (const Measure& m : plan.measures) {
    if (m.kind == Measure::Kind::count)
      result.rows.add(m.name, Role::value, Type::uint64);
    else if (const Column& c = table.column(m.column); m.kind == Measure::Kind::sum)
      result.rows.add(m.name, Role::value, Type::decimal, c.scale());
    else
      result.rows.add(m.name, Role::value, c.type(), c.scale());
  }
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    end = begin + 1;
    if (plan.grouped())
      while (end < rows.size() && compare_rows(keys, rows[begin], rows[end]) == 0) ++end;
    for (std::size_t k = 0; k < keys.size(); ++k) result.rows.fields[k].column.append((*keys[k])[rows[begin]]);
    for (std::size_t m = 0; m < plan.measures.size(); ++m) {
      const Measure& measure = plan.measures[m];
      Column& out = result.rows.fields[keys.size() + m].column;
      const Column* in = measure.column.empty() ? nullptr : &table.column(measure.column);
      if (measure.kind == Measure::Kind::value)
        out.append((*in)[rows[begin]]);
      else
        append_measure(out, measure, in, rows, begin, end);
    }
  }
  result.proof.rows = result.rows.rows();
  return result;
}

/// The same as `evaluate`, and as fast as memory allows. Cost: O(n), and O(g log g) in the rows or groups that are answered, unless they come in key order.
inline Evaluated fold(const QueryPlan& plan, const Relation& table, const AsOf& as_of, Form form = Form::plain) {
  plan.validate();
  if (std::optional<Evaluated> answer = folding::answer(plan, table, as_of, form)) return *std::move(answer);
  return evaluate(plan, table, as_of, form);
}

/// One relation as a cursor.
class RelationCursor final : public Cursor {
 public:
  RelationCursor(Relation rows, Proof proof) : rows_(std::move(rows)), proof_(std::move(proof)) {}
  bool next(Relation& block) override {
    if (done_) return false;
    done_ = true;
    block = std::move(rows_);
    return true;
  }
  Proof proof() const override { return proof_; }

 private:
  Relation rows_;
  Proof proof_;
  bool done_ = false;
};

/// A source that can only scan, made readable. Holds a reference.
template <Scannable Source>
class Scanned {
 public:
  explicit Scanned(Source& source) : source_(&source) {}

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    control.check();
    const Relation table = source_->scan(plan.relation);
    control.check_size(table.rows(), table.bytes());
    Evaluated result = fold(plan, table, as_of, form);
    result.proof.server = server();
    result.proof.bytes = table.bytes();
    return AnyCursor(new RelationCursor(std::move(result.rows), std::move(result.proof)));
  }

  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    control.check();
    const Relation table = source_->scan(relation);
    const Column& ids = table.column(as_of.stream.event_id);
    Visible visible{.server = server()};
    for (std::size_t row = 0; row < ids.size(); ++row) {
      const std::uint64_t id = evaluation::event_id(ids, row);
      visible.count += id <= as_of.last_event_id;
      visible.newest = std::max(visible.newest, id);
    }
    return visible;
  }

  FollowerInfo about(const std::string& relation, const Control& control) {
    if constexpr (requires {
                    { source_->about(relation, control) } -> std::same_as<FollowerInfo>;
                  })
      return source_->about(relation, control);
    else
      return {server().name + "/" + relation, {}, {}};
  }

 private:
  /// A source without a name of its own is named by its address: two objects are two servers.
  Server server() const { return {"scan@" + std::to_string(reinterpret_cast<std::uintptr_t>(source_)), {}}; }
  Source* source_;
};

/// The one way in for both kinds of follower.
template <Follower Source>
decltype(auto) readable(Source& source) {
  if constexpr (Readable<Source>)
    return (source);
  else
    return Scanned<Source>(source);
}

}  // namespace epochcut
