// Is a sum exact, or an error, for every type that can be summed? And is a sum of floats refused everywhere?
// Each case has two groups: `a` the same on both sides, `b` where ClickHouse's last value is another one. Sums are worked out by hand.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

#include "types/matrix.hpp"

namespace types {

/// `values` in both groups of PostgreSQL and in `a` of ClickHouse, whose group `b` ends with `other`.
struct SumCase {
  std::string postgres, clickhouse;
  std::vector<std::string> values;
  std::string other, shown_left, shown_right;
};

inline std::vector<SumCase> common_sums() {
  const std::string big = "9223372036854775807", greatest = "18446744073709551615", forty = "4" + std::string(37, '0');
  return {{"smallint", "Int8", {"127", "127", "127"}, "126", "381", "380"},
          {"smallint", "Nullable(Int8)", {"-128", "NULL", "-128"}, "-127", "-256", "-255"},
          {"integer", "UInt8", {"255", "255", "255"}, "254", "765", "764"},
          {"bigint", "Int64", {big, big, big}, "9223372036854775806", "27670116110564327421", "27670116110564327420"},
          {"numeric(20,0)", "UInt64", {greatest, greatest, greatest}, "18446744073709551614", "55340232221128654845", "55340232221128654844"},
          {"numeric(18,8)",
           "Decimal(18, 8)",
           {"9999999999.99999999", "9999999999.99999999", "9999999999.99999999"},
           "9999999999.99999998",
           "29999999999.99999997",
           "29999999999.99999996"},
          {"numeric(38,0)", "Decimal(38, 0)", {forty, forty, "-1"}, "-2", "7" + std::string(37, '9'), "7" + std::string(36, '9') + "8"}};
}

inline std::vector<SumCase> modern_sums() {
  const std::string n38 = "99999999999999999999999999999999999999", forty = "4" + std::string(37, '0');
  std::vector<SumCase> cases = {
      {"numeric(38,20)", "Decimal(76, 20)", {"0.00000000000000000001", "5", "5"}, "4", "10.00000000000000000001", "9.00000000000000000001"}};
  for (const char* type : {"Int128", "Int256", "Nullable(Int128)", "Nullable(Int256)", "Decimal(76, 0)"})
    cases.push_back({"numeric(38,0)", type, {forty, forty, "-1"}, "-2", "7" + std::string(37, '9'), "7" + std::string(36, '9') + "8"});
  for (const char* type : {"UInt128", "UInt256"})
    cases.push_back({"numeric(38,0)", type, {forty, forty, "5"}, "6", "8" + std::string(36, '0') + "5", "8" + std::string(36, '0') + "6"});
  cases.push_back({"numeric(38,0)", "Int128", {n38, "-" + n38, "7"}, "8", "7", "8"});
  return cases;
}

/// Values whose sum, modulo the bits that a naive sum has, is 7: the ledger's sum. Not one may pass.
struct WrappingSum {
  std::string clickhouse;
  std::vector<std::string> values;
};
inline std::vector<WrappingSum> common_wrapping_sums() {
  const std::string n38 = "99999999999999999999999999999999999999";
  return {{"Decimal(38, 0)", {n38, n38, n38, "40282366920938463463374607431768211466"}},  // 2^128 + 7
          {"Nullable(Decimal(38, 0))", {n38, n38, n38, "40282366920938463463374607431768211466", "NULL"}}};
}
inline std::vector<WrappingSum> modern_wrapping_sums() {
  const std::string half = "57896044618658097711785492504343953926634992332820282019728792003956564819967";  // 2^255 - 1
  std::vector<std::string> decimals(11, std::string(76, '9'));                                               // 11 (10^76 - 1)
  decimals.push_back("5792089237316195423570985008687907853269984665640564039457584007913129639954");        // and what is left to 2^256 + 7
  return {{"Int128", {"170141183460469231731687303715884105727", "170141183460469231731687303715884105727", "9"}},
          {"UInt128", {"340282366920938463463374607431768211455", "8"}},
          {"Int256", {half, half, "9"}},
          {"UInt256", {"115792089237316195423570985008687907853269984665640564039457584007913129639935", "8"}},
          {"Decimal(76, 0)", decimals}};
}

inline void require_float_sum_refused(const Outcome& o, const char* side) {
  INFO(side << ": " << to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::schema);
  CHECK(o.message.find("sum(\"f\")") != std::string::npos);
  CHECK(o.message.find("depends on its order") != std::string::npos);
}

template <class Source>
class Sums {
 public:
  Sums(World& world, Store<Source> store) : world_(world), store_(std::move(store)), ledger_(world.ledger()) { set_token(world_); }

