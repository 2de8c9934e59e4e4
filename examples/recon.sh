#!/bin/sh
# recon_engine on a live exchange, on a fresh Debian machine: installs what is missing, builds, starts private servers, a custodian and the exchange in a
# temporary folder, and checks all of it with its schedules compressed from hours to seconds. Then a row is corrupted, and ClickHouse is killed and
# brought back; it shows what each check said, and who was paged.
#
#   sh examples/recon.sh [--stay] [--build-dir DIR]
#
#   --stay           at the end leave everything running, so that you can look at the page; Ctrl-C stops it
#   --build-dir DIR  build in DIR (default: build/recon in the repository)
#   --help           this text
#
# Exit codes: 0 everything came true, 1 something did not, 2 bad usage, 3 something is missing.

set -u
repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$repository/build/recon
scratch='' pid='' failed=no stay=no # all but the last are script.sh's

while [ $# -gt 0 ]; do
  case $1 in
    --stay) stay=yes ;;
    --build-dir)
      [ -n "${2:-}" ] || {
        printf 'recon.sh: --build-dir takes a folder.\n' >&2
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
      printf "recon.sh: unknown argument '%s'; --help says which there are.\n" "$1" >&2
      exit 2
      ;;
  esac
  shift
done

# shellcheck source=examples/script.sh disable=SC1091
. "$repository/examples/script.sh"
build_targets recon exchange_cli custodian recon_engine
bin=$build/examples

# --- start ---------------------------------------------------------------------------------------------------------------

start_servers

start custodian "$bin/custodian" --state "$scratch/custodian.log" --webhook-log "$scratch/webhooks"
wait_until "the custodian's address" has_line '^http://' "$scratch/custodian.out"
custodian=$(head -n 1 "$scratch/custodian.out")

"$bin/exchange" init || give_up "the tables could not be made"
# A quiet window of 8 s in each 20 stands for the one a day; a mark cycle each 10 s, a deposit each 5.
start exchange "$bin/exchange" run --rate 300 --batch 60 --mark-every 3000 --deposit-every 1500 --custodian "$custodian" \
  --quiet-every 20 --quiet-for 8 --reopen
wait_until "the first mark cycle" holds "EXISTS (SELECT FROM mark_cycles)"

# --- recon_engine --------------------------------------------------------------------------------------------------------

# Passwords go by the environment, as they would in production.
RECON_ENGINE_POSTGRES=$EPOCHCUT_POSTGRES_RECON
RECON_ENGINE_LOG=$EPOCHCUT_POSTGRES_LOG
RECON_ENGINE_CLICKHOUSE_PASSWORD=$(printf %s "$EPOCHCUT_CLICKHOUSE_RECON" | sed 's|.*//[^:]*:\([^@]*\)@.*|\1|')
export RECON_ENGINE_POSTGRES RECON_ENGINE_LOG RECON_ENGINE_CLICKHOUSE_PASSWORD

windowed='transactions-balance position-realized-pnls-balance pnl-is-zero-sum omnibus-balances-square'
check() { # ID PAGING SCHEDULE
  cat <<END

[checks."$1"]
paging = $2
schedule = "$3"
zone = "UTC"
budget_ms = 15000
horizon_budget_ms = 5000
max_visibility_lag_ms = 500
apart_ms = 0
confirm = 1
clear = 1
retries = 0
assert_within_ms = 600000
END
}
{
  cat <<END
[stores]
postgres_env = "RECON_ENGINE_POSTGRES"
log_env = "RECON_ENGINE_LOG"
clickhouse = "$EPOCHCUT_CLICKHOUSE"
clickhouse_user = "recon"
clickhouse_password_env = "RECON_ENGINE_CLICKHOUSE_PASSWORD"
clickhouse_database = "exchange"
custodian = "$custodian"

[program]
port = 0
spool = "$scratch/spool"

[incident]
url = "$custodian/webhook"
END
  for id in $windowed; do
    check "$id" true "*/2 * * * * *"
    case $id in
      pnl-*) check "$id-live" false "event:mark_cycle" ;;
      *) check "$id-live" false "*/5 * * * * *" ;;
    esac
  done
} >"$scratch/watch.toml"
mkdir "$scratch/spool"
"$bin/recon_engine" validate --config "$scratch/watch.toml" || give_up "the configuration is refused"
"$bin/recon_engine" migrate --config "$scratch/watch.toml" || give_up "the schema could not be migrated"
start recon_engine "$bin/recon_engine" run --config "$scratch/watch.toml"
wait_until "recon_engine's address" has_line 'http://' "$scratch/recon_engine.out"
page=$(sed -n 's|^recon_engine \(http://[^ ]*\).*|\1|p' "$scratch/recon_engine.out" | head -n 1)
say "the page is at $page"

log='recon_engine.invariants_log'
now() { ask "SELECT clock_timestamp()"; }
count() { ask "SELECT count(*) FROM $log WHERE $1"; } # CONDITION
all_pass_since() { holds "count(DISTINCT check_id) = 8 FROM $log WHERE status = 'pass' AND started > '$1'"; }

# A live check that passes while nobody writes has shown nothing.
while_writing="NOT EXISTS (SELECT FROM quiet_windows w WHERE w.began < finished AND coalesce(w.ended, 'infinity') > started)"
began=$(now)
wait_until "all eight checks have passed" all_pass_since "$began"
wait_until "the live ones have passed while the exchange writes" \
  holds "count(DISTINCT check_id) = 4 FROM $log WHERE status = 'pass' AND check_id LIKE '%-live' AND $while_writing"
