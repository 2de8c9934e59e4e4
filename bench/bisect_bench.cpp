// What does bisection send, and what does it cost beside a stream of everything? Also: what a hash costs inside PostgreSQL.
// Needs servers: . DIR/env of examples/servers.sh. usage: bisect_bench [--rows N] [--runs N] [--link-mbit N] [--json] [--keep]
// --link-mbit: what the servers send comes over a link of its own each, of so many Mbit/s, 5 ms away; else over loopback.
// Makes its own tables (PostgreSQL schema and ClickHouse database bench_bisect) and drops them, but for --keep.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <epochcut/diff/bisect.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/clickhouse_digest.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/source/postgres_digest.hpp>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"

using namespace epochcut;

namespace {

bool json = false;
std::uint64_t rows = 10'000'000;

void print(const std::string& name, double ours, double limit, double aim, const char* unit, const std::string& note) {
  const double ratio = limit > 0 ? ours / limit : 0;
  std::string plain = note;
  std::replace(plain.begin(), plain.end(), '"', '\'');
  char aimed[32] = "null";
  if (aim > 0) std::snprintf(aimed, sizeof aimed, "%.4g", aim);
  if (json)
    std::printf(R"({"name":"%s","ours":%.6g,"limit":%.6g,"ratio":%.6g,"aim":%s,"lower_is_better":true,"unit":"%s","rows":%llu,"note":"%s"})"
                "\n",
                name.c_str(), ours, limit, ratio, aimed, unit, static_cast<unsigned long long>(rows), plain.c_str());
  else
    std::printf("%-52s %14.6g %14.6g %s  ratio %.5f (aim %s)  %s\n", name.c_str(), ours, limit, unit, ratio, aimed, plain.c_str());
  std::fflush(stdout);
}

double now_ms() { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// A slow link to one port of this machine. What the server sends waits for its turn; connections share nothing, since one is used at a time.
class Link {
 public:
  Link(int to, double mbit) : to_(to), bytes_per_ms_(mbit * 125) {
    sockaddr_in at = address(0);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(listener_, 16) != 0)
      throw Failure(Reason::configuration, "no port for a link");
    socklen_t size = sizeof at;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size);
    port = ntohs(at.sin_port);
    std::thread([this] {
      for (;;) accepted(accept(listener_, nullptr, nullptr));
    }).detach();  // to the end of the program
  }
  int port = 0;

