#include "cutover/gap.hpp"

#include <algorithm>
#include <ostream>

#include <httplib.h>
#include <nlohmann/json.hpp>

#include <epochcut/verdict/report.hpp>

#include "cutover/commands.hpp"

namespace cutover {

using namespace epochcut;

namespace {

constexpr int page_wait_s = 3;
constexpr const char* unset = "host=unset";  ///< what is named by an environment variable that is not there

Instant of_ms(const std::optional<std::string>& ms) { return Instant(Millis(std::stoll(ms.value_or("0")))); }

std::string in_ms(const std::string& column) { return "(extract(epoch FROM " + column + ") * 1000)::bigint"; }

std::map<std::string, RunFacts> recorded(const recon_engine::Config& config) {
  std::map<std::string, RunFacts> runs;
  if (config.log == unset) throw Failure(Reason::configuration, "the environment variable of its [stores] log is not set");
  Asker asker(config.log);
  for (const Asker::Row& row :
       asker.ask("SELECT check_id, max(took_ms), " + in_ms("max(scheduled)") +
                 " FROM recon_engine.invariants_log WHERE trigger IN ('cron', 'event') AND scheduled > now() - interval '30 days' GROUP BY 1"))
    runs[*row[0]] = {.longest = Millis(std::stoll(*row[1])), .last_fire = of_ms(row[2])};
  return runs;
}

/// What runs now. Errors: Failure when the page does not answer, since then nobody knows.
void add_running(const recon_engine::Config& config, std::map<std::string, RunFacts>& runs) {
  httplib::Client client(config.host, config.port);
  client.set_connection_timeout(page_wait_s);
  client.set_read_timeout(page_wait_s);
  const auto answer = client.Get("/internal/health");
  if (!answer || answer->status != 200)
    throw Failure(Reason::connection, "its page at " + config.host + ":" + std::to_string(config.port) + " does not answer, so what runs now is not known");
  try {
    const nlohmann::json health = nlohmann::json::parse(answer->body);  // named, for it must outlive the loop
    for (const nlohmann::json& check : health.at("checks"))
      if (check.at("running_since").is_string()) runs[check.at("id")].running_since = instant_of(check.at("running_since"));
  } catch (const nlohmann::json::exception& e) {
    throw Failure(Reason::schema, std::string("its page says what this tool can't read: ") + e.what());
  }
}

}  // namespace

ScheduledProgram program_of(const recon_engine::Config& config, const std::string& name, Millis deploy, const std::map<std::string, RunFacts>& runs) {
  ScheduledProgram program{.name = name, .jobs = {}, .deploy = deploy};
  for (const auto& [id, check] : config.checks) {
    if (!check.enabled) continue;
    const auto found = runs.find(id);
    const RunFacts facts = found == runs.end() ? RunFacts{} : found->second;
    const auto next = recon_engine::clockwork(check);
    program.jobs.push_back({.id = id,
                            .next = next,
                            .run_max = facts.longest.count() > 0 ? std::min(2 * facts.longest, check.budget) : check.budget,
                            .late_max = check.jitter,
                            .skippable = !next,
                            .running_since = facts.running_since,
                            .last_fire = facts.last_fire});
  }
  return program;
}

std::string to_json(const SwapPlan& plan, bool running_known) {
  using json::escaped;
  using json::member;
  const auto fire = [](const std::optional<JobFire>& f) {
    return f ? "{" + member("job", escaped(f->job)) + "," + member("at", escaped(epochcut::to_text(f->at))) + "}" : std::string("null");
  };
  std::string out = "{" + member("program", escaped(plan.program)) + "," + member("verdict", escaped(to_string(plan.verdict))) + "," +
                    member("at", plan.at ? escaped(epochcut::to_text(*plan.at)) : "null") + "," + member("needed_ms", std::to_string(plan.needed.count())) +
                    "," + member("next", fire(plan.next)) + "," + member("verify", fire(plan.verify)) + ",";
  if (plan.gap)
    out += member("gap", "{" + member("from", escaped(epochcut::to_text(plan.gap->from))) + "," +
                             member("until", plan.gap->until ? escaped(epochcut::to_text(*plan.gap->until)) : "null") + "}") +
           ",";
  std::string running;
  for (const std::string& id : plan.running) running += (running.empty() ? "" : ",") + escaped(id);
  return out + member("running", running_known ? "[" + running + "]" : "null") + "," + member("why", escaped(plan.why)) + "}";
}

int gap_command(const Arguments& a, const Terminal& t) {
  const recon_engine::Environment actual = recon_engine::process_environment();
  // Its schedules are wanted, not its secrets: what is not set here is not needed here.
  const recon_engine::Config config = recon_engine::load_config(a.config, [&](const std::string& name) { return std::optional(actual(name).value_or(unset)); });
  const Instant now = std::chrono::floor<Millis>(std::chrono::system_clock::now());
  std::map<std::string, RunFacts> runs;
  const auto note = [&](const std::string& what) { t.err << "cutover: " << what << "\n"; };
  try {
    runs = recorded(config);
  } catch (const Failure& failure) {
    if (a.since) throw;
    note("how long its runs take is not known (" + printable(failure.message) + "); each is taken to need its whole budget");
  }
  if (a.since) {  // it has been swapped
    if (a.build.empty()) throw Failure(Reason::configuration, "say which build must have run: cutover gap --since TIME --build ID");
    const ScheduledProgram program = program_of(config, a.program, a.deploy, runs);
    ScheduledProgram then = program;
    for (ScheduledJob& job : then.jobs) job.last_fire.reset(), job.running_since.reset();
    SwapPlan plan = plan_swap(then, *a.since);
    if (!plan.at) plan.at = a.since;  // it was swapped all the same
    std::vector<FinishedRun> finished;
    Asker asker(config.log);
    for (const Asker::Row& row : asker.ask("SELECT check_id, " + in_ms("scheduled") +
                                               ", version, status = 'pass' OR status = 'skipped' FROM "
                                               "recon_engine.invariants_log WHERE trigger IN ('cron', 'event') AND " +
                                               in_ms("scheduled") + " >= $1 ORDER BY scheduled",
                                           {std::to_string(a.since->time_since_epoch().count())}))
      finished.push_back({*row[0], of_ms(row[1]), row[2].value_or(""), row[3] == "t"});
    const Landing landing = verify_swap(plan, then, a.build, finished, now);
    if (a.json)
      t.out << "{" << json::member("landed", json::escaped(to_string(landing.landed))) << "," << json::member("why", json::escaped(landing.why)) << "}\n";
    else
      t.out << to_string(landing.landed) << ": " << landing.why << "\n";
    return landing.landed == Landed::yes ? exit_done : landing.landed == Landed::no ? exit_refused : exit_usage;
  }
  bool running_known = true;
  try {
    add_running(config, runs);
  } catch (const Failure& failure) {
    running_known = false;
    note(failure.message + "; a run is never interrupted, so this is no safe moment unless the program is stopped");
  }
  const SwapPlan plan = plan_swap(program_of(config, a.program, a.deploy, runs), now);
  if (a.json)
    t.out << to_json(plan, running_known) << "\n";
  else {
    t.out << (running_known ? "" : "by the schedules alone: ") << plan.why << "\n";
    if (plan.verify)
      t.out << "afterwards: cutover gap --config " << a.config << " --since " << epochcut::to_text(plan.at.value_or(now)).substr(0, 19) << "Z --build ID\n";
  }
  if (plan.verdict == GapVerdict::safe_now && !running_known) return exit_no_answer;  // what is not known is not safe
  return plan.verdict == GapVerdict::safe_now ? exit_done : plan.verdict == GapVerdict::wait ? exit_usage : exit_refused;
}

}  // namespace cutover
