#include <epochcut/core/parse.hpp>

#include <limits>
#include <string>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;
using tables::refusal;

namespace {
/// What `text` is read as, printed; or the reason why not.
std::string read(Type type, std::string_view text) {
  Column column(type);
  const Reason reason = refusal([&] { append_parsed(column, text); });
  return reason == Reason::none ? to_string(column[0]) : std::string(to_string(reason));
}
}  // namespace

TEST_CASE("what a value prints as is read as that value") {
  const Value values[] = {Value(true),
                          Value(false),
                          Value(INT64_MIN),
                          Value(INT64_MAX),
                          Value(0),
                          Value(UINT64_MAX),
                          Value(Decimal{-150, 2}),
                          Value(Decimal{1, 38}),
                          Value(0.1),
                          Value(-2.25e300),
                          Value(5e-324),
                          Value(std::numeric_limits<double>::infinity()),
                          Value(std::numeric_limits<double>::quiet_NaN()),
                          Value(""),
                          Value("a\"b\\\n\xFF"),
                          Value(to_uuid(Uint128{0x0123456789ABCDEF} << 64 | 0xFEDCBA9876543210)),
                          Value(Timestamp{0}),
                          Value(Timestamp{-1}),
                          Value(Timestamp{INT64_MAX}),
                          Value(Timestamp{-9'223'372'036'000'000'000}),
                          Value(Timestamp{INT64_MIN}),
                          Value(Date{0}),
                          Value(Date{-719'162}),
                          Value(Date{-719'528}),       // 0000-01-01, in 1 BC
                          Value(Date{-719'529}),       // -0001-12-31
                          Value(Date{2'932'896}),      // 9999-12-31
                          Value(Date{2'932'897}),      // 10000-01-01
                          Value(Date{-2'440'588}),     // PostgreSQL's first day
                          Value(Date{2'145'042'905}),  // and its last
                          Value(Date{INT32_MIN}),
                          Value(Date{INT32_MAX})};
  for (const Value& v : values) {
    INFO(to_string(v.type) << " " << to_string(v));
    Column column(v.type);
    append_parsed(column, to_string(v));
    CHECK((compare(column[0], v) == 0));
  }
  for (std::int64_t day = -200'000; day < 200'000; day += 97) CHECK(parsing::date(to_string(Value(Date{static_cast<std::int32_t>(day)}))) == day);
}

TEST_CASE("nothing is guessed") {
  for (const char* text : {"", "TRUE", "1", "t", "yes"}) CHECK(read(Type::boolean, text) == "schema");
  for (const char* text : {"", "abc", "1e3", "0x10", "1 "}) CHECK(read(Type::int64, text) == "schema");
  for (const char* text : {"9223372036854775808", "1.5"}) CHECK(read(Type::int64, text) == "overflow");
  for (const char* text : {"-1", "18446744073709551616"}) CHECK(read(Type::uint64, text) == "overflow");
  for (const char* text : {"", "1.0x", " 1", "--1", "1,5"}) CHECK(read(Type::float64, text) == "schema");
  for (const char* text : {"", "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-fedc-ba987654321", "01234567-89ab-cdef-fedc-ba987654321g",
                           "01234567x89ab-cdef-fedc-ba9876543210"})
    CHECK(read(Type::uuid, text) == "schema");
  for (const char* text : {"99999999-01-01",
                           "9999999-01-01",
                           "010000-01-01",
                           "-0000-01-01",
                           "--0001-01-01",
                           "+2023-01-01",
                           "2023-01-01-",
                           "2023--1-01",
                           "2023-02-29",
                           "2000-02-30",
                           "1900-02-29",
                           "2023-04-31",
                           "2023-13-01",
                           "2023-00-01",
                           "2023-01-00",
                           "2023-1-1",
                           "23-01-01",
                           "2023/01/01",
                           "",
                           "2023-01-01 "})
    CHECK(read(Type::date, text) == "schema");
  for (const char* text : {"2023-01-01T00:00:00", "2023-01-01T24:00:00Z", "2023-01-01T00:60:00Z", "2023-01-01T00:00:60Z", "2023-01-01T00:00:00.Z",
                           "2023-01-01T00:00:00.1234567890Z", "2023-01-01T00:00:00.-1Z", "2023-01-01T00:00:00+01:00", "2263-01-01T00:00:00Z",
                           "1600-01-01T00:00:00Z", "2023-01-01"})
    CHECK(read(Type::timestamp_ns, text) == "schema");
  CHECK(read(Type::date, "2000-02-29") == "2000-02-29");
  CHECK(read(Type::timestamp_ns, "1970-01-01 00:00:01.5Z") == "1970-01-01T00:00:01.500000000Z");
  CHECK(read(Type::uuid, "01234567-89AB-cdef-FEDC-ba9876543210") == "01234567-89ab-cdef-fedc-ba9876543210");
}

TEST_CASE("a type is found by its name") {
  CHECK(parse_type("decimal") == Type::decimal);
  CHECK(parse_type("date") == Type::date);
  CHECK(parse_type("boolean") == Type::boolean);
  CHECK_FALSE(parse_type("numeric"));
  CHECK_FALSE(parse_type(""));
}
