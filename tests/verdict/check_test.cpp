// The traps of a comparison of two live stores, planted one by one; each has ONE right verdict.
#include <epochcut/verdict/check.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
void expect(const Outcome& o, Status status, Reason reason) {
  INFO(o.message);
  CHECK(o.status == status);
  CHECK(o.reason == reason);
  if (status != Status::pass) CHECK(o.claim == Claim::nothing);
}
}  // namespace

TEST_CASE("equal stores pass, and the outcome says by what right") {
  Exchange x;
  x.run(three);
  const Outcome o = x.check();
  expect(o, Status::pass, Reason::none);
  CHECK(o.id == "balances");
  CHECK(o.epoch == Epoch{3, 0});
  CHECK(o.stream == "trade_engine");
  CHECK(o.authority == "production");
  CHECK(o.claim == Claim::aggregate);
  CHECK(o.counts.equal == 2);
  CHECK(o.left.witness == Witness::snapshot);
  CHECK(o.right.witness == Witness::id_digest);
  CHECK(o.right.completeness == Completeness::proved);
  CHECK(o.right.ids == x.token.relations[0].ids);
  CHECK(o.right.attempts == 1);
  CHECK(o.took == Millis{0});
  CHECK_FALSE(o.unsynchronised);
  CHECK_FALSE(o.confirmed);
}

TEST_CASE("rows of the next batch that share the epoch's nanosecond are not in") {
  Exchange x;
  x.run({{1, "EUR", 1000, 0, 77}, {2, "EUR", 500, 0, 77}});
  x.publish({{3, "EUR", 999, 0, 77}, {4, "GBP", 1, 0, 76}});  // issued, not committed; one even stamped earlier
  expect(x.check(), Status::pass, Reason::none);
}

