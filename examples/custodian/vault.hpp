// What does the custodian hold, and what is on its way?
// The state of a stand-in custody service: one line in an append-only file per change, synced before anyone is told. So a kill at any moment loses
// nothing that was answered, and what is asked again is done once: a transfer has one id for ever. A last line that was torn is as if it had
// not been asked. Thread-safe. Stand-in for a service that others run: RFC live-checks, "omnibus-balances-square-live".
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <epochcut/core/decimal.hpp>

namespace custodian {

/// Why a request is refused: 400 it makes no sense, 404 there is no such transfer, 409 the id was used for another one.
struct Refused : std::runtime_error {
  Refused(int status_, const std::string& what) : std::runtime_error(what), status(status_) {}
  int status;
};

struct Holding {
  std::string currency, amount;  ///< decimal text with 8 digits
};

/// counter: of all transfers ever begun; it only rises.
struct InFlight {
  std::vector<std::string> open;
  std::uint64_t counter = 0;
};

class Vault {
 public:
  static constexpr std::size_t id_bytes_max = 64;  ///< of an id, and of a currency: they stand in every answer

  /// Reads what the file holds, and keeps every other vault out of it. Errors: std::runtime_error, one sentence.
  explicit Vault(std::string path);
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;
  ~Vault();

  /// Moves the money and opens the transfer. The same again changes nothing, also after it was completed. Errors: Refused.
  void begin(const std::string& id, const std::string& currency, const std::string& amount);
  /// Closes it. The same again changes nothing. Errors: Refused.
  void complete(const std::string& id);

  std::vector<Holding> holdings() const;
  InFlight in_flight() const;

 private:
  struct Transfer {
    std::string currency, amount;
    bool open = true;
  };

  void load();
  void apply_begin(const std::string& id, Transfer transfer);
  void append(const std::string& line);

  const std::string path_;
  int file_ = -1;
  mutable std::mutex mutex_;
  std::map<std::string, Transfer> transfers_;
  std::map<std::string, epochcut::Decimal> holdings_;
};

}  // namespace custodian
