/**
 * Schedules for bugs that random worlds meet too seldom. Each says what went wrong; nothing, if the rule is kept. The
 * sources as they are must pass all of them.
 */
import type { Message } from '../../src/core/index.ts';
import { Bench, type CoreClass } from './bench.ts';

type Scenario = (Core: CoreClass) => string | undefined;

const payload = (): Uint8Array[] => [new Uint8Array([1])];

/** An acknowledgement from before a removal arrives after the node was added again, with an empty disk. */
function otherEpoch(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.propose(payload()));
  let old: Message | undefined;
  bench.settle((m) => {
    if (m.type === 'append-ack' && m.from === 3) old = m;
    return false;
  });
  bench.act(1, (core) => core.proposeConfChange({ transition: 'auto', ops: [{ op: 'remove', id: 3 }] }));
  bench.settle();
  bench.cores.delete(3);
  bench.act(1, (core) => core.proposeConfChange({ transition: 'auto', ops: [{ op: 'learner', id: 3 }] }));
  bench.settle();
  const late = old;
  if (late === undefined) throw new Error('nothing was acknowledged');
  bench.act(1, (core) => core.step(late));
  const match = bench
    .core(1)
    .status()
    .progress.find(({ id }) => id === 3)?.match;
  return match === 0 ? undefined : `invariant 11: leader believes that node 3 holds ${match}, its disk is new`;
}

/** A node that cannot win tells one that holds all that is committed, and does not know it. */
function toldByVote(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.propose(payload()));
  // Node 2 gets the entry, and never hears that it is committed.
  const committed = (m: Message): boolean =>
    m.to === 2 && ((m.type === 'append' && m.entries.length === 0) || m.type === 'heartbeat');
  bench.settle(committed);
  const { commit } = bench.core(1).status();
  if (bench.core(2).status().commit >= commit) throw new Error('node 2 knows too much');
  bench.act(3, (core) => core.campaign());
  // The question alone tells it.
  bench.settle((m) => m.to !== 2);
  return bench.core(2).status().commit === commit
    ? undefined
    : 'invariant 17: a node that holds what is committed is not told so by votes';
}

function redraws(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1], { voters: [1, 2, 3] });
  const waits: number[] = [];
  let last = 0;
  for (let tick = 1; tick < 100; tick++) {
    bench.act(1, (core) => core.tick());
    if (bench.wire.some((m) => m.type === 'vote')) {
      waits.push(tick - last);
      last = tick;
    }
    bench.wire = [];
  }
  const [first, second] = waits.slice(1);
  if (second === undefined) throw new Error('campaigned less than three times');
  return first === second ? 'invariant 17: campaigns come at equal distances: nodes in step stay in step' : undefined;
}

/** The only other voter is removed while a read waits for it. */
function talliedAgain(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2], { voters: [1, 2] });
  bench.elect(1);
  bench.act(1, (core) => core.readIndex(7));
  bench.act(1, (core) => core.proposeConfChange({ transition: 'auto', ops: [{ op: 'remove', id: 2 }] }));
  bench.settle((m) => m.type === 'heartbeat' || m.type === 'heartbeat-ack');
  if (bench.core(1).status().conf.voters.length !== 1) throw new Error('node 2 was not removed');
  return bench.reads.includes(7) ? undefined : 'invariant 17: a read waits for a node that was removed';
}

/** A node with the longer log is behind in terms, one with a shorter log ahead. */
function lowerTermAnswered(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.propose(payload()));
  bench.settle((m) => m.to === 3);
  bench.act(3, (core) => core.step({ type: 'timeout-now', from: 1, to: 3, term: core.status().term }));
  bench.act(3, (core) =>
    core.step({
      type: 'vote',
      from: 9,
      to: 3,
      term: 9,
      pre: false,
      transfer: true,
      last: { term: 1, index: 1 },
      committed: { term: 1, index: 1 },
    }),
  );
  bench.wire = [];
  bench.act(2, (core) => core.campaign());
  bench.settle((m) => m.to === 1 || m.from === 1);
  const { term } = bench.core(2).status();
  return term >= bench.core(3).status().term
    ? undefined
    : 'invariant 17: a pre-vote of a lower term is not answered, so nobody can win';
}

