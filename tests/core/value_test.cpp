#include <epochcut/core/value.hpp>

#include <cmath>
#include <limits>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
int sign(const Value& a, const Value& b) {
  const auto order = compare(a, b);
  return order < 0 ? -1 : order > 0;
}
/// Every value of a list is less than every one after it, and equal to itself.
void check_rising(const std::vector<Value>& values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    for (std::size_t j = 0; j < values.size(); ++j) {
      INFO(to_string(values[i]) << " against " << to_string(values[j]));
      CHECK(sign(values[i], values[j]) == (i < j ? -1 : i > j));
    }
}
Uuid uuid(std::uint8_t first, std::uint8_t last) {
  Uuid u;
  u.bytes[0] = first, u.bytes[15] = last;
  return u;
}
std::string text(std::int64_t ns) { return to_string(Value(Timestamp{ns})); }
}  // namespace

TEST_CASE("key order within each family, NULLs last") {
  check_rising({Value(false), Value(true), Value::null_of(Type::boolean)});
  check_rising({Value(INT64_MIN), Value(-1), Value(0), Value((std::int64_t{1} << 53)), Value((std::int64_t{1} << 53) + 1), Value(INT64_MAX),
                Value::null_of(Type::int64)});
  check_rising({Value(std::uint64_t{0}), Value(std::uint64_t{INT64_MAX}), Value(std::uint64_t{1} << 63), Value(UINT64_MAX), Value::null_of(Type::uint64)});
  check_rising({Value(Decimal{-15, 1}), Value(Decimal{-149, 2}), Value(Decimal{0, 5}), Value(Decimal{1, 38}), Value(Decimal{15, 1}), Value(Decimal{151, 2})});
  check_rising({Value(Timestamp{INT64_MIN}), Value(Timestamp{-1}), Value(Timestamp{0}), Value(Timestamp{INT64_MAX})});
  check_rising({Value(Date{-719'528}), Value(Date{-1}), Value(Date{0}), Value(Date{20'000})});
}

TEST_CASE("text is ordered by unsigned bytes, not by any language") {
  check_rising(
      {Value(""), Value("B"), Value("Z"), Value("a"), Value("aa"), Value("b"), Value("\x7F"), Value("\xC3\xA4"), Value("\xFF"), Value::null_of(Type::text)});
  CHECK(sign(Value(std::string_view("a\0b", 3)), Value("a")) > 0);  // a NUL byte is a byte
}

TEST_CASE("a uuid is ordered by its bytes as printed: the first half decides") {
  check_rising({Value(uuid(0, 1)), Value(uuid(0, 0xFF)), Value(uuid(1, 0)), Value(uuid(0x7F, 0)), Value(uuid(0x80, 0)), Value(uuid(0xFF, 0))});
  CHECK(to_uuid(to_wide(uuid(0xAB, 0xCD))) == uuid(0xAB, 0xCD));
}

TEST_CASE("floats: one zero, one NaN, numeric order") {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  check_rising({Value(-inf), Value(-1e300), Value(-5e-324), Value(0.0), Value(5e-324), Value(1.5), Value(inf), Value(nan), Value::null_of(Type::float64)});
  CHECK(sign(Value(-0.0), Value(0.0)) == 0);
  CHECK(sign(Value(nan), Value(-std::nan("7"))) == 0);
}

TEST_CASE("numbers of every type compare by value, exactly") {
  CHECK(sign(Value(5), Value(std::uint64_t{5})) == 0);
  CHECK(sign(Value(5), Value(Decimal{500, 2})) == 0);
  CHECK(sign(Value(-1), Value(UINT64_MAX)) < 0);  // not as the same bits
  CHECK(sign(Value(UINT64_MAX), Value(INT64_MAX)) > 0);
  CHECK(sign(Value((std::int64_t{1} << 53) + 1), Value(Decimal{Int128{1} << 53, 0})) > 0);  // a double could not tell
  CHECK(sign(Value(std::uint64_t{1} << 63), Value(Decimal{Int128{1} << 63, 0})) == 0);
}

TEST_CASE("families do not mix") {
  CHECK(family(Type::int64) == family(Type::decimal));
  CHECK(family(Type::uint64) == family(Type::decimal));
  const Type others[] = {Type::boolean, Type::decimal, Type::float64, Type::text, Type::uuid, Type::timestamp_ns, Type::date};
  for (Type a : others)
    for (Type b : others) CHECK((family(a) == family(b)) == (a == b));
}

TEST_CASE("values print for people") {
  CHECK(to_string(Value()) == "NULL");
  CHECK(to_string(Value(true)) == "true");
  CHECK(to_string(Value(INT64_MIN)) == "-9223372036854775808");
  CHECK(to_string(Value(UINT64_MAX)) == "18446744073709551615");
  CHECK(to_string(Value(Decimal{-5, 2})) == "-0.05");
  CHECK(to_string(Value("a\"b")) == "a\"b");
  CHECK(to_string(Value(to_uuid(Uint128{0x0123456789ABCDEF} << 64 | 0xFEDCBA9876543210))) == "01234567-89ab-cdef-fedc-ba9876543210");
}

TEST_CASE("dates and timestamps print as in the calendar") {
  // Days by hand: 1970 + 30 years with 7 leap days = 10957; 2000-02-29 is 59 days later.
  CHECK(to_string(Value(Date{0})) == "1970-01-01");
  CHECK(to_string(Value(Date{-1})) == "1969-12-31");
  CHECK(to_string(Value(Date{10'957})) == "2000-01-01");
  CHECK(to_string(Value(Date{10'957 + 59})) == "2000-02-29");
  CHECK(to_string(Value(Date{10957 - 36524})) == "1900-01-01");  // 100 years, 24 of them leap: 1900 itself is none
  CHECK(text(0) == "1970-01-01T00:00:00Z");
  CHECK(text(1) == "1970-01-01T00:00:00.000000001Z");
  CHECK(text(-1) == "1969-12-31T23:59:59.999999999Z");
  CHECK(text(86'400'000'000'000 * 10'957 + 3'661'000'000'000) == "2000-01-01T01:01:01Z");
}

TEST_CASE("the whole range of a timestamp prints") {
  CHECK(text(INT64_MAX) == "2262-04-11T23:47:16.854775807Z");
  CHECK(text(INT64_MIN) == "1677-09-21T00:12:43.145224192Z");
}

TEST_CASE("every NaN prints alike: they are one value") {
  for (const std::uint64_t bits : {0x7FF8000000000000u, 0xFFF8000000000000u, 0xFFF8000000000123u, 0x7FF0000000000001u})
    CHECK(to_string(Value(std::bit_cast<double>(std::uint64_t{bits}))) == "nan");
}

TEST_CASE("two floats that differ print differently") {
  CHECK(to_string(Value(1.0)) != to_string(Value(1.0 + 1e-12)));
  CHECK(to_string(Value(0.0)) != to_string(Value(5e-324)));
}
