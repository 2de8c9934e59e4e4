// How long does ClickHouse 26, in this very process, take for what bench/ measures? The CPU time of the process, median of several runs.
// clickhouse_peer ROWS REPETITIONS: prints one JSON object per line: peer, task, rows, seconds, note. With EPOCHCUT_POSTGRES set and a table
// bench_peers.l there (bench/peers/servers.sh makes it), also its postgresql() function joined to a table of its own, in wall time: in turns with
// EPOCHCUT_BENCH_OURS, a command that does the same with epochcut and prints its seconds, so that both have the same machine. Then also ours_seconds.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <time.h>

#include <epochcut/source/chdb.hpp>

namespace {

[[noreturn]] void fail(const std::string& why) {
  std::fprintf(stderr, "clickhouse_peer: %s\n", why.c_str());
  std::exit(1);
}

double cpu_s() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + 1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}
double wall_s() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

/// What `command` prints, a number.
double seconds_of(const char* command) {
  std::FILE* said = popen(command, "r");
  double seconds = 0;
  if (said == nullptr || std::fscanf(said, "%lf", &seconds) != 1) fail(std::string("no seconds from ") + command);
  if (pclose(said) != 0) fail(std::string(command) + " failed");
  return seconds;
}

class Peer {
 public:
  Peer(int repetitions) : repetitions_(repetitions), connection_(":memory:", {}), version_(ask("SELECT version()")) {}

  std::string ask(const std::string& sql) {
    const epochcut::chdb::Result result(chdb_query_n(connection_.get(), sql.data(), sql.size(), "TabSeparated", 12));
    if (!result.error().empty()) fail(std::string(result.error()) + "\n" + sql);
    std::string text(result.bytes());
    if (!text.empty()) text.pop_back();
    return text;
  }

  void time(const char* task, std::uint64_t rows, const std::string& sql, const char* expected, const char* note, double (*now)() = cpu_s,
            const char* in_turns = nullptr) {
    std::vector<double> seconds, ours;
    for (int i = 0; i <= repetitions_; ++i) {
      if (in_turns != nullptr) ours.push_back(seconds_of(in_turns));
      const double before = now();
      const std::string got = ask(sql);
      if (i > 0) seconds.push_back(now() - before);  // the first is for warm caches
      if (expected != nullptr && got != expected) fail(std::string(task) + " answered " + got + ", not " + expected);
    }
    std::printf("{\"peer\": \"ClickHouse %s in process\", \"task\": \"%s\", \"rows\": %llu, \"seconds\": %.6f, ", version_.c_str(), task,
                static_cast<unsigned long long>(rows), median(seconds));
    if (!ours.empty()) std::printf("\"ours_seconds\": %.6f, ", median(ours));
    std::printf("\"note\": \"%s\"}\n", note);
    std::fflush(stdout);
  }

 private:
  int repetitions_;
  epochcut::chdb::Connection connection_;
  std::string version_;
};

