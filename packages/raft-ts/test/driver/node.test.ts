import { describe, expect, test } from 'vitest';
import { NotLeaderError, OutcomeUnknown, ProposalDropped } from '../../src/index.ts';
import { Cluster } from './cluster.ts';

const word = (text: string) => new TextEncoder().encode(text);

describe('three nodes', () => {
  test('elect one leader and apply a proposal everywhere', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    await cluster.untilLeader();
    expect(await cluster.propose('a')).toBe(1);
    await cluster.runtime.advance(500);
    for (const id of [1, 2, 3]) expect(cluster.member(id).machine.words).toEqual(['a']);
  });

  test('proposals of one turn are answered each with its own result, in order', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    const all = Promise.all(Array.from({ length: 300 }, (_, i) => leader.propose(word(String(i)))));
    const outcomes = await cluster.finish(all);
    expect(outcomes.map((outcome) => outcome.result)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    expect(new Set(outcomes.map((outcome) => outcome.at.index)).size).toBe(300);
  });

  test('a follower refuses a proposal and names the leader', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    await cluster.runtime.advance(300);
    const { id } = leader.status();
    const follower = cluster.node(id === 1 ? 2 : 1);
    const error = await cluster.finish(follower.propose(word('x'))).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(NotLeaderError);
    expect(error).toMatchObject({ leader: id });
  });

  test('lose nothing acknowledged when the leader crashes', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const first = (await cluster.untilLeader()).status().id;
    for (const text of ['a', 'b', 'c']) await cluster.propose(text);
    cluster.crash(first);
    await cluster.untilLeader();
    await cluster.propose('d');
    expect(cluster.leader()?.status().id).not.toBe(first);
    await cluster.start(first);
    await cluster.runtime.until(() => cluster.member(first).machine.words.length === 4);
    for (const { machine } of cluster.members.values()) expect(machine.words).toEqual(['a', 'b', 'c', 'd']);
  });

  test('an isolated leader reports the fate of its proposals as unknown, then definitely lost', async () => {
    const cluster = new Cluster({ proposalTimeoutMs: 60_000 });
    await cluster.startAll([1, 2, 3]);
    const old = await cluster.untilLeader();
    const { id } = old.status();
    cluster.cut.add(id);
    const lost = old.propose(word('lost')).catch((reason: unknown) => reason);
    await cluster.untilLeader();
    await cluster.propose('kept');
    cluster.cut.delete(id);
    const error = await cluster.finish(lost);
    expect(error).toBeInstanceOf(ProposalDropped);
    expect(error).toMatchObject({ reason: 'superseded' });
    await cluster.runtime.advance(500);
    for (const { machine } of cluster.members.values()) expect(machine.words).toEqual(['kept']);
  });

  test('a proposal that nobody confirms in time is reported as unknown', async () => {
    const cluster = new Cluster({ proposalTimeoutMs: 500 });
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    await cluster.runtime.advance(300);
    cluster.cut.add(leader.status().id);
    const error = await cluster.finish(leader.propose(word('x')).catch((reason: unknown) => reason));
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error).toMatchObject({ at: { index: expect.any(Number) } });
  });

  test('an aborted proposal rejects at once', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    const abort = new AbortController();
    const queued = leader.propose(word('x'), { signal: abort.signal }).catch((reason: unknown) => reason);
    abort.abort(new Error('changed my mind'));
    expect(await queued).toMatchObject({ message: 'changed my mind' });
    await cluster.propose('y');
    expect(cluster.member(leader.status().id).machine.words).toEqual(['y']);
  });

  test('hand leadership over on request and at a clean close', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const first = await cluster.untilLeader();
    const { id } = first.status();
    const target = id === 3 ? 2 : 3;
    await cluster.runtime.advance(500);
    expect(await cluster.finish(first.transferLeadership(target))).toBe(target);
    const began = cluster.runtime.now();
    await cluster.finish(cluster.node(target).close());
    cluster.member(target).node = undefined;
    await cluster.untilLeader();
    expect(cluster.runtime.now() - began).toBeLessThan(500);
    await cluster.propose('still here');
  });

  test('a read barrier on any node sees what was acknowledged before', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    await cluster.untilLeader();
    await cluster.propose('a');
    for (const id of [1, 2, 3]) {
      await cluster.finish(cluster.node(id).readBarrier());
      expect(cluster.member(id).machine.words).toEqual(['a']);
    }
  });

  test('a read barrier without a quorum fails in bounded time', async () => {
    const cluster = new Cluster({ proposalTimeoutMs: 3000 });
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    cluster.cut.add(leader.status().id);
    const began = cluster.runtime.now();
    const error = await cluster.finish(leader.readBarrier().catch((reason: unknown) => reason));
    expect(error).toBeInstanceOf(NotLeaderError);
    expect(cluster.runtime.now() - began).toBeLessThan(3500);
  });
});

