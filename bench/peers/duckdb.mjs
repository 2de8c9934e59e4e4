// How long does DuckDB take for what bench/ measures in memory? One thread; the CPU time of this process, median of several runs.
// node duckdb.mjs FOLDER-OF-NODE_MODULES ROWS REPETITIONS: prints one JSON object per line: peer, task, rows, seconds, note.
import { createRequire } from 'node:module';
import process from 'node:process';

const [folder, rowsText, repetitionsText] = process.argv.slice(2);
const rows = Number(rowsText), repetitions = Number(repetitionsText);
const require = createRequire(`${folder}/`);
const { DuckDBInstance } = require('@duckdb/node-api');
const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
const connection = await instance.connect();
const run = (sql) => connection.run(sql);
const engine = (await connection.runAndReadAll('SELECT version()')).getRows()[0][0];

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
