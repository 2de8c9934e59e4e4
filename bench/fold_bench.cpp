// What does it cost to find the newest row of each key, and to sum by key, in memory? Design: six times DuckDB's speed (bench/peers/duckdb.mjs, the same
// data), and half of memory bandwidth where the keys come in order; here the limit is a plain loop over the relation's bytes.
#include "in_process.hpp"

#include <thread>

#include <epochcut/cut/split_fold.hpp>

using namespace in_process;

namespace {

enum class Keys { one_word, two_words, text };
enum class Order { events, keys };

constexpr std::size_t cache_bytes = 32 << 20;  // what a processor's last cache holds

constexpr std::uint64_t keys_of(std::uint64_t rows) { return rows / 50 + 1; }  // 200 000 of 10M rows

std::vector<Relation> table(std::uint64_t rows, Keys keys, Order order) {
  Relation t;
  t.add("event_id", Role::key, Type::uint64);
  t.add("key", Role::value, keys == Keys::text ? Type::text : Type::int64);
  for (const char* name : {"a", "b", "c"}) t.add(name, Role::value, Type::int64);
  for (std::uint64_t i = 0; i < rows; ++i) {
    // In key order, each key's events rise, as a table sorted by (key, event) has them.
    const std::uint64_t key = order == Order::keys ? i * keys_of(rows) / rows : mix(i) % keys_of(rows);
    t.fields[0].column.append_word(order == Order::keys ? i % 50 * rows + mix(i) % rows : i);
    if (keys == Keys::text)
      t.fields[1].column.append_text("account-" + std::to_string(1'000'000'000 + key));
    else
      t.fields[1].column.append_word(keys == Keys::two_words ? key / 8 : key);
    t.fields[2].column.append_word(keys == Keys::two_words ? key % 8 : mix(i + 2) >> 24);
    for (std::size_t c = 3; c < 5; ++c) t.fields[c].column.append_word(mix(i + c) >> 24);
  }
  std::vector<Relation> one;
  one.push_back(std::move(t));
  return one;
}

void row_of(const Options& options, const char* name, double aim, bool checked, Keys keys, Order order, const Query& query, const char* unit,
            const char* note) {
  Row row{.name = std::string("fold.") + name, .aim = aim, .unit = unit, .rows = options.rows, .note = note, .checked = checked};
  if (!wanted(options, row)) return;
  const std::vector<Relation> t = table(options.rows, keys, order);
  row.amount = row.unit == "GB/s" ? 1e-9 * static_cast<double>(bytes_of(t)) : 1e-6 * static_cast<double>(options.rows);
  if (bytes_of(t) < cache_bytes) row.aim = 0, row.note += "; the table fits a cache, so the limit is not memory's";
  const AsOf as_of{.stream = {.id = "bench", .leg_bits = 0}, .last_event_id = ~std::uint64_t{0}};
  measure(
      options, row, [] {}, [&] { benchmark::DoNotOptimize(fold(query.plan(), t[0], as_of).rows.rows()); }, [&] { read_all(t); });
}

/// Two threads beside one, by the clock.
void row_of_parts(const Options& options, const Query& query) {
  Row row{.name = "fold.latest.two_threads", .rows = options.rows, .note = "limit: the same on one thread, by the clock", .wall = true};
  if (!wanted(options, row)) return;
  const std::vector<Relation> t = table(options.rows, Keys::one_word, Order::events);
  row.amount = 1e-6 * static_cast<double>(options.rows);
  const AsOf as_of{.stream = {.id = "bench", .leg_bits = 0}, .last_event_id = ~std::uint64_t{0}};
  const auto two = [&] {
    SplitFold fold(query.plan(), t[0], as_of, 2);
    std::thread other([&] { fold.run(0); });
    fold.run(1);
    other.join();
    benchmark::DoNotOptimize(fold.answer().rows.rows());
  };
  measure(
      options, row, [] {}, two, [&] { benchmark::DoNotOptimize(fold(query.plan(), t[0], as_of).rows.rows()); });
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, "argMax and sums by key, over a relation in memory.", [](const Options& options) {
    const char* const loop = "limit: a plain loop that reads all of the relation; beside DuckDB: see there";
    const Query newest = latest("t").per("key").values("a", "b", "c");
    row_of(options, "latest", 0, true, Keys::one_word, Order::events, newest, "Mrows/s", loop);
    row_of(options, "latest.key_ordered", 0.5, true, Keys::one_word, Order::keys, newest, "GB/s", "limit: a plain loop that reads all five columns");
    row_of_parts(options, newest);
    row_of(options, "latest.composite", 0, false, Keys::two_words, Order::events, latest("t").per("key", "a").values("b", "c"), "Mrows/s", loop);
    row_of(options, "latest.text", 0, false, Keys::text, Order::events, newest, "Mrows/s", loop);
    row_of(options, "sum", 0, true, Keys::one_word, Order::events, events("t").by("key").sum("a").count(), "Mrows/s", loop);
  });
}
