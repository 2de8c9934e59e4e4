// The metrics: their names and labels are an interface, the dashboards use no other, and the figures are those of the runs.
#include "support/catch.hpp"

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "recon_engine/metrics.hpp"
#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Reason;
using epochcut::Status;

namespace {

const std::string live = "transactions-balance-live";

std::string text_of(const std::string& path) {
  std::ifstream file(std::string(EPOCHCUT_ROOT) + "/" + path);
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Scrape {
  std::map<std::string, std::string> type, help;
  std::map<std::string, double> samples;  ///< `name{labels}`
  std::map<std::string, std::set<std::string>> labels;
};

/// The text format 0.0.4, strictly: HELP and TYPE come before a family's samples, and no line is anything else.
Scrape parse(const std::string& text) {
  static const std::regex help_line("# HELP ([a-z_]+) (.+)"), type_line("# TYPE ([a-z_]+) (counter|gauge|histogram)");
  static const std::regex sample_line("([a-z_]+)(\\{(.*)\\})? (-?[0-9.e+]+|\\+Inf|NaN)"), label("([a-z]+)=\"((?:[^\"\\\\]|\\\\.)*)\",?");
  Scrape scrape;
  std::istringstream lines(text);
  std::smatch m;
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    if (std::regex_match(line, m, help_line)) {
      REQUIRE(scrape.help.emplace(m[1], m[2]).second);
    } else if (std::regex_match(line, m, type_line)) {
      REQUIRE(scrape.type.emplace(m[1], m[2]).second);
    } else {
      REQUIRE(std::regex_match(line, m, sample_line));
      std::string family = m[1];
      if (!scrape.type.contains(family)) family = std::regex_replace(family, std::regex("_(bucket|sum|count)$"), "");
      REQUIRE(scrape.type.contains(family));
      REQUIRE(scrape.help.contains(family));
      const std::string all = m[3], key = m[1].str() + m[2].str();
      for (std::sregex_iterator i(all.begin(), all.end(), label), end; i != end; ++i)
        if ((*i)[1] != "le") scrape.labels[family].insert((*i)[1]);
      REQUIRE(scrape.samples.emplace(key, std::stod(m[4])).second);
    }
  }
  return scrape;
}

}  // namespace

TEST_CASE("metrics: the names that others rely on") {
  std::set<std::string> names;
  for (const MetricInfo& info : all_metrics()) {
    INFO(info.name);
    CHECK(names.insert(info.name).second);
    CHECK(info.name.starts_with("epochcut_"));
    CHECK((info.type == "counter") == info.name.ends_with("_total"));
    CHECK_FALSE(info.help.empty());
    for (const char* derived : {"_ms", "_us", "_minutes", "_milliseconds", "_kb"}) CHECK_FALSE(info.name.ends_with(derived));
  }
  for (const char* promised : {"epochcut_check_runs_total", "epochcut_check_last_asserted_timestamp_seconds", "epochcut_check_duration_seconds",
                               "epochcut_horizon_wait_seconds", "epochcut_schedule_missed_total", "epochcut_authority_generation"})
    CHECK(names.contains(promised));
}

TEST_CASE("metrics: a scrape parses and has every family with its labels and no other") {
  Board board(sample::now, "0.1.0");
  Metrics metrics(board);
  sample::fill(board);
  metrics.add(sample::failed(live, sample::now));
  const Scrape scrape = parse(metrics.scrape());
  std::set<std::string> found, wanted;
  for (const auto& [name, type] : scrape.type) found.insert(name);
  for (const MetricInfo& info : all_metrics()) {
    INFO(info.name);
    wanted.insert(info.name);
    REQUIRE(scrape.type.contains(info.name));
    CHECK(scrape.type.at(info.name) == info.type);
    CHECK(scrape.help.at(info.name) == info.help);
    const std::set<std::string> labels(info.labels.begin(), info.labels.end());
    CHECK((scrape.labels.contains(info.name) ? scrape.labels.at(info.name) : std::set<std::string>{}) == labels);
  }
  CHECK(found == wanted);
}

