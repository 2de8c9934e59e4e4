// What if a store is wrong?
// Plants one fault in a running ClickHouse (or in the ledger), says exactly which row and which keys a check must name, and takes it
// back. Mutations rewrite whole parts in the background; each call returns when its own is done.
#pragma once

#include <cstdint>
#include <string>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/engine.hpp"
#include "exchange/schema.hpp"

namespace exchange {

enum class Fault : std::uint8_t {
  change_amount,    ///< one amount is off
  delete_row,       ///< one row is gone
  extra_row,        ///< a row whose event id the ledger never committed
  duplicate_row,    ///< a row stands there twice, as a replay leaves it: harmless
  conflicting_row,  ///< one event id, two contents
  truncate,         ///< all rows are gone; can't be undone, but an engine that restarts with acked_sequence = 0 writes them again
};

/// "change_amount" and so on. Errors: configuration on another name, listing them.
Fault fault_of(const std::string& name);
const std::string& name_of(Fault fault);

/// What was done, and what a check must name.
struct Corruption {
  Fault fault = Fault::change_amount;
  std::string relation;
  std::uint64_t event_id = 0, sequence = 0;
  std::string account, currency, kind;  ///< of the row; `kind` is empty in positions
  std::string before, after;            ///< amount, realized_pnl or total_pnl; empty where there is none
  std::string row;                      ///< as it was, tab-separated
};

std::string to_string(const Corruption& corruption);

class Corruptor {
 public:
  Corruptor(const std::string& clickhouse, Layout layout);

  /// A visible row of the relation at or below `sequence`, the newest of that kind (transactions only; empty: any).
  /// Errors: not_found.
  std::uint64_t pick(const std::string& relation, std::uint64_t sequence, const std::string& kind = "");

  /// Plants the fault at a row; extra_row uses a leg of its event that no event uses. In positions an amount is realized_pnl, which
  /// only matters while the row is its key's latest; in mark_pnl it is total_pnl, and the sequence number is the cycle's. `delta` for change_amount and conflicting_row.
  Corruption plant(Fault fault, const std::string& relation, std::uint64_t event_id, const std::string& delta = "1");
  void undo(const Corruption& corruption);

 private:
  void mutate(const std::string& relation, const std::string& change);
  std::string table(const std::string& relation) const { return layout_.database + "." + relation; }

  ClickhouseWriter server_;
  Layout layout_;
};

/// Plants the fault at the newest visible row up to the ledger's token.
Corruption corrupt_newest(const EngineOptions& options, Fault fault = Fault::change_amount, const std::string& relation = "transactions",
                          const std::string& kind = "", const std::string& delta = "1");

/// Adds 1 to the newest transaction's amount and returns the currency whose sum is wrong from then on.
inline std::string corrupt_for_demo(const EngineOptions& options) { return corrupt_newest(options).currency; }

/// Money that arrives in the ledger alone: one balance changes and no token moves. Returns "account currency".
std::string change_balance(const std::string& postgres, const Layout& layout, const std::string& delta = "1");

}  // namespace exchange
