// How is a ClickHouse that runs inside this very process read as of an epoch?
// Layer: source, with libchdb. A Chdb may be shared between threads, and its cursors outlive it; a cursor belongs to one thread.
// A process has one engine on one folder. Each reading has a session of its own, so that nobody's settings reach another's; it only reads.
// Source: docs/adapters.md "ClickHouse in process"; the C interface of libchdb 26, whose few functions are declared here.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_answer.hpp>
#include <epochcut/source/clickhouse_digest.hpp>
#include <epochcut/source/clickhouse_literal.hpp>
#include <epochcut/source/clickhouse_server.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/clickhouse_table.hpp>

extern "C" {
struct chdb_connection_;
struct chdb_result_;
chdb_connection_** chdb_connect(int argc, char** argv);
void chdb_close_conn(chdb_connection_** connection);
chdb_result_* chdb_query_n(chdb_connection_* connection, const char* query, std::size_t query_size, const char* format, std::size_t format_size);
chdb_result_* chdb_stream_query_n(chdb_connection_* connection, const char* query, std::size_t query_size, const char* format, std::size_t format_size);
chdb_result_* chdb_stream_fetch_result(chdb_connection_* connection, chdb_result_* stream);
void chdb_stream_cancel_query(chdb_connection_* connection, chdb_result_* stream);
void chdb_destroy_query_result(chdb_result_* result);
char* chdb_result_buffer(chdb_result_* result);
std::size_t chdb_result_length(chdb_result_* result);
const char* chdb_result_error(chdb_result_* result);
void chdb_set_signal_handlers_enabled(int enabled);
}

namespace epochcut {

struct ChdbOptions {
  std::string database{};                        ///< of relations that name none; empty: "default"
  std::string stream_table = "epochcut_stream";  ///< (stream String, authority String), in the relation's database: who fills it
  Millis statement_timeout{600'000};             ///< of one statement, if the Control has no nearer deadline
  std::uint64_t block_rows = 65'536;             ///< max_block_size: what is held in memory at once
  clickhouse::Parameters settings{};             ///< more settings for each statement; a pinned one is refused
  std::vector<std::string> arguments{};          ///< more of the engine's own, as --name=value; who connects first in the process starts it with them
};

namespace chdb {

/// What only an engine in process can be told: to print nothing on the program's stderr, and to take no interrupt for an end of the answer.
inline constexpr std::pair<std::string_view, std::string_view> pinned_settings[] = {{"send_logs_level", "none"}, {"partial_result_on_first_cancel", "0"}};

inline bool in_memory(std::string_view path) { return path == ":memory:"; }

/// An answer, or a piece of one. Not synchronised.
class Result {
 public:
  explicit Result(chdb_result_* owned = nullptr) : result_(owned) {}
  Result(Result&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
  Result& operator=(Result&& other) noexcept {
    std::swap(result_, other.result_);
    return *this;
  }
  ~Result() { reset(); }

  chdb_result_* get() const { return result_; }
  void reset(chdb_result_* owned = nullptr) {
    if (chdb_result_* old = std::exchange(result_, owned); old != nullptr) chdb_destroy_query_result(old);
  }
  std::string_view error() const {
    if (result_ == nullptr) return "the engine gave no result";
    const char* text = chdb_result_error(result_);
    return text == nullptr ? std::string_view() : std::string_view(text);
  }
  std::string_view bytes() const {
    const std::size_t size = chdb_result_length(result_);
    return size == 0 ? std::string_view() : std::string_view(chdb_result_buffer(result_), size);
  }

 private:
  chdb_result_* result_;
};

/// A session of the engine's. It runs one statement at a time: a second one would silently end the first.
class Connection {
 public:
  /// Errors: `configuration`, for the engine tells no more than that it did not connect; `not_found` for the database.
  Connection(const std::string& path, const ChdbOptions& options) {
    chdb_set_signal_handlers_enabled(0);  // a library leaves the program's signals alone
    std::vector<std::string> arguments{"epochcut"};
    if (!in_memory(path)) arguments.push_back("--path=" + path);  // given that path, the engine makes a folder of that name and keeps it
    arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    handle_ = chdb_connect(static_cast<int>(argv.size()), argv.data());
    if (handle_ == nullptr || *handle_ == nullptr) {
      close();
      throw Failure(Reason::configuration, "the ClickHouse in this process does not open the folder \"" + path +
                                               "\"; a process has one folder, always spelt the same way, and a folder has one process" +
                                               (options.arguments.empty() ? "" : "; or it does not take one of ChdbOptions::arguments"))
          .at(path);
    }
    if (options.database.empty()) return;
    const std::string use = "USE " + clickhouse::identifier(options.database);
    const Result result(chdb_query_n(*handle_, use.data(), use.size(), "Native", 6));
    if (const std::string_view error = result.error(); !error.empty()) {
      Failure failure = clickhouse::server_failure(error, use, path);
      close();
      throw failure;
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(); }

  chdb_connection_* get() const { return *handle_; }

 private:
  void close() {
    if (handle_ != nullptr) chdb_close_conn(std::exchange(handle_, nullptr));
  }

  chdb_connection_** handle_ = nullptr;
};

/// One statement on its way, on a session of its own. `stop_at` is on the control's clock.
class Stream {
 public:
  Stream(std::unique_ptr<Connection> connection, std::string sql, std::string where, Millis stop_at)
      : connection_(std::move(connection)), sql_(std::move(sql)), where_(std::move(where)), stop_at_(stop_at) {
    stream_.reset(chdb_stream_query_n(connection_->get(), sql_.data(), sql_.size(), "Native", 6));
    if (const std::string_view error = stream_.error(); !error.empty()) throw clickhouse::server_failure(error, sql_, where_);
  }
  Stream(Stream&&) = default;
  Stream& operator=(Stream&&) = delete;
  ~Stream() { abandon(); }

