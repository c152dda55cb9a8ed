/**
 * A disk that remembers every call that changes something, and from that gives each state in which a power failure may
 * leave it: after every call, with every subset of what no sync had covered, and the last write torn at sectors.
 */
import { createHash } from 'node:crypto';
import type { FileHandle, FileSystem, OpenMode } from '../../src/wal/index.ts';
import { MemoryFileSystem } from '../../src/wal/index.ts';

type Files = ReadonlyMap<string, Uint8Array>;
type Image = Map<string, Uint8Array>;

export type Call =
  | { readonly kind: 'create'; readonly inode: number; readonly path: string }
  | {
      readonly kind: 'write';
      readonly inode: number;
      readonly position: number;
      readonly bytes: Uint8Array;
      readonly synced: boolean;
      /** It was reported as failed: no later success speaks for it. */
      failed: boolean;
    }
  | { readonly kind: 'truncate'; readonly inode: number; readonly length: number }
  | { readonly kind: 'sync'; readonly inode: number; failed: boolean }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string; readonly inode: number }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'sync-directory'; readonly path: string; failed: boolean };

export class DiskError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`${code}: made up`);
    this.code = code;
  }
}

export interface Fault {
  /** Which call, counted from 0. */
  readonly at: number;
  readonly code: string;
  /** How much of a write is done before it fails. */
  readonly done: (length: number) => number;
}

export class RecordingDisk implements FileSystem {
  readonly calls: Call[] = [];
  readonly initial: Files;
  fault: Fault | undefined;
  readonly #under: MemoryFileSystem;
  readonly #inodes = new Map<string, number>();
  #count = 0;

  constructor(files: Files = new Map()) {
    this.initial = new Map([...files].map(([path, bytes]) => [path, new Uint8Array(bytes)]));
    this.#under = new MemoryFileSystem(files);
    for (const path of files.keys()) this.#inodes.set(path, this.#count++);
  }

  makeDirectory(): Promise<void> {
    return this.#under.makeDirectory();
  }

  list(path: string): Promise<readonly string[]> {
    return this.#under.list(path);
  }

  lock(path: string): Promise<() => Promise<void>> {
    return this.#under.lock(path);
  }

  /** What a new process finds when the machine did not go down. */
  async files(directory: string): Promise<Image> {
    const names = await this.#under.list(directory);
    return new Map(
      names.map((name) => [
        `${directory}/${name}`,
        new Uint8Array(this.#under.peek(`${directory}/${name}`) ?? new Uint8Array(0)),
      ]),
    );
  }

  #begin(call: Call): void {
    const at = this.calls.push(call) - 1;
    if (this.fault?.at !== at || call.kind === 'write') return;
    if (call.kind === 'sync' || call.kind === 'sync-directory') call.failed = true;
    throw new DiskError(this.fault.code);
  }

  async open(path: string, mode: OpenMode): Promise<FileHandle> {
    if (mode === 'create') {
      // A call that fails in the real store fails here too, before it counts.
      const handle = await this.#under.open(path, mode);
      const inode = this.#count++;
      this.#inodes.set(path, inode);
      this.#begin({ kind: 'create', inode, path });
      return this.#handle(handle, inode, mode);
    }
    return this.#handle(await this.#under.open(path, mode), this.#inodes.get(path) ?? -1, mode);
  }

  async rename(path: string, to: string): Promise<void> {
    this.#begin({ kind: 'rename', path, to, inode: this.#inodes.get(path) ?? -1 });
    await this.#under.rename(path, to);
    this.#inodes.set(to, this.#inodes.get(path) ?? -1);
    this.#inodes.delete(path);
  }

  async remove(path: string): Promise<void> {
    this.#begin({ kind: 'remove', path });
    await this.#under.remove(path);
    this.#inodes.delete(path);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#begin({ kind: 'sync-directory', path, failed: false });
    await this.#under.syncDirectory(path);
  }

  #handle(under: FileHandle, inode: number, mode: OpenMode): FileHandle {
    return {
      size: () => under.size(),
      read: (position, length) => under.read(position, length),
      close: () => under.close(),
      write: async (position, bytes) => {
        const call = {
          kind: 'write' as const,
          inode,
          position,
          bytes: new Uint8Array(bytes),
          synced: mode === 'synced',
          failed: false,
        };
        this.#begin(call);
        if (this.fault?.at !== this.calls.length - 1) return under.write(position, bytes);
        call.failed = true;
        const done = this.fault.done(bytes.length);
        if (done > 0) await under.write(position, bytes.subarray(0, done));
        throw new DiskError(this.fault.code);
      },
      sync: async () => {
        this.#begin({ kind: 'sync', inode, failed: false });
        await under.sync();
      },
      truncate: async (length) => {
        this.#begin({ kind: 'truncate', inode, length });
        await under.truncate(length);
      },
    };
  }
}

const sector = 512;

interface File {
  durable: Uint8Array;
  pending: (Call & { readonly kind: 'write' | 'truncate' })[];
}

type NameCall = Call & { readonly kind: 'create' | 'rename' | 'remove' };

interface State {
  readonly files: Map<number, File>;
  names: Map<string, number>;
  pendingNames: NameCall[];
}

export interface CrashState {
  /** How many calls were complete when the power failed; the next one may have begun. */
  readonly calls: number;
  readonly key: string;
  readonly files: Image;
}

