// Do two engines' types compare exactly as the table says, each with each, through the public check()?
// One table per engine holds a column per type (ClickHouse: one plain, one of Nullable columns); PostgreSQL shows each of its types through a
// view under the names of all ClickHouse columns, so that any pair is one query. Row n: 1, 2 the same values; 3 NULL; 4 ClickHouse is one
// smallest step off; 5 PostgreSQL is.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

#include "live/world.hpp"
#include "types/type_table.hpp"

namespace types {

using namespace live;

/// A ClickHouse of any version: how it is written, and the source that reads it.
template <class Source>
struct Store {
  std::function<void(const std::string&)> execute;
  Source& source;
  std::string database;
  bool modern = false;
};

/// The old server that the tests run: it has LowCardinality for who asks for it.
inline Store<ClickHouse> old_store_of(World& world, ClickHouse& source) {
  auto writer = std::make_shared<exchange::ClickhouseWriter>(std::string(std::getenv("EPOCHCUT_CLICKHOUSE")) + "?allow_experimental_low_cardinality_type=1");
  return {[writer](const std::string& sql) { writer->execute(sql); }, source, world.name, false};
}

/// Asks `source` each question once and gives the same answer again: a ClickHouse column's statement is the same whatever PostgreSQL type it meets.
template <class Source>
class Remembering {
 public:
  explicit Remembering(Source& source) : source_(&source) {}

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    std::string question = plan.relation + (form == Form::plain ? "" : " distinct");
    for (const std::string& key : plan.key) question += " key " + key;
    for (const Measure& m : plan.measures) question += " value " + m.column;
    for (const Filter& f : plan.where) question += " where " + std::to_string(static_cast<int>(f.comparison)) + to_string(f.literal.value());
    Answer& answer = answers_[question];
    if (!answer.rows && !answer.failure) {
      try {
        AnyCursor cursor = source_->open(plan, as_of, form, control);
        Relation rows, block;
        while (cursor->next(block)) rows.fields.empty() ? rows = block : (rows.append(block), rows);
        answer.proof = cursor->proof();
        answer.rows = rows;
      } catch (const Failure& failure) {
        answer.failure = failure;
      }
    }
    if (answer.failure) throw *answer.failure;
    return AnyCursor(new RelationCursor(*answer.rows, answer.proof));
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return source_->visible(relation, as_of, control); }
  FollowerInfo about(const std::string& relation, const Control& control) {
    const auto known = infos_.find(relation);
    return known != infos_.end() ? known->second : infos_[relation] = source_->about(relation, control);
  }

 private:
  struct Answer {
    std::optional<Relation> rows;
    Proof proof;
    std::optional<Failure> failure;
  };
  Source* source_;
  std::map<std::string, Answer> answers_;
  std::map<std::string, FollowerInfo> infos_;
};

/// Tells the ledger's token that `relation` has the events 1 to `rows` of leg 0.
inline void declare(World& world, const std::string& relation, std::uint64_t rows) {
  Digest ids;
  for (std::uint64_t n = 1; n <= rows; ++n) ids += digest_of_event_id(Event{n}.id());
  world.pg.execute("insert into resume_token_digests values ('test', 'production', $1, $2::numeric, $3::numeric, $4::numeric)",
                   {relation, std::to_string(ids.count), std::to_string(ids.sum_low), std::to_string(ids.sum_high)});
}

/// A token past every row of these tests.
inline void set_token(World& world) { world.pg.execute("insert into resume_tokens values ('test', 'production', 1, 1000, 1000)"); }

inline CheckOptions all_differences() {
  CheckOptions options = quick();
  options.differences_max = 1'000;
  return options;
}

inline std::string cast(const std::string& value, const std::string& type) { return "CAST(" + value + " AS " + type + ")"; }

/// What a report shows of one cell.
inline std::string shown(const std::vector<Cell>& cells, std::string_view name) {
  for (const Cell& cell : cells)
    if (cell.name == name) return to_string(cell.value.value());
  return "(no such cell)";
}

/// Pairs that were seen to behave as the table says.
struct MatrixCounts {
  int values = 0, keys = 0, refused_values = 0, refused_keys = 0, conflicts = 0;
};

/// Whether a pair need not be tried with ClickHouse 26: PostgreSQL refuses its own type before any ClickHouse is asked, as the test with 18.16 shows.
inline bool tried_before(const TypeRow& p, bool modern) { return modern && p.kind == Kind::none; }

/// How many pairs the table has that compare, or that don't.
inline int pairs(bool modern, bool wanted) {
  int pairs = 0;
  for (const TypeRow& p : postgres_types())
    for (const TypeRow& c : clickhouse_types(modern)) pairs += comparable(p.kind, c.kind) == wanted && !tried_before(p, modern);
  return pairs;
}

