#include "recon_engine/config.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <vector>

#include <toml++/toml.h>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/cron.hpp>
#include <epochcut/operate/zone.hpp>

namespace recon_engine {

using epochcut::Failure;
using epochcut::Reason;

namespace {

class Reader {
 public:
  Reader(std::string path, const Environment& environment) : path_(std::move(path)), environment_(environment) {}

  [[noreturn]] void refuse(const toml::source_region& where, const std::string& why) const {
    const std::string place = where.begin ? ":" + std::to_string(where.begin.line) + ":" + std::to_string(where.begin.column) : "";
    throw Failure(Reason::configuration, path_ + place + ": " + why);
  }
  const Environment& environment() const { return environment_; }

 private:
  std::string path_;
  const Environment& environment_;
};

/// One table; every key that was not asked for by the end is a mistake: most often a misspelt one, whose value would be ignored in silence.
class Table {
 public:
  Table(const Reader& reader, const toml::table& table, std::string name) : reader_(&reader), table_(&table), name_(std::move(name)) {}

  const toml::node* find(std::string_view key) {
    known_.emplace(key);
    return table_->get(key);
  }
  const toml::source_region& where() const { return table_->source(); }
  const toml::table* table(std::string_view key) {
    const toml::node* node = find(key);
    if (node != nullptr && !node->is_table()) refuse(*node, key, "a table");
    return node == nullptr ? nullptr : node->as_table();
  }
  void text(std::string_view key, std::string& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_string()) refuse(*node, key, "a text in quotes");
    value = **node->as_string();
    if (value.empty()) reader_->refuse(node->source(), std::string(key) + " is empty; leave it out instead");
  }
  void flag(std::string_view key, bool& value) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (!node->is_boolean()) refuse(*node, key, "true or false");
    value = **node->as_boolean();
  }
  template <class Number>
  void number(std::string_view key, Number& value, std::int64_t low, std::int64_t high) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const std::string range = "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
    if (!node->is_integer()) refuse(*node, key, range);
    const std::int64_t n = **node->as_integer();
    if (n < low || n > high) reader_->refuse(node->source(), std::string(key) + " is " + std::to_string(n) + " and must be " + range);
    value = Number(n);
  }
  void millis(std::string_view key, Millis& value, std::int64_t low, std::int64_t high) { number(key, value, low, high); }

  /// `key` in plain, or `key_env`: the name of an environment variable, or `key_file`: of a file with one line.
  void secret(const std::string& key, std::string& value, bool plain_allowed) {
    int given = 0;
    const toml::node* last = nullptr;
    const auto count = [&](const toml::node* node) {
      given += node != nullptr;
      if (node != nullptr) last = node;
      return node != nullptr;
    };
    if (plain_allowed && count(find(key))) text(key, value);
    std::string name;
    if (count(find(key + "_env"))) {
      text(key + "_env", name);
      const auto found = reader_->environment()(name);
      if (!found) reader_->refuse(last->source(), "the environment variable " + name + " is not set");
      value = *found;
    }
    if (count(find(key + "_file"))) {
      text(key + "_file", name);
      std::ifstream file(name);
      if (!std::getline(file, value) || value.empty()) reader_->refuse(last->source(), "the file " + name + " can't be read, or its first line is empty");
    }
    if (given > 1) reader_->refuse(last->source(), "only one of " + key + ", " + key + "_env and " + key + "_file can say it");
    if (!plain_allowed && table_->get(key) != nullptr)
      reader_->refuse(table_->get(key)->source(), "a secret does not stand in this file; name it with " + key + "_env or " + key + "_file");
  }

  void finish() const {
    for (const auto& [key, node] : *table_)
      if (!known_.contains(std::string(key.str())))
        reader_->refuse(key.source(), "there is no setting \"" + std::string(key.str()) + "\"" + (name_.empty() ? "" : " in [" + name_ + "]"));
  }

 private:
  [[noreturn]] void refuse(const toml::node& node, std::string_view key, const std::string& wanted) const {
    reader_->refuse(node.source(), std::string(key) + " must be " + wanted);
  }

  const Reader* reader_;
  const toml::table* table_;
  std::string name_;
  std::set<std::string> known_;
};

