// Where in a check's two conversations may a fault strike?
// A small sound world behind two proxies, and the points of the two streams, found in a recorded sound run: so offsets follow the library's statements.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "faults/proxy.hpp"
#include "live/world.hpp"

namespace faults {

using namespace epochcut;

/// A part of what a server says. Units: bytes of its connection; `end` is one past.
struct Span {
  std::string point;
  std::uint64_t begin = 0, end = 0;
};

inline std::uint32_t big_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return value;
}

struct Message {
  char type = 0;
  std::size_t begin = 0, end = 0;
  std::string_view body;
};

/// The messages of one direction of a PostgreSQL session, after what has no type.
inline std::vector<Message> messages(std::string_view stream, std::size_t at) {
  std::vector<Message> all;
  while (at + 5 <= stream.size()) {
    const std::size_t end = at + 1 + big_endian(stream, at + 1);
    if (end > stream.size()) break;
    all.push_back({stream[at], at, end, stream.substr(at + 5, end - at - 5)});
    at = end;
  }
  return all;
}

/// Points of a ledger's answers: startup, begin, lock, token, describe, copy start, copy data, copy end, tables, commit, about.
inline std::vector<Span> postgres_points(std::string_view to_server, std::string_view to_client) {
  const bool asks_for_tls = to_server.size() >= 8 && big_endian(to_server, 0) == 8;
  std::size_t start = asks_for_tls ? 8 : 0;
  start += big_endian(to_server, start);
  std::vector<std::string_view> statements;
  for (const Message& m : messages(to_server, start)) {
    if (m.type == 'Q') statements.push_back(m.body);
    if (m.type == 'P') statements.push_back(m.body.substr(m.body.find('\0') + 1));
  }
  std::vector<Span> spans{{"startup", 0, 0}};
  std::size_t answered = 0;
  bool committed = false;
  for (const Message& m : messages(to_client, asks_for_tls ? 1 : 0)) {
    std::string point = "startup";
    if (answered > 0) {
      const std::string_view sql = statements.at(answered - 1);
      point = sql.starts_with("BEGIN")                        ? "begin"
              : sql.find("transaction_isolation") != sql.npos ? "token"
              : sql.find("attnum") != sql.npos                ? "describe"
              : sql.find("pg_locks") != sql.npos              ? "tables"
                                                              : "";
      if (sql.starts_with("BEGIN") && ((m.type == 'C' && m.body.starts_with("LOCK")) || spans.back().point == "lock")) point = "lock";
      if (sql.starts_with("COPY")) point = m.type == 'H' ? "copy start" : m.type == 'd' ? "copy data" : "copy end";
      if (sql.starts_with("COMMIT")) point = "commit";
      if (committed) point = "about";
      if (m.type == 'Z' && point == "commit") committed = true;
    }
    if (spans.back().point != point) spans.push_back({point, m.begin, m.begin});
    spans.back().end = m.end;
    if (m.type == 'Z') ++answered;
  }
  return spans;
}

/// One HTTP answer, as offsets into its connection.
struct Answer {
  std::string request;                                                          ///< settings, describe, stream, look, answer
  std::uint64_t begin = 0, status_end = 0, headers_end = 0, last = 0, end = 0;  ///< last: where the terminating chunk begins
  std::vector<std::uint64_t> body;                                              ///< where each byte of the body stands
};

inline std::vector<Answer> clickhouse_answers(std::string_view to_server, std::string_view to_client) {
  std::vector<std::string> requests;
  for (std::size_t at = 0; at < to_server.size();) {
    const std::size_t head = to_server.find("\r\n\r\n", at), length = to_server.find("Content-Length: ", at);
    if (head == to_server.npos || length > head) break;
    const std::size_t size = std::strtoull(to_server.data() + length + 16, nullptr, 10);
    const std::string_view sql = to_server.substr(head + 4, size);
    const auto says = [&](const char* word) { return sql.find(word) != sql.npos; };
    requests.push_back(says("system.settings")                  ? "settings"
                       : says("system.columns")                 ? "describe"
                       : says("epochcut_stream")                ? "stream"
                       : says("countIf(") && says("hostName()") ? "look"
                                                                : "answer");
    at = head + 4 + size;
  }
  std::vector<Answer> answers;
  for (std::size_t at = 0; at < to_client.size() && answers.size() < requests.size();) {
    Answer a;
    a.request = requests[answers.size()];
    a.begin = at;
    a.status_end = to_client.find("\r\n", at) + 2;
    a.headers_end = to_client.find("\r\n\r\n", at) + 4;
    for (at = a.headers_end;;) {  // 18.16 answers in chunks
      a.last = at;
      const std::size_t size = std::strtoull(to_client.data() + at, nullptr, 16);
      at = to_client.find("\r\n", at) + 2;
      for (std::size_t i = 0; i < size; ++i) a.body.push_back(at + i);
      at += size + 2;
      if (size == 0) break;
    }
    a.end = at;
    answers.push_back(std::move(a));
  }
  return answers;
}

inline std::uint16_t number_after(const std::string& text, const std::string& mark) {
  return static_cast<std::uint16_t>(std::strtoul(text.c_str() + text.find(mark) + mark.size(), nullptr, 10));
}
inline std::string with_port(std::string text, const std::string& mark, std::uint16_t port) {
  const std::size_t at = text.find(mark) + mark.size();
  return text.replace(at, text.find_first_not_of("0123456789", at) - at, std::to_string(port));
}

