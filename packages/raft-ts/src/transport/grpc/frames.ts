/** Frames of the gRPC service raft.v1.Raft, see codec/raft.proto. */
import { encodeMessage, readMessage } from '../../codec/message.ts';
import { CodecError, Reader, Writer } from '../../codec/wire.ts';
import type { InstallSnapshot } from '../../core/types.ts';

export interface Chunk {
  readonly head: InstallSnapshot | undefined;
  readonly data: Uint8Array;
  readonly last: boolean;
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function encodeChunk(chunk: Chunk): Buffer {
  const w = new Writer(chunk.data.length + 256);
  const { head } = chunk;
  w.bool(3, chunk.last);
  w.bytes(2, chunk.data);
  if (head !== undefined) w.bytes(1, encodeMessage(head));
  return asBuffer(w.finish());
}

export function decodeChunk(bytes: Uint8Array): Chunk {
  const r = new Reader(bytes);
  let head: InstallSnapshot | undefined;
  let data = new Uint8Array(0);
  let last = false;
  while (!r.done) {
    const field = r.field();
    if (field.number === 1) {
      const message = readMessage(r.message(field));
      if (message?.type !== 'snapshot') throw new CodecError('Cannot read chunk: its head is not a snapshot');
      head = message;
    } else if (field.number === 2) data = new Uint8Array(r.bytes(field));
    else if (field.number === 3) last = r.bool(field);
    else r.skip(field);
  }
  return { head, data, last };
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
