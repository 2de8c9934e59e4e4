// Is TLS verified, on both servers, whatever is wrong with it? Anything that can't be trusted is one clear error, and nothing is ever sent in plaintext
// that nobody asked for.
#include "security/support.hpp"

#include "live/world.hpp"

using namespace security;
using live::check_balances;
using live::World;

namespace {

/// The owner, for whom no password is asked: what fails in here fails at TLS.
std::string tls_dsn(const World& world, const std::string& more) {
  return "host=127.0.0.1 port=" + servers().pg_port() + " user=epochcut dbname=exchange options='-c search_path=" + world.name + "' " + more;
}
std::string tls_url(const World& world) { return "https://127.0.0.1:" + servers().port_of("CLICKHOUSE_TLS") + "/?database=" + world.name; }
ClickHouseOptions trusting(const std::string& ca) {
  ClickHouseOptions options;
  options.transport.ca_file = ca;
  return options;
}
Postgres ledger_of(const std::string& dsn) { return Postgres{dsn, {.stream = "test"}}; }
Outcome over_tls(World& world, const std::string& dsn) {
  Postgres ledger = ledger_of(dsn);
  ClickHouse analytics = world.analytics();
  return check_balances(ledger, analytics);
}
Outcome over_tls(World& world, const std::string& url, const ClickHouseOptions& options) {
  Postgres ledger = world.ledger();
  ClickHouse analytics(url, options);
  return check_balances(ledger, analytics);
}

}  // namespace

TEST_CASE("verified TLS to both servers") {
  servers();
  World world("tls");
  world.write({{1, 0, "EUR", "10"}});
  Postgres ledger = ledger_of(tls_dsn(world, "application_name=over_tls sslmode=verify-full sslrootcert='" + servers().ca() + "'"));
  ClickHouse analytics(tls_url(world), trusting(servers().ca()));
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
  CHECK(o.counts.equal == 1);
  const auto sessions = world.pg.execute("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'over_tls'");
  REQUIRE(sessions.rows() == 1);
  CHECK(sessions(0, 0) == "t");
}

TEST_CASE("a password over TLS, bound to its channel") {
  servers();
  World world("scram");
  world.write({{1, 0, "EUR", "10"}});
  world.pg.execute("grant usage on schema " + world.name + " to recon; grant select on all tables in schema " + world.name + " to recon");
  const Outcome o = over_tls(world, servers()["POSTGRES_TLS"] + " channel_binding=require options='-c search_path=" + world.name + "'");
  INFO(to_text(o));
  CHECK(o.status == Status::pass);
}

TEST_CASE("a client that trusts somebody else") {
  servers();
  World world("trust");
  world.write({{1, 0, "EUR", "10"}});
  says(over_tls(world, tls_dsn(world, "sslmode=verify-full sslrootcert='" + servers().tls("stranger-ca.crt") + "'")), Reason::connection,
       {"certificate verify failed", "sslrootcert"});
  says(over_tls(world, tls_dsn(world, "sslmode=verify-full sslrootcert=/nowhere/ca.crt")), Reason::connection, {"/nowhere/ca.crt", "does not exist"});
  says(over_tls(world, tls_url(world), trusting(servers().tls("stranger-ca.crt"))), Reason::connection, {"certificate", "ca_file"});
  says(over_tls(world, tls_url(world), {}), Reason::connection, {"certificate", "ca_file"});  // the system's authorities don't know ours
  says(over_tls(world, tls_url(world), trusting("/nowhere/ca.crt")), Reason::configuration, {"ca_file", "/nowhere/ca.crt"});
}

TEST_CASE("a certificate for another name") {
  servers();
  World world("name");
  world.write({{1, 0, "EUR", "10"}});
  // Another name for the same server: the certificate is for 127.0.0.1 and localhost.
  const std::string far = "host=" + far_host + " hostaddr=127.0.0.1 port=" + servers().pg_port() + " user=epochcut dbname=exchange sslrootcert='" +
                          servers().ca() + "' options='-c search_path=" + world.name + "'";
  says(over_tls(world, far + " sslmode=verify-full"), Reason::connection, {"does not match host name", far_host});
  const Outcome by_authority = over_tls(world, far + " sslmode=verify-ca");  // whoever writes this has been told what it is worth
  INFO(to_text(by_authority));
  CHECK(by_authority.status == Status::pass);
  says(over_tls(world, "https://" + far_host + ":" + servers().port_of("CLICKHOUSE_TLS") + "/?database=" + world.name, trusting(servers().ca())),
       Reason::connection, {far_host, "certificate"});
}

