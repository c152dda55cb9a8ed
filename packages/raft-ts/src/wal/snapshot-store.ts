/**
 * FileSnapshotStore keeps each snapshot in one file (layout: snapshot-file.ts), which gets its final name when it is
 * durable. The name ends in the hash of the payload, so a name that a peer sends stands for bytes and not for a number
 * that two nodes may both have given; what is received under it is checked against it.
 *
 * What a broken-off resumable receive leaves is kept under a name of its own, two at most, until a newer snapshot is here.
 */
import { createHash } from 'node:crypto';
import { encodeSnapshotMeta } from '../codec/state.ts';
import type { SnapshotMeta } from '../core/types.ts';
import type { ReceiveOptions, Sealer, SnapshotSink, SnapshotStore } from '../ports.ts';
import { LogCorrupt, SealBroken, SnapshotMismatch } from './errors.ts';
import type { FileHandle, FileSystem } from './file-system.ts';
import { nodeFileSystem } from './node-file-system.ts';
import { type Progress, RecordReader, RecordWriter, startOf } from './snapshot-file.ts';

/** The directory must not be used by anything else. */
export interface SnapshotStoreOptions {
  readonly directory: string;
  readonly fileSystem?: FileSystem;
  readonly sealer?: Sealer;
}

const fileName = /^[0-9a-f]{14}-[0-9a-f]{14}-[0-9a-f]{8}(?:-([0-9a-f]{32}))?\.snap$/;
const partialName = /^[0-9a-f]{14}-[0-9a-f]{14}-[0-9a-f]{32}\.part$/;
const hashDigits = 32;
const partialsMax = 2;

/** The same as `new FileSnapshotStore(options)`. */
export function createFileSnapshotStore(options: SnapshotStoreOptions): FileSnapshotStore {
  return new FileSnapshotStore(options);
}

export function isSnapshotFile(name: string): boolean {
  return fileName.test(name);
}

/** A snapshot being written: its file, and whether an abort leaves it for the next attempt. */
interface Draft {
  readonly path: string;
  readonly file: FileHandle;
  readonly writer: RecordWriter;
  readonly meta: SnapshotMeta;
  readonly resumable: boolean;
}

/** Snapshots as files, checksummed, each durable before its id is given out. Damage rejects with `LogCorrupt`. */
export class FileSnapshotStore implements SnapshotStore {
  readonly #fs: FileSystem;
  readonly #directory: string;
  readonly #sealer: Sealer | undefined;
  readonly #inUse = new Set<string>();
  #pruning: Promise<void> = Promise.resolve();
  #prepared: Promise<void> | undefined;
  #count = 0;

  constructor(options: SnapshotStoreOptions) {
    this.#fs = options.fileSystem ?? nodeFileSystem;
    this.#directory = options.directory;
    this.#sealer = options.sealer;
  }

  async create(meta: Omit<SnapshotMeta, 'id'>, chunks: AsyncIterable<Uint8Array>): Promise<SnapshotMeta> {
    await this.#prepare();
    const sink = this.#sink(await this.#begin(this.#temporary(), { ...meta, id: '' }, false), 0);
    try {
      for await (const chunk of chunks) await sink.write(chunk);
      return await sink.commit();
    } catch (error) {
      await sink.abort();
      throw error;
    }
  }

  /** Rejects on `commit` with SnapshotMismatch when the bytes are not those that `meta.id` stands for. */
  async receive(meta: SnapshotMeta, options: ReceiveOptions = {}): Promise<SnapshotSink> {
    await this.#prepare();
    const partial = `${this.#directory}/${prefixOf(meta)}-${identityOf(meta)}.part`;
    const free = !this.#inUse.has(partial);
    if (options.resume !== true || !free) {
      if (free) await this.#removeIfThere(partial);
      return this.#sink(await this.#begin(this.#temporary(), meta, false), 0);
    }
    this.#inUse.add(partial);
    try {
      const found = await this.#resume(partial, meta);
      if (found !== undefined) return this.#sink(found.draft, found.from.bytes, found.from.checksum);
      await this.#prunePartials(partialsMax - 1, '');
      return this.#sink(await this.#begin(partial, meta, true), 0);
    } catch (error) {
      this.#inUse.delete(partial);
      throw error;
    }
  }

