/** Hostile bytes in the files of a log and of a snapshot. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { OpenedLog, Sealer, SnapshotMeta } from '../../src/index.ts';
import type { FileHandle, FileSystem } from '../../src/wal/index.ts';
import {
  createFileSnapshotStore,
  createWalLogStore,
  inspectLog,
  MemoryFileSystem,
  verifySnapshotFile,
} from '../../src/wal/index.ts';
import { align, encodeSegmentHeader, putRecord, recordHeaderSize, segmentHeaderSize } from '../../src/wal/record.ts';
import { conf, entries, snapshot } from '../wal/scripts.ts';
import { spoil, spoils } from './arbitrary.ts';

const typed = ['LogCorrupt', 'SealBroken', 'SnapshotMismatch'];
/** One record, or the window that a log is read through. */
const readMax = 2 << 20;

/** Notes the largest read that anybody asks for. */
class Watched implements FileSystem {
  readonly under: MemoryFileSystem;
  largest = 0;
  sizeOf: ((path: string) => number | undefined) | undefined;

  constructor(files: Iterable<readonly [string, Uint8Array]>) {
    this.under = new MemoryFileSystem(files);
  }

  makeDirectory = () => this.under.makeDirectory();
  list = (path: string) => this.under.list(path);
  rename = (from: string, to: string) => this.under.rename(from, to);
  remove = (path: string) => this.under.remove(path);
  syncDirectory = (path: string) => this.under.syncDirectory(path);
  lock = (path: string) => this.under.lock(path);

  async open(path: string, mode: Parameters<FileSystem['open']>[1]): Promise<FileHandle> {
    const file = await this.under.open(path, mode);
    return {
      ...file,
      size: async () => this.sizeOf?.(path) ?? (await file.size()),
      read: (position, length) => {
        this.largest = Math.max(this.largest, length);
        return file.read(position, length);
      },
    };
  }
}

const directory = '/log';
const options = { directory, segmentBytes: 1024, growBytes: 512 };

async function logFiles(sealer?: Sealer): Promise<Map<string, Uint8Array>> {
  const fileSystem = new MemoryFileSystem();
  const log = createWalLogStore({ ...options, fileSystem, ...(sealer === undefined ? {} : { sealer }) });
  await log.open();
  for (let i = 1; i <= 12; i += 2) {
    await log.append({
      entries: entries(i, i + 1, 1, 'x'.repeat(150)),
      sync: true,
      hardState: { term: 1, vote: 1, commit: i },
    });
  }
  await log.append({ entries: [], snapshot: snapshot(5), sync: true });
  await log.close();
  const names = await fileSystem.list(directory);
  return new Map(
    names.map((name) => {
      const path = `${directory}/${name}`;
      return [path, new Uint8Array(fileSystem.peek(path) ?? [])] as const;
    }),
  );
}

async function opened(fileSystem: FileSystem, sealer?: Sealer): Promise<OpenedLog | undefined> {
  const log = createWalLogStore({ ...options, fileSystem, ...(sealer === undefined ? {} : { sealer }) });
  try {
    const found = await log.open();
    await log.close();
    return found;
  } catch (error) {
    if (!(error instanceof Error) || !typed.includes(error.name)) throw error;
    return undefined;
  }
}

describe('the log reader', () => {
  test('refuses spoiled files, or gives entries that were written, and reads in bounds', async () => {
    const files = await logFiles();
    const paths = [...files.keys()];
    expect(paths.length).toBeGreaterThan(2);
    const whole = await opened(new Watched(files));
    const known = new Map([...(whole?.retained ?? []), ...(whole?.entries ?? [])].map((one) => [one.index, one]));
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(paths.length - 1), fc.nat(paths.length - 1), spoils, async (which, from, how) => {
        const path = paths[which] ?? '';
        const bytes = spoil(files.get(path) ?? new Uint8Array(0), how, files.get(paths[from] ?? ''));
        const fileSystem = new Watched(new Map(files).set(path, bytes));
        await inspectLog({ directory, fileSystem });
        const found = await opened(fileSystem);
        if (found === undefined) refused += 1;
        for (const one of found?.entries ?? []) expect(one).toEqual(known.get(one.index));
        expect(fileSystem.largest).toBeLessThanOrEqual(readMax);
      }),
      { seed: 21, numRuns: 600 },
    );
    expect(refused).toBeGreaterThan(300);
  });

  test('meets arbitrary files with a typed error', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const fileSystem = new Watched([[`${directory}/0000000000000001.wal`, bytes]]);
        expect((await inspectLog({ directory, fileSystem })).corruption).toBeDefined();
        expect(await opened(fileSystem)).toBeUndefined();
      }),
      { seed: 22, numRuns: 300 },
    );
  });

  test('meets records whose checksums are right and whose content is not', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 80 }), async (body) => {
        const bytes = new Uint8Array(segmentHeaderSize + align(recordHeaderSize + body.length));
        const header = encodeSegmentHeader({ number: 1, firstSequence: 1, previousCrc: 0 });
        bytes.set(header.bytes);
        const place = { sequence: 1, previousCrc: 0, segmentCrc: header.crc, position: segmentHeaderSize };
        putRecord(bytes, segmentHeaderSize, { ...place, body });
        const fileSystem = new Watched([[`${directory}/0000000000000001.wal`, bytes]]);
        await inspectLog({ directory, fileSystem });
        await opened(fileSystem);
      }),
      { seed: 23, numRuns: 500 },
    );
  });

  test('meets a sealer that opens records to nonsense', async () => {
    const keep: Sealer = { seal: (plain) => plain, open: (sealed) => sealed };
    const files = await logFiles(keep);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (nonsense) => {
        await opened(new Watched(files), { ...keep, open: () => nonsense });
      }),
      { seed: 24, numRuns: 200 },
    );
  });

  test('does not read a file too large to be a segment', async () => {
    const fileSystem = new Watched(await logFiles());
    fileSystem.sizeOf = (path) => (path.endsWith('2.wal') ? 2 ** 40 : undefined);
    expect(await opened(fileSystem)).toBeUndefined();
    expect((await inspectLog({ directory, fileSystem })).corruption?.reason).toContain('larger than a segment');
    expect(fileSystem.largest).toBeLessThanOrEqual(readMax);
  });
});

