// What do the live tests of the program stand on?
// A PostgreSQL database and a ClickHouse database of a test's own, with the program's tables, as the roles that will use them see them; a pair of servers
// that one process may take away without harm to others; and a request to the program. One thread at a time.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"
#include "recon_engine/log.hpp"

namespace recon_live {

class Stores {
 public:
  explicit Stores(const std::string& test) : name_("t_" + test + "_" + std::to_string(getpid())) {
    drop();
    exchange::PostgresWriter(variable("EPOCHCUT_POSTGRES")).execute("CREATE DATABASE " + name_);
    exchange::ClickhouseWriter(variable("EPOCHCUT_CLICKHOUSE")).execute("CREATE DATABASE " + name_);
  }
  ~Stores() {
    try {
      drop();
    } catch (...) {  // a test that broke its server has failed already
    }
  }
  const std::string& name() const { return name_; }
  std::string postgres() const { return in("EPOCHCUT_POSTGRES"); }
  std::string reader() const { return in("EPOCHCUT_POSTGRES_RECON"); }
  std::string writer() const { return in("EPOCHCUT_POSTGRES_LOG"); }
  std::string clickhouse() const { return variable("EPOCHCUT_CLICKHOUSE"); }

  static std::string variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
    return value;
  }

 private:
  std::string in(const char* variable_name) const { return variable(variable_name) + " dbname=" + name_; }  // the last one counts
  void drop() {
    exchange::PostgresWriter owner(variable("EPOCHCUT_POSTGRES"));
    owner.execute("SET client_min_messages = warning");
    owner.execute("DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
    exchange::ClickhouseWriter(variable("EPOCHCUT_CLICKHOUSE")).execute("DROP DATABASE IF EXISTS " + name_);
  }

  const std::string name_;
};

/// Starts a pair and makes it this process's: every EPOCHCUT_… variable names it from then on. It lives in the folder of the run's other servers, whose
/// `stop` finds it there should this process die; else it is stopped with the object. Errors: std::runtime_error.
class OwnServers {
 public:
  OwnServers() : script_(Stores::variable("EPOCHCUT_SERVERS_SH")), folder_(Stores::variable("EPOCHCUT_SERVERS_DIR") + "/own-" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    setenv("EPOCHCUT_SERVERS_TIMEOUT_S", "180", 1);  // beside other tests
    try {
      command("start");
      const std::string settings = folder_ + "/settings";
      if (std::system(("set -a; . '" + folder_ + "/env'; env >'" + settings + "'").c_str()) != 0) throw std::runtime_error("the servers have no settings");
      std::ifstream lines(settings);
      for (std::string line; std::getline(lines, line);)
        if (line.starts_with("EPOCHCUT_")) setenv(line.substr(0, line.find('=')).c_str(), line.substr(line.find('=') + 1).c_str(), 1);
    } catch (...) {
      stop();
      throw;
    }
  }
  ~OwnServers() { stop(); }
  OwnServers(const OwnServers&) = delete;
  OwnServers& operator=(const OwnServers&) = delete;

  /// As servers.sh documents it.
  void command(const std::string& name) const {
    const std::string output = folder_ + "/servers.out";
    if (std::system(("sh '" + script_ + "' " + name + " '" + folder_ + "' >'" + output + "' 2>&1").c_str()) == 0) return;
    std::ifstream file(output);
    throw std::runtime_error("servers.sh " + name + ": " + std::string(std::istreambuf_iterator<char>(file), {}));
  }

 private:
  void stop() const {
    const bool stopped = std::system(("sh '" + script_ + "' stop '" + folder_ + "' >/dev/null 2>&1").c_str()) == 0;
    std::error_code ignored;
    if (stopped) std::filesystem::remove_all(folder_, ignored);
  }

  const std::string script_, folder_;
};

/// The answer to a GET, headers and body, of a server on this machine; empty if nobody answers. `url`: http://127.0.0.1:port
inline std::string get(const std::string& url, const std::string& path) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int peer = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string answer;
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  if (::connect(peer, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::send(peer, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char part[16'384];
    for (ssize_t n; (n = ::recv(peer, part, sizeof part, 0)) > 0;) answer.append(part, static_cast<std::size_t>(n));
  }
  ::close(peer);
  return answer;
}

}  // namespace recon_live
