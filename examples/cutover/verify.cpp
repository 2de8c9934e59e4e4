#include "cutover/verify.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <nlohmann/json.hpp>

namespace cutover {

using namespace epochcut;

namespace {

Instant now() { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

Status status_of(const std::vector<Outcome>& outcomes) {
  std::vector<Status> statuses;
  for (const Outcome& o : outcomes) statuses.push_back(o.status);
  return all_of(statuses);
}

/// Nothing to compare since the last cut, and all that could be compared is equal.
bool quiet(const std::vector<Outcome>& outcomes) {
  if (status_of(outcomes) != Status::skipped) return false;
  return std::all_of(outcomes.begin(), outcomes.end(),
                     [](const Outcome& o) { return o.status == Status::pass || o.reason == Reason::nothing_selected || o.reason == Reason::empty; });
}

/// One run of the gate over one build of the candidate.
class Verification {
 public:
  Verification(const Place& place, const VerifyOptions& options, const std::function<void(const Progress&)>& tell, const Control& control)
      : place_(place),
        options_(options),
        tell_(tell),
        control_(control),
        comparer_(place, options.compare, control),
        asker_(place.postgres),
        gate_(options.thresholds, options.allowances) {
    if (options.blind) comparer_.blind_control();
  }

  VerifyResult run() {
    begin();
    bool broken = false;
    if (schema()) {
      const Millis start = control_.clock->now();
      int unanswered = 0;
      for (;;) {
        const Millis due = control_.clock->now() + options_.every;
        if (same_build()) unanswered = cut() ? 0 : unanswered + 1;
        broken = unanswered >= unanswered_in_a_row_max;
        if (broken || over() || cancelled()) break;
        if (options_.at_most.count() > 0 && control_.clock->now() - start >= options_.at_most) break;
        // What is old is compared as fast as it goes.
        if (!based_ && unanswered == 0) continue;
        try {
          control_.sleep(std::max(due - control_.clock->now(), Millis{0}));
        } catch (const Failure&) {  // it was told to stop
          break;
        }
      }
    }
    return end(broken);
  }

 private:
  bool over() const { return gate_.decision() != Decision::not_yet || !schema_why_.empty(); }
  bool cancelled() const { return control_.cancel != nullptr && control_.cancel->requested(); }

  void begin() {
    const std::optional<Build> build = build_of(asker_, place_.candidate);
    if (!build)
      throw Failure(Reason::configuration, place_.candidate +
                                               " has not said which build it is, and a verdict counts for one build only; start it: exchange shadow --engine " +
                                               place_.candidate);
    build_ = *build;
    const AuthorityRow row = production_authority(place_).read();
    record_ = {};
    record_.verdict_id = new_uuid();
    record_.authority = place_.authority, record_.candidate = place_.candidate, record_.owner = row.owner, record_.generation = row.generation;
    record_.build_id = build_.id, record_.candidate_started = build_.started, record_.signed_off_by = options_.signed_off_by;
    record_.began = now(), record_.thresholds = options_.thresholds;
    if (row.owner == place_.candidate)
      throw Failure(Reason::configuration, place_.candidate + " owns " + place_.authority + " already: there is nothing to verify");
  }

  /// A gate is of one build: another one begins it anew.
  bool same_build() {
    try {
      const std::optional<Build> build = build_of(asker_, place_.candidate);
      if (build && build->id == build_.id) return true;
    } catch (const Failure&) {
      return true;  // the cut will say what is wrong
    }
    gate_ = ShadowGate(options_.thresholds, options_.allowances);
    window_ = {}, based_ = false;
    begin();
    return true;
  }

  bool schema() {
    const std::vector<Outcome> outcomes = comparer_.schema();
    for (const Outcome& o : outcomes) {
      if (o.status == Status::error) throw Failure(o.reason, o.id + ": " + o.message);
      if (o.status == Status::pass) continue;
      if (schema_why_.empty()) schema_why_ = o.id + ": " + o.message;
      keep_unequal(o);
      for (const Difference& d : o.differences) record_.differences.push_back({o.id, epochcut::to_text(d), ""});
    }
    return schema_why_.empty();
  }

  void keep_unequal(const Outcome& o) {
    if (unequal_.size() < unequal_kept_max) unequal_.push_back(epochcut::to_json(o));
  }

  /// False if it had no answer.
  bool cut() {
    if (!gate_.first()) window_.run_after = window_.after;
    Window window = window_;
    if (!based_) {
      try {
        const std::uint64_t at = production_authority(place_, control_).read().committed_seq;
        if (at > window.after + options_.compare.slice_max) window.upto = window.after + options_.compare.slice_max;
      } catch (const Failure&) {  // the cut will say what is wrong
      }
    }
    const bool with_control = gate_.controls() == 0 || ++since_control_ >= options_.control_every;
    CutResult result = comparer_.cut(window, with_control);
    const Status status = status_of(result.checks);

    CutLine line{.at = now(),
                 .sequence = result.checks[0].epoch ? result.checks[0].epoch->sequence : 0,
                 .result = {},
                 .why = {},
                 .took = result.took,
                 .held = result.held,
                 .checks = {}};
    for (const Outcome& o : result.checks) {
      line.checks.push_back({o.id, std::string(to_string(o.status)), std::string(to_string(o.reason)), o.counts.equal, o.counts.differences()});
      if (o.status == Status::pass) continue;
      keep_unequal(o);
      if (line.why.empty() || o.status == Status::fail) line.why = o.id + ": " + o.message;
    }
    for (const ControlResult& c : result.controls) {
      record_.control_lines.push_back({line.at, line.sequence, std::string(to_string(c.same.status)), std::string(to_string(c.planted.status)),
                                       c.plant ? epochcut::to_text(*c.plant) : ""});
      // A shadow that differs is no control: the checks themselves say so.
      if (&c == &result.controls.front() && c.same.status == Status::fail) continue;
      const int held = gate_.controls();
      gate_.control(c.same, c.planted, c.plant);
      if (gate_.controls() > held) since_control_ = 0;
      if (c.planted.status == Status::error) keep_unequal(c.planted);
    }
    last_ = std::move(result.checks);

    // What is old proves nothing of the window, but a difference in it is one; and a window in which nothing happened is no cut without an answer.
    const bool base = !based_, idle = quiet(last_);
    if ((!base && !idle) || status == Status::fail) {
      const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
      gate_.add(std::span<const Outcome>(last_), control_.clock->now(), result.exercised, today);
    }
    const bool allowed = status == Status::fail && gate_.decision() != Decision::no_go;
    const bool equal = status == Status::pass || allowed;
    line.result = std::string(base ? "base " : "") + (equal ? "equal" : status == Status::fail ? "differs" : "unanswered");
    if (equal && line.sequence > 0) {
      window_.after = window.upto ? *window.upto : line.sequence;
      if (base && !window.upto) {
        based_ = true;
        record_.base = line.sequence;
      }
    }
    if (idle) line.result = "quiet";
    if (gate_.decision() == Decision::no_go) name_differences();
    if (record_.lines.size() < cuts_kept_max) record_.lines.push_back(line);
    fill();
    report(line);
    return equal || idle || status == Status::fail;
  }

  void name_differences() {
    for (const Outcome& o : gate_.rejected())
      for (const Difference& d : o.differences) {
        if (record_.differences.size() >= options_.compare.differences_max) return;
        record_.differences.push_back({o.id, epochcut::to_text(d), comparer_.last_touched(o, d)});
      }
  }

  void fill() {
    record_.decision = std::string(to_string(gate_.decision()));
    record_.why = gate_.why();
    record_.cuts = gate_.cuts(), record_.not_counted = gate_.not_counted(), record_.runs = gate_.runs(), record_.controls = gate_.controls();
    record_.duration = gate_.duration(), record_.events = gate_.events();
    record_.first = gate_.first() ? gate_.first()->sequence : 0, record_.last = gate_.last() ? gate_.last()->sequence : 0;
    record_.exercised = gate_.exercised(), record_.allowances_used = gate_.allowances_used();
    record_.sequence = record_.last != 0 ? record_.last : record_.lines.empty() ? 0 : record_.lines.back().sequence;
  }

  void report(const CutLine& line) {
    if (!tell_) return;
    Progress progress{.record = &record_, .line = &line, .gate = &gate_};
    const double seconds = static_cast<double>(gate_.duration().count()) / 1000;
    if (seconds > 0) progress.events_per_second = static_cast<double>(gate_.events()) / seconds;
    const GateThresholds& t = options_.thresholds;
    progress.left = std::max({Millis{0}, t.duration_min - gate_.duration(), (t.cuts_min - gate_.cuts()) * options_.every});
    if (progress.events_per_second > 0 && t.events_min > gate_.events())
      progress.left =
          std::max(progress.left, Millis(static_cast<std::int64_t>(static_cast<double>(t.events_min - gate_.events()) / progress.events_per_second * 1000)));
    tell_(progress);
  }

  VerifyResult end(bool broken) {
    fill();
    if (!schema_why_.empty()) record_.decision = "no_go", record_.why = schema_why_;
    if (broken) {
      std::string last;
      for (const Outcome& o : last_)
        if (last.empty() && o.status == Status::error) last = o.id + ": " + o.message;
      record_.why = "no answer at " + std::to_string(unanswered_in_a_row_max) + " cuts in a row: " + last;
    }
    record_.ended = now();
    record_.outcomes = unequal_;
    for (const Outcome& o : last_)
      if (o.status == Status::pass) record_.outcomes.push_back(epochcut::to_json(o));
    VerifyResult result{record_, 0};
    if (options_.record)
      production_authority(place_).record_verdict(record_.verdict_id, record_.candidate, record_.build_id, record_.sequence, record_.decision, record_.why,
                                                  to_json(record_), record_.signed_off_by);
    result.exit_code = broken ? 3 : !schema_why_.empty() ? 1 : exit_code(gate_.decision());
    return result;
  }

  const Place place_;
  const VerifyOptions options_;
  const std::function<void(const Progress&)> tell_;
  const Control control_;
  Comparer comparer_;
  Asker asker_;
  ShadowGate gate_;
  Build build_;
  VerdictRecord record_;
  Window window_;
  bool based_ = false;
  int since_control_ = 0;
  std::string schema_why_;
  std::vector<std::string> unequal_;
  std::vector<Outcome> last_;
};

using Json = nlohmann::ordered_json;

Json names(const std::vector<std::string>& list) {
  Json out = Json::array();
  for (const std::string& name : list) out.push_back(name);
  return out;
}

}  // namespace

Instant instant_of(const std::string& text) {
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0, ms = 0, end = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &end) != 6 ||
      (text.substr(static_cast<std::size_t>(end)) != "Z" && std::sscanf(text.c_str() + end, ".%3dZ", &ms) != 1))
    throw Failure(Reason::schema, "\"" + printable(text) + "\" is no time in UTC, such as 2026-06-01T12:00:00Z");
  return Instant(std::chrono::sys_days(std::chrono::year{y} / mo / d)) + std::chrono::hours(h) + std::chrono::minutes(mi) + std::chrono::seconds(s) +
         Millis(ms);
}

