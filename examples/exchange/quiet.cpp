#include "exchange/quiet.hpp"

#include <cassert>

namespace exchange {

QuietWindow::QuietWindow(const std::string& postgres, const Layout& layout)
    : ledger_((layout.validate(), postgres)), table_(layout.schema + ".quiet_windows"), authority_(layout.authority) {
  // Tables of an earlier version have no windows, and their engine needs none.
  if (ledger_.execute("SELECT FROM pg_class WHERE oid = to_regclass($1)", {table_}).rows() == 0) return;
  ledger_.execute("UPDATE " + table_ + " SET ended = clock_timestamp() WHERE authority = $1 AND ended IS NULL", {authority_});
}

void QuietWindow::begin() {
  assert(!open());
  drained_ = false;
  id_ = ledger_.execute("INSERT INTO " + table_ + " (authority) VALUES ($1) RETURNING id", {authority_})(0, 0);
}

void QuietWindow::say_drained() {
  assert(open() && !drained_);
  ledger_.execute("UPDATE " + table_ + " SET drained = clock_timestamp() WHERE id = $1", {id_});
  drained_ = true;
}

void QuietWindow::end() {
  assert(open());
  ledger_.execute("UPDATE " + table_ + " SET ended = clock_timestamp() WHERE id = $1", {id_});
  id_.clear();
  drained_ = false;
}

}  // namespace exchange
