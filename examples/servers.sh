#!/bin/sh
# Throwaway PostgreSQL and ClickHouse servers inside one folder, on loopback, for the demo and the live tests.
#
#   servers.sh start DIR                start both (or what of them is down) and print the settings below
#   servers.sh stop DIR                 stop all; harmless when nothing runs
#   servers.sh start-second-clickhouse DIR       one more ClickHouse, with a name and data of its own: EPOCHCUT_CLICKHOUSE_2
#   servers.sh restart-postgres DIR              same data, same port; sessions are cut off
#   servers.sh restart-clickhouse DIR [second]   same data, same ports; also brings it back after kill-clickhouse
#   servers.sh kill-clickhouse DIR [second]      SIGKILL: a crash, not a shutdown
#   servers.sh env DIR                  print the settings again:  eval "$(sh servers.sh env DIR)"
#
# EPOCHCUT_TLS=1 makes `start` sign certificates of its own (DIR/tls) and speak TLS as well, ClickHouse on a port of its own.
# EPOCHCUT_FAST_SERVERS=0 makes PostgreSQL sync its disk; EPOCHCUT_SERVERS_TIMEOUT_S bounds each wait (60).
# EPOCHCUT_POSTGRES_BIN and EPOCHCUT_CLICKHOUSE_SERVER name other binaries than the ones found.
# Exit codes: 0 done, 1 a server failed, 2 bad usage, 3 something is not installed.
#
# The owner roles need no password: the servers listen on 127.0.0.1 only, hold made-up data, and live for minutes.

set -u
umask 022
# Whatever the caller's locale or PG* settings are, the servers must come up the same.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGPASSFILE PGDATABASE PGOPTIONS PGSERVICE PGDATA PGSSLMODE PGTZ
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH

timeout_s=${EPOCHCUT_SERVERS_TIMEOUT_S:-60}
recon_password=recon-secret
recon_log_password=recon-log-secret
production_password=production-secret
shadow_password=shadow-secret
cutover_password=cutover-secret

say() { printf 'servers.sh: %s\n' "$*" >&2; }
fail() { # CODE SENTENCE
  fail_code=$1
  shift
  say "$*"
  exit "$fail_code"
}
show_log() { # FILE...
  for log_file in "$@"; do
    [ -s "$log_file" ] || continue
    say "the end of $log_file:"
    tail -n 20 "$log_file" >&2
  done
}

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# --- which binaries, which folder, which account ---------------------------------------------------------------------

