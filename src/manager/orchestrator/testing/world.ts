/** For tests: a store without consensus, a clock that is moved by hand, the leader loops, and agents that obey at once. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { assert } from '../../../lib/assert.ts';
import type { Clock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { seededRandom } from '../../../lib/random.ts';
import { defaultClusterSpec } from '../../../model/defaults.ts';
import { jobStatusAfter } from '../../../model/job.ts';
import type { Node, Service, Task } from '../../../model/objects.ts';
import type { EndpointSpec, NodeSpec, Resources, ServiceSpec, TaskSpec } from '../../../model/spec.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { manualRollbackMessage, respecced, rolledBack } from '../../../model/update.ts';
import { createAllocator } from '../../allocator/index.ts';
import { createPlacement } from '../../placement/index.ts';
import type { LeaderLoop } from '../../store/port.ts';
import type { MemoryStore } from '../../store/store.ts';
import { createStore } from '../../store/store.ts';
import { createOrchestrators } from '../index.ts';

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export class HandClock implements Clock {
  time = 1_000_000;
  readonly #timers = new Set<Timer>();
  #deferred: (() => void)[] = [];

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.time;
  }

  timer(delayMs: number, run: () => void): () => void {
    const timer = { at: this.time + delayMs, run };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  runDeferred(): boolean {
    const due = this.#deferred;
    this.#deferred = [];
    for (const run of due) run();
    return due.length > 0;
  }

  /** Runs the next timer due until `limit`; false = there was none. */
  runTimer(limit: number): boolean {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.at < next.at) next = timer;
    if (next === undefined || next.at > limit) return false;
    this.#timers.delete(next);
    this.time = Math.max(this.time, next.at);
    next.run();
    return true;
  }

  get timers(): number {
    return this.#timers.size;
  }
}

/** What an agent makes of a task; undefined = nothing now. */
export type Agent = (task: Task) => number | undefined;

export const obedient: Agent = (task) => {
  if (task.desired >= TaskState.shutdown) return TaskState.shutdown;
  if (task.desired === TaskState.ready) return TaskState.ready;
  return TaskState.running;
};

export class World {
  readonly clock = new HandClock();
  readonly store: MemoryStore = createStore({ proposer: null, now: () => this.clock.time });
  agent: Agent = obedient;
  commits = 0;
  /** Called after each commit. */
  check: () => void = () => {};
  /** Called whenever something may have happened, before anything else does. */
  beforeSettled: (() => Promise<void>) | undefined;
  #loops: readonly LeaderLoop[] = [];

  constructor() {
    this.store.subscribe(() => {
      this.commits += 1;
      this.check();
    });
  }

  async start(): Promise<void> {
    const { store, clock } = this;
    const random = seededRandom(this.commits + 1);
    this.#loops = [
      createAllocator({ store, clock, log: silentLog }),
      createPlacement({ store, clock, log: silentLog }),
      ...createOrchestrators({ store, clock, random, log: silentLog }),
    ];
    for (const loop of this.#loops) loop.start();
    await this.settle();
  }

