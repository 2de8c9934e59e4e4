// The other of two translation units that include everything: what one header defines twice, the linker finds here.
#include "everything.hpp"

#include "../two_stores.hpp"

int other() { return two_stores(false).exit_code(); }
