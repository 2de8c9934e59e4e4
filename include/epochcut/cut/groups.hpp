// Which rows of a relation have the same key?
// Layer: cut. Not synchronised. Rows come in blocks and their groups are numbered: run by run while the keys come in order, and from the first that does
// not on through a hash table made for it. Equal hashes are no proof: keys are confirmed on their values, but where a hash is a bijection of the key.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/column.hpp>
#include <epochcut/core/digest.hpp>
#include <epochcut/core/hash_words.hpp>
#include <epochcut/core/seed.hpp>
#include <epochcut/cut/evaluation.hpp>

namespace epochcut::folding {

using Row = std::uint32_t;  ///< half of a size_t: what is noted of rows and groups stays small; a longer relation is left to the reference
inline constexpr Row no_row = std::numeric_limits<Row>::max();
inline constexpr std::size_t block_rows = 1024;    ///< what is noted of one block of rows, 16 bytes each, stays in a core's first cache
inline constexpr std::size_t prefetch_ahead = 32;  ///< rows: one row takes some 5 ns, and memory, while others use it too, some 150

/// Rows that are looked at together: `rows`, or without it those from `begin` on. Ascending.
struct Block {
  std::size_t begin = 0, size = 0;
  const Row* rows = nullptr;
};

/// Calls `act` with a function from a position in the block to its row.
template <class Act>
void over(const Block& block, Act act) {
  if (block.rows == nullptr)
    act([begin = block.begin](std::size_t i) { return begin + i; });
  else
    act([rows = block.rows](std::size_t i) { return std::size_t{rows[i]}; });
}

/// The key columns of one relation: their cells hash and compare by their bits, since one column holds one value in one way.
class Keys {
 public:
  explicit Keys(std::vector<const Column*> columns) : columns_(std::move(columns)) {
    bool words = true;
    for (const Column* c : columns_) words = words && !c->has_nulls() && c->wides().empty() && c->type() != Type::text;
    words_ = words && columns_.size() <= 2 ? columns_.size() : 0;
  }

  const std::vector<const Column*>& columns() const { return columns_; }
  /// 1 or 2: the key is that many words, and `hashes` with its first word says which; 0: equal hashes are to be confirmed by `same`.
  std::size_t words() const { return words_; }
  std::uint64_t first_word(std::size_t row) const { return columns_[0]->words()[row]; }

  std::strong_ordering order(std::size_t a, std::size_t b) const {
    for (const Column* c : columns_)
      if (const auto o = evaluation::compare_cells(*c, a, b); o != 0) return o;
    return std::strong_ordering::equal;
  }

  /// Empty columns for keys alone.
  std::vector<Column> empty() const {
    std::vector<Column> keys;
    for (const Column* c : columns_) keys.emplace_back(c->type(), c->scale());
    return keys;
  }
  void append(std::size_t row, std::vector<Column>& keys) const {
    for (std::size_t k = 0; k < keys.size(); ++k) {
      const Column& c = *columns_[k];
      if (c.is_null(row))
        keys[k].append_null();
      else if (c.type() == Type::text)
        keys[k].append_text(c.text(row));
      else if (c.type() == Type::decimal || c.type() == Type::uuid)
        keys[k].append_wide(c.wides()[row]);
      else
        keys[k].append_word(c.words()[row]);
    }
  }
  bool same(std::size_t row, const std::vector<Column>& keys, std::size_t at) const {
    for (std::size_t k = 0; k < keys.size(); ++k)
      if (!same_cell(*columns_[k], row, keys[k], at)) return false;
    return true;
  }

  /// Each step is a bijection of its word: one word that has the same hash is the same word. Who chooses keys does not know where it starts.
  void hashes(const Block& block, std::uint64_t* out) const {
    std::fill_n(out, block.size, hashing::seed_of(0));
    for (const Column* c : columns_) {
      if (block.rows == nullptr && words_ != 0)
        mix_words(out, {c->words().data() + block.begin, block.size});
      else
        over(block, [&](auto at) { absorb(*c, block.size, at, out); });
    }
  }

 private:
  static bool same_cell(const Column& c, std::size_t i, const Column& d, std::size_t j) {
    if (c.is_null(i) != d.is_null(j)) return false;
    if (c.type() == Type::text) return c.text(i) == d.text(j);
    if (c.type() == Type::decimal || c.type() == Type::uuid) return c.wides()[i] == d.wides()[j];
    return c.words()[i] == d.words()[j];
  }

