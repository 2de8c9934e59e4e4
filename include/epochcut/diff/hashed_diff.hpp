// Which keys and values differ between two sides that come in no order?
// Layer: diff. For a side that its server would have to sort: a sort costs several times the stream. Both sides are kept, up to a stated limit, and
// compared by 128-bit hashes of their rows, partition by partition, so that each fits a cache; whatever the hashes don't call equal is decided on the
// values, by the same rules as in `diff`, which is the reference: counts and differences are the same, their order is not, and is another one in each process.
// What the hashes do call equal is believed, since looking at it would be a random read a row: so their start is the process's secret (core/seed.hpp).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/hash_words.hpp>
#include <epochcut/core/seed.hpp>
#include <epochcut/diff/diff.hpp>

namespace epochcut {

struct HashedLimits {
  /// Of both sides' rows together, and what is noted of them: 24 bytes a row. Beyond it the diff is refused, before the machine has to.
  std::uint64_t bytes_max = std::uint64_t{2} << 30;
};

namespace diffing {

/// What is known of one row until its values are looked at. Left uninitialised when many are made, since each is written once.
struct HashedRow {
  std::uint64_t low, high;  ///< a hash of all that is compared, the key included
  std::uint32_t key;        ///< the low bits of a hash of its key; the top ones chose its partition
  std::uint32_t row;
};

/// Rows that are hashed together: their hashes stay in a core's first cache.
inline constexpr std::size_t hashed_rows = 512;

/// All blocks of one side, as they came.
struct Held {
  std::vector<Relation> blocks;
  std::vector<std::size_t> begins{0};  ///< of each block, and the end of the last: numbers of rows

  std::size_t rows() const { return begins.back(); }
  const Relation& shape() const { return blocks.front(); }
  RowView operator[](std::size_t row) const {
    const std::size_t block = static_cast<std::size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
    return {&blocks[block], row - begins[block]};
  }
};

/// How a column is brought to one form on both sides before it is hashed.
enum class HashForm : std::uint8_t { words, floats, wides, scaled, texts, canonical };

/// Two columns that belong together, by their fields' positions.
struct HashedColumn {
  std::size_t left, right;
  HashForm form = HashForm::canonical;
  int scale = 0;       ///< of `scaled`: what both are brought to
  bool nulls = false;  ///< on any side: then whether a cell is NULL is hashed too
};

inline bool whole(const Column& c) { return c.type() == Type::int64 || c.type() == Type::uint64; }

/// One form for two columns, whatever their blocks hold: their bits where they hold values alike, else numbers at the widest scale, else the hash form.
inline HashedColumn form_of(const Held& left, std::size_t l, const Held& right, std::size_t r) {
  HashedColumn column{l, r};
  const Column& first = left.shape().fields[l].column;
  bool alike = true, fits = true;
  const auto each = [&](auto act) {
    for (const Relation& block : left.blocks) act(block.fields[l].column);
    for (const Relation& block : right.blocks) act(block.fields[r].column);
  };
  each([&](const Column& c) {
    column.nulls |= c.has_nulls();
    alike = alike && c.type() == first.type() && (c.type() != Type::decimal || c.scale() == first.scale());
    if (c.type() == Type::decimal) column.scale = std::max(column.scale, c.scale());
  });
  switch (family(first.type())) {
    case Family::number: break;
    case Family::text: return column.form = HashForm::texts, column;
    case Family::float64: return column.form = HashForm::floats, column;
    case Family::uuid: return column.form = HashForm::wides, column;
    default: return column.form = HashForm::words, column;
  }
  if (alike) return column.form = whole(first) ? HashForm::words : HashForm::wides, column;
  each([&](const Column& c) {
    if (whole(c)) return void(fits = fits && column.scale <= 18);
    const Int128 most = std::numeric_limits<Int128>::max() / power_of_ten(column.scale - c.scale());
    fits = fits && std::all_of(c.wides().begin(), c.wides().end(), [&](Int128 w) { return w <= most && w >= -most; });
  });
  if (fits) column.form = HashForm::scaled;
  return column;
}

/// Two lanes of 64 bits for each of some rows. A column is absorbed at a time, in as many steps for each row: rows don't wait for each other.
/// They start, and are multiplied, by numbers that this process alone knows: two words that meet in both lanes of a known start are found in seconds.
class Lanes {
 public:
  /// Of what forms the columns are that will be absorbed: rows whose numbers are brought to another form have another hash, whatever they hold.
  void expect(const HashedColumn& how) {
    begin_low_ = fold(begin_low_ ^ (static_cast<std::uint64_t>(how.form) + 1), by_low_);
    begin_high_ = fold(begin_high_ + static_cast<std::uint64_t>(how.form) + 1, by_high_);
  }
  void start(std::size_t rows) {
    rows_ = rows;
    std::fill_n(low_.begin(), rows, begin_low_);
    std::fill_n(high_.begin(), rows, begin_high_);
  }
  std::uint64_t low(std::size_t i) const { return low_[i]; }
  std::uint64_t high(std::size_t i) const { return high_[i]; }
  /// One hash of each row, once the keys have been absorbed.
  void keys(std::uint64_t* out) const {
    std::copy_n(low_.begin(), rows_, out);
    mix_words(out, {high_.data(), rows_});
  }

