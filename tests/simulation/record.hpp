// What one run leaves behind: chance from a seed, a trace that can be hashed or read, and counts of what was planted and what was answered.
// Plain data, so that processes can share it.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/status.hpp>

namespace simulation {

/// SplitMix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 0x1234567u) {}
  std::uint64_t next() {
    std::uint64_t x = state_ += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
  }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  std::int64_t upto(std::int64_t n) { return static_cast<std::int64_t>(below(static_cast<std::uint64_t>(n) + 1)); }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

/// Everything that can go wrong. The first part is an honest system on a bad day, the second is damage.
enum Fault : std::size_t {
  late,               ///< a row is visible some time after it was issued
  very_late,          ///< ... after every budget
  out_of_order,       ///< a row of a later event is visible before an earlier one, over parallel insert lanes
  tied_ns,            ///< two events share a nanosecond, or it steps back
  replayed,           ///< a batch is written twice
  crashed,            ///< rows out, no commit: replayed cut differently
  replication_stall,  ///< B is far behind A
  acked_elsewhere,    ///< what was not there on one replica was acknowledged by the other
  deposed,            ///< a generation that was taken over from left rows behind
  ledger_outage,      ///< a call to the ledger fails
  follower_outage,    ///< a call to a follower fails
  routed,             ///< a proxy sends two calls of one check to two replicas
  nested,             ///< another check runs whole in the middle of a call
  cancelled,          ///< the caller gives up
  deadline,           ///< the check's time is up
  restored,           ///< the ledger goes back to an older commit and lives on from there
  restored_in_check,  ///< ... while a check runs
  cleaned,            ///< ... and what followers held beyond was taken away
  honest_faults,
  reexecuted = honest_faults,  ///< a crashed batch is executed again with another result
  foreign,                     ///< a row that the ledger never committed
  foreign_balanced,            ///< two of them that cancel out
  lost,                        ///< a row is gone
  lost_last,                   ///< ... the newest at the epoch
  swapped,                     ///< a row is gone, and a foreign one of the same content stands in for it
  doubled,                     ///< a row is gone, and another stands there twice
  corrupted,                   ///< a value is another
  nulled,                      ///< NULL became a value or the other way round
  conflicting,                 ///< a second row of one event, different
  emptied,                     ///< a follower's table is empty
  ledger_corrupted,            ///< state changed without an event
  ledger_emptied,              ///< state tables are empty
  healed,                      ///< damage is repaired again
  shadow_wrong,                ///< the shadow folds an event wrongly
  faults
};
inline constexpr std::array<const char*, faults> fault_names = {
    "late",          "very_late",       "out_of_order",     "tied_ns",        "replayed",  "crashed",     "replication_stall", "acked_elsewhere",   "deposed",
    "ledger_outage", "follower_outage", "routed",           "nested",         "cancelled", "deadline",    "restored",          "restored_in_check", "cleaned",
    "reexecuted",    "foreign",         "foreign_balanced", "lost",           "lost_last", "swapped",     "doubled",           "corrupted",         "nulled",
    "conflicting",   "emptied",         "ledger_corrupted", "ledger_emptied", "healed",    "shadow_wrong"};

/// Ways of a check through the library that a run must have taken.
enum Path : std::size_t {
  passed_first_look,
  passed_after_wait,
  passed_distinct,
  passed_by_ack,
  passed_by_newest,
  passed_by_snapshot,
  passed_two_followers,
  passed_in_one_snapshot,
  failed_confirmed,
  healed_between,
  retried,
  quiet_definite,
  paths
};
inline constexpr std::array<const char*, paths> path_names = {
    "pass: first look",   "pass: after waiting",          "pass: over distinct ids", "pass: by acknowledgement",
    "pass: by newest id", "pass: by its own snapshot",    "pass: two followers",     "pass: in one snapshot",
    "fail: second pass",  "error: healed between passes", "error: checked again",    "quiet: definite and true"};

inline constexpr std::size_t reasons = static_cast<std::size_t>(epochcut::Reason::unknown) + 1;

struct Stats {
  std::uint64_t seeds = 0, checks = 0, verdicts = 0, rows = 0, wrong = 0, hash = 0;
  std::uint64_t blind_passes = 0;  ///< passes by a weaker witness without a row that was lost, where the query could not show that it is missing
  std::array<std::uint64_t, 4> status{};
  std::array<std::uint64_t, reasons> reason{};
  std::array<std::uint64_t, faults> fault{};
  std::array<std::uint64_t, paths> path{};
  std::uint64_t first_wrong = 0;
  char what[480] = {};

  void add(const Stats& s) {
    seeds += s.seeds, checks += s.checks, verdicts += s.verdicts, rows += s.rows, wrong += s.wrong, hash += s.hash;
    blind_passes += s.blind_passes;
    for (std::size_t i = 0; i < status.size(); ++i) status[i] += s.status[i];
    for (std::size_t i = 0; i < reason.size(); ++i) reason[i] += s.reason[i];
    for (std::size_t i = 0; i < fault.size(); ++i) fault[i] += s.fault[i];
    for (std::size_t i = 0; i < path.size(); ++i) path[i] += s.path[i];
    if (s.wrong > 0 && (first_wrong == 0 || s.first_wrong < first_wrong)) {
      first_wrong = s.first_wrong;
      std::memcpy(what, s.what, sizeof what);
    }
  }
};

/// Every event goes into the hash; it is only printed when somebody wants to read it.
class Trace {
 public:
  explicit Trace(bool loud) : loud_(loud) {}
  void operator()(std::int64_t now_ms, const char* what, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0) {
    absorb(static_cast<std::uint64_t>(now_ms));
    for (const char* p = what; *p != 0; ++p) absorb(static_cast<unsigned char>(*p));
    absorb(a), absorb(b), absorb(c);
    if (loud_)
      std::printf("%8lld ms  %-22s %llu %llu %llu\n", static_cast<long long>(now_ms), what, static_cast<unsigned long long>(a),
                  static_cast<unsigned long long>(b), static_cast<unsigned long long>(c));
  }
  void text(std::string_view line) {
    for (const char c : line) absorb(static_cast<unsigned char>(c));
    if (loud_) std::printf("%.*s\n", static_cast<int>(line.size()), line.data());
  }

  std::uint64_t hash() const { return hash_; }
  bool loud() const { return loud_; }

 private:
  void absorb(std::uint64_t x) { hash_ = (hash_ ^ x) * 0x100000001B3u, hash_ ^= hash_ >> 29; }
  bool loud_;
  std::uint64_t hash_ = 0xCBF29CE484222325u;
};

}  // namespace simulation
