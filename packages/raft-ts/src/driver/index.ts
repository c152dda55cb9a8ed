export * from './errors.ts';
export type { NodeState } from './node.ts';
export { RaftNode } from './node.ts';
export type { RaftNodeOptions } from './options.ts';
export type { Outcome } from './pending.ts';
