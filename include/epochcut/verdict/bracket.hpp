// Was anything on its way between two stores while they were compared?
// Layer: verdict. For money that no token covers: it has left one store and not yet reached the other. What is in flight is sampled on both
// sides of the reads, with a counter that only rises, since a transfer that starts and settles between two samples shows in neither.
// Source: RFC live-checks, "omnibus-balances-square-live"; docs/concepts.md "Reasons".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <epochcut/verdict/check.hpp>

namespace epochcut {

/// One sample of what is on its way. Units: transfers.
struct InFlight {
  std::uint64_t open = 0;                  ///< started and not settled
  std::optional<std::uint64_t> counter{};  ///< of all that ever started; without one a transfer within the bracket goes unseen
};

namespace bracketing {

inline std::string transfers(std::uint64_t n) { return n == 1 ? "1 transfer is" : std::to_string(n) + " transfers are"; }

inline Outcome skipped(std::string id, const std::string& why) {
  Outcome outcome;
  outcome.id = std::move(id);
  outcome.status = Status::skipped;
  outcome.reason = Reason::precondition;
  outcome.message = why + ", so the two sides need not agree; the next run decides";
  return outcome;
}

}  // namespace bracketing

/// Runs `body` (() → Outcome) between two calls of `sample` (() → InFlight). `skipped: precondition` if anything was in flight before, during or
/// after, and then the body's verdict is discarded, even a fail. Without counters a difference is `error: unbracketed`: a transfer may explain it.
/// Errors: none; a Failure of `sample` is the outcome's error.
template <class Sample, class Body>
Outcome bracketed(std::string id, Sample sample, Body body) {
  Outcome outcome;
  outcome.id = id;
  checking::guarded(std::span(&outcome, 1), [&] {
    const InFlight before = sample();
    if (before.open > 0) return void(outcome = bracketing::skipped(std::move(id), bracketing::transfers(before.open) + " in flight before the reads"));
    Outcome found = body();
    const InFlight after = sample();
    if (after.open > 0) return void(outcome = bracketing::skipped(std::move(id), bracketing::transfers(after.open) + " in flight after the reads"));
    const bool counted = before.counter && after.counter;
    if (counted && *before.counter != *after.counter)
      return void(outcome = bracketing::skipped(std::move(id), "a transfer started and settled during the reads"));
    outcome = std::move(found);
    outcome.id = std::move(id);
    if (outcome.status != Status::fail || counted) return;
    checking::set_error(outcome, Failure(Reason::unbracketed, "the sides differ (" + outcome.message +
                                                                  "), but nothing counts the transfers between the two samples, and one may explain it; "
                                                                  "have the samples carry a counter that rises with each transfer"));
    outcome.retryable = true;
  });
  return outcome;
}

}  // namespace epochcut
