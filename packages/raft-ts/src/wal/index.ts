/** Durable storage on files: the write-ahead log and the snapshots. */
export type { BatchSummary } from './batch.ts';
export { crc32c } from './crc32c.ts';
export { LogCorrupt, SealBroken, SnapshotMismatch } from './errors.ts';
export { DirectoryLocked, type FileHandle, type FileSystem, type OpenMode } from './file-system.ts';
export { type InspectedRecord, type InspectOptions, inspectLog, type LogReport } from './inspect.ts';
export { type CrashOptions, MemoryFileSystem, type Operation } from './memory-file-system.ts';
export { nodeFileSystem } from './node-file-system.ts';
export { forceNewCluster } from './recovery.ts';
export {
  createFileSnapshotStore,
  FileSnapshotStore,
  type SnapshotStoreOptions,
  verifySnapshotFile,
} from './snapshot-store.ts';
export { createWalLogStore, WalLogStore, type WalOptions } from './wal.ts';
