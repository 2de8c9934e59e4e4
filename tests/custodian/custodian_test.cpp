// The stand-in custodian keeps what it has answered, once, whatever kills it.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "custodian/process.hpp"
#include "custodian/vault.hpp"
#include "exchange/custodian_client.hpp"
#include "support/catch.hpp"

using namespace process;
using custodian::Refused;
using custodian::Vault;
using epochcut::Failure;
using epochcut::Reason;

namespace {

int refusal_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Refused& refused) {
    return refused.status;
  }
  return 0;
}

std::string holdings_of(const Vault& vault) {
  std::string all;
  for (const custodian::Holding& held : vault.holdings()) all += held.currency + " " + held.amount + "; ";
  return all;
}

void overwrite(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary | std::ios::trunc) << text; }

}  // namespace

TEST_CASE("a vault keeps what it was told, once per id") {
  const Folder folder;
  {
    Vault vault(folder / "state");
    REQUIRE(holdings_of(vault).empty());
    vault.begin("transfer-1", "CHF", "12");
    vault.begin("transfer-1", "CHF", "12.00000000");
    vault.begin("transfer-2", "CHF", "-0.00000001");
    vault.begin("transfer-3", "EUR", "7.5");
    REQUIRE(vault.in_flight().open.size() == 3);
    vault.complete("transfer-1");
    vault.complete("transfer-1");
    vault.begin("transfer-1", "CHF", "12");  // it stays completed
    REQUIRE(vault.in_flight().open == std::vector<std::string>{"transfer-2", "transfer-3"});
    CHECK(refusal_of([&] { vault.begin("transfer-1", "CHF", "13"); }) == 409);
    CHECK(refusal_of([&] { vault.begin("transfer-1", "EUR", "12"); }) == 409);
    CHECK(refusal_of([&] { vault.complete("transfer-4"); }) == 404);
    for (const char* amount : {"", "12,5", "0.000000001", "NaN", "1e400", "123456789012345678901234567890123456789"})
      CHECK(refusal_of([&] { vault.begin("transfer-4", "CHF", amount); }) == 400);
    for (const std::string& id : {std::string(), std::string("a b"), std::string("a\nb"), std::string("a\"b"), std::string(65, 'a')})
      CHECK(refusal_of([&] { vault.begin(id, "CHF", "1"); }) == 400);
  }
  Vault again(folder / "state");
  CHECK(holdings_of(again) == "CHF 11.99999999; EUR 7.50000000; ");
  CHECK(again.in_flight().open == std::vector<std::string>{"transfer-2", "transfer-3"});
  CHECK(again.in_flight().counter == 3);
}

TEST_CASE("money that does not fit is refused, and was not taken") {
  const Folder folder;
  const std::string most = "999999999999999999999999999999.99999999";  // 38 digits
  {
    Vault vault(folder / "state");
    vault.begin("transfer-1", "CHF", most);
    CHECK(refusal_of([&] { vault.begin("transfer-2", "CHF", "0.00000001"); }) == 400);
  }
  CHECK(holdings_of(Vault(folder / "state")) == "CHF " + most + "; ");
}

TEST_CASE("a torn last line is as if it had not been asked; any other is refused") {
  const Folder folder;
  const std::string path = folder / "state";
  {
    Vault vault(path);
    vault.begin("transfer-1", "CHF", "12");
    vault.begin("transfer-2", "EUR", "3");
    vault.complete("transfer-1");
  }
  const std::string whole = contents(path);
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    overwrite(path, whole.substr(0, length));
    const auto lines = static_cast<std::size_t>(std::count(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length), '\n'));
    {
      Vault vault(path);
      REQUIRE(vault.in_flight().counter == std::min<std::size_t>(lines, 2));
      REQUIRE(vault.in_flight().open.size() == (lines == 3 ? 1 : lines));
      // What is asked again after that stands in a line of its own.
      vault.begin("transfer-1", "CHF", "12"), vault.begin("transfer-2", "EUR", "3"), vault.complete("transfer-1");
    }
    REQUIRE(contents(path) == whole);
  }
  for (const std::string line : {"nonsense\n", "complete transfer-9\n", "begin transfer-1 CHF 12\n", "begin transfer-7 CHF\n"}) {
    overwrite(path, whole + line + "begin transfer-8 CHF 1\n");
    std::string why;
    try {
      const Vault vault(path);
    } catch (const std::runtime_error& error) {
      why = error.what();
    }
    REQUIRE(why.find("no custodian wrote") != std::string::npos);
  }
}

