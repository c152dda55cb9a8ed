/**
 * The state machine's side of a node: applies committed entries in order, answers those who proposed them, and puts a
 * leader's snapshot in place of the state.
 */
import { decodeConfChange } from '../core/confchange.ts';
import type { RaftCore } from '../core/raft.ts';
import type { ApplyTask, ConfChange, ConfState, Entry, EntryId, SnapshotMeta } from '../core/types.ts';
import { EntryKind } from '../core/types.ts';
import { OutcomeUnknown, ProposalDropped, storageFault } from './errors.ts';
import type { Metrics } from './metrics.ts';
import type { Settings } from './options.ts';
import type { Outcome, Waiter } from './pending.ts';
import { PendingEntries } from './pending.ts';

export interface ApplierHost {
  readonly applied: EntryId;
  readonly conf: ConfState;
  readonly metrics: Metrics;
  /** Runs in the node's next turn. */
  readonly run: (event: () => void) => void;
  /** A membership change is about to be applied: some peer may not be one afterwards. */
  readonly beforeConfig: () => void;
  readonly fail: (error: unknown) => void;
}

interface JointWaiter {
  readonly outcome: Outcome<ConfState>;
  readonly waiter: Waiter<Outcome<ConfState>>;
}

export class Applier<R> {
  readonly proposals: PendingEntries<R>;
  readonly confChanges: PendingEntries<ConfState>;
  /** Payload bytes applied since the node last began a snapshot. */
  bytesSinceSnapshot = 0;

  readonly #settings: Settings<R>;
  readonly #core: RaftCore;
  readonly #host: ApplierHost;
  readonly #metrics: Metrics;
  readonly #queue: ApplyTask[] = [];
  /** Entries of the first task that were applied in an earlier turn. */
  #done = 0;
  #jointWaiters: JointWaiter[] = [];
  #restores = 0;
  #restored: Promise<void> = Promise.resolve();
  #applied: EntryId;
  #conf: ConfState;
  #closed = false;

  constructor(settings: Settings<R>, core: RaftCore, host: ApplierHost) {
    this.#settings = settings;
    this.#core = core;
    this.#host = host;
    this.#metrics = host.metrics;
    this.proposals = new PendingEntries(host.metrics);
    this.confChanges = new PendingEntries(host.metrics);
    this.#applied = host.applied;
    this.#conf = host.conf;
  }

  get applied(): EntryId {
    return this.#applied;
  }

  /** The configuration in force at the last applied entry. */
  get conf(): ConfState {
    return this.#conf;
  }

  get restoring(): boolean {
    return this.#restores > 0;
  }

  get runnable(): boolean {
    return this.#queue.length > 0 && this.#restores === 0;
  }

  get tasks(): number {
    return this.#queue.length;
  }

  push(task: ApplyTask): void {
    this.#queue.push(task);
  }

