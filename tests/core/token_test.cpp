#include <epochcut/core/token.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

TEST_CASE("a declared relation is found, an undeclared one is refused with the declared ones named") {
  const Token token{.stream = {.id = "trade_engine"}, .epoch = {9, 0}, .relations = {{"transactions", digest_of_event_id(1)}, {"positions", {}}}};
  CHECK(token.relation("transactions").ids == digest_of_event_id(1));
  CHECK(token.relation("positions").ids == Digest{});
  CHECK(refusal([&] { token.relation("transaction"); }) == Reason::undeclared_relation);
  const std::string said = sentence([&] { token.relation("deposits"); });
  for (const char* part : {"deposits", "trade_engine", "transactions, positions"}) CHECK(contains(said, part));
  CHECK(contains(sentence([] { Token{}.relation("x"); }), "none"));
}
