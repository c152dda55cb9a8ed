/** The body of a log record: the batches that one write makes durable together. */
import {
  readEntry,
  readHardState,
  readSnapshotMeta,
  writeEntry,
  writeHardState,
  writeSnapshotMeta,
} from '../codec/state.ts';
import { Reader, Writer } from '../codec/wire.ts';
import type { Entry, HardState, SnapshotMeta } from '../core/types.ts';

export interface StoredBatch {
  readonly hardState?: HardState;
  readonly snapshot?: SnapshotMeta;
  readonly entries: readonly Entry[];
}

export function encodeRecordBody(batches: readonly StoredBatch[]): Uint8Array {
  let size = 32;
  for (const batch of batches) size += batchSize(batch);
  const w = new Writer(size);
  for (let i = batches.length - 1; i >= 0; i--) {
    const batch = batches[i];
    if (batch !== undefined) w.message(1, () => writeBatch(w, batch));
  }
  return w.finish();
}

export function batchSize(batch: StoredBatch): number {
  let size = 64;
  for (const entry of batch.entries) size += entry.data.length + 24;
  return size;
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

export function decodeRecordBody(bytes: Uint8Array): StoredBatch[] {
  const r = new Reader(bytes);
  const batches: StoredBatch[] = [];
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) batches.push(readBatch(r.message(field)));
    else r.skip(field);
  }
  return batches;
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
