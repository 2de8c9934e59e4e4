#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/source/postgres.hpp>

#include "support/catch.hpp"

using namespace epochcut;
using namespace std::chrono_literals;

namespace {

std::string dsn(const std::string& more = {}) { return std::string(std::getenv("EPOCHCUT_POSTGRES")) + (more.empty() ? "" : " " + more); }

/// A plain session of a superuser, to build what is read and to get in its way.
class Admin {
 public:
  Admin() : connection_(PQconnectdb(dsn("application_name=epochcut_test_admin").c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) throw Failure(Reason::connection, PQerrorMessage(connection_));
    PQsetNoticeProcessor(
        connection_, [](void*, const char*) {}, nullptr);
  }
  Admin(const Admin&) = delete;
  Admin& operator=(const Admin&) = delete;
  ~Admin() { PQfinish(connection_); }

  std::string operator()(const std::string& sql) {
    const postgres::Result result(PQexec(connection_, sql.c_str()));  // also on threads, where Catch's macros may not be used
    const ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) throw Failure(Reason::unknown, sql + ": " + PQerrorMessage(connection_));
    return PQntuples(result.get()) > 0 ? PQgetvalue(result.get(), 0, 0) : "";
  }
  std::string sqlstate(const std::string& sql) {
    const postgres::Result result(PQexec(connection_, sql.c_str()));
    const char* code = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
    return code == nullptr ? "" : code;
  }
  std::string of(const char* keyword) {
    PQconninfoOption* all = PQconninfo(connection_);
    std::string value;
    for (PQconninfoOption* o = all; o->keyword != nullptr; ++o)
      if (o->val != nullptr && std::string_view(o->keyword) == keyword) value = o->val;
    PQconninfoFree(all);
    return value;
  }

 private:
  PGconn* connection_;
};

/// A schema of its own for each test, with the tables of a token.
struct World {
  World() {
    static int count = 0;
    name = "postgres_test_" + std::to_string(getpid()) + "_" + std::to_string(count++);
    admin("CREATE SCHEMA " + name + "; SET search_path = " + name);
    admin(
        "CREATE TABLE resume_tokens(stream text, authority text, generation bigint, sequence bigint, latest_execution_ns bigint, PRIMARY KEY (stream, authority));"
        "CREATE TABLE resume_token_digests(stream text, authority text, relation text, row_count numeric(20,0), sum_low numeric(20,0), sum_high numeric(20,0), "
        "acked_sequence bigint NOT NULL DEFAULT 0, acked_by text NOT NULL DEFAULT '', PRIMARY KEY (stream, authority, relation))");
  }
  ~World() { admin("ROLLBACK; DROP SCHEMA " + name + " CASCADE"); }

  void token(std::uint64_t sequence) {
    admin("INSERT INTO resume_tokens VALUES ('engine', 'production', 4, " + std::to_string(sequence) +
          ", 77) ON CONFLICT (stream, authority) DO UPDATE SET sequence = excluded.sequence");
  }
  std::string in(const std::string& table) const { return name + "." + table; }
  TokenTable tokens(int leg_bits = 0) const {
    TokenTable t;
    t.table = in("resume_tokens"), t.digests = in("resume_token_digests"), t.stream = "engine", t.leg_bits = leg_bits;
    return t;
  }

  Admin admin;
  std::string name;
};

template <class F>
Failure failure_of(F f) {
  try {
    f();
  } catch (const Failure& failure) {
    INFO(failure.message);
    CHECK(!failure.message.empty());
    return failure;
  }
  FAIL("no failure");
  return Failure(Reason::none, "");
}

Snapshot one(Postgres& source, const Query& query, const Control& control = {}) {
  const QueryPlan plan = query.plan();
  return source.snapshot(std::span(&plan, 1), control);
}

