#include <epochcut/verdict/shadow_gate.hpp>

#include <epochcut/verdict/check.hpp>
#include <epochcut/verdict/planted.hpp>

#include "testing/small_exchange.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using tables::contains;

namespace {

Outcome outcome(Status status, std::uint64_t sequence, const char* id = "positions") {
  Outcome o;
  o.id = id, o.status = status, o.stream = "trade_engine", o.authority = "production", o.generation = 1, o.epoch = Epoch{sequence, 0};
  o.reason = status == Status::fail ? Reason::differs : status == Status::error ? Reason::horizon_not_proven : Reason::none;
  o.message = "a sentence";
  return o;
}

Difference change(const char* key, std::int64_t left, std::int64_t right, const char* column = "quantity") {
  return {DifferenceKind::changed, {{"account", Literal(Value(key))}}, {{column, Literal(Value(left))}}, {{column, Literal(Value(right))}}};
}

Outcome failing(std::uint64_t sequence, std::vector<Difference> differences, const char* id = "positions") {
  Outcome o = outcome(Status::fail, sequence, id);
  o.counts.changed = differences.size();
  o.differences = std::move(differences);
  return o;
}

/// One that holds.
void control(ShadowGate& gate, std::uint64_t sequence = 1) {
  gate.control(outcome(Status::pass, sequence, "same"), failing(sequence, {change("a", 5, 4)}, "planted"), change("a", 5, 4));
}

const GateThresholds small{.cuts_min = 3, .duration_min = Millis{100}, .events_min = 50};
const GateThresholds one{.cuts_min = 1, .duration_min = Millis{0}, .events_min = 0};

/// A gate that has seen a control already, since none opens without.
ShadowGate controlled(GateThresholds thresholds, std::vector<Allowance> allowances = {}) {
  ShadowGate gate(std::move(thresholds), std::move(allowances));
  control(gate);
  return gate;
}

std::chrono::sys_days day(int n) { return std::chrono::sys_days(std::chrono::year{2026} / 6 / 1) + std::chrono::days(n); }

}  // namespace

TEST_CASE("a gate opens when every threshold is met by passing cuts, not before") {
  ShadowGate gate = controlled(small);
  CHECK(gate.decision() == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 100), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 200), Millis{50}) == Decision::not_yet);
  CHECK(contains(gate.why(), "1 passing cuts"));
  CHECK(contains(gate.why(), "50 ms"));
  CHECK(gate.add(outcome(Status::pass, 201), Millis{100}) == Decision::go);
  CHECK(gate.cuts() == 3);
  CHECK(gate.events() == 101);
  CHECK(gate.duration() == Millis{100});
  CHECK(contains(gate.why(), "equal at 3 cuts over 101 events"));
}

TEST_CASE("each threshold alone holds the gate shut") {
  const auto run = [](GateThresholds t, std::uint64_t step, std::int64_t ms, int cuts) {
    ShadowGate gate = controlled(std::move(t));
    for (int i = 0; i < cuts; ++i) gate.add(outcome(Status::pass, 100 + step * static_cast<std::uint64_t>(i)), Millis{ms * i});
    return gate.decision();
  };
  CHECK(run(small, 25, 50, 3) == Decision::go);
  CHECK(run(small, 25, 50, 2) == Decision::not_yet);
  CHECK(run(small, 24, 50, 3) == Decision::not_yet);
  CHECK(run(small, 25, 49, 3) == Decision::not_yet);
  GateThresholds more = small;
  more.kinds = {"liquidation"};
  CHECK(run(more, 25, 50, 3) == Decision::not_yet);
  more = small;
  more.tables = {"balances"};
  CHECK(run(more, 25, 50, 3) == Decision::not_yet);
  more = small;
  more.keys_percent_min = 1;
  CHECK(run(more, 25, 50, 3) == Decision::not_yet);
  CHECK(run({.cuts_min = 0, .duration_min = Millis{0}, .events_min = 0}, 1, 1, 0) == Decision::not_yet);  // nothing shown is nothing shown
}

