// Which keys and values differ between two sides?
// Layer: diff. The one diff of the library: invariant checks and the cutover gate both end here. Memory: one block of each side.
// Both cursors deliver in key order; an inversion or a key that stands twice is an error, not ten thousand differences.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <epochcut/core/row_hash.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/diff/difference.hpp>
#include <epochcut/diff/run.hpp>

namespace epochcut {

/// One row of a block.
struct RowView {
  const Relation* relation;
  std::size_t row;
};

/// What takes the differences of live cursors: provisional until both proofs have been judged.
template <class Sink>
concept DiffSink = requires(Sink& sink, RowView row, const std::vector<std::string>& columns) {
  sink.only_left(row);
  sink.only_right(row);
  sink.changed(row, row, columns);
};

/// Counts only.
struct NullSink {
  void only_left(RowView) {}
  void only_right(RowView) {}
  void changed(RowView, RowView, const std::vector<std::string>&) {}
};

namespace diffing {

/// The rows of one side, one at a time, their order checked.
class Side {
 public:
  Side(Cursor& cursor, const char* name) : cursor_(&cursor), name_(name) { advance_block(); }

  bool done() const { return done_; }
  const Relation& block() const { return block_; }
  const Relation& shape() const { return shape_; }  ///< its columns, whether or not it has rows
  std::size_t row() const { return row_; }
  RowView view() const { return {&block_, row_}; }
  std::uint64_t seen() const { return seen_; }

  /// This block's key columns, in order.
  std::span<const Column* const> keys() const { return keys_; }
  std::size_t rows_left() const { return done_ ? 0 : block_.rows() - row_; }

  /// Passes `n` rows of this block. `in_order`: the other side has passed the same keys. Errors: `unordered`, at the row that the reference would name.
  void pass(std::size_t n, bool in_order) {
    const std::size_t last = in_order ? row_ + n - 1 : first_disorder(keys_, row_, n);
    seen_ += last - row_;
    row_ = last;
    advance();
  }

  void advance() {
    ++seen_;
    std::strong_ordering order = std::strong_ordering::equal;
    if (row_ + 1 < block_.rows()) {
      order = key_order(block_, row_, row_ + 1);
      ++row_;
    } else {
      const Relation last = one_row(block_, row_);  // the block goes, and its last key is still to be compared
      advance_block();
      if (done_) return;
      order = key_order(last, 0, row_);
    }
    if (order < 0) return;
    throw Failure(Reason::unordered, std::string("the ") + name_ + " side " + (order == 0 ? "has two rows of one key: " : "is not in key order at key: ") +
                                         key_text() + (order == 0 ? "; group the query or name its whole key" : "; this is a fault of the source"));
  }

  std::string key_text() const {
    std::string text;
    for (const Field& f : block_.fields)
      if (f.role == Role::key) text += (text.empty() ? "" : ", ") + f.name + "=" + to_string(f.column[row_]);
    return text.empty() ? "(total)" : text;
  }

 private:
  /// The key of `before` at `a` against this block's at `b`.
  std::strong_ordering key_order(const Relation& before, std::size_t a, std::size_t b) const {
    for (std::size_t i = 0; i < block_.fields.size(); ++i) {
      if (block_.fields[i].role != Role::key) continue;
      if (const auto order = compare(before.fields[i].column[a], block_.fields[i].column[b]); order != 0) return order;
    }
    return std::strong_ordering::equal;
  }

  static Relation one_row(const Relation& from, std::size_t row) {
    Relation copy;
    for (const Field& f : from.fields) {
      copy.add(f.name, f.role, f.column.type(), f.column.scale());
      if (f.role == Role::key) copy.fields.back().column.append(f.column[row]);
    }
    return copy;
  }

  void advance_block() {
    row_ = 0;
    do {
      done_ = !cursor_->next(block_);
      if (shape_.fields.empty()) shape_ = block_.empty_copy();
      if (!done_ && !shape_.same_shape(block_))
        throw Failure(Reason::schema,
                      std::string("the columns of the ") + name_ + " side changed between two of its blocks; its source must keep to one shape");
    } while (!done_ && block_.rows() == 0);
    keys_.clear();
    for (const Field& f : block_.fields)
      if (f.role == Role::key) keys_.push_back(&f.column);
  }

