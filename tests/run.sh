#!/bin/sh
# Everything that has to hold before a change lands, leg by leg: install, build, start servers, test.
#
#   sh tests/run.sh [--quick | --full] [--build-dir DIR]
#
#   gcc         g++, all tests
#   sanitizers  g++ with AddressSanitizer and UndefinedBehaviorSanitizer: what needs no server
#   threads     clang with ThreadSanitizer and warnings as errors, each header alone too: what has threads (with --full everything is built)
#   postgres18  the ledger's tests once more, on PostgreSQL 18
#   fuzz        clang's fuzzers, each for a minute (only --full)
#
#   --quick          what finds most in five minutes, the build included: unit tests, lints, the simulation, recon-engine in memory, and on live
#                    servers the traps, the conformance and the sentences; they see EPOCHCUT_QUICK=1
#   --full           the long form of the tests that have one (they see EPOCHCUT_FULL=1)
#   --build-dir DIR  build in DIR, and the other legs in DIR-asan, DIR-tsan and DIR-fuzz (default: build in the repository)
#   --help           this text
#
# A skipped test counts as a failure here: it has proved nothing, and nobody reads a list of skips.
# Exit codes: 0 all passed, 1 something failed, 2 bad usage, 3 something is missing that can't be installed.
# EPOCHCUT_JOBS sets how much runs at once (2); EPOCHCUT_CLANG names another clang++; EPOCHCUT_SKIP_INSTALL=1 installs no package.

set -u

repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
began_s=$(date +%s)
jobs=${EPOCHCUT_JOBS:-2}
at_once=$jobs
clang=${EPOCHCUT_CLANG:-clang++-19}
passed=0 failed=0 skipped=0
scratch='' servers='' table=''

say() { printf '[%4d s] %s\n' $(($(date +%s) - began_s)) "$*"; }
fail() { # CODE SENTENCE
  fail_code=$1
  shift
  printf 'run.sh: %s\n' "$*" >&2
  exit "$fail_code"
}
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

start_servers() { # FOLDER
  mkdir -p "$1"
  servers="$servers $1"
  sh "$repository/examples/servers.sh" start "$1" >/dev/null || return
  # shellcheck disable=SC1091 # written by the line above
  . "$1/env"
}
stop_servers() {
  for running in $servers; do sh "$repository/examples/servers.sh" stop "$running"; done
  servers=
}
cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  stop_servers
  [ -z "$scratch" ] || rm -rf "$scratch"
  scratch=
}

# --- legs ------------------------------------------------------------------------------------------------------------

# Prints the names of a JUnit file's tests with one of the given statuses.
tests_that() { # FILE STATUS-PATTERN
  sed -n "s/.*<testcase name=\"\\([^\"]*\\)\".* status=\"\\($2\\)\".*/\\1/p" "$1"
}
count() { tests_that "$1" "$2" | grep -c .; }

row() { # LEG TESTS PASSED FAILED SKIPPED BUILD-SECONDS TEST-SECONDS
  table="$table$(printf '%-10s %6s %7s %7s %8s %8s %7s' "$@")
"
}

# A leg that does not get as far as its tests is one failed test.
broken_leg() { # LEG SENTENCE
  say "$2"
  failed=$((failed + 1))
  row "$1" 0 0 1 0 $((${built_s:-$(date +%s)} - leg_began_s)) 0
}

# Configures and builds; says what happened and returns 1 if it does not build. The first leg's tests are timed from here.
build() { # LEG FOLDER TARGETS OPTION...
  leg=$1 folder=$2 targets=$3
  shift 3
  leg_began_s=$(date +%s) built_s=
  say "$leg: building in $folder"
  # A folder that was configured before keeps its generator; CMake refuses another.
  if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null; then
    set -- -G Ninja "$@"
  fi
  if command -v ccache >/dev/null; then
    set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
  fi
  cmake -S "$repository" -B "$folder" -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" || {
    broken_leg "$leg" "$folder could not be configured."
    return 1
  }
  # shellcheck disable=SC2086 # a list of words
  cmake --build "$folder" -j "$jobs" ${targets:+--target $targets} || {
    broken_leg "$leg" "$folder does not build."
    return 1
  }
  built_s=$(date +%s)
}

