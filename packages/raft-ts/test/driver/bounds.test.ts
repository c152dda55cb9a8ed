import { describe, expect, test } from 'vitest';
import { Mail } from '../../src/driver/mail.ts';
import { Metrics } from '../../src/driver/metrics.ts';
import { Ticker } from '../../src/driver/ticker.ts';
import type { Append, Message, NodeId, Transport } from '../../src/index.ts';
import { VirtualRuntime } from '../../src/sim/index.ts';
import { Cluster, Process } from './cluster.ts';

const word = (text: string) => new TextEncoder().encode(text);
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

async function three(options = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  await cluster.runtime.advance(300);
  return cluster;
}

describe('queues', () => {
  test.each([
    ['proposals', { maxProposals: 5 }],
    ['proposed bytes', { maxQueuedBytes: 5 }],
  ])('of %s are bounded: beyond it, queue-full, and what was taken is done', async (_name, bounds) => {
    const cluster = await three({ bounds });
    const leader = cluster.node(cluster.ids()[0]);
    const all = Array.from({ length: 8 }, (_, i) => leader.propose(word(String(i))));
    const outcomes = await cluster.finish(Promise.allSettled(all));
    expect(outcomes.slice(0, 5).every(({ status }) => status === 'fulfilled')).toBe(true);
    for (const outcome of outcomes.slice(5)) expect(outcome).toMatchObject({ reason: { reason: 'queue-full' } });
    expect(leader.metrics().counters).toMatchObject({ proposalsDropped: 3, proposalsAccepted: 5 });
    await cluster.propose('room again');
  });

  test('of reads and requests are bounded', async () => {
    const cluster = await three({ bounds: { maxReads: 2, maxRequests: 2 } });
    const leader = cluster.node(cluster.ids()[0]);
    const reads = Promise.allSettled([1, 2, 3].map(() => leader.readBarrier()));
    const waits = Promise.allSettled([1, 2, 3].map(() => leader.waitCaughtUp(2)));
    for (const [a, b, c] of [await cluster.finish(reads), await cluster.finish(waits)]) {
      expect([a?.status, b?.status]).toEqual(['fulfilled', 'fulfilled']);
      expect(c).toMatchObject({ reason: { reason: 'queue-full' } });
    }
  });

  test('of received messages are bounded, in number and bytes; the rest is lost, and counted', async () => {
    const cluster = await three({ bounds: { maxInboxMessages: 10 } });
    const [leader, follower = 0] = cluster.ids();
    const flood: Message[] = Array.from({ length: 50 }, () => ({
      type: 'heartbeat',
      from: leader,
      to: follower,
      term: 1,
      commit: 0,
      read: 0,
    }));
    const before = cluster.node(follower).metrics().counters.messagesIn.heartbeat;
    cluster.bus.find(follower)?.receive(flood);
    const { messagesDropped, messagesIn } = cluster.node(follower).metrics().counters;
    expect(messagesDropped).toBe(40);
    expect(messagesIn.heartbeat - before).toBe(10);
  });

  test('impossible settings are refused', async () => {
    const refused = (options: object) => expect(new Cluster(options).start(1, [1])).rejects.toThrow(RangeError);
    await refused({ tickMs: 0 });
    await refused({ electionTicks: 1 });
    await refused({ heartbeatTicks: 0 });
    await refused({ leaseReads: true, checkQuorum: false });
    await refused({ limits: { maxApplyBytes: 0 } });
    await refused({ bounds: { maxReads: 0 } });
  });
});

describe('applying', () => {
  test('a long backlog goes on while heartbeats are answered and nobody else is elected', async () => {
    const cluster = await three({ bounds: { maxApplyEntries: 4, maxApplyMs: 1 } });
    const [leader, follower = 0] = cluster.ids();
    const { machine } = cluster.member(follower);
    const apply = machine.apply.bind(machine);
    let largest = 0;
    machine.apply = (entries) => {
      largest = Math.max(largest, entries.length);
      return apply(entries);
    };
    const before = cluster.node(leader).status().term;
    const all = Array.from({ length: 500 }, (_, i) => cluster.node(leader).propose(word(String(i))));
    await cluster.finish(Promise.all(all));
    await cluster.runtime.until(() => machine.words.length === 500);
    expect(largest).toBe(4);
    expect(cluster.node(leader).status()).toMatchObject({ role: 'leader', term: before });
  });
});

