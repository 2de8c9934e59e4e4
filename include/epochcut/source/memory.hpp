// What if both stores were in memory, and late on command?
// Layer: source, a leaf. Thread-safe. For users' own tests and for speed of development; nothing is proved by it alone.
// Tables are append-only events, each row visible from a scripted time on, or state that is replaced together with the token.
#pragma once

#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/token.hpp>
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/held_cut.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut {

/// Both an anchor (`commit`, then read in one snapshot) and a follower (`insert`, visible after a delay).
class Memory {
 public:
  explicit Memory(std::string name, Clock& clock = SystemClock::instance()) : name_(std::move(name)), clock_(&clock) {}

  /// Makes an empty relation with these columns, or empties it.
  void create(const std::string& relation, Relation columns) {
    const std::lock_guard lock(mutex_);
    Table& table = find_or_make(relation);
    table = Table{.name = relation, .rows = columns.empty_copy()};
  }

  /// Appends rows that become visible `delay` from now.
  void insert(const std::string& relation, const Relation& rows, Millis delay = Millis{0}) {
    const std::lock_guard lock(mutex_);
    Table& table = find(relation);
    if (delay.count() <= 0)
      table.rows.append(rows);
    else
      table.pending.push_back({clock_->now() + delay, rows});
  }

  /// Replaces state tables and the token of one stream in one step: the ledger's one transaction. The first stream ever committed is the main one.
  void commit(Token token, std::vector<std::pair<std::string, Relation>> state) {
    const std::lock_guard lock(mutex_);
    for (auto& [relation, rows] : state) find_or_make(relation).rows = std::move(rows);
    if (!token_ || token_->stream.id == token.stream.id) return void(token_ = std::move(token));
    for (Token& other : further_)
      if (other.stream.id == token.stream.id) return void(other = std::move(token));
    further_.push_back(std::move(token));
  }

  /// As after a failover or a restore.
  void set_timeline(std::uint64_t timeline) {
    const std::lock_guard lock(mutex_);
    timeline_ = timeline;
  }

  /// Changes a relation's visible rows in place: how tests plant a fault.
  template <class Change>
  void alter(const std::string& relation, Change change) {
    const std::lock_guard lock(mutex_);
    change(find(relation).rows);
  }

  /// What the ledger knows of a follower's acknowledgements.
  void acknowledge(const std::string& authority, const std::string& relation, Acknowledged acked) {
    const std::lock_guard lock(mutex_);
    for (auto& a : acknowledged_)
      if (a.authority == authority && a.relation == relation) return void(a.acked = std::move(acked));
    acknowledged_.push_back({authority, relation, std::move(acked)});
  }

  /// Lets the store say which stream and authority fill it.
  void declare(std::string stream, std::string authority) {
    const std::lock_guard lock(mutex_);
    stream_ = std::move(stream), authority_ = std::move(authority);
  }

  /// The next `times` reads throw this: an outage on command.
  void fail_next(const Failure& failure, int times = 1) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < times; ++i) failures_.push_back(failure);
  }

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    control.check();
    Evaluated result = [&] {
      const std::lock_guard lock(mutex_);
      throw_planted();
      return evaluate(plan, visible_rows(plan.relation), as_of, form);
    }();
    result.proof.server = {name_, {}};
    result.proof.bytes = result.rows.bytes();
    return AnyCursor(new RelationCursor(std::move(result.rows), std::move(result.proof)));
  }

  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    control.check();
    const std::lock_guard lock(mutex_);
    throw_planted();
    const Relation& rows = visible_rows(relation);
    const Column& ids = rows.column(as_of.stream.event_id);
    const Column* generations = by_generation(as_of) ? &rows.column(as_of.stream.generation) : nullptr;
    Visible visible{.server = {name_, {}}};
    for (std::size_t row = 0; row < ids.size(); ++row) {
      const std::uint64_t id = evaluation::event_id(ids, row);
      if (generations != nullptr && !evaluation::written_by(*generations, row, owner(as_of, id))) continue;
      visible.count += id <= as_of.last_event_id;
      visible.newest = std::max(visible.newest, id);
    }
    return visible;
  }

  FollowerInfo about(const std::string& relation, const Control&) {
    const std::lock_guard lock(mutex_);
    return {"memory " + name_ + "/" + find(relation).name, stream_, authority_};
  }

  Snapshot snapshot(std::span<const QueryPlan> plans, const Control& control) {
    control.check();
    const std::lock_guard lock(mutex_);
    throw_planted();
    Snapshot snapshot;
    snapshot.token = token_;
    snapshot.server = {name_, {}};
    snapshot.further = further_;
    snapshot.timeline = timeline_;
    for (const QueryPlan& plan : plans) {
      // Its own rows were written by fenced transactions, so every generation's count.
      AsOf at = token_ ? as_of(*token_of(plan.relation)) : AsOf{.at_rest = true};
      at.stream.generation.clear();
      Evaluated result = evaluate(plan, visible_rows(plan.relation), at);
      result.proof.server = snapshot.server;
      if (token_) result.proof.snapshot = at.epoch;
      snapshot.relations.push_back(std::move(result.rows));
      snapshot.proofs.push_back(std::move(result.proof));
    }
    return snapshot;
  }

  /// The same snapshot, kept.
  AnyHeld hold(std::span<const QueryPlan> plans, const Control& control) { return AnyHeld(new Held(snapshot(plans, control))); }

  std::optional<Acknowledged> acknowledged(const Token&, const std::string& authority, const std::string& relation, const Control&) {
    const std::lock_guard lock(mutex_);
    for (const auto& a : acknowledged_)
      if (a.authority == authority && a.relation == relation) return a.acked;
    return std::nullopt;
  }

 private:
  class Held final : public HeldSnapshot {
   public:
    explicit Held(Snapshot snapshot) : snapshot_(std::move(snapshot)) {}
    const Snapshot& head() const override { return snapshot_; }
    AnyCursor open(std::size_t i, bool, const Control& control) override {
      control.check();
      return AnyCursor(new RelationCursor(snapshot_.relations[i], snapshot_.proofs[i]));
    }
    void release(const Control&) override { snapshot_.relations.clear(); }

   private:
    Snapshot snapshot_;
  };

  struct Late {
    Millis visible_from;
    Relation rows;
  };
  struct Table {
    std::string name{};
    Relation rows{};
    std::vector<Late> pending{};
  };
  struct Ack {
    std::string authority, relation;
    Acknowledged acked;
  };

  const Token* token_of(const std::string& relation) const {
    for (const Token& token : further_)
      for (const RelationToken& r : token.relations)
        if (r.relation == relation) return &token;
    return &*token_;
  }
  Table& find(const std::string& relation) {
    for (Table& table : tables_)
      if (table.name == relation) return table;
    throw Failure(Reason::not_found, "there is no relation \"" + relation + "\" in " + name_ + "; create it or correct the name").at(name_);
  }
  Table& find_or_make(const std::string& relation) {
    for (Table& table : tables_)
      if (table.name == relation) return table;
    return tables_.emplace_back(Table{.name = relation});
  }
  const Relation& visible_rows(const std::string& relation) {
    Table& table = find(relation);
    std::erase_if(table.pending, [&](const Late& late) {
      if (late.visible_from > clock_->now()) return false;
      table.rows.append(late.rows);
      return true;
    });
    return table.rows;
  }
  void throw_planted() {
    if (failures_.empty()) return;
    const Failure failure = failures_.front();
    failures_.pop_front();
    throw failure;
  }

  std::string name_;
  Clock* clock_;
  std::mutex mutex_;
  std::vector<Table> tables_;
  std::optional<Token> token_;
  std::vector<Token> further_;
  std::uint64_t timeline_ = 0;
  std::vector<Ack> acknowledged_;
  std::deque<Failure> failures_;
  std::string stream_, authority_;
};
static_assert(Readable<Memory> && Anchor<Memory> && Holder<Memory>);

}  // namespace epochcut
