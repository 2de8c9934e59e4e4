// How is an outcome told to people and to programs?
// Layer: verdict. Pure functions to text and to JSON (RFC 8259); the JSON's field names are stable.
#pragma once

#include <string>
#include <string_view>

#include <epochcut/verdict/check.hpp>
#include <epochcut/verdict/outcome.hpp>

namespace epochcut {

/// One line for a log: `pass transactions-balance-live @ 4711: 5 keys agree`, then one line per kept difference.
inline std::string to_text(const Outcome& o) {
  std::string text = std::string(to_string(o.status)) + " " + o.id;
  if (o.epoch) text += " @ " + std::to_string(o.epoch->sequence);
  if (o.unsynchronised) text += " (at rest, unsynchronised)";
  if (o.reason != Reason::none) text += ": " + std::string(to_string(o.reason));
  text += ": " + o.message;
  if (!o.how.empty()) text += " (" + printable(o.how) + ")";
  if (o.differences.size() > 1 || (o.differences.size() == 1 && o.counts.differences() > 1))
    for (const Difference& d : o.differences) text += "\n  " + to_text(d);
  if (o.counts.differences() > o.differences.size() && !o.differences.empty())
    text += "\n  ... and " + std::to_string(o.counts.differences() - o.differences.size()) + " more";
  return text;
}

namespace json {

inline std::string cells(const std::vector<Cell>& cells) {
  std::string out = "{";
  for (const Cell& c : cells) out += (out.size() > 1 ? "," : "") + member(c.name, c.value.value().null ? "null" : escaped(shortened(c.value.value())));
  return out + "}";
}

inline std::string side(const SideReport& s) {
  std::string out = "{" + member("relation", escaped(s.relation)) + "," + member("server", escaped(s.server.name)) + "," +
                    member("witness", escaped(to_string(s.witness))) + "," + member("completeness", escaped(to_string(s.completeness))) + "," +
                    member("rows", std::to_string(s.rows)) + "," + member("wire_rows", std::to_string(s.wire_rows)) + "," +
                    member("bytes", std::to_string(s.bytes)) + "," + member("waited_ms", std::to_string(s.waited.count())) + "," +
                    member("took_ms", std::to_string(s.took.count())) + "," + member("attempts", std::to_string(s.attempts)) + "," +
                    member("full_reads", std::to_string(s.full_reads));
  if (s.epoch) out += "," + member("stream", escaped(s.stream)) + "," + member("sequence", std::to_string(s.epoch->sequence));
  if (s.ids) out += "," + member("ids", escaped(to_string(*s.ids)));
  if (s.expected) out += "," + member("expected", escaped(to_string(*s.expected)));
  if (!s.values.empty()) {
    std::string rows;
    for (const std::vector<Cell>& row : s.values) rows += (rows.empty() ? "" : ",") + cells(row);
    out += "," + member("values", "[" + rows + "]");
  }
  return out + "}";
}

}  // namespace json

/// One JSON object on one line. Values are strings, so that no reader turns money into a double.
inline std::string to_json(const Outcome& o) {
  using namespace json;
  std::string out = "{" + member("id", escaped(o.id)) + "," + member("status", escaped(to_string(o.status))) + "," +
                    member("reason", escaped(to_string(o.reason))) + "," + member("message", escaped(o.message)) + "," +
                    (o.how.empty() ? "" : member("how", escaped(o.how)) + ",") + member("stream", escaped(o.stream)) + "," +
                    member("authority", escaped(o.authority)) + "," + member("generation", std::to_string(o.generation));
  if (o.epoch)
    out += "," + member("epoch", "{" + member("sequence", std::to_string(o.epoch->sequence)) + "," +
                                     member("execution_ns", std::to_string(o.epoch->execution_ns)) + "}");
  out += "," + member("unsynchronised", o.unsynchronised ? "true" : "false") + "," + member("confirmed", o.confirmed ? "true" : "false") + "," +
         member("retryable", o.retryable ? "true" : "false") + "," + member("claim", escaped(to_string(o.claim))) + "," + member("left", side(o.left)) + "," +
         member("right", side(o.right)) + "," +
         member("counts", "{" + member("equal", std::to_string(o.counts.equal)) + "," + member("only_left", std::to_string(o.counts.only_left)) + "," +
                              member("only_right", std::to_string(o.counts.only_right)) + "," + member("changed", std::to_string(o.counts.changed)) + "}") +
         ",";
  std::string seen = "[";
  for (const SeenEpoch& p : o.seen)
    seen += (seen.size() > 1 ? "," : "") + ("{" + member("stream", escaped(p.stream))) + "," + member("sequence", std::to_string(p.epoch.sequence)) + "," +
            member("execution_ns", std::to_string(p.epoch.execution_ns)) + "," + member("timeline", std::to_string(p.timeline)) + "}";
  out += member("seen", seen + "]") + ",";
  std::string differences = "[";
  for (const Difference& d : o.differences)
    differences += (differences.size() > 1 ? "," : "") + ("{" + member("kind", escaped(to_string(d.kind)))) + "," + member("key", cells(d.key)) + "," +
                   member("left", cells(d.left)) + "," + member("right", cells(d.right)) + "}";
  return out + member("differences", differences + "]") + "," +
         member("question", escaped(to_string(o.question).substr(to_string(o.question).rfind(' ') + 1))) + "," +
         member("took_ms", std::to_string(o.took.count())) + "}";
}

}  // namespace epochcut
