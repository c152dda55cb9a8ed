/**
 * Secrets and configs as files for one task. They are written into a directory on memory that only root can enter, one
 * subdirectory per task, and bind-mounted read-only into the container; they go with the task. An existing memory file
 * system is used where there is one: a mount made here would not be seen by a containerd in another mount namespace.
 */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, chown, lstat, mkdir, readdir, rmdir, statfs, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';
import type { FileTarget } from '../../model/spec.ts';
import { isMissing, removeTree } from './files.ts';

export interface TaskFile {
  readonly kind: 'secret' | 'config';
  readonly name: string;
  readonly file: FileTarget | undefined;
  /** Base64. */
  readonly data: string;
}

export interface FileMount {
  readonly source: string;
  readonly destination: string;
}

const tmpfsMagic = 0x01021994;
const ramfsMagic = 0x858458f6;
const defaultMode = 0o444;

export class TaskFiles {
  readonly #stateDir: string;
  #root: Promise<string> | undefined;

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  /** Writes the files and says where to mount them. Repeating it writes them again. */
  async write(taskId: string, files: readonly TaskFile[]): Promise<readonly FileMount[]> {
    if (files.length === 0) return [];
    const directory = join(await privateDirectory(await this.#place()), taskId);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const mounts: FileMount[] = [];
    for (const [at, entry] of files.entries()) {
      const source = join(directory, `${at}`);
      await writeOne(source, entry);
      mounts.push({ source, destination: targetOf(entry) });
    }
    return mounts;
  }

  async remove(taskId: string): Promise<void> {
    const root = await this.#place();
    await removeTree(join(root, taskId));
    // The last one takes the directory with it.
    await rmdir(root).catch(() => {});
  }

  async list(): Promise<readonly string[]> {
    try {
      return (await readdir(await this.#place())).toSorted();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  #place(): Promise<string> {
    this.#root ??= placeInMemory(this.#stateDir).catch((error: unknown) => {
      this.#root = undefined;
      throw error;
    });
    return this.#root;
  }
}

/** Docker's rules: secrets are relative to /run/secrets, configs to the root. */
export function targetOf(entry: Pick<TaskFile, 'kind' | 'name' | 'file'>): string {
  const name = entry.file?.Name === undefined || entry.file.Name === '' ? entry.name : entry.file.Name;
  if (name.startsWith('/')) return posix.normalize(name);
  return posix.normalize(posix.join(entry.kind === 'secret' ? '/run/secrets' : '/', name));
}

async function writeOne(path: string, entry: TaskFile): Promise<void> {
  const uid = idOf(entry.file?.UID, entry);
  const gid = idOf(entry.file?.GID, entry);
  await removeTree(path);
  await writeFile(path, Buffer.from(entry.data, 'base64'), { mode: 0o600, flag: 'wx' });
  await chown(path, uid, gid);
  await chmod(path, (entry.file?.Mode ?? defaultMode) & 0o7777);
}

function idOf(text: string | undefined, entry: TaskFile): number {
  const value = text === undefined || text === '' ? 0 : Number(text);
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 31) return value;
  throw new ClusterError('invalid', `${entry.kind} ${entry.name}: invalid owner "${text ?? ''}"`);
}

/** The folder on a shared tmpfs that holds a daemon's secrets: one per state directory. */
export function memoryFolderName(stateDir: string): string {
  return `tscluster-${createHash('sha256').update(stateDir).digest('hex').slice(0, 16)}`;
}

async function placeInMemory(stateDir: string): Promise<string> {
  const name = memoryFolderName(stateDir);
  for (const parent of ['/run', '/dev/shm']) if (await isMemory(parent)) return join(parent, name);
  const mounted = join(stateDir, 'secrets');
  await mkdir(mounted, { recursive: true, mode: 0o700 });
  if (!(await isMemory(mounted))) await mountTmpfs(mounted);
  return mounted;
}

async function isMemory(path: string): Promise<boolean> {
  try {
    const { type } = await statfs(path);
    return type === tmpfsMagic || type === ramfsMagic;
  } catch {
    return false;
  }
}

/** /dev/shm is open to everyone: what is there must be ours before anything secret goes in. */
async function privateDirectory(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const stats = await lstat(path);
  if (!stats.isDirectory() || stats.uid !== process.getuid?.()) {
    throw new ClusterError('permission_denied', `${path} belongs to someone else: secrets cannot be kept there`);
  }
  await chmod(path, 0o700);
  return path;
}

async function mountTmpfs(path: string): Promise<void> {
  const child = spawn('mount', ['-t', 'tmpfs', '-o', 'mode=0700,nosuid,nodev,noexec', 'tmpfs', path], {
    stdio: 'ignore',
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new ClusterError('internal', `mounting memory for secrets on ${path} ended with ${code}`);
}
