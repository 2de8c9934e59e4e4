// Are values at the edges of two types equal when they are, and told apart when they are next to each other?
// Each group is one pair of types with its own table per engine; a row holds one value of each side and what a report must show if they differ.
// What no comparison can hold is `error: overflow`, naming the column; each such value has a row or a table of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

#include "types/edge_values.hpp"
#include "types/matrix.hpp"

namespace types {

template <class Source>
class Edges {
 public:
  Edges(World& world, Store<Source> store) : world_(world), store_(std::move(store)), ledger_(world.ledger()) {
    set_token(world_);
    world_.pg.execute("set timezone = 'UTC'; create type odd_enum as enum ('it''s', 'Z', '\xC3\xA4', 'a b')");
  }

  /// Loads every group and checks it; says how many rows it compared.
  int compare(const std::vector<EdgeGroup>& groups) {
    std::string sql;
    std::vector<Invariant> invariants;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const std::string table = "edge" + std::to_string(g);
      sql += "create table " + table + " (n bigint, same boolean, v " + groups[g].postgres + "); insert into " + table + " values ";
      std::string rows;
      for (std::size_t i = 0; i < groups[g].rows.size(); ++i) {
        const Edge& edge = groups[g].rows[i];
        sql += std::string(i > 0 ? ", (" : "(") + std::to_string(i + 1) + ", " + (edge.equal() ? "true" : "false") + ", " + edge.left + ")";
        rows += std::string(i > 0 ? " UNION ALL " : "") + "SELECT toUInt64(" + std::to_string(Event{i + 1}.id()) + "), toInt64(" + std::to_string(i + 1) +
                "), toUInt8(" + (edge.equal() ? "1" : "0") + "), " + cast(edge.right, groups[g].clickhouse);
      }
      sql += "; ";
      create(table, groups[g].clickhouse, groups[g].rows.size());
      store_.execute("INSERT INTO " + store_.database + "." + table + " " + rows);
      invariants.push_back({table, {ledger_, current(table).key("n").values("v")}, {store_.source, events(table).key("n").values("v")}});
      invariants.push_back({table + " as key",
                            {ledger_, current(table).where("same", true).key("v").values("n")},
                            {store_.source, events(table).where("same", 1U).key("v").values("n")}});
    }
    world_.pg.execute(sql);
    for (std::size_t g = groups.size(); g-- > 0;)
      if (!groups[g].key) invariants.erase(invariants.begin() + static_cast<std::ptrdiff_t>(2 * g + 1));
    const std::vector<Outcome> outcomes = check(ledger_, invariants, all_differences());
    int compared = 0;
    std::size_t o = 0;
    for (const EdgeGroup& group : groups) {
      INFO(group.postgres << " against " << group.clickhouse);
      compared += as_values(group, outcomes[o++]);
      if (group.key) as_keys(group, outcomes[o++]);
    }
    return compared;
  }

  /// PostgreSQL's values that fit nothing: each is an error of its own, and where() leaves it out.
  void postgres_refuses(const std::vector<TooWide>& values) {
    create("one_row", "Int64", 1);
    store_.execute("INSERT INTO " + store_.database + ".one_row VALUES (" + std::to_string(Event{1}.id()) + ", 1, 1, 0)");
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::string table = "wide" + std::to_string(i);
      world_.pg.execute("create table " + table + " (n bigint, v " + values[i].type + "); insert into " + table + " values (1, " + values[i].value + ")");
      const Outcome o =
          check(ledger_, Invariant{table, {ledger_, current(table).key("n").values("v")}, {store_.source, events("one_row").key("n").values("v")}}, quick());
      overflows(values[i], o);
      const Outcome without = check(ledger_,
                                    Invariant{table,
                                              {ledger_, current(table).where("n", Comparison::greater, Value(1)).key("n").values("n")},
                                              {store_.source, events("one_row").where("n", Comparison::greater, Value(1)).key("n").values("n")}},
                                    quick());
      CHECK(without.reason != Reason::overflow);
    }
  }

  void clickhouse_refuses(const std::vector<TooWide>& values) {
    world_.pg.execute("create table two_values (n bigint, v bigint, t timestamptz); insert into two_values values (1, 0, '2000-01-01')");
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::string table = "too_wide" + std::to_string(i);
      const bool time = values[i].type.starts_with("DateTime");
      create(table, values[i].type, 1);
      store_.execute("INSERT INTO " + store_.database + "." + table + " SELECT " + std::to_string(Event{1}.id()) + ", 1, 1, " +
                     cast(values[i].value, values[i].type));
      if (time) world_.pg.execute("create or replace view one_value as select n, t as v from two_values");
      const std::string left = time ? "one_value" : "two_values";
      const Outcome o =
          check(ledger_, Invariant{table, {ledger_, current(left).key("n").values("v")}, {store_.source, events(table).key("n").values("v")}}, quick());
      overflows(values[i], o);
    }
  }

 private:
  void create(const std::string& table, const std::string& type, std::size_t rows) {
    store_.execute("CREATE TABLE " + store_.database + "." + table + " (event_id UInt64, n Int64, same UInt8, v " + type +
                   ") ENGINE = MergeTree ORDER BY event_id");
    declare(world_, table, rows);
  }

  int as_values(const EdgeGroup& group, const Outcome& o) {
    INFO(to_text(o));
    std::vector<const Edge*> off;
    std::vector<std::string> off_keys;
    for (std::size_t i = 0; i < group.rows.size(); ++i)
      if (!group.rows[i].equal()) off.push_back(&group.rows[i]), off_keys.push_back(std::to_string(i + 1));
    CHECK(o.status == (off.empty() ? Status::pass : Status::fail));
    CHECK(o.reason == (off.empty() ? Reason::none : Reason::differs));
    CHECK(o.counts.equal == group.rows.size() - off.size());
    std::vector<std::string> keys;
    for (const Difference& d : o.differences) keys.push_back(shown(d.key, "n"));
    CHECK(keys == off_keys);
    for (std::size_t i = 0; i < off.size() && i < o.differences.size(); ++i) {
      INFO(off[i]->left << " against " << off[i]->right);
      CHECK(o.differences[i].kind == DifferenceKind::changed);
      CHECK(shown(o.differences[i].left, "v") == off[i]->shown_left);
      CHECK(shown(o.differences[i].right, "v") == off[i]->shown_right);
    }
    return static_cast<int>(group.rows.size());
  }

  static void as_keys(const EdgeGroup& group, const Outcome& o) {
    INFO("as a key: " << to_text(o));
    std::uint64_t equal = 0;
    for (const Edge& edge : group.rows) equal += edge.equal();
    CHECK(o.status == Status::pass);
    CHECK(o.counts.equal == equal);
  }

  static void overflows(const TooWide& value, const Outcome& o) {
    INFO(value.type << " " << value.value << ": " << to_text(o));
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::overflow);
    CHECK(o.message.find("\"v\"") != std::string::npos);
    CHECK(o.message.find(value.says) != std::string::npos);
    CHECK(o.differences.empty());
  }

  World& world_;
  Store<Source> store_;
  Postgres ledger_;
};

}  // namespace types
