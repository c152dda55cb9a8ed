/**
 * The leader's view of one peer. Probe: one append at a time until the logs are known to meet. Replicate: appends are
 * streamed and `next` runs ahead of `match`. Snapshot: nothing is sent until the snapshot has arrived or failed.
 */
import { must } from './errors.ts';
import { Inflights } from './inflights.ts';
import type { CoreLimits, Index, NodeId } from './types.ts';

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

export class Progress {
  readonly id: NodeId;
  /** Index of the config entry that created this record: answers to an earlier membership carry another one. */
  readonly epoch: Index;
  readonly inflights: Inflights;
  match = 0;
  next: Index;
  state: ProgressState = 'probe';
  /** Index of the snapshot under way. */
  pendingSnapshot = 0;
  recentlyActive = false;
  /** The same in the round of CheckQuorum before this one. */
  activeBefore = false;
  learner = false;
  /** No more appends until an answer to an append or a heartbeat. */
  paused = false;
  /** The highest commit index this peer has been told. */
  sentCommit = 0;

  constructor(id: NodeId, epoch: Index, options: { readonly next: Index; readonly limits: CoreLimits }) {
    this.id = id;
    this.epoch = epoch;
    this.next = options.next;
    this.inflights = new Inflights(options.limits.maxInflightMessages, options.limits.maxInflightBytes);
  }

  /** A new leader knows nothing about anyone. */
  reset(lastIndex: Index): void {
    this.match = 0;
    this.next = lastIndex + 1;
    this.state = 'probe';
    this.pendingSnapshot = 0;
    this.recentlyActive = false;
    this.activeBefore = false;
    this.paused = false;
    this.sentCommit = 0;
    this.inflights.reset();
  }

  get blocked(): boolean {
    return this.state === 'snapshot' || this.paused;
  }

  becomeProbe(): void {
    const beyondSnapshot = this.state === 'snapshot' ? this.pendingSnapshot + 1 : 0;
    this.#enter('probe');
    this.next = Math.max(this.match + 1, beyondSnapshot);
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  becomeReplicate(): void {
    this.#enter('replicate');
    this.next = this.match + 1;
  }

  becomeSnapshot(index: Index): void {
    this.#enter('snapshot');
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** Accounts for an append of `count` entries from `next` on. */
  sent(count: number, bytes: number): void {
    if (this.state === 'replicate') {
      if (count > 0) {
        this.next += count;
        this.inflights.add(this.next - 1, bytes);
      }
      this.paused = this.inflights.full();
      return;
    }
    must(this.state === 'probe', 'append sent while a snapshot is under way');
    if (count > 0) this.paused = true;
  }

  acked(index: Index): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.paused = false;
    return true;
  }

  /** A refusal of the append behind `rejected`; false when it is stale. A stream that was refused must become a probe. */
  refused(rejected: Index, hint: Index): boolean {
    if (this.state === 'snapshot') return false;
    if (this.state === 'replicate') {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.sentCommit = Math.min(this.sentCommit, this.next - 1);
      return true;
    }
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    this.paused = false;
    return true;
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.paused = false;
    this.pendingSnapshot = 0;
    this.inflights.reset();
  }
}
