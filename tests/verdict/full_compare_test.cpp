// Every row of two tables, streamed or bisected: the verdict that `check` gives, whatever happened to the follower, while the writer goes on.
#include <epochcut/verdict/full_compare.hpp>

#include <random>

#include <epochcut/verdict/report.hpp>

#include "diff/memory_side.hpp"
#include "testing/small_exchange.hpp"

using namespace small_exchange;
using memory_side::MemorySide;

namespace {

Query all_rows() { return events("transactions").values("currency", "amount"); }

using Made = std::function<void(MemorySide&)>;  ///< what is done to a side before it is used

AnyDigest side_of(AnyCursor cursor, std::optional<Digest> ids, const Control& control, const Made& made) {
  auto* side = new MemorySide(collect(std::move(cursor), control).first);
  AnyDigest owned(side);
  side->token = ids;
  made(*side);
  return owned;
}

/// A ledger whose snapshot can hash its rows, and a follower that can.
struct HashingLedger : Hooked {
  Made made = [](MemorySide&) {};
  std::shared_ptr<bool> broken;  ///< the session of the newest snapshot
  AnyHeld hold(std::span<const QueryPlan> plans, const Control& control) {
    struct Held final : HeldSnapshot {
      Held(AnyHeld from, Made how, std::shared_ptr<bool> ended) : inner(std::move(from)), made(std::move(how)), broken(std::move(ended)) {}
      const Snapshot& head() const override { return inner->head(); }
      AnyCursor open(std::size_t i, bool any_order, const Control& control) override {
        if (*broken) throw Failure(Reason::connection, "connection pointer is NULL");
        return inner->open(i, any_order, control);
      }
      AnyDigest digest(std::size_t i, const Control& control) override { return side_of(inner->open(i, false, control), {}, control, made); }
      void release(const Control& control) override { inner->release(control); }
      AnyHeld inner;
      Made made;
      std::shared_ptr<bool> broken;
    };
    *broken = false;
    return AnyHeld(new Held(Hooked::hold(plans, control), made, broken));
  }
};
struct HashingFollower : Hooked {
  Made made = [](MemorySide&) {};
  AnyDigest digest(const QueryPlan& plan, const AsOf& at, const Digest& ids, const Control& control) {
    before("digest");
    return side_of(memory->open(plan, at, Form::plain, control), ids, control, made);
  }
};
static_assert(Holder<HashingLedger> && DigestFollower<HashingFollower> && !DigestFollower<Memory>);

/// Small enough for several rounds over a handful of rows.
constexpr BisectOptions bisected{.method = Method::bisect, .rows_min = 1, .cells_first_max = 4, .fetch_bytes_max = 0};

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
  /// The same by stores that can hash.
  Outcome hashed(
      const BisectOptions& how, const Made& left_made = [](MemorySide&) {}, const Made& right_made = [](MemorySide&) {}) {
    HashingLedger left{{&ledger}, left_made, broken};
    left.before = [this](std::string_view call) { held += call == "hold"; };
    HashingFollower right{{&analytics}, right_made};
    return full_compare(left, {.id = "rows", .left = {left, all_rows()}, .right = {right, all_rows()}}, {.check = options(), .bisect = how});
  }
  std::shared_ptr<bool> broken = std::make_shared<bool>(false);
  int held = 0;  ///< snapshots, by `hashed`
};

