/**
 * Two tasks of one place during a handover: the old one goes on while the new one is prepared (stop-first) or until it runs
 * (start-first). Pure. A new task that fails before that costs nothing: the old one is still there, the new one is tried
 * again by the restart policy. Without it an image that cannot be pulled takes the service down.
 */
import type { Task } from '../../../model/objects.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { isUpdating, updateConfigOf } from '../../../model/update.ts';
import { placeOf } from '../place.ts';
import type { Action, Creation, SlotContext, SlotDecision } from '../reconcile/slot.ts';
import { failuresAfter, mayMove, restartDueAt, restartsAfter, shouldRestart } from '../restart.ts';
import { isDirty, isLost, isWanted } from '../task.ts';

/** How long a task stays on a drained node because nothing can take its place yet. In milliseconds. */
export const drainPatienceMs = 30_000;

interface Pair {
  readonly old: Task;
  readonly fresh: Task;
}

/** `kept`: the place's tasks that are not marked for removal, oldest first. Undefined: no handover is under way here. */
export function decideHandover(kept: readonly Task[], context: SlotContext): SlotDecision | undefined {
  const pair = findPair(kept, context);
  if (pair === undefined) return undefined;
  const others = kept.filter((task) => isWanted(task) && task !== pair.old && task !== pair.fresh).map(retire);
  const { actions, wakeAt } = decidePair(pair, context);
  return { actions: [...others, ...actions], ...(wakeAt === undefined ? {} : { wakeAt }) };
}

/** A new task of the service's spec that waits for the old one to give way, beside that one, which is not lost. */
function findPair(kept: readonly Task[], context: SlotContext): Pair | undefined {
  const fresh = kept.findLast((task) => isWanted(task) && task.handover !== undefined && !isOutdated(task, context));
  if (fresh === undefined) return undefined;
  const old = kept.find((task) => task.id === fresh.replaces);
  if (old === undefined || !isWanted(old) || isTerminal(old.status.state)) return undefined;
  return isLost(old, context.nodeOf(old.nodeId)) ? undefined : { old, fresh };
}

function decidePair(pair: Pair, context: SlotContext): SlotDecision {
  if (isGivenUp(pair, context)) return { actions: [retire(pair.fresh)] };
  const leavesAt = leavesDrainedNodeAt(pair, context);
  if (leavesAt === undefined) return decideInPeace(pair, context);
  if (leavesAt <= context.now) return { actions: [retire(pair.old)] };
  const { actions, wakeAt = leavesAt } = decideInPeace(pair, context);
  return { actions, wakeAt: Math.min(wakeAt, leavesAt) };
}

/**
 * Who drains a node wants it empty, also when there is no room elsewhere. Counted from the drain, or from the last change of a
 * node that was drained before that was kept; undefined where there is no drain, or the new task already runs.
 */
function leavesDrainedNodeAt({ old, fresh }: Pair, context: SlotContext): number | undefined {
  const node = context.nodeOf(old.nodeId);
  if (node?.spec.Availability !== 'drain' || fresh.status.state === TaskState.running) return undefined;
  return (node.drainedAt ?? node.meta.updatedAt) + drainPatienceMs;
}

function decideInPeace(pair: Pair, context: SlotContext): SlotDecision {
  const { fresh } = pair;
  if (isTerminal(fresh.status.state)) return retryEnded(pair, context);
  const node = fresh.nodeId === '' ? undefined : context.nodeOf(fresh.nodeId);
  if (isLost(fresh, node) || node?.spec.Availability === 'drain') return retryMoved(pair, context);
  if (fresh.notBefore !== undefined && fresh.notBefore > context.now) return { actions: [], wakeAt: fresh.notBefore };
  return fresh.handover === 'start-first' ? startFirst(pair) : stopFirst(pair);
}

function stopFirst({ old, fresh }: Pair): SlotDecision {
  return { actions: fresh.status.state >= TaskState.ready ? [retire(old)] : [] };
}

function startFirst({ old, fresh }: Pair): SlotDecision {
  if (fresh.desired < TaskState.running)
    return { actions: [{ kind: 'desire', taskId: fresh.id, desired: TaskState.running }] };
  return { actions: fresh.status.state === TaskState.running ? [retire(old)] : [] };
}

/** It ended before it could take over. The restart policy says whether it is tried again. */
function retryEnded(pair: Pair, context: SlotContext): SlotDecision {
  const { fresh } = pair;
  const end: Action = { kind: 'desire', taskId: fresh.id, desired: TaskState.shutdown };
  if (endedWithNode(fresh)) return mayMove(fresh) ? retryMoved(pair, context) : { actions: [end] };
  if (awaitsJudgement(fresh, context)) return { actions: [] };
  if (!shouldRestart(fresh)) return { actions: [end] };
  // Preparing starts at once, whatever the delay: without this wait a refusal would repeat at once.
  if (fresh.notBefore !== undefined && fresh.notBefore > context.now) return { actions: [], wakeAt: fresh.notBefore };
  const { specVersion } = context.service;
  const failures = failuresAfter(fresh, specVersion);
  return {
    actions: [
      end,
      {
        ...successor(pair, context),
        restarts: restartsAfter(fresh, specVersion, context.now),
        ...(failures === 0 ? {} : { failures }),
        notBefore: restartDueAt(fresh, context.now),
      },
    ],
  };
}

/** Its node went away under it, which is not its fault. */
function retryMoved(pair: Pair, context: SlotContext): SlotDecision {
  const end: Action = { kind: 'desire', taskId: pair.fresh.id, desired: TaskState.shutdown };
  return { actions: [end, successor(pair, context)] };
}

function successor({ old, fresh }: Pair, { now }: SlotContext): Creation {
  return {
    kind: 'create',
    desired: TaskState.ready,
    restarts: fresh.restarts,
    notBefore: Math.max(now, fresh.notBefore ?? 0),
    replaces: old.id,
    ...(fresh.handover === undefined ? {} : { handover: fresh.handover }),
    ...(fresh.updateBegunAt === undefined ? {} : { updateBegunAt: fresh.updateBegunAt }),
  };
}

/** A paused update goes no further: what has not taken over is withdrawn. A task that only moves house is no part of it. */
function isGivenUp({ old, fresh }: Pair, { service }: SlotContext): boolean {
  const state = service.updateStatus?.state;
  if (fresh.updateBegunAt === undefined || fresh.status.state === TaskState.running) return false;
  if (old.specVersion === fresh.specVersion) return false;
  return state === 'paused' || state === 'rollback_paused';
}

/** The update loop says first whether this failure ends the update. */
function awaitsJudgement(fresh: Task, { service }: SlotContext): boolean {
  if (fresh.updateBegunAt === undefined || !isUpdating(service)) return false;
  if (updateConfigOf(service).failureAction === 'continue') return false;
  return service.updateProgress?.failed.includes(placeOf(fresh)) !== true;
}

function endedWithNode({ status: { state }, evicted }: Task): boolean {
  return state === TaskState.orphaned || state === TaskState.shutdown || evicted === true;
}

function isOutdated(task: Task, context: SlotContext): boolean {
  return isDirty(task, context.service, context.nodeOf(task.nodeId));
}

/** A task that never got to run leaves no history. */
function retire(task: Task): Action {
  const never = task.status.state < TaskState.running;
  return { kind: 'desire', taskId: task.id, desired: never ? TaskState.remove : TaskState.shutdown };
}
