import { describe, expect, test } from 'vitest';
import type { simulate as simulateReal } from '../../src/sim/index.ts';
import { drawSwarm, faultClasses, shrink, simulate } from '../../src/sim/index.ts';
import { testBuild } from '../../tools/mutants/build.ts';
import { mutants } from '../../tools/mutants/mutants.ts';
import { parseArgs, replayCommand } from '../../tools/sim/args.ts';
import { settle } from '../../tools/sim/batch.ts';

async function traceOf(seed: number): Promise<string> {
  const lines: string[] = [];
  await simulate({ seed, settle, onTrace: (line) => lines.push(line) });
  return lines.join('\n');
}

describe('a run', () => {
  test('repeats event by event from its seed', async () => {
    const first = await traceOf(7);
    expect(first.length).toBeGreaterThan(1000);
    expect(await traceOf(7)).toBe(first);
    expect(await traceOf(8)).not.toBe(first);
  });

  test('stops where it is told to, having done the same until then', async () => {
    const run = await simulate({ seed: 7, settle, untilStep: 500 });
    expect(run.steps).toBe(500);
    expect(run.violation).toBeUndefined();
  });

  test('without a kind of fault draws everything else as before', () => {
    for (let seed = 1; seed < 50; seed++) {
      const all = drawSwarm(seed);
      const fewer = drawSwarm(seed, new Set(['drop', 'pause']));
      expect({ ...fewer, drop: all.drop, meanMs: { ...fewer.meanMs, pause: all.meanMs.pause } }).toEqual(all);
      expect(fewer.drop).toBe(0);
      expect(fewer.meanMs.pause).toBe(0);
    }
  });
});

describe('a failing run', () => {
  test('is shrunk to fewer faults and fewer events, and fails still', { timeout: 300_000 }, async () => {
    const mutant = mutants.find(({ name }) => name === 'entries acknowledged before they are durable');
    const build = await testBuild(mutant);
    try {
      const sim = (await build.load('sim/index.ts')) as {
        readonly simulate: typeof simulateReal;
        readonly shrink: typeof shrink;
      };
      let seed = 1;
      let failed = await sim.simulate({ seed, settle });
      for (; failed.violation === undefined && seed < 50; failed = await sim.simulate({ seed, settle })) seed += 1;
      expect(failed.violation?.invariant).toBe(8);
      expect(failed.trace.join('\n')).toContain('VIOLATION');
      const small = await sim.shrink(failed, { seed, settle });
      expect(small.without.size).toBeGreaterThan(faultClasses.length / 2);
      const before = await sim.simulate({ seed, settle, without: small.without, untilStep: small.until - 1 });
      expect(before.violation).toBeUndefined();
      const again = await sim.simulate({ seed, settle, without: small.without, untilStep: small.until });
      expect(again.violation?.invariant).toBe(8);
      expect(again.steps).toBe(small.until);
    } finally {
      await build.remove();
    }
  });
});

describe('the command line', () => {
  test('understands what the replay command says', () => {
    const command = replayCommand(42, { without: ['drop', 'crash'], until: 77 });
    expect(command).toBe('npm run sim -w raft-ts -- --seed 42 --without drop,crash --until 77');
    const args = parseArgs(command.split(' ').slice(6));
    expect(args).toMatchObject({ first: 42, last: 42, untilStep: 77, without: new Set(['drop', 'crash']) });
  });

  test('refuses what it does not understand', () => {
    for (const bad of [
      [],
      ['--seed'],
      ['--seed', 'x'],
      ['--seeds', '5..2'],
      ['--seed', '1', '--without', 'rain'],
      ['--what', '1'],
    ]) {
      expect(() => parseArgs(bad)).toThrow(RangeError);
    }
  });
});
