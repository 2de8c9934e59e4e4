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
  std::string stream{};  ///< as of whose epoch it was read; empty: at rest, or an anchor without a token
  std::optional<Epoch> epoch{};
  Millis waited{0};
  int attempts = 1;
  int full_reads = 1;
};

/// Pulls a cursor to its end. Errors: `too_large`, and whatever the cursor throws: a part of a reading is never returned.
inline std::pair<Relation, Proof> collect(AnyCursor cursor, const Control& control) {
  Relation all, block;
  bool first = true;
  while (cursor->next(block)) {
    if (std::exchange(first, false))
      all = std::exchange(block, {});
    else
      all.append(block);
    control.check_size(all.rows(), all.bytes());
    control.check();
  }
  if (first) all = std::move(block);  // no block at all still has columns
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
    adopt(snapshot);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      Read& read = reads_.emplace_back();
      read.rows = std::move(snapshot.relations[i]);
      read.proof = std::move(snapshot.proofs[i]);
      read.about = anchor.about(plans[i].relation, control);
      if (tokens_.empty()) continue;
      const Token& token = token_of(plans[i].relation);
      read.expected = declared_ids(token, plans[i].relation);
      read.stream = token.stream.id;
      read.epoch = token.epoch;
    }
  }

  /// Of a snapshot that somebody else holds: token and timeline, no rows. Errors: as above.
  static EpochCut of(Source& anchor, const Snapshot& head, const Control& control) {
    EpochCut cut(Bare{}, anchor, control);
    cut.adopt(head);
    return cut;
  }

  std::size_t size() const { return reads_.size(); }
  const Read& operator[](std::size_t i) const { return reads_[i]; }
  /// The tokens of all streams that the anchor's writers commit, the main one first; empty for an anchor without one.
  const std::vector<Token>& tokens() const { return tokens_; }
  /// The main stream's; null for an anchor without a token.
  const Token* token() const { return tokens_.empty() ? nullptr : &tokens_.front(); }
  /// Of the ledger; it changes with a failover or a restore. 0: unknown.
  std::uint64_t timeline() const { return timeline_; }
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
    const AsOf at = begin(plan, policy, read);
    const Token& token = token_of(plan.relation);
    read.about = source.about(plan.relation, control);
    require_stream(read.about, token);
    const Millis start = control.clock->now();
    if (plan.history == History::current) {
      read_state(source, plan, at, policy, control, read);
      read.waited = control.clock->now() - start;
      return read;
    }
    std::uint64_t count_when_read = 0;
    for (read.attempts = 1, read.full_reads = 0;; ++read.attempts) {
      const Reached reached = look(source, plan, at, policy, control, read, count_when_read);
      read.waited = control.clock->now() - start;
      const Step next = step(policy, reached, control.clock->now() - taken_at_, read.attempts - 1);
      if (next.action == Step::Action::proceed || reached == Reached::refuted) return read;
      if (next.action == Step::Action::give_up) break;
      control.sleep(next.delay);
    }
    // Acknowledgements are asked for BEFORE the last read, by the declared lag: what they cover must be visible to it, and what is acknowledged
    // later says nothing of it.
    const std::optional<Acknowledged> acked = acknowledged(read.about, plan.relation, control);
    if (acked && acked->sequence >= token.epoch.sequence) control.sleep(policy.max_visibility_lag);
    observe(source, plan, at, /*last=*/true, control, read);
    const bool own_token = read.proof.snapshot && !read.proof.ids;  // then it is behind by its own word, whatever was acknowledged
    if (acked && acked->sequence >= token.epoch.sequence && !own_token)
      read.acknowledgement = acked->server == read.proof.server.name ? Acknowledgement::here : Acknowledgement::elsewhere;
    // Without a digest nothing says that rows are missing: a table with no row at the epoch never shows one. The acknowledgement is the witness then.
    if (!read.expected && read.acknowledgement == Acknowledgement::here) {
      read.witness = Witness::acked;
      read.completeness = Completeness::proved;
    }
    return read;
  }

  /// One cheap look: may the follower show everything by now? Good for deciding when to read, and for nothing else. Errors: as `read`.
  template <Follower F>
  bool seems_complete(F& follower, const Query& query, const Control& control) const {
    Read read;
    const AsOf at = begin(query.plan(), {}, read);
    auto&& source = readable(follower);
    return source.visible(query.plan().relation, at, control).count >= read.expected->count;
  }

  /// What a proved reading of a follower will be: who it is, as of what it is read, and what the token expects; no rows, no proof. Errors: as `read`.
  template <Follower F>
  std::pair<Read, AsOf> expect(F& follower, const Query& query, const Control& control) const {
    query.plan().validate();
    Read read;
    AsOf at = begin(query.plan(), {}, read);
    read.about = readable(follower).about(query.plan().relation, control);
    require_stream(read.about, token_of(query.plan().relation));
    return {std::move(read), std::move(at)};
  }

  /// Reads a follower once, without waiting, and hands its cursor to `body`, which pulls it to its end; what `body` saw is worth something only if the
  /// reading that is returned is `proved`. Its rows are not in it. Errors: as `read`.
  template <Follower F, class Body>
  Read read_through(F& follower, const Query& query, const Control& control, Body body) const {
    auto [read, at] = expect(follower, query, control);
    auto&& source = readable(follower);
    AnyCursor cursor = source.open(query.plan(), at, Form::plain, control);
    body(*cursor);
    read.proof = cursor->proof();
    // A source may prove itself by a token of its own instead: `read` knows that way.
    read.completeness = read.proof.ids ? judge_ids(read) : Completeness::unknown;
    return read;
  }

  /// Reads once more as `first` was read, at the same epoch and without waiting: what a true cut shows cannot heal.
  template <Follower F>
  Read read_again(F& follower, const Query& query, const Read& first, const Control& control = {}) const {
    auto&& source = readable(follower);
    Read again = first;
    const AsOf at = first.witness == Witness::at_rest ? AsOf{.at_rest = true} : as_of(token_of(query.plan().relation));
    take(source, query.plan(), at, first.form, control, again);
    // A replay that came in between is harmless here too.
    if (first.witness == Witness::id_digest && first.form == Form::plain && again.proof.ids != first.proof.ids)
      take(source, query.plan(), at, Form::distinct, control, again);
    if (first.proof.server != again.proof.server)
      throw Failure(Reason::replica_changed, "the second pass was answered by " + again.proof.server.name + " and the first by " + first.proof.server.name +
                                                 "; point the check at one server")
          .retry();
    if (first.witness == Witness::id_digest && again.proof.ids) again.completeness = judge_ids(again);
    return again;
  }

  /// Is the ledger still the one that was cut? A restored one may lack what a follower was held against, so nothing may be called wrong by it.
  /// Errors: `epoch_regressed`, and whatever the anchor throws.
  void require_standing(const Control& control) const {
    const Snapshot now = anchor_->snapshot({}, control);
    std::vector<Token> tokens = now.further;
    if (now.token) tokens.push_back(*now.token);
    bool standing = now.timeline == timeline_;
    for (const Token& was : tokens_)
      for (const Token& is : tokens) standing &= is.stream.id != was.stream.id || is.epoch >= was.epoch;
    if (standing) return;
    throw Failure(Reason::epoch_regressed, "the ledger was restored or failed over while it was compared; find out what was lost, and check again").retry();
  }

 private:
  struct Bare {};  ///< so that no caller's braces can mean this one
  EpochCut(Bare, Source& anchor, const Control& control) : anchor_(&anchor), taken_at_(control.clock->now()) {}

  void adopt(const Snapshot& snapshot) {
    if (snapshot.token) tokens_.push_back(*snapshot.token);
    tokens_.insert(tokens_.end(), snapshot.further.begin(), snapshot.further.end());
    for (const Token& token : tokens_) require_sound(token);
    timeline_ = snapshot.timeline;
    server_ = snapshot.server;
  }

  /// One relation, one stream: the token that declares the relation, else the main one.
  const Token& token_of(const std::string& relation) const {
    const Token* found = nullptr;
    for (const Token& token : tokens_) {
      if (!declared_ids(token, relation)) continue;
      if (found != nullptr)
        throw Failure(Reason::configuration, "relation \"" + relation + "\" is declared by the tokens of stream " + found->stream.id + " and of stream " +
                                                 token.stream.id + ", but epochs of two streams never compare; let each stream fill relations of its own");
      found = &token;
    }
    return found != nullptr ? *found : tokens_.front();
  }

  static std::optional<Digest> declared_ids(const Token& token, const std::string& relation) {
    for (const RelationToken& r : token.relations)
      if (r.relation == relation) return r.ids;
    return std::nullopt;
  }

  /// A seam list that does not lead to the token's generation was read at another moment, or somebody edited it.
  static void require_sound(const Token& token) {
    for (std::size_t i = 0; i < token.seams.size(); ++i) {
      const Seam& seam = token.seams[i];
      const bool last = i + 1 == token.seams.size();
      if (seam.sequence == 0 || seam.to <= seam.from ||
          (last ? seam.to != token.generation : seam.to != token.seams[i + 1].from || seam.sequence > token.seams[i + 1].sequence))
        throw Failure(Reason::schema, "the seams of authority \"" + token.authority + "\" don't lead to its token's generation " +
                                          std::to_string(token.generation) + " (from " + std::to_string(seam.from) + " to " + std::to_string(seam.to) +
                                          " at sequence " + std::to_string(seam.sequence) + "); correct the seam table");
    }
    if (!token.seams.empty() && token.stream.generation.empty())
      throw Failure(Reason::configuration, "authority \"" + token.authority + "\" changed hands, so rows of a deposed writer may follow its seam, and stream " +
                                               token.stream.id + " does not name the column that says which generation wrote a row; name it");
  }

  /// What can be refused before anyone is asked. A relation whose digest the token carries is proved by it, whatever else the policy would believe.
  AsOf begin(const QueryPlan& plan, const HorizonPolicy& policy, Read& read) const {
    if (tokens_.empty())
      throw Failure(Reason::missing_token,
                    "the anchor hands out no token, so \"" + plan.relation + "\" can't be read as of an epoch; name its token table and stream");
    const Token& token = token_of(plan.relation);
    if (plan.history == History::current) {
      read.stream = token.stream.id, read.epoch = token.epoch;
      return as_of(token);
    }
    if (policy.witness == Witness::max_version && !token.stream.acknowledged)
      throw Failure(Reason::configuration, "stream " + token.stream.id +
                                               " does not declare that rows are acknowledged before its token commits, so the newest " +
                                               "visible row proves nothing; use the id_digest witness");
    if (policy.witness == Witness::snapshot || policy.witness == Witness::at_rest)
      throw Failure(Reason::configuration, "a horizon policy needs the witness id_digest, acked or max_version");
    read.expected = policy.witness == Witness::id_digest ? token.relation(plan.relation).ids : declared_ids(token, plan.relation);
    read.witness = read.expected ? Witness::id_digest : policy.witness;
    read.completeness = Completeness::short_of;
    read.stream = token.stream.id;
    read.epoch = token.epoch;
    return as_of(token);
  }

  static void require_stream(const FollowerInfo& about, const Token& token) {
    if (about.stream.empty() || about.stream == token.stream.id) return;
    throw Failure(Reason::wrong_stream, about.relation + " is filled from stream \"" + about.stream + "\", but the anchor's token counts stream \"" +
                                            token.stream.id + "\"; epochs of two streams never compare, point the check at the right store");
  }

  /// State has no history: only a source that stands at the epoch itself, and says so by a token of its own in the same snapshot, can show it.
  /// Looks again, within the policy, while it stands somewhere else.
  template <class Source_>
  void read_state(Source_& source, const QueryPlan& plan, const AsOf& at, const HorizonPolicy& policy, const Control& control, Read& read) const {
    for (read.attempts = 1, read.full_reads = 0;; ++read.attempts) {
      try {
        take(source, plan, at, Form::plain, control, read);
        if (read.proof.snapshot && *read.proof.snapshot == at.epoch && !read.about.stream.empty()) return;
        throw Failure(Reason::not_as_of, "current(\"" + plan.relation +
                                             "\") has no history to read as of an epoch, and its source has no token that stands there; use events() or "
                                             "latest(), or at_rest(source)");
      } catch (const Failure& failure) {
        if (failure.kind != Reason::not_as_of || !failure.retryable) throw;
        const Step next = step(policy, Reached::no, control.clock->now() - taken_at_, read.attempts - 1);
        if (next.action != Step::Action::wait) throw;
        control.sleep(next.delay);
      }
    }
  }

  template <class Source_>
  static void take(Source_& source, const QueryPlan& plan, const AsOf& at, Form form, const Control& control, Read& read) {
    std::tie(read.rows, read.proof) = collect(source.open(plan, at, form, control), control);
    read.form = form;
    ++read.full_reads;
  }

  /// One look at the follower. The first is a whole read, since a healthy follower is there already; later ones read only if a cheap look says that it may pay.
  template <class Source_>
  Reached look(Source_& source, const QueryPlan& plan, const AsOf& at, const HorizonPolicy& policy, const Control& control, Read& read,
               std::uint64_t& count_when_read) const {
    if (read.witness != Witness::id_digest || read.full_reads > 0) {
      if (read.full_reads >= policy.full_reads_max) return Reached::no;
      const Visible seen = source.visible(plan.relation, at, control);
      if (!may_be_there(seen, read, plan.relation, count_when_read, control)) return Reached::no;
      count_when_read = seen.count;
      read.proof.server = seen.server;
      // What is acknowledged may stay invisible for the declared lag, and without a digest nothing but time shows that it has come.
      if (read.witness != Witness::id_digest) control.sleep(policy.max_visibility_lag);
    }
    observe(source, plan, at, /*last=*/false, control, read);
    switch (read.completeness) {
      case Completeness::proved:
      case Completeness::proved_distinct: return Reached::yes;
      case Completeness::surplus: return Reached::refuted;
      default: return Reached::no;
    }
  }

  /// With a digest: enough rows, and not the ones that were too few the last time. Without one, this look IS the witness.
  bool may_be_there(const Visible& seen, const Read& read, const std::string& relation, std::uint64_t count_when_read, const Control& control) const {
    if (read.witness == Witness::id_digest) return seen.count >= read.expected->count && seen.count != count_when_read;
    const Token& token = token_of(relation);
    if (read.witness == Witness::max_version) return seen.newest >> token.stream.leg_bits >= token.epoch.sequence;
    const std::optional<Acknowledged> acked = acknowledged(read.about, relation, control);
    return acked && acked->sequence >= token.epoch.sequence && acked->server == seen.server.name;
  }

  /// A whole read and what it proves. Over DISTINCT event ids where the plain rows can't be what the ledger committed: replays are harmless.
  /// Fewer rows than events can't become whole by taking duplicates away, so that is left to the `last` read, which has to name keys.
  template <class Source_>
  void observe(Source_& source, const QueryPlan& plan, const AsOf& at, bool last, const Control& control, Read& read) const {
    if (read.witness != Witness::id_digest) {
      const Server seen = read.proof.server;
      take(source, plan, at, Form::distinct, control, read);
      if (!last && read.proof.server != seen)
        throw Failure(Reason::replica_changed,
                      "the horizon was seen on " + seen.name + " but " + read.proof.server.name + " answered the read; point the check at one server")
            .retry();
      if (!last) read.completeness = Completeness::proved;
      return;
    }
    take(source, plan, at, Form::plain, control, read);
    if (!read.proof.ids && read.proof.snapshot) {  // no digest, but a token of its own, read in the same snapshot
      if (read.about.stream.empty())
        throw Failure(Reason::configuration,
                      read.about.relation + " has a token of its own but does not say which stream that counts, so it proves nothing; have its source say so");
      read.completeness = *read.proof.snapshot < token_of(plan.relation).epoch ? Completeness::short_of : Completeness::proved;
      if (read.completeness == Completeness::proved) read.witness = Witness::snapshot;
      return;
    }
    read.completeness = judge_ids(read);
    if (read.completeness != Completeness::proved && (last || read.proof.ids->count >= read.expected->count)) {
      take(source, plan, at, Form::distinct, control, read);
      read.completeness = judge_ids(read);
    }
  }

  static Completeness judge_ids(const Read& read) {
    if (!read.proof.ids)
      throw Failure(Reason::configuration,
                    read.about.relation + " was read without a digest of its event ids, so nothing proves it complete; its source must compute one");
    if (*read.proof.ids == *read.expected) return read.form == Form::distinct ? Completeness::proved_distinct : Completeness::proved;
    return read.form == Form::distinct && read.proof.ids->count > read.expected->count ? Completeness::surplus : Completeness::short_of;
  }

  /// Of the pipeline that fills the follower: its own word if it has one, else the cut's authority.
  std::optional<Acknowledged> acknowledged(const FollowerInfo& about, const std::string& relation, const Control& control) const {
    const Token& token = token_of(relation);
    return anchor_->acknowledged(token, about.authority.empty() ? token.authority : about.authority, relation, control);
  }

  Source* anchor_;
  Millis taken_at_;
  std::vector<Token> tokens_;  // the main stream's first
  std::uint64_t timeline_ = 0;
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
