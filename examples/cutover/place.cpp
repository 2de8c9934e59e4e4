#include "cutover/place.hpp"

#include <random>

#include "exchange/stream.hpp"

namespace cutover {

using namespace epochcut;

namespace {

constexpr Millis statement_max{30'000};  ///< of what the tool asks for itself: small rows by key

std::string stream() { return std::string(exchange::stream_id); }

}  // namespace

postgres::AuthorityTables Place::tables() const {
  const std::string s = production().schema + ".";
  return {.token = s + "resume_tokens", .verdicts = s + "epochcut_verdict", .chains = s + "epochcut_chain", .seams = s + "epochcut_seam"};
}

std::string Place::postgres_in(const std::string& schema) const {
  // A connection string is a URL or a list of settings, and each takes more settings in its own way.
  if (postgres.find("://") != std::string::npos) return postgres + (postgres.find('?') == std::string::npos ? "?" : "&") + "options=-csearch_path%3D" + schema;
  return postgres + " options='-c search_path=" + schema + "'";
}

std::string Place::clickhouse_in(const std::string& database) const {
  return clickhouse + (clickhouse.find('?') == std::string::npos ? "?" : "&") + "database=" + database;
}

PostgresAuthority production_authority(const Place& place, const Control& control) {
  return {place.postgres, stream(), place.authority, place.tables(), {.statement_timeout = statement_max}, control};
}

PostgresAuthority shadow_authority(const Place& place, const Control& control) {
  return {place.postgres, stream(), place.candidate, {.token = place.shadow().schema + ".resume_tokens"}, {.statement_timeout = statement_max}, control};
}

Postgres production_ledger(const Place& place) {
  return Postgres(place.postgres_in(place.production().schema),
                  {.stream = stream(), .authority = place.authority, .seams = "epochcut_seam", .row_generation = "generation"});
}

Asker::Asker(const std::string& dsn) : session_(dsn, {.statement_timeout = statement_max}) {}

std::vector<Asker::Row> Asker::ask(const std::string& sql, std::initializer_list<std::string> parameters) {
  const std::vector<std::string> bound(parameters);
  const postgres::Result result = session_.read(sql, bound, {});
  std::vector<Row> rows;
  for (int r = 0; r < PQntuples(result.get()); ++r) {
    Row& row = rows.emplace_back();
    for (int c = 0; c < PQnfields(result.get()); ++c)
      row.push_back(PQgetisnull(result.get(), r, c) ? std::nullopt : std::optional(std::string(postgres::cell(result, r, c))));
  }
  return rows;
}

std::string new_uuid() {
  std::random_device device;
  const auto word = [&] { return std::uint64_t{device()} << 32 | device(); };
  Uint128 wide = Uint128{word()} << 64 | word();
  wide = (wide & ~(Uint128{0xF} << 76)) | Uint128{4} << 76;
  wide = (wide & ~(Uint128{3} << 62)) | Uint128{2} << 62;
  return to_string(Value(to_uuid(wide)));
}

}  // namespace cutover
