/** What the scheduler knows of one node: the node object and what its unfinished tasks hold. Kept up to date task by task. */
import { hostPortsOf } from '../model/defaults.ts';
import type { Node, Task } from '../model/objects.ts';
import type { GenericResource, Resources } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import { hashOf } from './hash.ts';

/** Failures of one service version on one node within this time make the node a last resort (SwarmKit: 5 in 5 min). */
export const failureWindowMs = 5 * 60_000;
export const failuresFaulty = 5;
const failureKeysMax = 1000;

interface Holding {
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
  node: Node;
  nanoCpus = 0;
  memoryBytes = 0;
  /** Active tasks. */
  total = 0;
  readonly #holdings = new Map<string, Holding>();
  readonly #perService = new Map<string, number>();
  readonly #ports = new Map<string, number>();
  readonly #generic = new Map<string, number>();
  /** `kind=name` of the generic resources that have names. */
  readonly #named = new Map<string, number>();
  readonly #failures = new Map<string, number[]>();
  #idHash: number | undefined;

  constructor(node: Node) {
    this.node = node;
  }

  tasksOf(serviceId: string): number {
    return this.#perService.get(serviceId) ?? 0;
  }

  portInUse(key: string): boolean {
    return this.#ports.has(key);
  }

  genericInUse(kind: string): number {
    return this.#generic.get(kind) ?? 0;
  }

  /** What the task would get of the node's generic resources: of named ones the first that are free. */
  pickGeneric(task: Task): readonly GenericResource[] {
    const reserved = task.spec.Resources?.Reservations;
    if (reserved?.GenericResources === undefined) return [];
    const names = this.node.description?.resources.GenericResources ?? [];
    return [...genericCounts(reserved)].flatMap(([Kind, count]): readonly GenericResource[] => {
      const own = names.filter(({ NamedResourceSpec: named }) => named?.Kind === Kind);
      if (own.length === 0) return count === 0 ? [] : [{ DiscreteResourceSpec: { Kind, Value: count } }];
      return own.filter((one) => !this.#named.has(nameKey(one))).slice(0, count);
    });
  }

  /** What the task got of them. */
  assignedTo(taskId: string): readonly GenericResource[] {
    return this.#holdings.get(taskId)?.assigned ?? [];
  }

  /** Places the task here; `without`: a task whose resources count as free, since it gives way first. */
  take(task: Task, without?: string): void {
    const pick = () => this.pickGeneric(task);
    const genericResources = without === undefined ? pick() : this.without(without, pick);
    this.put({ ...task, nodeId: this.node.id, genericResources });
  }

  /** Of the node's id: ties break by a hash, never by chance. */
  get idHash(): number {
    this.#idHash ??= hashOf(this.node.id);
    return this.#idHash;
  }

  get capacity(): { readonly nanoCpus: number; readonly memoryBytes: number } {
    const resources = this.node.description?.resources;
    return { nanoCpus: resources?.NanoCPUs ?? 0, memoryBytes: resources?.MemoryBytes ?? 0 };
  }

  /** The larger reserved share of CPU and memory, 0 … 1. */
  get reservedShare(): number {
    if (this.nanoCpus === 0 && this.memoryBytes === 0) return 0;
    const { nanoCpus, memoryBytes } = this.capacity;
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
    this.#hold(task.id, holdingOf(task, superseded));
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
    this.nanoCpus += holding.nanoCpus;
    this.memoryBytes += holding.memoryBytes;
    for (const [kind, count] of holding.generic) bump(this.#generic, kind, count);
    for (const one of holding.assigned) if (one.NamedResourceSpec !== undefined) bump(this.#named, nameKey(one), 1);
    for (const port of holding.ports) bump(this.#ports, port, 1);
    if (!holding.active) return;
    this.total += 1;
    bump(this.#perService, holding.serviceId, 1);
  }

  drop(taskId: string): void {
    const holding = this.#holdings.get(taskId);
    if (holding === undefined) return;
    this.#holdings.delete(taskId);
    this.nanoCpus -= holding.nanoCpus;
    this.memoryBytes -= holding.memoryBytes;
    for (const [kind, count] of holding.generic) bump(this.#generic, kind, -count);
    for (const one of holding.assigned) if (one.NamedResourceSpec !== undefined) bump(this.#named, nameKey(one), -1);
    for (const port of holding.ports) bump(this.#ports, port, -1);
    if (!holding.active) return;
    this.total -= 1;
    bump(this.#perService, holding.serviceId, -1);
  }

  noteFailure(key: string, now: number): void {
    if (!this.#failures.has(key) && this.#failures.size >= failureKeysMax) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest);
        break;
      }
    }
    this.#failures.set(key, [...this.#recent(key, now), now].slice(-failuresFaulty * 4));
  }

  failures(key: string, now: number): number {
    return this.#failures.size === 0 ? 0 : this.#recent(key, now).length;
  }

  #recent(key: string, now: number): readonly number[] {
    return (this.#failures.get(key) ?? []).filter((at) => at > now - failureWindowMs);
  }
}

export function tenthsOf(share: number): number {
  return Math.floor(share * 10 + 1e-9);
}

/** True while the task holds something on its node. One that is made for a node holds nothing before it is confirmed. */
export function holds(task: Task): boolean {
  return task.nodeId !== '' && task.status.state >= TaskState.assigned && !isTerminal(task.status.state);
}

/** Tasks made from one version of one service are equal to the scheduler. */
export function groupKey(task: Task): string {
  return `${task.serviceId}/${task.specVersion}`;
}

export function portKeys(task: Task): readonly string[] {
  return hostPortsOf(task.endpoint).map(({ port, protocol }) => `${port}/${protocol}`);
}

/** Generic resources by kind: a named one counts as one. */
export function genericCounts(resources: Resources | undefined): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { DiscreteResourceSpec: discrete, NamedResourceSpec: named } of resources?.GenericResources ?? []) {
    if (discrete !== undefined) bump(counts, discrete.Kind, discrete.Value);
    if (named !== undefined) bump(counts, named.Kind, 1);
  }
  return counts;
}

function nameKey({ NamedResourceSpec: named }: GenericResource): string {
  return named === undefined ? '' : `${named.Kind}=${named.Value}`;
}

function holdingOf(task: Task, superseded: boolean): Holding {
  const reserved = task.spec.Resources?.Reservations;
  const wanted = task.desired <= TaskState.complete;
  return {
    serviceId: task.serviceId,
    active: wanted && !superseded,
    wanted,
    nanoCpus: reserved?.NanoCPUs ?? 0,
    memoryBytes: reserved?.MemoryBytes ?? 0,
    generic: genericCounts(reserved),
    assigned: task.genericResources ?? [],
    ports: portKeys(task),
  };
}

function bump(counts: Map<string, number>, key: string, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
