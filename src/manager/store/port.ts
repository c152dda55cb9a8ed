/**
 * Contract between the store and everything that writes: typed transactions over the ClusterView, proposed to Raft.
 * Loops, dispatcher and control API depend on these types only.
 */
import type { TableName, Tables } from '../../model/objects.ts';
import type { Change, ChangeEvent, ClusterView } from '../../model/view.ts';

/** An object without its meta: the store stamps version and times. */
export type Draft<T extends TableName> = Omit<Tables[T], 'meta'>;

/**
 * A write transaction: reads see the committed state plus the transaction's own writes; writes are collected.
 * Runs synchronously; throw to abandon. Reading an object through `update`/`remove` fixes the version it expects.
 */
export interface Transaction extends ClusterView {
  /** Wall time of the leader for this transaction, ms; the same in every stamp of it. */
  readonly now: number;
  create<T extends TableName>(table: T, draft: Draft<T>): void;
  update<T extends TableName>(table: T, draft: Draft<T>): void;
  /** Does nothing when the object is gone. */
  remove(table: TableName, id: string): void;
}

export interface CommitEvent {
  /** Raft index of the entry. */
  readonly version: number;
  readonly events: readonly ChangeEvent[];
}

export interface Store {
  readonly view: ClusterView;
  /**
   * Runs `build`, proposes its changes as one atomic entry, resolves with its result once they are applied here.
   * When another write got there first (a version differs at apply time), `build` runs again on the new state, a few times.
   * Nothing is proposed when there are no changes. Transactions are pipelined: do not await one to start the next.
   * Errors: what `build` throws; `unavailable` (not leader, no quorum); `deadline` (outcome unknown); `conflict` (retries used up).
   */
  transact<R>(build: (tx: Transaction) => R): Promise<R>;
  /**
   * Like many transactions with one concern each: items are packed into entries of bounded size. Each item is built alone;
   * an item that conflicts is retried alone. Resolves when all are applied or refused, with how many were refused.
   */
  batch<I>(items: readonly I[], build: (tx: Transaction, item: I) => void): Promise<{ refused: number }>;
  /** Called after each commit (and after a snapshot was restored, with the difference). Must only record. */
  subscribe(handle: (commit: CommitEvent) => void): () => void;
}

/** Carries a list of changes through consensus. Resolves after the entry was applied to the local store. */
export interface Proposer {
  /** `applied: false` = refused at apply time on every replica: an expected version, a unique name or the newest task of a place did not hold. */
  propose(changes: readonly Change[], now: number): Promise<{ readonly version: number; readonly applied: boolean }>;
}

/** A leader-only part: started on election with a store it may write, stopped (and awaited) before leadership is given up. */
export interface LeaderLoop {
  readonly name: string;
  start(): void;
  /** Resolves when nothing of it runs any more. Twice does no harm. */
  stop(): Promise<void>;
}
