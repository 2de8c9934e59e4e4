#include "recon_engine/soak_command.hpp"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <map>
#include <ostream>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include <epochcut/operate/cron.hpp>
#include <epochcut/operate/soak_html.hpp>
#include <epochcut/operate/zone.hpp>

#include "exchange/corruption.hpp"
#include "exchange/postgres_writer.hpp"
#include "recon_engine/log.hpp"
#include "recon_engine/servers.hpp"

namespace recon_engine {

using namespace epochcut;
using exchange::PostgresResult;
using exchange::PostgresWriter;

namespace {

constexpr int bad_usage = 64;
constexpr Millis look_every{500};                                        // of a canary, into the log
constexpr Millis canary_wait_default{35 * 60'000};                       // two fires of the slowest live check, and some
constexpr Millis paging_margin{60'000};                                  // a check that pages and fires so soon after would see the break
constexpr const char* ms_of = "(extract(epoch from %) * 1000)::bigint";  // rounded, not cut

std::string ms(const std::string& column) {
  std::string sql = ms_of;
  return sql.replace(sql.find('%'), 1, column);
}
Instant instant(std::string_view text) {
  std::int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return Instant(Millis(n));
}
template <class Number>
Number number(std::string_view text) {
  Number n{};
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

Status status_of(std::string_view name) {
  for (const Status s : all_statuses)
    if (to_string(s) == name) return s;
  throw Failure(Reason::schema, "the record holds a status \"" + std::string(name) + "\", which is none");
}
Reason reason_of(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(Reason::unknown); ++i)
    if (to_string(static_cast<Reason>(i)) == name) return static_cast<Reason>(i);
  return Reason::unknown;
}

const CheckInfo& old_of(const CheckInfo& live) {
  for (const CheckInfo& info : all_checks)
    if (info.invariant == live.invariant && !info.live) return info;
  throw Failure(Reason::configuration, std::string(live.id) + " takes no other check's place");
}

std::optional<Decimal> largest_gap(std::string_view differences) {
  std::optional<Decimal> largest;
  const nlohmann::json json = nlohmann::json::parse(differences, nullptr, false);
  if (!json.is_array()) return largest;
  for (const auto& d : json) {
    if (!d.is_object() || !d.contains("left") || !d.contains("right") || !d["left"].is_string() || !d["right"].is_string()) continue;
    const auto gap = gap_of(d["left"].get<std::string>(), d["right"].get<std::string>());
    if (gap && (!largest || *gap > *largest)) largest = gap;
  }
  return largest;
}

std::vector<Instant> fires_of(const CheckConfig& check, Instant from, Instant until) {
  if (check.event()) return {};
  return fires(Cron::parse(check.schedule), NamedZone(check.zone), from, until);
}

/// Takes `--name value` pairs; what is not among `names` is refused.
std::map<std::string, std::string> options_of(const std::vector<std::string>& arguments, std::size_t begin, const std::set<std::string>& names) {
  std::map<std::string, std::string> out;
  for (std::size_t i = begin; i < arguments.size(); i += 2) {
    if (!names.contains(arguments[i])) throw Failure(Reason::configuration, "there is no option " + arguments[i] + " here");
    if (i + 1 == arguments.size()) throw Failure(Reason::configuration, arguments[i] + " takes a value");
    out[arguments[i]] = arguments[i + 1];
  }
  return out;
}
std::string needed(const std::map<std::string, std::string>& options, const std::string& name) {
  const auto found = options.find(name);
  if (found == options.end() || found->second.empty()) throw Failure(Reason::configuration, name + " is missing");
  return found->second;
}

volatile std::sig_atomic_t stop_asked = 0;

}  // namespace

Instant instant_of(std::string_view text) {
  const auto refuse = [&]() -> Failure {
    return {Reason::configuration, "\"" + std::string(text) + "\" is no time; write 2026-06-15 or 2026-06-15T16:05:00Z, in UTC"};
  };
  int part[7] = {0, 1, 1, 0, 0, 0, 0};
  constexpr std::string_view before[] = {"", "-", "-", "T", ":", ":", "."};
  constexpr std::size_t width[] = {4, 2, 2, 2, 2, 2, 3};
  std::string_view rest = text;
  if (rest.ends_with('Z')) rest.remove_suffix(1);
  std::size_t n = 0;
  for (; n < 7 && !rest.empty(); ++n) {
    if (!rest.starts_with(before[n]) || rest.size() < before[n].size() + width[n]) throw refuse();
    rest.remove_prefix(before[n].size());
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + width[n], part[n]);
    if (error != std::errc() || end != rest.data() + width[n] || part[n] < 0) throw refuse();
    rest.remove_prefix(width[n]);
  }
  const std::chrono::year_month_day date{std::chrono::year{part[0]}, std::chrono::month{static_cast<unsigned>(part[1])},
                                         std::chrono::day{static_cast<unsigned>(part[2])}};
  if (!rest.empty() || (n != 3 && n < 5) || !date.ok() || part[3] > 23 || part[4] > 59 || part[5] > 59) throw refuse();
  return std::chrono::sys_days(date) + std::chrono::hours(part[3]) + std::chrono::minutes(part[4]) + std::chrono::seconds(part[5]) + Millis(part[6]);
}

std::optional<Decimal> gap_of(std::string_view left, std::string_view right) {
  const auto columns = [](std::string_view text) {
    std::map<std::string, Decimal, std::less<>> out;
    while (!text.empty()) {
      const std::size_t end = text.find(", ");
      const std::string_view one = text.substr(0, end);
      const std::size_t equals = one.find('=');
      if (equals != std::string_view::npos)
        if (const auto value = parse_decimal(one.substr(equals + 1))) out.emplace(one.substr(0, equals), *value);
      text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 2);
    }
    return out;
  };
  std::optional<Decimal> largest;
  const auto theirs = columns(right);
  for (const auto& [name, value] : columns(left)) {
    const auto other = theirs.find(name);
    if (other == theirs.end()) continue;
    const bool more = value > other->second;
    const auto gap = more ? subtract(value, other->second) : subtract(other->second, value);
    if (gap && (!largest || *gap > *largest)) largest = gap;
  }
  return largest;
}

SoakInput soak_input(const Config& config, const CheckInfo& live, std::optional<Instant> from, std::optional<Instant> until) {
  SoakInput in;
  in.live_id = live.id, in.old_id = old_of(live).id;
  in.by_cycle = live.invariant == "pnl-is-zero-sum";
  PostgresWriter log(config.log);
  if (!from) {
    const PostgresResult first =
        log.execute("SELECT " + ms("min(scheduled)") + " FROM recon_engine.invariants_log WHERE check_id = $1 AND trigger IN ('cron', 'event')", {in.live_id});
    if (first(0, 0).empty()) throw Failure(Reason::not_found, "the record has no run of " + in.live_id + ": let recon_engine run first, or give --from");
    from = instant(first(0, 0));
  }
  if (!until) until = instant(log.execute("SELECT " + ms("clock_timestamp()"), {})(0, 0));
  in.from = *from, in.until = *until;
  if (in.from >= in.until) throw Failure(Reason::configuration, "the soak of " + in.live_id + " ends before it begins; --from must lie before --until");

  const CheckConfig &old_config = config.checks.at(in.old_id), &live_config = config.checks.at(in.live_id);
  in.old_fires = fires_of(old_config, in.from, in.until);
  in.live_fires = fires_of(live_config, in.from, in.until);
  if (live_config.event()) {
    PostgresWriter ledger(config.postgres);
    const PostgresResult cycles = ledger.execute(
        "SELECT cycle, " + ms("committed_at") +
            " FROM mark_cycles WHERE committed_at >= to_timestamp($1::double precision / 1000) AND committed_at < to_timestamp($2::double precision / 1000) ORDER BY cycle",
        {std::to_string(in.from.time_since_epoch().count()), std::to_string(in.until.time_since_epoch().count())});
    for (int i = 0; i < cycles.rows(); ++i) in.cycles.push_back({number<std::uint64_t>(cycles(i, 0)), instant(cycles(i, 1))});
  }

  // What was compared is needed for equality only: a hash of it is as good, and a record of months stays small.
  const PostgresResult runs = log.execute(
      "SELECT check_id, trigger, event_key, " + ms("scheduled") + ", " + ms("started") + ", " + ms("finished") +
          ", status, reason, stream, epoch_sequence, CASE WHEN left_values = '' THEN '' ELSE md5(left_values) END, CASE WHEN right_values = '' THEN '' ELSE md5(right_values) END,"
          " CASE WHEN status = 'fail' THEN differences::text ELSE '' END, trim(leading '0' from query_hash)"
          " FROM recon_engine.invariants_log WHERE check_id IN ($1, $2) AND scheduled >= to_timestamp($3::double precision / 1000) - interval '10 minutes'"
          " AND scheduled < to_timestamp($4::double precision / 1000) + interval '10 minutes' ORDER BY scheduled, run_id LIMIT " +
          std::to_string(soak_runs_max + 1),
      {in.old_id, in.live_id, std::to_string(in.from.time_since_epoch().count()), std::to_string(in.until.time_since_epoch().count())});
  in.runs.reserve(static_cast<std::size_t>(runs.rows()));
  for (int i = 0; i < runs.rows(); ++i) {
    SoakRun r;
    r.check_id = runs(i, 0), r.trigger = runs(i, 1), r.event_key = runs(i, 2);
    r.scheduled = instant(runs(i, 3)), r.started = instant(runs(i, 4)), r.finished = instant(runs(i, 5));
    r.status = status_of(runs(i, 6)), r.reason = reason_of(runs(i, 7)), r.stream = runs(i, 8);
    if (!runs(i, 9).empty()) r.epoch = number<std::uint64_t>(runs(i, 9));
    r.left = runs(i, 10), r.right = runs(i, 11);
    if (!runs(i, 12).empty()) r.largest_gap = largest_gap(runs(i, 12));
    r.question = runs(i, 13);
    in.runs.push_back(std::move(r));
  }

  const PostgresResult words = log.execute("SELECT check_id, " + ms("first_scheduled") + ", verdict, evidence, who, " + ms("said") +
                                               " FROM recon_engine.adjudications WHERE check_id IN ($1, $2) ORDER BY said, id LIMIT 100000",
                                           {in.old_id, in.live_id});
  for (int i = 0; i < words.rows(); ++i)
    in.adjudications.push_back({std::string(words(i, 0)), instant(words(i, 1)), adjudicated_of(words(i, 2)).value_or(Adjudicated::open),
                                std::string(words(i, 3)), std::string(words(i, 4)), instant(words(i, 5))});
  const PostgresResult outages = log.execute("SELECT " + ms("began") + ", " + ms("ended") + ", what FROM recon_engine.outages ORDER BY began LIMIT 100000", {});
  for (int i = 0; i < outages.rows(); ++i) in.outages.push_back({instant(outages(i, 0)), instant(outages(i, 1)), std::string(outages(i, 2))});
  // Of all checks: a break that was planted for one is seen by others too, and explains their fails.
  const PostgresResult planted =
      log.execute("SELECT what, live, " + ms("planted") + ", " + ms("coalesce(removed, clock_timestamp())") + ", " + ms("caught") +
                      ", fires, check_id FROM recon_engine.planted_breaks WHERE never_planted IS NULL ORDER BY planted, id LIMIT 100000",
                  {});
  for (int i = 0; i < planted.rows(); ++i) {
    PlantedBreak p{std::string(planted(i, 6)), std::string(planted(i, 0)), planted(i, 1) == "t", instant(planted(i, 2)), instant(planted(i, 3)), {},
                   number<int>(planted(i, 5))};
    if (!planted(i, 4).empty()) p.caught = instant(planted(i, 4));
    in.planted.push_back(std::move(p));
  }
  const PostgresResult signed_off =
      log.execute("SELECT who, " + ms("said") + " FROM recon_engine.sign_offs WHERE check_id = $1 ORDER BY said DESC, id DESC LIMIT 1", {in.live_id});
  if (signed_off.rows() == 1) in.signed_off = SignOff{std::string(signed_off(0, 0)), instant(signed_off(0, 1))};
  const PostgresResult filed = log.execute("SELECT filed FROM recon_engine.accumulators WHERE check_id = $1 ORDER BY said DESC, id DESC LIMIT 1", {in.live_id});
  if (filed.rows() == 1) in.accumulator = filed(0, 0);
  return in;
}

SoakReport soak_of(const Config& config, const CheckInfo& live, std::optional<Instant> from, std::optional<Instant> until) {
  return judge_soak(soak_input(config, live, from, until));
}

int soak_command(const Config& config, std::vector<std::string> arguments, std::ostream& out, std::ostream& err) {
  constexpr const char* usage = R"(usage: recon_engine soak [--check LIVE-ID] [--from TIME] [--until TIME] [--format text|json|markdown|html] [--output FILE]
       recon_engine soak adjudicate --check ID --at TIME --verdict real_break|check_bug|infra|expected_precondition|open --evidence TEXT --who NAME
       recon_engine soak outage --from TIME --until TIME --what TEXT --who NAME
       recon_engine soak sign --check LIVE-ID --who NAME
       recon_engine soak accumulator --check LIVE-ID --filed TEXT --who NAME

Times are UTC. --at lies within the episode, from its first run's scheduled time to its last's, or is the old fire of a pair.
Exit codes: 0 promote, 2 keep soaking, 1 restart or leave the old one (the worst of those asked about), 3 an error, 64 bad usage.

examples:
  recon_engine soak --format html --output soak.html
  recon_engine soak adjudicate --check transactions-balance-live --at 2026-06-18T09:05 --verdict real_break --evidence "INC-7, ledger corrected" --who dana
)";
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << usage;
    return 0;
  }
  try {
    const std::string verb = !arguments.empty() && !arguments[0].starts_with("--") ? arguments[0] : "";
    if (verb.empty()) {
      const auto options = options_of(arguments, 0, {"--check", "--from", "--until", "--format", "--output"});
      const auto time = [&](const std::string& name) { return options.contains(name) ? std::optional(instant_of(options.at(name))) : std::nullopt; };
      const std::string format = options.contains("--format") ? options.at("--format") : "text";
      if (format != "text" && format != "json" && format != "markdown" && format != "html")
        throw Failure(Reason::configuration, "there is no format \"" + format + "\"; there are text, json, markdown and html");
      std::vector<SoakReport> reports;
      bool known = !options.contains("--check");
      for (const CheckInfo& info : all_checks) {
        if (!info.live || (options.contains("--check") && options.at("--check") != info.id)) continue;
        known = true;
        try {
          reports.push_back(soak_of(config, info, time("--from"), time("--until")));
        } catch (const Failure& failure) {
          // A check that has never run does not keep the others from being looked at; asked about by name it is an answer.
          if (failure.kind != Reason::not_found || options.contains("--check")) throw;
          err << "recon_engine soak: " << failure.message << "\n";
        }
      }
      if (!known) throw Failure(Reason::configuration, options.at("--check") + " is none of the live checks");
      if (reports.empty()) throw Failure(Reason::not_found, "the record has no run of any live check");
      std::string text;
      if (format == "html") text = to_html(reports);
      for (const SoakReport& r : reports)
        text += format == "text" ? to_text(r) + "\n" : format == "json" ? to_json(r) + "\n" : format == "markdown" ? to_markdown(r) + "\n" : "";
      if (options.contains("--output")) {
        std::ofstream file(options.at("--output"), std::ios::binary | std::ios::trunc);
        file << text;
        file.close();
        if (!file) throw Failure(Reason::configuration, options.at("--output") + ": the file can't be written");
      } else {
        out << text;
      }
      int code = 0;
      for (const SoakReport& r : reports) {
        const int one = r.decision == SoakDecision::promote ? 0 : r.decision == SoakDecision::keep_soaking ? 2 : 1;
        code = one == 1 || code == 1 ? 1 : std::max(code, one);
      }
      return code;
    }

    if (verb == "adjudicate") {
      const auto options = options_of(arguments, 1, {"--check", "--at", "--verdict", "--evidence", "--who"});
      const std::string id = needed(options, "--check"), evidence = needed(options, "--evidence"), who = needed(options, "--who");
      const Instant at = instant_of(needed(options, "--at"));
      const auto verdict = adjudicated_of(needed(options, "--verdict"));
      if (!verdict) throw Failure(Reason::configuration, "there is no verdict \"" + options.at("--verdict") + "\"");
      const CheckInfo* info = find_check(id);
      if (info == nullptr) throw Failure(Reason::configuration, "there is no check \"" + id + "\"");
      const CheckInfo* live = info;
      for (const CheckInfo& other : all_checks)
        if (other.invariant == info->invariant && other.live) live = &other;
      // A word on nothing helps nobody: most often it is a misread time.
      const SoakScan s = scan(soak_input(config, *live, std::nullopt, std::nullopt));
      const bool of_episode =
          std::any_of(s.episodes.begin(), s.episodes.end(), [&](const Episode& e) { return e.check_id == id && at >= e.first && at <= e.last; });
      const bool of_pair = std::any_of(s.pairs.begin(), s.pairs.end(), [&](const SoakPair& p) { return p.fire == at; });
      if (!of_episode && !of_pair)
        throw Failure(Reason::not_found,
                      id + " has no episode at " + to_text(at) + ", and that is no fire of the old check; `recon_engine soak` lists the episodes");
      PostgresWriter(config.log)
          .execute(
              "INSERT INTO recon_engine.adjudications (check_id, first_scheduled, verdict, evidence, who) VALUES ($1, to_timestamp($2::double precision / 1000), $3, $4, $5)",
              {id, std::to_string(at.time_since_epoch().count()), std::string(to_string(*verdict)), evidence, who});
      out << id << " " << to_text(at) << ": " << to_string(*verdict) << "\n";
      return 0;
    }
    if (verb == "outage") {
      const auto options = options_of(arguments, 1, {"--from", "--until", "--what", "--who"});
      const Instant from = instant_of(needed(options, "--from")), until = instant_of(needed(options, "--until"));
      if (from >= until) throw Failure(Reason::configuration, "the outage ends before it begins");
      PostgresWriter(config.log)
          .execute(
              "INSERT INTO recon_engine.outages (began, ended, what, who) VALUES (to_timestamp($1::double precision / 1000), to_timestamp($2::double precision / 1000), $3, $4)",
              {std::to_string(from.time_since_epoch().count()), std::to_string(until.time_since_epoch().count()), needed(options, "--what"),
               needed(options, "--who")});
      out << "declared: down from " << to_text(from) << " to " << to_text(until) << "\n";
      return 0;
    }
    if (verb == "sign" || verb == "accumulator") {
      const bool sign = verb == "sign";
      const auto options = options_of(arguments, 1, sign ? std::set<std::string>{"--check", "--who"} : std::set<std::string>{"--check", "--filed", "--who"});
      const std::string id = needed(options, "--check");
      if (find_check(id) == nullptr || !find_check(id)->live) throw Failure(Reason::configuration, id + " is none of the live checks");
      if (sign)
        PostgresWriter(config.log).execute("INSERT INTO recon_engine.sign_offs (check_id, who) VALUES ($1, $2)", {id, needed(options, "--who")});
      else
        PostgresWriter(config.log)
            .execute("INSERT INTO recon_engine.accumulators (check_id, filed, who) VALUES ($1, $2, $3)",
                     {id, needed(options, "--filed"), needed(options, "--who")});
      out << id << (sign ? " is signed off\n" : ": its accumulator is filed\n");
      return 0;
    }
    throw Failure(Reason::configuration, "there is no \"" + verb + "\"");
  } catch (const Failure& failure) {
    if (failure.kind != Reason::configuration) throw;
    err << "recon_engine soak: " << failure.message << "\n" << usage;
    return bad_usage;
  }
}

