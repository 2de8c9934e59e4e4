// Which keys and values differ between two sides that come in no order?
// Layer: diff. For a side that its server would have to sort: a sort costs several times the stream. Both sides are kept, up to a stated limit, and
// compared by 128-bit hashes of their rows, partition by partition, so that each fits a cache; whatever the hashes don't call equal is decided on the
// values, by the same rules as in `diff`, which is the reference: counts and differences are the same, the order of the differences is not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/diff/diff.hpp>

namespace epochcut {

struct HashedLimits {
  /// Of both sides' rows together, and what is noted of them: 40 bytes a row. Beyond it the diff is refused, before the machine has to.
  std::uint64_t bytes_max = std::uint64_t{2} << 30;
};

namespace diffing {

/// What is known of one row until its values are looked at.
struct HashedRow {
  std::uint64_t key = 0;            ///< a hash of its key
  std::uint64_t low = 0, high = 0;  ///< of all that is compared, the key included
  std::uint32_t row = 0;
  std::uint32_t matched = 0;
};

/// How a column is brought to one form on both sides before it is hashed.
enum class HashForm : std::uint8_t { words, wides, scaled, canonical };

struct HashedColumn {
  const Column* column;
  HashForm form;
  int scale = 0;  ///< of `scaled`: what both are brought to
};

/// One form for two columns that belong together: their bits where they hold values alike, else numbers at the wider scale, else the hash form.
inline std::pair<HashedColumn, HashedColumn> forms_of(const Column& left, const Column& right) {
  HashForm form = HashForm::canonical;
  int scale = 0;
  const auto whole = [](const Column& c) { return c.type() == Type::int64 || c.type() == Type::uint64; };
  if (left.type() == right.type() && left.type() != Type::text && left.type() != Type::float64)
    form = left.type() != Type::decimal && left.type() != Type::uuid ? HashForm::words : left.scale() == right.scale() ? HashForm::wides : form;
  if (form == HashForm::canonical && family(left.type()) == Family::number) {
    scale = std::max(whole(left) ? 0 : left.scale(), whole(right) ? 0 : right.scale());
    const auto fits = [&](const Column& c) {
      if (whole(c)) return scale <= 18;
      const Int128 most = std::numeric_limits<Int128>::max() / power_of_ten(scale - c.scale());
      return std::all_of(c.wides().begin(), c.wides().end(), [&](Int128 w) { return w <= most && w >= -most; });
    };
    if (fits(left) && fits(right)) form = HashForm::scaled;
  }
  return {{&left, form, scale}, {&right, form, scale}};
}

/// Absorbs one column into the hashes of all rows: a column at a time, so that the rows are independent of each other and the machine can overlap them.
template <class Absorb>
void absorb_column(const HashedColumn& c, std::size_t rows, Absorb absorb) {
  const Column& column = *c.column;
  const bool nulls = column.has_nulls();
  // A NULL takes a step more than any value, so that it is none.
  const auto absorb_null = [&](std::size_t i) { absorb(i, 0xD1B54A32D192ED03u, 0xAEF17502108EF2D9u), absorb(i, 1, 0); };
  const auto each = [&](auto cell) {
    if (!nulls) {
      for (std::size_t i = 0; i < rows; ++i) cell(i);
      return;
    }
    for (std::size_t i = 0; i < rows; ++i) column.is_null(i) ? absorb_null(i) : cell(i);
  };
  switch (c.form) {
    case HashForm::words: {
      const std::uint64_t* words = column.words().data();
      return each([&](std::size_t i) { absorb(i, words[i], std::uint64_t{0}); });
    }
    case HashForm::wides: {
      const Int128* wides = column.wides().data();
      return each([&](std::size_t i) { absorb(i, static_cast<std::uint64_t>(wides[i]), static_cast<std::uint64_t>(wides[i] >> 64)); });
    }
    case HashForm::scaled: {
      const bool whole = column.type() != Type::decimal;
      const Int128 factor = power_of_ten(c.scale - (whole ? 0 : column.scale()));
      return each([&](std::size_t i) {
        const Int128 value = factor * (!whole                          ? column.wides()[i]
                                       : column.type() == Type::uint64 ? static_cast<Int128>(column.words()[i])
                                                                       : static_cast<Int128>(static_cast<std::int64_t>(column.words()[i])));
        absorb(i, static_cast<std::uint64_t>(value), static_cast<std::uint64_t>(value >> 64));
      });
    }
    case HashForm::canonical: break;
  }
  for (std::size_t i = 0; i < rows; ++i) {
    RowHash hash;
    hash.absorb(column[i]);
    const Digest digest = hash.digest();
    absorb(i, digest.sum_low, digest.sum_high);
  }
}

inline std::vector<HashedRow> hash_rows(std::span<const HashedColumn> keys, std::span<const HashedColumn> values, std::size_t rows) {
  std::vector<HashedRow> hashed(rows);
  const auto absorb = [&](std::size_t i, std::uint64_t word, std::uint64_t more) {
    HashedRow& h = hashed[i];
    // The second word is zero for all but wide numbers.
    h.low = mix(h.low ^ word);
    h.high = mix((h.high << 29 | h.high >> 35) + (word ^ event_id_high_salt));
    if (more != 0) h.low = mix(h.low ^ more), h.high = mix(h.high + (more ^ event_id_high_salt));
  };
  for (std::size_t i = 0; i < rows; ++i) hashed[i] = {0, 0x243F6A8885A308D3u, 0x13198A2E03707344u, static_cast<std::uint32_t>(i), 0};
  for (const HashedColumn& c : keys) absorb_column(c, rows, absorb);
  for (HashedRow& h : hashed) h.key = h.low + h.high;
  for (const HashedColumn& c : values) absorb_column(c, rows, absorb);
  return hashed;
}

/// The rows by the top bits of their keys' hashes: `begins[p]` to `begins[p + 1]` are partition p.
struct Partitioned {
  std::vector<HashedRow> rows;
  std::vector<std::size_t> begins;

