// The values at the edges of each type, as both engines write them, and what a report must show of those that differ.
// Worked out by hand from the types' definitions: nothing here was copied from an output, and nothing of the library is used.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace types {

/// `left`, `right`: SQL of the values. Nothing shown: the two are equal. Else what the report shows of each side.
struct Edge {
  std::string left, right;
  std::string shown_left{}, shown_right{};
  bool equal() const { return shown_left.empty() && shown_right.empty(); }
};

struct EdgeGroup {
  std::string postgres, clickhouse;
  std::vector<Edge> rows;
  bool key = false;  ///< the equal rows, whose values are all different, are compared as keys too
};

inline std::string quoted(const std::string& text) { return "'" + text + "'"; }

inline std::string hex_of(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4], text += "0123456789ABCDEF"[c & 15];
  return text;
}

/// Any bytes as SQL that no parser can misread.
inline std::string pg_text(std::string_view bytes) { return "convert_from(decode('" + hex_of(bytes) + "', 'hex'), 'UTF8')"; }
inline std::string pg_bytea(std::string_view bytes) { return "decode('" + hex_of(bytes) + "', 'hex')"; }
inline std::string ch_text(std::string_view bytes) { return "unhex('" + hex_of(bytes) + "')"; }

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  for (char& byte : bytes) byte = static_cast<char>(value & 0xFF), value = static_cast<T>(value >> 8);
  return bytes;
}
/// By its bits: ClickHouse 18.16 reads 5e-324 as 0.
inline std::string ch_float64(double v) { return "reinterpretAsFloat64(" + ch_text(little_endian(std::bit_cast<std::uint64_t>(v))) + ")"; }
inline std::string ch_float32(float v) { return "reinterpretAsFloat32(" + ch_text(little_endian(std::bit_cast<std::uint32_t>(v))) + ")"; }

inline constexpr const char* nines38 = "99999999999999999999999999999999999999";

