// A key finds its partner by equality, and two engines may print or round a double differently.
// expect: a double can't be a key: choose an exact type
#include <epochcut/cut/row.hpp>

using namespace epochcut;

struct Level {
#ifdef WRONG
  double price;
#else
  Decimal price;
#endif
  double weight;
};
template <>
inline constexpr auto epochcut::fields<Level> = std::tuple{key("price", &Level::price), value("weight", &Level::weight)};

AsOfQuery<Level> levels() { return latest("levels").per("price"); }
