// In which steps does a new check take the pager from the old one, and which revision of a configuration must never be?
// Layer: operate. Pure functions over plain values; examples/recon_engine/promote.cpp edits the file.
// Source: RFC live-checks, "Promotion"; docs/operations/promotion.md. At no moment may an invariant be without a check that pages.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/instant.hpp>

namespace epochcut {

inline constexpr std::chrono::days demo_length{7};          ///< on the demo system, where divergence is harmless
inline constexpr std::chrono::days soak_weeks_length{28};   ///< on production, paging off
inline constexpr std::chrono::days cross_check_length{14};  ///< the old check goes on without its pager

/// What a configuration says of one check, as far as paging is concerned.
struct PagedCheck {
  std::string id;
  std::string invariant;  ///< two checks of one invariant assert the same
  bool live = false;      ///< the new way of reading it
  bool enabled = true, paging = true;
  bool pages() const { return enabled && paging; }
  friend bool operator==(const PagedCheck&, const PagedCheck&) = default;
};

/// Why this revision must not run, in one sentence; empty if it may. Refused: an invariant without a check that pages, and one with two.
inline std::string refusal(const std::vector<PagedCheck>& checks) {
  for (const PagedCheck& check : checks) {
    std::string paging;
    int n = 0;
    for (const PagedCheck& other : checks)
      if (other.invariant == check.invariant && other.pages()) paging += (n++ == 0 ? "" : " and ") + other.id;
    if (n == 0) return "the invariant " + check.invariant + " has no check that pages: enable one with paging = true";
    if (n > 1)
      return "the invariant " + check.invariant + " is paged by " + paging + ": one break would wake people twice, so turn one off in the same revision";
  }
  return checks.empty() ? "it has no checks, so nothing would page" : "";
}

/// One setting of one check.
struct ConfigChange {
  std::string check_id;
  std::string key;  ///< paging or enabled
  bool value = false;
  friend bool operator==(const ConfigChange&, const ConfigChange&) = default;
};

/// The revision after the changes. Precondition: every change names a check that is there.
inline std::vector<PagedCheck> changed(std::vector<PagedCheck> checks, const std::vector<ConfigChange>& changes) {
  for (const ConfigChange& change : changes)
    for (PagedCheck& check : checks)
      if (check.id == change.check_id) (change.key == "paging" ? check.paging : check.enabled) = change.value;
  return checks;
}

enum class StepId : std::uint8_t { demo, soak, scan, promote, retire, remove };
constexpr std::string_view to_string(StepId s) {
  constexpr std::string_view names[] = {"demo", "soak", "scan", "promote", "retire", "remove"};
  return names[static_cast<std::size_t>(s)];
}

/// One step, and how to take it back: by the configuration before it.
struct PromotionStep {
  StepId id = StepId::demo;
  std::optional<Instant> at{};  ///< none: not a matter of days
  std::string where;            ///< demo or production
  std::string what;
  std::vector<ConfigChange> changes{};  ///< ONE revision: all of them or none
  std::string roll_back;
};

/// The dated plan of one pair of checks. `production`: when the live check begins on production. A clock that starts anew moves everything after it.
inline std::vector<PromotionStep> promotion_plan(const std::string& old_id, const std::string& live_id, Instant production) {
  const ConfigChange old_on{old_id, "enabled", true}, old_pages{old_id, "paging", true}, live_on{live_id, "enabled", true},
      live_silent{live_id, "paging", false};
  const std::string before = "go back to the revision before it";
  std::vector<PromotionStep> plan{{StepId::demo,
                                   production - demo_length,
                                   "demo",
                                   "run " + live_id + " without its pager; a bug of the check shows here, where nothing is lost",
                                   {old_on, old_pages, live_on, live_silent},
                                   before},
                                  {StepId::soak,
                                   production,
                                   "production",
                                   "run " + live_id + " without its pager; " + old_id + " keeps its schedule and its pager",
                                   {old_on, old_pages, live_on, live_silent},
                                   before}};
  for (int week = 1; week <= soak_weeks_length.count() / 7; ++week)
    plan.push_back({StepId::scan,
                    production + std::chrono::weeks(week),
                    "production",
                    "divergence scan of week " + std::to_string(week) + ": adjudicate every episode, file the report" +
                        (week == 4 ? "; decide, nothing is extended by itself" : ""),
                    {},
                    ""});
  const Instant promoted = production + soak_weeks_length;
  plan.push_back({StepId::promote,
                  promoted,
                  "production",
                  "if the report says promote and is signed: the pager moves, in one revision",
                  {{live_id, "paging", true}, {old_id, "paging", false}},
                  before});
  plan.push_back({StepId::retire,
                  promoted + cross_check_length,
                  "production",
                  "if the silent cross-check found nothing: switch " + old_id + " off",
                  {{old_id, "enabled", false}},
                  before});
  plan.push_back({StepId::remove,
                  std::nullopt,
                  "production",
                  "one release later: take " + old_id + " out of the program; " + live_id + " keeps its name, and so its history",
                  {},
                  "go back to the release before it"});
  return plan;
}

}  // namespace epochcut
