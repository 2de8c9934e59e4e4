#include <epochcut/verdict/shadow_gate.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using tables::contains;

namespace {
Outcome outcome(Status status, std::uint64_t sequence, const char* id = "positions") {
  Outcome o;
  o.id = id, o.status = status, o.stream = "trade_engine", o.epoch = Epoch{sequence, 0};
  o.reason = status == Status::fail ? Reason::differs : status == Status::error ? Reason::horizon_not_proven : Reason::none;
  o.message = "a sentence";
  return o;
}
const GateThresholds small{.cuts_min = 3, .duration_min = Millis{100}, .events_min = 50};
}  // namespace

TEST_CASE("a gate opens when every threshold is met by passing cuts, not before") {
  ShadowGate gate(small);
  CHECK(gate.decision() == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 100), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 200), Millis{50}) == Decision::not_yet);
  CHECK(contains(gate.why(), "1 passing cuts"));
  CHECK(contains(gate.why(), "50 ms"));
  CHECK(gate.add(outcome(Status::pass, 201), Millis{100}) == Decision::go);
  CHECK(gate.cuts() == 3);
  CHECK(gate.events() == 101);
  CHECK(gate.duration() == Millis{100});
}

TEST_CASE("each threshold alone holds the gate shut") {
  const auto run = [](GateThresholds t, std::uint64_t step, std::int64_t ms, int cuts) {
    ShadowGate gate(std::move(t));
    for (int i = 0; i < cuts; ++i) gate.add(outcome(Status::pass, 100 + step * static_cast<std::uint64_t>(i)), Millis{ms * i});
    return gate.decision();
  };
  CHECK(run(small, 25, 50, 3) == Decision::go);
  CHECK(run(small, 25, 50, 2) == Decision::not_yet);
  CHECK(run(small, 24, 50, 3) == Decision::not_yet);
  CHECK(run(small, 25, 49, 3) == Decision::not_yet);
  GateThresholds exercised = small;
  exercised.exercised = {"liquidation"};
  CHECK(run(exercised, 25, 50, 3) == Decision::not_yet);
  CHECK(run({.cuts_min = 0, .duration_min = Millis{0}, .events_min = 0}, 1, 1, 0) == Decision::not_yet);  // nothing shown is nothing shown
}

TEST_CASE("a gate that was shown nothing does not open, whatever its thresholds") {
  ShadowGate gate({.cuts_min = 0, .duration_min = Millis{0}, .events_min = 0});
  CHECK(gate.add(std::span<const Outcome>(), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::skipped, 5), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::error, 6), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 7), Millis{0}) == Decision::go);
}

TEST_CASE("a quiet window proves nothing: cuts at one epoch count once") {
  ShadowGate gate(small);
  for (int i = 0; i < 100; ++i) CHECK(gate.add(outcome(Status::pass, 100), Millis{i * 100}) == Decision::not_yet);
  CHECK(gate.cuts() == 1);
  CHECK(gate.duration() == Millis{0});
  CHECK(gate.add(outcome(Status::pass, 99), Millis{20'000}) == Decision::not_yet);  // nor does one that steps back
  CHECK(gate.cuts() == 1);
}

TEST_CASE("one fail is final") {
  ShadowGate gate(small);
  gate.add(outcome(Status::pass, 100), Millis{0});
  CHECK(gate.add(outcome(Status::fail, 150), Millis{50}) == Decision::no_go);
  for (int i = 0; i < 10; ++i) CHECK(gate.add(outcome(Status::pass, 1000 + static_cast<std::uint64_t>(i) * 100), Millis{1000 * (i + 1)}) == Decision::no_go);
  CHECK(contains(gate.why(), "positions: differs: a sentence"));
  ShadowGate open(small);
  for (int i = 0; i < 3; ++i) open.add(outcome(Status::pass, 100 + 50 * static_cast<std::uint64_t>(i)), Millis{50 * i});
  CHECK(open.decision() == Decision::go);
  CHECK(open.add(outcome(Status::fail, 900), Millis{900}) == Decision::no_go);  // an open gate can still be shut
}

TEST_CASE("errors and skips hold it up and are counted, but reject nothing") {
  ShadowGate gate(small);
  gate.add(outcome(Status::pass, 100), Millis{0});
  gate.add(outcome(Status::pass, 150), Millis{60});
  CHECK(gate.add(outcome(Status::error, 160), Millis{120}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::skipped, 170), Millis{140}) == Decision::not_yet);
  CHECK(gate.not_counted() == 2);
  CHECK(gate.cuts() == 2);
  CHECK(gate.add(outcome(Status::pass, 180), Millis{150}) == Decision::go);
  CHECK(gate.add(outcome(Status::error, 190), Millis{160}) == Decision::not_yet);  // not on the strength of an older cut
  CHECK(contains(gate.why(), "the last cut did not pass"));
}

TEST_CASE("all checks of a cut must pass, at one epoch of one stream, synchronised") {
  const auto counts = [](std::vector<Outcome> outcomes) {
    ShadowGate gate({.cuts_min = 1, .duration_min = Millis{0}, .events_min = 0});
    gate.add(std::span<const Outcome>(outcomes), Millis{0});
    return gate.cuts() == 1;
  };
  const Outcome a = outcome(Status::pass, 5, "a"), b = outcome(Status::pass, 5, "b");
  CHECK(counts({a, b}));
  CHECK_FALSE(counts({a, outcome(Status::skipped, 5, "b")}));
  CHECK_FALSE(counts({a, outcome(Status::error, 5, "b")}));
  CHECK_FALSE(counts({a, outcome(Status::pass, 6, "b")}));
  Outcome other = b;
  other.stream = "other";
  CHECK_FALSE(counts({a, other}));
  other = b;
  other.epoch.reset();
  CHECK_FALSE(counts({a, other}));
  CHECK_FALSE(counts({other}));
  other = b;
  other.unsynchronised = true;
  CHECK_FALSE(counts({a, other}));
}

TEST_CASE("kinds of event must have been seen") {
  GateThresholds t{.cuts_min = 1, .duration_min = Millis{0}, .events_min = 0, .exercised = {"funding", "liquidation"}};
  ShadowGate gate(t);
  const std::vector<std::string> funding = {"funding", "trade"}, liquidation = {"liquidation"};
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}, funding) == Decision::not_yet);
  CHECK(contains(gate.why(), "liquidation"));
  CHECK_FALSE(contains(gate.why(), "funding"));
  CHECK(gate.add(outcome(Status::pass, 2), Millis{1}, liquidation) == Decision::go);
}

TEST_CASE("a difference read at rest rejects nothing, as it counts for nothing") {
  ShadowGate gate(small);
  Outcome racy = outcome(Status::fail, 100);
  racy.unsynchronised = true;
  CHECK(gate.add(racy, Millis{0}) == Decision::not_yet);
}

TEST_CASE("passes of two streams, or of two generations of one, don't add up") {
  ShadowGate gate({.cuts_min = 2, .duration_min = Millis{0}, .events_min = 1'000});
  gate.add(outcome(Status::pass, 100), Millis{0});
  Outcome other = outcome(Status::pass, 5'000);
  other.stream = "other";
  CHECK(gate.add(other, Millis{10}) == Decision::not_yet);
  other = outcome(Status::pass, 6'000);
  other.generation = 1;
  CHECK(gate.add(other, Millis{20}) == Decision::not_yet);
}

TEST_CASE("decisions have names") {
  CHECK(to_string(Decision::go) == "go");
  CHECK(to_string(Decision::no_go) == "no_go");
  CHECK(to_string(Decision::not_yet) == "not_yet");
}