int exit_code(Decision decision) {
  switch (decision) {
    case Decision::go: return 0;
    case Decision::no_go: return 1;
    case Decision::not_yet: return 2;
    case Decision::voided: break;
  }
  return 3;
}

VerifyResult verify(const Place& place, const VerifyOptions& options, const std::function<void(const Progress&)>& tell, const Control& control) {
  return Verification(place, options, tell, control).run();
}

std::string to_text(const Progress& p) {
  const VerdictRecord& r = *p.record;
  std::string text = "cut at " + std::to_string(p.line->sequence) + " " + p.line->result + " in " + std::to_string(p.line->took.count()) + " ms (held " +
                     std::to_string(p.line->held.count()) + " ms)";
  if (p.line->result.ends_with("unanswered") || p.line->result.ends_with("differs")) text += ": " + p.line->why;
  if (p.line->result.starts_with("base")) return text + "; what is old is compared first";
  text += "; " + std::to_string(r.cuts) + "/" + std::to_string(r.thresholds.cuts_min) + " cuts";
  if (r.not_counted > 0) text += " (" + std::to_string(r.not_counted) + " without an answer)";
  text += ", " + std::to_string(r.events) + "/" + std::to_string(r.thresholds.events_min) + " events";
  if (p.events_per_second > 0) text += " at " + std::to_string(static_cast<std::uint64_t>(p.events_per_second)) + "/s";
  text += ", " + std::to_string(r.exercised.kinds.size()) + " kinds, keys " + std::to_string(r.exercised.keys) + "/" + std::to_string(r.exercised.keys_total);
  text += ", " + std::to_string(r.controls) + " controls: " + r.decision;
  if (r.decision == "not_yet") text += p.left.count() > 0 ? ", " + length_text(p.left) + " to go at least" : ", " + r.why;
  return text;
}

