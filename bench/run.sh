#!/bin/sh
# How fast is epochcut, beside what each path is limited by and beside others? Builds, installs what is missing, starts servers of its own, measures.
#
#   sh bench/run.sh [--quick | --full | --check] [--rows N] [--build-dir DIR] [--no-peers]
#
#   sh bench/run.sh               all of it, 10M rows, about an hour: bench/out/report.json, bench/out/report.md and the chart
#   sh bench/run.sh --quick       1M rows and fewer repetitions: does it all still run?
#   sh bench/run.sh --check       only what needs no server and no peer, against bench/baseline.json; fails when a ratio lost more than 15 %
#   sh bench/run.sh --rows 3000000
#
#   --full           100M rows in process and streamed too, where memory allows: in process 16 GB
#   --check          as above, in less than three minutes; a row that lost is measured once more before it counts
#   --baseline       like --check, but writes bench/baseline.json
#   --rows N         rows of the largest tables (10000000)
#   --build-dir DIR  build in DIR (default: build-bench in the repository)
#   --no-peers       without DuckDB, ClickHouse 26 and the servers' own SQL
#   --docs           after a run, also writes the table and the chart of docs/performance.md
#   --help           this text
#
# Exit codes: 0 done, 1 something failed or, with --check, lost, 2 bad usage, 3 something is missing that can't be installed.
# EPOCHCUT_SKIP_INSTALL=1 installs no package; EPOCHCUT_CACHE names where peers are kept (default: the user's cache).

set -u

repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$repository/build-bench
out=$repository/bench/out
began_s=$(date +%s)
mode=normal rows=10000000 repetitions=7 peers=yes docs=no scratch='' failed=no
duckdb=1.5.6-r.1 # of the npm package @duckdb/node-api

say() { printf '[%4d s] %s\n' $(($(date +%s) - began_s)) "$*" >&2; }
fail() { # CODE SENTENCE
  fail_code=$1
  shift
  printf 'run.sh: %s\n' "$*" >&2
  exit "$fail_code"
}
cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  [ -n "$scratch" ] || return 0
  [ ! -s "$scratch/env" ] || sh "$repository/examples/servers.sh" stop "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

while [ $# -gt 0 ]; do
  case $1 in
    --quick | --full | --check | --baseline)
      [ "$mode" = normal ] || fail 2 "--quick, --full, --check and --baseline exclude each other."
      mode=${1#--}
      ;;
    --rows)
      case ${2:-} in '' | *[!0-9]*) fail 2 "--rows takes a number." ;; esac
      rows=$2 rows_given=yes
      shift
      ;;
    --build-dir)
      [ -n "${2:-}" ] || fail 2 "--build-dir takes a folder."
      mkdir -p "$2" || fail 2 "can't make the folder $2."
      build=$(cd "$2" && pwd)
      shift
      ;;
    --no-peers) peers=no ;;
    --docs) docs=yes ;;
    -h | --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    *) fail 2 "unknown argument '$1'; --help says which there are." ;;
  esac
  shift
done
case $mode in
  quick) repetitions=3 rows=${rows_given:+$rows} rows=${rows:-1000000} ;;
  check | baseline) rows=${rows_given:+$rows} rows=${rows:-2000000} repetitions=9 ;;
esac

# --- what is needed ---------------------------------------------------------------------------------------------------

needs_servers=yes
case $mode in check | baseline) needs_servers=no peers=no ;; esac
# shellcheck source=examples/setup.sh disable=SC1091
. "$repository/examples/setup.sh"
list=demo
[ "$needs_servers" = yes ] || list=build
if ! command -v node >/dev/null; then list=all; fi # with npm
epochcut_install "$list" || exit 3
command -v node >/dev/null || fail 3 "node is needed to write the report; install it (Debian: npm)."

if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 8388608 ]; then TMPDIR=/dev/shm; fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-bench.XXXXXX") || fail 1 "can't make a temporary folder."
chmod 711 "$scratch" # for root the servers run as another account

absent() { # PEER WHY [TASK]
  say "absent: $1: $2"
  printf '{"peer": "%s", "task": "%s", "absent": "%s"}\n' "$1" "${3:-all}" "$(printf %s "$2" | tr '"\n' "' ")" >>"$lines/peer-absent.jsonl"
}

