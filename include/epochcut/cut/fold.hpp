// What is the answer to a query, in one pass over a relation in memory?
// Layer: cut. Not synchronised. The fast way under `fold` (cut/evaluate.hpp): blocks of rows go through one step after the other while they are in a core's
// first cache. It answers only what is in order: whatever it finds wrong or does not know (a bad event id, a sum that does not fit, a float as a key) it
// leaves to `evaluate`, which alone refuses, and says why.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/digest.hpp>
#include <epochcut/core/hash_words.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/evaluation.hpp>
#include <epochcut/cut/groups.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut::folding {

/// How many bytes all of these cells of a text column begin with alike; 0 for other columns.
inline std::size_t common_bytes(const Column& c, std::span<const Row> rows) {
  if (c.type() != Type::text) return 0;
  std::optional<std::string_view> common;
  for (const Row row : rows) {
    if (c.is_null(row)) continue;
    const std::string_view text = c.text(row);
    if (!common) common = text;
    const auto [part, rest] = std::mismatch(common->begin(), common->end(), text.begin(), text.end());
    common = common->substr(0, static_cast<std::size_t>(part - common->begin()));
  }
  return common ? common->size() : 0;
}

/// A number whose order is that of the cells, as far as 64 bits tell them apart behind the `common` bytes of text. Precondition: no float.
inline std::uint64_t order_prefix(const Column& c, std::size_t row, std::size_t common) {
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  if (c.is_null(row)) return ~std::uint64_t{0};
  switch (c.type()) {
    case Type::uint64:
    case Type::boolean: return c.words()[row];
    case Type::uuid: return static_cast<std::uint64_t>(static_cast<Uint128>(c.wides()[row]) >> 64);
    case Type::decimal: {
      constexpr Int128 least = std::numeric_limits<std::int64_t>::min(), most = std::numeric_limits<std::int64_t>::max();
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(std::clamp(c.wides()[row], least, most))) ^ sign;
    }
    case Type::text: {
      const std::string_view text = c.text(row).substr(common);
      std::uint64_t prefix = 0;
      for (std::size_t i = 0; i < sizeof prefix; ++i) prefix = prefix << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0u);
      return prefix;
    }
    default: return c.words()[row] ^ sign;
  }
}

/// What a row is sorted by: prefixes of its first two key columns.
struct Prefixed {
  std::uint64_t first, second;
  Row row, position;
};

/// Sorts by one of the prefixes, a byte at a time from the lowest; a byte that is the same in all of them costs nothing. Stable.
inline void sort_by(std::uint64_t Prefixed::*prefix, std::vector<Prefixed>& entries, std::vector<Prefixed>& room) {
  room.resize(entries.size());
  std::uint64_t any = 0, all = ~std::uint64_t{0};
  for (const Prefixed& e : entries) any |= e.*prefix, all &= e.*prefix;
  for (int shift = 0; shift < 64; shift += 8) {
    if (((any ^ all) >> shift & 0xFF) == 0) continue;
    std::array<std::size_t, 257> begins{};
    for (const Prefixed& e : entries) ++begins[(e.*prefix >> shift & 0xFF) + 1];
    for (std::size_t i = 1; i < begins.size(); ++i) begins[i] += begins[i - 1];
    for (const Prefixed& e : entries) room[begins[e.*prefix >> shift & 0xFF]++] = e;
    entries.swap(room);
  }
}