template <class Source>
class Matrix {
 public:
  Matrix(World& world, Store<Source> store) : world_(world), store_(std::move(store)), ledger_(world.ledger()) {
    set_token(world_);
    fill_clickhouse("plain", false, {1, 2, 3, 4, 5});
    fill_clickhouse("nullable", true, {1, 2, 3, 4, 5});
    fill_clickhouse("replayed", true, {3, 1, 2, 2, 1, 3});
    fill_clickhouse("conflicting", true, {1, 4}, 1);
    fill_postgres();
  }

  MatrixCounts run() {
    for (const TypeRow& p : postgres_) {
      for (const bool nullable : {false, true}) values(p, nullable);
      keys(p);
      refusals(p);
    }
    for (const KindRow& kind : postgres_kinds)
      for (const TypeRow& p : postgres_)
        if (p.kind == kind.kind && kind.kind != Kind::none) {
          replays(p);
          conflicts(p);
          break;
        }
    return counts_;
  }

 private:
  /// `rows`: which of the five, in this order. `only_event`: the one event that all of them claim to be.
  void fill_clickhouse(const std::string& table, bool with_null, const std::vector<std::uint64_t>& rows, std::uint64_t only_event = 0) {
    std::string definition = "CREATE TABLE " + store_.database + "." + table + " (event_id UInt64, n Int64", names = "event_id, n";
    for (const TypeRow& type : clickhouse_) {
      definition += ", `" + column_name(type.name) + "` " + (with_null ? nullable(type) : type.name);
      if (type.kind != Kind::none) names += ", `" + column_name(type.name) + "`";
    }
    store_.execute(definition + ") ENGINE = MergeTree ORDER BY event_id");
    std::uint64_t events = only_event;
    for (const std::uint64_t n : rows) {
      const std::uint64_t event = only_event != 0 ? only_event : n;
      events = std::max(events, event);
      std::string row = std::to_string(Event{event}.id()) + ", " + std::to_string(event);
      for (const TypeRow& type : clickhouse_) {
        if (type.kind == Kind::none) continue;
        const std::string value = n == 2 ? type.second : n == 4 ? type.step : type.first;
        row += ", " + (n == 3 && with_null ? "NULL" : cast(value, type.name));
      }
      store_.execute("INSERT INTO " + store_.database + "." + table + " (" + names + ") SELECT " + row);
    }
    declare(world_, table, events);
  }

  void fill_postgres() {
    std::string
        sql =
            "create type letters_enum as enum ('cd', 'ac', 'ab'); create domain amount_domain as numeric(12,2); create type pair_type as (a int, b text);"
            "create table ledger_types (n bigint",
        views;
    for (const TypeRow& type : postgres_) {
      sql += ", " + column_name(type.name) + " " + type.name;
      views += "; create view v" + column_name(type.name) + " as select n";
      for (const TypeRow& c : clickhouse_) views += ", " + column_name(type.name) + " as \"" + column_name(c.name) + "\"";
      views += " from ledger_types";
    }
    sql += ")";
    for (int n = 1; n <= 5; ++n) {
      sql += "; insert into ledger_types values (" + std::to_string(n);
      for (const TypeRow& type : postgres_) sql += ", " + (n == 2 ? type.second : n == 3 ? "NULL" : n == 5 ? type.step : type.first);
      sql += ")";
    }
    world_.pg.execute("set timezone = 'UTC'; " + sql + views);
  }

  std::vector<const TypeRow*> partners(const TypeRow& p, bool wanted) const {
    std::vector<const TypeRow*> partners;
    for (const TypeRow& c : clickhouse_)
      if (comparable(p.kind, c.kind) == wanted && !tried_before(p, store_.modern)) partners.push_back(&c);
    return partners;
  }

  static const char* table(bool nullable) { return nullable ? "nullable" : "plain"; }

  /// The rows that hold the same values on both sides, NULL among them where ClickHouse can hold it.
  static std::int64_t equal_rows(bool nullable) { return nullable ? 3 : 2; }

  /// All of a PostgreSQL type's partners as value columns of one check: `columns` of the rows where `n` stands as given.
  Outcome check_values(const TypeRow& p, const std::vector<const TypeRow*>& partners, bool nullable, Comparison comparison, std::int64_t n) {
    Query left = current("v" + column_name(p.name)).where("n", comparison, Value(n)).key("n");
    Query right = events(table(nullable)).where("n", comparison, Value(n)).key("n");
    for (const TypeRow* c : partners) left = left.values(column_name(c->name)), right = right.values(column_name(c->name));
    return check(ledger_, Invariant{"values", {ledger_, left}, {follower_, right}}, all_differences());
  }

