// How does a fold use several cores?
// Layer: cut. The library starts no thread here: a fold is split into parts, the caller runs each on a thread of its own, and then asks for the answer, which
// is that of `fold`. Parts are ranges of rows, so that every row is read by one of them alone, and only what they found is put together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/fold.hpp>

namespace epochcut {

inline constexpr std::size_t part_rows_min_default = 65'536;  ///< about a millisecond, which is many times what a thread costs to start

/// Keeps a reference to the table. Plain form only: which of two rows of one event counts is not a part's to say.
/// Errors: as `fold`, and only from `answer`.
class SplitFold {
 public:
  /// Fewer parts than wanted where they would have fewer rows than are worth a thread. Errors: `plan.validate`.
  SplitFold(const QueryPlan& plan, const Relation& table, const AsOf& as_of, std::size_t wanted, std::size_t part_rows_min = part_rows_min_default)
      : plan_(plan), table_(&table), as_of_(as_of) {
    plan_.validate();
    const std::size_t parts = std::clamp<std::size_t>(table.rows() / part_rows_min, 1, std::max<std::size_t>(wanted, 1));
    folds_.assign(parts, folding::Fold(plan_, table, as_of_, Form::plain));
    read_.assign(parts, false);
  }

  SplitFold(const SplitFold&) = delete;
  SplitFold& operator=(const SplitFold&) = delete;

  std::size_t parts() const { return folds_.size(); }

  /// Reads one part of the rows. Each may run on any thread, at the same time as others.
  void run(std::size_t part) {
    const std::size_t rows = table_->rows();
    folds_[part] = folding::Fold(plan_, *table_, as_of_, Form::plain);  // a part that runs twice counts once
    read_[part] = folds_[part].read_part(rows * part / parts(), rows * (part + 1) / parts());
  }

  /// Once, after every part has run; one that has not is read now, with all the others'.
  Evaluated answer() {
    if (std::all_of(read_.begin(), read_.end(), [](char read) { return read != 0; })) {
      folding::Fold all(plan_, *table_, as_of_, Form::plain);
      if (all.merge(folds_))
        if (std::optional<Evaluated> answer = all.answer()) return *std::move(answer);
    }
    return fold(plan_, *table_, as_of_);
  }

 private:
  const QueryPlan plan_;  // what the folds point at, as they do at as_of_
  const Relation* table_;
  const AsOf as_of_;
  std::vector<folding::Fold> folds_;
  std::vector<char> read_;  // not bool: threads write beside each other
};

}  // namespace epochcut
