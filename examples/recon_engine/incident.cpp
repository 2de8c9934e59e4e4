#include "recon_engine/incident.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <random>
#include <set>
#include <tuple>
#include <utility>

#include <curl/curl.h>
#include <libpq-fe.h>
#include <poll.h>

#include <epochcut/verdict/report.hpp>

#include "recon_engine/page.hpp"

namespace recon_engine {

using epochcut::Failure;
using epochcut::Pager;
using epochcut::Reason;
using epochcut::to_text;
using epochcut::json::escaped;
using epochcut::json::member;

namespace {

std::string joined(char open, const std::vector<std::string>& parts, char close) {
  std::string text(1, open);
  for (const std::string& part : parts) text += (text.size() > 1 ? "," : "") + part;
  return text + close;
}

/// Short enough for a page; not within a UTF-8 sequence.
std::string cut_off(const std::string& text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

constexpr std::size_t text_bytes_max = 400;  // of one key or one side's values in a page

/// `note`: what is to be said beside what the run shows; may be empty.
std::string metadata_of(const Run& run, const epochcut::PageEvent& event, const std::string& page_url, const std::string& note = "") {
  std::vector<std::string> keys;
  for (const ShownDifference& d : run.differences) {
    if (keys.size() == page_keys_max) break;
    keys.push_back(joined('{',
                          {member("kind", escaped(d.kind)), member("key", escaped(cut_off(d.key, text_bytes_max))),
                           member("left", escaped(cut_off(d.left, text_bytes_max))), member("right", escaped(cut_off(d.right, text_bytes_max)))},
                          '}'));
  }
  std::vector<std::string> all{member("check", escaped(run.check_id)),
                               member("signal", escaped(to_string(event.signal))),
                               member("cause", escaped(to_string(event.cause))),
                               member("since", escaped(to_text(event.since))),
                               member("run_id", escaped(run.run_id)),
                               member("status", escaped(to_string(run.status))),
                               member("reason", escaped(to_string(run.reason))),
                               member("message", escaped(cut_off(run.message, 4 * text_bytes_max))),
                               member("what_to_do", escaped(advice(run.reason))),
                               member("stream", escaped(run.stream)),
                               member("authority", escaped(run.authority)),
                               member("generation", std::to_string(run.generation)),
                               member("epoch", run.epoch ? std::to_string(run.epoch->sequence) : "null"),
                               member("changed", std::to_string(run.changed)),
                               member("only_left", std::to_string(run.only_left)),
                               member("only_right", std::to_string(run.only_right)),
                               member("keys", joined('[', keys, ']')),
                               member("version", escaped(run.version)),
                               member("query_hash", escaped(run.query_hash))};
  if (!note.empty()) all.push_back(member("note", escaped(note)));
  if (!page_url.empty()) all.push_back(member("page", escaped(page_url)));
  return joined('{', all, '}');
}

std::string title_of(const Run& run, const epochcut::PageEvent& event, bool firing) {
  const std::string id = run.check_id;
  if (event.signal == Signal::invariant) return firing ? id + ": money does not add up (" + std::string(to_string(run.reason)) + ")" : id + ": adds up again";
  if (!firing) return id + ": can be checked again";
  return event.cause == epochcut::Cause::stuck ? id + ": error: stuck (" + std::string(to_string(run.reason)) + ")"
                                               : id + ": error: unassertable, it has neither passed nor failed for too long";
}

std::string key_of(const std::string& check, Signal signal, Instant since) {
  return check + (signal == Signal::infrastructure ? "/infrastructure@" : "@") + to_text(since);
}

bool is_loopback(std::string_view host) {
  if (host == "localhost" || host == "[::1]") return true;
  // An address, not a name that begins like one.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

// --- what may be said ------------------------------------------------------------------------------------------------

namespace {

bool pages(const PagingConfig& config, const std::string& check_id) {
  const auto check = config.find(check_id);
  return check != config.end() && check->second.paging;
}

}  // namespace

std::string Page::body() const {
  const auto with = [&](const std::string& metadata) {
    return joined('{',
                  {member("status", escaped(alert_.firing ? "firing" : "resolved")), member("title", escaped(alert_.title)),
                   member("deduplication_key", escaped(alert_.deduplication_key)), member("metadata", metadata)},
                  '}');
  };
  const std::string body = with(alert_.metadata);
  return body.size() <= page_body_bytes_max ? body : with(joined('{', {member("check", escaped(alert_.check_id)), member("cut_off", "true")}, '}'));
}

std::optional<Page> PagingGate::admit(const Alert& alert, const PagingConfig& config) {
  if (!alert.firing && alert.owed) return Page(alert);
  if (!alert.paging || !pages(config, alert.check_id)) return std::nullopt;
  return Page(alert);
}

// --- the receiver ----------------------------------------------------------------------------------------------------

namespace {

std::size_t ignore_body(char*, std::size_t, std::size_t size, void* total) {
  auto& bytes = *static_cast<std::size_t*>(total);
  bytes += size;
  return bytes > page_body_bytes_max ? 0 : size;
}

WebhookOptions checked(WebhookOptions options) {
  CURLU* parts = curl_url();
  char *scheme = nullptr, *host = nullptr, *user = nullptr;
  const bool parsed = curl_url_set(parts, CURLUPART_URL, options.url.c_str(), 0) == CURLUE_OK &&
                      curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;
  const bool named = curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK;
  const std::string s = scheme != nullptr ? scheme : "", h = host != nullptr ? host : "";
  curl_free(scheme), curl_free(host), curl_free(user), curl_url_cleanup(parts);
  if (!parsed) throw Failure(Reason::configuration, "the incident webhook's address is not a URL");
  if (named) throw Failure(Reason::configuration, "the incident webhook's address holds a user; its secret belongs into the environment");
  if (s != "https" && !(s == "http" && is_loopback(h)))
    throw Failure(Reason::configuration, "the incident webhook's address must begin with https://; http:// is for this machine alone");
  return options;
}

}  // namespace

Webhook::Webhook(WebhookOptions options) : options_(checked(std::move(options))) {
  static const bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  curl_ = ready ? curl_easy_init() : nullptr;
  if (curl_ == nullptr) throw Failure(Reason::unknown, "libcurl could not be initialised");
}

Webhook::~Webhook() { curl_easy_cleanup(curl_); }

void Webhook::post(const Page& page) {
  curl_easy_reset(curl_);
  const std::string body = page.body();
  std::size_t answered = 0;
  curl_slist* headers = nullptr;
  for (const char* header : {"Content-Type: application/json", "Expect:"}) headers = curl_slist_append(headers, header);
  if (!options_.secret.empty()) headers = curl_slist_append(headers, ("Authorization: Bearer " + options_.secret).c_str());
  curl_easy_setopt(curl_, CURLOPT_URL, options_.url.c_str());
  curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.c_str());
  curl_easy_setopt(curl_, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl_, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!options_.ca_file.empty()) {
    curl_easy_setopt(curl_, CURLOPT_CAINFO, options_.ca_file.c_str());
    curl_easy_setopt(curl_, CURLOPT_CAPATH, nullptr);  // libcurl would go on trusting the system's beside it
  }
  curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl_, CURLOPT_PROXY, "");
  curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl_, CURLOPT_TIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &ignore_body);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &answered);
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, why);
  const CURLcode code = curl_easy_perform(curl_);
  curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
  long status = 0;
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
  curl_slist_free_all(headers);
  // An address may carry a token in its path, so no message repeats it. Of a certificate the library names at most the host.
  if (code == CURLE_PEER_FAILED_VERIFICATION)
    throw Failure(Reason::connection, "the incident webhook's certificate is not trusted: " + std::string(why[0] != '\0' ? why : curl_easy_strerror(code)) +
                                          "; it must be signed by " +
                                          (options_.ca_file.empty() ? "an authority of this system" : "an authority in " + options_.ca_file) +
                                          ", for the name in the address")
        .retry();
  if (code != CURLE_OK) throw Failure(Reason::connection, "the incident webhook: " + std::string(curl_easy_strerror(code))).retry();
  if (status < 200 || status > 299) throw Failure(Reason::connection, "the incident webhook answered " + std::to_string(status)).retry();
}