/// What is the verdict, and what did it find? Not how long it took, nor whether a pass is by digest.
std::string said(Outcome o) {
  if (o.claim == Claim::digest) o.claim = Claim::every_value, o.message = explain(o, o.left, {});
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
  std::map<std::string, int> verdicts, ways;
  for (unsigned seed = 0; seed < 3'000; ++seed) {
    std::string texts[3];
    for (int way = 0; way < 3; ++way) {
      Both x;
      std::mt19937 random(seed);
      std::uint64_t sequence = 0;
      for (std::uint64_t i = random() % 6; i > 0; --i) happen(x, random, sequence);
      const Outcome o = way == 0 ? x.check(x.rows()) : way == 1 ? x.full() : x.hashed(bisected);
      texts[way] = said(o);
      if (way == 0) continue;
      ++verdicts[std::string(way == 1 ? "streamed: " : "bisected: ") + std::string(to_string(o.status)) + " " + std::string(to_string(o.reason))];
      ++ways[o.how.substr(0, o.how.find_first_of(":,"))];
    }
    INFO("seed " << seed);
    for (int way = 1; way < 3; ++way) {
      INFO(texts[0] << "\n-- " << way << "\n" << texts[way]);
      // How long was waited before is part of that sentence, and all that may differ.
      if (texts[0].find("horizon_not_proven") == std::string::npos)
        REQUIRE(texts[way] == texts[0]);
      else
        REQUIRE(texts[way].starts_with("error horizon_not_proven"));
    }
  }
  for (const std::string way : {"streamed: ", "bisected: "})
    for (const char* verdict :
         {"pass none", "fail differs", "fail conflicting_rows", "fail missing_rows", "fail extra_rows", "error horizon_not_proven", "skipped empty"}) {
      INFO(way << verdict);
      CHECK(verdicts[way + verdict] > 0);
    }
  for (const char* way : {"bisected", "streamed", "checked"}) {
    INFO(way);
    CHECK(ways[way] > 500);
  }
}

