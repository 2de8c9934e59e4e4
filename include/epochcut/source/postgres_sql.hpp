// How does PostgreSQL say what an AsOfQuery means?
// Layer: source, pure: text in, text out, no libpq. Its meaning is `evaluate` (cut/evaluate.hpp), and tests compare the two on random queries.
// COPY takes no parameters: values are bound with set_config and read back inside COPY as current_setting(…); identifiers are quoted.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>
#include <epochcut/core/value.hpp>
#include <epochcut/cut/as_of_query.hpp>
#include <epochcut/cut/source.hpp>
#include <epochcut/source/copy_binary.hpp>

namespace epochcut::postgres {

/// Errors: `configuration` for a name that no server can have.
inline std::string identifier(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos)
    throw Failure(Reason::configuration, "\"" + std::string(name.substr(0, name.find('\0'))) + "\" is no name for a PostgreSQL table or column; correct it");
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

/// `table` or `schema.table`, quoted part by part. A part that holds a dot is written in double quotes of its own.
inline std::string quoted_relation(std::string_view relation) {
  std::string text, part;
  bool inside = false;
  int parts = 1;
  for (std::size_t i = 0; i < relation.size(); ++i) {
    const char c = relation[i];
    if (c == '"' && inside && i + 1 < relation.size() && relation[i + 1] == '"')
      part += c, ++i;
    else if (c == '"')
      inside = !inside;
    else if (c == '.' && !inside)
      text += identifier(std::exchange(part, {})) + ".", ++parts;
    else
      part += c;
  }
  if (inside || parts > 2) throw Failure(Reason::configuration, "\"" + std::string(relation) + "\" is no table; write table or schema.table");
  return text + identifier(part);
}

/// The values of one transaction, to be bound by `set_config`.
class Parameters {
 public:
  /// The expression that stands for the value inside a COPY.
  std::string bind(std::string text, std::string_view type) {
    if (text.find('\0') != std::string::npos) throw Failure(Reason::configuration, "a text with a zero byte can't be in PostgreSQL; take it out of where()");
    values_.push_back(std::move(text));
    return "current_setting('" + name(values_.size()) + "')::" + std::string(type);
  }
  const std::vector<std::string>& values() const { return values_; }

  /// One statement that sets them all for the rest of the transaction.
  std::string statement() const {
    std::string sql = "SELECT ";
    for (std::size_t i = 1; i <= values_.size(); ++i) sql += (i == 1 ? "set_config('" : ", set_config('") + name(i) + "', $" + std::to_string(i) + ", true)";
    return sql;
  }

 private:
  static std::string name(std::size_t i) { return "epochcut.p" + std::to_string(i); }
  std::vector<std::string> values_;
};

/// A column as the catalog has it, domains unwrapped.
struct TableColumn {
  std::string name;
  std::uint32_t type = 0;
  std::int32_t modifier = -1;
  bool not_null = false;
  bool deterministic = true;  ///< equality by its collation is equality of bytes
  bool as_text = false;       ///< an enum, or a text type of an extension
  std::string type_name{};
  bool leads_index = false;  ///< a btree of all rows begins with it: its least and its greatest value are found at once

  std::string expression() const {
    using namespace copy_binary;
    if (as_text || type == oid::bpchar || type == oid::name || type == oid::character) return identifier(name) + "::text";
    return identifier(name);
  }
  /// The type of `expression()`.
  std::uint32_t read_type() const {
    using namespace copy_binary;
    if (as_text || type == oid::bpchar || type == oid::name || type == oid::character) return oid::text;
    return type;
  }
  /// Errors: `schema` when it has no logical type.
  Type logical() const {
    const std::optional<Type> known = copy_binary::type_of(read_type());
    if (!known) throw CopyBinaryDecoder::unsupported(name, type_name);
    return *known;
  }
  /// By bytes, whatever its collation; a column that is declared COLLATE "C" keeps its index.
  std::string ordered() const { return identifier(name) + (logical() == Type::text && type != copy_binary::oid::bytea ? " COLLATE \"C\"" : ""); }
};

struct Table {
  std::string name;
  std::vector<TableColumn> columns{};
  bool row_security = false;  ///< policies apply to the role that reads

