#include <epochcut/diff/diff.hpp>

#include <cmath>
#include <limits>
#include <map>

#include <epochcut/testing/conformance.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {
struct Result {
  DiffCounts counts;
  std::vector<Difference> kept;
};
Result run(std::vector<Relation> left, std::vector<Relation> right, const std::vector<Rule>& rules = {}, std::size_t max = 10) {
  BlockCursor l(std::move(left)), r(std::move(right));
  FirstDifferences first(max);
  Result result{diff(l, r, rules, first), {}};
  result.kept = first.take();
  return result;
}
Reason why(std::vector<Relation> left, std::vector<Relation> right, const std::vector<Rule>& rules = {}) {
  return refusal([&] { run(left, right, rules); });
}
Relation amounts(std::initializer_list<std::initializer_list<Value>> rows) {
  return table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, rows);
}
/// Two tables of one row and one key, for rules.
bool equal(const Value& left, const Value& right, const Rule& rule) {
  const auto one = [](const Value& v) {
    Relation r = table({{"k", Role::key, Type::int64}, {"v", Role::value, v.type}}, {});
    r.fields[0].column.append(Value(1)), r.fields[1].column.append(v);
    return r;
  };
  return run({one(left)}, {one(right)}, {rule}).counts.differences() == 0;
}
const Value no_money = Value::null_of(Type::decimal);
}  // namespace

TEST_CASE("one of each kind, with its key and its values") {
  const Result r =
      run({amounts({{"AUD", money(1)}, {"EUR", money(100)}, {"USD", money(5)}})}, {amounts({{"AUD", money(1)}, {"CHF", money(7)}, {"EUR", money(101)}})});
  CHECK(r.counts.left == 3);
  CHECK(r.counts.right == 3);
  CHECK(r.counts.equal == 1);
  CHECK(r.counts.only_left == 1);
  CHECK(r.counts.only_right == 1);
  CHECK(r.counts.changed == 1);
  REQUIRE(r.kept.size() == 3);
  CHECK(r.kept[0].kind == DifferenceKind::only_right);
  CHECK(to_string(r.kept[0].key[0].value.value()) == "CHF");
  CHECK(r.kept[0].left.empty());
  CHECK(to_string(r.kept[0].right[0].value.value()) == "0.07");
  CHECK(r.kept[1].kind == DifferenceKind::changed);
  CHECK(to_string(r.kept[1].left[0].value.value()) == "1.00");
  CHECK(to_string(r.kept[1].right[0].value.value()) == "1.01");
  CHECK(r.kept[2].kind == DifferenceKind::only_left);
  CHECK(r.kept[2].right.empty());
}

TEST_CASE("a brute force over random tables agrees, however they are cut into blocks") {
  testing::Random random(5);
  for (int round = 0; round < 300; ++round) {
    std::map<std::int64_t, std::int64_t> maps[2];
    for (auto& m : maps)
      for (std::uint64_t n = random.below(30); n > 0; --n) m[static_cast<std::int64_t>(random.below(40)) - 20] = static_cast<std::int64_t>(random.below(3));
    DiffCounts want;
    for (const auto& [k, v] : maps[0]) !maps[1].count(k) ? ++want.only_left : maps[1][k] == v ? ++want.equal : ++want.changed;
    for (const auto& [k, v] : maps[1]) want.only_right += !maps[0].count(k);
    Digest which;
    for (int cutting = 0; cutting < 3; ++cutting) {
      std::vector<Relation> blocks[2];
      for (int side = 0; side < 2; ++side) {
        const Relation none = side == 0 ? table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}})
                                        : table({{"v", Role::value, Type::decimal, 1}, {"k", Role::key, Type::decimal}});
        blocks[side].push_back(none);
        for (const auto& [k, v] : maps[side]) {
          if (cutting > 0 && random.one_in(static_cast<std::uint64_t>(cutting) + 1)) blocks[side].push_back(none);
          Relation& block = blocks[side].back();
          block.fields[side == 0 ? 0 : 1].column.append(Value(k)), block.fields[side == 0 ? 1 : 0].column.append(Value(v));
        }
      }
      const DiffCounts got = run(blocks[0], blocks[1]).counts;
      REQUIRE(got.equal == want.equal);
      REQUIRE(got.only_left == want.only_left);
      REQUIRE(got.only_right == want.only_right);
      REQUIRE(got.changed == want.changed);
      REQUIRE(got.left == maps[0].size());
      REQUIRE(got.right == maps[1].size());
      if (cutting > 0) REQUIRE(got.which == which);
      which = got.which;
      REQUIRE(which.count == want.differences());
    }
  }
}