TEST_CASE("a planted difference is found by each method, which is named with its reason") {
  Events events;
  for (std::uint64_t i = 1; i <= 2'000; ++i) events.push_back({i, "EUR", static_cast<std::int64_t>(i)});
  Both x;
  x.run_rows(events);
  const auto run = [&](Method method, std::uint64_t stream_rows_max = 0) {
    return x.hashed({.method = method, .rows_min = 4, .stream_rows_max = stream_rows_max, .cells_first_max = 16, .fetch_bytes_max = 0});
  };
  CHECK(run(Method::bisect).how == "bisected, as asked for");
  CHECK(run(Method::stream).how == "streamed, as asked for");
  CHECK(run(Method::automatic, 2'000).how == "streamed: 2000 events are few");
  CHECK(contains(run(Method::automatic).how, "hashing all would take about"));
  const Outcome equal = run(Method::bisect);
  CHECK(equal.status == Status::pass);
  CHECK(equal.claim == Claim::digest);
  CHECK(run(Method::stream).claim == Claim::every_value);
  CHECK(equal.counts.equal == 2'000);
  CHECK(equal.left.wire_rows + equal.right.wire_rows == 0);
  CHECK(equal.right.ids == equal.right.expected);
  CHECK(equal.right.completeness == Completeness::proved);
  CHECK(contains(to_text(equal), "2000 keys agree by digest (bisected, as asked for)"));
  CHECK(contains(to_json(equal), "\"claim\":\"digest\""));
  CHECK(contains(to_json(equal), "\"how\":\"bisected, as asked for\""));

  x.analytics.alter("transactions", [&](Relation& rows) {
    events[122].cents = -1;
    rows = transactions(events);
  });
  for (const Method method : {Method::bisect, Method::stream, Method::automatic}) {
    const Outcome o = run(method);
    INFO(to_text(o));
    CHECK(o.status == Status::fail);
    CHECK(o.reason == Reason::differs);
    CHECK(o.counts.changed == 1);
    CHECK(o.counts.equal == 1'999);
    REQUIRE(o.differences.size() == 1);
    CHECK(contains(to_text(o.differences[0]), std::to_string(123 << 8)));
    if (method == Method::bisect) CHECK(o.right.wire_rows < 20);
  }
}

TEST_CASE("what can't be bisected is streamed, and refused to who insists") {
  Both x;
  x.run_rows(three);
  const BisectOptions chosen{.stream_rows_max = 0};
  const auto refuse = [](MemorySide& side) { side.refused = "of a kind that has no text"; };
  Outcome o = x.hashed(chosen, refuse);
  CHECK(o.status == Status::pass);
  CHECK(contains(o.how, "streamed: "));
  CHECK(contains(o.how, "of a kind that has no text"));
  o = x.hashed(bisected, refuse);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::schema);
  CHECK(o.counts.equal == 0);
  // A side that refuses when it is made: a text key, say.
  const auto no_side = [](MemorySide&) { throw Failure(Reason::schema, "the key is a text"); };
  CHECK(x.hashed(chosen, no_side).how == "streamed: the key is a text");
  CHECK(x.hashed(
             chosen, [](MemorySide&) {}, no_side)
            .status == Status::pass);
  CHECK(x.hashed(bisected, no_side).reason == Reason::schema);
  // Stores that don't hash at all.
  o = x.full({.bisect = chosen});
  CHECK(o.status == Status::pass);
  CHECK(contains(o.how, "streamed: the anchor does not count and hash its rows"));
  CHECK(x.full({.bisect = bisected}).reason == Reason::configuration);
  // A tolerance is for a check.
  const Rule near{.column = "amount", .kind = Rule::Kind::within, .tolerance = {1, 2}};
  o = full_compare(x.ledger, x.rows({near}), {.check = x.options(), .bisect = bisected});
  CHECK(o.reason == Reason::configuration);
  o = full_compare(x.ledger, x.rows({near}), {.check = x.options()});
  CHECK(o.status == Status::pass);
  CHECK(contains(o.how, "checked: "));
}

TEST_CASE("a follower whose wrong row moves while it is bisected was never equal, and does not pass") {
  Events events;
  for (std::uint64_t i = 1; i <= 400; ++i) events.push_back({i, "EUR", static_cast<std::int64_t>(i)});
  const auto wrong = [&](std::optional<std::size_t> row) {
    Events other = events;
    if (row) other[*row].cents = -1;
    return transactions(other);
  };
  Both x;
  x.run_rows(events);
  const BisectOptions rounds{.method = Method::bisect, .rows_min = 4, .cells_first_max = 16, .fetch_bytes_max = 0};
  const auto run = [&](std::optional<std::size_t> before, std::optional<std::size_t> after, Millis took = Millis{0}) {
    x.analytics.alter("transactions", [&](Relation& rows) { rows = wrong(before); });
    return x.hashed(
        rounds, [](MemorySide&) {},
        [&, after, took](MemorySide& side) {
          side.before_fetch = [&, after, took](int, Relation& hashed) {
            const Relation now = wrong(after);
            for (Field& field : hashed.fields) field.column = now.column(field.name);
            x.analytics.alter("transactions", [&](Relation& rows) { rows = now; });
            x.clock.advance(took);
          };
        });
  };
  Outcome o = run(122, 350);
  INFO(to_text(o));
  CHECK(o.status == Status::fail);
  CHECK(o.reason == Reason::differs);
  CHECK(o.counts.changed == 1);
  CHECK(o.counts.equal == 399);
  REQUIRE(o.differences.size() == 1);
  CHECK(contains(to_text(o.differences[0]), std::to_string(351 << 8)));
  CHECK(contains(o.how, "then streamed, since 1 ranges differ by their digests and not by their values"));
  o = run(122, std::nullopt);  // healed for good: by a stream it is equal
  CHECK(o.status == Status::pass);
  CHECK(o.claim == Claim::every_value);
  CHECK(o.counts.equal == 400);
  o = run(122, 122);
  CHECK(o.reason == Reason::differs);
  CHECK(o.how == "bisected, as asked for");
  // One budget for both.
  o = run(122, 350, Millis{61'000});
  CHECK(o.reason == Reason::timeout);
  CHECK(contains(o.message, "60000 ms that the ledger's snapshot may stay open"));
  CHECK(o.counts.equal + o.counts.differences() == 0);
}

TEST_CASE("a value that two stores write in two forms is no error for ever: its rows are streamed") {
  Both x;
  x.run_rows(three);
  const Outcome o = x.hashed(
      bisected, [](MemorySide&) {},
      [](MemorySide& side) {
        side.lie = [](std::vector<CellDigest>& cells) {
          for (CellDigest& cell : cells) ++cell.rows.sum_low;
        };
      });
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.claim == Claim::every_value);
  CHECK(o.counts.equal == 3);
  CHECK(contains(o.how, "then streamed, since "));
}

TEST_CASE("a statement that a server refuses is not the end: all rows are streamed, in a new snapshot if that one has ended with it") {
  const BisectOptions chosen{.rows_min = 1, .stream_rows_max = 0, .cells_first_max = 4, .fetch_bytes_max = 0};
  Events events;
  for (std::uint64_t i = 1; i <= 100; ++i) events.push_back({i, "EUR", static_cast<std::int64_t>(i)});
  for (const bool on_left : {true, false})
    for (int question = -1; question < 2; ++question) {  // when the side is made, and of the estimate
      INFO(on_left << " " << question);
      Both x;
      x.run_rows(events);
      int refused = 0;
      const Made refuse = [&](MemorySide& side) {
        const auto act = [&, on_left](int now, Relation&) {
          if (now != question) return;
          ++refused, *x.broken |= on_left;
          throw Failure(on_left ? Reason::unknown : Reason::syntax, "the statement is too complex").code(on_left ? "54001" : "62");
        };
        Relation none;
        act(-1, none);
        side.before_question = act;
      };
      const Made fair = [](MemorySide&) {};
      const auto run = [&](const BisectOptions& how) {
        refused = x.held = 0;
        return x.hashed(how, on_left ? refuse : fair, on_left ? fair : refuse);
      };
      Outcome o = run(chosen);
      INFO(to_text(o));
      CHECK(refused == 1);
      CHECK(x.held == (on_left || question == -1 ? 2 : 1));
      CHECK(o.status == Status::pass);
      CHECK(o.claim == Claim::every_value);
      CHECK(o.counts.equal == 100);
      CHECK(o.how == "streamed: the statement is too complex");
      if (question == 1) continue;  // of the estimate, which nobody makes who insists
      o = run(bisected);
      CHECK(o.status == Status::error);
      CHECK(o.reason == (on_left ? Reason::unknown : Reason::syntax));
      CHECK(x.held == 1);
      CHECK(o.counts.equal == 0);
    }
}

TEST_CASE("differences everywhere are streamed in the same snapshot") {
  Events events;
  for (std::uint64_t i = 1; i <= 3'000; ++i) events.push_back({i, "EUR", static_cast<std::int64_t>(i)});
  Both x;
  x.run_rows(events);
  for (Event& e : events) e.cents = -1;
  x.analytics.alter("transactions", [&](Relation& rows) { rows = transactions(events); });
  const Outcome o = x.hashed({.method = Method::bisect, .fetch_bytes_max = 0});
  INFO(to_text(o));
  CHECK(contains(o.how, "then streamed, since "));
  CHECK(o.reason == Reason::differs);
  CHECK(o.counts.changed == 3'000);
}

TEST_CASE("a follower that moves while it is bisected, and a deadline inside a bisection, are errors") {
  Events events;
  for (std::uint64_t i = 1; i <= 400; ++i) events.push_back({i, "EUR", static_cast<std::int64_t>(i)});
  Both x;
  x.run_rows(events);
  const Relation wrong = [&] {
    Events other = events;
    other[122].cents = -1;
    return transactions(other);
  }();
  x.analytics.alter("transactions", [&](Relation& rows) { rows = wrong; });
  const BisectOptions rounds{.method = Method::bisect, .rows_min = 4, .cells_first_max = 16, .fetch_bytes_max = 0};
  Outcome o = x.hashed(
      rounds, [](MemorySide&) {},
      [](MemorySide& side) {
        side.before_question = [](int question, Relation& rows) {
          if (question != 1) return;
          Relation changed = rows.empty_copy();
          for (std::size_t row = 0; row < rows.rows(); ++row)
            if (row != 122) changed.append_row(rows, row);
          rows = changed;
        };
      });
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::cut_violated);
  CHECK(o.retryable);
  CHECK(o.counts.equal + o.counts.differences() == 0);

  for (int late_at = 0; late_at < 4; ++late_at) {
    bool struck = false;
    o = x.hashed(
        rounds, [](MemorySide&) {},
        [&](MemorySide& side) {
          side.before_question = [&, late_at](int question, Relation&) {
            if (question == late_at) x.clock.advance(Millis{61'000}), struck = true;
          };
        });
    INFO(late_at << ": " << to_text(o));
    if (!struck) {
      CHECK(late_at >= 2);  // rounds there were
      CHECK(o.reason == Reason::differs);
      continue;
    }
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::timeout);
    CHECK(contains(o.message, "60000 ms that the ledger's snapshot may stay open; raise snapshot_budget"));
    CHECK(o.counts.equal + o.counts.differences() == 0);
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
