/** Log and snapshot stores in memory, with the losses of real ones: unsynced batches vanish in a crash. */
import type { Entry, HardState, Index, SnapshotMeta } from '../core/types.ts';
import type { LogBatch, LogStore, OpenedLog, Runtime, SnapshotSink, SnapshotStore } from '../ports.ts';

interface DurableLog {
  hardState: HardState;
  snapshot: SnapshotMeta | undefined;
  entries: readonly Entry[];
}

interface Queued {
  readonly batch: LogBatch;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** How fast the disk is. */
export interface MemoryLogOptions {
  readonly runtime: Runtime;
  /** How long one group of batches takes to reach the disk; drawn anew for each group. */
  readonly syncDelayMs?: () => number;
}

/**
 * The object is the disk: it outlives the node. `crash()` loses everything not yet synced and cuts off the current
 * user, whose pending calls never settle; `open()` then gives what survived. Give each incarnation of a node its own
 * `session()`, so that what is left of a crashed one cannot touch the disk of its successor.
 */
export class MemoryLogStore implements LogStore {
  readonly #options: MemoryLogOptions;
  #disk: DurableLog = { hardState: { term: 0, vote: 0, commit: 0 }, snapshot: undefined, entries: [] };
  #queue: Queued[] = [];
  #inFlight: readonly Queued[] = [];
  #writing = false;
  #opened = false;
  #incarnation = 0;
  #failure: Error | undefined;
  #cancelTimer: () => void = () => {};

  constructor(options: MemoryLogOptions) {
    this.#options = options;
  }

  /** What a restart would find now. */
  get durable(): Readonly<OpenedLog> {
    const { hardState, snapshot, entries } = this.#disk;
    const after = entries.filter((entry) => entry.index > (snapshot?.index ?? 0));
    return snapshot === undefined ? { hardState, entries: after } : { hardState, snapshot, entries: after };
  }

  /** The store as seen by one incarnation: dead after the next crash or close. */
  session(): LogStore {
    const incarnation = this.#incarnation;
    const alive = () => incarnation === this.#incarnation;
    return {
      open: () => (alive() ? this.open() : never()),
      append: (batch) => (alive() ? this.append(batch) : never()),
      compact: (upTo) => (alive() ? this.compact(upTo) : never()),
      close: () => (alive() ? this.close() : Promise.resolve()),
    };
  }

  open(): Promise<OpenedLog> {
    if (this.#opened) return Promise.reject(new Error('Cannot open log: it is in use'));
    this.#opened = true;
    return Promise.resolve(this.durable);
  }

  append(batch: LogBatch): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (!this.#opened) return Promise.reject(new Error('Cannot append to log: it is not open'));
    if (!batch.sync && batch.entries.length === 0 && batch.snapshot === undefined) {
      this.#queue.push({ batch, resolve: () => {}, reject: () => {} });
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ batch, resolve, reject });
      if (!this.#writing) this.#writeGroup();
    });
  }

  #writeGroup(): void {
    const group = this.#queue;
    const incarnation = this.#incarnation;
    this.#queue = [];
    this.#writing = group.length > 0;
    this.#inFlight = group;
    if (!this.#writing) return;
    this.#cancelTimer = this.#options.runtime.setTimer(this.#options.syncDelayMs?.() ?? 0, () => {
      if (incarnation !== this.#incarnation) return;
      for (const { batch } of group) this.#disk = applyBatch(this.#disk, batch);
      for (const { resolve } of group) resolve();
      this.#inFlight = [];
      this.#writing = false;
      if (this.#queue.length > 0) this.#writeGroup();
    });
  }

