/** What the crash tests do to a log, and an independent model of what must then be in it. */
import type { ConfState, Entry, HardState, LogBatch, OpenedLog, SnapshotMeta } from '../../src/index.ts';

export const conf: ConfState = { voters: [1], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

export function entry(index: number, term = 1, data = `e${String(index)}.${String(term)}`): Entry {
  return { term, index, kind: 0, data: new TextEncoder().encode(data) };
}

export function entries(from: number, to: number, term = 1, data?: string): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, data));
}

export function snapshot(index: number, term = 1): SnapshotMeta {
  return { term, index, conf, id: `s${String(index)}` };
}

export function batch(list: readonly Entry[], more: Partial<LogBatch> = {}): LogBatch {
  return { entries: list, sync: true, ...more };
}

const state = (term: number, vote: number, commit: number): HardState => ({ term, vote, commit });

export type Step = { readonly batch: LogBatch } | { readonly compact: number };
/** The steps of one group are begun together, and the next group when all of them are done. */
export type Script = readonly (readonly Step[])[];

const put = (list: readonly Entry[], more: Partial<LogBatch> = {}): Step => ({ batch: batch(list, more) });
const zeros = '\0'.repeat(700);

export const scripts: Readonly<Record<string, Script>> = {
  'appends, conflicts and states': [
    [put(entries(1, 3), { hardState: state(1, 1, 0) })],
    [put(entries(4, 6, 1, 'y'.repeat(300))), put([], { hardState: state(1, 1, 3), sync: false }), put(entries(7, 8))],
    [put(entries(5, 7, 2), { hardState: state(2, 2, 4) })],
    [put([], { hardState: state(2, 2, 7), sync: false })],
    [put([], { hardState: state(3, 0, 7) })],
    [put(entries(8, 8, 3, zeros))],
    [put(entries(8, 9, 4, 'z'.repeat(90))), put(entries(9, 9, 5))],
  ],
  'segments, snapshots of our own and compaction': [
    [put(entries(1, 4, 1, 'a'.repeat(200)), { hardState: state(1, 1, 0) })],
    [put(entries(5, 8, 1, 'b'.repeat(200)))],
    [put(entries(9, 12, 1, zeros.slice(0, 200)), { hardState: state(1, 1, 8) })],
    [put([], { snapshot: snapshot(8) })],
    [{ compact: 4 }, put(entries(13, 16, 1, 'd'.repeat(250)))],
    [{ compact: 8 }],
    [put(entries(17, 20, 1, 'e'.repeat(250)), { hardState: state(1, 1, 16) })],
    [put([], { snapshot: snapshot(15) })],
    [put(entries(21, 24, 1, 'f'.repeat(250))), { compact: 15 }],
  ],
  'a snapshot from the leader over a log that lacks it': [
    [put(entries(1, 6, 1, 'a'.repeat(150)), { hardState: state(1, 0, 2) })],
    [put([], { snapshot: snapshot(20, 3), hardState: state(3, 0, 20) })],
    [{ compact: 20 }],
    [put(entries(21, 24, 3, 'w'.repeat(400)))],
    [put(entries(25, 26, 3, 'v'.repeat(900))), put([], { hardState: state(3, 0, 24) })],
    [put([], { snapshot: snapshot(24, 3) })],
    [{ compact: 22 }],
    [put(entries(27, 28, 4, 'u'.repeat(700)), { hardState: state(4, 2, 26) })],
  ],
  'a record larger than a segment': [
    [put(entries(1, 1, 1, 'big'.repeat(1500)))],
    [put(entries(2, 2, 1, 'x'))],
    [put(entries(3, 3, 1, '\0'.repeat(3000)), { hardState: state(1, 1, 2) })],
  ],
};

/** The log after some steps, kept in the plainest way. */
export class Model {
  hardState: HardState = state(0, 0, 0);
  snapshot: SnapshotMeta | undefined;
  /** Entries above `floor`, by index. */
  #entries = new Map<number, Entry>();
  #floor = 0;
  #last = 0;

