// What does a network do to a check that it should not?
// A TCP proxy on 127.0.0.1 with a script: the n-th connection since `arm` is harmed once, at one byte of one direction. It runs on one thread of the
// process that it serves, with poll(2); so it can see in the caller's own socket whether the bytes before the harm have been read, and a reset can't
// overtake them. `arm` and `heal` may be called from any thread; a hook runs on the proxy's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace faults {

enum class Harm : std::uint8_t {
  none,
  fin,       ///< both ends are closed in order
  rst,       ///< the client is reset, once it has read what came before
  truncate,  ///< the rest of what the server says is swallowed, and the client closed when it falls silent
  stall,     ///< nothing passes any more, and nothing is closed
  delay,     ///< `hold` passes before the byte does
  trickle,   ///< `length` bytes pass one by one, each when the one before has been read
  twice,     ///< `length` bytes pass twice
  swap,      ///< two neighbours of `length` bytes change places
  flip,      ///< the byte is changed by `mask`
  hook,      ///< `hook` runs before the byte passes
};

enum class To : std::uint8_t { client, server };

/// One harm. Units: bytes since the connection began, in its direction.
struct Plan {
  Harm harm = Harm::none;
  To to = To::client;
  std::uint64_t at = 0;
  std::uint64_t length = 8;
  int connection = 0;    ///< counted since `arm`
  bool always = false;   ///< every connection since then
  bool parting = false;  ///< later connections are accepted and stall at once
  unsigned char mask = 1;
  std::chrono::milliseconds hold{20};
  std::function<void()> hook{};
  std::string everywhere{};  ///< with no harm: the first byte of these is flipped wherever a server says them
};

class Proxy {
 public:
  /// Which server gets a request, from its number on the connection and its text. Shape: an index into the upstreams.
  using Route = std::function<std::size_t(std::size_t request, const std::string& text)>;

  enum class Door : std::uint8_t { open, shut };  ///< shut: the port is held, and whoever knocks is refused