  Cursor* cursor_;
  const char* name_;
  Relation block_, shape_;
  std::vector<const Column*> keys_;
  std::size_t row_ = 0;
  std::uint64_t seen_ = 0;
  bool done_ = false;
};

/// Value columns of both sides that belong together, by position.
struct Pair {
  std::string name;
  std::size_t left, right;
  Rule rule;
};

inline std::string names(const Relation& relation, Role role) {
  std::string text;
  for (const Field& f : relation.fields)
    if (f.role == role) text += (text.empty() ? "" : ", ") + f.name;
  return text.empty() ? "none" : text;
}

inline void require_comparable(const Field& left, const Field& right) {
  const int forms = left.column.type() == Type::text ? left.column.scale() | right.column.scale() : 0;
  if (left.column.type() == right.column.type() && forms == (text_bytes | text_padded))
    throw Failure(Reason::schema, "column \"" + left.name +
                                      "\" is bytea on one side and FixedString on the other, which don't compare: one counts trailing "
                                      "zero bytes and the other pads with them; compare their hex text in views, or store a String");
  if (family(left.column.type()) == family(right.column.type())) return;
  throw Failure(Reason::schema, "column \"" + left.name + "\" is " + std::string(to_string(left.column.type())) + " on the left and " +
                                    std::string(to_string(right.column.type())) + " on the right, which don't compare; convert one of them in its store");
}

/// Columns belong together by their names: of two with one name, one would be compared with nothing.
inline void require_distinct(const Relation& relation, const char* side) {
  for (const Field& f : relation.fields)
    if (relation.find(f.name) != &f)
      throw Failure(Reason::schema, std::string("the ") + side + " side has two columns named \"" + f.name + "\"; rename one with .as()");
}

/// Matches columns by name. Errors: `schema`, naming what stands there twice, has no partner or does not compare.
inline std::vector<Pair> match(const Relation& left, const Relation& right, std::span<const Rule> rules) {
  require_distinct(left, "left"), require_distinct(right, "right");
  std::vector<const Field*> left_keys, right_keys;
  for (const Field& f : left.fields)
    if (f.role == Role::key) left_keys.push_back(&f);
  for (const Field& f : right.fields)
    if (f.role == Role::key) right_keys.push_back(&f);
  bool same = left_keys.size() == right_keys.size();
  for (std::size_t i = 0; same && i < left_keys.size(); ++i) same = left_keys[i]->name == right_keys[i]->name;
  if (!same)
    throw Failure(Reason::schema, "the left side is keyed by (" + names(left, Role::key) + ") and the right by (" + names(right, Role::key) +
                                      "); both need the same keys in the same order");
  for (std::size_t i = 0; i < left_keys.size(); ++i) require_comparable(*left_keys[i], *right_keys[i]);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < left.fields.size(); ++i) {
    const Field& field = left.fields[i];
    if (field.role == Role::key) continue;
    const Field* partner = right.find(field.name);
    if (partner == nullptr || partner->role == Role::key)
      throw Failure(Reason::schema, "the left side has a value \"" + field.name + "\" that the right side lacks (it has: " + names(right, Role::value) +
                                        "); rename one with .as()");
    require_comparable(field, *partner);
    Rule rule{.column = field.name};
    for (const Rule& r : rules)
      if (r.column == field.name) rule = r;
    pairs.push_back({field.name, i, static_cast<std::size_t>(partner - right.fields.data()), rule});
  }
  for (const Field& field : right.fields)
    if (field.role == Role::value && left.find(field.name) == nullptr)
      throw Failure(Reason::schema, "the right side has a value \"" + field.name + "\" that the left side lacks (it has: " + names(left, Role::value) +
                                        "); rename one with .as()");
  for (const Rule& rule : rules) {
    const Field* field = left.find(rule.column);
    if (field == nullptr || field->role == Role::key)
      throw Failure(Reason::configuration,
                    "a rule names the column \"" + rule.column + "\", which is no value of this comparison (values: " + names(left, Role::value) + ")");
    const Family f = family(field->column.type());
    if ((rule.kind != Rule::Kind::exact && f != Family::number && f != Family::float64) || (rule.absent_is_zero && f != Family::number))
      throw Failure(Reason::configuration,
                    "the rule for \"" + rule.column + "\" needs a number, the column is " + std::string(to_string(field->column.type())));
  }
  return pairs;
}

/// Does the pair of values satisfy its rule? Errors: `overflow` when a tolerance can't be applied exactly.
inline bool holds(const Rule& rule, const Value& left, const Value& right) {
  if (rule.kind == Rule::Kind::exact || left.null || right.null) return compare(left, right) == 0;
  if (family(left.type) == Family::float64) {
    const double tolerance = static_cast<double>(rule.tolerance.unscaled) / static_cast<double>(power_of_ten(rule.tolerance.scale));
    const double by = left.as_float64() - right.as_float64();
    if (by != by) return compare(left, right) == 0;
    return rule.kind == Rule::Kind::within ? by <= tolerance && by >= -tolerance : by >= -tolerance;
  }
  const auto by = subtract(left.as_decimal(), right.as_decimal());
  if (!by) throw Failure(Reason::overflow, "the difference of two values of \"" + rule.column + "\" does not fit 38 digits");
  const Decimal below{-rule.tolerance.unscaled, rule.tolerance.scale};
  return *by >= below && (rule.kind == Rule::Kind::at_least || *by <= rule.tolerance);
}

/// Is what has the same bits equal by each rule? Not where a rule asks for a distance.
inline bool same_is_equal(std::span<const Pair> pairs) {
  return std::all_of(pairs.begin(), pairs.end(), [](const Pair& p) { return p.rule.kind == Rule::Kind::exact || p.rule.tolerance.unscaled >= 0; });
}

/// How many rows from here on are the same on both sides, and at most `n`.
inline std::size_t equal_run(const Side& left, const Side& right, std::span<const Pair> pairs, std::size_t n) {
  n = std::min({n, left.rows_left(), right.rows_left()});
  for (std::size_t i = 0; n > 0 && i < left.keys().size(); ++i) n = equal_rows({left.keys()[i], right.keys()[i], left.row(), right.row()}, n);
  for (std::size_t i = 0; n > 0 && i < pairs.size(); ++i)
    n = equal_rows({&left.block().fields[pairs[i].left].column, &right.block().fields[pairs[i].right].column, left.row(), right.row()}, n);
  return n;
}

/// Rows that are looked at together: they grow while both sides agree, and shrink where they part, so that nothing is read much further than it holds.
inline constexpr std::size_t run_rows_min = 32, run_rows_max = 16384;

enum class Path : std::uint8_t { plain, fast };

inline void absorb_keys(RowHash& hash, RowView row) {
  for (const Field& f : row.relation->fields)
    if (f.role == Role::key) hash.absorb(f.column[row.row]);
}

}  // namespace diffing

