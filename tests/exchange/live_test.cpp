#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "exchange/corruption.hpp"
#include "exchange/engine.hpp"
#include "exchange/oracle.hpp"
#include "support/catch.hpp"

using namespace exchange;
using namespace std::chrono_literals;

namespace {

/// A schema and a database of its own for every test, gone afterwards.
struct Stores {
  EngineOptions options;
  PostgresWriter ledger{std::getenv("EPOCHCUT_POSTGRES")};
  ClickhouseWriter analytics{std::getenv("EPOCHCUT_CLICKHOUSE")};

  explicit Stores(int partitions = 1) {
    static int count = 0;
    options.postgres = std::getenv("EPOCHCUT_POSTGRES"), options.clickhouse = std::getenv("EPOCHCUT_CLICKHOUSE");
    const std::string name = "exchange_test_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
    options.layout = {.authority = "production", .schema = name, .database = name, .partitions = partitions};
    options.stream.seed = 7;
    create_tables(options);
  }
  ~Stores() {
    try {
      ledger.execute("SET client_min_messages = warning; DROP SCHEMA " + options.layout.schema + " CASCADE");
      analytics.execute("DROP DATABASE " + options.layout.database);
    } catch (const std::exception& e) {
      WARN(e.what());
    }
  }

  std::string ask_ledger(const std::string& sql) { return std::string(ledger.execute("SET search_path = " + options.layout.schema + "; " + sql)(0, 0)); }
  std::string ask_analytics(const std::string& sql) {
    std::string answer = analytics.query(sql);
    return answer.substr(0, answer.find_last_not_of('\n') + 1);
  }
  std::uint64_t token() { return std::stoull(ask_ledger("SELECT sequence FROM resume_tokens")); }
  std::uint64_t acknowledged() { return std::stoull(ask_ledger("SELECT min(acked_sequence) FROM resume_token_digests")); }
  std::string table(const std::string& relation) const { return options.layout.database + "." + relation; }
  std::string up_to(std::uint64_t sequence) const { return " WHERE event_id < " + std::to_string(event_id_of(sequence + 1, 0)); }

  std::string count(const std::string& relation, std::uint64_t sequence) { return ask_analytics("SELECT count() FROM " + table(relation) + up_to(sequence)); }

  /// What the ledger's token says must be what the stream says.
  void require_ledger(Oracle& oracle, std::uint64_t sequence) {
    const Books& books = oracle.at(sequence);
    REQUIRE(token() == sequence);
    REQUIRE(ask_ledger("SELECT latest_execution_ns FROM resume_tokens") == std::to_string(books.execution_ns));
    REQUIRE(ask_ledger("SELECT count(*) FROM transactions") == std::to_string(books.transactions.count));
    for (const auto& [relation, digest] : {std::pair{"transactions", books.transactions}, std::pair{"positions", books.positions}})
      REQUIRE(ask_ledger("SELECT row_count || ' ' || sum_low || ' ' || sum_high FROM resume_token_digests WHERE relation = '" + std::string(relation) + "'") ==
              text_of(digest));
    for (int c = 0; c < currency_count; ++c) {
      const std::string currency = " WHERE currency = '" + std::string(currency_name(c)) + "'", sum = money(books.sum_of_currency(c));
      REQUIRE(ask_ledger("SELECT sum(amount) FROM balances" + currency) == sum);
      REQUIRE(ask_ledger("SELECT sum(amount) FROM transactions" + currency) == sum);
    }
  }

