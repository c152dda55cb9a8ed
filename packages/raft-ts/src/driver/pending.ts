/** Proposals whose outcome is awaited, by the index their entry got. */
import type { EntryId, Index } from '../core/types.ts';
import { OutcomeUnknown, ProposalDropped } from './errors.ts';

export interface WaitOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** One caller waiting for one answer; only the first answer counts. */
export class Waiter<T> {
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

  get size(): number {
    return this.#slots.size;
  }

  add(at: EntryId, waiter: Waiter<Outcome<T>>): void {
    const older = this.#slots.get(at.index);
    // Insertion order is deadline order, which `expire` relies on.
    if (older !== undefined) this.#slots.delete(at.index);
    this.#slots.set(at.index, { at, waiter, older });
    waiter.at = at;
  }

  /**
   * The entry at `at` was applied; `result` answers its proposer, and every rival at that index is certainly lost.
   * `park` takes over a proposer who is to be answered later.
   */
  applied(at: EntryId, result: T, park?: (waiter: Waiter<Outcome<T>>, outcome: Outcome<T>) => void): void {
    for (let slot = this.#take(at.index); slot !== undefined; slot = slot.older) {
      if (slot.at.term === at.term && park !== undefined) park(slot.waiter, { at: slot.at, result });
      else if (slot.at.term === at.term) slot.waiter.resolve({ at: slot.at, result });
      else slot.waiter.reject(new ProposalDropped('superseded'));
    }
  }

  /** Another kind of entry was applied at `index`. */
  superseded(index: Index): void {
    for (let slot = this.#take(index); slot !== undefined; slot = slot.older) {
      slot.waiter.reject(new ProposalDropped('superseded'));
    }
  }

  /** A snapshot replaced the log up to `index`: what became of proposals in there cannot be told. */
  skippedTo(index: Index): void {
    for (const [at, slot] of this.#slots) {
      if (at > index) continue;
      this.#slots.delete(at);
      rejectUnknown(slot);
    }
  }

  expire(nowMs: number): void {
    for (const [index, slot] of this.#slots) {
      if (slot.waiter.deadlineMs > nowMs) return;
      this.#slots.delete(index);
      rejectUnknown(slot);
    }
  }

  failAll(cause: unknown): void {
    for (const slot of this.#slots.values()) rejectUnknown(slot, { cause });
    this.#slots.clear();
  }

  #take(index: Index): Slot<T> | undefined {
    if (this.#slots.size === 0) return undefined;
    const slot = this.#slots.get(index);
    if (slot !== undefined) this.#slots.delete(index);
    return slot;
  }
}

function rejectUnknown<T>(first: Slot<T>, options?: ErrorOptions): void {
  for (let slot: Slot<T> | undefined = first; slot !== undefined; slot = slot.older) {
    slot.waiter.reject(new OutcomeUnknown(slot.at, options));
  }
}