  compact(upTo: Index): Promise<void> {
    if (upTo > (this.#disk.snapshot?.index ?? 0)) {
      return Promise.reject(new Error(`Cannot compact log to ${String(upTo)}: no snapshot covers it`));
    }
    this.#disk = { ...this.#disk, entries: this.#disk.entries.filter((entry) => entry.index > upTo) };
    return Promise.resolve();
  }

  close(): Promise<void> {
    for (const { batch, resolve } of [...this.#inFlight, ...this.#queue]) {
      this.#disk = applyBatch(this.#disk, batch);
      resolve();
    }
    this.crash();
    return Promise.resolve();
  }

  crash(): void {
    this.#incarnation += 1;
    this.#cancelTimer();
    this.#inFlight = [];
    this.#queue = [];
    this.#writing = false;
    this.#opened = false;
    this.#failure = undefined;
  }

  /** The disk breaks: everything pending and to come is rejected until `crash()`. */
  fail(error: Error): void {
    this.#failure = error;
    this.#incarnation += 1;
    this.#cancelTimer();
    for (const { reject } of [...this.#inFlight, ...this.#queue]) reject(error);
    this.#inFlight = [];
    this.#queue = [];
    this.#writing = false;
  }
}

function applyBatch(disk: DurableLog, batch: LogBatch): DurableLog {
  let { hardState, snapshot, entries } = disk;
  hardState = batch.hardState ?? hardState;
  if (batch.snapshot !== undefined) {
    entries = entriesBehind(entries, batch.snapshot);
    snapshot = batch.snapshot;
  }
  const first = batch.entries[0];
  if (first !== undefined) {
    const last = entries.at(-1)?.index ?? snapshot?.index ?? 0;
    if (first.index > last + 1) throw new Error(`log gap: entry ${String(first.index)} follows ${String(last)}`);
    entries = [...entries.filter((entry) => entry.index < first.index), ...batch.entries];
  }
  return { hardState, snapshot, entries };
}

/** Entries that agree with the snapshot stay; a log that does not contain it is worthless. */
function entriesBehind(entries: readonly Entry[], snapshot: SnapshotMeta): readonly Entry[] {
  const first = entries[0];
  if (first === undefined || snapshot.index < first.index) return entries;
  const same = entries.some((entry) => entry.index === snapshot.index && entry.term === snapshot.term);
  return same ? entries.filter((entry) => entry.index > snapshot.index) : [];
}

function never<T>(): Promise<T> {
  return new Promise(() => {});
}

interface Stored {
  readonly meta: SnapshotMeta;
  readonly chunks: readonly Uint8Array[];
}

/** The object is the disk. A snapshot is durable when `create` or `commit` resolves; one being written dies in a crash. */
export class MemorySnapshotStore implements SnapshotStore {
  readonly #stored = new Map<string, Stored>();
  #count = 0;
  #incarnation = 0;

  /** The store as seen by one incarnation: after the next crash it changes nothing any more. */
  session(): SnapshotStore {
    const incarnation = this.#incarnation;
    const alive = () => incarnation === this.#incarnation;
    return {
      create: (meta, chunks) => (alive() ? this.create(meta, chunks) : never()),
      open: (id) => (alive() ? this.open(id) : never()),
      receive: (meta) => (alive() ? this.receive(meta) : never()),
      prune: (keep, pinned) => (alive() ? this.prune(keep, pinned) : never()),
    };
  }

  get ids(): readonly string[] {
    return [...this.#stored.keys()];
  }

  async create(meta: Omit<SnapshotMeta, 'id'>, chunks: AsyncIterable<Uint8Array>): Promise<SnapshotMeta> {
    const sink = await this.receive({ ...meta, id: '' });
    for await (const chunk of chunks) await sink.write(chunk);
    return sink.commit();
  }

  open(id: string): Promise<{ meta: SnapshotMeta; chunks: AsyncIterable<Uint8Array> }> {
    const stored = this.#stored.get(id);
    if (stored === undefined) return Promise.reject(new Error(`Cannot open snapshot: no snapshot ${id}`));
    return Promise.resolve({ meta: stored.meta, chunks: iterate(stored.chunks) });
  }

  receive(meta: SnapshotMeta): Promise<SnapshotSink> {
    const parts: Uint8Array[] = [];
    const incarnation = this.#incarnation;
    this.#count += 1;
    const stored: Stored = { meta: { ...meta, id: `snapshot-${String(this.#count)}` }, chunks: parts };
    return Promise.resolve({
      write: (chunk) => {
        parts.push(new Uint8Array(chunk));
        return Promise.resolve();
      },
      commit: () => {
        if (incarnation === this.#incarnation) this.#stored.set(stored.meta.id, stored);
        return Promise.resolve(stored.meta);
      },
      abort: () => Promise.resolve(),
    });
  }

  prune(keep: number, pinned?: string): Promise<void> {
    const newestFirst = [...this.#stored.values()].reverse().sort((a, b) => b.meta.index - a.meta.index);
    for (const { meta } of newestFirst.slice(keep)) if (meta.id !== pinned) this.#stored.delete(meta.id);
    return Promise.resolve();
  }

  crash(): void {
    this.#incarnation += 1;
  }
}

async function* iterate(chunks: readonly Uint8Array[]): AsyncIterable<Uint8Array> {
  yield* chunks;
}
