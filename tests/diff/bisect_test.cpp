// Bisection is `diff` by other means: the same counts, the same differences in the same order, whatever the keys, the rounds and the sizes. And it says
// "equal" of nothing that moved, was cut short or was proved by no one.
#include <epochcut/diff/bisect.hpp>

#include <algorithm>
#include <functional>

#include "diff/memory_side.hpp"
#include "diff/random_tables.hpp"
#include "testing/tables.hpp"

using namespace epochcut;
using namespace random_tables;
using namespace tables;
using epochcut::testing::ManualClock;
using memory_side::MemorySide;

namespace {

/// `rows` keys from `first` on, `step` apart; value = key * 3.
Relation numbered(std::uint64_t rows, std::int64_t first = 0, std::int64_t step = 1) {
  Relation r = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}});
  for (std::uint64_t i = 0; i < rows; ++i) {
    const std::int64_t k = first + static_cast<std::int64_t>(i) * step;
    r.fields[0].column.append(Value(k)), r.fields[1].column.append(Value(k * 3));
  }
  return r;
}

Relation with_changes(const Relation& from, const std::function<bool(std::size_t)>& changed) {
  Relation r = from.empty_copy();
  for (std::size_t row = 0; row < from.rows(); ++row) {
    r.fields[0].column.append(from.fields[0].column[row]);
    changed(row) ? r.fields[1].column.append(Value(-7)) : r.fields[1].column.append(from.fields[1].column[row]);
  }
  return r;
}

