// The pager: nobody is woken who must not be, by any route; and whoever must be is, exactly once an episode, whatever dies meanwhile.
#include "support/catch.hpp"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <type_traits>
#include <unistd.h>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include "certificates.hpp"
#include "recon_engine/config.hpp"
#include "recon_engine/incident.hpp"
#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Failure;
using epochcut::Reason;
using epochcut::Status;

// The gate is a type: no program that skips it compiles.
static_assert(!std::is_default_constructible_v<Page> && !std::is_constructible_v<Page, Alert> && !std::is_constructible_v<Page, const Run&>);
static_assert(!std::is_aggregate_v<Page> && !std::is_assignable_v<Page&, Alert> && !std::is_convertible_v<Alert, Page>);
static_assert(std::is_invocable_v<decltype(&Receiver::post), Receiver&, const Page&> &&
              !std::is_invocable_v<decltype(&Receiver::post), Receiver&, const Alert&>);

namespace {

const std::string live = "transactions-balance-live";
constexpr Millis minute{60'000};

/// A receiver on this machine that speaks real HTTP, and keeps what it was sent.
class LocalReceiver {
 public:
  LocalReceiver() {
    server_.Post("/hook", [this](const httplib::Request& request, httplib::Response& response) {
      const std::lock_guard lock(mutex_);
      authorization = request.get_header_value("Authorization");
      if (refuse > 0) {
        --refuse;
        response.status = 503;
        return;
      }
      if (redirect) return response.set_redirect("/elsewhere");
      bodies_.push_back(nlohmann::json::parse(request.body));
    });
    server_.Post("/elsewhere", [this](const httplib::Request&, httplib::Response&) { followed = true; });
    server_.Get("/elsewhere", [this](const httplib::Request&, httplib::Response&) { followed = true; });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~LocalReceiver() {
    server_.stop();
    thread_.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }
  std::vector<nlohmann::json> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

  std::atomic<int> refuse{0};
  std::atomic<bool> redirect{false}, followed{false};
  std::string authorization;

 private:
  httplib::Server server_;
  std::mutex mutex_;
  std::vector<nlohmann::json> bodies_;
  int port_ = 0;
  std::thread thread_;
};

/// An outbox that can be down.
class Moody final : public Outbox {
 public:
  Moody(std::shared_ptr<MemoryOutbox::Rows> rows, std::shared_ptr<bool> down) : memory_(std::move(rows)), down_(std::move(down)) {}
  void save(const Alert& alert) override { *down_ ? throw Failure(Reason::connection, "the outbox is down") : memory_.save(alert); }
  std::vector<Alert> load() override { return *down_ ? throw Failure(Reason::connection, "the outbox is down") : memory_.load(); }

 private:
  MemoryOutbox memory_;
  std::shared_ptr<bool> down_;
};

/// The sink with everything around it; `restart` is a kill: only the outbox's rows and the log stay.
struct World {
  LocalReceiver receiver;
  Board board{sample::now, "0.1.0"};
  std::shared_ptr<MemoryOutbox::Rows> rows = std::make_shared<MemoryOutbox::Rows>();
  std::shared_ptr<bool> down = std::make_shared<bool>(false);
  Instant now = sample::now;
  std::vector<Run> log;
  PagingConfig config;
  std::unique_ptr<IncidentSink> sink;

  explicit World(bool paging = true, int confirm = 2, int clear = 2) {
    board.configure(sample::summaries());
    for (const CheckInfo& check : all_checks) {
      epochcut::PagingPolicy policy;
      policy.confirm = confirm, policy.clear = clear;
      config[std::string(check.id)] = {paging, policy};
    }
    restart();
  }
  void restart() {
    sink.reset();
    sink = std::make_unique<IncidentSink>(board, std::make_unique<Moody>(rows, down),
                                          std::make_unique<Webhook>(WebhookOptions{receiver.url(), "s3cret", "", page_post_max}),
                                          IncidentSink::Options{"http://127.0.0.1:8480", [this] { return now; }, 1});
    sink->configure(config);
    sink->restore(log);
    sink->step();
  }
  /// One run that begins now; five minutes pass.
  void run(Status status, Reason reason = Reason::none, bool paging = true, const std::string& check = live, const std::string& trigger = "cron") {
    Run r = status == Status::fail ? sample::failed(check, now) : sample::run(check, now, status, reason);
    r.paging = paging, r.trigger = trigger, r.retryable = status == Status::error;
    log.push_back(r);
    sink->add(r);
    sink->step();
    now += 5 * minute;
  }
  std::vector<std::string> said() {
    std::vector<std::string> all;
    for (const auto& body : receiver.bodies()) all.push_back(body["status"].get<std::string>() + " " + body["deduplication_key"].get<std::string>());
    return all;
  }
};

using Said = std::vector<std::string>;

/// Everything that can lead to a post, one after the other. `paging`: of the runs.
void drive_every_route(World& w, bool paging) {
  for (int k = 0; k < 3; ++k) w.run(Status::fail, Reason::differs, paging);  // confirmed
  w.restart();                                                               // folded again
  w.run(Status::fail, Reason::differs, paging);
  for (int k = 0; k < 3; ++k) w.run(Status::pass, Reason::none, paging);         // cleared
  for (int k = 0; k < 6; ++k) w.run(Status::error, Reason::connection, paging);  // stuck
  w.restart();
  w.run(Status::pass, Reason::none, paging);
  w.now += 5 * 60 * minute;  // silence
  w.sink->step();
  w.restart();
  w.run(Status::pass, Reason::none, paging);
  w.run(Status::fail, Reason::differs, paging, "no-such-check");
  w.run(Status::fail, Reason::differs, paging, "no-such-check");
  w.sink->configure(w.config);  // a reload
  w.sink->step();
}

}  // namespace

TEST_CASE("incident: a check that does not page reaches the receiver by no route") {
  SECTION("control: with paging the same routes post") {
    World w(true);
    drive_every_route(w, true);
    const Said said = w.said();
    CHECK(std::count_if(said.begin(), said.end(), [](const std::string& s) { return s.starts_with("firing " + live + "@"); }) == 1);
    CHECK(std::count_if(said.begin(), said.end(), [](const std::string& s) { return s.starts_with("resolved " + live + "@"); }) == 1);
    CHECK(std::count_if(said.begin(), said.end(), [](const std::string& s) { return s.starts_with("firing " + live + "/infrastructure@"); }) == 2);
    CHECK(std::count_if(said.begin(), said.end(), [](const std::string& s) { return s.starts_with("resolved " + live + "/infrastructure@"); }) == 2);
    CHECK(said.size() == 6);
  }
  SECTION("off in the configuration, on in the runs") {
    World w(false);
    drive_every_route(w, true);
    CHECK(w.said().empty());
    CHECK(w.rows->empty());
  }
  SECTION("on in the configuration, off in the runs") {
    World w(true);
    drive_every_route(w, false);
    CHECK(w.said().empty());
    CHECK(w.rows->empty());
  }
  SECTION("not configured at all") {
    World w(true);
    w.config.clear();
    w.sink->configure({});
    drive_every_route(w, true);
    CHECK(w.said().empty());
  }
  SECTION("a canary and a manual run, however often, also of a check that pages") {
    World w(true, 1, 2);
    w.run(Status::pass);
    for (const char* trigger : {"canary", "manual"})
      for (int k = 0; k < 3; ++k) w.run(Status::fail, Reason::differs, true, live, trigger);
    w.run(Status::pass);
    w.restart();
    w.run(Status::pass);
    CHECK(w.said().empty());
  }
  SECTION("a row that was left in the outbox, by whomever") {
    World w(false);
    Alert alert;
    alert.deduplication_key = live + "@x", alert.check_id = live, alert.paging = true, alert.created = alert.next_attempt = w.now;
    alert.title = "t", alert.metadata = "{}";
    (*w.rows)[{alert.deduplication_key, true}] = alert;
    w.restart();
    w.sink->step();
    CHECK(w.said().empty());
    CHECK(w.rows->at({alert.deduplication_key, true}).withheld);
    CHECK(w.board.snapshot().engine.pages_withheld == 1);
  }
  SECTION("switched off while a page waits") {
    World w(true);
    w.receiver.refuse = 1'000;
    w.run(Status::fail), w.run(Status::fail);
    REQUIRE(w.sink->pending() == 1);
    w.config[live].paging = false;
    w.sink->configure(w.config);
    w.receiver.refuse = 0;
    w.now += 10 * minute;
    w.sink->step();
    CHECK(w.said().empty());
    CHECK(w.sink->pending() == 0);
  }
  SECTION("the gate itself") {
    Alert alert;
    alert.check_id = live;
    const PagingConfig on{{live, {true, {}}}}, off{{live, {false, {}}}};
    alert.paging = true;
    CHECK(PagingGate::admit(alert, on));
    CHECK_FALSE(PagingGate::admit(alert, off));
    CHECK_FALSE(PagingGate::admit(alert, {}));
    alert.paging = false;
    CHECK_FALSE(PagingGate::admit(alert, on));
  }
}

TEST_CASE("incident: an episode is one firing and one resolved of one key, with what a person needs") {
  World w;
  const Instant first = w.now;
  w.run(Status::pass);
  w.run(Status::fail);
  CHECK(w.said().empty());  // not confirmed
  w.run(Status::fail);
  w.run(Status::error, Reason::connection);
  w.run(Status::fail);
  w.run(Status::pass);
  const std::string key = live + "@" + epochcut::to_text(first + 5 * minute + Millis{40});  // begun 40 ms after its fire
  CHECK(w.said() == Said{"firing " + key});
  w.run(Status::pass);
  w.run(Status::pass);
  CHECK(w.said() == Said{"firing " + key, "resolved " + key});

  const nlohmann::json body = w.receiver.bodies()[0], metadata = body["metadata"];
  CHECK(body["title"] == live + ": money does not add up (differs)");
  CHECK(metadata["reason"] == "differs");
  CHECK(metadata["epoch"] == 51'620'331);
  CHECK(metadata["changed"] == 1);
  CHECK(metadata["only_left"] == 1);
  CHECK(metadata["keys"][0]["left"] == "amount=15823.17360996");
  CHECK(metadata["keys"][0]["right"] == "amount=15824.17360996");
  CHECK(metadata["page"] == "http://127.0.0.1:8480");
  CHECK_FALSE(metadata["what_to_do"].get<std::string>().empty());
  CHECK(w.receiver.authorization == "Bearer s3cret");
  CHECK(w.board.snapshot().engine.pages_delivered == 2);
}

TEST_CASE("incident: errors are never the invariant's page, and have a key of their own") {
  World w;
  w.run(Status::pass);
  for (int k = 0; k < 5; ++k) w.run(Status::error, Reason::connection);
  REQUIRE(w.said().size() == 1);
  CHECK(w.said()[0].starts_with("firing " + live + "/infrastructure@"));
  CHECK(w.receiver.bodies()[0]["title"] == live + ": error: stuck (connection)");
  w.run(Status::pass);
  REQUIRE(w.said().size() == 2);
  CHECK(w.said()[1].starts_with("resolved " + live + "/infrastructure@"));
}

TEST_CASE("incident: silence pages while it lasts, with no run to say so") {
  World w;
  w.run(Status::pass);
  w.now += 90 * minute;
  w.sink->step();
  CHECK(w.said().empty());
  w.now += 60 * minute;
  w.sink->step();
  w.sink->step();
  REQUIRE(w.said().size() == 1);
  CHECK(w.receiver.bodies()[0]["title"].get<std::string>().find("unassertable") != std::string::npos);
}

TEST_CASE("incident: a receiver that refuses is asked again, later and later, until it takes the page") {
  World w;
  w.receiver.refuse = 3;
  w.run(Status::fail), w.run(Status::fail);
  REQUIRE(w.said().empty());
  const auto alert = [&] { return w.rows->begin()->second; };
  CHECK(alert().attempts == 1);
  CHECK(alert().problem == "the incident webhook answered 503");
  CHECK(w.board.snapshot().engine.outbox_pages == 1);
  const Instant tried = sample::now + 5 * minute;
  CHECK(alert().next_attempt >= tried + page_retry_first / 2);
  CHECK(alert().next_attempt <= tried + page_retry_first);
  int attempts = 1;
  Millis pause{0};
  while (w.said().empty() && attempts < 10) {
    w.now = alert().next_attempt - Millis{1};
    w.sink->step();
    REQUIRE(alert().attempts == attempts);  // not before its time
    w.now += Millis{1};
    const Instant at = w.now;
    w.sink->step();
    REQUIRE(alert().attempts == ++attempts);
    if (!alert().delivered) {
      CHECK(alert().next_attempt - at <= page_retry_max);
      CHECK(alert().next_attempt - at >= pause / 2);
      pause = alert().next_attempt - at;
    }
  }
  CHECK(attempts == 4);
  CHECK(w.said().size() == 1);
  CHECK(alert().delivered);
  w.now += 60 * minute;
  w.sink->step();
  CHECK(w.said().size() == 1);
}

TEST_CASE("incident: an end does not overtake its beginning") {
  World w;
  w.receiver.refuse = 1'000;
  w.run(Status::fail), w.run(Status::fail), w.run(Status::pass), w.run(Status::pass);
  CHECK(w.sink->pending() == 2);
  w.receiver.refuse = 1;  // the firing is refused once more
  for (int k = 0; k < 40 && w.sink->pending() != 0; ++k) w.now += minute, w.sink->step();
  REQUIRE(w.said().size() == 2);
  CHECK(w.said()[0].starts_with("firing"));
  CHECK(w.said()[1].starts_with("resolved"));
}

TEST_CASE("incident: killed at any point, nobody is woken twice and nobody is forgotten") {
  // The same runs, with a kill after each of them in turn, with and without what was logged.
  const std::vector<Status> story{Status::pass, Status::fail, Status::fail, Status::error, Status::fail, Status::pass,
                                  Status::pass, Status::fail, Status::fail, Status::pass,  Status::pass};
  World whole;
  for (const Status status : story) whole.run(status);
  const Said expected = whole.said();
  REQUIRE(expected.size() == 4);
  for (std::size_t kill = 0; kill < story.size(); ++kill)
    for (const bool refused : {false, true}) {
      World w;
      for (std::size_t k = 0; k < story.size(); ++k) {
        if (k == kill && refused) w.receiver.refuse = 1;  // a page of this run is under way when it dies
        w.run(story[k]);
        if (k == kill) w.restart();
      }
      w.now += 10 * minute;
      w.sink->step();
      INFO("killed after run " << kill << (refused ? ", refused" : ""));
      CHECK(w.said() == expected);
    }
}

TEST_CASE("incident: a log that begins in the middle of an episode opens no second one") {
  World w;
  w.run(Status::fail), w.run(Status::fail), w.run(Status::fail);
  REQUIRE(w.said().size() == 1);
  w.log.erase(w.log.begin());
  w.restart();
  w.run(Status::fail);
  CHECK(w.said().size() == 1);
  w.log.clear();
  w.restart();
  w.run(Status::fail), w.run(Status::fail), w.run(Status::pass), w.run(Status::pass);
  const Said said = w.said();
  REQUIRE(said.size() == 2);
  CHECK(said[1] == "resolved" + said[0].substr(6));
}

TEST_CASE("incident: a dead outbox silences no alarm, and learns of it later") {
  World w;
  *w.down = true;
  w.restart();
  w.run(Status::fail), w.run(Status::fail);
  CHECK(w.said().size() == 1);
  CHECK(w.rows->empty());
  CHECK(w.board.snapshot().engine.outbox_problem.empty());  // delivered
  *w.down = false;
  w.now += 10 * minute;
  w.sink->step();
  REQUIRE(w.rows->size() == 1);
  CHECK(w.rows->begin()->second.delivered);
  CHECK(w.said().size() == 1);
}

TEST_CASE("incident: what nobody takes for a day is given up, and counted") {
  World w;
  w.receiver.refuse = 1'000'000;
  w.run(Status::fail), w.run(Status::fail);
  w.now += page_age_max + minute;
  w.sink->step();
  // The silence of that day is a page of its own.
  const BoardState state = w.board.snapshot();
  CHECK(state.engine.pages_abandoned == 1);
  for (const auto& [key, alert] : *w.rows) CHECK(alert.abandoned.has_value() == (alert.signal == Signal::invariant));
}

TEST_CASE("incident: promotion by a reload: what is broken pages from its next fail on") {
  World w(false);
  w.run(Status::fail, Reason::differs, false), w.run(Status::fail, Reason::differs, false);
  w.config[live].paging = true;
  w.sink->configure(w.config);
  w.sink->step();
  CHECK(w.said().empty());  // that run was not to page
  SECTION("and pages if it is still broken") {
    w.run(Status::fail);
    CHECK(w.said().size() == 1);
  }
  SECTION("and does not if it passes") {
    w.run(Status::pass), w.run(Status::pass);
    CHECK(w.said().empty());
  }
}

// --- off paging while an incident is open --------------------------------------------------------------------------------

namespace {

/// As a reload does it.
void set_paging(World& w, bool paging, const std::string& check = live) {
  w.config[check].paging = paging;
  w.sink->configure(w.config);
  w.sink->step();
}

}  // namespace

TEST_CASE("incident: an open incident of a check that goes off paging is closed, once, and says why") {
  World w;
  w.run(Status::pass), w.run(Status::fail), w.run(Status::fail);
  REQUIRE(w.said().size() == 1);
  const std::string key = w.said()[0].substr(std::string("firing ").size());
  set_paging(w, false);
  REQUIRE(w.said() == Said{"firing " + key, "resolved " + key});
  const nlohmann::json body = w.receiver.bodies()[1];
  CHECK(body["title"] == live + ": does not page any more, so this incident is closed");
  CHECK(body["metadata"]["note"].get<std::string>().find("took " + live + " off paging") != std::string::npos);
  CHECK(body["metadata"]["note"].get<std::string>().find("not said here") != std::string::npos);
  CHECK(body["metadata"]["status"] == "fail");  // it is not said to be mended

  // Nothing that comes after says anything more: runs of either kind, other rounds, reloads, restarts.
  for (const Status status : {Status::fail, Status::pass, Status::pass, Status::fail, Status::fail, Status::error}) {
    w.run(status, Reason::none, false);
    w.restart();
    set_paging(w, false);
  }
  CHECK(w.said().size() == 2);
  CHECK(w.sink->pending() == 0);
}

TEST_CASE("incident: the end of a check that went off paging outlives a receiver and a process that are away") {
  World w;
  w.run(Status::fail), w.run(Status::fail);
  const std::string key = w.said().at(0).substr(7);
  SECTION("the receiver refuses it, and the program is killed meanwhile") {
    w.receiver.refuse = 2;
    set_paging(w, false);
    CHECK(w.sink->pending() == 1);
    w.restart();
    for (int k = 0; k < 10; ++k) w.now += minute, w.sink->step();
  }
  SECTION("the outbox is away as well") {
    *w.down = true;
    w.receiver.refuse = 2;
    set_paging(w, false);
    *w.down = false;
    for (int k = 0; k < 10; ++k) w.now += minute, w.sink->step();
    w.restart();
  }
  SECTION("the configuration changed while the program was not running") {
    w.config[live].paging = false;
    w.restart();
    w.sink->step();
  }
  SECTION("with nothing left of the log") {
    w.log.clear();
    w.config[live].paging = false;
    w.restart();
  }
  SECTION("the check is gone from the configuration") {
    w.config.erase(live);
    w.sink->configure(w.config);
    w.sink->step();
    w.restart();
  }
  CHECK(w.said() == Said{"firing " + key, "resolved " + key});
  CHECK(w.sink->pending() == 0);
}

TEST_CASE("incident: what was never said is not closed, and an end that waits is said although the check went off paging") {
  World w;
  SECTION("its beginning was not taken yet: neither is said") {
    w.receiver.refuse = 1'000;
    w.run(Status::fail), w.run(Status::fail);
    set_paging(w, false);
    w.receiver.refuse = 0;
    for (int k = 0; k < 10; ++k) w.now += minute, w.sink->step();
    CHECK(w.said().empty());
  }
  SECTION("nor if it has passed meanwhile") {
    w.receiver.refuse = 1'000;
    w.run(Status::fail), w.run(Status::fail), w.run(Status::pass), w.run(Status::pass);
    REQUIRE(w.sink->pending() == 2);
    set_paging(w, false);
    w.receiver.refuse = 0;
    for (int k = 0; k < 10; ++k) w.now += minute, w.sink->step();
    CHECK(w.said().empty());
  }
  SECTION("the beginning was taken, and the end of a check that passes waits") {
    w.run(Status::fail), w.run(Status::fail);
    REQUIRE(w.said().size() == 1);
    w.receiver.refuse = 1;
    w.run(Status::pass), w.run(Status::pass);
    CHECK(w.sink->pending() == 1);
    set_paging(w, false);
    w.restart();
    for (int k = 0; k < 10; ++k) w.now += minute, w.sink->step();
    REQUIRE(w.said().size() == 2);
    CHECK(w.receiver.bodies()[1]["title"] == live + ": adds up again");
  }
  SECTION("another check's incident stays open") {
    const std::string other = "pnl-is-zero-sum-live";
    for (const std::string& check : {live, other}) w.run(Status::fail, Reason::differs, true, check), w.run(Status::fail, Reason::differs, true, check);
    REQUIRE(w.said().size() == 2);
    set_paging(w, false);
    REQUIRE(w.said().size() == 3);
    CHECK(w.said()[2].starts_with("resolved " + live + "@"));
  }
  SECTION("of a check that can't find out, too") {
    for (int k = 0; k < 6; ++k) w.run(Status::error, Reason::connection);
    REQUIRE(w.said().size() == 1);
    set_paging(w, false);
    REQUIRE(w.said().size() == 2);
    CHECK(w.said()[1] == "resolved " + w.said()[0].substr(7));
  }
  CHECK(w.sink->pending() == 0);
}

TEST_CASE("incident: back on paging while it is still broken is another incident, with a key of its own") {
  World w;
  w.run(Status::fail), w.run(Status::fail);
  const std::string key = w.said().at(0).substr(7);
  set_paging(w, false);
  REQUIRE(w.said().size() == 2);
  const bool between = GENERATE(false, true);
  if (between) w.run(Status::fail, Reason::differs, false);
  set_paging(w, true);
  w.restart();
  // At once, unless what is known is from a run that was not to page.
  CHECK(w.said().size() == (between ? 2 : 3));
  w.run(Status::fail);
  CHECK(w.said() == Said{"firing " + key, "resolved " + key, "firing " + key + "/2"});
  w.restart();
  w.run(Status::fail);
  CHECK(w.said().size() == 3);
  w.run(Status::pass), w.restart(), w.run(Status::pass), w.restart();
  CHECK(w.said() == Said{"firing " + key, "resolved " + key, "firing " + key + "/2", "resolved " + key + "/2"});
}

TEST_CASE("incident: without a receiver everything is shown and nothing waits") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  const auto rows = std::make_shared<MemoryOutbox::Rows>();
  Instant now = sample::now;
  IncidentSink sink(board, std::make_unique<MemoryOutbox>(rows), nullptr, {"", [&] { return now; }, 1});
  sink.configure({{live, {true, {}}}});
  for (int k = 0; k < 3; ++k, now += 5 * minute) {
    Run r = sample::failed(live, now);
    r.paging = true;
    sink.add(r);
    sink.step();
  }
  CHECK(sink.pending() == 0);
  CHECK(rows->empty());
  CHECK(board.snapshot().checks[4].firing.contains(Signal::invariant));
}

TEST_CASE("incident: the thread posts, and stops at once") {
  World w;
  w.sink->start();
  for (int k = 0; k < 2; ++k) {
    Run r = sample::failed(live, w.now);
    r.started += k * 5 * minute;
    r.paging = true;
    w.sink->add(r);
  }
  for (int k = 0; k < 600 && w.said().empty(); ++k) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(w.said().size() == 1);
  w.sink->stop();
}

TEST_CASE("incident: a page goes to its receiver, encrypted, and nowhere else") {
  const auto refused = [](const std::string& url) {
    try {
      const Webhook webhook({url, "s3cret", "", page_post_max});
      return std::string();
    } catch (const Failure& failure) {
      CHECK(failure.kind == Reason::configuration);
      CHECK(failure.message.find("s3cret") == std::string::npos);
      return failure.message;
    }
  };
  for (const char* url : {"http://example.com/hook", "http://127.example.com/", "http://10.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "", "nonsense",
                          "https://user:pass@example.com/"})
    CHECK_FALSE(refused(url).empty());
  for (const char* url : {"https://example.com/hook", "http://127.0.0.1:9/", "http://localhost/", "http://[::1]:9/"}) CHECK(refused(url).empty());

  Alert alert;
  alert.check_id = live, alert.paging = true, alert.metadata = "{}";
  const Page page = *PagingGate::admit(alert, {{live, {true, {}}}});
  SECTION("a redirect is not followed") {
    LocalReceiver receiver;
    receiver.redirect = true;
    Webhook webhook({receiver.url(), "s3cret", "", page_post_max});
    CHECK_THROWS_AS(webhook.post(page), Failure);
    CHECK_FALSE(receiver.followed);
  }
  SECTION("nobody listens: the sentence holds neither address nor secret") {
    Webhook webhook({"http://127.0.0.1:1/T0KEN", "s3cret", "", page_post_max});
    try {
      webhook.post(page);
      FAIL("posted");
    } catch (const Failure& failure) {
      CHECK(failure.message.find("T0KEN") == std::string::npos);
      CHECK(failure.message.find("s3cret") == std::string::npos);
      CHECK(failure.retryable);
    }
  }
  SECTION("a certificate is verified, and the name in it") {
    const auto folder = std::filesystem::temp_directory_path() / ("epochcut-incident-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    const std::string cert = folder / "cert.pem", key = folder / "key.pem";
    REQUIRE(std::system(("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
                         " -keyout '" +
                         key + "' -out '" + cert + "' >/dev/null 2>&1")
                            .c_str()) == 0);
    httplib::SSLServer server(cert.c_str(), key.c_str());
    std::atomic<int> posts{0};
    server.Post("/hook", [&](const httplib::Request&, httplib::Response&) { ++posts; });
    const int port = server.bind_to_any_port("127.0.0.1");
    std::thread thread([&] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();
    const auto post = [&](const std::string& host, const std::string& ca) {
      Webhook({"https://" + host + ":" + std::to_string(port) + "/hook", "s3cret", ca, page_post_max}).post(page);
    };
    CHECK_THROWS_AS(post("localhost", ""), Failure);    // nobody's certificate
    CHECK_THROWS_AS(post("127.0.0.1", cert), Failure);  // another's name
    CHECK(posts == 0);
    CHECK_NOTHROW(post("localhost", cert));
    CHECK(posts == 1);
    server.stop();
    thread.join();
    std::filesystem::remove_all(folder);
  }
}

TEST_CASE("incident: hostile values stay data in the page, and a huge one is cut off") {
  World w;
  for (int k = 0; k < 2; ++k) {
    Run r = sample::failed(live, w.now);
    r.paging = true;
    r.message = std::string(100'000, 'm') + "\"}\xff\n";
    r.differences.assign(50, {"changed", "k\"},{", std::string(5'000, 'l'), "\x01\x02\xE2\x82"});
    w.sink->add(r);
    w.now += 5 * minute;
  }
  w.sink->step();
  REQUIRE(w.said().size() == 1);
  const nlohmann::json metadata = w.receiver.bodies()[0]["metadata"];
  CHECK(metadata["keys"].size() == page_keys_max);
  CHECK(metadata["keys"][0]["key"] == "k\"},{");
  CHECK(w.receiver.bodies()[0].dump().size() < page_body_bytes_max);
}

TEST_CASE("incident: the configured authority signs the receiver, and no other: else the page waits, and one sentence says why") {
  const auto folder = std::filesystem::temp_directory_path() / ("epochcut-authority-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  certificates::make(folder);
  const auto file = [&](const std::string& name) { return (folder / name).string(); };

  struct Receiving {
    httplib::SSLServer server;
    std::atomic<int> posts{0};
    int port = 0;
    std::thread thread;
    Receiving(const std::string& certificate, const std::string& key) : server(certificate.c_str(), key.c_str()) {
      server.Post("/T0KEN", [this](const httplib::Request&, httplib::Response&) { ++posts; });
      port = server.bind_to_any_port("127.0.0.1");
      thread = std::thread([this] { server.listen_after_bind(); });
      while (!server.is_running()) std::this_thread::yield();
    }
    ~Receiving() {
      server.stop();
      thread.join();
    }
  };
  const auto configured = [&](const Receiving& receiving, const std::string& ca) {
    const Config config = parse_config(
        "[stores]\npostgres = \"x\"\nlog = \"x\"\nclickhouse = \"http://h/\"\ncustodian = \"http://h\"\n[program]\nspool = \"s\"\n"
        "[incident]\nurl = \"https://localhost:" +
            std::to_string(receiving.port) + "/T0KEN\"\nca_file = \"" + file(ca) + "\"\n",
        "watch.toml");
    return WebhookOptions{.url = config.incident_url, .secret = "s3cret", .ca_file = config.incident_ca_file};
  };
  const auto rows = std::make_shared<MemoryOutbox::Rows>();
  Instant now = sample::now;
  std::vector<Run> log;
  Board board(sample::now, "0.1.0");
  const auto told = [&](const Receiving& receiving, const std::string& ca) {
    IncidentSink sink(board, std::make_unique<MemoryOutbox>(rows), std::make_unique<Webhook>(configured(receiving, ca)), {"", [&] { return now; }, 1});
    sink.configure({{live, {true, {}}}});
    sink.restore(log);
    for (int k = 0; k < 2; ++k) {
      Run run = sample::failed(live, now);
      run.paging = true;
      log.push_back(run);
      sink.add(run);
      now += 5 * minute;
    }
    sink.step();
    return sink.pending() == 0;
  };

  Receiving good(file("good.crt"), file("good.key"));
  {
    Receiving expired(file("expired.crt"), file("expired.key")), elsewhere(file("elsewhere.crt"), file("elsewhere.key"));
    Receiving stranger(file("stranger.crt"), file("stranger.key")), itself(file("itself.crt"), file("itself.key"));
    for (const auto& [receiving, ca] : {std::pair<Receiving*, const char*>{&good, "stranger-ca.crt"},
                                        {&expired, "ca.crt"},
                                        {&elsewhere, "ca.crt"},
                                        {&stranger, "ca.crt"},
                                        {&itself, "ca.crt"}}) {
      CHECK_FALSE(told(*receiving, ca));
      CHECK(receiving->posts == 0);
      REQUIRE(rows->size() == 1);
      const Alert& kept = rows->begin()->second;
      CHECK(kept.pending());
      INFO(kept.problem);
      CHECK(kept.problem.starts_with("the incident webhook's certificate is not trusted: "));
      CHECK(kept.problem.find(file(ca)) != std::string::npos);
      for (const char* hidden : {"T0KEN", "s3cret", "\n"}) CHECK(kept.problem.find(hidden) == std::string::npos);
      CHECK(board.snapshot().engine.outbox_problem == kept.problem);
    }
  }
  CHECK(told(good, "ca.crt"));
  CHECK(good.posts == 1);
  CHECK(rows->begin()->second.delivered);
  CHECK(rows->begin()->second.attempts == 6);
  std::filesystem::remove_all(folder);
}
