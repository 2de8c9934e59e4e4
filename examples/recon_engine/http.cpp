#include "recon_engine/http.hpp"

#include <algorithm>
#include <chrono>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <httplib.h>

#include <epochcut/verdict/report.hpp>

#include "recon_engine/log.hpp"
#include "recon_engine/page.hpp"

namespace recon_engine {

using epochcut::Failure;
using epochcut::Reason;
using epochcut::to_text;
using epochcut::json::escaped;
using epochcut::json::member;

namespace {

std::string flag(bool value) { return value ? "true" : "false"; }
std::string number(std::uint64_t value) { return std::to_string(value); }
std::string time(std::optional<Instant> at) { return at ? escaped(to_text(*at)) : "null"; }

/// `{…}` of members, or `[…]` of anything.
std::string joined(char open, const std::vector<std::string>& parts, char close) {
  std::string text(1, open);
  for (const std::string& part : parts) text += (text.size() > 1 ? "," : "") + part;
  return text + close;
}

std::string last_run(const CheckState& check) {
  if (check.runs.empty()) return "null";
  const Run& r = check.runs.back();
  return joined('{',
                {member("run_id", escaped(r.run_id)), member("status", escaped(to_string(r.status))), member("reason", escaped(to_string(r.reason))),
                 member("message", escaped(r.message)), member("scheduled", time(r.scheduled)), member("finished", time(r.finished)),
                 member("epoch", r.epoch ? number(r.epoch->sequence) : "null"), member("generation", number(r.generation)),
                 member("changed", number(r.changed)), member("only_left", number(r.only_left)), member("only_right", number(r.only_right))},
                '}');
}

std::string health_of(const CheckState& c) {
  const auto ended = [&](epochcut::Status s) { return number(c.ended[static_cast<std::size_t>(s)]); };
  const auto since = [&](Signal s) { return c.firing.contains(s) ? time(c.firing.at(s)) : "null"; };
  return joined('{',
                {member("id", escaped(c.config.id)), member("enabled", flag(c.config.enabled)), member("paging", flag(c.config.paging)),
                 member("schedule", escaped(c.config.schedule)), member("zone", escaped(c.config.zone)), member("next_fire", time(c.next_fire)),
                 member("running_since", time(c.running_since)), member("last_asserted", time(c.last_asserted)), member("last_passed", time(c.last_passed)),
                 member("unasserted_runs", std::to_string(c.unasserted)),
                 member("counts", joined('{',
                                         {member("pass", ended(epochcut::Status::pass)), member("fail", ended(epochcut::Status::fail)),
                                          member("error", ended(epochcut::Status::error)), member("skipped", ended(epochcut::Status::skipped)),
                                          member("missed", number(c.missed)), member("coalesced", number(c.coalesced))},
                                         '}')),
                 member("firing", joined('{', {member("invariant", since(Signal::invariant)), member("infrastructure", since(Signal::infrastructure))}, '}')),
                 member("last_run", last_run(c))},
                '}');
}

/// One connection, with limits on all of it: however slowly a client sends or reads, and however many headers it has.
class BoundedStream final : public httplib::Stream {
 public:
  explicit BoundedStream(socket_t socket) : socket_(socket) {}

