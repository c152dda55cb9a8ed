/**
 * A log as an observer sees it: term and prefix hash per index. Equal hashes at an index mean equal logs up to it, so
 * comparing logs of any length takes one comparison.
 */
import type { Entry, HardState, Index, Term } from '../core/types.ts';
import { EntryKind } from '../core/types.ts';
import type { LogBatch, OpenedLog } from '../ports.ts';

export type ViewedBatch = Omit<LogBatch, 'sync'>;

export function mix(hash: number, value: number): number {
  let mixed = Math.imul(hash ^ value, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

export function hashBytes(bytes: Uint8Array, seed = 0x811c9dc5): number {
  let hash = seed;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] ?? 0), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Entries are immutable and travel to many logs, so each is hashed once. */
const entryHashes = new WeakMap<Entry, number>();

export function prefixHash(before: number, entry: Entry): number {
  let own = entryHashes.get(entry);
  if (own === undefined) {
    own = mix(mix(hashBytes(entry.data), entry.term), entry.kind + 7);
    entryHashes.set(entry, own);
  }
  return mix(before, own);
}

export interface Seen {
  readonly term: Term;
  readonly hash: number;
  readonly config: boolean;
  /** Nothing for the state machine. */
  readonly empty: boolean;
  readonly entry: Entry;
}

export interface Changed {
  /** The first index that was replaced, if any. */
  readonly cut: Index | undefined;
}

export class LogView {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  snapshotIndex: Index = 0;
  #base = { index: 0, term: 0, hash: 0 };
  #seen: Seen[] = [];

  copy(): LogView {
    const copy = new LogView();
    copy.hardState = this.hardState;
    copy.snapshotIndex = this.snapshotIndex;
    copy.#base = this.#base;
    copy.#seen = [...this.#seen];
    return copy;
  }

  get lastIndex(): Index {
    return this.#base.index + this.#seen.length;
  }

  at(index: Index): Seen | undefined {
    return this.#seen[index - this.#base.index - 1];
  }

  hashAt(index: Index): number | undefined {
    return index === this.#base.index ? this.#base.hash : this.at(index)?.hash;
  }

  termAt(index: Index): Term | undefined {
    return index === this.#base.index ? this.#base.term : this.at(index)?.term;
  }

  /** Config entries behind `index`. */
  configsAfter(index: Index): number {
    let count = 0;
    for (let at = Math.max(0, index - this.#base.index); at < this.#seen.length; at++) {
      if (this.#seen[at]?.config === true) count += 1;
    }
    return count;
  }

  /** Entries that the log is known to hold, perhaps already in here: only what contradicts them is cut off. */
  learn(entries: readonly Entry[]): Changed {
    const fresh = entries.findIndex(
      (entry) => entry.index > this.#base.index && this.termAt(entry.index) !== entry.term,
    );
    const first = entries[fresh];
    if (first === undefined || first.index > this.lastIndex + 1 || first.index <= this.#base.index)
      return { cut: undefined };
    return { cut: this.#put(entries.slice(fresh)) };
  }

  /** `hashOf`: the prefix hash of a committed index, for a snapshot that replaces the log. */
  apply(batch: ViewedBatch, hashOf: (index: Index) => number): Changed {
    this.hardState = batch.hardState ?? this.hardState;
    const { snapshot } = batch;
    if (snapshot !== undefined && snapshot.index >= this.snapshotIndex) {
      this.snapshotIndex = snapshot.index;
      if (this.termAt(snapshot.index) !== snapshot.term) {
        this.#base = { index: snapshot.index, term: snapshot.term, hash: hashOf(snapshot.index) };
        this.#seen = [];
      }
    }
    return { cut: this.#put(batch.entries) };
  }

  #put(entries: readonly Entry[]): Index | undefined {
    const first = entries[0]?.index;
    if (first === undefined) return undefined;
    let cut: Index | undefined;
    const keep = first - this.#base.index - 1;
    if (keep < 0 || keep > this.#seen.length) throw new RangeError(`log with a gap before ${String(first)}`);
    if (keep < this.#seen.length) {
      cut = first;
      this.#seen.length = keep;
    }
    let hash = this.#seen.at(-1)?.hash ?? this.#base.hash;
    for (const entry of entries) {
      hash = prefixHash(hash, entry);
      const config = entry.kind === EntryKind.Config;
      this.#seen.push({ term: entry.term, hash, config, empty: !config && entry.data.length === 0, entry });
    }
    return cut;
  }

  /** What a restart must find, in one line. */
  print(): string {
    const { term, vote, commit } = this.hardState;
    const last = this.lastIndex;
    return `term ${term} vote ${vote} commit ${commit} snapshot ${this.snapshotIndex} last ${last} #${this.hashAt(last) ?? 0}`;
  }

  static of(opened: OpenedLog, hashOf: (index: Index) => number): LogView {
    const view = new LogView();
    const { hardState, entries, snapshot } = opened;
    view.apply({ hardState, entries, ...(snapshot === undefined ? {} : { snapshot }) }, hashOf);
    return view;
  }
}
