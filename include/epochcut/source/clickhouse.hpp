// How is a live ClickHouse read as of an epoch?
// Layer: source, with libcurl. A ClickHouse may be shared between threads, and its cursors outlive it; a cursor belongs to one thread.
// It only reads, and says so to the server (readonly = 2); every setting that could make an answer silently partial is pinned in each request.
// Source: docs/adapters.md "ClickHouse"; the vendor's manual, "HTTP interface", "Query complexity"; measured on 18.16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_answer.hpp>
#include <epochcut/source/clickhouse_digest.hpp>
#include <epochcut/source/clickhouse_http.hpp>
#include <epochcut/source/clickhouse_server.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/clickhouse_table.hpp>

namespace epochcut {

struct ClickHouseOptions {
  std::string user{}, password{}, database{};    ///< instead of the URL's, where not empty
  std::string stream_table = "epochcut_stream";  ///< (stream String, authority String), in the relation's database: who fills it
  Millis statement_timeout{600'000};             ///< of one statement, if the Control has no nearer deadline
  std::uint64_t block_rows = 65'536;             ///< max_block_size: what is held in memory at once
  clickhouse::Parameters settings{};             ///< more settings for each request; a pinned one is refused
  clickhouse::TransportOptions transport{};
};

namespace clickhouse {

/// What a source and its cursors share. Thread-safe.
class Session {
 public:
  Session(Endpoint endpoint, ClickHouseOptions options) : options_(std::move(options)), transport_(std::move(endpoint), options_.transport) {}

  static constexpr std::string_view kind = "clickhouse ", database_place = "the URL (?database=name)";
  const std::string& stream_table() const { return options_.stream_table; }
  bool has_table(const std::string&, const std::string&, const Control&) const { return true; }
  const std::string& where() const { return transport_.endpoint().where; }
  Transport& transport() { return transport_; }

  /// The display name if an operator gave one; the default is the host's name, and then the data folder tells servers apart.
  Server server(const Relation& row, std::size_t at, const std::string& display_name) const {
    const std::string_view host = row.fields[at].column.text(0), folder = row.fields[at + 2].column.text(0);
    const bool given = display_name != host && !display_name.starts_with(std::string(host) + ".");
    return {given ? display_name : display_name + "#" + std::string(folder.substr(0, 8)), std::string(row.fields[at + 1].column.text(0))};
  }

  std::unique_ptr<Exchange> start(const std::string& sql, const std::string& query_id, const Control& control) {
    learn_settings(control);
    return send(sql, query_id, known_settings(), control);
  }

  /// A small answer as a whole: one relation of all its blocks.
  Relation all(const std::string& sql, const Control& control, std::string& display_name) {
    learn_settings(control);
    return gather(send(sql, {}, known_settings(), control), control, display_name);
  }

  /// Tells the server to drop a statement that no one reads any more. 18.16 does not notice a closed connection before it has rows to send;
  /// KILL QUERY needs a right of its own, while replacing one's own query does not.
  void stop(const std::string& query_id) noexcept {
    try {
      const Control control;
      Parameters parameters{{"query_id", query_id}, {"replace_running_query", "1"}, {"readonly", "2"}};
      auto exchange = transport_.start({"SELECT 1 FORMAT Native", std::move(parameters), control.clock->now() + stop_timeout});
      while (!exchange->read(control).empty()) {
      }
    } catch (...) {  // it ends by itself at max_execution_time
    }
  }

 private:
  std::unique_ptr<Exchange> send(const std::string& sql, const std::string& query_id, const Parameters& known, const Control& control) {
    control.check();
    const Millis budget = control.remaining(options_.statement_timeout);
    Parameters parameters;
    for (const auto& [name, value] : pinned_settings) {
      const bool compress = options_.transport.compress && name == "enable_http_compression";
      parameters.emplace_back(name, compress ? "1" : value);
    }
    parameters.insert(parameters.end(), known.begin(), known.end());
    parameters.insert(parameters.end(), options_.settings.begin(), options_.settings.end());
    parameters.emplace_back("max_block_size", std::to_string(options_.block_rows));
    parameters.emplace_back("max_execution_time", std::to_string(std::max<Millis::rep>(1, (budget.count() + 999) / 1000)));
    if (!query_id.empty()) parameters.emplace_back("query_id", query_id);
    return transport_.start({sql + " FORMAT Native", std::move(parameters), control.clock->now() + budget});
  }

  Relation gather(std::unique_ptr<Exchange> exchange, const Control& control, std::string& display_name) {
    Relation rows = collect([&] { return exchange->read(control); }, exchange->sql(), where());
    display_name = exchange->server();
    if (display_name.empty())
      throw Failure(Reason::configuration,
                    "the answer of " + where() + " does not say which server gave it; let the header X-ClickHouse-Server-Display-Name through")
          .at(where());
    transport_.keep(std::move(exchange));
    return rows;
  }

