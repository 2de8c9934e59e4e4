// The suite that every source passes, on ClickHouse 26 in process: random queries as of random epochs, each answer compared with `evaluate`'s.
#include <cstdlib>
#include <string_view>

#include "support/catch.hpp"

#include <epochcut/testing/conformance.hpp>

#include "chdb/pair.hpp"

using namespace epochcut;
using namespace epochcut::testing;
using namespace live;

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
  Engine engine;
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

TEST_CASE("a full compare with the engine in this process, streamed and bisected") {
  Pair pair("full", "Decimal(38, 8)");
  std::vector<Event> all;
  for (std::uint64_t n = 1; n <= 300; ++n) all.push_back({n, 0, n % 2 == 0 ? "EUR" : "USD", std::to_string(n) + ".5"});
  std::string rows,
      copied =
          "create table ledger_rows (event_id bigint primary key, currency text not null, amount numeric(38, 8) not null); insert into ledger_rows values ";
  for (const Event& e : all) {
    rows += Pair::row(e);
    copied += (e.sequence == 1 ? "(" : ", (") + std::to_string(e.id()) + ", '" + e.currency + "', " + e.amount + ")";
  }
  pair.engine.insert("transactions", rows);
  pair.commit(all);
  pair.pg().execute(copied);
  Postgres ledger = pair.ledger();
  Chdb analytics = pair.engine.source();
  const auto full = [&](Method method) {
    return full_compare(ledger,
                        {.id = "rows",
                         .left = {ledger, current("ledger_rows").key("event_id").values("currency", "amount")},
                         .right = {analytics, events("transactions").values("currency", "amount")}},
                        {.check = quick(), .bisect = {.method = method, .rows_min = 4, .cells_first_max = 8, .fetch_bytes_max = 0}});
  };
  for (const Method method : {Method::bisect, Method::stream}) {
    const Outcome o = full(method);
    INFO(to_text(o));
    CHECK(o.status == Status::pass);
    CHECK(o.counts.equal == 300);
    CHECK(o.how == (method == Method::bisect ? "bisected, as asked for" : "streamed, as asked for"));
    if (method == Method::bisect) CHECK(o.left.wire_rows + o.right.wire_rows == 0);
  }
  pair.pg().execute("update ledger_rows set amount = amount + 0.00000001 where event_id = 77 * 256");
  for (const Method method : {Method::bisect, Method::stream}) {
    const Outcome o = full(method);
    INFO(to_text(o));
    CHECK(o.reason == Reason::differs);
    CHECK(o.counts.changed == 1);
    CHECK(o.message.find(std::to_string(77 << 8)) != std::string::npos);
  }
}
