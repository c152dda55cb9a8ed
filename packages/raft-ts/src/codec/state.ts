/** Encoding of entries, hard state, configurations and snapshot references: what both the disk and the wire hold. */
import type { ConfState, Entry, EntryId, HardState, SnapshotMeta } from '../core/types.ts';
import { EntryKind } from '../core/types.ts';
import { CodecError, Reader, Writer } from './wire.ts';

export function writeEntryId(w: Writer, id: EntryId): void {
  w.uint(2, id.index);
  w.uint(1, id.term);
}

export function readEntryId(r: Reader): EntryId {
  let term = 0;
  let index = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) term = r.uint(field);
    else if (field.number === 2) index = r.uint(field);
    else r.skip(field);
  }
  return { term, index };
}

export function writeEntry(w: Writer, entry: Entry): void {
  w.bytes(4, entry.data);
  w.uint(3, entry.kind);
  w.uint(2, entry.index);
  w.uint(1, entry.term);
}

/** The payload is copied, so that a kept entry does not pin the buffer it came in. */
export function readEntry(r: Reader): Entry {
  let term = 0;
  let index = 0;
  let kind = 0;
  let data: Uint8Array = empty;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) term = r.uint(field);
    else if (field.number === 2) index = r.uint(field);
    else if (field.number === 3) kind = r.uint(field);
    else if (field.number === 4) data = new Uint8Array(r.bytes(field));
    else r.skip(field);
  }
  if (kind === EntryKind.Normal || kind === EntryKind.Config) return { term, index, kind, data };
  // An entry whose meaning is unknown must not be stored and applied as something else.
  throw new CodecError(`Cannot read entry: kind ${String(kind)}`);
}

const empty = new Uint8Array(0);

export function writeHardState(w: Writer, state: HardState): void {
  w.uint(3, state.commit);
  w.uint(2, state.vote);
  w.uint(1, state.term);
}

export function readHardState(r: Reader): HardState {
  let term = 0;
  let vote = 0;
  let commit = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) term = r.uint(field);
    else if (field.number === 2) vote = r.uint(field);
    else if (field.number === 3) commit = r.uint(field);
    else r.skip(field);
  }
  return { term, vote, commit };
}

export function writeConfState(w: Writer, conf: ConfState): void {
  w.bool(5, conf.autoLeave);
  w.packed(4, conf.learnersNext);
  w.packed(3, conf.learners);
  w.packed(2, conf.outgoing);
  w.packed(1, conf.voters);
}

export function readConfState(r: Reader): ConfState {
  const voters: number[] = [];
  const outgoing: number[] = [];
  const learners: number[] = [];
  const learnersNext: number[] = [];
  let autoLeave = false;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) r.numbers(field, voters);
    else if (field.number === 2) r.numbers(field, outgoing);
    else if (field.number === 3) r.numbers(field, learners);
    else if (field.number === 4) r.numbers(field, learnersNext);
    else if (field.number === 5) autoLeave = r.bool(field);
    else r.skip(field);
  }
  return { voters, outgoing, learners, learnersNext, autoLeave };
}

export function writeSnapshotMeta(w: Writer, meta: SnapshotMeta): void {
  w.string(4, meta.id);
  w.message(3, () => writeConfState(w, meta.conf));
  w.uint(2, meta.index);
  w.uint(1, meta.term);
}

export function readSnapshotMeta(r: Reader): SnapshotMeta {
  let term = 0;
  let index = 0;
  let conf: ConfState = { voters: [], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
  let id = '';
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) term = r.uint(field);
    else if (field.number === 2) index = r.uint(field);
    else if (field.number === 3) conf = readConfState(r.message(field));
    else if (field.number === 4) id = r.string(field);
    else r.skip(field);
  }
  return { term, index, conf, id };
}

function encoderOf<T>(write: (w: Writer, value: T) => void): (value: T) => Uint8Array {
  return (value) => {
    const w = new Writer();
    write(w, value);
    return w.finish();
  };
}

function decoderOf<T>(read: (r: Reader) => T): (bytes: Uint8Array) => T {
  return (bytes) => read(new Reader(bytes));
}

/** See raft.proto, here and below. All decoders skip fields that they do not know. */
export const encodeEntry = encoderOf(writeEntry);
/** Throws `CodecError`. */
export const decodeEntry = decoderOf(readEntry);
/** See raft.proto. */
export const encodeHardState = encoderOf(writeHardState);
/** Throws `CodecError`. */
export const decodeHardState = decoderOf(readHardState);
/** See raft.proto. */
export const encodeConfState = encoderOf(writeConfState);
/** Throws `CodecError`. */
export const decodeConfState = decoderOf(readConfState);
/** See raft.proto. */
export const encodeSnapshotMeta = encoderOf(writeSnapshotMeta);
/** Throws `CodecError`. */
export const decodeSnapshotMeta = decoderOf(readSnapshotMeta);
