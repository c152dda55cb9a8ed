import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ConfState, Sealer, SnapshotStore } from '../../src/index.ts';
import { MemorySnapshotStore, seededRandom } from '../../src/sim/index.ts';
import { createFileSnapshotStore, MemoryFileSystem, nodeFileSystem } from '../../src/wal/index.ts';

const conf: ConfState = { voters: [1, 2], outgoing: [], learners: [3], learnersNext: [], autoLeave: false };
const meta = (index: number, term = 1) => ({ term, index, conf });

async function* chunks(...texts: readonly string[]): AsyncIterable<Uint8Array> {
  for (const text of texts) yield new TextEncoder().encode(text);
}

async function read(store: SnapshotStore, id: string): Promise<string> {
  let text = '';
  for await (const chunk of (await store.open(id)).chunks) text += new TextDecoder().decode(chunk);
  return text;
}

const directories: string[] = [];
afterAll(() => Promise.all(directories.map((path) => rm(path, { recursive: true, force: true }))));

describe.each([
  [
    'on disk',
    async () => {
      const path = await mkdtemp(join(tmpdir(), 'raft-snap-'));
      directories.push(path);
      return createFileSnapshotStore({ directory: join(path, 'snapshots'), fileSystem: nodeFileSystem });
    },
  ],
  ['on a simulated disk', async () => createFileSnapshotStore({ directory: '/s', fileSystem: new MemoryFileSystem() })],
  ['in memory', async () => new MemorySnapshotStore()],
])('a snapshot store %s', (_name, make) => {
  test('gives back meta and bytes', async () => {
    const store = await make();
    const stored = await store.create(meta(7), chunks('a', '', 'b'.repeat(3_000_000)));
    expect(stored).toMatchObject(meta(7));
    expect((await store.open(stored.id)).meta).toEqual(stored);
    expect(await read(store, stored.id)).toBe(`a${'b'.repeat(3_000_000)}`);
  });

  test('stores a received snapshot under its own id, and nothing of an aborted one', async () => {
    const store = await make();
    const sink = await store.receive({ ...meta(9), id: '../../etc/passwd' });
    await sink.write(new Uint8Array([65]));
    const stored = await sink.commit();
    expect(stored.id).not.toContain('/');
    expect(await read(store, stored.id)).toBe('A');
    const aborted = await store.receive({ ...meta(10), id: 'x' });
    await aborted.write(new Uint8Array([66]));
    await aborted.abort();
    await store.prune(1);
    expect(await read(store, stored.id)).toBe('A');
  });

  test('keeps the newest when pruned, and the pinned one', async () => {
    const store = await make();
    const first = await store.create(meta(1), chunks('1'));
    const second = await store.create(meta(2), chunks('2'));
    const newest = await store.create(meta(300), chunks('300'));
    await store.prune(1, first.id);
    expect(await read(store, first.id)).toBe('1');
    expect(await read(store, newest.id)).toBe('300');
    await expect(store.open(second.id)).rejects.toThrow();
  });

  test('a source that breaks leaves nothing behind', async () => {
    const store = await make();
    async function* broken(): AsyncIterable<Uint8Array> {
      yield new Uint8Array(3);
      throw new Error('source broke');
    }
    await expect(store.create(meta(1), broken())).rejects.toThrow('source broke');
    const next = await store.create(meta(1), chunks('ok'));
    expect(await read(store, next.id)).toBe('ok');
  });
});

describe('the file store', () => {
  const path = (id: string) => `/s/${id}`;

  test('notices a changed byte anywhere and a missing end', async () => {
    const fileSystem = new MemoryFileSystem();
    const store = createFileSnapshotStore({ directory: '/s', fileSystem });
    const { id } = await store.create(meta(5), chunks('hello', 'world'));
    const good = new Uint8Array(fileSystem.peek(path(id)) ?? []);
    for (let at = 0; at < good.length; at++) {
      fileSystem.damage(path(id), at, new Uint8Array([(good[at] ?? 0) ^ 1]));
      await expect(read(store, id), `byte ${String(at)}`).rejects.toMatchObject({ name: 'LogCorrupt' });
      fileSystem.damage(path(id), at, good.subarray(at, at + 1));
    }
    expect(await read(store, id)).toBe('helloworld');
    const file = await fileSystem.open(path(id), 'write');
    await file.truncate(good.length - 20);
    await expect(read(store, id)).rejects.toMatchObject({ name: 'LogCorrupt' });
  });

  test('a snapshot whose creation resolved survives any crash; one that had not is whole or absent', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const fileSystem = new MemoryFileSystem();
      const store = createFileSnapshotStore({ directory: '/s', fileSystem });
      const { id } = await store.create(meta(5), chunks('first'));
      let left = seed % 8;
      fileSystem.intercept = () => {
        left -= 1;
        if (left < 0) throw new Error('power failure');
      };
      await store.create(meta(6), chunks('second', 'x'.repeat(2000))).catch(() => {});
      fileSystem.crash({ random: seededRandom(seed) });
      const again = createFileSnapshotStore({ directory: '/s', fileSystem });
      expect(await read(again, id)).toBe('first');
      for (const name of await fileSystem.list('/s'))
        expect(await read(again, name)).toMatch(/^(first|secondx{2000})$/);
    }
  });

  test('sealed chunks need the right key', async () => {
    const fileSystem = new MemoryFileSystem();
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0x33);
    const sealer: Sealer = { seal: flip, open: flip };
    const store = createFileSnapshotStore({ directory: '/s', fileSystem, sealer });
    const { id } = await store.create(meta(5), chunks('secret'));
    expect(Buffer.from(fileSystem.peek(path(id)) ?? []).includes('secret')).toBe(false);
    expect(await read(store, id)).toBe('secret');
    const refuse = () => {
      throw new Error('wrong key');
    };
    const other = createFileSnapshotStore({ directory: '/s', fileSystem, sealer: { seal: flip, open: refuse } });
    await expect(other.open(id)).rejects.toMatchObject({ name: 'SealBroken' });
  });

  test('refuses an id that is no file of its own', async () => {
    const store = createFileSnapshotStore({ directory: '/s', fileSystem: new MemoryFileSystem() });
    await expect(store.open('../etc/passwd')).rejects.toThrow('invalid id');
  });
});
