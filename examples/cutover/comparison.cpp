#include "cutover/comparison.hpp"

#include <algorithm>

#include <epochcut/verdict/planted.hpp>

#include "exchange/stream.hpp"

namespace cutover {

using namespace epochcut;

namespace {

constexpr Millis reach_poll{3};          ///< between two looks at where the shadow stands
constexpr std::size_t values_kept = 64;  ///< kinds of event, for what was exercised

/// The shadow's ledger, which stands still at the epoch from its first read on until `release`.
class HeldShadow {
 public:
  HeldShadow(const Place& place, const ComparerOptions& options)
      : options_(options),
        token_(shadow_authority(place)),
        ledger_(place.postgres_in(place.shadow().schema), {.stream = std::string(exchange::stream_id), .authority = place.candidate}) {}

  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    // Only state needs the hold: what grows can be read as of an epoch once the shadow has passed it, and it goes on meanwhile.
    if (plan.history == History::current)
      hold(as_of.epoch.sequence, control);
    else
      release();
    return ledger_.open(plan, as_of, form, control);
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return ledger_.visible(relation, as_of, control); }
  FollowerInfo about(const std::string& relation, const Control& control) { return ledger_.about(relation, control); }

  void begin_cut() { refused_.reset(); }
  void release() {
    if (!held_) return;
    held_.reset();
    token_.release();
    stood_ += SystemClock::instance().now() - since_;
  }
  /// How long it stood still since this was asked last.
  Millis stood() { return std::exchange(stood_, Millis{0}); }

 private:
  void hold(std::uint64_t at, const Control& control) {
    if (held_ == at) return;
    if (refused_ && refused_->first == at) throw refused_->second;  // it does not come to the same cut later
    release();
    since_ = control.clock->now();
    try {
      stand(at, control);
    } catch (const Failure& failure) {
      refused_.emplace(at, failure);
      release();
      throw;
    }
  }

  void stand(std::uint64_t at, const Control& control) {
    if (!token_.hold(at, options_.hold_max))
      throw Failure(Reason::not_as_of, "the shadow stands at " + std::to_string(token_.read().committed_seq) + ", past the cut at " + std::to_string(at) +
                                           ", and can't go back; start it with --lag, so that a cut is still before it");
    held_ = at;
    for (std::uint64_t stands = 0; (stands = token_.read().committed_seq) != at; control.sleep(reach_poll))
      if (stands > at || control.clock->now() - since_ >= options_.reach_max)
        throw Failure(Reason::not_as_of, "the shadow stands at " + std::to_string(stands) + " and did not come to the cut at " + std::to_string(at) +
                                             " within " + std::to_string(options_.reach_max.count()) + " ms; does it run, and keep up?");
  }

  const ComparerOptions options_;
  PostgresAuthority token_;
  Postgres ledger_;
  std::optional<std::uint64_t> held_;
  std::optional<std::pair<std::uint64_t, Failure>> refused_;
  Millis since_{0}, stood_{0};
};

/// The shadow's analytics store. Its rows say which generation of the SHADOW wrote them, and production's seams are not about those.
class ShadowAnalytics {
 public:
  explicit ShadowAnalytics(ClickHouse& store) : store_(&store) {}
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) { return store_->open(plan, own(as_of), form, control); }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return store_->visible(relation, own(as_of), control); }
  FollowerInfo about(const std::string& relation, const Control& control) { return store_->about(relation, control); }

 private:
  static AsOf own(AsOf as_of) {
    as_of.stream.generation.clear();
    as_of.seams.clear();
    return as_of;
  }
  ClickHouse* store_;
};

/// What a control reads when the comparison is to look blind.
template <class Source>
class Unplanted {
 public:
  explicit Unplanted(Planted<Source>& planted, Source& source) : planted_(&planted), source_(&source) {}
  bool blind = false;
  AnyCursor open(const QueryPlan& plan, const AsOf& as_of, Form form, const Control& control) {
    AnyCursor planted = planted_->open(plan, as_of, form, control);
    return blind ? source_->open(plan, as_of, form, control) : std::move(planted);
  }
  Visible visible(const std::string& relation, const AsOf& as_of, const Control& control) { return planted_->visible(relation, as_of, control); }
  FollowerInfo about(const std::string& relation, const Control& control) { return planted_->about(relation, control); }

 private:
  Planted<Source>* planted_;
  Source* source_;
};

/// The last event id of a sequence number: ids are what both stores have an index on.
Value last_id(std::uint64_t sequence) { return static_cast<std::int64_t>(sequence << 8 | 0xFF); }