bool says_password(const std::string& connection) { return connection.find("password") != std::string::npos; }
bool url_says_password(const std::string& url) {
  const std::size_t begin = url.find("//"), at = url.find('@');
  return begin != std::string::npos && at != std::string::npos && url.find(':', begin + 2) < at;
}

/// A connection that may hold a password only where it does not stand in the file.
void connection(Table& table, const Reader& reader, const std::string& key, std::string& value, bool (*says)(const std::string&)) {
  const toml::node* plain = table.find(key);
  table.secret(key, value, true);
  if (plain != nullptr && says(value))
    reader.refuse(plain->source(), key + " has a password in it; put the whole into an environment variable and name that with " + key + "_env");
}

void read_check(const Reader& reader, const toml::table& toml, const CheckInfo& info, CheckConfig& check) {
  Table table(reader, toml, "checks.\"" + std::string(info.id) + "\"");
  constexpr std::int64_t day = 86'400'000;
  table.flag("enabled", check.enabled);
  table.flag("paging", check.paging);
  table.text("schedule", check.schedule);
  table.text("zone", check.zone);
  table.millis("jitter_ms", check.jitter, 0, 3'600'000);
  table.millis("late_max_ms", check.late_max, 1, day);
  table.millis("budget_ms", check.budget, 100, day);
  table.millis("horizon_budget_ms", check.horizon.budget, 0, day);
  table.millis("max_visibility_lag_ms", check.horizon.max_visibility_lag, 0, 3'600'000);
  table.number("retries", check.retries, 0, 10);
  table.number("confirm", check.confirm, 1, 100);
  table.number("clear", check.clear, 1, 100);
  table.millis("apart_ms", check.apart, 0, day);
  table.millis("assert_within_ms", check.assert_within, 0, 40 * day);
  table.number("stuck_errors", check.stuck_errors, 1, 1'000);
  table.millis("stuck_after_ms", check.stuck_after, 0, 40 * day);
  table.finish();

  const auto at = [&](const char* key) { return toml.get(key) != nullptr ? toml.get(key)->source() : toml.source(); };
  if (check.horizon.budget > check.budget) reader.refuse(at("horizon_budget_ms"), "horizon_budget_ms is more than budget_ms, the time that a whole run has");
  if (check.event()) {
    if (check.schedule != mark_cycle_event)
      reader.refuse(at("schedule"), "there is no event \"" + std::string(*check.event()) + "\"; there is event:mark_cycle");
    return;
  }
  try {
    epochcut::Cron::parse(check.schedule);
  } catch (const Failure& failure) {
    reader.refuse(at("schedule"), failure.message);
  }
  try {
    epochcut::NamedZone zone(check.zone);
  } catch (const Failure& failure) {
    reader.refuse(at("zone"), failure.message);
  }
}

/// An invariant that nobody would be woken for is one that nobody watches.
void require_paging(const Reader& reader, const Config& config, const toml::source_region& where) {
  for (const CheckInfo& info : all_checks) {
    bool pages = false;
    for (const CheckInfo& other : all_checks) {
      const CheckConfig& check = config.checks.at(std::string(other.id));
      pages |= other.invariant == info.invariant && check.enabled && check.paging;
    }
    if (!pages)
      reader.refuse(
          where, "the invariant " + std::string(info.invariant) + " has no check that is enabled and pages; let " + std::string(info.id) + " or its twin page");
  }
}

std::string revision_of(std::string_view text) {
  std::uint32_t hash = 0x811C9DC5;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  char hex[9];
  std::snprintf(hex, sizeof hex, "%08x", hash);
  return hex;
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

Config parse_config(std::string_view text, const std::string& path, const Environment& environment) {
  const Reader reader(path, environment);
  toml::table root;
  try {
    root = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    reader.refuse(error.source(), "this is no TOML: " + std::string(error.description()));
  }

  Config config;
  config.path = path;
  config.revision = revision_of(text);
  Table file(reader, root, "");
  const toml::table* stores = file.table("stores");
  if (stores == nullptr) reader.refuse(root.source(), "there is no table [stores], which says where PostgreSQL and ClickHouse are");
  {
    Table table(reader, *stores, "stores");
    connection(table, reader, "postgres", config.postgres, says_password);
    connection(table, reader, "log", config.log, says_password);
    connection(table, reader, "clickhouse", config.clickhouse, url_says_password);
    table.text("clickhouse_user", config.clickhouse_user);
    table.text("clickhouse_database", config.clickhouse_database);
    table.secret("clickhouse_password", config.clickhouse_password, false);
    connection(table, reader, "custodian", config.custodian, url_says_password);
    table.text("authority", config.authority);
    table.finish();
    for (const auto& [key, value] : {std::pair{"postgres", &config.postgres}, {"log", &config.log}, {"clickhouse", &config.clickhouse}})
      if (value->empty()) reader.refuse(stores->source(), "[stores] does not say " + std::string(key) + " or " + key + "_env");
  }
  if (const toml::table* program = file.table("program")) {
    Table table(reader, *program, "program");
    table.text("host", config.host);
    table.number("port", config.port, 0, 65'535);
    table.text("spool", config.spool);
    table.millis("drain_ms", config.drain, 0, 3'600'000);
    table.finish();
  }
  if (config.spool.empty()) reader.refuse(root.source(), "[program] does not say spool: the folder that keeps runs while the log can't be written");
  if (const toml::table* incident = file.table("incident")) {
    Table table(reader, *incident, "incident");
    connection(table, reader, "url", config.incident_url, url_says_password);
    table.secret("secret", config.incident_secret, false);
    table.text("ca_file", config.incident_ca_file);
    if (!config.incident_ca_file.empty()) {
      // Now, and not when somebody has to be woken.
      std::ifstream pem(config.incident_ca_file);
      std::string line;
      while (std::getline(pem, line) && line.find("-----BEGIN CERTIFICATE-----") == std::string::npos) {
      }
      if (!pem) reader.refuse(table.find("ca_file")->source(), "the file " + config.incident_ca_file + " can't be read, or holds no certificate in PEM form");
    }
    table.finish();
  }
  for (const CheckInfo& info : all_checks) {
    CheckConfig& check = config.checks[std::string(info.id)];
    check.schedule = info.schedule, check.zone = info.zone;
  }
  const toml::table* checks = file.table("checks");
  if (checks != nullptr) {
    Table table(reader, *checks, "checks");
    for (const CheckInfo& info : all_checks)
      if (const toml::table* check = table.table(info.id)) read_check(reader, *check, info, config.checks[std::string(info.id)]);
    for (const auto& [key, node] : *checks)
      if (find_check(key.str()) == nullptr) reader.refuse(key.source(), "there is no check \"" + std::string(key.str()) + "\"");
  }
  file.finish();
  for (const CheckInfo& info : all_checks)
    if (info.invariant == "omnibus-balances-square" && config.checks[std::string(info.id)].enabled && config.custodian.empty())
      reader.refuse(stores->source(), "[stores] does not say custodian, which " + std::string(info.id) + " asks; name its URL, or disable the check");
  require_paging(reader, config, checks != nullptr ? checks->source() : root.source());
  return config;
}

Config load_config(const std::string& path, const Environment& environment) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw Failure(Reason::configuration, path + ": the file can't be read");
  if (text.str().size() > config_bytes_max)
    throw Failure(Reason::configuration, path + ": the file is larger than " + std::to_string(config_bytes_max) + " bytes");
  return parse_config(text.str(), path, environment);
}

std::function<epochcut::Instant(epochcut::Instant)> clockwork(const CheckConfig& check) {
  if (check.event()) return {};
  return [cron = epochcut::Cron::parse(check.schedule), zone = epochcut::NamedZone(check.zone)](epochcut::Instant after) { return cron.next(after, zone); };
}

}  // namespace recon_engine
