// The reference meaning, against expectations written down by hand and against a brute force that shares no code with it.
#include <epochcut/cut/evaluate.hpp>

#include <map>
#include <optional>
#include <set>

#include <epochcut/testing/conformance.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {
const Stream stream{.id = "s", .leg_bits = 8};
AsOf at(std::uint64_t sequence) { return as_of(stream, {sequence, 0}); }
std::uint64_t id(std::uint64_t sequence, std::uint64_t leg = 0) { return sequence << 8 | leg; }
const Value null_text = Value::null_of(Type::text), null_money = Value::null_of(Type::decimal);

/// Positions in the order in which they arrived: not that of their events.
Relation positions() {
  return table(
      {{"event_id", Role::key, Type::uint64}, {"account", Role::value, Type::text}, {"size", Role::value, Type::decimal, 2}, {"note", Role::value, Type::text}},
      {{id(3), "alice", money(300), null_text},
       {id(1), "alice", money(100), "opened"},
       {id(2), "bob", money(200), "opened"},
       {id(3, 1), "bob", null_money, "closed"},
       {id(5), "alice", money(500), "grown"},
       {id(4), "carol", money(0), ""}});
}
Lines read(const Query& q, std::uint64_t sequence) { return lines(evaluate(q.plan(), positions(), at(sequence)).rows); }
}  // namespace

TEST_CASE("one winner for all columns: the greatest event id at or below the epoch, its NULLs kept") {
  const Query q = latest("p").per("account").values("size", "note");
  CHECK(read(q, 5) == Lines{"alice 5.00 grown", "bob NULL closed", "carol 0.00 "});
  CHECK(read(q, 4) == Lines{"alice 3.00 NULL", "bob NULL closed", "carol 0.00 "});  // plain argMax would say "opened" for alice
  CHECK(read(q, 2) == Lines{"alice 1.00 opened", "bob 2.00 opened"});
  CHECK(read(q, 0) == Lines{});
}

TEST_CASE("both legs of the epoch's own event are in, the next event is not") {
  const Query q = events("p").values("size");
  CHECK(read(q, 3) == Lines{"256 1.00", "512 2.00", "768 3.00", "769 NULL"});
  CHECK(evaluate(q.plan(), positions(), at(3)).proof.ids->count == 4);
  CHECK(*evaluate(q.plan(), positions(), at(2)).proof.ids == digest_of_event_id(256) + digest_of_event_id(512));
}

TEST_CASE("filters see the winners, not the history") {
  CHECK(read(latest("p").per("account").where("note", "opened").values("size"), 5) == Lines{});
  CHECK(read(latest("p").per("account").where("note", "opened").values("size"), 2) == Lines{"alice 1.00", "bob 2.00"});
  CHECK(read(latest("p").per("account").sum("size").as("total"), 5) == Lines{"5.00"});  // a sum OF latest; bob's NULL adds nothing
}

TEST_CASE("as in SQL, a NULL cell satisfies none but is_null") {
  const auto count = [](Comparison c, const Value& v) { return read(events("p").where("size", c, v).values("note"), 5).size(); };
  CHECK(count(Comparison::is_null, {}) == 1);
  CHECK(count(Comparison::is_not_null, {}) == 5);
  CHECK(count(Comparison::equal, money(300)) == 1);
  CHECK(count(Comparison::not_equal, money(300)) == 4);
  CHECK(count(Comparison::less, money(200)) == 2);
  CHECK(count(Comparison::at_most, money(200)) == 3);
  CHECK(count(Comparison::greater, money(200)) == 2);
  CHECK(count(Comparison::at_least, money(200)) == 3);
  CHECK(count(Comparison::equal, 3) == 1);  // 3 is 3.00
  CHECK(count(Comparison::equal, null_money) == 0);
  CHECK(count(Comparison::not_equal, null_money) == 0);
}

TEST_CASE("the proof is of all events at or below the epoch, before any filter") {
  const Evaluated all = evaluate(events("p").values("size").plan(), positions(), at(4));
  for (const Query& q :
       {events("p").where("account", "alice").values("size"), latest("p").per("account").values("size"), events("p").where("account", "nobody").sum("size")})
    CHECK(*evaluate(q.plan(), positions(), at(4)).proof.ids == *all.proof.ids);
  CHECK_FALSE(evaluate(current("p").key("account", "event_id").values("size").plan(), positions(), at(4)).proof.ids);
}

