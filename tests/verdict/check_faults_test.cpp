// Outages, cancels, time limits and stores that change between two passes: each ends in an error with its reason, never in a pass or a fail.
#include <epochcut/verdict/check.hpp>

#include <new>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
/// An exchange whose two stores tell of each call before it is made, in one count.
struct Watched : Exchange {
  std::vector<std::string> calls;
  std::function<void(std::string_view call)> at_call = [](std::string_view) {};
  Hooked left{&ledger, {}}, right{&analytics, {}};

  Watched() {
    left.before = [this](std::string_view call) { note("anchor", call); };
    right.before = [this](std::string_view call) { note("follower", call); };
  }
  void note(const char* who, std::string_view call) {
    calls.push_back(who + ("." + std::string(call)));
    at_call(calls.back());
  }
  std::size_t count(std::string_view call) const {
    std::size_t n = 0;
    for (const std::string& c : calls) n += c == call;
    return n;
  }
  Outcome check_watched(CheckOptions options) {
    return epochcut::check(left, Invariant{.id = "balances", .left = {left, balances()}, .right = {right, sums()}}, options);
  }
  Outcome check_watched() { return check_watched(options()); }
};

/// Worlds that take a check through all of its calls: at once, after waits, over duplicates, through a second pass.
using Prepare = void (*)(Watched&);
const std::pair<const char*, Prepare> worlds[] = {{"equal", [](Watched& w) { w.run(three); }},
                                                  {"late", [](Watched& w) { w.run(three, Millis{600}); }},
                                                  {"replayed", [](Watched& w) { w.run(three), w.publish(three); }},
                                                  {"changed",
                                                   [](Watched& w) {
                                                     w.publish({{1, "EUR", 9}, three[1], three[2]}), w.commit(three);
                                                   }},
                                                  {"foreign",
                                                   [](Watched& w) {
                                                     w.run(three), w.publish({{1, "EUR", 9, 9}});
                                                   }},
                                                  {"lost", [](Watched& w) { w.commit(three), w.acknowledge(3); }},
                                                  {"never there", [](Watched& w) { w.commit(three); }}};

CheckOptions short_options(Watched& w) {
  CheckOptions o = w.options();
  o.horizon.budget = Millis{3'000};
  return o;
}
}  // namespace

TEST_CASE("an outage at any call of a check is that error, never a pass or a fail; the next check is clean") {
  for (const auto& [name, prepare] : worlds)
    for (const Reason reason : {Reason::connection, Reason::unknown}) {
      Watched model;
      prepare(model);
      const Outcome undisturbed = model.check_watched(short_options(model));
      REQUIRE(model.calls.size() >= 4);
      for (std::size_t broken = 0; broken < model.calls.size(); ++broken) {
        Watched w;
        prepare(w);
        w.at_call = [&](std::string_view call) {
          if (w.calls.size() != broken + 1) return;
          if (reason == Reason::unknown) throw std::bad_alloc();
          throw Failure(Reason::connection, "the server went away at " + std::string(call)).poison().at("here");
        };
        const Outcome o = w.check_watched(short_options(w));
        INFO(name << ", broken at call " << broken << ": " << model.calls[broken] << ": " << o.message);
        CHECK(o.status == Status::error);
        CHECK(o.reason == reason);
        CHECK(o.retryable == (reason == Reason::connection));
        CHECK(o.claim == Claim::nothing);
        CHECK(o.differences.empty());
        CHECK(o.counts.differences() + o.counts.equal == 0);
        if (reason == Reason::connection) CHECK(contains(o.message, "here"));
        w.at_call = [](std::string_view) {};
        const Outcome after = w.check_watched(short_options(w));
        CHECK((after.status == undisturbed.status || std::string_view(name) == "late"));  // by then the late rows are there
      }
    }
}

TEST_CASE("an outage in the plain way: planted in the store itself") {
  Exchange x;
  x.run(three);
  for (Memory* store : {&x.ledger, &x.analytics}) {
    store->fail_next(Failure(Reason::connection, "the server is restarting").retry());
    const Outcome o = x.check();
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::connection);
    CHECK(o.retryable);
    CHECK(x.check().status == Status::pass);
  }
}

TEST_CASE("a cancel at any call ends the check as cancelled") {
  for (const auto& [name, prepare] : worlds) {
    Watched model;
    prepare(model);
    (void)model.check_watched(short_options(model));
    for (std::size_t at = 0; at < model.calls.size(); ++at) {
      if (contains(model.calls[at], "about") || contains(model.calls[at], "acknowledged")) continue;  // the next look at the flag may come too late to matter
      Watched w;
      prepare(w);
      Cancel cancel;
      w.at_call = [&](std::string_view) {
        if (w.calls.size() == at + 1) cancel.request();
      };
      CheckOptions options = short_options(w);
      options.control.cancel = &cancel;
      const Outcome o = w.check_watched(options);
      INFO(name << " at " << at << ": " << o.message);
      CHECK(o.status == Status::error);
      CHECK(o.reason == Reason::cancelled);
    }
  }
}

