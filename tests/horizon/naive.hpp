// How do people compare two live stores who have no proof of completeness?
// They take state and position from the ledger in one snapshot, poll the follower until some cheap look says that it is there, and read.
// Written with plain SQL over libpq and HTTP: nothing of the library's cut, horizon or diff is in here. One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include <epochcut/core/decimal.hpp>

#include "exchange/clickhouse_writer.hpp"
#include "exchange/engine.hpp"
#include "exchange/fold.hpp"
#include "exchange/postgres_writer.hpp"

namespace horizon {

/// What is taken as a sign that the follower shows everything up to E, and how rows above E are left out.
enum class Naive : std::uint8_t {
  max_ts,        ///< max(execution_ns) >= E's; rows with execution_ns <= E's
  max_sequence,  ///< max(sequence) >= E's; rows with sequence <= E's
  count,         ///< as many rows with sequence <= E's as the ledger counted, or more
};
inline constexpr Naive naives[] = {Naive::max_ts, Naive::max_sequence, Naive::count};

using Sums = std::map<std::string, epochcut::Int128>;  ///< account, a tab and currency → 10^-8; no zeros

struct NaiveAnswer {
  bool there = false;  ///< the sign came within `NaiveChecker::patience`
  bool equal = false;
  std::uint64_t sequence = 0;  ///< E
  Sums ledger, analytics;
};

class NaiveChecker {
 public:
  static constexpr std::chrono::seconds patience{20};   ///< a writer that was killed is back within one or two
  static constexpr std::chrono::milliseconds pause{1};  ///< between two polls: a longer one hides the race, it does not remove it

  explicit NaiveChecker(const exchange::EngineOptions& options)
      : ledger_(options.postgres), analytics_(options.clickhouse), schema_(options.layout.schema), table_(options.layout.database + ".transactions") {}

  NaiveAnswer check(Naive kind) {
    NaiveAnswer answer;
    ledger_.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const auto token = ledger_.execute("SELECT t.sequence, t.latest_execution_ns, d.row_count FROM " + schema_ + ".resume_tokens t JOIN " + schema_ +
                                       ".resume_token_digests d USING (stream, authority) WHERE d.relation = 'transactions'");
    const std::string sequence(token(0, 0)), ns(token(0, 1)), count(token(0, 2));
    const auto balances = ledger_.execute("SELECT account, currency, amount FROM " + schema_ + ".balances");
    for (int r = 0; r < balances.rows(); ++r) add(answer.ledger, std::string(balances(r, 0)) + "\t" + std::string(balances(r, 1)), balances(r, 2));
    ledger_.execute("COMMIT");
    answer.sequence = std::stoull(sequence);

    const std::string up_to = kind == Naive::max_ts ? " WHERE execution_ns <= " + ns : " WHERE sequence <= " + sequence;
    const std::string poll = kind == Naive::count    ? "SELECT count() >= " + count + " FROM " + table_ + up_to
                             : kind == Naive::max_ts ? "SELECT max(execution_ns) >= " + ns + " FROM " + table_
                                                     : "SELECT max(sequence) >= " + sequence + " FROM " + table_;
    for (const auto begin = std::chrono::steady_clock::now(); analytics_.query(poll) != "1\n"; std::this_thread::sleep_for(pause))
      if (std::chrono::steady_clock::now() - begin > patience) return answer;
    answer.there = true;
    const std::string lines = analytics_.query("SELECT account, currency, toString(sum(amount)) FROM " + table_ + up_to + " GROUP BY account, currency");
    for (std::size_t at = 0; at < lines.size();) {
      const std::size_t end = lines.find('\n', at), tab = lines.rfind('\t', end);
      add(answer.analytics, lines.substr(at, tab - at), std::string_view(lines).substr(tab + 1, end - tab - 1));
      at = end + 1;
    }
    answer.equal = answer.ledger == answer.analytics;
    return answer;
  }

  /// What the ledger must have said: then an answer of "different" is false as long as nothing was planted.
  static Sums truth(const exchange::Books& books) {
    Sums sums;
    for (int a = 0; a < exchange::account_count; ++a)
      for (int c = 0; c < exchange::currency_count; ++c)
        if (const epochcut::Int128 sum = books.balances[static_cast<std::size_t>(a)][static_cast<std::size_t>(c)]; sum != 0)
          sums[exchange::account_name(a) + "\t" + std::string(exchange::currency_name(c))] = sum;
    return sums;
  }

 private:
  static void add(Sums& sums, const std::string& currency, std::string_view amount) {
    const epochcut::Decimal sum = epochcut::parse_decimal(std::string(amount)).value().at_scale(exchange::money_scale).value();
    if (sum.unscaled != 0) sums[currency] = sum.unscaled;
  }

  exchange::PostgresWriter ledger_;
  exchange::ClickhouseWriter analytics_;
  const std::string schema_, table_;
};

}  // namespace horizon
