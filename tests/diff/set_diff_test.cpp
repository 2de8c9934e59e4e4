// Two streams side by side, each in its own order: the same counts and differences as the reference finds in them once they are sorted, whoever waits for
// whom, and no more memory than was allowed.
#include <epochcut/diff/set_diff.hpp>

#include <algorithm>
#include <numeric>

#include "diff/random_tables.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using namespace random_tables;
using namespace tables;

namespace {

std::vector<Relation> blocks(const Relation& whole, std::size_t rows) {
  std::vector<Relation> all;
  for (std::size_t row = 0; row < whole.rows(); ++row) {
    if (row % rows == 0) all.push_back(whole.empty_copy());
    all.back().append_row(whole, row);
  }
  return all;
}

/// Numbered rows, `change` of which (one in so many, 0: none) hold something else; in the order i * factor.
Relation numbered(std::uint64_t rows, std::uint64_t factor, std::uint64_t change = 0) {
  Relation r = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::int64}});
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::uint64_t k = i * factor % rows;
    r.fields[0].column.append_word(k), r.fields[1].column.append_word(change != 0 && k % change == 0 ? k + 1 : k);
  }
  return r;
}

}  // namespace

TEST_CASE("streams in any order: what the reference finds in them once they are sorted") {
  int differing = 0, equal = 0;
  CHECK(rc::check("set is plain", [&] {
    const Made m = made();
    const Relation left = joined(m.left), right = joined(m.right);
    const auto plain = said([&](auto& sink) {
      BlockCursor l({diffing::sorted_by_key(left)}), r({diffing::sorted_by_key(right)});
      return plain_diff(l, r, m.rules, sink);
    });
    if (plain.size() == 1 && plain[0] == "unordered") return;  // a key twice: no set of keys
    (plain.size() == 1 ? equal : differing)++;
    std::vector<std::size_t> order(left.rows());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (*rc::gen::arbitrary<bool>()) {
      std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 3), order.end());
      std::reverse(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2));
    }
    const Relation shuffled = in_order(left, order);
    const auto set = said([&](auto& sink) {
      BlockCursor l(cut(shuffled, 3)), r(m.right);
      return set_diff(l, r, m.rules, sink);
    });
    RC_ASSERT(set == plain);
  }));
  CHECK(differing > 0);
  CHECK(equal > 0);
}

TEST_CASE("rows are counted as often as they stand there: a row too many is one, however equal") {
  const Relation once = numbered(10, 3);
  Relation twice = once;
  twice.append_row(once, 4);
  const auto counts = [](const Relation& l, const Relation& r) {
    BlockCursor left({l}), right({r});
    NullSink sink;
    return set_diff(left, right, {}, sink);
  };
  CHECK(counts(twice, once).only_left == 1);
  CHECK(counts(once, twice).only_right == 1);
  CHECK(counts(twice, twice).differences() == 0);
  CHECK(counts(once, once).equal == 10);
}

TEST_CASE("streams in nearly one order are held to a few blocks, however long, however many rows differ") {
  constexpr std::uint64_t rows = 400'000;  // 40 times what may be held
  Relation left = numbered(rows, 1), right = numbered(rows, 1, 1'000);
  std::vector<std::size_t> order(rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = 0; i + 512 <= rows; i += 512)
    std::reverse(order.begin() + static_cast<std::ptrdiff_t>(i), order.begin() + static_cast<std::ptrdiff_t>(i) + 512);
  BlockCursor l(blocks(left, 4'096)), r(blocks(in_order(right, order), 4'096));
  FirstDifferences first(3);
  const DiffCounts c = set_diff(l, r, {}, first, {.bytes_max = 1 << 20});
  CHECK(c.left == rows);
  CHECK(c.right == rows);
  CHECK(c.changed == rows / 1'000);
  CHECK(c.equal == rows - rows / 1'000);
  CHECK(c.only_left + c.only_right == 0);
}

TEST_CASE("too far apart is refused before it is held, and never called equal") {
  constexpr std::uint64_t rows = 200'000;
  const auto run = [&](std::uint64_t bytes_max) {
    Relation left = numbered(rows, 1), right = numbered(rows, rows - 1);  // the one backwards
    BlockCursor l(blocks(left, 2'000)), r(blocks(right, 2'000));
    NullSink sink;
    return set_diff(l, r, {}, sink, {.bytes_max = bytes_max}).equal;
  };
  CHECK(run(64 << 20) == rows);
  CHECK(refusal([&] { run(1 << 20); }) == Reason::too_large);
}

TEST_CASE("one number in two types and scales meets itself as it passes") {
  Relation left = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::decimal, 2}});
  Relation right = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, 8}});
  constexpr int rows = 100'000;
  for (int i = 0; i < rows; ++i) {
    left.fields[0].column.append_word(static_cast<std::uint64_t>(i)), right.fields[0].column.append_word(static_cast<std::uint64_t>(i));
    left.fields[1].column.append_decimal({i - 50, 2}), right.fields[1].column.append_decimal({Int128{i - 50} * 1'000'000, 8});
  }
  BlockCursor l(blocks(left, 2'000)), r(blocks(right, 2'000));
  NullSink sink;
  // Far less than the rows take: they have let go of each other on the way.
  CHECK(set_diff(l, r, {}, sink, {.bytes_max = 1 << 20}).equal == rows);
}

