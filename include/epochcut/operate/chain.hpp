// Have two engines derived the same rows from every event so far?
// Layer: operate. Values only, constexpr. Source: docs/splice/README.md "The chain".
// A rolling hash: c(n) = H(c(n-1), n, rows of n). Unlike the digests of a token it covers what the rows say, in the order of the events; so two
// chains that are equal at one number have been equal at each number before it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/core/row_hash.hpp>

namespace epochcut {

/// What an engine has derived from the events up to one sequence number. All zero before the first.
struct Chain {
  std::uint64_t high = 0, low = 0;
  friend constexpr bool operator==(const Chain&, const Chain&) = default;
};

/// The chain after event `sequence`. `rows`: has absorbed the rows of that event, in hash form and in an order that both engines keep; an event
/// without rows counts too. Leave out what two engines may differ in, the generation above all.
constexpr Chain extend(const Chain& before, std::uint64_t sequence, const RowHash& rows) {
  RowHash hash = rows;
  hash.absorb(before.high);
  hash.absorb(before.low);
  hash.absorb(sequence);
  const Digest digest = hash.digest();
  return {digest.sum_high, digest.sum_low};
}

/// 32 hexadecimal digits, as `decode(…, 'hex')` takes them.
inline std::string to_text(const Chain& chain) {
  std::string text;
  for (const std::uint64_t half : {chain.high, chain.low})
    for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[half >> shift & 15];
  return text;
}

/// Nothing unless it is 32 lower-case hexadecimal digits.
constexpr std::optional<Chain> chain_of(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  Chain chain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
    if (!digit && !letter) return std::nullopt;
    std::uint64_t& half = i < 16 ? chain.high : chain.low;
    half = half << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return chain;
}

static_assert(extend({}, 1, {}) != Chain{} && extend({}, 1, {}) != extend({}, 2, {}), "an event without rows counts, and so does its number");
static_assert(extend(extend({}, 1, {}), 2, {}) != extend(extend({}, 2, {}), 1, {}), "order counts");

}  // namespace epochcut
