// Where does the cutover stand?
// Read from the stores every time, and typed by nobody: the authority's row, its seams, the shadows that are staged, and what gates have said of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <epochcut/operate/splice.hpp>

#include "cutover/place.hpp"

namespace cutover {

inline constexpr Millis verdict_age_max{3'600'000};  ///< a go is good for an hour, unless the operator says otherwise

/// What a flip has left behind.
struct SeamFact {
  std::string splice_id;
  std::uint64_t from_gen = 0, to_gen = 0, s = 0;
  std::string verdict_id, at;
};

struct VerdictFact {
  std::string verdict_id, build_id, decision, reason, signed_off_by, at;
  std::uint64_t sequence = 0;
  Millis age{0};
};

/// Which program folds into a shadow, by its own word.
struct Build {
  std::string id, started;
  friend bool operator==(const Build&, const Build&) = default;
};

struct CandidateFact {
  std::string name;
  std::uint64_t sequence = 0;
  std::optional<Build> build{};
  std::optional<VerdictFact> verdict{};  ///< the newest, in whatever build
  std::string go_refused{};              ///< why an arm would refuse it, in a few words; empty: it would not
  epochcut::SpliceState state = epochcut::SpliceState::staged;
};

struct Facts {
  epochcut::AuthorityRow row;
  std::vector<SeamFact> seams;  ///< the newest first
  std::vector<CandidateFact> candidates;
  epochcut::SpliceState state = epochcut::SpliceState::idle;
};

/// Errors: `missing_token`, and as of any statement.
Facts read_facts(const Place& place, Millis age_max = verdict_age_max);
std::optional<Build> build_of(Asker& asker, const std::string& engine);
/// The least sequence number of a verdict that counts: none from before the authority last changed hands.
std::uint64_t verdict_floor(const Facts& facts);

/// Pure: why an arm would refuse this verdict. Empty: it would not.
std::string refused(const std::optional<VerdictFact>& verdict, const std::optional<Build>& build, std::uint64_t floor, Millis age_max);

std::string to_text(const Facts& facts, const Place& place);
std::string to_json(const Facts& facts);

/// `3 min`, `2 h 5 min`.
std::string length_text(Millis length);

}  // namespace cutover