/** A follower's suffix that the leader has not vouched for is never committed. */
function vouchedFor(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [2], { voters: [1, 2, 3] });
  const entry = (index: number) => ({ term: 2, index, kind: 0, data: new Uint8Array([1]) }) as const;
  const head = { type: 'append', to: 2, epoch: 1 } as const;
  const prev = { term: 1, index: 1 };
  bench.act(2, (core) => core.step({ ...head, from: 1, term: 2, prev, entries: [entry(2), entry(3)], commit: 1 }));
  const met = { term: 2, index: 2 };
  bench.act(2, (core) => core.step({ ...head, from: 3, term: 3, prev: met, entries: [], commit: 3 }));
  const { commit } = bench.core(2).status();
  return commit === 2 ? undefined : `invariant 5: commits ${commit}, which its leader has not compared`;
}

/** A log that ends in a lower term is not up to date, however long it is. */
function latestTermWins(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [2], { voters: [1, 2, 3] });
  const entries = [{ term: 3, index: 2, kind: 0, data: new Uint8Array([1]) }] as const;
  const prev = { term: 1, index: 1 };
  bench.act(2, (core) => core.step({ type: 'append', from: 1, to: 2, term: 3, prev, entries, commit: 2, epoch: 1 }));
  bench.wire = [];
  const [last, committed] = [{ term: 2, index: 9 }, prev];
  bench.act(2, (core) =>
    core.step({ type: 'vote', from: 3, to: 2, term: 4, pre: false, transfer: true, last, committed }),
  );
  const granted = bench.wire.some((m) => m.type === 'vote-ack' && m.granted);
  return granted ? 'invariant 4: votes for a node without the committed entry 2' : undefined;
}

function bothHalvesElect(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3], outgoing: [1, 4, 5] });
  bench.act(1, (core) => core.campaign());
  bench.settle();
  const { role } = bench.core(1).status();
  return role === 'leader' ? 'invariant 1: elected by the new half of a joint configuration alone' : undefined;
}

function appliesFirst(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.proposeConfChange({ transition: 'auto', ops: [{ op: 'learner', id: 3 }] }));
  bench.holdApplies = true;
  bench.settle();
  bench.act(2, (core) => core.campaign());
  const { role, applied, commit } = bench.core(2).status();
  if (applied === commit) throw new Error('everything is applied');
  return role === 'follower' ? undefined : 'invariant 10: campaigns while a committed configuration is not in force';
}

/** Two nodes have both lost their leader and campaign; the one that began first must answer the other. */
function forgetsLeader(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3], checkQuorum: true });
  bench.elect(1);
  for (const id of [2, 3]) {
    bench.wire = [];
    for (let ticks = 0; ticks < 25 && bench.core(id).status().role !== 'precandidate'; ticks++)
      bench.act(id, (core) => core.tick());
  }
  bench.settle((m) => m.from !== 3 || m.to !== 2);
  bench.act(3, (core) => core.tick());
  const asked = bench.core(3).status().role;
  if (asked !== 'precandidate') throw new Error(`node 3 is ${asked}`);
  const last = { term: 9, index: 9 };
  bench.act(2, (core) =>
    core.step({
      type: 'vote',
      from: 3,
      to: 2,
      term: core.status().term + 1,
      pre: true,
      transfer: false,
      last,
      committed: { term: 1, index: 1 },
    }),
  );
  return bench.wire.some((m) => m.type === 'vote-ack' && m.from === 2)
    ? undefined
    : 'invariant 17: a precandidate refuses others for the sake of a leader that it has given up';
}

