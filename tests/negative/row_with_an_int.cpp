// A member is of a type that a column maps onto, exactly.
// expect: no column maps onto a member: use bool, int64_t
#include <epochcut/cut/row.hpp>

using namespace epochcut;

struct Position {
  std::string account;
#ifdef WRONG
  int lots;
#else
  std::int64_t lots;
#endif
};
template <>
inline constexpr auto epochcut::fields<Position> = std::tuple{key("account", &Position::account), value("lots", &Position::lots)};

AsOfQuery<Position> positions() { return latest("positions").per("account"); }
