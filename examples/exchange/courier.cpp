#include "exchange/courier.hpp"

#include <algorithm>
#include <utility>

#include <epochcut/core/decimal.hpp>

namespace exchange {

using epochcut::Failure;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds retry_delay{100};

/// The sequence number in `transfer-<sequence>`; 0 of an id that is somebody else's.
std::uint64_t sequence_in(const std::string& id) {
  constexpr std::string_view prefix = "transfer-";
  if (!id.starts_with(prefix) || id.size() == prefix.size() || id.size() > prefix.size() + 19) return 0;
  std::uint64_t sequence = 0;
  for (char c : id.substr(prefix.size())) {
    if (c < '0' || c > '9') return 0;
    sequence = sequence * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return sequence;
}

}  // namespace

std::string transfer_id(std::uint64_t sequence) { return "transfer-" + std::to_string(sequence); }

Courier::Courier(CourierOptions options, const ExecutionStream& stream, std::uint64_t committed)
    : options_(std::move(options)), stream_(stream), client_(options_.url) {
  Transfers known;
  patiently([&] { known = client_.transfers(); });
  std::uint64_t transfers = 0, newest = 0;
  for (std::uint64_t s = next_transfer(0, committed); s != 0; s = next_transfer(s, committed)) ++transfers, newest = s;
  // They begin in order, so a custodian that counts as many knows all of them; one that counts less was put there later, or has lost its state.
  if (known.counter < transfers) {
    begin(0, newest);
    patiently([&] { known = client_.transfers(); });
  }
  begun_.clear();
  for (const std::string& id : known.open) {
    const std::uint64_t sequence = sequence_in(id);
    if (sequence == 0) continue;
    if (sequence <= committed)
      patiently([&] { client_.complete(id); });
    else
      begun_.push_back(sequence);  // the engine died before it could commit; it is about to do it again
  }
  std::sort(begun_.begin(), begun_.end());
  thread_ = std::jthread([this](std::stop_token stop) { complete(stop); });
}

Courier::~Courier() = default;

std::uint64_t Courier::next_transfer(std::uint64_t after, std::uint64_t through) const {
  const std::uint64_t step = std::max<std::uint64_t>(stream_.deposit_every, 1);
  for (std::uint64_t s = (after / step + 1) * step; s <= through; s += step)
    if (stream_.at(s).kind != EventKind::trade) return s;
  return 0;
}

void Courier::begin(std::uint64_t after, std::uint64_t through) {
  for (std::uint64_t s = next_transfer(after, through); s != 0; s = next_transfer(s, through)) {
    const Execution event = stream_.at(s);
    patiently([&] { client_.begin(transfer_id(s), currency_name(event.currency), to_string(epochcut::Decimal{event.amount, money_scale})); });
    if (std::find(begun_.begin(), begun_.end(), s) == begun_.end()) begun_.push_back(s);
  }
}

void Courier::committed(std::uint64_t sequence) {
  bool any = false;
  for (; !begun_.empty() && begun_.front() <= sequence; begun_.pop_front(), any = true) {
    const std::scoped_lock lock(mutex_);
    due_.push_back({begun_.front(), Clock::now() + options_.settle});
  }
  if (any) changed_.notify_all();
}

bool Courier::drain(milliseconds timeout) {
  if (!begun_.empty()) return false;
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return due_.empty(); });
}

void Courier::patiently(const std::function<void()>& action) {
  const Clock::time_point end = Clock::now() + options_.patience;
  while (true) try {
      return action();
    } catch (const Failure& failure) {
      if (!failure.retryable || Clock::now() >= end) throw;
      std::this_thread::sleep_for(retry_delay);
    }
}

void Courier::complete(std::stop_token stop) {
  CustodianClient client(options_.url);
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (due_.empty()) {
      changed_.wait(lock, stop, [&] { return !due_.empty(); });
      continue;
    }
    const Due next = due_.front();
    if (Clock::now() < next.at) {
      changed_.wait_until(lock, stop, next.at, [] { return false; });
      continue;
    }
    lock.unlock();
    bool done = true;
    try {
      client.complete(transfer_id(next.sequence));
    } catch (const Failure&) {
      done = false;  // it stays open, which nobody can mistake for money that adds up
    }
    lock.lock();
    if (done) {
      due_.pop_front();
      changed_.notify_all();
    } else {
      changed_.wait_for(lock, stop, retry_delay, [] { return false; });
    }
  }
}

}  // namespace exchange
