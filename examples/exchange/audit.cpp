#include "exchange/audit.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "exchange/row_chain.hpp"

namespace exchange {

using epochcut::Failure;
using epochcut::Reason;

namespace {

constexpr std::uint64_t events_a_query = 5'000;  // some 20 000 rows: a few megabytes

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) throw Failure(Reason::schema, "\"" + std::string(text) + "\" stands where a number must");
  return value;
}

class Audit {
 public:
  explicit Audit(const EngineOptions& options) : options_(options), ledger_(options.postgres) {}

  AuditReport run() {
    ledger_.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    read_token();
    read_seams();
    compare_transactions();
    compare_balances();
    compare_digests();
    compare_chain();
    ledger_.execute("COMMIT");
    return std::move(report_);
  }

 private:
  std::string table(const std::string& name) const { return options_.layout.schema + "." + name; }

  void broken(const std::string& what) {
    if (++report_.broken_count <= AuditReport::broken_max) report_.broken.push_back(what);
  }

  void read_token() {
    const auto token = ledger_.execute(
        "SELECT generation, sequence, owner, encode(chain, 'hex'), stop_at FROM " + table("resume_tokens") + " WHERE stream = $1 AND authority = $2",
        {std::string(stream_id), options_.layout.authority});
    if (token.rows() != 1) throw Failure(Reason::missing_token, "there is no token of authority " + options_.layout.authority);
    report_.generation = number(token(0, 0));
    report_.sequence = number(token(0, 1));
    report_.owner = token(0, 2);
    stored_chain_ = token(0, 3);
    if (!token(0, 4).empty() && number(token(0, 4)) <= report_.sequence) broken("the token has passed its stop marker at " + std::string(token(0, 4)));
  }

  void read_seams() {
    const auto seams =
        ledger_.execute("SELECT s, from_gen, to_gen FROM " + table("epochcut_seam") + " WHERE authority = $1 ORDER BY to_gen", {options_.layout.authority});
    std::uint64_t generation = seams.rows() == 0 ? report_.generation : number(seams(0, 1)), first = 1;
    for (int i = 0; i < seams.rows(); ++i) {
      const std::uint64_t s = number(seams(i, 0)), from = number(seams(i, 1)), to = number(seams(i, 2));
      if (from != generation || to != from + 1)
        broken("the seam at " + std::to_string(s) + " goes from generation " + std::to_string(from) + " to " + std::to_string(to) + ", after " +
               std::to_string(generation));
      if (s < first || s > report_.sequence + 1)
        broken("the seam at " + std::to_string(s) + " lies outside " + std::to_string(first) + " to " + std::to_string(report_.sequence + 1));
      report_.owned.push_back({generation, first, s - 1});
      generation = to, first = s;
    }
    report_.owned.push_back({generation, first, report_.sequence});
    if (generation != report_.generation)
      broken("the token is of generation " + std::to_string(report_.generation) + ", the last seam's is " + std::to_string(generation));
  }

  std::uint64_t owner_of(std::uint64_t sequence) const {
    for (const Owned& o : report_.owned)
      if (sequence >= o.first && sequence <= o.last) return o.generation;
    return 0;
  }

