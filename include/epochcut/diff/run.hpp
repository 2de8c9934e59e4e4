// How many rows from here on are the same on both sides, and in order?
// Layer: diff. The fast path under `diff`: whole columns at a time, as memory, so that each byte of equal rows is read once and by nothing slower than
// memcmp. It only ever says "these rows are the same, bit for bit"; whatever else it sees, it leaves to the row by row reference. Thread-safe to read.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <cstring>
#include <span>

#include <epochcut/core/column.hpp>
#include <epochcut/cut/evaluation.hpp>

namespace epochcut::diffing {

/// Two columns that belong together, from their next row on.
struct ColumnRun {
  const Column* left;
  const Column* right;
  std::size_t left_row, right_row;
};

/// The first position at which two arrays part, at most `n`.
template <class Cell>
std::size_t first_unequal(const Cell* a, const Cell* b, std::size_t n) {
  constexpr std::size_t step = 4096 / sizeof(Cell);  // a page: what is read twice, to find the place, is still in the cache
  for (std::size_t at = 0; at < n; at += step) {
    const std::size_t size = std::min(step, n - at);
    if (std::memcmp(a + at, b + at, size * sizeof(Cell)) == 0) continue;
    for (std::size_t i = at; i < at + size; ++i)
      if (a[i] != b[i]) return i;
  }
  return n;
}

/// int64 against uint64: the same bits are the same number unless the top one is set.
inline std::size_t first_unequal_number(const std::uint64_t* a, const std::uint64_t* b, std::size_t n) {
  constexpr std::size_t step = 256;
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  for (std::size_t at = 0; at < n; at += step) {
    const std::size_t end = std::min(at + step, n);
    std::uint64_t bad = 0;
    for (std::size_t i = at; i < end; ++i) bad |= (a[i] ^ b[i]) | (a[i] & sign);
    if (bad == 0) continue;
    for (std::size_t i = at; i < end; ++i)
      if (((a[i] ^ b[i]) | (a[i] & sign)) != 0) return i;
  }
  return n;
}

/// Text: where the cells end, then all of their bytes at once.
inline std::size_t first_unequal_text(const ColumnRun& run, std::size_t n) {
  const std::span<const std::uint64_t> l = run.left->ends(), r = run.right->ends();
  const std::uint64_t left_begin = run.left_row == 0 ? 0 : l[run.left_row - 1], right_begin = run.right_row == 0 ? 0 : r[run.right_row - 1];
  const std::uint64_t *left = l.data() + run.left_row, *right = r.data() + run.right_row;
  const std::uint64_t apart = left_begin - right_begin;  // modulo 2^64, as the ends are
  std::size_t same = 0;
  while (same < n && left[same] - right[same] == apart) ++same;
  if (same == 0) return 0;
  const char *a = run.left->characters().data() + left_begin, *b = run.right->characters().data() + right_begin;
  const std::size_t bytes = static_cast<std::size_t>(left[same - 1] - left_begin);
  const std::size_t at = bytes == 0 ? 0 : first_unequal(a, b, bytes);
  if (at == bytes) return same;
  return static_cast<std::size_t>(std::upper_bound(left, left + same, left_begin + at) - left);
}

/// How many of the next `n` rows hold the same bits in both columns, NULL for NULL. 0 where the two hold one value in two ways.
inline std::size_t equal_rows(const ColumnRun& run, std::size_t n) {
  const Column &left = *run.left, &right = *run.right;
  if (left.has_nulls() || right.has_nulls())
    for (std::size_t i = 0; i < n; ++i)
      if (left.is_null(run.left_row + i) != right.is_null(run.right_row + i)) n = i;
  if (left.type() == Type::text) return right.type() == Type::text ? first_unequal_text(run, n) : 0;
  if (left.type() == right.type()) {
    if (left.type() == Type::uuid || left.type() == Type::decimal)
      return left.scale() == right.scale() ? first_unequal(left.wides().data() + run.left_row, right.wides().data() + run.right_row, n) : 0;
    return first_unequal(left.words().data() + run.left_row, right.words().data() + run.right_row, n);
  }
  const auto whole = [](const Column& c) { return c.type() == Type::int64 || c.type() == Type::uint64; };
  return whole(left) && whole(right) ? first_unequal_number(left.words().data() + run.left_row, right.words().data() + run.right_row, n) : 0;
}

/// The first of the rows `row` to `row + n - 2` that does not come before the next one; `row + n - 1` if there is none. `keys`: of one block, in order.
inline std::size_t first_disorder(std::span<const Column* const> keys, std::size_t row, std::size_t n) {
  const std::size_t last = row + n - 1;
  if (n < 2) return last;
  if (!keys.empty() && !keys[0]->has_nulls() && (keys[0]->type() == Type::int64 || keys[0]->type() == Type::uint64)) {
    // One column of whole numbers that rises settles it, several rows at a time.
    const std::uint64_t* cells = keys[0]->words().data();
    const std::uint64_t flip = keys[0]->type() == Type::int64 ? std::uint64_t{1} << 63 : 0;
    bool rises = true;
    for (std::size_t i = row; i < last; ++i) rises &= (cells[i] ^ flip) < (cells[i + 1] ^ flip);
    if (rises) return last;
  }
  for (std::size_t i = row; i < last; ++i) {
    std::strong_ordering order = std::strong_ordering::equal;
    for (std::size_t k = 0; k < keys.size() && order == 0; ++k) order = evaluation::compare_cells(*keys[k], i, i + 1);
    if (order >= 0) return i;
  }
  return last;
}

}  // namespace epochcut::diffing
