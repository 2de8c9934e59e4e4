#include "recon_engine/promote.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <ostream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include <toml++/toml.h>

#include <epochcut/core/failure.hpp>
#include <epochcut/operate/soak_report.hpp>

#include "recon_engine/soak_command.hpp"

namespace recon_engine {

using epochcut::ConfigChange;
using epochcut::Failure;
using epochcut::Reason;

namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& why) { throw Failure(Reason::configuration, path + ": " + why); }

toml::table parsed(std::string_view text, const std::string& path) {
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    refuse(path, "line " + std::to_string(error.source().begin.line) + ": this is no TOML: " + std::string(error.description()));
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '\n')) text.remove_suffix(1);
  return text;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    lines.emplace_back(text.substr(begin, end == std::string_view::npos ? end : end + 1 - begin));
    begin = end == std::string_view::npos ? text.size() : end + 1;
  }
  return lines;
}

/// Takes a key off the front: bare or in quotes.
std::string take_key(std::string_view& text) {
  text = trimmed(text);
  std::string key;
  if (!text.empty() && (text.front() == '"' || text.front() == '\'')) {
    const std::size_t end = text.find(text.front(), 1);
    if (end == std::string_view::npos) return "";
    key = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  } else {
    const std::size_t end = text.find_first_of(" \t.=]#");
    key = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end);
  }
  text = trimmed(text);
  return key;
}

bool is_table(std::string_view line, const std::string& check_id) {
  line = trimmed(line);
  if (!line.starts_with('[') || line.starts_with("[[")) return false;
  line.remove_prefix(1);
  if (take_key(line) != "checks" || !line.starts_with('.')) return false;
  line.remove_prefix(1);
  return take_key(line) == check_id && line.starts_with(']');
}

void set(toml::table& root, const ConfigChange& change) {
  toml::table* checks = root["checks"].as_table();
  if (checks == nullptr) checks = root.insert("checks", toml::table{}).first->second.as_table();
  toml::table* check = (*checks)[change.check_id].as_table();
  if (check == nullptr) check = checks->insert(change.check_id, toml::table{}).first->second.as_table();
  check->insert_or_assign(change.key, change.value);
}

void write_durably(const std::string& path, const std::string& text, mode_t mode) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (file < 0) refuse(path, "the file can't be written");
  bool written = ::fchmod(file, mode) == 0;
  for (std::size_t done = 0; written && done < text.size();) {
    const ssize_t n = ::write(file, text.data() + done, text.size() - done);
    written = n > 0;
    if (written) done += static_cast<std::size_t>(n);
  }
  written = written && ::fsync(file) == 0;
  if (::close(file) != 0 || !written) {
    ::unlink(path.c_str());
    refuse(path, "the file can't be written; is the disk full?");
  }
}

void sync_folder(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const int folder = ::open(slash == std::string::npos ? "." : path.substr(0, slash + 1).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);
  ::close(folder);
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) refuse(path, "the file can't be read");
  return text.str();
}

}  // namespace

std::vector<epochcut::PagedCheck> paged_checks(const Config& config) {
  std::vector<epochcut::PagedCheck> checks;
  for (const CheckInfo& info : all_checks) {
    const CheckConfig& check = config.checks.at(std::string(info.id));
    checks.push_back({std::string(info.id), std::string(info.invariant), info.live, check.enabled, check.paging});
  }
  return checks;
}

