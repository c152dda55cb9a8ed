import { describe, expect, test } from 'vitest';
import { Inlet } from '../../src/driver/inlet.ts';
import { Metrics } from '../../src/driver/metrics.ts';
import { settingsOf } from '../../src/driver/options.ts';
import { PendingEntries, Waiter } from '../../src/driver/pending.ts';
import type { Outcome, RaftCore, RaftNodeOptions } from '../../src/index.ts';
import { NodeClosed, NotLeaderError, OutcomeUnknown, ProposalDropped, RaftFault, Superseded } from '../../src/index.ts';
import { Cluster } from './cluster.ts';

const word = (text: string) => new TextEncoder().encode(text);

async function three(options = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  await cluster.runtime.advance(300);
  return cluster;
}

describe('certainly not committed', () => {
  test('without a known leader: NotLeaderError, naming nobody', async () => {
    const cluster = new Cluster();
    await cluster.start(1, [1, 2, 3]);
    const error = await cluster.failure(cluster.node(1).propose(word('x')));
    expect(error).toBeInstanceOf(NotLeaderError);
    expect(error).toMatchObject({ leader: 0 });
  });

  test('while leadership moves: ProposalDropped, transferring', async () => {
    const cluster = await three();
    const [id, target = 0] = cluster.ids();
    cluster.lose = ({ messages }) => messages.some(({ type }) => type === 'timeout-now');
    const transfer = cluster.failure(cluster.node(id).transferLeadership(target));
    const error = await cluster.failure(cluster.node(id).propose(word('x')));
    expect(error).toBeInstanceOf(ProposalDropped);
    expect(error).toMatchObject({ reason: 'transferring' });
    expect(await transfer).toMatchObject({ name: 'TransferFailed' });
  });

  test('too large for a message: ProposalDropped, too-large', async () => {
    const cluster = await three({ maxProposalBytes: 10 });
    const error = await cluster.failure(cluster.node(cluster.ids()[0]).propose(new Uint8Array(11)));
    expect(error).toMatchObject({ name: 'ProposalDropped', reason: 'too-large' });
  });

  test('too much waits for a quorum: ProposalDropped, too-much-uncommitted', async () => {
    const cluster = await three({ limits: { maxUncommittedBytes: 100 } });
    const [id, ...followers] = cluster.ids();
    for (const follower of followers) cluster.cut.add(follower);
    const first = cluster.failure(cluster.node(id).propose(new Uint8Array(90).fill(1)));
    await cluster.runtime.advance(10);
    const error = await cluster.failure(cluster.node(id).propose(new Uint8Array(20).fill(1)));
    expect(error).toMatchObject({ name: 'ProposalDropped', reason: 'too-much-uncommitted' });
    expect(await first).toBeInstanceOf(OutcomeUnknown);
  });

  test('another leader filled its place: Superseded, and it is nowhere', async () => {
    const cluster = await three({ proposalTimeoutMs: 60_000 });
    const [old] = cluster.ids();
    cluster.cut.add(old);
    const lost = cluster.failure(cluster.node(old).propose(word('lost')));
    await cluster.untilLeader();
    await cluster.propose('kept');
    cluster.cut.delete(old);
    const error = await lost;
    expect(error).toBeInstanceOf(Superseded);
    expect(error).toBeInstanceOf(ProposalDropped);
    expect(error).toMatchObject({ reason: 'superseded', at: { index: expect.any(Number) } });
    await cluster.runtime.advance(1000);
    for (const { machine } of cluster.members.values()) expect(machine.words).toEqual(['kept']);
  });

  test('asked of a closed node: NodeClosed', async () => {
    const cluster = await three();
    const node = cluster.node(cluster.ids()[0]);
    await cluster.finish(node.close());
    await expect(node.propose(word('x'))).rejects.toBeInstanceOf(NodeClosed);
    await expect(node.readBarrier()).rejects.toBeInstanceOf(NodeClosed);
    await expect(node.changeMembers({ transition: 'auto', ops: [] })).rejects.toBeInstanceOf(NodeClosed);
    await expect(node.waitCaughtUp(2)).rejects.toBeInstanceOf(NodeClosed);
    await expect(node.transferLeadership()).rejects.toBeInstanceOf(NodeClosed);
  });

  test('waiting for its turn when the node is closed: NodeClosed, and it is nowhere', async () => {
    const cluster = await three();
    const node = cluster.node(cluster.ids()[0]);
    const waiting = node.propose(word('x')).catch((error: unknown) => error);
    const closing = node.close({ transfer: false });
    expect(await waiting).toBeInstanceOf(NodeClosed);
    await cluster.finish(closing);
    await cluster.runtime.advance(3000);
    for (const { machine } of cluster.members.values()) expect(machine.words).toEqual([]);
  });
});

