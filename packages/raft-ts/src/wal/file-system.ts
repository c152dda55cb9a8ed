/**
 * The file system as the log and the snapshot store see it: few calls, each with its durability spelled out, so that
 * the in-memory implementation can lose exactly what a real disk may lose.
 */
export interface FileHandle {
  size(): Promise<number>;
  /** Up to `length` bytes from `position`; fewer only at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  /** Writes all of `bytes`. */
  write(position: number, bytes: Uint8Array): Promise<void>;
  /** Everything written is durable, and so is the file's length. After a rejection the file must not be used again. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

/** `create` fails if the file exists; it is made with mode 0600. `synced`: a write is durable when it resolves. */
export type OpenMode = 'read' | 'write' | 'create' | 'synced';

/** Paths are absolute or relative to the working directory. Every error is fatal for whoever uses it. */
export interface FileSystem {
  /** Makes the directory (mode 0700) and its parents. */
  makeDirectory(path: string): Promise<void>;
  /** Names in the directory, sorted. */
  list(path: string): Promise<readonly string[]>;
  open(path: string, mode: OpenMode): Promise<FileHandle>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Creations, renames and removals in this directory are durable. */
  syncDirectory(path: string): Promise<void>;
  /** Excludes every other process, and every other user in this one, until the returned function is called. */
  lock(path: string): Promise<() => Promise<void>>;
}

/** The directory is in use by another process, or elsewhere in this one. */
export class DirectoryLocked extends Error {
  override readonly name = 'DirectoryLocked';
}
