/** The command line of the simulator. */
import { type FaultClass, faultClasses } from '../../src/sim/swarm.ts';

export interface SimArgs {
  readonly first: number;
  readonly last: number;
  readonly jobs: number;
  readonly without: ReadonlySet<FaultClass>;
  readonly untilStep: number | undefined;
  readonly trace: boolean;
  /** For a parent process: one line of JSON per run. */
  readonly json: boolean;
}

export const usage = `usage: sim (--seed N | --seeds A..B) [--jobs K] [--without FAULT[,FAULT…]] [--until STEP] [--trace]
faults: ${faultClasses.join(' ')}`;

function toNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new RangeError(`not a number: ${text}`);
  return value;
}

function toFaults(text: string): FaultClass[] {
  return text.split(',').map((name) => {
    const known = faultClasses.find((fault) => fault === name);
    if (known === undefined) throw new RangeError(`no such fault: ${name}`);
    return known;
  });
}

/** Throws RangeError for what it does not understand. */
export function parseArgs(args: readonly string[]): SimArgs {
  let range: readonly [number, number] | undefined;
  let jobs = 1;
  let untilStep: number | undefined;
  const without = new Set<FaultClass>();
  const flags = new Set<string>();
  for (let at = 0; at < args.length; at++) {
    const name = args[at] ?? '';
    if (name === '--trace' || name === '--json') {
      flags.add(name);
      continue;
    }
    at += 1;
    const value = args[at];
    if (value === undefined) throw new RangeError(`no value for ${name}`);
    if (name === '--seed') range = [toNumber(value), toNumber(value)];
    else if (name === '--seeds') {
      const [low, high] = value.split('..');
      range = [toNumber(low ?? ''), toNumber(high ?? '')];
    } else if (name === '--jobs') jobs = Math.max(1, toNumber(value));
    else if (name === '--until') untilStep = toNumber(value);
    else if (name === '--without') for (const fault of toFaults(value)) without.add(fault);
    else throw new RangeError(`no such option: ${name}`);
  }
  if (range === undefined || range[0] > range[1]) throw new RangeError('which seeds?');
  return {
    first: range[0],
    last: range[1],
    jobs,
    without,
    untilStep,
    trace: flags.has('--trace'),
    json: flags.has('--json'),
  };
}

export function replayCommand(
  seed: number,
  options: { readonly without: Iterable<FaultClass>; readonly until?: number | undefined },
): string {
  const without = [...options.without];
  const parts = ['npm run sim -w raft-ts --', `--seed ${seed}`];
  if (without.length > 0) parts.push(`--without ${without.join(',')}`);
  if (options.until !== undefined) parts.push(`--until ${options.until}`);
  return parts.join(' ');
}