describe('the snapshot reader', () => {
  const payload = Uint8Array.from({ length: 900 }, (_, at) => (at * 31) & 0xff);
  const incoming: SnapshotMeta = { term: 1, index: 7, conf, id: 'peer' };

  async function* twice(): AsyncIterable<Uint8Array> {
    yield payload.subarray(0, 500);
    yield payload.subarray(500);
  }

  async function read(fileSystem: FileSystem, id: string, sealer?: Sealer): Promise<Uint8Array | undefined> {
    const store = createFileSnapshotStore({ directory: '/s', fileSystem, ...(sealer === undefined ? {} : { sealer }) });
    try {
      const parts = [];
      for await (const chunk of (await store.open(id)).chunks) parts.push(chunk);
      return Buffer.concat(parts);
    } catch (error) {
      if (!(error instanceof Error) || !typed.includes(error.name)) throw error;
      return undefined;
    }
  }

  async function stored(): Promise<{ path: string; id: string; bytes: Uint8Array }> {
    const fileSystem = new MemoryFileSystem();
    const store = createFileSnapshotStore({ directory: '/s', fileSystem });
    const { id } = await store.create({ term: 1, index: 7, conf }, twice());
    return { path: `/s/${id}`, id, bytes: new Uint8Array(fileSystem.peek(`/s/${id}`) ?? []) };
  }

  test('gives the payload or a typed error for spoiled files, and reads in bounds', async () => {
    const { path, id, bytes } = await stored();
    await fc.assert(
      fc.asyncProperty(spoils, async (how) => {
        const fileSystem = new Watched([[path, spoil(bytes, how)]]);
        const found = await read(fileSystem, id);
        if (found !== undefined) expect(Buffer.compare(found, payload)).toBe(0);
        const verdict = await verifySnapshotFile(path, fileSystem).catch((error: Error) => error.name);
        if (typeof verdict === 'string') expect(verdict).toBe('LogCorrupt');
        expect(fileSystem.largest).toBeLessThanOrEqual(readMax);
      }),
      { seed: 31, numRuns: 600 },
    );
  });

  test('meets arbitrary files and a sealer that opens to nonsense', async () => {
    const { path, id, bytes } = await stored();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (nonsense) => {
        expect(await read(new Watched([[path, nonsense]]), id)).toBeUndefined();
        const sealer: Sealer = { seal: (plain) => plain, open: () => nonsense };
        expect(await read(new Watched([[path, bytes]]), id, sealer)).toBeUndefined();
      }),
      { seed: 32, numRuns: 300 },
    );
  });

  test('goes on from a spoiled unfinished file only as far as it is good', async () => {
    const fileSystem = new MemoryFileSystem();
    const sink = await createFileSnapshotStore({ directory: '/s', fileSystem }).receive(incoming, { resume: true });
    await sink.write(payload.subarray(0, 300));
    await sink.write(payload.subarray(300, 600));
    await sink.abort();
    const [name = ''] = await fileSystem.list('/s');
    const bytes = new Uint8Array(fileSystem.peek(`/s/${name}`) ?? []);
    await fc.assert(
      fc.asyncProperty(spoils, async (how) => {
        const watched = new Watched([[`/s/${name}`, spoil(bytes, how)]]);
        const store = createFileSnapshotStore({ directory: '/s', fileSystem: watched });
        const again = await store.receive(incoming, { resume: true });
        expect([0, 300, 600]).toContain(again.offset);
        await again.write(payload.subarray(again.offset ?? 0));
        const { id } = await again.commit();
        expect(Buffer.compare((await read(watched, id)) ?? new Uint8Array(0), payload)).toBe(0);
        expect(watched.largest).toBeLessThanOrEqual(readMax);
      }),
      { seed: 33, numRuns: 400 },
    );
  });
});
