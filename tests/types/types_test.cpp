// Every PostgreSQL type against every type of ClickHouse 18.16, and what stands at the edges of each.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "types/edges.hpp"
#include "types/matrix.hpp"
#include "types/sums.hpp"

using namespace types;

TEST_CASE("types: each with each, as value and as key") {
  World world("types");
  ClickHouse analytics = world.analytics();
  Matrix matrix(world, old_store_of(world, analytics));
  require_whole(matrix.run(), false);
}

TEST_CASE("types: at the edges of each") {
  World world("edges");
  ClickHouse analytics = world.analytics();
  Edges edges(world, old_store_of(world, analytics));
  CHECK(edges.compare(common_edges()) > 180);
  edges.postgres_refuses(postgres_overflows());
}

TEST_CASE("types: sums are exact or an error, and a sum of floats is neither") {
  World world("sums");
  ClickHouse analytics = world.analytics();
  Sums sums(world, old_store_of(world, analytics));
  sums.exact(common_sums());
  sums.guarded(common_wrapping_sums());
  sums.floats_refused();

  Relation rows;
  rows.add("event_id", Role::key, Type::uint64).column.append(Value(1U));
  rows.add("f", Role::value, Type::float64).column.append(Value(1.0));
  CHECK_THROWS_AS(evaluate(events("t").sum("f").plan(), rows, AsOf{.at_rest = true}), Failure);
  try {
    evaluate(events("t").sum("f").plan(), rows, AsOf{.at_rest = true});
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::schema);
    CHECK(failure.message.find("depends on its order") != std::string::npos);
  }
}

TEST_CASE("types: a text of a megabyte") {
  World world("long");
  ClickHouse analytics = world.analytics();
  const Store<ClickHouse> store = old_store_of(world, analytics);
  set_token(world);
  const std::string same = "repeat('abcdefgh', 131072)", whole = "arrayStringConcat(arrayMap(x -> 'abcdefgh', range(131072)))";
  world.pg.execute("create table texts (n bigint, v text); insert into texts values (1, " + same + "), (2, " + same + "), (3, " + same + ")");
  store.execute("CREATE TABLE " + world.name + ".texts (event_id UInt64, n Int64, v String) ENGINE = MergeTree ORDER BY event_id");
  for (const std::string& row :
       {"256, 1, " + whole, "512, 2, concat(substring(" + whole + ", 1, 1048575), 'H')", "768, 3, substring(" + whole + ", 1, 1048575)"})
    store.execute("INSERT INTO " + world.name + ".texts SELECT " + row);
  declare(world, "texts", 3);
  auto ledger = world.ledger();
  for (const bool key : {false, true}) {
    INFO((key ? "as a key" : "as a value"));
    const auto query = [&](const Query& from) { return key ? from.key("v").values("n") : from.key("n").values("v"); };
    const Query left = key ? current("texts").where("n", 1) : current("texts"), right = key ? events("texts").where("n", 1) : events("texts");
    const Outcome o = check(ledger, Invariant{"texts", {ledger, query(left)}, {analytics, query(right)}}, all_differences());
    CHECK(o.counts.equal == 1);
    CHECK(o.status == (key ? Status::pass : Status::fail));
    if (key) continue;
    REQUIRE(o.differences.size() == 2);
    const std::string kept = shown(o.differences[0].left, "v"), changed = shown(o.differences[0].right, "v"), shorter = shown(o.differences[1].right, "v");
    CHECK(shown(o.differences[0].key, "n") == "2");
    CHECK(kept.size() == 1'048'576);
    CHECK(changed == kept.substr(0, kept.size() - 1) + "H");
    CHECK(shorter == kept.substr(0, kept.size() - 1));
  }
}

TEST_CASE("types: text columns of any collation are ordered, grouped and found by bytes") {
  World world("collate");
  ClickHouse analytics = world.analytics();
  set_token(world);
  world.pg.execute(
      "create collation ignoring_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
      "create table words (event_id bigint not null, english text collate \"en-US-x-icu\", swedish text collate \"sv-SE-x-icu\", cased text collate ignoring_case,"
      " plain text collate \"C\", n bigint)");
  world.ch.execute("CREATE TABLE " + world.name +
                   ".words (event_id UInt64, english String, swedish String, cased String, plain String, n Int64) ENGINE = MergeTree ORDER BY event_id");
  const std::string words[] = {"a", "A", "B", "b", "_", "-", "aa", "\xC3\xA4", "z", "Zebra", "zebra", "", " a", "co-op", "coop", "\xC3\x85"};
  std::string tsv;
  for (std::size_t i = 0; i < std::size(words); ++i) {
    const std::string id = std::to_string(Event{i + 1}.id()), n = std::to_string(i);
    world.pg.execute("insert into words values ($1::bigint, $2, $2, $2, $2, $3::bigint)", {id, words[i], n});
    tsv += id + "\t" + words[i] + "\t" + words[i] + "\t" + words[i] + "\t" + words[i] + "\t" + n + "\n";
  }
  world.ch.insert(world.name + ".words", tsv);
  declare(world, "words", std::size(words));
  auto ledger = world.ledger();
  for (const char* column : {"english", "swedish", "cased", "plain"}) {
    const Invariant invariants[] = {{"key", {ledger, current("words").key(column).values("n")}, {analytics, events("words").key(column).values("n")}},
                                    {"group", {ledger, current("words").by(column).sum("n")}, {analytics, events("words").by(column).sum("n")}},
                                    {"latest", {ledger, latest("words").per(column).values("n")}, {analytics, latest("words").per(column).values("n")}},
                                    {"filter",
                                     {ledger, current("words").where(column, "a").key("n").values(column)},
                                     {analytics, events("words").where(column, "a").key("n").values(column)}},
                                    {"range",
                                     {ledger, current("words").where(column, Comparison::less, "a").key("n").values(column)},
                                     {analytics, events("words").where(column, Comparison::less, "a").key("n").values(column)}}};
    const std::vector<Outcome> outcomes = check(ledger, invariants, quick());
    for (const Outcome& o : outcomes) {
      INFO(column << ": " << to_text(o));
      CHECK(o.status == Status::pass);
    }
    for (int i = 0; i < 3; ++i) CHECK(outcomes[static_cast<std::size_t>(i)].counts.equal == std::size(words));
    CHECK(outcomes[3].counts.equal == 1);
    CHECK(outcomes[4].counts.equal == 7);  // A B _ - Zebra, '' and " a" are below "a"
  }
}