Query rows_of(const std::string& relation, const Window& window) {
  Query query = events(relation).where("event_id", Comparison::greater, last_id(window.after));
  if (window.upto) query = query.where("event_id", Comparison::at_most, last_id(*window.upto));
  return query.values("sequence", "leg", "execution_ns", "trade_id", "account", "instrument", "currency");
}
Query transaction_rows(const Window& window) { return rows_of("transactions", window).values("kind", "amount", "memo"); }
Query position_rows(const Window& window) { return rows_of("positions", window).values("quantity", "cost", "realized_pnl", "last_note"); }
Query balances() { return current("balances").key("account", "currency").values("amount"); }
Query positions() { return latest("positions").per("account", "instrument").values("currency", "quantity", "cost", "realized_pnl", "last_note"); }
Query sums() { return events("transactions").by("account", "kind", "currency").sum("amount").count(); }
Query in_run(const std::string& relation, const Window& window) { return events(relation).where("event_id", Comparison::greater, last_id(window.run_after)); }

}  // namespace

bool CutResult::equal() const {
  return !checks.empty() && std::all_of(checks.begin(), checks.end(), [](const Outcome& o) { return o.status == Status::pass; });
}

struct Comparer::Parts {
  Parts(Place place_, ComparerOptions options_, Control control_)
      : place(std::move(place_)),
        options(options_),
        control(control_),
        ledger(production_ledger(place)),
        analytics(place.clickhouse_in(place.production().database)),
        shadow_store(place.clickhouse_in(place.shadow().database)),
        held(place, options),
        shadow(shadow_store),
        planted_state(held),
        planted_rows(analytics),
        control_state(planted_state, held),
        control_rows(planted_rows, analytics),
        asker(place.postgres) {}

  const Place place;
  const ComparerOptions options;
  const Control control;
  Postgres ledger;
  ClickHouse analytics, shadow_store;
  HeldShadow held;
  ShadowAnalytics shadow;
  Planted<HeldShadow> planted_state;
  Planted<ClickHouse> planted_rows;
  Unplanted<HeldShadow> control_state;
  Unplanted<ClickHouse> control_rows;
  Asker asker;
  std::uint64_t controls = 0;
};

Comparer::Comparer(Place place, ComparerOptions options, Control control) : parts_(std::make_unique<Parts>(std::move(place), options, control)) {}
Comparer::~Comparer() = default;

void Comparer::blind_control() { parts_->control_state.blind = parts_->control_rows.blind = true; }

CutResult Comparer::cut(const Window& window, bool with_control) {
  Parts& p = *parts_;
  const Millis start = p.control.clock->now();
  p.held.begin_cut();
  // What the hold is for comes first, so that the shadow may go on soon.
  std::vector<Invariant> asked{{"balances", {p.ledger, balances()}, {p.held, balances()}}};
  if (with_control) {
    const std::uint64_t row = p.controls++ * 7919;  // another row each time
    p.planted_state = Planted<HeldShadow>(p.held, row);
    p.planted_rows = Planted<ClickHouse>(p.analytics, row);
    asked.push_back({"control:planted-balance", {p.ledger, balances()}, {p.control_state, balances()}});
  }
  const std::size_t after_control = asked.size();
  asked.push_back({"ledger-transactions", {p.ledger, transaction_rows(window)}, {p.held, transaction_rows(window)}});
  asked.push_back({"ledger-sums", {p.ledger, sums()}, {p.held, sums()}});
  asked.push_back({"transactions", {p.analytics, transaction_rows(window)}, {p.shadow, transaction_rows(window)}});
  asked.push_back({"position-rows", {p.analytics, position_rows(window)}, {p.shadow, position_rows(window)}});
  asked.push_back({"positions", {p.analytics, positions()}, {p.shadow, positions()}});
  asked.push_back({"sums", {p.analytics, sums()}, {p.shadow, sums()}});
  asked.push_back({"kinds-in-run",
                   {p.analytics, in_run("transactions", window).by("kind").sum("amount").count()},
                   {p.shadow, in_run("transactions", window).by("kind").sum("amount").count()}});
  asked.push_back({"keys-in-run",
                   {p.analytics, in_run("positions", window).by("account", "instrument").count()},
                   {p.shadow, in_run("positions", window).by("account", "instrument").count()}});
  const std::size_t before_control = asked.size();
  if (with_control) {
    asked.push_back({"control:production-with-itself", {p.analytics, positions()}, {p.analytics, positions()}, {}, true});
    asked.push_back({"control:planted-position", {p.analytics, positions()}, {p.control_rows, positions()}, {}, true});
  }

  CheckOptions options{.horizon = p.options.horizon, .control = p.control, .differences_max = p.options.differences_max, .values_max = values_kept};
  std::vector<Outcome> found = check(p.ledger, std::span<const Invariant>(asked), options);
  CutResult result;
  try {
    p.held.release();
  } catch (const Failure&) {  // it runs out by itself
  }
  result.held = p.held.stood();
  result.took = p.control.clock->now() - start;
  if (with_control) {
    result.controls.push_back({found[0], found[1], p.planted_state.plant()});
    result.controls.push_back({found[before_control], found[before_control + 1], p.planted_rows.plant()});
  }
  for (std::size_t i = 0; i < before_control; ++i) {
    if (i > 0 && i < after_control) continue;
    Outcome& o = found[i];
    if (o.status == Status::pass) {
      const auto note = [&](const char* table) {
        if (std::find(result.exercised.tables.begin(), result.exercised.tables.end(), table) == result.exercised.tables.end())
          result.exercised.tables.push_back(table);
      };
      if (o.id == "balances") note("balances");
      if (o.id == "ledger-transactions" || o.id == "transactions") note("transactions");
      if (o.id == "position-rows") note("positions");
      if (o.id == "kinds-in-run")
        for (const std::vector<Cell>& row : o.left.values) result.exercised.kinds.push_back(to_string(row[0].value.value()));
      if (o.id == "keys-in-run") result.exercised.keys = o.left.rows;
      if (o.id == "positions") result.exercised.keys_total = o.left.rows;
    }
    o.left.values.clear(), o.right.values.clear();
    result.checks.push_back(std::move(o));
  }
  return result;
}

