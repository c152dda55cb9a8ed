/** The manager half of this process: store, Raft member on disk, node-to-node server, and the manager composed of them. */
import { GrpcTransport, type RaftCall, raftService } from 'raft-ts/grpc';
import { type Clock, deadline, sleep } from '../lib/clock.ts';
import { ClusterError, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Random } from '../lib/random.ts';
import { Manager, peersOf } from '../manager/manager.ts';
import { MembershipGuard } from '../manager/raft/guard.ts';
import { RaftManager } from '../manager/raft/manager.ts';
import { raftRuntime } from '../manager/raft/runtime.ts';
import { openRaftStorage } from '../manager/raft/storage.ts';
import type { Store } from '../manager/store/port.ts';
import { MemoryStore } from '../manager/store/store.ts';
import type { ManagerPeer } from '../model/assignment.ts';
import type { ManagerBackend } from '../model/control.ts';
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
  /** The others have taken this member out while it was away: it may only come back under a new Raft id, with an empty log. */
  readonly onObsolete: (self: LocalManager) => void;
}

/** How long a manager that leaves tries to be taken out of the group. */
const leaveLimitMs = 5_000;
const leaveRetryMs = 250;
/** What leader-only work under way may take when this manager stops. */
const handOverLimitMs = 500;

export class LocalManager {
  readonly backend: ManagerBackend;
  readonly #options: LocalManagerOptions;
  readonly #manager: Manager;
  readonly #raft: RaftManager;
  readonly #server: RpcServer;
  readonly #credentials: NodeServerCredentials;
  readonly #transport: GrpcTransport;
  readonly #guard: MembershipGuard;

  private constructor(options: LocalManagerOptions, parts: Parts) {
    this.#options = options;
    this.#guard = parts.guard;
    this.#manager = parts.manager;
    this.#raft = parts.raft;
    this.#server = parts.server;
    this.#credentials = parts.credentials;
    this.#transport = parts.transport;
    this.backend = parts.manager.backend;
  }

  /** Errors: `failed_precondition` when the address is taken or the directory belongs to another member. */
  static async open(options: LocalManagerOptions): Promise<LocalManager> {
    const { identity, nodeId, clock, random, log, dialer } = options;
    const store = new MemoryStore({ proposer: null, now: () => clock.now(), defer: (run) => clock.defer(run) });
    const runtime = raftRuntime(clock, random);
    const credentials = new NodeServerCredentials(identity);
    const late: { server?: RpcServer; raft?: RaftManager } = {};
    const transport = new GrpcTransport({
      id: options.raft.id,
      cluster: options.clusterId,
      runtime,
      credentials: clientCredentials(identity),
      channelOptions: {
        'grpc.ssl_target_name_override': managerServerName,
        'grpc.default_authority': managerServerName,
      },
      authorize: (call, from) => isMember(late, call, from),
    });
    const storage = await openRaftStorage({ directory: options.dataDir, random });
    const self = { raftId: options.raft.id, nodeId, addr: identity.advertiseAddr };
    const raft = await RaftManager.open({
      self,
      store,
      ports: { ...storage, transport, runtime },
      clock,
      log: log.part('raft'),
      // Only `init` founds a group: a founder whose directory was lost must not found a second one under the same name.
      bootstrap: options.bootstrap !== undefined,
      members: options.raft.members,
    });
    late.raft = raft;
    raft.onFault((fault) => options.onFatal(fault));
    const manager = new Manager({
      nodeId,
      store,
      consensus: raft,
      dialer,
      clock,
      random,
      log: log.part('manager'),
      ...(options.bootstrap === undefined ? {} : { bootstrap: options.bootstrap }),
    });
    const server = new RpcServer({
      service: manager.service,
      credentials,
      clusterId: options.clusterId,
      isRemoved: (id) => store.view.cluster()?.removedNodes[id] !== undefined,
      extra: [raftService(transport)],
      log: log.part('rpc'),
    });
    late.server = server;
    const guard = new MembershipGuard({
      raft,
      self,
      members: [...options.raft.members, ...identity.managers.map((peer) => ({ ...peer, raftId: 0 }))],
      dialer,
      clock,
      log: log.part('raft'),
      obsolete: () => options.onObsolete(local),
    });
    const local: LocalManager = new LocalManager(options, { manager, raft, server, credentials, transport, guard });
    try {
      await server.listen(identity.listenAddr);
    } catch (error) {
      await local.stop();
      throw error;
    }
    manager.start();
    guard.start();
    return local;
  }

