// Where do the checks run for real?
// PostgreSQL, ClickHouse and the custodian as a configuration names them, and who tells of mark cycles. Everything connects at first use and again after an
// error. One thread per object.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "recon_engine/daemon.hpp"

namespace recon_engine {

/// The whole stream of trades; marks have one of their own, with more legs per event.
inline constexpr const char* trade_stream = "trade_engine";
inline constexpr const char* mark_stream = "mark_cycles";
inline constexpr int mark_leg_bits = 20;
inline constexpr const char* mark_stream_table = "mark_stream";  ///< in ClickHouse: who fills mark_pnl

/// Asks one check of the servers, over connections of its own. Errors: Failure(configuration).
Asker server_asker(const CheckInfo& info, const Config& config);

/// LISTEN mark_cycles; asks for the newest cycle after each connecting, and now and then, since a notification may be lost.
Listener mark_cycle_listener(const Config& config);

}  // namespace recon_engine
