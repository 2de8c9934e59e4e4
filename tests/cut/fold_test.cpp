// The fast way of answering a query says what the reference says, whatever the plan, the rows and their order; and it is the one that answers.
#include <epochcut/cut/fold.hpp>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/split_fold.hpp>
#include <rapidcheck.h>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {

const Stream stream{.id = "s", .leg_bits = 2, .generation = "generation"};
const std::vector<std::string> key_columns{"whole", "natural", "amount", "name", "uuid", "flag", "at", "day"},
    number_columns{"whole", "natural", "amount", "big"};

/// Few different values, edges among them, and NULLs where `nulls` says so.
Relation table_of(const std::vector<std::uint64_t>& ids, std::uint64_t different, bool nulls, const std::vector<std::uint32_t>& dice) {
  Relation t = table({{"event_id", Role::key, Type::uint64},
                      {"generation", Role::value, Type::uint64},
                      {"whole", Role::value, Type::int64},
                      {"natural", Role::value, Type::uint64},
                      {"amount", Role::value, Type::decimal, 2},
                      {"name", Role::value, Type::text},
                      {"uuid", Role::value, Type::uuid},
                      {"flag", Role::value, Type::boolean},
                      {"at", Role::value, Type::timestamp_ns},
                      {"day", Role::value, Type::date},
                      {"big", Role::value, Type::decimal},
                      {"ratio", Role::value, Type::float64}});
  std::size_t die = 0;
  const auto draw = [&] {
    ++die;
    return std::uint64_t{dice[die % dice.size()]} * 2'654'435'761u >> 7 ^ die;
  };
  for (const std::uint64_t id : ids) {
    const std::uint64_t k = draw() % different;
    const std::string text = k % 5 == 0 ? "" : "name " + std::string(k % 20, 'x') + std::to_string(k);
    const Value cells[] = {id,
                           std::uint64_t{1 + draw() % 2},
                           static_cast<std::int64_t>(k) - static_cast<std::int64_t>(different / 2),
                           k % 7 == 6 ? ~std::uint64_t{0} - k : k,
                           Decimal{(k % 3 == 0 ? power_of_ten(30) : Int128{1}) * static_cast<Int128>(k % 2 == 0 ? k : 0 - static_cast<Int128>(k)), 2},
                           Value(std::string_view(text)),
                           to_uuid(static_cast<Uint128>(k) << (k % 2 == 0 ? 100 : 3)),
                           k % 2 == 0,
                           Timestamp{static_cast<std::int64_t>(k) - 5},
                           Date{static_cast<std::int32_t>(k) - 5},
                           Decimal{k % 11 == 0 ? power_of_ten(38) : static_cast<Int128>(k), 0},
                           static_cast<double>(k) / 2};
    for (std::size_t c = 0; c < t.fields.size(); ++c)
      nulls&& c >= 2 && draw() % 7 == 0 ? t.fields[c].column.append_null() : t.fields[c].column.append(cells[c]);
  }
  return t;
}

Relation in_order(const Relation& from, const std::vector<std::size_t>& order) {
  Relation to = from.empty_copy();
  for (const std::size_t row : order) to.append_row(from, row);
  return to;
}

template <class Of>
std::string said(Of of) {
  try {
    const Evaluated e = of();
    std::string text = std::to_string(e.proof.rows) + " rows, " + (e.proof.ids ? to_string(*e.proof.ids) : "no ids") + ", " +
                       std::to_string(e.proof.conflicts) + " conflicts " + e.proof.conflicting_ids + "\n";
    for (const Field& f : e.rows.fields)
      text += f.name + (f.role == Role::key ? " key " : " ") + std::string(to_string(f.column.type())) + " " + std::to_string(f.column.scale()) + "\n";
    for (const std::string& line : lines(e.rows)) text += line + "\n";
    return text;
  } catch (const Failure& failure) {
    return std::string(to_string(failure.kind)) + ": " + failure.message;
  }
}

struct Asked {
  QueryPlan plan;
  AsOf as_of;
  Form form;
  Relation rows;
};

template <class Name>
Name one_of(const std::vector<Name>& names) {
  return *rc::gen::elementOf(names);
}