  void values(const TypeRow& p, bool nullable) {
    const std::vector<const TypeRow*> c = partners(p, true);
    if (c.empty()) return;
    INFO(p.name << " as a value, against " << table(nullable));
    const Outcome equal = check_values(p, c, nullable, Comparison::at_most, equal_rows(nullable));
    INFO(to_text(equal));
    CHECK(equal.status == Status::pass);
    CHECK(equal.claim == Claim::every_value);
    CHECK(equal.counts.equal == static_cast<std::uint64_t>(equal_rows(nullable)));
    for (const std::int64_t n : {4, 5}) {
      const Outcome off = check_values(p, c, nullable, Comparison::equal, n);
      INFO(to_text(off));
      CHECK(off.status == Status::fail);
      CHECK(off.reason == Reason::differs);
      REQUIRE(off.differences.size() == 1);
      const Difference& d = off.differences[0];
      CHECK(shown(d.key, "n") == std::to_string(n));
      CHECK(d.left.size() == c.size());
      for (const TypeRow* type : c) {
        INFO("against " << type->name);
        CHECK(shown(d.left, column_name(type->name)) == (n == 4 ? p.shown_first : p.shown_step));
        CHECK(shown(d.right, column_name(type->name)) == (n == 4 ? type->shown_step : type->shown_first));
        ++counts_.values;
      }
    }
  }

  Invariant keyed(const TypeRow& p, const TypeRow& c, bool nullable, Comparison comparison, std::int64_t n) {
    const std::string key = column_name(c.name);
    return {"key " + key,
            {ledger_, current("v" + column_name(p.name)).where("n", comparison, Value(n)).key(key).values("n")},
            {follower_, events(table(nullable)).where("n", comparison, Value(n)).key(key).values("n")}};
  }

  /// One check for all; but what the ledger refuses is an error of every invariant, so then one at a time.
  std::vector<Outcome> outcomes(const std::vector<Invariant>& invariants, bool one_by_one) {
    if (!one_by_one) return check(ledger_, invariants, all_differences());
    std::vector<Outcome> outcomes;
    for (const Invariant& invariant : invariants) outcomes.push_back(check(ledger_, invariant, all_differences()));
    return outcomes;
  }

  /// A type as the key: found under the same value, NULL included; a key one step off is a key that each side has alone.
  void keys(const TypeRow& p) {
    const std::vector<const TypeRow*> c = partners(p, true);
    std::vector<Invariant> invariants;
    for (const TypeRow* type : c) {
      invariants.push_back(keyed(p, *type, true, Comparison::at_most, equal_rows(true)));
      invariants.push_back(keyed(p, *type, false, Comparison::equal, 4));
    }
    if (c.empty()) return;
    const std::vector<Outcome> all = outcomes(invariants, p.kind == Kind::real);
    for (std::size_t i = 0; i < c.size(); ++i) {
      const Outcome &equal = all[2 * i], &off = all[2 * i + 1];
      INFO(p.name << " as a key, against " << c[i]->name << ": " << to_text(equal) << "; " << to_text(off));
      ++counts_.keys;
      if (p.kind == Kind::real) {
        refused(equal, {"can't be a key", "\"" + column_name(c[i]->name) + "\""});
        continue;
      }
      CHECK(equal.status == Status::pass);
      CHECK(equal.claim == Claim::every_value);
      CHECK(equal.counts.equal == static_cast<std::uint64_t>(equal_rows(true)));
      CHECK(off.status == Status::fail);
      CHECK(off.counts.changed == 0);
      CHECK(off.counts.only_left == 1);
      CHECK(off.counts.only_right == 1);
      std::map<DifferenceKind, std::string> key;
      for (const Difference& d : off.differences) key[d.kind] = shown(d.key, column_name(c[i]->name));
      CHECK(key[DifferenceKind::only_left] == p.shown_first);
      CHECK(key[DifferenceKind::only_right] == c[i]->shown_step);
    }
  }

