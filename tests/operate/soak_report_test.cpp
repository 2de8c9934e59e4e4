#include "support/catch.hpp"

#include <cstdlib>
#include <fstream>
#include <string>

#include <epochcut/operate/soak_html.hpp>

#include "operate/soak_month.hpp"

using namespace soak_test;

namespace {

/// A month in which something of every kind has happened, with texts that would like to be markup.
SoakReport eventful() {
  Month m;
  const std::string hostile = "</table><script>alert(1)</script> | \"'& \x1b[31m";
  m.old(m.in.old_fires[20]).status = Status::fail;
  for (int i = 0; i < 3; ++i)
    m.live(m.in.old_fires[30] + minutes(5 * i)).status = Status::fail, m.live(m.in.old_fires[30]).largest_gap = parse_decimal("12.50000000");
  m.say(m.in.live_id, m.in.old_fires[30], Adjudicated::real_break, begin + days(20));
  m.in.adjudications.back().evidence = m.in.adjudications.back().who = hostile;
  for (int i = 0; i < 9; ++i)
    m.live(begin + days(4) + hours(1) + minutes(5 * i)).status = Status::error, m.live(begin + days(4) + hours(1) + minutes(5 * i)).reason = Reason::connection;
  for (int i = 0; i < 9; ++i) m.live(begin + days(6) + hours(8) + minutes(5 * i)).status = Status::skipped;
  for (int i = 0; i < 40; ++i) m.drop(m.in.live_id, begin + days(10) + minutes(5 * i));
  m.drop(m.in.old_id, m.in.old_fires[40]);
  m.live(m.in.old_fires[44]).left = "other";
  m.in.outages = {{begin + days(4) + hours(1), begin + days(4) + hours(2), "a move"}};
  return judge_soak(m.in);
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// Brackets and quotes of JSON, by hand: that it is JSON for PostgreSQL too is a live test's.
bool balanced(const std::string& json) {
  int depth = 0;
  bool text = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    if (static_cast<unsigned char>(json[i]) < 0x20) return false;
    if (text && json[i] == '\\')
      ++i;
    else if (json[i] == '"')
      text = !text;
    else if (!text)
      depth += json[i] == '{' || json[i] == '[' ? 1 : json[i] == '}' || json[i] == ']' ? -1 : 0;
  }
  return depth == 0 && !text;
}

}  // namespace

TEST_CASE("Every form says the decision, both bounds, every criterion, and that time elapsed and signed off are two things") {
  const SoakReport r = eventful();
  for (const std::string& text : {to_text(r), to_markdown(r), to_html({r})}) {
    CHECK(text.find("restart") != std::string::npos);
    CHECK(text.find("noise: 0 false fails in 28.0 days, so at most 0.107 a day (one in 9.3 days)") != std::string::npos);
    CHECK(text.find("sensitivity: 60 of 60 distinct planted breaks caught, so at most 4.9 %") != std::string::npos);
    CHECK(text.find("an engineer") != std::string::npos);
    CHECK(text.find("12.50000000") != std::string::npos);
    for (const char* name : {"elapsed", "compared", "missed", "planted", "cost"}) CHECK(text.find(name) != std::string::npos);
  }
  const std::string json = to_json(r);
  CHECK(balanced(json));
  for (const Criterion& c : r.criteria) CHECK(json.find("\"id\":\"" + std::string(to_string(c.id)) + "\"") != std::string::npos);
  CHECK(json.find("\"time_elapsed\":true,\"signed_off\":\"an engineer\"") != std::string::npos);
  CHECK(json.find("\"miss?\":1") != std::string::npos);
}

TEST_CASE("What people wrote stays data") {
  const SoakReport r = eventful();
  const std::string html = to_html({r}), markdown = to_markdown(r), text = to_text(r);
  CHECK(html.find("<script>") == std::string::npos);
  CHECK(html.find("&lt;script&gt;alert(1)") != std::string::npos);
  CHECK(markdown.find("<script>") == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(html.find('\x1b') == std::string::npos);
}

TEST_CASE("The page needs nothing but itself, and tells states by shape and in words") {
  const std::string html = to_html({eventful()});
  for (const char* elsewhere : {"http:", "https:", "src=", "url(", "@import", "<link", "<script"}) CHECK(html.find(elsewhere) == std::string::npos);
  CHECK(count(html, "<svg") == 1);
  CHECK(count(html, "<table") == count(html, "</table>"));
  CHECK(count(html, "<g ") == count(html, "</g>"));
  CHECK(count(html, "worst fail") == 5);   // four canaries and one real break, each in one hour
  CHECK(count(html, "worst error") == 1);  // nine of them in one hour
  CHECK(count(html, "worst skipped") == 1);
  CHECK(count(html, ": no run, 12 fires missed</title>") == 3);  // 40 fires: three whole hours and a part
  CHECK(count(html, ": old_missed</title>") == 1);
  if (const char* path = std::getenv("EPOCHCUT_SOAK_PAGE")) std::ofstream(path) << html;  // for eyes
}

TEST_CASE("A long list is cut and says by how much") {
  Month m;
  for (std::size_t i = 0; i < m.in.live_fires.size(); i += 20) m.live(m.in.live_fires[i]).status = Status::error;
  const SoakReport r = judge_soak(m.in);
  const std::size_t more = r.scan.episodes.size() - report_rows_max;
  CHECK(r.scan.episodes.size() > report_rows_max);
  for (const std::string& text : {to_text(r), to_markdown(r), to_html({r})})
    CHECK(text.find("and " + std::to_string(more) + " more episodes") != std::string::npos);
  CHECK(to_json(r).find("\"episodes_total\":" + std::to_string(r.scan.episodes.size())) != std::string::npos);
}
