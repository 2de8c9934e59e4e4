#include "recon_engine/log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <libpq-fe.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <epochcut/core/failure.hpp>

#include "recon_engine/migrations.hpp"

namespace recon_engine {

using epochcut::Failure;
using epochcut::Reason;
using Json = nlohmann::json;

// --- a run as text -----------------------------------------------------------------------------------------------------------------------------------

namespace {

constexpr int format = 1;  // of a line: a program that reads one of a later version must say so

std::int64_t ms(Instant at) { return at.time_since_epoch().count(); }

epochcut::Status status_of(const std::string& name) {
  for (const epochcut::Status s : {epochcut::Status::pass, epochcut::Status::fail, epochcut::Status::error, epochcut::Status::skipped})
    if (name == to_string(s)) return s;
  throw Failure(Reason::syntax, "\"" + name + "\" is no status; read the record with the program that wrote it");
}
Reason reason_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Reason::unknown); ++i)
    if (name == to_string(static_cast<Reason>(i))) return static_cast<Reason>(i);
  throw Failure(Reason::syntax, "\"" + name + "\" is no reason; read the record with the program that wrote it");
}

Json differences_json(const std::vector<ShownDifference>& differences) {
  Json all = Json::array();
  for (const ShownDifference& d : differences) all.push_back({{"kind", d.kind}, {"key", d.key}, {"left", d.left}, {"right", d.right}});
  return all;
}
std::vector<ShownDifference> differences_of(const Json& json) {
  std::vector<ShownDifference> all;
  for (const Json& d : json) all.push_back({d.at("kind"), d.at("key"), d.at("left"), d.at("right")});
  return all;
}

/// A database takes no zero byte and nothing but UTF-8; a key may hold any.
std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

std::string to_json(const Run& r) {
  Json j{{"format", format},
         {"check_id", r.check_id},
         {"run_id", r.run_id},
         {"trigger", r.trigger},
         {"event_key", r.event_key},
         {"scheduled", ms(r.scheduled)},
         {"started", ms(r.started)},
         {"finished", ms(r.finished)},
         {"paging", r.paging},
         {"status", to_string(r.status)},
         {"reason", to_string(r.reason)},
         {"message", r.message},
         {"unsynchronised", r.unsynchronised},
         {"confirmed", r.confirmed},
         {"retryable", r.retryable},
         {"stream", r.stream},
         {"authority", r.authority},
         {"generation", r.generation},
         {"left_witness", r.left_witness},
         {"right_witness", r.right_witness},
         {"left", r.left},
         {"right", r.right},
         {"equal", r.equal},
         {"changed", r.changed},
         {"only_left", r.only_left},
         {"only_right", r.only_right},
         {"differences", differences_json(r.differences)},
         {"rows", r.rows},
         {"bytes", r.bytes},
         {"horizon_wait", r.horizon_wait.count()},
         {"left_took", r.left_took.count()},
         {"right_took", r.right_took.count()},
         {"took", r.took.count()},
         {"attempts", r.attempts},
         {"full_reads", r.full_reads},
         {"version", r.version},
         {"query_hash", r.query_hash}};
  if (r.epoch) j["epoch"] = {r.epoch->sequence, r.epoch->execution_ns};
  return dumped(j);
}

