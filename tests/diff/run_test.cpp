// The fast path says what the row by row reference says, whatever the columns, the values, the blocks, the rules and the differences; and it is the one
// that does the work.
#include <epochcut/diff/run.hpp>

#include <epochcut/diff/diff.hpp>

#include "diff/random_tables.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using namespace epochcut::diffing;
using namespace random_tables;
using namespace tables;

namespace {

/// All that a diff says, as text: what it counts, each difference, or why there is none.
template <Path path>
std::string said(const Made& made) {
  BlockCursor left(made.left), right(made.right);
  FirstDifferences first(1000);
  try {
    const DiffCounts c = diffing::run<path>(left, right, made.rules, first);
    std::string text;
    for (const std::string& line : lines_of(c, first.take())) text += line + "\n";
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
