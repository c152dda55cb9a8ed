/** A disk in memory: what has been written survives a crash, save for an unsynced commit index. */
import type { AppendTask, ConfState, Entry, HardState, SnapshotMeta, StableLog, Term } from '../../src/core/index.ts';
import { EntryList } from '../../tools/entry-list.ts';

export class Disk extends EntryList implements StableLog {
  hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #syncedCommit = 0;
  #snapshot: SnapshotMeta | undefined;

  static founded(conf: ConfState, entries: readonly Entry[] = []): Disk {
    const disk = new Disk({ index: 1, term: 1 }, entries);
    disk.hardState = { term: 1, vote: 0, commit: 1 };
    disk.#syncedCommit = 1;
    disk.#snapshot = { index: 1, term: 1, conf, id: 'founding' };
    return disk;
  }

  /** A disk that holds entries of the given terms from index 2 on. */
  static withTerms(conf: ConfState, terms: readonly Term[], term: Term): Disk {
    const entries = terms.map((of, i): Entry => ({ term: of, index: i + 2, kind: 0, data: new Uint8Array([of]) }));
    const disk = Disk.founded(conf, entries);
    disk.hardState = { term, vote: 0, commit: 1 };
    return disk;
  }

  snapshot(): SnapshotMeta | 'not-ready' {
    return this.#snapshot ?? 'not-ready';
  }

  write(task: Pick<AppendTask, 'snapshot' | 'entries' | 'hardState' | 'mustSync'>): void {
    if (task.snapshot) {
      this.#snapshot = task.snapshot;
      this.restart(task.snapshot);
    }
    this.append(task.entries);
    if (task.hardState) this.hardState = task.hardState;
    if (task.mustSync) this.#syncedCommit = this.hardState.commit;
  }

  compact(snapshot: SnapshotMeta, keep: number): void {
    this.#snapshot = snapshot;
    this.dropTo(Math.max(this.firstIndex() - 1, snapshot.index - keep));
  }

  loseUnsynced(): void {
    const commit = Math.max(this.#syncedCommit, this.#snapshot?.index ?? 0);
    this.hardState = { ...this.hardState, commit: Math.min(commit, this.hardState.commit) };
  }

  /** What the disk will hold once `tasks` are written. */
  after(tasks: readonly AppendTask[]): Disk {
    const copy = new Disk(this.base, this.entries);
    copy.hardState = this.hardState;
    copy.#snapshot = this.#snapshot;
    for (const task of tasks) copy.write(task);
    return copy;
  }
}
