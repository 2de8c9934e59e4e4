// The HTTP server: what it answers, what it refuses, and that a bad client costs little.
#include "support/catch.hpp"

#include <arpa/inet.h>
#include <atomic>
#include <netinet/in.h>
#include <set>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "recon_engine/http.hpp"
#include "recon_engine/page.hpp"
#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;
using epochcut::Status;

namespace {

const std::string live = "transactions-balance-live";

struct Site {
  Board board{sample::now - Millis{3'600'000}, "0.1.0"};
  Metrics metrics{board};
  std::atomic<std::int64_t> now{sample::now.time_since_epoch().count()};
  HttpFace http{board, metrics, {.now = [this] { return Instant(Millis(now.load())); }}};

  httplib::Client client() const {
    httplib::Client c("127.0.0.1", http.port());
    c.set_read_timeout(30);
    return c;
  }
  int status(const std::string& path) const {
    const auto answer = client().Get(path);
    return answer ? answer->status : -1;
  }
  std::string body(const std::string& path) const {
    const auto answer = client().Get(path);
    REQUIRE(answer);
    return answer->body;
  }
};

/// A client without manners.
class Raw {
 public:
  explicit Raw(int port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(static_cast<std::uint16_t>(port)), address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~Raw() { ::close(socket_); }
  bool send(const std::string& text) { return ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()); }
  std::string read_all() {
    std::string all;
    char part[4096];
    for (ssize_t n; (n = ::recv(socket_, part, sizeof part, 0)) > 0;) all.append(part, static_cast<std::size_t>(n));
    return all;
  }

 private:
  int socket_;
};

}  // namespace

