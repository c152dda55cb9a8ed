/**
 * The built-in rollout: one place at a time, the old task stopped first, the next place once the new task runs; a new task that
 * ends before it ran, or soon after, pauses the update. Where it stands can be read from the tasks, so a new leader goes on. Pure.
 */
import { defaultUpdateConfig, nanosToMs } from '../../../model/defaults.ts';
import type { Service, Task, UpdateStatus } from '../../../model/objects.ts';
import { TaskState } from '../../../model/task-state.ts';
import type { Place } from '../place.ts';
import type { Rollout, Seat, ServiceContext } from '../seat.ts';
import { isDirty, isWanted } from '../task.ts';

export const monitorMs = nanosToMs(defaultUpdateConfig.Monitor ?? 0);

export function rollout(service: Service, kept: readonly Seat[], context: ServiceContext): Rollout {
  const current = service.updateStatus;
  if (current?.state === 'paused') return { places: [] };
  const dirty = kept.filter(({ face }) => face !== undefined && isDirty(face, service, context.nodeOf(face.nodeId)));
  const updating = current?.state === 'updating' ? current : undefined;
  if (updating === undefined && dirty.length === 0) return { places: [] };
  const status: UpdateStatus = updating ?? { state: 'updating', startedAt: context.now, message: 'update in progress' };
  const made = kept.flatMap(({ tasks }) => tasks.filter((task) => isOfUpdate(task, service, status)));
  const failed = made.find((task) => failedEarly(task, context));
  if (failed !== undefined) return { places: [], change: { updateStatus: paused(status, failed) } };
  const begin = updating === undefined ? { change: { updateStatus: status } } : {};
  if (made.some(isUnderWay) || kept.some((seat) => wasBegun(seat, service))) return { ...begin, places: [] };
  if (dirty.length === 0) return complete(status, made, context);
  return { ...begin, places: [nextPlace(dirty)] };
}

/** Created by this update, or under it. */
function isOfUpdate(task: Task, service: Service, status: UpdateStatus): boolean {
  return task.specVersion === service.specVersion && task.meta.createdAt >= (status.startedAt ?? 0);
}

function isUnderWay(task: Task): boolean {
  return isWanted(task) && task.status.state < TaskState.running;
}

/** Changed over to the new spec before the status was reset by another change of the service, and not running yet. */
function wasBegun({ face, tasks }: Seat, service: Service): boolean {
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
function complete(status: UpdateStatus, made: readonly Task[], context: ServiceContext): Rollout {
  const running = made.filter((task) => isWanted(task) && task.status.state === TaskState.running);
  const wakeAt = Math.max(0, ...running.map((task) => task.meta.updatedAt)) + monitorMs;
  if (running.length > 0 && wakeAt > context.now) return { places: [], wakeAt };
  const done = { state: 'completed' as const, completedAt: context.now, message: 'update completed' };
  return { places: [], change: { updateStatus: { ...status, ...done } } };
}

/** What does not run anyway goes first. */
function nextPlace(dirty: readonly Seat[]): Place {
  const order = (one: Place, other: Place) => (one < other ? -1 : one > other ? 1 : 0);
  const first = [...dirty].sort(
    (one, other) => Number(one.running) - Number(other.running) || order(one.place, other.place),
  )[0];
  return first?.place ?? 0;
}
