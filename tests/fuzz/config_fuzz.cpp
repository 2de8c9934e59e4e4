// What users write to say where a server is: what was meant arrives, and a password gets into nothing that people see, however badly it is written.
// Input: 1 byte which property; the rest is read as that property says. libpq's functions that would knock at a port are replaced: nothing is sent.
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/source/clickhouse_http.hpp>
#include <epochcut/source/postgres_connection.hpp>

#include "fuzz/input.hpp"

using namespace epochcut;
using fuzz::Input;
using fuzz::require;

namespace {

/// What reached libpq, and what it is to say to it.
struct Asked {
  std::map<std::string, std::string> values{};
  std::optional<std::string> refusal{};  ///< none: no connection at all
};
Asked asked;

PGconn* const no_connection = reinterpret_cast<PGconn*>(&asked);

}  // namespace

extern "C" {
PGconn* PQconnectStartParams(const char* const* keywords, const char* const* values, int) {
  for (std::size_t i = 0; keywords[i] != nullptr; ++i) asked.values[keywords[i]] = values[i];
  return asked.refusal ? no_connection : nullptr;
}
PQconninfoOption* PQconninfo(PGconn*) { return nullptr; }
ConnStatusType PQstatus(const PGconn*) { return CONNECTION_BAD; }
PGTransactionStatusType PQtransactionStatus(const PGconn*) { return PQTRANS_UNKNOWN; }
char* PQerrorMessage(const PGconn*) { return asked.refusal->data(); }
char* PQpass(const PGconn*) { return asked.values["password"].data(); }
int PQconnectionNeedsPassword(const PGconn*) { return 0; }
PGVerbosity PQsetErrorVerbosity(PGconn*, PGVerbosity) { return PQERRORS_DEFAULT; }
PQnoticeProcessor PQsetNoticeProcessor(PGconn*, PQnoticeProcessor, void*) { return nullptr; }
void PQfinish(PGconn*) {}
}

namespace {

/// Letters that stand in no sentence, no keyword and no address of ours: wherever one is seen, a secret was.
constexpr std::string_view secret_letters = "ZJW";

/// A password as a careless hand writes it: secret letters and everything that means something in a URL or a connection string.
std::string secret(std::string_view bytes) {
  constexpr std::string_view others = "1/?#@:&=%[]\\ '\"+,;.\n";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte % 3 != 0 ? secret_letters[byte / 3 % secret_letters.size()] : others[byte / 3 % others.size()];
  }
  return text;
}

void require_no_secret(std::string_view text) { require(text.find_first_of(secret_letters) == std::string_view::npos, "a password is seen nowhere", text); }

std::string percent(std::string_view text) {
  std::string encoded;
  for (const char c : text) encoded += "%" + fuzz::hex(std::string_view(&c, 1));
  return encoded;
}

std::optional<clickhouse::Endpoint> parse(const std::string& url) {
  try {
    return clickhouse::parse_url(url);
  } catch (const Failure& failure) {
    require(failure.kind == Reason::configuration, "a URL is refused with its reason", failure.message);
    require_no_secret(failure.message);
    require_no_secret(failure.where);
    return std::nullopt;
  }
}

void any_url(std::string_view url) {
  const auto endpoint = parse(std::string(url.substr(0, url.find('\0'))));
  if (!endpoint) return;
  require(endpoint->base.starts_with("http://") || endpoint->base.starts_with("https://"), "only HTTP is spoken", endpoint->base);
  require(endpoint->base.find(endpoint->where) != std::string::npos && endpoint->base.find('@') == std::string::npos, "an address has no user in it",
          endpoint->base);
}

void url_with_secret(Input& input) {
  const std::string password = secret(input.rest());
  const auto endpoint = parse("http://user:" + password + "@127.0.0.1:8123/?database=db");
  if (!endpoint) return;
  require_no_secret(endpoint->base);
  require_no_secret(endpoint->where);
  require_no_secret(endpoint->user);
  require_no_secret(endpoint->database);
  require(endpoint->where == "127.0.0.1:8123" && endpoint->user == "user" && endpoint->database == "db", "a password moves nothing", password, endpoint->where);
}

