// Which ClickHouse statement means the same as a QueryPlan, and carries its own proof?
// Layer: source; text only, no I/O. Stateless. The oracle is `evaluate` (cut/evaluate.hpp): random plans are compared on a live server.
// Levels: rows as of the epoch (distinct form: one per event id), then one winner per key, then filter, groups, sums and order. Each level
// passes the digest of ALL its event ids on, so filters are flags and -If combinators and never a WHERE. Measured facts: 18.16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_cell.hpp>
#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/native.hpp>

namespace epochcut::clickhouse {

struct ColumnInfo {
  std::string name;
  std::string type_name;
};

struct TableInfo {
  std::string database, table, engine, sorting_key;
  std::vector<ColumnInfo> columns;
  Server server;
  std::string display_name;  ///< the header of the answer that said all this

  std::string path() const { return database + "." + table; }
  std::string sql() const { return identifier(database) + "." + identifier(table); }
  bool has(std::string_view column) const {
    for (const ColumnInfo& c : columns)
      if (c.name == column) return true;
    return false;
  }
  /// Errors: `schema`, for a column that is not there (naming those that are) or whose type the library does not have.
  NativeType type_of(std::string_view column) const {
    std::string names;
    for (const ColumnInfo& c : columns) {
      if (c.name == column) return parse_native_type(c.name, c.type_name);
      names += (names.empty() ? "" : ", ") + c.name;
    }
    throw Failure(Reason::schema, "ClickHouse table " + path() + " has no column \"" + std::string(column) + "\"; its columns are: " + names);
  }

  /// Whether merges keep every event apart: a collapsing engine does only if it sorts by the event id itself.
  bool keeps_every(std::string_view event_id) const {
    bool collapses = false;
    for (const std::string_view word : {"Replacing", "Collapsing", "Summing", "Aggregating", "Graphite"}) collapses |= engine.find(word) != std::string::npos;
    if (!collapses) return true;
    int depth = 0;
    std::string part;
    for (const char c : sorting_key + ",") {
      depth += c == '(' ? 1 : c == ')' ? -1 : 0;
      if (c == ',' && depth == 0) {
        if (part == event_id || part == identifier(event_id)) return true;
        part.clear();
      } else if (c != ' ' || depth > 0) {
        part += c;
      }
    }
    return false;
  }
};

/// What one column of the answer is for.
struct Output {
  enum class Use : std::uint8_t { field, sum_cells, sum_magnitude, matched, event_id, ids_count, ids_low, ids_high, conflicts, conflicting_id };
  Use use = Use::field;
  std::size_t field = 0;  ///< of `shape`: for field, sum_cells and sum_magnitude
  std::string alias{};
  bool also_ids = false;  ///< a field that is the event id: the digest is of it too, and it crosses the wire once
};

struct Statement {
  std::string sql;
  std::vector<Output> outputs;
  Relation shape;    ///< the result's fields, without rows
  bool ids = false;  ///< the answer carries a digest of event ids
};

/// A sum of this magnitude may have left 128 bits on the way. The magnitudes are added as doubles, whose error is far below the margin to 2^127.
inline constexpr double sum_magnitude_max = 1.7e38;

/// The rows whose generation owned their sequence number, as a condition; empty if they don't say which generation wrote them.
inline std::string owned(const AsOf& at, const std::string& event) {
  if (!by_generation(at)) return "";
  std::string cases;
  for (const Seam& seam : at.seams)
    cases += event + " <= " + std::to_string(last_event_id(at.stream, {seam.sequence - 1, 0})) + ", " + std::to_string(seam.from) + ", ";
  const std::string newest = std::to_string(at.generation);
  return identifier(at.stream.generation) + " = " + (cases.empty() ? newest : "multiIf(" + cases + newest + ")");
}

class Renderer {
 public:
  Renderer(const QueryPlan& plan, const AsOf& as_of, Form form, const TableInfo& table, std::string only = {})
      : plan_(plan), as_of_(as_of), table_(table), only_(std::move(only)) {
    events_ = plan.history != History::current;
    distinct_ = events_ && form == Form::distinct;
    refuse_what_has_no_answer();
    ids_ = events_ && table.has(as_of.stream.event_id);
    for (const std::string& name : plan.used_columns(as_of.stream)) {
      NativeType type = table.type_of(name);
      const bool by_bytes = type.wire == NativeType::Wire::decimal128 && (contains(plan.per, name) || contains(plan.by, name));
      columns_.push_back({name, std::move(type), by_bytes});
    }
    if (ids_) signed_id_ = require_integer_id();
    while (prefix_taken()) prefix_ += '_';
  }

