/**
 * One snapshot over one gRPC stream. The sender names the snapshot, the receiver answers where it wants to go on, the
 * rest of the payload follows, and the receiver says when the snapshot is stored and taken. gRPC's flow control holds the
 * sender back to the pace at which the receiver reads.
 */
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import type { InstallSnapshot } from '../../core/types.ts';
import type { IncomingSnapshot } from '../../ports.ts';
import { SnapshotMismatch } from '../../wal/errors.ts';
import { behind, PayloadSum } from '../checksum.ts';
import type { Chunk, SnapshotAck } from './frames.ts';
import { decodeChunk, decodeSnapshotAck, encodeChunk, encodeSnapshotAck } from './frames.ts';

type Call = ClientDuplexStream<Buffer, Buffer>;
export type SnapshotCall = ServerDuplexStream<Buffer, Buffer>;

const chunkBytes = 256 << 10;
const nothing = new Uint8Array(0);

/** Resolves when the receiver has taken the snapshot. */
export async function sendSnapshot(
  call: Call,
  head: InstallSnapshot,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const acks = new Acks(call);
  const onAbort = () => acks.fail(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    call.write(encodeChunk({ head, data: nothing, offset: 0 }));
    const begin = await acks.begin;
    // Raced: a receiver may be content, or give up, before it has read everything.
    if ('offset' in begin) await Promise.race([writeBehind(call, chunks, begin.offset), acks.done]);
    await acks.done;
  } catch (error) {
    call.cancel();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function writeBehind(call: Call, chunks: AsyncIterable<Uint8Array>, from: number): Promise<void> {
  const sum = new PayloadSum();
  let offset = from;
  for await (const chunk of behind(chunks, from, sum)) {
    for (let at = 0; at < chunk.length; at += chunkBytes) {
      const data = chunk.subarray(at, at + chunkBytes);
      await write(call, { data, offset });
      offset += data.length;
    }
  }
  await write(call, { data: nothing, offset, last: { bytes: sum.bytes, crc: sum.crc ?? 0 } });
  call.end();
}

/** Resolves when the stream can take more; the caller races it with the end of the call. */
function write(call: Call, chunk: Chunk): Promise<void> | undefined {
  if (call.write(encodeChunk(chunk))) return undefined;
  return new Promise((resolve) => call.once('drain', resolve));
}

/** What the receiver says. */
class Acks {
  /** Where to go on, or that nothing is needed. */
  readonly begin: Promise<SnapshotAck>;
  readonly done: Promise<void>;
  #begin: (ack: SnapshotAck) => void = () => {};
  #done: () => void = () => {};
  #fail: ((error: unknown) => void)[] = [];

  constructor(call: Call) {
    this.begin = new Promise((resolve, reject) => {
      this.#begin = resolve;
      this.#fail.push(reject);
    });
    this.done = new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#fail.push(reject);
    });
    this.begin.catch(() => {});
    this.done.catch(() => {});
    call.on('data', (frame: Buffer) => this.#heard(frame));
    call.on('error', (error) => this.fail(error));
    call.on('end', () => this.fail(new Error('Cannot send snapshot: the receiver ended the stream')));
  }

  #heard(frame: Buffer): void {
    try {
      const ack = decodeSnapshotAck(frame);
      this.#begin(ack);
      if ('done' in ack) this.#done();
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error: unknown): void {
    for (const fail of this.#fail) fail(error);
  }
}

/** The receiver's end of the stream. */
export class IncomingStream implements IncomingSnapshot {
  readonly #call: SnapshotCall;
  readonly #frames: AsyncIterator<Buffer>;
  #offset = 0;
  #sum = new PayloadSum();

  constructor(call: SnapshotCall) {
    this.#call = call;
    // Leaving early must not destroy the call: the answer still has to go out.
    this.#frames = (call.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** What the stream is about; undefined if it begins with anything else. */
  async head(): Promise<InstallSnapshot | undefined> {
    return (await this.#next())?.head;
  }

  resumeAt(offset: number, checksum?: number): void {
    this.#offset = offset;
    this.#sum = offset === 0 ? new PayloadSum() : new PayloadSum(offset, checksum);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    this.#call.write(encodeSnapshotAck({ offset: this.#offset }));
    for (;;) {
      const chunk = await this.#next();
      // A cancelled call ends like a finished one.
      if (chunk === undefined) throw new Error('Cannot receive snapshot: the stream was cut off');
      if (chunk.offset !== this.#sum.bytes) {
        throw new SnapshotMismatch(`Cannot receive snapshot: byte ${String(this.#sum.bytes)} is missing`);
      }
      this.#sum.add(chunk.data);
      if (chunk.data.length > 0) yield chunk.data;
      if (chunk.last === undefined) continue;
      this.#sum.mustBe(chunk.last);
      return;
    }
  }

  /** The snapshot is stored and taken. */
  done(): void {
    this.#call.write(encodeSnapshotAck({ done: true }));
    this.#call.end();
  }

  async #next(): Promise<Chunk | undefined> {
    const next = await this.#frames.next();
    return next.done === true ? undefined : decodeChunk(next.value);
  }
}