TEST_CASE("a late row is waited for, then all is well") {
  Exchange x;
  x.run({three[0]});
  x.run({three[1], three[2]}, Millis{700});
  const Outcome o = x.check();
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.waited >= Millis{700});
  CHECK(o.right.waited < Millis{2'000});
  CHECK(o.right.attempts > 2);
}

TEST_CASE("a row that is later than the budget is an error, never a fail, whether or not the sums agree") {
  for (std::int64_t cents : {0, 500}) {
    Exchange x;
    x.run({three[0]});
    x.run({{2, "EUR", cents}}, Millis{31'000});
    const Outcome o = x.check();
    expect(o, Status::error, Reason::horizon_not_proven);
    CHECK(o.right.waited == Millis{30'000});
    CHECK(contains(o.message, "1 events where the ledger counts 2"));
    x.clock.advance(Millis{2'000});
    expect(x.check(), Status::pass, Reason::none);
  }
}

TEST_CASE("a replayed batch is harmless: counted once, and the outcome says so") {
  Exchange x;
  x.run(three);
  x.publish({three[2], three[0]});
  const Outcome o = x.check();
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.completeness == Completeness::proved_distinct);
}

TEST_CASE("a batch that crashed before its commit and was replayed differently cut") {
  Exchange x;
  x.run({three[0]});
  x.publish({three[1], three[2]});  // then the crash: above the epoch
  expect(x.check(), Status::pass, Reason::none);
  x.run({three[1]});  // replayed in smaller batches
  expect(x.check(), Status::pass, Reason::none);
  x.run({three[2], {4, "EUR", 7}}, Millis{300});  // its duplicate is late
  const Outcome o = x.check();
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.completeness == Completeness::proved_distinct);
}

TEST_CASE("a duplicate does not stand in for a late row") {
  Exchange x;
  x.run({three[0], three[1]});
  x.publish({three[0]});
  x.run({three[2]}, Millis{60'000});  // raw counts are equal: 3 and 3
  expect(x.check(), Status::error, Reason::horizon_not_proven);
}

TEST_CASE("one event id with two contents is a fail, whichever of them is right") {
  Exchange x;
  x.run(three);
  x.publish({{2, "USD", 501}});
  const Outcome o = x.check();
  expect(o, Status::fail, Reason::conflicting_rows);
  CHECK(contains(o.message, std::to_string(three[1].id())));
}

TEST_CASE("a changed amount is a fail at once, since the digest proves that nothing is late") {
  Exchange x;
  x.run(three);
  x.analytics.alter("transactions", [](Relation& rows) { rows = transactions({three[0], {2, "USD", 400}, three[2]}); });
  const Outcome o = x.check();
  expect(o, Status::fail, Reason::differs);
  CHECK(o.counts.changed == 1);
  CHECK(o.counts.equal == 1);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "changed currency=USD: left amount=5.00, right amount=4.00");
  CHECK(contains(o.message, "1 of 2 keys differ"));
  CHECK_FALSE(o.confirmed);
}

TEST_CASE("rows that the ledger never committed fail, after a second pass at the same epoch") {
  Exchange x;
  x.run(three);
  x.publish({{2, "CHF", 1, 9}});
  const Outcome o = x.check();
  expect(o, Status::fail, Reason::extra_rows);
  CHECK(o.confirmed);
  CHECK(o.counts.only_right == 1);
  CHECK(x.clock.now() >= x.options().horizon.max_visibility_lag);
}

TEST_CASE("a foreign row fails even if the sums agree") {
  Exchange x;
  x.run(three);
  x.publish({{2, "EUR", 5, 8}, {2, "EUR", -5, 9}});
  expect(x.check(), Status::fail, Reason::extra_rows);
}

TEST_CASE("a foreign row and a late one can balance: that proves nothing") {
  Exchange x;
  x.run({three[0], three[1]});
  x.publish({{2, "EUR", -250, 9}});
  x.run({three[2]}, Millis{60'000});  // sums and counts agree, the ids do not
  const Outcome o = x.check();
  expect(o, Status::error, Reason::horizon_not_proven);
  CHECK(contains(o.message, "not the same ones"));
}

TEST_CASE("lost rows: acknowledged they are missing, else the horizon is not proven") {
  for (bool acknowledged : {false, true}) {
    Exchange x;
    x.run(three);
    x.remove([](std::uint64_t id) { return id == three[1].id(); });
    if (acknowledged) x.acknowledge(3);
    const Outcome o = x.check();
    expect(o, acknowledged ? Status::fail : Status::error, acknowledged ? Reason::missing_rows : Reason::horizon_not_proven);
    CHECK(o.confirmed == acknowledged);
    if (acknowledged) CHECK(o.differences.size() == 1);
  }
}

TEST_CASE("an acknowledgement short of the epoch proves nothing") {
  Exchange x;
  x.run(three);
  x.remove([](std::uint64_t id) { return id == three[2].id(); });
  x.acknowledge(2);
  expect(x.check(), Status::error, Reason::horizon_not_proven);
}

TEST_CASE("acknowledged by another server: the one that is read lags") {
  Exchange x;
  x.run(three, Millis{60'000});
  x.acknowledge(3, "other");
  const Outcome o = x.check();
  expect(o, Status::error, Reason::replica_lag);
  CHECK(contains(o.message, "analytics"));
}

TEST_CASE("a truncated follower is never skipped") {
  for (bool acknowledged : {false, true}) {
    Exchange x;
    x.run({{1, "EUR", 500}, {2, "EUR", -500}});
    x.remove([](std::uint64_t) { return true; });
    if (acknowledged) x.acknowledge(2);
    expect(x.check(), acknowledged ? Status::fail : Status::error, acknowledged ? Reason::missing_rows : Reason::horizon_not_proven);
    // Not even if the ledger's side selects nothing either.
    Invariant none = x.invariant();
    none.left.query = current("balances").where("currency", "XXX").by("currency").sum("amount");
    none.right.query = events("transactions").where("currency", "XXX").by("currency").sum("amount");
    expect(x.check(none), acknowledged ? Status::fail : Status::error, acknowledged ? Reason::missing_rows : Reason::horizon_not_proven);
  }
}

TEST_CASE("nothing on both sides asserts nothing") {
  Exchange x;
  expect(x.check(), Status::skipped, Reason::empty);
  x.run(three);
  Invariant none = x.invariant();
  none.left.query = current("balances").where("currency", "XXX").by("currency").sum("amount");
  none.right.query = events("transactions").where("currency", "XXX").by("currency").sum("amount");
  expect(x.check(none), Status::skipped, Reason::nothing_selected);
}

TEST_CASE("one side empty is a difference, not an agreement") {
  Exchange x;
  x.run({{1, "EUR", 500}});
  Invariant i = x.invariant();
  i.left.query = current("balances").where("currency", "XXX").by("currency").sum("amount");
  const Outcome o = x.check(i);
  expect(o, Status::fail, Reason::differs);
  CHECK(o.counts.only_right == 1);
}

TEST_CASE("a currency at zero without transactions: a difference unless it is declared that absent is zero") {
  Exchange x;
  x.run(three);
  x.cents["GBP"] = 0;
  x.store();
  expect(x.check(), Status::fail, Reason::differs);
  Invariant i = x.invariant();
  i.rules = {{.column = "amount", .absent_is_zero = true}};
  const Outcome o = x.check(i);
  expect(o, Status::pass, Reason::none);
  CHECK(o.counts.equal == 3);
  x.cents["GBP"] = 1;
  x.store();
  expect(x.check(i), Status::fail, Reason::differs);
}

TEST_CASE("what can't be asked is refused with its reason") {
  Exchange x;
  x.run(three);
  const auto asked = [&](Reading right) { return x.check({.id = "i", .left = {x.ledger, balances()}, .right = std::move(right)}); };
  expect(asked({x.ledger, balances()}), Status::error, Reason::same_relation);
  x.analytics.create("deposits", transactions({}));
  expect(asked({x.analytics, events("deposits").by("currency").sum("amount")}), Status::error, Reason::undeclared_relation);
  expect(asked({x.analytics, events("absent").by("currency").sum("amount")}), Status::error, Reason::undeclared_relation);
  expect(asked({x.analytics, current("transactions").by("currency").sum("amount")}), Status::error, Reason::not_as_of);
  expect(asked({x.analytics, events("transactions").by("currency").sum("currency").as("amount")}), Status::error, Reason::schema);
  expect(asked({x.analytics, events("transactions").by("currency").sum("absent")}), Status::error, Reason::schema);
  expect(asked({x.analytics, events("transactions").by("currency").sum("amount").as("total")}), Status::error, Reason::schema);
  expect(asked({x.analytics, events("transactions").by("amount").sum("amount").as("sum")}), Status::error, Reason::schema);
  expect(asked({x.analytics, events("transactions").by("currency").sum("amount").sum("amount")}), Status::error, Reason::configuration);
  expect(asked({x.analytics, latest("transactions").by("currency").sum("amount")}), Status::error, Reason::configuration);
  CHECK(x.clock.now() == Millis{0});  // none of these is worth waiting for
}

TEST_CASE("a negative control may compare a thing with itself") {
  Exchange x;
  x.run(three);
  Invariant i{.id = "control", .left = {x.ledger, balances()}, .right = {x.ledger, balances()}, .negative_control = true};
  expect(x.check(i), Status::pass, Reason::none);
}

TEST_CASE("a store that is filled from another stream is refused") {
  Exchange x;
  x.run(three);
  x.analytics.declare("another_engine", "");
  expect(x.check(), Status::error, Reason::wrong_stream);
  x.analytics.declare("trade_engine", "");
  expect(x.check(), Status::pass, Reason::none);
}

TEST_CASE("a ledger without a token: nothing can be followed, but two of its own tables can be compared in one snapshot") {
  ManualClock clock;
  Memory ledger("ledger", clock), analytics("analytics", clock);
  ledger.create("balances", table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::int64}}, {}));
  ledger.create("ledger_entries", table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::int64}}, {}));
  analytics.create("transactions", transactions({}));
  const CheckOptions options{.control = {.clock = &clock}};
  expect(check(ledger, Invariant{"i", {ledger, balances()}, {analytics, sums()}}, options), Status::error, Reason::missing_token);
  const Invariant own{"own", {ledger, balances()}, {ledger, current("ledger_entries").by("currency").sum("amount")}};
  expect(check(ledger, own, options), Status::skipped, Reason::empty);
  const Relation one = table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::int64}}, {{"EUR", 5}});
  ledger.insert("balances", one);
  expect(check(ledger, own, options), Status::fail, Reason::differs);
  ledger.insert("ledger_entries", one);
  const Outcome o = check(ledger, own, options);
  expect(o, Status::pass, Reason::none);
  CHECK_FALSE(o.epoch);
}

TEST_CASE("an epoch below the last seen is a restore or a failover") {
  Exchange x;
  x.run(three);
  CheckOptions options = x.options();
  options.last_seen = {{"trade_engine", Epoch{4, 0}}};
  expect(epochcut::check(x.ledger, x.invariant(), options), Status::error, Reason::epoch_regressed);
  options.last_seen = {{"trade_engine", Epoch{3, 99}}, {"another", Epoch{99, 0}}};
  const Outcome o = epochcut::check(x.ledger, x.invariant(), options);
  expect(o, Status::pass, Reason::none);
  REQUIRE(o.seen.size() == 1);
  options.last_seen = o.seen;
  expect(epochcut::check(x.ledger, x.invariant(), options), Status::pass, Reason::none);
  x.ledger.set_timeline(2);
  x.token.epoch = {2, 0};
  x.store();
  const Outcome restored = epochcut::check(x.ledger, x.invariant(), options);
  expect(restored, Status::error, Reason::epoch_regressed);
  CHECK(contains(restored.message, "timeline was 0 and is 2"));
}

namespace {

/// A second writer, with deposits of its own and its own token, to the same ledger.
struct TwoWriters : Exchange {
  Token deposits_token;
  std::int64_t deposited = 0;
  bool declared = true;  ///< false: it changes balances and tells no one

  TwoWriters() {
    deposits_token.stream.id = "treasury";
    deposits_token.relations = {{"deposits", {}}};
    analytics.create("deposits", transactions({}));
    deposit({}, 0);
  }
  void deposit(const Events& events, std::uint64_t sequence) {
    analytics.insert("deposits", transactions(events));
    for (const Event& e : events) {
      deposited += e.cents;
      deposits_token.relations[0].ids += digest_of_event_id(e.id());
    }
    deposits_token.epoch = {sequence, 0};
    const Relation rows = table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{"EUR", money(deposited)}});
    ledger.commit(declared ? deposits_token : token, {{"deposited", rows}});
  }
  std::vector<Outcome> check_both(CheckOptions options) {
    const Invariant invariants[] = {{.id = "trades", .left = {ledger, balances()}, .right = {analytics, sums()}},
                                    {.id = "deposits",
                                     .left = {ledger, current("deposited").by("currency").sum("amount")},
                                     .right = {analytics, events("deposits").by("currency").sum("amount")}}};
    return epochcut::check(ledger, invariants, options);
  }
};

}  // namespace

