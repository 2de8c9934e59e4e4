// The splice on real servers, a process per engine: who may write what, an authority that changes hands under load ten times, and a zombie's rows.
#include "splice/scene.hpp"

#include <cstdio>

#include "exchange/clickhouse_writer.hpp"

using namespace handover;
using exchange::ClickhouseWriter;

namespace {

std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Failure& failure) {
    return failure.engine_code + " " + failure.message;
  }
  return "it was allowed";
}

}  // namespace

TEST_CASE("each role may write what is its own, and both servers refuse the rest") {
  Scene scene;
  PostgresWriter production(servers()["POSTGRES_PRODUCTION"]), shadow(servers()["POSTGRES_SHADOW"]), tool(servers()["POSTGRES_CUTOVER"]);
  const auto forbidden = [&](PostgresWriter& role, const std::string& sql) {
    INFO(sql);
    CHECK(refusal([&] { role.execute(sql); }).substr(0, 5) == "42501");
  };
  for (const std::string table :
       {"balances", "transactions", "resume_tokens", "resume_token_digests", "mark_cycles", "quiet_windows", "epochcut_seam", "epochcut_verdict"}) {
    forbidden(shadow, "DELETE FROM public." + table);
    forbidden(shadow, "TRUNCATE public." + table);
    forbidden(shadow, "INSERT INTO public." + table + " DEFAULT VALUES");
    forbidden(tool, "DELETE FROM public." + table);
    if (table != "epochcut_seam" && table != "epochcut_verdict") forbidden(tool, "INSERT INTO public." + table + " DEFAULT VALUES");
    if (table != "epochcut_verdict") forbidden(production, "DELETE FROM public." + table);
  }
  for (const std::string column : {"sequence", "generation", "owner", "stop_at", "chain"}) {
    forbidden(shadow, "UPDATE public.resume_tokens SET " + column + " = NULL");
    forbidden(production, "UPDATE candidate.resume_tokens SET " + column + " = NULL");
  }
  forbidden(shadow, "UPDATE public.balances SET amount = amount + 1");
  forbidden(shadow, "SELECT FROM public.balances");
  forbidden(shadow, "CREATE TABLE public.mine ()");
  forbidden(production, "INSERT INTO public.epochcut_verdict DEFAULT VALUES");
  forbidden(production, "INSERT INTO public.epochcut_chain DEFAULT VALUES");
  forbidden(production, "SELECT FROM candidate.balances");
  for (const std::string column : {"sequence", "latest_execution_ns", "chain", "hold_at"})
    forbidden(tool, "UPDATE public.resume_tokens SET " + column + " = NULL");
  for (const std::string column : {"sequence", "generation", "owner", "stop_at"}) forbidden(tool, "UPDATE candidate.resume_tokens SET " + column + " = NULL");
  forbidden(tool, "UPDATE public.balances SET amount = amount + 1");
  // What is theirs they may do, or the refusals above would prove little.
  shadow.execute("UPDATE candidate.resume_tokens SET hold_at = NULL WHERE false");
  shadow.execute("SELECT sequence FROM public.resume_tokens");
  production.execute("UPDATE public.balances SET amount = amount WHERE false");
  tool.execute("UPDATE candidate.resume_tokens SET hold_at = NULL, hold_until = NULL WHERE false");

  ClickhouseWriter owner(servers()["CLICKHOUSE_PRODUCTION"]), candidate(servers()["CLICKHOUSE_SHADOW"]);
  for (const std::string sql :
       {"INSERT INTO exchange.transactions (event_id) VALUES (1)", "SELECT count() FROM exchange.transactions", "DROP TABLE exchange.transactions",
        "TRUNCATE TABLE exchange.transactions", "ALTER TABLE exchange.transactions DELETE WHERE 1", "DROP DATABASE exchange",
        "CREATE TABLE exchange.mine (a Int8) ENGINE = Memory", "RENAME TABLE exchange.mark_stream TO exchange.mine"}) {
    INFO(sql);
    CHECK(refusal([&] { candidate.execute(sql); }).substr(0, 3) == "291");
  }
  CHECK(refusal([&] { owner.execute("INSERT INTO exchange_candidate.transactions (event_id) VALUES (1)"); }).substr(0, 3) == "291");
  candidate.query("SELECT count() FROM exchange_candidate.transactions");
  owner.query("SELECT count() FROM exchange.transactions");
}

