/**
 * A disk with latency and faults: the in-memory file system of the log, which loses in a crash what a disk may lose,
 * behind operations that take time, fail, or are cut short by the crash of their process.
 */
import type { Index } from '../core/types.ts';
import type { FileHandle, FileSystem, OpenMode } from '../wal/file-system.ts';
import { DirectoryLocked } from '../wal/file-system.ts';
import { MemoryFileSystem } from '../wal/memory-file-system.ts';
import type { Chance } from './chance.ts';
import { DiskInspector } from './disk-inspector.ts';
import type { ProcessClock, Schedule } from './schedule.ts';

export interface DiskOptions {
  readonly schedule: Schedule;
  readonly chance: Chance;
  readonly latencyMs: number;
  readonly hashOf: (index: Index) => number;
  readonly hit: (situation: string) => void;
}

type Kind = 'read' | 'create' | 'write' | 'sync' | 'truncate' | 'rename' | 'remove' | 'sync-directory';

/** Fails on purpose: the node must stop, and nothing else may break. */
export class InjectedDiskError extends Error {
  override readonly name = 'InjectedDiskError';
  readonly code: 'EIO' | 'ENOSPC';

  constructor(code: 'EIO' | 'ENOSPC', path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

interface Flight {
  /** What a crash may leave of it. */
  readonly tear: (() => void) | undefined;
}

/** No single operation takes longer. */
const latencyMaxMs = 2000;
const allocating: ReadonlySet<Kind> = new Set(['create', 'write', 'rename']);

export class SimDisk {
  readonly inspector: DiskInspector;
  /** Every operation takes so many times longer. */
  slowness = 1;
  full = false;
  /** The next change fails. */
  failNext = false;
  /** The next read fails. */
  failNextRead = false;
  #fs = new MemoryFileSystem();
  #locked = new Set<string>();
  readonly #flights = new Set<Flight>();
  readonly #options: DiskOptions;

  constructor(options: DiskOptions) {
    this.#options = options;
    this.inspector = new DiskInspector(options.hashOf);
  }

  /** The process that used the disk is gone. `power`: so is what was not yet durable. */
  crash(power: boolean): void {
    const { chance, hit } = this.#options;
    for (const { tear } of this.#flights) {
      if (tear === undefined || !chance.chance(0.6)) continue;
      tear();
      hit('write torn by a crash');
    }
    this.#flights.clear();
    this.#locked = new Set();
    if (power) this.#fs.crash({ random: chance });
  }

  /** Turns one bit of the log or of a snapshot, durably, and says in which file; undefined if there is none. */
  async flipBit(chance: Chance): Promise<string | undefined> {
    const directory = chance.pick(['log', 'log', 'snapshots']) ?? 'log';
    const names = (await this.#fs.list(directory)).filter((name) => /\.(wal|snap)$/.test(name));
    const path = `${directory}/${chance.pick(names) ?? ''}`;
    const bytes = this.#fs.peek(path);
    if (bytes === undefined || bytes.length === 0) return undefined;
    const position = chance.below(bytes.length);
    this.#fs.damage(path, position, Uint8Array.of((bytes[position] ?? 0) ^ (1 << chance.below(8))));
    return path;
  }

  /** What is on it, without latency, faults or anyone watching: for a disk that no node will use again. */
  get bare(): FileSystem {
    return this.#fs;
  }

  /** The file system as one process sees it. */
  session(clock: ProcessClock): FileSystem {
    const op = <T>(kind: Kind, path: string, run: () => Promise<T>, tear?: () => void): Promise<T> =>
      this.#operate(clock, { kind, path, run, tear });
    const { inspector } = this;
    return {
      makeDirectory: () => Promise.resolve(),
      list: (path) => op('read', path, () => this.#fs.list(path)),
      open: async (path, mode) => {
        const handle = await op(mode === 'create' ? 'create' : 'read', path, () => this.#fs.open(path, mode));
        if (mode === 'create') inspector.created(path);
        return this.#handle(handle, { path, mode, op });
      },
      rename: async (from, to) => {
        await op('rename', to, () => this.#fs.rename(from, to).then(() => inspector.renamed(from, to)));
      },
      remove: (path) => op('remove', path, () => this.#fs.remove(path).then(() => inspector.removed(path))),
      syncDirectory: (path) =>
        op('sync-directory', path, () => this.#fs.syncDirectory(path).then(() => inspector.directorySynced(path))),
      lock: (path) => {
        if (clock.dead) return new Promise(() => {});
        if (this.#locked.has(path)) return Promise.reject(new DirectoryLocked(`Cannot lock ${path}: it is in use`));
        const locked = this.#locked;
        locked.add(path);
        return Promise.resolve(() => Promise.resolve(void locked.delete(path)));
      },
    };
  }

  #handle(
    inner: FileHandle,
    at: {
      readonly path: string;
      readonly mode: OpenMode;
      readonly op: <T>(kind: Kind, path: string, run: () => Promise<T>, tear?: () => void) => Promise<T>;
    },
  ): FileHandle {
    const { path, mode, op } = at;
    const { inspector } = this;
    return {
      size: () => inner.size(),
      read: (position, length) => op('read', path, () => inner.read(position, length)),
      write: (position, bytes) => {
        const kept = new Uint8Array(bytes);
        const tear = () => this.#tear(inner, { path, position, bytes: kept });
        const run = () =>
          inner.write(position, kept).then(() => inspector.wrote(path, position, kept, { mode, torn: false }));
        return op('write', path, run, tear);
      },
      sync: () => op('sync', path, () => inner.sync().then(() => inspector.synced(path))),
      truncate: (length) => op('truncate', path, () => inner.truncate(length)),
      close: () => inner.close(),
    };
  }

  /** Part of the bytes may have reached the disk, and none of them for certain. */
  #tear(
    inner: FileHandle,
    write: { readonly path: string; readonly position: number; readonly bytes: Uint8Array },
  ): void {
    const { path, position, bytes } = write;
    this.#fs.intercept = () => {
      throw new InjectedDiskError('EIO', path);
    };
    inner.write(position, bytes).catch(() => {});
    this.#fs.intercept = undefined;
    this.inspector.wrote(path, position, bytes, { mode: 'write', torn: true });
  }

  #operate<T>(
    clock: ProcessClock,
    operation: {
      readonly kind: Kind;
      readonly path: string;
      readonly run: () => Promise<T>;
      readonly tear: (() => void) | undefined;
    },
  ): Promise<T> {
    const { kind, path, run, tear } = operation;
    const flight: Flight = { tear };
    this.#flights.add(flight);
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#flights.delete(flight);
        const error = this.#refusal(kind, path);
        if (error !== undefined) {
          tear?.();
          return reject(error);
        }
        this.#answerLater(clock, run(), { resolve, reject });
      };
      this.#options.schedule.add(this.#latency(kind), finish, clock);
    });
  }

  /** Sometimes the process hears of it only later, and may have crashed by then. */
  #answerLater<T>(
    clock: ProcessClock,
    done: Promise<T>,
    to: { readonly resolve: (value: T) => void; readonly reject: (error: unknown) => void },
  ): void {
    const { chance, schedule, latencyMs } = this.#options;
    if (!chance.chance(0.15)) {
      done.then(to.resolve, to.reject);
      return;
    }
    const delayMs = chance.exponential(latencyMs);
    done.then(
      (value) => schedule.add(delayMs, () => to.resolve(value), clock),
      (error: unknown) => schedule.add(delayMs, () => to.reject(error), clock),
    );
  }

  #refusal(kind: Kind, path: string): Error | undefined {
    if (kind === 'read') {
      if (!this.failNextRead) return undefined;
      this.failNextRead = false;
      this.#options.hit('disk read error');
      return new InjectedDiskError('EIO', path);
    }
    if (this.full && allocating.has(kind)) {
      this.#options.hit('disk full');
      return new InjectedDiskError('ENOSPC', path);
    }
    if (!this.failNext) return undefined;
    this.failNext = false;
    this.#options.hit('disk error');
    return new InjectedDiskError('EIO', path);
  }

  #latency(kind: Kind): number {
    const { chance, latencyMs } = this.#options;
    const share = kind === 'write' || kind === 'sync' ? 1 : 0.1;
    return Math.min(chance.exponential(latencyMs * share) * this.slowness, latencyMaxMs);
  }
}