  /// Absorbs the cells of `c` from `row` on.
  void absorb(const Column& c, const HashedColumn& how, std::size_t row) {
    switch (how.form) {
      case HashForm::words: whole_words(c.words().subspan(row, rows_)); break;
      case HashForm::floats: words(c.words().data() + row, [](std::uint64_t word) { return canonical_float(std::bit_cast<double>(word)); }); break;
      case HashForm::wides: wides([cells = c.wides().data() + row](std::size_t i) { return cells[i]; }); break;
      case HashForm::texts: texts(c, row); break;
      case HashForm::scaled: {
        const Int128 factor = power_of_ten(how.scale - (whole(c) ? 0 : c.scale()));
        if (!whole(c))
          wides([cells = c.wides().data() + row, factor](std::size_t i) { return factor * cells[i]; });
        else if (c.type() == Type::int64)
          wides([cells = c.words().data() + row, factor](std::size_t i) { return factor * static_cast<std::int64_t>(cells[i]); });
        else
          wides([cells = c.words().data() + row, factor](std::size_t i) { return factor * static_cast<Int128>(cells[i]); });
        break;
      }
      case HashForm::canonical:
        for (std::size_t i = 0; i < rows_; ++i) {
          const Decimal shortest = c.is_null(row + i) ? Decimal{} : c[row + i].as_decimal().shortest();
          step(i, static_cast<std::uint64_t>(shortest.scale));
          step(i, static_cast<std::uint64_t>(shortest.unscaled)), step(i, static_cast<std::uint64_t>(shortest.unscaled >> 64));
        }
    }
    if (!how.nulls) return;
    for (std::size_t i = 0; i < rows_; ++i) step(i, c.is_null(row + i) ? 0xD1B54A32D192ED03u : 0);
  }

