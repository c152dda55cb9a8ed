import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ConfChange, ConfState, Entry, OpenedLog } from '../../src/index.ts';
import { changeConf, decodeConfChange, encodeConfChange } from '../../src/index.ts';
import { createWalLogStore, forceNewCluster } from '../../src/wal/index.ts';
import { crashStates, RecordingDisk } from './disk.ts';
import { batch, entry } from './scripts.ts';

const confOf = (part: Partial<ConfState>): ConfState => ({
  voters: [],
  outgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
  ...part,
});
const three = confOf({ voters: [1, 2, 3], learners: [4] });
const config = (index: number, term: number, change: ConfChange): Entry => ({
  term,
  index,
  kind: 1,
  data: encodeConfChange(change),
});

/** The configuration once everything committed is applied. */
function confAfter(log: OpenedLog): ConfState | undefined {
  let conf = log.snapshot?.conf;
  for (const { index, kind, data } of log.entries) {
    if (index > log.hardState.commit || kind !== 1 || conf === undefined) continue;
    const result = changeConf(conf, decodeConfChange(data));
    if (result.ok) conf = result.conf;
  }
  return conf;
}

function appended(log: OpenedLog, id: number): OpenedLog {
  const { entries, hardState = log.hardState } = forceNewCluster(log, id).batch;
  const [first] = entries;
  const kept = log.entries.filter((one) => first === undefined || one.index < first.index);
  return { ...log, hardState, entries: [...kept, ...entries] };
}

const opened = (conf: ConfState, entries: readonly Entry[], commit: number): OpenedLog => ({
  hardState: { term: 5, vote: 2, commit },
  snapshot: { term: 1, index: 1, conf, id: 's' },
  entries,
});

describe('a forced new cluster', () => {
  test('has one voter, all that was committed, and nothing that was not', () => {
    const log = opened(three, [entry(2, 3), entry(3, 5), entry(4, 5)], 3);
    const forced = appended(log, 2);
    expect(confAfter(forced)).toEqual(confOf({ voters: [2] }));
    expect(forced.entries.slice(0, 2)).toEqual(log.entries.slice(0, 2));
    expect(forced.entries.map((one) => [one.index, one.term])).toEqual([
      [2, 3],
      [3, 5],
      [4, 6],
      [5, 6],
    ]);
    expect(forced.hardState).toEqual({ term: 6, vote: 2, commit: 5 });
  });

  test('follows committed changes of membership, and no others', () => {
    const removed = config(2, 2, { transition: 'auto', ops: [{ op: 'remove', id: 1 }] });
    const added = config(3, 2, { transition: 'auto', ops: [{ op: 'voter', id: 9 }] });
    const log = opened(three, [removed, added], 2);
    expect(confAfter(appended(log, 3))).toEqual(confOf({ voters: [3] }));
    const single = opened(confOf({ voters: [1, 2] }), [removed, added], 2);
    expect(forceNewCluster(single, 2).batch).toEqual({ entries: [], sync: true, hardState: single.hardState });
  });

  test.each([
    ['its voter', three, 1],
    ['its learner', three, 4],
    ['one that it does not know', three, 7],
    ['a member of a joint configuration', confOf({ voters: [1, 2, 3], outgoing: [3, 4, 5], autoLeave: true }), 5],
    ['a learner to be', confOf({ voters: [1], outgoing: [1, 2], learnersNext: [2] }), 2],
    ['a voter beside learners only', confOf({ voters: [1], learners: [2, 3] }), 1],
  ])('can be forced on %s, and forcing it twice changes nothing more', (_who, conf, id) => {
    const forced = appended(opened(conf, [entry(2)], 2), id);
    expect(confAfter(forced)).toEqual(confOf({ voters: [id] }));
    expect(appended(forced, id)).toEqual(forced);
  });

  test('a snapshot may be ahead of the commit index on disk', () => {
    const forced = appended(opened(three, [entry(2)], 0), 1);
    expect(forced.entries.map((one) => one.index)).toEqual([2, 3]);
    expect(forced.hardState.commit).toBe(3);
  });

  test('is refused on an empty log', () => {
    expect(() => forceNewCluster({ hardState: { term: 0, vote: 0, commit: 0 }, entries: [] }, 1)).toThrow('is empty');
  });

  test('any valid configuration comes down to the one voter', () => {
    const ids = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { maxLength: 4 });
    fc.assert(
      fc.property(ids, ids, fc.integer({ min: 1, max: 9 }), (voters, learners, id) => {
        fc.pre(voters.length > 0);
        const conf = confOf({ voters, learners: learners.filter((learner) => !voters.includes(learner)) });
        expect(confAfter(appended(opened(conf, [], 1), id))).toEqual(confOf({ voters: [id] }));
      }),
      { seed: 5, numRuns: 200 },
    );
  });

  test('after a crash while it is written there is the old log or the new one, and it can be forced again', async () => {
    const directory = '/log';
    const before = new RecordingDisk();
    const log = createWalLogStore({ directory, fileSystem: before, segmentBytes: 4096, growBytes: 1024 });
    await log.open();
    await log.append(batch([], { snapshot: { term: 1, index: 1, conf: three, id: 's' } }));
    await log.append(batch([entry(2), entry(3)], { hardState: { term: 1, vote: 1, commit: 2 } }));
    await log.close();
    const disk = new RecordingDisk(await before.files(directory));
    const again = createWalLogStore({ directory, fileSystem: disk, segmentBytes: 4096, growBytes: 1024 });
    const old = await again.open();
    await again.append(forceNewCluster(old, 2).batch);
    await again.close();
    const seen = new Set<string>();
    for (const state of crashStates(disk)) {
      const store = createWalLogStore({ directory, fileSystem: new RecordingDisk(state.files) });
      const found = await store.open();
      expect([JSON.stringify(old), JSON.stringify(appended(old, 2))]).toContain(JSON.stringify(found));
      seen.add(JSON.stringify(found));
      expect(JSON.stringify(appended(found, 2))).toBe(JSON.stringify(appended(old, 2)));
    }
    expect(seen.size).toBe(2);
  });
});
