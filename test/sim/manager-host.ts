/** A simulated manager: the real manager over the real Raft driver, on a simulated disk and network. */
import { MemoryLogStore, MemorySnapshotStore } from 'raft-ts/sim';
import { sleep } from '../../src/lib/clock.ts';
import { ClusterError, messageOf } from '../../src/lib/errors.ts';
import { between } from '../../src/lib/random.ts';
import { newNode } from '../../src/manager/ca/ca.ts';
import { Manager } from '../../src/manager/manager.ts';
import { MembershipGuard } from '../../src/manager/raft/guard.ts';
import { joinGroup } from '../../src/manager/raft/join.ts';
import { RaftManager, type RaftPorts } from '../../src/manager/raft/manager.ts';
import type { Member } from '../../src/manager/raft/members.ts';
import { raftRuntime } from '../../src/manager/raft/runtime.ts';
import type { Store } from '../../src/manager/store/port.ts';
import { MemoryStore } from '../../src/manager/store/store.ts';
import { defaultClusterSpec } from '../../src/model/defaults.ts';
import { clusterId, createDialer } from './dialer.ts';
import { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

interface Process {
  readonly clock: ProcessClock;
  readonly store: MemoryStore;
  readonly raft: RaftManager;
  readonly manager: Manager;
}

/** On disk since the node became a member. */
interface RaftIdentity {
  readonly raftId: number;
  readonly members: readonly Member[];
}

export class ManagerHost {
  readonly name: string;
  readonly #world: World;
  /** Until it has founded the group. */
  #founder: boolean;
  #log: MemoryLogStore;
  #snapshots = new MemorySnapshotStore();
  #slowDisk = false;
  #identity: RaftIdentity | undefined;
  #process: Process | undefined;
  #starting: ProcessClock | undefined;

  constructor(world: World, number: number) {
    this.name = `m${number}`;
    this.#world = world;
    this.#founder = number === 1;
    this.#log = this.#newLog();
  }

  /** Whether every sync takes long. */
  slowDisk(slow: boolean): void {
    this.#slowDisk = slow;
  }

  #newLog(): MemoryLogStore {
    const { clock, random } = this.#world;
    return new MemoryLogStore({ runtime: raftRuntime(clock, random), syncDelayMs: () => this.#syncMs() });
  }

  #syncMs(): number {
    return between(this.#world.random, 0, this.#slowDisk ? 400 : 5);
  }

  get process(): Process | undefined {
    return this.#process;
  }

  get alive(): boolean {
    return this.#process !== undefined || this.#starting !== undefined;
  }

  get raftId(): number | undefined {
    return this.#identity?.raftId;
  }

  get addr(): string {
    return `${this.name}:2377`;
  }

  async start(): Promise<void> {
    if (this.alive) return;
    const clock = new ProcessClock(this.#world.clock, this.name, { skewMs: this.#world.skewOf(this.name) });
    this.#starting = clock;
    this.#world.network.boot(this.name);
    this.#identity ??= this.#founder ? { raftId: 1, members: [] } : await this.#join(clock);
    await this.#open(clock, this.#identity);
  }

  async #open(clock: ProcessClock, identity: RaftIdentity): Promise<void> {
    const { random, checkers } = this.#world;
    const log = this.#world.logOf(this.name);
    const store = new MemoryStore({ proposer: null, now: () => clock.now(), defer: (run) => clock.defer(run) });
    store.subscribe((commit) => checkers.committed(this.name, commit));
    const ports: RaftPorts = {
      log: this.#log.session(),
      snapshots: this.#snapshots.session(),
      transport: this.#world.bus.join(identity.raftId),
      runtime: raftRuntime(clock, random),
    };
    const self = { raftId: identity.raftId, nodeId: this.name, addr: this.addr };
    const options = { bootstrap: this.#founder, members: identity.members, snapshotEveryEntries: 60, keepEntries: 20 };
    const raft = await RaftManager.open({ self, store, ports, clock, log, ...options });
    if (!clock.alive) return;
    raft.onFault((fault) => this.#world.fail(`${this.name} stopped: ${fault.message}`));
    raft.onLeadership((isLeader, leader) => {
      this.#world.trace(
        `${this.name} ${isLeader ? `leads in term ${raft.status().term}` : `follows ${leader?.nodeId ?? 'nobody'}`}`,
      );
    });
    const manager = new Manager({
      nodeId: this.name,
      store,
      consensus: raft,
      dialer: createDialer(this.#world, clock),
      clock,
      random,
      log,
      ...(this.#founder ? { bootstrap: (target: Store) => this.#bootstrap(target) } : {}),
    });
    manager.start();
    const process = { clock, store, raft, manager };
    this.#process = process;
    this.#starting = undefined;
    const members = this.#others().map((addr) => ({ raftId: 0, nodeId: '', addr }));
    const dialer = createDialer(this.#world, clock);
    const obsolete = () => this.#startAnew(process);
    new MembershipGuard({ raft, self, members, dialer, clock, log, obsolete }).start();
  }

  /** Its id was taken out of the group: it goes on as another member, with nothing of the old one. */
  #startAnew(process: Process): void {
    if (this.#process !== process) return;
    this.#world.trace(`${this.name} is no member any more and joins again`);
    this.#end();
    this.#world.network.reset(this.name);
    this.#identity = undefined;
    this.#founder = false;
    this.#log = this.#newLog();
    this.#snapshots = new MemorySnapshotStore();
    this.#world.run(this.start());
  }

  #others(): readonly string[] {
    return this.#world.managers.filter((host) => host !== this).map((host) => host.addr);
  }

  /** A message reaches the process that runs now. */
  arrive(deliver: () => void): void {
    (this.#process?.clock ?? this.#starting)?.enter(deliver);
  }

  /** As a node does that was given the manager role: again and again, until it is a member. */
  async #join(clock: ProcessClock): Promise<RaftIdentity> {
    const dialer = createDialer(this.#world, clock);
    for (;;) {
      try {
        return await joinGroup({ dialer, clock, known: this.#others(), addr: this.addr, check: () => {} });
      } catch (error) {
        if (!(error instanceof ClusterError)) throw error;
        this.#world.trace(`${this.name} cannot join yet: ${messageOf(error)}`);
        await sleep(clock, 2_000);
      }
    }
  }

  get clock(): ProcessClock | undefined {
    return this.#process?.clock;
  }

  /** Power loss: nothing runs on, what was not synced is gone. */
  crash(): void {
    this.#end();
    this.#world.network.powerOff(this.name);
    if (this.#world.sabotage.emptyDisks !== true) return;
    this.#log = this.#newLog();
    this.#snapshots = new MemorySnapshotStore();
  }

  /** SIGTERM: leadership is handed over first. */
  async stop(): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    const close = async () => {
      await process.manager.stop();
      await process.raft.close({ transfer: true });
    };
    await Promise.race([close(), process.clock.killed]);
    if (this.#process !== process) return; // power was lost meanwhile
    this.#end();
    this.#world.network.reset(this.name);
  }

  #end(): void {
    this.#process?.clock.kill();
    this.#starting?.kill();
    this.#process = undefined;
    this.#starting = undefined;
    if (this.#identity !== undefined) this.#world.bus.leave(this.#identity.raftId);
    this.#log.crash();
    this.#snapshots.crash();
  }

  async #bootstrap(store: Store): Promise<void> {
    await store.transact((tx) => {
      tx.create('cluster', {
        id: clusterId,
        spec: defaultClusterSpec,
        rootCa: { certPem: 'simulated', keyPem: 'simulated', joinTokens: { worker: 'w', manager: 'm' } },
        removedNodes: {},
        nextRaftId: 2,
      });
      for (const { name } of this.#world.managers) tx.create('node', newNode(name, 'manager', 'drain', tx.now));
      for (const { name } of this.#world.agents) tx.create('node', newNode(name, 'worker', 'active', tx.now));
    });
  }
}
