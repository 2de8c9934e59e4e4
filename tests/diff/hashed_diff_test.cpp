// Two sides in no order: the same counts and the same differences as the reference finds in them once they are sorted, whatever the hashes do.
#include <epochcut/diff/hashed_diff.hpp>

#include <algorithm>
#include <numeric>

#include "diff/random_tables.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using namespace random_tables;
using namespace tables;

namespace {

Relation sorted(const Relation& from) {
  std::vector<std::size_t> order(from.rows());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    for (const Field& f : from.fields)
      if (f.role == Role::key)
        if (const auto o = compare(f.column[a], f.column[b]); o != 0) return o < 0;
    return false;
  });
  return in_order(from, order);
}

/// An unordered diff gives differences in no order.
template <class Diff>
std::vector<std::string> said_in_order(Diff diff) {
  std::vector<std::string> lines = said(diff);
  std::sort(lines.begin() + 1, lines.end());
  return lines;
}

}  // namespace

TEST_CASE("unordered sides: what the reference finds in them once they are sorted") {
  int twice = 0, differing = 0, equal = 0;
  CHECK(rc::check("hashed is plain", [&] {
    const Made m = made();
    const Relation left = joined(m.left), right = joined(m.right);
    const auto plain = said_in_order([&](auto& sink) {
      BlockCursor l({sorted(left)}), r({sorted(right)});
      return plain_diff(l, r, m.rules, sink);
    });
    (plain.size() == 1 ? (plain[0] == "unordered" ? twice : equal) : differing)++;
    std::vector<std::size_t> order(left.rows());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::rotate(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 3), order.end());
    std::reverse(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2));
    const Relation shuffled = in_order(left, order);
    const auto hashed = said_in_order([&](auto& sink) {
      BlockCursor l(cut(shuffled, 3)), r(m.right);
      return hashed_diff(l, r, m.rules, sink);
    });
    RC_ASSERT(hashed == plain);
  }));
  CHECK(twice > 0);
  CHECK(differing > 0);
  CHECK(equal > 0);
}

TEST_CASE("many partitions, one difference of each kind in all of them") {
  Relation left = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::int64}}), right = left;
  constexpr std::uint64_t rows = 50'000;
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::uint64_t a = i * 48'271 % rows, b = i * 16'807 % rows;  // two orders of the same numbers
    if (a != 7) left.fields[0].column.append_word(a), left.fields[1].column.append_word(a);
    if (b != 40'000) right.fields[0].column.append_word(b), right.fields[1].column.append_word(b == 123 ? 0 : b);
  }
  BlockCursor l({left}), r({right});
  FirstDifferences first(10);
  const DiffCounts c = hashed_diff(l, r, {}, first);
  CHECK(c.equal == rows - 3);
  CHECK(c.only_left == 1);
  CHECK(c.only_right == 1);
  CHECK(c.changed == 1);
  std::vector<std::string> lines = lines_of(c, first.take());
  std::sort(lines.begin() + 1, lines.end());
  REQUIRE(lines.size() == 4);
  CHECK(lines[1] == "0|k=40000|v=40000");
  CHECK(lines[2] == "1|k=7|v=7");
  CHECK(lines[3] == "2|k=123|v=123|v=0");
}

