/** The real disk of a member: log and snapshots under one directory, sealed with this manager's data key. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogStore, SnapshotStore } from 'raft-ts';
import { createFileSnapshotStore, createWalLogStore } from 'raft-ts/wal';
import type { Random } from '../../lib/random.ts';
import { loadDataKeys, loadKek } from './keys.ts';
import { createSealer } from './sealer.ts';

export interface RaftStorage {
  readonly log: LogStore;
  readonly snapshots: SnapshotStore;
}

export interface RaftStorageOptions {
  readonly directory: string;
  readonly random: Random;
  /** Without one, the key kept in the directory is used. */
  readonly kek?: Uint8Array;
}

export async function openRaftStorage(options: RaftStorageOptions): Promise<RaftStorage> {
  const { directory, random } = options;
  const kek = options.kek ?? (await loadKek(directory, random));
  const sealer = createSealer(await loadDataKeys(directory, kek, random), random);
  return {
    log: createWalLogStore({ directory: join(directory, 'log'), sealer }),
    snapshots: createFileSnapshotStore({ directory: join(directory, 'snapshots'), sealer }),
  };
}

/** Forgets everything, keys included: this node is no member any more. */
export async function removeRaftStorage(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
}
