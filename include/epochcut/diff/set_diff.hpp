// Which rows differ between two streams that run side by side, each in an order of its own?
// Layer: diff. For tables too big to hold and too dear to sort: rows that are the same on both sides let each other go as they pass, and what waits for its
// partner is found by its 128-bit hash and its values, up to a stated limit. At the end whatever still waits is decided by `diff`, on the values: same
// counts, same differences in the same order. Only for streams whose keys can't stand there twice: two rows that are the same in all columns count as two.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/diff/hashed_diff.hpp>

namespace epochcut {

struct SetLimits {
  /// Of rows that wait for their partner, and what is noted of them. Two streams in nearly one order need a few blocks; this is room for a million
  /// narrow rows of disorder.
  std::uint64_t bytes_max = std::uint64_t{48} << 20;
};

namespace diffing {

/// A column of a block, and how it is brought to a form that depends on nothing but its type and its partner's.
struct SetColumn {
  const Column* column;
  HashedColumn how;
};

/// The rows of both sides that have not met their partner yet.
class Waiting {
 public:
  static constexpr std::size_t left = 0, right = 1;

  /// `settles`: are rows with the same bits equal by every rule? Else each row waits for the end.
  Waiting(const SetLimits& limits, bool settles) : limits_(limits), settles_(settles), slots_(slots_min) {}

  /// Takes a block over; its rows wait only once they are `settle`d.
  std::uint32_t hold(Relation rows, std::size_t side) {
    const std::uint32_t id = free_.empty() ? static_cast<std::uint32_t>(blocks_.size()) : free_.back();
    if (free_.empty())
      blocks_.emplace_back();
    else
      free_.pop_back();
    blocks_[id] = Block{};
    blocks_[id].rows = std::move(rows), blocks_[id].side = side;
    return id;
  }
  const Relation& rows(std::uint32_t block) const { return blocks_[block].rows; }

  /// Rows [begin, end) of a block meet whoever waits for them on the other side, or wait. How many met. `columns`: all of its side, in an order that both
  /// sides share.
  std::uint64_t settle(std::uint32_t id, std::size_t begin, std::size_t end, std::span<const SetColumn> columns) {
    Block& block = blocks_[id];
    if (block.hashes.empty()) block.hash(columns);
    std::uint64_t met = 0;
    for (std::size_t row = begin; row < end; ++row) {
      const Hash& hashed = block.hashes[row];
      std::size_t at = hashed.low & (slots_.size() - 1);
      for (; slots_[at].block != 0; at = (at + 1) & (slots_.size() - 1))
        if (settles_ && slots_[at].low == hashed.low && slots_[at].high == hashed.high && blocks_[slots_[at].block - 1].side != block.side &&
            same_values(block, row, slots_[at], columns))
          break;
      if (slots_[at].block != 0) {
        let_go(at);
        ++met;
        continue;
      }
      slots_[at] = {hashed.low, hashed.high, id + 1, static_cast<std::uint32_t>(row)};
      block.waits[row / 64] |= std::uint64_t{1} << (row % 64);
      ++block.waiting;
      if (++waiting_ * 2 > slots_.size()) grow();
    }
    return met;
  }

  /// Every row of the block has been seen. Errors: `too_large`.
  void passed(std::uint32_t id) {
    Block& block = blocks_[id];
    block.passed = true;
    if (block.waiting == 0) return drop(id);
    held_ += block.bytes();
    if (held_ <= compact_at_) return;
    compact();
    if (held_ > limits_.bytes_max - limits_.bytes_max / 8)  // with less room than that, every block would be gathered again
      throw Failure(Reason::too_large, std::string("one side is more than ") + std::to_string(limits_.bytes_max) +
                                           " bytes of rows ahead of the other, or that much differs; read both in key order, or raise the limit");
  }

  /// The rows of a side that no one came for, with the side's columns.
  Relation rest(std::size_t side, const Relation& shape) {
    Relation all = shape.empty_copy();
    for (const Block& block : blocks_) {
      if (block.side != side || block.waiting == 0) continue;
      note_form(all, block.rows);
      block.each_waiting([&](std::size_t row) { append(all, block.rows, row); });
    }
    return all;
  }
  /// Are numbers held in another way than the one in which they came? Then a difference of two may need more digits than theirs did.
  bool reformed() const { return reformed_; }

 private:
  static constexpr std::size_t slots_min = 1 << 12;
  static constexpr std::uint64_t compact_min = 8 << 20;  ///< bytes held before stragglers are gathered: some blocks of each side are always on their way

