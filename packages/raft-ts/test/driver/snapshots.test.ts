import { describe, expect, test } from 'vitest';
import type { ConfChange, NodeId, Parcel, SnapshotStore } from '../../src/index.ts';
import { StorageFault } from '../../src/index.ts';
import { createFileSnapshotStore, MemoryFileSystem } from '../../src/wal/index.ts';
import { Cluster, WordList } from './cluster.ts';

const addLearner = (id: NodeId): ConfChange => ({ transition: 'auto', ops: [{ op: 'learner', id }] });

/** Serialised in small chunks, so that a stream has a middle. */
class ChunkedList extends WordList {
  override async *snapshot(): AsyncIterable<Uint8Array> {
    const bytes = new TextEncoder().encode(JSON.stringify(this.words));
    for (let at = 0; at < bytes.length; at += 64) yield bytes.slice(at, at + 64);
  }
}

/** Three nodes with snapshots on (memory) file systems, and an empty fourth one, still unknown to them. */
async function withLatecomer(options = {}): Promise<{ cluster: Cluster; stores: Map<NodeId, SnapshotStore> }> {
  const cluster = new Cluster({ snapshotEveryEntries: 20, keepEntries: 2, snapshotStallMs: 2000, ...options });
  const stores = new Map<NodeId, SnapshotStore>();
  cluster.snapshotStoreOf = ({ id }) => {
    const store = createFileSnapshotStore({ directory: '/snapshots', fileSystem: new MemoryFileSystem() });
    stores.set(id, stores.get(id) ?? store);
    return stores.get(id) ?? store;
  };
  cluster.machineOf = () => new ChunkedList();
  await cluster.startAll([1, 2, 3]);
  await cluster.untilLeader();
  for (let i = 0; i < 45; i++) await cluster.propose(`a rather long word, number ${String(i)}`);
  await cluster.runtime.advance(500);
  await cluster.start(4);
  return { cluster, stores };
}

const isData = ({ kind, bytes }: Parcel) => kind === 'snapshot' && bytes > 64;

async function caughtUp(cluster: Cluster): Promise<void> {
  const leader = await cluster.untilLeader();
  await cluster.finish(leader.waitCaughtUp(4, { maxLag: 0 }));
  const { words } = cluster.member(leader.status().id).machine;
  await cluster.runtime.until(() => cluster.member(4).machine.words.length === words.length);
  expect(cluster.member(4).machine.words).toEqual(words);
}

