// What is an exact amount of money?
// Layer: core. Values only, constexpr. Limits: 128 bits, so 38 full digits; a scale of 0 to 38.
// Nothing here rounds: what does not fit is reported, and the caller turns it into `error: overflow`.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace epochcut {

__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 Uint128;

inline constexpr int decimal_scale_max = 38;  ///< digits after the point; 10^38 is the last power of ten below 2^127

/// 10^n as a 128-bit integer. Precondition: 0 <= n <= 38.
constexpr Int128 power_of_ten(int n) {
  Int128 p = 1;
  for (; n > 0; --n) p *= 10;
  return p;
}

/// An exact decimal: `unscaled / 10^scale`. Two decimals are equal when their values are, whatever their scales.
struct Decimal {
  Int128 unscaled = 0;
  int scale = 0;

  /// The same value at another scale, or nothing if it would round or overflow.
  constexpr std::optional<Decimal> at_scale(int to) const {
    Decimal d = *this;
    if (to < 0 || to > decimal_scale_max) return std::nullopt;
    for (; d.scale < to; ++d.scale)
      if (__builtin_mul_overflow(d.unscaled, Int128{10}, &d.unscaled)) return std::nullopt;
    for (; d.scale > to; --d.scale) {
      if (d.unscaled % 10 != 0) return std::nullopt;
      d.unscaled /= 10;
    }
    return d;
  }

  /// The shortest form of the value: no trailing zeros after the point. Equal values have equal shortest forms.
  constexpr Decimal shortest() const {
    Decimal d = *this;
    while (d.scale > 0 && d.unscaled % 10 == 0) {
      d.unscaled /= 10;
      --d.scale;
    }
    return d;
  }

  /// By value. A value that overflows when it is brought to the other's scale is greater in magnitude than anything at that scale.
  friend constexpr std::strong_ordering operator<=>(const Decimal& a, const Decimal& b) {
    if (a.scale == b.scale) return a.unscaled <=> b.unscaled;
    if (a.scale > b.scale) return 0 <=> (b <=> a);
    const std::optional<Decimal> wide = a.at_scale(b.scale);
    if (!wide) return a.unscaled <=> Int128{0};
    return wide->unscaled <=> b.unscaled;
  }
  friend constexpr bool operator==(const Decimal& a, const Decimal& b) { return (a <=> b) == 0; }
};

/// The exact sum at the wider of both scales, or nothing on overflow.
constexpr std::optional<Decimal> add(const Decimal& a, const Decimal& b) {
  const int scale = a.scale < b.scale ? b.scale : a.scale;
  const auto x = a.at_scale(scale), y = b.at_scale(scale);
  Decimal sum{0, scale};
  if (!x || !y || __builtin_add_overflow(x->unscaled, y->unscaled, &sum.unscaled)) return std::nullopt;
  return sum;
}

constexpr std::optional<Decimal> subtract(const Decimal& a, const Decimal& b) {
  const int scale = a.scale < b.scale ? b.scale : a.scale;
  const auto x = a.at_scale(scale), y = b.at_scale(scale);
  Decimal difference{0, scale};
  if (!x || !y || __builtin_sub_overflow(x->unscaled, y->unscaled, &difference.unscaled)) return std::nullopt;
  return difference;
}

/// Plain notation with exactly `scale` digits after the point, as PostgreSQL prints a numeric.
inline std::string to_string(const Decimal& d) {
  Uint128 magnitude = d.unscaled < 0 ? Uint128{0} - static_cast<Uint128>(d.unscaled) : static_cast<Uint128>(d.unscaled);
  std::string reversed;
  for (int digit = 0; magnitude != 0 || digit <= d.scale; ++digit) {
    if (digit == d.scale && d.scale > 0) reversed += '.';
    reversed += static_cast<char>('0' + static_cast<int>(magnitude % 10));
    magnitude /= 10;
  }
  if (d.unscaled < 0) reversed += '-';
  return {reversed.rbegin(), reversed.rend()};
}

/// Reads `[-+]digits[.digits]`; nothing on any other text, on more than 38 digits of scale or on overflow.
constexpr std::optional<Decimal> parse_decimal(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  Decimal d;
  bool point = false, digits = false;  // `digits`: since the beginning or the point
  for (char c : text) {
    if (c == '.' && !point && digits) {
      point = true;
      digits = false;
      continue;
    }
    if (c < '0' || c > '9') return std::nullopt;
    digits = true;
    const int digit = negative ? -(c - '0') : c - '0';
    if (__builtin_mul_overflow(d.unscaled, Int128{10}, &d.unscaled) || __builtin_add_overflow(d.unscaled, Int128{digit}, &d.unscaled)) return std::nullopt;
    if (point && ++d.scale > decimal_scale_max) return std::nullopt;
  }
  if (!digits) return std::nullopt;
  return d;
}

static_assert(Decimal{150, 2} == Decimal{15, 1} && Decimal{-1, 0} < Decimal{-9, 1} && Decimal{1, 38} < Decimal{power_of_ten(38), 0});
static_assert(!add(Decimal{power_of_ten(38), 0}, Decimal{1, 1}) && add(Decimal{5, 1}, Decimal{50, 2})->unscaled == 100);

}  // namespace epochcut
