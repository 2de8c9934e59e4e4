// How does one key differ between two sides?
// Layer: diff. Values only. Source: design words only_left, only_right, changed; RFC position-feed-promotion, "attribution".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/decimal.hpp>
#include <epochcut/core/digest.hpp>
#include <epochcut/cut/as_of_query.hpp>

namespace epochcut {

enum class DifferenceKind : std::uint8_t { only_left, only_right, changed };

constexpr std::string_view to_string(DifferenceKind kind) {
  constexpr std::string_view names[] = {"only_left", "only_right", "changed"};
  return names[static_cast<std::size_t>(kind)];
}

struct Cell {
  std::string name;
  Literal value;
};

/// One key with the values of the sides that have it; of a changed key only the columns that differ.
struct Difference {
  DifferenceKind kind = DifferenceKind::changed;
  std::vector<Cell> key, left, right;
};

/// What "equal" means for one value column. Columns without a rule are exact.
struct Rule {
  enum class Kind : std::uint8_t { exact, within, at_least };
  std::string column;
  Kind kind = Kind::exact;
  Decimal tolerance{};          ///< within: |left - right| <= tolerance; at_least: left >= right - tolerance
  bool absent_is_zero = false;  ///< a key that one side lacks stands for zero there
};

/// Exact counts of a whole diff, whatever number of differences was kept.
struct DiffCounts {
  std::uint64_t left = 0, right = 0;  ///< rows of each side
  std::uint64_t equal = 0, only_left = 0, only_right = 0, changed = 0;
  Digest which{};  ///< of WHICH differences: two passes compare at once
  std::uint64_t differences() const { return only_left + only_right + changed; }
};

}  // namespace epochcut
