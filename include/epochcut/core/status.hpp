// What may a comparison answer, and how do answers combine?
// Layer: core. Values only, constexpr, thread-safe. Source: docs/concepts.md "The status algebra".
// The laws at the end are proved over every input each time this header is compiled.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace epochcut {

/// The answer of a check. The order is `all_of`'s: the worst answer has the greatest value.
enum class Status : std::uint8_t {
  pass,     ///< asserted, and it holds
  skipped,  ///< a declared precondition was observed false: nothing was asserted
  error,    ///< wanted to assert, could not know
  fail,     ///< asserted, and it is broken
};

inline constexpr Status all_statuses[] = {Status::pass, Status::skipped, Status::error, Status::fail};

constexpr std::string_view to_string(Status status) {
  constexpr std::string_view names[] = {"pass", "skipped", "error", "fail"};
  return names[static_cast<std::size_t>(status)];
}

/// Process exit code of a status: 0 pass, 1 fail, 2 skipped, 3 error.
constexpr int exit_code(Status status) {
  constexpr int codes[] = {0, 2, 3, 1};
  return codes[static_cast<std::size_t>(status)];
}

/// Conjunction: the maximum in pass < skipped < error < fail.
constexpr Status all_of(Status a, Status b) { return a < b ? b : a; }

constexpr Status negate(Status s) { return s == Status::pass ? Status::fail : s == Status::fail ? Status::pass : s; }

/// Disjunction: the maximum in fail < skipped < error < pass. It combines alternative ways to PROVE one thing; never the
/// comparisons of two stores, where a clean replica would hide a corrupt one.
constexpr Status any_of(Status a, Status b) {
  constexpr auto rank = [](Status s) { return s == Status::fail ? 0 : s == Status::skipped ? 1 : s == Status::error ? 2 : 3; };
  return rank(a) < rank(b) ? b : a;
}

/// `b` if `a` passed; else `a`, and `b` counts for nothing (a caller does not run it).
constexpr Status then(Status a, Status b) { return a == Status::pass ? b : a; }

/// A precondition: observed false, it skips what depends on it instead of failing it.
constexpr Status gate(Status p) { return p == Status::fail ? Status::skipped : p; }

/// `body` only if the precondition held before and after; else the gate's value, and what the body said is discarded.
constexpr Status bracket(Status before, Status body, Status after) { return then(all_of(gate(before), gate(after)), body); }

/// Conjunction of many. Nothing combined is `skipped`: an empty conjunction has asserted nothing.
template <class Statuses = std::initializer_list<Status>>
constexpr Status all_of(const Statuses& statuses) {
  Status worst = Status::pass;
  bool any = false;
  for (Status s : statuses) {
    worst = all_of(worst, s);
    any = true;
  }
  return any ? worst : Status::skipped;
}

namespace laws {

template <class Law>
constexpr bool for_all_1(Law law) {
  for (Status a : all_statuses)
    if (!law(a)) return false;
  return true;
}
template <class Law>
constexpr bool for_all_2(Law law) {
  return for_all_1([&](Status a) { return for_all_1([&](Status b) { return law(a, b); }); });
}
template <class Law>
constexpr bool for_all_3(Law law) {
  return for_all_2([&](Status a, Status b) { return for_all_1([&](Status c) { return law(a, b, c); }); });
}
template <class Law>
constexpr int exceptions_2(Law law) {
  int n = 0;
  for_all_2([&](Status a, Status b) { return n += law(a, b) ? 0 : 1, true; });
  return n;
}
template <class Law>
constexpr int exceptions_3(Law law) {
  int n = 0;
  for_all_3([&](Status a, Status b, Status c) { return n += law(a, b, c) ? 0 : 1, true; });
  return n;
}

using S = Status;
constexpr S all(S a, S b) { return all_of(a, b); }
constexpr S any(S a, S b) { return any_of(a, b); }

static_assert(for_all_3([](S a, S b, S c) { return all(all(a, b), c) == all(a, all(b, c)) && any(any(a, b), c) == any(a, any(b, c)); }), "associative");
static_assert(for_all_2([](S a, S b) { return all(a, b) == all(b, a) && any(a, b) == any(b, a); }), "commutative");
static_assert(for_all_1([](S a) { return all(a, a) == a && any(a, a) == a; }), "idempotent");
static_assert(for_all_1([](S a) { return all(S::pass, a) == a && any(S::fail, a) == a; }), "identity");
static_assert(for_all_1([](S a) { return all(S::fail, a) == S::fail && any(S::pass, a) == S::pass; }), "absorbing");
static_assert(for_all_2([](S a, S b) { return negate(all(a, b)) == any(negate(a), negate(b)); }), "De Morgan, 16 of 16");
static_assert(for_all_1([](S a) { return negate(negate(a)) == a; }), "negation is its own inverse");
static_assert(for_all_3([](S a, S b, S c) { return then(then(a, b), c) == then(a, then(b, c)); }), "then is associative");
static_assert(for_all_1([](S a) { return then(a, a) == a && then(S::pass, a) == a && then(a, S::pass) == a; }), "then: idempotent, identity");
static_assert(then(S::skipped, S::fail) != then(S::fail, S::skipped), "then is not commutative");
static_assert(for_all_3([](S a, S b, S c) { return then(a, all(b, c)) == all(then(a, b), then(a, c)); }), "then distributes on the left");
static_assert(for_all_2([](S a, S b) { return then(a, b) <= all(a, b); }), "then is never worse than all_of");
static_assert(exceptions_2([](S a, S b) { return any(a, all(a, b)) == a; }) == 1, "absorption fails once, on purpose");
static_assert(any(S::skipped, all(S::skipped, S::error)) == S::error, "that once: an error is never erased");
static_assert(exceptions_3([](S a, S b, S c) { return all(a, any(b, c)) == any(all(a, b), all(a, c)); }) == 2, "distributivity fails twice");
static_assert(for_all_2([](S p, S body) { return gate(p) == S::pass || bracket(p, body, S::pass) == gate(p); }), "a bracket discards the body");
static_assert(for_all_1([](S s) { return bracket(S::pass, s, S::fail) == S::skipped; }), "seen after the reads, it voids even a fail");
static_assert(all_of({}) == S::skipped, "an empty conjunction has asserted nothing");

// A definite verdict (pass or fail) never changes when an unknown input (skipped or error) becomes known.
constexpr bool definite(S s) { return s == S::pass || s == S::fail; }
static_assert(for_all_3([](S unknown, S b, S known) {
                if (definite(unknown)) return true;
                return (!definite(all(unknown, b)) || all(known, b) == all(unknown, b)) && (!definite(any(unknown, b)) || any(known, b) == any(unknown, b));
              }),
              "knowledge is monotone");

}  // namespace laws
}  // namespace epochcut
