// A writer rewrites the ledger's state (TRUNCATE, INSERT) and its token in one transaction, while a check takes its cut.
// Right is: the cut waits for it at its lock, and passes at the new epoch. Exit codes: 0 so it did, 1 another verdict, 2 the test broke, 77 no server.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <unistd.h>

#include <epochcut/source/memory.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/verdict/check.hpp>

using namespace epochcut;

namespace {

constexpr int polls_max = 600;  // of 50 ms: a loaded machine may take its time to get the check to the lock

struct Admin {
  explicit Admin(const char* dsn) : connection(PQconnectdb(dsn)) {
    if (PQstatus(connection) != CONNECTION_OK) std::printf("no connection: %s", PQerrorMessage(connection)), std::exit(2);
  }
  ~Admin() { PQfinish(connection); }
  std::string operator()(const std::string& sql) {
    PGresult* result = PQexec(connection, sql.c_str());
    const auto status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) std::printf("%s: %s", sql.c_str(), PQerrorMessage(connection)), std::exit(2);
    std::string cell = status == PGRES_TUPLES_OK && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    PQclear(result);
    return cell;
  }
  PGconn* connection;
};

Relation transactions(std::initializer_list<std::pair<std::uint64_t, std::int64_t>> rows) {
  Relation t;
  t.add("event_id", Role::key, Type::uint64), t.add("currency", Role::value, Type::text), t.add("amount", Role::value, Type::int64);
  for (const auto& [id, amount] : rows) t.fields[0].column.append(Value(id)), t.fields[1].column.append(Value("EUR")), t.fields[2].column.append(Value(amount));
  return t;
}

std::string token_sql(std::uint64_t sequence, const Digest& ids) {
  return "DELETE FROM resume_tokens; DELETE FROM resume_token_digests; INSERT INTO resume_tokens VALUES ('t', 'production', 1, " + std::to_string(sequence) +
         ", 1); INSERT INTO resume_token_digests VALUES ('t', 'production', 'transactions', " + std::to_string(ids.count) + ", " + std::to_string(ids.sum_low) +
         ", " + std::to_string(ids.sum_high) + ", 0, '');";
}

}  // namespace

int main() {
  const char* dsn = std::getenv("EPOCHCUT_POSTGRES");
  if (dsn == nullptr) return std::printf("skipped: EPOCHCUT_POSTGRES is not set; sh tests/run.sh starts servers and sets it\n"), 77;
  const std::string schema = "bug_lock_" + std::to_string(getpid());
  Admin admin(dsn), watcher(dsn);
  admin("CREATE SCHEMA " + schema + "; SET search_path = " + schema +
        "; CREATE TABLE balances(currency text COLLATE \"C\" PRIMARY KEY, amount bigint); INSERT INTO balances VALUES ('EUR', 10)"
        "; CREATE TABLE resume_tokens(stream text, authority text, generation bigint, sequence bigint, latest_execution_ns bigint)"
        "; CREATE TABLE resume_token_digests(stream text, authority text, relation text, row_count numeric(20,0), sum_low numeric(20,0),"
        " sum_high numeric(20,0), acked_sequence bigint, acked_by text)");
  const Digest one = digest_of_event_id(1 << 8), two = one + digest_of_event_id(2 << 8);
  admin(token_sql(1, one));
  Memory analytics("analytics");
  analytics.create("transactions", transactions({}));
  analytics.insert("transactions", transactions({{1 << 8, 10}, {2 << 8, 20}}));

  admin("BEGIN; TRUNCATE balances");  // nobody reads balances now; the token can still be read
  Outcome outcome;
  std::thread checker([&] {
    Postgres ledger(std::string(dsn) + " options='-c search_path=" + schema + "' application_name=" + schema, {.stream = "t"},
                    {.lock_timeout = Millis{60'000}});
    outcome = check(ledger, Invariant{.id = "balances",
                                      .left = {ledger, current("balances").by("currency").sum("amount")},
                                      .right = {analytics, events("transactions").by("currency").sum("amount")}});
  });
  const std::string waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + schema + "' AND wait_event_type = 'Lock'";
  int polls = 0;
  for (; polls < polls_max && watcher(waiting) != "1"; ++polls) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  admin("INSERT INTO balances VALUES ('EUR', 30); " + token_sql(2, two) + "COMMIT");
  checker.join();
  admin("DROP SCHEMA " + schema + " CASCADE");
  if (polls == polls_max) return std::printf("the check never came to the lock\n"), 2;
  std::printf("%s %s at sequence %llu: %s\n", std::string(to_string(outcome.status)).c_str(), std::string(to_string(outcome.reason)).c_str(),
              static_cast<unsigned long long>(outcome.epoch ? outcome.epoch->sequence : 0), outcome.message.c_str());
  const bool right = outcome.status == Status::pass && outcome.epoch && outcome.epoch->sequence == 2;
  std::printf(right ? "right\n" : "WRONG VERDICT\n");
  return right ? 0 : 1;
}
