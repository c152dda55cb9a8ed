/**
 * The scheduler: nodes, what they hold, and tasks in; placements and explanations out.
 * Pure: no I/O, clock or chance; equal input gives equal output. Its caller (`manager/placement`) feeds it change events,
 * so a placement costs as much as what is placed, not nodes × tasks. It never writes to the store.
 */
export { ClusterIndex } from './cluster-index.ts';
export type { Constraint } from './constraint.ts';
export { constraintsMatch, nodeMatches, parseConstraint, parseConstraints } from './constraint.ts';
export { isCrowdedOut } from './crowded.ts';
export { explainService, explainTask } from './diagnose.ts';
export type { Refusals } from './explain.ts';
export { explanation, reason } from './explain.ts';
export type { FilterName } from './filters.ts';
export { filtersFor, firstRefusal, hasRoom, nodeFiltersFor } from './filters.ts';
export type { Wish } from './forecast.ts';
export { forecast } from './forecast.ts';
export { failuresFaulty, failureWindowMs, groupKey, holds, isReady, NodeInfo } from './node-info.ts';
export type { Ranked } from './rank.ts';
export { rank } from './rank.ts';
export type { Confirmation, GroupResult, Placement } from './schedule.ts';
export { confirmGroup, refusalsPerNode, scheduleGroup } from './schedule.ts';
export { isUpToDate } from './up-to-date.ts';
