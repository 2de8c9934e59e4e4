#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "cutover/commands.hpp"
#include "exchange/fold.hpp"

namespace cutover {

using namespace epochcut;

namespace {

[[noreturn]] void refuse(const std::string& why) { throw Failure(Reason::configuration, why); }

double seconds_of(const std::string& option, std::string text) {
  const bool milliseconds = text.ends_with("ms");
  if (text.ends_with("s")) text.resize(text.size() - (milliseconds ? 2 : 1));
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || !(value >= 0) || value > 86'400 * 31.0)
    refuse(option + " takes seconds, such as 30s or 500ms, not \"" + printable(text) + "\"");
  return milliseconds ? value / 1000 : value;
}

Millis millis_of(const std::string& option, const std::string& text) { return Millis(static_cast<std::int64_t>(seconds_of(option, text) * 1000)); }

template <class Number>
Number number_of(const std::string& option, const std::string& text, Number max) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < Number{} || value > max)
    refuse(option + " takes a whole number from 0 to " + std::to_string(max) + ", not \"" + printable(text) + "\"");
  return value;
}

std::vector<std::string> list_of(const std::string& text) {
  std::vector<std::string> list;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');)
    if (!word.empty()) list.push_back(word);
  return list;
}

std::optional<std::chrono::sys_days> day_of(const std::string& text) {
  int y = 0, m = 0, d = 0, end = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &y, &m, &d, &end) != 3 || end != static_cast<int>(text.size())) return std::nullopt;
  const std::chrono::year_month_day day = std::chrono::year{y} / m / d;
  if (!day.ok()) return std::nullopt;
  return std::chrono::sys_days(day);
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) refuse(path + " can't be read");
  return text.str();
}

struct CommandInfo {
  const char* name;
  bool needs_stores, needs_candidate;
};
constexpr CommandInfo commands[] = {{"status", true, false}, {"stage", true, true},   {"verify", true, true}, {"splice", true, true},    {"abort", true, false},
                                    {"resume", true, false}, {"report", true, false}, {"gap", false, false},  {"rehearse", false, false}};

}  // namespace

std::vector<Allowance> parse_allowances(const std::string& text) {
  std::vector<Allowance> list;
  try {
    const nlohmann::json in = nlohmann::json::parse(text);
    if (!in.is_array()) refuse("allowances are a JSON list; see cutover verify --help");
    for (const nlohmann::json& a : in) {
      Allowance allowance{.name = a.at("name"), .check = a.at("check"), .key = a.at("key"), .columns = a.at("columns"), .until = {}};
      const std::optional<std::chrono::sys_days> until = day_of(a.at("until"));
      if (!until) refuse("the allowance \"" + printable(allowance.name) + "\" must end on a day, \"until\": \"2026-07-01\"");
      if (allowance.name.empty() || allowance.columns.empty()) refuse("each allowance has a name, that of the decision, and the columns that may differ");
      allowance.until = *until;
      list.push_back(std::move(allowance));
    }
  } catch (const nlohmann::json::exception& e) {
    refuse(std::string("the allowances can't be read: ") + e.what() + "; see cutover verify --help");
  }
  return list;
}

