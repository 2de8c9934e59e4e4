#include "recon_engine/config.hpp"

#include <cstdio>
#include <fstream>
#include <map>
#include <unistd.h>

#include <epochcut/core/failure.hpp>

#include "support/catch.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;

namespace {

const std::string stores = R"([stores]
postgres = "host=/run/pg user=recon dbname=exchange"
log_env = "LOG"
clickhouse = "http://127.0.0.1:8123/"
clickhouse_password_env = "CH"
custodian = "http://127.0.0.1:8500"
[program]
spool = "/var/lib/x"
)";

Environment environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    if (name == "LOG") return "host=/run/pg user=recon_log password=hidden";
    if (name == "CH") return "s3cret";
    return std::nullopt;
  };
}

Config parsed(const std::string& text) { return parse_config(text, "watch.toml", environment()); }

std::string refused(const std::string& text) {
  try {
    parsed(text);
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::configuration);
    CHECK(failure.message.find('\n') == std::string::npos);
    CHECK(failure.message.find("s3cret") == std::string::npos);
    CHECK(failure.message.find("hidden") == std::string::npos);
    return failure.message;
  }
  return "it was accepted";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("what a file leaves out is as it is built in") {
  const Config c = parsed(stores);
  CHECK(c.log == "host=/run/pg user=recon_log password=hidden");
  CHECK(c.clickhouse_password == "s3cret");
  CHECK(c.host == "127.0.0.1");
  REQUIRE(c.checks.size() == 8);
  for (const CheckInfo& info : all_checks) {
    const CheckConfig& check = c.checks.at(std::string(info.id));
    CHECK(check.enabled);
    CHECK(check.paging);
    CHECK(check.schedule == info.schedule);
    CHECK(check.zone == info.zone);
  }
  CHECK(c.checks.at("pnl-is-zero-sum-live").event() == "mark_cycle");
  CHECK_FALSE(clockwork(c.checks.at("pnl-is-zero-sum-live")));
}

TEST_CASE("the quiet window's schedule is US/Eastern's, through a change of clocks") {
  const Config c = parsed(stores);
  const auto next = clockwork(c.checks.at("transactions-balance"));
  using namespace std::chrono;
  // 2026-03-07 is in winter time (UTC-5), the 8th in summer time (UTC-4).
  CHECK(next(sys_days(year{2026} / 3 / 7)) == sys_days(year{2026} / 3 / 7) + 21h + 5min);
  CHECK(next(sys_days(year{2026} / 3 / 8)) == sys_days(year{2026} / 3 / 8) + 20h + 5min);
}

