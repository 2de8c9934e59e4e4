// How is a soak told to people and to programs?
// Layer: operate. Pure functions to text, JSON (RFC 8259) and Markdown; soak_html.hpp draws it. The report is checked in beside the soak log, so that
// each decision stands with what it was taken on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/soak_criteria.hpp>
#include <epochcut/verdict/explain.hpp>
#include <epochcut/verdict/report.hpp>

namespace epochcut {

inline constexpr std::size_t report_rows_max = 200;  ///< pairs and episodes shown in each list; what is left out is counted

namespace soak_detail {

inline std::string reasons_text(const Episode& e) {
  std::string text;
  for (const auto& [reason, n] : e.reasons) text += (text.empty() ? "" : ", ") + std::string(to_string(reason)) + (n > 1 ? " × " + std::to_string(n) : "");
  return text;
}
inline std::string other_text(const Episode& e) {
  std::string text;
  for (const Status s : all_statuses)
    if (const auto n = e.other[static_cast<std::size_t>(s)]; n != 0) text += (text.empty() ? "" : ", ") + std::to_string(n) + " " + std::string(to_string(s));
  return text.empty() ? "no run" : text;
}
inline std::string epochs_text(const Episode& e) {
  if (!e.epoch_first) return "";
  return e.epoch_first == e.epoch_last ? std::to_string(*e.epoch_first) : std::to_string(*e.epoch_first) + "–" + std::to_string(*e.epoch_last);
}
inline std::string run_text(const SoakReport& r, const std::optional<std::size_t>& run) {
  if (!run) return "–";
  const SoakRun& it = r.scan.runs[*run];
  return std::string(to_string(it.status)) + (it.reason == Reason::none ? "" : " (" + std::string(to_string(it.reason)) + ")");
}
inline std::string skew_text(const SoakPair& p) {
  return !p.old || !p.live ? "" : (p.skew.count() > 0 ? "+" : "") + number(static_cast<double>(p.skew.count()) / 1000, 1) + " s";
}

/// Pairs that say more than "agree".
inline bool notable(const SoakPair& p) { return p.kind != PairClass::agree || p.asserted != PairClass::agree; }

inline std::string noise_text(const SoakBounds& b) {
  if (b.days <= 0) return "noise: no time has passed, so nothing is known";
  return "noise: " + plural(b.false_fails, "false fail") + " in " + number(b.days, 1) + " days, so at most " + number(b.false_fails_per_day, 3) +
         " a day (one in " + number(b.false_fails_per_day > 0 ? 1 / b.false_fails_per_day : 0, 1) + " days) with 95 % confidence";
}
inline std::string sensitivity_text(const SoakBounds& b) {
  return "sensitivity: " + std::to_string(b.planted - b.planted_missed) + " of " + plural(b.planted, "distinct planted break") + " caught, so at most " +
         percent(b.missed_share) + " of such breaks are missed with 95 % confidence";
}
inline std::string pairs_text(const SoakBounds& b) {
  return "pairs: " + plural(b.divergences, "divergence") + " in " + plural(b.compared, "compared old fire") + ", so they disagree on at most " +
         percent(b.divergence_per_fire) + " of the fires with 95 % confidence";
}

/// A cell of a Markdown table: the text of a message is data, whatever it holds.
inline std::string cell(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '|' || c == '\\' || c == '`' || c == '[' || c == '*' || c == '_') out += '\\';
    if (c == '<')
      out += "&lt;";
    else
      out += c;
  }
  return out;
}

}  // namespace soak_detail

