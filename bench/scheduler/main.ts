/**
 * `npm run bench:scheduler [-- --rounds N --only NAME]`: the scheduler with its store, beside SwarmKit's recorded figures.
 * Prints a table for people and a JSON line per result. A figure is the median of its rounds, after one round to warm up.
 */
import { parseArgs } from 'node:util';
import { median } from '../report.ts';
import { type Case, cases } from './cases.ts';
import { measure } from './run.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, only: { type: 'string' } },
});
const rounds = Number(values.rounds);
if (!Number.isSafeInteger(rounds) || rounds < 1) throw new Error(`--rounds: not a number: ${values.rounds}`);

const chosen = cases.filter(({ name }) => values.only === undefined || name === values.only);
if (chosen.length === 0) throw new Error(`--only: no such case: ${values.only}`);

const results: { readonly one: Case; readonly ms: number }[] = [];
await measure({ name: 'warm-up', nodes: 300, tasks: 3_000, constrained: true, path: 'group' });
for (const one of chosen) {
  const figures: number[] = [];
  for (let round = 0; round < rounds; round++) figures.push(await measure(one));
  results.push({ one, ms: median(figures) ?? 0 });
  process.stderr.write(`${one.name}: ${figures.map((ms) => ms.toFixed(0)).join(', ')} ms\n`);
}

const head = ['nodes/tasks', 'SwarmKit', 'tscluster', 'ratio', 'per second', 'verdict'];
const body = results.map(({ one, ms }) => [
  one.name,
  one.peer === undefined ? '-' : `${one.peer} ms *`,
  `${ms.toFixed(0)} ms`,
  one.peer === undefined ? '' : (ms / one.peer).toFixed(3),
  String(Math.round(one.tasks / (ms / 1000))),
  verdict(one, ms),
]);
const widths = head.map((_, at) => Math.max(...[head, ...body].map((cells) => (cells[at] ?? '').length)));
const line = (cells: readonly string[]) => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
console.log([line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...body.map(line)].join('\n'));
console.log('\n* recorded in an earlier sitting, not measured now\n');
for (const { one, ms } of results) console.log(jsonLine(one, ms));

function verdict({ peer, must, should }: Case, ms: number): string {
  if (peer === undefined || must === undefined) return '';
  const ratio = ms / peer;
  if (ratio > must) return 'MISSED';
  return should !== undefined && ratio <= should ? 'ok (should)' : 'ok (must)';
}

function jsonLine({ name, peer }: Case, ms: number): string {
  const result = { bench: 'scheduler', case: name, value: Number(ms.toPrecision(3)), unit: 'ms' };
  if (peer === undefined) return JSON.stringify(result);
  const ratio = Number((ms / peer).toPrecision(3));
  return JSON.stringify({ ...result, peer: 'SwarmKit 2.1.0', peerValue: peer, ratio, recorded: true });
}
