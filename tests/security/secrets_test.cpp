// Does a password ever come out? Every way to fail that can be provoked, with a recognisable one in each place that takes one; then all that was said about
// it is searched: outcomes as text and JSON, failures, names that were looked up, what the programs print. Escaped, percent-encoded and base64 as well.
#include <algorithm>
#include <cctype>
#include <random>

#include "security/support.hpp"

#include "live/world.hpp"

using namespace security;
using live::check_balances;
using live::World;

namespace {

// Two pieces of letters and digits, so that whatever is escaped between them they still show, and so does half of it.
const std::string first = "kQ7xvPz", second = "mB4twRj";
const std::string secret = first + "-" + second;

std::string base64(std::string_view text) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) word = word << 8 | (i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u);
    for (int k = 3; k >= 0; --k) out += digits[word >> (6 * k) & 63];
  }
  return out;
}

/// What of the secret stands in there; empty if nothing does.
std::string leak(std::string text) {
  for (const std::string& piece : {first, second}) {
    if (text.find(piece) != std::string::npos) return piece;
    std::string hex;
    for (const char c : piece) hex += "0123456789abcdef"[c >> 4 & 15], hex += "0123456789abcdef"[c & 15];
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower.find(hex) != std::string::npos) return piece + " in hex";
    // Wherever it begins within a group of three bytes, these digits of base64 depend on nothing else.
    for (std::size_t shift = 0; shift < 3; ++shift) {
      const std::size_t from = (shift * 8 + 5) / 6, to = (shift + piece.size()) * 8 / 6;
      if (text.find(base64(std::string(shift, 'x') + piece).substr(from, to - from)) != std::string::npos) return piece + " in base64";
    }
  }
  return {};
}

struct Said {
  std::size_t texts = 0, bytes = 0;
  std::map<std::string, int> reasons;

