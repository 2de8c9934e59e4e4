// What do two stores show at ONE point of the event sequence?
// Layer: cut. An EpochCut is a value: its constructor takes everything the anchor has to say, in one snapshot, and releases it.
// It keeps a reference to its anchor only to ask again what has been acknowledged. Source: RFC live-checks, "The shared mechanism".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/horizon.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut {

/// How complete one side was found at the epoch.
enum class Completeness : std::uint8_t {
  proved,           ///< the witness was reached
  proved_distinct,  ///< reached over DISTINCT event ids: the follower holds replays
  surplus,          ///< more distinct event ids at or below the epoch than the ledger committed
  short_of,         ///< event ids are missing, or others stand in their place, and the budget is used up
  unknown,          ///< read at rest: nobody asked
};

constexpr std::string_view to_string(Completeness completeness) {
  constexpr std::string_view names[] = {"proved", "proved_distinct", "surplus", "short_of", "unknown"};
  return names[static_cast<std::size_t>(completeness)];
}

/// What the ledger knows of the server's acknowledgements, asked after the read.
enum class Acknowledgement : std::uint8_t {
  unknown,    ///< not known to be acknowledged up to the epoch
  here,       ///< acknowledged past the epoch by the server that was read
  elsewhere,  ///< acknowledged past the epoch by another server
};

/// One reading at a cut: rows in key order, and how their completeness was proved. Units: milliseconds on the control's clock.
struct Read {
  Relation rows;
  Proof proof;
  Witness witness = Witness::snapshot;
  Completeness completeness = Completeness::proved;
  Acknowledgement acknowledgement = Acknowledgement::unknown;
  Form form = Form::plain;
  std::optional<Digest> expected;  ///< what the token says the relation holds
  FollowerInfo about;
  Millis waited{0};
  int attempts = 1;
  int full_reads = 1;
};

/// Pulls a cursor to its end. Errors: `too_large`, and whatever the cursor throws: a part of a reading is never returned.
inline std::pair<Relation, Proof> collect(AnyCursor cursor, const Control& control) {
  Relation all, block;
  bool first = true;
  while (cursor->next(block)) {
    if (std::exchange(first, false)) all = std::exchange(block, {});
    else all.append(block);
    control.check_size(all.rows(), all.bytes());
    control.check();
  }
  return {std::move(all), cursor->proof()};
}

