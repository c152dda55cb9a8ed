import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createWalLogStore, nodeFileSystem } from '../../src/wal/index.ts';
import { writeFully } from '../../src/wal/node-file-system.ts';

const directories: string[] = [];
afterAll(() => Promise.all(directories.map((path) => rm(path, { recursive: true, force: true }))));
async function scratch(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'raft-fs-'));
  directories.push(path);
  return path;
}

describe('a write', () => {
  type Wrote = Promise<{ bytesWritten: number }>;
  type Write = (bytes: Uint8Array, from: number, length: number, position: number) => Wrote;

  test('that the system does in pieces is finished', async () => {
    const disk = new Uint8Array(20);
    let calls = 0;
    const write: Write = (bytes, from, length, position) => {
      calls += 1;
      const bytesWritten = Math.min(length, 3);
      disk.set(bytes.subarray(from, from + bytesWritten), position);
      return Promise.resolve({ bytesWritten });
    };
    await writeFully(
      { write },
      5,
      Uint8Array.from({ length: 10 }, (_, at) => at + 1),
    );
    expect([...disk.subarray(4, 16)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
    expect(calls).toBe(4);
  });

  test('that makes no progress, or breaks in the middle, is rejected', async () => {
    const none: Write = () => Promise.resolve({ bytesWritten: 0 });
    await expect(writeFully({ write: none }, 0, new Uint8Array(4))).rejects.toThrow('no progress');
    let first = true;
    const full: Write = () => {
      if (!first) return Promise.reject(Object.assign(new Error('disk full'), { code: 'ENOSPC' }));
      first = false;
      return Promise.resolve({ bytesWritten: 2 });
    };
    await expect(writeFully({ write: full }, 0, new Uint8Array(4))).rejects.toThrow('disk full');
  });
});

describe('the lock', () => {
  test('names its holder by pid, start and boot, and goes with it', async () => {
    const directory = await scratch();
    const unlock = await nodeFileSystem.lock(join(directory, 'lock'));
    expect(await readFile(join(directory, 'lock'), 'utf8')).toMatch(
      new RegExp(`^${String(process.pid)} \\d+ [0-9a-f-]{36}$`),
    );
    await unlock();
    expect(await readdir(directory)).toEqual([]);
  });

  test('of a process that lives is respected; one left behind is taken over', async () => {
    const directory = await scratch();
    const path = join(directory, 'lock');
    const other = spawn('sleep', ['60']);
    const pid = other.pid ?? 0;
    const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    await writeFile(path, `${String(pid)} ${start} ${boot}`);
    await expect(createWalLogStore({ directory }).open()).rejects.toMatchObject({ name: 'DirectoryLocked' });
    // The same pid, but of another start, another boot, or gone: left behind.
    for (const holder of [`${String(pid)} 1 ${boot}`, `${String(pid)} ${start} another-boot`, '']) {
      await writeFile(path, holder);
      await (await nodeFileSystem.lock(path))();
    }
    await writeFile(path, `${String(pid)} ${start} ${boot}`);
    other.kill();
    await once(other, 'exit');
    const log = createWalLogStore({ directory });
    await log.open();
    await log.close();
    expect((await readdir(directory)).filter((name) => name.startsWith('lock'))).toEqual([]);
  });
});