Asked asked() {
  const auto draw = [](int below) { return *rc::gen::inRange(0, below); };
  Asked a;
  const std::size_t rows = static_cast<std::size_t>(draw(8) == 0 ? draw(4000) : draw(120));
  const auto dice = *rc::gen::container<std::vector<std::uint32_t>>(97, rc::gen::arbitrary<std::uint32_t>());
  std::vector<std::uint64_t> ids(rows);
  const bool replays = draw(3) == 0;
  for (std::size_t i = 0; i < rows; ++i) ids[i] = replays && i > 0 && dice[i % 97] % 5 == 0 ? ids[dice[(i + 1) % 97] % i] : 4 + i;
  a.rows = table_of(ids, static_cast<std::uint64_t>(one_of<int>({1, 3, 20, 1000})), draw(3) == 0, dice);
  if (replays && draw(2) == 0) {  // replays of the very same row
    std::vector<std::size_t> order(rows);
    for (std::size_t i = 0; i < rows; ++i) order[i] = dice[i % 97] % 4 == 0 ? i / 2 : i;
    a.rows = in_order(a.rows, order);
  }
  const std::string order_by = one_of<std::string>({"", "event_id", "whole", "name", "amount", "shuffled"});
  if (!order_by.empty()) {
    std::vector<std::size_t> order(rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) {
      if (order_by == "shuffled") return mix(x) < mix(y);
      const auto o = compare(a.rows.column(order_by)[x], a.rows.column(order_by)[y]);
      return o != 0 ? o < 0 : x < y;
    });
    if (draw(4) == 0 && rows > 2) std::swap(order[rows / 2], order[rows - 1]);  // in order, but for one
    a.rows = in_order(a.rows, order);
  }
  if (draw(30) == 0)
    a.rows.fields[0].column = Column(Type::int64), [&] {
      for (std::size_t i = 0; i < rows; ++i) a.rows.fields[0].column.append_word(i + 1 == rows && draw(2) == 0 ? ~std::uint64_t{0} : ids[i]);
    }();
  a.as_of = as_of(stream, {static_cast<std::uint64_t>(draw(static_cast<int>(rows / 4) + 3)), 0});
  if (draw(2) == 0) a.as_of.last_event_id = rows + 8;
  a.as_of.at_rest = draw(5) == 0;
  a.as_of.generation = static_cast<std::uint64_t>(draw(2)) + 1;
  if (draw(2) == 0) a.as_of.stream.generation.clear();
  for (int s = draw(3), sequence = 0; s > 0; --s)
    a.as_of.seams.push_back({.sequence = static_cast<std::uint64_t>(sequence += 1 + draw(20)), .from = static_cast<std::uint64_t>(draw(2)) + 1});
  a.form = draw(3) == 0 ? Form::distinct : Form::plain;

  QueryPlan& p = a.plan;
  p.relation = "t";
  p.history = *rc::gen::element(History::events, History::latest, History::current);
  const auto some = [&](int most) {
    std::vector<std::string> names;
    for (int n = draw(most) + 1; n > 0; --n)
      if (const std::string name = draw(40) == 0 ? "ratio" : one_of(key_columns); std::find(names.begin(), names.end(), name) == names.end())
        names.push_back(name);
    return names;
  };
  if (p.history == History::latest) p.per = some(3);
  for (int n = draw(3); n > 0; --n) {
    Filter f;
    f.column = one_of(key_columns);
    f.comparison = static_cast<Comparison>(draw(8));
    const Column& c = a.rows.column(f.column);
    f.literal = Literal(rows == 0 || draw(20) == 0 ? Value(3) : c[static_cast<std::size_t>(draw(static_cast<int>(rows)))]);
    p.where.push_back(f);
  }
  const bool grouped = draw(2) == 0;
  if (grouped) {
    if (draw(4) != 0) p.by = some(3);
    if (draw(2) == 0 || p.by.empty()) p.measures.push_back({Measure::Kind::count, {}, "n"});
    for (int n = draw(3); n > 0; --n) p.measures.push_back({Measure::Kind::sum, draw(30) == 0 ? "ratio" : one_of(number_columns), "sum" + std::to_string(n)});
  } else {
    if (p.history == History::current || draw(3) == 0) p.key = some(2);
    for (int n = draw(4); n > 0; --n) p.measures.push_back({Measure::Kind::value, draw(60) == 0 ? "absent" : one_of(key_columns), "v" + std::to_string(n)});
    if (draw(4) == 0) p.measures.push_back({Measure::Kind::value, "ratio", "r"});
  }
  return a;
}

constexpr int enough = 1000;  // tables, for each kind to come up; a run by hand may ask for fewer

}  // namespace