std::string edited(std::string_view toml, const std::vector<ConfigChange>& changes, const std::string& path) {
  toml::table wanted = parsed(toml, path);
  for (const ConfigChange& change : changes) set(wanted, change);

  std::vector<std::string> lines = lines_of(toml);
  const std::string newline = toml.find("\r\n") == std::string_view::npos ? "\n" : "\r\n";
  for (const ConfigChange& change : changes) {
    const std::string value = change.value ? "true" : "false";
    const auto header = std::find_if(lines.begin(), lines.end(), [&](const std::string& line) { return is_table(line, change.check_id); });
    if (header == lines.end()) {
      if (!lines.empty() && !lines.back().ends_with('\n')) lines.back() += newline;
      lines.insert(lines.end(), {newline, "[checks.\"" + change.check_id + "\"]" + newline, change.key + " = " + value + newline});
      continue;
    }
    auto line = header + 1;
    for (; line != lines.end() && !trimmed(*line).starts_with('['); ++line) {
      std::string_view rest = *line;
      if (take_key(rest) != change.key || !rest.starts_with('=')) continue;
      const std::size_t at = line->find_first_not_of(" \t", line->find('=') + 1);
      std::size_t end = at;
      while (end < line->size() && (*line)[end] >= 'a' && (*line)[end] <= 'z') ++end;
      line->replace(at, end - at, value);
      break;
    }
    if (line == lines.end() || trimmed(*line).starts_with('[')) {
      if (!header->ends_with('\n')) *header += newline;
      lines.insert(header + 1, change.key + " = " + value + newline);
    }
  }
  std::string text;
  for (const std::string& line : lines) text += line;

  // Whatever the lines looked like: the file now says exactly what it said, but for what was asked.
  const std::string cannot = "a setting of " + (changes.empty() ? std::string("a check") : changes.front().check_id) +
                             " stands in a way that can't be changed line by line; write it below a line [checks.\"...\"]";
  try {
    if (toml::parse(text, path) != wanted) refuse(path, cannot);
  } catch (const toml::parse_error&) {
    refuse(path, cannot);
  }
  return text;
}

Promotion apply_changes(const std::string& path, const std::vector<ConfigChange>& changes, bool dry_run, const Environment& environment) {
  const std::string before = read(path);
  const Config config_before = parse_config(before, path, environment);
  const std::string after = edited(before, changes, path);
  const Config config_after = parse_config(after, path, environment);
  if (const std::string why = epochcut::refusal(paged_checks(config_after)); !why.empty()) refuse(path, "the revision is refused: " + why);

  Promotion promotion{config_before.revision, config_after.revision, "", {}};
  if (before == after) return promotion;
  const std::vector<std::string> old_lines = lines_of(before), new_lines = lines_of(after);
  // Lines are only changed or inserted, never moved: one walk finds them.
  for (std::size_t i = 0, k = 0; k < new_lines.size(); ++k) {
    if (i < old_lines.size() && old_lines[i] == new_lines[k]) {
      ++i;
      continue;
    }
    const bool inserted = i >= old_lines.size() || (k + 1 < new_lines.size() && new_lines[k + 1] == old_lines[i]);
    if (!inserted) promotion.lines.push_back("-" + std::string(trimmed(old_lines[i++])));
    promotion.lines.push_back("+" + std::string(trimmed(new_lines[k])));
  }
  promotion.kept = path + "." + config_before.revision;
  if (dry_run) return promotion;

  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) refuse(path, "the file can't be read");
  const mode_t mode = info.st_mode & 0777;
  write_durably(promotion.kept, before, mode);
  const std::string beside = path + ".new";
  write_durably(beside, after, mode);
  if (read(path) != before) {
    ::unlink(beside.c_str());
    refuse(path, "somebody else has changed the file meanwhile; look at it and try again");
  }
  if (std::rename(beside.c_str(), path.c_str()) != 0) {
    ::unlink(beside.c_str());
    refuse(path, "the new revision can't be put in place");
  }
  sync_folder(path);
  return promotion;
}