find_binaries() {
  pg_bin=${EPOCHCUT_POSTGRES_BIN:-}
  # Only the version that made the data can run on it.
  [ ! -s "$pg_dir/bin" ] || pg_bin=$(cat "$pg_dir/bin")
  if [ -z "$pg_bin" ]; then
    # 15 is what the figures in the documents were measured on; else the last one found.
    for pg_candidate in /usr/lib/postgresql/*/bin /usr/lib/postgresql/15/bin; do
      [ -x "$pg_candidate/initdb" ] && pg_bin=$pg_candidate
    done
  fi
  [ -x "$pg_bin/initdb" ] || fail 3 "PostgreSQL's server is not installed; run examples/setup.sh or set EPOCHCUT_POSTGRES_BIN."
  # A server may come without its client; any client will do.
  pg_psql=$pg_bin/psql
  [ -x "$pg_psql" ] || pg_psql=$(command -v psql) || fail 3 "psql is not installed; run examples/setup.sh."
  ch_server=${EPOCHCUT_CLICKHOUSE_SERVER:-$(command -v clickhouse-server)}
  [ -x "$ch_server" ] || fail 3 "ClickHouse's server is not installed; run examples/setup.sh or set EPOCHCUT_CLICKHOUSE_SERVER."
  for tool in curl perl; do
    command -v "$tool" >/dev/null || fail 3 "$tool is not installed; run examples/setup.sh."
  done
}

# PostgreSQL refuses to run as root and ClickHouse refuses to run as anyone but its data's owner, so both run as one
# ordinary account: the caller's, or for root the one that the PostgreSQL package made.
find_account() {
  account='' as_account=''
  [ "$(id -u)" -eq 0 ] || return 0
  account=postgres
  account_group=$(id -g "$account" 2>/dev/null) || fail 3 "root needs the user $account, whom PostgreSQL's package makes."
  as_account="setpriv --reuid=$account --regid=$account_group --init-groups"
}

# perl -e "$bare" FOLDER COMMAND...: becomes COMMAND, in a session of its own, holding none of the caller's files but the
# standard three. A server keeps what it inherits: a pipe in there never closes, and whoever reads it waits for ever.
# The shell can't do it: it closes only descriptors whose number has one digit, and keeps copies of its own above those.
# shellcheck disable=SC2016 # perl's variables
bare='
  use POSIX ();
  my $folder = shift;
  chdir($folder) or die "$folder: $!\n";
  POSIX::setsid();
  opendir(my $open, "/proc/self/fd") or die "/proc/self/fd: $!\n";
  POSIX::close($_) for grep { /^\d+$/ && $_ > 2 } readdir $open;
  exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n";'

enter_dir() { # DIR, which exists
  dir=$(cd "$1" && pwd -P) || exit 2
  case $dir in
    *[!A-Za-z0-9_./+@=,:\ -]*) fail 2 "the folder's name has a character that the servers' configuration can't carry: $dir" ;;
  esac
  pg_dir=$dir/postgres pg_data=$dir/postgres/data pg_log=$dir/postgres/server.log
  tls_dir=$dir/tls
  use_clickhouse first
}

# All that follows about ClickHouse is about this one.
use_clickhouse() { # first|second
  case $1 in
    first) ch_dir=$dir/clickhouse ports_file=$dir/ports ;;
    *) ch_dir=$dir/clickhouse-$1 ports_file=$dir/ports-$1 ;;
  esac
  ch_config=$ch_dir/config.xml ch_log=$ch_dir/server.log ch_pid_file=$ch_dir/pid
  # shellcheck disable=SC1090 # written by choose_ports
  [ ! -s "$ports_file" ] || . "$ports_file"
}

make_dirs() {
  mkdir -p "$pg_dir" "$ch_dir" || fail 1 "can't write into $dir."
  [ "${EPOCHCUT_TLS:-0}" != 1 ] || make_certificates
  [ -n "$account" ] || return 0
  # mktemp -d shuts everyone else out; the account only has to pass through.
  chmod a+x "$dir"
  chown "$account" "$pg_dir" "$ch_dir"
  [ ! -d "$tls_dir" ] || chown "$account" "$tls_dir/server.key"
  $as_account test -w "$pg_dir" || fail 2 "the user $account can't reach $dir; choose a folder that others may enter, as under /tmp."
}

# --- ports -----------------------------------------------------------------------------------------------------------

# Free ports below the range that outgoing connections are numbered from: in that range a client that knocks on a
# stopped server's port can be given this very port as its own, and connects to itself.
free_ports() { # COUNT
  perl -MSocket -e '
    my ($count) = @ARGV;
    my ($low, $high) = (10240, 32768);
    if (open(my $range, "<", "/proc/sys/net/ipv4/ip_local_port_range")) { ($high) = split(" ", <$range>); }
    $high = 65535 if $high < $low + 1000;
    my @held;
    for (1 .. 10000) {
      last if @held == $count;
      my $port = $low + int(rand($high - $low));
      socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
      bind($socket, sockaddr_in($port, INADDR_LOOPBACK)) and push @held, [$port, $socket];
    }
    @held == $count or die "no free ports";
    print join(" ", map { $_->[0] } @held), "\n";' "$1"
}

choose_ports() {
  chosen=$(free_ports 5) || fail 1 "found no free ports on 127.0.0.1."
  # shellcheck disable=SC2086 # five words
  set -- $chosen
  ch_http=$1 ch_tcp=$2 ch_inter=$3 ch_https=$4
  printf 'ch_http=%s ch_tcp=%s ch_inter=%s ch_https=%s\n' "$1" "$2" "$3" "$4" >"$ports_file"
  [ "$ch_dir" = "$dir/clickhouse" ] || return 0
  pg_port=$5
  printf 'pg_port=%s\n' "$5" >>"$ports_file"
}

# --- processes -------------------------------------------------------------------------------------------------------

# A pid alone may be another process by now, so the command line decides; but that is empty for a moment on the way into a
# program, and again on the way out, while ports and locks are still held.
runs() { # PID WORD
  [ -n "$1" ] && [ -d "/proc/$1" ] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" || return 1
  runs_line=$(tr '\0' '\n' <"/proc/$1/cmdline")
  [ -z "$runs_line" ] || printf '%s\n' "$runs_line" | grep -qxF -e "$2"
} 2>/dev/null
pg_pid() { sed -n 1p "$pg_data/postmaster.pid" 2>/dev/null; }
ch_pid() { cat "$ch_pid_file" 2>/dev/null; }
pg_runs() { runs "$(pg_pid)" "$pg_data"; }
ch_runs() { runs "$(ch_pid)" "--config-file=$ch_config"; }

wait_until_gone() { # SECONDS CHECK
  gone_tenths=$(($1 * 10))
  while "$2"; do
    [ "$gone_tenths" -gt 0 ] || return 1
    gone_tenths=$((gone_tenths - 1))
    sleep 0.1
  done
}

# --- TLS -------------------------------------------------------------------------------------------------------------

# An authority that nobody else knows, and a certificate by it for this machine. Its presence in the folder turns TLS on.
make_certificates() {
  [ ! -s "$tls_dir/server.crt" ] || return 0
  command -v openssl >/dev/null || fail 3 "openssl is not installed; run examples/setup.sh."
  mkdir -p "$tls_dir" && printf 'subjectAltName = IP:127.0.0.1, DNS:localhost\n' >"$tls_dir/names" &&
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=epochcut authority' \
      -keyout "$tls_dir/ca.key" -out "$tls_dir/ca.crt" 2>"$tls_dir/openssl.log" &&
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=localhost' \
      -keyout "$tls_dir/server.key" -out "$tls_dir/server.csr" 2>>"$tls_dir/openssl.log" &&
    openssl x509 -req -in "$tls_dir/server.csr" -CA "$tls_dir/ca.crt" -CAkey "$tls_dir/ca.key" -CAcreateserial -days 30 \
      -extfile "$tls_dir/names" -out "$tls_dir/server.crt" 2>>"$tls_dir/openssl.log" &&
    chmod 600 "$tls_dir/ca.key" "$tls_dir/server.key" && return 0
  show_log "$tls_dir/openssl.log"
  fail 1 "the certificates could not be made."
}

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

pg_configure() {
  # A unix socket's path has room for 107 bytes; TCP alone will do where the folder's name is longer.
  pg_socket="\"$pg_dir\""
  [ $((${#pg_dir} + 16)) -le 107 ] || pg_socket=
  # fsync only matters when the machine dies, and then this folder is gone as well; a killed server still recovers
  # from what the kernel holds. synchronous_commit stays on: it is part of what a commit means.
  pg_sync=off
  [ "${EPOCHCUT_FAST_SERVERS:-1}" != 0 ] || pg_sync=on
  cat >"$pg_data/postgresql.conf" <<END
listen_addresses = '127.0.0.1'
port = $pg_port
unix_socket_directories = '$pg_socket'
max_connections = 200
shared_buffers = 128MB
fsync = $pg_sync
full_page_writes = $pg_sync
synchronous_commit = on
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %q%u '
END
  [ ! -d "$tls_dir" ] || cat >>"$pg_data/postgresql.conf" <<END
ssl = on
ssl_cert_file = '$tls_dir/server.crt'
ssl_key_file = '$tls_dir/server.key'
END
  # recon has to show its password, as it would in production; so has every role that a test makes.
  cat >"$pg_data/pg_hba.conf" <<END
local all         epochcut              trust
host  all         epochcut 127.0.0.1/32 trust
host  replication epochcut 127.0.0.1/32 trust
local all         all                   scram-sha-256
host  all         all      127.0.0.1/32 scram-sha-256
END
}

pg_init() {
  if [ ! -s "$pg_data/PG_VERSION" ]; then
    rm -rf "$pg_data"
    $as_account perl -e "$bare" "$pg_dir" "$pg_bin/initdb" -D "$pg_data" -U epochcut -A trust -E UTF8 --locale=C.UTF-8 -N \
      </dev/null >"$pg_dir/initdb.log" 2>&1 && printf '%s\n' "$pg_bin" >"$pg_dir/bin" && return 0
    say "initdb failed."
    show_log "$pg_dir/initdb.log"
    return 1
  fi
}

pg_start() {
  pg_configure
  : >"$pg_log"
  [ -z "$account" ] || chown "$account" "$pg_log"
  $as_account perl -e "$bare" "$pg_dir" "$pg_bin/pg_ctl" -D "$pg_data" -l "$pg_log" -w -t "$timeout_s" -s start \
    </dev/null >"$pg_dir/pg_ctl.log" 2>&1
}

pg_sql() { # DATABASE, SQL on standard input
  "$pg_psql" -X -q -v ON_ERROR_STOP=1 -d "host=127.0.0.1 port=$pg_port user=epochcut dbname=$1 connect_timeout=10" >/dev/null
}

# The database sorts text by a language, not by bytes, as a real one does: a reader that forgets COLLATE "C" then fails
# here and not at its user's. What recon may read it is granted when the tables are made; it can't even make a temporary one.
pg_populate() {
  pg_make_database && pg_make_log && pg_make_engines
}

pg_make_database() {
  [ ! -e "$pg_dir/populated" ] || return 0
  pg_sql postgres <<END &&
CREATE DATABASE exchange TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8';
REVOKE TEMPORARY ON DATABASE exchange FROM PUBLIC;
CREATE ROLE recon LOGIN PASSWORD '$recon_password';
END
    : >"$pg_dir/populated"
}

# recon-engine's own tables: the schema belongs to the role that writes them, which can do nothing elsewhere.
pg_make_log() {
  [ ! -e "$pg_dir/log-populated" ] || return 0
  pg_sql exchange <<END &&
CREATE ROLE recon_log LOGIN PASSWORD '$recon_log_password';
CREATE SCHEMA recon_engine AUTHORIZATION recon_log;
ALTER ROLE recon_log IN DATABASE exchange SET search_path = recon_engine;
END
    : >"$pg_dir/log-populated"
}

# Who owns production writes it, a candidate writes its shadow, and the tool moves the one row between them. What each may do is granted with the tables.
pg_make_engines() {
  [ ! -e "$pg_dir/engines-populated" ] || return 0
  pg_sql exchange <<END &&
CREATE ROLE exchange_production LOGIN PASSWORD '$production_password';
CREATE ROLE exchange_shadow LOGIN PASSWORD '$shadow_password';
CREATE ROLE cutover LOGIN PASSWORD '$cutover_password';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
END
    : >"$pg_dir/engines-populated"
}

pg_stop() {
  pg_runs || return 0
  $as_account perl -e "$bare" "$pg_dir" "$pg_bin/pg_ctl" -D "$pg_data" -m fast -w -t 15 -s stop </dev/null >/dev/null 2>&1
  wait_until_gone 1 pg_runs && return 0
  # Its children notice the postmaster's death themselves.
  kill -KILL "$(pg_pid)" 2>/dev/null
  wait_until_gone 10 pg_runs
}

# --- ClickHouse ------------------------------------------------------------------------------------------------------

ch_configure() {
  ch_tls=
  [ ! -d "$tls_dir" ] || ch_tls="<https_port>$ch_https</https_port>
  <openSSL><server>
    <certificateFile>$tls_dir/server.crt</certificateFile>
    <privateKeyFile>$tls_dir/server.key</privateKeyFile>
    <verificationMode>none</verificationMode>
    <disableProtocols>sslv2,sslv3,tlsv1,tlsv1_1</disableProtocols>
  </server></openSSL>"
  # <interserver_http_host> and <listen_host> as numbers: otherwise the server asks DNS for its own name.
  # The caches are the smallest that still work; the stock ones reserve up to 13 GB between them.
  # <query_log> stays silent until a query sets log_queries = 1.
  cat >"$ch_config" <<END
<?xml version="1.0"?>
<yandex>
  <logger>
    <level>warning</level>
    <log>$ch_log</log>
    <errorlog>$ch_dir/error.log</errorlog>
    <size>50M</size>
    <count>2</count>
  </logger>
  <display_name>$ch_name</display_name>
  <listen_host>127.0.0.1</listen_host>
  <http_port>$ch_http</http_port>
  $ch_tls
  <tcp_port>$ch_tcp</tcp_port>
  <interserver_http_port>$ch_inter</interserver_http_port>
  <interserver_http_host>127.0.0.1</interserver_http_host>
  <max_connections>1024</max_connections>
  <max_concurrent_queries>200</max_concurrent_queries>
  <keep_alive_timeout>3</keep_alive_timeout>
  <mark_cache_size>67108864</mark_cache_size>
  <uncompressed_cache_size>8388608</uncompressed_cache_size>
  <path>$ch_dir/data/</path>
  <tmp_path>$ch_dir/data/tmp/</tmp_path>
  <user_files_path>$ch_dir/data/user_files/</user_files_path>
  <format_schema_path>$ch_dir/data/format_schemas/</format_schema_path>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>UTC</timezone>
  <mlock_executable>false</mlock_executable>
  <core_dump><size_limit>0</size_limit></core_dump>
  <query_log>
    <database>system</database>
    <table>query_log</table>
    <flush_interval_milliseconds>500</flush_interval_milliseconds>
  </query_log>
</yandex>
END
  cat >"$ch_dir/users.xml" <<END
<?xml version="1.0"?>
<yandex>
  <profiles>
    <default>
      <max_memory_usage>4000000000</max_memory_usage>
      <background_pool_size>4</background_pool_size>
    </default>
  </profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
  <quotas><default/></quotas>
</yandex>
END
  mkdir -p "$ch_dir/users.d"
  sed "s/SHA256/$(printf %s "$recon_password" | sha256sum | cut -d ' ' -f 1)/" "$(dirname "$0")/recon.xml" >"$ch_dir/users.d/recon.xml"
  sed -e "s/PRODUCTION_SHA256/$(printf %s "$production_password" | sha256sum | cut -d ' ' -f 1)/" \
    -e "s/SHADOW_SHA256/$(printf %s "$shadow_password" | sha256sum | cut -d ' ' -f 1)/" \
    -e "s/CUTOVER_SHA256/$(printf %s "$cutover_password" | sha256sum | cut -d ' ' -f 1)/" \
    "$(dirname "$0")/exchange.xml" >"$ch_dir/users.d/exchange.xml"
}

ch_launch() {
  # The name is ours alone, so an answer on the port is known to come from this server and not from a stranger.
  ch_name=epochcut-$ch_http-$ch_tcp
  ch_configure
  mkdir -p "$ch_dir/data"
  rm -f "$ch_pid_file" "$ch_log" "$ch_dir/error.log" "$ch_dir/output.log"
  : >"$ch_dir/output.log"
  [ -z "$account" ] || chown "$account" "$ch_dir/data" "$ch_dir/output.log"
  (exec $as_account perl -e "$bare" "$ch_dir" sh -c 'echo $$ >pid && exec "$@"' sh "$ch_server" "--config-file=$ch_config") \
    </dev/null >>"$ch_dir/output.log" 2>&1 &
}

ch_answers() {
  curl -s -m 2 --noproxy '*' -D - "http://127.0.0.1:$ch_http/?query=SELECT%20%27up%27" 2>/dev/null | tr -d '\r' |
    awk -v name="$ch_name" 'tolower($1) == "x-clickhouse-server-display-name:" && $2 == name { ours = 1 } $0 == "up" { up = 1 }
                            END { exit !(ours && up) }'
}

ch_wait() {
  ch_began=$(date +%s)
  while ! ch_answers; do
    ch_waited=$(($(date +%s) - ch_began))
    # No pid yet means that it is only just being started; looked at first, since it may be written at any moment.
    if { [ -s "$ch_pid_file" ] || [ "$ch_waited" -ge 5 ]; } && ! ch_runs; then
      ch_why="it ended while starting"
      return 1
    fi
    if [ "$ch_waited" -ge "$timeout_s" ]; then
      ch_why="no answer within $timeout_s s"
      return 1
    fi
    sleep 0.1
  done
  curl -s -f -m 10 --noproxy '*' -d 'CREATE DATABASE IF NOT EXISTS exchange' "http://127.0.0.1:$ch_http/" >/dev/null && return 0
  ch_why="it refused to make a database"
  return 1
}

ch_kill() {
  ch_runs || return 0
  kill -KILL "$(ch_pid)" 2>/dev/null
  wait_until_gone 10 ch_runs
}

ch_stop() {
  ch_runs || return 0
  # Asked politely it waits for running queries, however long they take.
  kill -TERM "$(ch_pid)" 2>/dev/null
  wait_until_gone 5 ch_runs || ch_kill
}

# --- commands --------------------------------------------------------------------------------------------------------

port_was_taken() {
  grep -qsiE 'could not bind|address already in use' "$pg_log" "$ch_dir/error.log" "$ch_dir/output.log"
}

write_env() {
  case $0 in
    /*) script=$0 ;;
    *) script=$PWD/$0 ;;
  esac
  script=$(cd "$(dirname "$script")" && pwd)/${0##*/}
  cat >"$dir/env.new" <<END
