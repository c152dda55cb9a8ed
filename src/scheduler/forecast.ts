/**
 * Where the tasks of a service would go if it were created or updated now: the scheduler on a copy of the state, with tasks that are
 * not made. Steps of an update are taken one after another, each with its old tasks still there, as the update takes them; that
 * what is made may not run is not foreseen. Pure; writes nothing.
 */
import { effectiveUpdateConfig, jobSizeOf, replicasOf } from '../model/defaults.ts';
import type { Forecast, ForecastPlace } from '../model/explain.ts';
import type { Node, Service, Task } from '../model/objects.ts';
import type { ServiceSpec } from '../model/spec.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';
import type { ClusterView } from '../model/view.ts';
import { ClusterIndex } from './cluster-index.ts';
import { constraintsMatch } from './constraint.ts';
import { nameOf } from './diagnose.ts';
import { explanation } from './explain.ts';
import type { Ranked } from './rank.ts';
import { rank } from './rank.ts';
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
  const world = {
    view,
    index: ClusterIndex.of(view.list('node'), view.list('task'), wish.now),
    now: wish.now,
    isExplained: false,
  };
  const plan = planOf(view, wish);
  for (const task of plan.gone) world.index.changeTask(task, undefined);
  const found = [...placed(plan.made, world), ...takenOver(plan.beside ?? [], wish.spec, world)];
  const places = found.map((one) => one.place);
  return {
    Created: shown(places),
    More: Math.max(0, places.length - placesMax),
    Kept: plan.kept,
    Replaced: plan.replaced,
    Removed: plan.removed,
  };
}

/** When there are too many, those without a node are not what is left out. */
function shown(places: readonly ForecastPlace[]): readonly ForecastPlace[] {
  if (places.length <= placesMax) return places;
  return [...places].sort((one, other) => Number(one.Err === '') - Number(other.Err === '')).slice(0, placesMax);
}

interface Plan {
  /** Made at once. */
  readonly made: readonly Task[];
  /** Made by the update beside tasks that run, in this order. */
  readonly beside?: readonly Pair[];
  readonly gone: readonly Task[];
  readonly kept: number;
  readonly replaced: number;
  readonly removed: number;
}

/** `old` goes on until `fresh` takes over. */
interface Pair {
  readonly old: Task;
  readonly fresh: Task;
}

function planOf(view: ClusterView, wish: Wish): Plan {
  const { Mode } = wish.spec;
  const present = wish.service === undefined ? [] : seatsOf(view, wish.service);
  const { GlobalJob, ReplicatedJob } = Mode;
  // A job is executed anew by any change: nothing of the execution before stays.
  if (ReplicatedJob !== undefined) {
    const { maxConcurrent, totalCompletions } = jobSizeOf(wish.spec);
    const made = upTo(Math.min(maxConcurrent, totalCompletions)).map((slot) => draft(wish, { slot }));
    return anew(made, present);
  }
  if (Mode.Global === undefined && GlobalJob === undefined) return replicatedPlan(view, wish, present);
  const nodes = [...view.list('node')].filter((node) => isEligible(node, wish.spec));
  if (GlobalJob === undefined) return globalPlan(view, wish, { present, nodes });
  return anew(
    nodes.map((node) => draft(wish, { nodeId: node.id })),
    present,
  );
}

function anew(made: readonly Task[], present: readonly Seat[]): Plan {
  const gone = present.flatMap((seat) => seat.tasks);
  return { made, gone, kept: 0, replaced: 0, removed: present.filter(isFilled).length };
}

function replicatedPlan(view: ClusterView, wish: Wish, present: readonly Seat[]): Plan {
  const replicas = replicasOf(wish.spec);
  const { kept: staying, surplus } = rank(present, replicas);
  const taken = new Set(present.map((seat) => seat.place));
  const slots: number[] = [];
  for (let slot = 1; staying.length + slots.length < replicas; slot++) if (!taken.has(slot)) slots.push(slot);
  const fresh = slots.map((slot) => draft(wish, { slot }));
  const replacement = replacements(view, wish, staying);
  return {
    ...replacement,
    made: [...fresh, ...replacement.made],
    gone: [...surplus.flatMap((seat) => seat.tasks), ...replacement.gone],
    removed: surplus.filter(isFilled).length,
  };
}

