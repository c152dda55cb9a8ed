/** Networks, measured: `npm run bench:networks -- [driver|cluster]`. Prints a table and a JSON line per result. Needs root. */
import { measureCluster } from './cluster.ts';
import { measureDriver } from './driver.ts';
import type { Result } from './result.ts';

const results: Result[] = [];

function say(result: Result): void {
  results.push(result);
  process.stderr.write(`${describe(result).join('  ')}\n`);
}

function describe({ case: name, value, unit, ratio, must, note }: Result): string[] {
  const figure = value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
  const compared = ratio === undefined ? '' : `${ratio.toFixed(2)}×${must === undefined ? '' : ` (must ${must})`}`;
  return [name, unit === '1/s' ? `${figure}/s` : `${figure} ${unit}`, compared, note ?? ''];
}

const [only] = process.argv.slice(2);
if (only !== undefined && only !== 'driver' && only !== 'cluster')
  throw new Error(`"${only}" is neither driver nor cluster`);
if (only !== 'cluster') await measureDriver(say);
if (only !== 'driver') await measureCluster(say);

process.stdout.write('\n| what | figure | compared | |\n|---|---|---|---|\n');
for (const result of results) process.stdout.write(`| ${describe(result).join(' | ')} |\n`);
process.stdout.write('\n');
for (const { case: name, value, unit, ratio } of results) {
  const line = { bench: 'networks', case: name, value, unit, ...(ratio === undefined ? {} : { ratio }) };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
process.exit(0);