  apply(step: Step): void {
    if ('compact' in step) return;
    const { hardState, snapshot: taken, entries: list } = step.batch;
    if (hardState !== undefined) this.hardState = hardState;
    if (taken !== undefined) this.#install(taken);
    const first = list[0];
    if (first === undefined) return;
    for (let index = first.index; index <= this.#last; index++) this.#entries.delete(index);
    for (const one of list) this.#entries.set(one.index, one);
    this.#last = list.at(-1)?.index ?? this.#last;
  }

  #install(taken: SnapshotMeta): void {
    this.snapshot = taken;
    if (this.#entries.get(taken.index)?.term === taken.term) return;
    this.#entries.clear();
    this.#floor = taken.index;
    this.#last = taken.index;
  }

  /** Why `opened` is not this; undefined if it is. Entries up to `compacted` need not be there. */
  differs(opened: OpenedLog, compacted: number): string | undefined {
    const base = this.snapshot?.index ?? 0;
    const expected = [];
    for (let index = base + 1; index <= this.#last; index++) expected.push(show(this.#entries.get(index)));
    if (JSON.stringify(opened.hardState) !== JSON.stringify(this.hardState)) return 'hard state';
    if (JSON.stringify(opened.snapshot) !== JSON.stringify(this.snapshot)) return 'snapshot';
    if (JSON.stringify(opened.entries.map(show)) !== JSON.stringify(expected)) return 'entries';
    const retained = opened.retained ?? [];
    for (const [at, one] of retained.entries()) {
      if (one.index !== base - retained.length + 1 + at) return 'retained are not consecutive';
      const own = this.#entries.get(one.index);
      if (own !== undefined && show(own) !== show(one)) return 'retained entry';
    }
    return retained.length < base - Math.max(this.#floor, compacted) ? 'retained are too few' : undefined;
  }
}

function show(one: Entry | undefined): string {
  return one === undefined
    ? 'none'
    : `${String(one.index)}.${String(one.term)}.${Buffer.from(one.data).toString('base64')}`;
}

/** A script drawn from `seed`: every kind of step, in an order that Raft allows. */
export function randomScript(seed: number, groups: number): Script {
  let word = seed * 2654435761 + 1;
  const draw = (below: number): number => {
    word = (Math.imul(word ^ (word >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return (word >>> 8) % below;
  };
  const log = { last: 0, term: 1, commit: 0, snapshot: 0 };
  const step = (): Step => {
    const kind = draw(8);
    if (kind === 0) return put([], { hardState: state(log.term, draw(3), log.commit), sync: draw(2) === 0 });
    if (kind === 1) log.term += 1;
    // Committed entries are never replaced.
    const from = kind === 2 ? log.commit + 1 : log.last + 1;
    const to = from + draw(3);
    const data = draw(3) === 0 ? '\0'.repeat(draw(900)) : 'd'.repeat(draw(600));
    const step = put(entries(from, to, log.term, data), { hardState: state(log.term, 1, log.commit) });
    log.last = to;
    log.commit += draw(log.last - log.commit + 1);
    return step;
  };
  const group = (): Step[] => {
    const kind = draw(6);
    if (kind === 0 && log.snapshot > 0) return [{ compact: Math.max(0, log.snapshot - draw(6)) }, step()];
    if (kind === 1 && log.commit > log.snapshot) {
      log.snapshot = log.commit;
      return [put([], { snapshot: snapshot(log.commit, termAt.get(log.commit) ?? 0) })];
    }
    return Array.from({ length: 1 + draw(3) }, step);
  };
  const termAt = new Map<number, number>();
  return Array.from({ length: groups }, () => {
    const steps = group();
    for (const one of steps) if ('batch' in one) for (const e of one.batch.entries) termAt.set(e.index, e.term);
    return steps;
  });
}