describe('disks', () => {
  test('a single node restarts with everything it acknowledged, from log alone and from snapshot', async () => {
    const cluster = new Cluster({ snapshotEveryEntries: 20, keepEntries: 3 });
    await cluster.startAll([1]);
    await cluster.untilLeader();
    const expected: string[] = [];
    for (let i = 0; i < 70; i++) {
      await cluster.propose(String(i));
      expected.push(String(i));
      if (i % 9 !== 0) continue;
      cluster.crash(1);
      await cluster.start(1);
      await cluster.untilLeader();
      await cluster.finish(cluster.node(1).readBarrier());
      expect(cluster.member(1).machine.words).toEqual(expected);
    }
    expect(cluster.member(1).machine.restores).toBe(1);
    expect(cluster.member(1).log.durable.snapshot?.index).toBeGreaterThan(20);
    expect(cluster.member(1).snapshots.ids.length).toBeLessThanOrEqual(2);
  });

  test('a broken disk stops the node and answers everyone who waits', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1]);
    const node = await cluster.untilLeader();
    const pending = node.propose(word('x')).catch((reason: unknown) => reason);
    await cluster.runtime.advance(1);
    cluster.member(1).log.fail(new Error('EIO'));
    const again = node.propose(word('y')).catch((reason: unknown) => reason);
    expect(await cluster.finish(pending)).toBeInstanceOf(OutcomeUnknown);
    expect(await cluster.finish(again)).toBeInstanceOf(Error);
    expect(cluster.member(1).fault).toMatchObject({ message: 'EIO' });
    await expect(node.propose(word('z'))).rejects.toMatchObject({ name: 'NodeClosed' });
  });
});

describe('membership', () => {
  test('an empty node joins as learner through a snapshot, catches up, becomes a voter; another is removed', async () => {
    const cluster = new Cluster({ snapshotEveryEntries: 10, keepEntries: 2 });
    await cluster.startAll([1, 2, 3]);
    await cluster.untilLeader();
    for (let i = 0; i < 50; i++) await cluster.propose(String(i));
    await cluster.start(4);
    const leader = await cluster.untilLeader();
    const learner = { transition: 'auto', ops: [{ op: 'learner', id: 4 }] } as const;
    expect((await cluster.finish(leader.changeMembers(learner))).learners).toEqual([4]);
    await cluster.finish(leader.waitCaughtUp(4));
    expect(cluster.member(4).machine.restores).toBeGreaterThan(0);
    const voter = { transition: 'auto', ops: [{ op: 'voter', id: 4 }] } as const;
    expect((await cluster.finish(leader.changeMembers(voter))).voters).toEqual([1, 2, 3, 4]);
    await cluster.propose('joined');
    await cluster.runtime.until(() => cluster.member(4).machine.words.at(-1) === 'joined');
    expect(cluster.member(4).machine.words).toEqual(cluster.member(leader.status().id).machine.words);

    const gone = leader.status().id === 1 ? 2 : 1;
    const removal = { transition: 'auto', ops: [{ op: 'remove', id: gone }] } as const;
    expect((await cluster.finish(leader.changeMembers(removal))).voters).not.toContain(gone);
    await cluster.propose('smaller');
  });

  test('replacing several members at once resolves when the joint configuration is left', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    await cluster.start(4);
    await cluster.start(5);
    const { id } = leader.status();
    const out = [1, 2, 3].filter((other) => other !== id);
    const ops = [
      { op: 'voter', id: 4 },
      { op: 'voter', id: 5 },
      ...out.map((other) => ({ op: 'remove', id: other }) as const),
    ] as const;
    const conf = await cluster.finish(leader.changeMembers({ transition: 'auto', ops }));
    expect(conf).toMatchObject({ voters: [id, 4, 5], outgoing: [], autoLeave: false });
    await cluster.propose('new world');
  });

  test('an impossible change is refused with its reason', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1]);
    const leader = await cluster.untilLeader();
    const change = { transition: 'auto', ops: [{ op: 'remove', id: 1 }] } as const;
    const error = await cluster.finish(leader.changeMembers(change).catch((reason: unknown) => reason));
    expect(error).toMatchObject({ name: 'ProposalDropped', reason: 'conf-invalid' });
  });

  test('waiting for a node that is no member is refused', async () => {
    const cluster = new Cluster();
    await cluster.startAll([1]);
    const leader = await cluster.untilLeader();
    const error = await cluster.finish(leader.waitCaughtUp(9).catch((reason: unknown) => reason));
    expect(error).toMatchObject({ reason: 'not-member' });
  });
});

test('the same seed gives the same history', async () => {
  const history = async () => {
    const cluster = new Cluster({}, 7);
    await cluster.startAll([1, 2, 3]);
    const leader = await cluster.untilLeader();
    await cluster.propose('a');
    return [leader.status(), cluster.runtime.now()];
  };
  expect(await history()).toEqual(await history());
});
