/**
 * Entries and the snapshot that are not yet known to be durable. `offset` is the index of the first of them; they
 * overlay whatever the stable log still holds from there on. What has been handed to the disk stays here until the disk
 * reports back, because a later write may replace it.
 */
import { must } from './errors.ts';
import type { Entry, EntryId, Index, SnapshotMeta, Term } from './types.ts';

export class Unstable {
  #offset: Index;
  #entries: Entry[] = [];
  #handedOut: Index;
  #snapshot: SnapshotMeta | undefined;
  #snapshotHandedOut = false;

  constructor(offset: Index) {
    this.#offset = offset;
    this.#handedOut = offset;
  }

  get offset(): Index {
    return this.#offset;
  }

  get snapshot(): SnapshotMeta | undefined {
    return this.#snapshot;
  }

  get lastIndex(): Index | undefined {
    if (this.#entries.length > 0) return this.#offset + this.#entries.length - 1;
    return this.#snapshot?.index;
  }

  get count(): number {
    return this.#entries.length;
  }

  get handedOut(): Index {
    return this.#handedOut;
  }

  get bytes(): number {
    return this.#entries.reduce((sum, entry) => sum + entry.data.byteLength, 0);
  }

  term(index: Index): Term | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    return this.#snapshot?.index === index ? this.#snapshot.term : undefined;
  }

  /** Entries of [low, high), which must lie in here. */
  slice(low: Index, high: Index): readonly Entry[] {
    must(low >= this.#offset && high <= this.#offset + this.#entries.length, 'read outside the unstable log');
    return this.#entries.slice(low - this.#offset, high - this.#offset);
  }

  waitingEntries(): readonly Entry[] {
    return this.#entries.slice(this.#handedOut - this.#offset);
  }

  hasWaitingEntries(): boolean {
    return this.#handedOut < this.#offset + this.#entries.length;
  }

  waitingSnapshot(): SnapshotMeta | undefined {
    return this.#snapshotHandedOut ? undefined : this.#snapshot;
  }

  handOut(): void {
    this.#handedOut = this.#offset + this.#entries.length;
    this.#snapshotHandedOut = this.#snapshot !== undefined;
  }

  /** Entries up to `upTo` are durable, provided that this very entry is still here. */
  stableTo(upTo: EntryId): void {
    if (upTo.index < this.#offset || this.term(upTo.index) !== upTo.term) return;
    this.#entries.splice(0, upTo.index + 1 - this.#offset);
    this.#offset = upTo.index + 1;
    this.#handedOut = Math.max(this.#handedOut, this.#offset);
  }

  stableSnapshot(index: Index): void {
    if (this.#snapshot?.index !== index) return;
    this.#snapshot = undefined;
    this.#snapshotHandedOut = false;
  }

  /** Replaces the whole log. */
  restore(snapshot: SnapshotMeta): void {
    this.#snapshot = snapshot;
    this.#snapshotHandedOut = false;
    this.#entries = [];
    this.#offset = snapshot.index + 1;
    this.#handedOut = this.#offset;
  }

  /** Appends, cutting off whatever was at and behind the first of `entries`. */
  append(entries: readonly Entry[]): void {
    const first = entries[0]?.index;
    if (first === undefined) return;
    if (first <= this.#offset) {
      this.#offset = first;
      this.#handedOut = first;
      this.#entries = [...entries];
      return;
    }
    must(first <= this.#offset + this.#entries.length, `gap in the log before index ${String(first)}`);
    this.#entries.length = first - this.#offset;
    this.#handedOut = Math.min(this.#handedOut, first);
    for (const entry of entries) this.#entries.push(entry);
  }
}
