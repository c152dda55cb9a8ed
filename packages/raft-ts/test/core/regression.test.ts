/** Bugs once found in Raft implementations [raft.md §3.15], each as the schedule that would bring it back. */
import { describe, expect, test } from 'vitest';
import type { Append, AppendTask, Entry } from '../../src/core/index.ts';
import { emptyConf } from '../../src/core/index.ts';
import { inspect } from '../../src/core/raft.ts';
import { Disk } from './disk.ts';
import { Cluster } from './harness.ts';

const three = [1, 2, 3];
const conf = { ...emptyConf, voters: three };

function entry(index: number, term: number): Entry {
  return { index, term, kind: 0, data: new Uint8Array([64 + term]) };
}

function append(from: number, to: number, term: number, rest: Partial<Append>): Append {
  return { type: 'append', from, to, term, prev: { term: 1, index: 1 }, entries: [], commit: 1, epoch: 1, ...rest };
}

describe('votes', () => {
  test('a candidate that becomes a follower in its term keeps its vote', () => {
    const cluster = Cluster.of(three, { config: { preVote: false, checkQuorum: false } });
    cluster.drop = () => true;
    cluster.core(1).campaign();
    cluster.settle();
    cluster.heal();
    cluster.deliver(append(2, 1, 2, {}));
    expect(cluster.core(1).status()).toMatchObject({ role: 'follower', term: 2, vote: 1, leader: 2 });
    const last = { term: 1, index: 1 };
    const vote = { type: 'vote', from: 3, to: 1, term: 2, pre: false, transfer: false, last, committed: last } as const;
    cluster.deliver(vote);
    cluster.settle();
    expect(cluster.sent.findLast((m) => m.type === 'vote-ack' && m.to === 3)).toMatchObject({ granted: false });
  });

  test('term and vote reach the disk as one record', () => {
    const cluster = Cluster.of(three);
    cluster.drop = () => true;
    const last = { term: 1, index: 1 };
    const head = { type: 'vote', from: 2, to: 1, term: 5 } as const;
    cluster.deliver({ ...head, pre: false, transfer: false, last, committed: last });
    expect(cluster.host(1).appends.map(({ hardState }) => hardState)).toEqual([{ term: 5, vote: 2, commit: 1 }]);
  });

  test('a pre-vote neither sets the vote nor puts off an election', () => {
    const cluster = Cluster.of(three);
    const last = { term: 1, index: 1 };
    const head = { type: 'vote', from: 2, to: 1, term: 2 } as const;
    for (let i = 0; i < 25; i += 1) {
      cluster.deliver({ ...head, pre: true, transfer: false, last, committed: last });
      cluster.tick(1);
    }
    expect(cluster.core(1).status()).toMatchObject({ role: 'precandidate', vote: 0, term: 1 });
  });

  test('an answer from the pre-vote phase is no vote', () => {
    const cluster = Cluster.of(three, { config: { preVote: false } });
    cluster.drop = () => true;
    cluster.core(1).campaign();
    cluster.settle();
    const committed = { term: 1, index: 1 };
    cluster.deliver({ type: 'vote-ack', from: 2, to: 1, term: 2, pre: true, granted: true, committed });
    cluster.settle();
    expect(cluster.core(1).status().role).toBe('candidate');
  });

  test('a learner votes when it is asked: it may not know yet of its promotion', () => {
    const cluster = Cluster.of([1, 2]);
    cluster.elect(1);
    cluster.add(3);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 3 }] });
    cluster.run(2);
    cluster.drop = (m) => m.to === 3;
    cluster.change(1, { transition: 'auto', ops: [{ op: 'voter', id: 3 }] });
    cluster.run(2);
    expect(cluster.core(3).status().conf.learners).toEqual([3]);
    cluster.crash(1);
    cluster.heal();
    cluster.run(60);
    expect(cluster.leader()?.id).toBe(2);
  });

  test('who cannot win may know what is committed, and tells it, or else nobody could lead', () => {
    // 3 has the longest log, but does not know that the change that made it a voter is committed.
    const cluster = Cluster.of([1, 2]);
    cluster.elect(1);
    cluster.add(3);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 3 }] });
    cluster.run(2);
    const at = cluster.core(1).status().lastIndex + 1;
    cluster.drop = (m) => {
      if (m.to === 3) return (m.type === 'append' || m.type === 'heartbeat') && m.commit >= at;
      return m.to === 2 && m.type === 'append' && m.entries.some(({ index }) => index > at);
    };
    cluster.change(1, { transition: 'auto', ops: [{ op: 'voter', id: 3 }] });
    cluster.propose(1, 'x');
    cluster.run(2);
    cluster.crash(1);
    expect(cluster.core(2).status()).toMatchObject({ lastIndex: at, applied: at, conf: { voters: [1, 2, 3] } });
    expect(cluster.core(3).status()).toMatchObject({ lastIndex: at + 1, conf: { voters: [1, 2], learners: [3] } });
    cluster.heal();
    cluster.run(80);
    expect(cluster.leader()?.id).toBe(3);
    expect(cluster.host(2).payloads).toEqual(['x']);
  });
});

