// Random tables for the diffs: what two sides may look like, and all the ways in which they may part. Within a rapidcheck property.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <epochcut/diff/diff.hpp>
#include <rapidcheck.h>

namespace random_tables {

using namespace epochcut;

/// How one column is held on each side: the same family, and often the same type.
struct Shape {
  Type left, right;
  int left_scale = 0, right_scale = 0;
};

inline const std::vector<Shape> shapes{{Type::int64, Type::int64},
                                       {Type::int64, Type::uint64},
                                       {Type::uint64, Type::uint64},
                                       {Type::decimal, Type::decimal, 2, 2},
                                       {Type::decimal, Type::decimal, 2, 8},
                                       {Type::int64, Type::decimal},
                                       {Type::float64, Type::float64},
                                       {Type::text, Type::text},
                                       {Type::uuid, Type::uuid},
                                       {Type::timestamp_ns, Type::timestamp_ns},
                                       {Type::boolean, Type::boolean},
                                       {Type::date, Type::date}};

/// A value of the family that both sides can hold: few different ones, edges among them, so that rows are equal often and nearly equal often.
inline Value value_of(const Shape& shape, std::uint64_t n, std::string& room) {
  const bool natural = shape.left == Type::uint64 || shape.right == Type::uint64;
  switch (family(shape.left)) {
    case Family::number:
      if (natural) return n % 50 == 49 ? Value(std::uint64_t{INT64_MAX}) : Value(std::uint64_t{n % 50});
      return Value(static_cast<std::int64_t>(n % 50) - 25);
    case Family::float64: {
      const double edges[] = {0.0, -0.0, std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::quiet_NaN(), 1e308, -1.5};
      return n % 8 < 6 ? Value(edges[n % 8]) : Value(static_cast<double>(n % 50));
    }
    case Family::text:
      room = n % 7 == 0 ? "" : std::string(n % 5, 'a') + std::to_string(n % 50) + (n % 11 == 0 ? std::string(1, '\0') : "");
      return Value(std::string_view(room));
    case Family::uuid: return Value(to_uuid(static_cast<Uint128>(n % 50) << 70 | n % 3));
    case Family::timestamp: return Value(Timestamp{static_cast<std::int64_t>(n % 50) - 25});
    case Family::boolean: return Value(n % 2 == 0);
    case Family::date: break;
  }
  return Value(Date{static_cast<std::int32_t>(n % 50) - 25});
}

struct Made {
  std::vector<Relation> left, right;  ///< in blocks
  std::vector<Rule> rules;
};

inline Relation empty_of(const std::vector<Shape>& columns, std::size_t keys, bool is_left) {
  Relation r;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Shape& s = columns[i];
    r.add((i < keys ? "k" : "v") + std::to_string(i), i < keys ? Role::key : Role::value, is_left ? s.left : s.right, is_left ? s.left_scale : s.right_scale);
  }
  return r;
}

inline std::vector<Relation> cut(const Relation& whole, std::size_t pieces_max) {
  std::vector<Relation> blocks;
  for (std::size_t row = 0; row < whole.rows();) {
    const std::size_t n = *rc::gen::inRange<std::size_t>(1, std::max<std::size_t>(2, whole.rows() / pieces_max + 2));
    Relation& block = blocks.emplace_back(whole.empty_copy());
    for (std::size_t end = std::min(row + n, whole.rows()); row < end; ++row) block.append_row(whole, row);
  }
  if (blocks.empty() || *rc::gen::inRange(0, 5) == 0) blocks.push_back(whole.empty_copy());
  return blocks;
}