# Runs tests and adds them to the sums. ctest's own result counts too: it knows of failures that are no test's.
run_tests() { # LEG FOLDER CTEST-OPTION...
  leg=$1 folder=$2 report=$scratch/$1.xml
  shift 2
  say "$leg: tests"
  # A test without a limit of its own must not hold up the rest for ctest's 25 minutes.
  (cd "$folder" && ctest --output-on-failure --no-tests=error --timeout "$timeout_s" -j "$at_once" --output-junit "$report" "$@") </dev/null
  ctest_code=$?
  if [ ! -s "$report" ]; then
    broken_leg "$leg" "ctest ended with $ctest_code and reported no test for the leg $leg."
    return
  fi
  leg_passed=$(count "$report" run)
  leg_failed=$(count "$report" fail)
  [ "$ctest_code" -eq 0 ] || [ "$leg_failed" -gt 0 ] || leg_failed=1
  leg_skipped=$(count "$report" 'notrun\|disabled')
  if [ "$leg_skipped" -gt 0 ]; then
    say "in the leg $leg $leg_skipped tests were skipped, which proves nothing: $(tests_that "$report" 'notrun\|disabled' | tr '\n' ' ')"
  fi
  passed=$((passed + leg_passed)) failed=$((failed + leg_failed)) skipped=$((skipped + leg_skipped))
  row "$leg" $((leg_passed + leg_failed + leg_skipped)) "$leg_passed" "$leg_failed" "$leg_skipped" \
    $((built_s - leg_began_s)) $(($(date +%s) - built_s))
}

gcc_leg() {
  # Tests compile twice as fast as with -O2 -g and run long enough waiting; assertions stay on.
  targets=
  [ "$mode" != quick ] || targets='unit_tests operate_tests recon_engine_tests docs_snippets simulation cutover_tests live_conformance live_traps live_sentences'
  build gcc "$build" "$targets" -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DCMAKE_CXX_FLAGS=-Werror -DEPOCHCUT_CHDB_ROOT="$chdb" || return
  start_servers "$scratch/servers" || {
    broken_leg gcc "the servers do not start."
    return
  }
  at_once=$((jobs + 1)) # the longest one waits, nearly all of its time
  case $mode in
    quick) run_tests gcc "$build" -R '^(unit|operate|recon_engine|cutover|simulation|lint\..*|docs\..*|live\.(conformance|traps|sentences))$' ;;
    normal) run_tests gcc "$build" -LE '^full$' ;;
    full) run_tests gcc "$build" ;;
  esac
  at_once=$jobs
  if [ "$mode" != quick ]; then
    say "the soak, per write path"
    sed -n '/^seed [0-9]/,/^===/{/^===/!p;}' "$build/Testing/Temporary/LastTest.log"
  fi
}

sanitizers_leg() {
  build sanitizers "$build-asan" 'unit_tests fuzz_harnesses operate_tests recon_engine_face' -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DEPOCHCUT_SANITIZE=ON || return
  run_tests sanitizers "$build-asan" -L '^unit$' -E '^lint'
}

# One build answers two questions: whether all of it compiles without a warning elsewhere, and whether threads race.
threads_leg() {
  # -Wshadow is for clang alone: g++ 12 also means by it what is no mistake.
  targets='unit_tests recon_engine_tests recon_engine_face live_threads live_exchange live_clickhouse live_postgres'
  [ "$mode" != full ] || targets=all
  build threads "$build-tsan" "$targets all_verify_interface_header_sets" -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_CXX_FLAGS_RELEASE='-O1 -gline-tables-only' \
    -DCMAKE_CXX_FLAGS='-fsanitize=thread -Werror -Wshadow' || return
  start_servers "$scratch/servers" || {
    broken_leg threads "the servers do not start."
    return
  }
  TSAN_OPTIONS="suppressions=$repository/tests/support/tsan.supp history_size=4" \
    run_tests threads "$build-tsan" -R '^(unit|recon_engine|recon_engine\.face|live\.(threads|exchange|clickhouse|postgres))$'
}