TEST_CASE("http: every address answers, with headers that leave a browser nothing to do") {
  Site site;
  sample::fill(site.board);
  for (const char* path : {"/", "/metrics", "/livez", "/readyz", "/internal/health", "/runs.json?check=transactions-balance-live"}) {
    INFO(path);
    const auto answer = site.client().Get(path);
    REQUIRE(answer);
    CHECK(answer->status == 200);
    CHECK(answer->get_header_value("Content-Security-Policy").starts_with("default-src 'none'; style-src 'unsafe-inline'"));
    CHECK(answer->get_header_value("X-Content-Type-Options") == "nosniff");
    CHECK(answer->get_header_value("Cache-Control") == "no-store");
    const auto head = site.client().Head(path);
    REQUIRE(head);
    CHECK(head->status == 200);
    CHECK(head->body.empty());
  }
  CHECK(site.body("/") == render_page(site.board.snapshot(), sample::now));
  CHECK(site.body("/metrics").find("epochcut_check_runs_total") != std::string::npos);
  CHECK(site.client().Get("/metrics")->get_header_value("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(site.status("/nothing") == 404);
  CHECK(site.status("/..%2f..%2fetc%2fpasswd") == 404);
}

TEST_CASE("http: it only shows") {
  const Site site;
  httplib::Client client = site.client();
  for (const auto& answer : {client.Post("/", "x", "text/plain"), client.Put("/internal/health", "x", "text/plain"), client.Delete("/"), client.Options("/")}) {
    REQUIRE(answer);
    CHECK(answer->status == 405);
    CHECK(answer->get_header_value("Allow") == "GET, HEAD");
  }
  // A name of somebody else's that leads here: DNS rebinding.
  const auto rebound = client.Get("/", {{"Host", "evil.example"}});
  REQUIRE(rebound);
  CHECK(rebound->status == 421);
  CHECK(client.Get("/", {{"Host", "localhost:1"}})->status == 200);
}

TEST_CASE("http: alive while the loop goes round") {
  Site site;
  site.board.configure(sample::summaries());
  CHECK(site.status("/livez") == 200);
  site.board.heartbeat(sample::now);
  site.now += heartbeat_stale.count();
  CHECK(site.status("/livez") == 200);
  site.now += 1;
  CHECK(site.status("/livez") == 503);
  site.board.heartbeat(Instant(Millis(site.now)));
  CHECK(site.status("/livez") == 200);
  // A check that does not begin, and one that does not end, although something still beats.
  site.board.waiting(live, Instant(Millis(site.now)), 0, 0);
  const auto later = [&](std::int64_t ms) { site.now += ms, site.board.heartbeat(Instant(Millis(site.now))); };
  later(119'000);
  CHECK(site.status("/livez") == 200);
  later(2'000);
  CHECK(site.body("/livez").find(live + " should have fired") == 0);
  site.board.began(live, Instant(Millis(site.now)));
  CHECK(site.status("/livez") == 200);
  later(2 * 120'000 + 61'000);
  CHECK(site.body("/livez").find(live + " has been running") == 0);
}

TEST_CASE("http: ready when configured, not draining, and both stores have answered") {
  Site site;
  CHECK(site.body("/readyz") == "it has no configuration\n");
  CHECK(site.status("/readyz") == 503);
  site.board.configure(sample::summaries());
  CHECK(site.status("/readyz") == 503);
  site.board.reached("postgres");
  CHECK(site.body("/readyz") == "clickhouse has not answered yet\n");
  site.board.reached("clickhouse");
  CHECK(site.status("/readyz") == 200);
  site.board.draining();
  CHECK(site.status("/readyz") == 503);
  CHECK(site.status("/livez") == 200);  // ending is no reason to be killed
}

TEST_CASE("http: the health document has the fields that others rely on") {
  Site site;
  sample::fill(site.board);
  const auto health = nlohmann::json::parse(site.body("/internal/health"));
  const auto names = [](const nlohmann::json& object) {
    std::set<std::string> all;
    for (const auto& [name, value] : object.items()) all.insert(name);
    return all;
  };
  CHECK(names(health) == std::set<std::string>{"version", "started", "now", "loop_healthy", "loop_problem", "ready", "ready_problem", "draining", "lock_held",
                                               "config_problem", "spool_runs", "outbox_pages", "outbox_oldest", "outbox_problem", "pages", "checks"});
  REQUIRE(health["checks"].size() == 8);
  const auto& check = health["checks"][4];
  CHECK(names(check) == std::set<std::string>{"id", "enabled", "paging", "schedule", "zone", "next_fire", "running_since", "last_asserted", "last_passed",
                                              "unasserted_runs", "counts", "firing", "last_run"});
  CHECK(check["id"] == live);
  CHECK(check["last_run"]["status"] == "fail");
  CHECK(check["last_run"]["changed"] == 1);
  CHECK(check["counts"]["missed"] == 1);
  CHECK(check["firing"]["invariant"] == "2026-06-10T02:55:10.000Z");
  CHECK(check["firing"]["infrastructure"].is_null());
  CHECK(health["loop_healthy"] == true);
}

TEST_CASE("http: the last runs of one check") {
  Site site;
  site.board.configure(sample::summaries());
  Run hostile = sample::failed(live, sample::now);
  hostile.message = "\"</script>\xff\n";
  site.board.add(sample::run(live, sample::now - Millis{1'000}));
  site.board.add(hostile);
  const auto runs = nlohmann::json::parse(site.body("/runs.json?check=" + live));
  REQUIRE(runs.size() == 2);
  CHECK(runs[1]["status"] == "fail");
  CHECK(nlohmann::json::parse(site.body("/runs.json?check=pnl-is-zero-sum")).empty());
  for (const char* path : {"/runs.json", "/runs.json?check=", "/runs.json?check=%27%3B--", "/runs.json?check=%00"}) CHECK(site.status(path) == 404);
}

TEST_CASE("http: a client that sends without end or does not send at all is cut off") {
  Site site;
  sample::fill(site.board);
  // More than both ends' buffers hold.
  SECTION("headers without end") {
    Raw raw(site.http.port());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n");
    std::size_t sent = 0;
    while (sent < 64'000'000 && raw.send("X-Filler: 0123456789012345678901234567890123456789\r\n")) sent += 53;
    CHECK(sent < 64'000'000);
  }
  SECTION("more headers than a request may have") {
    Raw raw(site.http.port());
    std::string request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n";
    while (request.size() < request_bytes_max) request += "X-Filler: 0123456789012345678901234567890123456789\r\n";
    raw.send(request + "\r\n");
    CHECK_FALSE(raw.read_all().starts_with("HTTP/1.1 200"));
  }
  SECTION("one line without end") {
    Raw raw(site.http.port());
    std::size_t sent = 0;
    while (sent < 64'000'000 && raw.send(std::string(1'000, 'G'))) sent += 1'000;
    CHECK(sent < 64'000'000);
  }
  SECTION("silence, on every thread: the next client is answered all the same") {
    std::vector<std::unique_ptr<Raw>> silent;
    for (int k = 0; k < request_threads; ++k) {
      silent.push_back(std::make_unique<Raw>(site.http.port()));
      silent.back()->send("GET / HT");
    }
    CHECK(site.status("/livez") == 200);
  }
  SECTION("garbage") {
    for (const std::string& text :
         {std::string("\r\n\r\n"), std::string("GET\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"), std::string(200, '\0') + "\r\n\r\n",
          std::string("GET /") + std::string(8'000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n"}) {
      Raw raw(site.http.port());
      raw.send(text);
      const std::string answer = raw.read_all();
      CHECK((answer.empty() || answer.starts_with("HTTP/1.1 4")));
    }
  }
  CHECK(site.status("/livez") == 200);
}

TEST_CASE("http: many readers while the board changes") {
  Site site;
  sample::fill(site.board);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int k = 0; !stop; ++k) {
      const Run run = sample::run(live, sample::now + Millis{k});
      site.board.add(run), site.metrics.add(run);
    }
  });
  std::atomic<int> answered{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      for (const char* path : {"/", "/metrics", "/internal/health", "/", "/metrics"}) answered += site.client().Get(path)->status == 200;
    });
  for (std::thread& reader : readers) reader.join();
  stop = true;
  writer.join();
  CHECK(answered == 15);
}

TEST_CASE("http: an address that is taken is one clear failure") {
  const Site site;
  Board board(sample::now, "0.1.0");
  Metrics metrics(board);
  try {
    const HttpFace second(board, metrics, {.port = site.http.port(), .now = {}});
    FAIL("it listens twice");
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::configuration);
    CHECK(failure.message == "can't listen on 127.0.0.1:" + std::to_string(site.http.port()));
  }
}
