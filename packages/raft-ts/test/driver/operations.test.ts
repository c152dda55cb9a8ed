import { describe, expect, test } from 'vitest';
import type { TraceEvent } from '../../src/index.ts';
import { latencyBucketsMs, NotLeaderError, ProposalDropped, traceLine } from '../../src/index.ts';
import { Cluster } from './cluster.ts';

const add = (op: 'learner' | 'voter' | 'remove', id: number) => ({ transition: 'auto', ops: [{ op, id }] }) as const;

async function three(options = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  await cluster.runtime.advance(300);
  return cluster;
}

describe('promoteWhenCaughtUp', () => {
  test('makes a voter of a learner once it has the log', async () => {
    const cluster = await three({ snapshotEveryEntries: 10, keepEntries: 2 });
    for (let i = 0; i < 30; i++) await cluster.propose(String(i));
    const leader = cluster.node(cluster.ids()[0]);
    await cluster.finish(leader.changeMembers(add('learner', 4)));
    const promotion = leader.promoteWhenCaughtUp(4);
    await cluster.runtime.advance(3000);
    expect(leader.status().conf.learners).toEqual([4]);
    await cluster.start(4);
    expect((await cluster.finish(promotion)).voters).toEqual([1, 2, 3, 4]);
    expect((await cluster.finish(leader.promoteWhenCaughtUp(4))).voters).toEqual([1, 2, 3, 4]);
  });

  test('waits for a change that is under way', async () => {
    const cluster = await three();
    const leader = cluster.node(cluster.ids()[0]);
    await cluster.start(4);
    await cluster.finish(leader.changeMembers(add('learner', 4)));
    await cluster.finish(leader.waitCaughtUp(4));
    const other = leader.changeMembers(add('learner', 5));
    const promotion = leader.promoteWhenCaughtUp(4);
    await cluster.finish(other);
    expect(await cluster.finish(promotion)).toMatchObject({ voters: [1, 2, 3, 4], learners: [5] });
  });

  test('fails truthfully: for a stranger, on a follower, when given up', async () => {
    const cluster = await three();
    const [id, follower = 0] = cluster.ids();
    expect(await cluster.failure(cluster.node(id).promoteWhenCaughtUp(9))).toMatchObject({ reason: 'not-member' });
    expect(await cluster.failure(cluster.node(follower).promoteWhenCaughtUp(9))).toBeInstanceOf(NotLeaderError);
    await cluster.finish(cluster.node(id).changeMembers(add('learner', 9)));
    const abort = new AbortController();
    const promotion = cluster.failure(cluster.node(id).promoteWhenCaughtUp(9, { signal: abort.signal }));
    abort.abort(new Error('enough'));
    expect(await promotion).toMatchObject({ message: 'enough' });
  });
});

describe('leadership', () => {
  test('moves to the voter with the longest log when nobody is named', async () => {
    const cluster = await three();
    const [id, behind = 0, ahead = 0] = cluster.ids();
    cluster.lose = ({ to, messages }) => to === behind && messages.some(({ type }) => type === 'append');
    await cluster.propose('a');
    expect(await cluster.finish(cluster.node(id).transferLeadership())).toBe(ahead);
  });

  test('is handed over by a leader that closes; without a successor it closes all the same, in bounded time', async () => {
    const cluster = await three();
    const [id, ...followers] = cluster.ids();
    let began = cluster.runtime.now();
    await cluster.finish(cluster.node(id).close());
    cluster.member(id).node = undefined;
    await cluster.untilLeader();
    expect(cluster.runtime.now() - began).toBeLessThan(200);
    const next = await cluster.untilLeader();
    for (const follower of followers) if (follower !== next.status().id) cluster.cut.add(follower);
    await cluster.runtime.advance(100);
    began = cluster.runtime.now();
    await cluster.finish(next.close());
    expect(cluster.runtime.now() - began).toBeLessThan(5000);
  });

  test('cannot go to a learner or a stranger', async () => {
    const cluster = await three();
    const leader = cluster.node(cluster.ids()[0]);
    await cluster.finish(leader.changeMembers(add('learner', 4)));
    for (const target of [4, 9]) {
      expect(await cluster.failure(leader.transferLeadership(target))).toBeInstanceOf(ProposalDropped);
    }
  });
});

