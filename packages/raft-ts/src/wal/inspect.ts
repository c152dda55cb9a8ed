/**
 * Reads a log directory without opening it: no lock, nothing written, also while its node runs. Payloads sealed by the
 * host stay sealed; what the records are is readable without the key (but for records of version 1, sealed as a whole).
 */
import { CodecError } from '../codec/wire.ts';
import type { Entry, EntryId, HardState, Index } from '../core/types.ts';
import type { BatchSummary } from './batch.ts';
import { decodeRecordBody, summaryOf } from './batch.ts';
import type { FileSystem } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import type { ReadSegmentHeader, RecordPlace } from './record.ts';
import { decodeSegmentHeader, segmentHeaderSize } from './record.ts';
import { missing } from './replay.ts';
import type { Scan, ScannedRecord } from './scan.ts';
import { Source, scanSegment } from './scan.ts';
import { segmentNumbers, segmentPath } from './segments.ts';

/** What to read, and who wants to see it. */
export interface InspectOptions {
  readonly directory: string;
  readonly fileSystem?: FileSystem;
  /** Called for each good record, oldest first. */
  readonly onRecord?: (record: InspectedRecord) => void;
}

/** One record: what one write made durable. Numbers of bytes. */
export interface InspectedRecord {
  readonly segment: number;
  /** Of the record in the segment's file. */
  readonly position: number;
  /** Of the record's body as stored. */
  readonly bytes: number;
  readonly sequence: number;
  readonly content: 'clear' | 'sealed' | 'end-of-segment';
  readonly batches: readonly BatchSummary[];
  /** Absent when sealed. */
  readonly entries?: readonly Entry[];
}

/** What a log directory holds and whether it is whole. */
export interface LogReport {
  readonly segments: number;
  readonly records: number;
  /** Of the log as a node would open it; 0 when it holds no entries. */
  readonly firstIndex: Index;
  readonly lastIndex: Index;
  readonly hardState?: HardState;
  readonly snapshot?: EntryId;
  readonly sealed: boolean;
  /** A write that a crash tore, or that is on its way: harmless, it was not acknowledged. */
  readonly torn?: { readonly path: string; readonly position: number; readonly bytes: number };
  readonly corruption?: { readonly path: string; readonly position: number; readonly reason: string };
}

