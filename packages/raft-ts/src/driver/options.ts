import type { ConfState, CoreConfig, CoreLimits, NodeId, TraceEvent } from '../core/types.ts';
import type { LogStore, Runtime, SnapshotStore, StateMachine, Transport } from '../ports.ts';
import { lateTicksMax } from './ticker.ts';

/** Bounds of the node's own queues; beyond them callers get `ProposalDropped('queue-full')`, and messages are lost. */
export interface NodeBounds {
  /** Proposals waiting to be taken in, or taken in and not yet resolved. */
  readonly maxProposals: number;
  /** Payload bytes of proposals waiting to be taken in. */
  readonly maxQueuedBytes: number;
  readonly maxReads: number;
  /** Membership changes, transfers and waits for a peer to catch up. */
  readonly maxRequests: number;
  /** Received messages, and their bytes, between two turns of the node. */
  readonly maxInboxMessages: number;
  readonly maxInboxBytes: number;
  /** Larger snapshots are refused. */
  readonly maxSnapshotBytes: number;
  /** Entries given to the state machine before messages and disk get their turn again, and the time for it. */
  readonly maxApplyEntries: number;
  readonly maxApplyMs: number;
}

/** Times are in milliseconds, sizes in bytes. Whatever has a default may be left out. */
export interface RaftNodeOptions<R> {
  readonly id: NodeId;
  readonly log: LogStore;
  readonly snapshots: SnapshotStore;
  readonly machine: StateMachine<R>;
  readonly transport: Transport;
  readonly runtime: Runtime;
  /**
   * The first configuration of a new cluster, used only while the log is empty. Every node that bootstraps must be
   * given the same one, and the same initial state. A node that joins later is given none: the leader sends it all.
   */
  readonly bootstrap?: ConfState;
  /**
   * Makes this node the only voter of its group: the way out when the majority is lost for good. All of its log counts as
   * committed; entries that the lost majority had committed and this node never got are gone. Take the survivor with the
   * longest log. The other members must never be started again; join them anew under new ids. Give it once, not at every
   * start.
   */
  readonly forceNewCluster?: boolean;
  readonly peers: ReadonlyMap<NodeId, string>;
  readonly tickMs?: number;
  readonly electionTicks?: number;
  readonly heartbeatTicks?: number;
  /**
   * Asks whether an election could be won before it enters a new term, so that a node which was cut off disturbs nobody
   * when it comes back [thesis §9.6]. Default: true. May differ between nodes, e.g. while it is being switched.
   */
  readonly preVote?: boolean;
  /**
   * A leader that a quorum has not answered for an election timeout steps down, and nobody helps to elect another one
   * while a leader is heard of [thesis §6.2]. Default: true. May differ between nodes, unless `leaseReads` is on.
   */
  readonly checkQuorum?: boolean;
  /**
   * Allows `readBarrier({ mode: 'lease' })`; must be the same on all nodes, and needs `checkQuorum`. Its price: after a leader's death or a restart
   * nobody is elected for one election timeout. Rests on clocks that run almost equally fast, see `leaseMarginMs`, and do not stand still: Linux's monotonic
   * clock does while a machine is suspended, so leave this off where machines are.
   */
  readonly leaseReads?: boolean;
  /**
   * What a lease is shorter than the election timeout by. At least three ticks: a voter that was held up takes a heartbeat
   * and then counts, at once, up to three ticks of the time before it. What is beyond is for clocks that do not run
   * equally fast. Default: a tenth of the election timeout plus three ticks.
   */
  readonly leaseMarginMs?: number;
  /**
   * How long a leader may keep back a message that tells followers nothing but a new commit index, in the hope that the
   * next append carries it. 0: not at all.
   */
  readonly commitDelayMs?: number;
  /** A snapshot is taken after this many applied entries, or bytes, whichever comes first. */
  readonly snapshotEveryEntries?: number;
  readonly snapshotEveryBytes?: number;
  /** Entries behind the snapshot that stay in memory, so that a slow peer needs no snapshot. */
  readonly keepEntries?: number;
  readonly limits?: Partial<CoreLimits>;
  readonly bounds?: Partial<NodeBounds>;
  readonly maxProposalBytes?: number;
  readonly proposalTimeoutMs?: number;
  /** A snapshot stream that makes no progress for so long is given up. */
  readonly snapshotStallMs?: number;
  /** Events of core and driver as plain values, see `traceLine`. Called often; must not throw. */
  readonly trace?: (event: TraceEvent) => void;
}