came_true "all eight checks have run and passed, the live ones while the exchange writes 300 executions a second"
wrong=$(count "status = 'fail'")
if [ "$wrong" = 0 ]; then came_true "no false alarm"; else came_false "$wrong runs failed with nothing wrong"; fi
if curl -s -f -m 10 --noproxy '*' "$page/" >"$scratch/page.html" && has_line omnibus-balances-square-live "$scratch/page.html"; then
  came_true "the page shows them"
else
  came_false "the page does not answer, or lacks a check"
fi

# --- a corrupted row -----------------------------------------------------------------------------------------------------

wait_until "the exchange writes" holds "NOT EXISTS (SELECT FROM quiet_windows WHERE ended IS NULL)"
corrupted=$(now)
"$bin/exchange" corrupt --fault change_amount --kind fee >"$scratch/corruption" || give_up "the row could not be corrupted"
say "$(cat "$scratch/corruption")"
event_id=$(sed 's|.*event id \([0-9]*\).*|\1|' "$scratch/corruption")
account=$(sed 's|.*account \([^,]*\),.*|\1|' "$scratch/corruption")
wait_until "transactions-balance-live fails" holds "EXISTS (SELECT FROM $log WHERE check_id = 'transactions-balance-live' AND status = 'fail' AND started > '$corrupted')"
wait_until "its twin fails in a quiet window" holds "EXISTS (SELECT FROM $log WHERE check_id = 'transactions-balance' AND status = 'fail' AND started > '$corrupted')"
came_true "transactions-balance-live caught it after $(ask "SELECT round(extract(epoch FROM min(finished) - '$corrupted')::numeric, 1) FROM $log WHERE check_id = 'transactions-balance-live' AND status = 'fail'") s, its twin in the next quiet window"
if [ "$(count "status = 'fail' AND differences::text NOT LIKE '%$account%'")" = 0 ]; then
  came_true "each of those runs names $account"
else
  came_false "a run does not name $account"
fi
wrong=$(count "status = 'fail' AND check_id NOT LIKE 'transactions-balance%'")
if [ "$wrong" = 0 ]; then came_true "no other check failed"; else came_false "$wrong runs of other checks failed"; fi
wait_until "the page was sent" has_line firing "$scratch/webhooks"
"$bin/exchange" corrupt --fault change_amount --event-id "$event_id" --delta -1 >/dev/null || give_up "the row could not be restored"
restored=$(now)
wait_until "all eight checks pass again" all_pass_since "$restored"
came_true "with the row restored all eight pass again"

# --- ClickHouse goes away ------------------------------------------------------------------------------------------------

say "killing ClickHouse"
killed=$(now)
sh "$repository/examples/servers.sh" kill-clickhouse "$scratch" || give_up "ClickHouse could not be killed"
wait_until "the live checks say error" holds "count(DISTINCT check_id) = 3 FROM $log WHERE status = 'error' AND started > '$killed' AND check_id LIKE '%-live'"
came_true "without ClickHouse the live checks say error: $(ask "SELECT string_agg(DISTINCT reason, ', ') FROM $log WHERE status = 'error' AND started > '$killed'")"
sh "$repository/examples/servers.sh" restart-clickhouse "$scratch" || give_up "ClickHouse does not come back"
back=$(now)
wait_until "all eight checks pass once ClickHouse is back" all_pass_since "$back"
came_true "all eight pass again once it is back"
wrong=$(count "status = 'fail' AND started > '$killed'")
if [ "$wrong" = 0 ]; then came_true "and none took the outage for a fail"; else came_false "$wrong runs failed during the outage"; fi

# --- who was paged -------------------------------------------------------------------------------------------------------

wait_until "the page was taken back" has_line resolved "$scratch/webhooks"
pages=$(grep -c . "$scratch/webhooks")
ours=$(grep -c '"deduplication_key": *"transactions-balance[^-]' "$scratch/webhooks")
if [ "$pages" = "$ours" ]; then
  came_true "$pages messages to the pager, all about transactions-balance; no live check, which has paging = false, and no error reached it"
else
  came_false "$((pages - ours)) of $pages messages to the pager are about something else"
  cut -c 1-200 "$scratch/webhooks"
fi

printf '\n%-38s %7s %6s %6s %6s %8s %11s\n' check paging pass fail error skipped 'p99 took ms'
psql -X -q -A -t -F ' ' -d "$EPOCHCUT_POSTGRES" -c "
  SELECT check_id, bool_or(paging), count(*) FILTER (WHERE status = 'pass'), count(*) FILTER (WHERE status = 'fail'), count(*) FILTER (WHERE status = 'error'),
         count(*) FILTER (WHERE status = 'skipped'), percentile_disc(0.99) WITHIN GROUP (ORDER BY took_ms) FROM $log GROUP BY 1 ORDER BY check_id LIKE '%-live', 1" |
  while read -r id pages_it pass fail error skipped took; do
    case $pages_it in t) pages_it=on ;; *) pages_it=off ;; esac
    printf '%-38s %7s %6s %6s %6s %8s %11s\n' "$id" "$pages_it" "$pass" "$fail" "$error" "$skipped" "$took"
  done
printf '%s mark cycles, %s custody transfers, %s quiet windows, %s executions\n' "$(ask 'SELECT count(*) FROM mark_cycles')" \
  "$(curl -s -m 10 --noproxy '*' "$custodian/transfers" | sed 's|.*"counter": *\([0-9]*\).*|\1|')" "$(ask 'SELECT count(*) FROM quiet_windows')" \
  "$(ask "SELECT sequence FROM resume_tokens WHERE stream = 'trade_engine'")"

if [ "$stay" = yes ]; then
  printf '\nall of it goes on until Ctrl-C; the page is at %s\n' "$page"
  while :; do sleep 1; done
fi
if [ "$failed" = yes ]; then
  printf '\nsomething did not come true\n'
  exit 1
fi
printf '\neverything came true in %s s\n' $(($(date +%s) - began_s))