  bool is_readable() const override { return bytes_ < request_bytes_max && ready(POLLIN); }
  bool is_writable() const override { return ready(POLLOUT); }
  ssize_t read(char* data, std::size_t size) override {
    if (!is_readable()) return -1;
    const ssize_t got = ::recv(socket_, data, std::min(size, request_bytes_max - bytes_), 0);
    if (got > 0) bytes_ += static_cast<std::size_t>(got);
    return got;
  }
  ssize_t write(const char* data, std::size_t size) override {
    if (!is_writable()) return -1;
    return ::send(socket_, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool ready(short events) const {
    pollfd waited{socket_, events, 0};
    const auto left = std::chrono::ceil<Millis>(ends_ - Clock::now()).count();
    return left > 0 && ::poll(&waited, 1, static_cast<int>(left)) > 0;
  }

  socket_t socket_;
  Clock::time_point ends_ = Clock::now() + request_time_max;
  std::size_t bytes_ = 0;
};

/// httplib's server reads headers without end and times each read by itself; this one answers one request a connection, within limits.
class BoundedServer : public httplib::Server {
 private:
  bool process_and_close_socket(socket_t socket) override {
    BoundedStream stream(socket);
    bool closed = false;
    const bool answered = process_request(stream, true, closed, nullptr);
    // Closing while the client still sends would reset the connection under an answer that it has not read.
    ::shutdown(socket, SHUT_WR);
    char rest[1024];
    for (std::size_t read = 0; read < request_bytes_max && stream.read(rest, sizeof rest) > 0; read += sizeof rest) {
    }
    ::close(socket);
    return answered;
  }
};

bool is_loopback(std::string_view host) { return host.starts_with("127.") || host == "localhost" || host == "::1" || host == "[::1]"; }

/// Without the port.
std::string_view name_of(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  return colon == std::string_view::npos || host.ends_with(']') ? host : host.substr(0, colon);
}

constexpr const char* json_type = "application/json";

}  // namespace

std::string not_alive(const BoardState& state, Instant now) {
  const EngineState& engine = state.engine;
  if (engine.heartbeat && now - *engine.heartbeat > heartbeat_stale) return "the loop has not gone round since " + to_text(*engine.heartbeat);
  if (engine.draining) return "";
  for (const CheckState& check : state.checks) {
    const CheckSummary& config = check.config;
    if (!config.enabled) continue;
    // A run is cancelled at its budget, and may take a while to notice.
    if (check.running_since && now - *check.running_since > 2 * config.budget + heartbeat_stale)
      return config.id + " has been running since " + to_text(*check.running_since);
    if (!check.running_since && check.next_fire && now - *check.next_fire > config.late_max + heartbeat_stale)
      return config.id + " should have fired at " + to_text(*check.next_fire);
  }
  return "";
}

std::string not_ready(const BoardState& state, const std::vector<std::string>& stores) {
  if (state.engine.draining) return "it is ending";
  if (!state.engine.configured) return "it has no configuration";
  for (const std::string& store : stores)
    if (!state.engine.reached.contains(store)) return store + " has not answered yet";
  return "";
}

std::string health_json(const BoardState& state, Instant now, const std::vector<std::string>& stores) {
  const EngineState& e = state.engine;
  const std::string dead = not_alive(state, now), unready = not_ready(state, stores);
  std::vector<std::string> checks;
  for (const CheckState& check : state.checks) checks.push_back(health_of(check));
  return joined(
             '{',
             {member("version", escaped(e.version)), member("started", time(e.started)), member("now", time(now)), member("loop_healthy", flag(dead.empty())),
              member("loop_problem", escaped(dead)), member("ready", flag(unready.empty())), member("ready_problem", escaped(unready)),
              member("draining", flag(e.draining)), member("lock_held", flag(e.locked)), member("config_problem", escaped(e.config_problem)),
              member("spool_runs", number(e.spool_runs)), member("outbox_pages", number(e.outbox_pages)), member("outbox_oldest", time(e.outbox_oldest)),
              member("outbox_problem", escaped(e.outbox_problem)),
              member("pages", joined('{',
                                     {member("delivered", number(e.pages_delivered)), member("failed", number(e.pages_failed)),
                                      member("withheld", number(e.pages_withheld)), member("abandoned", number(e.pages_abandoned))},
                                     '}')),
              member("checks", joined('[', checks, ']'))},
             '}') +
         "\n";
}

std::string runs_json(const CheckState& check) {
  std::vector<std::string> runs;
  for (const Run& run : check.runs) runs.push_back(to_json(run));
  return joined('[', runs, ']') + "\n";
}

struct HttpFace::Server {
  const Board& board;
  Metrics& metrics;
  HttpOptions options;
  BoundedServer http;
  std::thread thread;
  int port = 0;