TEST_CASE("fold is evaluate, over random plans and rows in any order; and it leaves to evaluate what only that can say") {
  int refused = 0, answered = 0, conflicting = 0, overflowing = 0, by_latest = 0, summed = 0;
  CHECK(rc::check("fold is evaluate", [&] {
    const Asked a = asked();
    const std::string plain = said([&] { return evaluate(a.plan, a.rows, a.as_of, a.form); });
    const std::string fast = said([&] { return fold(a.plan, a.rows, a.as_of, a.form); });
    const bool fails = plain.find(" rows, ") == std::string::npos;
    (fails ? refused : answered)++;
    conflicting += plain.find(", 0 conflicts") == std::string::npos && !fails;
    overflowing += plain.find("overflow") == 0;
    by_latest += !fails && a.plan.history == History::latest, summed += !fails && a.plan.grouped();
    RC_ASSERT(fast == plain);
    if (!fails) RC_ASSERT(folding::answer(a.plan, a.rows, a.as_of, a.form).has_value() || a.rows.fields[0].column.type() == Type::int64);
  }));
  // Each kind has come up; else the above has shown little.
  if (refused + answered >= enough)
    for (const int seen : {refused, answered, conflicting, overflowing, by_latest, summed}) CHECK(seen > 0);
}

TEST_CASE("a fold whose parts are read on several threads is fold") {
  int cases = 0, split = 0, summed = 0, newest = 0;
  CHECK(rc::check("split is evaluate", [&] {
    Asked a = asked();
    a.form = Form::plain;
    const std::string plain = said([&] { return evaluate(a.plan, a.rows, a.as_of); });
    const std::string fast = said([&] {
      SplitFold fold(a.plan, a.rows, a.as_of, 3);
      split += a.rows.rows() >= 3;
      std::vector<std::thread> threads;
      for (std::size_t part = 0; part < fold.parts(); ++part) threads.emplace_back([&fold, part] { fold.run(part); });
      for (std::thread& thread : threads) thread.join();
      return fold.answer();
    });
    const bool fails = plain.find(" rows, ") == std::string::npos;
    ++cases, summed += !fails && a.plan.grouped(), newest += !fails && a.plan.history == History::latest;
    RC_ASSERT(fast == plain);
  }));
  if (cases < enough) return;
  CHECK(split > 10);
  CHECK(summed > 10);
  CHECK(newest > 10);
}

TEST_CASE("parts that overflow together are refused as the reference refuses them, and sums that fit in its order are given") {
  const auto sums = [](const std::vector<Int128>& amounts, std::size_t parts) {
    Relation t = table({{"event_id", Role::key, Type::uint64}, {"amount", Role::value, Type::decimal}});
    for (std::size_t i = 0; i < amounts.size(); ++i) t.fields[0].column.append_word(i + 1), t.fields[1].column.append_wide(amounts[i]);
    const QueryPlan plan = events("t").sum("amount").plan();
    const AsOf at_rest{.at_rest = true};
    return said([&] {
      SplitFold fold(plan, t, at_rest, parts);
      for (std::size_t part = 0; part < fold.parts(); ++part) fold.run(part);
      return fold.answer();
    });
  };
  const Int128 large = power_of_ten(38);  // one fits 128 bits, two don't
  CHECK(sums({large, large, -large, -large}, 1).find("overflow") == 0);
  CHECK(sums({large, large, -large, -large}, 2) == sums({large, large, -large, -large}, 1));  // either half overflows
  CHECK(sums({large, -large, -large, large}, 2) == sums({large, -large, -large, large}, 1));
  CHECK(sums({large, 0, large, -large}, 2).find("overflow") == 0);  // no half does, the order does
  CHECK(sums({1, 2, 3, 4}, 2).find("10") != std::string::npos);
  CHECK(sums({1, 2, 3, 4}, 2) == sums({1, 2, 3, 4}, 1));
}

TEST_CASE("a part that never ran is not missing, and one that ran twice counts once") {
  Relation t = table({{"event_id", Role::key, Type::uint64}, {"k", Role::value, Type::int64}}, {{std::uint64_t{1}, 1}, {std::uint64_t{2}, 2}});
  const QueryPlan plan = events("t").count().plan();
  const AsOf at_rest{.at_rest = true};
  SplitFold fold(plan, t, at_rest, 2);
  REQUIRE(fold.parts() == 2);
  fold.run(0);
  CHECK(lines(fold.answer().rows) == Lines{"2"});
  fold.run(1), fold.run(0);
  CHECK(lines(fold.answer().rows) == Lines{"2"});
  CHECK(fold.answer().proof.ids->count == 2);
  CHECK_THROWS_AS(fold.run(2), std::out_of_range);
}

