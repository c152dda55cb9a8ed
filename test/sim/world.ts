/**
 * A whole cluster in one process: three managers, five agents, their network, disks and containers, and users, under one
 * virtual clock. Everything that is left to chance comes from the seed, so a run repeats exactly.
 */
import { createHash } from 'node:crypto';
import { MemoryBus, type Parcel } from 'raft-ts/sim';
import { messageOf } from '../../src/lib/errors.ts';
import type { Log, LogFields } from '../../src/lib/log.ts';
import { between, type Random, seededRandom } from '../../src/lib/random.ts';
import { VirtualClock } from '../../src/lib/testing/virtual-clock.ts';
import { difference, impliedState } from '../../src/manager/dispatcher/testing/implied.ts';
import { replicasOf } from '../../src/model/defaults.ts';
import type { Service } from '../../src/model/objects.ts';
import { isTerminal, TaskState } from '../../src/model/task-state.ts';
import type { ClusterView } from '../../src/model/view.ts';
import type { ManagerService } from '../../src/rpc/port.ts';
import type { Executor } from '../../src/worker/executor/port.ts';
import { AgentHost } from './agent-host.ts';
import { Checkers } from './checkers.ts';
import { Client } from './client.ts';
import { Faults } from './faults.ts';
import { ManagerHost } from './manager-host.ts';
import { SimNetwork } from './network.ts';
import type { ProcessClock } from './process-clock.ts';
import { Stops } from './stops.ts';
import { Workload } from './workload.ts';

export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
}

/** Broken on purpose, to prove that the checkers see it. */
export interface Sabotage {
  readonly executor?: (executor: Executor, host: string) => Executor;
  /** A manager that loses power finds an empty disk. */
  readonly emptyDisks?: boolean;
}

export interface WorldOptions {
  readonly sabotage?: Sabotage;
  /** Gets every line of the event log. */
  readonly onTrace?: (line: string) => void;
}

const stepMs = 20;
/** Hosts disagree about the wall time by up to twice this. */
const skewMaxMs = 1_500;
/** A rack, a rack, a region, a continent. */
const latenciesMaxMs = [3, 3, 20, 80];
const faultsMs = 60_000;
/** Setting up; ending faults; everything as desired once they have ended. */
const setUpLimitMs = 30_000;
const stopLimitMs = 30_000;
const settleLimitMs = 120_000;
/** How long it has to stay as desired afterwards, with nothing written. */
const restMs = 12_000;