TEST_CASE("the digest says WHICH differences, not how many") {
  const Relation left = amounts({{"EUR", money(100)}, {"USD", money(5)}});
  const auto which = [&](const Relation& right) { return run({left}, {right}).counts.which; };
  const Digest a = which(amounts({{"EUR", money(101)}, {"USD", money(5)}}));
  CHECK(a.count == 1);
  CHECK(a == which(amounts({{"EUR", Decimal{1010, 3}}, {"USD", money(5)}})));  // the same value at another scale
  CHECK(a != which(amounts({{"EUR", money(102)}, {"USD", money(5)}})));
  CHECK(a != which(amounts({{"EUR", no_money}, {"USD", money(5)}})));
  CHECK(a != which(amounts({{"EUR", money(100)}, {"USD", money(6)}})));
  CHECK(a != which(amounts({{"USD", money(5)}})));
  CHECK(which(amounts({{"EUR", money(100)}})) != run({amounts({{"EUR", money(100)}})}, {left}).counts.which);  // only_left is not only_right
  CHECK(which(left) == Digest{});
}

TEST_CASE("NULL equals NULL, and neither zero nor ''") {
  CHECK(run({amounts({{"EUR", no_money}})}, {amounts({{"EUR", no_money}})}).counts.equal == 1);
  CHECK(run({amounts({{"EUR", no_money}})}, {amounts({{"EUR", money(0)}})}).counts.changed == 1);
  CHECK(run({amounts({{Value::null_of(Type::text), money(1)}})}, {amounts({{Value::null_of(Type::text), money(1)}})}).counts.equal == 1);
  const Result r = run({amounts({{"", money(1)}})}, {amounts({{Value::null_of(Type::text), money(1)}})});
  CHECK(r.counts.only_left == 1);
  CHECK(r.counts.only_right == 1);
}

TEST_CASE("order is checked while reading: across blocks too, and on both sides") {
  const Relation good = amounts({{"EUR", money(1)}});
  CHECK(why({amounts({{"USD", money(1)}, {"EUR", money(1)}})}, {good}) == Reason::unordered);
  CHECK(why({good}, {amounts({{"USD", money(1)}, {"EUR", money(1)}})}) == Reason::unordered);
  CHECK(why({amounts({{"USD", money(1)}}), amounts({{"EUR", money(1)}})}, {good}) == Reason::unordered);
  CHECK(why({amounts({{"a", money(1)}, {"B", money(1)}})}, {good}) == Reason::unordered);  // a language's order, not that of bytes
  CHECK(why({amounts({{Value::null_of(Type::text), money(1)}, {"B", money(1)}})}, {good}) == Reason::unordered);
  CHECK(why({amounts({{"EUR", money(1)}, {"EUR", money(2)}})}, {good}) == Reason::unordered);  // a key that stands twice
  CHECK(why({amounts({{"EUR", money(1)}}), amounts({{"EUR", money(2)}})}, {good}) == Reason::unordered);
  CHECK(contains(sentence([&] { run({good}, {amounts({{"EUR", money(1)}, {"EUR", money(2)}})}); }), "the right side has two rows of one key: currency=EUR"));
  const Relation total = table({{"n", Role::value, Type::int64}}, {{1}, {2}});
  CHECK(why({total}, {total}) == Reason::unordered);  // without a key there is one row
}