/** What an update makes of places that stay: first where nothing runs, then beside what runs. */
function replacements(view: ClusterView, wish: Wish, staying: readonly Seat[]): Omit<Plan, 'removed'> {
  const stale = staying.filter((seat) => !isCurrent(seat, view, wish.spec));
  const made: Task[] = [];
  const beside: Pair[] = [];
  const gone: Task[] = [];
  for (const { place, tasks, old } of stale) {
    const where = typeof place === 'number' ? { slot: place } : { nodeId: place };
    if (old === undefined) made.push(draft(wish, where));
    else beside.push({ old, fresh: draft(wish, { ...where, old }) });
    gone.push(...tasks.filter((task) => task !== old));
  }
  const replaced = stale.filter(isFilled).length;
  return { made, beside, gone, replaced, kept: staying.filter(isFilled).length - replaced };
}

function globalPlan(
  view: ClusterView,
  wish: Wish,
  { present, nodes }: { readonly present: readonly Seat[]; readonly nodes: readonly Node[] },
): Plan {
  const open = new Set<Ranked['place']>(nodes.map((node) => node.id));
  const taken = new Set(present.map((seat) => seat.place));
  const fresh = nodes.filter((node) => !taken.has(node.id)).map((node) => draft(wish, { nodeId: node.id }));
  const replacement = replacements(
    view,
    wish,
    present.filter((seat) => open.has(seat.place)),
  );
  const others = present.filter((seat) => !open.has(seat.place));
  const misplaced = others.filter(({ place }) => {
    const node = view.get('node', String(place));
    return node === undefined || !constraintsMatch(wish.spec.TaskTemplate.Placement?.Constraints, node);
  });
  const removed = misplaced.filter(isFilled).length;
  return {
    ...replacement,
    made: [...fresh, ...replacement.made],
    gone: [...misplaced.flatMap((seat) => seat.tasks), ...replacement.gone],
    kept: replacement.kept + others.filter(isFilled).length - removed,
    removed,
  };
}

/** A place as the reconciler sees it: its tasks but those marked for removal. */
interface Seat extends Ranked {
  readonly tasks: readonly Task[];
  /** The one that runs, and that a new one takes over from. */
  readonly old: Task | undefined;
}

function seatsOf(view: ClusterView, service: Service): readonly Seat[] {
  const places = new Map<Ranked['place'], Task[]>();
  for (const task of view.tasksOfService(service.id)) {
    if (task.desired === TaskState.remove) continue;
    const place = task.pinned === true ? task.nodeId : task.slot;
    const own = places.get(place);
    if (own === undefined) places.set(place, [task]);
    else own.push(task);
  }
  return [...places].map(([place, tasks]) => {
    const here = tasks.filter((task) => isLive(task) && !isLost(task, view));
    const old = here.findLast((task) => task.status.state === TaskState.running);
    return { place, tasks, old, running: old !== undefined, nodeId: here.at(-1)?.nodeId ?? '' };
  });
}

function isLive(task: Task): boolean {
  return task.desired <= TaskState.complete && !isTerminal(task.status.state);
}

function isLost(task: Task, view: ClusterView): boolean {
  const state = view.get('node', task.nodeId)?.status.state;
  return task.nodeId !== '' && (state === undefined || state === 'down');
}

/** It has a task: one that the restart policy gave up has none. */
function isFilled({ tasks }: Seat): boolean {
  return tasks.some(isLive);
}

/** Nothing is to be made here: a task of the wished spec is there, or was given up. */
function isCurrent({ tasks }: Seat, view: ClusterView, spec: ServiceSpec): boolean {
  const live = tasks.filter(isLive);
  if (live.length > 0) return live.some((task) => isUpToDate(task, spec, view));
  const last = tasks.at(-1);
  return last !== undefined && isGivenUp(last) && isUpToDate(last, spec, view);
}

function isGivenUp({ desired, status: { state }, evicted }: Task): boolean {
  const byItself = state === TaskState.complete || state === TaskState.failed || state === TaskState.rejected;
  return byItself && evicted !== true && desired > TaskState.complete;
}

function isEligible(node: Node, spec: ServiceSpec): boolean {
  const takes = node.status.state === 'ready' && node.spec.Availability === 'active';
  return takes && constraintsMatch(spec.TaskTemplate.Placement?.Constraints, node);
}

interface Where {
  readonly slot?: number;
  readonly nodeId?: string;
  readonly old?: Task;
}

