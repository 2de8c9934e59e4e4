// The fast path says what the row by row reference says, whatever the columns, the values, the blocks, the rules and the differences; and it is the one
// that does the work.
#include <epochcut/diff/run.hpp>

#include <algorithm>
#include <limits>
#include <set>

#include <epochcut/diff/diff.hpp>
#include <epochcut/testing/conformance.hpp>
#include <rapidcheck.h>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace epochcut::diffing;
using namespace tables;

namespace {

/// How one column is held on each side: the same family, and often the same type.
struct Shape {
  Type left, right;
  int left_scale = 0, right_scale = 0;
};

const std::vector<Shape> shapes{{Type::int64, Type::int64},
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
Value value_of(const Shape& shape, std::uint64_t n, std::string& room) {
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
  std::vector<Relation> left, right;
  std::vector<Rule> rules;
};

Relation empty_of(const std::vector<Shape>& columns, std::size_t keys, bool is_left) {
  Relation r;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Shape& s = columns[i];
    r.add((i < keys ? "k" : "v") + std::to_string(i), i < keys ? Role::key : Role::value, is_left ? s.left : s.right, is_left ? s.left_scale : s.right_scale);
  }
  return r;
}

std::vector<Relation> cut(const Relation& whole, std::size_t pieces_max) {
  std::vector<Relation> blocks;
  for (std::size_t row = 0; row < whole.rows();) {
    const std::size_t n = *rc::gen::inRange<std::size_t>(1, std::max<std::size_t>(2, whole.rows() / pieces_max + 2));
    Relation& block = blocks.emplace_back(whole.empty_copy());
    for (std::size_t end = std::min(row + n, whole.rows()); row < end; ++row) block.append_row(whole, row);
  }
  if (blocks.empty() || *rc::gen::inRange(0, 5) == 0) blocks.push_back(whole.empty_copy());
  return blocks;
}

Made made() {
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

/// All that a diff says, as text: what it counts, each difference, or why there is none.
template <Path path>
std::string said(const Made& made) {
  BlockCursor left(made.left), right(made.right);
  FirstDifferences first(1000);
  try {
    const DiffCounts c = diffing::run<path>(left, right, made.rules, first);
    std::string text = std::to_string(c.left) + " " + std::to_string(c.right) + " " + std::to_string(c.equal) + " " + std::to_string(c.only_left) + " " +
                       std::to_string(c.only_right) + " " + std::to_string(c.changed) + " " + to_string(c.which) + "\n";
    for (const Difference& d : first.take()) {
      text += std::to_string(static_cast<int>(d.kind));
      for (const auto* cells : {&d.key, &d.left, &d.right})
        for (const Cell& cell : *cells) text += "|" + cell.name + "=" + to_string(cell.value.value());
      text += "\n";
    }
    return text;
  } catch (const Failure& failure) {
    return std::string(to_string(failure.kind)) + ": " + failure.message;
  }
}

}  // namespace

TEST_CASE("the fast path and the reference say the same, over random columns, values, blocks, rules and differences") {
  int refused = 0, differing = 0, equal = 0;
  CHECK(rc::check("fast is plain", [&] {
    const Made m = made();
    const std::string plain = said<Path::plain>(m);
    (plain.find("unordered") == 0 ? refused : plain.find('|') != std::string::npos ? differing : equal)++;
    RC_ASSERT(said<Path::fast>(m) == plain);
  }));
  // Each kind of table has come up; else the above has shown little.
  CHECK(refused > 0);
  CHECK(differing > 0);
  CHECK(equal > 0);
}

TEST_CASE("long equal stretches, one difference at each place of them") {
  const std::size_t rows = 3 * run_rows_max / 2;
  Relation left = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::text}});
  for (std::size_t i = 0; i < rows; ++i) left.fields[0].column.append_word(i), left.fields[1].column.append_text(i % 3 == 0 ? "" : "text");
  for (std::size_t at = 0; at < rows; at += at < 200 || at > rows - 200 ? 1 : 97) {
    Relation right = left.empty_copy();
    for (std::size_t i = 0; i < rows; ++i)
      right.fields[0].column.append_word(i), right.fields[1].column.append_text(i == at ? "other" : i % 3 == 0 ? "" : "text");
    const Made m{{left}, {right}, {}};
    INFO("at " << at);
    REQUIRE(said<Path::fast>(m) == said<Path::plain>(m));
    REQUIRE(said<Path::fast>(m).find("k=" + std::to_string(at) + "|") != std::string::npos);
  }
}

