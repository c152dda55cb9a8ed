/**
 * One place: its tasks, the service and the nodes in; what to do out. Pure. In steady state it says: nothing.
 * A place has one winner, a task that is wanted and not on a lost or drained node; everything else in it is history, is being
 * stopped, waits on a lost node in case that one comes back first, or goes on until its replacement runs (`start-first`).
 */

import { effectiveUpdateConfig } from '../../../model/defaults.ts';
import type { Node, Service, Task, UpdateOrder } from '../../../model/objects.ts';
import type { DesiredState } from '../../../model/task-state.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { Place } from '../place.ts';
import { isJob } from '../place.ts';
import { failoverDelayMs, failuresAfter, mayMove, restartDueAt, restartsAfter, shouldRestart } from '../restart.ts';
import { isDirty, isLost, isSettled, isStopped, isWanted } from '../task.ts';
import { decideHandover } from '../update/handover.ts';

/** How long a new task waits for the one that it replaces to stop. */
export const stopPatienceMs = 60_000;
/** Tasks of one place that may stand by on lost nodes. */
const standbyMax = 2;

export interface Creation {
  readonly kind: 'create';
  readonly desired: DesiredState;
  readonly restarts: readonly number[];
  readonly failures?: number;
  /** Made from this task instead of the service: to bring the place to a new spec is the updater's business. */
  readonly like?: string;
  readonly notBefore?: number;
  readonly replaces?: string;
  readonly handover?: UpdateOrder;
  readonly updateBegunAt?: number;
}

export type Action =
  | Creation
  | { readonly kind: 'desire'; readonly taskId: string; readonly desired: DesiredState }
  /** Its restart delay is over. */
  | { readonly kind: 'release'; readonly taskId: string }
  /** Its node was removed: nobody will report on it. */
  | { readonly kind: 'orphan'; readonly taskId: string };

export interface SlotContext {
  readonly now: number;
  readonly service: Service;
  readonly place: Place;
  nodeOf(id: string): Node | undefined;
}

/**
 * `keep`: one task runs by the restart policy, of the spec that the last one had (the updater brings places to a new one). `hold`: what is there goes on, nothing is
 * made. `stop`: what runs is stopped and kept as history. `remove`: nothing is left.
 */
export type Intent = 'keep' | 'hold' | 'stop' | 'remove';

export interface SlotDecision {
  readonly actions: readonly Action[];
  /** When to look again though nothing happened. */
  readonly wakeAt?: number;
}

/** `tasks`: all of the place, oldest first. */
export function decideSlot(tasks: readonly Task[], context: SlotContext, intent: Intent): SlotDecision {
  const orphans = tasks
    .filter((task) => isOrphan(task, context))
    .map((task): Action => ({ kind: 'orphan', taskId: task.id }));
  const { jobStatus } = context.service;
  const current = tasks.filter((task) => isKept(task) && task.jobIteration === jobStatus?.iteration);
  const outdated = tasks.filter((task) => isKept(task) && task.jobIteration !== jobStatus?.iteration);
  const rest = decide(current, tasks, context, intent);
  const removed = outdated.map((task) => desire(task, TaskState.remove));
  return { ...rest, actions: [...orphans, ...removed, ...rest.actions] };
}

/** `kept`: the place's own tasks, not marked for deletion and not of an earlier execution of a job. */
function decide(kept: readonly Task[], tasks: readonly Task[], context: SlotContext, intent: Intent): SlotDecision {
  if (intent === 'remove') return { actions: kept.map((task) => desire(task, TaskState.remove)) };
  const wanted = kept.filter(isWanted);
  if (intent === 'stop') return { actions: wanted.filter(mayStop).map((task) => retire(task, context)) };
  if (isJob(context.service) && kept.some((task) => task.status.state === TaskState.complete)) {
    return { actions: wanted.filter(mayStop).map((task) => retire(task, context)) };
  }
  const handover = intent === 'keep' && !isMoot(wanted, context) ? decideHandover(kept, context) : undefined;
  if (handover !== undefined) return handover;
  const live = wanted.filter((task) => classOf(task, context) === 'live');
  const winner = pickWinner(live, context);
  if (winner !== undefined) return decideAround(winner, wanted, tasks, context);
  if (intent === 'hold') return { actions: [] };
  const last = wanted.at(-1);
  if (last === undefined) return { actions: refill(kept, context) };
  const others = standDown(wanted.slice(0, -1), context);
  const dueAt = delayLeft(last, context);
  if (dueAt !== undefined) return { actions: others, wakeAt: dueAt };
  return { actions: [...replace(last, context), ...others] };
}

/** The old task may stay after all: its node is no longer drained, and it is of the current spec. */
function isMoot(wanted: readonly Task[], context: SlotContext): boolean {
  const fresh = wanted.findLast((task) => task.handover !== undefined);
  const old = fresh === undefined ? undefined : wanted.find((task) => task.id === fresh.replaces);
  if (fresh === undefined || old === undefined || classOf(old, context) !== 'live') return false;
  if (isUpdateOf(old, fresh, context)) return false;
  return !isDirty(old, context.service, context.nodeOf(old.nodeId));
}