Run run_of_json(std::string_view line) {
  try {
    const Json j = Json::parse(line);
    if (j.at("format") != format) throw Failure(Reason::syntax, "a line of the spool has another format; empty the spool with the program that wrote it");
    Run r;
    const auto instant = [&](const char* name) { return Instant(Millis(j.at(name).get<std::int64_t>())); };
    const auto millis = [&](const char* name) { return Millis(j.at(name).get<std::int64_t>()); };
    r.check_id = j.at("check_id"), r.run_id = j.at("run_id"), r.trigger = j.at("trigger"), r.event_key = j.at("event_key");
    r.scheduled = instant("scheduled"), r.started = instant("started"), r.finished = instant("finished");
    r.paging = j.at("paging"), r.status = status_of(j.at("status")), r.reason = reason_of(j.at("reason")), r.message = j.at("message");
    r.unsynchronised = j.at("unsynchronised"), r.confirmed = j.at("confirmed"), r.retryable = j.at("retryable");
    r.stream = j.at("stream"), r.authority = j.at("authority"), r.generation = j.at("generation");
    if (j.contains("epoch")) r.epoch = epochcut::Epoch{j["epoch"].at(0).get<std::uint64_t>(), j["epoch"].at(1).get<std::int64_t>()};
    r.left_witness = j.at("left_witness"), r.right_witness = j.at("right_witness"), r.left = j.at("left"), r.right = j.at("right");
    r.equal = j.at("equal"), r.changed = j.at("changed"), r.only_left = j.at("only_left"), r.only_right = j.at("only_right");
    r.differences = differences_of(j.at("differences"));
    r.rows = j.at("rows"), r.bytes = j.at("bytes"), r.horizon_wait = millis("horizon_wait"), r.left_took = millis("left_took");
    r.right_took = millis("right_took"), r.took = millis("took"), r.attempts = j.at("attempts"), r.full_reads = j.at("full_reads");
    r.version = j.at("version"), r.query_hash = j.at("query_hash");
    return r;
  } catch (const Json::exception& e) {
    throw Failure(Reason::syntax, "a run can't be read from its line: " + std::string(e.what()));
  }
}

// --- the log -----------------------------------------------------------------------------------------------------------------------------------------

