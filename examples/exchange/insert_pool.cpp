#include "exchange/insert_pool.hpp"

#include <algorithm>
#include <exception>
#include <random>
#include <utility>

#include "exchange/clickhouse_writer.hpp"

namespace exchange {

using std::chrono::milliseconds;

InsertPool::InsertPool(std::string url, std::string database, InsertOptions options, OnAcknowledged on_acknowledged)
    : url_(std::move(url)), database_(std::move(database)), options_(options), on_acknowledged_(std::move(on_acknowledged)) {
  for (unsigned writer = 0; writer < static_cast<unsigned>(std::max(1, options_.writers)); ++writer) writers_.emplace_back([this, writer] { write(writer); });
  teller_ = std::thread([this] { tell(); });
}

InsertPool::~InsertPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& writer : writers_) writer.join();
  teller_.join();
}

bool InsertPool::submit(Insert insert, milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, timeout, [&] { return queue_.size() < options_.queue_max || abandoned_; }) || abandoned_) return false;
  watermarks_[insert.relation].pending.push_back({insert.last_sequence, false});
  queue_.push_back({std::move(insert), Clock::now() + milliseconds(options_.lag_ms)});
  changed_.notify_all();
  return true;
}

bool InsertPool::idle() const {
  return queue_.empty() && sending_ == 0 &&
         std::all_of(watermarks_.begin(), watermarks_.end(), [this](const auto& w) { return w.second.told == to_tell(w.second); });
}

void InsertPool::committed(std::uint64_t sequence) {
  const std::lock_guard lock(mutex_);
  committed_ = sequence;
  changed_.notify_all();
}

bool InsertPool::drain(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return idle() || abandoned_; }) && !abandoned_;
}

void InsertPool::abandon() {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  queue_.clear();
  changed_.notify_all();
}

void InsertPool::write(unsigned seed) {
  std::minstd_rand random(seed + 1);
  ClickhouseWriter server(url_);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return !queue_.empty() || closing_ || abandoned_; });
    if (abandoned_ || queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    ++sending_;
    changed_.notify_all();
    // Drawn by whoever sends it, so that inserts overtake each other.
    job.due += milliseconds(options_.jitter_ms_max > 0 ? random() % static_cast<unsigned>(options_.jitter_ms_max + 1) : 0);
    changed_.wait_until(lock, job.due, [&] { return abandoned_; });
    for (bool sent = false; !sent && !abandoned_;) {
      lock.unlock();
      std::string name;
      try {
        server.insert(database_ + "." + job.insert.relation, job.insert.rows);
        name = server.server_name();
        sent = true;
      } catch (const std::exception&) {  // down, restarting, too many parts: it has to arrive all the same
      }
      lock.lock();
      if (sent)
        acknowledge(job.insert, name);
      else if (closing_)
        break;  // the next engine sends it again: it was never acknowledged
      else
        changed_.wait_for(lock, milliseconds(100), [&] { return abandoned_; });
    }
    --sending_;
    changed_.notify_all();
  }
}

/// Called with the mutex held.
void InsertPool::acknowledge(const Insert& insert, const std::string& server) {
  Watermark& watermark = watermarks_[insert.relation];
  for (Pending& p : watermark.pending)
    if (p.last_sequence == insert.last_sequence) p.acknowledged = true;
  // A later batch that arrived first waits here for the earlier one.
  for (; !watermark.pending.empty() && watermark.pending.front().acknowledged; watermark.pending.pop_front())
    watermark.acknowledged = watermark.pending.front().last_sequence;
  server_ = server;
}

void InsertPool::tell() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto untold = [&] {
      return std::find_if(watermarks_.begin(), watermarks_.end(), [this](const auto& w) { return w.second.told != to_tell(w.second); });
    };
    changed_.wait(lock, [&] { return untold() != watermarks_.end() || abandoned_ || (closing_ && queue_.empty() && sending_ == 0); });
    const auto next = untold();
    if (abandoned_ || next == watermarks_.end()) return;
    const std::uint64_t sequence = to_tell(next->second);
    const std::string relation = next->first, server = server_;
    lock.unlock();
    bool told = false;
    try {
      on_acknowledged_(relation, sequence, server);
      told = true;
    } catch (const std::exception&) {
    }
    lock.lock();
    if (told)
      watermarks_[relation].told = sequence;
    else if (closing_)
      return;
    else
      changed_.wait_for(lock, milliseconds(100), [&] { return abandoned_; });
    changed_.notify_all();
  }
}

}  // namespace exchange
