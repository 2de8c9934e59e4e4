#include <epochcut/cut/epoch_cut.hpp>

#include "testing/small_exchange.hpp"

using namespace small_exchange;

namespace {
using Cut = EpochCut<Memory>;
Cut cut_of(Exchange& x, const std::vector<Query>& queries = {}) { return Cut(x.ledger, std::span<const Query>(queries), {.clock = &x.clock}); }
Read read(const Cut& cut, Exchange& x, HorizonPolicy policy = {}) { return cut.read(x.analytics, sums(), policy, {.clock = &x.clock}); }

/// A source that can only scan.
struct Scanning {
  Relation rows;
  Relation scan(const std::string& relation) const {
    if (relation != "transactions") throw Failure(Reason::not_found, "there is no " + relation);
    return rows;
  }
};
}  // namespace

TEST_CASE("a cut is a value: what the ledger does later does not change it") {
  Exchange x;
  x.run(three);
  const Cut cut = cut_of(x, {balances(), current("balances").count()});
  x.run({{4, "EUR", 1}});
  CHECK(cut.size() == 2);
  CHECK(cut.token()->epoch == Epoch{3, 0});
  CHECK(lines(cut[0].rows) == Lines{"EUR 7.50", "USD 5.00"});
  CHECK(lines(cut[1].rows) == Lines{"2"});
  CHECK(cut[0].witness == Witness::snapshot);
  CHECK(cut.server().name == "ledger");
  const Cut copy = cut;
  CHECK(lines(read(copy, x).rows) == Lines{"EUR 7.50", "USD 5.00"});  // as of sequence 3, though 4 is visible
}

TEST_CASE("a follower is read until its own digest equals the token's") {
  Exchange x;
  x.run(three, Millis{120});
  const Read r = read(cut_of(x), x);
  CHECK(r.completeness == Completeness::proved);
  CHECK(r.form == Form::plain);
  CHECK(*r.proof.ids == *r.expected);
  CHECK(r.waited >= Millis{120});
  CHECK(lines(r.rows) == Lines{"EUR 7.50", "USD 5.00"});
}