describe('log', () => {
  test('a write of an earlier term that ends late counts for nothing in the new term', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.propose(1, 'x');
    const host = cluster.host(1);
    expect(host.appends).toHaveLength(1);
    // Another leader replaces the entry before the write of the first one is reported.
    cluster.deliver(append(2, 1, 3, { prev: { term: 2, index: 2 }, entries: [entry(3, 3)], commit: 2 }));
    cluster.sent = [];
    cluster.finishAppend(host);
    expect(cluster.sent.filter((m) => m.type === 'append-ack')).toEqual([]);
    cluster.settle();
    const acks = cluster.sent.filter((m) => m.type === 'append-ack' && m.from === 1);
    expect(acks).toMatchObject([{ to: 2, term: 3, match: 3 }]);
    expect(cluster.core(1).status().commit).toBe(2);
  });

  test('an acknowledgement tells what was verified, not where the own log ends', () => {
    const cluster = new Cluster();
    cluster.add(3, Disk.withTerms(conf, [2, 2, 2], 2));
    cluster.deliver(append(1, 3, 4, {}));
    cluster.settle();
    expect(cluster.sent).toMatchObject([{ type: 'append-ack', match: 1 }]);
  });

  test('a suffix of another term is cut off whole, even where only its first entry is replaced', () => {
    const cluster = new Cluster();
    const host = cluster.add(3, Disk.withTerms(conf, [2, 2, 2], 2));
    cluster.deliver(append(1, 3, 4, { prev: { term: 2, index: 2 }, entries: [entry(3, 4)] }));
    cluster.settle();
    expect(host.disk.entries.map(({ term }) => term)).toEqual([2, 4]);
    cluster.crash(3);
    cluster.start(3);
    expect(cluster.core(3).status().lastIndex).toBe(3);
  });

  test('a conflict with a committed entry stops the node', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    const message = append(2, 3, 5, { entries: [entry(2, 5)] });
    cluster.core(3).step({ ...message, prev: { term: 2, index: 2 }, entries: [entry(3, 5)], commit: 2 });
    expect(() => cluster.core(3).step({ ...message, prev: { term: 9, index: 2 } })).not.toThrow();
    expect(() => inspect(cluster.core(3)).log.merge({ term: 1, index: 1 }, [entry(2, 5)])).toThrow(
      'conflict at committed',
    );
  });

  test('a heartbeat commits no more than what the follower has acknowledged', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3 && m.type === 'append';
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.sent = [];
    cluster.tick(1);
    const commits = cluster.sent.map((m) => (m.type === 'heartbeat' ? [m.to, m.commit] : []));
    expect(commits).toEqual([
      [2, 3],
      [3, 2],
    ]);
  });

  test('a commit index beyond the log is a fault, not a guess', () => {
    const cluster = Cluster.of(three);
    const heartbeat = { type: 'heartbeat', from: 2, to: 1, term: 2, commit: 9, read: 0 } as const;
    expect(() => cluster.core(1).step(heartbeat)).toThrow('lies beyond the last index');
  });

  test('a late refusal does not move a stream back', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.propose(1, 'a', 'b');
    cluster.settle();
    const hint = { term: 1, index: 1 };
    cluster.deliver({ type: 'append-ack', from: 2, to: 1, term: 2, epoch: 1, reject: { prev: 2, hint } });
    expect(cluster.core(1).status().progress[1]).toMatchObject({ state: 'replicate', match: 4, next: 5 });
    cluster.deliver({ type: 'append-ack', from: 2, to: 1, term: 2, epoch: 1, reject: { prev: 9, hint } });
    expect(cluster.core(1).status().progress[1]).toMatchObject({ match: 4, next: 5 });
  });

  test('a window full of lost appends does not stall a follower', () => {
    const cluster = Cluster.of(three, { limits: { maxInflightMessages: 2, maxMessageBytes: 1 } });
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    cluster.propose(1, 'a', 'b', 'c', 'd');
    cluster.settle();
    expect(cluster.core(1).status().progress[2]).toMatchObject({ id: 3, inflight: 2, paused: true });
    cluster.heal();
    cluster.run(4);
    expect(cluster.host(3).payloads).toEqual(['a', 'b', 'c', 'd']);
  });

  test('logs that differ in many entries are repaired with one probe per term, not per entry', () => {
    const cluster = new Cluster();
    const ours = [...Array.from({ length: 40 }, () => 2), 5];
    const theirs = [...Array.from({ length: 10 }, () => 2), ...Array.from({ length: 40 }, () => 3)];
    cluster.add(1, Disk.withTerms(conf, ours, 5));
    cluster.add(2, Disk.withTerms(conf, theirs, 5));
    cluster.add(3, Disk.withTerms(conf, [...Array.from({ length: 10 }, () => 2)], 5));
    cluster.elect(1);
    cluster.run(3);
    const refusals = cluster.sent.filter((m) => m.type === 'append-ack' && m.reject);
    expect(refusals.length).toBeLessThanOrEqual(4);
    expect(cluster.host(2).disk.entries.map(({ term }) => term)).toEqual([...ours, 6]);
  });
});

