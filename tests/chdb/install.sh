#!/bin/sh
# Installs ClickHouse 26 as a library, for the tests that need it: libchdb.so, of the npm package below. Only if it is not there yet.
#
#   EPOCHCUT_CHDB_ROOT=$(sh tests/chdb/install.sh) && cmake -DEPOCHCUT_CHDB_ROOT="$EPOCHCUT_CHDB_ROOT" ...
#
# Prints the folder that holds it, and nothing else on stdout. EPOCHCUT_CACHE names where it is kept (default: the user's cache).
# Exit codes: 0 it is there, 3 it is not and can't be installed; why is one sentence on stderr.

set -u

package=@chdb/lib-linux-x64-gnu
version=26.7.3-stable.1

fail() {
  printf 'chdb/install.sh: %s\n' "$*" >&2
  exit 3
}

[ -n "${EPOCHCUT_CACHE:-${XDG_CACHE_HOME:-${HOME:-}}}" ] || fail "none of EPOCHCUT_CACHE, XDG_CACHE_HOME and HOME is set."
cache=${EPOCHCUT_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/epochcut}
folder=$cache/chdb-$version

if [ ! -s "$folder/libchdb.so" ]; then
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "$package is for Linux on x86-64 only."
  for tool in npm node; do
    command -v "$tool" >/dev/null || fail "$tool is needed to fetch $package; install it (Debian: npm)."
  done
  mkdir -p "$cache" 2>/dev/null || fail "can't make the folder $cache."
  scratch=$(mktemp -d "$cache/chdb.XXXXXX") || fail "can't write into $cache."
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  npm install --prefix "$scratch" --no-save --no-audit --no-fund --ignore-scripts --loglevel=error "$package@$version" >"$scratch/log" 2>&1 ||
    fail "npm can't install $package@$version (error code $(sed -n 's/^npm [Ee][Rr][Rr][a-z!]* code //p' "$scratch/log" | head -n 1))."
  [ -s "$scratch/node_modules/$package/libchdb.so" ] || fail "$package@$version holds no libchdb.so."
  # Whole or not at all, also when two of these run at once: the loser finds the folder taken, by the same thing.
  mv -T "$scratch/node_modules/$package" "$folder" 2>/dev/null || [ -s "$folder/libchdb.so" ] || fail "can't write $folder."
fi
printf '%s\n' "$folder"
