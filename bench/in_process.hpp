// What do the benches that need no server have in common?
// Each row of the report is two functions, ours and its limit, run in turns by Google Benchmark; the medians of their CPU times are divided. CPU time, for
// others may use the machine too. A program's rows run one after the other, so that only one row's tables are in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

#include <epochcut/epochcut.hpp>

namespace in_process {

using namespace epochcut;

struct Options {
  std::uint64_t rows = 10'000'000;
  int repetitions = 7;
  std::string only{};
  bool json = false, check = false;
};

inline Options options_of(int argc, char** argv, const char* what) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const char* next = i + 1 < argc ? argv[i + 1] : nullptr;
    if (argument == "--json") {
      options.json = true;
    } else if (argument == "--check") {
      options.check = true;
    } else if (argument == "--rows" && next != nullptr) {
      options.rows = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--repetitions" && next != nullptr) {
      options.repetitions = std::atoi(argv[++i]);
    } else if (argument == "--only" && next != nullptr) {
      options.only = argv[++i];
    } else {
      std::fprintf(argument == "--help" ? stdout : stderr,
                   "usage: %s [--rows N] [--repetitions N] [--only TEXT] [--check] [--json]\n"
                   "  %s\n"
                   "  --rows N         rows of a side (10000000)\n"
                   "  --repetitions N  of each row of the report, an odd number; the medians count (7)\n"
                   "  --only TEXT      only what has TEXT in its name; a $ stands for the name's end\n"
                   "  --check          only what bench/run.sh --check compares with the baseline\n"
                   "  --json           one JSON object per line instead of a table\n",
                   argv[0], what);
      std::exit(argument == "--help" ? 0 : 2);
    }
  }
  return options;
}

/// What one row of the report says beside its figures. `unit` is of both; more of it is better.
struct Row {
  std::string name;
  double aim = 0;  ///< of ours / limit; 0: there is none
  std::string unit = "Mrows/s";
  std::uint64_t rows = 0;
  double amount = 0;  ///< of one run, in units x seconds
  std::string note{};
  bool checked = false;  ///< against the baseline
  bool wall = false;     ///< time of the clock and not of the processor: for what has threads
};

/// Keeps the seconds of each repetition, by the benchmark's name.
class Medians final : public benchmark::BenchmarkReporter {
 public:
  explicit Medians(bool wall) : wall_(wall) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs)
      if (run.run_type == Run::RT_Iteration)
        (run.benchmark_name().find("ours") == 0 ? ours_ : limit_)
            .push_back((wall_ ? run.real_accumulated_time : run.cpu_accumulated_time) / static_cast<double>(run.iterations));
  }
  double ours() { return median(ours_); }
  double limit() { return median(limit_); }

 private:
  static double median(std::vector<double>& of) {
    if (of.empty()) return 0;
    std::sort(of.begin(), of.end());
    return of[of.size() / 2];
  }
  bool wall_;
  std::vector<double> ours_, limit_;
};

inline bool wanted(const Options& options, const Row& row) {
  return (options.only.empty() || (row.name + '$').find(options.only) != std::string::npos) && (!options.check || row.checked);
}

/// Measures one row and prints it. `before_ours` makes what a run of ours uses up.
inline void measure(const Options& options, const Row& row, const std::function<void()>& before_ours, const std::function<void()>& ours,
                    const std::function<void()>& limit) {
  if (!wanted(options, row)) return;
  before_ours(), ours(), limit();  // once, for pages that were never touched
  benchmark::RegisterBenchmark("ours",
                               [&](benchmark::State& state) {
                                 for (auto _ : state) {
                                   state.PauseTiming();
                                   before_ours();
                                   state.ResumeTiming();
                                   ours();
                                 }
                               })
      ->Iterations(1)
      ->Repetitions(options.repetitions);
  benchmark::RegisterBenchmark("limit",
                               [&](benchmark::State& state) {
                                 for (auto _ : state) limit();
                               })
      ->Iterations(1)
      ->Repetitions(options.repetitions);
  Medians medians(row.wall);
  benchmark::RunSpecifiedBenchmarks(&medians, ".*");
  benchmark::ClearRegisteredBenchmarks();
  const double mine = row.amount / medians.ours(), most = row.amount / medians.limit();
  std::printf(options.json
                  ? "{\"name\": \"%s\", \"ours\": %.4f, \"limit\": %.4f, \"ratio\": %.4f, \"aim\": %.2f, \"lower_is_better\": false, \"unit\": \"%s\", "
                    "\"rows\": %llu, \"checked\": %s, \"note\": \"%s\"}\n"
                  : "%-44s ours %8.3f limit %8.3f ratio %6.3f aim %4.2f %s, %llu rows, checked %s; %s\n",
              row.name.c_str(), mine, most, mine / most, row.aim, row.unit.c_str(), static_cast<unsigned long long>(row.rows), row.checked ? "true" : "false",
              row.note.c_str());
  std::fflush(stdout);
}

/// Runs the program's rows. Interleaving is what makes a ratio hold while others use the machine.
template <class Rows>
int run(int argc, char** argv, const char* what, Rows rows) {
  const Options options = options_of(argc, argv, what);
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {argv[0], interleave.data()};
  int count = 2;
  benchmark::Initialize(&count, arguments);
  rows(options);
  return 0;
}

