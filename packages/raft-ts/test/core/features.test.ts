import { describe, expect, test } from 'vitest';
import { decodeMessage, encodeMessage } from '../../src/codec/index.ts';
import type { Message, TraceEvent } from '../../src/core/index.ts';
import { encodeConfChange } from '../../src/core/index.ts';
import { Cluster } from './harness.ts';

const three = [1, 2, 3];

describe("transfer to the 'best' node", () => {
  test('goes to the voter with the longest log', () => {
    const cluster = Cluster.of([1, 2, 3, 4]);
    cluster.elect(1);
    cluster.drop = (m) => m.type === 'append' && m.to !== 3;
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.heal();
    cluster.core(1).transferLeadership('best');
    expect(cluster.core(1).status().transferee).toBe(3);
    cluster.settle();
    expect(cluster.leader()?.id).toBe(3);
  });

  test('works right after a round of CheckQuorum has forgotten who answered', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    while (
      cluster
        .core(1)
        .status()
        .progress.some(({ recentlyActive, id }) => recentlyActive && id !== 1)
    ) {
      cluster.tick(1);
    }
    expect(cluster.core(1).transferLeadership('best')).toBe('started');
    cluster.settle();
    expect(cluster.leader()?.id).toBeGreaterThan(1);
  });

  test('prefers who answered in this round, and takes neither the dead nor learners', () => {
    const cluster = Cluster.of(three);
    cluster.add(4);
    cluster.elect(1);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 4 }] });
    cluster.run(2);
    cluster.crash(2);
    cluster.run(12);
    cluster.core(1).transferLeadership('best');
    expect(cluster.core(1).status().transferee).toBe(3);
    cluster.settle();
    expect(cluster.leader()?.id).toBe(3);
  });

  test('is refused where nobody could take over', () => {
    const cluster = Cluster.of([1]);
    cluster.elect(1);
    expect(cluster.core(1).transferLeadership('best')).toBe('not-member');
  });

  test('another target replaces the one that was waited for', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.core(1).transferLeadership(3);
    expect(cluster.core(1).transferLeadership(3)).toBe('started');
    expect(cluster.core(1).transferLeadership(2)).toBe('started');
    cluster.settle();
    expect(cluster.leader()?.id).toBe(2);
  });
});

describe('forwarded proposals', () => {
  const config = { forwardProposals: true } as const;

  test('reach the leader from any follower', () => {
    const cluster = Cluster.of(three, { config });
    expect(cluster.propose(2, 'x')).toEqual({ ok: false, reason: 'no-leader', leader: 0 });
    cluster.elect(1);
    expect(cluster.propose(2, 'x')).toEqual({ ok: false, reason: 'not-leader', leader: 1, forwarded: true });
    cluster.settle();
    for (const id of three) expect(cluster.host(id).payloads).toEqual(['x']);
  });

  test('stay away from the leader by default', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    expect(cluster.propose(2, 'x')).toEqual({ ok: false, reason: 'not-leader', leader: 1 });
    cluster.settle();
    expect(cluster.host(1).payloads).toEqual([]);
  });

  test('are judged by the leader: a change of membership that it would refuse, a stranger, and garbage', () => {
    const cluster = Cluster.of(three, { config });
    cluster.elect(1);
    cluster.change(2, { transition: 'auto', ops: [{ op: 'learner', id: 4 }] });
    cluster.settle();
    expect(cluster.core(1).status().conf.learners).toEqual([4]);
    const { lastIndex } = cluster.core(1).status();
    const leave = encodeConfChange({ transition: 'auto', ops: [] });
    const head = { type: 'forward', to: 1, term: 2 } as const;
    cluster.deliver({ ...head, from: 2, kind: 1, payloads: [leave, new Uint8Array([9, 9])] });
    cluster.deliver({ ...head, from: 9, kind: 0, payloads: [new Uint8Array([1])] });
    cluster.settle();
    expect(cluster.core(1).status().lastIndex).toBe(lastIndex);
  });

  test('survive the wire', () => {
    const payloads = [new Uint8Array([1, 2]), new Uint8Array(0)];
    const message: Message = { type: 'forward', from: 2, to: 1, term: 3, kind: 1, payloads };
    expect(decodeMessage(encodeMessage(message))).toEqual(message);
  });
});

describe('reports', () => {
  test('an unreachable follower is probed, not streamed to, until it answers', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.core(1).peerUnreachable(2);
    cluster.core(1).peerUnreachable(1);
    expect(cluster.core(1).status().progress[1]).toMatchObject({ state: 'probe', next: 3 });
    cluster.run(1);
    expect(cluster.core(1).status().progress[1]).toMatchObject({ state: 'replicate' });
  });

  test.each([true, false])('a snapshot report (success: %s) ends the wait, but not the pause', (ok) => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a', 'b');
    cluster.settle();
    cluster.compact(1, 0);
    cluster.drop = (m) => m.type === 'snapshot';
    cluster.lose = () => undefined;
    cluster.run(2);
    cluster.core(1).snapshotReport(2, ok);
    cluster.core(1).snapshotReport(3, ok);
    expect(cluster.core(1).status().progress[2]).toMatchObject({
      state: 'probe',
      paused: true,
      pendingSnapshot: 0,
      // Behind the snapshot, or behind what it has acknowledged.
      next: ok ? 5 : 3,
    });
  });
});

describe('trace', () => {
  function traced(): { readonly cluster: Cluster; readonly events: TraceEvent[] } {
    const events: TraceEvent[] = [];
    return { cluster: Cluster.of(three, { config: { trace: (event) => events.push(event) } }), events };
  }

  test('tells every kind of transition', () => {
    const { cluster, events } = traced();
    cluster.elect(1);
    cluster.read(1, 5);
    cluster.isolate(3);
    cluster.propose(1, 'a', 'b');
    cluster.settle();
    cluster.compact(1, 0);
    cluster.heal();
    cluster.run(3);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 4 }] });
    cluster.settle();
    cluster.core(1).proposeConfChange({ transition: 'auto', ops: [] });
    cluster.core(1).transferLeadership(2);
    cluster.settle();
    const kinds = new Set(events.map(({ kind }) => kind));
    const expected = [
      'campaign',
      'precandidate',
      'candidate',
      'leader',
      'follower',
      'vote-request',
      'vote',
      'vote-answer',
    ];
    expected.push(
      'higher-term',
      'read',
      'read-confirmed',
      'commit',
      'refused',
      'append-rejected',
      'snapshot',
      'restoring',
    );
    expected.push('restored', 'conf', 'conf-refused', 'transfer', 'timeout-now', 'told-to-campaign');
    expect(expected.filter((kind) => !kinds.has(kind))).toEqual([]);
    expect(events.every(({ node, term }) => three.includes(node) && term >= 1)).toBe(true);
  });

  test('refusals have their reason in it', () => {
    const { cluster, events } = traced();
    cluster.propose(1, 'x');
    cluster.elect(1);
    cluster.core(1).transferLeadership(3);
    cluster.propose(1, 'x');
    const reasons = events.filter(({ kind }) => kind === 'proposal-dropped').map(({ detail }) => detail['reason']);
    expect(reasons).toEqual(['no-leader', 'transferring']);
  });
});