 private:
  static sockaddr_in address(int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET, at.sin_port = htons(static_cast<std::uint16_t>(port)), at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }
  void accepted(int client) const {
    const int server = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    sockaddr_in at = address(to_);
    if (client < 0 || connect(server, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return;
    for (const int fd : {client, server}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    std::thread([client, server] { pump(client, server, 0); }).detach();
    std::thread([client, server, rate = bytes_per_ms_] { pump(server, client, rate); }).detach();
  }
  static void pump(int from, int to, double bytes_per_ms) {
    std::vector<char> buffer(16 << 10);
    double free_at = 0;  // when the link has carried what it was given
    for (ssize_t n = read(from, buffer.data(), buffer.size()); n > 0; n = read(from, buffer.data(), buffer.size())) {
      const double now = now_ms();
      double wait = 0;
      if (bytes_per_ms > 0) {
        if (now > free_at + trip_ms) wait = trip_ms;  // the first of a burst is on its way
        free_at = std::max(free_at, now + wait) + static_cast<double>(n) / bytes_per_ms;
        wait = free_at - now;
      }
      if (wait > 1) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(wait));
      for (ssize_t sent = 0; sent < n;) {
        const ssize_t more = write(to, buffer.data() + sent, static_cast<std::size_t>(n - sent));
        if (more <= 0) break;
        sent += more;
      }
    }
    shutdown(to, SHUT_WR);
  }

  static constexpr double trip_ms = 5;
  int listener_ = socket(AF_INET, SOCK_STREAM, 0), to_;
  double bytes_per_ms_;
};

/// `text` with the number after `before` replaced.
std::string with_port(std::string text, const std::string& before, double mbit, int* port) {
  const std::size_t at = text.rfind(before) + before.size();
  std::size_t size = 0;
  *port = std::stoi(text.substr(at), &size);
  static std::vector<Link*> links;  // they outlive everything
  links.push_back(new Link(*port, mbit));
  return text.replace(at, size, std::to_string(links.back()->port));
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

/// Event ids of one leg, an account, a currency, an amount and a quantity: 65 bytes a row as COPY BINARY, 44 as Native with its proof. The ClickHouse
/// side holds the quantity three times: equal, with ten differences, and with one row in two hundred wrong.
void fill(exchange::PostgresWriter& pg, exchange::ClickhouseWriter& ch) {
  const std::string n = std::to_string(rows);
  pg.execute("set client_min_messages = warning; drop schema if exists bench_bisect cascade; create schema bench_bisect");
  pg.execute(
      "create table bench_bisect.t (event_id bigint not null, account bigint not null, currency text not null, amount numeric(18,8) not null, qty bigint not null)");
  pg.execute(
      "insert into bench_bisect.t select n << 8, n % 100003, (array['EUR','USD','JPY','GBP'])[1 + n % 4], ((n * 7919) % 1000000007)::numeric / 1000, n * 31 from "
      "generate_series(1::bigint, " +
      n + ") n");
  pg.execute("alter table bench_bisect.t add primary key (event_id)");
  pg.execute("vacuum analyze bench_bisect.t");
  ch.execute("DROP DATABASE IF EXISTS bench_bisect");
  ch.execute("CREATE DATABASE bench_bisect");
  ch.execute(
      "CREATE TABLE bench_bisect.t (event_id UInt64, account Int64, currency String, amount Decimal(18, 8), qty Int64, qty_ten Int64, qty_scattered Int64) ENGINE = "
      "MergeTree ORDER BY event_id");
  ch.execute(
      "INSERT INTO bench_bisect.t SELECT toUInt64(n * 256), toInt64(n % 100003), arrayElement(['EUR','USD','JPY','GBP'], 1 + n % 4), toDecimal64((n * 7919) % "
      "1000000007, 8) / 1000, toInt64(n * 31) AS q, q + (n % intDiv(" +
      n +
      ", 10) = 77), q + (intHash64(n) % 200 = 0) FROM (SELECT number + 1 AS n FROM "
      "system.numbers LIMIT " +
      n + ")");
}

Digest ids() {
  Digest d;
  for (std::uint64_t n = 1; n <= rows; ++n) d += digest_of_event_id(n << 8);
  return d;
}

Control control() {
  Control c;
  c.rows_max = ~std::uint64_t{0}, c.bytes_max = ~std::uint64_t{0};
  return c;
}

struct Timed {
  double ms = 0;
  Bisected result;
};

/// One whole comparison: a snapshot, both sides, the differences counted.
Timed compare(const postgres::Session& session, ClickHouse& analytics, const std::string& quantity, const Digest& expected, Method method) {
  const QueryPlan left = events("bench_bisect.t").values("account", "currency", "amount", "qty").plan();
  const QueryPlan right = events("t").values("account", "currency", "amount").values(quantity).as("qty").plan();
  const double from = now_ms();
  postgres::Transaction transaction(session, std::span(&left, 1), nullptr, control());
  PostgresDigest l(transaction, left, "event_id", control(), Millis{600'000});
  ClickHouseDigest<ClickHouse> r(analytics, right, as_of(Stream{.id = "bench"}, {rows, 0}), expected, control());
  NullSink sink;
  Timed timed;
  timed.result = bisect(l, r, {}, sink, {.method = method}, control());
  transaction.commit(control());
  timed.ms = now_ms() - from;
  return timed;
}

/// What one pass over the whole table costs inside PostgreSQL and to this program.
double pass(const postgres::Session& session, const char* what) {
  const QueryPlan plan = events("bench_bisect.t").values("account", "currency", "amount", "qty").plan();
  postgres::Transaction transaction(session, std::span(&plan, 1), nullptr, control());
  PostgresDigest side(transaction, plan, "event_id", control(), Millis{600'000});
  const bool native = std::strcmp(what, "hashtextextended") == 0;
  side.use(agree(side.columns(), side.columns(), native, {}));
  const double from = now_ms();
  if (std::strcmp(what, "stream") == 0) {
    AnyCursor cursor = side.fetch({}, control());
    for (Relation block; cursor->next(block);) {
    }
  } else {
    side.ask({.base = 256, .shift = 20, .cells = (rows >> 12) + 1}, {}, control());
    side.answer(control());
  }
  const double took = now_ms() - from;
  transaction.commit(control());
  return took;
}

}  // namespace

int main(int argc, char** argv) {
  bool keep = false;
  std::size_t runs = 3;
  double mbit = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) json = true;
    if (std::strcmp(argv[i], "--keep") == 0) keep = true;
    if (std::strcmp(argv[i], "--rows") == 0 && i + 1 < argc) rows = std::strtoull(argv[++i], nullptr, 10);
    if (std::strcmp(argv[i], "--link-mbit") == 0 && i + 1 < argc) mbit = std::strtod(argv[++i], nullptr);
    if (std::strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = std::strtoull(argv[++i], nullptr, 10);
  }
  const char *dsn = std::getenv("EPOCHCUT_POSTGRES"), *url = std::getenv("EPOCHCUT_CLICKHOUSE");
  if (dsn == nullptr || url == nullptr || rows < 1'000 || runs == 0) {
    std::fprintf(stderr,
                 "bisect_bench needs EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE (examples/servers.sh), --rows of 1000 or more and --runs of 1 or more\n");
    return 77;
  }
  try {
    exchange::PostgresWriter pg(dsn);
    exchange::ClickhouseWriter ch(url);
    fill(pg, ch);
    const Digest expected = ids();
    int port = 0;
    const std::string where = mbit > 0 ? std::to_string(static_cast<int>(mbit)) + " Mbit/s" : "loopback";
    const std::string left = mbit > 0 ? with_port(dsn, "port=", mbit, &port) : dsn, right = mbit > 0 ? with_port(url, ":", mbit, &port) : url;
    const postgres::Session session = std::make_shared<postgres::Connection>(left, PostgresOptions{});
    ClickHouse analytics(right + "?database=bench_bisect");

    struct Case {
      const char *column, *name;
      std::uint64_t differences;
    };
    std::uint64_t scattered = std::stoull(ch.query("SELECT countIf(qty != qty_scattered) FROM bench_bisect.t"));
    for (const Case& c : {Case{"qty", "0 differences", 0}, Case{"qty_ten", "10 differences", 10}, Case{"qty_scattered", "0.5 % of rows differ", scattered}}) {
      std::vector<double> bisected, streamed, chosen;
      Timed b, s, a;
      for (std::size_t run = 0; run < runs; ++run) {
        b = compare(session, analytics, c.column, expected, Method::bisect), bisected.push_back(b.ms);
        s = compare(session, analytics, c.column, expected, Method::stream), streamed.push_back(s.ms);
        a = compare(session, analytics, c.column, expected, Method::automatic), chosen.push_back(a.ms);
        for (const Timed* t : {&b, &s, &a})
          if (t->result.counts.changed != c.differences || t->result.counts.equal != rows - c.differences) {
            std::fprintf(stderr, "%s: %llu rows changed instead of %llu\n", c.name, static_cast<unsigned long long>(t->result.counts.changed),
                         static_cast<unsigned long long>(c.differences));
            return 1;
          }
      }
      const auto bytes = [](const Timed& t) { return static_cast<double>(t.result.left_bytes + t.result.right_bytes); };
      const std::string name = "bisection, " + where + ", " + c.name;
      const std::string note = std::to_string(b.result.rounds) + " rounds, " + std::to_string(b.result.cells_compared) + " ranges, " +
                               std::to_string(b.result.left_fetched) + " rows fetched a side; " + b.result.why;
      print(name + ": bytes of the whole", bytes(b), bytes(s), c.differences == 10 ? 0.01 : 0, "B", note);
      print(name + ": bisected beside streamed", median(bisected), median(streamed), 0, "ms", "wall time");
      print(name + ": chosen beside the better", median(chosen), std::min(median(bisected), median(streamed)), 1.15, "ms", a.result.why);
    }
    std::vector<double> md5, own, stream;
    for (std::size_t run = 0; run < runs; ++run)
      md5.push_back(pass(session, "md5")), own.push_back(pass(session, "hashtextextended")), stream.push_back(pass(session, "stream"));
    print("PostgreSQL hashes all rows by md5, beside sending them", median(md5), median(stream), 0, "ms", "parallel workers as the server has them");
    print("PostgreSQL hashes all rows by its own hash, beside sending them", median(own), median(stream), 0, "ms", "hashtextextended, twice a row's text");
    if (!keep) {
      pg.execute("drop schema bench_bisect cascade");
      ch.execute("DROP DATABASE bench_bisect");
    }
  } catch (const Failure& failure) {
    std::fprintf(stderr, "bisect_bench: %s\n%s\n", failure.what(), failure.sql.substr(0, 2000).c_str());
    return 1;
  }
  return 0;
}
