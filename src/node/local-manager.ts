/** The manager half of this process: store, Raft member on disk, node-to-node server, and the manager composed of them. */
import type { Clock } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import type { ManagerPeer } from '../model/assignment.ts';
import type { ManagerBackend } from '../model/control.ts';
import { Manager, peersOf } from '../manager/manager.ts';
import { RaftManager } from '../manager/raft/manager.ts';
import { raftRuntime } from '../manager/raft/runtime.ts';
import { openRaftStorage } from '../manager/raft/storage.ts';
import type { Store } from '../manager/store/port.ts';
import { MemoryStore } from '../manager/store/store.ts';
import type { StoredIdentity } from '../pki/identity-store.ts';
import type { GrpcDialer } from '../rpc/client.ts';
import { clientCredentials, managerServerName, NodeServerCredentials } from '../rpc/credentials.ts';
import { RpcServer } from '../rpc/server.ts';

export interface LocalManagerOptions {
  readonly dataDir: string;
  readonly identity: StoredIdentity;
  readonly raft: NonNullable<StoredIdentity['raft']>;
  readonly nodeId: string;
  readonly clusterId: string;
  readonly dialer: GrpcDialer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly bootstrap?: (store: Store) => Promise<void>;
  readonly onFatal: (error: Error) => void;
}

export class LocalManager {
  readonly backend: ManagerBackend;
  readonly #options: LocalManagerOptions;
  readonly #manager: Manager;
  readonly #raft: RaftManager;
  readonly #server: RpcServer;
  readonly #credentials: NodeServerCredentials;

  private constructor(options: LocalManagerOptions, parts: { manager: Manager; raft: RaftManager; server: RpcServer; credentials: NodeServerCredentials }) {
    this.#options = options;
    this.#manager = parts.manager;
    this.#raft = parts.raft;
    this.#server = parts.server;
    this.#credentials = parts.credentials;
    this.backend = parts.manager.backend;
  }
}