TEST_CASE("a deadline within the wait, and within the second pass, is a timeout") {
  Watched w;
  w.run(three, Millis{20'000});
  CheckOptions options = w.options();
  options.control.deadline = Millis{5'000};
  Outcome o = w.check_watched(options);
  CHECK(o.reason == Reason::timeout);
  CHECK(w.clock.now() < Millis{5'100});

  Watched second;
  second.run(three);
  second.publish({{1, "EUR", 9, 9}});
  options = second.options();
  options.control.deadline = Millis{1'000};  // the second pass begins only after 2 s
  o = second.check_watched(options);
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::timeout);
  CHECK(o.counts.differences() == 0);  // what the first pass saw is worth nothing without the second
}

TEST_CASE("a reading that is too large is an error") {
  Watched w;
  w.run(three);
  CheckOptions options = w.options();
  options.control.rows_max = 1;
  CHECK(w.check_watched(options).reason == Reason::too_large);
  options.control.rows_max = 2;
  CHECK(w.check_watched(options).status == Status::pass);
}

TEST_CASE("differences that heal between the passes are a violated cut") {
  // Foreign rows that vanish, rows that come back later than their acknowledgement and the declared lag allow, foreign rows that are replaced by others, or whose amount changes.
  for (int scenario = 0; scenario < 4; ++scenario) {
    Watched w;
    w.run(three);
    if (scenario != 1)
      w.publish({{2, "CHF", 5, 9}});
    else
      w.remove([](std::uint64_t id) { return id == three[1].id(); }), w.acknowledge(3);
    bool healed = false;
    w.at_call = [&](std::string_view) {
      const std::size_t looks = w.count("follower.open");
      if (healed || w.clock.now() < Millis{scenario == 1 ? 33'000 : 1'000} || looks < 3) return;
      healed = true;
      if (scenario == 0) w.remove([](std::uint64_t id) { return id == (2 << 8 | 9); });
      if (scenario == 1) w.publish({three[1]});
      if (scenario == 2) w.remove([](std::uint64_t id) { return id == (2 << 8 | 9); }), w.publish({{2, "CHF", 5, 10}});
      if (scenario == 3) w.remove([](std::uint64_t id) { return id == (2 << 8 | 9); }), w.publish({{2, "CHF", 6, 9}});
    };
    const Outcome o = w.check_watched();
    INFO("scenario " << scenario << ": " << o.message);
    CHECK(healed);
    CHECK(o.status == Status::error);
    CHECK(o.reason == Reason::cut_violated);
    CHECK(o.claim == Claim::nothing);
  }
}

TEST_CASE("a second pass that another server answers proves nothing") {
  Watched w;
  w.run(three);
  w.publish({{2, "CHF", 5, 9}});
  w.right.after = [&](Proof& proof, Relation&) {
    if (w.clock.now() > Millis{0}) proof.server.name = "another";
  };
  const Outcome o = w.check_watched();
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::replica_changed);
  CHECK(contains(o.message, "another"));
}

TEST_CASE("a follower whose read is only partly there is caught by its own proof") {
  Watched w;
  w.run(three);
  w.right.after = [](Proof& proof, Relation&) { proof.ids = digest_of_event_id(three[0].id()); };  // as a profile that stops early would
  CHECK(w.check_watched(short_options(w)).reason == Reason::horizon_not_proven);
}

TEST_CASE("a read without any proof is a configuration error, not a belief") {
  Watched w;
  w.run(three);
  w.right.after = [](Proof& proof, Relation&) { proof.ids.reset(); };
  const Outcome o = w.check_watched();
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::configuration);
}

TEST_CASE("what an error says of time and attempts is what happened") {
  Watched w;
  w.commit(three);
  const Outcome o = w.check_watched();
  CHECK(o.reason == Reason::horizon_not_proven);
  CHECK(o.right.waited == Millis{30'000});
  CHECK(o.took >= Millis{30'000});
  CHECK(static_cast<std::size_t>(o.right.full_reads) == w.count("follower.open"));
  CHECK(w.count("follower.visible") + 1 == static_cast<std::size_t>(o.right.attempts));  // one full look, then cheap ones
  CHECK(w.count("follower.open") <= 3);
}

TEST_CASE("what may succeed later with nothing changed says so") {
  Exchange x;
  x.run(three, Millis{40'000});
  CHECK(x.check().retryable);  // horizon_not_proven: the rows may come yet
  x.acknowledge(3, "other");
  Exchange y;
  y.run(three, Millis{40'000});
  y.acknowledge(3, "other");
  const Outcome o = y.check();
  CHECK(o.reason == Reason::replica_lag);
  CHECK(o.retryable);
}
