/** The restart policy as pure questions about one task. Its history travels on the tasks, so it outlives a leader. */
import { effectiveRestartPolicy } from '../../model/defaults.ts';
import type { Service, Task } from '../../model/objects.ts';
import { failoverDelayMs as delayOf } from '../../model/service-labels.ts';
import { TaskState } from '../../model/task-state.ts';

/** This many quick failures in a row are restarted after the policy's delay; each further one waits twice as long. */
export const patientFailures = 3;
export const backOffMaxMs = 5 * 60_000;
const backOffLeastMs = 1_000;
/** A task that ran this long, and longer than it had waited, was healthy: the next failure counts as the first. */
export const healthyRunMs = 10_000;
const failuresMax = 30;

/** Whether a task that ended by itself gets a successor. The answer for a task never changes. */
export function shouldRestart(task: Task): boolean {
  const policy = effectiveRestartPolicy(task.spec.RestartPolicy);
  if (policy.condition === 'none') return false;
  const onlyFailures = policy.condition === 'on-failure' || task.jobIteration !== undefined;
  if (onlyFailures && task.status.state === TaskState.complete) return false;
  if (policy.maxAttempts === 0) return true;
  // A leader's stamp, and one that no later write moves: restarts are stamped by the leader, too, so no agent's clock takes part.
  const end = endOf(task);
  const counted =
    policy.windowMs === 0 ? task.restarts : task.restarts.filter((at) => at > end - policy.windowMs && at < end);
  return counted.length < policy.maxAttempts;
}

/** The best that is known where the end itself was not stamped: the last write. */
export function endOf(task: Task): number {
  return task.endedAt ?? task.meta.updatedAt;
}

/** Whether a task that lost its node (down, drained, removed) may move. Moving does not count as a restart. */
export function mayMove(task: Task): boolean {
  return effectiveRestartPolicy(task.spec.RestartPolicy).condition !== 'none';
}

/** When the successor of a task that ended is due: never before the ended one itself was. */
export function restartDueAt(task: Task, now: number): number {
  const delayMs = restartDelayMs(task, failuresAfter(task, task.specVersion));
  return delayMs === 0 ? now : Math.max(now, task.notBefore ?? 0) + delayMs;
}

/** The policy's delay, doubled with every quick failure in a row after the first few. */
export function restartDelayMs(task: Task, failures: number): number {
  const { delayMs } = effectiveRestartPolicy(task.spec.RestartPolicy);
  const doublings = failures - patientFailures;
  if (doublings <= 0) return delayMs;
  return Math.max(delayMs, Math.min(backOffMaxMs, Math.max(delayMs, backOffLeastMs) * 2 ** doublings));
}

/**
 * Quick failures in a row, this task's end included. An end without error is none, and a healthy run forgives; a new spec
 * version starts afresh.
 */
export function failuresAfter(task: Task, specVersion: number): number {
  if (task.status.state === TaskState.complete || task.specVersion !== specVersion) return 0;
  const before = task.failures ?? 0;
  const ranMs = task.runningSince === undefined ? 0 : endOf(task) - task.runningSince;
  const healthy = ranMs >= Math.max(healthyRunMs, restartDelayMs(task, before));
  return healthy ? 1 : Math.min(failuresMax, before + 1);
}

/** The restart history of a successor made now. A new spec version starts afresh. */
export function restartsAfter(task: Task, specVersion: number, now: number): readonly number[] {
  const { maxAttempts } = effectiveRestartPolicy(task.spec.RestartPolicy);
  const past = task.specVersion === specVersion ? task.restarts : [];
  return [...past, now].slice(-Math.max(maxAttempts, 1));
}

/** How long this service waits for a node that is down before its tasks are replaced. */
export function failoverDelayMs(service: Service): number {
  return delayOf(service.spec.Labels);
}