  void learn_settings(const Control& control) {
    {
      const std::lock_guard lock(mutex_);
      if (learnt_) return;
    }
    std::string display_name;
    Parameters known = settings_known(gather(send(settings_query(), {}, {}, control), control, display_name), where());
    const std::lock_guard lock(mutex_);
    known_ = std::move(known);
    learnt_ = true;
  }

  Parameters known_settings() {
    const std::lock_guard lock(mutex_);
    return known_;
  }

  ClickHouseOptions options_;
  Transport transport_;
  std::mutex mutex_;
  bool learnt_ = false;
  Parameters known_;
};

/// A statement's answer as it comes over HTTP, every piece of it from the server that described the table.
class HttpAnswer {
 public:
  HttpAnswer(std::shared_ptr<Session> session, const Statement& statement, std::string display_name, const Control& control)
      : session_(std::move(session)),
        display_name_(std::move(display_name)),
        query_id_(random_id()),
        exchange_(session_->start(statement.sql, query_id_, control)) {}

  std::string_view read(const Control& control) {
    const std::string_view bytes = exchange_->read(control);
    if (!bytes.empty()) require_same_server();
    return bytes;
  }

  void finish() {
    require_same_server();
    session_->transport().keep(std::exchange(exchange_, nullptr));
  }

  /// Whoever stops reading tells the server, also over a new connection: 18.16 does not notice that one has ended.
  void abandon() noexcept {
    if (!exchange_) return;
    const bool left_alone = exchange_->running() || exchange_->broken();
    exchange_.reset();
    if (left_alone) session_->stop(query_id_);
  }

  const std::string& where() const { return session_->where(); }
  std::uint64_t wire_bytes() const { return exchange_->wire_bytes(); }

 private:
  void require_same_server() const {
    if (exchange_->server() != display_name_)
      throw Failure(Reason::replica_changed, "\"" + display_name_ + "\" described the table and \"" + exchange_->server() + "\" answered the query; let " +
                                                 session_->where() + " lead to one server")
          .retry();
  }

  std::shared_ptr<Session> session_;
  std::string display_name_, query_id_;
  std::unique_ptr<Exchange> exchange_;
};

}  // namespace clickhouse

/// A ClickHouse server over HTTP or HTTPS. A relation is "table", in the URL's database, or "database.table".
class ClickHouse {
 public:
  /// Connects to nothing yet. Errors: `configuration`; no message repeats the URL.
  explicit ClickHouse(const std::string& url, ClickHouseOptions options = {}) {
    clickhouse::Endpoint endpoint = clickhouse::parse_url(url);
    if (!options.user.empty()) endpoint.user = options.user;
    if (!options.password.empty()) endpoint.password = options.password;
    if (!options.database.empty()) endpoint.database = options.database;
    for (const auto& setting : options.settings) {
      const auto refuse = [&](std::string_view pinned) {
        if (setting.first == pinned)
          throw Failure(Reason::configuration,
                        "ClickHouseOptions::settings can't set " + setting.first + ": it is pinned so that no answer is silently partial");
      };
      for (const auto& [pinned, unused] : clickhouse::pinned_settings) refuse(pinned);
      for (const auto& [pinned, unused] : clickhouse::pinned_if_known) refuse(pinned);
      for (const std::string_view pinned : {"max_block_size", "max_execution_time", "query_id", "database", "default_format"}) refuse(pinned);
    }
    session_ = std::make_shared<clickhouse::Session>(std::move(endpoint), std::move(options));
  }

  /// Sends the statement and returns before its first row; blocks arrive as they are pulled, and the server waits for the puller.
  /// Errors: what is wrong with the query at once; what happens to the statement from `next`.
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    plan.validate();
    const clickhouse::TableInfo table = describe(plan.relation, control);
    return run(clickhouse::render(plan, as_of, form, table), table, control);
  }

  /// For those who render statements of their own (source/clickhouse_digest.hpp).
  clickhouse::TableInfo describe(const std::string& relation, const Control& control) { return clickhouse::describe(*session_, relation, control); }
  AnyCursor run(clickhouse::Statement statement, const clickhouse::TableInfo& table, const Control& control) {
    clickhouse::HttpAnswer answer(session_, statement, table.display_name, control);
    return AnyCursor(new clickhouse::AnswerCursor<clickhouse::HttpAnswer>(std::move(answer), std::move(statement), table, control));
  }

  /// The rows as a side of a bisection. It refers to this source. Errors: as a ClickHouseDigest's.
  AnyDigest digest(const QueryPlan& plan, const AsOf& as_of, const Digest& ids, const Control& control) {
    return AnyDigest(new ClickHouseDigest(*this, plan, as_of, ids, control));
  }

  /// Cost: a scan of the event id column alone.
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return clickhouse::visible(*session_, relation, as_of, control); }

  /// Errors: `not_found`, naming table and database; `wrong_stream` if the stream table names two.
  FollowerInfo about(const std::string& relation, const Control& control) { return clickhouse::about(*session_, relation, control); }

 private:
  std::shared_ptr<clickhouse::Session> session_;
};

static_assert(Readable<ClickHouse> && DigestFollower<ClickHouse>);

}  // namespace epochcut
