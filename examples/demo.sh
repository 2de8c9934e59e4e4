#!/bin/sh
# The demo, on a fresh Debian machine: installs what is missing, builds, starts private PostgreSQL and ClickHouse servers in a temporary
# folder, runs the exchange at full speed, compares the two stores for 30 s, corrupts a row, and stops everything again.
#
#   sh examples/demo.sh [--embedded] [--seconds N] [--seed N] [--json]
#
#   --embedded   both stores in memory: no server, no root
#   --help       what the demo shows and how it ends
#
# Exit codes: 0 everything came true, 1 something did not, 2 bad usage, 3 something is missing.

set -u
repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$repository/build/demo
scratch=

cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  [ -n "$scratch" ] || return 0
  sh "$repository/examples/servers.sh" stop "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

embedded=no
for argument in "$@"; do
  case $argument in
    --embedded) embedded=yes ;;
    -h | --help)
      sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
  esac
done

# shellcheck source=examples/setup.sh disable=SC1091
. "$repository/examples/setup.sh"
if [ "$embedded" = yes ]; then wanted=embedded; else wanted=demo; fi
epochcut_install "$wanted" || exit 3

printf 'building ...\n'
log=$(mktemp) || exit 3
generator='' launcher=''
if [ ! -f "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=Ninja; fi
if command -v ccache >/dev/null; then launcher=ccache; fi
if ! cmake -S "$repository" -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DEPOCHCUT_BUILD_TESTS=OFF \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" >"$log" 2>&1 || ! cmake --build "$build" -j 2 --target demo >>"$log" 2>&1; then
  tail -n 40 "$log" >&2
  rm -f "$log"
  printf 'demo.sh: it does not build; the compiler says why above.\n' >&2
  exit 3
fi
rm -f "$log"

if [ "$embedded" = no ]; then
  printf 'starting servers ...\n'
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-demo.XXXXXX") || exit 3
  sh "$repository/examples/servers.sh" start "$scratch" >/dev/null || exit 3
  # shellcheck disable=SC1091 # written by the line above
  . "$scratch/env"
fi
"$build/examples/demo" "$@"