  peers(): readonly ManagerPeer[] {
    const peers = peersOf(this.#raft);
    const leader = this.#raft.leader();
    return leader === undefined ? peers : [leader, ...peers.filter((peer) => peer.nodeId !== leader.nodeId)];
  }

  /** Resolves once this manager shows the cluster: its own first entry applied, or caught up with the others. */
  ready(limitMs: number): Promise<void> {
    const { clock } = this.#options;
    const { advertiseAddr } = this.#options.identity;
    const silence = `this manager has not heard from a leader yet: can the other managers reach it at ${advertiseAddr}?`;
    const settled = () => this.backend.view.cluster() !== undefined && this.#raft.leader() !== undefined;
    if (settled()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = [
        clock.timer(limitMs, () => finish(new ClusterError('unavailable', silence))),
        this.backend.onCommit(() => settled() && finish()),
        this.#raft.onLeadership(() => settled() && finish()),
      ];
      const finish = (error?: Error) => {
        for (const each of stop) each();
        if (error === undefined) resolve();
        else reject(error);
      };
    });
  }

  renew(identity: StoredIdentity): void {
    this.#credentials.renew(identity);
    this.#transport.setCredentials(clientCredentials(identity));
  }

  /** Hands leadership over, then stops. */
  async stop(): Promise<void> {
    const { clock } = this.#options;
    this.#guard.stop();
    const stopped = this.#manager.stop();
    // Loops that wait for a majority which is not there end with the Raft member: there is nothing to hand over then.
    await deadline(clock, handOverLimitMs, stopped, () => new ClusterError('deadline', 'loops')).catch(() => {});
    await this.#raft.close({ transfer: true });
    await stopped;
    this.#server.close();
  }

  /** Takes this member out of the group where the others can do without it, then stops. */
  async leave(): Promise<void> {
    const { clock, log } = this.#options;
    const end = clock.monotonic() + leaveLimitMs;
    for (;;) {
      try {
        await this.#takeOut();
        break;
      } catch (error) {
        const again = error instanceof ClusterError && error.retryable && clock.monotonic() + leaveRetryMs <= end;
        if (!again) {
          log.warn('left without being taken out of the raft group', { reason: messageOf(error) });
          break;
        }
        await sleep(clock, leaveRetryMs);
      }
    }
    await this.stop();
  }

  /** By the next leader, which needs a moment to begin: until then this is `unavailable`. */
  async #takeOut(): Promise<void> {
    const { nodeId, dialer } = this.#options;
    if (this.#raft.members().every((member) => member.nodeId === nodeId)) return;
    if (this.#raft.isLeader()) await this.#raft.transferLeadership();
    const leader = this.#raft.leader();
    if (leader === undefined || leader.nodeId === nodeId)
      throw new ClusterError('unavailable', 'no other manager leads yet');
    const peer = dialer.dial(leader.addr);
    await peer.leaveRaft({ nodeId }).finally(() => peer.close());
  }
}

interface Parts {
  readonly manager: Manager;
  readonly raft: RaftManager;
  readonly server: RpcServer;
  readonly credentials: NodeServerCredentials;
  readonly transport: GrpcTransport;
  readonly guard: MembershipGuard;
}

/** A Raft caller must be a manager of this cluster, and the one whose member id it uses. A member not known here yet may be new. */
function isMember(late: { server?: RpcServer; raft?: RaftManager }, call: RaftCall, from: number): boolean {
  const caller = late.server?.authorize(call, ['manager']);
  if (caller === undefined || late.raft === undefined) return false;
  const known = late.raft.members().find((member) => member.raftId === from);
  return known === undefined || known.nodeId === caller.nodeId;
}
