/**
 * The layout of log segments.
 *
 * A segment begins with a header of 40 bytes: magic, segment number, the sequence of its first record, the checksum of
 * the record before that (0 if none), its own checksum. Records follow at multiples of eight:
 *   length u32 | crc u32 | sequence u64 | checksum of the record before u32 | checksum of this head u32 | body | zeros
 * Numbers are little-endian. The CRC covers the length word, sequence, predecessor and body, and is seeded with the
 * checksum of the segment's header. The top four bits of the length word name a mask (below).
 *
 * The space behind the last record is zero, so a write that a crash tore shows sectors of zeros. No sector's share of a
 * written record is zero, nor its last byte: where the body would make one so, the body is masked. Two bits at least are
 * set in each, so that no single flipped bit looks like a torn write.
 *
 * Segments of version 1 had neither head checksum nor masks.
 */
import { crc32c } from './crc32c.ts';

export const segmentHeaderSize = 40;
export const recordHeaderSize = 24;
export const sectorSize = 512;
const headCheckAt = 20;
/** Bodies are bounded before anything is allocated for them. */
export const maxBodySize = 2 ** 28 - 1;
/** A file larger than this is none of ours, and is not read. */
export const maxSegmentSize = 2 ** 30;

export type SegmentVersion = 1 | 2;
const magics: Readonly<Record<SegmentVersion, Uint8Array>> = {
  1: new TextEncoder().encode('raftwal1'),
  2: new TextEncoder().encode('raftwal2'),
};

export interface SegmentHeader {
  readonly number: number;
  readonly firstSequence: number;
  /** Checksum of the last record of the segment before. */
  readonly previousCrc: number;
}

export interface ReadSegmentHeader extends SegmentHeader {
  readonly version: SegmentVersion;
  readonly crc: number;
}

/** What a record must follow. */
export interface RecordPlace {
  readonly sequence: number;
  readonly previousCrc: number;
}

export interface RecordHead extends RecordPlace {
  readonly length: number;
  readonly mask: number;
  readonly crc: number;
}

