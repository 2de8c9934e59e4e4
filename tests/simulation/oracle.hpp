// Is this verdict right? Judged from the history alone: which rows stood where at the moments at which the library read.
// It follows the decision table of docs/concepts.md over SETS of rows, and holds each verdict against what it claims.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "simulation/checker.hpp"

namespace simulation {

/// One question of one check, with its outcome.
struct Asked {
  const Check* check;
  const Question* question;
  const Endpoint* left;  ///< null: read in the ledger's own snapshot
  const Endpoint* right;
  const Outcome* outcome;
};

class Oracle {
 public:
  explicit Oracle(World& world) : world_(&world) {}

  /// Empty if the verdict is right, else what is wrong with it.
  std::string judge(const Asked& asked) {
    a_ = &asked;
    const Outcome& o = *asked.outcome;
    const Check& check = *asked.check;
    const bool ledger_struck = check.ledger_struck;
    const bool struck = ledger_struck || (asked.left && asked.left->struck()) || (asked.right && asked.right->struck());
    if (struck != (o.status == Status::error && o.reason == Reason::connection)) return struck ? "an outage was not reported" : "there was no outage";
    if (struck) return "";
    if (o.status == Status::error && o.reason == Reason::cancelled) return check.cancel.requested() ? "" : "nobody cancelled it";
    if (o.status == Status::error && o.reason == Reason::timeout) return check.deadline && world_->now() >= *check.deadline ? "" : "its time was not up";
    if (!check.cut) return "there was no snapshot, and no reason why";
    cut_ = &*check.cut;
    if (const auto lineage = standing(); o.reason == Reason::epoch_regressed && o.epoch)
      return lineage && *lineage != cut_->lineage ? "" : "the ledger still stands";
    if (!o.epoch != (o.reason == Reason::epoch_regressed) || (o.epoch && o.epoch->sequence != cut_->sequence)) return "the epoch is not the snapshot's";
    const bool regressed = check.checker->remembers && check.checker->newest_sequence > cut_->sequence;
    if (regressed || o.reason == Reason::epoch_regressed) return expect(o, {{Status::error, Reason::epoch_regressed}}, regressed ? "the token went back" : "");
    const bool follows = asked.left || asked.right;
    if (follows && check.checker->witness == Witness::max_version && !world_->acknowledged_path)
      return expect(o, {{Status::error, Reason::configuration}}, "the writer does not acknowledge");
    if (follows && check.checker->witness == Witness::id_digest && !world_->digests)
      return expect(o, {{Status::error, Reason::undeclared_relation}}, "the token has no digest");
    if (o.reason == Reason::replica_changed) return o.status == Status::error && replica_changed() ? "" : "one server answered throughout";
    return judge_reads();
  }

 private:
  using Verdict = std::pair<Status, Reason>;
  struct View {
    Status status = Status::pass;
    Reason reason = Reason::none;
    bool unconfirmed = false;
    bool weak = false, conflict = false, empty = true, ledger_empty = true;
    Answer answer;
    std::vector<std::uint64_t> ids;      ///< there, each once
    std::vector<std::uint64_t> missing;  ///< committed, not there
    const Call* read = nullptr;
    bool gave_up = false;         ///< it had to use up its budget to say so
    std::optional<Call> asked{};  ///< for acknowledgements, at the end
    std::string mistake;
  };

  const History& history() const { return world_->history; }

  static std::string text(Verdict v) { return std::string(to_string(v.first)) + " " + std::string(to_string(v.second)); }
  static std::string expect(const Outcome& o, const std::vector<Verdict>& right, const std::string& because) {
    std::string list;
    for (const Verdict& v : right) {
      if (v == Verdict{o.status, o.reason}) return "";
      list += (list.empty() ? "" : " or ") + text(v);
    }
    return "it must be " + list + (because.empty() ? "" : ": " + because);
  }