TEST_CASE("a ledger with two writers: one snapshot, a token each, each relation as of its own stream's epoch") {
  TwoWriters x;
  x.run(three);
  x.deposit({{1, "EUR", 5000}}, 1);
  x.deposit({{2, "EUR", 100}}, 2);
  x.analytics.insert("deposits", transactions({{3, "EUR", 7}}));  // the treasury's next batch, not committed yet
  CheckOptions options = x.options();
  const std::vector<Outcome> both = x.check_both(options);
  expect(both[0], Status::pass, Reason::none);
  expect(both[1], Status::pass, Reason::none);
  CHECK(both[1].right.stream == "treasury");
  CHECK(both[1].right.epoch == Epoch{2, 0});
  CHECK(both[1].right.expected == x.deposits_token.relations[0].ids);
  CHECK(both[0].right.epoch == Epoch{3, 0});
  REQUIRE(both[0].seen.size() == 2);

  options.last_seen = both[0].seen;
  x.deposits_token.epoch = {1, 0};
  x.ledger.commit(x.deposits_token, {});
  for (const Outcome& o : x.check_both(options)) {
    expect(o, Status::error, Reason::epoch_regressed);
    CHECK(contains(o.message, "treasury"));
  }
}

TEST_CASE("money that a second writer moves without a token of its own is a difference, and its relation can't be read") {
  TwoWriters x;
  x.run(three);
  x.declared = false;
  Exchange undeclared;
  undeclared.analytics.create("deposits", transactions({}));
  const Invariant deposits{
      .id = "deposits", .left = {undeclared.ledger, balances()}, .right = {undeclared.analytics, events("deposits").by("currency").sum("amount")}};
  expect(undeclared.check(deposits), Status::error, Reason::undeclared_relation);
  x.cents["EUR"] += 5000;  // into the same balances, behind the token's back
  x.store();
  const Outcome o = x.check();
  expect(o, Status::fail, Reason::differs);
  REQUIRE(o.differences.size() == 1);
  CHECK(to_text(o.differences[0]) == "changed currency=EUR: left amount=57.50, right amount=7.50");
}

