import { describe, expect, test } from 'vitest';
import { emptyConf } from '../../src/core/index.ts';
import { Disk } from './disk.ts';
import { Cluster } from './harness.ts';

const three = [1, 2, 3];

function roleOf(cluster: Cluster, id: number): string {
  return cluster.core(id).status().role;
}

describe('election', () => {
  test('three nodes elect one leader by their timeouts and agree on it', () => {
    const cluster = Cluster.of(three);
    cluster.run(25);
    const leader = cluster.leader();
    expect(leader).toBeDefined();
    for (const id of three) expect(cluster.core(id).status()).toMatchObject({ leader: leader?.id, commit: 2 });
  });

  test('a single node leads only once its vote is on disk', () => {
    const cluster = Cluster.of([1]);
    cluster.core(1).campaign();
    cluster.pump(cluster.host(1));
    expect(roleOf(cluster, 1)).toBe('candidate');
    cluster.settle();
    expect(roleOf(cluster, 1)).toBe('leader');
  });

  test('vote requests wait for the disk, pre-vote requests do not', () => {
    const cluster = Cluster.of(three);
    cluster.core(1).campaign();
    cluster.pump(cluster.host(1));
    expect(cluster.sent.map((m) => m.type === 'vote' && m.pre)).toEqual([true, true]);
    for (const message of cluster.wire.splice(0)) cluster.deliver(message);
    for (const message of cluster.wire.splice(0)) cluster.deliver(message);
    expect(cluster.sent.some((m) => m.type === 'vote' && !m.pre)).toBe(false);
    cluster.finishAppend(cluster.host(1));
    expect(cluster.sent.filter((m) => m.type === 'vote' && !m.pre)).toHaveLength(2);
  });

  test('an isolated node that returns does not disturb: its term has not moved', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.run(100);
    expect(cluster.core(3).status()).toMatchObject({ term: 2, role: 'precandidate' });
    cluster.heal();
    cluster.run(15);
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', term: 2 });
    expect(cluster.core(3).status().leader).toBe(1);
  });

  test('a vote is refused while a leader lives, even at a higher term', () => {
    const cluster = Cluster.of(three, { config: { preVote: false } });
    cluster.elect(1);
    cluster.core(3).campaign();
    cluster.settle();
    expect(roleOf(cluster, 3)).toBe('candidate');
    expect(cluster.core(2).status()).toMatchObject({ term: 2, leader: 1 });
  });

  test('a leader that no quorum answers steps down', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 1;
    cluster.run(25);
    expect(cluster.core(1).status()).not.toMatchObject({ role: 'leader', term: 2 });
    expect(cluster.leader()?.id).not.toBe(1);
  });

  test('a node with a shorter log is not elected', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.heal();
    cluster.crash(1);
    cluster.run(60);
    expect(cluster.leader()?.id).toBe(2);
    cluster.start(1);
    cluster.run(5);
    expect(cluster.host(3).payloads).toEqual(['a']);
  });
});