  /// What each look ended with: between two looks the library waits, within one it may read twice.
  static std::vector<const Call*> opens(const Endpoint& e) {
    std::vector<const Call*> found;
    for (const Call& c : e.calls()) {
      if (c.kind != Call::Kind::open) continue;
      if (!found.empty() && found.back()->slept == c.slept) found.pop_back();
      found.push_back(&c);
    }
    return found;
  }

  bool replica_changed() const {
    for (const Endpoint* e : {a_->left, a_->right}) {
      if (e == nullptr) continue;
      const Call* before = nullptr;
      for (const Call& c : e->calls()) {
        if (c.kind != Call::Kind::open && c.kind != Call::Kind::visible) continue;
        if (before != nullptr && c.kind == Call::Kind::open && before->store != c.store) return true;
        before = &c;
      }
    }
    return false;
  }

  /// What ledger it found when it asked again, at the end; none if it did not.
  std::optional<std::size_t> standing() const {
    for (const Endpoint* e : {a_->right, a_->left})
      if (e != nullptr && !e->calls().empty() && e->calls().back().kind == Call::Kind::standing) return e->calls().back().lineage;
    return std::nullopt;
  }

  std::string judge_reads() {
    const Outcome& o = *a_->outcome;
    const Shape shape = a_->question->shape;
    const View left = view(a_->left, true, false), right = view(a_->right, false, false);
    for (const View* v : {&left, &right})
      if (!v->mistake.empty()) return v->mistake;
    bool unconfirmed = false;
    std::vector<Verdict> verdicts = decide(left, right, unconfirmed);
    Expected differences = compare_answers(shape, left.answer, right.answer, a_->question->absent_is_zero);
    bool conflict = left.conflict || right.conflict;
    View left_2, right_2;
    if (unconfirmed != o.confirmed)
      return unconfirmed ? "a fail that nothing proves was not confirmed: " + text({o.status, o.reason}) : "there was no need to read again";
    if (o.confirmed) {
      left_2 = view(a_->left, true, true), right_2 = view(a_->right, false, true);
      for (const auto& [first, again] : {std::pair{&left, &left_2}, std::pair{&right, &right_2}}) {
        if (!again->mistake.empty()) return again->mistake;
        if (first->read != nullptr && first->read->store != again->read->store) return "the second pass was answered by another replica";
        if (first->read != nullptr && again->read->begun < first->read->at.time + world_->lag) return "the second pass came before the declared lag was over";
      }
      const Expected before = std::exchange(differences, compare_answers(shape, left_2.answer, right_2.answer, a_->question->absent_is_zero));
      const bool same_ids = left.ids == left_2.ids && right.ids == right_2.ids;
      const bool identical = same_ids && before.differences == differences.differences;
      conflict |= left_2.conflict || right_2.conflict;
      verdicts = {{Status::error, Reason::cut_violated}};
      // Which of two conflicting rows is shown is an accident, so the two passes may differ or not.
      if (identical || (same_ids && conflict)) {
        const std::vector<Verdict> again = decide(left_2, right_2, unconfirmed);
        verdicts = conflict ? verdicts : again;
        if (conflict) verdicts.insert(verdicts.end(), again.begin(), again.end());
      }
    }
    if (std::string wrong = expect(o, verdicts, ""); !wrong.empty()) return wrong;
    const View& l = o.confirmed ? left_2 : left;
    const View& r = o.confirmed ? right_2 : right;
    for (const View* v : {&l, &r})
      if (o.status == Status::fail && v->read != nullptr && v->read->lineage != cut_->lineage) return "it holds a follower against a ledger that is no more";
    if (std::string wrong = claims(o, l, r, conflict, differences); !wrong.empty()) return wrong;
    if (std::string wrong = blind(o, l, r); !wrong.empty()) return wrong;
    note(o, left, right, l, r);
    return patience(o, left, right);
  }