TEST_CASE("two tokens that declare one relation are refused: one relation, one stream") {
  TwoWriters x;
  x.run(three);
  x.deposits_token.relations.push_back({"transactions", {}});
  x.ledger.commit(x.deposits_token, {});
  expect(x.check(), Status::error, Reason::configuration);
}

namespace {

/// Rows that say which generation wrote them, and a writer that was deposed at a sequence number.
struct Deposed : Exchange {
  Relation rows_of(const Events& events, std::uint64_t generation) {
    Relation rows = transactions(events);
    rows.add("generation", Role::value, Type::uint64);
    for (std::size_t i = 0; i < events.size(); ++i) rows.fields.back().column.append(Value(generation));
    return rows;
  }
  void write(const Events& events, std::uint64_t generation) {
    analytics.insert("transactions", rows_of(events, generation));
    commit(events);
  }
  Deposed() {
    token.stream.generation = "generation";
    token.generation = 1;
    analytics.create("transactions", rows_of({}, 0));
    store();
    write({{1, "EUR", 1000}, {2, "USD", 500}}, 1);
    token.generation = 2;
    token.seams = {{3, 1, 2}};
    write({{3, "EUR", -250}, {4, "EUR", 1}}, 2);
  }
};

}  // namespace

TEST_CASE("a deposed writer's rows don't count: each generation's do up to its seam") {
  Deposed x;
  expect(x.check(), Status::pass, Reason::none);
  x.analytics.insert("transactions", x.rows_of({{3, "EUR", -999}, {4, "USD", 1}, {4, "USD", 1, 9}}, 1));  // it did not know yet
  expect(x.check(), Status::pass, Reason::none);
  // Nor do those that the successor has no right to write.
  x.analytics.insert("transactions", x.rows_of({{2, "USD", 77}}, 2));
  const Outcome o = x.check();
  expect(o, Status::pass, Reason::none);
  CHECK(o.right.completeness == Completeness::proved);
  CHECK(o.right.ids->count == 4);
}

