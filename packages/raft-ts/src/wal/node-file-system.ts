/** The real file system. */
import { constants, promises as fs, write } from 'node:fs';
import { dirname } from 'node:path';
import type { FileHandle, FileSystem, OpenMode } from './file-system.ts';
import { DirectoryLocked } from './file-system.ts';

/** Absent on some platforms, where every synced write is followed by fdatasync instead. */
const syncedFlag: number | undefined = constants.O_DSYNC;

const flagsOf: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  synced: constants.O_RDWR | (syncedFlag ?? 0),
};

class NodeFile implements FileHandle {
  readonly #file: fs.FileHandle;
  readonly #syncEachWrite: boolean;

  constructor(file: fs.FileHandle, syncEachWrite: boolean) {
    this.#file = file;
    this.#syncEachWrite = syncEachWrite;
  }

  async size(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await this.#file.read(buffer, filled, length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  /** The callback form costs half of what the promise form does, and a commit waits for each write. */
  readonly #plain = {
    write: (bytes: Uint8Array, from: number, length: number, position: number) =>
      new Promise<{ readonly bytesWritten: number }>((resolve, reject) => {
        write(this.#file.fd, bytes, from, length, position, (error, bytesWritten) => {
          if (error) reject(error);
          else resolve({ bytesWritten });
        });
      }),
  };

  async write(position: number, bytes: Uint8Array): Promise<void> {
    await writeFully(this.#plain, position, bytes);
    if (this.#syncEachWrite) await this.#file.datasync();
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  truncate(length: number): Promise<void> {
    return this.#file.truncate(length);
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** The system may write less than it was asked to, near a limit of the disk or of the process. */
export async function writeFully(
  file: {
    write(
      bytes: Uint8Array,
      from: number,
      length: number,
      position: number,
    ): Promise<{ readonly bytesWritten: number }>;
  },
  position: number,
  bytes: Uint8Array,
): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, position + written);
    if (bytesWritten === 0) throw new Error('Cannot write file: no progress');
    written += bytesWritten;
  }
}

/** The file system of this machine. */
export const nodeFileSystem: FileSystem = {
  async makeDirectory(path) {
    await fs.mkdir(path, { recursive: true, mode: 0o700 });
    await syncDirectory(dirname(path));
  },
  async list(path) {
    return (await fs.readdir(path)).sort();
  },
  async open(path, mode) {
    return new NodeFile(await fs.open(path, flagsOf[mode], 0o600), mode === 'synced' && syncedFlag === undefined);
  },
  rename: (from, to) => fs.rename(from, to),
  remove: (path) => fs.unlink(path),
  syncDirectory,
  lock,
};

async function syncDirectory(path: string): Promise<void> {
  const directory = await fs.open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const heldHere = new Set<string>();

/** Node has no flock: the file names its owner by pid, the pid's start time and the boot, so that a leftover is known. */
async function lock(path: string): Promise<() => Promise<void>> {
  if (heldHere.has(path)) throw new DirectoryLocked(`Cannot lock ${path}: it is in use in this process`);
  heldHere.add(path);
  try {
    await writeLock(path);
  } catch (error) {
    heldHere.delete(path);
    throw error;
  }
  return async () => {
    if (!heldHere.delete(path)) return;
    await fs.rm(path, { force: true });
  };
}

/** The file appears with its content, by a link: nobody reads one that is still empty and takes it for a leftover. */
async function writeLock(path: string): Promise<void> {
  const owner = (await identify(process.pid)) ?? String(process.pid);
  const draft = `${path}.${String(process.pid)}`;
  await fs.writeFile(draft, owner, { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        return await fs.link(draft, path);
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error;
      }
      await removeLeftover(path);
    }
  } finally {
    await fs.rm(draft, { force: true });
  }
  throw new DirectoryLocked(`Cannot lock ${path}: others keep taking it`);
}

/** Throws DirectoryLocked when the lock's owner lives. */
async function removeLeftover(path: string): Promise<void> {
  const holder = await readText(path);
  if (holder === undefined) return;
  const pid = Number.parseInt(holder, 10);
  const alive = pid > 0 && pid !== process.pid ? await identify(pid) : undefined;
  if (alive !== undefined && (alive === holder || !alive.includes(' '))) {
    throw new DirectoryLocked(`Cannot lock ${path}: it is in use by process ${String(pid)}`);
  }
  // Moved away first: were it a new owner's by now, it goes back.
  const moved = `${path}.${String(process.pid)}.old`;
  try {
    await fs.rename(path, moved);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  if ((await readText(moved)) !== holder) await fs.link(moved, path).catch(() => {});
  await fs.rm(moved, { force: true });
}

/** "pid start boot"; only "pid" where the system does not say more; undefined when there is no such process. */
async function identify(pid: number): Promise<string | undefined> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!isErrno(error, 'EPERM')) return undefined;
  }
  const stat = await readText(`/proc/${String(pid)}/stat`);
  const boot = await readText('/proc/sys/kernel/random/boot_id');
  // Field 22, counted behind the command name, which may hold blanks and parentheses.
  const start = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  return start === undefined || boot === undefined ? String(pid) : `${String(pid)} ${start} ${boot.trim()}`;
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isErrno(error, 'EACCES')) return undefined;
    throw error;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
