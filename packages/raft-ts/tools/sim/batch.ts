/** Runs many seeds, in this process or in several. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers';
import { fileURLToPath } from 'node:url';
import { Coverage } from '../../src/sim/coverage.ts';
import { simulate } from '../../src/sim/simulate.ts';
import type { SimArgs } from './args.ts';

export const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

export interface BatchResult {
  readonly seeds: number;
  readonly steps: number;
  readonly answered: number;
  readonly coverage: Coverage;
  /** Seeds that failed, with what they said. */
  readonly failures: ReadonlyMap<number, string>;
}

interface Line {
  readonly seed: number;
  readonly steps: number;
  readonly answered: number;
  readonly coverage: readonly (readonly [string, number])[];
  readonly failure?: string;
}

export async function runBatch(args: SimArgs, onSeed: (line: Line) => void = () => {}): Promise<BatchResult> {
  const coverage = new Coverage();
  const failures = new Map<number, string>();
  const total = { seeds: 0, steps: 0, answered: 0 };
  const take = (line: Line): void => {
    total.seeds += 1;
    total.steps += line.steps;
    total.answered += line.answered;
    coverage.add(new Map(line.coverage));
    if (line.failure !== undefined) failures.set(line.seed, line.failure);
    onSeed(line);
  };
  if (args.jobs === 1) await runHere(args, take);
  else await Promise.all(Array.from({ length: args.jobs }, (_, job) => runThere(args, job, take)));
  return { ...total, coverage, failures };
}

async function runHere(args: SimArgs, take: (line: Line) => void): Promise<void> {
  const { without, untilStep } = args;
  for (let seed = args.first; seed <= args.last; seed++) {
    const run = await simulate({ seed, settle, without, ...(untilStep === undefined ? {} : { untilStep }) });
    const { steps, answered, violation } = run;
    const failure = violation === undefined ? {} : { failure: violation.message };
    take({ seed, steps, answered, coverage: [...run.coverage], ...failure });
  }
}

/** Every process takes its share of consecutive seeds. */
async function runThere(args: SimArgs, job: number, take: (line: Line) => void): Promise<void> {
  const share = Math.ceil((args.last - args.first + 1) / args.jobs);
  const first = args.first + job * share;
  const last = Math.min(args.last, first + share - 1);
  if (first > last) return;
  const own = [fileURLToPath(new URL('main.ts', import.meta.url)), '--seeds', `${first}..${last}`, '--json'];
  if (args.without.size > 0) own.push('--without', [...args.without].join(','));
  if (args.untilStep !== undefined) own.push('--until', String(args.untilStep));
  const child = spawn(process.execPath, [...process.execArgv, ...own], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`simulation process ended with ${code}`))));
  });
  for await (const line of createInterface({ input: child.stdout })) take(JSON.parse(line) as Line);
  await ended;
}
