import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { LogBatch, OpenedLog, Sealer } from '../../src/index.ts';
import { seededRandom } from '../../src/sim/index.ts';
import { crc32c, createWalLogStore, LogCorrupt, MemoryFileSystem, nodeFileSystem } from '../../src/wal/index.ts';
import { batch, entries, entry, snapshot } from './scripts.ts';

const plain = ({ hardState, snapshot: taken, entries: list }: OpenedLog) => ({
  hardState,
  ...(taken === undefined ? {} : { snapshot: taken }),
  entries: list.map((e) => `${String(e.index)}.${String(e.term)}`),
});

const xor: Sealer = {
  seal: (bytes) => bytes.map((byte) => byte ^ 0x5a),
  open: (bytes) => bytes.map((byte) => byte ^ 0x5a),
};

const directories: string[] = [];
afterAll(() => Promise.all(directories.map((path) => rm(path, { recursive: true, force: true }))));
async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'raft-wal-'));
  directories.push(path);
  return join(path, 'log');
}

test('crc32c gives the published check value', () => {
  expect(crc32c(new TextEncoder().encode('123456789')).toString(16)).toBe('e3069283');
});

describe.each([
  ['on disk', async () => ({ fileSystem: nodeFileSystem, directory: await scratch() })],
  ['in memory', async () => ({ fileSystem: new MemoryFileSystem(), directory: '/log' })],
])('the log %s', (_name, place) => {
  test('gives back what was appended, with replaced suffixes, the newest state and the newest snapshot', async () => {
    const options = await place();
    const log = createWalLogStore(options);
    expect(plain(await log.open())).toEqual({ hardState: { term: 0, vote: 0, commit: 0 }, entries: [] });
    await log.append(batch(entries(1, 5), { hardState: { term: 1, vote: 1, commit: 0 } }));
    await log.append(batch(entries(4, 6, 2), { hardState: { term: 2, vote: 0, commit: 3 } }));
    await log.append(batch([], { snapshot: snapshot(3) }));
    await log.append(batch([], { hardState: { term: 2, vote: 0, commit: 6 }, sync: false }));
    await log.close();
    const again = createWalLogStore(options);
    expect(plain(await again.open())).toEqual({
      hardState: { term: 2, vote: 0, commit: 6 },
      snapshot: snapshot(3),
      entries: ['4.2', '5.2', '6.2'],
    });
    await again.append(batch([], { snapshot: snapshot(20, 3) }));
    await again.append(batch(entries(21, 22, 3)));
    await again.close();
    const third = createWalLogStore(options);
    expect(plain(await third.open())).toMatchObject({ snapshot: snapshot(20, 3), entries: ['21.3', '22.3'] });
    await third.close();
  });

  test('starts new segments, removes those that a snapshot covers, and still opens', async () => {
    const options = { ...(await place()), segmentBytes: 4096, growBytes: 1024 };
    const log = createWalLogStore(options);
    await log.open();
    const segments = async () => (await options.fileSystem.list(options.directory)).filter((n) => n.endsWith('.wal'));
    for (let i = 1; i <= 100; i++) {
      await log.append(batch([entry(i, 1, 'x'.repeat(200))], { hardState: { term: 1, vote: 1, commit: i - 1 } }));
    }
    const before = (await segments()).length;
    await log.append(batch([], { snapshot: snapshot(90) }));
    await log.compact(90);
    expect(before).toBeGreaterThan(5);
    expect((await segments()).length).toBeLessThan(4);
    await expect(log.compact(95)).rejects.toThrow('no durable snapshot covers it');
    await log.close();
    const again = createWalLogStore(options);
    const opened = plain(await again.open());
    expect(opened.entries).toEqual(entries(91, 100).map((e) => `${String(e.index)}.1`));
    expect(opened.hardState).toEqual({ term: 1, vote: 1, commit: 99 });
    await again.close();
  });

  test('what compaction was asked to keep behind the snapshot is still there after a restart', async () => {
    const options = { ...(await place()), segmentBytes: 4096, growBytes: 1024 };
    const log = createWalLogStore(options);
    await log.open();
    for (let i = 1; i <= 100; i++) await log.append(batch([entry(i, 1, 'x'.repeat(200))]));
    await log.append(batch([], { snapshot: snapshot(90) }));
    await log.compact(50);
    await log.close();
    const again = createWalLogStore(options);
    const { retained = [], entries: rest } = await again.open();
    const [first] = retained;
    expect(first?.index).toBeLessThanOrEqual(51);
    expect(first?.index).toBeGreaterThan(25);
    expect([...retained, ...rest].map((e) => e.index)).toEqual(entries(first?.index ?? 0, 100).map((e) => e.index));
    await again.close();
  });

  test('cannot be opened twice', async () => {
    const options = await place();
    const log = createWalLogStore(options);
    await log.open();
    await expect(createWalLogStore(options).open()).rejects.toMatchObject({ name: 'DirectoryLocked' });
    await log.close();
    const again = createWalLogStore(options);
    await again.open();
    await again.close();
  });

  test('sealed records need the right key and do not show their content', async () => {
    const options = { ...(await place()), sealer: xor };
    const log = createWalLogStore(options);
    await log.open();
    await log.append(batch([entry(1, 1, 'attack at dawn')]));
    await log.close();
    const wrong: Sealer = {
      seal: xor.seal,
      open: () => {
        throw new Error('wrong key');
      },
    };
    await expect(createWalLogStore({ ...options, sealer: wrong }).open()).rejects.toMatchObject({ name: 'SealBroken' });
    const file = await options.fileSystem.open(`${options.directory}/0000000000000001.wal`, 'read');
    const text = new TextDecoder('latin1').decode(await file.read(0, await file.size()));
    await file.close();
    expect(text).not.toContain('attack');
    const again = createWalLogStore(options);
    expect(plain(await again.open()).entries).toEqual(['1.1']);
    await again.close();
  });
});

