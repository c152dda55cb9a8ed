/** The first step of an update at one place: a task of the new spec is made, beside or after the old one. Pure. */
import type { Node, Service, Task, UpdateOrder } from '../../../model/objects.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import type { Action, Creation } from '../reconcile/slot.ts';
import { hasOtherLimit, isDirty, isLost, isStopped, isWanted } from '../task.ts';

export interface BeginContext {
  readonly now: number;
  readonly service: Service;
  readonly order: UpdateOrder;
  nodeOf(id: string): Node | undefined;
}

/** `kept`: the place's tasks that are not marked for removal, oldest first. Nothing when a task of the new spec is there. */
export function decideBegin(kept: readonly Task[], context: BeginContext): readonly Action[] {
  const wanted = kept.filter(isWanted);
  if (wanted.some((task) => isCurrent(task, context))) return [];
  const running = wanted.findLast((task) => task.status.state === TaskState.running && !isGone(task, context));
  if (running !== undefined) {
    const others = wanted.filter((task) => task !== running).map((task) => stop(task, context));
    return [...others, beside(running, context)];
  }
  // Nothing runs here: there is nothing to keep up, so the new task needs to wait only for what still stops.
  const stops = wanted.map((task) => stop(task, context));
  const last = kept.findLast((task) => !isGone(task, context));
  return [...stops, last === undefined ? alone(context) : after(last, context)];
}

/** Of those made under another limit per node, a place is begun only where it was seen that the task has to go. */
function isCurrent(task: Task, { service, nodeOf }: BeginContext): boolean {
  return !isDirty(task, service, nodeOf(task.nodeId)) && !hasOtherLimit(task, service);
}

function beside(old: Task, { now, order }: BeginContext): Creation {
  const common = { kind: 'create', restarts: [], replaces: old.id, handover: order, updateBegunAt: now } as const;
  if (order === 'start-first') return { ...common, desired: TaskState.running };
  return { ...common, desired: TaskState.ready, notBefore: now };
}

function after(old: Task, { now }: BeginContext): Creation {
  return {
    kind: 'create',
    desired: TaskState.ready,
    restarts: [],
    notBefore: now,
    replaces: old.id,
    updateBegunAt: now,
  };
}

function alone({ now }: BeginContext): Creation {
  return { kind: 'create', desired: TaskState.running, restarts: [], updateBegunAt: now };
}

/** Nothing of it runs, or nobody can tell. */
function isGone(task: Task, context: BeginContext): boolean {
  return isStopped(task) || isLost(task, context.nodeOf(task.nodeId));
}

/** A task that never got to run leaves no history; one that ended, or ran, is kept as such. */
function stop(task: Task, _context: BeginContext): Action {
  const never = task.status.state < TaskState.running && !isTerminal(task.status.state);
  return { kind: 'desire', taskId: task.id, desired: never ? TaskState.remove : TaskState.shutdown };
}
