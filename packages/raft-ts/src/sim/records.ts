/** Reads what the log writes to its files, apart from the log itself. */
import { decodeRecordBody, type StoredBatch } from '../wal/batch.ts';
import {
  align,
  decodeSegmentHeader,
  type ReadSegmentHeader,
  readBody,
  readHead,
  recordHeaderSize,
  segmentHeaderSize,
} from '../wal/record.ts';

export type { ReadSegmentHeader };

export interface ReadWrite {
  /** The segment's header, where the write began with it. */
  readonly header: ReadSegmentHeader | undefined;
  /** Also those that hold no batches. */
  readonly records: number;
  readonly batches: readonly StoredBatch[];
}

/** The records in `bytes`, which were written to a segment at `position`. */
export function readWrite(bytes: Uint8Array, position: number, known: ReadSegmentHeader | undefined): ReadWrite {
  const header = position === 0 ? decodeSegmentHeader(bytes) : undefined;
  const segment = header ?? known;
  const batches: StoredBatch[] = [];
  let records = 0;
  let at = header === undefined ? 0 : segmentHeaderSize;
  while (segment !== undefined && at < bytes.length) {
    const head = readHead(bytes.subarray(at), segment);
    const end = at + recordHeaderSize + (head?.length ?? 0);
    const body = head === undefined ? undefined : readBody(bytes.subarray(at, end), head, segment);
    if (body === undefined) break;
    const decoded = decodeRecordBody(body);
    if (decoded.kind === 'batches') batches.push(...decoded.batches);
    records += 1;
    at = align(end);
  }
  return { header, records, batches };
}
