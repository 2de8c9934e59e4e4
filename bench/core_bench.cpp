// What does the plain reference cost, in memory: the diff, the row hash and evaluate? Later, faster paths are measured against these.
// cmake -DEPOCHCUT_BUILD_BENCH=ON … && build/bench/core_bench --benchmark_out=bench.json
#include <benchmark/benchmark.h>

#include <epochcut/epochcut.hpp>

using namespace epochcut;

namespace {

/// event_id and four int64 columns; `groups` distinct keys.
Relation table(std::int64_t rows, std::uint64_t groups) {
  Relation t;
  t.add("event_id", Role::key, Type::uint64);
  for (const char* name : {"key", "a", "b", "c"}) t.add(name, Role::value, Type::int64);
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(rows); ++i) {
    t.fields[0].column.append_word(i);
    t.fields[1].column.append_word(mix(i) % groups);
    for (std::size_t c = 2; c < 5; ++c) t.fields[c].column.append_word(mix(i + c) >> 24);
  }
  return t;
}

void report(benchmark::State& state, const Relation& t) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(t.rows()));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(t.bytes()));
}

void diff_of_equal_relations(benchmark::State& state) {
  const Relation t = table(state.range(0), 1'000);
  for (auto _ : state) {
    RelationCursor left(t, {}), right(t, {});
    NullSink sink;
    benchmark::DoNotOptimize(diff(left, right, {}, sink).equal);
  }
  report(state, t);
}
BENCHMARK(diff_of_equal_relations)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

void digest_of_rows(benchmark::State& state) {
  const Relation t = table(state.range(0), 1'000);
  for (auto _ : state) {
    Digest sum;
    for (std::size_t row = 0; row < t.rows(); ++row) sum += digest_of_row(t, row);
    benchmark::DoNotOptimize(sum);
  }
  report(state, t);
}
BENCHMARK(digest_of_rows)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

void evaluate_query(benchmark::State& state, const Query& query) {
  const Relation t = table(state.range(0), 20'000);
  const Stream stream{.id = "bench", .leg_bits = 0};
  for (auto _ : state) benchmark::DoNotOptimize(evaluate(query.plan(), t, as_of(stream, {static_cast<std::uint64_t>(state.range(0)), 0})).rows.rows());
  report(state, t);
}
BENCHMARK_CAPTURE(evaluate_query, latest, latest("t").per("key").values("a", "b", "c"))->Arg(1'000'000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(evaluate_query, sum, events("t").by("key").sum("a"))->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
