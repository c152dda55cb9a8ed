/** Power failures while snapshots are written, received in two attempts and pruned; and damage to their files. */
import { afterAll, describe, expect, test } from 'vitest';
import type { SnapshotMeta, SnapshotStore } from '../../src/index.ts';
import { crc32c, createFileSnapshotStore } from '../../src/wal/index.ts';
import { crashStates, DiskError, RecordingDisk } from './disk.ts';
import { conf } from './scripts.ts';

const directory = '/s';
const tried = { states: 0, distinct: 0 };
afterAll(() => {
  process.stdout.write(
    `crash states of snapshots: ${String(tried.states)} tried, ${String(tried.distinct)} distinct\n`,
  );
});

const payload = Uint8Array.from({ length: 1500 }, (_, at) => (at * 7 + (at >> 8)) & 0xff);
const own = Uint8Array.from({ length: 700 }, (_, at) => at & 0xff);
const incoming: SnapshotMeta = { term: 2, index: 9, conf, id: 'from-the-leader' };

const storeOn = (fileSystem: RecordingDisk) => createFileSnapshotStore({ directory, fileSystem });

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}

async function read(store: SnapshotStore, id: string): Promise<Uint8Array> {
  const parts = [];
  for await (const chunk of (await store.open(id)).chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** What was promised, and after how many calls of the disk. */
interface Promises {
  readonly stored: { readonly calls: number; readonly id: string; readonly bytes: Uint8Array }[];
  readonly pruned: { readonly calls: number; readonly id: string }[];
  readonly resumable: { readonly calls: number; readonly offset: number }[];
  committing: number;
}

async function work(disk: RecordingDisk, promises: Promises): Promise<void> {
  const store = storeOn(disk);
  const first = await store.create({ term: 1, index: 5, conf }, once(own));
  promises.stored.push({ calls: disk.calls.length, id: first.id, bytes: own });
  const broken = await store.receive(incoming, { resume: true });
  await broken.write(payload.subarray(0, 600));
  await broken.write(payload.subarray(600, 1000));
  await broken.abort();
  const sink = await store.receive(incoming, { resume: true });
  promises.resumable.push({ calls: disk.calls.length, offset: sink.offset ?? 0 });
  await sink.write(payload.subarray(sink.offset ?? 0));
  promises.committing = disk.calls.length;
  const second = await sink.commit();
  promises.stored.push({ calls: disk.calls.length, id: second.id, bytes: payload });
  promises.pruned.push({ calls: disk.calls.length, id: first.id });
  await store.prune(1, second.id);
}

const noPromises = (): Promises => ({
  stored: [],
  pruned: [],
  resumable: [],
  committing: Number.POSITIVE_INFINITY,
});

async function check(
  files: ReadonlyMap<string, Uint8Array>,
  promises: Promises,
  calls: number,
): Promise<string | undefined> {
  const disk = new RecordingDisk(files);
  const store = storeOn(disk);
  for (const { id, bytes, calls: since } of promises.stored) {
    const gone = promises.pruned.some((pruned) => pruned.id === id && pruned.calls <= calls);
    if (since <= calls && !gone && !same(await read(store, id), bytes)) return `${id} has other bytes`;
  }
  for (const path of files.keys()) {
    if (!path.endsWith('.snap')) continue;
    const bytes = await read(store, path.slice(directory.length + 1));
    if (!same(bytes, own) && !same(bytes, payload)) return `${path} is not whole`;
  }
  const sink = await store.receive(incoming, { resume: true });
  const { offset = 0, checksum = 0 } = sink;
  if (offset > payload.length || checksum !== crc32c(payload.subarray(0, offset))) return 'wrong offset or checksum';
  const promised = promises.resumable.find((promise) => promise.calls <= calls && calls < promises.committing);
  if (promised !== undefined && offset < promised.offset) return `only ${String(offset)} bytes are left`;
  await sink.write(payload.subarray(offset));
  const { id } = await sink.commit();
  return same(await read(store, id), payload) ? undefined : 'resumed to other bytes';
}

describe('the snapshot store', () => {
  test('keeps its promises after a crash at every call', async () => {
    const disk = new RecordingDisk();
    const promises = noPromises();
    await work(disk, promises);
    expect(promises.resumable).toEqual([expect.objectContaining({ offset: 1000 })]);
    for (const state of crashStates(disk, () => (tried.states += 1))) {
      tried.distinct += 1;
      const wrong = await check(state.files, promises, state.calls);
      if (wrong !== undefined) expect.fail(`after call ${String(state.calls)}: ${wrong}`);
    }
    expect(tried.distinct).toBeGreaterThan(100);
  });

  test.each([
    ['EIO', (length: number) => length],
    ['ENOSPC', (length: number) => length >> 1],
    ['ENOSPC', () => 0],
  ])('%s at each call in turn leaves what was stored, and nothing half', async (code, done) => {
    const whole = new RecordingDisk();
    await work(whole, noPromises());
    for (let at = 0; at < whole.calls.length; at++) {
      const disk = new RecordingDisk();
      disk.fault = { at, code, done };
      const promises = noPromises();
      await expect(work(disk, promises), `call ${String(at)}`).rejects.toBeInstanceOf(DiskError);
      const wrong = await check(await disk.files(directory), promises, Number.MAX_SAFE_INTEGER);
      if (wrong !== undefined) expect.fail(`call ${String(at)}: ${wrong}`);
    }
  });
});

describe('a resumed snapshot', () => {
  const meta = (index: number): SnapshotMeta => ({ ...incoming, index, id: `leader-${String(index)}` });
  const partials = async (disk: RecordingDisk) =>
    [...(await disk.files(directory)).keys()].filter((path) => path.endsWith('.part'));

  async function partOf(store: SnapshotStore, of: SnapshotMeta): Promise<void> {
    const sink = await store.receive(of, { resume: true });
    await sink.write(payload.subarray(0, 300));
    await sink.abort();
  }

  test('goes on only for the same name, place and configuration', async () => {
    const disk = new RecordingDisk();
    await partOf(storeOn(disk), incoming);
    for (const other of [
      { ...incoming, id: 'another' },
      { ...incoming, term: 3 },
      { ...incoming, conf: { ...conf, voters: [1, 2] } },
    ]) {
      const store = storeOn(new RecordingDisk(await disk.files(directory)));
      expect((await store.receive(other, { resume: true })).offset).toBe(0);
    }
    const store = storeOn(disk);
    expect((await store.receive(incoming, { resume: true })).offset).toBe(300);
    // That one is still being written: a second attempt must not share its file.
    expect((await store.receive(incoming, { resume: true })).offset).toBe(0);
  });

  test('is forgotten by a receive that does not resume, or when it is damaged in front', async () => {
    const disk = new RecordingDisk();
    await partOf(storeOn(disk), incoming);
    const files = await disk.files(directory);
    await (await storeOn(disk).receive(incoming)).abort();
    expect(await partials(disk)).toEqual([]);
    const [path = '', bytes = new Uint8Array(0)] = [...files][0] ?? [];
    for (const [at, left] of [
      [3, 0],
      [20, 0],
      [bytes.length - 5, 0],
    ] as const) {
      const damaged = new Uint8Array(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 4;
      const sink = await storeOn(new RecordingDisk(new Map([[path, damaged]]))).receive(incoming, { resume: true });
      expect(sink.offset).toBe(left);
    }
  });

  test('leaves two unfinished files at most, and none once a newer snapshot is here', async () => {
    const disk = new RecordingDisk();
    const store = storeOn(disk);
    for (let index = 1; index <= 5; index++) await partOf(store, meta(index));
    expect((await partials(disk)).length).toBe(2);
    expect((await storeOn(disk).receive(meta(5), { resume: true })).offset).toBe(300);
    const again = storeOn(new RecordingDisk(await disk.files(directory)));
    const { id } = await again.create({ term: 3, index: 6, conf }, once(own));
    await again.prune(1, id);
    expect((await again.receive(meta(5), { resume: true })).offset).toBe(0);
  });

  test('whose bytes are not those that its name stands for is refused and thrown away', async () => {
    const source = storeOn(new RecordingDisk());
    const { id } = await source.create({ term: 2, index: 9, conf }, once(payload));
    const disk = new RecordingDisk();
    const store = storeOn(disk);
    const first = await store.receive({ ...incoming, id }, { resume: true });
    await first.write(payload.subarray(0, 200));
    await first.abort();
    const second = await store.receive({ ...incoming, id }, { resume: true });
    await second.write(payload.subarray(201));
    await expect(second.commit()).rejects.toMatchObject({ name: 'SnapshotMismatch' });
    expect([...(await disk.files(directory)).keys()]).toEqual([]);
    const third = await store.receive({ ...incoming, id }, { resume: true });
    await third.write(payload);
    expect(same(await read(store, (await third.commit()).id), payload)).toBe(true);
  });
});

test('every flipped bit of a snapshot is noticed', async () => {
  const disk = new RecordingDisk();
  const { id } = await storeOn(disk).create({ term: 1, index: 5, conf }, once(own.subarray(0, 100)));
  const files = await disk.files(directory);
  const path = `${directory}/${id}`;
  const good = files.get(path) ?? new Uint8Array(0);
  expect(good.length).toBeGreaterThan(100);
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bytes = new Uint8Array(good);
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const store = storeOn(new RecordingDisk(new Map([[path, bytes]])));
    await expect(read(store, id), `bit ${String(bit)}`).rejects.toMatchObject({ name: 'LogCorrupt' });
  }
});
