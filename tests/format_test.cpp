#include <epochcut/verdict/shadow_gate.hpp>
#include <epochcut/format.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

TEST_CASE("an outcome formats as text, or as JSON with j") {
  Exchange x;
  x.run(three);
  const Outcome o = x.check();
  CHECK(fmt::format("{}", o) == to_text(o));
  CHECK(fmt::format("{:j}", o) == to_json(o));
  CHECK(fmt::format("<{}>", o) == "<pass balances @ 3: 2 keys agree>");
  CHECK_THROWS_AS(fmt::format(fmt::runtime("{:x}"), o), fmt::format_error);
  CHECK_THROWS_AS(fmt::format(fmt::runtime("{:jj}"), o), fmt::format_error);
}

TEST_CASE("what has a name formats as its name, with width") {
  CHECK(fmt::format("{}", Status::skipped) == "skipped");
  CHECK(fmt::format("[{:>6}]", Status::pass) == "[  pass]");
  CHECK(fmt::format("{}", Reason::horizon_not_proven) == "horizon_not_proven");
  CHECK(fmt::format("{}", Decision::no_go) == "no_go");
  CHECK(fmt::format("{}", Witness::acked) == "acked");
  CHECK(fmt::format("{}", Value(money(-5))) == "-0.05");
  CHECK(fmt::format("{}", digest_of_event_id(1)).rfind("1 rows, ", 0) == 0);
}