TEST_CASE("a server whose certificate is expired, another machine's, a stranger's, or signed by itself") {
  servers();
  World world("bad_certificate");
  world.write({{1, 0, "EUR", "10"}});
  const std::string dsn = tls_dsn(world, "sslmode=verify-full sslrootcert='" + servers().ca() + "'");
  const auto both = [&] { return std::pair{over_tls(world, dsn), over_tls(world, tls_url(world), trusting(servers().ca()))}; };
  for (const auto& [certificate, pg_word, ch_word] : {std::tuple{"expired", "certificate", "expired"},
                                                      {"elsewhere", "elsewhere.invalid", "certificate"},
                                                      {"stranger", "certificate verify failed", "certificate"},
                                                      {"itself", "certificate verify failed", "self"}}) {
    INFO("the server's certificate: " << certificate);
    servers().present(certificate);
    const auto [pg, ch] = both();
    says(pg, Reason::connection, {pg_word, "sslmode"});
    CHECK(!pg.retryable);
    says(ch, Reason::connection, {ch_word, "ca_file"});
    CHECK(!ch.retryable);
  }
  // On this machine it may be switched off, as for a test with a certificate like that.
  ClickHouseOptions blind = trusting("");
  blind.transport.verify_tls = false;
  CHECK(over_tls(world, tls_url(world), blind).status == Status::pass);
  servers().present("good");
  const auto [pg, ch] = both();
  CHECK(pg.status == Status::pass);
  CHECK(ch.status == Status::pass);
}

TEST_CASE("one side speaks TLS and the other does not") {
  servers();
  World world("half");
  world.write({{1, 0, "EUR", "10"}});
  // A server that expects text waits for more of it when the greeting's random bytes happen to look like the beginning of a request.
  const auto greet = [&] {
    return over_tls(world, "https://127.0.0.1:" + servers().port_of("CLICKHOUSE") + "/?database=" + world.name, trusting(servers().ca()));
  };
  Outcome greeted = greet();
  for (int i = 0; i < 5 && greeted.reason == Reason::timeout; ++i) says(greeted, Reason::timeout, {"TLS"}), greeted = greet();
  says(greeted, Reason::connection, {"TLS"});
  says(over_tls(world, "http://127.0.0.1:" + servers().port_of("CLICKHOUSE_TLS") + "/?database=" + world.name, {}), Reason::connection, {"127.0.0.1"});
  world.pg.execute("alter system set ssl = off");
  servers().command("restart-postgres");
  for (const char* mode : {"require", "verify-ca", "verify-full"})
    says(over_tls(world, tls_dsn(world, std::string("sslmode=") + mode + " sslrootcert='" + servers().ca() + "'")), Reason::connection,
         {"does not support SSL", "sslmode"});
  exchange::PostgresWriter(servers()["POSTGRES"]).execute("alter system reset ssl");
  servers().command("restart-postgres");
}

TEST_CASE("an sslmode that does not exist is refused, and what was written there is not repeated") {
  servers();
  World world("mode");
  const Outcome o = over_tls(world, tls_dsn(world, "sslmode=kQ7xvmB4tw"));
  says(o, Reason::configuration, {"sslmode"});
  CHECK(o.message.find("kQ7xv") == std::string::npos);
}