type Optional = 'bootstrap' | 'trace';
export type Settings<R> = Required<Omit<RaftNodeOptions<R>, Optional | 'limits' | 'bounds'>> &
  Pick<RaftNodeOptions<R>, Optional> & { readonly limits: CoreLimits; readonly bounds: NodeBounds };

const defaultLimits: CoreLimits = {
  maxMessageBytes: 1 << 20,
  maxInflightMessages: 256,
  maxInflightBytes: 16 << 20,
  maxUncommittedBytes: 64 << 20,
  maxApplyBytes: 4 << 20,
  maxPendingReads: 4096,
};

const defaultBounds: NodeBounds = {
  maxProposals: 65_536,
  maxQueuedBytes: 64 << 20,
  maxReads: 65_536,
  maxRequests: 1024,
  maxInboxMessages: 8192,
  maxInboxBytes: 64 << 20,
  maxSnapshotBytes: 64 * 2 ** 30,
  maxApplyEntries: 4096,
  maxApplyMs: 10,
};

/** Those that come late, and the next one, which may follow right behind them. */
const leaseMarginTicks = lateTicksMax + 1;

/** Throws a RangeError for settings with which no cluster could work. */
export function settingsOf<R>(options: RaftNodeOptions<R>): Settings<R> {
  const { tickMs = 100, electionTicks = 10 } = options;
  const settings: Settings<R> = {
    heartbeatTicks: 1,
    preVote: true,
    checkQuorum: true,
    forceNewCluster: false,
    leaseReads: false,
    leaseMarginMs: Math.ceil((electionTicks * tickMs) / 10) + leaseMarginTicks * tickMs,
    commitDelayMs: 4,
    snapshotEveryEntries: 10_000,
    snapshotEveryBytes: 64 << 20,
    keepEntries: 500,
    // Below gRPC's default limit of 4 MiB per message, so that an entry of this size can travel.
    maxProposalBytes: 3 << 20,
    proposalTimeoutMs: 10_000,
    snapshotStallMs: 30_000,
    ...options,
    tickMs,
    electionTicks,
    limits: { ...defaultLimits, ...options.limits },
    bounds: { ...defaultBounds, ...options.bounds },
  };
  check(settings);
  return settings;
}

function check<R>(settings: Settings<R>): void {
  const { id, tickMs, electionTicks, heartbeatTicks, checkQuorum, leaseReads, leaseMarginMs } = settings;
  const refuse = (what: string): never => {
    throw new RangeError(`Cannot open raft node: ${what}`);
  };
  if (!Number.isSafeInteger(id) || id < 1) refuse(`id ${String(id)} is not a positive integer`);
  if (!(tickMs > 0)) refuse('tickMs must be positive');
  if (!Number.isInteger(heartbeatTicks) || heartbeatTicks < 1) refuse('heartbeatTicks must be at least 1');
  if (!Number.isInteger(electionTicks) || electionTicks <= heartbeatTicks) {
    refuse('electionTicks must be more than heartbeatTicks');
  }
  if (leaseReads && !checkQuorum) refuse('leaseReads needs checkQuorum');
  if (leaseReads && leaseMarginMs < leaseMarginTicks * tickMs) {
    refuse(`leaseMarginMs must be at least ${String(leaseMarginTicks)} ticks`);
  }
  const positive = { ...settings.limits, ...settings.bounds };
  for (const [name, value] of Object.entries(positive)) if (!(value > 0)) refuse(`${name} must be positive`);
}

export function coreConfigOf<R>(settings: Settings<R>): CoreConfig {
  const { id, electionTicks, heartbeatTicks, preVote, checkQuorum, leaseReads, limits, runtime, trace } = settings;
  return {
    id,
    electionTicks,
    heartbeatTicks,
    preVote,
    checkQuorum,
    stepDownOnRemoval: true,
    leaseReads,
    limits,
    random: runtime.random,
    ...(trace !== undefined && { trace }),
  };
}
