#include "recon_engine/page.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>
#include <vector>

#include <epochcut/core/decimal.hpp>
#include <epochcut/verdict/escape.hpp>

namespace recon_engine {

using epochcut::html_text;
using epochcut::Reason;
using epochcut::Status;
using epochcut::to_text;

namespace {

/// What a check's newest results come to, the worst first.
enum class Condition : std::uint8_t { broken, unknown, stale, skipped, holds, never, off };

struct Look {
  std::string_view css, mark, word;
};
constexpr Look look_of(Condition c) {
  constexpr Look looks[] = {{"broken", "\u2716", "broken"},        {"unknown", "!", "could not know"}, {"stale", "?", "not asserted lately"},
                            {"skipped", "\u2013", "not asserted"}, {"holds", "\u2713", "holds"},       {"never", "\u00b7", "not run yet"},
                            {"off", "\u25cb", "switched off"}};
  return looks[static_cast<std::size_t>(c)];
}

/// The last run that asserted, if the board still has it.
const Run* last_asserting(const CheckState& check) {
  const auto found = std::find_if(check.runs.rbegin(), check.runs.rend(), [](const Run& r) { return asserts(r); });
  return found == check.runs.rend() ? nullptr : &*found;
}

Condition condition_of(const CheckState& check, Instant now) {
  if (!check.config.enabled) return Condition::off;
  // An error after a fail takes nothing back: what was broken is broken until a run says that it holds.
  const Run* asserted = last_asserting(check);
  if (check.firing.contains(Signal::invariant) || (asserted != nullptr && asserted->status == Status::fail)) return Condition::broken;
  if (check.runs.empty()) return Condition::never;
  if (check.runs.back().status == Status::error || check.firing.contains(Signal::infrastructure)) return Condition::unknown;
  const bool late = check.config.interval.count() > 0 && check.last_asserted && now - *check.last_asserted > 2 * check.config.interval;
  if (check.runs.back().status == Status::skipped) return late ? Condition::stale : Condition::skipped;
  return late || check.unasserted >= 2 ? Condition::stale : Condition::holds;
}

struct Asserted {
  std::string_view invariant, sentence;
};
constexpr Asserted sentences[] = {
    {"transactions-balance", "The ledger\u2019s balances are the sums of the analytics store\u2019s transactions, per account and currency."},
    {"position-realized-pnls-balance", "The positions\u2019 realized profit is the sum of the realized-profit transactions, per account and instrument."},
    {"pnl-is-zero-sum", "At every mark cycle all accounts\u2019 profit and loss add up to zero, per currency."},
    {"omnibus-balances-square", "What the custodian holds and what traders have won are what the ledger owes, per currency."},
};

std::string_view invariant_of(std::string_view check_id) { return check_id.ends_with("-live") ? check_id.substr(0, check_id.size() - 5) : check_id; }

// --- text ------------------------------------------------------------------------------------------------------------

std::string two(std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); }

std::string length_text(Millis length) {
  const std::int64_t ms = std::max<std::int64_t>(0, length.count());
  if (ms < 1'000) return std::to_string(ms) + " ms";
  if (ms < 10'000) return std::to_string(ms / 1'000) + "." + std::to_string(ms / 100 % 10) + " s";
  if (ms < 120'000) return std::to_string(ms / 1'000) + " s";
  if (ms < 2 * 3'600'000) return std::to_string(ms / 60'000) + " min";
  if (ms < 48LL * 3'600'000) return std::to_string(ms / 3'600'000) + " h" + (ms / 60'000 % 60 != 0 ? " " + std::to_string(ms / 60'000 % 60) + " min" : "");
  return std::to_string(ms / 86'400'000) + " days";
}

std::string clock_text(Instant at, Instant now) {
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const auto ms = (at - day).count();
  const std::string time = two(ms / 3'600'000) + ":" + two(ms / 60'000 % 60) + ":" + two(ms / 1'000 % 60);
  return day == std::chrono::floor<std::chrono::days>(now) ? time : to_text(at).substr(5, 5) + " " + time;
}

/// `13:05:00, 3 min ago`, as a <time>.
std::string when(Instant at, Instant now) {
  const std::string relative = at <= now ? length_text(now - at) + " ago" : "in " + length_text(at - now);
  return "<time datetime=\"" + to_text(at) + "\">" + clock_text(at, now) + "</time>, " + relative;
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, "\u202f");
  return digits;
}

std::string bytes_text(std::uint64_t n) {
  if (n < 10'000) return std::to_string(n) + " B";
  const bool megabytes = n >= 1'000'000;
  const std::uint64_t tenths = n / (megabytes ? 100'000 : 100);
  return std::to_string(tenths / 10) + (tenths < 100 ? "." + std::to_string(tenths % 10) : "") + (megabytes ? " MB" : " kB");
}

std::string counted(std::uint64_t n, std::string_view one, std::string_view many) { return grouped(n) + " " + std::string(n == 1 ? one : many); }

/// Data, escaped and set apart: a text written from right to left turns nothing around but itself. Not called data(): std::data would be taken for a string.
std::string isolated(std::string_view text, std::size_t bytes_max = page_value_bytes_max) {
  std::size_t end = std::min(text.size(), bytes_max);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return "<bdi>" + html_text(text.substr(0, end)) + (end < text.size() ? "\u2026 (" + std::to_string(text.size()) + " bytes)" : "") + "</bdi>";
}

/// left - right where both are one number of the same column; else nothing.
std::string gap(const ShownDifference& d) {
  const auto number = [](std::string_view side) -> std::pair<std::string_view, std::optional<epochcut::Decimal>> {
    const std::size_t equals = side.find('=');
    if (equals == std::string_view::npos || side.find(", ") != std::string_view::npos) return {};
    return {side.substr(0, equals), epochcut::parse_decimal(side.substr(equals + 1))};
  };
  const auto [left_name, left] = number(d.left);
  const auto [right_name, right] = number(d.right);
  if (!left || !right || left_name != right_name) return "";
  const auto difference = subtract(*left, *right);
  return difference ? to_string(*difference) : "";
}

// --- the timeline ----------------------------------------------------------------------------------------------------

struct Slot {
  Instant at{};
  const Run* run = nullptr;  ///< none: the fire was missed
};

constexpr int slot_width = 10, slot_height = 28;

/// Every verdict has a shape of its own; the colour only helps.
std::string shape(const Run* run, int x) {
  const auto n = [](int v) { return std::to_string(v); };
  const int middle = x + slot_width / 2;
  if (run == nullptr) return "<circle class=\"missed\" cx=\"" + n(middle) + "\" cy=\"20\" r=\"3\"/>";
  switch (run->status) {
    case Status::pass: return "<rect class=\"pass\" x=\"" + n(x + 2) + "\" y=\"18\" width=\"6\" height=\"8\" rx=\"1\"/>";
    case Status::fail:
      return "<rect class=\"fail\" x=\"" + n(x + 1) + "\" y=\"2\" width=\"8\" height=\"24\"/><path class=\"cross\" d=\"M" + n(x + 3) + " 11l4 6m0 -6l-4 6\"/>";
    case Status::error: return "<path class=\"error\" d=\"M" + n(middle) + " 10l4 16h-8z\"/>";
    case Status::skipped: return "<rect class=\"skipped\" x=\"" + n(x + 1) + "\" y=\"21\" width=\"8\" height=\"2\"/>";
  }
  return "";
}

std::vector<Slot> slots_of(const CheckState& check) {
  std::vector<Slot> slots;
  for (const Run& run : check.runs) slots.push_back({run.scheduled, &run});
  const Instant oldest = slots.empty() ? Instant::min() : slots.front().at;
  for (const Instant at : check.missed_at)
    if (at >= oldest) slots.push_back({at, nullptr});
  std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return std::pair(a.at, a.run) < std::pair(b.at, b.run); });  // runs lie in order
  if (slots.size() > page_runs_max) slots.erase(slots.begin(), slots.end() - static_cast<std::ptrdiff_t>(page_runs_max));
  return slots;
}

std::string timeline(const CheckState& check, Instant now) {
  const std::vector<Slot> slots = slots_of(check);
  if (slots.empty()) return "<p class=\"quiet\">No run yet.</p>";
  std::array<std::uint64_t, 4> counts{};
  std::uint64_t missed = 0;
  std::string marks;
  const int width = static_cast<int>(page_runs_max) * slot_width;
  int x = width - static_cast<int>(slots.size()) * slot_width;  // the newest is always at the right edge
  for (const Slot& slot : slots) {
    const std::string what = slot.run == nullptr ? "missed"
                                                 : std::string(to_string(slot.run->status)) +
                                                       (slot.run->reason == Reason::none ? "" : ": " + std::string(to_string(slot.run->reason)));
    slot.run == nullptr ? ++missed : ++counts[static_cast<std::size_t>(slot.run->status)];
    marks += "<g><title>" + clock_text(slot.at, now) + " " + what + "</title>" + shape(slot.run, x) + "</g>";
    x += slot_width;
  }
  std::string words;
  for (const Status s : {Status::fail, Status::error, Status::skipped, Status::pass})
    if (const std::uint64_t n = counts[static_cast<std::size_t>(s)]) words += (words.empty() ? "" : ", ") + std::to_string(n) + " " + std::string(to_string(s));
  if (missed != 0) words += (words.empty() ? "" : ", ") + std::to_string(missed) + " missed";
  const std::string label = "Last " + counted(slots.size(), "fire", "fires") + ": " + words;
  return "<svg class=\"timeline\" viewBox=\"0 0 " + std::to_string(width) + " " + std::to_string(slot_height) + "\" role=\"img\" aria-label=\"" +
         html_text(label) + "\"><path class=\"ground\" d=\"M0 27.5h" + std::to_string(width) + "\"/>" + marks + "</svg><p class=\"quiet\">" + html_text(label) +
         " \u00b7 since " + clock_text(slots.front().at, now) + "</p>";
}

// --- parts -----------------------------------------------------------------------------------------------------------

std::string chip(Condition c) {
  const Look look = look_of(c);
  return "<span class=\"chip " + std::string(look.css) + "\"><b aria-hidden=\"true\">" + std::string(look.mark) + "</b> " + std::string(look.word) + "</span>";
}

std::string difference_rows(const Run& run) {
  std::string rows;
  std::size_t shown = 0;
  const auto side = [](const std::string& text) { return text.empty() ? "<i>no such row</i>" : isolated(text); };
  for (const ShownDifference& d : run.differences) {
    if (shown++ == page_differences_max) break;
    const std::string by = gap(d);
    rows += "<div class=\"key\"><p><span class=\"kind\">" + html_text(d.kind) + "</span> " + isolated(d.key) + "</p><dl><dt>left</dt><dd>" + side(d.left) +
            "</dd><dt>right</dt><dd>" + side(d.right) + "</dd>" + (by.empty() ? "" : "<dt>left \u2212 right</dt><dd>" + html_text(by) + "</dd>") +
            "</dl></div>";
  }
  const std::uint64_t all = run.changed + run.only_left + run.only_right;
  const std::uint64_t listed = std::min<std::uint64_t>(run.differences.size(), page_differences_max);
  if (all > listed && listed > 0) rows += "<p class=\"quiet\">\u2026 and " + grouped(all - listed) + " more; counts are exact, the log keeps more keys.</p>";
  return rows;
}

/// What needs someone: why, what to do, and the keys.
std::string alarm(const CheckState& check, Condition condition, Instant now) {
  const Run* run = condition == Condition::broken ? last_asserting(check) : nullptr;
  if (run == nullptr || (condition == Condition::broken && run->status != Status::fail)) {
    // Passing again but not yet often enough: show what broke.
    const auto wanted = condition == Condition::broken ? Status::fail : Status::error;
    const auto found = std::find_if(check.runs.rbegin(), check.runs.rend(), [&](const Run& r) { return r.status == wanted; });
    run = found == check.runs.rend() ? (check.runs.empty() ? nullptr : &check.runs.back()) : &*found;
  }
  std::string out = "<section class=\"alarm " + std::string(look_of(condition).css) + "\"><h2>" + chip(condition) + " <a href=\"#" +
                    html_text(check.config.id) + "\">" + html_text(check.config.id) + "</a></h2>";
  if (run == nullptr) return out + "<p>It has neither passed nor failed yet.</p></section>";
  out += "<p class=\"why\"><b>" + std::string(to_string(run->status)) + ": " + std::string(to_string(run->reason)) + "</b> \u00b7 " +
         isolated(run->message, 3 * page_value_bytes_max) + "</p><p class=\"do\"><b>What to do:</b> " + html_text(advice(run->reason)) + "</p>";
  out += difference_rows(*run);
  out += "<p class=\"quiet\">";
  if (const auto since = check.firing.find(condition == Condition::broken ? Signal::invariant : Signal::infrastructure); since != check.firing.end())
    out += "Firing since " + when(since->second, now) + ". ";
  out += "Seen " + when(run->finished, now);
  if (run->epoch) out += " at epoch " + grouped(run->epoch->sequence) + " of " + isolated(run->stream);
  if (run->changed + run->only_left + run->only_right > 0)
    out += " \u00b7 " + grouped(run->changed) + " changed, " + grouped(run->only_left) + " only left, " + grouped(run->only_right) + " only right, " +
           grouped(run->equal) + " equal";
  if (run->confirmed) out += " \u00b7 seen twice at that epoch";
  if (!check.config.paging) out += " \u00b7 <b>this check does not page</b>";
  return out + ".</p></section>";
}

std::string facts(const CheckState& check, Instant now) {
  std::vector<std::pair<std::string, std::string>> rows;
  const CheckSummary& config = check.config;
  rows.emplace_back("Asserted", check.last_asserted ? when(*check.last_asserted, now) : "never on this record");
  if (!check.runs.empty()) {
    const Run& last = check.runs.back();
    rows.emplace_back("Last run", std::string(to_string(last.status)) + (last.reason == Reason::none ? "" : ": " + std::string(to_string(last.reason))) + ", " +
                                      when(last.finished, now));
    rows.emplace_back("Took", length_text(last.took) + ", waited " + length_text(last.horizon_wait) + " for the horizon");
    rows.emplace_back("Read", counted(last.rows, "row", "rows") + ", " + bytes_text(last.bytes));
    if (last.epoch)
      rows.emplace_back("Cut", "epoch " + grouped(last.epoch->sequence) + " of " + isolated(last.stream) + ", generation " + std::to_string(last.generation) +
                                   (last.unsynchronised ? ", read at rest" : ""));
    else if (last.unsynchronised)
      rows.emplace_back("Cut", "none: read at rest");
  }
  std::string next;
  if (!config.enabled)
    next = "never, it is switched off";
  else if (check.running_since)
    next = "running since " + when(*check.running_since, now);
  else if (check.next_fire)
    next = when(*check.next_fire, now);
  else
    next = "with the next event";
  rows.emplace_back("Next", next);
  rows.emplace_back("Schedule",
                    "<code>" + html_text(config.schedule) + "</code>" + (config.schedule.starts_with("event:") ? "" : " " + html_text(config.zone)));
  if (check.missed != 0 || check.coalesced != 0)
    rows.emplace_back("Not run", counted(check.missed, "fire missed", "fires missed") + ", " + counted(check.coalesced, "event coalesced", "events coalesced"));
  std::string out = "<dl class=\"facts\">";
  for (const auto& [name, value] : rows) out += "<dt>" + name + "</dt><dd>" + value + "</dd>";
  return out + "</dl>";
}

std::string card(const CheckState& check, Instant now) {
  const Condition condition = condition_of(check, now);
  return "<article id=\"" + html_text(check.config.id) + "\" class=\"card " + std::string(look_of(condition).css) + "\"><header><h3>" +
         html_text(check.config.id) + "</h3>" + chip(condition) + "</header><p class=\"quiet\">" +
         (check.config.id.ends_with("-live") ? "live, at a cut" : "in the quiet window, at rest") +
         (check.config.paging ? " \u00b7 pages" : " \u00b7 <b>does not page</b>") + "</p>" + timeline(check, now) + facts(check, now) + "</article>";
}

std::string engine_line(const EngineState& e, Instant now) {
  std::vector<std::string> notes;
  if (e.draining) notes.push_back("<b>The program is ending:</b> no new run begins.");
  if (!e.config_problem.empty()) notes.push_back("<b>The last reload was refused</b>, an older configuration runs: " + isolated(e.config_problem, 1'000));
  if (e.spool_runs != 0)
    notes.push_back("<b>" + counted(e.spool_runs, "run waits", "runs wait") + " in the spool:</b> the log in PostgreSQL can\u2019t be written.");
  if (e.outbox_pages != 0)
    notes.push_back("<b>" + counted(e.outbox_pages, "page waits", "pages wait") + " for the pager</b>" +
                    (e.outbox_oldest ? ", the oldest since " + when(*e.outbox_oldest, now) : "") + ": " + isolated(e.outbox_problem));
  if (e.pages_abandoned != 0) notes.push_back("<b>" + counted(e.pages_abandoned, "page was", "pages were") + " given up:</b> nobody took them for a day.");
  std::string out;
  for (const std::string& note : notes) out += "<p class=\"note\">" + note + "</p>";
  return out;
}

constexpr std::string_view style = R"(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16191d;--quiet:#59626d;--line:#d5dae0;--red:#b3001b;--redbg:#fdecee;--amber:#8a5200;--amberbg:#fff4e0;--green:#116b35;--grey:#59626d;--greybg:#eceff2}
@media(prefers-color-scheme:dark){:root{--bg:#0e1114;--card:#171b20;--ink:#e7eaee;--quiet:#9aa5b1;--line:#2d343c;--red:#ff7b86;--redbg:#35151a;--amber:#ffbd5c;--amberbg:#332408;--green:#6fd396;--grey:#9aa5b1;--greybg:#23292f}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:80rem;background:var(--bg);color:var(--ink);font:1rem/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1,h2,h3,p,dl{margin:0}
a{color:inherit}
.verdict{display:flex;gap:.9rem;align-items:center;padding:1rem 1.2rem;border-radius:.6rem;border:2px solid currentColor;background:var(--card);color:var(--green)}
.verdict>b{font-size:2.2rem;line-height:1;min-width:1.2em;text-align:center}
.verdict h1{font-size:1.5rem;line-height:1.2}
.verdict p{color:var(--ink)}
.verdict.broken{color:var(--red);background:var(--redbg)}
.verdict.unknown,.verdict.stale{color:var(--amber);background:var(--amberbg)}
.verdict.skipped,.verdict.never,.verdict.off{color:var(--grey)}
.quiet{color:var(--quiet);font-size:.875rem}
.note{margin-top:.6rem;padding:.6rem .9rem;border-left:.3rem solid var(--amber);background:var(--amberbg)}
.alarm{margin-top:1rem;padding:1rem 1.2rem;border-radius:.6rem;background:var(--card);border:1px solid var(--line);border-left:.45rem solid var(--amber)}
.alarm.broken{border-left-color:var(--red)}
.alarm h2{font-size:1.15rem;display:flex;flex-wrap:wrap;gap:.6rem;align-items:center}
.why,.do,.key,.alarm>.quiet{margin-top:.6rem}
.do{padding:.5rem .7rem;background:var(--greybg);border-radius:.35rem}
.key{padding-top:.5rem;border-top:1px solid var(--line);font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.9rem}
.key dl{display:grid;grid-template-columns:max-content 1fr;gap:0 .9rem}
.key dt{color:var(--quiet)}
.key dd{margin:0;white-space:pre-wrap;font-variant-numeric:tabular-nums}
.kind{display:inline-block;padding:0 .4em;border:1px solid currentColor;border-radius:.25rem;font-size:.8rem}
.pair{margin-top:1.4rem}
.pair>h2{font-size:1.05rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:1rem;margin-top:.6rem}
.card{min-width:0;padding:.9rem 1rem;background:var(--card);border:1px solid var(--line);border-top:.3rem solid var(--green);border-radius:.5rem}
.card.broken{border-top-color:var(--red)}.card.unknown,.card.stale{border-top-color:var(--amber)}.card.skipped,.card.never,.card.off{border-top-color:var(--grey)}
.card header{display:flex;flex-wrap:wrap;gap:.3rem .6rem;justify-content:space-between;align-items:center}
.card h3{font-size:1rem}
.chip{white-space:nowrap;font-weight:600;font-size:.875rem;padding:.1rem .55rem;border-radius:1rem;border:1.5px solid currentColor;color:var(--green)}
.chip.broken{color:#fff;background:#b3001b;border-color:#b3001b}.chip.unknown,.chip.stale{color:var(--amber);background:var(--amberbg)}.chip.skipped,.chip.never,.chip.off{color:var(--grey)}
.timeline{display:block;width:100%;height:auto;max-height:3rem;margin:.6rem 0 .2rem}
.ground{stroke:var(--line);fill:none}.pass{fill:var(--green)}.fail{fill:#b3001b}.cross{stroke:#fff;stroke-width:1.6;fill:none}.error{fill:var(--amber)}.skipped{fill:var(--grey)}.missed{fill:none;stroke:var(--ink);stroke-width:1.5}
@media(prefers-color-scheme:dark){.fail,.chip.broken{fill:#e5384b}}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .9rem;margin-top:.6rem;font-size:.9rem}
.facts dt{color:var(--quiet)}
.facts dd{margin:0;font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin-top:1.6rem;padding-top:.8rem;border-top:1px solid var(--line)}
.legend span{display:inline-flex;align-items:center;gap:.35rem}
.legend svg{width:10px;height:28px;flex:none}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace}
)";

std::string legend() {
  Run run;
  std::string out = "<footer class=\"legend quiet\">";
  const auto entry = [&](const Run* r, std::string_view what) {
    out += "<span><svg viewBox=\"0 0 10 28\" aria-hidden=\"true\">" + shape(r, 0) + "</svg>" + std::string(what) + "</span>";
  };
  run.status = Status::pass, entry(&run, "pass: asserted, holds");
  run.status = Status::fail, entry(&run, "fail: asserted, broken");
  run.status = Status::error, entry(&run, "error: could not know");
  run.status = Status::skipped, entry(&run, "skipped: nothing asserted");
  entry(nullptr, "missed: did not run");
  return out + "</footer>";
}

}  // namespace

std::string_view advice(Reason reason) {
  switch (reason) {
    case Reason::none: return "Nothing: it holds.";
    case Reason::differs: return "Take the keys below to the owner of the ledger; compare their latest events on both sides, and correct no row by hand.";
    case Reason::missing_rows:
      return "Rows that the analytics store had acknowledged are gone: stop deletes, merges and TTLs there, then find which parts went.";
    case Reason::extra_rows: return "The analytics store holds rows that the ledger never committed: look for a second writer or a rolled-back batch.";
    case Reason::conflicting_rows: return "One event id has two contents: find the writer that ran it again with another binary before trusting any sum.";
    case Reason::empty: return "Both sides are empty: make sure that the check reads the right databases.";
    case Reason::nothing_selected: return "The query selects nothing: look at its filter and at what was renamed.";
    case Reason::precondition: return "Its precondition did not hold, as when a transfer is under way; act only if it has not asserted for a day.";
    case Reason::horizon_not_proven: return "The analytics store does not show all events yet: look at the pipeline that fills it, before anything else.";
    case Reason::replica_lag: return "The replica that was read is behind: look at its replication queue, or read the server that acknowledges.";
    case Reason::replica_changed: return "Two servers answered one check: pin the check to one of them, past the proxy.";
    case Reason::cut_violated: return "The same epoch showed two contents: a writer breaks its promise of order; find the one that inserts late.";
    case Reason::unbracketed: return "A transfer may have moved within the check: give the custodian a transfer counter.";
    case Reason::epoch_regressed: return "The ledger went back: it was restored or failed over; find out what it lost before anything is written.";
    case Reason::wrong_isolation: return "The ledger's connection does not keep REPEATABLE READ: remove the pooler or proxy that rewrites it.";
    case Reason::wrong_stream: return "The store is filled by another pipeline than the token says: compare the configuration with the deployment.";
    case Reason::missing_token: return "The ledger has no resume token for this authority: has the engine ever committed, and under this name?";
    case Reason::undeclared_relation: return "The token does not cover a table that the check reads: the writer must declare it.";
    case Reason::not_as_of: return "The question can't be asked as of an epoch: correct the check.";
    case Reason::same_relation: return "Both sides are the same table: correct the connections in the configuration.";
    case Reason::below_retention: return "The history that the epoch needs was merged or deleted away: read a table that keeps it.";
    case Reason::schema: return "A column or its type changed: find the migration, then adapt the check.";
    case Reason::overflow: return "A value does not fit into 38 digits: find it, it is most likely wrong.";
    case Reason::unordered: return "A side broke the order of its keys: check its collation.";
    case Reason::incomplete: return "An answer ended early or its counts do not add up: look at the server's log.";
    case Reason::too_large: return "There is more than a limit allows: look at what grew.";
    case Reason::lock_timeout: return "Somebody holds a lock on a table of the ledger, perhaps a migration: find the session and let it end.";
    case Reason::timeout: return "It took longer than its budget: look at the load of both servers.";
    case Reason::cancelled: return "It was cancelled, most likely by a restart: the next run tells.";
    case Reason::connection: return "A server did not answer: see whether PostgreSQL, ClickHouse and the custodian are up, and reachable from here.";
    case Reason::authentication: return "A login or a right is missing: compare roles and passwords with docs/security.md.";
    case Reason::not_found: return "A table or column is missing: find the migration that took it, or the wrong database in the configuration.";
    case Reason::syntax: return "A server refused or garbled a statement: has its version changed?";
    case Reason::configuration: return "The configuration is wrong: the message says what to correct.";
    case Reason::unknown: return "Nobody classified this: read the message and the server's log, and report it.";
  }
  return "";
}

std::string render_page(const BoardState& state, Instant now) {
  std::vector<std::pair<Condition, const CheckState*>> needy;
  std::array<std::uint64_t, 7> counts{};
  for (const CheckState& check : state.checks) {
    const Condition condition = condition_of(check, now);
    ++counts[static_cast<std::size_t>(condition)];
    if (condition <= Condition::stale) needy.emplace_back(condition, &check);
  }
  // The worst first, each in the order of the configuration, in which they lie.
  std::sort(needy.begin(), needy.end());
  const auto n = [&](Condition c) { return counts[static_cast<std::size_t>(c)]; };

  // Never better than what is known: nothing asserted is not green.
  Condition verdict = Condition::holds;
  std::string headline;
  if (n(Condition::broken) != 0) {
    verdict = Condition::broken;
    headline = counted(n(Condition::broken), "check says that money does not add up", "checks say that money does not add up");
  } else if (n(Condition::unknown) != 0) {
    verdict = Condition::unknown;
    headline = counted(n(Condition::unknown), "check could not find out", "checks could not find out");
  } else if (n(Condition::stale) != 0) {
    verdict = Condition::stale;
    headline = counted(n(Condition::stale), "check has not asserted lately", "checks have not asserted lately");
  } else if (n(Condition::holds) == 0) {
    verdict = Condition::never;
    headline = "Nothing has been asserted yet";
  } else {
    headline = n(Condition::holds) == state.checks.size() ? "All " + std::to_string(state.checks.size()) + " checks hold"
                                                          : std::to_string(n(Condition::holds)) + " of " + std::to_string(state.checks.size()) + " checks hold";
  }
  std::string summary;
  for (const Condition c : {Condition::broken, Condition::unknown, Condition::stale, Condition::skipped, Condition::holds, Condition::never, Condition::off})
    if (n(c) != 0)
      summary += (summary.empty() ? "" : ", ") + std::to_string(n(c)) + " " + (c == Condition::holds && n(c) != 1 ? "hold" : std::string(look_of(c).word));

  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"refresh\" content=\"" +
      std::to_string(page_refresh_s) + "\"><title>" + std::string(look_of(verdict).mark) + " " + html_text(headline) + "</title><style>" + std::string(style) +
      "</style></head><body>";
  out += "<div class=\"verdict " + std::string(look_of(verdict).css) + "\"><b aria-hidden=\"true\">" + std::string(look_of(verdict).mark) + "</b><div><h1>" +
         html_text(headline) + "</h1><p>" + html_text(summary.empty() ? "no check is configured" : summary) + "</p><p class=\"quiet\">" +
         to_text(now).substr(0, 10) + " " + two((now - std::chrono::floor<std::chrono::days>(now)).count() / 3'600'000) + to_text(now).substr(13, 6) +
         " UTC, as all times here \u00b7 recon-engine " + html_text(state.engine.version) + ", up " + length_text(now - state.engine.started) +
         "</p></div></div>";
  out += engine_line(state.engine, now);
  for (const auto& [condition, check] : needy) out += alarm(*check, condition, now);

  // Both readings of an invariant side by side, in the order of the configuration.
  std::vector<std::string_view> shown;
  for (const CheckState& check : state.checks) {
    const std::string_view invariant = invariant_of(check.config.id);
    if (std::find(shown.begin(), shown.end(), invariant) != shown.end()) continue;
    shown.push_back(invariant);
    const auto sentence = std::find_if(std::begin(sentences), std::end(sentences), [&](const Asserted& a) { return a.invariant == invariant; });
    out += "<section class=\"pair\"><h2>" + html_text(invariant) + "</h2>" +
           (sentence == std::end(sentences) ? "" : "<p class=\"quiet\">" + std::string(sentence->sentence) + "</p>") + "<div class=\"cards\">";
    for (const CheckState& c : state.checks)
      if (invariant_of(c.config.id) == invariant) out += card(c, now);
    out += "</div></section>";
  }
  return out + legend() + "</body></html>\n";
}

}  // namespace recon_engine