/// Everything escaped, as the documents say, arrives as it was meant.
void url_escaped(Input& input) {
  const bool in_query = input.byte() % 2 != 0;
  const std::string user(input.text()), password(input.text()), database(input.text());
  const std::string url = in_query ? "https://127.0.0.1/?database=" + percent(database) + "&user=" + percent(user) + "&password=" + percent(password)
                                   : "https://" + percent(user) + ":" + percent(password) + "@127.0.0.1/?database=" + percent(database);
  const auto endpoint = parse(url);
  if (!endpoint) {
    const auto control = [](const std::string& text) {
      for (const char c : text)
        if (static_cast<unsigned char>(c) < 0x20) return true;
      return false;
    };
    require(!in_query && (control(user) || control(password)), "what is escaped is taken", url);
    return;
  }
  require(endpoint->user == user && endpoint->password == password && endpoint->database == database, "what is escaped arrives", url);
  require(endpoint->where == "127.0.0.1:8443", "a port is known by its scheme", endpoint->where);
}

/// Opens, as far as it gets without a server; gives what failed and where.
std::pair<Failure, std::string> open(const std::string& dsn, std::optional<std::string> refusal = std::nullopt) {
  asked = {.refusal = std::move(refusal)};
  postgres::Connection connection(dsn, {});
  try {
    connection.open(Control{});
  } catch (Failure& failure) {
    return {failure, connection.where()};
  }
  fuzz::broken("nothing is opened without a server", dsn);
}

void any_dsn(std::string_view dsn) {
  const auto [failure, where] = open(std::string(dsn.substr(0, dsn.find('\0'))));
  // The one word that is repeated is a slip in a keyword, such as hots.
  if (failure.kind == Reason::configuration && failure.message.find("unknown keyword") == std::string::npos) require_no_secret(failure.message);
}

std::string quoted(std::string_view value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

void dsn_escaped(Input& input) {
  const bool uri = input.byte() % 2 != 0;
  std::string password(input.rest());
  password.erase(std::remove(password.begin(), password.end(), '\0'), password.end());
  const auto [failure, where] = open(uri ? "postgresql://user:" + percent(password) + "@127.0.0.1:5432/db"
                                         : "host=127.0.0.1 port=5432 user=user password=" + quoted(password) + " dbname=db");
  require(failure.kind == Reason::connection, "what is escaped is taken", failure.message);
  require(asked.values["password"] == password && asked.values["host"] == "127.0.0.1" && asked.values["user"] == "user", "what is escaped arrives");
  require(where == "127.0.0.1:5432/db", "where has no password", where);
}

void dsn_with_secret(Input& input) {
  const std::size_t form = input.below(3);
  const std::string password = secret(input.rest());
  const std::string dsn = form == 0   ? "postgresql://user:" + password + "@127.0.0.1:5432/db"
                          : form == 1 ? "host=127.0.0.1 port=5432 user=user dbname=db password=" + password
                                      : "host=127.0.0.1 port=5432 user=user password='" + password + "' dbname=db";
  const auto [failure, where] = open(dsn);
  require_no_secret(failure.message);
  require_no_secret(failure.where);
  require_no_secret(where);
  if (failure.kind == Reason::connection)
    require(asked.values["host"] == "127.0.0.1" && asked.values["port"] == "5432" && asked.values["dbname"] == "db", "a password moves nothing", dsn);
}

/// A server that repeats the password in its answer.
void server_with_secret(Input& input) {
  const std::string password = secret(input.text());
  std::string answer;
  for (int i = 0; i < 3; ++i) {
    for (const char c : input.text())
      if (c != '\0' && secret_letters.find(c) == std::string_view::npos) answer += c;
    answer += password;
  }
  // A password without a secret letter may be any word; one with two stars is what it is replaced with.
  if (password.find_first_of(secret_letters) == std::string::npos) return;
  const auto [failure, where] = open("host=127.0.0.1 user=user password=" + quoted(password), answer);
  require_no_secret(failure.message);
  require_no_secret(failure.engine_code);
}

void server_says(Input& input) {
  const Failure failure = clickhouse::server_failure(input.rest(), "SELECT 1", "127.0.0.1:8123");
  require(failure.message.size() < 1'500, "a server's sentence is no longer than a sentence", failure.message);
  require(failure.where == "127.0.0.1:8123" && failure.sql == "SELECT 1", "where and what are ours");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  switch (input.below(8)) {
    case 0: any_url(input.rest()); break;
    case 1: url_with_secret(input); break;
    case 2: url_escaped(input); break;
    case 3: any_dsn(input.rest()); break;
    case 4: dsn_escaped(input); break;
    case 5: dsn_with_secret(input); break;
    case 6: server_with_secret(input); break;
    default: server_says(input);
  }
  return 0;
}
