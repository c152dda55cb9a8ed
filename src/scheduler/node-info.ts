/** What the scheduler knows of one node: the node object and what its unfinished tasks hold. Kept up to date task by task. */

import type { Node, Task } from '../model/objects.ts';
import { fixedHostPortsOf } from '../model/ports.ts';
import type { GenericResource, Resources } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import { hashOf } from './hash.ts';

/** Failures of one service version on one node within this time make the node a last resort (SwarmKit: 5 in 5 min). */
export const failureWindowMs = 5 * 60_000;
export const failuresFaulty = 5;
const failureKeysMax = 1000;

/** How many active tasks of each service the nodes have: one book for all nodes of an index. */
export class ServiceCounts {
  readonly #services = new Map<string, Map<NodeInfo, number>>();

  /** Nodes without tasks of the service are not in it; undefined: none has any. */
  of(serviceId: string): ReadonlyMap<NodeInfo, number> | undefined {
    return this.#services.get(serviceId);
  }

  bump(serviceId: string, info: NodeInfo, by: number): void {
    let counts = this.#services.get(serviceId);
    if (counts === undefined) this.#services.set(serviceId, (counts = new Map()));
    bump(counts, info, by);
    if (counts.size === 0) this.#services.delete(serviceId);
  }
}

interface Holding {
  /** What it is made of: where these are the same, it is the same. */
  readonly spec: Task['spec'];
  readonly endpoint: Task['endpoint'];
  readonly serviceId: string;
  /** Counts for spreading: wanted to run, and nobody is about to take over. What is being stopped holds resources and ports only. */
  readonly active: boolean;
  readonly wanted: boolean;
  readonly nanoCpus: number;
  readonly memoryBytes: number;
  readonly generic: ReadonlyMap<string, number>;
  readonly assigned: readonly GenericResource[];
  readonly ports: readonly string[];
}

export class NodeInfo {
  nanoCpus = 0;
  memoryBytes = 0;
  /** Active tasks. */
  total = 0;
  readonly #holdings = new Map<string, Holding>();
  readonly #counts: ServiceCounts;
  // Few nodes have any of these.
  #ports: Map<string, number> | undefined;
  #generic: Map<string, number> | undefined;
  /** `kind=name` of the generic resources that have names. */
  #named: Map<string, number> | undefined;
  /** By service: wanted, but another is about to take over. */
  #leaving: Map<string, number> | undefined;
  #failures: Map<string, number[]> | undefined;
  #idHash: number | undefined;
  #node: Node;
  #isReady: boolean;
  #capacity: Capacity;

  constructor(node: Node, counts = new ServiceCounts()) {
    this.#counts = counts;
    this.#node = node;
    this.#isReady = isReady(node);
    this.#capacity = capacityOf(node);
  }

  get node(): Node {
    return this.#node;
  }

