// The fault matrix: at each point of a check's two conversations, each thing that a network or a broken middlebox can do to it, and the one result that
// is allowed. docs/faults.md carries the same tables, and a test here compares them. EPOCHCUT_FULL=1 ends at every byte.
#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "faults/scene.hpp"

using namespace faults;

namespace {

/// What a cell allows. `pass`: nothing but a sound pass. `again`: the same, but the read's own proof refused what came first, and it was read again.
/// `wrong`: a damage that leaves everything well-formed, of which nothing here can know: TLS's business. Else the reason of the error.
constexpr const char* none = "";

constexpr Harm harms[] = {Harm::fin, Harm::rst, Harm::truncate, Harm::stall, Harm::delay, Harm::trickle, Harm::twice, Harm::swap, Harm::flip};
constexpr const char* harm_names[] = {"FIN", "RST", "rest lost", "stall", "delay", "byte by byte", "twice", "swapped", "flipped"};

/// A part of what a server says, and per harm what is allowed wherever in it the harm strikes; the last three strike at its beginning.
struct Row {
  const char* side;
  const char* point;
  const char* allowed[9];
};

constexpr Row table[] = {
    {"PostgreSQL", "startup", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "begin", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "lock", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "token", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "describe", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "copy start", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "copy data", {"connection", "connection", "connection", "timeout", "pass", "pass", "incomplete", "connection", "connection"}},
    {"PostgreSQL", "copy end", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "tables", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "commit", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"PostgreSQL", "about", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "settings: status line", {"connection", "connection", "connection", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "settings: headers", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, none}},
    {"ClickHouse", "settings: terminator", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, "timeout"}},
    {"ClickHouse", "describe: status line", {"pass", "pass", "pass", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "describe: headers", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, none}},
    {"ClickHouse", "describe: body", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", "incomplete", "incomplete", "incomplete"}},
    {"ClickHouse", "describe: terminator", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, "timeout"}},
    {"ClickHouse", "stream: status line", {"pass", "pass", "pass", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "stream: headers", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, none}},
    {"ClickHouse", "stream: body", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", "incomplete", "incomplete", "incomplete"}},
    {"ClickHouse", "stream: terminator", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, "timeout"}},
    {"ClickHouse", "answer: status line", {"pass", "pass", "pass", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "answer: headers", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, none}},
    {"ClickHouse", "answer: body", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", "incomplete", "incomplete", "incomplete"}},
    {"ClickHouse", "answer: terminator", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, "timeout"}},
    {"ClickHouse", "cheap look: status line", {"pass", "pass", "pass", "timeout", "pass", "pass", "connection", "connection", "connection"}},
    {"ClickHouse", "cheap look: headers", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, none}},
    {"ClickHouse", "cheap look: body", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", "incomplete", "incomplete", "incomplete"}},
    {"ClickHouse", "cheap look: terminator", {"incomplete", "incomplete", "incomplete", "timeout", "pass", "pass", none, none, "timeout"}},
};

