// Are the documented rights of the checking role enough, and is each of them needed? examples/recon.sql and examples/recon.xml are carried out as they stand;
// then each line is taken back in turn: that must be an error that names what is missing, never a verdict.
#include "security/support.hpp"

#include "exchange/engine.hpp"

using namespace security;

namespace {

std::vector<std::string> statements_of(const std::string& file) {
  std::vector<std::string> statements;
  std::istringstream lines(contents(file));
  for (std::string line; std::getline(lines, line);) {
    line = line.substr(0, line.find(';'));
    if (!line.empty() && !line.starts_with("--")) statements.push_back(line);
  }
  return statements;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  REQUIRE(text.find(what, at + 1) == std::string::npos);
  return text.replace(at, what.size(), with);
}

/// The exchange's tables with a few batches in them, in the public schema and the database exchange; what a client of both stores does there.
class Roles {
 public:
  Roles() : owner(servers()["POSTGRES"]), analytics_owner(servers()["CLICKHOUSE"]) {
    exchange::EngineOptions options;
    options.postgres = servers()["POSTGRES"], options.clickhouse = servers()["CLICKHOUSE"];
    exchange::create_tables(options);
    exchange::Engine engine(options);
    engine.step(200);
    owner.execute("set client_min_messages = error");
  }

  Outcome check_as_recon(const std::string& dsn = servers()["POSTGRES_RECON"], const std::string& url = servers()["CLICKHOUSE_RECON"]) {
    Postgres ledger{dsn, {.stream = std::string(exchange::stream_id)}};
    ClickHouse analytics(url + "?database=exchange");
    return check(ledger,
                 Invariant{.id = "roles",
                           .left = {ledger, current("balances").by("currency").sum("amount")},
                           .right = {analytics, events("transactions").by("currency").sum("amount")}},
                 {.horizon = {.budget = Millis{400}, .first_delay = Millis{20}, .max_visibility_lag = Millis{50}}});
  }
  Roles(const Roles&) = delete;
  Roles& operator=(const Roles&) = delete;
  ~Roles() {  // as servers.sh left it
    owner.execute("grant connect on database exchange to public; grant usage on schema public to public");
    owner.execute("drop owned by recon; drop role recon; create role recon login password '" + password + "'");
  }

  void passes() {
    const Outcome o = check_as_recon();
    INFO(to_text(o));
    REQUIRE(o.status == Status::pass);
    REQUIRE(o.counts.equal > 1);
  }

  const std::string password = "recon-secret";
  exchange::PostgresWriter owner;
  exchange::ClickhouseWriter analytics_owner;
};

/// Refused by PostgreSQL with this SQLSTATE.
void refused(exchange::PostgresWriter& client, const std::string& sql, const std::string& sqlstate) {
  INFO(sql);
  try {
    client.execute(sql);
    FAIL_CHECK("it was allowed");
  } catch (const Failure& failure) {
    CHECK(failure.engine_code == sqlstate);
  }
}

}  // namespace