  Partitioned(std::vector<HashedRow> hashed, int bits) : rows(hashed.size()), begins((std::size_t{1} << bits) + 1) {
    const auto of = [&](const HashedRow& h) { return bits == 0 ? 0 : static_cast<std::size_t>(h.key >> (64 - bits)); };
    for (const HashedRow& h : hashed) ++begins[of(h) + 1];
    for (std::size_t p = 1; p < begins.size(); ++p) begins[p] += begins[p - 1];
    std::vector<std::size_t> next(begins.begin(), begins.end() - 1);
    for (const HashedRow& h : hashed) rows[next[of(h)]++] = h;
  }
  std::span<HashedRow> operator[](std::size_t p) { return std::span(rows).subspan(begins[p], begins[p + 1] - begins[p]); }
};

/// Everything a cursor has. Errors: `too_large`, and the cursor's own.
inline Relation collect_all(Cursor& cursor, const char* name, std::uint64_t& bytes, const HashedLimits& limits) {
  Relation all, block;
  bool first = true;
  while (cursor.next(block)) {
    if (first)
      all = block;
    else
      all.append(block);
    first = false;
    // What is noted of a row stands there twice while it is partitioned.
    if (bytes + all.bytes() + all.rows() * 2 * sizeof(HashedRow) > limits.bytes_max || all.rows() >= std::numeric_limits<std::uint32_t>::max())
      throw Failure(Reason::too_large, std::string("the two sides don't fit the ") + std::to_string(limits.bytes_max) +
                                           " bytes that an unordered diff may hold, by the " + name + " side; read both in key order, or raise the limit");
  }
  if (first) all = std::move(block);
  bytes += all.bytes() + all.rows() * 2 * sizeof(HashedRow);
  return all;
}

/// A cursor over one row of a relation: what `diff`'s rules are applied to.
class OneRow final : public Cursor {
 public:
  explicit OneRow(const Relation& shape) : block_(shape.empty_copy()) {}
  void set(const Relation* from, std::size_t row) {
    for (Field& f : block_.fields) f.column.clear();
    if (from != nullptr) block_.append_row(*from, row);
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
  const Relation left = collect_all(left_cursor, "left", bytes, limits), right = collect_all(right_cursor, "right", bytes, limits);
  const std::vector<Pair> pairs = match(left, right, rules);
  DiffCounts counts;
  counts.left = left.rows(), counts.right = right.rows();

  std::vector<HashedColumn> left_keys, right_keys, left_values, right_values;
  std::vector<std::pair<std::size_t, std::size_t>> key_fields;
  for (std::size_t l = 0, r = 0; l < left.fields.size(); ++l) {
    if (left.fields[l].role != Role::key) continue;
    while (right.fields[r].role != Role::key) ++r;
    const auto [a, b] = forms_of(left.fields[l].column, right.fields[r].column);
    left_keys.push_back(a), right_keys.push_back(b);
    key_fields.emplace_back(l, r++);
  }
  for (const Pair& p : pairs) {
    const auto [a, b] = forms_of(left.fields[p.left].column, right.fields[p.right].column);
    left_values.push_back(a), right_values.push_back(b);
  }

  constexpr std::size_t partition_rows = 4096;  // 160 KB of notes a side: what a core's own cache holds
  int bits = 0;
  while (bits < 12 && std::max(left.rows(), right.rows()) >> bits > partition_rows) ++bits;
  Partitioned lefts(hash_rows(left_keys, left_values, left.rows()), bits), rights(hash_rows(right_keys, right_values, right.rows()), bits);

  const auto same_key = [&](const Relation& a, std::size_t i, bool a_left, const Relation& b, std::size_t j, bool b_left) {
    for (const auto& [l, r] : key_fields)
      if (compare(a.fields[a_left ? l : r].column[i], b.fields[b_left ? l : r].column[j]) != 0) return false;
    return true;
  };
  const auto twice = [&](const Relation& relation, std::size_t row, const char* name) {
    std::string text;
    for (const Field& f : relation.fields)
      if (f.role == Role::key) text += (text.empty() ? "" : ", ") + f.name + "=" + to_string(f.column[row]);
    return Failure(Reason::unordered, std::string("the ") + name + " side has two rows of one key: " + (text.empty() ? "(total)" : text) +
                                          "; group the query or name its whole key");
  };
  // What the hashes don't settle goes through the reference, as two tables of one row.
  OneRow one_left(left), one_right(right);
  const auto by_value = [&](const HashedRow* l, const HashedRow* r) {
    one_left.set(l == nullptr ? nullptr : &left, l == nullptr ? 0 : l->row);
    one_right.set(r == nullptr ? nullptr : &right, r == nullptr ? 0 : r->row);
    const DiffCounts c = run<Path::plain>(one_left, one_right, rules, sink);
    counts.equal += c.equal, counts.only_left += c.only_left, counts.only_right += c.only_right, counts.changed += c.changed;
    counts.which += c.which;
  };

  const bool settles = same_is_equal(pairs);
  constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> slots;
  for (std::size_t p = 0; p < std::size_t{1} << bits; ++p) {
    const std::span<HashedRow> l = lefts[p], r = rights[p];
    std::size_t size = 16;
    while (size < 2 * l.size()) size *= 2;
    slots.assign(size, none);
    const auto slot_of = [&](std::uint64_t key) { return static_cast<std::size_t>(key) & (size - 1); };  // the low bits; the top ones chose the partition
    for (std::uint32_t i = 0; i < l.size(); ++i) {
      std::size_t at = slot_of(l[i].key);
      for (; slots[at] != none; at = (at + 1) & (size - 1))
        if (l[slots[at]].key == l[i].key && same_key(left, l[slots[at]].row, true, left, l[i].row, true)) throw twice(left, l[i].row, "left");
      slots[at] = i;
    }
    std::vector<HashedRow> strangers;  // of the right: no left row has their key
    for (const HashedRow& row : r) {
      HashedRow* found = nullptr;
      for (std::size_t at = slot_of(row.key); slots[at] != none; at = (at + 1) & (size - 1)) {
        HashedRow& candidate = l[slots[at]];
        if (candidate.key != row.key) continue;
        const bool same = candidate.low == row.low && candidate.high == row.high;
        if (!same && !same_key(left, candidate.row, true, right, row.row, false)) continue;
        found = &candidate;
        if (found->matched++ != 0) throw twice(right, row.row, "right");
        if (same && settles)
          ++counts.equal;
        else
          by_value(found, &row);
        break;
      }
      if (found == nullptr) strangers.push_back(row);
    }
    std::sort(strangers.begin(), strangers.end(), [](const HashedRow& a, const HashedRow& b) { return std::pair(a.key, a.row) < std::pair(b.key, b.row); });
    for (std::size_t i = 0; i < strangers.size(); ++i) {
      for (std::size_t j = i; j > 0 && strangers[j - 1].key == strangers[i].key; --j)
        if (same_key(right, strangers[j - 1].row, false, right, strangers[i].row, false)) throw twice(right, strangers[i].row, "right");
      by_value(nullptr, &strangers[i]);
    }
    for (const HashedRow& row : l)
      if (row.matched == 0) by_value(&row, nullptr);
  }
  return counts;
}

}  // namespace epochcut