describe('replication', () => {
  test('proposals made together travel together and are applied everywhere in order', () => {
    const cluster = Cluster.of(three);
    cluster.elect(2);
    cluster.sent = [];
    cluster.core(2).propose([new Uint8Array([65])]);
    cluster.core(2).propose([new Uint8Array([66]), new Uint8Array([67])]);
    cluster.settle();
    expect(cluster.sent.filter((m) => m.type === 'append' && m.to === 1 && m.entries.length > 0)).toHaveLength(1);
    for (const id of three) expect(cluster.host(id).payloads).toEqual(['A', 'B', 'C']);
  });

  test('the paper, figure 7: a new leader repairs every kind of log', () => {
    const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    const others = [
      [1, 1, 1, 4, 4, 5, 5, 6, 6],
      [1, 1, 1, 4],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
      [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
      [1, 1, 1, 4, 4, 4, 4],
      [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    const conf = { ...emptyConf, voters: [1, 2, 3, 4, 5, 6, 7] };
    const cluster = new Cluster();
    [leaderTerms, ...others].forEach((terms, i) => {
      cluster.add(i + 1, Disk.withTerms(conf, terms, 7));
    });
    cluster.elect(1);
    cluster.run(3);
    const expected = [...leaderTerms, 8];
    for (const { disk } of cluster.hosts.values()) expect(disk.entries.map((entry) => entry.term)).toEqual(expected);
  });

  test('the paper, figure 8: an old entry on a majority is not committed by counting', () => {
    const conf = { ...emptyConf, voters: [1, 2, 3, 4, 5] };
    const cluster = new Cluster({ config: { preVote: false, checkQuorum: false } });
    // S1 led term 2, S5 term 3; S1 leads term 4 and copies its entry of term 2 to S3.
    const logs = [[2], [2], [], [], [3]];
    logs.forEach((terms, i) => {
      cluster.add(i + 1, Disk.withTerms(conf, terms, 3));
    });
    cluster.drop = (m) => m.from === 5 || m.to === 5 || (m.type === 'append' && m.entries.some((e) => e.term === 4));
    cluster.core(1).campaign();
    cluster.settle();
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', term: 4 });
    const append = { type: 'append', from: 1, to: 3, term: 4, epoch: 1, commit: 1 } as const;
    const [old] = cluster.host(1).disk.entries;
    if (!old) throw new Error('no entry');
    cluster.deliver({ ...append, prev: { index: 1, term: 1 }, entries: [old] });
    cluster.deliver({ ...append, to: 2, prev: { index: 1, term: 1 }, entries: [old] });
    cluster.settle();
    const matches = cluster
      .core(1)
      .status()
      .progress.filter((peer) => peer.match >= 2);
    expect(matches.map((peer) => peer.id)).toEqual([1, 2, 3]);
    expect(cluster.core(1).status().commit).toBe(1);
    // S5 may therefore still win with its longer term and overwrite it.
    cluster.crash(1);
    cluster.heal();
    cluster.core(5).campaign();
    cluster.settle();
    cluster.elect(5);
    expect(cluster.host(3).disk.entries[0]?.term).toBe(3);
  });

  test('a lagging follower behind the compacted log gets a snapshot and then the rest', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.crash(3);
    for (const text of ['a', 'b', 'c', 'd']) cluster.propose(1, text);
    cluster.settle();
    cluster.compact(1, 0);
    cluster.propose(1, 'e');
    cluster.run(12);
    cluster.start(3);
    cluster.run(5);
    expect(cluster.core(3).status()).toMatchObject({ firstIndex: 7, applied: 7 });
    expect(cluster.host(3).payloads).toEqual(['e']);
    expect(cluster.core(1).status().progress[2]).toMatchObject({ state: 'replicate', match: 7 });
  });

  test('lost appends of a full window are sent again', () => {
    const cluster = Cluster.of(three, { limits: { maxInflightMessages: 2, maxMessageBytes: 1 } });
    cluster.elect(1);
    cluster.drop = (m) => m.type === 'append' && m.to === 3;
    for (const text of ['a', 'b', 'c', 'd']) cluster.propose(1, text);
    cluster.settle();
    cluster.heal();
    cluster.run(10);
    expect(cluster.host(3).payloads).toEqual(['a', 'b', 'c', 'd']);
  });

  test('proposals are refused with a reason: no leader, follower, too much uncommitted', () => {
    const cluster = Cluster.of(three, { limits: { maxUncommittedBytes: 4 } });
    expect(cluster.propose(1, 'x')).toEqual({ ok: false, reason: 'no-leader', leader: 0 });
    cluster.elect(1);
    expect(cluster.propose(2, 'x')).toEqual({ ok: false, reason: 'not-leader', leader: 1 });
    expect(cluster.propose(1, 'longer than the limit').ok).toBe(true);
    expect(cluster.propose(1, 'x')).toEqual({ ok: false, reason: 'too-much-uncommitted', leader: 1 });
    cluster.settle();
    expect(cluster.propose(1, 'x').ok).toBe(true);
  });
});

describe('follower', () => {
  const entry = (index: number, term: number) => ({ index, term, kind: 0, data: new Uint8Array([64 + term]) }) as const;
  const head = { type: 'append', to: 3, epoch: 1, prev: { index: 1, term: 1 } } as const;

  test('an append commits no further than what it has verified', () => {
    const conf = { ...emptyConf, voters: three };
    const cluster = new Cluster();
    cluster.add(3, Disk.withTerms(conf, [2, 2, 2], 2));
    cluster.host(3).core?.step({ ...head, from: 1, term: 4, entries: [], commit: 4 });
    expect(cluster.core(3).status()).toMatchObject({ commit: 1, lastIndex: 4 });
  });

  test('a delayed shorter append cuts nothing off', () => {
    const cluster = new Cluster();
    cluster.add(3, Disk.founded({ ...emptyConf, voters: three }));
    const entries = [entry(2, 2), entry(3, 2)];
    cluster.core(3).step({ ...head, from: 1, term: 2, entries, commit: 1 });
    cluster.core(3).step({ ...head, from: 1, term: 2, entries: entries.slice(0, 1), commit: 1 });
    expect(cluster.core(3).status().lastIndex).toBe(3);
  });

  test('an entry that came, was replaced and came again counts as durable only after its last write', () => {
    const cluster = new Cluster();
    const host = cluster.add(3, Disk.founded({ ...emptyConf, voters: three }));
    const leaders = [
      { from: 1, term: 2, entries: [entry(2, 2)], commit: 1 },
      { from: 2, term: 3, entries: [entry(2, 3)], commit: 1 },
      { from: 1, term: 4, entries: [entry(2, 2)], commit: 2 },
    ];
    for (const append of leaders) {
      host.core?.step({ ...head, ...append });
      cluster.pump(host);
    }
    expect(host.appends).toHaveLength(3);
    for (const left of [2, 1]) {
      cluster.finishAppend(host);
      expect([host.appends.length, host.applies.length]).toEqual([left, 0]);
    }
    cluster.finishAppend(host);
    cluster.finishApply(host);
    expect(host.payloads).toEqual(['B']);
  });
});

describe('transfer', () => {
  test('leadership moves at once to a node that is caught up, though the leader lives', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    expect(cluster.core(1).transferLeadership(2)).toBe('started');
    expect(cluster.propose(1, 'x')).toMatchObject({ ok: false, reason: 'transferring' });
    cluster.settle();
    expect(cluster.core(2).status()).toMatchObject({ role: 'leader', term: 3 });
  });

  test('a transfer to a dead node is given up after an election timeout', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.crash(3);
    cluster.core(1).transferLeadership(3);
    cluster.run(11);
    expect(roleOf(cluster, 1)).toBe('leader');
    expect(cluster.propose(1, 'x').ok).toBe(true);
  });

  test('a learner, a stranger and the leader itself are no targets', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    expect(cluster.core(1).transferLeadership(9)).toBe('not-member');
    expect(cluster.core(1).transferLeadership(1)).toBe('not-member');
    expect(cluster.core(2).transferLeadership(3)).toBe('not-leader');
  });
});