/// Blocks like those of a source.
inline constexpr std::uint64_t block_rows = 65'536;

enum class Shape { narrow, wide, text_key };

inline std::string_view to_string(Shape shape) { return shape == Shape::narrow ? "narrow" : shape == Shape::wide ? "wide" : "text_key"; }

/// Row `i` of a table with a key of one column; every `change_every`-th row or so differs from the table without changes.
inline void append_row(Relation& t, Shape shape, std::uint64_t i, std::uint64_t change_every) {
  const std::uint64_t changed = change_every != 0 && mix(i * 7 + 3) % change_every == 0;
  char text[32];
  std::size_t f = 0;
  const auto word = [&](std::uint64_t w) { t.fields[f++].column.append_word(w); };
  const auto put_text = [&](const char* format, std::uint64_t w) {
    const int size = std::snprintf(text, sizeof text, format, static_cast<unsigned long long>(w));
    t.fields[f++].column.append_text({text, static_cast<std::size_t>(size)});
  };
  shape == Shape::text_key ? put_text("account-%012llu", i) : word(i);
  word(mix(i) % 1000), word(mix(i + 1) >> 24), word((mix(i + 2) >> 24) + changed), word(mix(i + 3) >> 24);
  if (shape != Shape::wide) return;
  for (std::uint64_t c = 4; c < 8; ++c) t.fields[f++].column.append_wide(static_cast<Int128>(mix(i + c)) << 20);
  put_text("%llu", mix(i) % 100), put_text("user-%llu", mix(i + 8) % 100'000), put_text("%llx", mix(i + 9));
  for (std::uint64_t c = 10; c < 13; ++c) i % 7 == c % 7 ? t.fields[f++].column.append_null() : word(mix(i + c));
  t.fields[f++].column.append_wide(static_cast<Int128>(static_cast<Uint128>(mix(i + 13)) << 64 | mix(i + 14)));
  word(mix(i + 15) >> 1);
}

inline Relation empty(Shape shape) {
  Relation t;
  t.add("id", Role::key, shape == Shape::text_key ? Type::text : Type::uint64);
  for (const char* name : {"key", "a", "b", "c"}) t.add(name, Role::value, Type::int64);
  if (shape != Shape::wide) return t;
  for (const char* name : {"d0", "d1", "d2", "d3"}) t.add(name, Role::value, Type::decimal, 8);
  for (const char* name : {"t0", "t1", "t2"}) t.add(name, Role::value, Type::text);
  for (const char* name : {"n0", "n1", "n2"}) t.add(name, Role::value, Type::int64);
  t.add("u", Role::value, Type::uuid), t.add("at", Role::value, Type::timestamp_ns);
  return t;
}

/// `order` says which row comes at each place.
template <class Order>
std::vector<Relation> blocks_of(Shape shape, std::uint64_t rows, std::uint64_t change_every, Order order) {
  std::vector<Relation> blocks;
  for (std::uint64_t at = 0; at < rows; ++at) {
    if (at % block_rows == 0) blocks.push_back(empty(shape));
    append_row(blocks.back(), shape, order(at), change_every);
  }
  return blocks;
}

inline std::uint64_t bytes_of(const std::vector<Relation>& blocks) {
  std::uint64_t bytes = 0;
  for (const Relation& block : blocks) bytes += block.bytes();
  return bytes;
}

/// The plain loop: every byte of every column, once.
inline void read_all(const std::vector<Relation>& blocks) {
  std::uint64_t sum[4]{};
  const auto read = [&](const std::uint64_t* words, std::size_t n) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) sum[0] += words[i], sum[1] += words[i + 1], sum[2] += words[i + 2], sum[3] += words[i + 3];
    for (; i < n; ++i) sum[0] += words[i];
  };
  for (const Relation& block : blocks)
    for (const Field& f : block.fields) {
      read(f.column.words().data(), f.column.words().size());
      read(reinterpret_cast<const std::uint64_t*>(f.column.wides().data()), f.column.wides().size() * 2);
      read(f.column.ends().data(), f.column.ends().size());
      read(reinterpret_cast<const std::uint64_t*>(f.column.characters().data()), f.column.characters().size() / 8);
    }
  benchmark::DoNotOptimize(sum);
}

/// Gives blocks away for the time of a diff and takes each back, so that no run pays for making or freeing them.
class LendingCursor final : public Cursor {
 public:
  explicit LendingCursor(std::vector<Relation>& blocks) : blocks_(&blocks) {}
  bool next(Relation& block) override {
    if (lent_) std::swap(block, (*blocks_)[at_++]);
    lent_ = at_ < blocks_->size();
    if (lent_) std::swap(block, (*blocks_)[at_]);
    return lent_;
  }
  Proof proof() const override { return {}; }

 private:
  std::vector<Relation>* blocks_;
  std::size_t at_ = 0;
  bool lent_ = false;
};

/// Gives blocks away for good.
class GivingCursor final : public Cursor {
 public:
  explicit GivingCursor(std::vector<Relation> blocks) : blocks_(std::move(blocks)) {}
  bool next(Relation& block) override {
    if (at_ == blocks_.size()) return false;
    block = std::move(blocks_[at_++]);
    return true;
  }
  Proof proof() const override { return {}; }

 private:
  std::vector<Relation> blocks_;
  std::size_t at_ = 0;
};

[[noreturn]] inline void fail(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

}  // namespace in_process
