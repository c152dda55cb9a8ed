/** Service labels that mean something to the orchestrator: settings that Docker's spec has no field for. */
import { durationMs } from './duration.ts';
import type { Labels } from './spec.ts';

/** How long tasks on a node that is down are waited for before they are replaced; absent = not at all. */
export const failoverDelayLabel = 'tscluster.failover-delay';
/** A day: after that the tasks of a node that stays down are given up anyway. */
export const failoverDelayMaxMs = 24 * 3600 * 1000;

/** Milliseconds; 0 for a label that is absent or unreadable (the control API refuses the latter). */
export function failoverDelayMs(labels: Labels | undefined): number {
  const text =
    labels !== undefined && Object.hasOwn(labels, failoverDelayLabel) ? labels[failoverDelayLabel] : undefined;
  const delayMs = text === undefined ? 0 : (durationMs(text) ?? 0);
  return Math.min(failoverDelayMaxMs, delayMs);
}

/** How long a new task of a rolling update has until it runs; after that it has failed. `0` = for ever. */
export const progressDeadlineLabel = 'tscluster.update.progress-deadline';
/** SwarmKit waits for ever, so that one pull that hangs holds up an update until somebody looks. */
export const defaultProgressDeadlineMs = 10 * 60_000;

/** Milliseconds; infinite for `0`; the default for a label that is absent or unreadable (the control API refuses the latter). */
export function progressDeadlineMs(labels: Labels | undefined): number {
  const text =
    labels !== undefined && Object.hasOwn(labels, progressDeadlineLabel) ? labels[progressDeadlineLabel] : undefined;
  const deadlineMs = text === undefined ? defaultProgressDeadlineMs : (durationMs(text) ?? defaultProgressDeadlineMs);
  return deadlineMs === 0 ? Number.POSITIVE_INFINITY : deadlineMs;
}

/** How long a task that is out of every node's maps goes on before it is told to stop: requests under way get their answer. */
export const drainDelayLabel = 'tscluster.drain-delay';
export const drainDelayMaxMs = 60_000;
export const defaultDrainDelayMs = 1000;

/** Milliseconds; the default for a label that is absent or unreadable (the control API refuses the latter). */
export function drainDelayMs(labels: Labels | undefined): number {
  const text = labels !== undefined && Object.hasOwn(labels, drainDelayLabel) ? labels[drainDelayLabel] : undefined;
  const delayMs = text === undefined ? defaultDrainDelayMs : (durationMs(text) ?? defaultDrainDelayMs);
  return Math.min(drainDelayMaxMs, delayMs);
}