/// The value of `key` in a connection string.
std::string part(const std::string& dsn, const std::string& key) {
  const std::size_t at = dsn.find(key + "=");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + key.size() + 1;
  return dsn.substr(begin, dsn.find(' ', begin) - begin);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fputs("usage: clickhouse_peer ROWS REPETITIONS\n", stderr), 2;
  const std::uint64_t rows = std::strtoull(argv[1], nullptr, 10), side = rows / 2;
  const std::string n = std::to_string(rows), keys = std::to_string(rows / 50 + 1);
  Peer peer(std::atoi(argv[2]));
  const std::string one = " SETTINGS max_threads = 1";
  peer.ask("CREATE TABLE e ENGINE = Memory AS SELECT toUInt64(number) AS seq, number * 1000 AS ts, toInt64(intHash64(number) % " + keys +
           ") AS key, toInt64(bitShiftRight(intHash64(number + 2), 24)) AS a, toInt64(bitShiftRight(intHash64(number + 3), 24)) AS b, "
           "toInt64(bitShiftRight(intHash64(number + 4), 24)) AS c FROM numbers(" +
           n + ")");
  peer.time("latest", rows, "SELECT max(v.1 + v.2 + v.3) FROM (SELECT key, argMax(tuple(a, b, c), (ts, seq)) AS v FROM e GROUP BY key)" + one, nullptr,
            "argMax(tuple of three, (ts, seq)) GROUP BY key; one thread, CPU time");
  peer.time("latest by one column", rows, "SELECT max(v.1 + v.2 + v.3) FROM (SELECT key, argMax(tuple(a, b, c), seq) AS v FROM e GROUP BY key)" + one, nullptr,
            "argMax(tuple of three, seq) GROUP BY key; one thread, CPU time");
  peer.time("latest of one value", rows, "SELECT max(v) FROM (SELECT key, argMax(a, seq) AS v FROM e GROUP BY key)" + one, nullptr,
            "argMax(one column, seq) GROUP BY key: its fast case, which loses a NULL; one thread, CPU time");
  peer.time("sum", rows, "SELECT max(s), max(n) FROM (SELECT key, sum(toDecimal128(a, 0)) AS s, count() AS n FROM e GROUP BY key)" + one, nullptr,
            "sum and count GROUP BY key; one thread, CPU time");
  peer.ask("DROP TABLE e");

  const std::string s = std::to_string(side);
  for (const auto& [name, factor] : {std::pair("l", "48271"), std::pair("r", "16807")})
    peer.ask(std::string("CREATE TABLE ") + name +
             " ENGINE = Memory AS SELECT id, toInt64(intHash64(id) % 1000) AS key, toInt64(bitShiftRight(intHash64(id + 1), 24)) AS a, " +
             "toInt64(bitShiftRight(intHash64(id + 2), 24)) AS b, toInt64(bitShiftRight(intHash64(id + 3), 24)) AS c FROM (SELECT toUInt64(number * " + factor +
             " % " + s + ") AS id FROM numbers(" + s + "))");
  peer.time(
      "unordered diff", side,
      "SELECT count() FROM l FULL JOIN r ON l.id = r.id WHERE l.id IS NULL OR r.id IS NULL OR (l.key, l.a, l.b, l.c) IS DISTINCT FROM (r.key, r.a, r.b, r.c)"
      " SETTINGS max_threads = 1, join_use_nulls = 1",
      "0", "FULL JOIN on the key, every column compared; one thread, CPU time");
  peer.time("digest", side, "SELECT (SELECT groupBitXor(cityHash64(*)) FROM l) = (SELECT groupBitXor(cityHash64(*)) FROM r)" + one, "1",
            "groupBitXor(cityHash64(*)) of both sides: equal or not, and blind to a row that stands there twice; one thread, CPU time");

  if (const char* dsn = std::getenv("EPOCHCUT_POSTGRES"); dsn != nullptr && *dsn != 0) {
    const std::string remote = "postgresql('" + part(dsn, "host") + ":" + part(dsn, "port") + "', '" + part(dsn, "dbname") + "', 'l', '" + part(dsn, "user") +
                               "', '" + part(dsn, "password") + "', 'bench_peers')";
    peer.ask("DROP TABLE IF EXISTS own");
    peer.ask("CREATE TABLE own ENGINE = MergeTree ORDER BY event_id AS SELECT * FROM " + remote);
    const std::uint64_t count = std::strtoull(peer.ask("SELECT count() FROM own").c_str(), nullptr, 10);
    peer.time("full compare", count,
              "SELECT count() FROM own AS l FULL JOIN " + remote +
                  " AS r ON l.event_id = r.event_id WHERE (l.event_id, l.a, l.b, l.c, l.d) IS DISTINCT FROM "
                  "(r.event_id, r.a, r.b, r.c, r.d) SETTINGS join_use_nulls = 1",
              "0", "its own table FULL JOIN postgresql(), wall time", wall_s, std::getenv("EPOCHCUT_BENCH_OURS"));
  }
  return 0;
}