  template <class At>
  static void absorb(const Column& c, std::size_t n, At at, std::uint64_t* out) {
    constexpr std::uint64_t null_salt = 0xD1B54A32D192ED03u;
    if (c.type() == Type::text) {
      for (std::size_t i = 0; i < n; ++i) out[i] = mix_text(out[i], c.text(at(i)));
    } else if (c.type() == Type::decimal || c.type() == Type::uuid) {
      const Int128* wides = c.wides().data();
      for (std::size_t i = 0; i < n; ++i) {
        const Int128 wide = wides[at(i)];
        out[i] = mix(mix(out[i] + static_cast<std::uint64_t>(wide)) + static_cast<std::uint64_t>(wide >> 64));
      }
    } else {
      const std::uint64_t* words = c.words().data();
      for (std::size_t i = 0; i < n; ++i) out[i] = mix(out[i] + words[at(i)]);
    }
    if (c.has_nulls())
      for (std::size_t i = 0; i < n; ++i)
        if (c.is_null(at(i))) out[i] = mix(out[i] ^ null_salt);
  }

  static std::uint64_t mix_text(std::uint64_t hash, std::string_view text) {
    hash += text.size();
    std::uint64_t word = 0;
    for (; text.size() >= sizeof word; text.remove_prefix(sizeof word)) {
      std::memcpy(&word, text.data(), sizeof word);
      hash = mix(hash ^ word);
    }
    word = 0;
    if (!text.empty()) std::memcpy(&word, text.data(), text.size());
    return mix(hash ^ word);
  }

  std::vector<const Column*> columns_;
  std::size_t words_ = 0;
};

/// Numbers the groups of rows that come in blocks. While keys never fall, equal ones stand together and are told by the row before; from the first that
/// falls on, through an open-addressed table of hashes.
class Groups {
 public:
  explicit Groups(const Keys& keys) : keys_(&keys) {}

  std::size_t size() const { return first_rows_.size(); }
  bool in_order() const { return slots_.empty(); }  ///< groups are numbered in key order
  const std::vector<Row>& first_rows() const { return first_rows_; }

  /// Numbers the rows of a block; `each_run` then tells of them.
  void assign(const Block& block) {
    runs_ = hashed_from_ = 0;
    if (in_order()) over(block, [&](auto at) { hashed_from_ = keys_->words() == 1 ? ordered_words(block.size, at) : ordered(block.size, at); });
    if (hashed_from_ < block.size) over(block, [&](auto at) { hashed(block, at); });
    size_of_block_ = block.size;
  }

  /// Calls `run(group, begin, end)` for positions that stand together, and `expect(group)` some rows before those whose groups lie anywhere.
  template <class Run, class Expect>
  void each_run(Run run, Expect expect) const {
    for (std::size_t i = 0, begin = 0; i < runs_; begin = ends_[i++]) run(std::size_t{group_of_[i]}, begin, std::size_t{ends_[i]});
    for (std::size_t i = hashed_from_; i < size_of_block_; ++i) {
      if (i + prefetch_ahead < size_of_block_) expect(std::size_t{group_of_[i + prefetch_ahead]});
      run(std::size_t{group_of_[i]}, i, i + 1);
    }
  }

 private:
  struct Slot {
    std::uint64_t hash = 0;
    Row group = no_row;
  };

  std::size_t start_group(std::size_t row) {
    first_rows_.push_back(static_cast<Row>(row));
    return first_rows_.size() - 1;
  }

  void end_run(std::size_t group, std::size_t end) {
    group_of_[runs_] = static_cast<Row>(group);
    ends_[runs_++] = static_cast<Row>(end);
  }

  /// How many of the rows were in order.
  template <class At>
  std::size_t ordered(std::size_t n, At at) {
    std::size_t begin = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::strong_ordering order = last_row_ == no_row ? std::strong_ordering::less : keys_->order(last_row_, at(i));
      if (order != 0) {
        if (i > begin) end_run(size() - 1, i);
        begin = i;
        if (order > 0) return spill(), i;
        start_group(at(i));
      }
      last_row_ = static_cast<Row>(at(i));
    }
    if (n > begin) end_run(size() - 1, n);
    return n;
  }

