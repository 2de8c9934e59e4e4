// What do clocks show in a named zone?
// Layer: operate; leaf: needs Howard Hinnant's date library (epochcut::zone), and the machine's zone files at run time. Values, thread-safe.
// An unknown zone is refused: a schedule that silently ran in UTC would look at the stores five hours off. Names of old (US/Eastern), which newer systems
// leave out, mean the zones that took their place.
#pragma once

#include <array>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <date/tz.h>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/instant.hpp>

namespace epochcut {

/// `US/Eastern` → `America/New_York`; empty if the name is none of the old ones.
constexpr std::string_view modern_zone(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> names{{{"US/Alaska", "America/Anchorage"},
                                                                                {"US/Arizona", "America/Phoenix"},
                                                                                {"US/Central", "America/Chicago"},
                                                                                {"US/Eastern", "America/New_York"},
                                                                                {"US/Hawaii", "Pacific/Honolulu"},
                                                                                {"US/Michigan", "America/Detroit"},
                                                                                {"US/Mountain", "America/Denver"},
                                                                                {"US/Pacific", "America/Los_Angeles"}}};
  for (const auto& [old, modern] : names)
    if (old == name) return modern;
  return {};
}

/// What `locate(name)` finds, or else under the modern name. Errors: configuration, with the reason, when both throw.
template <class Locate>
auto find_zone(std::string_view name, Locate locate) {
  try {
    return locate(name);
  } catch (const std::exception& e) {
    const std::string why = "the zone \"" + std::string(name) + "\" is not known on this machine (" + e.what() + "); install tzdata or correct the name";
    if (modern_zone(name).empty()) throw Failure(Reason::configuration, why);
    try {
      return locate(modern_zone(name));
    } catch (const std::exception&) {
      throw Failure(Reason::configuration, why);
    }
  }
}

/// A zone by name, as the machine's zone files describe it. Copies refer to the one database of the process, which lives as long as it.
class NamedZone {
 public:
  /// Errors: configuration on a zone that the machine doesn't know.
  explicit NamedZone(std::string_view name)
      : name_(name), zone_(find_zone(name, [](std::string_view n) {
          if (n.empty()) throw std::runtime_error("a zone needs a name");
          return date::locate_zone(n);
        })) {}

  /// As it was asked for.
  const std::string& name() const { return name_; }
  std::chrono::seconds offset(Instant at) const { return zone_->get_info(std::chrono::floor<std::chrono::seconds>(at)).offset; }

 private:
  std::string name_;
  const date::time_zone* zone_;
};

}  // namespace epochcut
