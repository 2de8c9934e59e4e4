#include "cutover/facts.hpp"

#include <algorithm>

#include <epochcut/verdict/report.hpp>

#include "exchange/stream.hpp"

namespace cutover {

using namespace epochcut;
using json::escaped;
using json::member;

namespace {

std::uint64_t number(const std::optional<std::string>& text) { return text ? std::stoull(*text) : 0; }
constexpr const char* utc = "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"";

std::string time_of(const std::string& column) { return "to_char(" + column + " AT TIME ZONE 'UTC', '" + utc + "')"; }

}  // namespace

std::string length_text(Millis length) {
  const std::int64_t s = std::max<std::int64_t>(length.count(), 0) / 1000;
  if (s < 120) return std::to_string(s) + " s";
  if (s < 7'200) return std::to_string(s / 60) + " min";
  return std::to_string(s / 3'600) + " h" + (s / 60 % 60 != 0 ? " " + std::to_string(s / 60 % 60) + " min" : "");
}

std::optional<Build> build_of(Asker& asker, const std::string& engine) {
  exchange::layout_of(engine).validate();
  if (!asker.ask("SELECT to_regclass($1) IS NOT NULL", {engine + ".engine_build"}).at(0).at(0).value_or("f").starts_with("t")) return std::nullopt;
  const auto rows =
      asker.ask("SELECT build_id, " + time_of("started_at") + " FROM " + engine + ".engine_build WHERE engine = $1 ORDER BY started_at DESC LIMIT 1", {engine});
  if (rows.empty() || !rows[0][0]) return std::nullopt;
  return Build{*rows[0][0], rows[0][1].value_or("")};
}

std::uint64_t verdict_floor(const Facts& facts) { return facts.seams.empty() ? 0 : facts.seams.front().s; }

std::string refused(const std::optional<VerdictFact>& verdict, const std::optional<Build>& build, std::uint64_t floor, Millis age_max) {
  if (!build) return "its build is not known: it has not run yet";
  if (!verdict) return "no gate has said anything of it yet";
  if (verdict->build_id != build->id) return "the newest verdict is of build " + verdict->build_id + ", and it runs " + build->id;
  if (verdict->decision != "go") return "the newest verdict is " + verdict->decision;
  if (verdict->sequence < floor) return "the verdict is from before the last handover";
  if (verdict->age > age_max) return "the go is " + length_text(verdict->age) + " old, and good for " + length_text(age_max);
  return "";
}

Facts read_facts(const Place& place, Millis age_max) {
  const exchange::Layout production = place.production();
  production.validate();
  const std::string s = production.schema + ".";
  Facts facts;
  facts.row = production_authority(place).read();
  Asker asker(place.postgres);
  for (const Asker::Row& row : asker.ask(
           "SELECT splice_id, from_gen, to_gen, s, verdict_id, " + time_of("at") + " FROM " + s + "epochcut_seam WHERE authority = $1 ORDER BY to_gen DESC",
           {place.authority}))
    facts.seams.push_back({*row[0], number(row[1]), number(row[2]), number(row[3]), row[4].value_or(""), row[5].value_or("")});
  std::optional<SeamRow> newest;
  if (!facts.seams.empty()) newest = SeamRow{facts.seams[0].splice_id, facts.seams[0].from_gen, facts.seams[0].to_gen, facts.seams[0].s};
  for (const Asker::Row& schema : asker.ask("SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
                                            "c.relname = 'resume_tokens' AND n.nspname <> $1 AND has_schema_privilege(n.oid, 'USAGE') AND "
                                            "has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
                                            {production.schema})) {
    const std::string& name = *schema[0];
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) continue;  // not one of ours
    CandidateFact candidate{.name = name};
    try {
      const auto token =
          asker.ask("SELECT sequence FROM " + name + ".resume_tokens WHERE stream = $1 AND authority = $2", {std::string(exchange::stream_id), name});
      if (token.empty()) continue;
      candidate.sequence = number(token[0][0]);
      candidate.build = build_of(asker, name);
    } catch (const Failure& failure) {
      if (failure.kind != Reason::not_found) throw;
      continue;  // dropped since it was listed
    }
    const auto verdicts = asker.ask("SELECT verdict_id, build_id, sequence, decision, reason, signed_off_by, " + time_of("at") +
                                        ", (extract(epoch FROM clock_timestamp() - at) * 1000)::bigint FROM " + s +
                                        "epochcut_verdict WHERE authority = $1 AND candidate = $2 ORDER BY at DESC, verdict_id LIMIT 1",
                                    {place.authority, name});
    if (!verdicts.empty()) {
      const Asker::Row& v = verdicts[0];
      candidate.verdict = VerdictFact{.verdict_id = *v[0],
                                      .build_id = *v[1],
                                      .decision = *v[3],
                                      .reason = *v[4],
                                      .signed_off_by = *v[5],
                                      .at = *v[6],
                                      .sequence = number(v[2]),
                                      .age = Millis(std::stoll(*v[7]))};
    }
    candidate.go_refused = refused(candidate.verdict, candidate.build, verdict_floor(facts), age_max);
    const bool armed_for_it = facts.row.marker && facts.row.marker->successor == name;
    if (armed_for_it)
      candidate.state = splice_state(facts.row, std::nullopt, true, true);
    else if (facts.row.owner == name)
      candidate.state = newest ? splice_state(facts.row, newest, true, true) : SpliceState::confirmed;  // the first owner was spliced in by nobody
    else
      candidate.state = candidate.go_refused.empty() ? SpliceState::verified : SpliceState::staged;
    facts.candidates.push_back(std::move(candidate));
  }
  // Of the authority as a whole: what is under way, else the furthest of its candidates.
  if (facts.row.marker)
    facts.state = splice_state(facts.row, std::nullopt, true, true);
  else if (newest && facts.row.committed_seq < newest->s)
    facts.state = SpliceState::flipped;
  else
    for (const CandidateFact& candidate : facts.candidates)
      if (candidate.name != facts.row.owner) facts.state = std::max(facts.state, candidate.state);
  return facts;
}

std::string to_text(const Facts& facts, const Place& place) {
  const AuthorityRow& row = facts.row;
  std::string text = place.authority + ": " + std::string(to_string(facts.state)) + "\n";
  text += "  owner      " + row.owner + ", generation " + std::to_string(row.generation) + ", committed up to " + std::to_string(row.committed_seq) + "\n";
  if (row.marker)
    text += "  marker     stops before " + std::to_string(row.marker->stop_at) + "; " + row.marker->successor + " goes on; splice " + row.marker->splice_id +
            "\n             take it back with: cutover abort     see it through with: cutover resume\n";
  for (const CandidateFact& c : facts.candidates) {
    text += "  candidate  " + c.name + ": ";
    if (c.name == row.owner) {
      text += "owns " + place.authority + " (" + std::string(to_string(c.state)) + ")\n";
      continue;
    }
    const std::uint64_t behind = row.committed_seq > c.sequence ? row.committed_seq - c.sequence : 0;
    text += std::string(to_string(c.state)) + ", shadow at " + std::to_string(c.sequence) +
            (behind > 0 ? ", " + std::to_string(behind) + " events behind" : "") + "\n";
    text += "             build " + (c.build ? c.build->id + ", started " + c.build->started : "unknown") + "\n";
    if (c.verdict)
      text += "             verdict " + c.verdict->decision + " at " + std::to_string(c.verdict->sequence) + ", " + length_text(c.verdict->age) +
              " old, signed off by " + printable(c.verdict->signed_off_by) + ": " + printable(c.verdict->reason) + "\n";
    text += c.go_refused.empty() ? "             may be spliced: cutover splice --candidate " + c.name + "\n"
                                 : "             can't be spliced: " + c.go_refused + "\n";
  }
  for (std::size_t i = 0; i < facts.seams.size() && i < 5; ++i)
    text += "  seam       " + facts.seams[i].at + "  generation " + std::to_string(facts.seams[i].from_gen) + " -> " + std::to_string(facts.seams[i].to_gen) +
            " from " + std::to_string(facts.seams[i].s) + " on\n";
  if (facts.seams.size() > 5) text += "             ... and " + std::to_string(facts.seams.size() - 5) + " older\n";
  return text;
}

std::string to_json(const Facts& facts) {
  const AuthorityRow& row = facts.row;
  std::string out = "{" + member("authority", escaped(row.authority)) + "," + member("state", escaped(to_string(facts.state))) + "," +
                    member("owner", escaped(row.owner)) + "," + member("generation", std::to_string(row.generation)) + "," +
                    member("committed_seq", std::to_string(row.committed_seq)) + "," + member("chain", escaped(to_text(row.chain)));
  if (row.marker)
    out += "," + member("marker", "{" + member("stop_at", std::to_string(row.marker->stop_at)) + "," + member("successor", escaped(row.marker->successor)) +
                                      "," + member("splice_id", escaped(row.marker->splice_id)) + "}");
  std::string list;
  for (const CandidateFact& c : facts.candidates) {
    list += (list.empty() ? "{" : ",{") + member("name", escaped(c.name)) + "," + member("state", escaped(to_string(c.state))) + "," +
            member("sequence", std::to_string(c.sequence));
    if (c.build) list += "," + member("build_id", escaped(c.build->id)) + "," + member("started", escaped(c.build->started));
    if (c.verdict)
      list +=
          "," + member("verdict", "{" + member("verdict_id", escaped(c.verdict->verdict_id)) + "," + member("build_id", escaped(c.verdict->build_id)) + "," +
                                      member("decision", escaped(c.verdict->decision)) + "," + member("sequence", std::to_string(c.verdict->sequence)) + "," +
                                      member("age_ms", std::to_string(c.verdict->age.count())) + "," + member("reason", escaped(c.verdict->reason)) + "," +
                                      member("signed_off_by", escaped(c.verdict->signed_off_by)) + "}");
    list += "," + member("refused", escaped(c.go_refused)) + "}";
  }
  out += "," + member("candidates", "[" + list + "]");
  list.clear();
  for (const SeamFact& s : facts.seams)
    list += (list.empty() ? "{" : ",{") + member("splice_id", escaped(s.splice_id)) + "," + member("from_gen", std::to_string(s.from_gen)) + "," +
            member("to_gen", std::to_string(s.to_gen)) + "," + member("s", std::to_string(s.s)) + "," + member("verdict_id", escaped(s.verdict_id)) + "," +
            member("at", escaped(s.at)) + "}";
  return out + "," + member("seams", "[" + list + "]") + "}";
}

}  // namespace cutover
