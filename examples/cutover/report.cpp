#include "cutover/report.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace cutover {

using namespace epochcut;

namespace {

constexpr std::size_t bars_max = 240;  ///< of the timeline; more cuts share a bar, and the worst of them colours it

/// Set apart: a text written from right to left turns nothing around but itself.
std::string html(std::string_view text) { return "<bdi>" + html_text(text) + "</bdi>"; }

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, "\u202f");
  return digits;
}

int rank(const std::string& result) {
  if (result.ends_with("differs")) return 4;
  if (result.ends_with("unanswered")) return 3;
  if (result == "quiet") return 2;
  return result.starts_with("base") ? 1 : 0;
}
constexpr const char* classes[] = {"equal", "base", "quiet", "unanswered", "differs"};
constexpr const char* marks[] = {"\u2713", "\u00b7", "\u2013", "?", "\u2716"};

std::string timeline(const std::vector<CutLine>& lines) {
  if (lines.empty()) return "<p>No cut was taken.</p>";
  const std::size_t bars = std::min(lines.size(), bars_max);
  Millis longest{1};
  for (const CutLine& line : lines) longest = std::max(longest, line.took);
  const double width = 720.0 / static_cast<double>(bars);
  std::string svg = "<svg class=timeline viewBox=\"0 0 720 90\" role=img aria-label=\"" + std::to_string(lines.size()) + " cuts, the last at the right\">";
  for (std::size_t i = 0; i < bars; ++i) {
    const std::size_t from = i * lines.size() / bars, to = std::max(from + 1, (i + 1) * lines.size() / bars);
    const CutLine* worst = &lines[from];
    for (std::size_t k = from; k < to; ++k)
      if (rank(lines[k].result) > rank(worst->result)) worst = &lines[k];
    const double height = 8 + 72.0 * static_cast<double>(worst->took.count()) / static_cast<double>(longest.count());
    char bar[160];
    std::snprintf(bar, sizeof bar, "<rect class=%s x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>", classes[rank(worst->result)],
                  width * static_cast<double>(i), 88 - height, std::max(width - 1, 0.7), height);
    svg += bar + epochcut::to_text(worst->at) + ", at " + std::to_string(worst->sequence) + ": " + worst->result + " in " +
           std::to_string(worst->took.count()) + " ms</title></rect>";
  }
  svg += "</svg><p class=legend>";
  int counts[5] = {};
  for (const CutLine& line : lines) ++counts[rank(line.result)];
  const char* words[] = {"equal", "equal, of what is old", "nothing new", "without an answer", "different"};
  for (int i = 0; i < 5; ++i)
    if (counts[i] > 0) svg += "<span class=" + std::string(classes[i]) + ">" + marks[i] + " " + std::to_string(counts[i]) + " " + words[i] + "</span> ";
  return svg + "Height: how long the cut took, at most " + std::to_string(longest.count()) + " ms.</p>";
}

std::string threshold(const std::string& what, const std::string& shown, const std::string& wanted, bool met) {
  return "<tr><th scope=row>" + what + "</th><td>" + shown + "</td><td>" + wanted + "</td><td class=" + (met ? "equal>\u2713" : "unanswered>not yet") +
         "</td></tr>";
}

std::string names(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& name : list) text += (text.empty() ? "" : ", ") + html(name);
  return text.empty() ? "\u2013" : text;
}

bool all_in(const std::vector<std::string>& wanted, const std::vector<std::string>& seen) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& w) { return std::find(seen.begin(), seen.end(), w) != seen.end(); });
}

}  // namespace

