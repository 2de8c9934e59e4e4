// Every PostgreSQL type against every type of ClickHouse 26, hashed in both engines.
#include "chdb/engine.hpp"
#include "types/digests.hpp"

using namespace types;

TEST_CASE("types of ClickHouse 26: both engines hash alike what is alike, and nothing else") {
  World world("digests26");
  live::Engine clickhouse;
  Chdb source = clickhouse.source();
  clickhouse.execute("SET allow_suspicious_low_cardinality_types = 1");
  Digests digests(world, Store<Chdb>{[&](const std::string& sql) { clickhouse.execute(sql); }, source, "test", true});
  const auto [hashed, refused] = digests.pairs();
  CHECK(hashed > 400);
  CHECK(refused > 0);
  std::vector<EdgeGroup> groups = common_edges();
  const std::vector<EdgeGroup> more = modern_edges();
  groups.insert(groups.end(), more.begin(), more.end());
  CHECK(digests.edges(groups) > 200);

  // The whole of it, with the rows fetched: 1 and 2 are the same, 3 is NULL in PostgreSQL alone, 4 and 5 differ.
  const QueryPlan left = current("types_left").key("n").values(column_name("numeric(18,8)")).as("v").plan();
  const QueryPlan right = events("types_plain").key("n").values(column_name("Decimal(18, 8)")).as("v").plan();
  const postgres::Session session = std::make_shared<postgres::Connection>(world.dsn(), PostgresOptions{});
  postgres::Transaction transaction(session, std::span(&left, 1), nullptr, {});
  PostgresDigest l(transaction, left, "event_id");
  ClickHouseDigest<Chdb> r(source, right, AsOf{.at_rest = true}, std::nullopt);
  NullSink sink;
  const Bisected found = bisect(l, r, {}, sink, {.method = Method::bisect, .rows_min = 1, .fetch_bytes_max = 0});
  CHECK(found.used == Method::bisect);
  CHECK(found.counts.equal == 2);
  CHECK(found.counts.changed == 3);
}
