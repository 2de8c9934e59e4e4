#include <epochcut/verdict/bracket.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {

/// Samples in the order they are asked for; the last one repeats.
struct Samples {
  std::vector<InFlight> samples;
  std::size_t asked = 0;
  InFlight operator()() { return samples[std::min(asked++, samples.size() - 1)]; }
};

Outcome body_of(Status status, Reason reason) {
  Outcome o;
  o.status = status, o.reason = reason, o.message = "of the body";
  o.counts.changed = status == Status::fail;
  return o;
}

}  // namespace

TEST_CASE("a bracket lets the body's verdict stand only if nothing was on its way") {
  struct Case {
    InFlight before, after;
    bool stands;
  };
  constexpr std::uint64_t n = 7;
  for (const Case& c : {Case{{0, n}, {0, n}, true}, Case{{1, n}, {0, n}, false}, Case{{0, n}, {1, n + 1}, false}, Case{{0, n}, {0, n + 1}, false},
                        Case{{0, n}, {0, n - 1}, false}, Case{{1, n}, {1, n}, false}})
    for (const auto& [status, reason] :
         {std::pair{Status::pass, Reason::none}, std::pair{Status::fail, Reason::differs}, std::pair{Status::error, Reason::timeout}}) {
      const Outcome o = bracketed("omnibus", Samples{{c.before, c.after}}, [&, s = status, r = reason] { return body_of(s, r); });
      INFO(c.before.open << " " << c.after.open << " " << to_string(status));
      CHECK(o.id == "omnibus");
      CHECK(o.status == (c.stands ? status : Status::skipped));
      CHECK(o.reason == (c.stands ? reason : Reason::precondition));
      if (!c.stands) CHECK(o.counts.differences() == 0);
    }
}

TEST_CASE("a transfer that starts and settles between the samples voids a fail: only a counter can tell") {
  Exchange x;
  x.run(three);
  std::uint64_t transfers = 3;
  const auto settle_within = [&] {
    ++transfers;
    x.remove([](std::uint64_t id) { return id >> 8 == 2; });  // its other half is there already
    x.publish({{2, "USD", 400}});
    return x.check();
  };
  const Outcome counted = bracketed(
      "omnibus",
      [&] {
        return InFlight{0, transfers};
      },
      settle_within);
  CHECK(counted.status == Status::skipped);
  const Outcome uncounted = bracketed(
      "omnibus", [&] { return InFlight{}; }, [&] { return x.check(); });
  CHECK(uncounted.status == Status::error);
  CHECK(uncounted.reason == Reason::unbracketed);
  CHECK(uncounted.counts.differences() == 0);
  CHECK(uncounted.differences.empty());
  CHECK(uncounted.retryable);
  const Outcome quiet = bracketed(
      "omnibus",
      [&] {
        return InFlight{0, transfers};
      },
      [&] { return x.check(); });
  CHECK(quiet.status == Status::fail);  // nothing moved, and it still differs
  CHECK(quiet.reason == Reason::differs);
}

TEST_CASE("without a counter agreement still counts: no transfer makes different books equal and keeps them so") {
  Exchange x;
  x.run(three);
  CHECK(bracketed(
            "omnibus", [] { return InFlight{}; }, [&] { return x.check(); })
            .status == Status::pass);
}

TEST_CASE("a sample that can't be taken is an error, before and after the reads, and the body does not run without the first") {
  for (int failing : {1, 2}) {
    int samples = 0, bodies = 0;
    const Outcome o = bracketed(
        "omnibus",
        [&] {
          if (++samples == failing) throw Failure(Reason::connection, "the custodian does not answer").retry();
          return InFlight{0, 1};
        },
        [&] { return ++bodies, body_of(Status::pass, Reason::none); });
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::connection);
    CHECK(o.retryable);
    CHECK(o.claim == Claim::nothing);
    CHECK(bodies == failing - 1);
  }
  bool ran = false;
  (void)bracketed(
      "omnibus",
      [] {
        return InFlight{2, 1};
      },
      [&] { return ran = true, body_of(Status::pass, Reason::none); });
  CHECK_FALSE(ran);
}
