/**
 * WalLogStore keeps the log in numbered segment files of one directory (layout: record.ts).
 *
 * Promised: batches become durable in the order given, each whole or not at all; while one write is on its way, all
 * calls to `append` wait for the next one, which takes them together. After any error of the disk nothing is written any
 * more. Opening cuts off a write that a crash tore, and refuses a log whose durable part has changed.
 * A batch that holds nothing but a commit index is kept until the next write: losing it is harmless.
 */
import type { HardState, Index, SnapshotMeta } from '../core/types.ts';
import type { LogBatch, LogStore, OpenedLog, Sealer } from '../ports.ts';
import type { StoredBatch } from './batch.ts';
import { batchSize, decodeRecordBody, encodeRecordBody } from './batch.ts';
import { LogCorrupt, SealBroken } from './errors.ts';
import type { FileHandle, FileSystem } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import type { FoundRecord, ReadSegmentHeader } from './record.ts';
import {
  align,
  decodeSegmentHeader,
  encodeSegmentHeader,
  findRecord,
  laterRecordExists,
  maxBodySize,
  putRecord,
  recordHeaderSize,
  segmentHeaderSize,
} from './record.ts';
import { Replay } from './replay.ts';

export interface WalOptions {
  readonly directory: string;
  readonly fileSystem?: FileSystem;
  readonly sealer?: Sealer;
  /** A segment that reaches this size is closed and the next one begun. */
  readonly segmentBytes?: number;
  /** Segments grow by this much, zero-filled: most writes then need no change of the file's length. */
  readonly growBytes?: number;
}

interface Segment {
  readonly number: number;
  readonly path: string;
  /** The highest index of any entry in it, also of entries replaced later. */
  maxIndex: Index;
}

interface Tail {
  readonly segment: Segment;
  readonly file: FileHandle;
  readonly segmentCrc: number;
  position: number;
  allocated: number;
}

interface Queued {
  readonly batch: StoredBatch;
  readonly size: number;
  readonly lazy: boolean;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

const groupBytes = 16 << 20;
const segmentName = /^\d{16}\.wal$/;

export function createWalLogStore(options: WalOptions): WalLogStore {
  return new WalLogStore(options);
}

export class WalLogStore implements LogStore {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #sealer: Sealer | undefined;
  readonly #segmentBytes: number;
  readonly #growBytes: number;

  #unlock: (() => Promise<void>) | undefined;
  #segments: Segment[] = [];
  #tail: Tail | undefined;
  #sequence = 1;
  #previousCrc = 0;
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: SnapshotMeta | undefined;

  #queue: Queued[] = [];
  #writing: Promise<void> | undefined;
  #compacting: Promise<void> = Promise.resolve();
  #fault: Error | undefined;
  #closed = false;

  constructor(options: WalOptions) {
    this.#fs = options.fileSystem ?? nodeFileSystem;
    this.#directory = options.directory;
    this.#sealer = options.sealer;
    this.#segmentBytes = options.segmentBytes ?? 16 << 20;
    this.#growBytes = options.growBytes ?? 512 << 10;
  }