  Statement render() {
    std::string from = rows();
    if (plan_.history == History::latest) from = winners(from);
    Statement statement = plan_.grouped() ? groups(from) : listing(from);
    statement.ids = ids_;
    return statement;
  }

 private:
  /// `by_bytes`: a Decimal(38) by which rows are grouped is grouped as its bytes. GROUP BY of one beside other keys crashes the whole server:
  /// 18.16 as Debian builds it, ColumnDecimal<Int128>::deserializeAndInsertFromArena, an aligned load of unaligned memory. The bytes are taken
  /// a level below the GROUP BY, for in one SELECT 18.16 takes GROUP BY f(x) for GROUP BY x. Not toString: see hashable.
  struct Used {
    std::string name;
    NativeType type;
    bool by_bytes = false;
  };

  static bool contains(const std::vector<std::string>& names, std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); }

  void refuse_what_has_no_answer() const {
    plan_.validate();
    const std::string& id = as_of_.stream.event_id;
    if (!events_ && !as_of_.at_rest)
      throw Failure(
          Reason::not_as_of,
          "current(\"" + plan_.relation +
              "\") holds state and not events, so ClickHouse can't show it as of an epoch; read a history with events() or latest(), or wrap the source in at_rest()");
    if (events_ && !table_.has(id) && (!as_of_.at_rest || distinct_ || plan_.history == History::latest)) static_cast<void>(table_.type_of(id));
    if (events_ && !as_of_.at_rest && !table_.keeps_every(id))
      throw Failure(Reason::below_retention, "ClickHouse table " + table_.path() + " is a " + table_.engine + " sorted by (" + table_.sorting_key +
                                                 "), which merges events away, so it can't be read as of an epoch; add " + id +
                                                 " to its sorting key or use MergeTree");
    const auto refuse_float = [&](const std::string& name) {
      if (table_.type_of(name).type == Type::float64)
        throw Failure(Reason::schema, "column \"" + name + "\" is a float, which can't be a key; choose an exact type");
    };
    for (const std::string& name : plan_.keys(as_of_.stream)) refuse_float(name);
    for (const std::string& name : plan_.per) refuse_float(name);
    for (const Measure& m : plan_.measures)
      if (m.kind == Measure::Kind::sum && family(table_.type_of(m.column).type) != Family::number)
        throw Failure(Reason::schema, "sum(\"" + m.column + "\"): the column is " + std::string(to_string(table_.type_of(m.column).type)) +
                                          "; only integers and decimals are summed, since a sum of floats depends on its order");
  }

  bool require_integer_id() const {
    const NativeType type = table_.type_of(as_of_.stream.event_id);
    if (type.nullable || (type.type != Type::uint64 && type.type != Type::int64))
      throw Failure(Reason::schema,
                    "the event id column \"" + as_of_.stream.event_id + "\" of ClickHouse table " + table_.path() + " must be a UInt64 that is not Nullable");
    return type.type == Type::int64;
  }

  /// An alias hides a column of the same name from the whole SELECT, so no alias may be one.
  bool prefix_taken() const {
    for (const ColumnInfo& c : table_.columns)
      if (c.name.starts_with(prefix_)) return true;
    return false;
  }

  std::string alias(char level, std::string_view what) const { return prefix_ + level + std::string(what); }
  std::string alias(char level, std::size_t column) const { return alias(level, std::to_string(column)); }
  std::string bytes(char level, std::size_t column) const { return alias(level, std::to_string(column) + "b"); }

  std::size_t index_of(std::string_view name) const {
    std::size_t i = 0;
    while (columns_[i].name != name) ++i;
    return i;
  }

  static void append(std::string& list, const std::string& item) { list += (list.empty() ? "" : ", ") + item; }