// --- the outbox ------------------------------------------------------------------------------------------------------

struct PostgresOutbox::Connection {
  static constexpr Millis answer_max{5'000};  // a server that hangs must not hold up the pages

  PGconn* pg;
  explicit Connection(const std::string& dsn) {
    // What stands after dbname wins over it, what stands before does not.
    const char* const names[] = {"connect_timeout", "dbname", "application_name", nullptr};
    const char* const values[] = {"5", dsn.c_str(), "recon_engine outbox", nullptr};
    pg = PQconnectdbParams(names, values, 1);
    if (PQstatus(pg) == CONNECTION_OK) return;
    PQfinish(pg);  // its message may quote half of a password
    throw Failure(Reason::connection, "can't connect to the PostgreSQL that keeps the outbox").poison();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { PQfinish(pg); }

  struct Result {
    PGresult* result;
    explicit Result(PGresult* owned) : result(owned) {}
    Result(Result&& other) noexcept : result(std::exchange(other.result, nullptr)) {}
    Result& operator=(Result&& other) noexcept { return std::swap(result, other.result), *this; }
    ~Result() { PQclear(result); }
    std::string operator()(int row, int column) const { return {PQgetvalue(result, row, column), static_cast<std::size_t>(PQgetlength(result, row, column))}; }
    bool null(int row, int column) const { return PQgetisnull(result, row, column) != 0; }
    int rows() const { return PQntuples(result); }
  };

  Result run(const char* sql, const std::vector<std::optional<std::string>>& parameters) {
    std::vector<const char*> values;
    for (const auto& p : parameters) values.push_back(p ? p->c_str() : nullptr);
    if (PQsendQueryParams(pg, sql, static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0) != 1) refuse(nullptr);
    const auto ends = std::chrono::steady_clock::now() + answer_max;
    Result result(nullptr);
    for (;;) {
      while (PQisBusy(pg) != 0) {
        pollfd waited{PQsocket(pg), POLLIN, 0};
        const auto left = std::chrono::ceil<Millis>(ends - std::chrono::steady_clock::now()).count();
        if (left <= 0 || poll(&waited, 1, static_cast<int>(left)) <= 0 || PQconsumeInput(pg) != 1) refuse(nullptr);
      }
      PGresult* next = PQgetResult(pg);
      if (next == nullptr) break;
      result = Result(next);
    }
    const ExecStatusType status = PQresultStatus(result.result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) refuse(result.result);
    return result;
  }

  [[noreturn]] static void refuse(const PGresult* result) {
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const std::string code = state != nullptr ? state : "";
    throw Failure(Reason::connection, "PostgreSQL does not take or give pages" + (code.empty() ? "" : " (" + code + ")")).code(code).poison();
  }
};

PostgresOutbox::PostgresOutbox(std::string dsn) : dsn_(std::move(dsn)) {}
PostgresOutbox::~PostgresOutbox() = default;

PostgresOutbox::Connection& PostgresOutbox::connection() {
  if (!connection_) connection_ = std::make_unique<Connection>(dsn_);
  return *connection_;
}

void PostgresOutbox::save(const Alert& a) {
  const auto time = [](std::optional<Instant> at) { return at ? std::optional(to_text(*at)) : std::nullopt; };
  try {
    connection().run(
        "INSERT INTO recon_engine.incident_outbox (deduplication_key, status, check_id, signal, paging, episode, created, title, metadata, attempts,"
        " next_attempt, delivered, withheld, abandoned, problem) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
        " ON CONFLICT (deduplication_key, status) DO UPDATE SET attempts = EXCLUDED.attempts, next_attempt = EXCLUDED.next_attempt,"
        " delivered = coalesce(incident_outbox.delivered, EXCLUDED.delivered), withheld = EXCLUDED.withheld, abandoned = EXCLUDED.abandoned,"
        " problem = EXCLUDED.problem",
        {a.deduplication_key, a.firing ? "firing" : "resolved", a.check_id, std::string(to_string(a.signal)), a.paging ? "true" : "false", time(a.episode),
         time(a.created), a.title, a.metadata, std::to_string(a.attempts), time(a.next_attempt), time(a.delivered), time(a.withheld), time(a.abandoned),
         a.problem});
  } catch (...) {
    connection_.reset();
    throw;
  }
}

std::vector<Alert> PostgresOutbox::load() {
  // What is pending, firings of which no end was ever said, and the newest episode's ends: their keys are used up.
  constexpr const char* sql =
      "SELECT deduplication_key, status, check_id, signal, title, metadata, attempts, problem, (extract(epoch FROM episode) * 1000)::bigint,"
      " (extract(epoch FROM created) * 1000)::bigint, (extract(epoch FROM next_attempt) * 1000)::bigint, (extract(epoch FROM delivered) * 1000)::bigint,"
      " status = 'resolved' AND EXISTS (SELECT FROM recon_engine.incident_outbox f WHERE f.deduplication_key = o.deduplication_key AND f.status = 'firing'"
      " AND f.delivered IS NOT NULL)"
      " FROM recon_engine.incident_outbox o WHERE withheld IS NULL AND abandoned IS NULL AND (delivered IS NULL OR (status = 'firing' AND NOT EXISTS"
      " (SELECT FROM recon_engine.incident_outbox r WHERE r.deduplication_key = o.deduplication_key AND r.status = 'resolved'))"
      " OR (status = 'resolved' AND episode = (SELECT max(n.episode) FROM recon_engine.incident_outbox n WHERE n.check_id = o.check_id"
      " AND n.signal = o.signal)))"
      " ORDER BY created DESC, status LIMIT $1::bigint";
  try {
    const auto rows = connection().run(sql, {std::to_string(pages_pending_max)});
    const auto at = [&](int row, int column) { return Instant(Millis(std::strtoll(rows(row, column).c_str(), nullptr, 10))); };
    std::vector<Alert> alerts;
    for (int row = rows.rows(); row-- > 0;) {
      Alert a;
      a.deduplication_key = rows(row, 0), a.firing = rows(row, 1) == "firing", a.check_id = rows(row, 2);
      a.signal = rows(row, 3) == to_string(Signal::invariant) ? Signal::invariant : Signal::infrastructure;
      a.title = rows(row, 4), a.metadata = rows(row, 5), a.attempts = std::atoi(rows(row, 6).c_str()), a.problem = rows(row, 7);
      a.paging = true;  // the table takes no other
      a.episode = at(row, 8), a.created = at(row, 9), a.next_attempt = at(row, 10);
      if (!rows.null(row, 11)) a.delivered = at(row, 11);
      a.owed = rows(row, 12) == "t";
      alerts.push_back(std::move(a));
    }
    return alerts;
  } catch (...) {
    connection_.reset();
    throw;
  }
}

void MemoryOutbox::save(const Alert& alert) {
  Alert& row = (*rows_)[{alert.deduplication_key, alert.firing}];
  const auto delivered = row.delivered;
  row = alert;
  if (delivered) row.delivered = delivered;
}

std::vector<Alert> MemoryOutbox::load() {
  std::map<std::pair<std::string, Signal>, Instant> newest;  // episode
  for (const auto& [key, a] : *rows_) {
    Instant& episode = newest.try_emplace({a.check_id, a.signal}, a.episode).first->second;
    episode = std::max(episode, a.episode);
  }
  std::vector<Alert> alerts;
  for (const auto& [key, a] : *rows_) {
    const bool open = a.firing && !rows_->contains({a.deduplication_key, false});
    const bool used_up = !a.firing && a.episode == newest.at({a.check_id, a.signal});
    if (a.withheld || a.abandoned || (a.delivered && !open && !used_up)) continue;
    alerts.push_back(a);
    const auto beginning = rows_->find({a.deduplication_key, true});
    alerts.back().owed = !a.firing && beginning != rows_->end() && beginning->second.delivered;
  }
  std::sort(alerts.begin(), alerts.end(), [](const Alert& a, const Alert& b) { return std::tie(a.created, b.firing) < std::tie(b.created, a.firing); });
  return alerts;
}

// --- the sink --------------------------------------------------------------------------------------------------------

/// One check's signals.
struct IncidentSink::Lane {
  epochcut::PagingPolicy policy;
  Pager pager{policy};
  std::optional<Run> last;                       ///< the newest run
  std::map<Signal, Run> shown;                   ///< the newest that speaks for a signal: a page about money names keys, not a later error
  std::map<Signal, epochcut::PageEvent> firing;  ///< what the fold says fires
  std::map<Signal, Alert> said;                  ///< the firing that was admitted and whose end was not
  std::set<std::string> ended;                   ///< keys whose end was said: another alarm takes another key

  void take(const Run& run);
};

struct IncidentSink::State {
  PagingConfig config;
  std::map<std::string, Lane> lanes;
  std::deque<Alert> alerts;       ///< pending, in the order in which they were said
  std::set<std::string> unsaved;  ///< keys + status of alerts that the outbox does not have as they are
  std::vector<Alert> changed;     ///< no longer pending, not yet saved
  bool loaded = false;
  Instant save_next{};
  Millis save_pause{0};
  std::mt19937_64 random;
};

namespace {

std::string row_of(const Alert& a) { return a.deduplication_key + (a.firing ? " firing" : " resolved"); }

bool operator==(const epochcut::PagingPolicy& a, const epochcut::PagingPolicy& b) {
  return a.confirm == b.confirm && a.clear == b.clear && a.interval_min == b.interval_min && a.assert_within == b.assert_within &&
         a.stuck_errors == b.stuck_errors && a.stuck_after == b.stuck_after;
}

}  // namespace

IncidentSink::IncidentSink(Board& board, std::unique_ptr<Outbox> outbox, std::unique_ptr<Receiver> receiver, Options options)
    : board_(board), outbox_(std::move(outbox)), receiver_(std::move(receiver)), options_(std::move(options)), state_(std::make_unique<State>()) {
  state_->random.seed(options_.seed);
}

IncidentSink::~IncidentSink() { stop(); }

Instant IncidentSink::now() const { return options_.now ? options_.now() : std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

void IncidentSink::configure(PagingConfig config) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, check] : config) {
    Lane& lane = state_->lanes[id];
    if (lane.policy == check.policy) continue;
    // A new policy begins with what the last run showed; an episode that was said is ended by passes, as before.
    lane.policy = check.policy;
    lane.pager = Pager(check.policy);
    if (const Run* last = lane.last ? &*lane.last : nullptr) lane.pager.add({last->status, last->reason, last->retryable, last->started});
  }
  state_->config = std::move(config);
  wake_.notify_all();
}

