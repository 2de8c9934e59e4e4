#include "exchange/postgres_writer.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <libpq-fe.h>

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

namespace {

/// libpq's messages end in a newline and may run over several lines: the first one says it.
std::string first_line(const char* message) {
  const std::string_view text = message != nullptr ? message : "";
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

PostgresResult::PostgresResult(PostgresResult&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
PostgresResult::~PostgresResult() { PQclear(result_); }
int PostgresResult::rows() const { return PQntuples(result_); }
std::string_view PostgresResult::operator()(int row, int column) const {
  return {PQgetvalue(result_, row, column), static_cast<std::size_t>(PQgetlength(result_, row, column))};
}
std::string_view PostgresResult::tag() const { return PQcmdStatus(result_); }
long PostgresResult::affected() const { return std::strtol(PQcmdTuples(result_), nullptr, 10); }

PostgresWriter::PostgresWriter(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
  if (PQstatus(connection_) == CONNECTION_OK) return;
  // Of a string that it can't use, libpq quotes the part it stumbled over, which may be half of a password.
  const std::string why = first_line(PQerrorMessage(connection_));
  Failure failure(Reason::connection, "can't connect to PostgreSQL: " + (why.starts_with("connection to server") ? why : "look at its connection string"));
  PQfinish(connection_);
  throw std::move(failure).poison();
}

PostgresWriter::~PostgresWriter() { PQfinish(connection_); }

void PostgresWriter::fail(const pg_result* result, const std::string& sql) {
  // A backend that is ended says so with a SQLSTATE while the connection still looks alive, or breaks it without a word.
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const std::string_view kind = state != nullptr ? std::string_view(state).substr(0, 3) : "";
  const bool broken = PQstatus(connection_) != CONNECTION_OK || kind == "57P" || kind.starts_with("08");
  Failure failure(broken ? Reason::connection : Reason::unknown, "PostgreSQL: " + first_line(PQerrorMessage(connection_)));
  failure.engine_code = state != nullptr ? state : "";
  failure.sql = sql;
  if (broken) throw std::move(failure).poison();
  throw failure;
}

pg_result* PostgresWriter::checked(pg_result* result, const std::string& sql) {
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN) return result;
  const PostgresResult owned(result);
  fail(result, sql);
}

PostgresResult PostgresWriter::execute(const std::string& sql) { return PostgresResult(checked(PQexec(connection_, sql.c_str()), sql)); }

namespace {
std::vector<const char*> pointers(const std::vector<std::string>& parameters) {
  std::vector<const char*> values;
  for (const std::string& p : parameters) values.push_back(p.c_str());
  return values;
}
}  // namespace

PostgresResult PostgresWriter::execute(const std::string& sql, const std::vector<std::string>& parameters) {
  const auto values = pointers(parameters);
  return PostgresResult(checked(PQexecParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0), sql));
}

PostgresResult PostgresWriter::prepared(const std::string& name, const std::string& sql, const std::vector<std::string>& parameters) {
  if (std::find(prepared_.begin(), prepared_.end(), name) == prepared_.end()) {
    PostgresResult(checked(PQprepare(connection_, name.c_str(), sql.c_str(), 0, nullptr), sql));
    prepared_.push_back(name);
  }
  const auto values = pointers(parameters);
  return PostgresResult(checked(PQexecPrepared(connection_, name.c_str(), static_cast<int>(values.size()), values.data(), nullptr, nullptr, 0), sql));
}

void PostgresWriter::copy(const std::string& sql, std::string_view rows) {
  if (rows.empty()) return;
  PostgresResult(checked(PQexec(connection_, sql.c_str()), sql));
  constexpr std::size_t piece = 1 << 20;
  for (; !rows.empty(); rows.remove_prefix(std::min(piece, rows.size())))
    if (PQputCopyData(connection_, rows.data(), static_cast<int>(std::min(piece, rows.size()))) != 1) fail(nullptr, sql);
  if (PQputCopyEnd(connection_, nullptr) != 1) fail(nullptr, sql);
  // All results must be taken, or the next command finds this one still running.
  std::vector<PostgresResult> results;
  while (pg_result* r = PQgetResult(connection_)) results.push_back(PostgresResult(checked(r, sql)));
}

void PostgresWriter::commit() {
  const PostgresResult result = execute("COMMIT");
  if (result.tag() != "COMMIT") throw Failure(Reason::unknown, "PostgreSQL rolled the transaction back at COMMIT").statement("COMMIT");
}

void PostgresWriter::send(const std::string& sql, const std::vector<std::string>& parameters) {
  const auto values = pointers(parameters);
  if (PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0) != 1) fail(nullptr, sql);
  while (PQflush(connection_) == 1) {
  }
}

}  // namespace exchange
