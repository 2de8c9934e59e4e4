// What does a consistent cut change? The exchange runs at full speed, and both stores are compared every second in two ways, side by side:
// the naive way (two queries, no cut) and at a cut. Then one ClickHouse row is corrupted.
// Succeeds only if the naive way cried wolf, the cut never did and nearly always passed, the corruption was caught by name, and the gate said go.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/epochcut.hpp>
#include <epochcut/format.hpp>

#include "exchange/embedded.hpp"

#ifdef EPOCHCUT_DEMO_SERVERS  // libpq and libcurl are there
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "exchange/corruption.hpp"
#include "exchange/running_pair.hpp"
#endif

using namespace epochcut;

namespace {

constexpr std::string_view help = R"(usage: demo [--embedded] [--seconds N] [--seed N] [--rate N] [--json]

Compares two live stores every second for N seconds (30): naively, and at a consistent cut.

  --embedded   both stores in memory: no server, no root
  --seconds N  how long to compare, at least 5
  --seed N     another stream of executions
  --rate N     executions a second (4000: about 24 000 rows a second into each analytics store, of which there are two);
               0: as fast as it goes, which on two cores leaves the servers no time to answer the checks
  --json       also print each outcome as one JSON line

Without --embedded it needs EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE (who writes), EPOCHCUT_POSTGRES_RECON and
EPOCHCUT_CLICKHOUSE_RECON (who compares, read-only); examples/demo.sh starts servers and sets them.

examples:
  sh examples/demo.sh              everything, on real servers
  sh examples/demo.sh --embedded   the same in memory
exit codes: 0 everything came true, 1 something did not, 2 bad usage, 3 could not run
)";

struct Options {
  bool embedded = false, json = false;
  int seconds = 30, rate = 4'000;
  std::uint64_t seed = 1;
};

/// The comparisons, as they would stand in a program of your own.
template <class Ledger, class Analytics>
struct Checks {
  Ledger& ledger;
  Analytics &analytics, &shadow;

  // One definition of what must be equal; the naive twin differs only in how it reads.
  Query balances = current("balances").by("currency").sum("amount");
  Query transactions = events("transactions").by("currency").sum("amount");
  Query realized_by_position = latest("positions").per("account", "instrument").by("account", "currency").sum("realized_pnl").as("pnl");
  Query realized_by_transaction = events("transactions").where("kind", "realized_pnl").by("account", "currency").sum("amount").as("pnl");
  Query whole_positions = latest("positions").per("account", "instrument").values("quantity", "cost", "realized_pnl", "last_note");
  Query sums_by_kind = events("transactions").by("account", "kind", "currency").sum("amount").count();

  Invariant naive{"transactions-balance", {at_rest(ledger), balances}, {at_rest(analytics), transactions}};
  std::vector<Invariant> at_cut{{"transactions-balance-live", {ledger, balances}, {analytics, transactions}},
                                // A position that never closed anything has earned nothing, and has no transaction that says so.
                                {"position-realized-pnls-balance-live",
                                 {analytics, realized_by_position},
                                 {analytics, realized_by_transaction},
                                 {{.column = "pnl", .absent_is_zero = true}}},
                                {"shadow-positions", {analytics, whole_positions}, {shadow, whole_positions}},
                                {"shadow-transactions", {analytics, sums_by_kind}, {shadow, sums_by_kind}}};

  // Can the comparison see? Production against itself must be equal, and with one changed value in it must not.
  Planted<Analytics> planted{analytics};
  std::vector<Invariant> control{{"same", {analytics, whole_positions}, {analytics, whole_positions}, {}, true},
                                 {"planted", {analytics, whole_positions}, {planted, whole_positions}, {}, true}};
};

std::string brief(const Outcome& o) {
  if (o.status == Status::pass) return "pass";
  if (o.status == Status::fail && o.counts.differences() > 0) return "FAIL " + std::to_string(o.counts.differences()) + " keys";
  return std::string(to_string(o.status)) + " " + std::string(to_string(o.reason));
}

std::string first_line(const Outcome& o) {
  const std::string text = to_text(o);
  return text.substr(0, text.find('\n'));
}