TEST_CASE("sums and counts per group; NULL is a group and adds nothing") {
  CHECK(read(events("p").by("account").sum("size").as("total").count("n"), 5) == Lines{"alice 9.00 3", "bob 2.00 2", "carol 0.00 1"});
  CHECK(read(events("p").by("note").count("n"), 5) == Lines{" 1", "closed 1", "grown 1", "opened 2", "NULL 1"});
  CHECK(read(events("p").where("account", "bob").where("note", "closed").sum("size"), 5) == Lines{"NULL"});  // nothing but NULLs
  CHECK(read(events("p").sum("size"), 0) == Lines{});                                                        // nothing at all is no row
}

TEST_CASE("a sum of integers is a decimal and does not wrap; what 128 bits don't hold is overflow") {
  const Relation big = table({{"event_id", Role::key, Type::uint64}, {"v", Role::value, Type::int64}}, {{id(1), INT64_MAX}, {id(2), INT64_MAX}});
  CHECK(lines(evaluate(events("t").sum("v").plan(), big, at(9)).rows) == Lines{"18446744073709551614"});
  const Value nines(Decimal{power_of_ten(38) - 1, 0});
  const Relation huge = table({{"event_id", Role::key, Type::uint64}, {"v", Role::value, Type::decimal}}, {{id(1), nines}, {id(2), nines}});
  CHECK(refusal([&] { evaluate(events("t").sum("v").plan(), huge, at(9)); }) == Reason::overflow);
  CHECK(lines(evaluate(events("t").sum("v").plan(), huge, at(1)).rows).size() == 1);
}

TEST_CASE("results are in key order: text by bytes, uuid as printed, NULLs last") {
  const Relation t = table({{"event_id", Role::key, Type::uint64}, {"k", Role::value, Type::text}, {"u", Role::value, Type::uuid}},
                           {{id(1), "b", to_uuid(Uint128{2} << 120)},
                            {id(2), null_text, to_uuid(1)},
                            {id(3), "\xC3\xA4", to_uuid(Uint128{1} << 127)},
                            {id(4), "B", Value::null_of(Type::uuid)}});
  CHECK(lines(evaluate(events("t").by("k").count("n").plan(), t, at(9)).rows) == Lines{"B 1", "b 1", "\xC3\xA4 1", "NULL 1"});
  CHECK(lines(evaluate(events("t").by("u").count("n").plan(), t, at(9)).rows) ==
        Lines{"00000000-0000-0000-0000-000000000001 1", "02000000-0000-0000-0000-000000000000 1", "80000000-0000-0000-0000-000000000000 1", "NULL 1"});
}

TEST_CASE("distinct: a replay counts once, a conflict is counted and named") {
  const Relation t =
      table({{"event_id", Role::key, Type::uint64}, {"v", Role::value, Type::decimal, 2}, {"batch", Role::value, Type::int64}},
            {{id(1), money(100), 1}, {id(2), money(200), 1}, {id(1), money(100), 2}, {id(3), money(300), 2}, {id(3), money(301), 3}, {id(2), money(200), 9}});
  const Query sum = events("t").sum("v");
  const Evaluated plain = evaluate(sum.plan(), t, at(9)), distinct = evaluate(sum.plan(), t, at(9), Form::distinct);
  CHECK(plain.proof.ids->count == 6);
  CHECK(*distinct.proof.ids == digest_of_event_id(id(1)) + digest_of_event_id(id(2)) + digest_of_event_id(id(3)));
  CHECK(distinct.proof.conflicts == 1);
  CHECK(distinct.proof.conflicting_ids == "768");
  CHECK(evaluate(sum.plan(), t, at(2), Form::distinct).proof.conflicts == 0);  // the conflict is above the epoch
  CHECK(lines(evaluate(sum.plan(), t, at(2), Form::distinct).rows) == Lines{"3.00"});
  // Rows of one event that differ only in a column which the query does not look at are one row to it; if it looks, they are not.
  CHECK(evaluate(events("t").sum("batch").plan(), t, at(2), Form::distinct).proof.conflicts == 2);
}

