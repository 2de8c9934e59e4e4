#include "exchange/corruption.hpp"

#include <array>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <epochcut/core/decimal.hpp>

#include "exchange/fold.hpp"
#include "exchange/mark_rows.hpp"
#include "exchange/postgres_writer.hpp"

namespace exchange {

using epochcut::Decimal;
using epochcut::Failure;
using epochcut::Reason;

namespace {

const std::array<std::string, 6> fault_names{"change_amount", "delete_row", "extra_row", "duplicate_row", "conflicting_row", "truncate"};
/// The last leg of an event, which no event uses.
constexpr std::uint64_t unused_leg(int bits) { return (std::uint64_t{1} << bits) - 1; }

/// A row as text; tabs within values are escaped, so splitting is safe.
using Fields = std::vector<std::string>;

Fields split(std::string_view row) {
  Fields fields(1);
  for (char c : row.substr(0, row.find('\n')))
    if (c == '\t')
      fields.emplace_back();
    else
      fields.back() += c;
  return fields;
}

std::string join(const Fields& fields) {
  std::string row;
  for (const std::string& field : fields) (row += row.empty() ? "" : "\t") += field;
  return row + "\n";
}

struct Columns {
  std::size_t account, currency, amount;
  std::string amount_name;
  int leg_bits = exchange::leg_bits;
  std::size_t leg = 2;  ///< 0: there is no such column
};

Columns columns_of(const std::string& relation) {
  if (relation == "transactions") return {5, 8, 9, "amount"};
  if (relation == "positions") return {5, 7, 10, "realized_pnl"};
  if (relation == "mark_pnl") return {2, 4, 5, "total_pnl", mark_leg_bits, 0};
  throw Failure(Reason::configuration, "there is no relation \"" + relation + "\"; there are transactions, positions and mark_pnl");
}

std::string plus(const std::string& amount, const std::string& delta) {
  const auto a = epochcut::parse_decimal(amount), d = epochcut::parse_decimal(delta);
  const auto sum = a && d ? add(*a, *d) : std::nullopt;
  if (!sum || !sum->at_scale(money_scale)) throw Failure(Reason::configuration, "\"" + delta + "\" is not an amount of at most 8 digits after the point");
  return to_string(*sum->at_scale(money_scale));
}

}  // namespace

Fault fault_of(const std::string& name) {
  std::string all;
  for (std::size_t i = 0; i < fault_names.size(); ++i) {
    if (fault_names[i] == name) return static_cast<Fault>(i);
    (all += i == 0 ? "" : ", ") += fault_names[i];
  }
  throw Failure(Reason::configuration, "there is no fault \"" + name + "\"; there are " + all);
}

const std::string& name_of(Fault fault) { return fault_names[static_cast<std::size_t>(fault)]; }

std::string to_string(const Corruption& c) {
  std::string text = name_of(c.fault) + " in " + c.relation;
  if (c.fault == Fault::truncate) return text;
  text += ": event id " + std::to_string(c.event_id) + " (sequence " + std::to_string(c.sequence) + "), account " + c.account + ", currency " + c.currency;
  if (!c.kind.empty()) text += ", kind " + c.kind;
  if (!c.before.empty() && !c.after.empty()) return text + ", " + c.before + " -> " + c.after;
  return text + ", " + (c.before.empty() ? c.after : c.before);
}

Corruptor::Corruptor(const std::string& clickhouse, Layout layout) : server_(clickhouse), layout_(std::move(layout)) { layout_.validate(); }

std::uint64_t Corruptor::pick(const std::string& relation, std::uint64_t sequence, const std::string& kind) {
  const Columns columns = columns_of(relation);
  const std::string leg = std::to_string(unused_leg(columns.leg_bits));
  bool known = kind.empty();
  for (std::string_view name : transaction_kind_names) known |= kind == name;
  if (!known) throw Failure(Reason::configuration, "there is no kind \"" + kind + "\" of transactions");
  const std::string id = server_.query("SELECT max(event_id) FROM " + table(relation) + " WHERE bitAnd(event_id, " + leg + ") != " + leg + " AND event_id < " +
                                       std::to_string((sequence + 1) << columns.leg_bits) + (kind.empty() ? "" : " AND kind = '" + kind + "'"));
  if (id == "0\n") throw Failure(Reason::not_found, table(relation) + " has no such row up to sequence " + std::to_string(sequence));
  return std::stoull(id);
}

Corruption Corruptor::plant(Fault fault, const std::string& relation, std::uint64_t event_id, const std::string& delta) {
  const Columns columns = columns_of(relation);
  Corruption c;
  c.fault = fault, c.relation = relation;
  if (fault == Fault::truncate) {
    server_.execute("TRUNCATE TABLE " + table(relation));
    return c;
  }
  c.row = server_.query("SELECT * FROM " + table(relation) + " WHERE event_id = " + std::to_string(event_id) + " LIMIT 1");
  if (c.row.empty()) throw Failure(Reason::not_found, table(relation) + " has no event id " + std::to_string(event_id));
  Fields fields = split(c.row);
  c.event_id = event_id, c.sequence = event_id >> columns.leg_bits;
  c.account = fields[columns.account], c.currency = fields[columns.currency], c.kind = relation == "transactions" ? fields[7] : "";
  std::string& amount = fields[columns.amount];
  c.before = c.after = amount;
  switch (fault) {
    case Fault::change_amount:
      c.after = plus(amount, delta);
      mutate(relation, "UPDATE " + columns.amount_name + " = " + columns.amount_name + " + toDecimal64('" + plus("0", delta) +
                           "', 8) WHERE event_id = " + std::to_string(event_id));
      break;
    case Fault::delete_row:
      c.after.clear();
      mutate(relation, "DELETE WHERE event_id = " + std::to_string(event_id));
      break;
    case Fault::extra_row:
      c.before.clear();
      c.event_id = c.sequence << columns.leg_bits | unused_leg(columns.leg_bits);
      fields[0] = std::to_string(c.event_id);
      if (columns.leg != 0) fields[columns.leg] = std::to_string(unused_leg(columns.leg_bits));
      server_.insert(table(relation), join(fields));
      break;
    case Fault::duplicate_row: server_.insert(table(relation), c.row); break;
    case Fault::conflicting_row:
      c.after = amount = plus(amount, delta);
      server_.insert(table(relation), join(fields));
      break;
    case Fault::truncate: break;
  }
  return c;
}

void Corruptor::undo(const Corruption& c) {
  const Columns columns = columns_of(c.relation);
  const std::string row = " WHERE event_id = " + std::to_string(c.event_id);
  switch (c.fault) {
    case Fault::change_amount:
      mutate(c.relation, "UPDATE " + columns.amount_name + " = toDecimal" + (c.relation == "transactions" ? "64" : "128") + "('" + c.before + "', 8)" + row);
      break;
    case Fault::delete_row: server_.insert(table(c.relation), c.row); break;
    case Fault::extra_row: mutate(c.relation, "DELETE" + row); break;
    case Fault::duplicate_row:
    case Fault::conflicting_row:
      mutate(c.relation, "DELETE" + row);
      server_.insert(table(c.relation), c.row);
      break;
    case Fault::truncate: throw Failure(Reason::configuration, "a truncated table can't be restored from here");
  }
}

void Corruptor::mutate(const std::string& relation, const std::string& change) {
  server_.execute("ALTER TABLE " + table(relation) + " " + change);
  // ALTER only writes the mutation down. A faulty one never ends, so the wait is bounded.
  const std::string open = "SELECT count() FROM system.mutations WHERE database = '" + layout_.database + "' AND table = '" + relation + "' AND NOT is_done";
  for (int attempt = 0; attempt < 3'000; ++attempt) {
    if (server_.query(open) == "0\n") return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  throw Failure(Reason::timeout, "the mutation of " + table(relation) + " has not ended within a minute");
}

Corruption corrupt_newest(const EngineOptions& options, Fault fault, const std::string& relation, const std::string& kind, const std::string& delta) {
  Corruptor corruptor(options.clickhouse, options.layout);
  PostgresWriter ledger(options.postgres);
  const auto token = ledger.execute("SELECT sequence FROM " + options.layout.schema + ".resume_tokens WHERE stream = $1 AND authority = $2",
                                    {std::string(relation == "mark_pnl" ? mark_stream_id : stream_id), options.layout.authority});
  if (token.rows() != 1) throw Failure(Reason::missing_token, "there is no token of authority " + options.layout.authority);
  return corruptor.plant(fault, relation, corruptor.pick(relation, std::stoull(std::string(token(0, 0))), kind), delta);
}

std::string change_balance(const std::string& postgres, const Layout& layout, const std::string& delta) {
  layout.validate();
  PostgresWriter ledger(postgres);
  const std::string balances = layout.schema + ".balances";
  const auto changed = ledger.execute("UPDATE " + balances + " SET amount = amount + $1::numeric WHERE (account, currency) = (SELECT account, currency FROM " +
                                          balances + " ORDER BY account, currency LIMIT 1) RETURNING account || ' ' || currency",
                                      {plus("0", delta)});
  if (changed.rows() != 1) throw Failure(Reason::not_found, balances + " is empty");
  return std::string(changed(0, 0));
}

}  // namespace exchange
