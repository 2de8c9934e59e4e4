// How are the rows of ONE snapshot of a PostgreSQL read, by one session or by several at once?
// Layer: source, with libpq. The anchor's transaction exports its snapshot, further sessions take it over; each thread reads one key range after the other,
// and the cursor gives them in key order. A reader that fails fails all. The cursor belongs to one thread; its readers are its own.
// Source: PostgreSQL manual, "Snapshot Synchronization Functions"; a standby can export since version 10.
#pragma once

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <epochcut/cut/source.hpp>
#include <epochcut/source/copy_binary.hpp>
#include <epochcut/source/postgres_snapshot.hpp>
#include <epochcut/source/postgres_sql.hpp>

namespace epochcut::postgres {

inline constexpr std::size_t reader_block_rows = 16'384;  ///< of a cursor's blocks: a megabyte or two, what a core's cache still holds
inline constexpr std::size_t reader_blocks_ahead = 8;     ///< per reader, decoded and not yet asked for: some megabytes
inline constexpr std::uint64_t range_rows = 131'072;      ///< what a reader can be ahead: larger ranges would make it wait for the one before
inline constexpr std::uint64_t ranges_max = 4'096;        ///< a statement each

/// Cuts at the marks' quantiles, interpolated between two. Shape: rising, at most `ranges - 1`.
inline std::vector<std::int64_t> cuts(const std::vector<std::int64_t>& marks, std::uint64_t ranges) {
  std::vector<std::int64_t> cuts;
  if (marks.size() < 2) return cuts;
  const std::uint64_t bins = marks.size() - 1;
  for (std::uint64_t i = 1; i < ranges; ++i) {
    const std::uint64_t bin = i * bins / ranges, part = i * bins % ranges;
    const Int128 low = marks[bin], width = Int128{marks[bin + 1]} - low;
    const auto cut = static_cast<std::int64_t>(low + width * static_cast<Int128>(part) / static_cast<Int128>(ranges));
    if (cuts.empty() || cut > cuts.back()) cuts.push_back(cut);
  }
  return cuts;
}

/// A plan per range of its first key column, in key order: the first and the last unbounded, NULL a range of its own. One plan, the given one, where
/// that column is no integer, or the table is small.
inline std::vector<QueryPlan> split(Transaction& anchor, const QueryPlan& plan, const Table& table, const std::string& event_id, int readers,
                                    const Control& control) {
  const std::vector<std::string> keys = plan.keys(Stream{.id = {}, .event_id = event_id});
  if (readers < 2 || keys.empty() || table.column(keys[0]).logical() != Type::int64) return {plan};
  const TableColumn& key = table.column(keys[0]);
  const KeySpread spread = anchor.spread(plan.relation, key.name, control);
  const auto rows = static_cast<std::uint64_t>(std::max<std::int64_t>(spread.rows, 0));
  if (spread.rows >= 0 && rows < 2 * reader_block_rows) return {plan};
  const auto threads = static_cast<std::uint64_t>(readers);
  const std::uint64_t wanted = spread.cheap ? std::max(threads, std::min(rows / range_rows, ranges_max)) : threads;
  const std::vector<std::int64_t> at = cuts(spread.marks, wanted);
  std::vector<QueryPlan> plans;
  for (std::size_t i = 0; i <= at.size(); ++i) {
    QueryPlan& range = plans.emplace_back(plan);
    if (i > 0) range.where.push_back({key.name, Comparison::at_least, Literal(Value(at[i - 1]))});
    if (i < at.size()) range.where.push_back({key.name, Comparison::less, Literal(Value(at[i]))});
  }
  if (at.empty() || key.not_null) return plans;
  plans.emplace_back(plan).where.push_back({key.name, Comparison::is_null, Literal()});
  return plans;
}

/// The rows of a COPY that has begun. Precondition: nobody else uses `transaction` before the cursor has ended or is gone.
class CopyCursor final : public Cursor {
 public:
  CopyCursor(Transaction& transaction, std::vector<CopyColumn> columns, Proof proof, const Control& control)
      : transaction_(&transaction), decoder_(std::move(columns)), proof_(std::move(proof)), control_(control) {}

  bool next(Relation& block) override {
    const bool first = std::exchange(first_, false);
    while (!ended_ && decoder_.block_rows() < reader_block_rows) {
      if (transaction_->copy(decoder_, control_)) continue;
      transaction_->end_copy(decoder_, proof_, control_);
      ended_ = true;
    }
    decoder_.take(block);
    return first || block.rows() != 0;  // no rows at all are one block without rows
  }
  Proof proof() const override { return proof_; }

