/** Corner cases of PreVote with CheckQuorum [raft.md §3.5], each once a livelock or a needless change of leader somewhere. */
import { describe, expect, test } from 'vitest';
import type { ConfState, Message, Vote } from '../../src/core/index.ts';
import { emptyConf } from '../../src/core/index.ts';
import { Disk } from './disk.ts';
import { Cluster } from './harness.ts';

const three = [1, 2, 3];
const conf: ConfState = { ...emptyConf, voters: three };

function preVote(from: number, to: number, term: number, last: Vote['last']): Vote {
  return { type: 'vote', from, to, term, pre: true, transfer: false, last, committed: { term: 1, index: 1 } };
}

describe('PreVote and CheckQuorum', () => {
  test('1: a removed node that never learns of its removal disturbs nobody', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 3 }] });
    cluster.settle();
    cluster.run(100);
    expect(cluster.core(3).status()).toMatchObject({ role: 'precandidate', term: 2 });
    cluster.heal();
    cluster.run(50);
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', term: 2 });
  });

  test('1: without PreVote its requests go unanswered as long as the leader lives', () => {
    const cluster = Cluster.of(three, { config: { preVote: false } });
    cluster.elect(1);
    cluster.drop = (m) => m.to === 3;
    cluster.change(1, { transition: 'auto', ops: [{ op: 'remove', id: 3 }] });
    cluster.settle();
    cluster.run(100);
    expect(cluster.core(3).status().term).toBeGreaterThan(4);
    expect(cluster.core(1).status()).toMatchObject({ role: 'leader', term: 2 });
  });

  test.each([true, false])(
    '2: a higher term with a shorter log and a lower term with a longer one elect a leader (PreVote of the first: %s)',
    (mixed) => {
      const cluster = new Cluster({ configOf: (id) => ({ preVote: id === 2 || mixed }) });
      cluster.add(1, Disk.withTerms(conf, [2], 7));
      cluster.add(2, Disk.withTerms(conf, [2, 2, 2], 3));
      cluster.run(100);
      expect(cluster.leader()?.id).toBe(2);
    },
  );

  test('2: a pre-vote of a lower term is refused with the higher term, which the asker takes over', () => {
    const cluster = new Cluster();
    cluster.add(1, Disk.withTerms(conf, [2], 7));
    cluster.deliver(preVote(2, 1, 4, { term: 2, index: 4 }));
    cluster.settle();
    expect(cluster.sent).toMatchObject([{ type: 'vote-ack', to: 2, pre: true, granted: false, term: 7 }]);
    cluster.add(2, Disk.withTerms(conf, [2, 2, 2], 3));
    cluster.core(2).campaign();
    cluster.settle();
    expect(cluster.core(2).status()).toMatchObject({ role: 'follower', term: 7 });
  });

  test('3: followers that lose their leader together do not refuse each other for its sake', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.run(1);
    cluster.crash(1);
    cluster.sent = [];
    for (const id of [2, 3]) cluster.core(id).campaign();
    for (const id of [2, 3]) cluster.pump(cluster.host(id));
    cluster.settle();
    expect(cluster.sent.filter((m) => m.type === 'vote-ack' && m.pre && m.granted && m.from > 1)).not.toEqual([]);
    cluster.run(60);
    expect(cluster.leader()?.id).toBeGreaterThan(1);
  });

  test('4: a leader that stepped down is not refused because its followers still have a leader: it is the asker', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 1;
    cluster.tick(1, 20);
    cluster.pump(cluster.host(1));
    expect(cluster.core(1).status().role).not.toBe('leader');
    expect(cluster.core(2).status().leader).toBe(1);
    cluster.heal();
    cluster.wire = [];
    cluster.elect(1);
  });

  test('5: nobody campaigns before its peers stop refusing, and nobody waits longer than two timeouts', () => {
    const waits = new Set<number>();
    for (let seed = 1; seed <= 300; seed += 1) {
      const cluster = Cluster.of(three, { seed });
      let ticks = 0;
      while (cluster.core(1).status().role === 'follower' && ticks < 100) {
        cluster.tick(1);
        ticks += 1;
      }
      waits.add(ticks);
    }
    expect([...waits].sort((a, b) => a - b)).toEqual([11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
  });

  test('6: a pre-vote is granted only to a log that could win', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, 'a');
    cluster.settle();
    cluster.heal();
    cluster.crash(1);
    for (let i = 0; i < 5; i += 1) {
      cluster.tick(2, 5);
      cluster.core(3).campaign();
      cluster.settle();
      expect(cluster.core(3).status().role).not.toBe('leader');
      expect(cluster.core(3).status().term).toBeLessThanOrEqual(cluster.core(2).status().term);
    }
  });

  test('6: the answer to a pre-vote compares logs, though no vote is at stake', () => {
    const cluster = new Cluster();
    cluster.add(1, Disk.withTerms(conf, [2, 2], 3));
    const lasts = [
      { term: 2, index: 2 },
      { term: 1, index: 9 },
      { term: 2, index: 3 },
    ];
    for (const last of lasts) cluster.deliver(preVote(2, 1, 4, last));
    cluster.settle();
    expect(cluster.sent.map((m) => m.type === 'vote-ack' && m.granted)).toEqual([false, false, true]);
  });

  test('7: a leader that reaches its followers only through a bridge gives way to one that a quorum answers', () => {
    const five = [1, 2, 3, 4, 5];
    const cluster = Cluster.of(five);
    cluster.elect(1);
    // 3 still hears the old leader; nobody else does.
    cluster.drop = (m) => (m.from === 1 && m.to !== 3) || (m.to === 1 && m.from !== 3);
    cluster.run(80);
    expect(cluster.leader()?.id).not.toBe(1);
    expect(cluster.propose(cluster.leader()?.id ?? 0, 'x').ok).toBe(true);
    cluster.settle();
    expect(cluster.host(2).payloads).toEqual(['x']);
  });

  test('7: a leader that can send but not hear steps down', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.drop = (m) => m.to === 1;
    cluster.tick(1, 20);
    expect(cluster.core(1).status().role).not.toBe('leader');
  });

  test('8: every refusal carries the term of the refuser', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.sent = [];
    const old = { from: 3, to: 2, term: 1 } as const;
    const messages: Message[] = [
      { ...old, type: 'append', prev: { term: 1, index: 1 }, entries: [], commit: 1, epoch: 1 },
      { ...old, type: 'heartbeat', commit: 1, read: 0 },
      { ...old, type: 'read-query', token: 5 },
      preVote(3, 2, 1, { term: 1, index: 1 }),
    ];
    for (const message of messages) cluster.deliver(message);
    cluster.settle();
    const answers = cluster.sent.filter((m) => m.from === 2 && m.to === 3);
    expect(answers.map(({ type, term }) => [type, term])).toEqual([
      ['append-ack', 2],
      ['append-ack', 2],
      ['read-answer', 2],
      ['vote-ack', 2],
    ]);
  });

  test('9: a follower that forgets its leader grants a pre-vote at once', () => {
    const cluster = Cluster.of(three);
    cluster.elect(1);
    cluster.crash(1);
    cluster.core(3).campaign();
    cluster.settle();
    expect(cluster.core(3).status().role).toBe('precandidate');
    expect(cluster.core(2).forgetLeader()).toBe(true);
    expect(cluster.core(2).forgetLeader()).toBe(false);
    expect(cluster.core(2).status()).toMatchObject({ leader: 0, term: 2, role: 'follower' });
    cluster.elect(3);
    expect(cluster.core(3).forgetLeader()).toBe(false);
  });
});

describe('mixed settings', () => {
  test('a node without PreVote and CheckQuorum that comes back with a higher term is not left behind', () => {
    const cluster = new Cluster({
      configOf: (id) => (id === 3 ? { preVote: false, checkQuorum: false } : { preVote: true, checkQuorum: true }),
    });
    cluster.add(1, Disk.withTerms(conf, [2], 2));
    cluster.add(2, Disk.withTerms(conf, [2], 2));
    cluster.elect(1);
    cluster.add(3, Disk.withTerms(conf, [2], 9));
    cluster.run(100);
    const { id, term } = cluster.leader()?.core?.status() ?? { id: 0, term: 0 };
    expect(term).toBeGreaterThanOrEqual(9);
    expect(cluster.core(3).status()).toMatchObject({ term, leader: id });
  });
});