std::string to_json(const VerdictRecord& r) {
  Json out;
  out["format"] = 1;
  out["verdict_id"] = r.verdict_id, out["authority"] = r.authority, out["candidate"] = r.candidate, out["build_id"] = r.build_id;
  out["candidate_started"] = r.candidate_started, out["owner"] = r.owner, out["generation"] = r.generation, out["sequence"] = r.sequence;
  out["decision"] = r.decision, out["why"] = r.why, out["signed_off_by"] = r.signed_off_by;
  out["began"] = epochcut::to_text(r.began), out["ended"] = epochcut::to_text(r.ended);
  const GateThresholds& t = r.thresholds;
  out["thresholds"] = {
      {"cuts", t.cuts_min},        {"duration_ms", t.duration_min.count()}, {"events", t.events_min},           {"kinds", names(t.kinds)},
      {"tables", names(t.tables)}, {"keys_percent", t.keys_percent_min},    {"control_every", t.control_every}, {"unanswered", t.unanswered_max}};
  out["shown"] = {{"cuts", r.cuts},
                  {"not_counted", r.not_counted},
                  {"runs", r.runs},
                  {"controls", r.controls},
                  {"duration_ms", r.duration.count()},
                  {"events", r.events},
                  {"first", r.first},
                  {"last", r.last},
                  {"base", r.base},
                  {"kinds", names(r.exercised.kinds)},
                  {"tables", names(r.exercised.tables)},
                  {"keys", r.exercised.keys},
                  {"keys_total", r.exercised.keys_total},
                  {"allowed", names(r.allowances_used)}};
  out["differences"] = Json::array();
  for (const DifferenceLine& d : r.differences) out["differences"].push_back({{"check", d.check}, {"difference", d.text}, {"last_touched", d.last_touched}});
  out["controls"] = Json::array();
  for (const ControlLine& c : r.control_lines)
    out["controls"].push_back({{"at", epochcut::to_text(c.at)}, {"sequence", c.sequence}, {"same", c.same}, {"planted", c.planted}, {"plant", c.plant}});
  out["cuts"] = Json::array();
  for (const CutLine& line : r.lines) {
    Json checks = Json::array();
    for (const CheckLine& c : line.checks)
      checks.push_back({{"id", c.id}, {"status", c.status}, {"reason", c.reason}, {"equal", c.equal}, {"differ", c.differ}});
    out["cuts"].push_back({{"at", epochcut::to_text(line.at)},
                           {"sequence", line.sequence},
                           {"result", line.result},
                           {"why", line.why},
                           {"took_ms", line.took.count()},
                           {"held_ms", line.held.count()},
                           {"checks", checks}});
  }
  out["outcomes"] = Json::array();
  for (const std::string& o : r.outcomes) out["outcomes"].push_back(Json::parse(o));
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

VerdictRecord record_of(const std::string& text) {
  try {
    const Json in = Json::parse(text);
    VerdictRecord r;
    const auto list = [](const Json& from) { return from.get<std::vector<std::string>>(); };
    if (in.at("format") != 1) throw Failure(Reason::schema, "this verdict is of another version of the tool");
    in.at("verdict_id").get_to(r.verdict_id), in.at("authority").get_to(r.authority), in.at("candidate").get_to(r.candidate),
        in.at("build_id").get_to(r.build_id);
    in.at("candidate_started").get_to(r.candidate_started), in.at("owner").get_to(r.owner), in.at("generation").get_to(r.generation);
    in.at("sequence").get_to(r.sequence), in.at("decision").get_to(r.decision), in.at("why").get_to(r.why), in.at("signed_off_by").get_to(r.signed_off_by);
    r.began = instant_of(in.at("began")), r.ended = instant_of(in.at("ended"));
    const Json &t = in.at("thresholds"), &s = in.at("shown");
    t.at("cuts").get_to(r.thresholds.cuts_min), t.at("events").get_to(r.thresholds.events_min), t.at("keys_percent").get_to(r.thresholds.keys_percent_min);
    t.at("control_every").get_to(r.thresholds.control_every), t.at("unanswered").get_to(r.thresholds.unanswered_max);
    r.thresholds.duration_min = Millis(t.at("duration_ms").get<std::int64_t>());
    r.thresholds.kinds = list(t.at("kinds")), r.thresholds.tables = list(t.at("tables"));
    s.at("cuts").get_to(r.cuts), s.at("not_counted").get_to(r.not_counted), s.at("runs").get_to(r.runs), s.at("controls").get_to(r.controls);
    r.duration = Millis(s.at("duration_ms").get<std::int64_t>());
    s.at("events").get_to(r.events), s.at("first").get_to(r.first), s.at("last").get_to(r.last), s.at("base").get_to(r.base);
    s.at("keys").get_to(r.exercised.keys), s.at("keys_total").get_to(r.exercised.keys_total);
    r.exercised.kinds = list(s.at("kinds")), r.exercised.tables = list(s.at("tables")), r.allowances_used = list(s.at("allowed"));
    for (const Json& d : in.at("differences")) r.differences.push_back({d.at("check"), d.at("difference"), d.at("last_touched")});
    for (const Json& c : in.at("controls")) r.control_lines.push_back({instant_of(c.at("at")), c.at("sequence"), c.at("same"), c.at("planted"), c.at("plant")});
    for (const Json& c : in.at("cuts")) {
      CutLine line{.at = instant_of(c.at("at")),
                   .sequence = c.at("sequence"),
                   .result = c.at("result"),
                   .why = c.at("why"),
                   .took = Millis(c.at("took_ms").get<std::int64_t>()),
                   .held = Millis(c.at("held_ms").get<std::int64_t>()),
                   .checks = {}};
      for (const Json& k : c.at("checks")) line.checks.push_back({k.at("id"), k.at("status"), k.at("reason"), k.at("equal"), k.at("differ")});
      r.lines.push_back(std::move(line));
    }
    for (const Json& o : in.at("outcomes")) r.outcomes.push_back(o.dump());
    return r;
  } catch (const nlohmann::json::exception& e) {
    throw Failure(Reason::schema, std::string("this is no verdict of this tool: ") + e.what());
  }
}

}  // namespace cutover
