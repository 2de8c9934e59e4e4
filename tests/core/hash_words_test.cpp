#include <epochcut/core/hash_words.hpp>

#include <array>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
/// Words of all sizes; the same ones for one seed.
std::vector<std::uint64_t> words(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint64_t> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = mix(seed + i) >> (mix(seed - i) % 64);
  return all;
}
}  // namespace

// Whatever the processor can do, and wherever a row stands among others: what is compared with another engine's digest must be the one number.
TEST_CASE("many words hash as each of them does alone") {
  for (std::size_t count = 0; count <= 70; ++count) {
    INFO(count);
    const std::vector<std::uint64_t> all = words(count, count * 1000);
    Digest sum;
    for (const std::uint64_t id : all) sum += digest_of_event_id(id);
    CHECK(digest_of_event_ids(all) == sum);

    std::vector<std::uint64_t> hashes = words(count, 7), one_by_one = hashes;
    for (std::size_t i = 0; i < count; ++i) one_by_one[i] = mix(one_by_one[i] + all[i]);
    mix_words(hashes.data(), all);
    CHECK(hashes == one_by_one);

    std::vector<std::uint64_t> lows = words(count, 8), highs = words(count, 9), low = lows, high = highs;
    for (std::size_t i = 0; i < count; ++i) hashing::absorb_word(low[i], high[i], all[i]);
    absorb_words(lows.data(), highs.data(), all);
    CHECK(lows == low);
    CHECK(highs == high);
  }
}

TEST_CASE("the extremes of a word count like any other") {
  const std::array<std::uint64_t, 8> extremes{0,          1,           ~std::uint64_t{0}, std::uint64_t{1} << 63, (std::uint64_t{1} << 63) - 1,
                                              0xFFFFFFFF, 0x100000000, int_hash64_salt};
  Digest sum;
  for (const std::uint64_t id : extremes) sum += digest_of_event_id(id);
  CHECK(digest_of_event_ids(extremes) == sum);
  CHECK(sum.count == 8);
}

TEST_CASE("a bit of any word that is absorbed turns about half of the bits of both halves") {
  for (int words_after = 0; words_after < 2; ++words_after)
    for (int bit = 0; bit < 64; ++bit) {
      int turned_low = 0, turned_high = 0;
      for (const std::uint64_t word : words(64, 11)) {
        std::uint64_t low = 1, high = 2, other_low = 1, other_high = 2;
        hashing::absorb_word(low, high, word);
        hashing::absorb_word(other_low, other_high, word ^ std::uint64_t{1} << bit);
        for (int i = 0; i < words_after; ++i) hashing::absorb_word(low, high, 5), hashing::absorb_word(other_low, other_high, 5);
        turned_low += __builtin_popcountll(low ^ other_low), turned_high += __builtin_popcountll(high ^ other_high);
      }
      INFO(bit);
      // Of 4096 bits, by chance 2048 with a standard deviation of 32; the hash's own is a few times that for the highest bits.
      CHECK(turned_low > 1700);
      CHECK(turned_low < 2400);
      CHECK(turned_high > 1700);
      CHECK(turned_high < 2400);
    }
}

// If both halves did the same to a word, a pair that collides in one would collide in the other.
TEST_CASE("two words that undo each other in one half don't in the other") {
  for (const std::uint64_t word : words(64, 12)) {
    std::uint64_t low = 1, high = 2, other_low = 1, other_high = 2;
    hashing::absorb_word(low, high, word), hashing::absorb_word(other_low, other_high, word + 1);
    hashing::absorb_word(low, high, 9);
    const std::uint64_t undoes = 9 ^ (mix(1 ^ word) ^ mix(1 ^ (word + 1)));
    hashing::absorb_word(other_low, other_high, undoes);
    CHECK(low == other_low);
    CHECK(high != other_high);
  }
}
