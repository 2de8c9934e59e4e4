// How is a live ClickHouse read as of an epoch?
// Layer: source, with libcurl. A ClickHouse may be shared between threads, and its cursors outlive it; a cursor belongs to one thread.
// It only reads, and says so to the server (readonly = 2); every setting that could make an answer silently partial is pinned in each request.
// Source: docs/adapters.md "ClickHouse"; the vendor's manual, "HTTP interface", "Query complexity"; measured on 18.16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/source.hpp>
#include <epochcut/source/clickhouse_http.hpp>
#include <epochcut/source/clickhouse_sql.hpp>
#include <epochcut/source/native.hpp>

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

inline constexpr std::size_t conflicting_ids_named_max = 5;

/// Known to every server since 18.16. With any of these left to a profile, an answer of 200 may hold 6 of 200 000 rows.
inline constexpr std::pair<std::string_view, std::string_view> pinned_settings[] = {
    {"readonly", "2"},  // a server allows it to whoever has 0 or 2
    {"max_result_rows", "0"},
    {"max_result_bytes", "0"},
    {"result_overflow_mode", "throw"},
    {"read_overflow_mode", "throw"},
    {"timeout_overflow_mode", "throw"},
    {"group_by_overflow_mode", "throw"},
    {"sort_overflow_mode", "throw"},
    {"set_overflow_mode", "throw"},
    {"join_overflow_mode", "throw"},
    {"transfer_overflow_mode", "throw"},
    {"distinct_overflow_mode", "throw"},
    {"skip_unavailable_shards", "0"},
    {"fallback_to_stale_replicas_for_distributed_queries", "0"},
    {"distributed_group_by_no_merge", "0"},
    {"max_parallel_replicas", "1"},
    {"use_uncompressed_cache", "0"},
    {"extremes", "0"},
    {"send_progress_in_http_headers", "0"},
    {"enable_http_compression", "0"},
};

/// Of later servers; an unknown setting is an error, so each server is asked once which of these it has.
inline constexpr std::pair<std::string_view, std::string_view> pinned_if_known[] = {
    {"cancel_http_readonly_queries_on_client_close", "1"},
    {"read_overflow_mode_leaf", "throw"},
    {"timeout_overflow_mode_leaf", "throw"},
    {"limit", "0"},
    {"offset", "0"},
    {"use_query_cache", "0"},
    {"final", "0"},
    {"additional_result_filter", ""},
    {"additional_table_filters", "{}"},
    {"aggregate_functions_null_for_empty", "0"},
    {"prefer_column_name_to_alias", "0"},
    {"enable_parallel_replicas", "0"},
    {"apply_deleted_mask", "1"},
    {"output_format_native_encode_types_in_binary_format", "0"},
    {"http_write_exception_in_output_format", "0"},
};

/// What a source and its cursors share. Thread-safe.
class Session {
 public:
  Session(Endpoint endpoint, ClickHouseOptions options) : options_(std::move(options)), transport_(std::move(endpoint), options_.transport) {}

  const ClickHouseOptions& options() const { return options_; }
  const std::string& where() const { return transport_.endpoint().where; }
  Transport& transport() { return transport_; }

  std::unique_ptr<Exchange> start(const std::string& sql, const std::string& query_id, const Control& control) {
    learn_settings(control);
    return send(sql, query_id, known_settings(), control);
  }

  /// A small answer as a whole: one relation of all its blocks.
  Relation all(const std::string& sql, const Control& control, std::string& display_name) {
    learn_settings(control);
    return collect(send(sql, {}, known_settings(), control), control, display_name);
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
    for (const auto& [name, value] : pinned_settings) parameters.emplace_back(name, value);
    parameters.insert(parameters.end(), known.begin(), known.end());
    parameters.insert(parameters.end(), options_.settings.begin(), options_.settings.end());
    parameters.emplace_back("max_block_size", std::to_string(options_.block_rows));
    parameters.emplace_back("max_execution_time", std::to_string(std::max<Millis::rep>(1, (budget.count() + 999) / 1000)));
    if (!query_id.empty()) parameters.emplace_back("query_id", query_id);
    return transport_.start({sql + " FORMAT Native", std::move(parameters), control.clock->now() + budget});
  }