describe('forceNewCluster', () => {
  test('lets one survivor go on alone with all it knew to be committed, and grow again', async () => {
    const cluster = await three();
    for (const text of ['a', 'b', 'c']) await cluster.propose(text);
    await cluster.runtime.advance(500);
    const [, survivor = 0] = cluster.ids();
    for (const id of cluster.ids()) cluster.crash(id);
    cluster.optionsOf = () => ({ forceNewCluster: true });
    await cluster.start(survivor);
    cluster.optionsOf = () => ({});
    await cluster.runtime.until(() => cluster.leader()?.status().id === survivor);
    await cluster.propose('d');
    expect(cluster.member(survivor).machine.words).toEqual(['a', 'b', 'c', 'd']);
    expect(cluster.node(survivor).status().conf).toMatchObject({ voters: [survivor], outgoing: [], learners: [] });
    await cluster.start(9);
    await cluster.finish(cluster.node(survivor).changeMembers(add('learner', 9)));
    await cluster.finish(cluster.node(survivor).promoteWhenCaughtUp(9));
    expect(cluster.member(9).machine.words).toEqual(['a', 'b', 'c', 'd']);
    // Later starts need no force.
    cluster.crash(survivor);
    cluster.crash(9);
    await cluster.start(survivor);
    await cluster.start(9);
    await cluster.untilLeader();
    await cluster.propose('e');
  });

  test('of an empty log is refused', async () => {
    const cluster = new Cluster({ forceNewCluster: true });
    await expect(cluster.start(1)).rejects.toThrow('the log is empty');
  });
});

describe('metrics', () => {
  test('count what happened', async () => {
    const cluster = await three({ snapshotEveryEntries: 10 });
    const [id, follower = 0] = cluster.ids();
    for (let i = 0; i < 25; i++) await cluster.propose(String(i));
    await cluster.finish(cluster.node(id).readBarrier());
    const { counters, gauges, commitLatency } = cluster.node(id).metrics();
    expect(counters).toMatchObject({
      proposalsAccepted: 25,
      proposalsDropped: 0,
      leaderChanges: 1,
      readsByQuorum: 1,
      snapshotsTaken: 2,
    });
    // With the empty entry that a leader begins with.
    expect(counters.entriesAppended).toBe(26);
    expect(counters.entriesApplied).toBe(26);
    expect(counters.logSyncs).toBeGreaterThanOrEqual(26);
    expect(counters.messagesOut.append).toBeGreaterThanOrEqual(50);
    expect(counters.messagesIn['append-ack']).toBeGreaterThanOrEqual(50);
    expect(cluster.node(follower).metrics().counters.messagesIn.append).toBeGreaterThanOrEqual(25);
    expect(counters.ticks).toBeGreaterThan(5);
    expect(gauges).toMatchObject({ queuedProposals: 0, pendingProposals: 0, waitingReads: 0, inboxMessages: 0 });
    expect(gauges.appliedIndex).toBe(gauges.commitIndex);
    expect(gauges.logEntriesInMemory).toBeGreaterThan(0);
    expect(commitLatency.count).toBe(25);
    expect(commitLatency.counts).toHaveLength(latencyBucketsMs.length + 1);
    expect(commitLatency.counts.reduce((sum, count) => sum + count, 0)).toBe(25);
    // Two disk writes of 2 ms overlap, with a millisecond each way.
    expect(commitLatency.sumMs / 25).toBeCloseTo(4, 0);
  });

  test('are pictures: a later event does not change them', async () => {
    const cluster = await three();
    const node = cluster.node(cluster.ids()[0]);
    const before = node.metrics();
    const copy = structuredClone(before);
    await cluster.propose('x');
    expect(before).toEqual(copy);
    expect(node.metrics().counters.proposalsAccepted).toBe(before.counters.proposalsAccepted + 1);
  });
});

describe('the trace', () => {
  test('is one line of JSON per event, from opening on, with bytes left out', async () => {
    const events: TraceEvent[] = [];
    const cluster = await three({ trace: (event: TraceEvent) => events.push(event) });
    await cluster.propose('x');
    const lines = events.map(traceLine);
    for (const line of lines) {
      expect(line).not.toContain('\n');
      expect(JSON.parse(line)).toMatchObject({ node: expect.any(Number), term: expect.any(Number) });
    }
    const kinds = new Set(events.map(({ kind }) => kind));
    for (const kind of ['opened', 'commit']) expect(kinds).toContain(kind);
    expect(traceLine({ node: 1, term: 1, kind: 'x', detail: { data: new Uint8Array(3) } })).toContain('{"bytes":3}');
  });
});
