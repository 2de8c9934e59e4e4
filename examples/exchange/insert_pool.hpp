// What if a token commits before its rows are acknowledged?
// Writer threads that send inserts into ClickHouse in the background, out of order and late on purpose, and keep count of what was
// acknowledged: up to which sequence number, without a hole, per relation. The queue is bounded, so that nothing can run away.
// submit() and drain() from one thread; an insert that fails is sent again and again.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace exchange {

struct InsertOptions {
  int writers = 4;
  int lag_ms = 0;         ///< every insert waits that long
  int jitter_ms_max = 0;  ///< and up to that much more, at random
  std::size_t queue_max = 256;
};

struct Insert {
  std::string relation;
  std::uint64_t last_sequence = 0;  ///< of the batch it belongs to; rising per relation
  std::string rows;                 ///< empty when the batch has none in this relation
};

class InsertPool {
 public:
  /// Told by one thread, in rising order per relation, every so often. It may throw: it is told again.
  using OnAcknowledged = std::function<void(const std::string& relation, std::uint64_t sequence, const std::string& server)>;

  InsertPool(std::string url, std::string database, InsertOptions options, OnAcknowledged on_acknowledged);
  InsertPool(const InsertPool&) = delete;
  InsertPool& operator=(const InsertPool&) = delete;
  ~InsertPool();  ///< sends what is queued, once; nothing when abandoned

  /// Takes the insert over; blocks while the queue is full, and gives it up with false if that lasts longer.
  bool submit(Insert insert, std::chrono::milliseconds timeout);
  /// The ledger has committed up to here. Nothing above it is told: it may yet be another engine's to write.
  void committed(std::uint64_t sequence);
  /// Blocks until everything submitted was acknowledged, and told as far as it has committed; false if that takes longer.
  bool drain(std::chrono::milliseconds timeout);
  /// Drops everything that was not sent yet, as a crash would.
  void abandon();

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    std::uint64_t last_sequence;
    bool acknowledged;
  };
  struct Watermark {
    std::deque<Pending> pending;
    std::uint64_t acknowledged = 0, told = 0;
  };
  struct Job {
    Insert insert;
    Clock::time_point due;
  };

  void write(unsigned seed);
  void tell();
  void acknowledge(const Insert& insert, const std::string& server);
  std::uint64_t to_tell(const Watermark& watermark) const { return std::min(watermark.acknowledged, committed_); }
  bool idle() const;

  const std::string url_, database_;
  const InsertOptions options_;
  const OnAcknowledged on_acknowledged_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;
  std::map<std::string, Watermark> watermarks_;
  std::string server_;
  int sending_ = 0;
  std::uint64_t committed_ = 0;
  bool closing_ = false, abandoned_ = false;
  std::vector<std::thread> writers_;
  std::thread teller_;
};

}  // namespace exchange
