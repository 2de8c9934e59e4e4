#!/bin/sh
# A hot standby of the PostgreSQL that examples/servers.sh started in DIR, on a unix socket alone.
#
#   standby.sh start DIR NAME   copies the server and follows it; DIR/postgres/NAME is then the host to connect to
#   standby.sh stop DIR NAME    ends it and removes its data; harmless when nothing runs
#
# EPOCHCUT_POSTGRES says how the server is reached, as servers.sh prints it. Exit codes: 0 done, 1 it failed, and its log says why, 2 bad usage,
# 3 this PostgreSQL has no pg_basebackup, as the one from the npm registry.

set -u
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH

if [ $# -ne 3 ] || [ ! -s "$2/postgres/bin" ]; then
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
bin=$(cat "$2/postgres/bin") folder=$(cd "$2" && pwd -P)/postgres/$3
[ $((${#folder} + 16)) -le 107 ] || exit 2 # a unix socket's path has no room for more

# As in servers.sh: PostgreSQL won't run as root.
as=''
[ "$(id -u)" -ne 0 ] || as="setpriv --reuid=postgres --regid=$(id -g postgres) --init-groups"

case $1 in
  start)
    [ -x "$bin/pg_basebackup" ] || exit 3
    $as mkdir "$folder" && cd "$folder" || exit 1
    # shellcheck disable=SC2086 # $as is a list of words
    $as "$bin/pg_basebackup" -d "$EPOCHCUT_POSTGRES" -D "$folder/data" -R -X stream -c fast >"$folder.log" 2>&1 </dev/null || exit 1
    # shellcheck disable=SC2086
    $as "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -t 60 -s \
      -o "-c listen_addresses='' -c unix_socket_directories='$folder' -c port=5432 -c shared_buffers=16MB" start >>"$folder.log" 2>&1 </dev/null || exit 1
    ;;
  stop)
    [ -d "$folder" ] || exit 0
    # shellcheck disable=SC2086
    [ ! -s "$folder/data/postmaster.pid" ] || (cd / && $as "$bin/pg_ctl" -D "$folder/data" -m immediate -w -t 15 -s stop >/dev/null 2>&1 </dev/null)
    rm -rf "$folder" "$folder.log"
    ;;
  *) exit 2 ;;
esac
