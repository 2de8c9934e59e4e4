// Does a source answer as `evaluate` says it must?
// Layer: testing, shipped, for the library's own sources and for yours; needs no test framework: it returns what is wrong, in words.
// It makes tables of every type with ties, NULLs, replays and conflicts, has you load them, and asks random queries as of random epochs.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/row_hash.hpp>
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/cut/source.hpp>

namespace epochcut::testing {

struct ConformanceOptions {
  std::uint64_t seed = 1;
  int rows = 600;                   ///< of each table
  int queries = 300;                ///< random ones
  bool boolean = true;              ///< the engine has a boolean type; else flags are loaded and read as 0 and 1
  bool uint64_beyond_int64 = true;  ///< the engine holds unsigned integers of 2^63 and more
  bool invalid_utf8 = true;         ///< the engine's text is any bytes
  bool distinct = true;             ///< the source answers the distinct form
  bool event_ids = true;            ///< its proof carries the digest of event ids; without, only a token in its own snapshot can prove it complete
};

/// What happened. `violations` is empty when the source conforms; `asked` and `refused` tell that something was asked at all.
struct ConformanceReport {
  std::vector<std::string> violations{};
  int asked = 0;    ///< queries answered and compared
  int refused = 0;  ///< queries that both refused, with the same reason
  int rows = 0;     ///< rows compared
};

/// A small deterministic generator: the same seed asks the same questions everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() { return mix(state_ += event_id_high_salt); }
  std::uint64_t below(std::uint64_t n) { return next() % n; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

inline Stream conformance_stream() { return {.id = "conformance", .leg_bits = 2}; }

/// The columns that queries are made of; every one of them also has NULLs, but for the event id.
struct ConformanceColumn {
  const char* name;
  Type type;
  int scale;
  bool groups;  ///< has few distinct values
};
inline constexpr ConformanceColumn conformance_columns[] = {
    {"flag", Type::boolean, 0, true},    {"small", Type::int64, 0, true},   {"big", Type::int64, 0, false},     {"natural", Type::uint64, 0, false},
    {"amount", Type::decimal, 4, false}, {"wide", Type::decimal, 8, false}, {"ratio", Type::float64, 0, false}, {"kind", Type::text, 0, true},
    {"memo", Type::text, 0, false},      {"ident", Type::uuid, 0, true},    {"day", Type::date, 0, true},       {"at", Type::timestamp_ns, 0, false}};

inline Value conformance_cell(const ConformanceColumn& column, Random& random, const ConformanceOptions& options, std::string& text) {
  if (random.one_in(6)) return Value::null_of(column.type);
  switch (column.type) {
    case Type::boolean: return Value(random.one_in(2));
    case Type::int64: {
      if (column.groups) return Value(static_cast<std::int64_t>(random.below(5)) - 2);
      constexpr std::int64_t edges[] = {0, -1, INT64_MAX, INT64_MIN, (std::int64_t{1} << 53) + 1};
      return random.one_in(3) ? Value(edges[random.below(5)]) : Value(static_cast<std::int64_t>(random.next()));
    }
    case Type::uint64: {
      constexpr std::uint64_t edges[] = {0, std::uint64_t{1} << 63, UINT64_MAX, INT64_MAX};
      const std::uint64_t v = random.one_in(3) ? edges[random.below(4)] : random.next();
      return Value(options.uint64_beyond_int64 ? v : v >> 1);
    }
    case Type::decimal: {
      Int128 unscaled = static_cast<std::int64_t>(random.next()) >> (4 + random.below(56));  // 18 digits, so that a 64-bit decimal holds them
      if (column.scale == 8) unscaled *= static_cast<Int128>(random.below(1'000'000'000'000));
      return Value(Decimal{unscaled, column.scale});
    }
    case Type::float64: {
      const double edges[] = {0.0, -0.0, 1.5, -2.25e300, 0.0009765625};
      return Value(random.one_in(2) ? edges[random.below(5)] : static_cast<double>(static_cast<std::int64_t>(random.next())) / 1024);
    }
    case Type::text: {
      static constexpr std::string_view words[] = {"", "a", "B", "Zebra", "zebra", "\xC3\xA4\x62", "a,b|c\t\"d\"'e\\f\n", "DB::Exception", "<null>", "aa"};
      if (column.groups) return Value(words[random.below(10)]);
      text.clear();
      for (std::uint64_t i = random.below(12); i > 0; --i) text += static_cast<char>(options.invalid_utf8 ? 1 + random.below(255) : ' ' + random.below(95));
      return Value(std::string_view(text));
    }
    case Type::uuid: {
      const std::uint64_t which = random.below(6);
      return Value(to_uuid(static_cast<Uint128>(mix(which + 1)) << 64 | mix(which * 7 + 3)));
    }
    case Type::timestamp_ns: return Value(Timestamp{static_cast<std::int64_t>(random.below(4'000'000'000)) * 1'000'000'000});
    case Type::date: break;
  }
  return Value(Date{static_cast<std::int32_t>(random.below(9) * 5'000)});
}

/// Columns: event_id, then `conformance_columns`. Some executions have several legs, some rows stand there twice; `conflicts`: some twice and different.
inline Relation conformance_table(const ConformanceOptions& options, bool replays, bool conflicts) {
  Random random(options.seed + (replays ? 77 : 0) + (conflicts ? 7'777 : 0));
  Relation table;
  table.add("event_id", Role::key, Type::uint64);
  for (const ConformanceColumn& c : conformance_columns)
    table.add(c.name, Role::value, c.type == Type::boolean && !options.boolean ? Type::uint64 : c.type, c.scale);
  const Stream stream = conformance_stream();
  std::string text;
  for (std::uint64_t sequence = 1; static_cast<int>(table.rows()) < options.rows; ++sequence)
    for (std::uint64_t leg = 0; leg <= random.below(4); ++leg) {
      const auto append = [&] {
        table.fields[0].column.append(Value(sequence << stream.leg_bits | leg));
        for (std::size_t i = 0; i < std::size(conformance_columns); ++i) {
          Value cell = conformance_cell(conformance_columns[i], random, options, text);
          if (cell.type == Type::boolean && !options.boolean) cell.type = Type::uint64;
          table.fields[i + 1].column.append(cell);
        }
      };
      append();
      if (replays && random.one_in(5)) {
        Relation copy = table.empty_copy();
        copy.append_row(table, table.rows() - 1);
        table.append(copy);
      }
      if (conflicts && random.one_in(40)) append();
    }
  return table;
}

inline Query conformance_query(const std::string& relation, const Relation& table, Random& random) {
  constexpr std::size_t n = std::size(conformance_columns);
  const auto any = [&] { return &conformance_columns[random.below(n)]; };
  const auto grouping = [&] {
    for (;;)
      if (const auto* c = any(); c->groups) return std::string(c->name);
  };
  Query query = events(relation);
  if (random.one_in(2)) {
    const std::string first = grouping(), second = grouping();
    query = latest(relation).per(first);
    if (random.one_in(2) && first != second) query = query.per(second);
  }
  for (std::uint64_t i = random.below(3); i > 0; --i) {
    const auto* column = any();
    const Value cell = table.column(column->name)[random.below(table.rows())];
    const auto comparison = static_cast<Comparison>(random.below(8));
    if (cell.null && comparison != Comparison::is_null && comparison != Comparison::is_not_null) continue;
    query = query.where(column->name, comparison, cell);
  }
  if (random.one_in(3)) {
    std::vector<std::string> used = query.plan().per;
    for (std::uint64_t i = 1 + random.below(4); i > 0; --i) {
      const std::string name = any()->name;
      bool fresh = true;
      for (const std::string& u : used) fresh = fresh && u != name;
      if (fresh) query = query.values(name), used.push_back(name);
    }
    return query;
  }
  const std::string first = grouping(), second = grouping();
  if (!random.one_in(5)) query = query.by(first);
  if (random.one_in(3) && first != second) query = query.by(second);
  constexpr const char* sums[] = {"small", "big", "natural", "amount", "wide", "ratio", "memo"};
  const char* summed = random.one_in(12) ? sums[5 + random.below(2)] : sums[random.below(5)];
  query = query.sum(summed).as("total");
  if (random.one_in(2)) query = query.count("n");
  return query;
}

namespace conformance_detail {

inline std::string describe(const QueryPlan& p, const AsOf& at, Form form) {
  std::string text = (p.history == History::latest ? "latest(" : "events(") + p.relation + ")";
  for (const auto& c : p.per) text += ".per(" + c + ")";
  for (const auto& f : p.where) text += ".where(" + f.column + " #" + std::to_string(static_cast<int>(f.comparison)) + " " + to_string(f.literal.value()) + ")";
  for (const auto& c : p.by) text += ".by(" + c + ")";
  for (const auto& m : p.measures) text += (m.kind == Measure::Kind::sum ? ".sum(" : m.kind == Measure::Kind::count ? ".count(" : ".values(") + m.column + ")";
  return text + (at.at_rest ? " at rest" : " as of " + std::to_string(at.last_event_id)) + (form == Form::distinct ? " distinct" : "");
}

/// The first thing in which `got` is not `want`, or nothing.
inline std::string mismatch(const Relation& want, const Relation& got) {
  if (got.fields.size() != want.fields.size()) return "it has " + std::to_string(got.fields.size()) + " columns, not " + std::to_string(want.fields.size());
  for (std::size_t c = 0; c < want.fields.size(); ++c) {
    const Field &w = want.fields[c], &g = got.fields[c];
    if (g.name != w.name || g.role != w.role) return "column " + std::to_string(c) + " is \"" + g.name + "\", not \"" + w.name + "\", or has another role";
    if (family(g.column.type()) != family(w.column.type()))
      return "column \"" + g.name + "\" is " + std::string(to_string(g.column.type())) + ", not " + std::string(to_string(w.column.type()));
  }
  if (got.rows() != want.rows()) return "it has " + std::to_string(got.rows()) + " rows, not " + std::to_string(want.rows());
  for (std::size_t r = 0; r < want.rows(); ++r)
    for (std::size_t c = 0; c < want.fields.size(); ++c)
      if (compare(want.fields[c].column[r], got.fields[c].column[r]) != 0)
        return "row " + std::to_string(r) + ", column \"" + want.fields[c].name + "\" is " + to_string(got.fields[c].column[r]) + ", not " +
               to_string(want.fields[c].column[r]);
  return {};
}

inline std::pair<Relation, Proof> pull(AnyCursor cursor) {
  Relation all, block;
  bool first = true;
  while (cursor->next(block)) {
    if (std::exchange(first, false)) all = block.empty_copy();
    all.append(block);
  }
  return {std::move(all), cursor->proof()};
}

}  // namespace conformance_detail

/// Loads three tables through `load(relation, rows)` and compares `source`'s answers with `evaluate`'s. Throws only what `load` throws.
template <Follower Source, class Load>
ConformanceReport conformance(Source& source, Load load, const ConformanceOptions& options = {}) {
  using namespace conformance_detail;
  ConformanceReport report;
  struct Loaded {
    const char* name;
    Relation rows;
  };
  const Loaded tables[] = {{"conformance_unique", conformance_table(options, false, false)},
                           {"conformance_replayed", conformance_table(options, true, false)},
                           {"conformance_conflicting", conformance_table(options, true, true)}};
  for (const Loaded& table : tables) load(std::string(table.name), table.rows);
  auto&& readable_source = readable(source);
  Random random(options.seed * 31);
  const Stream stream = conformance_stream();
  for (int i = 0; i < options.queries; ++i) {
    const Loaded& table = tables[random.below(options.distinct ? 3 : 1)];
    // Which of two different rows of one event is seen is an accident: only the distinct form's count of them is asked.
    const bool conflicting = &table == &tables[2], replayed = &table != &tables[0];
    const Form form = conflicting || (replayed && random.one_in(2)) ? Form::distinct : Form::plain;
    const std::uint64_t newest = table.rows.fields[0].column.words().back() >> stream.leg_bits;
    AsOf at = as_of(stream, {random.below(newest + 3), 0});
    if (form == Form::plain && random.one_in(8)) at.at_rest = true;
    const Query query = conformance_query(table.name, table.rows, random);
    // Plain rows of a replayed table have ties in an event-id key, whose order is free.
    if (replayed && form == Form::plain && !query.plan().grouped() && query.plan().history == History::events) continue;
    const std::string what = describe(query.plan(), at, form) + ": ";
    Reason refused = Reason::none, got_refused = Reason::none;
    std::string sentence;
    Evaluated want;
    try {
      want = evaluate(query.plan(), table.rows, at, form);
    } catch (const Failure& f) {
      refused = f.kind;
    }
    try {
      const auto [rows, proof] = pull(readable_source.open(query.plan(), at, form, Control{}));
      if (refused == Reason::none) {
        if (proof.conflicts != want.proof.conflicts)
          report.violations.push_back(what + "it counts " + std::to_string(proof.conflicts) + " conflicts, not " + std::to_string(want.proof.conflicts));
        if (const std::string wrong = conflicting ? "" : mismatch(want.rows, rows); !wrong.empty()) report.violations.push_back(what + wrong);
        if (!proof.ids && options.event_ids && !at.at_rest) report.violations.push_back(what + "its proof carries no digest of event ids");
        if (proof.ids && !at.at_rest && *proof.ids != *want.proof.ids)
          report.violations.push_back(what + "its proof is " + to_string(*proof.ids) + ", not " + to_string(*want.proof.ids));
        if (proof.server.name.empty()) report.violations.push_back(what + "its proof names no server");
        ++report.asked;
        report.rows += static_cast<int>(rows.rows());
      }
    } catch (const Failure& f) {
      got_refused = f.kind;
      sentence = f.message;
    }
    if (refused != got_refused)
      report.violations.push_back(what + "it should " + (refused == Reason::none ? "answer" : "refuse with " + std::string(to_string(refused))) + ", but " +
                                  (got_refused == Reason::none ? "answered" : "refused with " + std::string(to_string(got_refused)) + ": " + sentence));
    else if (refused != Reason::none)
      ++report.refused;
  }
  for (const Loaded& table : tables)
    for (std::uint64_t sequence : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{1'000'000}}) {
      const AsOf at = as_of(stream, {sequence, 0});
      std::uint64_t count = 0, newest = 0;
      for (const std::uint64_t id : table.rows.fields[0].column.words()) {
        count += id <= at.last_event_id;
        newest = id > newest ? id : newest;
      }
      const Visible seen = readable_source.visible(table.name, at, Control{});
      if (seen.count != count || seen.newest != newest)
        report.violations.push_back(std::string("visible(") + table.name + "): it counts " + std::to_string(seen.count) + " up to " +
                                    std::to_string(seen.newest) + ", not " + std::to_string(count) + " up to " + std::to_string(newest));
    }
  try {
    pull(readable_source.open(events("conformance_absent").values("kind").plan(), as_of(stream, {1, 0}), Form::plain, Control{}));
    report.violations.push_back("it answers for a relation that is not there");
  } catch (const Failure& f) {
    if (f.message.find("conformance_absent") == std::string::npos)
      report.violations.push_back("its error for a relation that is not there does not name it: " + f.message);
  }
  try {
    pull(readable_source.open(events(tables[0].name).values("absent_column").plan(), as_of(stream, {1, 0}), Form::plain, Control{}));
    report.violations.push_back("it answers for a column that is not there");
  } catch (const Failure& f) {
    if (f.message.find("absent_column") == std::string::npos)
      report.violations.push_back("its error for a column that is not there does not name it: " + f.message);
  }
  return report;
}

}  // namespace epochcut::testing