  async stop(): Promise<void> {
    let stopped = false;
    const stopping = Promise.all(this.#loops.map((loop) => loop.stop())).then(() => {
      stopped = true;
    });
    while (!stopped) {
      await nextTurn();
      this.clock.runDeferred();
    }
    await stopping;
  }

  /** Until nothing moves at this time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 2000; turn++) {
      await nextTurn();
      await this.#interrupt();
      if (this.clock.runDeferred()) continue;
      if (!(await this.#obey())) return;
    }
    throw new Error('the world does not come to rest');
  }

  async #interrupt(): Promise<void> {
    const work = this.beforeSettled;
    this.beforeSettled = undefined; // it settles the world itself
    await work?.();
    this.beforeSettled ??= work;
  }

  async advance(ms: number): Promise<void> {
    const end = this.clock.time + ms;
    await this.settle();
    while (this.clock.runTimer(end)) await this.settle();
    this.clock.time = end;
    await this.settle();
  }

  async #obey(): Promise<boolean> {
    const moved: { id: string; state: Task['status']['state'] }[] = [];
    for (const task of this.tasks()) {
      const node = this.store.view.get('node', task.nodeId);
      if (node?.status.state !== 'ready' || isTerminal(task.status.state)) continue;
      if (task.status.state < TaskState.assigned) continue; // no agent has been told of it
      const state = this.agent(task);
      if (state !== undefined && state > task.status.state)
        moved.push({ id: task.id, state: state as Task['status']['state'] });
    }
    for (const { id, state } of moved) await this.report(id, state);
    return moved.length > 0;
  }

  async report(id: string, state: Task['status']['state']): Promise<void> {
    await this.store.transact((tx) => {
      const task = tx.get('task', id);
      if (task === undefined) return;
      const { meta: _, ...draft } = task;
      const starts = state === TaskState.running && task.status.state < TaskState.running;
      tx.update('task', {
        ...draft,
        ...(starts ? { runningSince: tx.now } : {}),
        ...(isTerminal(state) && !isTerminal(task.status.state) ? { endedAt: tx.now } : {}),
        status: { ...task.status, state, timestamp: tx.now, message: 'reported', err: '' },
      });
    });
  }

  tasks(serviceId?: string): readonly Task[] {
    return [...(serviceId === undefined ? this.store.view.list('task') : this.store.view.tasksOfService(serviceId))];
  }

  /** Wanted tasks that run. */
  running(serviceId: string): readonly Task[] {
    return this.tasks(serviceId).filter(
      (task) => task.status.state === TaskState.running && task.desired === TaskState.running,
    );
  }

  async cluster(historyLimit: number): Promise<void> {
    const spec = { ...defaultClusterSpec, Orchestration: { TaskHistoryRetentionLimit: historyLimit } };
    const rootCa = { certPem: '', keyPem: '', joinTokens: { worker: '', manager: '' } };
    await this.store.transact((tx) =>
      tx.create('cluster', { id: 'cluster', spec, rootCa, removedNodes: {}, nextRaftId: 1 }),
    );
  }

  async node(
    id: string,
    change: Partial<NodeSpec> & { readonly state?: Node['status']['state']; readonly resources?: Resources } = {},
  ): Promise<void> {
    const { state = 'ready', resources, ...spec } = change;
    await this.store.transact((tx) => {
      const old = tx.get('node', id);
      const made = nodeDraft(id);
      const description = old?.description ?? made.description;
      const draft =
        description === undefined
          ? made
          : { ...made, description: resources ? { ...description, resources } : description };
      const since = old?.status.state === state ? old.status.since : tx.now;
      const drainedAt = old?.spec.Availability === 'drain' ? old.drainedAt : tx.now;
      const isDrained = (spec.Availability ?? old?.spec.Availability) === 'drain' && drainedAt !== undefined;
      const node = {
        ...draft,
        ...(old?.network === undefined ? {} : { network: old.network }),
        ...(isDrained ? { drainedAt } : {}),
        spec: { ...(old?.spec ?? draft.spec), ...spec },
        status: { ...draft.status, state, since },
      };
      if (old === undefined) tx.create('node', node);
      else tx.update('node', node);
    });
    await this.settle();
  }

  async removeNode(id: string): Promise<void> {
    await this.store.transact((tx) => tx.remove('node', id));
    await this.settle();
  }

  /** Creates or updates, as the control API does. */
  async service(id: string, replicas: number, template: TaskSpec = nginx(), endpoint?: EndpointSpec): Promise<void> {
    await this.spec(id, {
      TaskTemplate: template,
      Mode: { Replicated: { Replicas: replicas } },
      ...(endpoint === undefined ? {} : { EndpointSpec: endpoint }),
    });
  }

  /** Creates a service with one replica, or changes the parts that are given. */
  async spec(id: string, change: Partial<ServiceSpec>): Promise<void> {
    await this.store.transact((tx) => {
      const old = tx.get('service', id);
      const base = { Name: id, Labels: {}, TaskTemplate: nginx(), Mode: { Replicated: { Replicas: 1 } } };
      const spec = { ...(old?.spec ?? base), ...change };
      const job = jobStatusAfter(old, spec, tx.now);
      if (old === undefined) tx.create('service', { id, spec, specVersion: 1, ...job });
      else tx.update('service', { ...respecced(old, spec, tx.now), ...job });
    });
    await this.settle();
  }

  async rollback(id: string): Promise<void> {
    await this.store.transact((tx) => {
      const service = tx.get('service', id);
      const spec = service?.previousSpec;
      if (service === undefined || spec === undefined) return;
      const rollback = { spec, message: manualRollbackMessage, startedAt: tx.now, by: 'user' } as const;
      tx.update('service', rolledBack(service, rollback, tx.now));
    });
    await this.settle();
  }

  get(id: string): Service | undefined {
    return this.store.view.get('service', id);
  }

  async removeService(id: string): Promise<void> {
    await this.store.transact((tx) => tx.remove('service', id));
    await this.settle();
  }
}

export function nginx(change: Partial<TaskSpec> = {}, image = 'nginx:1'): TaskSpec {
  return { ContainerSpec: { Image: image }, ...change };
}

export function nodeDraft(id: string): Omit<Node, 'meta'> {
  return {
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    role: 'worker',
    description: {
      hostname: id,
      platform: { architecture: 'x86_64', os: 'linux' },
      resources: { NanoCPUs: 4_000_000_000, MemoryBytes: 8_000_000_000 },
      engine: { version: '1', labels: {}, plugins: [] },
    },
    status: { state: 'ready', message: '', addr: '10.0.0.1', since: 0 },
  };
}

/** A world that runs, with nodes n1, n2, … */
export async function worldOf(nodes: number): Promise<World> {
  const world = new World();
  for (let at = 1; at <= nodes; at++) await world.node(`n${at}`);
  await world.start();
  return world;
}

/** Nothing is done however long one waits. */
export async function stays(world: World): Promise<void> {
  const before = world.commits;
  await world.advance(200_000);
  assert(world.commits === before, `${world.commits - before} commits in steady state`);
}

/** Nothing is done however long one waits and whoever leads, and nothing is left when all is stopped. Stops the world. */
export async function rests(world: World, ms: number): Promise<void> {
  const before = world.commits;
  await world.advance(ms);
  await world.stop();
  await world.start();
  await world.advance(ms);
  assert(world.commits === before, `${world.commits - before} commits in steady state`);
  await world.stop();
  assert(world.clock.timers === 0, `${world.clock.timers} timers are left`);
}

/** Something that happens to a world, for properties: it prints as its name. */
export function act(name: string, run: (world: World) => Promise<void>): { run: typeof run; toString(): string } {
  return { run, toString: () => name };
}