describe('outcome unknown', () => {
  test('of a proposal whose leader loses its quorum, in bounded time; it may turn out to be committed', async () => {
    const cluster = await three({ proposalTimeoutMs: 2000 });
    const [old, ...followers] = cluster.ids();
    // Its entry gets out, the answers do not get back.
    cluster.lose = ({ to }) => to === old;
    const began = cluster.runtime.now();
    const error = await cluster.failure(cluster.node(old).propose(word('x')));
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error).toMatchObject({ at: { index: expect.any(Number) } });
    expect(cluster.runtime.now() - began).toBeLessThan(2300);
    cluster.cut.add(old);
    await cluster.untilLeader();
    await cluster.runtime.advance(500);
    for (const id of followers) expect(cluster.member(id).machine.words).toEqual(['x']);
  });

  test('of a proposal that a snapshot of the next leader covers', async () => {
    const cluster = await three({ proposalTimeoutMs: 60_000, snapshotEveryEntries: 5, keepEntries: 0 });
    const [old] = cluster.ids();
    cluster.cut.add(old);
    const lost = cluster.failure(cluster.node(old).propose(word('lost')));
    await cluster.runtime.advance(50);
    await cluster.untilLeader();
    for (let i = 0; i < 100; i++) await cluster.propose(String(i));
    cluster.cut.delete(old);
    expect(await lost).toBeInstanceOf(OutcomeUnknown);
  });

  test('of a proposal on its way to the disk when the node is closed; no caller is left waiting', async () => {
    const cluster = await three();
    const [id, ...followers] = cluster.ids();
    const node = cluster.node(id);
    for (const follower of followers) cluster.cut.add(follower);
    const pending = node.propose(word('x')).catch((error: unknown) => error);
    const read = node.readBarrier().catch((error: unknown) => error);
    const caughtUp = node.waitCaughtUp(followers[0] ?? 0, { maxLag: -1 }).catch((error: unknown) => error);
    await cluster.runtime.advance(20);
    await cluster.finish(node.close({ transfer: false }));
    expect(await pending).toBeInstanceOf(OutcomeUnknown);
    expect(await read).toBeInstanceOf(NodeClosed);
    expect(await caughtUp).toBeInstanceOf(NodeClosed);
  });

  test('of a membership change whose leader loses its quorum', async () => {
    const cluster = await three({ proposalTimeoutMs: 1000 });
    const [id] = cluster.ids();
    cluster.cut.add(id);
    const change = { transition: 'auto', ops: [{ op: 'learner', id: 9 }] } as const;
    expect(await cluster.failure(cluster.node(id).changeMembers(change))).toBeInstanceOf(OutcomeUnknown);
  });

  test('of an aborted proposal that the log has already; of one that it has not, the reason for aborting', async () => {
    const cluster = await three();
    const [id] = cluster.ids();
    const abort = new AbortController();
    const reason = new Error('changed my mind');
    const begun = cluster.failure(cluster.node(id).propose(word('x'), { signal: abort.signal }));
    await cluster.runtime.advance(1);
    const waiting = cluster
      .node(id)
      .propose(word('y'), { signal: abort.signal })
      .catch((error: unknown) => error);
    abort.abort(reason);
    const error = await begun;
    expect(error).toBeInstanceOf(OutcomeUnknown);
    expect(error).toMatchObject({ cause: reason });
    expect(await waiting).toBe(reason);
    await cluster.runtime.advance(500);
    expect(cluster.member(id).machine.words).toEqual(['x']);
  });
});

describe('a fault', () => {
  test('of the core in the middle of taking proposals in leaves nobody waiting', async () => {
    let calls = 0;
    const core = {
      propose: () => {
        calls += 1;
        if (calls === 2) throw new RaftFault('broken');
        return { ok: true, at: { term: 1, index: 5 } };
      },
    } as unknown as RaftCore;
    const metrics = new Metrics();
    const pending = new PendingEntries<number>(metrics);
    const settings = settingsOf({ id: 1, limits: { maxMessageBytes: 1 } } as RaftNodeOptions<number>);
    const inlet = new Inlet(settings, { core, pending, metrics });
    const outcomes = [1, 2, 3].map((byte) =>
      new Promise<Outcome<number>>((resolve, reject) =>
        inlet.push(new Uint8Array([byte]), new Waiter(resolve, reject, { beganMs: 0, deadlineMs: 1 })),
      ).catch((error: unknown) => error),
    );
    expect(() => inlet.take()).toThrow('broken');
    inlet.failAll(new NodeClosed());
    pending.failAll(new Error('broken'));
    const [first, ...rest] = await Promise.all(outcomes);
    expect(first).toBeInstanceOf(OutcomeUnknown);
    for (const outcome of rest) expect(outcome).toBeInstanceOf(NodeClosed);
  });

  test.each([
    ['the state machine throws', 'apply'],
    ['the disk fails', 'disk'],
    ['a snapshot cannot be written', 'snapshot'],
  ])('when %s stops the node for good and answers everybody', async (_name, what) => {
    const cluster = await three({ snapshotEveryEntries: 3 });
    const [id] = cluster.ids();
    const member = cluster.member(id);
    const node = cluster.node(id);
    if (what === 'apply') {
      member.machine.apply = () => {
        throw new Error('broken');
      };
    } else if (what === 'snapshot') {
      member.snapshots.create = () => Promise.reject(new Error('broken'));
    }
    const outcomes = Array.from({ length: 10 }, (_, i) =>
      node.propose(word(String(i))).catch((error: unknown) => error),
    );
    await cluster.runtime.advance(1);
    if (what === 'disk') member.log.fail(new Error('broken'));
    await cluster.runtime.until(() => member.fault !== undefined);
    expect(member.fault).toBeInstanceOf(RaftFault);
    expect(member.fault).toMatchObject({ message: 'broken' });
    for (const outcome of await Promise.all(outcomes)) {
      // A snapshot is written after its entries were applied and answered.
      if (what !== 'snapshot') expect(outcome).toBeInstanceOf(OutcomeUnknown);
    }
    await expect(node.propose(word('z'))).rejects.toMatchObject({ name: 'NodeClosed', cause: member.fault });
    let late: Error | undefined;
    node.onFault((fault) => {
      late = fault;
    });
    expect(late).toBe(member.fault);
    cluster.cut.add(id);
    await cluster.untilLeader();
  });
});
