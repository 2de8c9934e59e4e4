// How does PostgreSQL say fence, arm, disarm and flip?
// Layer: source, pure: text in, text out, no libpq. One statement each, written once: an engine, the tool and the tests send the same text.
// For READ COMMITTED: a statement that has waited for the row checks its WHERE again on what it finds then. With standbys, replication must be
// synchronous: a failover that forgets a flip would revive the old owner. Meaning: operate/memory_authority.hpp. Source: docs/splice/README.md.
#pragma once

#include <string>
#include <vector>

#include <epochcut/source/postgres_sql.hpp>

namespace epochcut::postgres {

/// Where the authority's row and what belongs to it are kept. Names may be `schema.table`.
struct AuthorityTables {
  std::string token = "resume_tokens";        ///< as in TokenTable
  std::string verdicts = "epochcut_verdict";  ///< what gates have said
  std::string chains = "epochcut_chain";      ///< where candidates stand at a seam
  std::string seams = "epochcut_seam";        ///< what flips have left behind; as in TokenTable
};

/// Adds what a splice needs to a token table that is there already, each statement idempotent. The owner of the rows that are there: `owner`. Seams and
/// verdicts know authorities by name alone: two streams that are spliced each need an authority of their own name.
inline std::vector<std::string> create_authority(const AuthorityTables& tables, const std::string& owner) {
  if (owner.empty() || owner.find('\'') != std::string::npos || owner.find('\\') != std::string::npos)
    throw Failure(Reason::configuration, "\"" + owner + "\" can't be an engine's name; leave quotes and backslashes out");
  return {
      // The database itself refuses to pass a stop marker.
      "ALTER TABLE " + quoted_relation(tables.token) + " ADD COLUMN IF NOT EXISTS owner text COLLATE \"C\" NOT NULL DEFAULT '" + owner +
          "', ADD COLUMN IF NOT EXISTS chain bytea NOT NULL DEFAULT decode(repeat('00', 16), 'hex')"
          ", ADD COLUMN IF NOT EXISTS hold_at bigint"
          ", ADD COLUMN IF NOT EXISTS hold_until timestamptz CHECK ((hold_at IS NULL) = (hold_until IS NULL))"
          ", ADD COLUMN IF NOT EXISTS stop_at bigint CHECK (stop_at IS NULL OR sequence < stop_at)"
          ", ADD COLUMN IF NOT EXISTS successor text COLLATE \"C\" CHECK ((stop_at IS NULL) = (successor IS NULL) AND successor IS DISTINCT FROM owner)"
          ", ADD COLUMN IF NOT EXISTS splice_id uuid CHECK ((stop_at IS NULL) = (splice_id IS NULL))"
          ", ADD COLUMN IF NOT EXISTS verdict_id uuid"
          ", ADD COLUMN IF NOT EXISTS arms bigint NOT NULL DEFAULT 0",
      "CREATE TABLE IF NOT EXISTS " + quoted_relation(tables.verdicts) +
          " (verdict_id uuid PRIMARY KEY, authority text COLLATE \"C\" NOT NULL, candidate text COLLATE \"C\" NOT NULL, build_id text COLLATE \"C\" NOT NULL, "
          "sequence bigint NOT NULL, decision text COLLATE \"C\" NOT NULL CHECK (decision IN ('go', 'no_go', 'not_yet', 'void', 'override')), "
          "reason text NOT NULL, proof jsonb NOT NULL, signed_off_by text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())",
      "CREATE TABLE IF NOT EXISTS " + quoted_relation(tables.chains) +
          " (splice_id uuid PRIMARY KEY, authority text COLLATE \"C\" NOT NULL, candidate text COLLATE \"C\" NOT NULL, sequence bigint NOT NULL, "
          "chain bytea NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())",
      "CREATE TABLE IF NOT EXISTS " + quoted_relation(tables.seams) +
          " (splice_id uuid PRIMARY KEY, authority text COLLATE \"C\" NOT NULL, from_gen bigint NOT NULL, to_gen bigint NOT NULL CHECK (to_gen = from_gen + 1), "
          "s bigint NOT NULL, verdict_id uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (authority, to_gen))",
  };
}

/// $1 stream, $2 authority. Columns: generation, owner, sequence, chain (hex), stop_at, successor, splice_id, hold_at, arms. A hold that
/// has run out is none.
inline std::string read_authority(const AuthorityTables& tables) {
  return "SELECT generation, owner, sequence, encode(chain, 'hex'), stop_at, successor, splice_id, CASE WHEN hold_until > clock_timestamp() THEN hold_at END, arms FROM " +
         quoted_relation(tables.token) + " WHERE stream = $1 AND authority = $2";
}

/// The commit's own compare-and-set: one row, or roll back and read the row again. $1 new sequence, $2 its nanosecond, $3 chain (hex), $4 stream,
/// $5 authority, $6 generation, $7 the sequence that was read, $8 owner. Returns what the row says of the next batch: stop_at, successor, splice_id, hold_at.
inline std::string fence(const AuthorityTables& tables) {
  return "UPDATE " + quoted_relation(tables.token) +
         " SET sequence = $1, latest_execution_ns = $2, chain = decode($3, 'hex') WHERE stream = $4 AND authority = $5 AND generation = $6 AND sequence = $7 "
         "AND owner = $8 AND (stop_at IS NULL OR $1 < stop_at) AND (hold_at IS NULL OR hold_until <= clock_timestamp() OR $1 <= hold_at) "
         "RETURNING stop_at, successor, splice_id, CASE WHEN hold_until > clock_timestamp() THEN hold_at END";
}

/// $1 stream, $2 authority, $3 generation, $4 stop_at, $5 successor, $6 splice_id, $7 build_id, $8 least sequence of the verdict, $9 its greatest age
/// in milliseconds, $10 how often the row had been armed when it was read, or -1. One row, or it is refused. The NEWEST verdict counts: a later no_go takes
/// an earlier go back. An arm outlives its client as a COMMIT does; the count is why it arms nothing after its own disarm.
inline std::string arm(const AuthorityTables& tables) {
  return "UPDATE " + quoted_relation(tables.token) +
         " AS t SET stop_at = $4::bigint, successor = $5::text, splice_id = $6::uuid, verdict_id = v.verdict_id, arms = t.arms + 1 FROM (SELECT * FROM " +
         quoted_relation(tables.verdicts) +
         " WHERE authority = $2 AND candidate = $5 AND build_id = $7 ORDER BY at DESC, verdict_id LIMIT 1) AS v "
         "WHERE t.stream = $1 AND t.authority = $2 AND t.generation = $3 AND t.stop_at IS NULL AND t.sequence < $4 AND t.owner <> $5 AND $10::bigint IN (-1, t.arms) "
         "AND v.decision = 'go' AND v.sequence >= $8 AND v.at > clock_timestamp() - $9 * interval '1 millisecond' "
         "AND NOT EXISTS (SELECT FROM " +
         quoted_relation(tables.seams) +
         " AS s WHERE s.splice_id = $6) "
         // A standby that may miss a commit may forget a flip, and then two engines hold one generation.
         "AND current_setting('synchronous_commit') IN ('on', 'remote_apply') "
         "AND (current_setting('synchronous_standby_names') <> '' OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_replication))";
}

/// $1 stream, $2 authority, $3 splice_id. One row, or that marker is not there.
inline std::string disarm(const AuthorityTables& tables) {
  return "UPDATE " + quoted_relation(tables.token) +
         " SET stop_at = NULL, successor = NULL, splice_id = NULL, verdict_id = NULL WHERE stream = $1 AND authority = $2 AND splice_id = $3";
}

/// The successor stands at the last event before the seam, for THIS splice. $1 stream, $2 authority, $3 splice_id, $4 candidate, $5 sequence, $6 chain
/// (hex), $7 its build. No row: that marker is not there, or is not for this candidate in this build.
inline std::string record_chain(const AuthorityTables& tables) {
  return "INSERT INTO " + quoted_relation(tables.chains) +
         " (splice_id, authority, candidate, sequence, chain) SELECT splice_id, authority, successor, $5::bigint, decode($6, 'hex') FROM " +
         quoted_relation(tables.token) + " AS t WHERE stream = $1 AND authority = $2 AND splice_id = $3 AND successor = $4 AND EXISTS (SELECT FROM " +
         quoted_relation(tables.verdicts) +
         " AS v WHERE v.verdict_id = t.verdict_id AND v.build_id = $7) ON CONFLICT (splice_id) DO UPDATE SET sequence = excluded.sequence, chain = excluded.chain";
}

/// $1 stream, $2 authority, $3 splice_id. Its seam (from_gen, to_gen, s) if this statement was the one that flipped; no row otherwise.
inline std::string flip(const AuthorityTables& tables) {
  return "WITH flipped AS (UPDATE " + quoted_relation(tables.token) +
         " AS t SET generation = t.generation + 1, owner = t.successor, stop_at = NULL, successor = NULL, splice_id = NULL FROM " +
         quoted_relation(tables.chains) +
         " AS c WHERE t.stream = $1 AND t.authority = $2 AND t.splice_id = $3 AND t.sequence = t.stop_at - 1 "
         "AND c.splice_id = t.splice_id AND c.sequence = t.sequence AND c.chain = t.chain "
         "RETURNING t.authority, t.generation, t.sequence, t.verdict_id) INSERT INTO " +
         quoted_relation(tables.seams) +
         " (splice_id, authority, from_gen, to_gen, s, verdict_id) SELECT $3::uuid, authority, generation - 1, generation, sequence + 1, verdict_id FROM flipped "
         "RETURNING from_gen, to_gen, s";
}

/// $1 splice_id. Columns: from_gen, to_gen, s.
inline std::string read_seam(const AuthorityTables& tables) {
  return "SELECT from_gen, to_gen, s FROM " + quoted_relation(tables.seams) + " WHERE splice_id = $1";
}

/// A shadow stands at $3 for at most $4 milliseconds. $1 stream, $2 authority. One row, or it is past that already.
inline std::string hold(const AuthorityTables& tables) {
  return "UPDATE " + quoted_relation(tables.token) +
         " SET hold_at = $3, hold_until = clock_timestamp() + $4 * interval '1 millisecond' WHERE stream = $1 AND authority = $2 AND sequence <= $3";
}

/// $1 stream, $2 authority.
inline std::string release(const AuthorityTables& tables) {
  return "UPDATE " + quoted_relation(tables.token) + " SET hold_at = NULL, hold_until = NULL WHERE stream = $1 AND authority = $2";
}

/// $1 verdict_id, $2 authority, $3 candidate, $4 build_id, $5 sequence, $6 decision, $7 reason, $8 proof (JSON), $9 who signs it off.
inline std::string record_verdict(const AuthorityTables& tables) {
  return "INSERT INTO " + quoted_relation(tables.verdicts) +
         " (verdict_id, authority, candidate, build_id, sequence, decision, reason, proof, signed_off_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
}

}  // namespace epochcut::postgres
