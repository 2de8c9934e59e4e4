#include "exchange/venue.hpp"

#include <algorithm>
#include <cassert>

namespace exchange {

Venue::Venue(const VenueOptions& options, HotStart* hot)
    : options_(options), window_(options.engine.postgres, options.engine.layout), engine_(options.engine, hot) {
  if (options_.mark_every != 0) marker_.emplace(options_.engine, engine_.generation(), options_.mark_every, sequence());
  if (!options_.custody.url.empty()) courier_.emplace(options_.custody, options_.engine.stream, sequence());
}

std::uint64_t Venue::step(std::uint64_t limit) {
  assert(!window_.open());
  if ((marker_ || courier_) && engine_.row().marker) {
    engine_.disarm();
    ++splices_refused_;
  }
  const std::uint64_t from = sequence();
  if (from >= limit) return from;
  std::uint64_t to = std::min(limit, from + options_.engine.batch);
  if (marker_) to = std::min(to, marker_->border(from));
  if (courier_) courier_->begin(from, to);
  // A stop marker may have cut the batch in two.
  const std::uint64_t reached = engine_.step(to);
  if (reached == from) return from;
  fresh_ = false;
  if (courier_) courier_->committed(reached);
  if (marker_ && marker_->border(from) == reached) marker_->mark(engine_.fold());
  return reached;
}

bool Venue::drain(std::chrono::milliseconds timeout) { return engine_.drain(timeout) && (!courier_ || courier_->drain(timeout)); }

void Venue::rest(std::chrono::milliseconds timeout, std::uint64_t limit) {
  // What a predecessor issued and never committed stands in ClickHouse alone; the next batch is that one, so it comes before anyone compares at rest.
  if (!window_.open() && fresh_) step(limit);
  if (!window_.open()) window_.begin();
  if (!window_.drained() && drain(timeout)) window_.say_drained();
}

void Venue::wake() {
  if (window_.open()) window_.end();
}

}  // namespace exchange
