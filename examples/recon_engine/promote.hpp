// How does the pager move from an old check to its live twin?
// One revision of watch.toml, edited line by line so that what people wrote there stays, checked before and after as a configuration, and put in place in
// one step. The revision before it is kept beside it: going back is copying it back. Errors: epochcut::Failure(configuration), and then nothing was changed.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/promotion.hpp>

#include "recon_engine/config.hpp"

namespace recon_engine {

/// The checks of a configuration, as the validator of promotions wants them.
std::vector<epochcut::PagedCheck> paged_checks(const Config& config);

/// The same file with other values: only the lines of the changed settings differ, or are new. Errors: configuration where a setting stands in a way
/// that can't be changed on its own line (an inline table, a dotted key); syntax is checked before and after.
std::string edited(std::string_view toml, const std::vector<epochcut::ConfigChange>& changes, const std::string& path);

struct Promotion {
  std::string revision_before, revision_after;  ///< equal: there was nothing to change
  std::string kept;                             ///< the file that holds the revision before
  std::vector<std::string> lines;               ///< `-` and `+`, as a diff says it
};

/// Changes `path` in ONE step (write beside, rename). Refused: a revision that is no configuration, one in which an invariant has no check that pages or two.
Promotion apply_changes(const std::string& path, const std::vector<epochcut::ConfigChange>& changes, bool dry_run,
                        const Environment& environment = process_environment());

/// recon_engine promote ...; returns the exit code.
int promote_command(const std::string& config_path, std::vector<std::string> arguments, std::ostream& out, std::ostream& err);

}  // namespace recon_engine
