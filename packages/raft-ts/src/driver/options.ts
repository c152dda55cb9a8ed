import type { ConfState, CoreLimits, NodeId, TraceEvent } from '../core/types.ts';
import type { LogStore, Runtime, SnapshotStore, StateMachine, Transport } from '../ports.ts';

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
  readonly peers: ReadonlyMap<NodeId, string>;
  readonly tickMs?: number;
  readonly electionTicks?: number;
  readonly heartbeatTicks?: number;
  /** A snapshot is taken after this many applied entries, or bytes, whichever comes first. */
  readonly snapshotEveryEntries?: number;
  readonly snapshotEveryBytes?: number;
  /** Entries behind the snapshot that stay in memory, so that a slow peer needs no snapshot. */
  readonly keepEntries?: number;
  readonly limits?: Partial<CoreLimits>;
  readonly maxProposalBytes?: number;
  readonly proposalTimeoutMs?: number;
  /** A snapshot stream that makes no progress for so long is given up. */
  readonly snapshotStallMs?: number;
  readonly trace?: (event: TraceEvent) => void;
}

type Optional = 'bootstrap' | 'trace';
export type Settings<R> = Required<Omit<RaftNodeOptions<R>, Optional | 'limits'>> &
  Pick<RaftNodeOptions<R>, Optional> & { readonly limits: CoreLimits };

const defaultLimits: CoreLimits = {
  maxMessageBytes: 1 << 20,
  maxInflightMessages: 256,
  maxInflightBytes: 16 << 20,
  maxUncommittedBytes: 64 << 20,
  maxApplyBytes: 4 << 20,
  maxPendingReads: 4096,
};

export function settingsOf<R>(options: RaftNodeOptions<R>): Settings<R> {
  return {
    tickMs: 100,
    electionTicks: 10,
    heartbeatTicks: 1,
    snapshotEveryEntries: 10_000,
    snapshotEveryBytes: 64 << 20,
    keepEntries: 500,
    // Below gRPC's default limit of 4 MiB per message, so that an entry of this size can travel.
    maxProposalBytes: 3 << 20,
    proposalTimeoutMs: 10_000,
    snapshotStallMs: 30_000,
    ...options,
    limits: { ...defaultLimits, ...options.limits },
  };
}
