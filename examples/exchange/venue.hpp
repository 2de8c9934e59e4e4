// How do engine, marks, custody and quiet windows go together?
// An engine whose batches also end where marks are due, and begin only after the custodian has their money; and which can stand still, drained.
// Without options it is an engine and nothing else. One thread at a time; after an exception this venue is dead: make another.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "exchange/courier.hpp"
#include "exchange/engine.hpp"
#include "exchange/marks.hpp"
#include "exchange/quiet.hpp"

namespace exchange {

struct VenueOptions {
  EngineOptions engine;
  std::uint64_t mark_every = 0;  ///< events between two mark cycles; 0: no marks
  CourierOptions custody;        ///< without a URL: no custodian
};

class Venue {
 public:
  /// Errors: as Engine, Marker and Courier.
  explicit Venue(const VenueOptions& options, HotStart* hot = nullptr);

  /// One batch, at most up to `limit`, and the mark cycle that is due after it; returns the committed sequence number. With marks or custody a splice is
  /// refused: nothing hands over the marks' stream, nor the transfers that are open. Precondition: no quiet window is open.
  std::uint64_t step(std::uint64_t limit = no_limit);
  /// Everything acknowledged, and every transfer completed; false if that takes longer.
  bool drain(std::chrono::milliseconds timeout = std::chrono::seconds(30));

  /// Begins a quiet window, and says that it is drained as soon as that is so; call it again until quiet(). A venue that was just opened commits one batch
  /// before, up to `limit`: the one that its predecessor may have left in ClickHouse alone.
  void rest(std::chrono::milliseconds timeout = std::chrono::seconds(1), std::uint64_t limit = no_limit);
  bool quiet() const { return window_.drained(); }
  /// Ends the window, if one is open.
  void wake();

  const Engine& engine() const { return engine_; }
  std::uint64_t sequence() const { return engine_.sequence(); }
  int splices_refused() const { return splices_refused_; }
  std::uint64_t cycle() const { return marker_ ? marker_->cycle() : 0; }

 private:
  const VenueOptions options_;
  QuietWindow window_;  // first: a window that was left open ends before anything is written again
  Engine engine_;
  std::optional<Marker> marker_;
  std::optional<Courier> courier_;
  int splices_refused_ = 0;
  bool fresh_ = true;  ///< no batch was committed since it was opened
};

}  // namespace exchange
