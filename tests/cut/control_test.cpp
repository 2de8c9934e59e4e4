#include <epochcut/cut/control.hpp>

#include <epochcut/testing/manual_clock.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using tables::refusal;

namespace {
/// Requests a cancel when its time has come.
struct CancellingClock final : Clock {
  Millis time{0}, when{0};
  Cancel* cancel = nullptr;
  int slices = 0;
  Millis now() const override { return time; }
  void sleep(Millis d) override {
    time += d;
    ++slices;
    if (time >= when) cancel->request();
  }
};
}  // namespace

TEST_CASE("a control without limits lets everything pass") {
  const Control free;
  free.check();
  free.check_size(10'000'000, 1 << 30);
  CHECK(free.remaining(Millis{5}) == Millis{5});
}

TEST_CASE("a deadline is a timeout from its first millisecond on") {
  testing::ManualClock clock;
  const Control control{.clock = &clock, .deadline = Millis{100}};
  clock.advance(Millis{99});
  control.check();
  CHECK(control.remaining(Millis{5}) == Millis{1});
  CHECK(control.remaining(Millis{0}) == Millis{0});
  clock.advance(Millis{1});
  CHECK(refusal([&] { control.check(); }) == Reason::timeout);
  try {
    control.check();
  } catch (const Failure& f) {
    CHECK(f.retryable);
  }
}

TEST_CASE("cancelled beats timed out, and both are retryable") {
  testing::ManualClock clock;
  Cancel cancel;
  const Control control{.clock = &clock, .cancel = &cancel, .deadline = Millis{0}};
  CHECK(refusal([&] { control.check(); }) == Reason::timeout);
  cancel.request();
  CHECK(refusal([&] { control.check(); }) == Reason::cancelled);
}

TEST_CASE("a reading that is too large is refused by rows and by bytes") {
  const Control control{.rows_max = 10, .bytes_max = 1000};
  control.check_size(10, 1000);
  CHECK(refusal([&] { control.check_size(11, 0); }) == Reason::too_large);
  CHECK(refusal([&] { control.check_size(0, 1001); }) == Reason::too_large);
  CHECK(tables::contains(tables::sentence([&] { control.check_size(11, 0); }), "10 rows"));
  CHECK(tables::contains(tables::sentence([&] { control.check_size(1, 1001); }), "1000 bytes"));
}

TEST_CASE("a sleep lasts as long as it should") {
  testing::ManualClock clock;
  const Control control{.clock = &clock};
  for (std::int64_t ms : {0, 1, 49, 50, 51, 175, 30'000}) {
    const Millis before = clock.now();
    control.sleep(Millis{ms});
    CHECK((clock.now() - before).count() == ms);
  }
  control.sleep(Millis{-5});
}

TEST_CASE("a cancel ends a long sleep within one slice") {
  Cancel cancel;
  CancellingClock clock;
  clock.cancel = &cancel, clock.when = Millis{120};
  CHECK(refusal([&] { Control{.clock = &clock, .cancel = &cancel}.sleep(Millis{100'000}); }) == Reason::cancelled);
  CHECK(clock.time < Millis{120} + 2 * cancel_poll);
}

TEST_CASE("a sleep past the deadline ends there as a timeout") {
  testing::ManualClock clock;
  CHECK(refusal([&] { Control{.clock = &clock, .deadline = Millis{200}}.sleep(Millis{100'000}); }) == Reason::timeout);
  CHECK(clock.now() < Millis{200} + 2 * cancel_poll);
}

TEST_CASE("the system clock runs forward and really sleeps") {
  SystemClock& clock = SystemClock::instance();
  const Millis before = clock.now();
  clock.sleep(Millis{5});
  CHECK(clock.now() - before >= Millis{4});
  clock.sleep(Millis{-1});
}