lines=$scratch/lines
mkdir -p "$lines"
chdb=''
if [ "$peers" = yes ]; then
  cache=${EPOCHCUT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/epochcut}/duckdb-$duckdb
  if [ ! -d "$cache/node_modules" ]; then
    say "fetching DuckDB"
    mkdir -p "$cache"
    npm install --prefix "$cache" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "@duckdb/node-api@$duckdb" >"$scratch/npm.log" 2>&1 || rm -rf "$cache/node_modules"
  fi
  [ -d "$cache/node_modules" ] || absent "DuckDB" "npm can't install @duckdb/node-api@$duckdb"
  chdb=$(sh "$repository/tests/chdb/install.sh" 2>"$scratch/chdb.log") || absent "ClickHouse 26 in process" "$(cat "$scratch/chdb.log")"
fi

# --- build ------------------------------------------------------------------------------------------------------------

has_bench() { grep -q "add_executable($1 " "$repository/bench/CMakeLists.txt"; }

say "building in $build"
generator='' launcher=''
if [ ! -f "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=Ninja; fi
if command -v ccache >/dev/null; then launcher=ccache; fi
examples=ON
[ "$needs_servers" = yes ] || examples=OFF
targets=in_process_benches
if [ "$needs_servers" = yes ]; then
  for bench in read_bench compare_bench bisect_bench; do
    if has_bench "$bench"; then targets="$targets $bench"; fi
  done
  [ -z "$chdb" ] || targets="$targets clickhouse_peer"
fi
# One set of flags, so that runs compare: -O2, for the machine at large.
does_not_build() {
  tail -n 30 "$scratch/build.log" >&2
  fail 1 "it does not build; the compiler says why above."
}
cmake -S "$repository" -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE='-O2' -DEPOCHCUT_BUILD_TESTS=OFF \
  -DEPOCHCUT_BUILD_EXAMPLES=$examples -DEPOCHCUT_BUILD_BENCH=ON -DEPOCHCUT_CHDB_ROOT="$chdb" -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" >"$scratch/build.log" 2>&1 ||
  does_not_build
for target in $targets; do
  cmake --build "$build" -j "${EPOCHCUT_JOBS:-2}" --target "$target" >>"$scratch/build.log" 2>&1 && continue
  [ "$target" != in_process_benches ] || does_not_build
  say "$target does not build: $(grep -m 1 error: "$scratch/build.log")"
  failed=yes
done

# A bench that fails is said and the others run; the exit code remembers.
bench() { # FILE PROGRAM ARGUMENT...
  file=$lines/$1.jsonl
  shift
  if [ ! -x "$build/bench/$1" ]; then
    say "absent: $1 was not built"
    return 0
  fi
  say "$*"
  program=$build/bench/$1
  shift
  "$program" "$@" >>"$file" 2>"$scratch/stderr" || {
    say "it failed: $(tail -n 3 "$scratch/stderr")"
    failed=yes
  }
}
in_process() { # ROWS ARGUMENT...
  of=$1
  shift
  for name in ordered_diff hashed_diff fold; do
    bench "$name" "${name}_bench" --json --rows "$of" --repetitions "$repetitions" "$@"
  done
}

# --- the regression check ---------------------------------------------------------------------------------------------

case $mode in
  check | baseline)
    in_process "$rows" --check
    if [ "$mode" = baseline ]; then
      in_process "$rows" --check
      node "$repository/bench/report.mjs" --baseline "$lines" "$repository/bench/baseline.json" || exit 1
      say "wrote bench/baseline.json"
      exit 0
    fi
    lost=$(node "$repository/bench/report.mjs" --check "$lines" "$repository/bench/baseline.json")
    case $? in
      0)
        say "no row lost more than 15 %"
        [ "$failed" = no ] || exit 1
        exit 0
        ;;
      3) exit 3 ;;
    esac
    say "once more, for the machine may have been busy: $(printf %s "$lost" | tr '\n' ' ')"
    for row in $lost; do
      bench again "${row%%.*}_bench" --json --rows "$rows" --repetitions $((2 * repetitions + 1)) --check --only "$row"
    done
    node "$repository/bench/report.mjs" --check "$lines" "$repository/bench/baseline.json" >/dev/null || fail 1 "the rows marked LOST above lost more than 15 % of their ratio."
    say "no row lost more than 15 %, on a second try"
    exit 0
    ;;
esac

# --- the report -------------------------------------------------------------------------------------------------------

in_process "$rows"
if [ "$mode" != quick ]; then # how the cost grows
  in_process $((rows / 100)) --only equal
  in_process $((rows / 10)) --only equal
  bench fold fold_bench --json --rows $((rows / 100)) --repetitions "$repetitions" --only latest
  bench fold fold_bench --json --rows $((rows / 10)) --repetitions "$repetitions" --only latest