  expire(nowMs: number): void {
    this.proposals.expire(nowMs);
    this.confChanges.expire(nowMs);
    if (this.#jointWaiters.length === 0) return;
    for (const { waiter } of this.#jointWaiters) {
      if (waiter.deadlineMs <= nowMs) waiter.reject(new OutcomeUnknown(waiter.at));
    }
    this.#jointWaiters = this.#jointWaiters.filter(({ waiter }) => !waiter.settled);
  }

  failAll(reason: Error): void {
    this.#closed = true;
    this.proposals.failAll(reason);
    this.confChanges.failAll(reason);
    for (const { waiter } of this.#jointWaiters) waiter.reject(new OutcomeUnknown(waiter.at, { cause: reason }));
    this.#jointWaiters = [];
  }

  /** Resolves when no snapshot is being read any more. */
  close(): Promise<void> {
    return this.#restored;
  }

  /** Puts the leader's snapshot in place of the state; apply tasks wait for it. */
  restore(snapshot: SnapshotMeta): void {
    this.#restores += 1;
    // One at a time, in order: a second snapshot may be installed while the first is still being read.
    this.#restored = this.#restored
      .then(() => (this.#closed ? undefined : this.#restoreNow(snapshot)))
      .catch((error: unknown) => this.#host.fail(error));
  }

  async #restoreNow(snapshot: SnapshotMeta): Promise<void> {
    const { snapshots, machine, log } = this.#settings;
    const { chunks } = await snapshots.open(snapshot.id).catch(rethrow);
    await machine.restore(snapshot, chunks);
    await log.compact(snapshot.index).catch(rethrow);
    await snapshots.prune(1, snapshot.id).catch(rethrow);
    this.#host.run(() => {
      this.#restores -= 1;
      this.#applied = { term: snapshot.term, index: snapshot.index };
      this.#conf = snapshot.conf;
      this.bytesSinceSnapshot = 0;
      this.proposals.skippedTo(snapshot.index);
      this.confChanges.skippedTo(snapshot.index);
    });
  }

  /**
   * Applies the next entries, at most `maxApplyEntries` of them; false when there is nothing to apply now. A long task is
   * thus cut into pieces, so that the node's messages and disk writes get their turn in between.
   */
  next(nowMs: number): boolean {
    const task = this.#queue[0];
    if (task === undefined || this.#restores > 0) return false;
    const { entries } = task;
    const end = Math.min(entries.length, this.#done + this.#settings.bounds.maxApplyEntries);
    this.#applyPiece(entries, { from: this.#done, end, nowMs });
    this.#metrics.entriesApplied += end - this.#done;
    this.#done = end;
    if (end < entries.length) return true;
    this.#queue.shift();
    this.#done = 0;
    this.bytesSinceSnapshot += task.bytes;
    this.#core.applied(task);
    return true;
  }

  #applyPiece(
    entries: readonly Entry[],
    { from, end, nowMs }: { readonly from: number; readonly end: number; readonly nowMs: number },
  ): void {
    let begin = from;
    for (let at = from; at < end; at++) {
      const entry = entries[at] as Entry;
      if (entry.kind !== EntryKind.Config && entry.data.length > 0) continue;
      this.#applyNormal(entries, { from: begin, to: at, nowMs });
      if (entry.kind === EntryKind.Config) this.#applyConfig(entry, nowMs);
      else this.#skip(entry);
      begin = at + 1;
    }
    this.#applyNormal(entries, { from: begin, to: end, nowMs });
  }

  #applyNormal(
    all: readonly Entry[],
    { from, to, nowMs }: { readonly from: number; readonly to: number; readonly nowMs: number },
  ): void {
    if (from === to) return;
    const entries = from === 0 && to === all.length ? all : all.slice(from, to);
    const results = this.#settings.machine.apply(entries);
    if (results.length !== entries.length) {
      throw new RangeError(
        `state machine gave ${String(results.length)} results for ${String(entries.length)} entries`,
      );
    }
    const waited = this.proposals.size > 0 || this.confChanges.size > 0;
    for (let i = 0; waited && i < entries.length; i++) {
      const entry = entries[i] as Entry;
      this.proposals.applied(entry, results[i] as R, { nowMs });
      this.confChanges.superseded(entry.index);
    }
    this.#markApplied(entries.at(-1) as Entry);
  }

  /** A new leader's empty entry: nothing for the state machine. */
  #skip(entry: Entry): void {
    this.proposals.superseded(entry.index);
    this.confChanges.superseded(entry.index);
    this.#markApplied(entry);
  }

  #applyConfig(entry: Entry, nowMs: number): void {
    this.#host.beforeConfig();
    const change = decodeConfChange(entry.data);
    const conf = this.#core.applyConfChange(change, { term: entry.term, index: entry.index });
    this.#conf = conf;
    this.#markApplied(entry);
    this.proposals.superseded(entry.index);
    this.#settings.machine.configured?.(conf, change.context);
    const leaving = conf.autoLeave && conf.outgoing.length > 0;
    const joint = this.#jointWaiters;
    if (!leaving) {
      this.#jointWaiters = [];
      for (const { waiter, outcome } of joint) waiter.resolve({ at: outcome.at, result: conf });
    }
    this.confChanges.applied(entry, conf, {
      nowMs,
      park: (waiter, outcome) => {
        if (!tookEffect(change, conf)) waiter.reject(new ProposalDropped('conf-invalid'));
        else if (leaving) joint.push({ waiter, outcome });
        else waiter.resolve(outcome);
      },
    });
  }

  #markApplied(entry: EntryId): void {
    if (entry.index <= this.#applied.index) {
      throw new RangeError(`entry ${String(entry.index)} applied after ${String(this.#applied.index)}`);
    }
    this.#applied = { term: entry.term, index: entry.index };
  }
}

/** Every node passes over a change that does not fit the configuration it meets; its proposer must not be told otherwise. */
function tookEffect(change: ConfChange, conf: ConfState): boolean {
  if (change.ops.length === 0) return conf.outgoing.length === 0;
  // Of several operations on one id the last one counts.
  const last = new Map(change.ops.map(({ op, id }) => [id, op]));
  return [...last].every(([id, op]) => {
    if (op === 'voter') return conf.voters.includes(id);
    if (op === 'learner') return conf.learners.includes(id) || conf.learnersNext.includes(id);
    return op === 'update' || !(conf.voters.includes(id) || conf.learners.includes(id));
  });
}

function rethrow(error: unknown): never {
  throw storageFault(error);
}