function staleLeaderIsTold(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [3], { voters: [1, 2, 3] });
  bench.act(3, (core) => core.step({ type: 'heartbeat', from: 2, to: 3, term: 5, commit: 1, read: 0 }));
  bench.wire = [];
  bench.act(3, (core) => core.step({ type: 'heartbeat', from: 1, to: 3, term: 2, commit: 1, read: 0 }));
  return bench.wire.some((m) => m.to === 1 && m.term === 5)
    ? undefined
    : 'invariant 17: a stale leader never learns of the higher term';
}

/** The same entry comes, goes and comes back while its first write is still under way. */
function sameEntryAgain(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [2], { voters: [1, 2, 3] });
  const core = bench.core(2);
  const prev = { term: 1, index: 1 };
  const append = (from: number, term: number, of: number, commit: number): void => {
    const entries = [{ term: of, index: 2, kind: 0, data: new Uint8Array([of]) }] as const;
    core.step({ type: 'append', from, to: 2, term, prev, entries, commit, epoch: 1 });
  };
  append(1, 2, 2, 1);
  const first = core.takeReady().append;
  append(3, 3, 3, 1);
  core.takeReady();
  append(1, 4, 2, 2);
  core.takeReady();
  if (first === undefined) throw new Error('nothing was written');
  core.appended(first);
  const { apply } = core.takeReady();
  return apply === undefined
    ? undefined
    : 'invariant 9: applies an entry on the word of a write that was replaced since';
}

function readsAskQuorum(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.readIndex(7));
  return bench.reads.includes(7) ? 'invariant 14: a read is answered by a leader who asked nobody' : undefined;
}

/** The answer to a heartbeat that was sent before a read was asked proves nothing about it. */
function earlierAnswer(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [1, 2, 3], { voters: [1, 2, 3] });
  bench.elect(1);
  bench.act(1, (core) => core.readIndex(6));
  const early: Message[] = [];
  bench.settle((m) => {
    if (m.type === 'heartbeat-ack') early.push(m);
    return m.type === 'heartbeat-ack';
  });
  if (early.length === 0) throw new Error('no heartbeat was answered');
  bench.act(1, (core) => core.readIndex(7));
  bench.wire = [];
  for (const m of early) bench.act(1, (core) => core.step(m));
  if (!bench.reads.includes(6)) throw new Error('the first read is not answered');
  return bench.reads.includes(7) ? 'invariant 14: a read is confirmed by an answer to an earlier heartbeat' : undefined;
}

/** What lies behind a snapshot that the log contains may have been acknowledged. */
function snapshotKeepsLog(Core: CoreClass): string | undefined {
  const bench = new Bench(Core, [2], { voters: [1, 2, 3] });
  const entry = (index: number) => ({ term: 2, index, kind: 0, data: new Uint8Array([1]) }) as const;
  const prev = { term: 1, index: 1 };
  bench.act(2, (core) =>
    core.step({ type: 'append', from: 1, to: 2, term: 2, prev, entries: [entry(2), entry(3)], commit: 1, epoch: 1 }),
  );
  const { conf } = bench.core(2).status();
  bench.act(2, (core) =>
    core.step({ type: 'snapshot', from: 1, to: 2, term: 2, snapshot: { term: 2, index: 2, id: 'x', conf }, epoch: 1 }),
  );
  const { lastIndex } = bench.core(2).status();
  return lastIndex === 3 ? undefined : `invariant 9: a snapshot cuts the acknowledged log to ${lastIndex}`;
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  otherEpoch,
  toldByVote,
  redraws,
  talliedAgain,
  lowerTermAnswered,
  vouchedFor,
  latestTermWins,
  bothHalvesElect,
  appliesFirst,
  forgetsLeader,
  staleLeaderIsTold,
  sameEntryAgain,
  readsAskQuorum,
  earlierAnswer,
  snapshotKeepsLog,
};

/** The first scenario in which something goes wrong. */
export function firstBroken(Core: CoreClass): { readonly name: string; readonly what: string } | undefined {
  for (const [name, scenario] of Object.entries(scenarios)) {
    const what = scenario(Core);
    if (what !== undefined) return { name, what };
  }
  return undefined;
}
