// What has every run found, for ever?
// invariants_log in PostgreSQL, a local spool for when that can't be written, and the recorder that keeps their order. A run is durable before anyone
// else hears of it; replaying is harmless, since a run's id is written once. Errors: epochcut::Failure.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "recon_engine/run.hpp"

struct pg_conn;

namespace recon_engine {

/// A Run as one line of JSON, and back. Every field survives. Errors: `syntax`, for what is no such line.
std::string to_json(const Run& run);
Run run_of_json(std::string_view line);

enum class Written : std::uint8_t {
  inserted,
  already,      ///< the same run stands there: a replay
  conflicting,  ///< another run of that id stands there, and stays
};

/// Where runs are kept for ever. One thread at a time.
class LogStore {
 public:
  virtual ~LogStore() = default;
  /// Errors: Failure; retryable if the same run may be taken later.
  virtual Written write(const Run& run) = 0;
  /// The newest runs of each check, at most so many of each, the oldest first: what a program that has just started knows of the past.
  virtual std::vector<Run> recent(std::size_t per_check) = 0;
};

/// recon_engine.invariants_log. Connects at first use, and again after any error.
class PostgresLog final : public LogStore {
 public:
  explicit PostgresLog(std::string dsn);
  ~PostgresLog() override;
  Written write(const Run& run) override;
  std::vector<Run> recent(std::size_t per_check) override;

 private:
  std::string dsn_;
  std::unique_ptr<pg_conn, void (*)(pg_conn*)> connection_;
};

/// Applies the migrations that `dsn`'s database lacks, in order, each in a transaction of its own. Returns the names of those applied.
/// Errors: Failure; one that was applied with another text is `configuration`.
std::vector<std::string> migrate(const std::string& dsn);

/// An append-only file of runs: one line each, with a checksum, on disk when `append` returns. A torn last line, which `append` never returned for,
/// is cut off. One process and one thread at a time.
class Spool {
 public:
  static constexpr std::uint64_t bytes_max_default = std::uint64_t{64} << 20;  ///< some 30 000 runs: weeks
  static constexpr std::uint64_t line_bytes_max = std::uint64_t{1} << 18;      ///< what is kept free for: no run is larger, since what it shows is bounded

  /// Opens or makes `folder`/runs.spool. Errors: `configuration` if it can't, if another process has it, or if a line within is damaged.
  explicit Spool(const std::string& folder, std::uint64_t bytes_max = bytes_max_default);
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool();

  /// Errors: `too_large` when it is full, `unknown` when the disk does not take it.
  void append(const Run& run);
  /// The runs that have not been taken off, the oldest first: at most `max` of them.
  std::vector<Run> front(std::size_t max) const;
  /// Takes the oldest `count` off. What a kill leaves untaken is there again, so whoever takes must not mind a run twice.
  void pop(std::size_t count);
  std::size_t size() const { return lines_.size(); }
  bool full() const;
  bool torn() const { return torn_; }  ///< a torn last line was cut off when it was opened

 private:
  struct Line {
    std::uint64_t offset, size;
  };
  std::string path_;
  std::uint64_t bytes_max_, bytes_ = 0;
  int file_ = -1;
  bool torn_ = false;
  std::vector<Line> lines_;
};

/// Takes every finished run: into the log or, while that does not take it or older ones are waiting, into the spool; and only then to the others.
/// One thread at a time.
class Recorder {
 public:
  struct Options {
    Millis retry_first{500}, retry_max{30'000};  ///< how long a log that failed is left alone; doubling
    std::function<void(const std::string&)> say = [](const std::string&) {};
  };
  Recorder(LogStore& log, Spool& spool, std::vector<Sink*> sinks, Options options);

  /// Never throws. False: neither log nor spool took it; it is said aloud and counted.
  bool add(const Run& run, Instant now);
  /// Writes some of what is in the spool, if it is time to try. True: the spool is empty.
  bool replay(Instant now);

  std::size_t spooled() const { return spool_->size(); }
  /// Neither the log nor the spool would take another run: a check that begins now could not leave its outcome.
  bool full() const { return spool_->full(); }
  std::uint64_t conflicts() const { return conflicts_; }
  std::uint64_t lost() const { return lost_; }

 private:
  bool write(const Run& run, Instant now);

  LogStore* log_;
  Spool* spool_;
  std::vector<Sink*> sinks_;
  Options options_;
  Millis retry_{0};
  Instant retry_at_{};
  std::uint64_t conflicts_ = 0, lost_ = 0;
};

}  // namespace recon_engine
