/**
 * Looks inside a simulated disk: follows every write of the log and knows at each instant what a power failure would
 * leave at the least. It trusts nothing that the log says of itself, only what the file system was asked to make durable.
 */
import type { Index } from '../core/types.ts';
import type { OpenMode } from '../wal/file-system.ts';
import { LogView, type ViewedBatch } from './log-view.ts';
import { type ReadSegmentHeader, readWrite } from './records.ts';

interface Watched {
  path: string;
  named: boolean;
  header: ReadSegmentHeader | undefined;
}

interface Written {
  readonly file: Watched;
  readonly batches: readonly ViewedBatch[];
  /** Its bytes are on the disk; whether they can be found depends on the file's name as well. */
  synced: boolean;
  /** May be there in part only, so it counts only if the log finds it. */
  readonly torn: boolean;
}

const logFile = /\.wal(\.tmp)?$/;

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

export class DiskInspector {
  /** What is certain to survive. */
  durable = new LogView();
  readonly #hashOf: (index: Index) => number;
  readonly #files = new Map<string, Watched>();
  #written: Written[] = [];

  constructor(hashOf: (index: Index) => number) {
    this.#hashOf = hashOf;
  }

  created(path: string): void {
    if (logFile.test(path)) this.#files.set(path, { path, named: false, header: undefined });
  }

  wrote(path: string, position: number, bytes: Uint8Array, how: { mode: OpenMode; torn: boolean }): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    const { header, records, batches } = readWrite(bytes, position, file.header);
    if (header !== undefined) file.header = header;
    if (batches.length === 0) {
      if (records === 0 && bytes.some((byte) => byte !== 0))
        throw new Error(`disk inspector cannot read what was written to ${path}`);
      return;
    }
    this.#written.push({ file, batches, synced: how.mode === 'synced' && !how.torn, torn: how.torn });
    this.#settle();
  }

  synced(path: string): void {
    const file = this.#files.get(path);
    for (const written of this.#written) if (written.file === file) written.synced = true;
    this.#settle();
  }

  renamed(from: string, to: string): void {
    const file = this.#files.get(from);
    if (file === undefined) return;
    this.#files.delete(from);
    this.#files.set(to, { ...file, path: to, named: false });
    const moved = this.#files.get(to) as Watched;
    this.#written = this.#written.map((written) => (written.file === file ? { ...written, file: moved } : written));
  }

  directorySynced(directory: string): void {
    for (const file of this.#files.values()) if (directoryOf(file.path) === directory) file.named = true;
    this.#settle();
  }

  removed(path: string): void {
    this.#files.delete(path);
  }

  /** True when `found` is what a correct log may find: all that is certain, then any beginning of the rest. */
  recovered(found: LogView, powerLost: boolean): boolean {
    const wanted = found.print();
    const candidate = this.durable.copy();
    const rest = this.#written;
    for (let kept = 0; ; kept++) {
      if (candidate.print() === wanted) {
        this.#keep(candidate, rest.slice(0, kept), powerLost);
        return true;
      }
      const next = rest[kept];
      if (next === undefined) return false;
      for (const batch of next.batches) candidate.apply(batch, this.#hashOf);
    }
  }

  /** What survived a loss of power is on the disk; what survived a mere crash may still be in the page cache. */
  #keep(found: LogView, kept: readonly Written[], powerLost: boolean): void {
    this.#written = powerLost ? [] : kept.map((written) => ({ ...written, torn: false }));
    if (powerLost) this.durable = found;
    this.#settle();
  }

  #settle(): void {
    let settled = 0;
    for (const { file, batches, synced, torn } of this.#written) {
      if (!synced || torn || !file.named) break;
      for (const batch of batches) this.durable.apply(batch, this.#hashOf);
      settled += 1;
    }
    if (settled > 0) this.#written.splice(0, settled);
  }
}
