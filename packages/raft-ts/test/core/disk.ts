/** A disk in memory: what has been written survives a crash, save for an unsynced commit index. */
import type {
  AppendTask,
  ConfState,
  Entry,
  HardState,
  Index,
  SnapshotMeta,
  StableLog,
  Term,
} from '../../src/core/index.ts';

export class Disk implements StableLog {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #syncedCommit = 0;
  #snapshot: SnapshotMeta | undefined;
  #base = { index: 0, term: 0 };
  #entries: Entry[] = [];

  static founded(conf: ConfState): Disk {
    const disk = new Disk();
    disk.hardState = { term: 1, vote: 0, commit: 1 };
    disk.#syncedCommit = 1;
    disk.#snapshot = { index: 1, term: 1, conf, id: 'founding' };
    disk.#base = { index: 1, term: 1 };
    return disk;
  }

  /** A disk that holds entries of the given terms from index 2 on. */
  static withTerms(conf: ConfState, terms: readonly Term[], term: Term): Disk {
    const disk = Disk.founded(conf);
    disk.#entries = terms.map((of, i) => ({ term: of, index: i + 2, kind: 0, data: new Uint8Array([of]) }));
    disk.hardState = { term, vote: 0, commit: 1 };
    return disk;
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

  snapshot(): SnapshotMeta | 'not-ready' {
    return this.#snapshot ?? 'not-ready';
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  write(task: Pick<AppendTask, 'snapshot' | 'entries' | 'hardState' | 'mustSync'>): void {
    if (task.snapshot) {
      this.#snapshot = task.snapshot;
      this.#base = { index: task.snapshot.index, term: task.snapshot.term };
      this.#entries = [];
    }
    const first = task.entries[0]?.index;
    if (first !== undefined) {
      if (first <= this.#base.index || first > this.lastIndex() + 1) throw new Error('gap or overlap on disk');
      this.#entries.length = first - this.#base.index - 1;
      this.#entries.push(...task.entries);
    }
    if (task.hardState) this.hardState = task.hardState;
    if (task.mustSync) this.#syncedCommit = this.hardState.commit;
  }

  compact(snapshot: SnapshotMeta, keep: number): void {
    this.#snapshot = snapshot;
    const index = Math.max(this.#base.index, snapshot.index - keep);
    const term = this.term(index);
    if (typeof term !== 'number') throw new Error('compacted beyond the log');
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { index, term };
  }

  loseUnsynced(): void {
    const commit = Math.max(this.#syncedCommit, this.#snapshot?.index ?? 0);
    this.hardState = { ...this.hardState, commit: Math.min(commit, this.hardState.commit) };
  }

  /** What the disk will hold once `tasks` are written. */
  after(tasks: readonly AppendTask[]): Disk {
    const copy = new Disk();
    copy.hardState = this.hardState;
    copy.#snapshot = this.#snapshot;
    copy.#base = this.#base;
    copy.#entries = [...this.#entries];
    for (const task of tasks) copy.write(task);
    return copy;
  }
}