std::string report_page(const VerdictRecord& r, const std::vector<SeamFact>& seams) {
  const GateThresholds& t = r.thresholds;
  const std::string banner = r.decision == "go" ? "equal" : r.decision == "no_go" ? "differs" : "unanswered";
  std::string page = R"(<!DOCTYPE html>
<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width, initial-scale=1"><title>)" +
                     html_text(r.candidate) + ": " + html_text(r.decision) + R"(</title><style>
:root{color-scheme:light dark;--ink:#1c2330;--paper:#fff;--line:#cfd6df;--good:#1a7f45;--bad:#c22f2f;--dull:#8a94a3;--warn:#a86a00}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9f0;--paper:#14181f;--line:#3a4350;--good:#4cc47f;--bad:#ff7a70;--dull:#8591a2;--warn:#e5a53a}}
*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:60rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}.verdict{border:2px solid;border-radius:.5rem;padding:.6rem .9rem}
.verdict p{color:var(--ink);margin:.3rem 0}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line)}
th,td.n{overflow-wrap:normal}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}.equal{color:var(--good);fill:var(--good)}.differs{color:var(--bad);fill:var(--bad)}.unanswered{color:var(--warn);fill:var(--warn)}
.base,.quiet{color:var(--dull);fill:var(--dull)}.legend span{margin-right:.8rem;white-space:nowrap}svg{width:100%;height:auto;border-bottom:1px solid var(--line)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .8rem;margin:.4rem 0}dt{color:var(--dull)}dd{margin:0}
.difference{border-left:3px solid var(--bad);padding-left:.6rem;margin:.6rem 0}code{font-size:.9em}
@media (max-width:30rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
</style></head><body>
)";
  page += "<header class=\"verdict " + banner + "\"><h1>" + html(r.decision) + ": " + html(r.candidate) + " for " + html(r.authority) + "</h1><p>" +
          html(r.why) + "</p></header>\n";
  page += "<dl><dt>build</dt><dd>" + html(r.build_id) + ", started " + html(r.candidate_started) + "</dd><dt>against</dt><dd>" + html(r.owner) +
          ", generation " + std::to_string(r.generation) + "</dd><dt>from</dt><dd>" + epochcut::to_text(r.began) + "</dd><dt>to</dt><dd>" +
          epochcut::to_text(r.ended) + "</dd><dt>signed off by</dt><dd>" + html(r.signed_off_by) + "</dd><dt>verdict</dt><dd><code>" + html(r.verdict_id) +
          "</code></dd></dl>\n";

  if (!r.differences.empty()) {
    page += "<h2>Differences</h2><p>Left is production, right is the shadow.</p>";
    for (const DifferenceLine& d : r.differences)
      page += "<div class=difference><b>" + html(d.check) + "</b><br>" + html(d.text) +
              (d.last_touched.empty() ? "" : "<br><small>" + html(d.last_touched) + "</small>") + "</div>\n";
  }
  page += "<h2>Cuts</h2>" + timeline(r.lines) + "\n";

  page += "<h2>What a go needs</h2><table><thead><tr><th></th><th>shown</th><th>needed</th><th></th></tr></thead><tbody>";
  page += threshold("equal cuts in a row", grouped(static_cast<std::uint64_t>(r.cuts)), grouped(static_cast<std::uint64_t>(t.cuts_min)), r.cuts >= t.cuts_min);
  page += threshold("between the first and the last", length_text(r.duration), length_text(t.duration_min), r.duration >= t.duration_min);
  page += threshold("events in between", grouped(r.events), grouped(t.events_min), r.events >= t.events_min);
  page += threshold("kinds of event", names(r.exercised.kinds), names(t.kinds), all_in(t.kinds, r.exercised.kinds));
  page += threshold("tables", names(r.exercised.tables), names(t.tables), all_in(t.tables, r.exercised.tables));
  page += threshold("positions touched", grouped(r.exercised.keys) + " of " + grouped(r.exercised.keys_total), std::to_string(t.keys_percent_min) + " %",
                    r.exercised.keys * 100 >= r.exercised.keys_total * static_cast<std::uint64_t>(t.keys_percent_min) && r.exercised.keys_total > 0);
  page += threshold("negative controls that held", std::to_string(r.controls), "one in " + std::to_string(t.control_every) + " cuts", r.controls > 0);
  page += "</tbody></table><p>" + std::to_string(r.not_counted) + " cuts had no answer and count for nothing; the run was begun " + std::to_string(r.runs) +
          (r.runs == 1 ? " time" : " times") + ". Rows up to " + grouped(r.base) + " were compared one by one before it.</p>\n";
  if (!r.allowances_used.empty()) page += "<p class=unanswered>But for what is allowed: " + names(r.allowances_used) + "</p>\n";

  if (!r.lines.empty()) {
    page += "<h2>The newest cut</h2><table><thead><tr><th>check</th><th>result</th><th>rows</th></tr></thead><tbody>";
    for (const CheckLine& c : r.lines.back().checks)
      page += "<tr><td>" + html(c.id) + "</td><td class=" +
              std::string(c.status == "pass"   ? "equal"
                          : c.status == "fail" ? "differs"
                                               : "unanswered") +
              ">" + html(c.status + (c.reason == "none" ? "" : ": " + c.reason)) + "</td><td class=n>" + grouped(c.equal) + " equal" +
              (c.differ > 0 ? ", " + grouped(c.differ) + " differ" : "") + "</td></tr>";
    page += "</tbody></table>\n";
  }

  page +=
      "<h2>Negative controls</h2><p>Production compared with itself must be equal, and with one value changed on the way must differ in exactly that one.</p>";
  if (r.control_lines.empty())
    page += "<p class=unanswered>There was none.</p>";
  else {
    page += "<table><thead><tr><th>at</th><th>same</th><th>planted</th><th>what</th></tr></thead><tbody>";
    const std::size_t from = r.control_lines.size() > 6 ? r.control_lines.size() - 6 : 0;
    for (std::size_t i = from; i < r.control_lines.size(); ++i) {
      const ControlLine& c = r.control_lines[i];
      page +=
          "<tr><td class=n>" + grouped(c.sequence) + "</td><td>" + html(c.same) + "</td><td>" + html(c.planted) + "</td><td>" + html(c.plant) + "</td></tr>";
    }
    page += "</tbody></table>";
    if (from > 0) page += "<p>" + std::to_string(from) + " earlier ones are in the record.</p>";
  }

  page += "\n<h2>Handovers</h2>";
  if (seams.empty())
    page += "<p>There was none: " + html(r.authority) + " has one owner from the beginning.</p>";
  else {
    page += "<table><thead><tr><th>when</th><th>from event</th><th>generation</th><th>verdict</th></tr></thead><tbody>";
    for (const SeamFact& s : seams)
      page += "<tr><td>" + html(s.at) + "</td><td class=n>" + grouped(s.s) + "</td><td class=n>" + std::to_string(s.from_gen) + " \u2192 " +
              std::to_string(s.to_gen) + "</td><td><code>" + html(s.verdict_id) + "</code></td></tr>";
    page += "</tbody></table>";
  }
  return page + "\n</body></html>\n";
}

}  // namespace cutover
