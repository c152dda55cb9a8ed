import { describe, expect, test } from 'vitest';
import { Lease } from '../../src/driver/lease.ts';
import { NotLeaderError } from '../../src/index.ts';
import { Cluster } from './cluster.ts';

const electionMs = 1000;

async function started(options = {}): Promise<Cluster> {
  const cluster = new Cluster({ leaseReads: true, ...options });
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  await cluster.propose('a');
  await cluster.runtime.advance(300);
  return cluster;
}

describe('a lease', () => {
  test('runs from the send time of the newest confirmed round, and ends', () => {
    const lease = new Lease(900);
    lease.sent(1, 100);
    lease.sent(2, 200);
    expect(lease.holds(100)).toBe(false);
    lease.confirmed(1);
    expect(lease.holds(999)).toBe(true);
    expect(lease.holds(1000)).toBe(false);
    lease.confirmed(2);
    expect(lease.holds(1099)).toBe(true);
    expect(lease.holds(1100)).toBe(false);
  });

  test('is not prolonged by a round sent again or confirmed late', () => {
    const lease = new Lease(900);
    lease.sent(1, 100);
    lease.sent(1, 500);
    lease.confirmed(1);
    expect(lease.holds(1000)).toBe(false);
    lease.sent(2, 600);
    lease.confirmed(2);
    lease.confirmed(1);
    expect(lease.holds(1499)).toBe(true);
    expect(lease.holds(1500)).toBe(false);
    lease.reset();
    expect(lease.holds(600)).toBe(false);
  });

  test('a round that was never sent confirms nothing', () => {
    const lease = new Lease(900);
    lease.confirmed(5);
    expect(lease.holds(0)).toBe(false);
  });
});

describe('lease reads', () => {
  test('are answered by the leader without a message, at the newest commit', async () => {
    const cluster = await started();
    const [id] = cluster.ids();
    const { at } = await cluster.finish(cluster.node(id).propose(new TextEncoder().encode('b')));
    let sent = 0;
    cluster.lose = () => {
      sent += 1;
      return false;
    };
    const index = await cluster.node(id).readBarrier({ mode: 'lease' });
    expect(index).toBe(at.index);
    expect(sent).toBe(0);
    expect(cluster.node(id).metrics().counters.readsByLease).toBe(1);
  });

  test('are off by default, and say so', async () => {
    const cluster = await started({ leaseReads: false });
    const [id] = cluster.ids();
    await expect(cluster.node(id).readBarrier({ mode: 'lease' })).rejects.toThrow('leaseReads is off');
  });

  test('on a follower are quorum reads', async () => {
    const cluster = await started();
    const [, follower = 0] = cluster.ids();
    await cluster.finish(cluster.node(follower).readBarrier({ mode: 'lease' }));
    expect(cluster.member(follower).machine.words).toEqual(['a']);
    expect(cluster.node(follower).metrics().counters).toMatchObject({ readsByLease: 0, readsByQuorum: 1 });
  });

  test('a leader that wakes from a pause after the others elected another one serves nothing old', async () => {
    const cluster = await started();
    const [old] = cluster.ids();
    const { process, node } = cluster.member(old);
    process.freeze();
    cluster.cut.add(old);
    await cluster.untilLeader();
    await cluster.propose('newer');
    // Awake again, and asked before it has heard of anything: the clock alone must tell.
    process.thaw();
    const read = node?.readBarrier({ mode: 'lease' }) ?? Promise.reject(new Error('down'));
    expect(node?.metrics().counters.readsByLease).toBe(0);
    cluster.cut.delete(old);
    await cluster.finish(read);
    expect(cluster.member(old).machine.words).toEqual(['a', 'newer']);
  });

  test('nobody is elected while a lease can hold, however the leader is lost', async () => {
    const cluster = await started();
    const [old, a = 0, b = 0] = cluster.ids();
    const { node } = cluster.member(old);
    const lostAt = cluster.runtime.now();
    cluster.cut.add(old);
    // Voters that start anew have forgotten the leader, but not their promise; one of them is told to campaign.
    for (const id of [a, b]) cluster.crash(id);
    for (const id of [a, b]) await cluster.start(id);
    let lastLeaseMs = lostAt;
    while (cluster.leader() === undefined) {
      cluster.node(a).campaign();
      await cluster.runtime.advance(10);
      const before = node?.metrics().counters.readsByLease ?? 0;
      node?.readBarrier({ mode: 'lease' }).catch(() => {});
      if ((node?.metrics().counters.readsByLease ?? 0) > before) lastLeaseMs = cluster.runtime.now();
    }
    expect(lastLeaseMs - lostAt).toBeGreaterThan(electionMs / 2);
    expect(lastLeaseMs).toBeLessThan(cluster.runtime.now());
  });

  test('end with a transfer of leadership, also one that fails', async () => {
    const cluster = await started();
    const [id, target = 0] = cluster.ids();
    const leader = cluster.node(id);
    cluster.lose = ({ messages }) => messages.some(({ type }) => type === 'timeout-now');
    const transfer = leader.transferLeadership(target).catch(() => {});
    await cluster.runtime.advance(20);
    const leased = () => leader.metrics().counters.readsByLease;
    void leader.readBarrier({ mode: 'lease' });
    expect(leased()).toBe(0);
    await cluster.finish(transfer);
    expect(leader.status().role).toBe('leader');
    await cluster.runtime.advance(2 * electionMs);
    // The lost message may still arrive, at any time.
    expect(await cluster.finish(leader.readBarrier({ mode: 'lease' }))).toBeGreaterThan(0);
    expect(leased()).toBe(0);
  });

  test('without a quorum end with the lease, and fail in bounded time', async () => {
    const cluster = await started({ proposalTimeoutMs: 3000 });
    const [id] = cluster.ids();
    const leader = cluster.node(id);
    cluster.cut.add(id);
    await leader.readBarrier({ mode: 'lease' });
    await cluster.runtime.advance(electionMs);
    expect(await cluster.failure(leader.readBarrier({ mode: 'lease' }))).toBeInstanceOf(NotLeaderError);
  });

  test('a margin too small for late ticks is refused', async () => {
    const cluster = new Cluster({ leaseReads: true, leaseMarginMs: 299 });
    await expect(cluster.start(1, [1])).rejects.toThrow('leaseMarginMs');
  });
});