test('files are private to their owner', async () => {
  const directory = await scratch();
  const log = createWalLogStore({ directory });
  await log.open();
  for (const name of await readdir(directory)) expect((await stat(join(directory, name))).mode & 0o077).toBe(0);
  expect((await stat(directory)).mode & 0o077).toBe(0);
  await log.close();
});

test('appends of one turn share one write', async () => {
  const fileSystem = new MemoryFileSystem();
  const log = createWalLogStore({ directory: '/log', fileSystem });
  await log.open();
  let writes = 0;
  fileSystem.intercept = (operation) => {
    if (operation.kind === 'write') writes += 1;
  };
  await Promise.all(entries(1, 50).map((one) => log.append(batch([one]))));
  expect(writes).toBe(1);
});

test.each(['EIO', 'ENOSPC'])('after %s nothing is written any more', async (code) => {
  const fileSystem = new MemoryFileSystem();
  const log = createWalLogStore({ directory: '/log', fileSystem });
  await log.open();
  await log.append(batch([entry(1)]));
  fileSystem.intercept = (operation) => {
    if (operation.kind === 'write') throw Object.assign(new Error(code), { code });
  };
  await expect(log.append(batch([entry(2)]))).rejects.toThrow(code);
  let touched = false;
  fileSystem.intercept = () => {
    touched = true;
  };
  await expect(log.append(batch([entry(3)]))).rejects.toThrow(code);
  expect(touched).toBe(false);
});

describe('damage', () => {
  const path = '/log/0000000000000001.wal';
  async function written(): Promise<MemoryFileSystem> {
    const fileSystem = new MemoryFileSystem();
    const log = createWalLogStore({ directory: '/log', fileSystem });
    await log.open();
    for (let i = 1; i <= 5; i++) await log.append(batch([entry(i)]));
    await log.close();
    return fileSystem;
  }
  const find = (fileSystem: MemoryFileSystem, text: string) => Buffer.from(fileSystem.peek(path) ?? []).indexOf(text);

  test('a flipped bit before the last record is corruption', async () => {
    const fileSystem = await written();
    fileSystem.damage(path, find(fileSystem, 'e3.1'), new Uint8Array([0]));
    await expect(createWalLogStore({ directory: '/log', fileSystem }).open()).rejects.toBeInstanceOf(LogCorrupt);
  });

  test('a damaged length before the last record is corruption', async () => {
    const fileSystem = await written();
    // The third entry's record starts at the multiple of eight that holds its header.
    const start = Math.floor((find(fileSystem, 'e3.1') - 24) / 8) * 8 - 8;
    fileSystem.damage(path, start, new Uint8Array(16).fill(0xff));
    await expect(createWalLogStore({ directory: '/log', fileSystem }).open()).rejects.toBeInstanceOf(LogCorrupt);
  });

  test('a damaged last record is corruption: no torn write leaves every sector filled', async () => {
    const fileSystem = await written();
    fileSystem.damage(path, find(fileSystem, 'e5.1'), new Uint8Array([0]));
    await expect(createWalLogStore({ directory: '/log', fileSystem }).open()).rejects.toBeInstanceOf(LogCorrupt);
  });

  test('a last record that lacks its end is a torn write: cut off, and the log goes on', async () => {
    const fileSystem = await written();
    fileSystem.damage(path, find(fileSystem, 'e5.1'), new Uint8Array(4));
    const log = createWalLogStore({ directory: '/log', fileSystem });
    expect(plain(await log.open()).entries).toEqual(['1.1', '2.1', '3.1', '4.1']);
    await log.append(batch([entry(5, 2)]));
    await log.close();
    const again = createWalLogStore({ directory: '/log', fileSystem });
    expect(plain(await again.open()).entries).toEqual(['1.1', '2.1', '3.1', '4.1', '5.2']);
  });

  test('a missing segment is corruption', async () => {
    const fileSystem = new MemoryFileSystem();
    const options = { directory: '/log', fileSystem, segmentBytes: 1024, growBytes: 512 };
    const log = createWalLogStore(options);
    await log.open();
    for (let i = 1; i <= 30; i++) await log.append(batch([entry(i, 1, 'x'.repeat(100))]));
    await log.close();
    await fileSystem.remove('/log/0000000000000002.wal');
    await expect(createWalLogStore(options).open()).rejects.toBeInstanceOf(LogCorrupt);
  });
});

