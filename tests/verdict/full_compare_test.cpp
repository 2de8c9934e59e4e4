// Every row of two tables, streamed: the verdict that `check` gives, whatever happened to the follower, while the writer goes on.
#include <epochcut/verdict/full_compare.hpp>

#include <random>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {

Query all_rows() { return events("transactions").values("currency", "amount"); }

/// A small exchange whose ledger keeps the transactions too.
struct Both : Exchange {
  Both() { ledger.create("transactions", transactions({})); }
  void commit_rows(const Events& events) {
    ledger.insert("transactions", transactions(events));
    commit(events);
  }
  void run_rows(const Events& events, Millis delay = Millis{0}) { publish(events, delay), commit_rows(events); }
  Invariant rows(const std::vector<Rule>& rules = {}) { return {.id = "rows", .left = {ledger, all_rows()}, .right = {analytics, all_rows()}, .rules = rules}; }
  Outcome full(const FullCompareOptions& more = {}) {
    FullCompareOptions options = more;
    options.check = this->options();
    return full_compare(ledger, rows(), options);
  }
};

/// What is the verdict, and what did it find? Not how long it took.
std::string said(const Outcome& o) {
  std::string text = std::string(to_string(o.status)) + " " + std::string(to_string(o.reason)) + " " + std::string(to_string(o.claim)) + " " +
                     std::to_string(o.counts.left) + " " + std::to_string(o.counts.right) + " " + std::to_string(o.counts.equal) + " " +
                     to_string(o.counts.which) + " " + o.message + " " + (o.epoch ? std::to_string(o.epoch->sequence) : "-") + " " +
                     std::string(to_string(o.right.completeness)) + " " + std::to_string(o.left.rows) + " " + std::to_string(o.right.rows) +
                     (o.retryable ? " retryable" : "");
  for (const Difference& d : o.differences) text += "\n" + to_text(d);
  return text;
}

/// Something that happens to the pair, drawn by `random`.
void happen(Both& x, std::mt19937& random, std::uint64_t& sequence) {
  const auto event = [&](std::uint64_t at) { return Event{at, random() % 2 == 0 ? "EUR" : "USD", static_cast<std::int64_t>(random() % 100), random() % 3}; };
  Events batch;
  for (std::uint64_t i = random() % 4 + 1; i > 0; --i) batch.push_back(event(++sequence));
  switch (random() % 12) {
    case 0: return x.run_rows(batch, Millis{random() % 2 == 0 ? random() % 25'000 : 200'000});  // late, or too late
    case 1: return x.run_rows(batch), x.publish(batch);                                         // a replay
    case 2: return x.run_rows(batch), x.publish({event(batch.front().sequence)});               // the same event, perhaps with another content
    case 3: return x.publish(batch);                                                            // issued and never committed
    case 4: return x.commit_rows(batch);                                                        // never issued
    case 5: x.run_rows(batch); return x.remove([&](std::uint64_t id) { return id == batch.back().id(); });
    case 6:
      x.run_rows(batch);
      return x.analytics.alter("transactions", [&](Relation& rows) {
        if (rows.rows() == 0) return;
        Relation changed = rows.empty_copy();
        for (std::size_t row = 0; row < rows.rows(); ++row) changed.append_row(rows, row);
        Column amounts(Type::decimal, 2);
        for (std::size_t row = 0; row < rows.rows(); ++row)
          row == rows.rows() / 2 ? amounts.append(Value(money(-7))) : amounts.append(rows.fields[2].column[row]);
        changed.fields[2].column = amounts;
        rows = changed;
      });
    case 7: return x.acknowledge(sequence);
    default: return x.run_rows(batch);
  }
}

}  // namespace

TEST_CASE("whatever happens to a pair, all rows are judged as a check would") {
  std::map<std::string, int> verdicts;
  for (unsigned seed = 0; seed < 3'000; ++seed) {
    std::string texts[2];
    for (const bool streamed : {false, true}) {
      Both x;
      std::mt19937 random(seed);
      std::uint64_t sequence = 0;
      for (std::uint64_t i = random() % 6; i > 0; --i) happen(x, random, sequence);
      const Outcome o = streamed ? x.full() : x.check(x.rows());
      texts[streamed] = said(o);
      if (streamed) ++verdicts[std::string(to_string(o.status)) + " " + std::string(to_string(o.reason))];
    }
    INFO("seed " << seed);
    // How long was waited before is part of that sentence, and all that may differ.
    if (texts[0].find("horizon_not_proven") == std::string::npos)
      REQUIRE(texts[1] == texts[0]);
    else {
      INFO(texts[0] << "\n--\n" << texts[1]);
      REQUIRE(texts[1].starts_with("error horizon_not_proven"));
    }
  }
  for (const char* verdict :
       {"pass none", "fail differs", "fail conflicting_rows", "fail missing_rows", "fail extra_rows", "error horizon_not_proven", "skipped empty"}) {
    INFO(verdict);
    CHECK(verdicts[verdict] > 0);
  }
}

