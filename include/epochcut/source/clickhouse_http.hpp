// How does a statement reach a ClickHouse server, and how do its answer's bytes come back piece by piece?
// Layer: source, with libcurl. A Transport may be shared between threads; an Exchange belongs to one. Nothing here knows what a query means.
// An answer counts as complete only when the HTTP body ended properly; a server's exception becomes a Failure with its code.
// Source: the vendor's manual, "HTTP interface"; behaviour measured on 18.16 is noted where it bites.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <curl/curl.h>

#include <epochcut/core/failure.hpp>
#include <epochcut/cut/control.hpp>
#include <epochcut/source/clickhouse_server.hpp>

namespace epochcut::clickhouse {

inline constexpr std::size_t body_buffer_max = 4u << 20;  ///< bytes that wait for the reader before the server is made to wait
inline constexpr std::size_t error_body_max = 64u << 10;  ///< bytes kept of an answer that is not 200
inline constexpr std::size_t idle_connections_max = 4;    ///< kept alive per source
inline constexpr Millis stop_timeout{2'000};              ///< for telling the server to give up a statement; it gives up by itself later

/// A server as its URL names it, with the credentials taken out.
struct Endpoint {
  std::string base;   ///< scheme, host, port and path
  std::string where;  ///< host:port, for people
  std::string user, password, database;
};

/// Errors: `configuration`; the message never repeats the URL, which may hold a password.
inline Endpoint parse_url(const std::string& url) {
  struct Parsed {
    CURLU* handle = curl_url();
    ~Parsed() { curl_url_cleanup(handle); }
    std::string part(CURLUPart which, unsigned flags = 0) const {
      char* text = nullptr;
      if (curl_url_get(handle, which, &text, flags) != CURLUE_OK) return {};
      std::string copy(text);
      curl_free(text);
      return copy;
    }
  } parsed;
  const auto refuse = [](const std::string& why) -> Failure {
    return {Reason::configuration, "the ClickHouse URL " + why + "; write it as http://user:password@host:8123/?database=name"};
  };
  if (const CURLUcode code = curl_url_set(parsed.handle, CURLUPART_URL, url.c_str(), 0); code != CURLUE_OK)
    throw refuse(std::string("can't be read (") + curl_url_strerror(code) + ")");
  const std::string scheme = parsed.part(CURLUPART_SCHEME), host = parsed.part(CURLUPART_HOST), path = parsed.part(CURLUPART_PATH);
  if (scheme != "http" && scheme != "https") throw refuse("must begin with http:// or https://");
  // Where an unescaped '/' or '#' in a password moves its rest; its beginning would be taken for a port, and the user for a host to look up.
  if (path.find('@') != std::string::npos || !parsed.part(CURLUPART_FRAGMENT).empty())
    throw refuse("has an '@' or '#' in the wrong place: special characters in a password are written as %XX");
  const auto credential = [&](CURLUPart which) {
    std::string decoded = parsed.part(which, CURLU_URLDECODE);
    // Taken for none, it would be another user's reading.
    if (decoded.empty() && !parsed.part(which).empty()) throw refuse("has a user or password that can't be decoded");
    return decoded;
  };
  std::string port = parsed.part(CURLUPART_PORT);
  if (port.empty()) port = scheme == "https" ? "8443" : "8123";
  Endpoint endpoint{.base = scheme + "://" + host + ":" + port + (path.empty() ? "/" : path),
                    .where = host + ":" + port,
                    .user = credential(CURLUPART_USER),
                    .password = credential(CURLUPART_PASSWORD),
                    .database = {}};
  const std::string query = parsed.part(CURLUPART_QUERY);
  for (std::size_t begin = 0; begin < query.size();) {
    const std::size_t end = std::min(query.find('&', begin), query.size());
    const std::string_view pair = std::string_view(query).substr(begin, end - begin);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    int length = 0;
    const std::string_view raw = pair.substr(std::min(equals + 1, pair.size()));
    char* text = curl_easy_unescape(nullptr, raw.empty() ? "" : raw.data(), static_cast<int>(raw.size()), &length);  // takes a length of 0 for none given
    if (text == nullptr) throw refuse("has a parameter that can't be decoded");
    std::string value(text, static_cast<std::size_t>(length));
    curl_free(text);
    const std::string_view name = pair.substr(0, equals);
    if (name == "database")
      endpoint.database = std::move(value);
    else if (name == "user")
      endpoint.user = std::move(value);
    else if (name == "password")
      endpoint.password = std::move(value);
    else if (!pair.empty())
      throw refuse("has a parameter that is none of database, user and password; settings belong into ClickHouseOptions::settings");
    begin = end + 1;
  }
  return endpoint;
}

struct TransportOptions {
  Millis connect_timeout{5'000};
  bool verify_tls = true;  ///< switched off it is `configuration`, unless the server is on this machine
  std::string ca_file{};   ///< of a private authority; empty: the system's
  std::string proxy{};     ///< used only if named here, whatever http_proxy says in the environment
  bool compress = false;   ///< lets the server compress its answers (zstd or gzip): pays on links slower than about 30 MB/s, and costs on faster ones
};

/// 128 random bits in hex: a query id that no one else has.
inline std::string random_id() {
  std::random_device random;
  std::string id = "epochcut-";
  for (int i = 0; i < 4; ++i)
    for (std::uint32_t word = random(), digit = 0; digit < 8; ++digit, word >>= 4) id += "0123456789abcdef"[word & 15];
  return id;
}

/// What libcurl can take apart, the best first. Errors: `configuration` where that is nothing.
inline std::string encodings() {
  const int features = curl_version_info(CURLVERSION_NOW)->features;
  const bool zstd = (features & CURL_VERSION_ZSTD) != 0, gzip = (features & CURL_VERSION_LIBZ) != 0;
  if (!zstd && !gzip) throw Failure(Reason::configuration, "this libcurl can't decompress; set TransportOptions::compress to false");
  return std::string(zstd ? "zstd" : "") + (zstd && gzip ? ", " : "") + (gzip ? "gzip" : "");
}

/// A statement on its way. `stop_at` is on the control's clock.
struct Request {
  std::string sql;
  Parameters parameters{};
  Millis stop_at{};
};

/// One connection and the answer that comes over it.
class Exchange {
 public:
  Exchange(const Endpoint& endpoint, const TransportOptions& options) : endpoint_(endpoint) {
    static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
    easy_ = global == CURLE_OK ? curl_easy_init() : nullptr;
    multi_ = curl_multi_init();
    if (easy_ == nullptr || multi_ == nullptr) {
      release();
      throw Failure(Reason::unknown, "libcurl can't be started").at(endpoint_.where);
    }
    add_header("X-ClickHouse-User: ", endpoint_.user);
    add_header("X-ClickHouse-Key: ", endpoint_.password);
    headers_ = curl_slist_append(headers_, "Expect:");
    headers_ = curl_slist_append(headers_, "Content-Type: text/plain");
    set(CURLOPT_HTTPHEADER, headers_);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));  // only there an unchunked, unmeasured body shows
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_PROXY, options.proxy.c_str());
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    set(CURLOPT_TCP_KEEPALIVE, 1L);
    set(CURLOPT_BUFFERSIZE, 256L << 10);
    set(CURLOPT_USERAGENT, "epochcut");
    set(CURLOPT_SSL_VERIFYPEER, options.verify_tls ? 1L : 0L);
    set(CURLOPT_SSL_VERIFYHOST, options.verify_tls ? 2L : 0L);
    if (options.compress) set(CURLOPT_ACCEPT_ENCODING, encodings().c_str());
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    set(CURLOPT_ERRORBUFFER, error_);
    set(CURLOPT_WRITEFUNCTION, &on_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_HEADERFUNCTION, &on_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(this));
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() { release(); }

  void start(Request request) {
    request_ = std::move(request);
    body_.clear();
    status_ = 0;
    server_.clear();
    body_given_ = framed_ = paused_ = done_ = broken_ = false;
    error_[0] = '\0';
    std::string url = endpoint_.base;
    char separator = '?';
    const auto append = [&](const std::string& name, const std::string& value) {
      url += separator + escaped(name) + "=" + escaped(value);
      separator = '&';
    };
    if (!endpoint_.database.empty()) append("database", endpoint_.database);
    for (const auto& [name, value] : request_.parameters) append(name, value);
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.sql.size()));
    set(CURLOPT_POSTFIELDS, request_.sql.data());
    curl_multi_add_handle(multi_, easy_);
    running_ = true;
  }

  /// More of the body, valid until the next call; empty once it has ended properly. Errors: everything that a network, a server or an impatient caller can do.
  std::string_view read(const Control& control) {
    if (body_given_) body_.clear();
    while (!done_ && (body_.empty() || status_ != 200)) wait(control);
    if (status_ != 200) {
      Failure failure = status_failure();
      broken_ = failure.engine_code == "216";  // libcurl lost a kept-alive connection and asked again, while the first statement is still at work
      throw failure;
    }
    if (!framed_)  // before a byte of it is decoded
      throw failure(Reason::incomplete, "the answer has neither a length nor chunks, so nobody can tell whether it is whole; ask without the proxy between")
          .poison();
    body_given_ = true;
    return body_;
  }

  /// Of the answer's body so far, as it crossed the wire: before it was decompressed.
  std::uint64_t wire_bytes() const {
    curl_off_t bytes = 0;
    curl_easy_getinfo(easy_, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
    return static_cast<std::uint64_t>(bytes);
  }
  /// X-ClickHouse-Server-Display-Name of this very answer, empty before its headers came.
  const std::string& server() const { return server_; }
  const std::string& where() const { return endpoint_.where; }
  const std::string& sql() const { return request_.sql; }
  bool running() const { return running_; }
  bool reusable() const { return !running_ && !broken_ && status_ == 200; }
  bool broken() const { return broken_; }  ///< its connection ended before its answer: the server may still be at work

 private:
  template <class T>
  void set(CURLoption option, T value) {
    curl_easy_setopt(easy_, option, value);
  }

  void add_header(std::string_view name, const std::string& value) {
    if (value.empty()) return;
    for (const char c : value)
      if (c == '\r' || c == '\n' || c == '\0')
        throw Failure(Reason::configuration, "the ClickHouse user and password can't hold a line end").at(endpoint_.where);
    headers_ = curl_slist_append(headers_, (std::string(name) + value).c_str());
  }

  static std::string escaped(const std::string& text) {
    char* raw = curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size()));
    std::string copy(raw == nullptr ? "" : raw);
    curl_free(raw);
    return copy;
  }

  void release() {
    if (easy_ != nullptr && multi_ != nullptr && running_) curl_multi_remove_handle(multi_, easy_);
    if (easy_ != nullptr) curl_easy_cleanup(easy_);
    if (multi_ != nullptr) curl_multi_cleanup(multi_);
    curl_slist_free_all(headers_);
  }

  void wait(const Control& control) {
    control.check();
    if (control.clock->now() >= request_.stop_at)
      throw failure(Reason::timeout, "the statement took longer than ClickHouseOptions::statement_timeout; give it more time or a smaller query").poison();
    if (paused_ && body_.size() < body_buffer_max) {
      paused_ = false;
      curl_easy_pause(easy_, CURLPAUSE_CONT);
    }
    int busy = 0;
    curl_multi_perform(multi_, &busy);
    int queued = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &queued))
      if (message->msg == CURLMSG_DONE) return ended(message->data.result);
    if (body_.empty() || (status_ != 0 && status_ != 200)) curl_multi_poll(multi_, nullptr, 0, static_cast<int>(cancel_poll.count()), nullptr);
  }

  void ended(CURLcode code) {
    curl_multi_remove_handle(multi_, easy_);
    running_ = false;
    done_ = true;
    broken_ = code != CURLE_OK;
    if (broken_) throw curl_failure(code);
  }

  Failure failure(Reason reason, const std::string& why) const {
    return Failure(reason, "ClickHouse at " + endpoint_.where + ": " + why).statement(request_.sql).at(endpoint_.where);
  }

  Failure curl_failure(CURLcode code) const {
    const std::string why = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        return failure(Reason::timeout, "no connection in time (" + why + "); check that the server runs, and that it speaks TLS there if the URL says https")
            .poison();
      case CURLE_COULDNT_RESOLVE_PROXY:  // libcurl's sentence quotes a proxy that it can't read, password and all
        return failure(Reason::connection, "TransportOptions::proxy can't be read or resolved; write it as http://user:password@host:port").poison();
      case CURLE_SSL_CACERT_BADFILE:
        return failure(Reason::configuration, "TransportOptions::ca_file can't be used (" + why + "); name a file of PEM certificates");
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CONNECT_ERROR:
      case CURLE_SSL_CERTPROBLEM:
        return failure(Reason::connection, "no trusted TLS connection (" + why + "); check the server's certificate, or name its authority in ca_file");
      default: break;
    }
    if (status_ == 200) return failure(Reason::incomplete, "the connection was cut in the middle of the answer (" + why + "); ask again").poison();
    return failure(Reason::connection, "no answer (" + why + "); check that the server runs and can be reached").poison();
  }

  Failure status_failure() const {
    if (body_.find("DB::Exception") != std::string::npos) return server_failure(redacted(body_), request_.sql, endpoint_.where);
    const std::string answer = "the answer is HTTP " + std::to_string(status_) + " and not from ClickHouse; check the address and what stands between";
    if (status_ == 401 || status_ == 403) return failure(Reason::authentication, answer);
    Failure f = failure(Reason::connection, answer);
    f.retryable = status_ == 429 || status_ >= 500;
    return f;
  }

  /// A proxy's error page may show the request that it did not like, headers and all.
  std::string redacted(std::string text) const {
    for (const std::string& secret : {endpoint_.password, escaped(endpoint_.password)})
      for (std::size_t at = secret.empty() ? std::string::npos : text.find(secret); at != std::string::npos; at = text.find(secret, at + 3))
        text.replace(at, secret.size(), "***");
    return text;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self_) {
    auto& self = *static_cast<Exchange*>(self_);
    if (self.status_ != 200) {
      self.body_.append(data, std::min(size, error_body_max - std::min(error_body_max, self.body_.size())));
      return size;
    }
    if (self.body_.size() >= body_buffer_max) {
      self.paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    self.body_.append(data, size);
    return size;
  }

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self_) {
    auto& self = *static_cast<Exchange*>(self_);
    std::string_view line(data, size);
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {
      long status = 0;
      curl_easy_getinfo(self.easy_, CURLINFO_RESPONSE_CODE, &status);
      self.status_ = status;
      self.framed_ = false;
      return size;
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    std::string name;
    for (const char c : line.substr(0, colon)) name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    line.remove_prefix(colon + 1);
    while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
    if (name == "content-length") self.framed_ = true;
    if (name == "transfer-encoding" && line.ends_with("chunked")) self.framed_ = true;
    if (name == "x-clickhouse-server-display-name") self.server_ = line;
    return size;
  }

  Endpoint endpoint_;
  CURL* easy_ = nullptr;
  CURLM* multi_ = nullptr;
  curl_slist* headers_ = nullptr;
  Request request_;
  std::string body_, server_;
  long status_ = 0;
  bool body_given_ = false, framed_ = false, paused_ = false, done_ = false, running_ = false, broken_ = false;
  char error_[CURL_ERROR_SIZE] = {};
};