TEST_CASE("the ledger's grants are enough, and each is needed") {
  servers();
  Roles roles;
  // From nothing: whatever the tables' makers and PostgreSQL itself have granted is taken back first.
  roles.owner.execute("drop owned by recon; drop role recon; revoke all on database exchange from public; revoke all on schema public from public");
  const std::vector<std::string> statements = statements_of(EXAMPLES_DIR "/recon.sql");
  int grants = 0, revokes = 0;
  for (const std::string& statement : statements) {
    roles.owner.execute(statement);
    if (statement.starts_with("CREATE ROLE")) {
      roles.owner.execute("alter role recon password '" + roles.password + "'");
      const Outcome nothing = roles.check_as_recon();
      says(nothing, Reason::authentication, {"exchange"});
    }
  }
  roles.passes();

  for (const std::string& statement : statements) {
    if (!statement.starts_with("GRANT ")) continue;
    ++grants;
    INFO(statement);
    const std::size_t on = statement.find(" ON "), to = statement.find(" TO ");
    REQUIRE((on != std::string::npos && to != std::string::npos));
    const std::string object = statement.substr(statement.find(' ', on + 4) + 1, to - statement.find(' ', on + 4) - 1);
    roles.owner.execute("REVOKE" + statement.substr(5, to - 5) + " FROM" + statement.substr(to + 3));
    const Outcome o = roles.check_as_recon();
    // Without USAGE the tables of a schema can't even be seen.
    const bool unseen = statement.find("USAGE ON SCHEMA") != std::string::npos;
    says(o, unseen ? Reason::not_found : Reason::authentication, {unseen ? "grant the role usage on its schema" : object});
    CHECK(!o.retryable);
    roles.owner.execute(statement);
    roles.passes();
  }
  CHECK(grants == 5);

  // Nor can it write, in a transaction of its own making.
  exchange::PostgresWriter recon(servers()["POSTGRES_RECON"]);
  for (const char* table : {"balances", "resume_tokens", "resume_token_digests"}) {
    const std::string t = table;
    for (const std::string& sql : {"insert into " + t + " select * from " + t, "delete from " + t, "truncate " + t,
                                   "update " + t + " set " + (t == "balances" ? "amount = amount" : "authority = authority"),
                                   "select from " + t + " for update", "do $$ begin lock table " + t + " in exclusive mode; end $$"})
      refused(recon, sql, "42501");
    refused(recon, "alter table " + t + " add column x int", "42501");
    refused(recon, "drop table " + t, "42501");
  }
  refused(recon, "select * from transactions", "42501");  // which no check of ours reads
  for (const char* sql : {"create table mine (x int)", "create temporary table mine (x int)", "create schema mine", "create role mine",
                          "create function mine() returns int language sql as 'select 1'", "copy balances from program 'true'",
                          "copy balances to '/tmp/epochcut-recon'", "select pg_read_file('/etc/passwd')", "alter system set ssl = off", "set role epochcut"})
    refused(recon, sql, "42501");

  // Each REVOKE is needed too: given back, the role could do what it says.
  for (const std::string& statement : statements) {
    if (!statement.starts_with("REVOKE ")) continue;
    ++revokes;
    INFO(statement);
    const std::size_t from = statement.find(" FROM ");
    roles.owner.execute("GRANT" + statement.substr(6, from - 6) + " TO" + statement.substr(from + 5));
    const std::string sql = statement.find("TEMPORARY") != std::string::npos ? "create temporary table mine (x int)" : "create table mine (x int)";
    CHECK_NOTHROW(recon.execute(sql));
    CHECK_NOTHROW(recon.execute("drop table mine"));
    roles.owner.execute(statement);
    refused(recon, sql, "42501");
  }
  CHECK(revokes == 2);
}

TEST_CASE("rows that a policy hides from the checking role are an error, and so are hidden tokens") {
  servers();
  Roles roles;
  roles.owner.execute(
      "grant connect on database exchange to recon; grant usage on schema public to recon; grant select on balances, resume_tokens, resume_token_digests to recon");
  roles.passes();
  for (const std::string table : {"balances", "resume_tokens", "resume_token_digests"}) {
    INFO(table);
    roles.owner.execute("alter table " + table + " enable row level security; create policy nobody on " + table + " for select to recon using (false)");
    const Outcome o = roles.check_as_recon();
    says(o, Reason::authentication, {table, "BYPASSRLS"});
    roles.owner.execute("alter role recon bypassrls");
    roles.passes();
    roles.owner.execute("alter role recon nobypassrls; drop policy nobody on " + table + "; alter table " + table + " disable row level security");
  }
  roles.passes();
}

