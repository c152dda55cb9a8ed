/** One real manager: store, Raft with its sealed log on disk, control API and all leader loops; agents are in another process. */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MemoryBus } from 'raft-ts/sim';
import { type Log, silentLog } from '../../src/lib/log.ts';
import { realClock, realRandom, terminalLog } from '../../src/lib/real.ts';
import { newNode } from '../../src/manager/ca/ca.ts';
import { Manager } from '../../src/manager/manager.ts';
import { RaftManager } from '../../src/manager/raft/manager.ts';
import { raftRuntime } from '../../src/manager/raft/runtime.ts';
import { openRaftStorage } from '../../src/manager/raft/storage.ts';
import type { Store } from '../../src/manager/store/port.ts';
import { MemoryStore } from '../../src/manager/store/store.ts';
import type { AgentMessage, ManagerMessage } from '../../src/model/assignment.ts';
import { defaultClusterSpec } from '../../src/model/defaults.ts';
import { Link, type Order, Outbox, type Parcel } from './link.ts';

const parcelsPerTurn = 50;

export class ScaleCluster {
  readonly store: MemoryStore;
  readonly directory: string;
  readonly raft: RaftManager;
  readonly #agents: ChildProcess;
  readonly #log: Log;
  readonly #links = new Map<number, Link<ManagerMessage, AgentMessage>>();
  readonly #outbox = new Outbox((parcels) => this.#order({ kind: 'parcels', parcels }));
  readonly #inbox: Parcel[] = [];
  #manager: Manager;

  static async open(nodes: number): Promise<ScaleCluster> {
    const directory = await mkdtemp(join(tmpdir(), 'tscluster-scale-'));
    const store = new MemoryStore({ proposer: null, now: () => realClock.now() });
    const log = process.env['TSCLUSTER_TRACE'] === undefined ? silentLog : terminalLog(new Set(['all']));
    const runtime = raftRuntime(realClock, realRandom);
    const raft = await RaftManager.open({
      self: { raftId: 1, nodeId: 'manager', addr: 'manager:2377' },
      store,
      ports: {
        ...(await openRaftStorage({ directory, random: realRandom })),
        transport: new MemoryBus(() => false).join(1),
        runtime,
      },
      clock: realClock,
      log,
      bootstrap: true,
    });
    raft.onFault((fault) => {
      throw fault;
    });
    return new ScaleCluster({ directory, store, raft, nodes, log });
  }

  private constructor(parts: { directory: string; store: MemoryStore; raft: RaftManager; nodes: number; log: Log }) {
    this.directory = parts.directory;
    this.store = parts.store;
    this.raft = parts.raft;
    this.#log = parts.log;
    this.#manager = this.#newManager(parts.nodes);
    this.#manager.start();
    this.#agents = fork(fileURLToPath(new URL('./agents.ts', import.meta.url)), { serialization: 'advanced' });
    this.#agents.on('message', (parcels: readonly Parcel[]) => {
      this.#inbox.push(...parcels);
      if (this.#inbox.length === parcels.length) this.#read();
    });
    this.#order({ kind: 'start', nodes: parts.nodes });
  }

  #newManager(nodes: number): Manager {
    return new Manager({
      nodeId: 'manager',
      store: this.store,
      consensus: this.raft,
      dialer: {
        dial: () => {
          throw new Error('there is one manager');
        },
      },
      clock: realClock,
      random: realRandom,
      log: this.#log,
      bootstrap: (store) => bootstrap(store, nodes),
    });
  }

  get control(): Manager['backend'] {
    return this.#manager.backend;
  }

  /** The node's cable is cut. */
  silence(node: number): void {
    this.#order({ kind: 'silence', node });
  }

  /** The loops end here and begin anew, as on another manager whose copy is up to date; every agent has to register again. */
  async changeLeader(): Promise<void> {
    const old = this.#manager;
    this.#manager = this.#newManager(0);
    await old.stop();
    this.#manager.start();
  }

  async close(): Promise<void> {
    this.#agents.disconnect();
    await this.#manager.stop();
    await this.raft.close({ transfer: false });
    await rm(this.directory, { recursive: true, force: true });
  }

  #order(order: Order): void {
    if (this.#agents.connected) this.#agents.send(order);
  }

  /** Connections of their own would be read a few at a time, too. */
  #read(): void {
    for (const parcel of this.#inbox.splice(0, parcelsPerTurn)) this.#arrive(parcel);
    if (this.#inbox.length > 0) realClock.defer(() => this.#read());
  }

  #arrive(parcel: Parcel): void {
    if (parcel.kind === 'open') return this.#accept(parcel.stream, parcel.nodeId);
    const link = this.#links.get(parcel.stream);
    if (parcel.kind === 'data') link?.arrived(parcel.bytes);
    else link?.closed();
  }

  #accept(stream: number, nodeId: string): void {
    const link = new Link<ManagerMessage, AgentMessage>(stream, (parcel) => {
      if (parcel.kind === 'close') this.#links.delete(stream);
      this.#outbox.post(parcel);
    });
    this.#links.set(stream, link);
    this.#manager.service.session(link, { nodeId, role: 'worker', clusterId: 'scale' }, '10.0.0.1:4000');
  }
}

async function bootstrap(store: Store, nodes: number): Promise<void> {
  await store.transact((tx) =>
    tx.create('cluster', {
      id: 'scale',
      spec: defaultClusterSpec,
      rootCa: { certPem: '', keyPem: '', joinTokens: { worker: 'w', manager: 'm' } },
      removedNodes: {},
      nextRaftId: 2,
    }),
  );
  const numbers = Array.from({ length: nodes }, (_, at) => at);
  await store.batch(numbers, (tx, at) => tx.create('node', newNode(`node${at}`, 'worker', 'active', tx.now)));
}
