// Every PostgreSQL type against every type of ClickHouse 18.16, hashed in both engines.
#include "types/digests.hpp"

#include <cstdlib>
#include <memory>

using namespace types;

namespace {
Store<ClickHouse> store_of(World& world, ClickHouse& source) {
  auto writer = std::make_shared<exchange::ClickhouseWriter>(std::string(std::getenv("EPOCHCUT_CLICKHOUSE")) + "?allow_experimental_low_cardinality_type=1");
  return {[writer](const std::string& sql) { writer->execute(sql); }, source, world.name, false};
}
}  // namespace

TEST_CASE("types: both engines hash alike what is alike, and nothing else") {
  World world("digests");
  ClickHouse analytics = world.analytics();
  Digests digests(world, store_of(world, analytics));
  const auto [hashed, refused] = digests.pairs();
  CHECK(hashed > 200);
  CHECK(refused == 2 * 2 * 6);  // FixedString, plain and with LowCardinality, against PostgreSQL's six texts
  CHECK(digests.edges(common_edges()) > 150);
}
