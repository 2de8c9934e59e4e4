#include "exchange/custodian_client.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include <curl/curl.h>

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

namespace {

constexpr std::size_t answer_bytes_max = 1 << 20;  // a list of open transfers has a few dozen ids

std::size_t append_body(char* data, std::size_t, std::size_t size, void* body) {
  auto& text = *static_cast<std::string*>(body);
  if (text.size() + size > answer_bytes_max) return 0;
  text.append(data, size);
  return size;
}

/// Takes one document apart from left to right.
struct Scanner {
  std::string_view rest;

  void skip_blanks() {
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\n' || rest.front() == '\r' || rest.front() == '\t')) rest.remove_prefix(1);
  }
  bool take(std::string_view word) {
    skip_blanks();
    if (!rest.starts_with(word)) return false;
    rest.remove_prefix(word.size());
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) throw Failure(Reason::syntax, "the custodian's list of transfers is not of the form {\"open\":[\"id\"],\"counter\":1}");
  }
  std::string name() {
    expect("\"");
    const std::size_t end = rest.find_first_of("\"\\");
    std::string text(rest.substr(0, end));
    rest.remove_prefix(std::min(text.size(), rest.size()));
    expect("\"");
    return text;
  }
  std::uint64_t number() {
    skip_blanks();
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (error != std::errc{}) expect("a number");
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return value;
  }
};

}  // namespace

Transfers parse_transfers(std::string_view json) {
  Scanner s{json};
  Transfers transfers;
  s.expect("{");
  bool open = false, counter = false;
  do {
    const std::string field = s.name();
    s.expect(":");
    if (field == "counter" && !counter) {
      transfers.counter = s.number();
      counter = true;
      continue;
    }
    if (field != "open" || open) s.expect("no such field");
    open = true;
    s.expect("[");
    if (s.take("]")) continue;
    do transfers.open.push_back(s.name());
    while (s.take(","));
    s.expect("]");
  } while (s.take(","));
  s.expect("}");
  s.skip_blanks();
  if (!s.rest.empty() || !open || !counter) s.expect("nothing more");
  return transfers;
}

CustodianClient::CustodianClient(std::string url) : url_(std::move(url)) {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  curl_ = ready ? curl_easy_init() : nullptr;
  if (curl_ == nullptr) throw Failure(Reason::unknown, "libcurl could not be initialised");
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_PROXY, "");
  curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, 2'000L);
  curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, 10'000L);
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &append_body);
}

CustodianClient::~CustodianClient() { curl_easy_cleanup(curl_); }

std::string CustodianClient::request(const std::string& path, const char* method, const std::string& body) {
  curl_slist* headers = curl_slist_append(curl_slist_append(nullptr, "Expect:"), "Content-Type: application/json");
  const std::string url = url_ + path;
  std::string answer;
  curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl_, CURLOPT_HTTPGET, 1L);  // takes back what a POST before has set
  if (std::string_view(method) == "POST") {
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.c_str());
  }
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answer);
  const CURLcode code = curl_easy_perform(curl_);
  curl_slist_free_all(headers);
  if (code != CURLE_OK) throw Failure(Reason::connection, "the custodian: " + std::string(curl_easy_strerror(code))).at(url_).poison();
  long status = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) return answer;
  Failure failure(status >= 500 ? Reason::connection : Reason::configuration,
                  "the custodian answered " + std::to_string(status) + " to " + method + " " + path + ": " + answer.substr(0, answer.find('\n')));
  failure.retryable = status >= 500;
  failure.where = url_;
  throw failure;
}

void CustodianClient::begin(const std::string& id, std::string_view currency, const std::string& amount) {
  request("/transfers", "POST", R"({"id":")" + id + R"(","currency":")" + std::string(currency) + R"(","amount":")" + amount + "\"}");
}

void CustodianClient::complete(const std::string& id) { request("/transfers/" + id + "/complete", "POST", ""); }

Transfers CustodianClient::transfers() { return parse_transfers(request("/transfers", "GET", "")); }

}  // namespace exchange
