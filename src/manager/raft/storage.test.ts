import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { instantNetwork, MemoryBus } from 'raft-ts/sim';
import { expect, onTestFinished, test } from 'vitest';
import { silentLog } from '../../lib/log.ts';
import { realClock, realRandom } from '../../lib/real.ts';
import { createStore, type MemoryStore } from '../store/store.ts';
import { RaftManager } from './manager.ts';
import { raftRuntime } from './runtime.ts';
import { openRaftStorage } from './storage.ts';

async function start(directory: string): Promise<{ store: MemoryStore; raft: RaftManager }> {
  const runtime = raftRuntime(realClock, realRandom);
  const store = createStore({ proposer: null, now: () => realClock.now() });
  const raft = await RaftManager.open({
    self: { raftId: 1, nodeId: 'node-1', addr: '127.0.0.1:2377' },
    store,
    ports: {
      ...(await openRaftStorage({ directory, random: realRandom })),
      transport: new MemoryBus(instantNetwork(runtime)).join(1),
      runtime,
    },
    clock: realClock,
    log: silentLog,
    bootstrap: true,
    tickMs: 2,
    snapshotEveryEntries: 50,
  });
  if (!raft.isLeader()) await new Promise<void>((resolve) => void raft.onLeadership((leads) => leads && resolve()));
  await raft.readBarrier();
  return { store, raft };
}

test('a manager finds its state again on its disk, from snapshot and log', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'raft-storage-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const first = await start(directory);
  const items = Array.from({ length: 120 }, (_, at) => `c${at}`);
  await Promise.all(
    items.map((id) =>
      first.store.transact((tx) => tx.create('config', { id, spec: { Name: id, Labels: {}, Data: 'eA==' } })),
    ),
  );
  const before = [...first.store.view.list('config')];
  await first.raft.close();
  const second = await start(directory);
  onTestFinished(() => second.raft.close());
  expect([...second.store.view.list('config')]).toEqual(before);
  expect(second.raft.members()).toMatchObject([{ raftId: 1, nodeId: 'node-1', addr: '127.0.0.1:2377', leader: true }]);
});
