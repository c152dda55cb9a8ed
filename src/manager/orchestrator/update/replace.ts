/** Brings one place to the service's spec, the old task stopped first. Pure. */
import type { Task } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { Action, SlotContext, SlotDecision } from '../reconcile/slot.ts';
import { desire, isSurelyStopped } from '../reconcile/slot.ts';
import { isDirty, isWanted } from '../task.ts';

/** Undefined: every wanted task is of the current spec, and there is one. */
export function replaceTask(kept: readonly Task[], context: SlotContext): SlotDecision | undefined {
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
