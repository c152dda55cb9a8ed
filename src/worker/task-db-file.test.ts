import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TaskState } from '../model/task-state.ts';
import type { StoredTask } from './task-db.ts';
import { createFileTaskDb } from './task-db-file.ts';
import { assignedTask } from './testing/tasks.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'task-db-'));
  path = join(folder, 'worker', 'tasks');
});
afterEach(() => rm(folder, { recursive: true }));

function entry(id: string): StoredTask {
  const task = assignedTask(id);
  return { task, status: task.status, bootId: 'b1' };
}

const running = { state: TaskState.running, timestamp: 5, message: 'started', err: '' };

async function reopened(): Promise<readonly StoredTask[]> {
  const db = createFileTaskDb({ path });
  const tasks = await db.load();
  await db.close();
  return tasks;
}

describe('task database on disk', () => {
  test('remembers puts, statuses and removals, in order', async () => {
    const db = createFileTaskDb({ path });
    expect(await db.load()).toEqual([]);
    await db.write([
      { kind: 'put', entry: entry('a') },
      { kind: 'put', entry: entry('b') },
    ]);
    await Promise.all([
      db.write([{ kind: 'status', taskId: 'b', status: running, bootId: 'b2' }]),
      db.write([{ kind: 'remove', taskId: 'a' }]),
      db.write([{ kind: 'status', taskId: 'a', status: running, bootId: 'b2' }]),
    ]);
    await db.close();
    await db.close();
    expect(await reopened()).toEqual([{ ...entry('b'), status: running, bootId: 'b2' }]);
  });

  test('is readable by its owner only', async () => {
    const db = createFileTaskDb({ path });
    await db.load();
    await db.write([{ kind: 'put', entry: entry('a') }]);
    await db.close();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('loses only the torn batch at the end, whole, wherever it is torn', async () => {
    const db = createFileTaskDb({ path });
    await db.load();
    await db.write([{ kind: 'put', entry: entry('a') }]);
    const before = (await readFile(path)).length;
    await db.write([
      { kind: 'put', entry: entry('b') },
      { kind: 'remove', taskId: 'a' },
    ]);
    await db.close();
    const whole = await readFile(path);
    for (const cut of [before, before + 1, before + 20, whole.length - 2, whole.length - 1]) {
      await writeFile(path, whole.subarray(0, cut));
      expect((await reopened()).map((stored) => stored.task.id)).toEqual(['a']);
    }
    await writeFile(path, whole);
    expect((await reopened()).map((stored) => stored.task.id)).toEqual(['b']);
  });

  test('after damage it goes on, and is whole again with the next write', async () => {
    const db = createFileTaskDb({ path });
    await db.load();
    await db.write([{ kind: 'put', entry: entry('a') }]);
    await db.close();
    await appendFile(path, 'garbage\n0123 [{"kind"');
    const again = createFileTaskDb({ path });
    expect((await again.load()).map((stored) => stored.task.id)).toEqual(['a']);
    await again.write([{ kind: 'put', entry: entry('b') }]);
    await again.close();
    expect(await readFile(path, 'utf8')).not.toContain('garbage');
    expect((await reopened()).map((stored) => stored.task.id)).toEqual(['a', 'b']);
  });

  test('does not grow with history', async () => {
    const db = createFileTaskDb({ path, compactBytes: 10_000 });
    await db.load();
    await db.write([{ kind: 'put', entry: entry('a') }]);
    for (let count = 0; count < 500; count++)
      await db.write([{ kind: 'status', taskId: 'a', status: { ...running, timestamp: count }, bootId: 'b1' }]);
    await db.close();
    expect((await stat(path)).size).toBeLessThan(11_000);
    expect((await reopened())[0]?.status.timestamp).toBe(499);
  });

  test('refuses writes once closed', async () => {
    const db = createFileTaskDb({ path });
    await db.load();
    await db.close();
    await expect(db.write([{ kind: 'remove', taskId: 'a' }])).rejects.toMatchObject({ kind: 'failed_precondition' });
  });
});