  struct Hash {
    std::uint64_t low, high;
  };
  struct Slot {
    std::uint64_t low = 0, high = 0;
    std::uint32_t block = 0;  ///< one more than its id; 0: free
    std::uint32_t row = 0;
  };
  struct Block {
    Relation rows{};
    std::size_t side = left;
    std::vector<Hash> hashes{};  ///< made when a first row has to wait
    std::vector<std::uint64_t> waits{};
    std::size_t waiting = 0;
    bool passed = false;

    std::uint64_t bytes() const { return rows.bytes() + hashes.size() * sizeof(Hash) + waiting * 2 * sizeof(Slot); }
    void hash(std::span<const SetColumn> columns) {
      hashes.reserve(rows.rows());
      waits.assign(rows.rows() / 64 + 1, 0);
      Lanes lanes;
      for (const SetColumn& c : columns) lanes.expect(c.how);
      for (std::size_t row = 0, n = 0; row < rows.rows(); row += n) {
        n = std::min(hashed_rows, rows.rows() - row);
        lanes.start(n);
        for (const SetColumn& c : columns) lanes.absorb(*c.column, c.how, row);
        for (std::size_t i = 0; i < n; ++i) hashes.push_back({lanes.low(i), lanes.high(i)});
      }
    }
    template <class Each>
    void each_waiting(Each each) const {
      for (std::size_t row = 0; row < rows.rows(); ++row)
        if ((waits[row / 64] >> (row % 64) & 1) != 0) each(row);
    }
  };

  /// Equal hashes are no proof, and here both rows are at hand.
  bool same_values(const Block& block, std::size_t row, const Slot& slot, std::span<const SetColumn> columns) const {
    const Relation& other = blocks_[slot.block - 1].rows;
    return std::all_of(columns.begin(), columns.end(), [&](const SetColumn& c) {
      const Column& mine = block.rows.fields[block.side == left ? c.how.left : c.how.right].column;
      const Column& theirs = other.fields[block.side == left ? c.how.right : c.how.left].column;
      return same_bits(mine, row, theirs, slot.row) || compare(mine[row], theirs[slot.row]) == 0;
    });
  }

  /// Most cells that are equal are so bit for bit: what a comparison of values costs, the others pay.
  static bool same_bits(const Column& a, std::size_t i, const Column& b, std::size_t j) {
    if (a.type() != b.type() || a.has_nulls() || b.has_nulls()) return false;
    if (a.type() == Type::text) return a.text(i) == b.text(j);
    if (a.type() == Type::uuid || a.type() == Type::decimal) return a.scale() == b.scale() && a.wides()[i] == b.wides()[j];
    return a.words()[i] == b.words()[j];
  }

  void note_form(const Relation& to, const Relation& from) {
    for (std::size_t i = 0; i < to.fields.size(); ++i) {
      const Column &a = to.fields[i].column, &b = from.fields[i].column;
      reformed_ = reformed_ || a.type() != b.type() || a.scale() != b.scale();
    }
  }

  /// Rows of many blocks come into one here. Errors: `too_large` where one column can't hold what each block could: that is no fault of the rows.
  static void append(Relation& to, const Relation& from, std::size_t row) {
    try {
      to.append_row(from, row);
    } catch (const Failure& failure) {
      if (failure.kind != Reason::overflow) throw;
      throw Failure(Reason::too_large, "the rows that wait for their partner don't fit one table (" + failure.message + "); read both sides in key order");
    }
  }

  void drop(std::uint32_t id) {
    blocks_[id] = Block{};
    free_.push_back(id);
  }

  void let_go(std::size_t at) {
    const std::uint32_t id = slots_[at].block - 1;
    Block& block = blocks_[id];
    block.waits[slots_[at].row / 64] &= ~(std::uint64_t{1} << (slots_[at].row % 64));
    --block.waiting, --waiting_;
    if (block.waiting == 0 && block.passed) {
      held_ -= std::min(held_, block.rows.bytes() + block.hashes.size() * sizeof(Hash));
      drop(id);
    }
    // What follows moves up, so that a search may stop at the first free slot.
    for (std::size_t next = at;;) {
      next = (next + 1) & (slots_.size() - 1);
      if (slots_[next].block == 0) break;
      const std::size_t home = slots_[next].low & (slots_.size() - 1);
      if (((next - home) & (slots_.size() - 1)) < ((next - at) & (slots_.size() - 1))) continue;
      slots_[at] = slots_[next];
      at = next;
    }
    slots_[at] = {};
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.block != 0) insert(slot);
  }

