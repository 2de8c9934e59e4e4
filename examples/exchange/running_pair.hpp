// What if two engines fold one stream, each into tables of its own?
// Production and its shadow, each on a thread and at its own pace; but the stream's buffer is bounded, as any broker's is, so neither gets
// further ahead of the other than that. At full speed the slower one sets the speed.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <thread>

#include "exchange/engine.hpp"

namespace exchange {

class RunningPair {
 public:
  RunningPair(const EngineOptions& production, const EngineOptions& shadow, std::uint64_t buffer)
      : buffer_(buffer),
        threads_{std::jthread([this, production](std::stop_token stop) { run(stop, production, sequence_[0], sequence_[1], error_[0]); }),
                 std::jthread([this, shadow](std::stop_token stop) { run(stop, shadow, sequence_[1], sequence_[0], error_[1]); })} {}

  /// Finishes the batches, and everything that is on its way.
  void stop() {
    for (std::jthread& thread : threads_) thread.request_stop();
    for (std::jthread& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  std::uint64_t sequence() const { return sequence_[0]; }  ///< that production has committed
  /// Why an engine ended by itself; empty if none did. After stop().
  std::string error() const { return error_[0] + error_[1]; }

 private:
  void run(std::stop_token stop, const EngineOptions& options, std::atomic<std::uint64_t>& mine, const std::atomic<std::uint64_t>& other, std::string& error) {
    try {
      Engine engine(options);
      mine = engine.books().sequence;
      while (!stop.stop_requested()) {
        if (mine >= other + buffer_)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        else
          mine = engine.step(other + buffer_);
      }
      engine.drain();
    } catch (const std::exception& e) {
      error = options.layout.authority + ": " + e.what();
    }
  }

  const std::uint64_t buffer_;
  std::atomic<std::uint64_t> sequence_[2] = {0, 0};
  std::string error_[2];
  std::jthread threads_[2];  // last: they stop before what they use goes
};

}  // namespace exchange