  /// One side as it truly was when it was read. `second`: by the second pass.
  View view(const Endpoint* e, bool is_left, bool second) const {
    const Shape shape = a_->question->shape;
    const Table table = table_of(shape);
    const Checker& checker = *a_->check->checker;
    View v;
    const std::vector<Fact> committed = history().committed(table, *cut_);
    if (e == nullptr) {
      v.answer = ledger_answer(shape, history(), *cut_, !is_left);
      v.empty = v.answer.empty();
      v.ledger_empty = table == positions && world_->digests ? committed.empty() : v.empty;
      return v;
    }
    const std::vector<const Call*> reads = opens(*e);
    const bool again = a_->outcome->confirmed;
    if (reads.size() < (again ? 2u : 1u)) return v.mistake = "it judged without reading", v;
    v.read = again && !second ? reads[reads.size() - 2] : reads.back();
    const bool digest = world_->digests;
    const std::vector<Fact> facts = history().seen(v.read->store, table, v.read->at, *cut_);
    std::vector<Fact> distinct;
    for (const Fact& f : facts) {
      if (distinct.empty() || distinct.back().id != f.id)
        distinct.push_back(f);
      else
        v.conflict |= projected(shape, distinct.back().content) != projected(shape, f.content);
    }
    for (const Fact& f : distinct) v.ids.push_back(f.id);  // a replay changes nothing, whenever it comes
    std::size_t common = 0;
    for (std::size_t i = 0, j = 0; i < committed.size(); ++i) {
      while (j < distinct.size() && distinct[j].id < committed[i].id) ++j;
      if (j < distinct.size() && distinct[j].id == committed[i].id)
        ++common;
      else
        v.missing.push_back(committed[i].id);
    }
    const bool complete = v.missing.empty() && common == distinct.size();
    v.answer = answer(shape, distinct);
    v.empty = v.answer.empty();
    v.ledger_empty = digest ? committed.empty() : v.empty;

    if (v.read->store == store_shadow) v.ids.clear();  // it shows none, only how far it is
    if (v.read->store == store_shadow && digest) {     // its own token speaks
      v.conflict = false;
      if (v.read->shadow_sequence >= cut_->sequence) return v;
      v.status = Status::error, v.reason = Reason::horizon_not_proven, v.gave_up = true;
      return v;
    }
    if (!second && v.read->form == Form::plain && (facts.size() != distinct.size() || !complete))
      return v.mistake = "it took a plain reading that proves nothing", v;
    v.weak = !digest;
    const Call* look = nullptr;
    const bool reached = digest ? complete : weak_reached(*e, *v.read, checker.witness, look);
    if (!digest && reached && look->store != first_pass_read(*e, *v.read)->store) return v.mistake = "it was proved on one replica and read from another", v;
    const bool proved = reached || (!digest && acknowledged(*e, *v.read) == Acknowledgement::here);
    if (!digest) v.asked = reached ? std::nullopt : last_asked(*e, *v.read);
    v.gave_up = !reached && !(digest && distinct.size() > committed.size());
    if (digest && v.gave_up) v.asked = last_asked(*e, *v.read);
    if (v.conflict) {
      v.status = Status::fail, v.reason = Reason::conflicting_rows, v.unconfirmed = !(digest && complete);
    } else if (proved) {
      v.status = Status::pass;
    } else if (digest && distinct.size() > committed.size()) {
      v.status = Status::fail, v.reason = Reason::extra_rows, v.unconfirmed = true;
    } else {
      switch (acknowledged(*e, *v.read)) {
        case Acknowledgement::here: v.status = Status::fail, v.reason = Reason::missing_rows, v.unconfirmed = true; break;
        case Acknowledgement::elsewhere: v.status = Status::error, v.reason = Reason::replica_lag; break;
        case Acknowledgement::unknown: v.status = Status::error, v.reason = Reason::horizon_not_proven; break;
      }
    }
    return v;
  }

