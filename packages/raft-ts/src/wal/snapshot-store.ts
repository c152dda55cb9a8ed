/**
 * FileSnapshotStore keeps each snapshot in one file: a magic word, then records {length u32, crc u32, kind u32, body}.
 * The first record is the meta, the last one the totals; each CRC is seeded with the one before, so that a record
 * missing, doubled or moved is noticed. Bodies are sealed one by one. A file gets its final name when it is durable.
 */
import { decodeSnapshotMeta, encodeSnapshotMeta } from '../codec/state.ts';
import type { SnapshotMeta } from '../core/types.ts';
import type { Sealer, SnapshotSink, SnapshotStore } from '../ports.ts';
import { crc32c } from './crc32c.ts';
import { LogCorrupt, SealBroken } from './errors.ts';
import type { FileHandle, FileSystem } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';

export interface SnapshotStoreOptions {
  readonly directory: string;
  readonly fileSystem?: FileSystem;
  readonly sealer?: Sealer;
}

const Kind = { Meta: 1, Data: 2, End: 3 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

const magic = new TextEncoder().encode('raftsnp1');
const headSize = 12;
const chunkBytes = 1 << 20;
/** A sealer may add to a chunk, but not much. */
const bodyBytesMax = chunkBytes + (64 << 10);
const fileName = /^[0-9a-f]{14}-[0-9a-f]{14}-[0-9a-f]{8}\.snap$/;

export function createFileSnapshotStore(options: SnapshotStoreOptions): FileSnapshotStore {
  return new FileSnapshotStore(options);
}

export class FileSnapshotStore implements SnapshotStore {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #sealer: Sealer | undefined;
  #prepared: Promise<void> | undefined;
  #count = 0;

  constructor(options: SnapshotStoreOptions) {
    this.#fs = options.fileSystem ?? nodeFileSystem;
    this.#directory = options.directory;
    this.#sealer = options.sealer;
  }

  async create(meta: Omit<SnapshotMeta, 'id'>, chunks: AsyncIterable<Uint8Array>): Promise<SnapshotMeta> {
    const sink = await this.receive({ ...meta, id: '' });
    try {
      for await (const chunk of chunks) await sink.write(chunk);
      return await sink.commit();
    } catch (error) {
      await sink.abort();
      throw error;
    }
  }

  async receive(meta: SnapshotMeta): Promise<SnapshotSink> {
    await this.#prepare();
    this.#count += 1;
    // Newest index first when sorted backwards; the count tells apart two of the same index.
    const id = `${hex(meta.index, 14)}-${hex(meta.term, 14)}-${hex(this.#count, 8)}.snap`;
    const path = `${this.#directory}/${id}`;
    const file = await this.#fs.open(`${path}.tmp`, 'create');
    const writer = new RecordWriter(file, this.#sealer);
    const stored: SnapshotMeta = { ...meta, id };
    try {
      await writer.begin(stored);
    } catch (error) {
      await this.#discard(file, path);
      throw error;
    }
    return this.#sink(file, path, { writer, stored });
  }

  #sink(file: FileHandle, path: string, to: { writer: RecordWriter; stored: SnapshotMeta }): SnapshotSink {
    let open = true;
    return {
      write: (chunk) => to.writer.data(chunk),
      commit: async () => {
        await to.writer.end();
        await file.sync();
        open = false;
        await file.close();
        await this.#fs.rename(`${path}.tmp`, path);
        await this.#fs.syncDirectory(this.#directory);
        return to.stored;
      },
      abort: async () => {
        if (!open) return;
        open = false;
        await this.#discard(file, path);
      },
    };
  }

  async #discard(file: FileHandle, path: string): Promise<void> {
    await file.close();
    await this.#fs.remove(`${path}.tmp`);
  }

  /** The meta is checked now, each chunk when it is read, the totals at the end. */
  async open(id: string): Promise<{ meta: SnapshotMeta; chunks: AsyncIterable<Uint8Array> }> {
    if (!fileName.test(id)) throw new RangeError(`Cannot open snapshot: invalid id ${JSON.stringify(id)}`);
    await this.#prepare();
    const meta = await this.#read(id, (reader) => reader.begin());
    return { meta: { ...meta, id }, chunks: this.#chunks(id) };
  }

  async #read<T>(id: string, use: (reader: RecordReader) => Promise<T>): Promise<T> {
    const file = await this.#fs.open(`${this.#directory}/${id}`, 'read');
    try {
      return await use(new RecordReader(file, { id, sealer: this.#sealer }));
    } finally {
      await file.close();
    }
  }

  /** Opens the file only when the first chunk is asked for: nobody has to read on just to have it closed. */
  async *#chunks(id: string): AsyncIterable<Uint8Array> {
    const file = await this.#fs.open(`${this.#directory}/${id}`, 'read');
    try {
      const reader = new RecordReader(file, { id, sealer: this.#sealer });
      await reader.begin();
      yield* reader.chunks();
    } finally {
      await file.close();
    }
  }

  async prune(keep: number, pinned?: string): Promise<void> {
    await this.#prepare();
    const newestFirst = (await this.#fs.list(this.#directory)).filter((name) => fileName.test(name)).reverse();
    const old = newestFirst.slice(keep).filter((name) => name !== pinned);
    for (const name of old) await this.#fs.remove(`${this.#directory}/${name}`);
    if (old.length > 0) await this.#fs.syncDirectory(this.#directory);
  }

  #prepare(): Promise<void> {
    this.#prepared ??= this.#cleanUp();
    return this.#prepared;
  }

  async #cleanUp(): Promise<void> {
    await this.#fs.makeDirectory(this.#directory);
    for (const name of await this.#fs.list(this.#directory)) {
      if (name.endsWith('.snap.tmp')) await this.#fs.remove(`${this.#directory}/${name}`);
      else if (fileName.test(name)) this.#count = Math.max(this.#count, Number.parseInt(name.slice(30, 38), 16));
    }
  }
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

class RecordWriter {
  readonly #file: FileHandle;
  readonly #sealer: Sealer | undefined;
  #position = magic.length;
  #crc = 0;
  #bytes = 0;

  constructor(file: FileHandle, sealer: Sealer | undefined) {
    this.#file = file;
    this.#sealer = sealer;
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
    }
  }

  async end(): Promise<void> {
    const total = new Uint8Array(8);
    new DataView(total.buffer).setFloat64(0, this.#bytes, true);
    await this.#put(Kind.End, total);
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

class RecordReader {
  readonly #file: FileHandle;
  readonly #id: string;
  readonly #sealer: Sealer | undefined;
  #position = magic.length;
  #crc = 0;

  constructor(file: FileHandle, options: { readonly id: string; readonly sealer: Sealer | undefined }) {
    this.#file = file;
    this.#id = options.id;
    this.#sealer = options.sealer;
  }

  async begin(): Promise<SnapshotMeta> {
    const head = await this.#file.read(0, magic.length);
    if (magic.some((byte, at) => head[at] !== byte)) throw this.#damaged();
    const { kind, body } = await this.#next();
    if (kind !== Kind.Meta) throw this.#damaged();
    return decodeSnapshotMeta(body);
  }

  async *chunks(): AsyncIterable<Uint8Array> {
    let bytes = 0;
    for (;;) {
      const { kind, body } = await this.#next();
      if (kind === Kind.End) {
        const total = new DataView(body.buffer, body.byteOffset, body.byteLength);
        if (body.length !== 8 || total.getFloat64(0, true) !== bytes) throw this.#damaged();
        return;
      }
      if (kind !== Kind.Data) throw this.#damaged();
      bytes += body.length;
      yield body;
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
    return { kind: view.getUint32(8, true), body: this.#unseal(body) };
  }

  #unseal(body: Uint8Array): Uint8Array {
    if (this.#sealer === undefined) return body;
    try {
      return this.#sealer.open(body);
    } catch (cause) {
      throw new SealBroken(`Cannot open snapshot: ${this.#id} is sealed with another key`, { cause });
    }
  }

  #damaged(): Error {
    return new LogCorrupt(`Cannot read snapshot: ${this.#id} is damaged`);
  }
}
