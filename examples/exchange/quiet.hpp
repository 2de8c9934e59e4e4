// When does nobody write?
// The rows that say so: a quiet window begins when the engine stops, is drained when both stores have acknowledged everything and no transfer is open,
// and ends before the next event. Only between `drained` and `ended` may the stores be compared at rest. One thread at a time.
#pragma once

#include <string>

#include "exchange/postgres_writer.hpp"
#include "exchange/schema.hpp"

namespace exchange {

class QuietWindow {
 public:
  /// Ends the windows that a writer of this authority left open when it died: it is about to write. Errors: Failure.
  QuietWindow(const std::string& postgres, const Layout& layout);

  bool open() const { return !id_.empty(); }
  bool drained() const { return drained_; }
  /// Each stands in the ledger when it returns. Errors: Failure.
  void begin();
  void say_drained();
  void end();

 private:
  PostgresWriter ledger_;
  const std::string table_, authority_;
  std::string id_;
  bool drained_ = false;
};

}  // namespace exchange
