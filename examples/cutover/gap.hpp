// When may recon_engine be swapped, and did the new one land?
// Class B of the RFC: a program that runs by schedule is swapped while it is idle. Schedules come from its watch.toml, how long a run takes from its own
// record, what runs now from its page; the arithmetic is operate/idle_gap.hpp.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <epochcut/operate/idle_gap.hpp>

#include "recon_engine/config.hpp"

namespace cutover {

/// What the program's own record says of one check.
struct RunFacts {
  epochcut::Millis longest{0};
  std::optional<epochcut::Instant> last_fire{};
  std::optional<epochcut::Instant> running_since{};
};

/// A check that events fire is made good by the next event; one without a record is taken to need its whole budget.
epochcut::ScheduledProgram program_of(const recon_engine::Config& config, const std::string& name, epochcut::Millis deploy,
                                      const std::map<std::string, RunFacts>& runs);

/// `running_known`: whether the program has said what runs; else "running" is null.
std::string to_json(const epochcut::SwapPlan& plan, bool running_known = true);

}  // namespace cutover