/// The positions of `rows` in the order of their keys, and of the rows themselves where keys are equal.
inline std::vector<Row> key_order(const Keys& keys, std::span<const Row> rows) {
  std::vector<Row> positions(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) positions[i] = static_cast<Row>(i);
  const auto before = [&](Row a, Row b) {
    const std::strong_ordering order = keys.order(a, b);
    return order != 0 ? order < 0 : a < b;
  };
  if (std::is_sorted(rows.begin(), rows.end(), before)) return positions;
  // Two columns' prefixes settle nearly all; a second one counts only where the first is told by its prefix alone.
  const auto whole = [](const Column& c) { return !c.has_nulls() && c.type() != Type::text && c.type() != Type::decimal && c.type() != Type::uuid; };
  const std::vector<const Column*>& columns = keys.columns();
  const Column* first = columns.empty() ? nullptr : columns[0];
  const Column* second = columns.size() > 1 && whole(*first) ? columns[1] : nullptr;
  const auto common_of = [&](const Column* c) { return c == nullptr ? 0 : common_bytes(*c, rows); };
  const std::size_t common_first = common_of(first), common_second = common_of(second);
  const auto prefix = [](const Column* c, Row row, std::size_t common) { return c == nullptr ? 0 : order_prefix(*c, row, common); };
  std::vector<Prefixed> entries(rows.size()), room;
  for (std::size_t i = 0; i < rows.size(); ++i)
    entries[i] = {prefix(first, rows[i], common_first), prefix(second, rows[i], common_second), rows[i], static_cast<Row>(i)};
  sort_by(&Prefixed::second, entries, room);
  sort_by(&Prefixed::first, entries, room);
  for (std::size_t begin = 0, end = 0; begin < entries.size(); begin = end) {
    for (end = begin + 1; end < entries.size() && entries[end].first == entries[begin].first && entries[end].second == entries[begin].second;) ++end;
    std::sort(entries.data() + begin, entries.data() + end, [&](const Prefixed& a, const Prefixed& b) { return before(a.row, b.row); });
  }
  for (std::size_t i = 0; i < rows.size(); ++i) positions[i] = entries[i].position;
  return positions;
}

/// Appends cells of `from` to a column of its type and scale. The rows may lie anywhere, so they are fetched ahead.
inline void gather(const Column& from, std::span<const Row> rows, Column& to) {
  std::vector<char> nulls;
  if (from.has_nulls())
    for (const Row row : rows) nulls.push_back(from.is_null(row));
  const char* const null = from.has_nulls() ? nulls.data() : nullptr;
  const auto cell = [&](const auto* cells) {
    return [cells, rows](std::size_t i) {
      if (i + prefetch_ahead < rows.size()) __builtin_prefetch(cells + rows[i + prefetch_ahead]);
      return cells[rows[i]];
    };
  };
  if (from.type() == Type::text)
    for (const Row row : rows) from.is_null(row) ? to.append_null() : to.append_text(from.text(row));
  else if (from.type() == Type::decimal || from.type() == Type::uuid)
    to.append_wides(rows.size(), cell(from.wides().data()), null);
  else
    to.append_words(rows.size(), cell(from.words().data()), null);
}

/// One fold: what it reads, and what it says. Every step is false where the reference has to decide. Rows are read first, all at once or by several folds
/// that are merged into one; `answer` makes of them what was asked for.
class Fold {
 public:
  Fold(const QueryPlan& plan, const Relation& table, const AsOf& as_of, Form form) : plan_(&plan), table_(&table), as_of_(&as_of), form_(form) {}

  /// Reads the rows from `begin` on and below `end`.
  bool read(std::size_t begin, std::size_t end) {
    begin_ = begin, end_ = end;
    if (table_->rows() >= no_row || !find_columns()) return false;
    if (plan_->history == History::latest) return find_winners([&](auto act) { return each_visible(act); });
    if (plan_->grouped()) return sum_groups([&](auto act) { return each_visible([&](const Block& b) { return act(filtered(b)); }); });
    return each_visible([&](const Block& b) { return list(filtered(b)); });
  }

  /// The same for a fold that will be merged.
  bool read_part(std::size_t begin, std::size_t end) {
    if (!read(begin, end)) return false;
    if (plan_->history == History::latest || !plan_->grouped()) return true;
    for (const Column* c : measures_) {
      if (c == nullptr || c->type() != Type::decimal) continue;
      for (const Int128 cell : c->wides().subspan(begin, end - begin)) greatest_ = std::max(greatest_, cell < 0 ? -(cell + 1) : cell);
    }
    return true;
  }

