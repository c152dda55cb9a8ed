/** Linearizable reads: callers of one turn share a round of the read index protocol, then wait for the state machine. */
import type { DropReason, Index } from '../core/types.ts';
import { NotLeaderError } from './errors.ts';
import type { Waiter } from './pending.ts';

interface Group {
  readonly waiters: readonly Waiter<Index>[];
  readonly tokens: number[];
  askedAtTick: number;
  index: Index | undefined;
}

interface Asker {
  readIndex(token: number): 'queued' | DropReason;
}

export class ReadBarriers {
  readonly #core: Asker;
  readonly #retryTicks: number;
  #nextToken: number;
  #tick = 0;
  #arrived: Waiter<Index>[] = [];
  readonly #byToken = new Map<number, Group>();
  #groups: Group[] = [];
  #size = 0;

  /** `firstToken` differs between incarnations, so that a late answer to an earlier one is not taken for ours. */
  constructor(core: Asker, options: { readonly retryTicks: number; readonly firstToken: number }) {
    this.#core = core;
    this.#retryTicks = options.retryTicks;
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

  /** Asks the core on behalf of all who came since the last call. */
  ask(): void {
    if (this.#arrived.length === 0) return;
    const group: Group = { waiters: this.#arrived, tokens: [], askedAtTick: this.#tick, index: undefined };
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
    const ready = this.#groups.filter((group) => group.index !== undefined && group.index <= applied);
    for (const group of ready) {
      this.#forget(group);
      for (const waiter of group.waiters) waiter.resolve(group.index ?? applied);
    }
    if (ready.length > 0) this.#groups = this.#groups.filter((group) => !ready.includes(group));
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

  #isDue(group: Group): boolean {
    return group.tokens.length === 0 || this.#tick - group.askedAtTick >= this.#retryTicks;
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