 private:
  Transaction* transaction_;
  CopyBinaryDecoder decoder_;
  Proof proof_;
  Control control_;
  bool first_ = true, ended_ = false;
};

/// The rows of `plans`, one after the other, read by as many threads as there are sessions: `anchor`'s own and one for each of `further`.
/// Precondition: nobody else uses `anchor` before the cursor has ended or is gone.
class ParallelCopy final : public Cursor {
 public:
  ParallelCopy(Transaction& anchor, std::vector<Session> further, std::vector<QueryPlan> plans, Table table, Bound bound, const Control& control)
      : plans_(std::move(plans)),
        table_(std::move(table)),
        bound_(std::move(bound)),
        control_(control),
        blocks_max_(reader_blocks_ahead * (further.size() + 1)),
        ranges_(plans_.size()) {
    Parameters parameters;
    const Rendered query = render(plans_.front(), table_, bound_, parameters);
    anchor.bind(parameters, control);
    proof_ = anchor.prove(query, plans_.front().relation, control);  // of the whole relation, whatever the range
    empty_ = CopyBinaryDecoder(query.columns).take();
    const Exported snapshot = anchor.export_snapshot(control);
    Control theirs = control;
    theirs.cancel = &stop_;
    try {
      threads_.emplace_back([this, &anchor, theirs] { guarded([&] { read(anchor, theirs); }); });
      for (Session& session : further)
        threads_.emplace_back([this, session = std::move(session), snapshot, theirs] {
          guarded([&] {
            Transaction transaction(session, snapshot, plans_.front().relation, theirs);
            read(transaction, theirs);
            transaction.commit(theirs);
          });
        });
    } catch (...) {  // no thread to be had
      halt();
      throw;
    }
  }
  ParallelCopy(const ParallelCopy&) = delete;
  ParallelCopy& operator=(const ParallelCopy&) = delete;
  ~ParallelCopy() override { halt(); }

  bool next(Relation& block) override {
    bool failed = false;
    {
      std::unique_lock lock(mutex_);
      if (block.fields.size() == empty_.fields.size()) spare_.push_back(std::move(block));
      while (!failure_ && giving_ < ranges_.size() && ranges_[giving_].blocks.empty()) {
        if (ranges_[giving_].read) {
          ++giving_;
          moved_.notify_all();
          continue;
        }
        moved_.wait_for(lock, cancel_poll);
        try {
          control_.check();
        } catch (...) {
          failure_ = std::current_exception();
        }
      }
      if (!failure_ && giving_ < ranges_.size()) {
        block = std::move(ranges_[giving_].blocks.front());
        ranges_[giving_].blocks.pop_front();
        --waiting_;
        moved_.notify_all();
        return given_ = true;
      }
      failed = failure_ != nullptr;
    }
    if (failed) halt();
    join();  // then nobody else can fail any more
    if (failure_) std::rethrow_exception(failure_);
    proof_.rows = rows_, proof_.bytes = bytes_;
    block = empty_;
    return !std::exchange(given_, true);  // no rows at all are one block without rows
  }

  Proof proof() const override { return proof_; }

 private:
  struct Range {
    std::deque<Relation> blocks;
    bool read = false;
  };

  /// Stops the readers and waits for them. Cost: some milliseconds; up to `cancel_poll` while a server is silent.
  void halt() noexcept {
    stop_.request();
    moved_.notify_all();
    join();
  }
  void join() noexcept {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  template <class Body>
  void guarded(Body body) noexcept {
    try {
      body();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_ && !stop_.requested()) failure_ = std::current_exception();
      stop_.request();
    }
    moved_.notify_all();
  }

  /// Takes ranges until there are none left, and never rests inside of one's own: a session that is idle in a transaction is ended by its server.
  void read(Transaction& transaction, const Control& control) {
    for (;;) {
      std::size_t range = 0;
      {
        const std::lock_guard lock(mutex_);
        if (taken_ == plans_.size()) return;
        range = taken_++;
      }
      Parameters parameters;
      const Rendered query = render(plans_[range], table_, bound_, parameters);
      transaction.bind(parameters, control);
      transaction.begin_copy(query, control);
      CopyBinaryDecoder decoder(query.columns);
      for (bool more = true; more;) {
        more = transaction.copy(decoder, control);
        if (decoder.block_rows() >= reader_block_rows || (!more && decoder.block_rows() != 0)) give(range, decoder, control);
      }
      Proof proof;
      transaction.end_copy(decoder, proof, control);
      const std::lock_guard lock(mutex_);
      rows_ += proof.rows, bytes_ += proof.bytes;
      ranges_[range].read = true;
      moved_.notify_all();
    }
  }

  /// The range that is being given out may always go on, so nobody waits for somebody who waits for him.
  void give(std::size_t range, CopyBinaryDecoder& decoder, const Control& control) {
    std::unique_lock lock(mutex_);
    const auto room = [&] { return range == giving_ ? ranges_[range].blocks.size() < reader_blocks_ahead : waiting_ < blocks_max_; };
    while (!room()) {
      moved_.wait_for(lock, cancel_poll);
      control.check();
    }
    Relation block;
    if (!spare_.empty()) block = std::move(spare_.back()), spare_.pop_back();
    decoder.take(block);
    ranges_[range].blocks.push_back(std::move(block));
    ++waiting_;
    moved_.notify_all();
  }

  std::vector<QueryPlan> plans_;
  Table table_;
  Bound bound_;
  Control control_;
  Relation empty_;
  Proof proof_;
  Cancel stop_;
  const std::size_t blocks_max_;
  bool given_ = false;
  std::mutex mutex_;  ///< of all below
  std::condition_variable moved_;
  std::vector<Range> ranges_;
  std::size_t taken_ = 0, giving_ = 0, waiting_ = 0;  ///< ranges begun; the one that is given out; blocks that nobody has asked for
  std::vector<Relation> spare_;
  std::uint64_t rows_ = 0, bytes_ = 0;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace epochcut::postgres
