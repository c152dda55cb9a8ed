import { ClusterError } from '../../lib/errors.ts';
import { nanosToMs } from '../../model/defaults.ts';
import { lookup } from '../../model/lookup.ts';
import type { Cluster, Node } from '../../model/objects.ts';
import type { NodeSpec } from '../../model/spec.ts';
import { isTerminal, TaskState } from '../../model/task-state.ts';
import type { ClusterView } from '../../model/view.ts';
import type { Transaction } from '../store/port.ts';
import { restPlace } from '../store/resting.ts';
import { type ControlApiOptions, checkVersion, type Handler, invalid } from './context.ts';

const graceMs = 7 * 24 * 3600 * 1000;
const removedNodesMax = 10_000;

export const updateNode: Handler<'node.update'> = async (options, request) => {
  const spec = { ...request.spec, Labels: request.spec.Labels ?? {} };
  checkNodeSpec(spec);
  await options.store.transact((tx) => {
    const node = lookup(tx, 'node', request.id);
    checkVersion(node, request.version);
    if (node.spec.Role === 'manager' && spec.Role === 'worker') checkDemotion(options, tx, node);
    const { meta: _, drainedAt: _since, ...draft } = node;
    tx.update('node', { ...draft, spec, ...drained(node, spec, tx.now) });
  });
  return {};
};

/** Whoever has begun to drain it is not made to wait anew by another change. */
function drained(node: Node, spec: NodeSpec, now: number): Pick<Node, 'drainedAt'> {
  if (spec.Availability !== 'drain') return {};
  if (node.spec.Availability !== 'drain') return { drainedAt: now };
  return node.drainedAt === undefined ? {} : { drainedAt: node.drainedAt };
}

function checkNodeSpec(spec: NodeSpec): void {
  if (!['worker', 'manager'].includes(spec.Role)) throw invalid(`invalid Role: "${spec.Role}"`);
  if (!['active', 'pause', 'drain'].includes(spec.Availability))
    throw invalid(`invalid Availability: "${spec.Availability}"`);
}

/** The group must keep a majority of reachable managers once this one is gone. */
function checkDemotion(options: ControlApiOptions, view: ClusterView, node: Node): void {
  const managers = [...view.list('node')].filter((other) => other.spec.Role === 'manager');
  if (managers.length <= 1) {
    throw new ClusterError('failed_precondition', 'attempting to demote the last manager of the swarm');
  }
  const members = options.members?.() ?? [];
  if (!members.some((member) => member.nodeId === node.id)) return;
  const rest = members.filter((member) => member.nodeId !== node.id);
  const reachable = rest.filter((member) => member.leader || member.reachability === 'reachable').length;
  if (reachable < Math.floor(rest.length / 2) + 1) {
    throw new ClusterError(
      'failed_precondition',
      "can't remove member from the raft: this would result in a loss of quorum",
    );
  }
}

export const removeNode: Handler<'node.remove'> = async ({ store }, request) => {
  await store.transact((tx) => {
    const node = lookup(tx, 'node', request.id);
    if (node.manager !== undefined || node.role === 'manager') {
      throw new ClusterError(
        'failed_precondition',
        `node ${node.id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal`,
      );
    }
    if (!request.force && node.status.state === 'ready') {
      throw new ClusterError('failed_precondition', `node ${node.id} is not down and can't be removed`);
    }
    takeOutNode(tx, node.id);
  });
  return {};
};

/** For good: its tasks are nobody's, its certificate counts no more. */
export function takeOutNode(tx: Transaction, nodeId: string): void {
  restPlace(tx, nodeId);
  tx.remove('node', nodeId);
  orphanTasks(tx, nodeId);
  refuseCertificate(tx, nodeId);
}

/** Nobody will report on these any more. */
function orphanTasks(tx: Transaction, nodeId: string): void {
  for (const task of [...tx.tasksOfNode(nodeId)]) {
    if (isTerminal(task.status.state)) continue;
    const { meta: _, ...draft } = task;
    const status = {
      ...task.status,
      state: TaskState.orphaned,
      timestamp: tx.now,
      message: 'Task belonged to a node that has been deleted.',
    };
    tx.update('task', { ...draft, status, endedAt: tx.now });
  }
}

/** The node's certificate stays valid for a while: peers refuse it by its id until it has surely expired. */
function refuseCertificate(tx: Transaction, nodeId: string): void {
  const cluster = tx.cluster();
  if (cluster === undefined) return;
  const until = tx.now + nanosToMs(cluster.spec.CAConfig.NodeCertExpiry) + graceMs;
  const { meta: _, ...draft } = cluster;
  tx.update('cluster', { ...draft, removedNodes: { ...current(cluster, tx.now), [nodeId]: until } });
}

function current(cluster: Cluster, now: number): Record<string, number> {
  const kept = Object.entries(cluster.removedNodes).filter(([, until]) => until > now);
  return Object.fromEntries(kept.sort(([, a], [, b]) => a - b).slice(-(removedNodesMax - 1)));
}