  /// The same for one column of words: as unsigned ones, once the sign is flipped.
  template <class At>
  std::size_t ordered_words(std::size_t n, At at) {
    const Column& column = *keys_->columns()[0];
    const std::uint64_t* words = column.words().data();
    const std::uint64_t flip = column.type() == Type::uint64 || column.type() == Type::boolean ? 0 : std::uint64_t{1} << 63;
    if (n == 0) return 0;
    if (last_row_ == no_row) start_group(last_row_ = static_cast<Row>(at(0)));
    std::uint64_t word = words[last_row_];
    for (std::size_t i = 0;;) {
      const std::size_t begin = i;
      while (i < n && words[at(i)] == word) ++i;
      if (i > begin) end_run(size() - 1, i);
      if (i == n) break;
      const std::uint64_t next = words[at(i)];
      if ((next ^ flip) < (word ^ flip)) return spill(), i;
      word = next;
      start_group(at(i));
    }
    last_row_ = static_cast<Row>(at(n - 1));
    return n;
  }

  template <class At>
  void hashed(const Block& block, At at) {
    std::array<std::uint64_t, block_rows> hashes;
    keys_->hashes(block, hashes.data());
    reserve(size() + block.size);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = hashed_from_; i < block.size; ++i) {
      if (i + prefetch_ahead < block.size) __builtin_prefetch(&slots_[hashes[i + prefetch_ahead] & mask]);
      const Row group = find(hashes[i], at(i), mask);
      group_of_[i] = group;
    }
  }

  Row find(std::uint64_t hash, std::size_t row, std::size_t mask) {
    for (std::size_t s = hash & mask;; s = (s + 1) & mask) {
      const Slot& slot = slots_[s];
      if (slot.hash == hash && slot.group != no_row && same_key(slot, row)) return slot.group;
      if (slot.group == no_row) return add(hash, row, s);
    }
  }

  bool same_key(const Slot& slot, std::size_t row) const {
    if (keys_->words() == 1) return true;
    return keys_->words() == 2 ? first_words_[slot.group] == keys_->first_word(row) : keys_->same(row, first_keys_, slot.group);
  }

  [[gnu::noinline]] Row add(std::uint64_t hash, std::size_t row, std::size_t s) {
    slots_[s] = {hash, static_cast<Row>(start_group(row))};
    note(row);
    return slots_[s].group;
  }

  /// Keeps of a group's key what its hash does not say, where a search finds it without going to the row.
  void note(std::size_t row) {
    if (keys_->words() == 2)
      first_words_.push_back(keys_->first_word(row));
    else if (keys_->words() == 0)
      keys_->append(row, first_keys_);
  }

  /// From groups in order to a table of them.
  void spill() {
    first_keys_ = keys_->empty();
    for (const Row row : first_rows_) note(row);
    reserve(std::max<std::size_t>(size(), block_rows));
  }

  /// Makes room for `groups`: at most every other slot is taken, so that few lie in each other's way.
  void reserve(std::size_t groups) {
    if (2 * groups <= slots_.size()) return;
    std::size_t capacity = std::max<std::size_t>(slots_.size(), 4 * block_rows);
    while (capacity < 2 * groups) capacity *= 2;
    const bool was_empty = slots_.empty();
    std::vector<Slot> old(capacity);
    old.swap(slots_);
    const auto put = [&](const Slot& slot) {
      std::size_t s = slot.hash & (capacity - 1);
      while (slots_[s].group != no_row) s = (s + 1) & (capacity - 1);
      slots_[s] = slot;
    };
    if (was_empty) {
      std::array<std::uint64_t, block_rows> hashes;
      for (std::size_t at = 0; at < first_rows_.size(); at += block_rows) {
        const Block block{0, std::min(block_rows, first_rows_.size() - at), first_rows_.data() + at};
        keys_->hashes(block, hashes.data());
        for (std::size_t i = 0; i < block.size; ++i) put({hashes[i], static_cast<Row>(at + i)});
      }
    } else {
      for (const Slot& slot : old)
        if (slot.group != no_row) put(slot);
    }
  }

  const Keys* keys_;
  std::vector<Row> first_rows_;
  std::vector<std::uint64_t> first_words_;       // of keys of two words, by group
  std::vector<Column> first_keys_;               // of keys that are not words, by group
  std::vector<Slot> slots_;                      // a power of two; empty while groups are in order
  std::array<Row, block_rows> group_of_, ends_;  // of the last block's runs, and from `hashed_from_` on of its rows
  std::size_t runs_ = 0, hashed_from_ = 0, size_of_block_ = 0;
  Row last_row_ = no_row;
};

}  // namespace epochcut::folding
