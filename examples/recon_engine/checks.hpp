// What must hold?
// Each invariant is defined once, as a Question: what is compared with what, and by which rules. Its two checks differ only in how they read: `live` at
// one cut while both stores are written, `windowed` at rest while nobody writes. Templates over the stores; one thread per set of stores.
// Source: RFC live-checks, "Old and new differ only in how they read, never in what invariant they assert".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/verdict/bracket.hpp>
#include <epochcut/verdict/check.hpp>

#include "recon_engine/catalogue.hpp"
#include "recon_engine/stores.hpp"

namespace recon_engine {

/// One thing that must equal another.
struct Comparison {
  std::string name;  ///< for people, where a question has several
  epochcut::Query left, right;
  std::vector<epochcut::Rule> rules{};
};

/// One invariant: all of its comparisons hold, at ONE cut.
struct Question {
  std::string_view invariant;
  std::vector<Comparison> comparisons;
};

namespace asked {

using epochcut::current, epochcut::events, epochcut::latest;

/// A sum of no rows at all is nothing on either side: an account that never paid has no transactions.
inline epochcut::Rule sum(std::string column) { return {.column = std::move(column), .absent_is_zero = true}; }

/// The ledger's balances are what its transactions add up to, per account and currency.
inline Question transactions_balance() {
  return {"transactions-balance",
          {{"balances",
            current("balances").by("account", "currency").sum("amount"),
            events("transactions").by("account", "currency").sum("amount"),
            {sum("amount")}}}};
}

/// What the positions say was earned is what was booked as earned, per account and instrument.
inline Question position_realized_pnls_balance() {
  return {"position-realized-pnls-balance",
          {{"profits",
            latest("positions").per("account", "instrument").by("account", "instrument").sum("realized_pnl"),
            events("transactions").where("kind", "realized_pnl").by("account", "instrument").sum("amount").as("realized_pnl"),
            {sum("realized_pnl")}}}};
}

/// What one side of a trade wins the other loses: all marked positions of a currency add up to nothing, in the newest cycle and over all of them.
/// The newest cycle has a row for every position there ever was, so the latest row per position is that cycle.
inline Question pnl_is_zero_sum() {
  const epochcut::Query nothing = current(zero_relation).by("currency").sum("total_pnl");
  return {"pnl-is-zero-sum",
          {{"newest cycle", latest("mark_pnl").per("account", "instrument").by("currency").sum("total_pnl"), nothing, {sum("total_pnl")}},
           {"all cycles", events("mark_pnl").by("currency").sum("total_pnl"), nothing, {sum("total_pnl")}}}};
}

/// What customers are owed is what the custodian holds for them and what they have won from each other, per currency.
inline Question omnibus_balances_square() {
  return {"omnibus-balances-square",
          {{"balances",
            current("balances").by("currency").sum("amount"),
            events("transactions").where("kind", "realized_pnl").by("currency").sum("amount"),
            {sum("amount")}}}};
}

/// All comparisons of a question as one outcome: the worst speaks, of several the first that names keys, and costs add up.
inline epochcut::Outcome all_of(std::vector<epochcut::Outcome> outcomes, const Question& question, std::string id) {
  std::vector<epochcut::Status> statuses;
  for (const epochcut::Outcome& o : outcomes) statuses.push_back(o.status);
  const epochcut::Status status = epochcut::all_of(statuses);
  std::size_t speaks = 0;
  while (outcomes[speaks].status != status) ++speaks;
  for (std::size_t i = speaks; outcomes[speaks].differences.empty() && i < outcomes.size(); ++i)
    if (outcomes[i].status == status && !outcomes[i].differences.empty()) speaks = i;
  epochcut::Outcome all = outcomes[speaks];
  all.id = std::move(id);
  if (outcomes.size() > 1) all.message = question.comparisons[speaks].name + ": " + outcomes[speaks].message;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const epochcut::Outcome& o = outcomes[i];
    if (i == speaks) continue;
    all.question += o.question;
    for (auto side : {&epochcut::Outcome::left, &epochcut::Outcome::right}) {
      (all.*side).bytes += (o.*side).bytes, (all.*side).wire_rows += (o.*side).wire_rows;
      (all.*side).took += (o.*side).took, (all.*side).full_reads += (o.*side).full_reads;
      (all.*side).waited = std::max((all.*side).waited, (o.*side).waited);
    }
    all.took = std::max(all.took, o.took);
    if (status == epochcut::Status::pass)
      all.message += "; " + question.comparisons[i].name + ": " + o.message;
    else if (o.status != epochcut::Status::pass)
      all.message += "; " + question.comparisons[i].name + " is " + std::string(to_string(o.status)) + ": " + std::string(to_string(o.reason));
  }
  return all;
}

/// Read at ONE cut of the anchor, everything else as of its epoch.
template <class Anchor, class Left, class Right>
epochcut::Outcome live(const CheckInfo& info, const Question& question, Anchor& anchor, Left& left, Right& right, const epochcut::CheckOptions& options) {
  std::vector<epochcut::Invariant> invariants;
  for (const Comparison& c : question.comparisons)
    invariants.push_back({.id = std::string(info.id), .left = {left, c.left}, .right = {right, c.right}, .rules = c.rules});
  return all_of(epochcut::check(anchor, std::span<const epochcut::Invariant>(invariants), options), question, std::string(info.id));
}

/// The same at rest: each side as it stands.
template <class Anchor, class Left, class Right>
epochcut::Outcome windowed(const CheckInfo& info, const Question& question, Anchor& anchor, Left& left, Right& right, const epochcut::CheckOptions& options) {
  std::vector<epochcut::Invariant> invariants;
  for (const Comparison& c : question.comparisons)
    invariants.push_back(
        {.id = std::string(info.id), .left = {epochcut::at_rest(left), c.left}, .right = {epochcut::at_rest(right), c.right}, .rules = c.rules});
  return all_of(epochcut::check(anchor, std::span<const epochcut::Invariant>(invariants), options), question, std::string(info.id));
}

/// The id of the quiet window that is drained and has not ended; nothing while anybody may write. Errors: as a read.
template <class Ledger>
std::optional<std::string> quiet_window(Ledger& ledger, const std::string& authority, const epochcut::Control& control) {
  using epochcut::Comparison;
  const epochcut::Read read = epochcut::read_at_rest(ledger,
                                                     current("quiet_windows")
                                                         .where("authority", authority)
                                                         .where("drained", Comparison::is_not_null)
                                                         .where("ended", Comparison::is_null)
                                                         .key("id")
                                                         .values("authority"),
                                                     control);
  if (read.rows.rows() == 0) return std::nullopt;
  return epochcut::to_string(read.rows.column("id")[read.rows.rows() - 1]);
}

/// Reading at rest means something only while nobody writes: before the reads AND after them, in one window. Otherwise nothing was asserted, and even a
/// fail is discarded.
template <class Ledger, class Body>
epochcut::Outcome in_quiet_window(const CheckInfo& info, Ledger& ledger, const std::string& authority, const epochcut::CheckOptions& options, Body body) {
  epochcut::Outcome outcome;
  outcome.id = info.id;
  epochcut::checking::guarded(std::span(&outcome, 1), [&] {
    const auto skipped = [&](const std::string& why) {
      outcome = {};
      outcome.id = info.id, outcome.authority = authority, outcome.unsynchronised = true;
      outcome.status = epochcut::Status::skipped, outcome.reason = epochcut::Reason::precondition;
      outcome.message = why + ", so the two sides need not agree; the next quiet window decides";
    };
    const auto before = quiet_window(ledger, authority, options.control);
    if (!before) return skipped("the exchange is not in a quiet window");
    epochcut::Outcome found = body();
    if (quiet_window(ledger, authority, options.control) != before) return skipped("the quiet window ended during the reads");
    outcome = std::move(found);
    outcome.authority = authority;
  });
  return outcome;
}

/// The one place where an invariant meets the stores that it is about.
template <class Ledger, class Analytics>
epochcut::Outcome answer(const CheckInfo& info, const Stores<Ledger, Analytics>& stores, const epochcut::CheckOptions& options) {
  const auto read = [&](const Question& question, auto& anchor, auto& left, auto& right) {
    return info.live ? live(info, question, anchor, left, right, options) : windowed(info, question, anchor, left, right, options);
  };
  if (info.invariant == "transactions-balance") return read(transactions_balance(), *stores.ledger, *stores.ledger, *stores.analytics);
  if (info.invariant == "position-realized-pnls-balance") return read(position_realized_pnls_balance(), *stores.ledger, *stores.analytics, *stores.analytics);
  if (info.invariant == "pnl-is-zero-sum") {
    WithZero<Ledger> marks(*stores.marks);
    return read(pnl_is_zero_sum(), marks, *stores.marked, marks);
  }
  if (stores.custodian == nullptr) throw epochcut::Failure(epochcut::Reason::configuration, "no custodian is configured; name its URL");
  WithHoldings<Analytics> analytics(*stores.analytics, *stores.custodian);
  return read(omnibus_balances_square(), *stores.ledger, *stores.ledger, analytics);
}

}  // namespace asked

/// Asks one check's question once. Never throws a Failure: an error is an outcome.
template <class Ledger, class Analytics>
epochcut::Outcome ask(const CheckInfo& info, const Stores<Ledger, Analytics>& stores, const epochcut::CheckOptions& options) {
  epochcut::Outcome outcome;
  outcome.id = info.id;
  epochcut::checking::guarded(std::span(&outcome, 1), [&] {
    if (!info.live) {
      Distinct<Analytics> analytics(*stores.analytics), marked(*stores.marked);
      const Stores<Ledger, Distinct<Analytics>> at_rest{stores.ledger, &analytics, stores.marks, &marked, stores.custodian, stores.authority};
      outcome = asked::in_quiet_window(info, *stores.ledger, stores.authority, options, [&] { return asked::answer(info, at_rest, options); });
    } else if (info.invariant == "omnibus-balances-square" && stores.custodian != nullptr) {
      outcome = epochcut::bracketed(
          std::string(info.id), [&] { return stores.custodian->sample(options.control); }, [&] { return asked::answer(info, stores, options); });
    } else {
      outcome = asked::answer(info, stores, options);
    }
  });
  return outcome;
}

}  // namespace recon_engine