 private:
  /// Both halves of a product with a number of the lane's own, folded: what a word changes, it changes in half of the bits.
  static std::uint64_t fold(std::uint64_t word, std::uint64_t by) {
    const Uint128 product = static_cast<Uint128>(word) * by;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  [[gnu::always_inline]] void step(std::size_t i, std::uint64_t word) {
    low_[i] = fold(low_[i] ^ word, by_low_);
    high_[i] = fold((high_[i] << 29 | high_[i] >> 35) + (word ^ 0xA4093822299F31D0u), by_high_);
  }
  /// Both ways mix what there is; the first is the better and, where words are hashed by eight, by far the cheaper.
  void whole_words(std::span<const std::uint64_t> cells) {
    if (hashing::by_eight()) return absorb_words(low_.data(), high_.data(), cells);
    words(cells.data(), [](std::uint64_t word) { return word; });
  }
  template <class Change>
  void words(const std::uint64_t* cells, Change change) {
    for (std::size_t i = 0; i < rows_; ++i) step(i, change(cells[i]));
  }
  template <class Cell>
  void wides(Cell cell) {
    for (std::size_t i = 0; i < rows_; ++i) {
      const Int128 wide = cell(i);
      step(i, static_cast<std::uint64_t>(wide)), step(i, static_cast<std::uint64_t>(wide >> 64));
    }
  }
  /// Each text with its length first, so that no two are one.
  void texts(const Column& c, std::size_t row) {
    for (std::size_t i = 0; i < rows_; ++i) {
      std::string_view text = c.text(row + i);
      step(i, text.size());
      std::uint64_t word = 0;
      for (; text.size() >= sizeof word; text.remove_prefix(sizeof word)) {
        std::memcpy(&word, text.data(), sizeof word);
        step(i, word);
      }
      if (text.empty()) continue;
      word = 0;
      std::memcpy(&word, text.data(), text.size());
      step(i, word);
    }
  }

  std::size_t rows_ = 0;
  std::uint64_t begin_low_ = hashing::seed_of(1), begin_high_ = hashing::seed_of(2);
  std::uint64_t by_low_ = hashing::seed_of(3) | 1, by_high_ = hashing::seed_of(4) | 1;
  std::array<std::uint64_t, hashed_rows> low_, high_;
};

/// Notes of all rows of a side by the top bits of their keys' hashes: `begins[p]` to `begins[p + 1]` are partition p.
class Partitioned {
 public:
  Partitioned(const Held& side, std::size_t HashedColumn::*field, std::span<const HashedColumn> keys, std::span<const HashedColumn> values, int bits)
      : rows_{new HashedRow[side.rows()]}, begins_((std::size_t{1} << bits) + 1) {
    Lanes lanes;
    for (const HashedColumn& c : keys) lanes.expect(c);
    for (const HashedColumn& c : values) lanes.expect(c);
    const auto partition = [&](std::uint64_t key) { return bits == 0 ? 0 : static_cast<std::size_t>(key >> (64 - bits)); };
    const auto absorb = [&](std::span<const HashedColumn> columns, const Relation& block, std::size_t row) {
      for (const HashedColumn& c : columns) lanes.absorb(block.fields[c.*field].column, c, row);
    };
    // The keys are hashed twice, which costs less than noting them in between.
    const auto each = [&](auto act) {
      for (std::size_t b = 0; b < side.blocks.size(); ++b)
        for (std::size_t row = 0, n = 0; row < side.blocks[b].rows(); row += n) {
          n = std::min(hashed_rows, side.blocks[b].rows() - row);
          lanes.start(n);
          absorb(keys, side.blocks[b], row);
          act(b, row, n);
        }
    };
    std::array<std::uint64_t, hashed_rows> key;
    each([&](std::size_t, std::size_t, std::size_t n) {
      lanes.keys(key.data());
      for (std::size_t i = 0; i < n; ++i) ++begins_[partition(key[i]) + 1];
    });
    for (std::size_t p = 1; p < begins_.size(); ++p) begins_[p] += begins_[p - 1];
    std::vector<std::size_t> next(begins_.begin(), begins_.end() - 1);
    each([&](std::size_t b, std::size_t row, std::size_t n) {
      lanes.keys(key.data());
      absorb(values, side.blocks[b], row);
      for (std::size_t i = 0; i < n; ++i)
        rows_.made[next[partition(key[i])]++] = {lanes.low(i), lanes.high(i), static_cast<std::uint32_t>(key[i]),
                                                 static_cast<std::uint32_t>(side.begins[b] + row + i)};
    });
  }
  Partitioned(const Partitioned&) = delete;
  Partitioned& operator=(const Partitioned&) = delete;

  std::span<HashedRow> operator[](std::size_t p) { return {rows_.made + begins_[p], begins_[p + 1] - begins_[p]}; }

