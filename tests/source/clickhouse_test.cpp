// Against a live server: answers equal to `evaluate`'s over every type, one digest on both sides, and a Failure for whatever goes wrong between.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "support/catch.hpp"

#include <epochcut/cut/evaluate.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/testing/conformance.hpp>

using namespace epochcut;
using namespace std::string_literals;

namespace {

const std::string url = std::getenv("EPOCHCUT_CLICKHOUSE") == nullptr ? "" : std::getenv("EPOCHCUT_CLICKHOUSE");
const std::string database = "t_clickhouse_" + std::to_string(getpid());
const Stream stream{.id = "test", .leg_bits = 0};

std::string in_database(const std::string& base = url) { return base + "?database=" + database; }

/// Sends statements as they are, with nothing pinned.
void run(const std::string& sql, clickhouse::Parameters parameters = {}) {
  const Control control;
  clickhouse::Transport transport(clickhouse::parse_url(url), {});
  auto exchange = transport.start({sql, std::move(parameters), control.clock->now() + Millis(60'000)});
  while (!exchange->read(control).empty()) {
  }
}

/// A database for one test case.
struct Scratch {
  Scratch() {
    run("DROP DATABASE IF EXISTS " + database);
    run("CREATE DATABASE " + database);
  }
  ~Scratch() {
    try {
      run("DROP DATABASE IF EXISTS " + database);
    } catch (...) {  // a test that broke its server has failed already
    }
  }
  void table(const std::string& name, const std::string& columns, const std::string& rows = "", const std::string& engine = "MergeTree ORDER BY event_id") {
    run("CREATE TABLE " + database + "." + name + " (" + columns + ") ENGINE = " + engine, {{"allow_experimental_low_cardinality_type", "1"}});
    if (!rows.empty()) run("INSERT INTO " + database + "." + name + " " + rows);
  }
};

AsOf at(std::uint64_t id) { return as_of(stream, {id, 0}); }
AsOf at_rest() {
  AsOf as_of;
  as_of.stream = stream;
  as_of.at_rest = true;
  return as_of;
}

struct Answer {
  Relation rows;
  Proof proof;
};

Answer pull(AnyCursor cursor) {
  Answer answer;
  Relation block;
  while (cursor->next(block)) {
    if (answer.rows.fields.empty()) answer.rows = block.empty_copy();
    answer.rows.append(block);
  }
  answer.proof = cursor->proof();
  return answer;
}

Answer read(const Query& query, const AsOf& as_of, Form form = Form::plain, const Control& control = {}, const std::string& base = in_database()) {
  ClickHouse source(base);
  return pull(source.open(query.plan(), as_of, form, control));
}

std::string print(const Relation& rows) {
  std::string text;
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    for (const Field& field : rows.fields) text += to_string(field.column[row]) + " ";
    text += "\n";
  }
  return text;
}

template <class Call>
Failure failure_of(Call call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure;
  }
  return {Reason::none, "nothing was thrown"};
}

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof value);
}

