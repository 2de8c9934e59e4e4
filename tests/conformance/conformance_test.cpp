// One suite for every source: random queries as of random epochs, each answer compared with `evaluate`'s.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "support/catch.hpp"

#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/memory.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/testing/conformance.hpp>

#include "csv_folder.hpp"
#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"

using namespace epochcut;
using namespace epochcut::testing;

namespace {

const std::string scratch_name = "t_conformance_" + std::to_string(getpid());

void require_conforming(const ConformanceReport& report) {
  for (std::size_t i = 0; i < report.violations.size() && i < 10; ++i) UNSCOPED_INFO(report.violations[i]);
  CHECK(report.violations.empty());
  // A suite that asked nothing, or in which nothing was refused, would prove nothing.
  CHECK(report.asked > 100);
  CHECK(report.refused > 5);
  CHECK(report.rows > 1'000);
}

/// Tab-separated text as both servers read it.
std::string tsv(const Relation& rows, bool boolean_as_number) {
  std::string out;
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    for (std::size_t c = 0; c < rows.fields.size(); ++c) {
      if (c > 0) out += '\t';
      const Value v = rows.fields[c].column[r];
      if (v.null) {
        out += "\\N";
        continue;
      }
      std::string text = v.type == Type::boolean && boolean_as_number ? std::to_string(v.word) : to_string(v);
      if (v.type == Type::timestamp_ns) text = text.substr(0, 10) + " " + text.substr(11, 8);
      for (char ch : text) {
        if (ch == '\\' || ch == '\t' || ch == '\n' || ch == '\r') out += '\\';
        out += ch == '\t' ? 't' : ch == '\n' ? 'n' : ch == '\r' ? 'r' : ch;
      }
    }
    out += '\n';
  }
  return out;
}

template <class TypeName>
std::string columns(const Relation& rows, TypeName type_name) {
  std::string out;
  for (const Field& f : rows.fields) out += (out.empty() ? "\"" : ", \"") + f.name + "\" " + type_name(f);
  return out;
}

}  // namespace

TEST_CASE("PostgreSQL answers as evaluate does") {
  exchange::PostgresWriter writer(std::getenv("EPOCHCUT_POSTGRES"));
  writer.execute("drop schema if exists " + scratch_name + " cascade; create schema " + scratch_name + "; set search_path = " + scratch_name);
  Postgres source(std::string(std::getenv("EPOCHCUT_POSTGRES")) + " options='-c search_path=" + scratch_name + "'");
  const auto load = [&](const std::string& name, const Relation& rows) {
    writer.execute("create table " + name + " (" +
                   columns(rows,
                           [](const Field& f) -> std::string {
                             switch (f.column.type()) {
                               case Type::boolean: return "boolean";
                               case Type::int64: return f.name == "small" ? "smallint" : "bigint";
                               case Type::uint64: return f.name == "event_id" ? "bigint" : "numeric(20)";
                               case Type::decimal: return f.column.scale() == 4 ? "numeric(38,4)" : "numeric";
                               case Type::float64: return "double precision";
                               case Type::text: return "text";
                               case Type::uuid: return "uuid";
                               case Type::timestamp_ns: return "timestamptz";
                               case Type::date: break;
                             }
                             return "date";
                           }) +
                   ")");
    writer.execute("set timezone = 'UTC'");
    writer.copy("COPY " + name + " FROM STDIN", tsv(rows, false));
  };
  require_conforming(conformance(source, load, {.invalid_utf8 = false, .event_ids = false}));
  writer.execute("drop schema " + scratch_name + " cascade");
}

TEST_CASE("ClickHouse answers as evaluate does") {
  exchange::ClickhouseWriter writer(std::getenv("EPOCHCUT_CLICKHOUSE"));
  writer.execute("DROP DATABASE IF EXISTS " + scratch_name);
  writer.execute("CREATE DATABASE " + scratch_name);
  ClickHouse source(std::string(std::getenv("EPOCHCUT_CLICKHOUSE")) + "?database=" + scratch_name);
  const auto load = [&](const std::string& name, const Relation& rows) {
    writer.execute("CREATE TABLE " + scratch_name + "." + name + " (" +
                   columns(rows,
                           [](const Field& f) -> std::string {
                             if (f.name == "event_id") return "UInt64";
                             const auto nullable = [](const std::string& type) { return "Nullable(" + type + ")"; };
                             switch (f.column.type()) {
                               case Type::boolean: return nullable("UInt8");
                               case Type::int64: return nullable(f.name == "small" ? "Int8" : "Int64");
                               case Type::uint64: return nullable(f.name == "flag" ? "UInt8" : "UInt64");
                               case Type::decimal: return nullable(f.column.scale() == 4 ? "Decimal(18, 4)" : "Decimal(38, 8)");
                               case Type::float64: return nullable("Float64");
                               case Type::text: return nullable("String");
                               case Type::uuid: return nullable("UUID");
                               case Type::timestamp_ns: return nullable("DateTime('UTC')");
                               case Type::date: break;
                             }
                             return nullable("Date");
                           }) +
                   ") ENGINE = MergeTree PARTITION BY event_id % 3 ORDER BY event_id");
    writer.insert(scratch_name + "." + name, tsv(rows, true));
  };
  require_conforming(conformance(source, load, {.boolean = false}));
  writer.execute("DROP DATABASE " + scratch_name);
}

TEST_CASE("a user's own source that can only scan answers as evaluate does") {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / scratch_name;
  std::filesystem::create_directories(folder);
  CsvFolder source(folder.string());
  const auto load = [&](const std::string& name, const Relation& rows) {
    std::ofstream file(folder / (name + ".csv"), std::ios::binary);
    for (std::size_t c = 0; c < rows.fields.size(); ++c) file << (c > 0 ? "," : "") << rows.fields[c].name << ':' << to_string(rows.fields[c].column.type());
    file << '\n';
    for (std::size_t r = 0; r < rows.rows(); ++r, file << '\n')
      for (std::size_t c = 0; c < rows.fields.size(); ++c) {
        if (c > 0) file << ',';
        const Value v = rows.fields[c].column[r];
        if (v.null) continue;
        if (v.type != Type::text) {
          file << to_string(v);
          continue;
        }
        file << '"';
        for (char ch : v.text) ch == '"' ? file << "\"\"" : file << ch;
        file << '"';
      }
  };
  require_conforming(conformance(source, load));
  std::filesystem::remove_all(folder);
}

TEST_CASE("memory answers as evaluate does") {
  Memory source("memory");
  require_conforming(conformance(source, [&](const std::string& name, const Relation& rows) {
    source.create(name, rows);
    source.insert(name, rows);
  }));
}
