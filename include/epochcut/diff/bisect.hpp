// Where do two relations differ that are too big to send?
// Layer: diff. Both sides count and hash their rows per range of an integer key, where the rows are; only ranges whose digests part are split, and only the
// rows of the last ones are sent and compared, by `diff`. What is complete is proved as by a read: by the ids of all ranges together. One thread.
// Source: docs/bisection.md; design words "Digest", "Bisection".
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/digest.hpp>
#include <epochcut/cut/control.hpp>
#include <epochcut/cut/digest_side.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/diff/diff.hpp>
#include <epochcut/diff/digest_form.hpp>

namespace epochcut {

enum class Method : std::uint8_t { automatic, bisect, stream };

struct BisectOptions {
  Method method = Method::automatic;
  /// A range of no more rows is fetched: asking about 32 parts of it costs 4 KB in both directions, as much as these rows.
  std::uint64_t rows_min = 64;
  /// So few rows are streamed without further ado: three round trips cost as much.
  std::uint64_t stream_rows_max = 20'000;
  /// Of the first round: half a megabyte of answers.
  std::uint64_t cells_first_max = 4'096;
  /// Of any later one: eight megabytes of answers.
  std::uint64_t cells_max = 65'536;
  /// What is left is fetched when it is no more: 0.1 s of a link of 20 Mbit/s, and so about one more round trip over it.
  std::uint64_t fetch_bytes_max = 256 << 10;
};

/// What was found, how, and what it cost.
struct Bisected {
  DiffCounts counts;
  Method used = Method::stream;
  std::string why;  ///< one sentence: why this method, and what came of it
  int rounds = 0;   ///< of digests
  std::uint64_t cells_compared = 0, cells_differing = 0;
  std::uint64_t left_bytes = 0, right_bytes = 0;      ///< that crossed the wire, statements included
  std::uint64_t left_fetched = 0, right_fetched = 0;  ///< rows sent, those of the estimate included
};

namespace bisecting {

inline constexpr std::size_t ranges_per_statement_max = 256;                       ///< a planner looks at each of them
inline constexpr std::uint64_t sample_rows_min = 1'024, sample_rows_max = 32'768;  ///< of the estimate: enough to be timed in milliseconds
inline constexpr std::uint64_t rows_per_first_cell = 32;  ///< of the first round at least, in units of rows_min: what is split once more by 64
inline constexpr double differences_everywhere = 4;       ///< by chance in each cell, of which one in 50 then has none
inline constexpr std::uint64_t hashed_samples = 4;        ///< so many times as many are hashed as are sent
inline constexpr std::uint64_t sample_share = 512;        ///< one row of so many is sampled: two thousandths of the table

/// Ranges that one statement fetches, and what they held when they were hashed.
struct Wanted {
  std::vector<KeyRange> ranges;
  CellDigest left, right;
};

/// A cell whose digests part.
struct Open {
  CellDigest left, right;
  std::uint64_t rows() const { return std::max(left.rows.count, right.rows.count); }
};

inline void add(CellDigest& sum, const CellDigest& part) { sum.rows += part.rows, sum.ids += part.ids; }
inline std::uint64_t bytes_per_row(std::uint64_t bytes, std::uint64_t rows) { return rows == 0 ? 64 : std::max<std::uint64_t>(1, bytes / rows); }

/// Would every bisection end in `failure`, so that only a stream gets on? What may heal, and what the rows themselves are at fault for, is told as it is.
inline bool never_heals(const Failure& failure) {
  constexpr Reason refused[] = {Reason::schema, Reason::configuration, Reason::syntax, Reason::overflow, Reason::too_large, Reason::unknown};
  return !failure.retryable && std::find(std::begin(refused), std::end(refused), failure.kind) != std::end(refused);
}

inline Failure moved(const std::string& who, const std::string& what) {
  return Failure(Reason::cut_violated, who + " changed while it was bisected: " + what + "; bisect again, and if this stays, read it with a stream").retry();
}

inline std::string seconds(double ms) {
  const auto tenths = static_cast<std::uint64_t>(ms / 100 + 0.5);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

/// `Whole`: how everything is streamed where that is cheaper; DiffCounts().
template <DiffSink Sink, class Whole>
class Run {
 public:
  Run(DigestSide& left, DigestSide& right, std::span<const Rule> rules, Sink& sink, const BisectOptions& options, const Control& control, Whole* whole)
      : left_(left), right_(right), rules_(rules), sink_(sink), options_(options), control_(control), whole_(whole) {}

  Bisected run() {
    try {
      if (!why_streamed()) bisect();
    } catch (const Failure& failure) {
      if (!may_stream(failure)) throw;
      because(failure.message);
    }
    if (out_.used == Method::stream) stream();
    out_.left_bytes += left_.bytes(), out_.right_bytes += right_.bytes();
    return std::move(out_);
  }

 private:
  using Cells = std::vector<CellDigest>;

  // ---- which way

  /// Settles the form of the digests and the bounds of the keys. True, with a reason, if the rows are to be streamed. What a count of all rows costs is not
  /// little beside streaming them, so only the follower is asked for one before the choice: what it lacks is streamed in any case.
  bool why_streamed() {
    if (options_.method == Method::stream) return because("asked for");
    const bool insisted = options_.method == Method::bisect;
    const std::vector<DigestColumn> l = left_.columns(), r = right_.columns();
    const DigestForm form = agree(l, r, left_.engine() == right_.engine(), rules_);
    left_.use(form), right_.use(form);
    if (!diffing::same_is_equal(diffing::match(shape_of(l), shape_of(r), rules_)))
      throw Failure(Reason::configuration, "a rule with a negative tolerance calls equal rows different, so digests say nothing; stream");
    bounds_ = right_bounds_ = right_.bounds(control_);
    if (!insisted && (bounds_.rows <= options_.stream_rows_max || !bounds_.keyed)) return because(std::to_string(bounds_.rows) + " rows are few");
    require_span();
    if (!insisted && estimate()) return true;
    of_left([&] { left_bounds_ = left_.bounds(control_); });
    cover(left_bounds_);
    require_span();
    if (insisted) out_.why = "bisected, as asked for";
    return false;
  }

  /// After a failure of a bisection that nobody insisted on, while the sink has been told nothing and the left side still answers.
  bool may_stream(const Failure& failure) {
    if (options_.method != Method::automatic || !never_heals(failure) || left_lost_ || fetched_) return false;
    if (left_owes_) try {
        left_.answer(control_);  // it was asked and is at work
      } catch (const Failure&) {
        return false;
      }
    return true;
  }

  /// A statement that the left side's server refuses ends the transaction that a stream would be of.
  template <class Act>
  void of_left(Act act) {
    try {
      act();
    } catch (const Failure& failure) {
      left_lost_ = !failure.engine_code.empty() || failure.poisons_connection;
      throw;
    }
  }

  void cover(const KeyBounds& more) {
    bounds_.rows = std::max(bounds_.rows, more.rows);
    if (!more.keyed) return;
    bounds_.least = bounds_.keyed ? std::min(bounds_.least, more.least) : more.least;
    bounds_.greatest = bounds_.keyed ? std::max(bounds_.greatest, more.greatest) : more.greatest;
    bounds_.keyed = true;
  }

  void require_span() const {
    if ((bounds_.greatest - bounds_.least) >> 63 != 0)
      throw Failure(Reason::configuration, "the keys span more than 63 bits, so they can't be cut into ranges; stream");
  }

  bool because(const std::string& why) {
    out_.used = Method::stream, out_.why = "streamed: " + why;
    return true;
  }

  /// Hashes and fetches some rows of the middle of the follower, as the whole would be, and compares the times. They hold what the link, the engines and the width of a row
  /// make of it. Hashing costs no bytes, so more rows are hashed: fewer would not be given the workers that all are. The time of a question about nothing is
  /// what a round trip costs.
  bool estimate() {
    const std::uint64_t sample = std::clamp(bounds_.rows / sample_share, sample_rows_min, sample_rows_max);
    const auto around_the_middle = [&](std::uint64_t rows) {
      const Int128 span = bounds_.greatest - bounds_.least + 1;
      const Int128 width = std::clamp<Int128>(span / static_cast<Int128>(bounds_.rows) * static_cast<Int128>(rows), 1, span);
      const Int128 from = bounds_.least + (span - width) / 2;
      return KeyRange{.from = from, .below = from + width};
    };
    const KeyRange nothing{.null = true}, hashed = around_the_middle(sample * hashed_samples), sent = around_the_middle(sample);
    const KeyGrid one{.base = *hashed.from, .shift = 0, .cells = 1};
    Millis at = control_.clock->now();
    const auto took = [&] {
      const Millis before = std::exchange(at, control_.clock->now());
      return static_cast<double>((at - before).count());
    };
    ask(one, std::span(&nothing, 1));
    const double trip = took();
    CellDigest l, r;
    const auto [left, right] = ask(one, std::span(&hashed, 1));
    for (const CellDigest& c : left) add(l, c);
    for (const CellDigest& c : right) add(r, c);
    const double hash_ms = std::max(1.0, took() - trip);
    NullSink none;
    const DiffCounts fetched = compare(std::span(&sent, 1), none).first;
    const double send_ms = std::max(1.0, took() - trip);
    const std::uint64_t rows_hashed = std::max(l.rows.count, r.rows.count), rows_sent = std::max(fetched.left, fetched.right);
    if (rows_sent < sample / 8 || rows_hashed < sample) {
      out_.why = "bisected: the keys are too uneven for an estimate";
      return false;
    }
    const auto share = [](std::uint64_t part, std::uint64_t of) { return static_cast<double>(part) / static_cast<double>(of); };
    const double per_cell = static_cast<double>(options_.rows_min) * static_cast<double>(rows_per_first_cell);
    if (share(fetched.differences(), rows_sent) * per_cell >= differences_everywhere)
      return because(std::to_string(fetched.differences()) + " of " + std::to_string(rows_sent) + " rows in the middle differ, so nearly every range would");
    hash_cost_ = hash_ms / send_ms * share(rows_sent, rows_hashed);
    const double bisect_ms = hash_ms * share(bounds_.rows, rows_hashed) + 4 * trip, stream_ms = send_ms * share(bounds_.rows, rows_sent) + trip;
    const std::string figures = std::to_string(bounds_.rows) + " rows, by a sample of " + std::to_string(rows_sent) + ": hashing all would take about " +
                                seconds(bisect_ms) + " and sending all about " + seconds(stream_ms);
    if (stream_ms <= bisect_ms) return because(figures);
    out_.why = "bisected: " + figures;
    return false;
  }

  // ---- both sides at once

  std::pair<Cells, Cells> ask(const KeyGrid& grid, std::span<const KeyRange> ranges) {
    control_.check();
    of_left([&] { left_.ask(grid, ranges, control_); });
    left_owes_ = true;
    right_.ask(grid, ranges, control_);
    Cells l, r = right_.answer(control_);
    left_owes_ = false;
    of_left([&] { l = left_.answer(control_); });
    return {std::move(l), std::move(r)};
  }

  /// `diff` of the rows in `ranges`, with the digests of the ids that were read.
  template <DiffSink To>
  std::pair<DiffCounts, std::pair<Digest, Digest>> compare(std::span<const KeyRange> ranges, To& to) {
    control_.check();
    left_lost_ = true;  // until its rows have been read: half read they are in the way of whatever else it is asked
    AnyCursor l = left_.fetch(ranges, control_), r = right_.fetch(ranges, control_);
    const DiffCounts counts = diff(*l, *r, rules_, to);
    left_lost_ = false;
    const Proof left = l->proof(), right = r->proof();
    out_.left_bytes += left.bytes, out_.right_bytes += right.bytes;
    out_.left_fetched += left.rows, out_.right_fetched += right.rows;
    return {counts, {left.ids.value_or(Digest{}), right.ids.value_or(Digest{})}};
  }

  void count(const DiffCounts& c) {
    DiffCounts& sum = out_.counts;
    sum.left += c.left, sum.right += c.right, sum.equal += c.equal;
    sum.only_left += c.only_left, sum.only_right += c.only_right, sum.changed += c.changed;
    sum.which += c.which;
  }

  // ---- stream

  void stream() {
    if (whole_ != nullptr) return void(out_.counts = (*whole_)());
    const auto [counts, ids] = compare({}, sink_);
    out_.counts = counts;
    require_complete(left_, ids.first), require_complete(right_, ids.second);
  }

  static void require_complete(const DigestSide& side, const Digest& seen) {
    const std::optional<Digest> expected = side.expected();
    if (!expected || *expected == seen) return;
    throw Failure(Reason::horizon_not_proven, side.name() + " shows other events than the token counts (" + to_string(seen) + ", and not " +
                                                  to_string(*expected) + "), so nothing is said of them; wait, or look at the pipeline that fills it")
        .retry();
  }

  // ---- bisect

  void bisect() {
    out_.used = Method::bisect;
    // Divided twice: the product of the two may be more than 64 bits hold.
    const std::uint64_t cells_wanted = std::clamp<std::uint64_t>(bounds_.rows / std::max<std::uint64_t>(1, options_.rows_min) / rows_per_first_cell, 2,
                                                                 std::max<std::uint64_t>(2, options_.cells_first_max));
    grid_.base = bounds_.least;
    const auto span = static_cast<std::uint64_t>(bounds_.greatest - bounds_.least);
    while (span >> grid_.shift >= cells_wanted) ++grid_.shift;
    grid_.cells = (span >> grid_.shift) + 1;
    first_round();
    while (!open_.empty() && split()) {
    }
    if (out_.used == Method::bisect) fetch();
  }

  void first_round() {
    const auto [l, r] = ask(grid_, {});
    CellDigest left, right;
    for (const CellDigest& c : l) add(left, c);
    for (const CellDigest& c : r) add(right, c);
    require_whole(left_, left_bounds_, left), require_whole(right_, right_bounds_, right);
    sort_out(l, r);
  }

  /// All ranges together are the whole, with a token by it and without one by the count.
  static void require_whole(const DigestSide& side, const KeyBounds& bounds, const CellDigest& all) {
    require_complete(side, all.ids);
    if (!side.expected() && all.rows.count != bounds.rows)
      throw moved(side.name(), std::to_string(bounds.rows) + " rows were counted and then " + std::to_string(all.rows.count));
  }

  /// Equal cells are counted, the others kept.
  void sort_out(const Cells& l, const Cells& r) {
    ++out_.rounds;
    std::uint64_t compared = 0, differing = 0;
    open_.clear();
    for (std::size_t i = 0, j = 0; i < l.size() || j < r.size(); ++compared) {
      Open both;
      const std::uint64_t cell = j == r.size() || (i < l.size() && l[i].cell < r[j].cell) ? l[i].cell : r[j].cell;
      both.left.cell = both.right.cell = cell;
      if (i < l.size() && l[i].cell == cell) both.left = l[i++];
      if (j < r.size() && r[j].cell == cell) both.right = r[j++];
      if ((i < l.size() && l[i].cell <= cell) || (j < r.size() && r[j].cell <= cell) || cell > grid_.cells)
        throw Failure(Reason::incomplete, "the digests of a side came in no order; this is a fault of the source");
      if (both.left.rows == both.right.rows) {
        out_.counts.left += both.left.rows.count, out_.counts.right += both.right.rows.count, out_.counts.equal += both.left.rows.count;
        continue;
      }
      ++differing;
      open_.push_back(both);
    }
    out_.cells_compared += compared, out_.cells_differing += differing;
    differing_share_ = compared == 0 ? 0 : static_cast<double>(differing) / static_cast<double>(compared);
  }

  /// One more round, if it is worth it. False once everything that is open is to be fetched.
  bool split() {
    std::vector<Open> parents;
    std::uint64_t rows = 0, most = 0;
    for (const Open& open : open_) {
      rows += open.rows();
      if (open.left.cell == grid_.cells || grid_.shift == 0 || open.rows() <= options_.rows_min) continue;
      parents.push_back(open), most += open.rows();
    }
    const std::uint64_t row_bytes = bytes_per_row(out_.left_bytes + out_.right_bytes, out_.left_fetched + out_.right_fetched);
    if (parents.empty() || rows + rows_of(wanted_) <= options_.fetch_bytes_max / row_bytes / 2) return false;
    const std::uint64_t parts = most / parents.size() * 2 / std::max<std::uint64_t>(1, options_.rows_min);
    int bits = std::clamp(static_cast<int>(std::bit_width(parts)) - 1, 1, std::min(10, grid_.shift));
    while (bits > 1 && parents.size() << bits > options_.cells_max) --bits;
    // Differences that fell into cells by chance: of the cells that are none, those that will be, if each parent is cut into 2^bits.
    const double still_differing = differing_share_ >= 1 ? 1 : std::min(1.0, 1 / ((1 - differing_share_) * static_cast<double>(1 << bits)));
    if (hash_cost_ + still_differing >= 1) {
      // To fetch range by range what is nearly everything would only be slower.
      if (rows > bounds_.rows - bounds_.rows / 8)
        give_up(std::to_string(out_.cells_differing) + " of " + std::to_string(out_.cells_compared) + " ranges differ");
      return false;
    }
    for (const Open& open : open_)
      if (open.left.cell == grid_.cells || open.rows() <= options_.rows_min) want(open);
    ask_children(parents, bits);
    return true;
  }

  /// What was found decides nothing. Precondition: the sink was told nothing.
  void give_up(const std::string& since) {
    out_.used = Method::stream, out_.why += "; then streamed, since " + since;
    out_.counts = {}, open_.clear(), wanted_.clear();
  }

  void ask_children(const std::vector<Open>& parents, int bits) {
    const KeyGrid from = grid_;
    grid_.shift -= bits, grid_.cells <<= bits;
    Cells l, r;
    for (std::size_t begin = 0; begin < parents.size();) {
      std::vector<KeyRange> ranges;
      std::size_t end = begin;
      while (end < parents.size()) {
        std::size_t run = end + 1;
        while (run < parents.size() && parents[run].left.cell == parents[run - 1].left.cell + 1) ++run;
        if (ranges.size() == ranges_per_statement_max) break;
        ranges.push_back(from.range(parents[end].left.cell, parents[run - 1].left.cell));
        end = run;
      }
      const auto [more_l, more_r] = ask(grid_, ranges);
      l.insert(l.end(), more_l.begin(), more_l.end()), r.insert(r.end(), more_r.begin(), more_r.end());
      begin = end;
    }
    const auto require_sums = [&](const DigestSide& side, const Cells& children, CellDigest Open::*which) {
      std::size_t at = 0;
      for (const Open& parent : parents) {
        CellDigest sum;
        for (; at < children.size() && children[at].cell >> bits == parent.left.cell; ++at) add(sum, children[at]);
        const CellDigest& before = parent.*which;
        if (sum.rows != before.rows || sum.ids != before.ids)
          throw moved(side.name(), "a range of " + to_string(before.rows) + " has parts of " + to_string(sum.rows));
      }
      if (at != children.size()) throw Failure(Reason::incomplete, side.name() + " answered for a range that was not asked for; this is a fault of the source");
    };
    require_sums(left_, l, &Open::left), require_sums(right_, r, &Open::right);
    sort_out(l, r);
  }

  // ---- the rows of the last ranges

  static std::uint64_t rows_of(const std::vector<std::pair<KeyRange, Open>>& wanted) {
    std::uint64_t rows = 0;
    for (const auto& [range, open] : wanted) rows += open.rows();
    return rows;
  }

  void want(const Open& open) {
    wanted_.push_back({open.left.cell == grid_.cells ? KeyRange{.null = true} : grid_.range(open.left.cell, open.left.cell), open});
  }

  /// Differences among the rows that were read are differences. If there are none, ranges were different when they were hashed and are equal now: a side was
  /// not one state, so that no statement showed both sides equal, or the two write some value in two forms. One statement of each side then decides: a
  /// stream. With a tolerance digests part where values agree, so there it proves nothing that they did.
  void fetch() {
    fetched_ = true;
    for (const Open& open : open_) want(open);
    // In key order, NULLs last; ranges of several rounds don't overlap.
    std::sort(wanted_.begin(), wanted_.end(), [](const auto& a, const auto& b) {
      if (a.first.null != b.first.null) return b.first.null;
      return b.first.from && (!a.first.from || *a.first.from < *b.first.from);
    });
    for (std::size_t at = 0; at < wanted_.size();) {
      Wanted batch;
      for (; at < wanted_.size(); ++at) {
        const auto& [range, open] = wanted_[at];
        KeyRange* last = batch.ranges.empty() ? nullptr : &batch.ranges.back();
        if (last != nullptr && last->below && range.from && *last->below == *range.from)
          last->below = range.below;
        else if (batch.ranges.size() == ranges_per_statement_max)
          break;
        else
          batch.ranges.push_back(range);
        add(batch.left, open.left), add(batch.right, open.right);
      }
      const auto [counts, ids] = compare(batch.ranges, sink_);
      require_same(left_, batch.left, counts.left, ids.first), require_same(right_, batch.right, counts.right, ids.second);
      count(counts);
    }
    if (wanted_.empty() || out_.counts.differences() != 0) return;
    const std::string found = std::to_string(wanted_.size()) + " ranges differ by their digests and not by their values";
    const bool exact = std::all_of(rules_.begin(), rules_.end(), [](const Rule& rule) { return rule.kind == Rule::Kind::exact && !rule.absent_is_zero; });
    exact ? give_up(found) : void(out_.why += "; " + found);
  }

  /// What was fetched is what was hashed.
  static void require_same(const DigestSide& side, const CellDigest& hashed, std::uint64_t rows, const Digest& ids) {
    if (rows != hashed.rows.count) throw moved(side.name(), std::to_string(hashed.rows.count) + " rows were hashed and " + std::to_string(rows) + " sent");
    if (side.expected() && ids != hashed.ids) throw moved(side.name(), "the events that were sent are not those that were hashed");
  }

  DigestSide &left_, &right_;
  std::span<const Rule> rules_;
  Sink& sink_;
  const BisectOptions& options_;
  Control control_;
  Whole* whole_;  ///< null: both sides in key order
  Bisected out_;
  KeyBounds left_bounds_, right_bounds_, bounds_;  ///< `bounds_`: of all that was asked so far
  KeyGrid grid_;
  std::vector<Open> open_;
  std::vector<std::pair<KeyRange, Open>> wanted_;  ///< with the range in the grid of its round
  double differing_share_ = 0;
  bool left_owes_ = false;  ///< an answer
  bool left_lost_ = false;  ///< with its transaction, as far as is known
  bool fetched_ = false;    ///< and so the sink may have been told
  double hash_cost_ = 0;    ///< of a row, in the time that sending it takes; 0: not measured, so that as few bytes as possible are sent
};

}  // namespace bisecting

/// The differences of two sides, as `diff` finds them, by sending as little as pays. A key that stands twice on both sides alike is not noticed.
/// "No difference" is what one statement of each side shows: of digests that are all equal, or else of a stream. Not so with a tolerance, where ranges whose
/// digests part are compared by later statements: that a side whose values were rewritten meanwhile, with the same event ids, was equal at any ONE time is
/// not shown then. A difference is of rows that were read; beside one, `equal` counts ranges at the time at which they were hashed.
/// Errors: as `diff`; `horizon_not_proven` where a side does not show the events that its token counts; `cut_violated` where a side moved in between (both
/// retryable); with Method::bisect what a side or its server says of rows that it can't hash (`schema`, `configuration`, `syntax` …), which else are
/// streamed, unless the left side's transaction has ended with it.
template <DiffSink Sink>
Bisected bisect(DigestSide& left, DigestSide& right, std::span<const Rule> rules, Sink& sink, const BisectOptions& options = {}, const Control& control = {}) {
  return bisecting::Run<Sink, DiffCounts()>(left, right, rules, sink, options, control, nullptr).run();
}

/// The same, but where the rows are to be streamed `whole` does it: it tells the sink, gives the counts, and answers for both sides being complete.
template <DiffSink Sink, class Whole>
Bisected bisect_or(Whole whole, DigestSide& left, DigestSide& right, std::span<const Rule> rules, Sink& sink, const BisectOptions& options,
                   const Control& control) {
  return bisecting::Run<Sink, Whole>(left, right, rules, sink, options, control, &whole).run();
}

}  // namespace epochcut
