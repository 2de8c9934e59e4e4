// The page: what it says first, and that whatever stands in a value stays data.
#include "support/catch.hpp"

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include <epochcut/verdict/escape.hpp>

#include "recon_engine/page.hpp"
#include "recon_engine/sample.hpp"

using namespace recon_engine;
using epochcut::Reason;
using epochcut::Status;

namespace {

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string page_of(const Board& board) { return render_page(board.snapshot(), sample::now); }

std::string heading(const std::string& page) {
  const std::size_t begin = page.find("<h1>") + 4;
  return page.substr(begin, page.find("</h1>") - begin);
}

}  // namespace

TEST_CASE("page: every check is there, the broken one first with keys, both values and what to do") {
  Board board(sample::now - Millis{86'400'000}, "0.1.0");
  sample::fill(board);
  const std::string page = page_of(board);
  for (const CheckInfo& check : all_checks) CHECK(count_of(page, "<article id=\"" + std::string(check.id) + "\"") == 1);
  CHECK(heading(page) == "1 check says that money does not add up");
  const std::string first_alarm = page.substr(page.find("<section class=\"alarm"));
  CHECK(first_alarm.find("transactions-balance-live") < first_alarm.find("position-realized-pnls-balance-live"));
  CHECK(has(first_alarm, "amount=15823.17360996"));
  CHECK(has(first_alarm, "amount=15824.17360996"));
  CHECK(has(first_alarm, "<dd>-1.00000000</dd>"));  // left - right
  CHECK(has(first_alarm, "no such row"));
  CHECK(has(first_alarm, epochcut::html_text(advice(Reason::differs))));
  CHECK(has(page, epochcut::html_text(advice(Reason::horizon_not_proven))));
  if (const char* path = std::getenv("EPOCHCUT_PAGE_OUT")) std::ofstream(path) << page;
}