/// For a terminal: the decision first, then every criterion with what speaks against it.
inline std::string to_text(const SoakReport& r) {
  using namespace soak_detail;
  std::string out = std::string(to_string(r.decision)) + " " + r.live_id + " in the place of " + r.old_id + ": " + r.sentence + "\n";
  out += "  record " + to_text(r.from) + " to " + to_text(r.until) + ", clock started " + to_text(r.clock) + "\n";
  out += "  time elapsed: " + std::string(r.time_elapsed ? "yes" : "no") + "; signed off: " + (r.signed_off ? printable(r.signed_off->who) : "no") + "\n";
  for (const ClockRestart& c : r.restarts) out += "  clock restarted " + to_text(c.at) + ": " + printable(c.why) + "\n";
  out += "  " + noise_text(r.bounds) + "\n  " + sensitivity_text(r.bounds) + "\n  " + pairs_text(r.bounds) + "\n";
  for (const Criterion& c : r.criteria) {
    std::string name(to_string(c.id)), finding(to_string(c.finding));
    name.resize(std::max<std::size_t>(name.size(), 14), ' '), finding.resize(std::max<std::size_t>(finding.size(), 7), ' ');
    out += "  " + finding + " " + name + " " + printable(c.summary) + "\n";
    for (const std::string& e : c.evidence) out += "            - " + printable(e) + "\n";
    if (c.more > 0) out += "            - and " + std::to_string(c.more) + " more\n";
  }
  out += "  pairs:";
  for (const PairClass k : all_pair_classes) out += " " + std::string(to_string(k)) + " " + std::to_string(r.pairs[static_cast<std::size_t>(k)]);
  out += "\n  runs: " + std::to_string(r.counts.scheduled()) + " scheduled, " + std::to_string(r.counts.asserted()) + " asserted\n";
  std::size_t shown = 0;
  for (const Episode& e : r.scan.episodes) {
    if (shown++ == report_rows_max) break;
    out += "  episode " + std::string(to_string(e.status)) + " " + e.check_id + " " + to_text(e.first) + " to " + to_text(e.last) + ", " + plural(e.n, "run") +
           ", " + reasons_text(e) + (e.largest_gap ? ", largest difference " + to_string(*e.largest_gap) : "") + ", the other: " + other_text(e) + ": " +
           std::string(to_string(e.verdict)) + (e.evidence.empty() ? "" : " (" + printable(e.who) + ": " + printable(e.evidence) + ")") + "\n";
  }
  if (r.scan.episodes.size() > report_rows_max) out += "  and " + std::to_string(r.scan.episodes.size() - report_rows_max) + " more episodes\n";
  return out;
}