TEST_CASE("two custodians can't share a state, nor a port") {
  const Folder folder, other;
  const Custodian first(folder);
  Child second({CUSTODIAN_PROGRAM, "--state", first.state()}, folder / "second.out");
  CHECK(second.end() == 1);
  CHECK(second.output().find("another custodian") != std::string::npos);
  const std::string port = first.url().substr(first.url().rfind(':') + 1);
  Child third({CUSTODIAN_PROGRAM, "--state", other / "state", "--port", port}, folder / "third.out");
  CHECK(third.end() == 1);
  CHECK(third.output().find(port) != std::string::npos);
}

TEST_CASE("over HTTP: the documents, and what is refused") {
  const Folder folder;
  Custodian custodian(folder, {"--webhook-log", folder / "webhooks"});
  httplib::Client http(custodian.url());
  const auto body_of = [](const httplib::Result& result) { return nlohmann::json::parse(result->body); };
  const auto post = [&](const std::string& path, const std::string& body) { return http.Post(path, body, "application/json")->status; };
  REQUIRE(body_of(http.Get("/holdings")) == nlohmann::json::parse(R"({"holdings":[]})"));
  REQUIRE(body_of(http.Get("/transfers")) == nlohmann::json::parse(R"({"open":[],"counter":0})"));
  REQUIRE(post("/transfers", R"({"id":"transfer-40","currency":"CHF","amount":"12"})") == 200);
  REQUIRE(body_of(http.Get("/holdings")) == nlohmann::json::parse(R"({"holdings":[{"currency":"CHF","amount":"12.00000000"}]})"));
  REQUIRE(body_of(http.Get("/transfers")) == nlohmann::json::parse(R"({"open":["transfer-40"],"counter":1})"));
  REQUIRE(post("/transfers/transfer-40/complete", "") == 200);
  REQUIRE(body_of(http.Get("/transfers")) == nlohmann::json::parse(R"({"open":[],"counter":1})"));
  CHECK(post("/transfers", R"({"id":"transfer-40","currency":"CHF","amount":"13"})") == 409);
  CHECK(post("/transfers/transfer-41/complete", "") == 404);
  for (const char* body : {"", "[]", "{", R"({"id":"a","currency":"CHF"})", R"({"id":"a","currency":"CHF","amount":12})",
                           R"({"id":1,"currency":"CHF","amount":"12"})", R"({"id":"a","currency":"CHF","amount":"12","more":"x"})"})
    CHECK(post("/transfers", body) == 400);
  CHECK(http.Get("/nothing")->status == 404);
  CHECK(body_of(http.Get("/transfers"))["counter"] == 1);
  CHECK(post("/webhook", "{\"status\":\n\"firing\"}") == 200);
  CHECK(contents(folder / "webhooks") == "{\"status\": \"firing\"}\n");
  http.stop();
  CHECK(custodian.stop() == 0);
}

TEST_CASE("a list of transfers is read exactly, or not at all") {
  using exchange::parse_transfers;
  CHECK(parse_transfers(R"({"open":[],"counter":17})").counter == 17);
  const exchange::Transfers two = parse_transfers(" { \"counter\" : 2 , \"open\" : [ \"a\" , \"transfer-40000\" ] }\n");
  CHECK(two.open == std::vector<std::string>{"a", "transfer-40000"});
  CHECK(two.counter == 2);
  for (const char* text :
       {"", "{}", "[]", R"({"open":[]})", R"({"counter":1})", R"({"open":["a],"counter":1})", R"({"open":["a" "b"],"counter":1})",
        R"({"open":[],"counter":-1})", R"({"open":[],"counter":1}x)", R"({"open":[],"counter":1,"counter":2})", R"({"open":["a\"b"],"counter":1})",
        R"({"open":[],"counter":1,)", R"({"open":[],"counter":99999999999999999999})", R"({"open":[)", R"({"open":["a")"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_transfers(text), Failure);
  }
}

