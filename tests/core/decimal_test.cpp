#include <epochcut/core/decimal.hpp>

#include <string>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
const Int128 int128_max = static_cast<Int128>((Uint128{1} << 127) - 1), int128_min = -int128_max - 1;
std::string round_trip(std::string_view text) {
  const auto d = parse_decimal(text);
  return d ? to_string(*d) : "nothing";
}
}  // namespace

TEST_CASE("decimals are read and printed digit for digit") {
  for (const char* text : {"0", "0.00", "1", "-1", "0.05", "-0.05", "12345.6789", "99999999999999999999999999999999999999",
                           "0.00000000000000000000000000000000000001", "170141183460469231731687303715884105727", "-170141183460469231731687303715884105728"})
    CHECK(round_trip(text) == text);
  CHECK(round_trip("+7.50") == "7.50");
  CHECK(round_trip("-0") == "0");
  CHECK(round_trip("007") == "7");
}

TEST_CASE("what is no decimal, or does not fit, is nothing: never rounded, never cut") {
  for (const char* text : {"", "-", "+", ".", "1.2.3", "1e5", " 1", "1 ", "NaN", "Infinity", "0x1", "1,5", "--1", "170141183460469231731687303715884105728",
                           "-170141183460469231731687303715884105729", "0.000000000000000000000000000000000000001"})
    CHECK(round_trip(text) == "nothing");
}

TEST_CASE("equal by value, whatever the scale") {
  CHECK(Decimal{150, 2} == Decimal{15, 1});
  CHECK(Decimal{0, 0} == Decimal{0, 38});
  CHECK(Decimal{-500, 2} == Decimal{-5, 0});
  CHECK(Decimal{1, 2} != Decimal{1, 1});
  CHECK(Decimal{150, 2}.shortest().unscaled == 15);
  CHECK(Decimal{150, 2}.shortest().scale == 1);
  CHECK(Decimal{1500, 2}.shortest().scale == 0);
  CHECK(Decimal{0, 9}.shortest().scale == 0);
  CHECK(Decimal{100, 0}.shortest().unscaled == 100);  // only digits after the point go
}

TEST_CASE("compared like the fractions that they are") {
  // n / 10^s against m / 10^t, with denominators small enough to cross-multiply exactly.
  const int numbers[] = {-1000, -101, -100, -11, -10, -1, 0, 1, 9, 10, 11, 99, 100, 101, 1000};
  for (int n : numbers)
    for (int m : numbers)
      for (int s = 0; s < 4; ++s)
        for (int t = 0; t < 4; ++t) {
          const long tens[] = {1, 10, 100, 1000};
          const long left = n * tens[t], right = m * tens[s];
          REQUIRE((Decimal{n, s} <=> Decimal{m, t}) == (left <=> right));
          REQUIRE(to_string(*add(Decimal{n, s}, Decimal{m, t})->at_scale(s > t ? s : t)) ==
                  to_string(Decimal{n * tens[(s > t ? s : t) - s] + m * tens[(s > t ? s : t) - t], s > t ? s : t}));
          REQUIRE(*subtract(Decimal{n, s}, Decimal{m, t}) == *add(Decimal{n, s}, Decimal{-m, t}));
        }
}

TEST_CASE("values too far apart to share a scale still compare") {
  const Decimal huge{int128_max, 0}, low{int128_min, 0}, tiny{1, 38}, minus_tiny{-1, 38};
  CHECK(huge > tiny);
  CHECK(tiny < huge);
  CHECK(low < minus_tiny);
  CHECK(minus_tiny > low);
  CHECK(Decimal{int128_max, 38} < Decimal{2, 0});  // 1.70... < 2
  CHECK(Decimal{int128_max, 38} > Decimal{1, 0});
  CHECK(Decimal{0, 0} < tiny);
  CHECK(Decimal{0, 38} > low);
}

TEST_CASE("another scale is exact or nothing") {
  CHECK(Decimal{15, 1}.at_scale(3)->unscaled == 1500);
  CHECK(Decimal{1500, 3}.at_scale(1)->unscaled == 15);
  CHECK_FALSE(Decimal{15, 1}.at_scale(0));
  CHECK_FALSE(Decimal{1, 0}.at_scale(39));
  CHECK_FALSE(Decimal{1, 0}.at_scale(-1));
  CHECK(Decimal{1, 0}.at_scale(38)->unscaled == power_of_ten(38));
  CHECK_FALSE(Decimal{2, 0}.at_scale(38));  // 2 * 10^38 > 2^127
  CHECK_FALSE(Decimal{int128_min, 0}.at_scale(1));
}

TEST_CASE("sums overflow loudly at both ends") {
  CHECK(add({int128_max, 0}, {int128_min, 0})->unscaled == -1);
  CHECK_FALSE(add({int128_max, 0}, {1, 0}));
  CHECK_FALSE(add({int128_min, 0}, {-1, 0}));
  CHECK_FALSE(subtract({0, 0}, {int128_min, 0}));
  CHECK_FALSE(add({power_of_ten(38), 0}, {1, 1}));
  CHECK(add({int128_max - 1, 0}, {1, 0})->unscaled == int128_max);
}