/// One JSON object on one line; field names are stable. All pairs and episodes up to report_rows_max, with the full counts beside them.
inline std::string to_json(const SoakReport& r) {
  using namespace soak_detail;
  using json::escaped, json::member;
  const auto list = [](const auto& items, auto text) {
    std::string out = "[";
    std::size_t n = 0;
    for (const auto& item : items) {
      if (n++ == report_rows_max) break;
      out += (out.size() > 1 ? "," : "") + text(item);
    }
    return out + "]";
  };
  const auto text = [](const std::string& t) { return escaped(t); };
  const auto boolean = [](bool b) { return std::string(b ? "true" : "false"); };
  const auto time = [](Instant at) { return escaped(to_text(at)); };
  const auto status = [&](const std::optional<std::size_t>& run) { return run ? escaped(to_string(r.scan.runs[*run].status)) : std::string("null"); };
  const auto epoch = [&](const std::optional<std::size_t>& run) {
    return run && r.scan.runs[*run].epoch ? std::to_string(*r.scan.runs[*run].epoch) : std::string("null");
  };

  std::string classes;
  for (const PairClass k : all_pair_classes)
    classes += (classes.empty() ? "" : ",") + member(to_string(k), std::to_string(r.pairs[static_cast<std::size_t>(k)]));
  const SoakBounds& b = r.bounds;
  return "{" + member("old", escaped(r.old_id)) + "," + member("live", escaped(r.live_id)) + "," + member("from", time(r.from)) + "," +
         member("until", time(r.until)) + "," + member("clock", time(r.clock)) + "," + member("decision", escaped(to_string(r.decision))) + "," +
         member("sentence", escaped(r.sentence)) + "," + member("time_elapsed", boolean(r.time_elapsed)) + "," +
         member("signed_off", r.signed_off ? escaped(r.signed_off->who) : "null") + "," +
         member("restarts",
                list(r.restarts, [&](const ClockRestart& c) { return "{" + member("at", time(c.at)) + "," + member("why", escaped(c.why)) + "}"; })) +
         "," +
         member("criteria", list(r.criteria,
                                 [&](const Criterion& c) {
                                   return "{" + member("id", escaped(to_string(c.id))) + "," + member("finding", escaped(to_string(c.finding))) + "," +
                                          member("summary", escaped(c.summary)) + "," + member("evidence", list(c.evidence, text)) + "," +
                                          member("more", std::to_string(c.more)) + "}";
                                 })) +
         "," +
         member("counts", "{" + member("pass", std::to_string(r.counts.by_status[0])) + "," + member("skipped", std::to_string(r.counts.by_status[1])) + "," +
                              member("error", std::to_string(r.counts.by_status[2])) + "," + member("fail", std::to_string(r.counts.by_status[3])) + "," +
                              member("missed", std::to_string(r.counts.missed)) + "," + member("missed_explained", std::to_string(r.counts.missed_explained)) +
                              "," + member("coalesced", std::to_string(r.counts.coalesced)) + "}") +
         "," +
         member("bounds", "{" + member("days", number(b.days, 3)) + "," + member("false_fails", std::to_string(b.false_fails)) + "," +
                              member("false_fails_per_day_max", number(b.false_fails_per_day, 5)) + "," + member("compared", std::to_string(b.compared)) + "," +
                              member("divergences", std::to_string(b.divergences)) + "," + member("divergence_per_fire_max", number(b.divergence_per_fire, 5)) +
                              "," + member("planted", std::to_string(b.planted)) + "," + member("planted_missed", std::to_string(b.planted_missed)) + "," +
                              member("missed_share_max", number(b.missed_share, 5)) + "}") +
         "," + member("cost_p99_ms", std::to_string(r.cost_p99.count())) + "," + member("interval_ms", std::to_string(r.interval.count())) + "," +
         member("pair_counts", "{" + classes + "}") + "," +
         member("pairs", list(r.scan.pairs,
                              [&](const SoakPair& p) {
                                return "{" + member("fire", time(p.fire)) + "," + member("class", escaped(to_string(p.kind))) + "," +
                                       member("asserting_class", escaped(to_string(p.asserted))) + "," + member("old", status(p.old)) + "," +
                                       member("live", status(p.live)) + "," + member("old_epoch", epoch(p.old)) + "," + member("live_epoch", epoch(p.live)) +
                                       "," + member("values", escaped(to_string(p.values))) + "," + member("apart_ms", std::to_string(p.apart.count())) + "," +
                                       member("skew_ms", std::to_string(p.skew.count())) + "," + member("candidates", std::to_string(p.candidates)) + "}";
                              })) +
         "," + member("pairs_total", std::to_string(r.scan.pairs.size())) + "," +
         member("episodes", list(r.scan.episodes,
                                 [&](const Episode& e) {
                                   return "{" + member("check", escaped(e.check_id)) + "," + member("status", escaped(to_string(e.status))) + "," +
                                          member("first", time(e.first)) + "," + member("last", time(e.last)) + "," + member("runs", std::to_string(e.n)) +
                                          "," + member("reasons", escaped(reasons_text(e))) + "," +
                                          member("largest_difference", e.largest_gap ? escaped(to_string(*e.largest_gap)) : "null") + "," +
                                          member("epochs", escaped(epochs_text(e))) + "," + member("other", escaped(other_text(e))) + "," +
                                          member("in_outage_ms", std::to_string(e.in_outage.count())) + "," +
                                          member("adjudication", escaped(to_string(e.verdict))) + "," + member("evidence", escaped(e.evidence)) + "," +
                                          member("who", escaped(e.who)) + "}";
                                 })) +
         "," + member("episodes_total", std::to_string(r.scan.episodes.size())) + "," +
         member("missed", list(r.scan.missed,
                               [&](const MissedFire& m) {
                                 return "{" + member("check", escaped(m.check_id)) + "," + member("fire", time(m.fire)) + "," +
                                        member("explained", boolean(m.explained)) + "}";
                               })) +
         "}";
}

