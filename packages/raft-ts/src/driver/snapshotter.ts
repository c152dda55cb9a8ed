/**
 * Moves snapshots: takes our own, streams them to peers, stores those that a leader streams to us. Every stream ends in
 * bounded time and is reported, however it ends; a stream that broke off goes on, next time, behind what has been stored.
 */
import type { ConfState, EntryId, Index, InstallSnapshot, NodeId, SnapshotMeta, Term } from '../core/types.ts';
import type { IncomingSnapshot, SnapshotSink } from '../ports.ts';
import { SnapshotMismatch } from '../wal/errors.ts';
import { storageFault } from './errors.ts';
import type { Metrics } from './metrics.ts';
import type { Settings } from './options.ts';
import { abortable, observed, orAborted, Watchdog } from './streams.ts';

export interface SnapshotHost {
  readonly metrics: Metrics;
  /** Runs in the node's next turn, where the core may be called. */
  run(event: () => void): void;
  step(message: InstallSnapshot): void;
  /** The stream to `id` is over. */
  sent(id: NodeId, ok: boolean): void;
  /** A snapshot with this index would tell this node nothing, or its sender is no longer leader. */
  isStale(message: InstallSnapshot): boolean;
  /** The stored snapshot of our own state; makes the log refer to it and drops what it covers. */
  taken(meta: SnapshotMeta): Promise<void>;
  trace(kind: string, detail: Readonly<Record<string, unknown>>): void;
  fail(error: unknown): void;
}

interface Stream {
  readonly term: Term;
  readonly index: Index;
  readonly abort: AbortController;
}

interface Receiving extends Stream {
  /** Settles when the stream no longer touches the disk; never rejects. */
  readonly over: Promise<unknown>;
}

/** What is to happen, not something that broke. */
class SnapshotRefused extends Error {
  override readonly name = 'SnapshotRefused';
}

export class Snapshotter<R> {
  readonly #settings: Settings<R>;
  readonly #host: SnapshotHost;
  readonly #sending = new Map<NodeId, Stream>();
  #receiving: Receiving | undefined;
  #creating: Promise<void> | undefined;
  /** A partial snapshot that turned out not to be the beginning of what was sent. */
  #distrusted: string | undefined;
  #closed = false;

  constructor(settings: Settings<R>, host: SnapshotHost) {
    this.#settings = settings;
    this.#host = host;
  }

  get busy(): boolean {
    return this.#creating !== undefined;
  }

  get sendingCount(): number {
    return this.#sending.size;
  }

  isSending(to: NodeId): boolean {
    return this.#sending.has(to);
  }

  /** Must be called right after the entry `at` was applied. Rejects when the disk does. */
  create(at: EntryId, conf: ConfState): Promise<void> {
    const { snapshots, machine } = this.#settings;
    const chunks = machine.snapshot();
    const work = snapshots.create({ term: at.term, index: at.index, conf }, chunks).then((meta) => {
      if (this.#closed) return undefined;
      this.#host.metrics.snapshotsTaken += 1;
      this.#host.trace('snapshot-taken', { index: meta.index, id: meta.id });
      return this.#host.taken(meta);
    });
    const done = work.finally(() => {
      this.#creating = undefined;
    });
    this.#creating = done.catch(() => {});
    return done;
  }

  // Sending.

  send(message: InstallSnapshot): void {
    const { to, term, snapshot } = message;
    this.#sending.get(to)?.abort.abort(new SnapshotRefused('superseded by a newer stream'));
    const stream: Stream = { term, index: snapshot.index, abort: new AbortController() };
    this.#sending.set(to, stream);
    this.#host.metrics.messagesOut.snapshot += 1;
    this.#stream(message, stream.abort).then(
      () => this.#sent(to, stream),
      (error: unknown) => this.#sent(to, stream, error),
    );
  }

  /** Nobody waits for what a former leader sends. */
  stopSending(): void {
    const reason = new SnapshotRefused('no longer the leader');
    for (const { abort } of this.#sending.values()) abort.abort(reason);
    this.#sending.clear();
  }

  #sent(to: NodeId, stream: Stream, error?: unknown): void {
    if (this.#sending.get(to) !== stream) return;
    this.#sending.delete(to);
    const { metrics } = this.#host;
    const { index } = stream;
    if (error === undefined) {
      metrics.snapshotsSent += 1;
      this.#host.trace('snapshot-sent', { to, index });
    } else {
      metrics.snapshotSendsFailed += 1;
      this.#host.trace('snapshot-not-sent', { to, index, why: whyOf(error) });
    }
    this.#host.run(() => this.#host.sent(to, error === undefined));
  }

  async #stream(message: InstallSnapshot, abort: AbortController): Promise<void> {
    const watchdog = this.#watch(abort);
    const { snapshots, transport } = this.#settings;
    const { signal } = abort;
    const { metrics } = this.#host;
    const brokenDisk = (error: unknown): never => {
      // A leader that cannot read its snapshot is no use to anybody: another one may.
      if (!signal.aborted) this.#host.fail(storageFault(error));
      throw error;
    };
    const work = async () => {
      const { chunks } = await snapshots.open(message.snapshot.id).catch(brokenDisk);
      const noticed = (bytes: number) => {
        watchdog.alive();
        metrics.snapshotBytesSent += bytes;
      };
      await transport.sendSnapshot(message, observed(chunks, { noticed, broken: brokenDisk }), signal);
    };
    try {
      // Raced, so that a disk or transport that hangs is reported like any other failure.
      await orAborted(work(), signal);
    } finally {
      watchdog.stop();
    }
  }

