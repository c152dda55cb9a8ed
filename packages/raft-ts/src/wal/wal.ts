/**
 * WalLogStore keeps the log in numbered segment files of one directory (layout: record.ts; rules: docs/wal.md).
 *
 * Promised: batches become durable in the order given, each whole or not at all; while one write is on its way, all
 * calls to `append` wait for the next one, which takes them together. After any error of the disk nothing is written any
 * more. Opening cuts off a write that a crash tore, and refuses a log whose durable part has changed.
 * A batch that holds nothing but a commit index is kept until the next write: losing it is harmless.
 */
import { CodecError } from '../codec/wire.ts';
import type { HardState, Index, SnapshotMeta } from '../core/types.ts';
import type { LogBatch, LogStore, OpenedLog, Sealer } from '../ports.ts';
import type { StoredBatch } from './batch.ts';
import { batchSize, decodeRecordBody, encodeRecordBody, encodeSealedBody } from './batch.ts';
import { logCorrupt, SealBroken } from './errors.ts';
import type { FileSystem } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import type { ReadSegmentHeader, RecordPlace } from './record.ts';
import { decodeSegmentHeader, maxSegmentSize, segmentHeaderSize } from './record.ts';
import { Replay } from './replay.ts';
import type { Scan, ScannedRecord } from './scan.ts';
import { Source, scanSegment } from './scan.ts';
import { SegmentWriter, segmentNumbers, segmentPath, temporaries } from './segments.ts';

/** The directory must not be used by anything else. Sizes in bytes. */
export interface WalOptions {
  readonly directory: string;
  readonly fileSystem?: FileSystem;
  readonly sealer?: Sealer;
  /** A segment that reaches this size is closed and the next one begun. */
  readonly segmentBytes?: number;
  /** The first segment grows by this much, zero-filled; later ones are made whole before they are needed. */
  readonly growBytes?: number;
}

interface Segment {
  readonly number: number;
  readonly path: string;
  /** The highest index of any entry in it, also of entries replaced later. */
  maxIndex: Index;
}

interface Queued {
  readonly batch: StoredBatch;
  readonly size: number;
  readonly lazy: boolean;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

const groupBytes = 16 << 20;

/** The same as `new WalLogStore(options)`. */
export function createWalLogStore(options: WalOptions): WalLogStore {
  return new WalLogStore(options);
}

/** The log in segment files. `open` rejects with `LogCorrupt`, `SealBroken` or `DirectoryLocked`. */
export class WalLogStore implements LogStore {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #sealer: Sealer | undefined;
  readonly #writer: SegmentWriter;

  #unlock: (() => Promise<void>) | undefined;
  #segments: Segment[] = [];
  #hardState: HardState = { term: 0, vote: 0, commit: 0 };
  #snapshot: SnapshotMeta | undefined;

  #queue: Queued[] = [];
  #writing: Promise<void> | undefined;
  #compacting: Promise<void> = Promise.resolve();
  #fault: Error | undefined;
  #closed = false;

  constructor(options: WalOptions) {
    const { directory, fileSystem = nodeFileSystem, segmentBytes = 16 << 20, growBytes = 512 << 10 } = options;
    if (segmentBytes > maxSegmentSize / 2) {
      throw new RangeError(`Cannot open log: segments of ${String(segmentBytes)} bytes are too large`);
    }
    this.#fs = fileSystem;
    this.#directory = directory;
    this.#sealer = options.sealer;
    this.#writer = new SegmentWriter({ directory, fileSystem, segmentBytes, growBytes });
  }

