#include <epochcut/verdict/report.hpp>

#include <cctype>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {

/// A strict reader of JSON (RFC 8259) over UTF-8: true if `text` is one whole value.
class Json {
 public:
  explicit Json(std::string_view text) : text_(text) {}
  bool valid() { return value() && at_ == text_.size(); }

 private:
  bool take(char c) { return at_ < text_.size() && text_[at_] == c && (++at_, true); }
  bool word(std::string_view w) { return text_.substr(at_, w.size()) == w && (at_ += w.size(), true); }
  bool digits() {
    const std::size_t before = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    return at_ > before;
  }
  bool value() {
    if (at_ == text_.size()) return false;
    switch (text_[at_]) {
      case '{': return list('{', '}', true);
      case '[': return list('[', ']', false);
      case '"': return string();
      case 't': return word("true");
      case 'f': return word("false");
      case 'n': return word("null");
      default: return (take('-'), true) && (take('0') || digits());
    }
  }
  bool list(char open, char close, bool named) {
    take(open);
    if (take(close)) return true;
    do {
      if (named && !(string() && take(':'))) return false;
      if (!value()) return false;
    } while (take(','));
    return take(close);
  }
  bool string() {
    if (!take('"')) return false;
    while (at_ < text_.size() && text_[at_] != '"') {
      const auto c = static_cast<unsigned char>(text_[at_++]);
      if (c < 0x20) return false;
      if (c == '\\') {
        if (take('u')) {
          for (int i = 0; i < 4; ++i)
            if (at_ == text_.size() || !std::isxdigit(static_cast<unsigned char>(text_[at_++]))) return false;
        } else if (at_ == text_.size() || std::string_view("\"\\/bfnrt").find(text_[at_++]) == std::string_view::npos)
          return false;
      } else if (c >= 0x80) {
        // Code points, decoded the long way: shortest form, no surrogates, at most U+10FFFF.
        const int more = c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : 0;
        if (more == 0) return false;
        unsigned code = c & (0x3Fu >> more);
        for (int i = 0; i < more; ++i) {
          if (at_ == text_.size() || (static_cast<unsigned char>(text_[at_]) & 0xC0) != 0x80) return false;
          code = code << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3F);
        }
        const unsigned least[] = {0, 0x80, 0x800, 0x10000};
        if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
      }
    }
    return take('"');
  }
  std::string_view text_;
  std::size_t at_ = 0;
};
bool valid(const std::string& json) { return Json(json).valid(); }

/// A text as it stands in an outcome's JSON, quotes and all.
std::string escaped(std::string_view text) {
  Outcome o;
  o.message = text;
  const std::string j = to_json(o), begin = "\"message\":", end = ",\"stream\":\"\",\"authority\"";
  REQUIRE(valid(j));
  const std::size_t from = j.find(begin) + begin.size();
  return j.substr(from, j.rfind(end) - from);
}

Outcome failed() {
  Exchange x;
  x.run(three);
  x.analytics.alter("transactions", [](Relation& rows) { rows = transactions({{1, "EUR", 1000}, {2, "USD", 400}, {3, "CHF", 7}}); });
  return x.check();
}
}  // namespace

TEST_CASE("the reader of JSON in this test refuses what is no JSON") {
  for (const char* good : {"{}", "[]", "{\"a\":[1,-2,0,true,null,\"\\u00e4\\n\"]}", "\"\xC3\xA4\"", "\"\xF0\x9F\x98\x80\""}) CHECK(valid(good));
  for (const char* bad : {"", "{", "{\"a\"}", "[1,]", "\"\n\"", "\"\xFF\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\"", "\"\xE0\x80\x80\"", "\"\xF4\x90\x80\x80\"",
                          "\"\xC3\"", "{}x", "01", "\"\\x\"", "{a:1}"})
    CHECK_FALSE(valid(bad));
}

TEST_CASE("every pair and triple of bytes becomes valid JSON") {
  for (int a = 0; a < 256; ++a)
    for (int b = 0; b < 256; ++b) {
      const std::string two = {static_cast<char>(a), static_cast<char>(b)};
      REQUIRE(valid(escaped(two)));
      if (a >= 0xE0 && b >= 0x7F)
        for (int c : {0x00, 0x22, 0x5C, 0x7F, 0x80, 0xBF, 0xC0, 0xFF}) {
          REQUIRE(valid(escaped(two + static_cast<char>(c))));
          REQUIRE(valid(escaped(two + static_cast<char>(c) + static_cast<char>(c))));
        }
    }
  CHECK(escaped("a\"b\\c\nd") == "\"a\\\"b\\\\c\\nd\"");
  CHECK(escaped("\xC3\xA4\xF0\x9F\x98\x80") == "\"\xC3\xA4\xF0\x9F\x98\x80\"");  // valid text stays as it is
  CHECK(escaped("\xFF") == "\"\xEF\xBF\xBD\"");
  CHECK(escaped(std::string_view("\0", 1)) == "\"\\u0000\"");
}

