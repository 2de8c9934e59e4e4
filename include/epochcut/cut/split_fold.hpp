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

/// Keeps a reference to the table. Plain form only: which of two rows of one event counts is not a part's to say.
/// Errors: as `fold`, and only from `answer`.
class SplitFold {
 public:
  /// `parts`: how many; none is one. A part is worth a thread from some ten thousand rows on, about a tenth of a millisecond. Errors: `plan.validate`.
  SplitFold(const QueryPlan& plan, const Relation& table, const AsOf& as_of, std::size_t parts) : plan_(plan), table_(&table), as_of_(as_of) {
    plan_.validate();
    folds_.assign(std::max<std::size_t>(parts, 1), folding::Fold(plan_, table, as_of_, Form::plain));
    read_.assign(folds_.size(), false);
  }

  SplitFold(const SplitFold&) = delete;
  SplitFold& operator=(const SplitFold&) = delete;

  std::size_t parts() const { return folds_.size(); }

  /// Reads one part of the rows. Each may run on any thread, at the same time as others. Errors: std::out_of_range, from `parts()` on.
  void run(std::size_t part) {
    const std::size_t rows = table_->rows();
    folds_.at(part) = folding::Fold(plan_, *table_, as_of_, Form::plain);  // a part that runs twice counts once
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
