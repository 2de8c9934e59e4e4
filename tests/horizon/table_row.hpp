// What was counted on one write path, and does it hold?
// A row of the horizon's table: plain counts, the demands on them, and how they are printed. Values only; nothing is measured here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace horizon {

/// What must come out of a naive checker on one path: the control without which the other figures prove nothing.
enum class FalseFails : std::uint8_t { none, perhaps, some };

/// A naive checker on one path. Runs in which its sign never came are no runs.
struct NaiveCount {
  FalseFails expected = FalseFails::none;
  int runs = 0, false_fails = 0, gave_up = 0;

  bool seen_enough(int runs_min) const { return runs >= runs_min && (expected != FalseFails::some || false_fails > 0); }
};

struct Row {
  static constexpr int runs_min_default = 30;  ///< fewer prove little
  static constexpr int asserted_percent_min = 95;

  std::string path, label;
  int runs_min = runs_min_default;  ///< of each checker
  bool crashes = false;
  NaiveCount naive[3];  ///< max(ts), max(seq), count
  int runs = 0, pass = 0, fail = 0, error = 0, skipped = 0, asserted = 0;
  int false_verdicts = 0;
  int planted = 0, caught = 0;         ///< a changed amount, looked at so often; false verdicts among these count as false
  std::vector<std::int64_t> waits_ms;  ///< of each run: until the slowest of its readings was proved; 0 where the first look proved all
  std::vector<std::int64_t> took_ms;   ///< of each run: from before the cut to the verdict on its last invariant
  int readings = 0, whole_reads = 0;
  int kills = 0;
  std::uint64_t rows = 0, replayed = 0;  ///< in ClickHouse's transactions at the end, and how many of them stand there once more
  std::uint64_t sequence = 0;
  double seconds = 0;
  std::vector<std::string> broken;  ///< the harness itself: a writer that died, a store that failed, a last check that did not pass

  /// 0 of nothing.
  static std::int64_t quantile_of(std::vector<std::int64_t> sorted, double quantile) {
    if (sorted.empty()) return 0;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1))];
  }

  /// Has everything been seen that this path has to show? Until then a path runs on, within its limit.
  bool seen_enough() const {
    bool enough = runs >= runs_min && (!crashes || kills > 0);
    for (const NaiveCount& n : naive) enough = enough && n.seen_enough(runs_min);
    return enough;
  }

  /// Why this row does not hold, a sentence each; none if it does.
  std::vector<std::string> complaints() const {
    constexpr std::string_view names[] = {"max(ts)", "max(seq)", "count"};
    std::vector<std::string> all;
    const auto complain = [&](const std::string& sentence) { all.push_back(path + ": " + sentence); };
    for (const std::string& sentence : broken) complain(sentence);
    if (!broken.empty() && runs == 0) return all;  // what follows from that is no news
    if (false_verdicts > 0) complain(std::to_string(false_verdicts) + " FALSE VERDICTS of epochcut");
    if (runs < runs_min) complain("only " + std::to_string(runs) + " runs");
    if (asserted * 100 < runs * asserted_percent_min) complain("asserted only " + std::to_string(asserted) + " of " + std::to_string(runs) + " runs");
    if (pass + fail + error + skipped != runs) complain("the runs do not add up");
    if (planted == 0 || caught != planted) complain("a changed amount was caught in " + std::to_string(caught) + " of " + std::to_string(planted) + " runs");
    for (int i = 0; i < 3; ++i) {
      const NaiveCount& n = naive[i];
      const std::string name(names[i]);
      if (n.runs < runs_min) complain("only " + std::to_string(n.runs) + " runs of the checker by " + name);
      if (n.expected == FalseFails::some && n.false_fails == 0) complain("the checker by " + name + " was never wrong, so nothing was put to the test");
      if (n.expected == FalseFails::none && n.false_fails > 0) complain("the checker by " + name + " was wrong where it can't be: the harness is broken");
    }
    if (crashes && kills == 0) complain("no writer was killed");
    if (crashes && replayed == 0) complain("no row was replayed");
    return all;
  }

  static std::string head() {
    return "                                   |           false fails of           | epochcut\n"
           "write path                         |    max(ts)    max(seq)       count | runs pass fail error skip false asserted  took ms   wait ms      reads caught | kills "
           "replayed\n";
  }
  std::string text() const {
    char line[256];
    const std::string wait = std::to_string(quantile_of(waits_ms, 0.5)) + "/" + std::to_string(quantile_of(waits_ms, 1));
    std::snprintf(line, sizeof line, "%-34s |%11s %11s %11s | %4d %4d %4d %5d %4d %5d %7.1f%% %8lld %9s %10.2f %4d/%d | %5d %8llu\n", path.c_str(),
                  share(naive[0]).c_str(), share(naive[1]).c_str(), share(naive[2]).c_str(), runs, pass, fail, error, skipped, false_verdicts,
                  runs == 0 ? 0.0 : 100.0 * asserted / runs, static_cast<long long>(quantile_of(took_ms, 0.5)), wait.c_str(),
                  readings == 0 ? 0.0 : static_cast<double>(whole_reads) / readings, caught, planted, kills, static_cast<unsigned long long>(replayed));
    return line;
  }

  /// One JSON object. Every text in it is this program's own, but for `broken`, which is left to the text.
  std::string json() const {
    std::string out = "{\"path\":\"" + path + "\",\"label\":\"" + label + "\",\"crashes\":" + (crashes ? "true" : "false");
    constexpr std::string_view names[] = {"max_ts", "max_sequence", "count"};
    const auto number = [&](std::string_view name, auto value) { ((out += ",\"") += name) += "\":" + std::to_string(value); };
    for (int i = 0; i < 3; ++i) {
      ((out += ",\"") += names[i]) += "\":{\"runs\":" + std::to_string(naive[i].runs);
      number("false_fails", naive[i].false_fails), number("gave_up", naive[i].gave_up);
      out += "}";
    }
    out += ",\"epochcut\":{\"runs\":" + std::to_string(runs);
    number("pass", pass), number("fail", fail), number("error", error), number("skipped", skipped), number("false_verdicts", false_verdicts);
    number("asserted", asserted), number("took_ms_median", quantile_of(took_ms, 0.5)), number("took_ms_max", quantile_of(took_ms, 1));
    number("wait_ms_median", quantile_of(waits_ms, 0.5)), number("wait_ms_p99", quantile_of(waits_ms, 0.99)), number("wait_ms_max", quantile_of(waits_ms, 1));
    number("readings", readings), number("whole_reads", whole_reads), number("planted", planted), number("caught", caught);
    out += "}";
    number("kills", kills), number("rows", rows), number("replayed", replayed), number("events", sequence), number("seconds", seconds);
    return out + ",\"holds\":" + (complaints().empty() ? "true" : "false") + "}";
  }

 private:
  static std::string share(const NaiveCount& n) {
    char text[64];
    std::snprintf(text, sizeof text, "%.0f%% of %d", n.runs == 0 ? 0.0 : 100.0 * n.false_fails / n.runs, n.runs);
    return text;
  }
};

}  // namespace horizon
