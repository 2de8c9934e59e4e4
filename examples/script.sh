#!/bin/sh
# What each of the example scripts needs: it builds, starts private servers in a temporary folder, runs programs in the background, waits for what must
# come true, and at the end stops all of it again. Sourced, after `repository` and `build` are set; it sets `scratch` and `failed`.
# shellcheck disable=SC2154,SC2034 # `repository` and `build` are the script's, and `failed` is for it

scratch='' children='' failed=no
timeout_s=180 # of each wait; on an idle machine none takes a fifth of it
began_s=$(date +%s)
script=${0##*/}

cleanup() {
  trap '' HUP INT TERM # half a cleanup leaves servers behind
  for child in $children; do kill "$child" 2>/dev/null; done
  for child in $children; do wait "$child" 2>/dev/null; done
  [ -n "$scratch" ] || return 0
  sh "$repository/examples/servers.sh" stop "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '[%3d s] %s\n' $(($(date +%s) - began_s)) "$*"; }
give_up() { # SENTENCE
  say "$*" >&2
  for log in "$scratch"/*.out; do
    [ -s "$log" ] || continue
    printf 'the end of %s:\n' "${log##*/}" >&2
    tail -n 15 "$log" >&2
  done
  exit 1
}
came_true() { say "yes: $*"; }
came_false() {
  say "NO:  $*"
  failed=yes
}

# Installs what is missing and builds; exits with 3 if that can't be.
build_targets() { # PACKAGE-LIST TARGET...
  # shellcheck source=examples/setup.sh disable=SC1091
  . "$repository/examples/setup.sh"
  epochcut_install "$1" || exit 3
  shift
  say "building"
  build_log=$(mktemp) || exit 3
  generator='' launcher=''
  if [ ! -f "$build/CMakeCache.txt" ] && command -v ninja >/dev/null; then generator=Ninja; fi
  if command -v ccache >/dev/null; then launcher=ccache; fi
  if ! cmake -S "$repository" -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DEPOCHCUT_BUILD_TESTS=OFF \
    -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" >"$build_log" 2>&1 ||
    ! cmake --build "$build" -j "${EPOCHCUT_JOBS:-2}" --target "$@" >>"$build_log" 2>&1; then
    tail -n 40 "$build_log" >&2
    rm -f "$build_log"
    printf '%s: it does not build; the compiler says why above.\n' "$script" >&2
    exit 3
  fi
  rm -f "$build_log"
}

# Private servers, whose settings are in the environment from then on.
start_servers() {
  say "starting servers"
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/epochcut-example.XXXXXX") || exit 3
  sh "$repository/examples/servers.sh" start "$scratch" >/dev/null || exit 3
  # shellcheck disable=SC1091 # written by the line above
  . "$scratch/env"
}

start() { # NAME COMMAND...: in the background; its output is in NAME.out, its process in $pid
  name=$1
  shift
  "$@" >>"$scratch/$name.out" 2>&1 </dev/null &
  pid=$!
  children="$children $pid"
}
# A program that is meant to end is no longer waited for.
forget() { # PID
  children=$(printf ' %s ' "$children" | sed "s/ $1 / /")
}
wait_until() { # SENTENCE COMMAND...
  wanted=$1 waited_s=$(date +%s)
  shift
  until "$@"; do
    [ $(($(date +%s) - waited_s)) -lt "$timeout_s" ] || give_up "it never came true within $timeout_s s: $wanted"
    for child in $children; do kill -0 "$child" 2>/dev/null || give_up "one of the programs has ended while this was waited for: $wanted"; done
    sleep 0.3
  done
}
ask() { psql -X -q -A -t -d "$EPOCHCUT_POSTGRES" -c "$1"; } # SQL, by the owner
holds() { [ "$(ask "SELECT $1")" = t ]; }                  # CONDITION
has_line() { grep -q "$1" "$2"; }                          # PATTERN FILE
