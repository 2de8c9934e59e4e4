// The tool without servers: its command line, its sentences, the verdict as it is kept, the page, and the gap.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <unistd.h>

#include <httplib.h>

#include "cutover/commands.hpp"
#include "cutover/gap.hpp"
#include "cutover/report.hpp"

#include "support/catch.hpp"

using namespace cutover;
using namespace epochcut;

namespace {

const Environment nothing = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
const Environment servers = [](const std::string& name) -> std::optional<std::string> {
  if (name == "EPOCHCUT_POSTGRES_CUTOVER") return "host=db user=cutover password=hunter2 dbname=exchange";
  if (name == "EPOCHCUT_CLICKHOUSE_CUTOVER") return "http://cutover:hunter2@ch:8123/";
  if (name == "USER") return "mara";
  return std::nullopt;
};

std::string refusal(const std::vector<std::string>& words, const Environment& environment = servers) {
  try {
    parse(words, environment);
  } catch (const Failure& failure) {
    CHECK(failure.kind == Reason::configuration);
    return failure.message;
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

VerdictRecord sample() {
  VerdictRecord r;
  r.verdict_id = "0b6f0d6e-7f0e-4d7e-9d39-0f1c8d2a5b11";
  r.authority = "production", r.candidate = "candidate", r.build_id = "b2<script>", r.candidate_started = "2026-06-01T11:00:00Z", r.owner = "incumbent";
  r.signed_off_by = "mara", r.generation = 3, r.sequence = 52'000, r.decision = "no_go", r.why = "positions: differs: 1 of 900 keys differ";
  r.began = instant_of("2026-06-01T12:00:00Z"), r.ended = instant_of("2026-06-01T12:31:00.250Z");
  r.thresholds = {.cuts_min = 60, .kinds = {"fee", "deposit"}, .tables = {"positions"}, .keys_percent_min = 50};
  r.cuts = 41, r.not_counted = 2, r.runs = 1, r.controls = 9, r.duration = Millis{1'700'000}, r.events = 40'000, r.first = 12'000, r.last = 52'000,
  r.base = 11'000;
  r.exercised = {.kinds = {"fee"}, .tables = {"positions"}, .keys = 700, .keys_total = 900};
  r.allowances_used = {"rounding of A"};
  r.lines = {{r.began, 11'000, "base equal", "", Millis{900}, Millis{40}, {{"positions", "pass", "none", 900, 0}}},
             {r.ended, 52'000, "differs", "positions: one differs", Millis{120}, Millis{30}, {{"positions", "fail", "differs", 899, 1}}}};
  r.control_lines = {{r.began, 11'000, "pass", "fail", "changed account=x: left amount=1, right amount=0"}};
  r.differences = {{"positions", "changed account=<b>: left cost=1.00000000, right cost=1.00000001", "last touched in production by event 9"}};
  r.outcomes = {R"({"id":"positions","status":"fail"})"};
  return r;
}

}  // namespace

TEST_CASE("a command line is taken apart") {
  const Arguments a =
      parse({"verify", "--candidate", "candidate", "--cuts=5", "--duration", "90s", "--events", "1000", "--kinds", "fee,deposit", "--watch"}, servers);
  CHECK(a.command == "verify");
  CHECK(a.place.candidate == "candidate");
  CHECK(a.verify.thresholds.cuts_min == 5);
  CHECK(a.verify.thresholds.duration_min == Millis{90'000});
  CHECK(a.verify.thresholds.events_min == 1'000);
  CHECK(a.verify.thresholds.kinds == std::vector<std::string>{"fee", "deposit"});
  CHECK(a.verify.signed_off_by == "mara");
  CHECK(a.watch);
  CHECK(parse({"verify", "--candidate", "c"}, servers).verify.thresholds.kinds.size() == 4);  // every kind that there is, unless told otherwise
  CHECK(parse({"verify", "--candidate", "c"}, servers).verify.thresholds.tables.size() == 3);
  CHECK(parse({"verify", "--candidate", "c", "--every", "500ms"}, servers).verify.every == Millis{500});
  CHECK(parse({"splice", "--candidate", "c", "--at", "77", "--in", "30s"}, servers).at == 77u);
  CHECK_FALSE(parse({"splice", "--candidate", "c"}, servers).at);
  CHECK(parse({"--help"}, nothing).help);
}

TEST_CASE("what is wrong with a command line is one sentence that says what to do") {
  CHECK(contains(refusal({}), "--help"));
  CHECK(contains(refusal({"fly"}), "no command fly"));
  CHECK(contains(refusal({"status", "--colour"}), "no option --colour"));
  CHECK(contains(refusal({"status", "verify"}), "one command at a time"));
  CHECK(contains(refusal({"verify"}), "--candidate NAME"));
  CHECK(contains(refusal({"verify", "--candidate"}), "takes a value"));
  CHECK(contains(refusal({"verify", "--candidate", "Robert'); drop"}), "can't be a name"));
  CHECK(contains(refusal({"splice", "--candidate", "production"}), "a name of its own"));
  CHECK(contains(refusal({"splice", "--candidate", "public"}), "a name of its own"));
  for (const char* bad : {"x", "-1", "", "1.5", "99999999999999999999"})
    CHECK(contains(refusal({"verify", "--candidate", "c", "--cuts", bad}), "--cuts takes a whole number"));
  for (const char* bad : {"soon", "-3s", "", "nan"}) CHECK(contains(refusal({"verify", "--candidate", "c", "--duration", bad}), "--duration takes seconds"));
  CHECK(contains(refusal({"status"}, nothing), "EPOCHCUT_POSTGRES_CUTOVER"));
  CHECK(contains(refusal({"verify", "--candidate", "c", "--postgres", "host=x", "--clickhouse", "http://x/"}, nothing), "--by NAME"));
  CHECK_FALSE(contains(refusal({"verify", "--candidate", "c", "--cuts", "x"}), "hunter2"));
}

TEST_CASE("the help names every command, and no password") {
  for (const char* command : {"status", "stage", "verify", "splice", "abort", "resume", "report", "gap", "rehearse"})
    CHECK(contains(usage(), std::string("\n  ") + command));
  CHECK(contains(usage(), "examples:"));
  CHECK(contains(usage(), "exit codes: 0"));
}

TEST_CASE("an allowance has a name, a key, columns and a day") {
  const auto list = parse_allowances(R"([{"name":"n","check":"positions","key":"account=x","columns":["cost"],"until":"2026-07-01"}])");
  REQUIRE(list.size() == 1);
  CHECK(list[0].until == std::chrono::sys_days(std::chrono::year{2026} / 7 / 1));
  const auto refused = [](const std::string& text) {
    try {
      parse_allowances(text);
    } catch (const Failure&) {
      return true;
    }
    return false;
  };
  CHECK(refused("{}"));
  CHECK(refused("nonsense"));
  CHECK(refused(R"([{"name":"n","check":"positions","key":"k","columns":["cost"]}])"));
  CHECK(refused(R"([{"name":"n","check":"positions","key":"k","columns":["cost"],"until":"2026-02-30"}])"));
  CHECK(refused(R"([{"name":"","check":"positions","key":"k","columns":["cost"],"until":"2026-07-01"}])"));
  CHECK(refused(R"([{"name":"n","check":"positions","key":"k","columns":[],"until":"2026-07-01"}])"));
}

TEST_CASE("exit codes are those of the decision") {
  CHECK(exit_code(Decision::go) == 0);
  CHECK(exit_code(Decision::no_go) == 1);
  CHECK(exit_code(Decision::not_yet) == 2);
  CHECK(exit_code(Decision::voided) == 3);
}

TEST_CASE("a go counts for its build, while it is fresh, and not across a handover") {
  const Build build{"b2", "2026-06-01T11:00:00Z"};
  const VerdictFact go{
      .verdict_id = "v", .build_id = "b2", .decision = "go", .reason = {}, .signed_off_by = {}, .at = {}, .sequence = 500, .age = Millis{60'000}};
  CHECK(refused(go, build, 400, Millis{3'600'000}).empty());
  CHECK(contains(refused(go, std::nullopt, 0, Millis{3'600'000}), "has not run yet"));
  CHECK(contains(refused(std::nullopt, build, 0, Millis{3'600'000}), "no gate"));
  CHECK(contains(refused(go, Build{"b3", ""}, 0, Millis{3'600'000}), "build b2, and it runs b3"));
  CHECK(contains(refused(go, build, 501, Millis{3'600'000}), "before the last handover"));
  CHECK(contains(refused(go, build, 0, Millis{59'999}), "old"));
  for (const char* decision : {"no_go", "not_yet", "void", "override"}) {
    VerdictFact other = go;
    other.decision = decision;
    CHECK(contains(refused(other, build, 0, Millis{3'600'000}), decision));
  }
}

TEST_CASE("the plan of a splice says who, where, when, and what can be undone") {
  Facts facts;
  facts.row = {.generation = 4, .owner = "incumbent", .committed_seq = 10'000, .chain = {}};
  CandidateFact candidate{.name = "candidate", .sequence = 9'500, .build = Build{"b2", ""}};
  candidate.verdict = VerdictFact{
      .verdict_id = "v", .build_id = "b2", .decision = "go", .reason = "equal at 60 cuts", .signed_off_by = "mara", .at = "noon", .sequence = 9'000};
  const std::string text = plan_text(facts, candidate, {}, 18'001, 4'000);
  CHECK(contains(text, "incumbent owns production (generation 4) and has committed up to 10000, at 4000 events a second"));
  CHECK(contains(text, "stop after 18000, in about 2000 ms; candidate (build b2) goes on from 18001"));
  CHECK(contains(text, "signed off by mara: equal at 60 cuts"));
  CHECK(contains(text, "cutover abort"));
  CHECK(contains(text, "only by another splice"));
}

TEST_CASE("the pause is from the last commit before the seam to the first after it") {
  std::vector<Commit> commits;
  for (int i = 0; i < 10; ++i) commits.push_back({Millis{10 * i}, 100u + static_cast<std::uint64_t>(i), 1});
  for (int i = 0; i < 10; ++i) commits.push_back({Millis{115 + 10 * i}, 110u + static_cast<std::uint64_t>(i), 2});
  const auto pause = pause_at(commits, 110);
  REQUIRE(pause);
  CHECK(pause->pause == Millis{25});
  CHECK(pause->ordinary == Millis{10});
  CHECK_FALSE(pause_at(commits, 500));  // nothing was seen after it
  CHECK_FALSE(pause_at({}, 110));
}

TEST_CASE("a verdict is read back as it was written") {
  const VerdictRecord r = sample();
  const std::string text = to_json(r);
  const VerdictRecord back = record_of(text);
  CHECK(to_json(back) == text);
  CHECK(back.decision == "no_go");
  CHECK(back.ended == r.ended);
  CHECK(back.lines.size() == 2);
  CHECK(back.lines[1].checks[0].differ == 1);
  CHECK(back.lines[1].why == "positions: one differs");
  CHECK(back.exercised.keys_total == 900);
  CHECK(back.thresholds.duration_min == r.thresholds.duration_min);
  CHECK(back.differences[0].last_touched == "last touched in production by event 9");
  CHECK_THROWS_AS(record_of("{}"), Failure);
  CHECK_THROWS_AS(record_of("nonsense"), Failure);
  VerdictRecord odd = r;
  odd.why = "bytes \xff\xfe";  // whatever a value holds, a record can be written
  CHECK_NOTHROW(record_of(to_json(odd)));
}

TEST_CASE("the page shows verdict, cuts, coverage, both values and handovers, and nothing breaks out of it") {
  const std::string page = report_page(sample(), {{"s", 2, 3, 12'000, "v-1", "2026-06-01T10:00:00Z"}});
  CHECK(contains(page, "no_go"));
  CHECK(contains(page, "left cost=1.00000000, right cost=1.00000001"));
  CHECK(contains(page, "last touched in production by event 9"));
  CHECK(contains(page, "700 of 900"));
  CHECK(contains(page, "<rect class=differs"));
  CHECK(contains(page, "<rect class=base"));
  CHECK(contains(page, "2 \u2192 3"));
  CHECK(contains(page, "But for what is allowed"));
  CHECK(contains(page, "width=device-width"));
  CHECK_FALSE(contains(page, "<script"));
  CHECK_FALSE(contains(page, "account=<b>"));
  CHECK(contains(page, "account=&lt;b&gt;"));
  CHECK_FALSE(contains(page, "http"));  // nothing is fetched
  if (const char* out = std::getenv("EPOCHCUT_PAGE_OUT")) std::ofstream(out) << page;
  VerdictRecord empty;
  CHECK(contains(report_page(empty, {}), "No cut was taken"));
}

TEST_CASE("a page of a day's cuts stays small, and its worst cuts stay visible") {
  VerdictRecord r = sample();
  const CutLine good{r.began, 1, "equal", "", Millis{100}, Millis{10}, {}};
  r.lines.assign(5'000, good);
  r.lines[2'345].result = "differs";
  const std::string page = report_page(r, {});
  CHECK(page.size() < 100'000);
  CHECK(contains(page, "<rect class=differs"));
}

TEST_CASE("the gap is found from the schedules that the program runs by") {
  const recon_engine::Environment any = [](const std::string&) { return std::optional<std::string>("host=unset"); };
  const recon_engine::Config config = recon_engine::load_config(RECON_ENGINE_EXAMPLE, any);
  std::map<std::string, RunFacts> runs;
  for (const auto& [id, check] : config.checks) runs[id].longest = Millis{2'000};
  const Instant noon = instant_of("2026-06-01T12:01:00Z");  // live checks fire at 12:05, 12:10 ...
  const SwapPlan plan = plan_swap(program_of(config, "recon_engine", Millis{30'000}, runs), noon);
  CHECK(plan.verdict == GapVerdict::safe_now);
  REQUIRE(plan.next);
  CHECK(plan.next->at == instant_of("2026-06-01T12:05:00Z"));
  REQUIRE(plan.verify);
  CHECK(plan.verify->at == instant_of("2026-06-01T12:05:00Z"));
  CHECK(contains(to_json(plan), "\"verdict\":\"safe now\""));
  CHECK(plan_swap(program_of(config, "recon_engine", Millis{90'000}, runs), instant_of("2026-06-01T12:04:00Z")).verdict == GapVerdict::wait);
  CHECK(plan_swap(program_of(config, "recon_engine", Millis{300'000}, runs), noon).verdict == GapVerdict::never);
  runs["transactions-balance-live"].running_since = noon - Millis{500};
  CHECK(plan_swap(program_of(config, "recon_engine", Millis{30'000}, runs), noon).verdict == GapVerdict::wait);
}

namespace {

/// A program whose checks fire twelve hours from now, so that by its schedule any time is a safe one.
struct FarSchedule {
  explicit FarSchedule(int port) : path(std::filesystem::temp_directory_path() / ("epochcut-gap-" + std::to_string(getpid()) + ".toml")) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto hour = (std::chrono::duration_cast<std::chrono::hours>(now).count() + 12) % 24;
    std::ofstream file(path);
    file << "[stores]\npostgres = \"host=unset\"\nlog_env = \"EPOCHCUT_TEST_NO_SUCH_LOG\"\nclickhouse = \"http://127.0.0.1:1/\"\n"
         << "custodian = \"http://127.0.0.1:1\"\n"
         << "[program]\nspool = \"/nowhere\"\nport = " << port << "\n";
    const auto unset = [](const std::string&) { return std::optional<std::string>("host=unset"); };
    for (const auto& [id, check] : recon_engine::load_config(RECON_ENGINE_EXAMPLE, unset).checks)
      file << "[checks.\"" << id << "\"]\npaging = " << (id.ends_with("-live") ? "false" : "true") << "\nzone = \"UTC\"\nschedule = \"0 30 " << hour
           << " * * *\"\n";
  }
  FarSchedule(const FarSchedule&) = delete;
  FarSchedule& operator=(const FarSchedule&) = delete;
  ~FarSchedule() { std::filesystem::remove(path); }

  int ask(bool json = false) {
    std::ostringstream said, noted;
    std::vector<std::string> words{"gap", "--config", path.string()};
    if (json) words.push_back("--json");
    const int code = gap_command(parse(words, servers), {.out = said, .err = noted, .live = false, .ask = {}});
    out = said.str(), err = noted.str();
    INFO(out << err);
    return code;
  }

  std::filesystem::path path;
  std::string out, err;
};

/// The program's page, as far as the gap asks it.
class Page {
 public:
  explicit Page(std::string health) {
    server_.Get("/internal/health", [health](const httplib::Request&, httplib::Response& answer) { answer.set_content(health, "application/json"); });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::sleep_for(Millis{1});
  }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() {
    server_.stop();
    thread_.join();
  }
  int port() const { return port_; }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace

TEST_CASE("a gap is safe only when the program itself has said that nothing runs") {
  {
    FarSchedule silent(1);  // nobody listens there
    CHECK(silent.ask() == exit_no_answer);
    CHECK(contains(silent.out, "by the schedules alone: "));
    CHECK(contains(silent.err, "does not answer"));
    CHECK(silent.ask(true) == exit_no_answer);
    CHECK(contains(silent.out, "\"running\":null"));
  }
  {
    const Page idle(R"({"checks":[{"id":"pnl-is-zero-sum-live","running_since":null}]})");
    FarSchedule far(idle.port());
    CHECK(far.ask() == exit_done);
    CHECK(contains(far.out, "afterwards: cutover gap --config "));
    CHECK(far.ask(true) == exit_done);
    CHECK(contains(far.out, "\"running\":[]"));
  }
  {
    const Page busy(R"({"checks":[{"id":"pnl-is-zero-sum-live","running_since":")" +
                    epochcut::to_text(std::chrono::floor<Millis>(std::chrono::system_clock::now())) + R"("}]})");
    FarSchedule far(busy.port());
    CHECK(far.ask() == exit_usage);  // wait
    CHECK(far.ask(true) == exit_usage);
    CHECK(contains(far.out, "\"running\":[\"pnl-is-zero-sum-live\"]"));
  }
  {
    const Page other("<!doctype html><title>Sign in</title>");
    FarSchedule far(other.port());
    CHECK(far.ask() == exit_no_answer);
    CHECK(contains(far.err, "can't read"));
  }
}
