// What does the record say of a live check, and who says what of it?
// The commands `soak` (report, adjudicate, outage, sign-off, accumulator) and `canary`, over the tables of the schema recon_engine. The judging itself is
// epochcut/operate/soak_*.hpp; soak.sql says the pairs once more, in SQL. Errors: epochcut::Failure.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/soak_criteria.hpp>

#include "recon_engine/catalogue.hpp"
#include "recon_engine/config.hpp"
#include "recon_engine/daemon.hpp"

namespace recon_engine {

using epochcut::Instant;

/// `2026-06-15`, `2026-06-15T16:05` or with seconds, milliseconds and Z: always UTC. Errors: configuration.
Instant instant_of(std::string_view text);

/// The largest |left − right| of one column in what a difference shows (`amount=3, fee=0`); none where no column is a number on both sides.
std::optional<epochcut::Decimal> gap_of(std::string_view left, std::string_view right);

/// The input for one pair of checks, read from the log and, for mark cycles, from the ledger. Without `from`: the live check's first run on record;
/// without `until`: now. Errors: not_found if it has no run.
epochcut::SoakInput soak_input(const Config& config, const CheckInfo& live, std::optional<Instant> from, std::optional<Instant> until);
epochcut::SoakReport soak_of(const Config& config, const CheckInfo& live, std::optional<Instant> from, std::optional<Instant> until);

/// recon_engine soak ...; returns the exit code: 0 promote, 1 restart or leave_the_old_one, 2 keep_soaking (the worst of the checks asked about).
int soak_command(const Config& config, std::vector<std::string> arguments, std::ostream& out, std::ostream& err);

/// recon_engine canary ...: plants one break in the running analytics store, expects the live check to fail within two fires, and takes it back. Exit
/// code 0: caught.
int canary_command(const Config& config, std::vector<std::string> arguments, std::ostream& out, std::ostream& err);

}  // namespace recon_engine