describe('membership', () => {
  test('a newcomer becomes a learner through the founding snapshot and then a voter that can lead', () => {
    const cluster = Cluster.of([1]);
    cluster.elect(1);
    cluster.propose(1, 'a');
    cluster.add(2);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 2 }] });
    cluster.run(3);
    expect(cluster.host(2).payloads).toEqual(['a']);
    expect(cluster.core(2).status().conf).toMatchObject({ voters: [1], learners: [2] });
    cluster.change(1, { transition: 'auto', ops: [{ op: 'voter', id: 2 }] });
    cluster.run(3);
    cluster.core(1).transferLeadership('best');
    cluster.settle();
    expect(roleOf(cluster, 2)).toBe('leader');
  });

  test('a second change waits until the first is applied', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    const add = { transition: 'auto', ops: [{ op: 'learner', id: 4 }] } as const;
    expect(cluster.change(1, add).ok).toBe(true);
    expect(cluster.change(1, add)).toMatchObject({ ok: false, reason: 'conf-pending' });
    cluster.settle();
    expect(cluster.change(1, { transition: 'auto', ops: [] })).toMatchObject({ ok: false, reason: 'conf-invalid' });
    expect(cluster.change(1, add).ok).toBe(true);
  });

  test('a removed leader steps down once its removal is applied, and the others go on', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 1 }] });
    cluster.settle();
    expect(roleOf(cluster, 1)).toBe('follower');
    cluster.run(60);
    expect(cluster.leader()?.id).toBeGreaterThan(1);
    expect(cluster.leader()?.conf.voters).toEqual([2, 3]);
    expect(roleOf(cluster, 1)).toBe('follower');
  });

  test('several changes go through a joint configuration that ends by itself', () => {
    const cluster = Cluster.of(three);
    for (const id of [4, 5]) cluster.add(id);
    cluster.elect(1);
    const ops = [
      { op: 'voter', id: 4 },
      { op: 'voter', id: 5 },
      { op: 'learner', id: 3 },
      { op: 'remove', id: 2 },
    ] as const;
    cluster.change(1, { transition: 'auto', ops });
    cluster.run(5);
    expect(cluster.ledger.joints).toBe(1);
    for (const id of [1, 3, 4, 5]) {
      expect(cluster.host(id).conf).toEqual({ ...emptyConf, voters: [1, 4, 5], learners: [3] });
    }
  });

  test('answers to an earlier membership do not count for a node that was added again', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 3 }] });
    cluster.settle();
    cluster.drop = (m) => m.to === 3;
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 3 }] });
    cluster.settle();
    cluster.deliver({ type: 'append-ack', from: 3, to: 1, term: 2, epoch: 1, match: 2 });
    expect(cluster.core(1).status().progress[2]).toMatchObject({ id: 3, match: 0 });
  });
});

