// What stands in a statement is exactly the value: read back by the servers' rules it is the same, and nothing of it gets out of its quotes.
// Input: 1 byte which property; the rest is read as that property says.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/postgres_sql.hpp>

#include "fuzz/input.hpp"

using namespace epochcut;
using fuzz::Input;
using fuzz::require;

namespace {

/// A quoted text at the front of `sql` by ClickHouse's rules: backslash escapes, and a doubled quote is one. Nothing if it does not end.
std::optional<std::string> take_clickhouse_quoted(std::string_view& sql, char quote) {
  if (sql.empty() || sql[0] != quote) return std::nullopt;
  std::string value;
  for (std::size_t at = 1; at < sql.size(); ++at) {
    if (sql[at] == quote) {
      if (at + 1 == sql.size() || sql[at + 1] != quote) {
        sql.remove_prefix(at + 1);
        return value;
      }
      value += sql[++at];
    } else if (sql[at] != '\\') {
      value += sql[at];
    } else {
      if (++at == sql.size()) return std::nullopt;
      switch (sql[at]) {
        case 'x':
          if (at + 2 >= sql.size()) return std::nullopt;
          value += static_cast<char>(std::stoi(std::string(sql.substr(at + 1, 2)), nullptr, 16));
          at += 2;
          break;
        case 'N': break;
        case 'a': value += '\a'; break;
        case 'b': value += '\b'; break;
        case 'e': value += '\x1b'; break;
        case 'f': value += '\f'; break;
        case 'n': value += '\n'; break;
        case 'r': value += '\r'; break;
        case 't': value += '\t'; break;
        case 'v': value += '\v'; break;
        case '0': value += '\0'; break;
        default: value += sql[at];
      }
    }
  }
  return std::nullopt;
}

/// The same by PostgreSQL's rules (standard_conforming_strings): only a doubled quote means something. A zero byte ends the statement.
std::optional<std::string> take_postgres_quoted(std::string_view& sql, char quote) {
  if (sql.empty() || sql[0] != quote) return std::nullopt;
  std::string value;
  for (std::size_t at = 1; at < sql.size() && sql[at] != '\0'; ++at) {
    if (sql[at] != quote) {
      value += sql[at];
    } else if (at + 1 < sql.size() && sql[at + 1] == quote) {
      value += sql[++at];
    } else {
      sql.remove_prefix(at + 1);
      return value;
    }
  }
  return std::nullopt;
}

/// The statement with a Q for everything in quotes: what the server's parser sees of it. One underscore stands for many, since aliases begin with as
/// many as no column does.
template <class Take>
std::string skeleton(std::string_view sql, std::string_view quotes, Take take) {
  std::string text;
  while (!sql.empty()) {
    if (quotes.find(sql[0]) == std::string_view::npos) {
      if (sql[0] != '_' || !text.ends_with('_')) text += sql[0];
      sql.remove_prefix(1);
      continue;
    }
    text += sql[0];
    require(take(sql, sql[0]).has_value(), "a quoted text ends", sql);
    text += 'Q';
  }
  return text;
}

constexpr std::string_view after = " FORMAT Native";

void clickhouse_texts(std::string_view value) {
  const auto reads_back = [&](const std::string& literal, char quote) {
    const std::string statement = literal + std::string(after);
    std::string_view sql = statement;
    const auto read = take_clickhouse_quoted(sql, quote);
    require(read == value && sql == after, "a text reads back as itself", literal);
  };
  reads_back(clickhouse::text_literal(value), '\'');
  reads_back(clickhouse::identifier(value), '`');
}

/// `function('…'` and then `end`; gives what is between the quotes.
std::string argument(const std::string& literal, const std::string& function, std::string_view end) {
  std::string_view sql = literal;
  require(sql.starts_with(function + "("), "a literal is a call", literal);
  sql.remove_prefix(function.size() + 1);
  const auto text = take_clickhouse_quoted(sql, '\'');
  require(text && sql == end, "a literal is one call", literal);
  return *text;
}

void clickhouse_values(Input& input) {
  const std::uint64_t high = input.number(8), low = input.number(8);
  const auto wide = static_cast<Int128>(Uint128{high} << 64 | low);
  const Int128 unscaled = wide % power_of_ten(38);

  const std::string number = clickhouse::number_literal(unscaled);
  Int128 read = 0;
  for (const char c : number.substr(number[0] == '-')) {
    require(c >= '0' && c <= '9', "a number is its digits", number);
    read = read * 10 + (c - '0');
  }
  require((number[0] == '-' ? -read : read) == unscaled, "a number reads back as itself", number);

  const int scale = static_cast<int>(input.below(39));
  std::string digits = argument(clickhouse::decimal_literal({unscaled, scale}), "toDecimal128", ", " + std::to_string(scale) + ")");
  const std::size_t point = digits.find('.');
  require(scale == 0 ? point == std::string::npos : point == digits.size() - static_cast<std::size_t>(scale) - 1, "a decimal shows its scale", digits);
  if (scale != 0) digits.erase(point, 1);
  read = 0;
  for (const char c : digits.substr(digits[0] == '-')) read = read * 10 + (c - '0');
  require((digits[0] == '-' ? -read : read) == unscaled, "a decimal reads back as itself", digits);

  const std::string bits = argument(clickhouse::float_literal(std::bit_cast<double>(low)), "reinterpretAsFloat64(unhex", "))");
  std::uint64_t word = 0;
  require(bits.size() == 16, "a double is eight bytes", bits);
  for (std::size_t byte = 0; byte < 8; ++byte) word |= std::stoull(bits.substr(2 * byte, 2), nullptr, 16) << (8 * byte);
  require(word == low, "a double reads back as its bits", bits);

  const std::string uuid = argument(clickhouse::uuid_literal(to_uuid(static_cast<Uint128>(wide))), "toUUID", ")");
  std::string nibbles;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    require(dash == (uuid[i] == '-'), "a uuid has its dashes", uuid);
    if (!dash) nibbles += uuid[i];
  }
  require(nibbles.size() == 32 && std::stoull(nibbles.substr(0, 16), nullptr, 16) == high && std::stoull(nibbles.substr(16), nullptr, 16) == low,
          "a uuid reads back as itself", uuid);
}

