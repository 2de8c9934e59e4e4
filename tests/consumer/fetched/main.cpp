// Two stores in memory agree, then one of them lies: the library works, wherever it was found.
#include "everything.hpp"

#include "../two_stores.hpp"

int other();

int main() {
  const epochcut::Outcome agreeing = two_stores(false), lying = two_stores(true);
  fmt::print("{}\n{}\n", agreeing, lying);
  return agreeing.exit_code() == 0 && lying.exit_code() == 1 && other() == 0 ? 0 : 1;
}
