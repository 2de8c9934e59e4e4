// The authority's row once more, written from docs/splice/README.md and not from the library's store: the oracle of that one, and with a guard dropped
// the store of a protocol that must go wrong.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/operate/memory_authority.hpp>

namespace splice_tests {

using namespace epochcut;

/// What the statements insist on. A test drops one.
struct Guards {
  bool generation = true;  ///< fence: nobody commits for a generation that has ended
  bool previous = true;    ///< fence: nobody commits what another has committed already
  bool stop = true;        ///< fence: nobody passes the seam
  bool seam = true;        ///< flip: only where the owner has ended
  bool chain = true;       ///< flip: only to a candidate that has derived the same
  bool caught_up = true;   ///< flip: and has come that far, for this splice
  bool ahead = true;       ///< arm: no seam behind the owner
  bool verdict = true;     ///< arm: only who was proved
  bool once = true;        ///< arm: an arm that comes late changes nothing
};

class TableAuthority {
 public:
  explicit TableAuthority(std::string owner, Clock& clock, Guards guards = {}) : guards_(guards), clock_(&clock) { row.owner = std::move(owner); }

  AuthorityRow read() const {
    AuthorityRow out;
    out.generation = row.generation, out.owner = row.owner, out.committed_seq = row.token, out.chain = row.chain, out.arms = row.arms;
    if (row.stop_at != 0) out.marker = StopMarker{row.stop_at, row.successor, row.splice_id};
    if (held()) out.hold_at = row.hold_at;
    return out;
  }

  bool fence(std::string_view me, std::uint64_t generation, std::uint64_t previous, std::uint64_t token, const Chain& chain) {
    const bool ok = (!guards_.generation || (row.generation == generation && row.owner == me)) && (!guards_.previous || row.token == previous) &&
                    (!guards_.stop || row.stop_at == 0 || token < row.stop_at) && (!held() || token <= row.hold_at) && token > previous;
    if (ok) row.token = token, row.chain = chain;
    return ok;
  }

  bool arm(const ArmRequest& request) {
    if (row.generation != request.generation || row.stop_at != 0 || row.owner == request.successor) return false;
    if (guards_.ahead && !(row.token < request.stop_at)) return false;
    if (guards_.once && request.arms.has_value() && *request.arms != row.arms) return false;
    if (guards_.once && seams_of.count(request.splice_id) != 0) return false;
    bool go = false;
    for (auto v = verdicts.rbegin(); v != verdicts.rend(); ++v)
      if (v->candidate == request.successor && v->build_id == request.build_id) {
        go = v->go && v->sequence >= request.verdict_seq_min && v->at + request.verdict_age_max >= clock_->now();
        break;
      }
    if (guards_.verdict && !go) return false;
    row.stop_at = request.stop_at, row.successor = request.successor, row.splice_id = request.splice_id;
    armed_build = request.build_id;
    ++row.arms;
    return true;
  }

  bool disarm(const std::string& id) {
    if (row.stop_at == 0 || row.splice_id != id) return false;
    row.stop_at = 0, row.successor.clear(), row.splice_id.clear();
    return true;
  }

  bool record(const std::string& id, std::string_view candidate, std::uint64_t sequence, const Chain& chain, std::string_view build_id) {
    if (row.stop_at == 0 || row.splice_id != id || row.successor != candidate || armed_build != build_id) return false;
    recorded[id] = {sequence, chain};
    return true;
  }

  bool flip(const std::string& id) {
    if (row.stop_at == 0 || row.splice_id != id) return false;
    if (guards_.seam && row.token != row.stop_at - 1) return false;
    const auto it = recorded.find(id);
    const bool there = it != recorded.end() && it->second.first == (guards_.seam ? row.token : row.stop_at - 1);
    if (guards_.caught_up && !there) return false;
    if (guards_.chain && guards_.seam && there && it->second.second != row.chain) return false;
    seams.push_back({id, row.generation, row.generation + 1, row.stop_at});
    seams_of[id] = seams.back();
    ++row.generation;
    row.owner = row.successor;
    row.stop_at = 0, row.successor.clear(), row.splice_id.clear();
    return true;
  }

  std::optional<SeamRow> seam(const std::string& id) const {
    const auto it = seams_of.find(id);
    if (it == seams_of.end()) return std::nullopt;
    return it->second;
  }

  bool hold(std::uint64_t at, Millis at_most) {
    if (at < row.token) return false;
    row.hold_at = at, row.hold_until = clock_->now() + at_most, row.holds = true;
    return true;
  }
  void release() { row.holds = false; }

  struct Row {  // 0 and "" stand for NULL
    std::uint64_t generation = 1, token = 0, stop_at = 0, hold_at = 0, arms = 0;
    Millis hold_until{0};
    bool holds = false;
    Chain chain;
    std::string owner, successor, splice_id;
  } row;
  std::vector<RecordedVerdict> verdicts;
  std::vector<SeamRow> seams;
  std::map<std::string, std::pair<std::uint64_t, Chain>> recorded;
  std::string armed_build;

 private:
  bool held() const { return row.holds && clock_->now() < row.hold_until; }

  Guards guards_;
  Clock* clock_;
  std::map<std::string, SeamRow> seams_of;
};

static_assert(AuthorityStore<TableAuthority>);

/// The rows of event `n`, as a build derives them: `wrong_at` is the event at which it errs.
inline std::int64_t amount_of(std::uint64_t n, std::uint64_t wrong_at) { return static_cast<std::int64_t>(n * n % 97) + 1 + (n == wrong_at ? 1 : 0); }

/// A fold of the stream so far.
struct Fold {
  std::uint64_t sequence = 0;
  std::int64_t balance = 0;
  Chain chain;

  void apply(std::uint64_t wrong_at) {
    ++sequence;
    const std::int64_t amount = amount_of(sequence, wrong_at);
    balance += amount;
    RowHash rows;
    rows.absorb(static_cast<std::uint64_t>(amount));
    chain = extend(chain, sequence, rows);
  }
  friend bool operator==(const Fold&, const Fold&) = default;
};

}  // namespace splice_tests