export EPOCHCUT_POSTGRES='host=127.0.0.1 port=$pg_port user=epochcut dbname=exchange'
export EPOCHCUT_POSTGRES_RECON='host=127.0.0.1 port=$pg_port user=recon password=$recon_password dbname=exchange'
export EPOCHCUT_POSTGRES_LOG='host=127.0.0.1 port=$pg_port user=recon_log password=$recon_log_password dbname=exchange'
export EPOCHCUT_POSTGRES_PRODUCTION='host=127.0.0.1 port=$pg_port user=exchange_production password=$production_password dbname=exchange'
export EPOCHCUT_POSTGRES_SHADOW='host=127.0.0.1 port=$pg_port user=exchange_shadow password=$shadow_password dbname=exchange'
export EPOCHCUT_POSTGRES_CUTOVER='host=127.0.0.1 port=$pg_port user=cutover password=$cutover_password dbname=exchange'
export EPOCHCUT_CLICKHOUSE='http://127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_PRODUCTION='http://production:$production_password@127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_SHADOW='http://shadow:$shadow_password@127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_CUTOVER='http://cutover:$cutover_password@127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_RECON='http://recon:$recon_password@127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_TCP_PORT='$ch_tcp'
export EPOCHCUT_SERVERS_DIR='$dir'
export EPOCHCUT_SERVERS_SH='$(printf %s "$script" | sed "s/'/'\\\\''/g")'
END
  if [ -d "$tls_dir" ]; then
    cat >>"$dir/env.new" <<END
