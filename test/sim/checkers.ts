/**
 * What must hold at every moment of a simulated run, judged from outside: replicas, acknowledged writes, running
 * containers. Checkers only look; none of them uses the code under test to judge it.
 */

import type { CommitEvent } from '../../src/manager/store/port.ts';
import type { StoreObject, Task } from '../../src/model/objects.ts';
import { isTerminal, TaskState } from '../../src/model/task-state.ts';
import type { ChangeEvent, ClusterView } from '../../src/model/view.ts';
import { Addresses } from './addresses.ts';
import type { ProcessClock } from './process-clock.ts';
import type { World } from './world.ts';

/**
 * How long two containers of one slot may run at once while everything is well. A returning node needs to find the leader
 * (up to 5 s), the loser its grace to stop (2 s here); a new task never waits longer than a minute for the old one to stop,
 * but here none stops that slowly.
 */
const doubleLimitMs = 15_000;
/**
 * How long a node may be away before the leader must have noticed: it has 6 s to register with a new leader, 3 s between
 * beats, and the news has to be committed over a slow network. A node that said goodbye has 30 s.
 */
const awayLimitMs = 12_000;
const goodbyeLimitMs = 35_000;
/** Comparing whole states is the dearest check: every so many steps. */
const replicaCheckEvery = 100;

export class Checkers {
  readonly #world: World;
  #steps = 0;
  readonly #termLeaders = new Map<number, string>();
  /** What each object looked like at each version; the same on every replica, now and after every restart. */
  readonly #objects = new Map<string, string>();
  readonly #doubleSince = new Map<string, number>();
  /** Since when an agent is out of the reach of one and the same leader. */
  readonly #away = new Map<string, { readonly leader: ProcessClock; readonly since: number }>();
  readonly #addresses: Addresses;
  #newest = 0;
  #newestWork = 0;

  constructor(world: World) {
    this.#world = world;
    this.#addresses = new Addresses(world);
  }

  /** How many things that the allocator gives have an owner. */
  get addressesHeld(): number {
    return this.#addresses.size;
  }

  /** The newest version that did more than to clear away what had ended before. */
  get newestWork(): number {
    return this.#newestWork;
  }

  /** A replica applied an entry or restored a snapshot. */
  committed(host: string, commit: CommitEvent): void {
    for (const event of commit.events) {
      if (event.after !== undefined) this.#sameEverywhere(host, event.table, event.after);
      if (event.table === 'task' && event.before !== undefined && event.after !== undefined)
        this.#forward(host, event.before, event.after);
    }
    if (commit.version <= this.#newest) return;
    this.#newest = commit.version;
    if (!commit.events.every(clearsAway)) this.#newestWork = commit.version;
    this.#addresses.committed(commit.events);
    this.#world.stops.committed(commit.events);
    for (const event of commit.events) this.#world.trace(`${host} v${commit.version} ${describe(event)}`);
  }

  /** After every step. */
  step(): void {
    this.#raftIsSafe();
    this.#noLongDoubles();
    this.#absenceIsNoticed();
    this.#steps += 1;
    if (this.#steps % replicaCheckEvery !== 0) return;
    this.#replicasAgree();
    this.#jobsAreBounded();
  }

  /** Once the cluster has settled: all replicas have everything, and the same. */
  final(): void {
    this.#replicasAgree();
    const versions = new Set(this.#world.managers.map((host) => host.process?.store.view.version));
    if (versions.size !== 1) this.#world.fail(`replicas are at different versions: ${JSON.stringify([...versions])}`);
  }

  #sameEverywhere(host: string, table: string, object: StoreObject): void {
    const key = `${table} ${object.id}@${object.meta.version}`;
    const text = JSON.stringify(object);
    const known = this.#objects.get(key);
    if (known === undefined) this.#objects.set(key, text);
    else if (known !== text && canonical(JSON.parse(known)) !== canonical(object))
      this.#world.fail(`${host} has another ${key}: ${text} instead of ${known}`);
  }

  #forward(host: string, before: Task, after: Task): void {
    if (after.status.state < before.status.state)
      this.#world.fail(
        `${host}: task ${after.id} went from state ${before.status.state} back to ${after.status.state}`,
      );
    if (after.desired < before.desired)
      this.#world.fail(`${host}: task ${after.id} is desired ${after.desired} after ${before.desired}`);
    if (before.nodeId !== '' && after.nodeId !== before.nodeId)
      this.#world.fail(`${host}: task ${after.id} moved from ${before.nodeId} to ${after.nodeId}`);
  }