TEST_CASE("a gate that was shown nothing does not open, whatever its thresholds") {
  ShadowGate gate = controlled({.cuts_min = 0, .duration_min = Millis{0}, .events_min = 0});
  CHECK(gate.decision() == Decision::not_yet);
  CHECK(contains(gate.why(), "1 passing cuts"));
  CHECK(gate.add(std::span<const Outcome>(), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::skipped, 5), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::error, 6), Millis{0}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 7), Millis{0}) == Decision::go);
}

TEST_CASE("a quiet window proves nothing: cuts at one epoch count once") {
  ShadowGate gate = controlled(small);
  for (int i = 0; i < 100; ++i) CHECK(gate.add(outcome(Status::pass, 100), Millis{i * 100}) == Decision::not_yet);
  CHECK(gate.cuts() == 1);
  CHECK(gate.duration() == Millis{0});
  CHECK(gate.add(outcome(Status::pass, 99), Millis{20'000}) == Decision::not_yet);  // nor does one that steps back
  CHECK(gate.cuts() == 1);
}

TEST_CASE("one fail is final, and keeps what it found") {
  ShadowGate gate = controlled(small);
  gate.add(outcome(Status::pass, 100), Millis{0});
  CHECK(gate.add(failing(150, {change("x", 7, 8)}), Millis{50}) == Decision::no_go);
  control(gate, 1000);
  for (int i = 0; i < 10; ++i) CHECK(gate.add(outcome(Status::pass, 1000 + static_cast<std::uint64_t>(i) * 100), Millis{1000 * (i + 1)}) == Decision::no_go);
  CHECK(contains(gate.why(), "positions: differs: a sentence"));
  REQUIRE(gate.rejected().size() == 1);
  CHECK(to_text(gate.rejected()[0].differences[0]) == "changed account=x: left quantity=7, right quantity=8");
  ShadowGate open = controlled(small);
  for (int i = 0; i < 3; ++i) open.add(outcome(Status::pass, 100 + 50 * static_cast<std::uint64_t>(i)), Millis{50 * i});
  CHECK(open.decision() == Decision::go);
  CHECK(open.add(outcome(Status::fail, 900), Millis{900}) == Decision::no_go);  // an open gate can still be shut
}

TEST_CASE("errors and skips hold it up and are counted, but reject nothing") {
  ShadowGate gate = controlled(small);
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

TEST_CASE("a few cuts without an answer don't break a run, more begin it anew") {
  const auto cuts_after = [](int unanswered) {
    ShadowGate gate = controlled(small);
    gate.add(outcome(Status::pass, 100), Millis{0});
    gate.add(outcome(Status::pass, 200), Millis{100});
    for (int i = 0; i < unanswered; ++i) gate.add(outcome(i % 2 ? Status::error : Status::skipped, 210), Millis{200});
    gate.add(outcome(Status::pass, 300), Millis{300});
    return gate;
  };
  CHECK(cuts_after(3).cuts() == 3);
  CHECK(cuts_after(3).decision() == Decision::go);
  const ShadowGate anew = cuts_after(4);
  CHECK(anew.cuts() == 1);
  CHECK(anew.decision() == Decision::not_yet);
  CHECK(anew.duration() == Millis{0});
  CHECK(anew.first() == Epoch{300, 0});
  CHECK(anew.runs() == 2);
  CHECK(anew.controls() == 0);  // what was proved of the comparison then is not proved of it now
  ShadowGate scattered = controlled(small);
  for (std::uint64_t i = 0; i < 3; ++i) {
    for (int k = 0; k < 3; ++k) scattered.add(outcome(Status::error, 100 + i * 50), Millis{0});
    scattered.add(outcome(Status::pass, 100 + i * 50), Millis{static_cast<std::int64_t>(i) * 50});
  }
  CHECK(scattered.decision() == Decision::go);
}

TEST_CASE("all checks of a cut must pass, at one epoch of one stream, synchronised") {
  const auto counts = [](std::vector<Outcome> outcomes) {
    ShadowGate gate = controlled(one);
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
  other.authority = "other";
  CHECK_FALSE(counts({a, other}));
  other = b;
  other.epoch.reset();
  CHECK_FALSE(counts({a, other}));
  CHECK_FALSE(counts({other}));
  other = b;
  other.unsynchronised = true;
  CHECK_FALSE(counts({a, other}));
}

TEST_CASE("passes of other checks don't add up") {
  ShadowGate gate = controlled({.cuts_min = 2, .duration_min = Millis{0}, .events_min = 0});
  gate.add(outcome(Status::pass, 1, "a"), Millis{0});
  CHECK(gate.add(outcome(Status::pass, 2, "b"), Millis{1}) == Decision::not_yet);
  CHECK(gate.cuts() == 1);
}

TEST_CASE("kinds of event and tables must have been compared, in cuts that count") {
  GateThresholds t = one;
  t.kinds = {"funding", "liquidation"}, t.tables = {"positions"};
  ShadowGate gate = controlled(t);
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}, {.kinds = {"funding", "trade"}, .tables = {"positions"}}) == Decision::not_yet);
  CHECK(contains(gate.why(), "liquidation"));
  CHECK_FALSE(contains(gate.why(), "funding"));
  gate.add(outcome(Status::error, 2), Millis{1}, {.kinds = {"liquidation"}});  // seen, but not compared
  CHECK(gate.add(outcome(Status::pass, 3), Millis{2}) == Decision::not_yet);
  CHECK(gate.add(outcome(Status::pass, 4), Millis{3}, {.kinds = {"liquidation"}}) == Decision::go);
  t.tables = {"positions", "balances"};
  gate = controlled(t);
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}, {.kinds = {"funding", "liquidation"}, .tables = {"positions"}}) == Decision::not_yet);
  CHECK(contains(gate.why(), "rows of balances"));
}