TEST_CASE("metrics: the figures are those of the runs") {
  Board board(sample::now, "0.1.0");
  Metrics metrics(board);
  board.configure(sample::summaries());
  Scrape scrape = parse(metrics.scrape());
  const std::string of = "{check=\"" + live + "\"}";
  // A rate needs a zero to begin from.
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"none\",status=\"pass\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"connection\",status=\"error\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"differs\",status=\"fail\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"precondition\",status=\"skipped\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_last_asserted_timestamp_seconds" + of) == 0);
  CHECK(scrape.samples.at("epochcut_check_interval_seconds" + of) == 300);
  CHECK(scrape.samples.at("epochcut_check_interval_seconds{check=\"pnl-is-zero-sum-live\"}") == 0);

  const auto finish = [&](const Run& run) { board.add(run), metrics.add(run); };
  Run slow = sample::run(live, sample::now, Status::error, Reason::horizon_not_proven);
  slow.took = Millis{30'500}, slow.horizon_wait = Millis{30'000};
  finish(sample::failed(live, sample::now));
  finish(slow);
  board.waiting(live, sample::now, 2, 1);
  board.firing(live, Signal::invariant, sample::now);
  board.spooled(4);
  board.page_failed("x"), board.page_failed("x"), board.page_delivered();
  scrape = parse(metrics.scrape());
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"differs\",status=\"fail\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"" + live + "\",reason=\"horizon_not_proven\",status=\"error\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_differences_total{check=\"" + live + "\",kind=\"changed\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_differences_total{check=\"" + live + "\",kind=\"only_left\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_differences_total{check=\"" + live + "\",kind=\"only_right\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_rows_total" + of) == 2 * 48'210);
  CHECK(scrape.samples.at("epochcut_check_bytes_total" + of) == 2 * 1'930'400);
  CHECK(scrape.samples.at("epochcut_check_duration_seconds_count" + of) == 2);
  CHECK(scrape.samples.at("epochcut_check_duration_seconds_sum" + of) == Approx(30.87));
  CHECK(scrape.samples.at("epochcut_check_duration_seconds_bucket{check=\"" + live + "\",le=\"0.5\"}") == 1);
  CHECK(scrape.samples.at("epochcut_horizon_wait_seconds_bucket{check=\"" + live + "\",le=\"30\"}") == 2);
  CHECK(scrape.samples.at("epochcut_check_last_asserted_timestamp_seconds" + of) == Approx(1'781'060'710.41).epsilon(1e-12));
  CHECK(scrape.samples.at("epochcut_check_unasserted_runs" + of) == 3);  // an error and two missed fires
  CHECK(scrape.samples.at("epochcut_schedule_missed_total" + of) == 2);
  CHECK(scrape.samples.at("epochcut_schedule_coalesced_total" + of) == 1);
  CHECK(scrape.samples.at("epochcut_check_status{check=\"" + live + "\",status=\"error\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_status{check=\"" + live + "\",status=\"fail\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_firing{check=\"" + live + "\",signal=\"invariant\"}") == 1);
  CHECK(scrape.samples.at("epochcut_check_firing{check=\"" + live + "\",signal=\"infrastructure\"}") == 0);
  CHECK(scrape.samples.at("epochcut_check_paging" + of) == 0);
  CHECK(scrape.samples.at("epochcut_authority_generation" + of) == 7);
  CHECK(scrape.samples.at("epochcut_spool_runs") == 4);
  CHECK(scrape.samples.at("epochcut_pages_total{result=\"failed\"}") == 2);
  CHECK(scrape.samples.at("epochcut_pages_total{result=\"delivered\"}") == 1);
  // A second scrape counts nothing twice.
  CHECK(parse(metrics.scrape()).samples == scrape.samples);
}

TEST_CASE("metrics: labels are bounded, whatever ids arrive") {
  Board board(sample::now, "0.1.0");
  Metrics metrics(board);
  board.configure(sample::summaries());
  metrics.add(sample::run("somebody-elses", sample::now));
  const std::size_t before = parse(metrics.scrape()).samples.size();
  for (int k = 0; k < 1'000; ++k) metrics.add(sample::run("no-such-check-" + std::to_string(k) + "\"\\\n", sample::now));
  const Scrape scrape = parse(metrics.scrape());
  CHECK(scrape.samples.size() == before);
  CHECK(scrape.samples.at("epochcut_check_runs_total{check=\"other\",reason=\"none\",status=\"pass\"}") == 1'001);
}

TEST_CASE("metrics: the reference in the documents is the code") {
  const std::string reference = text_of("docs/operations/metrics.md");
  for (const MetricInfo& info : all_metrics()) {
    std::string labels;
    for (const std::string& label : info.labels) labels += (labels.empty() ? "`" : ", `") + label + "`";
    const std::string row = "| `" + info.name + "` | " + info.type + " | " + (labels.empty() ? "–" : labels) + " | " + info.help + " |";
    INFO(row);
    CHECK(reference.find(row) != std::string::npos);
  }
  static const std::regex row("\\| `(epochcut_[a-z_]+)` \\| (counter|gauge|histogram) ");
  CHECK(static_cast<std::size_t>(std::distance(std::sregex_iterator(reference.begin(), reference.end(), row), {})) == all_metrics().size());
}

TEST_CASE("metrics: dashboard and alert rules ask for nothing that is not there") {
  const std::string dashboard = text_of("docs/operations/grafana.json"), rules = text_of("docs/operations/alerts.yml");
  const auto json = nlohmann::json::parse(dashboard);
  REQUIRE(json.at("panels").size() > 4);
  for (const auto& panel : json.at("panels"))
    if (panel.at("type") != "row" && panel.at("type") != "text") {
      INFO(panel.at("title"));
      CHECK_FALSE(panel.at("targets").empty());
      for (const auto& target : panel.at("targets")) CHECK(target.at("expr").get<std::string>().find("epochcut_") != std::string::npos);
    }
  static const std::regex metric("epochcut_[a-z_]+"), selector("(epochcut_[a-z_]+)\\{([^}]*)\\}"), matcher("([a-z]+) *(=~|!~|!=|=)");
  for (const std::string& text : {dashboard, rules}) {
    std::size_t found = 0;
    for (std::sregex_iterator i(text.begin(), text.end(), metric), end; i != end; ++i, ++found) {
      const std::string name = (*i)[0];
      INFO(name);
      CHECK(std::any_of(all_metrics().begin(), all_metrics().end(), [&](const MetricInfo& info) {
        return name == info.name || (info.type == "histogram" && (name == info.name + "_bucket" || name == info.name + "_sum" || name == info.name + "_count"));
      }));
    }
    CHECK(found > 5);
    // Nor for labels that they don't have.
    for (std::sregex_iterator i(text.begin(), text.end(), selector), end; i != end; ++i) {
      const std::string name = std::regex_replace((*i)[1].str(), std::regex("_(bucket|sum|count)$"), ""), inside = (*i)[2];
      const auto info = std::find_if(all_metrics().begin(), all_metrics().end(), [&](const MetricInfo& m) { return m.name == name; });
      REQUIRE(info != all_metrics().end());
      for (std::sregex_iterator k(inside.begin(), inside.end(), matcher); k != end; ++k) {
        INFO(name << " " << (*k)[1]);
        CHECK(std::find(info->labels.begin(), info->labels.end(), (*k)[1].str()) != info->labels.end());
      }
    }
  }
}
