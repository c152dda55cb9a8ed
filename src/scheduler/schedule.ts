/**
 * Places equal tasks: every node is filtered once, then each task goes to the best node of the least used spread branch.
 * Cost: nodes + tasks × log(nodes), whatever the order of events. Ties break by a hash of node and service, never by chance.
 */
import type { Task } from '../model/objects.ts';
import type { GenericResource } from '../model/spec.ts';
import type { ClusterIndex } from './cluster-index.ts';
import { spreadValue } from './constraint.ts';
import type { Refusals } from './explain.ts';
import type { Filter, FilterName } from './filters.ts';
import { filtersFor, firstRefusal } from './filters.ts';
import { hashOf, mixed } from './hash.ts';
import { Heap } from './heap.ts';
import type { NodeInfo } from './node-info.ts';
import { failuresFaulty, groupKey, tenthsOf } from './node-info.ts';

export interface Placement {
  readonly task: Task;
  readonly nodeId: string;
  /** What it gets of the node's generic resources. */
  readonly generic: readonly GenericResource[];
}

/** Without refusals: confirmed. */
export interface Confirmation {
  readonly task: Task;
  readonly refusals?: Refusals;
  readonly generic?: readonly GenericResource[];
}

export interface GroupResult {
  readonly placed: readonly Placement[];
  readonly unplaced: readonly Task[];
  /** Why the first unplaced task has no node. Empty when all are placed. */
  readonly refusals: Refusals;
}

/**
 * `tasks` share service and spec version, `infos` their index. What is placed is at once recorded in the node infos. `infoOfTask` says where a task is
 * that another of `tasks` takes over from.
 */
export function scheduleGroup(
  infos: Iterable<NodeInfo>,
  tasks: readonly Task[],
  now: number,
  infoOfTask: (taskId: string) => NodeInfo | undefined = () => undefined,
): GroupResult {
  const [sample] = tasks;
  if (sample === undefined) return { placed: [], unplaced: [], refusals: new Map() };
  const filters = filtersFor(sample);
  const nodes: readonly NodeInfo[] = Array.isArray(infos) ? infos : [...infos];
  const wish = wishOf(sample, nodes, now);
  const levels = descriptors(sample);
  const root =
    levels.length === 0
      ? new Leaf(best(nodes, { wish, filters, count: tasks.length }), wish)
      : branch(
          nodes.map((info) => read(newCandidate(info, fits(filters, info)), wish)),
          levels,
          wish,
        );
  const placed: Placement[] = [];
  const unplaced: Task[] = [];
  for (const task of tasks) {
    const info = root.place(task, filters) ?? placeOver(task, filters, infoOfTask);
    if (info === undefined) unplaced.push(task);
    else placed.push({ task, nodeId: info.node.id, generic: info.assignedTo(task.id) });
  }
  return { placed, unplaced, refusals: unplaced.length === 0 ? new Map() : countRefusals(filters, nodes) };
}

/** Tasks that are made for their nodes, of one service and spec version: each node is confirmed or refused. */
export function confirmGroup(index: ClusterIndex, tasks: readonly Task[]): readonly Confirmation[] {
  const [sample] = tasks;
  if (sample === undefined) return [];
  const filters = filtersFor(sample);
  return tasks.map((task) => {
    const info = index.get(task.nodeId);
    if (info === undefined) return { task, refusals: new Map() };
    const refusal = firstRefusal(filters, info);
    if (refusal === undefined) info.take(task, undefined);
    else {
      const second = refusalOver(task, filters, info);
      if (second !== undefined) return { task, refusals: new Map([[second, 1]]) };
      info.take(task, task.handover === 'start-first' ? undefined : task.replaces);
    }
    return { task, generic: info.assignedTo(task.id) };
  });
}

