/**
 * What the driver needs from the world. Each port has a real implementation (`wal/`, `transport/grpc/`) and one for
 * simulation (`sim/`), and both pass the same contract suite.
 */
import type { ConfState, Entry, HardState, Index, Message, NodeId, RandomSource, SnapshotMeta } from './core/types.ts';

/** What one Ready adds to the log. `sync` false: losing it in a crash would be harmless. */
export interface LogBatch {
  readonly hardState?: HardState;
  readonly entries: readonly Entry[];
  /** The log now starts behind this snapshot. */
  readonly snapshot?: SnapshotMeta;
  readonly sync: boolean;
}

/** What a log held when it was opened. */
export interface OpenedLog {
  readonly hardState: HardState;
  /** The newest durable snapshot, if any; `entries` follow it without a gap. */
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
  /**
   * Entries up to the snapshot's index that are still on disk, consecutive, the last one being the snapshot's own: what
   * `compact` was asked to keep for followers that lag. There may be more of them than were asked for.
   */
  readonly retained?: readonly Entry[];
}

/** The durable log. A batch is atomic; batches become durable in the order given. Any rejection is fatal for the node. */
export interface LogStore {
  open(): Promise<OpenedLog>;
  append(batch: LogBatch): Promise<void>;
  /** Entries up to and including `upTo` are no longer needed (they are covered by a durable snapshot). */
  compact(upTo: Index): Promise<void>;
  close(): Promise<void>;
}

/** A snapshot on its way in. */
export interface SnapshotSink {
  /**
   * Payload bytes of this very snapshot that an earlier, broken-off receive left durable and verified: what is written
   * goes behind them. Absent means 0.
   */
  readonly offset?: number;
  /** CRC-32C of those first `offset` bytes; with it the receiver checks the whole payload, without it only the rest. */
  readonly checksum?: number;
  /** Resolves when the sink can take more: this is the receiver's back-pressure. */
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the snapshot durable and gives its meta with the local id. */
  commit(): Promise<SnapshotMeta>;
  /** Gives up. A resumable sink keeps what is durable for the next receive of the same snapshot. */
  abort(): Promise<void>;
}

/** How to take in a snapshot. */
export interface ReceiveOptions {
  /** Go on where an earlier receive of the same snapshot broke off. Otherwise what it left is thrown away. */
  readonly resume?: boolean;
}

/** Durable snapshots. A rejection counts as a broken disk and stops the node, but for `SnapshotMismatch` (see raft-ts/wal). */
export interface SnapshotStore {
  /** Writes a snapshot durably, checksummed, and gives its meta with its id. */
  create(meta: Omit<SnapshotMeta, 'id'>, chunks: AsyncIterable<Uint8Array>): Promise<SnapshotMeta>;
  open(id: string): Promise<{ readonly meta: SnapshotMeta; readonly chunks: AsyncIterable<Uint8Array> }>;
  /**
   * `meta.id` is the sender's name for it. A store that resumes gives out ids by content: whoever sends a snapshot of the
   * same id, term and index sends the same bytes.
   */
  receive(meta: SnapshotMeta, options?: ReceiveOptions): Promise<SnapshotSink>;
  /** Removes all but the newest `keep` snapshots; never `pinned`, the one that the log refers to. */
  prune(keep: number, pinned?: string): Promise<void>;
}

/** Turns bytes into what goes to disk and back: encryption at rest. Must be stateless per record. */
export interface Sealer {
  seal(plain: Uint8Array): Uint8Array;
  /** Throws when the bytes were not sealed with a known key. */
  open(sealed: Uint8Array): Uint8Array;
}

/** What is replicated. Every node applies the same entries in the same order, so all must come to the same state. */
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

/** A snapshot's payload as it arrives. */
export interface IncomingSnapshot extends AsyncIterable<Uint8Array> {
  /**
   * Asks the sender to leave out the first `offset` bytes, which are here already; before the first chunk is asked for.
   * `checksum` is their CRC-32C. Absent where the transport always sends all.
   */
  resumeAt?(offset: number, checksum?: number): void;
}

/** Messages between nodes. Losing, delaying, doubling and reordering are allowed; changing bytes is not. */
export interface Transport {
  /** Never blocks; drops when over budget (and reports the peer unreachable). */
  send(to: NodeId, batch: readonly Message[]): void;
  /**
   * Streams snapshot bytes, no faster than the receiver takes them; resolves when it has stored and stepped the snapshot.
   * `chunks` is the whole payload: what the receiver has already is read past.
   */
  sendSnapshot(
    message: Message & { type: 'snapshot' },
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void>;
  setPeers(peers: ReadonlyMap<NodeId, string>): void;
  onMessages(handle: (messages: readonly Message[]) => void): void;
  onUnreachable(handle: (id: NodeId) => void): void;
  onSnapshot(handle: (message: Message & { type: 'snapshot' }, chunks: IncomingSnapshot) => Promise<void>): void;
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
