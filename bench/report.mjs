// What did a run of the benches find? Merges the lines that they printed into report.json and report.md, and a peer's time with ours.
//   node report.mjs OUT MACHINE               OUT/*.jsonl -> OUT/report.json, OUT/report.md
//   node report.mjs --check OUT BASELINE      OUT/*.jsonl against the committed ratios; prints the rows that lost more than the tolerance, exits with 1 if any,
//                                             with 3 if there are none of such a processor
//   node report.mjs --baseline OUT BASELINE   writes the ratios of the checked rows, for processors like this one
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import process from 'node:process';

const tolerance = 0.15;  // of a ratio: what a quiet change of a row loses before it counts as lost

const lines = (folder) => readdirSync(folder).filter((name) => name.endsWith('.jsonl')).sort()
  .flatMap((name) => readFileSync(`${folder}/${name}`, 'utf8').split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)));
const key = (row) => `${row.name} @ ${row.rows}`;
/// The best of several measurements of one row, as a share of its limit: a retry counts for it, never against it.
const best = (rows) => {
  const byKey = new Map();
  for (const row of rows) if (!byKey.has(key(row)) || byKey.get(key(row)).ratio < row.ratio) byKey.set(key(row), row);
  return [...byKey.values()];
};

/// Ours beside a peer's: which of our rows answers the same question, and how much of a peer's speed is aimed at.
const beside = [
  { task: 'latest', ours: 'fold.latest', aims: { DuckDB: 6 } },
  { task: 'latest by one column', ours: 'fold.latest', aims: {} },
  { task: 'latest of one value', ours: 'fold.latest', aims: {} },
  { task: 'sum', ours: 'fold.sum', aims: {} },
  { task: 'unordered diff', ours: 'hashed_diff.narrow.equal.memory_kept', aims: { DuckDB: 4 } },
  { task: 'unordered diff', ours: 'hashed_diff.narrow.equal', as: 'unordered diff, memory given back', aims: {} },
  { task: 'unordered diff by EXCEPT', ours: 'hashed_diff.narrow.equal', aims: {} },
  { task: 'digest', ours: 'hashed_diff.narrow.equal', aims: {} },
  { task: 'full compare', ours: /^full compare/i, aims: { ClickHouse: 1.5, DuckDB: 2.5 } },
  { task: 'same engine', ours: /^full compare/i, aims: {} },
];

/// Who is asked in every run with peers: one that gave no line at all is absent too, and said to be.
const peers = { 'DuckDB': /^DuckDB( v\S+)?$/, 'DuckDB over CSV': /^DuckDB.* over CSV$/, 'ClickHouse 26 in process': /^ClickHouse .*in process$/,
  'plain SQL in PostgreSQL': /^PostgreSQL|^plain SQL/, 'plain SQL in ClickHouse': /^ClickHouse [\d.]+$|^plain SQL/, 'data-diff': /^data-diff$/ };

const perSecond = { 'Mrows/s': (row) => row.ours * 1e6, 'rows/s': (row) => row.ours, s: (row) => row.rows / row.ours, ms: (row) => row.rows / row.ours * 1e3 };