/** With the task that it takes over from out of the way, as far as that is before this one starts. */
function refusalOver(task: Task, filters: readonly Filter[], info: NodeInfo): FilterName | undefined {
  const { handover, replaces } = task;
  const [inPlace, beside] = handover === 'start-first' ? split(filters) : [filters, []];
  const refusal = firstRefusal(beside, info);
  if (refusal !== undefined || replaces === undefined) return refusal ?? firstRefusal(inPlace, info);
  return info.without(replaces, () => firstRefusal(inPlace, info));
}

function fits(filters: readonly Filter[], info: NodeInfo): boolean {
  return firstRefusal(filters, info) === undefined;
}

/**
 * Where the task fits only once the one it takes over from has given way. Stop-first: that one is stopped before this one starts.
 * Start-first: both run for a moment, so only the limit per node gives way, and only here: rather one too many than an update that
 * never ends.
 */
function placeOver(
  task: Task,
  filters: readonly Filter[],
  infoOfTask: (taskId: string) => NodeInfo | undefined,
): NodeInfo | undefined {
  const { handover, replaces } = task;
  if (handover === undefined || replaces === undefined) return undefined;
  const info = infoOfTask(replaces);
  if (info === undefined) return undefined;
  const [inPlace, beside] = handover === 'stop-first' ? [filters, []] : split(filters);
  if (!fits(beside, info) || !info.without(replaces, () => fits(inPlace, info))) return undefined;
  info.take(task, handover === 'stop-first' ? replaces : undefined);
  return info;
}

function split(filters: readonly Filter[]): [readonly Filter[], readonly Filter[]] {
  const isLimit = ({ name }: Filter) => name === 'maxReplicas';
  return [filters.filter(isLimit), filters.filter((filter) => !isLimit(filter))];
}

/** Every node's reason against the task; undefined = it would fit. */
export function refusalsPerNode(infos: Iterable<NodeInfo>, task: Task): ReadonlyMap<string, FilterName | undefined> {
  const filters = filtersFor(task);
  return new Map([...infos].map((info) => [info.node.id, firstRefusal(filters, info)]));
}