TEST_CASE("what a file says is taken") {
  const Config c = parsed(stores + R"([checks."transactions-balance-live"]
enabled = false
paging = false
schedule = "*/7 * * * * *"
zone = "Europe/Zurich"
jitter_ms = 1
late_max_ms = 2
budget_ms = 40000
horizon_budget_ms = 3000
max_visibility_lag_ms = 4
retries = 5
confirm = 6
clear = 7
apart_ms = 8
assert_within_ms = 9
stuck_errors = 10
stuck_after_ms = 11
)");
  const CheckConfig& k = c.checks.at("transactions-balance-live");
  CHECK_FALSE(k.enabled);
  CHECK_FALSE(k.paging);
  CHECK(k.schedule == "*/7 * * * * *");
  CHECK(k.zone == "Europe/Zurich");
  CHECK(k.jitter == Millis(1));
  CHECK(k.late_max == Millis(2));
  CHECK(k.budget == Millis(40'000));
  CHECK(k.horizon.budget == Millis(3'000));
  CHECK(k.horizon.max_visibility_lag == Millis(4));
  CHECK(k.retries == 5);
  CHECK(k.confirm == 6);
  CHECK(k.clear == 7);
  CHECK(k.apart == Millis(8));
  CHECK(k.assert_within == Millis(9));
  CHECK(k.stuck_errors == 10);
  CHECK(k.stuck_after == Millis(11));
}

TEST_CASE("the revision is the file's text") {
  CHECK(parsed(stores).revision == parsed(stores).revision);
  CHECK(parsed(stores).revision != parsed(stores + "# a comment\n").revision);
}

TEST_CASE("a bad file is one sentence with line and column") {
  struct Case {
    std::string text, sentence;
  };
  const std::string live = stores + "[checks.\"transactions-balance-live\"]\n";  // its settings begin at line 10
  const Case cases[] = {
      {"stores = {", "watch.toml:1:"},
      {stores + "[stores]\n", "watch.toml:9:"},
      {"[program]\nspool = \"x\"\n", "no table [stores]"},
      {stores + "[chekcs]\n", "watch.toml:9:2: there is no setting \"chekcs\""},
      {live + "pagin = false\n", "watch.toml:10:1: there is no setting \"pagin\" in [checks.\"transactions-balance-live\"]"},
      {live + "paging = \"no\"\n", "watch.toml:10:10: paging must be true or false"},
      {live + "paging = 0\n", "watch.toml:10:10: paging must be true or false"},
      {live + "confirm = 2.5\n", "watch.toml:10:11: confirm must be a whole number"},
      {live + "confirm = 0\n", "watch.toml:10:11: confirm is 0"},
      {live + "jitter_ms = -1\n", "watch.toml:10:13: jitter_ms is -1"},
      {live + "schedule = 5\n", "watch.toml:10:12: schedule must be a text"},
      {live + "schedule = \"\"\n", "watch.toml:10:12: schedule is empty"},
      {live + "schedule = \"0 */5 * * *\"\n", "watch.toml:10:12: "},
      {live + "schedule = \"0 61 * * * *\"\n", "watch.toml:10:12: "},
      {live + "schedule = \"event:marks\"\n", "watch.toml:10:12: there is no event \"marks\""},
      {live + "zone = \"US/Estern\"\n", "watch.toml:10:8: the zone \"US/Estern\" is not known"},
      {live + "budget_ms = 1000\nhorizon_budget_ms = 2000\n", "watch.toml:11:21: horizon_budget_ms is more than budget_ms"},
      {live + "budget_ms = 1000\n", "horizon_budget_ms is more than budget_ms"},
      {stores + "[checks.\"transactions-balance-life\"]\n", "watch.toml:9:9: there is no check \"transactions-balance-life\""},
      {stores + "[checks]\ntransactions-balance = 1\n", "watch.toml:10:24: transactions-balance must be a table"},
      {stores + "[checks.\"pnl-is-zero-sum\"]\npaging = false\n[checks.\"pnl-is-zero-sum-live\"]\npaging = false\n",
       "the invariant pnl-is-zero-sum has no check that is enabled and pages"},
      {stores + "[checks.\"pnl-is-zero-sum\"]\nenabled = false\n[checks.\"pnl-is-zero-sum-live\"]\npaging = false\n",
       "the invariant pnl-is-zero-sum has no check that is enabled and pages"},
      {"[stores]\npostgres = \"host=h password=hidden\"\n", "watch.toml:2:12: postgres has a password in it"},
      {"[stores]\nclickhouse = \"http://u:hidden@h/\"\npostgres = \"x\"\n", "watch.toml:2:14: clickhouse has a password in it"},
      {"[stores]\nclickhouse_password = \"hidden\"\n", "watch.toml:2:23: a secret does not stand in this file"},
      {"[stores]\npostgres_env = \"NOT_THERE\"\n", "watch.toml:2:16: the environment variable NOT_THERE is not set"},
      {"[stores]\npostgres_file = \"/not/there\"\n", "watch.toml:2:17: the file /not/there can't be read"},
      {stores + "[incident]\nurl = \"https://h/\"\nca_file = \"/not/there\"\n",
       "watch.toml:11:11: the file /not/there can't be read, or holds no certificate in PEM form"},
      {stores + "[incident]\nurl = \"https://h/\"\nca_file = \"/dev/null\"\n", "watch.toml:11:11: the file /dev/null can't be read"},
      {"[stores]\npostgres = \"x\"\npostgres_env = \"LOG\"\n", "watch.toml:3:16: only one of postgres, postgres_env and postgres_file"},
      {"[stores]\npostgres = \"x\"\nlog_env = \"LOG\"\nclickhouse = \"http://h/\"\n[program]\nspool = \"s\"\n", "does not say custodian"},
      {"[stores]\npostgres = \"x\"\nlog_env = \"LOG\"\n[program]\nspool = \"s\"\n", "does not say clickhouse"},
      {"[stores]\npostgres = \"x\"\nlog_env = \"LOG\"\nclickhouse = \"http://h/\"\ncustodian = \"http://h\"\n", "does not say spool"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const std::string sentence = refused(c.text);
    INFO(sentence);
    CHECK(has(sentence, c.sentence));
    CHECK(has(sentence, "watch.toml"));
  }
}

TEST_CASE("an invariant may be watched by either twin alone") {
  CHECK(refused(stores + "[checks.\"pnl-is-zero-sum\"]\npaging = false\n") == "it was accepted");
  CHECK(refused(stores + "[checks.\"pnl-is-zero-sum-live\"]\npaging = false\n") == "it was accepted");
}

TEST_CASE("the omnibus checks are not switched off for want of a custodian") {
  const std::string off = "[checks.\"omnibus-balances-square\"]\nenabled = false\n[checks.\"omnibus-balances-square-live\"]\nenabled = false\n";
  const std::string without = "[stores]\npostgres = \"x\"\nlog_env = \"LOG\"\nclickhouse = \"http://h/\"\n[program]\nspool = \"s\"\n";
  CHECK(has(refused(without + off), "the invariant omnibus-balances-square has no check"));
}

TEST_CASE("a file is read whole, and one that is no text of ours is refused") {
  const std::string path = "/tmp/recon_engine_config_" + std::to_string(getpid()) + ".toml";
  std::ofstream(path) << stores;
  CHECK(load_config(path, environment()).path == path);
  std::ofstream(path) << std::string(config_bytes_max + 1, '#');
  CHECK_THROWS_WITH(load_config(path, environment()), Catch::Matchers::Contains("larger than"));
  std::remove(path.c_str());
  CHECK_THROWS_WITH(load_config(path, environment()), Catch::Matchers::Contains("can't be read"));
}

TEST_CASE("the example in the repository is valid") {
  const Config c = load_config(RECON_ENGINE_EXAMPLE, [](const std::string&) { return std::optional<std::string>("x"); });
  for (const CheckInfo& info : all_checks) CHECK(c.checks.at(std::string(info.id)).paging == !info.live);
}