 private:
  /// Deleted even where what is made after them fails. A vector would write them twice.
  struct Rows {
    HashedRow* made;
    ~Rows() { delete[] made; }
  };
  Rows rows_;
  std::vector<std::size_t> begins_;
};

/// Everything a cursor has. Errors: `too_large`, and the cursor's own.
inline Held hold(Cursor& cursor, const char* name, std::uint64_t& bytes, const HashedLimits& limits) {
  Held all;
  Relation block;
  while (cursor.next(block)) {
    if (!all.blocks.empty() && !all.shape().same_shape(block))
      throw Failure(Reason::schema, std::string("the columns of the ") + name + " side changed between two of its blocks; its source must keep to one shape");
    bytes += block.bytes() + block.rows() * sizeof(HashedRow);
    if (bytes > limits.bytes_max || all.rows() + block.rows() >= std::numeric_limits<std::uint32_t>::max())
      throw Failure(Reason::too_large, std::string("the two sides don't fit the ") + std::to_string(limits.bytes_max) +
                                           " bytes that an unordered diff may hold, by the " + name + " side; read both in key order, or raise the limit");
    all.begins.push_back(all.rows() + block.rows());
    all.blocks.push_back(std::exchange(block, Relation{}));
  }
  if (all.blocks.empty()) all.blocks.push_back(std::move(block)), all.begins.push_back(0);
  return all;
}

/// A cursor over one row of a relation: what `diff`'s rules are applied to.
class OneRow final : public Cursor {
 public:
  explicit OneRow(const Relation& shape) : block_(shape.empty_copy()) {}
  void set(RowView row) {
    for (Field& f : block_.fields) f.column.clear();
    if (row.relation != nullptr) {
      for (std::size_t i = 0; i < block_.fields.size(); ++i)
        if (const Column& from = row.relation->fields[i].column, &to = block_.fields[i].column; from.type() != to.type() || from.scale() != to.scale())
          block_.fields[i].column = Column(from.type(), from.scale());
      block_.append_row(*row.relation, row.row);
    }
    given_ = false;
  }
  bool next(Relation& block) override {
    if (std::exchange(given_, true)) return false;
    block = block_;
    return true;
  }
  Proof proof() const override { return {}; }