namespace {

/// A fire whose run could still read the stores: none is logged, and its time is not up.
std::optional<Instant> unanswered(const Config& config, const CheckInfo& info, const std::function<Instant(Instant)>& next, Instant now) {
  const CheckConfig& check = config.checks.at(std::string(info.id));
  PostgresWriter log(config.log);
  for (Instant fire = next(now - check.late_max - check.jitter - check.budget); fire <= now; fire = next(fire))
    if (log.execute("SELECT FROM recon_engine.invariants_log WHERE run_id = $1", {run_id_of(info.id, {fire, "cron", {}})}).rows() == 0) return fire;
  return std::nullopt;
}

}  // namespace

int canary_command(const Config& config, std::vector<std::string> arguments, std::ostream& out, std::ostream& err) {
  constexpr const char* usage =
      R"(usage: recon_engine canary --check LIVE-ID --writer URL [--fault change_amount|delete_row|extra_row|conflicting_row] [--wait SECONDS] [--direct yes]

Plants one break in ClickHouse through URL, whose user may write, and takes it back. The running recon_engine must fail the check within two fires; with
`--direct yes` no recon_engine runs, and this command runs the check itself. Only a check that pages nobody, and only while no check that pages fires or is
under way.

examples:
  recon_engine canary --check transactions-balance-live --writer http://127.0.0.1:8123/
)";
  const auto bad = [&](const std::string& why) {
    err << "recon_engine canary: " << why << "\n" << usage;
    return bad_usage;
  };
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << usage;
    return 0;
  }
  std::map<std::string, std::string> options;
  try {
    options = options_of(arguments, 0, {"--check", "--writer", "--fault", "--wait", "--direct"});
    needed(options, "--check"), needed(options, "--writer");
  } catch (const Failure& failure) {
    return bad(failure.message);
  }
  const std::string id = options.at("--check");
  const CheckInfo* info = find_check(id);
  if (info == nullptr || !info->live) return bad("--check names one of the live checks");
  const bool direct = options.contains("--direct") && options.at("--direct") == "yes";
  Millis wait = canary_wait_default;
  if (options.contains("--wait")) {
    wait = Millis(1000 * number<std::int64_t>(options.at("--wait")));
    if (wait < Millis{1000} || wait > std::chrono::hours(24)) return bad("--wait is a number of seconds, a day at most");
  }
  const exchange::Fault fault = exchange::fault_of(options.contains("--fault") ? options.at("--fault") : "change_amount");
  if (fault == exchange::Fault::truncate || fault == exchange::Fault::duplicate_row)
    return bad("that fault can't be taken back, or is none that a check must see");

  Time time;
  if (config.checks.at(id).enabled && config.checks.at(id).paging) return bad(id + " pages: a canary would wake somebody");
  for (const CheckInfo& other : all_checks) {
    const CheckConfig& check = config.checks.at(std::string(other.id));
    if (!check.enabled || !check.paging) continue;
    const auto next = clockwork(check);
    if (!next) return bad(std::string(other.id) + " pages and may run at any moment: a canary would wake somebody");
    if (next(time.now()) < time.now() + wait + paging_margin)
      return bad(std::string(other.id) + " pages and fires at " + to_text(next(time.now())) +
                 ", while the break could still be there: begin later, or --wait less");
    if (const auto fire = unanswered(config, other, next, time.now()))
      return bad(std::string(other.id) + " pages and its run of " + to_text(*fire) +
                 " is not logged, so it may be under way and would see the break: begin later");
  }

  const bool marks = info->invariant == "pnl-is-zero-sum";
  const std::string relation = marks ? "mark_pnl" : "transactions";
  const std::string kind = info->invariant == "position-realized-pnls-balance" || info->invariant == "omnibus-balances-square" ? "realized_pnl" : "";
  exchange::Layout layout = exchange::layout_of(config.authority);
  if (!config.clickhouse_database.empty()) layout.database = config.clickhouse_database;
  layout.validate();
  const PostgresResult token =
      PostgresWriter(config.postgres)
          .execute("SELECT sequence FROM resume_tokens WHERE stream = $1 AND authority = $2", {marks ? mark_stream : trade_stream, config.authority});
  if (token.rows() == 0)
    throw Failure(Reason::missing_token, "the ledger has no token of " + std::string(marks ? mark_stream : trade_stream) + ", so there is nothing to break");
  exchange::Corruptor corruptor(options.at("--writer"), layout);
  const std::uint64_t event = corruptor.pick(relation, number<std::uint64_t>(token(0, 0)), kind);

  PostgresWriter log(config.log);
  const Instant planted = time.now();
  const auto stamp = [](Instant at) { return std::to_string(at.time_since_epoch().count()); };
  const std::string what = exchange::name_of(fault) + " in " + relation + (kind.empty() ? "" : ", a " + kind);
  const std::string row(log.execute(
      "INSERT INTO recon_engine.planted_breaks (check_id, what, live, planted) VALUES ($1, $2, true, to_timestamp($3::double precision / 1000)) RETURNING id",
      {id, what, stamp(planted)})(0, 0));
  stop_asked = 0;
  for (const int s : {SIGINT, SIGTERM}) std::signal(s, [](int) { stop_asked = 1; });

  exchange::Corruption corruption;
  try {
    corruption = corruptor.plant(fault, relation, event);
  } catch (const Failure& failure) {
    // What was never planted proves nothing; if the server's answer was lost, it may stand there.
    if (!failure.retryable) log.execute("UPDATE recon_engine.planted_breaks SET never_planted = $2 WHERE id = $1::bigint", {row, failure.message});
    throw;
  }
  out << "planted " << to_string(corruption) << std::endl;
  std::optional<Instant> caught;
  int fires = 0;
  std::string problem;
  try {
    // A fail that names what was planted: one for another reason catches nothing.
    const auto names_it = [&](const std::string& differences) {
      return differences.find(corruption.currency) != std::string::npos &&
             (info->invariant != "transactions-balance" || differences.find(corruption.account) != std::string::npos);
    };
    Asker asker = server_asker(*info, config);
    Watch watch(*info, config.checks.at(id), asker, time, std::nullopt);
    PostgresLog runs(config.log);
    const Instant seen_before = time.now();
    // A fire that asserts nothing, as while a transfer is under way, can't catch anything and is no miss either.
    const auto asserted = [](std::string_view status) { return status == "pass" || status == "fail"; };
    const auto more = [&] { return !caught && fires < canary_fires_max && stop_asked == 0 && time.now() < planted + wait; };
    while (more()) {
      const Run run = watch.run_now("canary", nullptr);
      runs.write(run);
      out << to_string(run.status) << " " << run.run_id << ": " << run.message << std::endl;
      std::string differences;
      for (const ShownDifference& d : run.differences) differences += d.key + " " + d.left + " " + d.right + "\n";
      if (!direct) break;  // what counts is what the running program finds
      fires += asserted(to_string(run.status));
      if (run.status == Status::fail && names_it(differences)) caught = run.finished;
      if (!asserted(to_string(run.status))) time.clock->sleep(look_every);
    }
    for (; !direct && more(); time.clock->sleep(look_every)) {
      const PostgresResult found = log.execute(
          "SELECT run_id, status, " + ms("finished") +
              ", differences::text FROM recon_engine.invariants_log WHERE check_id = $1 AND trigger IN ('cron', 'event') AND started >= to_timestamp($2::double precision / 1000)"
              " ORDER BY scheduled, run_id",
          {id, stamp(seen_before)});
      fires = 0;
      for (int i = 0; i < found.rows() && fires < canary_fires_max && !caught; ++i) {
        fires += asserted(found(i, 1));
        if (found(i, 1) == "fail" && names_it(std::string(found(i, 3)))) caught = instant(found(i, 2));
      }
    }
  } catch (const std::exception& e) {
    problem = e.what();
  }
  corruptor.undo(corruption);
  out << "taken back" << std::endl;
  log.execute(
      "UPDATE recon_engine.planted_breaks SET removed = to_timestamp($2::double precision / 1000), fires = $3::integer,"
      " caught = CASE WHEN $4 <> '' THEN to_timestamp(nullif($4, '')::double precision / 1000) END WHERE id = $1::bigint",
      {row, stamp(std::max(time.now(), planted)), std::to_string(fires), caught ? stamp(std::max(*caught, planted)) : ""});
  if (!problem.empty()) throw Failure(Reason::unknown, "the canary's check could not be run: " + problem);
  out << (caught            ? "caught with fire " + std::to_string(fires)
          : stop_asked != 0 ? "stopped before it was caught"
                            : "NOT caught within " + std::to_string(fires) + " fires that asserted")
      << "\n";
  return caught ? 0 : 1;
}

}  // namespace recon_engine