TEST_CASE("a share of the keys must have been exercised") {
  GateThresholds t = one;
  t.keys_percent_min = 20;
  ShadowGate gate = controlled(t);
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}, {.keys = 199, .keys_total = 1'000}) == Decision::not_yet);
  CHECK(contains(gate.why(), "199 of 1000"));
  CHECK(gate.add(outcome(Status::pass, 2), Millis{0}) == Decision::not_yet);  // none of none is no share
  CHECK(gate.add(outcome(Status::pass, 3), Millis{0}, {.keys = 200, .keys_total = 1'000}) == Decision::go);
}

TEST_CASE("a difference read at rest rejects nothing, as it counts for nothing") {
  ShadowGate gate = controlled(small);
  Outcome racy = outcome(Status::fail, 100);
  racy.unsynchronised = true;
  CHECK(gate.add(racy, Millis{0}) == Decision::not_yet);
}

TEST_CASE("passes of two streams, or of two generations of one, don't add up") {
  ShadowGate gate = controlled({.cuts_min = 2, .duration_min = Millis{0}, .events_min = 1'000});
  gate.add(outcome(Status::pass, 100), Millis{0});
  Outcome other = outcome(Status::pass, 5'000);
  other.stream = "other";
  CHECK(gate.add(other, Millis{10}) == Decision::not_yet);
  other = outcome(Status::pass, 6'000);
  other.generation = 2;
  CHECK(gate.add(other, Millis{20}) == Decision::not_yet);
  CHECK(gate.cuts() == 1);
}

TEST_CASE("no gate opens without a negative control that holds") {
  ShadowGate gate(one);
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}) == Decision::not_yet);
  CHECK(contains(gate.why(), "a negative control"));
  control(gate, 2);
  CHECK(gate.add(outcome(Status::pass, 2), Millis{0}) == Decision::go);
}

TEST_CASE("a control wears out: so many cuts later another one is needed") {
  GateThresholds t = one;
  t.control_every = 2;
  ShadowGate gate = controlled(t);
  CHECK(gate.add(outcome(Status::pass, 1), Millis{0}) == Decision::go);
  CHECK(gate.add(outcome(Status::pass, 2), Millis{0}) == Decision::go);
  CHECK(gate.add(outcome(Status::pass, 3), Millis{0}) == Decision::not_yet);
  control(gate, 4);
  CHECK(gate.add(outcome(Status::pass, 4), Millis{0}) == Decision::go);
}

TEST_CASE("a control that fails makes everything void, for ever") {
  const Outcome same = outcome(Status::pass, 5, "same"), planted = failing(5, {change("a", 5, 4)}, "planted");
  const auto gate_after = [](const Outcome& s, const Outcome& p, std::optional<Difference> plant) {
    ShadowGate gate(one);
    gate.control(s, p, plant);
    return gate;
  };
  CHECK(gate_after(same, planted, change("a", 5, 4)).controls() == 1);

  ShadowGate blind = gate_after(same, outcome(Status::pass, 5, "planted"), change("a", 5, 4));
  CHECK(blind.decision() == Decision::voided);
  CHECK(contains(blind.why(), "was not found"));
  control(blind);
  CHECK(blind.add(outcome(Status::pass, 9), Millis{0}) == Decision::voided);
  CHECK(blind.add(outcome(Status::fail, 10), Millis{0}) == Decision::voided);

  CHECK(gate_after(failing(5, {change("a", 1, 2)}, "same"), planted, change("a", 5, 4)).decision() == Decision::voided);  // production differs from itself
  CHECK(gate_after(same, planted, change("b", 5, 4)).decision() == Decision::voided);                                     // another key
  CHECK(gate_after(same, planted, change("a", 6, 4)).decision() == Decision::voided);
  CHECK(gate_after(same, planted, change("a", 5, 3)).decision() == Decision::voided);
  CHECK(gate_after(same, planted, change("a", 5, 4, "cost")).decision() == Decision::voided);
  CHECK(gate_after(same, failing(5, {change("a", 5, 4), change("b", 1, 2)}), change("a", 5, 4)).decision() == Decision::voided);  // more than was planted
  Outcome more = planted;
  more.counts.changed = 2;  // the list is cut off
  CHECK(gate_after(same, more, change("a", 5, 4)).decision() == Decision::voided);
  Outcome gone = planted;
  gone.reason = Reason::missing_rows;
  CHECK(gate_after(same, gone, change("a", 5, 4)).decision() == Decision::voided);
}

TEST_CASE("a control without an answer is none") {
  const Outcome same = outcome(Status::pass, 5, "same"), planted = failing(5, {change("a", 5, 4)}, "planted");
  const auto controls_after = [](const Outcome& s, const Outcome& p, std::optional<Difference> plant) {
    ShadowGate gate(one);
    CHECK(gate.control(s, p, plant) == Decision::not_yet);
    return gate.controls();
  };
  CHECK(controls_after(outcome(Status::error, 5), planted, change("a", 5, 4)) == 0);
  CHECK(controls_after(outcome(Status::skipped, 5), planted, change("a", 5, 4)) == 0);
  CHECK(controls_after(same, outcome(Status::error, 5), change("a", 5, 4)) == 0);
  CHECK(controls_after(same, planted, std::nullopt) == 0);
  CHECK(controls_after(same, failing(6, {change("a", 5, 4)}), change("a", 5, 4)) == 0);  // of another cut
  Outcome racy = same;
  racy.unsynchronised = true;
  CHECK(controls_after(racy, planted, change("a", 5, 4)) == 0);
}

TEST_CASE("a difference is allowed by name, for one key, in named columns, until a day") {
  const Allowance allowance{.name = "rounding of A, signed M", .check = "positions", .key = "account=x", .columns = {"quantity"}, .until = day(3)};
  const auto decide = [&](Allowance a, const Outcome& o, std::optional<std::chrono::sys_days> today) {
    ShadowGate gate = controlled(one, {std::move(a)});
    gate.add(o, Millis{0}, {}, today);
    return gate;
  };
  const Outcome known = failing(5, {change("x", 7, 8)});
  const ShadowGate go = decide(allowance, known, day(0));
  CHECK(go.decision() == Decision::go);
  CHECK(go.allowances_used() == std::vector<std::string>{"rounding of A, signed M"});
  CHECK(contains(go.why(), "but for what is allowed: rounding of A, signed M"));  // never silently
  CHECK(decide(allowance, known, day(3)).decision() == Decision::go);
  CHECK(decide(allowance, known, day(4)).decision() == Decision::no_go);  // expired
  CHECK(decide(allowance, known, std::nullopt).decision() == Decision::no_go);
  CHECK(decide(allowance, failing(5, {change("y", 7, 8)}), day(0)).decision() == Decision::no_go);
  CHECK(decide(allowance, failing(5, {change("x", 7, 8), change("y", 7, 8)}), day(0)).decision() == Decision::no_go);
  CHECK(decide(allowance, failing(5, {change("x", 7, 8, "cost")}), day(0)).decision() == Decision::no_go);
  CHECK(decide(allowance, failing(5, {change("x", 7, 8)}, "balances"), day(0)).decision() == Decision::no_go);
  Outcome cut_off = known;
  cut_off.counts.changed = 2;
  CHECK(decide(allowance, cut_off, day(0)).decision() == Decision::no_go);
  Outcome missing = known;
  missing.differences[0].kind = DifferenceKind::only_left;
  CHECK(decide(allowance, missing, day(0)).decision() == Decision::no_go);
  missing = known;
  missing.reason = Reason::missing_rows;
  CHECK(decide(allowance, missing, day(0)).decision() == Decision::no_go);
  Allowance bad = allowance;
  bad.until = day(32);
  CHECK(decide(bad, known, day(0)).decision() == Decision::no_go);  // for ever is no exception
  bad = allowance, bad.name = "";
  CHECK(decide(bad, known, day(0)).decision() == Decision::no_go);
}

TEST_CASE("a plant goes the whole way of a real difference, and is found as what it is") {
  small_exchange::Exchange x;
  x.run({{1, "EUR", 500}, {2, "USD", 250}, {3, "EUR", 250}});
  const Query sums = events("transactions").by("currency").sum("amount");
  for (std::uint64_t row = 0; row < 3; ++row) {
    Planted planted(x.analytics, row);
    const std::vector<Invariant> both{{"same", {x.analytics, sums}, {x.analytics, sums}, {}, true},
                                      {"planted", {x.analytics, sums}, {planted, sums}, {}, true}};
    const std::vector<Outcome> o = check(x.ledger, std::span<const Invariant>(both), {.control = {.clock = &x.clock}});
    CHECK(o[0].status == Status::pass);
    CHECK(o[1].reason == Reason::differs);
    REQUIRE(planted.plant());
    CHECK(to_text(*planted.plant()) ==
          (row % 2 == 0 ? "changed currency=EUR: left amount=7.50, right amount=7.49" : "changed currency=USD: left amount=2.50, right amount=2.49"));
    ShadowGate gate(one);
    gate.control(o[0], o[1], planted.plant());
    CHECK(gate.controls() == 1);
  }
}

TEST_CASE("decisions have names") {
  CHECK(to_string(Decision::go) == "go");
  CHECK(to_string(Decision::no_go) == "no_go");
  CHECK(to_string(Decision::not_yet) == "not_yet");
  CHECK(to_string(Decision::voided) == "void");
}
