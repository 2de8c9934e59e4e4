// exchange: writes a PostgreSQL and a ClickHouse the way a small exchange does, breaks them on request, and says how they stand.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "exchange/audit.hpp"
#include "exchange/candidate.hpp"
#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "exchange/venue.hpp"

namespace {

using namespace exchange;
using Clock = std::chrono::steady_clock;

constexpr const char* usage_text = R"(usage: exchange COMMAND [OPTION VALUE]...

  init      create the tables of an authority in both stores; with --engine also that engine's shadow
  run       write both stores until told to stop; SIGTERM or SIGINT ends it after the batch,
            SIGUSR1 begins a quiet window, SIGUSR2 ends it
  shadow    fold the same stream into the engine's own shadow, behind production; armed, it goes up to
            the seam, takes production over, and is then like run
  status    how far the ledger is, and what ClickHouse shows of it
  audit     compare the ledger, row by row, with what the stream says it must be
  corrupt   plant one fault and say which keys a check must name
  depose    raise the generation: whoever writes with the old one is fenced out

stores:
  --postgres DSN         connection string of the owner     (default: $EPOCHCUT_POSTGRES)
  --clickhouse URL       http://[user:password@]host:port/  (default: $EPOCHCUT_CLICKHOUSE)
                         with run or shadow and --engine: $EPOCHCUT_POSTGRES_PRODUCTION and
                         $EPOCHCUT_CLICKHOUSE_PRODUCTION, where they are set
  --authority NAME       production, or a shadow of it      (production)
  --schema NAME          in PostgreSQL                      (public; a shadow's: its authority)
  --database NAME        in ClickHouse                      (exchange; a shadow's: exchange_AUTHORITY)
  --partitions N         init: of the ClickHouse tables, by account  (1)

run:
  --seed N               which stream                       (1)
  --tie-every N          event N + 1 shares the nanosecond of event N, and so on: use the batch size
  --rising-ns            every other nanosecond is above all before it; else they tie and step back
  --batch N              executions a batch                 (200)
  --rate N               executions a second; 0: as many as go  (0)
  --issued               tokens commit before ClickHouse has acknowledged their rows
  --writers N            insert threads when issued         (4)
  --queue N              inserts on their way when issued, at most  (256)
  --lag-ms N             every insert is that late          (0)
  --jitter-ms N          and up to that much more           (0)
  --generation N         refuse to run unless it is the token's
  --duration S           seconds                            (for ever)
  --stop-at SEQ          sequence number                    (never)
  --reopen               when a store is away, or the token moved: open both again instead of ending
  --commit-log FILE      append a line per commit: wall clock in ns, sequence number, generation, engine
  --crash-at POINT       SIGKILL to itself there: batch-folded, after-transactions, after-positions, in-transaction,
                         commit-sent, committed, at-seam, flip-sent, flipped, chain-unrecorded, chain-recorded,
                         taken-over, after-marks or marks-commit-sent
  --pause-at POINT       SIGSTOP to itself there, once
  --crash-from SEQ       in the first batch that reaches this sequence number  (1)

run and shadow, where an authority may change hands (docs/operations/cutover.md):
  --engine NAME          who this is; it runs only where it is the owner  (incumbent)
  --seam-wait-ms N       so long the owner waits at the seam, then it disarms  (250)

shadow:
  --lag N                stay that many events behind on purpose    (0)
  --build-id ID          what a gate's verdict is about             (a digest of this program)
  --planted-bug rounding one trade in 100 000 is wrong by 10^-8
  --shadow-postgres DSN  of a role that writes shadows, and no production  (default: $EPOCHCUT_POSTGRES_SHADOW)
  --shadow-clickhouse URL                                           (default: $EPOCHCUT_CLICKHOUSE_SHADOW)

run, beside trading; keep to what an authority was started with:
  --deposit-every SEQ    deposits and adjustments at these sequence numbers only; 0: one event in 170  (0)
  --custodian URL        each of them is a custody transfer there, begun before its batch may commit
  --settle-ms N          and completed that long after it has  (50)
  --mark-every SEQ       a mark cycle at each of these sequence numbers  (none)
  --quiet-every S        every S seconds stop, drain both stores, say so in quiet_windows, ...
  --quiet-for S          ... and go on after that long  (5)

corrupt:
  --fault NAME           change_amount, delete_row, extra_row, duplicate_row, conflicting_row, truncate or change_balance
  --relation NAME        transactions, positions or mark_pnl  (transactions)
  --event-id N           the row; else the newest up to the token
  --kind NAME            the newest of that kind of transaction
  --delta AMOUNT         (1)

examples:
  exchange init && exchange run --rate 5000 --duration 60
  exchange init --authority shadow && exchange run --authority shadow --batch 500
  exchange run --issued --writers 4 --jitter-ms 30 --duration 60
  exchange run --rate 500 --mark-every 5000 --deposit-every 2000 --custodian http://127.0.0.1:8090 --reopen
  exchange run --quiet-every 600 --quiet-for 20
  exchange init --engine candidate && exchange shadow --engine candidate --rate 500 --lag 1000
  exchange corrupt --fault change_amount --kind fee         (undo: the event id it names, and --delta -1)

exit codes: 0 done, 1 a store failed (audit: it is not what the stream says), 2 bad usage,
            3 deposed, or not the owner (don't restart; as a shadow it may come back),
            4 the token moved under it: by the COMMIT of a run that was killed (restart), or by a second writer
)";

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

volatile std::sig_atomic_t stop_signal = 0, quiet_signal = 0;

struct Arguments {
  std::string command;
  EngineOptions engine;
  double duration_s = 0, quiet_every_s = 0, quiet_for_s = 5;
  std::uint64_t mark_every = 0;
  CourierOptions custody;
  bool engine_named = false, reopen = false;
  std::string shadow_postgres, shadow_clickhouse, build_id;
  std::uint64_t lag = 0;
  std::uint64_t stop_at = no_limit, event_id = 0;
  std::string fault, relation = "transactions", kind, delta = "1";
};

template <class Number>
Number number_of(const std::string& option, const std::string& text, double max = 9e15) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < Number{} || static_cast<double>(value) > max)
    throw Usage(option + " takes a number from 0 to " + std::to_string(static_cast<long>(max)) + ", not \"" + text + "\"");
  return value;
}

CrashPoint crash_point_of(const std::string& option, const std::string& name) {
  static constexpr std::pair<const char*, CrashPoint> points[] = {{"batch-folded", CrashPoint::batch_folded},
                                                                  {"after-transactions", CrashPoint::after_transactions},
                                                                  {"after-positions", CrashPoint::after_positions},
                                                                  {"in-transaction", CrashPoint::in_transaction},
                                                                  {"commit-sent", CrashPoint::commit_sent},
                                                                  {"committed", CrashPoint::committed},
                                                                  {"at-seam", CrashPoint::at_seam},
                                                                  {"flip-sent", CrashPoint::flip_sent},
                                                                  {"flipped", CrashPoint::flipped},
                                                                  {"chain-unrecorded", CrashPoint::chain_unrecorded},
                                                                  {"chain-recorded", CrashPoint::chain_recorded},
                                                                  {"taken-over", CrashPoint::taken_over},
                                                                  {"after-marks", CrashPoint::after_marks},
                                                                  {"marks-commit-sent", CrashPoint::marks_commit_sent}};
  for (const auto& [text, point] : points)
    if (name == text) return point;
  throw Usage(option + " takes one of the points that --help lists, not \"" + name + "\"");
}

Arguments parse(int argc, char** argv) {
  Arguments a;
  const auto environment = [](const char* name) { return std::string(std::getenv(name) != nullptr ? std::getenv(name) : ""); };
  EngineOptions& e = a.engine;
  a.shadow_postgres = environment("EPOCHCUT_POSTGRES_SHADOW");
  a.shadow_clickhouse = environment("EPOCHCUT_CLICKHOUSE_SHADOW");
  e.crash = [] { static_cast<void>(::kill(::getpid(), SIGKILL)); };
  std::string authority = "production", schema, database;
  const auto text = [](std::string& target) { return [&target](const std::string&, const std::string& v) { target = v; }; };
  const auto count = [](std::uint64_t& target) { return [&target](const std::string& o, const std::string& v) { target = number_of<std::uint64_t>(o, v); }; };
  const auto queue = [&e](const std::string& o, const std::string& v) {
    e.inserts.queue_max = std::max(number_of<std::uint64_t>(o, v, 1e6), std::uint64_t{1});
  };
  const auto small = [](int& target) { return [&target](const std::string& o, const std::string& v) { target = number_of<int>(o, v, 1e6); }; };
  const auto real = [](double& target) { return [&target](const std::string& o, const std::string& v) { target = number_of<double>(o, v, 1e9); }; };
  const std::map<std::string, std::function<void(const std::string&, const std::string&)>> options{
      {"--postgres", text(e.postgres)},
      {"--clickhouse", text(e.clickhouse)},
      {"--authority", text(authority)},
      {"--schema", text(schema)},
      {"--database", text(database)},
      {"--partitions", small(e.layout.partitions)},
      {"--seed", count(e.stream.seed)},
      {"--tie-every", count(e.stream.tie_every)},
      {"--batch", count(e.batch)},
      {"--rate", real(e.rate)},
      {"--writers", small(e.inserts.writers)},
      {"--queue", queue},
      {"--lag-ms", small(e.inserts.lag_ms)},
      {"--jitter-ms", small(e.inserts.jitter_ms_max)},
      {"--generation", count(e.generation)},
      {"--duration", real(a.duration_s)},
      {"--stop-at", count(a.stop_at)},
      {"--mark-every", count(a.mark_every)},
      {"--deposit-every", count(e.stream.deposit_every)},
      {"--custodian", text(a.custody.url)},
      {"--settle-ms", [&](const std::string& o, const std::string& v) { a.custody.settle = std::chrono::milliseconds(number_of<int>(o, v, 1e6)); }},
      {"--quiet-every", real(a.quiet_every_s)},
      {"--quiet-for", real(a.quiet_for_s)},
      {"--crash-from", count(e.crash_from)},
      {"--fault", text(a.fault)},
      {"--relation", text(a.relation)},
      {"--event-id", count(a.event_id)},
      {"--kind", text(a.kind)},
      {"--delta", text(a.delta)},
      {"--crash-at", [&](const std::string& o, const std::string& v) { e.crash_at = crash_point_of(o, v); }},
      {"--pause-at", [&](const std::string& o, const std::string& v) { e.pause_at = crash_point_of(o, v); }},
      {"--commit-log", text(e.commit_log)},
      {"--engine", [&](const std::string&, const std::string& v) { e.name = v, a.engine_named = true; }},
      {"--seam-wait-ms", [&](const std::string& o, const std::string& v) { e.splice.seam_wait = epochcut::Millis(number_of<int>(o, v, 1e6)); }},
      {"--lag", count(a.lag)},
      {"--build-id", text(a.build_id)},
      {"--planted-bug",
       [&](const std::string& o, const std::string& v) {
         if (v != "rounding") throw Usage(o + " takes rounding, not \"" + v + "\"");
         e.bug = PlantedBug::rounding;
       }},
      {"--shadow-postgres", text(a.shadow_postgres)},
      {"--shadow-clickhouse", text(a.shadow_clickhouse)},
  };
  a.command = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--issued") {
      e.write_path = WritePath::issued;
      continue;
    }
    if (option == "--rising-ns") {
      e.stream.rising_ns = true;
      continue;
    }
    if (option == "--reopen") {
      a.reopen = true;
      continue;
    }
    const auto found = options.find(option);
    if (found == options.end()) throw Usage("there is no option " + option.substr(0, option.find('=')));
    if (++i == argc) throw Usage(option + " takes a value");
    found->second(option, argv[i]);
  }
  const bool as_production = a.engine_named && (a.command == "run" || a.command == "shadow");
  for (const auto& [target, name] : {std::pair{&e.postgres, std::string("EPOCHCUT_POSTGRES")}, std::pair{&e.clickhouse, std::string("EPOCHCUT_CLICKHOUSE")}}) {
    if (target->empty() && as_production) *target = environment((name + "_PRODUCTION").c_str());
    if (target->empty()) *target = environment(name.c_str());
  }
  if (e.postgres.empty()) throw Usage("no PostgreSQL: give --postgres or set EPOCHCUT_POSTGRES");
  if (a.quiet_every_s > 0 && a.quiet_for_s >= a.quiet_every_s) throw Usage("--quiet-for must be less than --quiet-every");
  if (e.clickhouse.empty()) throw Usage("no ClickHouse: give --clickhouse or set EPOCHCUT_CLICKHOUSE");
  const int partitions = e.layout.partitions;
  e.layout = layout_of(authority);
  e.layout.partitions = partitions;
  if (!schema.empty()) e.layout.schema = schema;
  if (!database.empty()) e.layout.database = database;
  layout_of(e.name).validate();
  if (a.command == "shadow" && (a.shadow_postgres.empty() || a.shadow_clickhouse.empty()))
    throw Usage("no shadow: give --shadow-postgres and --shadow-clickhouse, or set EPOCHCUT_POSTGRES_SHADOW and EPOCHCUT_CLICKHOUSE_SHADOW");
  if (a.command == "shadow" && (a.mark_every != 0 || !a.custody.url.empty()))
    throw Usage("shadow takes neither --mark-every nor --custodian: nothing hands over the marks' stream, nor the transfers that are open");
  return a;
}