void IncidentSink::Lane::take(const Run& run) {
  // A planted break, or somebody who tried: neither opens an episode nor ends one.
  if (run.trigger == "canary" || run.trigger == "manual") return;
  for (const epochcut::PageEvent& event : pager.add({run.status, run.reason, run.retryable, run.started}))
    if (event.transition == epochcut::Transition::firing) firing.insert_or_assign(event.signal, event);
  last = run;
  if (run.status == epochcut::Status::fail) shown.insert_or_assign(Signal::invariant, run);
  if (run.status != epochcut::Status::pass) shown.insert_or_assign(Signal::infrastructure, run);
}

void IncidentSink::restore(const std::vector<Run>& runs) {
  const std::lock_guard lock(mutex_);
  for (const Run& run : runs)
    if (const auto lane = state_->lanes.find(run.check_id); lane != state_->lanes.end()) lane->second.take(run);
}

void IncidentSink::add(const Run& run) {
  const std::lock_guard lock(mutex_);
  const auto lane = state_->lanes.find(run.check_id);
  if (lane == state_->lanes.end()) return;
  lane->second.take(run);
  settle(lane->second);
  wake_.notify_all();
}

/// Says what is firing and was not said, and the end of what was. By level and not by edge, so that it does not matter where the last process died.
void IncidentSink::settle(Lane& lane) {
  State& s = *state_;
  if (!lane.last) return;
  const Instant at = now();
  for (const Signal signal : {Signal::invariant, Signal::infrastructure}) {
    const std::optional<Instant> since = signal == Signal::invariant ? lane.pager.broken() : lane.pager.infrastructure();
    board_.firing(lane.last->check_id, signal, since);
    if (!receiver_) continue;  // nobody is to be paged: what fires is shown, and no page waits for ever
    const auto said = lane.said.find(signal);
    if (since.has_value() == (said != lane.said.end())) continue;
    // What happened while the check did not page is not said on a pass; an episode that another policy or process opened ends on a run that says so.
    if (signal == Signal::invariant && since.has_value() == (lane.last->status == epochcut::Status::pass)) continue;
    if (signal == Signal::infrastructure && !since && lane.last->status == epochcut::Status::error) continue;
    // Until the outbox was read nobody knows what the last process said; step() reads it before anything is posted, and gives up on that when it can't.
    if (!s.loaded) continue;
    const auto shown = lane.shown.find(signal);
    const Run& about = shown != lane.shown.end() ? shown->second : *lane.last;
    epochcut::PageEvent event = lane.firing.contains(signal) ? lane.firing.at(signal) : epochcut::PageEvent{};
    event.signal = signal;
    Alert alert;
    if (!since) {
      // Its beginning was admitted; if that still waits and the check may not page any more, neither is said.
      if (said->second.delivered || (lane.last->paging && pages(s.config, about.check_id))) end(lane, Alert(said->second), *lane.last, "");
      continue;
    }
    event.since = *since;
    const std::string key = key_of(about.check_id, signal, *since);
    alert.deduplication_key = key;
    // Closed when the check was taken off paging, and it pages again while the same thing is still broken.
    for (int again = 2; lane.ended.contains(alert.deduplication_key); ++again) alert.deduplication_key = key + "/" + std::to_string(again);
    alert.episode = *since;
    alert.check_id = about.check_id, alert.signal = signal, alert.firing = true, alert.paging = lane.last->paging;
    alert.created = alert.next_attempt = at;
    alert.title = title_of(about, event, true);
    alert.metadata = metadata_of(about, event, options_.page_url);
    if (!PagingGate::admit(alert, s.config)) continue;
    lane.said.insert_or_assign(signal, alert);
    s.alerts.push_back(alert);
    s.unsaved.insert(row_of(alert));
  }
}