int promote_command(const std::string& config_path, std::vector<std::string> arguments, std::ostream& out, std::ostream& err) {
  constexpr const char* usage = R"(usage: recon_engine promote plan|apply [...]

  plan  --check LIVE-ID --from DATE     the dated steps of one check; DATE: when it begins on production
  apply --check LIVE-ID --step STEP     changes the configuration file in one revision; STEP: soak, promote or retire
        --dry-run                       says what would change, and changes nothing
        --unproved WHY                  promote although the soak does not say so; WHY goes to the output

A revision in which an invariant has no check that pages, or two, is refused. The revision before is kept as FILE.REVISION; to go back, copy it back.

examples:
  recon_engine promote plan --check transactions-balance-live --from 2026-06-15
  recon_engine promote apply --check transactions-balance-live --step promote --dry-run
)";
  const auto bad = [&](const std::string& why) {
    err << "recon_engine promote: " << why << "\n" << usage;
    return 64;
  };
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << usage;
    return 0;
  }
  if (arguments.empty()) return bad("say plan or apply");
  const std::string verb = arguments[0];
  std::string live_id, from, step, unproved;
  bool dry_run = false;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& a = arguments[i];
    if (a == "--dry-run") {
      dry_run = true;
      continue;
    }
    std::string* value = a == "--check" ? &live_id : a == "--from" ? &from : a == "--step" ? &step : a == "--unproved" ? &unproved : nullptr;
    if (value == nullptr) return bad("there is no option " + a);
    if (++i == arguments.size()) return bad(a + " takes a value");
    *value = arguments[i];
  }
  const CheckInfo* live = find_check(live_id);
  const CheckInfo* old = nullptr;
  for (const CheckInfo& info : all_checks)
    if (live != nullptr && info.invariant == live->invariant && !info.live) old = &info;
  if (live == nullptr || !live->live || old == nullptr) return bad("--check names one of the live checks; `recon_engine checks` lists them");
  const std::string old_id(old->id);

  if (verb == "plan") {
    if (from.empty()) return bad("plan takes --from DATE");
    const std::vector<epochcut::PromotionStep> plan = epochcut::promotion_plan(old_id, live_id, instant_of(from));
    for (const epochcut::PromotionStep& s : plan) {
      out << (s.at ? epochcut::to_text(*s.at).substr(0, 10) : "later     ") << "  " << s.where << "  " << to_string(s.id) << ": " << s.what << "\n";
      for (const ConfigChange& c : s.changes)
        out << "              [checks.\"" << c.check_id << "\"] " << c.key << " = " << (c.value ? "true" : "false") << "\n";
      if (!s.roll_back.empty()) out << "              to take it back: " << s.roll_back << "\n";
    }
    return 0;
  }
  if (verb != "apply") return bad("there is no \"" + verb + "\"");
  const std::vector<epochcut::PromotionStep> plan = epochcut::promotion_plan(old_id, live_id, Instant{});
  const auto found = std::find_if(plan.begin(), plan.end(), [&](const epochcut::PromotionStep& s) { return !s.changes.empty() && to_string(s.id) == step; });
  if (found == plan.end()) return bad("--step is soak, promote or retire");
  if (found->id == epochcut::StepId::promote) {
    if (!unproved.empty()) {
      out << "promoted without the soak's word: " << unproved << "\n";
    } else {
      const epochcut::SoakReport report = soak_of(load_config(config_path), *live, std::nullopt, std::nullopt);
      out << to_text(report);
      if (report.decision != epochcut::SoakDecision::promote) {
        err << "recon_engine promote: the soak of " << live_id << " does not say promote; nothing was changed\n";
        return 1;
      }
    }
  }
  const Promotion done = apply_changes(config_path, found->changes, dry_run);
  for (const std::string& line : done.lines) out << line << "\n";
  if (done.lines.empty())
    out << "nothing to change: revision " << done.revision_before << " says so already\n";
  else if (dry_run)
    out << "would become revision " << done.revision_after << "\n";
  else
    out << "revision " << done.revision_after << " is in place, " << done.revision_before << " is kept as " << done.kept
        << "; SIGHUP makes a running recon_engine read it\n";
  return 0;
}

}  // namespace recon_engine
