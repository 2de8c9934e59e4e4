// Every PostgreSQL type against every type of ClickHouse 26, in this process, and what stands at the edges of those that 18.16 lacks.
#include "chdb/engine.hpp"
#include "types/edges.hpp"
#include "types/matrix.hpp"
#include "types/sums.hpp"

using namespace types;

namespace {

/// One database of a ClickHouse in this process. One at a time.
struct Modern {
  live::Engine clickhouse;
  Chdb source = clickhouse.source();
  Modern() { clickhouse.execute("SET allow_suspicious_low_cardinality_types = 1"); }
  Store<Chdb> store() {
    return {[this](const std::string& sql) { clickhouse.execute(sql); }, source, "test", true};
  }
};

}  // namespace

TEST_CASE("types of ClickHouse 26: each with each, as value and as key") {
  World world("types26");
  Modern modern;
  Matrix matrix(world, modern.store());
  require_whole(matrix.run(), true);
}

TEST_CASE("types of ClickHouse 26: at the edges of each") {
  World world("edges26");
  Modern modern;
  Edges edges(world, modern.store());
  std::vector<EdgeGroup> groups = common_edges();
  const std::vector<EdgeGroup> more = modern_edges();
  groups.insert(groups.end(), more.begin(), more.end());
  CHECK(edges.compare(groups) > 230);
  edges.clickhouse_refuses(modern_overflows());
}

TEST_CASE("types of ClickHouse 26: sums are exact or an error, and a sum of floats is neither") {
  World world("sums26");
  Modern modern;
  Sums sums(world, modern.store());
  std::vector<SumCase> cases = common_sums();
  const std::vector<SumCase> more = modern_sums();
  cases.insert(cases.end(), more.begin(), more.end());
  sums.exact(cases);
  std::vector<WrappingSum> wrapping = common_wrapping_sums();
  const std::vector<WrappingSum> wider = modern_wrapping_sums();
  wrapping.insert(wrapping.end(), wider.begin(), wider.end());
  sums.guarded(wrapping);
  sums.floats_refused();
}

