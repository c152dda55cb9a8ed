/** Which tasks a lower limit of replicas per node sends away. */
import type { Task } from '../model/objects.ts';
import { isTerminal, TaskState } from '../model/task-state.ts';

/** `onNode`: all tasks of the task's node. The first `max` of a service stay, those that came later have to go; 0 = no limit. */
export function isCrowdedOut(task: Task, max: number, onNode: Iterable<Task>): boolean {
  if (max === 0 || !isActive(task)) return false;
  let before = 0;
  for (const other of onNode) {
    if (other.serviceId === task.serviceId && isActive(other) && isBefore(other, task)) before += 1;
  }
  return before >= max;
}

function isActive({ desired, status, nodeId }: Task): boolean {
  return nodeId !== '' && desired <= TaskState.complete && !isTerminal(status.state);
}

function isBefore(one: Task, other: Task): boolean {
  const apart = one.meta.createdAt - other.meta.createdAt;
  return apart === 0 ? one.id < other.id : apart < 0;
}
