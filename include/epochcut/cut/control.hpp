// How long may a read take, how much may it hold, and who can stop it?
// Layer: cut. A Control is a value that refers to a clock and a cancel flag, both owned by the caller and safe to share.
// The clock is injected, so that every wait can be tested without waiting.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>

#include <epochcut/core/failure.hpp>

namespace epochcut {

using Millis = std::chrono::milliseconds;

/// Monotonic time since an arbitrary start, and the only way to wait.
struct Clock {
  virtual ~Clock() = default;
  virtual Millis now() const = 0;
  virtual void sleep(Millis duration) = 0;
};

/// The machine's monotonic clock. Stateless.
struct SystemClock final : Clock {
  Millis now() const override {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return Millis(t.tv_sec * 1000 + t.tv_nsec / 1'000'000);
  }
  void sleep(Millis duration) override {
    if (duration.count() <= 0) return;
    timespec rest{duration.count() / 1000, duration.count() % 1000 * 1'000'000};
    while (nanosleep(&rest, &rest) != 0) {
    }
  }
  static SystemClock& instance() {
    static SystemClock clock;
    return clock;
  }
};

/// Set it from any thread (or a signal handler) to stop a check: it ends as `error: cancelled` within `cancel_poll`.
class Cancel {
 public:
  void request() { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const { return requested_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> requested_{false};
};

inline constexpr Millis cancel_poll{50};  ///< a waiting read looks at its cancel flag and deadline this often

/// Limits and handles that every read is given. Units: rows and bytes of one reading as decoded.
struct Control {
  Clock* clock = &SystemClock::instance();
  const Cancel* cancel = nullptr;
  std::optional<Millis> deadline{};                  ///< on `clock`; a read that passes it is `error: timeout`
  std::uint64_t rows_max = 10'000'000;               ///< more rows in one reading are `error: too_large`: aggregate, or compare at rest in ranges
  std::uint64_t bytes_max = std::uint64_t{1} << 30;  ///< the same in bytes: a check must not take its host down

  Millis remaining(Millis otherwise) const {
    if (!deadline) return otherwise;
    const Millis left = *deadline - clock->now();
    return left < otherwise ? left : otherwise;
  }

  /// Errors: `cancelled` or `timeout`, both retryable.
  void check() const {
    if (cancel != nullptr && cancel->requested()) throw Failure(Reason::cancelled, "the check was cancelled by its caller").retry();
    if (deadline && clock->now() >= *deadline)
      throw Failure(Reason::timeout, "the check's time budget is used up; give it more time or a smaller query").retry();
  }

  void check_size(std::uint64_t rows, std::uint64_t bytes) const {
    if (rows > rows_max || bytes > bytes_max)
      throw Failure(Reason::too_large, "a reading holds more than " + std::to_string(rows > rows_max ? rows_max : bytes_max) +
                                           (rows > rows_max ? " rows" : " bytes") + "; aggregate it or raise the limit in Control");
  }

  /// Sleeps in slices, so that cancelling never waits for a long delay. Errors: as `check()`.
  void sleep(Millis duration) const {
    const Millis end = clock->now() + duration;
    for (Millis left = duration; left.count() > 0; left = end - clock->now()) {
      check();
      clock->sleep(left < cancel_poll ? left : cancel_poll);
    }
    check();
  }
};

}  // namespace epochcut