  /// Reads what other folds have read, each of them rows behind those of the one before. Only in plain form.
  bool merge(std::span<Fold> parts) {
    if (!find_columns()) return false;
    for (const Fold& part : parts)
      if (part.result_.proof.ids) result_.proof.ids = result_.proof.ids.value_or(Digest{}) + *part.result_.proof.ids;
    if (plan_->history != History::latest && plan_->grouped()) return add_totals(parts);
    std::vector<Row> rows;
    for (const Fold& part : parts) rows.insert(rows.end(), part.rows_.begin(), part.rows_.end());
    if (plan_->history == History::latest) return find_winners([&](auto act) { return each_block(rows, act); });
    rows_ = std::move(rows);
    return true;
  }

  /// Once, after `read` or `merge`.
  std::optional<Evaluated> answer() {
    if (plan_->history == History::latest) {
      std::erase_if(rows_, [&](Row row) { return !satisfied(row); });
      if (plan_->grouped()) {
        std::vector<Row> winners = std::move(rows_);
        std::sort(winners.begin(), winners.end());
        if (!sum_groups([&](auto act) { return each_block(winners, act); })) return std::nullopt;
      }
    }
    add_columns();
    if (plan_->grouped())
      give_groups();
    else
      give_rows();
    result_.proof.rows = result_.rows.rows();
    return std::move(result_);
  }

 private:
  bool find(const std::vector<std::string>& names, std::vector<const Column*>& out, bool as_key) {
    for (const std::string& name : names) {
      const Field* field = table_->find(name);
      if (field == nullptr || (as_key && field->column.type() == Type::float64)) return false;
      out.push_back(&field->column);
    }
    return true;
  }

  bool find_columns() {
    if (!find(plan_->keys(as_of_->stream), keys_, true) || !find(plan_->per, per_, true)) return false;
    for (const Filter& filter : plan_->where) {
      const Field* field = table_->find(filter.column);
      const bool tests_null = filter.comparison == Comparison::is_null || filter.comparison == Comparison::is_not_null;
      const Value literal = filter.literal.value();
      if (field == nullptr || (!tests_null && !literal.null && family(field->column.type()) != family(literal.type))) return false;
      filters_.push_back({&filter, &field->column});
    }
    for (const Measure& m : plan_->measures) {
      const Field* field = m.kind == Measure::Kind::count ? nullptr : table_->find(m.column);
      if (m.kind != Measure::Kind::count && field == nullptr) return false;
      if (m.kind == Measure::Kind::sum && family(field->column.type()) != Family::number) return false;
      measures_.push_back(field == nullptr ? nullptr : &field->column);
    }
    if (plan_->history == History::current) return true;
    const auto whole = [](const Field* f) {
      return f != nullptr && !f->column.has_nulls() && (f->column.type() == Type::uint64 || f->column.type() == Type::int64);
    };
    const Field* ids = table_->find(as_of_->stream.event_id);
    if (!whole(ids)) return false;
    ids_ = &ids->column;
    if (!by_generation(*as_of_)) return true;
    const Field* generations = table_->find(as_of_->stream.generation);
    if (!whole(generations)) return false;
    generations_ = &generations->column;
    return true;
  }

  bool satisfied(std::size_t row) const {
    for (const auto& [filter, column] : filters_)
      if (!evaluation::satisfies(*filter, (*column)[row])) return false;
    return true;
  }

  /// What the filters leave of a block; valid until the next call.
  Block filtered(const Block& block) {
    if (filters_.empty()) return block;
    std::size_t kept = 0;
    over(block, [&](auto at) {
      for (std::size_t i = 0; i < block.size; ++i) {
        filtered_[kept] = static_cast<Row>(at(i));
        kept += satisfied(at(i));
      }
    });
    return {0, kept, filtered_.data()};
  }

  template <class Act>
  static bool each_block(std::span<const Row> rows, Act act) {
    for (std::size_t at = 0; at < rows.size(); at += block_rows)
      if (!act(Block{0, std::min(block_rows, rows.size() - at), rows.data() + at})) return false;
    return true;
  }

