/** A file system that counts what it makes durable, and takes its time over it: a slow disk. */
import type { FileHandle, FileSystem, OpenMode } from 'raft-ts/wal';

export class DelayedFileSystem implements FileSystem {
  syncs = 0;
  readonly #inner: FileSystem;
  readonly #delayMs: number;

  constructor(inner: FileSystem, delayMs: number) {
    this.#inner = inner;
    this.#delayMs = delayMs;
  }

  makeDirectory(path: string): Promise<void> {
    return this.#inner.makeDirectory(path);
  }

  list(path: string): Promise<readonly string[]> {
    return this.#inner.list(path);
  }

  async open(path: string, mode: OpenMode): Promise<FileHandle> {
    const file = await this.#inner.open(path, mode);
    return {
      size: () => file.size(),
      read: (position, length) => file.read(position, length),
      write: (position, bytes) => {
        const written = file.write(position, bytes);
        return mode === 'synced' ? this.#durable(written) : written;
      },
      sync: () => this.#durable(file.sync()),
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
    };
  }

  rename(from: string, to: string): Promise<void> {
    return this.#inner.rename(from, to);
  }

  remove(path: string): Promise<void> {
    return this.#inner.remove(path);
  }

  syncDirectory(path: string): Promise<void> {
    return this.#durable(this.#inner.syncDirectory(path));
  }

  lock(path: string): Promise<() => Promise<void>> {
    return this.#inner.lock(path);
  }

  #durable(done: Promise<void>): Promise<void> {
    this.syncs += 1;
    if (this.#delayMs === 0) return done;
    return done.then(() => new Promise((resolve) => setTimeout(resolve, this.#delayMs)));
  }
}