/// What 18.16 has, and 26 too.
inline std::vector<EdgeGroup> common_edges() {
  const auto same = [](const std::string& text) { return Edge{quoted(text), quoted(text)}; };
  const auto differ = [](const std::string& left, const std::string& right) { return Edge{quoted(left), quoted(right), left, right}; };
  const std::string n38 = nines38, n37_8 = n38.substr(0, 37) + "8";
  std::vector<EdgeGroup> groups;

  // Integers: no bit pattern stands for another value.
  groups.push_back(
      {"bigint",
       "Int64",
       {same("9223372036854775807"), same("-9223372036854775808"), same("9007199254740993"), same("0"), differ("9223372036854775807", "9223372036854775806"),
        differ("-9223372036854775808", "-9223372036854775807"), differ("9007199254740993", "9007199254740992"), differ("-1", "0")},
       true});
  groups.push_back({"bigint",
                    "UInt64",
                    {same("9223372036854775807"), same("0"), differ("-1", "18446744073709551615"), differ("-9223372036854775808", "9223372036854775808")},
                    true});
  groups.push_back({"numeric(20,0)",
                    "UInt64",
                    {same("18446744073709551615"), same("9223372036854775808"), same("1"), differ("18446744073709551615", "18446744073709551614"),
                     differ("18446744073709551616", "0"), differ("-1", "18446744073709551615")},
                    true});
  groups.push_back({"smallint", "Int8", {same("127"), same("-128"), differ("128", "-128"), differ("255", "-1")}, true});
  groups.push_back({"integer", "UInt32", {same("2147483647"), differ("-1", "4294967295")}, true});
  groups.push_back({"numeric",
                    "Int64",
                    {same("9223372036854775807"),
                     {"9223372036854775808", "'-9223372036854775808'", "9223372036854775808.0", "-9223372036854775808"},
                     differ("0.5", "0"),
                     differ("1.5", "1")},
                    true});

  // Decimals: by value, whatever the zeros; 38 digits are 38 digits.
  groups.push_back({"numeric(38,0)",
                    "Decimal(38, 0)",
                    {same(n38), same("-" + n38), same("0"), differ(n38, n37_8), differ("-" + n38, "-" + n37_8), differ(n38, "-" + n38)},
                    true});
  groups.push_back({"numeric", "Decimal(38, 0)", {same(n38), same("-" + n38), differ(n38, n37_8)}, true});
  groups.push_back({"numeric(38,38)",
                    "Decimal(38, 38)",
                    {same("0." + n38), same("-0." + n38), same("0.00000000000000000000000000000000000001"), differ("0." + n38, "0." + n37_8),
                     differ("0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000000")},
                    true});
  groups.push_back({"numeric",
                    "Decimal(18, 8)",
                    {{"1.5", "'1.50000000'"},
                     {"1.50000000000000000000000000000000000000000000000000", "'1.5'"},
                     {"2.000000000000000000000000000000", "'2'"},
                     {"-0.00", "'0'"}}});
  groups.push_back(
      {"numeric",  // one column has one scale: its widest
       "Decimal(18, 8)",
       {{"1.5", "'1.50000000'"}, {"1.000000001", "'1.00000000'", "1.000000001", "1.00000000"}, {"0.00000001", "'0.00000002'", "0.000000010", "0.00000002"}}});
  groups.push_back({"numeric(38,10)",
                    "Decimal(38, 8)",
                    {{"9999999999999999999999999999.9999999900", "'9999999999999999999999999999.99999999'"},
                     {"9999999999999999999999999999.9999999999", "'9999999999999999999999999999.99999999'", "9999999999999999999999999999.9999999999",
                      "9999999999999999999999999999.99999999"}},
                    true});

  // Floats: exactly, a float widened and not printed; one zero, one NaN.
  constexpr double nan_payload = std::bit_cast<double>(std::uint64_t{0xFFF8000000000123}), inf = std::bit_cast<double>(std::uint64_t{0x7FF0000000000000});
  constexpr double denormal = std::bit_cast<double>(std::uint64_t{1}), greatest = std::bit_cast<double>(std::uint64_t{0x7FEFFFFFFFFFFFFF});
  constexpr float denormal32 = std::bit_cast<float>(std::uint32_t{1});
  groups.push_back({"double precision",
                    "Float64",
                    {{"'NaN'", ch_float64(nan_payload)},
                     {"'-0'", ch_float64(0.0)},
                     {"'0'", ch_float64(-0.0)},
                     {"'Infinity'", ch_float64(inf)},
                     {"'-Infinity'", ch_float64(-inf)},
                     {"'5e-324'", ch_float64(denormal)},
                     {"'1.7976931348623157e308'", ch_float64(greatest)},
                     {"'0.1'", ch_float64(0.1)},
                     {"'NaN'", ch_float64(inf), "nan", "inf"},
                     {"'Infinity'", ch_float64(-inf), "inf", "-inf"},
                     {"'5e-324'", ch_float64(0.0), "5e-324", "0"},
                     {"'0.3'", ch_float64(0.1 + 0.2), "0.3", "0.30000000000000004"},
                     {"'9007199254740993'", ch_float64(9007199254740994.0), "9007199254740992", "9007199254740994"}}});
  groups.push_back(
      {"double precision",
       "Nullable(Float64)",
       {{"NULL", "NULL"}, {"NULL", ch_float64(nan_payload), "NULL", "nan"}, {"NULL", ch_float64(0.0), "NULL", "0"}, {"'NaN'", "NULL", "nan", "NULL"}}});
  groups.push_back({"real",
                    "Float32",
                    {{"'NaN'", ch_float32(static_cast<float>(nan_payload))},
                     {"'-0'", ch_float32(0.0F)},
                     {"'1e-45'", ch_float32(denormal32)},
                     {"'3.4028235e38'", ch_float32(std::bit_cast<float>(std::uint32_t{0x7F7FFFFF}))},
                     {"'0.1'", ch_float32(0.1F)},
                     {"'1e-45'", ch_float32(0.0F), "1.401298464324817e-45", "0"},
                     {"'16777217'", ch_float32(16777218.0F), "16777216", "16777218"}}});
  groups.push_back({"real", "Float64", {{"'0.1'", ch_float64(static_cast<double>(0.1F))}, {"'0.1'", ch_float64(0.1), "0.10000000149011612", "0.1"}}});
  groups.push_back({"double precision", "Float32", {{"'0.5'", ch_float32(0.5F)}, {"'0.1'", ch_float32(0.1F), "0.1", "0.10000000149011612"}}});

  // Dates by their days. 18.16 itself reads no date past 2105, but stores them: days as numbers.
  groups.push_back({"date",
                    "Date",
                    {{"'1970-01-01'", "toUInt16(0)"},
                     {"'2106-02-07'", "toUInt16(49710)"},
                     {"'2149-06-06'", "toUInt16(65535)"},
                     {"'2000-02-29'", "toUInt16(11016)"},
                     {"'2149-06-05'", "toUInt16(65535)", "2149-06-05", "2149-06-06"},
                     {"'2149-06-07'", "toUInt16(0)", "2149-06-07", "1970-01-01"},
                     {"'1969-12-31'", "toUInt16(0)", "1969-12-31", "1970-01-01"},
                     {"'1900-01-01'", "toUInt16(0)", "1900-01-01", "1970-01-01"},
                     {"'0001-01-01'", "toUInt16(0)", "0001-01-01", "1970-01-01"},
                     {"'9999-12-31'", "toUInt16(65535)", "9999-12-31", "2149-06-06"},
                     {"'0044-03-15 BC'", "toUInt16(0)", "-0043-03-15", "1970-01-01"},
                     {"'5874897-12-31'", "toUInt16(0)", "5874897-12-31", "1970-01-01"}},
                    true});
  // Times by their instant, at the finer unit of the two.
  const auto time = [](const char* text, const char* seconds) { return Edge{quoted(text), "toDateTime(toUInt32(" + std::string(seconds) + "))"}; };
  for (const char* type : {"DateTime", "DateTime('Europe/Berlin')"})
    groups.push_back({"timestamptz",
                      type,
                      {time("1970-01-01 00:00:00+00", "0"),
                       time("2106-02-07 06:28:15+00", "4294967295"),
                       time("2038-01-19 03:14:08+00", "2147483648"),
                       // The hour that Berlin's clocks showed twice.
                       time("2019-10-27 02:30:00+02", "1572136200"),
                       time("2019-10-27 02:30:00+01", "1572139800"),
                       {"'2019-10-27 02:30:00+02'", "toDateTime(1572139800)", "2019-10-27T00:30:00Z", "2019-10-27T01:30:00Z"},
                       {"'2020-01-01 00:00:00.000001+00'", "toDateTime(1577836800)", "2020-01-01T00:00:00.000001000Z", "2020-01-01T00:00:00Z"},
                       {"'1969-12-31 23:59:59.999999+00'", "toDateTime(toUInt32(0))", "1969-12-31T23:59:59.999999000Z", "1970-01-01T00:00:00Z"},
                       {"'2106-02-07 06:28:16+00'", "toDateTime(toUInt32(0))", "2106-02-07T06:28:16Z", "1970-01-01T00:00:00Z"},
                       {"'2262-04-11 23:47:16.854775+00'", "toDateTime(toUInt32(0))", "2262-04-11T23:47:16.854775000Z", "1970-01-01T00:00:00Z"},
                       {"'1677-09-21 00:12:43.145225+00'", "toDateTime(toUInt32(0))", "1677-09-21T00:12:43.145225000Z", "1970-01-01T00:00:00Z"}},
                      true});
  groups.push_back(
      {"timestamp",  // without a zone it is taken as UTC
       "DateTime",
       {time("2020-02-29 12:34:56", "1582979696"), {"'2020-02-29 12:34:56'", "toDateTime(1582983296)", "2020-02-29T12:34:56Z", "2020-02-29T13:34:56Z"}},
       true});

  // Text: any bytes, and only data.
  const std::string nasty[] = {"a\tb\nc\rd",
                               "'",
                               "''",
                               "\"",
                               "\\",
                               "\\N",
                               "\\\\N",
                               "a,b|c;d",
                               "Code: 60, e.displayText() = DB::Exception: no",
                               "__exception__",
                               "<null>",
                               "NULL",
                               " ab",
                               "ab ",
                               "\xC3\xA4",
                               "a\xCC\x88",
                               "\xF0\x9F\x92\xB0",
                               "{epoch}",
                               "$1",
                               "%s",
                               "`x`",
                               "--",
                               "/*"};
  EdgeGroup texts{"text", "String", {{"''", "''"}}, true};
  for (const std::string& text : nasty) texts.rows.push_back({pg_text(text), ch_text(text)});
  const auto apart = [](const std::string& left, const std::string& right) { return Edge{pg_text(left), ch_text(right), left, right}; };
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{{"ab", "ab "},
                                                                                    {"ab ", "ab"},
                                                                                    {"a", "A"},
                                                                                    {"\xC3\xA4", "a\xCC\x88"},
                                                                                    {"\xC3\xA4", "\xE4"},
                                                                                    {"ab", std::string("ab\0", 3)},
                                                                                    {"ab", std::string("a\0b", 3)},
                                                                                    {"a\\nb", "a\nb"},
                                                                                    {"a", "\xFF\xFE"},
                                                                                    {"a|", "a"},
                                                                                    {"\\N", "N"}})
    texts.rows.push_back(apart(left, right));
  groups.push_back(texts);
  groups.push_back({"text",
                    "Nullable(String)",
                    {{"''", "''"},
                     {"NULL", "NULL"},
                     {"'NULL'", "'NULL'"},
                     {"''", "NULL", "", "NULL"},
                     {"NULL", "''", "NULL", ""},
                     {"'NULL'", "NULL", "NULL", "NULL"},
                     {"NULL", "'NULL'", "NULL", "NULL"}}});
  groups.push_back(
      {"char(8)", "String", {{"'ab'", "'ab'"}, {"'ab   '", "'ab'"}, {"''", "''"}, {"'ab'", "'ab '", "ab", "ab "}, {"'ab'", "'ab      '", "ab", "ab      "}}});
  groups.push_back({"varchar(8)", "String", {{"'ab  '", "'ab  '"}, {"'ab  '", "'ab'", "ab  ", "ab"}}, true});
  groups.push_back({"text",
                    "FixedString(4)",
                    {{"'ab'", "'ab'"},
                     {"'abcd'", "'abcd'"},
                     {"''", "''"},
                     {"'a'", ch_text(std::string("a\0\0\0", 4))},
                     {pg_text("\xC3\xA4"), ch_text("\xC3\xA4")},
                     {"'abcd'", "'abce'", "abcd", "abce"},
                     {"'ab'", ch_text(std::string("a\0b", 3)), "ab", std::string("a\0b", 3)},
                     {"'ab '", "'ab'", "ab ", "ab"}},
                    true});
  groups.push_back({"char(4)", "FixedString(4)", {{"'ab'", "'ab'"}, {"''", "''"}, {"'ab'", "'ab  '", "ab", "ab  "}}, true});
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  EdgeGroup bytes{"bytea", "String", {{pg_bytea(every_byte), ch_text(every_byte)}}, true};
  for (const std::string& b : {std::string(), std::string("\0", 1), std::string("\0\0", 2), std::string("a\0", 2), std::string("\xFF\xFE")})
    bytes.rows.push_back({pg_bytea(b), ch_text(b)});
  bytes.rows.push_back({pg_bytea(std::string("a\0", 2)), ch_text("a"), std::string("a\0", 2), "a"});
  bytes.rows.push_back({pg_bytea("\xFE"), ch_text("\xFF"), "\xFE", "\xFF"});
  groups.push_back(bytes);
  groups.push_back(
      {"odd_enum",
       "Enum8('it\\'s' = 1, 'a b' = -128, '\xC3\xA4' = 127, 'Z' = 0)",
       {{"'it''s'", "'it\\'s'"}, {"'a b'", "'a b'"}, {pg_text("\xC3\xA4") + "::odd_enum", ch_text("\xC3\xA4")}, {"'Z'", "'Z'"}, {"'Z'", "'a b'", "Z", "a b"}},
       true});

  groups.push_back({"uuid",
                    "UUID",
                    {same("00000000-0000-0000-0000-000000000000"), same("ffffffff-ffff-ffff-ffff-ffffffffffff"), same("00000000-0000-0001-ffff-000000000000"),
                     same("80000000-0000-0000-0000-000000000000"), same("7fffffff-ffff-ffff-0000-000000000001"),
                     differ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"),
                     differ("00000000-0000-0001-0000-000000000000", "00000000-0000-0000-0001-000000000000"),
                     differ("00112233-4455-6677-8899-aabbccddeeff", "8899aabb-ccdd-eeff-0011-223344556677")},
                    true});
  return groups;
}

