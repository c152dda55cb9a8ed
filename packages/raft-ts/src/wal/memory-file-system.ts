/**
 * A file system in memory that loses in a crash what a disk may lose: sectors of unsynced writes, each on its own;
 * truncations; names whose directory was not synced, newest first.
 */
import type { RandomSource } from '../core/types.ts';
import type { FileHandle, FileSystem, OpenMode } from './file-system.ts';
import { DirectoryLocked } from './file-system.ts';

const sectorSize = 512;

/** Bytes that grow and shrink in place. */
class Content {
  #buffer: Uint8Array;
  length: number;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#buffer = new Uint8Array(bytes);
    this.length = bytes.length;
  }

  get view(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.length;
    if (end > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(end, this.#buffer.length * 2));
      grown.set(this.view);
      this.#buffer = grown;
    }
    this.#buffer.set(bytes, position);
    this.length = Math.max(this.length, end);
  }

  resize(length: number): void {
    if (length > this.length) this.write(this.length, new Uint8Array(length - this.length));
    this.#buffer.fill(0, length, this.length);
    this.length = length;
  }
}

interface Change {
  readonly kind: 'write' | 'truncate';
  readonly position: number;
  readonly bytes: Uint8Array;
  /** Written through: a crash keeps it whole. */
  readonly synced: boolean;
}

interface Inode {
  content: Content;
  readonly durable: Content;
  /** What `content` has and `durable` lacks, in order. */
  changes: Change[];
}

interface NameChange {
  readonly directory: string;
  readonly apply: (names: Map<string, Inode>) => void;
}

/** What is about to change the file system. */
export interface Operation {
  readonly kind: 'create' | 'write' | 'sync' | 'truncate' | 'rename' | 'remove' | 'sync-directory';
  readonly path: string;
}

/** What decides which unsynced changes survive. */
export interface CrashOptions {
  readonly random: RandomSource;
}

/** A file system in memory that knows what is durable, and at a crash keeps that and any part of the rest. */
export class MemoryFileSystem implements FileSystem {
  /**
   * Called before each operation that changes something; throwing makes the operation fail. A write that fails may
   * have reached the disk in part.
   */
  intercept: ((operation: Operation) => void) | undefined;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #nameChanges: NameChange[] = [];
  readonly #locks = new Set<string>();
  #epoch = 0;

  /** Begins with `files`, all of them durable. */
  constructor(files: Iterable<readonly [string, Uint8Array]> = []) {
    for (const [path, bytes] of files) {
      this.#durableNames.set(path, { content: new Content(bytes), durable: new Content(bytes), changes: [] });
    }
    this.#names = new Map(this.#durableNames);
  }

  makeDirectory(): Promise<void> {
    return Promise.resolve();
  }

