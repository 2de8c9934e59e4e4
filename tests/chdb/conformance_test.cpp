// The suite that every source passes, on ClickHouse 26 in process: random queries as of random epochs, each answer compared with `evaluate`'s.
#include <cstdlib>
#include <string_view>

#include "support/catch.hpp"

#include <epochcut/testing/conformance.hpp>

#include "chdb/engine.hpp"

using namespace epochcut;
using namespace epochcut::testing;

namespace {

/// Tab-separated text as ClickHouse reads it.
std::string tsv(const Relation& rows) {
  std::string out;
  for (std::size_t r = 0; r < rows.rows(); ++r)
    for (std::size_t c = 0; c < rows.fields.size(); ++c) {
      const Value v = rows.fields[c].column[r];
      std::string text = v.null ? "\\N" : to_string(v);
      if (v.type == Type::timestamp_ns && !v.null) text = text.substr(0, 10) + " " + text.substr(11, text.find_first_of("Z+", 11) - 11);
      for (const char ch : text) {
        if (!v.null && (ch == '\\' || ch == '\t' || ch == '\n' || ch == '\r')) out += '\\';
        out += ch == '\t' ? 't' : ch == '\n' ? 'n' : ch == '\r' ? 'r' : ch;
      }
      out += c + 1 < rows.fields.size() ? '\t' : '\n';
    }
  return out;
}

/// The types that 18.16 does not have, wherever there are any.
std::string type_of(const Field& f) {
  if (f.name == "event_id") return "UInt64";
  const auto nullable = [](const std::string& type) { return "Nullable(" + type + ")"; };
  switch (f.column.type()) {
    case Type::boolean: return nullable("Bool");
    case Type::int64: return nullable(f.name == "small" ? "Int8" : "Int64");
    case Type::uint64: return nullable("UInt64");
    case Type::decimal: return nullable(f.column.scale() == 4 ? "Decimal(18, 4)" : "Decimal(38, 8)");
    case Type::float64: return nullable("Float64");
    case Type::text: return f.name == "kind" ? "LowCardinality(Nullable(String))" : nullable("String");
    case Type::uuid: return nullable("UUID");
    case Type::timestamp_ns: return nullable("DateTime64(9, 'UTC')");
    case Type::date: break;
  }
  return nullable("Date32");
}

}  // namespace

TEST_CASE("ClickHouse 26 in process answers as evaluate does") {
  live::Engine engine;
  Chdb source = engine.source();
  const auto load = [&](const std::string& name, const Relation& rows) {
    std::string columns;
    for (const Field& f : rows.fields) columns += (columns.empty() ? "" : ", ") + f.name + " " + type_of(f);
    engine.execute("CREATE TABLE " + name + " (" + columns + ") ENGINE = MergeTree PARTITION BY event_id % 3 ORDER BY event_id");
    engine.insert(name, tsv(rows));
  };
  const char* full = std::getenv("EPOCHCUT_FULL");
  const std::uint64_t seeds = full != nullptr && std::string_view(full) == "1" ? 5 : 1;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const ConformanceReport report = conformance(source, load, {.seed = seed});
    for (std::size_t i = 0; i < report.violations.size() && i < 10; ++i) UNSCOPED_INFO(report.violations[i]);
    CHECK(report.violations.empty());
    CHECK(report.asked > 100);  // a suite that asked nothing, or in which nothing was refused, would prove nothing
    CHECK(report.refused > 5);
    CHECK(report.rows > 1'000);
    for (const char* table : {"unique", "replayed", "conflicting"}) engine.execute(std::string("DROP TABLE conformance_") + table + " SYNC");
  }
}
