// Every PostgreSQL type against every type of ClickHouse 18.16, hashed in both engines.
#include "types/digests.hpp"

using namespace types;

TEST_CASE("types: both engines hash alike what is alike, and nothing else") {
  World world("digests");
  ClickHouse analytics = world.analytics();
  Digests digests(world, old_store_of(world, analytics));
  const auto [hashed, refused] = digests.pairs();
  CHECK(hashed > 200);
  CHECK(refused == 2 * 2 * 6);  // FixedString, plain and with LowCardinality, against PostgreSQL's six texts
  CHECK(digests.edges(common_edges()) > 150);
}
