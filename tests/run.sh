#!/bin/sh
# Everything that has to hold before a change lands: install, build, live servers, all tests, then the unit tests once
# more under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   sh tests/run.sh [--quick | --full] [--build-dir DIR]
#
#   --quick          no sanitizers, and no tests labelled soak
#   --full           the long form of the tests that have one (they see EPOCHCUT_FULL=1)
#   --build-dir DIR  build in DIR, with sanitizers in DIR-asan (default: build in the repository)
#   --help           this text
#
# A skipped test counts as a failure here: it has proved nothing, and nobody reads a list of skips.
# Exit codes: 0 all passed, 1 something failed, 2 bad usage, 3 something is missing that can't be installed.
# EPOCHCUT_JOBS sets how much runs at once (2); EPOCHCUT_SKIP_INSTALL=1 installs nothing.

set -u

repository=$(cd "$(dirname "$0")/.." && pwd) || exit 2
began_s=$(date +%s)
jobs=${EPOCHCUT_JOBS:-2}
passed=0 failed=0 skipped=0
scratch=

say() { printf '[%4d s] %s\n' $(($(date +%s) - began_s)) "$*"; }
fail() { # CODE SENTENCE
  fail_code=$1
  shift
  printf 'run.sh: %s\n' "$*" >&2
  exit "$fail_code"
}
usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  [ -n "$scratch" ] || return 0
  sh "$repository/examples/servers.sh" stop "$scratch"
  rm -rf "$scratch"
  scratch=
}

# Prints the names of a JUnit file's tests with one of the given statuses.
tests_that() { # FILE STATUS-PATTERN
  sed -n "s/.*<testcase name=\"\\([^\"]*\\)\".* status=\"\\($2\\)\".*/\\1/p" "$1"
}
count() { tests_that "$1" "$2" | grep -c .; }

configure() { # FOLDER OPTION...
  folder=$1
  shift
  # A folder that was configured before keeps its generator; CMake refuses another.
  if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja >/dev/null; then
    set -- -G Ninja "$@"
  fi
  if command -v ccache >/dev/null; then
    set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache "$@"
  fi
  cmake -S "$repository" -B "$folder" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON "$@" || fail 1 "$folder could not be configured."
}

# Runs tests and adds them to the sums. ctest's own result counts too: it knows of failures that are no test's.
run_tests() { # LEG FOLDER CTEST-OPTION...
  leg=$1 folder=$2 report=$scratch/$1.xml
  shift 2
  # A test without a limit of its own must not hold up the rest for ctest's 25 minutes.
  (cd "$folder" && ctest --output-on-failure --no-tests=error --timeout 600 -j "$jobs" --output-junit "$report" "$@") </dev/null
  ctest_code=$?
  [ -s "$report" ] || fail 1 "ctest ended with $ctest_code and reported no test for the leg $leg."
  leg_failed=$(count "$report" fail)
  [ "$ctest_code" -eq 0 ] || [ "$leg_failed" -gt 0 ] || leg_failed=1
  leg_skipped=$(count "$report" 'notrun\|disabled')
  if [ "$leg_skipped" -gt 0 ]; then
    say "in the leg $leg $leg_skipped tests were skipped, which proves nothing: $(tests_that "$report" 'notrun\|disabled' | tr '\n' ' ')"
  fi
  passed=$((passed + $(count "$report" run))) failed=$((failed + leg_failed)) skipped=$((skipped + leg_skipped))
}

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
export EPOCHCUT_FULL=0
[ "$mode" != full ] || EPOCHCUT_FULL=1

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say "packages"
# shellcheck source=examples/setup.sh disable=SC1091
. "$repository/examples/setup.sh"
epochcut_install all || exit 3
for tool in cmake ctest; do
  command -v "$tool" >/dev/null || fail 3 "$tool is not installed."
done
command -v ninja >/dev/null || command -v make >/dev/null || fail 3 "neither ninja nor make is installed."

# Tests compile twice as fast as with -O2 -g and run long enough waiting; assertions stay on.
flags=-DCMAKE_CXX_FLAGS_RELEASE=-O1
say "configuring $build"
configure "$build" -DCMAKE_BUILD_TYPE=Release "$flags"
say "building"
cmake --build "$build" -j "$jobs" || fail 1 "$build does not build."

say "servers"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-tests.XXXXXX") || fail 1 "can't make a temporary folder."
sh "$repository/examples/servers.sh" start "$scratch" >/dev/null || exit
# shellcheck disable=SC1091 # written by the line above
. "$scratch/env"

say "tests"
if [ "$mode" = quick ]; then
  run_tests all "$build" -LE soak
else
  run_tests all "$build"
  say "the soak, per write path"
  sed -n '/^seed [0-9]/,/^===/{/^===/!p;}' "$build/Testing/Temporary/LastTest.log"
  say "configuring $build-asan"
  configure "$build-asan" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DEPOCHCUT_SANITIZE=ON
  say "building the unit tests with sanitizers"
  cmake --build "$build-asan" -j "$jobs" --target unit_tests || fail 1 "the unit tests do not build with sanitizers."
  say "unit tests with sanitizers"
  run_tests sanitizers "$build-asan" -L unit
fi

cleanup
say "total $(($(date +%s) - began_s)) seconds"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$skipped" -eq 0 ]