namespace {

constexpr Millis statement_timeout{10'000};  // a log that does not answer is as good as none: the spool takes the run

struct FreeResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, FreeResult>;
using Parameters = std::vector<std::optional<std::string>>;

/// What libpq says is of several lines and may repeat the connection string's user and host, never a password.
std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

[[noreturn]] void lost(PGconn* connection, const std::string& what) {
  throw Failure(Reason::connection, "the log can't be reached: " + (what.empty() ? one_line(PQerrorMessage(connection)) : what)).poison();
}

PGconn* connect(const std::string& dsn) {
  const char* names[] = {"dbname", "connect_timeout", "application_name", "tcp_user_timeout", nullptr};
  const char* values[] = {dsn.c_str(), "5", "recon_engine", "10000", nullptr};
  PGconn* connection = PQconnectdbParams(names, values, /*expand_dbname=*/1);
  if (PQstatus(connection) == CONNECTION_OK) return connection;
  const std::string why = one_line(PQerrorMessage(connection));
  PQfinish(connection);
  lost(nullptr, why);
}

/// One statement, answered within `statement_timeout` even by a server that has stopped.
Result execute(PGconn* connection, const std::string& sql, const Parameters& parameters = {}) {
  std::vector<const char*> values;
  for (const auto& p : parameters) values.push_back(p ? p->c_str() : nullptr);
  const int sent = parameters.empty()
                       ? PQsendQuery(connection, sql.c_str())
                       : PQsendQueryParams(connection, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0);
  if (sent == 0) lost(connection, {});
  epochcut::SystemClock clock;
  const Millis end = clock.now() + statement_timeout;
  Result last;
  for (;;) {
    while (PQisBusy(connection) != 0) {
      const Millis left = end - clock.now();
      if (left.count() <= 0) lost(connection, "it has not answered within " + std::to_string(statement_timeout.count()) + " ms");
      pollfd wait{PQsocket(connection), POLLIN, 0};
      poll(&wait, 1, static_cast<int>(left.count()));
      if ((wait.revents != 0) && PQconsumeInput(connection) == 0) lost(connection, {});
    }
    Result next(PQgetResult(connection));
    if (!next) break;
    if (!last || PQresultStatus(last.get()) != PGRES_FATAL_ERROR) last = std::move(next);
  }
  if (PQstatus(connection) != CONNECTION_OK || !last) lost(connection, {});
  const ExecStatusType status = PQresultStatus(last.get());
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return last;
  const char* code = PQresultErrorField(last.get(), PG_DIAG_SQLSTATE);
  Failure failure = Failure(Reason::unknown, "the log refused a statement: " + one_line(PQresultErrorMessage(last.get()))).code(code ? code : "");
  // 22 and 23: the row itself is wrong, and will be tomorrow. Everything else is about the server.
  failure.retryable = !(failure.engine_code.starts_with("22") || failure.engine_code.starts_with("23"));
  throw failure;
}

std::string_view cell(const Result& result, int row, int column) {
  return {PQgetvalue(result.get(), row, column), static_cast<std::size_t>(PQgetlength(result.get(), row, column))};
}

template <class Number>
Number number(std::string_view text) {
  Number n{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) throw Failure(Reason::schema, "\"" + std::string(text) + "\" in the log is no number");
  return n;
}

std::string text_of(std::string_view text) {
  const std::string dump = dumped(Json(std::string(text)));
  std::string out = Json::parse(dump).get<std::string>();
  std::erase(out, '\0');
  return out;
}

/// One column of the log and of a run: the one place where both are named.
struct Field {
  const char* column;
  const char* type;
  std::optional<std::string> (*get)(const Run&);
  void (*set)(Run&, std::string_view);  // not called for NULL
};

template <auto Member>
constexpr Field text_field(const char* column) {
  return {column, "text", [](const Run& r) -> std::optional<std::string> { return text_of(r.*Member); },
          [](Run& r, std::string_view v) { r.*Member = std::string(v); }};
}
template <auto Member>
constexpr Field flag_field(const char* column) {
  return {column, "boolean", [](const Run& r) -> std::optional<std::string> { return r.*Member ? "t" : "f"; },
          [](Run& r, std::string_view v) { r.*Member = v == "t"; }};
}
template <auto Member>
constexpr Field count_field(const char* column, const char* type = "bigint") {
  return {column, type, [](const Run& r) -> std::optional<std::string> { return std::to_string(r.*Member); },
          [](Run& r, std::string_view v) { r.*Member = number<std::remove_reference_t<decltype(r.*Member)>>(v); }};
}
template <auto Member>
constexpr Field millis_field(const char* column) {
  return {column, "bigint", [](const Run& r) -> std::optional<std::string> { return std::to_string((r.*Member).count()); },
          [](Run& r, std::string_view v) { r.*Member = Millis(number<std::int64_t>(v)); }};
}
template <auto Member>
constexpr Field instant_field(const char* column) {
  return {column, "timestamptz", [](const Run& r) -> std::optional<std::string> { return epochcut::to_text(r.*Member); },
          [](Run& r, std::string_view v) { r.*Member = Instant(Millis(number<std::int64_t>(v))); }};
}

constexpr Field fields[] = {
    text_field<&Run::run_id>("run_id"),
    text_field<&Run::check_id>("check_id"),
    text_field<&Run::trigger>("trigger"),
    text_field<&Run::event_key>("event_key"),
    instant_field<&Run::scheduled>("scheduled"),
    instant_field<&Run::started>("started"),
    instant_field<&Run::finished>("finished"),
    flag_field<&Run::paging>("paging"),
    {"status", "text", [](const Run& r) -> std::optional<std::string> { return std::string(to_string(r.status)); },
     [](Run& r, std::string_view v) { r.status = status_of(std::string(v)); }},
    {"reason", "text", [](const Run& r) -> std::optional<std::string> { return std::string(to_string(r.reason)); },
     [](Run& r, std::string_view v) { r.reason = reason_of(std::string(v)); }},
    text_field<&Run::message>("message"),
    flag_field<&Run::unsynchronised>("unsynchronised"),
    flag_field<&Run::confirmed>("confirmed"),
    flag_field<&Run::retryable>("retryable"),
    text_field<&Run::stream>("stream"),
    text_field<&Run::authority>("authority"),
    count_field<&Run::generation>("generation", "numeric"),
    {"epoch_sequence", "numeric", [](const Run& r) { return r.epoch ? std::optional(std::to_string(r.epoch->sequence)) : std::nullopt; },
     [](Run& r, std::string_view v) {
       r.epoch = epochcut::Epoch{number<std::uint64_t>(v), 0};
     }},
    {"epoch_ns", "bigint", [](const Run& r) { return r.epoch ? std::optional(std::to_string(r.epoch->execution_ns)) : std::nullopt; },
     [](Run& r, std::string_view v) {
       if (r.epoch) r.epoch->execution_ns = number<std::int64_t>(v);
     }},
    text_field<&Run::left_witness>("left_witness"),
    text_field<&Run::right_witness>("right_witness"),
    text_field<&Run::left>("left_values"),
    text_field<&Run::right>("right_values"),
    count_field<&Run::equal>("equal_keys"),
    count_field<&Run::changed>("changed_keys"),
    count_field<&Run::only_left>("only_left_keys"),
    count_field<&Run::only_right>("only_right_keys"),
    {"differences", "jsonb",
     [](const Run& r) -> std::optional<std::string> {
       std::vector<ShownDifference> clean;
       for (const ShownDifference& d : r.differences) clean.push_back({text_of(d.kind), text_of(d.key), text_of(d.left), text_of(d.right)});
       return dumped(differences_json(clean));
     },
     [](Run& r, std::string_view v) { r.differences = differences_of(Json::parse(v)); }},
    count_field<&Run::rows>("rows_read"),
    count_field<&Run::bytes>("bytes_read"),
    millis_field<&Run::horizon_wait>("horizon_wait_ms"),
    millis_field<&Run::left_took>("left_took_ms"),
    millis_field<&Run::right_took>("right_took_ms"),
    millis_field<&Run::took>("took_ms"),
    count_field<&Run::attempts>("attempts", "integer"),
    count_field<&Run::full_reads>("full_reads", "integer"),
    text_field<&Run::version>("version"),
    text_field<&Run::query_hash>("query_hash"),
};

}  // namespace

PostgresLog::PostgresLog(std::string dsn) : dsn_(std::move(dsn)), connection_(nullptr, PQfinish) {}
PostgresLog::~PostgresLog() = default;

Written PostgresLog::write(const Run& run) {
  static const auto parts = [] {
    std::string columns, values, same;
    int n = 0;
    for (const Field& f : fields) {
      const std::string parameter = "$" + std::to_string(++n) + "::" + f.type;
      columns += (n > 1 ? ", " : "") + std::string(f.column);
      values += (n > 1 ? ", " : "") + parameter;
      same += (n > 1 ? " AND " : "") + std::string(f.column) + " IS NOT DISTINCT FROM " + parameter;
    }
    return std::array{columns, values, same};
  }();
  try {
    if (!connection_) connection_.reset(connect(dsn_));
    Parameters parameters;
    for (const Field& f : fields) parameters.push_back(f.get(run));
    const Result inserted = execute(
        connection_.get(), "INSERT INTO recon_engine.invariants_log (" + parts[0] + ") VALUES (" + parts[1] + ") ON CONFLICT (run_id) DO NOTHING", parameters);
    if (std::string_view(PQcmdTuples(inserted.get())) == "1") return Written::inserted;
    const Result found = execute(connection_.get(), "SELECT FROM recon_engine.invariants_log WHERE " + parts[2], parameters);
    return PQntuples(found.get()) == 1 ? Written::already : Written::conflicting;
  } catch (const Failure&) {
    connection_.reset();
    throw;
  }
}

std::vector<Run> PostgresLog::recent(std::size_t per_check) {
  std::string columns;
  for (const Field& f : fields) {
    const bool time = std::string_view(f.type) == "timestamptz";
    columns += (columns.empty() ? "" : ", ") + (time ? "(extract(epoch FROM " + std::string(f.column) + ") * 1000)::bigint" : std::string(f.column));
  }
  try {
    if (!connection_) connection_.reset(connect(dsn_));
    const Result rows = execute(connection_.get(),
                                "SELECT " + columns +
                                    " FROM (SELECT *, row_number() OVER (PARTITION BY check_id ORDER BY scheduled DESC, finished DESC) AS age"
                                    " FROM recon_engine.invariants_log) newest WHERE age <= $1::bigint ORDER BY finished, run_id",
                                {std::to_string(per_check)});
    std::vector<Run> runs;
    for (int row = 0; row < PQntuples(rows.get()); ++row) {
      Run& run = runs.emplace_back();
      int column = 0;
      for (const Field& f : fields) {
        if (PQgetisnull(rows.get(), row, column) == 0) f.set(run, cell(rows, row, column));
        ++column;
      }
    }
    return runs;
  } catch (const Failure&) {
    connection_.reset();
    throw;
  } catch (const Json::exception& e) {
    throw Failure(Reason::schema, "the log holds differences that are none: " + std::string(e.what()));
  }
}

std::vector<std::string> migrate(const std::string& dsn) {
  const std::unique_ptr<PGconn, void (*)(PGconn*)> owned(connect(dsn), PQfinish);
  PGconn* const connection = owned.get();
  execute(connection, "SET client_min_messages = warning");
  std::vector<std::string> applied;
  for (const Migration& migration : all_migrations()) {
    execute(connection, "BEGIN");
    // Two programs may be started at once; the lock is let go with the transaction.
    execute(connection, "SELECT pg_advisory_xact_lock(hashtext('recon_engine.migrations'))");
    if (PQntuples(execute(connection, "SELECT FROM pg_namespace WHERE nspname = 'recon_engine'").get()) == 0) execute(connection, "CREATE SCHEMA recon_engine");
    execute(connection,
            "CREATE TABLE IF NOT EXISTS recon_engine.migrations (name text COLLATE \"C\" PRIMARY KEY, checksum text COLLATE \"C\" NOT NULL,"
            " applied timestamptz NOT NULL DEFAULT clock_timestamp())");
    const Result seen = execute(connection, "SELECT checksum = md5($2) FROM recon_engine.migrations WHERE name = $1",
                                {std::string(migration.name), std::string(migration.sql)});
    if (PQntuples(seen.get()) == 1) {
      if (cell(seen, 0, 0) != "t")
        throw Failure(Reason::configuration, "migration " + std::string(migration.name) +
                                                 " was applied with another text; a migration never changes once it is applied, write a further one");
    } else {
      execute(connection, std::string(migration.sql));
      execute(connection, "INSERT INTO recon_engine.migrations (name, checksum) VALUES ($1, md5($2))",
              {std::string(migration.name), std::string(migration.sql)});
      applied.emplace_back(migration.name);
    }
    if (std::string_view(PQcmdStatus(execute(connection, "COMMIT").get())) != "COMMIT")
      throw Failure(Reason::unknown, "migration " + std::string(migration.name) + " was rolled back");
  }
  return applied;
}

// --- the spool ---------------------------------------------------------------------------------------------------------------------------------------

namespace {

/// FNV-1a: a torn or overwritten line is found, no more is asked of it.
std::string checksum(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

constexpr std::size_t prefix = 17;  // checksum and blank

bool sound(std::string_view line) { return line.size() > prefix && line[prefix - 1] == ' ' && checksum(line.substr(prefix)) == line.substr(0, prefix - 1); }

std::string why() { return std::strerror(errno); }

std::string read_at(int file, std::uint64_t offset, std::uint64_t size) {
  std::string text(size, '\0');
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t n = pread(file, text.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n <= 0) throw Failure(Reason::unknown, "the spool can't be read: " + (n < 0 ? why() : std::string("it ended early")));
    done += static_cast<std::uint64_t>(n);
  }
  return text;
}

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Failure(Reason::unknown, "the spool can't be written: " + why()).retry();
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace

Spool::Spool(const std::string& folder, std::uint64_t bytes_max) : path_(folder + "/runs.spool"), bytes_max_(bytes_max) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const bool made = !std::filesystem::exists(path_);
  file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file_ < 0) throw Failure(Reason::configuration, "the spool " + path_ + " can't be opened: " + why());
  try {
    if (flock(file_, LOCK_EX | LOCK_NB) != 0)
      throw Failure(Reason::configuration,
                    "another program has the spool " + path_ + "; two must not run the same checks, stop one or give it a folder of its own");
    if (made) {  // the file's name has to survive too
      const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      if (directory >= 0) fsync(directory), close(directory);
    }
    struct stat about {};
    if (fstat(file_, &about) != 0) throw Failure(Reason::configuration, "the spool " + path_ + " can't be read: " + why());
    const std::string all = read_at(file_, 0, static_cast<std::uint64_t>(about.st_size));
    std::optional<std::uint64_t> damaged;
    for (std::uint64_t begin = 0; begin < all.size();) {
      const std::size_t end = all.find('\n', begin);
      const std::uint64_t size = (end == std::string::npos ? all.size() : end) - begin;
      if (end != std::string::npos && sound(std::string_view(all).substr(begin, size))) {
        // What comes after a damaged line was written after it, so that line was whole once.
        if (damaged)
          throw Failure(Reason::configuration, "the spool " + path_ + " is damaged at byte " + std::to_string(*damaged) +
                                                   "; a run that was found there is lost: keep the file, remove that line, and start again");
        lines_.push_back({begin, size});
        bytes_ = begin + size + 1;
      } else if (!damaged) {
        damaged = begin;
      }
      begin += size + 1;
    }
    if (damaged) {
      torn_ = true;
      if (ftruncate(file_, static_cast<off_t>(bytes_)) != 0 || fsync(file_) != 0)
        throw Failure(Reason::configuration, "the spool " + path_ + " can't be cut: " + why());
    }
  } catch (...) {
    close(file_);
    throw;
  }
}

