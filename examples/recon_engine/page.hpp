// What does a person see at 3 a.m.?
// One HTML document without scripts, from a copy of the board: what is broken first, with keys and both values side by side and what to do; then every
// check with its last outcomes. Readable on a phone, light and dark, and without colours. Pure; whatever is in a value stays data.
#pragma once

#include <string>
#include <string_view>

#include "recon_engine/board.hpp"

namespace recon_engine {

inline constexpr int page_refresh_s = 15;                 ///< the page loads itself again
inline constexpr std::size_t page_runs_max = 48;          ///< outcomes in a check's timeline
inline constexpr std::size_t page_differences_max = 12;   ///< keys shown of one failing check
inline constexpr std::size_t page_value_bytes_max = 400;  ///< of one value; the log has all of it

std::string render_page(const BoardState& state, Instant now);

/// What to do on this reason, one sentence, from docs/operations/runbook.md (a test holds both against each other).
std::string_view advice(epochcut::Reason reason);

}  // namespace recon_engine