  /// Errors: `not_found`, naming the columns that there are.
  const TableColumn& column(std::string_view wanted) const {
    std::string names;
    for (const TableColumn& c : columns) {
      if (c.name == wanted) return c;
      names += (names.empty() ? "" : ", ") + c.name;
    }
    throw Failure(Reason::schema, "table \"" + name + "\" has no column \"" + std::string(wanted) + "\"; it has: " + names).code("42703");
  }
};

/// Up to where a history is read. No `last_event_id` reads all of it.
struct Bound {
  std::string event_id;
  std::optional<std::uint64_t> last_event_id;
  Form form = Form::plain;
  bool none_below = false;  ///< no event id is below zero: proved in this very snapshot (Transaction::look_at_ids)
  bool none_above = false;  ///< none is above the last one, and none is NULL: as well
};

struct Rendered {
  std::string select;               ///< for COPY (…) TO STDOUT
  std::vector<CopyColumn> columns;  ///< what it answers
  std::string null_ids{};           ///< finds a row without an event id; empty where NOT NULL is declared
  std::string conflicts{};          ///< counts event ids with two different rows; empty in plain form
};

namespace rendering {

inline std::string float_text(double v) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v < 0 ? "-Infinity" : "Infinity";
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", v);
  return text;
}

/// ISO text: read alike under every DateStyle.
inline std::string timestamp_text(std::int64_t us) {
  constexpr std::int64_t day = 86'400'000'000;
  const std::int64_t days = us / day - (us % day < 0), of_day = us - days * day, seconds = of_day / 1'000'000;
  return text_of::date(days) + "T" + text_of::padded(seconds / 3600, 2) + ":" + text_of::padded(seconds / 60 % 60, 2) + ":" + text_of::padded(seconds % 60, 2) +
         "." + text_of::padded(of_day % 1'000'000, 6);
}

constexpr std::string_view operator_of(Comparison comparison) {
  switch (comparison) {
    case Comparison::equal: return " = ";
    case Comparison::not_equal: return " <> ";
    case Comparison::less: return " < ";
    case Comparison::at_most: return " <= ";
    case Comparison::greater: return " > ";
    default: return " >= ";
  }
}

/// A column has microseconds, the literal nanoseconds: one between two microseconds equals none of them and is compared with the lower.
inline std::string compare_time(const TableColumn& column, Comparison comparison, std::int64_t ns, Parameters& parameters) {
  const std::int64_t us = ns / 1000 - (ns % 1000 < 0);
  if (ns % 1000 != 0) {
    if (comparison == Comparison::equal) return "false";
    if (comparison == Comparison::not_equal) return identifier(column.name) + " IS NOT NULL";
    comparison = comparison == Comparison::less || comparison == Comparison::at_most ? Comparison::at_most : Comparison::greater;
  }
  const bool zoned = column.type == copy_binary::oid::timestamptz;
  return identifier(column.name) + std::string(operator_of(comparison)) +
         parameters.bind(timestamp_text(us) + (zoned ? "Z" : ""), zoned ? "timestamptz" : "timestamp");
}

inline std::string bytea_text(std::string_view bytes) {
  std::string text = "\\x";
  for (const char c : bytes) text += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4], text += "0123456789abcdef"[c & 15];
  return text;
}

/// One filter, over columns that the inner query has already brought to `read_type()`. Errors: `schema` across families, as `evaluate`.
inline std::string condition(const Filter& filter, const TableColumn& column, Parameters& parameters) {
  const Type type = column.logical();
  const std::string name = identifier(column.name);
  if (filter.comparison == Comparison::is_null) return name + " IS NULL";
  if (filter.comparison == Comparison::is_not_null) return name + " IS NOT NULL";
  const Value value = filter.literal.value();
  if (value.null) return "false";
  if (family(type) != family(value.type))
    throw Failure(Reason::schema, "where(\"" + filter.column + "\"): a " + std::string(to_string(type)) + " column does not compare with a " +
                                      std::string(to_string(value.type)) + " value");
  const std::string op(operator_of(filter.comparison));
  switch (family(type)) {
    case Family::boolean: return name + op + parameters.bind(value.word != 0 ? "true" : "false", "boolean");
    case Family::number: {
      const bool small = value.type != Type::decimal && (value.type == Type::int64 || value.word <= std::uint64_t{INT64_MAX});
      return name + op + parameters.bind(to_string(value), small && type != Type::decimal ? "bigint" : "numeric");
    }
    case Family::float64: return name + "::float8" + op + parameters.bind(float_text(value.as_float64()), "float8");
    case Family::text: {
      if (column.type == copy_binary::oid::bytea) return name + op + parameters.bind(bytea_text(value.text), "bytea");
      const bool equality = filter.comparison == Comparison::equal || filter.comparison == Comparison::not_equal;
      return (equality && column.deterministic ? name : column.ordered()) + op + parameters.bind(std::string(value.text), "text");
    }
    case Family::uuid: return name + op + parameters.bind(to_string(value), "uuid");
    case Family::timestamp: return compare_time(column, filter.comparison, value.as_int64(), parameters);
    case Family::date: break;
  }
  return name + op + "(date '1970-01-01' + " + parameters.bind(std::to_string(value.as_int64()), "integer") + ")";  // text can't say every year
}

inline std::string joined(const std::vector<std::string>& parts, const std::string& before, const std::string& between) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? before : between) + part;
  return text;
}

}  // namespace rendering

