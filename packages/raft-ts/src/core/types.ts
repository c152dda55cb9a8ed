/**
 * The vocabulary of raft-ts: plain values only. Terms, indexes and node ids are safe integers (below 2^53).
 * Sources: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version), called
 * [paper §n] below, and Ongaro's dissertation, called [thesis §n].
 */

/** Unique for all time: an id is never given to a second node, not even after removal. 1 … 2^53−1. */
export type NodeId = number;
export type Term = number;
export type Index = number;

export interface EntryId {
  readonly term: Term;
  readonly index: Index;
}

export const EntryKind = { Normal: 0, Config: 1 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

export interface Entry extends EntryId {
  readonly kind: EntryKind;
  /** Owned by the log from the moment it is handed over; never mutated. Empty for a new leader's first entry. */
  readonly data: Uint8Array;
}

/** What must be on disk before any message that depends on it leaves [paper fig. 2]. `vote` 0 = none. */
export interface HardState {
  readonly term: Term;
  readonly vote: NodeId | 0;
  readonly commit: Index;
}

/** A configuration. `outgoing` is the old voter set while a joint change is under way [thesis §4.3], else empty. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly learnersNext: readonly NodeId[];
  readonly autoLeave: boolean;
}

/** A snapshot by reference: its bytes live in the SnapshotStore under `id` and never enter the core. */
export interface SnapshotMeta extends EntryId {
  readonly conf: ConfState;
  readonly id: string;
}

export type Role = 'follower' | 'precandidate' | 'candidate' | 'leader';

export interface ConfOp {
  readonly op: 'voter' | 'learner' | 'remove' | 'update';
  readonly id: NodeId;
}

/** A membership change; no `ops` means: leave the joint configuration. `context` is the host's (e.g. a peer address). */
export interface ConfChange {
  readonly transition: 'auto' | 'joint-implicit' | 'joint-explicit';
  readonly ops: readonly ConfOp[];
  readonly context?: Uint8Array;
}

/** The core's only source of chance. */
export interface RandomSource {
  uint32(): number;
}

export interface CoreLimits {
  /** Payload bytes of one append message; one larger entry still travels alone. */
  readonly maxMessageBytes: number;
  readonly maxInflightMessages: number;
  readonly maxInflightBytes: number;
  /** Payload bytes the leader takes on without commitment; beyond it proposals are dropped. */
  readonly maxUncommittedBytes: number;
  /** Payload bytes of one apply task. */
  readonly maxApplyBytes: number;
  readonly maxPendingReads: number;
}

export interface CoreConfig {
  readonly id: NodeId;
  /** Ticks without a leader before campaigning; each wait is drawn from (electionTicks, 2·electionTicks]. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly stepDownOnRemoval: boolean;
  readonly limits: CoreLimits;
  readonly random: RandomSource;
  readonly trace?: (event: TraceEvent) => void;
}

export interface TraceEvent {
  readonly node: NodeId;
  readonly term: Term;
  readonly kind: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Synchronous view of what is durable; the driver keeps it in memory. */
export interface StableLog {
  firstIndex(): Index;
  lastIndex(): Index;
  /** Valid for firstIndex−1 … lastIndex. */
  term(index: Index): Term | 'compacted' | 'unavailable';
  /** Entries of [low, high), at least one if low < high, then as many as fit in `maxBytes` of payload. */
  slice(low: Index, high: Index, maxBytes: number): readonly Entry[] | 'compacted';
  snapshot(): SnapshotMeta | 'not-ready';
}

export interface Recovered {
  readonly hardState: HardState;
  readonly conf: ConfState;
  readonly applied: Index;
}

export type DropReason =
  | 'no-leader'
  | 'not-leader'
  | 'transferring'
  | 'not-member'
  | 'too-much-uncommitted'
  | 'conf-pending'
  | 'conf-invalid'
  | 'too-large'
  | 'too-many-reads';

/** `at` is the id of the first entry of the batch. */
export type Proposed =
  | { readonly ok: true; readonly at: EntryId }
  | { readonly ok: false; readonly reason: DropReason; readonly leader: NodeId | 0 };

interface Head {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: Term;
}

/** `epoch` is the follower's progress epoch on the leader: an answer with another epoch belongs to an earlier membership. */
export interface Append extends Head {
  readonly type: 'append';
  readonly prev: EntryId;
  readonly entries: readonly Entry[];
  readonly commit: Index;
  readonly epoch: Index;
}
/** Success: `match`. Refusal: `reject`, with the follower's best guess of where the logs part [raft.md §3.6]. */
export interface AppendAck extends Head {
  readonly type: 'append-ack';
  readonly epoch: Index;
  readonly match?: Index;
  readonly reject?: { readonly prev: Index; readonly hint: EntryId };
}
export interface Vote extends Head {
  readonly type: 'vote';
  readonly pre: boolean;
  /** Campaign asked for by the leader: overrides the refusal while a leader lives. */
  readonly transfer: boolean;
  readonly last: EntryId;
  readonly committed: EntryId;
}
export interface VoteAck extends Head {
  readonly type: 'vote-ack';
  readonly pre: boolean;
  readonly granted: boolean;
  readonly committed: EntryId;
}
export interface Heartbeat extends Head {
  readonly type: 'heartbeat';
  readonly commit: Index;
  /** Counter of the read index design; 0 when no read waits. */
  readonly read: number;
}
export interface HeartbeatAck extends Head {
  readonly type: 'heartbeat-ack';
  readonly read: number;
}
/** Tells the driver to stream the snapshot; the receiving driver steps it in once the bytes are on disk. */
export interface InstallSnapshot extends Head {
  readonly type: 'snapshot';
  readonly snapshot: SnapshotMeta;
  readonly epoch: Index;
}
export interface TimeoutNow extends Head {
  readonly type: 'timeout-now';
}
export interface ReadQuery extends Head {
  readonly type: 'read-query';
  readonly token: number;
}
export interface ReadAnswer extends Head {
  readonly type: 'read-answer';
  readonly token: number;
  /** 0 = refused, ask again. */
  readonly index: Index;
}

export type Message =
  | Append
  | AppendAck
  | Vote
  | VoteAck
  | Heartbeat
  | HeartbeatAck
  | InstallSnapshot
  | TimeoutNow
  | ReadQuery
  | ReadAnswer;

/**
 * One batch for the disk: everything in it becomes durable together. `onDurable` may leave for the peers only afterwards.
 * Tasks are given out and must be reported back in order.
 */
export interface AppendTask {
  readonly seq: number;
  readonly hardState?: HardState;
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
  readonly mustSync: boolean;
  readonly onDurable: readonly Message[];
}

export interface ApplyTask {
  readonly seq: number;
  readonly entries: readonly Entry[];
  readonly bytes: number;
}

/** What the host has to do, in any order except: AppendTasks FIFO, ApplyTasks FIFO, `send` may go at once. */
export interface Ready {
  readonly state?: {
    readonly role: Role;
    readonly term: Term;
    readonly leader: NodeId | 0;
    readonly transferee: NodeId | 0;
  };
  readonly send: readonly Message[];
  readonly append?: AppendTask;
  readonly apply?: ApplyTask;
  readonly reads: readonly { readonly token: number; readonly index: Index }[];
  readonly readsFailed: readonly number[];
}

export interface PeerProgress {
  readonly id: NodeId;
  readonly match: Index;
  readonly next: Index;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly recentlyActive: boolean;
  readonly learner: boolean;
}

export interface Status {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: NodeId | 0;
  readonly leader: NodeId | 0;
  readonly commit: Index;
  readonly applied: Index;
  readonly lastIndex: Index;
  readonly firstIndex: Index;
  readonly conf: ConfState;
  /** Leader only. */
  readonly progress: readonly PeerProgress[];
}