TEST_CASE("page: it is never better than what is known") {
  SECTION("nothing configured") {
    const Board board(sample::now, "0.1.0");
    CHECK(heading(page_of(board)) == "Nothing has been asserted yet");
  }
  SECTION("configured and never run") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    CHECK(heading(page_of(board)) == "Nothing has been asserted yet");
  }
  SECTION("all pass") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    for (const CheckSummary& check : sample::summaries()) board.restore({sample::run(check.id, sample::now - Millis{60'000})});
    CHECK(heading(page_of(board)) == "All 8 checks hold");
    CHECK_FALSE(has(page_of(board), "<section class=\"alarm"));
  }
  SECTION("one skips: it is not counted as holding") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    for (const CheckSummary& check : sample::summaries()) board.restore({sample::run(check.id, sample::now - Millis{60'000})});
    board.add(sample::run("omnibus-balances-square-live", sample::now - Millis{30'000}, Status::skipped, Reason::precondition));
    CHECK(heading(page_of(board)) == "7 of 8 checks hold");
  }
  SECTION("an error after a fail takes nothing back") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    board.restore({sample::failed("transactions-balance-live", sample::now - Millis{600'000}),
                   sample::run("transactions-balance-live", sample::now - Millis{300'000}, Status::error, Reason::connection)});
    CHECK(heading(page_of(board)) == "1 check says that money does not add up");
    CHECK(has(page_of(board), "amount=15824.17360996"));
  }
  SECTION("a pass that is too old does not hold") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    board.restore({sample::run("transactions-balance-live", sample::now - Millis{11 * 60'000})});
    CHECK(heading(page_of(board)) == "1 check has not asserted lately");
  }
  SECTION("two missed fires in a row") {
    Board board(sample::now, "0.1.0");
    board.configure(sample::summaries());
    board.restore({sample::run("pnl-is-zero-sum-live", sample::now - Millis{60'000})});
    board.waiting("pnl-is-zero-sum-live", std::nullopt, 2, 0);
    CHECK(heading(page_of(board)) == "1 check has not asserted lately");
  }
}

TEST_CASE("page: what waits for the log or the pager is said") {
  Board board(sample::now, "0.1.0");
  sample::fill(board);
  CHECK_FALSE(has(page_of(board), "class=\"note\""));
  board.spooled(3);
  board.outbox(1, sample::now - Millis{120'000});
  board.page_failed("the incident webhook answered 503");
  board.config_problem("watch.toml:3:1: there is no check <b>x</b>");
  board.draining();
  const std::string page = page_of(board);
  CHECK(count_of(page, "class=\"note\"") == 4);
  CHECK(has(page, "3 runs wait"));
  CHECK(has(page, "the incident webhook answered 503"));
  CHECK(has(page, "there is no check &lt;b&gt;x&lt;/b&gt;"));
}

TEST_CASE("page: hostile values stay data") {
  const std::string hostile[] = {"</title><script>alert(1)</script>",
                                 "\"><img src=x onerror=alert(1)>",
                                 "' onmouseover='alert(1)",
                                 "<!--",
                                 "&lt;script&gt;",
                                 std::string("a\0b\nc\x1b[31m", 11),
                                 "\xff\xfe\xc0\xaf",
                                 "\xE2\x80\xAE evil",
                                 "]]>",
                                 "javascript:alert(1)",
                                 "{{7*7}}"};
  for (const std::string& value : hostile) {
    Board board(sample::now, value);
    board.configure({{value, true, true, value, value, Millis{300'000}}});
    Run run = sample::failed(value, sample::now - Millis{1'000});
    run.message = run.stream = run.authority = run.run_id = run.event_key = run.version = value;
    run.differences = {{value, value, value, value}};
    board.add(run);
    board.config_problem(value);
    board.outbox(1, sample::now);
    board.page_failed(value);
    const std::string page = page_of(board);
    const std::string head = page.substr(page.find("</style>"));
    CHECK(count_of(page, "<script") == 0);
    CHECK(count_of(page, "<img") == 0);
    CHECK(count_of(page, "<!--") == 0);
    CHECK(count_of(head, "onmouseover='") == 0);
    CHECK(count_of(page, "</title>") == 1 + count_of(head, "</title>"));  // the timeline's titles come after the style
    CHECK(count_of(page, std::string(1, '\0')) == 0);
    CHECK(count_of(page, "\x1b") == 0);
    CHECK(count_of(page, "\xff") == 0);
    // Every tag is one of ours.
    static const std::regex tag("</?([a-z0-9]+)");
    static const std::set<std::string> ours{"html", "head",    "meta",    "title", "style", "body", "div",  "b",      "h1",   "h2",
                                            "h3",   "p",       "section", "a",     "span",  "bdi",  "dl",   "dt",     "dd",   "i",
                                            "time", "article", "header",  "svg",   "g",     "path", "rect", "circle", "code", "footer"};
    for (std::sregex_iterator i(page.begin(), page.end(), tag), end; i != end; ++i) CHECK(ours.contains((*i)[1].str()));
  }
}

TEST_CASE("page: it needs nothing that the security policy forbids, and its size is bounded") {
  Board board(sample::now, "0.1.0");
  board.configure(sample::summaries());
  const std::string long_value(1'000'000, 'x');
  for (int k = 0; k < 500; ++k)
    for (const CheckSummary& check : sample::summaries()) {
      Run run = sample::failed(check.id, sample::now - Millis{(500 - k) * 1'000});
      run.message = long_value.substr(0, 10'000);
      run.differences.assign(50, {"changed", std::string(2'000, 'k'), std::string(2'000, 'l'), std::string(2'000, 'r')});
      board.add(run);
    }
  CHECK(board.snapshot().checks.front().runs.size() == runs_kept_max);
  const std::string page = page_of(board);
  CHECK(page.size() < 1'000'000);
  for (const char* forbidden : {"<script", "src=", "<link", "<form", "<iframe", "url(", "@import", "javascript:"}) CHECK_FALSE(has(page, forbidden));
  CHECK(has(page, "http-equiv=\"refresh\""));
}

TEST_CASE("page: every reason has its sentence, and the runbook has the same") {
  std::ifstream file(std::string(EPOCHCUT_ROOT) + "/docs/operations/runbook.md");
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  const std::string runbook = text.str();
  for (int i = 0; i <= static_cast<int>(Reason::unknown); ++i) {
    const auto reason = static_cast<Reason>(i);
    INFO(to_string(reason));
    CHECK_FALSE(advice(reason).empty());
    if (reason == Reason::none) continue;
    CHECK(has(runbook, "`" + std::string(to_string(reason)) + "`"));
    CHECK(has(runbook, std::string(advice(reason))));
  }
}