export EPOCHCUT_TLS_DIR='$tls_dir'
export EPOCHCUT_POSTGRES_TLS="host=127.0.0.1 port=$pg_port user=recon password=$recon_password dbname=exchange sslmode=verify-full sslrootcert='$tls_dir/ca.crt'"
export EPOCHCUT_CLICKHOUSE_TLS='https://recon:$recon_password@127.0.0.1:$ch_https/'
END
  fi
  if [ -s "$dir/ports-second" ]; then
    use_clickhouse second
    cat >>"$dir/env.new" <<END
export EPOCHCUT_CLICKHOUSE_2='http://127.0.0.1:$ch_http/'
export EPOCHCUT_CLICKHOUSE_2_RECON='http://recon:$recon_password@127.0.0.1:$ch_http/'
END
    use_clickhouse first
  fi
  mv "$dir/env.new" "$dir/env"
}

give_up() { # SENTENCE LOG...
  say "$1"
  shift
  show_log "$@"
  stop_all
  exit 1
}

stop_all() { # names in `left` what could not be stopped
  left=
  pg_stop || left=PostgreSQL
  for one in first second; do
    use_clickhouse "$one"
    ch_stop || left="$left${left:+ and }ClickHouse ($one)"
  done
  use_clickhouse first
  [ -z "$left" ]
}

