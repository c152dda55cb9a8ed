/** A simulated manager: the real manager over the real Raft driver, on a simulated disk and network. */
import type { RaftPorts } from '../../src/manager/raft/manager.ts';
import { RaftManager } from '../../src/manager/raft/manager.ts';
import { raftRuntime } from '../../src/manager/raft/runtime.ts';
import { newNode } from '../../src/manager/ca/ca.ts';
import { Manager } from '../../src/manager/manager.ts';
import type { Store } from '../../src/manager/store/port.ts';
import { MemoryStore } from '../../src/manager/store/store.ts';
import { defaultClusterSpec } from '../../src/model/defaults.ts';
import { MemoryLogStore, MemorySnapshotStore } from 'raft-ts/sim';
import { between } from '../../src/lib/random.ts';
import { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

interface Process {
  readonly clock: ProcessClock;
  readonly store: MemoryStore;
  readonly raft: RaftManager;
  readonly manager: Manager;
}

export class ManagerHost {
  readonly name: string;
  readonly raftId: number;
  readonly #world: World;
  readonly #log: MemoryLogStore;
  readonly #snapshots = new MemorySnapshotStore();
  #process: Process | undefined;
  #starting: ProcessClock | undefined;

  constructor(world: World, raftId: number) {
    this.name = `m${raftId}`;
    this.raftId = raftId;
    this.#world = world;
    this.#log = new MemoryLogStore({ runtime: raftRuntime(world.clock, world.random), syncDelayMs: () => between(world.random, 0, 4) });
  }

  get process(): Process | undefined {
    return this.#process;
  }

  get alive(): boolean {
    return this.#process !== undefined || this.#starting !== undefined;
  }

  get addr(): string {
    return `${this.name}:2377`;
  }

  async start(): Promise<void> {
    const { clock: worldClock, random, log } = this.#world;
    const clock = new ProcessClock(worldClock);
    this.#starting = clock;
    const store = new MemoryStore({ proposer: null, now: () => clock.now() });
    const runtime = raftRuntime(clock, random);
    const transport = this.#world.bus.join(this.raftId);
    const ports: RaftPorts = { log: this.#log, snapshots: this.#snapshots, transport, runtime };
    const raft = await RaftManager.open({
      self: { raftId: this.raftId, nodeId: this.name, addr: this.addr },
      store,
      ports,
      clock,
      log: log.part(this.name),
      bootstrap: this.raftId === 1,
      members: this.#world.knownMembers,
      snapshotEveryEntries: 200,
    });
    if (this.#starting !== clock) return; // killed meanwhile
    raft.onFault((fault) => this.#world.fail(`${this.name} stopped: ${fault.message}`));
    const manager = new Manager({
      nodeId: this.name,
      store,
      consensus: raft,
      dialer: this.#world.dialer(this.name, clock),
      clock,
      random,
      log: log.part(this.name),
      bootstrap: (target) => this.#bootstrap(target),
    });
    manager.start();
    this.#process = { clock, store, raft, manager };
    this.#starting = undefined;
  }

  /** Power loss: nothing runs on, what was not synced is gone. */
  crash(): void {
    this.#process?.clock.kill();
    this.#starting?.kill();
    this.#process = undefined;
    this.#starting = undefined;
    this.#world.bus.leave(this.raftId);
    this.#log.crash();
    this.#snapshots.crash();
    this.#world.network.reset(this.name);
  }

  async #bootstrap(store: Store): Promise<void> {
    await store.transact((tx) => {
      tx.create('cluster', {
        id: 'simcluster',
        spec: defaultClusterSpec,
        rootCa: { certPem: 'simulated', keyPem: 'simulated', joinTokens: { worker: 'w', manager: 'm' } },
        removedNodes: {},
        nextRaftId: 2,
      });
      for (const host of this.#world.managers) {
        tx.create('node', { ...newNode(host.name, 'manager', 'drain', tx.now), manager: { raftId: host.raftId, addr: host.addr } });
      }
      for (const host of this.#world.agents) tx.create('node', newNode(host.name, 'worker', 'active', tx.now));
    });
  }
}
