/**
 * The writing end of the log: appends records to the newest segment and starts the next one. That one is prepared while
 * the log goes on: a file of zeros, already on disk, so that neither its making nor its growth delays a write.
 */
import { encodeFollowed } from './batch.ts';
import type { FileHandle, FileSystem } from './file-system.ts';
import type { ReadSegmentHeader, RecordPlace } from './record.ts';
import { align, encodeSegmentHeader, maxBodySize, putRecord, recordHeaderSize, segmentHeaderSize } from './record.ts';
import type { Scan } from './scan.ts';

export interface SegmentOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly segmentBytes: number;
  readonly growBytes: number;
}

interface Tail {
  readonly number: number;
  readonly file: FileHandle;
  readonly segmentCrc: number;
  position: number;
  /** Up to here the file is known to hold zeros behind `position`. */
  allocated: number;
}

interface Spare {
  readonly number: number;
  readonly file: FileHandle;
}

const segmentName = /^\d{16}\.wal$/;
const temporaryName = /\.wal\.tmp$/;
const zeros = new Uint8Array(1 << 20);

export function segmentNumbers(names: readonly string[]): number[] {
  return names.filter((name) => segmentName.test(name)).map((name) => Number.parseInt(name, 10));
}

export function temporaries(names: readonly string[]): string[] {
  return names.filter((name) => temporaryName.test(name));
}

export function segmentPath(directory: string, number: number): string {
  return `${directory}/${String(number).padStart(16, '0')}.wal`;
}

export class SegmentWriter {
  readonly #options: SegmentOptions;
  #tail: Tail | undefined;
  #next: RecordPlace = { sequence: 1, previousCrc: 0 };
  #spare: Promise<Spare | undefined> | undefined;

  constructor(options: SegmentOptions) {
    this.#options = options;
  }

  get number(): number {
    return this.#tail?.number ?? 0;
  }

  get isOpen(): boolean {
    return this.#tail !== undefined;
  }

  /** A record of one segment at least, so that a body larger than a segment still finds a place. */
  isFullFor(bodyLength: number): boolean {
    const { position } = this.#opened();
    const size = align(recordHeaderSize + bodyLength);
    return position + size > this.#options.segmentBytes && position > segmentHeaderSize;
  }

