/**
 * What the driver needs from the world. Each port has a real implementation (`wal/`, `transport/grpc/`) and one for
 * simulation (`sim/`), and both pass the same contract suite.
 */
import type { ConfState, Entry, HardState, Index, Message, NodeId, RandomSource, SnapshotMeta } from './core/types.ts';

export interface LogBatch {
  readonly hardState?: HardState;
  readonly entries: readonly Entry[];
  /** The log now starts behind this snapshot. */
  readonly snapshot?: SnapshotMeta;
  readonly sync: boolean;
}

export interface OpenedLog {
  readonly hardState: HardState;
  /** The newest durable snapshot, if any; `entries` follow it without a gap. */
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
}

/** The durable log. A batch is atomic; batches become durable in the order given. Any rejection is fatal for the node. */
export interface LogStore {
  open(): Promise<OpenedLog>;
  append(batch: LogBatch): Promise<void>;
  /** Entries up to and including `upTo` are no longer needed (they are covered by a durable snapshot). */
  compact(upTo: Index): Promise<void>;
  close(): Promise<void>;
}

export interface SnapshotSink {
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the snapshot durable and gives its meta with the local id. */
  commit(): Promise<SnapshotMeta>;
  abort(): Promise<void>;
}

export interface SnapshotStore {
  /** Writes a snapshot durably, checksummed, and gives its meta with its id. */
  create(meta: Omit<SnapshotMeta, 'id'>, chunks: AsyncIterable<Uint8Array>): Promise<SnapshotMeta>;
  open(id: string): Promise<{ readonly meta: SnapshotMeta; readonly chunks: AsyncIterable<Uint8Array> }>;
  receive(meta: SnapshotMeta): Promise<SnapshotSink>;
  /** Removes all but the newest `keep` snapshots; never `pinned`, the one that the log refers to. */
  prune(keep: number, pinned?: string): Promise<void>;
}

/** Turns bytes into what goes to disk and back: encryption at rest. Must be stateless per record. */
export interface Sealer {
  seal(plain: Uint8Array): Uint8Array;
  /** Throws when the bytes were not sealed with a known key. */
  open(sealed: Uint8Array): Uint8Array;
}

export interface StateMachine<Result = unknown> {
  /** Deterministic; results in the order of `entries`. A throw is fatal for the node. */
  apply(entries: readonly Entry[]): readonly Result[];
  /** A cheap capture now (after the last applied entry), serialised lazily as `chunks` are read. */
  snapshot(): AsyncIterable<Uint8Array>;
  /** Replaces the whole state. */
  restore(meta: SnapshotMeta, chunks: AsyncIterable<Uint8Array>): Promise<void>;
  /** A membership change was applied; `context` is what the proposer gave with it. */
  configured?(conf: ConfState, context: Uint8Array | undefined): void;
}

/** Messages between nodes. Losing, delaying, doubling and reordering are allowed; changing bytes is not. */
export interface Transport {
  /** Never blocks; drops when over budget (and reports the peer unreachable). */
  send(to: NodeId, batch: readonly Message[]): void;
  /** Streams snapshot bytes; resolves when the receiver has stored and stepped it. */
  sendSnapshot(
    message: Message & { type: 'snapshot' },
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void>;
  setPeers(peers: ReadonlyMap<NodeId, string>): void;
  onMessages(handle: (messages: readonly Message[]) => void): void;
  onUnreachable(handle: (id: NodeId) => void): void;
  onSnapshot(
    handle: (message: Message & { type: 'snapshot' }, chunks: AsyncIterable<Uint8Array>) => Promise<void>,
  ): void;
  close(): Promise<void>;
}

/** Clock, timers and chance; real or simulated. */
export interface Runtime {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels. */
  setTimer(delayMs: number, run: () => void): () => void;
  /** Calls `run` after the current turn of the event loop: where the driver batches. */
  defer(run: () => void): void;
  readonly random: RandomSource;
}
