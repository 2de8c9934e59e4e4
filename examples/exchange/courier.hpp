// How does money come in and go out?
// Each deposit or adjustment is one transfer, `transfer-<sequence>`. The courier begins it at the custodian BEFORE the engine may commit the batch with
// that event, and completes it some time after. So while no transfer is open, what the custodian holds is what the ledger's committed events explain;
// whoever dies in between leaves a transfer open, and the next courier brings it to its end. begin() and the rest from one thread; it has one of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "exchange/custodian_client.hpp"
#include "exchange/stream.hpp"

namespace exchange {

struct CourierOptions {
  std::string url;                             ///< the custodian's
  std::chrono::milliseconds settle{50};        ///< a transfer is completed so long after its batch has committed
  std::chrono::milliseconds patience{30'000};  ///< how long the engine is held up by a custodian that does not answer
};

std::string transfer_id(std::uint64_t sequence);

class Courier {
 public:
  /// Brings what the ledger has committed up to `committed` to the custodian, if it does not know it yet, and completes it.
  /// Errors: Failure, retryable if the custodian did not answer.
  Courier(CourierOptions options, const ExecutionStream& stream, std::uint64_t committed);
  ~Courier();  ///< what was not completed by then stays open

  /// Begins the transfers of the events in (`after`, `through`]. Errors: as the constructor's.
  void begin(std::uint64_t after, std::uint64_t through);
  /// The ledger has committed up to here: what has begun by then is completed soon.
  void committed(std::uint64_t sequence);
  /// Blocks until no transfer is open; false if that takes longer, or if one waits for a batch that has not committed.
  bool drain(std::chrono::milliseconds timeout);

 private:
  using Clock = std::chrono::steady_clock;
  struct Due {
    std::uint64_t sequence;
    Clock::time_point at;
  };

  void begin_one(const Execution& event);
  std::uint64_t next_transfer(std::uint64_t after, std::uint64_t through) const;
  void patiently(const std::function<void()>& action);
  void complete(std::stop_token stop);

  const CourierOptions options_;
  const ExecutionStream stream_;
  CustodianClient client_;
  std::deque<std::uint64_t> begun_;  ///< and not committed

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Due> due_;
  std::jthread thread_;  // last: it ends before what it uses goes
};

}  // namespace exchange