Spool::~Spool() { close(file_); }

bool Spool::full() const { return bytes_ + line_bytes_max > bytes_max_; }

void Spool::append(const Run& run) {
  const std::string json = to_json(run);
  if (bytes_ + json.size() + prefix + 1 > bytes_max_)
    throw Failure(Reason::too_large, "the spool " + path_ + " is full; bring the log back, or give the spool more room");
  const std::string line = checksum(json) + " " + json + "\n";
  try {
    write_all(file_, line);
    if (fdatasync(file_) != 0) throw Failure(Reason::unknown, "the spool can't be brought to disk: " + why()).retry();
  } catch (...) {
    // Half a line must not stand before the next one.
    if (ftruncate(file_, static_cast<off_t>(bytes_)) != 0) bytes_ = bytes_max_;
    throw;
  }
  lines_.push_back({bytes_, line.size() - 1});
  bytes_ += line.size();
}

std::vector<Run> Spool::front(std::size_t max) const {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < lines_.size() && i < max; ++i)
    runs.push_back(run_of_json(std::string_view(read_at(file_, lines_[i].offset, lines_[i].size)).substr(prefix)));
  return runs;
}

void Spool::pop(std::size_t count) {
  lines_.erase(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(std::min(count, lines_.size())));
  if (!lines_.empty() || bytes_ == 0) return;
  if (ftruncate(file_, 0) != 0 || fsync(file_) != 0) return;  // then they are there again, and are written once more, in vain
  bytes_ = 0;
}