/** A task that would be made. */
function draft({ spec, service, now }: Wish, { slot = 0, nodeId = '', old }: Where): Task {
  return {
    id: `${nodeId}/${slot}`,
    meta: { version: 0, createdAt: now, updatedAt: now },
    serviceId: service?.id ?? '',
    slot,
    nodeId,
    ...(nodeId === '' ? {} : { pinned: true as const }),
    ...(old === undefined ? {} : { replaces: old.id, handover: effectiveUpdateConfig(spec.UpdateConfig).order }),
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
  readonly now: number;
  /** Equal tasks are told the same: the first without a node tells what each node says. */
  isExplained: boolean;
}

interface Found {
  readonly task: Task;
  readonly place: ForecastPlace;
}

/** As many at a time as the update takes; after as many as are shown, the old ones are thought away at once. */
function takenOver(pairs: readonly Pair[], { UpdateConfig }: ServiceSpec, world: World): readonly Found[] {
  const { parallelism, delayMs, order } = effectiveUpdateConfig(UpdateConfig);
  const size = parallelism === 0 ? pairs.length : parallelism;
  const overlaps = order === 'start-first' && delayMs === 0;
  const found: Found[] = [];
  let stopping: readonly Task[] = [];
  let at = 0;
  for (; at < pairs.length && at < placesMax; at += size) {
    const { made, left } = step(pairs.slice(at, at + size), stopping, world);
    found.push(...made);
    stopping = overlaps ? left.map((task) => ({ ...task, desired: TaskState.shutdown })) : [];
    for (const [nth, task] of left.entries()) world.index.changeTask(task, stopping[nth]);
  }
  const rest = pairs.slice(at);
  for (const task of [...stopping, ...rest.map(({ old }) => old)]) world.index.changeTask(task, undefined);
  return [...found, ...placed(rest.map(freshOf), world)];
}

const freshOf = ({ fresh }: Pair) => fresh;

/**
 * All new ones look for nodes while their old ones are there, and those of the step before still stop; `left`: who goes then.
 * Where one finds no node, its old one stays.
 */
function step(
  pairs: readonly Pair[],
  stopping: readonly Task[],
  world: World,
): { readonly made: readonly Found[]; readonly left: readonly Task[] } {
  const { index } = world;
  for (const { fresh } of pairs) index.changeTask(undefined, fresh);
  const first = placed(pairs.map(freshOf), world, stopping.length === 0);
  for (const task of stopping) index.changeTask(task, undefined);
  const failed = first.filter(({ place: { Err } }) => Err !== '');
  const second =
    stopping.length === 0
      ? failed
      : placed(
          failed.map(({ task }) => task),
          world,
        );
  for (const { fresh } of pairs) index.changeTask({ ...fresh, nodeId: '' }, undefined);
  const made = [...first.filter((one) => !failed.includes(one)), ...second];
  const stuck = new Set(second.filter(({ place: { Err } }) => Err !== '').map(({ task }) => task));
  return { made, left: pairs.filter(({ fresh }) => !stuck.has(fresh)).map(({ old }) => old) };
}

/** `isLast`: what finds no node now finds none at all. */
function placed(tasks: readonly Task[], world: World, isLast = true): readonly Found[] {
  const pinned = tasks.filter((task) => task.pinned === true);
  const free = tasks.filter((task) => task.pinned !== true);
  return [...confirmed(pinned, world), ...chosen(free, world, isLast)];
}

function confirmed(pinned: readonly Task[], { view, index }: World): readonly Found[] {
  return confirmGroup(index, pinned).map(({ task, refusals }) =>
    place(task, view.get('node', task.nodeId), refusals === undefined ? '' : explanation(refusals)),
  );
}

function chosen(free: readonly Task[], world: World, isLast: boolean): readonly Found[] {
  const { view, index, now } = world;
  const result = scheduleGroup(index.infos(), free, now, (id) => index.infoOfTask(id));
  const err = explanation(result.refusals);
  const unplaced = result.unplaced.map((task) => place(task, undefined, err));
  const [first, ...others] = unplaced;
  const found = result.placed.map(({ task, nodeId }) => place(task, view.get('node', nodeId), ''));
  if (first === undefined || world.isExplained || !isLast) return [...found, ...unplaced];
  world.isExplained = true;
  const Nodes = verdicts(first.task, { view, index, now });
  return [...found, { ...first, place: { ...first.place, Nodes } }, ...others];
}

function place(task: Task, node: Node | undefined, err: string): Found {
  const where =
    node === undefined || err !== '' ? { NodeID: '', Hostname: '' } : { NodeID: node.id, Hostname: hostname(node) };
  return { task, place: { Name: nameOf(task, node), ...where, Err: err } };
}

function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => at);
}
