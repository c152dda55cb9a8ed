/**
 * One slot: its tasks, the service and the nodes in; what to do out. Pure. In steady state it says: nothing.
 * A slot has one winner, a task that is wanted and not on a lost or drained node; everything else in it is history, is being
 * stopped, or waits on a lost node in case that one comes back first.
 */
import type { Node, Service, Task } from '../../../model/objects.ts';
import type { DesiredState } from '../../../model/task-state.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { mayMove, restartDueAt, restartsAfter, shouldRestart } from '../restart.ts';
import { isDirty, isLost, isStopped, isWanted } from '../task.ts';

/** How long a new task waits for the one that it replaces to stop. */
export const stopPatienceMs = 60_000;
/** Tasks of one slot that may stand by on lost nodes. */
const standbyMax = 2;

export type Action =
  | {
      readonly kind: 'create';
      readonly desired: DesiredState;
      readonly restarts: readonly number[];
      /** Made from this task instead of the service: its update is paused. */
      readonly like?: string;
      readonly notBefore?: number;
      readonly replaces?: string;
    }
  | { readonly kind: 'desire'; readonly taskId: string; readonly desired: DesiredState }
  /** Its restart delay is over. */
  | { readonly kind: 'release'; readonly taskId: string }
  /** Its node was removed: nobody will report on it. */
  | { readonly kind: 'orphan'; readonly taskId: string };

export interface SlotContext {
  readonly now: number;
  readonly service: Service;
  nodeOf(id: string): Node | undefined;
}

/** `keep`: one task runs by the restart policy. `update`: as `keep`, from the new spec. `remove`: nothing is left. */
export type Intent = 'keep' | 'update' | 'remove';

export interface SlotDecision {
  readonly actions: readonly Action[];
  /** When to look again though nothing happened. */
  readonly wakeAt?: number;
}

/** `tasks`: all of the slot, oldest first. */
export function decideSlot(tasks: readonly Task[], context: SlotContext, intent: Intent): SlotDecision {
  const orphans = tasks
    .filter((task) => isOrphan(task, context))
    .map((task): Action => ({ kind: 'orphan', taskId: task.id }));
  const rest = decide(tasks, context, intent);
  return { ...rest, actions: [...orphans, ...rest.actions] };
}

function decide(tasks: readonly Task[], context: SlotContext, intent: Intent): SlotDecision {
  if (intent === 'remove') return { actions: tasks.filter(isKept).map((task) => desire(task, TaskState.remove)) };
  const kept = tasks.filter(isKept);
  if (intent === 'update') {
    const update = decideUpdate(kept, context);
    if (update !== undefined) return update;
  }
  const wanted = kept.filter(isWanted);
  const live = wanted.filter((task) => classOf(task, context) === 'live');
  const winner = pickWinner(live, context);
  if (winner !== undefined) return decideAround(winner, wanted, tasks, context);
  const last = wanted.at(-1);
  if (last === undefined) return { actions: refill(kept, context) };
  const others = standDown(wanted.slice(0, -1), context);
  const dueAt = delayLeft(last, context);
  if (dueAt !== undefined) return { actions: others, wakeAt: dueAt };
  return { actions: [...replace(last, context), ...others] };
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

/** There is a task to keep: the others go, but for those that stand by; and it may be due. */
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
  if (winner.desired === TaskState.running) return { actions };
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

/** The newest wanted task can't go on: its successor, if it gets one. */
function replace(last: Task, context: SlotContext): readonly Action[] {
  switch (classOf(last, context)) {
    case 'lost':
      return replaceLost(last, context);
    case 'leaving':
      return [desire(last, TaskState.shutdown), ...(mayMove(last) ? [successor(last, context, { after: last })] : [])];
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

/** When the delay of a task that ended before it was over is: preparing starts at once, so without it a refusal would repeat at once. */
function delayLeft(last: Task, { now }: SlotContext): number | undefined {
  if (last.desired !== TaskState.ready || !endedByItself(last) || !shouldRestart(last)) return undefined;
  return last.notBefore !== undefined && last.notBefore > now ? last.notBefore : undefined;
}

function replaceDead(last: Task, context: SlotContext): readonly Action[] {
  if (last.status.state === TaskState.orphaned) return mayMove(last) ? [successor(last, context, {})] : [];
  if (!shouldRestart(last)) return [];
  return [successor(last, context, { dueAt: restartDueAt(last, context.now), counts: true })];
}

/** Nothing in the slot is wanted: it is new, its task was taken away, or the policy said stop. */
function refill(kept: readonly Task[], context: SlotContext): readonly Action[] {
  const last = kept.at(-1);
  if (last === undefined) return [{ kind: 'create', desired: TaskState.running, restarts: [] }];
  if (!mayMove(last) || (endedByItself(last) && !shouldRestart(last))) return [];
  return [successor(last, context, isSurelyStopped(last, context) ? {} : { after: last })];
}

function endedByItself(task: Task): boolean {
  const { state } = task.status;
  return state === TaskState.complete || state === TaskState.failed || state === TaskState.rejected;
}

/** Undefined: every wanted task is of the current spec, and there is one. */
function decideUpdate(kept: readonly Task[], context: SlotContext): SlotDecision | undefined {
  const { service, now } = context;
  const wanted = kept.filter(isWanted);
  const dirty = wanted.filter((task) => isDirty(task, service, context.nodeOf(task.nodeId)));
  if (wanted.length > dirty.length) return undefined;
  const running = kept.filter((task) => !isSurelyStopped(task, context)).at(-1);
  const birth: Action =
    running === undefined
      ? { kind: 'create', desired: TaskState.running, restarts: [] }
      : { kind: 'create', desired: TaskState.ready, restarts: [], notBefore: now, replaces: running.id };
  return { actions: [...dirty.map((task) => desire(task, TaskState.shutdown)), birth] };
}

interface Succession {
  readonly dueAt?: number | undefined;
  /** To be seen stopped first. */
  readonly after?: Task;
  readonly counts?: boolean;
}

function successor(last: Task, context: SlotContext, { dueAt, after, counts }: Succession): Action {
  const { service, now } = context;
  const paused = service.updateStatus?.state === 'paused' && isDirty(last, service, context.nodeOf(last.nodeId));
  const specVersion = paused ? last.specVersion : service.specVersion;
  const same = last.specVersion === specVersion ? last.restarts : [];
  const restarts = counts === true ? restartsAfter(last, specVersion, now) : same;
  const waits = (dueAt ?? now) > now || after !== undefined;
  return {
    kind: 'create',
    desired: waits ? TaskState.ready : TaskState.running,
    restarts,
    ...(paused ? { like: last.id } : {}),
    ...(waits ? { notBefore: dueAt ?? now } : {}),
    ...(after === undefined ? {} : { replaces: after.id }),
  };
}

function isSurelyStopped(task: Task, context: SlotContext): boolean {
  return isStopped(task) || isLost(task, context.nodeOf(task.nodeId));
}

/** Not marked for deletion: the slot's own. */
function isKept(task: Task): boolean {
  return task.desired < TaskState.remove;
}

function isOrphan(task: Task, context: SlotContext): boolean {
  return task.nodeId !== '' && !isTerminal(task.status.state) && context.nodeOf(task.nodeId) === undefined;
}

function desire(task: Task, desired: DesiredState): Action {
  return { kind: 'desire', taskId: task.id, desired };
}