std::vector<Outcome> Comparer::schema() {
  Parts& p = *parts_;
  std::vector<Outcome> outcomes;
  const auto compared = [&](const std::string& id, const auto& read_left, const auto& read_right) {
    Outcome outcome;
    outcome.id = id;
    checking::guarded(std::span(&outcome, 1), [&] {
      const Relation left = read_left(), right = read_right();
      RelationCursor a(left, {}), b(right, {});
      FirstDifferences first(p.options.differences_max);
      outcome.counts = diff(a, b, std::span<const Rule>(), first);
      outcome.differences = first.take();
      const bool equal = outcome.counts.differences() == 0 && outcome.counts.equal > 0;
      outcome.status = equal ? Status::pass : Status::fail;
      outcome.reason = equal ? Reason::none : Reason::schema;
      outcome.message = equal                         ? std::to_string(outcome.counts.equal) + " columns agree"
                        : outcome.differences.empty() ? "there are no columns"
                                                      : to_text(outcome.differences[0]);
    });
    outcomes.push_back(std::move(outcome));
  };
  const auto ledger_columns = [&](const std::string& table) {
    Relation relation;
    relation.add("column", Role::key, Type::text);
    relation.add("type", Role::value, Type::text);
    // text without a collation of its own: the order is the diff's to check
    for (const Asker::Row& row :
         p.asker.ask("SELECT attname::text, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END FROM "
                     "pg_catalog.pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attname COLLATE \"C\"",
                     {table})) {
      relation.fields[0].column.append_text(*row[0]);
      relation.fields[1].column.append_text(*row[1]);
    }
    return relation;
  };
  for (const char* table : {"balances", "transactions"})
    compared(
        "schema:ledger-" + std::string(table), [&] { return ledger_columns(p.place.production().schema + "." + table); },
        [&] { return ledger_columns(p.place.shadow().schema + "." + table); });
  const auto store_columns = [&](const std::string& database, const std::string& table) {
    const Query columns = current("system.columns").where("database", Value(database)).where("table", Value(table)).key("name").values("type");
    return read_at_rest(p.analytics, columns, p.control).rows;
  };
  for (const char* table : {"transactions", "positions"})
    compared(
        "schema:" + std::string(table), [&] { return store_columns(p.place.production().database, table); },
        [&] { return store_columns(p.place.shadow().database, table); });
  return outcomes;
}

std::string Comparer::last_touched(const Outcome& outcome, const Difference& difference) {
  Parts& p = *parts_;
  if (!outcome.epoch) return "";
  std::optional<std::string> event, account, second;
  std::string second_name;
  for (const Cell& cell : difference.key) {
    const std::string text = to_string(cell.value.value());
    if (cell.name == "event_id")
      event = text;
    else if (cell.name == "account")
      account = text;
    else if (cell.name == "currency" || cell.name == "instrument")
      second = text, second_name = cell.name;
  }
  if (!event && !(account && second)) return "";
  const auto side = [&](const std::string& schema) -> std::string {
    const std::string select = "SELECT event_id, sequence, kind, amount FROM " + schema + ".transactions WHERE ";
    const std::vector<Asker::Row> rows =
        event ? p.asker.ask(select + "event_id = $1", {*event})
              : p.asker.ask(select + "account = $1 AND " + second_name + " = $2 AND sequence <= $3 ORDER BY event_id DESC LIMIT 1",
                            {*account, *second, std::to_string(outcome.epoch->sequence)});
    if (rows.empty()) return "no transaction";
    return "event " + *rows[0][0] + " (sequence " + *rows[0][1] + ", " + *rows[0][2] + " " + *rows[0][3] + ")";
  };
  try {
    return "last touched in production by " + side(p.place.production().schema) + ", in the shadow by " + side(p.place.shadow().schema);
  } catch (const Failure& failure) {
    return "what last touched it could not be looked up: " + printable(failure.message);
  }
}

}  // namespace cutover
