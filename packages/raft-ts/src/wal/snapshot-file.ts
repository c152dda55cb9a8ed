/**
 * The layout of a snapshot file: a magic word, then records {length u32, crc u32, kind u32, body}. The first record is the
 * meta, the last one the totals: bytes and SHA-256 of the whole payload. Each CRC is seeded with the one before, so that
 * a record missing, doubled or moved is noticed. Bodies are sealed one by one.
 */
import { createHash, type Hash } from 'node:crypto';
import { decodeSnapshotMeta, encodeSnapshotMeta } from '../codec/state.ts';
import { CodecError } from '../codec/wire.ts';
import type { SnapshotMeta } from '../core/types.ts';
import type { Sealer } from '../ports.ts';
import { crc32c } from './crc32c.ts';
import { LogCorrupt, SealBroken } from './errors.ts';
import type { FileHandle } from './file-system.ts';

const Kind = { Meta: 1, Data: 2, End: 3 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

const magic = new TextEncoder().encode('raftsnp1');
const headSize = 12;
const chunkBytes = 1 << 20;
/** A sealer may add to a chunk, but not much. */
const bodyBytesMax = chunkBytes + (64 << 10);
/** Files without a hash come from before there was one. */
const totalsSizes = { plain: 8, hashed: 40 } as const;

/** Where a writer stands; what a verified partial file gives to go on from. */
export interface Progress {
  readonly position: number;
  readonly crc: number;
  readonly bytes: number;
  readonly checksum: number;
  readonly hash: Hash;
}

export function startOf(): Progress {
  return { position: magic.length, crc: 0, bytes: 0, checksum: 0, hash: createHash('sha256') };
}

export class RecordWriter {
  readonly #file: FileHandle;
  readonly #sealer: Sealer | undefined;
  readonly #hash: Hash;
  #position: number;
  #crc: number;
  #bytes: number;

  constructor(file: FileHandle, options: { readonly sealer: Sealer | undefined; readonly from: Progress }) {
    const { position, crc, bytes, hash } = options.from;
    this.#file = file;
    this.#sealer = options.sealer;
    this.#position = position;
    this.#crc = crc;
    this.#bytes = bytes;
    this.#hash = hash;
  }

  async begin(meta: SnapshotMeta): Promise<void> {
    await this.#file.write(0, magic);
    await this.#put(Kind.Meta, encodeSnapshotMeta(meta));
  }

  async data(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += chunkBytes) {
      const part = chunk.subarray(at, at + chunkBytes);
      await this.#put(Kind.Data, part);
      this.#bytes += part.length;
      this.#hash.update(part);
    }
  }

  /** The payload's hash, in hexadecimal. Nothing can be written afterwards. */
  async end(): Promise<string> {
    const digest = this.#hash.digest();
    const totals = new Uint8Array(totalsSizes.hashed);
    new DataView(totals.buffer).setFloat64(0, this.#bytes, true);
    totals.set(digest, totalsSizes.plain);
    await this.#put(Kind.End, totals);
    return digest.toString('hex');
  }

  async #put(kind: Kind, plain: Uint8Array): Promise<void> {
    const body = this.#sealer === undefined ? plain : this.#sealer.seal(plain);
    if (body.length > bodyBytesMax)
      throw new RangeError(`Cannot write snapshot: record of ${String(body.length)} bytes`);
    const record = new Uint8Array(headSize + body.length);
    const view = new DataView(record.buffer);
    view.setUint32(0, body.length, true);
    view.setUint32(8, kind, true);
    record.set(body, headSize);
    this.#crc = crc32c(record.subarray(8), crc32c(record.subarray(0, 4), this.#crc));
    view.setUint32(4, this.#crc, true);
    await this.#file.write(this.#position, record);
    this.#position += record.length;
  }
}

export class RecordReader {
  readonly #file: FileHandle;
  readonly #name: string;
  readonly #sealer: Sealer | undefined;
  #position = magic.length;
  #crc = 0;

  constructor(file: FileHandle, options: { readonly name: string; readonly sealer: Sealer | undefined }) {
    this.#file = file;
    this.#name = options.name;
    this.#sealer = options.sealer;
  }

  async begin(): Promise<SnapshotMeta> {
    const head = await this.#file.read(0, magic.length);
    if (magic.some((byte, at) => head[at] !== byte)) throw this.#damaged();
    const { kind, body } = await this.#next();
    if (kind !== Kind.Meta) throw this.#damaged();
    try {
      return decodeSnapshotMeta(this.#unseal(body));
    } catch (error) {
      throw error instanceof CodecError ? this.#damaged(error) : error;
    }
  }

  /** `hash` is what the payload's must begin with; empty for a file from before there was one. */
  async *chunks(hash: string): AsyncIterable<Uint8Array> {
    const sum = createHash('sha256');
    let bytes = 0;
    for (;;) {
      const { kind, body: stored } = await this.#next();
      const body = this.#unseal(stored);
      if (kind === Kind.End) {
        if (!isTotal(body, { bytes, digest: sum.digest(), hash })) throw this.#damaged();
        return;
      }
      if (kind !== Kind.Data) throw this.#damaged();
      bytes += body.length;
      sum.update(body);
      yield body;
    }
  }

  /** Checks every record without a key: all but the payload's hash. Gives the number of records. */
  async verify(): Promise<number> {
    const head = await this.#file.read(0, magic.length);
    if (magic.some((byte, at) => head[at] !== byte)) throw this.#damaged();
    for (let count = 1; ; count++) {
      const { kind } = await this.#next();
      if ((kind === Kind.Meta) !== (count === 1)) throw this.#damaged();
      if (kind === Kind.End) return count;
    }
  }

  /** How far the payload of an unfinished file is good; the file must be cut off there. */
  async good(): Promise<Progress> {
    const hash = createHash('sha256');
    let checksum = 0;
    let bytes = 0;
    for (;;) {
      const position = this.#position;
      const crc = this.#crc;
      const part = await this.#dataOrUndefined();
      if (part === undefined) return { position, crc, bytes, checksum, hash };
      bytes += part.length;
      checksum = crc32c(part, checksum);
      hash.update(part);
    }
  }

  async #dataOrUndefined(): Promise<Uint8Array | undefined> {
    try {
      const { kind, body } = await this.#next();
      return kind === Kind.Data ? this.#unseal(body) : undefined;
    } catch (error) {
      if (error instanceof LogCorrupt) return undefined;
      throw error;
    }
  }

  async #next(): Promise<{ kind: number; body: Uint8Array }> {
    const head = await this.#file.read(this.#position, headSize);
    if (head.length < headSize) throw this.#damaged();
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    const length = view.getUint32(0, true);
    if (length > bodyBytesMax) throw this.#damaged();
    const body = await this.#file.read(this.#position + headSize, length);
    const crc = crc32c(body, crc32c(head.subarray(8), crc32c(head.subarray(0, 4), this.#crc)));
    if (body.length < length || crc !== view.getUint32(4, true)) throw this.#damaged();
    this.#crc = crc;
    this.#position += headSize + length;
    return { kind: view.getUint32(8, true), body };
  }

  #unseal(body: Uint8Array): Uint8Array {
    if (this.#sealer === undefined) return body;
    try {
      return this.#sealer.open(body);
    } catch (cause) {
      throw new SealBroken(`Cannot open snapshot: ${this.#name} is sealed with another key`, { cause });
    }
  }

  #damaged(cause?: unknown): Error {
    const message = `Cannot read snapshot: ${this.#name} is damaged at byte ${String(this.#position)}`;
    return new LogCorrupt(message, cause === undefined ? {} : { cause });
  }
}

function isTotal(
  body: Uint8Array,
  expected: { readonly bytes: number; readonly digest: Buffer; readonly hash: string },
): boolean {
  const { bytes, digest, hash } = expected;
  const hashed = body.length === totalsSizes.hashed;
  if (!hashed && (body.length !== totalsSizes.plain || hash !== '')) return false;
  if (new DataView(body.buffer, body.byteOffset, body.byteLength).getFloat64(0, true) !== bytes) return false;
  return !hashed || (digest.equals(body.subarray(totalsSizes.plain)) && digest.toString('hex').startsWith(hash));
}
