/** A log in memory, as the core reads it: entries behind a base. What tests and tools build their disks on. */
import type { Entry, Index, Term } from '../src/core/index.ts';

export class EntryList {
  #base: { readonly index: Index; readonly term: Term };
  #entries: Entry[];

  constructor(
    base: { readonly index: Index; readonly term: Term } = { index: 0, term: 0 },
    entries: readonly Entry[] = [],
  ) {
    this.#base = base;
    this.#entries = [...entries];
  }

  /** The entry just before the first one that is held. */
  get base(): { readonly index: Index; readonly term: Term } {
    return this.#base;
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

  /** Nothing but a snapshot that ends there. */
  restart({ index, term }: { readonly index: Index; readonly term: Term }): void {
    this.#base = { index, term };
    this.#entries = [];
  }

  /** Entries from the first one's index on are replaced. */
  append(entries: readonly Entry[]): void {
    const first = entries[0]?.index;
    if (first === undefined) return;
    if (first <= this.#base.index || first > this.lastIndex() + 1) throw new Error('gap or overlap in the log');
    this.#entries.length = first - this.#base.index - 1;
    this.#entries.push(...entries);
  }

  /** Drops everything up to `index`, which the log holds. */
  dropTo(index: Index): void {
    const term = this.term(index);
    if (typeof term !== 'number') throw new Error(`no entry ${String(index)} to compact to`);
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }
}
