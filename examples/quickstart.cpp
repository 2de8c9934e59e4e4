// Do the ledger's balances and the analytics store's transactions agree, right now, while both are being written?
// usage: quickstart [postgres-dsn [clickhouse-url]]
#include <cstdlib>

#include <epochcut/epochcut.hpp>
#include <epochcut/format.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

using namespace epochcut;

int main(int argc, char** argv) {
  // Who: the ledger that commits state and token in one transaction, and the store that gets the same events a little earlier or later.
  Postgres ledger{argc > 1 ? argv[1] : "host=127.0.0.1 user=recon dbname=exchange", {.table = "resume_tokens", .stream = "trade_engine"}};
  ClickHouse analytics{argc > 2 ? argv[2] : "http://127.0.0.1:8123/?database=exchange"};

  // What must be equal.
  Invariant balances{.id = "transactions-balance-live",
                     .left = {ledger, current("balances").by("currency").sum("amount")},
                     .right = {analytics, events("transactions").by("currency").sum("amount")}};

  // Check: one consistent cut at the ledger's epoch, however fast both are written.
  const Outcome outcome = check(ledger, balances);
  fmt::print("{}\n", outcome);
  return outcome.exit_code();  // 0 pass, 1 fail, 2 skipped, 3 error
}
