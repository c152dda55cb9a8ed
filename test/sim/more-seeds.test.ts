import { describe, expect, test } from 'vitest';
import { failures, seedGroups } from './seeds.ts';

// A file of its own, so that both cores of a small machine have something to do.
describe('F17: three managers and five agents survive every fault (odd seeds)', () => {
  test.each(seedGroups(1))('seeds $name', async ({ seeds }) => {
    expect(await failures(seeds)).toEqual([]);
  });
});