/// Sits between client and server, and changes what passes.
class Proxy {
 public:
  enum class Mode { forward, read_committed, freeze, cut };
  explicit Proxy(Admin& admin, Mode mode) : mode_(mode), upstream_port_(static_cast<std::uint16_t>(std::stoi(admin.of("port")))) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(listener_, 16) == 0);
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Proxy() {
    stop_ = true;
    thread_.join();
    close(listener_);
  }
  std::string dsn() const { return ::dsn("host=127.0.0.1 hostaddr=127.0.0.1 port=" + std::to_string(port)); }

  int port = 0;
  std::atomic<std::int64_t> server_bytes_max{INT64_MAX};  ///< from the server, before freeze or cut sets in

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(port), address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  void run() {
    std::vector<std::pair<int, int>> pairs;
    while (!stop_) {
      std::vector<pollfd> polled{{listener_, POLLIN, 0}};
      for (auto [client, server] : pairs) polled.push_back({client, POLLIN, 0}), polled.push_back({server, POLLIN, 0});
      if (poll(polled.data(), polled.size(), 20) <= 0) continue;
      for (std::size_t i = 0; i < pairs.size(); ++i) {
        const bool closed = (polled[1 + 2 * i].revents != 0 && !pump(pairs[i].first, pairs[i].second, true)) ||
                            (polled[2 + 2 * i].revents != 0 && !pump(pairs[i].second, pairs[i].first, false));
        if (closed) close(pairs[i].first), close(pairs[i].second), pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(i)), i = pairs.size();
      }
      if (polled[0].revents != 0) {
        const int client = accept(listener_, nullptr, nullptr), server = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address = loopback(upstream_port_);
        if (connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) pairs.emplace_back(client, server);
      }
    }
    for (auto [client, server] : pairs) close(client), close(server);
  }
  bool pump(int from, int to, bool upstream) {
    char buffer[65536];
    if (!upstream && mode_ == Mode::freeze && server_bytes_max <= 0) return std::this_thread::sleep_for(5ms), true;
    if (!upstream && mode_ == Mode::cut && server_bytes_max <= 0) return false;
    const ssize_t size = recv(from, buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    if (!upstream) server_bytes_max -= size;
    std::string bytes(buffer, static_cast<std::size_t>(size));
    if (upstream && mode_ == Mode::read_committed)
      if (const std::size_t at = bytes.find("REPEATABLE READ"); at != std::string::npos) bytes.replace(at, 15, "READ COMMITTED ");
    return send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  Mode mode_;
  std::uint16_t upstream_port_;
  int listener_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

// ---- what it reads ----

TEST_CASE("postgres: token and sums come from one snapshot") {
  World world;
  world.admin(
      "CREATE TABLE balances(currency text, amount numeric(38,8)); INSERT INTO balances VALUES ('EUR', 1.5), ('USD', 100000000000000000000), ('USD', -0.00000001), ('CHF', NULL);"
      "CREATE TABLE transactions(event_id bigint PRIMARY KEY, currency text, amount bigint);"
      "INSERT INTO transactions VALUES (1, 'EUR', 9223372036854775807), (2, 'EUR', 9223372036854775807), (3, 'EUR', 5)");
  world.token(2);
  world.admin("INSERT INTO resume_token_digests VALUES ('engine', 'production', 'transactions', 2, 18446744073709551615, 7, 2, 'ch-1')");
  Postgres ledger(dsn(), world.tokens());
  const QueryPlan plans[] = {current(world.in("balances")).by("currency").sum("amount").count().plan(), events(world.in("transactions")).sum("amount").plan(),
                             events(world.in("transactions")).where("currency", "XXX").sum("amount").plan()};
  const Snapshot snapshot = ledger.snapshot(plans, {});
  REQUIRE(snapshot.token);
  CHECK(snapshot.token->epoch.sequence == 2);
  CHECK(snapshot.token->epoch.execution_ns == 77);
  CHECK(snapshot.token->generation == 4);
  CHECK(snapshot.token->relation("transactions").ids == Digest{2, UINT64_MAX, 7});
  REQUIRE(snapshot.relations[0].rows() == 3);
  CHECK(to_string(snapshot.relations[0].column("currency")[2]) == "USD");
  CHECK(snapshot.relations[0].column("amount")[2].as_decimal() == *parse_decimal("99999999999999999999.99999999"));
  CHECK(snapshot.relations[0].column("amount")[0].null);
  CHECK(snapshot.relations[0].column("count")[2].type == Type::uint64);
  CHECK(snapshot.relations[1].column("amount")[0].as_decimal() == *parse_decimal("18446744073709551614"));  // row 3 is above the token, and nothing wrapped
  CHECK(snapshot.relations[2].rows() == 0);
  CHECK(snapshot.proofs[0].snapshot->sequence == 2);
  CHECK(snapshot.proofs[0].rows == 3);
  CHECK(!snapshot.proofs[0].ids);
  CHECK(snapshot.server.name.find("postgres ") == 0);
  CHECK(snapshot.server.version.find("1") == 0);

  const auto acked = ledger.acknowledged(*snapshot.token, "production", "transactions", {});
  REQUIRE(acked);
  CHECK((acked->sequence == 2 && acked->server == "ch-1"));
  CHECK(!ledger.acknowledged(*snapshot.token, "shadow", "transactions", {}));
  const FollowerInfo about = ledger.about(world.in("transactions"), {});
  CHECK(about.relation ==
        snapshot.server.name.substr(0, snapshot.server.name.find('@')) + "/" + world.admin("SELECT current_database()") + "/" + world.in("transactions"));
  CHECK(about.stream == "engine");
  const Visible visible = ledger.visible(world.in("transactions"), as_of(snapshot.token->stream, snapshot.token->epoch), {});
  CHECK((visible.count == 2 && visible.newest == 3));

  Postgres plain(dsn());
  CHECK(!plain.snapshot(std::span(plans, 1), {}).token);
  CHECK(plain.about(world.in("transactions"), {}).stream.empty());
}

namespace {

struct Generated {
  std::string name, sql_type;
  Type type;
};
const std::vector<Generated> generated = {{"event_id", "bigint", Type::int64},
                                          {"flag", "boolean", Type::boolean},
                                          {"small", "smallint", Type::int64},
                                          {"n", "integer", Type::int64},
                                          {"big", "bigint", Type::int64},
                                          {"amount", "numeric(20,4)", Type::decimal},
                                          {"rate", "numeric", Type::decimal},
                                          {"score", "float8", Type::float64},
                                          {"kind", "text", Type::text},
                                          {"side", "side", Type::text},
                                          {"code", "char(6)", Type::text},
                                          {"raw", "bytea", Type::text},
                                          {"id", "uuid", Type::uuid},
                                          {"day", "date", Type::date},
                                          {"at", "timestamptz", Type::timestamp_ns},
                                          {"local_at", "timestamp", Type::timestamp_ns}};

/// Few different values, so that groups, ties and equal filters happen; among them those that engines disagree about.
Value random_value(const Generated& g, std::mt19937_64& random) {
  if (random() % 6 == 0) return Value::null_of(g.type);
  static const std::string kinds[] = {"a", "B", "b", "A", "", "ä", "z_", "a b", "_", "'; drop"};
  static const std::string raws[] = {std::string("\0", 1), "\xFF", "", "\x7F"};
  switch (g.type) {
    case Type::boolean: return random() % 2 == 0;
    case Type::int64: return g.name == "big" && random() % 3 == 0 ? (random() % 2 ? INT64_MAX : INT64_MIN) : static_cast<std::int64_t>(random() % 5) - 2;
    case Type::decimal:
      if (g.name == "amount") return Decimal{static_cast<std::int64_t>(random() % 7) * 5000 - 15000, 4};
      return Decimal{static_cast<std::int64_t>(random() % 9) - 4, static_cast<int>(random() % 4) * 3};
    case Type::float64: {
      const double values[] = {0.0, -0.0, 1.5, -2.25, __builtin_nan(""), __builtin_inf(), 1e300};
      return values[random() % 7];
    }
    case Type::text:
      if (g.name == "raw") return std::string_view(raws[random() % 4]);
      if (g.name == "side") return random() % 2 ? "sell" : "buy";
      if (g.name == "code") return random() % 2 ? "XBT" : "xbt a";
      return std::string_view(kinds[random() % 10]);
    case Type::uuid: {
      Uuid u;
      u.bytes[0] = static_cast<std::uint8_t>(random() % 2 ? 0x80 : 1), u.bytes[15] = static_cast<std::uint8_t>(random() % 2);
      return u;
    }
    case Type::timestamp_ns: return Timestamp{(static_cast<std::int64_t>(random() % 5) - 2) * 1'000'001'000'000'000'000};
    default: return Date{static_cast<std::int32_t>(random() % 5) * 20'000 - 40'000};
  }
}

std::string sql_literal(const Value& v, const Generated& g) {
  if (v.null) return "NULL";
  std::string text = g.type == Type::float64 ? postgres::rendering::float_text(v.as_float64())
                     : g.name == "raw"       ? postgres::rendering::bytea_text(v.text)
                                             : to_string(v);
  for (std::size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2) text.insert(at, "'");
  return "'" + text + "'";
}

/// A random table, in the server and in memory. `replays`: some event ids stand there twice, some of those with other content.
Relation make_table(World& world, std::mt19937_64& random, bool replays) {
  Relation table;
  std::string columns;
  for (const Generated& g : generated) {
    table.add(g.name, Role::value, g.type, g.name == "amount" ? 4 : 0);
    columns += (columns.empty() ? "" : ", ") + g.name + " " + g.sql_type + (g.name == "event_id" ? " NOT NULL" : "");
  }
  world.admin("DROP TABLE IF EXISTS t; CREATE TABLE t(" + columns + ")");
  std::vector<std::string> rows;
  for (int i = 0, last = static_cast<int>(random() % 60); i < last; ++i) {
    std::string row;
    std::vector<Value> values;
    for (const Generated& g : generated) {
      values.push_back(g.name == "event_id" ? Value(std::int64_t{i}) : random_value(g, random));
      row += (row.empty() ? "(" : ", ") + sql_literal(values.back(), g);
    }
    for (std::uint64_t copies = replays && random() % 4 == 0 ? 1 + random() % 3 : 1; copies > 0; --copies) {
      if (random() % 8 == 0 && copies > 1) continue;
      for (std::size_t c = 0; c < values.size(); ++c) table.fields[c].column.append(values[c]);
      rows.push_back(row + ")");
    }
    if (replays && random() % 8 == 0) {
      row.clear();
      for (std::size_t c = 0; c < values.size(); ++c) {
        if (c > 0 && random() % 4 == 0) values[c] = random_value(generated[c], random);
        row += (row.empty() ? "(" : ", ") + sql_literal(values[c], generated[c]);
        table.fields[c].column.append(values[c]);
      }
      rows.push_back(row + ")");
    }
  }
  std::shuffle(rows.begin(), rows.end(), random);
  if (!rows.empty()) world.admin("INSERT INTO t VALUES " + postgres::rendering::joined(rows, "", ", "));
  return table;
}

Query random_query(const std::string& relation, std::mt19937_64& random) {
  const auto any = [&]() -> const Generated& { return generated[random() % generated.size()]; };
  const auto any_exact = [&] {  // rarely a float, which must be refused alike
    for (;;)
      if (const Generated& g = any(); g.type != Type::float64 || random() % 8 == 0) return g.name;
  };
  QueryPlan plan;
  plan.relation = relation;
  plan.history = static_cast<History>(random() % 3);
  if (plan.history == History::latest) {
    plan.per.push_back(any_exact());
    if (const std::string second = any_exact(); random() % 2 == 0 && second != plan.per[0]) plan.per.push_back(second);
  }
  for (std::uint64_t n = random() % 3; n > 0; --n) {
    const Generated& g = any();
    const Generated& other = any();  // now and then of another type; but bytes that are no UTF-8 are refused where a text is meant
    const Value value = random() % 12 == 0 && other.name != "raw" ? random_value(other, random) : random_value(g, random);
    Filter filter{g.name, static_cast<Comparison>(random() % 8), Literal(value)};
    if (value.type == Type::timestamp_ns && !value.null && random() % 2 == 0)
      filter.literal = Literal(Value(Timestamp{value.as_int64() + static_cast<std::int64_t>(random() % 3) - 1}));
    if (value.type == Type::int64 && !value.null && random() % 4 == 0)
      filter.literal = random() % 2 ? Literal(Value(UINT64_MAX)) : Literal(Value(Decimal{15, 1}));
    plan.where.push_back(filter);
  }
  if (random() % 2 == 0) {  // grouped
    for (std::uint64_t n = random() % 3; n > 0; --n)
      if (const std::string name = any_exact(); std::find(plan.by.begin(), plan.by.end(), name) == plan.by.end()) plan.by.push_back(name);
    plan.measures.push_back({Measure::Kind::count, {}, "rows"});
    const char* summed[] = {"small", "n", "big", "amount", "rate", "score"};
    for (std::uint64_t n = random() % 3; n > 0; --n) {
      const std::string column = summed[random() % (random() % 8 == 0 ? 6 : 5)];
      plan.measures.push_back({Measure::Kind::sum, column, "sum" + std::to_string(n)});
    }
  } else {
    if (plan.history == History::current) plan.key = {"event_id"};
    for (std::uint64_t n = random() % 4 + 1; n > 0; --n) plan.measures.push_back({Measure::Kind::value, any().name, "v" + std::to_string(n)});
  }
  return Query(plan);
}

void require_equal(const Relation& actual, const Relation& expected) {
  REQUIRE(actual.fields.size() == expected.fields.size());
  REQUIRE(actual.rows() == expected.rows());
  for (std::size_t c = 0; c < actual.fields.size(); ++c) {
    CHECK(actual.fields[c].name == expected.fields[c].name);
    CHECK(actual.fields[c].role == expected.fields[c].role);
    REQUIRE(family(actual.fields[c].column.type()) == family(expected.fields[c].column.type()));
    for (std::size_t row = 0; row < actual.rows(); ++row) {
      INFO("column " << actual.fields[c].name << " row " << row << ": " << to_string(actual.fields[c].column[row]) << " for "
                     << to_string(expected.fields[c].column[row]));
      REQUIRE((compare(actual.fields[c].column[row], expected.fields[c].column[row]) == 0));
    }
  }
}

}  // namespace

TEST_CASE("postgres: random queries mean what evaluate says") {
  World world;
  world.admin("CREATE TYPE side AS ENUM ('sell', 'buy')");  // its own order is not that of its texts
  world.admin("CREATE TABLE t(x int)");
  const std::uint64_t seed = std::getenv("EPOCHCUT_SEED") ? std::strtoull(std::getenv("EPOCHCUT_SEED"), nullptr, 10) : 1;
  std::mt19937_64 random(seed);
  Postgres source(dsn()), anchor(dsn(), world.tokens());
  int compared = 0, refused = 0, conflicting = 0;
  for (int round = 0; round < 40; ++round) {
    const bool replays = round % 2 == 1;
    const Relation table = make_table(world, random, replays);
    const std::uint64_t sequence = random() % 70;
    world.token(sequence);
    const Stream stream{"engine", "event_id", 0, false};
    for (int q = 0; q < 25; ++q) {
      Query query = random_query(world.in("t"), random);
      AsOf at = as_of(stream, {sequence, 0});
      at.at_rest = random() % 8 == 0;
      if (query.plan().history == History::current) {
        if (replays) continue;  // not keyed by its event id any more
        at.at_rest = true;
      }
      const Form form = replays ? Form::distinct : random() % 4 == 0 ? Form::distinct : Form::plain;
      Evaluated expected;
      Reason expected_refusal = Reason::none;
      try {
        expected = evaluate(query.plan(), table, at, form);
      } catch (const Failure& failure) {
        expected_refusal = failure.kind;
      }
      Relation rows;
      Proof proof;
      std::string sql;
      try {
        std::tie(rows, proof) = collect(source.open(query.plan(), at, form, {}), {});
      } catch (const Failure& failure) {
        INFO(failure.message << " " << failure.sql);
        // evaluate looks at a filter's literal only when a row reaches it.
        const bool unseen = failure.kind == Reason::schema && failure.message.find("does not compare") != std::string::npos;
        REQUIRE((failure.kind == expected_refusal || (expected_refusal == Reason::none && unseen)));
        ++refused;
        continue;
      }
      INFO("seed " << seed << " round " << round << " query " << q);
      REQUIRE(expected_refusal == Reason::none);
      require_equal(rows, expected.rows);
      CHECK(proof.rows == expected.rows.rows());
      CHECK((proof.conflicts > 0) == (expected.proof.conflicts > 0));
      CHECK(proof.conflicting_ids == expected.proof.conflicting_ids);
      conflicting += proof.conflicts > 0;
      ++compared;
      if (form == Form::plain && !at.at_rest) require_equal(one(anchor, query).relations[0], expected.rows);
    }
  }
  CHECK(compared > 400);
  CHECK(refused > 20);
  CHECK(conflicting > 20);
}

TEST_CASE("postgres: a streamed cursor holds its snapshot, and several may be open at once") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 100000) i");
  Postgres source(dsn());
  const QueryPlan plan = events(world.in("t")).values("v").plan();
  AnyCursor a = source.open(plan, {.at_rest = true}, Form::plain, {}), b = source.open(plan, {.at_rest = true}, Form::plain, {});
  Relation block;
  REQUIRE(a->next(block));
  CHECK(block.rows() == Postgres::block_rows);
  world.admin("DELETE FROM t");
  CHECK(collect(std::move(b), {}).first.rows() == 100'000);
  std::size_t rows = block.rows();
  while (a->next(block)) rows += block.rows();
  CHECK(rows == 100'000);
  CHECK(a->proof().rows == 100'000);
  const auto [none, proof] = collect(source.open(plan, {.at_rest = true}, Form::plain, {}), {});
  CHECK(none.rows() == 0);
  CHECK(none.fields.size() == 2);  // an empty answer has columns too
}

TEST_CASE("postgres: as a follower with a token of its own") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
  world.token(3);
  Postgres shadow(dsn(), world.tokens());
  const Stream stream{"engine", "event_id", 0, false};
  const auto [rows, proof] = collect(shadow.open(events(world.in("t")).values("v").plan(), as_of(stream, {2, 0}), Form::plain, {}), {});
  CHECK(rows.rows() == 2);
  CHECK(proof.snapshot->sequence == 3);
  const QueryPlan state = current(world.in("t")).key("v").plan();
  CHECK(collect(shadow.open(state, as_of(stream, {3, 0}), Form::plain, {}), {}).first.rows() == 3);
  const Failure moved = failure_of([&] { shadow.open(state, as_of(stream, {2, 0}), Form::plain, {}); });
  CHECK(moved.kind == Reason::not_as_of);
  CHECK(moved.retryable);
  CHECK(moved.message.find("sequence 3") != std::string::npos);
  CHECK(moved.message.find("sequence 2") != std::string::npos);
  CHECK(failure_of([&] { shadow.open(state, as_of({"other", "event_id", 0, false}, {3, 0}), Form::plain, {}); }).kind == Reason::wrong_stream);
}

TEST_CASE("postgres: event ids that are no event ids") {
  World world;
  world.admin(
      "CREATE TABLE t(event_id bigint, v int); INSERT INTO t VALUES (1, 1), (NULL, 2); CREATE TABLE f(event_id float8, v int);"
      "CREATE TABLE n(event_id numeric(20,0) NOT NULL, v int); INSERT INTO n VALUES (18446744073709551615, 1), (18446744073709551614, 2)");
  Postgres source(dsn());
  CHECK(failure_of([&] { one(source, events(world.in("t")).sum("v")); }).kind == Reason::schema);
  CHECK(failure_of([&] { one(source, events(world.in("f")).sum("v")); }).kind == Reason::schema);
  AsOf at{.stream = {"s", "event_id", 0, false}, .epoch = {UINT64_MAX - 1, 0}, .last_event_id = UINT64_MAX - 1};
  CHECK(collect(source.open(events(world.in("n")).values("v").plan(), at, Form::plain, {}), {}).first.rows() == 1);
  CHECK(source.visible(world.in("n"), at, {}).count == 1);
}

TEST_CASE("postgres: values that don't fit are overflow, types that don't are schema") {
  World world;
  world.admin(
      "CREATE TABLE t(k text, a numeric, b timestamptz, c jsonb, d int[]); INSERT INTO t VALUES ('nan', 'NaN'), ('big', 1e38), ('inf', 'Infinity'), ('fine', 1e37);"
      "INSERT INTO t(k, b) VALUES ('time', 'infinity'), ('old', '0001-01-01')");
  Postgres source(dsn());
  for (const char* k : {"nan", "big", "inf", "time", "old"}) {
    const Failure failure = failure_of([&] { one(source, current(world.in("t")).where("k", k).key("k").values("a", "b")); });
    CHECK(failure.kind == Reason::overflow);
  }
  CHECK(one(source, current(world.in("t")).where("k", "fine").key("k").values("a", "b")).relations[0].rows() == 1);
  CHECK(failure_of([&] { one(source, current(world.in("t")).sum("a")); }).kind == Reason::overflow);
  const Failure json = failure_of([&] { one(source, current(world.in("t")).key("k").values("c")); });
  CHECK(json.kind == Reason::schema);
  CHECK(json.message.find("\"c\" is jsonb") != std::string::npos);
  CHECK(failure_of([&] { one(source, current(world.in("t")).key("d")); }).kind == Reason::schema);
}

TEST_CASE("postgres: names are quoted, domains and views are read") {
  World world;
  world.admin(
      "CREATE DOMAIN money_amount AS numeric(20,2); CREATE DOMAIN nested AS money_amount; CREATE TABLE \"Odd \"\"Table\"(\"a b\" varchar(9), \"select\" nested);"
      "INSERT INTO \"Odd \"\"Table\" VALUES ('x', 1.25); CREATE VIEW v AS SELECT \"a b\" AS k, \"select\" AS amount FROM \"Odd \"\"Table\"");
  Postgres source(dsn());
  const Relation odd = one(source, current(world.name + ".\"Odd \"\"Table\"").key("a b").values("select")).relations[0];
  CHECK(to_string(odd.column("select")[0]) == "1.25");
  CHECK(to_string(one(source, current(world.in("v")).by("k").sum("amount")).relations[0].column("amount")[0]) == "1.25");
  CHECK(failure_of([&] { one(source, current("a.b.c").key("k").values("v")); }).kind == Reason::configuration);
  CHECK(failure_of([&] { one(source, current(world.in("\"; drop")).key("k").values("v")); }).kind == Reason::configuration);
  world.admin("CREATE MATERIALIZED VIEW m AS SELECT 1 AS k");
  CHECK(failure_of([&] { one(source, current(world.in("m")).key("k")); }).kind == Reason::schema);  // a REFRESH would show in an open snapshot
}

TEST_CASE("postgres: too many rows end the reading") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50000)");
  Postgres source(dsn());
  Control control;
  control.rows_max = 20'000;
  CHECK(failure_of([&] { one(source, events(world.in("t")).values("event_id").as("e"), control); }).kind == Reason::too_large);
  CHECK(one(source, events(world.in("t")).count()).relations[0].rows() == 1);
}