TEST_CASE("columns match by name and family, whatever their order") {
  const Relation left = table({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::text}}, {{1, 5, "x"}});
  CHECK(
      run({left}, {table({{"b", Role::value, Type::text}, {"a", Role::value, Type::decimal, 3}, {"k", Role::key, Type::uint64}}, {{"x", 5, std::uint64_t{1}}})})
          .counts.equal == 1);
  const auto other = [&](std::initializer_list<Head> heads) { return why({left}, {table(heads)}); };
  CHECK(other({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}}) == Reason::schema);
  CHECK(other({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::text}, {"c", Role::value, Type::text}}) ==
        Reason::schema);
  CHECK(other({{"k", Role::key, Type::int64}, {"a", Role::value, Type::float64}, {"b", Role::value, Type::text}}) == Reason::schema);
  CHECK(other({{"k", Role::key, Type::text}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::text}}) == Reason::schema);
  CHECK(other({{"key", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::text}}) == Reason::schema);
  CHECK(other({{"k", Role::key, Type::int64}, {"a", Role::key, Type::int64}, {"b", Role::value, Type::text}}) == Reason::schema);
  CHECK(other({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::text}}) == Reason::none);
  CHECK(contains(sentence([&] { run({left}, {table({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}})}); }), "\"b\""));
}

TEST_CASE("of two columns with one name neither is compared with the other's partner") {
  const Relation once = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}}, {{1, 5}});
  const Relation twice = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}, {"v", Role::value, Type::int64}}, {{1, 5, 6}});
  const Relation both = table({{"k", Role::key, Type::int64}, {"k", Role::value, Type::int64}}, {{1, 5}});
  CHECK(why({once}, {twice}) == Reason::schema);  // else the 6 is compared with nothing
  CHECK(why({twice}, {once}) == Reason::schema);
  CHECK(why({twice}, {twice}) == Reason::schema);
  CHECK(why({both}, {both}) == Reason::schema);
  CHECK(contains(sentence([&] { run({once}, {twice}); }), "the right side has two columns named \"v\""));
  CHECK(why({once}, {once}) == Reason::none);
}

TEST_CASE("zero bytes that are content don't compare with zero bytes that are padding") {
  for (const Role role : {Role::key, Role::value})
    for (const int left_form : {text_plain, text_bytes, text_padded})
      for (const int right_form : {text_plain, text_bytes, text_padded}) {
        Relation left, right;
        left.add("h", role, Type::text, left_form).column.append_text("a");
        right.add("h", role, Type::text, right_form).column.append_text("a");
        RelationCursor l(left, {}), r(right, {});
        NullSink sink;
        Reason reason = Reason::none;
        try {
          diff(l, r, {}, sink);
        } catch (const Failure& failure) {
          reason = failure.kind;
          CHECK(failure.message.find("\"h\" is bytea") != std::string::npos);
        }
        const bool both = left_form != text_plain && right_form != text_plain && left_form != right_form;
        CHECK(reason == (both ? Reason::schema : Reason::none));
      }
}

TEST_CASE("a later block of another shape is refused, not compared with the wrong columns") {
  const Relation first = table({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::int64}}, {{1, 1, 2}});
  const Relation swapped = table({{"k", Role::key, Type::int64}, {"b", Role::value, Type::int64}, {"a", Role::value, Type::int64}}, {{2, 1, 2}});
  const Relation same = table({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::int64}}, {{1, 1, 2}, {2, 1, 2}});
  CHECK(why({first, swapped}, {same}) == Reason::schema);
}

TEST_CASE("rules") {
  const auto within = [](Decimal by) { return Rule{.column = "v", .kind = Rule::Kind::within, .tolerance = by}; };
  const auto at_least = [](Decimal by) { return Rule{.column = "v", .kind = Rule::Kind::at_least, .tolerance = by}; };
  CHECK(equal(money(100), money(101), within({1, 2})));
  CHECK(equal(money(101), money(100), within({1, 2})));
  CHECK_FALSE(equal(money(100), money(102), within({1, 2})));
  CHECK(equal(money(100), Decimal{1009, 3}, within({1, 2})));
  CHECK_FALSE(equal(money(100), Decimal{1011, 3}, within({1, 2})));
  CHECK(equal(5, std::uint64_t{5}, within({})));
  CHECK(equal(money(100), money(99), at_least({})));
  CHECK(equal(money(100), money(100), at_least({})));
  CHECK_FALSE(equal(money(100), money(101), at_least({})));
  CHECK(equal(money(100), money(101), at_least({1, 2})));
  CHECK(equal(1.0, 1.25, within({25, 2})));
  CHECK_FALSE(equal(1.0, 1.26, within({25, 2})));
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  CHECK(equal(nan, nan, within({1, 0})));
  CHECK_FALSE(equal(nan, 1.0, within({1, 0})));
  CHECK(equal(inf, inf, within({1, 0})));
  CHECK_FALSE(equal(inf, -inf, within({1, 0})));
  CHECK_FALSE(equal(-inf, inf, at_least({1, 0})));
  CHECK_FALSE(equal(no_money, money(0), within({1, 0})));  // a tolerance does not make NULL a number
  CHECK(equal(no_money, no_money, at_least({1, 0})));
}

