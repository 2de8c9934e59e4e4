#include "recon_engine/log.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include <epochcut/core/failure.hpp>

#include "support/catch.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;

namespace {

struct Folder {
  std::string path = std::filesystem::temp_directory_path() / ("recon_engine_spool_" + std::to_string(getpid()));
  Folder() { std::filesystem::remove_all(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file() const { return path + "/runs.spool"; }
  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file(), std::ios::binary).rdbuf();
    return out.str();
  }
  void write(const std::string& text) const { std::ofstream(file(), std::ios::binary) << text; }
};

Run run_number(int n) {
  Run run;
  run.check_id = "transactions-balance-live";
  run.run_id = run.check_id + "@" + std::to_string(n);
  run.trigger = "cron";
  run.scheduled = run.started = run.finished = Instant(Millis(1'000 * n));
  run.status = epochcut::Status::pass, run.reason = Reason::none;
  run.message = "run " + std::to_string(n);
  return run;
}

Run full_run() {
  Run run = run_number(1);
  run.trigger = "event", run.event_key = "77", run.paging = true, run.status = epochcut::Status::fail, run.reason = Reason::differs;
  run.scheduled = Instant(Millis(1)), run.started = Instant(Millis(2)), run.finished = Instant(Millis(1'800'000'000'123));
  run.message = "quoted \" and \\ and\nnew line and \x01 and ä";
  run.unsynchronised = run.confirmed = run.retryable = true;
  run.stream = "s", run.authority = "a", run.generation = ~std::uint64_t{0}, run.epoch = epochcut::Epoch{~std::uint64_t{0}, -5};
  run.left_witness = "snapshot", run.right_witness = "id_digest", run.left = R"([{"a":"1"}])", run.right = "[]";
  run.equal = 1, run.changed = 2, run.only_left = 3, run.only_right = 4;
  run.differences = {{"changed", "k=1", "v=1", "v=2"}, {"only_left", "k=\"2\"", "", ""}};
  run.rows = 5, run.bytes = 6, run.horizon_wait = Millis(7), run.left_took = Millis(8), run.right_took = Millis(9), run.took = Millis(10);
  run.attempts = 11, run.full_reads = 12, run.version = "1.2.3", run.query_hash = "abc";
  return run;
}

/// Takes what it is told to take.
struct FakeLog final : LogStore {
  std::map<std::string, std::string> rows;
  std::vector<std::string> order;
  bool down = false, refuses = false;
  int calls = 0;
  Written write(const Run& run) override {
    ++calls;
    if (down) throw Failure(Reason::connection, "down").retry();
    if (refuses) throw Failure(Reason::unknown, "no such status");
    const auto [row, inserted] = rows.emplace(run.run_id, to_json(run));
    if (inserted) order.push_back(run.run_id);
    return inserted ? Written::inserted : row->second == to_json(run) ? Written::already : Written::conflicting;
  }
  std::vector<Run> recent(std::size_t) override { return {}; }
};

struct Heard final : Sink {
  std::vector<std::string> ids;
  std::function<void(const Run&)> also = [](const Run&) {};
  void add(const Run& run) override {
    ids.push_back(run.run_id);
    also(run);
  }
};

Instant second(int s) { return Instant(Millis(1'000 * s)); }

}  // namespace

TEST_CASE("a run survives its line, with every field") {
  const Run run = full_run();
  const std::string line = to_json(run);
  CHECK(line.find('\n') == std::string::npos);
  const Run back = run_of_json(line);
  CHECK(to_json(back) == line);
  CHECK(back.message == run.message);
  CHECK(back.generation == run.generation);
  REQUIRE(back.epoch);
  CHECK(back.epoch->sequence == run.epoch->sequence);
  CHECK(back.epoch->execution_ns == -5);
  CHECK(back.differences == run.differences);
  CHECK(back.finished == run.finished);
  CHECK(back.status == run.status);
  CHECK(back.reason == run.reason);
  CHECK(back.full_reads == 12);
  CHECK_FALSE(run_of_json(to_json(run_number(1))).epoch);
  for (const std::string& bad : {std::string("{"), std::string("{}"), std::string("[]"), line.substr(0, line.size() / 2)})
    CHECK_THROWS_AS(run_of_json(bad), Failure);
}

TEST_CASE("what is appended is there in order, over a restart") {
  Folder folder;
  {
    Spool spool(folder.path);
    for (int i = 0; i < 5; ++i) spool.append(run_number(i));
    CHECK(spool.size() == 5);
  }
  Spool spool(folder.path);
  CHECK_FALSE(spool.torn());
  REQUIRE(spool.size() == 5);
  const auto runs = spool.front(3);
  REQUIRE(runs.size() == 3);
  for (int i = 0; i < 3; ++i) CHECK(runs[static_cast<std::size_t>(i)].message == "run " + std::to_string(i));
  spool.pop(3);
  CHECK(spool.front(9).front().message == "run 3");
  spool.append(run_number(5));
  CHECK(spool.front(9).back().message == "run 5");
  spool.pop(3);
  CHECK(spool.size() == 0);
  CHECK(folder.text().empty());
}

TEST_CASE("wherever the last line is torn, the others survive and the next one is whole") {
  Folder folder;
  std::string two, three;
  {
    Spool spool(folder.path);
    spool.append(run_number(0)), spool.append(run_number(1));
    two = folder.text();
    spool.append(run_number(2));
    three = folder.text();
  }
  for (std::size_t cut = two.size() + 1; cut < three.size(); ++cut) {
    folder.write(three.substr(0, cut));
    Spool spool(folder.path);
    REQUIRE(spool.torn());
    REQUIRE(spool.size() == 2);
    spool.append(run_number(7));
    REQUIRE(spool.front(9).back().message == "run 7");
  }
  // A disk may also have kept the length and not the text.
  folder.write(two + std::string(three.size() - two.size(), '\0'));
  CHECK(Spool(folder.path).size() == 2);
}

TEST_CASE("a damaged line before whole ones is no torn one: a run was lost, and that is said") {
  Folder folder;
  std::string text;
  {
    Spool spool(folder.path);
    for (int i = 0; i < 3; ++i) spool.append(run_number(i));
    text = folder.text();
  }
  text[text.find("run 1")] ^= 1;
  folder.write(text);
  CHECK_THROWS_WITH(Spool(folder.path), Catch::Matchers::Contains("damaged at byte"));
  CHECK(folder.text() == text);
}

TEST_CASE("a spool has one program, and a size") {
  Folder folder;
  Spool spool(folder.path, Spool::line_bytes_max + 2'000);
  CHECK_THROWS_WITH(Spool(folder.path), Catch::Matchers::Contains("another program"));
  CHECK_FALSE(spool.full());
  for (int i = 0; !spool.full(); ++i) spool.append(run_number(i));
  const std::size_t size = spool.size();
  Run large = run_number(99);
  large.message.assign(Spool::line_bytes_max + 2'000, 'x');
  CHECK_THROWS_WITH(spool.append(large), Catch::Matchers::Contains("full"));
  CHECK(spool.size() == size);
}

TEST_CASE("a kill at any moment of an append loses nothing that was kept") {
  Folder folder;
  int pipe_ends[2];
  REQUIRE(pipe(pipe_ends) == 0);
  std::mt19937_64 random(1);
  int kept = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        Spool spool(folder.path);
        for (int i = static_cast<int>(spool.size());; ++i) {
          spool.append(run_number(i));
          if (write(pipe_ends[1], &i, sizeof i) != sizeof i) _exit(2);
        }
      } catch (...) {
        _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(random() % 20'000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
  }
  close(pipe_ends[1]);
  for (int i = 0; read(pipe_ends[0], &i, sizeof i) == sizeof i;) kept = i + 1;
  close(pipe_ends[0]);
  Spool spool(folder.path);
  REQUIRE(kept > 0);
  REQUIRE(spool.size() >= static_cast<std::size_t>(kept));
  const auto runs = spool.front(spool.size());
  for (std::size_t i = 0; i < runs.size(); ++i) REQUIRE(runs[i].message == "run " + std::to_string(i));
}

TEST_CASE("a run is durable before anybody hears of it") {
  Folder folder;
  FakeLog log;
  Spool spool(folder.path);
  Heard heard;
  heard.also = [&](const Run& run) { CHECK((log.rows.contains(run.run_id) || spool.size() > 0)); };
  Recorder recorder(log, spool, {&heard}, {});
  CHECK(recorder.add(run_number(0), second(0)));
  log.down = true;
  CHECK(recorder.add(run_number(1), second(1)));
  CHECK(spool.size() == 1);
  CHECK(heard.ids.size() == 2);
}

TEST_CASE("while older runs wait newer ones wait behind them") {
  Folder folder;
  FakeLog log;
  Spool spool(folder.path);
  Heard heard;
  Recorder recorder(log, spool, {&heard}, {});
  log.down = true;
  for (int i = 0; i < 3; ++i) recorder.add(run_number(i), second(i));
  log.down = false;
  recorder.add(run_number(3), second(100));
  CHECK(log.rows.empty());
  CHECK(spool.size() == 4);
  CHECK(recorder.replay(second(200)));
  REQUIRE(log.order.size() == 4);
  for (int i = 0; i < 4; ++i) CHECK(log.order[static_cast<std::size_t>(i)] == run_number(i).run_id);
  recorder.add(run_number(4), second(201));
  CHECK(log.order.size() == 5);
  CHECK(heard.ids.size() == 5);
}

TEST_CASE("a log that is down is left alone between two tries") {
  Folder folder;
  FakeLog log;
  Spool spool(folder.path);
  Recorder::Options options;
  options.retry_first = Millis(1'000), options.retry_max = Millis(4'000);
  Recorder recorder(log, spool, {}, options);
  log.down = true;
  recorder.add(run_number(0), second(0));
  CHECK(log.calls == 1);
  recorder.add(run_number(1), second(0));
  recorder.replay(second(0));
  CHECK(log.calls == 1);
  for (int ms = 0; ms <= 60'000; ms += 100) recorder.replay(Instant(Millis(ms)));
  CHECK(log.calls >= 15);
  CHECK(log.calls <= 20);
}

TEST_CASE("a replay of what was written already changes nothing; another run of the same id is said aloud and does not replace it") {
  Folder folder;
  FakeLog log;
  Spool spool(folder.path);
  std::vector<std::string> said;
  Recorder::Options options;
  options.say = [&](const std::string& text) { said.push_back(text); };
  Recorder recorder(log, spool, {}, options);
  recorder.add(run_number(0), second(0));
  recorder.add(run_number(0), second(1));
  CHECK(recorder.conflicts() == 0);
  CHECK(said.empty());
  Run other = run_number(0);
  other.message = "another";
  recorder.add(other, second(2));
  CHECK(recorder.conflicts() == 1);
  REQUIRE(said.size() == 1);
  CHECK(log.rows.at(other.run_id) == to_json(run_number(0)));
}

TEST_CASE("a run that the log will never take is said whole and holds up no other") {
  Folder folder;
  FakeLog log;
  Spool spool(folder.path);
  std::string said;
  Recorder::Options options;
  options.say = [&](const std::string& text) { said += text; };
  Recorder recorder(log, spool, {}, options);
  log.down = true;
  recorder.add(run_number(0), second(0));
  log.down = false, log.refuses = true;
  recorder.replay(second(100));
  CHECK(recorder.lost() == 1);
  CHECK(said.find("run 0") != std::string::npos);
  log.refuses = false;
  recorder.add(run_number(1), second(200));
  CHECK(log.order.size() == 1);
}