start_both() { # one attempt; 0 done, 1 a port was taken by someone in between
  ch_up=yes
  ch_name=epochcut-$ch_http-$ch_tcp
  ch_runs || {
    ch_up=
    ch_launch # it starts while initdb works
  }
  if ! pg_runs; then
    pg_init || give_up "PostgreSQL could not be set up."
    if ! pg_start; then
      port_was_taken && return 1
      give_up "PostgreSQL did not start within $timeout_s s on port $pg_port." "$pg_dir/pg_ctl.log" "$pg_log"
    fi
  fi
  pg_populate || give_up "PostgreSQL runs, but the database exchange could not be made." "$pg_log"
  if [ -z "$ch_up" ] && ! ch_wait; then
    port_was_taken && return 1
    give_up "ClickHouse did not start on port $ch_http: $ch_why." "$ch_dir/output.log" "$ch_dir/error.log"
  fi
}

start() {
  make_dirs
  trap 'stop_all; exit 130' INT
  trap 'stop_all; exit 143' HUP TERM
  attempts=5
  while :; do
    # Ports once handed out stay: someone may hold the settings.
    [ -s "$dir/env" ] || choose_ports
    start_both && break
    attempts=$((attempts - 1))
    [ "$attempts" -gt 0 ] || give_up "some other program keeps taking the ports." "$pg_log" "$ch_dir/error.log"
    pg_stop
    ch_stop
    sleep 0.5
  done
  write_env
  # What was there before `stop` is there again.
  [ ! -s "$dir/ports-second" ] || start_second_clickhouse
  cat "$dir/env"
}