TEST_CASE("wrong types are refused as schema, not read as something else") {
  const Relation t = table({{"event_id", Role::key, Type::uint64}, {"f", Role::value, Type::float64}, {"k", Role::value, Type::text}}, {{id(1), 1.0, "x"}});
  const auto why = [&](const Query& q) { return refusal([&] { evaluate(q.plan(), t, at(9)); }); };
  CHECK(why(events("t").sum("f")) == Reason::schema);  // a sum of floats depends on its order
  CHECK(why(events("t").sum("k")) == Reason::schema);
  CHECK(why(events("t").by("f").count()) == Reason::schema);
  CHECK(why(latest("t").per("f").values("k")) == Reason::schema);
  CHECK(why(events("t").where("k", 5).values("f")) == Reason::schema);
  CHECK(why(events("t").where("absent", 5).values("f")) == Reason::schema);
  CHECK(why(events("t").values("absent")) == Reason::schema);
  CHECK(why(events("t").values("f")) == Reason::none);
  const auto ids = [&](Type type, Value v) {
    return refusal([&] { evaluate(events("t").count().plan(), table({{"event_id", Role::key, type}}, {{v}}), at(9)); });
  };
  CHECK(ids(Type::int64, 256) == Reason::none);
  CHECK(ids(Type::uint64, Value::null_of(Type::uint64)) == Reason::schema);
  CHECK(ids(Type::text, "256") == Reason::schema);
  CHECK(ids(Type::decimal, Decimal{256, 0}) == Reason::schema);
  CHECK(ids(Type::int64, -1) == Reason::schema);  // as unsigned it would stand above every epoch, unseen
}

TEST_CASE("at rest everything is read") { CHECK(lines(evaluate(events("p").count().plan(), positions(), AsOf{.at_rest = true}).rows) == Lines{"6"}); }

TEST_CASE("a brute force over random tables agrees") {
  // Legs, ties, NULLs and replays come from the conformance tables; the brute force knows maps, no columns.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const testing::ConformanceOptions options{.seed = seed, .rows = 80};
    const Relation t = testing::conformance_table(options, true, false);
    const Stream s = testing::conformance_stream();
    for (std::uint64_t sequence = 0; sequence < 40; sequence += 7) {
      std::map<std::string, std::pair<std::uint64_t, std::string>> winner;
      std::map<std::string, std::set<std::pair<std::uint64_t, std::int64_t>>> amounts;
      std::set<std::uint64_t> ids;
      for (std::size_t row = 0; row < t.rows(); ++row) {
        const std::uint64_t event = t.fields[0].column.words()[row];
        if (event / 4 > sequence) continue;
        ids.insert(event);
        const std::string key = to_string(t.column("small")[row]);
        auto& w = winner[key];
        if (w.second.empty() || event >= w.first) w = {event, to_string(t.column("kind")[row]) + " " + to_string(t.column("memo")[row])};
        if (const Value v = t.column("amount")[row]; !v.null)
          amounts[key].insert({event, static_cast<std::int64_t>(v.wide)});
        else
          amounts[key];
      }
      Digest digest;
      for (std::uint64_t event : ids) digest += digest_of_event_id(event);
      std::set<std::string> want_latest, want_sums;
      for (const auto& [key, w] : winner) want_latest.insert(key + " " + w.second);
      for (const auto& [key, list] : amounts) {
        Int128 sum = 0;
        for (const auto& a : list) sum += a.second;
        want_sums.insert(key + " " + (list.empty() ? "NULL" : to_string(Decimal{sum, 4})));
      }
      const Evaluated l = evaluate(latest("t").per("small").values("kind", "memo").plan(), t, as_of(s, {sequence, 0}), Form::distinct);
      const Evaluated g = evaluate(events("t").by("small").sum("amount").plan(), t, as_of(s, {sequence, 0}), Form::distinct);
      const Lines got_latest = lines(l.rows), got_sums = lines(g.rows);
      CHECK(std::set<std::string>(got_latest.begin(), got_latest.end()) == want_latest);
      CHECK(std::set<std::string>(got_sums.begin(), got_sums.end()) == want_sums);
      CHECK(*l.proof.ids == digest);
      CHECK(*g.proof.ids == digest);
    }
  }
}
