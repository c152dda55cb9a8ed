/**
 * One Raft node as a pure state machine: no clock, no disk, no network, no chance but the given source. The host
 *  1. calls `tick` at a steady rate and `step` with every message that arrives,
 *  2. takes a Ready whenever there is one, and sends `send` at once,
 *  3. makes append tasks durable in order, then sends `onDurable`, then reports `appended`,
 *  4. applies apply tasks in order (calling `applyConfChange` for configuration entries), then reports `applied`,
 *  5. makes the stable log show a batch before it reports it, and restores its state machine from a task's snapshot,
 *  6. reports on every snapshot it was asked to stream, and stops for good at a RaftFault.
 * In return no two nodes ever apply different entries at the same index.
 */
import { campaign } from './election.ts';
import { invariants } from './invariants.ts';
import { applyConfChange, transferLeadership } from './membership.ts';
import { propose, proposeConfChange } from './proposals.ts';
import { requestRead } from './reads.ts';
import { flush, onSnapshotReport, onUnreachable } from './replication.ts';
import { CoreState } from './state.ts';
import { step } from './step.ts';
import { appended, applied, hasAppend, hasApply, takeAppend, takeApply } from './tasks.ts';
import { tick } from './tick.ts';
import type {
  AppendTask,
  ApplyTask,
  ConfChange,
  ConfState,
  CoreConfig,
  DropReason,
  EntryId,
  Message,
  NodeId,
  PeerProgress,
  Proposed,
  Ready,
  Recovered,
  StableLog,
  Status,
} from './types.ts';

type VisibleState = NonNullable<Ready['state']>;

export class RaftCore {
  readonly #s: CoreState;
  #shown: VisibleState;

  constructor(config: CoreConfig, log: StableLog, from: Recovered) {
    this.#s = new CoreState(config, log, from);
    this.#shown = this.#visible();
  }

  tick(): void {
    tick(this.#s);
  }

  step(message: Message): void {
    step(this.#s, message);
  }

  /** Consecutive entries, all or nothing. */
  propose(payloads: readonly Uint8Array[]): Proposed {
    return propose(this.#s, payloads);
  }

  proposeConfChange(change: ConfChange): Proposed {
    return proposeConfChange(this.#s, change);
  }

  /** 'skip': the host passes over the change, on every node alike. */
  applyConfChange(change: ConfChange | 'skip', at: EntryId): ConfState {
    return applyConfChange(this.#s, change, at);
  }

  /** The answer comes in a later Ready; the host then waits until it has applied that index. */
  readIndex(token: number): 'queued' | DropReason {
    return requestRead(this.#s, token);
  }

  transferLeadership(to: NodeId | 'best'): 'started' | DropReason {
    return transferLeadership(this.#s, to);
  }

  campaign(): void {
    campaign(this.#s, 'timeout');
  }

  peerUnreachable(id: NodeId): void {
    onUnreachable(this.#s, id);
  }

  snapshotReport(id: NodeId, ok: boolean): void {
    onSnapshotReport(this.#s, id, ok);
  }

  hasReady(): boolean {
    const s = this.#s;
    if (s.outbox.length > 0 || s.readsDone.length > 0 || s.readsFailed.length > 0) return true;
    if (s.flushDue || s.heartbeatDue || hasAppend(s) || hasApply(s)) return true;
    return !this.#stateShown();
  }

  takeReady(): Ready {
    const s = this.#s;
    flush(s);
    const append = takeAppend(s);
    const apply = takeApply(s);
    const changed = !this.#stateShown();
    if (changed) this.#shown = this.#visible();
    const ready: Ready = {
      ...(changed && { state: this.#shown }),
      send: s.outbox,
      ...(append && { append }),
      ...(apply && { apply }),
      reads: s.readsDone,
      readsFailed: s.readsFailed,
    };
    s.outbox = [];
    s.readsDone = [];
    s.readsFailed = [];
    return ready;
  }

  appended(task: AppendTask): void {
    appended(this.#s, task);
  }

  applied(task: ApplyTask): void {
    applied(this.#s, task);
  }

  status(): Status {
    const s = this.#s;
    const progress: PeerProgress[] = [];
    if (s.role === 'leader') {
      for (const { id, match, next, state, recentlyActive, learner } of s.tracker.progress) {
        progress.push({ id, match, next, state, recentlyActive, learner });
      }
    }
    return {
      id: s.id,
      role: s.role,
      term: s.term,
      vote: s.vote,
      leader: s.lead,
      commit: s.log.commit,
      applied: s.log.applied,
      lastIndex: s.log.lastIndex,
      firstIndex: s.log.firstIndex,
      conf: s.tracker.conf,
      progress,
    };
  }

  /** What should never be; empty when all is well. */
  invariants(): readonly string[] {
    return invariants(this.#s);
  }

  #visible(): VisibleState {
    const { role, term, lead, transferee } = this.#s;
    return { role, term, leader: lead, transferee };
  }

  #stateShown(): boolean {
    const { role, term, lead, transferee } = this.#s;
    const shown = this.#shown;
    return role === shown.role && term === shown.term && lead === shown.leader && transferee === shown.transferee;
  }
}