/// What only later servers have.
inline std::vector<EdgeGroup> modern_edges() {
  const auto same = [](const std::string& text) { return Edge{quoted(text), quoted(text)}; };
  const auto differ = [](const std::string& left, const std::string& right) { return Edge{quoted(left), quoted(right), left, right}; };
  const std::string n38 = nines38, n37_8 = n38.substr(0, 37) + "8";
  std::vector<EdgeGroup> groups;
  for (const char* type : {"Int128", "Int256", "Decimal(76, 0)"})
    groups.push_back({"numeric(38,0)",
                      type,
                      {same(n38), same("-" + n38), same("-1"), same("0"), differ(n38, n37_8), differ("-" + n38, "-" + n37_8), differ("-1", "0")},
                      true});
  for (const char* type : {"UInt128", "UInt256"})
    groups.push_back({"numeric(38,0)", type, {same(n38), same("18446744073709551616"), same("0"), differ(n38, n37_8), differ("-1", "0")}, true});
  groups.push_back(
      {"numeric(38,20)",
       "Decimal(76, 20)",
       {same("999999999999999999.99999999999999999999"), same("-0.00000000000000000001"), differ("0.00000000000000000001", "0.00000000000000000002")},
       true});
  groups.push_back({"numeric(38,38)", "Decimal(76, 38)", {same("0." + n38), differ("0." + n38, "0." + n37_8)}, true});
  groups.push_back(
      {"date",
       "Date32",
       {same("1900-01-01"), same("1969-12-31"), same("1970-01-01"), same("2106-02-07"), same("2149-06-06"), same("2262-04-11"), same("2299-12-31"),
        differ("1899-12-31", "1900-01-01"), differ("0001-01-01", "1900-01-01"), differ("9999-12-31", "2299-12-31"), differ("1969-12-31", "1970-01-01")},
       true});
  groups.push_back({"boolean", "Bool", {same("true"), same("false"), differ("true", "false"), differ("false", "true")}, true});
  groups.push_back({"boolean", "Nullable(Bool)", {same("true"), {"NULL", "NULL"}, {"NULL", "'false'", "NULL", "false"}, {"false", "NULL", "false", "NULL"}}});
  groups.push_back({"timestamptz",
                    "DateTime64(6, 'UTC')",
                    {{"'1900-01-01 00:00:00+00'", "'1900-01-01 00:00:00'"},
                     {"'1969-12-31 23:59:59.999999+00'", "'1969-12-31 23:59:59.999999'"},
                     {"'2262-04-11 23:47:16.854775+00'", "'2262-04-11 23:47:16.854775'"},
                     {"'2262-04-11 23:47:16.854774+00'", "'2262-04-11 23:47:16.854775'", "2262-04-11T23:47:16.854774000Z", "2262-04-11T23:47:16.854775000Z"},
                     {"'1969-12-31 23:59:59.999999+00'", "'1970-01-01 00:00:00'", "1969-12-31T23:59:59.999999000Z", "1970-01-01T00:00:00Z"}},
                    true});
  groups.push_back(
      {"timestamptz",
       "DateTime64(9, 'UTC')",
       {{"'2262-04-11 23:47:16.854775+00'", "'2262-04-11 23:47:16.854775'"},
        {"'1969-12-31 23:59:59.999999+00'", "'1969-12-31 23:59:59.999999000'"},
        {"'2020-01-01 00:00:00.000001+00'", "'2020-01-01 00:00:00.000001001'", "2020-01-01T00:00:00.000001000Z", "2020-01-01T00:00:00.000001001Z"},
        {"'2262-04-11 23:47:16.854775+00'", "'2262-04-11 23:47:16.854775807'", "2262-04-11T23:47:16.854775000Z", "2262-04-11T23:47:16.854775807Z"}},
       true});
  groups.push_back({"timestamp",
                    "DateTime64(3, 'Asia/Tokyo')",
                    {{"'2020-01-01 00:00:00.123'", "toDateTime64('2020-01-01 00:00:00.123', 3, 'UTC')"},
                     {"'2020-01-01 00:00:00.123001'", "toDateTime64('2020-01-01 00:00:00.123', 3, 'UTC')", "2020-01-01T00:00:00.123001000Z",
                      "2020-01-01T00:00:00.123000000Z"}},
                    true});
  return groups;
}