TEST_CASE("an outcome as JSON: valid, money as text, names stable") {
  const std::string j = to_json(failed());
  CHECK(valid(j));
  CHECK(j.find('\n') == std::string::npos);
  for (const char* part :
       {"\"id\":\"balances\"", "\"status\":\"fail\"", "\"reason\":\"differs\"", "\"stream\":\"trade_engine\"", "\"epoch\":{\"sequence\":3,\"execution_ns\":0}",
        "\"unsynchronised\":false", "\"claim\":\"nothing\"", "\"witness\":\"id_digest\"", "\"completeness\":\"proved\"",
        "\"counts\":{\"equal\":0,\"only_left\":0,\"only_right\":1,\"changed\":2}", "\"left\":{\"amount\":\"5.00\"},\"right\":{\"amount\":\"4.00\"}",
        "\"kind\":\"only_right\",\"key\":{\"currency\":\"CHF\"},\"left\":{},\"right\":{\"amount\":\"0.07\"}"})
    CHECK(contains(j, part));
}

TEST_CASE("hostile values and messages stay data in JSON") {
  Exchange x;
  x.run({{1, "\",\"status\":\"pass\xFF\n", 5}});
  x.remove([](std::uint64_t) { return true; });
  x.publish({{1, "x\\\x01", 6}});
  const std::string j = to_json(x.check());
  CHECK(valid(j));
  CHECK(contains(j, "\"status\":\"fail\""));
  CHECK_FALSE(contains(j, "\"status\":\"pass"));
  CHECK(valid(to_json(Outcome{})));
}

TEST_CASE("a NULL and the text NULL are told apart in JSON") {
  Outcome o;
  o.differences = {{.kind = DifferenceKind::changed, .key = {{"k", Value(1)}}, .left = {{"v", Value()}}, .right = {{"v", Value("NULL")}}}};
  const std::string j = to_json(o);
  CHECK(contains(j, "\"left\":{\"v\":null},\"right\":{\"v\":\"NULL\"}"));
}

TEST_CASE("an outcome as text") {
  Exchange x;
  x.run(three);
  CHECK(to_text(x.check()) == "pass balances @ 3: 2 keys agree");
  const std::string text = to_text(failed());
  CHECK(contains(text, "fail balances @ 3: differs: 3 of 3 keys differ"));
  CHECK(contains(text, "\n  only_right currency=CHF: right amount=0.07"));
  CHECK(contains(text, "\n  changed currency=USD: left amount=5.00, right amount=4.00"));
  Outcome o = failed();
  o.unsynchronised = true;
  o.counts.changed = 40;
  CHECK(contains(to_text(o), "(at rest, unsynchronised)"));
  CHECK(contains(to_text(o), "... and 38 more"));
}

TEST_CASE("a value can't forge a line of the log") {
  Exchange x;
  x.run({{1, "EUR\npass other-check @ 9: 5 keys agree", 5}});
  x.remove([](std::uint64_t) { return true; });
  x.publish({{1, "USD", 5}});
  CHECK_FALSE(contains(to_text(x.check()), "\npass"));
}

TEST_CASE("a value of a megabyte is told by its beginning, its size and its digest; counts stay exact") {
  Outcome o = failed();
  std::string a(1'000'000, 'x'), b = a;
  b.back() = 'y';
  a[1'022] = b[1'022] = '\xC3', a[1'023] = b[1'023] = '\xA4';  // a character across the limit is not cut in two
  a[1'024] = b[1'024] = '\xC3', a[1'025] = b[1'025] = '\xA4';
  o.differences = {{DifferenceKind::changed, {{"key", Literal(Value("k"))}}, {{"memo", Literal(Value(a))}}, {{"memo", Literal(Value(b))}}}};
  const std::string text = to_text(o), j = to_json(o);
  CHECK(text.size() < 4'000);
  CHECK(j.size() < 6'000);
  CHECK(valid(j));
  CHECK(contains(text, "(1000000 bytes, digest "));
  CHECK_FALSE(contains(j, "\xEF\xBF\xBD"));
  CHECK(shown(Value(a)) != shown(Value(b)));
  CHECK(shown(Value(std::string(1'024, 'x'))) == std::string(1'024, 'x'));
  CHECK(contains(j, "\"changed\":2"));
}
