// What does the file say?
// watch.toml as a value: where the stores are, and how each check runs. Whatever is wrong with the file is ONE sentence with line and column, and then
// there is no Config: the one that is running stays. Secrets come by the name of an environment variable or of a file, never in the text itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <epochcut/cut/horizon.hpp>
#include <epochcut/operate/instant.hpp>

#include "recon_engine/catalogue.hpp"

namespace recon_engine {

using epochcut::Millis;

/// How one check runs. Everything but `schedule` and `zone` has the same default for all.
struct CheckConfig {
  bool enabled = true;
  bool paging = true;       ///< else its fails are logged and shown, and reach no pager
  std::string schedule;     ///< cron of six fields, seconds first, or `event:mark_cycle`
  std::string zone;         ///< of the cron expression
  Millis jitter{0};         ///< a run begins up to so much after its fire, so that checks don't all begin at once
  Millis late_max{60'000};  ///< a fire that could not begin within this is missed: a window may be over by then
  Millis budget{120'000};   ///< of a whole run; beyond it is `error: timeout`
  epochcut::HorizonPolicy horizon{};
  int retries = 1;  ///< after an error that may heal, a new cut each, within the budget

  // When it pages, as in epochcut/operate/paging.hpp.
  int confirm = 2, clear = 2;   ///< fails that page, passes in a row that resolve
  Millis apart{60'000};         ///< a fail sooner than this after the last is the same observation
  Millis assert_within{0};      ///< neither pass nor fail for so long is a signal of its own; 0: three times the longest time between two fires
  int stuck_errors = 3;         ///< errors in a row ...
  Millis stuck_after{900'000};  ///< ... that last so long are another

  /// The event's name if it is not a cron expression that fires it.
  std::optional<std::string_view> event() const {
    if (!std::string_view(schedule).starts_with("event:")) return std::nullopt;
    return std::string_view(schedule).substr(6);
  }
};

struct Config {
  std::string path;      ///< where it was read from
  std::string revision;  ///< 8 hexadecimal digits of the file's text: which configuration ran

  // [stores]
  std::string postgres;    ///< the ledger, read by a role that only reads: a libpq connection string
  std::string log;         ///< where invariants_log lives: the same, of a role that writes schema recon_engine and nothing else
  std::string clickhouse;  ///< the analytics store: http[s]://host:port/?database=name
  std::string clickhouse_user, clickhouse_password, clickhouse_database;  ///< instead of the URL's
  std::string custodian;                                                  ///< http[s]://host:port
  std::string authority = "production";

  // [program]
  std::string host = "127.0.0.1";  ///< of the page, metrics and health
  int port = 8480;                 ///< 0: any that is free
  std::string spool;               ///< folder: what the log did not take yet
  Millis drain{10'000};            ///< after SIGTERM a run has so long to finish

  // [incident]
  std::string incident_url;      ///< of the pager's webhook; empty: nobody is paged
  std::string incident_secret;   ///< sent as bearer token
  std::string incident_ca_file;  ///< PEM: who may sign the receiver's certificate; empty: the system's authorities

  std::map<std::string, CheckConfig> checks;  ///< all of all_checks, by id
};

/// The value of an environment variable; nothing if it is not set.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
Environment process_environment();

inline constexpr std::size_t config_bytes_max = 1 << 20;  ///< a larger file is no configuration

/// Errors: Failure(configuration), `watch.toml:12:3: …`.
Config parse_config(std::string_view text, const std::string& path, const Environment& environment = process_environment());
Config load_config(const std::string& path, const Environment& environment = process_environment());

/// The first fire after an instant, by a check's schedule and zone; none if events fire it.
std::function<epochcut::Instant(epochcut::Instant)> clockwork(const CheckConfig& check);

}  // namespace recon_engine
