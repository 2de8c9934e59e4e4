// The suite passes what is right and catches what is wrong: a source is broken in one way at a time, each a mistake that real stores invite.
#include <epochcut/testing/conformance.hpp>

#include <epochcut/source/memory.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;
using epochcut::testing::ConformanceOptions;
using epochcut::testing::ConformanceReport;

namespace {

struct Table {
  std::string name;
  Relation rows;
};

/// Reads like `evaluate`, but for the mistakes that are planted in it.
struct Broken {
  std::vector<Table> tables{};
  void (*spoil_plan)(QueryPlan&) = [](QueryPlan&) {};
  void (*spoil_table)(Relation&, const QueryPlan&) = [](Relation&, const QueryPlan&) {};
  void (*spoil_as_of)(AsOf&) = [](AsOf&) {};
  void (*spoil_form)(Form&) = [](Form&) {};
  void (*spoil_result)(Relation&, Proof&) = [](Relation&, Proof&) {};
  void (*spoil_visible)(Visible&) = [](Visible&) {};
  bool answers_for_absent = false;

  const Relation& find(const std::string& name) const {
    for (const Table& t : tables)
      if (t.name == name) return t.rows;
    if (answers_for_absent) return tables.front().rows;
    throw Failure(Reason::not_found, "there is no " + name);
  }
  AnyCursor open(QueryPlan plan, AsOf at, Form form, const Control&) {
    Relation table = find(plan.relation);
    spoil_plan(plan), spoil_table(table, plan), spoil_as_of(at), spoil_form(form);
    Evaluated result = evaluate(plan, table, at, form);
    result.proof.server.name = "broken";
    spoil_result(result.rows, result.proof);
    return AnyCursor(new RelationCursor(std::move(result.rows), std::move(result.proof)));
  }
  Visible visible(const std::string& relation, AsOf at, const Control&) {
    spoil_as_of(at);
    Visible seen{.server = {"broken", {}}};
    for (const std::uint64_t id : find(relation).fields[0].column.words()) seen.count += id <= at.last_event_id, seen.newest = std::max(seen.newest, id);
    spoil_visible(seen);
    return seen;
  }
  FollowerInfo about(const std::string& relation, const Control&) { return {relation, {}, {}}; }
};
static_assert(Readable<Broken>);

ConformanceReport run(Broken source, ConformanceOptions options = {}) {
  return epochcut::testing::conformance(
      source,
      [&](const std::string& name, const Relation& rows) {
        source.tables.push_back({name, rows});
      },
      options);
}
bool caught(Broken source) { return !run(std::move(source)).violations.empty(); }

/// Swaps, drops or doubles rows of a table or a result.
void reorder(Relation& r, const std::vector<std::size_t>& rows) {
  Relation other = r.empty_copy();
  for (std::size_t row : rows) other.append_row(r, row);
  r = std::move(other);
}

}  // namespace

TEST_CASE("memory conforms, over many seeds, and is asked enough to mean it") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Memory memory("memory");
    const ConformanceReport report = epochcut::testing::conformance(memory,
                                                                    [&](const std::string& name, const Relation& rows) {
                                                                      memory.create(name, rows);
                                                                      memory.insert(name, rows);
                                                                    },
                                                                    {.seed = seed});
    for (const std::string& violation : report.violations) FAIL_CHECK(violation);
    CHECK(report.asked > 200);
    CHECK(report.refused > 5);
    CHECK(report.rows > 1'000);
  }
}

TEST_CASE("the reference itself conforms under every option") {
  for (int bits = 0; bits < 16; ++bits)
    CHECK(run({}, {.boolean = (bits & 1) != 0, .uint64_beyond_int64 = (bits & 2) != 0, .invalid_utf8 = (bits & 4) != 0, .distinct = (bits & 8) != 0})
              .violations.empty());
}

TEST_CASE("mistakes about the epoch are caught") {
  CHECK(caught({.spoil_as_of = [](AsOf& at) { --at.last_event_id; }}));                                          // < for <=
  CHECK(caught({.spoil_as_of = [](AsOf& at) { at.last_event_id = at.epoch.sequence << at.stream.leg_bits; }}));  // forgets the other legs
  CHECK(caught({.spoil_as_of = [](AsOf& at) { at.last_event_id += 1; }}));                                       // the next event's first leg
  CHECK(caught({.spoil_as_of = [](AsOf& at) { at.at_rest = true; }}));                                           // forgets the epoch
}