TEST_CASE("ClickHouse's rights are enough, and each is needed") {
  servers();
  Roles roles;
  roles.owner.execute(
      "grant connect on database exchange to recon; grant usage on schema public to recon; grant select on balances, resume_tokens, resume_token_digests to recon");
  const std::string file = servers().dir() + "/clickhouse/users.d/recon.xml", documented = contents(EXAMPLES_DIR "/recon.xml");
  const std::string sha = shell("printf %s recon-secret | sha256sum").output.substr(0, 64);
  const auto grant = [&](const std::string& text) {
    overwrite(file, replaced(text, "SHA256", sha));
    roles.analytics_owner.execute("SYSTEM RELOAD CONFIG");
  };
  grant(documented);
  roles.passes();
  const auto without = [&](const std::string& what, const std::string& instead, Reason reason, std::initializer_list<std::string> words) {
    INFO("without " << what);
    grant(replaced(documented, what, instead));
    says(roles.check_as_recon(), reason, words);
    grant(documented);
    roles.passes();
  };
  without("<database>exchange</database>", "", Reason::authentication, {"exchange", "recon"});
  without("<ip>127.0.0.1</ip>", "<ip>::2</ip>", Reason::authentication, {"recon"});
  without("<readonly>2</readonly>", "<readonly>1</readonly>", Reason::configuration, {"readonly = 2"});
  without("<password_sha256_hex>SHA256</password_sha256_hex>", "<password>SHA256</password>", Reason::authentication, {"recon", "password"});

  // Nor can it write, by any way that HTTP has, and it sees no other database.
  roles.analytics_owner.execute("CREATE DATABASE IF NOT EXISTS elsewhere");
  roles.analytics_owner.execute("CREATE TABLE IF NOT EXISTS elsewhere.t (x UInt8) ENGINE = Log");
  const auto refused_there = [&](const std::string& parameters, const std::string& sql, std::initializer_list<const char*> codes) {
    INFO(parameters << " " << sql);
    exchange::ClickhouseWriter recon(servers()["CLICKHOUSE_RECON"] + "?database=exchange" + parameters);
    try {
      recon.execute(sql);
      FAIL_CHECK("it was allowed");
    } catch (const Failure& failure) {
      CHECK(std::find(codes.begin(), codes.end(), failure.engine_code) != codes.end());
    }
  };
  for (const char* sql :
       {"INSERT INTO transactions SELECT * FROM transactions", "ALTER TABLE transactions DELETE WHERE 1", "ALTER TABLE transactions DROP COLUMN memo",
        "TRUNCATE TABLE transactions", "DROP TABLE transactions", "DROP DATABASE exchange", "CREATE TABLE mine (x UInt8) ENGINE = Log", "CREATE DATABASE mine",
        "RENAME TABLE transactions TO mine", "OPTIMIZE TABLE transactions", "SYSTEM RELOAD CONFIG", "SET readonly = 0"})
    refused_there("", sql, {"164", "291"});
  for (const char* parameters : {"&readonly=0", "&readonly=1"}) refused_there(parameters, "SELECT 1", {"164"});
  refused_there("", "SELECT * FROM elsewhere.t", {"291"});
  roles.passes();  // with everything still there

  // Without readonly it could.
  grant(replaced(documented, "<readonly>2</readonly>", ""));
  exchange::ClickhouseWriter recon(servers()["CLICKHOUSE_RECON"] + "?database=exchange");
  CHECK_NOTHROW(recon.execute("CREATE TABLE mine (x UInt8) ENGINE = Log"));
  CHECK_NOTHROW(recon.execute("DROP TABLE mine"));
  grant(documented);
  refused_there("", "CREATE TABLE mine (x UInt8) ENGINE = Log", {"164"});
}

TEST_CASE("the servers listen on this machine only") {
  servers();
  servers().command("start-second-clickhouse");
  // Of every process that runs in our folder: the sockets it holds, and where those listen. /proc writes addresses in hex, bytes reversed.
  std::set<std::string> listening;
  int processes = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (contents("/proc/" + pid + "/cmdline").find(servers().dir()) == std::string::npos) continue;
    std::set<std::string> sockets;
    std::error_code gone;
    for (const auto& fd : std::filesystem::directory_iterator("/proc/" + pid + "/fd", gone)) {
      const std::string target = std::filesystem::read_symlink(fd.path(), gone).string();
      if (target.starts_with("socket:[")) sockets.insert(target.substr(8, target.size() - 9));
    }
    if (!sockets.empty()) ++processes;
    for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"}) {
      std::istringstream lines(contents(table));
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string slot, local, remote, state, skip, inode;
        words >> slot >> local >> remote >> state >> skip >> skip >> skip >> skip >> skip >> inode;
        const bool open = state == "0A" || (std::string_view(table).find("udp") != std::string_view::npos && remote.ends_with(":0000"));
        if (open && sockets.count(inode) == 1) listening.insert(std::string(table) + " " + local);
      }
    }
  }
  CHECK(processes >= 3);  // PostgreSQL and two ClickHouse servers; else nothing was looked at
  CHECK(listening.size() >= 9);
  for (const std::string& socket : listening) {
    INFO(socket);
    CHECK((socket.starts_with("/proc/net/tcp 0100007F:") || socket.starts_with("/proc/net/tcp6 00000000000000000000000001000000:") ||
           socket.starts_with("/proc/net/tcp6 0000000000000000FFFF00000100007F:")));
  }
}