  /** Rejections: DirectoryLocked, LogCorrupt, SealBroken, or what the disk says. Nothing was changed then. */
  async open(): Promise<OpenedLog> {
    if (this.#unlock !== undefined) throw new Error('Cannot open log: it is open already');
    await this.#fs.makeDirectory(this.#directory);
    this.#unlock = await this.#fs.lock(`${this.#directory}/lock`);
    try {
      return await this.#recover();
    } catch (error) {
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
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    if (upTo > (this.#snapshot?.index ?? 0)) {
      throw new Error(`Cannot compact log to ${String(upTo)}: no durable snapshot covers it`);
    }
    const done = this.#compacting.then(() => this.#removeBelow(upTo));
    this.#compacting = done.catch((error: unknown) => this.#fail(error, []));
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
      await this.#release();
    }
  }

  #refusal(): Error | undefined {
    if (this.#fault !== undefined) return this.#fault;
    return this.#closed || !this.#writer.isOpen ? new Error('Cannot append to log: it is not open') : undefined;
  }

  async #release(): Promise<void> {
    const unlock = this.#unlock;
    this.#unlock = undefined;
    try {
      await this.#writer.close();
    } finally {
      await unlock?.();
    }
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
        this.#fail(error, group);
        break;
      }
      for (const { resolve } of group) resolve();
    }
    this.#writing = undefined;
  }

  /** From now on nothing is written: after an error nobody knows what of a file is on disk. */
  #fail(error: unknown, group: readonly Queued[]): void {
    this.#fault ??= error instanceof Error ? error : new Error('log write broke', { cause: error });
    for (const { reject } of [...group, ...this.#queue]) reject(this.#fault);
    this.#queue = [];
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
    const body = this.#encode(batches);
    if (this.#writer.isFullFor(body.length)) {
      await this.#writer.rotate(this.#state());
      this.#addSegment(this.#writer.number);
    }
    await this.#writer.write(body);
    const segment = this.#segments.at(-1);
    for (const batch of batches) this.#remember(batch, segment);
  }

  #encode(batches: readonly StoredBatch[]): Uint8Array {
    const plain = encodeRecordBody(batches);
    return this.#sealer === undefined ? plain : encodeSealedBody(this.#sealer.seal(plain), batches);
  }

  /** Every segment begins with the state so far, so that the ones before it can be removed. */
  #state(): Uint8Array {
    const state: StoredBatch = { hardState: this.#hardState, entries: [] };
    return this.#encode([this.#snapshot === undefined ? state : { ...state, snapshot: this.#snapshot }]);
  }

  #addSegment(number: number): Segment {
    const segment: Segment = { number, path: segmentPath(this.#directory, number), maxIndex: 0 };
    this.#segments.push(segment);
    return segment;
  }

  #remember(batch: StoredBatch, segment: Segment | undefined): void {
    this.#hardState = batch.hardState ?? this.#hardState;
    const { snapshot } = batch;
    if (snapshot !== undefined && snapshot.index >= (this.#snapshot?.index ?? 0)) this.#snapshot = snapshot;
    if (segment !== undefined) segment.maxIndex = Math.max(segment.maxIndex, batch.entries.at(-1)?.index ?? 0);
  }

  /** Oldest first, each removal durable before the next: what is left never has a hole. */
  async #removeBelow(upTo: Index): Promise<void> {
    for (
      let [first, second] = this.#segments;
      first !== undefined && second !== undefined;
      [first, second] = this.#segments
    ) {
      if (first.maxIndex > upTo) return;
      if (this.#fault !== undefined) throw this.#fault;
      this.#segments.shift();
      await this.#fs.remove(first.path);
      await this.#fs.syncDirectory(this.#directory);
    }
  }

  // Opening.

  async #recover(): Promise<OpenedLog> {
    const names = await this.#fs.list(this.#directory);
    const numbers = segmentNumbers(names);
    const replay = new Replay();
    let newest: ReadSegment | undefined;
    for (const number of numbers) newest = await this.#readSegment(number, { before: newest, replay });
    this.#hardState = replay.hardState;
    this.#snapshot = replay.snapshot;
    const opened = replay.result();
    if (newest !== undefined) checkNewest(newest);
    for (const name of temporaries(names)) await this.#fs.remove(`${this.#directory}/${name}`);
    if (newest === undefined) {
      await this.#writer.begin(1, this.#state());
      this.#addSegment(1);
      return opened;
    }
    await this.#writer.resume(newest.segment.number, newest.header, newest.scan);
    if (newest.header.version === 1) {
      await this.#writer.leave(this.#state());
      this.#addSegment(this.#writer.number);
    }
    return opened;
  }

  async #readSegment(
    number: number,
    from: { readonly before: ReadSegment | undefined; readonly replay: Replay },
  ): Promise<ReadSegment> {
    const segment = this.#addSegment(number);
    const file = await this.#fs.open(segment.path, 'read');
    try {
      const source = await Source.of(file);
      if (source === undefined) throw logCorrupt(`${segment.path} is larger than a segment can be`);
      const header = decodeSegmentHeader(await source.read(0, segmentHeaderSize));
      if (header === undefined || header.number !== number) throw logCorrupt(`the head of ${segment.path} is damaged`);
      if (from.before !== undefined) checkFollows(from.before, header);
      let followedBy: number | undefined;
      const scan = await scanSegment(source, header, (record) => {
        const found = this.#decode(record, header, segment);
        if (found.followedBy !== undefined) followedBy = found.followedBy;
        for (const batch of found.batches) {
          from.replay.apply(batch);
          segment.maxIndex = Math.max(segment.maxIndex, batch.entries.at(-1)?.index ?? 0);
        }
        return followedBy !== undefined;
      });
      return { segment, header, scan, followedBy };
    } finally {
      await file.close();
    }
  }