TEST_CASE("more than may be held is refused before it is held") {
  Relation t = table({{"k", Role::key, Type::uint64}});
  for (std::uint64_t i = 0; i < 1000; ++i) t.fields[0].column.append_word(i);
  const auto run = [&](std::uint64_t bytes_max) {
    BlockCursor l({t}), r({t});
    NullSink sink;
    return hashed_diff(l, r, {}, sink, {.bytes_max = bytes_max}).equal;
  };
  CHECK(run(1 << 20) == 1000);
  CHECK(refusal([&] { run(50'000); }) == Reason::too_large);
  CHECK(contains(sentence([&] { run(50'000); }), "by the right side"));
  CHECK(contains(sentence([&] { run(10'000); }), "by the left side"));
}

TEST_CASE("a NULL is no value, a negative number no great one, and a wide number all of its bits") {
  const auto differences = [](Type a, int a_scale, const std::vector<Value>& lefts, Type b, int b_scale, const std::vector<Value>& rights) {
    Relation left = table({{"k", Role::key, Type::int64}, {"v", Role::value, a, a_scale}}),
             right = table({{"k", Role::key, Type::int64}, {"v", Role::value, b, b_scale}});
    for (std::size_t i = 0; i < lefts.size(); ++i) {
      left.fields[0].column.append_word(i), left.fields[1].column.append(lefts[i]);
      right.fields[0].column.append_word(i), right.fields[1].column.append(rights[i]);
    }
    BlockCursor l({left}), r({right});
    NullSink sink;
    return hashed_diff(l, r, {}, sink).differences();
  };
  const Int128 top = static_cast<Int128>(1) << 126;
  const auto wide = [](Int128 w) { return Value(Decimal{w, 0}); };
  CHECK(differences(Type::decimal, 0, {wide(top), wide(-top), wide(0)}, Type::decimal, 0, {wide(-top), wide(-top), Value::null_of(Type::decimal)}) == 2);
  CHECK(differences(Type::int64, 0, {Value(-1), Value(5)}, Type::uint64, 0, {Value(~std::uint64_t{0}), Value(std::uint64_t{5})}) == 1);
  CHECK(differences(Type::int64, 0, {Value(0), Value::null_of(Type::int64)}, Type::int64, 0, {Value::null_of(Type::int64), Value::null_of(Type::int64)}) == 1);
  CHECK(differences(Type::decimal, 2, {Value(Decimal{150, 2}), Value(Decimal{151, 2})}, Type::decimal, 4,
                    {Value(Decimal{15'000, 4}), Value(Decimal{15'000, 4})}) == 1);
  CHECK(differences(Type::float64, 0, {Value(0.0), Value(1.0)}, Type::float64, 0, {Value(-0.0), Value(1.0)}) == 0);
  CHECK(differences(Type::int64, 0, {Value(2), Value(3)}, Type::decimal, 8, {Value(Decimal{200'000'000, 8}), Value(Decimal{3, 8})}) == 1);
}

TEST_CASE("two values that were made for one hash are two values, in whatever order the rows come") {
  // Whoever knows where the lanes start, and by what they multiply, finds two pairs of words that leave both lanes alike, within some 2^26 tries: the second
  // words differ by what the first ones have made of the low lanes, and the high lanes' difference has to agree. So nobody may know it.
  const auto fold = [](std::uint64_t word, std::uint64_t by) {
    const Uint128 product = static_cast<Uint128>(word) * by;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  constexpr std::uint64_t by_low = 0x9E3779B97F4A7C15u, by_high = 0xD6E8FEB86659FD93u, salt = 0xA4093822299F31D0u, key = 7;
  const auto turned = [](std::uint64_t x) { return x << 29 | x >> 35; };
  std::uint64_t low = 0x243F6A8885A308D3u, high = 0x13198A2E03707344u;  // once the public start: a hash that starts and multiplies so is found out here
  if (hashing::by_eight())
    hashing::absorb_word(low, high, key);
  else
    low = fold(low ^ key, by_low), high = fold(turned(high) + (key ^ salt), by_high);
  constexpr std::uint64_t first = 0x1234567;
  const std::uint64_t low_a = fold(low ^ first, by_low), high_a = turned(fold(turned(high) + (first ^ salt), by_high));
  int made = 0;
  for (std::uint64_t i = 1; made == 0 && i < std::uint64_t{1} << 32; ++i) {
    const std::uint64_t other = i * 0xD1342543DE82EF95u + 1;
    const std::uint64_t apart = low_a ^ fold(low ^ other, by_low), high_b = turned(fold(turned(high) + (other ^ salt), by_high));
    const std::uint64_t twice = apart - (high_a - high_b);
    if ((twice & 1) != 0 || ((twice >> 1) & ~apart) != 0) continue;
    const std::uint64_t second = (twice >> 1) ^ salt, partner = second ^ apart;
    if (high_a + (second ^ salt) != high_b + (partner ^ salt)) continue;
    ++made;
    const auto one = [&](std::uint64_t lower, std::uint64_t upper) {
      Relation r = table({{"k", Role::key, Type::uint64}, {"v", Role::value, Type::uuid}});
      r.fields[0].column.append_word(key), r.fields[1].column.append_wide(static_cast<Int128>(static_cast<Uint128>(upper) << 64 | lower));
      return r;
    };
    BlockCursor l({one(first, second)}), r({one(other, partner)});
    NullSink sink;
    CHECK(hashed_diff(l, r, {}, sink).changed == 1);
  }
  CHECK(made == 1);
}

TEST_CASE("numbers too wide for one scale are hashed by their value, each in its own type") {
  const Int128 big = power_of_ten(37);
  Relation left = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::decimal, 0}}),
           right = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::decimal, 4}});
  const auto rows = [](Relation& r, std::initializer_list<Value> values) {
    std::uint64_t k = 0;
    for (const Value& v : values) r.fields[0].column.append_word(k++), r.fields[1].column.append(v);
  };
  rows(left, {Value(Decimal{big, 0}), Value(3), Value::null_of(Type::decimal), Value(0), Value(7)});
  rows(right, {Value(Decimal{1, 4}), Value(Decimal{30'000, 4}), Value::null_of(Type::decimal), Value::null_of(Type::decimal), Value(Decimal{70'000, 4})});
  BlockCursor l({left}), r({right});
  NullSink sink;
  const DiffCounts c = hashed_diff(l, r, {}, sink);
  CHECK(c.changed == 2);
  CHECK(c.equal == 3);
}

TEST_CASE("notes of rows go when what is made after them can't be") {
  // Seen by a leak detector.
  diffing::Held side;
  Relation t = table({{"k", Role::key, Type::uint64}}, {{Value(std::uint64_t{1})}});
  side.blocks.push_back(t), side.begins.push_back(1);
  const diffing::HashedColumn key{0, 0, diffing::HashForm::words};
  CHECK_THROWS(diffing::Partitioned(side, &diffing::HashedColumn::left, {&key, 1}, {}, 62));
}
