// Why could a question not be answered, or why is the answer what it is?
// Layer: core. Values only. Source: docs/concepts.md "Reasons"; shape after libpqxx's flat failure type.
// One exception type with properties that a program can act on; the verdict layer turns it into `error`, never into anything else.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace epochcut {

/// The reason beside a status. One list serves failures and outcomes, so that a failure's kind IS the outcome's reason.
enum class Reason : std::uint8_t {
  none,
  // fail: a real difference at one epoch
  differs,
  missing_rows,
  extra_rows,
  conflicting_rows,
  // skipped: nothing was asserted
  empty,
  nothing_selected,
  precondition,
  // error: the plumbing
  horizon_not_proven,
  replica_lag,
  replica_changed,
  cut_violated,
  unbracketed,
  epoch_regressed,
  wrong_isolation,
  wrong_stream,
  missing_token,
  undeclared_relation,
  not_as_of,
  same_relation,
  below_retention,
  schema,
  overflow,
  unordered,
  incomplete,
  too_large,
  lock_timeout,
  timeout,
  cancelled,
  connection,
  authentication,
  not_found,
  syntax,
  configuration,
  unknown,
};

constexpr std::string_view to_string(Reason reason) {
  constexpr std::string_view names[] = {"none",
                                        "differs",
                                        "missing_rows",
                                        "extra_rows",
                                        "conflicting_rows",
                                        "empty",
                                        "nothing_selected",
                                        "precondition",
                                        "horizon_not_proven",
                                        "replica_lag",
                                        "replica_changed",
                                        "cut_violated",
                                        "unbracketed",
                                        "epoch_regressed",
                                        "wrong_isolation",
                                        "wrong_stream",
                                        "missing_token",
                                        "undeclared_relation",
                                        "not_as_of",
                                        "same_relation",
                                        "below_retention",
                                        "schema",
                                        "overflow",
                                        "unordered",
                                        "incomplete",
                                        "too_large",
                                        "lock_timeout",
                                        "timeout",
                                        "cancelled",
                                        "connection",
                                        "authentication",
                                        "not_found",
                                        "syntax",
                                        "configuration",
                                        "unknown"};
  static_assert(std::size(names) == static_cast<std::size_t>(Reason::unknown) + 1);
  return names[static_cast<std::size_t>(reason)];
}

/// The one exception of the library. `what()` is one sentence that says what to do; it never contains a password.
struct Failure : std::exception {
  Failure(Reason kind_, std::string message_) : kind(kind_), message(std::move(message_)) {}

  Reason kind;
  std::string message;
  bool retryable = false;           ///< the same call may succeed later with nothing changed
  bool poisons_connection = false;  ///< the connection it happened on must not be used again
  std::string engine_code;          ///< SQLSTATE or ClickHouse error code, as the server gave it
  std::string sql;                  ///< the statement, empty if none was sent
  std::string where;                ///< which server, without credentials

  const char* what() const noexcept override { return message.c_str(); }

  Failure&& retry() && { return retryable = true, std::move(*this); }
  Failure&& poison() && { return poisons_connection = retryable = true, std::move(*this); }
  Failure&& code(std::string c) && { return engine_code = std::move(c), std::move(*this); }
  Failure&& statement(std::string s) && { return sql = std::move(s), std::move(*this); }
  Failure&& at(std::string w) && { return where = std::move(w), std::move(*this); }
};

}  // namespace epochcut