  explicit Proxy(std::vector<std::uint16_t> upstreams, Route route = {}, Door door = Door::open)
      : upstreams_(std::move(upstreams)), route_(std::move(route)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (listener_ < 0 || bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("the proxy gets no port");
    port_ = ntohs(address.sin_port);
    if (door == Door::open) open_door();
    thread_ = std::thread([this] { run(); });
  }
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;
  ~Proxy() {
    stop_ = true;
    thread_.join();
    for (Link& link : links_) close_link(link);
    close(listener_);
  }

  std::uint16_t port() const { return port_; }
  void open_door() {
    if (listen(listener_, 64) != 0) throw std::runtime_error("the proxy can't listen");
  }

  /// Connections made from now on are counted from 0, and the one that the plan names is harmed.
  void arm(Plan plan) {
    const std::lock_guard lock(mutex_);
    plan_ = std::move(plan);
    accepted_ = 0, struck_ = 0;
    // What came before is none of this plan's business.
    for (Link& link : links_) link.index = -1;
    records_.clear();
  }
  /// Connections made from now on are served well. One that was harmed stays so.
  void heal() { arm({}); }
  /// Ends every connection in order, as a balancer does with idle ones. Returns when it is done.
  void end_all(Harm harm = Harm::fin) {
    // On the proxy's own thread: what it polls is not closed before its poll has ended.
    ending_ = harm;
    while (ending_.load() != Harm::none) std::this_thread::sleep_for(Millis{1});
  }

  /// How often the plan was carried out since `arm`.
  int struck() const {
    const std::lock_guard lock(mutex_);
    return struck_;
  }
  int accepted() const {
    const std::lock_guard lock(mutex_);
    return accepted_;
  }
  /// All that has passed on a connection since `arm`.
  std::string seen(int connection, To to) const {
    const std::lock_guard lock(mutex_);
    if (connection >= static_cast<int>(records_.size())) return {};
    const auto& record = records_[static_cast<std::size_t>(connection)];
    return to == To::client ? record.second : record.first;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  using Millis = std::chrono::milliseconds;
  static constexpr std::size_t pending_max = 1u << 20;  ///< bytes that wait in the proxy, as in any network
  static constexpr Millis silence{15};                  ///< a server that says nothing for so long has said all

  struct Flow {
    int from = -1, to = -1;
    std::string pending;
    std::uint64_t passed = 0;
    bool ended = false;  ///< its source has
    bool shut = false;   ///< and its target was told
  };

  struct Link {
    int client = -1, peer = -1;  ///< peer: the client's own end, in this process
    std::vector<int> servers;
    int index = 0;
    Flow up, down;
    bool struck = false, stalled = false, swallowing = false, dead = false;
    std::uint64_t one_by_one = 0;
    Time wait_until{}, last_word{};
    std::size_t requests = 0, request_left = 0;
  };

  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  static std::uint16_t port_of(int fd, int (*name)(int, sockaddr*, socklen_t*)) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    return name(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.sin_family == AF_INET ? ntohs(address.sin_port) : 0;
  }
  static void reset_on_close(int fd) {
    const linger now{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  static void no_waiting(int fd) {
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }

  static void close_link(Link& link) {
    if (link.client >= 0) close(std::exchange(link.client, -1));
    for (int& server : link.servers)
      if (server >= 0) close(std::exchange(server, -1));
    link.dead = true;
  }

  int connect_to(std::size_t upstream) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(upstreams_.at(upstream));
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(fd);
      return -1;
    }
    no_waiting(fd);
    return fd;
  }

  void accept_one() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    no_waiting(fd);
    Link& link = links_.emplace_back();
    link.client = fd;
    link.index = accepted_++;
    records_.emplace_back();
    link.servers.assign(upstreams_.size(), -1);
    const std::uint16_t theirs = port_of(fd, getpeername);
    for (int other = 3; other < 1024 && link.peer < 0; ++other)
      if (other != fd && port_of(other, getsockname) == theirs && port_of(other, getpeername) == port_) link.peer = other;
    link.up.from = link.down.to = fd;
    link.stalled = plan_.parting && link.index > plan_.connection;
    if (!route_) turn_to(link, 0);
  }

  void turn_to(Link& link, std::size_t upstream) {
    int& server = link.servers.at(upstream);
    if (server < 0) server = connect_to(upstream);
    if (server < 0) return close_link(link);
    link.up.to = link.down.from = server;
  }

  /// Everything that was passed has been taken out of the client's socket.
  static bool read_by_client(const Link& link) {
    int unsent = 0, unread = 0;
    if (ioctl(link.client, SIOCOUTQNSD, &unsent) == 0 && unsent != 0) return false;
    return link.peer < 0 || ioctl(link.peer, FIONREAD, &unread) != 0 || unread == 0;
  }

  void take(Link& link, Flow& flow) {
    char buffer[65536];
    const ssize_t got = recv(flow.from, buffer, sizeof buffer, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (&flow == &link.down) link.last_word = std::chrono::steady_clock::now();
    if (got <= 0) {
      if (&flow == &link.up && (link.stalled || link.swallowing)) return close_link(link);
      flow.ended = true;
      if (got < 0) close_link(link);  // a reset is passed on as an end: what the tests reset, they reset themselves
      return;
    }
    if (link.stalled || (link.swallowing && &flow == &link.down)) return;
    flow.pending.append(buffer, static_cast<std::size_t>(got));
    if (plan_.everywhere.empty() || &flow == &link.up) return;
    for (std::size_t at = flow.pending.find(plan_.everywhere); at != std::string::npos; at = flow.pending.find(plan_.everywhere, at + 1)) {
      flow.pending[at] = static_cast<char>(static_cast<unsigned char>(flow.pending[at]) ^ plan_.mask);
      ++struck_;
    }
  }

  /// How many of the pending bytes may pass now, after the harm that is due has been done.
  std::size_t allowed(Link& link, Flow& flow) {
    const std::size_t all = flow.pending.size();
    const bool mine = plan_.harm != Harm::none && !link.struck && link.index >= 0 && (plan_.always || link.index == plan_.connection) &&
                      (&flow == &link.down) == (plan_.to == To::client);
    if (!mine || flow.passed > plan_.at) return all;
    if (flow.passed < plan_.at) return std::min<std::size_t>(all, plan_.at - flow.passed);
    const Time now = std::chrono::steady_clock::now();
    if (all == 0 && plan_.to == To::server) return 0;  // a request is harmed when it comes
    const auto strike = [&] { link.struck = true, ++struck_; };
    switch (plan_.harm) {
      case Harm::none: break;
      case Harm::rst:
        if (!read_by_client(link)) return link.wait_until = now + Millis{1}, 0;
        reset_on_close(link.client);
        [[fallthrough]];
      case Harm::fin:
        strike();
        close_link(link);
        return 0;
      case Harm::stall:
        strike();
        link.stalled = true;
        return 0;
      case Harm::truncate:
        strike();
        link.swallowing = true;
        link.last_word = now;
        flow.pending.clear();
        return 0;
      case Harm::delay:
        if (all == 0) return 0;
        strike();
        link.wait_until = now + plan_.hold;
        return 0;
      case Harm::trickle:
        if (all == 0) return 0;
        strike();
        link.one_by_one = plan_.length;
        return all;
      case Harm::flip:
        if (all == 0) return 0;
        strike();
        flow.pending[0] = static_cast<char>(static_cast<unsigned char>(flow.pending[0]) ^ plan_.mask);
        return all;
      case Harm::twice:
        if (all < plan_.length) return 0;
        strike();
        flow.pending.insert(0, flow.pending.substr(0, plan_.length));
        return all + plan_.length;
      case Harm::swap:
        if (all < 2 * plan_.length) return 0;
        strike();
        std::rotate(flow.pending.begin(), flow.pending.begin() + static_cast<std::ptrdiff_t>(plan_.length),
                    flow.pending.begin() + static_cast<std::ptrdiff_t>(2 * plan_.length));
        return all;
      case Harm::hook:
        if (all == 0) return 0;
        strike();
        if (plan_.hook) plan_.hook();
        return all;
    }
    return all;
  }

  /// One request at a time goes to the server that the route names.
  bool routed(Link& link) {
    if (!route_ || link.request_left > 0) return true;
    const std::string& text = link.up.pending;
    const std::size_t head = text.find("\r\n\r\n");
    if (head == std::string::npos) return false;
    const std::size_t length = text.find("Content-Length: ");
    const std::size_t size = head + 4 + (length < head ? std::stoul(text.substr(length + 16)) : 0);
    if (text.size() < size) return false;
    turn_to(link, route_(link.requests++, text.substr(0, size)));
    link.request_left = size;
    return !link.dead;
  }

  void pass(Link& link, Flow& flow) {
    while (!link.dead && !link.stalled && std::chrono::steady_clock::now() >= link.wait_until) {
      if (&flow == &link.up && !flow.pending.empty() && !routed(link)) return;
      std::size_t size = allowed(link, flow);
      if (link.dead || link.stalled) return;
      if (&flow == &link.up && route_) size = std::min(size, link.request_left);
      if (size == 0 || std::chrono::steady_clock::now() < link.wait_until) break;
      if (&flow == &link.down && link.one_by_one > 0) {
        if (!read_by_client(link)) {
          link.wait_until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
          return;
        }
        size = 1;
      }
      const ssize_t sent = send(flow.to, flow.pending.data(), size, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR) close_link(link);
        return;
      }
      const auto n = static_cast<std::size_t>(sent);
      if (&flow == &link.down && link.one_by_one > 0) link.one_by_one -= n;
      if (&flow == &link.up && route_) link.request_left -= n;
      if (link.index >= 0 && link.index < static_cast<int>(records_.size())) {
        auto& record = records_[static_cast<std::size_t>(link.index)];
        (&flow == &link.up ? record.first : record.second).append(flow.pending, 0, n);
      }
      flow.pending.erase(0, n);
      flow.passed += n;
    }
    if (flow.ended && flow.pending.empty() && !flow.shut && !link.stalled && !link.swallowing) {
      flow.shut = true;
      if (link.up.shut && link.down.shut) return close_link(link);
      shutdown(flow.to, SHUT_WR);
      // A server that has gone is gone for both directions; a client that has said all may still be waiting.
      if (&flow == &link.down) close_link(link);
    }
  }

  void run() {
    std::vector<pollfd> sockets;
    std::vector<std::pair<Link*, Flow*>> whose;
    while (!stop_) {
      int timeout_ms = 20;
      timespec timeout{};
      {
        const std::lock_guard lock(mutex_);
        sockets.assign(1, {listener_, POLLIN, 0});
        whose.assign(1, {nullptr, nullptr});
        const Time now = std::chrono::steady_clock::now();
        for (Link& link : links_) {
          if (link.wait_until > now || link.swallowing || link.one_by_one > 0) timeout_ms = std::min(timeout_ms, link.one_by_one > 0 ? 0 : 1);
          for (Flow* flow : {&link.up, &link.down}) {
            if (flow->from < 0) continue;
            short events = 0;
            if (!flow->ended && flow->pending.size() < pending_max) events |= POLLIN;
            if (events != 0) sockets.push_back({flow->from, events, 0}), whose.emplace_back(&link, flow);
            if (!flow->pending.empty() && flow->to >= 0 && link.wait_until <= now && !link.stalled && link.one_by_one == 0 && !waits(link, *flow))
              sockets.push_back({flow->to, POLLOUT, 0}), whose.emplace_back(nullptr, nullptr);
          }
        }
        timeout.tv_nsec = timeout_ms == 0 ? 50'000 : timeout_ms * 1'000'000;
      }
      ppoll(sockets.data(), sockets.size(), &timeout, nullptr);
      const std::lock_guard lock(mutex_);
      if (const Harm harm = ending_; harm != Harm::none) {
        for (Link& link : links_) {
          if (harm == Harm::rst) reset_on_close(link.client);
          close_link(link);
        }
        links_.clear();
        ending_ = Harm::none;
        continue;
      }
      if ((sockets[0].revents & POLLIN) != 0) accept_one();
      for (std::size_t i = 1; i < sockets.size(); ++i) {
        const auto [link, flow] = whose[i];
        if (link != nullptr && !link->dead && flow->from == sockets[i].fd && (sockets[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) take(*link, *flow);
      }
      for (Link& link : links_) {
        if (!link.dead) pass(link, link.down);
        if (!link.dead) pass(link, link.up);
        if (!link.dead && link.swallowing && std::chrono::steady_clock::now() - link.last_word > silence) close_link(link);
      }
      links_.remove_if([](const Link& link) { return link.dead; });
    }
  }

  /// Bytes that wait for more bytes are not waiting for the target.
  bool waits(const Link& link, const Flow& flow) const {
    if (&flow == &link.up && route_ && link.request_left == 0) return true;
    return !link.struck && link.index >= 0 && plan_.harm != Harm::none && flow.passed == plan_.at && (&flow == &link.down) == (plan_.to == To::client);
  }

  std::vector<std::uint16_t> upstreams_;
  Route route_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  Plan plan_;
  int accepted_ = 0, struck_ = 0;
  std::list<Link> links_;
  std::vector<std::pair<std::string, std::string>> records_;  ///< to the server, to the client
  std::atomic<bool> stop_{false};
  std::atomic<Harm> ending_{Harm::none};
  std::thread thread_;
};

}  // namespace faults
