// One side of a bisection in memory. Its digests are the library's own; it can be made to lie, and to be slow.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <epochcut/core/row_hash.hpp>
#include <epochcut/cut/digest_side.hpp>
#include <epochcut/cut/evaluate.hpp>
#include <epochcut/testing/manual_clock.hpp>

namespace memory_side {

using namespace epochcut;
using epochcut::testing::ManualClock;

/// Its first column is the key.
class MemorySide final : public DigestSide {
 public:
  explicit MemorySide(Relation rows) : rows_(std::move(rows)) {}

  std::function<void(int question, Relation& rows)> before_question = [](int, Relation&) {};
  std::function<void(int fetch, Relation& rows)> before_fetch = [](int, Relation&) {};
  std::function<void(std::vector<CellDigest>& cells)> lie = [](std::vector<CellDigest>&) {};
  bool drop_fetched_row = false, another_event_fetched = false;
  std::optional<Digest> token{};
  ManualClock* watch = nullptr;
  double hash_ms = 0, send_ms = 0;  ///< of a row
  Millis trip{0};
  int questions = 0, fetches = 0, counted = 0;
  std::size_t ranges_most = 0;
  std::string refused{};

  std::string_view engine() const override { return "memory"; }
  Server server() const override { return {"memory", {}}; }
  std::string name() const override { return "memory"; }
  std::optional<Digest> expected() const override { return token; }
  std::uint64_t bytes() const override { return bytes_; }
  std::vector<DigestColumn> columns() const override {
    std::vector<DigestColumn> columns;
    for (const Field& f : rows_.fields)
      columns.push_back(
          {.name = f.name, .role = f.role, .type = f.column.type(), .scale = f.column.scale(), .why_refused = f.role == Role::value ? refused : ""});
    return columns;
  }
  void use(const DigestForm& form) override { form_ = form; }

  KeyBounds bounds(const Control&) override {
    ++counted;
    KeyBounds bounds{.rows = rows_.rows()};
    for (std::size_t row = 0; row < rows_.rows(); ++row) {
      if (is_null(row)) continue;
      bounds.least = bounds.keyed ? std::min(bounds.least, key(row)) : key(row);
      bounds.greatest = bounds.keyed ? std::max(bounds.greatest, key(row)) : key(row);
      bounds.keyed = true;
    }
    return bounds;
  }

  void ask(const KeyGrid& grid, std::span<const KeyRange> ranges, const Control&) override {
    require_idle();
    before_question(questions++, rows_);
    at_work_ = true;
    ranges_most = std::max(ranges_most, ranges.size());
    std::map<std::uint64_t, CellDigest> cells;
    double hashed = 0;
    for (std::size_t row = 0; row < rows_.rows(); ++row) {
      if (!in(ranges, row)) continue;
      std::uint64_t n = grid.cells;
      if (!is_null(row)) {
        const Int128 above = key(row) - grid.base;
        n = above < 0 ? 0 : static_cast<std::uint64_t>(std::min<Int128>(above >> grid.shift, static_cast<Int128>(grid.cells) - 1));
      }
      CellDigest& cell = cells[n];
      cell.cell = n;
      RowHash hash;
      for (const AgreedCell& agreed : form_.cells) hash.absorb(rows_.column(agreed.name)[row]);
      cell.rows += hash.digest();
      if (token) cell.ids += digest_of_event_id(static_cast<std::uint64_t>(key(row)));
      ++hashed;
    }
    pass(hashed * hash_ms);
    answer_.clear();
    for (const auto& [n, cell] : cells) answer_.push_back(cell);
    bytes_ += 64 * answer_.size();
    lie(answer_);
  }
  std::vector<CellDigest> answer(const Control&) override {
    at_work_ = false;
    return answer_;
  }

  AnyCursor fetch(std::span<const KeyRange> ranges, const Control&) override {
    require_idle();
    before_fetch(fetches++, rows_);
    ranges_most = std::max(ranges_most, ranges.size());
    Relation sent = rows_.empty_copy();
    Proof proof;
    if (token) proof.ids = Digest{};
    for (std::size_t row = 0; row < rows_.rows(); ++row) {
      if (!in(ranges, row)) continue;
      if (token) *proof.ids += digest_of_event_id(static_cast<std::uint64_t>(key(row)) + std::exchange(another_event_fetched, false));
      if (drop_fetched_row && !ranges.empty() && sent.rows() == 0 && std::exchange(drop_fetched_row, false)) continue;
      sent.append_row(rows_, row);
    }
    pass(static_cast<double>(sent.rows()) * send_ms);
    proof.rows = sent.rows(), proof.bytes = sent.bytes();
    return AnyCursor(new RelationCursor(std::move(sent), std::move(proof)));
  }

 private:
  /// As a connection that still sends one answer can't be asked for another.
  void require_idle() const {
    if (at_work_) throw Failure(Reason::connection, "another command is in progress");
  }
  bool is_null(std::size_t row) const { return rows_.fields[0].column.is_null(row); }
  Int128 key(std::size_t row) const { return is_null(row) ? 0 : rows_.fields[0].column[row].as_decimal().unscaled; }
  bool in(std::span<const KeyRange> ranges, std::size_t row) const {
    if (ranges.empty()) return true;
    for (const KeyRange& range : ranges) {
      if (range.null != is_null(row)) continue;
      if (range.null || ((!range.from || key(row) >= *range.from) && (!range.below || key(row) < *range.below))) return true;
    }
    return false;
  }
  void pass(double ms) {
    if (watch != nullptr) watch->advance(trip + Millis(static_cast<Millis::rep>(ms)));
  }

  Relation rows_;
  DigestForm form_;
  std::vector<CellDigest> answer_;
  std::uint64_t bytes_ = 0;
  bool at_work_ = false;
};

}  // namespace memory_side
