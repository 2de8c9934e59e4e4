// What was proved, and what has changed hands?
// One verdict as a page of its own: no script, nothing fetched, readable on a phone. Every value is escaped. Pure.
#pragma once

#include <string>
#include <vector>

#include "cutover/facts.hpp"
#include "cutover/verify.hpp"

namespace cutover {

std::string report_page(const VerdictRecord& record, const std::vector<SeamFact>& seams);

}  // namespace cutover