  list(path: string): Promise<readonly string[]> {
    const prefix = `${path}/`;
    const inside = [...this.#names.keys()].filter((name) => name.startsWith(prefix));
    return Promise.resolve(inside.map((name) => name.slice(prefix.length)).sort());
  }

  async open(path: string, mode: OpenMode): Promise<FileHandle> {
    const existing = this.#names.get(path);
    if (mode !== 'create') {
      if (existing === undefined) throw errno('ENOENT', path);
      return this.#handle(path, existing, mode);
    }
    if (existing !== undefined) throw errno('EEXIST', path);
    this.intercept?.({ kind: 'create', path });
    const inode: Inode = { content: new Content(), durable: new Content(), changes: [] };
    this.#changeNames(path, (names) => names.set(path, inode));
    return this.#handle(path, inode, mode);
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.#names.get(from);
    if (inode === undefined) throw errno('ENOENT', from);
    this.intercept?.({ kind: 'rename', path: to });
    this.#changeNames(to, (names) => {
      names.delete(from);
      names.set(to, inode);
    });
  }

  async remove(path: string): Promise<void> {
    if (!this.#names.has(path)) throw errno('ENOENT', path);
    this.intercept?.({ kind: 'remove', path });
    this.#changeNames(path, (names) => names.delete(path));
  }

  async syncDirectory(path: string): Promise<void> {
    this.intercept?.({ kind: 'sync-directory', path });
    for (const change of this.#nameChanges) if (change.directory === path) change.apply(this.#durableNames);
    this.#nameChanges = this.#nameChanges.filter((change) => change.directory !== path);
  }

  async lock(path: string): Promise<() => Promise<void>> {
    if (this.#locks.has(path)) throw new DirectoryLocked(`Cannot lock ${path}: it is in use`);
    this.#locks.add(path);
    const epoch = this.#epoch;
    return async () => {
      if (epoch === this.#epoch) this.#locks.delete(path);
    };
  }

  /** The machine loses power and comes back: open handles are dead, unsynced changes survive by chance. */
  crash(options: CrashOptions): void {
    const { random } = options;
    this.#epoch += 1;
    this.#locks.clear();
    this.intercept = undefined;
    const survivors = random.uint32() % (this.#nameChanges.length + 1);
    for (const change of this.#nameChanges.slice(0, survivors)) change.apply(this.#durableNames);
    this.#nameChanges = [];
    this.#names = new Map(this.#durableNames);
    for (const inode of new Set(this.#names.values())) {
      if (inode.changes.length === 0) continue;
      for (const change of inode.changes) {
        if (change.synced) applyChange(inode.durable, change);
        else applySome(inode.durable, change, random);
      }
      inode.changes = [];
      inode.content = new Content(inode.durable.view);
    }
  }

  /** The bytes of a file as a reader would see them, for tests that damage or inspect them. */
  peek(path: string): Uint8Array | undefined {
    return this.#names.get(path)?.content.view;
  }

  /** Overwrites bytes durably: bit rot. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const inode = this.#names.get(path);
    if (inode === undefined) throw errno('ENOENT', path);
    change(inode, { kind: 'write', position, bytes: new Uint8Array(bytes), synced: true });
  }

  #changeNames(path: string, apply: (names: Map<string, Inode>) => void): void {
    apply(this.#names);
    this.#nameChanges.push({ directory: path.slice(0, path.lastIndexOf('/')), apply });
  }

  #handle(path: string, inode: Inode, mode: OpenMode): FileHandle {
    const epoch = this.#epoch;
    let open = true;
    const begin = (operation?: Operation['kind']) => {
      if (!open || epoch !== this.#epoch) throw errno('EBADF', path);
      if (operation !== undefined && mode === 'read') throw errno('EBADF', path);
      if (operation !== undefined) this.intercept?.({ kind: operation, path });
    };
    return {
      size: async () => {
        begin();
        return inode.content.length;
      },
      read: async (position, length) => {
        begin();
        return inode.content.view.slice(position, position + length);
      },
      write: async (position, bytes) => {
        const made: Change = { kind: 'write', position, bytes: new Uint8Array(bytes), synced: mode === 'synced' };
        try {
          begin('write');
        } catch (error) {
          if (open && epoch === this.#epoch) change(inode, { ...made, synced: false });
          throw error;
        }
        change(inode, made);
      },
      sync: async () => {
        begin('sync');
        for (const made of inode.changes) applyChange(inode.durable, made);
        inode.changes = [];
      },
      truncate: async (length) => {
        begin('truncate');
        change(inode, { kind: 'truncate', position: length, bytes: new Uint8Array(0), synced: false });
      },
      close: async () => {
        open = false;
      },
    };
  }
}

function change(inode: Inode, made: Change): void {
  applyChange(inode.content, made);
  if (made.synced && inode.changes.length === 0) applyChange(inode.durable, made);
  else inode.changes.push(made);
}

function applyChange(content: Content, made: Change): void {
  if (made.kind === 'truncate') content.resize(made.position);
  else content.write(made.position, made.bytes);
}

/** Each sector of an unsynced write survives or not; the file's length may have changed without them. */
function applySome(content: Content, made: Change, random: RandomSource): void {
  const { kind, position, bytes } = made;
  if (kind === 'truncate') {
    if (random.uint32() % 2 !== 0) content.resize(position);
    return;
  }
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + sectorSize - ((position + at) % sectorSize));
    if (random.uint32() % 2 === 0) content.write(position + at, bytes.subarray(at, end));
    at = end;
  }
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}
