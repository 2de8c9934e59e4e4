// How long does DuckDB take for what bench/ measures? Prints one JSON object per line: peer, task, rows, seconds, note. Figures are medians of several runs.
//   node duckdb.mjs FOLDER-OF-NODE_MODULES ROWS REPETITIONS                what is in memory: one thread; the CPU time of this process
//   node duckdb.mjs FOLDER-OF-NODE_MODULES ROWS REPETITIONS csv SCRATCH    two live tables of ROWS rows, exported to CSV and joined: all threads, wall time.
// The latter takes the tables that compare_bench leaves in EPOCHCUT_POSTGRES and EPOCHCUT_CLICKHOUSE, needs psql and curl, and writes its files to SCRATCH. It runs
// in turns with EPOCHCUT_BENCH_OURS, a command that does the same with epochcut and prints its seconds, so that both have the same machine; without it, alone.
import { execSync, spawn } from 'node:child_process';
import { openSync, closeSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import process from 'node:process';

const [folder, rowsText, repetitionsText, mode, scratch] = process.argv.slice(2);
const rows = Number(rowsText), repetitions = Number(repetitionsText);
const require = createRequire(`${folder}/`);
const { DuckDBInstance } = require('@duckdb/node-api');
const threads = mode === 'csv' ? availableParallelism() : 1;
const instance = await DuckDBInstance.create(':memory:', { threads: String(threads) });
const connection = await instance.connect();
const run = (sql) => connection.run(sql);
const engine = (await connection.runAndReadAll('SELECT version()')).getRows()[0][0];

if (mode === 'csv') {
  await overCsv();
  process.exit(0);
}

/// What a program does that has only exports: both stores write at once, then every row of both is compared.
async function overCsv() {
  const export_ = (file, program, ...args) => new Promise((done, failed) => {
    const out = openSync(file, 'w');
    const child = spawn(program, args, { stdio: ['ignore', out, 'inherit'] });
    closeSync(out);
    child.on('error', failed);
    child.on('close', (code) => (code === 0 ? done() : failed(new Error(`${program} ended with ${code}`))));
  });
  const columns = "{'event_id': 'BIGINT', 'a': 'BIGINT', 'b': 'BIGINT', 'c': 'BIGINT', 'd': 'BIGINT'}", select = 'SELECT event_id, a, b, c, d FROM compare_bench.';
  const l = `${scratch}/l.csv`, r = `${scratch}/r.csv`, read = (file) => `read_csv('${file}', header = false, auto_detect = false, columns = ${columns})`;
  const seconds = [], exported = [], ours = [];
  for (let i = 0; i <= repetitions; ++i) {
    if (process.env.EPOCHCUT_BENCH_OURS) ours.push(Number(execSync(process.env.EPOCHCUT_BENCH_OURS)));
    const before = process.hrtime.bigint(), since = () => Number(process.hrtime.bigint() - before) / 1e9;
    await Promise.all([export_(l, 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', process.env.EPOCHCUT_POSTGRES, '-c', `COPY (${select}narrow) TO STDOUT (FORMAT csv)`),
      export_(r, 'curl', '-sS', '--fail-with-body', '--data-binary', `${select}narrow_0 FORMAT CSV`, process.env.EPOCHCUT_CLICKHOUSE)]);
    const written = since();
    const answer = await connection.runAndReadAll(`SELECT count(*), count(l.event_id), count(r.event_id), count(*) FILTER (WHERE l.event_id IS NULL OR r.event_id IS NULL
      OR l.a IS DISTINCT FROM r.a OR l.b IS DISTINCT FROM r.b OR l.c IS DISTINCT FROM r.c OR l.d IS DISTINCT FROM r.d)
      FROM ${read(l)} l FULL JOIN ${read(r)} r ON l.event_id = r.event_id`);
    if (i > 0) seconds.push(since()), exported.push(written);  // the first is for warm caches
    const got = answer.getRows()[0].map(Number).join();
    if (got !== [rows, rows, rows, 0].join()) throw new Error(`full compare answered ${got}, not ${rows} equal rows`);
  }
  const median = (of) => of.sort((a, b) => a - b)[of.length >> 1], mib = (bytes) => Math.round(bytes / 2 ** 20);
  console.log(JSON.stringify({ peer: `DuckDB ${engine} over CSV`, task: 'full compare', rows, seconds: median(seconds), ours_seconds: median(ours),
    note: `both tables exported to CSV at once by psql and curl, in ${median(exported).toFixed(2)} s, then FULL JOIN of read_csv, every column compared; ${threads} threads, wall time; ` +
      `${mib(statSync(l).size + statSync(r).size)} MiB of files, ${mib(process.resourceUsage().maxRSS * 1024)} MiB of memory` }));
}

const cpu = () => {
  const used = process.cpuUsage();
  return (used.user + used.system) / 1e6;
};

async function time(task, ofRows, sql, note, expected) {
  const seconds = [];
  for (let i = 0; i <= repetitions; ++i) {
    const before = cpu();
    const answer = await connection.runAndReadAll(sql);
    if (i > 0) seconds.push(cpu() - before);  // the first is for warm caches
    const got = answer.getRows()[0].map(Number);
    if (expected !== undefined && got.join() !== expected.join()) throw new Error(`${task} answered ${got}, not ${expected}`);
  }
  seconds.sort((a, b) => a - b);
  const median = seconds[seconds.length >> 1];
  console.log(JSON.stringify({ peer: `DuckDB ${engine}`, task, rows: ofRows, seconds: median, note: `${note}; one thread, CPU time` }));
}

// argMax: rows in the order of their events, a fiftieth as many keys.
const keys = Math.floor(rows / 50) + 1;
await run(`CREATE TABLE e AS SELECT i AS seq, i * 1000 AS ts, (hash(i) % ${keys})::BIGINT AS key, (hash(i + 2) >> 24)::BIGINT AS a,
  (hash(i + 3) >> 24)::BIGINT AS b, (hash(i + 4) >> 24)::BIGINT AS c FROM range(${rows}) t(i)`);
await time('latest', rows, 'SELECT max(v.a + v.b + v.c) FROM (SELECT key, arg_max(struct_pack(a, b, c), (ts, seq)) v FROM e GROUP BY key)',
  'arg_max(struct of three, (ts, seq)) GROUP BY key');
await time('latest by one column', rows, 'SELECT max(v.a + v.b + v.c) FROM (SELECT key, arg_max(struct_pack(a, b, c), seq) v FROM e GROUP BY key)',
  'arg_max(struct of three, seq) GROUP BY key');
await time('latest of one value', rows, 'SELECT max(v) FROM (SELECT key, arg_max(a, (ts, seq)) v FROM e GROUP BY key)',
  'arg_max(one column, (ts, seq)) GROUP BY key');
await time('sum', rows, 'SELECT max(s), max(n) FROM (SELECT key, sum(a) s, count(*) n FROM e GROUP BY key)', 'sum and count GROUP BY key');
await run('DROP TABLE e');

// Two sides with the same rows, each in an order of its own.
const side = Math.floor(rows / 2);
for (const [name, factor] of [['l', 48271], ['r', 16807]])
  await run(`CREATE TABLE ${name} AS SELECT id, (hash(id) % 1000)::BIGINT AS key, (hash(id + 1) >> 24)::BIGINT AS a, (hash(id + 2) >> 24)::BIGINT AS b,
    (hash(id + 3) >> 24)::BIGINT AS c FROM (SELECT i * ${factor} % ${side} AS id FROM range(${side}) t(i))`);
await time('unordered diff', side, `SELECT count(*) FROM l FULL JOIN r ON l.id = r.id WHERE l.id IS NULL OR r.id IS NULL OR l.key IS DISTINCT FROM r.key
  OR l.a IS DISTINCT FROM r.a OR l.b IS DISTINCT FROM r.b OR l.c IS DISTINCT FROM r.c`, 'FULL JOIN on the key, every column compared', [0]);
await time('unordered diff by EXCEPT', side, 'SELECT count(*) FROM ((SELECT * FROM l EXCEPT SELECT * FROM r) UNION ALL (SELECT * FROM r EXCEPT SELECT * FROM l))',
  'EXCEPT, both ways', [0]);
