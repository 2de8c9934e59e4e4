#include "exchange/candidate.hpp"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

namespace exchange {

using epochcut::AuthorityRow;
using epochcut::CandidateStep;
using epochcut::Failure;
using epochcut::Reason;

namespace {

/// What production may be ahead of its own acknowledgements, and a marker behind what has been folded.
constexpr std::size_t recent_events = 20'000;
constexpr std::uint64_t catch_up_batch = 2'000;  ///< events; with production's own it would never catch up with a production that has as many as it can

EngineOptions for_shadow(EngineOptions options) {
  options.generation = 0;
  options.rate = 0;  // production's pace is its pace
  options.recent = std::max(recent_events, 4 * static_cast<std::size_t>(options.batch));
  options.batch = std::max(options.batch, catch_up_batch);  // it never passes production, so this is for one that is far behind
  options.write_path = WritePath::acknowledged;
  options.inserts = {};
  options.commit_log.clear();  // which is of production's commits
  return options;
}

}  // namespace

std::string build_id_of_this_program() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  epochcut::RowHash hash;
  hash.absorb(std::string_view(bytes));
  return to_text(Chain{hash.digest().sum_high, hash.digest().sum_low}).substr(0, 16);
}

Candidate::Candidate(CandidateOptions options) : options_(std::move(options)), ledger_(options_.shadow.postgres), engine_(for_shadow(options_.shadow)) {
  options_.production.validate();
  const std::string& production = options_.production.schema;
  if (ledger_
          .execute("SELECT FROM " + production + ".resume_tokens WHERE stream = $1 AND authority = $2",
                   {std::string(mark_stream_id), options_.production.authority})
          .rows() != 0)
    throw Failure(Reason::configuration, "authority " + options_.production.authority +
                                             " has marks, whose stream can't be handed over yet: a candidate for it would never be let through");
  build_ = options_.build_id.empty() ? build_id_of_this_program() : options_.build_id;
  if (options_.build_id.empty() && options_.shadow.bug != PlantedBug::none) build_ += "-rounding";
  ledger_.execute("INSERT INTO " + options_.shadow.layout.schema + ".engine_build (engine, build_id) VALUES ($1, $2)", {options_.shadow.name, build_});
}

bool Candidate::step() {
  production_ = read_authority(ledger_, options_.production);
  const AuthorityRow shadow = read_authority(ledger_, options_.shadow.layout);
  const bool armed = production_.marker && production_.marker->successor == options_.shadow.name;
  const bool recorded = armed && production_.marker->splice_id == recorded_;
  const CandidateStep next = candidate_step(production_, shadow, options_.shadow.name, recorded, options_.lag);
  switch (next.action) {
    case CandidateStep::Action::follow: engine_.step(next.upto); break;
    case CandidateStep::Action::record: record(next.upto); break;
    case CandidateStep::Action::wait: std::this_thread::sleep_for(armed ? options_.armed_poll : options_.poll); break;
    case CandidateStep::Action::take_over: reach(options_.shadow, CrashPoint::taken_over, engine_.sequence()); return true;
  }
  return false;
}

void Candidate::record(std::uint64_t last) {
  const std::string id = production_.marker->splice_id;
  const std::optional<Chain> chain = engine_.chain_at(last);
  if (!chain) {  // folded too long ago to say; the owner will not wait for us
    std::this_thread::sleep_for(options_.poll);
    return;
  }
  reach(options_.shadow, CrashPoint::chain_unrecorded, last);
  const auto done =
      ledger_.prepared("record", epochcut::postgres::record_chain(authority_tables(options_.production)),
                       {std::string(stream_id), options_.production.authority, id, options_.shadow.name, std::to_string(last), to_text(*chain), build_});
  if (done.affected() == 1) recorded_ = id;
  reach(options_.shadow, CrashPoint::chain_recorded, last);
}

}  // namespace exchange