  /// Calls `act` with blocks of the rows at or below the epoch, in distinct form one per event; makes the digest of their ids.
  template <class Act>
  bool each_visible(Act act) {
    if (ids_ == nullptr) {
      for (std::size_t at = begin_; at < end_; at += block_rows)
        if (!act(Block{at, std::min(block_rows, end_ - at)})) return false;
      return true;
    }
    result_.proof.ids = Digest{};
    if (form_ == Form::plain) return each_at_epoch(act);
    std::vector<Row> rows;
    const bool sound = each_at_epoch([&](const Block& block) {
      over(block, [&](auto at) {
        for (std::size_t i = 0; i < block.size; ++i) rows.push_back(static_cast<Row>(at(i)));
      });
      return true;
    });
    if (!sound) return false;
    one_per_event(rows);
    result_.proof.ids = Digest{};
    return each_block(rows, [&](const Block& block) {
      add_ids(block);
      return act(block);
    });
  }

  template <class Act>
  bool each_at_epoch(Act act) {
    const std::uint64_t* ids = ids_->words().data();
    const std::uint64_t last = as_of_->at_rest ? std::numeric_limits<std::uint64_t>::max() : as_of_->last_event_id;
    const std::uint64_t sign = ids_->type() == Type::int64 ? std::uint64_t{1} << 63 : 0;
    std::array<Row, block_rows> rows;
    for (std::size_t begin = begin_; begin < end_; begin += block_rows) {
      const std::size_t end = std::min(begin + block_rows, end_);
      std::uint64_t seen = 0, late = 0;
      for (std::size_t row = begin; row < end; ++row) seen |= ids[row], late += ids[row] > last;
      if ((seen & sign) != 0) return false;
      Block block{begin, end - begin};
      if (late == 0 && generations_ == nullptr) {
        *result_.proof.ids += digest_of_event_ids({ids + begin, end - begin});
      } else {
        std::size_t kept = 0;
        for (std::size_t row = begin; row < end; ++row) {
          rows[kept] = static_cast<Row>(row);
          kept += ids[row] <= last && (generations_ == nullptr || owned(row, ids[row]));
        }
        block = {0, kept, rows.data()};
        add_ids(block);
      }
      if (!act(block)) return false;
    }
    return true;
  }

  bool owned(std::size_t row, std::uint64_t id) const {
    const std::uint64_t generation = generations_->words()[row];
    return generation == owner(*as_of_, id) && (generations_->type() == Type::uint64 || generation >> 63 == 0);
  }

  void add_ids(const Block& block) {
    const std::uint64_t* ids = ids_->words().data();
    over(block, [&](auto at) {
      Digest sum;
      for (std::size_t i = 0; i < block.size; ++i) sum += digest_of_event_id(ids[at(i)]);
      *result_.proof.ids += sum;
    });
  }