postgres18_leg() {
  leg_began_s=$(date +%s) built_s=$leg_began_s
  stop_servers
  EPOCHCUT_POSTGRES_BIN=$(sh "$repository/tests/support/postgres18.sh") || {
    broken_leg postgres18 "PostgreSQL 18 could not be fetched."
    return
  }
  export EPOCHCUT_POSTGRES_BIN
  if start_servers "$scratch/servers18"; then
    run_tests postgres18 "$build" -R '^live\.(postgres|conformance|traps|sentences)$'
  else
    broken_leg postgres18 "PostgreSQL 18 does not start."
  fi
  unset EPOCHCUT_POSTGRES_BIN
}

fuzz_leg() {
  build fuzz "$build-fuzz" fuzz_harnesses -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_CXX_FLAGS_RELEASE= -DEPOCHCUT_FUZZ=ON || return
  run_tests fuzz "$build-fuzz" -L '^fuzz$'
}

# --- the run ---------------------------------------------------------------------------------------------------------

mode=normal
build=$repository/build
while [ $# -gt 0 ]; do
  case $1 in
    --quick | --full)
      [ "$mode" = normal ] || fail 2 "--quick and --full exclude each other."
      mode=${1#--}
      ;;
    --build-dir)
      [ -n "${2:-}" ] || fail 2 "--build-dir takes a folder."
      mkdir -p "$2" || fail 2 "can't make the folder $2."
      build=$(cd "$2" && pwd)
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) fail 2 "unknown argument '$1'; --help says which there are." ;;
  esac
  shift
done
export EPOCHCUT_FULL=0 EPOCHCUT_QUICK=0
timeout_s=600
case $mode in
  quick) EPOCHCUT_QUICK=1 ;;
  full) EPOCHCUT_FULL=1 timeout_s=5400 ;;
esac
# Without it ccache keeps nothing that was compiled with a precompiled header.
export CCACHE_SLOPPINESS=pch_defines,time_macros

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
# Servers whose data is thrown away need no disk: deleting it there has taken longer than the tests. 8 GiB: four times what they fill.
memory=/dev/shm
if [ -z "${TMPDIR:-}" ] && [ -w "$memory" ] && [ "$(df -Pk "$memory" | awk 'NR == 2 { print $4 }')" -gt 8388608 ]; then TMPDIR=$memory; fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-tests.XXXXXX") || fail 1 "can't make a temporary folder."
chmod 711 "$scratch" # for root the servers run as another account
TMPDIR=$scratch
export TMPDIR

say "packages"
# shellcheck source=examples/setup.sh disable=SC1091
. "$repository/examples/setup.sh"
epochcut_install all || exit 3
for tool in cmake ctest "$clang"; do
  [ "$tool" = "$clang" ] && [ "$mode" = quick ] && continue
  command -v "$tool" >/dev/null || fail 3 "$tool is not installed."
done
command -v ninja >/dev/null || command -v make >/dev/null || fail 3 "neither ninja nor make is installed."
chdb=
if [ -f "$repository/tests/chdb/install.sh" ]; then
  chdb=$(sh "$repository/tests/chdb/install.sh") || exit 3
fi

gcc_leg
if [ "$mode" != quick ]; then
  sanitizers_leg
  threads_leg
  [ ! -f "$repository/tests/support/postgres18.sh" ] || postgres18_leg
fi
[ "$mode" != full ] || fuzz_leg

cleanup
printf '\n%-10s %6s %7s %7s %8s %8s %7s\n%s\n' leg tests passed failed skipped build_s test_s "$table"
say "total $(($(date +%s) - began_s)) seconds"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$skipped" -eq 0 ]