/** Whether the old one has to go was the updater's to say. */
function isUpdateOf(old: Task, fresh: Task, { service }: SlotContext): boolean {
  return (
    fresh.updateBegunAt !== undefined &&
    fresh.specVersion === service.specVersion &&
    old.specVersion !== fresh.specVersion
  );
}

type TaskClass = 'live' | 'dead' | 'lost' | 'leaving';

function classOf(task: Task, context: SlotContext): TaskClass {
  if (isTerminal(task.status.state)) return 'dead';
  if (task.nodeId === '') return 'live';
  const node = context.nodeOf(task.nodeId);
  if (isLost(task, node)) return 'lost';
  return node?.spec.Availability === 'drain' && node.status.state === 'ready' ? 'leaving' : 'live';
}

/** A task of the current spec before others, a running one before others, then the newest. */
function pickWinner(live: readonly Task[], context: SlotContext): Task | undefined {
  const rank = (task: Task) =>
    (isDirty(task, context.service, context.nodeOf(task.nodeId)) ? 0 : 2) +
    (task.status.state === TaskState.running ? 1 : 0);
  let winner: Task | undefined;
  for (const task of live) if (winner === undefined || rank(task) >= rank(winner)) winner = task;
  return winner;
}

/** There is a task to keep: the others go, but for those that stand by or go on; and it may be due. */
function decideAround(
  winner: Task,
  wanted: readonly Task[],
  tasks: readonly Task[],
  context: SlotContext,
): SlotDecision {
  const actions = standDown(
    wanted.filter((task) => task !== winner),
    context,
  );
  if (winner.desired !== TaskState.ready) return { actions };
  const dueAt = releaseAt(winner, tasks, context);
  if (dueAt > context.now) return { actions, wakeAt: dueAt };
  return { actions: [...actions, { kind: 'release', taskId: winner.id }] };
}

/** After its delay, and once the task before it is seen stopped or has had its time. */
function releaseAt(task: Task, tasks: readonly Task[], context: SlotContext): number {
  const dueAt = task.notBefore ?? context.now;
  if (context.now < dueAt || task.replaces === undefined) return dueAt;
  const old = tasks.find((other) => other.id === task.replaces);
  if (old === undefined || isStopped(old) || isLost(old, context.nodeOf(old.nodeId))) return dueAt;
  return Math.max(dueAt, task.meta.createdAt) + stopPatienceMs;
}

/** Tasks that are not the winner. Only one that ran on a node that is down keeps its chance. */
function standDown(others: readonly Task[], context: SlotContext): readonly Action[] {
  const standby = others.filter((task) => mayReturn(task, context)).slice(-standbyMax);
  return others.filter((task) => !standby.includes(task)).map((task) => retire(task, context));
}

function mayReturn(task: Task, context: SlotContext): boolean {
  const node = context.nodeOf(task.nodeId);
  return (
    classOf(task, context) === 'lost' &&
    task.status.state === TaskState.running &&
    node !== undefined &&
    node.spec.Availability !== 'drain' &&
    !isDirty(task, context.service, node)
  );
}

/** A task that never got to run leaves no history; one that did is kept as history. */
function retire(task: Task, context: SlotContext): Action {
  const never = task.status.state < TaskState.running && classOf(task, context) === 'live';
  return desire(task, never ? TaskState.remove : TaskState.shutdown);
}

/** A task that ended as it should keeps what was wished of it: it is the record. */
function mayStop(task: Task): boolean {
  return task.status.state !== TaskState.complete;
}

/** The newest wanted task can't go on: its successor, if it gets one. */
function replace(last: Task, context: SlotContext): readonly Action[] {
  switch (classOf(last, context)) {
    case 'lost':
      return replaceLost(last, context);
    case 'leaving':
      return replaceLeaving(last, context);
    case 'dead':
      return [desire(last, TaskState.shutdown), ...replaceDead(last, context)];
    case 'live':
      return [];
  }
}

/** At once: losing a node is not the task's fault. A restart delay under way is kept. */
function replaceLost(last: Task, context: SlotContext): readonly Action[] {
  const gone = context.nodeOf(last.nodeId) === undefined;
  const end = gone || !mayReturn(last, context) ? [desire(last, TaskState.shutdown)] : [];
  if (!mayMove(last)) return gone ? end : [];
  const delayed = last.desired === TaskState.ready && last.notBefore !== undefined && last.notBefore > context.now;
  return [...end, successor(last, context, delayed ? { dueAt: last.notBefore } : {})];
}

