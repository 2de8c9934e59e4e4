// What does a crash leave behind?
// The exchange as a process of its own, killed with SIGKILL at random moments if so told, and started again with batches of another size,
// as a supervisor would. What it had on its way is lost, half done, or done without anyone knowing. One owner; a thread inside.
#pragma once

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <epochcut/testing/conformance.hpp>

#include "exchange/engine.hpp"

namespace horizon {

class WriterProcess {
 public:
  /// `program`: the exchange's command line. `crashes`: it is killed again and again, at moments drawn from `seed`.
  WriterProcess(std::string program, const exchange::EngineOptions& options, std::uint64_t seed, bool crashes)
      : program_(std::move(program)), options_(options), random_(seed), crashes_(crashes), thread_([this](std::stop_token stop) { supervise(stop); }) {}
  WriterProcess(const WriterProcess&) = delete;
  WriterProcess& operator=(const WriterProcess&) = delete;
  ~WriterProcess() { stop(); }

  /// Ends the last process politely: it finishes its batch, and all that is on its way.
  void stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
  }
  int kills() const { return kills_; }
  bool running() const { return running_; }
  /// Why there is no writer, though nobody stopped it. Call it when it does not run.
  const std::string& error() const { return error_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint64_t life_us_min = 150'000, life_us_max = 900'000;  ///< long enough to commit something, short enough for many crashes
  static constexpr std::uint64_t batch_min = 2, batch_max = 20;                 ///< of a writer that was started again
  static constexpr int moved_tokens_max = 5;                                    ///< in a row: a killed writer's COMMIT can arrive late once, or twice
  static constexpr int token_moved = 4;                                         ///< exit code of the exchange
  static constexpr std::chrono::seconds farewell{60};                           ///< a slow disk may hold up the last inserts that long

  void supervise(std::stop_token stop) {
    std::uint64_t batch = options_.batch;
    for (int moved = 0; !stop.stop_requested();) {
      const pid_t child = start(batch);
      const auto end = Clock::now() + std::chrono::microseconds(life_us_min + random_.below(life_us_max - life_us_min));
      int status = 0;
      bool ended = false;
      while (!ended && !stop.stop_requested() && (!crashes_ || Clock::now() < end)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ended = ::waitpid(child, &status, WNOHANG) == child;
      }
      if (!ended && stop.stop_requested()) {
        bool polite = end_politely(child, status);
        // It may not have heard the signal yet, or met a killed one's late COMMIT: then another one is started, and ends for it.
        for (int again = 0; !polite && again < moved_tokens_max && left_early(status); ++again) {
          const pid_t other = start(batch);
          std::this_thread::sleep_for(std::chrono::seconds(1));
          polite = end_politely(other, status);
        }
        if (!polite) error_ = "the exchange could not be stopped politely";
        break;
      }
      if (!ended) {
        ::kill(child, SIGKILL);
        ::waitpid(child, &status, 0);
        ++kills_;
        moved = 0;
      } else if (!WIFEXITED(status) || WEXITSTATUS(status) != token_moved || ++moved > moved_tokens_max) {
        error_ = "the exchange ended by itself with " + (WIFEXITED(status) ? "code " + std::to_string(WEXITSTATUS(status)) : "a signal");
        break;
      }
      const std::uint64_t before = batch;
      while (batch == before) batch = batch_min + random_.below(batch_max - batch_min + 1);
    }
    running_ = false;
  }

  static bool left_early(int status) {
    return (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) || (WIFEXITED(status) && WEXITSTATUS(status) == token_moved);
  }

  bool end_politely(pid_t child, int& status) {
    ::kill(child, SIGTERM);
    for (const auto end = Clock::now() + farewell; Clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(2)))
      if (::waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return false;
  }

  pid_t start(std::uint64_t batch) {
    std::vector<std::string> words{program_, "run"};
    const auto option = [&](const char* name, const std::string& value) { words.insert(words.end(), {name, value}); };
    option("--postgres", options_.postgres), option("--clickhouse", options_.clickhouse);
    option("--schema", options_.layout.schema), option("--database", options_.layout.database);
    option("--seed", std::to_string(options_.stream.seed)), option("--tie-every", std::to_string(options_.stream.tie_every));
    if (options_.stream.rising_ns) words.push_back("--rising-ns");
    option("--batch", std::to_string(batch)), option("--rate", std::to_string(static_cast<std::uint64_t>(options_.rate)));
    if (options_.write_path == exchange::WritePath::issued) words.push_back("--issued");
    option("--writers", std::to_string(options_.inserts.writers)), option("--queue", std::to_string(options_.inserts.queue_max));
    option("--jitter-ms", std::to_string(options_.inserts.jitter_ms_max));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is killed must not leave a writer behind
    ::close_range(3, ~0U, 0);            // its parent's connections are not its own
    const int nothing = ::open("/dev/null", O_RDWR);
    ::dup2(nothing, STDOUT_FILENO);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }

  const std::string program_;
  const exchange::EngineOptions options_;
  epochcut::testing::Random random_;
  const bool crashes_;
  std::atomic<int> kills_ = 0;
  std::atomic<bool> running_ = true;
  std::string error_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace horizon
