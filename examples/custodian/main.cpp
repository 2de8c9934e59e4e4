// custodian: a stand-in for the service that keeps an exchange's money, over HTTP on loopback. Also receives webhooks, so that a demonstration can
// show who was paged.
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>

#include <sys/socket.h>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "custodian/vault.hpp"

namespace {

using nlohmann::json;

constexpr const char* usage_text = R"(usage: custodian --state FILE [OPTION VALUE]...

  --state FILE        what it holds, across restarts; made if it is not there
  --port N            on 127.0.0.1; 0: a free one  (0)
  --slow MS           every answer is that late  (0)
  --fail-next N       the next N requests are answered 503, every other one of them after it was carried out  (0)
  --webhook-log FILE  POST /webhook appends the body to it, as one line

It prints its address when it is ready, and ends at SIGTERM.

  GET  /holdings                  {"holdings":[{"currency":"CHF","amount":"12.00000000"}]}
  GET  /transfers                 {"open":["transfer-40000"],"counter":17}; counter: of all ever begun
  POST /transfers                 {"id":"transfer-40000","currency":"CHF","amount":"12.00000000"}: moves the money and opens it, once per id
  POST /transfers/ID/complete     closes it
  GET  /health                    {"status":"ok"}

examples:
  custodian --state /tmp/custodian.log --port 8090
  custodian --state /tmp/custodian.log --slow 200 --fail-next 3

exit codes: 0 told to stop, 1 it can't go on, 2 bad usage
)";

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string state, webhook_log;
  int port = 0, slow_ms = 0, fail_next = 0;
};

int number_of(const std::string& option, const std::string& text, int max) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value > max)
    throw Usage(option + " takes a number from 0 to " + std::to_string(max) + ", not \"" + text + "\"");
  return value;
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (option != "--state" && option != "--port" && option != "--slow" && option != "--fail-next" && option != "--webhook-log")
      throw Usage("there is no option " + option);
    if (i + 1 == argc) throw Usage(option + " takes a value");
    const std::string value = argv[i + 1];
    if (option == "--state") o.state = value;
    if (option == "--port") o.port = number_of(option, value, 65'535);
    if (option == "--slow") o.slow_ms = number_of(option, value, 600'000);
    if (option == "--fail-next") o.fail_next = number_of(option, value, 1'000'000);
    if (option == "--webhook-log") o.webhook_log = value;
  }
  if (o.state.empty()) throw Usage("--state is missing");
  return o;
}

void answer(httplib::Response& response, const json& body, int status = 200) {
  response.status = status;
  response.set_content(body.dump() + "\n", "application/json");
}

json transfer_of(const std::string& text) {
  json body = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object() || body.size() != 3) throw custodian::Refused(400, "a transfer is an object with id, currency and amount");
  for (const char* field : {"id", "currency", "amount"})
    if (!body.contains(field) || !body[field].is_string()) throw custodian::Refused(400, "a transfer is an object with the texts id, currency and amount");
  return body;
}

/// Appends webhooks to a file, one line each.
class WebhookLog {
 public:
  explicit WebhookLog(const std::string& path) : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (file_ < 0) throw std::runtime_error("can't write " + path);
  }
  ~WebhookLog() { ::close(file_); }
  WebhookLog(const WebhookLog&) = delete;
  WebhookLog& operator=(const WebhookLog&) = delete;

  bool add(std::string body) {
    for (char& c : body)
      if (c == '\n' || c == '\r') c = ' ';
    body += '\n';
    const std::scoped_lock lock(mutex_);
    return ::write(file_, body.data(), body.size()) == static_cast<ssize_t>(body.size());
  }

 private:
  std::mutex mutex_;
  int file_;
};

