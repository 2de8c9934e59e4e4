#include <epochcut/cut/as_of_query.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;

namespace {
using Names = std::vector<std::string>;
const Stream stream{.id = "s"};
std::string refused(const Query& q) {
  return sentence([&] { q.plan().validate(); });
}
}  // namespace

TEST_CASE("a query is a value: every step leaves the one before as it was") {
  const Query common = events("transactions").where("kind", "deposit");
  const Query a = common.by("currency").sum("amount"), b = common.by("account").count();
  CHECK(common.plan().by.empty());
  CHECK(common.plan().measures.empty());
  CHECK(a.plan().by == Names{"currency"});
  CHECK(b.plan().by == Names{"account"});
  CHECK(b.plan().measures[0].name == "count");
}

TEST_CASE("a literal owns its text") {
  Query q = [] {
    std::string gone = "a text that is long enough to live on the heap";
    return events("t").where("kind", Value(std::string_view(gone))).values("v");
  }();
  const Query copy = q;
  q = events("other");
  CHECK(copy.plan().where[0].literal.value().text == "a text that is long enough to live on the heap");
}

TEST_CASE("the keys of the result") {
  CHECK(events("t").values("v").plan().keys(stream) == Names{"event_id"});
  CHECK(events("t").values("v").plan().keys({.id = "s", .event_id = "seq"}) == Names{"seq"});
  CHECK(events("t").key("a", "b").values("v").plan().keys(stream) == Names{"a", "b"});
  CHECK(latest("t").per("k").values("v").plan().keys(stream) == Names{"k"});
  CHECK(latest("t").per("k").by("g").sum("v").plan().keys(stream) == Names{"g"});
  CHECK(events("t").sum("v").plan().keys(stream).empty());
  CHECK(current("t").key("k").values("v").plan().keys(stream) == Names{"k"});
}

TEST_CASE("the used columns are those in which a replay must agree, each once, without the event id") {
  const Query q = latest("t").per("k").where("kind", "x").by("g").sum("v").sum("k").as("again").count();
  CHECK(q.plan().used_columns(stream) == Names{"k", "kind", "g", "v"});
  CHECK(events("t").values("v").plan().used_columns(stream) == Names{"v"});
}

TEST_CASE("as() renames the last column only") {
  const Query q = events("t").by("g").sum("v").as("total").count("n");
  CHECK(q.plan().measures[0].name == "total");
  CHECK(q.plan().measures[0].column == "v");
  CHECK(q.plan().measures[1].name == "n");
  CHECK(refusal([] { events("t").as("x"); }) == Reason::configuration);
}

TEST_CASE("a query that can't mean one thing is refused with a sentence that says what to change") {
  CHECK(contains(refused(Query{}), "must name a relation"));
  CHECK(contains(refused(events("t")), "reads no column"));
  CHECK(contains(refused(latest("t").values("v")), ".per(key)"));
  CHECK(contains(refused(events("t").per("k").values("v")), "latest()"));
  CHECK(contains(refused(events("t").by("g").values("v")), ".values()"));
  CHECK(contains(refused(events("t").sum("a").values("v")), ".values()"));
  CHECK(contains(refused(events("t").by("g").key("k").sum("v")), ".key()"));
  CHECK(contains(refused(current("t").values("v")), ".key()"));
  CHECK(contains(refused(events("t").by("g").sum("v").sum("v")), "\"v\""));
  CHECK(contains(refused(events("t").by("g").sum("g")), "\"g\""));
  CHECK(contains(refused(events("t").by("g", "g").count()), "\"g\""));
  CHECK(contains(refused(latest("t").per("k").values("k")), "\"k\""));
  CHECK(contains(refused(events("trades").sum("v").sum("v")), "\"trades\""));
  for (const Query& good : {events("t").values("v"), latest("t").per("k").values("v"), current("t").key("k").values("v"), current("t").by("g").count(),
                            events("t").by("g").sum("v").sum("v").as("w"), events("t").sum("v"), events("t").key("k")})
    CHECK(refused(good).empty());
}