  // Receiving.

  /** Stores what a leader streams, then steps its message; gives up the stream for a later leader's. */
  async receive(message: InstallSnapshot, chunks: IncomingSnapshot): Promise<void> {
    if (this.#closed) throw new SnapshotRefused('Cannot receive snapshot: node is closed');
    this.#host.metrics.messagesIn.snapshot += 1;
    if (this.#host.isStale(message)) return this.#deliver(message);
    const { term, snapshot } = message;
    const current = this.#receiving;
    if (current !== undefined && (term < current.term || (term === current.term && snapshot.index < current.index))) {
      throw new SnapshotRefused('Cannot receive snapshot: a newer one is being received');
    }
    current?.abort.abort(new SnapshotRefused('Cannot receive snapshot: a newer one began'));
    const abort = new AbortController();
    const work = this.#receiveAfter(current?.over, message, { chunks, abort });
    const stream: Receiving = { term, index: snapshot.index, abort, over: work.catch(() => {}) };
    this.#receiving = stream;
    try {
      await work;
    } finally {
      if (this.#receiving === stream) this.#receiving = undefined;
    }
  }

  async #receiveAfter(
    earlier: Promise<unknown> | undefined,
    message: InstallSnapshot,
    stream: { readonly chunks: IncomingSnapshot; readonly abort: AbortController },
  ): Promise<void> {
    const { metrics } = this.#host;
    const { index } = message.snapshot;
    const watchdog = this.#watch(stream.abort);
    try {
      // Both may write to the same partial file.
      await earlier;
      const stored = await this.#store(message, stream.chunks, { signal: stream.abort.signal, watchdog });
      metrics.snapshotsReceived += 1;
      this.#host.trace('snapshot-received', { from: message.from, index });
      await this.#deliver({ ...message, snapshot: stored });
    } catch (error) {
      metrics.snapshotReceivesFailed += 1;
      this.#host.trace('snapshot-not-received', { from: message.from, index, why: whyOf(error) });
      throw error;
    } finally {
      watchdog.stop();
    }
  }

  async #store(
    message: InstallSnapshot,
    chunks: IncomingSnapshot,
    stream: { readonly signal: AbortSignal; readonly watchdog: Watchdog },
  ): Promise<SnapshotMeta> {
    const { id } = message.snapshot;
    const resume = chunks.resumeAt !== undefined && this.#distrusted !== id;
    this.#distrusted = undefined;
    const { snapshots } = this.#settings;
    const sink = await this.#disk(snapshots.receive(message.snapshot, { resume }));
    try {
      if (resume) this.#resume(chunks, sink);
      await this.#fill(sink, chunks, stream);
      stream.signal.throwIfAborted();
      if (this.#closed) throw new SnapshotRefused('Cannot receive snapshot: node is closed');
      return await this.#disk(sink.commit());
    } catch (error) {
      if (error instanceof SnapshotMismatch) this.#distrusted = id;
      // Whatever it says, the first error counts.
      await sink.abort().catch(() => {});
      throw error;
    }
  }

  #resume(chunks: IncomingSnapshot, sink: SnapshotSink): void {
    const { offset = 0, checksum } = sink;
    this.#host.metrics.snapshotBytesResumed += offset;
    chunks.resumeAt?.(offset, checksum);
  }

  async #fill(
    sink: SnapshotSink,
    chunks: IncomingSnapshot,
    { signal, watchdog }: { readonly signal: AbortSignal; readonly watchdog: Watchdog },
  ): Promise<void> {
    const { maxSnapshotBytes } = this.#settings.bounds;
    let bytes = sink.offset ?? 0;
    for await (const chunk of abortable(chunks, signal)) {
      watchdog.alive();
      bytes += chunk.length;
      this.#host.metrics.snapshotBytesReceived += chunk.length;
      if (bytes > maxSnapshotBytes) throw new SnapshotRefused('Cannot receive snapshot: it is too large');
      await this.#disk(sink.write(chunk));
    }
  }

  /** A failing disk stops the node: what it kept of the snapshot is anybody's guess. */
  async #disk<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      // Wrong bytes are the sender's doing, or the way's.
      if (!this.#closed && !(error instanceof SnapshotMismatch)) this.#host.fail(storageFault(error));
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

  #watch(abort: AbortController): Watchdog {
    const { runtime, snapshotStallMs } = this.#settings;
    return new Watchdog(runtime, snapshotStallMs, () =>
      abort.abort(new SnapshotRefused('snapshot stream made no progress')),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    const reason = new SnapshotRefused('node is closed');
    for (const { abort } of this.#sending.values()) abort.abort(reason);
    this.#sending.clear();
    this.#receiving?.abort.abort(reason);
    await this.#receiving?.over;
    await this.#creating;
  }
}

function whyOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
