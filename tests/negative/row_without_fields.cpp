// A struct stands for a row once its fields have been named.
// expect: describe the struct first: specialise epochcut::fields<Row>
#include <epochcut/cut/row.hpp>

using namespace epochcut;

struct Balance {
  std::string currency;
  Decimal amount;
};
#ifndef WRONG
template <>
inline constexpr auto epochcut::fields<Balance> = std::tuple{key("currency", &Balance::currency), value("amount", &Balance::amount)};
#endif

AsOfQuery<Balance> balances() { return current("balances"); }