/// Hands out connections and keeps the ones that ended well. Thread-safe.
class Transport {
 public:
  /// Errors: `configuration` if another machine's certificate is not to be verified.
  Transport(Endpoint endpoint, TransportOptions options) : endpoint_(std::move(endpoint)), options_(std::move(options)) {
    if (options_.verify_tls || !endpoint_.base.starts_with("https:")) return;
    const std::string_view host = std::string_view(endpoint_.where).substr(0, endpoint_.where.rfind(':'));
    if (host == "localhost" || host == "[::1]" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos)) return;
    throw Failure(Reason::configuration,
                  "ClickHouse at " + endpoint_.where +
                      " is another machine, and with verify_tls = false anyone between could answer for it; name its authority in ca_file")
        .at(endpoint_.where);
  }

  const Endpoint& endpoint() const { return endpoint_; }

  std::unique_ptr<Exchange> start(Request request) {
    std::unique_ptr<Exchange> exchange;
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) exchange = std::move(idle_.back()), idle_.pop_back();
    }
    if (!exchange) exchange = std::make_unique<Exchange>(endpoint_, options_);
    exchange->start(std::move(request));
    return exchange;
  }

  void keep(std::unique_ptr<Exchange> exchange) {
    const std::lock_guard lock(mutex_);
    if (exchange && exchange->reusable() && idle_.size() < idle_connections_max) idle_.push_back(std::move(exchange));
  }

 private:
  Endpoint endpoint_;
  TransportOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Exchange>> idle_;
};

}  // namespace epochcut::clickhouse
