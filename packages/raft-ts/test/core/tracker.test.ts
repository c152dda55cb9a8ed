import { describe, expect, test } from 'vitest';
import { emptyConf } from '../../src/core/index.ts';
import { Inflights } from '../../src/core/inflights.ts';
import { Progress } from '../../src/core/progress.ts';
import { Tracker } from '../../src/core/tracker.ts';
import { wideLimits } from './harness.ts';

const at = { epoch: 5, lastIndex: 10 };

describe('tracker', () => {
  test('the window is full by count or by bytes, and acknowledgements free its oldest part', () => {
    const window = new Inflights(3, 100);
    window.add(1, 10);
    window.add(2, 95);
    expect(window.full()).toBe(true);
    expect(() => window.add(3, 1)).toThrow('full window');
    window.freeTo(1);
    expect([window.count, window.bytes, window.full()]).toEqual([1, 95, false]);
    window.add(3, 0);
    window.add(4, 0);
    expect(window.full()).toBe(true);
    window.freeTo(4);
    expect([window.count, window.bytes]).toEqual([0, 0]);
  });

  test('a refusal never moves next to or below match', () => {
    const peer = new Progress(2, 0, { next: 10, limits: wideLimits });
    peer.acked(5);
    peer.becomeProbe();
    expect(peer.next).toBe(6);
    expect(peer.refused(5, 1)).toBe(true);
    expect(peer.next).toBe(6);
    expect(peer.refused(3, 1)).toBe(false);
  });

  test('a stale refusal does not stop a stream', () => {
    const peer = new Progress(2, 0, { next: 6, limits: wideLimits });
    peer.acked(5);
    peer.becomeReplicate();
    peer.sent(3, 3);
    expect(peer.refused(4, 2)).toBe(false);
    expect([peer.state, peer.next]).toEqual(['replicate', 9]);
    expect(peer.refused(8, 7)).toBe(true);
    expect(peer.next).toBe(6);
  });

  test('a member keeps its progress through a change, and a newcomer gets its own epoch', () => {
    const tracker = new Tracker({ ...emptyConf, voters: [1, 2] }, wideLimits, { epoch: 0, lastIndex: 3 });
    tracker.get(2)?.acked(3);
    tracker.setConf({ ...emptyConf, voters: [1], learners: [2, 3] }, at);
    expect(tracker.get(2)).toMatchObject({ match: 3, learner: true, epoch: 0 });
    expect(tracker.get(3)).toMatchObject({ match: 0, next: 10, epoch: 5, recentlyActive: true });
    tracker.setConf({ ...emptyConf, voters: [1] }, at);
    expect(tracker.get(3)).toBeUndefined();
  });

  test('learners never count towards a quorum', () => {
    const tracker = new Tracker({ ...emptyConf, voters: [1, 2, 3], learners: [4] }, wideLimits, at);
    tracker.get(1)?.acked(9);
    tracker.get(4)?.acked(9);
    expect(tracker.committed()).toBe(0);
    tracker.get(2)?.acked(7);
    expect(tracker.committed()).toBe(7);
  });

  test('the first answer of a voter counts', () => {
    const tracker = new Tracker({ ...emptyConf, voters: [1, 2, 3] }, wideLimits, at);
    tracker.recordVote(1, true);
    tracker.recordVote(2, false);
    tracker.recordVote(2, true);
    expect(tracker.tally()).toBe('pending');
  });
});
