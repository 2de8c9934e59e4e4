// Which PostgreSQL and ClickHouse types compare, and which value stands for which? Written by hand from the vendors' manuals.
// The tests' own table: it includes nothing of the library, so that the two can disagree. docs/types.md is checked against `pairs_markdown`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace types {

/// What a type's values are. A row and a column of `comparable`.
enum class Kind { number, real, text, bytes, padded, boolean, uuid, date, time, none };

/// One row per kind that PostgreSQL has, one column per kind that ClickHouse has: '=' compares by value, '.' is `error: schema`.
struct KindRow {
  Kind kind;
  std::string_view postgres, cells;
};
struct KindColumn {
  Kind kind;
  std::string_view clickhouse;
};
inline constexpr KindColumn clickhouse_kinds[] = {{Kind::number, "Int8–Int256, UInt8–UInt256, Decimal"},
                                                  {Kind::real, "Float32, Float64"},
                                                  {Kind::text, "String, Enum"},
                                                  {Kind::padded, "FixedString"},
                                                  {Kind::boolean, "Bool"},
                                                  {Kind::uuid, "UUID"},
                                                  {Kind::date, "Date, Date32"},
                                                  {Kind::time, "DateTime, DateTime64"},
                                                  {Kind::none, "any other"}};
inline constexpr KindRow postgres_kinds[] = {{Kind::number, "smallint, integer, bigint, numeric", "=........"},
                                             {Kind::real, "real, double precision", ".=......."},
                                             {Kind::text, "text, varchar, char(n), name, enum", "..==....."},
                                             {Kind::bytes, "bytea", "..=......"},
                                             {Kind::boolean, "boolean", "....=...."},
                                             {Kind::uuid, "uuid", ".....=..."},
                                             {Kind::date, "date", "......=.."},
                                             {Kind::time, "timestamp, timestamptz", ".......=."},
                                             {Kind::none, "any other", "........."}};

inline bool comparable(Kind postgres, Kind clickhouse) {
  for (const KindRow& row : postgres_kinds)
    for (std::size_t i = 0; i < std::size(clickhouse_kinds); ++i)
      if (row.kind == postgres && clickhouse_kinds[i].kind == clickhouse) return row.cells[i] == '=';
  return false;
}

inline std::string pairs_markdown() {
  std::string text = "| PostgreSQL \\ ClickHouse |", rule = "|---|";
  for (const KindColumn& column : clickhouse_kinds) text += " " + std::string(column.clickhouse) + " |", rule += "---|";
  text += "\n" + rule + "\n";
  for (const KindRow& row : postgres_kinds) {
    text += "| " + std::string(row.postgres) + " |";
    for (const char cell : row.cells) text += cell == '=' ? " **=** |" : " – |";
    text += "\n";
  }
  return text;
}

/// One type of one engine. `first`, `second`, `step`: SQL of three values, `step` next to `first` at the type's own smallest step. Of two types
/// that compare, `first` and `second` are the same values. `shown_*`: what a report prints.
struct TypeRow {
  std::string name;
  Kind kind;
  std::string logical;  ///< what a sentence calls it; for a type that has no counterpart, the engine's own name
  std::string first, second, step, shown_first, shown_step;
};

inline std::string column_name(const std::string& type) {
  std::string name = "c_";
  for (const char c : type) name += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
  return name;
}

