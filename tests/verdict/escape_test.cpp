#include <epochcut/verdict/escape.hpp>

#include <cstdint>
#include <string>

#include "support/catch.hpp"

using namespace epochcut;

namespace {

/// By the definition of UTF-8 (RFC 3629, section 3), not by a table of bytes.
std::string encoded(std::uint32_t point) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) return {static_cast<char>(point)};
  if (point < 0x800) return {static_cast<char>(0xC0 | point >> 6), tail(0)};
  if (point < 0x10000) return {static_cast<char>(0xE0 | point >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | point >> 18), tail(12), tail(6), tail(0)};
}

bool surrogate(std::uint32_t point) { return point >= 0xD800 && point < 0xE000; }

}  // namespace

TEST_CASE("UTF-8: every code point is a sequence, cut short it is none") {
  std::uint32_t wrong = 0;
  for (std::uint32_t point = 0; point < 0x110000; ++point) {
    const std::string bytes = encoded(point);
    wrong += utf8_sequence("x" + bytes + "y", 1) != (surrogate(point) ? 0 : bytes.size());
    wrong += bytes.size() > 1 && utf8_sequence(std::string_view(bytes).substr(0, bytes.size() - 1), 0) != 0;
  }
  CHECK(wrong == 0);
  CHECK(utf8_sequence(encoded(0x110000), 0) == 0);
}

TEST_CASE("UTF-8: nothing else is a sequence") {
  // As many as there are code points of that length, so that with the case above there is no other.
  std::uint32_t two = 0, three = 0, four = 0;
  std::string bytes(4, '\0');
  for (int a = 0x80; a < 0x100; ++a)
    for (int b = 0; b < 0x100; ++b) {
      bytes[0] = static_cast<char>(a), bytes[1] = static_cast<char>(b), bytes[2] = bytes[3] = 'x';
      two += utf8_sequence(bytes, 0) == 2;
      for (int c = 0; c < 0x100; ++c) {
        bytes[2] = static_cast<char>(c), bytes[3] = 'x';
        three += utf8_sequence(bytes, 0) == 3;
        for (const int d : {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF}) {
          bytes[3] = static_cast<char>(d);
          four += utf8_sequence(bytes, 0) == 4;
        }
      }
    }
  CHECK(two == 0x800 - 0x80);
  CHECK(three == 0x10000 - 0x800 - 0x800);  // without the surrogates
  CHECK(four == 0x100000 / 64 * 2);         // of 64 last bytes two are asked for
}

TEST_CASE("HTML: no byte becomes markup or ends a line, and what is UTF-8 stays") {
  for (int c = 0; c < 0x100; ++c) {
    const std::string out = html_text(std::string(1, static_cast<char>(c)));
    CHECK(out.find_first_of("<>\"'") == std::string::npos);
    CHECK(out.find_first_of(std::string("\0\n\r\t\x7f", 5)) == std::string::npos);
    CHECK((c != '&' || out == "&amp;"));
    CHECK((c < 0x80 || out == "\xEF\xBF\xBD"));
  }
  CHECK(html_text("<a href='x'>\xC3\xA4 & \"\n") == "&lt;a href=&#39;x&#39;&gt;\xC3\xA4 &amp; &quot;\\x0a");
}
