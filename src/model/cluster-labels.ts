/** Cluster labels that mean something to the managers: settings that Docker's spec has no field for. */
import { durationMs } from './duration.ts';
import type { Labels } from './spec.ts';

/** How long a node may be silent before it counts as down; absent = three beats. */
export const nodeGraceLabel = 'tscluster.node-grace';
export const nodeGraceMaxMs = 10 * 60_000;

/** Milliseconds; undefined for a label that is absent or unreadable (the control API refuses the latter). */
export function nodeGraceMs(labels: Labels | undefined): number | undefined {
  const text = labels !== undefined && Object.hasOwn(labels, nodeGraceLabel) ? labels[nodeGraceLabel] : undefined;
  const graceMs = text === undefined ? undefined : durationMs(text);
  return graceMs === undefined ? undefined : Math.min(nodeGraceMaxMs, graceMs);
}
