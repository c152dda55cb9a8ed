/**
 * Reads one segment record by record and judges what follows the last good one: nothing, a write that a crash tore, or
 * damage to bytes that were durable. Holds one window of the file, so neither a big file nor a damaged length makes it
 * allocate more.
 *
 * How torn is told from damaged (record.ts has the properties this rests on): a record is written only when the one before
 * it is durable, so nothing may follow a torn one; and a torn one lacks whole sectors, or its end, where zeros are left.
 */
import type { FileHandle } from './file-system.ts';
import type { ReadSegmentHeader, RecordHead, RecordPlace } from './record.ts';
import {
  align,
  maxSegmentSize,
  readBody,
  readHead,
  recordHeaderSize,
  sectorSize,
  segmentHeaderSize,
} from './record.ts';

export interface ScannedRecord extends RecordHead {
  readonly position: number;
  readonly body: Uint8Array;
}

export type Tail =
  | { readonly kind: 'clean' }
  | { readonly kind: 'torn'; readonly bytes: number }
  | { readonly kind: 'corrupt'; readonly reason: string };

export interface Scan {
  /** Behind the last good record. */
  readonly end: number;
  /** What the next record has to follow. */
  readonly next: RecordPlace;
  readonly last: ScannedRecord | undefined;
  readonly tail: Tail;
}

const windowBytes = 1 << 20;

/** A file seen through a window that moves on. */
export class Source {
  readonly size: number;
  readonly #file: FileHandle;
  #start = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  private constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  /** Undefined for a file too large to be a segment. */
  static async of(file: FileHandle): Promise<Source | undefined> {
    const size = await file.size();
    return size > maxSegmentSize ? undefined : new Source(file, size);
  }

  /** Up to `length` bytes; fewer only at the end of the file. Valid until the next call. */
  async read(position: number, length: number): Promise<Uint8Array> {
    if (position >= this.size) return new Uint8Array(0);
    if (!this.holds(position, length)) {
      this.#bytes = await this.#file.read(position, Math.min(Math.max(length, windowBytes), this.size - position));
      this.#start = position;
    }
    const from = position - this.#start;
    return this.#bytes.subarray(from, from + length);
  }

  holds(position: number, length: number): boolean {
    const end = Math.min(position + length, this.size);
    return position >= this.#start && end <= this.#start + this.#bytes.length;
  }

  /** Behind the last byte at or after `from` that is not zero; `from` if there is none. */
  async endOfContent(from: number): Promise<number> {
    let end = from;
    for (let at = from; at < this.size; at += windowBytes) {
      const bytes = await this.read(at, windowBytes);
      if (bytes.length === 0) break;
      const length = contentLength(bytes);
      if (length > 0) end = at + length;
    }
    return end;
  }

  async isZero(from: number, to: number): Promise<boolean> {
    return (await this.read(from, to - from)).every((byte) => byte === 0);
  }
}

function contentLength(bytes: Uint8Array): number {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return length;
}

/** `visit` returns true for a record that stands outside the chain and ends the segment. */
export async function scanSegment(
  source: Source,
  segment: ReadSegmentHeader,
  visit: (record: ScannedRecord) => boolean,
): Promise<Scan> {
  let next: RecordPlace = { sequence: segment.firstSequence, previousCrc: segment.previousCrc };
  let position = segmentHeaderSize;
  let last: ScannedRecord | undefined;
  for (;;) {
    const found = await recordAt(source, position, segment);
    if (found === undefined || found.sequence !== next.sequence || found.previousCrc !== next.previousCrc) break;
    const final = visit(found);
    last = found;
    position = align(position + recordHeaderSize + found.length);
    if (final) break;
    next = { sequence: next.sequence + 1, previousCrc: found.crc };
  }
  return { end: position, next, last, tail: await judge(source, { position, next, segment }) };
}

async function recordAt(
  source: Source,
  position: number,
  segment: ReadSegmentHeader,
): Promise<ScannedRecord | undefined> {
  const head = readHead(await source.read(position, recordHeaderSize), segment);
  if (head === undefined) return undefined;
  const size = recordHeaderSize + head.length;
  if (position + size > source.size) return undefined;
  const body = readBody(await source.read(position, size), head, segment);
  return body === undefined ? undefined : { ...head, position, body };
}

interface Suspect {
  readonly position: number;
  readonly next: RecordPlace;
  readonly segment: ReadSegmentHeader;
}

async function judge(source: Source, suspect: Suspect): Promise<Tail> {
  const { position, segment } = suspect;
  const end = await source.endOfContent(position);
  if (end === position) return { kind: 'clean' };
  const later = await laterRecord(source, suspect, end);
  if (later !== undefined) {
    return { kind: 'corrupt', reason: `a later record is intact at byte ${String(later)}` };
  }
  const torn: Tail = { kind: 'torn', bytes: end - position };
  if (segment.version === 1) return torn;
  const reason = await damage(source, suspect, end);
  return reason === undefined ? torn : { kind: 'corrupt', reason };
}

function sectorEnd(position: number): number {
  return position + sectorSize - (position % sectorSize);
}

/** Why the bad record cannot be one that was being written; undefined if it can. */
async function damage(source: Source, suspect: Suspect, end: number): Promise<string | undefined> {
  const { position, next, segment } = suspect;
  const border = sectorEnd(position);
  if (await source.isZero(position, Math.min(border, source.size))) return undefined;
  const bodyAt = position + recordHeaderSize;
  const bytes = new Uint8Array(recordHeaderSize);
  bytes.set(await source.read(position, recordHeaderSize));
  const head = readHead(bytes, segment);
  if (head === undefined) {
    // A head across two sectors, or one cut short, was torn if its end is missing.
    const present = contentLength(bytes);
    const cut = border < bodyAt && present <= border - position;
    return cut || (end === position + present && present < recordHeaderSize) ? undefined : 'its head is damaged';
  }
  if (head.sequence !== next.sequence || head.previousCrc !== next.previousCrc) {
    return 'it does not follow the record before it';
  }
  const size = recordHeaderSize + head.length;
  if (end > position + size) return 'something follows it';
  if (end < position + size) return undefined;
  return (await lacksSector(source, position, size)) ? undefined : 'its body is damaged';
}

async function lacksSector(source: Source, position: number, size: number): Promise<boolean> {
  const end = position + size;
  for (let at = position; at < end; ) {
    const to = Math.min(end, sectorEnd(at));
    if (await source.isZero(at, to)) return true;
    at = to;
  }
  return false;
}

/** Where a record with a higher sequence begins, if one does before `end`. */
async function laterRecord(source: Source, suspect: Suspect, end: number): Promise<number | undefined> {
  const { next, segment } = suspect;
  const limit = next.sequence + source.size / recordHeaderSize;
  for (let at = suspect.position; at + recordHeaderSize <= end; at += 8) {
    if (!source.holds(at, recordHeaderSize)) await source.read(at, windowBytes);
    const head = readHead(await source.read(at, recordHeaderSize), segment);
    if (head === undefined || head.sequence <= next.sequence || head.sequence > limit) continue;
    // A head of version 1 proves nothing without its body.
    if (segment.version === 2 || (await recordAt(source, at, segment)) !== undefined) return at;
  }
  return undefined;
}