// ---- what gets in its way ----

TEST_CASE("postgres: the locks come before the snapshot") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10)");
  world.token(1);
  Postgres ledger(dsn(), world.tokens());
  // TRUNCATE is not snapshot-safe: a snapshot from before it shows the old token and no rows.
  world.admin("BEGIN; TRUNCATE t");
  std::optional<Snapshot> snapshot;
  std::thread reader([&] { snapshot = one(ledger, events(world.in("t")).sum("v")); });
  std::this_thread::sleep_for(300ms);
  world.admin("INSERT INTO t VALUES (2, 20)");
  world.token(2);
  world.admin("COMMIT");
  reader.join();
  REQUIRE(snapshot);
  CHECK(snapshot->token->epoch.sequence == 2);
  CHECK(to_string(snapshot->relations[0].column("v")[0]) == "20");

  world.admin("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
  PostgresOptions options;
  options.lock_timeout = 100ms;
  Postgres hasty(dsn(), world.tokens(), options);
  const Failure locked = failure_of([&] { one(hasty, events(world.in("t")).sum("v")); });
  CHECK(locked.kind == Reason::lock_timeout);
  CHECK(locked.retryable);
  CHECK(locked.engine_code == "55P03");
  world.admin("ROLLBACK");
  CHECK(one(hasty, events(world.in("t")).sum("v")).relations[0].rows() == 1);

  world.admin("INSERT INTO t SELECT i, i FROM generate_series(3, 300000) i");
  AnyCursor cursor = ledger.open(events(world.in("t")).values("v").plan(), {.at_rest = true}, Form::plain, {});
  world.admin("SET lock_timeout = 100");
  CHECK(world.admin.sqlstate("TRUNCATE t") == "55P03");
  CHECK(collect(std::move(cursor), {}).first.rows() == 299'999);
  CHECK(world.admin.sqlstate("TRUNCATE t") == "");
}

TEST_CASE("postgres: a proxy that rewrites the isolation level is found out") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY)");
  Proxy proxy(world.admin, Proxy::Mode::read_committed);
  Postgres source(proxy.dsn());
  const Failure failure = failure_of([&] { one(source, events(world.in("t")).count()); });
  CHECK(failure.kind == Reason::wrong_isolation);
  CHECK(failure.message.find("read committed") != std::string::npos);
}