inline std::vector<TypeRow> postgres_types() {
  const std::string one_uuid = "'00112233-4455-6677-8899-aabbccddeeff'", other_uuid = "'ffeeddcc-bbaa-9988-7766-554433221100'",
                    next_uuid = "'00112233-4455-6677-8899-aabbccddef00'";
  const std::string shown_uuid = "00112233-4455-6677-8899-aabbccddeeff", shown_next = "00112233-4455-6677-8899-aabbccddef00";
  std::vector<TypeRow> rows = {{"smallint", Kind::number, "int64", "7", "12", "8", "7", "8"},
                               {"integer", Kind::number, "int64", "7", "12", "8", "7", "8"},
                               {"bigint", Kind::number, "int64", "7", "12", "8", "7", "8"},
                               {"numeric", Kind::number, "decimal", "7", "12", "7.000000000000000000000000000001", "7", "7.000000000000000000000000000001"},
                               {"numeric(5,0)", Kind::number, "decimal", "7", "12", "8", "7", "8"},
                               {"numeric(18,8)", Kind::number, "decimal", "7", "12", "7.00000001", "7.00000000", "7.00000001"},
                               {"numeric(38,10)", Kind::number, "decimal", "7", "12", "7.0000000001", "7.0000000000", "7.0000000001"},
                               {"amount_domain", Kind::number, "decimal", "7", "12", "7.01", "7.00", "7.01"},
                               {"real", Kind::real, "float64", "1.5", "-2.25", "'1.5000001'", "1.5", "1.5000001192092896"},
                               {"double precision", Kind::real, "float64", "1.5", "-2.25", "'1.5000000000000002'", "1.5", "1.5000000000000002"},
                               {"text", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"varchar", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"varchar(8)", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"char(8)", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"name", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"letters_enum", Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac"},
                               {"bytea", Kind::bytes, "text", "'\\x6162'", "'\\x6364'", "'\\x6163'", "ab", "ac"},
                               {"boolean", Kind::boolean, "boolean", "true", "false", "false", "true", "false"},
                               {"uuid", Kind::uuid, "uuid", one_uuid, other_uuid, next_uuid, shown_uuid, shown_next},
                               {"date", Kind::date, "date", "'2020-02-28'", "'1999-12-31'", "'2020-02-29'", "2020-02-28", "2020-02-29"},
                               {"timestamp", Kind::time, "timestamp_ns", "'2020-02-29 12:34:56'", "'1999-12-31 23:59:59'", "'2020-02-29 12:34:56.000001'",
                                "2020-02-29T12:34:56Z", "2020-02-29T12:34:56.000001000Z"},
                               {"timestamptz", Kind::time, "timestamp_ns", "'2020-02-29 12:34:56+00'", "'2000-01-01 00:59:59+01'",
                                "'2020-02-29 12:34:56.000001+00'", "2020-02-29T12:34:56Z", "2020-02-29T12:34:56.000001000Z"}};
  for (const char* other : {"oid", "json", "jsonb", "integer[]", "text[]", "interval", "time without time zone", "time with time zone", "money", "inet",
                            "bit(8)", "int4range", "pair_type"})
    rows.push_back({other, Kind::none, std::string_view(other) == "bit(8)" ? "bit" : other, "NULL", "NULL", "NULL", "", ""});
  return rows;
}

/// `modern`: ClickHouse 26, else 18.16.
inline std::vector<TypeRow> clickhouse_types(bool modern) {
  std::vector<TypeRow> rows;
  const auto add = [&](const std::string& name, Kind kind, const char* logical, const std::string& first, const std::string& second, const std::string& step,
                       const std::string& shown_first, const std::string& shown_step) {
    rows.push_back({name, kind, logical, first, second, step, shown_first, shown_step});
  };
  const auto number = [&](const std::string& name, const char* logical, const std::string& step) {
    const std::size_t point = step.find('.');
    add(name, Kind::number, logical, "'7'", "'12'", "'" + step + "'", point == std::string::npos ? "7" : "7." + std::string(step.size() - point - 1, '0'),
        step);
  };
  for (const char* bits : {"8", "16", "32", "64"}) number(std::string("Int") + bits, "int64", "8"), number(std::string("UInt") + bits, "uint64", "8");
  number("Decimal(9, 2)", "decimal", "7.01");
  number("Decimal(18, 8)", "decimal", "7.00000001");
  number("Decimal(38, 10)", "decimal", "7.0000000001");
  add("Float32", Kind::real, "float64", "'1.5'", "'-2.25'", "reinterpretAsFloat32(unhex('0100C03F'))", "1.5", "1.5000001192092896");
  add("Float64", Kind::real, "float64", "'1.5'", "'-2.25'", "reinterpretAsFloat64(unhex('010000000000F83F'))", "1.5", "1.5000000000000002");
  for (const char* text : {"String", "LowCardinality(String)", "Enum8('ab' = 1, 'cd' = -2, 'ac' = 3)", "Enum16('cd' = -300, 'ac' = 2, 'ab' = 1000)"})
    add(text, Kind::text, "text", "'ab'", "'cd'", "'ac'", "ab", "ac");
  for (const char* padded : {"FixedString(4)", "LowCardinality(FixedString(4))"}) add(padded, Kind::padded, "text", "'ab'", "'cd'", "'ac'", "ab", "ac");
  add("UUID", Kind::uuid, "uuid", "'00112233-4455-6677-8899-aabbccddeeff'", "'ffeeddcc-bbaa-9988-7766-554433221100'", "'00112233-4455-6677-8899-aabbccddef00'",
      "00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddef00");
  const auto time = [&](const std::string& name, const std::string& step, const std::string& shown_step) {
    add(name, Kind::time, "timestamp_ns", "toDateTime(1582979696)", "toDateTime(946684799)", step, "2020-02-29T12:34:56Z", shown_step);
  };
  add("Date", Kind::date, "date", "'2020-02-28'", "'1999-12-31'", "'2020-02-29'", "2020-02-28", "2020-02-29");
  for (const char* name : {"DateTime", "DateTime('Europe/Berlin')"}) time(name, "toDateTime(1582979697)", "2020-02-29T12:34:57Z");
  for (const char* other : {"Array(UInt8)", "Tuple(UInt8, String)"}) add(other, Kind::none, other, "", "", "", "", "");
  if (!modern) return rows;
  for (const char* wide : {"Int128", "UInt128", "Int256", "UInt256"}) number(wide, "decimal", "8");
  number("Decimal(76, 20)", "decimal", "7.00000000000000000001");
  add("Date32", Kind::date, "date", "'2020-02-28'", "'1999-12-31'", "'2020-02-29'", "2020-02-28", "2020-02-29");
  add("Bool", Kind::boolean, "boolean", "true", "false", "false", "true", "false");
  for (int scale = 0; scale <= 9; ++scale) {
    std::string fraction(static_cast<std::size_t>(scale), '0'), shown = "000000000";
    if (scale > 0) fraction.back() = shown[static_cast<std::size_t>(scale) - 1] = '1';
    time("DateTime64(" + std::to_string(scale) + ", 'UTC')", scale == 0 ? "'2020-02-29 12:34:57'" : "'2020-02-29 12:34:56." + fraction + "'",
         scale == 0 ? "2020-02-29T12:34:57Z" : "2020-02-29T12:34:56." + shown + "Z");
  }
  // LowCardinality takes what is no decimal, no DateTime64 and no enum.
  const std::vector<TypeRow> plain = rows;
  for (TypeRow row : plain)
    for (const char* inside : {"UInt64", "Int128", "Float64", "UUID", "Date32", "DateTime('Europe/Berlin')", "Bool"})
      if (row.name == inside) {
        row.name = "LowCardinality(" + row.name + ")";
        rows.push_back(row);
      }
  for (const char* other : {"Map(String, UInt8)", "JSON", "IPv4", "IPv6", "Time", "Point", "BFloat16", "Dynamic", "Decimal(76, 50)"})
    add(other, Kind::none, other, "", "", "", "", "");
  return rows;
}

/// The same type with NULL; types that hold none (and those that can't be compared) as they are.
inline std::string nullable(const TypeRow& type) {
  if (type.kind == Kind::none) return type.name;
  if (type.name.starts_with("LowCardinality(")) return "LowCardinality(Nullable(" + type.name.substr(15) + ")";
  return "Nullable(" + type.name + ")";
}

}  // namespace types
