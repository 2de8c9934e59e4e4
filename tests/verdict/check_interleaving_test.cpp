// Attacks: interleavings of writers, acknowledgements and reads at which a comparison could say something wrong, or right for the wrong reason.
#include <epochcut/verdict/check.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
struct Attack : Exchange {
  Hooked right{&analytics};
  CheckOptions with = options();
  Query left_query = balances(), right_query = sums();
  Outcome run_check() { return epochcut::check(ledger, Invariant{.id = "attack", .left = {ledger, left_query}, .right = {right, right_query}}, with); }
};
}  // namespace

TEST_CASE("acked and max_version: a replayed batch is harmless there too") {
  for (const Witness witness : {Witness::acked, Witness::max_version})
    for (bool digests : {true, false}) {
      Attack x;
      x.digests = digests;
      x.token.stream.acknowledged = true;
      x.run(three);
      x.publish(three);
      x.acknowledge(3);
      x.with.horizon.witness = witness;
      const Outcome o = x.run_check();
      INFO(to_string(witness) << ", digests " << digests << ": " << o.message);
      CHECK(o.status == Status::pass);
    }
}

TEST_CASE("acked and max_version: a budget used up is horizon_not_proven, or replica_lag if another server has the rows") {
  for (const Witness witness : {Witness::acked, Witness::max_version}) {
    Attack x;
    x.digests = false;
    x.token.stream.acknowledged = true;
    x.commit(three);
    x.with.horizon.witness = witness;
    Outcome o = x.run_check();
    INFO(to_string(witness) << ": " << o.message);
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::horizon_not_proven);
    CHECK(o.right.waited == Millis{30'000});
    x.acknowledge(3, "other");
    o = x.run_check();
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::replica_lag);
  }
}

TEST_CASE("acked: a proved horizon does not hide that the ids are not the ledger's") {
  // The rows of a currency that went to zero and back are gone; the aggregate can't tell, the token's digest can.
  Attack x;
  x.run({{1, "EUR", 500}, {2, "CHF", 700}, {3, "CHF", -700}});
  x.acknowledge(3);
  x.remove([](std::uint64_t id) { return id >> 8 > 1; });
  x.with.horizon.witness = Witness::acked;
  Invariant i{.id = "attack", .left = {x.ledger, balances()}, .right = {x.right, sums()}, .rules = {{.column = "amount", .absent_is_zero = true}}};
  CHECK(epochcut::check(x.ledger, i, x.with).status != Status::pass);
}

TEST_CASE("acked: rows that become visible within the declared lag are no fail") {
  for (bool digests : {true, false}) {
    Attack x;
    x.digests = digests;
    x.run({three[0]});
    x.run({three[1], three[2]}, Millis{500});  // acknowledged now, visible within the lag of 2 s that the writer declares
    x.acknowledge(3);
    x.with.horizon.witness = Witness::acked;
    const Outcome o = x.run_check();
    INFO(o.message);
    CHECK(o.status != Status::fail);
  }
}

