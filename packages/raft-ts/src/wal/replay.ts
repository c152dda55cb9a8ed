/** Rebuilds the log from its batches, oldest first. Pure. */
import type { Entry, HardState, Index, SnapshotMeta } from '../core/types.ts';
import type { OpenedLog } from '../ports.ts';
import type { StoredBatch } from './batch.ts';
import { logCorrupt } from './errors.ts';

export class Replay {
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: SnapshotMeta | undefined;
  /** Consecutive. Those that the snapshot covers stay as long as they lead up to it. */
  #entries: Entry[] = [];

  get hardState(): HardState {
    return this.#hardState;
  }

  get snapshot(): SnapshotMeta | undefined {
    return this.#snapshot;
  }

  apply(batch: StoredBatch): void {
    this.#hardState = batch.hardState ?? this.#hardState;
    if (batch.snapshot !== undefined) this.#applySnapshot(batch.snapshot);
    this.#applyEntries(batch.entries);
  }

  /**
   * The log is kept with a snapshot that it contains, and dropped for one that it does not. Oldest segments may be
   * gone, so a snapshot from before the first entry we hold says nothing about those we do.
   */
  #applySnapshot(snapshot: SnapshotMeta): void {
    if (snapshot.index < (this.#snapshot?.index ?? 0)) return;
    this.#snapshot = snapshot;
    const first = this.#entries[0];
    if (first === undefined || snapshot.index < first.index) return;
    if (this.#entries[snapshot.index - first.index]?.term !== snapshot.term) this.#entries = [];
  }

  /** A batch that begins inside the log replaces its rest; a gap must turn out to be covered by a later snapshot. */
  #applyEntries(entries: readonly Entry[]): void {
    const [next] = entries;
    if (next === undefined) return;
    for (const [at, entry] of entries.entries()) {
      if (entry.index !== next.index + at) throw logCorrupt('entries of a batch are not consecutive');
    }
    const first = this.#entries[0]?.index ?? next.index;
    const keep = next.index - first;
    if (keep < 0 || keep > this.#entries.length) this.#entries = [];
    else this.#entries.length = keep;
    for (const entry of entries) this.#entries.push(entry);
  }

  result(): OpenedLog {
    const snapshot = this.#snapshot;
    const base = snapshot?.index ?? 0;
    const behind = Math.max(0, base + 1 - (this.#entries[0]?.index ?? base + 1));
    const entries = this.#entries.slice(behind);
    const first = entries[0]?.index ?? base + 1;
    if (first !== base + 1) throw logCorrupt(missing(base + 1, first - 1));
    const hardState = this.#hardState;
    if (snapshot === undefined) return { hardState, entries };
    const retained = this.#entries.slice(0, behind);
    const last = retained.at(-1);
    if (last?.index !== snapshot.index || last.term !== snapshot.term) return { hardState, snapshot, entries };
    return { hardState, snapshot, entries, retained };
  }
}

export function missing(first: Index, last: Index): string {
  return `entries ${String(first)} to ${String(last)} are missing`;
}
