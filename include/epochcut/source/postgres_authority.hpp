// How is an authority handed over, where PostgreSQL keeps its row?
// Layer: source, leaf: needs libpq. Not thread-safe. The only header of the library that writes: the marker, and with it who owns the authority;
// its role needs UPDATE on those columns and on nothing else. Source: docs/operations/cutover.md; statements: authority_sql.hpp.
#pragma once

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/operate/splice.hpp>
#include <epochcut/source/authority_sql.hpp>
#include <epochcut/source/postgres_connection.hpp>

namespace epochcut {

/// One authority of one stream, in one PostgreSQL. Connects at first use; after an error the next call connects again.
class PostgresAuthority {
 public:
  PostgresAuthority(std::string dsn, std::string stream, std::string authority = "production", postgres::AuthorityTables tables = {},
                    PostgresOptions options = {.statement_timeout = Millis{10'000}}, Control control = {})
      : session_(std::move(dsn), options), stream_(std::move(stream)), authority_(std::move(authority)), tables_(std::move(tables)), control_(control) {}

  /// Errors: `missing_token`, `schema`, and any of a connection.
  AuthorityRow read() {
    const postgres::Result result = session_.read(postgres::read_authority(tables_), list({stream_, authority_}), control_);
    if (PQntuples(result.get()) == 0)
      throw Failure(Reason::missing_token, "there is no token of authority " + authority_ + " of stream " + stream_ + " in " + tables_.token + " at " +
                                               session_.where() + "; create the tables, or correct the names");
    AuthorityRow row;
    row.authority = authority_;
    row.generation = number(result, 0, 0);
    row.owner = text(result, 0, 1);
    row.committed_seq = number(result, 0, 2);
    const std::optional<Chain> chain = chain_of(text(result, 0, 3));
    if (!chain) throw Failure(Reason::schema, "the chain of authority " + authority_ + " is not 16 bytes long; correct the writer");
    row.chain = *chain;
    if (!null(result, 0, 4)) row.marker = StopMarker{number(result, 0, 4), text(result, 0, 5), text(result, 0, 6)};
    if (!null(result, 0, 7)) row.hold_at = number(result, 0, 7);
    row.arms = number(result, 0, 8);
    return row;
  }

  bool arm(const ArmRequest& r) {
    return changed(postgres::arm(tables_),
                   {stream_, authority_, std::to_string(r.generation), std::to_string(r.stop_at), r.successor, r.splice_id, r.build_id,
                    std::to_string(r.verdict_seq_min), std::to_string(r.verdict_age_max.count()), r.arms ? std::to_string(*r.arms) : "-1"});
  }
  bool disarm(const std::string& splice_id) { return changed(postgres::disarm(tables_), {stream_, authority_, splice_id}); }
  bool flip(const std::string& splice_id) { return changed(postgres::flip(tables_), {stream_, authority_, splice_id}); }

  std::optional<SeamRow> seam(const std::string& splice_id) {
    const postgres::Result result = session_.read(postgres::read_seam(tables_), list({splice_id}), control_);
    if (PQntuples(result.get()) == 0) return std::nullopt;
    return SeamRow{splice_id, number(result, 0, 0), number(result, 0, 1), number(result, 0, 2)};
  }

  /// Lets this authority, a shadow, stand at `at` for a gate, for at most `at_most`. False: it is past that already.
  bool hold(std::uint64_t at, Millis at_most) {
    return changed(postgres::hold(tables_), {stream_, authority_, std::to_string(at), std::to_string(at_most.count())});
  }
  void release() { changed(postgres::release(tables_), {stream_, authority_}); }

  /// `decision`: go, no_go, not_yet, void or override. `proof`: JSON. Errors: as of any statement; a verdict_id that is there already is one.
  void record_verdict(const std::string& verdict_id, const std::string& candidate, const std::string& build_id, std::uint64_t sequence,
                      const std::string& decision, const std::string& reason, const std::string& proof, const std::string& signed_off_by) {
    changed(postgres::record_verdict(tables_), {verdict_id, authority_, candidate, build_id, std::to_string(sequence), decision, reason, proof, signed_off_by});
  }

  const std::string& where() const { return session_.where(); }

 private:
  static std::vector<std::string> list(std::initializer_list<std::string> values) { return values; }
  static bool null(const postgres::Result& result, int row, int column) { return PQgetisnull(result.get(), row, column) != 0; }
  static std::string text(const postgres::Result& result, int row, int column) { return std::string(postgres::cell(result, row, column)); }

  static std::uint64_t number(const postgres::Result& result, int row, int column) {
    const std::string_view cell = postgres::cell(result, row, column);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
    if (error != std::errc{} || end != cell.data() + cell.size())
      throw Failure(Reason::schema, "the authority's row says \"" + std::string(cell) + "\" where a number must stand; correct the writer");
    return value;
  }

  bool changed(const std::string& sql, std::initializer_list<std::string> parameters) {
    const postgres::Result result = session_.write(sql, list(parameters), control_);
    return std::string_view(PQcmdTuples(result.get())) == "1";
  }

  postgres::Connection session_;
  const std::string stream_, authority_;
  const postgres::AuthorityTables tables_;
  const Control control_;
};

static_assert(AuthorityStore<PostgresAuthority>);

}  // namespace epochcut