  /// The last question for acknowledgements before the first pass's last read.
  std::optional<Call> last_asked(const Endpoint& e, const Call& read) const {
    std::optional<Call> asked;
    const Call* first_pass_end = first_pass_read(e, read);
    for (const Call& c : e.calls()) {
      if (&c == first_pass_end) break;
      if (c.kind == Call::Kind::acknowledged) asked = c;
    }
    return asked;
  }
  /// The first pass's last read, whichever pass `read` is of.
  const Call* first_pass_read(const Endpoint& e, const Call&) const {
    const auto reads = opens(e);
    return a_->outcome->confirmed ? reads[reads.size() - 2] : reads.back();
  }
  Acknowledgement acknowledged(const Endpoint& e, const Call& read) const {
    const auto asked = last_asked(e, read);
    if (!asked || !asked->acked || asked->acked->sequence < cut_->sequence || read.store == store_shadow) return Acknowledgement::unknown;
    return asked->acked->server == store_names[read.store] ? Acknowledgement::here : Acknowledgement::elsewhere;
  }
  /// Did the last look show what the weaker witness believes?
  bool weak_reached(const Endpoint& e, const Call& read, Witness witness, const Call*& look) const {
    const Call* answer = nullptr;
    const Call* end = first_pass_read(e, read);
    for (const Call& c : e.calls()) {
      if (&c == end) break;
      if (c.kind == Call::Kind::visible) look = &c, answer = nullptr;
      if (c.kind == Call::Kind::acknowledged && look != nullptr && answer == nullptr) answer = &c;
    }
    if (look == nullptr) return false;
    if (witness == Witness::acked)
      return answer != nullptr && answer->acked && answer->acked->sequence >= cut_->sequence && answer->acked->server == store_names[look->store];
    std::uint64_t newest = 0;
    for (const Row& row : history().rows[look->store][table_of(a_->question->shape)])
      if (row.visible(look->at) && (!history().generations || row.content.generation == cut_->owner(history().sequence(row.id))))
        newest = std::max(newest, row.id);
    return history().sequence(newest) >= cut_->sequence;
  }

  std::vector<Verdict> decide(const View& left, const View& right, bool& unconfirmed) const {
    const Status worst = std::max(left.status, right.status);
    std::vector<Verdict> verdicts;
    if (worst != Status::pass) {
      unconfirmed = true;
      for (const View* v : {&left, &right})
        if (v->status == worst) verdicts.push_back({worst, v->reason}), unconfirmed &= v->unconfirmed;
      return verdicts;
    }
    unconfirmed = false;
    if (left.empty && right.empty) return {{Status::skipped, left.ledger_empty && right.ledger_empty ? Reason::empty : Reason::nothing_selected}};
    if (compare_answers(a_->question->shape, left.answer, right.answer, a_->question->absent_is_zero).differences.empty())
      return {{Status::pass, Reason::none}};
    unconfirmed = left.weak || right.weak;
    return {{Status::fail, Reason::differs}};
  }

  /// What the outcome says beyond its status.
  std::string claims(const Outcome& o, const View& left, const View& right, bool conflict, const Expected& expected) const {
    const bool told = o.status != Status::error || o.reason == Reason::cut_violated;
    if (!told) return o.counts.differences() == 0 && o.differences.empty() ? "" : "an incomplete side's differences were told";
    const Shape shape = a_->question->shape;
    const Claim claim = o.status != Status::pass ? Claim::nothing : shape == listing || shape == latest_rows ? Claim::every_value : Claim::aggregate;
    if (o.claim != claim) return "it claims " + std::string(to_string(o.claim));
    if (o.reason == Reason::missing_rows || (o.reason == Reason::differs && (left.weak || right.weak)))
      for (const auto& [v, e] : {std::pair{&left, a_->left}, std::pair{&right, a_->right}}) {
        if (v->missing.empty() || e == nullptr || (o.reason == Reason::missing_rows && v->reason != Reason::missing_rows)) continue;
        bool only_late = true;
        for (const std::uint64_t id : v->missing) only_late &= history().late(v->read->store, table_of(shape), v->read->at, id);
        if (only_late) return "rows that are only late were called a fail";
      }
    if (conflict) return "";  // what is shown of a conflict is an accident
    if (o.counts.left != expected.left || o.counts.right != expected.right || o.counts.equal != expected.equal ||
        o.counts.differences() != expected.differences.size())
      return "its counts are wrong: " + std::to_string(o.counts.differences()) + " differences of " + std::to_string(expected.differences.size());
    const std::size_t kept = std::min(expected.differences.size(), a_->check->checker->differences_max);
    if (o.differences.size() != kept) return "it tells of " + std::to_string(o.differences.size()) + " differences";
    for (std::size_t i = 0; i < kept; ++i) {
      const Difference& d = o.differences[i];
      Expected::One one{d.kind, key_of(d), {}, {}};
      for (const epochcut::Cell& c : d.left) one.left.emplace_back(c.name, cell_of(c.value.value()));
      for (const epochcut::Cell& c : d.right) one.right.emplace_back(c.name, cell_of(c.value.value()));
      if (one != expected.differences[i]) return "difference " + std::to_string(i) + " is not the true one: " + to_text(d);
    }
    return "";
  }