start_second_clickhouse() {
  use_clickhouse second
  ch_name=epochcut-$ch_http-$ch_tcp
  ch_runs && ch_answers && return 0
  mkdir -p "$ch_dir" || fail 1 "can't write into $dir."
  [ -z "$account" ] || chown "$account" "$ch_dir"
  trap 'ch_stop; exit 130' INT
  trap 'ch_stop; exit 143' HUP TERM
  # As above: once a client may know a port, it stays.
  grep -qs EPOCHCUT_CLICKHOUSE_2= "$dir/env" || choose_ports
  restart_clickhouse
  use_clickhouse first
  write_env
}

restart_postgres() {
  pg_stop || fail 1 "PostgreSQL does not stop."
  pg_start && return 0
  say "PostgreSQL did not come back on port $pg_port within $timeout_s s."
  show_log "$pg_dir/pg_ctl.log" "$pg_log"
  exit 1
}

restart_clickhouse() {
  ch_stop || fail 1 "ClickHouse does not stop."
  for attempt in 1 2 3 4 5; do
    ch_launch
    ch_wait && return 0
    # Only a port still held by the last moments of something else is worth another try.
    port_was_taken || break
    ch_stop
    sleep 1
  done
  say "ClickHouse did not come back on port $ch_http after $attempt tries: $ch_why."
  show_log "$ch_dir/output.log" "$ch_dir/error.log"
  exit 1
}