TEST_CASE("a seam list of another moment than the epoch, or without a generation column, is refused") {
  Deposed x;
  x.token.seams.clear();  // read before the flip: every row below it would be taken for a deposed writer's
  x.store();
  CHECK(x.check().status == Status::error);
  for (const std::vector<Seam>& wrong : {std::vector<Seam>{{3, 1, 3}}, {{3, 0, 1}, {2, 1, 2}}, {{3, 0, 1}, {4, 0, 2}}, {{3, 2, 2}}, {{0, 1, 2}}}) {
    x.token.seams = wrong;
    x.store();
    expect(x.check(), Status::error, Reason::schema);
  }
  x.token.seams = {{3, 1, 2}};
  x.token.stream.generation.clear();
  x.store();
  expect(x.check(), Status::error, Reason::configuration);
}

TEST_CASE("sums that don't fit are an overflow, on either side") {
  for (bool left : {true, false}) {
    Exchange x;
    x.run(three);
    const Value huge(Decimal{power_of_ten(38), 2});
    const Relation rows = left ? table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{"EUR", huge}, {"EUR", huge}})
                               : table({{"event_id", Role::key, Type::uint64},
                                        {"currency", Role::value, Type::text},
                                        {"amount", Role::value, Type::decimal, 2},
                                        {"execution_ns", Role::value, Type::int64}},
                                       {{three[0].id(), "EUR", huge, 0}, {three[1].id(), "EUR", huge, 0}, {three[2].id(), "EUR", huge, 0}});
    (left ? x.ledger : x.analytics).alter(left ? "balances" : "transactions", [&](Relation& r) { r = rows; });
    expect(x.check(), Status::error, Reason::overflow);
  }
}