 private:
  Relation block_;
  bool given_ = false;
};

}  // namespace diffing

/// As `diff`, for cursors in any order. Errors: as `diff`; `unordered` for a key that stands there twice; `too_large`.
template <DiffSink Sink>
DiffCounts hashed_diff(Cursor& left_cursor, Cursor& right_cursor, std::span<const Rule> rules, Sink& sink, const HashedLimits& limits = {}) {
  using namespace diffing;
  std::uint64_t bytes = 0;
  const Held left = hold(left_cursor, "left", bytes, limits), right = hold(right_cursor, "right", bytes, limits);
  const std::vector<Pair> pairs = match(left.shape(), right.shape(), rules);
  DiffCounts counts;
  counts.left = left.rows(), counts.right = right.rows();

  std::vector<HashedColumn> keys, values;
  for (std::size_t l = 0, r = 0; l < left.shape().fields.size(); ++l) {
    if (left.shape().fields[l].role != Role::key) continue;
    while (right.shape().fields[r].role != Role::key) ++r;
    keys.push_back(form_of(left, l, right, r++));
  }
  for (const Pair& p : pairs) values.push_back(form_of(left, p.left, right, p.right));

  constexpr std::size_t partition_rows = 16'384;  // half a megabyte of notes a side: what a core's own cache holds
  int bits = 0;
  while (bits < 12 && std::max(left.rows(), right.rows()) >> bits > partition_rows) ++bits;
  Partitioned lefts(left, &HashedColumn::left, keys, values, bits), rights(right, &HashedColumn::right, keys, values, bits);

  const auto same_key = [&](const Held& a, std::size_t i, std::size_t HashedColumn::*in_a, const Held& b, std::size_t j, std::size_t HashedColumn::*in_b) {
    const RowView x = a[i], y = b[j];
    return std::all_of(keys.begin(), keys.end(), [&](const HashedColumn& k) {
      return compare(x.relation->fields[k.*in_a].column[x.row], y.relation->fields[k.*in_b].column[y.row]) == 0;
    });
  };
  constexpr auto in_left = &HashedColumn::left, in_right = &HashedColumn::right;
  const auto twice = [&](const Held& side, std::size_t row, const char* name) {
    const RowView view = side[row];
    std::string text;
    for (const Field& f : view.relation->fields)
      if (f.role == Role::key) text += (text.empty() ? "" : ", ") + f.name + "=" + to_string(f.column[view.row]);
    return Failure(Reason::unordered, std::string("the ") + name + " side has two rows of one key: " + (text.empty() ? "(total)" : text) +
                                          "; group the query or name its whole key");
  };
  // What the hashes don't settle goes through the reference, as two tables of one row.
  OneRow one_left(left.shape()), one_right(right.shape());
  const auto by_value = [&](const HashedRow* l, const HashedRow* r) {
    one_left.set(l == nullptr ? RowView{} : left[l->row]);
    one_right.set(r == nullptr ? RowView{} : right[r->row]);
    const DiffCounts c = run<Path::plain>(one_left, one_right, rules, sink);
    counts.equal += c.equal, counts.only_left += c.only_left, counts.only_right += c.only_right, counts.changed += c.changed;
    counts.which += c.which;
  };

  const bool settles = same_is_equal(pairs);
  constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> slots;
  std::vector<char> matched;
  for (std::size_t p = 0; p < std::size_t{1} << bits; ++p) {
    const std::span<HashedRow> l = lefts[p], r = rights[p];
    std::size_t size = 16;
    while (size < 4 * l.size()) size *= 2;  // so that most rows find their slot at once: a wrong guess of the machine costs more than the memory
    slots.assign(size, none);
    matched.assign(l.size(), 0);
    const auto slot_of = [&](std::uint32_t key) { return key & (size - 1); };
    for (std::uint32_t i = 0; i < l.size(); ++i) {
      std::size_t at = slot_of(l[i].key);
      for (; slots[at] != none; at = (at + 1) & (size - 1))
        if (l[slots[at]].key == l[i].key && same_key(left, l[slots[at]].row, in_left, left, l[i].row, in_left)) throw twice(left, l[i].row, "left");
      slots[at] = i;
    }
    std::vector<HashedRow> strangers;  // of the right: no left row has their key
    for (const HashedRow& row : r) {
      bool found = false;
      for (std::size_t at = slot_of(row.key); slots[at] != none; at = (at + 1) & (size - 1)) {
        const HashedRow& candidate = l[slots[at]];
        if (candidate.key != row.key) continue;
        const bool same = candidate.low == row.low && candidate.high == row.high;
        if (!same && !same_key(left, candidate.row, in_left, right, row.row, in_right)) continue;
        found = true;
        if (matched[slots[at]]++ != 0) throw twice(right, row.row, "right");
        if (same && settles)
          ++counts.equal;
        else
          by_value(&candidate, &row);
        break;
      }
      if (!found) strangers.push_back(row);
    }
    std::sort(strangers.begin(), strangers.end(), [](const HashedRow& a, const HashedRow& b) { return std::pair(a.key, a.row) < std::pair(b.key, b.row); });
    for (std::size_t i = 0; i < strangers.size(); ++i) {
      for (std::size_t j = i; j > 0 && strangers[j - 1].key == strangers[i].key; --j)
        if (same_key(right, strangers[j - 1].row, in_right, right, strangers[i].row, in_right)) throw twice(right, strangers[i].row, "right");
      by_value(nullptr, &strangers[i]);
    }
    for (std::size_t i = 0; i < l.size(); ++i)
      if (matched[i] == 0) by_value(&l[i], nullptr);
  }
  return counts;
}

}  // namespace epochcut