  void exact(const std::vector<SumCase>& cases) {
    std::string sql;
    std::vector<Invariant> invariants;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const SumCase& c = cases[i];
      const std::string table = "sums" + std::to_string(i);
      sql += "create table " + table + " (k text, v " + c.postgres + "); ";
      std::vector<std::pair<std::string, std::string>> rows;
      for (const char* k : {"a", "b"})
        for (std::size_t v = 0; v < c.values.size(); ++v) {
          sql += "insert into " + table + " values ('" + k + "', " + c.values[v] + "); ";
          rows.emplace_back(k, *k == 'b' && v + 1 == c.values.size() ? c.other : c.values[v]);
        }
      load(table, c.clickhouse, rows);
      invariants.push_back({table, {ledger_, current(table).by("k").sum("v")}, {store_.source, events(table).by("k").sum("v")}});
    }
    world_.pg.execute(sql);
    const std::vector<Outcome> outcomes = check(ledger_, invariants, all_differences());
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Outcome& o = outcomes[i];
      INFO("sum of " << cases[i].postgres << " against " << cases[i].clickhouse << ": " << to_text(o));
      CHECK(o.reason == Reason::differs);
      CHECK(o.counts.equal == 1);
      REQUIRE(o.differences.size() == 1);
      CHECK(shown(o.differences[0].key, "k") == "b");
      CHECK(shown(o.differences[0].left, "v") == cases[i].shown_left);
      CHECK(shown(o.differences[0].right, "v") == cases[i].shown_right);
    }
  }

  void guarded(const std::vector<WrappingSum>& cases) {
    world_.pg.execute("create table seven (k text, v bigint); insert into seven values ('a', 7)");
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const std::string table = "wraps" + std::to_string(i);
      std::vector<std::pair<std::string, std::string>> rows;
      for (const std::string& v : cases[i].values) rows.emplace_back("a", v);
      load(table, cases[i].clickhouse, rows);
      const Outcome o =
          check(ledger_, Invariant{table, {ledger_, current("seven").by("k").sum("v")}, {store_.source, events(table).by("k").sum("v")}}, quick());
      INFO("sum of " << cases[i].clickhouse << ": " << to_text(o));
      CHECK(o.status == Status::error);
      CHECK(o.reason == Reason::overflow);
      CHECK(o.message.find("\"v\"") != std::string::npos);
    }
  }

  /// A tolerance does not make a sum of floats a fact either.
  void floats_refused() {
    world_.pg.execute("create table floats (k text, i bigint, f double precision, r real); insert into floats values ('a', 1, 1, 1)");
    store_.execute("CREATE TABLE " + store_.database +
                   ".floats (event_id UInt64, k String, i Int64, f Float64, r Float32) ENGINE = MergeTree ORDER BY event_id");
    store_.execute("INSERT INTO " + store_.database + ".floats SELECT 256, 'a', 1, 1.0, 1.0");
    declare(world_, "floats", 1);
    for (const bool tolerant : {false, true}) {
      std::vector<Rule> rules;
      if (tolerant) rules.push_back({.column = "f", .kind = Rule::Kind::within, .tolerance = {1, 2}});
      const auto sums = [&](const char* left, const char* right) {
        return check(ledger_,
                     Invariant{.id = "floats",
                               .left = {ledger_, current("floats").by("k").sum(left).as("f")},
                               .right = {store_.source, events("floats").by("k").sum(right).as("f")},
                               .rules = rules},
                     quick());
      };
      require_float_sum_refused(sums("f", "i"), "PostgreSQL");
      require_float_sum_refused(sums("i", "f"), "ClickHouse");
      CHECK(sums("r", "i").reason == Reason::schema);
      CHECK(sums("i", "r").reason == Reason::schema);
      CHECK(sums("i", "i").status == Status::pass);
    }
  }

 private:
  void load(const std::string& table, const std::string& type, const std::vector<std::pair<std::string, std::string>>& rows) {
    const std::string name = store_.database + "." + table;
    store_.execute("CREATE TABLE " + name + " (event_id UInt64, k String, v " + type + ") ENGINE = MergeTree ORDER BY event_id");
    std::string sql;
    for (std::size_t i = 0; i < rows.size(); ++i)
      sql += (i > 0 ? " UNION ALL SELECT toUInt64(" : "SELECT toUInt64(") + std::to_string(Event{i + 1}.id()) + "), '" + rows[i].first + "', " +
             cast(rows[i].second == "NULL" ? "NULL" : quoted_number(rows[i].second), type);
    store_.execute("INSERT INTO " + name + " " + sql);
    declare(world_, table, rows.size());
  }
  static std::string quoted_number(const std::string& number) { return "'" + number + "'"; }

  World& world_;
  Store<Source> store_;
  Postgres ledger_;
};

}  // namespace types
