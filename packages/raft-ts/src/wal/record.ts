/**
 * The layout of log segments.
 *
 * A segment begins with a header of 40 bytes: magic, segment number, the sequence of its first record, the checksum of
 * the record before that (0 if none), its own checksum. Records follow at multiples of eight:
 *   length u32 | crc u32 | sequence u64 | checksum of the record before u32 | reserved u32 | body | zeros
 * The CRC covers everything from `sequence` to the end of the body and the length, and is seeded with the segment header's
 * checksum. Numbers are little-endian. A record is one write, and a write starts when the one before is durable:
 * hence a bad record that a good one follows was once durable, and has been corrupted since.
 */
import { crc32c } from './crc32c.ts';

export const segmentHeaderSize = 40;
export const recordHeaderSize = 24;
const magic = new TextEncoder().encode('raftwal1');
/** Bodies are bounded before anything is allocated for them. */
export const maxBodySize = 256 << 20;

export interface SegmentHeader {
  readonly number: number;
  readonly firstSequence: number;
  /** Checksum of the last record of the segment before. */
  readonly previousCrc: number;
}

export interface ReadSegmentHeader extends SegmentHeader {
  readonly crc: number;
}

export interface RecordPlace {
  readonly sequence: number;
  readonly previousCrc: number;
  readonly segmentCrc: number;
}

export interface FoundRecord {
  readonly sequence: number;
  readonly previousCrc: number;
  readonly crc: number;
  readonly body: Uint8Array;
  /** Where the next record begins. */
  readonly end: number;
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
  bytes.set(magic);
  setUint64(view, 8, header.number);
  setUint64(view, 16, header.firstSequence);
  view.setUint32(24, header.previousCrc, true);
  const crc = crc32c(bytes.subarray(0, 36));
  view.setUint32(36, crc, true);
  return { bytes, crc };
}

export function decodeSegmentHeader(bytes: Uint8Array): ReadSegmentHeader | undefined {
  if (bytes.length < segmentHeaderSize || magic.some((byte, at) => bytes[at] !== byte)) return undefined;
  const view = viewOf(bytes);
  const crc = view.getUint32(36, true);
  if (crc32c(bytes.subarray(0, 36)) !== crc) return undefined;
  return {
    number: getUint64(view, 8),
    firstSequence: getUint64(view, 16),
    previousCrc: view.getUint32(24, true),
    crc,
  };
}

/** Writes the record into `into` at `at`; the space behind must be zero. Returns its checksum. */
export function putRecord(into: Uint8Array, at: number, body: Uint8Array, place: RecordPlace): number {
  const view = viewOf(into);
  view.setUint32(at, body.length, true);
  setUint64(view, at + 8, place.sequence);
  view.setUint32(at + 16, place.previousCrc, true);
  into.set(body, at + recordHeaderSize);
  const crc = checksum(into, at, body.length, place.segmentCrc);
  view.setUint32(at + 4, crc, true);
  return crc;
}

function checksum(bytes: Uint8Array, at: number, length: number, segmentCrc: number): number {
  const head = crc32c(bytes.subarray(at, at + 4), segmentCrc);
  return crc32c(bytes.subarray(at + 8, at + recordHeaderSize + length), head);
}

/** The record at `at`, if one verifies there. */
export function findRecord(bytes: Uint8Array, at: number, segmentCrc: number): FoundRecord | undefined {
  if (at + recordHeaderSize > bytes.length) return undefined;
  const view = viewOf(bytes);
  const length = view.getUint32(at, true);
  if (length === 0 || length > maxBodySize || at + recordHeaderSize + length > bytes.length) return undefined;
  const crc = view.getUint32(at + 4, true);
  if (checksum(bytes, at, length, segmentCrc) !== crc) return undefined;
  const start = at + recordHeaderSize;
  return {
    sequence: getUint64(view, at + 8),
    previousCrc: view.getUint32(at + 16, true),
    crc,
    body: bytes.subarray(start, start + length),
    end: align(start + length),
  };
}

/**
 * Whether a record with a sequence above `after` verifies anywhere from `from` on. Only plausible heads are checked, so
 * that a segment full of payload does not take a checksum per position.
 */
export function laterRecordExists(bytes: Uint8Array, from: number, after: RecordPlace): boolean {
  const view = viewOf(bytes);
  const limit = after.sequence + bytes.length / recordHeaderSize;
  for (let at = align(from); at + recordHeaderSize <= bytes.length; at += 8) {
    const sequence = getUint64(view, at + 8);
    if (sequence <= after.sequence || sequence > limit) continue;
    if (findRecord(bytes, at, after.segmentCrc) !== undefined) return true;
  }
  return false;
}
