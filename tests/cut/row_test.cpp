#include <epochcut/cut/row.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {
struct Position {
  std::string account;
  std::int64_t instrument = 0;
  Decimal size;
  std::optional<Decimal> average_price;
  bool open = false;
  Timestamp at;
};
struct Everything {
  std::uint64_t id = 0;
  double ratio = 0;
  Uuid uuid;
  Date day;
  std::optional<std::string> memo;
};
}  // namespace

template <>
inline constexpr auto epochcut::fields<Position> = std::tuple{key("account", &Position::account), key("instrument", &Position::instrument),
                                                              value("size", &Position::size),     value("average_price", &Position::average_price),
                                                              value("open", &Position::open),     value("at", &Position::at)};
template <>
inline constexpr auto epochcut::fields<Everything> =
    std::tuple{key("id", &Everything::id), value("ratio", &Everything::ratio), value("uuid", &Everything::uuid), value("day", &Everything::day),
               value("memo", &Everything::memo)};

static_assert(Described<Position> && !Described<int>);

TEST_CASE("structs become a relation and come back unchanged") {
  const std::vector<Position> positions = {{"alice", 7, {150, 2}, Decimal{99, 1}, true, {5}}, {"bob", -7, {-1, 4}, std::nullopt, false, {-5}}};
  const Relation relation = to_relation(std::span<const Position>(positions));
  CHECK(lines(relation) == Lines{"alice 7 1.5000 9.9 true 1970-01-01T00:00:00.000000005Z", "bob -7 -0.0001 NULL false 1969-12-31T23:59:59.999999995Z"});
  CHECK(relation.fields[1].role == Role::key);
  CHECK(relation.fields[2].role == Role::value);
  const std::vector<Position> back = to_rows<Position>(relation);
  REQUIRE(back.size() == 2);
  CHECK(back[0].account == "alice");
  CHECK(back[0].size == Decimal{15, 1});
  CHECK(*back[0].average_price == Decimal{99, 1});
  CHECK_FALSE(back[1].average_price);
  CHECK(back[1].instrument == -7);
  CHECK(back[1].at.ns == -5);

  const std::vector<Everything> all = {{UINT64_MAX, -0.5, to_uuid(Uint128{1} << 127), {-3}, "memo"}, {0, 0, {}, {0}, std::nullopt}};
  const std::vector<Everything> again = to_rows<Everything>(to_relation(std::span<const Everything>(all)));
  CHECK(again[0].id == UINT64_MAX);
  CHECK(again[0].ratio == -0.5);
  CHECK(again[0].uuid == all[0].uuid);
  CHECK(again[0].day.days == -3);
  CHECK(again[0].memo == "memo");
  CHECK_FALSE(again[1].memo);
}

TEST_CASE("columns are found by name and converted within their family, or refused by name") {
  const auto read = [](Type id, Value cell) {
    return refusal([&] {
      to_rows<Everything>(table({{"memo", Role::value, Type::text},
                                 {"day", Role::value, Type::date},
                                 {"uuid", Role::value, Type::uuid},
                                 {"ratio", Role::value, Type::float64},
                                 {"id", Role::key, id, 2}},
                                {{"m", Date{1}, Uuid{}, 1.0, cell}}));
    });
  };
  CHECK(read(Type::int64, Value(5)) == Reason::none);
  CHECK(read(Type::decimal, Value(Decimal{500, 2})) == Reason::none);
  CHECK(read(Type::int64, Value(-5)) == Reason::overflow);
  CHECK(read(Type::decimal, Value(Decimal{501, 2})) == Reason::overflow);
  CHECK(read(Type::text, Value("5")) == Reason::schema);
  CHECK(read(Type::int64, Value::null_of(Type::int64)) == Reason::schema);
  CHECK(refusal([] { to_rows<Everything>(table({{"id", Role::key, Type::uint64}}, {{std::uint64_t{1}}})); }) == Reason::schema);
  CHECK(contains(sentence([] { to_rows<Everything>(table({{"id", Role::key, Type::int64}}, {{-1}})); }), "\"id\""));
}

TEST_CASE("a typed query fills in the struct's columns, or makes sure that they are the struct's") {
  const AsOfQuery<Position> bare = latest("positions").per("account", "instrument");
  CHECK(bare.plan().key == std::vector<std::string>{"account", "instrument"});
  REQUIRE(bare.plan().measures.size() == 4);
  CHECK(bare.plan().measures[1].name == "average_price");
  bare.plan().validate();
  const auto typed = [](const Query& q) { return refusal([&] { AsOfQuery<Position> typed_query = q; }); };
  CHECK(typed(latest("p").per("account", "instrument").key("account", "instrument").values("size", "average_price", "open", "at")) == Reason::none);
  CHECK(typed(latest("p").per("account", "instrument").key("account", "instrument").values("size", "open", "average_price", "at")) == Reason::configuration);
  CHECK(typed(latest("p").per("account", "instrument").key("instrument", "account").values("size", "average_price", "open", "at")) == Reason::configuration);
  CHECK(typed(events("p").by("account").sum("size")) == Reason::configuration);
}

TEST_CASE("no structs are a relation with columns and no rows") {
  const Relation none = to_relation(std::span<const Position>());
  CHECK(none.fields.size() == 6);
  CHECK(none.rows() == 0);
  CHECK(to_rows<Position>(none).empty());
}