  /// Leaves one row of each event, the one that comes first by its values; notes events that have two different ones.
  void one_per_event(std::vector<Row>& rows) {
    const std::uint64_t* ids = ids_->words().data();
    const auto rises = [&](Row a, Row b) { return ids[a] < ids[b]; };
    if (std::adjacent_find(rows.begin(), rows.end(), [&](Row a, Row b) { return !rises(a, b); }) == rows.end()) return;
    const auto used = evaluation::columns_of(*table_, plan_->used_columns(as_of_->stream));
    std::sort(rows.begin(), rows.end(), [&](Row a, Row b) { return ids[a] != ids[b] ? ids[a] < ids[b] : a < b; });
    std::size_t kept = 0;
    for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
      Row least = rows[begin];
      bool conflict = false;
      for (end = begin + 1; end < rows.size() && ids[rows[end]] == ids[least]; ++end) {
        const auto order = evaluation::compare_rows(used, rows[end], least);
        conflict = conflict || order != 0;
        if (order < 0) least = rows[end];
      }
      if (conflict && result_.proof.conflicts++ == 0) result_.proof.conflicting_ids = std::to_string(ids[least]);
      rows[kept++] = least;
    }
    rows.resize(kept);
    std::sort(rows.begin(), rows.end());
  }

  bool list(const Block& block) {
    over(block, [&](auto at) {
      for (std::size_t i = 0; i < block.size; ++i) rows_.push_back(static_cast<Row>(at(i)));
    });
    return true;
  }

  /// Per key the ONE row of the greatest event id; of two with one id the first that `each` gives. In the order of the keys' first rows.
  template <class Each>
  bool find_winners(Each each) {
    struct Best {
      std::uint64_t id;
      Row row;
    };
    const Keys per(per_);
    Groups groups(per);
    std::vector<Best> best;
    const std::uint64_t* ids = ids_->words().data();
    const bool sound = each([&](const Block& block) {
      groups.assign(block);
      for (std::size_t group = best.size(); group < groups.size(); ++group) best.push_back({ids[groups.first_rows()[group]], groups.first_rows()[group]});
      over(block, [&](auto at) {
        groups.each_run(
            [&](std::size_t group, std::size_t begin, std::size_t end) {
              Best& winner = best[group];
              std::uint64_t greatest = ids[at(begin)];
              for (std::size_t i = begin + 1; i < end; ++i) greatest = std::max(greatest, ids[at(i)]);
              if (greatest <= winner.id) return;
              while (ids[at(begin)] != greatest) ++begin;
              winner = {greatest, static_cast<Row>(at(begin))};
            },
            [&](std::size_t group) { __builtin_prefetch(&best[group], 1); });
      });
      return true;
    });
    rows_.reserve(best.size());
    for (const Best& b : best) rows_.push_back(b.row);
    in_key_order_ = groups.in_order() && keys_ == per_;
    return sound;
  }

  /// Of one measure, by group.
  struct Totals {
    std::vector<Int128> sums;
    std::vector<std::uint64_t> counts;  ///< of rows, or of values that are not NULL; without NULLs each group has one
  };

  /// Sums and counts per group of the rows that `each` gives, in their order: as the reference adds them, so that it overflows where this does.
  template <class Each>
  bool sum_groups(Each each) {
    const Keys keys(keys_);
    Groups groups(keys);
    totals_.resize(measures_.size());
    const bool sound = each([&](const Block& block) {
      groups.assign(block);
      bool fits = true;
      over(block, [&](auto at) {
        for (std::size_t m = 0; m < totals_.size(); ++m) fits = fits && add(groups, measures_[m], totals_[m], at);
      });
      return fits;
    });
    rows_ = groups.first_rows();
    return sound;
  }

  /// False where some order of adding might overflow and the reference's not, or the other way round.
  bool add_totals(std::span<const Fold> parts) {
    Int128 greatest = 0;
    for (const Fold& part : parts) greatest = std::max(greatest, part.greatest_);
    if (greatest >= std::numeric_limits<Int128>::max() / static_cast<Int128>(table_->rows() + 1)) return false;
    const Keys keys(keys_);
    Groups groups(keys);
    totals_.resize(measures_.size());
    for (const Fold& part : parts) {
      std::size_t from = 0;
      each_block(part.rows_, [&](const Block& block) {
        groups.assign(block);
        for (std::size_t m = 0; m < totals_.size(); ++m) {
          const Totals& of = part.totals_[m];
          Totals& to = totals_[m];
          if (!of.sums.empty()) to.sums.resize(groups.size());
          if (!of.counts.empty()) to.counts.resize(groups.size());
          groups.each_run(
              [&](std::size_t group, std::size_t begin, std::size_t end) {
                for (std::size_t i = from + begin; i < from + end; ++i) {
                  if (!of.sums.empty()) to.sums[group] += of.sums[i];
                  if (!of.counts.empty()) to.counts[group] += of.counts[i];
                }
              },
              [](std::size_t) {});
        }
        from += block.size;
        return true;
      });
    }
    rows_ = groups.first_rows();
    return true;
  }

  /// The groups in key order, `rows_` holding the first row of each.
  void give_groups() {
    const std::vector<Row> order = key_order(Keys(keys_), rows_);
    std::vector<Row> rows;
    for (const Row position : order) rows.push_back(rows_[position]);
    for (std::size_t k = 0; k < keys_.size(); ++k) gather(*keys_[k], rows, result_.rows.fields[k].column);
    for (std::size_t m = 0; m < measures_.size(); ++m) {
      Column& out = result_.rows.fields[keys_.size() + m].column;
      for (const Row group : order) {
        if (measures_[m] == nullptr)
          out.append_word(totals_[m].counts[group]);
        else
          measures_[m]->has_nulls() && totals_[m].counts[group] == 0 ? out.append_null() : out.append_wide(totals_[m].sums[group]);
      }
    }
  }

  /// False if a sum does not fit 128 bits.
  template <class At>
  static bool add(const Groups& groups, const Column* column, Totals& totals, At at) {
    const bool counts = column == nullptr || column->has_nulls();
    if (counts) {
      totals.counts.resize(groups.size());
      groups.each_run(
          [&](std::size_t group, std::size_t begin, std::size_t end) {
            if (column == nullptr)
              totals.counts[group] += end - begin;
            else
              for (; begin < end; ++begin) totals.counts[group] += !column->is_null(at(begin));
          },
          [&](std::size_t group) { __builtin_prefetch(&totals.counts[group], 1); });
    }
    if (column == nullptr) return true;
    totals.sums.resize(groups.size());
    bool overflows = false;
    const auto sum = [&](auto value) {
      groups.each_run(
          [&](std::size_t group, std::size_t begin, std::size_t end) {
            Int128 total = totals.sums[group];
            for (; begin < end; ++begin) overflows |= __builtin_add_overflow(total, value(at(begin)), &total);  // a NULL cell holds zero
            totals.sums[group] = total;
          },
          [&](std::size_t group) { __builtin_prefetch(&totals.sums[group], 1); });
    };
    if (column->type() == Type::decimal)
      sum([cells = column->wides().data()](std::size_t row) { return cells[row]; });
    else if (column->type() == Type::int64)
      sum([cells = column->words().data()](std::size_t row) { return Int128{static_cast<std::int64_t>(cells[row])}; });
    else
      sum([cells = column->words().data()](std::size_t row) { return static_cast<Int128>(cells[row]); });
    return !overflows;
  }

  void add_columns() {
    const std::vector<std::string> names = plan_->keys(as_of_->stream);
    for (std::size_t k = 0; k < keys_.size(); ++k) result_.rows.add(names[k], Role::key, keys_[k]->type(), keys_[k]->scale());
    for (std::size_t m = 0; m < measures_.size(); ++m) {
      const Measure& measure = plan_->measures[m];
      const Type type = measure.kind == Measure::Kind::count ? Type::uint64 : measure.kind == Measure::Kind::sum ? Type::decimal : measures_[m]->type();
      result_.rows.add(measure.name, Role::value, type, measures_[m] == nullptr ? 0 : measures_[m]->scale());
    }
  }

  /// The rows themselves, in key order.
  void give_rows() {
    if (!in_key_order_) {
      std::vector<Row> sorted = key_order(Keys(keys_), rows_);
      for (Row& r : sorted) r = rows_[r];
      rows_ = std::move(sorted);
    }
    for (std::size_t k = 0; k < keys_.size(); ++k) gather(*keys_[k], rows_, result_.rows.fields[k].column);
    for (std::size_t m = 0; m < measures_.size(); ++m) gather(*measures_[m], rows_, result_.rows.fields[keys_.size() + m].column);
  }

  struct Bound {
    const Filter* filter;
    const Column* column;
  };

  const QueryPlan* plan_;
  const Relation* table_;
  const AsOf* as_of_;
  Form form_;
  std::vector<const Column*> keys_, per_, measures_;  // of a count: none
  std::vector<Bound> filters_;
  const Column *ids_ = nullptr, *generations_ = nullptr;
  std::array<Row, block_rows> filtered_;
  std::size_t begin_ = 0, end_ = 0;
  bool in_key_order_ = false;  // the winners are
  std::vector<Row> rows_;      // winners, the first of each group, or all that are listed
  std::vector<Totals> totals_;
  Int128 greatest_ = 0;  // of the decimals in a part's sums: no magnitude is above it by more than one
  Evaluated result_;
};

/// Answers `plan`, if all is in order; else nothing. Precondition: the plan is valid.
inline std::optional<Evaluated> answer(const QueryPlan& plan, const Relation& table, const AsOf& as_of, Form form) {
  Fold all(plan, table, as_of, form);
  if (!all.read(0, table.rows())) return std::nullopt;
  return all.answer();
}

}  // namespace epochcut::folding
