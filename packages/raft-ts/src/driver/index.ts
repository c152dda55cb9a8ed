export * from './errors.ts';
export type { LatencyHistogram, NodeCounters, NodeGauges, NodeMetrics } from './metrics.ts';
export { latencyBucketsMs } from './metrics.ts';
export type { AskOptions, NodeState } from './node.ts';
export { RaftNode } from './node.ts';
export type { NodeBounds, RaftNodeOptions } from './options.ts';
export type { Outcome } from './pending.ts';
export { traceLine } from './trace.ts';
