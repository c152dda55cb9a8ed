/**
 * Where the tasks of a service would go if it were created or updated now: the scheduler on a copy of the state, with tasks that are
 * not made. Tells the end of an update, not its steps: outdated tasks are thought away at once. Pure; writes nothing.
 */
import { jobSizeOf, replicasOf } from '../model/defaults.ts';
import type { Forecast, ForecastPlace } from '../model/explain.ts';
import type { Node, Service, Task } from '../model/objects.ts';
import type { ServiceSpec } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import type { ClusterView } from '../model/view.ts';
import { ClusterIndex } from './cluster-index.ts';
import { constraintsMatch } from './constraint.ts';
import { nameOf } from './diagnose.ts';
import { explanation } from './explain.ts';
import { confirmGroup, scheduleGroup } from './schedule.ts';
import { isUpToDate } from './up-to-date.ts';
import { hostname, verdicts } from './verdict.ts';

const placesMax = 200;

export interface Wish {
  readonly spec: ServiceSpec;
  /** The service as it is; absent: it is to be created. */
  readonly service?: Service;
  readonly now: number;
}

export function forecast(view: ClusterView, wish: Wish): Forecast {
  const index = ClusterIndex.of(view.list('node'), view.list('task'), wish.now);
  const plan = planOf(view, wish);
  for (const task of plan.gone) index.changeTask(task, undefined);
  const places = [...confirmed(plan.made, { view, index }), ...chosen(plan.made, { view, index, now: wish.now })];
  return {
    Created: places.slice(0, placesMax),
    More: Math.max(0, places.length - placesMax),
    Kept: plan.kept,
    Replaced: plan.replaced,
    Removed: plan.removed,
  };
}

interface Plan {
  readonly made: readonly Task[];
  readonly gone: readonly Task[];
  readonly kept: number;
  readonly replaced: number;
  readonly removed: number;
}

function planOf(view: ClusterView, wish: Wish): Plan {
  const { Mode } = wish.spec;
  const present = wish.service === undefined ? [] : wantedTasks(view, wish.service);
  // A job is executed anew by any change: nothing of the execution before stays.
  if (Mode.ReplicatedJob !== undefined) {
    const { maxConcurrent, totalCompletions } = jobSizeOf(wish.spec);
    const made = upTo(Math.min(maxConcurrent, totalCompletions)).map((slot) => draft(wish, slot, ''));
    return { made, gone: present, kept: 0, replaced: 0, removed: present.length };
  }
  if (Mode.Global === undefined && Mode.GlobalJob === undefined) return replicatedPlan(view, wish, present);
  const nodes = [...view.list('node')].filter((node) => isEligible(node, wish.spec));
  if (Mode.GlobalJob !== undefined) {
    const made = nodes.map((node) => draft(wish, 0, node.id));
    return { made, gone: present, kept: 0, replaced: 0, removed: present.length };
  }
  return globalPlan(view, wish, { present, nodes });
}

function replicatedPlan(view: ClusterView, wish: Wish, present: readonly Task[]): Plan {
  const replicas = replicasOf(wish.spec);
  const staying = present.slice(0, replicas);
  const outdated = staying.filter((task) => !isUpToDate(task, wish.spec, view));
  const taken = new Set(staying.map((task) => task.slot));
  const slots = outdated.map((task) => task.slot);
  for (let slot = 1; taken.size < replicas; slot++) {
    if (taken.has(slot)) continue;
    taken.add(slot);
    slots.push(slot);
  }
  return {
    made: slots.map((slot) => draft(wish, slot, '')),
    gone: [...outdated, ...present.slice(replicas)],
    kept: staying.length - outdated.length,
    replaced: outdated.length,
    removed: present.length - staying.length,
  };
}

function globalPlan(
  view: ClusterView,
  wish: Wish,
  { present, nodes }: { readonly present: readonly Task[]; readonly nodes: readonly Node[] },
): Plan {
  const byNode = new Map(present.map((task) => [task.nodeId, task]));
  const made: Task[] = [];
  const gone: Task[] = [];
  for (const node of nodes) {
    const old = byNode.get(node.id);
    if (old !== undefined && isUpToDate(old, wish.spec, view)) continue;
    if (old !== undefined) gone.push(old);
    made.push(draft(wish, 0, node.id));
  }
  const replaced = gone.length;
  const misplaced = present.filter((task) => {
    const node = view.get('node', task.nodeId);
    return node === undefined || !constraintsMatch(wish.spec.TaskTemplate.Placement?.Constraints, node);
  });
  const kept = present.length - replaced - misplaced.length;
  return { made, gone: [...gone, ...misplaced], kept, replaced, removed: misplaced.length };
}

/** One for each place, running ones first, then by place. */
function wantedTasks(view: ClusterView, service: Service): readonly Task[] {
  const faces = new Map<number | string, Task>();
  for (const task of view.tasksOfService(service.id)) {
    if (task.desired > TaskState.complete || isTerminal(task.status.state)) continue;
    faces.set(task.pinned === true ? task.nodeId : task.slot, task);
  }
  const running = (task: Task) => Number(task.status.state === TaskState.running);
  return [...faces.values()].sort((one, other) => running(other) - running(one) || one.slot - other.slot);
}

function isEligible(node: Node, spec: ServiceSpec): boolean {
  const takes = node.status.state === 'ready' && node.spec.Availability === 'active';
  return takes && constraintsMatch(spec.TaskTemplate.Placement?.Constraints, node);
}

/** A task that would be made. */
function draft({ spec, service, now }: Wish, slot: number, nodeId: string): Task {
  return {
    id: `${nodeId}/${slot}`,
    meta: { version: 0, createdAt: now, updatedAt: now },
    serviceId: service?.id ?? '',
    slot,
    nodeId,
    ...(nodeId === '' ? {} : { pinned: true as const }),
    spec: spec.TaskTemplate,
    // Of its own version: what failed before says nothing about it.
    specVersion: 0,
    serviceName: spec.Name,
    serviceLabels: spec.Labels,
    endpoint: spec.EndpointSpec ?? {},
    desired: TaskState.running,
    status: { state: TaskState.pending, timestamp: now, message: '', err: '' },
    restarts: [],
  };
}

interface World {
  readonly view: ClusterView;
  readonly index: ClusterIndex;
}

function confirmed(tasks: readonly Task[], { view, index }: World): readonly ForecastPlace[] {
  const pinned = tasks.filter((task) => task.pinned === true);
  return confirmGroup(index, pinned).map(({ task, refusals }) =>
    place(task, view.get('node', task.nodeId), refusals === undefined ? '' : explanation(refusals)),
  );
}

function chosen(
  tasks: readonly Task[],
  { view, index, now }: World & { readonly now: number },
): readonly ForecastPlace[] {
  const free = tasks.filter((task) => task.pinned !== true);
  const { placed, unplaced, refusals } = scheduleGroup(index.infos(), free, now);
  const err = explanation(refusals);
  const nodes = unplaced[0] === undefined ? [] : verdicts(unplaced[0], { view, index, now });
  return [
    ...placed.map(({ task, nodeId }) => place(task, view.get('node', nodeId), '')),
    ...unplaced.map((task, at) => ({ ...place(task, undefined, err), ...(at === 0 ? { Nodes: nodes } : {}) })),
  ];
}

function place(task: Task, node: Node | undefined, err: string): ForecastPlace {
  const found =
    node === undefined || err !== '' ? { NodeID: '', Hostname: '' } : { NodeID: node.id, Hostname: hostname(node) };
  return { Name: nameOf(task, node), ...found, Err: err };
}

function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}