  /// One sentence of reason schema that has these words and says what to do.
  static void refused(const Outcome& o, const std::vector<std::string>& words) {
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::schema);
    CHECK(o.message.find('\n') == std::string::npos);
    CHECK(o.message.find("; ") != std::string::npos);  // what to do comes after it
    CHECK_FALSE(o.retryable);
    for (const std::string& word : words) {
      INFO("it should say: " << word);
      CHECK(o.message.find(word) != std::string::npos);
    }
  }

  void refusals(const TypeRow& p) {
    const std::vector<const TypeRow*> c = partners(p, false);
    std::vector<Invariant> as_value, as_key;
    for (const TypeRow* type : c) {
      const std::string name = column_name(type->name);
      as_value.push_back({"value " + name,
                          {ledger_, current("v" + column_name(p.name)).where("n", Comparison::at_most, Value(2)).key("n").values(name)},
                          {follower_, events(table(true)).where("n", Comparison::at_most, Value(2)).key("n").values(name)}});
      // A ledger's own refusal has been seen once the first is; each is a snapshot of its own.
      if (p.kind != Kind::none || as_key.empty()) as_key.push_back(keyed(p, *type, false, Comparison::at_most, 2));
    }
    counts_.refused_keys += static_cast<int>(as_value.size() - as_key.size());
    for (const bool key : {false, true}) {
      const std::vector<Outcome> all = outcomes(key ? as_key : as_value, p.kind == Kind::none || (key && p.kind == Kind::real));
      for (std::size_t i = 0; i < all.size(); ++i) {
        const TypeRow& type = *c[i];
        INFO(p.name << " against " << type.name << (key ? " as a key: " : " as a value: ") << to_text(all[i]));
        std::vector<std::string> words = {"\"" + column_name(type.name) + "\""};
        if (p.kind == Kind::none)
          words.push_back(p.logical);
        else if (key && p.kind == Kind::real)
          words.push_back("can't be a key");
        else if (type.kind == Kind::none)
          words.push_back(type.logical);
        else if (key && type.kind == Kind::real)
          words.push_back("can't be a key");
        else if (p.kind == Kind::bytes && type.kind == Kind::padded)
          words.push_back("bytea"), words.push_back("FixedString");
        else
          words.push_back(p.logical + " on the left"), words.push_back(type.logical + " on the right");
        refused(all[i], words);
        ++(key ? counts_.refused_keys : counts_.refused_values);
      }
    }
  }

  /// Every row stands there twice: read over distinct event ids, each type as a value, as the key of latest() and among its winners.
  void replays(const TypeRow& p) {
    const std::vector<const TypeRow*> c = partners(p, true);
    const auto rows = [&](const Query& query) { return query.where("n", Comparison::at_most, Value(3)); };
    std::vector<Invariant> invariants;
    for (const bool winners : {false, true}) {
      Query left = rows(current("v" + column_name(p.name))).key("n"), right = winners ? rows(latest("replayed").per("n")) : rows(events("replayed")).key("n");
      for (const TypeRow* type : c) left = left.values(column_name(type->name)), right = right.values(column_name(type->name));
      invariants.push_back({winners ? "latest" : "events", {ledger_, left}, {store_.source, right}});
    }
    for (const TypeRow* type : c)
      if (p.kind != Kind::real) {
        const std::string key = column_name(type->name);
        invariants.push_back({"latest per " + key,
                              {ledger_, rows(current("v" + column_name(p.name))).key(key).values("n")},
                              {store_.source, rows(latest("replayed").per(key)).values("n")}});
      }
    for (const Outcome& o : check(ledger_, invariants, all_differences())) {
      INFO(p.name << " against replayed rows: " << to_text(o));
      CHECK(o.status == Status::pass);
      CHECK(o.counts.equal == 3);
      CHECK(o.right.completeness == Completeness::proved_distinct);
    }
  }

  /// One event id, two contents that differ in one type's smallest step: no hash may take them for one.
  void conflicts(const TypeRow& p) {
    std::vector<Invariant> invariants;
    for (const TypeRow* type : partners(p, true)) {
      const std::string name = column_name(type->name);
      invariants.push_back({name,
                            {ledger_, current("v" + column_name(p.name)).where("n", 1).key("n").values(name)},
                            {store_.source, events("conflicting").where("n", 1).key("n").values(name)}});
    }
    for (const Outcome& o : check(ledger_, invariants, all_differences())) {
      INFO(to_text(o));
      CHECK(o.status == Status::fail);
      CHECK(o.reason == Reason::conflicting_rows);
      CHECK(o.message.find(std::to_string(Event{1}.id())) != std::string::npos);
      ++counts_.conflicts;
    }
  }

  World& world_;
  Store<Source> store_;
  Remembering<Source> follower_{store_.source};
  Postgres ledger_;
  std::vector<TypeRow> postgres_ = postgres_types(), clickhouse_ = clickhouse_types(store_.modern);
  MatrixCounts counts_;
};

/// Nothing was left out: a matrix that compared nothing would be green too.
inline void require_whole(const MatrixCounts& counts, bool modern) {
  const int compared = pairs(modern, true), refused = pairs(modern, false);
  CHECK(compared > 100);
  CHECK(refused > 400);
  CHECK(counts.values == compared * 4);  // two tables, each side one step off
  CHECK(counts.keys == compared);
  CHECK(counts.refused_values == refused);
  CHECK(counts.refused_keys == refused);
  CHECK(counts.conflicts > 25);
}

}  // namespace types