TEST_CASE("an acknowledgement that arrives after the last read says nothing about that read") {
  // The row becomes visible and is acknowledged between the last look and the question for acknowledgements.
  Attack x;
  x.run({three[0]});
  x.commit({three[1], three[2]});
  Hooked ledger{&x.ledger, [&](std::string_view call) {
                  if (call != "acknowledged" || x.clock.now() < Millis{30'000}) return;
                  x.publish({three[1], three[2]});
                  x.acknowledge(3);
                }};
  const Outcome o = epochcut::check(ledger, Invariant{.id = "attack", .left = {ledger, balances()}, .right = {x.analytics, sums()}}, x.with);
  INFO(o.message);
  CHECK(o.reason != Reason::missing_rows);
  CHECK(o.reason != Reason::cut_violated);  // the writer kept its word
}

TEST_CASE("lost rows are missing_rows even if other rows stand there twice") {
  // Row by row, keyed by the event id: the duplicates must not turn the verdict into `unordered`.
  Attack x;
  x.run(three);
  x.ledger.create("journal", transactions(three));
  x.remove([](std::uint64_t id) { return id != three[0].id(); });
  x.publish({three[0]});
  x.acknowledge(3);
  x.left_query = events("journal").values("currency", "amount");
  x.right_query = events("transactions").values("currency", "amount");
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::missing_rows);
}

TEST_CASE("a follower with replays that lags a second costs a second, not the whole budget") {
  Attack x;
  x.run(three);
  x.publish(three);
  x.run({{4, "EUR", 5}}, Millis{5'000});
  const Outcome o = x.run_check();
  CHECK(o.status == Status::pass);
  CHECK(o.right.waited < Millis{8'000});
}

TEST_CASE("a check of a thing with itself is refused before it waits") {
  Attack x;
  x.commit(three);
  const Invariant i{.id = "self", .left = {x.analytics, sums()}, .right = {x.analytics, sums()}};
  const Outcome o = epochcut::check(x.ledger, i, x.with);
  CHECK(o.reason == Reason::same_relation);
  CHECK(x.clock.now() == Millis{0});
}

TEST_CASE("the sentence names the side that lost its rows, not the other one") {
  Attack x;
  Memory shadow("shadow", x.clock);
  shadow.create("transactions", transactions({}));
  x.run(three);
  x.remove([](std::uint64_t id) { return id == three[1].id(); });
  x.acknowledge(3);  // analytics lost a row; shadow has none yet, and nobody said it should
  const Invariant i{.id = "two", .left = {shadow, sums()}, .right = {x.analytics, sums()}};
  const Outcome o = epochcut::check(x.ledger, i, x.with);
  INFO(o.message);
  if (o.reason == Reason::missing_rows) CHECK(contains(o.message.substr(0, 40), "analytics"));
  CHECK(o.status != Status::pass);
}

TEST_CASE("a follower's own snapshot does not outvote the digest of its ids") {
  // It says it is past the epoch, and shows other events than the ledger committed, with the same sums.
  Attack x;
  x.run({{1, "EUR", 500}, {2, "EUR", 100}, {3, "EUR", -100}});
  x.remove([](std::uint64_t id) { return id >> 8 > 1; });
  x.right.after = [](Proof& proof, Relation&) { proof.snapshot = Epoch{9, 0}; };
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status != Status::pass);
}

TEST_CASE("a follower's own snapshot below the epoch is waited for, and is an error at the end") {
  Attack x;
  x.run(three);
  x.analytics.declare("trade_engine", "production");
  x.right.after = [](Proof& proof, Relation&) { proof.ids.reset(), proof.snapshot = Epoch{2, 0}; };
  const Outcome o = x.run_check();
  CHECK(o.status == Status::error);
  CHECK(o.right.waited == Millis{30'000});
}

TEST_CASE("a follower's own snapshot that arrives while it is waited for") {
  Attack x;
  x.run(three);
  x.analytics.declare("trade_engine", "production");
  x.right.after = [&](Proof& proof, Relation&) { proof.ids.reset(), proof.snapshot = Epoch{x.clock.now() < Millis{1'000} ? 2u : 3u, 0}; };
  const Outcome o = x.run_check();
  CHECK(o.status == Status::pass);
  CHECK(o.right.witness == Witness::snapshot);
}

TEST_CASE("a foreign row above the newest one does not let max_version look past a hole") {
  Attack x;
  x.digests = false;
  x.token.stream.acknowledged = true;
  x.run({three[0]});
  x.commit({three[1], three[2]});
  x.publish({{9, "EUR", 1}});  // of the next batch
  x.with.horizon.witness = Witness::max_version;
  x.publish({three[1], three[2]}, Millis{3'000});  // the declaration was wrong: it heals after the lag, and is told so
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::cut_violated);
}

TEST_CASE("max_version is refused where nothing declares that rows are acknowledged first") {
  Attack x;
  x.run(three);
  x.with.horizon.witness = Witness::max_version;
  CHECK(x.run_check().reason == Reason::configuration);
}

TEST_CASE("the ledger moves on while the follower is waited for: the cut does not") {
  Attack x;
  x.run(three, Millis{1'000});
  std::uint64_t sequence = 4;
  x.right.before = [&](std::string_view) {
    if (sequence < 10) x.run({{sequence++, "EUR", 7}}, Millis{10});
  };
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status == Status::pass);
  CHECK(o.epoch == Epoch{3, 0});
  CHECK(x.token.epoch > Epoch{3, 0});
}

TEST_CASE("a cursor that has columns but no block is an empty reading, not a fault of its schema") {
  struct Nothing final : Cursor {
    bool next(Relation& block) override {
      block = transactions({}).empty_copy();
      return false;
    }
    Proof proof() const override { return {}; }
  };
  const auto [rows, proof] = collect(AnyCursor(new Nothing), Control{});
  CHECK(rows.fields.size() == 4);
}

TEST_CASE("a follower without digests whose own token catches up between the passes has lost nothing") {
  Attack x;
  x.run(three);
  x.acknowledge(3);
  x.analytics.declare("trade_engine", "production");
  x.right.after = [&](Proof& proof, Relation&) {
    proof.ids.reset();
    proof.snapshot = Epoch{x.clock.now() <= Millis{30'500} ? 2u : 3u, 0};  // behind at the deadline, there at the second pass
  };
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status != Status::fail);
}

TEST_CASE("a follower's own token proves nothing unless it says which stream it counts") {
  Attack x;
  x.run({{1, "EUR", 500}, {2, "EUR", 100}, {3, "EUR", -100}});
  x.remove([](std::uint64_t id) { return id >> 8 > 1; });
  x.right.after = [](Proof& proof, Relation&) { proof.ids.reset(), proof.snapshot = Epoch{99, 0}; };
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(o.status != Status::pass);
}

TEST_CASE("max_version: a table without a row at the epoch waits in vain, and what is acknowledged is not called lost") {
  for (const bool acknowledged : {false, true}) {
    Attack x;
    x.digests = false;
    x.token.stream.acknowledged = true;
    x.run(three);
    x.token.epoch = {9, 0};  // the newest event writes no row here
    x.store();
    if (acknowledged) x.acknowledge(9);
    x.with.horizon.witness = Witness::max_version;
    const Outcome o = x.run_check();
    INFO(o.message);
    CHECK(o.status == (acknowledged ? Status::pass : Status::error));
    CHECK(o.reason == (acknowledged ? Reason::none : Reason::horizon_not_proven));
  }
}

TEST_CASE("a ledger that is restored while a follower is waited for: no fail by a state that is no more") {
  Attack x;
  x.run({three[0]});
  const Token backup = x.token;
  const auto balances_then = x.cents;
  x.commit({three[1], three[2]});  // the rows are late, and will never come
  bool restored = false;
  x.right.before = [&](std::string_view) {
    if (restored || x.clock.now() < Millis{1'000}) return;
    restored = true;
    x.ledger.set_timeline(2);
    x.token = backup, x.cents = balances_then;
    x.run({{2, "USD", 700}, {3, "EUR", -100}});  // the same sequence numbers, other events
  };
  const Outcome o = x.run_check();
  INFO(o.message);
  CHECK(restored);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::epoch_regressed);
}

TEST_CASE("a replay that reaches one follower between two passes does not hide what the other one lost") {
  Attack x;
  Memory other("other", x.clock);
  other.create("transactions", transactions({}));
  other.insert("transactions", transactions(three));
  other.insert("transactions", transactions({three[0]}), Millis{31'000});  // after its only look, before the second pass
  x.run(three);
  x.remove([](std::uint64_t id) { return id == three[1].id(); });
  x.acknowledge(3);
  const Query rows = events("transactions").values("currency", "amount");
  const Outcome o = epochcut::check(x.ledger, Invariant{.id = "two", .left = {other, rows}, .right = {x.right, rows}}, x.with);
  INFO(o.message);
  CHECK(o.confirmed);
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::missing_rows);
}

TEST_CASE("acked and max_version: what is acknowledged gets its declared lag before it is read, also if the sums are equal without it") {
  for (const Witness witness : {Witness::acked, Witness::max_version}) {
    Attack x;
    x.digests = false;
    x.token.stream.acknowledged = true;
    x.publish({{1, "EUR", 1000}, {3, "EUR", 7}});
    x.publish({{2, "EUR", 0}}, Millis{300});
    x.commit({{1, "EUR", 1000}, {2, "EUR", 0}, {3, "EUR", 7}});
    x.acknowledge(3);
    x.with.horizon.witness = witness;
    x.with.horizon.max_visibility_lag = Millis{500};
    const Outcome o = x.run_check();
    INFO(o.message);
    CHECK(o.status == Status::pass);
    REQUIRE(o.right.ids);
    CHECK(o.right.ids->count == 3);
  }
}
