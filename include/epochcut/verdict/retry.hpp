// What if a check could not know, but the next try may?
// Layer: verdict. Runs the caller's check again, only on an error that says it may heal, and keeps every attempt on record.
// Thread-safe as the check is. Source: docs/concepts.md "The status algebra", `retry(n)`: it never turns a fail into a pass.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <epochcut/cut/control.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

struct RetryPolicy {
  int attempts_max = 3;  ///< in all, the first one included; below 1 means 1
  Millis delay{200};     ///< before the second attempt; it doubles
  Millis delay_max{5000};
};

/// An attempt that came to nothing.
struct FailedAttempt {
  Reason reason = Reason::unknown;
  std::string message;
  Millis took{0};
};

struct Retried {
  Outcome outcome;                     ///< the first that is no error, or the last error
  std::vector<FailedAttempt> earlier;  ///< the errors before it, in order: an outcome healed by a retry says so
};

/// `run` is called until it answers with something other than a retryable error. Each call must take a new cut, as `check` does: an epoch that
/// could not be read is not waited for. A fail, a pass, a skip and a permanent error are final. The deadline and cancel flag of `control` end the
/// waiting, and the last error stands.
template <class Run>
requires std::convertible_to<std::invoke_result_t<Run&>, Outcome> Retried retry(const RetryPolicy& policy, const Control& control, Run run) {
  Retried out{run(), {}};
  Millis delay = policy.delay;
  while (out.outcome.status == Status::error && out.outcome.retryable && static_cast<int>(out.earlier.size()) + 1 < policy.attempts_max) {
    if (out.outcome.reason == Reason::cancelled || (control.deadline && control.clock->now() + delay >= *control.deadline)) break;
    try {
      control.sleep(delay);
    } catch (const Failure&) {
      break;
    }
    out.earlier.push_back({out.outcome.reason, std::move(out.outcome.message), out.outcome.took});
    out.outcome = run();
    delay = delay * 2 < policy.delay_max ? delay * 2 : policy.delay_max;
  }
  return out;
}

}  // namespace epochcut