namespace {

/// The type's cells as the oracle has them, and the same as SQL; then cells that the library can't hold, all above every literal.
struct FilterCase {
  std::string type;
  std::vector<Value> cells;
  std::vector<std::string> sql;
  std::vector<Value> literals;
  std::vector<std::string> beyond{};
};

std::vector<FilterCase> filter_cases() {
  const auto decimal = [](const char* text) { return Value(*parse_decimal(text)); };
  const char* n38 = nines38;
  std::vector<FilterCase> cases;
  const std::vector<Value> numbers = {Value(-1),
                                      Value(0),
                                      Value(5),
                                      Value(UINT64_MAX),
                                      decimal("4.5"),
                                      decimal("-0.5"),
                                      decimal("5.000"),
                                      decimal("5.000000000000000000001"),
                                      decimal(n38),
                                      decimal("-99999999999999999999999999999999999999"),
                                      decimal("170141183460469231731687303715884105727")};
  for (const char* type : {"Int128", "Int256"})
    cases.push_back({type, {Value(-1), Value(0), Value(5), decimal(n38)}, {"'-1'", "'0'", "'5'", quoted(n38)}, numbers});
  for (const char* type : {"UInt128", "UInt256"}) cases.push_back({type, {Value(0), Value(5), decimal(n38)}, {"'0'", "'5'", quoted(n38)}, numbers});
  cases.back().beyond = {"'115792089237316195423570985008687907853269984665640564039457584007913129639935'", "'340282366920938463463374607431768211456'"};
  cases.push_back({"Decimal(76, 20)",
                   {decimal("-0.00000000000000000001"), decimal("5"), decimal("4.5")},
                   {"'-0.00000000000000000001'", "'5'", "'4.5'"},
                   numbers,
                   {"'1" + std::string(50, '0') + "'"}});
  cases.push_back({"Bool", {Value(true), Value(false)}, {"'true'", "'false'"}, {Value(true), Value(false)}});
  cases.push_back({"Date32",
                   {Value(Date{-25'567}), Value(Date{-1}), Value(Date{0}), Value(Date{65'536})},
                   {"'1900-01-01'", "'1969-12-31'", "'1970-01-01'", "'2149-06-07'"},
                   {Value(Date{-25'567}), Value(Date{-1}), Value(Date{0}), Value(Date{1}), Value(Date{65'536}), Value(Date{-800'000})}});
  for (const auto& [scale, unit] : {std::pair<int, std::int64_t>{0, 1'000'000'000}, {3, 1'000'000}, {6, 1'000}, {9, 1}}) {
    FilterCase c{"DateTime64(" + std::to_string(scale) + ", 'UTC')", {}, {}, {}};
    for (const std::int64_t ticks : {-1, 0, 7}) {
      c.cells.push_back(Value(Timestamp{ticks * unit}));
      c.sql.push_back("fromUnixTimestamp64Nano(toInt64(" + std::to_string(ticks * unit) + "), 'UTC')");
      for (const std::int64_t off : {-1, 0, 1}) c.literals.push_back(Value(Timestamp{ticks * unit + off}));
    }
    c.literals.push_back(Value(Timestamp{INT64_MAX})), c.literals.push_back(Value(Timestamp{INT64_MIN}));
    if (scale < 9) c.beyond = {"'2299-12-31 00:00:00'"};
    cases.push_back(c);
  }
  return cases;
}

}  // namespace

TEST_CASE("types of ClickHouse 26: filters count as evaluate does") {
  Modern modern;
  int asked = 0;
  for (const bool with_null : {false, true})
    for (const FilterCase& c : filter_cases()) {
      if (!with_null && c.type != "Decimal(76, 20)" && c.type != "DateTime64(3, 'UTC')" && c.type != "Bool") continue;  // each asks hundreds of queries
      const std::string type = with_null ? "Nullable(" + c.type + ")" : c.type;
      modern.clickhouse.execute("CREATE OR REPLACE TABLE filtered (event_id UInt64, v " + type + ") ENGINE = MergeTree ORDER BY event_id");
      Relation rows;
      rows.add("event_id", Role::key, Type::uint64);
      rows.add("v", Role::value, family(c.cells[0].type) == Family::number ? Type::decimal : c.cells[0].type);
      std::vector<std::string> sql = c.sql;
      for (std::size_t i = 0; i < c.cells.size(); ++i) rows.fields[0].column.append(Value(std::uint64_t{i + 1})), rows.fields[1].column.append(c.cells[i]);
      if (with_null) sql.push_back("NULL"), rows.fields[0].column.append(Value(std::uint64_t{sql.size()})), rows.fields[1].column.append_null();
      sql.insert(sql.end(), c.beyond.begin(), c.beyond.end());
      for (std::size_t i = 0; i < sql.size(); ++i)
        modern.clickhouse.execute("INSERT INTO filtered SELECT " + std::to_string(i + 1) + ", " + cast(sql[i], sql[i] == "NULL" ? type : c.type));
      for (const Value& literal : c.literals)
        for (int comparison = 0; comparison < 6; ++comparison) {
          const auto op = static_cast<Comparison>(comparison);
          const Query query = events("filtered").where("v", op, literal).count("n");
          INFO(type << " #" << comparison << " " << to_string(literal));
          const Evaluated want = evaluate(query.plan(), rows, AsOf{.at_rest = true});
          std::uint64_t expected = want.rows.rows() == 0 ? 0 : want.rows.column("n").words()[0];
          if (op == Comparison::greater || op == Comparison::at_least || op == Comparison::not_equal) expected += c.beyond.size();
          AnyCursor cursor = modern.source.open(query.plan(), AsOf{.at_rest = true}, Form::plain, Control{});
          std::uint64_t counted = 0;
          for (Relation block; cursor->next(block);)
            if (block.rows() > 0) counted += block.column("n").words()[0];
          CHECK(counted == expected);
          ++asked;
        }
    }
  CHECK(asked > 500);
}