Arguments parse(const std::vector<std::string>& words, const Environment& environment) {
  Arguments a;
  const auto setting = [&](const char* name, const char* otherwise) { return environment(name).value_or(environment(otherwise).value_or("")); };
  a.place.postgres = setting("EPOCHCUT_POSTGRES_CUTOVER", "EPOCHCUT_POSTGRES");
  a.place.clickhouse = setting("EPOCHCUT_CLICKHOUSE_CUTOVER", "EPOCHCUT_CLICKHOUSE");
  a.owner_postgres = environment("EPOCHCUT_POSTGRES").value_or("");
  a.owner_clickhouse = environment("EPOCHCUT_CLICKHOUSE").value_or("");
  a.verify.signed_off_by = environment("USER").value_or("");
  GateThresholds& t = a.verify.thresholds;
  for (const std::string_view kind : exchange::transaction_kind_names) t.kinds.emplace_back(kind);
  t.tables = {"balances", "transactions", "positions"};
  t.keys_percent_min = 50;

  using Take = std::function<void(const std::string&, const std::string&)>;
  const auto text = [](std::string& target) -> Take { return [&target](const std::string&, const std::string& v) { target = v; }; };
  const auto time = [](Millis& target) -> Take { return [&target](const std::string& o, const std::string& v) { target = millis_of(o, v); }; };
  const auto count = [](auto& target, auto max) -> Take {
    return [&target, max](const std::string& o, const std::string& v) { target = number_of<std::remove_reference_t<decltype(target)>>(o, v, max); };
  };
  constexpr std::uint64_t sequence_max = std::uint64_t{1} << 55;
  std::uint64_t at = 0;
  std::string allow;
  const std::map<std::string, Take> options{{"--candidate", text(a.place.candidate)},
                                            {"--authority", text(a.place.authority)},
                                            {"--postgres", text(a.place.postgres)},
                                            {"--clickhouse", text(a.place.clickhouse)},
                                            {"--owner-postgres", text(a.owner_postgres)},
                                            {"--owner-clickhouse", text(a.owner_clickhouse)},
                                            {"--by", text(a.verify.signed_off_by)},
                                            {"--cuts", count(t.cuts_min, 100'000)},
                                            {"--duration", time(t.duration_min)},
                                            {"--events", count(t.events_min, sequence_max)},
                                            {"--kinds", [&](const std::string&, const std::string& v) { t.kinds = list_of(v); }},
                                            {"--tables", [&](const std::string&, const std::string& v) { t.tables = list_of(v); }},
                                            {"--keys", count(t.keys_percent_min, 100)},
                                            {"--unanswered", count(t.unanswered_max, 1'000)},
                                            {"--every", time(a.verify.every)},
                                            {"--for", time(a.verify.at_most)},
                                            {"--hold", time(a.verify.compare.hold_max)},
                                            {"--allow", text(allow)},
                                            {"--fresh", time(a.age_max)},
                                            {"--at", count(at, sequence_max)},
                                            {"--in", time(a.in)},
                                            {"--lag", count(a.lag, sequence_max)},
                                            {"--out", text(a.out)},
                                            {"--verdict", text(a.verdict_id)},
                                            {"--config", text(a.config)},
                                            {"--program", text(a.program)},
                                            {"--build", text(a.build)},
                                            {"--deploy", time(a.deploy)},
                                            {"--exchange", text(a.exchange_program)},
                                            {"--keep", text(a.keep)},
                                            {"--since", [&](const std::string&, const std::string& v) {
                                               try {
                                                 a.since = instant_of(v);
                                               } catch (const Failure& failure) {
                                                 refuse("--since: " + failure.message);
                                               }
                                             }}};
  const std::map<std::string, bool*> flags{{"--help", &a.help}, {"-h", &a.help}, {"--json", &a.json}, {"--yes", &a.yes}, {"--watch", &a.watch}};
  bool has_at = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string word = words[i];
    std::optional<std::string> value;
    if (word.starts_with("--"))
      if (const std::size_t equals = word.find('='); equals != std::string::npos) value = word.substr(equals + 1), word.resize(equals);
    if (const auto flag = flags.find(word); flag != flags.end() && !value) {
      *flag->second = true;
    } else if (const auto option = options.find(word); option != options.end()) {
      if (!value && i + 1 == words.size()) refuse(word + " takes a value; see cutover --help");
      option->second(word, value ? *value : words[++i]);
      has_at |= word == "--at";
    } else if (word.starts_with("-")) {
      refuse("there is no option " + printable(word) + "; see cutover --help");
    } else if (a.command.empty()) {
      a.command = word;
    } else {
      refuse("one command at a time: " + printable(a.command) + " or " + printable(word));
    }
  }
  if (a.help) return a;
  if (a.command.empty()) refuse("say what to do; see cutover --help");
  const auto* info = std::find_if(std::begin(commands), std::end(commands), [&](const CommandInfo& c) { return a.command == c.name; });
  if (info == std::end(commands)) refuse("there is no command " + printable(a.command) + "; see cutover --help");
  if (info->needs_candidate && a.place.candidate.empty()) refuse("name the candidate: cutover " + a.command + " --candidate NAME");
  a.place.production().validate();
  if (!a.place.candidate.empty()) {
    a.place.shadow().validate();
    if (a.place.candidate == a.place.authority || a.place.candidate == "public") refuse("a candidate has a name of its own, not " + a.place.candidate);
  }
  if (info->needs_stores && a.place.postgres.empty()) refuse("no PostgreSQL: set EPOCHCUT_POSTGRES_CUTOVER, or give --postgres");
  if (info->needs_stores && a.place.clickhouse.empty()) refuse("no ClickHouse: set EPOCHCUT_CLICKHOUSE_CUTOVER, or give --clickhouse");
  if (has_at) a.at = at;
  if (a.command == "verify" && a.verify.signed_off_by.empty()) refuse("a verdict is signed: say who you are with --by NAME");
  if (!allow.empty()) a.verify.allowances = parse_allowances(contents(allow));
  return a;
}

std::string usage() {
  return R"(usage: cutover COMMAND [OPTION VALUE]...

  status     where things stand, from the stores' own facts: owner, seams, shadows, verdicts, the marker
  stage      make the shadow's tables, and say how to start the candidate
  verify     compare the shadow with production at one cut after another, until the gate has decided; record the verdict
  splice     hand the authority over at one agreed sequence number; needs a fresh go
  abort      take an armed splice back, at any time before the flip
  resume     see through a splice whose tool was lost
  report     the newest verdict, or --verdict ID, as one HTML page
  gap        when a scheduled program may be swapped, and which run shows that the new one works
  rehearse   all of it on a copy: stage, verify, splice, verify, splice back

everywhere:
  --candidate NAME      the engine that is to take over: its shadow's schema, too
  --authority NAME      what it is to take over                     (production)
  --postgres DSN        of the tool's role          (default: $EPOCHCUT_POSTGRES_CUTOVER)
  --clickhouse URL      of a role that reads        (default: $EPOCHCUT_CLICKHOUSE_CUTOVER)
  --json                for programs; --yes: no questions, for scripts

verify, go needs all of these in one run:
  --cuts N              cuts at which everything was equal          (60)
  --duration S          between the first and the last              (1800s)
  --events N            in between                                  (100000)
  --kinds A,B  --tables A,B   of event and rows that were compared  (all)
  --keys PERCENT        of all positions were touched               (50)
  --unanswered N        cuts in a row may go without an answer; one more begins anew  (3)
and:
  --every S             from cut to cut                             (2s)
  --for S               then it is not_yet; 0s: until it is decided (0s)
  --hold S              the shadow stands still for so long at most (30s)
  --allow FILE          differences that somebody answers for, until a day:
                        [{"name": "…", "check": "positions", "key": "account=…, instrument=…", "columns": ["cost"], "until": "2026-07-01"}]
  --by NAME             who signs it off                            ($USER)
  --watch               a line that is kept up to date; without a terminal a line per cut

splice:
  --at SEQ              the first event that is the candidate's; or
  --in S                so far ahead, at the rate of now            (2s)
  --fresh S             how old a go may be                         (3600s)

stage:     --lag N  events that the shadow stays behind, so that a cut is still before it (half a second of events)
           --owner-postgres DSN  --owner-clickhouse URL  who may create tables  ($EPOCHCUT_POSTGRES, $EPOCHCUT_CLICKHOUSE)
report:    --out FILE  (standard output)   --verdict ID
gap:       --config watch.toml   --deploy S (60s)   --program NAME (recon_engine); after the swap: --build ID --since TIME
rehearse:  --exchange FILE  the exchange's program (exchange)   --keep FOLDER  its logs

examples:
  cutover status
  cutover stage --candidate candidate && exchange shadow --engine candidate --lag 2000
  cutover verify --candidate candidate --watch && cutover splice --candidate candidate
  cutover splice --candidate candidate --at 5000000 --yes --json
  cutover splice --candidate incumbent --in 30s       (and back: the same, the other way round)
  cutover report --candidate candidate --out verdict.html
  cutover gap --config watch.toml --deploy 90s

exit codes: 0 done, or go; 1 refused, taken back, or no_go; 2 bad usage, or not_yet; 3 no answer, or the gate is void
)";
}

}  // namespace cutover
