#include <epochcut/core/relation.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {
Relation balances() {
  return table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{"EUR", money(150)}, {"USD", Value::null_of(Type::decimal)}});
}
}  // namespace

TEST_CASE("columns are found by name, and a wrong name is told with the right ones") {
  const Relation r = balances();
  CHECK(r.rows() == 2);
  CHECK(r.find("amount") != nullptr);
  CHECK(r.find("amounts") == nullptr);
  CHECK(r.column("currency").type() == Type::text);
  const std::string said = sentence([&] { r.column("amounts"); });
  CHECK(refusal([&] { r.column("amounts"); }) == Reason::schema);
  CHECK(contains(said, "\"amounts\""));
  CHECK(contains(said, "currency, amount"));
}

TEST_CASE("an empty copy has the columns and no rows") {
  const Relation copy = balances().empty_copy();
  CHECK(copy.rows() == 0);
  REQUIRE(copy.fields.size() == 2);
  CHECK(copy.fields[0].role == Role::key);
  CHECK(copy.fields[1].column.scale() == 2);
}

TEST_CASE("rows are appended whole, NULLs and all") {
  Relation sum = balances().empty_copy();
  sum.append(balances());
  sum.append_row(balances(), 0);
  CHECK(lines(sum) == Lines{"EUR 1.50", "USD NULL", "EUR 1.50"});
}

TEST_CASE("a relation without columns has no rows") {
  CHECK(Relation{}.rows() == 0);
  CHECK(Relation{}.bytes() == 0);
}

TEST_CASE("rows of another shape are refused, not put into the wrong columns") {
  Relation r = balances();
  const Relation swapped = table({{"comment", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{"not a currency", money(1)}});
  const Relation shorter = table({{"currency", Role::key, Type::text}}, {{"EUR"}});
  CHECK(refusal([&] { r.append(swapped); }) == Reason::schema);
  if (refusal([&] { r.append(swapped); }) == Reason::schema) CHECK(refusal([&] { r.append(shorter); }) == Reason::schema);
}