TEST_CASE("types: a currency at zero has no transactions") {
  World world("zero");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  const auto with = [&](bool declared) {
    std::vector<Rule> rules;
    if (declared) rules.push_back({.column = "amount", .absent_is_zero = true});
    return check(ledger, Invariant{.id = "zero", .left = {ledger, balances()}, .right = {analytics, transactions()}, .rules = rules}, quick());
  };
  world.pg.execute("insert into balances values ('JPY', 0)");
  Outcome o = with(false);
  INFO(to_text(o));
  CHECK(o.status == Status::fail);
  CHECK(o.counts.only_left == 1);
  CHECK(with(true).status == Status::pass);
  CHECK(with(true).counts.equal == 2);
  world.pg.execute("update balances set amount = 0.00000001 where currency = 'JPY'");
  o = with(true);
  CHECK(o.status == Status::fail);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "only_left currency=JPY: left amount=0.00000001");
}

TEST_CASE("types: docs/types.md shows the table that these tests use") {
  std::ifstream file(EPOCHCUT_TYPES_DOC);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string begin = "<!-- pairs: checked by tests/types -->\n", end = "<!-- end -->";
  const std::size_t from = text.find(begin), to = text.find(end);
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  const std::string table = pairs_markdown();
  INFO("docs/types.md must have between its two marks:\n" << table);
  CHECK((text.substr(from + begin.size(), to - from - begin.size()) == table));
}

TEST_CASE("types: the sentences of docs/types.md are those that are said") {
  World world("said");
  ClickHouse analytics = world.analytics();
  set_token(world);
  world.pg.execute(
      "create table said (n bigint, flag boolean, doc jsonb, tags text, price double precision, amount numeric); insert into said values (1, true, '{}', 'a', 1, 'NaN')");
  world.ch.execute(
      "CREATE TABLE " + world.name +
      ".said (event_id UInt64, n Int64, flag UInt8, doc String, tags Array(String), price Float64, amount Decimal(9, 2)) ENGINE = MergeTree ORDER BY event_id");
  world.ch.execute("INSERT INTO " + world.name + ".said SELECT 256, 1, 1, '{}', ['a'], 1.0, 1");
  declare(world, "said", 1);
  auto ledger = world.ledger();
  std::ifstream file(EPOCHCUT_TYPES_DOC);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto said = [&](const Query& left, const Query& right) {
    const Outcome o = check(ledger, Invariant{"said", {ledger, left}, {analytics, right}}, quick());
    INFO(to_text(o));
    CHECK(o.status == Status::error);
    const std::string sentence = o.message.substr(0, o.message.rfind(" (http"));  // where, of which every server has another
    const std::string plain = sentence.substr(0, sentence.rfind(" (127.") == std::string::npos ? sentence.size() : sentence.rfind(" (127."));
    CHECK(text.find("| `" + plain + "` |") != std::string::npos);
  };
  for (const char* column : {"flag", "doc", "tags", "amount"}) said(current("said").key("n").values(column), events("said").key("n").values(column));
  said(current("said").key("price").values("n"), events("said").key("price").values("n"));
  said(current("said").sum("price"), events("said").sum("price"));
}

TEST_CASE("types: values that differ look different in a report") {
  const std::string_view texts[] = {"NULL", "", "\"NULL\"", "\"\"", " a", "a ", "a", " ", "null"};
  std::vector<Value> values(texts, texts + std::size(texts));
  values.push_back(Value::null_of(Type::text));
  std::vector<std::string> lines;
  for (const Value& value : values) {
    Difference d;
    d.left.push_back({"v", Literal(value)});
    lines.push_back(to_text(d));
  }
  std::sort(lines.begin(), lines.end());
  CHECK((std::unique(lines.begin(), lines.end()) == lines.end()));
}