  /// Line by line, in the order of the event ids: what is missing, doubled, changed, or written by a generation that did not own the number.
  void compare_transactions() {
    Rows rows;
    for (std::uint64_t from = 0; from < report_.sequence; from += events_a_query) {
      const std::uint64_t to = std::min(report_.sequence, from + events_a_query);
      rows.clear();
      for (std::uint64_t sequence = from + 1; sequence <= to; ++sequence) {
        const std::size_t transactions = rows.transactions.size(), positions = rows.positions.size();
        fold_.apply(options_.stream.at(sequence), rows);
        chain_ = extend(chain_, sequence, rows, transactions, positions);
      }
      const auto found = ledger_.execute(
          "SELECT event_id, sequence, leg, execution_ns, trade_id, account, instrument, kind, currency, amount, memo IS NULL, memo, generation FROM " +
              table("transactions") + " WHERE event_id >= $1 AND event_id < $2 ORDER BY event_id",
          {std::to_string(event_id_of(from + 1, 0)), std::to_string(event_id_of(to + 1, 0))});
      std::size_t wanted = 0;
      for (int i = 0; i < found.rows(); ++i) {
        const std::uint64_t id = number(found(i, 0));
        for (; wanted < rows.transactions.size() && rows.transactions[wanted].event_id < id; ++wanted)
          broken("transaction " + name_of(rows.transactions[wanted].event_id) + " is missing");
        if (wanted == rows.transactions.size() || rows.transactions[wanted].event_id != id) {
          broken("transaction " + name_of(id) + " is of no event, or stands there twice");
          continue;
        }
        std::string expected;
        append(expected, rows.transactions[wanted], owner_of(rows.transactions[wanted].sequence));
        if (const std::string line = line_of(found, i); line != expected)
          broken("transaction " + name_of(id) + " is\n    " + line + "  and must be\n    " + expected);
        ++wanted, ++report_.transactions;
      }
      for (; wanted < rows.transactions.size(); ++wanted) broken("transaction " + name_of(rows.transactions[wanted].event_id) + " is missing");
    }
    const auto beyond = ledger_.execute("SELECT count(*) FROM " + table("transactions") + " WHERE event_id >= $1 OR event_id < $2",
                                        {std::to_string(event_id_of(report_.sequence + 1, 0)), std::to_string(event_id_of(1, 0))});
    if (beyond(0, 0) != "0") broken(std::string(beyond(0, 0)) + " transactions lie beyond the token");
  }

  static std::string line_of(const PostgresResult& found, int row) {
    std::string line;
    for (int column = 0; column < 10; ++column) (line += found(row, column)) += '\t';
    text::append_nullable(line, found(row, 10) == "t" ? std::nullopt : std::optional<std::string_view>(found(row, 11)));
    (line += '\t') += found(row, 12);
    return line += '\n';
  }

  static std::string name_of(std::uint64_t event_id) {
    return std::to_string(event_id) + " (event " + std::to_string(sequence_of(event_id)) + ", leg " + std::to_string(event_id & ((1u << leg_bits) - 1)) + ")";
  }

  /// Balances are added to and never set: a batch that is applied twice shows.
  void compare_balances() {
    std::map<std::pair<std::string, std::string>, std::string> found;
    const auto rows = ledger_.execute("SELECT account, currency, amount FROM " + table("balances"));
    for (int i = 0; i < rows.rows(); ++i) found[{std::string(rows(i, 0)), std::string(rows(i, 1))}] = rows(i, 2);
    report_.balances = found.size();
    for (int account = 0; account < account_count; ++account)
      for (int currency = 0; currency < currency_count; ++currency) {
        const Int128 amount = fold_.books().balances[static_cast<std::size_t>(account)][static_cast<std::size_t>(currency)];
        const auto at = found.find({account_name(account), std::string(currency_name(currency))});
        std::string expected;
        text::append_money(expected, amount);
        if (at == found.end() ? amount != 0 : at->second != expected)
          broken("the balance of " + account_name(account) + " in " + std::string(currency_name(currency)) + " is " +
                 (at == found.end() ? "missing" : at->second) + " and must be " + expected);
        if (at != found.end()) found.erase(at);
      }
    for (const auto& [key, amount] : found) broken("there is a balance of " + key.first + " in " + key.second + ", of whom no event speaks");
  }

  void compare_digests() {
    const auto rows =
        ledger_.execute("SELECT relation, row_count, sum_low, sum_high FROM " + table("resume_token_digests") + " WHERE stream = $1 AND authority = $2",
                        {std::string(stream_id), options_.layout.authority});
    if (rows.rows() != 2) broken("the token has " + std::to_string(rows.rows()) + " digests and must have two");
    for (int i = 0; i < rows.rows(); ++i) {
      const Digest& wanted = rows(i, 0) == "positions" ? fold_.books().positions : fold_.books().transactions;
      if (Digest{number(rows(i, 1)), number(rows(i, 2)), number(rows(i, 3))} != wanted)
        broken("the token's digest of " + std::string(rows(i, 0)) + " is not the stream's");
    }
  }