/** `onTried` is called for each state, also for those that turn out like an earlier one and are not given out. */
export function* crashStates(disk: RecordingDisk, onTried: () => void = () => {}): Generator<CrashState> {
  const state = initialState(disk.initial);
  const seen = new Set<string>();
  for (let count = 0; count <= disk.calls.length; count++) {
    const underWay = disk.calls[count];
    // A sync or a write-through that has begun may have done any part of its work.
    const begun = underWay?.kind === 'write' && underWay.synced ? underWay : undefined;
    for (const files of images(state, begun)) {
      onTried();
      const key = keyOf(files);
      if (seen.has(key)) continue;
      seen.add(key);
      yield { calls: count, key, files };
    }
    if (underWay !== undefined) {
      perform(state, underWay);
      seen.clear();
    }
  }
}

function keyOf(files: Files): string {
  const hash = createHash('sha1');
  for (const [path, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${path}:${String(bytes.length)}:`).update(bytes);
  }
  return hash.digest('base64');
}

function initialState(files: Files): State {
  const state: State = { files: new Map(), names: new Map(), pendingNames: [] };
  for (const [at, [path, bytes]] of [...files].entries()) {
    state.files.set(at, { durable: bytes, pending: [] });
    state.names.set(path, at);
  }
  return state;
}

function perform(state: State, call: Call): void {
  if (call.kind === 'create' || call.kind === 'rename' || call.kind === 'remove') {
    if (call.kind === 'create') state.files.set(call.inode, { durable: new Uint8Array(0), pending: [] });
    state.pendingNames.push(call);
    return;
  }
  if (call.kind === 'sync-directory') {
    if (call.failed) return;
    for (const change of state.pendingNames) applyName(state.names, change);
    state.pendingNames = [];
    return;
  }
  const file = state.files.get(call.inode);
  if (file === undefined) throw new Error('no such file');
  if (call.kind === 'sync') {
    if (call.failed) return;
    for (const change of file.pending) file.durable = applied(file.durable, change);
    file.pending = [];
  } else if (call.kind === 'write' && call.synced && !call.failed) {
    if (file.pending.length > 0) throw new Error('a write-through overtakes unsynced changes: not modelled');
    file.durable = applied(file.durable, call);
  } else file.pending.push(call);
}

function applyName(names: Map<string, number>, call: NameCall): void {
  if (call.kind === 'create') names.set(call.path, call.inode);
  else if (call.kind === 'remove') names.delete(call.path);
  else {
    // The new name may be on disk while the old one never was.
    names.set(call.to, call.inode);
    names.delete(call.path);
  }
}

function applied(bytes: Uint8Array, call: Call & { readonly kind: 'write' | 'truncate' }): Uint8Array {
  if (call.kind === 'truncate') {
    const cut = new Uint8Array(call.length);
    cut.set(bytes.subarray(0, call.length));
    return cut;
  }
  const result = new Uint8Array(Math.max(bytes.length, call.position + call.bytes.length));
  result.set(bytes);
  result.set(call.bytes, call.position);
  return result;
}

const pendingMax = 10;

function* images(state: State, begun: (Call & { readonly kind: 'write' }) | undefined): Generator<Image> {
  const unsynced = [...state.files].flatMap(([inode, file]) => file.pending.map((change) => ({ inode, change })));
  if (begun !== undefined) unsynced.push({ inode: begun.inode, change: begun });
  const whole = unsynced.slice(0, -1);
  const last = unsynced.at(-1);
  if (unsynced.length + state.pendingNames.length > pendingMax) throw new Error('too much is pending: not exhaustive');
  for (let names = 0; names < 2 ** state.pendingNames.length; names++) {
    const onDisk = new Map(state.names);
    for (const [at, call] of state.pendingNames.entries()) if ((names >> at) & 1) applyName(onDisk, call);
    for (let subset = 0; subset < 2 ** whole.length; subset++) {
      const base = new Map([...state.files].map(([inode, file]) => [inode, file.durable]));
      for (const [at, { inode, change }] of whole.entries()) {
        if ((subset >> at) & 1) base.set(inode, applied(base.get(inode) ?? new Uint8Array(0), change));
      }
      if (last === undefined) yield pick(onDisk, base);
      else {
        for (const bytes of tornForms(base.get(last.inode) ?? new Uint8Array(0), last.change)) {
          yield pick(onDisk, new Map(base).set(last.inode, bytes));
        }
      }
    }
  }
}

function pick(names: ReadonlyMap<string, number>, contents: ReadonlyMap<number, Uint8Array>): Image {
  return new Map([...names].map(([path, inode]) => [path, contents.get(inode) ?? new Uint8Array(0)]));
}

/** Not done, done, and every way in which only some of its sectors are. */
function* tornForms(before: Uint8Array, change: Call & { readonly kind: 'write' | 'truncate' }): Generator<Uint8Array> {
  if (change.kind === 'truncate') {
    yield before;
    yield applied(before, change);
    return;
  }
  const parts: { position: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at < change.bytes.length; ) {
    const end = Math.min(change.bytes.length, at + sector - ((change.position + at) % sector));
    parts.push({ position: change.position + at, bytes: change.bytes.subarray(at, end) });
    at = end;
  }
  for (const chosen of choices(parts.length)) {
    let bytes = before;
    for (const [at, part] of parts.entries()) if (chosen(at)) bytes = applied(bytes, { ...change, ...part });
    yield bytes;
  }
}

function* choices(count: number): Generator<(at: number) => boolean> {
  if (count <= 6) {
    for (let subset = 0; subset < 2 ** count; subset++) yield (at) => ((subset >> at) & 1) === 1;
    return;
  }
  for (let cut = 0; cut <= count; cut++) {
    yield (at) => at < cut;
    yield (at) => at >= cut;
    yield (at) => at !== cut;
  }
}
