#include <epochcut/verdict/invariant.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
struct Scanning {
  Relation rows;
  Relation scan(const std::string&) { return rows; }
};
}  // namespace

TEST_CASE("an erased follower answers as the one behind it, readable or only scannable") {
  Exchange x;
  x.run(three);
  Scanning scanning{transactions(three)};
  const AnyFollower memory(x.analytics), scan(scanning);
  const AsOf at = as_of(x.token);
  const Control control{.clock = &x.clock};
  for (const AnyFollower& f : {memory, scan}) {
    const auto [rows, proof] = collect(f.open(sums().plan(), at, Form::plain, control), control);
    CHECK(lines(rows) == Lines{"EUR 7.50", "USD 5.00"});
    CHECK(*proof.ids == x.token.relations[0].ids);
    CHECK(f.visible("transactions", at, control).count == 3);
  }
  CHECK(memory.address() == &x.analytics);
  CHECK(memory.about("transactions", control).relation == "memory analytics/transactions");
  CHECK(memory.about("transactions", control).relation != scan.about("transactions", control).relation);
}

TEST_CASE("two scannable objects are two relations, one is one") {
  Scanning a, b;
  const Control control;
  CHECK(AnyFollower(a).about("t", control).relation == AnyFollower(a).about("t", control).relation);
  CHECK(AnyFollower(a).about("t", control).relation != AnyFollower(b).about("t", control).relation);
  CHECK(AnyFollower(a).about("t", control).relation != AnyFollower(a).about("u", control).relation);
}

TEST_CASE("a reading is synchronised unless it is spelled at_rest") {
  Exchange x;
  const Reading plain{x.analytics, sums()}, rest{at_rest(x.analytics), sums()};
  CHECK_FALSE(plain.at_rest);
  CHECK(rest.at_rest);
  CHECK(rest.source.address() == plain.source.address());
}

TEST_CASE("an invariant is a value that can be copied and changed") {
  Exchange x;
  x.run(three);
  const Invariant first = x.invariant();
  Invariant second = first;
  second.id = "second";
  second.right.query = events("transactions").where("currency", "EUR").by("currency").sum("amount");
  CHECK(x.check(first).status == Status::pass);
  CHECK(x.check(second).status == Status::fail);
  CHECK(first.id == "balances");
}

TEST_CASE("the digest of a question is its twin's, and no other question's") {
  Memory ledger{"ledger"}, analytics{"analytics"};
  const Query left = current("balances").by("currency").sum("amount"), right = events("transactions").by("currency").sum("amount");
  const Digest live = digest_of_question({"live", {ledger, left}, {analytics, right}});
  CHECK(digest_of_question({"old", {ledger, left}, {at_rest(analytics), right}}) == live);
  const Query others[] = {events("positions").by("currency").sum("amount"),
                          latest("transactions").per("account").by("currency").sum("amount"),
                          events("transactions").by("account").sum("amount"),
                          events("transactions").by("currency").sum("fee"),
                          events("transactions").by("currency").sum("amount").as("total"),
                          events("transactions").by("currency").sum("amount").count(),
                          events("transactions").by("currency").count("amount"),
                          events("transactions").where("kind", "fee").by("currency").sum("amount"),
                          events("transactions").where("kind", Comparison::not_equal, "fee").by("currency").sum("amount"),
                          events("transactions").where("kind", "deposit").by("currency").sum("amount"),
                          events("transactions").where("memo", "fee").by("currency").sum("amount")};
  std::vector<Digest> all{live};
  for (const Query& other : others) all.push_back(digest_of_question({"live", {ledger, left}, {analytics, other}}));
  all.push_back(digest_of_question({"live", {analytics, right}, {ledger, left}}));
  for (const Rule& rule : {Rule{.column = "amount"}, Rule{.column = "amount", .kind = Rule::Kind::within, .tolerance = {1, 8}},
                           Rule{.column = "amount", .kind = Rule::Kind::within, .tolerance = {2, 8}}, Rule{.column = "amount", .absent_is_zero = true}})
    all.push_back(digest_of_question({"live", {ledger, left}, {analytics, right}, {rule}}));
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(all[i] != all[j]);
}