  async #begin(path: string, meta: SnapshotMeta, resumable: boolean): Promise<Draft> {
    const file = await this.#fs.open(path, 'create');
    const writer = new RecordWriter(file, { sealer: this.#sealer, from: startOf() });
    try {
      await writer.begin(meta);
    } catch (error) {
      await file.close();
      await this.#fs.remove(path);
      throw error;
    }
    return { path, file, writer, meta, resumable };
  }

  /** The partial file up to its last good record, durable; undefined when there is none worth going on with. */
  async #resume(path: string, meta: SnapshotMeta): Promise<{ draft: Draft; from: Progress } | undefined> {
    if (!(await this.#names()).includes(nameOf(path))) return undefined;
    const file = await this.#fs.open(path, 'write');
    try {
      const reader = new RecordReader(file, { name: nameOf(path), sealer: this.#sealer });
      await reader.begin();
      const from = await reader.good();
      await file.truncate(from.position);
      await file.sync();
      await this.#fs.syncDirectory(this.#directory);
      const writer = new RecordWriter(file, { sealer: this.#sealer, from });
      return { draft: { path, file, writer, meta, resumable: true }, from };
    } catch (error) {
      // Also after a failed sync: nobody knows what of it is on disk.
      await file.close();
      await this.#removeIfThere(path);
      if (error instanceof LogCorrupt || error instanceof SealBroken) return undefined;
      throw error;
    }
  }

  #sink(draft: Draft, offset: number, checksum = 0): SnapshotSink {
    let state: 'open' | 'broken' | 'closed' = 'open';
    const begin = () => {
      if (state !== 'open') throw new Error(`Cannot write snapshot: it is ${state}`);
    };
    return {
      offset,
      checksum,
      write: async (chunk) => {
        begin();
        try {
          await draft.writer.data(chunk);
        } catch (error) {
          state = 'broken';
          throw error;
        }
      },
      commit: async () => {
        begin();
        state = 'closed';
        try {
          return await this.#commit(draft);
        } finally {
          this.#inUse.delete(draft.path);
        }
      },
      abort: async () => {
        if (state === 'closed') return;
        const keep = state === 'open' && draft.resumable;
        state = 'closed';
        try {
          await draft.file.close();
          if (!keep) await this.#removeIfThere(draft.path);
        } finally {
          this.#inUse.delete(draft.path);
        }
      },
    };
  }

  async #commit({ path, file, writer, meta }: Draft): Promise<SnapshotMeta> {
    try {
      const hash = (await writer.end()).slice(0, hashDigits);
      const expected = fileName.exec(meta.id)?.[1];
      if (expected !== undefined && expected !== hash) {
        throw new SnapshotMismatch(`Cannot store snapshot: ${meta.id} has content of another hash, ${hash}`);
      }
      await file.sync();
      await file.close();
      this.#count += 1;
      // Newest index first when sorted backwards; the count tells apart two of the same index.
      const id = `${prefixOf(meta)}-${hex(this.#count, 8)}-${hash}.snap`;
      await this.#fs.rename(path, `${this.#directory}/${id}`);
      await this.#fs.syncDirectory(this.#directory);
      return { ...meta, id };
    } catch (error) {
      await file.close().catch(() => {});
      await this.#removeIfThere(path).catch(() => {});
      throw error;
    }
  }

  /** The meta is checked now, each chunk when it is read, the totals at the end. */
  async open(id: string): Promise<{ meta: SnapshotMeta; chunks: AsyncIterable<Uint8Array> }> {
    if (!fileName.test(id)) throw new RangeError(`Cannot open snapshot: invalid id ${JSON.stringify(id)}`);
    await this.#prepare();
    const file = await this.#fs.open(`${this.#directory}/${id}`, 'read');
    try {
      const meta = await new RecordReader(file, { name: id, sealer: this.#sealer }).begin();
      return { meta: { ...meta, id }, chunks: this.#chunks(id) };
    } finally {
      await file.close();
    }
  }

  /** Opens the file only when the first chunk is asked for: nobody has to read on just to have it closed. */
  async *#chunks(id: string): AsyncIterable<Uint8Array> {
    const file = await this.#fs.open(`${this.#directory}/${id}`, 'read');
    try {
      const reader = new RecordReader(file, { name: id, sealer: this.#sealer });
      await reader.begin();
      yield* reader.chunks(fileName.exec(id)?.[1] ?? '');
    } finally {
      await file.close();
    }
  }

  prune(keep: number, pinned?: string): Promise<void> {
    // One at a time: two would remove the same file, and the second would fail.
    const done = this.#pruning.then(() => this.#pruneNow(keep, pinned));
    this.#pruning = done.catch(() => {});
    return done;
  }

  async #pruneNow(keep: number, pinned: string | undefined): Promise<void> {
    await this.#prepare();
    const newestFirst = (await this.#names()).filter((name) => fileName.test(name)).reverse();
    const old = newestFirst.slice(keep).filter((name) => name !== pinned);
    for (const name of old) await this.#fs.remove(`${this.#directory}/${name}`);
    if (old.length > 0) await this.#fs.syncDirectory(this.#directory);
    await this.#prunePartials(partialsMax, newestFirst[0] ?? '');
  }

  /** Keeps the newest `keep` of those ahead of the snapshot `newest`; whoever writes to one keeps it anyway. */
  async #prunePartials(keep: number, newest: string): Promise<void> {
    const idle = (await this.#names())
      .filter((name) => partialName.test(name) && !this.#inUse.has(`${this.#directory}/${name}`))
      .reverse();
    const index = newest.slice(0, 14);
    for (const [at, name] of idle.entries()) {
      if (at >= keep || name.slice(0, 14) <= index) await this.#fs.remove(`${this.#directory}/${name}`);
    }
  }

  #temporary(): string {
    this.#count += 1;
    return `${this.#directory}/${hex(this.#count, 8)}.snap.tmp`;
  }

  #names(): Promise<readonly string[]> {
    return this.#fs.list(this.#directory);
  }

  async #removeIfThere(path: string): Promise<void> {
    if ((await this.#names()).includes(nameOf(path))) await this.#fs.remove(path);
  }

  #prepare(): Promise<void> {
    this.#prepared ??= this.#cleanUp();
    return this.#prepared;
  }

  async #cleanUp(): Promise<void> {
    await this.#fs.makeDirectory(this.#directory);
    for (const name of await this.#names()) {
      if (name.endsWith('.snap.tmp')) await this.#fs.remove(`${this.#directory}/${name}`);
      else if (fileName.test(name)) this.#count = Math.max(this.#count, Number.parseInt(name.slice(30, 38), 16));
    }
    await this.#prunePartials(partialsMax, '');
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function prefixOf({ index, term }: SnapshotMeta): string {
  return `${hex(index, 14)}-${hex(term, 14)}`;
}

/** Everything that the sender says about it: its name, place and configuration. */
function identityOf(meta: SnapshotMeta): string {
  return createHash('sha256').update(encodeSnapshotMeta(meta)).digest('hex').slice(0, hashDigits);
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

/** Checks every record of a snapshot file, sealed or not, without a key. Throws LogCorrupt. */
export async function verifySnapshotFile(
  path: string,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<{ readonly records: number }> {
  const file = await fileSystem.open(path, 'read');
  try {
    return { records: await new RecordReader(file, { name: nameOf(path), sealer: undefined }).verify() };
  } finally {
    await file.close();
  }
}
