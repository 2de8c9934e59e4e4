// What do both ways of answering a query from memory say alike?
// Layer: cut. Values only, stateless. The reference (cut/evaluate.hpp) and the fast way (cut/fold.hpp) share how one cell is read, compared and filtered;
// how many rows are looked at, and in which order, is each one's own.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include <epochcut/core/relation.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut {

/// A relation in key order, and the proof of what it was made from.
struct Evaluated {
  Relation rows;
  Proof proof;
};

namespace evaluation {

inline std::vector<const Column*> columns_of(const Relation& relation, const std::vector<std::string>& names) {
  std::vector<const Column*> columns;
  for (const std::string& name : names) columns.push_back(&relation.column(name));
  return columns;
}

/// As `compare`, for two cells of one column: what they are is asked once and no value is made.
inline std::strong_ordering compare_cells(const Column& column, std::size_t a, std::size_t b) {
  if (!column.has_nulls()) {
    switch (column.type()) {
      case Type::int64:
      case Type::timestamp_ns:
      case Type::date: return static_cast<std::int64_t>(column.words()[a]) <=> static_cast<std::int64_t>(column.words()[b]);
      case Type::uint64:
      case Type::boolean: return column.words()[a] <=> column.words()[b];
      case Type::decimal: return column.wides()[a] <=> column.wides()[b];
      case Type::uuid: return static_cast<Uint128>(column.wides()[a]) <=> static_cast<Uint128>(column.wides()[b]);
      case Type::text: return column.text(a).compare(column.text(b)) <=> 0;
      case Type::float64: break;
    }
  }
  return compare(column[a], column[b]);
}

inline std::strong_ordering compare_rows(const std::vector<const Column*>& columns, std::size_t a, std::size_t b) {
  for (const Column* column : columns)
    if (const auto order = compare((*column)[a], (*column)[b]); order != 0) return order;
  return std::strong_ordering::equal;
}

inline std::uint64_t event_id(const Column& ids, std::size_t row) {
  const Value id = ids[row];
  if (id.null || (id.type != Type::uint64 && (id.type != Type::int64 || id.as_int64() < 0)))
    throw Failure(Reason::schema, "an event id must be a 64-bit integer that is neither NULL nor negative");
  return id.word;
}

inline bool written_by(const Column& generations, std::size_t row, std::uint64_t generation) {
  const Value g = generations[row];
  if (g.null || (g.type != Type::uint64 && g.type != Type::int64)) throw Failure(Reason::schema, "a row's generation must be an integer that is not NULL");
  return compare(g, Value(generation)) == 0;
}

inline bool satisfies(const Filter& filter, const Value& cell) {
  if (filter.comparison == Comparison::is_null) return cell.null;
  if (filter.comparison == Comparison::is_not_null) return !cell.null;
  const Value literal = filter.literal.value();
  if (cell.null || literal.null) return false;
  const auto order = compare(cell, literal);
  switch (filter.comparison) {
    case Comparison::equal: return order == 0;
    case Comparison::not_equal: return order != 0;
    case Comparison::less: return order < 0;
    case Comparison::at_most: return order <= 0;
    case Comparison::greater: return order > 0;
    default: return order >= 0;
  }
}

}  // namespace evaluation
}  // namespace epochcut