  #raftIsSafe(): void {
    for (const { name, process } of this.#world.managers) {
      if (process === undefined) continue;
      const broken = process.raft.invariants();
      if (broken.length > 0) this.#world.fail(`${name}: ${broken.join('; ')}`);
      if (!process.raft.isLeader()) continue;
      const { role, term } = process.raft.status();
      if (role !== 'leader') continue;
      const known = this.#termLeaders.get(term);
      if (known !== undefined && known !== name) this.#world.fail(`two leaders in term ${term}: ${known} and ${name}`);
      this.#termLeaders.set(term, name);
    }
  }

  /** Replicas that have applied the same entries hold the same objects. */
  #replicasAgree(): void {
    const seen = new Map<number, { readonly name: string; readonly state: string }>();
    for (const { name, process } of this.#world.managers) {
      if (process === undefined) continue;
      const { view } = process.store;
      const state = contents(view);
      const other = seen.get(view.version);
      if (other !== undefined && other.state !== state)
        this.#world.fail(`${other.name} and ${name} differ at version ${view.version}`);
      seen.set(view.version, { name, state });
    }
  }

  /** Whoever leads: of one execution of a job no more slots are busy than may be, and no slot that is done. */
  #jobsAreBounded(): void {
    const view = this.#world.leader()?.process?.store.view;
    for (const service of view?.list('service') ?? []) {
      const job = service.spec.Mode.ReplicatedJob;
      if (view === undefined || job === undefined) continue;
      const own = [...view.tasksOfService(service.id)].filter(
        (task) => task.jobIteration === service.jobStatus?.iteration,
      );
      const done = new Set(own.filter((task) => task.status.state === TaskState.complete).map((task) => task.slot));
      const busy = own.filter((task) => task.desired <= TaskState.complete && !isTerminal(task.status.state));
      const slots = new Set(busy.map((task) => task.slot));
      const limit = job.MaxConcurrent ?? 1;
      if (slots.size > limit) this.#world.fail(`${service.spec.Name} has ${slots.size} busy slots of at most ${limit}`);
      const most = job.TotalCompletions ?? limit;
      if (done.size > most) this.#world.fail(`${service.spec.Name} completed ${done.size} slots of ${most}`);
    }
  }

  /** As long as one leader has its majority, it knows who is away. */
  #absenceIsNoticed(): void {
    const world = this.#world;
    const leader = world.leader();
    const clock = leader?.clock;
    const now = world.clock.monotonic();
    const steady = leader !== undefined && world.managersHealthy;
    for (const agent of world.agents) {
      const away =
        !agent.alive ||
        agent.clock?.frozen === true ||
        (leader !== undefined && !world.network.reaches(agent.name, leader.name));
      const known = this.#away.get(agent.name);
      if (!steady || clock === undefined || !away) this.#away.delete(agent.name);
      else if (known?.leader !== clock) this.#away.set(agent.name, { leader: clock, since: now });
      else {
        const state = leader.process?.store.view.get('node', agent.name)?.status.state;
        const limitMs = state === 'disconnected' ? goodbyeLimitMs : awayLimitMs;
        if (state !== 'down' && now - known.since > limitMs)
          world.fail(`${agent.name} is away for ${limitMs} ms and still ${state}`);
      }
    }
  }

  /** A slot may run twice while a node is away (nobody can tell it to stop); once all is well it must end. */
  #noLongDoubles(): void {
    const now = this.#world.clock.monotonic();
    if (!this.#world.calm) return this.#doubleSince.clear();
    const running = this.#world.runningSlots();
    for (const [slot, count] of running)
      if (count > 1 && !this.#doubleSince.has(slot)) this.#doubleSince.set(slot, now);
    for (const slot of [...this.#doubleSince.keys()]) if ((running.get(slot) ?? 0) < 2) this.#doubleSince.delete(slot);
    for (const [slot, since] of this.#doubleSince) {
      if (now - since > doubleLimitMs)
        this.#world.fail(`slot ${slot} runs more than once for ${doubleLimitMs} ms though all is well`);
    }
  }
}

/** Ended tasks, and the addresses of removed services, are kept for a minute. */
function clearsAway(event: ChangeEvent): boolean {
  if (event.table === 'task') return event.after === undefined;
  return event.table === 'network' && event.before !== undefined && event.after !== undefined;
}

/** Ids and versions stand for the objects: equal versions of an object were compared when they were committed. */
function contents(view: ClusterView): string {
  return (['cluster', 'node', 'service', 'task', 'secret', 'config', 'network', 'revision'] as const)
    .map((table) => [...view.list(table)].map(({ id, meta }) => `${id}@${meta.version}`).join(' '))
    .join('\n');
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

function describe(event: ChangeEvent): string {
  const action = event.before === undefined ? 'created' : event.after === undefined ? 'removed' : 'changed';
  if (event.table === 'task') {
    const task = event.after ?? event.before;
    if (task === undefined) return '';
    return `task ${task.id.slice(0, 6)} ${task.serviceName}.${task.slot} ${action}: on ${task.nodeId || '-'} state ${task.status.state} desired ${task.desired} ${task.status.message} ${task.status.err}`;
  }
  if (event.table === 'node') {
    const node = event.after ?? event.before;
    return `node ${node?.id} ${action}: ${node?.status.state} ${node?.spec.Availability}`;
  }
  if (event.table === 'service') {
    const service = event.after ?? event.before;
    return `service ${service?.spec.Name} ${action}: spec ${service?.specVersion} replicas ${service?.spec.Mode.Replicated?.Replicas} update ${service?.updateStatus?.state ?? '-'}`;
  }
  return `${event.table} ${(event.after ?? event.before)?.id.slice(0, 6)} ${action}`;
}
