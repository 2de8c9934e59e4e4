// Who is woken, and how does nobody miss it?
// Runs are folded into signals (epochcut/operate/paging.hpp); a signal that starts or stops firing becomes an Alert, an Alert that the gate admits becomes a
// Page, and a Page is stored, then posted as JSON over HTTPS until it is taken: at least once, each with a deduplication key that stays the same.
// Only PagingGate makes a Page and only a Page can be posted, so a check whose paging is off wakes nobody by any route; all that it may still say is the
// end of what was begun while it paged. add() only folds; what blocks happens in a thread of its own. If the outbox can't be written, pages are posted all
// the same: a dead ledger must not silence its own alarm.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "recon_engine/board.hpp"
#include "recon_engine/run.hpp"

namespace recon_engine {

inline constexpr std::size_t pages_pending_max = 1'000;                    ///< pages that wait; beyond, the oldest is abandoned and counted
inline constexpr std::size_t page_body_bytes_max = 64'000;                 ///< of one post; receivers refuse large ones
inline constexpr std::size_t page_keys_max = 10;                           ///< differing keys in a page; the log has more
inline constexpr Millis page_age_max{24 * 3'600'000};                      ///< a page that nobody took for a day is abandoned and counted
inline constexpr Millis page_retry_first{1'000}, page_retry_max{300'000};  ///< doubling, with jitter
inline constexpr Millis page_post_max{10'000};                             ///< for one post, everything included

/// When a check pages. Filled from the configuration.
struct CheckPaging {
  bool paging = false;
  epochcut::PagingPolicy policy;
};
using PagingConfig = std::map<std::string, CheckPaging>;

/// What would be said. Anyone may make one; none can be posted.
struct Alert {
  std::string deduplication_key;  ///< check id and episode start; the infrastructure signal's is its own
  std::string check_id;
  Signal signal = Signal::invariant;
  bool firing = true;   ///< else resolved
  bool paging = false;  ///< of the run that says it
  bool owed = false;    ///< an end whose beginning was delivered: it is said whatever the configuration says now, or the incident stays open for ever
  Instant episode{}, created{};
  std::string title, metadata;  ///< metadata: one JSON object

  int attempts = 0;
  Instant next_attempt{};
  std::optional<Instant> delivered, withheld, abandoned;
  std::string problem;  ///< of the last attempt, without secrets
  bool pending() const { return !delivered && !withheld && !abandoned; }
};

/// What may be said. There is no way to one but through the gate.
class Page {
 public:
  const Alert& alert() const { return alert_; }
  std::string body() const;  ///< {"status","title","deduplication_key","metadata"}

 private:
  friend class PagingGate;
  explicit Page(const Alert& alert) : alert_(alert) {}
  Alert alert_;
};

class PagingGate {
 public:
  /// Nothing unless the run that says it was to page, the check is configured, and it is to page now; or it is an end that is owed.
  static std::optional<Page> admit(const Alert& alert, const PagingConfig& config);
};

/// Takes pages. Errors: Failure; retryable or not makes no difference, a page is tried until it is too old.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual void post(const Page& page) = 0;
};

struct WebhookOptions {
  std::string url;      ///< https://…; http:// only to this machine
  std::string secret;   ///< sent as `Authorization: Bearer …`; never in a message
  std::string ca_file;  ///< PEM: these authorities and no others; empty: the system's
  Millis timeout = page_post_max;
};

/// POST through libcurl: certificate and name verified, no redirect followed, no proxy. One thread at a time.
class Webhook final : public Receiver {
 public:
  /// Errors: Failure(configuration) for an address that would send a page in the clear.
  explicit Webhook(WebhookOptions options);
  ~Webhook() override;
  void post(const Page& page) override;

 private:
  const WebhookOptions options_;
  void* curl_;
};

/// Keeps alerts over a restart: one row for a key and firing or resolved. Errors: Failure.
class Outbox {
 public:
  virtual ~Outbox() = default;
  /// Inserts, or updates what has happened to it; what was delivered stays delivered.
  virtual void save(const Alert& alert) = 0;
  /// What is pending, the firings that were delivered and not resolved, and of every check and signal the ends that its newest episode has had.
  virtual std::vector<Alert> load() = 0;
};

/// In recon_engine.incident_outbox (migrations/002_incident_outbox.sql). Connects when needed, again after a failure.
class PostgresOutbox final : public Outbox {
 public:
  explicit PostgresOutbox(std::string dsn);
  ~PostgresOutbox() override;
  void save(const Alert& alert) override;
  std::vector<Alert> load() override;

 private:
  struct Connection;
  Connection& connection();
  const std::string dsn_;
  std::unique_ptr<Connection> connection_;
};

/// For tests and dry runs. Its rows can outlive it: `rows` is shared.
class MemoryOutbox final : public Outbox {
 public:
  using Rows = std::map<std::pair<std::string, bool>, Alert>;
  explicit MemoryOutbox(std::shared_ptr<Rows> rows = std::make_shared<Rows>()) : rows_(std::move(rows)) {}
  void save(const Alert& alert) override;
  std::vector<Alert> load() override;

 private:
  std::shared_ptr<Rows> rows_;
};

class IncidentSink final : public Sink {
 public:
  struct Options {
    std::string page_url;          ///< put into every page, so that it can be opened; may be empty
    std::function<Instant()> now;  ///< the wall clock; empty: the system's
    std::uint64_t seed = 0;        ///< of the jitter
  };
  /// `receiver` may be null: then everything is folded and shown, and nothing is posted. The board must outlive this.
  IncidentSink(Board& board, std::unique_ptr<Outbox> outbox, std::unique_ptr<Receiver> receiver, Options options);
  ~IncidentSink() override;

  /// At start and at every reload. A check whose policy changed is folded anew from here; what is firing goes on firing until it has passed often enough.
  /// The open incidents of a check that may not page any more are closed, with a note that says so.
  void configure(PagingConfig config);
  /// Runs from the log, oldest first, before the first add(): they are folded and say nothing by themselves.
  void restore(const std::vector<Run>& runs);
  /// Folds. Never blocks on a server, never throws.
  void add(const Run& run) override;

  /// One round: notices silence, stores what is new, posts what is due. start() does it in a thread, every second or sooner.
  void step();
  void start();
  /// Ends the thread; posts nothing more. What is pending is in the outbox.
  void stop();
  std::size_t pending() const;

 private:
  struct State;
  struct Lane;
  void settle(Lane& lane);
  void withdraw();
  void end(Lane& lane, const Alert& said, const Run& shown, const std::string& note);
  Instant now() const;

  Board& board_;
  std::unique_ptr<Outbox> outbox_;
  std::unique_ptr<Receiver> receiver_;
  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::unique_ptr<State> state_;
  std::thread thread_;
  bool stopping_ = false;
};

}  // namespace recon_engine
