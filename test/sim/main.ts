/** `npm run sim -- --seed N [--trace]` replays one run, `--seeds A..B` a range. Exit code 1: at least one failed. */
import { parseArgs } from 'node:util';
import { realClock } from '../../src/lib/real.ts';
import { World } from './world.ts';

const { values } = parseArgs({
  options: { seed: { type: 'string' }, seeds: { type: 'string' }, trace: { type: 'boolean', default: false } },
});
const [first, last] = range(values.seeds ?? values.seed ?? '1..100');
const began = realClock.monotonic();
let failed = 0;
let virtualMs = 0;
for (let seed = first; seed <= last; seed++) {
  const world = new World(seed, values.trace ? { onTrace: (line) => process.stdout.write(`${line}\n`) } : {});
  try {
    await world.simulate();
  } catch (error) {
    failed += 1;
    const reason =
      error instanceof Error && error.name !== 'SimulationFailure'
        ? error.stack
        : error instanceof Error
          ? error.message
          : String(error);
    process.stdout.write(`seed ${seed} failed ${reason}\n  replay: npm run sim -- --seed ${seed} --trace\n`);
  }
  virtualMs += world.clock.monotonic();
}
const count = last - first + 1;
const minutes = (realClock.monotonic() - began) / 60_000;
const speed = `${Math.round(count / minutes)} seeds per minute, ${Math.round(virtualMs / 60_000 / minutes)} times real time`;
process.stdout.write(`${count - failed} of ${count} seeds passed; ${speed}\n`);
process.exit(failed > 0 ? 1 : 0);

function range(text: string): readonly [number, number] {
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(text);
  if (match === null) throw new Error(`not a seed or a range A..B: ${text}`);
  return [Number(match[1]), Number(match[2] ?? match[1])];
}
