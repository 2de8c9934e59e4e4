// How does the cost grow with the rows? Draws it from report.json, on two logarithmic axes; light and dark. And puts report.md into a page.
//   node chart.mjs REPORT.JSON CHART.SVG [REPORT.MD PAGE.MD]: the page's text between the two markers becomes the report's
import { readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';

const [reportFile, chartFile, tableFile, pageFile] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(reportFile, 'utf8'));
const series = [
  ['ordered_diff.narrow.equal', 'diff, in key order', (r) => r.rows * 80 / (r.ours * 1e9)],  // two sides of 40 bytes a row
  ['hashed_diff.narrow.equal', 'diff, in no order', (r) => r.rows / (r.ours * 1e6)],
  ['fold.latest', 'newest row per key', (r) => r.rows / (r.ours * 1e6)],
  ['fold.latest.key_ordered', 'the same, keys in order', (r) => r.rows * 40 / (r.ours * 1e9)],
].map(([name, label, seconds]) => ({
  label,
  points: rows.filter((r) => r.name === name && r.ours).map((r) => [r.rows, seconds(r)]).sort((a, b) => a[0] - b[0]),
})).filter((s) => s.points.length > 0);
if (series.length === 0) throw new Error(`${reportFile} has no row that the chart draws`);

const [left, right, top, bottom] = [70, 560, 24, 330];
const logs = (values) => [Math.floor(Math.log10(Math.min(...values))), Math.ceil(Math.log10(Math.max(...values)))];
const [x0, x1] = logs(series.flatMap((s) => s.points.map((p) => p[0] * 0.999)).concat(series.flatMap((s) => s.points.map((p) => p[0]))));
const [y0, y1] = logs(series.flatMap((s) => s.points.map((p) => p[1])));
const x = (v) => left + (Math.log10(v) - x0) / (x1 - x0) * (right - left);
const y = (v) => bottom - (Math.log10(v) - y0) / (y1 - y0) * (bottom - top);
const power = (n) => `10<tspan dy="-5" font-size="9">${n}</tspan>`;
const time = (n) => n >= 0 ? `${10 ** n} s` : n >= -3 ? `${10 ** (n + 3)} ms` : `${10 ** (n + 6)} µs`;

const parts = [];
for (let n = x0; n <= x1; ++n) parts.push(`<line class="grid" x1="${x(10 ** n)}" y1="${top}" x2="${x(10 ** n)}" y2="${bottom}"/><text x="${x(10 ** n)}" y="${bottom + 18}" text-anchor="middle">${power(n)}</text>`);
for (let n = y0; n <= y1; ++n) parts.push(`<line class="grid" x1="${left}" y1="${y(10 ** n)}" x2="${right}" y2="${y(10 ** n)}"/><text x="${left - 8}" y="${y(10 ** n) + 4}" text-anchor="end">${time(n)}</text>`);
const ends = series.map((s, i) => ({ i, at: y(s.points.at(-1)[1]) })).sort((a, b) => a.at - b.at);
ends.forEach((e, k) => { if (k > 0) e.at = Math.max(e.at, ends[k - 1].at + 15); });  // labels must not cover each other
series.forEach((s, i) => {
  parts.push(`<polyline class="s${i}" points="${s.points.map(([n, t]) => `${x(n).toFixed(1)},${y(t).toFixed(1)}`).join(' ')}"/>`);
  for (const [n, t] of s.points) parts.push(`<circle class="d${i}" cx="${x(n).toFixed(1)}" cy="${y(t).toFixed(1)}" r="3"/>`);
  parts.push(`<text class="d${i}" x="${x(s.points.at(-1)[0]) + 10}" y="${(ends.find((e) => e.i === i).at + 4).toFixed(1)}">${s.label}</text>`);
});
const light = ['#0b62a4', '#b3501d', '#2c7a2c', '#7a3fa0'], dark = ['#6cb6ff', '#f0883e', '#7ee787', '#d2a8ff'];
const colours = (list) => list.map((c, i) => `.s${i}{stroke:${c}}.d${i}{fill:${c}}`).join('');
writeFileSync(chartFile, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 370" font-family="sans-serif" font-size="12" role="img" aria-label="CPU time against rows of a side, both logarithmic">
<style>text{fill:#24292f}.grid{stroke:#d0d7de}polyline{fill:none;stroke-width:2}${colours(light)}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}${colours(dark)}}</style>
${parts.join('\n')}
<text x="${(left + right) / 2}" y="${bottom + 36}" text-anchor="middle">rows of a side, five columns of 8 bytes</text>
<text x="${left - 8}" y="14">CPU time</text>
</svg>
`);

if (pageFile) {
  const [begin, end] = ['<!-- report: begin, written by bench/run.sh --docs -->', '<!-- report: end -->'];
  const page = readFileSync(pageFile, 'utf8');
  const a = page.indexOf(begin), b = page.indexOf(end);
  if (a < 0 || b < a) throw new Error(`${pageFile} lacks the markers "${begin}" and "${end}"`);
  writeFileSync(pageFile, `${page.slice(0, a + begin.length)}\n\n${readFileSync(tableFile, 'utf8')}\n${page.slice(b)}`);
}
