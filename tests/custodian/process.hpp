// How is a program run, killed and run again?
// A child process whose output goes to a file, and a folder that goes away; for tests of what survives SIGKILL. One thread at a time.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace process {

using namespace std::chrono_literals;

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "epochcut-test.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("can't make a temporary folder");
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Child {
 public:
  /// Both streams go to `output`, which is emptied.
  Child(std::vector<std::string> command, std::string output) : output_(std::move(output)) {
    std::vector<char*> arguments;
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int file = ::open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) throw std::runtime_error("can't write " + output_);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(file, 1), ::dup2(file, 2);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(file);
    if (pid_ < 0) throw std::runtime_error("can't fork");
  }
  Child(Child&& other) noexcept : output_(std::move(other.output_)), pid_(std::exchange(other.pid_, -1)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ > 0) end(SIGKILL);
  }

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  /// Sends a signal, if any, and waits: the exit code, or minus the signal it died of.
  int end(int number = 0) {
    if (number != 0) signal(number);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool running() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }
  std::string output() const { return contents(output_); }
  /// Waits until the output has a line with this text, and returns that line; the first `after` bytes don't count. Errors: std::runtime_error, with the
  /// output, if it ends before that.
  std::string line_with(const std::string& text, std::chrono::seconds timeout = 60s, std::size_t after = 0) const {
    const auto until = std::chrono::steady_clock::now() + timeout;
    while (true) {
      const bool over = !running() || std::chrono::steady_clock::now() > until;
      const std::string all = output();
      for (std::size_t begin = after, end = 0; (end = all.find('\n', begin)) != std::string::npos; begin = end + 1)
        if (const std::string line = all.substr(begin, end - begin); line.find(text) != std::string::npos) return line;
      if (over) throw std::runtime_error("it never said \"" + text + "\", but: " + all);
      std::this_thread::sleep_for(5ms);
    }
  }

 private:
  std::string output_;
  pid_t pid_ = -1;
};

/// A custodian on a port that it keeps over its restarts.
class Custodian {
 public:
  Custodian(const Folder& folder, std::vector<std::string> options = {}) : state_(folder / "custodian.log"), output_(folder / "custodian.out") {
    start(std::move(options));
  }

  const std::string& url() const { return url_; }
  const std::string& state() const { return state_; }
  /// SIGKILL, wherever it stands.
  void kill() { child_->end(SIGKILL), child_.reset(); }
  int stop() {
    const int code = child_->end(SIGTERM);
    child_.reset();
    return code;
  }
  void start(std::vector<std::string> options = {}) {
    const std::string port = url_.empty() ? "0" : url_.substr(url_.rfind(':') + 1);
    std::vector<std::string> command{CUSTODIAN_PROGRAM, "--state", state_, "--port", port};
    command.insert(command.end(), options.begin(), options.end());
    // Somebody's outgoing connection may hold the port for a moment.
    for (int attempt = 0;; ++attempt) try {
        child_.emplace(command, output_);
        url_ = child_->line_with("http://");
        return;
      } catch (const std::runtime_error&) {
        if (attempt == 20) throw;
        child_.reset();
        std::this_thread::sleep_for(500ms);
      }
  }

 private:
  std::string state_, output_, url_;
  std::optional<Child> child_;
};

}  // namespace process
