// Are these two rows the same content, whichever engine and type each came from?
// Layer: core. Values only. Source: docs/concepts.md "Hash form".
// Hash form: every value is tagged with its family and carries its length, so ('a|', 'b') is not ('a', '|b') and NULL is not '<null>';
// numbers are hashed in their shortest form, so 5, 5u and 5.00 are one value.
// NO cryptographic hash, and without a key, since two processes have to come to the same one: rows that were not made on purpose share one with about 2^-128 a
// pair, but whoever may choose two words of both makes them share one in seconds. So no comparison of values may rest on it. What does: whether a second pass
// found the same differences (`DiffCounts::which`), and whether two engines derived the same rows (operate/chain.hpp).
#pragma once

#include <cstdint>
#include <string_view>

#include <epochcut/core/digest.hpp>
#include <epochcut/core/relation.hpp>
#include <epochcut/core/value.hpp>

namespace epochcut {

/// A running 128-bit hash: two lanes that see each word through different non-linear steps. Against accident, not against intent.
class RowHash {
 public:
  constexpr void absorb(std::uint64_t word) {
    low_ = mix(low_ ^ word);
    high_ = mix((high_ << 29 | high_ >> 35) + (word ^ event_id_high_salt));
  }

  constexpr void absorb(std::string_view bytes) {
    absorb(std::uint64_t{bytes.size()});
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      word |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (i % 8 * 8);
      if (i % 8 == 7 || i + 1 == bytes.size()) absorb(word), word = 0;
    }
  }

  constexpr void absorb(const Value& v) {
    if (v.null) return absorb(std::uint64_t{0xFF});
    absorb(std::uint64_t{1} + static_cast<std::uint64_t>(family(v.type)));
    switch (family(v.type)) {
      case Family::number: {
        const Decimal shortest = v.as_decimal().shortest();
        absorb(static_cast<std::uint64_t>(shortest.scale));
        absorb(static_cast<std::uint64_t>(shortest.unscaled));
        return absorb(static_cast<std::uint64_t>(shortest.unscaled >> 64));
      }
      case Family::float64: return absorb(canonical_float(v.as_float64()));
      case Family::text: return absorb(v.text);
      case Family::uuid: return absorb(static_cast<std::uint64_t>(v.wide)), absorb(static_cast<std::uint64_t>(v.wide >> 64));
      case Family::boolean:
      case Family::timestamp:
      case Family::date: return absorb(v.word);
    }
  }

  constexpr Digest digest() const { return {1, mix(low_ + high_), mix(high_ ^ (low_ << 32 | low_ >> 32))}; }

 private:
  std::uint64_t low_ = 0x243F6A8885A308D3u, high_ = 0x13198A2E03707344u;  // pi's digits: nothing up the sleeve
};

/// The digest of one row's values in the order of its columns; names and roles are not part of it.
inline Digest digest_of_row(const Relation& relation, std::size_t row) {
  RowHash hash;
  for (const Field& field : relation.fields) hash.absorb(field.column[row]);
  return hash.digest();
}

}  // namespace epochcut
