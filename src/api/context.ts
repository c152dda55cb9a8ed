import type { Clock } from '../lib/clock.ts';
import { ClusterError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ManagerBackend, NodeBackend } from '../model/control.ts';
import type { ClusterView } from '../model/view.ts';
import type { AnswerCache } from './cache.ts';
import type { Responder } from './respond.ts';

/** What every plugin works with. */
export interface ApiContext {
  readonly node: NodeBackend;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly respond: Responder;
  readonly cache: AnswerCache;
}

const notInSwarm =
  'This node is not a swarm manager. Use "tscluster init" or "tscluster join" to connect this node to swarm and try again.';
const workerOnly =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";

export function manager(context: ApiContext): ManagerBackend {
  const backend = context.node.manager();
  if (backend !== undefined) return backend;
  const { state, error } = context.node.info();
  if (error !== '') throw new ClusterError('unavailable', `This node is not a swarm manager: ${error}`);
  throw new ClusterError('unavailable', state === 'inactive' || state === 'error' ? notInSwarm : workerOnly);
}

/** The view of a manager that follows a leader. */
export function freshView(context: ApiContext): ClusterView {
  const backend = manager(context);
  backend.assertFresh();
  return backend.view;
}
