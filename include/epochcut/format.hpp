// How do outcomes print with fmt?
// Layer: leaf, the only header that needs fmt. `{}` is the text of verdict/report.hpp, `{:j}` its JSON.
#pragma once

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include <epochcut/verdict/report.hpp>
#include <epochcut/verdict/shadow_gate.hpp>

namespace epochcut::formatting {

/// Formats anything that `to_string` names, as that text.
template <class T>
struct Named : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& value, Context& context) const {
    return fmt::formatter<std::string_view>::format(to_string(value), context);
  }
};

}  // namespace epochcut::formatting

template <>
struct fmt::formatter<epochcut::Status> : epochcut::formatting::Named<epochcut::Status> {};
template <>
struct fmt::formatter<epochcut::Reason> : epochcut::formatting::Named<epochcut::Reason> {};
template <>
struct fmt::formatter<epochcut::Decision> : epochcut::formatting::Named<epochcut::Decision> {};
template <>
struct fmt::formatter<epochcut::Witness> : epochcut::formatting::Named<epochcut::Witness> {};
template <>
struct fmt::formatter<epochcut::Digest> : epochcut::formatting::Named<epochcut::Digest> {};
template <>
struct fmt::formatter<epochcut::Value> : epochcut::formatting::Named<epochcut::Value> {};

template <>
struct fmt::formatter<epochcut::Outcome> {
  constexpr auto parse(fmt::format_parse_context& context) {
    auto it = context.begin();
    if (it != context.end() && *it == 'j') json_ = true, ++it;
    if (it != context.end() && *it != '}') throw fmt::format_error("an Outcome is formatted as {} (text) or {:j} (JSON)");
    return it;
  }
  template <class Context>
  auto format(const epochcut::Outcome& outcome, Context& context) const {
    const std::string text = json_ ? epochcut::to_json(outcome) : epochcut::to_text(outcome);
    return std::copy(text.begin(), text.end(), context.out());
  }

 private:
  bool json_ = false;
};