TEST_CASE("absent is zero only where it is declared, for every value column") {
  const Relation none = amounts({}), zero = amounts({{"EUR", money(0)}}), one = amounts({{"EUR", money(1)}}), null = amounts({{"EUR", no_money}});
  const std::vector<Rule> declared = {{.column = "amount", .absent_is_zero = true}};
  CHECK(run({zero}, {none}).counts.only_left == 1);
  CHECK(run({zero}, {none}, declared).counts.equal == 1);
  CHECK(run({none}, {zero}, declared).counts.equal == 1);
  CHECK(run({none}, {one}, declared).counts.only_right == 1);
  CHECK(run({null}, {none}, declared).counts.only_left == 1);
  const std::vector<Rule> at_least = {{.column = "amount", .kind = Rule::Kind::at_least, .absent_is_zero = true}};
  CHECK(run({one}, {none}, at_least).counts.equal == 1);       // 0.01 >= 0
  CHECK(run({none}, {one}, at_least).counts.only_right == 1);  // 0 >= 0.01 is false
  const Relation two = table({{"k", Role::key, Type::text}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::int64}}, {{"x", 0, 0}});
  CHECK(run({two}, {two.empty_copy()}, {{.column = "a", .absent_is_zero = true}}).counts.only_left == 1);  // b is not declared
  const Relation keys = table({{"k", Role::key, Type::text}}, {{"x"}});
  CHECK(run({keys}, {keys.empty_copy()}).counts.only_left == 1);
}

TEST_CASE("a rule that can't be meant is refused") {
  const Relation r = table({{"k", Role::key, Type::text}, {"t", Role::value, Type::text}, {"f", Role::value, Type::float64}}, {{"x", "y", 1.0}});
  CHECK(why({r}, {r}, {{.column = "absent"}}) == Reason::configuration);
  CHECK(why({r}, {r}, {{.column = "k"}}) == Reason::configuration);
  CHECK(why({r}, {r}, {{.column = "t", .kind = Rule::Kind::within}}) == Reason::configuration);
  CHECK(why({r}, {r}, {{.column = "f", .absent_is_zero = true}}) == Reason::configuration);
  CHECK(why({r}, {r}, {{.column = "t"}, {.column = "f", .kind = Rule::Kind::within}}) == Reason::none);
}

TEST_CASE("a tolerance that can't be applied exactly is an overflow, not an opinion") {
  const Value huge(Decimal{power_of_ten(38), 0}), minus(Decimal{-power_of_ten(38), 0});
  CHECK(refusal([&] { equal(huge, minus, {.column = "v", .kind = Rule::Kind::within}); }) == Reason::overflow);
  CHECK_FALSE(equal(huge, minus, {.column = "v"}));
}

TEST_CASE("counts are exact whatever is kept; a changed key keeps only the columns that differ") {
  Relation left = table({{"k", Role::key, Type::int64}, {"a", Role::value, Type::int64}, {"b", Role::value, Type::int64}}), right = left;
  for (int i = 0; i < 100; ++i) {
    left.fields[0].column.append(Value(i)), left.fields[1].column.append(Value(i)), left.fields[2].column.append(Value(1));
    right.fields[0].column.append(Value(i)), right.fields[1].column.append(Value(i)), right.fields[2].column.append(Value(2));
  }
  const Result r = run({left}, {right}, {}, 3);
  CHECK(r.counts.changed == 100);
  REQUIRE(r.kept.size() == 3);
  REQUIRE(r.kept[2].left.size() == 1);
  CHECK(r.kept[2].left[0].name == "b");
  CHECK(run({left}, {right}, {}, 0).kept.empty());
  BlockCursor l({left}), rr({right});
  NullSink sink;
  CHECK(diff(l, rr, {}, sink).which == r.counts.which);
}
