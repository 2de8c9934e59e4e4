// Is the shadow equal to production, at this cut?
// Everything that one cut compares, as invariants of the library; nothing is compared anywhere else. The shadow's state has no history, so the shadow
// is held at the cut's epoch while it is read; tables that only grow need no hold. Rows are compared once each, from where the last equal cut ended;
// sums and newest positions over the whole history at every cut. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <epochcut/epochcut.hpp>

#include "cutover/place.hpp"

namespace cutover {

using epochcut::Outcome;

struct ComparerOptions {
  Millis hold_max{30'000};   ///< the shadow stands still for so long at most; a tool that dies holds nobody up
  Millis reach_max{20'000};  ///< that long it may take to get to the epoch
  epochcut::HorizonPolicy horizon{.budget = Millis{10'000}};
  std::size_t differences_max = 20;
  std::uint64_t slice_max = 200'000;  ///< events that one cut compares row by row; what is older comes in slices of this
};

/// What is compared row by row. Units: sequence numbers.
struct Window {
  std::uint64_t after = 0;              ///< everything up to here was equal, row by row
  std::optional<std::uint64_t> upto{};  ///< a slice of what is old; else up to the epoch
  std::uint64_t run_after = 0;          ///< what is counted as exercised begins after this
};

/// One negative control, of the same cut as the checks beside it.
struct ControlResult {
  Outcome same, planted;
  std::optional<epochcut::Difference> plant;
};

struct CutResult {
  std::vector<Outcome> checks;
  std::vector<ControlResult> controls;
  epochcut::Exercised exercised;
  Millis took{0}, held{0};
  bool equal() const;
};

class Comparer {
 public:
  explicit Comparer(Place place, ComparerOptions options = {}, epochcut::Control control = {});
  ~Comparer();

  /// Columns and types of every compared table, on both servers.
  std::vector<Outcome> schema();
  CutResult cut(const Window& window, bool with_control);
  /// The event that last touched a key that differs, on both sides, in words; empty if the key names none.
  std::string last_touched(const Outcome& outcome, const epochcut::Difference& difference);
  /// For tests: the control's plant is not planted, so that the comparison looks blind.
  void blind_control();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace cutover
