#include "exchange/authority.hpp"

#include <charconv>
#include <string_view>

#include "exchange/stream.hpp"

namespace exchange {

using epochcut::AuthorityRow;
using epochcut::Failure;
using epochcut::Reason;

namespace {

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw Failure(Reason::schema, "the authority's row says \"" + std::string(text) + "\" where a number must stand");
  return value;
}

}  // namespace

epochcut::postgres::AuthorityTables authority_tables(const Layout& layout) {
  const std::string s = layout.schema + ".";
  return {.token = s + "resume_tokens", .verdicts = s + "epochcut_verdict", .chains = s + "epochcut_chain", .seams = s + "epochcut_seam"};
}

void read_limits(const PostgresResult& result, int first, AuthorityRow& row) {
  row.marker.reset(), row.hold_at.reset();
  if (!result(0, first).empty()) row.marker = {number(result(0, first)), std::string(result(0, first + 1)), std::string(result(0, first + 2))};
  if (!result(0, first + 3).empty()) row.hold_at = number(result(0, first + 3));
}

AuthorityRow read_authority(PostgresWriter& ledger, const Layout& layout) {
  const PostgresResult result = ledger.prepared("authority of " + layout.schema, epochcut::postgres::read_authority(authority_tables(layout)),
                                                {std::string(stream_id), layout.authority});
  if (result.rows() != 1)
    throw Failure(Reason::missing_token, "there is no token of authority " + layout.authority + " in " + layout.schema + "; create the tables first");
  AuthorityRow row;
  row.authority = layout.authority;
  row.generation = number(result(0, 0));
  row.owner = result(0, 1);
  row.committed_seq = number(result(0, 2));
  const auto chain = epochcut::chain_of(result(0, 3));
  if (!chain) throw Failure(Reason::schema, "the chain of authority " + layout.authority + " is not 16 bytes long");
  row.chain = *chain;
  read_limits(result, 4, row);
  row.arms = number(result(0, 8));
  return row;
}

}  // namespace exchange