template <Anchor Source>
class EpochCut {
 public:
  /// Locks the queries' tables, reads token and queries in one snapshot, and lets go. Errors: whatever the anchor throws.
  EpochCut(Source& anchor, std::span<const Query> queries, const Control& control = {}) : anchor_(&anchor), taken_at_(control.clock->now()) {
    std::vector<QueryPlan> plans;
    for (const Query& query : queries) {
      query.plan().validate();
      plans.push_back(query.plan());
    }
    Snapshot snapshot = anchor.snapshot(std::span<const QueryPlan>(plans), control);
    token_ = std::move(snapshot.token);
    server_ = std::move(snapshot.server);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      Read& read = reads_.emplace_back();
      read.rows = std::move(snapshot.relations[i]);
      read.proof = std::move(snapshot.proofs[i]);
      read.about = anchor.about(plans[i].relation, control);
      if (token_) read.expected = declared_ids(plans[i].relation);
    }
  }

  std::size_t size() const { return reads_.size(); }
  const Read& operator[](std::size_t i) const { return reads_[i]; }
  const std::optional<Token>& token() const { return token_; }
  const Server& server() const { return server_; }

  /// Reads a follower as of this cut's epoch: waits under `policy` until the read itself proves that it is complete, or says how it is not.
  /// The budget runs from the cut, since that is when the rows had been issued; one look is taken in any case.
  /// Errors: `missing_token`, `undeclared_relation`, `wrong_stream`, `not_as_of`, and whatever the follower throws. Incomplete is no throw.
  template <Follower F>
  Read read(F& follower, const Query& query, const HorizonPolicy& policy = {}, const Control& control = {}) const {
    const QueryPlan& plan = query.plan();
    plan.validate();
    auto&& source = readable(follower);
    Read read;
    read.about = source.about(plan.relation, control);
    const AsOf at = begin(plan, policy, read);
    const Millis start = control.clock->now();
    for (read.attempts = 1, read.full_reads = 0;; ++read.attempts) {
      const Reached reached = look(source, plan, at, policy, control, read);
      read.waited = control.clock->now() - start;
      const Step next = step(policy, reached, control.clock->now() - taken_at_, read.attempts - 1);
      if (next.action == Step::Action::proceed) return read;
      if (next.action == Step::Action::give_up) break;
      control.sleep(next.delay);
    }
    if (read.completeness == Completeness::short_of && read.witness == Witness::id_digest) observe(source, plan, at, control, read);  // the latest rows, to name keys
    read.acknowledgement = acknowledgement(read, plan.relation, control);
    return read;
  }

  /// Reads once more as `first` was read, at the same epoch and without waiting: what a true cut shows cannot heal.
  template <Follower F>
  Read read_again(F& follower, const Query& query, const Read& first, const Control& control = {}) const {
    auto&& source = readable(follower);
    Read again = first;
    const AsOf at = first.witness == Witness::at_rest ? AsOf{.at_rest = true} : as_of(token_->stream, token_->epoch);
    take(source, query.plan(), at, first.form, control, again);
    if (first.proof.server != again.proof.server)
      throw Failure(Reason::replica_changed, "the second pass was answered by " + again.proof.server.name + " and the first by " + first.proof.server.name +
                                                 "; point the check at one server").retry();
    if (first.witness == Witness::id_digest && !again.proof.snapshot) again.completeness = judge_ids(again);
    return again;
  }

 private:
  std::optional<Digest> declared_ids(const std::string& relation) const {
    for (const RelationToken& r : token_->relations)
      if (r.relation == relation) return r.ids;
    return std::nullopt;
  }

  AsOf begin(const QueryPlan& plan, const HorizonPolicy& policy, Read& read) const {
    if (!token_)
      throw Failure(Reason::missing_token, "the anchor hands out no token, so \"" + plan.relation + "\" can't be read as of an epoch; name its token table and stream");
    if (plan.history == History::current)
      throw Failure(Reason::not_as_of, "current(\"" + plan.relation + "\") has no history to read as of an epoch; use events() or latest(), or at_rest(source)");
    if (!read.about.stream.empty() && read.about.stream != token_->stream.id)
      throw Failure(Reason::wrong_stream, read.about.relation + " is filled from stream \"" + read.about.stream + "\", but the anchor's token counts stream \"" +
                                              token_->stream.id + "\"; epochs of two streams never compare, point the check at the right store");
    if (policy.witness == Witness::max_version && !token_->stream.acknowledged)
      throw Failure(Reason::configuration, "stream " + token_->stream.id + " does not declare that rows are acknowledged before its token commits, so the newest " +
                                               "visible row proves nothing; use the id_digest witness");
    if (policy.witness == Witness::snapshot || policy.witness == Witness::at_rest)
      throw Failure(Reason::configuration, "a horizon policy needs the witness id_digest, acked or max_version");
    read.witness = policy.witness;
    read.completeness = Completeness::short_of;
    read.expected = policy.witness == Witness::id_digest ? token_->relation(plan.relation).ids : declared_ids(plan.relation);
    return as_of(token_->stream, token_->epoch);
  }

  template <class Source_>
  static void take(Source_& source, const QueryPlan& plan, const AsOf& at, Form form, const Control& control, Read& read) {
    std::tie(read.rows, read.proof) = collect(source.open(plan, at, form, control), control);
    read.form = form;
    ++read.full_reads;
  }

  /// One look at the follower. The first is a whole read, since a healthy follower is there already; later ones read only if a cheap look says it may pay.
  template <class Source_>
  Reached look(Source_& source, const QueryPlan& plan, const AsOf& at, const HorizonPolicy& policy, const Control& control, Read& read) const {
    if (read.witness != Witness::id_digest) return look_weakly(source, plan, at, control, read);
    if (read.full_reads > 0) {
      if (read.full_reads >= policy.full_reads_max || source.visible(plan.relation, at, control).count < read.expected->count) return Reached::no;
    }
    observe(source, plan, at, control, read);
    switch (read.completeness) {
      case Completeness::proved:
      case Completeness::proved_distinct: return Reached::yes;
      case Completeness::surplus: return Reached::refuted;
      default: return Reached::no;
    }
  }

  /// A whole read, judged by its own proof; over DISTINCT event ids where the plain rows can't be what the ledger committed.
  template <class Source_>
  void observe(Source_& source, const QueryPlan& plan, const AsOf& at, const Control& control, Read& read) const {
    take(source, plan, at, Form::plain, control, read);
    if (read.proof.snapshot) {  // the follower has a token of its own, read in the same snapshot
      read.completeness = *read.proof.snapshot < token_->epoch ? Completeness::short_of : Completeness::proved;
      if (read.completeness == Completeness::proved) read.witness = Witness::snapshot;
      return;
    }
    read.completeness = judge_ids(read);
    // Fewer rows than events can't become whole by taking duplicates away; anything else that differs may hold replays.
    if (read.completeness != Completeness::proved && read.proof.ids && read.proof.ids->count >= read.expected->count) {
      take(source, plan, at, Form::distinct, control, read);
      read.completeness = judge_ids(read);
    }
  }

  template <class Source_>
  Reached look_weakly(Source_& source, const QueryPlan& plan, const AsOf& at, const Control& control, Read& read) const {
    const Visible seen = source.visible(plan.relation, at, control);
    read.proof.server = seen.server;
    const bool there = read.witness == Witness::max_version
                           ? seen.newest >> token_->stream.leg_bits >= token_->epoch.sequence
                           : acknowledgement(read, plan.relation, control) == Acknowledgement::here;
    if (!there) return Reached::no;
    take(source, plan, at, Form::plain, control, read);
    if (read.proof.server != seen.server)
      throw Failure(Reason::replica_changed, "the horizon was seen on " + seen.server.name + " but " + read.proof.server.name +
                                                 " answered the read; point the check at one server").retry();
    read.completeness = Completeness::proved;
    return Reached::yes;
  }

  static Completeness judge_ids(const Read& read) {
    if (!read.proof.ids)
      throw Failure(Reason::configuration, read.about.relation + " was read without a digest of its event ids, so nothing proves it complete; its source must compute one");
    if (*read.proof.ids == *read.expected) return read.form == Form::distinct ? Completeness::proved_distinct : Completeness::proved;
    return read.form == Form::distinct && read.proof.ids->count > read.expected->count ? Completeness::surplus : Completeness::short_of;
  }

  Acknowledgement acknowledgement(const Read& read, const std::string& relation, const Control& control) const {
    const std::string& authority = read.about.authority.empty() ? token_->authority : read.about.authority;
    const std::optional<Acknowledged> acked = anchor_->acknowledged(*token_, authority, relation, control);
    if (!acked || acked->sequence < token_->epoch.sequence) return Acknowledgement::unknown;
    return acked->server == read.proof.server.name ? Acknowledgement::here : Acknowledgement::elsewhere;
  }

  Source* anchor_;
  Millis taken_at_;
  std::optional<Token> token_;
  Server server_;
  std::vector<Read> reads_;
};

/// Reads a source as it stands, unsynchronised: the plain way. Errors: whatever the source throws.
template <Follower F>
Read read_at_rest(F& source, const Query& query, const Control& control = {}) {
  query.plan().validate();
  auto&& readable_source = readable(source);
  Read read;
  read.about = readable_source.about(query.plan().relation, control);
  std::tie(read.rows, read.proof) = collect(readable_source.open(query.plan(), AsOf{.at_rest = true}, Form::plain, control), control);
  read.witness = Witness::at_rest;
  read.completeness = Completeness::unknown;
  return read;
}

}  // namespace epochcut