TEST_CASE("postgres: a backend that is killed in mid-COPY, and a connection that is cut, are errors and the next run is clean") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 50) FROM generate_series(1, 300000) i");
  const QueryPlan plan = events(world.in("t")).values("v").plan();
  Postgres source(dsn("application_name=" + world.name));
  {
    AnyCursor cursor = source.open(plan, {.at_rest = true}, Form::plain, {});
    Relation block;
    REQUIRE(cursor->next(block));
    world.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '" + world.name + "'");
    const Failure failure = failure_of([&] {
      while (cursor->next(block)) {
      }
    });
    CHECK(failure.kind == Reason::connection);
    CHECK(failure.retryable);
    CHECK(failure.poisons_connection);
    CHECK(failure_of([&] { cursor->next(block), cursor->next(block); }).kind != Reason::none);
  }
  CHECK(one(source, events(world.in("t")).count()).relations[0].rows() == 1);

  Proxy proxy(world.admin, Proxy::Mode::cut);
  Postgres cut(proxy.dsn());
  CHECK(one(cut, events(world.in("t")).count()).relations[0].rows() == 1);
  proxy.server_bytes_max = 1'000'000;
  CHECK(failure_of([&] { one(cut, events(world.in("t")).values("v")); }).kind == Reason::connection);
  proxy.server_bytes_max = INT64_MAX;
  CHECK(one(cut, events(world.in("t")).count()).relations[0].rows() == 1);

  // An idle session that the server ended is replaced, not reported.
  world.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '" + world.name + "'");
  std::this_thread::sleep_for(100ms);
  CHECK(one(source, events(world.in("t")).count()).relations[0].rows() == 1);
}