test('the hint of a follower whose terms are lower saves the leader from probing entry by entry', () => {
  const cluster = new Cluster();
  const ours = [2, ...Array.from({ length: 40 }, () => 5)];
  cluster.add(1, Disk.withTerms(conf, ours, 5));
  cluster.add(2, Disk.withTerms(conf, [2, ...Array.from({ length: 30 }, () => 3)], 5));
  cluster.add(3, Disk.withTerms(conf, [2], 5));
  cluster.elect(1);
  cluster.run(3);
  expect(cluster.sent.filter((m) => m.type === 'append-ack' && m.reject && m.from === 2)).toHaveLength(1);
  expect(cluster.host(2).disk.entries.map(({ term }) => term)).toEqual([...ours, 6]);
});

describe('reads', () => {
  test('a single voter, too, answers only once an entry of its term is committed', () => {
    const cluster = Cluster.of([1]);
    cluster.core(1).campaign();
    cluster.pump(cluster.host(1));
    cluster.finishAppend(cluster.host(1));
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', commit: 1 });
    cluster.read(1, 7);
    expect(cluster.host(1).reads).toEqual([]);
    cluster.settle();
    expect(cluster.host(1).reads).toEqual([{ token: 7, index: 2 }]);
  });

  test('a delayed heartbeat answer does not confirm a later read, not even one with the same token', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.read(1, 7);
    const [beat] = cluster.wire.filter((m) => m.type === 'heartbeat');
    cluster.settle();
    expect(cluster.host(1).reads).toHaveLength(1);
    cluster.isolate(1);
    cluster.read(1, 7);
    cluster.heal();
    cluster.wire = [];
    if (beat) cluster.deliver(beat);
    cluster.settle();
    expect(cluster.host(1).reads).toHaveLength(1);
    cluster.run(1);
    expect(cluster.host(1).reads).toHaveLength(2);
  });

  test('reads that wait are answered when the group shrinks to what has confirmed them', () => {
    const cluster = Cluster.of([1, 2]);
    cluster.elect(1);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 2 }] });
    cluster.drop = (m) => m.type === 'heartbeat' || m.type === 'heartbeat-ack';
    cluster.read(1, 7);
    expect(cluster.host(1).reads).toEqual([]);
    cluster.settle();
    expect(cluster.host(1).reads).toMatchObject([{ token: 7 }]);
  });

  test('reads parked for the first commit fail when the leader steps down', () => {
    const cluster = Cluster.of(three);
    cluster.drop = (m) => m.type === 'append-ack';
    cluster.elect(1);
    cluster.read(1, 7);
    cluster.deliver({ type: 'heartbeat', from: 2, to: 1, term: 9, commit: 1, read: 0 });
    expect(cluster.host(1).readsFailed).toEqual([7]);
  });
});

