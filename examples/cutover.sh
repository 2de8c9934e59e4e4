#!/bin/sh
# A handover under load, on a fresh Debian machine: installs what is missing, builds, starts private servers, and runs the exchange as fast as it is
# asked to. A candidate is staged beside it and proved equal; then it takes production over at one number, and hands it back. A second candidate has one
# rounding error in 100 000 trades, and is never let through. All the while recon-engine checks production's invariants every other second.
#
#   sh examples/cutover.sh [--rate N] [--cuts N] [--build-dir DIR]
#
#   --rate N         executions a second (2000: some 12 000 rows a second into each of two analytics stores, on two cores)
#   --cuts N         equal cuts that the gate wants (15)
#   --build-dir DIR  build in DIR (default: build/cutover in the repository)
#   --help           this text
#
# Exit codes: 0 everything came true, 1 something did not, 2 bad usage, 3 something is missing.

set -u
repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$repository/build/cutover
rate=2000 cuts=15
scratch='' pid='' failed=no # script.sh sets them

while [ $# -gt 0 ]; do
  case $1 in
    --rate | --cuts)
      case ${2:-} in
        '' | *[!0-9]*)
          printf 'cutover.sh: %s takes a number.\n' "$1" >&2
          exit 2
          ;;
      esac
      if [ "$1" = --rate ]; then rate=$2; else cuts=$2; fi
      shift
      ;;
    --build-dir)
      [ -n "${2:-}" ] || {
        printf 'cutover.sh: --build-dir takes a folder.\n' >&2
        exit 2
      }
      build=$2
      shift
      ;;
    -h | --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *)
      printf "cutover.sh: unknown argument '%s'; --help says which there are.\n" "$1" >&2
      exit 2
      ;;
  esac
  shift
done

# shellcheck source=examples/script.sh disable=SC1091,SC2154
. "$repository/examples/script.sh"
build_targets recon exchange_cli cutover recon_engine
start_servers
bin=$build/examples

# An engine on its own turns: production's owner, or a shadow of it. Each commit's time is noted, so that the pause at the seam can be told.
engine() { # run|shadow NAME [OPTION...]
  mode=$1 engine=$2
  shift 2
  start "$engine" "$bin/exchange" "$mode" --engine "$engine" --rate "$rate" --batch 100 --commit-log "$scratch/commits" "$@"
}
committed() { ask "SELECT sequence FROM resume_tokens WHERE stream = 'trade_engine' AND authority = 'production'"; }
owner_is() { holds "owner = '$1' FROM resume_tokens WHERE stream = 'trade_engine' AND authority = 'production'"; }
# Who is deposed ends with 3, and says so.
must_end_deposed() { # NAME PID
  forget "$2"
  wait "$2"
  code=$?
  if [ "$code" -eq 3 ]; then came_true "$1 ended with code 3: deposed, not to be started again as the owner"; else came_false "$1 ended with $code, not 3"; fi
}

shadow() { # NAME [OPTION...]: started, and close behind production
  shadow=$1
  engine shadow "$@" --lag $((rate / 2))
  wait_until "$shadow follows" holds "p.sequence - s.sequence < $rate FROM resume_tokens p, $shadow.resume_tokens s
    WHERE p.stream = 'trade_engine' AND p.authority = 'production' AND s.stream = p.stream AND EXISTS (SELECT FROM $shadow.engine_build)"
}

say "the exchange begins: $rate executions a second"
"$bin/exchange" init --engine candidate || give_up "the tables could not be made"
"$bin/exchange" init --engine incumbent || give_up "the tables could not be made"
engine run incumbent
incumbent=$pid
wait_until "the first 2000 executions" holds "sequence > 2000 FROM resume_tokens WHERE stream = 'trade_engine' AND authority = 'production'"

# --- the invariants, all the while ------------------------------------------------------------------------------------------------

