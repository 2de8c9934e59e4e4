// The laws are proved in the header; here each operation is written down as a table, so that a law-abiding but wrong one is caught too.
#include <epochcut/core/status.hpp>

#include <string>
#include <vector>

#include "testing/tables.hpp"

using namespace epochcut;

namespace {
constexpr Status P = Status::pass, S = Status::skipped, E = Status::error, F = Status::fail;
constexpr Status order[] = {P, F, E, S};  // of the rows and columns of the tables below; none of the ranks
}  // namespace

TEST_CASE("all_of and any_of, all 16 pairs") {
  constexpr Status all[4][4] = {{P, F, E, S}, {F, F, F, F}, {E, F, E, E}, {S, F, E, S}};
  constexpr Status any[4][4] = {{P, P, P, P}, {P, F, E, S}, {P, E, E, E}, {P, S, E, S}};
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b) {
      CHECK(all_of(order[a], order[b]) == all[a][b]);
      CHECK(any_of(order[a], order[b]) == any[a][b]);
    }
}

TEST_CASE("negate, gate and then") {
  constexpr Status negated[] = {F, P, E, S}, gated[] = {P, S, E, S};
  for (int a = 0; a < 4; ++a) {
    CHECK(negate(order[a]) == negated[a]);
    CHECK(gate(order[a]) == gated[a]);
    for (Status b : order) CHECK(then(order[a], b) == (a == 0 ? b : order[a]));
  }
}

TEST_CASE("a bracket lets the body speak only if the precondition held before and after") {
  for (Status body : order) {
    CHECK(bracket(P, body, P) == body);
    CHECK(bracket(F, body, P) == S);  // a transfer is in flight: nothing can be asserted
    CHECK(bracket(P, body, F) == S);
    CHECK(bracket(E, body, F) == E);
    CHECK(bracket(S, body, E) == E);
    CHECK(bracket(S, body, S) == S);
  }
}

TEST_CASE("a conjunction of many") {
  CHECK(all_of({}) == S);
  CHECK(all_of({P}) == P);
  CHECK(all_of({P, P, S, P}) == S);
  CHECK(all_of({P, S, E, P}) == E);
  CHECK(all_of({E, P, F, S}) == F);
  CHECK(all_of(std::vector<Status>{}) == S);
  CHECK(all_of(std::vector<Status>(100, P)) == P);
}

TEST_CASE("a status has a name and an exit code") {
  CHECK(to_string(P) == "pass");
  CHECK(to_string(S) == "skipped");
  CHECK(to_string(E) == "error");
  CHECK(to_string(F) == "fail");
  CHECK(exit_code(P) == 0);
  CHECK(exit_code(F) == 1);
  CHECK(exit_code(S) == 2);
  CHECK(exit_code(E) == 3);
}
