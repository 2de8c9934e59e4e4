#!/bin/sh
# How long do the two servers themselves take to compare two tables of theirs, in plain SQL? Wall time, median of several runs.
#
#   . DIR/env && sh bench/peers/servers.sh ROWS REPETITIONS
#
# Prints one JSON object per line: peer, task, rows, seconds, note. Makes bench_peers.l and .r in PostgreSQL and bench_peers in ClickHouse, and leaves l for
# the peer in process. Needs psql and curl. Exit codes: 0 done, 1 a statement failed.

set -u

rows=$1
repetitions=$2

postgres() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$EPOCHCUT_POSTGRES" -c "$1"; }
clickhouse() { curl -sS --fail-with-body --data-binary "$1" "$EPOCHCUT_CLICKHOUSE?max_memory_usage=0"; }
now_ms() { date +%s%3N; }

measure() { # PEER TASK NOTE EXPECTED RUNNER SQL
  times=''
  i=0
  while [ "$i" -le "$repetitions" ]; do
    began=$(now_ms)
    got=$("$5" "$6") || exit 1
    took=$(($(now_ms) - began))
    [ "$got" = "$4" ] || {
      printf 'peers/servers.sh: %s of %s answered %s, not %s\n' "$2" "$1" "$got" "$4" >&2
      exit 1
    }
    [ "$i" -eq 0 ] || times="$times$took
" # the first is for warm caches
    i=$((i + 1))
  done
  median=$(printf %s "$times" | sort -n | sed -n "$(((repetitions + 1) / 2))p")
  printf '{"peer": "%s", "task": "%s", "rows": %s, "seconds": %s, "note": "%s"}\n' "$1" "$2" "$rows" "$(awk "BEGIN { print $median / 1000 }")" "$3"
}

postgres 'SET client_min_messages = warning; DROP SCHEMA IF EXISTS bench_peers CASCADE; CREATE SCHEMA bench_peers' || exit 1
for table in l r; do
  postgres "CREATE TABLE bench_peers.$table AS SELECT i AS event_id, i * 7 AS a, i % 1000 AS b, -i AS c, i * 48271 % 1000000007 AS d FROM generate_series(1, $rows::bigint) AS i" || exit 1
  postgres "ALTER TABLE bench_peers.$table ADD PRIMARY KEY (event_id)" || exit 1
  postgres "VACUUM (ANALYZE, FREEZE) bench_peers.$table" || exit 1
done
clickhouse 'DROP DATABASE IF EXISTS bench_peers' || exit 1
clickhouse 'CREATE DATABASE bench_peers' || exit 1
for table in l r; do
  clickhouse "CREATE TABLE bench_peers.$table (event_id Int64, a Int64, b Int64, c Int64, d Int64) ENGINE = MergeTree ORDER BY event_id" || exit 1
  clickhouse "INSERT INTO bench_peers.$table SELECT number + 1, (number + 1) * 7, (number + 1) % 1000, -(toInt64(number) + 1), (number + 1) * 48271 % 1000000007 FROM numbers($rows)" || exit 1
done

pg="PostgreSQL $(postgres 'SHOW server_version' | cut -d ' ' -f 1)"
ch="ClickHouse $(clickhouse 'SELECT version()')"
measure "$pg" 'same engine: EXCEPT' 'both ways, two tables of one server' 0 postgres \
  'SELECT count(*) FROM ((SELECT * FROM bench_peers.l EXCEPT SELECT * FROM bench_peers.r) UNION ALL (SELECT * FROM bench_peers.r EXCEPT SELECT * FROM bench_peers.l)) AS d'
measure "$pg" 'same engine: full join' 'on the key, every column compared, two tables of one server' 0 postgres \
  'SELECT count(*) FROM bench_peers.l AS l FULL JOIN bench_peers.r AS r USING (event_id) WHERE (l.a, l.b, l.c, l.d) IS DISTINCT FROM (r.a, r.b, r.c, r.d)'
measure "$ch" 'same engine: full join' 'on the key, every column compared, two tables of one server' 0 clickhouse \
  'SELECT count() FROM (SELECT event_id, a, b, c, d FROM bench_peers.l) FULL JOIN (SELECT event_id, a AS ra, b AS rb, c AS rc, d AS rd FROM bench_peers.r) USING (event_id) WHERE a != ra OR b != rb OR c != rc OR d != rd'
measure "$ch" 'same engine: digest' 'groupBitXor(cityHash64(*)) of both tables: equal or not, and blind to a row that stands there twice' 1 clickhouse \
  'SELECT (SELECT groupBitXor(cityHash64(*)) FROM bench_peers.l) = (SELECT groupBitXor(cityHash64(*)) FROM bench_peers.r)'
postgres 'DROP TABLE bench_peers.r' || exit 1
clickhouse 'DROP DATABASE bench_peers'