describe('ticks', () => {
  test('after a pause at most two come at once, and the pace is kept', async () => {
    const runtime = new VirtualRuntime({ seed: 1, settle });
    const process = new Process(runtime);
    const seen: [at: number, ticks: number, skipped: number][] = [];
    const ticker = new Ticker(process, 100, (ticks, skipped) => seen.push([runtime.now(), ticks, skipped]));
    ticker.start();
    await runtime.advance(250);
    process.freeze();
    await runtime.advance(3000);
    process.thaw();
    await runtime.advance(200);
    expect(seen).toEqual([
      [100, 1, 0],
      [200, 1, 0],
      [3250, 2, 28],
      [3300, 1, 0],
      [3400, 1, 0],
    ]);
    ticker.stop();
    await runtime.advance(1000);
    expect(seen).toHaveLength(5);
  });

  test('a follower that was frozen for long does not campaign on waking', async () => {
    const cluster = await three();
    const [leader, follower = 0] = cluster.ids();
    const { term } = cluster.node(leader).status();
    cluster.member(follower).process.freeze();
    await cluster.runtime.advance(20_000);
    cluster.member(follower).process.thaw();
    await cluster.runtime.advance(2000);
    expect(cluster.node(leader).status()).toMatchObject({ role: 'leader', term });
    expect(cluster.node(follower).metrics().counters.ticksSkipped).toBeGreaterThan(190);
  });
});

describe('a mere commit index', () => {
  const runtime = () => new VirtualRuntime({ seed: 1, settle });
  const append = (commit: number, entries = 0, prev = 5): Append => ({
    type: 'append',
    from: 1,
    to: 2,
    term: 3,
    prev: { term: 3, index: prev },
    entries: Array.from({ length: entries }, (_, i) => ({ term: 3, index: prev + 1 + i, kind: 0, data: word('x') })),
    commit,
    epoch: 0,
  });
  const mailOn = (clock: VirtualRuntime, commitDelayMs = 4) => {
    const sent: Message[][] = [];
    const transport = { send: (_to: NodeId, batch: Message[]) => sent.push([...batch]) } as unknown as Transport;
    return { mail: new Mail({ runtime: clock, transport, metrics: new Metrics(), commitDelayMs }), sent };
  };

  test('travels with the next append that says as much', () => {
    const { mail, sent } = mailOn(runtime());
    mail.post(append(5));
    mail.flush();
    expect(sent).toEqual([]);
    mail.post(append(6, 1));
    mail.flush();
    expect(sent).toEqual([[append(6, 1)]]);
  });

  test('goes alone after its delay, and only once', async () => {
    const clock = runtime();
    const { mail, sent } = mailOn(clock);
    mail.post(append(4));
    mail.post(append(5));
    await clock.advance(3);
    expect(sent).toEqual([]);
    await clock.advance(1);
    expect(sent).toEqual([[append(5)]]);
    await clock.advance(100);
    expect(sent).toHaveLength(1);
  });

  test('is not dropped for an append that says less', () => {
    const { mail, sent } = mailOn(runtime());
    mail.post(append(5, 0, 9));
    mail.post(append(5, 1, 5));
    mail.flush();
    expect(sent).toEqual([[append(5, 0, 9), append(5, 1, 5)]]);
  });

  test('does not wait at all with a delay of 0, nor when everything has to go', () => {
    const eager = mailOn(runtime(), 0);
    eager.mail.post(append(5));
    eager.mail.flush();
    expect(eager.sent).toHaveLength(1);
    const { mail, sent } = mailOn(runtime());
    mail.post(append(5));
    mail.flushAll();
    expect(sent).toHaveLength(1);
  });

  test('reaches followers soon, and one at a time costs one append per follower', async () => {
    const cluster = await three({ commitDelayMs: 20 });
    const [id, ...followers] = cluster.ids();
    const before = cluster.node(id).metrics().counters.messagesOut.append;
    for (let i = 0; i < 20; i++) await cluster.propose(String(i));
    expect(cluster.node(id).metrics().counters.messagesOut.append - before).toBeLessThanOrEqual(42);
    await cluster.runtime.advance(30);
    for (const follower of followers) expect(cluster.member(follower).machine.words).toHaveLength(20);
  });

  test('a removed member hears of its removal even if its address is forgotten at once', async () => {
    const cluster = await three({ commitDelayMs: 1000 });
    const [id, gone = 0] = cluster.ids();
    const { machine } = cluster.member(id);
    cluster.machineOf = () => machine;
    let forgotten = false;
    machine.configured = (conf) => {
      forgotten = !conf.voters.includes(gone);
    };
    cluster.lose = ({ to }) => forgotten && to === gone;
    const removal = { transition: 'auto', ops: [{ op: 'remove', id: gone }] } as const;
    await cluster.finish(cluster.node(id).changeMembers(removal));
    await cluster.runtime.advance(100);
    expect(cluster.node(gone).status().conf.voters).not.toContain(gone);
  });
});