/// Says the end of a firing, once. `note`: why, if it has not passed.
void IncidentSink::end(Lane& lane, const Alert& said, const Run& shown, const std::string& note) {
  epochcut::PageEvent event = lane.firing.contains(said.signal) ? lane.firing.at(said.signal) : epochcut::PageEvent{};
  event.signal = said.signal, event.since = said.episode;
  Alert alert;
  alert.deduplication_key = said.deduplication_key, alert.check_id = said.check_id, alert.signal = said.signal;
  alert.firing = false, alert.paging = true, alert.owed = said.delivered.has_value();
  alert.episode = said.episode;
  alert.created = alert.next_attempt = now();
  alert.title = note.empty() ? title_of(shown, event, false) : said.check_id + ": does not page any more, so this incident is closed";
  alert.metadata = metadata_of(shown, event, options_.page_url, note);
  lane.ended.insert(said.deduplication_key);
  lane.said.erase(said.signal);
  state_->alerts.push_back(alert);
  state_->unsaved.insert(row_of(alert));
}

/// Nobody hears of a check that may not page, so nobody would ever hear the end of what it said before: it is closed now. One whose beginning still waits
/// is withheld instead, as step() does with every page.
void IncidentSink::withdraw() {
  State& s = *state_;
  if (!s.loaded || !receiver_) return;
  for (auto& [id, lane] : s.lanes) {
    if (pages(s.config, id)) continue;
    for (const Signal signal : {Signal::invariant, Signal::infrastructure}) {
      const auto said = lane.said.find(signal);
      if (said == lane.said.end() || !said->second.delivered) continue;
      Run shown;
      shown.check_id = id;
      if (lane.last) shown = *lane.last;
      end(lane, Alert(said->second), shown,
          "the configuration took " + id +
              " off paging while this was open, so its end would never have been told; whether it is mended is not said here: look at the page of the checks");
    }
  }
}

