/** A simulated worker: the real agent; its disk and its containers outlive it. */
import type { Clock } from '../../src/lib/clock.ts';
import { between, type Random } from '../../src/lib/random.ts';
import type { AssignedTask, ManagerPeer } from '../../src/model/assignment.ts';
import { type Agent, createAgent } from '../../src/worker/agent.ts';
import { FakeExecutor, fakeDescription } from '../../src/worker/executor/fake.ts';
import type { Controller, Dependencies, Executor, NodeNetworks } from '../../src/worker/executor/port.ts';
import { applyTaskDbChange, type StoredTask, type TaskDb, type TaskDbChange } from '../../src/worker/task-db.ts';
import { createDialer } from './dialer.ts';
import { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

export class AgentHost {
  readonly name: string;
  readonly executor: FakeExecutor;
  readonly #world: World;
  readonly #disk: TaskDisk;
  #managers: readonly ManagerPeer[];
  /** On disk: the cluster has removed this node. */
  removed = false;
  #attempts = 0;
  #process: { readonly clock: ProcessClock; readonly agent: Agent } | undefined;

  constructor(world: World, number: number) {
    this.name = `a${number}`;
    this.#world = world;
    const { clock, random } = world;
    const description = { ...fakeDescription, hostname: this.name };
    this.executor = new FakeExecutor({
      clock,
      random,
      description,
      prepareMs: [10, 800],
      startMs: [5, 300],
      stopMs: [5, 2_000],
      networksMs: [1, 200],
    });
    this.#disk = new TaskDisk(clock, random);
    this.#managers = [1, 2, 3].map((manager) => ({ nodeId: `m${manager}`, addr: `m${manager}:2377` }));
  }

  get alive(): boolean {
    return this.#process !== undefined;
  }

  get clock(): ProcessClock | undefined {
    return this.#process?.clock;
  }

  /** Sessions asked for so far, over all runs. */
  get attempts(): number {
    return this.#attempts;
  }

  /** In a session, as far as the agent knows. */
  get connected(): boolean {
    return this.#process?.agent.connected() ?? false;
  }

  start(): void {
    if (this.alive) return;
    const { clock: worldClock, random, network } = this.#world;
    const clock = new ProcessClock(worldClock, this.name, { skewMs: this.#world.skewOf(this.name) });
    network.boot(this.name);
    const agent = createAgent({
      nodeId: this.name,
      addr: this.name,
      dialer: { dial: (addr) => ((this.#attempts += 1), createDialer(this.#world, clock).dial(addr)) },
      managers: this.#managers,
      executor: guarded(this.#world.sabotage.executor?.(this.executor, this.name) ?? this.executor, clock),
      db: this.#disk.open(clock),
      clock,
      random,
      log: this.#world.logOf(this.name),
      onRole: () => {},
      onManagers: (peers) => {
        this.#managers = peers;
      },
      onRemoved: () => clock.outside(async () => void (this.removed = true)),
      standing: this.removed ? 'removed' : 'member',
    });
    this.#process = { clock, agent };
    agent.start().catch((error: unknown) => this.#world.fail(`${this.name} cannot start: ${String(error)}`));
  }

  /** The daemon dies; containers go on. */
  crash(): void {
    this.#end();
    this.#world.network.reset(this.name);
  }

  /** The host loses power: containers and unsynced writes are gone. */
  powerOff(): void {
    this.#end();
    this.executor.reboot();
    this.#world.network.powerOff(this.name);
  }

  /** The daemon dies and finds its data directory empty; containers go on. */
  loseDisk(): void {
    this.crash();
    this.#disk.wipe();
  }

  slowDisk(slow: boolean): void {
    this.#disk.slow = slow;
  }

  /** The daemon is stopped on purpose; containers go on. */
  async stop(): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    await Promise.race([process.agent.stop(), process.clock.killed]);
    if (this.#process === process) this.crash();
  }

  #end(): void {
    this.#process?.clock.kill();
    this.#process = undefined;
    this.#disk.crash();
  }
}

/** The agent's database on a disk that loses what it has not synced. */
class TaskDisk {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #tasks = new Map<string, StoredTask>();
  #queue: { readonly changes: readonly TaskDbChange[]; readonly done: () => void }[] = [];
  #writing = false;
  #generation = 0;
  slow = false;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  wipe(): void {
    this.#tasks.clear();
  }

  crash(): void {
    this.#generation += 1;
    this.#queue = [];
    this.#writing = false;
  }

  open(process: ProcessClock): TaskDb {
    return {
      load: () => process.outside(async () => [...this.#tasks.values()]),
      write: (changes) => process.outside(() => this.#write(changes)),
      close: () => process.outside(() => this.#write([])),
    };
  }

  #write(changes: readonly TaskDbChange[]): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push({ changes, done: resolve });
      this.#sync();
    });
  }

  #sync(): void {
    if (this.#writing || this.#queue.length === 0) return;
    this.#writing = true;
    const group = this.#queue.splice(0);
    const generation = this.#generation;
    this.#clock.timer(between(this.#random, 0, this.slow ? 400 : 5), () => {
      if (generation !== this.#generation) return;
      for (const { changes } of group) for (const change of changes) applyTaskDbChange(this.#tasks, change);
      for (const { done } of group) done();
      this.#writing = false;
      this.#sync();
    });
  }
}

/** The host's runtime as one daemon sees it: what it asked for happens, but a dead daemon hears no answer. */
function guarded(executor: Executor, process: ProcessClock): Executor {
  const { networks } = executor;
  return {
    ...(networks === undefined ? {} : { networks: guardedNetworks(networks, process) }),
    describe: () => process.outside(() => executor.describe()),
    bootId: () => process.outside(async () => (await executor.bootId?.()) ?? ''),
    controller: (task: AssignedTask, dependencies: Dependencies) =>
      guardedController(executor.controller(task, dependencies), process),
    existing: () => process.outside(() => executor.existing()),
    discard: (taskId) => process.outside(() => executor.discard(taskId)),
    logs: (taskId, query, signal) => executor.logs(taskId, query, signal),
  };
}

function guardedNetworks(networks: NodeNetworks, process: ProcessClock): NodeNetworks {
  return {
    apply: (state) => process.outside(() => networks.apply(state)),
    onProblems: (handle) => networks.onProblems((problems) => process.enter(() => handle(problems))),
  };
}

function guardedController(controller: Controller, process: ProcessClock): Controller {
  return {
    prepare: (signal) => process.outside(() => controller.prepare(signal)),
    start: (signal) => process.outside(() => controller.start(signal)),
    wait: (signal) => process.outside(() => controller.wait(signal)),
    shutdown: () => process.outside(() => controller.shutdown()),
    remove: () => process.outside(() => controller.remove()),
    status: () => process.outside(() => controller.status()),
    ports: () => controller.ports(),
  };
}
