/**
 * A whole replicated service: which slots to keep, make, take away or bring to the new spec, and how its update stands. Pure.
 * The built-in rollout: one slot at a time, the old task stopped first, the next slot once the new task runs; a new task that
 * ends before it ran, or soon after, pauses the update. Where it stands can be read from the tasks, so a new leader goes on.
 */
import { defaultUpdateConfig, nanosToMs, replicasOf } from '../../../model/defaults.ts';
import type { Node, Service, Task, UpdateStatus } from '../../../model/objects.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { isDirty, isLost, isWanted } from '../task.ts';
import type { Intent } from './slot.ts';

export const monitorMs = nanosToMs(defaultUpdateConfig.Monitor ?? 0);

export interface ServiceContext {
  readonly now: number;
  nodeOf(id: string): Node | undefined;
  /** How long a task that ended had run; undefined = this leader did not see it. */
  ranMs(taskId: string): number | undefined;
}

export interface ServiceDecision {
  readonly slots: ReadonlyMap<number, Intent>;
  /** The new update status, when it changes. */
  readonly status?: UpdateStatus;
  readonly wakeAt?: number;
}

export function decideService(service: Service, tasks: Iterable<Task>, context: ServiceContext): ServiceDecision {
  const slots = bySlot(tasks);
  const { kept, surplus } = rank(
    [...slots].map(([slot, own]) => summary(slot, own, context)),
    replicasOf(service.spec),
  );
  const intents = new Map<number, Intent>(surplus.map(({ slot }) => [slot, 'remove']));
  for (const { slot } of kept) intents.set(slot, 'keep');
  const taken = new Set(slots.keys());
  for (let slot = 1; intents.size - surplus.length < replicasOf(service.spec); slot++) {
    if (!taken.has(slot)) intents.set(slot, 'keep');
  }
  const update = decideUpdate(service, kept, context);
  if (update.next !== undefined) intents.set(update.next, 'update');
  return {
    slots: intents,
    ...(update.status === undefined ? {} : { status: update.status }),
    ...(update.wakeAt === undefined ? {} : { wakeAt: update.wakeAt }),
  };
}

/** Slots with a task that is not marked for removal. */
function bySlot(tasks: Iterable<Task>): ReadonlyMap<number, readonly Task[]> {
  const slots = new Map<number, Task[]>();
  for (const task of tasks) {
    if (task.desired === TaskState.remove) continue;
    const own = slots.get(task.slot);
    if (own === undefined) slots.set(task.slot, [task]);
    else own.push(task);
  }
  return slots;
}

interface SlotSummary {
  readonly slot: number;
  readonly tasks: readonly Task[];
  /** The task that stands for the slot: the newest wanted one that is not lost, else the newest. */
  readonly face: Task | undefined;
  readonly running: boolean;
  /** Empty: nowhere. */
  readonly nodeId: string;
}

function summary(slot: number, tasks: readonly Task[], context: ServiceContext): SlotSummary {
  const wanted = tasks.filter(isWanted);
  const here = wanted.filter((task) => !isTerminal(task.status.state) && !isLost(task, context.nodeOf(task.nodeId)));
  const face = here.at(-1) ?? wanted.at(-1) ?? tasks.at(-1);
  const running = here.some((task) => task.status.state === TaskState.running);
  return { slot, tasks, face, running, nodeId: here.at(-1)?.nodeId ?? '' };
}

/**
 * Swarm's order of scaling down: running slots first, then by number; each slot gets the count of slots before it on its node;
 * the lowest counts stay, so the fullest node loses first, and slots that are nowhere go before all others.
 */
