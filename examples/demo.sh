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

# shellcheck source=examples/script.sh disable=SC1091
. "$repository/examples/script.sh"
if [ "$embedded" = yes ]; then build_targets embedded demo; else build_targets demo demo; fi
[ "$embedded" = yes ] || start_servers
"$build/examples/demo" "$@"
