/** A node's disk in memory. Its snapshot is whatever its state machine has come to, not what the log begins with. */
import type { Entry, HardState, Index, SnapshotMeta, StableLog } from '../../src/core/index.ts';
import { EntryList } from '../entry-list.ts';

export class Storage extends EntryList implements StableLog {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  readonly #newest: () => SnapshotMeta;

  constructor(newest: () => SnapshotMeta) {
    super();
    this.#newest = newest;
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
    if (batch.snapshot) this.restart(batch.snapshot);
    this.append(batch.entries);
  }

  /** Drops everything up to `index`; the answer is an error text. */
  compact(index: Index): string | undefined {
    if (index < this.firstIndex()) return 'requested index is unavailable due to compaction';
    if (typeof this.term(index) !== 'number')
      return `compact ${String(index)} is out of bound lastindex(${String(this.lastIndex())})`;
    this.dropTo(index);
    return undefined;
  }
}