  // Level a: the rows at or below the epoch.
  std::string rows() const {
    const std::string id = identifier(as_of_.stream.event_id);
    const bool widen = ids_ && table_.type_of(as_of_.stream.event_id).wire != NativeType::Wire::uint64;
    const std::string event = widen ? "toUInt64(" + id + ")" : id;
    std::string where = !ids_ || as_of_.at_rest ? "" : " WHERE " + event + " <= " + std::to_string(as_of_.last_event_id);
    if (ids_ && by_generation(as_of_)) {
      const NativeType generation = table_.type_of(as_of_.stream.generation);
      if (generation.nullable || (generation.type != Type::uint64 && generation.type != Type::int64))
        throw Failure(Reason::schema, "a row's generation must be an integer that is not NULL, but \"" + as_of_.stream.generation + "\" of ClickHouse table " +
                                          table_.path() + " is not; change the column");
      where += " AND " + owned(as_of_, event);
    }
    if (!only_.empty()) where += (where.empty() ? " WHERE " : " AND ") + only_;
    const std::string from = " FROM " + table_.sql() + where;
    const char level = distinct_ ? 'd' : 'a';
    const auto key_bytes = [&](std::size_t i) { return "reinterpretAsString(" + alias(level, i) + ") AS " + bytes(level, i); };
    std::string list;
    if (ids_) append(list, event + " AS " + alias(level, "e"));
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      append(list, rendering::cell(columns_[i].name, columns_[i].type) + " AS " + alias(level, i));
      if (columns_[i].by_bytes) append(list, key_bytes(i));
    }
    if (list.empty()) list = "1 AS " + alias(level, "one");
    if (!distinct_) return "(SELECT " + list + from + ")";

