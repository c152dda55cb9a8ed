/** Proposals whose outcome is awaited, by the index their entry got. */
import type { EntryId, Index } from '../core/types.ts';
import { OutcomeUnknown, Superseded } from './errors.ts';
import type { Metrics } from './metrics.ts';

export interface WaitOptions {
  readonly beganMs: number;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** One caller waiting for one answer; only the first answer counts. */
export class Waiter<T> {
  readonly beganMs: number;
  readonly deadlineMs: number;
  /** Where the core put the proposal, once it has; from then on giving up means not knowing. */
  at: EntryId | undefined;
  readonly #resolve: (value: T) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #signal: AbortSignal | undefined;
  #settled = false;

  constructor(resolve: (value: T) => void, reject: (reason: unknown) => void, options: WaitOptions) {
    this.#resolve = resolve;
    this.#reject = reject;
    this.beganMs = options.beganMs;
    this.deadlineMs = options.deadlineMs;
    this.#signal = options.signal;
    if (this.#signal?.aborted) this.#onAbort();
    else this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  get settled(): boolean {
    return this.#settled;
  }

  resolve(value: T): void {
    if (this.#finish()) this.#resolve(value);
  }

  reject(reason: unknown): void {
    if (this.#finish()) this.#reject(reason);
  }

  readonly #onAbort = (): void => {
    const cause: unknown = this.#signal?.reason;
    this.reject(this.at === undefined ? cause : new OutcomeUnknown(this.at, { cause }));
  };

  #finish(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    return true;
  }
}

/** The entry's place in the log, and the state machine's answer to it. */
export interface Outcome<T> {
  readonly at: EntryId;
  readonly result: T;
}

interface Slot<T> {
  readonly at: EntryId;
  readonly waiter: Waiter<Outcome<T>>;
  /** An earlier proposal of ours at the same index and another term; at most one of the chain can come true. */
  readonly older: Slot<T> | undefined;
}

export class PendingEntries<T> {
  readonly #slots = new Map<Index, Slot<T>>();
  /** Slots that are some other slot's `older`. */
  #rivals: Slot<T>[] = [];
  readonly #metrics: Metrics;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
  }

  get size(): number {
    return this.#slots.size;
  }

  add(at: EntryId, waiter: Waiter<Outcome<T>>): void {
    const older = this.#slots.get(at.index);
    // Insertion order is deadline order, which `expire` relies on.
    if (older !== undefined) {
      this.#slots.delete(at.index);
      this.#rivals.push(older);
    }
    this.#slots.set(at.index, { at, waiter, older });
    waiter.at = at;
  }

  /**
   * The entry at `at` was applied; `result` answers its proposer, and every rival at that index is certainly lost.
   * `park` takes over a proposer who is to be answered later.
   */
  applied(
    at: EntryId,
    result: T,
    how: { readonly nowMs: number; readonly park?: (waiter: Waiter<Outcome<T>>, outcome: Outcome<T>) => void },
  ): void {
    for (let slot = this.#take(at.index); slot !== undefined; slot = slot.older) {
      if (slot.at.term !== at.term) this.#supersede(slot);
      else if (how.park !== undefined) how.park(slot.waiter, { at: slot.at, result });
      else {
        this.#metrics.observeLatency(how.nowMs - slot.waiter.beganMs);
        slot.waiter.resolve({ at: slot.at, result });
      }
    }
  }

  /** Another kind of entry was applied at `index`. */
  superseded(index: Index): void {
    for (let slot = this.#take(index); slot !== undefined; slot = slot.older) this.#supersede(slot);
  }

  /** A snapshot replaced the log up to `index`: what became of proposals in there cannot be told. */
  skippedTo(index: Index): void {
    for (const [at, slot] of this.#slots) {
      if (at > index) continue;
      this.#slots.delete(at);
      this.#giveUp(slot);
    }
  }

  expire(nowMs: number): void {
    if (this.#rivals.length > 0) {
      this.#rivals = this.#rivals.filter(({ waiter }) => !waiter.settled);
      for (const { at, waiter } of this.#rivals) if (waiter.deadlineMs <= nowMs) this.#forsake(at, waiter);
    }
    for (const [index, slot] of this.#slots) {
      if (slot.waiter.deadlineMs > nowMs) return;
      this.#slots.delete(index);
      this.#giveUp(slot);
    }
  }

  failAll(cause: unknown): void {
    for (const slot of this.#slots.values()) this.#giveUp(slot, { cause });
    this.#slots.clear();
  }

  #take(index: Index): Slot<T> | undefined {
    if (this.#slots.size === 0) return undefined;
    const slot = this.#slots.get(index);
    if (slot !== undefined) this.#slots.delete(index);
    return slot;
  }

  #supersede({ at, waiter }: Slot<T>): void {
    if (!waiter.settled) this.#metrics.proposalsSuperseded += 1;
    waiter.reject(new Superseded(at));
  }

  #giveUp(first: Slot<T>, options?: ErrorOptions): void {
    for (let slot: Slot<T> | undefined = first; slot !== undefined; slot = slot.older) {
      this.#forsake(slot.at, slot.waiter, options);
    }
  }

  #forsake(at: EntryId, waiter: Waiter<Outcome<T>>, options?: ErrorOptions): void {
    if (!waiter.settled) this.#metrics.proposalsUnknown += 1;
    waiter.reject(new OutcomeUnknown(at, options));
  }
}
