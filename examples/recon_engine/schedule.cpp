#include "recon_engine/schedule.hpp"

#include <utility>

#include <epochcut/core/digest.hpp>

namespace recon_engine {

Schedule::Schedule(ScheduleOptions options, Instant after, std::optional<std::uint64_t> last_event) : options_(std::move(options)), last_event_(last_event) {
  if (options_.next) next_ = options_.next(after);
}

std::optional<Instant> Schedule::due() const {
  if (running_) return std::nullopt;
  std::optional<Instant> due;
  if (next_) due = with_jitter(*next_);
  if (event_ && (!due || event_->at < *due)) due = event_->at;
  return due;
}

std::optional<Fire> Schedule::begin(Instant now) {
  if (running_) return std::nullopt;
  std::optional<Instant> newest;
  for (std::uint64_t n = 0; next_ && with_jitter(*next_) <= now; ++n) {
    missed_ += newest.has_value();
    newest = next_;
    next_ = options_.next(n < missed_max ? *next_ : now);
  }
  if (newest && now - with_jitter(*newest) > options_.late_max) {
    ++missed_;
    newest.reset();
  }
  if (newest) {
    running_ = true;
    return Fire{*newest, "cron", {}};
  }
  if (!event_) return std::nullopt;
  const Event event = *std::exchange(event_, std::nullopt);
  running_ = true;
  return Fire{event.at, "event", std::to_string(event.key)};
}

void Schedule::event(std::uint64_t key, Instant now) {
  if (!last_event_) {
    last_event_ = key, ++missed_;
    return;
  }
  if (key <= *last_event_) return;
  if (*last_event_ > 0) coalesced_ += key - *last_event_ - 1;  // of those nobody has told us
  if (event_) ++coalesced_;
  last_event_ = key;
  event_ = Event{key, now};
}

Instant Schedule::with_jitter(Instant scheduled) const {
  if (options_.jitter.count() <= 0) return scheduled;
  // A function of the fire alone: a program that starts again in between waits for the same moment.
  const std::uint64_t noise = epochcut::mix(options_.jitter_seed ^ static_cast<std::uint64_t>(scheduled.time_since_epoch().count()));
  return scheduled + Millis(static_cast<Millis::rep>(noise % static_cast<std::uint64_t>(options_.jitter.count() + 1)));
}

}  // namespace recon_engine