TEST_CASE("an authority changes hands ten times under load, and a zombie's rows do not count") {
  Scene scene;
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  constexpr std::uint64_t splices = 10;
  std::vector<SeamRow> seams;
  for (std::uint64_t i = 0; i < splices; ++i) {
    const SpliceReport report = scene.splice_to(i % 2 == 0 ? "candidate" : "incumbent");
    REQUIRE(report.seam);
    CHECK(report.seam->from_gen == i + 1);
    CHECK(report.seam->to_gen == i + 2);
    if (!seams.empty()) CHECK(report.seam->s > seams.back().s);
    seams.push_back(*report.seam);
  }
  wait_for([&] { return scene.row().committed_seq > seams.back().s + 3 * Scene::batch; }, "the last owner goes on");
  scene.stop_all();
  const AuthorityRow row = scene.row();
  CHECK(row.owner == "incumbent");
  CHECK(row.generation == splices + 1);
  CHECK_FALSE(row.marker);
  scene.require_sound(splices);
  // Each deposed process left with the code that a supervisor does not take for a crash.
  for (const char* engine : {"incumbent", "candidate"}) {
    const std::vector<int> codes = scene.codes(engine);
    CHECK(static_cast<std::uint64_t>(std::count(codes.begin(), codes.end(), 3)) == splices / 2);
  }
  // The ledger's own rows say where each generation ended: not every event has one, so the stream says which numbers are meant.
  const auto with_row = [&](std::uint64_t sequence, int step) {
    for (;; sequence = step < 0 ? sequence - 1 : sequence + 1)
      if (scene.ledger.execute("SELECT FROM transactions WHERE sequence = $1", {std::to_string(sequence)}).rows() != 0) return std::to_string(sequence);
  };
  for (const SeamRow& seam : seams) {
    CHECK(scene.ledger.execute("SELECT max(sequence) FROM transactions WHERE generation = $1", {std::to_string(seam.from_gen)})(0, 0) ==
          with_row(seam.s - 1, -1));
    CHECK(scene.ledger.execute("SELECT min(sequence) FROM transactions WHERE generation = $1", {std::to_string(seam.to_gen)})(0, 0) == with_row(seam.s, 1));
  }
  const exchange::AuditReport report = scene.audit();
  std::printf("%s", to_text(report).c_str());
  CHECK(report.pauses.size() == splices);
  for (const exchange::SeamPause& pause : report.pauses) CHECK(pause.milliseconds < 10'000);

  // A writer that was deposed ten generations ago wakes up and sends what it had in hand, with other content than the owner wrote.
  scene.analytics.execute(
      "INSERT INTO exchange.transactions SELECT event_id, sequence, leg, execution_ns, trade_id, account, instrument, kind, currency, amount + 1, memo, 1 "
      "FROM exchange.transactions WHERE sequence > " +
      std::to_string(seams.back().s));
  for (const Outcome& outcome : scene.check_follower()) {
    INFO(epochcut::to_text(outcome));
    CHECK(outcome.status == Status::pass);
  }
  // The control: whoever does not know the seams is misled.
  const Outcome misled = scene.check_follower(Scene::Seams::ignored)[0];
  INFO(epochcut::to_text(misled));
  CHECK(misled.status == Status::fail);
}

TEST_CASE("what a dead owner had still on its way to ClickHouse its successor sends again, as of the generation that owned it") {
  Scene scene;
  scene.options = {"--issued", "--lag-ms", "1500"};
  scene.start("incumbent", "run");
  scene.start("candidate", "shadow");
  wait_for([&] { return scene.row().committed_seq >= 10 * Scene::batch; }, "the incumbent commits");
  scene.stop("incumbent", SIGKILL);
  const auto acknowledged = [&] { return std::stoull(std::string(scene.ledger.execute("SELECT min(acked_sequence) FROM resume_token_digests")(0, 0))); };
  const std::uint64_t committed = scene.row().committed_seq;
  REQUIRE(acknowledged() < committed);
  wait_for([&] { return scene.shadow_of("candidate") == committed; }, "the candidate has all of it");
  // Nobody is left to stop: the very next event is the successor's.
  const SpliceReport report = scene.splice_once("candidate", 1);
  INFO(report.why);
  REQUIRE(report.state == SpliceState::confirmed);
  CHECK(report.seam->s == committed + 1);
  CHECK(acknowledged() >= committed);
  wait_for([&] { return scene.row().committed_seq >= committed + 4 * Scene::batch; }, "the candidate goes on");
  scene.stop_all();
  CHECK(acknowledged() == scene.row().committed_seq);
  CHECK(scene.analytics.query("SELECT max(generation) FROM exchange.positions WHERE sequence <= " + std::to_string(committed)) == "1\n");
  scene.require_sound(1);
}