function replaceLeaving(last: Task, context: SlotContext): readonly Action[] {
  if (!mayMove(last)) return [desire(last, TaskState.shutdown)];
  if (last.status.state === TaskState.running && !isJob(context.service)) return [beside(last, context)];
  return [desire(last, TaskState.shutdown), successor(last, context, { after: last })];
}

/** The old task goes on until the new one is prepared, or runs, as the update order says. */
function beside(last: Task, context: SlotContext): Creation {
  const { order } = effectiveUpdateConfig(context.service.spec.UpdateConfig);
  const creation = successor(last, context, { after: last });
  if (order === 'stop-first') return { ...creation, handover: order };
  const { notBefore: _, ...atOnce } = creation;
  return { ...atOnce, handover: order, desired: TaskState.running };
}

/** When the newest task may be replaced, if that is later: its own restart delay, or the service's patience with a lost node. */
function delayLeft(last: Task, context: SlotContext): number | undefined {
  const { now } = context;
  if (classOf(last, context) === 'lost') {
    const since = context.nodeOf(last.nodeId)?.status.since;
    const dueAt = since === undefined ? now : since + failoverDelayMs(context.service);
    return dueAt > now ? dueAt : undefined;
  }
  // Preparing starts at once, so without this a refusal would repeat at once.
  if (last.desired !== TaskState.ready || !endedByItself(last) || !shouldRestart(last)) return undefined;
  return last.notBefore !== undefined && last.notBefore > now ? last.notBefore : undefined;
}

function replaceDead(last: Task, context: SlotContext): readonly Action[] {
  const moved = last.status.state === TaskState.orphaned || last.evicted === true;
  if (moved) return mayMove(last) ? [successor(last, context, {})] : [];
  if (!shouldRestart(last)) return [];
  return [successor(last, context, { dueAt: restartDueAt(last, context.now), counts: true })];
}

/** Nothing in the place is wanted: it is new, its task was taken away, or the policy said stop. */
function refill(kept: readonly Task[], context: SlotContext): readonly Action[] {
  const last = kept.at(-1);
  if (last === undefined) return [{ kind: 'create', desired: goalOf(context.service), restarts: [] }];
  if (endedByItself(last) && !shouldRestart(last)) return [];
  // A task that is bound to its node was stopped because of the node, and does not move when it comes back.
  if (!mayMove(last) && last.pinned !== true) return [];
  return [successor(last, context, isSurelyStopped(last, context) ? {} : { after: last })];
}

export function endedByItself(task: Task): boolean {
  const { state } = task.status;
  if (task.evicted === true) return false;
  return state === TaskState.complete || state === TaskState.failed || state === TaskState.rejected;
}

interface Succession {
  readonly dueAt?: number | undefined;
  /** To be seen stopped first. */
  readonly after?: Task;
  readonly counts?: boolean;
}

function successor(last: Task, context: SlotContext, { dueAt, after, counts }: Succession): Creation {
  const { service, now } = context;
  const alike = !isJob(service) && !isSettled(last, service) && isDirty(last, service, context.nodeOf(last.nodeId));
  const specVersion = alike ? last.specVersion : service.specVersion;
  const same = last.specVersion === specVersion;
  const restarts = counts === true ? restartsAfter(last, specVersion, now) : same ? last.restarts : [];
  const failures = counts === true ? failuresAfter(last, specVersion) : same ? (last.failures ?? 0) : 0;
  const waits = (dueAt ?? now) > now || after !== undefined;
  return {
    kind: 'create',
    desired: waits ? TaskState.ready : goalOf(service),
    restarts,
    ...(failures === 0 ? {} : { failures }),
    ...(alike ? { like: last.id } : {}),
    ...(same ? begunAfter(last, now) : {}),
    ...(waits ? { notBefore: dueAt ?? now } : {}),
    ...(after === undefined ? {} : { replaces: after.id }),
  };
}

/** Once the new task ran, the update was through here: one that follows has the whole progress deadline again. */
function begunAfter({ updateBegunAt, runningSince }: Task, now: number): Pick<Creation, 'updateBegunAt'> {
  if (updateBegunAt === undefined) return {};
  return { updateBegunAt: runningSince === undefined ? updateBegunAt : now };
}

/** What is wished of a task in the end: a job's is to complete. */
export function goalOf(service: Service): DesiredState {
  return isJob(service) ? TaskState.complete : TaskState.running;
}

export function isSurelyStopped(task: Task, context: SlotContext): boolean {
  return isStopped(task) || isLost(task, context.nodeOf(task.nodeId));
}

/** Not marked for deletion: the place's own. */
function isKept(task: Task): boolean {
  return task.desired < TaskState.remove;
}

function isOrphan(task: Task, context: SlotContext): boolean {
  return task.nodeId !== '' && !isTerminal(task.status.state) && context.nodeOf(task.nodeId) === undefined;
}

export function desire(task: Task, desired: DesiredState): Action {
  return { kind: 'desire', taskId: task.id, desired };
}
