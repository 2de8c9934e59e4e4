#include "support/catch.hpp"

#include <functional>
#include <vector>

#include <epochcut/testing/manual_clock.hpp>
#include <epochcut/verdict/retry.hpp>

using namespace epochcut;

namespace {

Outcome outcome(Status status, Reason reason = Reason::none, bool retryable = false) {
  Outcome o;
  o.status = status, o.reason = reason, o.retryable = retryable, o.message = std::string(to_string(reason));
  return o;
}

struct Script {
  std::vector<Outcome> answers;
  std::size_t asked = 0;
  Outcome operator()() { return answers.at(asked++); }
};

}  // namespace

TEST_CASE("Only an error that may heal is tried again, and every attempt is on record") {
  testing::ManualClock clock;
  const Control control{.clock = &clock};
  const Outcome late = outcome(Status::error, Reason::horizon_not_proven, true), lost = outcome(Status::error, Reason::connection, true);

  Script healed{{late, lost, outcome(Status::pass)}};
  const Retried r = retry({.attempts_max = 3, .delay = Millis{100}}, control, std::ref(healed));
  CHECK(r.outcome.status == Status::pass);
  REQUIRE(r.earlier.size() == 2);
  CHECK(r.earlier[0].reason == Reason::horizon_not_proven);
  CHECK(r.earlier[1].reason == Reason::connection);
  CHECK(r.earlier[1].message == "connection");
  CHECK(clock.now() == Millis{300});  // 100, then 200

  Script never{{late, late, lost, outcome(Status::pass)}};
  const Retried given_up = retry({.attempts_max = 3}, control, std::ref(never));
  CHECK(given_up.outcome.reason == Reason::connection);
  CHECK(never.asked == 3);
}

TEST_CASE("A fail is final, and so are a pass, a skip and an error for good") {
  testing::ManualClock clock;
  const Control control{.clock = &clock};
  for (const Outcome& first : {outcome(Status::fail, Reason::differs, true), outcome(Status::pass), outcome(Status::skipped, Reason::precondition, true),
                               outcome(Status::error, Reason::configuration), outcome(Status::error, Reason::cancelled, true)}) {
    Script script{{first, outcome(Status::pass)}};
    const Retried r = retry({}, control, std::ref(script));
    CHECK(script.asked == 1);
    CHECK(r.outcome.status == first.status);
    CHECK(r.earlier.empty());
  }
  CHECK(clock.now() == Millis{0});
}

TEST_CASE("No attempt begins after the deadline or after a cancel") {
  testing::ManualClock clock;
  const Outcome late = outcome(Status::error, Reason::horizon_not_proven, true);
  Script script{{late, late, late, late, late}};
  const Retried r = retry({.attempts_max = 5, .delay = Millis{100}}, Control{.clock = &clock, .deadline = Millis{250}}, std::ref(script));
  CHECK(script.asked == 2);
  CHECK(r.outcome.status == Status::error);
  CHECK(clock.now() < Millis{250});

  Cancel cancel;
  cancel.request();
  Script cancelled{{late, outcome(Status::pass)}};
  CHECK(retry({}, Control{.clock = &clock, .cancel = &cancel}, std::ref(cancelled)).outcome.status == Status::error);
  CHECK(cancelled.asked == 1);
}