/// As FORMAT RowBinary takes it: the text formats of 18.16 read 5e-324 as 0. Every column but event_id is Nullable.
std::string row_binary(const Relation& rows, std::size_t fixed_memo) {
  std::string out;
  for (std::size_t row = 0; row < rows.rows(); ++row)
    for (const Field& field : rows.fields) {
      const Value v = field.column[row];
      if (field.name != "event_id") out += v.null ? '\1' : '\0';
      if (v.null) continue;
      if (field.name == "flag" || field.name == "small")
        out += static_cast<char>(v.word);
      else if (v.type == Type::text) {
        std::string text(v.text);
        if (field.name == "memo" && fixed_memo != 0)
          text.resize(fixed_memo);
        else
          out += static_cast<char>(text.size());
        out += text;
      } else if (v.type == Type::uuid)
        put(out, static_cast<std::uint64_t>(v.wide >> 64)), put(out, static_cast<std::uint64_t>(v.wide));
      else if (v.type == Type::decimal)
        put(out, v.wide);
      else if (v.type == Type::date)
        put(out, static_cast<std::uint16_t>(v.word));
      else if (v.type == Type::timestamp_ns)
        put(out, static_cast<std::uint32_t>(v.word / 1'000'000'000));
      else
        put(out, v.word);
    }
  return out;
}

void require_conforming(const std::string& kind, std::size_t fixed_memo, const std::string& event_id, std::uint64_t seed) {
  Scratch scratch;
  ClickHouse source(in_database());
  const auto load = [&](const std::string& name, const Relation& rows) {
    std::string columns;
    for (const Field& f : rows.fields) {
      std::string type = f.name == "kind" ? kind : "";
      if (f.name == "event_id") type = event_id;
      if (f.name == "memo" && fixed_memo != 0) type = "Nullable(FixedString(" + std::to_string(fixed_memo) + "))";
      if (f.name == "flag") type = "Nullable(UInt8)";
      if (f.name == "small") type = "Nullable(Int8)";
      if (type.empty()) {
        constexpr const char* names[] = {"UInt8", "Int64", "UInt64", "Decimal(38, ", "Float64", "String", "UUID", "DateTime('Europe/Berlin')", "Date"};
        type = "Nullable("s + names[static_cast<int>(f.column.type())] + (f.column.type() == Type::decimal ? std::to_string(f.column.scale()) + "))" : ")");
      }
      columns += (columns.empty() ? "" : ", ") + f.name + " " + type;
    }
    scratch.table(name, columns, "FORMAT RowBinary\n" + row_binary(rows, fixed_memo), "MergeTree PARTITION BY event_id % 3 ORDER BY event_id");
  };
  const testing::ConformanceReport report = testing::conformance(source, load, {.seed = seed, .boolean = false});
  for (std::size_t i = 0; i < report.violations.size() && i < 10; ++i) UNSCOPED_INFO(report.violations[i]);
  CHECK(report.violations.empty());
  CHECK(report.asked > 200);
}

/// Stands between a source and the server and does to a statement's answer what `harm` says; other requests pass unharmed.
class Proxy {
 public:
  enum class Harm { none, cut, no_terminator, unframed, other_server, bad_gateway };
  Proxy(Harm harm, std::size_t cut_at = 0) : harm_(harm), cut_at_(cut_at) {
    const clickhouse::Endpoint server = clickhouse::parse_url(url);
    upstream_ = static_cast<std::uint16_t>(std::atoi(server.where.substr(server.where.find(':') + 1).c_str()));
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener_, 8) != 0) std::abort();
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Proxy() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string base() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }
  std::string seen() const { return seen_; }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static void send_all(int to, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  static std::string receive(int from, bool request) {
    std::string text;
    char buffer[1 << 16];
    for (;;) {
      const std::size_t end = text.find("\r\n\r\n");
      if (request && end != std::string::npos) {
        const std::size_t at = text.find("Content-Length: ");
        if (at < end && text.size() >= end + 4 + static_cast<std::size_t>(std::atoi(text.c_str() + at + 16))) return text;
      }
      const ssize_t got = recv(from, buffer, sizeof buffer, 0);
      if (got <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }
  void serve() {
    for (int client = 0; (client = accept(listener_, nullptr, nullptr)) >= 0; close(client)) {
      std::string request = receive(client, true);
      if (request.empty()) continue;
      request.insert(request.find("\r\n") + 2, "Connection: close\r\n");
      const int server = socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address = loopback(upstream_);
      if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
      send_all(server, request);
      std::string answer = receive(server, false);
      close(server);
      if (request.substr(0, request.find('\r')).find("query_id=") != std::string::npos) {
        seen_ = request;
        harm(answer);
      }
      send_all(client, answer);
    }
  }
  void harm(std::string& answer) const {
    const std::size_t body = answer.find("\r\n\r\n") + 4;
    const auto replace = [&](std::string_view what, std::string_view by) {
      if (const std::size_t at = answer.find(what); at < body) answer.replace(at, what.size(), by);
    };
    if (harm_ == Harm::cut) answer.resize(std::min(answer.size(), body + cut_at_));
    if (harm_ == Harm::no_terminator) answer.resize(answer.size() - 5);
    if (harm_ == Harm::unframed) replace("Transfer-Encoding: chunked\r\n", "");
    if (harm_ == Harm::other_server) replace("Display-Name: ", "Display-Name: another-");
    if (harm_ == Harm::bad_gateway) answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
  }

  Harm harm_;
  std::size_t cut_at_;
  int listener_ = -1;
  std::uint16_t port_ = 0, upstream_ = 0;
  std::string seen_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("random queries answer as evaluate does, over every type") {
  require_conforming("Nullable(String)", 0, "UInt64", 11);
  require_conforming("Nullable(String)", 13, "UInt64", 12);
  require_conforming("LowCardinality(Nullable(String))", 0, "UInt64", 13);
  require_conforming("Nullable(String)", 0, "Int64", 14);
}

TEST_CASE("one digest of event ids on both sides") {
  Scratch scratch;
  std::string rows;
  Digest digest;
  testing::Random random(5);
  for (int i = 0; i < 2'000; ++i) {
    const std::uint64_t edges[] = {0, 1, UINT64_MAX, std::uint64_t{1} << 63, event_id_high_salt, INT64_MAX};
    const std::uint64_t id = i < 6 ? edges[i] : random.next() >> random.below(64);
    rows += (i == 0 ? "VALUES (" : ", (") + std::to_string(id) + ")";
    digest += digest_of_event_id(id);
  }
  scratch.table("ids", "event_id UInt64", rows);
  const AsOf all = at(UINT64_MAX);
  CHECK(*read(events("ids").count(), all).proof.ids == digest);
  CHECK(*read(events("ids").values("event_id").as("id"), all).proof.ids == digest);
  CHECK(*read(latest("ids").per("event_id").count(), all).proof.ids == digest);
}

TEST_CASE("an event id that is listed crosses the wire once, and the digest is of every row, also of those that the filter holds back") {
  Scratch scratch;
  constexpr std::uint64_t rows = 1'000;
  for (const auto& [name, type] : {std::pair{"u", "UInt64"}, {"i", "Int64"}, {"n", "Int16"}})
    scratch.table(name, "event_id "s + type + ", v Int64", "SELECT number + 1, number % 3 FROM system.numbers LIMIT 1000");
  scratch.table("k", "event_id UInt64, v Int64", "SELECT number + 1, number % 3 FROM system.numbers LIMIT 1000");
  Digest digest;
  for (std::uint64_t id = 1; id <= rows; ++id) digest += digest_of_event_id(id);
  for (const std::string name : {"u", "i", "n"}) {
    for (const Form form : {Form::plain, Form::distinct}) {
      CHECK(*read(events(name).values("v"), at(rows), form).proof.ids == digest);
      CHECK(*read(events(name).values("event_id").as("again"), at(rows), form).proof.ids == digest);
      const Answer some = read(events(name).where("v", 1).values("v"), at(rows), form);
      CHECK(some.rows.rows() == 333);
      CHECK(*some.proof.ids == digest);
      CHECK(*read(latest(name).per("v").values("event_id"), at(rows), form).proof.ids == digest);
    }
  }
  const std::uint64_t once = read(events("u").values("v"), at(rows)).proof.bytes, apart = read(events("k").key("v").values("v").as("w"), at(rows)).proof.bytes;
  CHECK(once >= 16 * rows);
  CHECK(once < 17 * rows);    // two numbers a row, and names
  CHECK(apart >= 24 * rows);  // where the id is not listed, it comes for the digest alone
}

TEST_CASE("sums are exact, or overflow is said") {
  Scratch scratch;
  scratch.table(
      "sums", "event_id UInt64, k String, i Int64, u UInt64, d9 Decimal(9, 2), d18 Decimal(18, 4), d38 Decimal(38, 2), n Nullable(Decimal(38, 2)), f Float64",
      "SELECT number, if(number < 4, 'a', 'b'), toInt64(-9223372036854775808), toUInt64(18446744073709551615), toDecimal32('9999999.99', 2), "
      "toDecimal64('99999999999999.9999', 4), toDecimal128(if(number < 4, '900000000000000000000000000000000000.00', '1.01'), 2), NULL, 0.5 FROM system.numbers LIMIT 8");
  CHECK(
      print(read(events("sums").by("k").sum("i").sum("u").sum("d9").sum("d18").sum("n").count(), at(100)).rows) ==
      "a -36893488147419103232 73786976294838206460 39999999.96 399999999999999.9996 NULL 4 \nb -36893488147419103232 73786976294838206460 39999999.96 399999999999999.9996 NULL 4 \n");
  const Failure overflow = failure_of([] { read(events("sums").by("k").sum("d38"), at(100)); });
  CHECK(overflow.kind == Reason::overflow);
  CHECK(overflow.message.find("d38") != std::string::npos);
  CHECK(print(read(events("sums").where("k", "b").sum("d38"), at(100)).rows) == "4.04 \n");
  CHECK(failure_of([] { read(events("sums").sum("f"), at(100)); }).kind == Reason::schema);
  CHECK(failure_of([] { read(events("sums").by("f").count(), at(100)); }).kind == Reason::schema);
  const Answer none = read(events("sums").where("k", "c").sum("i"), at(100));
  CHECK(none.rows.rows() == 0);
  CHECK(none.rows.fields.size() == 1);
  CHECK(none.proof.ids->count == 8);
}

// GROUP BY of a Decimal(38) beside other keys kills an 18.16, so it must never be sent.
TEST_CASE("decimals are keys like any other") {
  Scratch scratch;
  scratch.table(
      "prices", "event_id UInt64, k String, d Nullable(Decimal(38, 8)), v Int64",
      "SELECT number, toString(number % 3), if(number % 5 = 0, NULL, toDecimal128(toInt64(number % 4) * 1000000007 - 2000000000, 8) * toDecimal128('1000000000001', 0)), number FROM system.numbers LIMIT 5000");
  const Relation table = read(events("prices").values("k", "d", "v"), at_rest()).rows;
  for (const Query& query : {events("prices").by("d").count(), events("prices").by("k", "d").sum("v"), latest("prices").per("k", "d").values("v"),
                             latest("prices").per("k", "d").by("d").sum("v"), latest("prices").per("v").by("k", "d").sum("d").as("s"),
                             latest("prices").per("d").where("d", Comparison::greater, Decimal{0, 0}).values("k")})
    for (const Form form : {Form::plain, Form::distinct}) {
      const Evaluated want = evaluate(query.plan(), table, at(4'321), form);
      const Answer got = read(query, at(4'321), form);
      CHECK(print(got.rows) == print(want.rows));
      CHECK(got.proof.ids == want.proof.ids);
      CHECK(got.rows.rows() >= 2);
    }
}

TEST_CASE("enums and low cardinality are text, and sort as text") {
  Scratch scratch;
  scratch.table("words", "event_id UInt64, e Enum8('b' = -1, 'a' = 2), n Nullable(Enum16('x y' = 300, 'it\\'s' = 1)), l LowCardinality(String)",
                "VALUES (1, 'b', NULL, 'v'), (2, 'a', 'x y', 'w'), (3, 'b', 'it\\'s', 'v')");
  CHECK(print(read(events("words").by("e").count(), at(9)).rows) == "a 1 \nb 2 \n");
  CHECK(print(read(events("words").where("e", "b").values("n", "l"), at(9)).rows) == "1 NULL v \n3 it's v \n");
  CHECK(read(events("words").where("e", "no such name").values("n"), at(9)).rows.rows() == 0);
  CHECK(print(read(latest("words").per("l").values("n"), at(9)).rows) == "v it's \nw x y \n");
}

TEST_CASE("names and values that are hostile to SQL") {
  Scratch scratch;
  const std::string table = "a`b\\c'd", column = "x`,'\\ y", quoted_column = "`x\\`,'\\\\ y`";
  scratch.table("`a\\`b\\\\c'd`", "event_id UInt64, " + quoted_column + " String, _a0 String, _r0 String, _ae UInt8", "VALUES (0, '', 'p', 'q', 7)");
  CHECK(print(read(events(table).values(column, "_a0", "_r0", "_ae"), at(9)).rows) == "0  p q 7 \n");
  std::string every;
  for (int byte = 0; byte < 256; ++byte) every += static_cast<char>(byte);
  scratch.table("bytes", "event_id UInt64, s String", "FORMAT RowBinary\n"s + std::string(8, '\1') + "\x80\2" + every);
  for (const char* suffix : {"", "'", "\\", "\n) OR 1 --"})
    CHECK(read(events("bytes").where("s", Value(std::string_view(every + suffix))).values("s"), at(UINT64_MAX)).rows.rows() == (*suffix == '\0' ? 1 : 0));
  CHECK(read(events("bytes").values("s"), at_rest()).rows.column("s").text(0) == every);
}

TEST_CASE("replays count once, and two rows of one event are a conflict") {
  Scratch scratch;
  scratch.table("twice", "event_id UInt64, k String, v Nullable(Int64)",
                "VALUES (1, 'a', NULL), (1, 'a', NULL), (2, 'a', 5), (3, 'b', 1), (3, 'b', 2), (3, 'b', 2), (4, 'c', 1), (4, 'c', NULL)");
  const Answer plain = read(events("twice").by("k").sum("v"), at(2)), distinct = read(events("twice").by("k").sum("v"), at(2), Form::distinct);
  CHECK(plain.proof.ids->count == 3);
  CHECK(*distinct.proof.ids == digest_of_event_id(1) + digest_of_event_id(2));
  CHECK(distinct.proof.conflicts == 0);
  for (const Query& query :
       {events("twice").values("k", "v"), events("twice").by("k").sum("v"), latest("twice").per("k").values("v"), latest("twice").per("k").by("k").sum("v")}) {
    const Answer answer = read(query, at(9), Form::distinct);
    CHECK(answer.proof.conflicts == 2);
    CHECK(answer.proof.conflicting_ids == "3, 4");
    CHECK(answer.proof.ids->count == 4);
  }
  // A column that the query does not look at can't conflict.
  CHECK(read(events("twice").by("k").count(), at(9), Form::distinct).proof.conflicts == 0);
}

TEST_CASE("tables that can and can't be read as of an epoch") {
  Scratch scratch;
  scratch.table("state", "k String, v Int64", "VALUES ('b', 2), ('a', 1), ('a', 3)", "MergeTree ORDER BY k");
  scratch.table("replacing", "event_id UInt64, k String", "VALUES (1, 'a')", "ReplacingMergeTree ORDER BY k");
  scratch.table("replacing_by_id", "event_id UInt64, k String", "VALUES (1, 'a')", "ReplacingMergeTree ORDER BY (k, event_id)");
  scratch.table("summing_by_hash", "event_id UInt64, v UInt64", "VALUES (1, 2)", "SummingMergeTree ORDER BY intDiv(event_id, 100)");
  scratch.table("nullable_id", "event_id Nullable(UInt64), k String", "", "Memory");
  CHECK(failure_of([] { read(current("state").by("k").sum("v"), at(1)); }).kind == Reason::not_as_of);
  const Answer state = read(current("state").by("k").sum("v"), at_rest());
  CHECK(print(state.rows) == "a 4 \nb 2 \n");
  CHECK(!state.proof.ids);
  CHECK(!read(events("state").by("k").sum("v"), at_rest()).proof.ids);
  CHECK(print(read(current("state").key("k").values("v"), at_rest()).rows).size() == 15);
  CHECK(failure_of([] { read(events("state").by("k").sum("v"), at(1)); }).kind == Reason::schema);
  CHECK(failure_of([] { read(events("replacing").by("k").count(), at(1)); }).kind == Reason::below_retention);
  CHECK(failure_of([] { read(events("summing_by_hash").sum("v"), at(1)); }).kind == Reason::below_retention);
  CHECK(read(events("replacing_by_id").by("k").count(), at(1)).rows.rows() == 1);
  CHECK(read(events("replacing").by("k").count(), at_rest()).rows.rows() == 1);
  CHECK(failure_of([] { read(events("nullable_id").by("k").count(), at(1)); }).kind == Reason::schema);
}

TEST_CASE("failures say what to do and never a password") {
  Scratch scratch;
  scratch.table("small", "event_id UInt64, k String, a Array(UInt8)");
  const Failure table = failure_of([] { read(events("absent").by("k").count(), at(1)); });
  CHECK(table.kind == Reason::not_found);
  CHECK(table.message.find("\"absent\" in database \"" + database + "\"") != std::string::npos);
  CHECK(failure_of([] { read(events("no_such_database.t").count(), at(1)); }).message.find("\"no_such_database\"") != std::string::npos);
  CHECK(failure_of([] { read(events("small").count(), at(1), Form::plain, {}, url + "?database=no_such_database"); }).kind == Reason::not_found);
  CHECK(failure_of([] { ClickHouse(in_database()).visible("absent", at(1), {}); }).kind == Reason::not_found);
  CHECK(failure_of([] { ClickHouse(in_database()).about("absent", {}); }).kind == Reason::not_found);
  const Failure column = failure_of([] { read(events("small").by("nope").count(), at(1)); });
  CHECK(column.kind == Reason::schema);
  CHECK(column.message.find("event_id, k, a") != std::string::npos);
  const Failure type = failure_of([] { read(events("small").values("a"), at(1)); });
  CHECK(type.message.find("Array(UInt8)") != std::string::npos);
  CHECK(read(events("small").values("k"), at(1)).rows.fields.size() == 2);

  const std::string address = clickhouse::parse_url(url).where;
  const Failure stranger =
      failure_of([&] { read(events("small").count(), at(1), Form::plain, {}, "http://default:s3cr3t@" + address + "/?database=" + database); });
  CHECK(stranger.kind == Reason::authentication);
  CHECK(stranger.where == address);
  const Failure nobody = failure_of([] { read(events("small").count(), at(1), Form::plain, {}, "http://u:s3cr3t@127.0.0.1:1/"); });
  CHECK(nobody.kind == Reason::connection);
  CHECK(nobody.retryable);
  const Failure malformed = failure_of([] { ClickHouse("http://u:s3cr3t@[::/"); });
  CHECK(malformed.kind == Reason::configuration);
  const Failure unknown = failure_of([] { ClickHouse(url + "?max_result_rows=5&password=s3cr3t"); });
  CHECK(unknown.kind == Reason::configuration);
  for (const Failure* f : {&stranger, &nobody, &malformed, &unknown}) CHECK((f->message + f->where + f->sql).find("s3cr3t") == std::string::npos);
  CHECK(failure_of([] { ClickHouse(url, {.settings = {{"result_overflow_mode", "break"}}}); }).kind == Reason::configuration);
  const Failure setting = failure_of([] {
    ClickHouse source(in_database(), {.settings = {{"no_such_setting", "1"}}});
    source.about("small", {});
  });
  CHECK(setting.kind == Reason::configuration);
  CHECK(setting.engine_code == "115");
}

TEST_CASE("who a follower is, and how far it is") {
  Scratch scratch;
  scratch.table("ids", "event_id UInt64", "SELECT number * 10 FROM system.numbers LIMIT 5");
  ClickHouse source(in_database());
  const FollowerInfo unnamed = source.about("ids", {});
  CHECK(unnamed.relation.ends_with("/" + database + ".ids"));
  CHECK(unnamed.stream.empty());
  scratch.table("epochcut_stream", "stream String, authority String", "VALUES ('trade_engine', 'shadow'), ('trade_engine', 'shadow')", "Memory");
  CHECK(source.about(database + ".ids", {}).stream == "trade_engine");
  CHECK(ClickHouse(url).about(database + ".ids", {}).authority == "shadow");
  CHECK(ClickHouse(url).about(database + ".ids", {}).relation == unnamed.relation);
  run("INSERT INTO " + database + ".epochcut_stream VALUES ('other', 'shadow')");
  CHECK(failure_of([&] { source.about("ids", {}); }).kind == Reason::wrong_stream);
  const Visible seen = source.visible("ids", at(25), {});
  CHECK(seen.count == 3);
  CHECK(seen.newest == 40);
  CHECK(seen.server == read(events("ids").count(), at(25)).proof.server);
  CHECK(source.visible("ids", at_rest(), {}).count == 5);
}

TEST_CASE("several cursors of one source, in any order, and blocks as they come") {
  Scratch scratch;
  scratch.table("many", "event_id UInt64, v UInt64", "SELECT number, number * 3 FROM system.numbers LIMIT 300000");
  ClickHouse source(in_database());
  const QueryPlan plan = events("many").values("v").plan();
  AnyCursor first = source.open(plan, at(UINT64_MAX), Form::plain, {});
  Relation block;
  REQUIRE(first->next(block));
  CHECK(block.rows() <= 65'536);
  {
    AnyCursor second = source.open(plan, at(99), Form::plain, {}), dropped = source.open(plan, at(UINT64_MAX), Form::plain, {});
    Relation other;
    REQUIRE(dropped->next(other));
    CHECK(pull(std::move(second)).rows.rows() == 100);
  }
  std::size_t rows = block.rows();
  while (first->next(block)) rows += block.rows();
  CHECK(rows == 300'000);
  CHECK(first->proof().ids->count == 300'000);
  AnyCursor limited = source.open(plan, at(UINT64_MAX), Form::plain, {.rows_max = 100'000});
  CHECK(failure_of([&] { limited->proof(); }).kind == Reason::incomplete);
  CHECK(failure_of([&] {
          while (limited->next(block)) {
          }
        }).kind == Reason::too_large);
  CHECK(failure_of([&] { limited->next(block); }).kind == Reason::incomplete);
  CHECK(failure_of([&] { limited->proof(); }).kind == Reason::incomplete);
}

TEST_CASE("an exception after a 200 is an error") {
  ClickHouse source(url);
  clickhouse::Session session(clickhouse::parse_url(url), {});
  std::string name;
  const Failure failure = failure_of([&] { session.all("SELECT number, throwIf(number = 1900000) FROM system.numbers LIMIT 2000000", {}, name); });
  CHECK(failure.engine_code == "395");
  CHECK(failure.kind == Reason::unknown);
}

TEST_CASE("an answer that is not whole, or from another server, is an error") {
  Scratch scratch;
  scratch.table("rows", "event_id UInt64, s String", "SELECT number, 'a text' FROM system.numbers LIMIT 1000");
  const Query query = events("rows").values("s");
  {
    Proxy proxy(Proxy::Harm::none);
    CHECK(read(query, at(5'000), Form::plain, {}, in_database(proxy.base())).rows.rows() == 1'000);
    for (const auto& [name, value] : clickhouse::pinned_settings) CHECK(proxy.seen().find(std::string(name) + "=" + std::string(value)) != std::string::npos);
  }
  for (const std::size_t cut : {0u, 1u, 6u, 100u, 5'000u, 15'000u}) {
    Proxy proxy(Proxy::Harm::cut, cut);
    const Failure failure = failure_of([&] { read(query, at(5'000), Form::plain, {}, in_database(proxy.base())); });
    CHECK(failure.kind == Reason::incomplete);
    CHECK(failure.retryable);
    CHECK(failure.poisons_connection);
  }
  const auto harmed = [&](Proxy::Harm harm) {
    Proxy proxy(harm);
    return failure_of([&] { read(query, at(5'000), Form::plain, {}, in_database(proxy.base())); }).kind;
  };
  CHECK(harmed(Proxy::Harm::no_terminator) == Reason::incomplete);
  CHECK(harmed(Proxy::Harm::unframed) == Reason::incomplete);
  CHECK(harmed(Proxy::Harm::other_server) == Reason::replica_changed);
  CHECK(harmed(Proxy::Harm::bad_gateway) == Reason::connection);
}

TEST_CASE("a cancelled or late read ends at once, here and on the server") {
  Scratch scratch;
  // 2 * 10^10 rows: minutes, if nobody stops it.
  run("CREATE VIEW " + database + ".slow AS SELECT number AS event_id, number AS v FROM system.numbers LIMIT 20000000000");
  const QueryPlan plan = events("slow").sum("v").plan();
  ClickHouse source(in_database());
  const auto running = [] {
    std::string name;
    clickhouse::Session session(clickhouse::parse_url(url), {});
    return session.all("SELECT count() FROM system.processes WHERE query LIKE '%" + database + "%slow%' AND query NOT LIKE '%system.processes%'", {}, name)
        .fields[0]
        .column.words()[0];
  };
  const SystemClock clock;
  {
    Cancel cancel;
    std::thread canceller([&] {
      SystemClock().sleep(Millis(300));
      cancel.request();
    });
    const Millis begin = clock.now();
    CHECK(failure_of([&] { pull(source.open(plan, at(UINT64_MAX), Form::plain, {.cancel = &cancel})); }).kind == Reason::cancelled);
    CHECK(clock.now() - begin < Millis(1'500));
    canceller.join();
  }
  for (int i = 0; i < 40 && running() != 0; ++i) SystemClock().sleep(Millis(50));
  CHECK(running() == 0);
  {
    const Millis begin = clock.now();
    const Failure late = failure_of([&] { pull(source.open(plan, at(UINT64_MAX), Form::plain, {.deadline = begin + Millis(400)})); });
    CHECK(late.kind == Reason::timeout);
    CHECK(clock.now() - begin < Millis(1'500));
  }
  {
    const ClickHouseOptions options{.statement_timeout = Millis(400)};
    ClickHouse impatient(in_database(), options);
    const AnyCursor abandoned = impatient.open(plan, at(UINT64_MAX), Form::plain, {});
    CHECK(failure_of([&] { pull(impatient.open(plan, at(UINT64_MAX), Form::plain, {})); }).kind == Reason::timeout);
  }
  for (int i = 0; i < 40 && running() != 0; ++i) SystemClock().sleep(Millis(50));
  CHECK(running() == 0);
}
