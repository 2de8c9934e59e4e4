// Small answers that something between has rewritten: other columns, other types, no rows, without end. Each is a Failure, and no cell is looked at.
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/source/clickhouse_table.hpp>

#include "testing/tables.hpp"

using namespace epochcut;
using namespace tables;
using namespace std::string_literals;

namespace {

/// A name or a text, as Native writes it. Precondition: shorter than 128 bytes.
std::string said(std::string_view text) { return std::string(1, static_cast<char>(text.size())) + std::string(text); }

Relation collect(const std::vector<std::string>& pieces) {
  std::size_t at = 0;
  return clickhouse::collect([&]() -> std::string_view { return at < pieces.size() ? std::string_view(pieces[at++]) : std::string_view(); }, "SELECT", "here");
}

const std::string two_texts = "\2\1"s + said("a") + said("String") + said("x") + said("b") + said("String") + said("y");

/// A session whose server says what it likes to every question.
struct Session {
  Relation says, of_streams;
  Relation all(const std::string& sql, const Control&, std::string& display_name) {
    display_name = "server";
    return sql.starts_with("SELECT DISTINCT") ? of_streams : says;
  }
  Server server(const Relation& row, std::size_t at, const std::string& name) const {
    return {name + std::string(row.fields[at + 2].column.text(0)), std::string(row.fields[at + 1].column.text(0))};
  }
  bool has_table(const std::string&, const std::string&, const Control&) { return true; }
  std::string where() const { return "here"; }
  std::string stream_table() const { return "epochcut_stream"; }
  static constexpr std::string_view kind = "", database_place = "nowhere";
};

/// `types`: one row of columns of these.
Relation row_of(const std::vector<Type>& types) {
  Relation r;
  for (const Type type : types) {
    r.add("c", Role::value, type);
    type == Type::text   ? r.fields.back().column.append_text("1")
    : type == Type::uuid ? r.fields.back().column.append_wide(1)
                         : r.fields.back().column.append_word(1);
  }
  return r;
}

std::vector<std::vector<Type>> damaged(const std::vector<Type>& right) {
  std::vector<std::vector<Type>> all{{}, right};
  all.back().push_back(Type::text);
  for (std::size_t i = 0; i < right.size(); ++i) {
    all.push_back(right), all.back().erase(all.back().begin() + static_cast<std::ptrdiff_t>(i));
    all.push_back(right), all.back()[i] = Type::uuid;
    all.push_back(right), all.back()[i] = right[i] == Type::text ? Type::uint64 : Type::text;
  }
  return all;
}

}  // namespace

TEST_CASE("an answer whose blocks have different columns is none") {
  CHECK(lines(collect({two_texts, two_texts})) == Lines{"x y", "x y"});
  CHECK(lines(collect({two_texts + two_texts.substr(0, 1) + "\0"s + said("a") + said("String") + said("b") + said("String")})) == Lines{"x y"});
  const std::string fewer = "\1\3"s + said("a") + said("String") + said("p") + said("q") + said("r");
  const std::string more = "\3\1"s + two_texts.substr(2) + said("c") + said("UInt8") + "\1";
  const std::string other_type = "\2\1"s + said("a") + said("String") + said("x") + said("b") + said("UInt8") + "\1";
  const std::string other_name = "\2\1"s + said("a") + said("String") + said("x") + said("c") + said("String") + said("y");
  for (const std::string& second : {fewer, more, other_type, other_name}) {
    CHECK(refusal([&] { collect({two_texts, second}); }) == Reason::incomplete);
    CHECK(refusal([&] { collect({two_texts + second}); }) == Reason::incomplete);
  }
}

TEST_CASE("an answer without end is not gathered") {
  const std::string cells(60'000, '\1');
  const std::string block = "\1\xE0\xD4\3"s + said("n") + said("UInt8") + cells;  // 60 000 rows: 60 kB on their way, 480 kB as they are held
  std::size_t pieces = 0;
  CHECK(refusal([&] {
          clickhouse::collect([&]() -> std::string_view { return ++pieces < 10'000 ? std::string_view(block) : std::string_view(); }, "SELECT", "here");
        }) == Reason::too_large);
  CHECK(pieces <= clickhouse::small_answer_bytes_max / 480'000 + 2);
}

TEST_CASE("what a server says of itself is looked at before it is believed") {
  const Control control;
  const Type t = Type::text, n = Type::uint64;
  Session session;
  AsOf at;
  at.stream.event_id = "event_id";
  const auto describes = [&] { return refusal([&] { clickhouse::describe(session, "t", control); }); };
  const auto sees = [&] { return refusal([&] { clickhouse::visible(session, "t", at, control); }); };
  session.says = row_of({t, t, t, t, t, t, t, t});
  CHECK(describes() == Reason::none);
  session.says = row_of({n, n, t, t, t});
  CHECK(sees() == Reason::none);
  for (const auto& types : damaged({t, t, t, t, t, t, t, t})) {
    session.says = row_of(types);
    CHECK(describes() == Reason::incomplete);
  }
  session.says = row_of({t, t, t, t, t, t, t, t});
  session.of_streams = row_of({t, t});
  CHECK(clickhouse::about(session, "t", control).authority == "1");
  for (const auto& types : damaged({t, t})) {
    if (types.empty()) continue;  // no rows: nobody fills it
    session.of_streams = row_of(types);
    CHECK(refusal([&] { clickhouse::about(session, "t", control); }) == Reason::incomplete);
  }
  for (const auto& types : damaged({n, n, t, t, t})) {
    session.says = row_of(types);
    CHECK((sees() == Reason::incomplete || sees() == Reason::schema));
  }
  for (const auto& types : damaged({t, n})) {
    session.says = row_of(types);
    CHECK(refusal([&] { throw clickhouse::missing(session, "'d'", "t", control); }) == Reason::incomplete);
  }
  session.says = row_of({t, n}).empty_copy();
  CHECK(refusal([&] { throw clickhouse::missing(session, "'d'", "t", control); }) == Reason::incomplete);
}