export class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly network: SimNetwork;
  readonly bus: MemoryBus;
  readonly checkers: Checkers;
  readonly stops: Stops;
  readonly managers: readonly ManagerHost[];
  readonly agents: readonly AgentHost[];
  readonly sabotage: Sabotage;
  readonly client: Client;
  readonly faults: Faults;
  readonly #onTrace: ((line: string) => void) | undefined;
  readonly #skews = new Map<string, number>();
  readonly #hash = createHash('sha256');
  readonly #agentLookup: ReadonlyMap<string, AgentHost>;
  #failure: SimulationFailure | undefined;

  constructor(seed: number, options: WorldOptions = {}) {
    this.#onTrace = options.onTrace;
    this.sabotage = options.sabotage ?? {};
    this.random = seededRandom(seed * 8 + 1);
    this.network = new SimNetwork(this.clock, this.random, latenciesMaxMs[seed % latenciesMaxMs.length] ?? 0);
    this.bus = new MemoryBus((parcel) => this.#carry(parcel));
    this.checkers = new Checkers(this);
    this.stops = new Stops(this);
    this.managers = [1, 2, 3].map((number) => new ManagerHost(this, number));
    this.agents = [1, 2, 3, 4, 5].map((number) => new AgentHost(this, number));
    this.#agentLookup = new Map(this.agents.map((agent) => [agent.name, agent]));
    this.client = new Client(this, seed);
    this.faults = new Faults(this, seed);
    new Workload(this, seed).start();
    const skews = seededRandom(seed * 8 + 7);
    for (const { name } of [...this.managers, ...this.agents])
      this.#skews.set(name, between(skews, -skewMaxMs, skewMaxMs));
  }

  /** The whole run. Throws {@link SimulationFailure}. */
  async simulate(): Promise<void> {
    await this.setUp();
    this.trace('faults begin');
    this.faults.start();
    this.client.start();
    await this.pass(faultsMs);
    this.trace('faults end');
    this.client.stop();
    this.faults.stop();
    this.network.healAll();
    await this.until(
      () => (this.faults.none && this.client.idle ? undefined : 'something takes too long to stop'),
      stopLimitMs,
    );
    this.#startAll();
    await this.until(() => (this.leader() === undefined ? 'nobody leads' : undefined), stopLimitMs);
    await this.until(() => this.#undrained(), settleLimitMs);
    this.client.activateNodes();
    await this.until(() => this.unfinished(), settleLimitMs);
    this.trace('settled');
    await this.#rest();
    this.checkers.final();
    this.client.final();
    this.#throwIfFailed();
    this.trace('done');
  }

  /** A run by a script instead of by chance: all set up, then `work`, then all healed, as desired, and at rest. */
  async script(work: () => Promise<void>): Promise<void> {
    await this.setUp();
    await work();
    this.network.healAll();
    this.#startAll();
    await this.until(() => this.unfinished(), settleLimitMs);
    this.trace('settled');
    await this.#rest();
    this.checkers.final();
    this.#throwIfFailed();
  }

  skewOf(host: string): number {
    return this.#skews.get(host) ?? 0;
  }

  /** Of the whole event log: equal for equal seeds. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** The run has failed: it ends after the step under way. */
  fail(reason: string): void {
    if (this.#failure !== undefined) return;
    this.trace(`FAILED: ${reason}`);
    this.#failure = new SimulationFailure(`at ${this.clock.monotonic()} ms: ${reason}`);
  }

  trace(line: string): void {
    const text = `${this.clock.monotonic()} ${line}`;
    this.#hash.update(text);
    this.#onTrace?.(text);
  }

  logOf(part: string): Log {
    const write = (level: string) => (message: string, fields?: LogFields) =>
      this.#onTrace?.(`${this.clock.monotonic()} [${part}] ${level}: ${message} ${show(fields)}`);
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      part: (inner) => this.logOf(`${part} ${inner}`),
    };
  }

  /** Nobody waits for `work`, but it must not fail. */
  run(work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.fail(error instanceof Error ? (error.stack ?? error.message) : messageOf(error)),
    );
  }

  /** What listens on a host now. */
  serving(host: string): { readonly service: ManagerService; readonly clock: ProcessClock } | undefined {
    const process = this.managers.find(({ name }) => name === host)?.process;
    return process === undefined ? undefined : { service: process.manager.service, clock: process.clock };
  }

  leader(): ManagerHost | undefined {
    return this.managers.find(({ process }) => process?.raft.isLeader() === true);
  }

  /** Nothing is wrong, and every agent is in a session. */
  get calm(): boolean {
    return (
      this.faults.none &&
      this.network.healthy &&
      this.agents.every((agent) => agent.connected) &&
      this.managers.every(({ process }) => process !== undefined)
    );
  }

  /** All managers run and reach each other. */
  get managersHealthy(): boolean {
    return this.managers.every(
      (host) =>
        host.clock?.frozen === false && this.managers.every((other) => this.network.reaches(host.name, other.name)),
    );
  }

  /** How many containers run per slot, over all hosts; of tasks that the leader knows. */
  runningSlots(): ReadonlyMap<string, number> {
    const view = this.leader()?.process?.store.view;
    const slots = new Map<string, number>();
    for (const agent of this.agents) {
      for (const taskId of agent.executor.running()) {
        const task = view?.get('task', taskId);
        if (task === undefined) continue;
        const slot = `${task.serviceName}.${task.pinned === true ? task.nodeId : task.slot}`;
        slots.set(slot, (slots.get(slot) ?? 0) + 1);
      }
    }
    return slots;
  }

  /** Why the cluster is not as desired yet; undefined: it is. */
  unfinished(): string | undefined {
    const view = this.leader()?.process?.store.view;
    if (view === undefined) return 'nobody leads';
    for (const { name, process } of this.managers) {
      if (process === undefined) return `${name} is down`;
      if (process.store.view.version !== view.version)
        return `${name} is at version ${process.store.view.version} of ${view.version}`;
    }
    const voters = this.leader()?.process?.raft.status().conf.voters.length;
    if (voters !== this.managers.length) return `the group has ${voters} voters`;
    for (const agent of this.agents) {
      if (!agent.connected) return `${agent.name} is not connected`;
      const node = view.get('node', agent.name);
      if (node?.status.state !== 'ready' || node.spec.Availability !== 'active') return `${agent.name} is not ready`;
    }
    return this.wrongService() ?? this.#wrongContainer(view);
  }

  /** Why a service does not run as it should. */
  wrongService(): string | undefined {
    const view = this.leader()?.process?.store.view;
    if (view === undefined) return 'nobody leads';
    for (const service of view.list('service')) {
      const { Name } = service.spec;
      const updating = service.updateStatus?.state;
      if (updating === 'updating' || updating === 'rollback_started') return `${Name} is being updated`;
      if (service.jobStatus !== undefined) {
        const wrong = this.#wrongJob(view, service);
        if (wrong !== undefined) return wrong;
        continue;
      }
      const up = [...view.tasksOfService(service.id)].filter((task) => {
        const wanted = task.desired === TaskState.running && task.status.state === TaskState.running;
        return wanted && this.#agentLookup.get(task.nodeId)?.executor.isRunning(task.id) === true;
      });
      const wanted = service.spec.Mode.Global === undefined ? replicasOf(service.spec) : this.agents.length;
      if (up.length !== wanted) return `${Name} runs ${up.length} of ${wanted}`;
      const places = new Set(up.map((task) => (service.spec.Mode.Global === undefined ? task.slot : task.nodeId)));
      if (places.size !== up.length) return `${Name} has a slot that runs twice`;
      const old = up.find(
        (task) =>
          JSON.stringify(task.spec.ContainerSpec.Env) !== JSON.stringify(service.spec.TaskTemplate.ContainerSpec.Env),
      );
      if (old !== undefined && updating !== 'paused') return `${Name} runs an old task`;
    }
    return undefined;
  }

  /** Why a drained node is not empty yet. */
  #undrained(): string | undefined {
    const view = this.leader()?.process?.store.view;
    if (view === undefined || !this.calm) return 'not all is well';
    for (const { name, executor } of this.agents) {
      const drained = view.get('node', name)?.spec.Availability === 'drain';
      if (drained && executor.running().length > 0)
        return `${name} is drained and runs ${executor.running().join(', ')}`;
    }
    return undefined;
  }

  /** Every slot, or every node, completed once more than it failed; nothing of it runs any more. */
  #wrongJob(view: ClusterView, service: Service): string | undefined {
    const { Name, Mode } = service.spec;
    const tasks = [...view.tasksOfService(service.id)].filter(
      (task) => task.jobIteration === service.jobStatus?.iteration,
    );
    const done = tasks.filter((task) => task.status.state === TaskState.complete);
    const places = new Set(done.map((task) => (Mode.GlobalJob === undefined ? task.slot : task.nodeId)));
    const total = Mode.GlobalJob === undefined ? (Mode.ReplicatedJob?.TotalCompletions ?? 1) : this.agents.length;
    if (places.size !== total) return `${Name} completed ${places.size} of ${total}`;
    const busy = tasks.find((task) => task.desired <= TaskState.complete && !isTerminal(task.status.state));
    return busy === undefined ? undefined : `${Name} is done, and task ${busy.id} goes on`;
  }

  /** Whatever runs is wanted. */
  #wrongContainer(view: ClusterView): string | undefined {
    for (const { name, executor } of this.agents) {
      for (const taskId of executor.running()) {
        const task = view.get('task', taskId);
        if (task === undefined || task.nodeId !== name || task.desired !== TaskState.running)
          return `${name} runs ${taskId}, which nobody wants`;
      }
    }
    return undefined;
  }

  /** Managers, agents and two services that run. */
  async setUp(): Promise<void> {
    const [first, ...others] = this.managers;
    if (first !== undefined) this.run(first.start());
    await this.until(
      () => (this.leader()?.process?.store.view.cluster() === undefined ? 'no cluster yet' : undefined),
      setUpLimitMs,
    );
    for (const other of others) this.run(other.start());
    for (const agent of this.agents) agent.start();
    const voters = () => this.leader()?.process?.raft.status().conf.voters.length;
    await this.until(
      () =>
        voters() === 3 && this.managers.every((host) => host.process !== undefined)
          ? undefined
          : 'managers have not joined',
      setUpLimitMs,
    );
    let created = 0;
    let networks = 0;
    for (let count = 0; count < 2; count++) this.run(this.client.createNetwork().then(() => void (networks += 1)));
    await this.until(() => (networks < 2 ? 'networks are not created' : undefined), setUpLimitMs);
    for (const replicas of [3, 5]) this.run(this.client.createService(replicas).then(() => void (created += 1)));
    await this.until(() => (created < 2 ? 'services are not created' : this.unfinished()), setUpLimitMs);
    this.trace('set up');
  }

  #startAll(): void {
    for (const manager of this.managers) this.run(manager.start());
    for (const agent of this.agents) agent.start();
  }

  /** As desired means for good: nothing is written any more. */
  async #rest(): Promise<void> {
    await this.pass(restMs / 2); // acknowledgements and late explanations
    const before = this.checkers.newestWork;
    await this.pass(restMs / 2);
    const after = this.checkers.newestWork;
    if (before !== after) this.fail(`the cluster does not come to rest: version ${before} became ${after}`);
    // What ended a minute ago is cleared away even now, which takes the replicas a moment.
    await this.until(() => this.unfinished(), stepMs * 50);
    await this.#nothingLeft();
    this.#networksAgree();
    this.#throwIfFailed();
  }

  /** Every node has in place what the store implies, and its containers are attached as it says. */
  #networksAgree(): void {
    const view = this.leader()?.process?.store.view;
    if (view === undefined) return this.fail('nobody leads');
    for (const { name, executor } of this.agents) {
      const { networks } = executor;
      if (networks === undefined) continue;
      const wrong = difference(impliedState(view, name), networks.state);
      if (wrong !== undefined) this.fail(`networks of ${name}: ${wrong}`);
      for (const taskId of executor.running()) {
        const task = view.get('task', taskId);
        const attached = networks.attached.get(taskId);
        if (JSON.stringify(attached?.attachments) !== JSON.stringify(task?.attachments ?? []))
          this.fail(`${taskId} is attached to ${JSON.stringify(attached?.attachments)} on ${name}`);
        if (attached?.gateway !== task?.status.container?.gateway)
          this.fail(`${taskId} has gateway ${attached?.gateway}, and the store says another`);
      }
    }
  }

  /** Every container belongs to a task that its node has. */
  async #nothingLeft(): Promise<void> {
    const view = this.leader()?.process?.store.view;
    for (const { name, executor } of this.agents) {
      for (const taskId of await executor.existing()) {
        if (view?.get('task', taskId)?.nodeId !== name)
          this.fail(`${name} keeps the container of ${taskId}, which is no task of it`);
      }
    }
  }

  async pass(ms: number): Promise<void> {
    for (const end = this.clock.monotonic() + ms; this.clock.monotonic() < end; ) await this.#step();
  }

  /** Steps until `why`, which says what is missing still, is undefined; the limit fails the run. */
  async until(why: () => string | undefined, limitMs: number): Promise<void> {
    const end = this.clock.monotonic() + limitMs;
    for (let missing = why(); missing !== undefined; missing = why()) {
      if (this.clock.monotonic() >= end) this.fail(`not after ${limitMs} ms: ${missing}`);
      await this.#step();
    }
  }

  async #step(): Promise<void> {
    await this.clock.advance(stepMs);
    this.checkers.step();
    this.#throwIfFailed();
  }

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Raft's messages: late, out of order, sometimes twice, or never. */
  #carry(parcel: Parcel): boolean {
    const from = this.#nameOf(parcel.from);
    const to = this.#nameOf(parcel.to);
    if (from === undefined || to === undefined || !this.network.reaches(from, to)) return false;
    const deliver = () => {
      const receiver = this.managers.find(({ name }) => name === to);
      if (this.network.reaches(from, to)) receiver?.arrive(() => parcel.deliver());
    };
    if (parcel.kind === 'messages' && between(this.random, 0, 199) === 0) return true; // lost
    this.clock.timer(this.network.delay(from, to), deliver);
    if (parcel.kind === 'messages' && between(this.random, 0, 199) === 0)
      this.clock.timer(this.network.delay(from, to) + 50, deliver);
    return true;
  }

  #nameOf(raftId: number): string | undefined {
    return this.managers.find((host) => host.raftId === raftId)?.name;
  }
}

function show(fields: LogFields | undefined): string {
  if (fields === undefined) return '';
  return Object.entries(fields)
    .map(
      ([key, value]) =>
        `${key}=${value instanceof Error ? value.message : typeof value === 'string' ? value : JSON.stringify(value)}`,
    )
    .join(' ');
}
