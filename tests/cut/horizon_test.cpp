#include <epochcut/cut/horizon.hpp>

#include <set>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
using Action = Step::Action;
constexpr HorizonPolicy steady{.budget = Millis{30'000}, .first_delay = Millis{50}, .delay_max = Millis{2'000}, .jitter_percent = 0};

/// Plays a follower that is never complete; returns every delay.
std::vector<std::int64_t> delays(const HorizonPolicy& policy) {
  std::vector<std::int64_t> out;
  Millis waited{0};
  for (int attempt = 0; attempt < 10'000; ++attempt) {
    const Step next = step(policy, Reached::no, waited, attempt);
    if (next.action != Action::wait) break;
    out.push_back(next.delay.count());
    waited += next.delay;
  }
  return out;
}
}  // namespace

TEST_CASE("delays double up to their limit and end exactly at the budget") {
  const auto d = delays(steady);
  const std::vector<std::int64_t> beginning(d.begin(), d.begin() + 8);
  CHECK(beginning == std::vector<std::int64_t>{50, 100, 200, 400, 800, 1600, 2000, 2000});
  std::int64_t sum = 0;
  for (std::int64_t ms : d) sum += ms;
  CHECK(sum == 30'000);
}

TEST_CASE("jitter stays within its percents and differs by seed") {
  std::set<std::vector<std::int64_t>> all;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    HorizonPolicy jittered = steady;
    jittered.jitter_percent = 20, jittered.jitter_seed = seed;
    const auto d = delays(jittered);
    const std::int64_t plain[] = {50, 100, 200, 400, 800, 1600, 2000};
    for (std::size_t i = 0; i < 7; ++i) {
      CHECK(d[i] >= plain[i] * 80 / 100);
      CHECK(d[i] <= plain[i] * 120 / 100);
    }
    std::int64_t sum = 0;
    for (std::int64_t ms : d) sum += ms;
    CHECK(sum == 30'000);
    all.insert(d);
  }
  CHECK(all.size() == 50);
}

TEST_CASE("every sequence of looks ends, whatever the policy") {
  for (std::int64_t budget : {0, 1, 49, 30'000})
    for (std::int64_t first : {-5, 0, 1, 50, 100'000})
      for (std::int64_t most : {-1, 0, 1, 2'000})
        for (int jitter : {0, 20, 100, 300})
          for (int attempts : {-1, 0, 1, 3, 1'000}) {
            const HorizonPolicy policy{
                .budget = Millis{budget}, .first_delay = Millis{first}, .delay_max = Millis{most}, .attempts_max = attempts, .jitter_percent = jitter};
            Millis waited{0};
            int attempt = 0;
            for (;; ++attempt) {
              REQUIRE(attempt < 31'000);
              const Step next = step(policy, Reached::no, waited, attempt);
              if (next.action != Action::wait) break;
              REQUIRE(next.delay.count() >= 1);
              waited += next.delay;
              REQUIRE(waited <= policy.budget);
            }
            CHECK((waited == policy.budget || attempt + 1 >= attempts));
          }
}

TEST_CASE("proved is proved at any time; refuted ends at once; a budget used up gives up") {
  for (Millis waited : {Millis{0}, Millis{30'000}, Millis{99'999}})
    for (int attempt : {0, 5, 99'999}) {
      CHECK(step(steady, Reached::yes, waited, attempt).action == Action::proceed);
      CHECK(step(steady, Reached::refuted, waited, attempt).action == Action::give_up);
    }
  CHECK(step(steady, Reached::no, Millis{29'999}, 3).action == Action::wait);
  CHECK(step(steady, Reached::no, Millis{30'000}, 3).action == Action::give_up);
  HorizonPolicy three = steady;
  three.attempts_max = 3;
  CHECK(step(three, Reached::no, Millis{0}, 1).action == Action::wait);
  CHECK(step(three, Reached::no, Millis{0}, 2).action == Action::give_up);
}

TEST_CASE("witnesses have names") {
  CHECK(to_string(Witness::snapshot) == "snapshot");
  CHECK(to_string(Witness::id_digest) == "id_digest");
  CHECK(to_string(Witness::acked) == "acked");
  CHECK(to_string(Witness::max_version) == "max_version");
  CHECK(to_string(Witness::at_rest) == "at_rest");
}
