/**
 * The vocabulary of raft-ts: plain values only. Terms, indexes and node ids are safe integers (below 2^53).
 * Sources: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended version), called
 * [paper §n] below, and Ongaro's dissertation, called [thesis §n].
 */

/** Unique for all time: an id is never given to a second node, not even after removal. 1 … 2^53−1. */
export type NodeId = number;
/** Leaderships, numbered; 0 before the first [paper §5.1]. */
export type Term = number;
/** Place in the log; the first entry has 1, 0 is before it. */
export type Index = number;

/** Names an entry: two entries of the same term and index are the same [paper §5.3, Log Matching]. */
export interface EntryId {
  readonly term: Term;
  readonly index: Index;
}

/** Config: a membership change, encoded by `encodeConfChange`. */
export const EntryKind = { Normal: 0, Config: 1 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** One place of the log. */
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

/** A precandidate asks whether it could win, without disturbing anybody [thesis §9.6]. */
export type Role = 'follower' | 'precandidate' | 'candidate' | 'leader';

/**
 * `voter` also promotes a learner, `learner` also demotes a voter; `update` changes nothing but what the host keeps.
 */
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

/** All of them bound memory; none of them is needed for safety. */
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

/** Settings of one node. Ticks are calls of `RaftCore.tick`. */
export interface CoreConfig {
  readonly id: NodeId;
  /** Ticks without a leader before campaigning; each wait is drawn from (electionTicks, 2·electionTicks]. */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly stepDownOnRemoval: boolean;
  /**
   * Leases for reads [thesis §6.4.1]; needs checkQuorum, and the same setting on all nodes. Heartbeats then come in
   * numbered rounds, shown in Ready, and nodes promise not to elect anybody for electionTicks after they heard of a leader
   * or started. Default false.
   */
  readonly leaseReads?: boolean;
  /** Followers hand proposals on to the leader; their outcome is then unknown to the proposer. Default false. */
  readonly forwardProposals?: boolean;
  /**
   * The host makes each append task durable before it begins with the apply task of the same Ready (as SyncRaft does), so
   * that committed entries may be handed out together with their write. Default false.
   */
  readonly appendBeforeApply?: boolean;
  readonly limits: CoreLimits;
  readonly random: RandomSource;
  readonly trace?: (event: TraceEvent) => void;
  /** For one test tool only (docs/transcripts.md): does as etcd's library does where this one does better. */
  readonly compat?: 'etcd-transcripts';
}

/** One transition; `kind` and `detail` are listed in docs/trace.md. Events are made only when somebody listens. */
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

/** What the host read from its disk. `applied`: what its state machine holds already, at least up to the snapshot. */
export interface Recovered {
  readonly hardState: HardState;
  readonly conf: ConfState;
  readonly applied: Index;
}

/** Why nothing was begun; unless it was forwarded, what was asked certainly never happens. */
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
  | {
      readonly ok: false;
      readonly reason: DropReason;
      readonly leader: NodeId | 0;
      /** With forwardProposals: it is on its way to `leader`, and what becomes of it is not known here. */
      readonly forwarded?: true;
    };

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
/** Success: `match`. Refusal: `reject`, with the follower's best guess of where the logs part [paper §5.3, end]. */
export interface AppendAck extends Head {
  readonly type: 'append-ack';
  readonly epoch: Index;
  readonly match?: Index;
  readonly reject?: { readonly prev: Index; readonly hint: EntryId };
}
/**
 * RequestVote, or with `pre` the question before it [paper fig. 2, thesis §9.6]. `last`: the end of the candidate's
 * log.
 */
export interface Vote extends Head {
  readonly type: 'vote';
  readonly pre: boolean;
  /** Campaign asked for by the leader: overrides the refusal while a leader lives. */
  readonly transfer: boolean;
  readonly last: EntryId;
  readonly committed: EntryId;
}
/** The answer to `Vote`. Both carry what their sender knows to be committed. */
export interface VoteAck extends Head {
  readonly type: 'vote-ack';
  readonly pre: boolean;
  readonly granted: boolean;
  readonly committed: EntryId;
}
/** The leader lives. `commit` is never beyond what this follower is known to hold. */
export interface Heartbeat extends Head {
  readonly type: 'heartbeat';
  readonly commit: Index;
  /** Number of the round, echoed in the answer; 0 when there is nothing to prove. */
  readonly read: number;
}
/** The answer to `Heartbeat`. */
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
/** Leadership is handed over: campaign at once [thesis §3.10]. */
export interface TimeoutNow extends Head {
  readonly type: 'timeout-now';
}
/** A follower asks the leader for a read index [thesis §6.4]. `token` is the asker's. */
export interface ReadQuery extends Head {
  readonly type: 'read-query';
  readonly token: number;
}
/** The leader was the leader after it was asked; what is applied up to `index` may be read. */
export interface ReadAnswer extends Head {
  readonly type: 'read-answer';
  readonly token: number;
  /** 0 = refused, ask again. */
  readonly index: Index;
}
/** A follower's proposal on its way to the leader; only with forwardProposals. */
export interface Forward extends Head {
  readonly type: 'forward';
  readonly kind: EntryKind;
  readonly payloads: readonly Uint8Array[];
}

/** All that travels between nodes. Losing, delaying, doubling and reordering are allowed. */
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
  | ReadAnswer
  | Forward;

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

/** Committed entries in order, never handed out twice. `bytes` of payload in all. */
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
  /**
   * With leaseReads: the newest round whose heartbeats are in `send`. The host notes its clock before it sends them. Rounds
   * grow for as long as the core lives.
   */
  readonly round?: number;
  /**
   * With leaseReads: the newest round that a quorum has acknowledged; a lease may run from that round's send time. May come
   * together with `round` of the same number (a single voter). A new role or term in `state` voids all earlier rounds.
   */
  readonly confirmedRound?: number;
}

/** What the leader knows of a peer: it holds everything up to `match`, and is sent `next` next. */
export interface PeerProgress {
  readonly id: NodeId;
  readonly match: Index;
  readonly next: Index;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly recentlyActive: boolean;
  readonly learner: boolean;
  /** No append is sent until the peer speaks up. */
  readonly paused: boolean;
  /** Index of the snapshot under way, 0 when there is none. */
  readonly pendingSnapshot: Index;
  /** Append messages on the way. */
  readonly inflight: number;
}

/** A picture of one node for people and programs. */
export interface Status {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly vote: NodeId | 0;
  readonly leader: NodeId | 0;
  readonly transferee: NodeId | 0;
  readonly commit: Index;
  readonly applied: Index;
  readonly lastIndex: Index;
  readonly firstIndex: Index;
  readonly conf: ConfState;
  /** Leader only. */
  readonly progress: readonly PeerProgress[];
}