TEST_CASE("a request that fails after it was carried out, and is asked again, is done once") {
  const Folder folder;
  const Custodian custodian(folder, {"--fail-next", "6"});
  exchange::CustodianClient client(custodian.url());
  int failures = 0;
  const auto until_done = [&](const std::function<void()>& action) {
    while (true) try {
        return action();
      } catch (const Failure& failure) {
        REQUIRE(failure.retryable);
        ++failures;
      }
  };
  for (int i = 1; i <= 4; ++i) until_done([&] { client.begin("transfer-" + std::to_string(i), "CHF", "1.00000000"); });
  until_done([&] { client.complete("transfer-1"); });
  CHECK(failures == 6);
  CHECK(client.transfers().counter == 4);
  CHECK(client.transfers().open.size() == 3);
  httplib::Client http(custodian.url());
  CHECK(nlohmann::json::parse(http.Get("/holdings")->body)["holdings"][0]["amount"] == "4.00000000");
  try {
    client.begin("transfer-1", "CHF", "2.00000000");
    FAIL("an id was used twice");
  } catch (const Failure& refused) {
    CHECK_FALSE(refused.retryable);
  }
}

TEST_CASE("killed at any moment it loses nothing that it answered, and does nothing twice") {
  const Folder folder;
  Custodian custodian(folder);
  constexpr int clients = 3;
  const int kills = std::string_view(std::getenv("EPOCHCUT_FULL") != nullptr ? std::getenv("EPOCHCUT_FULL") : "0") == "1" ? 300 : 25;
  std::atomic<int> unanswered = 0;
  std::atomic<bool> given_up = false;
  std::vector<std::string> wrong(clients);
  std::vector<int> begun(clients), completed(clients);
  std::vector<std::jthread> threads;
  for (int c = 0; c < clients; ++c)
    threads.emplace_back([&, c](std::stop_token stop) {
      const auto ask = [&](auto&& action) {
        while (true) try {
            return action();
          } catch (const Failure& failure) {
            if (!failure.retryable || given_up) throw;
            ++unanswered;
            std::this_thread::sleep_for(1ms);
          }
      };
      try {
        exchange::CustodianClient client(custodian.url());
        for (int i = 0; !stop.stop_requested(); ++i) {
          const std::string id = "client-" + std::to_string(c) + "-" + std::to_string(i);
          ask([&] { client.begin(id, "CHF", "1.00000001"); });
          ++begun[static_cast<std::size_t>(c)];
          if (i % 2 == 1) continue;
          ask([&] { client.complete(id); });
          ++completed[static_cast<std::size_t>(c)];
        }
      } catch (const std::exception& e) {
        wrong[static_cast<std::size_t>(c)] = e.what();
      }
    });
  std::mt19937 random(5);
  for (int i = 0; i < kills; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    custodian.kill();
    try {
      custodian.start();
    } catch (const std::runtime_error& error) {
      given_up = true;  // or its clients would ask for ever
      FAIL(error.what());
    }
  }
  for (std::jthread& thread : threads) thread.request_stop();
  for (std::jthread& thread : threads) thread.join();
  for (const std::string& why : wrong) REQUIRE(why.empty());
  int all = 0, open = 0;
  for (std::size_t c = 0; c < clients; ++c) all += begun[c], open += begun[c] - completed[c];
  REQUIRE(all > 2 * kills);
  CHECK(unanswered > 0);
  const exchange::Transfers told = exchange::CustodianClient(custodian.url()).transfers();
  CHECK(told.counter == static_cast<std::uint64_t>(all));
  CHECK(told.open.size() == static_cast<std::size_t>(open));
  httplib::Client http(custodian.url());
  const std::string held = nlohmann::json::parse(http.Get("/holdings")->body)["holdings"][0]["amount"];
  CHECK(epochcut::parse_decimal(held)->unscaled == epochcut::Int128{100'000'001} * all);
}

TEST_CASE("the custodian's command line says what is wrong with it") {
  const Folder folder;
  for (const auto& [arguments, words] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{}, "--state is missing"}, {{"--state"}, "takes a value"}, {{"--prot", "1"}, "--prot"}, {{"--state", "x", "--port", "70000"}, "65535"}}) {
    std::vector<std::string> command{CUSTODIAN_PROGRAM};
    command.insert(command.end(), arguments.begin(), arguments.end());
    Child child(command, folder / "out");
    CHECK(child.end() == 2);
    CHECK(child.output().find(words) != std::string::npos);
  }
  Child help({CUSTODIAN_PROGRAM, "--help"}, folder / "out");
  CHECK(help.end() == 0);
  CHECK(help.output().find("--fail-next") != std::string::npos);
}
