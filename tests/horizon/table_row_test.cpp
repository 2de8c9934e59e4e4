#include "support/catch.hpp"

#include <string>
#include <vector>

#include "exchange/stream.hpp"
#include "horizon/table_row.hpp"

using horizon::FalseFails;
using horizon::Row;

namespace {

Row sound() {
  Row row;
  row.path = "issued, 4 writers";
  row.naive[0] = {.expected = FalseFails::some, .runs = 40, .false_fails = 12};
  row.naive[1] = {.expected = FalseFails::perhaps, .runs = 40, .false_fails = 1};
  row.naive[2] = {.expected = FalseFails::none, .runs = 40};
  row.runs = 40, row.pass = 38, row.error = 2, row.asserted = 38;
  row.planted = row.caught = 3;
  return row;
}

/// The only complaint, or all of them.
std::string complaint(const Row& row) {
  std::string all;
  for (const std::string& sentence : row.complaints()) all += (all.empty() ? "" : " AND ") + sentence;
  return all;
}

}  // namespace

TEST_CASE("a row of the horizon's table holds only if everything was put to the test") {
  CHECK(complaint(sound()).empty());
  CHECK(sound().seen_enough());
  const auto after = [](auto&& change) {
    Row row = sound();
    change(row);
    return complaint(row);
  };
  const auto says = [&](auto&& change, const std::string& words) {
    const std::string all = after(change);
    INFO(all);
    return all.find(words) != std::string::npos && all.find(" AND ") == std::string::npos;
  };
  CHECK(says([](Row& r) { r.false_verdicts = 1; }, "1 FALSE VERDICTS"));
  CHECK(says([](Row& r) { r.error = 3, r.pass = 37, r.asserted = 37; }, "asserted only 37 of 40"));
  CHECK(says([](Row& r) { r.pass = 39; }, "do not add up"));
  CHECK(says([](Row& r) { r.runs = 29, r.pass = 29, r.error = 0, r.asserted = 29; }, "only 29 runs"));
  CHECK(says([](Row& r) { r.caught = 2; }, "caught in 2 of 3"));
  CHECK(says([](Row& r) { r.planted = r.caught = 0; }, "caught in 0 of 0"));
  CHECK(says([](Row& r) { r.naive[0].false_fails = 0; }, "max(ts) was never wrong"));
  CHECK(after([](Row& r) { r.naive[1].false_fails = 0; }).empty());
  CHECK(says([](Row& r) { r.naive[2].false_fails = 1; }, "count was wrong where it can't be"));
  CHECK(says([](Row& r) { r.naive[2].runs = 29; }, "only 29 runs of the checker by count"));
  CHECK(says([](Row& r) { r.broken = {"the exchange died"}; }, "the exchange died"));
  CHECK(says([](Row& r) { r.crashes = true, r.replayed = 1; }, "no writer was killed"));
  CHECK(says([](Row& r) { r.crashes = true, r.kills = 1; }, "no row was replayed"));
  CHECK(after([](Row& r) { r.crashes = true, r.kills = 1, r.replayed = 1; }).empty());
  CHECK(complaint([] {
          Row r;
          r.broken = {"no server"};
          return r;
        }()) == ": no server");
  CHECK_FALSE(Row{}.complaints().empty());  // nothing measured is nothing held
}

TEST_CASE("a path runs on until its controls have failed") {
  Row row = sound();
  row.naive[0].false_fails = 0;
  CHECK_FALSE(row.seen_enough());
  row = sound();
  row.naive[2].runs = 29;
  CHECK_FALSE(row.seen_enough());
  row = sound();
  row.crashes = true;
  CHECK_FALSE(row.seen_enough());
}

TEST_CASE("the quantiles of a row") {
  CHECK(Row::quantile_of({}, 0.5) == 0);
  CHECK(Row::quantile_of({9, 1, 5}, 0.5) == 5);
  CHECK(Row::quantile_of({9, 1, 5}, 1) == 9);
}

TEST_CASE("rising nanoseconds rise, but for the ties that were asked for") {
  const exchange::ExecutionStream rising{.seed = 3, .tie_every = 14, .rising_ns = true};
  int ties = 0;
  for (std::uint64_t s = 2; s <= 1'401; ++s) {
    const std::int64_t before = rising.at(s - 1).execution_ns, now = rising.at(s).execution_ns;
    const bool tie = (s - 1) % 14 == 0;
    REQUIRE((tie ? now == before : now > before));
    ties += tie;
  }
  CHECK(ties == 100);
}
