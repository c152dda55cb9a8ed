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
import { applyConfChange, forgetLeader, transferLeadership } from './membership.ts';
import { propose, proposeConfChange } from './proposals.ts';
import { leaseIndex, requestRead } from './reads.ts';
import { flush, onSnapshotReport, onUnreachable, viewOf } from './replication.ts';
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
  Index,
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

/** For the transcript runner; not part of the API. */
export let inspect: (core: RaftCore) => CoreState;

/**
 * The algorithm for one node, without disk, network, clock or chance of its own: inputs go in through its methods,
 * and what is to be done about them comes out of `takeReady`. No method may be called from within another. A
 * `RaftFault` thrown by any of them is a broken invariant: the node must stop.
 */
export class RaftCore {
  static {
    inspect = (core) => core.#s;
  }

  readonly #s: CoreState;
  #shown: VisibleState;

  constructor(config: CoreConfig, log: StableLog, from: Recovered) {
    this.#s = new CoreState(config, log, from);
    this.#shown = this.#visible();
  }

  /** Time passes; the unit is the host's, and all nodes of a group should have the same. */
  tick(): void {
    tick(this.#s);
  }

  /** A message from a peer. Late, doubled, reordered and lost ones do no harm; changed ones do. */
  step(message: Message): void {
    step(this.#s, message);
  }

  /** Consecutive entries, all or nothing. */
  propose(payloads: readonly Uint8Array[]): Proposed {
    return propose(this.#s, payloads);
  }

  /**
   * One at a time; refused while an earlier one is not applied, or if it leads to no sound configuration [thesis §4].
   */
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

  /**
   * Lease reads: the index at which a read may be answered at once, 0 when the lease may not be used: not the leader, no
   * entry of the term committed, a transfer under way or just aborted. The host must hold a confirmed round (`Ready.round`)
   * sent less than (electionTicks − 1) ticks minus its allowance for clock drift ago, and then wait until it has applied
   * the index.
   */
  leaseIndex(): Index {
    return leaseIndex(this.#s);
  }

  /** Whether `leaseIndex` would give an index. */
  leaseUsable(): boolean {
    return leaseIndex(this.#s) > 0;
  }

  /** The outcome shows in `Ready.state`; given up after electionTicks [thesis §3.10]. */
  transferLeadership(to: NodeId | 'best'): 'started' | DropReason {
    return transferLeadership(this.#s, to);
  }

  /** Asks for votes as if the election timeout had passed [paper §5.2]. */
  campaign(): void {
    campaign(this.#s, 'timeout');
  }

  /** For a follower whose leader is known to be gone; true if it had one. Not with lease reads. */
  forgetLeader(): boolean {
    return forgetLeader(this.#s);
  }

  /** Messages to the peer are being lost: it is probed instead of streamed to. */
  peerUnreachable(id: NodeId): void {
    onUnreachable(this.#s, id);
  }

  /** How the transfer of a snapshot that `send` asked for has ended. */
  snapshotReport(id: NodeId, ok: boolean): void {
    onSnapshotReport(this.#s, id, ok);
  }

  /** Whether `takeReady` would give anything to do. */
  hasReady(): boolean {
    const s = this.#s;
    if (s.outbox.length > 0 || s.readsDone.length > 0 || s.readsFailed.length > 0) return true;
    if (s.confirmedRound > s.confirmedRoundShown) return true;
    if (s.flushDue || s.heartbeatDue || hasAppend(s) || hasApply(s)) return true;
    return !this.#stateShown();
  }

  /** What there is to do; it is handed out once. */
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
      ...(s.roundSent > 0 && { round: s.roundSent }),
      ...(s.confirmedRound > s.confirmedRoundShown && { confirmedRound: s.confirmedRound }),
    };
    s.roundSent = 0;
    s.confirmedRoundShown = s.confirmedRound;
    s.outbox = [];
    s.readsDone = [];
    s.readsFailed = [];
    return ready;
  }

  /** The task is durable. In the order in which tasks were given out. */
  appended(task: AppendTask): void {
    appended(this.#s, task);
  }

  /** The task is applied, membership changes through `applyConfChange`. In the order in which tasks were given out. */
  applied(task: ApplyTask): void {
    applied(this.#s, task);
  }

  /** What the node knows now; a copy. */
  status(): Status {
    const s = this.#s;
    const progress: PeerProgress[] = [];
    if (s.role === 'leader') {
      for (const peer of s.tracker.progress) progress.push(viewOf(peer));
    }
    return {
      id: s.id,
      role: s.role,
      term: s.term,
      vote: s.vote,
      leader: s.lead,
      transferee: s.transferee,
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
