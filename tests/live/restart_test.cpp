// Servers that go away: every check during the outage is an error and retryable, and the next one after it is clean.
#include "support/catch.hpp"

#include <cstdlib>

#include "live/world.hpp"

using namespace live;

namespace {

void servers(const std::string& command) {
  REQUIRE(std::getenv("EPOCHCUT_SERVERS_SH") != nullptr);
  const std::string line =
      "sh '" + std::string(std::getenv("EPOCHCUT_SERVERS_SH")) + "' " + command + " '" + std::getenv("EPOCHCUT_SERVERS_DIR") + "' >/dev/null 2>&1";
  INFO(line);
  REQUIRE(std::system(line.c_str()) == 0);
}

}  // namespace

TEST_CASE("ClickHouse is killed and comes back") {
  World world("kill_ch");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  REQUIRE(check_balances(ledger, analytics).status == Status::pass);
  servers("kill-clickhouse");
  const Outcome o = check_balances(ledger, analytics);
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(o.reason == Reason::connection);
  CHECK(o.retryable);
  servers("restart-clickhouse");
  CHECK(check_balances(ledger, analytics).status == Status::pass);
}

TEST_CASE("PostgreSQL restarts between two checks and comes back") {
  World world("restart_pg");
  auto ledger = world.ledger();
  auto analytics = world.analytics();
  world.write({{1, 0, "EUR", "10"}});
  REQUIRE(check_balances(ledger, analytics).status == Status::pass);
  servers("restart-postgres");
  const Outcome o = check_balances(ledger, analytics);  // its session is gone: at most one error
  INFO(to_text(o));
  if (o.status != Status::pass) {
    CHECK(o.status == Status::error);
    CHECK(o.retryable);
  }
  CHECK(check_balances(ledger, analytics).status == Status::pass);
}