/// Single bytes and moments that are worth a line of their own.
struct Line {
  const char* side;
  const char* what;
  const char* allowed;
};
constexpr Line lines[] = {
    {"PostgreSQL", "the port is shut", "connection"},
    {"PostgreSQL", "the port accepts and is silent, longer than connect_timeout", "connection"},
    {"PostgreSQL", "the port accepts and is silent, until the deadline", "timeout"},
    {"PostgreSQL", "silent in the middle of a COPY, with no deadline", "timeout"},
    {"PostgreSQL", "the network parts in the middle of a COPY", "timeout"},
    {"PostgreSQL", "an idle session ended by FIN", "pass"},
    {"PostgreSQL", "an idle session ended by RST", "pass"},
    {"PostgreSQL", "an idle session that stalls", "timeout"},
    {"PostgreSQL", "a session that ends while BEGIN is on its way", "connection"},
    {"PostgreSQL", "a session that ends while COPY is on its way", "connection"},
    {"PostgreSQL", "COPY never reaches the server", "timeout"},
    {"PostgreSQL", "every segment has one byte", "pass"},
    {"PostgreSQL", "the transaction's status flipped", "wrong_isolation"},
    {"PostgreSQL", "the isolation level flipped", "wrong_isolation"},
    {"PostgreSQL", "a digit of the token's digest flipped", "horizon_not_proven"},
    {"PostgreSQL", "the COPY's signature flipped", "incomplete"},
    {"PostgreSQL", "a row's number of cells flipped", "incomplete"},
    {"PostgreSQL", "a whole row twice", "incomplete"},
    {"PostgreSQL", "the COPY's trailer flipped", "incomplete"},
    {"PostgreSQL", "the number of rows in COPY's tag flipped", "incomplete"},
    {"PostgreSQL", "COMMIT's tag flipped", "incomplete"},
    {"PostgreSQL", "a digit of a value flipped", "wrong"},
    {"ClickHouse", "the port is shut", "connection"},
    {"ClickHouse", "the port accepts and is silent, until the deadline", "timeout"},
    {"ClickHouse", "the network parts in the middle of an answer", "timeout"},
    {"ClickHouse", "an idle connection ended by FIN", "pass"},
    {"ClickHouse", "an idle connection ended by RST", "pass"},
    {"ClickHouse", "an idle connection that stalls", "timeout"},
    {"ClickHouse", "a connection that ends while a request is on its way", "pass"},
    {"ClickHouse", "a request that never reaches the server", "timeout"},
    {"ClickHouse", "all but the answer's very last byte, then FIN", "pass"},
    {"ClickHouse", "every segment has one byte", "pass"},
    {"ClickHouse", "the server's name flipped, where it describes the table", "replica_changed"},
    {"ClickHouse", "the server's name flipped, where it answers", "replica_changed"},
    {"ClickHouse", "an event id flipped", "again"},
    {"ClickHouse", "an event id flipped, each time", "horizon_not_proven"},
    {"ClickHouse", "two event ids mixed", "again"},
    {"ClickHouse", "a digest's sum of a grouped read flipped", "again"},
    {"ClickHouse", "a digest's sum of a grouped read flipped, each time", "horizon_not_proven"},
    {"ClickHouse", "a whole block twice", "again"},
    {"ClickHouse", "a whole answer twice", "pass"},
    {"ClickHouse", "a column's type flipped", "schema"},
    {"ClickHouse", "the number of rows flipped", "incomplete"},
    {"ClickHouse", "a digit of a value flipped", "wrong"},
};

bool full() {
  const char* text = std::getenv("EPOCHCUT_FULL");
  return text != nullptr && std::string_view(text) == "1";
}