  /// A weaker witness can't see a row that was lost, and nobody holds that against it; but for one that is only late it has to wait.
  std::string blind(const Outcome& o, const View& left, const View& right) const {
    if (o.status != Status::pass) return "";
    for (const View* v : {&left, &right})
      for (const std::uint64_t id : v->missing)
        if (v->read != nullptr && v->read->store != store_shadow && history().late(v->read->store, table_of(a_->question->shape), v->read->at, id))
          return "it passed while row " + std::to_string(id) + " was only late";
    return "";
  }

  /// It waits as long as it was told, and no longer; and never less than the lag after an acknowledgement.
  std::string patience(const Outcome& o, const View& left, const View& right) const {
    const Millis end = a_->check->start + a_->check->checker->budget;
    for (const auto& [v, e] : {std::pair{&left, a_->left}, std::pair{&right, a_->right}}) {
      if (e == nullptr) continue;
      const Millis slept = e->calls().front().slept;
      for (const Call& c : e->calls())
        if (c.kind == Call::Kind::visible && c.slept > slept && c.begun > end) return "it looked again after its budget was used up";
      if (v->gave_up && v->read->at.time < end) return "it gave up before its budget was used up";
      if (v->gave_up && v->asked && v->asked->acked && v->asked->acked->sequence >= cut_->sequence && v->read->at.time < v->asked->at.time + world_->lag)
        return "it did not give an acknowledged row its lag";
    }
    return o.took < Millis{0} ? "it took less than no time" : "";
  }

  void note(const Outcome& o, const View& left, const View& right, const View& l, const View& r) {
    Stats& stats = world_->stats();
    const auto seen = [&](Path p) { ++stats.path[p]; };
    if (left.reason == Reason::replica_lag || right.reason == Reason::replica_lag) world_->hit(acked_elsewhere);
    if (o.status == Status::pass) {
      bool waited = false, at_once = a_->right != nullptr;
      for (const SideReport* side : {&o.left, &o.right}) {
        waited |= side->attempts > 1, at_once &= side->attempts <= 1;
        if (side->completeness == Completeness::proved_distinct) seen(passed_distinct);
        if (side->witness == Witness::acked) seen(passed_by_ack);
        if (side->witness == Witness::max_version) seen(passed_by_newest);
        if (side->server.name == store_names[store_shadow] && side->witness == Witness::snapshot) seen(passed_by_snapshot);
      }
      if (waited) seen(passed_after_wait);
      if (at_once) seen(passed_first_look);
      if (a_->left) seen(passed_two_followers);
      if (!a_->left && !a_->right) seen(passed_in_one_snapshot);
      if (!l.missing.empty() || !r.missing.empty()) ++stats.blind_passes;
    }
    if (o.status == Status::fail && o.confirmed) seen(failed_confirmed);
    if (o.reason == Reason::cut_violated) seen(healed_between);
  }

  World* world_;
  const Asked* a_ = nullptr;
  const Cut* cut_ = nullptr;
};

}  // namespace simulation