/// From when on, and how far, a run goes; it outlives the venue when that has to be opened again.
struct Progress {
  Clock::time_point begin = Clock::now();
  std::optional<std::uint64_t> first;
  bool reopened = false;
  double last_quiet_s = 0, quiet_until_s = 0;
  double elapsed_s() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
};

bool wants_quiet(const Arguments& a, Progress& progress) {
  const double now_s = progress.elapsed_s();
  if (a.quiet_every_s > 0 && now_s >= progress.last_quiet_s + a.quiet_every_s) progress.last_quiet_s = now_s, progress.quiet_until_s = now_s + a.quiet_for_s;
  return quiet_signal != 0 || now_s < progress.quiet_until_s;
}

void stand_still(Venue& venue, const Arguments& a, Progress& progress) {
  const char* authority = a.engine.layout.authority.c_str();
  std::printf("%s: quiet at sequence %" PRIu64 "\n", authority, venue.sequence());
  std::fflush(stdout);
  while (stop_signal == 0 && wants_quiet(a, progress)) {
    const bool before = venue.quiet();
    venue.rest(std::chrono::seconds(1), a.stop_at);
    if (!before && venue.quiet()) std::printf("%s: drained\n", authority);
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  venue.wake();
  std::printf("%s: awake\n", authority);
  std::fflush(stdout);
}

int run_venue(const Arguments& a, Progress& progress, HotStart* hot) {
  const char* authority = a.engine.layout.authority.c_str();
  Venue venue({a.engine, a.mark_every, a.custody}, hot);
  if (!progress.first) progress.first = venue.sequence();
  std::printf("%s: generation %" PRIu64 ", from sequence %" PRIu64 "\n", authority, venue.engine().generation(), venue.sequence());
  std::fflush(stdout);
  int refused = 0;
  while (stop_signal == 0 && venue.sequence() < a.stop_at && (a.duration_s == 0 || progress.elapsed_s() < a.duration_s)) {
    if (wants_quiet(a, progress)) {
      stand_still(venue, a, progress);
      continue;
    }
    venue.step(a.stop_at);
    progress.reopened = false;
    if (venue.splices_refused() != refused)
      std::fprintf(stderr, "exchange: refused a splice and disarmed it: nothing hands over the marks' stream, nor the transfers that are open\n");
    refused = venue.splices_refused();
  }
  const bool drained = venue.drain();
  const auto executions = static_cast<double>(venue.sequence() - *progress.first);
  std::printf("%s: stopped at sequence %" PRIu64 ", %.0f executions a second\n", authority, venue.sequence(), executions / progress.elapsed_s());
  if (!drained) std::fputs("exchange: not everything was acknowledged or completed; the next run sees to it\n", stderr);
  return drained ? 0 : 1;
}

/// Until it owns the authority; nothing if it was told to stop before.
std::optional<HotStart> stage(const Arguments& a) {
  CandidateOptions options{.shadow = a.engine, .production = a.engine.layout, .lag = a.lag, .build_id = a.build_id};
  options.shadow.layout = layout_of(a.engine.name);
  options.shadow.postgres = a.shadow_postgres, options.shadow.clickhouse = a.shadow_clickhouse;
  Candidate candidate(options);
  std::printf("%s: a shadow, from sequence %" PRIu64 "\n", a.engine.name.c_str(), candidate.sequence());
  std::fflush(stdout);
  while (stop_signal == 0)
    if (candidate.step()) {
      std::printf("%s: owns %s from sequence %" PRIu64 " on\n", a.engine.name.c_str(), a.engine.layout.authority.c_str(), candidate.sequence() + 1);
      std::fflush(stdout);
      return std::move(candidate).hot();
    }
  std::printf("%s: stopped at sequence %" PRIu64 "\n", a.engine.name.c_str(), candidate.sequence());
  return std::nullopt;
}

int run(const Arguments& a) {
  std::signal(SIGTERM, [](int) { stop_signal = 1; });
  std::signal(SIGINT, [](int) { stop_signal = 1; });
  std::signal(SIGUSR1, [](int) { quiet_signal = 1; });
  std::signal(SIGUSR2, [](int) { quiet_signal = 0; });
  Progress progress;
  while (true) {
    std::string why;
    try {
      if (a.command != "shadow") return run_venue(a, progress, nullptr);
      std::optional<HotStart> hot = stage(a);
      return hot ? run_venue(a, progress, &*hot) : 0;
    } catch (const epochcut::Failure& failure) {
      if (!a.reopen || !failure.retryable || stop_signal != 0) throw;
      why = failure.what();
    } catch (const Fenced& fenced) {
      // Once: a COMMIT whose answer was lost may still take effect behind our back. Twice in a row is another writer.
      if (!a.reopen || fenced.deposed || progress.reopened || stop_signal != 0) throw;
      why = fenced.what();
      progress.reopened = true;
    }
    std::fprintf(stderr, "exchange: %s; opening again\n", why.c_str());
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

int status(const Arguments& a) {
  const Layout& layout = a.engine.layout;
  layout.validate();
  PostgresWriter ledger(a.engine.postgres);
  ClickhouseWriter analytics(a.engine.clickhouse);
  const auto token =
      ledger.execute("SELECT t.generation, t.sequence, d.relation, d.row_count, d.acked_sequence, d.acked_by FROM " + layout.schema + ".resume_tokens t JOIN " +
                         layout.schema + ".resume_token_digests d USING (stream, authority) " + "WHERE t.stream = $1 AND t.authority = $2 ORDER BY d.relation",
                     {std::string(stream_id), layout.authority});
  for (int r = 0; r < token.rows(); ++r) {
    const std::string relation(token(r, 2));
    const std::uint64_t last = event_id_of(std::stoull(std::string(token(r, 1))) + 1, 0);
    std::string shown = analytics.query("SELECT count() FROM " + layout.database + "." + relation + " WHERE event_id < " + std::to_string(last));
    shown.pop_back();
    std::printf("%-13s generation %s, sequence %s, rows %s in the ledger's token, %s in ClickHouse, acknowledged up to %s by %s\n", relation.c_str(),
                std::string(token(r, 0)).c_str(), std::string(token(r, 1)).c_str(), std::string(token(r, 3)).c_str(), shown.c_str(),
                std::string(token(r, 4)).c_str(), token(r, 5).empty() ? "nobody" : std::string(token(r, 5)).c_str());
  }
  if (token.rows() == 0) std::printf("there is no token of authority %s\n", layout.authority.c_str());
  return token.rows() == 0 ? 1 : 0;
}

int init(const Arguments& a) {
  if (!a.engine_named) return create_tables(a.engine), 0;
  // What an authority is made of belongs to the incumbent, whoever comes to have it; a shadow is its engine's.
  PostgresWriter ledger(a.engine.postgres);
  ClickhouseWriter analytics(a.engine.clickhouse);
  create_tables(ledger, a.engine.layout, EngineOptions{}.name, Kind::production);
  create_tables(analytics, a.engine.layout);
  create_tables(ledger, layout_of(a.engine.name), a.engine.name, Kind::shadow);
  create_tables(analytics, layout_of(a.engine.name));
  return 0;
}

int audit_all(const Arguments& a) {
  const AuditReport report = audit(a.engine, a.engine.commit_log.empty() ? std::vector<std::string>{} : std::vector{a.engine.commit_log});
  std::fputs(to_text(report).c_str(), stdout);
  return report.sound() ? 0 : 1;
}

int corrupt(const Arguments& a) {
  const Layout& layout = a.engine.layout;
  if (a.fault.empty()) throw Usage("corrupt needs --fault");
  if (a.fault == "change_balance") {
    std::printf("change_balance: %s\n", change_balance(a.engine.postgres, layout, a.delta).c_str());
    return 0;
  }
  const Fault fault = fault_of(a.fault);
  const Corruption corruption = a.event_id != 0 ? Corruptor(a.engine.clickhouse, layout).plant(fault, a.relation, a.event_id, a.delta)
                                                : corrupt_newest(a.engine, fault, a.relation, a.kind, a.delta);
  std::printf("%s\n", to_string(corruption).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--help" || std::string_view(argv[i]) == "-h") return std::fputs(usage_text, stdout), 0;
  if (argc < 2) return std::fputs(usage_text, stderr), 2;
  const Arguments a = parse(argc, argv);
  if (a.command == "init") return init(a);
  if (a.command == "run" || a.command == "shadow") return run(a);
  if (a.command == "audit") return audit_all(a);
  if (a.command == "status") return status(a);
  if (a.command == "corrupt") return corrupt(a);
  if (a.command == "depose") return std::printf("generation %" PRIu64 "\n", depose(a.engine)), 0;
  throw Usage("there is no command " + a.command);
} catch (const Usage& usage) {
  std::fprintf(stderr, "exchange: %s; see --help\n", usage.what());
  return 2;
} catch (const exchange::Fenced& fenced) {
  std::fprintf(stderr, "exchange: %s\n", fenced.what());
  return fenced.deposed ? 3 : 4;
} catch (const std::exception& failure) {
  std::fprintf(stderr, "exchange: %s\n", failure.what());
  return 1;
}