  /// A ledger of an earlier version has none yet.
  void compare_chain() {
    if (stored_chain_ == to_text(Chain{}) || stored_chain_ == to_text(chain_)) return;
    broken("the token's chain is " + stored_chain_ + ", the stream's is " + to_text(chain_));
  }

  const EngineOptions& options_;
  PostgresWriter ledger_;
  Fold fold_;
  Chain chain_;               ///< of the stream, up to where it has been compared
  std::string stored_chain_;  ///< of the token
  AuditReport report_;
};

struct Commit {
  std::int64_t at_ns = 0;
  std::uint64_t sequence = 0, generation = 0;
};

/// A file's last line may be half written, by an engine that was killed.
std::vector<Commit> commits_of(const std::vector<std::string>& files) {
  std::vector<Commit> commits;
  for (const std::string& name : files) {
    std::ifstream file(name);
    if (!file) throw Failure(Reason::configuration, "can't read the commit log " + name);
    for (std::string line; std::getline(file, line) && !file.eof();) {
      std::istringstream words(line);
      Commit commit;
      if (words >> commit.at_ns >> commit.sequence >> commit.generation) commits.push_back(commit);
    }
  }
  std::sort(commits.begin(), commits.end(), [](const Commit& a, const Commit& b) { return a.at_ns < b.at_ns; });
  return commits;
}

void add_pauses(AuditReport& report, const std::vector<Commit>& commits) {
  std::vector<double> intervals;
  std::map<std::uint64_t, std::pair<Commit, Commit>> span;  // of a generation: its first and its last commit
  for (std::size_t i = 0; i < commits.size(); ++i) {
    const Commit& c = commits[i];
    span.try_emplace(c.generation, c, c).first->second.second = c;
    if (i > 0 && commits[i - 1].generation == c.generation) intervals.push_back(static_cast<double>(c.at_ns - commits[i - 1].at_ns) / 1e6);
  }
  if (!intervals.empty()) {
    std::nth_element(intervals.begin(), intervals.begin() + static_cast<std::ptrdiff_t>(intervals.size() / 2), intervals.end());
    report.batch_milliseconds = intervals[intervals.size() / 2];
  }
  for (std::size_t i = 1; i < report.owned.size(); ++i) {
    const auto before = span.find(report.owned[i - 1].generation), after = span.find(report.owned[i].generation);
    if (before != span.end() && after != span.end())
      report.pauses.push_back(
          {report.owned[i].first, report.owned[i].generation, static_cast<double>(after->second.first.at_ns - before->second.second.at_ns) / 1e6});
  }
}

}  // namespace

AuditReport audit(const EngineOptions& options, const std::vector<std::string>& commit_logs) {
  options.layout.validate();
  AuditReport report = Audit(options).run();
  if (!commit_logs.empty()) add_pauses(report, commits_of(commit_logs));
  return report;
}

std::string to_text(const AuditReport& report) {
  std::string text = "sequence " + std::to_string(report.sequence) + ", generation " + std::to_string(report.generation) + " of " + report.owner +
                     "; compared " + std::to_string(report.transactions) + " transactions and " + std::to_string(report.balances) +
                     " balances with the stream\n";
  for (const Owned& o : report.owned)
    text += "  generation " + std::to_string(o.generation) + ": events " + std::to_string(o.first) + " to " + std::to_string(o.last) + "\n";
  char line[160];
  for (const SeamPause& p : report.pauses) {
    std::snprintf(line, sizeof line, "  seam at %llu: %.1f ms between the last commit before it and the first after it, %.1f x the ordinary %.1f ms\n",
                  static_cast<unsigned long long>(p.s), p.milliseconds, report.batch_milliseconds > 0 ? p.milliseconds / report.batch_milliseconds : 0,
                  report.batch_milliseconds);
    text += line;
  }
  for (const std::string& what : report.broken) text += "  BROKEN: " + what + "\n";
  if (report.broken_count > report.broken.size()) text += "  and " + std::to_string(report.broken_count - report.broken.size()) + " more\n";
  return text + (report.sound() ? "no event lost, none doubled, each by the generation that owned its number\n" : "");
}

}  // namespace exchange
