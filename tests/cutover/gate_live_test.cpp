// The gate on a running exchange and a running candidate: each decision, with its exit code, on real servers.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <thread>
#include <unistd.h>

#include "cutover/commands.hpp"
#include "exchange/candidate.hpp"
#include "exchange/engine.hpp"

#include "support/catch.hpp"

using namespace cutover;
using epochcut::Decision;
using namespace std::chrono_literals;

namespace {

std::string setting(const char* name) { return std::getenv(name); }

/// An authority of its own, with an owner and a candidate that follows it; all on threads of this process.
class Scene {
 public:
  explicit Scene(const std::string& name, exchange::PlantedBug bug = exchange::PlantedBug::none) {
    const std::string suffix = name + std::to_string(getpid());
    place.authority = "cut_" + suffix, place.candidate = "cand_" + suffix;
    place.postgres = setting("EPOCHCUT_POSTGRES_CUTOVER"), place.clickhouse = setting("EPOCHCUT_CLICKHOUSE");
    production.name = "incumbent";
    production.postgres = setting("EPOCHCUT_POSTGRES"), production.clickhouse = setting("EPOCHCUT_CLICKHOUSE");
    production.layout = place.production();
    production.batch = 50, production.rate = 2'000;
    exchange::PostgresWriter ledger(production.postgres);
    exchange::ClickhouseWriter analytics(production.clickhouse);
    exchange::create_tables(ledger, place.production(), "incumbent", exchange::Kind::production);
    exchange::create_tables(analytics, place.production());
    exchange::create_tables(ledger, place.shadow(), place.candidate, exchange::Kind::shadow);
    exchange::create_tables(analytics, place.shadow());
    owner_ = std::make_unique<exchange::RunningEngine>(production);
    follower_ = std::jthread([this, bug](std::stop_token stop) {
      try {
        exchange::CandidateOptions options;
        options.shadow = production;
        options.shadow.name = place.candidate, options.shadow.layout = place.shadow(), options.shadow.rate = 0, options.shadow.bug = bug;
        options.production = place.production();
        options.lag = 300;
        options.build_id = "build-of-the-test";
        exchange::Candidate candidate(options);
        while (!stop.stop_requested())
          if (candidate.step()) break;
      } catch (const std::exception& e) {
        failed = e.what();
        broken = true;
      }
    });
    // A gate counts for a build, so there is none before the candidate has said which it is.
    const std::string said = "SELECT FROM " + place.shadow().schema + ".engine_build";
    for (int i = 0; i < 3'000 && !broken && ledger.execute(said).rows() == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ~Scene() {
    follower_.request_stop();
    if (follower_.joinable()) follower_.join();
    owner_.reset();
    try {
      exchange::PostgresWriter ledger(production.postgres);
      exchange::ClickhouseWriter analytics(production.clickhouse);
      for (const exchange::Layout& layout : {place.production(), place.shadow()}) {
        ledger.execute("SET client_min_messages = warning; DROP SCHEMA IF EXISTS " + layout.schema + " CASCADE");
        analytics.execute("DROP DATABASE IF EXISTS " + layout.database);
      }
    } catch (...) {  // the test has said what is wrong
    }
  }
  void stop_owner() { owner_->stop(); }
  std::uint64_t sequence() const { return owner_->sequence(); }

  VerifyOptions small() const {
    VerifyOptions v;
    v.thresholds = {.cuts_min = 2,
                    .duration_min = Millis{300},
                    .events_min = 300,
                    .kinds = {"fee", "realized_pnl"},
                    .tables = {"balances", "transactions", "positions"},
                    .keys_percent_min = 1};
    v.every = Millis{200};
    v.at_most = Millis{60'000};
    v.signed_off_by = "the test";
    return v;
  }
  VerifyResult gate(const VerifyOptions& v) const { return verify(place, v, {}); }
  Arguments arguments(const std::string& command) const {
    Arguments a;
    a.command = command, a.place = place, a.yes = true;
    return a;
  }

  Place place;
  exchange::EngineOptions production;
  std::atomic<bool> broken = false;
  std::string failed;

 private:
  std::unique_ptr<exchange::RunningEngine> owner_;
  std::jthread follower_;
};

struct Said {
  std::ostringstream out, err;
  Terminal terminal{.out = out, .err = err, .live = false, .ask = {}};
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string lines_of(const VerdictRecord& r) {
  std::string text = r.decision + ": " + r.why;
  for (const CutLine& line : r.lines) text += "\n" + std::to_string(line.sequence) + " " + line.result + " " + line.why;
  for (const DifferenceLine& d : r.differences) text += "\n" + d.check + " " + d.text + " | " + d.last_touched;
  return text;
}

/// The first transaction that the bug makes another one, by two pure folds.
struct FirstWrong {
  std::uint64_t event_id = 0;
  std::string right, wrong;  ///< amounts, as PostgreSQL writes them
};
FirstWrong first_wrong(const exchange::ExecutionStream& stream) {
  exchange::Fold good, bad(exchange::PlantedBug::rounding);
  const auto money = [](std::int64_t amount) { return to_string(epochcut::Decimal{amount, exchange::money_scale}); };
  for (std::uint64_t sequence = 1; sequence < 200'000; ++sequence) {
    exchange::Rows a, b;
    good.apply(stream.at(sequence), a), bad.apply(stream.at(sequence), b);
    for (std::size_t i = 0; i < a.transactions.size(); ++i)
      if (a.transactions[i].amount != b.transactions[i].amount)
        return {a.transactions[i].event_id, money(a.transactions[i].amount), money(b.transactions[i].amount)};
  }
  return {};
}

}  // namespace

TEST_CASE("live: a gate goes, is void when it is blind, arms and takes back, and says not_yet of a quiet exchange") {
  Scene scene("g");
  Said said;
  // Before any gate the splice is refused, by the tool.
  CHECK(splice_command(scene.arguments("splice"), said.terminal, {}) == exit_refused);
  CHECK(contains(said.err.str(), "can't be spliced"));

  const VerifyResult go = scene.gate(scene.small());
  INFO(lines_of(go.record) << "\ncandidate: " << scene.failed);
  REQUIRE(go.exit_code == 0);
  CHECK(go.record.decision == "go");
  CHECK(go.record.controls >= 1);
  CHECK(go.record.build_id == "build-of-the-test");
  const Facts facts = read_facts(scene.place);
  const auto mine = std::find_if(facts.candidates.begin(), facts.candidates.end(), [&](const CandidateFact& c) { return c.name == scene.place.candidate; });
  REQUIRE(mine != facts.candidates.end());
  CHECK(mine->state == epochcut::SpliceState::verified);
  CHECK(mine->verdict->verdict_id == go.record.verdict_id);
  Arguments report = scene.arguments("report");
  report.json = true;
  Said reported;
  CHECK(report_command(report, reported.terminal) == exit_done);
  CHECK(contains(reported.out.str(), go.record.verdict_id));

  // Armed far ahead, and taken back by another run of the tool.
  Said spliced, aborted;
  int code = -1;
  {
    Arguments far = scene.arguments("splice");
    far.at = scene.sequence() + 10'000'000;
    epochcut::Cancel cancel;
    epochcut::Control control;
    control.cancel = &cancel;
    std::jthread tool([&] {
      try {
        code = splice_command(far, spliced.terminal, control);
      } catch (...) {  // the code says so
      }
    });
    struct Ends {
      epochcut::Cancel& cancel;
      ~Ends() { cancel.request(); }  // or a check that throws below would wait for an hour
    };
    const Ends ends{cancel};
    for (int i = 0; i < 600 && !read_facts(scene.place).row.marker; ++i) std::this_thread::sleep_for(50ms);
    CHECK(abort_command(scene.arguments("abort"), aborted.terminal) == exit_done);
    tool.join();
  }
  CHECK(code == exit_refused);
  CHECK(contains(spliced.out.str(), "only by another splice"));
  CHECK(contains(aborted.out.str(), "taken back"));
  CHECK(abort_command(scene.arguments("abort"), aborted.terminal) == exit_refused);
  CHECK(resume_command(scene.arguments("resume"), aborted.terminal, {}) == exit_refused);

  VerifyOptions blind = scene.small();
  blind.blind = true;
  const VerifyResult none = scene.gate(blind);
  CHECK(none.exit_code == 3);
  CHECK(none.record.decision == "void");
  CHECK(contains(none.record.why, "was not found"));
  // And that verdict takes the go back.
  Said again;
  CHECK(splice_command(scene.arguments("splice"), again.terminal, {}) == exit_refused);
  CHECK(contains(again.err.str(), "the newest verdict is void"));

  scene.stop_owner();
  VerifyOptions quiet = scene.small();
  quiet.at_most = Millis{2'500};
  const VerifyResult still = scene.gate(quiet);
  INFO(lines_of(still.record));
  CHECK(still.exit_code == 2);
  CHECK(still.record.decision == "not_yet");
  CHECK(still.record.cuts == 0);
  CHECK_FALSE(scene.broken);
}

TEST_CASE("live: one rounding error of 10^-8 in 100 000 trades is no_go, with the first wrong key and both values") {
  Scene scene("b", exchange::PlantedBug::rounding);
  const FirstWrong wrong = first_wrong(scene.production.stream);
  REQUIRE(wrong.event_id != 0);
  VerifyOptions options = scene.small();
  options.thresholds.events_min = 1'000'000;  // it must not go before the bug shows
  const VerifyResult result = scene.gate(options);
  INFO(lines_of(result.record) << "\ncandidate: " << scene.failed);
  REQUIRE(result.exit_code == 1);
  CHECK(result.record.decision == "no_go");
  const auto first = std::find_if(result.record.differences.begin(), result.record.differences.end(),
                                  [](const DifferenceLine& d) { return d.check == "ledger-transactions"; });
  REQUIRE(first != result.record.differences.end());
  CHECK(contains(first->text, "event_id=" + std::to_string(wrong.event_id) + ":"));
  CHECK(contains(first->text, "left amount=" + wrong.right + ", right amount=" + wrong.wrong));
  CHECK(contains(first->last_touched, "event " + std::to_string(wrong.event_id)));
  const auto balance =
      std::find_if(result.record.differences.begin(), result.record.differences.end(), [](const DifferenceLine& d) { return d.check == "balances"; });
  REQUIRE(balance != result.record.differences.end());
  CHECK(contains(balance->text, "left amount="));
}