constexpr Comparison comparisons[] = {Comparison::equal,   Comparison::not_equal, Comparison::less,    Comparison::at_most,
                                      Comparison::greater, Comparison::at_least,  Comparison::is_null, Comparison::is_not_null};

bool holds(std::strong_ordering order, Comparison comparison) {
  switch (comparison) {
    case Comparison::equal: return order == 0;
    case Comparison::not_equal: return order != 0;
    case Comparison::less: return order < 0;
    case Comparison::at_most: return order <= 0;
    case Comparison::greater: return order > 0;
    default: return order >= 0;
  }
}

/// `compared` is worked out here as the server would: a constant, or the cell beside a literal of the column's own type.
bool worked_out(std::string_view sql, std::string_view x, const Value& cell, int scale) {
  if (sql == "0" || sql == "1") return sql == "1";
  require(sql.starts_with(x), "the cell comes first", sql);
  sql.remove_prefix(x.size());
  constexpr std::string_view operators[] = {" = ", " != ", " < ", " <= ", " > ", " >= "};
  std::size_t which = 0;
  while (which < 6 && !sql.starts_with(operators[which])) ++which;
  require(which < 6, "an operator comes next", sql);
  sql.remove_prefix(operators[which].size());
  std::string literal(sql);
  if (sql.starts_with("toDecimal128(")) literal = argument(literal, "toDecimal128", ", " + std::to_string(scale) + ")");
  const auto value = parse_decimal(literal);
  require(value.has_value() && value->scale == (literal == sql ? 0 : scale), "a literal of the column's scale comes last", sql);
  return holds(cell.as_decimal() <=> *value, comparisons[which]);
}