TEST_CASE("the writer goes on between the wait and the snapshot: the tail of the lag is waited for while it is held") {
  Both x;
  x.run_rows(three);
  int held = 0;
  Hooked anchor{&x.ledger};
  anchor.before = [&](std::string_view call) {
    if (call == "hold" && held++ == 0) x.run_rows({{4, "EUR", 1}, {5, "USD", 2}}, Millis{300});
  };
  const Outcome o = full_compare(anchor, {.id = "rows", .left = {anchor, all_rows()}, .right = {x.analytics, all_rows()}}, {.check = x.options()});
  INFO(o.message);
  CHECK(o.status == Status::pass);
  CHECK(o.epoch->sequence == 5);
  CHECK(o.counts.equal == 5);
  CHECK(o.claim == Claim::every_value);
  CHECK(held == 1);
}

TEST_CASE("a snapshot is not held longer than it may be, and nothing is called equal by what was seen until then") {
  Both x;
  x.run_rows(three);
  Hooked follower{&x.analytics};
  follower.before = [&](std::string_view call) {
    if (call == "open") x.clock.advance(Millis{61'000});
  };
  const Outcome o = full_compare(x.ledger, {.id = "rows", .left = {x.ledger, all_rows()}, .right = {follower, all_rows()}}, {.check = x.options()});
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::timeout);
  CHECK(contains(o.message, "60000 ms that the ledger's snapshot may stay open; raise snapshot_budget"));
  CHECK(o.counts.equal == 0);
  CHECK(o.retryable);
}

TEST_CASE("a snapshot is not held for a follower that is late: it is waited for before") {
  Both x;
  x.run_rows(three, Millis{20'000});
  bool held_early = false;
  Hooked anchor{&x.ledger};
  const Millis start = x.clock.now();
  anchor.before = [&](std::string_view call) { held_early |= call == "hold" && x.clock.now() < start + Millis{20'000}; };
  const Outcome o = full_compare(anchor, {.id = "rows", .left = {anchor, all_rows()}, .right = {x.analytics, all_rows()}}, {.check = x.options()});
  CHECK(o.status == Status::pass);
  CHECK(o.right.waited >= Millis{20'000});
  CHECK_FALSE(held_early);
}

TEST_CASE("a ledger that was restored while it was compared calls nobody wrong, and one that fell back is refused") {
  Both x;
  x.run_rows(three);
  x.analytics.alter("transactions", [](Relation& rows) {
    Relation changed = transactions({{1, "EUR", 1000}, {2, "USD", 501}, {3, "EUR", -250}});
    rows = changed;
  });
  CHECK(x.full().status == Status::fail);
  Hooked follower{&x.analytics};
  follower.before = [&](std::string_view call) {
    if (call == "open") x.ledger.set_timeline(9);
  };
  const Outcome restored = full_compare(x.ledger, {.id = "rows", .left = {x.ledger, all_rows()}, .right = {follower, all_rows()}}, {.check = x.options()});
  CHECK(restored.status == Status::error);
  CHECK(restored.reason == Reason::epoch_regressed);

  FullCompareOptions later{.check = x.options()};
  later.check.last_seen = {{"trade_engine", {4, 0}, 9}};
  const Outcome fallen = full_compare(x.ledger, x.rows(), later);
  CHECK(fallen.status == Status::error);
  CHECK(fallen.reason == Reason::epoch_regressed);
}

TEST_CASE("what streaming can't prove, a check decides: tolerances, sums, two names of one relation") {
  Both x;
  x.run_rows(three);
  const Rule near{.column = "amount", .kind = Rule::Kind::within, .tolerance = {1, 2}};
  CHECK(said(full_compare(x.ledger, x.rows({near}), {.check = x.options()})) == said(x.check(x.rows({near}))));
  CHECK(said(full_compare(x.ledger, x.invariant(), {.check = x.options()})) == said(x.check()));
  // A follower that proves itself by a token of its own, as another ledger does.
  x.analytics.declare("trade_engine", "production");
  for (const std::uint64_t at : {std::uint64_t{3}, std::uint64_t{2}}) {
    Hooked other{&x.analytics};
    other.after = [&](Proof& proof, Relation&) { proof.ids.reset(), proof.snapshot = Epoch{at, 0}; };
    const Invariant invariant{.id = "rows", .left = {x.ledger, all_rows()}, .right = {other, all_rows()}};
    CheckOptions options = x.options();
    options.horizon.budget = Millis{100};
    const Outcome streamed = full_compare(x.ledger, invariant, {.check = options}), checked = epochcut::check(x.ledger, invariant, options);
    CHECK(streamed.status == (at == 3 ? Status::pass : Status::error));
    CHECK(said(streamed) == said(checked));
  }
  Hooked same{&x.ledger};
  const Outcome itself = full_compare(x.ledger, {.id = "rows", .left = {x.ledger, all_rows()}, .right = {same, all_rows()}}, {.check = x.options()});
  CHECK(itself.reason == Reason::same_relation);
}