describe('crashes', () => {
  /** A workload with every kind of batch; the model is what must be there if its first n batches are durable. */
  const workload: readonly LogBatch[] = [
    batch(entries(1, 3), { hardState: { term: 1, vote: 1, commit: 0 } }),
    batch(entries(4, 9, 1, 'y'.repeat(300))),
    batch(entries(6, 8, 2), { hardState: { term: 2, vote: 2, commit: 5 } }),
    batch([], { snapshot: snapshot(5) }),
    batch(entries(9, 12, 2, 'z'.repeat(500))),
    batch([], { hardState: { term: 3, vote: 0, commit: 12 } }),
    batch([], { snapshot: snapshot(20, 3), hardState: { term: 3, vote: 0, commit: 20 } }),
    batch(entries(21, 24, 3, 'w'.repeat(400))),
  ];
  const options = (fileSystem: MemoryFileSystem) => ({
    directory: '/log',
    fileSystem,
    segmentBytes: 2048,
    growBytes: 512,
  });

  async function states(): Promise<ReturnType<typeof plain>[]> {
    const result = [];
    for (let count = 0; count <= workload.length; count++) {
      const fileSystem = new MemoryFileSystem();
      const log = createWalLogStore(options(fileSystem));
      await log.open();
      for (const one of workload.slice(0, count)) await log.append(one);
      await log.close();
      result.push(plain(await createWalLogStore(options(fileSystem)).open()));
    }
    return result;
  }

  /** Runs until the n-th operation of the disk, where the power fails; says how many batches were acknowledged. */
  async function runUntil(fileSystem: MemoryFileSystem, failAt: number): Promise<{ acked: number; ran: number }> {
    let ran = 0;
    fileSystem.intercept = () => {
      ran += 1;
      if (ran >= failAt) throw new Error('power failure');
    };
    let acked = 0;
    const log = createWalLogStore(options(fileSystem));
    try {
      await log.open();
      for (const one of workload) {
        await log.append(one);
        acked += 1;
        if (one.snapshot !== undefined) await log.compact(one.snapshot.index);
      }
      await log.close();
    } catch {
      // The power failed.
    }
    return { acked, ran };
  }

  test('at every operation, with any loss of unsynced sectors, leave what was acknowledged, and whole batches only', async () => {
    const expected = await states();
    let operations = Number.POSITIVE_INFINITY;
    for (let failAt = 1; failAt <= operations; failAt++) {
      for (let seed = 0; seed < 12; seed++) {
        const fileSystem = new MemoryFileSystem();
        const { acked, ran } = await runUntil(fileSystem, failAt);
        if (ran < failAt) operations = ran;
        fileSystem.crash({ random: seededRandom(seed * 1000 + failAt) });
        const opened = plain(await createWalLogStore(options(fileSystem)).open());
        const possible = expected.slice(acked, acked + 2);
        expect(possible, `operation ${String(failAt)}, seed ${String(seed)}`).toContainEqual(opened);
      }
    }
    expect(operations).toBeGreaterThan(20);
  });

  test('during recovery lose nothing that was acknowledged', async () => {
    const expected = await states();
    for (let failAt = 12; failAt < 30; failAt += 3) {
      for (let recoverAt = 1; recoverAt < 5; recoverAt++) {
        const fileSystem = new MemoryFileSystem();
        const { acked } = await runUntil(fileSystem, failAt);
        fileSystem.crash({ random: seededRandom(failAt) });
        let ran = 0;
        fileSystem.intercept = () => {
          ran += 1;
          if (ran >= recoverAt) throw new Error('power failure');
        };
        await createWalLogStore(options(fileSystem))
          .open()
          .catch(() => {});
        fileSystem.crash({ random: seededRandom(recoverAt) });
        const opened = plain(await createWalLogStore(options(fileSystem)).open());
        expect(expected.slice(acked, acked + 2)).toContainEqual(opened);
      }
    }
  });

  test('hostile segment bytes are refused or cut off, never taken for entries', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const fileSystem = new MemoryFileSystem();
        const log = createWalLogStore({ directory: '/log', fileSystem });
        await log.open();
        await log.append(batch([entry(1)]));
        await log.close();
        const content = fileSystem.peek('/log/0000000000000001.wal') ?? new Uint8Array(0);
        let end = content.length;
        while (end > 0 && content[end - 1] === 0) end -= 1;
        fileSystem.damage('/log/0000000000000001.wal', Math.ceil(end / 8) * 8, bytes);
        const opening = createWalLogStore({ directory: '/log', fileSystem }).open();
        const opened = await opening.catch((error: unknown) => error);
        if (opened instanceof Error) expect(opened).toBeInstanceOf(LogCorrupt);
        else expect(plain(await opening).entries).toEqual(['1.1']);
      }),
      { seed: 42, numRuns: 200 },
    );
  });
});
