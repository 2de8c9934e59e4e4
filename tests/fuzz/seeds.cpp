// Writes inputs to begin with, one folder per harness: sound answers of every type, and what users write rightly. corpus.sh calls it.
// usage: seeds FOLDER
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/copy_bodies.hpp"
#include "fuzz/native_bodies.hpp"

namespace {

std::filesystem::path folder;
int written = 0;

/// An input: what the harness reads first, and the rest. `kept` is one that reaches no branch of its own and matters all the same: a limit, a quote.
void seed(const char* harness, std::initializer_list<int> head, std::string_view rest, bool kept = false) {
  std::filesystem::create_directories(folder / harness);
  std::ofstream out(folder / harness / ((kept ? "kept" : "seed") + std::to_string(written++)), std::ios::binary);
  for (const int byte : head) out << static_cast<char>(byte);
  out << rest;
}

/// Bytes that describe a value without favouring any.
std::string noise(std::size_t size, std::uint64_t state) {
  std::string bytes;
  while (bytes.size() < size) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    bytes += static_cast<char>(state >> 56);
  }
  return bytes;
}

void native() {
  const auto body = [](const std::string& description) {
    fuzz::Input input(reinterpret_cast<const std::uint8_t*>(description.data()), description.size());
    return fuzz::any_body(input).bytes;
  };
  for (std::size_t type = 0; type < std::size(fuzz::native_types); ++type)
    for (const int nullable : {0, 0x80}) {
      // Two blocks of one column.
      const std::string description = std::string("\2\0", 2) + static_cast<char>(nullable | static_cast<int>(type)) + "\3" + noise(200, type);
      seed("native", {static_cast<int>(type), 0}, body(description));
      seed("native", {static_cast<int>(type), 1}, description);
    }
  for (std::uint64_t i = 0; i < 10; ++i) seed("native", {static_cast<int>(i), 0}, body("\3\3" + noise(400, 1000 + i)));
  const std::string sound = body(std::string("\1\0\3\1", 4) + noise(20, 1));
  for (const char* end :
       {"Code: 60, e.displayText() = DB::Exception: no table, e.what() = DB::Exception", "Code: 60. DB::Exception: no table (UNKNOWN_TABLE)", "__exception__"})
    seed("native", {1, 0}, end), seed("native", {2, 0}, sound + end);
}

void copy() {
  for (std::size_t type = 0; type < std::size(fuzz::copy_types); ++type) {
    const char which = static_cast<char>(type);
    const bool numeric = fuzz::copy_types[type] == epochcut::copy_binary::oid::numeric;
    const std::string column = which + (numeric ? std::string("\xFF\xFF\xFF\xFF") : std::string());
    const std::string description = std::string("\0\7", 2) + column + noise(200, type);
    fuzz::Input input(reinterpret_cast<const std::uint8_t*>(description.data()), description.size());
    seed("copy_binary", {static_cast<int>(type), 0, 1}, column + fuzz::any_copy(input).bytes);
    seed("copy_binary", {static_cast<int>(type), 1}, description);
  }
  for (std::uint64_t i = 0; i < 10; ++i) seed("copy_binary", {static_cast<int>(i), 1}, "\4\10" + noise(400, 2000 + i));
}

void literals() {
  for (const char* text : {"", "plain", "it's", "back\\slash", "`tick`", "\"name\"", "a''b", "\\'", "\\\\'; DROP TABLE t --", "line\nend", "schema.table",
                           "\"a.b\".c", "\xC3\xA9\xFF"}) {
    seed("literals", {0}, text, true);
    seed("literals", {4}, text, true);
    seed("literals", {5}, noise(8, 7) + text);
    const std::string size(1, static_cast<char>(std::string_view(text).size()));
    for (const int statement : {3, 6})
      for (const int shape : {0, 1, 2, 16, 17, 18, 24}) seed("literals", {statement, 0, shape, 1, 't', 1, 'c'}, size + text);
    seed("literals", {3, 0, 1}, size + text + size + text + size + text);
    seed("literals", {6, 0, 1, 1, 't'}, size + text + size + text);
  }
  for (std::uint64_t i = 0; i < 8; ++i) seed("literals", {1}, noise(17, i)), seed("literals", {2, static_cast<int>(i)}, noise(40, i));
  // A comparison, an integer of two bytes and a literal a little beside it.
  for (const int comparison : {0, 2, 3, 4, 5})
    for (const char* word : {"\5\0\0\0\0\0\0\0", "\xFB\xFF\xFF\xFF\xFF\xFF\xFF\xFF"})
      seed("literals", {2, comparison, 0, 1}, std::string(word, 8) + "\3\1\x81", true);
}