  Server(const Board& b, Metrics& m, HttpOptions o) : board(b), metrics(m), options(std::move(o)) {
    if (!options.now) options.now = [] { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); };
    http.new_task_queue = [] { return new httplib::ThreadPool(request_threads); };
    http.set_keep_alive_max_count(1);
    http.set_socket_options([](socket_t socket) {  // httplib's own would let a second program share the port, and answer half of the requests
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    http.set_default_headers(
        {{"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
         {"X-Content-Type-Options", "nosniff"},
         {"Referrer-Policy", "no-referrer"},
         {"Cache-Control", "no-store"}});
    http.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (request.method != "GET" && request.method != "HEAD") return refuse(response, 405, "only GET and HEAD are answered");
      // A name that someone else's server gave to this machine's address makes a browser here read the page for them.
      if (is_loopback(options.address) && !is_loopback(name_of(request.get_header_value("Host"))))
        return refuse(response, 421, "ask for 127.0.0.1 or localhost");
      return httplib::Server::HandlerResponse::Unhandled;
    });
    http.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
      response.status = 500;  // what went wrong is nobody's business who asks
    });
    const auto answer = [this](const char* type, auto make) {
      return [this, type, make](const httplib::Request&, httplib::Response& response) { response.set_content(make(board.snapshot(), options.now()), type); };
    };
    // What is true is `ok`; else the reason why not, with 503.
    const auto probe = [this](auto why_not) {
      return [this, why_not](const httplib::Request&, httplib::Response& response) {
        const std::string why = why_not(board.snapshot(), options.now());
        response.status = why.empty() ? 200 : 503;
        response.set_content((why.empty() ? "ok" : why) + "\n", "text/plain; charset=utf-8");
      };
    };
    http.Get("/", answer("text/html; charset=utf-8", [](const BoardState& state, Instant now) { return render_page(state, now); }));
    http.Get("/metrics", answer("text/plain; version=0.0.4; charset=utf-8", [this](const BoardState&, Instant) { return metrics.scrape(); }));
    http.Get("/internal/health", answer(json_type, [this](const BoardState& state, Instant now) { return health_json(state, now, options.stores); }));
    http.Get("/livez", probe([](const BoardState& state, Instant now) { return not_alive(state, now); }));
    http.Get("/readyz", probe([this](const BoardState& state, Instant) { return not_ready(state, options.stores); }));
    http.Get("/runs.json", [this](const httplib::Request& request, httplib::Response& response) {
      const std::string id = request.get_param_value("check");
      const BoardState state = board.snapshot();
      for (const CheckState& check : state.checks)
        if (check.config.id == id) return response.set_content(runs_json(check), json_type);
      response.status = 404;
      response.set_content("{\"problem\":\"there is no such check; /internal/health lists them\"}\n", json_type);
    });
    const bool bound = options.port == 0 ? (port = http.bind_to_any_port(options.address)) > 0 : http.bind_to_port(options.address, port = options.port);
    if (!bound) throw Failure(Reason::configuration, "can't listen on " + options.address + ":" + std::to_string(options.port));
    thread = std::thread([this] { http.listen_after_bind(); });
    while (!http.is_running()) std::this_thread::yield();  // stop() does nothing to one that does not listen yet
  }
  ~Server() {
    http.stop();
    thread.join();
  }

  static httplib::Server::HandlerResponse refuse(httplib::Response& response, int status, const char* why) {
    response.status = status;
    if (status == 405) response.set_header("Allow", "GET, HEAD");
    response.set_content(std::string(why) + "\n", "text/plain; charset=utf-8");
    return httplib::Server::HandlerResponse::Handled;
  }
};

HttpFace::HttpFace(const Board& board, Metrics& metrics, HttpOptions options) : server_(std::make_unique<Server>(board, metrics, std::move(options))) {}
HttpFace::~HttpFace() = default;
int HttpFace::port() const { return server_->port; }
std::string HttpFace::url() const {
  const std::string& host = server_->options.address;
  return "http://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(server_->port);
}

}  // namespace recon_engine
