import { describe, expect, test } from 'vitest';
import { jointIndex, jointVote, majorityIndex, majorityVote } from '../../src/core/index.ts';
import { Random } from './harness.ts';

describe('quorum', () => {
  test('a majority index is held by at least half plus one and no higher index is', () => {
    const random = new Random(7);
    for (let round = 0; round < 2000; round += 1) {
      const voters = Array.from({ length: 1 + random.below(7) }, (_, i) => i + 1);
      const acks = voters.map(() => random.below(10));
      const index = majorityIndex(voters, (id) => acks[id - 1]);
      const holders = (at: number): number => acks.filter((ack) => ack >= at).length;
      expect(holders(index)).toBeGreaterThan(voters.length / 2);
      expect(holders(index + 1)).toBeLessThanOrEqual(voters.length / 2);
    }
  });

  test('a voter that never answered counts as index 0', () => {
    expect(majorityIndex([1, 2, 3], (id) => (id === 1 ? 9 : undefined))).toBe(0);
  });

  test('an empty set agrees to everything', () => {
    expect(majorityIndex([], () => 0)).toBe(Number.POSITIVE_INFINITY);
    expect(majorityVote([], () => false)).toBe('won');
  });

  test('a vote is lost only when the missing ballots cannot save it', () => {
    expect(majorityVote([1, 2, 3], (id) => (id === 1 ? false : undefined))).toBe('pending');
    expect(majorityVote([1, 2, 3], (id) => (id <= 2 ? false : undefined))).toBe('lost');
    expect(majorityVote([1, 2, 3, 4], (id) => id <= 2)).toBe('lost');
  });

  test('a joint configuration needs both halves', () => {
    const sets = { voters: [1, 2, 3], outgoing: [3, 4, 5] };
    expect(jointIndex(sets, (id) => (id <= 3 ? 8 : 2))).toBe(2);
    expect(jointVote(sets, (id) => id <= 3)).toBe('lost');
    expect(jointVote(sets, (id) => (id <= 3 ? true : undefined))).toBe('pending');
    expect(jointVote(sets, (id) => id >= 2 && id <= 4)).toBe('won');
  });
});
