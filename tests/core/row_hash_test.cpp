#include <epochcut/core/row_hash.hpp>

#include <cmath>
#include <string>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
Digest of(const std::vector<Value>& values) {
  RowHash hash;
  for (const Value& v : values) hash.absorb(v);
  return hash.digest();
}
}  // namespace

TEST_CASE("equal by value is equal by hash, whatever the type, scale or bits") {
  CHECK(of({Value(5)}) == of({Value(std::uint64_t{5})}));
  CHECK(of({Value(5)}) == of({Value(Decimal{500, 2})}));
  CHECK(of({Value(Decimal{-150, 2})}) == of({Value(Decimal{-15, 1})}));
  CHECK(of({Value(0)}) == of({Value(Decimal{0, 30})}));
  CHECK(of({Value(-0.0)}) == of({Value(0.0)}));
  CHECK(of({Value(std::nan(""))}) == of({Value(-std::nan("42"))}));
  CHECK(of({Value::null_of(Type::text)}) == of({Value::null_of(Type::int64)}));
}

TEST_CASE("rows that differ have different hashes") {
  const std::vector<std::vector<Value>> rows = {{},
                                                {Value()},
                                                {Value(), Value()},
                                                {Value("")},
                                                {Value("<null>")},
                                                {Value("NULL")},
                                                {Value("a|"), Value("b")},
                                                {Value("a"), Value("|b")},
                                                {Value("a"), Value("b")},
                                                {Value("b"), Value("a")},
                                                {Value("ab")},
                                                {Value("ab"), Value("")},
                                                {Value(""), Value("ab")},
                                                {Value("ab"), Value()},
                                                {Value(std::string_view("a\0", 2))},
                                                {Value("a")},
                                                {Value("12345678")},
                                                {Value("123456789")},
                                                {Value("1234567890123456")},
                                                {Value(1)},
                                                {Value(true)},
                                                {Value(1.0)},
                                                {Value("1")},
                                                {Value(Timestamp{1})},
                                                {Value(Date{1})},
                                                {Value(to_uuid(1))},
                                                {Value(Decimal{1, 1})},
                                                {Value(-1)},
                                                {Value(UINT64_MAX)},
                                                {Value(Decimal{-1, 1})},
                                                {Value(false)},
                                                {Value(0)},
                                                {Value(0.0)},
                                                {Value(Decimal{Int128{1} << 64, 0})},
                                                {Value(Decimal{(Int128{1} << 64) + 1, 0})},
                                                {Value(to_uuid(Uint128{1} << 64))}};
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      INFO(i << " and " << j);
      CHECK(of(rows[i]) != of(rows[j]));
      CHECK(of(rows[i]).sum_low != of(rows[j]).sum_low);
      CHECK(of(rows[i]).sum_high != of(rows[j]).sum_high);
    }
}

TEST_CASE("sums of row hashes see what sums of values do not") {
  // Two amounts moved between two rows: every column's sum stays what it was.
  CHECK(of({Value(1), Value(10)}) + of({Value(2), Value(20)}) != of({Value(1), Value(20)}) + of({Value(2), Value(10)}));
  CHECK(of({Value(1), Value(10)}) + of({Value(2), Value(20)}) != of({Value(1), Value(11)}) + of({Value(2), Value(19)}));
  CHECK(of({Value(1)}) + of({Value(1)}) != of({Value(2)}) + of({Value(2)}));
}

TEST_CASE("a row's digest is that of its values in column order; names don't matter, a NULL does") {
  using namespace tables;
  const Relation a = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::decimal, 2}}, {{1, money(100)}, {1, Value::null_of(Type::decimal)}});
  const Relation b = table({{"key", Role::value, Type::uint64}, {"amount", Role::value, Type::int64}}, {{std::uint64_t{1}, 1}});
  CHECK(digest_of_row(a, 0) == digest_of_row(b, 0));
  CHECK(digest_of_row(a, 1) != digest_of_row(a, 0));
  CHECK(digest_of_row(a, 0).count == 1);
}

TEST_CASE("one flipped bit of text flips about half of each half") {
  int low = 0, high = 0, pairs = 0;
  for (int i = 0; i < 200; ++i) {
    std::string text = "a text of some length, number " + std::to_string(i), other = text;
    other[static_cast<std::size_t>(i) % text.size()] ^= static_cast<char>(1 << i % 8);
    const Digest x = of({Value(std::string_view(text))}), y = of({Value(std::string_view(other))});
    low += __builtin_popcountll(x.sum_low ^ y.sum_low), high += __builtin_popcountll(x.sum_high ^ y.sum_high), ++pairs;
  }
  CHECK(low > pairs * 30);
  CHECK(low < pairs * 34);
  CHECK(high > pairs * 30);
  CHECK(high < pairs * 34);
}