TEST_CASE("a run is as long as both sides agree, and no longer than asked") {
  Relation t = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, 8}});
  for (std::uint64_t i = 0; i < 100; ++i) t.fields[0].column.append_word(i), t.fields[1].column.append_wide(static_cast<Int128>(i) << 70);
  BlockCursor a({t}), b({t});
  Side left(a, "left"), right(b, "right");
  const std::vector<Pair> pairs = match(left.shape(), right.shape(), {});
  CHECK(equal_run(left, right, pairs, 1000) == 100);
  CHECK(equal_run(left, right, pairs, 7) == 7);
  Relation u = t;
  u.fields[1].column = Column(Type::decimal, 8);
  for (std::uint64_t i = 0; i < 100; ++i) u.fields[1].column.append_wide((static_cast<Int128>(i) << 70) + (i == 41 ? 1 : 0));
  BlockCursor c({u});
  Side other(c, "right");
  CHECK(equal_run(left, other, pairs, 1000) == 41);
}

TEST_CASE("one number held in two ways is left to the reference, and bits that are two numbers are not equal") {
  const auto words = [](Type type, std::initializer_list<std::uint64_t> cells) {
    Column c(type);
    for (const std::uint64_t w : cells) c.append_word(w);
    return c;
  };
  const std::uint64_t top = std::uint64_t{1} << 63;
  const Column i = words(Type::int64, {1, 2, top, 3}), u = words(Type::uint64, {1, 2, top, 3}), j = words(Type::int64, {1, 2, top, 3});
  CHECK(equal_rows({&i, &u, 0, 0}, 4) == 2);  // -2^63 is not 2^63
  CHECK(equal_rows({&i, &j, 0, 0}, 4) == 4);
  Column two(Type::decimal, 2), eight(Type::decimal, 8);
  two.append_wide(100), eight.append_wide(100);
  CHECK(equal_rows({&two, &eight, 0, 0}, 1) == 0);  // 1.00 is not 0.000001
  Column a(Type::text), b(Type::text);
  for (const char* t : {"x", "ab", "c", ""}) a.append_text(t);
  for (const char* t : {"ab", "c", "", "d"}) b.append_text(t);
  CHECK(equal_rows({&a, &b, 1, 0}, 3) == 3);
  CHECK(equal_rows({&a, &b, 0, 0}, 4) == 0);
  Column c(Type::text), d(Type::text);
  for (const char* t : {"a", "bc"}) c.append_text(t);
  for (const char* t : {"ab", "c"}) d.append_text(t);
  CHECK(equal_rows({&c, &d, 0, 0}, 2) == 0);  // the same bytes, parted elsewhere
  Column e(Type::int64), f(Type::int64);
  e.append_word(0), f.append_null();
  CHECK(equal_rows({&e, &f, 0, 0}, 1) == 0);
}

TEST_CASE("the first row that does not come before the next") {
  Column low(Type::int64), high(Type::text);
  for (const std::int64_t v : {-3, -3, -1, 5, 5, 4}) low.append_word(static_cast<std::uint64_t>(v));
  for (const char* t : {"a", "b", "a", "a", "a", "z"}) high.append_text(t);
  const Column* const keys[] = {&low, &high};
  CHECK(first_disorder(keys, 0, 4) == 3);
  CHECK(first_disorder(keys, 0, 5) == 3);
  CHECK(first_disorder(keys, 4, 2) == 4);
  CHECK(first_disorder(keys, 2, 1) == 2);
  CHECK(first_disorder({}, 0, 2) == 0);  // rows without a key: two of them are two of one
}