  /// More of the answer, valid until the next call; none once it has ended properly. Waits for the engine without looking at `control`,
  /// which is asked between two pieces; the engine itself stops at `max_execution_time`.
  std::string_view read(const Control& control) {
    control.check();
    if (control.clock->now() >= stop_at_)
      throw Failure(Reason::timeout, "the statement took longer than ChdbOptions::statement_timeout; give it more time or a smaller query").retry();
    piece_.reset();
    piece_.reset(chdb_stream_fetch_result(connection_->get(), stream_.get()));
    if (const std::string_view error = piece_.error(); !error.empty()) {
      running_ = false;
      throw clickhouse::server_failure(error, sql_, where_);
    }
    running_ = !piece_.bytes().empty();
    return piece_.bytes();
  }

  void finish() { abandon(); }

  /// Results go before their session does.
  void abandon() noexcept {
    if (!connection_) return;
    piece_.reset();
    if (std::exchange(running_, false)) chdb_stream_cancel_query(connection_->get(), stream_.get());
    stream_.reset();
    connection_.reset();
  }

  const std::string& where() const { return where_; }
  const std::string& sql() const { return sql_; }

 private:
  std::unique_ptr<Connection> connection_;
  std::string sql_, where_;
  Millis stop_at_;
  Result stream_, piece_;
  bool running_ = true;
};

/// What a source and its cursors share. Thread-safe.
class Session {
 public:
  static constexpr std::string_view kind = "", database_place = "ChdbOptions::database";

  Session(std::string path, ChdbOptions options) : path_(std::move(path)), options_(std::move(options)) {}

  const std::string& where() const { return path_; }
  const std::string& stream_table() const { return options_.stream_table; }

  /// Host and folder; what is in memory is this process's alone.
  Server server(const Relation& row, std::size_t at, const std::string&) const {
    const std::string host(row.fields[at].column.text(0)), version(row.fields[at + 1].column.text(0));
    char real[PATH_MAX];
    const std::string folder = in_memory(path_)                             ? "memory of process " + std::to_string(getpid())
                               : ::realpath(path_.c_str(), real) != nullptr ? std::string(real)
                                                                            : path_;
    return {"chdb " + host + ":" + folder, version};
  }

  Stream start(const std::string& sql, const Control& control) { return send(sql, learn(control), control); }

  /// A small answer as a whole: one relation of all its blocks.
  Relation all(const std::string& sql, const Control& control, std::string&) { return gather(sql, learn(control), control); }

  /// Asked first: the database "default" takes the name of a table that it has not for the name of a file in the working directory.
  bool has_table(const std::string& database, const std::string& table, const Control& control) {
    std::string unused;
    const Relation answer =
        all("SELECT count() FROM system.tables WHERE database = " + clickhouse::text_literal(database) + " AND name = " + clickhouse::text_literal(table),
            control, unused);
    clickhouse::require_shape(answer, {Type::uint64}, 1, where());
    return answer.fields[0].column.words()[0] != 0;
  }

 private:
  Stream send(const std::string& sql, const clickhouse::Parameters& known, const Control& control) {
    control.check();
    const Millis budget = control.remaining(options_.statement_timeout);
    std::string all = sql + " SETTINGS max_block_size = " + std::to_string(options_.block_rows) +
                      ", max_execution_time = " + std::to_string(std::max<Millis::rep>(1, (budget.count() + 999) / 1000));
    // A number in quotes is refused for some settings, a word without them for all.
    const auto append = [&](std::string_view name, std::string_view value) {
      const bool number = !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
      all += ", " + std::string(name) + " = " + (number ? std::string(value) : clickhouse::text_literal(value));
    };
    for (const auto& [name, value] : clickhouse::pinned_settings) append(name, value);
    for (const auto& [name, value] : pinned_settings) append(name, value);
    for (const auto& [name, value] : known) append(name, value);
    for (const auto& [name, value] : options_.settings) append(name, value);
    return {std::make_unique<Connection>(path_, options_), std::move(all), path_, control.clock->now() + budget};
  }

