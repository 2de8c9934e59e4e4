#!/bin/sh
# Does the splice's model hold, and does each guard in it do something?
#
#   sh tests/splice/model.sh [SPIN-OPTION...]    e.g. -DSPLICES=2, -DDOUBLE_START, -DLAST=3: minutes, and gigabytes
#
# Without a guard the model must be wrong, or the guard is of no use; two are for progress alone, and the model is as safe without them.
# Exit codes: 0 as it must be, 1 not, 77 there is no spin.

set -u
command -v spin >/dev/null || { echo 'model.sh: spin is not installed'; exit 77; }
model=$(cd "$(dirname "$0")/../../docs/splice" && pwd)/splice.pml || exit 1
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0

# What the search must say: errors: 0 or errors: 1.
expect() { # WHAT ERRORS OPTION...
  what=$1 errors=$2
  shift 2
  if ! spin -a "$@" "$model" >spin.out 2>&1 || ! gcc -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=16000 -o pan pan.c; then
    cat spin.out
    exit 1
  fi
  ./pan -m200000 >pan.out 2>&1
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
  if grep -q 'max search depth too small\|out of memory\|memory limit' pan.out || ! grep -q "errors: $errors\$" pan.out; then
    failed=1
    printf 'NOT AS IT MUST BE: '
    grep 'errors:\|assertion violated\|depth too small\|memory' pan.out
  fi
  printf '%-52s %12s states, %s\n' "$what" "${states:-?}" "$(sed -n 's/.*errors: /errors: /p' pan.out)"
}

expect 'the protocol' 0 -DLAST=2 -DSPLICES=1 "$@"
for guard in NO_GENERATION NO_PREVIOUS EARLY_START TWO_STEP_FLIP FLIP_ANYWHERE NO_CATCH_UP NO_DIGEST; do
  expect "broken: $guard" 1 -DLAST=2 -DSPLICES=1 "-D$guard" "$@"
done
for guard in NO_STOP ARM_BLIND; do
  expect "safe, at the cost of progress: $guard" 0 -DLAST=2 -DSPLICES=1 "-D$guard" "$@"
done
exit $failed
