#include "custodian/vault.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace custodian {

namespace {

constexpr int money_scale = 8;

[[noreturn]] void fail(const std::string& path, const std::string& what) { throw std::runtime_error("the state in " + path + ": " + what); }
[[noreturn]] void fail_errno(const std::string& path, const char* what) { fail(path, std::string(what) + ": " + std::strerror(errno)); }

/// Ids and currencies stand in a line, in an address and in JSON as they are.
void require_name(const std::string& name, const char* what) {
  if (!name.empty() && name.size() <= Vault::id_bytes_max &&
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == std::string::npos)
    return;
  throw Refused(400, std::string(what) + " must be 1 to " + std::to_string(Vault::id_bytes_max) + " letters, digits, '-', '_' or '.'");
}

epochcut::Decimal money(const std::string& text) {
  const auto parsed = epochcut::parse_decimal(text);
  const auto amount = parsed ? parsed->at_scale(money_scale) : std::nullopt;
  if (!amount) throw Refused(400, "an amount must be a decimal number with at most 8 digits after the point");
  return *amount;
}

epochcut::Decimal sum_of(const epochcut::Decimal& held, const epochcut::Decimal& amount) {
  const epochcut::Int128 limit = epochcut::power_of_ten(38);
  const auto sum = add(held, amount);
  if (!sum || sum->unscaled >= limit || sum->unscaled <= -limit) throw Refused(400, "the holdings would not fit 38 digits");
  return *sum;
}

std::vector<std::string> words(std::string_view line) {
  std::vector<std::string> all(1);
  for (char c : line) c == ' ' ? static_cast<void>(all.emplace_back()) : static_cast<void>(all.back() += c);
  return all;
}

}  // namespace

Vault::Vault(std::string path) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) fail_errno(path_, "can't be opened");
  try {
    if (::flock(file_, LOCK_EX | LOCK_NB) != 0) fail(path_, "another custodian has it open");
    load();
  } catch (...) {
    ::close(file_);
    throw;
  }
}

Vault::~Vault() { ::close(file_); }

void Vault::load() {
  std::string text;
  char piece[1 << 16];
  for (ssize_t n = 0; (n = ::read(file_, piece, sizeof piece)) != 0;) {
    if (n < 0) fail_errno(path_, "can't be read");
    text.append(piece, static_cast<std::size_t>(n));
  }
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::vector<std::string> line = words(std::string_view(text).substr(begin, end - begin));
    if (line.size() == 4 && line[0] == "begin" && !transfers_.contains(line[1])) {
      apply_begin(line[1], {line[2], line[3]});
    } else if (line.size() == 2 && line[0] == "complete" && transfers_.contains(line[1])) {
      transfers_[line[1]].open = false;
    } else {
      fail(path_, "byte " + std::to_string(begin) + " begins a line that no custodian wrote");
    }
  }
  // Whoever asked for it was not answered.
  if (begin != text.size() && ::ftruncate(file_, static_cast<off_t>(begin)) != 0) fail_errno(path_, "its torn last line can't be taken off");
}

void Vault::apply_begin(const std::string& id, Transfer transfer) {
  epochcut::Decimal& held = holdings_.try_emplace(transfer.currency, epochcut::Decimal{0, money_scale}).first->second;
  held = sum_of(held, money(transfer.amount));
  transfers_[id] = std::move(transfer);
}

void Vault::append(const std::string& line) {
  // One write: another process sees all of it or, when the machine dies, a torn last line.
  const std::string text = line + "\n";
  const off_t before = ::lseek(file_, 0, SEEK_END);
  if (::write(file_, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fdatasync(file_) == 0) return;
  const int why = errno;
  // Half a line must not stand before the next one; if even that fails, the next start refuses.
  static_cast<void>(::ftruncate(file_, before) == 0);
  errno = why;
  fail_errno(path_, "can't be written");
}

void Vault::begin(const std::string& id, const std::string& currency, const std::string& amount) {
  require_name(id, "an id"), require_name(currency, "a currency");
  const std::string exact = to_string(money(amount));
  const std::scoped_lock lock(mutex_);
  if (const auto known = transfers_.find(id); known != transfers_.end()) {
    if (known->second.currency == currency && known->second.amount == exact) return;
    throw Refused(409, "transfer " + id + " is of " + known->second.amount + " " + known->second.currency);
  }
  if (const auto held = holdings_.find(currency); held != holdings_.end()) sum_of(held->second, money(exact));  // before it is written down
  append("begin " + id + " " + currency + " " + exact);
  apply_begin(id, {currency, exact});
}

void Vault::complete(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  const auto known = transfers_.find(id);
  if (known == transfers_.end()) throw Refused(404, "there is no such transfer");
  if (!known->second.open) return;
  append("complete " + id);
  known->second.open = false;
}

std::vector<Holding> Vault::holdings() const {
  const std::scoped_lock lock(mutex_);
  std::vector<Holding> all;
  for (const auto& [currency, amount] : holdings_) all.push_back({currency, to_string(amount)});
  return all;
}

InFlight Vault::in_flight() const {
  const std::scoped_lock lock(mutex_);
  InFlight all{{}, transfers_.size()};
  for (const auto& [id, transfer] : transfers_)
    if (transfer.open) all.open.push_back(id);
  return all;
}

}  // namespace custodian