  void text(const std::string& t) {
    ++texts, bytes += t.size();
    const std::string leaked = leak(t);
    if (leaked.empty()) return;
    FAIL_CHECK("here it says \"" << leaked << "\": " << t.substr(0, 2'000));
  }
  void failure(const Failure& f) {
    ++reasons[std::string(to_string(f.kind))];
    for (const std::string& t : {std::string(f.what()), f.message, f.where, f.sql, f.engine_code}) text(t);
  }
  void outcome(const Outcome& o) {
    ++reasons[std::string(to_string(o.status)) + " " + std::string(to_string(o.reason))];
    for (const std::string& t : {o.message, to_text(o), to_json(o), o.left.server.name, o.right.server.name, o.left.relation, o.right.relation}) text(t);
  }
  /// And nothing that was looked up.
  void names() {
    for (const std::string& name : LookedUp::instance().take()) {
      text(name);
      CHECK(name != "recon");  // the user: then the password's beginning was taken for a port
    }
  }
};

/// Checks as far as it goes, with whatever a user might have written.
void try_postgres(Said& said, const std::string& dsn, World* world = nullptr) {
  INFO("DSN: " << dsn);
  try {
    Postgres ledger{dsn, {.stream = "test"}};
    if (world != nullptr) {
      ClickHouse analytics = world->analytics();
      said.outcome(check_balances(ledger, analytics));
    }
    ledger.about("balances", Control{});
  } catch (const Failure& failure) {
    said.failure(failure);
  }
  said.names();
}
void try_clickhouse(Said& said, const std::string& url, const ClickHouseOptions& options = {}, World* world = nullptr) {
  INFO("URL: " << url);
  try {
    ClickHouse analytics(url, options);
    if (world != nullptr) {
      Postgres ledger = world->ledger();
      said.outcome(check_balances(ledger, analytics));
    }
    analytics.about("transactions", Control{});
  } catch (const Failure& failure) {
    said.failure(failure);
  }
  said.names();
}

std::string filled(std::string text, const std::string& password) {
  const std::size_t at = text.find("$S");
  return at == std::string::npos ? text : text.replace(at, 2, password);
}

// With the password where it belongs, where it does not, half quoted and not quoted at all. Port 1 has no listener.
const std::vector<std::string> dsns = {
    "host=127.0.0.1 port=1 user=recon dbname=x password=$S",
    "password=$S host=127.0.0.1 port=1",
    "host=127.0.0.1 port=1 password='$S' user=recon",
    "host=127.0.0.1 port=1 password='$S user=recon",
    "host=127.0.0.1 port=1 password=\"$S\"",
    "host=127.0.0.1 port=1 password = $S",
    "host=127.0.0.1 port=1 password:$S",
    "host=127.0.0.1 port=1 passwrod=$S",
    "host=127.0.0.1 port=1 pasword=$S user=recon",
    "host=127.0.0.1 port=1 pass=$S",
    "host=127.0.0.1 port=1 Password=$S",
    "host=127.0.0.1 port=1 password=x $S=y",
    "host=127.0.0.1 port=$S",
    "host=127.0.0.1 port=1 sslmode=$S",
    "host=127.0.0.1 port=1 gssencmode=$S",
    "host=127.0.0.1 port=1 channel_binding=$S",
    "host=127.0.0.1 port=1 target_session_attrs=$S",
    "host=127.0.0.1 port=1 connect_timeout=$S",
    "host=127.0.0.1 port=1 keepalives=$S",
    "host=127.0.0.1 port=1 ssl_min_protocol_version=$S",
    "host=127.0.0.1 port=1 sslmode=require sslcert=/nowhere sslkey=/nowhere sslpassword=$S",
    "host=127.0.0.1 port=1 user=recon:$S",
    "host=127.0.0.1 port=1 dbname=postgresql://recon:$S@127.0.0.1:1/x",
    "host=recon:$S@127.0.0.1 port=1",
    "hostaddr=127.0.0.1 port=1 password=$S service=absent",
    "postgresql://recon:$S@127.0.0.1:1/x",
    "postgres://recon:$S@127.0.0.1:1/x?sslmode=disable",
    "postgresql://recon:$S@127.0.0.1:1,127.0.0.1:2/x",
    "postgresql://recon:$S@[::1]:1/x",
    "postgresql://127.0.0.1:1/x?user=recon&password=$S",
    "postgresql://127.0.0.1:1/x?user=recon&passwd=$S",
    "postgresql://127.0.0.1:1/x?$S",
    "postgresql://recon:$S@127.0.0.1:1:2/x",
    "recon:$S@127.0.0.1:1/x",
    "//recon:$S@127.0.0.1:1/x",
    "postgresql//recon:$S@127.0.0.1:1/x",
    "mysql://recon:$S@127.0.0.1:1/x",
    "$S",
};
const std::vector<std::string> urls = {
    "http://recon:$S@127.0.0.1:1/?database=x",
    "https://recon:$S@127.0.0.1:1/?database=x",
    "http://recon:$S@127.0.0.1:1",
    "http://recon:$S@[::1]:1/",
    "http://$S@127.0.0.1:1/",
    "http://:$S@127.0.0.1:1/",
    "http://127.0.0.1:1/?user=recon&password=$S",
    "http://127.0.0.1:1/?password=$S&database=x",
    "http://127.0.0.1:1/?pasword=$S",
    "http://127.0.0.1:1/?password:$S",
    "http://127.0.0.1:1/?$S",
    "http://127.0.0.1:1/?database=x&$S=1",
    "http://127.0.0.1:1/#$S",
    "http://127.0.0.1:$S@127.0.0.1:1/",
    "http:/recon:$S@127.0.0.1:1/",
    "http:recon:$S@127.0.0.1:1/",
    "recon:$S@127.0.0.1:1/",
    "//recon:$S@127.0.0.1:1/",
    "clickhouse://recon:$S@127.0.0.1:1/",
    "tcp://recon:$S@127.0.0.1:9000/",
    "http://[recon:$S@127.0.0.1]:1/",
    "http://recon:%$S@127.0.0.1:1/",
    "http://recon:%00$S@127.0.0.1:1/",
    "http://recon:%0a$S@127.0.0.1:1/",
    "$S",
};

}  // namespace

TEST_CASE("what looks for a secret finds it") {
  for (const std::string& text : {"x" + secret, "ends in " + second, first, "Basic " + base64("recon:" + secret), base64("u:" + secret), base64("us:" + secret),
                                  std::string("6b513778765") + "07a", filled("http://recon:$S@host/", "kQ7xvPz%2Fx")})
    CHECK(!leak(text).empty());
  CHECK(leak("kQ7x vPz mB4t wRj").empty());
  CHECK(base64("recon:secret") == "cmVjb246c2VjcmV0");
}

TEST_CASE("no part of a password is repeated, however it is written into a connection string or an address") {
  Said said;
  const bool full = std::getenv("EPOCHCUT_FULL") != nullptr && std::string(std::getenv("EPOCHCUT_FULL")) == "1";
  const int rounds = full ? 400 : 40;
  const std::string specials = " '\"\\@/:?#%&=+,;[]{}|^~!$*()<>\t\n\xc3\xa4";
  std::mt19937 random(20);
  LookedUp::instance().take();
  for (int round = 0; round < rounds; ++round) {
    // Every special character alone first, then two or three of them.
    std::string between;
    if (round < static_cast<int>(specials.size()))
      between = specials[static_cast<std::size_t>(round)];
    else
      for (std::size_t n = 2 + random() % 2; n > 0; --n) between += specials[random() % specials.size()];
    for (const std::string& password : {first + between + second, "12" + between + second, first + between, between + second}) {
      INFO("round " << round);
      for (const std::string& dsn : dsns) try_postgres(said, filled(dsn, password));
      for (const std::string& url : urls) try_clickhouse(said, filled(url, password));
    }
  }
  // Written as the documents say, each of them is only a password to a port where nobody listens.
  CHECK(said.reasons["connection"] > rounds * 20);
  CHECK(said.reasons["configuration"] > rounds * 20);
  for (const auto& [reason, count] : said.reasons) {
    INFO(reason << " " << count);
    CHECK((reason == "connection" || reason == "configuration" || reason == "authentication"));
  }
}

TEST_CASE("no password in what is said about servers that fail") {
  servers();
  World world("secrets");
  world.write({{1, 0, "EUR", "10"}});
  const std::string role = world.name + "_role", users = servers().dir() + "/clickhouse/users.d/secrets.xml";
  world.pg.execute("create role " + role + " login password '" + secret + "'; grant usage on schema " + world.name + " to " + role +
                   "; grant select on all tables in schema " + world.name + " to " + role);
  overwrite(users, "<yandex><users><guarded><password>" + secret +
                       "</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></guarded></users></yandex>");
  world.ch.execute("SYSTEM RELOAD CONFIG");
  const std::string dsn = "host=127.0.0.1 port=" + servers().pg_port() + " user=" + role + " dbname=exchange password=" + secret;
  const std::string path = " options='-c search_path=" + world.name + "'", at = "@127.0.0.1:" + servers().port_of("CLICKHOUSE") + "/?database=";
  Said said;

  // With nothing wrong, first.
  {
    Postgres ledger{dsn + path, {.stream = "test"}};
    ClickHouse analytics("http://guarded:" + secret + at + world.name);
    const Outcome o = check_balances(ledger, analytics);
    INFO(to_text(o));
    REQUIRE(o.status == Status::pass);
    said.outcome(o);
  }
  for (const std::string& wrong :
       {dsn + "x" + path, dsn + " user=nobody", dsn + " dbname=absent", dsn + " sslmode=verify-full sslrootcert=/nowhere",
        dsn + " sslmode=verify-full sslrootcert='" + servers().tls("stranger-ca.crt") + "'", dsn + " options='-c nonsense=" + secret + "'",
        dsn + " options='-c search_path=absent'", dsn + " port=1", dsn + " host=" + far_host, dsn + " host=" + far_host + " sslmode=disable port=1",
        dsn + " sslcert=/nowhere sslkey=/nowhere sslmode=require", dsn + " application_name=" + secret, dsn + " dbname=" + std::string(1 << 20, 'x'),
        dsn + path + "'"})
    try_postgres(said, wrong, &world);
  for (const std::string& wrong :
       {"http://guarded:" + secret + "x" + at + world.name, "http://nobody:" + secret + at + world.name, "http://guarded:" + secret + at + "absent",
        "https://guarded:" + secret + at + world.name,
        "https://guarded:" + secret + "@127.0.0.1:" + servers().port_of("CLICKHOUSE_TLS") + "/?database=" + world.name,
        "http://guarded:" + secret + "@127.0.0.1:1/?database=" + world.name, "http://guarded:" + secret + at + std::string(1 << 20, 'x'),
        "http://guarded:" + secret + "@127.0.0.1:" + servers().port_of("CLICKHOUSE") + "/" + std::string(1 << 16, 'x')})
    try_clickhouse(said, wrong, {}, &world);
  for (ClickHouseOptions options : std::vector<ClickHouseOptions>{{.password = secret},
                                                                  {.user = "guarded", .password = secret + "\n"},
                                                                  {.user = "guarded\r\nX: y", .password = secret},
                                                                  {.user = "guarded", .password = secret, .database = "absent"},
                                                                  {.user = "guarded", .password = secret, .settings = {{"no_such_setting", "1"}}},
                                                                  {.user = "guarded", .password = secret, .settings = {{"max_rows_to_read", "0x"}}},
                                                                  {.user = "guarded", .password = secret, .settings = {{"readonly", "0"}}}})
    try_clickhouse(said, servers()["CLICKHOUSE"], options, &world);
  for (const std::string& proxy : {"http://guarded:" + secret + "@127.0.0.1:1", "socks5://guarded:" + secret + "@127.0.0.1:1",
                                   "http://guarded:" + first + "/" + second + "@127.0.0.1:1"}) {
    ClickHouseOptions options;
    options.transport.proxy = proxy;
    try_clickhouse(said, "http://guarded:" + secret + at + world.name, options, &world);
  }

  // Statements that fail, on sessions that hold the password.
  {
    Postgres ledger{dsn + path, {.stream = "test"}};
    ClickHouse analytics("http://guarded:" + secret + at + world.name);
    const auto both = [&](const Query& left, const Query& right) {
      said.outcome(check(ledger, Invariant{"wrong", {ledger, left}, {analytics, right}}, live::quick()));
    };
    both(current("balanecs").by("currency").sum("amount"), live::transactions());
    both(current("balances").by("currency").sum("currency"), live::transactions());
    both(live::balances(), events("transactions").by("absent").sum("amount"));
    both(live::balances(), events("transactions").by("currency").sum("memo"));
    ClickHouse other("http://guarded:" + secret + at + world.name, {.statement_timeout = Millis{1}});
    said.outcome(check_balances(ledger, other));
    Postgres hasty{dsn + path, {.stream = "test"}, {.statement_timeout = Millis{1}}};
    said.outcome(check_balances(hasty, analytics));
    // Backends that are killed, wherever they happen to be.
    std::atomic<bool> stop = false;
    std::thread killer([&] {
      exchange::PostgresWriter owner(servers()["POSTGRES"]);
      while (!stop) {
        owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = '" + role + "'");
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
      }
    });
    for (int i = 0; i < 40; ++i) said.outcome(check_balances(ledger, analytics));
    stop = true;
    killer.join();
    servers().command("kill-clickhouse");
    said.outcome(check_balances(ledger, analytics));
    servers().command("restart-clickhouse");
  }

  // Servers that are none: silent, closing, answering with errors, with rubbish, or with the very request.
  const auto http = [](const std::string& status, const std::string& body) {
    return "HTTP/1.1 " + status + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body;
  };
  const std::vector<Listener::Answer> answers = {
      [](const std::string&) { return std::string(); },
      [](const std::string&) { return std::string("N"); },
      [](const std::string&) { return std::string("R\0\0\0\x08\0\0\0\x05", 9); },
      [&](const std::string& heard) { return http("200 OK", heard); },
      [&](const std::string& heard) { return http("500 Oops", heard); },
      [&](const std::string& heard) {
        return http("500 Oops", "Code: 1, e.displayText() = DB::Exception: this was asked: " + heard + ", e.what() = DB::Exception");
      },
      [&](const std::string& heard) { return http("403 Forbidden", "DB::Exception: " + heard); },
      [&](const std::string& heard) { return http("302 Found\r\nLocation: http://127.0.0.1:1/" + first, heard); },
      [&](const std::string&) { return http("200 OK", "rubbish"); },
      [](const std::string& heard) { return heard; },
      // A server's refusal that repeats the password.
      [](const std::string&) {
        const std::string fields = std::string("SFATAL\0C28P01\0", 14) + "Mthe password " + secret + " is wrong" + std::string(2, '\0');
        return std::string("E\0\0\0", 4) + static_cast<char>(fields.size() + 4) + fields;
      },
  };
  for (const Listener::Answer& answer : answers) {
    Listener listener(answer);
    try_postgres(said, "host=127.0.0.1 port=" + listener.port() + " user=recon dbname=x connect_timeout=1 sslmode=disable password=" + secret, &world);
    try_clickhouse(said, "http://guarded:" + secret + "@127.0.0.1:" + listener.port() + "/", {.statement_timeout = Millis{300}}, &world);
    CHECK(listener.connections() > 0);
  }

  std::filesystem::remove(users);
  world.pg.execute("drop owned by " + role + "; drop role " + role);
  // It was provoked: each of these kinds was seen.
  for (const char* reason :
       {"pass none", "error connection", "error authentication", "error configuration", "error not_found", "error schema", "error timeout"}) {
    INFO(reason);
    CHECK(said.reasons[reason] > 0);
  }
  CHECK(said.texts > 500);
}

TEST_CASE("no password in what the programs print") {
  servers();
  World world("programs");
  Said said;
  const auto prints = [&](const std::string& command, int code = -1) {
    INFO(command);
    const Ran ran = shell(command);
    INFO(ran.output);
    if (code >= 0) CHECK(ran.code == code);
    CHECK(!ran.output.empty());
    said.text(ran.output);
    return ran.output;
  };
  const auto quoted = [](std::string text) {
    for (std::size_t at = text.find('\''); at != std::string::npos; at = text.find('\'', at + 4)) text.replace(at, 1, "'\\''");
    return "'" + text + "'";
  };
  const std::string program = "'" EXCHANGE_PROGRAM "' ";

  // The writers, with passwords of their own. The owner's is not asked for; a user of ClickHouse with all rights has one.
  const std::string users = servers().dir() + "/clickhouse/users.d/secrets.xml";
  overwrite(users, "<yandex><users><writer><password>" + secret +
                       "</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer></users></yandex>");
  world.ch.execute("SYSTEM RELOAD CONFIG");
  world.pg.execute("do $$ begin if not exists (select from pg_roles where rolname = 'recon') then create role recon login; end if; end $$");
  world.pg.execute("alter role recon password '" + secret + "'");
  world.pg.execute("grant connect on database exchange to recon");
  const std::string owner = servers()["POSTGRES"] + " password=" + secret;
  const std::string at = "@127.0.0.1:" + servers().port_of("CLICKHOUSE") + "/", writer = "http://writer:" + secret + at;
  const std::string stores = " --postgres " + quoted(owner) + " --clickhouse " + quoted(writer) + " --authority secrets";
  CHECK(shell(program + "init" + stores).code == 0);
  prints(program + "run --duration 1 --rate 500" + stores, 0);
  prints(program + "status" + stores, 0);
  prints(program + "corrupt --fault change_amount" + stores, 0);
  prints(program + "depose" + stores, 0);

  // And what they say when it goes wrong. Nothing in here is a name to look up.
  for (const std::string& wrong :
       {owner + " port=1", owner + " dbname=absent", owner + " user=recon password=" + secret + "x", owner + " sslmode=" + secret,
        "host=127.0.0.1 port=" + secret, "host=127.0.0.1 password=" + first + " " + second, "host=127.0.0.1 passwrod=" + secret,
        "postgresql://writer:" + first + "/" + second + "@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?" + secret, "host=127.0.0.1 port=1 user=x:" + secret})
    prints(program + "status --postgres " + quoted(wrong) + " --clickhouse " + quoted(writer), 1);
  for (const std::string& wrong :
       {"http://writer:" + secret + "x" + at, "http://writer:" + secret + "@127.0.0.1:1/", "http://writer:" + first + "/" + second + at,
        "https://writer:" + secret + at, "http://writer:" + secret + at + "?database=absent", "nonsense://writer:" + secret + at})
    prints(program + "init --postgres " + quoted(owner) + " --clickhouse " + quoted(wrong), 1);
  prints(program + "run --password=" + secret, 2);
  prints("EPOCHCUT_POSTGRES=" + quoted(owner + " port=1") + " EPOCHCUT_CLICKHOUSE=" + quoted(writer) + " " + program + "status", 1);

  // The demo: who writes and who compares, all with passwords. On a busy machine five seconds need not come true, but they must compare.
  overwrite(servers().dir() + "/clickhouse/users.d/recon.xml", [&] {
    std::string text = contents(EXAMPLES_DIR "/recon.xml");
    const std::string sha = shell("printf %s '" + secret + "' | sha256sum").output.substr(0, 64);
    return text.replace(text.find("SHA256"), 6, sha);
  }());
  world.ch.execute("SYSTEM RELOAD CONFIG");
  const auto demo = [&](const std::string& password) {
    return "EPOCHCUT_POSTGRES=" + quoted(owner) + " EPOCHCUT_CLICKHOUSE=" + quoted(writer) +
           " EPOCHCUT_POSTGRES_RECON=" + quoted("host=127.0.0.1 port=" + servers().pg_port() + " user=recon dbname=exchange password=" + password) +
           " EPOCHCUT_CLICKHOUSE_RECON=" + quoted("http://recon:" + password + at) + " '" DEMO_PROGRAM "' --seconds 5 --rate 500 --json";
  };
  const std::string shown = prints(demo(secret));
  CHECK(shown.find("\"status\":") != std::string::npos);
  CHECK(shown.find("authentication") == std::string::npos);
  const auto quickstart = [&](const std::string& password) {
    return "'" QUICKSTART_PROGRAM "' " + quoted("host=127.0.0.1 port=" + servers().pg_port() + " user=recon dbname=exchange password=" + password) + " " +
           quoted("http://recon:" + password + at + "?database=exchange");
  };
  CHECK(prints(quickstart(secret)).find("transactions-balance-live @") != std::string::npos);  // a verdict, at an epoch
  CHECK(prints(quickstart(secret + "x"), 3).find("authentication") != std::string::npos);
  world.pg.execute("alter role recon password 'recon-secret'");
  for (const char* log : {"/clickhouse/output.log", "/postgres/pg_ctl.log"}) said.text(contents(servers().dir() + log));
}
