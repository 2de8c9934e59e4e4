// How does a user's own struct stand for a row?
// Layer: cut. A thin typed hat over the untyped query: it fills in key and value columns, and turns a relation into structs and back.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <epochcut/core/relation.hpp>
#include <epochcut/cut/as_of_query.hpp>

namespace epochcut {

/// One member of a user's struct and the column that it stands for.
template <class Row, class Member>
struct FieldOf {
  std::string_view name;
  Member Row::*member;
  Role role;
};

template <class Row, class Member>
constexpr FieldOf<Row, Member> key(std::string_view name, Member Row::*member) {
  return {name, member, Role::key};
}
template <class Row, class Member>
constexpr FieldOf<Row, Member> value(std::string_view name, Member Row::*member) {
  return {name, member, Role::value};
}

/// Specialise for a struct of your own, keys first:
/// `template <> inline constexpr auto epochcut::fields<Balance> = std::tuple{key("currency", &Balance::currency), value("amount", &Balance::amount)};`
template <class Row>
inline constexpr auto fields = nullptr;

template <class Row>
concept Described = !std::is_same_v<std::remove_cvref_t<decltype(fields<Row>)>, std::nullptr_t>;

namespace rows {

template <class Member>
struct Mapping;  // a member type that no column maps onto: use bool, int64, uint64, Decimal, double, string, Uuid, Timestamp, Date or an optional of one
template <Type type>
struct Maps {
  static constexpr Type column_type = type;
};
template <>
struct Mapping<bool> : Maps<Type::boolean> {
  static bool from(const Value& v) { return v.word != 0; }
};
template <>
struct Mapping<std::int64_t> : Maps<Type::int64> {
  static std::int64_t from(const Value& v) { return v.as_int64(); }
};
template <>
struct Mapping<std::uint64_t> : Maps<Type::uint64> {
  static std::uint64_t from(const Value& v) { return v.word; }
};
template <>
struct Mapping<Decimal> : Maps<Type::decimal> {
  static Decimal from(const Value& v) { return v.as_decimal(); }
};
template <>
struct Mapping<double> : Maps<Type::float64> {
  static double from(const Value& v) { return v.as_float64(); }
};
template <>
struct Mapping<std::string> : Maps<Type::text> {
  static std::string from(const Value& v) { return std::string(v.text); }
};
template <>
struct Mapping<Uuid> : Maps<Type::uuid> {
  static Uuid from(const Value& v) { return to_uuid(static_cast<Uint128>(v.wide)); }
};
template <>
struct Mapping<Timestamp> : Maps<Type::timestamp_ns> {
  static Timestamp from(const Value& v) { return {v.as_int64()}; }
};
template <>
struct Mapping<Date> : Maps<Type::date> {
  static Date from(const Value& v) { return {static_cast<std::int32_t>(v.as_int64())}; }
};

template <class Member>
inline constexpr bool is_optional = false;
template <class Member>
inline constexpr bool is_optional<std::optional<Member>> = true;

template <class Member>
struct Plain {
  using type = Member;
};
template <class Member>
struct Plain<std::optional<Member>> {
  using type = Member;
};
template <class Member>
using PlainOf = typename Plain<Member>::type;

/// A type of member that a column maps onto.
template <class Member>
concept Mapped = requires {
  Mapping<PlainOf<Member>>::column_type;
};

template <class Row>
constexpr bool every_member_maps() {
  if constexpr (!Described<Row>)
    return true;  // said by itself
  else
    return std::apply([](const auto&... field) { return (Mapped<std::remove_cvref_t<decltype(std::declval<Row>().*field.member)>> && ...); }, fields<Row>);
}

template <class Row>
constexpr bool has_float_key() {
  if constexpr (!Described<Row>)
    return false;
  else
    return std::apply(
        [](const auto&... field) {
          return ((field.role == Role::key && std::is_same_v<PlainOf<std::remove_cvref_t<decltype(std::declval<Row>().*field.member)>>, double>) || ...);
        },
        fields<Row>);
}

/// Errors: `schema` when the column's family is another, or a NULL meets a member that is no optional; `overflow` when a number does not fit.
template <class Member>
Member get(std::string_view name, const Value& v) {
  using M = Mapping<PlainOf<Member>>;
  if (v.null) {
    if constexpr (is_optional<Member>)
      return std::nullopt;
    else
      throw Failure(Reason::schema, "column \"" + std::string(name) + "\" holds a NULL; make the member a std::optional");
  } else {
    Column one(M::column_type);  // a column converts within its family exactly, or says why not
    try {
      one.append(v);
    } catch (const Failure& f) {
      throw Failure(f.kind, "column \"" + std::string(name) + "\": " + f.message);
    }
    return M::from(one[0]);
  }
}

template <class Member>
Value put(const Member& member) {
  using M = Mapping<PlainOf<Member>>;
  if constexpr (is_optional<Member>)
    return member ? put(*member) : Value::null_of(M::column_type);
  else if constexpr (std::is_same_v<Member, std::string>)
    return Value(std::string_view(member));
  else
    return Value(member);
}

}  // namespace rows

/// The rows of a relation as structs.
template <Described Row>
std::vector<Row> to_rows(const Relation& relation) {
  std::vector<Row> out(relation.rows());
  std::apply(
      [&](const auto&... field) {
        (
            [&] {
              const Column& column = relation.column(field.name);
              for (std::size_t i = 0; i < out.size(); ++i) {
                auto& member = out[i].*field.member;
                member = rows::get<std::remove_cvref_t<decltype(member)>>(field.name, column[i]);
              }
            }(),
            ...);
      },
      fields<Row>);
  return out;
}

/// Structs as a relation, in the order in which they stand.
template <Described Row>
Relation to_relation(std::span<const Row> structs) {
  Relation relation;
  std::apply(
      [&](const auto&... field) {
        (
            [&] {
              using Member = std::remove_cvref_t<decltype(std::declval<Row>().*field.member)>;
              Column& column = relation.add(std::string(field.name), field.role, rows::Mapping<rows::PlainOf<Member>>::column_type).column;
              for (const Row& row : structs) column.append(rows::put(row.*field.member));
            }(),
            ...);
      },
      fields<Row>);
  return relation;
}

/// A query whose rows are `Row`: an ungrouped query without columns gets the struct's keys and values.
/// Errors: `configuration` when the query already has columns and they are not the struct's.
template <class Row>
class AsOfQuery : public AsOfQuery<void> {
  static_assert(Described<Row>, "describe the struct first: specialise epochcut::fields<Row>");
  static_assert(rows::every_member_maps<Row>(),
                "no column maps onto a member: use bool, int64_t, uint64_t, Decimal, double, string, Uuid, Timestamp, Date or an optional of one");
  static_assert(!rows::has_float_key<Row>(), "a double can't be a key: choose an exact type");

 public:
  AsOfQuery(AsOfQuery<void> query) : AsOfQuery<void>(fill(query.plan())) {}
  std::vector<Row> rows(const Relation& relation) const { return to_rows<Row>(relation); }

 private:
  static QueryPlan fill(QueryPlan plan) {
    const bool bare = !plan.grouped() && plan.key.empty() && plan.measures.empty();
    std::vector<std::string> keys, values;
    std::apply([&](const auto&... field) { ((field.role == Role::key ? keys : values).emplace_back(field.name), ...); }, fields<Row>);
    if (bare) {
      plan.key = keys;
      for (const std::string& v : values) plan.measures.push_back({Measure::Kind::value, v, v});
      return plan;
    }
    std::vector<std::string> names;
    for (const Measure& m : plan.measures) names.push_back(m.name);
    if (keys != (plan.grouped() ? plan.by : plan.key) || values != names)
      throw Failure(Reason::configuration,
                    "query on \"" + plan.relation + "\": its columns are not those of the struct; name the same keys and values in the same order");
    return plan;
  }
};

}  // namespace epochcut