inline constexpr const char* secret = "s3cr3t-of-faults";  ///< of the checking role; no message may hold it
inline constexpr int rows = 40;                            ///< of either side

/// Forty currencies, each of one event and on both sides. Nobody has acknowledged anything: what can't be proved is an error.
class Scene {
 public:
  explicit Scene(const std::string& test, Proxy::Route route = {}, std::vector<std::uint16_t> stores = {})
      : world(test),
        pg({number_after(std::getenv("EPOCHCUT_POSTGRES"), "port=")}),
        ch(stores.empty() ? std::vector<std::uint16_t>{number_after(std::getenv("EPOCHCUT_CLICKHOUSE"), "127.0.0.1:")} : std::move(stores), std::move(route)) {
    world.ch.execute("CREATE TABLE " + world.name + ".epochcut_stream (stream String, authority String) ENGINE = Memory");
    world.ch.insert(world.name + ".epochcut_stream", "test\tproduction\n");
    for (int i = 0; i < rows; ++i) {
      const std::string number = std::to_string(10 + i);
      events.push_back({static_cast<std::uint64_t>(i + 1), 0, "C" + number, number + ".5"});
    }
    world.ch.insert(world.name + ".transactions", lines(events));
    world.commit(events, /*acked=*/false);
    std::string copied =
        "create table ledger_rows (event_id bigint primary key, currency text not null, amount numeric(38, 8) not null); insert into ledger_rows values ";
    for (const live::Event& e : events) copied += (&e == &events.front() ? "(" : ", (") + std::to_string(e.id()) + ", '" + e.currency + "', " + e.amount + ")";
    world.pg.execute(copied);
    world.pg.execute(
        "create table other_rows (like ledger_rows including all); insert into other_rows select event_id, currency, amount + (currency = 'C20')::int from ledger_rows");
    world.pg.execute("create role " + world.name + " login password '" + secret + "'; grant pg_read_all_data to " + world.name);
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  static std::string lines(const std::vector<live::Event>& events) {
    std::string text;
    for (const live::Event& e : events) text += std::to_string(e.id()) + "\t" + e.currency + "\t" + e.amount + "\t\\N\n";
    return text;
  }

  ~Scene() {
    try {
      pg.end_all();
      exchange::PostgresWriter(std::getenv("EPOCHCUT_POSTGRES")).execute("drop role if exists " + world.name);
    } catch (...) {  // a test that broke its server has failed already
    }
  }

  /// The checking role shows its password, as in production: more of a startup to harm.
  std::string dsn(const Proxy& proxy) const {
    return "host=127.0.0.1 port=" + std::to_string(proxy.port()) + " user=" + world.name + " password=" + secret + " dbname=" + database() +
           " options='-c search_path=" + world.name + "' application_name=" + world.name;
  }
  std::string url(const Proxy& proxy) const { return with_port(std::getenv("EPOCHCUT_CLICKHOUSE"), "127.0.0.1:", proxy.port()) + "?database=" + world.name; }

  static std::string database() {
    const std::string all = std::getenv("EPOCHCUT_POSTGRES");
    const std::size_t at = all.find("dbname=") + 7;
    return all.substr(at, all.find(' ', at) - at);
  }

  live::World world;
  std::vector<live::Event> events;
  Proxy pg, ch;
};

/// Both stores' objects as a program holds them, through the scene's proxies.
struct Pair {
  explicit Pair(const Scene& scene, PostgresOptions pg = {}, ClickHouseOptions ch = {}) : Pair(scene.dsn(scene.pg), scene.url(scene.ch), pg, std::move(ch)) {}
  Pair(std::string dsn, const std::string& url, PostgresOptions pg = {}, ClickHouseOptions ch = {})
      : ledger(std::move(dsn), {.stream = "test"}, pg), analytics(url, std::move(ch)) {}

  /// Every key and every value; or `grouped`, where only sums and the digest cross the wire.
  Outcome check(const CheckOptions& options, bool grouped = false) {
    if (grouped) return live::check_balances(ledger, analytics, options);
    return epochcut::check(ledger,
                           Invariant{"values",
                                     {ledger, current("balances").key("currency").values("amount")},
                                     {analytics, epochcut::events("transactions").key("currency").values("amount")}},
                           options);
  }

  /// Every row, streamed out of a snapshot that is held, or bisected in it in several rounds. In `other_rows` one of them differs.
  Outcome full(const CheckOptions& options, epochcut::Method method = epochcut::Method::stream, const std::string& table = "ledger_rows") {
    return full_compare(ledger,
                        Invariant{"rows",
                                  {ledger, current(table).key("event_id").values("currency", "amount")},
                                  {analytics, epochcut::events("transactions").values("currency", "amount")}},
                        {.check = options, .bisect = {.method = method, .rows_min = 2, .cells_first_max = 4, .fetch_bytes_max = 0}});
  }

  Postgres ledger;
  ClickHouse analytics;
};

inline CheckOptions within(Millis time, Millis budget = Millis{400}) {
  CheckOptions options = live::quick(budget);
  options.control.deadline = options.control.clock->now() + time;
  return options;
}

/// Nothing but this is a sound check.
inline bool sound(const Outcome& o) {
  return o.status == Status::pass && o.claim != Claim::nothing && o.counts.equal == rows && o.counts.differences() == 0 && o.left.rows == rows &&
         o.right.rows == rows && o.right.ids == o.right.expected;
}

}  // namespace faults