describe('a snapshot stream', () => {
  test('that breaks off goes on behind what the receiver has stored', async () => {
    const { cluster } = await withLatecomer();
    const leader = await cluster.untilLeader();
    let sent = 0;
    // After ten pieces the way to node 4 is cut for longer than a stream may stall.
    cluster.lose = (parcel) => {
      if (parcel.to === 4 && isData(parcel)) sent += 1;
      return sent > 10 && parcel.to === 4;
    };
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.advance(4000);
    expect(leader.metrics().counters.snapshotSendsFailed).toBeGreaterThan(0);
    cluster.lose = () => false;
    await caughtUp(cluster);
    const { snapshotBytesResumed, snapshotsReceived } = cluster.node(4).metrics().counters;
    expect(snapshotsReceived).toBe(1);
    expect(snapshotBytesResumed).toBeGreaterThan(500);
  });

  test('is resumed by a receiver that was started anew in the middle', async () => {
    const { cluster } = await withLatecomer();
    const leader = await cluster.untilLeader();
    let sent = 0;
    cluster.lose = (parcel) => parcel.to === 4 && isData(parcel) && (sent += 1) > 10;
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.until(() => sent > 10);
    await cluster.node(4).close({ transfer: false });
    cluster.member(4).log.crash();
    await cluster.start(4);
    cluster.lose = () => false;
    await caughtUp(cluster);
    expect(cluster.node(4).metrics().counters.snapshotBytesResumed).toBeGreaterThan(500);
  });

  test('that stalls is reported on both sides after snapshotStallMs, and tried again', async () => {
    const { cluster } = await withLatecomer();
    const leader = await cluster.untilLeader();
    cluster.lose = (parcel) => parcel.to === 4 && isData(parcel);
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.advance(2500);
    const failures = () => leader.metrics().counters.snapshotSendsFailed;
    expect(failures()).toBe(1);
    expect(cluster.node(4).metrics().counters.snapshotReceivesFailed).toBe(1);
    await cluster.runtime.advance(5000);
    // Paced: a few tries, not one after the other.
    expect(failures()).toBeGreaterThan(1);
    expect(failures()).toBeLessThan(5);
    cluster.lose = () => false;
    await caughtUp(cluster);
  });

  test('ends, reported, when the transport never answers', async () => {
    const { cluster } = await withLatecomer();
    const leader = await cluster.untilLeader();
    const transport = cluster.bus.find(leader.status().id);
    if (transport === undefined) throw new Error('no transport');
    transport.sendSnapshot = () => new Promise(() => {});
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.advance(1000);
    expect(leader.metrics().gauges.snapshotsSending).toBe(1);
    await cluster.runtime.advance(1500);
    expect(leader.metrics().counters.snapshotSendsFailed).toBe(1);
  });

  test('is sent no faster than the receiver stores', async () => {
    const { cluster, stores } = await withLatecomer({ snapshotStallMs: 60_000 });
    const store = stores.get(4);
    if (store === undefined) throw new Error('no store');
    let release = (): void => {};
    const receive = store.receive.bind(store);
    store.receive = async (...args) => {
      const sink = await receive(...args);
      const slow = new Promise<void>((resolve) => {
        release = resolve;
      });
      return { ...sink, write: (chunk) => slow.then(() => sink.write(chunk)) };
    };
    let pieces = 0;
    cluster.lose = (parcel) => {
      if (parcel.to === 4 && isData(parcel)) pieces += 1;
      return false;
    };
    const leader = await cluster.untilLeader();
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.advance(10_000);
    expect(pieces).toBeLessThanOrEqual(2);
    release();
    await caughtUp(cluster);
    expect(pieces).toBeGreaterThan(10);
  });

  test('whose bytes change on the way is refused, and taken from the start the next time', async () => {
    const { cluster } = await withLatecomer();
    const leader = await cluster.untilLeader();
    const transport = cluster.bus.find(leader.status().id);
    if (transport === undefined) throw new Error('no transport');
    const send = transport.sendSnapshot.bind(transport);
    let tries = 0;
    transport.sendSnapshot = (message, chunks, signal) => {
      tries += 1;
      return send(message, tries === 1 ? flipped(chunks) : chunks, signal);
    };
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await caughtUp(cluster);
    expect(tries).toBe(2);
    expect(cluster.node(4).metrics().counters).toMatchObject({ snapshotReceivesFailed: 1, snapshotBytesResumed: 0 });
    expect(cluster.member(4).fault).toBeUndefined();
  });

  test('is not resumed again on bytes that turned out to be others', async () => {
    const { cluster, stores } = await withLatecomer();
    const store = stores.get(4);
    if (store === undefined) throw new Error('no store');
    const receive = store.receive.bind(store);
    const resumed: unknown[] = [];
    store.receive = async (meta, options) => {
      resumed.push(options?.resume);
      const sink = await receive(meta, { resume: false });
      return options?.resume === true ? { ...sink, offset: 64, checksum: 1 } : sink;
    };
    const leader = await cluster.untilLeader();
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await caughtUp(cluster);
    expect(resumed).toEqual([true, false]);
  });

  test('from a disk that cannot be read stops the leader, so that another one can help', async () => {
    const { cluster, stores } = await withLatecomer();
    const leader = await cluster.untilLeader();
    const { id } = leader.status();
    const store = stores.get(id);
    if (store === undefined) throw new Error('no store');
    store.open = () => Promise.reject(new Error('EIO'));
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.until(() => cluster.member(id).fault !== undefined);
    expect(cluster.member(id).fault).toBeInstanceOf(StorageFault);
    cluster.cut.add(id);
    await caughtUp(cluster);
  });

  test('to a disk that fails stops the receiver, not the leader', async () => {
    const { cluster, stores } = await withLatecomer();
    const store = stores.get(4);
    if (store === undefined) throw new Error('no store');
    store.receive = () => Promise.reject(new Error('ENOSPC'));
    const leader = await cluster.untilLeader();
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.until(() => cluster.member(4).fault !== undefined);
    expect(cluster.member(4).fault).toMatchObject({ name: 'StorageFault', message: 'ENOSPC' });
    expect(leader.status().role).toBe('leader');
  });

  test('ends when its sender no longer leads', async () => {
    const { cluster } = await withLatecomer({ snapshotStallMs: 60_000 });
    const leader = await cluster.untilLeader();
    cluster.lose = (parcel) => parcel.to === 4 && isData(parcel);
    await cluster.finish(leader.changeMembers(addLearner(4)));
    await cluster.runtime.until(() => leader.metrics().gauges.snapshotsSending === 1);
    await cluster.finish(leader.transferLeadership());
    expect(leader.metrics().gauges.snapshotsSending).toBe(0);
    cluster.lose = () => false;
    await caughtUp(cluster);
  });
});

