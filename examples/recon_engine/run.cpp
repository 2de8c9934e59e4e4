#include "recon_engine/run.hpp"

#include <cstdio>

#include <epochcut/verdict/report.hpp>
#include <epochcut/version.hpp>

namespace recon_engine {

using namespace epochcut;

namespace {

std::string array_of(const std::vector<std::vector<Cell>>& rows) {
  std::string text;
  for (const std::vector<Cell>& row : rows) text += (text.empty() ? "" : ",") + json::cells(row);
  return rows.empty() ? "" : "[" + text + "]";
}

std::string hex(const Digest& digest) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(digest.sum_high), static_cast<unsigned long long>(digest.sum_low));
  return text;
}

}  // namespace

Run run_of(const Outcome& o) {
  Run run;
  run.check_id = o.id;
  run.status = o.status, run.reason = o.reason, run.message = o.message;
  run.unsynchronised = o.unsynchronised, run.confirmed = o.confirmed, run.retryable = o.retryable;
  run.stream = o.stream, run.authority = o.authority, run.generation = o.generation, run.epoch = o.epoch;
  const auto witness = [](const SideReport& side) { return side.full_reads == 0 ? std::string() : std::string(to_string(side.witness)); };
  run.left_witness = witness(o.left), run.right_witness = witness(o.right);
  run.left = array_of(o.left.values), run.right = array_of(o.right.values);
  run.equal = o.counts.equal, run.changed = o.counts.changed, run.only_left = o.counts.only_left, run.only_right = o.counts.only_right;
  for (const Difference& d : o.differences)
    run.differences.push_back({std::string(to_string(d.kind)), cells_text(d.key), cells_text(d.left), cells_text(d.right)});
  run.rows = o.left.wire_rows + o.right.wire_rows, run.bytes = o.left.bytes + o.right.bytes;
  run.horizon_wait = std::max(o.left.waited, o.right.waited);
  run.left_took = o.left.took, run.right_took = o.right.took, run.took = o.took;
  run.attempts = std::max(o.left.attempts, o.right.attempts), run.full_reads = o.left.full_reads + o.right.full_reads;
  run.version = std::to_string(EPOCHCUT_VERSION_MAJOR) + "." + std::to_string(EPOCHCUT_VERSION_MINOR) + "." + std::to_string(EPOCHCUT_VERSION_PATCH);
  run.query_hash = hex(o.question);
  return run;
}

}  // namespace recon_engine