function countRefusals(filters: readonly Filter[], nodes: readonly NodeInfo[]): Refusals {
  const counts = new Map<FilterName, number>();
  for (const info of nodes) {
    const name = firstRefusal(filters, info);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** A node with all that it is compared by, read once: comparisons are many. */
interface Candidate {
  info: NodeInfo;
  fits: boolean;
  failures: number;
  hash: number;
  own: number;
  tenths: number;
  total: number;
  share: number;
}

interface Wish {
  readonly serviceId: string;
  readonly serviceHash: number;
  readonly key: string;
  readonly now: number;
  /** Tasks of the service, on the nodes that have any. */
  readonly counts: ReadonlyMap<NodeInfo, number> | undefined;
}

function wishOf({ serviceId, specVersion }: Task, [first]: readonly NodeInfo[], now: number): Wish {
  const counts = first?.countsOf(serviceId);
  return { serviceId, serviceHash: hashOf(serviceId), key: groupKey({ serviceId, specVersion }), now, counts };
}

function newCandidate(info: NodeInfo, fits: boolean): Candidate {
  return { info, fits, failures: 0, hash: 0, own: 0, tenths: 0, total: 0, share: 0 };
}

function read(one: Candidate, { serviceHash, key, now, counts }: Wish): Candidate {
  const { info } = one;
  one.failures = info.failures(key, now);
  one.hash = mixed(info.idHash, serviceHash);
  one.own = counts?.get(info) ?? 0;
  one.share = info.reservedShare;
  one.tenths = tenthsOf(one.share);
  one.total = info.total;
  return one;
}

/** Again, once the node has got another task. */
function readAgain(one: Candidate, serviceId: string): Candidate {
  one.own = one.info.tasksOf(serviceId);
  one.share = one.info.reservedShare;
  one.tenths = tenthsOf(one.share);
  one.total = one.info.total;
  return one;
}

interface Choice {
  readonly wish: Wish;
  readonly filters: readonly Filter[];
  readonly count: number;
}

/** The best `count` of the nodes that fit: `count` tasks never need more, since each changes only the node that it goes to. */
function best(nodes: readonly NodeInfo[], { wish, filters, count }: Choice): readonly Candidate[] {
  const kept: Candidate[] = [];
  let worst: Heap<Candidate> | undefined;
  let spare: Candidate | undefined;
  for (const info of nodes) {
    if (!fits(filters, info)) continue;
    const one = spare ?? newCandidate(info, true);
    one.info = info;
    read(one, wish);
    spare = undefined;
    if (kept.length < count) {
      kept.push(one);
      continue;
    }
    worst ??= new Heap(kept, (a, b) => better(b, a));
    const last = worst.top;
    if (last !== undefined && better(one, last)) worst.replaceTop(one);
    spare = last !== undefined && worst.top !== last ? last : one;
  }
  return worst?.items ?? kept;
}

function better(one: Candidate, other: Candidate): boolean {
  if (one.failures >= failuresFaulty || other.failures >= failuresFaulty) {
    if (one.failures !== other.failures) return one.failures < other.failures;
  }
  if (one.own !== other.own) return one.own < other.own;
  if (one.tenths !== other.tenths) return one.tenths < other.tenths;
  if (one.total !== other.total) return one.total < other.total;
  if (one.share !== other.share) return one.share < other.share;
  return one.hash < other.hash;
}

interface Branch {
  /** Tasks of the service in it. */
  readonly count: number;
  /** Undefined: full. */
  place(task: Task, filters: readonly Filter[]): NodeInfo | undefined;
}

function branch(candidates: readonly Candidate[], levels: readonly string[], wish: Wish): Branch {
  const [level, ...deeper] = levels;
  if (level === undefined) return new Leaf(candidates, wish);
  const groups = new Map<string, Candidate[]>();
  for (const one of candidates) {
    const value = spreadValue(level, one.info.node) ?? '';
    const group = groups.get(value);
    if (group === undefined) groups.set(value, [one]);
    else group.push(one);
  }
  const children = [...groups].map(([value, members]) => ({ value, branch: branch(members, deeper, wish) }));
  return new Fork(children);
}

class Leaf implements Branch {
  count: number;
  readonly #heap: Heap<Candidate>;
  readonly #serviceId: string;

  constructor(candidates: readonly Candidate[], { serviceId }: Wish) {
    this.#serviceId = serviceId;
    // A node that is full counts for its branch as well; one that is lost or being emptied does not.
    this.count = candidates.reduce((sum, { info, own }) => sum + (own > 0 && info.isKept ? own : 0), 0);
    this.#heap = new Heap(
      candidates.filter((one) => one.fits),
      better,
    );
  }

  place(task: Task, filters: readonly Filter[]): NodeInfo | undefined {
    for (;;) {
      const best = this.#heap.pop();
      if (best === undefined) return undefined;
      if (firstRefusal(filters, best.info) !== undefined) continue;
      best.info.take(task);
      this.#heap.push(readAgain(best, this.#serviceId));
      this.count += 1;
      return best.info;
    }
  }
}

interface Child {
  readonly value: string;
  readonly branch: Branch;
}

class Fork implements Branch {
  count: number;
  readonly #heap: Heap<Child>;

  constructor(children: readonly Child[]) {
    this.count = children.reduce((sum, child) => sum + child.branch.count, 0);
    this.#heap = new Heap(children, (one, other) =>
      one.branch.count === other.branch.count ? one.value < other.value : one.branch.count < other.branch.count,
    );
  }

  place(task: Task, filters: readonly Filter[]): NodeInfo | undefined {
    for (;;) {
      const child = this.#heap.pop();
      if (child === undefined) return undefined;
      const info = child.branch.place(task, filters);
      if (info === undefined) continue;
      this.#heap.push(child);
      this.count += 1;
      return info;
    }
  }
}

function descriptors(task: Task): readonly string[] {
  return (task.spec.Placement?.Preferences ?? []).flatMap(({ Spread }) =>
    Spread === undefined ? [] : [Spread.SpreadDescriptor],
  );
}