/// Time enough for anything that ends by itself, on a busy machine.
constexpr Millis patient{20'000};
/// For what ends by nothing but its deadline; a sound check takes 20 ms.
constexpr Millis impatient{250};
/// Beyond a deadline: the server is told to stop, and the machine is busy.
constexpr Millis late_max{clickhouse::stop_timeout + Millis{2'000}};

std::string word(const Outcome& o) {
  if (sound(o)) return o.right.full_reads > 1 ? "again" : "pass";
  if (o.status == Status::fail) return "wrong";
  if (o.status == Status::error) return std::string(to_string(o.reason));
  return "status " + std::string(to_string(o.status));
}

/// What every error must look like, whatever its reason.
void require_clean_error(const Outcome& o) {
  if (o.status != Status::error) return;
  constexpr Reason may_be_gone_soon[] = {Reason::connection, Reason::timeout, Reason::incomplete, Reason::horizon_not_proven, Reason::replica_changed};
  if (o.reason != Reason::wrong_isolation)  // a pooler may be in the way for a moment, or for good
    CHECK(o.retryable == (std::find(std::begin(may_be_gone_soon), std::end(may_be_gone_soon), o.reason) != std::end(may_be_gone_soon)));
  CHECK(o.claim == Claim::nothing);
  CHECK(o.counts.equal + o.counts.differences() == 0);
  CHECK(o.differences.empty());
  CHECK(o.message.find(secret) == std::string::npos);
}

/// Puts the missing row into the follower when the check first waits for it.
struct LateClock final : Clock {
  std::function<void()> arrive{};
  bool arrived = false;
  Millis now() const override { return SystemClock::instance().now(); }
  void sleep(Millis duration) override {
    if (!std::exchange(arrived, true) && arrive) arrive();
    SystemClock::instance().sleep(duration);
  }
};

struct How {
  bool grouped = false;
  PostgresOptions pg{};
  bool no_deadline = false;
  bool used_before = false;  ///< the fault waits until a second check
};

struct Matrix {
  Scene scene;
  std::vector<Span> pg;
  std::vector<Answer> ch;       ///< settings, describe, stream, describe, answer
  std::vector<Answer> late_ch;  ///< the same when the follower is late: the cheap look comes, and a second answer
  std::string pg_stream, ch_stream, pg_asked, ch_asked;
  int cells = 0;

  explicit Matrix(const std::string& test) : scene(test) {
    // Until two sound runs say the same: the first may find a server that is still making up its mind about new tables.
    for (int i = 0;
         i < 5 && (pg_stream.empty() || pg_stream.size() != scene.pg.seen(0, To::client).size() || ch_stream.size() != scene.ch.seen(0, To::client).size());
         ++i) {
      pg_stream = scene.pg.seen(0, To::client), ch_stream = scene.ch.seen(0, To::client);
      scene.pg.heal(), scene.ch.heal();
      Pair pair(scene);
      const Outcome o = pair.check(within(patient));
      INFO(to_text(o));
      REQUIRE(word(o) == "pass");
    }
    pg_stream = scene.pg.seen(0, To::client), ch_stream = scene.ch.seen(0, To::client);
    pg_asked = scene.pg.seen(0, To::server), ch_asked = scene.ch.seen(0, To::server);
    pg = postgres_points(scene.pg.seen(0, To::server), pg_stream);
    ch = clickhouse_answers(scene.ch.seen(0, To::server), ch_stream);
    REQUIRE(pg.size() == 11);
    REQUIRE(ch.size() == 5);
    CHECK(ch.back().end == ch_stream.size());  // or the answers were not understood
    CHECK(pg.back().end == pg_stream.size());
  }

  const Span& span(const std::string& point) const {
    for (const Span& s : pg)
      if (s.point == point) return s;
    throw std::logic_error("the sound run has no point " + point);
  }
  static const Answer& answer(const std::vector<Answer>& answers, const std::string& request) {
    for (auto a = answers.rbegin(); a != answers.rend(); ++a)
      if (a->request == request) return *a;
    throw std::logic_error("the sound run has no request " + request);
  }

  /// One cell: a check with the fault, what it must be, in its time; and a clean one after it on the same objects.
  void cell(Proxy& proxy, Plan plan, const std::string& allowed, const std::string& name, Clock* clock = nullptr) {
    const std::string at = name + " at byte " + std::to_string(plan.at);
    const bool ends_by_deadline = allowed == "timeout";
    proxy.arm(std::move(plan));
    Pair pair(scene);
    CheckOptions options = within(ends_by_deadline ? impatient : patient);
    if (clock != nullptr) options.control.clock = clock;
    judge(pair.check(options), allowed, at, *options.control.deadline, clock != nullptr ? "again" : "pass");
    INFO(at);
    CHECK(proxy.struck() >= 1);
    next(proxy, pair, at);
  }

  /// A cell with more to say about its check.
  void line(Proxy& proxy, Plan plan, const Line& l, const How& how = {}) {
    const std::string at = std::string(l.side) + ", " + l.what;
    proxy.arm(std::move(plan));
    Pair pair(scene, how.pg);
    if (how.used_before) CHECK(word(pair.check(within(patient))) == "pass");
    CheckOptions options = within(l.allowed == std::string_view("timeout") ? impatient : patient);
    const Millis end = how.no_deadline ? SystemClock::instance().now() + how.pg.statement_timeout + postgres::answer_grace : *options.control.deadline;
    if (how.no_deadline) options.control.deadline.reset();
    judge(pair.check(options, how.grouped), l.allowed, at, end);
    INFO(at);
    CHECK(proxy.struck() >= 1);
    next(proxy, pair, at);
  }

  /// Where something stands in what a server says. Errors: std::logic_error if it does not.
  static std::uint64_t find(const std::string& stream, const std::string& what, std::uint64_t from) {
    const std::size_t at = stream.find(what, from);
    if (at == std::string::npos) throw std::logic_error("the sound run does not say what was looked for");
    return at;
  }

  /// The n-th message of a type at a point; from its end if negative.
  Message message(const std::string& point, char type, int n = 0) const {
    const Span& s = span(point);
    std::vector<Message> found;
    for (const Message& m : messages(pg_stream, 1))
      if (m.type == type && m.begin >= s.begin && m.end <= s.end) found.push_back(m);
    return found.at(n < 0 ? found.size() - static_cast<std::size_t>(-n) : static_cast<std::size_t>(n));
  }

  void judge(const Outcome& o, const std::string& allowed, const std::string& at, Millis deadline, const std::string& sound_word = "pass") {
    ++cells;
    INFO(at << ": " << to_text(o));
    CHECK(word(o) == (allowed == "pass" ? sound_word : allowed));
    require_clean_error(o);
    CHECK(SystemClock::instance().now() < deadline + late_max);
  }

  void next(Proxy& proxy, Pair& pair, const std::string& at) {
    proxy.heal();
    const Outcome o = pair.check(within(patient));
    INFO("after " << at << ": " << to_text(o));
    CHECK(word(o) == "pass");
  }

  /// Nothing of all these checks may still run on a server.
  void require_quiet() {
    scene.pg.end_all(), scene.ch.end_all();
    const std::string sessions = "select count(*) from pg_stat_activity where application_name = '" + scene.world.name + "'";
    const std::string queries = "SELECT count() FROM system.processes WHERE query LIKE '%" + scene.world.name + "%' AND query NOT LIKE '%system.processes%'";
    std::string pg_left, ch_left;
    for (int i = 0; i < 100; ++i) {
      pg_left = scene.world.pg.execute(sessions)(0, 0), ch_left = scene.world.ch.query(queries);
      if (pg_left == "0" && ch_left == "0\n") break;
      SystemClock::instance().sleep(Millis{50});
    }
    CHECK(pg_left == "0");
    CHECK(ch_left == "0\n");
  }
};

/// Where a harm strikes in [begin, end): cuts at the edges and inside, or everywhere; the rest once.
std::vector<std::uint64_t> offsets(Harm harm, std::uint64_t begin, std::uint64_t end, int salt) {
  const std::uint64_t inside = begin + (end - begin) * static_cast<std::uint64_t>(1 + salt % 5) / 6;
  std::set<std::uint64_t> at;
  if (harm == Harm::fin || harm == Harm::rst || harm == Harm::truncate) {
    if (full())
      for (std::uint64_t i = begin; i < end; i += harm == Harm::fin ? 1 : 16) at.insert(i);
    else if (harm == Harm::fin)
      at = {begin, inside, end - 1};
    else
      at = {salt % 2 == 0 ? begin : end - 1, inside};
  } else if (harm == Harm::stall) {
    at = {inside};
  } else {
    at = {begin};
  }
  return {at.begin(), at.end()};
}

std::string markdown() {
  std::string text = "| side | point |";
  for (const char* name : harm_names) text += std::string(" ") + name + " |";
  text += "\n|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : table) {
    text += std::string("| ") + row.side + " | " + row.point + " |";
    for (const char* allowed : row.allowed) text += std::string(" ") + (*allowed == 0 ? "–" : allowed) + " |";
    text += "\n";
  }
  text += "\n| side | what | allowed |\n|---|---|---|\n";
  for (const Line& line : lines) text += std::string("| ") + line.side + " | " + line.what + " | " + line.allowed + " |\n";
  return text;
}

/// docs/faults.md, with the tables between two marks.
struct Document {
  const std::filesystem::path path = std::filesystem::path(__FILE__).parent_path() / "../../docs/faults.md";
  std::string text;
  std::size_t from = 0, to = 0;

  Document() {
    std::stringstream all;
    all << std::ifstream(path).rdbuf();
    text = all.str();
    const std::string begin = "<!-- the fault matrix -->\n";
    from = text.find(begin), to = text.find("<!-- end of the fault matrix -->");
    REQUIRE(from != std::string::npos);
    REQUIRE(to != std::string::npos);
    from += begin.size();
  }
  std::string tables() const { return text.substr(from, to - from); }
  void set(const std::string& tables) { std::ofstream(path) << text.replace(from, to - from, tables); }
};

template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// How each line is done.
using Do = std::function<void(Matrix&, const Line&)>;

void through(Matrix& m, const Line& l, Proxy& pg, Proxy& ch, const std::function<void()>& heal, const PostgresOptions& options = {}) {
  Pair pair(m.scene.dsn(pg), m.scene.url(ch), options);
  const CheckOptions check = within(l.allowed == std::string_view("timeout") ? impatient : patient);
  m.judge(pair.check(check), l.allowed, l.what, *check.control.deadline);
  heal();
  INFO("after: " << l.what);
  CHECK(word(pair.check(within(patient))) == "pass");
}

void idle(Matrix& m, const Line& l, Proxy& proxy, Harm harm) {
  proxy.heal();
  Pair pair(m.scene);
  CHECK(word(pair.check(within(patient))) == "pass");
  proxy.end_all(harm);
  const CheckOptions check = within(patient);
  m.judge(pair.check(check), l.allowed, l.what, *check.control.deadline);
}

const std::map<std::string, Do>& postgres_lines() {
  const auto flip = [](std::uint64_t at) { return Plan{.harm = Harm::flip, .at = at}; };
  const auto asked = [](const Matrix& m, const char* what) { return Matrix::find(m.pg_asked, what, 0) - 5; };
  static const std::map<std::string, Do> all{
      {"the port is shut",
       [](Matrix& m, const Line& l) {
         Proxy shut({number_after(std::getenv("EPOCHCUT_POSTGRES"), "port=")}, {}, Proxy::Door::shut);
         through(m, l, shut, m.scene.ch, [&] { shut.open_door(); });
       }},
      {"the port accepts and is silent, longer than connect_timeout",
       [](Matrix& m, const Line& l) {
         m.scene.pg.arm({.harm = Harm::stall, .always = true});
         through(m, l, m.scene.pg, m.scene.ch, [&] { m.scene.pg.heal(); }, {.connect_timeout = Millis{200}});
       }},
      {"the port accepts and is silent, until the deadline",
       [](Matrix& m, const Line& l) {
         m.scene.pg.arm({.harm = Harm::stall, .always = true});
         through(m, l, m.scene.pg, m.scene.ch, [&] { m.scene.pg.heal(); });
       }},
      {"silent in the middle of a COPY, with no deadline",
       [](Matrix& m, const Line& l) {
         m.line(m.scene.pg, {.harm = Harm::stall, .at = m.span("copy data").begin + 500}, l, {.pg = {.statement_timeout = Millis{500}}, .no_deadline = true});
       }},
      {"the network parts in the middle of a COPY",
       [](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::stall, .at = m.span("copy data").begin + 500, .parting = true}, l); }},
      {"an idle session ended by FIN", [](Matrix& m, const Line& l) { idle(m, l, m.scene.pg, Harm::fin); }},
      {"an idle session ended by RST", [](Matrix& m, const Line& l) { idle(m, l, m.scene.pg, Harm::rst); }},
      {"an idle session that stalls",
       [](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::stall, .at = m.pg_stream.size()}, l, {.used_before = true}); }},
      {"a session that ends while BEGIN is on its way",
       [](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::fin, .to = To::server, .at = m.pg_asked.size()}, l, {.used_before = true}); }},
      {"a session that ends while COPY is on its way",
       [=](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::fin, .to = To::server, .at = asked(m, "COPY (")}, l); }},
      {"COPY never reaches the server",
       [=](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::stall, .to = To::server, .at = asked(m, "COPY (") + 20}, l); }},
      {"every segment has one byte", [](Matrix& m, const Line& l) { m.line(m.scene.pg, {.harm = Harm::trickle, .length = UINT64_MAX}, l); }},
      {"the transaction's status flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.span("lock").end - 1), l); }},
      {"the isolation level flipped",
       [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(Matrix::find(m.pg_stream, "repeatable read", m.span("token").begin)), l); }},
      {"a digit of the token's digest flipped",
       [=](Matrix& m, const Line& l) {
         m.line(m.scene.pg, flip(Matrix::find(m.pg_stream, std::to_string(m.scene.world.ids.sum_low), m.span("token").begin) + 9), l);
       }},
      {"the COPY's signature flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.message("copy data", 'd').begin + 5), l); }},
      {"a row's number of cells flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.message("copy data", 'd', 7).begin + 6), l); }},
      {"a whole row twice",
       [](Matrix& m, const Line& l) {
         const Message row = m.message("copy data", 'd', 7);
         m.line(m.scene.pg, {.harm = Harm::twice, .at = row.begin, .length = row.end - row.begin}, l);
       }},
      {"the COPY's trailer flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.message("copy data", 'd', -1).begin + 6), l); }},
      {"the number of rows in COPY's tag flipped",
       [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(Matrix::find(m.pg_stream, "COPY 40", m.span("copy end").begin) + 5), l); }},
      {"COMMIT's tag flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.message("commit", 'C').begin + 5), l); }},
      {"a digit of a value flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.pg, flip(m.message("copy data", 'd', 7).end - 1), l); }},
  };
  return all;
}

const std::map<std::string, Do>& clickhouse_lines() {
  const auto flip = [](std::uint64_t at) { return Plan{.harm = Harm::flip, .at = at}; };
  const auto ids = [](const Matrix& m) {
    std::string text;
    for (int i = 0; i < 3; ++i) text += bytes_of(m.scene.events[static_cast<std::size_t>(i)].id());
    return Matrix::find(m.ch_stream, text, m.ch.back().begin);
  };
  // A grouped read says other bytes.
  const auto sum = [](Matrix& m) {
    m.scene.ch.heal();
    Pair pair(m.scene);
    CHECK(word(pair.check(within(patient), /*grouped=*/true)) == "pass");
    return Matrix::find(m.scene.ch.seen(0, To::client), bytes_of(digest_of_event_id(m.scene.events[0].id()).sum_low), 0);
  };
  const auto asked = [](const Matrix& m) { return m.ch_asked.rfind("POST /"); };
  static const std::map<std::string, Do> all{
      {"the port is shut",
       [](Matrix& m, const Line& l) {
         Proxy shut({number_after(std::getenv("EPOCHCUT_CLICKHOUSE"), "127.0.0.1:")}, {}, Proxy::Door::shut);
         through(m, l, m.scene.pg, shut, [&] { shut.open_door(); });
       }},
      {"the port accepts and is silent, until the deadline",
       [](Matrix& m, const Line& l) {
         m.scene.ch.arm({.harm = Harm::stall, .always = true});
         through(m, l, m.scene.pg, m.scene.ch, [&] { m.scene.ch.heal(); });
       }},
      {"the network parts in the middle of an answer",
       [](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::stall, .at = m.ch.back().headers_end + 100, .parting = true}, l); }},
      {"an idle connection ended by FIN", [](Matrix& m, const Line& l) { idle(m, l, m.scene.ch, Harm::fin); }},
      {"an idle connection ended by RST", [](Matrix& m, const Line& l) { idle(m, l, m.scene.ch, Harm::rst); }},
      {"an idle connection that stalls",
       [](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::stall, .at = m.ch_stream.size()}, l, {.used_before = true}); }},
      {"a connection that ends while a request is on its way",
       [=](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::fin, .to = To::server, .at = asked(m)}, l); }},
      {"a request that never reaches the server",
       [=](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::stall, .to = To::server, .at = asked(m) + 30}, l); }},
      {"all but the answer's very last byte, then FIN",
       [](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::fin, .at = m.ch.back().end - 1}, l); }},
      {"every segment has one byte", [](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::trickle, .length = UINT64_MAX}, l); }},
      {"the server's name flipped, where it describes the table",
       [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(Matrix::find(m.ch_stream, "epochcut-", m.ch[3].begin)), l); }},
      {"the server's name flipped, where it answers",
       [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(Matrix::find(m.ch_stream, "epochcut-", m.ch[4].begin)), l); }},
      {"an event id flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(ids(m)), l); }},
      {"an event id flipped, each time", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, {.everywhere = bytes_of(m.scene.events[0].id())}, l); }},
      {"two event ids mixed", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, {.harm = Harm::swap, .at = ids(m), .length = 5}, l); }},
      {"a digest's sum of a grouped read flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(sum(m)), l, {.grouped = true}); }},
      {"a digest's sum of a grouped read flipped, each time",
       [](Matrix& m, const Line& l) {
         m.line(m.scene.ch, {.everywhere = bytes_of(digest_of_event_id(m.scene.events[0].id()).sum_low)}, l, {.grouped = true});
       }},
      {"a whole block twice",
       [](Matrix& m, const Line& l) {
         const Answer& a = m.ch.back();
         m.line(m.scene.ch, {.harm = Harm::twice, .at = a.headers_end, .length = a.last - a.headers_end}, l);
       }},
      {"a whole answer twice",
       [](Matrix& m, const Line& l) {
         const Answer& a = m.ch.back();
         m.line(m.scene.ch, {.harm = Harm::twice, .at = a.begin, .length = a.end - a.begin}, l);
       }},
      {"a column's type flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(Matrix::find(m.ch_stream, "UInt64", m.ch.back().headers_end)), l); }},
      {"the number of rows flipped", [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(m.ch.back().body[1]), l); }},
      {"a digit of a value flipped",
       [=](Matrix& m, const Line& l) { m.line(m.scene.ch, flip(Matrix::find(m.ch_stream, bytes_of(std::int64_t{1'050'000'000}), m.ch.back().begin)), l); }},
  };
  return all;
}

void do_lines(const std::string& side, const std::map<std::string, Do>& how, const std::string& test) {
  Matrix m(test);
  std::size_t done = 0;
  for (const Line& line : lines) {
    if (line.side != side) continue;
    const auto found = how.find(line.what);
    INFO(line.what);
    REQUIRE(found != how.end());
    found->second(m, line);
    ++done;
  }
  CHECK(done == how.size());
  m.require_quiet();
}

}  // namespace

TEST_CASE("docs/faults.md carries these very tables") {
  const Document document;
  CHECK(document.tables() == markdown());
}

TEST_CASE("writes these tables into docs/faults.md", "[.write]") {
  Document document;
  document.set(markdown());
}

TEST_CASE("the fault matrix: PostgreSQL") {
  Matrix m("fm_pg");
  int salt = 0;
  for (const Row& row : table) {
    if (row.side != std::string_view("PostgreSQL")) continue;
    const Span& s = m.span(row.point);
    for (std::size_t h = 0; h < std::size(harms); ++h) {
      const std::string name = "PostgreSQL, " + std::string(row.point) + ", " + harm_names[h];
      Plan plan{.harm = harms[h], .length = harms[h] == Harm::trickle ? 32u : 8u};
      // The first byte of a startup is the answer to a request for TLS; before the first byte of `about` the session is idle, and is replaced. Bytes are
      // doubled behind a message's type, so that its length lies, and exchanged where no length comes to lie within what libpq waits for.
      const std::uint64_t first = s.point == "about" || (s.point == "startup" && harms[h] >= Harm::twice) ? 1 : 0;
      const std::uint64_t shift = harms[h] == Harm::twice ? 1 - first : harms[h] == Harm::swap && s.point == "copy end" ? 6 : 0;
      for (const std::uint64_t at : offsets(harms[h], s.begin + first, s.end, ++salt)) plan.at = at + shift, m.cell(m.scene.pg, plan, row.allowed[h], name);
    }
  }
  m.require_quiet();
  WARN(m.cells << " cells");
}

TEST_CASE("the fault matrix: ClickHouse") {
  Matrix m("fm_ch");
  live::World& world = m.scene.world;
  const std::string all = Scene::lines(m.scene.events), without_last = all.substr(0, all.rfind('\n', all.size() - 2) + 1);
  const auto fill = [&](const std::string& rows_text) {
    world.ch.execute("TRUNCATE TABLE " + world.name + ".transactions");
    world.ch.insert(world.name + ".transactions", rows_text);
  };
  LateClock clock;
  exchange::ClickhouseWriter writer(std::getenv("EPOCHCUT_CLICKHOUSE"));
  const auto be_late = [&] {
    fill(without_last);
    clock.arrived = false;
    clock.arrive = [&] { writer.insert(world.name + ".transactions", all.substr(without_last.size())); };
  };
  {
    be_late();
    m.scene.ch.heal();
    Pair pair(m.scene);
    CheckOptions options = within(patient);
    options.control.clock = &clock;
    const Outcome o = pair.check(options);
    INFO(to_text(o));
    REQUIRE(word(o) == "again");
    m.late_ch = clickhouse_answers(m.scene.ch.seen(0, To::server), m.scene.ch.seen(0, To::client));
  }
  int salt = 0;
  for (const Row& row : table) {
    if (row.side != std::string_view("ClickHouse")) continue;
    const std::string point = row.point, part = point.substr(point.find(": ") + 2);
    const bool late = point.starts_with("cheap look");
    const Answer& a = late ? Matrix::answer(m.late_ch, "look") : Matrix::answer(m.ch, point.substr(0, point.find(':')));
    const auto [begin, end] = part == "status line" ? std::pair{a.begin, a.status_end - 1}
                              : part == "headers"   ? std::pair{a.status_end, a.headers_end}
                              : part == "body"      ? std::pair{a.headers_end, a.last}
                                                    : std::pair{a.last, a.end - 1};
    for (std::size_t h = 0; h < std::size(harms); ++h) {
      if (*row.allowed[h] == 0) continue;
      const std::string name = "ClickHouse, " + point + ", " + harm_names[h];
      Plan plan{.harm = harms[h], .length = harms[h] == Harm::trickle ? 32u : 8u};
      for (const std::uint64_t at : offsets(harms[h], begin, end, ++salt)) {
        if (late) be_late();
        plan.at = at;
        m.cell(m.scene.ch, plan, row.allowed[h], name, late ? &clock : nullptr);
      }
      if (late) fill(all);
    }
  }
  m.require_quiet();
  WARN(m.cells << " cells");
}

TEST_CASE("single bytes and moments: PostgreSQL") { do_lines("PostgreSQL", postgres_lines(), "fl_pg"); }

TEST_CASE("single bytes and moments: ClickHouse") { do_lines("ClickHouse", clickhouse_lines(), "fl_ch"); }