TEST_CASE("how a follower is not complete") {
  Exchange x;
  x.run(three);
  x.publish({three[0]});
  CHECK(read(cut_of(x), x).completeness == Completeness::proved_distinct);
  x.publish({{2, "EUR", 1, 7}});
  const Read surplus = read(cut_of(x), x);
  CHECK(surplus.completeness == Completeness::surplus);
  CHECK(surplus.waited == Millis{0});  // no waiting can make it complete
  x.remove([](std::uint64_t id) { return id >> 8 == 2; });
  const Read short_of = read(cut_of(x), x);
  CHECK(short_of.completeness == Completeness::short_of);
  CHECK(short_of.waited == Millis{30'000});
  CHECK(short_of.acknowledgement == Acknowledgement::unknown);
  x.acknowledge(3, "analytics");
  CHECK(read(cut_of(x), x).acknowledgement == Acknowledgement::here);
  x.acknowledge(99, "elsewhere");
  CHECK(read(cut_of(x), x).acknowledgement == Acknowledgement::elsewhere);
  x.acknowledge(2, "analytics");
  CHECK(read(cut_of(x), x).acknowledgement == Acknowledgement::unknown);
}

TEST_CASE("acked waits for the acknowledgement of the server that it reads") {
  Exchange x;
  x.digests = false;
  x.run(three);
  const HorizonPolicy acked{.witness = Witness::acked, .budget = Millis{500}};
  CHECK(read(cut_of(x), x, acked).completeness == Completeness::short_of);
  x.acknowledge(3, "other");
  CHECK(read(cut_of(x), x, acked).acknowledgement == Acknowledgement::elsewhere);
  x.acknowledge(3);
  const Read r = read(cut_of(x), x, acked);
  CHECK(r.completeness != Completeness::short_of);
  CHECK(lines(r.rows) == Lines{"EUR 7.50", "USD 5.00"});
}

TEST_CASE("max_version waits for a row at or past the epoch") {
  Exchange x;
  x.digests = false;
  x.token.stream.acknowledged = true;
  x.run({three[0], three[1]});
  const HorizonPolicy policy{.witness = Witness::max_version, .budget = Millis{500}};
  x.commit({three[2]});
  CHECK(read(cut_of(x), x, policy).completeness == Completeness::short_of);  // a quiet market: no row at 3 will ever come
  x.publish({three[2]});
  CHECK(read(cut_of(x), x, policy).completeness != Completeness::short_of);
}

TEST_CASE("the horizon is seen on one server and read from the same") {
  Exchange x;
  x.token.stream.acknowledged = true;
  x.token.relations.clear();  // without a digest it takes a second statement to prove anything
  x.publish(three);
  x.token.epoch = {3, 0};
  x.store();
  Hooked balanced{&x.analytics};
  balanced.after = [](Proof& proof, Relation&) { proof.server.name = "replica 2"; };
  const Cut cut = cut_of(x);
  CHECK(refusal([&] { cut.read(balanced, sums(), {.witness = Witness::max_version}, {.clock = &x.clock}); }) == Reason::replica_changed);
}

TEST_CASE("what can't be read as of an epoch is refused") {
  Exchange x;
  x.run(three);
  const Cut cut = cut_of(x);
  const auto why = [&](const Query& q, HorizonPolicy policy = {}) { return refusal([&] { cut.read(x.analytics, q, policy, {.clock = &x.clock}); }); };
  CHECK(why(sums()) == Reason::none);
  CHECK(why(current("transactions").by("currency").sum("amount")) == Reason::not_as_of);
  x.analytics.create("other", transactions({}));
  CHECK(why(events("other").count()) == Reason::undeclared_relation);
  CHECK(why(events("transactions")) == Reason::configuration);
  CHECK(why(sums(), {.witness = Witness::max_version}) == Reason::configuration);
  CHECK(why(sums(), {.witness = Witness::snapshot}) == Reason::configuration);
  CHECK(why(sums(), {.witness = Witness::at_rest}) == Reason::configuration);
  x.analytics.declare("other_stream", "");
  CHECK(why(sums()) == Reason::wrong_stream);
  x.token.stream.leg_bits = 62;
  x.store();
  CHECK(refusal([&] { cut_of(x, {balances()}); }) == Reason::configuration);
  Memory bare("bare", x.clock);
  const Cut no_token(bare, std::span<const Query>(), {.clock = &x.clock});
  CHECK(refusal([&] { no_token.read(x.analytics, sums(), {}, {.clock = &x.clock}); }) == Reason::missing_token);
}

TEST_CASE("a source that can only scan is read the same way") {
  Exchange x;
  x.run(three);
  Scanning scan{transactions({three[2], three[0], three[1], {4, "EUR", 9}})};
  const Cut cut = cut_of(x);
  const Read r = cut.read(scan, sums(), {}, {.clock = &x.clock});
  CHECK(r.completeness == Completeness::proved);
  CHECK(lines(r.rows) == Lines{"EUR 7.50", "USD 5.00"});
  CHECK(refusal([&] { cut.read(scan, sums(), {}, {.clock = &x.clock, .rows_max = 3}); }) == Reason::too_large);
  scan.rows = transactions({three[0], three[0], three[1], three[2]});
  CHECK(cut.read(scan, sums(), {}, {.clock = &x.clock}).completeness == Completeness::proved_distinct);
}

TEST_CASE("a second read is taken as the first was, and compared with the token again") {
  Exchange x;
  x.run(three);
  x.publish({{2, "EUR", 1, 7}});
  const Cut cut = cut_of(x);
  const Read first = read(cut, x), again = cut.read_again(x.analytics, sums(), first, {.clock = &x.clock});
  CHECK(first.form == Form::distinct);
  CHECK(again.form == Form::distinct);
  CHECK(again.completeness == Completeness::surplus);
  CHECK(again.proof.ids == first.proof.ids);
  CHECK(again.full_reads == first.full_reads + 1);
  x.remove([](std::uint64_t id) { return (id & 255) == 7; });
  CHECK(cut.read_again(x.analytics, sums(), first, {.clock = &x.clock}).completeness == Completeness::proved_distinct);
}

TEST_CASE("a read at rest takes everything and proves nothing") {
  Exchange x;
  x.run(three);
  x.publish({{9, "EUR", 1}});
  const Read r = read_at_rest(x.analytics, sums(), {.clock = &x.clock});
  CHECK(r.witness == Witness::at_rest);
  CHECK(r.completeness == Completeness::unknown);
  CHECK(lines(r.rows) == Lines{"EUR 7.51", "USD 5.00"});
  CHECK(lines(read_at_rest(x.ledger, balances(), {.clock = &x.clock}).rows) == Lines{"EUR 7.50", "USD 5.00"});
}

TEST_CASE("blocks are collected whole, or not at all") {
  const Relation a = transactions({three[0]}), b = transactions({three[1], three[2]});
  CHECK(collect(AnyCursor(new BlockCursor({a, transactions({}), b})), Control{}).first.rows() == 3);
  CHECK(collect(AnyCursor(new BlockCursor({transactions({})})), Control{}).first.fields.size() == 4);
  CHECK(refusal([&] { collect(AnyCursor(new BlockCursor({a, b})), Control{.rows_max = 2}); }) == Reason::too_large);
  CHECK(refusal([&] { collect(AnyCursor(new BlockCursor({a, b})), Control{.bytes_max = 50}); }) == Reason::too_large);
  Cancel cancel;
  cancel.request();
  CHECK(refusal([&] { collect(AnyCursor(new BlockCursor({a})), Control{.cancel = &cancel}); }) == Reason::cancelled);
}

TEST_CASE("how complete a side is has a name") {
  CHECK(to_string(Completeness::proved) == "proved");
  CHECK(to_string(Completeness::proved_distinct) == "proved_distinct");
  CHECK(to_string(Completeness::surplus) == "surplus");
  CHECK(to_string(Completeness::short_of) == "short_of");
  CHECK(to_string(Completeness::unknown) == "unknown");
}

TEST_CASE("state is read from a follower that stands at the epoch by a token of its own, and from no other") {
  Exchange x;
  x.run(three);
  const Cut cut = cut_of(x);
  Epoch stands{3, 0};
  int looks = 0;
  const Relation rows = table({{"currency", Role::key, Type::text}, {"amount", Role::value, Type::decimal, 2}}, {{"EUR", money(750)}});
  x.analytics.create("balances", rows.empty_copy());
  x.analytics.insert("balances", rows);
  x.analytics.declare("trade_engine", "shadow");
  Hooked shadow{&x.analytics};
  shadow.after = [&](Proof& proof, Relation&) {
    ++looks;
    proof.snapshot = stands;
  };
  const auto read = [&] { return cut.read(shadow, balances(), {.budget = Millis{500}}, {.clock = &x.clock}); };
  CHECK(lines(read().rows) == Lines{"EUR 7.50"});
  CHECK(read().witness == Witness::snapshot);
  CHECK(read().completeness == Completeness::proved);
  stands = {4, 0};  // past the epoch is no better than short of it
  CHECK(refusal(read) == Reason::not_as_of);
  stands = {2, 0};
  CHECK(refusal(read) == Reason::not_as_of);
  shadow.after = [&](Proof&, Relation&) {};
  CHECK(refusal(read) == Reason::not_as_of);  // it says nothing of where it stands
  shadow.after = [&](Proof& proof, Relation&) {
    if (++looks < 3) throw Failure(Reason::not_as_of, "it still stands elsewhere").retry();
    proof.snapshot = Epoch{3, 0};
  };
  looks = 0;
  CHECK(read().attempts == 3);  // what is on its way there is waited for
  looks = -1'000'000;
  const Millis before = x.clock.now();
  CHECK(refusal(read) == Reason::not_as_of);
  CHECK(x.clock.now() - before <= Millis{600});
}
