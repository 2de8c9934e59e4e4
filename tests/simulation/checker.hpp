// A checker in the simulated world: it asks the library, notes what the library read and when, and lets the world move at every call.
// What it notes are moments and servers, never what the library made of them.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/verdict/check.hpp>

#include "simulation/shapes.hpp"

namespace simulation {

enum class Route : std::uint8_t { a, b, shadow, proxy };

struct Question {
  Shape shape = sums;
  Route right = Route::a;
  std::optional<Route> left{};  ///< a second follower in the ledger's place
  bool absent_is_zero = false;
};

/// Who asks, and what it remembers.
struct Checker {
  std::vector<Question> questions;
  Witness witness = Witness::id_digest;
  Millis budget{2'000}, first_delay{50}, delay_max{800};
  std::size_t differences_max = 64;
  bool remembers = false;  ///< the newest epoch that it has seen
  bool retries = false;
  std::vector<SeenEpoch> last_seen{};
  std::uint64_t newest_sequence = 0;
  bool busy = false;
};

/// One call of the library to a store.
struct Call {
  enum class Kind : std::uint8_t { about, visible, open, acknowledged, standing };
  Kind kind = Kind::about;
  Millis begun{0};  ///< when the library called
  Millis slept{0};  ///< how long it had waited by then
  Moment at{};      ///< when the store answered
  Store store = stores;
  Form form = Form::plain;
  std::uint64_t shadow_sequence = 0;
  std::size_t lineage = 0;  ///< the ledger's at that moment
  std::optional<Acknowledged> acked{};
};

class Simulation;
class Endpoint;

/// One run of `check`.
struct Check final : Clock {
  Check(World& world_, Checker& checker_, Simulation& simulation_) : world(&world_), checker(&checker_), simulation(&simulation_), start(world_.now()) {}

  Millis now() const override { return world->now(); }
  void sleep(Millis d) override {
    slept += d;
    world->sleep(d);
  }
  inline void call_out(Fault outage, bool& struck);

  World* world;
  Checker* checker;
  Simulation* simulation;
  Millis start, slept{0};
  std::optional<Millis> deadline{};
  Cancel cancel{};
  bool ledger_struck = false;  ///< the snapshot was not to be had
  std::optional<Cut> cut{};    ///< the truth at the snapshot
  Endpoint* current = nullptr;
};

/// A store as the library sees it. Of the ledger: the anchor.
class Endpoint {
 public:
  Endpoint(Check& check, std::optional<Route> route) : check_(&check), route_(route) {}

  AnyCursor open(const QueryPlan& plan, const AsOf& at, Form form, const Control& control) {
    Call call = begin(Call::Kind::open);
    call.store = pick();
    call.form = form;
    AnyCursor cursor = world().memory(call.store).open(plan, at, form, control);
    answered(call);
    if (call.store != store_shadow) return cursor;
    Relation rows;
    cursor->next(rows);
    Proof proof = cursor->proof();
    proof.ids.reset();  // it proves by its own token
    proof.snapshot = Epoch{call.shadow_sequence, 0};
    return AnyCursor(new RelationCursor(std::move(rows), std::move(proof)));
  }
  Visible visible(const std::string& relation, const AsOf& at, const Control& control) {
    Call call = begin(Call::Kind::visible);
    call.store = pick();
    const Visible seen = world().memory(call.store).visible(relation, at, control);
    answered(call);
    return seen;
  }
  FollowerInfo about(const std::string& relation, const Control& control) {
    if (!route_) {
      check_->call_out(ledger_outage, check_->ledger_struck);
      return world().ledger.about(relation, control);
    }
    Call call = begin(Call::Kind::about);
    call.store = pick();
    answered(call);
    return world().memory(call.store).about(relation, control);
  }
  Snapshot snapshot(std::span<const QueryPlan> plans, const Control& control) {
    if (check_->cut) {  // it asks whether the ledger is still the one that was cut, about who was read last
      Endpoint& reader = *check_->current;
      Call call = reader.begin(Call::Kind::standing, ledger_outage);
      Snapshot snapshot = world().ledger.snapshot(plans, control);
      reader.answered(call);
      return snapshot;
    }
    check_->call_out(ledger_outage, check_->ledger_struck);
    const Cut cut = world().cut();
    Snapshot snapshot = world().ledger.snapshot(plans, control);
    check_->cut = cut;
    world().trace(world().now().count(), "snapshot", cut.sequence, cut.lineage, cut.generation);
    return snapshot;
  }
  std::optional<Acknowledged> acknowledged(const Token& token, const std::string& authority, const std::string& relation, const Control& control) {
    Endpoint& reader = *check_->current;  // who was read last asks for its own
    Call call = reader.begin(Call::Kind::acknowledged, ledger_outage);
    const std::optional<Acknowledged> acked = world().ledger.acknowledged(token, authority, relation, control);
    call.acked = acked;
    reader.answered(call);
    return acked;
  }

  const std::vector<Call>& calls() const { return calls_; }
  bool struck() const { return struck_; }

 private:
  World& world() { return *check_->world; }
  Call begin(Call::Kind kind, Fault outage = follower_outage) {
    check_->current = this;
    Call call{.kind = kind, .begun = world().now(), .slept = check_->slept};
    check_->call_out(outage, struck_);
    check_->current = this;
    return call;
  }
  void answered(Call& call) {
    call.at = world().moment();
    call.shadow_sequence = world().shadow_sequence();
    call.lineage = world().cut().lineage;
    static constexpr const char* names[] = {"about", "visible", "open", "acknowledged", "standing"};
    world().trace(call.at.time.count(), names[static_cast<std::size_t>(call.kind)], call.store, static_cast<std::uint64_t>(call.form),
                  call.acked ? call.acked->sequence : 0);
    calls_.push_back(call);
  }
  Store pick() {
    if (route_ == Route::a) return store_a;
    if (route_ == Route::b) return store_b;
    if (route_ == Route::shadow) return store_shadow;
    const Store s = world().random().one_in(4) ? store_b : store_a;
    if (!calls_.empty() && calls_.back().store != s && calls_.back().store != stores) world().hit(routed, s);
    return s;
  }

  Check* check_;
  std::optional<Route> route_;
  std::vector<Call> calls_;
  bool struck_ = false;
};
static_assert(Readable<Endpoint> && Anchor<Endpoint>);

}  // namespace simulation