fi
if [ "$mode" = full ]; then
  repetitions=3
  bench ordered_diff ordered_diff_bench --json --rows $((rows * 10)) --repetitions 3 --only narrow.equal
  bench hashed_diff hashed_diff_bench --json --rows $((rows * 10)) --repetitions 3 --only narrow.equal
  bench fold fold_bench --json --rows $((rows * 10)) --repetitions 3 --only 'latest$'
  bench fold fold_bench --json --rows $((rows * 10)) --repetitions 3 --only key_ordered
  repetitions=7
fi

echo '#include <epochcut/epochcut.hpp>' >"$scratch/include.cpp"
c++ -std=c++20 -I"$repository/include" -E -P "$scratch/include.cpp" | wc -l |
  awk '{ printf "{\"name\": \"compile: include epochcut.hpp\", \"ours\": %d, \"limit\": 60000, \"ratio\": %.3f, \"aim\": 1, \"lower_is_better\": true, \"unit\": \"lines\", \"rows\": 0, \"note\": \"preprocessed; chrono and the light standard headers alone are 48 700\"}\n", $1, $1 / 60000 }' \
    >"$lines/compile.jsonl"

say "starting servers"
sh "$repository/examples/servers.sh" start "$scratch" >/dev/null || fail 1 "the servers do not start."
# shellcheck disable=SC1091 # written by the line above
. "$scratch/env"
compared=$((rows / 5))
streamed=$rows
[ "$mode" != full ] || streamed=$((rows * 10))
bench read read_bench --json --rows $((rows / 2))
bench compare compare_bench --json --rows "$compared" --memory-rows "$streamed"
bench bisect bisect_bench --json --rows "$rows"

if [ "$peers" = yes ]; then
  # Ours in turns with theirs, and with as many sessions as they have threads.
  EPOCHCUT_BENCH_OURS=''
  [ ! -x "$build/bench/compare_bench" ] || EPOCHCUT_BENCH_OURS="'$build/bench/compare_bench' --once --rows $compared --readers $(nproc)"
  export EPOCHCUT_BENCH_OURS
  absent "data-diff" "it comes by pip only, which this script does not use" "full compare"
  say "peers: the servers themselves"
  sh "$repository/bench/peers/servers.sh" "$compared" 3 >"$lines/peer-servers.jsonl" 2>"$scratch/stderr" ||
    absent "plain SQL in both servers" "$(tail -n 1 "$scratch/stderr")"
  if [ -d "$cache/node_modules" ]; then
    say "peers: DuckDB"
    node "$repository/bench/peers/duckdb.mjs" "$cache" "$rows" 3 >"$lines/peer-duckdb.jsonl" 2>"$scratch/stderr" || absent "DuckDB" "$(tail -n 1 "$scratch/stderr")"
    say "peers: DuckDB over CSV"
    node "$repository/bench/peers/duckdb.mjs" "$cache" "$compared" 5 csv "$scratch" >"$lines/peer-duckdb-csv.jsonl" 2>"$scratch/stderr" ||
      absent "DuckDB over CSV" "$(tail -n 1 "$scratch/stderr")" "full compare"
  fi
  if [ -x "$build/bench/clickhouse_peer" ]; then
    say "peers: ClickHouse 26 in process"
    "$build/bench/clickhouse_peer" "$rows" 3 >"$lines/peer-clickhouse.jsonl" 2>"$scratch/stderr" || absent "ClickHouse 26 in process" "$(tail -n 1 "$scratch/stderr")"
  fi
fi

mkdir -p "$out"
rm -f "$out"/*.jsonl
cp "$lines"/*.jsonl "$out"
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/MemTotal/ { printf "%d GiB", $2 / 1048576 }' /proc/meminfo), $(uname -sr); $(c++ --version | head -n 1), -O2; $rows rows, $(date -u +%Y-%m-%d)"
node "$repository/bench/report.mjs" "$out" "$machine" || exit 1
node "$repository/bench/chart.mjs" "$out/report.json" "$out/growth.svg" || failed=yes
if [ "$docs" = yes ]; then
  node "$repository/bench/chart.mjs" "$out/report.json" "$repository/docs/pictures/growth.svg" "$out/report.md" "$repository/docs/performance.md" || failed=yes
fi
say "done"
[ "$failed" = no ]