inline Made made() {
  const std::size_t keys = *rc::gen::inRange<std::size_t>(1, 4), values = *rc::gen::inRange<std::size_t>(0, 4);
  std::vector<Shape> columns;
  for (std::size_t i = 0; i < keys + values; ++i) {
    const Shape shape = *rc::gen::elementOf(shapes);
    columns.push_back(i < keys && shape.left == Type::float64 ? shapes[0] : shape);
  }
  if (*rc::gen::inRange(0, 2) == 0) columns[0] = shapes[*rc::gen::inRange<std::size_t>(0, 3)];
  const bool with_nulls = *rc::gen::inRange(0, 3) == 0;
  const std::size_t rows = *rc::gen::inRange<std::size_t>(0, 200);
  const auto draw = [] { return *rc::gen::arbitrary<std::uint32_t>(); };
  // A common truth of sorted, distinct keys; then each side gets its own faults.
  Relation truth = empty_of(columns, keys, /*is_left=*/false);
  std::string room;
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (with_nulls && draw() % 6 == 0)
        truth.fields[i].column.append_null();
      else
        truth.fields[i].column.append(value_of(columns[i], draw(), room));
    }
  std::vector<std::size_t> order(rows);
  for (std::size_t i = 0; i < rows; ++i) order[i] = i;
  const auto before = [&](std::size_t a, std::size_t b) {
    for (std::size_t i = 0; i < keys; ++i)
      if (const auto o = compare(truth.fields[i].column[a], truth.fields[i].column[b]); o != 0) return o < 0;
    return false;
  };
  std::sort(order.begin(), order.end(), before);
  order.erase(std::unique(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return !before(a, b) && !before(b, a); }), order.end());

  const unsigned faulty = *rc::gen::element(0u, 1u, 5u, 30u, 100u);  // percent of the rows
  const bool disorder = *rc::gen::inRange(0, 4) == 0;
  Relation left = empty_of(columns, keys, true), right = empty_of(columns, keys, false);
  for (Relation* side : {&left, &right})
    for (const std::size_t row : order) {
      const bool hit = draw() % 100 < faulty;
      const std::uint32_t what = draw() % 4;
      if (hit && what == 0) continue;
      for (int copies = hit && what == 1 && disorder ? 2 : 1; copies > 0; --copies)
        for (std::size_t i = 0; i < columns.size(); ++i) {
          const bool change = hit && what >= 2 && i >= keys && draw() % 2 == 0;
          const bool misplace = hit && what == 3 && disorder && i < keys;
          if (change || misplace)
            side->fields[i].column.append(value_of(columns[i], draw(), room));
          else
            side->fields[i].column.append(truth.fields[i].column[row]);
        }
    }
  Made result;
  for (std::size_t i = keys; i < columns.size(); ++i) {
    if (family(columns[i].left) != Family::number || draw() % 3 != 0) continue;
    Rule rule{.column = "v" + std::to_string(i)};
    rule.kind = *rc::gen::element(Rule::Kind::exact, Rule::Kind::within, Rule::Kind::at_least);
    rule.tolerance = {*rc::gen::inRange(-3, 4), *rc::gen::inRange(0, 2)};
    rule.absent_is_zero = draw() % 2 == 0;
    result.rules.push_back(rule);
  }
  result.left = cut(left, 4), result.right = cut(right, 3);
  return result;
}

/// All that a diff said, as text: what it counted, and each difference.
inline std::vector<std::string> lines_of(const DiffCounts& c, const std::vector<Difference>& differences) {
  std::vector<std::string> lines{std::to_string(c.left) + " " + std::to_string(c.right) + " " + std::to_string(c.equal) + " " + std::to_string(c.only_left) +
                                 " " + std::to_string(c.only_right) + " " + std::to_string(c.changed) + " " + to_string(c.which)};
  for (const Difference& d : differences) {
    std::string& line = lines.emplace_back(std::to_string(static_cast<int>(d.kind)));
    for (const auto* cells : {&d.key, &d.left, &d.right})
      for (const Cell& cell : *cells) line += "|" + cell.name + "=" + to_string(cell.value.value());
  }
  return lines;
}

/// The same of a diff that has not run: `diff` takes a sink and gives counts. What it refuses is one line, the reason.
template <class Diff>
std::vector<std::string> said(Diff diff) {
  FirstDifferences first(10'000);
  try {
    const DiffCounts counts = diff(first);
    return lines_of(counts, first.take());
  } catch (const Failure& failure) {
    return {std::string(to_string(failure.kind))};
  }
}

inline Relation joined(const std::vector<Relation>& blocks) {
  Relation all = blocks.front().empty_copy();
  for (const Relation& block : blocks) all.append(block);
  return all;
}

inline Relation in_order(const Relation& from, const std::vector<std::size_t>& order) {
  Relation to = from.empty_copy();
  for (const std::size_t row : order) to.append_row(from, row);
  return to;
}

}  // namespace random_tables
