// How does a soak look?
// Layer: operate. A pure function to one HTML page that needs nothing else: no script, no font, no picture from elsewhere. States have a shape as well as a
// colour, so that nobody needs to tell red from green; whatever the record holds is shown as data.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <epochcut/operate/soak_report.hpp>

namespace epochcut {

namespace soak_detail {

inline std::string tag(std::string_view finding) {
  return "<b class=\"" + std::string(finding.substr(0, finding.find('?'))) + "\">" + html_text(finding) + "</b>";
}

/// One shape per state: a square passes, a triangle fails, a cross doesn't know, a ring skips, a dash is missing.
inline std::string shape(std::string_view state, double x, double y, const std::string& title) {
  const auto at = [&](double dx, double dy) { return number(x + dx, 1) + " " + number(y + dy, 1); };
  std::string path;
  if (state == "pass" || state == "agree")
    path = "<path d=\"M" + at(-3, -3) + "h6v6h-6z\"/>";
  else if (state == "fail" || state == "miss?" || state == "both_fail" || state == "false_alarm?")
    path = "<path d=\"M" + at(0, -6) + "L" + at(6, 5) + "L" + at(-6, 5) + "z\"/>";
  else if (state == "error" || state == "live_no_assert" || state == "old_no_assert")
    path = "<path fill=\"none\" stroke-width=\"2\" d=\"M" + at(-4, -4) + "L" + at(4, 4) + "M" + at(4, -4) + "L" + at(-4, 4) + "\"/>";
  else if (state == "skipped" || state == "agree_values_differ")
    path = "<circle fill=\"none\" stroke-width=\"2\" cx=\"" + number(x, 1) + "\" cy=\"" + number(y, 1) + "\" r=\"4\"/>";
  else
    path = "<path fill=\"none\" stroke-width=\"2\" d=\"M" + at(-4, 0) + "h8\"/>";
  return "<g class=\"" + std::string(state.substr(0, state.find('?'))) + "\"><title>" + html_text(title) + "</title>" + path + "</g>";
}

/// Days run down, the hours of a day across: the worst state of each hour, and at the end of a day's row the pairs that its old fires made.
inline std::string timeline(const SoakReport& r) {
  using std::chrono::days;
  constexpr int pairs_drawn_max = 8;  // of a day
  constexpr int days_max = 60;        // drawn; an older record has its own report
  constexpr double left = 92, step = 22, row = 22, pairs_at = left + 24 * step + 24, pair_step = 20, width = pairs_at + 8 * pair_step;
  const auto last = std::chrono::floor<days>(r.until - Millis(1));
  const auto first = std::max(std::chrono::floor<days>(r.from), last - days(days_max - 1));
  const auto n = (last - first).count() + 1;
  const auto hour_of = [&](Instant at) { return (at - Instant(first)) / std::chrono::hours(1); };
  std::vector<int> worst(static_cast<std::size_t>(n * 24), -1);
  std::vector<std::uint64_t> runs(worst.size());
  std::vector<std::uint64_t> missing(worst.size());
  for (const MissedFire& m : r.scan.missed)
    if (m.check_id == r.live_id && m.fire >= Instant(first)) ++missing[static_cast<std::size_t>(hour_of(m.fire))];
  for (const SoakRun& run : r.scan.runs) {
    const auto h = hour_of(run.scheduled);
    if (run.check_id != r.live_id || run.scheduled < Instant(first) || h >= n * 24) continue;
    auto& slot = worst[static_cast<std::size_t>(h)];
    slot = std::max(slot, static_cast<int>(run.status));
    ++runs[static_cast<std::size_t>(h)];
  }
  const auto height = static_cast<double>(n) * row + 24;
  std::string out = "<svg viewBox=\"0 0 " + number(width, 0) + " " + number(height, 0) + "\" role=\"img\" aria-label=\"the worst state of each hour\">";
  for (int h = 0; h < 24; h += 3)
    out += "<text x=\"" + number(left + h * step + step / 2, 0) + "\" y=\"12\" text-anchor=\"middle\">" + std::to_string(h) + "</text>";
  for (int d = 0; d < n; ++d) {
    const double y = 24 + d * row;
    out += "<text x=\"0\" y=\"" + number(y + 12, 0) + "\">" + to_text(Instant(first + days(d))).substr(0, 10) + "</text>";
    for (int h = 0; h < 24; ++h) {
      const auto slot = static_cast<std::size_t>(d * 24 + h);
      if (worst[slot] < 0) {
        if (missing[slot] > 0)
          out += shape("missing", left + h * step + step / 2, y + 8,
                       to_text(Instant(first + days(d)) + std::chrono::hours(h)) + ": no run, " + plural(missing[slot], "fire") + " missed");
        continue;
      }
      const std::string state(to_string(static_cast<Status>(worst[slot])));
      out += shape(state, left + h * step + step / 2, y + 8,
                   to_text(Instant(first + days(d)) + std::chrono::hours(h)) + ": " + plural(runs[slot], "run") + ", worst " + state);
    }
  }
  out += "<text x=\"" + number(pairs_at, 0) + "\" y=\"12\">old fires</text>";
  std::vector<int> drawn(static_cast<std::size_t>(n));
  for (const SoakPair& p : r.scan.pairs) {
    if (p.fire < Instant(first)) continue;
    const auto d = static_cast<std::size_t>((std::chrono::floor<days>(p.fire) - first).count());
    const int k = drawn[d]++;
    if (k < pairs_drawn_max)
      out += shape(to_string(p.kind), pairs_at + 8 + k * pair_step, 32 + static_cast<double>(d) * row, to_text(p.fire) + ": " + std::string(to_string(p.kind)));
  }
  return out + "</svg>";
}

}  // namespace soak_detail

/// One page for all pairs of checks.
inline std::string to_html(const std::vector<SoakReport>& reports) {
  using namespace soak_detail;
  std::string out =
      "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Soak</title><style>"
      ":root{color-scheme:light dark;--ok:#2563a8;--bad:#b3261e;--dim:#767676;--line:#8884;--warn:#96620a}"
      "@media(prefers-color-scheme:dark){:root{--ok:#7cb8f2;--bad:#ff8a80;--dim:#9a9a9a;--warn:#e5b04c}}"
      "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;padding:0 1rem;max-width:62rem}h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.5rem}"
      ".scroll{overflow-x:auto}table{border-collapse:collapse;margin:.7rem 0}td,th{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line)}"
      "small{color:var(--dim)}ul{margin:.2rem 0;padding-left:1.2rem}svg{width:100%;min-width:34rem;font:11px system-ui,sans-serif}svg text{fill:currentColor}"
      ".pass,.agree,.met,.promote{fill:var(--ok);stroke:var(--ok);color:var(--ok)}.fail,.miss,.both_fail,.false_alarm,.not_met,.restart,.leave_the_old_one{fill:var(--bad);stroke:var(--bad);color:var(--bad)}"
      ".error,.live_no_assert,.old_no_assert,.agree_values_differ,.not_yet,.keep_soaking{fill:var(--warn);stroke:var(--warn);color:var(--warn)}.skipped,.unpaired,.old_missed,.missing{fill:var(--dim);stroke:var(--dim);color:var(--dim)}"
      "</style></head><body><h1>Soak</h1><div class=\"scroll\"><table><tr><th>check</th><th>decision</th><th>clock</th><th>time elapsed</th><th>signed off</th></tr>";
  for (const SoakReport& r : reports)
    out += "<tr><td>" + html_text(r.live_id) + "</td><td>" + tag(to_string(r.decision)) + "</td><td>" + number(r.bounds.days, 1) + " days</td><td>" +
           (r.time_elapsed ? "yes" : "no") + "</td><td>" + (r.signed_off ? html_text(r.signed_off->who) : "no") + "</td></tr>";
  out += "</table></div>";
  for (const SoakReport& r : reports) {
    out += "<h2>" + html_text(r.live_id) + "</h2><p>" + tag(to_string(r.decision)) + " " + html_text(r.sentence) + "</p><p><small>record " + to_text(r.from) +
           " to " + to_text(r.until) + ", clock started " + to_text(r.clock) + "</small></p><ul>";
    for (const ClockRestart& c : r.restarts) out += "<li>clock restarted " + to_text(c.at) + ": " + html_text(c.why) + "</li>";
    for (const std::string& line : {noise_text(r.bounds), sensitivity_text(r.bounds), pairs_text(r.bounds)}) out += "<li>" + html_text(line) + "</li>";
    out += "</ul><div class=\"scroll\"><table><tr><th>criterion</th><th>finding</th><th>figures</th></tr>";
    for (const Criterion& c : r.criteria) {
      out += "<tr><td>" + std::string(to_string(c.id)) + "</td><td>" + tag(to_string(c.finding)) + "</td><td>" + html_text(c.summary);
      if (!c.evidence.empty()) {
        out += "<ul>";
        for (const std::string& e : c.evidence) out += "<li>" + html_text(e) + "</li>";
        if (c.more > 0) out += "<li>and " + std::to_string(c.more) + " more</li>";
        out += "</ul>";
      }
      out += "</td></tr>";
    }
    out +=
        "</table></div><p><small>each hour (UTC) by its worst run: ■ pass, ▲ fail, ✕ error, ○ skipped, – missing; at the end of each day the pairs with its old fires, ○ where values differ</small></p>"
        "<div class=\"scroll\">" +
        timeline(r) + "</div>";
    if (!r.scan.episodes.empty())
      out +=
          "<div class=\"scroll\"><table><tr><th>episode</th><th>check</th><th>status</th><th>runs</th><th>reasons</th><th>largest difference</th><th>epochs</th><th>the other "
          "check</th><th>adjudication</th></tr>";
    std::size_t shown = 0;
    for (const Episode& e : r.scan.episodes) {
      if (shown++ == report_rows_max) break;
      out += "<tr><td>" + to_text(e.first) + "<br>" + to_text(e.last) + "</td><td>" + html_text(e.check_id) + "</td><td>" + tag(to_string(e.status)) +
             "</td><td>" + std::to_string(e.n) + "</td><td>" + html_text(reasons_text(e)) + "</td><td>" +
             (e.largest_gap ? html_text(to_string(*e.largest_gap)) : "") + "</td><td>" + epochs_text(e) + "</td><td>" + html_text(other_text(e)) + "</td><td>" +
             html_text(to_string(e.verdict)) + (e.evidence.empty() ? "" : ": " + html_text(e.evidence) + " (" + html_text(e.who) + ")") + "</td></tr>";
    }
    if (!r.scan.episodes.empty()) out += "</table></div>";
    if (r.scan.episodes.size() > report_rows_max) out += "<p>and " + std::to_string(r.scan.episodes.size() - report_rows_max) + " more episodes</p>";
  }
  return out + "</body></html>\n";
}

}  // namespace epochcut
