// What do the security tests stand on?
// A pair of servers of their own, with TLS, since they exchange certificates and take rights away; a listener that writes down what it is told; and a
// network of one machine: every name leads to 127.0.0.1, and is remembered. One thread, but for the listener's.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/catch.hpp"

#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

namespace security {

using namespace epochcut;

/// Every host name that was looked up by this process: names.cpp stands before the C library.
class LookedUp {
 public:
  static LookedUp& instance() {
    static LookedUp names;
    return names;
  }
  void add(const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_.insert(name);
  }
  std::set<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(names_, {});
  }

 private:
  std::mutex mutex_;
  std::set<std::string> names_;
};

/// A name that is another machine to everyone who sees only its name.
inline const std::string far_host = "ledger.example.invalid";

struct Ran {
  int code = -1;
  std::string output;  ///< both streams
};

inline Ran shell(const std::string& command) {
  Ran ran;
  std::FILE* const pipe = popen(("{ " + command + "\n} 2>&1 </dev/null").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("no shell");
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.output.append(buffer, n);
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return ran;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Into the file that is there, which keeps its owner and its mode.
inline void overwrite(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) throw std::runtime_error("can't write " + path);
}

/// The pair: started at first use, in the folder of the run's other servers, whose `stop` finds it there should this process die.
class Servers {
 public:
  static Servers& instance() {
    static Servers servers;
    return servers;
  }

  std::string operator[](const std::string& name) const {
    const auto found = settings_.find("EPOCHCUT_" + name);
    if (found == settings_.end()) throw std::runtime_error("the servers have no setting " + name);
    return found->second;
  }
  std::string tls(const std::string& file) const { return (*this)["TLS_DIR"] + "/" + file; }
  const std::string& dir() const { return dir_; }
  std::string ca() const { return tls("ca.crt"); }
  std::string pg_port() const {
    const std::string dsn = (*this)["POSTGRES"];
    const std::size_t at = dsn.find("port=") + 5;
    return dsn.substr(at, dsn.find(' ', at) - at);
  }
  std::string port_of(const std::string& setting) const {
    const std::string url = (*this)[setting];
    return url.substr(url.rfind(':') + 1, url.size() - url.rfind(':') - 2);
  }

  void command(const std::string& name) const {
    // A server inherits nothing but what servers.sh gives it, so the pipe ends with the script.
    const Ran ran = shell("sh '" + script_ + "' " + name + " '" + dir_ + "' >/dev/null");
    if (ran.code != 0) throw std::runtime_error("servers.sh " + name + ": " + ran.output);
  }

  /// Both servers show this certificate from now on.
  void present(const std::string& certificate) const {
    overwrite(tls("server.crt"), contents(tls(certificate + ".crt")));
    overwrite(tls("server.key"), contents(tls(certificate + ".key")));
    command("restart-postgres");
    command("restart-clickhouse");
  }

  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

 private:
  Servers() {
    script_ = std::getenv("EPOCHCUT_SERVERS_SH");
    dir_ = std::string(std::getenv("EPOCHCUT_SERVERS_DIR")) + "/security-" + std::to_string(getpid());
    std::filesystem::create_directories(dir_);
    setenv("EPOCHCUT_TLS", "1", 1);
    command("start");
    std::istringstream lines(shell("set -a; . '" + dir_ + "/env'; env").output);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("EPOCHCUT_")) {
        settings_[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
        setenv(line.substr(0, line.find('=')).c_str(), line.substr(line.find('=') + 1).c_str(), 1);
      }
    std::filesystem::copy(tls("server.crt"), tls("good.crt"));
    std::filesystem::copy(tls("server.key"), tls("good.key"));
    const Ran made = shell("sh '" SECURITY_SOURCE_DIR "/certificates.sh' '" + tls("") + "'");
    if (made.code != 0) throw std::runtime_error("the certificates could not be made; see " + tls("openssl-bad.log"));
  }
  ~Servers() {
    shell("sh '" + script_ + "' stop '" + dir_ + "'");
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  std::string script_, dir_;
  std::map<std::string, std::string> settings_;
};

inline Servers& servers() { return Servers::instance(); }

/// Listens on 127.0.0.1 and answers each connection by `answer`, which gets what the peer has said so far and returns what to say, or nothing to
/// hang up. Everything heard is kept.
class Listener {
 public:
  using Answer = std::function<std::string(const std::string& heard)>;

  explicit Listener(Answer answer) : answer_(std::move(answer)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(socket_, 16) != 0 ||
        getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("can't listen");
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Listener() {
    stop_ = true;
    thread_.join();
    close(socket_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::string port() const { return std::to_string(port_); }
  std::string heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  int connections() const { return connections_; }

 private:
  static bool readable(int fd) {
    pollfd one{fd, POLLIN, 0};
    return poll(&one, 1, 20) > 0;
  }
  void serve() {
    while (!stop_) {
      if (!readable(socket_)) continue;
      const int peer = accept(socket_, nullptr, nullptr);
      if (peer < 0) continue;
      ++connections_;
      std::string said;
      char buffer[65536];
      while (!stop_) {
        if (!readable(peer)) continue;
        const ssize_t n = recv(peer, buffer, sizeof buffer, 0);
        if (n <= 0) break;
        said.append(buffer, static_cast<std::size_t>(n));
        {
          const std::lock_guard lock(mutex_);
          heard_.append(buffer, static_cast<std::size_t>(n));
        }
        const std::string answer = answer_(said);
        if (answer.empty()) continue;
        send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
        if (answer.starts_with("HTTP/")) break;
      }
      close(peer);
    }
  }

  Answer answer_;
  int socket_ = -1, port_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<int> connections_ = 0;
  mutable std::mutex mutex_;
  std::string heard_;
  std::thread thread_;
};

/// An environment variable for the length of a scope.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Environment() { unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
};

/// One sentence that says what is wrong: an error of this reason, with these words, and never a way to take it for a verdict.
inline void says(const Outcome& o, Reason reason, std::initializer_list<std::string> words) {
  INFO(to_text(o));
  CHECK(o.status == Status::error);
  CHECK(to_string(o.reason) == to_string(reason));
  CHECK(o.message.find('\n') == std::string::npos);
  for (const std::string& word : words) {
    INFO("it should say: " << word);
    CHECK(o.message.find(word) != std::string::npos);
  }
}

}  // namespace security