describe('membership', () => {
  test('nobody campaigns with a committed but unapplied configuration, however it was asked to', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.change(1, { transition: 'auto', ops: [{ op: 'learner', id: 4 }] });
    const host = cluster.host(2);
    const round = (): void => {
      for (const message of cluster.wire.splice(0)) cluster.deliver(message);
      for (const id of three) while (cluster.finishAppend(cluster.host(id)));
    };
    for (let i = 0; i < 4; i += 1) round();
    expect(host.core?.status()).toMatchObject({ commit: 3, applied: 2 });
    host.core?.campaign();
    cluster.deliver({ type: 'timeout-now', from: 1, to: 2, term: 2 });
    expect(host.core?.status()).toMatchObject({ role: 'follower', term: 2 });
    while (cluster.finishApply(host));
    cluster.deliver({ type: 'timeout-now', from: 1, to: 2, term: 2 });
    expect(host.core?.status().role).toBe('candidate');
  });

  test('a joint phase that could not end during a transfer ends once the transfer is given up', () => {
    const cluster = Cluster.of(three);
    cluster.add(4);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.change(1, { transition: 'joint-implicit', ops: [{ op: 'learner', id: 4 }] });
    // Node 3 cannot catch up, so the transfer hangs.
    cluster.core(1).transferLeadership(3);
    cluster.settle();
    expect(cluster.core(1).status().conf.outgoing).toEqual(three);
    cluster.run(12);
    expect(cluster.core(1).status().conf).toEqual({ ...emptyConf, voters: three, learners: [4] });
  });

  test('a new leader ends the joint phase only after the entry that began it is committed by both halves', () => {
    const cluster = Cluster.of(three);
    for (const id of [4, 5]) cluster.add(id);
    cluster.elect(1);
    const ops = [
      { op: 'voter', id: 4 },
      { op: 'voter', id: 5 },
      { op: 'remove', id: 1 },
    ] as const;
    cluster.drop = (m) => m.type === 'append-ack';
    cluster.change(1, { transition: 'joint-implicit', ops });
    cluster.settle();
    cluster.crash(1);
    cluster.heal();
    cluster.run(60);
    const leader = cluster.leader();
    expect(leader?.id).toBeGreaterThan(1);
    expect(cluster.ledger.joints).toBeGreaterThan(0);
    expect(leader?.conf).toEqual({ ...emptyConf, voters: [2, 3, 4, 5] });
  });

  test('a configuration that is in the log but not applied is not in force after a restart', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.type === 'append-ack';
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 3 }] });
    cluster.settle();
    for (const id of three) {
      cluster.crash(id);
      cluster.start(id);
      expect(cluster.core(id).status()).toMatchObject({ conf: { voters: three }, lastIndex: 3 });
    }
  });

  test('an acknowledgement from before a node was removed and added again does not count', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.drop = (m) => m.to === 3 || m.from === 3;
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 3 }] });
    cluster.settle();
    cluster.change(1, { transition: 'auto', ops: [{ op: 'voter', id: 3 }] });
    cluster.settle();
    const hint = { term: 1, index: 1 };
    cluster.deliver({ type: 'append-ack', from: 3, to: 1, term: 2, epoch: 1, match: 3 });
    cluster.deliver({ type: 'append-ack', from: 3, to: 1, term: 2, epoch: 1, reject: { prev: 5, hint } });
    expect(cluster.core(1).status().progress[2]).toMatchObject({ id: 3, match: 0 });
    cluster.heal();
    cluster.run(3);
    expect(cluster.host(3).payloads).toEqual(['a']);
  });
});

