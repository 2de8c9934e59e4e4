// The core beside a formatter that is not fmt, whatever it calls itself.
#include <fmt/format.h>

#include "../two_stores.hpp"

int main() {
  static_assert(__cplusplus > 202002L, "C++23");
  return two_stores(false).exit_code() == 0 && two_stores(true).exit_code() == 1 && fmt::ours() == 1 ? 0 : 1;
}