  Relation collect(std::unique_ptr<Exchange> exchange, const Control& control, std::string& display_name) {
    NativeDecoder decoder;
    Relation rows;
    NativeBlock block;
    for (;;) {
      while (decoder.next(block)) {
        if (rows.fields.empty())
          for (NativeColumn& column : block.columns) rows.fields.push_back({column.name, Role::value, std::move(column.column)});
        else
          for (std::size_t i = 0; i < rows.fields.size() && i < block.columns.size(); ++i)
            for (std::size_t row = 0; row < block.rows; ++row) rows.fields[i].column.append(block.columns[i].column[row]);
      }
      const std::string_view bytes = exchange->read(control);
      if (bytes.empty()) break;
      decoder.feed(bytes);
    }
    if (!decoder.exception().empty()) throw server_failure(decoder.exception(), exchange->sql(), where());
    decoder.finish();
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
    std::string names, display_name;
    for (const auto& [name, value] : pinned_if_known) names += (names.empty() ? "" : ", ") + text_literal(name);
    const Relation rows = collect(send("SELECT name FROM system.settings WHERE name IN (" + names + ")", {}, {}, control), control, display_name);
    const std::lock_guard lock(mutex_);
    known_.clear();
    for (std::size_t row = 0; row < rows.rows(); ++row)
      for (const auto& [name, value] : pinned_if_known)
        if (rows.fields[0].column.text(row) == name) known_.emplace_back(name, value);
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

/// A statement's answer, block by block as it arrives.
class AnswerCursor final : public Cursor {
 public:
  AnswerCursor(std::shared_ptr<Session> session, Statement statement, const TableInfo& table, const Control& control)
      : session_(std::move(session)),
        statement_(std::move(statement)),
        display_name_(table.display_name),
        path_(table.path()),
        control_(control),
        query_id_(random_id()) {
    proof_.server = table.server;
    if (statement_.ids) proof_.ids = Digest{};
    exchange_ = session_->start(statement_.sql, query_id_, control_);
  }
  AnswerCursor(const AnswerCursor&) = delete;
  AnswerCursor& operator=(const AnswerCursor&) = delete;
  ~AnswerCursor() override { abandon(); }

  bool next(Relation& block) override {
    if (!exchange_ && !complete_) throw unfinished();
    try {
      for (NativeBlock native; exchange_;) {
        if (decoder_.next(native)) {
          block = accept(native);
          if (block.rows() > 0) return given_ = true;
          continue;
        }
        const std::string_view bytes = exchange_->read(control_);
        if (bytes.empty()) {
          complete();
        } else {
          require_same_server();
          decoder_.feed(bytes);
        }
      }
    } catch (Failure& failure) {
      if (failure.sql.empty()) failure.sql = statement_.sql;
      if (failure.where.empty()) failure.where = session_->where();
      abandon();
      throw;
    }
    block = statement_.shape.empty_copy();
    return !std::exchange(given_, true);  // no rows at all are one block without rows
  }

  Proof proof() const override {
    if (!complete_) throw unfinished();
    return proof_;
  }

 private:
  /// What was read before a failure is worth nothing, also to a caller who goes on after it.
  Failure unfinished() const {
    return Failure(Reason::incomplete, "a cursor on ClickHouse table " + path_ + " was used after it failed or before it ended; open it again")
        .retry()
        .at(session_->where());
  }

  /// Whoever stops reading tells the server; a statement whose connection has ended already needs no telling.
  void abandon() {
    if (!exchange_) return;
    const bool running = exchange_->running();
    exchange_.reset();
    if (running) session_->stop(query_id_);
  }

  void require_same_server() const {
    if (exchange_->server() != display_name_)
      throw Failure(Reason::replica_changed, "\"" + display_name_ + "\" described the table and \"" + exchange_->server() + "\" answered the query; let " +
                                                 session_->where() + " lead to one server")
          .retry();
  }

  void complete() {
    if (!decoder_.exception().empty()) throw server_failure(decoder_.exception(), statement_.sql, session_->where());
    decoder_.finish();
    require_same_server();
    std::sort(conflicting_.begin(), conflicting_.end());
    for (const std::uint64_t id : conflicting_) proof_.conflicting_ids += (proof_.conflicting_ids.empty() ? "" : ", ") + std::to_string(id);
    proof_.bytes = decoder_.bytes();
    complete_ = true;
    session_->transport().keep(std::exchange(exchange_, nullptr));
  }

  /// Checks one block against what was asked for, takes the proof's columns out of it and gives the rows that the filters let through.
  Relation accept(NativeBlock& native) {
    const auto& outputs = statement_.outputs;
    if (native.columns.size() != outputs.size()) throw changed();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const NativeColumn& column = native.columns[i];
      const Field* field = outputs[i].use == Output::Use::field ? &statement_.shape.fields[outputs[i].field] : nullptr;
      const Type type = field != nullptr ? field->column.type() : outputs[i].use == Output::Use::sum_magnitude ? Type::float64 : Type::uint64;
      if (column.name != outputs[i].alias || column.column.type() != type || (field != nullptr && column.column.scale() != field->column.scale()))
        throw changed();
    }
    const std::size_t rows = static_cast<std::size_t>(native.rows);
    proof_.rows += rows;
    std::span<const std::uint64_t> matched;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const std::span<const std::uint64_t> words = native.columns[i].column.words();
      switch (outputs[i].use) {
        case Output::Use::matched: matched = words; break;
        case Output::Use::event_id:
          for (const std::uint64_t id : words) *proof_.ids += digest_of_event_id(id);
          break;
        case Output::Use::ids_count:
          for (const std::uint64_t n : words) proof_.ids->count += n;
          break;
        case Output::Use::ids_low:
          for (const std::uint64_t n : words) proof_.ids->sum_low += n;
          break;
        case Output::Use::ids_high:
          for (const std::uint64_t n : words) proof_.ids->sum_high += n;
          break;
        case Output::Use::conflicts:
          for (std::size_t row = 0; row < rows; ++row)
            if (words[row] != 0) proof_.conflicts += words[row], name_conflict(native.columns[i + 1].column.words()[row]);
          break;
        case Output::Use::field:
        case Output::Use::sum_cells:
        case Output::Use::sum_magnitude:
        case Output::Use::conflicting_id: break;
      }
    }
    const auto kept = [&](std::size_t row) { return matched.empty() || matched[row] != 0; };
    check_magnitudes(native, kept);
    const bool all_kept = std::all_of(matched.begin(), matched.end(), [](std::uint64_t n) { return n != 0; });
    Relation block = statement_.shape.empty_copy();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i].use != Output::Use::field) continue;
      Column& out = block.fields[outputs[i].field].column;
      Column& in = native.columns[i].column;
      const bool nulls = i + 1 < outputs.size() && outputs[i + 1].use == Output::Use::sum_cells;
      if (all_kept && !nulls) {
        out = std::move(in);
        continue;
      }
      for (std::size_t row = 0; row < rows; ++row)
        if (kept(row)) nulls&& native.columns[i + 1].column.words()[row] == 0 ? out.append_null() : out.append(in[row]);
    }
    control_.check_size(rows_ += block.rows(), bytes_ += block.bytes());
    return block;
  }

  template <class Kept>
  void check_magnitudes(const NativeBlock& native, Kept kept) const {
    for (std::size_t i = 0; i < statement_.outputs.size(); ++i) {
      if (statement_.outputs[i].use != Output::Use::sum_magnitude) continue;
      const Field& sum = statement_.shape.fields[statement_.outputs[i].field];
      const double limit = sum_magnitude_max / static_cast<double>(power_of_ten(sum.column.scale()));
      for (std::size_t row = 0; row < native.rows; ++row)
        if (kept(row) && !(native.columns[i].column[row].as_float64() < limit))
          throw Failure(Reason::overflow, "sum(\"" + sum.name + "\") on ClickHouse table " + path_ + " does not fit 38 digits; sum smaller groups");
    }
  }

  void name_conflict(std::uint64_t id) {
    conflicting_.insert(std::lower_bound(conflicting_.begin(), conflicting_.end(), id), id);
    if (conflicting_.size() > conflicting_ids_named_max) conflicting_.pop_back();
  }

  Failure changed() const { return Failure(Reason::schema, "the columns of ClickHouse table " + path_ + " changed while it was read; ask again").retry(); }

  std::shared_ptr<Session> session_;
  Statement statement_;
  std::string display_name_, path_;
  Control control_;
  std::string query_id_;
  std::unique_ptr<Exchange> exchange_;
  NativeDecoder decoder_;
  Proof proof_;
  std::vector<std::uint64_t> conflicting_;
  std::uint64_t rows_ = 0, bytes_ = 0;
  bool given_ = false, complete_ = false;
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
    return AnyCursor(new clickhouse::AnswerCursor(session_, clickhouse::render(plan, as_of, form, table), table, control));
  }

  /// Cost: a scan of the event id column alone.
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) {
    const auto [database, table] = split(relation);
    const std::string id = "toUInt64(" + clickhouse::identifier(as_of.stream.event_id) + ")";
    std::string display_name;
    const Relation row = session_->all(
        "SELECT " + (as_of.at_rest ? std::string("count()") : "countIf(" + id + " <= " + std::to_string(as_of.last_event_id) + ")") + ", max(" + id + "), " +
            std::string(identity) + " FROM " + (database.empty() ? "" : clickhouse::identifier(database) + ".") + clickhouse::identifier(table),
        control, display_name);
    if (row.rows() != 1 || row.fields.size() != 5 || row.fields[0].column.type() != Type::uint64 || row.fields[1].column.type() != Type::uint64)
      throw Failure(Reason::schema,
                    "the event id column \"" + as_of.stream.event_id + "\" of ClickHouse table " + relation + " must be a UInt64 that is not Nullable")
          .at(session_->where());
    return {row.fields[0].column.words()[0], row.fields[1].column.words()[0], server(row, 2, display_name)};
  }

  /// Errors: `not_found`, naming table and database; `wrong_stream` if the stream table names two.
  FollowerInfo about(const std::string& relation, const Control& control) {
    const clickhouse::TableInfo table = describe(relation, control);
    FollowerInfo info{"clickhouse " + table.server.name + "/" + table.path(), {}, {}};
    if (session_->options().stream_table.empty()) return info;
    const std::string stream_table = clickhouse::identifier(table.database) + "." + clickhouse::identifier(session_->options().stream_table);
    Relation rows;
    try {
      std::string display_name;
      rows = session_->all("SELECT DISTINCT toString(stream), toString(authority) FROM " + stream_table + " LIMIT 2", control, display_name);
    } catch (const Failure& failure) {
      if (failure.engine_code == "60") return info;
      throw;
    }
    if (rows.rows() == 0) return info;
    if (rows.rows() > 1)
      throw Failure(Reason::wrong_stream,
                    "table " + stream_table + " on " + session_->where() + " names more than one stream or authority; leave one row in it")
          .at(session_->where());
    info.stream = rows.fields[0].column.text(0);
    info.authority = rows.fields[1].column.text(0);
    return info;
  }

 private:
  /// Two servers of one machine have one host name, but never one data folder.
  static constexpr std::string_view identity =
      "hostName(), version(), (SELECT lower(hex(cityHash64(max(data_path)))) FROM system.databases WHERE name = 'system')";

  /// The display name if an operator gave one; the default is the host's name, and then the data folder tells servers apart.
  static Server server(const Relation& row, std::size_t at, const std::string& display_name) {
    const std::string_view host = row.fields[at].column.text(0), folder = row.fields[at + 2].column.text(0);
    const bool given = display_name != host && !display_name.starts_with(std::string(host) + ".");
    return {given ? display_name : display_name + "#" + std::string(folder.substr(0, 8)), std::string(row.fields[at + 1].column.text(0))};
  }

  static std::pair<std::string, std::string> split(const std::string& relation) {
    const std::size_t dot = relation.find('.');
    if (dot == std::string::npos) return {"", relation};
    return {relation.substr(0, dot), relation.substr(dot + 1)};
  }

  /// What the server says of a table now: read anew for each query, since a column may change its type at any time. Cost: some milliseconds.
  clickhouse::TableInfo describe(const std::string& relation, const Control& control) {
    using clickhouse::text_literal;
    const auto [database, table] = split(relation);
    const std::string in = database.empty() ? "currentDatabase()" : text_literal(database), of = text_literal(table);
    const std::string from_tables = ") FROM system.tables WHERE database = " + in + " AND name = " + of + ")";
    clickhouse::TableInfo info;
    const Relation rows = session_->all("SELECT name, type, " + in + ", (SELECT max(engine" + from_tables + ", (SELECT max(sorting_key" + from_tables + ", " +
                                            std::string(identity) + " FROM system.columns WHERE database = " + in + " AND table = " + of,
                                        control, info.display_name);
    if (rows.rows() == 0) throw missing(in, table, control);
    const auto text = [&](std::size_t column, std::size_t row = 0) { return std::string(rows.fields[column].column.text(row)); };
    for (std::size_t row = 0; row < rows.rows(); ++row) info.columns.push_back({text(0, row), text(1, row)});
    info.database = text(2);
    info.table = table;
    info.engine = text(3);
    info.sorting_key = text(4);
    info.server = server(rows, 5, info.display_name);
    return info;
  }

  Failure missing(const std::string& in, const std::string& table, const Control& control) {
    std::string display_name;
    const Relation row = session_->all("SELECT " + in + ", (SELECT count() FROM system.databases WHERE name = " + in + ")", control, display_name);
    const std::string database(row.fields[0].column.text(0));
    const bool there = row.fields[1].column.words()[0] != 0;
    return Failure(Reason::not_found, there ? "there is no table \"" + table + "\" in database \"" + database + "\" of ClickHouse at " + session_->where() +
                                                  "; create it, or name the right database in the URL (?database=name)"
                                            : "there is no database \"" + database + "\" on ClickHouse at " + session_->where() +
                                                  "; create it, or name another one in the URL (?database=name)")
        .at(session_->where());
  }

  std::shared_ptr<clickhouse::Session> session_;
};

static_assert(Readable<ClickHouse>);

}  // namespace epochcut
