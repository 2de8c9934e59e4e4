// How near is the diff of two ordered relations to reading their bytes and doing nothing else? Design: at least 0.8 of it when they are equal.
#include "in_process.hpp"

using namespace in_process;

namespace {

/// Per million.
struct Changes {
  const char* name;
  std::uint64_t every;
};

void rows_of(const Options& options, Shape shape, std::uint64_t rows) {
  const auto as_it_comes = [](std::uint64_t at) { return at; };
  for (const Changes& changes : {Changes{"equal", 0}, Changes{"0.01pct", 10'000}, Changes{"1pct", 100}}) {
    Row row{.name = "ordered_diff." + std::string(to_string(shape)) + "." + changes.name, .unit = "GB/s", .rows = rows};
    row.aim = shape == Shape::narrow && changes.every == 0 ? 0.8 : 0;
    row.checked = changes.every != 10'000;
    row.note = "limit: a plain loop that reads the same bytes";
    if (!wanted(options, row)) continue;
    std::vector<Relation> left = blocks_of(shape, rows, 0, as_it_comes), right = blocks_of(shape, rows, changes.every, as_it_comes);
    row.amount = 1e-9 * static_cast<double>(bytes_of(left) + bytes_of(right));
    measure(
        options, row, [] {},
        [&] {
          LendingCursor l(left), r(right);
          NullSink sink;
          const DiffCounts counts = diff(l, r, {}, sink);
          if (counts.left != rows || counts.right != rows || (counts.differences() != 0) != (changes.every != 0)) fail("the diff did not see what was planted");
        },
        [&] { read_all(left), read_all(right); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv, "The diff of two relations in key order against a plain loop over their bytes.", [](const Options& options) {
    rows_of(options, Shape::narrow, options.rows);
    rows_of(options, Shape::text_key, options.rows / 2);
    rows_of(options, Shape::wide, options.rows / 5);
  });
}
