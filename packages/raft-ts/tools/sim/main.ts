/** `npm run sim -w raft-ts -- --seeds A..B` or `--seed N`: see docs/simulation.md. */
import { performance } from 'node:perf_hooks';
import { shrink } from '../../src/sim/shrink.ts';
import { simulate } from '../../src/sim/simulate.ts';
import { batchMin, missed } from '../../src/sim/situations.ts';
import { parseArgs, replayCommand, type SimArgs, usage } from './args.ts';
import { runBatch, settle } from './batch.ts';

const shownTrace = 60;

async function one(args: SimArgs): Promise<boolean> {
  const { first: seed, without, untilStep } = args;
  const onTrace = args.trace ? { onTrace: (line: string) => console.log(line) } : {};
  const options = { seed, settle, without, ...(untilStep === undefined ? {} : { untilStep }) };
  const run = await simulate({ ...options, ...onTrace });
  console.log(
    `seed ${seed}: ${run.steps} events, ${run.virtualMs.toFixed(0)} virtual ms, ${run.answered} requests answered`,
  );
  if (run.violation === undefined) return true;
  console.log(run.trace.slice(-shownTrace).join('\n'));
  console.log(`\nFAILED: ${run.violation.message}`);
  await shrinkAndShow(seed, args);
  return false;
}

async function shrinkAndShow(seed: number, args: SimArgs): Promise<void> {
  const options = { seed, settle, without: args.without };
  const failed = await simulate(options);
  if (failed.violation === undefined) return;
  const small = await shrink(failed, options);
  console.log(`shrunk in ${small.runs} runs: ${small.run.violation?.message ?? ''}`);
  console.log(`replay: ${replayCommand(seed, { without: small.without, until: small.until })}`);
}

async function many(args: SimArgs): Promise<boolean> {
  const begin = performance.now();
  const total = args.last - args.first + 1;
  const result = await runBatch(args, (line) => {
    if (args.json) console.log(JSON.stringify(line));
    else if (line.failure !== undefined) console.log(`seed ${line.seed} FAILED: ${line.failure}`);
  });
  if (args.json) return true;
  for (const seed of [...result.failures.keys()].slice(0, 3)) await shrinkAndShow(seed, args);
  const minutes = (performance.now() - begin) / 60_000;
  const counts = [...result.coverage.counts].sort(([a], [b]) => (a < b ? -1 : 1));
  console.log(counts.map(([name, count]) => `${String(count).padStart(9)} ${name}`).join('\n'));
  const absent =
    total >= batchMin && args.without.size === 0 && args.untilStep === undefined ? missed(result.coverage.counts) : [];
  for (const situation of absent) console.log(`never met: ${situation}`);
  const { seeds, steps, answered, failures } = result;
  console.log(
    `${seeds} seeds, ${steps} events, ${answered} requests answered, ${counts.length} situations, ${(seeds / minutes).toFixed(0)} seeds per minute`,
  );
  console.log(
    failures.size === 0 && absent.length === 0
      ? 'passed'
      : `FAILED: ${failures.size} seeds, ${absent.length} situations never met`,
  );
  return failures.size === 0 && absent.length === 0;
}

async function main(): Promise<void> {
  let args: SimArgs;
  try {
    args = parseArgs(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${usage}`);
    process.exitCode = 2;
    return;
  }
  const passed = args.first === args.last && !args.json ? await one(args) : await many(args);
  if (!passed) process.exitCode = 1;
}

await main();
