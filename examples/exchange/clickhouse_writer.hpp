// How are rows written into ClickHouse?
// One kept-alive HTTP connection through libcurl. An insert has happened only when the server answered 200 AND said nothing: this
// server can answer 200 and then put an exception into the body. One thread at a time.
// Errors: epochcut::Failure, with ClickHouse's code as engine_code; never with a password.
#pragma once

#include <string>
#include <string_view>

#include <epochcut/core/failure.hpp>

namespace exchange {

class ClickhouseWriter {
 public:
  /// `url`: http://[user:password@]host:port/
  explicit ClickhouseWriter(std::string url);
  ClickhouseWriter(const ClickhouseWriter&) = delete;
  ClickhouseWriter& operator=(const ClickhouseWriter&) = delete;
  ~ClickhouseWriter();

  /// A statement that returns nothing.
  void execute(std::string_view sql);
  /// A statement that returns rows, as tab-separated text.
  std::string query(std::string_view sql);
  /// Returns when the server has acknowledged all of `rows` (tab-separated text). No rows: nothing is sent.
  void insert(const std::string& table, std::string_view rows);

  /// Who answered last, as a reader of this server would see it; asks if nobody has answered yet.
  const std::string& server_name();

 private:
  std::string post(std::string_view sql, std::string_view data);

  std::string url_, where_, server_name_;
  void* curl_;
};

}  // namespace exchange
