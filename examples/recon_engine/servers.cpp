#include "recon_engine/servers.hpp"

#include <charconv>
#include <libpq-fe.h>
#include <poll.h>
#include <string>

#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/postgres.hpp>

#include "recon_engine/checks.hpp"

namespace recon_engine {

using epochcut::Cancel;
using epochcut::ClickHouse;
using epochcut::ClickHouseOptions;
using epochcut::Failure;
using epochcut::Postgres;
using epochcut::Reason;

namespace {

struct Servers {
  Servers(const CheckInfo& info_, const Config& c)
      : info(info_),
        // The authority may change hands: what a deposed engine still writes into ClickHouse does not count.
        ledger(c.postgres, {.stream = trade_stream, .authority = c.authority, .seams = "epochcut_seam", .row_generation = "generation"}),
        marks(c.postgres, {.stream = mark_stream, .authority = c.authority, .leg_bits = mark_leg_bits, .acknowledged = true}),
        analytics(c.clickhouse, options(c, "epochcut_stream")),
        marked(c.clickhouse, options(c, mark_stream_table)) {
    if (!c.custodian.empty()) custodian.emplace(c.custodian);
    authority = c.authority;
  }

  epochcut::Outcome ask(const epochcut::CheckOptions& o) {
    const Stores<Postgres, ClickHouse> stores{&ledger, &analytics, &marks, &marked, custodian ? &*custodian : nullptr, authority};
    return recon_engine::ask(info, stores, o);
  }

 private:
  static ClickHouseOptions options(const Config& c, const char* stream_table) {
    return {.user = c.clickhouse_user, .password = c.clickhouse_password, .database = c.clickhouse_database, .stream_table = stream_table};
  }

  const CheckInfo& info;
  Postgres ledger, marks;
  ClickHouse analytics, marked;
  std::optional<HttpCustodian> custodian;
  std::string authority;
};

class MarkCycles {
 public:
  explicit MarkCycles(const Config& config) : dsn_(config.postgres), connection_(nullptr, PQfinish) {}

  std::optional<std::uint64_t> wait(std::uint64_t last, const Cancel& cancel) {
    constexpr int slice_ms = 100, slices = 10, ask_every = 10;
    if (!connection_ || PQstatus(connection_.get()) != CONNECTION_OK) connect();
    bool told = asked_ == 0;
    for (int i = 0; i < slices && !told && !cancel.requested(); ++i) {
      pollfd wait{PQsocket(connection_.get()), POLLIN, 0};
      poll(&wait, 1, slice_ms);
      if (PQconsumeInput(connection_.get()) == 0) lost();
      while (PGnotify* notification = PQnotifies(connection_.get())) {
        told = true;
        PQfreemem(notification);
      }
    }
    if (!told && asked_ < ask_every) return ++asked_, std::nullopt;
    asked_ = 1;
    const std::uint64_t newest = ask();
    if (newest <= last) return std::nullopt;
    return newest;
  }

 private:
  [[noreturn]] void lost() {
    std::string why = connection_ ? PQerrorMessage(connection_.get()) : "";
    for (char& c : why) c = c == '\n' ? ' ' : c;
    connection_.reset();
    throw Failure(Reason::connection, "PostgreSQL can't be listened to: " + why).poison();
  }
  void connect() {
    const char* names[] = {"dbname", "connect_timeout", "application_name", "tcp_user_timeout", "keepalives_idle", nullptr};
    const char* values[] = {dsn_.c_str(), "5", "recon_engine", "10000", "10", nullptr};
    connection_.reset(PQconnectdbParams(names, values, /*expand_dbname=*/1));
    if (PQstatus(connection_.get()) != CONNECTION_OK) lost();
    run("SET statement_timeout = 10000");
    run("LISTEN mark_cycles");
    asked_ = 0;
  }
  /// Within `answer_max` even of a server that has stopped: whoever stops this program waits for it.
  std::string run(const char* sql) {
    constexpr int slice_ms = 100, answer_max = 50;
    if (PQsendQuery(connection_.get(), sql) == 0) lost();
    std::string first;
    for (int slices = 0;;) {
      if (PQisBusy(connection_.get()) != 0) {
        pollfd wait{PQsocket(connection_.get()), POLLIN, 0};
        if (poll(&wait, 1, slice_ms) == 0 && ++slices >= answer_max) lost();
        if (PQconsumeInput(connection_.get()) == 0) lost();
        continue;
      }
      const std::unique_ptr<PGresult, void (*)(PGresult*)> result(PQgetResult(connection_.get()), PQclear);
      if (!result) return first;
      const ExecStatusType status = PQresultStatus(result.get());
      if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) lost();
      if (PQntuples(result.get()) == 1) first = PQgetvalue(result.get(), 0, 0);
    }
  }
  std::uint64_t ask() {
    const std::string text = run("SELECT coalesce(max(cycle), 0) FROM mark_cycles");
    std::uint64_t newest = 0;
    std::from_chars(text.data(), text.data() + text.size(), newest);
    return newest;
  }

  std::string dsn_;
  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
  int asked_ = 0;
};

}  // namespace

Asker server_asker(const CheckInfo& info, const Config& config) {
  return [servers = std::make_shared<Servers>(info, config)](const epochcut::CheckOptions& options) { return servers->ask(options); };
}

Listener mark_cycle_listener(const Config& config) {
  return [cycles = std::make_shared<MarkCycles>(config)](std::uint64_t last, const Cancel& cancel) { return cycles->wait(last, cancel); };
}

}  // namespace recon_engine
