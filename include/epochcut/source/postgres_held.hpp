// How are a ledger's rows streamed out of ONE snapshot that stays open?
// Layer: source, with libpq. A transaction on one session, begun and locked as for a snapshot; COPY after COPY in it. A COPY that is left before its end
// takes the transaction with it: cancelling one aborts it, and a snapshot that is gone can't be taken again. One thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/cut/held_cut.hpp>
#include <epochcut/source/postgres_digest.hpp>
#include <epochcut/source/postgres_readers.hpp>
#include <epochcut/source/postgres_snapshot.hpp>

namespace epochcut::postgres {

class Held final : public HeldSnapshot {
 public:
  /// `further`: sessions that read along, if there may be any.
  Held(Session session, std::vector<Session> further, std::vector<QueryPlan> plans, const TokenTable* token_table, std::string event_id, const Control& control)
      : further_(std::move(further)),
        plans_(std::move(plans)),
        event_id_(std::move(event_id)),
        transaction_(std::make_unique<Transaction>(std::move(session), std::span<const QueryPlan>(plans_), token_table, control)),
        tables_(transaction_->describe(plans_, control)) {
    head_.token = transaction_->token, head_.further = transaction_->further;
    head_.timeline = transaction_->timeline, head_.server = transaction_->server;
    // Rows in their physical order, which is the writer's: a scan that joins another one in its middle would be half a table apart from it.
    transaction_->set("SET LOCAL synchronize_seqscans = off", control);
  }

  const Snapshot& head() const override { return head_; }

  AnyCursor open(std::size_t i, bool any_order, const Control& control) override {
    if (std::exchange(digested_, false)) transaction_->set(std::string(digest_settings_undone), control);
    QueryPlan plan = plans_[i];
    plan.any_order = any_order;
    Bound bound{.event_id = event_id_, .last_event_id = {}};
    if (const Token* token = transaction_->token_of(plan.relation)) bound.last_event_id = last_event_id(token->stream, token->epoch);
    transaction_->look_at_ids(plan, tables_[i], bound, control);
    std::vector<QueryPlan> ranges = split(*transaction_, plan, tables_[i], event_id_, static_cast<int>(further_.size()) + 1, control);
    if (ranges.size() > 1) return AnyCursor(new ParallelCopy(*transaction_, further_, std::move(ranges), tables_[i], bound, control));
    Parameters parameters;
    const Rendered query = render(plan, tables_[i], bound, parameters);
    transaction_->bind(parameters, control);
    Proof proof = transaction_->begin_copy(query, plan.relation, control);
    return AnyCursor(new CopyCursor(*transaction_, query.columns, std::move(proof), control));
  }

  /// Bounded by `control` alone: whoever holds the snapshot says how long.
  AnyDigest digest(std::size_t i, const Control& control) override {
    digested_ = true;
    return AnyDigest(new PostgresDigest(*transaction_, plans_[i], event_id_, control, std::nullopt));
  }

  void release(const Control& control) override { transaction_->commit(control); }

 private:
  std::vector<Session> further_;
  std::vector<QueryPlan> plans_;
  std::string event_id_;
  std::unique_ptr<Transaction> transaction_;
  std::vector<Table> tables_;
  Snapshot head_;
  bool digested_ = false;
};

}  // namespace epochcut::postgres
