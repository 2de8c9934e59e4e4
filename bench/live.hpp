// What do the benches that need servers have in common?
// The servers' raw answers, read into nothing by their own client libraries: the limit that the library is measured beside. Figures are medians.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <libpq-fe.h>

namespace live {

[[noreturn]] inline void fail(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

/// One argument of a bench: a number or a text that follows it, or a flag.
struct Argument {
  std::string_view name;
  std::variant<std::uint64_t*, std::string*, bool*> value;
};

/// Fills in what is given. On anything that is not in `arguments` the program ends with `usage`, as it does on --help.
inline void read_arguments(int argc, char** argv, const char* usage, std::initializer_list<Argument> arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view given = argv[i];
    bool known = false;
    for (const Argument& a : arguments) {
      if (a.name != given) continue;
      if (bool* const* flag = std::get_if<bool*>(&a.value)) {
        **flag = known = true;
      } else if (i + 1 < argc) {
        known = true;
        if (std::uint64_t* const* number = std::get_if<std::uint64_t*>(&a.value))
          **number = std::strtoull(argv[++i], nullptr, 10);
        else
          *std::get<std::string*>(a.value) = argv[++i];
      }
      break;
    }
    if (known) continue;
    const bool asked = given == "--help";
    std::fputs(usage, asked ? stdout : stderr);
    std::exit(asked ? 0 : 2);
  }
}

inline double wall_s() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Of this process, all threads, with what the kernel does for it.
inline double cpu_s() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/// Of the servers that examples/servers.sh runs: ClickHouse, and PostgreSQL with all of its processes. To 10 ms; 0 for servers that are others.
inline double servers_cpu_s() {
  static const char* const folder = std::getenv("EPOCHCUT_SERVERS_DIR");
  if (folder == nullptr) return 0;
  const auto number_in = [](const std::string& file) {
    long number = 0;
    std::ifstream(file) >> number;
    return number;
  };
  static const long clickhouse = number_in(std::string(folder) + "/clickhouse/pid");
  static const long postgres = number_in(std::string(folder) + "/postgres/data/postmaster.pid");
  double ticks = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const long process = std::strtol(entry.path().filename().c_str(), nullptr, 10);
    if (process == 0) continue;
    std::string stat;
    std::getline(std::ifstream(entry.path() / "stat"), stat);
    std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 2)));  // behind the name, which may hold anything
    std::string text;
    long parent = 0;
    fields >> text >> parent;
    if (process != clickhouse && process != postgres && parent != postgres) continue;
    for (int field = 5; field <= 17 && fields >> text; ++field)  // 14 and 15 are its own; 16 and 17 those of children that have ended
      if (field >= 14 && (field <= 15 || process == postgres)) ticks += std::strtod(text.c_str(), nullptr);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

inline double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

/// Seconds of `limit` and `ours`, in turns.
struct Pair {
  double limit = 0, ours = 0;
};
inline Pair alternate(int repetitions, const std::function<void()>& limit, const std::function<void()>& ours) {
  std::vector<double> a, b;
  const auto timed = [](const std::function<void()>& body) {
    const double before = wall_s();
    body();
    return wall_s() - before;
  };
  timed(limit), timed(ours);  // once for warm caches
  for (int i = 0; i < repetitions; ++i) a.push_back(timed(limit)), b.push_back(timed(ours));
  return {median(a), median(b)};
}

inline std::string environment(const char* name) {
  const char* set = std::getenv(name);
  if (set == nullptr) fail(std::string(name) + " is not set; start the servers with examples/servers.sh");
  return set;
}
inline const std::string& clickhouse_url() {
  static const std::string url = environment("EPOCHCUT_CLICKHOUSE");
  return url;
}
inline const std::string& postgres_dsn() {
  static const std::string dsn = environment("EPOCHCUT_POSTGRES");
  return dsn;
}

inline std::size_t throw_away(char*, std::size_t, std::size_t size, void* sum) {
  *static_cast<std::uint64_t*>(sum) += size;
  return size;
}
inline std::size_t keep(char* data, std::size_t, std::size_t size, void* text) {
  static_cast<std::string*>(text)->append(data, size);
  return size;
}

/// A POST by libcurl's easy interface, with the buffer that the curl program has.
inline void post(const std::string& sql, std::size_t (*sink)(char*, std::size_t, std::size_t, void*), void* to) {
  CURL* easy = curl_easy_init();
  const std::string url = clickhouse_url() + "?max_block_size=65536";
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, sql.c_str());
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 100L << 10);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, sink);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, to);
  const CURLcode code = curl_easy_perform(easy);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup(easy);
  if (code != CURLE_OK || status != 200) fail(std::string("ClickHouse: ") + curl_easy_strerror(code) + ", HTTP " + std::to_string(status) + " for " + sql);
}

/// Bytes of the answer in Native format.
inline std::uint64_t discard(const std::string& sql) {
  std::uint64_t bytes = 0;
  post(sql + " FORMAT Native", &throw_away, &bytes);
  return bytes;
}

inline std::string ask(const std::string& sql) {
  std::string text;
  post(sql, &keep, &text);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class Libpq {
 public:
  Libpq() : connection_(PQconnectdb(postgres_dsn().c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) fail(PQerrorMessage(connection_));
    PQsetNoticeProcessor(
        connection_, [](void*, const char*) {}, nullptr);
  }
  Libpq(const Libpq&) = delete;
  Libpq& operator=(const Libpq&) = delete;
  ~Libpq() { PQfinish(connection_); }

  /// The first cell of the answer.
  std::string execute(const std::string& sql) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail(PQerrorMessage(connection_));
    const std::string first = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    PQclear(result);
    return first;
  }

  /// COPY BINARY into nothing. Bytes.
  std::uint64_t copy(const std::string& select) {
    PGresult* result = PQexec(connection_, ("COPY (" + select + ") TO STDOUT (FORMAT binary)").c_str());
    if (PQresultStatus(result) != PGRES_COPY_OUT) fail(PQerrorMessage(connection_));
    PQclear(result);
    std::uint64_t bytes = 0;
    char* row = nullptr;
    for (int size = 0; (size = PQgetCopyData(connection_, &row, 0)) > 0; PQfreemem(row)) bytes += static_cast<std::uint64_t>(size);
    while ((result = PQgetResult(connection_)) != nullptr) PQclear(result);
    return bytes;
  }

 private:
  PGconn* connection_;
};

}  // namespace live