namespace diffing {

template <Path path, DiffSink Sink>
DiffCounts run(Cursor& left_cursor, Cursor& right_cursor, std::span<const Rule> rules, Sink& sink) {
  Side left(left_cursor, "left"), right(right_cursor, "right");
  DiffCounts counts;
  const std::vector<Pair> pairs = match(left.shape(), right.shape(), rules);

  // A key that one side lacks: a difference, unless every value column stands for zero there and the rule holds against zero.
  const auto alone = [&](RowView row, bool is_left) {
    bool equal = !pairs.empty();
    for (const Pair& p : pairs) {
      const Value v = row.relation->fields[is_left ? p.left : p.right].column[row.row];
      const Value zero = Decimal{};
      equal = equal && p.rule.absent_is_zero && holds(p.rule, is_left ? v : zero, is_left ? zero : v);
    }
    if (equal) {
      ++counts.equal;
      return;
    }
    ++(is_left ? counts.only_left : counts.only_right);
    RowHash hash;
    hash.absorb(static_cast<std::uint64_t>(is_left ? DifferenceKind::only_left : DifferenceKind::only_right));
    absorb_keys(hash, row);
    for (const Pair& p : pairs) hash.absorb(row.relation->fields[is_left ? p.left : p.right].column[row.row]);
    counts.which += hash.digest();
    is_left ? sink.only_left(row) : sink.only_right(row);
  };

  std::vector<std::string> changed;
  const auto both = [&] {
    changed.clear();
    RowHash hash;
    for (const Pair& p : pairs) {
      const Value l = left.block().fields[p.left].column[left.row()], r = right.block().fields[p.right].column[right.row()];
      if (holds(p.rule, l, r)) continue;
      if (changed.empty()) hash.absorb(static_cast<std::uint64_t>(DifferenceKind::changed)), absorb_keys(hash, left.view());
      changed.push_back(p.name);
      hash.absorb(std::string_view(p.name)), hash.absorb(l), hash.absorb(r);
    }
    if (changed.empty()) {
      ++counts.equal;
      return;
    }
    ++counts.changed;
    counts.which += hash.digest();
    sink.changed(left.view(), right.view(), changed);
  };

  [[maybe_unused]] const bool skips = path == Path::fast && same_is_equal(pairs);
  [[maybe_unused]] std::size_t wanted = run_rows_min;
  while (!left.done() || !right.done()) {
    if constexpr (path == Path::fast) {
      if (skips && !left.done() && !right.done()) {
        const std::size_t offered = std::min({wanted, left.rows_left(), right.rows_left()});
        const std::size_t same = equal_run(left, right, pairs, offered);
        wanted = same == offered ? std::min(2 * wanted, run_rows_max) : std::max(run_rows_min, std::min(wanted, 2 * same));
        if (same > 0) {
          counts.equal += same;
          left.pass(same, /*in_order=*/false), right.pass(same, /*in_order=*/true);
          continue;
        }
      }
    }
    std::strong_ordering order = left.done() ? std::strong_ordering::greater : right.done() ? std::strong_ordering::less : std::strong_ordering::equal;
    if (order == 0) {
      const auto l = left.keys(), r = right.keys();
      for (std::size_t i = 0; i < l.size() && order == 0; ++i) order = compare((*l[i])[left.row()], (*r[i])[right.row()]);
    }
    if (order == 0)
      both();
    else
      alone(order < 0 ? left.view() : right.view(), order < 0);
    if (order <= 0) left.advance();
    if (order >= 0) right.advance();
  }
  counts.left = left.seen(), counts.right = right.seen();
  return counts;
}

}  // namespace diffing

