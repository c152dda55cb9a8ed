/** Frames of the gRPC service raft.v1.Raft, see codec/raft.proto. */
import { encodeMessage, readMessage } from '../../codec/message.ts';
import { CodecError, Reader, Writer } from '../../codec/wire.ts';
import type { InstallSnapshot } from '../../core/types.ts';

/** `last`: all has been sent, and this is what it came to. */
export interface Chunk {
  readonly head?: InstallSnapshot;
  readonly data: Uint8Array;
  /** Where `data` belongs in the payload. */
  readonly offset: number;
  readonly last?: { readonly bytes: number; readonly crc: number };
}

/** The receiver's first word: go on behind `offset`. Its last one: `done`. */
export type SnapshotAck = { readonly offset: number } | { readonly done: true };

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function encodeChunk(chunk: Chunk): Buffer {
  const w = new Writer(chunk.data.length + 256);
  const { head, data, offset, last } = chunk;
  if (last !== undefined) {
    w.uint(6, last.crc);
    w.uint(5, last.bytes);
  }
  w.uint(4, offset);
  w.bool(3, last !== undefined);
  w.bytes(2, data);
  if (head !== undefined) w.bytes(1, encodeMessage(head));
  return asBuffer(w.finish());
}

export function decodeChunk(frame: Uint8Array): Chunk {
  const r = new Reader(frame);
  let head: InstallSnapshot | undefined;
  let data = new Uint8Array(0);
  let last = false;
  let offset = 0;
  let bytes = 0;
  let crc = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) {
      const message = readMessage(r.message(field));
      if (message?.type !== 'snapshot') throw new CodecError('Cannot read chunk: its head is not a snapshot');
      head = message;
    } else if (field.number === 2) data = new Uint8Array(r.bytes(field));
    else if (field.number === 3) last = r.bool(field);
    else if (field.number === 4) offset = r.uint(field);
    else if (field.number === 5) bytes = r.uint(field);
    else if (field.number === 6) crc = r.uint(field);
    else r.skip(field);
  }
  return { data, offset, ...(head !== undefined && { head }), ...(last && { last: { bytes, crc } }) };
}

export function encodeSnapshotAck(ack: SnapshotAck): Buffer {
  const w = new Writer(16);
  if ('done' in ack) w.bool(2, true);
  else w.presentUint(1, ack.offset);
  return asBuffer(w.finish());
}

export function decodeSnapshotAck(frame: Uint8Array): SnapshotAck {
  const r = new Reader(frame);
  let offset = 0;
  let done = false;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) offset = r.uint(field);
    else if (field.number === 2) done = r.bool(field);
    else r.skip(field);
  }
  return done ? { done } : { offset };
}

export function encodeCredit(bytes: number): Buffer {
  const w = new Writer(16);
  w.uint(1, bytes);
  return asBuffer(w.finish());
}

export function decodeCredit(bytes: Uint8Array): number {
  const r = new Reader(bytes);
  let credit = 0;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) credit = r.uint(field);
    else r.skip(field);
  }
  return credit;
}