  /// ClickHouse as of any sequence number; replays are counted once, and two contents of one event are not a replay.
  void require_analytics(Oracle& oracle, std::uint64_t sequence) {
    const Books& books = oracle.at(sequence);
    for (const auto& [relation, digest] : {std::pair{"transactions", books.transactions}, std::pair{"positions", books.positions}}) {
      REQUIRE(ask_analytics("SELECT concat(toString(count()), ' ', toString(sum(intHash64(event_id))), ' ', "
                            "toString(sum(intHash64(bitXor(event_id, toUInt64('11400714819323198485')))))) "
                            "FROM (SELECT DISTINCT event_id FROM " +
                            table(relation) + up_to(sequence) + ")") == text_of(digest));
      REQUIRE(distinct_rows(relation, sequence) == std::to_string(digest.count));
    }
    for (int c = 0; c < currency_count; ++c)
      REQUIRE(ask_analytics("SELECT sum(amount) FROM (SELECT DISTINCT event_id, amount FROM " + table("transactions") + up_to(sequence) + " AND currency = '" +
                            std::string(currency_name(c)) + "')") == money(books.sum_of_currency(c)));
    std::string expected;
    for (int a = 0; a < account_count; ++a)
      if (books.realized_pnl[static_cast<std::size_t>(a)] != 0)
        expected += account_name(a) + "\t" + money(books.realized_pnl[static_cast<std::size_t>(a)]) + "\n";
    const std::string latest = "SELECT account, toString(sum(pnl)) AS sum FROM (SELECT account, instrument, argMax(realized_pnl, event_id) AS pnl FROM " +
                               table("positions") + up_to(sequence) + " GROUP BY account, instrument) GROUP BY account HAVING sum(pnl) != 0";
    REQUIRE(sorted(analytics.query(latest)) == sorted(expected));
  }

  std::string distinct_rows(const std::string& relation, std::uint64_t sequence) {
    return ask_analytics("SELECT count() FROM (SELECT DISTINCT event_id, account, instrument, currency, execution_ns, trade_id, " +
                         std::string(relation == "positions" ? "quantity, toString(cost), toString(realized_pnl), last_note" : "kind, toString(amount), memo") +
                         " FROM " + table(relation) + up_to(sequence) + ")");
  }

  static std::string money(Int128 unscaled) { return to_string(epochcut::Decimal{unscaled, money_scale}); }
  static std::string text_of(const Digest& d) { return std::to_string(d.count) + " " + std::to_string(d.sum_low) + " " + std::to_string(d.sum_high); }
  static std::vector<std::string> sorted(const std::string& lines) {
    std::vector<std::string> all;
    for (std::size_t begin = 0; begin < lines.size(); begin = lines.find('\n', begin) + 1) all.push_back(lines.substr(begin, lines.find('\n', begin) - begin));
    std::sort(all.begin(), all.end());
    return all;
  }
};

void advance(Engine& engine, std::uint64_t sequence) {
  while (engine.books().sequence < sequence) engine.step(sequence);
}

/// As a supervisor does it: a COMMIT that was on its way when its engine died may land after the token was read.
void recover(const EngineOptions& options, std::uint64_t sequence) {
  for (int attempt = 0;; ++attempt) try {
      Engine engine(options);
      advance(engine, sequence);
      REQUIRE(engine.drain());
      return;
    } catch (const Fenced& fenced) {
      REQUIRE_FALSE(fenced.deposed);
      REQUIRE(attempt < 5);
    }
}

/// Runs an engine in a process of its own until it kills itself.
void run_until_killed(EngineOptions options) {
  options.crash = [] { static_cast<void>(::kill(::getpid(), SIGKILL)); };
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      Engine engine(options);
      advance(engine, no_limit);
    } catch (...) {
    }
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
}

}  // namespace

