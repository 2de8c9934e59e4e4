#include "support/catch.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "recon_engine/promote.hpp"

using namespace recon_engine;
using epochcut::ConfigChange;
using epochcut::Failure;

namespace {

const std::string head = R"([stores]
postgres = "host=127.0.0.1 user=recon"
log = "host=127.0.0.1 user=recon_log"
clickhouse = "http://127.0.0.1:8123/"
custodian = "http://127.0.0.1:8500"
[program]
spool = "/tmp/spool"
)";
const std::string checks = R"(
# The money. Ask dana before touching this.
[checks."transactions-balance"]  # the old one
paging = true   # until the live one has earned it
schedule = "0 5,20 16 * * *"
zone = "US/Eastern"

  [ checks . 'transactions-balance-live' ]
	paging=false# soaking
  enabled = true

[checks.position-realized-pnls-balance-live]
paging = false
[checks."pnl-is-zero-sum-live"]
paging = false
[checks."omnibus-balances-square-live"]
paging = false)";

const std::vector<ConfigChange> promotion{{"transactions-balance-live", "paging", true}, {"transactions-balance", "paging", false}};

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/epochcut-promote-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const std::string& text) const {
    const std::string name = path + "/watch.toml";
    std::ofstream(name, std::ios::binary) << text;
    return name;
  }
  std::size_t files() const { return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {})); }
};

std::string refusal_of(const std::string& path, const std::vector<ConfigChange>& changes) {
  try {
    apply_changes(path, changes, false);
    return "";
  } catch (const Failure& f) {
    CHECK(f.kind == epochcut::Reason::configuration);
    return f.message;
  }
}

}  // namespace

TEST_CASE("A promotion changes two words, and every comment stays") {
  std::string expected = head + checks;
  const auto replace = [&](const std::string& from, const std::string& to) { expected.replace(expected.find(from), from.size(), to); };
  replace("paging = true   # until", "paging = false   # until");
  replace("paging=false# soaking", "paging=true# soaking");
  CHECK(edited(head + checks, promotion, "watch.toml") == expected);
}

TEST_CASE("What does not stand there yet is added, in its table or in one of its own") {
  CHECK(edited("[checks.\"a\"] # x\nbudget_ms = 5\n", {{"a", "enabled", false}}, "f") == "[checks.\"a\"] # x\nenabled = false\nbudget_ms = 5\n");
  CHECK(edited("[checks.a]", {{"a", "enabled", false}}, "f") == "[checks.a]\nenabled = false\n");
  CHECK(edited("[program]\nport = 1", {{"a", "paging", true}}, "f") == "[program]\nport = 1\n\n[checks.\"a\"]\npaging = true\n");
  CHECK(edited("[checks.a]\r\npaging = true\r\n", {{"a", "paging", false}, {"a", "enabled", true}}, "f") ==
        "[checks.a]\r\nenabled = true\r\npaging = false\r\n");
  CHECK(edited("[checks.a]\npaging = true\n[checks.b]\npaging = true\n", {{"b", "paging", false}}, "f") ==
        "[checks.a]\npaging = true\n[checks.b]\npaging = false\n");
}

TEST_CASE("What looks like a setting and is none is left alone, and what can't be changed line by line is refused") {
  const std::string decoy = "note = \"\"\"\n[checks.a]\npaging = true\n\"\"\"\n[checks.a]\npaging = true\n";
  CHECK_THROWS_AS(edited(decoy, {{"a", "paging", false}}, "f"), Failure);  // refused rather than wrong
  for (const char* unusual : {"checks.a.paging = true\n", "checks = { a = { paging = true } }\n", "[checks]\na = { paging = true }\n",
                              "[checks]\na.paging = true\n", "[checks.a]\n\"pag\\u0069ng\" = true\n"}) {
    INFO(unusual);
    CHECK_THROWS_AS(edited(unusual, {{"a", "paging", false}}, "f"), Failure);
  }
  CHECK(edited("[checks.a]\n# paging = true\npaging = true # paging = true\n", {{"a", "paging", false}}, "f") ==
        "[checks.a]\n# paging = true\npaging = false # paging = true\n");
  CHECK_THROWS_AS(edited("[checks.a\n", {{"a", "paging", false}}, "f"), Failure);
}

TEST_CASE("A revision is put in place in one step, the one before is kept, and going back is copying it back") {
  const Folder folder;
  const std::string path = folder.file(head + checks);
  chmod(path.c_str(), 0640);
  const Promotion dry = apply_changes(path, promotion, true);
  CHECK(text_of(path) == head + checks);
  CHECK(folder.files() == 1);
  CHECK(dry.lines.size() == 4);

  const Promotion done = apply_changes(path, promotion, false);
  CHECK(done.revision_before == dry.revision_before);
  CHECK(done.revision_after == dry.revision_after);
  CHECK(done.revision_after == load_config(path).revision);
  CHECK(load_config(path).checks.at("transactions-balance-live").paging);
  CHECK_FALSE(load_config(path).checks.at("transactions-balance").paging);
  CHECK(done.kept == path + "." + done.revision_before);
  CHECK(text_of(done.kept) == head + checks);
  CHECK(folder.files() == 2);
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0640);

  CHECK(apply_changes(path, promotion, false).lines.empty());  // twice is once
  std::filesystem::copy_file(done.kept, path, std::filesystem::copy_options::overwrite_existing);
  CHECK(load_config(path).revision == done.revision_before);
}

TEST_CASE("Half a promotion is refused, and the file stays as it was") {
  const Folder folder;
  const std::string path = folder.file(head + checks);
  CHECK(refusal_of(path, {promotion[0]}).find("is paged by transactions-balance and transactions-balance-live") != std::string::npos);
  CHECK(refusal_of(path, {promotion[1]}).find("no check that") != std::string::npos);
  CHECK(refusal_of(path, {{"transactions-balance", "enabled", false}}).find("no check that") != std::string::npos);
  CHECK(refusal_of(path, {{"no-such-check", "paging", true}}).find("no-such-check") != std::string::npos);
  CHECK(text_of(path) == head + checks);
  CHECK(folder.files() == 1);
  CHECK_FALSE(refusal_of(folder.path + "/none.toml", promotion).empty());
}

TEST_CASE("The command tells the plan with its dates and refuses what it does not know") {
  std::ostringstream out, err;
  CHECK(promote_command("none.toml", {"plan", "--check", "transactions-balance-live", "--from", "2026-06-15"}, out, err) == 0);
  CHECK(out.str().find("2026-07-13  production  promote") != std::string::npos);
  CHECK(out.str().find("[checks.\"transactions-balance\"] paging = false") != std::string::npos);
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{{},
                                                                                   {"plan"},
                                                                                   {"plan", "--check", "transactions-balance", "--from", "2026-06-15"},
                                                                                   {"apply", "--check", "transactions-balance-live", "--step", "leap"},
                                                                                   {"plan", "--nonsense"}})
    CHECK(promote_command("none.toml", bad, out, err) == 64);
}
