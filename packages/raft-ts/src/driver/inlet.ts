/** Proposals on their way into the log: those of one turn share an append. */
import type { RaftCore } from '../core/raft.ts';
import type { NodeClosed, NotLeaderError } from './errors.ts';
import { dropError, OutcomeUnknown, ProposalDropped } from './errors.ts';
import type { Metrics } from './metrics.ts';
import type { Settings } from './options.ts';
import type { Outcome, PendingEntries, Waiter } from './pending.ts';

interface Proposal<R> {
  readonly data: Uint8Array;
  readonly waiter: Waiter<Outcome<R>>;
}

const groupEntries = 4096;

export class Inlet<R> {
  readonly #settings: Settings<R>;
  readonly #core: RaftCore;
  readonly #pending: PendingEntries<R>;
  readonly #metrics: Metrics;
  #queue: Proposal<R>[] = [];
  #bytes = 0;

  constructor(
    settings: Settings<R>,
    to: { readonly core: RaftCore; readonly pending: PendingEntries<R>; readonly metrics: Metrics },
  ) {
    this.#settings = settings;
    this.#core = to.core;
    this.#pending = to.pending;
    this.#metrics = to.metrics;
  }

  get size(): number {
    return this.#queue.length;
  }

  /** Why `data` cannot be taken; undefined if it can. */
  refusal(data: Uint8Array): ProposalDropped | undefined {
    const { maxProposalBytes, bounds } = this.#settings;
    if (data.length > maxProposalBytes) return this.#dropped(new ProposalDropped('too-large'));
    const full =
      this.#queue.length + this.#pending.size >= bounds.maxProposals ||
      (this.#queue.length > 0 && this.#bytes + data.length > bounds.maxQueuedBytes);
    return full ? this.#dropped(new ProposalDropped('queue-full')) : undefined;
  }

  push(data: Uint8Array, waiter: Waiter<Outcome<R>>): void {
    this.#queue.push({ data, waiter });
    this.#bytes += data.length;
  }

  /** Proposes all that has come, in order. */
  take(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    this.#bytes = 0;
    try {
      for (const group of this.#groups(queue)) this.#propose(group);
    } catch (error) {
      // The core broke: what it has not taken is still ours to answer.
      this.#queue = queue.filter(({ waiter }) => waiter.at === undefined);
      throw error;
    }
  }

  failAll(reason: NodeClosed): void {
    for (const { waiter } of this.#queue) waiter.reject(reason);
    this.#queue = [];
    this.#bytes = 0;
  }

  *#groups(queue: readonly Proposal<R>[]): Iterable<readonly Proposal<R>[]> {
    let group: Proposal<R>[] = [];
    let bytes = 0;
    for (const proposal of queue) {
      // Given up by its caller before anybody knew of it.
      if (proposal.waiter.settled) continue;
      const size = proposal.data.length;
      if (group.length > 0 && (bytes + size > this.#settings.limits.maxMessageBytes || group.length >= groupEntries)) {
        yield group;
        group = [];
        bytes = 0;
      }
      group.push(proposal);
      bytes += size;
    }
    if (group.length > 0) yield group;
  }

  #propose(group: readonly Proposal<R>[]): void {
    const proposed = this.#core.propose(group.map((proposal) => proposal.data));
    if (!proposed.ok && proposed.forwarded) {
      for (const { waiter } of group) waiter.reject(new OutcomeUnknown(undefined));
      return;
    }
    if (!proposed.ok) {
      for (const { waiter } of group) waiter.reject(this.#dropped(dropError(proposed.reason, proposed.leader)));
      return;
    }
    this.#metrics.proposalsAccepted += group.length;
    let { index } = proposed.at;
    for (const { waiter } of group) {
      this.#pending.add({ term: proposed.at.term, index }, waiter);
      index += 1;
    }
  }

  #dropped<E extends NotLeaderError | ProposalDropped>(error: E): E {
    this.#metrics.proposalsDropped += 1;
    return error;
  }
}
