// Who may not in is told so in one sentence, without the password; and every way that libpq has of giving one works.
#include <sys/stat.h>

#include "security/support.hpp"

#include "live/world.hpp"

using namespace security;
using live::check_balances;
using live::World;

namespace {

const std::string secret = "kQ7xv m'B4\\tw";  // what has to be quoted
const std::string quoted = "'kQ7xv m\\'B4\\\\tw'";
const std::string encoded = "kQ7xv%20m%27B4%5Ctw";

/// A world whose role has that password, with and without it in the DSN.
struct Guarded : World {
  explicit Guarded(const std::string& test) : World(test), role(name + "_role") {
    write({{1, 0, "EUR", "10"}});
    pg.execute("create role " + role + " login password 'kQ7xv m''B4\\tw'; grant usage on schema " + name + " to " + role +
               "; grant select on all tables in schema " + name + " to " + role);
  }
  ~Guarded() { pg.execute("drop owned by " + role + "; drop role " + role); }
  std::string login(const std::string& user, const std::string& more = "") const {
    return "host=127.0.0.1 port=" + servers().pg_port() + " dbname=exchange user=" + user + " options='-c search_path=" + name + "' " + more;
  }
  Outcome check_as(const std::string& dsn) const {
    Postgres ledger{dsn, {.stream = "test"}};
    ClickHouse follower = analytics();
    return check_balances(ledger, follower);
  }
  Outcome check_at(const std::string& url) const {
    Postgres anchor = ledger();
    ClickHouse follower(url);
    return check_balances(anchor, follower);
  }

  const std::string role;
};

void silent(const Outcome& o) {
  for (const std::string& text : {o.message, to_text(o), to_json(o)})
    for (const char* piece : {"kQ7xv", "B4\\tw", "wrong-mB4tw"}) CHECK(text.find(piece) == std::string::npos);
}

}  // namespace

TEST_CASE("PostgreSQL lets nobody in without the right password") {
  servers();
  Guarded world("auth");
  const Outcome right = world.check_as(world.login(world.role, "password=" + quoted));
  INFO(to_text(right));
  REQUIRE(right.status == Status::pass);
  silent(right);
  const auto refused = [&](const std::string& dsn, std::initializer_list<std::string> words) {
    const Outcome o = world.check_as(dsn);
    says(o, Reason::authentication, words);
    CHECK(!o.retryable);
    silent(o);
  };
  refused(world.login(world.role, "password=wrong-mB4tw"), {world.role, "password"});
  refused(world.login(world.role, "password=''"), {"password"});
  refused(world.login(world.role), {"password"});
  refused(world.login("nobody_at_all", "password=" + quoted), {"nobody_at_all"});
  world.pg.execute("alter role " + world.role + " valid until '2001-01-01'");
  refused(world.login(world.role, "password=" + quoted), {world.role});
  world.pg.execute("alter role " + world.role + " valid until 'infinity' nologin");
  refused(world.login(world.role, "password=" + quoted), {world.role, "log in"});
  world.pg.execute("alter role " + world.role + " login password null");
  refused(world.login(world.role, "password=" + quoted), {world.role});
}

TEST_CASE("PostgreSQL's password from the environment, from a password file, from a URI, over scram") {
  servers();
  Guarded world("ways");
  REQUIRE(world.pg.execute("select 1 from pg_authid where rolname = $1 and rolpassword like 'SCRAM-SHA-256$%'", {world.role}).rows() == 1);
  const std::string dsn = world.login(world.role);
  {
    const Environment password("PGPASSWORD", secret);
    CHECK(world.check_as(dsn).status == Status::pass);
  }
  {
    const Environment password("PGPASSWORD", "wrong-mB4tw");
    const Outcome o = world.check_as(dsn);
    says(o, Reason::authentication, {world.role});
    silent(o);
  }
  const std::string file = servers().dir() + "/pgpass";
  overwrite(file, "127.0.0.1:*:*:" + world.role + ":kQ7xv m'B4\\\\tw\n");
  chmod(file.c_str(), 0600);
  {
    const Environment passfile("PGPASSFILE", file);
    CHECK(world.check_as(dsn).status == Status::pass);
  }
  CHECK(world.check_as(dsn + " passfile='" + file + "'").status == Status::pass);
  overwrite(file, "127.0.0.1:*:*:" + world.role + ":wrong-mB4tw\n");
  const Outcome stale = world.check_as(dsn + " passfile='" + file + "'");
  says(stale, Reason::authentication, {world.role});
  silent(stale);
  const std::string uri = "@127.0.0.1:" + servers().pg_port() + "/exchange?options=-c%20search_path%3D" + world.name;
  CHECK(world.check_as("postgresql://" + world.role + ":" + encoded + uri).status == Status::pass);
  const Outcome wrong = world.check_as("postgresql://" + world.role + ":wrong-mB4tw" + uri);
  says(wrong, Reason::authentication, {world.role});
  silent(wrong);
}

TEST_CASE("ClickHouse lets nobody in without the right password") {
  servers();
  Guarded world("auth_ch");
  // Quoted as little as XML allows: the password is the same one.
  const std::string users = servers().dir() + "/clickhouse/users.d/guarded.xml";
  const auto admit = [&](const std::string& network) {
    overwrite(users, "<yandex><users><guarded><password>" + secret + "</password><networks><ip>" + network +
                         "</ip></networks><profile>default</profile><quota>default</quota></guarded></users></yandex>");
    world.ch.execute("SYSTEM RELOAD CONFIG");
  };
  admit("127.0.0.1");
  const std::string at = "@127.0.0.1:" + servers().port_of("CLICKHOUSE") + "/?database=" + world.name;
  const Outcome right = world.check_at("http://guarded:" + encoded + at);
  INFO(to_text(right));
  REQUIRE(right.status == Status::pass);
  silent(right);
  CHECK(world.check_at("http://" + at.substr(1) + "&user=guarded&password=" + encoded).status == Status::pass);
  const auto refused = [&](const std::string& url, std::initializer_list<std::string> words) {
    const Outcome o = world.check_at(url);
    says(o, Reason::authentication, words);
    CHECK(!o.retryable);
    silent(o);
  };
  refused("http://guarded:wrong-mB4tw" + at, {"guarded", "password"});
  refused("http://guarded" + at, {"guarded", "password"});
  refused("http://nobody_at_all:" + encoded + at, {"nobody_at_all"});
  refused("http://" + at.substr(1) + "&user=guarded&password=wrong-mB4tw", {"guarded"});
  admit("10.0.0.1");
  refused("http://guarded:" + encoded + at, {"guarded"});
  std::filesystem::remove(users);
  world.ch.execute("SYSTEM RELOAD CONFIG");
  refused("http://guarded:" + encoded + at, {"guarded"});
}
