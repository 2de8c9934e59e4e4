// What does a record without an accident prove about the next accident?
// Layer: operate. Pure functions: exact upper limits at 95 % confidence (Poisson; Clopper and Pearson 1934). 8 064 runs that all passed are not 8 064
// independent trials: what counts is days for the noise, and distinct planted breaks for the misses.
#pragma once

#include <cmath>
#include <cstdint>

namespace epochcut {

/// What the record proves, with 95 % confidence, about what was not seen.
struct SoakBounds {
  double days = 0;                                ///< since the clock started
  std::uint64_t false_fails = 0;                  ///< episodes that were no real break
  double false_fails_per_day = 0;                 ///< at most
  std::uint64_t compared = 0, divergences = 0;    ///< old fires
  double divergence_per_fire = 1;                 ///< at most
  std::uint64_t planted = 0, planted_missed = 0;  ///< distinct breaks
  double missed_share = 1;                        ///< of breaks like those, at most
};

/// The greatest rate at which `seen` events or fewer still come with 5 % probability, where one is the time looked at (Poisson).
inline double poisson_upper(std::uint64_t seen) {
  const auto at_most = [&](double rate) {
    double term = std::exp(-rate), sum = term;
    for (std::uint64_t k = 1; k <= seen; ++k) sum += term *= rate / static_cast<double>(k);
    return sum;
  };
  double low = 0, high = static_cast<double>(seen) * 2 + 20;
  for (int i = 0; i < 100; ++i) (at_most((low + high) / 2) > 0.05 ? low : high) = (low + high) / 2;
  return high;
}

/// The same for a share of `tries` (Clopper-Pearson); 1 when nothing was tried.
inline double binomial_upper(std::uint64_t tries, std::uint64_t seen) {
  if (seen >= tries) return 1;
  const auto n = static_cast<double>(tries);
  const auto at_most = [&](double p) {
    double sum = 0;
    for (std::uint64_t k = 0; k <= seen; ++k) {
      const auto x = static_cast<double>(k);
      sum += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) + x * std::log(p) + (n - x) * std::log1p(-p));
    }
    return sum;
  };
  double low = 0, high = 1;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (middle > 0 && at_most(middle) > 0.05 ? low : high) = middle;
  }
  return high;
}

}  // namespace epochcut
