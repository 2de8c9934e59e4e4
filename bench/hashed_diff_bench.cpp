// What does the diff of two relations in no order cost? Design: a quarter of DuckDB's full join on one thread, which bench/peers/duckdb.mjs times on the same
// data; here its limit is a plain loop over the bytes.
#include "in_process.hpp"

#include <limits>

#include <malloc.h>

#include <epochcut/diff/hashed_diff.hpp>

using namespace in_process;

namespace {

void rows_of(const Options& options, Shape shape, std::uint64_t rows, bool memory_kept = false) {
  struct Changes {
    const char* name;
    std::uint64_t every;
  };
  // Two orders of the same rows; both factors are prime, and so divide no number of rows that is a power of ten.
  const auto order = [&](std::uint64_t factor) { return [=](std::uint64_t at) { return at * factor % rows; }; };
  for (const Changes& changes : {Changes{"equal", 0}, Changes{"0.01pct", 10'000}, Changes{"1pct", 100}}) {
    Row row{.name = "hashed_diff." + std::string(to_string(shape)) + "." + changes.name, .rows = rows, .amount = 1e-6 * static_cast<double>(rows)};
    row.checked = changes.every != 10'000 && !memory_kept;
    row.note = "limit: a plain loop that reads the same bytes; beside DuckDB: see there";
    if (memory_kept && changes.every != 0) continue;
    if (memory_kept) {
      row.name += ".memory_kept";
      row.note = "as hashed_diff.narrow.equal, but malloc keeps what is freed (mallopt), as DuckDB's allocator does; the rest is the kernel clearing pages";
    }
    if (!wanted(options, row)) continue;
    const std::vector<Relation> left = blocks_of(shape, rows, 0, order(48'271)), right = blocks_of(shape, rows, changes.every, order(16'807));
    std::vector<Relation> left_copy, right_copy;
    measure(
        options, row, [&] { left_copy = left, right_copy = right; },
        [&] {
          GivingCursor l(std::move(left_copy)), r(std::move(right_copy));
          NullSink sink;
          const DiffCounts counts = hashed_diff(l, r, {}, sink, {.bytes_max = std::uint64_t{64} << 30});
          if (counts.left != rows || counts.right != rows || (counts.differences() != 0) != (changes.every != 0)) fail("the diff did not see what was planted");
        },
        [&] { read_all(left), read_all(right); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, "The diff of two relations in no order.", [](const Options& options) {
    rows_of(options, Shape::narrow, options.rows / 2);
    rows_of(options, Shape::text_key, options.rows / 5);
    rows_of(options, Shape::wide, options.rows / 10);
    mallopt(M_MMAP_THRESHOLD, 1 << 30), mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
    rows_of(options, Shape::narrow, options.rows / 2, /*memory_kept=*/true);
  });
}
