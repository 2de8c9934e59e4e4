// What is a ClickHouse server told with every statement, and what do its errors mean?
// Layer: source; text only, no I/O. Stateless. Shared by every way to reach one: over HTTP and in process.
// Source: the vendor's manual, "Query complexity"; measured on 18.16 and 26.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/core/failure.hpp>

namespace epochcut::clickhouse {

using Parameters = std::vector<std::pair<std::string, std::string>>;

/// Known to every server since 18.16. With any of these left to a profile, an answer of 200 may hold 6 of 200 000 rows.
inline constexpr std::pair<std::string_view, std::string_view> pinned_settings[] = {
    {"readonly", "2"},  // a server allows it to whoever has 0 or 2
    {"max_result_rows", "0"},
    {"max_result_bytes", "0"},
    {"result_overflow_mode", "throw"},
    {"read_overflow_mode", "throw"},
    {"timeout_overflow_mode", "throw"},
    {"group_by_overflow_mode", "throw"},
    {"sort_overflow_mode", "throw"},
    {"set_overflow_mode", "throw"},
    {"join_overflow_mode", "throw"},
    {"transfer_overflow_mode", "throw"},
    {"distinct_overflow_mode", "throw"},
    {"skip_unavailable_shards", "0"},
    {"fallback_to_stale_replicas_for_distributed_queries", "0"},
    {"distributed_group_by_no_merge", "0"},
    {"max_parallel_replicas", "1"},
    {"use_uncompressed_cache", "0"},
    {"extremes", "0"},
    {"send_progress_in_http_headers", "0"},
    {"enable_http_compression", "0"},
};

/// Of later servers; an unknown setting is an error, so each server is asked once which of these it has.
inline constexpr std::pair<std::string_view, std::string_view> pinned_if_known[] = {
    {"cancel_http_readonly_queries_on_client_close", "1"},
    {"read_overflow_mode_leaf", "throw"},
    {"timeout_overflow_mode_leaf", "throw"},
    {"limit", "0"},
    {"offset", "0"},
    {"use_query_cache", "0"},
    {"final", "0"},
    {"additional_result_filter", ""},
    {"additional_table_filters", "{}"},
    {"aggregate_functions_null_for_empty", "0"},
    {"prefer_column_name_to_alias", "0"},
    {"enable_parallel_replicas", "0"},
    {"apply_deleted_mask", "1"},
    {"apply_patch_parts", "1"},
    {"empty_result_for_aggregation_by_empty_set", "0"},
    {"output_format_native_encode_types_in_binary_format", "0"},
    {"http_write_exception_in_output_format", "0"},
};

/// What a server's code means for the caller.
struct CodeMeaning {
  Reason reason;
  bool retryable;
  std::string_view advice;
};

inline CodeMeaning meaning_of(int code) {
  switch (code) {
    case 60: return {Reason::not_found, false, "create the table, or name the right database"};
    case 81: return {Reason::not_found, false, "create the database, or name another one"};
    case 218: return {Reason::not_found, true, "the table was dropped while it was read"};
    case 16:
    case 47: return {Reason::schema, false, "the table has no such column; correct the query"};
    case 43:
    case 53: return {Reason::schema, false, "a column has a type that the query does not fit"};
    case 62: return {Reason::syntax, false, "the server does not understand the statement"};
    case 69:
    case 407: return {Reason::overflow, false, "a number does not fit its type"};
    case 115: return {Reason::configuration, false, "the server does not know a setting; correct the settings in the source's options"};
    case 164:
      return {Reason::configuration, false, "the user's profile forbids to pin settings; give it readonly = 2 instead of 1, for then it still can't write"};
    case 158:
    case 307:
    case 396: return {Reason::too_large, false, "the user's profile limits what one query reads; aggregate, or raise its limit"};
    case 159: return {Reason::timeout, true, "the statement took longer than it was given"};
    case 209: return {Reason::timeout, true, "the server lost time on its network"};
    case 192:
    case 193:
    case 194:
    case 195:
    case 291:
    case 497:
    case 516: return {Reason::authentication, false, "check the user, its password, and what it may read"};
    case 216: return {Reason::connection, true, "the connection was cut and made anew while the server was at work; ask again"};
    case 202: return {Reason::connection, true, "the server runs as many queries as it may; ask again"};
    case 210:
    case 279: return {Reason::connection, true, "the server could not reach another one"};
    case 394: return {Reason::cancelled, true, "somebody stopped the query on the server"};
    case 201: return {Reason::unknown, true, "the user's quota is used up; ask again later"};
    case 241: return {Reason::unknown, true, "the server has no memory left for it; ask again, or aggregate"};
    default: return {Reason::unknown, false, {}};
  }
}

/// A server's exception as a Failure. Shape: 18.16 writes "Code: 60, e.displayText() = DB::Exception: why, e.what() = DB::Exception",
/// later ones "Code: 60. DB::Exception: why (UNKNOWN_TABLE)".
inline Failure server_failure(std::string_view text, const std::string& sql, const std::string& where) {
  int code = 0;
  if (const auto at = text.find("Code: "); at != std::string_view::npos) std::from_chars(text.data() + at + 6, text.data() + text.size(), code);
  std::string_view why = text;
  constexpr std::string_view begin = "DB::Exception: ", end = ", e.what() = ";
  if (const auto at = why.find(begin); at != std::string_view::npos) why.remove_prefix(at + begin.size());
  if (const auto at = why.rfind(end); at != std::string_view::npos) why = why.substr(0, at);
  while (!why.empty() && (why.back() == '\n' || why.back() == '\r' || why.back() == '.')) why.remove_suffix(1);
  constexpr std::size_t sentence_max = 1'000;
  const CodeMeaning meaning = meaning_of(code);
  Failure failure(meaning.reason, "ClickHouse at " + where + " says: " + std::string(why.substr(0, sentence_max)) +
                                      (meaning.advice.empty() ? "" : "; " + std::string(meaning.advice)));
  failure.retryable = meaning.retryable;
  return std::move(failure).code(code == 0 ? "" : std::to_string(code)).statement(sql).at(where);
}

}  // namespace epochcut::clickhouse