void clickhouse_comparisons(Input& input) {
  const Comparison comparison = comparisons[input.below(6)];
  const bool decimal = input.byte() % 2 != 0;
  NativeType type;
  Value cell, literal;
  if (decimal) {
    type = parse_native_type("c", "Decimal(38, " + std::to_string(input.below(39)) + ")");
    const Uint128 high = input.number(8);
    cell = Value(Decimal{static_cast<Int128>(high << 64 | input.number(8)) % power_of_ten(38), type.scale});
  } else {
    type = parse_native_type("c", input.byte() % 2 ? "Int64" : "UInt64");
    const std::uint64_t word = input.number(8);
    cell = type.type == Type::int64 ? Value(static_cast<std::int64_t>(word)) : Value(word);
  }
  switch (input.below(5)) {
    case 0: literal = Value(static_cast<std::int64_t>(input.number(8))); break;
    case 1: literal = Value(input.number(8)); break;
    case 2: literal = cell; break;
    case 3: {  // next to the cell, often between two values of its type
      const Decimal at = cell.as_decimal();
      const auto finer = at.at_scale(at.scale + static_cast<int>(input.below(4)));
      const int away = input.byte() - 128;
      const bool fits = finer && finer->unscaled < power_of_ten(37) && finer->unscaled > -power_of_ten(37);
      literal = fits ? Value(Decimal{finer->unscaled + away, finer->scale}) : cell;
      break;
    }
    default: {
      const int scale = static_cast<int>(input.below(39));
      const Uint128 high = input.number(8);
      literal = Value(Decimal{static_cast<Int128>(high << 64 | input.number(8)) % power_of_ten(38), scale});
    }
  }
  const std::string sql = clickhouse::compared(type, "x", comparison, literal);
  require(worked_out(sql, "x", cell, type.scale) == holds(compare(cell, literal), comparison), "a comparison means what it means here", sql, cell, literal);
}

/// The same statement with names and texts that hold nothing special, as the server's parser sees both.
template <class Render, class Take>
void same_skeleton(Input& input, std::string_view quotes, Take take, Render render) {
  const Comparison comparison = comparisons[input.below(8)];
  const std::size_t shape = input.byte();
  const std::string table(input.text()), column(input.text()), text(input.text());
  std::string odd, plain;
  try {
    odd = render(table, column, text, comparison, shape);
  } catch (const Failure& failure) {
    require(failure.kind == Reason::configuration || failure.kind == Reason::schema, "a name is refused with its reason", failure.message);
    return;
  }
  plain = render(std::string("t"), std::string("column"), std::string(text.empty() ? "" : "x"), comparison, shape);
  require(skeleton(odd, quotes, take) == skeleton(plain, quotes, take), "nothing gets out of its quotes", odd, plain);
}

QueryPlan plan_of(const std::string& table, const std::string& column, const std::string& text, Comparison comparison, std::size_t shape) {
  const Query base = shape % 3 == 0 ? events(table) : shape % 3 == 1 ? latest(table).per(column) : events(table).by(column);
  const Query query = (shape % 3 == 2 ? base.count("n") : base.values(column).as("v")).where(column, comparison, Value(std::string_view(text)));
  query.plan().validate();
  return query.plan();
}

void clickhouse_statements(Input& input) {
  same_skeleton(input, "'`", take_clickhouse_quoted,
                [](const std::string& table, const std::string& column, const std::string& text, Comparison comparison, std::size_t shape) {
                  if (column == "event_id") throw Failure(Reason::schema, "the event id is a number");
                  const clickhouse::TableInfo info{.database = table,
                                                   .table = table,
                                                   .engine = "MergeTree",
                                                   .sorting_key = {},
                                                   .columns = {{"event_id", "UInt64"}, {column, shape & 8 ? "Nullable(String)" : "String"}},
                                                   .server = {},
                                                   .display_name = {}};
                  const Stream stream{.id = "s", .event_id = "event_id"};
                  return clickhouse::render(plan_of(table, column, text, comparison, shape), as_of(stream, Epoch{.sequence = 7}),
                                            shape & 16 ? Form::distinct : Form::plain, info)
                      .sql;
                });
}

