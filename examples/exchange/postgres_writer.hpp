// How are rows written into PostgreSQL?
// The few calls of libpq that a ledger's writer needs, as values that clean up after themselves: statements with parameters, COPY,
// and a COMMIT that is believed only when the server says COMMIT. One connection, one thread at a time.
// Errors: epochcut::Failure, with the SQLSTATE as engine_code; never with a password.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <epochcut/core/failure.hpp>

struct pg_conn;
struct pg_result;

namespace exchange {

class PostgresResult {
 public:
  explicit PostgresResult(pg_result* owned) : result_(owned) {}
  PostgresResult(PostgresResult&& other) noexcept;
  PostgresResult& operator=(PostgresResult&&) = delete;
  ~PostgresResult();

  int rows() const;
  std::string_view operator()(int row, int column) const;  ///< empty when NULL
  std::string_view tag() const;                            ///< "COMMIT", "UPDATE 1"
  long affected() const;

 private:
  pg_result* result_;
};

class PostgresWriter {
 public:
  explicit PostgresWriter(const std::string& conninfo);
  PostgresWriter(const PostgresWriter&) = delete;
  PostgresWriter& operator=(const PostgresWriter&) = delete;
  ~PostgresWriter();

  /// One or more statements without parameters.
  PostgresResult execute(const std::string& sql);
  /// One statement with text parameters.
  PostgresResult execute(const std::string& sql, const std::vector<std::string>& parameters);
  /// The same, parsed and planned once: `name` stands for `sql` from the first call on.
  PostgresResult prepared(const std::string& name, const std::string& sql, const std::vector<std::string>& parameters);
  /// `sql` is COPY … FROM STDIN in text format.
  void copy(const std::string& sql, std::string_view rows);
  /// COMMIT of a failed transaction succeeds with the tag ROLLBACK; this one throws.
  void commit();
  /// Sends one statement and does not wait: for whoever is about to crash.
  void send(const std::string& sql, const std::vector<std::string>& parameters = {});

 private:
  pg_result* checked(pg_result* result, const std::string& sql);
  [[noreturn]] void fail(const pg_result* result, const std::string& sql);

  pg_conn* connection_;
  std::vector<std::string> prepared_;
};

}  // namespace exchange
