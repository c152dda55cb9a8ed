/** Linearizable reads: callers of one turn share a round of the read index protocol, then wait for the state machine. */
import type { DropReason, Index } from '../core/types.ts';
import { NotLeaderError } from './errors.ts';
import type { Lease } from './lease.ts';
import type { Metrics } from './metrics.ts';
import type { Waiter } from './pending.ts';

interface Group {
  readonly waiters: readonly Waiter<Index>[];
  readonly tokens: number[];
  askedAtTick: number;
  index: Index | undefined;
}

const roundsMax = 2;

interface Asker {
  readIndex(token: number): 'queued' | DropReason;
  leaseIndex(): Index;
}

export interface ReadOptions {
  readonly retryTicks: number;
  /** Differs between incarnations, so that a late answer to an earlier one is not taken for ours. */
  readonly firstToken: number;
  readonly lease: Lease;
  readonly metrics: Metrics;
}

export class ReadBarriers {
  readonly #core: Asker;
  readonly #options: ReadOptions;
  #nextToken: number;
  #tick = 0;
  #arrived: Waiter<Index>[] = [];
  readonly #byToken = new Map<number, Group>();
  #groups: Group[] = [];
  #size = 0;

  constructor(core: Asker, options: ReadOptions) {
    this.#core = core;
    this.#options = options;
    this.#nextToken = options.firstToken;
  }

  /** Callers who wait. */
  get size(): number {
    return this.#size;
  }

  add(waiter: Waiter<Index>): void {
    this.#arrived.push(waiter);
    this.#size += 1;
  }

  /**
   * Serves the read by the lease if there is one right now. The index is the commit index of this very moment, so it does
   * not matter if the lease ends while the caller waits for the state machine.
   */
  addByLease(waiter: Waiter<Index>, nowMs: number): boolean {
    const index = this.#options.lease.holds(nowMs) ? this.#core.leaseIndex() : 0;
    if (index === 0) return false;
    this.#size += 1;
    this.#groups.push({ waiters: [waiter], tokens: [], askedAtTick: this.#tick, index });
    this.#options.metrics.readsByLease += 1;
    return true;
  }

  /** Callers who came while enough rounds were under way. */
  get waitingToAsk(): boolean {
    return this.#arrived.length > 0 && !this.#isBusy();
  }

  /**
   * Asks the core on behalf of all who came since the last call. While two rounds are under way the next callers wait and
   * share a round: a busy leader answers more of them with fewer messages.
   */
  ask(): void {
    if (!this.waitingToAsk) return;
    const group: Group = { waiters: this.#arrived, tokens: [], askedAtTick: this.#tick, index: undefined };
    this.#options.metrics.readsByQuorum += group.waiters.length;
    this.#arrived = [];
    this.#groups.push(group);
    this.#askFor(group);
  }

  answered(token: number, index: Index): void {
    const group = this.#byToken.get(token);
    if (group !== undefined && group.index === undefined) group.index = index;
  }

  /** Everything applied up to `applied` can be read now. */
  release(applied: Index): void {
    if (this.#groups.length === 0) return;
    this.#groups = this.#groups.filter((group) => {
      if (group.index === undefined || group.index > applied) return true;
      this.#forget(group);
      for (const waiter of group.waiters) waiter.resolve(group.index);
      return false;
    });
  }

  /** Asks again where the answer was refused or lost; gives up on callers whose time is over. */
  tick(nowMs: number, leader: number): void {
    this.#tick += 1;
    this.#groups = this.#groups.filter((group) => {
      for (const waiter of group.waiters) if (waiter.deadlineMs <= nowMs) waiter.reject(new NotLeaderError(leader));
      const open = group.waiters.some((waiter) => !waiter.settled);
      if (!open) this.#forget(group);
      else if (group.index === undefined && this.#isDue(group)) this.#askFor(group);
      return open;
    });
  }

  failed(token: number): void {
    const group = this.#byToken.get(token);
    this.#byToken.delete(token);
    group?.tokens.splice(group.tokens.indexOf(token), 1);
  }

  failAll(reason: unknown): void {
    for (const waiter of [...this.#arrived, ...this.#groups.flatMap((group) => group.waiters)]) waiter.reject(reason);
    this.#arrived = [];
    this.#groups = [];
    this.#size = 0;
    this.#byToken.clear();
  }

  /** A round of an earlier tick is lost, or nearly so: nobody waits for it. */
  #isBusy(): boolean {
    let rounds = 0;
    for (const { index, askedAtTick } of this.#groups)
      if (index === undefined && askedAtTick === this.#tick) rounds += 1;
    return rounds >= roundsMax;
  }

  #isDue(group: Group): boolean {
    return group.tokens.length === 0 || this.#tick - group.askedAtTick >= this.#options.retryTicks;
  }

  #askFor(group: Group): void {
    const token = this.#nextToken;
    this.#nextToken += 1;
    group.askedAtTick = this.#tick;
    if (this.#core.readIndex(token) !== 'queued') return;
    group.tokens.push(token);
    this.#byToken.set(token, group);
  }

  #forget(group: Group): void {
    for (const token of group.tokens) this.#byToken.delete(token);
    this.#size -= group.waiters.length;
  }
}