  set node(node: Node) {
    this.#node = node;
    this.#isReady = isReady(node);
    this.#capacity = capacityOf(node);
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  tasksOf(serviceId: string): number {
    return this.#counts.of(serviceId)?.get(this) ?? 0;
  }

  /** The same with those that another is about to take over from: they are here until then. */
  presentOf(serviceId: string): number {
    return this.tasksOf(serviceId) + (this.#leaving?.get(serviceId) ?? 0);
  }

  /** Of the service on this and the other nodes of its index. */
  countsOf(serviceId: string): ReadonlyMap<NodeInfo, number> | undefined {
    return this.#counts.of(serviceId);
  }

  portInUse(key: string): boolean {
    return this.#ports?.has(key) ?? false;
  }

  genericInUse(kind: string): number {
    return this.#generic?.get(kind) ?? 0;
  }

  /** What the task would get of the node's generic resources: of named ones the first that are free. */
  pickGeneric(task: Task): readonly GenericResource[] {
    const reserved = task.spec.Resources?.Reservations;
    if (reserved?.GenericResources === undefined) return noneAssigned;
    const names = this.node.description?.resources.GenericResources ?? [];
    return [...genericCounts(reserved)].flatMap(([Kind, count]): readonly GenericResource[] => {
      const own = names.filter(({ NamedResourceSpec: named }) => named?.Kind === Kind);
      if (own.length === 0) return count === 0 ? [] : [{ DiscreteResourceSpec: { Kind, Value: count } }];
      return own.filter((one) => this.#named?.has(nameKey(one)) !== true).slice(0, count);
    });
  }

  /** What the task got of them. */
  assignedTo(taskId: string): readonly GenericResource[] {
    return this.#holdings.get(taskId)?.assigned ?? [];
  }

  /** Places the task here; `without`: a task whose resources count as free, since it gives way first. */
  take(task: Task, without?: string): void {
    const pick = () => this.pickGeneric(task);
    const assigned = without === undefined ? pick() : this.without(without, pick);
    this.#hold(task.id, holdingOf(task, { superseded: false, assigned }));
  }

  /** Of the node's id: ties break by a hash, never by chance. */
  get idHash(): number {
    this.#idHash ??= hashOf(this.node.id);
    return this.#idHash;
  }

  get capacity(): Capacity {
    return this.#capacity;
  }

  /** The larger reserved share of CPU and memory, 0 … 1. */
  get reservedShare(): number {
    if (this.nanoCpus === 0 && this.memoryBytes === 0) return 0;
    const { nanoCpus, memoryBytes } = this.#capacity;
    const cpu = nanoCpus > 0 ? this.nanoCpus / nanoCpus : 0;
    const memory = memoryBytes > 0 ? this.memoryBytes / memoryBytes : 0;
    return Math.max(cpu, memory);
  }

  /** The same in tenths: a finer difference does not outweigh the number of tasks. */
  get reservedTenths(): number {
    return tenthsOf(this.reservedShare);
  }

  /** Its tasks run and will go on here, as far as is known: they count for spreading even if it takes no more. */
  get isKept(): boolean {
    return this.node.status.state !== 'down' && this.node.spec.Availability !== 'drain';
  }

  /** Records the task as it is now, whatever was recorded for it before. `superseded`: another is about to take over from it. */
  put(task: Task, superseded = false): void {
    const before = this.#holdings.get(task.id);
    if (before !== undefined && isSame(before, task, superseded)) return;
    this.#hold(task.id, holdingOf(task, { superseded, assigned: task.genericResources ?? noneAssigned }));
  }

  /** Another task is about to take over from this one, or is not any more. */
  supersede(taskId: string, superseded: boolean): void {
    const holding = this.#holdings.get(taskId);
    if (holding !== undefined) this.#hold(taskId, { ...holding, active: holding.wanted && !superseded });
  }

  /** What `ask` says while the task is thought away. */
  without<R>(taskId: string, ask: () => R): R {
    const holding = this.#holdings.get(taskId);
    this.drop(taskId);
    const answer = ask();
    if (holding !== undefined) this.#hold(taskId, holding);
    return answer;
  }

  #hold(taskId: string, holding: Holding): void {
    this.drop(taskId);
    this.#holdings.set(taskId, holding);
    this.#account(holding, 1);
  }

  drop(taskId: string): void {
    const holding = this.#holdings.get(taskId);
    if (holding === undefined) return;
    this.#holdings.delete(taskId);
    this.#account(holding, -1);
  }

  dropAll(): void {
    for (const taskId of [...this.#holdings.keys()]) this.drop(taskId);
  }

  #account(holding: Holding, sign: 1 | -1): void {
    this.nanoCpus += sign * holding.nanoCpus;
    this.memoryBytes += sign * holding.memoryBytes;
    for (const [kind, count] of holding.generic) bump((this.#generic ??= new Map()), kind, sign * count);
    for (const one of holding.assigned)
      if (one.NamedResourceSpec !== undefined) bump((this.#named ??= new Map()), nameKey(one), sign);
    for (const port of holding.ports) bump((this.#ports ??= new Map()), port, sign);
    if (holding.wanted && !holding.active) bump((this.#leaving ??= new Map()), holding.serviceId, sign);
    if (!holding.active) return;
    this.total += sign;
    this.#counts.bump(holding.serviceId, this, sign);
  }

  noteFailure(key: string, now: number): void {
    const failures = (this.#failures ??= new Map());
    if (!failures.has(key) && failures.size >= failureKeysMax) {
      for (const oldest of failures.keys()) {
        failures.delete(oldest);
        break;
      }
    }
    failures.set(key, [...this.#recent(key, now), now].slice(-failuresFaulty * 4));
  }

  failures(key: string, now: number): number {
    return this.#failures === undefined ? 0 : this.#recent(key, now).length;
  }

  #recent(key: string, now: number): readonly number[] {
    return (this.#failures?.get(key) ?? []).filter((at) => at > now - failureWindowMs);
  }
}

interface Capacity {
  readonly nanoCpus: number;
  readonly memoryBytes: number;
}

function capacityOf({ description }: Node): Capacity {
  return { nanoCpus: description?.resources.NanoCPUs ?? 0, memoryBytes: description?.resources.MemoryBytes ?? 0 };
}

export function isReady(node: Node): boolean {
  return node.status.state === 'ready' && node.spec.Availability === 'active';
}

export function tenthsOf(share: number): number {
  return Math.floor(share * 10 + 1e-9);
}

/** True while the task holds something on its node. One that is made for a node holds nothing before it is confirmed. */
export function holds(task: Task): boolean {
  return task.nodeId !== '' && task.status.state >= TaskState.assigned && !isTerminal(task.status.state);
}

/** Tasks made from one version of one service are equal to the scheduler. */
export function groupKey(task: Pick<Task, 'serviceId' | 'specVersion'>): string {
  return `${task.serviceId}/${task.specVersion}`;
}

export function portKeys(task: Task): readonly string[] {
  if (task.endpoint?.Ports === undefined) return noPorts;
  return fixedHostPortsOf(task.endpoint).map(({ port, protocol }) => `${port}/${protocol}`);
}

/** Generic resources by kind: a named one counts as one. */
export function genericCounts(resources: Resources | undefined): ReadonlyMap<string, number> {
  if (resources?.GenericResources === undefined) return noCounts;
  const counts = new Map<string, number>();
  for (const { DiscreteResourceSpec: discrete, NamedResourceSpec: named } of resources.GenericResources) {
    if (discrete !== undefined) bump(counts, discrete.Kind, discrete.Value);
    if (named !== undefined) bump(counts, named.Kind, 1);
  }
  return counts;
}

function nameKey({ NamedResourceSpec: named }: GenericResource): string {
  return named === undefined ? '' : `${named.Kind}=${named.Value}`;
}

const noCounts: ReadonlyMap<string, number> = new Map();
const noPorts: readonly string[] = [];
const noneAssigned: readonly GenericResource[] = [];

/** Specs are shared and never change, so a task that merely reports how it is holds what it held. */
function isSame(holding: Holding, task: Task, superseded: boolean): boolean {
  return (
    holding.spec === task.spec &&
    holding.endpoint === task.endpoint &&
    holding.wanted === task.desired <= TaskState.complete &&
    holding.active === (holding.wanted && !superseded) &&
    holding.assigned.length === 0 &&
    task.genericResources === undefined
  );
}

interface Hold {
  readonly superseded: boolean;
  readonly assigned: readonly GenericResource[];
}

function holdingOf(task: Task, { superseded, assigned }: Hold): Holding {
  const reserved = task.spec.Resources?.Reservations;
  const wanted = task.desired <= TaskState.complete;
  return {
    spec: task.spec,
    endpoint: task.endpoint,
    serviceId: task.serviceId,
    active: wanted && !superseded,
    wanted,
    nanoCpus: reserved?.NanoCPUs ?? 0,
    memoryBytes: reserved?.MemoryBytes ?? 0,
    generic: genericCounts(reserved),
    assigned,
    ports: portKeys(task),
  };
}

function bump<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
