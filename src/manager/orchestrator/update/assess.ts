/** One place as an update sees it: its tasks in, how far it is out. Pure. */
import type { Node, Service, Task } from '../../../model/objects.ts';
import { isTerminal, TaskState } from '../../../model/task-state.ts';
import { endOf } from '../restart.ts';
import { isLost, isWanted } from '../task.ts';

/** New tasks of one place that ended by themselves while the update lasts, however long they ran: a crash loop. */
export const crashesMax = 3;

export interface Failure {
  readonly taskId: string;
  /** Docker has no word for it: what to say besides which task; empty = it ended early. */
  readonly why: string;
}

export interface Assessment {
  /**
   * `outdated`: to be begun. `underway`: begun, and the new task does not run yet. `updated`: a task of the service's spec
   * runs. `settled`: nothing to be done here, whatever runs.
   */
  readonly stage: 'outdated' | 'underway' | 'updated' | 'settled';
  /** Something runs here: what does not run is brought up to date first. */
  readonly running: boolean;
  /** Made by the update (or after such a task): when it came to this place. */
  readonly begunAt?: number;
  /** `updated`: since when its new task runs. Absent: it was not made by an update. */
  readonly since?: number;
  /** The new task that failed. */
  readonly failure?: Failure;
  /** `underway`: the new task. */
  readonly taskId?: string;
  /** `underway`: what the new task waits for. */
  readonly err?: string;
}

export interface AssessContext {
  readonly service: Service;
  /** When the update under way began, if one is. */
  readonly startedAt: number | undefined;
  readonly monitorMs: number;
  isDirty(task: Task, node: Node | undefined): boolean;
  nodeOf(id: string): Node | undefined;
}

/** `tasks`: all of the place, oldest first. */
export function assess(tasks: readonly Task[], context: AssessContext): Assessment {
  const kept = tasks.filter((task) => task.desired < TaskState.remove);
  const made = kept.filter((task) => isMade(task, context));
  const failure = failureOf(made, context);
  const common = {
    running: kept.some((task) => isRunning(task, context)),
    ...(failure === undefined ? {} : { failure }),
  };
  const current = kept.findLast((task) => isWanted(task) && !isOutdated(task, context) && !isAway(task, context));
  if (current !== undefined) return { ...common, ...progressOf(current) };
  const face = kept.findLast(isWanted) ?? kept.at(-1);
  if (face === undefined || !isOutdated(face, context)) return { ...common, stage: 'settled' };
  // Begun, failed, and given up by the restart policy or a pause: the old task goes on.
  const begunAt = kept.findLast((task) => task.specVersion === context.service.specVersion)?.updateBegunAt;
  return { ...common, stage: 'outdated', ...(begunAt === undefined ? {} : { begunAt }) };
}

function progressOf(
  current: Task,
): Pick<Assessment, 'stage'> & Partial<Pick<Assessment, 'begunAt' | 'since' | 'taskId' | 'err'>> {
  const { updateBegunAt, runningSince } = current;
  if (current.status.state === TaskState.running && current.desired === TaskState.running) {
    if (updateBegunAt === undefined || runningSince === undefined) return { stage: 'updated' };
    return { stage: 'updated', begunAt: updateBegunAt, since: runningSince };
  }
  if (updateBegunAt === undefined) return { stage: 'settled' };
  // It ran and ended, and its successor is still to be made.
  const begunAt = runningSince === undefined ? updateBegunAt : endOf(current);
  return { stage: 'underway', begunAt, taskId: current.id, err: current.status.err };
}

/** Made by the update under way, or still at work when it took over from another of the same spec. */
function isMade(task: Task, { service, startedAt }: AssessContext): boolean {
  const { specVersion, updateBegunAt } = task;
  if (specVersion !== service.specVersion || updateBegunAt === undefined || startedAt === undefined) return false;
  return updateBegunAt >= startedAt || task.meta.updatedAt > startedAt;
}

function failureOf(made: readonly Task[], context: AssessContext): Failure | undefined {
  const ended = made.filter(endedByItself);
  const early = ended.find((task) => ranMs(task) <= context.monitorMs);
  if (early !== undefined) return { taskId: early.id, why: '' };
  const last = ended.at(-1);
  if (last === undefined || ended.length < crashesMax) return undefined;
  return { taskId: last.id, why: `it ended ${ended.length} times` };
}

/** An exit without error is one, too: a service's tasks are meant to stay. */
function endedByItself({ status: { state }, evicted }: Task): boolean {
  if (evicted === true) return false;
  return state === TaskState.complete || state === TaskState.failed || state === TaskState.rejected;
}

function ranMs(task: Task): number {
  return task.runningSince === undefined ? 0 : endOf(task) - task.runningSince;
}

function isRunning(task: Task, context: AssessContext): boolean {
  return task.status.state === TaskState.running && !isLost(task, context.nodeOf(task.nodeId));
}

function isOutdated(task: Task, context: AssessContext): boolean {
  return context.isDirty(task, context.nodeOf(task.nodeId));
}

/** It is only unknown what became of it, or it ended and its successor is still to be made. */
function isAway(task: Task, context: AssessContext): boolean {
  return isTerminal(task.status.state) ? false : isLost(task, context.nodeOf(task.nodeId));
}
