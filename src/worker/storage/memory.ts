/** Folders on a file system in memory: for what must not reach a disk, and for what the end of the kernel ends anyway. */
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterError } from '../../lib/errors.ts';

const tmpfsMagic = 0x01021994;
const ramfsMagic = 0x858458f6;

/** One per state directory. */
export function memoryFolderName(stateDir: string): string {
  return `tscluster-${createHash('sha256').update(stateDir).digest('hex').slice(0, 16)}`;
}

/** Where it is or would be; undefined where neither of the usual places is in memory. */
export async function memoryFolder(stateDir: string): Promise<string | undefined> {
  for (const parent of ['/run', '/dev/shm']) {
    if (await isMemory(parent)) return join(parent, memoryFolderName(stateDir));
  }
  return undefined;
}

export async function isMemory(path: string): Promise<boolean> {
  try {
    const { type } = await statfs(path);
    return type === tmpfsMagic || type === ramfsMagic;
  } catch {
    return false;
  }
}

/** Makes it. /dev/shm is open to everyone: what is there must be ours before anything goes in. */
export async function privateDirectory(path: string): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const stats = await lstat(path);
  if (!stats.isDirectory() || stats.uid !== process.getuid?.()) {
    throw new ClusterError('permission_denied', `${path} belongs to someone else: remove it`);
  }
  await chmod(path, 0o700);
  return path;
}