describe('compaction', () => {
  test('keeps what a peer needs behind its snapshot: one snapshot is enough under steady writes', async () => {
    const { cluster, stores } = await withLatecomer({ snapshotEveryEntries: 10, keepEntries: 0 });
    // Slow enough for several more snapshots to fall due while one is under way.
    slowDown(cluster, stores.get(4), 30);
    const leader = await cluster.untilLeader();
    await cluster.finish(leader.changeMembers(addLearner(4)));
    const done = cluster.finish(leader.waitCaughtUp(4, { maxLag: 2 }));
    let caught = false;
    void done.then(() => {
      caught = true;
    });
    let writes = 0;
    while (!caught && writes < 200) {
      await cluster.propose(`meanwhile ${String(writes)}`);
      writes += 1;
    }
    await done;
    expect(writes).toBeGreaterThan(50);
    expect(leader.metrics().counters.snapshotsTaken).toBeGreaterThan(4);
    expect(leader.metrics().counters.snapshotsSent).toBe(1);
    await caughtUp(cluster);
  });

  test('does not wait for ever: a peer that is gone costs a bounded part of the log', async () => {
    const { cluster } = await withLatecomer({ snapshotEveryEntries: 10, keepEntries: 0 });
    const leader = await cluster.untilLeader();
    cluster.lose = (parcel) => parcel.to === 4 && isData(parcel);
    await cluster.finish(leader.changeMembers(addLearner(4)));
    let longest = 0;
    for (let i = 0; i < 300; i++) {
      await cluster.propose(String(i));
      longest = Math.max(longest, leader.metrics().gauges.logEntriesInMemory);
    }
    expect(longest).toBeLessThan(150);
    cluster.lose = () => false;
    await caughtUp(cluster);
  });

  test('keeps snapshot files that are being sent', async () => {
    const { cluster, stores } = await withLatecomer({ snapshotStallMs: 60_000, snapshotEveryEntries: 10 });
    const leader = await cluster.untilLeader();
    const { id } = leader.status();
    const pruned: string[] = [];
    const store = stores.get(id);
    if (store === undefined) throw new Error('no store');
    const prune = store.prune.bind(store);
    store.prune = (...args) => {
      pruned.push(String(leader.metrics().gauges.snapshotsSending));
      return prune(...args);
    };
    cluster.lose = (parcel) => parcel.to === 4 && isData(parcel);
    await cluster.finish(leader.changeMembers(addLearner(4)));
    for (let i = 0; i < 120; i++) await cluster.propose(String(i));
    expect(leader.metrics().counters.snapshotsTaken).toBeGreaterThan(2);
    expect(pruned.every((sending) => sending === '0')).toBe(true);
  });
});

/** Each chunk takes `delayMs` to store. */
function slowDown(cluster: Cluster, store: SnapshotStore | undefined, delayMs: number): void {
  if (store === undefined) throw new Error('no store');
  const receive = store.receive.bind(store);
  store.receive = async (...args) => {
    const sink = await receive(...args);
    const write = async (chunk: Uint8Array) => {
      await new Promise<void>((resolve) => cluster.runtime.setTimer(delayMs, resolve));
      await sink.write(chunk);
    };
    return { ...sink, write };
  };
}

async function* flipped(chunks: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let at = 0;
  for await (const chunk of chunks) {
    at += 1;
    yield at === 5 ? chunk.map((byte) => byte ^ 1) : chunk;
  }
}