function report(folder, machine) {
  const all = lines(folder);
  const rows = best(all.filter((row) => row.name)).map(({ checked, ...row }) => row);
  const measured = [...rows];
  const asked = all.filter((row) => row.peer);
  for (const [peer, names] of Object.entries(peers))
    if (!asked.some((row) => names.test(row.peer))) asked.push({ peer, task: 'all', absent: 'this run has no line of it' });
  for (const peer of asked) {
    const name = `${peer.task} beside ${peer.peer}`;
    if (peer.absent) {
      rows.push({ name, ours: null, limit: null, ratio: null, aim: null, lower_is_better: false, unit: 'Mrows/s', rows: 0, note: `absent: ${peer.absent}` });
      continue;
    }
    const matches = beside.filter((b) => peer.task === b.task || peer.task.startsWith(`${b.task}:`));
    for (const match of matches.length > 0 ? matches : [{ ours: '', aims: {} }]) {
      const mine = measured.find((row) => (match.ours instanceof RegExp ? match.ours.test(row.name) : match.ours === row.name) && row.unit in perSecond &&
        (row.rows === peer.rows || match.ours instanceof RegExp));
      const inTurns = peer.ours_seconds > 0;  // measured by the peer's own run, and not elsewhere in this one
      const theirs = peer.rows / peer.seconds / 1e6, ours = inTurns ? peer.rows / peer.ours_seconds / 1e6 : mine ? perSecond[mine.unit](mine) / 1e6 : null;
      const aim = Object.entries(match.aims).find(([who]) => peer.peer.startsWith(who))?.[1] ?? null;
      rows.push({ name: `${match.as ?? peer.task} beside ${peer.peer}`, ours, limit: theirs, ratio: ours && ours / theirs, aim, lower_is_better: false, unit: 'Mrows/s',
        rows: peer.rows, note: `${inTurns ? `ours: the same, in turns, ${peer.ours_seconds.toFixed(3)} s` : mine ? `ours: ${mine.name}` : 'ours: not in this run'}; ${peer.note}; ${peer.seconds.toFixed(3)} s` });
    }
  }
  writeFileSync(`${folder}/report.json`, `${JSON.stringify(rows, null, 1)}\n`);
  const figure = (n) => n === null || n === undefined ? '–' : Math.abs(n) >= 100 ? n.toFixed(0) : Math.abs(n) >= 10 ? n.toFixed(1) : n.toFixed(Math.abs(n) < 0.01 && n !== 0 ? 5 : 3);
  const verdict = (row) => !row.aim || row.ratio === null ? '' : (row.lower_is_better ? row.ratio <= row.aim : row.ratio >= row.aim) ? 'yes' : '**no**';
  const cell = (text) => String(text).replaceAll('|', '\\|');
  const table = ['| row | rows | ours | limit | unit | ratio | aim | reached | note |', '|---|---:|---:|---:|---|---:|---:|---|---|',
    ...rows.map((r) => `| ${cell(r.name)} | ${r.rows.toLocaleString('en-US').replaceAll(',', ' ')} | ${figure(r.ours)} | ${figure(r.limit)} | ${r.unit} | ${figure(r.ratio)} | ` +
      `${r.aim ? `${r.lower_is_better ? '≤' : '≥'} ${r.aim}` : ''} | ${verdict(r)} | ${cell(r.note)} |`)];
  writeFileSync(`${folder}/report.md`, `${machine}\n\n${table.join('\n')}\n`);
  console.log(`${rows.length} rows in ${folder}/report.json; ${rows.filter((r) => verdict(r) === '**no**').length} aims not reached, ${rows.filter((r) => r.note.startsWith('absent')).length} absent`);
}

// A processor that multiplies eight words at once has ratios of its own (core/hash_words.hpp).
function processor() {
  try {
    return / avx512dq( |$)/m.test(readFileSync('/proc/cpuinfo', 'utf8')) ? 'avx512dq' : 'other';
  } catch {
    return 'other';
  }
}

function check(folder, baselineFile) {
  const wanted = JSON.parse(readFileSync(baselineFile, 'utf8'))[processor()] ?? {};
  if (Object.keys(wanted).length === 0) {
    console.error(`${baselineFile} has no ratios of a processor like this one ("${processor()}"); write them with --baseline.`);
    process.exit(3);
  }
  const got = new Map(best(lines(folder).filter((row) => row.checked)).map((row) => [key(row), row]));
  const lost = [];
  for (const [name, ratio] of Object.entries(wanted)) {
    const row = got.get(name);
    const share = row ? row.ratio / ratio : 0;
    console.error(`${share < 1 - tolerance ? 'LOST' : 'ok  '} ${name}: ${row ? `${row.ratio.toFixed(3)} of its limit, ${(100 * share).toFixed(0)} % of the baseline's ${ratio.toFixed(3)}` : 'not measured'}`);
    if (share < 1 - tolerance) lost.push(name);
  }
  for (const name of lost) console.log(name.split(' @ ')[0]);
  process.exit(lost.length > 0 ? 1 : 0);
}

function baseline(folder, file) {
  const runs = lines(folder).filter((row) => row.checked);
  const mean = (of) => of.reduce((sum, row) => sum + row.ratio, 0) / of.length;
  const rows = best(runs).map((row) => ({ ...row, ratio: mean(runs.filter((other) => key(other) === key(row))) }));
  const all = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  all[processor()] = Object.fromEntries(rows.map((row) => [key(row), Number(row.ratio.toPrecision(4))]));
  writeFileSync(file, `${JSON.stringify(all, null, 1)}\n`);
}

const [first, second, third] = process.argv.slice(2);
if (first === '--check') check(second, third);
else if (first === '--baseline') baseline(second, third);
else report(first, second);
