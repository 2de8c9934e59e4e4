// Do two engines write and hash every value alike that is alike, and no two alike that are not? Each type of one with each of the other, and the values at
// the edges of each; row by row, so that a digest can't be right by chance.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

#include <epochcut/source/clickhouse_digest.hpp>
#include <epochcut/source/postgres_digest.hpp>

#include "types/edge_values.hpp"
#include "types/matrix.hpp"

namespace types {

/// ClickHouse's types that bisection refuses, as docs/bisection.md lists them.
inline bool refused_by_bisection(const std::string& clickhouse) {
  return clickhouse.find("FixedString") != std::string::npos || clickhouse.find("Decimal(76") != std::string::npos || clickhouse == "Decimal(38, 38)" ||
         clickhouse == "Decimal(38, 20)";
}

template <class Source>
class Digests {
 public:
  Digests(World& world, Store<Source> store) : world_(world), store_(std::move(store)) {
    world_.pg.execute("set timezone = 'America/New_York'; create type odd_enum as enum ('it''s', 'Z', '\xC3\xA4', 'a b')");
  }

  /// Says how many rows it compared.
  int edges(const std::vector<EdgeGroup>& groups) {
    std::string sql;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::string table = "digest" + std::to_string(g);
      sql += "create table " + table + " (n bigint not null, v " + groups[g].postgres + "); insert into " + table + " values ";
      std::string rows;
      for (std::size_t i = 0; i < groups[g].rows.size(); ++i) {
        const Edge& edge = groups[g].rows[i];
        sql += std::string(i > 0 ? ", (" : "(") + std::to_string(i + 1) + ", " + edge.left + ")";
        rows += std::string(i > 0 ? " UNION ALL " : "") + "SELECT toUInt64(" + std::to_string(i) + "), toInt64(" + std::to_string(i + 1) + "), " +
                cast(edge.right, groups[g].clickhouse);
      }
      sql += "; ";
      store_.execute("CREATE TABLE " + store_.database + "." + table + " (event_id UInt64, n Int64, v " + groups[g].clickhouse +
                     ") ENGINE = MergeTree ORDER BY event_id");
      store_.execute("INSERT INTO " + store_.database + "." + table + " " + rows);
    }
    world_.pg.execute("set timezone = 'UTC'; " + sql);
    int compared = 0;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      INFO(groups[g].postgres << " against " << groups[g].clickhouse);
      const std::string table = "digest" + std::to_string(g);
      std::vector<bool> equal;
      for (const Edge& edge : groups[g].rows) equal.push_back(edge.equal());
      compared += rows(current(table).key("n").values("v"), events(table).key("n").values("v"), groups[g].clickhouse, equal);
    }
    return compared;
  }

  /// Every pair that compares, plain and Nullable. Says how many pairs were hashed and how many refused.
  std::pair<int, int> pairs() {
    const std::vector<TypeRow> left = postgres_types(), right = clickhouse_types(store_.modern);
    fill(left, right);
    int hashed = 0, refused = 0;
    for (const TypeRow& p : left)
      for (const TypeRow& c : right) {
        if (!comparable(p.kind, c.kind)) continue;
        for (const bool nullable : {false, true}) {
          INFO(p.name << " against " << (nullable ? "Nullable " : "") << c.name);
          const int n = rows(current("types_left").key("n").values(column_name(p.name)).as("v"),
                             events(nullable ? "types_nullable" : "types_plain").key("n").values(column_name(c.name)).as("v"), c.name,
                             {true, true, nullable, false, false});
          (n > 0 ? hashed : refused)++;
        }
      }
    return {hashed, refused};
  }

 private:
  void fill(const std::vector<TypeRow>& left, const std::vector<TypeRow>& right) {
    std::string
        definition =
            "create type letters_enum as enum ('cd', 'ac', 'ab'); create domain amount_domain as numeric(12,2); create table types_left (n bigint not null",
        inserts;
    for (const TypeRow& type : left)
      if (type.kind != Kind::none) definition += ", " + column_name(type.name) + " " + type.name;
    for (int n = 1; n <= 5; ++n) {
      inserts += "; insert into types_left values (" + std::to_string(n);
      for (const TypeRow& type : left)
        if (type.kind != Kind::none) inserts += ", " + (n == 2 ? type.second : n == 3 ? "NULL" : n == 5 ? type.step : type.first);
      inserts += ")";
    }
    world_.pg.execute(definition + ")" + inserts);
    for (const bool with_null : {false, true}) {
      const std::string table = store_.database + (with_null ? ".types_nullable" : ".types_plain");
      std::string columns = "event_id UInt64, n Int64";
      for (const TypeRow& type : right)
        if (type.kind != Kind::none) columns += ", `" + column_name(type.name) + "` " + (with_null ? nullable(type) : type.name);
      store_.execute("CREATE TABLE " + table + " (" + columns + ") ENGINE = MergeTree ORDER BY event_id");
      for (int n = 1; n <= 5; ++n) {
        std::string row = std::to_string(n) + ", " + std::to_string(n);
        for (const TypeRow& type : right)
          if (type.kind != Kind::none) row += ", " + (n == 3 && with_null ? "NULL" : cast(n == 2 ? type.second : n == 4 ? type.step : type.first, type.name));
        store_.execute("INSERT INTO " + table + " SELECT " + row);
      }
    }
  }

  /// The digest of each row of its own: equal where the values are, and nowhere else. Returns the rows; 0 where the pair is refused, as it must be.
  int rows(const Query& left, const Query& right, const std::string& type, const std::vector<bool>& equal) {
    const Control control;
    const QueryPlan plan = left.plan();
    postgres::Transaction transaction(session_, std::span(&plan, 1), nullptr, control);
    PostgresDigest l(transaction, plan, "event_id");
    ClickHouseDigest<Source> r(store_.source, right.plan(), AsOf{.at_rest = true}, std::nullopt);
    DigestForm form;
    try {
      form = agree(l.columns(), r.columns(), false, {});
      CHECK_FALSE(refused_by_bisection(type));
    } catch (const Failure& failure) {
      INFO(failure.message);
      CHECK(refused_by_bisection(type));
      CHECK(failure.kind == Reason::schema);
      CHECK(failure.message.find("column \"v\" is ") == 0);
      CHECK(failure.message.find("stream") != std::string::npos);
      return 0;
    }
    l.use(form), r.use(form);
    CHECK(l.bounds(control).rows == equal.size());
    CHECK(r.bounds(control).rows == equal.size());
    const KeyGrid each{.base = 1, .shift = 0, .cells = equal.size()};
    l.ask(each, {}, control), r.ask(each, {}, control);
    const std::vector<CellDigest> a = l.answer(control), b = r.answer(control);
    transaction.commit(control);
    REQUIRE(a.size() == equal.size());
    REQUIRE(b.size() == equal.size());
    std::set<std::uint64_t> different;
    for (std::size_t i = 0; i < equal.size(); ++i) {
      INFO("row " << i + 1);
      CHECK(a[i].cell == i);
      CHECK(b[i].cell == i);
      CHECK(a[i].rows.count == 1);
      CHECK((a[i].rows == b[i].rows) == equal[i]);
      CHECK((a[i].rows.sum_low == b[i].rows.sum_low) == equal[i]);
      CHECK((a[i].rows.sum_high == b[i].rows.sum_high) == equal[i]);
      different.insert(a[i].rows.sum_low);
    }
    CHECK(different.size() == equal.size());  // the key is hashed too
    return static_cast<int>(equal.size());
  }

  World& world_;
  Store<Source> store_;
  postgres::Session session_ = std::make_shared<postgres::Connection>(world_.dsn(), PostgresOptions{});
};

}  // namespace types
