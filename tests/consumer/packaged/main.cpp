// Links every dependency of the installed leaves, and asks no server.
#include <epochcut/format.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

int main() {
  epochcut::Postgres ledger{"host=127.0.0.1 port=1 connect_timeout=1", {.table = "tokens", .stream = "s"}};
  epochcut::ClickHouse analytics{"http://127.0.0.1:1/"};
  const std::string refused = fmt::format("{}", epochcut::Status::error);
  try {
    analytics.about("transactions", {});
    return 1;
  } catch (const epochcut::Failure& failure) {
    return refused == "error" && failure.kind == epochcut::Reason::connection ? 0 : 1;
  }
}