struct Tally {
  int runs = 0, naive_alarms = 0, cut_alarms = 0, cut_passes = 0;
};

/// Compares for a while, then corrupts a row and compares until that is caught. `corrupt` returns the currency whose sum is wrong from then on.
template <class Ledger, class Analytics, class Corrupt>
int show(Ledger& ledger, Analytics& analytics, Analytics& shadow, const Options& options, Corrupt corrupt) {
  Checks<Ledger, Analytics> checks{ledger, analytics, shadow};
  SystemClock& clock = SystemClock::instance();
  CheckOptions check_options{.horizon = {.budget = Millis{10'000}}};
  ShadowGate gate{{.cuts_min = options.seconds * 2 / 3, .duration_min = Millis{options.seconds * 500}, .events_min = 1'000}};
  Tally tally;
  Decision decision = Decision::not_yet;
  fmt::print("\n{:>5}  {:>10}  {:>9}  {:<14} | {:<12} {:<12} {:<12} {:<12} {:>6}  {}\n", "", "", "", "naive", "at a cut:", "", "shadow's", "shadow's", "", "");
  fmt::print("{:>5}  {:>10}  {:>9}  {:<14} | {:<12} {:<12} {:<12} {:<12} {:>6}  {}\n", "run", "sequence", "events/s", "two queries", "balances", "positions",
             "positions", "transactions", "ms", "gate");
  std::uint64_t before = 0;
  const Millis start = clock.now();
  for (int run = 1; run <= options.seconds; ++run) {
    const Outcome naive = check(ledger, checks.naive, check_options);
    const std::vector<Outcome> outcomes = check(ledger, std::span<const Invariant>(checks.at_cut), check_options);
    std::vector<Status> statuses;
    for (const Outcome& o : outcomes) statuses.push_back(o.status);
    const Status all = all_of(statuses);
    ++tally.runs;
    tally.naive_alarms += naive.status == Status::fail;
    tally.cut_passes += all == Status::pass;
    tally.cut_alarms += all == Status::fail;
    if (run % 5 == 1) {
      const std::vector<Outcome> control = check(ledger, std::span<const Invariant>(checks.control), check_options);
      gate.control(control[0], control[1], checks.planted.plant());
    }
    decision = gate.add(std::span<const Outcome>(outcomes).subspan(2), clock.now());
    const std::uint64_t sequence = outcomes[0].epoch ? outcomes[0].epoch->sequence : before;
    fmt::print("{:>2}/{:<2}  {:>10}  {:>9}  {:<14} | {:<12} {:<12} {:<12} {:<12} {:>6}  {}\n", run, options.seconds, sequence,
               before == 0 ? 0 : sequence - before, brief(naive), brief(outcomes[0]), brief(outcomes[1]), brief(outcomes[2]), brief(outcomes[3]),
               outcomes.back().took.count(), decision);
    for (const Outcome& o : outcomes) {
      if (o.status != Status::pass) fmt::print("       {}\n", first_line(o));
      if (options.json) fmt::print("{:j}\n", o);
    }
    std::fflush(stdout);
    before = sequence;
    clock.sleep(start + Millis{run * 1000} - clock.now());
  }
  if (decision != Decision::go) fmt::print("\ngate: {}\n", gate.why());

  fmt::print("\none row of the analytics store's transactions is corrupted: its amount is 1 too much\n");
  const std::string currency = corrupt();
  const Millis corrupted_at = clock.now();
  bool caught = false;
  double caught_after = 0;
  for (int attempt = 0; attempt < 30 && !caught; ++attempt) {
    const Outcome o = check(ledger, checks.at_cut[0], check_options);
    if (o.status == Status::fail) {
      caught_after = static_cast<double>((clock.now() - corrupted_at).count()) / 1000;
      fmt::print("{}\n", o);
      for (const Difference& d : o.differences) caught |= to_string(d.key[0].value.value()) == currency && !d.left.empty() && !d.right.empty();
      if (!caught) fmt::print("it does not name {}, which was corrupted\n", currency);
      break;
    }
    fmt::print("{}\n", o);
    clock.sleep(Millis{1000});
  }

  fmt::print("\nnaive false alarms {}/{}\n", tally.naive_alarms, tally.runs);
  fmt::print("cut: false alarms {}/{}, passes {}/{}\n", tally.cut_alarms, tally.runs, tally.cut_passes, tally.runs);
  caught ? fmt::print("corruption caught after {:.1f} s\n", caught_after) : fmt::print("corruption NOT caught\n");
  fmt::print("gate: {}\n", decision);
  // Of 30 cuts two may go without an answer (an error, never a wrong answer), as on any machine that is busy with something else.
  const bool came_true =
      tally.naive_alarms >= 1 && tally.cut_alarms == 0 && tally.cut_passes >= tally.runs - tally.runs / 15 && caught && decision == Decision::go;
  return came_true ? 0 : 1;
}

#ifdef EPOCHCUT_DEMO_SERVERS
std::string setting(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == 0)
    throw Failure(Reason::configuration, std::string(name) + " is not set; run sh examples/demo.sh, which starts servers and sets it");
  return value;
}

int show_servers(const Options& options) {
  exchange::EngineOptions production;
  production.postgres = setting("EPOCHCUT_POSTGRES");
  production.clickhouse = setting("EPOCHCUT_CLICKHOUSE");
  production.stream.seed = options.seed;
  production.write_path = exchange::WritePath::issued;  // the harder path: rows are only on their way when their token commits
  production.inserts.writers = 2;
  production.inserts.queue_max = 4;  // what is on its way is bounded, so full speed is what the stores take
  production.rate = options.rate;
  production.batch = 100;
  exchange::EngineOptions copy = production;
  copy.layout = {.authority = "shadow", .schema = "shadow", .database = "exchange_shadow"};
  exchange::create_tables(production);
  exchange::create_tables(copy);
  exchange::RunningPair engines(production, copy, 1'000);

  const std::string analytics_url = setting("EPOCHCUT_CLICKHOUSE_RECON");
  Postgres ledger{setting("EPOCHCUT_POSTGRES_RECON"), {.stream = std::string(exchange::stream_id)}};
  ClickHouse analytics{analytics_url + "?database=exchange"}, shadow{analytics_url + "?database=exchange_shadow"};
  SystemClock::instance().sleep(Millis{1000});  // until the first batches are in both
  const int result = show(ledger, analytics, shadow, options, [&] {
    exchange::Corruptor corruptor(production.clickhouse, production.layout);
    const std::uint64_t row = corruptor.pick("transactions", engines.sequence());
    return corruptor.plant(exchange::Fault::change_amount, "transactions", row).currency;
  });
  engines.stop();
  if (!engines.error().empty()) return fmt::print("the exchange stopped by itself: {}\n", engines.error()), 1;
  return result;
}
#else
int show_servers(const Options&) { throw Failure(Reason::configuration, "this demo was built without libpq and libcurl; install them, or use --embedded"); }
#endif

int show_embedded(const Options& options) {
  exchange::EmbeddedExchange exchange({.stream = {.seed = options.seed}});
  return show(exchange.ledger, exchange.analytics, exchange.shadow, options, [&] { return exchange.corrupt(); });
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--help" || arg == "-h") return std::fwrite(help.data(), 1, help.size(), stdout), 0;
    if (arg == "--embedded")
      options.embedded = true;
    else if (arg == "--json")
      options.json = true;
    else if ((arg == "--seconds" || arg == "--seed" || arg == "--rate") && i + 1 < argc) {
      const auto number = parse_decimal(argv[++i]);
      if (!number || number->scale != 0 || number->unscaled < (arg == "--seconds" ? 5 : 0) || number->unscaled > 86'400)
        return fmt::print(stderr, "demo: {} takes a whole number, from {} to 86400\n", arg, arg == "--seconds" ? 5 : 0), 2;
      if (arg == "--seconds")
        options.seconds = static_cast<int>(number->unscaled);
      else if (arg == "--rate")
        options.rate = static_cast<int>(number->unscaled);
      else
        options.seed = static_cast<std::uint64_t>(number->unscaled);
    } else
      return fmt::print(stderr, "demo: I don't know \"{}\"; see demo --help\n", arg), 2;
  }
  try {
    return options.embedded ? show_embedded(options) : show_servers(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "demo: {}\n", e.what());
    return 3;
  }
}
