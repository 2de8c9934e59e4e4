// How is an outcome put into words?
// Layer: verdict. Pure functions to text: one sentence a verdict, one line a difference, nothing in a value can break out of its line.
#pragma once

#include <string>
#include <string_view>

#include <epochcut/core/row_hash.hpp>
#include <epochcut/verdict/escape.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

inline constexpr std::size_t value_bytes_shown_max = 1'024;  ///< of one value: ten differences of long texts must still fit a log's row

/// A value as text. Of a long one the beginning, its size and its hash, so that two which differ later still look different.
inline std::string shortened(const Value& value) {
  std::string text = to_string(value);
  if (text.size() <= value_bytes_shown_max) return text;
  std::size_t end = value_bytes_shown_max;
  while (end > value_bytes_shown_max - 4 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a UTF-8 sequence
  RowHash hash;
  hash.absorb(value);
  return text.substr(0, end) + "... (" + std::to_string(text.size()) + " bytes, digest " + to_string(hash.digest()) + ")";
}

/// A value for people: in quotes where a text would look like something else.
inline std::string shown(const Value& value) {
  const std::string text = shortened(value);
  const bool quoted =
      value.type == Type::text && !value.null && (text.empty() || text == "NULL" || text.front() == ' ' || text.back() == ' ' || text.front() == '"');
  return quoted ? '"' + text + '"' : text;
}

inline std::string cells_text(const std::vector<Cell>& cells) {
  std::string text;
  for (const Cell& cell : cells) text += (text.empty() ? "" : ", ") + cell.name + "=" + printable(shown(cell.value.value()));
  return text.empty() ? "(total)" : text;
}

/// One difference in words: `changed currency=EUR: left amount=10.00, right amount=11.00`.
inline std::string to_text(const Difference& d) {
  std::string text = std::string(to_string(d.kind)) + " " + cells_text(d.key) + ":";
  if (d.kind != DifferenceKind::only_right) text += " left " + cells_text(d.left);
  if (d.kind == DifferenceKind::changed) text += ",";
  if (d.kind != DifferenceKind::only_left) text += " right " + cells_text(d.right);
  return text;
}

inline std::string shortfall_text(const SideReport& side) {
  if (!side.ids || !side.expected) return side.relation + " is not proved complete by its " + std::string(to_string(side.witness));
  std::string text = side.relation + " shows " + std::to_string(side.ids->count) + " events where the ledger counts " + std::to_string(side.expected->count);
  if (side.ids->count == side.expected->count) text += ", but not the same ones";
  return text;
}

/// Why this outcome is what it is, in one sentence. `side`: the one that gave the reason, with the first of its conflicting ids.
inline std::string explain(const Outcome& o, const SideReport& side, const std::string& conflicting_ids) {
  const std::string first = o.differences.empty() ? "" : "; " + to_text(o.differences.front());
  switch (o.reason) {
    case Reason::none:
      return std::to_string(o.counts.equal) + (o.counts.equal == 1 ? " key agrees" : " keys agree") + (o.claim == Claim::digest ? " by digest" : "");
    case Reason::differs:
      return std::to_string(o.counts.differences()) + " of " + std::to_string(o.counts.equal + o.counts.differences()) + " keys differ" + first;
    case Reason::missing_rows: return shortfall_text(side) + ", all acknowledged: rows are gone" + first;
    case Reason::extra_rows: return shortfall_text(side) + ": rows that the ledger never committed" + first;
    case Reason::conflicting_rows: return side.relation + " holds two different rows of one event id: " + conflicting_ids + first;
    case Reason::horizon_not_proven:
      return shortfall_text(side) + " after waiting " + std::to_string(side.waited.count()) + " ms; look at the pipeline that fills it";
    case Reason::replica_lag:
      return shortfall_text(side) + " on " + side.server.name + ", while another server acknowledged them: read that one, or wait for replication";
    case Reason::cut_violated:
      return "a second read at the same epoch showed something else, which a true cut can't; the writer does not keep what its stream declares" + first;
    case Reason::empty: return "both sides are empty and the ledger counts no events: nothing was asserted";
    case Reason::nothing_selected: return "both sides are complete but the query selects no row of either: nothing was asserted, look at its where()";
    default: return std::string(to_string(o.reason));
  }
}

}  // namespace epochcut
