// How does the program show itself?
// A small HTTP server, GET and HEAD only, on loopback unless told otherwise; every answer is made from a copy of the board, so it can't hold up a check.
//   /                 the page                /metrics   Prometheus         /runs.json?check=ID   the last runs of one check, oldest first
//   /livez            200 while the loop goes round                         /readyz   200 when configured, not draining and both stores have answered once
//   /internal/health  JSON; its field names are an interface (docs/operations/README.md)
// It holds no secret and asks for none: put a proxy with authentication before it to show it to others.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "recon_engine/board.hpp"
#include "recon_engine/metrics.hpp"

namespace recon_engine {

inline constexpr Millis heartbeat_stale{60'000};         ///< a loop that goes round every second and is silent for this long hangs
inline constexpr std::size_t request_bytes_max = 8'192;  ///< no path of ours needs more
inline constexpr Millis request_time_max{5'000};         ///< for a client to send its request, and to take the answer
inline constexpr int request_threads = 4;                ///< a slow client holds one of them for at most request_time_max

struct HttpOptions {
  std::string address = "127.0.0.1";
  int port = 0;                                               ///< 0: any free one, port() says which
  std::function<Instant()> now;                               ///< the wall clock; empty: the system's
  std::vector<std::string> stores{"postgres", "clickhouse"};  ///< which must have answered once for /readyz
};

class HttpFace {
 public:
  /// Listens when this returns. Board and metrics must outlive it. Errors: Failure(configuration) if the address can't be listened on.
  HttpFace(const Board& board, Metrics& metrics, HttpOptions options);
  HttpFace(const HttpFace&) = delete;
  HttpFace& operator=(const HttpFace&) = delete;
  ~HttpFace();  ///< ends what is being answered, then returns

  int port() const;
  std::string url() const;  ///< http://127.0.0.1:8080

 private:
  struct Server;
  std::unique_ptr<Server> server_;
};

/// What is answered at the time `now`; also for tests and for `recon_engine check`.
std::string health_json(const BoardState& state, Instant now, const std::vector<std::string>& stores);
std::string runs_json(const CheckState& check);
/// Empty: ready. Else one sentence why not.
std::string not_ready(const BoardState& state, const std::vector<std::string>& stores);
/// Empty: alive.
std::string not_alive(const BoardState& state, Instant now);

}  // namespace recon_engine