  #decode(
    record: ScannedRecord,
    header: ReadSegmentHeader,
    segment: Segment,
  ): { readonly batches: readonly StoredBatch[]; readonly followedBy?: number } {
    try {
      // Version 1 does not say whether it is sealed.
      if (header.version === 1) {
        return { batches: plainBatches(this.#sealer === undefined ? record.body : this.#unseal(record.body, segment)) };
      }
      const body = decodeRecordBody(record.body);
      if (body.kind === 'followed') return { batches: [], followedBy: body.by };
      if (body.kind === 'sealed') return { batches: plainBatches(this.#unseal(body.sealed, segment)) };
      if (this.#sealer !== undefined) throw new SealBroken(`Cannot open log: ${segment.path} is not sealed`);
      return { batches: body.batches };
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      throw logCorrupt(`the record at byte ${String(record.position)} of ${segment.path} makes no sense`, error);
    }
  }

  #unseal(sealed: Uint8Array, segment: Segment): Uint8Array {
    if (this.#sealer === undefined) throw new SealBroken(`Cannot open log: ${segment.path} is sealed`);
    try {
      return this.#sealer.open(sealed);
    } catch (cause) {
      throw new SealBroken(`Cannot open log: ${segment.path} is sealed with another key`, { cause });
    }
  }
}

interface ReadSegment {
  readonly segment: Segment;
  readonly header: ReadSegmentHeader;
  readonly scan: Scan;
  readonly followedBy: number | undefined;
}

function plainBatches(bytes: Uint8Array): readonly StoredBatch[] {
  const body = decodeRecordBody(bytes);
  if (body.kind !== 'batches') throw new CodecError('Cannot read log record: it holds no batches');
  return body.batches;
}

/** The next segment's header vouches for every record of the one before; what follows them there was never durable. */
function checkFollows(before: ReadSegment, header: ReadSegmentHeader): void {
  const { segment, scan } = before;
  if (header.number !== segment.number + 1) throw logCorrupt(`segment ${String(segment.number + 1)} is missing`);
  if (follows(header, scan.next)) return;
  const reason = scan.tail.kind === 'corrupt' ? `: ${scan.tail.reason}` : '';
  throw logCorrupt(`${segment.path} is damaged at byte ${String(scan.end)}, before its last record${reason}`);
}

function follows(header: ReadSegmentHeader, next: RecordPlace): boolean {
  return header.firstSequence === next.sequence && header.previousCrc === next.previousCrc;
}

function checkNewest({ segment, scan, followedBy }: ReadSegment): void {
  if (followedBy !== undefined) throw logCorrupt(`segment ${String(followedBy)} is missing`);
  if (scan.last === undefined) throw logCorrupt(`the first record of ${segment.path} is damaged`);
  if (scan.tail.kind !== 'corrupt') return;
  throw logCorrupt(`${segment.path} is damaged at byte ${String(scan.end)}: ${scan.tail.reason}`);
}
