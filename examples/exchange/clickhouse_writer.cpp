#include "exchange/clickhouse_writer.hpp"

#include <algorithm>
#include <utility>

#include <curl/curl.h>

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

namespace {

constexpr std::string_view name_header = "x-clickhouse-server-display-name:";

std::size_t append_body(char* data, std::size_t, std::size_t size, void* body) {
  static_cast<std::string*>(body)->append(data, size);
  return size;
}

std::size_t take_name(char* data, std::size_t, std::size_t size, void* name) {
  std::string_view line(data, size);
  if (line.size() <= name_header.size() || !curl_strnequal(line.data(), name_header.data(), name_header.size())) return size;
  line.remove_prefix(name_header.size());
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  *static_cast<std::string*>(name) = line;
  return size;
}

std::string without_credentials(const std::string& url) {
  const std::size_t scheme = url.find("://"), host = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t at = url.rfind('@');  // the last one: a password may hold a '/' that should have been %2F
  if (at == std::string::npos || at < host) return url;
  return url.substr(0, host) + url.substr(at + 1);
}

/// "Code: 60, e.displayText() = DB::Exception: …" → "60".
std::string error_code(std::string_view body) {
  const std::size_t begin = body.find("Code: ");
  if (begin == std::string_view::npos) return {};
  const std::size_t digits = begin + 6;
  return std::string(body.substr(digits, body.find_first_not_of("0123456789", digits) - digits));
}

}  // namespace

ClickhouseWriter::ClickhouseWriter(std::string url) : url_(std::move(url)), where_(without_credentials(url_)) {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  curl_ = ready ? curl_easy_init() : nullptr;
  if (curl_ == nullptr) throw Failure(Reason::unknown, "libcurl could not be initialised");
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_PROXY, "");  // a database is not reached through http_proxy
  curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, 5'000L);
  curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, 120'000L);
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &append_body);
  curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &take_name);
  curl_easy_setopt(curl_, CURLOPT_HEADERDATA, &server_name_);
}

ClickhouseWriter::~ClickhouseWriter() { curl_easy_cleanup(curl_); }

std::string ClickhouseWriter::post(std::string_view sql, std::string_view data) {
  char* escaped = curl_easy_escape(curl_, sql.data(), static_cast<int>(sql.size()));
  // Without data the statement itself is the body: it may be longer than an address can be.
  const std::string url = data.empty() ? url_ : url_ + (url_.find('?') == std::string::npos ? "?query=" : "&query=") + escaped;
  curl_free(escaped);
  const std::string_view body = data.empty() ? sql : data;
  curl_slist* headers = curl_slist_append(nullptr, "Expect:");  // don't wait a second for "100 Continue"
  std::string answer;
  curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer);
  const CURLcode code = curl_easy_perform(curl_);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) throw Failure(Reason::connection, "ClickHouse: " + std::string(curl_easy_strerror(code))).at(where_).poison();
  long status = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    Failure failure(Reason::unknown, "ClickHouse answered " + std::to_string(status) + ": " + answer.substr(0, answer.find('\n')));
    failure.retryable = status >= 500 && error_code(answer) == "252";  // too many parts: merges need time
    throw std::move(failure).code(error_code(answer)).statement(std::string(sql)).at(where_);
  }
  return answer;
}

void ClickhouseWriter::execute(std::string_view sql) {
  const std::string answer = post(sql, {});
  if (!answer.empty())
    throw Failure(Reason::unknown, "ClickHouse: " + answer.substr(0, answer.find('\n'))).code(error_code(answer)).statement(std::string(sql)).at(where_);
}

std::string ClickhouseWriter::query(std::string_view sql) { return post(sql, {}); }

void ClickhouseWriter::insert(const std::string& table, std::string_view rows) {
  if (rows.empty()) return;
  const std::string sql = "INSERT INTO " + table + " FORMAT TabSeparated";
  const std::string answer = post(sql, rows);
  if (!answer.empty()) throw Failure(Reason::unknown, "ClickHouse: " + answer.substr(0, answer.find('\n'))).code(error_code(answer)).statement(sql).at(where_);
}

const std::string& ClickhouseWriter::server_name() {
  if (server_name_.empty()) post("SELECT 1", {});
  if (server_name_.empty()) {
    server_name_ = post("SELECT hostName()", {});
    server_name_ = server_name_.substr(0, server_name_.find('\n'));
  }
  return server_name_;
}

}  // namespace exchange
