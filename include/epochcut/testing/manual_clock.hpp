// How are waits tested without waiting?
// Layer: testing, shipped. Thread-safe. Sleeping moves the clock at once.
#pragma once

#include <atomic>

#include <epochcut/cut/control.hpp>

namespace epochcut::testing {

class ManualClock final : public Clock {
 public:
  Millis now() const override { return Millis(now_.load()); }
  void sleep(Millis duration) override { now_ += duration.count(); }
  void advance(Millis duration) { sleep(duration); }

 private:
  std::atomic<std::int64_t> now_{0};
};

}  // namespace epochcut::testing
