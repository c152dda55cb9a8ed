import { describe, expect, test } from 'vitest';
import type { Message } from '../../src/core/index.ts';
import { RaftCore } from '../../src/core/index.ts';
import { Cluster, Random, wideLimits } from './harness.ts';

const three = [1, 2, 3];
const config = { leaseReads: true } as const;

/** Nodes refuse elections for a while after their start. */
function elected(voters: readonly number[] = three): Cluster {
  const cluster = Cluster.of(voters, { config });
  for (const id of voters) cluster.tick(id, 10);
  cluster.elect(1);
  return cluster;
}

describe('lease reads', () => {
  test('need CheckQuorum', () => {
    const cluster = Cluster.of(three);
    const { disk } = cluster.host(1);
    const make = (checkQuorum: boolean): RaftCore =>
      new RaftCore(
        {
          id: 1,
          electionTicks: 10,
          heartbeatTicks: 1,
          preVote: true,
          checkQuorum,
          stepDownOnRemoval: true,
          leaseReads: true,
          limits: wideLimits,
          random: new Random(1),
        },
        disk,
        { hardState: disk.hardState, conf: cluster.host(1).conf, applied: 1 },
      );
    expect(() => make(false)).toThrow('leaseReads needs checkQuorum');
    expect(make(true).leaseUsable()).toBe(false);
  });

  test('each broadcast of heartbeats is a round, and a round counts once a quorum has echoed it', () => {
    const cluster = elected();
    const host = cluster.host(1);
    host.confirmedRounds = [];
    cluster.tick(1);
    const first = host.rounds.at(-1) ?? 0;
    expect(host.confirmedRounds).toEqual([]);
    const [toTwo] = cluster.wire.filter((m) => m.type === 'heartbeat');
    expect(toTwo).toMatchObject({ read: first });
    cluster.tick(1);
    expect(host.rounds.at(-1)).toBe(first + 1);
    cluster.wire = [];
    if (toTwo) cluster.deliver(toTwo);
    cluster.settle();
    expect(host.confirmedRounds).toEqual([first]);
  });

  test('in a joint configuration both halves must have echoed a round', () => {
    const cluster = elected();
    for (const id of [4, 5]) cluster.add(id);
    const ops = [4, 5].map((id) => ({ op: 'voter', id }) as const);
    cluster.change(1, { transition: 'joint-explicit', ops: [...ops, { op: 'remove', id: 3 }] });
    cluster.run(3);
    expect(cluster.core(1).status().conf).toMatchObject({ voters: [1, 2, 4, 5], outgoing: [1, 2, 3] });
    const host = cluster.host(1);
    cluster.drop = (m) => m.from === 3 || m.from === 2;
    host.confirmedRounds = [];
    cluster.run(3);
    expect(host.confirmedRounds).toEqual([]);
    const echoedByTheOthers = host.rounds.at(-1) ?? 0;
    cluster.drop = (m) => m.from === 4 || m.from === 5;
    cluster.run(3);
    expect(host.confirmedRounds).toEqual([echoedByTheOthers]);
    host.confirmedRounds = [];
    cluster.heal();
    cluster.run(1);
    expect(host.confirmedRounds).toEqual([host.rounds.at(-1)]);
  });

  test('a single voter confirms its rounds as it sends them', () => {
    const cluster = elected([1]);
    cluster.tick(1);
    const host = cluster.host(1);
    expect(host.confirmedRounds.at(-1)).toBe(host.rounds.at(-1));
  });

  test('the lease serves only a leader that has committed an entry of its term', () => {
    const cluster = Cluster.of(three, { config });
    for (const id of three) cluster.tick(id, 10);
    cluster.drop = (m) => m.type === 'append-ack';
    cluster.elect(1);
    expect([cluster.core(1).leaseIndex(), cluster.core(2).leaseIndex()]).toEqual([0, 0]);
    cluster.heal();
    cluster.run(2);
    expect([cluster.core(1).leaseIndex(), cluster.core(2).leaseIndex()]).toEqual([2, 0]);
  });

  test('rounds go on growing from one leadership to the next, and a new role voids what was confirmed', () => {
    const cluster = elected();
    cluster.run(3);
    const host = cluster.host(1);
    const before = host.rounds.at(-1) ?? 0;
    cluster.isolate(1);
    cluster.run(40);
    cluster.heal();
    cluster.run(3);
    cluster.core(cluster.leader()?.id ?? 0).transferLeadership(1);
    cluster.settle();
    cluster.run(2);
    expect(cluster.core(1).status().role).toBe('leader');
    const after = host.rounds.filter((round) => round > before);
    expect(after.length).toBeGreaterThan(0);
    expect([...host.rounds].sort((a, b) => a - b)).toEqual(host.rounds);
  });

  test('a node elects nobody for an election timeout after it heard of the leader, not even itself', () => {
    const cluster = elected();
    cluster.run(1);
    cluster.isolate(1);
    cluster.core(2).campaign();
    cluster.settle();
    expect(cluster.core(2).status().role).toBe('follower');
    for (let i = 0; i < 9; i += 1) {
      cluster.tick(2);
      cluster.tick(3);
      cluster.core(2).campaign();
      cluster.settle();
      expect(cluster.leader()?.id).toBe(1);
    }
    cluster.tick(2);
    cluster.tick(3);
    cluster.elect(2);
  });

  test('a promise outlives a restart: the node refuses votes as though it had just heard of the leader', () => {
    const cluster = elected();
    cluster.run(1);
    for (const id of [2, 3]) {
      cluster.crash(id);
      cluster.start(id);
    }
    cluster.isolate(1);
    cluster.core(2).campaign();
    cluster.settle();
    const vote: Message = {
      type: 'vote',
      from: 2,
      to: 3,
      term: 9,
      pre: false,
      transfer: false,
      last: { term: 2, index: 2 },
      committed: { term: 2, index: 2 },
    };
    cluster.deliver(vote);
    expect(cluster.core(3).status()).toMatchObject({ term: 2, vote: 1 });
    cluster.tick(3, 10);
    cluster.deliver(vote);
    expect(cluster.core(3).status().term).toBe(9);
  });

  test('during a transfer and for an election timeout after it was given up there is no lease', () => {
    const cluster = elected();
    cluster.isolate(3);
    cluster.propose(1, 'a');
    cluster.settle();
    expect(cluster.core(1).leaseUsable()).toBe(true);
    cluster.core(1).transferLeadership(3);
    expect(cluster.core(1).leaseUsable()).toBe(false);
    cluster.run(10);
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', transferee: 0 });
    expect(cluster.core(1).leaseUsable()).toBe(false);
    cluster.run(9);
    expect(cluster.core(1).leaseUsable()).toBe(false);
    cluster.run(1);
    expect(cluster.core(1).leaseUsable()).toBe(true);
  });

  test('once a node was told to campaign at once, the lease is lost for the term: the message may be late', () => {
    const cluster = elected();
    cluster.drop = (m) => m.type === 'timeout-now';
    cluster.core(1).transferLeadership(2);
    cluster.run(60);
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', transferee: 0 });
    expect(cluster.core(1).leaseUsable()).toBe(false);
    cluster.heal();
    // It arrives at last, and overrides the refusal of votes everywhere.
    cluster.deliver({ type: 'timeout-now', from: 1, to: 2, term: 2 });
    cluster.settle();
    expect(cluster.leader()?.id).toBe(2);
  });

  test('a leader must not be forgotten', () => {
    const cluster = elected();
    expect(cluster.core(2).forgetLeader()).toBe(false);
    expect(cluster.core(2).status().leader).toBe(1);
  });
});
