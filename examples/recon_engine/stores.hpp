// Whom do the checks ask?
// The stores as the checks know them, and the two sources that no server is: the custodian's holdings, joined to what the analytics store has earned, and
// zero. Templates over the stores, so that the same definitions run on servers and in memory. One thread per object. Errors: epochcut::Failure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epochcut/cut/epoch_cut.hpp>
#include <epochcut/verdict/bracket.hpp>

namespace recon_engine {

/// What a custodian holds of one currency.
struct Holding {
  std::string currency;
  epochcut::Decimal amount;
};

/// Keeps the money that the ledger accounts for.
class Custodian {
 public:
  virtual ~Custodian() = default;
  virtual epochcut::InFlight sample(const epochcut::Control& control) = 0;
  /// One per currency. Errors: `incomplete` if none is listed though transfers have begun: nothing held is not nothing said.
  virtual std::vector<Holding> holdings(const epochcut::Control& control) = 0;
};

inline constexpr std::size_t custodian_bytes_max = 1 << 20;  ///< of an answer; a custodian of a thousand currencies says less
inline constexpr epochcut::Millis custodian_timeout{5'000};  ///< of one request, if the check's own deadline is not nearer

/// Strict: what is not exactly the documented JSON is `schema`, and amounts are decimal texts.
std::vector<Holding> parse_holdings(std::string_view json);
epochcut::InFlight parse_transfers(std::string_view json);

/// Over HTTP: GET /holdings and GET /transfers.
class HttpCustodian final : public Custodian {
 public:
  explicit HttpCustodian(std::string url);
  ~HttpCustodian() override;
  epochcut::InFlight sample(const epochcut::Control& control) override;
  std::vector<Holding> holdings(const epochcut::Control& control) override;

 private:
  std::string get(const std::string& path, const epochcut::Control& control);
  std::string url_;
  void* curl_;
};

/// The analytics store with the custodian's holdings added to each sum per currency. What proves the rows complete is the store's own proof, which passes
/// through; that holdings and rows belong together is what the bracket around the reads decides. Asks for sums by "currency" only.
template <class Source>
class WithHoldings {
 public:
  WithHoldings(Source& source, Custodian& custodian) : source_(&source), custodian_(&custodian) {}

  epochcut::AnyCursor open(const epochcut::QueryPlan& plan, const epochcut::AsOf& as_of, epochcut::Form form, const epochcut::Control& control) {
    using namespace epochcut;
    if (plan.by != std::vector<std::string>{"currency"} || plan.measures.size() != 1 || plan.measures[0].kind != Measure::Kind::sum)
      throw Failure(Reason::configuration, "holdings are added to one sum by currency, and to nothing else");
    const std::vector<Holding> holdings = custodian_->holdings(control);
    auto&& source = readable(*source_);
    auto [rows, proof] = collect(source.open(plan, as_of, form, control), control);
    const std::string& sum = plan.measures[0].name;
    std::vector<std::pair<std::string, Decimal>> totals;
    for (const Holding& held : holdings) totals.emplace_back(held.currency, held.amount);
    const Column &currencies = rows.column("currency"), &sums = rows.column(sum);
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      const Value currency = currencies[row], amount = sums[row];
      if (currency.null || amount.null) throw Failure(Reason::schema, "a sum by currency has a NULL in it; correct what fills " + plan.relation);
      auto at = std::find_if(totals.begin(), totals.end(), [&](const auto& total) { return total.first == currency.text; });
      if (at == totals.end())
        totals.emplace_back(std::string(currency.text), amount.as_decimal());
      else if (const auto total = epochcut::add(at->second, amount.as_decimal()))
        at->second = *total;
      else
        throw Failure(Reason::overflow, "holdings and profits of " + at->first + " need more than 38 digits together");
    }
    std::sort(totals.begin(), totals.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    Relation joined;
    joined.add("currency", Role::key, Type::text);
    joined.add(sum, Role::value, Type::decimal, scale_of(totals));
    for (const auto& [currency, amount] : totals) {
      joined.fields[0].column.append(std::string_view(currency));
      joined.fields[1].column.append(amount);
    }
    return AnyCursor(new RelationCursor(std::move(joined), std::move(proof)));
  }
  epochcut::Visible visible(const std::string& relation, const epochcut::AsOf& as_of, const epochcut::Control& control) {
    auto&& source = epochcut::readable(*source_);
    return source.visible(relation, as_of, control);
  }
  epochcut::FollowerInfo about(const std::string& relation, const epochcut::Control& control) {
    auto&& source = epochcut::readable(*source_);
    epochcut::FollowerInfo info = source.about(relation, control);
    info.relation += " and the custodian's holdings";
    return info;
  }

 private:
  static int scale_of(const std::vector<std::pair<std::string, epochcut::Decimal>>& totals) {
    int scale = 0;
    for (const auto& total : totals) scale = std::max(scale, static_cast<int>(total.second.scale));
    return scale;
  }

  Source* source_;
  Custodian* custodian_;
};

/// A follower read over DISTINCT event ids: one that crashed holds the rows of a replayed batch twice. A read at a cut finds out by its proof; at rest nothing
/// tells, and each replay would be a break.
template <class Source>
class Distinct {
 public:
  explicit Distinct(Source& source) : source_(&source) {}

  epochcut::AnyCursor open(const epochcut::QueryPlan& plan, const epochcut::AsOf& as_of, epochcut::Form, const epochcut::Control& control) {
    auto&& source = epochcut::readable(*source_);
    return source.open(plan, as_of, epochcut::Form::distinct, control);
  }
  epochcut::Visible visible(const std::string& relation, const epochcut::AsOf& as_of, const epochcut::Control& control) {
    auto&& source = epochcut::readable(*source_);
    return source.visible(relation, as_of, control);
  }
  epochcut::FollowerInfo about(const std::string& relation, const epochcut::Control& control) {
    auto&& source = epochcut::readable(*source_);
    return source.about(relation, control);
  }

 private:
  Source* source_;
};

/// The relation `zero` beside an anchor's own: it has no row, as of every epoch. With `absent_is_zero` it is the other side of "this adds up to nothing".
inline constexpr const char* zero_relation = "zero";

template <class Anchor>
class WithZero {
 public:
  explicit WithZero(Anchor& anchor) : anchor_(&anchor) {}

  epochcut::Snapshot snapshot(std::span<const epochcut::QueryPlan> plans, const epochcut::Control& control) {
    std::vector<epochcut::QueryPlan> asked;
    for (const epochcut::QueryPlan& plan : plans)
      if (plan.relation != zero_relation) asked.push_back(plan);
    epochcut::Snapshot all = anchor_->snapshot(std::span<const epochcut::QueryPlan>(asked), control);
    std::vector<epochcut::Relation> relations;
    std::vector<epochcut::Proof> proofs;
    for (std::size_t i = 0, next = 0; i < plans.size(); ++i) {
      const bool zero = plans[i].relation == zero_relation;
      relations.push_back(zero ? nothing(plans[i]) : std::move(all.relations[next]));
      proofs.push_back(zero ? epochcut::Proof{} : std::move(all.proofs[next]));
      if (zero) {
        if (all.token) proofs.back().snapshot = all.token->epoch;
        proofs.back().server = all.server;
      } else
        ++next;
    }
    all.relations = std::move(relations), all.proofs = std::move(proofs);
    return all;
  }
  std::optional<epochcut::Acknowledged> acknowledged(const epochcut::Token& token, const std::string& authority, const std::string& relation,
                                                     const epochcut::Control& control) {
    return anchor_->acknowledged(token, authority, relation, control);
  }
  epochcut::FollowerInfo about(const std::string& relation, const epochcut::Control& control) {
    if (relation == zero_relation) return {zero_relation, {}, {}};
    return anchor_->about(relation, control);
  }

  epochcut::AnyCursor open(const epochcut::QueryPlan& plan, const epochcut::AsOf& as_of, epochcut::Form form, const epochcut::Control& control) {
    if (plan.relation != zero_relation) return anchor_->open(plan, as_of, form, control);
    return epochcut::AnyCursor(new epochcut::RelationCursor(nothing(plan), {}));
  }
  epochcut::Visible visible(const std::string& relation, const epochcut::AsOf& as_of, const epochcut::Control& control) {
    if (relation != zero_relation) return anchor_->visible(relation, as_of, control);
    return {};
  }

 private:
  static epochcut::Relation nothing(const epochcut::QueryPlan& plan) {
    epochcut::Relation empty;
    for (const std::string& column : plan.by) empty.add(column, epochcut::Role::key, epochcut::Type::text);
    for (const epochcut::Measure& m : plan.measures) empty.add(m.name, epochcut::Role::value, epochcut::Type::decimal);
    return empty;
  }

  Anchor* anchor_;
};

/// What one check asks; each check has its own. `marks` hands out the token of the mark cycles, `marked` reads what they wrote.
template <class Ledger, class Analytics>
struct Stores {
  Ledger* ledger = nullptr;
  Analytics* analytics = nullptr;
  Ledger* marks = nullptr;
  Analytics* marked = nullptr;
  Custodian* custodian = nullptr;
  std::string authority = "production";
};

}  // namespace recon_engine
