// What is true as of a sequence number?
// Refolds the stream and touches neither store, so that a verdict can be judged independently of both. Keeps a copy of the fold every
// so often: going forward costs the events in between, going back at most one stride. Not thread-safe.
#pragma once

#include <map>

#include "exchange/fold.hpp"

namespace exchange {

class Oracle {
 public:
  explicit Oracle(ExecutionStream stream) : stream_(stream) { folds_.emplace(0, Fold{}); }

  /// The books as of `sequence`; the reference holds until the next call.
  const Books& at(std::uint64_t sequence) {
    if (current_.books().sequence > sequence || sequence - current_.books().sequence > stride) current_ = std::prev(folds_.upper_bound(sequence))->second;
    while (current_.books().sequence < sequence) advance();
    return current_.books();
  }

  /// The rows of one event: what must be found under its ids, in either store.
  Rows rows_of(std::uint64_t sequence) {
    at(sequence - 1);
    rows_.clear();
    advance(/*keep_rows=*/true);
    return rows_;
  }

 private:
  static constexpr std::uint64_t stride = 1 << 17;

  void advance(bool keep_rows = false) {
    if (!keep_rows) rows_.clear();
    current_.apply(stream_.at(current_.books().sequence + 1), rows_);
    if (current_.books().sequence % stride == 0) folds_.try_emplace(current_.books().sequence, current_);
  }

  ExecutionStream stream_;
  std::map<std::uint64_t, Fold> folds_;
  Fold current_;
  Rows rows_;
};

}  // namespace exchange