describe('snapshots', () => {
  test('a snapshot whose last entry is in the log throws nothing away', () => {
    const cluster = new Cluster();
    cluster.add(3, Disk.withTerms(conf, [2, 2, 2], 2));
    const snapshot = { index: 3, term: 2, conf, id: 's' };
    cluster.core(3).step({ type: 'snapshot', from: 1, to: 3, term: 2, snapshot, epoch: 1 });
    expect(cluster.core(3).status()).toMatchObject({ commit: 3, lastIndex: 4, firstIndex: 2 });
  });

  test('an append that begins before the compacted log is acknowledged with what is committed, not refused', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.propose(1, 'a', 'b');
    cluster.run(1);
    cluster.compact(3, 0);
    cluster.sent = [];
    cluster.deliver(append(1, 3, 2, { entries: [entry(2, 2)] }));
    cluster.settle();
    expect(cluster.sent).toMatchObject([{ type: 'append-ack', from: 3, match: 4 }]);
  });

  test('a snapshot waits until nothing is being applied, and its receiver does not campaign before it is durable', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.heal();
    const host = cluster.host(3);
    const payload = { ...entry(3, 2), data: new TextEncoder().encode('a') };
    cluster.deliver(append(1, 3, 2, { prev: { term: 2, index: 2 }, entries: [payload], commit: 3 }));
    cluster.finishAppend(host);
    expect(host.applies).toHaveLength(1);
    const snapshot = { index: 9, term: 2, conf, id: 's' };
    const core = cluster.core(3);
    core.step({ type: 'snapshot', from: 1, to: 3, term: 2, snapshot, epoch: 1 });
    expect(core.takeReady().append).toBeUndefined();
    core.campaign();
    expect(core.status().role).toBe('follower');
    const [task] = host.applies;
    if (task) core.applied(task);
    const write = core.takeReady().append;
    expect(write).toMatchObject({ snapshot: { index: 9 }, mustSync: true });
    core.campaign();
    expect(core.status().role).toBe('follower');
    if (write) {
      host.disk.write(write);
      core.appended(write);
    }
    core.campaign();
    expect(core.status()).toMatchObject({ role: 'precandidate', applied: 9 });
  });

  test('after a snapshot and a restart the log goes on right behind it', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a', 'b', 'c');
    cluster.settle();
    cluster.compact(1, 0);
    cluster.heal();
    cluster.run(2);
    cluster.crash(3);
    cluster.start(3);
    expect(cluster.core(3).status()).toMatchObject({ firstIndex: 6, lastIndex: 5, commit: 5 });
    cluster.propose(1, 'd');
    cluster.run(2);
    expect(cluster.host(3).payloads).toEqual(['d']);
  });

  test('two snapshots in quick succession are no fault, and an old one is acknowledged with what is committed', () => {
    const cluster = new Cluster();
    const host = cluster.add(3);
    const core = cluster.core(3);
    const acks: (number | undefined)[] = [];
    const tasks = [4, 9, 4].map((index) => {
      const snapshot = { index, term: 2, conf, id: `s${String(index)}` };
      core.step({ type: 'snapshot', from: 1, to: 3, term: 2, snapshot, epoch: 1 });
      return core.takeReady().append;
    });
    for (const task of tasks) {
      if (!task) continue;
      host.disk.write(task);
      for (const message of task.onDurable) if (message.type === 'append-ack') acks.push(message.match);
      core.appended(task);
    }
    expect(acks).toEqual([4, 9, 9]);
    expect(host.disk.snapshot()).toMatchObject({ index: 9 });
    expect(core.status()).toMatchObject({ commit: 9, applied: 9, lastIndex: 9 });
    expect(core.invariants()).toEqual([]);
  });

  test('a snapshot of another index than the one sent ends the snapshot phase all the same', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a', 'b');
    cluster.settle();
    cluster.compact(1, 0);
    cluster.drop = (m) => m.type === 'snapshot';
    // The report of the loss is withheld, so that the leader still waits.
    cluster.lose = () => undefined;
    cluster.run(2);
    expect(cluster.core(1).status().progress[2]).toMatchObject({ state: 'snapshot', pendingSnapshot: 4 });
    cluster.propose(1, 'c');
    cluster.settle();
    cluster.deliver({ type: 'append-ack', from: 3, to: 1, term: 2, epoch: 1, match: 4 });
    expect(cluster.core(1).status().progress[2]).toMatchObject({ state: 'replicate', match: 4 });
  });

  test('a lost snapshot is sent again after the next sign of life, once, and compaction meanwhile starts no loop', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a', 'b');
    cluster.settle();
    cluster.compact(1, 0);
    cluster.heal();
    let lost = 0;
    cluster.drop = (m) => m.type === 'snapshot' && (lost += 1) <= 2;
    for (let i = 0; i < 8; i += 1) {
      cluster.propose(1, `p${String(i)}`);
      cluster.run(1);
      cluster.compact(1, 1);
    }
    cluster.run(3);
    expect(cluster.host(3).disk.lastIndex()).toBe(cluster.core(1).status().lastIndex);
    expect(cluster.sent.filter((m) => m.type === 'snapshot').length).toBeLessThanOrEqual(4);
  });
});

