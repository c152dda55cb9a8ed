import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { RaftCore } from '../../src/core/index.ts';
import { explore, roots } from '../../tools/explore/explore.ts';
import { patched } from '../../tools/mutants/build.ts';
import { mutants } from '../../tools/mutants/mutants.ts';
import { firstBroken } from '../../tools/mutants/scenarios.ts';

const sources = fileURLToPath(new URL('../../src/', import.meta.url));

describe('the mutants', () => {
  test('there are enough, and no two have the same name', () => {
    expect(mutants.length).toBeGreaterThanOrEqual(25);
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
  });

  test.each(mutants.map((mutant) => [mutant.name, mutant] as const))(
    '%s: its text is in the sources once',
    (_, mutant) => {
      const source = readFileSync(`${sources}${mutant.file}`, 'utf8');
      expect(patched(source, mutant)).not.toBe(source);
    },
  );

  test('a mutant whose text is gone, or there twice, is refused', () => {
    const mutant = { name: 'x', report: 'x', file: 'x.ts', find: 'a', replace: 'b' };
    expect(() => patched('no such letter: z', { ...mutant, find: 'q' })).toThrow('0 times');
    expect(() => patched('aa', mutant)).toThrow('2 times');
  });

  test('no scenario fails without a mutant', () => {
    expect(firstBroken(RaftCore)).toBeUndefined();
  });
});

describe('the exploration', () => {
  test('finds nothing in the sources as they are', { timeout: 120_000 }, async () => {
    for (const { states, violation } of await explore({ seconds: 6 })) {
      expect(violation).toBeUndefined();
      expect(states).toBeGreaterThan(50);
    }
  });

  test('finds the commitment of older terms by counting', { timeout: 240_000 }, async () => {
    const mutant = mutants.find(({ shownBy }) => shownBy === 'exploration');
    if (mutant === undefined) throw new Error('no mutant for the exploration');
    const [found] = await explore({ seconds: 120, roots: roots.slice(1, 2), mutant });
    expect(found?.violation?.what).toContain('invariant 4');
    expect(found?.violation?.path).toHaveLength(10);
  });
});