  void insert(const Slot& slot) {
    std::size_t at = slot.low & (slots_.size() - 1);
    while (slots_[at].block != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }

  /// One straggler must not keep its whole block: those that wait in blocks that have passed are copied out, a side at a time.
  void compact() {
    std::array<std::uint32_t, 2> gathered{};
    std::array<bool, 2> begun{};
    const std::size_t count = blocks_.size();
    for (std::uint32_t id = 0; id < count; ++id) {
      if (!blocks_[id].passed || blocks_[id].waiting == 0) continue;
      const std::size_t side = blocks_[id].side;
      if (!begun[side]) {
        gathered[side] = hold(blocks_[id].rows.empty_copy(), side);
        begun[side] = true;
      }
      Block &from = blocks_[id], &to = blocks_[gathered[side]];
      note_form(to.rows, from.rows);
      from.each_waiting([&](std::size_t row) {
        to.hashes.push_back(from.hashes[row]);
        append(to.rows, from.rows, row);
      });
      to.waiting += from.waiting;
      drop(id);
    }
    std::fill(slots_.begin(), slots_.end(), Slot{});
    held_ = 0;
    for (std::size_t side : {left, right}) {
      if (!begun[side]) continue;
      Block& block = blocks_[gathered[side]];
      block.passed = true;
      block.waits.assign(block.rows.rows() / 64 + 1, ~std::uint64_t{0});
      held_ += block.bytes();
    }
    // Blocks that are still passing have rows in the table too.
    for (std::uint32_t id = 0; id < blocks_.size(); ++id) {
      const Block& block = blocks_[id];
      if (block.waiting == 0) continue;
      block.each_waiting([&](std::size_t row) { insert({block.hashes[row].low, block.hashes[row].high, id + 1, static_cast<std::uint32_t>(row)}); });
    }
    compact_at_ = std::min(limits_.bytes_max, std::max(compact_min, held_ * 2));
  }

  SetLimits limits_;
  bool settles_;
  bool reformed_ = false;
  std::vector<Slot> slots_;  ///< open addressing; never more than half full
  std::vector<Block> blocks_;
  std::vector<std::uint32_t> free_;
  std::size_t waiting_ = 0;
  std::uint64_t held_ = 0;  ///< bytes of blocks that have passed
  std::uint64_t compact_at_ = std::min(compact_min, limits_.bytes_max);
};

/// One of the two streams.
struct SetSide {
  Cursor* cursor;
  std::size_t side;
  Relation shape{};
  std::uint32_t block = 0;
  std::size_t row = 0, rows = 0;  ///< of the block
  std::uint64_t seen = 0;
  bool begun = false, done = false;
  std::vector<SetColumn> columns{};  ///< of the block, once one of its rows has to be hashed

  bool has_rows() const { return row < rows; }

  void pull(Waiting& waiting) {
    Relation next;
    do {
      done = !cursor->next(next);
      if (!std::exchange(begun, true)) shape = next.empty_copy();
      if (!done && !shape.same_shape(next))
        throw Failure(Reason::schema, std::string("the columns of the ") + (side == Waiting::left ? "left" : "right") +
                                          " side changed between two of its blocks; its source must keep to one shape");
    } while (!done && next.rows() == 0);
    row = 0, rows = done ? 0 : next.rows();
    if (done) return;
    block = waiting.hold(std::move(next), side);
    columns.clear();
  }
};

/// By the types alone: a row's hash must not depend on what else is in its block. Where a block's numbers don't fit the common scale they are hashed in another
/// form, wait, and are decided on their values.
inline SetColumn set_form(const Column& column, const Column& other) {
  constexpr int common_scale = 18;  // what 64-bit integers leave of 38 digits
  HashedColumn how{0, 0, HashForm::words, common_scale, true};
  const bool alike = column.type() == other.type();
  switch (family(column.type())) {
    case Family::text: how.form = HashForm::texts; break;
    case Family::float64: how.form = HashForm::floats; break;
    case Family::uuid: how.form = HashForm::wides; break;
    case Family::number: {
      if (alike && whole(column)) break;
      how.form = HashForm::scaled;
      if (whole(column)) break;
      const Int128 most = column.scale() > common_scale ? -1 : std::numeric_limits<Int128>::max() / power_of_ten(common_scale - column.scale());
      if (!std::all_of(column.wides().begin(), column.wides().end(), [&](Int128 w) { return w <= most && w >= -most; })) how.form = HashForm::canonical;
      break;
    }
    default: break;
  }
  return {&column, how};
}

/// In key order, as `diff` wants it.
inline Relation sorted_by_key(const Relation& rows) {
  std::vector<const Column*> keys;
  for (const Field& f : rows.fields)
    if (f.role == Role::key) keys.push_back(&f.column);
  std::vector<std::size_t> order(rows.rows());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return evaluation::compare_rows(keys, a, b) < 0; });
  Relation sorted = rows.empty_copy();
  for (const std::size_t row : order) sorted.append_row(rows, row);
  return sorted;
}

}  // namespace diffing