/// What PostgreSQL holds and nothing here does: type, value and what the sentence says of it.
struct TooWide {
  std::string type, value, says;
};
inline std::vector<TooWide> postgres_overflows() {
  const std::string n38 = nines38;
  return {{"numeric", "'NaN'", "NaN"},
          {"numeric(38,2)", "'NaN'", "NaN"},
          {"numeric", "'Infinity'", "infinity"},
          {"numeric", "'-Infinity'", "infinity"},
          {"numeric", "1" + std::string(38, '0'), "38 digits"},
          {"numeric", "-1" + std::string(38, '0'), "38 digits"},
          {"numeric", "170141183460469231731687303715884105727", "38 digits"},
          {"numeric", n38 + ".5", "38 digits"},
          {"numeric", "1e-39", "38 digits"},
          {"numeric(76,38)", "1." + std::string(38, '0') + "::numeric + 1" + std::string(37, '0') + "." + std::string(37, '0') + "1", "38 digits"},
          {"date", "'infinity'", "infinite date"},
          {"date", "'-infinity'", "infinite date"},
          {"timestamptz", "'infinity'", "infinite time"},
          {"timestamp", "'-infinity'", "infinite time"},
          {"timestamptz", "'2262-04-11 23:47:16.854776+00'", "1677 to 2262"},
          {"timestamptz", "'1677-09-21 00:12:43.145224+00'", "1677 to 2262"},
          {"timestamp", "'0001-01-01'", "1677 to 2262"},
          {"timestamp", "'9999-12-31'", "1677 to 2262"},
          {"timestamp", "'0044-03-15 BC'", "1677 to 2262"},
          {"timestamp", "'294276-12-31'", "1677 to 2262"}};
}
inline std::vector<TooWide> modern_overflows() {
  return {{"Int128", "'1" + std::string(38, '0') + "'", "38 digits"},
          {"Int128", "'-1" + std::string(38, '0') + "'", "38 digits"},
          {"Int128", "'170141183460469231731687303715884105727'", "38 digits"},
          {"Int128", "'-170141183460469231731687303715884105728'", "38 digits"},
          {"UInt128", "'170141183460469231731687303715884105728'", "38 digits"},
          {"UInt128", "'340282366920938463463374607431768211455'", "38 digits"},
          {"Int256", "'340282366920938463463374607431768211456'", "38 digits"},  // 2^128: its low half is 0
          {"Int256", "'-340282366920938463463374607431768211456'", "38 digits"},
          {"Int256", "'340282366920938463463374607431768211463'", "38 digits"},  // 2^128 + 7
          {"UInt256", "'115792089237316195423570985008687907853269984665640564039457584007913129639935'", "38 digits"},
          {"UInt256", "'340282366920938463463374607431768211463'", "38 digits"},
          {"Decimal(76, 0)", "'1" + std::string(38, '0') + "'", "38 digits"},
          {"Decimal(76, 20)", "'1000000000000000000'", "38 digits"},
          {"DateTime64(3, 'UTC')", "'2299-12-31 23:59:59.999'", "1677 to 2262"},
          {"DateTime64(0, 'UTC')", "'2262-04-11 23:47:17'", "1677 to 2262"}};
}

}  // namespace types
