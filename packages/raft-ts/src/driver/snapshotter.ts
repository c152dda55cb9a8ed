/** Moves snapshots: takes our own, streams them to peers, stores those that a leader streams to us. */
import type { ConfState, EntryId, Index, InstallSnapshot, NodeId, SnapshotMeta } from '../core/types.ts';
import type { Settings } from './options.ts';

export interface SnapshotHost {
  /** Runs in the node's next turn, where the core may be called. */
  run(event: () => void): void;
  step(message: InstallSnapshot): void;
  report(id: NodeId, ok: boolean): void;
  /** A snapshot with this index would tell this node nothing, or its sender is no longer leader. */
  isStale(message: InstallSnapshot): boolean;
  /** The stored snapshot of our own state; makes the log refer to it and drops what it covers. */
  taken(meta: SnapshotMeta): Promise<void>;
}

interface Stream {
  readonly index: Index;
  readonly abort: AbortController;
}

class SnapshotRefused extends Error {
  override readonly name = 'SnapshotRefused';
}

export class Snapshotter<R> {
  readonly #settings: Settings<R>;
  readonly #host: SnapshotHost;
  readonly #sending = new Map<NodeId, Stream>();
  #receiving: Stream | undefined;
  #creating: Promise<void> | undefined;
  #closed = false;

  constructor(settings: Settings<R>, host: SnapshotHost) {
    this.#settings = settings;
    this.#host = host;
  }

  get busy(): boolean {
    return this.#creating !== undefined;
  }

  /** The oldest snapshot on its way to a peer, which will need the entries behind it. */
  oldestSending(): Index {
    let oldest = Number.MAX_SAFE_INTEGER;
    for (const { index } of this.#sending.values()) oldest = Math.min(oldest, index);
    return oldest;
  }

  /** Must be called right after the entry `at` was applied. Rejects when the disk does. */
  create(at: EntryId, conf: ConfState): Promise<void> {
    const { snapshots, machine } = this.#settings;
    const chunks = machine.snapshot();
    const work = snapshots.create({ term: at.term, index: at.index, conf }, chunks).then((meta) => {
      return this.#closed ? undefined : this.#host.taken(meta);
    });
    const done = work.finally(() => {
      this.#creating = undefined;
    });
    this.#creating = done.catch(() => {});
    return done;
  }

  send(message: InstallSnapshot): void {
    const { to } = message;
    this.#sending.get(to)?.abort.abort(new SnapshotRefused('superseded by a newer stream'));
    const stream: Stream = { index: message.snapshot.index, abort: new AbortController() };
    this.#sending.set(to, stream);
    const finish = (ok: boolean) => {
      if (this.#sending.get(to) !== stream) return;
      this.#sending.delete(to);
      this.#host.run(() => this.#host.report(to, ok));
    };
    this.#stream(message, stream.abort).then(
      () => finish(true),
      () => finish(false),
    );
  }

  async #stream(message: InstallSnapshot, abort: AbortController): Promise<void> {
    const watchdog = this.#watch(abort);
    try {
      const { chunks } = await this.#settings.snapshots.open(message.snapshot.id);
      await this.#settings.transport.sendSnapshot(message, observed(chunks, watchdog.alive), abort.signal);
    } finally {
      watchdog.stop();
    }
  }

  /** Stores what a leader streams, then steps its message; gives up the stream for a later leader's. */
  async receive(message: InstallSnapshot, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    if (this.#closed) throw new SnapshotRefused('Cannot receive snapshot: node is closed');
    if (this.#host.isStale(message)) return this.#deliver(message);
    if (this.#receiving !== undefined && message.snapshot.index < this.#receiving.index) {
      throw new SnapshotRefused('Cannot receive snapshot: a newer one is being received');
    }
    this.#receiving?.abort.abort(new SnapshotRefused('Cannot receive snapshot: a newer one began'));
    const stream: Stream = { index: message.snapshot.index, abort: new AbortController() };
    this.#receiving = stream;
    const watchdog = this.#watch(stream.abort);
    try {
      const stored = await this.#store(message, chunks, { signal: stream.abort.signal, alive: watchdog.alive });
      await this.#deliver({ ...message, snapshot: stored });
    } finally {
      watchdog.stop();
      if (this.#receiving === stream) this.#receiving = undefined;
    }
  }

  async #store(
    message: InstallSnapshot,
    chunks: AsyncIterable<Uint8Array>,
    stream: { readonly signal: AbortSignal; readonly alive: () => void },
  ): Promise<SnapshotMeta> {
    const sink = await this.#settings.snapshots.receive(message.snapshot);
    try {
      for await (const chunk of abortable(chunks, stream.signal)) {
        stream.alive();
        await sink.write(chunk);
      }
      stream.signal.throwIfAborted();
      if (this.#closed) throw new SnapshotRefused('Cannot receive snapshot: node is closed');
      return await sink.commit();
    } catch (error) {
      await sink.abort();
      throw error;
    }
  }

  #deliver(message: InstallSnapshot): Promise<void> {
    return new Promise((resolve) => {
      this.#host.run(() => {
        this.#host.step(message);
        resolve();
      });
    });
  }

  #watch(abort: AbortController): { readonly alive: () => void; readonly stop: () => void } {
    const { runtime, snapshotStallMs } = this.#settings;
    const expire = () => abort.abort(new SnapshotRefused('snapshot stream made no progress'));
    let cancel = runtime.setTimer(snapshotStallMs, expire);
    const alive = () => {
      cancel();
      cancel = runtime.setTimer(snapshotStallMs, expire);
    };
    return { alive, stop: () => cancel() };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const reason = new SnapshotRefused('node is closed');
    for (const { abort } of this.#sending.values()) abort.abort(reason);
    this.#sending.clear();
    this.#receiving?.abort.abort(reason);
    await this.#creating;
  }
}

async function* observed(chunks: AsyncIterable<Uint8Array>, alive: () => void): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    alive();
    yield chunk;
  }
  alive();
}

/** Ends with the signal's reason even while the source is silent. */
async function* abortable(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncIterable<Uint8Array> {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  aborted.catch(() => {});
  const source = chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([source.next(), aborted]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // Not awaited: a source that hangs would hold us as well.
    source.return?.().catch(() => {});
  }
}