case ${1:-} in
  -h | --help | help)
    usage
    exit 0
    ;;
  start | stop | start-second-clickhouse | restart-postgres | restart-clickhouse | kill-clickhouse | env) ;;
  *)
    usage >&2
    exit 2
    ;;
esac
case $#:$1:${3:-first} in
  2:* | 3:restart-clickhouse:first | 3:kill-clickhouse:first | 3:restart-clickhouse:second | 3:kill-clickhouse:second) ;;
  *) fail 2 "'$1' takes one folder${3:+ and no \"$3\"}." ;;
esac

if [ "$1" = start ]; then
  mkdir -p "$2" || fail 2 "can't make the folder $2."
elif [ ! -d "$2" ]; then
  [ "$1" != stop ] || exit 0
  fail 2 "there are no servers in $2."
fi
enter_dir "$2"
case $1 in
  start | stop) ;;
  *)
    [ -s "$dir/env" ] || fail 2 "there are no servers in $dir; start them first."
    [ "${3:-first}" = first ] || [ -s "$dir/ports-$3" ] || fail 2 "there is no second ClickHouse in $dir; start it first."
    use_clickhouse "${3:-first}"
    ;;
esac
if [ "$1" = env ]; then
  cat "$dir/env"
  exit
fi
find_account
find_binaries
case $1 in
  start) start ;;
  stop)
    # A test may keep servers of its own in a folder within.
    for inner in "$dir"/*/env; do
      [ ! -s "$inner" ] || sh "$0" stop "$(dirname "$inner")"
    done
    stop_all || fail 1 "$left in $dir could not be stopped."
    ;;
  start-second-clickhouse)
    start_second_clickhouse
    cat "$dir/env"
    ;;
  restart-postgres) restart_postgres ;;
  restart-clickhouse) restart_clickhouse ;;
  kill-clickhouse) ch_kill || fail 1 "ClickHouse survived SIGKILL." ;;
esac