export function align(size: number): number {
  return Math.ceil(size / 8) * 8;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

function getUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

export function encodeSegmentHeader(header: SegmentHeader): { readonly bytes: Uint8Array; readonly crc: number } {
  const bytes = new Uint8Array(segmentHeaderSize);
  const view = viewOf(bytes);
  bytes.set(magics[2]);
  setUint64(view, 8, header.number);
  setUint64(view, 16, header.firstSequence);
  view.setUint32(24, header.previousCrc, true);
  const crc = crc32c(bytes.subarray(0, 36));
  view.setUint32(36, crc, true);
  return { bytes, crc };
}

export function decodeSegmentHeader(bytes: Uint8Array): ReadSegmentHeader | undefined {
  if (bytes.length < segmentHeaderSize) return undefined;
  const version = ([1, 2] as const).find((known) => magics[known].every((byte, at) => bytes[at] === byte));
  const view = viewOf(bytes);
  const crc = view.getUint32(36, true);
  if (version === undefined || crc32c(bytes.subarray(0, 36)) !== crc) return undefined;
  const number = getUint64(view, 8);
  const firstSequence = getUint64(view, 16);
  return { version, number, firstSequence, previousCrc: view.getUint32(24, true), crc };
}

/**
 * Writes the record into `into` at `at`, which will be `position` in the file; the space behind must be zero. Returns its
 * checksum.
 */
export function putRecord(
  into: Uint8Array,
  at: number,
  record: RecordPlace & { readonly body: Uint8Array; readonly segmentCrc: number; readonly position: number },
): number {
  const { body, segmentCrc, position } = record;
  const view = viewOf(into);
  const start = at + recordHeaderSize;
  into.set(body, start);
  const stored = into.subarray(start, start + body.length);
  let mask = 0;
  while (mask < 15 && hasThinPart(stored, position + recordHeaderSize)) {
    stored.set(body);
    mask += 1;
    applyMask(stored, mask, record);
  }
  view.setUint32(at, mask * 2 ** 28 + body.length, true);
  setUint64(view, at + 8, record.sequence);
  view.setUint32(at + 16, record.previousCrc, true);
  const crc = checksum(into.subarray(at, start), stored, segmentCrc);
  view.setUint32(at + 4, crc, true);
  view.setUint32(at + headCheckAt, crc32c(into.subarray(at, at + headCheckAt), segmentCrc), true);
  return crc;
}

function checksum(head: Uint8Array, body: Uint8Array, segmentCrc: number): number {
  const length = crc32c(head.subarray(0, 4), segmentCrc);
  return crc32c(body, crc32c(head.subarray(8, headCheckAt), length));
}

/** Version 1 covered a reserved word of zeros where the head's checksum is now. */
function checksumOf(head: Uint8Array, body: Uint8Array, segment: ReadSegmentHeader): number {
  if (segment.version === 2) return checksum(head, body, segment.crc);
  const length = crc32c(head.subarray(0, 4), segment.crc);
  return crc32c(body, crc32c(head.subarray(8, recordHeaderSize), length));
}

/** Is a sector's share of the body at this position in the file, or its last byte, zero but for one bit? */
function hasThinPart(body: Uint8Array, position: number): boolean {
  if (isThin(body, body.length - 1, body.length)) return true;
  for (let at = 0; at < body.length; ) {
    const end = Math.min(body.length, at + sectorSize - ((position + at) % sectorSize));
    if (isThin(body, at, end)) return true;
    at = end;
  }
  return false;
}

function isThin(bytes: Uint8Array, from: number, to: number): boolean {
  let bits = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    if (byte === 0) continue;
    bits += (byte & (byte - 1)) === 0 ? 1 : 2;
    if (bits >= 2) return false;
  }
  return true;
}

/** Doing it twice undoes it. The key depends on the log before it, so that nobody can choose a payload that cancels it. */
function applyMask(body: Uint8Array, mask: number, place: RecordPlace): void {
  let key = (place.previousCrc ^ Math.imul(place.sequence, 0x9e3779b1) ^ Math.imul(mask, 0x85ebca6b)) | 1;
  for (let at = 0; at < body.length; at++) {
    key ^= key << 13;
    key ^= key >>> 17;
    key ^= key << 5;
    body[at] = (body[at] as number) ^ (key >>> 11);
  }
}

/** The head in `bytes`, if it is one: for version 1 any that is possible, since only the whole record is checked there. */
export function readHead(bytes: Uint8Array, segment: ReadSegmentHeader): RecordHead | undefined {
  if (bytes.length < recordHeaderSize) return undefined;
  const view = viewOf(bytes);
  const word = view.getUint32(0, true);
  const check = view.getUint32(headCheckAt, true);
  if (segment.version === 1) {
    if (check !== 0 || word > maxBodySize) return undefined;
  } else if (crc32c(bytes.subarray(0, headCheckAt), segment.crc) !== check) return undefined;
  const length = word % 2 ** 28;
  if (length === 0) return undefined;
  return {
    length,
    mask: Math.floor(word / 2 ** 28),
    crc: view.getUint32(4, true),
    sequence: getUint64(view, 8),
    previousCrc: view.getUint32(16, true),
  };
}

/** The body of a whole record, unmasked: a view or a copy; undefined if its checksum is wrong. */
export function readBody(record: Uint8Array, head: RecordHead, segment: ReadSegmentHeader): Uint8Array | undefined {
  const stored = record.subarray(recordHeaderSize, recordHeaderSize + head.length);
  if (checksumOf(record.subarray(0, recordHeaderSize), stored, segment) !== head.crc) return undefined;
  if (head.mask === 0) return stored;
  const body = new Uint8Array(stored);
  applyMask(body, head.mask, head);
  return body;
}