  /** Resolves when the record is durable. After a rejection nothing may be written any more. */
  async write(body: Uint8Array): Promise<void> {
    const tail = this.#opened();
    const end = tail.position + align(recordHeaderSize + body.length);
    const grown = end > tail.allocated ? this.#grownTo(end) : end;
    const bytes = new Uint8Array(grown - tail.position);
    const crc = this.#put(bytes, body, { at: 0, position: tail.position, segmentCrc: tail.segmentCrc });
    await tail.file.write(tail.position, bytes);
    tail.allocated = Math.max(tail.allocated, grown);
    tail.position = end;
    this.#advance(crc);
    if (end > this.#options.segmentBytes / 2) this.#spare ??= this.#prepare(tail.number + 1);
  }

  /** The first segment of a log, or one after `number`, beginning with a record of `body`. */
  async begin(number: number, body: Uint8Array): Promise<void> {
    const { fileSystem, directory } = this.#options;
    const header = encodeSegmentHeader({ number, firstSequence: this.#next.sequence, ...this.#previous() });
    const position = segmentHeaderSize + align(recordHeaderSize + body.length);
    const spare = await this.#takeSpare(number);
    const bytes = new Uint8Array(spare === undefined ? this.#grownTo(position) : position);
    bytes.set(header.bytes);
    const crc = this.#put(bytes, body, {
      at: segmentHeaderSize,
      position: segmentHeaderSize,
      segmentCrc: header.crc,
    });
    const path = segmentPath(directory, number);
    const draft = spare ?? (await fileSystem.open(`${path}.tmp`, 'create'));
    await draft.write(0, bytes);
    await draft.sync();
    await draft.close();
    await fileSystem.rename(`${path}.tmp`, path);
    await fileSystem.syncDirectory(directory);
    const file = await fileSystem.open(path, 'synced');
    const allocated = spare === undefined ? bytes.length : Math.max(bytes.length, this.#options.segmentBytes);
    this.#tail = { number, file, segmentCrc: header.crc, position, allocated };
    this.#advance(crc);
  }

  /**
   * Once the next segment is in place, the full one says so: a newest segment that is missing is noticed. The mark stands
   * outside the chain, for the next segment's header has been written.
   */
  async rotate(body: Uint8Array): Promise<void> {
    const full = this.#opened();
    const place = this.#next;
    await this.begin(full.number + 1, body);
    const mark = encodeFollowed(full.number + 1);
    const bytes = new Uint8Array(align(recordHeaderSize + mark.length));
    putRecord(bytes, 0, { ...place, body: mark, segmentCrc: full.segmentCrc, position: full.position });
    await full.file.write(full.position, bytes);
    await full.file.close();
  }

  /**
   * Goes on behind the last good record of the newest segment. Whatever was read is made durable first, for this node
   * will act on it; the last record is even written again: if the sync before the restart failed, the page cache may be
   * its only holder and hold it for clean.
   */
  async resume(number: number, segment: ReadSegmentHeader, scan: Scan): Promise<void> {
    const { fileSystem, directory } = this.#options;
    const file = await fileSystem.open(segmentPath(directory, number), 'synced');
    const size = await file.size();
    this.#tail = { number, file, segmentCrc: segment.crc, position: scan.end, allocated: size };
    this.#next = scan.next;
    if (scan.last !== undefined) {
      const { position, length } = scan.last;
      await file.write(position, await file.read(position, recordHeaderSize + length));
    }
    if (scan.tail.kind !== 'clean') {
      await file.truncate(scan.end);
      this.#tail.allocated = scan.end;
    }
    await file.sync();
    await fileSystem.syncDirectory(directory);
  }

  /** A segment of an older version is left as it is. */
  async leave(body: Uint8Array): Promise<void> {
    const old = this.#opened();
    await this.begin(old.number + 1, body);
    await old.file.close();
  }

  async close(): Promise<void> {
    const tail = this.#tail;
    this.#tail = undefined;
    const spare = await this.#spare;
    this.#spare = undefined;
    try {
      if (spare !== undefined) await this.#discard(spare.file, spare.number);
    } finally {
      await tail?.file.close();
    }
  }

  #opened(): Tail {
    if (this.#tail === undefined) throw new Error('Cannot append to log: it is not open');
    return this.#tail;
  }

  #previous(): { readonly previousCrc: number } {
    return { previousCrc: this.#next.previousCrc };
  }

  #put(
    into: Uint8Array,
    body: Uint8Array,
    where: { readonly at: number; readonly position: number; readonly segmentCrc: number },
  ): number {
    if (body.length > maxBodySize) throw new RangeError(`Cannot write log record: ${String(body.length)} bytes`);
    const { at, position, segmentCrc } = where;
    return putRecord(into, at, { ...this.#next, body, segmentCrc, position });
  }

  #advance(crc: number): void {
    this.#next = { sequence: this.#next.sequence + 1, previousCrc: crc };
  }

  #grownTo(end: number): number {
    return Math.ceil(end / this.#options.growBytes) * this.#options.growBytes;
  }

  /**
   * Never rejects: a file that could not be prepared is thrown away, untouched by any second sync, and the segment made
   * when it is due, where an error counts.
   */
  async #prepare(number: number): Promise<Spare | undefined> {
    const { fileSystem, directory, segmentBytes } = this.#options;
    let file: FileHandle | undefined;
    try {
      file = await fileSystem.open(`${segmentPath(directory, number)}.tmp`, 'create');
      for (let at = 0; at < segmentBytes; at += zeros.length) {
        await file.write(at, zeros.subarray(0, Math.min(zeros.length, segmentBytes - at)));
        // In pieces: one sync of everything would hold up the log's own.
        await file.sync();
      }
      return { number, file };
    } catch {
      await this.#discard(file, number);
      return undefined;
    }
  }

  async #discard(file: FileHandle | undefined, number: number): Promise<void> {
    try {
      await file?.close();
      await this.#options.fileSystem.remove(`${segmentPath(this.#options.directory, number)}.tmp`);
    } catch {
      // Opening the log removes what is left.
    }
  }

  async #takeSpare(number: number): Promise<FileHandle | undefined> {
    const spare = await this.#spare;
    this.#spare = undefined;
    if (spare === undefined || spare.number === number) return spare?.file;
    await this.#discard(spare.file, spare.number);
    return undefined;
  }
}