TEST_CASE("at rest is stamped: no cut, no anchor, no wait") {
  Exchange x;
  x.run(three);
  Hooked ledger{&x.ledger, [](std::string_view call) {
                  if (call == "snapshot" || call == "acknowledged") throw Failure(Reason::unknown, "the anchor must not be asked");
                }};
  const Invariant rest{"rest", {at_rest(ledger), balances()}, {at_rest(x.analytics), sums()}};
  Outcome o = epochcut::check(ledger, rest, x.options());
  expect(o, Status::pass, Reason::none);
  CHECK(o.unsynchronised);
  CHECK_FALSE(o.epoch);
  CHECK(o.right.witness == Witness::at_rest);
  x.publish({{4, "EUR", 1}});  // in flight: at rest can't know
  o = epochcut::check(ledger, rest, x.options());
  expect(o, Status::fail, Reason::differs);
  CHECK(o.unsynchronised);
}

TEST_CASE("many invariants share one cut, and one that can't be answered does not spoil the others") {
  Exchange x;
  x.run(three);
  std::vector<Invariant> all = {x.invariant(), {"absent", {x.ledger, balances()}, {x.analytics, events("absent").by("currency").sum("amount")}}, x.invariant()};
  all[2].right.query = events("transactions").where("currency", "EUR").by("currency").sum("amount");
  const auto outcomes = check(x.ledger, std::span<const Invariant>(all), x.options());
  REQUIRE(outcomes.size() == 3);
  expect(outcomes[0], Status::pass, Reason::none);
  expect(outcomes[1], Status::error, Reason::undeclared_relation);
  expect(outcomes[2], Status::fail, Reason::differs);
  CHECK(outcomes[1].epoch == outcomes[0].epoch);
  CHECK(check(x.ledger, std::span<const Invariant>(), x.options()).empty());
}

TEST_CASE("detail is truncated, counts are exact") {
  Exchange x;
  Events many;
  const std::vector<std::string> names = [] {
    std::vector<std::string> n;
    for (int i = 0; i < 40; ++i) n.push_back("C" + std::to_string(100 + i));
    return n;
  }();
  for (std::uint64_t i = 0; i < 40; ++i) many.push_back({i + 1, names[i].c_str(), 100});
  x.run(many);
  for (Event& e : many) e.cents += 1;
  x.analytics.alter("transactions", [&](Relation& rows) { rows = transactions(many); });
  const Outcome o = x.check();
  expect(o, Status::fail, Reason::differs);
  CHECK(o.counts.changed == 40);
  CHECK(o.differences.size() == 10);
}

TEST_CASE("what was compared is kept on request: of a pass and a fail, up to a limit, and never of an error") {
  Exchange x;
  x.run(three);
  CHECK(x.check().left.values.empty());
  CheckOptions options = x.options();
  options.values_max = 10;
  const auto told = [](const SideReport& side) {
    std::string text;
    for (const auto& row : side.values)
      for (const Cell& cell : row) text += cell.name + "=" + to_string(cell.value.value()) + " ";
    return text;
  };
  Outcome o = check(x.ledger, x.invariant(), options);
  expect(o, Status::pass, Reason::none);
  REQUIRE(o.left.values.size() == 2);
  CHECK(o.left.values[0].size() == 2);
  CHECK(o.left.values[0][0].name == "currency");
  CHECK(told(o.left) == told(o.right));
  options.values_max = 1;
  CHECK(check(x.ledger, x.invariant(), options).right.values.size() == 1);
  options.values_max = 10;
  x.analytics.alter("transactions", [&](Relation& rows) { rows = transactions({{1, "USD", 100}, {2, "EUR", 100}, {3, "USD", 7}}); });
  o = check(x.ledger, x.invariant(), options);
  expect(o, Status::fail, Reason::differs);
  CHECK(told(o.left) != told(o.right));
  x.analytics.alter("transactions", [&](Relation& rows) { rows = transactions({{1, "USD", 100}}); });
  o = check(x.ledger, x.invariant(), options);
  CHECK(o.status == Status::error);
  CHECK((o.left.values.empty() && o.right.values.empty()));
}