/// Small enough for several rounds over a few hundred rows.
const BisectOptions small{.method = Method::bisect, .rows_min = 2, .stream_rows_max = 0, .cells_first_max = 8, .cells_max = 4'096, .fetch_bytes_max = 0};

Digest ids_of(const Relation& r) {
  Digest d;
  for (std::size_t row = 0; row < r.rows(); ++row) d += digest_of_event_id(r.fields[0].column.words()[row]);
  return d;
}

struct Told {
  Bisected result;
  std::vector<std::string> lines;
};
Told told(MemorySide& left, MemorySide& right, const BisectOptions& options = small, std::span<const Rule> rules = {}, const Control& control = {}) {
  FirstDifferences first(10'000);
  Told told{bisect(left, right, rules, first, options, control), {}};
  told.lines = lines_of(told.result.counts, first.take());
  return told;
}

std::vector<std::string> by_diff(const Relation& left, const Relation& right, std::span<const Rule> rules = {}) {
  BlockCursor l({left}), r({right});
  FirstDifferences first(10'000);
  const DiffCounts counts = diff(l, r, rules, first);
  return lines_of(counts, first.take());
}

/// Two tables of one integer key and random values. Faults as in random_tables; a key stands twice on the left alone.
struct Keyed {
  Relation left, right;
  std::vector<Rule> rules;
  bool negative_tolerance = false;
};
Keyed keyed() {
  std::vector<Shape> columns{shapes[*rc::gen::inRange<std::size_t>(0, 3)]};
  if (*rc::gen::inRange(0, 6) == 0) columns[0] = {Type::int64, Type::decimal};
  for (std::size_t i = *rc::gen::inRange<std::size_t>(0, 4); i > 0; --i) columns.push_back(*rc::gen::elementOf(shapes));
  const auto draw = [] { return *rc::gen::arbitrary<std::uint32_t>(); };
  const bool natural = columns[0].left == Type::uint64 || columns[0].right == Type::uint64;
  const std::size_t rows = *rc::gen::inRange<std::size_t>(0, 300);
  const int spread = *rc::gen::inRange(0, 4);  // dense, gaps, few far apart, over nearly 63 bits
  Int128 key = natural ? 0 : -static_cast<Int128>(draw() % 1'000);
  if (columns[0].left == Type::uint64 && columns[0].right == Type::uint64 && draw() % 2 == 0) key = Int128{UINT64_MAX} - (Int128{1} << 62);
  const bool null_key = *rc::gen::inRange(0, 4) == 0, with_nulls = *rc::gen::inRange(0, 3) == 0;
  const unsigned faulty = *rc::gen::element(0u, 1u, 3u, 20u, 100u);
  const bool twice = *rc::gen::inRange(0, 6) == 0;
  Keyed made{empty_of(columns, 1, true), empty_of(columns, 1, false), {}};
  std::string room;
  for (std::size_t row = 0; row < rows + null_key; ++row) {
    key += spread == 0 ? 1 : spread == 1 ? 1 + draw() % 50 : spread == 2 ? 1 + draw() % 1'000'000 : 1 + (Int128{draw()} << 21) % (Int128{1} << 53);
    Relation one = empty_of(columns, 1, false);
    if (row == rows)
      one.fields[0].column.append_null();
    else if (natural)
      one.fields[0].column.append(Value(static_cast<std::uint64_t>(key)));
    else
      one.fields[0].column.append(Value(static_cast<std::int64_t>(key)));
    for (std::size_t i = 1; i < columns.size(); ++i) {
      if (with_nulls && draw() % 5 == 0)
        one.fields[i].column.append_null();
      else
        one.fields[i].column.append(value_of(columns[i], draw(), room));
    }
    for (Relation* side : {&made.left, &made.right}) {
      const std::uint32_t what = draw() % 100 < faulty ? draw() % 4 : 4;
      if (what == 0) continue;
      for (int copies = what == 1 && twice && side == &made.left ? 2 : 1; copies > 0; --copies)
        for (std::size_t i = 0; i < columns.size(); ++i) {
          if (i > 0 && what == 2)
            side->fields[i].column.append(value_of(columns[i], draw(), room));
          else
            side->fields[i].column.append(one.fields[i].column[0]);
        }
    }
  }
  for (std::size_t i = 1; i < columns.size(); ++i) {
    if (family(columns[i].left) != Family::number || draw() % 3 != 0) continue;
    Rule rule{.column = "v" + std::to_string(i)};
    rule.kind = *rc::gen::element(Rule::Kind::exact, Rule::Kind::within, Rule::Kind::at_least);
    rule.tolerance = {*rc::gen::inRange(-1, 6), *rc::gen::inRange(0, 2)};
    rule.absent_is_zero = draw() % 2 == 0;
    made.negative_tolerance |= rule.kind != Rule::Kind::exact && rule.tolerance.unscaled < 0;
    made.rules.push_back(rule);
  }
  return made;
}

}  // namespace

TEST_CASE("bisection finds what diff finds, in whatever steps") {
  int equal = 0, differing = 0, twice = 0, several_rounds = 0, streamed = 0;
  CHECK(rc::check("bisect is diff", [&] {
    const Keyed m = keyed();
    BisectOptions options;
    options.method =
        m.negative_tolerance ? Method::automatic : *rc::gen::element(Method::automatic, Method::bisect, Method::bisect, Method::bisect, Method::stream);
    options.rows_min = *rc::gen::element<std::uint64_t>(0, 1, 1, 2, 4, 8);
    options.stream_rows_max = *rc::gen::element<std::uint64_t>(0, 20, 1'000);
    options.cells_first_max = *rc::gen::element<std::uint64_t>(1, 2, 2, 7, 64);
    options.cells_max = *rc::gen::element<std::uint64_t>(2, 16, 65'536);
    options.fetch_bytes_max = *rc::gen::element<std::uint64_t>(0, 0, 0, 512, 1'000'000);
    const auto say = [](auto act) -> std::vector<std::string> {
      try {
        return act();
      } catch (const Failure& failure) {
        return {std::string(to_string(failure.kind))};
      }
    };
    const std::vector<std::string> plain = say([&] { return by_diff(m.left, m.right, m.rules); });
    MemorySide left(m.left), right(m.right);
    Bisected result;
    const std::vector<std::string> bisected = say([&] {
      Told t = told(left, right, options, m.rules);
      result = t.result;
      return t.lines;
    });
    (plain[0] == "unordered" ? twice : plain.size() > 1 ? differing : equal)++;
    several_rounds += result.rounds > 1, streamed += result.used == Method::stream;
    RC_ASSERT(bisected == plain);
    RC_ASSERT(left.ranges_most <= bisecting::ranges_per_statement_max);
  }));
  INFO(equal << " equal, " << differing << " differing, " << twice << " twice, " << several_rounds << " of several rounds, " << streamed << " streamed");
  for (const int seen : {equal, differing, twice, several_rounds, streamed}) CHECK(seen > 0);
}

TEST_CASE("a difference at each end, beyond them and among the NULLs is found") {
  Relation left = numbered(5'000, -2'000), right = left;
  left.fields[0].column.append_null(), left.fields[1].column.append(Value(1));
  right.fields[0].column.append_null(), right.fields[1].column.append(Value(2));
  MemorySide l(with_changes(left, [](std::size_t row) { return row == 0 || row == 4'999; })), r(right);
  const Told t = told(l, r);
  CHECK(t.result.used == Method::bisect);
  CHECK(t.result.counts.changed == 3);
  CHECK(t.result.counts.equal == 4'998);
  CHECK(t.lines.size() == 4);
  CHECK(l.fetches == 1);
  CHECK(t.result.left_fetched < 20);
}

TEST_CASE("rows that stand twice don't cancel each other") {
  // XOR of the hashes is zero on both sides, and the counts are the same.
  const Relation left = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}}, {{1, 1}, {5, 5}, {5, 5}, {90, 9}});
  const Relation right = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}}, {{1, 1}, {6, 6}, {6, 6}, {90, 9}});
  MemorySide l(left), r(right);
  CHECK(refusal([&] { told(l, r); }) == Reason::unordered);
}

TEST_CASE("a range is equal by its count and both halves of its digest, and what differs in it is said by its values") {
  const Relation all = numbered(4'000);
  for (const auto& spoil : std::vector<std::function<void(Digest&)>>{[](Digest& d) { ++d.sum_low; }, [](Digest& d) { ++d.sum_high; }}) {
    MemorySide l(all), r(all);
    r.lie = [&](std::vector<CellDigest>& cells) {
      for (CellDigest& cell : cells) spoil(cell.rows);
    };
    const Told t = told(l, r, {.method = Method::bisect, .fetch_bytes_max = 1 << 30});
    CHECK(t.result.cells_differing == t.result.cells_compared);
    CHECK(t.result.counts.equal == 4'000);
    CHECK(t.result.counts.differences() == 0);
    CHECK(t.result.used == Method::stream);
    CHECK(contains(t.result.why, "; then streamed, since "));
    CHECK(contains(t.result.why, "differ by their digests and not by their values"));
  }
}

TEST_CASE("what was never equal at one time is not equal by a digest of one time and values of another") {
  // Row 101 is wrong when it is hashed, and when it is fetched it is right and row 3000 is not: of each range all that was seen agrees.
  const Relation all = numbered(4'000);
  const auto wrong = [&](std::size_t which) { return with_changes(all, [which](std::size_t row) { return row == which; }); };
  MemorySide l(all), r(wrong(101));
  std::optional<std::size_t> becomes = 3'000;
  r.before_fetch = [&](int fetch, Relation& rows) {
    if (fetch == 0) rows = becomes ? wrong(*becomes) : all;
  };
  SECTION("another row is wrong") {
    const Told t = told(l, r);
    CHECK(t.lines == by_diff(all, wrong(3'000)));
    CHECK(t.result.used == Method::stream);
    CHECK(contains(t.result.why, "bisected, as asked for; then streamed, since 1 ranges differ by their digests and not by their values"));
    CHECK(t.result.counts.left == 4'000);  // and not those of the equal ranges once more
    CHECK(l.fetches == 2);
  }
  SECTION("proved by a token") {
    r.token = ids_of(all);
    CHECK(told(l, r).lines == by_diff(all, wrong(3'000)));
  }
  SECTION("all is right by then, and a stream says so") {
    becomes.reset();
    const Told t = told(l, r);
    CHECK(t.lines.size() == 1);
    CHECK(t.result.counts.equal == 4'000);
    CHECK(t.result.used == Method::stream);
  }
  SECTION("a row among those that are fetched is wrong in another way: it is found, and stands") {
    becomes = 102;
    BisectOptions at_once = small;
    at_once.rows_min = 1'000;
    const Told t = told(l, r, at_once);
    CHECK(t.lines == by_diff(all, wrong(102)));
    CHECK(t.result.used == Method::bisect);
    CHECK(l.fetches == 1);
  }
  SECTION("the stream is as cancellable as any") {
    Cancel cancel;
    ManualClock clock;
    const bool late = GENERATE(true, false);
    const Control control{.clock = &clock, .cancel = &cancel, .deadline = clock.now() + Millis{1'000}};
    l.before_fetch = [&](int, Relation&) { late ? clock.advance(Millis{2'000}) : cancel.request(); };
    CHECK(refusal([&] { told(l, r, small, {}, control); }) == (late ? Reason::timeout : Reason::cancelled));
    CHECK(l.fetches == 1);
  }
}

TEST_CASE("with a rule by which other values agree, digests that part say nothing") {
  const Relation all = numbered(4'000), near = with_changes(all, [](std::size_t row) { return row == 1'000 || row == 0; });
  const Rule within{.column = "v", .kind = Rule::Kind::within, .tolerance = {3'007, 0}};
  MemorySide l(all), r(near);
  Told t = told(l, r, small, std::span(&within, 1));
  CHECK(t.result.used == Method::bisect);
  CHECK(t.result.counts.equal == 4'000);
  CHECK(contains(t.result.why, "bisected, as asked for; 2 ranges differ by their digests and not by their values"));
  CHECK(t.result.left_fetched < 10);
  // Row 0 has the value 0.
  const Rule zero{.column = "v", .absent_is_zero = true};
  MemorySide some(numbered(4'000)), fewer(numbered(3'999, 1));
  t = told(some, fewer, small, std::span(&zero, 1));
  CHECK(t.result.used == Method::bisect);
  CHECK(t.result.counts.differences() == 0);
}

TEST_CASE("whatever the sizes, the same differences are found") {
  const Relation all = numbered(3'000, 0, 7), other = with_changes(all, [](std::size_t row) { return row == 5 || row == 1'500 || row == 2'999; });
  const std::vector<std::string> differences = by_diff(all, other);
  const std::vector<std::uint64_t> sizes{0, 1, std::uint64_t{1} << 59, std::uint64_t{1} << 62, std::uint64_t{1} << 63, UINT64_MAX};
  for (const std::uint64_t rows_min : sizes)
    for (const std::uint64_t cells : sizes)
      for (const std::uint64_t bytes : {std::uint64_t{0}, UINT64_MAX})
        for (const Method method : {Method::bisect, Method::automatic}) {
          INFO(rows_min << " " << cells << " " << bytes);
          const BisectOptions options{
              .method = method, .rows_min = rows_min, .stream_rows_max = 0, .cells_first_max = cells, .cells_max = cells, .fetch_bytes_max = bytes};
          MemorySide l(all), r(other), same(all);
          CHECK(told(l, r, options).lines == differences);
          CHECK(told(l, same, options).result.counts.equal == 3'000);
        }
  MemorySide l(all), r(other);
  CHECK(told(l, r, {.stream_rows_max = UINT64_MAX}).lines == differences);
}

TEST_CASE("where every bisection would end in the same failure the rows are streamed, while the left side answers") {
  const Relation all = numbered(30'000, 0, 256), other = with_changes(all, [](std::size_t row) { return row == 1'234; });
  const std::vector<std::string> differences = by_diff(all, other);
  ManualClock clock;  // hashing costs nothing in it
  const Control control{.clock = &clock};
  const auto run = [&](const Failure& failure, bool on_left, int question, Method method = Method::automatic, bool at_fetch = false) {
    MemorySide l(all), r(other);
    l.watch = r.watch = &clock, l.hash_ms = r.hash_ms = 0.0001, l.send_ms = r.send_ms = 1;
    (at_fetch ? (on_left ? l : r).before_fetch : (on_left ? l : r).before_question) = [&failure, question](int now, Relation&) {
      if (now == question) throw failure;
    };
    BisectOptions options = small;
    options.method = method;
    const Told t = told(l, r, options, {}, control);
    CHECK(t.lines == differences);
    CHECK(t.result.counts.equal == 29'999);
    return t.result;
  };
  const auto refused = [&](auto... what) { return refusal([&] { run(what...); }); };
  const Failure none(Reason::unknown, "not thrown");
  CHECK(run(none, true, -1).used == Method::bisect);
  for (const Reason kind : {Reason::syntax, Reason::schema, Reason::configuration, Reason::overflow, Reason::unknown, Reason::too_large}) {
    const Failure plain(kind, "the statement is too long"), by_server = Failure(kind, "the statement is too long").code("62");
    for (int question = 0; question < 5; ++question) {  // two of the estimate, and three rounds
      INFO(to_string(kind) << " " << question);
      const Bisected b = run(by_server, false, question);
      CHECK(b.used == Method::stream);
      CHECK(b.why == "streamed: the statement is too long");
      // The left side's own server has ended its transaction: that failure is told, and not what a stream of nothing would say.
      CHECK(refused(by_server, true, question) == kind);
      CHECK(run(plain, true, question).used == Method::stream);
      if (question < 3) CHECK(refused(by_server, false, question, Method::bisect) == kind);
    }
    // While rows are fetched the left side's are on their way, and the sink may know of some.
    for (const int fetch : {0, 1}) CHECK(refused(by_server, false, fetch, Method::automatic, true) == kind);
  }
  for (const Reason kind : {Reason::cut_violated, Reason::cancelled, Reason::timeout, Reason::unordered, Reason::replica_changed, Reason::connection})
    CHECK(refused(Failure(kind, "as it is"), false, 2) == kind);
  CHECK(refused(Failure(Reason::unknown, "no memory left").retry(), false, 2) == Reason::unknown);
}

TEST_CASE("ten differences in many rows cost a few rounds and little else; differences everywhere are streamed") {
  const Relation all = numbered(200'000, 0, 256);
  BisectOptions options{.method = Method::bisect};
  SECTION("none") {
    MemorySide l(all), r(all);
    const Told t = told(l, r, options);
    CHECK(t.result.counts.equal == 200'000);
    CHECK(t.result.rounds == 1);
    CHECK(l.fetches + r.fetches == 0);
  }
  SECTION("ten") {
    MemorySide l(all), r(with_changes(all, [](std::size_t row) { return row % 20'000 == 77; }));
    const Told t = told(l, r, options);
    CHECK(t.result.counts.changed == 10);
    CHECK(t.result.used == Method::bisect);
    CHECK(l.questions <= 3);
    CHECK(l.fetches == 1);
    CHECK(t.result.left_bytes < all.bytes() / 20);
  }
  SECTION("one in two hundred, everywhere") {
    MemorySide l(all), r(with_changes(all, [](std::size_t row) { return mix(row) % 200 == 0; }));
    const Told t = told(l, r, options);
    CHECK(t.lines == by_diff(all, with_changes(all, [](std::size_t row) { return mix(row) % 200 == 0; })));
    CHECK(t.result.used == Method::stream);
    CHECK(contains(t.result.why, "then streamed, since "));
    CHECK(l.questions + l.fetches <= 3);
  }
  SECTION("every row of one tenth") {
    MemorySide l(all), r(with_changes(all, [](std::size_t row) { return row >= 40'000 && row < 60'000; }));
    const Told t = told(l, r, options);
    CHECK(t.result.counts.changed == 20'000);
    CHECK(t.result.used == Method::bisect);
    CHECK(t.result.left_fetched < 25'000);
    CHECK(l.questions <= 3);
  }
}

TEST_CASE("the cheaper way is taken, by what a sample of both has cost") {
  ManualClock clock;
  const Control control{.clock = &clock};
  const Relation all = numbered(100'000);
  const auto run = [&](double hash_ms, double send_ms, Millis trip, Method method = Method::automatic) {
    MemorySide l(all), r(with_changes(all, [](std::size_t row) { return row == 500; }));
    l.watch = r.watch = &clock;
    l.hash_ms = r.hash_ms = hash_ms, l.send_ms = r.send_ms = send_ms, l.trip = r.trip = trip;
    const Told t = told(l, r, {.method = method}, {}, control);
    CHECK(t.result.counts.changed == 1);
    return t.result;
  };
  // A link of 100 ms each way and wide rows, then rows that are cheap to send.
  CHECK(run(0.01, 0.1, Millis{100}).used == Method::bisect);
  CHECK(contains(run(0.01, 0.1, Millis{100}).why, "hashing all would take about 2.8 s and sending all about 20.1 s"));
  CHECK(run(0.1, 0.01, Millis{1}).used == Method::stream);
  CHECK(run(0.1, 0.01, Millis{1}, Method::bisect).used == Method::bisect);
  CHECK(run(0.01, 0.1, Millis{100}, Method::stream).used == Method::stream);
  // Few rows are streamed, unseen.
  MemorySide l(numbered(10)), r(numbered(10));
  CHECK(told(l, r, {}).result.why == "streamed: 10 rows are few");
}

TEST_CASE("the choice asks the follower alone for a count, and wherever the other side's keys lie nothing is missed") {
  const Relation all = numbered(30'000, 0, 256);
  MemorySide counted(all), follower(all);
  CHECK(told(counted, follower, {.method = Method::automatic, .stream_rows_max = 30'000}).result.used == Method::stream);
  CHECK(counted.counted + follower.counted == 1);
  CHECK(follower.counted == 1);
  for (const std::int64_t first : {std::int64_t{-4'000'000'000'000}, std::int64_t{0}, std::int64_t{7}, std::int64_t{1} << 61})
    for (const std::uint64_t rows : {std::uint64_t{1}, std::uint64_t{3'000}, std::uint64_t{30'000}})
      for (const double hash_ms : {0.001, 1.0}) {
        ManualClock clock;
        const Control control{.clock = &clock};
        const Relation other = numbered(rows, first, 256);
        const auto both_ways = [&](const Relation& l_rows, const Relation& r_rows) {
          MemorySide l(l_rows), r(r_rows);
          l.watch = r.watch = &clock, l.hash_ms = r.hash_ms = hash_ms, l.send_ms = r.send_ms = 0.03;
          FirstDifferences some(10);
          const Bisected found = bisect(l, r, {}, some, {.stream_rows_max = 0}, control);
          BlockCursor plain_l({l_rows}), plain_r({r_rows});
          FirstDifferences plain_some(10);
          const DiffCounts counts = diff(plain_l, plain_r, {}, plain_some);
          CHECK(lines_of(found.counts, some.take()) == lines_of(counts, plain_some.take()));
        };
        both_ways(all, other);
        both_ways(other, all);
      }
}

TEST_CASE("what can't be hashed alike is streamed, or refused to who insists") {
  const Relation all = numbered(1'000);
  MemorySide l(all), r(all);
  r.refused = "of a kind that has no text";
  const Told t = told(l, r, {.method = Method::automatic, .stream_rows_max = 0});
  CHECK(t.result.used == Method::stream);
  CHECK(contains(t.result.why, "of a kind that has no text"));
  CHECK(t.result.counts.equal == 1'000);
  CHECK(refusal([&] { told(l, r); }) == Reason::schema);
}

TEST_CASE("empty is equal only to empty, and says how many rows it has seen") {
  MemorySide none(numbered(0)), also_none(numbered(0)), some(numbered(5));
  for (const Method method : {Method::automatic, Method::bisect, Method::stream}) {
    const BisectOptions options{.method = method};
    const Told t = told(none, also_none, options);
    CHECK(t.result.counts.left + t.result.counts.right + t.result.counts.equal == 0);
    CHECK(told(none, some, options).result.counts.only_right == 5);
    CHECK(told(some, none, options).result.counts.only_left == 5);
  }
}

TEST_CASE("what moves, is cut short or is not proved is never equal") {
  const Relation all = numbered(4'000, 1), other = with_changes(all, [](std::size_t row) { return row == 1'234; });
  MemorySide l(all), r(other);
  const auto fails = [&](const BisectOptions& options = small) {
    try {
      told(l, r, options);
    } catch (const Failure& failure) {
      CHECK(failure.retryable);
      return failure.kind;
    }
    return Reason::none;
  };
  const auto drop_last = [](std::vector<CellDigest>& cells) { cells.pop_back(); };

  SECTION("sound") { CHECK(fails() == Reason::none); }
  SECTION("both answers cut short alike") {
    l.lie = r.lie = drop_last;
    CHECK(fails() == Reason::cut_violated);
  }
  SECTION("two equal sides cut short alike") {
    MemorySide a(all), b(all);
    CHECK(refusal([&] { told(a, b); }) == Reason::none);
    a.lie = b.lie = drop_last;
    CHECK(refusal([&] { told(a, b); }) == Reason::cut_violated);
  }
  SECTION("cut short alike in a later round only") {
    int asked = 0;
    l.lie = r.lie = [&](std::vector<CellDigest>& cells) {
      if (++asked > 2) cells.clear();
    };
    CHECK(fails() == Reason::cut_violated);
  }
  SECTION("a row changes between two rounds") {
    r.before_question = [](int question, Relation& rows) {
      if (question != 1) return;
      rows = with_changes(rows, [](std::size_t row) { return row == 1'240; });
    };
    CHECK(fails() == Reason::cut_violated);
  }
  SECTION("a row is gone between digest and fetch, on both sides alike") {
    l.drop_fetched_row = r.drop_fetched_row = true;
    CHECK(fails() == Reason::cut_violated);
  }
  SECTION("the token counts another event") {
    r.token = ids_of(other) + digest_of_event_id(1'000'000);
    CHECK(fails() == Reason::horizon_not_proven);
    CHECK(fails({.method = Method::stream}) == Reason::horizon_not_proven);
  }
  SECTION("as many events, and one of them another") {
    r.token = ids_of(other) + digest_of_event_id(1'000'000) - digest_of_event_id(7);
    CHECK(fails() == Reason::horizon_not_proven);
  }
  SECTION("an event is another one when it is fetched") {
    r.token = ids_of(other);
    CHECK(fails() == Reason::none);
    r.another_event_fetched = true;
    CHECK(fails() == Reason::cut_violated);
  }
  SECTION("late rows on both sides: equal rows, and not all") {
    MemorySide early(all), late(all);
    late.token = ids_of(numbered(4'001, 1));
    CHECK(refusal([&] { told(early, late); }) == Reason::horizon_not_proven);
  }
  SECTION("an answer about a range that was not asked for") {
    int asked = 0;
    r.lie = [&](std::vector<CellDigest>& cells) {
      if (++asked > 1) cells.insert(cells.begin(), CellDigest{});
    };
    CHECK(refusal([&] { told(l, r); }) != Reason::none);
  }
  SECTION("no order") {
    r.lie = [](std::vector<CellDigest>& cells) { std::reverse(cells.begin(), cells.end()); };
    CHECK(refusal([&] { told(l, r); }) == Reason::incomplete);
  }
  SECTION("cancelled") {
    Cancel cancel;
    r.before_question = [&](int question, Relation&) {
      if (question == 0) cancel.request();
    };
    const Control control{.cancel = &cancel};
    CHECK(refusal([&] { told(l, r, small, {}, control); }) == Reason::cancelled);
  }
}

TEST_CASE("a proved follower is proved range by range") {
  const Relation all = numbered(4'000, 1), other = with_changes(all, [](std::size_t row) { return row % 1'000 == 3; });
  MemorySide l(all), r(other);
  r.token = ids_of(other);
  const Told t = told(l, r);
  CHECK(t.lines == by_diff(all, other));
  CHECK(t.result.counts.changed == 4);
  MemorySide streamed(other);
  streamed.token = r.token;
  CHECK(told(l, streamed, {.method = Method::stream}).lines == t.lines);
}

TEST_CASE("rows that come after the bounds were read, and lie beyond them, are in a range too") {
  const Relation early = numbered(4'000, 100), all = numbered(4'500, 20);
  MemorySide l(early), r(early);
  l.before_question = r.before_question = [&](int question, Relation& rows) {
    if (question == 0) rows = all;
  };
  l.token = r.token = ids_of(all);
  CHECK(told(l, r).result.counts.equal == 4'500);
  MemorySide late(early), wrong(early);
  late.before_question = l.before_question;
  wrong.before_question = [&](int question, Relation& rows) {
    if (question == 0) rows = with_changes(all, [](std::size_t row) { return row == 0 || row == 4'499; });
  };
  late.token = wrong.token = ids_of(all);
  const Told t = told(late, wrong);
  CHECK(t.result.counts.changed == 2);
  CHECK(t.result.counts.equal == 4'498);
}

TEST_CASE("a sample full of differences is enough to stream") {
  const Relation all = numbered(100'000);
  MemorySide l(all), r(with_changes(all, [](std::size_t row) { return row % 100 == 0; }));
  const Told t = told(l, r, {});
  CHECK(t.result.used == Method::stream);
  CHECK(contains(t.result.why, "rows in the middle differ, so nearly every range would"));
  CHECK(t.result.counts.changed == 1'000);
}

TEST_CASE("keys that span more than 63 bits are streamed, or refused to who insists") {
  Relation wide = table({{"k", Role::key, Type::int64}, {"v", Role::value, Type::int64}}, {{INT64_MIN, 1}, {0, 2}, {INT64_MAX, 3}});
  MemorySide l(wide), r(wide);
  CHECK(refusal([&] { told(l, r); }) == Reason::configuration);
  CHECK(contains(told(l, r, {.stream_rows_max = 0}).result.why, "63 bits"));
}

TEST_CASE("columns are agreed by name, at the wider scale, and as bytes where one side has bytes") {
  const std::vector<DigestColumn> left{{.name = "k", .role = Role::key, .type = Type::int64},
                                       {.name = "a", .type = Type::decimal, .scale = 2},
                                       {.name = "b", .type = Type::decimal, .any_scale = true},
                                       {.name = "c", .type = Type::text},
                                       {.name = "t", .type = Type::timestamp_ns, .scale = 6}};
  std::vector<DigestColumn> right{{.name = "k", .role = Role::key, .type = Type::uint64},
                                  {.name = "t", .type = Type::timestamp_ns, .scale = 9},
                                  {.name = "c", .type = Type::text, .scale = text_bytes},
                                  {.name = "b", .type = Type::decimal, .scale = 8},
                                  {.name = "a", .type = Type::int64}};
  const DigestForm form = agree(left, right, true, {});
  CHECK_FALSE(agree(left, right, false, {}).same_engine);
  REQUIRE(form.cells.size() == 5);
  CHECK(form.cells[1].scale == 2);
  CHECK(form.cells[2].scale == 8);
  CHECK(form.cells[3].form == CellForm::hex);
  CHECK(form.cells[4].scale == 9);
  CHECK(agree(left, left, true, {}).cells[2].scale == scale_shortest);
  right[4].type = Type::text;
  CHECK(refusal([&] { agree(left, right, false, {}); }) == Reason::schema);
  right[4] = {.name = "z", .type = Type::int64};
  CHECK(refusal([&] { agree(left, right, false, {}); }) == Reason::schema);
}
