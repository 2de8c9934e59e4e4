// Where does a hash start, so that nobody can choose what meets in it?
// Layer: core. Thread-safe. A hash that decides where a row stands in a table, or whether two rows are looked at more closely, is the affair of one process:
// whoever writes rows may know its function, and would make rows that meet in it if he knew where it starts too. Not for what is kept or sent: see
// core/row_hash.hpp.
#pragma once

#include <chrono>
#include <cstdint>

#include <sys/random.h>

#include <epochcut/core/digest.hpp>

namespace epochcut::hashing {

/// A number for one use of it, the same within this process and another one in the next. No answer may depend on it.
inline std::uint64_t seed_of(std::uint64_t use) {
  static const std::uint64_t drawn = [] {
    static const char somewhere = 0;  // where the loader has put it
    std::uint64_t number = 0;
    if (getentropy(&number, sizeof number) != 0) number = 0;  // refused in some sandboxes; then time and place have to do
    const auto now = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    return mix(number ^ mix(now ^ mix(reinterpret_cast<std::uintptr_t>(&somewhere))));
  }();
  return mix(drawn + use * 0x9E3779B97F4A7C15u);
}

}  // namespace epochcut::hashing
