import { describe, expect, test } from 'vitest';
import { batchMin, Coverage, missed, simulate, situations } from '../../src/sim/index.ts';
import { replayCommand } from '../../tools/sim/args.ts';
import { settle } from '../../tools/sim/batch.ts';

const seeds = 1000;

describe('the simulated cluster', () => {
  test(`keeps every promise under ${seeds} seeds, and meets every situation`, { timeout: 600_000 }, async () => {
    const coverage = new Coverage();
    const failures: string[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      const run = await simulate({ seed, settle });
      coverage.add(run.coverage);
      if (run.violation !== undefined)
        failures.push(`${run.violation.message}\n${replayCommand(seed, { without: [] })}`);
      if (failures.length > 3) break;
    }
    expect(failures).toEqual([]);
    expect(missed(coverage.counts)).toEqual([]);
  });

  test('a batch in which something never happens is vacuous', () => {
    expect(situations.length).toBeGreaterThanOrEqual(40);
    expect(seeds).toBeGreaterThanOrEqual(batchMin);
    expect(missed(new Map())).toEqual(situations);
  });
});
