#!/bin/sh
# How often is each way of comparing wrong, per write path? On a fresh Debian machine: installs what is missing, builds, starts private
# servers in a temporary folder, runs every path of docs/horizon.md with the exchange at work, prints the table, and stops everything again.
#
#   sh tests/horizon/table.sh [--seconds N | --quick] [--only LABEL]... [--seed N] [--json FILE]
#
#   --seconds N   per write path, at least (20); a path runs on, up to 90 s or 6 N s, until it has shown what it must
#   --quick       4 s and 10 runs per write path, or 60 s and 30 runs where EPOCHCUT_FULL=1: what the tests run
#   --only LABEL  this path alone, and any other so named: acked_1, acked_8, ties, issued_1_1, issued_1_8, issued_4, jitter, acked_crash,
#                 issued_4_crash, jitter_crash
#   --seed N      of streams, phases and moments of death; else EPOCHCUT_SEED, else the clock's
#   --json FILE   the table for programs, beside the text; with - it is all that standard output gets
#   --help        this text
#
# Examples:
#   sh tests/horizon/table.sh                                all paths, four to six minutes
#   sh tests/horizon/table.sh --seconds 60 --json table.json
#   sh tests/horizon/table.sh --only jitter_crash --seed 7
#   TMPDIR=/dev/shm sh tests/horizon/table.sh                stores in memory, where the disk is slow
#
# It holds if epochcut gave no false verdict and asserted at least 95 % of its runs on every path, caught what was planted, AND the naive
# checkers were wrong where they must be and nowhere else. Exit codes: 0 it holds, 1 it does not, 2 bad usage, 3 something is missing.

set -u
repository=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
build=$repository/build/horizon
scratch='' log=''

say() { printf '%s\n' "$*" >&2; } # standard output is the table's
cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  [ -z "$log" ] || rm -f "$log"
  [ -n "$scratch" ] || return 0
  sh "$repository/examples/servers.sh" stop "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --seconds | --quick | --only | --seed | --json | [!-]* | -) ;;
    *)
      say "table.sh: unknown argument '$argument'; --help says which there are."
      exit 2
      ;;
  esac
done

# shellcheck source=examples/setup.sh disable=SC1091
. "$repository/examples/setup.sh"
epochcut_install all || exit 3

say 'building ...'
log=$(mktemp) || exit 3
generator='' launcher=''
if [ ! -f "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=Ninja; fi
if command -v ccache >/dev/null; then launcher=ccache; fi
if ! cmake -S "$repository" -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O1 \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" >"$log" 2>&1 || ! cmake --build "$build" -j 2 --target horizon_table >>"$log" 2>&1; then
  tail -n 40 "$log" >&2
  say 'table.sh: it does not build; the compiler says why above.'
  exit 3
fi

say 'starting servers ...'
scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-horizon.XXXXXX") || exit 3
sh "$repository/examples/servers.sh" start "$scratch" >/dev/null || exit 3
# shellcheck disable=SC1091 # written by the line above
. "$scratch/env"
"$build/tests/horizon/horizon_table" "$@"
