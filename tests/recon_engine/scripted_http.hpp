// What if the other side of a request breaks off, hangs, or says something else?
// Listens on 127.0.0.1 and answers each request by a script: bytes as they are, then hang up or say no more. One connection at a time, in a thread of its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace scripted {

struct Answer {
  std::string bytes;
  bool hangs = false;         ///< nothing more is said, and nobody hangs up
  int pause_ms_per_byte = 0;  ///< so slowly
};

inline Answer ok(const std::string& body) {
  return {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body};
}

class Http {
 public:
  using Script = std::function<Answer(const std::string& path)>;

  explicit Http(Script script) : script_(std::move(script)), socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 8) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("can't listen");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Http() {
    stop_ = true;
    thread_.join();
    ::close(socket_);
  }
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  static bool readable(int socket) {
    pollfd waited{socket, POLLIN, 0};
    return ::poll(&waited, 1, 20) > 0;
  }
  /// What was asked for; empty if the peer hangs up before it has said so.
  std::string path_of_request(int peer) const {
    std::string request;
    char part[4096];
    while (!stop_ && request.find("\r\n\r\n") == std::string::npos) {
      if (!readable(peer)) continue;
      const ssize_t got = ::recv(peer, part, sizeof part, 0);
      if (got <= 0) return "";
      request.append(part, static_cast<std::size_t>(got));
    }
    const std::size_t begin = request.find(' ') + 1;
    return request.substr(begin, request.find(' ', begin) - begin);
  }
  void say(int peer, const Answer& answer) const {
    const std::size_t step = answer.pause_ms_per_byte > 0 ? 1 : answer.bytes.size();
    for (std::size_t said = 0; said < answer.bytes.size() && !stop_;) {
      const ssize_t sent = ::send(peer, answer.bytes.data() + said, std::min(step, answer.bytes.size() - said), MSG_NOSIGNAL);
      if (sent <= 0) return;
      said += static_cast<std::size_t>(sent);
      if (answer.pause_ms_per_byte > 0) std::this_thread::sleep_for(std::chrono::milliseconds(answer.pause_ms_per_byte));
    }
    char rest;
    while (answer.hangs && !stop_)
      if (readable(peer) && ::recv(peer, &rest, 1, 0) <= 0) return;
  }
  void serve() const {
    while (!stop_) {
      if (!readable(socket_)) continue;
      const int peer = ::accept(socket_, nullptr, nullptr);
      if (peer < 0) continue;
      if (const std::string path = path_of_request(peer); !path.empty()) say(peer, script_(path));
      ::shutdown(peer, SHUT_WR);
      ::close(peer);
    }
  }

  const Script script_;
  const int socket_;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace scripted