TEST_CASE("every row arrives as it was folded") {
  Stores stores(8);
  Oracle oracle(stores.options.stream);
  stores.options.batch = 333;
  {
    Engine engine(stores.options);
    advance(engine, 3'000);
  }
  stores.require_ledger(oracle, 3'000);
  for (std::uint64_t s : {1u, 17u, 500u, 1'777u, 2'999u, 3'000u}) stores.require_analytics(oracle, s);
  Fold fold;
  Rows rows;
  for (std::uint64_t s = 1; s <= 3'000; ++s) fold.apply(stores.options.stream.at(s), rows);
  const auto as_written = [](std::string text) {  // ClickHouse escapes an apostrophe on the way out, and needs none on the way in
    for (std::size_t at = 0; (at = text.find("\\'", at)) != std::string::npos;) text.erase(at, 1);
    return text;
  };
  const auto all = [&](const std::string& relation) {
    return as_written(stores.analytics.query("SELECT * FROM " + stores.table(relation) + " ORDER BY event_id"));
  };
  const bool transactions_equal = all("transactions") == to_text(rows.transactions, 1), positions_equal = all("positions") == to_text(rows.positions, 1);
  REQUIRE(transactions_equal);
  REQUIRE(positions_equal);
  for (const TransactionRow& t : rows.transactions)
    if (t.memo) REQUIRE(stores.ask_ledger("SELECT memo FROM transactions WHERE event_id = " + std::to_string(t.event_id)) == *t.memo);
}

TEST_CASE("an engine that is killed anywhere is recovered by one with other batches") {
  const CrashPoint point = GENERATE(CrashPoint::after_transactions, CrashPoint::after_positions, CrashPoint::commit_sent);
  const WritePath path = GENERATE(WritePath::acknowledged, WritePath::issued);
  CAPTURE(static_cast<int>(point), static_cast<int>(path));
  Stores stores;
  Oracle oracle(stores.options.stream);
  stores.options.write_path = path;
  stores.options.crash_at = point, stores.options.crash_from = 1'000, stores.options.batch = 70;
  if (path == WritePath::issued) stores.options.inserts.jitter_ms_max = 20;
  run_until_killed(stores.options);

  // A batch of 70 that reaches 1000 goes from 980 to 1050.
  if (point != CrashPoint::commit_sent) REQUIRE(stores.token() == 980);
  if (path == WritePath::acknowledged) {
    const bool positions = point != CrashPoint::after_transactions;
    REQUIRE(stores.count("transactions", 1'050) == std::to_string(oracle.at(1'050).transactions.count));
    REQUIRE(stores.count("positions", 1'050) == std::to_string(oracle.at(positions ? 1'050 : 980).positions.count));
    stores.require_analytics(oracle, 980);
  }
  stores.options.crash_at = CrashPoint::none, stores.options.batch = 113;
  recover(stores.options, 2'000);
  stores.require_ledger(oracle, 2'000);
  for (std::uint64_t s : {980u, 1'020u, 1'050u, 2'000u}) stores.require_analytics(oracle, s);
  if (path == WritePath::acknowledged && point != CrashPoint::commit_sent) {
    const Digest& once = oracle.at(1'050).transactions;
    REQUIRE(stores.count("transactions", 1'050) == std::to_string(once.count + once.count - oracle.at(980).transactions.count));
  }
}

TEST_CASE("rows that died with their engine after their token committed are sent again") {
  Stores stores;
  Oracle oracle(stores.options.stream);
  stores.options.write_path = WritePath::issued;
  stores.options.batch = 50, stores.options.inserts.lag_ms = 60'000;
  stores.options.crash_at = CrashPoint::after_positions, stores.options.crash_from = 1'000;
  {
    Engine engine(stores.options);
    REQUIRE_THROWS_AS(advance(engine, no_limit), Crashed);
  }
  REQUIRE(stores.token() == 950);
  REQUIRE(stores.acknowledged() == 0);
  REQUIRE(stores.count("transactions", 950) == "0");
  stores.options.crash_at = CrashPoint::none, stores.options.inserts.lag_ms = 0;
  recover(stores.options, 950);
  REQUIRE(stores.acknowledged() == 950);
  stores.require_ledger(oracle, 950);
  stores.require_analytics(oracle, 950);
}

TEST_CASE("issued: the acknowledged watermark has no hole, and reaches the token") {
  Stores stores(8);
  Oracle oracle(stores.options.stream);
  stores.options.write_path = WritePath::issued, stores.options.batch = 25;
  stores.options.inserts = {.writers = 4, .lag_ms = 0, .jitter_ms_max = 30, .queue_max = 64};
  Engine engine(stores.options);
  int behind = 0;
  while (engine.books().sequence < 3'000) {
    engine.step(3'000);
    const std::uint64_t acknowledged = stores.acknowledged();
    behind += acknowledged < engine.books().sequence;
    REQUIRE(stores.count("transactions", acknowledged) == std::to_string(oracle.at(acknowledged).transactions.count));
    REQUIRE(stores.count("positions", acknowledged) == std::to_string(oracle.at(acknowledged).positions.count));
  }
  REQUIRE(behind > 0);
  REQUIRE(engine.drain());
  REQUIRE(stores.acknowledged() == 3'000);
  REQUIRE(stores.ask_ledger("SELECT min(acked_by) FROM resume_token_digests") == stores.analytics.server_name());
  stores.require_ledger(oracle, 3'000);
  stores.require_analytics(oracle, 3'000);
}

TEST_CASE("the fence stops the second writer") {
  Stores stores;
  Oracle oracle(stores.options.stream);
  Engine first(stores.options), second(stores.options);
  first.step();
  try {
    second.step();
    FAIL("two writers");
  } catch (const Fenced& fenced) {
    REQUIRE_FALSE(fenced.deposed);
  }
  stores.require_ledger(oracle, 200);
  stores.require_analytics(oracle, 200);

  REQUIRE(depose(stores.options) == 2);
  try {
    first.step();
    FAIL("a deposed writer");
  } catch (const Fenced& fenced) {
    REQUIRE(fenced.deposed);
  }
  stores.options.generation = 1;
  REQUIRE_THROWS_AS(Engine(stores.options), Fenced);
  stores.options.generation = 2;
  recover(stores.options, 1'000);
  stores.require_ledger(oracle, 1'000);
  stores.require_analytics(oracle, 1'000);
}

TEST_CASE("another stream than the ledger's is refused") {
  Stores stores;
  recover(stores.options, 100);
  stores.options.stream.seed = 8;
  REQUIRE_THROWS_AS(Engine(stores.options), epochcut::Failure);
}

TEST_CASE("a shadow folds the same stream into stores of its own") {
  Stores stores, shadow;
  shadow.options.layout.authority = "shadow", shadow.options.batch = 77;
  create_tables(shadow.options);
  shadow.ledger.execute("DELETE FROM " + shadow.options.layout.schema + ".resume_tokens WHERE authority != 'shadow'");
  shadow.ledger.execute("DELETE FROM " + shadow.options.layout.schema + ".resume_token_digests WHERE authority != 'shadow'");
  {
    RunningEngine production(stores.options, 2'000), copy(shadow.options, 2'000);
    while (production.running() || copy.running()) std::this_thread::sleep_for(5ms);
    REQUIRE(production.error() == "");
    REQUIRE(copy.error() == "");
    REQUIRE(copy.sequence() == 2'000);
  }
  Oracle oracle(stores.options.stream);
  for (Stores* s : {&stores, &shadow}) {
    s->require_ledger(oracle, 2'000);
    s->require_analytics(oracle, 2'000);
  }
}

TEST_CASE("a fault is what it says, and can be taken back") {
  Stores stores(8);
  Oracle oracle(stores.options.stream);
  recover(stores.options, 1'000);
  Corruptor corruptor(stores.options.clickhouse, stores.options.layout);
  const std::string relation = GENERATE("transactions", "positions");
  const std::string amount = relation == "positions" ? "realized_pnl" : "amount";
  const std::uint64_t id = corruptor.pick(relation, 900, relation == "transactions" ? "fee" : "");
  REQUIRE(sequence_of(id) <= 900);
  const std::uint64_t rows = std::stoull(stores.count(relation, 1'000));
  const std::string sum = "SELECT toString(sum(" + amount + ")) FROM " + stores.table(relation);
  const std::string sum_before = stores.ask_analytics(sum);
  const auto plus = [&](const std::string& a, const std::string& b) { return to_string(*add(*epochcut::parse_decimal(a), *epochcut::parse_decimal(b))); };

  SECTION("change_amount") {
    const Corruption c = corruptor.plant(Fault::change_amount, relation, id, "0.00000001");
    REQUIRE(c.after == plus(c.before, "0.00000001"));
    REQUIRE(stores.ask_analytics(sum) == plus(sum_before, "0.00000001"));
    REQUIRE(stores.ask_analytics("SELECT toString(" + amount + ") FROM " + stores.table(relation) + " WHERE event_id = " + std::to_string(id)) == c.after);
    REQUIRE(stores.ask_analytics("SELECT account FROM " + stores.table(relation) + " WHERE event_id = " + std::to_string(id)) == c.account);
    corruptor.undo(c);
  }
  SECTION("delete_row") {
    const Corruption c = corruptor.plant(Fault::delete_row, relation, id);
    REQUIRE(stores.count(relation, 1'000) == std::to_string(rows - 1));
    REQUIRE(plus(stores.ask_analytics(sum), c.before) == sum_before);
    corruptor.undo(c);
  }
  SECTION("extra_row") {
    const Corruption c = corruptor.plant(Fault::extra_row, relation, id);
    REQUIRE(c.sequence == sequence_of(id));
    REQUIRE(c.event_id != id);
    REQUIRE(stores.ask_analytics(sum) == plus(sum_before, c.after));
    REQUIRE(stores.distinct_rows(relation, 1'000) == std::to_string(rows + 1));
    corruptor.undo(c);
  }
  SECTION("duplicate_row") {
    const Corruption c = corruptor.plant(Fault::duplicate_row, relation, id);
    REQUIRE(stores.count(relation, 1'000) == std::to_string(rows + 1));
    stores.require_analytics(oracle, 1'000);
    corruptor.undo(c);
  }
  SECTION("conflicting_row") {
    const Corruption c = corruptor.plant(Fault::conflicting_row, relation, id);
    REQUIRE(stores.ask_analytics("SELECT uniqExact(event_id) FROM " + stores.table(relation)) == std::to_string(rows));
    REQUIRE(stores.distinct_rows(relation, 1'000) == std::to_string(rows + 1));
    corruptor.undo(c);
  }
  SECTION("truncate") {
    corruptor.plant(Fault::truncate, relation, id);
    REQUIRE(stores.count(relation, 1'000) == "0");
    stores.ask_ledger("UPDATE resume_token_digests SET acked_sequence = 0 RETURNING ''");
    recover(stores.options, 1'000);
    stores.require_analytics(oracle, 1'000);
    return;
  }
  REQUIRE(stores.ask_analytics(sum) == sum_before);
  REQUIRE(stores.count(relation, 1'000) == std::to_string(rows));
  stores.require_analytics(oracle, 1'000);
}

TEST_CASE("money that arrives in the ledger alone moves no token") {
  Stores stores;
  recover(stores.options, 500);
  const std::string before = stores.ask_ledger("SELECT sum(amount) FROM balances"), token = stores.ask_ledger("SELECT t::text FROM resume_tokens t");
  const std::string key = change_balance(stores.options.postgres, stores.options.layout, "2.5");
  REQUIRE(key.find(' ') != std::string::npos);
  REQUIRE(stores.ask_ledger("SELECT (sum(amount) - " + before + ") = 2.5 FROM balances") == "t");
  REQUIRE(stores.ask_ledger("SELECT t::text FROM resume_tokens t") == token);
}

TEST_CASE("what a store refuses is one sentence without a password") {
  const auto message = [](auto&& action) {
    try {
      action();
    } catch (const epochcut::Failure& failure) {
      return failure.message;
    }
    return std::string();
  };
  REQUIRE(message([] { PostgresWriter("host=127.0.0.1 port=1 password=hush"); }).find("hush") == std::string::npos);
  const std::string refused = message([] { ClickhouseWriter("http://u:hush@127.0.0.1:1/").query("SELECT 1"); });
  REQUIRE(refused.find("ClickHouse") == 0);
  REQUIRE(refused.find("hush") == std::string::npos);
  ClickhouseWriter analytics(std::getenv("EPOCHCUT_CLICKHOUSE"));
  REQUIRE(message([&] { analytics.query("SELEC 1"); }).find("Syntax error") != std::string::npos);
  PostgresWriter ledger(std::getenv("EPOCHCUT_POSTGRES"));
  ledger.execute("BEGIN");
  REQUIRE_THROWS_AS(ledger.execute("SELECT 1 / 0"), epochcut::Failure);
  REQUIRE_THROWS_AS(ledger.commit(), epochcut::Failure);
  REQUIRE(ledger.execute("SELECT 1")(0, 0) == "1");
  REQUIRE_THROWS_AS(layout_of("Robert'); DROP TABLE").validate(), epochcut::Failure);
}
