// How is one session with a PostgreSQL server held, waited for and given up?
// Layer: source, leaf: needs libpq. Not thread-safe: one thread at a time. Source: PostgreSQL manual, "libpq"; docs/adapters.md "PostgreSQL".
// Nothing here blocks for longer than `cancel_poll` without looking at the deadline and the cancel flag. Any error closes the session:
// to connect again takes a few milliseconds and leaves no half-finished transaction to reason about.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <libpq-fe.h>
#include <poll.h>

#include <epochcut/core/failure.hpp>
#include <epochcut/cut/control.hpp>
#include <epochcut/source/postgres_errors.hpp>

namespace epochcut {

/// Timeouts of the sessions. A Control's deadline shortens each of them.
struct PostgresOptions {
  Millis connect_timeout{10'000};              ///< connect_timeout in the connection string takes precedence
  Millis lock_timeout{5'000};                  ///< an ALTER or TRUNCATE in progress is `error: lock_timeout` after this
  Millis statement_timeout{300'000};           ///< also bounds a whole streamed COPY
  Millis idle_in_transaction_timeout{60'000};  ///< the server ends the snapshot of a checker that hangs, since it holds back vacuum
  int readers = 1;  ///< sessions, with a thread each, that read a large relation at once, in ONE snapshot, by ranges of its integer key
};

namespace postgres {

inline constexpr Millis answer_grace{3'000};  ///< for the server's own timeout to arrive

struct FreeResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, FreeResult>;

inline std::string_view cell(const Result& result, int row, int column) {
  return {PQgetvalue(result.get(), row, column), static_cast<std::size_t>(PQgetlength(result.get(), row, column))};
}

/// One session, opened at first use. Its methods throw Failure and then have closed it; the next `begin` opens it again.
class Connection {
 public:
  Connection(std::string dsn, PostgresOptions options) : dsn_(std::move(dsn)), options_(options) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(); }

  const std::string& where() const { return where_; }
  const PostgresOptions& options() const { return options_; }

  /// Errors: `configuration` for a connection string that can't be, `authentication`, `not_found` (database), `connection`, `timeout`, `cancelled`.
  void open(const Control& control) {
    if (connection_ != nullptr && PQstatus(connection_) == CONNECTION_OK && PQtransactionStatus(connection_) == PQTRANS_IDLE && !closed_by_peer()) return;
    close();
    start();
    try {
      establish(control);
    } catch (...) {
      close();
      throw;
    }
  }

  /// Gives the session up at once; a statement in progress is cancelled first, else the server would finish it for nobody.
  void close() noexcept {
    if (connection_ == nullptr) return;
    if (PQtransactionStatus(connection_) == PQTRANS_ACTIVE && PQstatus(connection_) == CONNECTION_OK) cancel();
    PQfinish(std::exchange(connection_, nullptr));
  }

  /// Runs one statement with bound text parameters, or without any a list of statements, and returns the last result.
  Result query(const std::string& sql, std::span<const std::string> parameters, const Control& control) {
    send(sql, parameters, control);
    Result last;
    for (Result result = next_result(control); result; result = next_result(control)) {
      const ExecStatusType status = PQresultStatus(result.get());
      if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw failed(result.get());
      last = std::move(result);
    }
    if (!last) throw failed(nullptr);
    return last;
  }

  /// Starts `COPY … TO STDOUT`. `copy_next` then hands out its data.
  void copy(const std::string& sql, const Control& control) {
    send_copy(sql, control);
    await_copy(control);
  }
  /// The same in two steps: the server, which answers only with its first rows, works in between.
  void send_copy(const std::string& sql, const Control& control) { send(sql, {}, control); }
  void await_copy(const Control& control) {
    const Result result = next_result(control);
    if (!result || PQresultStatus(result.get()) != PGRES_COPY_OUT) throw failed(result.get());
    copied_ = 0;
  }

  /// Calls `use` with the next piece of the COPY's data; false at its end, and only then all of it has come: a backend that dies hands over whole
  /// rows first (1946 in one test). Errors: as `query`.
  template <class Use>
  bool copy_next(const Control& control, Use use) {
    for (;;) {
      char* buffer = nullptr;
      const int size = PQgetCopyData(connection_, &buffer, 1);
      if (size > 0) {
        const std::unique_ptr<char, decltype(&PQfreemem)> owned(buffer, &PQfreemem);
        use(std::string_view(buffer, static_cast<std::size_t>(size)));
        if (++copied_ % 4096 == 0) check(control);  // a fast server never lets us wait, and a cancel must be seen all the same
        return true;
      }
      if (size == -1) return false;
      if (size == -2) throw failed(next_result(control).get());
      wait(POLLIN, control);
    }
  }

  /// The number of rows in the tag `COPY n`. Errors: as `query`; `incomplete` if there is no such tag.
  std::uint64_t copy_tag(const Control& control) {
    const Result result = next_result(control);
    if (!result || PQresultStatus(result.get()) != PGRES_COMMAND_OK) throw failed(result.get());
    while (next_result(control)) {
    }
    const std::string_view tag = PQcmdTuples(result.get());
    std::uint64_t rows = 0;
    for (const char c : tag) rows = rows * 10 + static_cast<std::uint64_t>(c - '0');
    if (tag.empty()) throw Failure(Reason::incomplete, "PostgreSQL ended a COPY without counting its rows; read again").poison().at(where_);
    return rows;
  }

  /// Errors: `cancelled` and `timeout`; the server is told to stop first.
  void check(const Control& control) {
    try {
      control.check();
    } catch (Failure& failure) {
      failure.where = where_, failure.sql = sql_;
      close();
      throw;
    }
  }

  /// Begins a read-only transaction, with its settings and then `locks`, in one round trip. In one list an error ends all of it, so a BEGIN that fails
  /// can't let a later statement run in autocommit. Settings are the transaction's, never the session's: a transaction pooler would hand a session's
  /// `default_transaction_read_only = on` to the next program, which writes. Errors: `lock_timeout`, and as `query`.
  void begin(const std::string& mode, const std::string& locks, const Control& control) { start_transaction(mode + "READ ONLY", locks, control); }

  /// COMMIT of a failed transaction succeeds with the tag ROLLBACK: the tag decides. Errors: `incomplete`.
  void commit(const Control& control) {
    const Result result = query("COMMIT", {}, control);
    if (std::string_view(PQcmdStatus(result.get())) == "COMMIT" && PQtransactionStatus(connection_) == PQTRANS_IDLE) return;
    close();
    throw Failure(Reason::incomplete, "PostgreSQL at " + where_ + " rolled the reading back; read again").poison().at(where_);
  }

  /// One statement that writes, in a transaction of its own that is on disk, and on each synchronous standby, before this returns. For
  /// postgres_authority.hpp alone. Errors: as `query` and `commit`; an answer that was lost does not say whether it took effect.
  Result write(const std::string& sql, std::span<const std::string> parameters, const Control& control) {
    start_transaction("ISOLATION LEVEL READ COMMITTED READ WRITE", "SET LOCAL synchronous_commit = on", control);
    Result result = query(sql, parameters, control);
    commit(control);
    return result;
  }

  /// One statement in a transaction of its own.
  Result read(const std::string& sql, std::span<const std::string> parameters, const Control& control) {
    begin("", "", control);
    Result result = query(sql, parameters, control);
    commit(control);
    return result;
  }

 private:
  void start_transaction(const std::string& mode, const std::string& further, const Control& control) {
    open(control);
    const auto set = [&](const char* name, Millis limit) { return std::string("; SET LOCAL ") + name + " = " + std::to_string(limit.count()); };
    statement_limit_ = limit(options_.statement_timeout, control);
    query("BEGIN " + mode + "; SET LOCAL row_security = off" + set("statement_timeout", statement_limit_) +
              set("lock_timeout", limit(options_.lock_timeout, control)) +
              set("idle_in_transaction_session_timeout", limit(options_.idle_in_transaction_timeout, control)) + (further.empty() ? "" : "; " + further),
          {}, control);
    if (PQtransactionStatus(connection_) != PQTRANS_INTRANS) {
      close();
      throw Failure(Reason::wrong_isolation,
                    "PostgreSQL at " + where_ + " did not stay in a transaction; connect to the server itself or to a pooler in transaction mode")
          .poison()
          .at(where_);
    }
  }

  /// A limit that the server takes: 0 would be none at all.
  static Millis limit(Millis wanted, const Control& control) {
    const Millis left = control.remaining(wanted);
    return left.count() < 1 ? Millis{1} : left.count() > INT32_MAX ? Millis{INT32_MAX} : left;
  }

  struct FreeOptions {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
  };

  static Failure bad_dsn(const std::string& why) {
    return Failure(Reason::configuration,
                   "the PostgreSQL connection string " + why + "; write host=… user=… dbname=… or a postgresql:// URI with special characters as %XX");
  }

  /// What to say of a string that libpq can't parse. Its own sentence is never passed on: it quotes the part that it does not understand, which may be
  /// half of a password. A keyword is named only if it is plainly a slip in one that exists.
  static Failure bad_dsn_of(const std::string& dsn, std::string_view why) {
    const std::unique_ptr<PQconninfoOption, FreeOptions> known(PQconndefaults());
    const std::size_t begin = why.find('"') + 1, end = why.find('"', begin);
    const std::string word(begin == 0 || end == std::string_view::npos ? "" : why.substr(begin, end - begin));
    if (word.size() >= 3 && dsn.find(word + "=") != std::string::npos)
      for (const PQconninfoOption* o = known.get(); o != nullptr && o->keyword != nullptr; ++o)
        if (slip(word, o->keyword)) return bad_dsn("has the unknown keyword \"" + word + "\", which may be meant as " + o->keyword);
    return bad_dsn("can't be parsed");
  }

  /// The same letters in another order, or one letter too many, too few or wrong.
  static bool slip(std::string a, std::string b) {
    const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    const std::string_view rest(x, a.end()), other(y, b.end());
    const auto tail = [](std::string_view text) { return text.substr(text.empty() ? 0 : 1); };
    if (tail(rest) == tail(other) || tail(rest) == other || rest == tail(other)) return true;
    std::sort(a.begin(), a.end()), std::sort(b.begin(), b.end());
    return a == b;
  }

  void start() {
    char* why = nullptr;
    const std::unique_ptr<PQconninfoOption, FreeOptions> parsed(PQconninfoParse(dsn_.c_str(), &why));
    const std::unique_ptr<char, decltype(&PQfreemem)> owned(why, &PQfreemem);
    if (!parsed) throw bad_dsn_of(dsn_, why == nullptr ? "" : why);
    std::vector<const char*> keys, values;
    std::string host, port, database;
    bool has_application_name = false;
    const auto set = [&](const char* key, const char* value) { keys.push_back(key), values.push_back(value); };
    // Defaults first: of two, libpq takes the last. A server that vanishes without a word is noticed after about 30 s.
    for (const auto& [key, value] :
         {std::pair{"keepalives", "1"}, {"keepalives_idle", "15"}, {"keepalives_interval", "5"}, {"keepalives_count", "3"}, {"tcp_user_timeout", "10000"}})
      set(key, value);
    for (const PQconninfoOption* o = parsed.get(); o->keyword != nullptr; ++o) {
      if (o->val == nullptr) continue;
      const std::string_view key = o->keyword;
      if (key == "password") password_ = o->val;
      if (key == "host" || (key == "hostaddr" && host.empty())) host = o->val;
      if (key == "port") port = o->val;
      if (key == "dbname") database = o->val;
      if (key == "connect_timeout" && *o->val >= '1' && *o->val <= '9') options_.connect_timeout = Millis{1000 * std::strtoll(o->val, nullptr, 10)};
      has_application_name |= key == "application_name";
      if (key != "client_encoding") set(o->keyword, o->val);
    }
    // An unescaped '@' or '/' in a URI's password moves its rest into one of these.
    if (host.find('@') != std::string::npos || database.find('@') != std::string::npos || port.find_first_not_of("0123456789,") != std::string::npos)
      throw bad_dsn("names an impossible host, port or database");
    if (!has_application_name) set("application_name", "epochcut");
    set("client_encoding", "UTF8");
    keys.push_back(nullptr), values.push_back(nullptr);
    where_ = (host.empty() ? "localhost" : host) + (port.empty() ? "" : ":" + port) + "/" + database;
    connection_ = PQconnectStartParams(keys.data(), values.data(), 0);
    if (connection_ == nullptr) throw Failure(Reason::connection, "there is no memory for a connection to PostgreSQL").poison();
    try {
      demand_a_choice_of_tls();
    } catch (...) {
      close();
      throw;
    }
    PQsetErrorVerbosity(connection_, PQERRORS_VERBOSE);  // the only way to see the SQLSTATE of a refused connection
    PQsetNoticeProcessor(
        connection_, [](void*, const char*) {}, nullptr);
  }

  /// libpq's own default, sslmode=prefer, lets whoever stands between choose plaintext and ask for the password in it. Asked of libpq, which also knows
  /// the environment and service files; so far it has at most knocked at the port.
  void demand_a_choice_of_tls() const {
    const std::unique_ptr<PQconninfoOption, FreeOptions> used(PQconninfo(connection_));
    std::string host, address, mode;
    for (const PQconninfoOption* o = used.get(); o != nullptr && o->keyword != nullptr; ++o) {
      if (o->val == nullptr) continue;
      const std::string_view key = o->keyword;
      if (key == "host") host = o->val;
      if (key == "hostaddr") address = o->val;
      if (key == "sslmode") mode = o->val;
    }
    if ((mode != "prefer" && mode != "allow") || (this_machine(host) && this_machine(address))) return;
    throw Failure(Reason::configuration, "PostgreSQL at " + where_ + " is another machine, and sslmode=" + mode +
                                             " may send the password unencrypted; write sslmode=verify-full, or sslmode=disable where the network is trusted")
        .at(where_);
  }

  void establish(const Control& control) {
    const Millis limit = SystemClock::instance().now() + options_.connect_timeout;
    PostgresPollingStatusType status = PQstatus(connection_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
      if (poll_once(status == PGRES_POLLING_READING ? POLLIN : POLLOUT)) status = PQconnectPoll(connection_);
      control.check();
      if (status != PGRES_POLLING_OK && SystemClock::instance().now() >= limit)
        throw Failure(Reason::connection, "PostgreSQL at " + where_ + " did not answer within " + std::to_string(options_.connect_timeout.count()) +
                                              " ms; is it running and reachable?")
            .poison()
            .at(where_);
    }
    if (const char* used = PQpass(connection_); used != nullptr && *used != 0) password_ = used;  // PGPASSWORD or a password file
    if (status == PGRES_POLLING_FAILED) throw refused();
    where_ = std::string(PQhost(connection_)) + ":" + PQport(connection_) + "/" + PQdb(connection_);
    PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
    if (PQsetnonblocking(connection_, 1) != 0) throw lost();
  }

  /// A connection that never came to be has no PGresult: its SQLSTATE stands in the verbose text, as in `FATAL:  28P01: password …`.
  Failure refused() const {
    const std::string text = redacted(PQerrorMessage(connection_));  // before it is cut: a password may hold a line end
    std::string sqlstate, sentence;
    for (std::size_t at = text.find(":  "); at != std::string::npos; at = text.find(":  ", at + 1)) {
      const std::string code = text.substr(at + 3, 5);
      if (code.size() < 5 || code.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos || text.compare(at + 8, 2, ": ") != 0)
        continue;
      sqlstate = code;
      sentence = first_line(text.substr(at + 10));
    }
    if (sentence.empty()) sentence = first_line(text);
    // `invalid sslmode value: "…"` quotes what may be a secret in the wrong place; so does `invalid integer value "…" for connection option "…"`.
    if (const std::size_t at = sentence.find("invalid "), quote = sentence.find('"', std::min(at, sentence.size()));
        sqlstate.empty() && quote != std::string::npos) {
      const std::size_t option = sentence.rfind("\" for connection option ");
      return bad_dsn("has an " + sentence.substr(at, sentence.find_last_not_of(": ", quote - 1) + 1 - at) +
                     (option == std::string::npos ? "" : sentence.substr(option + 1)));
    }
    const bool untrusted = sqlstate.empty() && (sentence.find("certificate") != std::string::npos || sentence.find("support SSL") != std::string::npos);
    Reason reason = sqlstate.empty() ? Reason::connection : reason_of(sqlstate);
    if (sqlstate.empty() && PQconnectionNeedsPassword(connection_)) reason = Reason::authentication, sqlstate = "28P01";
    if (reason != Reason::authentication && reason != Reason::not_found) reason = Reason::connection;
    Failure failure(reason, "PostgreSQL at " + where_ + " refused the connection: " + sentence + "; " +
                                std::string(untrusted          ? "check the server's certificate, sslmode and sslrootcert"
                                            : sqlstate.empty() ? "is it running and reachable?"
                                                               : advice(sqlstate)));
    failure.poisons_connection = true, failure.retryable = reason == Reason::connection && !untrusted;
    return std::move(failure).code(sqlstate).at(where_);
  }

  void send(const std::string& sql, std::span<const std::string> parameters, const Control& control) {
    check(control);
    sql_ = sql;
    started_ = SystemClock::instance().now();
    std::vector<const char*> values;
    for (const std::string& p : parameters) values.push_back(p.c_str());
    const int sent = parameters.empty()
                         ? PQsendQuery(connection_, sql.c_str())
                         : PQsendQueryParams(connection_, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0);
    if (sent == 0) throw lost();
    for (int left = 1; left != 0;) {
      left = PQflush(connection_);
      if (left < 0) throw lost();
      if (left > 0) wait(POLLIN | POLLOUT, control);
    }
  }

  Result next_result(const Control& control) {
    while (PQisBusy(connection_)) wait(POLLIN, control);
    return Result(PQgetResult(connection_));
  }

  /// Waits for the socket, and takes what has come. Cost: one poll(2); returns early and often.
  void wait(int events, const Control& control) {
    const bool ready = poll_once(events);
    if (!ready) check(control);
    if (!ready && SystemClock::instance().now() - started_ > statement_limit_ + answer_grace) {
      close();
      throw Failure(Reason::timeout, "PostgreSQL at " + where_ + " is silent past its statement_timeout; look at what stands between").poison().at(where_);
    }
    if (!PQconsumeInput(connection_)) throw lost();
  }

  bool poll_once(int events) const {
    pollfd socket{PQsocket(connection_), static_cast<short>(events), 0};
    if (socket.fd < 0) return true;  // libpq then says what is wrong
    return poll(&socket, 1, static_cast<int>(cancel_poll.count())) > 0;
  }

  /// An idle session has nothing to say: bytes mean that the server ended it, and why does not matter.
  bool closed_by_peer() const {
    pollfd socket{PQsocket(connection_), POLLIN, 0};
    return socket.fd < 0 || poll(&socket, 1, 0) > 0;
  }

  /// PQcancel blocks until the server hangs up, and behind a proxy that holds its breath that is for ever: so it gets a thread of its own, and is
  /// waited for just long enough to be sent before a short-lived program ends. A PGcancel holds copies and outlives its connection.
  void cancel() const noexcept {
    PGcancel* const request = PQgetCancel(connection_);
    if (request == nullptr) return;
    try {
      const auto done = std::make_shared<std::atomic<bool>>(false);
      std::thread([request, done] {
        char why[256];
        PQcancel(request, why, sizeof why);
        PQfreeCancel(request);
        *done = true;
      }).detach();
      for (int i = 0; i < 250 && !*done; ++i) SystemClock::instance().sleep(Millis{1});
    } catch (...) {  // no thread to be had: the server's own statement_timeout ends the statement
      PQfreeCancel(request);
    }
  }

  static std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

  std::string redacted(std::string text) const {
    if (password_.empty()) return text;
    for (std::size_t at = text.find(password_); at != std::string::npos; at = text.find(password_, at + 3)) text.replace(at, password_.size(), "***");
    return text;
  }

  Failure lost() { return failed(nullptr); }

  /// idle_in_transaction_session_timeout, pg_terminate_backend, a standby's conflict and a stream without sense may come with no SQLSTATE.
  Failure failed(const PGresult* result) {
    const char* field = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const std::string sqlstate = field == nullptr ? "" : field;
    const char* primary = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const std::string sentence = primary != nullptr ? redacted(primary) : first_line(redacted(PQerrorMessage(connection_)));
    const bool bad = PQstatus(connection_) == CONNECTION_BAD || sqlstate.empty();
    Failure failure(Reason::unknown, {});
    if (bad) {
      failure = Failure(Reason::connection,
                        "PostgreSQL at " + where_ + " ended the connection (" + (sentence.empty() ? "no reason given" : sentence) + "); run again")
                    .poison();
    } else {
      failure.kind = reason_of(sqlstate);
      // 57014 is a statement_timeout or somebody's pg_cancel_backend: the clock tells them apart in every language.
      if (sqlstate == "57014" && SystemClock::instance().now() - started_ < statement_limit_ - Millis{5}) failure.kind = Reason::cancelled;
      failure.message =
          "PostgreSQL at " + where_ + ": " + sentence + "; " +
          std::string(failure.kind == Reason::cancelled && sqlstate == "57014" ? "somebody cancelled the statement, run again" : advice(sqlstate));
      failure.retryable =
          failure.kind == Reason::timeout || failure.kind == Reason::cancelled || failure.kind == Reason::lock_timeout || failure.kind == Reason::connection;
      failure.poisons_connection = failure.kind == Reason::connection;
    }
    failure.engine_code = sqlstate, failure.sql = sql_, failure.where = where_;
    PQfinish(std::exchange(connection_, nullptr));  // the statement has ended: nothing to cancel
    return failure;
  }

  std::string dsn_, password_, where_, sql_;
  PostgresOptions options_;
  PGconn* connection_ = nullptr;
  Millis started_{0}, statement_limit_{0};
  std::uint64_t copied_ = 0;
};

}  // namespace postgres
}  // namespace epochcut
