// What are the hashes of many words?
// Layer: core. Values only, not constexpr. The same numbers as core/digest.hpp gives one at a time, eight at a time where the processor multiplies eight
// words of 64 bits at once (AVX-512DQ, asked at run time, since a program is compiled for the machine at large): four multiplications a row are otherwise the
// dearest thing about a proof.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <epochcut/core/digest.hpp>

namespace epochcut {

namespace hashing {

inline constexpr std::size_t words_at_once = 8;
inline constexpr std::uint64_t high_salt = 0xA4093822299F31D0u;

#if defined(__x86_64__)

using Words [[gnu::vector_size(64)]] = std::uint64_t;

/// By reference: a function of another target could not be given such a value.
[[gnu::always_inline, gnu::target("avx512f,avx512dq")]] inline void load(Words& to, const std::uint64_t* from) { std::memcpy(&to, from, sizeof to); }
[[gnu::always_inline, gnu::target("avx512f,avx512dq")]] inline void store(std::uint64_t* to, const Words& from) { std::memcpy(to, &from, sizeof from); }
/// `mix` of each.
[[gnu::always_inline, gnu::target("avx512f,avx512dq")]] inline void mix_each(Words& x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDu;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53u;
  x ^= x >> 33;
}

// Each of these does the first words, as many as are a multiple of eight.

[[gnu::target("avx512f,avx512dq")]] inline Digest digest_by_eight(std::span<const std::uint64_t> ids) {
  Words low{}, high{};
  std::size_t i = 0;
  for (; i + words_at_once <= ids.size(); i += words_at_once) {
    Words a, b;
    load(a, ids.data() + i);
    a ^= int_hash64_salt;
    b = a ^ event_id_high_salt;
    mix_each(a), mix_each(b);
    low += a, high += b;
  }
  Digest sum{.count = i};
  for (std::size_t lane = 0; lane < words_at_once; ++lane) sum.sum_low += low[lane], sum.sum_high += high[lane];
  return sum;
}

[[gnu::target("avx512f,avx512dq")]] inline std::size_t mix_by_eight(std::uint64_t* hashes, std::span<const std::uint64_t> words) {
  std::size_t i = 0;
  for (; i + words_at_once <= words.size(); i += words_at_once) {
    Words hash, word;
    load(hash, hashes + i), load(word, words.data() + i);
    hash += word;
    mix_each(hash);
    store(hashes + i, hash);
  }
  return i;
}

[[gnu::target("avx512f,avx512dq")]] inline std::size_t absorb_by_eight(std::uint64_t* lows, std::uint64_t* highs, std::span<const std::uint64_t> words) {
  std::size_t i = 0;
  for (; i + words_at_once <= words.size(); i += words_at_once) {
    Words low, high, word;
    load(low, lows + i), load(high, highs + i), load(word, words.data() + i);
    low ^= word;
    high = (high << 29 | high >> 35) + (word ^ high_salt);
    mix_each(low), mix_each(high);
    store(lows + i, low), store(highs + i, high);
  }
  return i;
}

/// Is hashing many words cheaper than as many times one?
inline bool by_eight() { return __builtin_cpu_supports("avx512dq"); }

#else

inline Digest digest_by_eight(std::span<const std::uint64_t>) { return {}; }
inline std::size_t mix_by_eight(std::uint64_t*, std::span<const std::uint64_t>) { return 0; }
inline std::size_t absorb_by_eight(std::uint64_t*, std::uint64_t*, std::span<const std::uint64_t>) { return 0; }
inline bool by_eight() { return false; }

#endif

/// What one word does to the halves of a hash of 128 bits. Each half is a bijection of the word, and all of its bits matter to all that follows.
inline void absorb_word(std::uint64_t& low, std::uint64_t& high, std::uint64_t word) {
  low = mix(low ^ word);
  high = mix((high << 29 | high >> 35) + (word ^ high_salt));
}

}  // namespace hashing

/// The digest of all these event ids.
inline Digest digest_of_event_ids(std::span<const std::uint64_t> ids) {
  Digest sum = hashing::by_eight() ? hashing::digest_by_eight(ids) : Digest{};
  for (const std::uint64_t id : ids.subspan(static_cast<std::size_t>(sum.count))) sum += digest_of_event_id(id);
  return sum;
}

/// Each word goes into the two halves that stand where it does. Both have as many.
inline void absorb_words(std::uint64_t* lows, std::uint64_t* highs, std::span<const std::uint64_t> words) {
  std::size_t i = hashing::by_eight() ? hashing::absorb_by_eight(lows, highs, words) : 0;
  for (; i < words.size(); ++i) hashing::absorb_word(lows[i], highs[i], words[i]);
}

/// Each hash becomes `mix(hash + word)` of the word that stands where it does. `hashes` has as many.
inline void mix_words(std::uint64_t* hashes, std::span<const std::uint64_t> words) {
  for (std::size_t i = hashing::by_eight() ? hashing::mix_by_eight(hashes, words) : 0; i < words.size(); ++i) hashes[i] = mix(hashes[i] + words[i]);
}

}  // namespace epochcut