void config() {
  for (const char* url : {"http://127.0.0.1:8123/?database=db", "https://user:secret@host:8443/?database=db", "http://host", "http://[::1]:8123/path/",
                          "http://h/?user=u&password=p%40&database=", "http://u:%31%32@h/?database=d&max_threads=4", "ftp://h", "http://u:a/b@h",
                          "http://u:a#b@h", "http://u:a?b@h"})
    seed("config", {0}, url);
  for (const char* dsn :
       {"host=127.0.0.1 port=5432 user=u password='a b' dbname=d sslmode=require", "postgresql://u:p%40@127.0.0.1:5432/d?connect_timeout=3", "hots=h",
        "host=h passwort=x", "postgresql:///d?host=/tmp", "host='a\\'b'", "postgresql://u@[::1]:5432/d", "user=u options='-c search_path=x'"})
    seed("config", {3}, dsn);
  for (std::uint64_t i = 0; i < 8; ++i)
    for (const int property : {1, 2, 4, 5, 6}) seed("config", {property}, noise(24, 16 * i + static_cast<std::uint64_t>(property)));
  seed("config", {6, 3}, "\1\2\4\50FATAL:  28P01: password is \3 in \3");
  for (const char* says : {"Code: 60, e.displayText() = DB::Exception: no table, e.what() = DB::Exception",
                           "Code: 516. DB::Exception: user: Authentication failed (AUTHENTICATION_FAILED)\n"})
    seed("config", {7}, says);
}

void values() {
  const char* const texts[][4] = {
      {"true", "false", "t", "1"},
      {"-9223372036854775808", "9223372036854775807", "1.0", "9223372036854775808"},
      {"18446744073709551615", "0", "-0", "+1"},
      {"-99999999999999999999999999999999999999", "0.00000000000000000000000000000000000001", "0.000000000000000000000000000000000000001", ".5"},
      {"0.1", "-2.25e300", "nan", "5e-324"},
      {"", "text", "NULL", "\xFF"},
      {"00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF", "00112233445566778899aabbccddeeff", "x"},
      {"1970-01-01T00:00:00Z", "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z", "2024-02-29 23:59:59.5Z"},
      {"2024-02-29", "2023-02-29", "-0044-03-15", "5881580-07-11"}};
  for (std::size_t type = 0; type < std::size(texts); ++type) {
    for (const char* text : texts[type]) seed("values", {static_cast<int>(4 * type)}, text, true);
    for (std::uint64_t i = 0; i < 3; ++i) seed("values", {static_cast<int>(4 * type + 1)}, noise(24, i));
  }
  for (const char* type : fuzz::native_types)
    for (const std::string& name : {std::string(type), "Nullable(" + std::string(type) + ")", "LowCardinality(Nullable(" + std::string(type) + "))"})
      seed("values", {2}, name);
  for (const char* type :
       {"Enum8('a' = 127)", "Enum8('a' = 128)", "Enum8('a' = -128)", "Enum16('a' = 32767)", "Enum16('a' = 32768)", "Decimal(77, 1)", "Decimal(9, 10)"})
    seed("values", {2}, type, true);
  for (std::uint64_t i = 0; i < 6; ++i) seed("values", {3}, noise(40, 3000 + i));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  native(), copy(), literals(), config(), values();
  std::printf("%d inputs\n", written);
  return 0;
}