/// For the soak log: tables that a review tool shows.
inline std::string to_markdown(const SoakReport& r) {
  using namespace soak_detail;
  std::string out = "## " + r.live_id + " in the place of " + r.old_id + "\n\n**" + std::string(to_string(r.decision)) + "**: " + cell(r.sentence) + "\n\n" +
                    "Record " + to_text(r.from) + " to " + to_text(r.until) + ", clock started " + to_text(r.clock) +
                    ". Time elapsed: " + (r.time_elapsed ? "yes" : "no") + ". Signed off: " + (r.signed_off ? cell(r.signed_off->who) : "no") + ".\n\n";
  for (const ClockRestart& c : r.restarts) out += "- clock restarted " + to_text(c.at) + ": " + cell(c.why) + "\n";
  out += "- " + noise_text(r.bounds) + "\n- " + sensitivity_text(r.bounds) + "\n- " + pairs_text(r.bounds) +
         "\n\n| criterion | finding | figures |\n|---|---|---|\n";
  for (const Criterion& c : r.criteria) {
    std::string evidence;
    for (const std::string& e : c.evidence) evidence += "<br>" + cell(e);
    if (c.more > 0) evidence += "<br>and " + std::to_string(c.more) + " more";
    out += "| " + cell(to_string(c.id)) + " | " + cell(to_string(c.finding)) + " | " + cell(c.summary) + evidence + " |\n";
  }
  out += "\n| pairs | n |\n|---|---|\n";
  for (const PairClass k : all_pair_classes) out += "| " + cell(to_string(k)) + " | " + std::to_string(r.pairs[static_cast<std::size_t>(k)]) + " |\n";
  std::string rows;
  std::size_t shown = 0, left = 0;
  for (const SoakPair& p : r.scan.pairs)
    if (notable(p)) {
      if (shown++ >= report_rows_max)
        ++left;
      else
        rows += "| " + to_text(p.fire) + " | " + cell(to_string(p.kind)) + " | " + cell(run_text(r, p.old)) + " | " + cell(run_text(r, p.live)) + " | " +
                cell(to_string(p.asserted)) + " | " + cell(to_string(p.values)) + " | " + skew_text(p) + " |\n";
    }
  if (!rows.empty()) out += "\n| old fire | class | old | live | nearest asserting | values | skew |\n|---|---|---|---|---|---|---|\n" + rows;
  if (left > 0) out += "\nand " + std::to_string(left) + " more pairs\n";
  if (!r.scan.episodes.empty())
    out +=
        "\n| episode | check | status | runs | reasons | largest difference | epochs | the other check | outage | adjudication |\n|---|---|---|---|---|---|---|---|---|---|\n";
  shown = 0;
  for (const Episode& e : r.scan.episodes) {
    if (shown++ == report_rows_max) break;
    out += "| " + to_text(e.first) + "<br>" + to_text(e.last) + " | " + cell(e.check_id) + " | " + std::string(to_string(e.status)) + " | " +
           std::to_string(e.n) + " | " + cell(reasons_text(e)) + " | " + (e.largest_gap ? to_string(*e.largest_gap) : "") + " | " + epochs_text(e) + " | " +
           other_text(e) + " | " + (e.in_outage.count() > 0 ? short_time(e.in_outage) : "") + " | " + cell(to_string(e.verdict)) +
           (e.evidence.empty() ? "" : ": " + cell(e.evidence) + " (" + cell(e.who) + ")") + " |\n";
  }
  if (r.scan.episodes.size() > report_rows_max) out += "\nand " + std::to_string(r.scan.episodes.size() - report_rows_max) + " more episodes\n";
  return out;
}

}  // namespace epochcut
