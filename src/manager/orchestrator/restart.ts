/** The restart policy as pure questions about one task. Its history travels on the tasks, so it outlives a leader. */
import { effectiveRestartPolicy } from '../../model/defaults.ts';
import type { Task } from '../../model/objects.ts';
import { TaskState } from '../../model/task-state.ts';

/** Whether a task that ended by itself gets a successor. The answer for a task never changes. */
export function shouldRestart(task: Task): boolean {
  const policy = effectiveRestartPolicy(task.spec.RestartPolicy);
  if (policy.condition === 'none') return false;
  if (policy.condition === 'on-failure' && task.status.state === TaskState.complete) return false;
  if (policy.maxAttempts === 0) return true;
  // The leader's stamp of the last write: restarts are stamped by the leader, too, so no agent's clock takes part.
  const end = task.meta.updatedAt;
  const counted =
    policy.windowMs === 0 ? task.restarts : task.restarts.filter((at) => at > end - policy.windowMs && at < end);
  return counted.length < policy.maxAttempts;
}

/** Whether a task that lost its node (down, drained, removed) may move. Moving does not count as a restart. */
export function mayMove(task: Task): boolean {
  return effectiveRestartPolicy(task.spec.RestartPolicy).condition !== 'none';
}

/** When the successor of a task that ended is due: never before the ended one itself was. */
export function restartDueAt(task: Task, now: number): number {
  const { delayMs } = effectiveRestartPolicy(task.spec.RestartPolicy);
  return delayMs === 0 ? now : Math.max(now, task.notBefore ?? 0) + delayMs;
}

/** The restart history of a successor made now. A new spec version starts afresh. */
export function restartsAfter(task: Task, specVersion: number, now: number): readonly number[] {
  const { maxAttempts } = effectiveRestartPolicy(task.spec.RestartPolicy);
  const past = task.specVersion === specVersion ? task.restarts : [];
  return [...past, now].slice(-Math.max(maxAttempts, 1));
}