TEST_CASE("more parts than rows, and none at all, are fine") {
  const QueryPlan plan = events("t").sum("k").plan();
  for (const std::size_t rows : {std::size_t{0}, std::size_t{2}}) {
    Relation t = table({{"event_id", Role::key, Type::uint64}, {"k", Role::value, Type::int64}});
    for (std::size_t i = 0; i < rows; ++i) t.fields[0].column.append_word(i), t.fields[1].column.append_word(5);
    for (const std::size_t parts : {std::size_t{0}, std::size_t{1}, std::size_t{9}}) {
      SplitFold fold(plan, t, AsOf{.at_rest = true}, parts);
      REQUIRE(fold.parts() == std::max<std::size_t>(parts, 1));
      for (std::size_t part = 0; part < fold.parts(); ++part) fold.run(part);
      CHECK(lines(fold.answer().rows) == lines(evaluate(plan, t, AsOf{.at_rest = true}).rows));
    }
  }
}

TEST_CASE("keys that share one hash are told apart by their values") {
  // Each step of the hash is a bijection, so that the last word can be chosen to make all of them alike. Keys fall, so that the table is used from the first.
  const std::uint64_t seed = hashing::seed_of(0), alike = 42;
  Relation t =
      table({{"event_id", Role::key, Type::uint64}, {"a", Role::value, Type::uint64}, {"b", Role::value, Type::uint64}, {"c", Role::value, Type::uint64}});
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const std::uint64_t a = 3000 - i, b = alike - mix(seed + a);
    t.fields[0].column.append_word(i), t.fields[1].column.append_word(a), t.fields[2].column.append_word(b);
    t.fields[3].column.append_word(alike - mix(mix(seed + a) + a));
  }
  t.fields.push_back({"d", Role::value, t.fields[1].column});
  for (const auto& per : {std::vector<std::string>{"a", "b"}, std::vector<std::string>{"a", "d", "c"}}) {
    const folding::Keys keys(evaluation::columns_of(t, per));
    std::uint64_t hashes[2];
    keys.hashes({0, 2}, hashes);
    REQUIRE(hashes[0] == hashes[1]);
    QueryPlan plan = latest("t").values("event_id").plan();
    plan.per = per;
    const Evaluated fast = fold(plan, t, AsOf{.at_rest = true});
    CHECK(fast.rows.rows() == 3000);
    CHECK(lines(fast.rows) == lines(evaluate(plan, t, AsOf{.at_rest = true}).rows));
  }
}

TEST_CASE("keys that were made to share one hash don't: who writes them does not know where it starts") {
  // For a start that is known, the second word of a text can be chosen so that all of them are alike; a table of them would take a step for each pair.
  constexpr std::uint64_t known = 0x243F6A8885A308D3u, alike = 42;
  Relation t = table({{"name", Role::key, Type::text}});
  for (std::uint64_t first = 1; first <= 1000; ++first) {
    const std::uint64_t second = mix((known + 16) ^ first) ^ alike;
    std::string text(16, '\0');
    std::memcpy(text.data(), &first, 8), std::memcpy(text.data() + 8, &second, 8);
    t.fields[0].column.append_text(text);
  }
  const folding::Keys keys(evaluation::columns_of(t, std::vector<std::string>{"name"}));
  std::vector<std::uint64_t> hashes(1000);
  keys.hashes({0, 1000}, hashes.data());
  std::sort(hashes.begin(), hashes.end());
  CHECK(std::unique(hashes.begin(), hashes.end()) == hashes.end());
}

TEST_CASE("of two rows with one event id and one key the first wins, whichever way rows are folded") {
  for (const bool in_order : {true, false}) {
    Relation t = table({{"event_id", Role::key, Type::uint64}, {"k", Role::value, Type::int64}, {"v", Role::value, Type::int64}});
    if (!in_order)
      t = table({{"event_id", Role::key, Type::uint64}, {"k", Role::value, Type::int64}, {"v", Role::value, Type::int64}}, {{std::uint64_t{1}, 9, 0}});
    for (int k = 1; k <= 3; ++k)
      for (int v = 0; v < 3; ++v) t.fields[0].column.append_word(v == 0 ? 5 : 7), t.fields[1].column.append(Value(k)), t.fields[2].column.append(Value(v));
    const Evaluated e = fold(latest("t").per("k").values("v").plan(), t, AsOf{.at_rest = true});
    CHECK(lines(e.rows) == (in_order ? Lines{"1 1", "2 1", "3 1"} : Lines{"1 1", "2 1", "3 1", "9 0"}));
  }
}