  async open(): Promise<OpenedLog> {
    if (this.#unlock !== undefined) throw new Error('Cannot open log: it is open already');
    await this.#fs.makeDirectory(this.#directory);
    this.#unlock = await this.#fs.lock(`${this.#directory}/lock`);
    try {
      return await this.#recover();
    } catch (error) {
      await this.#tail?.file.close();
      await this.#release();
      throw error;
    }
  }

  append(batch: LogBatch): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    const { hardState, snapshot, entries } = batch;
    if (!batch.sync && entries.length === 0 && snapshot === undefined) {
      if (hardState !== undefined) this.#keepForLater({ hardState, entries });
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ batch, size: batchSize(batch), lazy: false, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  async compact(upTo: Index): Promise<void> {
    if (upTo > (this.#snapshot?.index ?? 0)) {
      throw new Error(`Cannot compact log to ${String(upTo)}: no durable snapshot covers it`);
    }
    this.#compacting = this.#compacting.then(() => this.#removeBelow(upTo));
    const done = this.#compacting;
    this.#compacting = done.catch(() => {});
    await done;
  }

  /** Writes what was kept for later. Calling it twice does no harm. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    await this.#compacting;
    const rest = this.#queue;
    this.#queue = [];
    try {
      if (this.#fault === undefined && rest.length > 0) await this.#writeGroup(rest);
    } finally {
      await this.#tail?.file.close();
      await this.#release();
    }
  }

  #refusal(): Error | undefined {
    if (this.#fault !== undefined) return this.#fault;
    return this.#closed || this.#tail === undefined ? new Error('Cannot append to log: it is not open') : undefined;
  }

  async #release(): Promise<void> {
    const unlock = this.#unlock;
    this.#unlock = undefined;
    this.#tail = undefined;
    await unlock?.();
  }

  #keepForLater(batch: StoredBatch): void {
    if (this.#queue.at(-1)?.lazy) this.#queue.pop();
    this.#queue.push({ batch, size: batchSize(batch), lazy: true, resolve: () => {}, reject: () => {} });
  }

  // Writing.

  async #writeAll(): Promise<void> {
    // One microtask later, so that the calls of one turn share a write.
    await Promise.resolve();
    while (this.#fault === undefined && this.#queue.some((queued) => !queued.lazy)) {
      const group = this.#takeGroup();
      try {
        await this.#writeGroup(group);
      } catch (error) {
        this.#fault = error instanceof Error ? error : new Error('log write broke', { cause: error });
        for (const { reject } of [...group, ...this.#queue]) reject(this.#fault);
        this.#queue = [];
        break;
      }
      for (const { resolve } of group) resolve();
    }
    this.#writing = undefined;
  }

  #takeGroup(): Queued[] {
    let bytes = 0;
    let count = 0;
    for (const { size } of this.#queue) {
      if (count > 0 && bytes + size > groupBytes) break;
      bytes += size;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #writeGroup(group: readonly Queued[]): Promise<void> {
    const batches = group.map(({ batch }) => batch);
    const body = this.#seal(encodeRecordBody(batches));
    const size = align(recordHeaderSize + body.length);
    let tail = this.#openTail();
    if (tail.position + size > this.#segmentBytes && tail.position > segmentHeaderSize) tail = await this.#rotate(tail);
    const end = tail.position + size;
    const bytes = new Uint8Array(end > tail.allocated ? this.#grownTo(end) - tail.position : size);
    const crc = putRecord(bytes, 0, body, this.#place(tail.segmentCrc));
    await tail.file.write(tail.position, bytes);
    tail.allocated = Math.max(tail.allocated, tail.position + bytes.length);
    tail.position = end;
    this.#advance(crc);
    for (const batch of batches) this.#remember(tail.segment, batch);
  }

  #openTail(): Tail {
    if (this.#tail === undefined) throw new Error('Cannot append to log: it is not open');
    return this.#tail;
  }

  #place(segmentCrc: number): { sequence: number; previousCrc: number; segmentCrc: number } {
    return { sequence: this.#sequence, previousCrc: this.#previousCrc, segmentCrc };
  }

  #advance(crc: number): void {
    this.#sequence += 1;
    this.#previousCrc = crc;
  }

  #remember(segment: Segment, batch: StoredBatch): void {
    this.#hardState = batch.hardState ?? this.#hardState;
    const { snapshot } = batch;
    if (snapshot !== undefined && snapshot.index >= (this.#snapshot?.index ?? 0)) this.#snapshot = snapshot;
    segment.maxIndex = Math.max(segment.maxIndex, batch.entries.at(-1)?.index ?? 0);
  }

  #grownTo(end: number): number {
    return Math.ceil(end / this.#growBytes) * this.#growBytes;
  }

  #seal(body: Uint8Array): Uint8Array {
    const sealed = this.#sealer === undefined ? body : this.#sealer.seal(body);
    if (sealed.length > maxBodySize) throw new RangeError(`Cannot write log record: ${String(sealed.length)} bytes`);
    return sealed;
  }

  async #rotate(full: Tail): Promise<Tail> {
    const next = await this.#begin(full.segment.number + 1);
    await full.file.close();
    return next;
  }

  /** Every segment begins with the state so far, so that the ones before it can be removed. */
  async #begin(number: number): Promise<Tail> {
    const segment: Segment = { number, path: this.#pathOf(number), maxIndex: 0 };
    const header = encodeSegmentHeader({ number, firstSequence: this.#sequence, previousCrc: this.#previousCrc });
    const state: StoredBatch = { hardState: this.#hardState, entries: [] };
    const body = this.#seal(
      encodeRecordBody([this.#snapshot === undefined ? state : { ...state, snapshot: this.#snapshot }]),
    );
    const position = segmentHeaderSize + align(recordHeaderSize + body.length);
    const bytes = new Uint8Array(this.#grownTo(position));
    bytes.set(header.bytes);
    const crc = putRecord(bytes, segmentHeaderSize, body, this.#place(header.crc));

    const temporary = `${segment.path}.tmp`;
    const draft = await this.#fs.open(temporary, 'create');
    await draft.write(0, bytes);
    await draft.sync();
    await draft.close();
    await this.#fs.rename(temporary, segment.path);
    await this.#fs.syncDirectory(this.#directory);
    const file = await this.#fs.open(segment.path, 'synced');
    this.#advance(crc);
    this.#segments.push(segment);
    this.#tail = { segment, file, segmentCrc: header.crc, position, allocated: bytes.length };
    return this.#tail;
  }

  /** Oldest first, each removal durable before the next: what is left never has a hole. */
  async #removeBelow(upTo: Index): Promise<void> {
    for (
      let [first, second] = this.#segments;
      first !== undefined && second !== undefined;
      [first, second] = this.#segments
    ) {
      if (first.maxIndex > upTo) return;
      this.#segments.shift();
      await this.#fs.remove(first.path);
      await this.#fs.syncDirectory(this.#directory);
    }
  }

  #pathOf(number: number): string {
    return `${this.#directory}/${String(number).padStart(16, '0')}.wal`;
  }

  // Opening.

  async #recover(): Promise<OpenedLog> {
    const names = await this.#fs.list(this.#directory);
    for (const name of names) if (name.endsWith('.wal.tmp')) await this.#fs.remove(`${this.#directory}/${name}`);
    const numbers = names.filter((name) => segmentName.test(name)).map((name) => Number.parseInt(name, 10));
    const replay = new Replay();
    for (const [at, number] of numbers.entries()) {
      const previous = numbers[at - 1];
      if (previous !== undefined && number !== previous + 1) {
        throw new LogCorrupt(`Cannot open log: segment ${String(previous + 1)} is missing`);
      }
      await this.#readSegment(number, { replay, first: at === 0, last: at === numbers.length - 1 });
    }
    this.#hardState = replay.hardState;
    this.#snapshot = replay.snapshot;
    const opened = replay.result();
    if (numbers.length === 0) await this.#begin(1);
    return opened;
  }

  async #readSegment(number: number, scan: { replay: Replay; first: boolean; last: boolean }): Promise<void> {
    const segment: Segment = { number, path: this.#pathOf(number), maxIndex: 0 };
    const file = await this.#fs.open(segment.path, 'read');
    const bytes = await file.read(0, await file.size()).finally(() => file.close());
    const header = this.#checkHeader(segment, decodeSegmentHeader(bytes), scan.first);
    const end = this.#readRecords(segment, bytes, { header, replay: scan.replay });
    const clean = bytes.subarray(end).every((byte) => byte === 0);
    if (!clean && !scan.last) throw new LogCorrupt(`Cannot open log: ${segment.path} is damaged`);
    if (!clean && laterRecordExists(bytes, end, this.#place(header.crc))) {
      throw new LogCorrupt(
        `Cannot open log: ${segment.path} is damaged at byte ${String(end)}, before its last record`,
      );
    }
    this.#segments.push(segment);
    if (scan.last) await this.#openAt(segment, { end, size: bytes.length, clean, crc: header.crc });
  }

  #checkHeader(segment: Segment, header: ReadSegmentHeader | undefined, first: boolean): ReadSegmentHeader {
    if (header === undefined || header.number !== segment.number) {
      throw new LogCorrupt(`Cannot open log: the head of ${segment.path} is damaged`);
    }
    if (first) {
      this.#sequence = header.firstSequence;
      this.#previousCrc = header.previousCrc;
    } else if (header.firstSequence !== this.#sequence || header.previousCrc !== this.#previousCrc) {
      throw new LogCorrupt(`Cannot open log: records before ${segment.path} are missing`);
    }
    return header;
  }

  #readRecords(segment: Segment, bytes: Uint8Array, scan: { header: ReadSegmentHeader; replay: Replay }): number {
    let at = segmentHeaderSize;
    for (;;) {
      const record = findRecord(bytes, at, scan.header.crc);
      if (record === undefined || !this.#follows(record)) return at;
      for (const batch of decodeRecordBody(this.#unseal(record.body, segment))) {
        scan.replay.apply(batch);
        segment.maxIndex = Math.max(segment.maxIndex, batch.entries.at(-1)?.index ?? 0);
      }
      this.#advance(record.crc);
      at = Math.min(record.end, bytes.length);
    }
  }

  #follows(record: FoundRecord): boolean {
    return record.sequence === this.#sequence && record.previousCrc === this.#previousCrc;
  }

  #unseal(body: Uint8Array, segment: Segment): Uint8Array {
    if (this.#sealer === undefined) return body;
    try {
      return this.#sealer.open(body);
    } catch (cause) {
      throw new SealBroken(`Cannot open log: ${segment.path} is sealed with another key`, { cause });
    }
  }

  /** Whatever was read is made durable first: this node will act on it, and the page cache may be its only holder. */
  async #openAt(segment: Segment, tail: { end: number; size: number; clean: boolean; crc: number }): Promise<void> {
    const file = await this.#fs.open(segment.path, 'synced');
    if (!tail.clean) await file.truncate(tail.end);
    await file.sync();
    await this.#fs.syncDirectory(this.#directory);
    const allocated = tail.clean ? tail.size : tail.end;
    this.#tail = { segment, file, segmentCrc: tail.crc, position: tail.end, allocated };
  }
}
