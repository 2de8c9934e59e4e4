// How is a custodian told of a transfer?
// The few requests of a custodian's HTTP interface that move money, over one kept-alive connection through libcurl. Both that change something
// are idempotent by the transfer's id, so whoever did not hear the answer asks again. One thread at a time.
// Errors: epochcut::Failure, retryable unless the custodian refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>

namespace exchange {

/// What is on its way. counter: of all transfers ever begun; it only rises.
struct Transfers {
  std::vector<std::string> open;
  std::uint64_t counter = 0;
};

/// Reads {"open":["id",…],"counter":N}. Errors: `syntax` on anything else; ids with escapes are something else.
Transfers parse_transfers(std::string_view json);

class CustodianClient {
 public:
  /// `url`: http://host:port
  explicit CustodianClient(std::string url);
  CustodianClient(const CustodianClient&) = delete;
  CustodianClient& operator=(const CustodianClient&) = delete;
  ~CustodianClient();

  /// Moves the money and opens the transfer. `amount`: decimal text with 8 digits, negative for a withdrawal.
  void begin(const std::string& id, std::string_view currency, const std::string& amount);
  void complete(const std::string& id);
  Transfers transfers();

 private:
  std::string request(const std::string& path, const char* method, const std::string& body);

  const std::string url_;
  void* curl_;
};

}  // namespace exchange
