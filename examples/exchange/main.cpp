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

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "exchange/venue.hpp"

namespace {

using namespace exchange;
using Clock = std::chrono::steady_clock;

constexpr const char* usage_text = R"(usage: exchange COMMAND [OPTION VALUE]...

  init      create the tables of an authority in both stores
  run       write both stores until told to stop; SIGTERM or SIGINT ends it after the batch,
            SIGUSR1 begins a quiet window, SIGUSR2 ends it
  status    how far the ledger is, and what ClickHouse shows of it
  corrupt   plant one fault and say which keys a check must name
  depose    raise the generation: whoever writes with the old one is fenced out

stores:
  --postgres DSN         connection string of the owner     (default: $EPOCHCUT_POSTGRES)
  --clickhouse URL       http://[user:password@]host:port/  (default: $EPOCHCUT_CLICKHOUSE)
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
  --crash-at POINT       SIGKILL to itself there: after-transactions, after-positions, commit-sent, after-marks
                         or marks-commit-sent
  --crash-from SEQ       in the first batch that reaches this sequence number  (1)

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
  exchange corrupt --fault change_amount --kind fee         (undo: the event id it names, and --delta -1)

exit codes: 0 done, 1 a store failed, 2 bad usage, 3 deposed by a newer generation (don't restart),
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
  bool reopen = false;
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

CrashPoint crash_point_of(const std::string& name) {
  if (name == "after-transactions") return CrashPoint::after_transactions;
  if (name == "after-positions") return CrashPoint::after_positions;
  if (name == "commit-sent") return CrashPoint::commit_sent;
  if (name == "after-marks") return CrashPoint::after_marks;
  if (name == "marks-commit-sent") return CrashPoint::marks_commit_sent;
  throw Usage("--crash-at takes after-transactions, after-positions, commit-sent, after-marks or marks-commit-sent, not \"" + name + "\"");
}

Arguments parse(int argc, char** argv) {
  Arguments a;
  const auto environment = [](const char* name) { return std::string(std::getenv(name) != nullptr ? std::getenv(name) : ""); };
  EngineOptions& e = a.engine;
  e.postgres = environment("EPOCHCUT_POSTGRES");
  e.clickhouse = environment("EPOCHCUT_CLICKHOUSE");
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
      {"--crash-at", [&](const std::string&, const std::string& v) { e.crash_at = crash_point_of(v); }},
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
  if (e.postgres.empty()) throw Usage("no PostgreSQL: give --postgres or set EPOCHCUT_POSTGRES");
  if (a.quiet_every_s > 0 && a.quiet_for_s >= a.quiet_every_s) throw Usage("--quiet-for must be less than --quiet-every");
  if (e.clickhouse.empty()) throw Usage("no ClickHouse: give --clickhouse or set EPOCHCUT_CLICKHOUSE");
  const int partitions = e.layout.partitions;
  e.layout = layout_of(authority);
  e.layout.partitions = partitions;
  if (!schema.empty()) e.layout.schema = schema;
  if (!database.empty()) e.layout.database = database;
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

int run_venue(const Arguments& a, Progress& progress) {
  const char* authority = a.engine.layout.authority.c_str();
  Venue venue({a.engine, a.mark_every, a.custody});
  if (!progress.first) progress.first = venue.sequence();
  std::printf("%s: generation %" PRIu64 ", from sequence %" PRIu64 "\n", authority, venue.engine().generation(), venue.sequence());
  std::fflush(stdout);
  while (stop_signal == 0 && venue.sequence() < a.stop_at && (a.duration_s == 0 || progress.elapsed_s() < a.duration_s)) {
    if (wants_quiet(a, progress)) {
      stand_still(venue, a, progress);
      continue;
    }
    venue.step(a.stop_at);
    progress.reopened = false;
  }
  const bool drained = venue.drain();
  const auto executions = static_cast<double>(venue.sequence() - *progress.first);
  std::printf("%s: stopped at sequence %" PRIu64 ", %.0f executions a second\n", authority, venue.sequence(), executions / progress.elapsed_s());
  if (!drained) std::fputs("exchange: not everything was acknowledged or completed; the next run sees to it\n", stderr);
  return drained ? 0 : 1;
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
      return run_venue(a, progress);
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
  if (a.command == "init") return create_tables(a.engine), 0;
  if (a.command == "run") return run(a);
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
