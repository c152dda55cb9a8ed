/** A node's disk in memory. Its snapshot is whatever its state machine has come to, not what the log begins with. */
import type { Entry, HardState, Index, SnapshotMeta, StableLog, Term } from '../../src/core/index.ts';

export class Storage implements StableLog {
  #base: { readonly index: Index; readonly term: Term } = { index: 0, term: 0 };
  #entries: Entry[] = [];
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  readonly #newest: () => SnapshotMeta;

  constructor(newest: () => SnapshotMeta) {
    this.#newest = newest;
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  firstIndex(): Index {
    return this.#base.index + 1;
  }

  lastIndex(): Index {
    return this.#base.index + this.#entries.length;
  }

  term(index: Index): Term | 'compacted' | 'unavailable' {
    if (index === this.#base.index) return this.#base.term;
    if (index < this.#base.index) return 'compacted';
    return this.#entries[index - this.#base.index - 1]?.term ?? 'unavailable';
  }

  slice(low: Index, high: Index, maxBytes: number): readonly Entry[] | 'compacted' {
    if (low <= this.#base.index) return 'compacted';
    const entries: Entry[] = [];
    let bytes = 0;
    for (const entry of this.#entries.slice(low - this.#base.index - 1, high - this.#base.index - 1)) {
      bytes += entry.data.byteLength;
      if (entries.length > 0 && bytes > maxBytes) break;
      entries.push(entry);
    }
    return entries;
  }

  snapshot(): SnapshotMeta {
    return this.#newest();
  }

  write(batch: {
    readonly hardState?: HardState | undefined;
    readonly snapshot?: SnapshotMeta | undefined;
    readonly entries: readonly Entry[];
  }): void {
    if (batch.hardState) this.hardState = batch.hardState;
    if (batch.snapshot) {
      this.#base = { index: batch.snapshot.index, term: batch.snapshot.term };
      this.#entries = [];
    }
    const first = batch.entries[0]?.index;
    if (first === undefined) return;
    if (first <= this.#base.index || first > this.lastIndex() + 1) throw new Error('gap or overlap in the log');
    this.#entries.length = first - this.#base.index - 1;
    this.#entries.push(...batch.entries);
  }

  /** Drops everything up to `index`; the answer is an error text. */
  compact(index: Index): string | undefined {
    if (index <= this.#base.index) return 'requested index is unavailable due to compaction';
    const term = this.term(index);
    if (typeof term !== 'number')
      return `compact ${String(index)} is out of bound lastindex(${String(this.lastIndex())})`;
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
    return undefined;
  }
}
