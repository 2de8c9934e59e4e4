#!/bin/sh
# Can include_cost.sh fail? Gives it headers that bring each forbidden one along, deep down, and one that is too long.
#
#   sh tests/lint/include_cost_test.sh COMPILER
set -u
[ $# -eq 1 ] || { echo "usage: include_cost_test.sh COMPILER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-cost-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/epochcut"
wrong=0

measure() { sh "$here/include_cost.sh" "$@" >"$work/said" 2>&1; }
complain() {
  printf '%s\n' "$1" && cat "$work/said"
  wrong=1
}

printf '#pragma once\n#include <epochcut/inner.hpp>\n' >"$work/epochcut/all.hpp"
printf '#pragma once\n#include <vector>\n' >"$work/epochcut/inner.hpp"
measure "$1" "$work" epochcut/all.hpp 60000 || complain "<vector> alone is refused"
measure "$1" "$work" epochcut/all.hpp 100 && complain "a header that is too long passes"
grep -q '  [0-9]* .*/vector  by epochcut/inner.hpp' "$work/said" || complain "the table does not say who brings <vector>"
for header in memory functional thread stop_token iostream regex ranges; do
  printf '#pragma once\n#include <%s>\n' "$header" >"$work/epochcut/inner.hpp"
  measure "$1" "$work" epochcut/all.hpp 600000 && complain "<$header> passes"
  grep -q "forbidden: .*epochcut/all.hpp > .*epochcut/inner.hpp > .*/$header\$" "$work/said" || complain "it is not said how <$header> got in"
done
printf '#include <epochcut/none.hpp>\n' >"$work/epochcut/all.hpp"
measure "$1" "$work" epochcut/all.hpp 60000 && complain "a header that does not compile passes"
exit $wrong
