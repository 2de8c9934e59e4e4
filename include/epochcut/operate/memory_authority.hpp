// What does an authority's row do, when no server is there?
// Layer: operate. The meaning of the statements in source/authority_sql.hpp, for tests and simulations. Every call is atomic, and none of them locks:
// one thread, or the caller's own lock. Source: docs/splice/README.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/splice.hpp>

namespace epochcut {

/// What a gate has said of a candidate.
struct RecordedVerdict {
  std::string candidate, build_id;
  bool go = false;
  std::uint64_t sequence = 0;  ///< of its last cut
  Millis at{0};                ///< on the store's clock
};

class MemoryAuthority {
 public:
  /// The clock is the store's: it judges how old a verdict is, and whether a hold has run out.
  explicit MemoryAuthority(std::string owner, Clock& clock = SystemClock::instance()) : clock_(&clock) {
    row_.generation = 1;
    row_.owner = std::move(owner);
  }

  AuthorityRow read() const {
    AuthorityRow row = row_;
    if (clock_->now() >= hold_until_) row.hold_at.reset();
    return row;
  }

  /// Commits the events up to `committed_seq`, as generation `generation` of engine `me` that last saw `previous`. False: nothing has changed.
  bool fence(std::string_view me, std::uint64_t generation, std::uint64_t previous, std::uint64_t committed_seq, const Chain& chain) {
    if (row_.generation != generation || row_.owner != me || row_.committed_seq != previous || committed_seq <= previous) return false;
    if (row_.marker && committed_seq >= row_.marker->stop_at) return false;
    if (row_.hold_at && clock_->now() < hold_until_ && committed_seq > *row_.hold_at) return false;
    row_.committed_seq = committed_seq, row_.chain = chain;
    return true;
  }

  bool arm(const ArmRequest& request) {
    if (row_.generation != request.generation || row_.marker || row_.committed_seq >= request.stop_at || row_.owner == request.successor) return false;
    if (request.arms && *request.arms != row_.arms) return false;
    const RecordedVerdict* newest = nullptr;
    for (const RecordedVerdict& v : verdicts)
      if (v.candidate == request.successor && v.build_id == request.build_id) newest = &v;
    if (newest == nullptr || !newest->go || newest->sequence < request.verdict_seq_min || clock_->now() - newest->at > request.verdict_age_max) return false;
    for (const SeamRow& seam : seams)
      if (seam.splice_id == request.splice_id) return false;
    row_.marker = StopMarker{request.stop_at, request.successor, request.splice_id};
    armed_build_ = request.build_id;
    ++row_.arms;
    return true;
  }

  bool disarm(const std::string& splice_id) {
    if (!row_.marker || row_.marker->splice_id != splice_id) return false;
    row_.marker.reset();
    return true;
  }

  /// The successor stands at `sequence` with this chain, for that splice. False: that marker is not there, or is not for this candidate in this build.
  bool record(const std::string& splice_id, std::string_view candidate, std::uint64_t sequence, const Chain& chain, std::string_view build_id) {
    if (!row_.marker || row_.marker->splice_id != splice_id || row_.marker->successor != candidate || armed_build_ != build_id) return false;
    chains[splice_id] = {sequence, chain};
    return true;
  }

  bool flip(const std::string& splice_id) {
    if (!row_.marker || row_.marker->splice_id != splice_id || row_.committed_seq + 1 != row_.marker->stop_at) return false;
    const auto chain = chains.find(splice_id);
    if (chain == chains.end() || chain->second != std::pair{row_.committed_seq, row_.chain}) return false;
    seams.push_back({splice_id, row_.generation, row_.generation + 1, row_.marker->stop_at});
    ++row_.generation;
    row_.owner = row_.marker->successor;
    row_.marker.reset();
    return true;
  }

  std::optional<SeamRow> seam(const std::string& splice_id) const {
    for (const SeamRow& seam : seams)
      if (seam.splice_id == splice_id) return seam;
    return std::nullopt;
  }

  /// False if it is past that already. The hold ends by itself after `at_most`.
  bool hold(std::uint64_t at, Millis at_most) {
    if (row_.committed_seq > at) return false;
    row_.hold_at = at, hold_until_ = clock_->now() + at_most;
    return true;
  }
  void release() { row_.hold_at.reset(); }

  std::vector<RecordedVerdict> verdicts;                          ///< in the order of their making
  std::map<std::string, std::pair<std::uint64_t, Chain>> chains;  ///< where each splice's candidate stood
  std::vector<SeamRow> seams;

 private:
  Clock* clock_;
  AuthorityRow row_;
  std::string armed_build_;
  Millis hold_until_{0};
};

static_assert(AuthorityStore<MemoryAuthority>);

}  // namespace epochcut