describe('bounds', () => {
  test('the uncommitted tail, the entries being applied and the bytes in flight stay within their limits', () => {
    const limits = { maxUncommittedBytes: 10, maxApplyBytes: 4, maxInflightBytes: 6, maxMessageBytes: 2 };
    const cluster = Cluster.of(three, { limits });
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    let accepted = 0;
    while (cluster.propose(1, 'xx').ok && accepted < 100) accepted += 1;
    expect(accepted).toBe(5);
    expect(cluster.sent.filter((m) => m.type === 'append' && m.to === 3 && m.entries.length > 0).length).toBeLessThan(
      6,
    );
    const [host] = [cluster.host(1)];
    for (let i = 0; i < 20; i += 1) {
      cluster.finishAppend(host);
      while (cluster.finishAppend(cluster.host(2)));
      for (const message of cluster.wire.splice(0)) cluster.deliver(message);
      const bytes = host.applies.reduce((sum, task) => sum + task.bytes, 0);
      expect(bytes).toBeLessThanOrEqual(4);
    }
    expect(host.applies.length).toBeGreaterThan(0);
    cluster.settle();
    expect(cluster.host(1).payloads).toHaveLength(5);
  });

  test('the limit on what is applied spans all tasks that are out', () => {
    const cluster = Cluster.of([1], { limits: { maxApplyBytes: 3 } });
    cluster.elect(1);
    cluster.propose(1, 'aa', 'bb', 'cc', 'dd');
    while (cluster.finishAppend(cluster.host(1)));
    const host = cluster.host(1);
    expect(host.applies.map(({ bytes }) => bytes)).toEqual([2, 2]);
    cluster.finishApply(host);
    expect(host.applies.map(({ bytes }) => bytes)).toEqual([2, 2]);
    cluster.settle();
    expect(host.payloads).toEqual(['aa', 'bb', 'cc', 'dd']);
  });

  test('tasks must be reported in the order in which they were given out', () => {
    const cluster = Cluster.of([1]);
    cluster.core(1).campaign();
    const ready = cluster.core(1).takeReady();
    const wrong: AppendTask = { seq: 9, entries: [], mustSync: false, onDurable: [] };
    expect(ready.append?.seq).toBe(1);
    expect(() => cluster.core(1).appended(wrong)).toThrow('out of order');
    expect(() => cluster.core(1).applied({ seq: 1, entries: [], bytes: 0 })).toThrow('out of order');
  });
});
