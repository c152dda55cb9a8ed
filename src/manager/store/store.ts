/**
 * The cluster's state on one manager: typed tables in memory with indexes, watches and versions.
 * Reads are synchronous and never block. A write is a transaction whose changes travel as one entry through a Proposer;
 * the entry is applied on every replica with the same check, so a stale change is refused everywhere alike.
 * What it promises: equal entries in equal order make equal replicas, also through a snapshot; an entry is applied whole or
 * not at all; work per commit does not grow with the tables; objects are frozen.
 * What it never does: make ids, times or random draws while applying; read from disk; know about Raft.
 */
import { ClusterError } from '../../lib/errors.ts';
import type { TableName, Tables } from '../../model/objects.ts';
import { tableNames } from '../../model/objects.ts';
import type { Change, ChangeEvent, ClusterView } from '../../model/view.ts';
import { applyEntry, asDecoded } from './apply.ts';
import { Batch } from './batch.ts';
import type { DecodedEntry, Document } from './codec.ts';
import { decodeEntry, encodeEntry, Interner } from './codec.ts';
import type { CommitEvent, Proposer, Store, Transaction } from './port.ts';
import { capture, deserialise, serialise } from './snapshot.ts';
import { State } from './state.ts';
import { OpenTransaction } from './transaction.ts';
import { Turns } from './turns.ts';

/** How often a transaction is built before it gives up: each further try means that another write got there first. */
const attemptsMax = 10;

export interface MemoryStoreOptions {
  /** Null: changes are applied here at once, without consensus (tests). */
  readonly proposer: Proposer | null;
  /** Wall time, ms; the leader's stamps come from here. */
  readonly now: () => number;
  /** Each entry of a batch is made in a turn of its own. Without it one follows the other at once. */
  readonly defer?: (run: () => void) => void;
}

export class MemoryStore implements Store {
  readonly #state = new State();
  readonly #interner = new Interner();
  readonly #handlers = new Set<(commit: CommitEvent) => void>();
  /** Transactions that lost a race try again one after the other: many at once would lose to each other again. */
  readonly #losers = new Turns();
  readonly #now: () => number;
  readonly #defer: MemoryStoreOptions['defer'];
  #proposer: Proposer;

  constructor(options: MemoryStoreOptions) {
    this.#now = options.now;
    this.#defer = options.defer;
    this.#proposer = options.proposer ?? localProposer(this);
  }

  get view(): ClusterView {
    return this.#state;
  }

  /** For the one who needs the store to make its proposer. */
  setProposer(proposer: Proposer): void {
    this.#proposer = proposer;
  }

  async transact<R>(build: (tx: Transaction) => R): Promise<R> {
    const first = await this.#attempt(build);
    return first.applied ? first.result : this.#losers.run(() => this.#attemptAgain(build));
  }

  async #attemptAgain<R>(build: (tx: Transaction) => R): Promise<R> {
    for (let attempt = 1; attempt < attemptsMax; attempt++) {
      const { applied, result } = await this.#attempt(build);
      if (applied) return result;
    }
    throw new ClusterError('conflict', 'update out of sequence');
  }

  async #attempt<R>(build: (tx: Transaction) => R): Promise<{ readonly applied: boolean; readonly result: R }> {
    const now = this.#now();
    const tx = new OpenTransaction(this.#state, now);
    const result = build(tx);
    const changes = tx.changes();
    if (changes.length === 0) return { applied: true, result };
    const { applied } = await this.#proposer.propose(changes, now);
    return { applied, result };
  }

  batch<I>(items: readonly I[], build: (tx: Transaction, item: I) => void): Promise<{ refused: number }> {
    const port = {
      state: this.#state,
      now: this.#now,
      propose: (changes: readonly Change[], now: number) => this.#proposer.propose(changes, now),
      transact: (alone: (tx: Transaction) => void) => this.transact(alone),
      pause: () => this.#pause(),
    };
    return new Batch(port, items, build).run();
  }

  subscribe(handle: (commit: CommitEvent) => void): () => void {
    const own = (commit: CommitEvent) => handle(commit);
    this.#handlers.add(own);
    return () => void this.#handlers.delete(own);
  }

  /** The entry that carries `changes`. Must be made in the same turn as the changes: updates are written as differences. */
  encode(changes: readonly Change[], now: number): Uint8Array {
    return encodeEntry(changes, now, this.#state);
  }

  /** Applies one entry, committed at Raft index `version`. Throws when it cannot be read. */
  apply(version: number, entry: Uint8Array | { readonly changes: readonly Change[]; readonly now: number }): boolean {
    const decoded: DecodedEntry =
      entry instanceof Uint8Array
        ? decodeEntry(entry, this.#interner)
        : { now: entry.now, changes: asDecoded(entry.changes) };
    const events = applyEntry(this.#state, version, decoded);
    if (events === undefined) return false;
    this.#emit({ version, events });
    return true;
  }

  /** Captures the state now; the bytes are made while they are read. `extra` comes back from `restore`. */
  snapshot(extra: Document = {}): AsyncGenerator<Uint8Array> {
    return serialise(capture(this.#state), extra);
  }

  /** Replaces the state and tells subscribers the difference. On an error the old state stays. Nothing may be applied meanwhile. */
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<Document> {
    const { state, extra } = await deserialise(chunks, this.#interner);
    const events = difference(this.#state, state);
    this.#state.adopt(state);
    if (events.length > 0) this.#emit({ version: this.#state.version, events });
    return extra;
  }

  #pause(): Promise<void> | undefined {
    const defer = this.#defer;
    return defer === undefined ? undefined : new Promise((resolve) => defer(resolve));
  }

  #emit(commit: CommitEvent): void {
    for (const handle of [...this.#handlers]) handle(commit);
  }
}

export function createStore(options: MemoryStoreOptions): MemoryStore {
  return new MemoryStore(options);
}

/** Entries go through the same bytes as with Raft, only without the consensus. */
function localProposer(store: MemoryStore): Proposer {
  let last = 0;
  return {
    async propose(changes, now) {
      last = Math.max(last, store.view.version) + 1;
      return { version: last, applied: store.apply(last, store.encode(changes, now)) };
    },
  };
}

/** Objects of the same version are equal: a version is the index of the one entry that wrote them. */
function difference(from: State, to: State): readonly ChangeEvent[] {
  return tableNames.flatMap((table) => tableDifference(table, from, to) as ChangeEvent[]);
}

function tableDifference<T extends TableName>(
  table: T,
  from: State,
  to: State,
): { table: T; before?: Tables[T]; after?: Tables[T] }[] {
  const events: { table: T; before?: Tables[T]; after?: Tables[T] }[] = [];
  for (const after of to.list(table)) {
    const before = from.get(table, after.id);
    if (before === undefined) events.push({ table, after });
    else if (before.meta.version !== after.meta.version) events.push({ table, before, after });
  }
  for (const before of from.list(table)) if (to.get(table, before.id) === undefined) events.push({ table, before });
  return events;
}