// --- the recorder ------------------------------------------------------------------------------------------------------------------------------------

Recorder::Recorder(LogStore& log, Spool& spool, std::vector<Sink*> sinks, Options options)
    : log_(&log), spool_(&spool), sinks_(std::move(sinks)), options_(std::move(options)) {}

bool Recorder::write(const Run& run, Instant now) {
  try {
    if (log_->write(run) == Written::conflicting) {
      ++conflicts_;
      options_.say("the log has another run of the id " + run.run_id + ", which stays; this one was: " + to_json(run));
    }
    retry_ = Millis{0};
    return true;
  } catch (const Failure& failure) {
    if (!failure.retryable) {
      // It will never be taken, and must not hold up those behind it.
      ++lost_;
      options_.say("the log will never take this run (" + failure.message + "): " + to_json(run));
      return true;
    }
    if (retry_.count() == 0) options_.say("runs go into the spool: " + failure.message);
    retry_ = retry_.count() == 0 ? options_.retry_first : std::min(options_.retry_max, retry_ * 2);
    retry_at_ = now + retry_;
    return false;
  }
}

bool Recorder::add(const Run& run, Instant now) {
  bool kept = false;
  try {
    kept = spool_->size() == 0 && (retry_.count() == 0 || now >= retry_at_) && write(run, now);
    if (!kept) {
      spool_->append(run);
      kept = true;
    }
  } catch (const std::exception& e) {
    ++lost_;
    options_.say("neither log nor spool took this run (" + std::string(e.what()) + "): " + to_json(run));
  }
  for (Sink* sink : sinks_) sink->add(run);
  return kept;
}

bool Recorder::replay(Instant now) {
  constexpr std::size_t batch = 64;  // then those who wait get their turn
  try {
    if (spool_->size() == 0) return true;
    if (retry_.count() > 0 && now < retry_at_) return false;
    std::size_t written = 0;
    for (const Run& run : spool_->front(batch)) {
      if (!write(run, now)) break;
      ++written;
    }
    spool_->pop(written);
    if (spool_->size() == 0) options_.say("the log has everything that was in the spool");
    return spool_->size() == 0;
  } catch (const std::exception& e) {
    if (retry_.count() == 0) options_.say("the spool can't be replayed: " + std::string(e.what()));
    retry_ = options_.retry_max, retry_at_ = now + retry_;
    return false;
  }
}

}  // namespace recon_engine