TEST_CASE("a number in one form never meets another number in another form, whatever its digits are made of") {
  // In a block of numbers too wide for the common scale stands v; on the other side a number whose 128 bits are the hash form of v.
  int tried = 0;
  for (int v = 1; v < 12; ++v) {
    RowHash hash;
    hash.absorb(Value(Decimal{v, 0}));
    const Digest d = hash.digest();
    const auto made = static_cast<Int128>(static_cast<Uint128>(d.sum_high) << 64 | d.sum_low);
    if (made >= power_of_ten(38) || made <= -power_of_ten(38)) continue;
    ++tried;
    Relation left = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, 18}}, {});
    Relation right = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, 20}}, {});
    left.fields[0].column.append_word(7), right.fields[0].column.append_word(7);
    left.fields[1].column.append_wide(made), right.fields[1].column.append_wide(v * power_of_ten(20));
    BlockCursor l({left}), r({right});
    NullSink sink;
    CHECK(set_diff(l, r, {}, sink).changed == 1);
  }
  CHECK(tried > 0);
}

TEST_CASE("rows of one hash and other values have not met") {
  // One hash for both, as an unlucky or a chosen pair would have: the column's numbers are told apart by their values alone.
  Relation left = table({{"v", Role::key, Type::decimal, 0}}, {{Value(Decimal{1, 0})}}),
           right = table({{"v", Role::key, Type::decimal, 0}}, {{Value(Decimal{2, 0})}});
  const auto met = [](const Relation& a, const Relation& b) {
    diffing::Waiting waiting({}, true);
    // Hashed by columns that hold the same; compared by those that the blocks hold.
    const Relation hashed = table({{"v", Role::key, Type::decimal, 0}}, {{Value(Decimal{5, 0})}});
    const diffing::SetColumn column{&hashed.fields[0].column, {0, 0, diffing::HashForm::wides, 0, true}};
    const std::uint32_t l = waiting.hold(a, diffing::Waiting::left), r = waiting.hold(b, diffing::Waiting::right);
    return waiting.settle(l, 0, 1, {&column, 1}) + waiting.settle(r, 0, 1, {&column, 1});
  };
  CHECK(met(left, right) == 0);
  CHECK(met(left, left) == 1);
}

TEST_CASE("rows that wait and don't fit one column are too large for this way, and not wrong") {
  const auto row = [](std::uint64_t k, Decimal d) {
    Relation r = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, d.scale}});
    r.fields[0].column.append_word(k), r.fields[1].column.append_decimal(d);
    return r;
  };
  const std::vector<Relation> left{row(1, {power_of_ten(37), 0}), row(2, {1, 2})}, right{row(1, {power_of_ten(37) + 1, 0}), row(2, {2, 2})};
  NullSink sink;
  BlockCursor a(left), b(right), c(left), d(right);
  CHECK(plain_diff(a, b, {}, sink).changed == 2);
  CHECK(refusal([&] { set_diff(c, d, {}, sink); }) == Reason::too_large);
  // Each number fits one scale for all of them, and the difference of two does not.
  const std::vector<Relation> more{row(1, {9 * power_of_ten(36), 0}), row(2, {1, 1})}, less{row(1, {-9 * power_of_ten(36), 0}), row(2, {2, 1})};
  const Rule within{"v", Rule::Kind::within, {}, false};
  BlockCursor e(more), f(less), g(more), h(less);
  CHECK(plain_diff(e, f, {&within, 1}, sink).changed == 2);
  CHECK(refusal([&] { set_diff(g, h, {&within, 1}, sink); }) == Reason::too_large);
}
