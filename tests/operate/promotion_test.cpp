#include "support/catch.hpp"

#include <string>
#include <vector>

#include <epochcut/operate/promotion.hpp>

using namespace epochcut;

namespace {

std::vector<PagedCheck> soaking() {
  return {{"balance", "balance", false, true, true},
          {"balance-live", "balance", true, true, false},
          {"sum", "sum", false, true, true},
          {"sum-live", "sum", true, true, false}};
}

}  // namespace

TEST_CASE("A revision in which an invariant has no check that pages is refused, and one with two") {
  CHECK(refusal(soaking()) == "");
  auto checks = soaking();
  checks[0].paging = false;
  CHECK(refusal(checks).find("the invariant balance has no check that pages") == 0);
  checks[1].paging = true;
  CHECK(refusal(checks) == "");
  checks[1].enabled = false;  // paging of a check that doesn't run is no paging
  CHECK(refusal(checks).find("no check that pages") != std::string::npos);
  checks = soaking();
  checks[3].paging = true;
  CHECK(refusal(checks).find("is paged by sum and sum-live") != std::string::npos);
  CHECK_FALSE(refusal({}).empty());
}

TEST_CASE("Every revision of the plan may run, forwards and backwards, and half of the promotion may not") {
  const Instant start = std::chrono::sys_days(std::chrono::year(2026) / 6 / 15);
  const auto plan = promotion_plan("balance", "balance-live", start);
  auto checks = soaking();
  checks[1].enabled = checks[1].paging = false;
  for (const PromotionStep& step : plan) {
    const auto before = checks;
    for (std::size_t i = 0; step.changes.size() > 1 && step.id == StepId::promote && i < step.changes.size(); ++i)
      CHECK_FALSE(refusal(changed(checks, {step.changes[i]})).empty());
    checks = changed(checks, step.changes);
    INFO(to_string(step.id));
    CHECK(refusal(checks) == "");
    CHECK(refusal(before) == "");
    CHECK((step.changes.empty() || !step.roll_back.empty()));
  }
  CHECK(checks[1].pages());
  CHECK_FALSE(checks[0].enabled);
}

TEST_CASE("The plan has the document's dates") {
  const Instant start = std::chrono::sys_days(std::chrono::year(2026) / 6 / 15);
  std::string dates;
  for (const PromotionStep& s : promotion_plan("balance", "balance-live", start))
    dates += std::string(to_string(s.id)) + " " + (s.at ? to_text(*s.at).substr(5, 5) : "-") + " " + s.where + "\n";
  CHECK(dates ==
        "demo 06-08 demo\nsoak 06-15 production\nscan 06-22 production\nscan 06-29 production\nscan 07-06 production\nscan 07-13 production\n"
        "promote 07-13 production\nretire 07-27 production\nremove - production\n");
}
