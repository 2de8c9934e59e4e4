// A board as it might stand at night: eight checks, a day of runs, one broken, one that can't find out, one that skips, one missed.
// What the tests of the page, the metrics and the HTTP server look at. Values only.
#pragma once

#include <string>
#include <vector>

#include "recon_engine/board.hpp"
#include "recon_engine/catalogue.hpp"

namespace sample {

using namespace recon_engine;
using epochcut::Epoch;
using epochcut::Reason;
using epochcut::Status;

inline constexpr Instant now{Millis{1'781'060'710'000}};  // 2026-06-10T03:05:10Z

inline std::vector<CheckSummary> summaries() {
  std::vector<CheckSummary> all;
  for (const CheckInfo& info : all_checks) {
    CheckSummary summary{std::string(info.id), true, !info.live, std::string(info.schedule), std::string(info.zone)};
    if (!std::string_view(info.schedule).starts_with("event:")) summary.interval = info.live ? Millis{300'000} : Millis{24 * 3'600'000};
    if (summary.id == "omnibus-balances-square-live") summary.interval = Millis{900'000};
    all.push_back(summary);
  }
  return all;
}

/// A run that ended in `status` at `at`, with plausible costs.
inline Run run(const std::string& check, Instant at, Status status = Status::pass, Reason reason = Reason::none) {
  Run r;
  r.check_id = check;
  r.run_id = check + "@" + epochcut::to_text(at);
  r.trigger = "cron";
  r.scheduled = at, r.started = at + Millis{40}, r.finished = at + Millis{410};
  r.status = status, r.reason = reason;
  r.message = status == Status::pass ? "5 keys agree" : std::string(to_string(reason));
  r.took = Millis{370}, r.horizon_wait = Millis{120};
  r.rows = 48'210, r.bytes = 1'930'400;
  r.version = "0.1.0";
  if (status != Status::error) {
    r.stream = "trade_engine", r.authority = "production", r.generation = 7;
    r.epoch = Epoch{51'620'331, 1'781'060'709'123'456'789};
    r.equal = 5;
  }
  r.unsynchronised = !check.ends_with("-live");
  return r;
}

inline Run failed(const std::string& check, Instant at) {
  Run r = run(check, at, Status::fail, Reason::differs);
  r.message = "2 of 5 keys differ; changed currency=JPY: left amount=15823.17360996, right amount=15824.17360996";
  r.equal = 3, r.changed = 1, r.only_left = 1, r.confirmed = true;
  r.differences = {{"changed", "currency=JPY", "amount=15823.17360996", "amount=15824.17360996"}, {"only_left", "currency=CHF", "amount=12.00000000", ""}};
  return r;
}

/// Fills a board with the night described above. Every check has runs.
inline void fill(Board& board) {
  board.configure(summaries());
  for (const CheckInfo& info : all_checks) {
    const std::string id(info.id);
    std::vector<Run> runs;
    if (!info.live) {
      for (int day = 14; day > 0; --day)
        for (const int minutes : {5, 20}) runs.push_back(run(id, now - Millis{(day * 24 - 17) * 3'600'000LL} + Millis{minutes * 60'000}));
    } else {
      const int minutes = id == "omnibus-balances-square-live" ? 15 : 5;
      for (int k = 60; k >= 0; --k) {
        const Instant at = now - Millis{10'000} - Millis{k * minutes * 60'000LL};
        Run r = run(id, at);
        if (id == "transactions-balance-live" && k < 3) r = failed(id, at);
        if (id == "position-realized-pnls-balance-live" && (k < 2 || k == 31)) {
          r = run(id, at, Status::error, Reason::horizon_not_proven);
          r.message =
              "clickhouse http://127.0.0.1:8123 transactions shows 918 events where the ledger counts 921 after waiting 30000 ms; look at the pipeline that fills it";
          r.horizon_wait = Millis{30'000}, r.took = Millis{30'412};
        }
        if (id == "omnibus-balances-square-live" && k % 7 == 0) {
          r = run(id, at, Status::skipped, Reason::precondition);
          r.message = "1 transfer is under way: transfer-51620000";
        }
        if (id == "pnl-is-zero-sum-live") r.trigger = "event", r.event_key = std::to_string(400 - k);
        runs.push_back(r);
      }
    }
    board.restore(runs);
    board.waiting(id, now - Millis{150 * 60'000}, 0, 0);
    if (id == "transactions-balance-live") board.waiting(id, now, 1, 0);
    if (info.schedule == mark_cycle_event)
      board.waiting(id, std::nullopt, 0, 3);
    else
      board.waiting(id, info.live ? now + Millis{290'000} : now + Millis{13 * 3'600'000}, id == "transactions-balance-live" ? 1 : 0, 0);
  }
  board.firing("transactions-balance-live", Signal::invariant, now - Millis{10 * 60'000});
  board.reached("postgres");
  board.reached("clickhouse");
}

}  // namespace sample
