/**
 * The body of a log record: the batches that one write makes durable together, in clear or sealed by the host. Beside
 * sealed ones stands in clear what each holds, without any payload, so that a log can be checked without the key.
 * Or a mark: the segment that follows is in place.
 */
import {
  readEntry,
  readHardState,
  readSnapshotMeta,
  writeEntry,
  writeHardState,
  writeSnapshotMeta,
} from '../codec/state.ts';
import { Reader, Writer } from '../codec/wire.ts';
import type { Entry, EntryId, HardState, Index, SnapshotMeta } from '../core/types.ts';

export interface StoredBatch {
  readonly hardState?: HardState;
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
}

/** What a batch holds, without payloads. */
export interface BatchSummary {
  readonly hardState?: HardState;
  readonly snapshot?: EntryId;
  /** 0 when the batch holds no entries. */
  readonly first: Index;
  readonly last: Index;
}

export type RecordBody =
  | { readonly kind: 'batches'; readonly batches: readonly StoredBatch[] }
  | { readonly kind: 'sealed'; readonly sealed: Uint8Array; readonly summaries: readonly BatchSummary[] }
  | { readonly kind: 'followed'; readonly by: number };

const Field = { Batch: 1, Sealed: 2, Summary: 3, FollowedBy: 4 } as const;

export function encodeRecordBody(batches: readonly StoredBatch[]): Uint8Array {
  let size = 32;
  for (const batch of batches) size += batchSize(batch);
  const w = new Writer(size);
  for (let i = batches.length - 1; i >= 0; i--) {
    const batch = batches[i];
    if (batch !== undefined) w.message(Field.Batch, () => writeBatch(w, batch));
  }
  return w.finish();
}

/** `sealed` are the bytes of `encodeRecordBody`, sealed. */
export function encodeSealedBody(sealed: Uint8Array, batches: readonly StoredBatch[]): Uint8Array {
  const w = new Writer(sealed.length + 32 + batches.length * 48);
  for (let i = batches.length - 1; i >= 0; i--) {
    const batch = batches[i];
    if (batch !== undefined) w.message(Field.Summary, () => writeSummary(w, summaryOf(batch)));
  }
  w.bytes(Field.Sealed, sealed);
  return w.finish();
}

export function encodeFollowed(by: number): Uint8Array {
  const w = new Writer(16);
  w.uint(Field.FollowedBy, by);
  return w.finish();
}

export function batchSize(batch: StoredBatch): number {
  let size = 64;
  for (const entry of batch.entries) size += entry.data.length + 24;
  return size;
}

export function summaryOf(batch: StoredBatch): BatchSummary {
  const { hardState, snapshot, entries } = batch;
  return {
    first: entries[0]?.index ?? 0,
    last: entries.at(-1)?.index ?? 0,
    ...(hardState === undefined ? {} : { hardState }),
    ...(snapshot === undefined ? {} : { snapshot: { term: snapshot.term, index: snapshot.index } }),
  };
}

function writeBatch(w: Writer, batch: StoredBatch): void {
  const { hardState, snapshot, entries } = batch;
  for (let i = entries.length - 1; i >= 0; i--) {
    const entry = entries[i];
    if (entry !== undefined) w.message(3, () => writeEntry(w, entry));
  }
  if (snapshot !== undefined) w.message(2, () => writeSnapshotMeta(w, snapshot));
  if (hardState !== undefined) w.message(1, () => writeHardState(w, hardState));
}

function writeSummary(w: Writer, { hardState, snapshot, first, last }: BatchSummary): void {
  w.uint(5, last);
  w.uint(4, first);
  if (snapshot !== undefined) {
    w.uint(3, snapshot.index);
    w.uint(2, snapshot.term);
  }
  if (hardState !== undefined) w.message(1, () => writeHardState(w, hardState));
}

/** Throws CodecError. */
export function decodeRecordBody(bytes: Uint8Array): RecordBody {
  const r = new Reader(bytes);
  const batches: StoredBatch[] = [];
  const summaries: BatchSummary[] = [];
  let sealed: Uint8Array | undefined;
  let by = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === Field.Batch) batches.push(readBatch(r.message(field)));
    else if (field.number === Field.Sealed) sealed = r.bytes(field);
    else if (field.number === Field.Summary) summaries.push(readSummary(r.message(field)));
    else if (field.number === Field.FollowedBy) by = r.uint(field);
    else r.skip(field);
  }
  if (by > 0) return { kind: 'followed', by };
  return sealed === undefined ? { kind: 'batches', batches } : { kind: 'sealed', sealed, summaries };
}

function readBatch(r: Reader): StoredBatch {
  let hardState: HardState | undefined;
  let snapshot: SnapshotMeta | undefined;
  const entries: Entry[] = [];
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) hardState = readHardState(r.message(field));
    else if (field.number === 2) snapshot = readSnapshotMeta(r.message(field));
    else if (field.number === 3) entries.push(readEntry(r.message(field)));
    else r.skip(field);
  }
  return {
    entries,
    ...(hardState === undefined ? {} : { hardState }),
    ...(snapshot === undefined ? {} : { snapshot }),
  };
}

function readSummary(r: Reader): BatchSummary {
  let hardState: HardState | undefined;
  const numbers = { term: 0, index: 0, first: 0, last: 0 };
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) hardState = readHardState(r.message(field));
    else if (field.number === 2) numbers.term = r.uint(field);
    else if (field.number === 3) numbers.index = r.uint(field);
    else if (field.number === 4) numbers.first = r.uint(field);
    else if (field.number === 5) numbers.last = r.uint(field);
    else r.skip(field);
  }
  const { term, index, first, last } = numbers;
  return {
    first,
    last,
    ...(hardState === undefined ? {} : { hardState }),
    ...(index === 0 ? {} : { snapshot: { term, index } }),
  };
}