void IncidentSink::step() {
  std::unique_lock lock(mutex_);
  State& s = *state_;
  const Instant at = now();

  for (auto& [id, lane] : s.lanes)
    if (const auto check = s.config.find(id); check != s.config.end())
      for (const epochcut::PageEvent& event : lane.pager.tick(at))
        if (event.transition == epochcut::Transition::firing) lane.firing.insert_or_assign(event.signal, event);

  // What blocks happens without the lock: nothing but this function takes from the lists, so positions at their front stay.
  if (!s.loaded && outbox_) {
    lock.unlock();
    std::vector<Alert> known;
    try {
      known = outbox_->load();
    } catch (const std::exception& e) {
      board_.page_failed(e.what());
    }
    lock.lock();
    s.loaded = true;  // also if it failed: an alarm said twice is better than one that waits for the store whose death it tells of
    std::set<std::string> pending;
    for (const Alert& a : s.alerts) pending.insert(row_of(a));
    for (const Alert& a : known) {
      const auto lane = s.lanes.find(a.check_id);
      if (lane != s.lanes.end() && a.firing) lane->second.said.insert_or_assign(a.signal, a);
      if (a.pending() && !pending.contains(row_of(a))) s.alerts.push_back(a);
    }
    for (const Alert& a : known)
      if (const auto lane = s.lanes.find(a.check_id); !a.firing && lane != s.lanes.end()) {
        lane->second.ended.insert(a.deduplication_key);
        if (const auto said = lane->second.said.find(a.signal); said != lane->second.said.end() && said->second.deduplication_key == a.deduplication_key)
          lane->second.said.erase(said);
      }
  }
  if (!outbox_) s.loaded = true;
  for (auto& [id, lane] : s.lanes) settle(lane);
  withdraw();
  while (s.alerts.size() > pages_pending_max) {
    s.alerts.front().abandoned = at;
    s.changed.push_back(s.alerts.front());
    s.alerts.pop_front();
    board_.page_abandoned();
  }

  // Stored first, then posted. A store that does not take a page delays it by one attempt and no more.
  const auto save = [&](const Alert& alert) {
    if (!outbox_) return true;
    if (at < s.save_next) return false;
    lock.unlock();
    bool saved = true;
    std::string why;
    try {
      outbox_->save(alert);
    } catch (const std::exception& e) {
      saved = false;
      why = e.what();
    }
    lock.lock();
    s.save_pause = saved ? Millis{0} : std::min(page_retry_max, std::max(page_retry_first, s.save_pause * 2));
    if (!saved) s.save_next = at + s.save_pause, board_.page_failed("the outbox can't be written: " + why);
    return saved;
  };
  const auto save_all = [&] {
    for (std::size_t i = 0; i < s.alerts.size(); ++i) {
      const Alert alert = s.alerts[i];
      if (s.unsaved.contains(row_of(alert)) && save(alert)) s.unsaved.erase(row_of(alert));
    }
    while (!s.changed.empty()) {
      const Alert alert = s.changed.front();
      if (!save(alert)) break;
      s.changed.erase(s.changed.begin());
    }
  };
  save_all();

  const auto over = [&](std::size_t i, std::optional<Instant> Alert::*how) {
    s.alerts[i].*how = at;
    s.unsaved.erase(row_of(s.alerts[i]));
    s.changed.push_back(s.alerts[i]);
    s.alerts.erase(s.alerts.begin() + static_cast<std::ptrdiff_t>(i));
  };
  std::set<std::string> earlier;  // keys whose firing still waits: its end must not overtake it
  for (std::size_t i = 0; i < s.alerts.size();) {
    if (stopping_) break;
    const Alert alert = s.alerts[i];
    const bool waits = alert.next_attempt > at || earlier.contains(alert.deduplication_key);
    // The configuration as it is now, not as it was when the page was made.
    const std::optional<Page> page = PagingGate::admit(alert, s.config);
    if (!page) {
      over(i, &Alert::withheld);
      board_.page_withheld();
      const auto lane = s.lanes.find(alert.check_id);
      if (alert.firing && lane != s.lanes.end()) lane->second.said.erase(alert.signal);
      continue;
    }
    if (at - alert.created > page_age_max) {
      over(i, &Alert::abandoned);
      board_.page_abandoned();
      continue;
    }
    if (waits || !receiver_) {
      earlier.insert(alert.deduplication_key);
      ++i;
      continue;
    }
    lock.unlock();
    std::string problem;
    try {
      receiver_->post(*page);
    } catch (const std::exception& e) {
      problem = e.what();
    }
    lock.lock();
    if (problem.empty()) {
      ++s.alerts[i].attempts;
      s.alerts[i].problem.clear();
      over(i, &Alert::delivered);
      board_.page_delivered();
      if (!alert.firing) continue;
      // From here on its end is owed.
      if (const auto lane = s.lanes.find(alert.check_id); lane != s.lanes.end())
        if (const auto said = lane->second.said.find(alert.signal);
            said != lane->second.said.end() && said->second.deduplication_key == alert.deduplication_key)
          said->second.delivered = at;
      for (Alert& waiting : s.alerts)
        if (!waiting.firing && waiting.deduplication_key == alert.deduplication_key) waiting.owed = true;
      continue;
    }
    board_.page_failed(problem);
    Alert& tried = s.alerts[i];
    ++tried.attempts;
    tried.problem = problem;
    const auto pause = std::min<std::int64_t>(page_retry_max.count(), page_retry_first.count() << std::min(tried.attempts - 1, 20));
    tried.next_attempt = at + Millis(pause / 2 + static_cast<std::int64_t>(s.random() % static_cast<std::uint64_t>(pause / 2 + 1)));
    s.unsaved.insert(row_of(tried));
    earlier.insert(alert.deduplication_key);
    ++i;
  }
  save_all();
  if (s.changed.size() > pages_pending_max) s.changed.erase(s.changed.begin(), s.changed.end() - static_cast<std::ptrdiff_t>(pages_pending_max));
  board_.outbox(s.alerts.size(), s.alerts.empty() ? std::nullopt : std::optional(s.alerts.front().created));
}

void IncidentSink::start() {
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      lock.unlock();
      step();
      lock.lock();
      if (!stopping_) wake_.wait_for(lock, Millis{1'000});
    }
  });
}

void IncidentSink::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::size_t IncidentSink::pending() const {
  const std::lock_guard lock(mutex_);
  return state_->alerts.size();
}

}  // namespace recon_engine