TEST_CASE("postgres: a cancelled read stops its statement in the server too") {
  World world;
  world.admin("CREATE VIEW v AS SELECT i AS event_id FROM generate_series(1, 100000000) i");
  Postgres source(dsn("application_name=" + world.name));
  // The server sorts for seconds before the first row, and would not notice a closed socket before then.
  Cancel cancel;
  Control control;
  control.cancel = &cancel;
  std::thread other([&] { std::this_thread::sleep_for(300ms), cancel.request(); });
  const auto begin = std::chrono::steady_clock::now();
  const Failure failure =
      failure_of([&] { collect(source.open(events(world.in("v")).values("event_id").as("e").plan(), {.at_rest = true}, Form::plain, control), control); });
  other.join();
  CHECK(failure.kind == Reason::cancelled);
  CHECK(failure.retryable);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  std::string running = "1";
  for (int i = 0; i < 50 && running != "0"; ++i) {
    std::this_thread::sleep_for(20ms);
    running = world.admin("SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + world.name + "'");
  }
  CHECK(running == "0");
}

TEST_CASE("postgres: statements that take too long") {
  World world;
  world.admin("CREATE VIEW slow AS SELECT 1::bigint AS event_id, pg_sleep(5)::text AS v");
  PostgresOptions options;
  options.statement_timeout = 200ms;
  Postgres source(dsn("application_name=" + world.name), {}, options);
  const QueryPlan plan = current(world.in("slow")).key("event_id").values("v").plan();
  const Failure slow = failure_of([&] { source.snapshot(std::span(&plan, 1), {}); });
  CHECK(slow.kind == Reason::timeout);
  CHECK(slow.engine_code == "57014");
  CHECK(slow.retryable);
  CHECK(slow.sql.find("COPY (") == 0);

  Postgres patient(dsn("application_name=" + world.name));
  Control control;
  control.deadline = control.clock->now() + 300ms;
  CHECK(failure_of([&] { patient.snapshot(std::span(&plan, 1), control); }).kind == Reason::timeout);

  std::thread other([&] {
    Admin admin;
    std::this_thread::sleep_for(400ms);
    admin("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = '" + world.name + "' AND state = 'active'");
  });
  const Failure cancelled = failure_of([&] { patient.snapshot(std::span(&plan, 1), {}); });
  other.join();
  CHECK(cancelled.kind == Reason::cancelled);  // the same SQLSTATE, but not its own timeout

  Proxy proxy(world.admin, Proxy::Mode::freeze);
  Postgres frozen(proxy.dsn());
  const QueryPlan quick = current(world.in("resume_tokens")).key("stream").plan();
  frozen.snapshot(std::span(&quick, 1), {});
  proxy.server_bytes_max = 0;
  control.deadline = control.clock->now() + 300ms;
  const auto begin = std::chrono::steady_clock::now();
  CHECK(failure_of([&] { frozen.snapshot(std::span(&quick, 1), control); }).kind == Reason::timeout);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
}

TEST_CASE("postgres: row-level security and missing grants are errors, never zero rows") {
  World world;
  const std::string role = world.name;
  world.admin("CREATE ROLE " + role + " LOGIN PASSWORD 'Tr0ub4dor'; GRANT USAGE ON SCHEMA " + world.name + " TO " + role);
  world.admin("CREATE TABLE hidden(k int, v int); INSERT INTO hidden VALUES (1, 1); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; GRANT SELECT ON hidden TO " +
              role + "; CREATE TABLE forbidden(k int)");
  {
    Postgres source(dsn("user=" + role + " password=Tr0ub4dor"));
    const Failure hidden = failure_of([&] { one(source, current(world.in("hidden")).by("k").sum("v")); });
    CHECK(hidden.kind == Reason::authentication);
    CHECK(hidden.message.find("BYPASSRLS") != std::string::npos);
    const Failure forbidden = failure_of([&] { one(source, current(world.in("forbidden")).by("k").count()); });
    CHECK(forbidden.kind == Reason::authentication);
    CHECK(forbidden.message.find("grant select") != std::string::npos);
    // Hidden rows behind a counting look too.
    CHECK(failure_of([&] {
            source.visible(world.in("hidden"), {.stream = {"s", "k", 0, false}, .epoch = {}, .last_event_id = 9}, {});
          }).kind == Reason::authentication);

    Postgres wrong(dsn("user=" + role + " password=not-Tr0ub4dor"));
    try {
      wrong.about(world.in("hidden"), {});
      WARN("this server trusts everybody: a wrong password can't be tested");
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::authentication);
      CHECK(failure.engine_code == "28P01");
      CHECK(failure.message.find("Tr0ub4dor") == std::string::npos);
      CHECK(failure.where.find("Tr0ub4dor") == std::string::npos);
    }
  }
  world.admin("DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_CASE("postgres: what is missing is named") {
  World world;
  world.admin("CREATE TABLE t(event_id bigint PRIMARY KEY, v int)");
  Postgres ledger(dsn(), world.tokens());
  const Failure token = failure_of([&] { one(ledger, events(world.in("t")).sum("v")); });
  CHECK(token.kind == Reason::missing_token);
  for (const char* word : {"\"engine\"", "\"production\"", "resume_tokens", "commit"}) CHECK(token.message.find(word) != std::string::npos);
  world.token(1);
  const Failure table = failure_of([&] { one(ledger, events(world.in("nothing")).sum("v")); });
  CHECK(table.kind == Reason::not_found);
  CHECK(table.message.find(world.in("nothing")) != std::string::npos);
  CHECK(table.engine_code == "42P01");
  const Failure column = failure_of([&] { one(ledger, events(world.in("t")).sum("w")); });
  CHECK(column.kind == Reason::schema);
  CHECK(column.message.find("\"w\"") != std::string::npos);
  CHECK(failure_of([&] { ledger.about(world.in("nothing"), {}); }).kind == Reason::not_found);
  CHECK(failure_of([&] { one(ledger, events("no_such_schema.t").sum("v")); }).kind == Reason::not_found);

  TokenTable nowhere = world.tokens();
  nowhere.table = world.in("no_tokens");
  Postgres without(dsn(), nowhere);
  CHECK(failure_of([&] { one(without, events(world.in("t")).sum("v")); }).kind == Reason::not_found);
  TokenTable misnamed = world.tokens();
  misnamed.sequence = "seq";
  Postgres wrong(dsn(), misnamed);
  const Failure sequence = failure_of([&] { one(wrong, events(world.in("t")).sum("v")); });
  CHECK(sequence.kind == Reason::schema);
  CHECK(sequence.message.find("seq") != std::string::npos);

  world.admin("UPDATE resume_tokens SET sequence = -1");
  CHECK(failure_of([&] { one(ledger, events(world.in("t")).sum("v")); }).kind == Reason::schema);
  Postgres database(dsn("dbname=no_such_database"));
  CHECK(failure_of([&] { database.about("t", {}); }).kind == Reason::not_found);
}

TEST_CASE("postgres: a stream without a sequence must declare its nanoseconds unique") {
  World world;
  TokenTable t = world.tokens(8);
  t.sequence.clear();
  const Failure failure = failure_of([&] { Postgres(dsn(), t); });
  CHECK(failure.kind == Reason::configuration);
  CHECK(failure.message.find("unique_ns") != std::string::npos);
  t.unique_ns = true, t.event_id = "ns";
  world.token(3);
  world.admin("CREATE TABLE t(ns bigint PRIMARY KEY); INSERT INTO t VALUES (76), (77), (78)");
  Postgres ledger(dsn(), t);
  const Snapshot snapshot = one(ledger, events(world.in("t")).count());
  CHECK(snapshot.token->epoch.sequence == 77);
  CHECK(snapshot.token->stream.leg_bits == 0);
  CHECK(to_string(snapshot.relations[0].column("count")[0]) == "2");
}

TEST_CASE("postgres: connection strings that can't be, and servers that are not there") {
  for (const char* bad :
       {"host=127.0.0.1 password=geheim oops", "password='geheim", "postgresql://u:ge@heim@host/db", "postgresql://u:ge/heim@host/db", "geheim"}) {
    const Failure failure = failure_of([&] { Postgres(bad).about("t", {}); });
    CHECK(failure.kind == Reason::configuration);
    for (const std::string& text : {failure.message, failure.where, failure.sql}) CHECK(text.find("heim") == std::string::npos);
  }
  for (const char* slip : {"hots=127.0.0.1", "host=127.0.0.1 pasword=geheim", "dbnam=x password=geheim"}) {
    const Failure failure = failure_of([&] { Postgres(slip).about("t", {}); });
    CHECK(failure.message.find("unknown keyword \"") != std::string::npos);
    CHECK(failure.message.find("geheim") == std::string::npos);
  }
  CHECK(failure_of([&] { Postgres("host=127.0.0.1 password=ge heim=x").about("t", {}); }).message.find("heim") == std::string::npos);
  const Failure closed = failure_of([&] { Postgres("host=127.0.0.1 port=1 user=u password=geheim dbname=d").about("t", {}); });
  CHECK(closed.kind == Reason::connection);
  CHECK(closed.retryable);
  CHECK(closed.where == "127.0.0.1:1/d");
  CHECK(closed.message.find("geheim") == std::string::npos);
}

TEST_CASE("postgres: a reading is of the events from zero to the epoch, whether an index says that there are no others or every row is asked") {
  World w;
  w.token(9);
  const std::string columns = "(event_id bigint NOT NULL, v int NOT NULL)";
  struct Kind {
    std::string name, make;
    bool tells;  ///< at once, that no id is below zero or above the epoch
  };
  const std::vector<Kind> kinds = {
      {"bare", "CREATE TABLE bare " + columns, false},
      {"keyed", "CREATE TABLE keyed " + columns + "; ALTER TABLE keyed ADD PRIMARY KEY (event_id)", true},
      {"falling", "CREATE TABLE falling " + columns + "; CREATE INDEX ON falling (event_id DESC, v)", true},
      {"second", "CREATE TABLE second " + columns + "; CREATE INDEX ON second (v, event_id)", false},
      {"partial", "CREATE TABLE partial " + columns + "; CREATE INDEX ON partial (event_id) WHERE event_id > 0", false},
      {"hashed", "CREATE TABLE hashed " + columns + "; CREATE INDEX ON hashed USING hash (event_id)", false},
      {"computed", "CREATE TABLE computed " + columns + "; CREATE INDEX ON computed ((event_id / 2))", false},
      {"parted",
       "CREATE TABLE parted " + columns +
           " PARTITION BY RANGE (event_id); CREATE TABLE low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (5); "
           "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (5) TO (MAXVALUE); ALTER TABLE parted ADD PRIMARY KEY (event_id)",
       true},
      {"parent", "CREATE TABLE parent " + columns + "; ALTER TABLE parent ADD PRIMARY KEY (event_id); CREATE TABLE child () INHERITS (parent)", false},
  };
  for (const Kind& kind : kinds) {
    INFO(kind.name);
    w.admin(kind.make);
    const QueryPlan plan = events(w.in(kind.name)).values("v").plan();
    const TokenTable tokens = w.tokens();
    const auto told = [&](std::uint64_t last) {
      postgres::Transaction transaction(std::make_shared<postgres::Connection>(dsn(), PostgresOptions{}), std::span(&plan, 1), &tokens, {});
      postgres::Bound bound{.event_id = "event_id", .last_event_id = last};
      transaction.look_at_ids(plan, transaction.describe(std::span(&plan, 1), {})[0], bound, {});
      transaction.commit({});
      return std::pair(bound.none_below, bound.none_above);
    };
    CHECK(told(9) == std::pair(kind.tells, kind.tells));  // of no row at all
    for (const bool negative : {false, true}) {
      const std::string into = kind.name == "parent" ? "child" : kind.name;  // an index of the parent has no row of its child
      w.admin("TRUNCATE " + kind.name + "; INSERT INTO " + into + " VALUES (12, 4), (9, 3), (0, 1), (3, 2)");
      if (negative) w.admin("INSERT INTO " + into + " VALUES (-1, 5), (-9223372036854775808, 6)");
      for (const std::uint64_t last : {std::uint64_t{0}, std::uint64_t{11}, std::uint64_t{12}, ~std::uint64_t{0}})
        CHECK(told(last) == std::pair(kind.tells && !negative, kind.tells && last >= 12));
      Postgres source(dsn(), w.tokens());
      const auto ids = [](const Relation& rows) {
        return std::vector<std::uint64_t>(rows.fields[0].column.words().begin(), rows.fields[0].column.words().end());
      };
      const std::vector<std::uint64_t> expected = {0, 3, 9};
      CHECK(ids(one(source, events(w.in(kind.name)).values("v")).relations[0]) == expected);
      CHECK(to_string(one(source, events(w.in(kind.name)).sum("v")).relations[0].fields[0].column[0]) == "6");
      AsOf at = as_of(Stream{.id = "engine", .leg_bits = 0}, Epoch{9, 0});
      CHECK(ids(collect(source.open(plan, at, Form::plain, {}), {}).first) == expected);
      CHECK(ids(collect(source.open(plan, at, Form::distinct, {}), {}).first) == expected);
      at = as_of(Stream{.id = "engine", .leg_bits = 0}, Epoch{12, 0});  // none is above this one
      CHECK(ids(collect(source.open(plan, at, Form::plain, {}), {}).first) == std::vector<std::uint64_t>{0, 3, 9, 12});
      AnyHeld held = source.hold(std::span(&plan, 1), {});
      CHECK(ids(collect(held->open(0, false, {}), {}).first) == expected);
      held->release({});
    }
  }
}

TEST_CASE("postgres: a server that accepts and then says nothing is given up") {
  World world;
  Proxy proxy(world.admin, Proxy::Mode::freeze);
  proxy.server_bytes_max = 0;
  PostgresOptions options;
  options.connect_timeout = 300ms;
  const Failure silent = failure_of([&] { Postgres(proxy.dsn(), {}, options).about("t", {}); });
  CHECK(silent.kind == Reason::connection);
  CHECK(silent.retryable);
}