    // One row per event id, the one of the greatest hash: whole, and whichever was inserted last. Not GROUP BY all columns: see Used.
    std::string outer = alias('d', "e") + " AS " + alias('a', "e"), hashed;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      append(hashed, rendering::hashable(alias('d', i), columns_[i].type));
      append(outer, rendering::winner(alias('d', i), alias('d', "h"), columns_[i].type) + " AS " + alias('a', i));
      if (columns_[i].by_bytes) append(outer, rendering::winner(bytes('d', i), alias('d', "h"), columns_[i].type) + " AS " + bytes('a', i));
    }
    if (hashed.empty()) {
      append(outer, "0 AS " + alias('a', "k"));
    } else {
      append(list, "sipHash64(" + hashed + ") AS " + alias('d', "h") + ", cityHash64(" + hashed + ") AS " + alias('d', "g"));
      const auto differ = [&](std::string_view hash) { return "min(" + alias('d', hash) + ") != max(" + alias('d', hash) + ")"; };
      append(outer, "(" + differ("h") + " OR " + differ("g") + ") AS " + alias('a', "k"));
    }
    return "(SELECT " + outer + " FROM (SELECT " + list + from + ") GROUP BY " + alias('d', "e") + ")";
  }

  // Level b: one winner per key, the greatest event id.
  std::string winners(const std::string& from) {
    const std::string event = alias('a', "e");
    std::string list, group;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string in = alias('a', i);
      const bool key = contains(plan_.per, columns_[i].name);
      const std::string out = " AS " + alias('b', i);
      if (columns_[i].by_bytes) {
        const std::string in_bytes = bytes('a', i);
        if (key) append(group, in_bytes);
        append(list, (key ? "any(" + in + ")" : rendering::winner(in, event, columns_[i].type)) + out);
        append(list, (key ? in_bytes : rendering::winner(in_bytes, event, columns_[i].type)) + " AS " + bytes('b', i));
        continue;
      }
      if (key) append(group, in);
      append(list, (key ? in : rendering::winner(in, event, columns_[i].type)) + out);
    }
    if (contains(plan_.per, as_of_.stream.event_id)) append(group, event);
    append(list, "max(" + event + ") AS " + alias('b', "e"));
    append(list, "count() AS " + alias('b', "n"));
    append(list, rendering::hash_sum(event, false) + " AS " + alias('b', "l"));
    append(list, rendering::hash_sum(event, true) + " AS " + alias('b', "h"));
    if (distinct_) {
      append(list, "sum(" + alias('a', "k") + ") AS " + alias('b', "k"));
      append(list, "minIf(" + event + ", " + alias('a', "k") + ") AS " + alias('b', "c"));
    }
    level_ = 'b';
    return "(SELECT " + list + " FROM " + from + " GROUP BY " + group + ")";
  }

  /// A column at the level reached, as it leaves the server.
  std::string reference(const std::string& name) const {
    if (name != as_of_.stream.event_id || !ids_) return alias(level_, index_of(name));
    const std::string event = alias(level_, "e");
    return signed_id_ ? "toInt64(" + event + ")" : event;
  }

  NativeType type_of(const std::string& name) const { return table_.type_of(name); }

  std::string order_of(const std::string& name, const std::string& sql) const { return type_of(name).type == Type::uuid ? "toString(" + sql + ")" : sql; }

  /// All filters as one UInt8 that is never NULL; empty if there are none.
  std::string condition() const {
    std::string sql;
    for (const Filter& f : plan_.where) sql += (sql.empty() ? "" : " AND ") + filter(f);
    return sql;
  }

  std::string filter(const Filter& f) const {
    const NativeType type = type_of(f.column);
    const std::string x = reference(f.column);
    if (f.comparison == Comparison::is_null) return "isNull(" + x + ")";
    if (f.comparison == Comparison::is_not_null) return "isNotNull(" + x + ")";
    const Value literal = f.literal.value();
    if (!literal.null && family(type.type) != family(literal.type))
      throw Failure(Reason::schema, "where(\"" + f.column + "\"): a " + std::string(to_string(type.type)) + " column does not compare with a " +
                                        std::string(to_string(literal.type)) + " value");
    if (literal.null) return "0";
    const std::string sql = compared(type, x, f.comparison, literal);
    if (!type.nullable) return "(" + sql + ")";
    return sql == "1" || sql == "0" ? "(isNotNull(" + x + ") AND " + sql + ")" : "ifNull(" + sql + ", 0)";
  }

  void output(Statement& s, std::string& list, const std::string& sql, Output::Use use, std::size_t field = 0) const {
    const std::string name = alias('r', s.outputs.size());
    append(list, sql + " AS " + name);
    s.outputs.push_back({use, field, name});
  }

  void field(Statement& s, const std::string& column, const std::string& name, Role role) const {
    const NativeType type = type_of(column);
    s.shape.add(name, role, type.type, type.column_scale());
  }

  // Level r: rows, with the flag of the filters beside each.
  Statement listing(const std::string& from) const {
    using Use = Output::Use;
    Statement s;
    std::string list, order;
    bool listed = !ids_ || level_ == 'b';
    const auto add = [&](const std::string& column, const std::string& name, Role role) {
      output(s, list, reference(column), Use::field, s.shape.fields.size());
      field(s, column, name, role);
      if (column == as_of_.stream.event_id && !std::exchange(listed, true)) s.outputs.back().also_ids = true;
    };
    for (const std::string& key : plan_.keys(as_of_.stream)) {
      append(order, order_of(key, reference(key)));
      add(key, key, Role::key);
    }
    for (const Measure& m : plan_.measures) add(m.column, m.name, Role::value);
    const std::string when = condition();
    if (!when.empty()) output(s, list, when, Use::matched);
    if (level_ == 'b') {
      output(s, list, alias('b', "n"), Use::ids_count);
      output(s, list, alias('b', "l"), Use::ids_low);
      output(s, list, alias('b', "h"), Use::ids_high);
      if (distinct_) output(s, list, alias('b', "k"), Use::conflicts), output(s, list, alias('b', "c"), Use::conflicting_id);
    } else if (ids_) {
      if (!listed) output(s, list, alias('a', "e"), Use::event_id);
      if (distinct_) output(s, list, alias('a', "k"), Use::conflicts), output(s, list, alias('a', "e"), Use::conflicting_id);
      append(order, alias('a', "e"));
    }
    s.sql = "SELECT " + list + " FROM " + from + (order.empty() || plan_.any_order ? "" : " ORDER BY " + order);
    // One thread reads part after part, each in its order: nearly that of the inserts. Two would be half a table apart.
    if (plan_.any_order && level_ == 'a' && !distinct_) s.sql += " SETTINGS max_threads = 1";
    return s;
  }

  // Level r: groups, with sums and counts of what the filters let through, and the digest of everything.
  Statement groups(const std::string& from) const {
    using Use = Output::Use;
    Statement s;
    std::string list, group, order;
    for (const std::string& key : plan_.by) {
      const std::string in = reference(key), out = alias('r', s.outputs.size());
      const bool id = key == as_of_.stream.event_id && ids_, by_bytes = !id && columns_[index_of(key)].by_bytes;
      append(group, id ? alias(level_, "e") : by_bytes ? bytes(level_, index_of(key)) : in);
      append(order, order_of(key, out));
      output(s, list, by_bytes ? "any(" + in + ")" : in, Use::field, s.shape.fields.size());
      field(s, key, key, Role::key);
    }
    const std::string flag = alias('r', "f"), when = condition();
    const auto aggregate = [&](const std::string& function, const std::string& what, const std::string& nonnull) {
      const std::string only = when.empty() ? nonnull : nonnull.empty() ? flag : flag + " AND " + nonnull;
      if (only.empty()) return function + "(" + what + ")";
      return function + "If(" + (what.empty() ? "" : what + ", ") + only + ")";
    };
    for (const Measure& m : plan_.measures) {
      const std::size_t at = s.shape.fields.size();
      if (m.kind == Measure::Kind::count) {
        output(s, list, aggregate("count", "", ""), Use::field, at);
        s.shape.add(m.name, Role::value, Type::uint64);
        continue;
      }
      const NativeType type = type_of(m.column);
      const std::string x = reference(m.column), nonnull = type.nullable ? "isNotNull(" + x + ")" : "";
      const std::string bare = type.nullable ? "assumeNotNull(" + x + ")" : x;
      output(s, list, aggregate("sum", rendering::summand(bare, type), nonnull), Use::field, at);
      s.shape.add(m.name, Role::value, Type::decimal, type.column_scale());
      if (type.nullable) output(s, list, aggregate("count", "", nonnull), Use::sum_cells, at);
      if (rendering::may_wrap(type)) output(s, list, aggregate("sum", "abs(toFloat64(" + bare + "))", nonnull), Use::sum_magnitude, at);
    }
    output(s, list, aggregate("count", "", ""), Use::matched);
    if (ids_ && level_ == 'b') {
      output(s, list, "sum(" + alias('b', "n") + ")", Use::ids_count);
      output(s, list, "sum(" + alias('b', "l") + ")", Use::ids_low);
      output(s, list, "sum(" + alias('b', "h") + ")", Use::ids_high);
    } else if (ids_) {
      output(s, list, "count()", Use::ids_count);
      output(s, list, rendering::hash_sum(alias('a', "e"), false), Use::ids_low);
      output(s, list, rendering::hash_sum(alias('a', "e"), true), Use::ids_high);
    }
    if (distinct_) {
      output(s, list, "sum(" + alias(level_, "k") + ")", Use::conflicts);
      const std::string id = level_ == 'b' ? alias('b', "c") : alias('a', "e");
      output(s, list, "minIf(" + id + ", " + alias(level_, "k") + " > 0)", Use::conflicting_id);
    }
    s.sql = (when.empty() ? "" : "WITH " + when + " AS " + flag + " ") + "SELECT " + list + " FROM " + from +
            (group.empty() ? "" : " GROUP BY " + group + " ORDER BY " + order);
    return s;
  }

  const QueryPlan& plan_;
  const AsOf& as_of_;
  const TableInfo& table_;
  bool events_ = true, distinct_ = false, ids_ = false, signed_id_ = false;
  char level_ = 'a';
  std::string prefix_ = "_", only_;
  std::vector<Used> columns_;
};

/// `only`: a condition on the table's own columns; other rows are then in neither the answer nor its digest. Errors: `configuration`, `schema`,
/// `not_as_of`, `below_retention`: each says what to change.
inline Statement render(const QueryPlan& plan, const AsOf& as_of, Form form, const TableInfo& table, std::string only = {}) {
  return Renderer(plan, as_of, form, table, std::move(only)).render();
}

}  // namespace epochcut::clickhouse