TEST_CASE("to another machine nothing is sent before somebody chose how") {
  servers();
  World world("far");
  world.write({{1, 0, "EUR", "10"}});
  const std::string far = "host=" + far_host + " port=" + servers().pg_port() + " user=epochcut dbname=exchange options='-c search_path=" + world.name + "'";
  LookedUp::instance().take();
  for (const char* mode : {"", " sslmode=prefer", " sslmode=allow"}) says(over_tls(world, far + mode), Reason::configuration, {far_host, "verify-full"});
  CHECK(LookedUp::instance().take().count(far_host) == 1);  // else it never was another machine
  {
    const Environment host("PGHOST", far_host);
    says(over_tls(world, "port=" + servers().pg_port() + " user=epochcut dbname=exchange"), Reason::configuration, {"verify-full"});
  }
  {
    const std::string file = servers().dir() + "/pg_service.conf";
    overwrite(file, "[far]\nhost=" + far_host + "\nport=" + servers().pg_port() + "\nuser=epochcut\ndbname=exchange\n");
    const Environment services("PGSERVICEFILE", file);
    says(over_tls(world, "service=far"), Reason::configuration, {"verify-full"});
  }
  for (const char* hosts : {"127.0.0.1,ledger.example.invalid", "ledger.example.invalid,127.0.0.1", "127.0.0.1.example.invalid"})
    says(over_tls(world, std::string("host=") + hosts + " user=epochcut dbname=exchange"), Reason::configuration, {"verify-full"});
  const Outcome chosen = over_tls(world, far + " sslmode=disable");
  INFO(to_text(chosen));
  CHECK(chosen.status == Status::pass);
  const Environment mode("PGSSLMODE", "verify-full");
  says(over_tls(world, far + " sslrootcert='" + servers().ca() + "'"), Reason::connection, {"does not match host name"});
}

TEST_CASE("whoever stands between gets no password by saying that there is no TLS") {
  const std::string secret = "kQ7xvmB4tw";
  // Says no to TLS, then asks for the password as it is: what libpq's own default answers.
  Listener between([](const std::string& heard) -> std::string {
    if (heard.size() == 8) return "N";
    return std::string("R\0\0\0\x08\0\0\0\x03", 9);
  });
  const std::string dsn = " port=" + between.port() + " user=recon dbname=exchange connect_timeout=2 password=" + secret;
  const auto ask = [&](const std::string& where) {
    Postgres ledger{"host=" + where + dsn, {.stream = "test"}};
    try {
      ledger.about("balances", Control{});
      FAIL("a listener is no server");
    } catch (const Failure& failure) {
      CHECK(std::string(failure.what()).find(secret) == std::string::npos);
    }
  };
  ask(far_host);
  ask(far_host + " sslmode=require");
  CHECK(between.heard().find(secret) == std::string::npos);
  ask(far_host + " sslmode=disable");  // the listener does catch one, if it is allowed to
  CHECK(between.heard().find(secret) != std::string::npos);
}

TEST_CASE("another machine's certificate can't go unverified") {
  ClickHouseOptions blind;
  blind.transport.verify_tls = false;
  for (const std::string& host : {far_host, std::string("127.0.0.1.example.invalid"), std::string("192.0.2.1")}) {
    INFO(host);
    try {
      ClickHouse analytics("https://recon:kQ7xvmB4tw@" + host + ":8443/", blind);
      FAIL("it was allowed");
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::configuration);
      CHECK(failure.message.find("verify_tls") != std::string::npos);
      CHECK(failure.message.find("kQ7xv") == std::string::npos);
    }
  }
  CHECK_NOTHROW(ClickHouse("https://[::1]:8443/", blind));
  CHECK_NOTHROW(ClickHouse("https://localhost:8443/", blind));
  // And an address can't ask for it.
  for (const char* parameter : {"verify_tls=0", "verify=none", "secure=0", "sslmode=disable"})
    CHECK_THROWS_AS(clickhouse::parse_url("https://127.0.0.1:8443/?" + std::string(parameter)), Failure);
}

TEST_CASE("a redirect is not followed, and takes no password along") {
  const std::string secret = "kQ7xvmB4tw";
  Listener second([](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"; });
  const std::string location = "http://127.0.0.1:" + second.port() + "/";
  for (const int status : {301, 302, 307, 308}) {
    Listener first([&](const std::string& heard) -> std::string {
      if (heard.find("\r\n\r\n") == std::string::npos) return {};
      return "HTTP/1.1 " + std::to_string(status) + " Moved\r\nLocation: " + location + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    });
    ClickHouse analytics("http://recon:" + secret + "@127.0.0.1:" + first.port() + "/");
    try {
      analytics.about("transactions", Control{});
      FAIL("a redirect is no answer");
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::connection);
      CHECK(failure.message.find(std::to_string(status)) != std::string::npos);
      CHECK(failure.message.find(secret) == std::string::npos);
    }
    CHECK(first.heard().find(secret) != std::string::npos);  // it went where it was meant to go
  }
  CHECK(second.connections() == 0);
}
