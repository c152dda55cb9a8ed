/**
 * The log as the algorithm sees it: the stable log overlaid with the unstable one, plus commit and apply cursors.
 * `applied ≤ applying ≤ commit ≤ lastIndex`; only durable entries are handed out to be applied.
 */
import { must } from './errors.ts';
import type { Entry, EntryId, Index, SnapshotMeta, StableLog, Term } from './types.ts';
import { EntryKind } from './types.ts';
import { Unstable } from './unstable.ts';

export class RaftLog {
  readonly #stable: StableLog;
  readonly #applyUnstable: boolean;
  readonly unstable: Unstable;
  #commit: Index;
  #applying: Index;
  #applied: Index;

  constructor(
    stable: StableLog,
    from: { readonly commit: Index; readonly applied: Index; readonly applyUnstable: boolean },
  ) {
    const { commit, applied } = from;
    this.#stable = stable;
    this.#applyUnstable = from.applyUnstable;
    this.unstable = new Unstable(stable.lastIndex() + 1);
    const base = stable.firstIndex() - 1;
    must(
      commit >= base && commit <= stable.lastIndex(),
      `commit ${String(commit)} is outside the log ${String(base)}…${String(stable.lastIndex())}`,
    );
    must(
      applied >= base && applied <= commit,
      `applied ${String(applied)} is outside ${String(base)}…commit ${String(commit)}`,
    );
    this.#commit = commit;
    this.#applying = applied;
    this.#applied = applied;
  }

  get commit(): Index {
    return this.#commit;
  }

  get applying(): Index {
    return this.#applying;
  }

  get applied(): Index {
    return this.#applied;
  }

  get firstIndex(): Index {
    return this.unstable.snapshot ? this.unstable.snapshot.index + 1 : this.#stable.firstIndex();
  }

  get lastIndex(): Index {
    return this.unstable.lastIndex ?? this.#stable.lastIndex();
  }

  /** The last index that the disk has reported durable. */
  get stableIndex(): Index {
    return this.unstable.offset - 1;
  }

  /** Undefined when compacted away or not there yet. */
  term(index: Index): Term | undefined {
    if (index < this.firstIndex - 1 || index > this.lastIndex) return undefined;
    const unstable = this.unstable.term(index);
    if (unstable !== undefined) return unstable;
    const stable = this.#stable.term(index);
    return typeof stable === 'number' ? stable : undefined;
  }

  last(): EntryId {
    return this.#id(this.lastIndex);
  }

  committed(): EntryId {
    return this.#id(this.#commit);
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Is a log ending in `other` at least as up to date as ours [paper §5.4.1]? */
  isUpToDate(other: EntryId): boolean {
    const last = this.last();
    return other.term > last.term || (other.term === last.term && other.index >= last.index);
  }

  /** Entries from `low` to the end or to `maxBytes` of payload, at least one if there is one. */
  from(low: Index, maxBytes: number): readonly Entry[] | 'compacted' {
    return this.slice(low, this.lastIndex + 1, maxBytes);
  }

  slice(low: Index, high: Index, maxBytes: number): readonly Entry[] | 'compacted' {
    if (low < this.firstIndex) return 'compacted';
    if (low >= high) return [];
    const entries: Entry[] = [];
    let bytes = 0;
    const take = (part: readonly Entry[]): boolean => {
      for (const entry of part) {
        bytes += entry.data.byteLength;
        if (entries.length > 0 && bytes > maxBytes) return false;
        entries.push(entry);
      }
      return true;
    };
    const border = this.unstable.offset;
    if (low < border) {
      const part = this.#stable.slice(low, Math.min(high, border), maxBytes);
      if (part === 'compacted') return 'compacted';
      if (!take(part) || part.length < Math.min(high, border) - low) return entries;
    }
    if (high > border) take(this.unstable.slice(Math.max(low, border), high));
    return entries;
  }

  /**
   * The largest index at or below `index`, but not below `floor`, whose term is at most `term`: beyond it the two logs
   * must differ. An unknown term may match, and is reported as 0.
   */
  lastWithTermAtMost(index: Index, term: Term, floor: Index): EntryId {
    for (let at = index; at > floor; at -= 1) {
      const own = this.term(at);
      if (own === undefined || own <= term) return { index: at, term: own ?? 0 };
    }
    const at = Math.min(index, floor);
    return { index: at, term: this.term(at) ?? 0 };
  }

  /**
   * A follower's append behind `prev`, which must match. Entries that are there already stay: a delayed shorter message
   * must not cut off what a later one brought.
   */
  merge(prev: EntryId, entries: readonly Entry[]): void {
    const fresh = entries.findIndex((entry) => !this.matches(entry));
    if (fresh < 0) return;
    const from = prev.index + 1 + fresh;
    must(from > this.#commit, `conflict at committed index ${String(from)} (commit ${String(this.#commit)})`);
    this.unstable.append(entries.slice(fresh));
  }

  append(entries: readonly Entry[]): void {
    this.unstable.append(entries);
  }

  commitTo(index: Index): boolean {
    if (index <= this.#commit) return false;
    must(
      index <= this.lastIndex,
      `commit ${String(index)} lies beyond the last index ${String(this.lastIndex)}: was the log truncated or lost?`,
    );
    this.#commit = index;
    return true;
  }

  restore(snapshot: SnapshotMeta): void {
    this.unstable.restore(snapshot);
    this.#commit = Math.max(this.#commit, snapshot.index);
  }

  snapshotDurable(snapshot: SnapshotMeta): void {
    this.unstable.stableSnapshot(snapshot.index);
    this.#applied = Math.max(this.#applied, snapshot.index);
    this.#applying = Math.max(this.#applying, snapshot.index);
  }

  storedSnapshot(): SnapshotMeta | 'not-ready' {
    return this.#stable.snapshot();
  }

  /** The last index that may be handed out to be applied. */
  get applicable(): Index {
    if (this.unstable.snapshot) return this.#applying;
    if (this.#applyUnstable) return this.#commit;
    return Math.max(this.#applying, Math.min(this.#commit, this.stableIndex));
  }

  takeApplicable(maxBytes: number): readonly Entry[] {
    const entries = this.slice(this.#applying + 1, this.applicable + 1, maxBytes);
    must(entries !== 'compacted', `entries behind ${String(this.#applying)} were compacted before they were applied`);
    this.#applying += entries.length;
    return entries;
  }

  appliedTo(index: Index): void {
    must(index <= this.#applying, `applied ${String(index)} was never handed out`);
    this.#applied = Math.max(this.#applied, index);
  }

  /** Campaigning with a committed but unapplied configuration would count the wrong voters [thesis §4.1]. */
  hasUnappliedConfig(pageBytes: number): boolean {
    let low = Math.max(this.#applied + 1, this.firstIndex);
    while (low <= this.#commit) {
      const page = this.slice(low, this.#commit + 1, pageBytes);
      if (page === 'compacted' || page.length === 0) return true;
      if (page.some((entry) => entry.kind === EntryKind.Config)) return true;
      low += page.length;
    }
    return false;
  }

  #id(index: Index): EntryId {
    const term = this.term(index);
    must(term !== undefined, `term of index ${String(index)} is not known`);
    return { index, term };
  }
}
