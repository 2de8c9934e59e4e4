#include "support/catch.hpp"

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/operate/chain.hpp>

using namespace epochcut;

namespace {

RowHash rows(const std::vector<std::uint64_t>& words) {
  RowHash hash;
  for (const std::uint64_t word : words) hash.absorb(word);
  return hash;
}

std::pair<std::uint64_t, std::uint64_t> key(const Chain& chain) { return {chain.high, chain.low}; }

}  // namespace

TEST_CASE("a chain tells apart every other history of small events") {
  // Up to four events with no row, or one or two rows of one of three values; a number may be left out.
  const std::vector<std::vector<std::uint64_t>> events{{}, {0}, {1}, {2}, {0, 0}, {0, 1}, {1, 0}};
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen{key({})};
  std::size_t histories = 1;
  std::vector<std::pair<Chain, std::uint64_t>> level{{Chain{}, 0}};
  for (int length = 1; length <= 4; ++length) {
    std::vector<std::pair<Chain, std::uint64_t>> next;
    for (const auto& [chain, at] : level)
      for (const std::uint64_t step : {1u, 2u})
        for (const auto& event : events) {
          next.emplace_back(extend(chain, at + step, rows(event)), at + step);
          seen.insert(key(next.back().first));
          ++histories;
        }
    level = std::move(next);
  }
  CHECK(histories == 1 + 14 + 14 * 14 + 14 * 14 * 14 + 14 * 14 * 14 * 14);
  CHECK(seen.size() == histories);
}

TEST_CASE("one difference, and the chains stay apart") {
  Chain a, b;
  for (std::uint64_t n = 1; n <= 1000; ++n) {
    a = extend(a, n, rows({n}));
    b = extend(b, n, rows({n == 17 ? n + 1 : n}));
    CHECK((a == b) == (n < 17));
  }
}

TEST_CASE("both halves of what came before count") {
  CHECK(extend({1, 2}, 7, {}) != extend({1, 3}, 7, {}));
  CHECK(extend({1, 2}, 7, {}) != extend({4, 2}, 7, {}));
  CHECK(extend({1, 2}, 7, {}) != extend({2, 1}, 7, {}));
}

TEST_CASE("a chain is cut and taken up anywhere") {
  Chain whole, part;
  for (std::uint64_t n = 1; n <= 10; ++n) whole = extend(whole, n, rows({n}));
  for (std::uint64_t n = 1; n <= 4; ++n) part = extend(part, n, rows({n}));
  part = *chain_of(to_text(part));  // through a database
  for (std::uint64_t n = 5; n <= 10; ++n) part = extend(part, n, rows({n}));
  CHECK(part == whole);
}

TEST_CASE("a chain's text is 32 hexadecimal digits and nothing else") {
  CHECK(to_text(Chain{}) == std::string(32, '0'));
  CHECK(to_text(Chain{0x0123456789abcdef, 0xfedcba9876543210}) == "0123456789abcdeffedcba9876543210");
  CHECK(chain_of("0123456789abcdeffedcba9876543210") == Chain{0x0123456789abcdef, 0xfedcba9876543210});
  for (const std::string bad : {"", "0", "0123456789ABCDEFFEDCBA9876543210", "0123456789abcdeffedcba987654321", "0123456789abcdeffedcba98765432100",
                                "g123456789abcdeffedcba9876543210", "\\x0123456789abcdeffedcba987654"})
    CHECK_FALSE(chain_of(bad));
}
