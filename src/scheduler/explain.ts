/** Why a task has no node, in Swarm's words. */
import { unreachable } from '../lib/assert.ts';
import type { FilterName } from './filters.ts';

/** How many nodes each filter turned down. */
export type Refusals = ReadonlyMap<FilterName, number>;

/** `no suitable node (A; B)`, most frequent first; bare when there was no node at all. */
export function explanation(refusals: Refusals): string {
  const parts = [...refusals]
    .filter(([, count]) => count > 0)
    .sort(([, one], [, other]) => other - one)
    .map(([name, count]) => reason(name, count));
  return parts.length === 0 ? 'no suitable node' : `no suitable node (${parts.join('; ')})`;
}

/** One filter's words for `count` nodes. */
export function reason(name: FilterName, count: number): string {
  const nodes = count === 1 ? '1 node' : `${count} nodes`;
  switch (name) {
    case 'ready':
      return `${nodes} not available for new tasks`;
    case 'resources':
      return `insufficient resources on ${nodes}`;
    case 'plugin':
      return `missing plugin on ${nodes}`;
    case 'constraint':
      return `scheduling constraints not satisfied on ${nodes}`;
    case 'platform':
      return `unsupported platform on ${nodes}`;
    case 'hostPort':
      return `host-mode port already in use on ${nodes}`;
    case 'maxReplicas':
      return 'max replicas per node limit exceed';
    default:
      return unreachable(name);
  }
}