RECON_ENGINE_POSTGRES=$EPOCHCUT_POSTGRES_RECON
RECON_ENGINE_LOG=$EPOCHCUT_POSTGRES_LOG
RECON_ENGINE_CLICKHOUSE_PASSWORD=$(printf %s "$EPOCHCUT_CLICKHOUSE_RECON" | sed 's|.*//[^:]*:\([^@]*\)@.*|\1|')
export RECON_ENGINE_POSTGRES RECON_ENGINE_LOG RECON_ENGINE_CLICKHOUSE_PASSWORD
{
  cat <<END
[stores]
postgres_env = "RECON_ENGINE_POSTGRES"
log_env = "RECON_ENGINE_LOG"
clickhouse = "$EPOCHCUT_CLICKHOUSE"
clickhouse_user = "recon"
clickhouse_password_env = "RECON_ENGINE_CLICKHOUSE_PASSWORD"
clickhouse_database = "exchange"
custodian = "http://127.0.0.1:1"

[program]
port = 0
spool = "$scratch/spool"
END
  for id in transactions-balance position-realized-pnls-balance pnl-is-zero-sum omnibus-balances-square; do
    # An invariant without a check that pages is refused: the twins that read at rest are there, and never come up.
    printf '\n[checks."%s"]\nschedule = "0 0 0 1 1 *"\nzone = "UTC"\n\n[checks."%s-live"]\n' "$id" "$id"
    case $id in
      transactions-* | position-*) printf 'schedule = "*/2 * * * * *"\nzone = "UTC"\npaging = false\nmax_visibility_lag_ms = 500\n' ;;
      *) printf 'enabled = false\n' ;;
    esac
  done
} >"$scratch/watch.toml"
mkdir "$scratch/spool"
"$bin/recon_engine" validate --config "$scratch/watch.toml" >/dev/null || give_up "recon-engine's configuration is refused"
"$bin/recon_engine" migrate --config "$scratch/watch.toml" >/dev/null || give_up "recon-engine's schema could not be made"
start recon_engine "$bin/recon_engine" run --config "$scratch/watch.toml"
# CONDITION on a run
runs() { ask "SELECT count(*) FROM recon_engine.invariants_log WHERE $1"; }

# --- stage, verify, splice ---------------------------------------------------------------------------------------------------

# The thresholds of a demonstration: a real gate wants an hour and a hundred thousand events, which are its defaults.
verify() { # NAME CUTS
  "$bin/cutover" verify --candidate "$1" --cuts "$2" --every 1s --duration 5s --events 2000 --keys 20 --by cutover.sh --watch
}
splice_to() { # NAME: verified and spliced, or given up
  verify "$1" "$cuts"
  code=$?
  [ "$code" -eq 0 ] || give_up "the gate did not say go of $1: exit code $code"
  came_true "the gate says go of $1"
  "$bin/cutover" splice --candidate "$1" --in 2s --yes || give_up "the splice to $1 did not come about"
  wait_until "$1 owns production" owner_is "$1"
}

say "stage: a candidate folds the same stream into tables of its own"
"$bin/cutover" stage --candidate candidate --yes || give_up "the candidate could not be staged"
shadow candidate
candidate=$pid
splice_to candidate
must_end_deposed incumbent "$incumbent"

say "and back: the old engine, a shadow of its successor now"
shadow incumbent
incumbent=$pid
before=$(committed)
splice_to incumbent
must_end_deposed candidate "$candidate"
wait_until "the incumbent's first commits" holds "sequence > $before + 2000 FROM resume_tokens WHERE stream = 'trade_engine' AND authority = 'production'"

# --- a candidate that is wrong ------------------------------------------------------------------------------------------------

say "a second candidate, with one rounding error in 100 000 trades"
"$bin/cutover" stage --candidate second --yes || give_up "it could not be staged"
shadow second --planted-bug rounding
second=$pid
verify second 100000
code=$?
if [ "$code" -eq 1 ]; then came_true "the gate says no_go, and names the key"; else came_false "the gate ended with $code, not 1 (no_go)"; fi
if "$bin/cutover" splice --candidate second --in 2s --yes; then came_false "it was spliced all the same"; else came_true "and nobody can splice to it"; fi
kill "$second" 2>/dev/null
forget "$second"
wait "$second" 2>/dev/null

# --- what it came to ------------------------------------------------------------------------------------------------------------

kill "$incumbent"
forget "$incumbent"
wait "$incumbent" 2>/dev/null
say "production, event by event, against the stream:"
if "$bin/exchange" audit --commit-log "$scratch/commits"; then
  came_true "nothing lost, nothing doubled, across both seams"
else
  came_false "production is not what the stream says"
fi
seams=$(ask "SELECT count(*) FROM epochcut_seam")
across=$(ask "SELECT count(*) FROM epochcut_seam s WHERE (SELECT count(DISTINCT check_id) FROM recon_engine.invariants_log WHERE status = 'pass' AND epoch_sequence >= s.s) = 2")
say "invariants meanwhile: $(runs "status = 'pass'") passed, $(runs "status = 'fail'") failed, $(runs "status NOT IN ('pass', 'fail')") could not know"
if [ "$(runs "status = 'fail'")" -eq 0 ] && [ "$across" -eq "$seams" ]; then
  came_true "no invariant failed, and both passed behind each of the $seams seams"
else
  came_false "an invariant failed, or did not pass behind a seam"
fi
"$bin/cutover" status
[ "$failed" = no ] || exit 1
say "everything came true"
