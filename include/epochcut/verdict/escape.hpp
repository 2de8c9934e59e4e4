// How does any text stand in a line of a log, in JSON, in HTML?
// Layer: verdict. Pure functions: nothing in a value can break out of where it stands, and what is no UTF-8 is told as U+FFFD where the reader needs UTF-8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace epochcut {

/// On one line, whatever is in it: a value must not be able to forge a line of the log. Its other bytes stay as they are.
inline std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F)
      out += c;
    else
      ((out += "\\x") += "0123456789abcdef"[byte >> 4]) += "0123456789abcdef"[byte & 15];
  }
  return out;
}

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";  ///< U+FFFD

/// The bytes of the UTF-8 sequence that begins at `text[at]`; 0 if none does. Source: Unicode 15, table 3-7.
inline std::size_t utf8_sequence(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[at + k]); };
  const unsigned char c = byte(0);
  if (c < 0x80) return 1;
  const std::size_t length = c >= 0xF5 ? 0 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t k = 1; k < length; ++k)
    if ((byte(k) & 0xC0) != 0x80) return 0;
  const bool outside = (c == 0xE0 && byte(1) < 0xA0) || (c == 0xED && byte(1) > 0x9F) || (c == 0xF0 && byte(1) < 0x90) || (c == 0xF4 && byte(1) > 0x8F);
  return outside ? 0 : length;
}

/// `text` in UTF-8, where `one(c)` gives what stands for the ASCII character c.
template <class One>
std::string in_utf8(std::string_view text, One one) {
  std::string out;
  for (std::size_t at = 0, length = 0; at < text.size(); at += std::max<std::size_t>(1, length)) {
    length = utf8_sequence(text, at);
    if (length == 1)
      out += one(text[at]);
    else
      out += length == 0 ? replacement_character : text.substr(at, length);
  }
  return out;
}

/// For HTML's text and quoted attributes: nothing in it can become markup.
inline std::string html_text(std::string_view text) {
  return in_utf8(text, [](const char& c) -> std::string {
    switch (c) {
      case '&': return "&amp;";
      case '<': return "&lt;";
      case '>': return "&gt;";
      case '"': return "&quot;";
      case '\'': return "&#39;";
      default: return printable(std::string_view(&c, 1));
    }
  });
}

namespace json {

/// A JSON string, with its quotes.
inline std::string escaped(std::string_view text) {
  const auto one = [](char c) -> std::string {
    constexpr char hex[] = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') return {'\\', c};
    if (c == '\n') return "\\n";
    if (byte < 0x20 || byte == 0x7F) return {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    return {c};
  };
  return '"' + in_utf8(text, one) + '"';
}

/// `"name":raw`, where `raw` is JSON already.
inline std::string member(std::string_view name, const std::string& raw) { return escaped(name) + ":" + raw; }

}  // namespace json

}  // namespace epochcut