/// Renders `plan` over `table`. Precondition: plan.validate(). Errors: `not_found` (a column), `schema`, `configuration`.
inline Rendered render(const QueryPlan& plan, const Table& table, const Bound& bound, Parameters& parameters) {
  using namespace rendering;
  const bool history = plan.history != History::current;
  const Stream stream{.id = {}, .event_id = bound.event_id};
  const std::vector<std::string> keys = plan.keys(stream);
  for (const std::vector<std::string>* names : {&keys, &plan.per})
    for (const std::string& name : *names)
      if (table.column(name).logical() == Type::float64)
        throw Failure(Reason::schema, "column \"" + name + "\" is a float, which can't be a key; choose an exact type");

  // The innermost query brings each column that is used to a type that can be read.
  std::vector<std::string> used, inner, used_ordered;
  bool uses_id = history;
  for (const std::vector<std::string>* names : {&keys, &plan.per})
    for (const std::string& name : *names) uses_id |= name == bound.event_id;
  for (const Filter& f : plan.where) uses_id |= f.column == bound.event_id;
  for (const Measure& m : plan.measures) uses_id |= m.column == bound.event_id;
  used = plan.used_columns(stream);
  for (const std::string& name : used) used_ordered.push_back(table.column(name).ordered());
  std::vector<std::string> all = used;
  if (uses_id) all.push_back(bound.event_id);
  for (const std::string& name : all) {
    (void)table.column(name).logical();
    inner.push_back(table.column(name).expression() + " AS " + identifier(name));
  }

  Rendered rendered;
  std::string from = "SELECT " + joined(inner, "", ", ") + " FROM " + quoted_relation(plan.relation);
  if (history) {
    const TableColumn& id = table.column(bound.event_id);
    const std::string name = identifier(bound.event_id);
    if (id.logical() != Type::int64 && id.logical() != Type::decimal)
      throw Failure(Reason::schema,
                    "column \"" + id.name + "\" of \"" + plan.relation + "\" is " + id.type_name + ", but an event id must be a bigint or a numeric(20)");
    if (!id.not_null) rendered.null_ids = "SELECT 1 FROM " + quoted_relation(plan.relation) + " WHERE " + name + " IS NULL LIMIT 1";
    if (bound.last_event_id) {
      const bool whole = id.logical() == Type::int64;  // compared as bigint, or its index could not serve
      const std::uint64_t last = whole && *bound.last_event_id > std::uint64_t{INT64_MAX} ? std::uint64_t{INT64_MAX} : *bound.last_event_id;
      // No parameter: those are looked up for every row.
      if (!bound.none_below) from += " WHERE " + name + " >= 0";
      if (!bound.none_above) from += (bound.none_below ? " WHERE " : " AND ") + name + " <= " + std::to_string(last) + (whole ? "::bigint" : "::numeric");
    }
    if (bound.form == Form::distinct) {
      const std::string rows = " FROM (" + from + ") AS r";
      rendered.conflicts = "SELECT count(*), min(id) FROM (SELECT " + name + " AS id FROM (SELECT DISTINCT " + name + joined(used_ordered, ", ", ", ") + rows +
                           ") AS d GROUP BY 1 HAVING count(*) > 1) AS c";
      from = "SELECT DISTINCT ON (" + name + ") *" + rows + " ORDER BY " + name + joined(used_ordered, ", ", ", ");
    }
    if (plan.history == History::latest) {
      // One winner for all columns, NULLs kept; a NULL in per() is a value of its own.
      std::vector<std::string> per;
      for (const std::string& column : plan.per) per.push_back(table.column(column).ordered());
      from = "SELECT DISTINCT ON (" + joined(per, "", ", ") + ") * FROM (" + from + ") AS v ORDER BY " + joined(per, "", ", ") + ", " + name + " DESC";
    }
  }

  std::vector<std::string> key_order, results, conditions;
  for (const std::string& name : keys) {
    const TableColumn& c = table.column(name);
    key_order.push_back(c.ordered());
    results.push_back(c.ordered());
    rendered.columns.push_back({name, Role::key, c.read_type(), c.modifier, false, c.type_name});
  }
  for (const Measure& m : plan.measures) {
    if (m.kind == Measure::Kind::count) {
      results.push_back("count(*)");
      rendered.columns.push_back({m.name, Role::value, copy_binary::oid::int8, -1, true});
      continue;
    }
    const TableColumn& c = table.column(m.column);
    if (m.kind == Measure::Kind::value) {
      results.push_back(identifier(m.column));
      rendered.columns.push_back({m.name, Role::value, c.read_type(), c.modifier, false, c.type_name});
      continue;
    }
    if (family(c.logical()) != Family::number)
      throw Failure(Reason::schema, "sum(\"" + m.column + "\"): the column is " + std::string(to_string(c.logical())) +
                                        "; only integers and decimals are summed, since a sum of floats depends on its order");
    results.push_back("sum(" + identifier(m.column) + ")::numeric");  // a bigint's sum is numeric and exact, an integer's a bigint
    rendered.columns.push_back({m.name, Role::value, copy_binary::oid::numeric});
  }
  for (const Filter& f : plan.where) conditions.push_back(condition(f, table.column(f.column), parameters));
  rendered.select = "SELECT " + joined(results, "", ", ") + " FROM (" + from + ") AS e" + joined(conditions, " WHERE ", " AND ");
  if (plan.grouped()) rendered.select += keys.empty() ? " HAVING count(*) > 0" : joined(key_order, " GROUP BY ", ", ");  // nothing summed is no row
  if (!plan.any_order) rendered.select += joined(key_order, " ORDER BY ", ", ");                                         // ascending puts NULLs last
  return rendered;
}

}  // namespace epochcut::postgres
