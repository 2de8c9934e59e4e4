#include "cutover/commands.hpp"

#include <algorithm>
#include <fstream>
#include <mutex>
#include <ostream>
#include <thread>

#include <epochcut/verdict/report.hpp>

#include "cutover/report.hpp"
#include "exchange/clickhouse_writer.hpp"
#include "exchange/postgres_writer.hpp"
#include "exchange/stream.hpp"

namespace cutover {

using namespace epochcut;
using json::escaped;
using json::member;

namespace {

constexpr Millis rate_sample{400};      ///< how long the token is watched to know how fast it moves
constexpr Millis watch_poll{1};         ///< between two looks at the token around a seam
constexpr Millis after_marker{30'000};  ///< beyond the moment at which the owner should reach the seam, before the tool takes it back
constexpr double lag_seconds = 0.5;     ///< of events that a shadow stays behind: from a cut to the hold. Each cut waits for as much

double rate_of(PostgresAuthority& authority, const Control& control) {
  const AuthorityRow first = authority.read();
  const Millis began = control.clock->now();
  control.sleep(rate_sample);
  const AuthorityRow second = authority.read();
  const double seconds = static_cast<double>((control.clock->now() - began).count()) / 1000;
  return seconds > 0 && second.committed_seq > first.committed_seq ? static_cast<double>(second.committed_seq - first.committed_seq) / seconds : 0;
}

bool confirmed(const Arguments& a, const Terminal& t, const std::string& question) { return a.yes || (t.ask && t.ask(question)); }

int refuse(const Arguments& a, const Terminal& t, const std::string& why) {
  if (a.json) t.out << "{" << member("done", "false") << "," << member("why", escaped(why)) << "}\n";
  t.err << "cutover: " << why << "\n";
  return exit_refused;
}

const CandidateFact* find(const Facts& facts, const std::string& name) {
  const auto found = std::find_if(facts.candidates.begin(), facts.candidates.end(), [&](const CandidateFact& c) { return c.name == name; });
  return found == facts.candidates.end() ? nullptr : &*found;
}

/// Looks at the token from outside, on a session of its own, while a splice goes on.
class Watch {
 public:
  explicit Watch(const Place& place) : place_(place), thread_([this](std::stop_token stop) { run(stop); }) {}
  std::vector<Commit> take() {
    thread_.request_stop();
    thread_.join();
    return std::move(commits_);
  }

 private:
  void run(const std::stop_token& stop) {
    try {
      PostgresAuthority authority = production_authority(place_);
      while (!stop.stop_requested()) {
        const AuthorityRow row = authority.read();
        if (commits_.empty() || commits_.back().sequence != row.committed_seq)
          commits_.push_back({SystemClock::instance().now(), row.committed_seq, row.generation});
        SystemClock::instance().sleep(watch_poll);
      }
    } catch (const std::exception&) {  // it only measures
    }
  }
  const Place place_;
  std::vector<Commit> commits_;
  std::jthread thread_;
};

std::string limits_text(const std::string& authority) {
  return "until the flip it can be taken back at no cost (cutover abort), and it takes itself back if the candidate does not come within the owner's bound "
         "(" +
         std::to_string(SpliceLimits{}.seam_wait.count()) + " ms, unless its engine was started with another); after the flip " + authority +
         " goes back only by another splice";
}

/// Who committed what around a seam, by the ledger's own rows.
std::vector<Asker::Row> owners_around(const Place& place, std::uint64_t s) {
  const std::string first = std::to_string((s > 1'000 ? s - 1'000 : 0) << 8), last = std::to_string((s + 1'000) << 8);
  Asker asker(place.postgres);
  return asker.ask("SELECT generation, min(sequence), max(sequence), count(*) FROM " + place.production().schema +
                       ".transactions WHERE event_id BETWEEN $1 AND $2 GROUP BY 1 ORDER BY 1",
                   {first, last});
}

int finish(const Arguments& a, const Terminal& t, const SpliceReport& report, std::vector<Commit> commits) {
  std::string text, pause_json;
  if (report.seam) {
    const std::uint64_t s = report.seam->s;
    text += "generation " + std::to_string(report.seam->from_gen) + " committed up to " + std::to_string(s - 1) + ", generation " +
            std::to_string(report.seam->to_gen) + " goes on from " + std::to_string(s) + "\n";
    for (const Asker::Row& row : owners_around(a.place, s))
      text += "  generation " + *row[0] + ": transactions of " + *row[1] + " to " + *row[2] + " (" + *row[3] + " rows near the seam)\n";
    if (const std::optional<SeamPause> pause = pause_at(commits, s)) {
      text += "between the last commit before and the first after it: " + std::to_string(pause->pause.count()) +
              " ms; between two others: " + std::to_string(pause->ordinary.count()) + " ms (seen from outside, every " + std::to_string(watch_poll.count()) +
              " ms)\n";
      pause_json = "," + member("pause_ms", std::to_string(pause->pause.count())) + "," + member("ordinary_ms", std::to_string(pause->ordinary.count()));
    }
  }
  const bool done = report.state == SpliceState::confirmed;
  if (a.json) {
    t.out << "{" << member("done", done ? "true" : "false") << "," << member("state", escaped(to_string(report.state))) << ","
          << member("why", escaped(report.why));
    if (report.seam)
      t.out << "," << member("splice_id", escaped(report.seam->splice_id)) << "," << member("from_gen", std::to_string(report.seam->from_gen)) << ","
            << member("to_gen", std::to_string(report.seam->to_gen)) << "," << member("s", std::to_string(report.seam->s));
    t.out << "," << member("armed_ms", std::to_string(report.armed.count())) << "," << member("at_seam_ms", std::to_string(report.at_seam.count())) << ","
          << member("flipped_ms", std::to_string(report.flipped.count())) << "," << member("confirmed_ms", std::to_string(report.confirmed.count()))
          << pause_json << "}\n";
  } else {
    t.out << text;
  }
  if (done) {
    t.err << "confirmed. What it was taken over from ends by itself (exit code 3); start it as a shadow: exchange shadow --engine NAME\n";
    return exit_done;
  }
  t.err << "cutover: " << report.why << "\n";
  return report.state == SpliceState::flipped ? exit_no_answer : exit_refused;
}

template <class Tell>
auto telling(const Arguments& a, const Terminal& t, Tell) {
  return [&a, &t](SpliceState state) {
    if (!a.json) t.err << "  " << to_string(state) << std::endl;
  };
}

int run_splice(const Arguments& a, const Terminal& t, const Control& control, const std::string& splice_id, const ArmRequest* request, Millis deadline) {
  PostgresAuthority authority = production_authority(a.place);
  SpliceLimits limits;
  limits.deadline = deadline;
  Watch watch(a.place);
  SpliceReport report;
  try {
    Splice splice(authority, splice_id, limits, control);
    const auto tell = telling(a, t, 0);
    report = request != nullptr ? splice.run(*request, tell) : splice.resume(tell);
  } catch (const Failure& failure) {
    watch.take();
    if (failure.kind != Reason::cancelled) throw;
    return refuse(a, t, failure.message);
  }
  control.clock->sleep(report.seam ? Millis{300} : Millis{0});  // a few more commits to compare with
  return finish(a, t, report, watch.take());
}

}  // namespace

std::optional<SeamPause> pause_at(const std::vector<Commit>& commits, std::uint64_t s) {
  std::optional<Millis> before, after;
  std::vector<Millis> intervals;
  for (std::size_t i = 0; i < commits.size(); ++i) {
    if (commits[i].sequence < s) before = commits[i].at;
    if (commits[i].sequence >= s && !after) after = commits[i].at;
    if (i > 1 && (commits[i].sequence < s) == (commits[i - 1].sequence < s)) intervals.push_back(commits[i].at - commits[i - 1].at);
  }
  if (!before || !after || intervals.empty()) return std::nullopt;
  std::sort(intervals.begin(), intervals.end());
  return SeamPause{*after - *before, intervals[intervals.size() / 2]};
}

std::string plan_text(const Facts& facts, const CandidateFact& candidate, const Place& place, std::uint64_t stop_at, double rate) {
  const AuthorityRow& row = facts.row;
  const std::uint64_t ahead = stop_at > row.committed_seq ? stop_at - row.committed_seq : 0;
  std::string text = row.owner + " owns " + place.authority + " (generation " + std::to_string(row.generation) + ") and has committed up to " +
                     std::to_string(row.committed_seq) + ", at " + std::to_string(static_cast<std::uint64_t>(rate)) + " events a second\n";
  text += "it will stop after " + std::to_string(stop_at - 1);
  if (rate > 0) text += ", in about " + std::to_string(static_cast<std::int64_t>(static_cast<double>(ahead) / rate * 1000)) + " ms";
  text += "; " + candidate.name + " (build " + (candidate.build ? candidate.build->id : "unknown") + ") goes on from " + std::to_string(stop_at) + "\n";
  if (candidate.verdict)
    text += "by the go of " + candidate.verdict->at + " at " + std::to_string(candidate.verdict->sequence) + ", signed off by " +
            printable(candidate.verdict->signed_off_by) + ": " + printable(candidate.verdict->reason) + "\n";
  return text + limits_text(place.authority) + "\n";
}

int status_command(const Arguments& a, const Terminal& t) {
  const Facts facts = read_facts(a.place, a.age_max);
  t.out << (a.json ? to_json(facts) + "\n" : to_text(facts, a.place));
  return exit_done;
}

int stage_command(const Arguments& a, const Terminal& t) {
  if (a.owner_postgres.empty() || a.owner_clickhouse.empty())
    throw Failure(Reason::configuration, "the shadow's tables are made by who may create tables: give --owner-postgres and --owner-clickhouse");
  const Facts facts = read_facts(a.place, a.age_max);
  const std::string& name = a.place.candidate;
  if (facts.row.owner == name) return refuse(a, t, name + " owns " + a.place.authority + " already");
  const exchange::Layout shadow = a.place.shadow();
  if (!a.json)
    t.out << name << " gets a shadow of its own: schema " << shadow.schema << " in PostgreSQL, database " << shadow.database << " in ClickHouse. Nothing of "
          << a.place.authority << " is touched; what is there already stays\n";
  if (!confirmed(a, t, "make the shadow's tables?")) return refuse(a, t, "nothing was made");
  exchange::PostgresWriter ledger(a.owner_postgres);
  exchange::create_tables(ledger, shadow, name, exchange::Kind::shadow);
  exchange::ClickhouseWriter analytics(a.owner_clickhouse);
  exchange::create_tables(analytics, shadow);
  PostgresAuthority authority = production_authority(a.place);
  std::uint64_t lag = a.lag;
  if (lag == 0) lag = std::max<std::uint64_t>(200, static_cast<std::uint64_t>(rate_of(authority, {}) * lag_seconds));
  const std::string command =
      "exchange shadow --engine " + name + " --lag " + std::to_string(lag) + (a.place.authority == "production" ? "" : " --authority " + a.place.authority);
  if (a.json)
    t.out << "{" << member("done", "true") << "," << member("schema", escaped(shadow.schema)) << "," << member("database", escaped(shadow.database)) << ","
          << member("start", escaped(command)) << "}\n";
  else
    t.out << "staged. Start the candidate, with the options of the stream that " << facts.row.owner << " runs with:\n  " << command
          << "\nand then: cutover verify --candidate " << name << " --watch\n";
  return exit_done;
}

int verify_command(const Arguments& a, const Terminal& t, const Control& control) {
  bool open_line = false;
  const auto tell = [&](const Progress& progress) {
    const std::string line = to_text(progress);
    if (a.json) return;
    if (a.watch && t.live) {
      t.out << "\r\033[K" << line << std::flush;
      open_line = true;
    } else {
      t.out << line << std::endl;
    }
  };
  const VerifyResult result = verify(a.place, a.verify, tell, control);
  if (open_line) t.out << "\n";
  const VerdictRecord& r = result.record;
  if (a.json) {
    t.out << to_json(r) << "\n";
  } else {
    t.out << r.decision << ": " << r.why << "\n";
    for (const DifferenceLine& d : r.differences)
      t.out << "  " << d.check << ": " << d.text << (d.last_touched.empty() ? "" : "\n    " + d.last_touched) << "\n";
    t.out << "verdict " << r.verdict_id << " on " << r.candidate << ", build " << r.build_id << ", signed off by " << printable(r.signed_off_by) << "\n";
  }
  return result.exit_code;
}

int splice_command(const Arguments& a, const Terminal& t, const Control& control) {
  const Facts facts = read_facts(a.place, a.age_max);
  const CandidateFact* candidate = find(facts, a.place.candidate);
  if (candidate == nullptr) return refuse(a, t, a.place.candidate + " has no shadow: cutover stage --candidate " + a.place.candidate);
  if (facts.row.owner == candidate->name) return refuse(a, t, candidate->name + " owns " + a.place.authority + " already");
  if (facts.row.marker)
    return refuse(a, t,
                  "a splice to " + facts.row.marker->successor + " at " + std::to_string(facts.row.marker->stop_at) +
                      " is armed already: cutover resume, or cutover abort");
  if (!candidate->go_refused.empty())
    return refuse(a, t, candidate->name + " can't be spliced: " + candidate->go_refused + "; run cutover verify --candidate " + candidate->name);
  PostgresAuthority authority = production_authority(a.place);
  const double rate = rate_of(authority, control);
  std::uint64_t stop_at = a.at ? *a.at : choose_stop_at(authority.read().committed_seq, rate, a.in);
  if (!a.json) t.out << plan_text(facts, *candidate, a.place, stop_at, rate) << std::flush;
  if (!confirmed(a, t, "hand " + a.place.authority + " over to " + candidate->name + "?")) return refuse(a, t, "nothing was armed");
  // An answer takes time, and the owner has gone on.
  const std::uint64_t stands = authority.read().committed_seq;
  if (!a.at) stop_at = choose_stop_at(stands, rate, a.in);
  const Millis until = rate > 0 && stop_at > stands ? Millis(static_cast<std::int64_t>(static_cast<double>(stop_at - stands) / rate * 1000)) : Millis{0};
  const ArmRequest request{.splice_id = new_uuid(),
                           .successor = candidate->name,
                           .build_id = candidate->build->id,
                           .generation = facts.row.generation,
                           .stop_at = stop_at,
                           .verdict_seq_min = verdict_floor(facts),
                           .verdict_age_max = a.age_max};
  if (!a.json) t.err << "splice " << request.splice_id << " at " << stop_at << std::endl;
  return run_splice(a, t, control, request.splice_id, &request, until + after_marker);
}

int resume_command(const Arguments& a, const Terminal& t, const Control& control) {
  const Facts facts = read_facts(a.place, a.age_max);
  std::string splice_id;
  if (facts.row.marker)
    splice_id = facts.row.marker->splice_id;
  else if (!facts.seams.empty() && facts.row.committed_seq < facts.seams[0].s)
    splice_id = facts.seams[0].splice_id;
  else
    return refuse(a, t, "no splice is under way; cutover status says where things stand");
  if (!a.json) t.out << "splice " << splice_id << " is " << to_string(facts.state) << "; " << limits_text(a.place.authority) << "\n";
  return run_splice(a, t, control, splice_id, nullptr, after_marker);
}

int abort_command(const Arguments& a, const Terminal& t) {
  const Facts facts = read_facts(a.place, a.age_max);
  if (!facts.row.marker) return refuse(a, t, "nothing is armed; cutover status says where things stand");
  if (!a.json)
    t.out << "the splice to " << facts.row.marker->successor << " at " << facts.row.marker->stop_at << " is taken back; " << facts.row.owner
          << " goes on as if nothing had been, and the go still counts as long as it is fresh\n";
  if (!confirmed(a, t, "take it back?")) return refuse(a, t, "it stays armed");
  PostgresAuthority authority = production_authority(a.place);
  const bool done = authority.disarm(facts.row.marker->splice_id);
  if (!done)
    return refuse(a, t,
                  "it was over before: " + std::string(authority.seam(facts.row.marker->splice_id) ? "it has flipped, and goes back only by another splice"
                                                                                                   : "somebody took it back"));
  if (a.json)
    t.out << "{" << member("done", "true") << "," << member("splice_id", escaped(facts.row.marker->splice_id)) << "}\n";
  else
    t.out << "taken back\n";
  return exit_done;
}

int report_command(const Arguments& a, const Terminal& t) {
  Asker asker(a.place.postgres);
  const std::string verdicts = a.place.production().schema + ".epochcut_verdict";
  const std::string select = "SELECT proof::text FROM " + verdicts + " WHERE authority = $1 AND proof ? 'format' AND ";
  const auto rows = !a.verdict_id.empty()        ? asker.ask(select + "verdict_id::text = $2", {a.place.authority, a.verdict_id})
                    : !a.place.candidate.empty() ? asker.ask(select + "candidate = $2 ORDER BY at DESC LIMIT 1", {a.place.authority, a.place.candidate})
                                                 : asker.ask(select + "$2 = '' ORDER BY at DESC LIMIT 1", {a.place.authority, ""});
  if (rows.empty()) return refuse(a, t, "there is no such verdict yet: cutover verify --candidate NAME makes one");
  const VerdictRecord record = record_of(*rows[0][0]);
  const std::string page = a.json ? to_json(record) + "\n" : report_page(record, read_facts(a.place, a.age_max).seams);
  if (a.out.empty()) {
    t.out << page;
    return exit_done;
  }
  std::ofstream file(a.out, std::ios::binary);
  file << page;
  file.close();
  if (!file) throw Failure(Reason::configuration, a.out + " can't be written");
  t.out << a.out << ": " << record.decision << ": " << record.why << "\n";
  return exit_done;
}

int run(const Arguments& a, const Terminal& t, const Control& control) {
  if (a.help) {
    t.out << usage();
    return exit_done;
  }
  if (a.command == "status") return status_command(a, t);
  if (a.command == "stage") return stage_command(a, t);
  if (a.command == "verify") return verify_command(a, t, control);
  if (a.command == "splice") return splice_command(a, t, control);
  if (a.command == "resume") return resume_command(a, t, control);
  if (a.command == "abort") return abort_command(a, t);
  if (a.command == "report") return report_command(a, t);
  if (a.command == "gap") return gap_command(a, t);
  return rehearse_command(a, t, control);
}

}  // namespace cutover
