#include <epochcut/core/failure.hpp>

#include <set>
#include <string>
#include <utility>

#include "testing/tables.hpp"

using namespace epochcut;

TEST_CASE("every reason has a name of its own, and the names stand in the order of the reasons") {
  std::set<std::string_view> names;
  for (int r = 0; r <= static_cast<int>(Reason::unknown); ++r) names.insert(to_string(static_cast<Reason>(r)));
  CHECK(names.size() == static_cast<std::size_t>(Reason::unknown) + 1);
  CHECK(names.count("") == 0);

  const std::pair<Reason, const char*> some[] = {{Reason::none, "none"},
                                                 {Reason::differs, "differs"},
                                                 {Reason::missing_rows, "missing_rows"},
                                                 {Reason::extra_rows, "extra_rows"},
                                                 {Reason::conflicting_rows, "conflicting_rows"},
                                                 {Reason::empty, "empty"},
                                                 {Reason::nothing_selected, "nothing_selected"},
                                                 {Reason::precondition, "precondition"},
                                                 {Reason::horizon_not_proven, "horizon_not_proven"},
                                                 {Reason::replica_lag, "replica_lag"},
                                                 {Reason::replica_changed, "replica_changed"},
                                                 {Reason::cut_violated, "cut_violated"},
                                                 {Reason::unbracketed, "unbracketed"},
                                                 {Reason::epoch_regressed, "epoch_regressed"},
                                                 {Reason::wrong_isolation, "wrong_isolation"},
                                                 {Reason::wrong_stream, "wrong_stream"},
                                                 {Reason::missing_token, "missing_token"},
                                                 {Reason::undeclared_relation, "undeclared_relation"},
                                                 {Reason::not_as_of, "not_as_of"},
                                                 {Reason::same_relation, "same_relation"},
                                                 {Reason::below_retention, "below_retention"},
                                                 {Reason::schema, "schema"},
                                                 {Reason::overflow, "overflow"},
                                                 {Reason::unordered, "unordered"},
                                                 {Reason::incomplete, "incomplete"},
                                                 {Reason::too_large, "too_large"},
                                                 {Reason::lock_timeout, "lock_timeout"},
                                                 {Reason::timeout, "timeout"},
                                                 {Reason::cancelled, "cancelled"},
                                                 {Reason::connection, "connection"},
                                                 {Reason::authentication, "authentication"},
                                                 {Reason::not_found, "not_found"},
                                                 {Reason::syntax, "syntax"},
                                                 {Reason::configuration, "configuration"},
                                                 {Reason::unknown, "unknown"}};
  for (const auto& [reason, name] : some) CHECK(to_string(reason) == name);
}

TEST_CASE("a failure is flat: its properties are set one by one and survive a throw") {
  try {
    throw Failure(Reason::connection, "the server went away").retry().code("57P01").statement("SELECT 1").at("127.0.0.1:5432");
  } catch (const std::exception& caught) {
    const auto& f = dynamic_cast<const Failure&>(caught);
    CHECK(f.kind == Reason::connection);
    CHECK(std::string(f.what()) == "the server went away");
    CHECK(f.retryable);
    CHECK_FALSE(f.poisons_connection);
    CHECK(f.engine_code == "57P01");
    CHECK(f.sql == "SELECT 1");
    CHECK(f.where == "127.0.0.1:5432");
  }
  const Failure plain(Reason::syntax, "no");
  CHECK_FALSE(plain.retryable);
  CHECK_FALSE(plain.poisons_connection);
}

TEST_CASE("what poisons a connection may be tried again on another") {
  const Failure f = Failure(Reason::connection, "cut in the middle").poison();
  CHECK(f.poisons_connection);
  CHECK(f.retryable);
}