/** Reads all segments of a directory; damage is reported, not thrown. Rejects where the file system does. */
export async function inspectLog(options: InspectOptions): Promise<LogReport> {
  const { directory, fileSystem = nodeFileSystem, onRecord } = options;
  const inspection = new Inspection(fileSystem, directory, onRecord !== undefined);
  await inspection.run();
  for (const record of inspection.records) onRecord?.(record);
  return inspection.report;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

interface Damage {
  readonly path: string;
  readonly position: number;
  readonly reason: string;
}

class Inspection {
  readonly records: InspectedRecord[] = [];
  readonly #fs: FileSystem;
  readonly #directory: string;
  /** Whether `records` is wanted: a big log need not be held for its report alone. */
  readonly #keep: boolean;
  #segments = 0;
  #count = 0;
  #newest: InspectedRecord | undefined;
  #range: { first: Index; last: Index } | undefined;
  #hardState: HardState | undefined;
  #snapshot: EntryId | undefined;
  #sealed = false;
  #torn: LogReport['torn'];
  #corruption: Damage | undefined;

  constructor(fileSystem: FileSystem, directory: string, keep: boolean) {
    this.#fs = fileSystem;
    this.#directory = directory;
    this.#keep = keep;
  }

  get report(): LogReport {
    const range = this.#range;
    return {
      segments: this.#segments,
      records: this.#count,
      firstIndex: range?.first ?? 0,
      lastIndex: range?.last ?? 0,
      sealed: this.#sealed,
      ...(this.#hardState === undefined ? {} : { hardState: this.#hardState }),
      ...(this.#snapshot === undefined ? {} : { snapshot: this.#snapshot }),
      ...(this.#torn === undefined ? {} : { torn: this.#torn }),
      ...(this.#corruption === undefined ? {} : { corruption: this.#corruption }),
    };
  }

  /** A node that runs may begin segments meanwhile, and remove the oldest: then nothing before the next one counts. */
  async run(): Promise<void> {
    for (;;) {
      const numbers = segmentNumbers(await this.#fs.list(this.#directory));
      const ahead = numbers.filter((number) => number > this.#done);
      if (!numbers.includes(this.#done)) this.#forget();
      for (const number of ahead) if (!(await this.#read(number))) return;
      if (ahead.length === 0 || this.#newest?.content !== 'end-of-segment') break;
    }
    this.#judgeNewest();
    const base = this.#snapshot?.index ?? 0;
    if (this.#range !== undefined && this.#range.first > base + 1 && !this.#opaque) {
      this.#corrupt(this.#directory, 0, missing(base + 1, this.#range.first - 1));
    }
  }

  async #read(number: number): Promise<boolean> {
    const path = segmentPath(this.#directory, number);
    try {
      if (this.#scan !== undefined && number !== this.#done + 1) {
        this.#corrupt(segmentPath(this.#directory, this.#done + 1), 0, 'the segment is missing');
        return false;
      }
      const scan = await this.#segment(number, path);
      if (scan?.tail.kind === 'corrupt') this.#suspect = { path, position: scan.end, reason: scan.tail.reason };
      this.#scan = scan;
      this.#done = number;
      return scan !== undefined;
    } catch (error) {
      if (!isMissing(error)) throw error;
      this.#forget();
      this.#done = number;
      return true;
    }
  }

  #forget(): void {
    this.records.length = 0;
    this.#segments = 0;
    this.#count = 0;
    this.#newest = undefined;
    this.#range = undefined;
    this.#hardState = undefined;
    this.#snapshot = undefined;
    this.#scan = undefined;
    this.#suspect = undefined;
  }

  /** The last segment read, and how it ended. */
  #done = 0;
  #scan: Scan | undefined;
  /** Damage in a segment that is not the newest counts when records are missing before the next one. */
  #suspect: Damage | undefined;
  /** Some records do not show what they hold. */
  #opaque = false;

  async #segment(number: number, path: string): Promise<Scan | undefined> {
    const next = this.#scan?.next;
    const file = await this.#fs.open(path, 'read');
    try {
      const source = await Source.of(file);
      if (source === undefined) {
        this.#corrupt(path, 0, 'it is larger than a segment can be');
        return undefined;
      }
      const header = decodeSegmentHeader(await source.read(0, segmentHeaderSize));
      if (header === undefined || header.number !== number) {
        this.#corrupt(path, 0, 'its head is damaged');
        return undefined;
      }
      if (next !== undefined && !follows(header, next)) {
        const { path: where, position, reason } = this.#suspect ?? { path, position: 0, reason: 'it does not follow' };
        this.#corrupt(where, position, `records before ${path} are missing or damaged: ${reason}`);
        return undefined;
      }
      this.#segments += 1;
      return await scanSegment(source, header, (record) => this.#record(record, header, path));
    } finally {
      await file.close();
    }
  }

  #record(record: ScannedRecord, header: ReadSegmentHeader, path: string): boolean {
    const found = this.#describe(record, header, path);
    this.#count += 1;
    this.#newest = found;
    if (this.#keep) this.records.push(found);
    for (const batch of found.batches) this.#apply(batch);
    return found.content === 'end-of-segment';
  }

  #describe(record: ScannedRecord, header: ReadSegmentHeader, path: string): InspectedRecord {
    const { position, length: bytes, sequence } = record;
    const head = { segment: header.number, position, bytes, sequence };
    try {
      const body = decodeRecordBody(record.body);
      if (body.kind === 'followed') return { ...head, content: 'end-of-segment', batches: [] };
      if (body.kind === 'sealed') {
        this.#sealed = true;
        return { ...head, content: 'sealed', batches: body.summaries };
      }
      const entries = body.batches.flatMap((batch) => batch.entries);
      return { ...head, content: 'clear', batches: body.batches.map(summaryOf), entries };
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      if (header.version === 2) this.#corrupt(path, position, 'the record makes no sense');
      this.#sealed = true;
      this.#opaque = true;
      return { ...head, content: 'sealed', batches: [] };
    }
  }

  #apply({ hardState, snapshot, first, last }: BatchSummary): void {
    this.#hardState = hardState ?? this.#hardState;
    if (snapshot !== undefined && snapshot.index >= (this.#snapshot?.index ?? 0)) {
      this.#snapshot = snapshot;
      if (this.#range !== undefined && snapshot.index > this.#range.last) this.#range = undefined;
    }
    if (first === 0) return;
    const range = this.#range;
    const inside = range !== undefined && first >= range.first && first <= range.last + 1;
    this.#range = { first: inside ? range.first : first, last };
  }

  #judgeNewest(): void {
    const scan = this.#scan;
    if (scan === undefined) return;
    const path = segmentPath(this.#directory, this.#done);
    if (scan.last === undefined) return this.#corrupt(path, scan.end, 'its first record is damaged');
    if (this.#newest?.content === 'end-of-segment') {
      return this.#corrupt(segmentPath(this.#directory, this.#done + 1), 0, 'the segment is missing');
    }
    if (scan.tail.kind === 'corrupt') this.#corrupt(path, scan.end, scan.tail.reason);
    else if (scan.tail.kind === 'torn') this.#torn = { path, position: scan.end, bytes: scan.tail.bytes };
  }

  #corrupt(path: string, position: number, reason: string): void {
    this.#corruption ??= { path, position, reason };
  }
}

function follows(header: ReadSegmentHeader, next: RecordPlace): boolean {
  return header.firstSequence === next.sequence && header.previousCrc === next.previousCrc;
}