/// As `diff`, for two cursors in any order and with distinct keys. Errors: as `diff`, but for the order; `too_large`.
template <DiffSink Sink>
DiffCounts set_diff(Cursor& left_cursor, Cursor& right_cursor, std::span<const Rule> rules, Sink& sink, const SetLimits& limits = {}) {
  using namespace diffing;
  const bool settles = std::all_of(rules.begin(), rules.end(), [](const Rule& r) { return r.kind == Rule::Kind::exact || r.tolerance.unscaled >= 0; });
  Waiting waiting(limits, settles);
  SetSide left{&left_cursor, Waiting::left}, right{&right_cursor, Waiting::right};
  left.pull(waiting), right.pull(waiting);
  const std::vector<Pair> pairs = match(left.shape, right.shape, rules);
  std::vector<std::pair<std::size_t, std::size_t>> keys;
  for (std::size_t l = 0, r = 0; l < left.shape.fields.size(); ++l) {
    if (left.shape.fields[l].role != Role::key) continue;
    while (right.shape.fields[r].role != Role::key) ++r;
    keys.emplace_back(l, r++);
  }
  std::uint64_t equal = 0;

  // Both blocks from where they stand, as memory: the rows that are the same pairwise.
  const auto same_rows = [&] {
    std::size_t n = settles ? std::min(left.rows - left.row, right.rows - right.row) : 0;
    const Relation &l = waiting.rows(left.block), &r = waiting.rows(right.block);
    for (std::size_t i = 0; n > 0 && i < keys.size(); ++i)
      n = equal_rows({&l.fields[keys[i].first].column, &r.fields[keys[i].second].column, left.row, right.row}, n);
    for (std::size_t i = 0; n > 0 && i < pairs.size(); ++i)
      n = equal_rows({&l.fields[pairs[i].left].column, &r.fields[pairs[i].right].column, left.row, right.row}, n);
    return n;
  };
  const auto settle = [&](SetSide& side, const SetSide& other, std::size_t n) {
    if (side.columns.empty()) {
      const Relation& rows = waiting.rows(side.block);
      const bool is_left = side.side == Waiting::left;
      const auto form = [&](std::size_t l, std::size_t r) {
        SetColumn column = set_form(rows.fields[is_left ? l : r].column, other.shape.fields[is_left ? r : l].column);
        column.how.left = l, column.how.right = r;
        return column;
      };
      for (const auto& [l, r] : keys) side.columns.push_back(form(l, r));
      for (const Pair& p : pairs) side.columns.push_back(form(p.left, p.right));
    }
    n = std::min(n, side.rows - side.row);
    equal += waiting.settle(side.block, side.row, side.row + n, side.columns);
    side.row += n;
  };

  std::size_t run = run_rows_min;
  constexpr std::size_t run_max = std::size_t{1} << 20;  // a whole block: the two orders have nothing in common
  while (true) {
    for (SetSide* side : {&left, &right})
      if (!side->done && !side->has_rows()) {
        if (side->rows != 0) waiting.passed(side->block);
        side->seen += side->rows;
        side->pull(waiting);
      }
    if (left.done && right.done) break;
    if (left.done || right.done) {
      SetSide &side = left.done ? right : left, &other = left.done ? left : right;
      settle(side, other, side.rows);
      continue;
    }
    const std::size_t same = same_rows();
    equal += same, left.row += same, right.row += same;
    run = same == 0 ? std::min(run * 2, run_max) : run_rows_min;
    if (!left.has_rows() || !right.has_rows()) continue;
    settle(left, right, run);
    settle(right, left, run);
  }

  RelationCursor rest_left(sorted_by_key(waiting.rest(Waiting::left, left.shape)), {}),
      rest_right(sorted_by_key(waiting.rest(Waiting::right, right.shape)), {});
  DiffCounts counts;
  try {
    counts = diff(rest_left, rest_right, rules, sink);
  } catch (const Failure& failure) {
    if (failure.kind != Reason::overflow || !waiting.reformed()) throw;
    throw Failure(Reason::too_large, "the rows that found no partner don't fit one table (" + failure.message + "); read both sides in key order");
  }
  counts.left = left.seen, counts.right = right.seen, counts.equal += equal;
  return counts;
}

}  // namespace epochcut