TEST_CASE("mistakes about the winner are caught") {
  // Plain argMax: a NULL at the newest version does not win.
  CHECK(caught({.spoil_table =
                    [](Relation& t, const QueryPlan& plan) {
                      if (plan.history != History::latest || plan.measures.empty() || plan.measures[0].kind != Measure::Kind::value) return;
                      std::vector<std::size_t> kept;
                      const Column& column = t.column(plan.measures[0].column);
                      for (std::size_t row = 0; row < t.rows(); ++row)
                        if (!column.is_null(row)) kept.push_back(row);
                      reorder(t, kept);
                    },
                .spoil_result = [](Relation&, Proof& proof) { proof.ids.reset(); }}));
  // Without the leg, the first row of an execution wins a tie.
  CHECK(caught({.spoil_table =
                    [](Relation& t, const QueryPlan& plan) {
                      if (plan.history != History::latest) return;
                      Column ids(Type::uint64);
                      for (const std::uint64_t id : t.fields[0].column.words()) ids.append(Value(id & ~std::uint64_t{3}));
                      t.fields[0].column = ids;
                    },
                .spoil_result = [](Relation&, Proof& proof) { proof.ids.reset(); }}));
  // Filters before the winner is chosen: the newest row that satisfies, not the newest if it satisfies.
  CHECK(caught({.spoil_table =
                    [](Relation& t, const QueryPlan& plan) {
                      if (plan.history != History::latest || plan.where.empty()) return;
                      std::vector<std::size_t> kept;
                      for (std::size_t row = 0; row < t.rows(); ++row)
                        if (evaluation::satisfies(plan.where[0], t.column(plan.where[0].column)[row])) kept.push_back(row);
                      reorder(t, kept);
                    },
                .spoil_result = [](Relation&, Proof& proof) { proof.ids.reset(); }}));
}

TEST_CASE("mistakes about rows, sums and NULLs are caught") {
  const auto result = [](void (*spoil)(Relation&, Proof&)) { return caught({.spoil_result = spoil}); };
  CHECK(result([](Relation& r, Proof&) {  // drops the last row
    std::vector<std::size_t> rows;
    for (std::size_t i = 0; i + 1 < r.rows(); ++i) rows.push_back(i);
    reorder(r, rows);
  }));
  CHECK(result([](Relation& r, Proof&) {  // sums twice
    for (Field& f : r.fields) {
      if (f.role == Role::key || f.column.type() != Type::decimal || f.name != "total") continue;
      Column twice(Type::decimal, f.column.scale());
      for (std::size_t i = 0; i < f.column.size(); ++i)
        f.column.is_null(i) ? twice.append_null() : twice.append_decimal(*add(f.column[i].as_decimal(), f.column[i].as_decimal()));
      f.column = twice;
    }
  }));
  CHECK(result([](Relation& r, Proof&) {  // NULL sums are zero, as ClickHouse has it
    for (Field& f : r.fields) {
      if (f.name != "total") continue;
      Column zero(f.column.type(), f.column.scale());
      for (std::size_t i = 0; i < f.column.size(); ++i) f.column.is_null(i) ? zero.append_wide(0) : zero.append(f.column[i]);
      f.column = zero;
    }
  }));
  CHECK(result([](Relation& r, Proof&) {  // a language's order: here the last two rows swapped
    std::vector<std::size_t> rows;
    for (std::size_t i = 0; i < r.rows(); ++i) rows.push_back(i);
    if (rows.size() > 1) std::swap(rows.front(), rows.back());
    reorder(r, rows);
  }));
  CHECK(result([](Relation& r, Proof&) {  // '' for NULL
    for (Field& f : r.fields) {
      if (f.column.type() != Type::text) continue;
      Column text(Type::text);
      for (std::size_t i = 0; i < f.column.size(); ++i) text.append(f.column.is_null(i) ? Value("") : f.column[i]);
      f.column = text;
    }
  }));
  CHECK(result([](Relation& r, Proof&) { std::swap(r.fields.front(), r.fields.back()); }));
  CHECK(caught({.spoil_plan = [](QueryPlan& p) {  // a NULL satisfies "not equal"
    for (Filter& f : p.where)
      if (f.comparison == Comparison::not_equal) f.comparison = Comparison::is_not_null;
  }}));
  CHECK(caught({.spoil_plan = [](QueryPlan& p) { p.where.clear(); }}));
  CHECK(caught({.spoil_plan = [](QueryPlan& p) {
    for (Filter& f : p.where)
      if (f.comparison == Comparison::at_least) f.comparison = Comparison::greater;
  }}));
}

TEST_CASE("mistakes about the proof are caught") {
  const auto result = [](void (*spoil)(Relation&, Proof&)) { return caught({.spoil_result = spoil}); };
  CHECK(result([](Relation&, Proof& p) {
    if (p.ids) p.ids->sum_high = 0;
  }));
  CHECK(result([](Relation&, Proof& p) {
    if (p.ids) ++p.ids->count;
  }));
  CHECK(result([](Relation&, Proof& p) { p.server.name.clear(); }));
  CHECK(result([](Relation&, Proof& p) { p.conflicts = 0; }));
  CHECK(result([](Relation&, Proof& p) { p.ids.reset(); }));           // no proof at all
  CHECK(caught({.spoil_form = [](Form& f) { f = Form::plain; }}));     // replays counted twice
  CHECK(caught({.spoil_form = [](Form& f) { f = Form::distinct; }}));  // replays hidden from the plain form
}

TEST_CASE("mistakes about the cheap look and about what is not there are caught") {
  CHECK(caught({.spoil_visible = [](Visible& v) { ++v.count; }}));
  CHECK(caught({.spoil_visible = [](Visible& v) { v.newest = 0; }}));
  CHECK(caught({.answers_for_absent = true}));
}
