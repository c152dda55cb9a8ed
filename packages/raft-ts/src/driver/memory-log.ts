/** The durable part of the log, held in memory: the core reads it synchronously. */
import type { Entry, Index, SnapshotMeta, StableLog, Term } from '../core/types.ts';

export class MemoryLog implements StableLog {
  /** The entry just before the first one that is held. */
  #base: { readonly index: Index; readonly term: Term };
  #entries: Entry[];
  #snapshot: SnapshotMeta | undefined;
  #bytes = 0;

  /** `retained`: entries up to the snapshot, its own included, that are still there for peers that lag. */
  constructor(snapshot: SnapshotMeta | undefined, entries: readonly Entry[], retained: readonly Entry[] = []) {
    this.#snapshot = snapshot;
    // The first retained entry only serves to know its term.
    const [first] = retained;
    this.#base = { index: first?.index ?? snapshot?.index ?? 0, term: first?.term ?? snapshot?.term ?? 0 };
    this.#entries = [...retained.slice(1), ...entries];
    this.#bytes = bytesOf(this.#entries);
  }

  get length(): number {
    return this.#entries.length;
  }

  /** Payload bytes held. */
  get bytes(): number {
    return this.#bytes;
  }

  firstIndex(): Index {
    return this.#base.index + 1;
  }

  lastIndex(): Index {
    return this.#base.index + this.#entries.length;
  }

  term(index: Index): Term | 'compacted' | 'unavailable' {
    if (index < this.#base.index) return 'compacted';
    if (index === this.#base.index) return this.#base.term;
    return this.#entries[index - this.#base.index - 1]?.term ?? 'unavailable';
  }

  slice(low: Index, high: Index, maxBytes: number): readonly Entry[] | 'compacted' {
    if (low <= this.#base.index) return 'compacted';
    const from = low - this.#base.index - 1;
    const limit = Math.min(high - this.#base.index - 1, this.#entries.length);
    let bytes = 0;
    let to = from;
    for (; to < limit; to++) {
      bytes += this.#entries[to]?.data.length ?? 0;
      if (bytes > maxBytes && to > from) break;
    }
    return this.#entries.slice(from, to);
  }

  snapshot(): SnapshotMeta | 'not-ready' {
    return this.#snapshot ?? 'not-ready';
  }

  /** Entries replace whatever is held from the first one's index on. */
  append(entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    const keep = first.index - this.#base.index - 1;
    if (keep < 0 || keep > this.#entries.length) throw new RangeError(`log gap before entry ${String(first.index)}`);
    if (keep < this.#entries.length) this.#bytes -= bytesOf(this.#entries.splice(keep));
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#bytes += entry.data.length;
    }
  }

  /** A snapshot from the leader: the log is kept only where it is known to agree with it. */
  install(snapshot: SnapshotMeta): void {
    this.#snapshot = snapshot;
    if (this.term(snapshot.index) === snapshot.term) return this.compact(snapshot.index);
    this.#base = { index: snapshot.index, term: snapshot.term };
    this.#entries = [];
    this.#bytes = 0;
  }

  /** A snapshot of our own state: entries stay until `compact`. */
  snapshotTaken(snapshot: SnapshotMeta): void {
    this.#snapshot = snapshot;
  }

  compact(upTo: Index): void {
    const term = this.term(upTo);
    if (upTo <= this.#base.index || typeof term === 'string') return;
    this.#entries = this.#entries.slice(upTo - this.#base.index);
    this.#bytes = bytesOf(this.#entries);
    this.#base = { index: upTo, term };
  }
}

function bytesOf(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  return bytes;
}