void postgres_statements(Input& input) {
  same_skeleton(input, "'\"", take_postgres_quoted,
                [](const std::string& table, const std::string& column, const std::string& text, Comparison comparison, std::size_t shape) {
                  if (column == "event_id") throw Failure(Reason::schema, "the event id is a number");
                  const postgres::Table info{.name = table,
                                             .columns = {{.name = "event_id", .type = copy_binary::oid::int8, .not_null = (shape & 32) != 0},
                                                         {.name = column, .type = shape & 8 ? copy_binary::oid::bytea : copy_binary::oid::text}}};
                  postgres::Parameters parameters;
                  const bool one_part = table.find_first_of(".\"") == std::string::npos;
                  const postgres::Rendered rendered =
                      postgres::render(plan_of(one_part ? table : "t", column, text, comparison, shape), info,
                                       {.event_id = "event_id", .last_event_id = 7, .form = shape & 16 ? Form::distinct : Form::plain}, parameters);
                  for (const std::string& value : parameters.values()) require(value.find('\0') == std::string::npos, "a parameter is a C string");
                  return rendered.select + "\n" + rendered.null_ids + "\n" + rendered.conflicts + "\n" + parameters.statement();
                });
}

/// `table` or `schema.table`: what is quoted is what was written, part by part.
void postgres_names(std::string_view name) {
  const auto parts_of = [](std::string_view quoted) {
    std::vector<std::string> parts;
    for (;;) {
      const auto part = take_postgres_quoted(quoted, '"');
      require(part && !part->empty(), "a name is quoted");
      parts.push_back(*part);
      if (quoted.empty()) return parts;
      require(quoted[0] == '.', "a dot stands between two names");
      quoted.remove_prefix(1);
    }
  };
  try {
    const std::string quoted = postgres::identifier(name);
    require(parts_of(quoted) == std::vector<std::string>{std::string(name)}, "a name reads back as itself", quoted);
  } catch (const Failure&) {
    require(name.empty() || name.find('\0') != std::string_view::npos, "only what is no name is refused", name);
  }
  try {
    const std::string quoted = postgres::quoted_relation(name);
    const std::vector<std::string> parts = parts_of(quoted);
    require(parts.size() <= 2, "a relation has two parts at most", quoted);
    std::string rebuilt;
    for (const std::string& part : parts) {
      rebuilt += rebuilt.empty() ? "\"" : ".\"";
      for (const char c : part) rebuilt += c == '"' ? std::string("\"\"") : std::string(1, c);
      rebuilt += '"';
    }
    require(rebuilt == quoted, "a relation is its parts", quoted);
    require(postgres::quoted_relation(quoted) == quoted, "what is quoted stays as it is", quoted);
  } catch (const Failure& failure) {
    require(failure.kind == Reason::configuration, "no relation", failure.message);
  }
}

void postgres_values(Input& input) {
  const std::uint64_t word = input.number(8);
  const double number = std::bit_cast<double>(word);
  const std::string text = postgres::rendering::float_text(number);
  if (std::isfinite(number))
    require(std::bit_cast<std::uint64_t>(std::strtod(text.c_str(), nullptr)) == word, "a double reads back as its bits", text);
  else
    require(text == (std::isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity"), "what is no number has a name", text);

  const std::string_view bytes = input.rest();
  const std::string hex = postgres::rendering::bytea_text(bytes);
  require(hex.size() == 2 + 2 * bytes.size() && hex.starts_with("\\x"), "bytes are two digits each", hex);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    require(static_cast<char>(std::stoi(hex.substr(2 + 2 * i, 2), nullptr, 16)) == bytes[i], "bytes read back as themselves", hex);

  postgres::Parameters parameters;
  try {
    const std::string bound = parameters.bind(std::string(bytes), "text");
    require(bound == "current_setting('epochcut.p1')::text", "no value stands in a statement", bound);
    require(parameters.values().size() == 1 && parameters.values()[0] == bytes, "a parameter is the value");
    require(parameters.statement() == "SELECT set_config('epochcut.p1', $1, true)", "no value stands in the statement that binds them");
  } catch (const Failure&) {
    require(bytes.find('\0') != std::string_view::npos, "only a zero byte is refused", bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  switch (input.below(8)) {
    case 0: clickhouse_texts(input.rest()); break;
    case 1: clickhouse_values(input); break;
    case 2: clickhouse_comparisons(input); break;
    case 3: clickhouse_statements(input); break;
    case 4: postgres_names(input.rest()); break;
    case 5: postgres_values(input); break;
    default: postgres_statements(input);
  }
  return 0;
}