/// Streams two cursors in key order and tells `sink` of every difference. Errors: `schema`, `unordered`, `configuration`, `overflow`, and the cursors' own.
template <DiffSink Sink>
DiffCounts diff(Cursor& left, Cursor& right, std::span<const Rule> rules, Sink& sink) {
  return diffing::run<diffing::Path::fast>(left, right, rules, sink);
}

/// The same, row by row and by nothing else: what the fast path is measured and tested against.
template <DiffSink Sink>
DiffCounts plain_diff(Cursor& left, Cursor& right, std::span<const Rule> rules, Sink& sink) {
  return diffing::run<diffing::Path::plain>(left, right, rules, sink);
}

/// Keeps the first `max` differences; the counts stay exact.
class FirstDifferences {
 public:
  explicit FirstDifferences(std::size_t max) : max_(max) {}

  void only_left(RowView row) { keep(DifferenceKind::only_left, row, &row, nullptr, nullptr); }
  void only_right(RowView row) { keep(DifferenceKind::only_right, row, nullptr, &row, nullptr); }
  void changed(RowView left, RowView right, const std::vector<std::string>& columns) { keep(DifferenceKind::changed, left, &left, &right, &columns); }

  std::vector<Difference> take() { return std::move(kept_); }

 private:
  void keep(DifferenceKind kind, RowView key, const RowView* left, const RowView* right, const std::vector<std::string>* columns) {
    if (kept_.size() >= max_) return;
    Difference& d = kept_.emplace_back();
    d.kind = kind;
    d.key = cells(key, Role::key, nullptr);
    if (left) d.left = cells(*left, Role::value, columns);
    if (right) d.right = cells(*right, Role::value, columns);
  }

  static std::vector<Cell> cells(RowView row, Role role, const std::vector<std::string>* columns) {
    std::vector<Cell> cells;
    for (const Field& f : row.relation->fields) {
      if (f.role != role) continue;
      bool wanted = columns == nullptr;
      if (columns != nullptr)
        for (const std::string& c : *columns) wanted |= c == f.name;
      if (wanted) cells.push_back({f.name, Literal(f.column[row.row])});
    }
    return cells;
  }

  std::size_t max_;
  std::vector<Difference> kept_;
};

}  // namespace epochcut
