// The documents' C++, compiled and run: README.md and docs/*.md show the regions of this file. No server is asked.
#include <cstdio>
#include <map>
#include <stdexcept>
#include <string>

#include <epochcut/core/digest.hpp>
#include <epochcut/epochcut.hpp>
#include <epochcut/source/clickhouse.hpp>
#include <epochcut/source/memory.hpp>
#include <epochcut/source/postgres.hpp>
#include <epochcut/testing/conformance.hpp>

namespace {

void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

// region: writer_hash
std::uint64_t h(std::uint64_t x) {
  x ^= 0x4CF2D2BAAE6DA887, x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCD, x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53, x ^= x >> 33;
  return x;
}

struct RunningDigest {  // in the token, per relation
  std::uint64_t count = 0, low = 0, high = 0;
  void add(std::uint64_t id) { ++count, low += h(id), high += h(id ^ 0x9E3779B97F4A7C15); }
};
// end

void a_writer_counts_what_the_library_counts() {
  RunningDigest digest;
  epochcut::Digest expected;
  for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{256}, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    digest.add(id);
    expected += epochcut::digest_of_event_id(id);
  }
  expect(expected == epochcut::Digest{digest.count, digest.low, digest.high}, "the README's digest is not the library's");
}

void sources_take_their_addresses() {
  using namespace epochcut;
  // region: postgres
  Postgres ledger{"host=… user=recon dbname=exchange", {.table = "resume_tokens", .stream = "trade_engine"}};
  // end
  static_assert(Anchor<Postgres> && Follower<Postgres>);
  // region: clickhouse
  ClickHouse analytics{"https://recon:secret@host:8443/?database=exchange"};
  // end
  static_assert(Follower<ClickHouse>);
}

class MySource {
 public:
  // region: scan
  epochcut::Relation scan(const std::string& relation);  // the whole relation, with its event id column
  // end
  std::map<std::string, epochcut::Relation> stored{};
};
static_assert(epochcut::Follower<MySource>);

epochcut::Relation MySource::scan(const std::string& relation) {
  const auto it = stored.find(relation);
  if (it == stored.end()) throw epochcut::Failure(epochcut::Reason::not_found, "there is no " + relation);
  return it->second;
}

void a_source_proves_itself() {
  MySource source;
  // region: conformance
  const auto store = [&](const std::string& relation, const epochcut::Relation& rows) { source.stored[relation] = rows; };
  const auto report = epochcut::testing::conformance(source, store);
  for (const std::string& violation : report.violations) std::puts(violation.c_str());
  // end
  expect(report.violations.empty(), "a source that only scans does not conform");
  expect(report.asked > 100 && report.rows > 1'000, "the suite asked next to nothing");
}

void two_big_tables_are_compared() {
  epochcut::Memory ledger("ledger"), analytics("analytics");
  epochcut::Relation rows;
  rows.add("event_id", epochcut::Role::key, epochcut::Type::uint64).column.append_word(1 << 8);
  rows.add("amount", epochcut::Role::value, epochcut::Type::int64).column.append_word(7);
  for (epochcut::Memory* store : {&ledger, &analytics}) store->create("transactions", rows), store->insert("transactions", rows);
  epochcut::Token token;
  token.stream.id = "trade_engine", token.epoch = {1, 0};
  token.relations = {{"transactions", epochcut::digest_of_event_id(1 << 8)}};
  ledger.commit(token, {});
  // region: full_compare
  const epochcut::Query all = epochcut::events("transactions").values("amount");
  const epochcut::Outcome outcome = epochcut::full_compare(ledger, {.id = "every transaction", .left = {ledger, all}, .right = {analytics, all}});
  // end
  expect(outcome.status == epochcut::Status::pass && outcome.counts.equal == 1, "two equal tables don't pass");
}

}  // namespace

int main() {
  two_big_tables_are_compared();
  a_writer_counts_what_the_library_counts();
  sources_take_their_addresses();
  a_source_proves_itself();
}