void serve(const Options& options) {
  custodian::Vault vault(options.state);
  std::optional<WebhookLog> webhooks;
  if (!options.webhook_log.empty()) webhooks.emplace(options.webhook_log);
  std::atomic<int> to_fail = options.fail_next;

  httplib::Server server;
  // httplib would also let a second server take the same port, and share its requests with it.
  server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  });
  server.set_payload_max_length(64 * 1024);
  server.set_read_timeout(10);
  server.set_write_timeout(10);
  server.set_keep_alive_timeout(60);
  server.set_keep_alive_max_count(1'000'000);
  server.new_task_queue = [] { return new httplib::ThreadPool(16); };  // one thread per kept-alive connection

  using Body = std::function<void(const httplib::Request&, httplib::Response&)>;
  const auto guarded = [&](Body body) {
    return [&, body = std::move(body)](const httplib::Request& request, httplib::Response& response) {
      if (options.slow_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(options.slow_ms));
      int left = to_fail;
      while (left > 0 && !to_fail.compare_exchange_weak(left, left - 1)) {
      }
      if (left <= 0 || left % 2 == 0) try {
          body(request, response);
        } catch (const custodian::Refused& refused) {
          answer(response, {{"error", refused.what()}}, refused.status);
        } catch (const std::exception& failure) {
          answer(response, {{"error", failure.what()}}, 500);
        }
      if (left > 0) answer(response, {{"error", "told to fail"}}, 503);
    };
  };
  server.Get("/health", [](const httplib::Request&, httplib::Response& response) { answer(response, {{"status", "ok"}}); });
  server.Get("/holdings", guarded([&](const httplib::Request&, httplib::Response& response) {
               json all = json::array();
               for (const custodian::Holding& held : vault.holdings()) all.push_back({{"currency", held.currency}, {"amount", held.amount}});
               answer(response, {{"holdings", std::move(all)}});
             }));
  server.Get("/transfers", guarded([&](const httplib::Request&, httplib::Response& response) {
               const custodian::InFlight flying = vault.in_flight();
               answer(response, {{"open", flying.open}, {"counter", flying.counter}});
             }));
  server.Post("/transfers", guarded([&](const httplib::Request& request, httplib::Response& response) {
                const json body = transfer_of(request.body);
                vault.begin(body["id"].get<std::string>(), body["currency"].get<std::string>(), body["amount"].get<std::string>());
                answer(response, {{"id", body["id"]}});
              }));
  server.Post(R"(/transfers/([A-Za-z0-9._-]+)/complete)", guarded([&](const httplib::Request& request, httplib::Response& response) {
                const std::string id = request.matches[1];
                vault.complete(id);
                answer(response, {{"id", id}});
              }));
  server.Post("/webhook", [&](const httplib::Request& request, httplib::Response& response) {
    if (!webhooks) return answer(response, {{"error", "started without --webhook-log"}}, 404);
    const bool kept = webhooks->add(request.body);
    answer(response, {{"kept", kept}}, kept ? 200 : 500);
  });

  int port = options.port;
  if (port == 0)
    port = server.bind_to_any_port("127.0.0.1");
  else if (!server.bind_to_port("127.0.0.1", port))
    port = -1;
  if (port < 0) throw std::runtime_error("port " + std::to_string(options.port) + " of 127.0.0.1 can't be had");
  // SIGTERM is blocked in every thread and taken by this one, which may then call anything.
  std::jthread waiter([&server] {
    sigset_t stop;
    sigemptyset(&stop), sigaddset(&stop, SIGTERM), sigaddset(&stop, SIGINT);
    int signal = 0;
    sigwait(&stop, &signal);
    server.stop();
  });
  std::printf("http://127.0.0.1:%d\n", port);
  std::fflush(stdout);
  const bool served = server.listen_after_bind();
  ::kill(::getpid(), SIGTERM);  // the waiter, if it still waits
  if (!served) throw std::runtime_error("it could not listen");
}

}  // namespace

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") return std::fputs(usage_text, stdout), 0;
  sigset_t stop;
  sigemptyset(&stop), sigaddset(&stop, SIGTERM), sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  serve(parse(argc, argv));
  return 0;
} catch (const Usage& usage) {
  std::fprintf(stderr, "custodian: %s; see --help\n", usage.what());
  return 2;
} catch (const std::exception& failure) {
  std::fprintf(stderr, "custodian: %s\n", failure.what());
  return 1;
}
