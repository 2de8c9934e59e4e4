// What does a fuzzer's input mean, and what happens when a property does not hold?
// Bytes are taken from the front, so that a seed is written down as it will be read. An input that is used up gives zeros.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fuzz {

/// Ends the program, as a sanitizer would: libFuzzer then keeps the input.
[[noreturn]] inline void broken(const char* property, const std::string& detail) {
  std::fprintf(stderr, "property broken: %s\n", property);
  std::fwrite(detail.data(), 1, detail.size(), stderr);  // it may hold zero bytes
  std::abort();
}
/// `detail` is put together only where it is needed: texts, numbers, and all that has a to_string.
template <class... Detail>
void require(bool holds, const char* property, const Detail&... detail) {
  if (holds) return;
  std::string text;
  [[maybe_unused]] const auto show = [&](const auto& part) {  // nothing may be given to show
    using std::to_string;
    if constexpr (std::is_convertible_v<decltype(part), std::string_view>)
      text += std::string_view(part);
    else
      text += to_string(part);
    text += '\n';
  };
  (show(detail), ...);
  broken(property, text);
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return left_.empty(); }
  std::string_view rest() { return std::exchange(left_, {}); }
  std::string_view take(std::size_t size) {
    const std::string_view taken = left_.substr(0, size);
    left_.remove_prefix(taken.size());
    return taken;
  }
  std::uint8_t byte() {
    const std::string_view taken = take(1);
    return taken.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(taken[0]);
  }
  /// Less than `limit`, which is at most 256.
  std::size_t below(std::size_t limit) { return byte() % limit; }
  /// Little endian.
  std::uint64_t number(int bytes) {
    std::uint64_t number = 0;
    for (int i = 0; i < bytes; ++i) number |= std::uint64_t{byte()} << (8 * i);
    return number;
  }
  /// A length in one byte, then as many bytes.
  std::string_view text() { return take(byte()); }

 private:
  std::string_view left_;
};

/// Calls `use` with pieces of `body`: 0 the whole of it, 1 byte by byte, and any other seed a way of cutting of its own.
template <class Use>
void in_pieces(std::string_view body, std::uint8_t seed, Use use) {
  std::uint64_t state = seed;
  while (!body.empty()) {
    std::size_t size = seed == 0 ? body.size() : 1;
    if (seed > 1) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      size = state >> 62 == 0 ? 1 : state >> 40 & 63;  // an empty piece too
    }
    use(body.substr(0, size));
    body.remove_prefix(size < body.size() ? size : body.size());
  }
}

inline std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    text += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4];
    text += "0123456789ABCDEF"[c & 15];
  }
  return text;
}

}  // namespace fuzz

/// Every harness is this function; libFuzzer calls it, and so does replay.cpp.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
