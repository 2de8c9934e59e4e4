// Which checks are there?
// Eight: four invariants, each read in two ways. Ids are the record's keys and never change: a renamed check has no history. Values only.
// Source: RFC live-checks, "The new checks".
#pragma once

#include <array>
#include <string_view>

namespace recon_engine {

/// One check as it is built in. `schedule` is a cron expression of six fields in `zone`, or `event:mark_cycle`.
struct CheckInfo {
  std::string_view id;
  std::string_view invariant;  ///< what is asserted; two checks of one invariant ask the same questions
  bool live = false;           ///< read at a cut while both stores are written; else at rest, in a quiet window
  std::string_view schedule;   ///< unless the configuration says otherwise
  std::string_view zone;
};

inline constexpr std::string_view quiet_window_schedule = "0 5,20 16 * * *", quiet_window_zone = "US/Eastern";
inline constexpr std::string_view mark_cycle_event = "event:mark_cycle";

inline constexpr std::array<CheckInfo, 8> all_checks{{
    {"transactions-balance", "transactions-balance", false, quiet_window_schedule, quiet_window_zone},
    {"position-realized-pnls-balance", "position-realized-pnls-balance", false, quiet_window_schedule, quiet_window_zone},
    {"pnl-is-zero-sum", "pnl-is-zero-sum", false, quiet_window_schedule, quiet_window_zone},
    {"omnibus-balances-square", "omnibus-balances-square", false, quiet_window_schedule, quiet_window_zone},
    {"transactions-balance-live", "transactions-balance", true, "0 */5 * * * *", "UTC"},
    {"position-realized-pnls-balance-live", "position-realized-pnls-balance", true, "0 */5 * * * *", "UTC"},
    {"pnl-is-zero-sum-live", "pnl-is-zero-sum", true, mark_cycle_event, "UTC"},
    {"omnibus-balances-square-live", "omnibus-balances-square", true, "0 */15 * * * *", "UTC"},
}};

constexpr const CheckInfo* find_check(std::string_view id) {
  for (const CheckInfo& check : all_checks)
    if (check.id == id) return &check;
  return nullptr;
}

namespace laws {
constexpr bool ids_are_unique() {
  for (const CheckInfo& check : all_checks)
    if (find_check(check.id) != &check) return false;
  return true;
}
static_assert(ids_are_unique());
}  // namespace laws

}  // namespace recon_engine
