// What does a scraper get to see?
// Counters and histograms from every run, gauges from the board at the moment of the scrape, in Prometheus' text format through prometheus-cpp.
// Names, labels and units are an interface: docs/operations/metrics.md lists them, and a test holds both against each other. Thread-safe.
// Labels are bounded: check by the configuration (others are `other`), status, reason, kind and signal by their enumerations.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "recon_engine/board.hpp"
#include "recon_engine/run.hpp"

namespace recon_engine {

/// One family, as metrics.md and the tests know it.
struct MetricInfo {
  std::string name, type, help;
  std::vector<std::string> labels;
};

/// Every family that scrape() can return.
const std::vector<MetricInfo>& all_metrics();

class Metrics final : public Sink {
 public:
  /// The board must outlive this.
  explicit Metrics(const Board& board);
  ~Metrics() override;

  /// Counts run by run; runs from the log at start are not for here: counters begin at zero with the process.
  void add(const Run& run) override;
  /// The body of /metrics: text/plain; version=0.0.4.
  std::string scrape();

 private:
  struct Families;
  const Board& board_;
  std::unique_ptr<Families> families_;
};

}  // namespace recon_engine
