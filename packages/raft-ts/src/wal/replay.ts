/** Rebuilds the log from its batches, oldest first. Pure. */
import type { Entry, HardState, SnapshotMeta } from '../core/types.ts';
import type { OpenedLog } from '../ports.ts';
import type { StoredBatch } from './batch.ts';
import { LogCorrupt } from './errors.ts';

export class Replay {
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: SnapshotMeta | undefined;
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
   * The log is kept behind a snapshot that it contains, and dropped for one that it does not. Oldest segments may be
   * gone, so a snapshot from before the first entry we hold says nothing about those we do.
   */
  #applySnapshot(snapshot: SnapshotMeta): void {
    if (snapshot.index < (this.#snapshot?.index ?? 0)) return;
    this.#snapshot = snapshot;
    const first = this.#entries[0];
    if (first === undefined || snapshot.index < first.index) return;
    const at = snapshot.index - first.index;
    this.#entries = this.#entries[at]?.term === snapshot.term ? this.#entries.slice(at + 1) : [];
  }

  /** A batch that begins inside the log replaces its rest; a gap must turn out to be covered by a later snapshot. */
  #applyEntries(entries: readonly Entry[]): void {
    const [next] = entries;
    if (next === undefined) return;
    for (const [at, entry] of entries.entries()) {
      if (entry.index !== next.index + at)
        throw new LogCorrupt('Cannot open log: entries of a batch are not consecutive');
    }
    const first = this.#entries[0]?.index ?? next.index;
    const keep = next.index - first;
    if (keep < 0 || keep > this.#entries.length) this.#entries = [];
    else this.#entries.length = keep;
    for (const entry of entries) this.#entries.push(entry);
  }

  result(): OpenedLog {
    const base = this.#snapshot?.index ?? 0;
    const entries = this.#entries.filter((entry) => entry.index > base);
    const first = entries[0]?.index ?? base + 1;
    if (first !== base + 1) {
      throw new LogCorrupt(`Cannot open log: entries ${String(base + 1)} to ${String(first - 1)} are missing`);
    }
    const hardState = this.#hardState;
    return this.#snapshot === undefined ? { hardState, entries } : { hardState, snapshot: this.#snapshot, entries };
  }
}