function rank(
  slots: readonly SlotSummary[],
  replicas: number,
): { kept: readonly SlotSummary[]; surplus: readonly SlotSummary[] } {
  if (slots.length <= replicas) return { kept: slots, surplus: [] };
  const ordered = [...slots].sort((one, other) => Number(other.running) - Number(one.running) || one.slot - other.slot);
  const perNode = new Map<string, number>();
  const ranked = ordered.map((slot) => {
    if (slot.nodeId === '') return { slot, index: Number.POSITIVE_INFINITY };
    const index = perNode.get(slot.nodeId) ?? 0;
    perNode.set(slot.nodeId, index + 1);
    return { slot, index };
  });
  // Infinity − Infinity is not a number: compare, don't subtract.
  const sorted = ranked
    .sort((one, other) => (one.index === other.index ? 0 : one.index < other.index ? -1 : 1))
    .map(({ slot }) => slot);
  return { kept: sorted.slice(0, replicas), surplus: sorted.slice(replicas) };
}

interface UpdateDecision {
  readonly next?: number;
  readonly status?: UpdateStatus;
  readonly wakeAt?: number;
}

function decideUpdate(service: Service, kept: readonly SlotSummary[], context: ServiceContext): UpdateDecision {
  const current = service.updateStatus;
  if (current?.state === 'paused') return {};
  const dirty = kept.filter(({ face }) => face !== undefined && isDirty(face, service, context.nodeOf(face.nodeId)));
  const updating = current?.state === 'updating' ? current : undefined;
  if (updating === undefined && dirty.length === 0) return {};
  const status: UpdateStatus = updating ?? { state: 'updating', startedAt: context.now, message: 'update in progress' };
  const made = kept.flatMap(({ tasks }) => tasks.filter((task) => isOfUpdate(task, service, status)));
  const failed = made.find((task) => failedEarly(task, context));
  if (failed !== undefined) return { status: paused(status, failed) };
  const begin = updating === undefined ? { status } : {};
  if (made.some(isUnderWay) || kept.some((slot) => wasBegun(slot, service))) return begin;
  if (dirty.length === 0) return complete(status, made, context);
  return { ...begin, next: nextSlot(dirty) };
}

/** Created by this update, or under it. */
function isOfUpdate(task: Task, service: Service, status: UpdateStatus): boolean {
  return task.specVersion === service.specVersion && task.meta.createdAt >= (status.startedAt ?? 0);
}

function isUnderWay(task: Task): boolean {
  return isWanted(task) && task.status.state < TaskState.running;
}

/** Changed over to the new spec before the status was reset by another change of the service, and not running yet. */
function wasBegun({ face, tasks }: SlotSummary, service: Service): boolean {
  if (face === undefined || face.specVersion !== service.specVersion || !isUnderWay(face)) return false;
  return tasks.some((task) => task.specVersion !== service.specVersion);
}

function failedEarly(task: Task, context: ServiceContext): boolean {
  const { state, timestamp } = task.status;
  if (state !== TaskState.complete && state !== TaskState.failed && state !== TaskState.rejected) return false;
  return (context.ranMs(task.id) ?? timestamp - task.meta.createdAt) < monitorMs;
}

function paused(status: UpdateStatus, task: Task): UpdateStatus {
  return {
    ...status,
    state: 'paused',
    message: `update paused due to failure or early termination of task ${task.id}`,
  };
}

/** Once the last new task has run for the monitor period. */
function complete(status: UpdateStatus, made: readonly Task[], context: ServiceContext): UpdateDecision {
  const running = made.filter((task) => isWanted(task) && task.status.state === TaskState.running);
  const wakeAt = Math.max(0, ...running.map((task) => task.meta.updatedAt)) + monitorMs;
  if (running.length > 0 && wakeAt > context.now) return { wakeAt };
  return { status: { ...status, state: 'completed', completedAt: context.now, message: 'update completed' } };
}

/** What does not run anyway goes first. */
function nextSlot(dirty: readonly SlotSummary[]): number {
  const first = [...dirty].sort(
    (one, other) => Number(one.running) - Number(other.running) || one.slot - other.slot,
  )[0];
  return first?.slot ?? 0;
}