  Relation gather(const std::string& sql, const clickhouse::Parameters& known, const Control& control) {
    Stream stream = send(sql, known, control);
    return clickhouse::collect([&] { return stream.read(control); }, stream.sql(), where());
  }

  /// The settings to pin that this engine has. The first question also opens the session that keeps the engine, and what is in memory, alive.
  clickhouse::Parameters learn(const Control& control) {
    const std::lock_guard lock(mutex_);
    if (!base_) base_ = std::make_unique<Connection>(path_, options_);
    if (learnt_) return known_;
    // With all of them first: then nothing that is set for this session can hide one. An engine that lacks one says so.
    const clickhouse::Parameters pins(std::begin(clickhouse::pinned_if_known), std::end(clickhouse::pinned_if_known));
    Relation answer;
    try {
      answer = gather(clickhouse::settings_query(), pins, control);
    } catch (const Failure& failure) {
      if (failure.engine_code != "115") throw;
      answer = gather(clickhouse::settings_query(), {}, control);
    }
    known_ = clickhouse::settings_known(answer, where());
    learnt_ = true;
    return known_;
  }

  std::string path_;
  ChdbOptions options_;
  std::mutex mutex_;
  std::unique_ptr<Connection> base_;
  bool learnt_ = false;
  clickhouse::Parameters known_;
};

/// A statement's answer, which keeps the engine alive.
class Answer {
 public:
  Answer(std::shared_ptr<Session> session, const clickhouse::Statement& statement, const Control& control)
      : session_(std::move(session)), stream_(session_->start(statement.sql, control)) {}
  std::string_view read(const Control& control) { return stream_.read(control); }
  void finish() { stream_.finish(); }
  void abandon() noexcept { stream_.abandon(); }
  const std::string& where() const { return stream_.where(); }

 private:
  std::shared_ptr<Session> session_;
  Stream stream_;
};

}  // namespace chdb

/// The ClickHouse in this process. A relation is "table", in the options' database, or "database.table".
class Chdb {
 public:
  /// `path`: the data folder, spelt as everybody in the process spells it; ":memory:": a temporary one, gone with its last session.
  /// Opens nothing yet. Errors: `configuration`.
  explicit Chdb(std::string path, ChdbOptions options = {}) {
    if (path.empty()) throw Failure(Reason::configuration, "the ClickHouse in this process needs a folder, or \":memory:\"");
    for (const auto& setting : options.settings) {
      const auto refuse = [&](std::string_view pinned) {
        if (setting.first == pinned)
          throw Failure(Reason::configuration, "ChdbOptions::settings can't set " + setting.first + ": it is pinned so that no answer is silently partial");
      };
      for (const auto& [pinned, unused] : clickhouse::pinned_settings) refuse(pinned);
      for (const auto& [pinned, unused] : clickhouse::pinned_if_known) refuse(pinned);
      for (const auto& [pinned, unused] : chdb::pinned_settings) refuse(pinned);
      for (const std::string_view pinned : {"max_block_size", "max_execution_time"}) refuse(pinned);
      for (const char c : setting.first)
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
          throw Failure(Reason::configuration, "ChdbOptions::settings has \"" + setting.first + "\", which is no setting's name");
    }
    session_ = std::make_shared<chdb::Session>(std::move(path), std::move(options));
  }

  /// Sends the statement and returns before its first row; the engine works as blocks are pulled.
  /// Errors: what is wrong with the query at once; what happens to the statement from `next`.
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    plan.validate();
    const clickhouse::TableInfo table = describe(plan.relation, control);
    return run(clickhouse::render(plan, as_of, form, table), table, control);
  }

  /// For those who render statements of their own (source/clickhouse_digest.hpp).
  clickhouse::TableInfo describe(const std::string& relation, const Control& control) { return clickhouse::describe(*session_, relation, control); }
  AnyCursor run(clickhouse::Statement statement, const clickhouse::TableInfo& table, const Control& control) {
    chdb::Answer answer(session_, statement, control);
    return AnyCursor(new clickhouse::AnswerCursor<chdb::Answer>(std::move(answer), std::move(statement), table, control));
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
  std::shared_ptr<chdb::Session> session_;
};

static_assert(Readable<Chdb> && DigestFollower<Chdb>);

}  // namespace epochcut
