#include "exchange/marks.hpp"

#include <cassert>
#include <cstdlib>
#include <vector>

#include <epochcut/core/failure.hpp>

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

namespace {

std::uint64_t number(std::string_view text) { return std::strtoull(std::string(text).c_str(), nullptr, 10); }

const std::string stream_name(mark_stream_id), relation = "mark_pnl";

}  // namespace

Marker::Marker(const EngineOptions& options, std::uint64_t generation, std::uint64_t every, std::uint64_t sequence)
    : options_((options.layout.validate(), options)), generation_(generation), every_(every), ledger_(options.postgres), analytics_(options.clickhouse) {
  if (every_ == 0) throw Failure(Reason::configuration, "marks must be at least one event apart");
  const std::string& authority = options_.layout.authority;
  ledger_.execute("BEGIN");
  ledger_.execute("INSERT INTO " + table("resume_tokens") + " VALUES ($1, $2, $3, 0, 0) ON CONFLICT DO NOTHING",
                  {stream_name, authority, std::to_string(generation_)});
  ledger_.execute("INSERT INTO " + table("resume_token_digests") + " VALUES ($1, $2, $3, 0, 0, 0) ON CONFLICT DO NOTHING", {stream_name, authority, relation});
  ledger_.commit();
  const auto token = ledger_.execute("SELECT t.sequence, d.row_count, d.sum_low, d.sum_high, coalesce(c.epoch_sequence, 0) FROM " + table("resume_tokens") +
                                         " t JOIN " + table("resume_token_digests") + " d USING (stream, authority) LEFT JOIN " + table("mark_cycles") +
                                         " c ON c.cycle = t.sequence WHERE t.stream = $1 AND t.authority = $2 AND d.relation = $3",
                                     {stream_name, authority, relation});
  if (token.rows() != 1) throw Failure(Reason::missing_token, "the token of marks of authority " + authority + " can't be read; create the tables first");
  cycle_ = number(token(0, 0));
  if (number(token(0, 4)) != cycle_ * every_)
    throw Failure(Reason::configuration, "mark cycle " + std::to_string(cycle_) + " was cut at sequence " + std::string(token(0, 4)) + ", not at " +
                                             std::to_string(cycle_ * every_) + "; give the distance between marks that it was started with");
  make_up(sequence, {number(token(0, 1)), number(token(0, 2)), number(token(0, 3))});
}

void Marker::make_up(std::uint64_t sequence, const Digest& committed) {
  const std::uint64_t done = cycle_;
  if (done * every_ > sequence)
    throw Failure(Reason::configuration, "mark cycle " + std::to_string(done) + " was cut above the ledger's sequence " + std::to_string(sequence) +
                                             "; it was written from another ledger");
  Fold fold;
  Rows rows;
  for (std::uint64_t cycle = 1; cycle * every_ <= sequence; ++cycle) {
    while (fold.books().sequence < cycle * every_) {
      rows.clear();
      fold.apply(options_.stream.at(fold.books().sequence + 1), rows);
    }
    if (cycle <= done) digest_ += digest_of(mark_rows(cycle, fold));
    // Before anything is written under a token that says otherwise.
    if (cycle == done && digest_ != committed) break;
    if (cycle > done) mark(fold);
  }
  if (cycle_ == done && digest_ != committed)
    throw Failure(Reason::configuration, "the marks up to cycle " + std::to_string(done) +
                                             " were not written from this stream; give the seed, the ties and the deposits that it was started with");
}

void Marker::mark(const Fold& fold) {
  assert(fold.books().sequence == (cycle_ + 1) * every_);
  const std::vector<MarkRow> rows = mark_rows(cycle_ + 1, fold);
  std::string text;
  text.reserve(rows.size() * 96);
  for (const MarkRow& row : rows) append(text, row, generation_);
  analytics_.insert(options_.layout.database + "." + relation, text);
  crash_if(CrashPoint::after_marks, fold.books().sequence);
  commit(fold.books(), digest_of(rows));
}

void Marker::commit(const Books& books, const Digest& rows) {
  const std::string authority = options_.layout.authority, cycle = std::to_string(cycle_ + 1), ns = std::to_string(books.execution_ns);
  const auto fenced = [&](bool deposed) {
    ledger_.execute("ROLLBACK");
    return Fenced("another writer holds the token of marks of authority " + authority + ": this one expected generation " + std::to_string(generation_) +
                      " at cycle " + std::to_string(cycle_),
                  deposed);
  };
  ledger_.execute("BEGIN");
  // The engine's token is the fence: whoever was deposed there marks nothing here. Shared, so that it can't change hands before this commits.
  if (ledger_
          .execute("SELECT FROM " + table("resume_tokens") + " WHERE stream = $1 AND authority = $2 AND generation = $3 AND sequence >= $4 FOR SHARE",
                   {std::string(stream_id), authority, std::to_string(generation_), std::to_string(books.sequence)})
          .rows() != 1)
    throw fenced(true);
  if (ledger_
          .execute("UPDATE " + table("resume_tokens") +
                       " SET sequence = $1, latest_execution_ns = $2, generation = $3 WHERE stream = $4 AND authority = $5 AND sequence = $6",
                   {cycle, ns, std::to_string(generation_), stream_name, authority, std::to_string(cycle_)})
          .affected() != 1)
    throw fenced(false);
  const Digest all = digest_ + rows;
  ledger_.execute("UPDATE " + table("resume_token_digests") +
                      " SET row_count = $1, sum_low = $2, sum_high = $3, acked_sequence = $4, acked_by = $5 "
                      "WHERE stream = $6 AND authority = $7 AND relation = $8",
                  {std::to_string(all.count), std::to_string(all.sum_low), std::to_string(all.sum_high), cycle, analytics_.server_name(), stream_name,
                   authority, relation});
  ledger_.execute(
      "INSERT INTO " + table("mark_cycles") + " (cycle, epoch_sequence, execution_ns, row_count, sum_low, sum_high) VALUES ($1, $2, $3, $4, $5, $6)",
      {cycle, std::to_string(books.sequence), ns, std::to_string(rows.count), std::to_string(rows.sum_low), std::to_string(rows.sum_high)});
  // Within the transaction: whoever hears of a cycle can read it.
  ledger_.execute("NOTIFY mark_cycles, '" + cycle + "'");
  if (options_.crash_at == CrashPoint::marks_commit_sent && books.sequence >= options_.crash_from) ledger_.send("COMMIT");
  crash_if(CrashPoint::marks_commit_sent, books.sequence);
  ledger_.commit();
  ++cycle_, digest_ = all;
}

void Marker::crash_if(CrashPoint point, std::uint64_t sequence) {
  if (options_.crash_at != point || sequence < options_.crash_from) return;
  if (options_.crash != nullptr) options_.crash();
  throw Crashed();
}

}  // namespace exchange
