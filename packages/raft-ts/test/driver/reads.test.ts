import { describe, expect, test } from 'vitest';
import { Cluster } from './cluster.ts';

async function three(options = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  await cluster.propose('a');
  await cluster.runtime.advance(300);
  return cluster;
}

describe('read barriers', () => {
  test('many at once share rounds, and all are answered', async () => {
    const cluster = await three();
    const leader = cluster.node(cluster.ids()[0]);
    const before = leader.metrics().counters.messagesOut.heartbeat;
    const reads: Promise<number>[] = [];
    for (let i = 0; i < 200; i++) {
      reads.push(leader.readBarrier());
      if (i % 10 === 0) await cluster.runtime.advance(0.1);
    }
    await cluster.finish(Promise.all(reads));
    expect(leader.metrics().counters.messagesOut.heartbeat - before).toBeLessThan(20);
    expect(leader.metrics().gauges.waitingReads).toBe(0);
  });

  test('behind rounds that were lost are asked for within a tick', async () => {
    const cluster = await three();
    const leader = cluster.node(cluster.ids()[0]);
    let losing = true;
    cluster.lose = ({ messages }) => losing && messages.some(({ type }) => type.startsWith('heartbeat'));
    const lost = [leader.readBarrier()];
    await cluster.runtime.advance(5);
    lost.push(leader.readBarrier());
    await cluster.runtime.advance(5);
    const late = leader.readBarrier();
    losing = false;
    const began = cluster.runtime.now();
    await cluster.finish(late);
    expect(cluster.runtime.now() - began).toBeLessThan(150);
    await cluster.finish(Promise.all(lost));
  });

  test('never answer with less than what was acknowledged before they were called', async () => {
    const cluster = await three();
    for (let i = 0; i < 30; i++) {
      const [id] = cluster.ids();
      const { at } = await cluster.finish(cluster.node(id).propose(new TextEncoder().encode(String(i))));
      const reader = cluster.node((i % 3) + 1);
      expect(await cluster.finish(reader.readBarrier())).toBeGreaterThanOrEqual(at.index);
      expect(cluster.member((i % 3) + 1).machine.words).toContain(String(i));
    }
  });
});