describe('read index', () => {
  test('leader and follower get the commit index once a quorum has confirmed the leader', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.propose(1, 'a');
    cluster.settle();
    expect([cluster.read(1, 7), cluster.read(3, 8)]).toEqual(['queued', 'queued']);
    expect(cluster.host(1).reads).toEqual([]);
    cluster.settle();
    expect(cluster.host(1).reads).toEqual([{ token: 7, index: 3 }]);
    expect(cluster.host(3).reads).toEqual([{ token: 8, index: 3 }]);
  });

  test('a leader cut off from its quorum answers no read and fails it when it steps down', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.read(1, 7);
    cluster.run(5);
    expect([cluster.host(1).reads, cluster.host(1).readsFailed]).toEqual([[], []]);
    cluster.run(20);
    expect([cluster.host(1).reads, cluster.host(1).readsFailed]).toEqual([[], [7]]);
  });

  test('a read before the first commit of a term waits for it', () => {
    const cluster = Cluster.of(three);
    cluster.drop = (m) => m.type === 'append-ack';
    cluster.elect(1);
    cluster.read(1, 7);
    cluster.run(2);
    expect(cluster.host(1).reads).toEqual([]);
    cluster.heal();
    cluster.run(2);
    expect(cluster.host(1).reads).toEqual([{ token: 7, index: 2 }]);
  });

  test('a follower whose query gets lost is told so', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.type === 'read-query';
    cluster.read(2, 7);
    cluster.run(11);
    expect(cluster.host(2).readsFailed).toEqual([7]);
  });
});
